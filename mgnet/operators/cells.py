"""The stiffness operator in a box whose coefficients vary.

On a cell the gradient of a product of hats is a sum of squares, :eq:`cell-energy`: of the differences along
some axes of the means along the others. That form needs no more than one number for each cell. What c adds is
kept apart, as entries of nodes and of neighbours.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import sent
from ..core.kinds import hidden
from ..core.looks import settle
from . import frames, loops, probes
from .boxes import Box, three
from .contract import fused
from .entries import NodalOperator, StencilStiffness, at_first, corner_of, rounded
from .launched import Numbers

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
    """

    def __init__(self, box: Box, a: Tensor, reaction: StencilStiffness | None = None) -> None:
        self.box, self.dim = box, box.dim
        self.corners = list(itertools.product((0, 1), repeat=box.dim))
        self.a, self.reaction = a, reaction
        self.h = [axis.h for axis in box.axes]

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        loads = (self.a[..., None] * (self._steps(u) @ self._element[1:].to(u.dtype))).unbind(-1)
        parts = zip(loads, self.corners, strict=True)
        y = reduce(torch.add, (at_first(x, [1 - 2 * c for c in corner]) for x, corner in parts))
        return y if self.reaction is None else y + self.reaction.at_nodes(u)

    def _steps(self, u: Tensor) -> Tensor:
        """Give the differences of the other corners of each cell to the first, as a last axis.

        They are all that counts, since the rows of the matrix of a cell sum to zero: so digits are kept.
        """
        first, *others = (u[corner_of(corner, self.box.cells)] for corner in self.corners)
        return torch.stack([x - first for x in others], -1)

    @cached_property
    def _element(self) -> Tensor:
        """The matrix of one cell for a = 1, where the operator is."""
        with torch.inference_mode(False):  # it is kept
            return sent(torch.from_numpy(self._unit_element), **self.like)

    @cached_property
    def smooth(self) -> bool:
        """Whether c is zero and a of neighbouring cells differs by a factor of two at most."""
        a, inside = loops.plain(self.a), (slice(1, -1),) * self.dim
        if self.reaction is not None and bool(self.reaction.centre[inside].any()):
            return False
        if isinstance(a, Tensor):
            _, _, *ratios = self._ranges
            return all(0.5 <= ratio <= 2 for ratio in ratios)
        return not any(bool(((x > 2 * y) | (y > 2 * x)).any()) for x, y in self._neighbours(a))

    def _neighbours(self, a: Any) -> list[tuple[Any, Any]]:
        """Give pairs of neighbouring cells, along each axis."""
        along = [a.swapaxes(0, axis) for axis in range(self.dim)]
        pairs = [(x[:-1], x[1:]) for x in along if len(x) > 1]
        ends = [(x[0], x[-1]) for x, axis in zip(along, self.box.axes, strict=True) if axis.periodic]
        return [*pairs, *ends]

    @cached_property
    def _ranges(self) -> list[float]:
        """The smallest and the largest a, and of the ratios of neighbours, by one look, as on a GPU."""
        a = self.a.detach()
        return settle(*a.aminmax(), *(end for x, y in self._neighbours(a) for end in (x / y).aminmax()))

    @cached_property
    def contrast(self) -> float:
        """How many times stronger a coupling between neighbours is than another, anywhere in the box."""
        strongest, weakest = self.extremes
        return strongest / weakest if weakest else math.inf

    @property
    def extremes(self) -> tuple[float, float]:
        """The strongest coupling between neighbours and the weakest."""
        a = loops.plain(self.a if any(self.a.stride()) else self.a[(0,) * self.dim])
        low, high = self._ranges[:2] if isinstance(a, Tensor) and a.ndim else (a.min(), a.max())
        return float(high) * (max(self.h) / min(self.h)) ** 2, float(low)

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The numbers that the operator depends on: ``a``, and those of ``reaction``."""
        return (self.a, *(() if self.reaction is None else self.reaction.numbers))

    def replaced(self, *numbers: Tensor) -> CellStiffness:
        """Return the operator with other numbers."""
        a, *others = numbers
        reaction = None if self.reaction is None else self.reaction.replaced(*others)
        return CellStiffness(self.box, a, reaction)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *unknowns)``."""
        v, u = self.box.nodes(v), self.box.nodes(u)
        K = self._element[1:, 1:].to(v.dtype)
        of_a = ((self._steps(v) @ K) * self._steps(u)).sum(-1)  # eq: cell-energy
        of_reaction = () if self.reaction is None else self.reaction.energies_at_nodes(v, u)
        return (of_a, *of_reaction)

    def scaled(self, factor: float, dtype: torch.dtype) -> CellStiffness:
        """Return a multiple of the operator in another precision."""
        reaction = None if self.reaction is None else self.reaction.scaled(factor, dtype)
        return CellStiffness(self.box, rounded(self.a, factor, dtype), reaction)

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        return self.assembled().to_sparse()

    def assembled(self) -> StencilStiffness:
        """Return the same operator as entries between neighbouring nodes."""
        return StencilStiffness.framed(self.box, self.frame, self.singular, self.hold)

    @property
    def frame(self) -> Tensor:
        """The entries between nodes in one array, which is not kept."""
        frame = frames.frame(self.box, self.like)
        if loops.apply_to(*self.numbers):
            self._assemble(frame)
        else:
            entries = probes.stencil_of_cells([self.a], [self._unit_element])
            # An entry stands at the first of its two nodes, as in the half of a stencil that looks ahead.
            frames.inside(frame, self.box).copy_(entries[len(entries) // 2 :])
        for step, field in zip(frames.steps(self.dim), frames.inside(frame, self.box), strict=True):
            if self.reaction is not None and (not any(step) or step in self.reaction.pairs):
                field += self.reaction.pairs.get(step, self.reaction.centre)
        return frame

    @property
    def stencil(self) -> Tensor:
        """The entries between each node and those around it, ``(3**dim, *nodes)``, without joined ends."""
        found = probes.stencil_of_cells([self.a], [self._unit_element])
        if self.reaction is not None and self.reaction.pairs:
            found += self.reaction.stencil
        elif self.reaction is not None:
            found[len(found) // 2] += self.reaction.centre
        return found

    def _assemble(self, frame: Tensor) -> None:
        """Write what the cells give to all entries, by loops."""
        from ..kernels.cells import assemble

        a, E = loops.arrays(self.a, frame)
        cells = frames.cells_framed(a, self.box, opened=True)
        loops.shared(assemble, E.shape[1] - 2, E.size, cells, self._element_by_steps, E)

    @property
    def _element_by_steps(self) -> np.ndarray:
        """The matrix of a cell by how many axes two corners differ in, and which, shape (2, 2, 2)."""
        K = np.zeros((2, 2, 2), loops.kind(self.like["dtype"]))
        for corner, entry in zip(self.corners, self._unit_element[0], strict=True):
            K[three(corner, 0)] = entry
        return K

    def compiled(self) -> tuple[int, Any]:
        """Return the number of the kind, and what :mod:`mgnet.kernels.cells` takes."""
        from ..kernels.passes import CELLS

        c, rest = self.a.new_zeros((0, 1, 1)), self.a.new_zeros((0, 1, 1, 1))
        if self.reaction is not None and not self.reaction.pairs:
            c = self.box.loads(self.reaction.centre)
            c = c.reshape(three(c.shape, 1))
        elif self.reaction is not None:
            rest = self.reaction.frame
        firsts = three([axis.chain.first for axis in self.box.axes], 0)
        rest = frames.joined(rest, self.box) if len(rest) else rest
        a, lump, entries = loops.arrays(self.a, c, rest)
        return CELLS, (frames.cells_framed(a, self.box), self._element_by_steps, lump, (entries, firsts))

    def on_device(self) -> Numbers:
        """Return its numbers as :mod:`mgnet.kernels.device` has them."""
        c = entries = None
        if self.reaction is not None and not self.reaction.pairs:
            c = self.box.loads(self.reaction.centre)
            c = c.reshape(three(c.shape, 1))
        elif self.reaction is not None:
            entries = frames.joined(self.reaction.frame, self.box)
        element = sent(torch.from_numpy(self._element_by_steps), self.like["device"])
        return Numbers(None, c, frames.cells_around(self.a, self.box), element, entries)

    @cached_property
    def hold(self) -> float:
        """The energy of constants, from differences."""
        sums = None if any("dirichlet" in ends for ends in self.box.ends) else self.sums
        return math.inf if sums is None else float(sums.sum())

    @property
    def sums(self) -> Tensor | None:
        """What the operator makes of the function 1 at all nodes: zero but for c and Robin's alpha."""
        shape = [n + 1 for n in self.box.cells]
        if self.reaction is None:
            return self.a.new_zeros(()).expand(shape)
        # Differences are zero.
        return self.reaction.at_nodes(torch.ones((1, 1, *shape), **self.like))[0, 0]

    @cached_property
    def _unit_element(self) -> np.ndarray:
        """The matrix of one cell for a = 1."""
        return stencils.element(self.h)

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``."""
        if any(axis.periodic and axis.cells == 1 for axis in self.box.axes):
            return self.assembled().diagonal()
        passes = fused(self)
        if passes:
            return self._looped_diagonal(passes.arrays[1])
        beside = probes.cells_beside(self.a, self.dim)
        y = beside.sum(tuple(range(-self.dim, 0))) * float(self._unit_element[0, 0])
        if self.reaction is not None:
            y += self.reaction.centre
        return self.box.loads(y)

    def _looped_diagonal(self, numbers: Any) -> Tensor:
        from ..kernels.cells import diagonal

        y = torch.empty(self.box.shape, **self.like)
        (out,) = loops.arrays(y.reshape(three(y.shape, 1)))
        loops.shared(diagonal, len(out), out.size, numbers, out)
        return y

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all cells."""
        element = self._unit_element
        return self._with_reaction(float(np.linalg.eigvalsh(element)[-1] / element[0, 0]))  # eq: cell-bound

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
        if held:
            return False
        if self.reaction is None:
            return True
        return not hidden(self.reaction.centre) and not bool(self.reaction.centre.any())
