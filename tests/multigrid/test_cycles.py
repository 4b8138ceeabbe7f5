"""Cycles against the textbook's recursion on dense matrices; factors and iteration counts against bounds."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg as spla
import torch

import mgnet
from mgnet import Dirichlet, Hierarchy, Neumann, Poisson, Robin
from mgnet.multigrid import ConjugateGradients, Level, cycle, full_multigrid
from mgnet.operators import loops
from mgnet.operators.contract import dense
from mgnet.operators.smoothers import SMOOTHERS

CONDITIONS: dict[str, dict[str, Any]] = {
    "dirichlet": {},
    "neumann-dirichlet": {"left": Neumann()},
    "dirichlet-robin": {"right": Robin(3.0)},
    "robin": {"left": Robin(0.5), "right": Robin(20.0)},
    "periodic": {"periodic": True, "c": 2.0},
    "neumann": {"left": Neumann(), "right": Neumann()},
    "closed": {"periodic": True},
}
every_condition = pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)


pytestmark = pytest.mark.usefixtures("one_thread")


def chain(problem: Poisson) -> np.ndarray:
    """Assemble the matrix of the unknowns from numbers a, c or from values a of cells, cell by cell."""
    n, h = problem.n, np.broadcast_to(problem.grid.h, problem.n)
    a = np.broadcast_to(np.asarray(problem.a), n)
    A = np.zeros((n + 1, n + 1))
    for i in range(n):
        A[i : i + 2, i : i + 2] += a[i] / h[i] * np.array([[1, -1], [-1, 1]])
        A[i : i + 2, i : i + 2] += problem.c * h[i] / 6 * np.array([[2, 1], [1, 2]])
    A[0, 0] += problem.robin[0]
    A[n, n] += problem.robin[1]
    if problem.periodic:
        A[0] += A[n]
        A[:, 0] += A[:, n]
        return A[:n, :n]
    keep = slice(int(problem.ends[0] == "dirichlet"), n + 1 - int(problem.ends[1] == "dirichlet"))
    return A[keep, keep]


def interpolations(problem: Poisson, A: np.ndarray, count: int) -> list[np.ndarray]:
    """Hats while the cells are alike and pair up; after that, what leaves the new nodes no energy."""
    hats, cells, matrices = problem.grid.uniform and np.ndim(problem.a) == 0, problem.n, []
    first = 0 if problem.ends[0] == "dirichlet" else 1  # the first new node among the unknowns
    for _ in range(count):
        hats = hats and cells % 2 == 0
        new = first + 2 * np.arange(cells // 2)
        old = np.setdiff1d(np.arange(len(A)), new)
        P = np.zeros((len(A), len(old)))
        P[old, range(len(old))] = 1
        for i in new:
            neighbours = [i - 1, (i + 1) % len(A) if problem.periodic else i + 1]
            for j in neighbours:
                if 0 <= j < len(A):
                    # A new node that meets an old one twice takes all of it.
                    P[i] += P[j] * (0.5 if hats else -A[i, j] / A[i, i] / neighbours.count(j))
        matrices.append(P)
        A, cells = P.T @ A @ P, (cells + 1) // 2
    return matrices


class Dense:
    def __init__(self, A: np.ndarray) -> None:
        self.A = torch.tensor(A)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.A.T


def textbook(
    A: np.ndarray,
    transfers: list[np.ndarray],
    levels: list[Level],
    b: torch.Tensor,
    x: torch.Tensor,
    sweeps: tuple[int, int],
    kind: str,
) -> torch.Tensor:
    """Smooth, restrict the residual, solve below by one or two cycles, correct, smooth."""
    if not transfers:
        return x + (b - Dense(A)(x)) @ torch.tensor(np.linalg.pinv(A, 1e-9, hermitian=True))
    P, smoother = transfers[0], levels[0].smoother
    x = smoother(Dense(A), x, b, sweeps[0])
    r = (b - Dense(A)(x)) @ torch.tensor(P)
    e = torch.zeros_like(r)
    for again in {"V": ["V"], "W": ["W", "W"], "F": ["F", "V"]}[kind]:
        e = textbook(P.T @ A @ P, transfers[1:], levels[1:], r, e, sweeps, again)
    x = x + e @ torch.tensor(P).T
    return smoother(Dense(A), x, b, sweeps[1], post=True)


@every_condition
@pytest.mark.parametrize("smoother", SMOOTHERS)
@pytest.mark.parametrize("n", [16, 24, 13])
def test_cycles_are_the_textbooks(n: int, smoother: str, conditions: dict[str, Any]) -> None:
    cells = 10 ** np.random.default_rng(n).uniform(-2, 2, n)
    cycles = (("V", (1, 1)), ("V", (0, 2)), ("W", (1, 2)), ("F", (2, 1)))
    for a, (kind, sweeps) in itertools.product((1.0, cells), cycles):
        problem = Poisson(n=n, a=a, **conditions)
        levels = Hierarchy(problem, method="vcycle", smoother=smoother, levels=4, coarse="direct").levels
        A = chain(problem)
        P = interpolations(problem, A, 3 if n > 8 else 0)
        assert [level.unknowns for level in levels] == [len(A), *(p.shape[1] for p in P)]
        generator = torch.Generator().manual_seed(n)
        x, b = torch.randn((2, 2, 1, len(A)), generator=generator, dtype=torch.float64)
        if np.abs(A.sum(0)).max() < 1e-9:
            b -= b.mean(-1, keepdim=True)
        expected = textbook(A, P, levels, b, x, sweeps, kind)  # eq: two-grid, cycle
        got = cycle(levels, b, x, sweeps, kind)
        if np.abs(A.sum(0)).max() < 1e-9:  # a constant is free
            expected, got = (v - v.mean(-1, keepdim=True) for v in (expected, got))
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


@every_condition
@pytest.mark.parametrize("n", [1, 2, 3, 16, 12, 13, 33])
def test_every_level_is_galerkin(n: int, conditions: dict[str, Any]) -> None:
    cells = 10 ** np.random.default_rng(n).uniform(-3, 3, n)
    for keywords in ({}, {"a": 3.0, "c": 100.0}, {"a": cells}, {"a": cells, "c": 2.0}):
        problem = Poisson(n=n, **conditions | keywords)
        levels = Hierarchy(problem, method="vcycle").levels
        assert levels[-1].cells <= 2
        assert [level.cells for level in levels] == [n, *(-(-level.cells // 2) for level in levels[:-1])]
        assert [level.solve is not None for level in levels] == [False] * (len(levels) - 1) + [True]
        if not problem.unknowns:
            continue
        A = chain(problem)
        digits = 1e-13 * np.abs(A).max()  # the products of matrices lose what the operators do not
        for fine, coarse in itertools.pairwise(levels):
            np.testing.assert_allclose(fine.A.to_dense(), A, rtol=0, atol=digits)
            P = dense(fine.P, (coarse.unknowns,), fine.A.like).numpy()
            R = dense(fine.R, (fine.unknowns,), fine.A.like).numpy()
            np.testing.assert_allclose(R, P.T, rtol=0, atol=1e-15)
            A = P.T @ A @ P
        np.testing.assert_allclose(levels[-1].A.to_dense(), A, rtol=0, atol=digits)


def test_levels_end_where_asked() -> None:
    for most, cells in (
        (1, [64]),
        (3, [64, 32, 16]),
        (99, [64, 32, 16, 8, 4, 2]),
        (None, [64, 32, 16, 8, 4, 2]),
    ):
        levels = Hierarchy(Poisson(n=64), method="vcycle", levels=most).levels
        assert [level.cells for level in levels] == cells


@every_condition
def test_coarse_solvers(conditions: dict[str, Any]) -> None:
    """On the coarsest grid: the exact cycle, a dense matrix, or 50 sweeps."""
    for n in (1, 2, 12, 65):
        problem = Poisson(n=n, **conditions)
        A, b = chain(problem), torch.randn(2, 1, problem.unknowns, dtype=torch.float64)
        if not len(A):
            continue
        singular = np.abs(A.sum(0)).max() < 1e-9
        if singular:
            b -= b.mean(-1, keepdim=True)
        expected = b @ torch.tensor(np.linalg.pinv(A, 1e-9, hermitian=True))
        for coarse in ("exact", "direct"):
            x = Hierarchy(problem, method="vcycle", levels=1, coarse=coarse).levels[0].solve(b)
            x = x - x.mean(-1, keepdim=True) if singular else x
            torch.testing.assert_close(x, expected, rtol=0, atol=1e-10 * expected.abs().max().item())
        if len(A) == singular:
            continue  # one free constant: nothing to smooth
        level = Hierarchy(problem, method="vcycle", levels=1, coarse="smoother").levels[0]
        torch.testing.assert_close(level.solve(b), level.smoother(Dense(A), None, b, 50))


def test_a_large_dense_coarse_grid_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"levels: got a coarsest grid of 9999 unknowns.* accepted: at most 4096"
    ):
        mgnet.solve(1.0, 10_000, method="vcycle", levels=1, coarse="direct")


@pytest.mark.parametrize("method", ["vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct", "exact"])
def test_a_hierarchys_cycle_is_its_methods(method: str) -> None:
    hierarchy = Hierarchy(Poisson(n=32, c=1.0), method=method, sweeps=(1, 2))
    r = torch.randn(3, 1, 31, dtype=torch.float64)
    if method == "exact":
        expected = r @ torch.tensor(np.linalg.inv(chain(hierarchy.problem)))
    else:
        kind = {"wcycle": "W", "fcycle": "F"}.get(method, "V")
        expected = cycle(hierarchy.levels, r, torch.zeros_like(r), (1, 2), kind)
    torch.testing.assert_close(hierarchy.cycle(r), expected, rtol=0, atol=1e-13)


# What is printed.


def printed(hierarchy: Hierarchy) -> tuple[str, list[list[int]], list[float]]:
    first, _, *rows, last = str(hierarchy).splitlines()
    assert repr(hierarchy) == str(hierarchy)
    return (
        first,
        [[int(v) for v in row.split()] for row in rows],
        [float(v) for v in re.findall(r"\d+\.\d+", last)],
    )


@every_condition
@pytest.mark.parametrize("n", [8, 13, 1000])
def test_the_table_counts_what_is_there(n: int, conditions: dict[str, Any]) -> None:
    hierarchy = Hierarchy(Poisson(n=n, **conditions), method="vcycle", levels=2)
    first, rows, complexities = printed(hierarchy)
    assert first == "Hierarchy: vcycle, jacobi, 2 levels, float64 on cpu"
    for i, (row, level) in enumerate(zip(rows, hierarchy.levels, strict=True)):
        entries = int((level.A.to_dense() != 0).sum())
        assert row == [i, level.cells, level.unknowns, entries]
    totals = np.sum(rows, axis=0)
    assert complexities == [round(totals[2] / rows[0][2], 2), round(totals[3] / rows[0][3], 2)]


def test_the_table_counts_the_smallest_joined_chains() -> None:
    hierarchy = Hierarchy(Poisson(n=4, periodic=True, c=1.0), method="vcycle")
    for row, level in zip(printed(hierarchy)[1], hierarchy.levels, strict=True):
        assert row[3] == int((level.A.to_dense() != 0).sum())


def test_the_complexities_of_a_long_chain() -> None:
    for method, grid in (("vcycle", 2.0), ("pcg", 2.0), ("direct", 1.0), ("exact", 8 / 7)):
        first, rows, complexities = printed(Hierarchy(Poisson(n=2**15), method=method))
        assert complexities == pytest.approx([grid, grid], abs=0.011)
        assert f"{len(rows)} levels" in first
    # Loops take cells that differ in blocks too, and torch in larger ones, or in pairs where row sums vary.
    differ, vary = {"a": np.ones(64)}, {"a": np.ones(64), "c": np.ones(65)}
    assert len(printed(Hierarchy(Poisson(n=64, **differ)))[1]) == 3
    with loops.without():
        assert len(printed(Hierarchy(Poisson(n=64, **differ)))[1]) == 2
        assert len(printed(Hierarchy(Poisson(n=64, **vary)))[1]) == 7


def test_the_smallest_problems_are_printed() -> None:
    for n, method in itertools.product((1, 2, 3), ("exact", "direct", "vcycle")):
        text = str(Hierarchy(Poisson(n=n), method=method, dtype="float32"))
        assert "float32 on cpu" in text
        assert "nan" not in text


# Factors and counts.


def measured_factor(n: int, first: int = 4, last: int = 14, **keywords: Any) -> float:
    """Shrink a random guess towards the solution zero; the mean factor between two cycles."""
    free = n if keywords.get("periodic") else n + 1
    x0 = np.random.default_rng(n).normal(size=free + (free == n))
    x0[-1] = x0[0] if keywords.get("periodic") else x0[-1]
    sizes = []
    for maxiter in (first, last):
        sol = mgnet.solve(0.0, n, x0=x0, maxiter=maxiter, throw=False, tol=0.0, **keywords)
        assert sol.iterations == maxiter
        sizes.append(np.abs(sol.u).max())
        if maxiter == last:
            assert sol.convergence_factor == pytest.approx(
                (sizes[1] / sizes[0]) ** (1 / (last - first)), rel=0.25
            )
    return (sizes[1] / sizes[0]) ** (1 / (last - first))


def test_the_factor_of_the_v_cycle_does_not_depend_on_the_grid() -> None:
    factors = [measured_factor(2**k, method="vcycle") for k in range(6, 15, 2)]
    assert max(factors) <= 0.12, factors
    assert max(factors) - min(factors) <= 0.03, factors
    assert min(factors) > 0.03  # it is damped Jacobi that is measured, not the exact cycle


@pytest.mark.slow
def test_the_factor_of_the_v_cycle_up_to_a_million() -> None:
    factors = [measured_factor(2**k, method="vcycle") for k in range(6, 21)]
    assert max(factors) <= 0.12, factors
    assert max(factors) - min(factors) <= 0.03, factors


@pytest.mark.parametrize("method", ["wcycle", "fcycle"])
def test_w_and_f_are_no_worse(method: str) -> None:
    for n in (64, 257):
        assert measured_factor(n, 2, 7, method=method) <= measured_factor(n, 2, 7, method="vcycle") + 0.01


@pytest.mark.parametrize(
    ("keywords", "bound"),
    [
        ({"sweeps": (1, 1)}, 0.35),
        ({"smoother": "chebyshev"}, 0.12),
        ({"left": Neumann()}, 0.12),
        ({"right": Robin(1.0)}, 0.12),
        ({"left": Robin(1e3), "right": Neumann()}, 0.12),
        ({"periodic": True, "c": 1.0}, 0.12),
        ({"c": 1e4}, 0.12),
    ],
    ids=str,
)
def test_other_factors(keywords: dict[str, Any], bound: float) -> None:
    factors = [measured_factor(n, 2, 7, method="vcycle", **keywords) for n in (64, 1024, 1000)]
    assert max(factors) <= bound, factors


def test_jumps_do_not_slow_the_cycle_down() -> None:
    """Interpolation from the operator; the straight one would take the factor to 0.7 and to 1."""
    n = 1024
    cell = np.ones(n)
    cell[n // 2 - 1] = 1e-6
    noise = 10 ** np.random.default_rng(0).uniform(-3, 3, n)
    for a in (np.where(np.arange(n) < 0.31 * n, 1.0, 1e6), cell, noise):
        assert measured_factor(n, method="vcycle", a=a) <= 0.25


@pytest.mark.parametrize("sweeps", [(1, 1), (0, 1), (1, 0)])
def test_red_black_is_exact_in_one_cycle(sweeps: tuple[int, int]) -> None:
    """The new nodes are relaxed next to the coarse correction, and the hats of all levels are orthogonal."""
    rng = np.random.default_rng(0)
    for n, conditions in itertools.product((64, 63, 100), ({}, {"left": Neumann()}, {"right": Robin(2.0)})):
        for keywords in ({}, {"a": 10 ** rng.uniform(-3, 3, n), "c": rng.uniform(0, 9, n + 1)}):
            hierarchy = Hierarchy(
                Poisson(n=n, **conditions, **keywords), method="vcycle", smoother="red-black", sweeps=sweeps
            )
            b = torch.randn(1, 1, hierarchy.problem.unknowns, dtype=torch.float64)
            u = hierarchy.cycle(b)
            r = b - hierarchy.A(u)
            largest = hierarchy.A.diagonal().max() * u.abs().max()
            assert r.abs().max() < 1e-13 * largest  # eq: red-black


def test_conjugate_gradients_take_as_many_steps_on_any_grid() -> None:
    rng = np.random.default_rng(0)
    counts = {}
    for n in (64, 100, 1024, 4097, 2**14):
        f, a = rng.normal(size=n + 1), 10 ** rng.uniform(-3, 3, n)
        counts[n] = [mgnet.solve(f, n, method="pcg", **kw).iterations for kw in ({}, {"a": a}, {"c": 50.0})]
    assert np.max(list(counts.values())) <= 12, counts
    assert np.ptp([count[0] for count in counts.values()]) <= 3, counts


@pytest.mark.slow
def test_conjugate_gradients_up_to_a_million() -> None:
    f = np.random.default_rng(0).normal(size=2**20 + 1)
    assert mgnet.solve(f, 2**20, method="pcg").iterations <= 12


@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients_are_scipys(preconditioned: bool) -> None:
    """Iterate by iterate, with a preconditioner that leaves something to do; the last one is the solution."""
    n = 12
    rng = np.random.default_rng(0)
    A, b = chain(Poisson(n=n + 1, a=10 ** rng.uniform(-1, 1, n + 1), c=2.0)), rng.normal(size=n)
    inverse = np.diag(1 / np.diag(A)) if preconditioned else np.eye(n)
    expected: list[np.ndarray] = []
    spla.cg(A, b, M=inverse, rtol=1e-12, maxiter=n, callback=lambda x: expected.append(x.copy()))
    assert len(expected) > n - 3
    step = ConjugateGradients(Dense(A), Dense(inverse))
    load = torch.tensor(np.stack((b, np.zeros(n), -3 * b)))[:, None]
    x = torch.zeros_like(load)
    for iterate in expected:
        x = x + step(load - Dense(A)(x))  # eq: conjugate-gradients
        for row, factor in zip(x, (1, 0, -3), strict=True):  # each row has its own directions
            scale = np.abs(iterate).max()
            np.testing.assert_allclose(row[0], factor * iterate, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(x[0, 0], np.linalg.solve(A, b), rtol=0, atol=1e-8)


def test_full_multigrid_reaches_the_error_of_the_discretisation() -> None:
    """In energy: of u = sin πx the discretisation misses h |u″| / √12 = h π² / √24."""
    for n in (8, 64, 512, 4096, 100, 1000):
        h = 1 / n
        x = np.linspace(0, 1, n + 1)[1:-1]
        b = torch.tensor((2 - 2 * np.cos(np.pi * h)) / h * np.sin(np.pi * x))[None, None]  # A sin(πx)
        levels = Hierarchy(Poisson(n=n), method="fmg", sweeps=(1, 1)).levels
        e = full_multigrid(levels, b, (1, 1)).flatten().numpy() - np.sin(np.pi * x)
        energy = np.sqrt((np.diff(np.concatenate(([0], e, [0]))) ** 2).sum() / h)
        assert energy < 0.5 * h * np.pi**2 / np.sqrt(24), n
        assert energy > 0


def test_full_multigrid_is_the_textbooks() -> None:
    hierarchy = Hierarchy(Poisson(n=16, right=Robin(1.0)), method="fmg", levels=3)
    levels, b = hierarchy.levels, torch.randn(2, 1, 16, dtype=torch.float64)
    b1 = levels[0].R(b)
    b2 = levels[1].R(b1)
    x2 = b2 @ torch.tensor(np.linalg.inv(levels[2].A.to_dense().numpy()))
    for kind in "VWF":
        x1 = cycle(levels[1:], b1, levels[1].P(x2), (2, 1), kind)
        x0 = cycle(levels, b, levels[0].P(x1), (2, 1), kind)
        # eq: full-multigrid
        torch.testing.assert_close(full_multigrid(levels, b, (2, 1), kind), x0, rtol=0, atol=1e-14)


def test_full_multigrid_saves_cycles() -> None:
    n = 4096
    f = lambda x: np.exp(x) * np.sin(9 * x)  # noqa: E731
    counts = [mgnet.solve(f, n, method=method, tol=1e-8).iterations for method in ("fmg", "vcycle")]
    assert counts[0] < counts[1]


# A cycle as a preconditioner.


@pytest.mark.parametrize("method", ["vcycle", "wcycle", "exact", "pcg", "fmg", "direct"])
@pytest.mark.parametrize("smoother", SMOOTHERS)
def test_as_linear_operator(method: str, smoother: str) -> None:
    for keywords in ({"n": 15}, {"n": 16, "right": Robin(2.0), "a": np.linspace(1, 1e4, 16)}):
        problem = Poisson(**keywords)
        hierarchy = Hierarchy(problem, method=method, smoother=smoother)
        M = hierarchy.as_linear_operator()
        size = problem.unknowns
        assert M.shape == (size, size)
        assert M.dtype == np.float64
        B = M @ np.eye(size)
        r = torch.randn(1, 1, size, dtype=torch.float64)
        np.testing.assert_allclose(M @ r.numpy().ravel(), hierarchy.cycle(r).flatten(), rtol=0, atol=1e-14)
        np.testing.assert_allclose(B, B.T, rtol=0, atol=1e-12 * np.abs(B).max())
        np.testing.assert_allclose(M.H @ np.eye(size), B.T, rtol=0, atol=1e-12 * np.abs(B).max())
        spectrum = np.linalg.eigvals(B @ chain(problem)).real
        assert spectrum.min() > 0.6
        assert spectrum.max() < 1 + 1e-9


@pytest.mark.parametrize(("method", "sweeps"), [("fcycle", (1, 1)), ("vcycle", (2, 0)), ("vcycle", (1, 2))])
def test_an_unsymmetric_cycle_offers_no_adjoint(method: str, sweeps: tuple[int, int]) -> None:
    M = Hierarchy(Poisson(n=33), method=method, sweeps=sweeps).as_linear_operator()
    with pytest.raises((TypeError, NotImplementedError)):
        M.H @ np.ones(32)


@pytest.mark.parametrize("method", ["vcycle", "exact"])
def test_scipys_conjugate_gradients(method: str) -> None:
    for n in (100, 1000):
        a = 10 ** np.random.default_rng(n).uniform(-3, 3, n)
        problem = Poisson(n=n, a=a, right=Neumann())
        A, b = chain(problem), np.random.default_rng(0).normal(size=n)
        M = Hierarchy(problem, method=method).as_linear_operator()
        before, steps = b.copy(), []
        x, failed = spla.cg(A, b, M=M, rtol=1e-10, callback=steps.append, maxiter=100)
        assert failed == 0
        assert len(steps) <= (3 if method == "exact" else 14)
        assert (b == before).all()
        expected = mgnet.solve(b=b, n=n, a=a, right=Neumann(), method="direct").u[1:]
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_preconditioner_in_single_precision() -> None:
    M = Hierarchy(Poisson(n=100), method="vcycle", dtype=torch.float32).as_linear_operator()
    assert M.dtype == np.float32
    assert (M @ np.ones(99)).dtype == np.float32


def test_many_right_hand_sides_share_a_hierarchy() -> None:
    problem = Poisson(n=100, a=np.linspace(1, 2, 100), left=Dirichlet(2.0), right=Neumann())
    for method in ("exact", "vcycle", "pcg", "direct", "fmg"):
        hierarchy = Hierarchy(problem, method=method)
        b = np.random.default_rng(0).normal(size=(2, 3, 100))
        many = hierarchy.solve(b)
        assert many.u.shape == (2, 3, 101)
        for index in np.ndindex(2, 3):
            one = hierarchy.solve(b[index])
            assert isinstance(one.u, np.ndarray)
            np.testing.assert_allclose(many.u[index], one.u, rtol=0, atol=1e-9 * np.abs(one.u).max())
            A = chain(problem)
            load = b[index].copy()
            load[0] += 100 * 1.0 * 2.0  # a/h of the first cell times u(0)
            expected = np.linalg.solve(A, load)
            np.testing.assert_allclose(one.u[1:], expected, rtol=0, atol=1e-8 * np.abs(expected).max())
        assert isinstance(hierarchy.solve(torch.tensor(b)).u, torch.Tensor)


def test_a_hierarchy_refuses_what_is_no_problem() -> None:
    with pytest.raises(TypeError, match="problem: got 64; accepted: a Poisson problem"):
        Hierarchy(64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dtype: got None; accepted: torch\.float32 or torch\.float64"):
        Hierarchy(Poisson(n=8), dtype=None)
    hierarchy = Hierarchy(Poisson(n=8))
    with pytest.raises(ValueError, match=r"b: got shape \(9,\); accepted: \(\.\.\., 7\)"):
        hierarchy.solve(np.ones(9))
    with pytest.raises(ValueError, match="b: got nan at index 2 of row 1; accepted: finite numbers"):
        hierarchy.solve(np.where(np.arange(14).reshape(2, 7) == 9, np.nan, 1.0))
    with pytest.raises(ValueError, match="tol: got -1"):
        hierarchy.solve(np.ones(7), tol=-1)


def test_a_smoother_of_ones_own_is_the_one_that_is_called() -> None:
    """Passes over memory stand for the smoother that they were made for, and for no other."""
    called: list[int] = []

    def noted(A: Any, x: Any, b: torch.Tensor, sweeps: int, post: bool = False) -> torch.Tensor:
        called.append(sweeps)
        return torch.zeros_like(b) if x is None else x

    levels = Hierarchy(Poisson(n=16, dim=2), method="vcycle").levels
    cycle([replace(levels[0], smoother=noted), *levels[1:]], torch.ones(1, 1, 15, 15, dtype=torch.float64))
    assert called == [2, 2]
