"""f and c go through the same integrals: constants, steps of time, nodes that are held, smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Neumann

STEPS = [1e-2, 1e-3, 1e-4, 1 / 60000, 1e-5, 1e-6, 1e-7]
# How c may be given, made of its nodal values.
KINDS = ("number", "array", "function")


def given(kind: str, c: float, nodes: tuple[int, ...]) -> Any:
    """Give a constant in one of the forms that c has."""
    forms = {"number": c, "array": np.full(nodes, c), "function": lambda *x: c + 0 * sum(x)}
    return forms[kind]


@pytest.mark.parametrize("dt", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_time_decays_as_the_lumped_scheme_says(kind: str, dt: float) -> None:
    n = 100
    u = np.sin(np.pi * np.linspace(0, 1, n + 1))
    rate = (2 - 2 * np.cos(np.pi / n)) * n**2
    after = mgnet.solve(u / dt, n=n, c=given(kind, 1 / dt, (n + 1,))).u
    np.testing.assert_allclose(after, u / (1 + dt * rate), rtol=0, atol=1e-14)


def test_many_steps_keep_the_rate() -> None:
    """With h²/6 for dt a consistent mass matrix stood still, and with less it grew."""
    n, dt = 100, 1e-5
    u = start = np.sin(np.pi * np.linspace(0, 1, n + 1))
    step = mgnet.Hierarchy(mgnet.Poisson(n=n, c=1 / dt, load="nodal"))
    for _ in range(100):
        u = step.solve(u[1:-1] / (n * dt)).u
    rate = (2 - 2 * np.cos(np.pi / n)) * n**2
    np.testing.assert_allclose(u, start / (1 + dt * rate) ** 100, rtol=0, atol=1e-12)


@pytest.mark.parametrize("large", [1e2, 1e4, 1e8, 1e14])
@pytest.mark.parametrize("n", [8, 33])
def test_nodes_that_are_held_overshoot_by_nothing(n: int, large: float) -> None:
    """The lumped matrix has no positive entry off its diagonal: u stays between what holds it."""
    rng = np.random.default_rng(n)
    c = large * (rng.random(n + 1) < 0.3)
    values = rng.integers(0, 2, n + 1)
    sol = mgnet.solve(c * values, n=n, c=c, left=mgnet.Dirichlet(0.0), right=mgnet.Dirichlet(1.0))
    assert sol.u.min() >= 0
    assert sol.u.max() <= 1 + 4 * np.finfo(float).eps
    if large > 1e7:
        np.testing.assert_allclose(sol.u[c > 0][1:-1], values[c > 0][1:-1], atol=n**2 / large * 9)


CONDITIONS: dict[str, dict[str, Any]] = {
    "neumann": {"left": Neumann(0), "right": Neumann(0)},
    "robin": {"left": mgnet.Robin(2.0, 6.0), "right": Neumann(0)},
    "dirichlet": {"left": mgnet.Dirichlet(3.0), "right": mgnet.Dirichlet(3.0)},
    "periodic": {"periodic": True},
}
# A peak between nodes of some grids, and c as nodal values of any size.
PEAK = lambda x: 1e3 * np.exp(-(((x - 0.43) / 0.05) ** 2)) + 1e-3  # noqa: E731


@pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("grid", [{"n": 8}, {"n": 33}, {"nodes": np.linspace(0, 1, 12) ** 2}], ids=str)
def test_a_constant_comes_out_on_a_line(
    grid: dict[str, Any], dtype: str, load: str, conditions: dict[str, Any]
) -> None:
    x = mgnet.Poisson(**grid).grid.x
    nodal = 10.0 ** np.random.default_rng(0).uniform(-4, 4, len(x))
    batch = np.array([[1.0], [1.0]])
    pairs = [
        (7.0 * 3, 7.0),
        (7.0 * 3 * np.ones_like(x), 7.0),
        (3 * nodal, nodal),
        (3 * nodal * batch, nodal),
        (3 * PEAK(x), PEAK),
        (lambda x: 3 * PEAK(x), PEAK),
    ]
    if "periodic" in conditions:
        pairs = [(f, c) for f, c in pairs if c is not PEAK]
    for f, c in pairs:
        u = mgnet.solve(f, **grid, **conditions, c=c, load=load, dtype=dtype).u
        np.testing.assert_allclose(u, 3, rtol=40 * np.finfo(dtype).eps)


def test_which_integrals_are_taken() -> None:
    """A nodal array f is lumped and c with it; all else is integrated, unless load says more."""
    array, function = np.ones(9), np.cos
    for f, load, lumped, nodal in (
        (array, None, True, True),
        (array, "exact", False, True),
        (array, "nodal", True, True),
        (function, None, False, False),
        (function, "nodal", True, True),
        (1.0, None, False, False),
        (1.0, "nodal", True, True),
        (None, None, False, False),
        (None, "nodal", True, True),
    ):
        problem = mgnet.Poisson(f, n=8, load=load)
        assert (problem.lumped, problem.nodal) == (lumped, nodal)


def test_a_number_that_requires_a_gradient_is_the_same_number() -> None:
    f = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for more in ({}, {"load": "nodal"}, {"dim": 2}):
        for c in (30.0, lambda *x: 30 * x[0]):
            expected = mgnet.solve(2.0, n=8, c=c, **more).u
            u = mgnet.solve(f, n=8, c=c, **more).u.detach()
            np.testing.assert_allclose(u, expected, rtol=1e-9)
