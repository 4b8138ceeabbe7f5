"""Whether quadrature sees a function, or a peak falls between its points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .grid import Grid

__all__ = ["Lookout"]

# A value is alone where those two points away are smaller by this factor. So is that of a Gaussian whose
# standard deviation is a fiftieth of a cell, of which five points miss most; of one three times as wide, with
# an error of a tenth to a third, it depends on its place.
ALONE = 1e-4
# Points of the closer look at a function that vanishes at all points of quadrature.
CLOSER = 2**14


class Lookout:
    """Follow the values of a function from some cells to the next, and warn where they are not enough.

    A function is taken for unseen where more than half of the sum of its absolute values is at points that
    stand alone along an axis, or where it vanishes at all points and not between them. It costs one pass over
    the values; what is between the points of a function that is seen elsewhere is not looked for. The last
    ``dim`` axes of what it sees are those of the coordinates.
    """

    def __init__(self, dim: int) -> None:
        self.dim, self.largest, self.alone = dim, 0.0, False

    def look(self, sizes: Tensor) -> None:
        """Take the next absolute values into account, in the order of the points, whatever their batch."""
        top = float(sizes.max()) if sizes.numel() else 0.0
        if top > self.largest:
            self.largest = top
            self.alone = _around_largest(sizes, self.dim) and _share_alone(sizes, self.dim) > 0.5

    def warn(self, name: str, function: Callable[..., Tensor], grids: Sequence[Grid]) -> None:
        """Warn of a function, called as ``evaluate`` does, if there is a reason."""
        if not self.largest:  # in the middle of many equal parts of each axis
            count = round(CLOSER ** (1 / len(grids)))
            middles = (np.arange(count) + 0.5) / count
            points = np.ix_(*(grid.domain[0] + grid.length * middles for grid in grids))
            self.alone = bool(function(*points).any())
        if self.alone:
            warnings.warn(
                f"{name}: quadrature does not see this function, which has a peak between the points of a"
                " cell; take more cells, or nodes that are close to each other there, or a load b",
                RuntimeWarning,
                stacklevel=2,
            )


def _around_largest(sizes: Tensor, dim: int) -> bool:
    """Say whether the largest value stands alone along an axis: that is quickly seen."""
    place = [int(i) for i in np.unravel_index(int(sizes.argmax()), sizes.shape)]
    for axis in range(-dim, 0):
        index: list[Any] = [*place]
        i, index[axis] = index[axis], slice(None)
        line = sizes[tuple(index)]
        near = [float(line[j]) for j in (i - 2, i + 2) if 0 <= j < len(line)]
        if near and len(line) > 2 and max(near) < ALONE * float(line[i]):
            return True
    return False


def _share_alone(sizes: Tensor, dim: int) -> float:
    """Give the share of the sum that is at points which stand alone along an axis."""
    alone = torch.zeros_like(sizes, dtype=torch.bool)
    for axis in range(sizes.ndim - dim, sizes.ndim):
        if sizes.shape[axis] > 2:
            padded = sizes.new_zeros(*sizes.shape[:axis], 2, *sizes.shape[axis + 1 :])
            around = torch.cat((padded, sizes, padded), axis)
            n = sizes.shape[axis]
            near = torch.maximum(around.narrow(axis, 0, n), around.narrow(axis, 4, n))
            alone |= near < ALONE * sizes
    return float((sizes * alone).sum() / sizes.sum())
