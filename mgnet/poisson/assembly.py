"""From the weak form and a grid to the operator A and the load b; knows h and quadrature."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import array, first_bad, require_finite
from ..core.checks import held
from ..core.kinds import hidden, tracked
from ..core.memory import sent
from ..operators.axes import gathered, overlap
from ..operators.chain import Chain
from ..operators.stiffness import Stiffness1d
from ..operators.varying import VaryingStiffness
from .problem import BOUNDS, Poisson, nothing, require_bounds
from .unseen import Lookout

__all__ = ["Load", "load", "operator"]

# Five points integrate polynomials of degree 9 exactly, so a quadrature error is O(h^10).
POINTS, WEIGHTS = stencils.gauss(5)
# Cells whose quadrature points exist at one time.
CELLS = 2**16
CPU = torch.device("cpu")


def operator(problem: Poisson, dtype: torch.dtype, device: torch.device) -> Stiffness1d | VaryingStiffness:
    """Return the stiffness operator: a convolution where all cells are alike, :eq:`stiffness`.

    Parameters
    ----------
    problem : Poisson
        The problem; its f is not used.
    dtype : torch.dtype
        Precision of the operator; it is assembled in float64.
    device : torch.device
        Where it lives.

    Returns
    -------
    Stiffness1d or VaryingStiffness
        The second where a or c varies or the nodes were given, :eq:`conductance`.

    Raises
    ------
    ValueError
        For a coefficient that is out of its bounds; the message names the cell.
    """
    grid, a, c = problem.grid, problem.a, reaction(problem, device)
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    moving = tracked(*problem.robin)
    if grid.uniform and isinstance(a, float) and isinstance(c, float) and not moving:
        return Stiffness1d(
            grid.length / grid.n, a, c, problem.ends, robin=problem.robin, lumped=problem.lumped, **like
        )
    reacts = not (isinstance(c, float) and c == 0.0)
    # On a GPU, where each piece is a launch, only a function's values are made in pieces.
    step = grid.n if device.type != "cpu" and not callable(a) and not callable(c) else CELLS
    pieces = (
        (cells, [part.to(dtype) for part in _cells(problem, c if reacts else None, cells, device)])
        for cells in _chunks(grid.n, step)
    )
    k, *s = gathered(pieces, grid.n, -1)
    if moving:  # as row sums, which are numbers that derivatives are taken by
        s = [_at_ends(problem.robin, grid.n, like) + sum(s)]
    robin = (0.0, 0.0) if moving else problem.robin
    return VaryingStiffness(k, s[0] if s else None, problem.ends, robin)  # eq: system


def _at_ends(robin: tuple[Any, Any], cells: int, like: dict[str, Any]) -> Tensor:
    """Give Robin's alpha at the two end nodes, and zeros between them."""
    low, high = (torch.as_tensor(alpha, **like).reshape(1) for alpha in robin)
    return torch.cat((low, low.new_zeros(cells - 1), high))


def reaction(problem: Poisson, device: torch.device) -> Any:
    """Return c as it goes through the integrals: by its nodal values, where f does, in any dimension.

    Parameters
    ----------
    problem : Poisson
        The problem.
    device : torch.device
        Where a function that takes tensors only is asked for its values.

    Returns
    -------
    float, callable or torch.Tensor of shape ``(*nodes)``
        A function only where it is integrated by quadrature.

    Raises
    ------
    TypeError, ValueError
        When the function c fails, or returns something else than finite numbers of at least 0.
    """
    if not (callable(problem.c) and problem.nodal):
        return problem.c
    c = coefficient_at("c", problem, device, *np.ix_(*(grid.x.copy() for grid in problem.grids)))
    require_bounds("node", c=c)
    return c


def coefficient_at(name: str, problem: Poisson, device: torch.device, *x: np.ndarray) -> Tensor:
    """Evaluate the function a or c, which has no batch, as :func:`evaluate` does."""
    values, _ = evaluate(name, getattr(problem, name), *x, device=device)
    if values.ndim != problem.dim:
        raise ValueError(
            f"{name}: the function returned {values.ndim} axes; accepted: {problem.dim}, one value per point"
        )
    return values


