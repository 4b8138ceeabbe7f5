"""One axis of a box: which nodes are unknowns, its matrices, the coarser axis and the transfers from it.

Everything in two and three dimensions is a tensor product of what one axis is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import sent
from .convolutions import every_second

__all__ = ["Axis", "Chain", "gathered", "integrate_linear", "overlap"]


class Chain:
    """The unknowns among the nodes of a chain of cells, along one axis of any tensor, the last by default.

    Parameters
    ----------
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    """

    def __init__(self, ends: tuple[str, str]) -> None:
        self.ends = ends
        self.first = int(ends[0] == "dirichlet")
        self.behind = int(ends[1] != "natural")

    def nodes(self, x: Tensor, left: float = 0.0, right: float = 0.0, axis: int = -1) -> Tensor:
        """Return a function's values at all nodes from those at the unknowns, and at Dirichlet ends.

        ``left`` and ``right`` are not used at others.
        """
        if self.ends[0] == "periodic":
            return torch.cat((x, x.narrow(axis, 0, 1)), axis)
        shape = list(x.shape)
        shape[axis] = 1
        # An end value may be a tensor, to take derivatives by.
        low = [x.new_ones(shape) * left] if self.first else []
        high = [x.new_ones(shape) * right] if self.behind else []
        return torch.cat((*low, x, *high), axis) if low or high else x

    def unknowns(self, u: Tensor, axis: int = -1) -> Tensor:
        """Return the values at the unknowns among those at all nodes, as a view."""
        return u.narrow(axis, self.first, u.shape[axis] - self.behind - self.first)

    def loads(self, y: Tensor, axis: int = -1) -> Tensor:
        """Return the loads of the unknowns from those of all nodes: the transpose of ``nodes``.

        Those of joined ends add up.
        """
        b = self.unknowns(y, axis)
        if self.ends[0] == "periodic":
            b = b.clone()
            b.select(axis, 0).add_(y.select(axis, -1))
        return b

    def spread(self, b: Tensor, axis: int = -1) -> Tensor:
        """Return loads of all nodes from those of the unknowns, and zeros: the transpose of ``unknowns``."""
        shape = list(b.shape)
        shape[axis] = 1
        zero = b.new_zeros(shape)
        low, high = [zero] * self.first, [zero] * self.behind
        return torch.cat((*low, b, *high), axis) if low or high else b


@dataclass(frozen=True)
class Axis:
    """One axis of a box: cells of one width, but for the last, and what holds at its ends.

    Parameters
    ----------
    cells : int
        Number of cells.
    h : float
        Their width.
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the low and at the high end.
    robin : (float, float), default (0.0, 0.0)
        Robin's alpha at the two ends, over the coefficient a.
    last : float, optional
        Width of the last cell, ``h`` by default. It stays between half and one and a half
        times that of the others.
    nodes : numpy.ndarray, shape (cells + 1,), optional
        Coordinates of the nodes, where cells differ; ``h`` is their mean width then. They do not count when
        axes are compared, and such an axis is not coarsened.
    """

    cells: int
    h: float
    ends: tuple[str, str] = ("dirichlet", "dirichlet")
    robin: tuple[float, float] = (0.0, 0.0)
    last: float | None = None
    nodes: np.ndarray | None = field(default=None, compare=False, repr=False)

    @cached_property
    def chain(self) -> Chain:
        """Which nodes are unknowns."""
        return Chain(self.ends)

    @property
    def periodic(self) -> bool:
        """Whether the two ends are joined."""
        return self.ends[0] == "periodic"

    @property
    def unknowns(self) -> int:
        """Number of unknowns."""
        return self.cells if self.periodic else self.cells + 1 - self.ends.count("dirichlet")

    @property
    def widest(self) -> float:
        """The width of the last cell."""
        if self.nodes is not None:
            return float(self.nodes[-1] - self.nodes[-2])
        return self.h if self.last is None else self.last

    @property
    def widths(self) -> np.ndarray:
        """The width of every cell, in float64."""
        if self.nodes is not None:
            return np.diff(self.nodes)
        widths = np.full(self.cells, self.h)
        widths[-1] = self.widest
        return widths

    @property
    def places(self) -> np.ndarray:
        """Where the nodes lie between the two ends, from 0 to 1, in float64; the last cell as the others."""
        if self.nodes is None:
            return np.linspace(0.0, 1.0, self.cells + 1)
        return (self.nodes - self.nodes[0]) / (self.nodes[-1] - self.nodes[0])

    @property
    def even(self) -> bool:
        """Whether all cells are alike and come in pairs: then the transfers are convolutions."""
        return self.nodes is None and self.widest == self.h and self.cells % 2 == 0

    @property
    def coarse(self) -> Axis:
        """The axis whose cells are two of these each, but for the last, which is one, two or three."""
        widths = self.widths[2 * self.pairs :]
        return replace(
            self,
            cells=self.pairs + bool(len(widths)),
            h=2 * self.h,
            last=float(widths.sum()) if len(widths) else None,
        )

    def stretched(self, factor: float) -> Axis:
        """Return the axis whose cells are wider by a factor."""
        last = None if self.last is None else factor * self.last
        return replace(self, h=factor * self.h, last=last)

    @property
    def coarsens(self) -> bool:
        """Whether a coarser axis still has an inner node."""
        return self.nodes is None and self.cells >= 4

    def matrices(self) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """Return the stiffness and the mass matrix of this axis, :eq:`stiffness` and :eq:`mass`.

        They are in float64, of shape (unknowns, unknowns); Robin's alpha stands in the first.
        """
        k, s, m, w = self.couplings(1.0, 0.0)
        return self.tridiagonal(s[:-1], -k), self.tridiagonal(w[:-1], m)

    def dense_matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as arrays, without what SciPy takes to be loaded."""
        k, s, m, w = self.couplings(1.0, 0.0)
        found = np.zeros((2, len(s) - 1, len(s) - 1))
        for matrix, sums, others in zip(found, (s, w), (-k, m), strict=True):
            entries, place = self._entries(sums[:-1], others)
            np.add.at(matrix, place, entries)
        return found[0], found[1]

    def tridiagonal(self, sums: np.ndarray, others: np.ndarray) -> scipy.sparse.csr_array:
        """Return the matrix with such row sums, shape (unknowns,), and such entries beside the diagonal.

        These have shape (unknowns + 1,): number i is of unknowns i - 1 and i, and counts where one is given.
        """
        whole = scipy.sparse.coo_array(self._entries(sums, others), shape=(len(sums),) * 2)
        return scipy.sparse.csr_array(whole)

    def _entries(self, sums: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, tuple[Any, Any]]:
        """Give the entries of a matrix, and their rows and columns; what has one place is to be added up."""
        here = np.arange(len(sums))
        i = here if self.periodic else here[1:]
        entries = np.concatenate((sums - others[:-1] - others[1:], others[i], others[i]))
        rows, columns = np.concatenate((here, i, i - 1)), np.concatenate((here, i - 1, i))
        size = max(len(sums), 1)
        return entries, (rows % size, columns % size)

    def across(self, cells: np.ndarray) -> np.ndarray:
        """Give what the cells between unknowns have, those to given ends included, shape (unknowns + 1,)."""
        if self.periodic and self.cells == 1:  # the neighbour of a lone node is itself
            return np.zeros(2)
        beyond: dict[str, list[float]] = {"dirichlet": [], "natural": [0.0]}
        low, high = (cells[-1:], []) if self.periodic else map(beyond.__getitem__, self.ends)
        return np.concatenate((low, cells, high))

    def diagonals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the diagonals of the stiffness and of the mass matrix, shape (unknowns,), in float64."""
        k, s, m, w = self.couplings(1.0, 0.0)
        return s[:-1] + k[:-1] + k[1:], w[:-1] - m[:-1] - m[1:]

    def couplings(self, a: float, c: float) -> np.ndarray:
        """Return a times the stiffness and the mass matrix as couplings and row sums, (4, unknowns + 1).

        They are k, s, m and w of :mod:`mgnet.kernels.tensor`; what c adds to the first is in k and s.
        """
        rows, cells = np.zeros((4, self.unknowns + 1)), self.across(self.widths)
        rows[2] = cells / 6
        rows[3, :-1] = self.hat_integrals()
        rows[0] = np.divide(a, cells, out=np.zeros_like(cells), where=cells > 0) - c * rows[2]
        rows[1] = c * rows[3]
        for node, end in ((0, 0), (-2, 1)):
            if self.ends[end] == "natural":
                rows[1, node] += a * self.robin[end]
        return rows

    @property
    def nonzeros(self) -> int:
        """Number of entries of the matrices."""
        size = self.unknowns
        return min(3 * size, size**2) if self.periodic else max(3 * size - 2, 0)

    def hat_integrals(self) -> np.ndarray:
        """Return the integral of each unknown's hat, shape (unknowns,), in float64."""
        return self._of_unknowns(_at_both_ends(self.widths / 2))

    def _of_unknowns(self, y: np.ndarray) -> np.ndarray:
        if self.periodic:
            y[0] += y[-1]
        return y[self.chain.first : self.chain.first + self.unknowns]

    def interpolate(self, e: Tensor, axis: int, cubic: bool = False) -> Tensor:
        """Return a function's values at the unknowns from those at the unknowns of the coarse axis.

        These lie along an axis of ``e`` that is counted from the end.
        """
        e = self.chain.nodes(e, axis=axis)
        shape = list(e.shape)
        shape[axis] = self.cells + 1
        u, pairs = e.new_empty(shape), self.pairs
        low, high = e.narrow(axis, 0, pairs), e.narrow(axis, 1, pairs)
        every_second(u, axis, 0, pairs + 1).copy_(e.narrow(axis, 0, pairs + 1))
        new = torch.lerp(low, high, 0.5)
        if cubic and pairs >= 2:
            self._bend(new, e, axis)
        every_second(u, axis, 1, pairs).copy_(new)
        left, right = e.select(axis, -2), e.select(axis, -1)
        for node, t in self.new_in_last:
            u.select(axis, node).copy_((1 - t) * left + t * right)
        u.select(axis, -1).copy_(right)
        return self.chain.unknowns(u, axis)

    def restrict(self, b: Tensor, axis: int) -> Tensor:
        """Return the loads of the coarse unknowns: the transpose of :meth:`interpolate`."""
        b, pairs = self.chain.spread(b, axis), self.pairs
        shape = list(b.shape)
        shape[axis] = self.coarse.cells + 1
        coarse = b.new_zeros(shape)
        coarse.narrow(axis, 0, pairs + 1).copy_(every_second(b, axis, 0, pairs + 1))
        new = every_second(b, axis, 1, pairs)
        coarse.narrow(axis, 0, pairs).add_(new, alpha=0.5)
        coarse.narrow(axis, 1, pairs).add_(new, alpha=0.5)
        if 2 * pairs < self.cells:
            coarse.select(axis, -1).add_(b.select(axis, -1))
        for node, t in self.new_in_last:
            coarse.select(axis, -2).add_(b.select(axis, node), alpha=1 - t)
            coarse.select(axis, -1).add_(b.select(axis, node), alpha=t)
        return self.chain.loads(coarse, axis)

    def _bend(self, new: Tensor, e: Tensor, axis: int) -> None:
        """Subtract from linear interpolation what the second differences around each new node say."""
        pairs = self.pairs
        inner = new.narrow(axis, 1, pairs - 2)
        for start, factor in ((0, -1), (1, 1), (2, 1), (3, -1)):
            inner.add_(e.narrow(axis, start, pairs - 2), alpha=factor / 16)  # eq: cubic
        joined = self.periodic and self.even
        for node, inside in ((0, (0, 1, 2)), (-1, (pairs, pairs - 1, pairs - 2))):
            end, middle, inwards = (e.select(axis, i) for i in inside)
            bend = end - 2 * middle + inwards
            if not joined:
                new.select(axis, node).sub_(bend, alpha=1 / 8)
            else:
                around = e.select(axis, -2 if node == 0 else 1) - 2 * end + middle
                new.select(axis, node).sub_(bend, alpha=1 / 16).sub_(around, alpha=1 / 16)

    @property
    def pairs(self) -> int:
        """How many coarse cells are two cells of one width."""
        if self.cells % 2:
            # The odd cell is kept if it is wide, else its neighbours take it in.
            return self.cells // 2 - (self.widest < self.h)
        return self.cells // 2 - (not self.even)

    @property
    def new_in_last(self) -> list[tuple[int, float]]:
        """The new nodes of a last coarse cell that is no such pair, and where in it they lie."""
        widths = self.widths[2 * self.pairs :]
        places = np.cumsum(widths)[:-1] / widths.sum()
        return [(2 * self.pairs + i, float(place)) for i, place in enumerate(places, 1)]


