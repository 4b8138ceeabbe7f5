"""solve: every method against another solver, how it ends and what it says then, and what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import ConvergenceError, Dirichlet, Hierarchy, Neumann, Poisson, Robin, Status
from mgnet.operators import loops
from mgnet.operators.smoothers import SMOOTHERS
from mgnet.solver.iteration import SingleStep, iterate, surveyed

METHODS = ("exact", "direct", "vcycle", "wcycle", "fcycle", "fmg", "pcg")
ITERATIVE = ("vcycle", "wcycle", "fcycle", "fmg", "pcg")
NAN, INF = float("nan"), float("inf")


pytestmark = pytest.mark.usefixtures("one_thread")


# A solver that shares nothing with the package: cells in a loop, a dense matrix, long double residuals.


def dense_solution(f: np.ndarray, problem: Poisson) -> np.ndarray:
    """Solve for lumped nodal values f of shape (rows, n + 1)."""
    wide = np.longdouble
    n, h = problem.n, np.broadcast_to(problem.grid.h, problem.n)
    a, c = np.broadcast_to(np.asarray(problem.a), n), np.broadcast_to(np.asarray(problem.c), n + 1)
    k, s = a / h, np.zeros(n + 1)
    s[:-1] += h / 2 * c[:-1]  # lumped as f is
    s[1:] += h / 2 * c[1:]
    s[[0, -1]] += problem.robin
    b = np.zeros((len(f), n + 1))
    b[:, :-1] += h / 2 * f[:, :-1]
    b[:, 1:] += h / 2 * f[:, 1:]
    ends = problem.left, problem.right
    given = [isinstance(end, Dirichlet) and not problem.periodic for end in ends]
    for i, end in zip((0, -1), ends, strict=True):
        b[:, i] += 0 if isinstance(end, Dirichlet) else end.g
    free = np.arange(given[0], n + 1 - (given[1] or problem.periodic))

    def apply(u: np.ndarray) -> np.ndarray:
        flux = k.astype(u.dtype) * np.diff(u)
        y = s.astype(u.dtype) * u
        y[..., :-1] -= flux
        y[..., 1:] += flux
        if problem.periodic:
            y[..., 0] += y[..., -1]
        return y[..., free]

    if problem.periodic:
        b[:, 0] += b[:, -1]
    embed = np.zeros((len(free), n + 1))
    embed[np.arange(len(free)), free] = 1
    if problem.periodic:
        embed[0, -1] = 1
    inverse = np.linalg.pinv(apply(embed).T, 1e-15, hermitian=True)
    u = np.zeros((len(f), n + 1), dtype=wide)
    u[:, 0], u[:, -1] = (end.g if known else 0.0 for end, known in zip(ends, given, strict=True))
    for _ in range(6):
        u += ((b[:, free] - apply(u)).astype(float) @ inverse) @ embed
    return u.astype(float)


def random_problem(seed: int, most: int = 120) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw a problem that has one solution: grid, coefficients, conditions and loads of all kinds."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 65, rng.integers(1, most)]))
    length = 10 ** rng.uniform(-2, 2)
    keywords: dict[str, Any] = {"n": n, "domain": (1.0, 1.0 + length)}
    if rng.random() < 0.5:
        x = np.concatenate(([0.0], np.cumsum(10 ** rng.uniform(-1, 1, n))))
        keywords = {"nodes": x * length / x[-1]}
    keywords["a"] = (1.0, float(10 ** rng.uniform(-3, 3)), 10 ** rng.uniform(-3, 3, n))[rng.integers(3)]
    typical = float(np.mean(keywords["a"])) / length**2
    zeros = rng.random(n + 1) < 0.7
    zeros[0] = True
    keywords["c"] = (
        0.0,
        typical * 10 ** rng.uniform(-3, 5),
        typical * 10 ** rng.uniform(-3, 3, n + 1) * zeros,
    )[rng.integers(3)]
    if rng.random() < 0.2 and np.any(keywords["c"]):
        keywords["periodic"] = True
    else:
        alpha, g = float(np.mean(keywords["a"])) / length * 10 ** rng.uniform(-2, 2), rng.normal()
        ends = [Dirichlet(g), Neumann(g), Robin(alpha, g)]
        keywords |= {"left": ends[rng.integers(3)], "right": ends[rng.integers(3)]}
        if isinstance(keywords["left"], Neumann) and isinstance(keywords["right"], Neumann):
            keywords["right"] = ends[2 * rng.integers(2)]
    f = rng.normal(size=(int(rng.integers(1, 4)), n + 1))
    if "periodic" in keywords:
        f[:, -1] = f[:, 0]
    return f, keywords


def random_options(rng: np.random.Generator, methods: tuple[str, ...] = METHODS) -> dict[str, Any]:
    return {
        "method": str(rng.choice(methods)),
        "smoother": str(rng.choice(list(SMOOTHERS))),
        "sweeps": tuple(int(v) for v in rng.choice([(2, 2), (1, 1), (2, 1), (1, 2), (3, 0), (0, 3)])),
        "levels": (None, None, None, 2, 3)[rng.integers(5)],
        "coarse": str(rng.choice(["exact", "direct"])),
    }


def agree(u: np.ndarray, expected: np.ndarray, digits: float) -> None:
    scale = np.abs(expected).max(-1)
    assert (np.abs(u - expected).max(-1) <= digits * scale).all(), (
        np.abs(u - expected).max(-1) / scale
    ).max()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("method", ["exact", "direct"])
def test_the_two_oracles(method: str, seed: int) -> None:
    f, keywords = random_problem(seed)
    sol = mgnet.solve(f, **keywords, method=method)
    agree(sol.u, dense_solution(f, Poisson(**keywords)), 1e-11)
    assert sol.status is Status.CONVERGED


@pytest.mark.parametrize("seed", range(100, 160))
def test_methods_agree(seed: int) -> None:
    f, keywords = random_problem(seed)
    options = random_options(np.random.default_rng(seed), ITERATIVE)
    sol = mgnet.solve(f, **keywords, **options, tol=1e-11)
    agree(sol.u, dense_solution(f, Poisson(**keywords)), 1e-9)  # eq: lifting


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_methods_agree_on_many_more(seed: int) -> None:
    f, keywords = random_problem(seed, 2000)
    options = random_options(np.random.default_rng(seed))
    sol = mgnet.solve(f, **keywords, **options)
    agree(sol.u, mgnet.solve(f, **keywords, method="direct").u, 1e-9)


LARGE: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "uniform": lambda rng: {"f": rng.normal(size=4097), "n": 4096},
    "function": lambda rng: {"f": lambda x: np.exp(x), "n": 3000, "right": Robin(1.0, 2.0)},
    "cells": lambda rng: {"f": rng.normal(size=4097), "n": 4096, "a": 10 ** rng.uniform(-3, 3, 4096)},
    "nodes": lambda rng: {"f": rng.normal(size=2001), "nodes": np.sort(rng.uniform(size=2001)), "c": 3.0},
    "periodic": lambda rng: {"f": rng.normal(size=1111), "n": 1111, "periodic": True, "c": 0.1},
    "batch": lambda rng: {"f": rng.normal(size=(2, 2, 1001)), "n": 1000, "left": Neumann(1.0)},
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("method", ITERATIVE)
def test_methods_agree_with_the_direct_solver(method: str, name: str) -> None:
    keywords = LARGE[name](np.random.default_rng(0))
    expected = mgnet.solve(**keywords, method="direct").u
    smoother = {"wcycle": "red-black", "fcycle": "chebyshev"}.get(method, "jacobi")
    levels = 5 if method == "wcycle" else None  # the textbook's W visits the coarsest of 12 grids 2048 times
    sol = mgnet.solve(**keywords, method=method, smoother=smoother, levels=levels)
    agree(sol.u, expected, 1e-9)
    assert sol.method == method


# What comes out for what goes in.


def test_auto_is_exact_in_one_dimension() -> None:
    sol = mgnet.solve(1.0, 8)
    assert (sol.method, sol.iterations, sol.status) == ("exact", 1, Status.CONVERGED)


def test_the_precision_is_that_of_the_data() -> None:
    f = np.ones(9)
    for data, keywords, expected in (
        (f, {}, "float64"),
        (f.astype(np.float32), {}, "float32"),
        (f.astype(np.float32), {"dtype": torch.float64}, "float64"),
        (f, {"dtype": np.float32}, "float32"),
        (f, {"dtype": "float32"}, "float32"),
        (f.astype(int), {}, "float64"),
        (1, {}, "float64"),
        (np.sin, {}, "float64"),
        (np.sin, {"dtype": torch.float32}, "float32"),
        (None, {"b": f[2:].astype(np.float32)}, "float32"),
        (f, {"a": np.ones(8, np.float32)}, "float64"),
    ):
        sol = mgnet.solve(data, 8, **keywords)
        assert sol.dtype == expected
        assert str(sol.u.dtype) == expected
        assert sol.device == "cpu"
        assert np.asarray(sol.x).dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
def test_the_smallest_grids(method: str) -> None:
    for n, dtype in itertools.product((1, 2, 3), ("float32", "float64")):
        for coarse in ("exact", "direct", "smoother"):
            options = {"method": method, "dtype": dtype, "coarse": coarse}
            u = mgnet.solve(2.0, n, left=Dirichlet(1.0), right=Dirichlet(4.0), **options).u
            x = np.linspace(0, 1, n + 1)
            np.testing.assert_allclose(u, 1 + 3 * x + x * (1 - x), rtol=1e-5 if dtype == "float32" else 1e-9)
            u = mgnet.solve(2.0, n, left=Neumann(), right=Dirichlet(), **options).u
            np.testing.assert_allclose(u, 1 - x**2, rtol=0, atol=1e-5 if dtype == "float32" else 1e-9)
            if n > 1 or coarse != "smoother":
                u = mgnet.solve(3.0, n, periodic=True, c=1.5, **options).u
                np.testing.assert_allclose(u, 2, rtol=1e-5 if dtype == "float32" else 1e-9)


# Where u is determined up to a constant.


def mean(sol: Any) -> np.ndarray:
    """The integral of the piecewise linear function, in long double."""
    u, h = np.asarray(sol.u).astype(np.longdouble), np.diff(sol.x).astype(np.longdouble)
    return ((u[..., 1:] + u[..., :-1]) * h).sum(-1) / 2


FREE: dict[str, dict[str, Any]] = {
    "periodic": {"f": lambda x: np.cos(2 * np.pi * x), "n": 100, "periodic": True},
    "neumann": {"f": lambda x: np.cos(np.pi * x), "n": 77, "left": Neumann(), "right": Neumann()},
    "fluxes": {"f": 3.0, "n": 50, "left": Neumann(-1.0), "right": Neumann(-2.0)},
    "nodes": {
        "f": lambda x: x - 1.5,
        "nodes": 3 * np.linspace(0, 1, 64) ** 2,
        "left": Neumann(0.5),
        "right": Neumann(-0.5),
    },
    "robin zero": {"f": lambda x: x - 0.5, "n": 31, "left": Robin(0.0, 1.0), "right": Robin(0.0, -1.0)},
    "cells": {"f": lambda x: x - 0.5, "n": 64, "a": np.geomspace(1, 1e4, 64), "periodic": True},
    "c zero": {"f": lambda x: x - 0.5, "n": 33, "c": np.zeros(34), "periodic": True},
    "one": {"f": 0.0, "n": 1, "left": Neumann(1.0), "right": Neumann(-1.0)},
    "two": {"f": np.array([1.0, -1.0, 1.0]), "n": 2, "periodic": True},
    "batch": {
        "f": np.outer([1.0, -2.0, 0.0], np.cos(np.pi * np.linspace(0, 1, 65))),
        "n": 64,
        "left": Neumann(),
        "right": Neumann(),
    },
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FREE)
def test_compatible_data_give_the_zero_mean_solution(name: str, method: str) -> None:
    keywords = FREE[name]
    expected = mgnet.solve(**keywords, method="direct")
    sol = mgnet.solve(**keywords, method=method)
    scale = max(np.abs(sol.u).max(), 1e-300)
    assert np.abs(mean(sol)).max() <= 1e-14 * scale * (sol.x[-1] - sol.x[0])  # eq: zero-mean
    assert np.abs(sol.u - expected.u).max() <= 1e-9 * scale
    assert scale > 1e-3
    single = mgnet.solve(**keywords, method=method, dtype="float32")
    assert np.abs(mean(single)).max() <= 1e-6 * scale * (sol.x[-1] - sol.x[0])
    assert np.abs(single.u - expected.u).max() <= 3e-5 * scale


def test_the_zero_mean_solutions_are_the_right_ones() -> None:
    """Nodal values are exact where f is integrated exactly, up to the constant."""
    sol = mgnet.solve(lambda x: 12 * x**2 - 4, 20, left=Neumann(), right=Neumann())
    exact = 2 * sol.x**2 - sol.x**4
    np.testing.assert_allclose(np.diff(sol.u), np.diff(exact), rtol=0, atol=1e-14)
    sol = mgnet.solve(lambda x: np.cos(2 * np.pi * x), 64, periodic=True)
    np.testing.assert_allclose(sol.u, np.cos(2 * np.pi * sol.x) / (2 * np.pi) ** 2, rtol=0, atol=1e-13)
    assert sol.u[0] == sol.u[-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("keywords", "defect"),
    [
        ({"f": 1.0, "left": Neumann(), "right": Neumann()}, "1.000e+00"),
        ({"f": 2.0, "periodic": True}, "2.000e+00"),
        ({"f": 1.0, "left": Neumann(2.0), "right": Neumann(-2.5)}, "5.000e-01"),
        ({"f": lambda x: x - 0.25, "periodic": True}, "2.500e-01"),
        ({"f": 1.0, "a": np.ones(16), "left": Robin(0.0), "right": Neumann()}, "1.000e+00"),
    ],
    ids=["neumann", "periodic", "fluxes", "function", "cells"],
)
def test_incompatible_data_are_refused_with_their_defect(
    keywords: dict[str, Any], defect: str, method: str
) -> None:
    both = "left" in keywords and keywords["left"].g
    name = "f and the fluxes g of left, right" if both else "f"
    with pytest.raises(ValueError, match=f"^{name}: got data that sum to") as caught:
        mgnet.solve(**keywords, n=16, method=method)
    assert defect in str(caught.value)  # eq: compatibility
    assert "accepted: " in str(caught.value)


def test_the_incompatible_row_is_named() -> None:
    f = np.zeros((3, 9))
    f[1] = 1.0
    with pytest.raises(ValueError, match="row 1"):
        mgnet.solve(f, 8, periodic=True)
    with pytest.raises(ValueError, match=r"^b: got data .* row 1"):
        mgnet.solve(b=f[:, 1:], n=8, periodic=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_no_defect(dtype: Any) -> None:
    """A ready load need not sum to zero beyond its precision, but nearly so."""
    rng = np.random.default_rng(0)
    noise = 1e-4 if dtype == np.float32 else 1e-8
    for n in (10, 1000, 10**5):
        b = rng.normal(size=(4, n))
        b = (b - b.mean(-1, keepdims=True)).astype(dtype)
        assert b.sum(-1, dtype=np.longdouble).any()
        mgnet.solve(b=b, n=n, periodic=True)
        size = np.abs(b).sum(-1)
        b[2, 3] += 0.1 * noise * size[2]
        mgnet.solve(b=b, n=n, periodic=True)
        b[2, 3] += 3 * noise * size[2]
        with pytest.raises(ValueError, match="^b: got data that sum to .* in row 2"):
            mgnet.solve(b=b, n=n, periodic=True)


@pytest.mark.parametrize("box", [False, True])
def test_rounding_beside_fluxes_is_no_defect(box: bool) -> None:
    """The load takes the fluxes away, and what is left is rounding of both."""
    nearly = -np.nextafter(0.7, 1)
    if box:
        sol = mgnet.solve(b=np.full((2, 2), nearly), n=1, dim=2, boundary=Neumann(0.7))
    else:
        sol = mgnet.solve(b=np.full(2, nearly), n=1, left=Neumann(0.7), right=Neumann(0.7))
    assert np.abs(sol.u).max() < 1e-15


def test_what_is_nearly_free_is_not_free() -> None:
    """A reaction of 1e-12 makes a solution of 1e12."""
    for keywords in ({"c": 1e-12}, {"right": Robin(1e-12), "left": Neumann()}, {"c": np.full(9, 1e-12)}):
        if "right" not in keywords:
            keywords["periodic"] = True
        np.testing.assert_allclose(mgnet.solve(1.0, 8, **keywords).u, 1e12, rtol=1e-9)


def test_a_compatible_function_with_a_kink() -> None:
    mgnet.solve(lambda x: np.abs(x - 0.5) - 0.25, 101, left=Neumann(), right=Neumann())


@pytest.mark.parametrize("method", ["vcycle", "pcg"])
def test_the_mean_of_a_guess_does_not_count(method: str) -> None:
    keywords = {"f": lambda x: np.cos(2 * np.pi * x), "n": 256, "periodic": True}
    expected = mgnet.solve(**keywords).u
    sol = mgnet.solve(**keywords, x0=np.full(257, 1e6), method=method, throw=False)
    assert (
        sol.status is not Status.CONVERGED or np.abs(sol.u - expected).max() <= 1e-9 * np.abs(expected).max()
    )


@pytest.mark.parametrize("method", ["vcycle", "fcycle", "pcg"])
def test_nor_does_the_mean_of_its_corrections(method: str) -> None:
    keywords = {"f": lambda x: np.cos(2 * np.pi * x), "n": 256, "periodic": True}
    expected = mgnet.solve(**keywords).u
    x0 = 1e6 * np.random.default_rng(0).normal(size=257)
    sol = mgnet.solve(**keywords, x0=x0, method=method, throw=False)
    assert sol.status is Status.CONVERGED
    assert np.abs(sol.u - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("smoother", SMOOTHERS)
def test_a_lone_joined_node_has_nothing_to_relax(smoother: str) -> None:
    sol = mgnet.solve(0.0, n=1, periodic=True, method="vcycle", coarse="smoother", smoother=smoother)
    np.testing.assert_array_equal(sol.u, [0.0, 0.0])


def test_very_large_robin_coefficients_hold_the_ends() -> None:
    expected = mgnet.solve(1.0, n=4).u
    for alpha in (1e20, 1e200):
        end = mgnet.Robin(alpha)
        np.testing.assert_allclose(mgnet.solve(1.0, n=4, left=end, right=end).u, expected, atol=1 / alpha)


# How it ends.


@pytest.mark.parametrize("method", METHODS)
def test_no_iteration_is_no_success(method: str) -> None:
    for n, keywords in itertools.product(
        (1, 2, 64), ({}, {"tol": 1e300}, {"refine": True}, {"dtype": "float32"})
    ):
        sol = mgnet.solve(1.0, n, method=method, maxiter=0, throw=False, **keywords)
        assert (sol.status, sol.iterations) == (Status.MAXITER, 0)
        assert sol.error_estimate == INF
        assert math.isnan(sol.convergence_factor)
        with pytest.raises(ConvergenceError, match="MAXITER after 0 iterations.*raise maxiter"):
            mgnet.solve(1.0, n, method=method, maxiter=0, **keywords)


@pytest.mark.parametrize("method", ITERATIVE)
def test_iterations_run_out(method: str) -> None:
    """One correction says nothing of the error: it is never called a success."""
    f = np.random.default_rng(0).normal(size=1001)
    for maxiter in (1, 2):
        for tol in (None, 1e-14):
            sol = mgnet.solve(f, 1000, method=method, maxiter=maxiter, tol=tol, throw=False)
            assert (sol.status, sol.iterations) == (Status.MAXITER, maxiter)
            assert len(sol.residuals) == maxiter + 1


@pytest.mark.parametrize("method", ["vcycle", "fcycle", "fmg"])
def test_divergence(method: str) -> None:
    for dtype in ("float32", "float64"):
        sol = mgnet.solve(1.0, 256, method=method, omega=3.0, dtype=dtype, throw=False)
        assert sol.status is Status.DIVERGED
        assert sol.iterations < 50
        with pytest.raises(ConvergenceError, match="DIVERGED .*smaller omega"):
            mgnet.solve(1.0, 256, method=method, omega=3.0, dtype=dtype)


@pytest.mark.parametrize("method", METHODS)
def test_beyond_the_range_of_the_precision(method: str) -> None:
    """The data are sound, the solution is not: nothing is blamed on f."""
    f = np.full(65, 3e38, dtype=np.float32)
    sol = mgnet.solve(f, 64, domain=(0.0, 100.0), method=method, throw=False)
    assert sol.status is Status.DIVERGED
    assert not sol.error_estimate < 1e30
    with pytest.raises(ConvergenceError):
        mgnet.solve(f, 64, domain=(0.0, 100.0), method=method)


def test_a_conductivity_beyond_the_range_of_the_precision() -> None:
    sol = mgnet.solve(1.0, 64, a=1e-50, dtype="float32", throw=False)
    assert sol.status is Status.DIVERGED


def test_large_loads() -> None:
    """The solution is in range, and the exact cycle finds it; the fluxes are not, and SciPy does not."""
    b = np.full(7, 1e308)
    i = np.arange(9)
    np.testing.assert_allclose(mgnet.solve(b=b, n=8, a=1e3).u, i * (8 - i) / 16 * 1e305, rtol=1e-14)
    assert mgnet.solve(b=b, n=8, a=1e3, method="direct", throw=False).status is Status.DIVERGED


@pytest.mark.parametrize("method", ["vcycle", "fmg", "pcg", "exact"])
def test_stagnation_below_rounding(method: str) -> None:
    """A tolerance below rounding cannot be met; more iterations would not help."""
    f = np.random.default_rng(1).normal(size=(2, 1001)).astype(np.float32)
    for keywords in ({"tol": 1e-12}, {"tol": 0.0}):
        sol = mgnet.solve(f, 1000, method=method, maxiter=400, throw=False, **keywords)
        assert sol.status is Status.STAGNATED
        assert sol.iterations < 60
        with pytest.raises(ConvergenceError, match="STAGNATED after .*loosen tol"):
            mgnet.solve(f, 1000, method=method, maxiter=400, **keywords)
        assert np.isfinite(sol.error_estimate)
        assert np.isfinite(sol.u).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 64, 256])
def test_stagnation_at_a_fixed_point(n: int, dtype: str) -> None:
    sol = mgnet.solve(1.0, n, method="vcycle", tol=0.0, dtype=dtype, throw=False)
    assert sol.status is Status.STAGNATED


def test_a_slow_method_stagnates_or_runs_out_but_never_succeeds() -> None:
    """Jacobi alone, on one grid: the corrections are small long before the error is."""
    for n, smoother in itertools.product(
        (256, 2048), set(SMOOTHERS) - {"line"}
    ):  # which solves a line at once
        sol = mgnet.solve(
            1.0, n, method="vcycle", levels=1, coarse="smoother", smoother=smoother, throw=False
        )
        assert sol.status in (Status.MAXITER, Status.STAGNATED)
        assert np.abs(sol.u - mgnet.solve(1.0, n).u).max() > 1e-3
        assert sol.error_estimate > 1e-3


@pytest.mark.parametrize("case", ["single", "jumps"])
def test_a_dense_coarse_grid_of_large_condition(case: str) -> None:
    a = 10 ** np.random.default_rng(0).uniform(-6, 6, 1024) if case == "jumps" else 1.0
    keywords = {"f": 1.0, "n": 1024, "a": a, "dtype": "float64" if case == "jumps" else "float32"}
    sol = mgnet.solve(**keywords, method="vcycle", levels=1, coarse="direct", throw=False)
    expected = mgnet.solve(1.0, 1024, a=a).u
    assert sol.status is Status.CONVERGED
    assert np.abs(sol.u - expected).max() < (1e-9 if case == "jumps" else 1e-5) * np.abs(expected).max()


def test_an_error_carries_the_solution() -> None:
    f = np.random.default_rng(0).normal(size=(3, 65))
    with pytest.raises(ConvergenceError) as caught:
        mgnet.solve(f, 64, method="vcycle", maxiter=3)
    sol = caught.value.solution
    assert isinstance(caught.value, ArithmeticError)
    assert (sol.status, sol.iterations, sol.u.shape) == (Status.MAXITER, 3, (3, 65))
    assert sol.message in str(caught.value)
    assert "vcycle" in str(caught.value)
    same = mgnet.solve(f, 64, method="vcycle", maxiter=3, throw=False)
    assert (same.u == sol.u).all()
    assert same.error_estimate == sol.error_estimate
    for status in Status:
        assert len(status.value) > 20


def test_the_row_that_decides_is_named() -> None:
    """One row is solved from the start, the other one runs out."""
    f = np.zeros((3, 65))
    f[1] = np.random.default_rng(0).normal(size=65)
    sol = mgnet.solve(f, 64, method="vcycle", maxiter=3, throw=False)
    assert "(row 1)" in sol.message
    assert (sol.u[[0, 2]] == 0).all()
    assert "row" not in mgnet.solve(f, 64, method="vcycle").message


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_do(method: str) -> None:
    for keywords in ({}, {"periodic": True}, {"refine": True}, {"dtype": "float32"}, {"tol": 1e-12}):
        sol = mgnet.solve(0.0, 33, method=method, **keywords)
        assert sol.status is Status.CONVERGED
        assert (sol.u == 0).all()
        assert sol.error_estimate == 0


@pytest.mark.parametrize("method", METHODS)
def test_residuals_are_those_of_the_solution(method: str) -> None:
    """The last one against the residual of the returned values; the first one is that of the guess."""
    n = 200
    f = np.random.default_rng(0).normal(size=n + 1)
    a = np.linspace(1, 3, n)
    sol = mgnet.solve(f, n, a=a, method=method, tol=1e-6)
    b = f[1:-1] / n
    r = b - n * (a[:-1] * np.diff(sol.u)[:-1] - a[1:] * np.diff(sol.u)[1:])
    relative = np.linalg.norm(r) / np.linalg.norm(b)
    assert sol.residuals[-1] == pytest.approx(relative, rel=0.05, abs=1e-12)
    assert len(sol.residuals) == sol.iterations + 1
    if method != "fmg":
        assert sol.residuals[0] == pytest.approx(1.0)
    if method in ("vcycle", "wcycle", "fcycle"):
        assert (np.diff(sol.residuals) < 0).all()
        assert 0.001 < sol.convergence_factor < 0.2
    assert type(sol.residuals[-1]) is float


# What is said of the error.


def check_estimate(seed: int, dtype: str) -> None:
    f, keywords = random_problem(seed)
    rng = np.random.default_rng(seed)
    options = random_options(rng) | {"dtype": dtype}
    if dtype == "float32":
        options["coarse"] = "exact"  # see test_a_dense_coarse_grid_of_large_condition
    tol = (None, 1e-3, 1e-6)[rng.integers(3)]
    n = f.shape[-1] - 1
    expected = dense_solution(f, Poisson(**keywords))
    if rng.random() < 0.4:
        options["x0"] = np.abs(expected).max() * rng.normal(size=n + 1)
    if rng.random() < 0.3:
        options["refine"] = True
    sol = mgnet.solve(f, **keywords, **options, tol=tol, throw=False)
    error = np.abs(sol.u - expected).max()
    if sol.status is Status.CONVERGED:
        floor = 1e-6 if dtype == "float32" else 1e-15  # the data themselves are rounded
        assert error <= 10 * sol.error_estimate + floor * np.abs(expected).max()
        if tol is not None and options["method"] not in ("exact", "direct"):
            assert sol.error_estimate <= tol * np.abs(expected).max() * 1.1
    elif sol.status is Status.DIVERGED:
        raise AssertionError(f"diverged: {options}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(200, 240))
def test_the_error_estimate_is_honest(seed: int, dtype: str) -> None:
    check_estimate(seed, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(2000, 2250))
def test_the_error_estimate_is_honest_on_many_more(seed: int, dtype: str) -> None:
    check_estimate(seed, dtype)


@pytest.mark.parametrize("seed", range(4))
def test_the_second_look_bounds_the_error_of_the_exact_cycle(seed: int) -> None:
    """Jumps cost float32 several roundings where torch computes in it, and the estimate has them all."""
    rng = np.random.default_rng(seed)
    f, a, c = rng.normal(size=10**4 + 1), 10 ** rng.uniform(-3, 3, 10**4), rng.random(10**4 + 1)
    with loops.without():
        sol = mgnet.solve(f, 10**4, a=a, c=c, dtype="float32")
    expected = mgnet.solve(f, 10**4, a=a, c=c).u
    error = np.abs(sol.u - expected).max()
    assert error > 2 * 2.0**-23 * np.abs(expected).max()
    assert error <= sol.error_estimate <= 2 * error


def test_the_error_estimate_is_not_the_tolerance() -> None:
    """It follows the error, over ten orders of magnitude."""
    f = np.random.default_rng(0).normal(size=257)
    expected = mgnet.solve(f, 256).u
    for maxiter in range(3, 10):
        sol = mgnet.solve(f, 256, method="vcycle", maxiter=maxiter, tol=1e-14, throw=False)
        error = np.abs(sol.u - expected).max()
        assert 0.3 * error <= sol.error_estimate <= 30 * error


def test_a_tolerance_for_the_exact_cycle() -> None:
    f = np.random.default_rng(0).normal(size=1001)
    for method in ("exact", "direct"):
        sol = mgnet.solve(f, 1000, method=method, tol=1e-12)
        assert sol.status is Status.CONVERGED
        assert sol.error_estimate <= 1e-12 * np.abs(sol.u).max()
        single = mgnet.solve(f, 1000, method=method, tol=1e-12, dtype="float32", throw=False)
        assert single.status is Status.STAGNATED
        assert mgnet.solve(f, 1000, method=method, tol=1e-5, dtype="float32").status is Status.CONVERGED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", ["uniform", "cells"])
def test_refinement_of_single_precision(method: str, grid: str) -> None:
    """Corrected by float64 residuals, a float32 solution is the float64 one, rounded (and a bit: tol)."""
    n = 200
    rng = np.random.default_rng(0)
    keywords = {"n": n, "left": Neumann(1.0)} | (
        {"a": 10 ** rng.uniform(-3, 3, n)} if grid == "cells" else {}
    )
    f = rng.normal(size=n + 1)
    expected = mgnet.solve(f, **keywords).u
    plain = mgnet.solve(f, **keywords, method="vcycle", dtype="float32").u
    sol = mgnet.solve(f, **keywords, method=method, dtype="float32", refine=True)
    assert sol.u.dtype == np.float32
    scale = np.abs(expected).max()
    assert np.abs(sol.u - expected).max() <= 1.5 * 2.0**-23 * scale < np.abs(plain - expected).max()
    double = mgnet.solve(f, **keywords, method=method, refine=True)
    assert np.abs(double.u - expected).max() <= 1e-10 * scale


def test_a_chain_of_solves_leaves_old_estimates_alone() -> None:
    """Solutions of one hierarchy do not share their history."""
    hierarchy = Hierarchy(Poisson(n=64))
    first = hierarchy.solve(np.ones(63))
    estimate = first.error_estimate
    second = hierarchy.solve(1e6 * np.ones(63))
    assert first.error_estimate == estimate < 1e-12
    assert second.error_estimate < 1e-6
    np.testing.assert_allclose(second.u, 1e6 * first.u, rtol=1e-13)


# The iteration by itself, with corrections that are known beforehand.


def play(
    corrections: list[Any], tol: float = 1e-6, rounding: float = 1e-15, **more: Any
) -> tuple[Any, list[float]]:
    """Iterate with A the identity and given corrections, a row for each column; also the true last errors."""
    steps = torch.tensor(np.atleast_2d(np.array(corrections, dtype=float).T))  # (rows, steps)
    left = iter(steps.T)
    b = torch.ones(len(steps), 1, 1, dtype=torch.float64)
    u, outcome = iterate(
        SingleStep(lambda x: x, b, lambda r: next(left)[:, None, None].clone()),
        surveyed(b),
        torch.zeros_like(b),
        torch.zeros(len(steps), dtype=torch.float64),
        tol,
        steps.shape[1],
        rounding,
        **more,
    )
    return outcome, (steps.sum(1) - u[:, 0, 0]).abs().tolist()


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.5, 0.9])
def test_a_geometric_series_is_summed(factor: float) -> None:
    """The estimate is what is still to come; nothing is believed to shrink faster than tenfold."""
    outcome, (left,) = play(list(factor ** np.arange(1000.0)))  # eq: error-estimate
    assert outcome.status is Status.CONVERGED
    assert outcome.error_estimate == pytest.approx(
        max(left, outcome.error_estimate / 20), rel=2e-3, abs=0
    ) or (factor < 0.1 and left < outcome.error_estimate < 20 * left)
    assert outcome.error_estimate <= 1e-6 / (1 - factor)
    assert outcome.convergence_factor == pytest.approx(factor)
    assert len(outcome.residuals) == outcome.iterations + 1


def test_one_lucky_step_is_not_believed() -> None:
    """Every third correction is small, and the next ones are not: the larger of two ratios counts."""
    ratios = np.tile([0.01, 0.9, 0.9], 60)
    for first in range(3):
        outcome, (left,) = play(np.cumprod(ratios[first:]).tolist())
        assert outcome.status is Status.CONVERGED
        assert left <= outcome.error_estimate <= 1e-6


def test_two_small_corrections_are_no_proof() -> None:
    outcome, _ = play([1.0, 1e-9])
    assert (outcome.status, outcome.iterations) == (Status.MAXITER, 2)
    assert outcome.error_estimate == INF
    outcome, _ = play([1.0, 0.0])
    assert outcome.status is Status.CONVERGED  # nothing was left to correct


@pytest.mark.parametrize("hidden", [0.0, 0.4, 3.0])
def test_conjugate_gradients_leave_what_cycles_are_known_to_leave(hidden: float) -> None:
    """Asked for when a correction is small, not for the first; and where cycles leave much, that counts."""
    corrections = [1.0, 0.3, 0.01, 0.005, 0.004, 0.003]
    expected = {0.0: (3, 0.25 * 0.01), 0.4: (3, 0.8 * 0.01), 3.0: (6, None)}[hidden]
    outcome, _ = play(corrections, tol=0.01, steady=False, hidden=lambda: hidden)  # eq: known
    assert outcome.iterations == expected[0]
    if expected[1]:
        assert outcome.status is Status.CONVERGED
        assert outcome.error_estimate == pytest.approx(expected[1])
    # Cycles themselves are judged by their series.
    for steady, iterations in ((False, 2), (True, 3)):
        assert play([1.0, 1e-3, 1e-5, 1e-7], tol=0.01, steady=steady)[0].iterations == iterations


@pytest.mark.parametrize(
    "keywords",
    [
        {"boundary": Neumann(0.0), "c": 1.0},
        {"periodic": True, "c": 2.0},
        {"c": 100.0},
        {"right": Robin(2.0)},
        {},
    ],
)
@pytest.mark.parametrize("n", [130, (200, 150), 40])
def test_estimates_by_what_cycles_do_hold(n: Any, keywords: dict[str, Any]) -> None:
    """Of smooth loads and of rough ones, whatever the ends."""
    rng = np.random.default_rng(0)
    nodes = mgnet.Poisson(n=n, dim=2, **keywords).node_shape
    i, j = np.meshgrid(*[np.linspace(0, 1, size) for size in nodes], indexing="ij")
    for f in (np.cos(2 * np.pi * i) * np.cos(4 * np.pi * j), rng.normal(size=nodes)):
        sol = mgnet.solve(f, n=n, dim=2, tol=1e-6, **keywords)
        exact = mgnet.solve(f, n=n, dim=2, tol=1e-12, maxiter=50, **keywords)
        error = np.abs(sol.u - exact.u).max()
        assert error <= sol.error_estimate <= 1e-6 * np.abs(sol.u).max() * 1.001


@pytest.mark.parametrize("last", [NAN, INF, -INF])
def test_what_is_not_finite_diverges(last: float) -> None:
    outcome, _ = play([1.0, 0.5, last, 0.1, 0.01])
    assert (outcome.status, outcome.iterations) == (Status.DIVERGED, 3)
    outcome, _ = play([last, 0.5])
    assert (outcome.status, outcome.iterations) == (Status.DIVERGED, 1)


def test_growth_diverges_and_standing_still_stagnates() -> None:
    outcome, _ = play(list(10.0 ** np.arange(100)))
    assert outcome.status is Status.DIVERGED
    assert outcome.iterations <= 12
    outcome, _ = play(list(0.5 ** np.minimum(np.arange(100.0), 10)))
    assert outcome.status is Status.STAGNATED
    assert 11 < outcome.iterations <= 22
    # Slow, but moving: that is not stagnation.
    outcome, _ = play(list(0.98 ** np.arange(100)))
    assert (outcome.status, outcome.iterations) == (Status.MAXITER, 100)


@pytest.mark.parametrize("omega", [1.1, 1.2, 1.3])
def test_slow_divergence(omega: float) -> None:
    sol = mgnet.solve(1.0, 256, method="vcycle", omega=omega, throw=False)
    assert sol.convergence_factor > 1.5
    assert sol.status is Status.DIVERGED


def test_the_worst_row_counts() -> None:
    fast, slow = 0.1 ** np.arange(40.0), 0.5 ** np.arange(40.0)
    for rows, worst in (([fast, slow], 1), ([slow, fast], 0), ([fast, 1e-3 * slow, fast], 1)):
        outcome, left = play(np.transpose(rows)[:15].tolist(), tol=1e-10)
        assert (outcome.status, outcome.row) == (Status.MAXITER, worst)
        assert outcome.error_estimate >= 0.99 * max(left)
        outcome, left = play(np.transpose(rows).tolist())
        assert outcome.status is Status.CONVERGED
        assert outcome.error_estimate >= 0.99 * max(left)
        assert outcome.convergence_factor == pytest.approx(0.5)
    outcome, _ = play(np.transpose([fast, [NAN] * 40, fast]).tolist())
    assert (outcome.status, outcome.row) == (Status.DIVERGED, 1)


def test_without_a_load_residuals_are_relative_to_the_first() -> None:
    x0 = np.random.default_rng(0).normal(size=65)
    sol = mgnet.solve(0.0, 64, method="vcycle", x0=x0, maxiter=3, throw=False)
    assert sol.residuals[0] == pytest.approx(1.0)
    assert sol.residuals[1] < 0.5


def test_refinement_does_not_underflow() -> None:
    """Residuals of residuals, of data at the lower end of float32's range."""
    f = np.random.default_rng(0).normal(size=129)
    for method in ("exact", "vcycle", "pcg"):
        sol = mgnet.solve(1e-30 * f, 128, method=method, dtype="float32", refine=True, tol=1e-12, throw=False)
        assert sol.status is Status.CONVERGED
        expected = mgnet.solve(1e-30 * f, 128).u
        np.testing.assert_allclose(sol.u, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


# The first guess.


@pytest.mark.parametrize("method", ITERATIVE)
def test_a_good_guess_saves_iterations(method: str) -> None:
    f = np.random.default_rng(0).normal(size=(2, 129))
    keywords = {"n": 128, "left": Dirichlet(3.0), "method": method}
    plain = mgnet.solve(f, **keywords)
    near = mgnet.solve(f, **keywords, x0=plain.u * (1 + 1e-6))
    assert near.iterations < plain.iterations
    agree(near.u, mgnet.solve(f, 128, left=Dirichlet(3.0)).u, 1e-9)
    # One guess for all rows; its values at Dirichlet ends do not matter.
    other = mgnet.solve(f, **keywords, x0=np.full(129, 7.0))
    agree(other.u, mgnet.solve(f, 128, left=Dirichlet(3.0)).u, 1e-9)
    assert (other.u[:, 0] == 3).all()


@pytest.mark.parametrize("method", ["vcycle", "pcg"])
@pytest.mark.parametrize(("guess", "dtype"), [(1e7, "float32"), (1e17, "float64")])
def test_a_guess_far_away(guess: float, dtype: str, method: str) -> None:
    """It converges from anywhere: the residual is computed afresh, so the digits of the guess are no loss."""
    x0 = np.full(65, guess)
    sol = mgnet.solve(1.0, 64, method=method, dtype=dtype, x0=x0, throw=False)
    error = np.abs(sol.u - mgnet.solve(1.0, 64).u).max()
    assert sol.status is not Status.CONVERGED or error < 1e-4 * np.abs(sol.u).max()


def test_a_guess_is_left_alone() -> None:
    for kind in (np.array, torch.tensor):
        x0 = kind(np.random.default_rng(0).normal(size=65))
        before = x0.copy() if isinstance(x0, np.ndarray) else x0.clone()
        for method, refine in itertools.product(METHODS, (False, True)):
            mgnet.solve(1.0, 64, left=Neumann(), right=Robin(1.0), method=method, refine=refine, x0=x0)
            assert (x0 == before).all()
        sol = mgnet.solve(
            1.0, 64, left=Neumann(), right=Robin(1.0), method="vcycle", x0=x0, maxiter=0, throw=False
        )
        assert (np.asarray(sol.u) == np.asarray(before)).all()
        if isinstance(sol.u, np.ndarray):
            sol.u[:] = 0
            assert (x0 == before).all()


# What is refused.


def refusal(error: type[Exception], name: str, shown: str, /, **keywords: Any) -> Any:
    return pytest.param(error, name, shown, keywords, id=f"{name}={shown}"[:60])


@pytest.mark.parametrize(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "method", "got 'gauss'", method="gauss"),
        refusal(ValueError, "method", "got None", method=None),
        refusal(ValueError, "method", "got 'Exact'", method="Exact"),
        refusal(ValueError, "smoother", "got 'sor'", smoother="sor"),
        refusal(ValueError, "smoother", "got 1", smoother=1, method="vcycle"),
        refusal(ValueError, "coarse", "got 'lu'", coarse="lu"),
        refusal(ValueError, "sweeps", "got (0, 0)", sweeps=(0, 0)),
        refusal(ValueError, "sweeps", "got (-1, 2)", sweeps=(-1, 2)),
        refusal(ValueError, "sweeps", "got (1.5, 2)", sweeps=(1.5, 2)),
        refusal(ValueError, "sweeps", "got 2", sweeps=2),
        refusal(ValueError, "sweeps", "got (1, 1, 1)", sweeps=(1, 1, 1)),
        refusal(ValueError, "sweeps", "got 'ab'", sweeps="ab"),
        refusal(ValueError, "sweeps", "got (True, 1)", sweeps=(True, 1)),
        refusal(ValueError, "levels", "got 0", levels=0),
        refusal(ValueError, "levels", "got -1", levels=-1),
        refusal(TypeError, "levels", "got 2.5", levels=2.5),
        refusal(TypeError, "levels", "got True", levels=True),
        refusal(ValueError, "omega", "got 0", omega=0),
        refusal(ValueError, "omega", "got -1.0", omega=-1.0),
        refusal(ValueError, "omega", "got nan", omega=NAN),
        refusal(TypeError, "omega", "got '1'", omega="1"),
        refusal(ValueError, "omega", "got 1.0", omega=1.0, smoother="chebyshev"),
        refusal(ValueError, "tol", "got -1e-10", tol=-1e-10),
        refusal(ValueError, "tol", "got nan", tol=NAN),
        refusal(ValueError, "tol", "got inf", tol=INF),
        refusal(TypeError, "tol", "got '1e-9'", tol="1e-9"),
        refusal(TypeError, "tol", "got 1j", tol=1j),
        refusal(ValueError, "maxiter", "got -1", maxiter=-1),
        refusal(TypeError, "maxiter", "got 2.5", maxiter=2.5),
        refusal(TypeError, "maxiter", "got 3.0", maxiter=3.0),
        refusal(TypeError, "maxiter", "got True", maxiter=True),
        refusal(TypeError, "maxiter", "got nan", maxiter=NAN),
        refusal(TypeError, "maxiter", "got '5'", maxiter="5"),
        refusal(ValueError, "dtype", "got torch.float16", dtype=torch.float16),
        refusal(ValueError, "dtype", "got torch.int64", dtype=torch.int64),
        refusal(ValueError, "dtype", "got torch.complex64", dtype=torch.complex64),
        refusal(ValueError, "dtype", "got 'double precision'", dtype="double precision"),
        refusal(ValueError, "dtype", "got <class 'int'>", dtype=int),
        refusal(ValueError, "dtype", "got 64", dtype=64),
        refusal(ValueError, "device", "got 'tpu'", device="tpu"),
        refusal(ValueError, "device", "got 'meta'", device="meta"),
        refusal(ValueError, "device", "got 1.5", device=1.5),
        refusal(ValueError, "dim", "got 4", dim=4),
        refusal(ValueError, "dim", "got True", dim=True),
        refusal(ValueError, "dim", "got 0", dim=0),
        refusal(ValueError, "x0", "got shape (4,)", x0=np.zeros(4)),
        refusal(ValueError, "x0", "got shape ()", x0=1.0),
        refusal(ValueError, "x0", "got 2 rows", x0=np.zeros((2, 9))),
        refusal(ValueError, "x0", "got nan at index 3", x0=np.where(np.arange(9) == 3, NAN, 0.0)),
        refusal(TypeError, "x0", "got dtype complex128", x0=np.zeros(9) * 1j),
        refusal(TypeError, "x0", "got dtype <U1", x0="x"),
    ],
)
def test_refusals(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    for method in {keywords.get("method", "exact"), keywords.get("method", "vcycle")}:
        with pytest.raises(error) as caught:
            mgnet.solve(1.0, 8, **{"method": method} | keywords)
        assert type(caught.value) is error
        message = str(caught.value)
        assert message.startswith(f"{name}: "), message
        assert shown in message.partition("; accepted: ")[0], message
        assert len(message.partition("; accepted: ")[2]) >= 1, message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match="device: got 'cuda', but torch finds no CUDA device here; accepted: 'cpu'"
    ):
        mgnet.solve(1.0, 8, device="cuda")


def test_refused_before_any_work() -> None:
    """f is not called when another argument is wrong."""

    def never(x: Any) -> Any:
        raise AssertionError("called")

    for keywords in (
        {"method": "x"},
        {"tol": -1},
        {"maxiter": -1},
        {"dtype": "x"},
        {"left": 0},
        {"sweeps": 0},
    ):
        with pytest.raises((TypeError, ValueError), match="accepted"):
            mgnet.solve(never, 8, **keywords)
