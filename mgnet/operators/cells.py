"""The stiffness operator in a box whose coefficients vary.

On a cell the gradient of a product of hats is a sum of squares, :eq:`cell-energy`: of the differences along
some axes of the means along the others. That form needs no more than one number for each cell. What c adds is
kept apart, as entries of nodes and of neighbours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .. import stencils
from ..core.kinds import hidden
from ..core.memory import empty_like, is_open, scratch, strips
from .axes import overlap
from .boxes import Box
from .entries import NodalOperator, StencilStiffness, scaled, zeros_at_nodes
from .interpolation import Pull, shifted
from .sides import RobinSides

__all__ = ["CellStiffness"]


class CellStiffness(NodalOperator):
    """The operator −∇·(a ∇u) + c u in a box of equal cells, with one a for each, :eq:`cell-energy`.

    Parameters
    ----------
    box : Box
        The cells and their ends; the Robin data of its axes are not used.
    a : torch.Tensor, shape ``(*cells)``
        Coefficient, positive.
    reaction : StencilStiffness, optional
        The mass matrix with the weight c, at all nodes: a diagonal where it is lumped. None where c is zero.
    robin : sequence of (float, float), or torch.Tensor, shape (axes, 2), optional
        Robin's alpha at the two ends of each axis; a tensor is one of the operator's numbers.
    """

    def __init__(
        self,
        box: Box,
        a: Tensor,
        reaction: StencilStiffness | None = None,
        robin: Sequence[tuple[float, float]] | Tensor | None = None,
    ) -> None:
        self.box, self.dim = box, box.dim
        self.corners = list(itertools.product((0, 1), repeat=box.dim))
        self.a, self.reaction = a, reaction
        self.robin = RobinSides(box, [(0.0, 0.0)] * box.dim if robin is None else robin)
        self.h = [axis.h for axis in box.axes]

    @cached_property
    def modes(self) -> list[tuple[tuple[int, ...], float]]:
        """The squares of :eq:`cell-energy`: axes of the differences, and the factor of a."""
        volume = math.prod(self.h)
        found = []
        for flags in self.corners:
            axes = tuple(i for i, flag in enumerate(flags) if flag)
            if axes:
                # eq: cell-energy
                found.append((axes, volume * sum(self.h[i] ** -2 for i in axes) / 12 ** (len(axes) - 1)))
        return found

    @cached_property
    def _modes_of_sums(self) -> list[tuple[tuple[int, ...], float]]:
        """The same for sums along the axes without a difference, each of which is two means."""
        return [(axes, factor / 4 ** (self.dim - len(axes))) for axes, factor in self.modes]

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        if not is_open():  # gradients may flow
            y, factor = self._from_cells(u, slice(0, self.box.cells[0]))
            return y * factor if self.reaction is None else y * factor + self.reaction.at_nodes(u)
        y = empty_like(u).zero_()
        for cells in strips(self.box.cells[0], u, self.strip):
            nodes = -self.dim, cells.start, cells.stop - cells.start + 1
            part, factor = self._from_cells(u.narrow(*nodes), cells)
            y.narrow(*nodes).add_(part, alpha=factor)
        if self.reaction is not None:
            self.reaction.add_to(y, u)
        return y

    @cached_property
    def smooth(self) -> bool:
        """Whether c is zero and a of neighbouring cells differs by a factor of two at most."""
        if self.reaction is not None:
            return False
        parts = (self.a[rows.start : rows.stop + 1] for rows in strips(len(self.a), self.a, self.strip))
        pairs = [
            (part.narrow(axis, 0, part.shape[axis] - 1), part.narrow(axis, 1, part.shape[axis] - 1))
            for part in parts
            for axis in range(self.dim)
        ]
        ends = [
            (self.a.select(i, 0), self.a.select(i, -1))
            for i, axis in enumerate(self.box.axes)
            if axis.periodic
        ]
        return not any(bool(((x > 2 * y) | (y > 2 * x)).any()) for x, y in (*pairs, *ends))

    @property
    def contrast(self) -> float:
        """How many times stronger a coupling between neighbours is than another, anywhere in the box."""
        a = self.a if any(self.a.stride()) else self.a[(0,) * self.dim]
        return float(a.max() / a.min()) * (max(self.h) / min(self.h)) ** 2

    def _of_cells(self, u: Tensor, cells: slice) -> tuple[Tensor, float]:
        y, factor = self._from_cells(u, cells)
        if self.reaction is not None:
            self.reaction.add_to(y, u, 1 / factor, slice(cells.start, cells.stop + 1))
        return y, factor

    def _from_cells(self, u: Tensor, cells: slice) -> tuple[Tensor, float]:
        """Give what a in some cells, and alpha on their sides, give to their nodes, and a factor."""
        fields, weighted = _differences(u, self.dim), {}
        for axes, factor in self._modes_of_sums:
            field = fields[axes]
            weighted[axes] = torch.mul(field, self.a[cells], out=field if is_open() else None), factor
        y, factor = _spread_differences(weighted, self.dim)
        for place, end, alpha in self.robin(moving=not is_open()):
            if place > -self.dim or (cells.stop == self.box.cells[0] if end else cells.start == 0):
                side = u.select(place, end)
                part = self.robin.mass(side, place) * (alpha / factor)
                if isinstance(alpha, Tensor):  # derivatives are taken by it, and it may be many
                    y = torch.select_scatter(y, y.select(place, end) + part, place, end)
                else:
                    y.select(place, end).add_(part)
        return y, factor

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The numbers that the operator depends on: ``a``, those of ``reaction`` and a tensor ``robin``."""
        of_reaction = () if self.reaction is None else self.reaction.numbers
        return (self.a, *of_reaction, *self.robin.numbers)

    def replaced(self, *numbers: Tensor) -> CellStiffness:
        """Return the operator with other numbers."""
        a, *others = numbers
        rest, robin = (others[:-1], others[-1]) if self.robin.numbers else (others, self.robin.given)
        reaction = None if self.reaction is None else self.reaction.replaced(*rest)
        return CellStiffness(self.box, a, reaction, robin)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *unknowns)``."""
        v, u = self.box.nodes(v), self.box.nodes(u)
        of_v, of_u = _differences(v, self.dim), _differences(u, self.dim)
        of_a = reduce(torch.add, (of_v[axes] * of_u[axes] * factor for axes, factor in self._modes_of_sums))
        of_reaction = () if self.reaction is None else self.reaction.energies_at_nodes(v, u)
        return (of_a, *of_reaction, *self.robin.energies(v, u))

    def scaled(self, factor: float, dtype: torch.dtype) -> CellStiffness:
        """Return a multiple of the operator in another precision."""
        reaction = None if self.reaction is None else self.reaction.scaled(factor, dtype)
        robin = [(factor * low, factor * high) for low, high in self.robin.alphas]
        return CellStiffness(self.box, scaled(self.a, factor, dtype), reaction, robin)

    def to_sparse(self) -> sp.csc_array:
        """Return the matrix in SciPy's form."""
        return self.assembled().to_sparse()

    def assembled(self) -> StencilStiffness:
        """Return the same operator as entries between neighbouring nodes."""
        K, sides = self._unit_element, list(self.robin.elements())
        fields: dict[tuple[int, ...], Tensor] = {}
        for (i, low), (j, high) in itertools.product(enumerate(self.corners), repeat=2):
            step = tuple(q - p for p, q in zip(low, high, strict=True))
            if step >= (0,) * self.dim:
                if step not in fields:
                    fields[step] = zeros_at_nodes(self.box, self.a)
                here = fields[step][_corner(low, self.box.cells)]
                here.add_(self.a, alpha=float(K[i, j]))
                for axis, end, element in sides:
                    here.select(axis, end).add_(float(element[i, j]))
        centre, pairs = fields.pop((0,) * self.dim), fields
        if self.reaction is not None:
            centre += self.reaction.centre
            for step, field in self.reaction.pairs.items():
                pairs[step] += field
        return StencilStiffness(self.box, centre, pairs, self.singular, self.hold)

    @property
    def sums(self) -> Tensor | None:
        """What the operator makes of the function 1 at all nodes: zero but for c and Robin's alpha."""
        shape = [n + 1 for n in self.box.cells]
        if self.reaction is None and not self.robin:
            return self.a.new_zeros(()).expand(shape)
        return self.at_nodes(torch.ones((1, 1, *shape), **self.like))[0, 0]

    @cached_property
    def _unit_element(self) -> np.ndarray:
        """The matrix of one cell for a = 1."""
        return stencils.element(self.h)

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``."""
        if any(axis.periodic and axis.cells == 1 for axis in self.box.axes):
            return self.assembled().diagonal()
        y = zeros_at_nodes(self.box, self.a)
        for corner in self.corners:
            y[_corner(corner, self.box.cells)].add_(self.a, alpha=float(self._unit_element[0, 0]))
        if self.reaction is not None:
            y += self.reaction.centre
        self.robin.add_diagonal(y)
        return self.box.loads(y)

    def pulls(self, nodes: Sequence[slice]) -> Iterator[Pull]:
        """Give the coefficients of the cells around the nodes, and the other corners of these cells."""
        for i, own in enumerate(self.corners):
            low = [shifted(some, -corner) for some, corner in zip(nodes, own, strict=True)]
            others = [
                (tuple(shifted(some, corner) for some, corner in zip(low, there, strict=True)), j)
                for j, there in enumerate(self.corners)
                if j != i
            ]
            yield self.a[tuple(low)], [(there, -float(self._unit_element[i, j])) for there, j in others]
        if self.reaction is not None:
            yield from self.reaction.pulls(nodes)

    def own(self, nodes: Sequence[slice]) -> Tensor:
        """Return the sum over the cells around each node, and what c adds."""
        around = (
            self.a[tuple(shifted(s, -c) for s, c in zip(nodes, own, strict=True))] for own in self.corners
        )
        of_a = reduce(torch.add, around) * float(self._unit_element[0, 0])
        return of_a if self.reaction is None else of_a + self.reaction.own(nodes)

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all cells."""
        # The mass matrix of a side of a cell, which Robin's alpha brings in, has the bound 3/2 for each axis.
        of_sides = 1.5 ** (self.dim - 1) if self.robin else 0.0
        corner = float(self._unit_element[0, 0])
        of_cells = [
            4 ** len(axes) / 2**self.dim * factor / corner for axes, factor in self.modes
        ]  # eq: cell-bound
        return self._with_reaction(max(of_sides, *of_cells))

    def _with_reaction(self, bound: float) -> float:
        """Give the bound with what c adds, whose rows have their sums as a bound, and no more than 2^dim."""
        if self.reaction is None or not self.reaction.pairs:
            return bound
        whole, of_c = self.diagonal(), self.reaction.diagonal()
        rows = (bound * (whole - of_c) + self.reaction.row_sums()) / whole
        return min(float(rows.max()), max(bound, 2.0**self.dim))

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        held = any("dirichlet" in ends for ends in self.box.ends)
        if held or hidden(self.robin.tensor) or self.robin:
            return False
        if self.reaction is None:
            return True
        return not hidden(self.reaction.centre) and not bool(self.reaction.centre.any())


