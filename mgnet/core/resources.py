"""Memory that runs out: seen beforehand where that can be, and said in plain words where not."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from .checks import shown

__all__ = ["ResourceError", "free_memory", "is_shortage", "require_memory", "sharing", "within_memory"]

# How many processes share a problem, each with the memory of its part.
_shares: ContextVar[int] = ContextVar("shares", default=1)


class ResourceError(MemoryError):
    """The problem does not fit into this machine's memory; raised before any is taken, where that can be."""


@contextmanager
def sharing(processes: int) -> Iterator[None]:
    """Let :func:`require_memory` count the share that one of some processes has of a problem."""
    token = _shares.set(processes)
    try:
        yield
    finally:
        _shares.reset(token)


def require_memory(cells: int, n: Any = None) -> None:
    """Refuse a problem of so many cells that this machine has no room for; ``n`` is for the message."""
    # Three vectors at least: the load, the solution, and the coarse grids with what is in flight.
    need = 3 * 8 * cells // _shares.get()
    if need < 2**30:
        return
    have = free_memory()
    if need > have:
        got = f"{cells if n is None else n!r}, which needs about {need / 2**30:,.0f} GiB of memory"
        accepted = f"what fits into the {have / 2**30:,.0f} GiB that are free"
        raise ResourceError(f"n: got {got}; accepted: {accepted}")


class within_memory:  # noqa: N801  # used like the function that it was
    """Turn what is said when memory runs out into a ResourceError; a generator would take longer."""

    def __init__(self, n: Any) -> None:
        self.n = n

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        known = isinstance(error, MemoryError | OSError | RuntimeError)
        if known and not isinstance(error, ResourceError) and is_shortage(error):
            accepted = "what fits into the memory that is free"
            said = f"n: got {shown(self.n)}, for which memory ran out; accepted: {accepted}"
            raise ResourceError(said) from error


def is_shortage(error: Exception) -> bool:
    """Say whether an error of the system, of NumPy or of torch means that there is no more memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # On a CPU torch has no error of its own for it.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def free_memory() -> float:
    """Return the bytes that can be had without swapping, or infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        return 1024 * int(sizes["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" not in names:
            return math.inf
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
