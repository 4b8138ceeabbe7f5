"""Operators on a grid and the transfers to the next, as arrays for the compiled passes over memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axes import Axis
from .boxes import three

__all__ = ["Fused"]

BITS = {np.dtype(np.float32): (np.int32, 0x7FFFFFFF), np.dtype(np.float64): (np.int64, 2**63 - 1)}


class Fused:
    """A grid as the compiled passes see it: its operator, and the transfers to the next coarser one.

    Parameters
    ----------
    A : Operator
        One that has ``compiled``, the arrays of a kind of kernels.
    chosen : sequence of bool, optional
        The axes that are coarsened by hats; none on the coarsest grid.
    """

    def __init__(self, A: Any, chosen: Sequence[bool] | None = None) -> None:
        self.box, self.dtype = A.box, A.like["dtype"]
        self.kind = _NUMPY[self.dtype]
        joined = three([axis.periodic for axis in self.box.axes], False)
        chosen = chosen or [False] * self.box.dim
        self.op = (joined, *A.compiled(self.kind))
        self.shape = three(self.box.shape, 1)
        transfers = [
            _transfer(axis, some, self.kind) for axis, some in zip(self.box.axes, chosen, strict=True)
        ]
        trivial = (np.zeros(1, np.int64), np.array([[1.0], [0.0]], self.kind), np.zeros(3, np.int64))
        self.hats = tuple(zip(*three(transfers, trivial), strict=True))
        self.coarse = three(self.box.coarse(chosen).shape, 1)
        # Where the planes of the coarse grid lie among those of this one.
        base, weights = self.hats[0][0], self.hats[1][0]
        self.centres = np.flatnonzero(weights[1] == 0) if len(base) > 1 else np.zeros(1, np.int64)
        self._rooms = threading.local()

    def room(self, name: str, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        """Return memory of a name that this thread has used before; what was in it is lost."""
        rooms = self._rooms.__dict__
        key = name, dtype or self.kind
        if key not in rooms or rooms[key].size < np.prod(shape):
            rooms[key] = np.empty(int(np.prod(shape)), dtype or self.kind)
        return rooms[key][: int(np.prod(shape))].reshape(shape)


_NUMPY = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


def _transfer(axis: Axis, chosen: bool, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give where the unknowns of an axis lie among the coarse ones; see :mod:`mgnet.kernels.tensor`."""
    unknowns = np.arange(axis.unknowns)
    if not chosen:
        weights = np.stack((np.ones(axis.unknowns), np.zeros(axis.unknowns)))
        return unknowns, weights.astype(dtype), np.zeros(3, np.int64)
    first, pairs = axis.chain.first, axis.pairs
    nodes = unknowns + first
    base, place = nodes // 2, (nodes % 2) / 2
    for node, t in [*axis.new_in_last, (axis.cells, 0.0)]:
        here = nodes == node
        base[here], place[here] = (pairs, t) if t else (axis.coarse.cells, 0.0)
    begin = first  # the first unknown on a coarse node is node 0 or 2
    count = max(pairs - begin, 0)
    regular = np.array([begin, count, begin - first], np.int64)
    return base - first, np.stack((1 - place, place)).astype(dtype), regular
