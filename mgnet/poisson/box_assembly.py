"""From the weak form in a box to the operator A and the load b, axis by axis; knows h and quadrature."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import array, require_finite
from ..core.checks import held
from ..core.kinds import hidden, tracked
from ..core.memory import sent
from ..operators.axes import gathered, integrate_linear, overlap
from ..operators.cells import CellStiffness
from ..operators.entries import StencilStiffness
from ..operators.stiffness import BoxStiffness
from .assembly import Load, coefficient_at, evaluate, reaction
from .box_problem import BoxPoisson
from .grid import Grid
from .problem import Dirichlet, nothing, require_bounds
from .unseen import Lookout

__all__ = ["boundary_values", "load", "operator"]

# Three points integrate polynomials of degree 5 exactly, so a quadrature error is O(h^6).
POINTS, WEIGHTS = stencils.gauss(3)
# Integrals over the unit interval of a function times two hats: low and low, low and high, high and high.
# From its values at the points, and from those at the ends, where it is linear.
OF_POINTS = WEIGHTS[:, None] * np.stack(((1 - POINTS) ** 2, POINTS * (1 - POINTS), POINTS**2), -1)
OF_ENDS = np.array([[3.0, 1.0, 1.0], [1.0, 1.0, 3.0]]) / 12
# Quadrature points that exist at one time.
MOST = 2**20


def operator(problem: BoxPoisson, dtype: torch.dtype, device: torch.device) -> BoxStiffness | CellStiffness:
    """Return the stiffness operator: a convolution where a and c are numbers, :eq:`tensor-stiffness`.

    Parameters
    ----------
    problem : BoxPoisson
        The problem; its f is not used.
    dtype : torch.dtype
        Precision of the operator; it is assembled in float64.
    device : torch.device
        Where it lives.

    Returns
    -------
    BoxStiffness or CellStiffness
        The second where a or c varies, :eq:`cell-energy`.

    Raises
    ------
    ValueError
        For a coefficient that is out of its bounds; the message names the cell.
    """
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    a, c = problem.a, reaction(problem, device)
    if problem.alike and isinstance(a, float) and isinstance(c, float):
        # eq: weak-form-box
        return BoxStiffness.of(problem.space, a, c, lumped=problem.lumped, **like)
    reacts = not (isinstance(c, float) and c == 0.0)
    of_c = _mass(problem, c, like) if reacts else None
    robin: Any = problem.alphas
    if any(tracked(*pair) for pair in robin):
        flat = [torch.as_tensor(alpha, **like) for pair in robin for alpha in pair]
        robin = torch.stack(flat).reshape(-1, 2)
    return CellStiffness(problem.space, _of_cells(problem, device).to(dtype), of_c, robin)


def _of_cells(problem: BoxPoisson, device: torch.device) -> Tensor:
    """Give the average of a over each cell, in float64."""
    if isinstance(problem.a, float):
        # In the memory of one number.
        return torch.full((), problem.a, dtype=torch.float64, device=device).expand(problem.cells)
    if callable(problem.a):
        grids = problem.grids
        pieces = ((rows, [_averages(_sampled("a", problem, rows, device))]) for rows in _chunks(grids))
        return sent(gathered(pieces, grids[0].n, 0)[0], device)
    return sent(problem.a, device)


def _averages(values: Tensor) -> Tensor:
    weights = sent(torch.from_numpy(WEIGHTS), values.device)
    for place in range(-values.ndim, 0):
        values = _points_apart(values, place) @ weights
    return values


def _sampled(name: str, problem: BoxPoisson, rows: slice, device: torch.device) -> Tensor:
    """Give a coefficient's values at the quadrature points of some cells of the first axis, checked."""
    values = coefficient_at(name, problem, device, *_quadrature_points(problem.grids, rows))
    least = values
    for place in range(-problem.dim, 0):
        least = _points_apart(least, place).amin(-1)
    require_bounds("cell", **{name: least})
    return values


def _points_apart(values: Tensor, place: int) -> Tensor:
    """Move the quadrature points of each cell of an axis to an axis of their own, at the end."""
    return values.unflatten(place, (-1, len(POINTS))).movedim(place, -1)


