"""From the weak form and a grid to the operator A and the load b, axis by axis; knows h and quadrature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.checks import held
from ..core.kinds import hidden, is_number, tracked
from ..operators import frames
from ..operators.axes import Axis, gathered, overlap
from ..operators.boxes import Box
from ..operators.cells import CellStiffness
from ..operators.contract import Operator
from ..operators.differences import Differences
from ..operators.entries import StencilStiffness
from ..operators.stiffness import Stiffness
from ..operators.varying import HeldChain, VaryingStiffness
from ..operators.weighted import WeightedStiffness
from .boundary import add_fluxes, at_end, floating, flux_sums, fluxes, nodal_data, on_side, side_rule
from .conditions import Robin, nothing
from .problem import Poisson
from .quadrature import Quadrature, coefficient_at, evaluate, integrate_cells, integrate_nodal
from .shapes import require_bounds, require_finite_load, whole_period

__all__ = ["Load", "averages_at", "form", "load", "load_at_nodes", "operator", "side_mass"]

# Integrals over the unit interval of a linear function times two hats, low and low, low and high, high and
# high, from its values at the ends.
OF_ENDS = np.array([[3.0, 1.0, 1.0], [1.0, 1.0, 3.0]]) / 12
# And times both hats, the low one, and the high one.
OF_HATS = np.array([[1.0, 1.0], [4.0, 2.0], [2.0, 4.0]]) / 12


def operator(problem: Poisson, dtype: torch.dtype, device: torch.device) -> Operator:
    """Return the stiffness operator, assembled in float64: a convolution where all cells are alike.

    That is a ``Stiffness``, :eq:`stiffness` and :eq:`tensor-stiffness`. Where cells differ it is on an
    interval a ``VaryingStiffness``, differences, :eq:`conductance`, and in a box a ``CellStiffness``, sums
    over cells, :eq:`cell-energy`; where axes differ too, or not all cells or nodes count, it is a
    ``WeightedStiffness``, :eq:`weighted-cells`.
    """
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    a, c = problem.a, reaction(problem, device)
    if problem.alike and isinstance(c, float):
        # eq: weak-form-box
        return Stiffness.of(problem.space, a, c, robin=problem.alphas, lumped=problem.lumped, **like)
    c = None if isinstance(c, float) and c == 0.0 else c
    # On an interval differences and row sums say what a matrix's entries would lose to rounding.
    if problem.dim == 1:
        chain = _of_differences(problem, c, like)
        return chain if problem.region.whole else HeldChain(chain, *_equations(problem, chain))
    plain = problem.region.whole and all(grid.uniform for grid in problem.grids)
    assemble = _of_cells if plain and not isinstance(problem.a, tuple) else _of_weights
    return assemble(problem, c, like)


def _equations(problem: Poisson, chain: VaryingStiffness) -> tuple[Tensor, Tensor]:
    """Say which nodes of a chain have an equation, and which is the first of a piece that nothing holds."""
    device, free = chain.like["device"], problem.region.free
    assert free is not None
    pieces = floating(problem, chain)
    first = torch.zeros_like(pieces, dtype=torch.bool)
    for piece in range(1, int(pieces.max()) + 1):
        first[(pieces == piece).nonzero()[0]] = True
    return sent(free, device), sent(first, device)


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
    c = coefficient_at("c", problem.c, device, *np.ix_(*(grid.x.copy() for grid in problem.grids)))
    c = problem.region.inside(c, 0.0)
    require_bounds(problem.cells, c=[c])
    return c


def _averages(problem: Poisson, a: Any, cells: slice, device: torch.device) -> Tensor:
    """Give the mean of a coefficient over some cells along the first axis, in float64."""
    if callable(a):
        rule = Quadrature.of(problem)
        return sent(rule.averages(rule.sampled("a", a, cells, device)), device)
    if isinstance(a, float):
        shape = (cells.stop - cells.start, *problem.cells[1:])
        # In the memory of one number.
        return torch.full((), a, dtype=torch.float64, device=device).expand(shape)
    return sent(a[cells], device)


def _averaged(problem: Poisson, a: Any, device: torch.device) -> Tensor:
    """Give the mean of a coefficient over each cell."""
    n = problem.cells[0]
    cells = Quadrature.of(problem).pieces(device) if callable(a) else [slice(0, n)]
    return gathered(((part, [_averages(problem, a, part, device)]) for part in cells), n, 0)[0]


def averages_at(problem: Poisson, axis: int, layer: int, device: torch.device) -> Tensor:
    """Return the mean of a along an axis over the cells of one layer across it, in float64.

    It is zero where there is no cell.
    """
    a, active = problem.a[axis] if isinstance(problem.a, tuple) else problem.a, problem.region.active
    if axis == 0:
        means = _averages(problem, a, slice(layer, layer + 1), device)[0]
    else:
        pieces = Quadrature.of(problem).pieces(device)
        means = torch.cat([_averages(problem, a, cells, device).select(axis, layer) for cells in pieces])
    return means if active is None else means * sent(active.select(axis, layer), device)


def _of_differences(problem: Poisson, c: Any, like: dict[str, Any]) -> VaryingStiffness:
    """Assemble the operator of an interval as conductances and row sums."""
    n, device, robin = problem.n, like["device"], problem.robin
    # On a GPU, where each piece is a launch, only a function's values are made in pieces.
    whole = device.type != "cpu" and not callable(problem.a) and not callable(c)
    cells = [slice(0, n)] if whole else Quadrature.of(problem).pieces(device)
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
    rule, active = Quadrature.of(problem), problem.region.active
    if c is None and active is None and device.type != "cpu" and problem.grids[-1].nodes is None:
        (h,) = problem.grids[-1].widths(0, 1).tolist()
        yield _averages(problem, problem.a, cells, device) / h
        return
    widths = rule.widths(-1, cells, device)
    k = _averages(problem, problem.a, cells, device) / widths
    k = k if active is None else k * sent(active[cells], device)
    if c is None:
        yield k
        return
    within = widths if active is None else widths * sent(active[cells], device)
    if callable(c):
        values, t = rule.sampled("c", c, cells, device), rule.points
        of_both = sent(torch.from_numpy(rule.weights * (t * (1 - t))), values.device)
        lost = sent(rule.apart(values, -1) @ of_both, device) * widths
        sums = sent(rule.against_hats(cells, values), device)
    else:
        constant = isinstance(c, float)
        ends = widths.new_full((len(widths),), c) if constant else c[_rows(problem, c, cells)]
        low, high = _ends(sent(ends, device), len(widths), -1)
        if problem.lumped:
            yield k
            yield overlap(low * within / 2, high * within / 2, -1)  # eq: mass-lumped
            return
        columns, pairs = sent(torch.from_numpy(OF_HATS), device), torch.stack((low, high), -1)
        lost, left, right = ((pairs @ column) * within for column in columns)
        sums = overlap(left, right, -1)
    yield k - lost  # eq: weak-form, conductance
    yield sums


def _of_cells(problem: Poisson, c: Any, like: dict[str, Any]) -> CellStiffness:
    """Assemble the operator of a box as averages of a over the cells, and the entries that c adds."""
    a = _averaged(problem, problem.a, like["device"])
    return CellStiffness(problem.space, a.to(like["dtype"]), _reaction(problem, c, like))


def _of_weights(problem: Poisson, c: Any, like: dict[str, Any]) -> WeightedStiffness:
    """Assemble the operator of a box as a weight for each cell and axis, and the entries that c adds."""
    device, region = like["device"], problem.region
    several = problem.a if isinstance(problem.a, tuple) else (problem.a,)
    averages = [_averaged(problem, a, device) for a in several] * (problem.dim // len(several))
    widths = [sent(torch.from_numpy(grid.widths(0, grid.n)), device) for grid in problem.grids]
    weights = []
    for axis, a in enumerate(averages):
        factors = [h.reciprocal() if i == axis else h for i, h in enumerate(widths)]
        weight = a * reduce(torch.multiply, torch.meshgrid(*factors, indexing="ij"))
        weights.append(weight if region.active is None else weight * sent(region.active, device))
    box, free = Box([Axis(axis.cells, 1.0, axis.ends) for axis in problem.space.axes]), region.free
    weights, free = (
        [weight.to(like["dtype"]) for weight in weights],
        None if free is None else sent(free, device),
    )
    return WeightedStiffness(box, weights, _reaction(problem, c, like), free).fitted()


def _reaction(problem: Poisson, c: Any, like: dict[str, Any]) -> StencilStiffness | None:
    """Give the entries that c and Robin's alpha add, if there are any."""
    parts = [] if c is None else [_mass(problem, c, like)]
    for name, axis, end, side in problem.sides():
        if isinstance(side, Robin) and not nothing(side.alpha):
            parts.append(side_mass(problem, f"{name}: Robin alpha", (axis, end), side.alpha, like))
    fields: dict[tuple[int, ...], Tensor] = {}
    for part in parts:
        for step, field in {(0,) * problem.dim: part.centre, **part.pairs}.items():
            fields[step] = fields[step] + field if step in fields else field
    return StencilStiffness(problem.space, fields.pop((0,) * problem.dim), fields) if parts else None


