"""Shares of one piece of work for several threads, which release Python's lock in compiled loops."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from . import bells

__all__ = ["FEWER", "ringing", "share", "shares"]

# Numbers that are worth a thread of their own: waking it takes as long as working through some thousands.
LEAST = 2**15
# The same where those who are awake are called from a loop.
FEWER = 2**13
# Numbers beside which handing out another share costs nothing.
MANY = 2**17
# Looks at a number that take as long as to fall asleep and to be woken.
LOOKS = 2**18
# Seconds for which threads stay awake: about as long as the coarse grids of a cycle take, which are for one.
AWAKE = 5e-4
# Threads that there may be beside those that ask.
MOST = os.cpu_count() or 1


class _Here(threading.local):
    """Whether this thread is within shared work, where the processors are taken."""

    within = False


_here = _Here()


@lru_cache(maxsize=256)
def shares(
    rows: int, size: int, threads: int, least: int = 0, enough: int = LEAST
) -> tuple[tuple[int, int], ...]:
    """Cut rows into shares of about the same length, (start, stop) each, in all of so many numbers.

    There are only as many as have ``enough`` numbers: one for each thread or, if they are long and have
    ``least`` rows, if that is given, two, so that a thread that is late has less to do.
    """
    count = max(1, min(threads, rows, size // enough))
    if count > 1 and least and size >= MANY * 2 * threads and rows >= least * 2 * threads:
        count = 2 * threads
    edges = [rows * i // count for i in range(count + 1)]
    return tuple(zip(edges[:-1], edges[1:], strict=True))


def share(work: Callable[..., object], parts: Sequence[tuple[Any, ...]], threads: int | None = None) -> None:
    """Call ``work(*part)`` for every part, in this thread and in others that are free.

    There are as many threads as parts, or ``threads`` of them.

    This thread never waits for another to begin: what that has not begun it does itself. So a processor that
    others use costs no more than the end of the part that it works on, unlike a barrier that spins.
    """
    _shared(lambda bell, *part: work(*part), parts, threads or len(parts))


def ringing(work: Callable[..., object], parts: Sequence[tuple[Any, ...]], threads: int) -> None:
    """Call ``work(bell, *part)`` for every part likewise, which is to give the bell to a loop that rings it.

    That takes less time where others are awake; see :mod:`mgnet.kernels.bells`.
    """
    _shared(work, parts, threads, bells.bell(len(parts) <= threads))


def _shared(
    work: Callable[..., object], parts: Sequence[tuple[Any, ...]], threads: int, bell: Any = None
) -> None:
    """Share work, for which this thread rings a bell from its loop, or else now."""
    if len(parts) < 2 or _here.within:
        for part in parts:
            work(bells.SILENT, *part)
        return
    todo = iter(parts)  # threads take the next one each, with Python's lock

    def run(bell: Any = bells.SILENT) -> None:
        _here.within = True
        try:
            for part in todo:
                work(bell, *part)
        finally:
            _here.within = False
            # After an error nobody begins another part.
            for _ in todo:
                pass

    calls = [_Call(run) for _ in parts[1:threads]]
    _helpers[0].ask(calls)
    if bell is None:
        bells.RUNG[0] += 1  # with Python's lock, which this thread is to keep until its own loop
    try:
        run(bell or bells.SILENT)
    finally:
        # Nobody works on when this function is left, whatever comes of it.
        errors = [call.error for call in calls if not call.claim() and call.wait()]
    for error in filter(None, errors):
        raise error


class _Call:
    """What some helper is to do, unless who asked for it has done it by then."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work
        self.error: BaseException | None = None
        self.free, self.ended, self.flag = threading.Lock(), threading.Lock(), np.zeros(1, np.int64)
        self.ended.acquire()

    def claim(self) -> Callable[[], None] | None:
        """Give the work, to the first who asks."""
        if not self.free.acquire(False):
            return None
        work, self.work = self.work, None  # a call that is found late keeps nothing
        return work

    def answer(self) -> None:
        """Do it, if nobody else has begun with it."""
        work = self.claim()
        if work:
            try:
                work()
            except BaseException as error:
                self.error = error
            self.ended.release()
            self.flag[0] = 1

    def wait(self) -> bool:
        """Wait until it is done; to be woken takes longer than that mostly does, so look for a moment."""
        bells.look(self.flag, LOOKS)
        return self.ended.acquire()


class _Helpers:
    """The threads that wait for calls, as many as any caller has asked for at a time."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call] = SimpleQueue()
        self.count = self.looks = 0

    def ask(self, calls: Sequence[_Call]) -> None:
        """Hand out calls, to threads that are begun where there are too few."""
        # Past the interpreter's last line there are no new threads.
        with contextlib.suppress(RuntimeError):
            while self.count < min(len(calls), MOST):
                # In this thread, or that last line may come while another compiles.
                self.looks = self.looks or bells.looks_in(AWAKE)
                bells.count(bells.BUSY, 0)
                threading.Thread(target=self._live, name="mgnet", daemon=True).start()
                self.count += 1
        for call in calls[: self.count]:
            self.calls.put(call)

    def _live(self) -> None:
        bells.count(bells.BUSY, 1)
        while True:  # without a name for a call, which would be kept until the next one comes
            rung = int(bells.RUNG[0])
            if not self.calls.empty():
                with contextlib.suppress(Empty):  # where another was faster
                    self.calls.get_nowait().answer()
            elif not bells.listen(bells.RUNG, rung, bells.BUSY, self.looks):
                self._sleep()

    def _sleep(self) -> None:
        """Wait for a call, and answer it."""
        call = self.calls.get()
        bells.count(bells.BUSY, 1)
        call.answer()


_helpers = [_Helpers()]


def _begin_anew() -> None:
    """Do without the threads that a forked child does not have."""
    _helpers[0] = _Helpers()
    bells.BUSY[0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
