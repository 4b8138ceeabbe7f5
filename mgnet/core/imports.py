"""Importing and compiling without the garbage collector, which would look at all they make many times."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away until the context is left, where it is not away already.

    While torch and Numba are imported it would look at a million objects several times, a tenth of a second
    each, and find no garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
