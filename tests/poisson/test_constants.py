"""Data where u is determined up to a constant: what is taken, what is zero, and what the message says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import mgnet
from mgnet import Neumann, Status

FREE = Neumann(0)


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
