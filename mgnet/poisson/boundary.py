"""What the data of the sides do: fluxes add to the load, given values stand at the Dirichlet nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array, require_finite
from ..core.kinds import hidden, tracked
from ..core.memory import sent
from ..operators.boxes import Box
from .conditions import Dirichlet, nothing
from .grid import Grid
from .problem import Poisson
from .quadrature import Quadrature, evaluate, integrate_nodal

__all__ = ["Side", "add_fluxes", "boundary_values", "common_batch", "flux_sums", "fluxes", "side_values"]

# An axis, its low end 0 or its high end -1, and values on that side.
Side = tuple[int, int, Tensor]


def fluxes(problem: Poisson, dtype: torch.dtype, device: torch.device) -> list[Side]:
    """Return the integrals of the data of Neumann and Robin sides against the hats of their nodes.

    Parameters
    ----------
    problem : Poisson
        The problem.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where they live.

    Returns
    -------
    list of (int, int, torch.Tensor)
        Axis, end, and the integrals, shape ``(..., *nodes of the side)``; of sides whose data are not the
        number zero.

    Raises
    ------
    TypeError, ValueError
        When data are not what they should be, or are batches that do not fit each other.
    """
    found: list[Side] = []
    batch: tuple[int, ...] = ()
    for name, axis, end, side in problem.sides():
        if isinstance(side, Dirichlet) or nothing(side.g):
            continue
        along = _grids_along(problem, axis)
        if callable(side.g) and problem.load == "exact":
            g, rule = _on_side(problem, axis, end, side.g), Quadrature(along, problem.dim)
            b, *_ = rule.integrate(f"{name}: g", g, dtype, device, _names_along(axis))
        else:
            values = _nodal_data(problem, name, axis, end, side.g, device).to(dtype)
            b = integrate_nodal(along, values, problem.load == "nodal")
        batch = common_batch(f"{name}: g", b, problem.dim - 1, batch)
        found.append((axis, end, sent(b, device)))
    return found


def flux_sums(problem: Poisson, sides: list[Side]) -> tuple[Tensor | float, Tensor | float]:
    """Sum up the sizes of the fluxes, and the fluxes themselves, of each row; not those that are hidden.

    Parameters
    ----------
    problem : Poisson
        The problem.
    sides : list of (int, int, torch.Tensor)
        What :func:`fluxes` returned.

    Returns
    -------
    (torch.Tensor, torch.Tensor), shape (...,), or (float, float)
        Both sums; numbers where there are no fluxes.
    """
    size: Tensor | float = 0.0
    total: Tensor | float = 0.0
    for *_, values in sides:
        if not hidden(values):
            rows = values.detach().reshape(*values.shape[: values.ndim - problem.dim + 1], -1)
            size, total = size + rows.abs().sum(-1), total + rows.sum(-1)
    return size, total


def add_fluxes(name: str, problem: Poisson, b: Tensor, sides: list[Side], own: bool = True) -> Tensor:
    """Return a load of the unknowns with the fluxes.

    Parameters
    ----------
    name : str
        What a message calls the load.
    problem : Poisson
        The problem.
    b : torch.Tensor, shape ``(..., *unknowns)``
        The load without them.
    sides : list of (int, int, torch.Tensor)
        What :func:`fluxes` returned.
    own : bool, default True
        Whether the load may be overwritten.

    Returns
    -------
    torch.Tensor, shape ``(..., *unknowns)``
        The load, in memory of its own if there are fluxes.

    Raises
    ------
    ValueError
        When the two are batches that do not fit.
    """
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
            b, own = b + _at_end(values, place, b.shape[place], end), True
            continue
        b, own = b if own else b.clone(), True
        b.select(place, end).add_(values)
    return b


def _at_end(values: Tensor, place: int, count: int, end: int) -> Tensor:
    """Give values at all of so many nodes along an axis: those of one end, and zeros."""
    values = values.unsqueeze(place)
    shape = list(values.shape)
    shape[place] = count - 1
    zeros = values.new_zeros(shape)
    return torch.cat((values, zeros) if end == 0 else (zeros, values), place)


def side_values(problem: Poisson, dtype: torch.dtype, device: torch.device) -> list[Side]:
    """Return the values on the Dirichlet sides.

    Parameters
    ----------
    problem : Poisson
        The problem.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where they live.

    Returns
    -------
    list of (int, int, torch.Tensor)
        Axis, end, and the values, shape ``(..., *nodes of the side)``, in the order in which they count where
        two sides meet, the last most; empty where all are the number zero.

    Raises
    ------
    TypeError, ValueError
        When data are not what they should be, or are batches that do not fit each other.
    """
    held = [side for side in problem.sides() if isinstance(side[-1], Dirichlet)]
    if all(nothing(side.g) for *_, side in held):
        return []
    found: list[Side] = []
    batch: tuple[int, ...] = ()
    for name, axis, end, side in held:
        values = _nodal_data(problem, name, axis, end, side.g, device)
        batch = common_batch(f"{name}: g", values, problem.dim - 1, batch)
        found.append((axis, end, values.to(dtype)))
    return found


def boundary_values(problem: Poisson, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return the values at the Dirichlet nodes, and zeros at the others, :eq:`lifting`.

    Parameters
    ----------
    problem : Poisson
        The problem.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where they live.

    Returns
    -------
    torch.Tensor, shape ``(..., *nodes)``, or None
        None where all are zero.
    """
    total: Tensor | None = None
    for axis, end, values in side_values(problem, dtype, device):
        place, count = axis - problem.dim, problem.node_shape[axis]
        ones = torch.ones(problem.side_shape(axis), dtype=torch.bool, device=device)
        here, values = (_at_end(x, place, count, end) for x in (ones, values))
        total = torch.where(here, values, values.new_zeros(()) if total is None else total)
    return total


