"""One table: what mgnet measures on this machine for 1-D Poisson problems, and what is required of it.

::

    make bench                                    # the whole table
    python benchmarks/poisson1d.py --quick        # small sizes, and what holds for large ones is not judged
    python benchmarks/poisson1d.py --only jumps   # the sections with that in their title
    python benchmarks/poisson1d.py --json FILE    # the table as JSON too

A speed is a ratio to a peer in the same run. Each is warmed up and called several times in a row, the peer
before mgnet and again after it, and counts with its median; where a row says so they take turns instead
(peer, mgnet, peer, mgnet, ...), so that each finds the caches full of the other's data. Neither is held to
fewer threads than it takes by itself. Nothing is asserted: the last column says whether a figure meets its
requirement.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
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
    ratio,
    size,
    worst,
)

import mgnet

FLOATS = (np.float64, np.float32)
LAPACK = {np.float64: "dptsv", np.float32: "sptsv"}


@dataclass(frozen=True)
class Plan:
    """Sizes and repetitions of a run."""

    rounds: int = 15
    small_rounds: int = 500
    order_cells: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    sine: tuple[int, ...] = (2**20, 2**24)
    sine32: tuple[int, ...] = (*(2**k for k in range(1, 25)), *(10**k for k in range(1, 8)))
    jumps: int = 10**6
    methods: tuple[int, ...] = (17, 1000, 4096)
    factors: tuple[int, ...] = tuple(2**k for k in range(6, 21))
    transfers: tuple[int, ...] = (2, 4, 6, 10, 64, 256)
    speed: tuple[int, ...] = (2**20, 2**24)
    copy: int = 2**24
    batch: int = 1024
    pyamg: int = 2**20
    memory: int = 2**24


FULL = Plan()
QUICK = Plan(
    rounds=5,
    small_rounds=50,
    order_cells=(64, 128, 256, 512),
    sine=(2**14,),
    sine32=(2**8, 2**16),
    jumps=10**4,
    methods=(17, 1000),
    factors=(2**6, 2**10, 2**14),
    transfers=(2, 6, 64),
    speed=(2**14, 2**18),
    copy=2**20,
    batch=64,
    pyamg=2**12,
    memory=2**22,
)


# Order of convergence: a smooth periodic solution and coefficients, every pair of ends


def smooth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give u = exp(sin(2 pi x + 0.3)) and its slope."""
    t = 2 * np.pi * x + 0.3
    u = np.exp(np.sin(t))
    return u, 2 * np.pi * np.cos(t) * u


def smooth_a(x: np.ndarray) -> np.ndarray:
    return 2 + np.cos(2 * np.pi * x)


def smooth_c(x: np.ndarray) -> np.ndarray:
    return 3 + 2 * np.sin(2 * np.pi * x)


def smooth_f(x: np.ndarray, c: float) -> np.ndarray:
    """Give -(a u')' + c c(x) u; ``c`` is 1 or 0."""
    t = 2 * np.pi * x + 0.3
    u, slope = smooth(x)
    curvature = 4 * np.pi**2 * (np.cos(t) ** 2 - np.sin(t)) * u
    a_slope = -2 * np.pi * np.sin(2 * np.pi * x)
    return -a_slope * slope - smooth_a(x) * curvature + c * smooth_c(x) * u


def smooth_end(kind: str, x: float) -> Any:
    """Give the condition of this kind that the smooth solution meets at the end x, 0 or 1."""
    u, slope = (float(value) for value in smooth(np.asarray(x)))
    flux = (1 if x else -1) * float(smooth_a(np.asarray(x))) * slope
    conditions = {
        "D": lambda: mgnet.Dirichlet(u),
        "N": lambda: mgnet.Neumann(flux),
        "R": lambda: mgnet.Robin(2.0, flux + 2.0 * u),
    }
    return conditions[kind]()