def side_mass(
    problem: Poisson, name: str, place: tuple[int, int], alpha: Any, like: dict[str, Any]
) -> StencilStiffness:
    """Return the mass matrix of a side with the weight alpha, at all nodes of the box."""
    (axis, end), device = place, like["device"]
    rule, names = side_rule(problem, axis, end)
    sampled, lumped = callable(alpha) and problem.load == "exact", False
    if sampled:
        whole, function = slice(0, rule.grids[0].n), on_side(problem, axis, end, alpha)
        values, _ = evaluate(name, function, *rule.coordinates(whole), device=device, names=names)
        values = rule.inside(whole, values)
    elif is_number(alpha):
        values = torch.as_tensor(alpha, dtype=torch.float64, device=device).expand(problem.side_shape(axis))
    else:
        values, lumped = nodal_data(problem, name, axis, end, alpha, device), problem.load == "nodal"
    _require_alpha(problem, name, values)
    if lumped or problem.dim == 1:
        found = {(0,) * (problem.dim - 1): integrate_nodal(rule.grids, values, True, rule.active)}
    else:
        found = _entries_of(rule, values, sampled, like)
    whole_box = {
        (*step[:axis], 0, *step[axis:]): at_end(
            x.to(**like), axis - problem.dim, problem.node_shape[axis], end
        )
        for step, x in found.items()
    }
    return StencilStiffness(problem.space, whole_box.pop((0,) * problem.dim), whole_box)


