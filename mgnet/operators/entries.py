"""Operators in a box as entries between neighbouring nodes, which is what Galerkin products are.

The coarse operator of any other one has this form: each node is tied to its neighbours, corners included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor, nn

from ..core.memory import copy, empty, is_open, scratch, strips
from .boxes import Box
from .contract import Operator
from .interpolation import NodeProlongation, Pull, galerkin_product, shifted
from .rows import in_rows

__all__ = ["NodalOperator", "StencilStiffness", "scaled", "zeros_at_nodes"]

# Row sums above this say little of the eigenvalues of D⁻¹ A.
DOUBTED = 3.0
# Unknowns of a matrix whose eigenvalues are all computed.
FEW = 32
# Bytes of a strip of unknowns; several arrays are made of it.
STRIP = 2**19


class NodalOperator(Operator):
    """What operators with coefficients or with entries share: strips of rows, and the coarser one, R A P."""

    strip = STRIP

    @property
    def sums(self) -> Tensor | None:
        """What the operator makes of the function 1 at all nodes; None where nothing but entries tells."""
        raise NotImplementedError

    def joined(self, field: Tensor) -> Tensor:
        """Add up what the two nodes of joined ends have, for both; in other memory where there are some."""
        if any(axis.periodic for axis in self.box.axes):
            field = copy(field)
        for place, axis in enumerate(self.box.axes):
            if axis.periodic:
                whole = field.select(place, 0) + field.select(place, -1)
                field.select(place, 0).copy_(whole)
                field.select(place, -1).copy_(whole)
        return field

    @property
    def by_rows(self) -> bool:
        """Whether some rows can be had at a time: not where the first one needs the last."""
        return not self.box.axes[0].periodic

    def rows(self, x: Tensor, rows: slice, b: Tensor | None, out: Tensor) -> Tensor:
        """Write A x, or b − A x, at some rows of the first axis, as :class:`.Rows` says."""
        first = self.box.axes[0].chain.first
        # The nodes of these rows, and the cells around them.
        start, stop = rows.start + first, rows.stop + first
        cells = slice(max(start - 1, 0), min(stop, self.box.cells[0]))
        y, factor = self._of_cells(self.box.strip(x, cells), cells)
        y = Box(self.box.axes[1:]).loads(y.narrow(-self.box.dim, start - cells.start, stop - start))
        return torch.mul(y, factor, out=out) if b is None else torch.add(b, y, alpha=-factor, out=out)

    def _of_cells(self, u: Tensor, cells: slice) -> tuple[Tensor, float]:
        """Give what some cells of the first axis give to their nodes, as a tensor and a factor of its own.

        To the outer nodes it may be more.
        """
        raise NotImplementedError

    def assembled(self) -> StencilStiffness:
        """Return the same operator as entries between neighbouring nodes."""
        raise NotImplementedError

    def entries(self) -> Callable[[tuple[int, ...]], Tensor]:
        """Give the entries between each node and its neighbour in a direction; see StencilStiffness.entry."""
        return self.assembled().entry

    def pulls(self, nodes: Sequence[slice]) -> Iterator[Pull]:
        """Give what the neighbours of some nodes have in their equations; see :class:`.Tied`."""
        raise NotImplementedError

    def own(self, nodes: Sequence[slice]) -> Tensor:
        """Return the entry of each of some nodes, none of them on a side, in its own equation."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values of shape ``(N, 1, *unknowns)``."""
        return in_rows(self, x) if is_open() and self.by_rows else super().__call__(x)

    def coarsen(self) -> tuple[StencilStiffness, NodeProlongation] | None:
        """Return the operator R A P of the next coarser box, and P; None where no axis can be coarsened."""
        chosen = self.box.coarsening()
        if not any(chosen):
            return None
        P = NodeProlongation(self, chosen)
        fields = galerkin_product(self.at_nodes, P, self.like)
        centre = fields.pop((0,) * self.box.dim)
        # Where little holds constants they are interpolated to constants, so their energy stays what it is.
        return StencilStiffness(P.coarse, centre, fields, self.singular, self.hold, P.coarse_sums), P


