"""What is made of an operator and two vectors, some rows at a time.

Megabytes that are worked on in one go leave the cache between one pass and the next. So an operator that has
``rows``, A x or b − A x at some rows of the first axis, is applied strip by strip, each of ``strip`` bytes of
a vector. Where it says ``by_rows``, that is all there is to it, and what else is done with a strip is done
while it is near.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.memory import empty_like, is_open, scratch, spare, strips
from .contract import Map

__all__ = ["Rows", "few", "in_rows", "relaxed", "residual", "rounded_residual"]

# Numbers of a short vector.
FEW = 2**14


class Rows(Protocol):
    """An operator that may give some rows of A x at a time."""

    strip: int

    @property
    def by_rows(self) -> bool:
        """Whether these rows are all there is to it."""

    def rows(self, x: Tensor, rows: slice, b: Tensor | None, out: Tensor) -> Tensor:
        """Write A x, or b − A x, at some rows of the first axis into ``out``, and return that.

        x has all unknowns, ``(N, 1, *unknowns)``; b and ``out`` have those rows, ``(N, 1, their number,
        ...)``.
        """


def _in_strips(A: Map, x: Tensor) -> Rows | None:
    """Give the operator, if it is to give some rows at a time, and no gradients flow."""
    if not is_open() or not getattr(A, "by_rows", False) or (few(x) and hasattr(A, "residual")):
        return None
    rows: Any = A
    return rows


def few(x: Tensor) -> bool:
    """Say whether a vector is so short that an operator does better with all of it at once."""
    return x.numel() <= FEW


def _rows_of(A: Rows, x: Tensor) -> Iterator[slice]:
    return strips(x.shape[2], x, A.strip)


def in_rows(A: Rows, x: Tensor, b: Tensor | None = None) -> Tensor:
    """Return A x, or b − A x, by an operator that has ``rows``; all are ``(N, 1, *unknowns)``.

    The result is in memory of its own.
    """
    y = empty_like(x)
    for rows in _rows_of(A, x):
        A.rows(x, rows, None if b is None else b[:, :, rows], y[:, :, rows])
    return y


def residual(A: Map, x: Tensor, b: Tensor) -> Tensor:
    """Return b − A x, by the operator's own way if it has one; all are ``(N, 1, *unknowns)``."""
    by_rows = _in_strips(A, x)
    if by_rows:
        return in_rows(by_rows, x, b)
    if hasattr(A, "residual"):
        r: Tensor = A.residual(x, b)
        return r
    y = A(x)
    return y.neg_().add_(b) if is_open() else b - y


def relaxed(A: Map, x: Tensor | None, b: Tensor, inverse: Any, weight: float) -> Tensor:
    """Return x + w D⁻¹ (b − A x), a sweep, of shape ``(N, 1, *unknowns)``; x that is None is zero.

    The inverse D⁻¹ is numbers of shape ``(*unknowns)``, 1 where all are alike, or what it makes of a
    residual.
    """
    if callable(inverse):
        e = inverse(b if x is None else residual(A, x, b)).mul_(weight)
        return e if x is None else e.add_(x)
    if x is None:
        return torch.addcmul(b.new_zeros(()), b, inverse, value=weight, out=spare(b.shape, b))
    by_rows = _in_strips(A, x)
    if by_rows is None:
        r = residual(A, x, b)
        return torch.addcmul(x, r, inverse, value=weight, out=r if is_open() else None)
    y = empty_like(x)
    for rows in _rows_of(by_rows, x):
        r = by_rows.rows(x, rows, b[:, :, rows], y[:, :, rows])
        there = inverse[rows] if inverse.shape[:1] == x.shape[2:3] else inverse
        torch.addcmul(x[:, :, rows], r, there, value=weight, out=r)
    return y


def rounded_residual(A: Map, x: Tensor, b: Tensor, factor: Tensor, out: Tensor) -> Tensor:
    """Write a multiple of b − A x in another precision, without the memory of the residual itself.

    Each row has a factor, shape ``(N, 1, ..., 1)``. ``out`` is written into, and returned.
    """
    by_rows = _in_strips(A, x)
    if by_rows is None:
        return out.copy_(residual(A, x, b).mul_(factor))
    for rows in _rows_of(by_rows, x):
        there = b[:, :, rows]
        room: Any = scratch("residual", there.shape, b)
        r = by_rows.rows(x, rows, there, room)
        out[:, :, rows].copy_(r.mul_(factor))
    return out
