"""How a vector continues past the ends of an axis, which is what a boundary condition is to a convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BOUNDARIES", "Boundary", "Ends", "Margin", "all_ends", "both_ends", "extend", "fold", "margin"]

BOUNDARIES = ("dirichlet", "natural", "periodic", "same", "valid")

Ends = str | tuple[str, str]
# One for all axes, or one for each.
Boundary = Ends | tuple[tuple[str, str], ...]
# Past one end: (mode, width), mode one of zero, edge, wrap.
Margin = tuple[str, int]


def both_ends(boundary: Ends) -> tuple[str, str]:
    """Return the condition of the left and of the right end, checked: one for both, or a pair.

    All but ``BOUNDARIES`` is a ValueError, and so is one periodic end.
    """
    pair = (boundary, boundary) if isinstance(boundary, str) else tuple(boundary)
    if len(pair) != 2 or not set(pair) <= set(BOUNDARIES) or pair.count("periodic") == 1:
        raise ValueError(
            f"boundary: got {boundary!r}; accepted: one of {BOUNDARIES}, or a pair (left, right)"
        )
    return pair


def all_ends(boundary: Boundary, dim: int) -> tuple[tuple[str, str], ...]:
    """Return the condition of both ends of every axis, checked.

    What :func:`both_ends` takes is for all axes; else there is a tuple of pairs, or a ValueError.
    """
    if not isinstance(boundary, str | Sequence):
        raise TypeError(f"boundary: got {boundary!r}; accepted: one of {BOUNDARIES}, or a pair of them")
    if isinstance(boundary, str) or any(isinstance(end, str) for end in boundary):
        return (both_ends(boundary),) * dim  # type: ignore[arg-type]
    if len(boundary) != dim:
        raise ValueError(f"boundary: got {boundary!r}; accepted: one pair for each of the {dim} axes")
    return tuple(both_ends(ends) for ends in boundary)


def margin(condition: str, stride: int, reach: int, end: int) -> Margin:
    """Return how a kernel needs its input continued past one end: mode (zero, edge or wrap) and width.

    The stride is the step of the output nodes, and the reach how many nodes the kernel reaches to either
    side. The end is 0 at the left and 1 at the right.
    """
    if condition == "periodic":
        return "wrap", reach if stride == 1 or end == 0 else reach - stride + 1
    if condition == "valid":
        return "zero", 0
    if condition == "natural" and stride == 1:
        return "edge", reach
    # A strided kernel of interior nodes starts on the first one; all else sees zeros outside.
    return "zero", reach - stride + 1 if condition == "dirichlet" else reach


def extend(x: Tensor, margins: Sequence[Margin], axis: int) -> Tensor:
    """Continue a vector past both ends of an axis; a negative width leaves nodes out."""
    (left, low), (right, high) = margins
    size = x.shape[axis]
    start, stop = max(-low, 0), size - max(-high, 0)
    parts = [x.narrow(axis, start, stop - start)] if stop - start < size else [x]
    if low > 0:
        parts.insert(0, _beyond(x, left, low, axis, 0))
    if high > 0:
        parts.append(_beyond(x, right, high, axis, 1))
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def _beyond(x: Tensor, mode: str, width: int, axis: int, end: int) -> Tensor:
    """Give the values outside of one end, the low one or the high."""
    shape = list(x.shape)
    shape[axis] = width
    if mode == "zero":
        return x.new_zeros(shape)
    size = x.shape[axis]
    if mode == "edge":
        return x.narrow(axis, end * (size - 1), 1).expand(shape)
    # A period may be shorter than the margin.
    whole = torch.cat([x] * -(-width // size), axis) if width > size else x
    return whole.narrow(axis, 0 if end else whole.shape[axis] - width, width)


def fold(y: Tensor, margins: Sequence[Margin], axis: int) -> Tensor:
    """Apply the transpose of :func:`extend`: what stood past the ends is added where it came from."""
    (left, low), (right, high) = margins
    size = y.shape[axis] - low - high
    inner = y.narrow(axis, max(low, 0), y.shape[axis] - max(low, 0) - max(high, 0))
    x = extend(inner, (("zero", max(-low, 0)), ("zero", max(-high, 0))), axis)
    sides = [side for side in ((left, low, 0), (right, high, 1)) if side[0] != "zero" and side[1] > 0]
    x = x.clone() if sides else x
    for mode, width, end in sides:
        _fold_back(x, mode, y.narrow(axis, end * (low + size), width), axis, end)
    return x


def _fold_back(x: Tensor, mode: str, outside: Tensor, axis: int, end: int) -> None:
    """Add what stands outside of one end where it came from."""
    size, width = x.shape[axis], outside.shape[axis]
    if mode == "edge":
        x.narrow(axis, end * (size - 1), 1).add_(outside.sum(axis, keepdim=True))
        return
    for done in range(0, width, size):  # a period may be shorter than the margin
        count = min(size, width - done)
        part = outside.narrow(axis, done if end else width - done - count, count)
        x.narrow(axis, 0 if end else size - count, count).add_(part)
