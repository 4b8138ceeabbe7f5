"""How accurate it is: nodal errors, solutions known in the discrete sense, orders of convergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Robin


def sine(x: Any) -> Any:
    return np.pi**2 * np.sin(np.pi * x)


def nodal_error(n: int, **keywords: Any) -> float:
    """The largest error of −u″ = π² sin πx at the nodes, where the finite-element solution is exact."""
    sol = mgnet.solve(sine, n, **keywords)
    assert sol.status is mgnet.Status.CONVERGED
    return float(np.abs(sol.u - np.sin(np.pi * sol.x)).max())


def lapack(k: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve with LAPACK's banded Cholesky for the conductances of the cells; Dirichlet at the left."""
    bands = np.zeros((2, len(b)), dtype=b.dtype)
    bands[1] = k[: len(b)] + np.append(k[1:], 0)[: len(b)]
    bands[0, 1:] = -k[1 : len(b)]
    return scipy.linalg.solveh_banded(bands, b)


# −u″ = π² sin πx.


@pytest.mark.parametrize("n", [1, 2, 3, 31, 1009, 10**6 + 3, 2**20])
def test_nodal_values_are_exact_in_double_precision(n: int) -> None:
    # Up to seven cells the quadrature of the load is what is seen.
    assert nodal_error(n) <= (1e-12 if n > 7 else 1e-4)


@pytest.mark.parametrize(
    "n", [*range(8, 41), 97, 127, 128, 129, 1009, 1023, 1025, 2**14, 2**15 + 31, 65537, 10**6 + 3]
)
def test_nodal_values_are_exact_in_single_precision(n: int) -> None:
    assert nodal_error(n, dtype="float32") <= 1e-6


def test_lapack_is_not_that_accurate() -> None:
    """The figures of the two tests above can be missed: another exact solver does."""
    for n, dtype, least in ((2**20, np.float64, 1e-8), (2**14, np.float32, 0.1)):
        x = np.arange(n + 1) / n
        b = (sine(x[1:-1]) / n).astype(dtype)
        u = lapack(np.full(n, n, dtype=dtype), b)
        assert np.abs(u - np.sin(np.pi * x[1:-1])).max() > least


def test_a_million_is_good_in_any_form() -> None:
    """Cells that differ, if only in name; a load given as such; a batch; refined or not."""
    n = 2**20
    x = np.linspace(0, 1, n + 1)
    exact = np.sin(np.pi * x)
    assert nodal_error(n, a=np.ones(n)) <= 1e-12
    b = 4 * np.sin(np.longdouble(np.pi) / n / 2) ** 2 * n * np.sin(np.longdouble(np.pi) * x[1:-1])
    sol = mgnet.solve(b=np.stack((b, -2 * b)).astype(float), n=n)
    np.testing.assert_allclose(sol.u, np.stack((exact, -2 * exact)), rtol=0, atol=2e-12)
    assert sol.error_estimate <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2**22 + 1, 2**24 - 3, 2**24])
