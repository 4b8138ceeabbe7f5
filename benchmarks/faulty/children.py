"""Calls in processes of their own, forked from one that has loaded torch: a start takes milliseconds.

Starting Python and loading torch takes a second or two. A process that has no thread but its main one can be
forked safely, so torch computes in one thread here, sees no GPU, and the first training is done before the
first fork: what it loads late is shared as well.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")
# Seconds after which a call hangs. What is called here needs a fraction of one.
LIMIT = 60.0
# Of /usr/include/linux/prctl.h: the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
# How much a process may ask for beyond what it has when it is forked: what fills memory is to fill its own.
ROOM = 2**31


@dataclass(frozen=True)
class End:
    """How a call ended.

    Parameters
    ----------
    code : int or None
        The exit code, or the negative number of the signal that ended it; None where it hung.
    said : str
        Standard output and error.
    peak : int
        The most bytes of memory that it held, those included that it shares with its parent.
    """

    code: int | None
    said: str
    peak: int

    @property
    def error(self) -> str:
        """The last line that it said, where it failed: of an exception the type and the message."""
        lines = self.said.strip().splitlines()
        return lines[-1] if self.code and lines else ""

    def __str__(self) -> str:
        how = "hangs" if self.code is None else f"ends with {self.code}"
        return " ".join(f"{how}: {self.error}".split())[:300]


def spawn(call: Callable[[], Any], said: Path) -> int:
    """Start a call in a process of its own; give its number."""
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    code = 1
    try:
        _settle(parent, said)
        code = _answered(call)
    finally:
        os._exit(code)  # whatever happens: what follows is the parent's


def _answered(call: Callable[[], Any]) -> int:
    """Call, and turn the end into an exit code; of an exception print type and message."""
    try:
        answer = call()
        return answer if isinstance(answer, int) else 0
    except BaseException as error:
        print("".join(traceback.format_exception_only(error)), file=sys.stderr)
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()


def _settle(parent: int, said: Path) -> None:
    """Begin as a process does that a terminal starts, and that its parent does not outlive."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _bound_memory()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def wait(pid: int, said: Path, limit: float = LIMIT) -> End:
    """Wait for a process, and end it when the limit is over."""
    ready = _ends_within(pid, limit)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    text = said.read_text(errors="replace") if said.exists() else ""
    return End(os.waitstatus_to_exitcode(status) if ready else None, text, usage.ru_maxrss * 1024)


def _ends_within(pid: int, limit: float) -> bool:
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(1000 * limit))
    finally:
        os.close(handle)


def ended(call: Callable[[], Any], folder: Path, limit: float = LIMIT) -> End:
    """Run a call in a process of its own to its end."""
    (end,) = together([call], folder, limit)
    return end


def together(
    calls: Sequence[Callable[[], Any]], folder: Path, limit: float = LIMIT, grace: float | None = None
) -> list[End]:
    """Run calls side by side to their ends; with ``grace`` that of the others when one has failed."""
    files = [folder / f"said-{os.urandom(4).hex()}" for _ in calls]
    pids = [spawn(call, file) for call, file in zip(calls, files, strict=True)]
    ends: dict[int, End] = {}
    last = time.monotonic() + limit
    try:
        while len(ends) < len(pids):
            left = {pid for pid in pids if pid not in ends}
            if grace is not None and any(end.code for end in ends.values()):
                last = min(last, time.monotonic() + grace)
            pid = _first(left, max(last - time.monotonic(), 0))
            ends[pid] = wait(pid, files[pids.index(pid)], 0)
    finally:
        for pid in set(pids) - set(ends):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for file in files:
            file.unlink(missing_ok=True)
    return [ends[pid] for pid in pids]


def _first(pids: Iterable[int], seconds: float) -> int:
    """Give the first process that ends, or any where none does in time."""
    handles = {os.pidfd_open(pid): pid for pid in pids}
    try:
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        ready = [handle for handle, _ in poll.poll(1000 * seconds)]
        return handles[ready[0]] if ready else next(iter(handles.values()))
    finally:
        for handle in handles:
            os.close(handle)


def verdicts(check: Callable[[Any], str], cases: Sequence[Any], jobs: int) -> list[str]:
    """Check all cases, as many side by side as there are jobs; give what went wrong in each."""
    gc.freeze()  # or the first collection in every child would copy all pages
    with ProcessPoolExecutor(jobs, FORK) as pool:
        return list(pool.map(check, cases))


class HangError(BaseException):
    """A call takes longer than it may; no Exception, so that nothing takes it for one of its own."""


@contextmanager
def patience(seconds: float = LIMIT) -> Iterator[None]:
    """End what hangs in this process."""

    def hangs(number: int, frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kill_after(pid: int, seconds: float) -> None:
    """Let a process run for a while, and end it in the middle of whatever it does."""
    _ends_within(pid, seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