def _at_both_ends(cells: np.ndarray) -> np.ndarray:
    """Give to each node what its two cells have."""
    nodes = np.append(cells, 0.0)
    nodes[1:] += cells
    return nodes


def integrate_linear(f: Tensor, widths: float | np.ndarray, axis: int) -> Tensor:
    """Integrate the function that is linear on each cell of an axis against its hats, :eq:`mass`.

    f has values at the nodes along the axis, which is counted from the end; cells may have a width each.
    """
    low, high = f.narrow(axis, 0, f.shape[axis] - 1), f.narrow(axis, 1, f.shape[axis] - 1)
    sixth: Any = widths / 6
    if not isinstance(sixth, float):
        sixth = sent(torch.from_numpy(sixth), f.device, f.dtype).reshape(-1, *[1] * (-1 - axis))
    return overlap(sixth * (2 * low + high), sixth * (low + 2 * high), axis)  # eq: load-consistent


def overlap(low: Tensor, high: Tensor, axis: int) -> Tensor:
    """Return values at nodes from what each cell of an axis gives to its low and to its high node.

    The result has one entry more along the axis.
    """
    n = low.shape[axis]
    inner = low.narrow(axis, 1, n - 1) + high.narrow(axis, 0, n - 1)
    return torch.cat((low.narrow(axis, 0, 1), inner, high.narrow(axis, n - 1, 1)), axis)


def gathered(pieces: Iterable[tuple[slice, Sequence[Tensor]]], n: int, axis: int) -> list[Tensor]:
    """Add up what some cells of an axis after others give, each let go of before the next is asked for.

    A piece says which of the n cells, and has arrays of theirs, or of their nodes with one entry more along
    the axis. What comes back are those of all cells, or of all nodes.
    """
    whole: list[Tensor] = []
    for cells, parts in pieces:
        if cells == slice(0, n):
            return list(parts)
        for i, part in enumerate(parts):
            count = part.shape[axis]
            if i == len(whole):
                shape = list(part.shape)
                shape[axis] = n + count - (cells.stop - cells.start)
                whole.append(part.new_zeros(shape))
            whole[i].narrow(axis, cells.start, count).add_(part)
    return whole
