"""Signals that end a process, in order: noted within a step of training, otherwise unwinding the stack.

Nothing but the standard library is imported, and little of it: these handlers are to be there first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

__all__ = ["WORDS", "StoppedError", "end_at_once", "gently", "ignore", "until_signalled"]

# What ends a command, as far as the system knows it, and what is said then.
_KNOWN = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up", "SIGQUIT": "quit"}
WORDS = {getattr(signal, name): word for name, word in _KNOWN.items() if hasattr(signal, name)}
PAUSE = 0.01  # seconds until a signal that came amid an import is looked at again


class StoppedError(Exception):
    """A signal came, and what it interrupted is saved; its argument is the signal's number."""


@contextmanager
def gently() -> Iterator[list[int]]:
    """Note signals that end a process; after the block do what would have been done at once.

    The list has the signals that came. Who sees one raises a :class:`StoppedError` when everything is in
    order. A second signal is obeyed at once, as if nobody had noted anything.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            _restore(before)
            signal.raise_signal(number)
        came.append(number)

    try:
        _install(note, before)
        yield came
    except StoppedError as stopped:
        _restore(before)
        signal.raise_signal(stopped.args[0])
        raise KeyboardInterrupt from None  # the handler that was there has not ended it
    else:
        _restore(before)
        if came:  # after the last step: the run is whole and saved, and what follows it is to end
            signal.raise_signal(came[0])
    finally:
        _restore(before)


class _SignalledError(BaseException):
    """A signal other than SIGINT; no Exception, so that only :func:`until_signalled` catches it."""


def end_at_once(quiet: bool = False) -> None:
    """Let signals end this process at once and without a traceback, while it has nothing to lose."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        with suppress(OSError):
            os.write(2, b"" if quiet else f"mgnet: {WORDS[number]}\n".encode())
        os._exit(128 + number)

    _install(end, {})


def ignore() -> None:
    """Ignore what would end this process."""
    for number in WORDS:
        signal.signal(number, signal.SIG_IGN)


def until_signalled(work: Callable[[], int], ended: Callable[[int], int]) -> int:
    """Do some work until it is done or a signal has come, and return what it or ``ended`` returns.

    ``ended`` takes the number of the signal, and after it the handlers are those of before. A signal raises
    an exception, so that no half-written file stays; what comes while it unwinds is ignored. Amid an import
    the exception waits: modules such as torch take one for a fault of their own, or abort.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    shields = _shields(sys._getframe())

    def end(number: int, frame: FrameType | None) -> None:
        if not _is_unwinding():
            came.append(number)
            unwind(number, frame)

    def unwind(_: int, frame: FrameType | None) -> None:
        if _shields(frame) > shields and hasattr(signal, "setitimer"):
            before.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, unwind))
            signal.setitimer(signal.ITIMER_REAL, PAUSE)
        else:
            _raise(came[-1])

    try:
        _install(end, before)
        code = work()
        if came:  # one that waits still, or whose exception somebody has swallowed
            _raise(came[-1])
        _restore(before)
    except BaseException as error:
        # Whatever the exception of a signal has become on its way, through a library or in C++.
        if not (came or isinstance(error, KeyboardInterrupt)):
            _restore(before)
            raise
        code = ended(came[-1] if came else signal.SIGINT)
        _restore(before)
    return code


def _install(handler: Callable[[int, FrameType | None], None], before: dict[int, Any]) -> None:
    """Handle what ends a command and is not ignored, as nohup ignores SIGHUP; note what was there."""
    if threading.current_thread() is not threading.main_thread():
        return  # only that may
    for number in WORDS:
        previous = signal.getsignal(number)
        if previous not in (signal.SIG_IGN, None):  # None: a library's, which could not be put back
            before[number] = previous
            signal.signal(number, handler)


def _restore(handlers: dict[int, Any]) -> None:
    if hasattr(signal, "SIGALRM") and signal.SIGALRM in handlers:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not signal.SIG_IGN:  # what is ignored since then stays so
            signal.signal(number, handler)


def _raise(number: int) -> NoReturn:
    raise KeyboardInterrupt if number == signal.SIGINT else _SignalledError(number)


def _is_unwinding() -> bool:
    """Say whether the exception of a signal is being handled, in a block that tidies up."""
    error = sys.exception()
    while error is not None and not isinstance(error, (KeyboardInterrupt, _SignalledError)):
        error = error.__context__
    return error is not None


def _shields(frame: FrameType | None) -> int:
    """Count the calls on the stack out of which no exception comes whole: imports, destructors, compilers."""
    count = 0
    while frame is not None:
        code = frame.f_code
        shield = code.co_filename.startswith("<frozen importlib") or "llvmlite" in code.co_filename
        count += shield or code.co_name == "__del__"
        frame = frame.f_back
    return count