def common_batch(name: str, values: Tensor, axes: int, batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the batch of values and of what came before them, or say that the two do not fit.

    Parameters
    ----------
    name : str
        What a message calls the values.
    values : torch.Tensor, shape (..., *points)
        The values.
    axes : int
        Number of axes of the points.
    batch : tuple of int
        The leading axes of what came before.

    Returns
    -------
    tuple of int
        The leading axes of both, broadcast.

    Raises
    ------
    ValueError
        When they do not.
    """
    own = tuple(values.shape[: values.ndim - axes])
    if own == batch or not batch:
        return own
    try:
        return tuple(torch.broadcast_shapes(own, batch))
    except RuntimeError:
        raise ValueError(
            f"{name}: got leading axes {own} beside {tuple(batch)} of other data;"
            " accepted: a batch that all share"
        ) from None


def _grids_along(problem: Poisson, axis: int) -> list[Grid]:
    """Give the grids of a side."""
    return problem.grids[:axis] + problem.grids[axis + 1 :]


def _names_along(axis: int) -> str:
    """Name the coordinates along a side."""
    return "xyz".replace("xyz"[axis], "")


def _on_side(problem: Poisson, axis: int, end: int, g: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function of all coordinates into one of those along a side."""
    place = problem.grids[axis].domain[end]

    def on_side(*along: Any) -> Any:
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

    return on_side


def _nodal_data(problem: Poisson, name: str, axis: int, end: int, g: Any, device: torch.device) -> Tensor:
    """Give the data of a side at its nodes, shape ``(..., *side nodes)``, in float64."""
    shape = problem.side_shape(axis)
    if callable(g):
        on_side = _on_side(problem, axis, end, g)
        points = np.ix_(*(grid.x.copy() for grid in _grids_along(problem, axis)))
        values, _ = evaluate(f"{name}: g", on_side, *points, device=device, names=_names_along(axis))
        return sent(values, device)
    if isinstance(g, float):
        return torch.full(shape, g, dtype=torch.float64, device=device)
    if isinstance(g, Tensor) and not g.ndim:
        return sent(g, device, torch.float64).expand(shape)
    values = array(f"{name}: g", g, (problem.node_shape, shape), "nodal values")
    require_finite(f"{name}: g", values, len(shape) + (values.shape[-problem.dim :] == problem.node_shape))
    if values.shape[-problem.dim :] == problem.node_shape:
        values = values.select(axis - problem.dim, end)
    return sent(values, device, torch.float64)
