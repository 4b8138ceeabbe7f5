"""A box of cells, axis by axis: which nodes are unknowns, one-dimensional matrices, coarser axes, transfers.

Everything in two and three dimensions is a tensor product of what one axis is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..core.memory import empty, is_open, owned, scratch, sent, spare, strips
from .chain import Chain, Transpose
from .convolutions import every_second

__all__ = ["Axis", "Box", "BoxProlongation", "gathered", "integrate_linear", "overlap"]

# An axis is coarsened as long as its cells are no wider than the narrowest by this factor: point smoothers
# do not see errors that vary along the wide side of a cell only.
WIDEST = math.sqrt(2)


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
    """

    cells: int
    h: float
    ends: tuple[str, str] = ("dirichlet", "dirichlet")
    robin: tuple[float, float] = (0.0, 0.0)
    last: float | None = None

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
        return self.h if self.last is None else self.last

    @property
    def widths(self) -> np.ndarray:
        """The width of every cell, in float64."""
        widths = np.full(self.cells, self.h)
        widths[-1] = self.widest
        return widths

    @property
    def even(self) -> bool:
        """Whether all cells are alike and come in pairs: then the transfers are convolutions."""
        return self.widest == self.h and self.cells % 2 == 0

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

    @property
    def coarsens(self) -> bool:
        """Whether a coarser axis still has an inner node."""
        return self.cells >= 4

    @property
    def corrections(self) -> list[tuple[int, int, float, float]]:
        """What the matrices have beyond ``-D / h`` and ``h (1 + D / 6)``, D the second difference.

        Row, column, and what is added to the stiffness and to the mass matrix: at natural ends, for Robin's
        alpha, and for the last cell.
        """
        found: list[tuple[int, int, float, float]] = []
        for node, end in ((0, 0), (-1, 1)):
            if self.ends[end] == "natural":
                found.append((node, node, self.robin[end], -self.h / 2))
        if self.widest != self.h:
            k, m = 1 / self.widest - 1 / self.h, (self.widest - self.h) / 6
            places: dict[str, tuple[int | None, int | None]]
            places = {"dirichlet": (-1, None), "natural": (-2, -1), "periodic": (-1, 0)}
            inner, outer = places[self.ends[1]]
            inner = None if inner is not None and -inner > self.unknowns else inner
            pair = (inner, outer)
            for i, row in enumerate(pair):
                for j, column in enumerate(pair):
                    if row is not None and column is not None:
                        found.append((row, column, k if i == j else -k, 2 * m if i == j else m))
        return found

    def matrices(self) -> tuple[sp.csr_array, sp.csr_array]:
        """Return the stiffness and the mass matrix of this axis, :eq:`stiffness` and :eq:`mass`.

        Returns
        -------
        (scipy.sparse.csr_array, scipy.sparse.csr_array), shape (unknowns, unknowns)
            In float64; Robin's alpha stands in the first.
        """
        widths, size = self.widths, self.cells + 1
        spread = sp.eye_array(size, format="csr")[:, self.chain.first : self.chain.first + self.unknowns]
        if self.periodic:
            spread = spread + sp.coo_array(([1.0], ([size - 1], [0])), shape=spread.shape)
        found: list[sp.csr_array] = []
        for same, other, ends in (
            (1 / widths, -1 / widths, self.robin),
            (widths / 3, widths / 6, (0.0, 0.0)),
        ):
            diagonal = _at_both_ends(same)
            diagonal[0] += ends[0]
            diagonal[-1] += ends[1]
            diagonals: Any = [other, diagonal, other]
            whole = sp.diags_array(diagonals, offsets=[-1, 0, 1])
            found.append(sp.csr_array(spread.T @ whole @ spread))
        return found[0], found[1]

    def diagonals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the diagonals of the stiffness and of the mass matrix, shape (unknowns,), in float64."""
        if self.cells == 1 and self.periodic:
            K, M = self.matrices()
            return K.diagonal(), M.diagonal()
        stiff = _at_both_ends(1 / self.widths)
        stiff[0] += self.robin[0]
        stiff[-1] += self.robin[1]
        return self._of_unknowns(stiff), self._of_unknowns(_at_both_ends(self.widths / 3))

    def hat_integrals(self) -> np.ndarray:
        """Return the integral of each unknown's hat, shape (unknowns,), in float64."""
        return self._of_unknowns(_at_both_ends(self.widths / 2))

    def _of_unknowns(self, y: np.ndarray) -> np.ndarray:
        if self.periodic:
            y[0] += y[-1]
        return y[self.chain.first : self.chain.first + self.unknowns]

    def interpolate(self, e: Tensor, axis: int, cubic: bool = False) -> Tensor:
        """Return a function's values at the unknowns from those at the unknowns of the coarse axis.

        Parameters
        ----------
        e : torch.Tensor
            Values at the coarse unknowns, along ``axis``.
        axis : int
            Which axis of ``e``, counted from the end.

        Returns
        -------
        torch.Tensor
            Values at the unknowns.
        """
        e = self.chain.nodes(e, axis=axis)
        shape = list(e.shape)
        shape[axis] = self.cells + 1
        u, pairs = empty(shape, e), self.pairs
        low, high = e.narrow(axis, 0, pairs), e.narrow(axis, 1, pairs)
        every_second(u, axis, 0, pairs + 1).copy_(e.narrow(axis, 0, pairs + 1))
        new = torch.lerp(low, high, 0.5, out=spare(low.shape, e))
        if cubic and pairs >= 2:
            self._bend(new, e, axis)
        every_second(u, axis, 1, pairs).copy_(new)
        left, right = e.select(axis, -2), e.select(axis, -1)
        for node, t in self.new_in_last:
            u.select(axis, node).copy_((1 - t) * left + t * right)
        u.select(axis, -1).copy_(right)
        return self.chain.unknowns(u, axis)

    def restrict(self, b: Tensor, axis: int) -> Tensor:
        """Return the loads of the coarse unknowns: the transpose of :meth:`interpolate`.

        Parameters
        ----------
        b : torch.Tensor
            Loads of the unknowns, along ``axis``.
        axis : int
            Which axis of ``b``, counted from the end.

        Returns
        -------
        torch.Tensor
            Loads of the coarse unknowns.
        """
        b, pairs = self.chain.spread(b, axis), self.pairs
        shape = list(b.shape)
        shape[axis] = self.coarse.cells + 1
        coarse = empty(shape, b).zero_()
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
    return np.convolve(cells, [1.0, 1.0])


