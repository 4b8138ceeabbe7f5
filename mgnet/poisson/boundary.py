"""What the data of the sides do: fluxes add to the load, values at Dirichlet nodes are lifted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array, require_finite, sent
from ..core.checks import held
from ..core.kinds import hidden, tracked
from ..operators.boxes import Box
from ..operators.contract import Operator
from .conditions import Dirichlet, nothing
from .problem import Poisson
from .quadrature import CPU, Quadrature, evaluate, integrate_nodal
from .shapes import common_batch

__all__ = [
    "Held",
    "Side",
    "add_fluxes",
    "at_end",
    "at_nodes",
    "boundary_values",
    "floating",
    "flux_sums",
    "fluxes",
]
__all__ += ["may_float", "nodal_data", "on_side", "side_rule", "side_values"]

# An axis, its low end 0 or its high end -1, and values on that side, shape ``(..., *nodes of the side)``.
Side = tuple[int, int, Tensor]
# Entries of operators that Dirichlet values are multiplied with are not expected to be larger.
ROOM = 2.0**20


def fluxes(problem: Poisson, dtype: torch.dtype, device: torch.device) -> list[Side]:
    """Return the integrals of the data of Neumann and Robin sides, but zeros, against hats of their nodes."""
    found: list[Side] = []
    batch: tuple[int, ...] = ()
    for name, axis, end, side in problem.sides():
        if isinstance(side, Dirichlet) or nothing(side.g):
            continue
        rule, names = side_rule(problem, axis, end)
        if callable(side.g) and problem.load == "exact":
            g = on_side(problem, axis, end, side.g)
            b, *_ = rule.integrate(f"{name}: g", g, dtype, device, names)
        else:
            place = CPU if isinstance(side.g, float) else device  # a number takes one launch to send
            values = nodal_data(problem, f"{name}: g", axis, end, side.g, place).to(dtype)
            b = integrate_nodal(rule.grids, values, problem.load == "nodal", rule.active)
        batch = common_batch(f"{name}: g", b, problem.dim - 1, batch)
        found.append((axis, end, sent(b, device)))
    return found


def may_float(problem: Poisson) -> bool:
    """Say whether nothing is seen to hold the constants; c or Robin's alpha may, if they are no numbers."""
    # Where the domain is in pieces, Robin's alpha may hold some of them.
    alphas = [alpha for pair in problem.alphas for alpha in pair] if problem.region.whole else []
    return problem.floats and not any(isinstance(x, float) and x > 0 for x in (problem.c, *alphas))


def flux_sums(problem: Poisson, sides: list[Side]) -> tuple[Tensor | float, Tensor | float]:
    """Sum up the sizes of the fluxes, and the fluxes themselves, of each row; not those that are hidden.

    They are asked for where constants are free.
    """
    size: Tensor | float = 0.0
    total: Tensor | float = 0.0
    for *_, values in sides if may_float(problem) else []:
        if not hidden(values):
            rows = values.detach().reshape(*values.shape[: values.ndim - problem.dim + 1], -1)
            size, total = size + rows.abs().sum(-1), total + rows.sum(-1)
    return size, total


def add_fluxes(name: str, problem: Poisson, b: Tensor, sides: list[Side], own: bool = True) -> Tensor:
    """Return a load of the unknowns with the fluxes; ``own`` says whether it may be overwritten."""
    if not sides:
        return b
    dim, axes = problem.dim, problem.space.axes
    batch: tuple[int, ...] = ()
    for *_, values in sides:
        batch = common_batch(name, values, dim - 1, batch)
    whole = common_batch(name, b, dim, batch)
    for axis, end, values in sides:
        place = axis - dim
        # The node of a side that is not held is an unknown.
        values = Box(axes[:axis] + axes[axis + 1 :]).loads(values)
        if tracked(values) or whole != b.shape[: b.ndim - dim]:
            b, own = b + at_end(values, place, b.shape[place], end), True
            continue
        b, own = b if own else b.clone(), True
        b.select(place, end).add_(values)
    return b


def at_nodes(problem: Poisson, sides: list[Side], like: Tensor) -> Tensor:
    """Add up what sides have at all nodes, zeros elsewhere, shape ``(..., *nodes)``."""
    total = like.new_zeros(problem.node_shape)
    for axis, end, values in sides:
        total = total + at_end(values, axis - problem.dim, problem.node_shape[axis], end)
    return total


def at_end(values: Tensor, place: int, count: int, end: int) -> Tensor:
    """Give values at all of so many nodes along an axis: those of one end, and zeros."""
    values = values.unsqueeze(place)
    shape = list(values.shape)
    shape[place] = count - 1
    zeros = values.new_zeros(shape)
    return torch.cat((values, zeros) if end == 0 else (zeros, values), place)


