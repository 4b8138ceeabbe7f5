"""Operators in a box as entries between neighbouring nodes, which is what Galerkin products are.

The coarse operator of any other one has this form: each node is tied to its neighbours, corners included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from . import frames, loops
from .boxes import Box, three
from .contract import Operator, fused
from .interpolation import NodeProlongation, galerkin_product

__all__ = ["NodalOperator", "StencilStiffness", "at_first", "corner_of", "ends_of", "rounded"]

# Row sums above this say little of the eigenvalues of D⁻¹ A.
DOUBTED = 3.0
# Ties along an axis that are stronger than those along another by this want lines.
STRONG = 10.0
# Unknowns of a matrix whose eigenvalues are all computed.
FEW = 32


class NodalOperator(Operator):
    """What operators with coefficients or with entries share: the coarser one, R A P."""

    @property
    def sums(self) -> Tensor | None:
        """What the operator makes of the function 1 at all nodes; None where nothing but entries tells."""
        raise NotImplementedError

    @property
    def totals(self) -> Tensor | None:
        """The same to rounding, however small."""
        return self.sums

    def joined(self, field: Tensor) -> Tensor:
        """Add up what the two nodes of joined ends have, for both; in other memory where there are some."""
        if any(axis.periodic for axis in self.box.axes):
            field = field.clone()
        for place, axis in enumerate(self.box.axes):
            if axis.periodic:
                whole = field.select(place, 0) + field.select(place, -1)
                field.select(place, 0).copy_(whole)
                field.select(place, -1).copy_(whole)
        return field

    def assembled(self) -> StencilStiffness:
        """Return the same operator as entries between neighbouring nodes."""
        raise NotImplementedError

    def entries(self) -> Callable[[tuple[int, ...]], Tensor]:
        """Give the entries between each node and its neighbour in a direction; see StencilStiffness.entry."""
        return self.assembled().entry

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values of shape ``(N, 1, *unknowns)``."""
        passes = fused(self, x)
        return passes(x) if passes else super().__call__(x)

    def coarsen(self) -> tuple[StencilStiffness, NodeProlongation] | None:
        """Return the operator R A P of the next coarser box, and P; None where no axis can be coarsened."""
        chosen = self.box.coarsening()
        if not any(chosen):
            return None
        P = NodeProlongation(self, chosen)
        return self.product(P).fitted(), P

    def product(self, P: NodeProlongation) -> StencilStiffness:
        """Return R A P.

        Parameters
        ----------
        P : NodeProlongation
            The interpolation; R is its transpose.
        """
        # Where little holds constants they are interpolated to constants, so their energy stays what it is.
        rest, kind = (self.singular, self.hold), (self.gaps, self.uneven)
        if loops.apply_to(*self.numbers):
            E, sums = P.product()
            return StencilStiffness.framed(P.coarse, E, *rest, sums, *kind)
        # What acts on all nodes counts those without an equation too; entries do not.
        fields = galerkin_product((self.assembled() if self.gaps else self).at_nodes, P, self.like)
        centre = fields.pop((0,) * self.box.dim)
        return StencilStiffness(P.coarse, centre, fields, *rest, P.coarse_sums, *kind)


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
    gaps : bool, default False
        Whether there may be unknowns without an equation: all their entries are zero. Row sums that are
        given are exact then, and values are multiplied through steps.
    uneven : bool, default False
        Whether cells are flat here and tall there: then all axes are coarsened.
    """

    def __init__(
        self,
        box: Box,
        centre: Tensor,
        pairs: dict[tuple[int, ...], Tensor],
        singular: bool = False,
        hold: float = math.inf,
        sums: Tensor | None = None,
        gaps: bool = False,
        uneven: bool = False,
    ) -> None:
        self.box, self.centre, self.pairs, self._singular = box, centre, pairs, singular
        self._hold, self._sums, self.gaps, self.uneven = hold, sums, gaps, uneven

    @classmethod
    def framed(cls, box: Box, frame: Tensor, *known: Any) -> StencilStiffness:
        """Make it of all entries in one array, as :mod:`mgnet.kernels.entries` has them, which it shares."""
        centre, *others = frames.inside(frame, box)
        A = cls(box, centre, dict(zip(frames.steps(box.dim)[1:], others, strict=True)), *known)
        A.__dict__["frame"] = frame
        return A

    @cached_property
    def frame(self) -> Tensor:
        """The entries between nodes in one array."""
        frame = frames.frame(self.box, self.like)
        for step, field in zip(frames.steps(self.box.dim), frames.inside(frame, self.box), strict=True):
            given = self.pairs.get(step) if any(step) else self.centre
            if given is not None:
                here, _ = ends_of(step, field.shape)  # others count for nothing
                field[here] = given[here]
        return frame

    @cached_property
    def joined_frame(self) -> Tensor:
        """The same with joined ends."""
        return frames.joined(self.frame, self.box)

    def compiled(self) -> tuple[int, Any]:
        """Return the number of the kind, and what :mod:`mgnet.kernels.entries` takes."""
        from ..kernels.passes import ENTRIES

        firsts = three([axis.chain.first for axis in self.box.axes], 0)
        exact = self.gaps and self._sums is not None
        sums = frames.framed(self._sums, self.box) if exact else self.centre.new_zeros((0, 0, 0))  # type: ignore[arg-type]
        E, S = loops.arrays(self.joined_frame, sums)
        return ENTRIES, (E, firsts, S)

    @property
    def sums(self) -> Tensor | None:
        """The row sums at all nodes, as they were given."""
        return self._sums

    @property
    def totals(self) -> Tensor | None:
        """The row sums to rounding: given ones are so where they are zero, or where there are gaps."""
        exact = self.gaps or self._sums is None or not any(self._sums.stride())
        return self._sums if exact else None

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
        known = self._singular, self._hold, None, self.gaps, self.uneven
        return StencilStiffness(self.box, centre, pairs, *known)

    def steps(self, u: Tensor) -> Tensor:
        """Return what ``at_nodes`` does, from row sums and steps, :eq:`steps`, for ``(*nodes)``."""
        y = u * self._sums if self._sums is not None else torch.zeros_like(u)
        for step, field in self.pairs.items():
            here, there = ends_of(step, field.shape)
            flow = field[here] * (u[there] - u[here])  # eq: steps
            y[here] += flow
            y[there] -= flow
        return y

    def scaled(self, factor: float, dtype: torch.dtype) -> StencilStiffness:
        """Return a multiple of the operator in another precision."""
        other = self.replaced(*(rounded(x, factor, dtype) for x in self.numbers))
        if self.gaps and self._sums is not None:
            other._sums = rounded(self._sums, factor, dtype)
        return other

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *unknowns)``."""
        return self.energies_at_nodes(self.box.nodes(v), self.box.nodes(u))

    def energies_at_nodes(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *nodes)``."""
        found = [v * u]
        for step in self.pairs:
            here, there = ends_of(step, self.centre.shape)
            found.append(at_first(v[here] * u[there] + v[there] * u[here], step))
        return tuple(found)

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        y = u * self.centre  # gradients may flow
        for step, field in self.pairs.items():
            here, there = ends_of(step, field.shape)
            y = y + at_first(field[here] * u[there], step)
            y = y + at_first(field[here] * u[here], tuple(-s for s in step))
        return y

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        shape = self.box.shape
        numbers = 1 + torch.arange(math.prod(shape), device="cpu").reshape(shape)
        at = self.box.nodes(numbers) - 1  # -1 at Dirichlet nodes
        found = [(at, at, self._own)]
        for step, field in self.pairs.items():
            here, there = ends_of(step, field.shape)
            found += [(at[here], at[there], field[here]), (at[there], at[here], field[here])]
        rows, columns, entries = (
            np.concatenate([part.cpu().numpy().ravel() for part in parts])
            for parts in zip(*found, strict=True)
        )
        inside = (rows >= 0) & (columns >= 0)
        size = math.prod(shape)
        triplets = entries[inside], (rows[inside], columns[inside])
        return scipy.sparse.coo_array(triplets, shape=(size, size)).tocsc()

    @property
    def _own(self) -> Tensor:
        """The entries of nodes with themselves; from row sums and the others, where those are exact."""
        if self._sums is None or not self.gaps:
            return self.centre
        own = self._sums.clone()
        for step, field in self.pairs.items():
            here, there = ends_of(step, field.shape)
            own[here] -= field[here]
            own[there] -= field[here]
        return own

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``."""
        # A lone joined node is its own neighbour.
        lone = [axis.periodic and axis.cells == 1 for axis in self.box.axes]
        centre = self.centre.clone() if any(lone) else self.centre
        for step, field in self.pairs.items() if any(lone) else ():
            if all(alone or not s for s, alone in zip(step, lone, strict=True)):
                here, there = ends_of(step, field.shape)
                centre[here] += field[here]
                centre[there] += field[here]
        return self.box.loads(centre)

    @cached_property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: its row sums or, where entries jump, what is found."""
        diagonal = self.diagonal()
        sizes, own = (loops.plain(x) for x in (self.row_sums(), diagonal))
        bound = float((sizes / (own + (own == 0))).max())
        # Of large row sums most is not true, and a smoother for an interval that wide does little.
        return (
            bound
            if bound < DOUBTED
            else min(bound, 1.1 * self._found(diagonal.masked_fill(diagonal <= 0, math.inf).rsqrt()))
        )

    def _found(self, weight: Tensor) -> float:
        """Find the largest eigenvalue of D⁻¹ A roughly, with weight = D^(−1/2)."""
        size = weight.numel()
        if size < FEW:  # too few for a Krylov space
            dense = weight.ravel()[:, None] * self.to_dense() * weight.ravel()
            return float(torch.linalg.eigvalsh(dense.double())[-1])

        def scaled(x: np.ndarray) -> np.ndarray:
            v = weight * torch.from_numpy(x).to(weight).reshape(weight.shape)
            return (weight * self(v[None, None])[0, 0]).cpu().numpy().ravel()

        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=scaled, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        try:
            options: Any = {"which": "LA", "tol": 0.05, "v0": start, "return_eigenvectors": False}
            (found,) = scipy.sparse.linalg.eigsh(operator, k=1, **options)
        except scipy.sparse.linalg.ArpackError:
            return math.inf
        return float(found)

    def row_sums(self) -> Tensor:
        """Return the sums of the sizes of the entries of each row, shape ``(*unknowns)``."""
        lone = [axis.periodic and axis.cells == 1 for axis in self.box.axes]
        if loops.apply_to(*self.numbers) and not any(lone):
            return self.box.unknowns(self._looped_sums())
        # The steps along a lone joined cell lead to the same node, so their entries are one.
        total = torch.zeros_like(self.centre)
        for step in itertools.product(*((0,) if alone else (-1, 0, 1) for alone in lone)):
            same = [(-1, 0, 1) if alone else (s,) for s, alone in zip(step, lone, strict=True)]
            total += sum(self.entry(each) for each in itertools.product(*same)).abs()  # type: ignore[union-attr]
        return self.box.unknowns(total)

    def _looped_sums(self) -> Tensor:
        """Give the sums of the sizes of the entries at all nodes, by loops."""
        from ..kernels.entries import row_sums

        total = torch.empty([n + 1 for n in self.box.cells], **self.like)
        E, sums = loops.arrays(self.joined_frame, total.reshape(three(total.shape, 1)))
        loops.shared(row_sums, len(sums), E.size, E, True, sums)
        return total

    def fitted(self) -> StencilStiffness:
        """Return itself, on cells as wide as its ties say: their sums are the energies of the coordinates."""
        if not self.uneven:
            self.box = self.box.stretched(self.ties)
        return self

    @property
    def ties(self) -> list[float]:
        """The energies of the coordinates: how strongly nodes are tied along each axis, in all."""
        return [
            -sum(float(loops.plain(field).sum()) for step, field in self.pairs.items() if step[i])
            for i in range(self.box.dim)
        ]

    def assembled(self) -> StencilStiffness:
        """Return itself, which is entries."""
        return self

    def entry(self, step: tuple[int, ...]) -> Tensor:
        """Return the entries between each node and its neighbour in a direction, those of joined ends added.

        The direction is one of -1, 0, 1 for each axis. They have shape ``(*nodes)``, zero where there is no
        neighbour. They may be the operator's own, and are not to be overwritten.
        """
        opposite = tuple(-s for s in step)
        if step in self.pairs or not any(step):
            field = self.pairs.get(step, self.centre)
        else:
            field = torch.zeros_like(self.centre)
            if opposite in self.pairs:
                here, there = ends_of(opposite, field.shape)
                field[there] = self.pairs[opposite][here]
        return self.joined(field)


def rounded(x: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """Multiply and round; one number for all stays one."""
    if not any(x.stride()):
        return (factor * x[(0,) * x.ndim]).to(dtype).expand(x.shape)
    if loops.apply_to(x):
        with np.errstate(all="ignore"):  # what is out of range is looked for later
            return torch.from_numpy((x.numpy() * factor).astype(loops.kind(dtype)))
    return (x * factor).to(dtype)


def at_first(x: Tensor, step: Sequence[int]) -> Tensor:
    """Give to all nodes what those have that have a neighbour in a direction, and zeros to the others."""
    margins = [(max(-s, 0), max(s, 0)) for s in reversed(step)]
    return nn.functional.pad(x, [width for pair in margins for width in pair])


def corner_of(corner: Sequence[int], cells: Sequence[int]) -> tuple[Any, ...]:
    """Give the index of one corner of all cells among the nodes."""
    return (..., *(slice(low, low + n) for low, n in zip(corner, cells, strict=True)))


def ends_of(step: Sequence[int], shape: Sequence[int]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Give the nodes that have a neighbour in a direction, and those neighbours."""
    here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, shape, strict=True))
    there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, shape, strict=True))
    return (..., *here), (..., *there)