def integrate_linear(f: Tensor, widths: Any, axis: int) -> Tensor:
    """Integrate the function that is linear on each cell of an axis against its hats, :eq:`mass`.

    Parameters
    ----------
    f : torch.Tensor
        Values at the nodes, along ``axis``.
    widths : float or torch.Tensor
        Of the cells; a tensor has their axis where ``f`` has it.
    axis : int
        Which axis.

    Returns
    -------
    torch.Tensor
        Of the shape of ``f``.
    """
    low, high = f.narrow(axis, 0, f.shape[axis] - 1), f.narrow(axis, 1, f.shape[axis] - 1)
    return overlap(widths / 6 * (2 * low + high), widths / 6 * (low + 2 * high), axis)


def overlap(low: Tensor, high: Tensor, axis: int, out: Tensor | None = None) -> Tensor:
    """Return values at nodes from what each cell of an axis gives to its low and to its high node.

    Parameters
    ----------
    low, high : torch.Tensor
        Of the cells, along ``axis``.
    axis : int
        Which axis.
    out : torch.Tensor, optional
        What the result is written into.

    Returns
    -------
    torch.Tensor
        One entry more along the axis.
    """
    n = low.shape[axis]
    inner = low.narrow(axis, 1, n - 1), high.narrow(axis, 0, n - 1)
    if out is None:  # gradients may flow
        return torch.cat((low.narrow(axis, 0, 1), torch.add(*inner), high.narrow(axis, n - 1, 1)), axis)
    torch.add(*inner, out=out.narrow(axis, 1, n - 1))
    out.select(axis, 0).copy_(low.select(axis, 0))
    out.select(axis, -1).copy_(high.select(axis, -1))
    return out