def smooth_cases() -> Iterator[tuple[float, dict[str, Any]]]:
    """Give all kinds of ends with c > 0, and three with c = 0, of which two leave a constant open."""
    ends = {
        kinds: {"left": smooth_end(kinds[0], 0.0), "right": smooth_end(kinds[1], 1.0)}
        for kinds in map("".join, itertools.product("DNR", repeat=2))
    }
    for case in (*ends.values(), {"periodic": True}):
        yield 1.0, {**case, "c": smooth_c}
    for case in (ends["DR"], ends["NN"], {"periodic": True}):
        yield 0.0, case


def smooth_errors(nodes: np.ndarray, c: float, ends: dict[str, Any]) -> tuple[float, float]:
    """Give the error in L2 and that of the slope in L2."""
    sol = mgnet.solve(lambda x: smooth_f(x, c), nodes=nodes, a=smooth_a, **ends)
    points, weights = np.polynomial.legendre.leggauss(6)
    widths = np.diff(nodes)[:, None]
    x = (nodes[:-1, None] + widths * (1 + points) / 2).ravel()
    w = (widths * weights / 2).ravel()
    u, slope = smooth(x)
    if not c and ("periodic" in ends or isinstance(ends["left"], mgnet.Neumann)):
        u = u - w @ u  # the solution of mean zero
    return math.sqrt(w @ (sol(x) - u) ** 2), math.sqrt(w @ (sol.derivative(x) - slope) ** 2)


def random_nodes(n: int, rng: np.random.Generator) -> np.ndarray:
    """Give nodes of (0, 1) whose cells have random widths, at most 1 to 4."""
    x = np.concatenate(([0.0], np.cumsum(rng.uniform(0.5, 2.0, n))))
    return x / x[-1]


def orders(plan: Plan) -> Iterator[Row]:
    """Fit each order over all sizes; the error of a random grid is the root mean square of several."""
    rng = np.random.default_rng(1)
    grids = {
        "uniform grids": [[np.linspace(0, 1, n + 1)] for n in plan.order_cells],
        "random grids": [[random_nodes(n, rng) for _ in range(4)] for n in plan.order_cells],
    }
    cases = list(smooth_cases())
    for name, sizes in grids.items():
        errors = np.array([[[smooth_errors(x, *case) for x in grid] for grid in sizes] for case in cases])
        slopes = fitted_orders(plan.order_cells, np.sqrt((errors**2).mean(2)))
        for norm, expected, values in (("L2", 2.0, slopes[:, 0]), ("H1", 1.0, slopes[:, 1])):
            furthest = float(max(values, key=lambda slope: abs(slope - expected)))
            what = f"order in {norm}, {name}, smooth a and c, furthest of {len(cases)} kinds of ends"
            yield Row(what, furthest, "{:.3f}", expected - 0.1, expected + 0.1)


# The sine: -u'' = pi^2 sin(pi x)


def sine_load(n: int) -> np.ndarray:
    """Give the loads of the sine, integrated in closed form."""
    return 4 * n * np.sin(np.pi / (2 * n)) ** 2 * np.sin(np.pi * np.arange(1, n) / n)


def sine_error(u: np.ndarray) -> float:
    """Give the largest nodal error."""
    return float(np.abs(u - np.sin(np.pi * np.linspace(0, 1, len(u)))).max())


def sine_solved(n: int, dtype: type) -> float:
    return sine_error(mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n=n, dtype=dtype).u)


def sine_lapack(n: int, dtype: type) -> float:
    return sine_error(np.pad(Tridiagonal(n, dtype, sine_load(n)).solve(), 1))


def sine(plan: Plan) -> Iterator[Row]:
    for n, most in zip(plan.sine, (1e-12, None), strict=False):
        what = f"-u'' = pi^2 sin(pi x), largest nodal error, n = {size(n)}, float64"
        yield Row(what, sine_solved(n, np.float64), most=most)
        yield Row("    LAPACK dptsv", sine_lapack(n, np.float64))
    some = f"{len(plan.sine32)} sizes from {plan.sine32[0]} to {size(max(plan.sine32))}"
    figure = worst(*(sine_solved(n, np.float32) for n in plan.sine32))
    yield Row(f"the same, float32, worst of {some}", figure, most=1e-6)
    n = max(plan.sine32)
    yield Row(f"    LAPACK sptsv, n = {size(n)}", sine_lapack(n, np.float32))


