"""From the weak form to A and b, against loops over cells, exact polynomials and another quadrature."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.poisson import assembly

CPU = torch.device("cpu")
CONDITIONS: dict[str, dict[str, Any]] = {
    "dirichlet": {},
    "neumann": {"left": Neumann(2.0), "right": Neumann(-3.0)},
    "robin": {"left": Robin(2.0, 5.0), "right": Robin(0.5, -7.0)},
    "mixed": {"left": Dirichlet(4.0), "right": Robin(3.0, 1.0)},
    "periodic": {"periodic": True},
}
every_condition = pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)


def integrate(x: np.ndarray, integrand: Callable[[np.ndarray, int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Integrate over each cell by a rule of ten points."""
    t, w = np.polynomial.legendre.leggauss(10)
    t, w = (t + 1) / 2, w / 2
    return np.array(
        [(x[i + 1] - x[i]) * w @ integrand(x[i] + t * (x[i + 1] - x[i]), i, t) for i in range(len(x) - 1)]
    )


def as_function(
    values: Any, x: np.ndarray, cellwise: bool = False
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Give a coefficient at points of a cell, whichever form it has."""
    if callable(values):
        return lambda p, i: values(p)
    if np.ndim(values) == 0:
        return lambda p, i: values * np.ones_like(p)
    return lambda p, i: values[i] * np.ones_like(p) if cellwise else np.interp(p, x, values)


def matrix(x: np.ndarray, a: Any, c: Any, problem: Poisson, lumped: bool = False) -> np.ndarray:
    """Assemble the matrix of the unknowns, cell by cell."""
    a_at, c_at = as_function(a, x, cellwise=True), as_function(c, x)
    n = len(x) - 1
    A = np.zeros((n + 1, n + 1))
    h = np.diff(x)
    energy = integrate(x, lambda p, i, t: a_at(p, i)) / h**2
    hats = (lambda t: 1 - t, lambda t: t)
    for j, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
        mass = integrate(x, lambda p, i, t, j=j, k=k: c_at(p, i) * hats[j](t) * hats[k](t))
        if lumped:
            mass = (j == k) * h / 2 * np.array([c_at(x[i + j : i + j + 1], i)[0] for i in range(n)])
        for i in range(n):
            A[i + j, i + k] += energy[i] * (1 if j == k else -1) + mass[i]
    A[0, 0] += problem.robin[0]
    A[n, n] += problem.robin[1]
    return joined(joined(A, problem).T, problem)


def joined(b: np.ndarray, problem: Poisson) -> np.ndarray:
    """Keep the unknowns of what acts on all nodes (along the first axis)."""
    n = len(b) - 1
    if problem.periodic:
        b = b.copy()
        b[0] += b[n]
        return b[:n]
    return b[int(problem.ends[0] == "dirichlet") : n + 1 - int(problem.ends[1] == "dirichlet")]


def loads(x: np.ndarray, f: Any, problem: Poisson) -> np.ndarray:
    f_at = as_function(f, x)
    b = np.zeros(len(x))
    b[:-1] += integrate(x, lambda p, i, t: f_at(p, i) * (1 - t))
    b[1:] += integrate(x, lambda p, i, t: f_at(p, i) * t)
    for end, condition in ((0, problem.left), (-1, problem.right)):
        if not isinstance(condition, Dirichlet):
            b[end] += condition.g
    return joined(b, problem)


GRIDS: dict[str, dict[str, Any]] = {
    "uniform": {"n": 7, "domain": (-1.0, 2.0)},
    "one cell": {"n": 1, "domain": (2.0, 5.0)},
    "two cells": {"n": 2},
    "nodes": {"nodes": np.array([0.0, 0.1, 0.5, 0.6, 2.0, 3.5])},
}


@every_condition
@pytest.mark.parametrize("load", ["exact", "nodal"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(
    ("a", "c"),
    [
        (2.0, 0.0),
        (2.0, 3.0),
        (lambda x: 1 + x**2, 0.0),
        (lambda x: 1 + x**8, lambda x: 1 + x**6),
        ("cells", 0.0),
        ("cells", "nodes"),
        (1.5, "nodes"),
        (2.0, lambda x: x**2),
    ],
    ids=["a", "a c", "a(x)", "a(x) c(x)", "a[]", "a[] c[]", "c[]", "c(x)"],
)
def test_operator(grid: dict[str, Any], load: str, a: Any, c: Any, conditions: dict[str, Any]) -> None:
    n = mgnet.Poisson(**grid).n
    rng = np.random.default_rng(n)
    a = rng.uniform(0.1, 9, n) if a == "cells" else a
    c = rng.uniform(0, 9, n + 1) if c == "nodes" else c
    problem = Poisson(**grid, a=a, c=c, load=load, **conditions)
    expected = matrix(problem.grid.x, a, c, problem, load == "nodal")  # eq: mass-lumped
    for dtype, digits in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        A = assembly.operator(problem, dtype, CPU)
        size = problem.unknowns
        dense = A.to_dense(size).double().numpy() if size else np.zeros((0, 0))
        scale = np.abs(expected).max(initial=1.0)  # the largest polynomials here reach 1e6
        # eq: weak-form, system, conductance, varying
        np.testing.assert_allclose(dense, expected, rtol=0, atol=digits * scale)
        np.testing.assert_allclose(A.diagonal(size), np.diag(expected), rtol=0, atol=digits * scale)


@every_condition
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_load_of_a_function(grid: dict[str, Any], conditions: dict[str, Any]) -> None:
    for f in (lambda x: 1 - x + x**3, lambda x: np.cos(x / 4)):
        problem = Poisson(f, **grid, **conditions)
        b, *_ = load = assembly.load(problem, torch.float64, CPU)
        assert not load.speaks_torch
        # eq: load
        np.testing.assert_allclose(b, loads(problem.grid.x, f, problem), rtol=1e-13, atol=1e-12)


def power_load(x: Fraction, h: Fraction, degree: int, rising: bool) -> Fraction:
    """Integrate y**degree times a hat's half over the cell from x to x + h, exactly."""

    def moment(k: int) -> Fraction:
        return ((x + h) ** (k + 1) - x ** (k + 1)) / (k + 1)

    up = (moment(degree + 1) - x * moment(degree)) / h
    return up if rising else moment(degree) - up


@pytest.mark.parametrize("degree", range(11))
def test_the_documented_degree_is_integrated_exactly(degree: int) -> None:
    x = [Fraction(0), Fraction(1, 2), Fraction(5, 4), Fraction(2)]
    problem = Poisson(lambda y: y**degree, nodes=[float(v) for v in x], left=Neumann(), right=Neumann())
    b, *_ = assembly.load(problem, torch.float64, CPU)
    expected = [Fraction(0)] * 4
    for i in range(3):
        expected[i] += power_load(x[i], x[i + 1] - x[i], degree, False)
        expected[i + 1] += power_load(x[i], x[i + 1] - x[i], degree, True)
    error = max(abs(Fraction(v) - e) / max(expected) for v, e in zip(b.tolist(), expected, strict=True))
    assert (error < 3e-15) == (degree <= 8)  # of degree 9 with the hat the tenth power remains


@every_condition
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_load_of_nodal_values(grid: dict[str, Any], conditions: dict[str, Any]) -> None:
    n = Poisson(**grid).n
    f = np.random.default_rng(n).normal(size=(2, n + 1))
    problem = Poisson(f, **grid, load="exact", **conditions)
    x = problem.grid.x
    b, *_ = assembly.load(problem, torch.float64, CPU)
    expected = [loads(x, row, problem) for row in f]  # eq: load-consistent
    np.testing.assert_allclose(b, expected, rtol=0, atol=1e-14 * 9)
    # Lumped, the default for arrays: f at a node times the integral of its hat.
    ones = Poisson(1.0, **grid, **conditions)
    weights = np.zeros(n + 1)
    weights[:-1] += np.diff(x) / 2
    weights[1:] += np.diff(x) / 2
    flux = loads(x, 0.0, ones)
    for lumped in (Poisson(f, **grid, **conditions), Poisson(f, **grid, load="nodal", **conditions)):
        b, *_ = assembly.load(lumped, torch.float64, CPU)
        expected = [joined(weights * row, problem) + flux for row in f]  # eq: load-nodal
        np.testing.assert_allclose(b, expected, rtol=0, atol=1e-14 * 9)


def test_a_number_is_a_constant_function() -> None:
    for grid in GRIDS.values():
        for conditions in CONDITIONS.values():
            values = []
            for f in (3.0, lambda x: 3.0):
                for load in (None, "exact", "nodal"):
                    problem = Poisson(f, **grid, load=load, **conditions)
                    values.append(assembly.load(problem, torch.float64, CPU)[0].numpy())
            for value in values:
                np.testing.assert_allclose(value, loads(problem.grid.x, 3.0, problem), rtol=0, atol=1e-13)


def test_nodal_values_of_a_function() -> None:
    f = lambda x: np.exp(x)  # noqa: E731
    for grid in GRIDS.values():
        x = Poisson(**grid).grid.x
        one = assembly.load(Poisson(f, **grid, load="nodal", right=Neumann(1.0)), torch.float64, CPU)[0]
        two = assembly.load(Poisson(f(x), **grid, load="nodal", right=Neumann(1.0)), torch.float64, CPU)[0]
        np.testing.assert_allclose(one, two, rtol=1e-15)


def test_a_period_may_be_given_without_its_end() -> None:
    f = np.random.default_rng(0).normal(size=8)
    for load in ("nodal", "exact"):
        for grid in ({"n": 8}, {"nodes": np.cumsum(np.arange(1.0, 10))}):
            one = Poisson(f, **grid, load=load, periodic=True)
            two = Poisson(np.append(f, f[0]), **grid, load=load, periodic=True)
            b, expected = (assembly.load(problem, torch.float64, CPU)[0] for problem in (one, two))
            np.testing.assert_allclose(b, expected, rtol=0, atol=1e-15)
            np.testing.assert_allclose(b.sum(), expected.sum(), rtol=0, atol=1e-14)


def test_a_ready_load_is_handed_on() -> None:
    b = np.random.default_rng(0).normal(size=(2, 8))
    for conditions, flux in (
        ({"left": Neumann(2.0)}, [2.0] + [0.0] * 7),
        ({"right": Robin(1.0, -3.0)}, [0.0] * 7 + [-3.0]),
        ({"periodic": True}, [0.0] * 8),
    ):
        before = b.copy()
        load = assembly.load(Poisson(n=8, b=b, **conditions), torch.float64, CPU)[0]
        np.testing.assert_allclose(load, b + flux, rtol=0, atol=0)
        assert (b == before).all()


def test_a_load_and_its_f_give_the_same() -> None:
    problem = Poisson(lambda x: np.sin(3 * x), n=20, left=Robin(2.0, 5.0), right=Dirichlet(1.0))
    bare = Poisson(lambda x: np.sin(3 * x), n=20, left=Robin(2.0, 0.0), right=Dirichlet(1.0))
    b = assembly.load(bare, torch.float64, CPU)[0].numpy()
    one = mgnet.solve(problem.f, 20, left=problem.left, right=problem.right).u
    two = mgnet.solve(b=b, n=20, left=problem.left, right=problem.right).u
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)
    # A hierarchy takes the load as it is: there the flux is the caller's affair.
    b[0] += 5.0
    three = mgnet.Hierarchy(problem).solve(b).u
    np.testing.assert_allclose(three, one, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2**16 - 1, 2**16, 2**16 + 1, 2**17 + 3])