def _mass(problem: BoxPoisson, c: Any, like: dict[str, Any]) -> StencilStiffness:
    """Give the mass matrix with the weight c, at all nodes: where it is lumped, a diagonal."""
    grids, dim = problem.grids, problem.dim
    nodal = (
        torch.full(problem.node_shape, c, dtype=torch.float64, device="cpu") if isinstance(c, float) else c
    )
    if problem.lumped:
        return StencilStiffness(problem.space, sent(_from_nodal(grids, nodal, True), **like), {})
    steps = [step for step in itertools.product((-1, 0, 1), repeat=dim) if step >= (0,) * dim]

    def entries(rows: slice) -> Iterator[Tensor]:
        values = (
            _sampled("c", problem, rows, like["device"]) if callable(c) else nodal[rows.start : rows.stop + 1]
        )
        found = _against_products(grids, rows, values, callable(c))
        for step in steps:
            yield _shifted(found[tuple(map(abs, step))], step).to(like["dtype"])

    pieces = ((rows, list(entries(rows))) for rows in _chunks(grids))
    centre, *others = (sent(x, like["device"]) for x in gathered(pieces, grids[0].n, 0))
    return StencilStiffness(problem.space, centre, dict(zip(steps[1:], others, strict=True)))


def _against_products(
    grids: list[Grid], rows: slice, values: Tensor, sampled: bool
) -> dict[tuple[int, ...], Tensor]:
    """Integrate c against products of two hats, those of a node and of the next along some axes.

    What c is between nodal values is linear along each axis; else it has been sampled.
    """
    fields: dict[tuple[int, ...], Tensor] = {(): values}
    for place in range(-1, -len(grids) - 1, -1):
        cells = rows if place == -len(grids) else slice(0, grids[place].n)
        widths = torch.from_numpy(grids[place].widths(cells.start, cells.stop)).reshape(
            -1, *[1] * (-1 - place)
        )
        merged = {}
        for step, field in fields.items():
            n = field.shape[place] - 1
            ends = field.narrow(place, 0, n), field.narrow(place, 1, n)
            each = _points_apart(field, place) if sampled else torch.stack(ends, -1)
            weights = sent(torch.from_numpy(OF_POINTS if sampled else OF_ENDS), values.device)
            # eq: mass-box
            low, mixed, high = ((each @ column) * widths.to(each) for column in weights.T)
            merged[(0, *step)] = overlap(low, high, place)
            merged[(1, *step)] = overlap(mixed, torch.zeros_like(mixed), place)
        fields = merged
    return fields


def _shifted(field: Tensor, step: tuple[int, ...]) -> Tensor:
    """Move entries that stand at the low ends of cells to the high ends, along axes of steps backwards."""
    for place, s in enumerate(step, -len(step)):
        if s < 0:
            zero, n = torch.zeros_like(field.narrow(place, 0, 1)), field.shape[place]
            field = torch.cat((zero, field.narrow(place, 0, n - 1)), place)
    return field


