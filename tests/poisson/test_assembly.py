"""From the weak form to A and b, against loops over cells, exact polynomials and another quadrature."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.operators.cells import CellStiffness
from mgnet.operators.stiffness import Stiffness
from mgnet.poisson import assembly, quadrature
from mgnet.poisson.boundary import boundary_values, side_values

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
        dense = A.to_dense().double().numpy() if problem.unknowns else np.zeros((0, 0))
        scale = np.abs(expected).max(initial=1.0)  # the largest polynomials here reach 1e6
        # eq: weak-form, system, conductance, varying
        np.testing.assert_allclose(dense, expected, rtol=0, atol=digits * scale)
        np.testing.assert_allclose(
            A.diagonal().expand(problem.shape), np.diag(expected), rtol=0, atol=digits * scale
        )


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


def test_values_at_the_ends() -> None:
    """Those of Dirichlet ends, and none where all are zero."""
    for ends, expected in (
        ({}, None),
        ({"left": Dirichlet(2.0)}, [2, 0, 0, 0]),
        ({"left": Dirichlet(2.0), "right": Dirichlet(-3.0)}, [2, 0, 0, -3]),
        ({"left": Neumann(2.0), "right": Dirichlet(torch.tensor(5.0))}, [0, 0, 0, 5]),
        ({"left": Robin(1.0, 2.0), "right": Neumann(3.0)}, None),
        ({"periodic": True}, None),
    ):
        problem = Poisson(n=3, **ends)
        sides = side_values(problem, torch.float32, CPU)
        found = boundary_values(problem, torch.float32, CPU)
        if expected is None:
            assert (sides, found) == ([], None)
            continue
        assert found.tolist() == expected
        assert all(axis == 0 and value.dtype == torch.float32 for axis, _, value in sides)
        assert all(value == expected[end] for _, end, value in sides)
        assert len(sides) == [problem.ends[0], problem.ends[1]].count("dirichlet")


# In a box.


DOMAIN = ((-0.5, 1.0), (0.25, 0.75), (1.0, 3.0))
CELLS = (3, 2, 4)
SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
FREE = Neumann()
every_dim = pytest.mark.parametrize("dim", [2, 3])


def problem(f: Any = None, dim: int = 2, **keywords: Any) -> Any:
    """Nothing held, unless said otherwise: the unknowns are the nodes."""
    keywords = {"n": CELLS[:dim], "domain": DOMAIN[:dim], "boundary": FREE} | keywords
    return Poisson(f, dim=dim, **keywords)


def load_of(box: Any, dtype: torch.dtype = torch.float64) -> np.ndarray:
    return assembly.load(box, dtype, CPU).b.numpy()


# Oracle: ∫ xᵖ against each hat of an axis, in closed form.


def against_hats(axis: int, power: int) -> np.ndarray:
    (low, high), n = DOMAIN[axis], CELLS[axis]
    x, found = np.linspace(low, high, n + 1), np.zeros(n + 1)
    one = np.polynomial.Polynomial([0.0] * power + [1.0])
    for i in range(n):
        h = x[i + 1] - x[i]
        rising = np.polynomial.Polynomial([-x[i], 1.0]) / h
        for node, hat in ((i, 1 - rising), (i + 1, rising)):
            integral = (one * hat).integ()
            found[node] += integral(x[i + 1]) - integral(x[i])
    return found


def outer(*vectors: np.ndarray) -> np.ndarray:
    return reduce(np.multiply.outer, vectors)


def axis_nodes(axis: int) -> np.ndarray:
    return np.linspace(*DOMAIN[axis], CELLS[axis] + 1)


# f.


@every_dim
@pytest.mark.parametrize("power", range(5))
def test_loads_of_polynomials_are_exact(power: int, dim: int) -> None:
    """To degree 4 along each axis, as documented; degree 6 is not."""
    powers = [(power, 4 - power, 2)[i] for i in range(dim)]
    f = lambda *x: math.prod(axis**p for axis, p in zip(x, powers, strict=True))  # noqa: E731
    expected = outer(*(against_hats(i, p) for i, p in enumerate(powers)))
    np.testing.assert_allclose(load_of(problem(f, dim)), expected, rtol=1e-13, atol=1e-14)  # eq: load-box
    single = load_of(problem(f, dim), torch.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-6)


def test_the_degree_of_the_quadrature() -> None:
    errors = []
    for power in (4, 5, 8):
        load = load_of(problem(lambda x, y, power=power: x**power + 0 * y))
        expected = outer(against_hats(0, power), against_hats(1, 0))
        errors.append(np.abs(load - expected).max() / np.abs(expected).max())
    assert errors[0] < 1e-14
    assert errors[2] > 1e-8  # three points are not ten


@every_dim
def test_a_constant_f(dim: int) -> None:
    expected = 3 * outer(*(against_hats(i, 0) for i in range(dim)))
    constants = (
        3,
        3.0,
        np.float32(3),
        np.array(3.0),
        torch.tensor(3),
        lambda *x: 3,
        lambda *x: 0 * sum(x) + 3,
    )
    for f, load in itertools.product(constants, ("exact", "nodal")):
        np.testing.assert_allclose(load_of(problem(f, dim, load=load)), expected, rtol=1e-14)
    np.testing.assert_array_equal(load_of(problem(None, dim)), 0)


@every_dim
def test_nodal_values(dim: int) -> None:
    """Lumped by default; load="exact" integrates the multilinear function through them."""
    rng = np.random.default_rng(0)
    f = rng.normal(size=[n + 1 for n in CELLS[:dim]])
    lumped = f * outer(*(against_hats(i, 0) for i in range(dim)))
    masses = []
    for i in range(dim):
        h, n = (DOMAIN[i][1] - DOMAIN[i][0]) / CELLS[i], CELLS[i]
        M = np.zeros((n + 1, n + 1))
        for k in range(n):
            M[k : k + 2, k : k + 2] += h / 6 * np.array([[2, 1], [1, 2]])
        masses.append(M)
    consistent = (reduce(np.kron, masses) @ f.ravel()).reshape(f.shape)
    for each in (f, torch.tensor(f), f.tolist(), np.asfortranarray(f)):
        np.testing.assert_allclose(load_of(problem(each, dim)), lumped, rtol=1e-13)
        np.testing.assert_allclose(load_of(problem(each, dim, load="nodal")), lumped, rtol=1e-13)
        np.testing.assert_allclose(
            load_of(problem(each, dim, load="exact")), consistent, rtol=1e-12, atol=1e-14
        )
    g = lambda *x: np.exp(sum(x))  # noqa: E731
    at_nodes = g(*np.ix_(*(axis_nodes(i) for i in range(dim))))
    np.testing.assert_allclose(
        load_of(problem(g, dim, load="nodal")), load_of(problem(at_nodes, dim)), rtol=1e-13
    )


@every_dim
def test_batches_of_loads(dim: int) -> None:
    rng = np.random.default_rng(0)
    f = rng.normal(size=(2, 3, *(n + 1 for n in CELLS[:dim])))
    for load in ("nodal", "exact"):
        many = load_of(problem(f, dim, load=load))
        for index in np.ndindex(2, 3):
            np.testing.assert_allclose(many[index], load_of(problem(f[index], dim, load=load)), rtol=1e-14)
    scale = np.arange(1.0, 4).reshape(3, *[1] * dim)
    many = load_of(problem(lambda *x: scale * np.exp(sum(x)), dim))
    one = load_of(problem(lambda *x: np.exp(sum(x)), dim))
    np.testing.assert_allclose(many, scale * one, rtol=1e-13)


@every_dim
def test_functions_of_either_kind(dim: int) -> None:
    """NumPy's and torch's; along a coordinate that it does not depend on a function may return one value."""
    expected = load_of(problem(lambda *x: np.sin(x[0]) + 0 * sum(x), dim))
    for f in (lambda *x: np.sin(x[0]), lambda *x: torch.sin(x[0]), lambda *x: torch.sin(x[0]) + 0 * sum(x)):
        found = assembly.load(problem(f, dim), torch.float64, CPU)
        np.testing.assert_allclose(found.b, expected, rtol=1e-14)
    assert found.speaks_torch
    assert not assembly.load(problem(lambda *x: np.sin(x[0]), dim), torch.float64, CPU).speaks_torch


@every_dim
def test_a_function_gets_broadcastable_coordinates(dim: int) -> None:
    shapes = []

    def f(*x: np.ndarray) -> np.ndarray:
        shapes.append([axis.shape for axis in x])
        for axis, (low, high) in zip(x, DOMAIN, strict=False):
            assert axis.dtype == np.float64
            assert low < axis.min() <= axis.max() < high
        return sum(x)

    load_of(problem(f, dim))
    for i, shape in enumerate(shapes[0]):
        assert shape == tuple(3 * CELLS[k] if k == i else 1 for k in range(dim))


def test_long_boxes_are_integrated_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    f = lambda x, y: np.exp(x) * np.sin(9 * y) * np.ones((2, 1, 1))  # noqa: E731
    a = lambda x, y: 1 + x * y  # noqa: E731
    n = (50, 7)
    whole = assembly.load(problem(f, n=n, a=a), torch.float64, CPU)
    cells = assembly.operator(problem(f, n=n, a=a), torch.float64, CPU).a
    monkeypatch.setattr(quadrature, "MOST", 9 * 7 * 4)
    parts = assembly.load(problem(f, n=n, a=a), torch.float64, CPU)
    np.testing.assert_allclose(parts.b, whole.b, rtol=1e-13)
    assert parts.size == pytest.approx(whole.size, rel=1e-13)
    np.testing.assert_allclose(
        assembly.operator(problem(f, n=n, a=a), torch.float64, CPU).a, cells, rtol=1e-14
    )


@every_dim
def test_the_size_of_a_load_that_cancels(dim: int) -> None:
    """∫ |f| of each row."""
    f = lambda *x: (x[0] - 0.25) * np.array([1.0, -2.0]).reshape(-1, *[1] * dim)  # noqa: E731
    found = assembly.load(problem(f, dim, n=(4, *CELLS[1:dim])), torch.float64, CPU)
    volume = math.prod(high - low for low, high in DOMAIN[1:dim])
    np.testing.assert_allclose(found.size, [0.75**2 * volume, 2 * 0.75**2 * volume], rtol=1e-12)


# Which unknowns there are.


@every_dim
def test_loads_of_the_unknowns(dim: int) -> None:
    """Held nodes are left out, joined ones added up."""
    f = np.random.default_rng(0).normal(size=[n + 1 for n in CELLS[:dim]])
    free = load_of(problem(f, dim))
    held = load_of(problem(f, dim, boundary=dict.fromkeys(("right", "bottom", "front")[:dim], FREE)))
    where = (slice(1, None), slice(None, -1), slice(1, None))[:dim]
    np.testing.assert_array_equal(held, free[where])
    joined = load_of(problem(f, dim, boundary=FREE, periodic=(True, False, False)[:dim]))
    np.testing.assert_allclose(joined[0], free[0] + free[-1], rtol=1e-14)
    np.testing.assert_array_equal(joined[1:], free[1:-1])


@every_dim
def test_joined_axes_take_each_node_once_or_twice(dim: int) -> None:
    shape = CELLS[:dim]
    rng = np.random.default_rng(0)
    once = rng.normal(size=(2, *shape))
    whole = np.pad(once, [(0, 0)] + [(0, 1)] * dim, mode="wrap")
    for load in ("nodal", "exact"):
        keywords = {"dim": dim, "periodic": True, "boundary": None, "load": load}
        np.testing.assert_array_equal(load_of(problem(once, **keywords)), load_of(problem(whole, **keywords)))
    # One axis joined only.
    part = rng.normal(size=(shape[0], *(n + 1 for n in shape[1:])))
    keywords = {"dim": dim, "periodic": (True, False, False)[:dim]}
    both = np.concatenate((part, part[:1]))
    np.testing.assert_array_equal(load_of(problem(part, **keywords)), load_of(problem(both, **keywords)))
    with pytest.raises(ValueError, match="f: got shape"):
        problem(both[..., :-1], dim, periodic=(True, False, False)[:dim])


@every_dim
def test_a_ready_load_is_handed_on_in_a_box(dim: int) -> None:
    b = np.random.default_rng(0).normal(size=(2, *(n + 1 for n in CELLS[:dim])))
    box = problem(None, dim, b=b)
    found = assembly.load(box, torch.float64, CPU)
    assert found.b.data_ptr() == box.b.data_ptr()
    np.testing.assert_array_equal(found.b, b)
    # Fluxes are added, and not to the array that was given.
    before = b.copy()
    fluxes = load_of(
        problem(None, dim, boundary={"left": Neumann(2.0), **dict.fromkeys(names(dim)[1:], FREE)})
    )
    with_flux = load_of(
        problem(None, dim, b=b, boundary={"left": Neumann(2.0), **dict.fromkeys(names(dim)[1:], FREE)})
    )
    np.testing.assert_allclose(with_flux, b + fluxes, rtol=1e-14)
    np.testing.assert_array_equal(b, before)


def names(dim: int) -> list[str]:
    return [name for pair in SIDES[:dim] for name in pair]


# Fluxes.


def side_cases(dim: int) -> list[tuple[str, int, int]]:
    return [(SIDES[axis][end], axis, end) for axis in range(dim) for end in (0, 1)]


@every_dim
@pytest.mark.parametrize("kind", [Neumann, lambda g: Robin(2.0, g)], ids=["neumann", "robin"])
def test_fluxes(kind: Any, dim: int) -> None:
    """g against the hats of the side: exactly for polynomials, as numbers, functions and nodal values."""
    for name, axis, end in side_cases(dim):
        others = [i for i in range(dim) if i != axis]
        powers = dict(zip(others, (3, 2), strict=False))
        value = DOMAIN[axis][end] ** 2

        def g(*x: Any, powers: dict[int, int] = powers, axis: int = axis) -> Any:
            return x[axis] ** 2 * math.prod(x[i] ** p for i, p in powers.items())

        weights = {p: [against_hats(i, powers[i] if p else 0) for i in others] for p in (0, 1)}
        where = tuple(slice(None) if i != axis else -end for i in range(dim))

        def at_side(values: Any, where: Any = where) -> np.ndarray:
            expected = np.zeros([n + 1 for n in CELLS[:dim]])
            expected[where] = values
            return expected

        rest = {other: FREE for other in names(dim) if other != name}
        found = load_of(problem(None, dim, boundary={name: kind(g), **rest}, load="exact"))
        np.testing.assert_allclose(found, at_side(value * outer(*weights[1])), rtol=1e-12, atol=1e-14)
        for number in (-2, np.float32(-2), lambda *x: -2.0):
            for load in ("nodal", "exact"):
                found = load_of(problem(None, dim, boundary={name: kind(number), **rest}, load=load))
                np.testing.assert_allclose(found, at_side(-2 * outer(*weights[0])), rtol=1e-13, atol=1e-15)
        nodes = np.ix_(*(axis_nodes(i) for i in range(dim)))
        whole = np.broadcast_to(g(*nodes), [n + 1 for n in CELLS[:dim]])
        lumped = at_side(whole[where] * outer(*weights[0]))
        on_side = [whole[where], torch.tensor(whole[where]), whole[where].tolist()]
        if axis:  # else a batch of data for the side would have this shape too
            on_side += [whole, torch.tensor(whole)]
        else:
            with pytest.raises(ValueError, match=rf"^{name}: .* g: got shape .* whole box and a batch"):
                problem(None, dim, boundary={name: kind(whole), **rest})
        for each in on_side:
            found = load_of(problem(None, dim, boundary={name: kind(each), **rest}))
            np.testing.assert_allclose(found, lumped, rtol=1e-12, atol=1e-14)
        found = load_of(problem(None, dim, boundary={name: kind(g), **rest}, load="nodal"))
        np.testing.assert_allclose(found, lumped, rtol=1e-12, atol=1e-14)
        # The function through nodal values, integrated.
        found = load_of(problem(None, dim, boundary={name: kind(whole[where]), **rest}, load="exact"))
        assert found.sum() == pytest.approx(lumped.sum(), rel=1e-12)


@every_dim
def test_fluxes_of_several_sides_add_up(dim: int) -> None:
    given = {name: Neumann(float(i + 1)) for i, name in enumerate(names(dim))}
    total = load_of(problem(1.0, dim, boundary=given))
    parts = [
        load_of(problem(None, dim, boundary={**dict.fromkeys(names(dim), FREE), name: side}))
        for name, side in given.items()
    ]
    np.testing.assert_allclose(total, load_of(problem(1.0, dim)) + sum(parts), rtol=1e-13)


def test_data_that_depend_on_one_coordinate_only() -> None:
    """Also on the sides where that coordinate is one number."""
    for dim, i in ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2)):
        g = lambda *x, i=i: x[i] ** 2  # noqa: E731
        whole = np.broadcast_to(
            g(*np.ix_(*(axis_nodes(k) for k in range(dim)))), [n + 1 for n in CELLS[:dim]]
        )
        for f in (g, lambda *x, g=g: torch.as_tensor(g(*x))):
            found = boundary_values(problem(0.0, dim, boundary=Dirichlet(f)), torch.float64, CPU)
            expected = boundary_values(problem(0.0, dim, boundary=Dirichlet(whole)), torch.float64, CPU)
            torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
        # ∫ g over each side, with load="exact": the trapezoidal rule would miss it.
        found = load_of(problem(None, dim, boundary=Neumann(g), load="exact")).sum()
        lengths = [high - low for low, high in DOMAIN[:dim]]
        low, high = DOMAIN[i]
        inner = (high**3 - low**3) / 3 / lengths[i]
        expected_sum = sum(
            math.prod(lengths) / lengths[axis] * (DOMAIN[axis][end] ** 2 if axis == i else inner)
            for axis in range(dim)
            for end in (0, 1)
        )
        assert found == pytest.approx(expected_sum, rel=1e-12)
    rows = np.arange(1.0, 4).reshape(3, 1, 1)
    found = boundary_values(problem(0.0, boundary=Dirichlet(lambda x, y: rows * x)), torch.float64, CPU)
    assert found.shape == (3, 4, 3)
    assert found[:, -1].tolist() == [[r] * 3 for r in (1.0, 2.0, 3.0)]


# Boundary values.


@every_dim
def test_boundary_values(dim: int) -> None:
    shape = tuple(n + 1 for n in CELLS[:dim])
    nodes = np.ix_(*(axis_nodes(i) for i in range(dim)))
    g = lambda *x: np.exp(sum(x))  # noqa: E731
    whole = np.broadcast_to(g(*nodes), shape)
    inside = np.zeros(shape, dtype=bool)
    inside[(slice(1, -1),) * dim] = True
    for each in (g, whole, torch.tensor(whole)):
        found = boundary_values(problem(0.0, dim, boundary=Dirichlet(each)), torch.float64, CPU)
        np.testing.assert_allclose(found, np.where(inside, 0, whole), rtol=1e-14)
    for name, axis, end in side_cases(dim):
        where = tuple(slice(None) if i != axis else -end for i in range(dim))
        expected = np.zeros(shape)
        expected[where] = whole[where]
        for each in (g, whole[where], *([whole] if axis else [])):  # see test_fluxes
            box = problem(0.0, dim, boundary={name: Dirichlet(each)})
            found = boundary_values(box, torch.float64, CPU)
            # The others are Dirichlet(0) and share its edges: the later side counts.
            later = [
                other for other in side_cases(dim) if names(dim).index(other[0]) > names(dim).index(name)
            ]
            clipped = expected.copy()
            for _, k, low in later:
                clipped[tuple(slice(None) if i != k else -low for i in range(dim))] = 0
            np.testing.assert_allclose(found, clipped, rtol=1e-14)


def test_shared_edges_belong_to_the_later_side() -> None:
    sides = {name: Dirichlet(float(i + 1)) for i, name in enumerate(names(2))}
    u = boundary_values(problem(0.0, boundary=sides), torch.float64, CPU)
    assert u.tolist() == [[3, 1, 4], [3, 0, 4], [3, 0, 4], [3, 2, 4]]
    # An edge with a natural side belongs to the Dirichlet one.
    u = boundary_values(problem(0.0, boundary={**sides, "top": Neumann(1.0)}), torch.float64, CPU)
    assert u.tolist() == [[3, 1, 1], [3, 0, 0], [3, 0, 0], [3, 2, 2]]


@every_dim
def test_no_boundary_values(dim: int) -> None:
    for keywords in (
        {},
        {"boundary": Dirichlet()},
        {"boundary": Robin(1.0, 3.0)},
        {"boundary": None, "periodic": True},
    ):
        box = problem(0.0, dim, **keywords)
        assert boundary_values(box, torch.float64, CPU) is None
    zero = problem(0.0, dim, boundary=Dirichlet(lambda *x: 0.0))
    assert not boundary_values(zero, torch.float64, CPU).any()


@every_dim
def test_batches_of_boundary_values(dim: int) -> None:
    rng = np.random.default_rng(0)
    shape = tuple(n + 1 for n in CELLS[:dim])
    g = rng.normal(size=(6, *shape))  # 4 rows of a side would be taken for values on the whole box
    found = boundary_values(problem(0.0, dim, boundary=Dirichlet(g)), torch.float32, CPU)
    assert found.shape == g.shape
    assert found.dtype == torch.float32
    for row in range(6):
        one = boundary_values(problem(0.0, dim, boundary=Dirichlet(g[row])), torch.float32, CPU)
        assert torch.equal(found[row], one)
    # One side with a batch, another one without.
    sides = {"left": Dirichlet(g[:, 0]), "right": Dirichlet(5.0)}
    found = boundary_values(problem(0.0, dim, boundary=sides), torch.float64, CPU)
    assert found.shape == g.shape
    middle = tuple(n // 2 for n in shape[1:])
    assert found[(slice(None), -1, *middle)].tolist() == [5.0] * 6
    np.testing.assert_array_equal(found[(slice(None), 0, *middle)], g[(slice(None), 0, *middle)])


# Operators.


@every_dim
def test_which_operator_it_is(dim: int) -> None:
    cells = np.random.default_rng(0).uniform(1, 2, CELLS[:dim])
    assert isinstance(assembly.operator(problem(a=2.0, c=1.0, dim=dim), torch.float64, CPU), Stiffness)
    for keywords in ({"a": cells}, {"c": lambda *x: x[0] + 1}, {"a": lambda *x: 1.0 + 0 * sum(x)}):
        A = assembly.operator(problem(dim=dim, **keywords), torch.float32, CPU)
        assert isinstance(A, CellStiffness)
        assert A.a.dtype == torch.float32
        assert tuple(A.a.shape) == CELLS[:dim]


@every_dim
def test_a_is_averaged_over_cells(dim: int) -> None:
    """Functions by Gauss points: exactly for polynomials of degree 5."""
    powers = (5, 3, 4)[:dim]
    f = lambda *x: 1.1 + math.prod(axis**p for axis, p in zip(x, powers, strict=True))  # noqa: E731
    means = []
    for i, p in enumerate(powers):
        x = axis_nodes(i)
        means.append(np.diff(x ** (p + 1)) / (p + 1) / np.diff(x))
    A = assembly.operator(problem(a=f, dim=dim), torch.float64, CPU)
    np.testing.assert_allclose(A.a, 1.1 + outer(*means), rtol=1e-13)
    A = assembly.operator(problem(c=np.ones([n + 1 for n in CELLS[:dim]]), dim=dim), torch.float64, CPU)
    assert bool((A.a == 1).all())


def weighted_mass(axis: int, power: int) -> np.ndarray:
    """∫ xᵖ times two hats of an axis, in closed form."""
    (low, high), n = DOMAIN[axis], CELLS[axis]
    x, M = np.linspace(low, high, n + 1), np.zeros((n + 1, n + 1))
    one = np.polynomial.Polynomial([0.0] * power + [1.0])
    for i in range(n):
        rising = np.polynomial.Polynomial([-x[i], 1.0]) / (x[i + 1] - x[i])
        hats = (1 - rising, rising)
        for j, k in itertools.product((0, 1), repeat=2):
            integral = (one * hats[j] * hats[k]).integ()
            M[i + j, i + k] += integral(x[i + 1]) - integral(x[i])
    return M


def of_c(dim: int, **keywords: Any) -> np.ndarray:
    """What c adds to the matrix between all nodes."""
    box = problem(dim=dim, a=np.ones(CELLS[:dim]), **keywords)
    bare = problem(dim=dim, a=np.ones(CELLS[:dim]))
    one, other = (assembly.operator(b, torch.float64, CPU).to_dense().numpy() for b in (box, bare))
    return one - other


@every_dim
def test_c_is_integrated_against_products_of_hats(dim: int) -> None:
    """Functions by Gauss points, exactly to degree 3; nodal values as the function that is linear between."""
    powers = (3, 2, 1)[:dim]
    c = lambda *x: math.prod((axis + 1) ** p for axis, p in zip(x, powers, strict=True))  # noqa: E731
    masses = []
    for i, p in enumerate(powers):
        binomial = [math.comb(p, k) * weighted_mass(i, k) for k in range(p + 1)]
        masses.append(sum(binomial))
    # eq: mass-box
    np.testing.assert_allclose(of_c(dim, c=c), reduce(np.kron, masses), rtol=0, atol=1e-13)
    bilinear = lambda *x: math.prod(1 + (i + 1) * (x[i] + 0.5) for i in range(dim))  # noqa: E731
    nodal = bilinear(*np.ix_(*(axis_nodes(i) for i in range(dim))))
    found = of_c(dim, c=np.broadcast_to(nodal, [n + 1 for n in CELLS[:dim]]))
    np.testing.assert_allclose(found, of_c(dim, c=bilinear), rtol=0, atol=1e-13)
    unit = reduce(np.kron, [weighted_mass(i, 0) for i in range(dim)])
    np.testing.assert_allclose(of_c(dim, c=2.5), 2.5 * unit, rtol=0, atol=1e-13)
    # Rows sum to the integrals that the load has, also of nodal values of any size.
    rough = 10.0 ** np.random.default_rng(0).uniform(-3, 3, [n + 1 for n in CELLS[:dim]])
    found = of_c(dim, c=rough).sum(1).reshape(rough.shape)
    np.testing.assert_allclose(found, load_of(problem(rough, dim, load="exact")), rtol=1e-12, atol=1e-12)


@every_dim
def test_a_lumped_c_is_a_diagonal(dim: int) -> None:
    nodes = [n + 1 for n in CELLS[:dim]]
    weights = outer(*(against_hats(i, 0) for i in range(dim)))
    rough = np.random.default_rng(0).uniform(0, 1, nodes)
    function = lambda *x: np.exp(sum(x))  # noqa: E731
    values = function(*np.ix_(*(axis_nodes(i) for i in range(dim))))
    for c, at_nodes in ((2.5, np.full(nodes, 2.5)), (rough, rough), (function, values)):
        for keywords in ({"load": "nodal"}, {"f": np.ones(nodes)}, {"f": np.sum, "load": "nodal"}):
            expected = np.diag((weights * at_nodes).ravel())
            np.testing.assert_allclose(of_c(dim, c=c, **keywords), expected, rtol=0, atol=1e-13)


def test_a_large_c_is_integrated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some cells of the first axis come after others, whose nodes they share."""
    nodal = np.random.default_rng(0).uniform(0, 1, (31, 18))
    for c in (nodal, lambda x, y: x**2 + y):
        box = Poisson(n=(30, 17), dim=2, c=c, boundary=FREE)
        expected = assembly.operator(box, torch.float64, CPU).to_dense()
        with monkeypatch.context() as patch:
            patch.setattr(quadrature, "MOST", 3 * 3 * 3 * 17)
            found = assembly.operator(box, torch.float64, CPU).to_dense()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@every_dim
