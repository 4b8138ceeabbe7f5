"""What people did to break the solver: flat cells, huge contrasts, the ends of the range, far guesses.

Values without a source here are those of an assembly in 400-bit arithmetic; kinds at random are in
test_hard_problems.py.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg as spla
import torch

import mgnet
from mgnet import Dirichlet, Hierarchy, Neumann, Poisson, Robin, Status
from mgnet.core.arrays import NonFiniteError
from mgnet.multigrid import ConjugateGradients
from mgnet.operators.blocks import BlockDiagonal
from mgnet.poisson.constants import LooseConstants
from mgnet.solver.cycling import HELD
from mgnet.solver.iteration import SingleStep, iterate, surveyed

FREE = Neumann(0.0)
METHODS = ("auto", "pcg", "vcycle", "wcycle", "fcycle", "fmg", "direct")


def error(sol: mgnet.Solution, right: float) -> float:
    return float(np.abs(np.abs(sol.u).max() - right) / right)


# What float32 cannot hold


def test_a_rigid_cell_that_float32_loses() -> None:
    a = np.ones((8, 8))
    a[1, 3] = 1e8
    held = {"left": Dirichlet(1.0), "bottom": FREE, "top": FREE}
    sol = mgnet.solve(0.0, n=8, dim=2, a=a, boundary=held)
    assert sol.u[2, 3] == pytest.approx(0.82967810, abs=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["auto", "pcg", "vcycle", "direct"])
def test_a_contrast_of_1e8_at_random(method: str, dtype: str) -> None:
    """Cycles alone may not see all of it, but then they say so, and "auto" goes on by SciPy."""
    a = np.where(np.random.default_rng(0).random((50, 50)) < 0.2, 1e8, 1.0)
    sol = mgnet.solve(1.0, n=50, dim=2, a=a, method=method, dtype=dtype, throw=False)
    assert sol.status is Status.CONVERGED or method in ("pcg", "vcycle")
    off = abs(float(sol.u.max()) - 0.0288576043)
    assert off <= max(10 * sol.error_estimate, 1e-10)
    assert sol.status is not Status.CONVERGED or off < (1e-9 if dtype == "float64" else 1e-7)


def test_cycles_are_in_float64_beyond_the_contrast_that_float32_holds() -> None:
    for ratio, wanted in ((HELD / 2, torch.float32), (HELD * 2, torch.float64)):
        a = np.ones((16, 16))
        a[3, 3] = ratio
        for dtype in (torch.float32, torch.float64):
            hierarchy = Hierarchy(Poisson(dim=2, n=16, a=a), dtype=dtype)
            assert hierarchy.levels[0].A.like["dtype"] is wanted
            assert hierarchy.A.like["dtype"] is dtype


def test_a_setup_that_fails_in_float32_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that fails in float64 too is said to have diverged, with no foreign exception."""
    whole = mgnet.multigrid.build_levels
    for lost, wanted in (((torch.float32,), Status.CONVERGED), ((torch.float32, torch.float64), None)):
        for failure in (torch.linalg.LinAlgError("singular"), spla.ArpackError(-9999)):

            def fails(A: Any, *rest: Any, lost: Any = lost, failure: Exception = failure) -> Any:
                if A.like["dtype"] in lost:
                    raise failure
                return whole(A, *rest)

            monkeypatch.setattr("mgnet.solver.cycling.build_levels", fails)
            sol = mgnet.solve(1.0, n=20, dim=2, throw=False)
            assert sol.status is (wanted or Status.DIVERGED)
            assert wanted is None or error(sol, mgnet.solve(1.0, n=20, dim=2, method="direct").u.max()) < 1e-9


def test_a_preconditioner_that_is_not_positive_definite_is_no_way_down() -> None:
    A = mgnet.Stiffness(1 / 8, boundary="dirichlet")
    b = torch.ones(1, 1, 7, dtype=torch.float64)
    for B, status in ((lambda r: r, Status.CONVERGED), (lambda r: -r, Status.DIVERGED)):
        step = SingleStep(A, b, ConjugateGradients(A, B))
        rest = surveyed(b), torch.zeros_like(b), torch.zeros(1), 1e-10, 50, 1e-15
        _, outcome = iterate(step, *rest, steady=False)
        assert outcome.status is status