# Jumps: a solution known in the discrete sense


def jumps(plan: Plan) -> Iterator[Row]:
    """Random cells and loads; the solution by adding up fluxes in long double, which needs no system."""
    rng, n = np.random.default_rng(2), plan.jumps
    nodes = np.sort(rng.uniform(0, 1, n + 1))
    kinds = {"1e-3 or 1e3": rng.choice([1e-3, 1e3], n), "1e-3 ... 1e3": 10 ** rng.uniform(-3, 3, n)}
    loads = {"random": rng.standard_normal(n - 1), "positive": np.diff(nodes)[1:] + np.diff(nodes)[:-1]}
    ours, peer = [], []
    for a, b in itertools.product(kinds.values(), loads.values()):
        u = flux_solution(nodes, a, b)
        k = a / np.diff(nodes)
        lapack = scipy.linalg.lapack.dptsv(k[:-1] + k[1:], -k[1:-1], b)[2]
        scale = np.abs(u).max()
        ours.append(float(np.abs(mgnet.solve(b=b, nodes=nodes, a=a).u - u).max() / scale))
        peer.append(float(np.abs(lapack - u[1:-1]).max() / scale))
    what = f"a = {' and '.join(kinds)} per cell, random nodes, n = {size(n)}, error"
    yield Row(what, worst(*ours), most=1e-8)
    yield Row("    LAPACK dptsv", worst(*peer))


