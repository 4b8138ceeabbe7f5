"""Signals that come while something must not break off: noted, and heeded when it is done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["StoppedError", "gently"]

# Ctrl-C, the end that a system asks for, a terminal that is closed, and Ctrl-\. Windows has only two of them.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


class StoppedError(Exception):
    """A signal came, and what it interrupted is saved; its argument is the signal's number."""


@contextmanager
def gently() -> Iterator[list[int]]:
    """Note signals that end a process; after the block do what would have been done at once.

    Yields
    ------
    list of int
        The signals that came. Who sees one raises a :class:`StoppedError` when everything is in order. A
        second signal is obeyed at once, as if nobody had noted anything.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            _restore(before)
            signal.raise_signal(number)
        came.append(number)

    try:
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a shell, or by nohup
                before[number] = signal.signal(number, note)
    except ValueError:  # only the main thread may
        yield came
        return
    try:
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


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
