"""Slopes at nodes, from both sides or from one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mgnet


@pytest.mark.parametrize("uniform", [True, False])
def test_the_slope_of_one_side(uniform: bool) -> None:
    x = np.linspace(0, 2, 9) if uniform else np.cumsum(np.random.default_rng(0).uniform(0.1, 1, 9))
    grid: dict[str, Any] = {"n": 8, "domain": (0.0, 2.0)} if uniform else {"nodes": x}
    sol = mgnet.solve(np.random.default_rng(1).normal(size=(3, 9)), **grid)
    slopes, h = np.diff(sol.u) / np.diff(x), np.diff(x)
    left, right = np.hstack((slopes[:, :1], slopes)), np.hstack((slopes, slopes[:, -1:]))
    np.testing.assert_allclose(sol.derivative(x, side="left"), left, rtol=1e-12)
    np.testing.assert_allclose(sol.derivative(x, side="right"), right, rtol=1e-12)
    inner = (h[1:] * slopes[:, :-1] + h[:-1] * slopes[:, 1:]) / (h[1:] + h[:-1])
    np.testing.assert_allclose(sol.derivative(x)[:, 1:-1], inner, rtol=1e-12)
    middles = (x[1:] + x[:-1]) / 2
    for side in ("left", "right"):
        assert (sol.derivative(middles, side=side) == sol.derivative(middles)).all()


def test_each_component_has_its_own_cells() -> None:
    sol = mgnet.solve(
        np.random.default_rng(2).normal(size=(7, 5)), dim=2, n=(6, 4), boundary=mgnet.Robin(1.0)
    )
    x, y = sol.x
    points = np.stack(np.meshgrid(x[1:-1], y[1:-1], indexing="ij"), -1)
    u = sol.u
    for side, shift in (("left", 0), ("right", 1)):
        of_x = (np.diff(u, axis=0) * 6)[shift : shift + 5, 1:-1]
        of_y = (np.diff(u, axis=1) * 4)[1:-1, shift : shift + 3]
        expected = np.stack((of_x, of_y), -1)
        np.testing.assert_allclose(sol.derivative(points, side=side), expected, rtol=1e-10, atol=1e-12)


def test_where_a_jumps_the_flux_is_that_of_both_sides() -> None:
    sol = mgnet.solve(n=8, a=np.repeat([1.0, 5.0], 4), right=mgnet.Dirichlet(6.0))
    assert 1 * sol.derivative(0.5, side="left") == pytest.approx(10.0)
    assert 5 * sol.derivative(0.5, side="right") == pytest.approx(10.0)


def test_points_get_gradients_from_one_side() -> None:
    sol = mgnet.solve(1.0, 4, dim=2)
    x = torch.tensor([[0.5, 0.3]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sol.derivative(x, side="left")[0, 0], x)
    step = (sol.derivative(0.5, 0.3 + 1e-6, side="left") - sol.derivative(0.5, 0.3, side="left")) / 1e-6
    assert float(gradient[0, 1]) == pytest.approx(step[0], rel=1e-6)


@pytest.mark.parametrize("side", ["low", "", 1, True, ("left", "right")], ids=repr)
def test_what_is_no_side_is_refused(side: Any) -> None:
    with pytest.raises(ValueError, match=r"side: got .*; accepted: one of \('left', 'right'\)"):
        mgnet.solve(1.0, 4).derivative(0.5, side=side)
