"""How a command ends: an exit code, at most one line on stderr, no traceback, no half-printed output."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..core.signals import WORDS, until_signalled
from ..core.words import legible

__all__ = ["CommandError", "code_of", "guarded", "hold_streams", "reason", "refused", "report", "say"]
__all__ += ["speak_by", "table"]

DONE, INTERNAL, USAGE, NOT_CONVERGED, DAMAGED, RESOURCES = 0, 1, 2, 3, 4, 5
BROKEN_PIPE = 141  # 128 + the signal's number, as a shell says it

# Disk, the user's share of it, the size of a file; memory, open files; an output that is closed.
_FULL = {*(errno.ENOSPC, errno.EDQUOT, errno.EFBIG), *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EBADF)}
_OUT_OF_MEMORY = re.compile(r"(out of|not enough|allocate) memory")  # in a RuntimeError of torch


class CommandError(Exception):
    """The end of a command, with an exit code and one line that says why."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def guarded(run: Callable[[], int]) -> int:
    """Run a command to whatever end, and return its exit code.

    2 is also for a file that cannot be opened, 5 for lack of memory or disk, 128 and its number for a signal.
    """
    with _one_line_warnings():
        try:
            return until_signalled(lambda: _flushed(run), lambda number: report(WORDS[number], 128 + number))
        except BrokenPipeError:
            return BROKEN_PIPE  # whoever read our output has read enough
        except Exception as error:
            return _failed(error)


def _flushed(run: Callable[[], int]) -> int:
    if sys.stdout is None:  # found now, not when there is something to say
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "stdout")
    code = run()
    with _standard_output():
        pass  # what is still buffered goes out here, where a failure has a handler
    return code


def hold_streams() -> None:
    """Keep files that will be opened from being taken for a standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stderr is None:  # which not every library expects
        sys.stderr = open(os.devnull, "w")


def _failed(error: Exception) -> int:
    if os.environ.get("MGNET_TRACEBACK"):  # for those who look for a fault in mgnet itself
        raise error
    if isinstance(error, CommandError):
        return report(f"error: {error}", error.code)
    of_torch = isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))
    if of_torch or isinstance(error, MemoryError):
        return report(f"error: {str(error) or 'out of memory'}", RESOURCES)
    if isinstance(error, OSError):
        return report(f"error: {reason(error)}", code_of(error))
    fault = f"{type(error).__name__}: {error}"
    return report(f"internal error: {fault} (MGNET_TRACEBACK=1 shows where)", INTERNAL)


def code_of(error: OSError) -> int:
    """Return the exit code of what the system refuses: whether it lacks something, or cannot do it."""
    return RESOURCES if error.errno in _FULL else USAGE


def reason(error: OSError) -> str:
    """Return what the system says, without the number, and of which file."""
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename else said


# Which of several processes says what, if there are several: from a message and a code to what is said.
_voice: list[Callable[[str, int], str | None]] = []


def speak_by(voice: Callable[[str, int], str | None]) -> None:
    """Let several processes that run one command agree on which of them says what."""
    _voice[:] = [voice]


def report(message: str, code: int) -> int:
    """Print one line on stderr, where line breaks become blanks, and hand the code back."""
    said = _voice[0](message, code) if _voice else message
    if sys.stderr is None or said is None:  # print would take stdout, which is for results
        return code
    message = said
    with suppress(OSError, ValueError):  # a closed stderr is no reason for another failure
        print(_printable(f"mgnet: {' '.join(message.split())}", sys.stderr), file=sys.stderr, flush=True)
    return code


def say(text: str) -> None:
    """Print on stdout; what cannot be seen, or what the stream's encoding lacks, becomes an escape."""
    with _standard_output():
        print(_printable(text, sys.stdout))


@contextmanager
def refused(prefix: str = "", code: int = USAGE) -> Iterator[None]:
    """Turn the refusal of an argument or a file into the end of the command, with an exit code."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise CommandError(f"{prefix}{error}", code) from error


def table(figures: Mapping[str, Any]) -> str:
    """Return figures as lines of name and value; a name's underscores become blanks, None a dash."""
    names = (name.replace("_", " ") if name.isidentifier() else name for name in figures)
    return "\n".join(
        f"{name:<17} {_figure(value)}" for name, value in zip(names, figures.values(), strict=True)
    )


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else legible(str(value))


def _printable(text: str, stream: Any) -> str:
    text = "\n".join(map(legible, text.split("\n")))  # a name's own line break is the table's matter
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def _standard_output() -> Iterator[None]:
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        error.filename = error.filename or "stdout"
        # Python would try again at its end, and say so with a traceback.
        with suppress(AttributeError, OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:  # whoever changes filters makes Python forget what it has said
            said.add(str(message))
            report(f"warning: {message}", DONE)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
