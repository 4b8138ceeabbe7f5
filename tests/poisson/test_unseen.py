"""A function that quadrature does not see is warned of, and no other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mgnet


def gaussian(place: tuple[float, ...], width: float) -> Callable[..., np.ndarray]:
    def f(*x: Any) -> Any:
        return np.exp(-sum((y - p) ** 2 for y, p in zip(x, place, strict=True)) / (2 * width**2)) / width

    return f


@pytest.mark.parametrize("width", [3e-4, 2e-4, 1e-4, 3e-5])
@pytest.mark.parametrize("place", [0.3, 0.5, 1 / 3, 0.7109375, 0.123456])
def test_a_narrow_peak_is_warned_of(place: float, width: float) -> None:
    """Widths up to a fiftieth of a cell: a third of the solution is missing or too much, or more."""
    f = gaussian((place,), width)
    with pytest.warns(RuntimeWarning, match="^f: quadrature does not see this function"):
        u = mgnet.solve(f, 64).u
    fine = mgnet.solve(f, nodes=np.union1d(np.linspace(0, 1, 65), place + width * np.linspace(-9, 9, 181)))
    assert np.abs(u - fine(np.linspace(0, 1, 65))).max() > 0.3 * fine.u.max()


def test_narrow_peaks_in_boxes() -> None:
    for f in (gaussian((0.3, 0.6), 2e-4), lambda x, y: gaussian((0.3,), 2e-4)(x) * np.sin(np.pi * y)):
        with pytest.warns(RuntimeWarning, match="^f: quadrature does not see"):
            mgnet.solve(f, 32, dim=2)
    with pytest.warns(RuntimeWarning, match="^left: g: quadrature does not see"):
        mgnet.solve(lambda x, y: x + y, 32, dim=2, left=mgnet.Neumann(lambda x, y: gaussian((0.3,), 2e-4)(y)))


SEEN: list[Callable[..., Any]] = [
    lambda x: 0 * x,
    lambda x: 1.0,
    np.sin,
    lambda x: np.sin(40 * np.pi * x),
    lambda x: np.abs(x - 0.3),
    lambda x: np.where(x > 0.3, 1.0, 0.0),
    lambda x: np.where(np.abs(x - 0.4) < 0.02, 1e6, 0.0),
    lambda x: np.exp(-50 * x),
    lambda x: x**30,
    lambda x: np.tanh(200 * (x - 0.5)),
    lambda x: 1 / np.sqrt(x),
    lambda x: np.random.default_rng(0).normal(size=np.shape(x)),
    lambda x: 1e-300 * np.cos(x),
    gaussian((0.3,), 0.01),
    lambda x: np.stack((np.sin(x), 0 * x)),
    lambda x: 1 / np.cosh(100 * (x - 0.4)) ** 2,
]


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 1000])
def test_no_false_alarm(n: int) -> None:
    for i, f in enumerate(SEEN):
        if n >= 64 or i not in (3, 6, 7, 8, 9, 13, 15):  # those need a grid that has room for them
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                mgnet.solve(f, n)


def test_no_false_alarm_in_boxes() -> None:
    for f in (
        lambda x, y: np.where((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.04, 1.0, 0.0),
        lambda x, y: np.where(x + y < 0.3, 1e5, 0.0),
        lambda x, y: 0 * x * y,
        lambda x, y: np.sin(9 * x) * np.exp(-9 * y),
        lambda x, y: np.abs(x - y),
        lambda x, y: np.where((abs(x - 0.3) < 0.05) & (abs(y - 0.6) < 0.05), 1.0, 0.0),
        gaussian((0.3, 0.6), 0.03),
    ):
        for n in (16, 33, 100):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                mgnet.solve(f, n, dim=2)


@pytest.mark.parametrize("dim", [1, 2])
def test_rows_of_a_batch_are_not_peaks_of_each_other(dim: int) -> None:
    """Loads in different places are seen, however far apart their rows are."""
    centres = np.array([0.1, 0.3, 0.5, 0.7, 0.9]).reshape(-1, *[1] * dim)
    f = lambda *x: np.exp(-(((x[0] - centres) / 0.06) ** 2)) + 0 * sum(x)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sol = mgnet.solve(f, n=60, dim=dim)
    assert sol.u.shape[0] == 5
