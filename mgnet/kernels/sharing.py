"""Shares of one piece of work for several threads, which release Python's lock in compiled loops."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

__all__ = ["share", "shares"]

# Numbers that are worth a thread of their own: waking it takes as long as working through some thousands.
LEAST = 2**15


class _Here(threading.local):
    """Whether this thread is within shared work, where the processors are taken."""

    within = False


_here = _Here()


def shares(rows: int, size: int, threads: int) -> list[tuple[int, int]]:
    """Cut rows into shares of about the same length, (start, stop) each, in all of so many numbers.

    There are no more than ``threads``, and only as many as are worth it.
    """
    count = max(1, min(threads, rows, size // LEAST))
    edges = [rows * i // count for i in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def share(work: Callable[[int, int], object], parts: list[tuple[int, int]]) -> None:
    """Call ``work(start, stop)`` for every part, in this thread and in others that are free.

    This thread never waits for another to begin: what that has not begun it does itself. So a processor that
    others use costs no more than the end of the part that it works on, unlike a barrier that spins.
    """
    if len(parts) < 2 or _here.within:
        for part in parts:
            work(*part)
        return
    todo = iter(parts)

    def run() -> None:
        _here.within = True
        try:
            for part in todo:
                work(*part)
        finally:
            _here.within = False
            # After an error nobody begins another part.
            for _ in todo:
                pass

    helpers = []
    # Past the interpreter's last line there are no new threads.
    with contextlib.suppress(RuntimeError):
        for _ in parts[1:]:
            helpers.append(_pool().submit(run))
    try:
        run()
    finally:
        # Nobody works on when this function is left, whatever comes of it.
        errors = [helper.exception() for helper in helpers if not helper.cancel()]
    for error in filter(None, errors):
        raise error


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="mgnet")


# A forked child has none of the threads; what waits for them there would be kept for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