def _require_alpha(problem: Poisson, name: str, values: Tensor) -> None:
    if values.ndim != problem.dim - 1:
        accepted = "one value per point, without a batch"
        raise ValueError(
            f"{name}: the function returned a batch of shape {tuple(values.shape)}; accepted: {accepted}"
        )
    if not hidden(values) and bool((values < 0).any()):
        raise ValueError(f"{name}: got {float(values.min())!r}; accepted: numbers of at least 0")


def _mass(problem: Poisson, c: Any, like: dict[str, Any]) -> StencilStiffness:
    """Give the mass matrix with the weight c, at all nodes: where it is lumped, a diagonal."""
    rule, dim = Quadrature.of(problem), problem.dim
    if isinstance(c, float):
        c = torch.full(problem.node_shape, c, dtype=torch.float64, device="cpu")
    if problem.lumped:
        of_cells = problem.by_cell(c)
        active = problem.region.active
        whole = (
            integrate_cells(problem.grids, c) if of_cells else integrate_nodal(problem.grids, c, True, active)
        )
        diagonal = sent(whole, **like)
        return StencilStiffness(problem.space, diagonal, {})
    fields = _entries_of(rule, c, callable(c), like)
    return StencilStiffness(problem.space, fields.pop((0,) * dim), fields)


def _entries_of(
    rule: Quadrature, c: Any, sampled: bool, like: dict[str, Any]
) -> dict[tuple[int, ...], Tensor]:
    """Integrate c, a function, nodal values or those at all points, against the products of hats of nodes."""
    steps = frames.steps(len(rule.grids))

    def entries(rows: slice) -> Iterator[Tensor]:
        at_points = sampled
        if callable(c):
            values = rule.sampled("c", c, rows, like["device"])
        elif sampled:
            count = len(rule.points)
            values = c[rows.start * count : rows.stop * count]
        else:
            nodal = c.shape[0] > rule.grids[0].n
            values = c[rows.start : rows.stop + nodal]
            at_points = nodal and rule.active is not None
            values = rule.inside(rows, rule.between(values)) if at_points else values
        found = _against_products(rule, rows, values, at_points)
        for step in steps:
            yield _shifted(found[tuple(map(abs, step))], step).to(like["dtype"])

    pieces = ((rows, list(entries(rows))) for rows in rule.pieces(like["device"]))
    whole = (sent(x, like["device"]) for x in gathered(pieces, rule.grids[0].n, 0))
    return dict(zip(steps, whole, strict=True))


