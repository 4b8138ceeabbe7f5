"""A loop over independent chunks, shared with as many threads as torch uses."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch

__all__ = ["share"]


class _Here(threading.local):
    """Whether this thread is within shared work."""

    shares = False


_here = _Here()


def share(work: Callable[[Iterator[slice]], None], chunks: Sequence[slice]) -> None:
    """Call ``work`` in several threads, each with an iterator; together they give every chunk once.

    This thread never waits for another to begin: one that has not begun when the chunks are all taken is
    called off. So a second processor that is not free costs no more than the end of the chunk it works on,
    unlike the barriers of a BLAS. The work releases Python's lock, as NumPy does in loops and products, and a
    chunk is worth about a tenth of a millisecond, or waking the threads costs more than they do.
    """
    # Within shared work the processors are taken.
    if len(chunks) < 2 or _here.shares:
        return work(iter(chunks))
    todo = deque(chunks)

    def run() -> None:
        _here.shares = True
        try:
            # NumPy's error state belongs to a thread; that of this one is its caller's.
            with np.errstate(all="ignore"):
                work(_taken(todo))
        finally:
            _here.shares = False

    helpers = []
    # Past the interpreter's last line there are no new threads.
    with contextlib.suppress(RuntimeError):
        for _ in range(min(torch.get_num_threads(), len(chunks)) - 1):
            helpers.append(_pool().submit(run))
    try:
        run()
    finally:
        # After an error nobody begins another chunk, and nobody works on when this function is left.
        todo.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.result()


def _taken(todo: deque[slice]) -> Iterator[slice]:
    with contextlib.suppress(IndexError):
        while True:
            yield todo.popleft()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="mgnet")