def test_a_correction_of_nothing_beside_a_residual_is_no_convergence() -> None:
    A = mgnet.Stiffness(1 / 8, boundary="dirichlet")
    b = torch.ones(1, 1, 7, dtype=torch.float64)
    step = SingleStep(A, b, torch.zeros_like)
    _, outcome = iterate(step, surveyed(b), torch.ones_like(b), torch.ones(1), 1e-10, 50, 1e-15)
    assert outcome.status is not Status.CONVERGED


# Thin boxes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_unknowns_that_one_correction_solves_for(dtype: str) -> None:
    """What rounding leaves of the residual is no reason to go on."""
    rng = np.random.default_rng(0)
    for n in [(1, 2), (1, 3), (2, 1, 1)] * 5:
        a, f = rng.uniform(1, 9, n), rng.uniform(-2, 2, n)
        given: dict[str, Any] = {"dim": len(n), "n": n, "a": a, "periodic": True, "compatible": "project"}
        right = mgnet.solve(f, **given, method="direct").u
        u = mgnet.solve(f, **given, dtype=dtype).u
        assert np.abs(u - right).max() <= {"float32": 1e-5, "float64": 1e-10}[dtype] * np.abs(right).max()


@pytest.mark.parametrize("n", [(1, 45), (8, 250), (2, 2, 100)])
@pytest.mark.parametrize("method", ["auto", "vcycle"])
def test_values_that_are_held_beside_a_thin_box_in_single_precision(n: tuple[int, ...], method: str) -> None:
    """Strong couplings among them cancel in the load of weak ones, and what rounding leaves is seen."""
    domain = (((0, 1.5), (0, 1)), ((0, 20), (0, 20), (0, 15)))[len(n) - 2]
    sides = {"left": Dirichlet(1.0), "right": FREE, "bottom": Dirichlet(0.5)}
    for seed in range(3):
        a = 10 ** np.random.default_rng(seed).uniform(-0.5, 0.5, n)
        given: dict[str, Any] = {"dim": len(n), "n": n, "a": a, "domain": domain, "boundary": sides}
        right = mgnet.solve(0.0, **given, method="direct").u
        sol = mgnet.solve(0.0, **given, method=method, dtype="float32")
        wrong = np.abs(sol.u - right).max()
        assert wrong <= min(1e-5, 10 * sol.error_estimate)


def test_tol_is_relative_to_values_that_are_held_too() -> None:
    """What rounding leaves here is more than tol of the largest unknown, and less than that of all nodes."""
    a = np.array([6.36031908, 0.20116514, 0.14935114, 0.38402064, 0.75339115, 0.47028754]).reshape(6, 1, 1)
    sides = {
        "left": Robin(2.49, 1.036),
        "right": Robin(2.49, 0.762),
        "bottom": Neumann(0.277),
        "top": Robin(2.12, 0.413),
        "front": Robin(1.44, -1.404),
        "back": Dirichlet(1.396),
    }
    domain = ((0, 0.563), (0, 3.219), (0, 2.954))
    given: dict[str, Any] = {"dim": 3, "n": (6, 1, 1), "a": a, "domain": domain, "boundary": sides}
    sol = mgnet.solve(-0.105, **given, dtype="float32")
    assert sol.status is Status.CONVERGED


@pytest.mark.parametrize("n", [44, 56, 64])
@pytest.mark.parametrize("smoother", ["chebyshev", "jacobi"])
def test_a_slow_iteration_ends_where_it_is_near_enough(n: int, smoother: str) -> None:
    """What a second look finds is compared with tol again, and may be more by a little."""
    y = np.linspace(0, 1, n + 1) ** 3
    sol = mgnet.solve(1.0, dim=2, nodes=(y, y), method="vcycle", smoother=smoother)
    assert sol.status is Status.CONVERGED
    assert np.abs(sol.u - mgnet.solve(1.0, dim=2, nodes=(y, y), method="direct").u).max() < 3e-10 * 0.08


