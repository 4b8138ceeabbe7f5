"""Operators whose kernel varies from cell to cell: coefficients with jumps, given nodes, any cell count.

A cell is its conductance ``k`` (minus the off-diagonal entry) and what it adds to the row sums of its two
nodes. Row sums, not diagonals, are kept: then eliminating a node subtracts nothing and loses no digit.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import scipy
import torch
from torch import Tensor

from ..core.kinds import hidden
from .axes import Axis, overlap
from .boxes import Box
from .contract import Interpolation, Operator

__all__ = ["Elimination", "VaryingProlongation", "VaryingStiffness", "eliminate"]


class Elimination(NamedTuple):
    """Every odd node eliminated: interpolation to it, its pivot, and the coarse cells.

    Parameters
    ----------
    left, right : torch.Tensor, shape (cells // 2,)
        What the node takes from its neighbours, :eq:`interpolation`.
    pivot : torch.Tensor, shape (cells // 2,)
        The sum of its two conductances and its row sum.
    k : torch.Tensor, shape (coarse cells,)
        Conductances of the coarse cells, :eq:`elimination`.
    s : torch.Tensor, shape (coarse cells + 1,), or None
        Row sums of the coarse nodes, :eq:`coarse-row-sums`.
    """

    left: Tensor
    right: Tensor
    pivot: Tensor
    k: Tensor
    s: Tensor | None


def eliminate(k: Tensor, s: Tensor | None) -> Elimination:
    """Eliminate every odd node of a chain of cells, :eq:`elimination`; a last odd cell is kept.

    k, shape (cells,), has the conductance of each cell, and s, shape (cells + 1,), the row sum of each node;
    none where c is zero.
    """
    pairs = k.shape[-1] // 2
    k_left, k_right = k[0 : 2 * pairs : 2], k[1 : 2 * pairs : 2]
    pivot = k_left + k_right
    if s is not None:
        pivot += s[1 : 2 * pairs : 2]
    left, right = k_left / pivot, k_right / pivot  # eq: interpolation
    coarse_k = torch.cat((k_left * right, k[2 * pairs :]))  # eq: elimination
    if s is None:
        return Elimination(left, right, pivot, coarse_k, None)
    s_odd = s[1 : 2 * pairs : 2]
    coarse_s = torch.cat((s[0::2], s[-1:]) if k.shape[-1] % 2 else (s[0::2],))
    coarse_s[:pairs] += left * s_odd  # eq: coarse-row-sums
    coarse_s[1 : pairs + 1] += right * s_odd
    return Elimination(left, right, pivot, coarse_k, coarse_s)


class VaryingStiffness(Operator):
    """The stiffness operator of a chain of cells that differ, :eq:`varying`.

    Parameters
    ----------
    k : torch.Tensor, shape (cells,)
        Conductance of each cell: a/h, less a sixth of c h.
    s : torch.Tensor, shape (cells + 1,), or None
        Row sum of each node: the integral of c times its hat; none where c is zero.
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    robin : (float, float), default (0.0, 0.0)
        Robin's alpha at the two ends.
    """

    largest = 2.0  # as of every cell of a line

    def __init__(
        self, k: Tensor, s: Tensor | None, ends: tuple[str, str], robin: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.k, self.s, self.ends, self.robin = k, s, ends, robin
        self.box = _cells(k.shape[-1], ends)
        self.chain = self.box.axes[0].chain

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The numbers that the operator depends on: ``k``, and ``s`` if there is one."""
        return (self.k,) if self.s is None else (self.k, self.s)

    def replaced(self, *numbers: Tensor) -> VaryingStiffness:
        """Return the operator with other numbers."""
        k, *s = numbers
        return VaryingStiffness(k, s[0] if s else None, self.ends, self.robin)

    def scaled(self, factor: float, dtype: torch.dtype) -> VaryingStiffness:
        """Return a multiple of the operator in another precision."""
        k, *s = ((factor * x).to(dtype) for x in self.numbers)
        robin = factor * self.robin[0], factor * self.robin[1]
        return VaryingStiffness(k, s[0] if s else None, self.ends, robin)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape (..., unknowns)."""
        v, u = self.chain.nodes(v), self.chain.nodes(u)
        steps = v.diff(dim=-1) * u.diff(dim=-1)
        return (steps,) if self.s is None else (steps, v * u)

    def _row_sums(self) -> Tensor:
        """Give the row sum of every node of the chain, Robin's alpha included."""
        s = self.k.new_zeros(self.k.shape[-1] + 1) if self.s is None else self.s.clone()
        s[0] += self.robin[0]
        s[-1] += self.robin[1]
        return s

    @property
    def reacting(self) -> Tensor:
        """At which nodes c or Robin's alpha hold something, shape (cells + 1,)."""
        return self._row_sums().detach() > 0

    def __call__(self, x: Tensor) -> Tensor:
        """Return the loads that belong to values at the unknowns, both of shape (..., unknowns)."""
        return self.chain.loads(self.at_nodes(self.chain.nodes(x)))

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape (..., cells + 1)."""
        flux = u.diff(dim=-1) * self.k  # eq: varying
        return self._row_sums() * u + overlap(-flux, flux, -1)

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        if "dirichlet" in self.ends or any(self.robin) or hidden(self.s):
            return False
        return self.s is None or not bool(self.s.any())

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape (unknowns,)."""
        d = self._row_sums()
        if self.ends[0] != "periodic" or len(self.k) > 1:  # a lone joined node is its own neighbour
            d[:-1] += self.k
            d[1:] += self.k
        return self.chain.loads(d)

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        (axis,), sums = self.box.axes, self.chain.loads(self._row_sums())
        return axis.tridiagonal(sums.cpu().numpy(), -axis.across(self.k.cpu().numpy())).tocsc()

    def coarsen(self) -> tuple[VaryingStiffness, VaryingProlongation] | None:
        """Return the Galerkin operator R A P on every second node, and P; None for two cells or one."""
        if len(self.k) <= 2:
            return None
        e = eliminate(self.k, self.s)
        coarse = VaryingStiffness(e.k, e.s, self.ends, self.robin)
        return coarse, VaryingProlongation(e.left, e.right, self.ends, len(self.k))


class HeldChain(VaryingStiffness):
    """The operator of a chain of which some nodes have no equation: they are held, or have no cell.

    There it has 1 on its diagonal and nothing beside it, and what ties the neighbours of a held node to it is
    in their row sums.

    Parameters
    ----------
    whole : VaryingStiffness
        The operator of all nodes.
    free : torch.Tensor of bool, shape (cells + 1,)
        Which nodes have an equation.
    first : torch.Tensor of bool, shape (cells + 1,)
        One node of each piece that nothing holds: with something on its diagonal there is an inverse, and
        for loads that sum to zero the same solution.
    """

    def __init__(self, whole: VaryingStiffness, free: Tensor, first: Tensor) -> None:
        k, both = whole.k, free[:-1] & free[1:]
        s = k.new_zeros(k.shape[-1] + 1) if whole.s is None else whole.s
        to_held = overlap(k * ~free[1:], k * ~free[:-1], -1)
        s = torch.where(free, s + to_held, 1.0)
        robin = tuple(alpha if held else 0.0 for alpha, held in zip(whole.robin, free[[0, -1]], strict=True))
        super().__init__(k * both, s, whole.ends, (robin[0], robin[1]))
        self.whole, self.first, self._free = whole, first, self.chain.unknowns(free)

    gaps = True

    @property
    def grounded(self) -> VaryingStiffness:
        """The operator with something on the diagonal of one node of each piece that nothing holds."""
        k, s = self.numbers
        return VaryingStiffness(k, s + self.first * k.detach().max(), self.ends, self.robin)

    def replaced(self, *numbers: Tensor) -> HeldChain:
        """Return the operator with other numbers."""
        found = copy(self)
        found.k, found.s = numbers
        return found

    def scaled(self, factor: float, dtype: torch.dtype) -> HeldChain:
        """Return a multiple of the operator in another precision."""
        found = self.replaced(*((factor * x).to(dtype) for x in self.numbers))
        found.robin = factor * self.robin[0], factor * self.robin[1]
        return found

    def kept(self, x: Tensor) -> Tensor:
        """Return values or loads of the unknowns with zeros at those that have no equation."""
        return x * self._free

    def __call__(self, x: Tensor) -> Tensor:
        """Return the loads that belong to values at the unknowns, both of shape (..., unknowns)."""
        return self.chain.loads(VaryingStiffness.at_nodes(self, self.chain.nodes(x)))

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, whether they are free or not."""
        return self.whole.at_nodes(u)

    @property
    def reacting(self) -> Tensor:
        """At which nodes c or Robin's alpha hold something."""
        return self.whole.reacting


class VaryingProlongation(Interpolation):
    """Interpolation taken from the operator: a new node is the equilibrium of its two neighbours.

    Parameters
    ----------
    left, right : torch.Tensor, shape (cells // 2,)
        What a new node takes from its left and right neighbour; ½ and ½ where the cells are alike.
    ends : (str, str)
        As for :class:`VaryingStiffness`.
    cells : int
        Number of fine cells.
    """

    def __init__(self, left: Tensor, right: Tensor, ends: tuple[str, str], cells: int) -> None:
        self.left, self.right, self.cells = left, right, cells
        self.box, self.coarse = _cells(cells, ends), _cells((cells + 1) // 2, ends)
        self.chain = self.box.axes[0].chain  # of both
        self.like = {"dtype": left.dtype, "device": left.device}

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values at the coarse unknowns, :eq:`interpolation` without a load."""
        e = self.chain.nodes(e)
        pairs = self.left.shape[-1]
        u = e.new_empty((*e.shape[:-1], self.cells + 1))
        u[..., 0 : 2 * pairs + 1 : 2] = e[..., : pairs + 1]
        u[..., 1 : 2 * pairs : 2] = self.left * e[..., :pairs] + self.right * e[..., 1 : pairs + 1]
        u[..., -1] = e[..., -1]
        return self.chain.unknowns(u)

    def restrict(self, b: Tensor) -> Tensor:
        """Apply the transpose: restrict loads of the fine unknowns, :eq:`coarse-row-sums`."""
        b = self.chain.spread(b)
        pairs = self.left.shape[-1]
        odd = b[..., 1 : 2 * pairs : 2]
        coarse = b.new_zeros((*b.shape[:-1], (self.cells + 1) // 2 + 1))
        coarse[..., : pairs + 1] = b[..., 0 : 2 * pairs + 1 : 2]
        if self.cells % 2:
            coarse[..., -1] = b[..., -1]
        coarse[..., :pairs] += self.left * odd
        coarse[..., 1 : pairs + 1] += self.right * odd
        return self.chain.loads(coarse)


def _cells(cells: int, ends: tuple[str, str]) -> Box:
    """Give cells that count by their number; how wide they are is in the conductances."""
    return Box([Axis(cells, 1.0, ends)])
