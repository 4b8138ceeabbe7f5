"""A grid for a device as sparse matrices: what its passes are where there is no Triton.

A product with a matrix is one call of the device's library, where shifted sums are a launch for each
neighbour. It reads its columns beside its numbers, so it is for grids that are so small that launches take
the time.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent
from . import frames
from .boxes import three
from .launched import DeviceGrid, Launched, there_are

__all__ = ["Multiplied", "on_device"]

# Entries of a matrix beyond which a grid is none of the small ones.
MOST = 2**25
# Unknowns that 32 bits count.
COUNTED = 2**31 - 2**12

_LIBRARY = torch.library.Library("mgnet", "FRAGMENT")
_LIBRARY.define("add_product_(Tensor(a!) y, Tensor[] matrix, Tensor x, float alpha, float beta) -> ()")


def _add_product(y: Tensor, matrix: Sequence[Tensor], x: Tensor, alpha: float, beta: float) -> None:
    """Write beta y and alpha times a sparse matrix times x into y; each column is a vector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse matrices new
        starts, columns, values = matrix
        A = torch.sparse_csr_tensor(starts, columns, values, (len(y), len(x)), check_invariants=False)
        y.addmm_(A, x, alpha=alpha, beta=beta)


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("add_product_", _add_product, _key)


