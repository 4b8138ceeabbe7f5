"""The stiffness operator in a box whose cells have a weight for each axis, and not every node an equation.

Whatever the widths of a cell and the coefficients along its axes, its matrix is a sum of one fixed matrix for
each axis times a weight, :eq:`weighted-cells`. A cell of weight zero is no part of the domain; at nodes that
are not free, being held or without a cell, there is nothing to solve for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import sent
from . import frames, loops
from .boxes import Box
from .contract import fused
from .entries import NodalOperator, StencilStiffness, at_first, corner_of, ends_of

__all__ = ["WeightedStiffness"]

# Cells whose couplings along two axes differ from those of others by more are flat here and tall there.
UNEVEN = 10.0


class WeightedStiffness(NodalOperator):
    """The operator −∇·(a ∇u) + c u in a box, a diagonal, from one weight for each cell and axis.

    Parameters
    ----------
    box : Box
        The cells, as wide as they count for coarsening, and their ends.
    weights : sequence of torch.Tensor, shape ``(*cells)``
        One for each axis: a along it, times the volume of the cell over the square of its width there; zero
        in cells that are no part of the domain.
    reaction : StencilStiffness, optional
        The mass matrices of c and of Robin's alpha, at all nodes.
    free : torch.Tensor of bool, shape ``(*nodes)``, optional
        Where there is an equation; everywhere by default. Elsewhere values count as zero, and so do loads.
    """

    def __init__(
        self,
        box: Box,
        weights: Sequence[Tensor],
        reaction: StencilStiffness | None = None,
        free: Tensor | None = None,
    ) -> None:
        self.box, self.dim = box, box.dim
        self.weights, self.reaction, self.free = tuple(weights), reaction, free
        self.gaps = free is not None
        self.corners = list(itertools.product((0, 1), repeat=box.dim))

    def fitted(self) -> WeightedStiffness:
        """Return itself, on cells as wide as its weights say, if they are alike."""
        if not self.uneven:
            self.box = self.box.stretched(self.ties)
        return self

    @property
    def ties(self) -> list[float]:
        """How strongly nodes are tied along each axis, in all."""
        return [float(loops.plain(weight.detach()).sum()) for weight in self.weights]

    @cached_property
    def uneven(self) -> bool:  # type: ignore[override]
        """Whether cells are flat here and tall there, so that only whole lines can be relaxed."""
        return any(flattest > UNEVEN * tallest for flattest, tallest in self.ratios)

    @property
    def ratios(self) -> list[tuple[float, float]]:
        """The largest and the smallest ratio of weights along each other axis to those along the first."""
        first, *others = (loops.plain(weight.detach()) for weight in self.weights)
        inside = first > 0
        ratios = [weight[inside] / first[inside] for weight in others]
        return [(float(r.max()), float(r.min())) for r in ratios if r.shape[0]]

    @cached_property
    def _elements(self) -> list[np.ndarray]:
        """The matrix of a cell for a weight of 1 along each axis."""
        return stencils.elements(self.dim)

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``.

        All nodes count, whether they are free or not.
        """
        first, *others = (u[corner_of(corner, self.box.cells)] for corner in self.corners)
        # Differences are all that counts, since the rows of the matrix of a cell sum to zero.
        steps = torch.stack([x - first for x in others], -1)
        parts: Any = 0.0
        for weight, element in zip(self.weights, self._elements, strict=True):
            matrix = sent(torch.from_numpy(element[1:]), u.device, u.dtype)
            parts = parts + weight[..., None] * (steps @ matrix)  # eq: weighted-cells
        pairs = zip(parts.unbind(-1), self.corners, strict=True)
        y = reduce(torch.add, (at_first(x, [1 - 2 * c for c in corner]) for x, corner in pairs))
        return y if self.reaction is None else y + self.reaction.at_nodes(u)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values of shape ``(N, 1, *unknowns)``; those that are not free are zero."""
        passes = fused(self, x)
        if passes:
            return passes(x)
        y = self.box.loads(self.at_nodes(self.box.nodes(self.kept(x))))
        return self.kept(y)

    def kept(self, x: Tensor) -> Tensor:
        """Return values or loads, shape ``(..., *unknowns)``, with zeros where there is no equation."""
        return x if self.free is None else x * self._free(x.dtype)

    def _free(self, dtype: torch.dtype) -> Tensor:
        """Give 1 at unknowns that have an equation and 0 at the others; one of each precision is kept."""
        if dtype not in self._masks:
            assert self.free is not None
            self._masks[dtype] = self.box.unknowns(self.free).to(dtype)
        return self._masks[dtype]

    @cached_property
    def _masks(self) -> dict[torch.dtype, Tensor]:
        return {}

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The numbers that the operator depends on: the weights, and those of ``reaction``."""
        return (*self.weights, *(() if self.reaction is None else self.reaction.numbers))

    def replaced(self, *numbers: Tensor) -> WeightedStiffness:
        """Return the operator with other numbers."""
        reaction = None if self.reaction is None else self.reaction.replaced(*numbers[self.dim :])
        return WeightedStiffness(self.box, numbers[: self.dim], reaction, self.free)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *unknowns)``."""
        v, u = (self.box.nodes(self.kept(x)) for x in (v, u))
        corners = [[x[corner_of(c, self.box.cells)] for c in self.corners] for x in (v, u)]
        of_v, of_u = (torch.stack([x - first for x in others], -1) for first, *others in corners)
        found = []
        for element in self._elements:
            matrix = sent(torch.from_numpy(element[1:, 1:]), v.device, v.dtype)
            found.append(((of_v @ matrix) * of_u).sum(-1))
        of_reaction = () if self.reaction is None else self.reaction.energies_at_nodes(v, u)
        return (*found, *of_reaction)

    def scaled(self, factor: float, dtype: torch.dtype) -> StencilStiffness:
        """Return a multiple of the operator in another precision, as entries."""
        return self._assembled(self._entries.frame, factor, dtype)

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        return self.assembled().to_sparse()

    def assembled(self) -> StencilStiffness:
        """Return the same operator as entries between neighbouring nodes."""
        return self._entries

    @cached_property
    def _entries(self) -> StencilStiffness:
        return self._assembled(self.frame, 1.0, self.like["dtype"])

    def _assembled(self, frame: Tensor, factor: float, dtype: torch.dtype) -> StencilStiffness:
        frame = frame if factor == 1 and frame.dtype == dtype else (factor * frame).to(dtype)
        return StencilStiffness.framed(
            self.box, frame, self.singular, math.inf, (factor * self.sums).to(dtype), True, self.uneven
        )

    @property
    def frame(self) -> Tensor:
        """The entries between nodes in one array, which is not kept."""
        frame = frames.frame(self.box, self.like)
        fields = dict(zip(frames.steps(self.dim), frames.inside(frame, self.box), strict=True))
        for (i, low), (j, high) in itertools.product(enumerate(self.corners), repeat=2):
            step = tuple(q - p for p, q in zip(low, high, strict=True))
            if step in fields:
                here = fields[step][corner_of(low, self.box.cells)]
                for weight, element in zip(self.weights, self._elements, strict=True):
                    here.add_(weight.detach(), alpha=float(element[i, j]))
        for step, field in fields.items():
            here, there = ends_of(step, field.shape)
            if self.reaction is not None and (not any(step) or step in self.reaction.pairs):
                field[here] += self.reaction.pairs.get(step, self.reaction.centre).detach()[here]
            if self.free is not None:
                field[here] *= self.free[here] & self.free[there]
        return frame

    @property
    def reacting(self) -> Tensor:
        """At which nodes c or Robin's alpha hold something, shape ``(*nodes)``."""
        if self.reaction is None:
            return torch.zeros([n + 1 for n in self.box.cells], dtype=torch.bool)
        return self.reaction.centre.detach() > 0

    @cached_property
    def sums(self) -> Tensor:
        """What the operator makes of the function that is 1 at all free nodes, given sides included."""
        shape = [n + 1 for n in self.box.cells]
        if self.free is not None:
            return self.at_nodes(self.free.to(**self.like)[None, None])[0, 0].detach() * self.free
        if self.reaction is None:
            return torch.zeros(shape, **self.like)
        return self.reaction.at_nodes(torch.ones((1, 1, *shape), **self.like))[0, 0].detach()

    def compiled(self) -> tuple[int, Any] | None:
        """Return the number of the kind, and what :mod:`mgnet.kernels.entries` takes."""
        return self._entries.compiled()

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``; zero where there is no equation."""
        return self._entries.diagonal()

    @cached_property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all cells, and 2^dim with c."""
        if self.reaction is not None:
            return 2.0**self.dim
        weights = [loops.plain(weight.detach()) for weight in self.weights]
        own = sum(weights) / 3 ** (self.dim - 1)
        bound = 0.0
        for signs in itertools.product((0, 1), repeat=self.dim):
            # The eigenvectors are products of (1, 1) and (1, -1), the same for all weights.
            value = own * 0
            for axis, weight in enumerate(weights):
                others = [sign for i, sign in enumerate(signs) if i != axis]
                value = value + weight * (2 * signs[axis] * 0.5 ** (len(others)) / 3 ** sum(others))
            bound = max(bound, float((value / (own + (own == 0))).max()))
        return bound  # eq: weighted-bound

    @property
    def contrast(self) -> float:
        """How many times stronger a coupling is than another, anywhere in the domain."""
        strongest, weakest = self.extremes
        return strongest / weakest

    @property
    def extremes(self) -> tuple[float, float]:
        """The strongest coupling and the weakest; 1 where there is none."""
        inside = [weight[weight > 0] for weight in self.weights]
        inside = [weight for weight in inside if weight.numel()]
        if not inside:
            return 1.0, 1.0
        return float(max(w.max() for w in inside)), float(min(w.min() for w in inside))

    @cached_property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        held = any("dirichlet" in ends for ends in self.box.ends)
        return not held and not self.gaps and self.reaction is None

    @cached_property
    def hold(self) -> float:
        """The energy of constants; infinite where a side is given, or there are nodes without an equation."""
        if self.gaps or any("dirichlet" in ends for ends in self.box.ends):
            return math.inf
        ones = torch.ones((1, 1, *self.box.shape), **self.like)
        return float(self(ones).sum())
