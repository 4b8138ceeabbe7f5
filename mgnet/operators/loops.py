"""The door to the compiled loops: whether there are any for some tensors, and their arrays.

Loops are for a CPU, for float32 and float64, and where no derivatives are taken; elsewhere torch does the
work, which is the definition of every operator.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.imports import uncollected
from ..core.kinds import tracked

__all__ = ["apply_to", "arrays", "kind", "plain", "shared", "there_are", "without"]

TYPES = (torch.float32, torch.float64)


class _Here(threading.local):
    """Whether loops are switched off in this thread."""

    off = False


_here = _Here()


@lru_cache(maxsize=1)
def there_are() -> bool:
    """Say whether loops can be compiled here; warn, once, where not."""
    try:
        with uncollected():
            from ..kernels import compiling

        compiling.require()
    except Exception as error:  # what does not fit its Python, its NumPy or its own library raises anything
        warnings.warn(
            f"mgnet: no compiled loops, so solves take longer: {error}", RuntimeWarning, stacklevel=2
        )
        return False
    return True


def apply_to(*tensors: Tensor | None) -> bool:
    """Say whether loops may work on some tensors; None counts for nothing."""
    if _here.off:
        return False
    for x in tensors:
        if x is not None and not (x.is_cpu and x.dtype in TYPES):
            return False
    return not tracked(*tensors) and there_are()


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Return tensors as contiguous arrays, which share their memory where they are that already."""
    return tuple(x.detach().contiguous().numpy() for x in tensors)


def plain(x: Tensor) -> Any:
    """Return an array of a tensor on a CPU, itself elsewhere, for what NumPy and torch say alike.

    Of torch's threads each waits for the others, which takes long where others are at work.
    """
    return x.numpy() if apply_to(x) else x


def shared(loop: Callable[..., None], planes: int, size: int, *numbers: Any) -> None:
    """Let threads do some planes each of a loop over numbers, arrays of so many entries among them."""
    from ..kernels.sharing import share, shares

    share(lambda i, j: loop(*numbers, i, j), shares(planes, size, torch.get_num_threads()))


def kind(dtype: torch.dtype) -> np.dtype[Any]:
    """Return the precision of the arrays of some tensors."""
    return np.dtype(np.float32 if dtype == torch.float32 else np.float64)


@contextlib.contextmanager
def without() -> Iterator[None]:
    """Let torch do all the work in this thread, until the context is left."""
    before, _here.off = _here.off, True
    try:
        yield
    finally:
        _here.off = before