class _Matrix(NamedTuple):
    """A sparse matrix by rows: where each begins, and the columns and the numbers of its entries."""

    starts: Tensor
    columns: Tensor
    values: Tensor

    def add_to(self, y: Tensor, x: Tensor, alpha: float = 1.0) -> Tensor:
        """Add its product with vectors to others, and return these."""
        torch.ops.mgnet.add_product_(y.flatten(1).T, list(self), x.flatten(1).T, alpha, 1.0)
        return y

    def times(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return its product with vectors, each of such a shape."""
        y = x.new_empty((len(x), 1, *shape))
        torch.ops.mgnet.add_product_(y.flatten(1).T, list(self), x.flatten(1).T, 1.0, 0.0)
        return y


class Multiplied(DeviceGrid):
    """A grid as sparse matrices: D⁻¹ A, R, R D and P.

    Parameters
    ----------
    A, P, inverse
        As for :class:`mgnet.operators.launched.DeviceGrid`.
    """

    def __init__(self, A: Any, P: Any, inverse: Tensor) -> None:
        super().__init__(A, P, inverse)
        self.scaled = self._scaled(A)

    def descend(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Smooth by one sweep for each weight, and restrict the residual; see :class:`.Fused`."""
        load = b * self.inverse
        if coarse is not None:
            x = self.cubic(coarse) if self.cubic else self._interpolated(coarse)
        elif x is None and len(weights) > 1:
            # Two sweeps from zero are a polynomial in the load.
            first, second, *weights = weights
            x = self.scaled.add_to(load * (first + second), load, -first * second)
        elif x is None:
            x, weights = load * (weights[0] if weights else 0.0), weights[1:]
        elif not weights:
            x = x.clone()  # what comes out is overwritten on the way up
        x = self._relaxed(x, load, weights)
        r = self.scaled.add_to(load.clone(), x, -1.0)
        return x, self.unscaled.times(r, self.coarse)

    def ascend(self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Add the interpolation of coarse values, and smooth; x is overwritten."""
        x = self.interpolating.add_to(x.contiguous(), e)
        return self._relaxed(x, b * self.inverse, weights) if weights else x

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads."""
        return self.restricting.times(b, self.coarse)

    def _relaxed(self, x: Tensor, load: Tensor, weights: Sequence[float]) -> Tensor:
        for weight in weights:
            x = self.scaled.add_to(torch.add(x, load, alpha=weight), x, -weight)
        return x

    def _interpolated(self, e: Tensor) -> Tensor:
        return self.interpolating.times(e, self.box.shape)

    def _scaled(self, A: Any) -> _Matrix:
        """Give D⁻¹ A from the entries between nodes."""
        E, n, flat = frames.joined(A.frame, A.box), three(self.box.shape, 1), self.box.dim == 2
        padded, unknowns = E.shape[1:], [np.arange(size) for size in n]
        firsts = [first + (0 if flat and a == 1 else 1) for a, first in enumerate(self.firsts)]
        columns, places = [], []
        for step in itertools.product((-1, 0, 1), (0,) if flat else (-1, 0, 1), (-1, 0, 1)):
            columns.append(_flat(self._among([i + s for i, s in zip(unknowns, step, strict=True)], n), n))
            field = 3 * step[0] + step[2] if flat else 9 * step[0] + 3 * step[1] + step[2]
            # An entry stands at the first of its two nodes.
            back = step if field < 0 else (0, 0, 0)
            there = [i + first + s for i, first, s in zip(unknowns, firsts, back, strict=True)]
            places.append(_flat(there, padded) + abs(field) * math.prod(padded))
        rows, column, order = _by_rows(columns)
        starts, columns_of, rows_of = self._indices(rows, column, math.prod(n))
        values = self._taken(E, np.stack(places, -1).ravel()[order])
        return _Matrix(starts, columns_of, values * self._inverse[rows_of])

    @property
    def _inverse(self) -> Tensor:
        return self.inverse.expand(self.box.shape).flatten()

    def _among(self, axes: Sequence[np.ndarray], n: Sequence[int]) -> list[np.ndarray]:
        """Give what of places along axes is one, -1 elsewhere; joined ends go round."""
        return [
            i % size if joined else np.where((i >= 0) & (i < size), i, -1)
            for i, size, joined in zip(axes, n, self.joined, strict=True)
        ]

    @cached_property
    def interpolating(self) -> _Matrix:
        """P."""
        rows, columns, values, _ = self._transfers
        starts, columns_of, _ = self._indices(rows, columns, math.prod(self.box.shape))
        return _Matrix(starts, columns_of, values)

    @cached_property
    def restricting(self) -> _Matrix:
        """R = Pᵀ."""
        return self._turned[0]

    @cached_property
    def unscaled(self) -> _Matrix:
        """R D: what restricts a residual that D⁻¹ was multiplied with."""
        (starts, columns, values), fine = self._turned
        inverse = self._inverse[fine]
        return _Matrix(starts, columns, torch.where(inverse == 0, 0.0, values / inverse))

    @cached_property
    def _turned(self) -> tuple[_Matrix, Tensor]:
        rows, columns, values, order = self._transfers
        starts, fine, _ = self._indices(columns[order], rows[order], math.prod(self.coarse))
        places = sent(torch.from_numpy(order), self.like["device"])
        return _Matrix(starts, fine, values[places]), fine

    @cached_property
    def _transfers(self) -> tuple[np.ndarray, np.ndarray, Tensor, np.ndarray]:
        """Give rows, columns and values of P by rows, and the order in which its transpose has them."""
        (bases, weights), N, corners = self.hats, three(self.coarse, 1), self.corners
        taps, columns, given, places = [len(w) for w in weights], [], [], []
        nodes = _flat(
            [np.arange(len(i)) + f for i, f in zip(bases, self.firsts, strict=True)], corners.shape[1:] or N
        )
        for tap in itertools.product(*map(range, taps)):
            J = [base + t for base, t in zip(bases, tap, strict=True)]
            first, middle, last = (w[t] for w, t in zip(weights, tap, strict=True))
            given.append(first[:, None, None] * middle[:, None] * last)
            columns.append(np.where(given[-1] != 0, _flat(self._among(J, N), N), -1))
            colour = [(j + f) % t for j, f, t in zip(J, self.firsts, taps, strict=True)]
            places.append(_flat(colour, taps) * math.prod(corners.shape[1:]) + nodes)
        rows, column, order = _by_rows(columns)
        if corners.numel():
            values = self._taken(corners, np.stack(places, -1).ravel()[order])
        else:
            values = sent(torch.from_numpy(np.stack(given, -1).ravel()[order]), self.like["device"])
        return rows, column, values, np.argsort(column, kind="stable")

    def _taken(self, x: Tensor, places: np.ndarray) -> Tensor:
        return x.flatten()[sent(torch.from_numpy(places), self.like["device"])]

    def _indices(self, rows: np.ndarray, columns: np.ndarray, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Send where rows begin, the columns, and the rows."""
        starts = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=count))))
        whole = torch.from_numpy(np.concatenate((starts, columns, rows)).astype(np.int32))
        found = sent(whole, self.like["device"]).split([count + 1, len(columns), len(rows)])
        return found[0].contiguous(), found[1].contiguous(), found[2]


def _flat(axes: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Give places among all from those along each axis; -1 where one of these is."""
    i, j, k = np.ix_(*axes)
    return np.where((i < 0) | (j < 0) | (k < 0), -1, (i * shape[1] + j) * shape[2] + k)


def _by_rows(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give row and column of each entry that there is, row by row, and where it stands among all."""
    whole = np.stack(columns, -1).ravel()
    order = np.flatnonzero(whole >= 0)
    return order // len(columns), whole[order], order


def on_device(A: Any, P: Any, inverse: Tensor) -> Launched | Multiplied | None:
    """Return the passes on a device of a grid, where there are some.

    Parameters
    ----------
    A : Operator
        The operator.
    P : Interpolation
        What comes from the next coarser grid.
    inverse : torch.Tensor
        Of the diagonal, for the sweeps.
    """
    size = math.prod(A.box.shape)
    if A.box.dim < 2 or not 0 < size <= COUNTED:
        return None
    numbers = A.on_device()
    if numbers is None:
        return None
    if there_are():
        return Launched(A, numbers, P, inverse)
    # What has row sums of its own would lose them in the entries.
    return Multiplied(A, P, inverse) if numbers.sums is None and size * 3**A.box.dim <= MOST else None