def test_nodal_values_are_exact_up_to_sixteen_million(n: int, dtype: str) -> None:
    assert nodal_error(n, dtype=dtype) <= (1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.slow
def test_single_precision_for_very_many_sizes() -> None:
    rng = np.random.default_rng(0)
    for n in [*range(8, 600), *(int(n) for n in 2 ** rng.uniform(9, 20, 100))]:
        assert nodal_error(n, dtype="float32") <= 1e-6, n


# Jumps: solutions known in the discrete sense. Whole numbers are taken as fluxes, so that the loads, their
# differences, are exact in float64; u is their sum over conductances, in long double.


def known_problem(seed: int, n: int, fluxes: str) -> tuple[dict[str, Any], np.ndarray]:
    """Give nodes, a and b, and the exact nodal values; Dirichlet(0) at the left, the flux at the right."""
    rng = np.random.default_rng(seed)
    nodes = np.sort(rng.uniform(size=n + 1))
    while (np.diff(nodes) <= 0).any():
        nodes = np.sort(rng.uniform(size=n + 1))
    a = 10 ** rng.uniform(-3, 3, n)
    q = {
        "source": np.arange(n, 0, -1.0) - n // 3,  # what a constant f makes
        "walk": np.cumsum(rng.integers(-9, 10, n)).astype(float),
        "noise": rng.integers(-(2**20), 2**20, n).astype(float),
    }[fluxes]
    b = q - np.append(q[1:], 0.0)
    wide = np.longdouble
    u = np.append(0, np.cumsum(q.astype(wide) * np.diff(nodes.astype(wide)) / a.astype(wide)))
    return {"nodes": nodes, "a": a, "b": b}, u


def check_known(seed: int, n: int, fluxes: str) -> tuple[float, float]:
    """Return the relative errors of mgnet and of LAPACK for the same numbers."""
    data, exact = known_problem(seed, n, fluxes)
    scale = np.abs(exact).max()
    sol = mgnet.solve(**data, right=Neumann())
    # Both ends given: the exact end value has to be rounded.
    both = {**data, "b": data["b"][:-1]}
    fixed = mgnet.solve(**both, right=Dirichlet(float(exact[-1])))
    mine = max(np.abs(s.u - exact).max() / scale for s in (sol, fixed))
    u = lapack(data["a"] / np.diff(data["nodes"]), data["b"])
    return float(mine), float(np.abs(u - exact[1:]).max() / scale)


@pytest.mark.parametrize("fluxes", ["source", "walk", "noise"])
def test_a_million_cells_of_any_conductivity(fluxes: str) -> None:
    mine, theirs = check_known(0, 10**6, fluxes)
    assert mine <= 1e-8  # asked for
    assert mine <= (1e-10 if fluxes == "noise" else 1e-12)  # what it is; noise nearly cancels in every sum
    assert theirs >= 100 * mine


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_million_cells_again(seed: int) -> None:
    for fluxes in ("source", "walk", "noise"):
        for n in (10**6, 10**6 + 7, 2**20):
            mine, theirs = check_known(seed, n, fluxes)
            assert mine <= (1e-10 if fluxes == "noise" else 1e-12)
            assert theirs >= 100 * mine


@pytest.mark.parametrize("method", ["vcycle", "pcg", "direct"])
def test_other_methods_on_jumps(method: str) -> None:
    data, exact = known_problem(3, 4096, "source")
    sol = mgnet.solve(**data, right=Neumann(), method=method)
    assert np.abs(sol.u - exact).max() <= 1e-9 * np.abs(exact).max()


def test_jumps_in_single_precision() -> None:
    data, exact = known_problem(4, 10**5, "source")
    sol = mgnet.solve(**data, right=Neumann(), dtype="float32")
    assert np.abs(sol.u - exact).max() <= 1e-5 * np.abs(exact).max()
    refined = mgnet.solve(**data, right=Neumann(), dtype="float32", refine=True)
    assert np.abs(refined.u - exact).max() <= 2e-7 * np.abs(exact).max()


# Orders of convergence, of a solution, coefficients and data without symmetry.


def u(x: Any) -> Any:
    return np.sin(3 * x) + x**2 / 2


def du(x: Any) -> Any:
    return 3 * np.cos(3 * x) + x


def a(x: Any) -> Any:
    return 1 + x**2 / 3


def c(x: Any) -> Any:
    return 2 + np.cos(2 * x)


def f(x: Any) -> Any:
    return -(2 * x / 3 * du(x) + a(x) * (1 - 9 * np.sin(3 * x))) + c(x) * u(x)


LOW, HIGH = -0.5, 1.75

LEFT = {
    "dirichlet": Dirichlet(u(LOW)),
    "neumann": Neumann(-a(LOW) * du(LOW)),
    "robin": Robin(2.0, -a(LOW) * du(LOW) + 2 * u(LOW)),
}
RIGHT = {
    "dirichlet": Dirichlet(u(HIGH)),
    "neumann": Neumann(a(HIGH) * du(HIGH)),
    "robin": Robin(0.5, a(HIGH) * du(HIGH) + u(HIGH) / 2),
}


def errors(sol: Any, exact: Callable[[Any], Any], slope: Callable[[Any], Any]) -> tuple[float, float]:
    """The errors in L² and of the slope, by eight points on each cell."""
    t, w = np.polynomial.legendre.leggauss(8)
    h = np.diff(sol.x)
    x = sol.x[:-1, None] + h[:, None] * (t + 1) / 2
    weights = h[:, None] * w / 2
    return tuple(
        float(np.sqrt((weights * (values - expected) ** 2).sum()))
        for values, expected in ((sol(x), exact(x)), (sol.derivative(x), slope(x)))
    )


def grids(kind: str, n: int, low: float, high: float) -> dict[str, Any]:
    if kind == "uniform":
        return {"n": n, "domain": (low, high)}
    rng = np.random.default_rng(n)
    if kind == "random nodes":
        inner = np.sort(rng.uniform(low, high, n - 1))
        return {"nodes": np.concatenate(([low], inner, [high]))}
    x = np.concatenate(([0.0], np.cumsum(rng.uniform(0.3, 1.7, n))))
    nodes = low + (high - low) * x / x[-1]
    nodes[-1] = high
    return {"nodes": nodes}


def orders(kind: str, low: float, high: float, exact: Any, slope: Any, **keywords: Any) -> np.ndarray:
    """Fit the orders in L² and H¹ to five grids."""
    counts = [64, 128, 256, 512, 1024] if kind != "random nodes" else [256, 512, 1024, 2048, 4096, 8192]
    table = [errors(mgnet.solve(**grids(kind, n, low, high), **keywords), exact, slope) for n in counts]
    return -np.polyfit(np.log(counts), np.log(table), 1)[0]


@pytest.mark.parametrize("kind", ["uniform", "random cells", "random nodes"])
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("right", RIGHT)
def test_orders_of_convergence(left: str, right: str, kind: str) -> None:
    order = orders(kind, LOW, HIGH, u, du, f=f, a=a, c=c, left=LEFT[left], right=RIGHT[right])
    np.testing.assert_allclose(order, [2, 1], rtol=0, atol=0.1)  # eq: strong-form


@pytest.mark.parametrize("kind", ["uniform", "random cells"])
@pytest.mark.parametrize("load", ["exact", "nodal"])
def test_orders_on_a_ring(kind: str, load: str) -> None:
    low, high = 0.3, 0.3 + 2 * np.pi
    exact, slope = (lambda x: np.exp(np.sin(x)), lambda x: np.cos(x) * np.exp(np.sin(x)))
    conductivity = lambda x: 2 + np.cos(x)  # noqa: E731

    def source(x: Any) -> Any:
        bend = (np.cos(x) ** 2 - np.sin(x)) * np.exp(np.sin(x))
        return -(-np.sin(x) * slope(x) + conductivity(x) * bend) + (1.5 + np.sin(x)) * exact(x)

    keywords = {
        "f": source,
        "a": conductivity,
        "c": lambda x: 1.5 + np.sin(x),
        "periodic": True,
        "load": load,
    }
    np.testing.assert_allclose(orders(kind, low, high, exact, slope, **keywords), [2, 1], rtol=0, atol=0.1)


@pytest.mark.parametrize("form", ["nodal", "array", "array exact", "torch", "cells"])
def test_orders_of_other_forms_of_data(form: str) -> None:
    """Lumped loads, nodal values integrated, coefficients as arrays: all of second order."""
    table, counts = [], [64, 128, 256, 512]
    for n in counts:
        x = np.linspace(LOW, HIGH, n + 1)
        keywords: dict[str, Any] = {"f": f, "a": a, "c": c, "n": n, "domain": (LOW, HIGH)}
        keywords |= {
            "nodal": {"load": "nodal"},
            "array": {"f": f(x)},
            "array exact": {"f": f(x), "load": "exact"},
            "torch": {"f": lambda x: torch.from_numpy(f(x.numpy())) if isinstance(x, torch.Tensor) else f(x)},
            "cells": {"a": a((x[1:] + x[:-1]) / 2), "c": c(x)},
        }[form]
        sol = mgnet.solve(**keywords, left=LEFT["robin"], right=RIGHT["dirichlet"])
        table.append(errors(sol, u, du))
    np.testing.assert_allclose(-np.polyfit(np.log(counts), np.log(table), 1)[0], [2, 1], rtol=0, atol=0.1)


@pytest.mark.parametrize("left", LEFT)
def test_errors_are_those_of_interpolation(left: str) -> None:
    """Not the order alone: nodes are exact for −u″ = f, so the errors are h² |u″| / √120 and h |u″| / √12."""
    n, bend = 256, 9.0
    h = (HIGH - LOW) / n
    keywords = {"n": n, "domain": (LOW, HIGH), "right": RIGHT["dirichlet"]}
    left_end = {
        "dirichlet": LEFT["dirichlet"],
        "neumann": Neumann(-du(LOW)),
        "robin": Robin(2.0, -du(LOW) + 2 * u(LOW)),
    }
    sol = mgnet.solve(lambda x: bend * np.sin(3 * x) - 1, left=left_end[left], **keywords)
    np.testing.assert_allclose(sol.u, u(sol.x), rtol=0, atol=1e-13)
    x = np.linspace(LOW, HIGH, 100_001)
    size = np.sqrt(np.trapezoid((1 - bend * np.sin(3 * x)) ** 2, x))
    expected = h**2 * size / np.sqrt(120), h * size / np.sqrt(12)
    np.testing.assert_allclose(errors(sol, u, du), expected, rtol=1e-3)


def test_the_manufactured_problem_is_right() -> None:
    """f against differences of u: a slip there would look like a slip of the solver."""
    x, step = np.linspace(LOW, HIGH, 50), 1e-4
    flux = lambda y: a(y) * (u(y + step) - u(y - step)) / (2 * step)  # noqa: E731
    strong = -(flux(x + step) - flux(x - step)) / (2 * step) + c(x) * u(x)
    np.testing.assert_allclose(f(x), strong, rtol=0, atol=1e-5)
    np.testing.assert_allclose(du(x), (u(x + step) - u(x - step)) / (2 * step), rtol=0, atol=1e-6)
