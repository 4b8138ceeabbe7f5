"""From the weak form and a grid to the operator A and the load b, axis by axis; knows h and quadrature."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import require_finite, sent
from ..core.checks import held
from ..core.kinds import hidden, tracked
from ..operators.axes import gathered, overlap
from ..operators.cells import CellStiffness
from ..operators.contract import Operator
from ..operators.differences import Differences
from ..operators.entries import StencilStiffness
from ..operators.stiffness import Stiffness
from ..operators.varying import VaryingStiffness
from .boundary import add_fluxes, flux_sums, fluxes
from .problem import Poisson, require_bounds
from .quadrature import Quadrature, coefficient_at, evaluate, integrate_nodal

__all__ = ["Load", "averages_at", "form", "load", "load_at_nodes", "operator"]

# Integrals over the unit interval of a linear function times two hats, low and low, low and high, high and
# high, from its values at the ends.
OF_ENDS = np.array([[3.0, 1.0, 1.0], [1.0, 1.0, 3.0]]) / 12


def operator(problem: Poisson, dtype: torch.dtype, device: torch.device) -> Operator:
    """Return the stiffness operator, assembled in float64: a convolution where all cells are alike.

    That is a ``Stiffness``, :eq:`stiffness` and :eq:`tensor-stiffness`. Where cells differ it is on an
    interval a ``VaryingStiffness``, differences, :eq:`conductance`, and in a box a ``CellStiffness``, sums
    over cells, :eq:`cell-energy`.
    """
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    a, c = problem.a, reaction(problem, device)
    if problem.alike and isinstance(c, float):
        # eq: weak-form-box
        return Stiffness.of(problem.space, a, c, robin=problem.alphas, lumped=problem.lumped, **like)
    c = None if isinstance(c, float) and c == 0.0 else c
    # On an interval differences and row sums say what a matrix's entries would lose to rounding.
    return _of_differences(problem, c, like) if problem.dim == 1 else _of_cells(problem, c, like)


def form(problem: Poisson, dtype: torch.dtype) -> Differences | None:
    """Return the two numbers that say all of a line whose cells are alike, if the precision may hold them."""
    if problem.dim > 1 or not problem.alike or not isinstance(problem.c, float):
        return None
    (axis,) = problem.space.axes
    ends, robin = (axis.ends,), tuple(problem.alphas)
    made = Differences((axis.h,), problem.a, problem.c, ends, robin, (None,), problem.lumped)
    return made if abs(made.k) + made.row_sum <= torch.finfo(dtype).max / 64 else None


def reaction(problem: Poisson, device: torch.device) -> Any:
    """Return c as it goes through the integrals: by its nodal values, where f does, in any dimension."""
    if not (callable(problem.c) and problem.nodal):
        return problem.c
    c = coefficient_at("c", problem, device, *np.ix_(*(grid.x.copy() for grid in problem.grids)))
    require_bounds("node", c=c)
    return c


def _averages(problem: Poisson, cells: slice, device: torch.device) -> Tensor:
    """Give the mean of a over some cells along the first axis, in float64."""
    if callable(problem.a):
        rule = Quadrature.of(problem)
        return rule.averages(rule.sampled("a", problem, cells, device))
    if isinstance(problem.a, float):
        shape = (cells.stop - cells.start, *problem.cells[1:])
        # In the memory of one number.
        return torch.full((), problem.a, dtype=torch.float64, device=device).expand(shape)
    return sent(problem.a[cells], device)


def averages_at(problem: Poisson, axis: int, layer: int, device: torch.device) -> Tensor:
    """Return the mean of a over the cells of one layer across an axis, in float64, without that axis."""
    if axis == 0:
        return _averages(problem, slice(layer, layer + 1), device)[0]
    pieces = Quadrature.of(problem).pieces()
    return torch.cat([_averages(problem, cells, device).select(axis, layer) for cells in pieces])


def _of_differences(problem: Poisson, c: Any, like: dict[str, Any]) -> VaryingStiffness:
    """Assemble the operator of an interval as conductances and row sums."""
    n, device, robin = problem.n, like["device"], problem.robin
    # On a GPU, where each piece is a launch, only a function's values are made in pieces.
    whole = device.type != "cpu" and not callable(problem.a) and not callable(c)
    cells = [slice(0, n)] if whole else Quadrature.of(problem).pieces()
    dtype = like["dtype"]
    pieces = ((part, [x.to(dtype) for x in _conductances(problem, c, part, device)]) for part in cells)
    k, *s = gathered(pieces, n, -1)
    if tracked(*robin):  # as row sums, which are numbers that derivatives are taken by
        low, high = (torch.as_tensor(alpha, **like).reshape(1) for alpha in robin)
        s = [torch.cat((low, low.new_zeros(n - 1), high)) + sum(s)]
        robin = (0.0, 0.0)
    return VaryingStiffness(k, s[0] if s else None, problem.ends, robin)  # eq: system


def _conductances(problem: Poisson, c: Any, cells: slice, device: torch.device) -> Iterator[Tensor]:
    """Give the conductances of some cells, and what they add to the row sums of their nodes."""
    rule = Quadrature.of(problem)
    widths = rule.widths(-1, cells, device)
    k = _averages(problem, cells, device) / widths
    if c is None:
        yield k
        return
    t, w = (sent(torch.from_numpy(x), device) for x in (rule.points, rule.weights))
    if callable(c):
        values = rule.sampled("c", problem, cells, device)
    else:
        constant = isinstance(c, float)
        nodal = widths.new_full((len(widths) + 1,), c) if constant else c[cells.start : cells.stop + 1]
        nodal = sent(nodal, device)
        low, high = nodal[:-1], nodal[1:]
        if problem.lumped:
            yield k
            yield overlap(low * widths / 2, high * widths / 2, -1)  # eq: mass-lumped
            return
        values = (low[:, None] * (1 - t) + high[:, None] * t).flatten()
    yield k - (rule.apart(values, -1) @ (w * (t * (1 - t)))) * widths  # eq: weak-form, conductance
    yield rule.against_hats(cells, values)


def _of_cells(problem: Poisson, c: Any, like: dict[str, Any]) -> CellStiffness:
    """Assemble the operator of a box as averages of a over the cells, and the entries that c adds."""
    n, device = problem.cells[0], like["device"]
    cells = Quadrature.of(problem).pieces() if callable(problem.a) else [slice(0, n)]
    pieces = ((part, [_averages(problem, part, device)]) for part in cells)
    of_c = None if c is None else _mass(problem, c, like)
    a = gathered(pieces, n, 0)[0]
    return CellStiffness(problem.space, a.to(like["dtype"]), of_c, problem.alphas)


def _mass(problem: Poisson, c: Any, like: dict[str, Any]) -> StencilStiffness:
    """Give the mass matrix with the weight c, at all nodes: where it is lumped, a diagonal."""
    rule, dim, n = Quadrature.of(problem), problem.dim, problem.cells[0]
    if isinstance(c, float):
        c = torch.full(problem.node_shape, c, dtype=torch.float64, device="cpu")
    if problem.lumped:
        diagonal = sent(integrate_nodal(problem.grids, c, lumped=True), **like)
        return StencilStiffness(problem.space, diagonal, {})
    steps = [step for step in itertools.product((-1, 0, 1), repeat=dim) if step >= (0,) * dim]

    def entries(rows: slice) -> Iterator[Tensor]:
        if callable(c):
            values = rule.sampled("c", problem, rows, like["device"])
        else:
            values = c[rows.start : rows.stop + 1]
        found = _against_products(rule, rows, values, callable(c))
        for step in steps:
            yield _shifted(found[tuple(map(abs, step))], step).to(like["dtype"])

    pieces = ((rows, list(entries(rows))) for rows in rule.pieces())
    centre, *others = (sent(x, like["device"]) for x in gathered(pieces, n, 0))
    return StencilStiffness(problem.space, centre, dict(zip(steps[1:], others, strict=True)))


def _against_products(
    rule: Quadrature, rows: slice, values: Tensor, sampled: bool
) -> dict[tuple[int, ...], Tensor]:
    """Integrate c, linear between nodal values or sampled, against hats of a node times those of the next."""
    t, w = rule.points, rule.weights
    of_points = w[:, None] * np.stack(((1 - t) ** 2, t * (1 - t), t**2), -1)
    fields: dict[tuple[int, ...], Tensor] = {(): values}
    for place in range(-1, -rule.dim - 1, -1):
        widths, merged = rule.widths(place, rows, values.device), {}
        for step, field in fields.items():
            n = field.shape[place] - 1
            ends = field.narrow(place, 0, n), field.narrow(place, 1, n)
            each = rule.apart(field, place) if sampled else torch.stack(ends, -1)
            weights = sent(torch.from_numpy(of_points if sampled else OF_ENDS), values.device)
            # eq: mass-box
            low, mixed, high = ((each @ column) * widths for column in weights.T)
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


class Load(NamedTuple):
    """A load and where it came from."""

    b: Tensor  # the load of the unknowns, boundary fluxes included, shape (..., *unknowns)
    name: str  # the argument that it came from: "f" or "b"
    given: Tensor | None  # that argument, where it was an array: to be searched when NaN or infinity turns up
    lumped: bool  # whether f at the nodes stands for its integrals
    speaks_torch: bool  # whether the solution is to be a tensor
    # What the sum of the absolute values of the load may hide: the integral of that of a function f, and of
    # the boundary fluxes; and what those sum to. Of each row, shape (...).
    size: Tensor | float = 0.0
    fluxes: Tensor | float = 0.0
    ready: bool = False  # whether it was handed over as it is, in place of the problem's own


def load(problem: Poisson, dtype: torch.dtype, device: torch.device, speaks_torch: bool = False) -> Load:
    """Assemble the load of the unknowns, :eq:`load` and :eq:`load-box`, boundary fluxes included.

    A ready load without boundary data is handed on as it is. ``speaks_torch`` says whether the solution is to
    be a tensor even if f is no function that returns one.
    """
    given = problem.b
    at_sides = fluxes(problem, dtype, device)
    size, total = flux_sums(problem, at_sides)
    if given is not None:
        b = sent(given, device, dtype)
        b = add_fluxes("b", problem, b, at_sides, own=b is not given)
        return Load(b, "b", given, False, speaks_torch, size, total)
    b, given, tensor, of_f = load_at_nodes(problem, dtype, device)
    b = add_fluxes("f", problem, problem.space.loads(b), at_sides)
    return Load(b, "f", given, problem.load == "nodal", speaks_torch or tensor, size + of_f, total)


def load_at_nodes(
    problem: Poisson, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor | None, bool, Tensor | float]:
    """Assemble the load of all nodes that f is, without boundary fluxes, shape ``(..., *nodes)``.

    Beside it stand f where it is an array, whether it is a function that speaks torch, and the integral of
    the size of a function.
    """
    f = problem.f
    if callable(f):
        b, tensor, of_f = _of_function(problem, dtype, device)
        return b, None, tensor, of_f
    if isinstance(f, float):
        at_nodes = torch.full(problem.node_shape, held("f", f, dtype), dtype=dtype, device=device)
        return integrate_nodal(problem.grids, at_nodes, lumped=True), None, False, 0.0
    _require_finite(problem, f)
    at_nodes = _whole_period(problem, sent(f, device, dtype))
    return integrate_nodal(problem.grids, at_nodes, problem.load == "nodal"), f, False, 0.0


def _of_function(
    problem: Poisson, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, bool, Tensor | float]:
    """Integrate a function f: the load of all nodes, whether f speaks torch, and the integral of its size."""
    if problem.load == "exact":
        b, speaks_torch, size = Quadrature.of(problem).integrate("f", problem.f, dtype, device)
        return sent(b, device), speaks_torch, sent(size, device)
    points = np.ix_(*(grid.x.copy() for grid in problem.grids))
    values, speaks_torch = evaluate("f", problem.f, *points, device=device)
    at_nodes = _whole_period(problem, sent(values, device, dtype))
    return integrate_nodal(problem.grids, at_nodes, lumped=True), speaks_torch, 0.0


def _require_finite(problem: Poisson, f: Tensor) -> None:
    """Say where an array f is not finite; on an interval if that may not show later."""
    # What else is not finite shows in the answer; what a Dirichlet end makes of no account does not.
    shows = problem.dim == 1 and (problem.floats or hidden(f))
    if not shows and (problem.dim > 1 or not (f[..., 0] + f[..., -1]).detach().isfinite().all()):
        require_finite("f", f, problem.dim)


def _whole_period(problem: Poisson, f: Tensor) -> Tensor:
    """Repeat the first nodes at the end of each periodic axis that has each node once."""
    for place, n in enumerate(problem.cells, -problem.dim):
        if f.shape[place] == n:
            f = torch.cat((f, f.narrow(place, 0, 1)), place)
    return f