class StencilStiffness(NodalOperator):
    """An operator given by its entries between each node and its neighbours, corners included.

    Parameters
    ----------
    box : Box
        The cells and their ends.
    centre : torch.Tensor, shape ``(*nodes)``
        The diagonal, at all nodes; joined ends are two.
    pairs : dict from (int, ...) to torch.Tensor, shape ``(*nodes)``
        For one of each two opposite directions, the entry between a node and its neighbour there; zero where
        there is none.
    singular : bool, default False
        Whether constants are mapped to zero, but for rounding, which alone does not tell: the entries may
        differ by many orders of magnitude.
    hold : float, default inf
        The energy of constants, which may be lost in the entries as well.
    sums : torch.Tensor, shape ``(*nodes)``, optional
        The row sums, where they are so small that the entries may not know them.
    """

    def __init__(
        self,
        box: Box,
        centre: Tensor,
        pairs: dict[tuple[int, ...], Tensor],
        singular: bool = False,
        hold: float = math.inf,
        sums: Tensor | None = None,
    ) -> None:
        self.box, self.centre, self.pairs, self._singular = box, centre, pairs, singular
        self._hold, self._sums = hold, sums

    @property
    def sums(self) -> Tensor | None:
        """The row sums at all nodes, as they were given."""
        return self._sums

    @property
    def hold(self) -> float:
        """The energy of constants, as was said."""
        return self._hold

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero, as was said."""
        return self._singular

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The numbers that the operator depends on: the diagonal, and the other entries by direction."""
        return self.centre, *self.pairs.values()

    def replaced(self, *numbers: Tensor) -> StencilStiffness:
        """Return the operator with other numbers."""
        centre, *entries = numbers
        pairs = dict(zip(self.pairs, entries, strict=True))
        return StencilStiffness(self.box, centre, pairs, self._singular, self._hold)

    def scaled(self, factor: float, dtype: torch.dtype) -> StencilStiffness:
        """Return a multiple of the operator in another precision."""
        return self.replaced(*(scaled(x, factor, dtype) for x in self.numbers))

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *unknowns)``."""
        return self.energies_at_nodes(self.box.nodes(v), self.box.nodes(u))

    def energies_at_nodes(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *nodes)``."""
        found = [v * u]
        for step in self.pairs:
            here, there = _ends_of(step, self.centre.shape)
            found.append(_at_first(v[here] * u[there] + v[there] * u[here], step))
        return tuple(found)

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        if is_open():
            y, _ = self._of_cells(u, slice(0, self.box.cells[0]))
            return copy(y)
        y = u * self.centre  # gradients may flow
        for step, field in self.pairs.items():
            here, there = _ends_of(step, field.shape)
            y = y + _at_first(field[here] * u[there], step)
            y = y + _at_first(field[here] * u[here], tuple(-s for s in step))
        return y

    def _of_cells(self, u: Tensor, cells: slice) -> tuple[Tensor, float]:
        nodes = slice(cells.start, cells.stop + 1)
        y = torch.mul(u, self.centre[nodes], out=scratch("stencil", u.shape, u))
        self._add_neighbours(u, y, nodes, 1.0)
        return y, 1.0

    def add_to(self, y: Tensor, u: Tensor, factor: float = 1.0, nodes: slice = slice(None)) -> None:
        """Add a multiple of the loads that belong to values at some nodes of the first axis, all by default.

        Both have shape ``(N, 1, their number, ...)``; the outer nodes lack what nodes beyond them give.
        """
        y.addcmul_(u, self.centre[nodes], value=factor)
        self._add_neighbours(u, y, nodes, factor)

    def _add_neighbours(self, u: Tensor, y: Tensor, nodes: slice, factor: float) -> None:
        for here, there, weight in self._neighbours(nodes):
            y[here].addcmul_(weight, u[there], value=factor)
            y[there].addcmul_(weight, u[here], value=factor)

    def _neighbours(self, nodes: slice = slice(None)) -> Iterator[tuple[Any, Any, Tensor]]:
        """Give the nodes that have a neighbour in a direction, those neighbours, and the entries."""
        for step, whole in self.pairs.items():
            field = whole[nodes]
            here, there = _ends_of(step, field.shape)
            yield here, there, field[here]

    def to_sparse(self) -> sp.csc_array:
        """Return the matrix in SciPy's form."""
        shape = self.box.shape
        numbers = 1 + torch.arange(math.prod(shape), device="cpu").reshape(shape)
        at = self.box.nodes(numbers) - 1  # -1 at Dirichlet nodes
        found = [(at, at, self.centre)]
        for here, there, weight in self._neighbours():
            found += [(at[here], at[there], weight), (at[there], at[here], weight)]
        rows, columns, entries = (
            np.concatenate([part.cpu().numpy().ravel() for part in parts])
            for parts in zip(*found, strict=True)
        )
        inside = (rows >= 0) & (columns >= 0)
        size = math.prod(shape)
        return sp.coo_array((entries[inside], (rows[inside], columns[inside])), shape=(size, size)).tocsc()

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``."""
        centre = self.centre.clone()
        # A lone joined node is its own neighbour.
        lone = [axis.periodic and axis.cells == 1 for axis in self.box.axes]
        for step, field in self.pairs.items():
            if all(alone or not s for s, alone in zip(step, lone, strict=True)):
                here, there = _ends_of(step, field.shape)
                centre[here] += field[here]
                centre[there] += field[here]
        return self.box.loads(centre)

    @cached_property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: its row sums or, where entries jump, what is found."""
        diagonal = self.diagonal()
        bound = float((self.row_sums() / diagonal).max())
        # Of large row sums most is not true, and a smoother for an interval that wide does little.
        return bound if bound < DOUBTED else min(bound, 1.1 * self._found(diagonal.rsqrt()))

    def _found(self, weight: Tensor) -> float:
        """Find the largest eigenvalue of D⁻¹ A roughly, with weight = D^(−1/2)."""
        size = weight.numel()
        if size < FEW:  # too few for a Krylov space
            dense = weight.ravel()[:, None] * self.to_dense() * weight.ravel()
            return float(torch.linalg.eigvalsh(dense.double())[-1])

        def scaled(x: np.ndarray) -> np.ndarray:
            v = weight * torch.from_numpy(x).to(weight).reshape(weight.shape)
            return (weight * self(v[None, None])[0, 0]).cpu().numpy().ravel()

        operator = spla.LinearOperator((size, size), matvec=scaled, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        try:
            (found,) = spla.eigsh(operator, k=1, which="LA", tol=0.05, v0=start, return_eigenvectors=False)
        except spla.ArpackError:
            return math.inf
        return float(found)

    def row_sums(self) -> Tensor:
        """Return the sums of the sizes of the entries of each row, shape ``(*unknowns)``."""
        # The steps along a lone joined cell lead to the same node, so their entries are one.
        lone = [axis.periodic and axis.cells == 1 for axis in self.box.axes]
        total = torch.zeros_like(self.centre)
        for step in itertools.product(*((0,) if alone else (-1, 0, 1) for alone in lone)):
            same = [(-1, 0, 1) if alone else (s,) for s, alone in zip(step, lone, strict=True)]
            total += sum(self.entry(each) for each in itertools.product(*same)).abs()  # type: ignore[union-attr]
        return self.box.unknowns(total)

    def assembled(self) -> StencilStiffness:
        """Return itself, which is entries."""
        return self

    def pulls(self, nodes: Sequence[slice]) -> Iterator[Pull]:
        """Give the entries, each with one neighbour and the factor -1."""
        for step, field in self.pairs.items():
            for sign in (1, -1):
                there = tuple(shifted(some, sign * s) for some, s in zip(nodes, step, strict=True))
                # An entry stands at the first of its two nodes.
                yield field[tuple(nodes) if sign == 1 else there], [(there, -1.0)]

    def own(self, nodes: Sequence[slice]) -> Tensor:
        """Return the diagonal there."""
        return self.centre[tuple(nodes)]

    def entry(self, step: tuple[int, ...]) -> Tensor:
        """Return the entries between each node and its neighbour in a direction, those of joined ends added.

        The direction is one of -1, 0, 1 for each axis. They have shape ``(*nodes)``, zero where there is no
        neighbour. They may be the operator's own, and are not to be overwritten.
        """
        if step in self.pairs or not any(step):
            field = self.pairs.get(step, self.centre)
        else:
            opposite = tuple(-s for s in step)
            here, there = _ends_of(opposite, self.centre.shape)
            field = zeros_at_nodes(self.box, self.centre)
            field[there] = self.pairs[opposite][here]
        return self.joined(field)


def zeros_at_nodes(box: Box, like: Tensor) -> Tensor:
    """Return zeros at all nodes, for use while a level is made."""
    shape = [n + 1 for n in box.cells]
    return empty(shape, like).zero_() if is_open() else like.new_zeros(shape)


def scaled(x: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """Multiply and round, in strips: the products in the first precision take room."""
    if not any(x.stride()):  # one number for all
        return (factor * x[(0,) * x.ndim]).to(dtype).expand(x.shape)
    y = x.new_empty(x.shape, dtype=dtype)
    for rows in strips(len(x), x):
        y[rows] = x[rows] * factor
    return y


def _at_first(x: Tensor, step: Sequence[int]) -> Tensor:
    """Give to all nodes what those have that have a neighbour in a direction, and zeros to the others."""
    margins = [(max(-s, 0), max(s, 0)) for s in reversed(step)]
    return nn.functional.pad(x, [width for pair in margins for width in pair])


def _ends_of(step: Sequence[int], shape: Sequence[int]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Give the nodes that have a neighbour in a direction, and those neighbours."""
    here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, shape, strict=True))
    there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, shape, strict=True))
    return (..., *here), (..., *there)