def test_robin_sides_enter_the_operator(dim: int) -> None:
    """uᵀ A u for u = 1 is α times the area, whatever a is."""
    area = math.prod(high - low for low, high in DOMAIN[1:dim])
    for a in (1.0, 7.0, np.full(CELLS[:dim], 7.0)):
        sides = {"left": Robin(3.0), "right": Robin(0.5)} | dict.fromkeys(names(dim)[2:], FREE)
        A = assembly.operator(problem(a=a, boundary=sides, dim=dim), torch.float64, CPU)
        one = torch.ones(1, 1, *(n + 1 for n in CELLS[:dim]), dtype=torch.float64)
        assert float(A(one).sum()) == pytest.approx(3.5 * area, rel=1e-12)
        assert float(A(one)[0, 0, 0].sum()) == pytest.approx(3 * area, rel=1e-12)


def test_whole_solutions_from_every_kind_of_side_data() -> None:
    """u = x² − y² solves Laplace's equation; bilinear functions are found exactly."""
    n = 6
    x = np.linspace(0, 1, n + 1)
    exact = 1 + 2 * x[:, None] - 3 * x + x[:, None] * x
    u = lambda x, y: 1 + 2 * x - 3 * y + x * y  # noqa: E731
    sides = [
        {
            "left": Dirichlet(u),
            "right": Neumann(lambda x, y: 2 + y),
            "bottom": Dirichlet(u),
            "top": Dirichlet(exact[:, -1]),
        },
        {
            "left": Robin(2.0, lambda x, y: -2 - y + 2 * u(x, y)),
            "right": Dirichlet(exact[-1]),
            "bottom": Dirichlet(exact[:, 0]),
            "top": Neumann(lambda x, y: -3 + x),
        },
        {
            "left": Dirichlet(u),
            "right": Dirichlet(u),
            "bottom": Robin(1.0, lambda x, y: 3 - x + u(x, y)),
            "top": Robin(0.5, lambda x, y: -3 + x + u(x, y) / 2),
        },
    ]
    for boundary in sides:
        sol = mgnet.solve(0.0, n, dim=2, boundary=boundary, load="exact", method="direct")
        np.testing.assert_allclose(sol.u, exact, rtol=0, atol=1e-12)  # eq: weak-form-box
