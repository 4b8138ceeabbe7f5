"""One table: what mgnet measures on this machine for Poisson problems in the plane and in space.

::

    make bench-2d                                 # the whole table
    python benchmarks/poisson2d.py --quick        # small sizes, and what holds for large ones is not judged
    python benchmarks/poisson2d.py --only jumps   # the sections with that in their title
    python benchmarks/poisson2d.py --json FILE    # the table as JSON too

A speed is a ratio to a peer in the same run, start to end on both sides: ``mgnet.solve`` sets up its grids in
the time that counts, PyAMG its hierarchy, the sine transform its eigenvalues; the matrix that PyAMG is given
is assembled off the clock. Each is warmed up and called several times, and counts with its median. Neither is
held to fewer threads than it takes by itself. Nothing is asserted: the last column says whether a figure
meets its requirement.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from table import (
    Row,
    Section,
    finished,
    fitted_orders,
    main,
    medians,
    peak_row,
    pyamg_solve,
    size,
    worst,
)

import mgnet
from mgnet.multigrid import full_multigrid
from mgnet.poisson import assembly
from mgnet.poisson.conditions import SIDES

FLOATS = (torch.float64, torch.float32)
JUMP = 1e3


@dataclass(frozen=True)
class Plan:
    """Repetitions and numbers of cells along each axis; in the plane and in space, where there are two."""

    rounds: int = 9
    pyamg_rounds: int = 3
    order_cells: tuple[tuple[int, ...], ...] = ((32, 64, 128, 256), (16, 32, 64))
    factors: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    odd_factors: tuple[int, ...] = (33, 100, 127, 1000, 1021)
    jumps: tuple[tuple[int, ...], ...] = ((128, 255, 500, 1000), (33, 64))
    one_pass: tuple[int, ...] = (64, 128, 256, 512, 1024)
    speed: tuple[int, int] = (1024, 128)
    varying: int = 512
    cliff: tuple[int, int] = (1021, 1024)
    memory: int = 2048
    gpu: tuple[tuple[int, ...], ...] = ((1024, 4096), (128, 256))


FULL = Plan()
QUICK = Plan(
    rounds=3,
    pyamg_rounds=1,
    order_cells=((16, 32, 64), (8, 16, 32)),
    factors=(32, 64, 128),
    odd_factors=(33, 100, 127),
    jumps=((63, 100), (17,)),
    one_pass=(64, 128),
    speed=(256, 48),
    varying=100,
    cliff=(253, 256),
    memory=1024,
    gpu=((256,), (32,)),
)


def outer(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply functions of one coordinate each."""
    return reduce(np.multiply.outer, factors)


def deviation(u: np.ndarray, reference: np.ndarray) -> float:
    """Give the largest difference, relative to the largest value."""
    return float(np.abs(u - reference).max() / np.abs(reference).max())


def random_load(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n - 1,) * dim)


# Order of convergence: a smooth periodic solution and coefficients, several kinds of boundary

# Kinds of the sides in the order left, right, bottom, top, back, front, repeated as often as it takes; P is
# a joined axis. Without c, of which the last two leave a constant open.
KINDS, KINDS_WITHOUT_C = ("D", "N", "R", "P", "DNRR", "PPRN", "NDPP"), ("DNRR", "N", "P")


