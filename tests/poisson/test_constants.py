"""Data where u is determined up to a constant: what is taken, what is zero, and what the message says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Neumann, Status

FREE = Neumann(0)


@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("f", [0.1, 0.7, 3.3])
def test_a_constant_is_zero_in_a_domain_of_many_cells(f: float, method: str) -> None:
    for n in (33, 64):
        centres = (np.arange(n) + 0.5) / n - 0.5
        disc = np.hypot(centres[:, None], centres) < 0.45
        for cells in (disc, np.random.default_rng(n).random((n, n)) < 0.8):
            given = {"boundary": FREE, "compatible": "project", "method": method}
            sol = mgnet.solve(f, dim=2, cells=cells, **given)
            assert sol.status is Status.CONVERGED
            assert np.nanmax(np.abs(sol.u)) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_what_rounding_left_is_zero(dim: int, dtype: str) -> None:
    """One ulp of 1 in all data: a constant is zero, and noise is nothing to speak of."""
    eps, shape = float(np.finfo(dtype).eps), (9,) * dim
    noise = np.random.default_rng(0).normal(size=shape) * eps
    for f in (np.full(shape, eps / 4), noise, eps / 4, lambda *x: sum(x) * 0 + eps / 4):
        for ends in ({"boundary": FREE}, {"periodic": True}):
            data = f[(slice(-1),) * dim] if "periodic" in ends and isinstance(f, np.ndarray) else f
            u = mgnet.solve(data, 8, dim=dim, dtype=dtype, **ends).u
            assert np.abs(u).max() <= (0 if f is not noise else eps)
    for problem in (mgnet.Poisson(n=8, dim=dim, boundary=FREE), mgnet.Poisson(n=8, dim=dim, periodic=True)):
        hierarchy = mgnet.Hierarchy(problem, dtype=dtype)
        u = hierarchy.solve(np.full(problem.shape, eps / 9**dim)).u
        assert np.abs(u).max() < 4 * eps
        u = mgnet.solve(
            b=np.full(problem.shape, eps / 4),
            n=8,
            dim=dim,
            dtype=dtype,
            **({"periodic": True} if problem.periodic else {"boundary": FREE}),
        ).u
        assert np.abs(u).max() < 9**dim * eps
    # Fluxes that cancel but for rounding, or are nothing else.
    left, right = (0.3, -0.1 - 0.2) if dtype == "float64" else (1.0, -1.0 + eps / 2)
    u = mgnet.solve(
        n=8,
        dim=dim,
        dtype=dtype,
        boundary={
            "left": Neumann(left),
            "right": Neumann(right),
            **dict.fromkeys(("bottom", "top", "back", "front")[: 2 * dim - 2], FREE),
        },
    ).u
    assert np.ptp(u) == pytest.approx(left, rel=1e-5)
    u = mgnet.solve(n=8, dim=dim, dtype=dtype, boundary=Neumann(eps / 4)).u
    assert np.abs(u).max() < eps


def test_each_row_is_compatible_on_its_own() -> None:
    """A large row hides no small one, and rounding of a row is zero beside others."""
    x = np.linspace(0, 1, 9)
    wave, small = 1e9 * np.cos(np.pi * x), np.full(9, 1e-3)
    for f in (np.stack((wave, small)), lambda x: np.stack((1e9 * np.cos(np.pi * x), 0 * x + 1e-3))):
        with pytest.raises(ValueError, match=r"^f: got .* in row 1, .* subtract 0\.001"):
            mgnet.solve(f, 8, boundary=FREE)
    for f in (lambda x, y: np.stack((1e9 * np.cos(np.pi * x) + 0 * y, 0 * (x + y) + 1e-3)),):
        with pytest.raises(ValueError, match=r"^f: got .* in row 1, .* subtract 0\.001"):
            mgnet.solve(f, 8, dim=2, boundary=FREE)
    sol = mgnet.solve(np.stack((wave, np.full(9, 1e-17))), 8, boundary=FREE)
    assert not sol.u[1].any()
    np.testing.assert_allclose(sol.u[0], mgnet.solve(wave, 8, boundary=FREE).u, rtol=1e-14, atol=1e-6)


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"f": np.random.default_rng(0).normal(size=(9, 9)), "dim": 2, "boundary": FREE}, "f"),
        ({"f": lambda x: 1 + x, "boundary": FREE}, "f"),
        ({"f": 2.0, "periodic": True}, "f"),
        ({"f": 1.0, "left": Neumann(2.0), "right": Neumann(-2.5)}, "f and the fluxes g of left, right"),
        ({"left": Neumann(2.0), "right": FREE}, "the fluxes g of left"),
        (
            {
                "dim": 3,
                "boundary": {
                    **dict.fromkeys(("left", "right", "bottom", "back", "front"), FREE),
                    "top": Neumann(lambda x, y, z: x + y + z),
                },
            },
            "the fluxes g of top",
        ),
        ({"b": np.random.default_rng(0).normal(size=9), "boundary": FREE}, "b"),
        ({"b": np.ones(9), "left": Neumann(3.0), "right": FREE}, "b and the fluxes g of left"),
    ],
    ids=["plane", "function", "periodic", "both", "fluxes", "space", "b", "b and fluxes"],
)
def test_incompatible_data_can_be_mended_as_the_message_says(keywords: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got data that sum to") as caught:
        mgnet.solve(**keywords, n=8)
    number, argument = re.search(r"subtract (\S+) from ([fb])", str(caught.value)).groups()
    data = keywords.get(argument, 0.0)
    less = (lambda *x: data(*x) - float(number)) if callable(data) else data - float(number)
    assert mgnet.solve(**{**keywords, argument: less}, n=8).status is Status.CONVERGED
    flux = re.search(r", or (\S+) from g on every side", str(caught.value))
    assert bool(flux) == ("fluxes" in name)
    if flux and "left" in keywords:
        for side in ("left", "right"):
            keywords = {**keywords, side: Neumann(keywords[side].g - float(flux[1]))}
        assert mgnet.solve(**keywords, n=8).status is Status.CONVERGED


# compatible="project".


@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_projected_data_are_those_less_a_constant(dim: int, load: str) -> None:
    """The constant that makes the sum zero is found here from the integrals of the hats."""
    rng, shape = np.random.default_rng(dim), (7, 6, 5)[:dim]
    f = rng.normal(size=shape)
    n = tuple(size - 1 for size in shape)
    weights = 1.0
    for cells in n:
        weights = np.multiply.outer(weights, np.r_[0.5, np.ones(cells - 1), 0.5] / cells)
    keywords = {"n": n if dim > 1 else n[0], "dim": dim, "load": load, "boundary": Neumann(0.25)}
    total = (f * weights).sum() + 0.25 * 2 * dim  # lumped and integrated alike
    with pytest.raises(ValueError, match=r", or give compatible='project'$"):
        mgnet.solve(f, **keywords)
    projected = mgnet.solve(f, **keywords, compatible="project")
    by_hand = mgnet.solve(f - total, **keywords)
    np.testing.assert_allclose(projected.u, by_hand.u, atol=1e-9)
    assert abs((projected.u * weights).sum()) < 1e-12


@pytest.mark.parametrize("method", ["auto", "direct", "vcycle"])
@pytest.mark.parametrize("dim", [1, 2])
def test_constants_alone_are_a_zero_right_side(dim: int, method: str) -> None:
    for ends in ({"boundary": FREE}, {"periodic": True}, {"boundary": Neumann(3.0)}):
        for f in (0.0, 1.0, np.full((2, *(9,) * dim), 1e9), lambda *x: 2.0 + 0 * sum(x)):
            sol = mgnet.solve(f, 8, dim=dim, method=method, compatible="project", load="nodal", **ends)
            assert sol.status is Status.CONVERGED
            if ends != {"boundary": Neumann(3.0)}:
                assert not sol.u.any()
    parabola = mgnet.solve(0.0, 8, boundary=Neumann(3.0), compatible="project").u
    x = np.linspace(0, 1, 9)
    expected = 3 * (x**2 - x)
    np.testing.assert_allclose(parabola - parabola[0], expected, atol=1e-13)


def test_each_row_is_projected_on_its_own() -> None:
    f = np.random.default_rng(0).normal(size=(3, 9)) + [[0], [5], [1e6]]
    u = mgnet.solve(f, 8, boundary=FREE, compatible="project").u
    for row, one in zip(f, u, strict=True):
        np.testing.assert_allclose(
            one, mgnet.solve(row, 8, boundary=FREE, compatible="project").u, atol=1e-13
        )
    # Of a batch of operators those that are singular.
    c = np.stack((np.zeros(9), np.ones(9), np.zeros(9)))
    u = mgnet.solve(f, 8, c=c, boundary=FREE, compatible="project").u
    np.testing.assert_allclose(u[1], mgnet.solve(f[1], 8, c=c[1], boundary=FREE).u, rtol=1e-13)


def test_projection_changes_nothing_where_u_is_determined() -> None:
    for ends in (
        {},
        {"boundary": FREE, "c": 1.0},
        {"boundary": mgnet.Robin(1.0)},
        {"periodic": True, "c": 2.0},
    ):
        for dim in (1, 2):
            plain = mgnet.solve(1.0, 8, dim=dim, **ends).u
            np.testing.assert_array_equal(mgnet.solve(1.0, 8, dim=dim, compatible="project", **ends).u, plain)


def test_a_hierarchy_projects_as_its_problem_says() -> None:
    b = np.random.default_rng(0).normal(size=9)
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=8, boundary=FREE, compatible="project"))
    weights = np.r_[0.5, np.ones(7), 0.5] / 8
    expected = mgnet.solve(b=b - b.sum() * weights, n=8, boundary=FREE).u
    np.testing.assert_allclose(hierarchy.solve(b).u, expected, atol=1e-14)
    with pytest.raises(ValueError, match="compatible='project'"):
        mgnet.Hierarchy(mgnet.Poisson(n=8, boundary=FREE)).solve(b)


def test_derivatives_through_the_projection() -> None:
    rng = np.random.default_rng(0)
    f, a, q = (
        torch.tensor(x, requires_grad=True)
        for x in (rng.normal(size=(4, 3)), 1 + rng.random((3, 2)), np.array(0.3))
    )

    def u(f: torch.Tensor, a: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        sides = {"left": Neumann(q), "right": FREE, "bottom": FREE, "top": FREE}
        options = {"n": (3, 2), "dim": 2, "method": "direct", "compatible": "project"}
        return mgnet.solve(f, a=a, boundary=sides, **options).u

    assert torch.autograd.gradcheck(u, (f, a, q))


@pytest.mark.parametrize("value", ["mean", None, True, 1])
def test_what_compatible_may_be(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^compatible: got .*; accepted: one of \('raise', 'project'\)"):
        mgnet.solve(1.0, 8, compatible=value)