def test_many_cells_are_worked_on_in_parts(n: int) -> None:
    """Long problems are assembled a stretch at a time; a stretch's end is a node like others."""
    a, c, f = (lambda x: 1 + x, lambda x: 2 - x, lambda x: 1 + x**2)
    problem = Poisson(f, n=n, a=a, c=c, right=Neumann(0.0))
    A = assembly.operator(problem, torch.float64, CPU)
    x, h = problem.grid.x, 1 / n
    middle = (x[:-1] + x[1:]) / 2
    # Integrals of polynomials, in closed form.
    np.testing.assert_allclose(A.k, a(middle) / h - h / 6 * c(middle), rtol=1e-12)
    s = np.zeros(n + 1)
    s[:-1] += h / 2 * (2 - (x[:-1] + h / 3))
    s[1:] += h / 2 * (2 - (x[1:] - h / 3))
    np.testing.assert_allclose(A.s, s, rtol=1e-12)
    b = np.zeros(n + 1)
    b[:-1] += h / 2 + h * (x[:-1] ** 2 / 2 + x[:-1] * h / 3 + h**2 / 12)
    b[1:] += h / 2 + h * (x[1:] ** 2 / 2 - x[1:] * h / 3 + h**2 / 12)
    np.testing.assert_allclose(assembly.load(problem, torch.float64, CPU)[0], b[1:], rtol=1e-12)