def smooth(*x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Give u = exp(sum of sin(t) / 2), t = 2 pi x + 0.3 and one more for each axis, and its gradient."""
    t = phases(x)
    u = np.exp(sum(np.sin(s) for s in t) / 2)
    return u, [np.pi * np.cos(s) * u for s in t]


def phases(x: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [2 * np.pi * coordinate + 0.3 + axis for axis, coordinate in enumerate(x)]


def smooth_a(*x: np.ndarray) -> np.ndarray:
    return 2 + math.prod(np.cos(2 * np.pi * s) for s in x)


def smooth_c(*x: np.ndarray) -> np.ndarray:
    return 3 + 2 * np.sin(2 * np.pi * sum(x))


def smooth_f(c: float, *x: np.ndarray) -> np.ndarray:
    """Give -div(a grad u) + c c(x) u; ``c`` is 1 or 0."""
    u, slopes = smooth(*x)
    f = c * smooth_c(*x) * u
    for axis, (t, slope) in enumerate(zip(phases(x), slopes, strict=True)):
        others = math.prod(np.cos(2 * np.pi * s) for s in (*x[:axis], *x[axis + 1 :]))
        a_slope = -2 * np.pi * np.sin(2 * np.pi * x[axis]) * others
        curvature = np.pi**2 * (np.cos(t) ** 2 - 2 * np.sin(t)) * u
        f = f - a_slope * slope - smooth_a(*x) * curvature
    return f


def smooth_side(kind: str, axis: int, sign: int) -> Any:
    """Give the condition of this kind that the smooth solution meets on a side."""

    def flux(*x: np.ndarray) -> np.ndarray:
        return sign * smooth_a(*x) * smooth(*x)[1][axis]

    conditions = {
        "D": lambda: mgnet.Dirichlet(lambda *x: smooth(*x)[0]),
        "N": lambda: mgnet.Neumann(flux),
        "R": lambda: mgnet.Robin(2.0, lambda *x: flux(*x) + 2.0 * smooth(*x)[0]),
    }
    return conditions[kind]()


def smooth_cases(dim: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Give c, 1 or 0, and what else the problem has."""
    for c, kinds in [*((1.0, kinds) for kinds in KINDS), *((0.0, kinds) for kinds in KINDS_WITHOUT_C)]:
        sides = itertools.islice(itertools.cycle(kinds), 2 * dim)
        pairs = list(zip(sides, sides, strict=True))
        boundary = {
            name: smooth_side(kind, axis, sign)
            for axis, pair in enumerate(pairs)
            for name, kind, sign in zip(SIDES[axis], pair, (-1, 1), strict=True)
            if kind != "P"
        }
        case = {"boundary": boundary, "periodic": [pair[0] == "P" for pair in pairs]}
        yield c, {**case, "c": smooth_c} if c else case


def smooth_errors(n: int, dim: int, c: float, case: dict[str, Any]) -> tuple[float, float]:
    """Give the error in L2 and that of the gradient in L2, by three Gauss points along each axis."""
    nodal = mgnet.solve(partial(smooth_f, c), n=n, dim=dim, a=smooth_a, **case).u
    t, w = (values / 2 for values in np.polynomial.legendre.leggauss(3))
    x = np.ix_(*[((np.arange(n)[:, None] + 0.5 + t) / n).ravel()] * dim)
    weights = np.tile(w / n, n)
    u, slopes = smooth(*x)
    if not c and not any(
        isinstance(side, mgnet.Dirichlet | mgnet.Robin) for side in case["boundary"].values()
    ):
        u = u - integral(u, weights)  # the solution of mean zero
    value, slope = hats(n, t + 0.5)
    error = integral((interpolated(nodal, [value] * dim) - u) ** 2, weights)
    slope_error = 0.0
    for axis, exact in enumerate(slopes):
        matrices = [slope if along == axis else value for along in range(dim)]
        slope_error += integral((interpolated(nodal, matrices) - exact) ** 2, weights)
    return math.sqrt(error), math.sqrt(slope_error)


def hats(n: int, t: np.ndarray) -> tuple[Any, Any]:
    """Give the matrices from n + 1 nodal values on (0, 1) to values and slopes at places t of each cell."""
    low, high = sp.eye_array(n, n + 1), sp.eye_array(n, n + 1, k=1)
    column = t[:, None]
    value = sp.kron(low, 1 - column) + sp.kron(high, column)
    return value.tocsr(), sp.kron(n * (high - low), np.ones_like(column)).tocsr()


def interpolated(u: np.ndarray, matrices: Sequence[Any]) -> np.ndarray:
    """Apply one matrix along each axis."""
    for B in matrices:
        u = np.moveaxis((B @ u.reshape(len(u), -1)).reshape(-1, *u.shape[1:]), 0, -1)
    return u


def integral(values: np.ndarray, weights: np.ndarray) -> float:
    """Integrate values at the quadrature points."""
    for _ in range(values.ndim):
        values = values @ weights
    return float(values)


def orders(plan: Plan) -> Iterator[Row]:
    """Fit each order over all sizes."""
    for dim, cells in enumerate(plan.order_cells, 2):
        cases = list(smooth_cases(dim))
        errors = np.array([[smooth_errors(n, dim, *case) for n in cells] for case in cases])
        slopes = fitted_orders(cells, errors)
        for norm, expected, values in (("L2", 2.0, slopes[:, 0]), ("H1", 1.0, slopes[:, 1])):
            furthest = float(max(values, key=lambda slope: abs(slope - expected)))
            what = f"order in {norm}, {dim}-D, smooth a and c, furthest of {len(cases)} kinds of boundary"
            yield Row(what, furthest, "{:.3f}", expected - 0.1, expected + 0.1)


# Convergence factors of cycles


def factor(n: int, sweeps: tuple[int, int], cycles: int = 8) -> float:
    """Measure the factor of a V-cycle with Chebyshev on b = 0, after as many cycles that do not count."""
    rng = np.random.default_rng(n)
    u = np.pad(rng.standard_normal((n - 1, n - 1)), 1)
    way = {"method": "vcycle", "smoother": "chebyshev", "sweeps": sweeps, "maxiter": cycles}
    sizes = []
    for _ in range(2):
        sol = mgnet.solve(b=np.zeros((n - 1, n - 1)), n=n, dim=2, x0=u, tol=0.0, throw=False, **way)
        u = sol.u
        sizes.append(np.abs(u).max())
    # Where nothing is left of the guess it stops by itself.
    return float(sizes[1] / sizes[0]) ** (1 / sol.iterations)


def factors(plan: Plan) -> Iterator[Row]:
    sizes = f"n = {plan.factors[0]} ... {size(plan.factors[-1])}"
    for sweeps, most in (((2, 2), 0.08), ((3, 3), 0.045)):
        name = f"V({sweeps[0]},{sweeps[1]}) with Chebyshev"
        found = [factor(n, sweeps) for n in plan.factors]
        yield Row(f"{name}, b = 0, constant a, largest factor, {sizes}", worst(*found), "{:.3f}", most=most)
        yield Row("    its spread over these sizes", max(found) - min(found), "{:.3f}")
        others = [factor(n, sweeps) for n in plan.odd_factors]
        named = ", ".join(map(str, plan.odd_factors))
        yield Row(f"    the same, n = {named}", worst(*others), "{:.3f}")


# Jumps


def jumping(n: int, dim: int) -> Iterator[tuple[str, np.ndarray]]:
    """Give coefficients with jumps where the coarse grids have no nodes."""
    rng, shape = np.random.default_rng(n), (n,) * dim
    layers = np.where(np.arange(n) // 7 % 2, JUMP, 1.0)
    yield "layers of 7 cells", np.broadcast_to(layers, shape).copy()
    inside = np.zeros(shape, dtype=bool)
    for _ in range(3 * dim):
        lows, widths = rng.integers(0, n, dim), rng.integers(1, max(2, n // 3), dim)
        inside[tuple(slice(low, low + width) for low, width in zip(lows, widths, strict=True))] = True
    yield "inclusions of 1e3", np.where(inside, JUMP, 1.0)
    yield "inclusions of 1e-3", np.where(inside, 1 / JUMP, 1.0)
    yield "1 or 1e3 per cell at random", rng.choice([1.0, JUMP], shape)


def jumps(plan: Plan) -> Iterator[Row]:
    """Judge what the statuses say, and compare the smallest size of each with SciPy's factors."""
    for dim, cells in enumerate(plan.jumps, 2):
        found: dict[str, list[Any]] = {}
        errors = []
        for n in cells:
            b = random_load(n, dim)
            for name, a in jumping(n, dim):
                sol = mgnet.solve(b=b, n=n, dim=dim, a=a, throw=False)
                found.setdefault(name, []).append(sol)
                if n == cells[0]:
                    errors.append(deviation(unknowns(sol), refined(varying_matrix(a), b)))
        named = ", ".join(map(str, cells))
        for name, sols in found.items():
            what = f"{name}, {dim}-D, n = {named}, auto, most iterations"
            yield Row(what, worst(*(sol.iterations for sol in sols)), "{:.0f}")
        missed = sum(sol.status is not mgnet.Status.CONVERGED for sols in found.values() for sol in sols)
        yield Row(f"    not CONVERGED, of these {sum(map(len, found.values()))}", missed, "{:.0f}", most=0)
        yield Row(f"    largest error, tol = 1e-10, n = {cells[0]}", worst(*errors))


# Full multigrid, one pass

# g and its second derivative; a solution is the product of two.
SHAPES: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (lambda x: np.sin(np.pi * x), lambda x: -(np.pi**2) * np.sin(np.pi * x)),
    (lambda x: np.sin(3 * np.pi * x), lambda x: -9 * np.pi**2 * np.sin(3 * np.pi * x)),
    (lambda x: x * (1 - x) * np.exp(x), lambda x: -x * (3 + x) * np.exp(x)),
)


def one_pass_errors(n: int, sweeps: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Give the largest and the L2 error at the nodes after one pass, over those of the discrete solution."""
    x = np.linspace(0, 1, n + 1)
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="fmg", sweeps=sweeps)
    for (g, g2), (h, h2) in itertools.combinations_with_replacement(SHAPES, 2):
        problem = mgnet.Poisson(product_load(g, g2, h, h2), n=n, dim=2)
        load = assembly.load(problem, torch.float64, torch.device("cpu")).b
        with torch.no_grad():
            u = full_multigrid(hierarchy.levels, load[None, None], hierarchy.options.sweeps)
        exact = outer([g(x), h(x)])[1:-1, 1:-1]
        errors = [v - exact for v in (u[0, 0].numpy(), sine_solve(load.numpy()))]
        yield np.divide(*([np.abs(e).max(), math.sqrt(np.mean(e**2))] for e in errors))


def product_load(g: Any, g2: Any, h: Any, h2: Any) -> Callable[..., Any]:
    """Give -(g h)'' as a function of x and y."""
    return lambda x, y: -g2(x) * h(y) - g(x) * h2(y)


def one_pass(plan: Plan) -> Iterator[Row]:
    """Compare with the exact solutions at the nodes, where no interpolation adds to the discrete error."""
    sizes = f"n = {plan.one_pass[0]} ... {size(plan.one_pass[-1])}"
    for sweeps, most in ((None, 1.1), ((3, 3), None)):
        ratios = np.array([list(one_pass_errors(n, sweeps)) for n in plan.one_pass])
        for norm, values in (("largest", ratios[..., 0]), ("L2", ratios[..., 1])):
            what = f"{norm} error over that of the discrete solution, {ratios.shape[1]} solutions, {sizes}"
            what = f"    the same with sweeps {sweeps}, {norm} error" if sweeps else what
            yield Row(what, worst(*values.ravel()), "{:.3f}", most=most)


# Speed


def axis_eigenvalues(n: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Give those of the stiffness and of the mass matrix of n cells of (0, 1), for the same sines."""
    s = np.sin(np.arange(1, n, dtype=dtype) * (np.arccos(dtype(-1)) / (2 * n))) ** 2
    return 4 * n * s, (3 - 2 * s) / (3 * n)


def sine_solve(b: np.ndarray, workers: int | None = None) -> np.ndarray:
    """Solve -div grad u = f in the unit square or cube with SciPy's sine transform, in the precision of b."""
    K, M = axis_eigenvalues(b.shape[0] + 1, b.dtype.type)
    total = sum(outer([K if i == axis else M for i in range(b.ndim)]) for axis in range(b.ndim))
    b = scipy.fft.dstn(b, type=1, workers=workers)
    np.divide(b, total, out=b)
    return scipy.fft.idstn(b, type=1, workers=workers, overwrite_x=True)


def reference_solution(b: np.ndarray) -> np.ndarray:
    return sine_solve(b.astype(np.longdouble)).astype(np.float64)


def unknowns(sol: Any) -> np.ndarray:
    """Give the values at the inner nodes."""
    return sol.u[(slice(1, -1),) * sol.dim]


def against_sine(plan: Plan) -> Iterator[Row]:
    for dim, n, least in zip((2, 3), plan.speed, (0.25, None), strict=True):
        b = random_load(n, dim)
        ours = partial(mgnet.solve, b=b, n=n, dim=dim, tol=1e-8)
        seconds = medians((partial(sine_solve, b), partial(sine_solve, b, workers=2), ours), plan.rounds)
        what = f"SciPy's sine transform, workers=None, over solve(b=b), {dim}-D, n = {n}, float64"
        yield Row(what, seconds[0] / seconds[2], "{:.2f}×", least=least)
        yield Row("    with workers=2", seconds[1] / seconds[2], "{:.2f}×")
        yield Row("    the time of solve", 1e3 * seconds[2], "{:.1f} ms")
        reference = reference_solution(b)
        yield Row("    its largest error, tol = 1e-8", deviation(unknowns(ours()), reference))
        yield Row("    that of the sine transform", deviation(sine_solve(b), reference))


def against_pyamg(plan: Plan) -> Iterator[Row]:
    for dim, n, least in zip((2, 3), plan.speed, (60, 10), strict=True):
        b = random_load(n, dim)
        what = f"PyAMG Ruge-Stüben, set up and solved, over solve(b=b), {dim}-D, n = {n}"
        yield from pyamg_rows(what, plan, b, {}, partial(constant_matrix, n, dim), reference_solution, least)


def varying(plan: Plan) -> Iterator[Row]:
    n, block = plan.varying, 5
    blocks = np.random.default_rng(n).choice([1.0, JUMP], (-(-n // block),) * 2)
    a = blocks.repeat(block, 0).repeat(block, 1)[:n, :n].copy()
    what = f"PyAMG Ruge-Stüben over solve(b=b, a=a), blocks of {block} × {block} cells, 2-D, n = {n}"
    A = varying_matrix(a)
    yield from pyamg_rows(what, plan, random_load(n, 2), {"a": a}, lambda: A, partial(refined, A), None)


def pyamg_rows(
    what: str,
    plan: Plan,
    b: np.ndarray,
    more: dict[str, Any],
    matrix: Any,
    reference: Any,
    least: float | None,
    target: str = "",
) -> Iterator[Row]:
    """Compare with PyAMG, both to 1e-8; its cycles alone are what the requirement is for."""
    try:
        import pyamg
    except ImportError:
        yield Row(
            what, None, least=least, target=target, note="pyamg is not installed (make bench-2d installs it)"
        )
        return
    small = constant_matrix(16, 2)
    pyamg_solve(pyamg, small, np.ones(small.shape[0]))
    solve = partial(mgnet.solve, b=b, n=b.shape[0] + 1, dim=b.ndim, tol=1e-8, **more)
    (ours,) = medians((solve,), plan.rounds)
    A, exact = matrix(), reference(b)
    for accel in (None, "cg"):
        runs = [pyamg_solve(pyamg, A, b.ravel(), accel) for _ in range(plan.pyamg_rounds)]
        seconds = statistics.median(run[0] for run in runs)
        _, residual, cycles, u = runs[-1]
        if accel:
            yield Row(f"    PyAMG with accel={accel!r}, {cycles} iterations", seconds / ours, "{:.1f}×")
            continue
        yield Row(what, seconds / ours, "{:.1f}×", least=least, target=target)
        yield Row(f"    its relative residual, reached in {cycles} cycles and {seconds:.2g} s", residual)
        yield Row("    its largest error", deviation(u.reshape(b.shape), exact))
    sol = solve()
    yield Row(f"    that of solve, tol = 1e-8, {sol.iterations} iterations", deviation(unknowns(sol), exact))
    yield Row("    the time of solve", 1e3 * ours, "{:.1f} ms")


def constant_matrix(n: int, dim: int) -> Any:
    """Assemble -div grad in bilinear or trilinear elements for the inner nodes of n^dim cells."""
    shape = (n - 1, n - 1)
    K = sp.diags_array([-n, 2 * n, -n], offsets=[-1, 0, 1], shape=shape, dtype=np.float64)
    M = sp.diags_array([1 / (6 * n), 2 / (3 * n), 1 / (6 * n)], offsets=[-1, 0, 1], shape=shape)
    parts = [reduce(sp.kron, [K if i == axis else M for i in range(dim)]) for axis in range(dim)]
    return as_pyamg_takes_it(sum(parts))


def varying_matrix(a: np.ndarray) -> Any:
    """Assemble -div(a grad) in bilinear or trilinear elements for the inner nodes, cell by cell."""
    n, dim = len(a), a.ndim
    k, m = n * np.array([[1, -1], [-1, 1]]), np.array([[2, 1], [1, 2]]) / (6 * n)
    element = sum(reduce(np.kron, [k if i == axis else m for i in range(dim)]) for axis in range(dim))
    nodes = np.arange((n + 1) ** dim).reshape((n + 1,) * dim)
    corners = [
        nodes[tuple(slice(start, n + start) for start in corner)].ravel()
        for corner in itertools.product((0, 1), repeat=dim)
    ]
    pairs = list(itertools.product(range(2**dim), repeat=2))
    values = np.concatenate([element[i, j] * a.ravel() for i, j in pairs])
    rows, columns = (np.concatenate([corners[pair[side]] for pair in pairs]) for side in (0, 1))
    inner = nodes[(slice(1, -1),) * dim].ravel()
    return as_pyamg_takes_it(sp.csr_array((values, (rows, columns)))[inner][:, inner])


def as_pyamg_takes_it(A: Any) -> Any:
    """Give CSR with 32-bit indices."""
    A = sp.csr_array(A)
    A.sort_indices()
    A.indices, A.indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
    return A


def refined(A: Any, b: np.ndarray) -> np.ndarray:
    """Solve with SciPy's sparse factors, and once more for the residual in long double."""
    factors = spla.splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    u = factors.solve(b.ravel())
    residual = b.ravel() - A.astype(np.longdouble) @ u.astype(np.longdouble)
    return (u + factors.solve(residual.astype(np.float64))).reshape(b.shape)


def cliff(plan: Plan) -> Iterator[Row]:
    """Cells that cannot be halved against cells that can."""
    calls = [partial(mgnet.solve, b=random_load(n, 2), n=n, dim=2, tol=1e-8) for n in plan.cliff]
    seconds = medians(calls, plan.rounds)
    what = f"time of solve(b=b), 2-D, n = {plan.cliff[0]} over n = {plan.cliff[1]}"
    yield Row(what, seconds[0] / seconds[1], "{:.2f}×")
    for n, call, time in zip(plan.cliff, calls, seconds, strict=True):
        yield Row(f"    the time with n = {n}, {call().iterations} iterations", 1e3 * time, "{:.1f} ms")


# Memory

PEAK_OF_SOLVE = """
n, varying = int(sys.argv[1]), sys.argv[2] == "True"
more = (lambda n: {"a": np.full((n, n), 2.0)}) if varying else (lambda n: {})
mgnet.solve(b=np.ones((127, 127)), n=128, dim=2, **more(128)).u
a, before = more(n), peak()
b = np.ones((n - 1, n - 1))
u = mgnet.solve(b=b, n=n, dim=2, **a).u
print((peak() - before) / b.nbytes)
"""


def memory(plan: Plan) -> Iterator[Row]:
    for varying, most, target in ((False, 6, "4.5"), (True, 9, "7")):
        coefficient = "a per cell (not counted)" if varying else "constant a"
        what = f"peak memory over the load (counted), 2-D, n = {plan.memory}, float64, {coefficient}"
        yield peak_row(what, PEAK_OF_SOLVE, plan.memory, varying, most=most, target=target)


# On a GPU


def gpu(plan: Plan) -> Iterator[Row]:
    if not torch.cuda.is_available():
        yield Row("Hierarchy.solve over a copy, both on the GPU", None, note="no CUDA device")
        return
    for dim, cells in enumerate(plan.gpu, 2):
        for n, dtype in itertools.product(cells, FLOATS):
            hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim), dtype=dtype, device="cuda")
            b = torch.from_numpy(random_load(n, dim)).to("cuda", dtype)
            tol = 1e-8 if dtype is torch.float64 else None
            copy, solve = partial(torch.empty_like(b).copy_, b), partial(hierarchy.solve, b, tol=tol)
            of_copy, ours = medians((partial(finished, copy), partial(finished, solve)), plan.rounds)
            name = str(dtype).removeprefix("torch.")
            what = f"Hierarchy.solve over a copy, both on the GPU, {dim}-D, n = {n}, {name}"
            yield Row(what, ours / of_copy, "{:.0f}×")
            yield Row("    its time", 1e3 * ours, "{:.2f} ms")


# The table

# title, rows, whether their requirements are for the sizes of the whole table only
SECTIONS: tuple[Section, ...] = (
    ("Order of convergence", orders, False),
    ("Cycles", factors, False),
    ("Jumps of a", jumps, False),
    ("Full multigrid, one pass", one_pass, False),
    ("Against the sine transform", against_sine, True),
    ("Against PyAMG", against_pyamg, True),
    ("Against PyAMG, a in blocks of 1 or 1e3", varying, True),
    ("Odd numbers of cells", cliff, True),
    ("Memory", memory, True),
    ("GPU", gpu, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {
        "serial": "PyAMG's cycles and the sine transform with workers=None are serial code",
        "timing": f"medians of {plan.rounds} calls each, of {plan.pyamg_rounds} of PyAMG; errors are relative"
        f" to the largest value; long double has epsilon {np.finfo(np.longdouble).eps:.0e}",
    }


if __name__ == "__main__":
    names = ("mgnet-companion", "torch", "numpy", "scipy", "pyamg")
    main(__doc__, "Poisson problems in two and three dimensions", SECTIONS, FULL, QUICK, facts, names)
