"""Grids: coordinates, widths, and where a point lies, against loops and exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mgnet

counts = st.integers(1, 300)
ends = st.floats(-1e3, 1e3)
lengths = st.floats(1e-3, 1e3)
seeds = st.integers(0, 2**32 - 1)


def given_nodes(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal() + np.concatenate(([0.0], np.cumsum(10 ** rng.uniform(-3, 0, n))))


@given(counts, ends, lengths)
def test_uniform_nodes_are_equally_spaced_to_rounding(n: int, low: float, length: float) -> None:
    high = low + length
    grid = mgnet.Grid(n, (low, high))
    step = (Fraction(high) - Fraction(low)) / n
    exact = [float(Fraction(low) + i * step) for i in range(n + 1)]
    np.testing.assert_allclose(grid.x, exact, rtol=0, atol=4e-16 * (abs(low) + abs(high)))
    assert (grid.x[0], grid.x[-1]) == (low, high)  # to the last bit
    assert grid.uniform
    assert isinstance(grid.h, float)
    assert grid.h == pytest.approx(float(step), rel=1e-12)
    assert grid.length == high - low


@given(seeds, counts)
def test_given_nodes_are_kept(seed: int, n: int) -> None:
    x = given_nodes(seed, n)
    grid = mgnet.Grid(n, (x[0], x[-1]), x)
    assert not grid.uniform
    assert (grid.x == x).all()
    assert [float(h) for h in grid.h] == [x[i + 1] - x[i] for i in range(n)]


@given(st.data(), st.booleans(), counts)
def test_a_part_is_the_part_of_the_whole(data: st.DataObject, uniform: bool, n: int) -> None:
    x = given_nodes(n, n)
    grid = mgnet.Grid(n, (x[0], x[-1]), None if uniform else x)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start + 1, n + 1))
    assert (grid.points(start, stop) == grid.x[start:stop]).all()
    widths = grid.widths(0, n)
    assert (grid.widths(start, stop - 1) == widths[start : stop - 1]).all()
    assert widths.sum() == pytest.approx(grid.length)


@given(seeds, counts, st.booleans())
def test_every_point_is_found_in_its_cell(seed: int, n: int, uniform: bool) -> None:
    x = given_nodes(seed, n)
    grid = mgnet.Grid(n, (x[0], x[-1]), None if uniform else x)
    points = np.random.default_rng(seed).uniform(*grid.domain, (5, 20))
    cell, t = grid.locate(points)
    assert cell.shape == t.shape == (5, 20)
    assert ((cell >= 0) & (cell < n)).all()
    assert ((t > -1e-9) & (t < 1 + 1e-9)).all()
    back = grid.x[cell] + t * (grid.x[cell + 1] - grid.x[cell])
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-13 * np.abs(x).max())


@given(seeds, counts)
def test_a_given_node_belongs_to_the_cell_at_its_right(seed: int, n: int) -> None:
    x = given_nodes(seed, n)
    cell, t = mgnet.Grid(n, (x[0], x[-1]), x).locate(x)
    assert cell.tolist() == [*range(n), n - 1]
    assert t.tolist() == [0.0] * n + [1.0]


def test_a_uniform_node_belongs_to_the_cell_at_its_right() -> None:
    for domain in ((0.0, 1.0), (0.1, 1.3), (-2.0, 3.7)):
        for n in (10, 49, 1000, 4097):
            grid = mgnet.Grid(n, domain)
            assert (grid.locate(grid.x)[0] == np.minimum(np.arange(n + 1), n - 1)).all(), (n, domain)


@pytest.mark.parametrize(
    "arguments", [(0,), (-3,), (2, (1.0, 0.0)), (5, (0.0, 1.0), np.array([0.0, 1.0]))], ids=str
)
def test_grids_that_are_none(arguments: Any) -> None:
    with pytest.raises(ValueError, match="accepted"):
        mgnet.Grid(*arguments)


def test_the_ends_are_inside() -> None:
    for n in (1, 3, 10, 49, 10**6 + 3):
        for domain in ((0.0, 1.0), (0.1, 1.3), (-7.0, 1e-3)):
            cell, t = mgnet.Grid(n, domain).locate(np.array(domain))
            assert cell.tolist() == [0, n - 1]
            assert t == pytest.approx([0, 1], abs=1e-9)