def side_values(problem: Poisson, dtype: torch.dtype, device: torch.device) -> list[Side]:
    """Return the values on the Dirichlet sides in the order in which they count where two meet, last most."""
    given = [side for side in problem.sides() if isinstance(side[-1], Dirichlet)]
    if all(nothing(side.g) for *_, side in given):
        return []
    found: list[Side] = []
    batch: tuple[int, ...] = ()
    for name, axis, end, side in given:
        values = nodal_data(problem, f"{name}: g", axis, end, side.g, device)
        batch = common_batch(f"{name}: g", values, problem.dim - 1, batch)
        found.append((axis, end, values.to(dtype)))
    return found


def boundary_values(problem: Poisson, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return the values at the Dirichlet nodes, and zeros at the others, :eq:`lifting`, or None for zero."""
    total: Tensor | None = None
    for axis, end, values in side_values(problem, dtype, device):
        place, count = axis - problem.dim, problem.node_shape[axis]
        ones = torch.ones(problem.side_shape(axis), dtype=torch.bool, device=device)
        here, values = (at_end(x, place, count, end) for x in (ones, values))
        total = torch.where(here, values, values.new_zeros(()) if total is None else total)
    return _with_fixed(problem, total, dtype, device)


def _with_fixed(
    problem: Poisson, total: Tensor | None, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """Write the values of nodes that are held wherever they are over those of the sides."""
    region = problem.region
    if region.fixed is None:
        return total
    values = region.values
    if isinstance(values, float) and not values and total is None:
        return None
    if callable(values):
        points = np.ix_(*(grid.x.copy() for grid in problem.grids))
        values, _ = evaluate("fixed: the values", values, *points, device=device)
    elif isinstance(values, float):
        values = torch.full((), held("fixed: the values", values, dtype, ROOM), dtype=dtype)
    values, mask = sent(values, device, dtype), sent(region.fixed, device)
    return torch.where(mask, values, values.new_zeros(()) if total is None else total)


def floating(problem: Poisson, A: Any) -> Tensor:
    """Number the pieces of the domain that nothing holds, shape ``(*nodes)``; see Region.pieces."""
    holding = A.reacting.cpu()
    for _, axis, end, side in problem.sides():
        if isinstance(side, Dirichlet):
            holding.select(axis, end).fill_(True)
    if problem.region.fixed is not None:
        holding |= problem.region.fixed
    return problem.region.pieces(holding)


def side_rule(problem: Poisson, axis: int, end: int) -> tuple[Quadrature, str]:
    """Give the quadrature on a side, and the names of its coordinates."""
    active = problem.region.active
    active = None if active is None else active.select(axis, end)
    grids = problem.grids[:axis] + problem.grids[axis + 1 :]
    return Quadrature(grids, problem.dim, active), "xyz".replace("xyz"[axis], "")


def on_side(problem: Poisson, axis: int, end: int, g: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function of all coordinates into one of those along a side."""
    place = problem.grids[axis].domain[end]

    def of_side(*along: Any) -> Any:
        # Each coordinate is an array of as many axes as the box has; the side's own is one point.
        shapes = [(*x.shape[:axis], 1, *x.shape[axis:]) for x in along]
        full = [x.reshape(shape) for x, shape in zip(along, shapes, strict=True)]
        here = 0 * full[0].reshape(-1)[:1].reshape([1] * problem.dim) + place
        values = g(*full[:axis], here, *full[axis:])
        axes = values.ndim if isinstance(values, Tensor) else np.ndim(values)
        if axes < problem.dim:
            return values
        values = values.squeeze(axis - problem.dim)
        # One value along an axis that they do not depend on.
        batch, sizes = values.shape[: -len(along)], values.shape[-len(along) :]
        wanted = [max(x.shape) if size == 1 else size for size, x in zip(sizes, along, strict=True)]
        broadcast: Any = torch.broadcast_to if isinstance(values, Tensor) else np.broadcast_to
        return broadcast(values, (*batch, *wanted))

    return of_side


def nodal_data(problem: Poisson, name: str, axis: int, end: int, g: Any, device: torch.device) -> Tensor:
    """Give the data of a side at its nodes, shape ``(..., *side nodes)``, in float64."""
    shape = problem.side_shape(axis)
    if callable(g):
        rule, names = side_rule(problem, axis, end)
        points = np.ix_(*(grid.x.copy() for grid in rule.grids))
        values, _ = evaluate(name, on_side(problem, axis, end, g), *points, device=device, names=names)
        return sent(values, device)
    if isinstance(g, float):
        return torch.full(shape, g, dtype=torch.float64, device=device)
    if isinstance(g, Tensor) and not g.ndim:
        return sent(g, device, torch.float64).expand(shape)
    values = array(name, g, (problem.node_shape, shape), "nodal values")
    values = _where_present(problem, axis, end, values)
    require_finite(name, values, len(shape) + (values.shape[-problem.dim :] == problem.node_shape))
    if values.shape[-problem.dim :] == problem.node_shape:
        values = values.select(axis - problem.dim, end)
    return sent(values, device, torch.float64)


def _where_present(problem: Poisson, axis: int, end: int, values: Tensor) -> Tensor:
    """Return data of a side, or of the whole box, with zero at nodes that have no cell."""
    present = problem.region.present
    if present is None:
        return values
    whole = values.shape[-problem.dim :] == problem.node_shape
    mask = present if whole else present.select(axis, end)
    return torch.where(mask.to(values.device), values, values.new_zeros(()))


class Held:
    """The values at the Dirichlet nodes, elsewhere zero: an array, or at the ends of a line two numbers."""

    def __init__(
        self,
        box: Box,
        nodes: Tensor | None = None,
        ends: tuple[Any, Any] = (0.0, 0.0),
        inside: bool = False,
    ) -> None:
        self.box, self._nodes, self.ends = box, nodes, ends
        self.inside = inside  # whether nodes that are not on a side are held too, or have no cell

    @classmethod
    def of(cls, problem: Poisson, dtype: torch.dtype, device: torch.device) -> Held:
        """Return those of a problem; numbers that the precision cannot hold are a ValueError."""
        for name, *_, side in problem.sides():
            if isinstance(side, Dirichlet) and isinstance(side.g, float):
                held(f"{name}: Dirichlet g", side.g, dtype, ROOM)
        inside = not problem.region.whole
        if problem.dim > 1 or problem.region.fixed is not None:
            return cls(problem.space, boundary_values(problem, dtype, device), inside=inside)
        ends: list[Any] = [0.0, 0.0]
        for _, end, value in side_values(problem, dtype, device):
            here = value.device.type == "cpu"  # reading from elsewhere would wait
            ends[end] = float(value) if here and not (tracked(value) or hidden(value)) else value
        return cls(problem.space, None, (ends[0], ends[1]), inside)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """What derivatives may be taken by."""
        return self.ends if self._nodes is None else (self._nodes,)

    @property
    def many(self) -> Tensor | None:
        """The values as an array, shape ``(..., *nodes)``, where they are one."""
        return self._nodes

    def replaced(self, nodes: Tensor | None) -> Held:
        """Return the same with another array."""
        return Held(self.box, nodes, self.ends, self.inside)

    @property
    def zero(self) -> bool:
        """Whether all are zero, and known to be."""
        return self._nodes is None and not any(isinstance(end, Tensor) or end for end in self.ends)

    def nodes(self, like: Tensor) -> Tensor:
        """Return the values at all nodes, shape ``(..., *nodes)``, in the precision of a tensor."""
        if self._nodes is not None:
            return self._nodes.to(like.dtype)
        (axis,) = self.box.axes
        return axis.chain.nodes(like.new_zeros(axis.unknowns), *self.ends)

    def double(self) -> Held:
        """Return the same in float64."""
        ends = [end.double() if isinstance(end, Tensor) else end for end in self.ends]
        nodes = None if self._nodes is None else self._nodes.double()
        return Held(self.box, nodes, (ends[0], ends[1]), self.inside)

    def beside(self, b: Tensor) -> tuple[tuple[int, ...], Tensor, Held]:
        """Return the batch, the leading axes of loads and values, and both with one axis for it."""
        shape, batch = self.box.shape, tuple(b.shape[: b.ndim - self.box.dim])
        if self._nodes is None:
            return batch, b.reshape(math.prod(batch), *shape), self
        batch = common_batch("boundary", self._nodes, self.box.dim, batch)
        rows = b.expand(*batch, *shape).reshape(math.prod(batch), *shape)
        nodes = self._nodes.expand(*batch, *self._nodes.shape[-self.box.dim :])
        nodes = nodes.reshape(len(rows), *nodes.shape[-self.box.dim :])
        return batch, rows, Held(self.box, nodes, inside=self.inside)

    def lifted(self, b: Tensor, A: Operator) -> Tensor:
        """Move the values to the right-hand side, :eq:`lifting`; derivatives can be taken."""
        if self.zero or not b.numel():
            return A.kept(b)
        g = self.nodes(b)
        at_nodes = A.at_nodes(g.reshape(-1, 1, *g.shape[-self.box.dim :])).reshape(g.shape)
        return A.kept(b - self.box.loads(at_nodes))  # eq: lifting

    def complete(self, x: Tensor) -> Tensor:
        """Return all nodes of a solution from its unknowns, shape ``(..., *unknowns)``; see Box.nodes."""
        return self.box.nodes(x, None if self.zero else self.nodes(x))

    def filled(self, u: Tensor) -> Tensor:
        """Write the values into all nodes, shape ``(batch, *nodes)``, where the unknowns are already."""
        self.box.fill_sides(u)
        if self._nodes is not None:
            u.add_(self._nodes)
        elif not self.zero:
            u[..., 0] += self.ends[0]
            u[..., -1] += self.ends[1]
        return u