def _corner(corner: Sequence[int], cells: Sequence[int]) -> tuple[Any, ...]:
    """Give the index of one corner of all cells among the nodes."""
    return (..., *(slice(low, low + n) for low, n in zip(corner, cells, strict=True)))


def _differences(u: Tensor, dim: int) -> dict[tuple[int, ...], Tensor]:
    """Give, for each set of axes but the empty one, the differences along them of the sums along the others.

    At the cells.
    """
    fields: dict[tuple[int, ...], Tensor] = {(): u}
    for axis in range(dim):
        place = axis - dim
        n = u.shape[place] - 1
        for axes, field in list(fields.items()):
            low, high = field.narrow(place, 0, n), field.narrow(place, 1, n)
            names = ("step", axes, axis), ("sum", axes, axis)
            step, total = (scratch(name, low.shape, low) for name in names)
            fields[(*axes, axis)] = torch.sub(high, low, out=step)
            if axes or axis < dim - 1:
                fields[axes] = torch.add(low, high, out=total)
    return fields


def _spread_differences(
    fields: dict[tuple[int, ...], tuple[Tensor, float]], dim: int
) -> tuple[Tensor, float]:
    """Apply the transpose of :func:`_differences` to fields times factors; the result has a factor too."""
    for axis in reversed(range(dim)):
        place, merged = axis - dim, {}
        for axes in {tuple(i for i in axes if i != axis) for axes in fields}:
            merged[axes] = _merged(fields.get(axes), fields.get((*axes, axis)), place, ("merged", axes, axis))
        fields = merged
    return fields[()]


def _merged(
    total: tuple[Tensor, float] | None, step: tuple[Tensor, float] | None, place: int, name: Any
) -> tuple[Tensor, float]:
    """Give to the nodes of an axis the sum of their cells, and to the high ones more than to the low ones."""
    one = total or step
    assert one is not None
    field, factor = one
    shape = list(field.shape)
    shape[place] += 1
    low, out = scratch("low", field.shape, field), scratch(name, shape, field)
    if step is None:
        return overlap(field, field, place, out), factor
    if total is None:
        return overlap(torch.neg(field, out=low), field, place, out), factor
    ratio = step[1] / factor
    low = torch.add(field, step[0], alpha=-ratio, out=low)
    high = torch.add(field, step[0], alpha=ratio, out=field if is_open() else None)
    return overlap(low, high, place, out), factor