@pytest.mark.parametrize("far", [80, 100, 150])
def test_sides_whose_ratio_has_no_square(far: int) -> None:
    """Across the thin side u is that of an interval, whatever the long one is."""
    sol = mgnet.solve(1.0, dim=2, n=8, domain=((0, 10.0**-far), (0, 10.0**far)))
    assert np.abs(sol.u).max() == pytest.approx(0.125 * 10.0 ** (-2 * far), rel=0.1)


@pytest.mark.parametrize("tol", [1e-3, None])
@pytest.mark.parametrize("smoother", ["chebyshev", "jacobi", "red-black"])
def test_a_thin_box_in_few_cycles(smoother: str, tol: float | None) -> None:
    ends = {"left": FREE, "right": Robin(1e-3)}
    box = {"n": (4, 300), "dim": 2, "domain": ((0, 1e-4), (0, 1))}
    sol = mgnet.solve(1.0, boundary=ends, tol=tol, smoother=smoother, **box)
    assert error(sol, 0.060523) < max(1e-5, tol or 0)
    assert sol.iterations <= 30


@pytest.mark.parametrize("ends", [FREE, Robin(1e-3), "periodic", None])
@pytest.mark.parametrize("n", [(2, 40, 3), (3, 2, 30), (1, 3, 50), (5, 60, 2)])
def test_thin_boxes_in_space(n: tuple[int, ...], ends: Any) -> None:
    """Against SciPy: films and wires, whose thin sides are free, weakly held, joined or given."""
    longest = max(n)
    lengths = [1.0 if cells == longest else 1e-3 for cells in n]
    thin = [cells != longest for cells in n]
    f = np.random.default_rng(0).normal(size=[cells + 1 for cells in n])
    keywords: dict[str, Any] = {"n": n, "dim": 3, "domain": [(0, length) for length in lengths]}
    if ends == "periodic":
        keywords["periodic"] = thin
        f = f[tuple(slice(0, cells if flag else None) for cells, flag in zip(n, thin, strict=True))]
    elif ends is not None:
        names = (("left", "right"), ("bottom", "top"), ("back", "front"))
        sides = [pair for pair, flag in zip(names, thin, strict=True) if flag]
        keywords["boundary"] = dict.fromkeys(itertools.chain(*sides), ends)
    sol = mgnet.solve(f, **keywords)
    exact = mgnet.solve(f, method="direct", **keywords).u
    assert np.abs(sol.u - exact).max() <= 10 * sol.error_estimate
    assert sol.iterations <= 40


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("thin", [(True, False), (False, True)])
@pytest.mark.parametrize("a", ["number", "cells"])
def test_blocks_are_those_of_the_matrix(a: str, thin: tuple[bool, bool], periodic: bool) -> None:
    n = (3, 7) if thin[0] else (7, 3)
    cells = 1.0 if a == "number" else np.random.default_rng(0).uniform(1, 2, n)
    ends = None if periodic else {"left": Robin(2.0), "right": FREE, "bottom": FREE}
    problem = Poisson(dim=2, n=n, a=cells, periodic=periodic, boundary=ends)
    A = mgnet.poisson.assembly.operator(problem, torch.float64, torch.device("cpu"))
    dense = A.to_dense().reshape(*problem.shape, *problem.shape)
    found = BlockDiagonal(A, thin).matrices
    along = thin.index(False)
    for i in range(problem.shape[along]):
        block = dense.select(along, i).select(along + 1, i)
        torch.testing.assert_close(found[i], block)


# Constants that hardly anything holds