def flux_solution(nodes: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve the discrete problem with zero ends: the flux falls by b at each node, u is its sum over a/h."""
    resistance = np.diff(nodes.astype(np.longdouble)) / a
    flux = -np.concatenate(([0], np.cumsum(b.astype(np.longdouble))))
    flux -= (flux * resistance).sum() / resistance.sum()
    return np.concatenate(([0], np.cumsum(flux * resistance)))


# Methods and cycles


def method_problems(n: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    rng = np.random.default_rng(n)
    yield rng.standard_normal(n + 1), {"n": n}
    yield (
        rng.standard_normal(n + 1),
        {
            "nodes": random_nodes(n, rng),
            "a": 10 ** rng.uniform(-2, 2, n),
            "c": rng.uniform(0, 5, n + 1),
            "left": mgnet.Robin(2.0, 1.0),
        },
    )


def methods(plan: Plan) -> Iterator[Row]:
    names = ("vcycle", "wcycle", "fcycle", "fmg", "pcg"), ("jacobi", "red-black", "chebyshev")
    ways = [{"method": m, "smoother": s} for m, s in (("exact", "jacobi"), *itertools.product(*names))]
    errors = []
    for n in plan.methods:
        for f, problem in method_problems(n):
            u = mgnet.solve(f, method="direct", **problem).u
            solved = (mgnet.solve(f, throw=False, **problem, **way).u for way in ways)
            errors += [float(np.abs(v - u).max() / np.abs(u).max()) for v in solved]
    what = f"{len(ways)} methods and smoothers against direct, n = {', '.join(map(str, plan.methods))}"
    yield Row(what, worst(*errors), most=1e-9)


def factor(n: int, cycles: int = 10) -> float:
    """Measure the factor of a V(2,2) cycle with Jacobi on b = 0, after as many cycles that do not count."""
    rng = np.random.default_rng(n)
    u = np.pad(rng.standard_normal(n - 1), 1)
    sizes = []
    for _ in range(2):
        way = {"method": "vcycle", "smoother": "jacobi", "sweeps": (2, 2), "maxiter": cycles}
        u = mgnet.solve(b=np.zeros(n - 1), n=n, x0=u, tol=0.0, throw=False, **way).u
        sizes.append(np.abs(u).max())
    return float(sizes[1] / sizes[0]) ** (1 / cycles)


def factors(plan: Plan) -> Iterator[Row]:
    found = [factor(n) for n in plan.factors]
    sizes = f"n = {plan.factors[0]} ... {size(plan.factors[-1])}"
    yield Row(f"V(2,2) with Jacobi, b = 0, largest factor, {sizes}", worst(*found), "{:.3f}", most=0.12)
    spread = worst(*found) + worst(*(-x for x in found))
    yield Row("    its spread over these sizes", spread, "{:.3f}", most=0.03)


def transfers(plan: Plan) -> Iterator[Row]:
    """Dense matrices of the operators; all kinds of ends, with c > 0 and without."""
    ends = [*itertools.product(("dirichlet", "natural"), repeat=2), ("periodic", "periodic")]
    transposed, galerkin = [], []
    for n, boundary, c in itertools.product(plan.transfers, ends, (0.0, 7.0)):
        lost = 1 if boundary[0] == "periodic" else boundary.count("dirichlet")
        fine, coarse = n + 1 - lost, n // 2 + 1 - lost
        if coarse < 1 or "periodic" in boundary and coarse < 3:
            continue  # no coarse grid, or one so small that both neighbours of a node are one
        R = mgnet.Restriction(boundary=boundary).to_dense(fine)
        P = mgnet.Prolongation(boundary=boundary).to_dense(coarse)
        A, A_H = (
            mgnet.Stiffness(1 / m, 3.0, c, boundary).to_dense(s) for m, s in ((n, fine), (n // 2, coarse))
        )
        transposed.append(float((R - P.T).abs().max()))
        galerkin.append(float((R @ A @ P - A_H).abs().max() / A_H.abs().max()))
    yield Row("R = P^T, largest difference of their entries", worst(*transposed), most=1e-14)
    yield Row("R A P = A_H, largest difference relative to A_H", worst(*galerkin), most=1e-14)


# Speed


class Tridiagonal:
    """[-1, 2, -1]/h and a load, as LAPACK takes them."""

    def __init__(self, n: int, dtype: type, b: np.ndarray | None = None) -> None:
        self.d, self.e = np.full(n - 1, 2 * n, dtype), np.full(n - 2, -n, dtype)
        self.b = (np.random.default_rng(n).standard_normal(n - 1) if b is None else b).astype(dtype)
        names = ("ptsv", "pttrf", "pttrs")
        self.ptsv, self.pttrf, self.pttrs = scipy.linalg.lapack.get_lapack_funcs(names, (self.b,))
        self.work = tuple(np.empty_like(x) for x in (self.d, self.e, self.b))
        self.factors = self.pttrf(self.d, self.e)[:2]

    def solve(self) -> np.ndarray:
        """Factor and solve."""
        return self.ptsv(self.d, self.e, self.b)[2]

    def refresh(self) -> None:
        """Restore what ``solve_in_place`` overwrites."""
        for work, x in zip(self.work, (self.d, self.e, self.b), strict=True):
            np.copyto(work, x)

    def solve_in_place(self) -> np.ndarray:
        """Factor and solve, overwriting all input."""
        return self.ptsv(*self.work, overwrite_d=1, overwrite_e=1, overwrite_b=1)[2]

    def solve_factored(self) -> np.ndarray:
        """Solve with factors that are there."""
        return self.pttrs(*self.factors, self.b)[0]


def against_lapack(plan: Plan) -> Iterator[Row]:
    required = {(20, np.float64): 9, (20, np.float32): 11, (24, np.float64): 10, (24, np.float32): 16}
    for n, dtype in itertools.product(plan.speed, FLOATS):
        system = Tridiagonal(n, dtype)
        whole = partial(mgnet.solve, b=system.b, n=n, dtype=dtype)
        reused = partial(mgnet.Hierarchy(mgnet.Poisson(n=n), dtype=dtype).solve, system.b)
        least, target = required.get((round(math.log2(n)), dtype)), "10" if dtype is np.float64 else "20"
        what = f"{LAPACK[dtype]} over solve(b=b), n = {size(n)}, {np.dtype(dtype).name}"
        yield Row(what, ratio(system.solve, whole, plan.rounds), "{:.2f}×", least=least, target=target)
        turns = ratio(system.solve, whole, plan.rounds, block=1)
        yield Row("    taking turns, one call each", turns, "{:.2f}×")
        yield Row("    over a reused Hierarchy", ratio(system.solve, reused, plan.rounds), "{:.2f}×")
        in_place = ratio(system.solve_in_place, whole, plan.rounds, system.refresh)
        yield Row("    LAPACK in place, its input restored off the clock", in_place, "{:.2f}×")
        factored = ratio(system.solve_factored, reused, plan.rounds)
        yield Row("    both set up before: LAPACK's pttrs over Hierarchy.solve", factored, "{:.2f}×")


def against_copy(plan: Plan) -> Iterator[Row]:
    for dtype, most, target in ((np.float32, 8, "3"), (np.float64, None, "")):
        b = Tridiagonal(plan.copy, dtype).b
        solve = partial(mgnet.Hierarchy(mgnet.Poisson(n=plan.copy), dtype=dtype).solve, b)
        copies = partial(np.copyto, np.empty_like(b), b), b.copy
        into, fresh, ours = medians((*copies, solve), plan.rounds)
        what = f"Hierarchy.solve over np.copyto, n = {size(plan.copy)}, {np.dtype(dtype).name}"
        yield Row(what, ours / into, "{:.2f}×", most=most, target=target)
        yield Row("    over b.copy(), which takes fresh memory as solve does", ours / fresh, "{:.2f}×")


def small(plan: Plan, n: int = 1024) -> Iterator[Row]:
    f = np.random.default_rng(n).standard_normal(n + 1)
    hierarchy, b = mgnet.Hierarchy(mgnet.Poisson(n=n)), f[1:-1] / n
    calls = Tridiagonal(n, np.float64, b).solve, lambda: mgnet.solve(f, n=n).u, lambda: hierarchy.solve(b).u
    lapack, whole, reused = medians(calls, plan.small_rounds)
    yield Row(f"solve(f, n={n}) with an array, start to end", 1e3 * whole, "{:.3f} ms", most=0.4)
    yield Row(f"a reused Hierarchy, n = {n}", 1e3 * reused, "{:.3f} ms", most=0.1)
    yield Row("    LAPACK dptsv", 1e3 * lapack, "{:.3f} ms")


def many(plan: Plan, n: int = 1024) -> Iterator[Row]:
    for dtype, least, target in ((np.float64, 4, "6"), (np.float32, 6, "10")):
        system, shape = Tridiagonal(n, dtype), (plan.batch, n - 1)
        b = np.random.default_rng(n).standard_normal(shape).astype(dtype)
        work, bands = np.empty_like(b), np.stack((np.pad(system.e, (1, 0)), system.d))
        # b.T is in Fortran order, as LAPACK wants it.
        banded = partial(scipy.linalg.solveh_banded, bands, check_finite=False)
        ours = partial(mgnet.Hierarchy(mgnet.Poisson(n=n), dtype=dtype).solve, b)
        what = f"solveh_banded over Hierarchy.solve, {plan.batch} × n = {n}, {np.dtype(dtype).name}"
        figure = ratio(partial(banded, b.T), ours, plan.rounds)
        yield Row(what, figure, "{:.2f}×", least=least, target=target)
        in_place = partial(banded, work.T, overwrite_b=True)
        figure = ratio(in_place, ours, plan.rounds, partial(np.copyto, work, b))
        yield Row("    SciPy in place, its input restored off the clock", figure, "{:.2f}×")


def against_pyamg(plan: Plan) -> Iterator[Row]:
    n = plan.pyamg
    what = f"PyAMG Ruge-Stüben, set up and solved, over solve(b=b), n = {size(n)}"
    try:
        import pyamg
    except ImportError:
        yield Row(what, None, least=100, note="pyamg is not installed (make bench installs it)")
        return
    b = sine_load(n)
    A = sp.diags_array([-n, 2 * n, -n], offsets=[-1, 0, 1], shape=(n - 1, n - 1), dtype=np.float64).tocsr()
    pyamg_solve(pyamg, A[:1000, :1000].tocsr(), b[:1000])
    seconds, residual, cycles, u = pyamg_solve(pyamg, A, b)
    (ours,) = medians((partial(mgnet.solve, b=b, n=n),), plan.rounds)
    yield Row(what, seconds / ours, "{:.0f}×", least=100)
    yield Row(f"    its relative residual, reached in {cycles} cycles and {seconds:.1f} s", residual)
    yield Row("    its largest nodal error, -u'' = pi^2 sin(pi x)", sine_error(np.pad(u, 1)))


# Memory

PEAK_OF_SOLVE = """
n, dtype, varying = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
more = (lambda n: {"a": np.full(n, 2.0)}) if varying else (lambda n: {})
mgnet.solve(b=np.ones(2**17 - 1, dtype), n=2**17, dtype=dtype, **more(2**17)).u
a, before = more(n), peak()
b = np.ones(n - 1, dtype)
u = mgnet.solve(b=b, n=n, dtype=dtype, **a).u
print((peak() - before) / b.nbytes)
"""


def memory(plan: Plan) -> Iterator[Row]:
    for dtype, varying in itertools.product(("float64", "float32"), (False, True)):
        coefficient = "a per cell, not counted" if varying else "constant a"
        what = f"peak memory over the load, the load counted, n = {size(plan.memory)}, {dtype}, {coefficient}"
        yield peak_row(what, PEAK_OF_SOLVE, plan.memory, dtype, varying, most=6)


# On a GPU


def gpu(plan: Plan) -> Iterator[Row]:
    if not torch.cuda.is_available():
        yield Row("Hierarchy.solve over a copy, both on the GPU", None, note="no CUDA device")
        return
    for n, dtype in itertools.product((plan.copy, 4 * plan.copy), FLOATS):
        hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=n), dtype=dtype, device="cuda")
        b = torch.from_numpy(Tridiagonal(n, dtype).b).cuda()
        copy, solve = partial(torch.empty_like(b).copy_, b), partial(hierarchy.solve, b)
        of_copy, ours = medians((partial(finished, copy), partial(finished, solve)), plan.rounds)
        what = f"Hierarchy.solve over a copy, both on the GPU, n = {size(n)}, {np.dtype(dtype).name}"
        yield Row(what, ours / of_copy, "{:.2f}×")
        yield Row("    its time", 1e3 * ours, "{:.2f} ms")


# The table

# title, rows, whether their requirements are for the sizes of the whole table only
SECTIONS: tuple[Section, ...] = (
    ("Order of convergence", orders, False),
    ("Nodal error of a sine", sine, True),
    ("Jumps of a", jumps, True),
    ("Methods", methods, False),
    ("Cycles", factors, False),
    ("Transfers", transfers, False),
    ("Against LAPACK", against_lapack, True),
    ("Against a copy of the load", against_copy, True),
    ("One right-hand side", small, False),
    ("Many right-hand sides", many, True),
    ("Against PyAMG", against_pyamg, True),
    ("Memory", memory, True),
    ("GPU", gpu, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {
        "serial": "LAPACK's ptsv and PyAMG's cycles are serial code",
        "timing": f"medians of {plan.rounds} calls each ({plan.small_rounds} at n = 1024); "
        f"long double has epsilon {np.finfo(np.longdouble).eps:.0e}",
    }


if __name__ == "__main__":
    names = ("mgnet-companion", "torch", "numpy", "scipy", "pyamg")
    main(__doc__, "Poisson problems in one dimension", SECTIONS, FULL, QUICK, facts, names)