def _cells(problem: Poisson, c: Any, cells: slice, device: torch.device) -> Iterator[Tensor]:
    """Give the conductances of some cells, and what they add to the row sums of their nodes."""
    widths = sent(torch.from_numpy(problem.grid.widths(cells.start, cells.stop)), device)
    k = _cell_average(problem, cells, device) / widths
    if c is not None:
        off_diagonal, low, high = _masses(problem, c, cells, widths)
        yield k - off_diagonal  # eq: weak-form, conductance
        yield overlap(low, high, -1)
    else:
        yield k


class Load(NamedTuple):
    """A load and where it came from.

    Attributes
    ----------
    b : torch.Tensor, shape (..., unknowns)
        The load of the unknowns, boundary fluxes included.
    name : str
        The argument that it came from: ``"f"`` or ``"b"``.
    given : torch.Tensor or None
        That argument, where it was an array: to be searched when NaN or infinity turns up.
    lumped : bool
        Whether f at the nodes stands for its integrals.
    speaks_torch : bool
        Whether the solution is to be a tensor.
    size : torch.Tensor, shape (...), or float, default 0.0
        What the sum of the absolute values of the load may hide: the integral of that of a function f, and of
        the boundary fluxes; of each row.
    fluxes : torch.Tensor, shape (...), or float, default 0.0
        What the boundary fluxes sum to.
    """

    b: Tensor
    name: str
    given: Tensor | None
    lumped: bool
    speaks_torch: bool
    size: Tensor | float = 0.0
    fluxes: Tensor | float = 0.0