@pytest.mark.parametrize("c", [1e-8, 1e-12, 1e-15])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("method", ["auto", "direct"])
def test_a_tiny_c_is_all_that_holds(method: str, dim: int, c: float) -> None:
    sol = mgnet.solve(1.0, n=(64, 16, 8)[dim - 1], dim=dim, c=c, boundary=FREE, method=method)
    np.testing.assert_allclose(sol.u, 1 / c, rtol=1e-12)


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("method", ["auto", "pcg", "vcycle", "direct"])
def test_a_tiny_alpha_is_all_that_holds(method: str, varies: bool) -> None:
    """The sum of all equations: 1 = alpha times the mean of u on the sides, times 4."""
    a = np.random.default_rng(0).uniform(1, 10, (8, 8)) if varies else 1.0
    sol = mgnet.solve(1.0, n=8, dim=2, a=a, boundary=Robin(1e-9), method=method, throw=False)
    sides = np.concatenate([sol.u[0, :-1], sol.u[1:, -1], sol.u[-1, :0:-1], sol.u[:-1, 0]])
    assert np.abs(sides / 2.5e8 - 1).max() < 1e-8
    assert sol.status is Status.CONVERGED
    assert sol.error_estimate <= 1e-10 * np.abs(sol.u).max()


def test_the_correction_of_constants_is_symmetric_and_exact() -> None:
    A = mgnet.Stiffness(1.0, boundary="natural", robin=(1e-3, 0.0), dim=1)
    dense = A.to_dense(6)
    ones = torch.ones(1, 1, 6, dtype=torch.float64)
    loose = LooseConstants(A(ones)[0, 0], lambda x: x.sum(-1, keepdim=True))
    diagonal = dense.diagonal()
    B = loose.corrected(lambda r: r / diagonal, torch.eye(6, dtype=torch.float64)[:, None])[:, 0]
    torch.testing.assert_close(B, B.T)
    one = torch.ones(6, dtype=torch.float64)
    torch.testing.assert_close(B @ dense @ one, one)
    assert np.linalg.eigvalsh(B.numpy()).min() > 0


# The ends of the range


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "sizes"), [("float32", (1e-30, 1e-22, 1e22, 1e30)), ("float64", (1e-280, 1e-170, 1e170, 1e280))]
)
def test_the_size_of_the_load_is_nothing_to_the_digits(
    method: str, dtype: str, sizes: tuple[float, ...]
) -> None:
    keywords: dict[str, Any] = {"n": 16, "dim": 2, "dtype": dtype, "method": method}
    one = mgnet.solve(1.0, **keywords)
    for size in sizes:
        sol = mgnet.solve(size, **keywords)
        np.testing.assert_allclose(
            sol.u.astype(float) / size, one.u, rtol=1e-5 if dtype == "float32" else 1e-9
        )
        assert sol.residuals[-1] < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_a_batch_of_different_size(method: str) -> None:
    sizes = np.array([1.0, 1e-170, 0.0, 1e250])[:, None, None]
    f = np.ones((4, 17, 17)) * sizes
    sol = mgnet.solve(f, n=16, dim=2, method=method)
    one = mgnet.solve(1.0, n=16, dim=2).u
    for row, size in zip(sol.u, sizes.ravel(), strict=True):
        np.testing.assert_allclose(row, size * one, rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [1e8, 1e20, 1e30, 1e200])
@pytest.mark.parametrize("method", ["auto", "pcg", "vcycle", "fmg"])
def test_a_guess_that_is_far_away(method: str, size: float) -> None:
    """The answer is that without a guess."""
    x0 = size * np.random.default_rng(0).normal(size=(33, 33))
    sol = mgnet.solve(1.0, n=32, dim=2, method=method, x0=x0)
    exact = mgnet.solve(1.0, n=32, dim=2, method="direct").u
    assert np.abs(sol.u - exact).max() <= max(10 * sol.error_estimate, 1e-15)
    assert sol.error_estimate <= 1e-10


@pytest.mark.parametrize("length", [1e-90, 1e-13, 1e30])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kind", ["number", "cells"])
def test_very_small_and_very_large_boxes(kind: str, dim: int, length: float) -> None:
    """−Δ scales by the square of the length."""
    a = 1.0 if kind == "number" else np.random.default_rng(0).uniform(1, 2, (8,) * dim)
    one = mgnet.solve(1.0, n=8, dim=dim, a=a).u
    sol = mgnet.solve(1.0, n=8, dim=dim, a=a, domain=(0, length))
    np.testing.assert_allclose(sol.u / length / length, one, rtol=1e-9)
    for out in (1e-120, 1e120):
        with pytest.raises(ValueError, match="domain: got .*; accepted: "):
            mgnet.solve(1.0, n=8, dim=3, domain=(0, out))