def _against_products(
    rule: Quadrature, rows: slice, values: Tensor, sampled: bool
) -> dict[tuple[int, ...], Tensor]:
    """Integrate c against the hats of a node times those of the next.

    It is linear between nodal values or constant in cells, as its shape says, or sampled.
    """
    t, w = rule.points, rule.weights
    of_points = w[:, None] * np.stack(((1 - t) ** 2, t * (1 - t), t**2), -1)
    fields: dict[tuple[int, ...], Tensor] = {(): values}
    for place in range(-1, -len(rule.grids) - 1, -1):
        widths, merged = rule.widths(place, rows, values.device), {}
        for step, field in fields.items():
            count = rows.stop - rows.start if place == -len(rule.grids) else rule.grids[place].n
            each = rule.apart(field, place) if sampled else torch.stack(_ends(field, count, place), -1)
            weights = sent(torch.from_numpy(of_points if sampled else OF_ENDS), values.device)
            # eq: mass-box
            low, mixed, high = ((each @ column) * widths for column in weights.T)
            merged[(0, *step)] = overlap(low, high, place)
            merged[(1, *step)] = overlap(mixed, torch.zeros_like(mixed), place)
        fields = merged
    return fields


def _rows(problem: Poisson, c: Tensor, cells: slice) -> slice:
    """Give the part of an array c along its first axis that belongs to some cells."""
    return cells if problem.by_cell(c) else slice(cells.start, cells.stop + 1)


def _ends(field: Tensor, cells: int, place: int) -> tuple[Tensor, Tensor]:
    """Give the values at the two ends of each cell along an axis, of what is nodal or constant in cells."""
    nodal = field.shape[place] - cells
    return field.narrow(place, 0, cells), field.narrow(place, nodal, cells)


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
    rows: Sequence[int] | None = None  # the numbers of its rows, where they are some of a batch
    ready: bool = False  # whether it was handed over as it is, in place of the problem's own


def load(
    problem: Poisson,
    dtype: torch.dtype,
    device: torch.device,
    speaks_torch: bool = False,
    with_fluxes: bool = True,
) -> Load:
    """Assemble the load of the unknowns, :eq:`load` and :eq:`load-box`, boundary fluxes included.

    A ready load without boundary data is handed on as it is. ``speaks_torch`` says whether the solution is to
    be a tensor even if f is no function that returns one, ``with_fluxes`` whether there are boundary fluxes.
    """
    given = problem.b
    at_sides = fluxes(problem, dtype, device) if with_fluxes else []
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
        return integrate_nodal(problem.grids, at_nodes, True, problem.region.active), None, False, 0.0
    require_finite_load(f, problem.dim, problem.floats)
    values = sent(f, device, dtype)
    if problem.by_cell(f):
        return integrate_cells(problem.grids, values), f, False, 0.0
    at_nodes = whole_period(values, problem.cells)
    lumped = problem.load == "nodal"
    return integrate_nodal(problem.grids, at_nodes, lumped, problem.region.active), f, False, 0.0


def _of_function(
    problem: Poisson, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, bool, Tensor | float]:
    """Integrate a function f: the load of all nodes, whether f speaks torch, and the integral of its size."""
    if problem.load == "exact":
        b, speaks_torch, size = Quadrature.of(problem).integrate("f", problem.f, dtype, device)
        return sent(b, device), speaks_torch, sent(size, device)
    points = np.ix_(*(grid.x.copy() for grid in problem.grids))
    values, speaks_torch = evaluate("f", problem.f, *points, device=device)
    at_nodes = sent(values, device, dtype)
    return integrate_nodal(problem.grids, at_nodes, True, problem.region.active), speaks_torch, 0.0