def load(problem: Poisson, dtype: torch.dtype, device: torch.device, speaks_torch: bool = False) -> Load:
    """Assemble the load of the unknowns, :eq:`load`, boundary fluxes included.

    Parameters
    ----------
    problem : Poisson
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
    f, given = problem.f, problem.b
    size: Tensor | float
    size, fluxes = _flux_sums(problem)
    if given is not None:
        b = sent(given, device, dtype)
        b = _add_fluxes(problem, b, own=b is not given)
        return Load(b, "b", given, False, speaks_torch, size, fluxes)
    if callable(f):
        b, tensor, of_f = _quadrature(problem, f, dtype, device)
        size = size + of_f
        b, speaks_torch = sent(b, device), speaks_torch or tensor
    elif isinstance(f, float):
        b = _lump(problem, torch.full((problem.n + 1,), held("f", f, dtype), dtype=dtype, device=device))
    else:
        given = f
        b = _from_nodal(problem, _whole_period(problem, sent(f, device, dtype)))
    b = _add_fluxes(problem, Chain(problem.ends).loads(b), own=True)
    return Load(b, "f", given, problem.load == "nodal", speaks_torch, size, fluxes)


def _from_nodal(problem: Poisson, f: Tensor) -> Tensor:
    # What a Dirichlet end makes of no account is looked at all the same; what else is not finite shows later.
    held = "dirichlet" in problem.ends and not hidden(f)
    if held and not (f[..., 0] + f[..., -1]).detach().isfinite().all():
        require_finite("f", f)
    return _lump(problem, f) if problem.load == "nodal" else _integrate_linear(problem, f)


def _chunks(n: int, step: int = CELLS) -> Iterator[slice]:
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def evaluate(
    name: str, function: Any, *x: np.ndarray, device: torch.device = CPU, names: str = "xyz"
) -> tuple[Tensor, bool]:
    """Call a user's function; return float64 values and whether they came as a tensor.

    It is called with NumPy arrays, and if it does not take those with tensors: on the device, or on the CPU.

    Parameters
    ----------
    name : str
        What a message calls it.
    function : callable
        Of the coordinates.
    *x : numpy.ndarray
        One array for each coordinate, of shapes that broadcast; as many axes as there are coordinates.
    device : torch.device, default CPU
        Where the problem is solved, and the function may have numbers of its own.
    names : str, default "xyz"
        What a message calls the coordinates.

    Returns
    -------
    values : torch.Tensor, shape (..., *points)
        Where the function left them, on the CPU if they are no tensor; leading axes are a batch.
    speaks_torch : bool
        Whether the function returned a tensor.

    Raises
    ------
    TypeError, ValueError
        When it fails, or returns something else than as many finite numbers, or one.
    """
    try:
        values = _called(function, x, device)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{name}: the function raised {type(error).__name__}: {error}; accepted: a function of"
            f" {', '.join(names[: len(x)])} that returns numbers"
        ) from error
    shape = _returned_shape(name, values)
    points = np.broadcast_shapes(*(axis.shape for axis in x))
    last = shape[max(len(shape) - len(points), 0) :]
    fits = len(points) > 1 and len(last) == len(points)
    fits = fits and all(size in (1, full) for size, full in zip(last, points, strict=True))
    if shape and not fits and last != points:
        accepted = ", ".join(map(str, points))
        raise ValueError(
            f"{name}: the function returned shape {shape}; accepted: (..., {accepted}) or a number"
        )
    speaks_torch = isinstance(values, Tensor)
    result = array(name, values, (last,), "one value per point")
    batch = shape[: max(len(shape) - len(points), 0)]
    result = result.to(torch.float64).expand(*batch, *points)
    _require_finite_at(name, result, x, names)
    return result, speaks_torch


def _called(function: Any, x: Sequence[np.ndarray], device: torch.device) -> Any:
    """Call a function with what it takes of NumPy arrays and tensors."""
    try:
        return function(*x)
    except (TypeError, AttributeError, RuntimeError):
        for place in dict.fromkeys((device, CPU)):
            with contextlib.suppress(Exception):
                values = function(*(sent(torch.from_numpy(points), place) for points in x))
                if values is not None:
                    return values
        raise


def _returned_shape(name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, Tensor):
        return tuple(values.shape)
    try:
        seen = np.asarray(values)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: the function returned {values!r}; accepted: real numbers") from None
    if seen.dtype.kind not in "fiubc":
        raise TypeError(f"{name}: the function returned dtype {seen.dtype}; accepted: real numbers")
    return seen.shape


def _require_finite_at(name: str, values: Tensor, x: Sequence[np.ndarray], names: str) -> None:
    if not hidden(values) and not torch.isfinite(values.sum()):
        bad = ~values.isfinite()
        if bad.any():
            index = bad.nonzero()[0].tolist()[-len(x) :]
            points = np.broadcast_arrays(*x)
            at = ", ".join(
                f"{axis} = {float(point[tuple(index)])!r}" for axis, point in zip(names, points, strict=False)
            )
            first = first_bad(values, bad, len(x))
            raise ValueError(f"{name}: the function returned {first}, {at}; accepted: finite numbers")


def _sampled(name: str, problem: Poisson, cells: slice, device: torch.device) -> Tensor:
    """Give a coefficient's values at the quadrature points of some cells, (cells, points), checked."""
    points = problem.grid.inside(cells.start, cells.stop, POINTS)
    values = coefficient_at(name, problem, device, points).reshape(-1, len(POINTS))
    bad = ((values <= 0) if name == "a" else (values < 0)).any(-1)
    if not hidden(values) and bad.any():
        i = int(bad.nonzero()[0])
        raise ValueError(
            f"{name}: got {values[i].min().item()!r} in cell {cells.start + i}; accepted: {BOUNDS[name]}"
        )
    return sent(values, device)


def _cell_average(problem: Poisson, cells: slice, device: torch.device) -> Tensor:
    if callable(problem.a):
        return _sampled("a", problem, cells, device) @ sent(torch.from_numpy(WEIGHTS), device)
    if isinstance(problem.a, float):
        return torch.full((cells.stop - cells.start,), problem.a, dtype=torch.float64, device=device)
    return sent(problem.a[cells], device)


