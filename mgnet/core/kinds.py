"""What a value is: a number, an array, one with a mask, or one that derivatives are taken by."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

__all__ = [
    "hidden",
    "is_array",
    "is_number",
    "refuse_masked",
    "refuse_tracked",
    "tracked",
    "transforming",
]


def hidden(x: Any) -> bool:
    """Say whether the numbers of a tensor cannot be looked at, as under ``torch.func.vmap``."""
    if not isinstance(x, Tensor) or not x.numel():
        return False
    # Trying to read one would wait for a GPU.
    while _functorch.is_gradtrackingtensor(x):
        x = _functorch.get_unwrapped(x)
    return _functorch.is_batchedtensor(x)


def tracked(*tensors: Any) -> bool:
    """Say whether derivatives by one of these tensors, or a vmap over it, are under way."""
    graded = torch.is_grad_enabled()
    if not graded and _functorch.peek_interpreter_stack() is None and forward_ad._current_level < 0:
        return False  # nothing is under way at all
    known = [x for x in tensors if isinstance(x, Tensor)]
    if graded and any(x.requires_grad for x in known):
        return True
    return any(forward_ad.unpack_dual(x).tangent is not None or hidden(x) for x in known)


def transforming() -> bool:
    """Say whether ``torch.func`` takes derivatives at the moment, so that even new tensors are wrapped."""
    try:
        torch.zeros(1, device="cpu").numpy()
    except RuntimeError:
        return True
    return False


def is_number(value: Any) -> bool:
    """Say whether a value is one number, of whatever kind."""
    if type(value) is float:
        return True
    if isinstance(value, Tensor):
        return value.ndim == 0
    if hasattr(value, "__array__"):
        x = np.empty(1) if getattr(value, "ndim", 0) else np.asarray(value)
        return x.ndim == 0 and x.dtype.kind in "fiubc"
    return isinstance(value, numbers.Number)


def is_array(value: Any) -> bool:
    """Say whether a value is meant as an array, of whatever kind, rather than as one number."""
    if hasattr(value, "__array__"):
        return not is_number(value)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def refuse_masked(name: str, value: Any, instead: str = "") -> None:
    """Raise the error that tells what to do with a mask, which the values alone would lose.

    It is a TypeError for a masked array of NumPy or a masked tensor; lists are searched for rows with a mask.
    ``instead`` goes on with what a mask may be meant as.
    """
    if isinstance(value, list | tuple):
        for entry in value:
            if not isinstance(entry, float | int):
                refuse_masked(name, entry, instead)
    elif isinstance(value, np.ma.MaskedArray | torch.masked.MaskedTensor):
        raise TypeError(
            f"{name}: got a masked array of shape {tuple(value.shape)}; accepted: an array without a mask,"
            f" values filled in where it hides them, as numpy.ma.filled(array, value) does{instead}"
        )


def refuse_tracked(name: str, value: Any) -> None:
    """Raise an error where derivatives by a value are asked for and there are none.

    It is a ValueError for a tensor that requires a gradient or is under a transform of ``torch.func``.
    """
    if tracked(value):
        raise ValueError(
            f"{name}: got a tensor by which derivatives are taken; accepted: one without, such as"
            " tensor.detach(), since there is no derivative by it"
        )
