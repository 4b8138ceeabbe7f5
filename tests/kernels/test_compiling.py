"""Where compiled loops are kept, and that nothing which is wrong there reaches an answer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import TIMEOUT, ended, environment, started

import mgnet

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no folder can be made /dev/null's")

NOWHERE = "/dev/null/nowhere"  # a place that root cannot write to either
CALLED = "from .compiling import compiled\n\n@compiled\ndef times(x):\n    return 2 * x\n"
CALLER = """
from .called import times
from .compiling import compiled

@compiled
def add(x):
    return times(x) + x

@compiled
def square(x):
    return x * x
"""
CALLS = """
import sys
import numpy as np
from mgnet.kernels import compiling
{before}
from mgnet.kernels.caller import add, square
print(add(np.float64(3)), add(np.float32(0.5)), square(3.0))
print(add._cache.cache_path)
print(sum(sum(each.stats.cache_hits.values()) for each in (add, square)))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy what compiles, with two modules of loops, into a folder of its own."""
    package = Path(mgnet.__file__).parent
    folder = tmp_path / "mgnet"
    for part in ("kernels", "core"):
        (folder / part).mkdir(parents=True)
    own = ("core/__init__.py", "core/imports.py", "kernels/__init__.py", "kernels/compiling.py")
    for name in ("__init__.py", *own):
        shutil.copy(package / name, folder / name)
    (folder / "kernels" / "called.py").write_text(CALLED)
    (folder / "kernels" / "caller.py").write_text(CALLER)
    return folder


def variables(copy: Path, **more: str) -> dict[str, str]:
    """Give an environment in which only the folder of the test can keep anything."""
    folder = copy.parent
    for name in ("home", "temporary"):
        (folder / name).mkdir(exist_ok=True)
    own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary"), "PYTHONPATH": str(folder)}
    whole = environment(PYTHONDONTWRITEBYTECODE="1", **own)
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        whole.pop(name, None)
    return whole | more


SILENT = "compiling.QUIET = float('inf')"


def run(copy: Path, before: str = SILENT, prepare: Callable[[], None] | None = None, **more: str) -> Any:
    """Compile and call; give the answers, where it is kept, how many were found there, and stderr."""
    script = CALLS.format(before=before)
    with started("-c", script, cwd=copy.parent, env=variables(copy, **more), preexec_fn=prepare) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    answers, place, hits = out.splitlines()
    return answers, place, int(hits), err


RIGHT = "9.0 1.5 9.0"
NO_FOLDER = {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE}


def closed(copy: Path) -> None:
    """Leave no room beside the modules: a file lies where the folder would."""
    (copy / "kernels" / "__pycache__").touch()


def places(copy: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    folder = copy.parent
    return {
        "beside the module": (copy / "kernels" / "__pycache__", {}),
        "at home": (folder / "home" / ".cache" / "numba", {}),
        "in a folder of caches": (folder / "c" / "numba", {"XDG_CACHE_HOME": str(folder / "c")}),
        "in a temporary folder": (folder / "temporary" / f"mgnet-{os.getuid()}", NO_FOLDER),
        "where it is said": (folder / "said", {"NUMBA_CACHE_DIR": str(folder / "said")}),
    }


@pytest.mark.parametrize("name", list(places(Path())))
def test_it_is_kept_and_found_again(name: str, copy: Path) -> None:
    place, said = places(copy)[name]
    if name != "beside the module":
        closed(copy)
    for hits in (0, 3):
        answers, found, hit, err = run(copy, **said)
        assert (answers, hit, err) == (RIGHT, hits, "")
        assert Path(found).is_relative_to(place)


TAKER = """
import numpy as np
from .compiling import compiled

@compiled
def room(n):
    return np.zeros(n)