def _masses(problem: Poisson, c: Any, cells: slice, widths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integrate c against products of hats: the off-diagonal entry, and both row sums, per cell."""
    device = widths.device
    t, w = (sent(torch.from_numpy(x), device) for x in (POINTS, WEIGHTS))
    if callable(c):
        c = _sampled("c", problem, cells, device)
    else:
        low, high = _at_both_ends(c, cells, widths)
        if problem.lumped:
            return torch.zeros_like(low), low * widths / 2, high * widths / 2  # eq: mass-lumped
        c = low[:, None] * (1 - t) + high[:, None] * t
    off_diagonal, low, high = (c @ (w * shape) * widths for shape in (t * (1 - t), 1 - t, t))
    return off_diagonal, low, high


def _at_both_ends(c: float | Tensor, cells: slice, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Give c at the two ends of some cells."""
    if isinstance(c, float):
        everywhere = torch.full_like(widths, c)
        return everywhere, everywhere
    nodal = sent(c[cells.start : cells.stop + 1], widths.device)
    return nodal[:-1], nodal[1:]


def _quadrature(
    problem: Poisson, f: Any, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, bool, Tensor | float]:
    """Integrate a function against the hats of all nodes, and its absolute value."""
    if problem.load == "nodal":
        values, speaks_torch = evaluate("f", f, problem.grid.x.copy(), device=device)
        return _lump(problem, _whole_period(problem, values.to(dtype))), speaks_torch, 0.0
    speaks_torch, size = False, torch.zeros((), dtype=torch.float64, device="cpu")
    lookout = Lookout(1)

    def pieces() -> Iterator[tuple[slice, list[Tensor]]]:
        nonlocal speaks_torch, size
        for cells in _chunks(problem.n):
            points = problem.grid.inside(cells.start, cells.stop, POINTS)
            values, speaks_torch = evaluate("f", f, points, device=device)
            values = values.reshape(*values.shape[:-1], -1, len(POINTS))
            numbers = POINTS, WEIGHTS, problem.grid.widths(cells.start, cells.stop)
            t, w, widths = (sent(torch.from_numpy(x), values.device) for x in numbers)
            low, high = ((values @ (w * hat) * widths).to(dtype) for hat in (1 - t, t))  # eq: load
            if not hidden(values):
                sizes = values.detach().abs()
                size = size + (sizes @ w * widths).sum(-1)
                lookout.look(sizes.flatten(-2))
            yield cells, [overlap(low, high, -1)]

    (b,) = gathered(pieces(), problem.n, -1)
    if not hidden(b):
        lookout.warn("f", lambda *x: evaluate("f", f, *x, device=device)[0], problem.grids)
    return b, speaks_torch, size


def _whole_period(problem: Poisson, f: Tensor) -> Tensor:
    """Repeat the first node at the end, where a periodic f has each node once."""
    return torch.cat((f, f[..., :1]), -1) if f.shape[-1] == problem.n else f


def _lump(problem: Poisson, f: Tensor) -> Tensor:
    """Return f at each node times the integral of the node's hat."""
    h = problem.grid.h
    if isinstance(h, float):
        b = f * h  # eq: load-nodal
        b[..., 0] *= 0.5
        b[..., -1] *= 0.5
        return b
    half = sent(torch.from_numpy(h / 2), f.device, f.dtype)
    weights = torch.cat((half, half[-1:]))
    weights[1:-1] += half[:-1]
    return f * weights


def _integrate_linear(problem: Poisson, f: Tensor) -> Tensor:
    """Integrate the piecewise linear function through nodal values against the hats, :eq:`mass`."""
    h = problem.grid.h
    sixth = h / 6 if isinstance(h, float) else sent(torch.from_numpy(h / 6), f.device, f.dtype)
    b = torch.zeros_like(f)
    b[..., :-1] += (2 * f[..., :-1] + f[..., 1:]) * sixth  # eq: load-consistent
    b[..., 1:] += (f[..., :-1] + 2 * f[..., 1:]) * sixth
    return b


def _fluxes(problem: Poisson) -> Iterator[tuple[int, Any]]:
    """Give the ends with data of a Neumann or Robin condition, as nodes, and those data."""
    for node, end, condition in ((0, problem.ends[0], problem.left), (-1, problem.ends[1], problem.right)):
        if end == "natural" and not nothing(condition.g):
            yield node, condition.g


def _flux_sums(problem: Poisson) -> tuple[float, float]:
    """Sum up the sizes of the boundary fluxes, and the fluxes themselves."""
    known = [float(g.detach() if isinstance(g, Tensor) else g) for _, g in _fluxes(problem) if not hidden(g)]
    return sum(map(abs, known)), sum(known)


def _add_fluxes(problem: Poisson, b: Tensor, own: bool) -> Tensor:
    for node, g in _fluxes(problem):
        if isinstance(g, Tensor):
            here = torch.zeros(b.shape[-1], dtype=b.dtype, device=b.device)
            here[node] = 1
            b = b + g.to(b) * here
        else:
            b = b if own else b.clone()
            own = True
            b[..., node] += g
    return b
