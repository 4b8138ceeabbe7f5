"""How loops are compiled: once for a machine, kept on disk, with a word on stderr if that takes a while."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where every process compiles
    fcntl = None  # type: ignore[assignment]

import numba
from llvmlite import binding as llvm
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.compiler import Compiler
from numba.core.runtime import rtsys

from ..core.imports import uncollected

__all__ = ["compiled", "inlined", "lean", "part", "require"]

# Seconds that a process waits for another that compiles, which may be stopped, and between two looks.
PATIENCE, GLANCE = 60.0, 0.02
# Seconds of compiling that nobody wonders about, all functions together.
QUIET = 1.0
NOTICE = "mgnet: compiling loops for this processor, once; it may take half a minute"


def compiled(function: Callable[..., Any], *more: str, **options: Any) -> Any:
    """Compile a loop when it is first called, or take what is kept from before.

    Sums keep their order, which accuracy rests on; a multiplication and an addition may become one. ``more``
    are further liberties with arithmetic that the loop may take.
    """
    arithmetic: dict[str, Any] = {"fastmath": {"contract", "nsz", *more}, "error_model": "numpy"}
    loop: Any = numba.njit(nogil=True, pipeline_class=_Tuned, **arithmetic, **options)(function)
    # Where there is no place to keep it, each process compiles.
    with contextlib.suppress(OSError, RuntimeError):
        loop._cache = _kept(function)
    return loop


def lean(function: Callable[..., Any], *more: str) -> Any:
    """Compile a loop that takes no memory: counting who holds a row of an array takes longer than the row."""
    return compiled(function, *more, _nrt=False)


class _Tuned(Compiler):
    """A compiler of loops for this processor as they are fast on it, which LLVM does not know in all."""

    def __init__(self, typing: Any, target: Any, library: Any, arguments: Any, *others: Any) -> None:
        super().__init__(typing, target, library, arguments, *others)
        codegen = self.state.targetctx.codegen()
        machine = _tuned_machine(codegen, "float32" in str(arguments)) if library is None else None
        if machine:
            self.state.library = library = codegen.create_library("loop")
            library.enable_object_caching()  # as it is for those that Numba makes
            library._optimize_final_module = partial(_optimize_for, machine, library)


@lru_cache(maxsize=2)
def _tuned_machine(codegen: Any, single: bool) -> Any:
    """Give this processor for loops over float32, or others, or None where LLVM's own is as good.

    Numbers that are not next to each other, as those of many blocks, are read and written as rows and sorted
    in registers: the instructions that gather and scatter made exact solves in float64 take twice as long.

    Intel's that compute in float16 fill registers of 512 bits, of which LLVM takes half by itself since whole
    ones made processors slower once: loops over float32 take down to two thirds of the time. Those over
    float64 take longer, and stay as they are.
    """
    options: dict[str, Any] = {"opt": 3}
    codegen._customize_tm_options(options)
    known, more = options["features"].split(","), []
    if "+avx2" in known and llvm.llvm_version_info >= (18,):  # which know these words
        more += ["+prefer-no-gather", "+prefer-no-scatter"]
    if "+avx512fp16" in known and single:
        more.append("-prefer-256-bit")
    if not more:
        return None
    options["features"] = ",".join([*known, *more])
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)


def _optimize_for(machine: Any, library: Any) -> None:
    """Optimise a library for this processor as ``machine`` has it; machine code is made as ever."""
    codegen = library._codegen
    own, codegen._tm = codegen._tm, machine
    try:
        type(library)._optimize_final_module(library)
    finally:
        codegen._tm = own


class _Shared(Compiler):
    """A compiler of what becomes fast machine code only where it is called: twice takes long."""

    def __init__(self, typing: Any, target: Any, library: Any, *others: Any) -> None:
        super().__init__(typing, target, library, *others)
        if library is None:
            self.state.library = library = self.state.targetctx.codegen().create_library("part")
            library._optimize_final_module = lambda: None
            library._finalize_final_module = partial(_finish_shared, library)


def _finish_shared(library: Any) -> None:
    """Finish a library that others link, without machine code of its own.

    All loops of a process would call that, which is not optimised: of what is defined twice the first counts.
    """
    library._finalized = True
    library._get_module_for_linking()  # a copy, which keeps its definitions
    for function in library._final_module.functions:
        if not function.is_declaration:
            function.linkage = "available_externally"
    type(library)._finalize_final_module(library)


def part(function: Callable[..., Any], more: tuple[str, ...] = (), **options: Any) -> Any:
    """Compile a loop that takes no memory and that only other loops call; ``more`` is as for others."""
    options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _Shared}
    options |= {"fastmath": {"contract", "nsz", *more}, "error_model": "numpy", "_nrt": False}
    return numba.njit(nogil=True, **options)(function)


def inlined(function: Callable[..., Any], more: tuple[str, ...] = ()) -> Any:
    """Compile a part that becomes lines of the loops that call it.

    It is for what every row needs: a call takes as long as a short row, as each array is seven arguments on
    the stack. What few rows need is better left apart, since all loops around would carry its numbers along.
    """
    return part(function, more, forceinline=True)


def require() -> None:
    """Raise ImportError where loops would run without being compiled, a thousand times slower."""
    config: Any = numba.config
    if config.DISABLE_JIT:
        raise ImportError("NUMBA_DISABLE_JIT is set")


def _kept(function: Callable[..., Any]) -> _Kept:
    """Keep it where Numba does, or in a temporary folder if it finds no place that it may write to."""
    config: Any = numba.config
    with contextlib.suppress(RuntimeError):
        return _Kept(function)
    before, config.CACHE_DIR = config.CACHE_DIR, _temporary()
    try:
        return _Kept(function)
    finally:
        config.CACHE_DIR = before  # loops of others are none of our business


def _temporary() -> str:
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"mgnet-{user}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    # What is read from there is run: nobody else may have put it there.
    if hasattr(os, "getuid") and (found.st_uid != user or found.st_mode & 0o022):
        raise PermissionError(f"others may write to {folder}")
    return str(folder)


class _Turns:
    """Lets one of several processes compile a loop; the others wait, and take what it has kept.

    Each loop is a byte of one file in the folder. It is locked by a process, and free again when that ends,
    however it does. The file stays open: closing it would free all of its bytes.
    """

    def __init__(self, folder: str) -> None:
        self.file = os.open(os.path.join(folder, "compiling.lock"), os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, loop: str) -> None:
        """Wait until nobody else has this loop, but not longer than ``PATIENCE``."""
        if self._taken(loop):
            return
        end = time.monotonic() + PATIENCE
        _notice.start()  # to wait for who compiles is as long
        try:
            while time.monotonic() < end and not self._taken(loop):
                time.sleep(GLANCE)
        finally:
            _notice.stop()

    def give(self, loop: str) -> None:
        """Let others have it."""
        with contextlib.suppress(OSError):
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, self._byte(loop))

    def _taken(self, loop: str) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte(loop))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a folder whose system has no locks: everybody compiles
            return True
        return True

    @staticmethod
    def _byte(loop: str) -> int:
        return int.from_bytes(hashlib.sha256(loop.encode()).digest()[:7])


@lru_cache(maxsize=8)
def _turns(folder: str) -> _Turns | None:
    with contextlib.suppress(OSError):
        return _Turns(folder) if fcntl else None
    return None


class _Kept(FunctionCache):
    """Compiled loops on disk: what cannot be read is compiled again, what cannot be written is not kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # A loop contains those that it calls: one that changes outdates all.
        file = self._cache_file
        file._source_stamp = (file._source_stamp, _sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is kept for this signature or, when it is this process's turn to compile it, None."""
        found = self._found(sig, target_context)
        turns = _turns(self.cache_path) if found is None else None
        if turns:
            turns.take(self._loop(sig))
            found = self._found(sig, target_context)
            if found is not None:
                turns.give(self._loop(sig))
        if found is None:
            with uncollected():  # all that Numba can compile
                target_context.refresh()
        return found

    def _loop(self, sig: Any = "") -> str:
        return f"{self._impl.filename_base} {sig}"

    def _found(self, sig: Any, target_context: Any) -> Any:
        found = None
        try:
            # Numba's own would load all that it can compile first, SciPy's linear algebra among it.
            with self._guard_against_spurious_io_errors():
                rtsys.initialize(target_context)  # what loops that take memory call
                found = self._load_overload(sig, target_context)
        except Exception:  # a file that is damaged: there is no end of kinds of errors
            with contextlib.suppress(OSError):
                self.flush()
            return None
        # Of two processes that write at once, one may have the other's entry in the index.
        return found if found is not None and tuple(found.signature.args) == tuple(sig) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it, if the disk has room."""
        turns = _turns(self.cache_path)
        if turns:  # two that write the index at once would lose an entry
            turns.take(self._loop())
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
        if turns:
            turns.give(self._loop())
            turns.give(self._loop(sig))


@lru_cache(maxsize=1)
def _sources() -> str:
    """Give a digest of all loops, as they are written."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Notice(event.Listener):
    """Says once that loops are compiled, when that has taken longer than nobody wonders about."""

    def __init__(self) -> None:
        self.depth, self.spent, self.said = 0, 0.0, False
        self.began, self.timer = 0.0, threading.Timer(0, self._say)

    def on_start(self, event: Any) -> None:
        """Start the clock with a loop of this package that is compiled."""
        if _ours(event):
            self.start()

    def on_end(self, event: Any) -> None:
        """Stop the clock when nothing is compiled any more."""
        if _ours(event):
            self.stop()

    def start(self) -> None:
        """Start the clock, which may have been."""
        self.depth += 1
        if self.depth > 1 or self.said:
            return
        self.began = time.monotonic()
        if self.spent >= QUIET:
            self._say()
            return
        self.timer = threading.Timer(min(QUIET - self.spent, threading.TIMEOUT_MAX), self._say)
        self.timer.daemon = True
        self.timer.start()

    def stop(self) -> None:
        """Stop it, for who started it first."""
        self.depth -= 1
        if not self.depth:
            self.timer.cancel()
            self.spent += time.monotonic() - self.began

    def _say(self) -> None:
        # Without stderr print() would take stdout, which belongs to others. Of several processes one says it.
        if sys.stderr is not None and not self.said and os.environ.get("RANK", "0") == "0":
            self.said = True
            print(NOTICE, file=sys.stderr, flush=True)


class _Undisturbed(event.Listener):
    """Keeps the garbage collector away while a loop of this package is compiled: a tenth of that time."""

    def __init__(self) -> None:
        self.depth, self.away = 0, contextlib.ExitStack()

    def on_start(self, event: Any) -> None:
        """Keep it away from the start of a loop, and of those that it calls, which are compiled within."""
        if _ours(event):
            self.depth += 1
            if self.depth == 1:
                self.away.enter_context(uncollected())

    def on_end(self, event: Any) -> None:
        """Let it come back when no loop is compiled any more."""
        if _ours(event):
            self.depth -= 1
            if not self.depth:
                self.away.close()


def _ours(event: Any) -> bool:
    return event.data["dispatcher"].py_func.__module__.startswith("mgnet.")


_notice = _Notice()
event.register("numba:compile", _notice)
event.register("numba:compile", _Undisturbed())