def gathered(pieces: Iterable[tuple[slice, Sequence[Tensor]]], n: int, axis: int) -> list[Tensor]:
    """Add up what some cells of an axis after others give, each let go of before the next is asked for.

    Parameters
    ----------
    pieces : iterable of (slice, sequence of torch.Tensor)
        Which cells, and arrays of theirs, or of their nodes with one entry more along ``axis``.
    n : int
        Number of cells along the axis.
    axis : int
        Which axis.

    Returns
    -------
    list of torch.Tensor
        The arrays of all cells, or of all nodes.
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


class Box:
    """A box of cells: a product of axes, which are the last axes of any tensor.

    Parameters
    ----------
    axes : sequence of Axis
        One for each dimension.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.dim = len(self.axes)
        self.places = tuple(range(-self.dim, 0))

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(axis.cells for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of unknowns along each axis."""
        return tuple(axis.unknowns for axis in self.axes)

    @property
    def ends(self) -> tuple[tuple[str, str], ...]:
        """What holds at the two ends of each axis."""
        return tuple(axis.ends for axis in self.axes)

    def nodes(self, x: Tensor, values: Tensor | None = None, *, own: bool = False) -> Tensor:
        """Return a function's values at all nodes from those at the unknowns.

        Parameters
        ----------
        x : torch.Tensor, shape ``(..., *unknowns)``
            Values at the unknowns.
        values : torch.Tensor, shape ``(..., *nodes)``, optional
            Values at the Dirichlet nodes, and zeros; all zero by default.
        own : bool, default False
            Whether the result is to outlive :func:`mgnet.core.memory.reused`.

        Returns
        -------
        torch.Tensor, shape ``(..., *nodes)``
            Values at all nodes.
        """
        if not is_open():  # gradients may flow, or x may be hidden in a vmap
            for axis, place in zip(self.axes, self.places, strict=True):
                x = axis.chain.nodes(x, axis=place)
            return x if values is None else x + values
        u = (owned if own else empty)((*x.shape[: x.ndim - self.dim], *(n + 1 for n in self.cells)), x)
        self._fill(u, x)
        return u if values is None else u.add_(values)

    def unknowns(self, u: Tensor) -> Tensor:
        """Return the values at the unknowns among those at all nodes, a view."""
        for axis, place in zip(self.axes, self.places, strict=True):
            u = axis.chain.unknowns(u, place)
        return u

    def loads(self, y: Tensor) -> Tensor:
        """Return the loads of the unknowns from those of all nodes: the transpose of ``nodes``."""
        for axis, place in zip(self.axes, self.places, strict=True):
            y = axis.chain.loads(y, place)
        return y

    def spread(self, b: Tensor) -> Tensor:
        """Return loads of all nodes from those of the unknowns: the transpose of ``unknowns``."""
        if not is_open():
            for axis, place in zip(self.axes, self.places, strict=True):
                b = axis.chain.spread(b, place)
            return b
        y = self.nodes(b)
        for axis, place in zip(self.axes, self.places, strict=True):
            if axis.periodic:
                y.select(place, -1).zero_()
        return y

    def _fill(self, u: Tensor, x: Tensor) -> None:
        """Write values at the nodes, zero at Dirichlet ones, from those at the unknowns."""
        self.unknowns(u).copy_(x)
        self.fill_sides(u)

    def fill_sides(self, u: Tensor) -> None:
        """Write the values at nodes that are no unknowns: those of joined ends, and zero at Dirichlet ones.

        Parameters
        ----------
        u : torch.Tensor, shape ``(..., *nodes)``
            Values at the unknowns are there already.
        """
        # The sides in turn: joined ones repeat what is there by then, edges included.
        for axis, place in zip(self.axes, self.places, strict=True):
            if axis.periodic:
                u.select(place, -1).copy_(u.select(place, 0))
            for node, end in zip((0, -1), axis.ends, strict=True):
                if end == "dirichlet":
                    u.select(place, node).zero_()

    def strip(self, x: Tensor, cells: slice) -> Tensor:
        """Give the values at the nodes of some cells of the first axis, which is not joined, for the moment.

        Parameters
        ----------
        x : torch.Tensor, shape ``(..., *unknowns)``
            Values at the unknowns.
        cells : slice
            Which cells along the first axis.

        Returns
        -------
        torch.Tensor, shape ``(..., their nodes, *nodes of the other axes)``
            Values at the nodes, in memory that the next strip has too; inside ``reused()`` only.
        """
        others, count = Box(self.axes[1:]), cells.stop - cells.start + 1
        shape = (*x.shape[: x.ndim - self.dim], count, *(n + 1 for n in others.cells))
        u: Any = scratch("strip", shape, x)
        axis, place = self.axes[0], -self.dim
        # The first unknown among these nodes, and the node behind the last.
        first = max(axis.chain.first - cells.start, 0)
        last = min(axis.chain.first + axis.unknowns - cells.start, count)
        u.narrow(place, 0, first).zero_()
        u.narrow(place, last, count - last).zero_()
        start = cells.start + first - axis.chain.first
        others._fill(u.narrow(place, first, last - first), x.narrow(place, start, last - first))
        return u

    def blend(self, values: Tensor, out: Tensor) -> Tensor:
        """Continue values at the Dirichlet nodes into the box, linearly from side to side, :eq:`blending`.

        Parameters
        ----------
        values : torch.Tensor, shape ``(..., *nodes)``
            Values at the Dirichlet nodes; others do not count.
        out : torch.Tensor, shape ``(..., *nodes)``
            What the result is written into.

        Returns
        -------
        torch.Tensor, shape ``(..., *nodes)``
            A function that is smooth where the values are, and has them.
        """
        first = self.places[0]
        ends = [values.narrow(first, i, 1) for i in (0, self.axes[0].cells)]
        for rows in strips(values.shape[first], values):
            rest = values.narrow(first, rows.start, rows.stop - rows.start).clone()
            total = out.narrow(first, rows.start, rows.stop - rows.start).zero_()
            for axis, place in zip(self.axes, self.places, strict=True):
                held = [i for i, end in enumerate(axis.ends) if end == "dirichlet"]
                if held:
                    sides = ends if place == first else [rest.narrow(place, i, 1) for i in (0, axis.cells)]
                    low, high = sides[held[0]], sides[held[-1]]
                    t = torch.linspace(0, 1, axis.cells + 1, dtype=values.dtype, device=values.device)
                    t = (t[rows] if place == first else t).reshape(-1, *[1] * (-1 - place))
                    part = low + t * (high - low)
                    total += part  # eq: blending
                    rest -= part
        return out

    def hat_integrals(self, like: Tensor) -> Tensor:
        """Return the integral of each unknown's hat, in the precision of another tensor."""
        integrals = (torch.from_numpy(axis.hat_integrals()) for axis in self.axes)
        weights = [sent(weight, like.device, like.dtype) for weight in integrals]
        return reduce(torch.multiply, torch.meshgrid(*weights, indexing="ij"))

    def coarsening(self) -> tuple[bool, ...]:
        """Say which axes the next coarser box coarsens: those whose cells are narrow; none at the end."""
        widths = [axis.h for axis in self.axes if axis.coarsens]
        narrow = WIDEST * min(widths, default=0.0)
        return tuple(axis.coarsens and axis.h <= narrow for axis in self.axes)

    @property
    def thin(self) -> tuple[bool, ...]:
        """Which axes are coarsened no more, although their cells are narrower than those that are."""
        widths = [axis.h for axis, chosen in zip(self.axes, self.coarsening(), strict=True) if chosen]
        least = min(widths, default=0.0) / WIDEST
        return tuple(not axis.coarsens and axis.unknowns > 1 and axis.h < least for axis in self.axes)

    @property
    def flat(self) -> bool:
        """Whether this box or a coarser one has thin axes."""
        chosen = self.coarsening()
        return any(chosen) and (any(self.thin) or self.coarse(chosen).flat)

    def coarse(self, which: Sequence[bool]) -> Box:
        """Return the box that is coarser along some axes."""
        return Box([axis.coarse if chosen else axis for axis, chosen in zip(self.axes, which, strict=True)])


class BoxProlongation:
    """Interpolation of hats in a box, along the axes that were coarsened; ``T`` restricts.

    Parameters
    ----------
    box : Box
        The fine box.
    which : sequence of bool
        The axes that were coarsened.
    """

    def __init__(self, box: Box, which: Sequence[bool]) -> None:
        self.box = box
        pairs = zip(box.axes, box.places, which, strict=True)
        self.chosen = [(axis, place) for axis, place, chosen in pairs if chosen]

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values of shape ``(..., *coarse unknowns)``."""
        for axis, place in self.chosen:
            e = axis.interpolate(e, place)
        return e

    def cubic(self, e: Tensor) -> Tensor:
        """Interpolate values of shape ``(..., *coarse unknowns)`` by cubic polynomials."""
        for axis, place in self.chosen:
            e = axis.interpolate(e, place, cubic=True)
        return e

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads of shape ``(..., *unknowns)``."""
        for axis, place in self.chosen:
            b = axis.restrict(b, place)
        return b

    @property
    def T(self) -> Transpose:
        """The adjoint: restriction."""
        return Transpose(self)
