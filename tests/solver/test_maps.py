"""Pictures of solutions on some cells and on stretched axes: what is drawn is where the domain is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import mgnet
from mgnet import plot

GEOMETRIC = np.r_[0.0, np.geomspace(1e-3, 1.0, 30)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def blank(ax: Any, points: np.ndarray) -> list[bool]:
    """Say which points are as white as what is around them."""
    canvas = ax.figure.canvas
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    columns, rows = np.rint(ax.transData.transform(points)).astype(int).T
    return (pixels[len(pixels) - 1 - rows, columns] == 255).all(-1).tolist()


def test_cells_that_are_not_are_blank_also_between_nodes_that_are() -> None:
    cells = np.ones((8, 8), bool)
    cells[5:, 5:] = False  # with nodes that have no cell
    cells[2, 1:5] = False  # a slit, all of whose nodes have one
    ax = mgnet.solve(1.0, dim=2, cells=cells).plot()
    i, j = np.indices((8, 8)).reshape(2, -1)
    middles = (np.stack((i, j), 1) + 0.5) / 8
    assert blank(ax, middles) == (~cells).ravel().tolist()


def test_the_plane_in_the_middle_is_between_cells() -> None:
    cells = np.ones((4, 4, 4), bool)
    cells[1, 1, 1:3] = cells[2, 2, 2] = False
    ax = mgnet.solve(1.0, dim=3, cells=cells, n=4).plot()
    assert blank(ax, np.array([[0.375, 0.375], [0.625, 0.625]])) == [True, False]


@pytest.mark.parametrize("n", [20, 5000])
def test_a_line_ends_at_a_gap(n: int) -> None:
    cells = np.ones(n, bool)
    cells[n // 4 : n // 4 + max(1, n // 50)] = False
    sol = mgnet.solve(1.0, cells=cells)
    (line,) = sol.plot().lines
    x, u = line.get_data()
    gaps = np.isnan(u)
    assert gaps.any()
    assert x[gaps] == pytest.approx(np.full(gaps.sum(), 0.25), abs=0.06)
    np.testing.assert_allclose(u[~gaps], np.interp(x[~gaps], sol.x, sol.u), rtol=0, atol=1e-12)
    assert (x[0], x[-1]) == (0, 1)


@pytest.mark.parametrize("x", [GEOMETRIC, np.linspace(-1, 2, 9), np.linspace(0, 1, 1026)], ids=len)
def test_values_between_nodes_are_those_of_the_elements(x: np.ndarray) -> None:
    y = np.linspace(0, 3, 5)
    u = x[:, None] * (1 + y) - y
    mesh = plot.nodal_map(x, y, u).collections[0]
    places = mesh.get_coordinates()
    assert places.shape[0] >= 128
    assert places.shape[1] >= 128
    np.testing.assert_allclose(
        mesh.get_array(), places[..., 0] * (1 + places[..., 1]) - places[..., 1], atol=1e-12
    )
    assert (places[0, 0].tolist(), places[-1, -1].tolist()) == ([x[0], 0], [x[-1], 3])
    if len(x) < 512:
        assert set(x) <= set(places[0, :, 0])
    assert np.diff(places[0, :, 0]).max() <= (x[-1] - x[0]) / 128 * (1 + 1e-5)