"""
LOADED = "import sys; from mgnet.kernels import {0}; print({1}, 'numba.np.linalg' in sys.modules)"


@pytest.mark.parametrize(("call", "answer"), [("caller.add(1.5)", "4.5"), ("taker.room(2)", "[0. 0.]")])
def test_what_is_kept_is_called_without_all_that_compiles(call: str, answer: str, copy: Path) -> None:
    (copy / "kernels" / "taker.py").write_text(TAKER)
    script = LOADED.format(call.partition(".")[0], call)
    for compiles in (True, False):
        with started("-c", script, cwd=copy.parent, env=variables(copy)) as process:
            out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out.strip()) == (0, f"{answer} {compiles}"), err


def test_a_temporary_folder_is_its_owners_alone(copy: Path) -> None:
    closed(copy)
    run(copy, **NO_FOLDER)
    folder = copy.parent / "temporary" / f"mgnet-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    answers, place, hits, _ = run(copy, **NO_FOLDER)
    assert (answers, place, hits) == (RIGHT, "None", 0)


def test_where_nothing_can_be_kept_each_process_compiles(copy: Path) -> None:
    closed(copy)
    (copy.parent / "temporary").mkdir()
    (copy.parent / "temporary" / f"mgnet-{os.getuid()}").touch()
    for _ in range(2):
        assert run(copy, **NO_FOLDER) == (RIGHT, "None", 0, "")


def test_a_folder_that_is_said_but_cannot_be_is_passed_over(copy: Path) -> None:
    answers, place, _, err = run(copy, NUMBA_CACHE_DIR=NOWHERE)
    assert (answers, place, err) == (RIGHT, str(copy / "kernels" / "__pycache__"), "")


@pytest.mark.parametrize(("pattern", "length"), [("*.nbi", 100), ("*.nbc", 0)])
def test_damaged_files_are_made_anew(pattern: str, length: int, copy: Path) -> None:
    run(copy)
    files = list((copy / "kernels" / "__pycache__").glob(pattern))
    assert len(files) >= 2
    for path in files:
        path.write_bytes(path.read_bytes()[:length])
    for hits in (0, 3):
        assert run(copy)[::2] == (RIGHT, hits)


def test_an_entry_of_another_signature_is_not_called(copy: Path) -> None:
    """Of two processes which write at once, the index may be one's and the data the other's."""
    run(copy)
    first, second = sorted((copy / "kernels" / "__pycache__").glob("caller.add-*.nbc"))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    answers, _, hits, _ = run(copy)
    assert (answers, hits) == (RIGHT, 1)


def test_a_loop_that_changes_is_compiled_again_within_others(copy: Path) -> None:
    run(copy)
    (copy / "kernels" / "called.py").write_text(CALLED.replace("2 *", "4 *"))
    answers, _, hits, _ = run(copy)
    assert (answers, hits) == ("15.0 2.5 9.0", 0)


def full() -> None:
    """Let no file grow, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_disk_that_is_full_keeps_nothing_and_stops_nothing(copy: Path) -> None:
    assert run(copy, prepare=full)[::2] == (RIGHT, 0)
    assert run(copy)[::2] == (RIGHT, 0)


COUNT = """
from numba.core import event
compiled = []
class Counted(event.Listener):
    def on_start(self, event):
        compiled.append(str(event.data["dispatcher"].py_func.__name__))
    def on_end(self, event):
        pass
event.register("numba:compile", Counted())
"""


def at_once(copy: Path, processes: int, after: str) -> list[list[str]]:
    """Let processes compile at the same time, and give what each says."""
    script = "input()\n" + CALLS.format(before=SILENT + COUNT) + after
    pipe: dict[str, Any] = {"cwd": copy.parent, "env": variables(copy), "stdin": -1}
    with contextlib.ExitStack() as stack:
        every = [stack.enter_context(started("-c", script, **pipe)) for _ in range(processes)]
        for process in every:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        done = [ended(process) for process in every]
    for each in done:
        assert each.returncode == 0, each.stderr
        assert each.stdout.startswith(RIGHT)
    return [each.stdout.splitlines() for each in done]


def test_of_several_processes_one_compiles_a_loop_and_the_others_take_it(copy: Path) -> None:
    said = at_once(copy, 3, "print(*compiled)")
    every = sorted(name for lines in said for name in lines[-1].split())
    # Each loop by one of them; a loop that calls is compiled with what it calls.
    assert [every.count(name) for name in ("add", "square")] == [2, 1]
    # Nothing is lost of an index that several write.
    assert run(copy)[::2] == (RIGHT, 3)


def test_who_stands_still_amid_compiling_keeps_nobody_waiting_for_ever(copy: Path) -> None:
    """Another one has its turn, and never gives it back."""
    run(copy)
    place = copy / "kernels" / "__pycache__"
    for path in place.glob("*.nb*"):
        path.unlink()
    with (place / "compiling.lock").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        answers, _, hits, err = run(copy, "compiling.PATIENCE, compiling.QUIET = 0.1, 0")
    assert (answers, hits) == (RIGHT, 0)
    assert err.count("\n") == 1