@pytest.mark.parametrize("tol", [None, 1e-8])
def test_what_leaves_the_range_has_diverged(tol: float | None) -> None:
    for keywords in (
        {"f": 1e300, "n": 1, "left": FREE, "right": Robin(1e-20)},
        {"f": 1e60, "n": 10, "dtype": "float32", "refine": True},
        {"f": 1e30, "n": 10, "dtype": "float32", "a": 1e-20},
        {"f": 1e300, "n": 10, "dim": 2, "a": 1e-20},
    ):
        assert mgnet.solve(**keywords, tol=tol, throw=False).status is Status.DIVERGED


def test_nan_passes_no_comparison() -> None:
    outcome = mgnet.solver.iteration.Outcome(Status.CONVERGED)
    outcome.judge(torch.tensor([0.0, math.nan]), torch.tensor([1.0, 1.0]))
    assert (outcome.status, outcome.row) == (Status.DIVERGED, 1)


# Singular problems, refinement


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("method", ["fmg", "vcycle", "pcg", "auto"])
def test_the_mean_is_no_part_of_what_tol_refers_to(method: str, periodic: bool) -> None:
    """A load whose solution is small, and a guess or a start that is one large constant."""
    f = np.random.default_rng(0).normal(size=(32, 32) if periodic else (33, 33))
    keywords: dict[str, Any] = {"n": 32, "dim": 2, "periodic": periodic}
    if not periodic:
        keywords["boundary"] = FREE
        weights = np.ones(33)
        weights[[0, -1]] = 0.5
        f -= (f * np.outer(weights, weights)).sum() / 32**2
    else:
        f -= f.mean()
    exact = mgnet.solve(f, method="direct", **keywords).u
    for x0 in (None, np.full((33, 33), 1e6)):
        sol = mgnet.solve(f, method=method, tol=1e-3, x0=x0, **keywords)
        assert np.abs(sol.u - exact).max() <= 1e-2 * np.abs(exact).max()


@pytest.mark.parametrize("seed", range(8))
def test_refine_is_never_worse_than_nothing(seed: int) -> None:
    """Nodes graded down to 1e-12 beside cells of 0.1, a of 1 and 100."""
    rng = np.random.default_rng(seed)
    fine = np.sort(10 ** rng.uniform(-12, -3, 12))
    x = np.unique(np.concatenate(([0.0], fine, np.linspace(0.1, 1.0, 10))))
    a = np.where(rng.random(len(x) - 1) < 0.5, 1.0, 100.0)
    exact = mgnet.solve(1.0, nodes=x, a=a).u
    off = [
        np.abs(mgnet.solve(1.0, nodes=x, a=a, dtype="float32", refine=refine).u - exact).max()
        for refine in (False, True)
    ]
    assert off[1] <= max(off[0], 1e-7 * exact.max())


def test_cycles_in_float64_where_refinement_by_float32_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrections that lead away are taken back."""
    whole = Hierarchy.cycle

    def wrong(self: Hierarchy, r: torch.Tensor) -> torch.Tensor:
        return whole(self, r) * (3.0 if self.dtype == torch.float32 else 1.0)

    monkeypatch.setattr(Hierarchy, "cycle", wrong)
    sol = mgnet.solve(1.0, n=64, dtype="float32", refine=True)
    np.testing.assert_allclose(sol.u, sol.x * (1 - sol.x) / 2, atol=1e-7)


def test_a_matrix_that_scipy_finds_singular_has_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Factor is exactly singular")

    monkeypatch.setattr(spla, "splu", singular)
    assert mgnet.solve(1.0, n=8, dim=2, method="direct", throw=False).status is Status.DIVERGED
    assert issubclass(NonFiniteError, ArithmeticError)