def _chunks(grids: list[Grid]) -> Iterator[slice]:
    """Split the cells along the first axis."""
    across = math.prod(len(POINTS) * grid.n for grid in grids[1:])
    step = max(1, MOST // (len(POINTS) * across))
    for start in range(0, grids[0].n, step):
        yield slice(start, min(start + step, grids[0].n))


def _quadrature_points(grids: list[Grid], rows: slice) -> tuple[np.ndarray, ...]:
    """Give the coordinates of the quadrature points of some cells along the first axis, to be broadcast."""
    ranges = [rows, *(slice(0, grid.n) for grid in grids[1:])]
    return np.ix_(
        *(grid.inside(cells.start, cells.stop, POINTS) for grid, cells in zip(grids, ranges, strict=True))
    )


def load(problem: BoxPoisson, dtype: torch.dtype, device: torch.device, speaks_torch: bool = False) -> Load:
    """Assemble the load of the unknowns, :eq:`load-box`, boundary fluxes included.

    Parameters
    ----------
    problem : BoxPoisson
        The problem.
    dtype : torch.dtype
        Precision of the load.
    device : torch.device
        Where it lives.
    speaks_torch : bool, default False
        Whether the solution is to be a tensor even if f is no function that returns one.

    Returns
    -------
    Load
        A ready load without boundary data is handed on as it is.

    Raises
    ------
    ValueError
        When the function f fails, or returns something else than finite numbers.
    """
    f, given, space = problem.f, problem.b, problem.space
    size: Tensor | float = 0.0
    total: Tensor | float = 0.0
    fluxes = _fluxes(problem, dtype, device)
    if fluxes is not None and not hidden(fluxes):
        axes = tuple(range(-problem.dim, 0))
        size, total = fluxes.detach().abs().sum(axes), fluxes.detach().sum(axes)
    batch = () if fluxes is None else fluxes.shape[: -problem.dim]
    if given is not None:
        b = sent(given, device, dtype)
        common_batch("b", b, problem.dim, batch)
        b = b if fluxes is None else b + space.loads(fluxes)
        return Load(b, "b", given, False, speaks_torch, size, total)
    if callable(f) and problem.load == "exact":
        b, tensor, of_f = _quadrature(problem.grids, "f", f, dtype, device)
        size = size + sent(of_f, device)
        b, speaks_torch = sent(b, device), speaks_torch or tensor
    else:
        if callable(f):
            values, tensor = evaluate("f", f, *np.ix_(*(grid.x for grid in problem.grids)), device=device)
            f, speaks_torch = values, speaks_torch or tensor
        elif isinstance(f, float):
            f = torch.full(problem.node_shape, held("f", f, dtype), dtype=dtype, device=device)
        else:
            given = f
            require_finite("f", f, problem.dim)
        f = whole_period(problem, sent(f, device, dtype))
        b = _from_nodal(problem.grids, f, problem.load == "nodal")
    common_batch("f", b, problem.dim, batch)
    b = space.loads(b if fluxes is None else b + fluxes)
    return Load(b, "f", given, problem.load == "nodal", speaks_torch, size, total)


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
    try:
        return tuple(torch.broadcast_shapes(own, batch))
    except RuntimeError:
        raise ValueError(
            f"{name}: got leading axes {own} beside {tuple(batch)} of other data;"
            " accepted: a batch that all share"
        ) from None


def whole_period(problem: BoxPoisson, f: Tensor) -> Tensor:
    """Repeat the first nodes at the end of each periodic axis that has each node once."""
    for place, n in enumerate(problem.cells, -problem.dim):
        if f.shape[place] == n:
            f = torch.cat((f, f.narrow(place, 0, 1)), place)
    return f


def _from_nodal(grids: list[Grid], f: Tensor, lumped: bool) -> Tensor:
    """Integrate the function through nodal values against the hats: along each axis in turn, :eq:`mass`."""
    for place, grid in enumerate(grids, -len(grids)):
        shape = (grid.n, *[1] * (-1 - place))
        widths = sent(torch.from_numpy(grid.widths(0, grid.n)), f.device, f.dtype).reshape(shape)
        if lumped:
            half = widths.expand(grid.n, *shape[1:]) / 2
            f = f * overlap(half, half, -len(shape))
        else:
            f = integrate_linear(f, widths, place)
    return f


def _quadrature(
    grids: list[Grid],
    name: str,
    f: Callable[..., Any],
    dtype: torch.dtype,
    device: torch.device,
    names: str = "xyz",
) -> tuple[Tensor, bool, Tensor]:
    """Integrate a function against the hats of all nodes, and its absolute value."""
    speaks_torch, size = False, torch.zeros((), dtype=torch.float64, device="cpu")
    lookout = Lookout(len(grids))

    def pieces() -> Iterator[tuple[slice, list[Tensor]]]:
        nonlocal speaks_torch, size
        for rows in _chunks(grids):
            points = _quadrature_points(grids, rows)
            values, speaks_torch = evaluate(name, f, *points, device=device, names=names)
            if not hidden(values):
                sizes = values.detach().abs()
                lookout.look(sizes)
                sums = _against_hats(grids, rows, sizes, sums=True)
                size = size + sums.flatten(-len(grids)).sum(-1)
            yield rows, [_against_hats(grids, rows, values).to(dtype)]

    (b,) = gathered(pieces(), grids[0].n, -len(grids))
    if not hidden(b):
        lookout.warn(name, lambda *x: evaluate(name, f, *x, names=names)[0], grids)
    return b, speaks_torch, size


def _against_hats(grids: list[Grid], rows: slice, values: Tensor, sums: bool = False) -> Tensor:
    """Integrate values at quadrature points against the hats, or with ``sums`` over the cells."""
    t, w = (sent(torch.from_numpy(x), values.device) for x in (POINTS, WEIGHTS))
    for place in range(-1, -len(grids) - 1, -1):
        grid = grids[place]
        cells = rows if place == -len(grids) else slice(0, grid.n)
        widths = sent(torch.from_numpy(grid.widths(cells.start, cells.stop)), values.device)
        widths = widths.reshape(-1, *[1] * (-1 - place))
        each = _points_apart(values, place)
        if sums:
            values = ((each @ w) * widths).sum(place, keepdim=True)
        else:
            # eq: load-box
            values = overlap((each @ (w * (1 - t))) * widths, (each @ (w * t)) * widths, place)
    return values


def _fluxes(problem: BoxPoisson, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Give what Neumann and Robin sides add to the load of all nodes, shape ``(..., *nodes)``."""
    total: Tensor | None = None
    batch: tuple[int, ...] = ()
    for name, axis, end, side in problem.sides():
        if isinstance(side, Dirichlet) or nothing(side.g):
            continue
        others = problem.grids[:axis] + problem.grids[axis + 1 :]
        if callable(side.g) and problem.load == "exact":
            g, along = _on_side(problem, axis, end, side.g), _others(axis)
            b, *_ = _quadrature(others, f"{name}: g", g, dtype, device, along)
        else:
            values = _nodal_data(problem, name, axis, end, side.g, device).to(dtype)
            b = _from_nodal(others, values, problem.load == "nodal")
        batch = common_batch(f"{name}: g", b, problem.dim - 1, batch)
        part = _at_side(problem, sent(b, device), axis, end)
        total = part if total is None else total + part
    return total


def _others(axis: int) -> str:
    """Name the coordinates along a side."""
    return "xyz".replace("xyz"[axis], "")


def _on_side(problem: BoxPoisson, axis: int, end: int, g: Callable[..., Any]) -> Callable[..., Any]:
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


def _nodal_data(problem: BoxPoisson, name: str, axis: int, end: int, g: Any, device: torch.device) -> Tensor:
    """Give the data of a side at its nodes, shape ``(..., *side nodes)``, in float64."""
    shape = problem.side_shape(axis)
    if callable(g):
        others = problem.grids[:axis] + problem.grids[axis + 1 :]
        on_side, points = _on_side(problem, axis, end, g), np.ix_(*(grid.x for grid in others))
        values, _ = evaluate(f"{name}: g", on_side, *points, device=device, names=_others(axis))
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


def _at_side(problem: BoxPoisson, values: Tensor, axis: int, end: int) -> Tensor:
    """Give values at all nodes that are those on a side, and zero elsewhere."""
    place = axis - problem.dim
    values = values.unsqueeze(place)
    shape = list(values.shape)
    shape[place] = problem.cells[axis]
    zeros = values.new_zeros(shape)
    return torch.cat((values, zeros) if end == 0 else (zeros, values), place)


def boundary_values(problem: BoxPoisson, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return the values at the Dirichlet nodes, and zeros at the others, :eq:`lifting`.

    Parameters
    ----------
    problem : BoxPoisson
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
    held = [side for side in problem.sides() if isinstance(side[-1], Dirichlet)]
    if all(nothing(side.g) for *_, side in held):
        return None
    total = torch.zeros((), dtype=torch.float64, device=device)
    batch: tuple[int, ...] = ()
    for name, axis, end, side in held:
        values = _nodal_data(problem, name, axis, end, side.g, device)
        batch = common_batch(f"{name}: g", values, problem.dim - 1, batch)
        ones = torch.ones(problem.side_shape(axis), dtype=torch.bool, device=device)
        here = _at_side(problem, ones, axis, end)
        total = torch.where(here, _at_side(problem, values, axis, end), total)
    return total.to(dtype)