@pytest.mark.parametrize(("quiet", "times"), [("0", 1), ("float('inf')", 0)])
def test_a_word_is_said_once_and_only_if_it_takes_long(quiet: str, times: int, copy: Path) -> None:
    answers, _, _, err = run(copy, f"compiling.QUIET = {quiet}")
    assert answers == RIGHT
    assert (
        err.splitlines()
        == ["mgnet: compiling loops for this processor, once; it may take half a minute"] * times
    )
    assert run(copy, "compiling.QUIET = 0")[3] == ""  # what is found on disk is not compiled


def test_the_seconds_of_several_functions_count_together(copy: Path) -> None:
    """Here the first takes all that nobody wonders about."""
    enough = "from mgnet.kernels.called import times; times(1); compiling.QUIET = 1e-9"
    assert run(copy, enough)[3].count("\n") == 1


COLLECTED = """
import gc
from numba.core import event
from mgnet.kernels import compiling
from mgnet.kernels.caller import add, square
class Seen(event.Listener):
    def on_start(self, event): print(gc.isenabled(), end=" ")
    def on_end(self, event): pass
event.register("numba:compile", Seen())
gc.{0}()
add(3.0)  # and what it calls
try:
    square("words")
except Exception:
    print(gc.isenabled())
"""


@pytest.mark.parametrize(("before", "after"), [("enable", True), ("disable", False)])
def test_garbage_is_collected_again_after_compiling(before: str, after: bool, copy: Path) -> None:
    script = COLLECTED.format(before)
    with started("-c", script, cwd=copy.parent, env=variables(copy)) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert out == f"False False False {after}\n", err


def test_functions_of_others_are_not_spoken_of(copy: Path) -> None:
    theirs = "import numba; compiling.QUIET = 0; numba.njit(lambda x: x)(1); compiling.QUIET = float('inf')"
    assert run(copy, theirs)[3] == ""


def test_parts_have_no_machine_code_of_their_own() -> None:
    """It would not be optimised, and all loops of the process that compiles would call it.

    Others would load faster loops, from what it has kept on disk.
    """
    from mgnet.kernels.compiling import part

    def double(x: Any) -> None:
        for k in range(len(x)):
            x[k] *= 2

    inner = part(double)

    @numba.njit
    def outer(x: Any) -> None:
        inner(x)

    x = np.arange(3.0)
    outer(x)
    assert x.tolist() == [0.0, 2.0, 4.0]
    (found,) = inner.overloads.values()
    name = found.fndesc.llvm_func_name
    assert f"{name}:" not in found.library.get_asm_str()
    assert "define available_externally" in found.library.get_llvm_str()


def test_loops_over_float32_fill_registers_where_that_pays() -> None:
    from llvmlite import binding

    from mgnet.kernels.compiling import _Tuned

    if not binding.get_host_cpu_features().get("avx512fp16") or numba.config.CPU_NAME:
        pytest.skip("a processor whose registers LLVM fills by itself, or that does not have such")

    @numba.njit(pipeline_class=_Tuned)
    def double(x: Any) -> None:
        for k in range(len(x)):
            x[k] *= 2

    for dtype, filled in ((np.float32, True), (np.float64, False)):
        x = np.arange(100).astype(dtype)
        double(x)
        assert x.tolist() == [2 * k for k in range(100)]
        assert ("zmm" in double.inspect_asm(double.signatures[-1])) is filled


def _every_third(x: Any, y: Any) -> None:
    for k in range(len(y)):
        y[k] = x[3 * k]


def _to_every_third(x: Any, y: Any) -> None:
    for k in range(len(y)):
        x[3 * k] = y[k] + 1


@pytest.mark.parametrize("function", [_every_third, _to_every_third])
def test_loops_neither_gather_nor_scatter(function: Any) -> None:
    from mgnet.kernels.compiling import _Tuned

    plain, tuned = numba.njit(function), numba.njit(pipeline_class=_Tuned)(function)
    found = []
    for loop in (function, plain, tuned):
        x, y = np.arange(300.0), np.zeros(100)
        loop(x, y)
        found.append((x.tolist(), y.tolist()))
    assert found[0] == found[1] == found[2]
    plainly, here = (
        re.search(r"\tvp?(gather|scatter)", loop.inspect_asm(loop.signatures[0])) for loop in (plain, tuned)
    )
    if not plainly:
        pytest.skip("a processor for which LLVM takes no such instructions by itself")
    assert not here