def test_functions_see_float64_points_inside_the_cells() -> None:
    seen = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return x

    mgnet.solve(f, nodes=[0, 1, 3], dtype=torch.float32)
    (x,) = seen
    assert x.dtype == np.float64
    assert x.shape == (10,)
    assert ((x[:5] > 0) & (x[:5] < 1)).all()
    assert ((x[5:] > 1) & (x[5:] < 3)).all()
    seen.clear()
    mgnet.solve(f, nodes=[0, 1, 3], load="nodal")
    assert seen[0].tolist() == [0, 1, 3]


def test_a_function_may_change_its_argument() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x

    for load in ("exact", "nodal"):
        sol = mgnet.solve(f, 8, load=load)
        assert (sol.x == np.linspace(0, 1, 9)).all()
        np.testing.assert_allclose(sol.u, mgnet.solve(lambda x: 2 * x, 8, load=load).u, rtol=1e-14)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_rows_of_a_batch_are_independent(n: int, seed: int, function: bool) -> None:
    rows = np.random.default_rng(seed).normal(size=(2, 3, n + 1))
    if function:
        phases = rows[..., 0]
        f = lambda x: np.sin(x + phases[..., None])  # noqa: E731
        problem = Poisson(f, n=n, right=Neumann(1.0))
    else:
        problem = Poisson(rows, n=n, right=Neumann(1.0))
    b = assembly.load(problem, torch.float64, CPU)[0]
    assert b.shape == (2, 3, n)
    for index in np.ndindex(2, 3):
        one = (lambda x, p=rows[*index, 0]: np.sin(x + p)) if function else rows[index]
        alone = assembly.load(Poisson(one, n=n, right=Neumann(1.0)), torch.float64, CPU)[0]
        np.testing.assert_allclose(b[index], alone, rtol=0, atol=1e-15)


def test_torch_functions() -> None:
    """A function that takes tensors only is called with tensors, and its solution speaks torch."""
    for f in (torch.sin, lambda x: x.sin().exp(), lambda x: torch.stack((x, x.cos()))):
        problem = Poisson(f, n=8)
        b, _, _, _, speaks_torch, *_ = assembly.load(problem, torch.float64, CPU)
        assert speaks_torch
        expected = f(torch.linspace(0, 1, 9, dtype=torch.float64))
        assert b.shape == (*expected.shape[:-1], 7)
        sol = mgnet.solve(f, 8)
        assert isinstance(sol.u, torch.Tensor)
        reference = mgnet.solve(lambda x, f=f: f(torch.from_numpy(x)).numpy(), 8)
        assert isinstance(reference.u, np.ndarray)
        assert (sol.u.numpy() == reference.u).all()
    a = mgnet.solve(1.0, 8, a=lambda x: torch.exp(x)).u
    np.testing.assert_allclose(np.asarray(a), mgnet.solve(1.0, 8, a=np.exp).u, rtol=1e-15)
