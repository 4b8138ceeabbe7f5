"""What a solution gives and takes: fluxes through sides and at held nodes, by residuals, and its energy.

At a node that is held the residual of all nodes is what holds it there, :eq:`boundary-flux`. Fluxes that are
sums of residuals balance with the sources to rounding, whatever the iteration has left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import known_values, sent
from ..core.checks import shown
from ..operators.axes import overlap
from ..operators.boxes import Box
from ..operators.contract import Operator
from . import assembly
from .boundary import at_nodes, fluxes
from .conditions import SIDES, Condition, Dirichlet, nothing
from .grid import Grid
from .problem import Poisson
from .quadrature import integrate_nodal

__all__ = ["Balance", "Source", "integral"]


class Source(NamedTuple):
    """Where a solution came from.

    Parameters
    ----------
    problem : Poisson
        The problem.
    device : torch.device
        Where it was solved.
    ready : torch.Tensor, shape ``(..., *unknowns)``, optional
        A load in place of the problem's own, boundary fluxes included.
    operator : Operator, optional
        An operator in place of the problem's own.
    """

    problem: Poisson
    device: torch.device
    ready: Tensor | None = None
    operator: Operator | None = None


class Balance:
    """Fluxes and energy of nodal values, shape ``(..., *nodes)``, in float64, found when they are asked for.

    A copy, as for another process, has them without the problem.
    """

    def __init__(self, source: Source, u: Tensor) -> None:
        self.source, self.u = source, u
        self.joined, self.nodes = source.problem.joined, source.problem.node_shape

    def __getstate__(self) -> dict[str, Any]:
        return {
            "joined": self.joined,
            "nodes": self.nodes,
            "reactions": self.reactions.detach(),
            "energy": self.energy.detach(),
            "fluxes": {side: flux.detach() for side, flux in self.fluxes.items()},
        }

    def through(self, side: Any) -> Tensor:
        """Return the flux through a side, or at the nodes of a mask; see :meth:`mgnet.Solution.flux`."""
        if not isinstance(side, str):
            mask = self.mask_of(side)
            return _total(self.reactions * sent(mask, self.reactions.device), len(self.nodes))
        self.require_side(side)
        return self.fluxes[side]

    def require_side(self, side: str) -> None:
        """Raise the error that says which sides there are, unless this is one."""
        if side not in self._names:
            is_joined = any(side in pair for pair in SIDES[: len(self.nodes)])
            got = f"{side!r}, which is joined to the opposite side" if is_joined else repr(side)
            raise ValueError(f"side: got {got}; accepted: {self._accepted}")

    @property
    def _names(self) -> list[str]:
        return [name for pair, joined in zip(SIDES, self.joined, strict=False) if not joined for name in pair]

    @property
    def _accepted(self) -> str:
        names = [repr(name) for name in self._names]
        return ", ".join([*names, f"an array of bool of shape {self.nodes}, one for each node"])

    def mask_of(self, nodes: Any) -> Tensor:
        """Return a mask over the nodes; a node of joined sides is meant by each of its copies."""
        mask = np.empty(0)
        with suppress(ValueError):  # rows of different lengths
            mask = known_values(nodes) if isinstance(nodes, Tensor) else np.asarray(nodes)
        if mask.dtype != np.bool_ or mask.shape != self.nodes:
            raise ValueError(f"side: got {shown(nodes)}; accepted: {self._accepted}")
        mask = mask.copy()
        for axis in np.flatnonzero(self.joined):
            ends = np.moveaxis(mask, axis, 0)[[0, -1]]
            np.moveaxis(mask, axis, 0)[[0, -1]] = ends.any(0)
        return torch.from_numpy(mask)

    @cached_property
    def reactions(self) -> Tensor:
        """What holds each node, shape ``(..., *nodes)``: its residual, zero where it is an unknown."""
        with self._graded():
            problem, ready, space = self.problem, self.source.ready, self.problem.space
            at_sides = at_nodes(problem, self._given, self._values)
            if ready is None and problem.b is None:
                of_f, *_ = assembly.load_at_nodes(problem, torch.float64, self.source.device)
            elif ready is None:
                of_f = space.spread(sent(problem.b, self.source.device, torch.float64))
            else:
                of_f = space.spread(ready.to(self.source.device, torch.float64) - space.loads(at_sides))
            return self._image() - of_f - at_sides  # eq: boundary-flux

    @cached_property
    def energy(self) -> Tensor:
        """Half of a(u, u), shape (...,)."""
        with self._graded():
            return _total(self._values * self._image(), self.problem.dim) / 2  # eq: energy

    @cached_property
    def fluxes(self) -> dict[str, Tensor]:
        """The flux through each side that is not joined, shape (...,)."""
        batch, sides = self.u.shape[: self.u.ndim - self.problem.dim], self.problem.sides()
        with self._graded():
            found = {name: self.of_data(axis, end, side) for name, axis, end, side in sides}
            takers = [side for side in sides if isinstance(side[-1], Dirichlet)]
            takers = takers or [side for side in sides if _alpha(side[-1]) is not None]
            for (name, *_), flux in zip(takers, self._of_residuals(takers), strict=True):
                found[name] = found[name] + flux
            for (name, *_), flux in zip(sides, self._of_fixed(sides), strict=True):
                found[name] = found[name] + flux
            return {name: flux.expand(batch) for name, flux in found.items()}

    @property
    def problem(self) -> Poisson:
        """The problem."""
        return self.source.problem

    @property
    def _values(self) -> Tensor:
        """The nodal values, where the problem is, in float64; zero where there is no cell."""
        u, present = self.u.to(self.source.device, torch.float64), self.problem.region.present
        return u if present is None else u.masked_fill(~sent(present, u.device), 0.0)

    def _graded(self) -> AbstractContextManager[Any]:
        """Take derivatives where u does, and only there, whatever holds where they are asked for."""
        return torch.set_grad_enabled(self.u.requires_grad)

    def _image(self) -> Tensor:
        """Apply the operator at all nodes."""
        own = self.source.operator

        def apply(problem: Poisson, u: Tensor) -> Tensor:
            if own is None:
                A = assembly.operator(problem, torch.float64, self.source.device)
            else:
                A = own.replaced(*(number.double() for number in own.numbers))
            return A.at_nodes(u.reshape(-1, 1, *problem.node_shape)).reshape(u.shape)

        return self._of_samples(apply, self._values, self.problem.dim)

    def _of_samples(self, make: Callable[[Poisson, Tensor], Tensor], u: Tensor, axes: int) -> Tensor:
        """Make something of the values of each sample, a problem with an operator of its own.

        Their last axes, as many before as after, are no batch.
        """
        samples = self.problem.samples
        if not samples:
            return make(self.problem, u)
        found: list[Tensor] = []
        for index in itertools.product(*map(range, samples)):
            part = u
            for place, (i, count) in enumerate(zip(index, samples, strict=True), -len(samples) - axes):
                part = part.narrow(place, i, 1) if count > 1 else part
            found.append(make(self.problem.sample(index), part))
        return _joined(found, samples, axes)

    @cached_property
    def _given(self) -> list[tuple[int, int, Tensor]]:
        """The integrals of the data of natural sides against hats."""
        return fluxes(self.problem, torch.float64, self.source.device)

    def of_data(self, axis: int, end: int, side: Condition) -> Tensor:
        """Integrate g - alpha u over a natural side, as the assembly does; zero for others."""
        dim, alpha = self.problem.dim, _alpha(side)
        total = self._values.new_zeros(())
        for *where, g in self._given:
            if where == [axis, end]:
                total = _total(g, dim - 1)
        if alpha is None:
            return total
        like = {"dtype": torch.float64, "device": self.source.device}
        mass = assembly.side_mass(self.problem, "Robin alpha", (axis, end), alpha, like)
        of_u = mass.at_nodes(self._values.reshape(-1, 1, *self.nodes)).reshape(self._values.shape)
        return total - _total(of_u, dim)

    def _of_fixed(self, sides: list[Any]) -> list[Tensor]:
        """Give each side the residuals of its nodes that are held by themselves; a shared one is divided."""
        problem, fixed = self.problem, self.problem.region.fixed
        if fixed is None:
            return [self._values.new_zeros(())] * len(sides)
        ones = [(axis, end, self._values.new_ones(problem.side_shape(axis))) for _, axis, end, _ in sides]
        count = at_nodes(problem, ones, self._values).clamp_min(1)
        share = self.reactions * sent(fixed, self.reactions.device) / count
        return [_total(share.select(axis - problem.dim, end), problem.dim - 1) for axis, end, _ in ones]

    def _of_residuals(self, takers: list[Any]) -> Iterator[Tensor]:
        """Give each of some sides its share of the residuals of all nodes.

        The weight of a node is 1 on a side and 0 on the others, and linear in between: so all weights of a
        node sum to 1, and what an iteration has left counts little. An edge of two sides is shared.
        """
        problem, u = self.problem, self._values
        where = [(axis, end) for _, axis, end, _ in takers]
        ones = [(axis, end, u.new_ones(problem.side_shape(axis))) for axis, end in where]
        count = at_nodes(problem, ones, u).clamp_min(1)
        kinds = [
            ["dirichlet" if (i, end) in where else "natural" for end in (0, -1)] for i in range(problem.dim)
        ]
        pairs = zip(problem.space.axes, kinds, strict=True)
        space = Box([replace(axis, ends=(low, high)) for axis, (low, high) in pairs])
        edges = self._at_edges(takers, count)
        for side, at_edges in zip(ones, edges, strict=True):
            weights = space.blend(at_nodes(problem, [side], u) / count)
            if problem.region.fixed is not None:  # what holds those is no side
                weights = weights * ~sent(problem.region.fixed, u.device)
            yield _total(weights * self.reactions, problem.dim) + at_edges

    def _at_edges(self, takers: list[Any], count: Tensor) -> list[Tensor]:
        """Give what each Dirichlet side has of its edges beyond an equal share.

        The slope across a side is that side's alone; what else is in the residual of an edge is small.
        """
        several = len({axis for _, axis, *_ in takers}) > 1
        if not (several and isinstance(takers[0][-1], Dirichlet)):
            return [self._values.new_zeros(())] * len(takers)
        own = [(axis, end, self._slopes(axis, end)) for _, axis, end, _ in takers]
        shares, dim = at_nodes(self.problem, own, self._values) / count, self.problem.dim
        return [_total(slopes - shares.select(axis - dim, end), dim - 1) for axis, end, slopes in own]

    def _slopes(self, axis: int, end: int) -> Tensor:
        """Integrate a du/dnu of the finite-element function over a side against hats, lumped."""
        problem, u = self.problem, self._values
        place, grids = axis - problem.dim, problem.grids[:axis] + problem.grids[axis + 1 :]
        first = 0 if end == 0 else problem.grids[axis].n - 1  # the cells at the side
        (h,) = problem.grids[axis].widths(first, first + 1)
        here, inside = u.select(place, end), u.select(place, 1 if end == 0 else -2)
        slope = (here - inside) / h
        for along in range(1 - problem.dim, 0):
            n = slope.shape[along] - 1
            slope = (slope.narrow(along, 0, n) + slope.narrow(along, 1, n)) / 2

        def through(one: Poisson, part: Tensor) -> Tensor:
            return part * assembly.averages_at(one, axis, first, u.device)

        flux = self._of_samples(through, slope, problem.dim - 1)
        for along, grid in enumerate(grids, 1 - problem.dim):
            widths = sent(torch.from_numpy(grid.widths(0, grid.n)), u.device)
            flux = flux * widths.reshape(-1, *[1] * (-1 - along)) / 2
            flux = overlap(flux, flux, along)
        return flux


def _joined(parts: list[Tensor], samples: Sequence[int], axes: int) -> Tensor:
    """Put what belongs to each sample together; the last axes are no batch."""
    for place, count in enumerate(reversed(samples), axes + 1):
        if count > 1:
            parts = [torch.cat(parts[i : i + count], -place) for i in range(0, len(parts), count)]
    return parts[0]


def _alpha(side: Condition) -> Any:
    """Give Robin's alpha, or None where there is none."""
    alpha = getattr(side, "alpha", 0.0)
    return None if nothing(alpha) else alpha


def integral(grids: Sequence[Grid], u: Tensor, active: Tensor | None = None) -> Tensor:
    """Integrate the finite-element function of nodal values over the domain, in float64, shape (...,)."""
    values = u.double() if active is None else torch.where(u.isnan(), 0.0, u.double())
    return _total(integrate_nodal(grids, values, True, active), len(grids))


def _total(x: Tensor, axes: int) -> Tensor:
    """Sum over the last axes; over none of them where there are none."""
    return x.reshape(*x.shape[: x.ndim - axes], -1).sum(-1)
