"""Boxes: unknowns among the nodes, coarser boxes, what continues their sides, against matrices."""

from __future__ import annotations

import itertools
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from operator_list import hats_between, product, unknowns_of
from random_boxes import as_matrix, random_boxes

from mgnet.operators import Prolongation
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.interpolation import HatProlongation
from mgnet.operators.stiffness import Stiffness

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("dim", [2, 3])
def test_nodes_and_unknowns(dim: int) -> None:
    for box in random_boxes(dim, dim, 5):
        E = reduce(np.kron, [unknowns_of(axis) for axis in box.axes])
        whole = tuple(axis.cells + 1 for axis in box.axes)
        x = torch.randn(2, 3, *box.shape, dtype=torch.float64)
        y = torch.randn(2, 3, *whole, dtype=torch.float64)
        flat_x, flat_y = x.flatten(2).numpy(), y.flatten(2).numpy()
        assert box.shape == tuple(axis.unknowns for axis in box.axes)
        np.testing.assert_array_equal(box.nodes(x).flatten(2), flat_x @ E.T)
        np.testing.assert_allclose(box.nodes(x, y).flatten(2), flat_x @ E.T + flat_y, rtol=1e-15)
        np.testing.assert_allclose(box.loads(y).flatten(2), flat_y @ E, rtol=0, atol=1e-14)
        assert torch.equal(box.unknowns(box.nodes(x)), x)
        # spread is the transpose of unknowns.
        spread = box.spread(x)
        assert spread.shape == y.shape
        assert (spread * y).sum() == pytest.approx(float((x * box.unknowns(y)).sum()), rel=1e-12)
        integrals = reduce(np.multiply.outer, [axis.hat_integrals() for axis in box.axes])
        np.testing.assert_allclose(box.hat_integrals(x), integrals, rtol=1e-14)
        assert box.hat_integrals(x.float()).dtype == torch.float32


def test_which_axes_are_coarsened() -> None:
    """The narrow ones, up to √2 times the narrowest, that have four cells."""
    for (n, m), (h, k), expected in (
        ((8, 8), (1.0, 1.0), (True, True)),
        ((8, 8), (1.0, 1.41), (True, True)),
        ((8, 8), (1.0, 1.42), (True, False)),
        ((8, 8), (3.0, 1.0), (False, True)),
        ((3, 8), (1.0, 3.0), (False, True)),
        ((3, 3), (1.0, 1.0), (False, False)),
    ):
        assert Box([Axis(n, h), Axis(m, k)]).coarsening() == expected


@pytest.mark.parametrize("dim", [2, 3])
def test_every_level_of_a_box_is_galerkin(dim: int) -> None:
    """R A P = A for all ends, odd and even cells, a last cell of its own, and axes left as they are."""
    kinds = set()
    for seed, box in itertools.chain.from_iterable(
        enumerate(random_boxes(s, dim, 10 if dim == 2 else 6)) for s in range(3)
    ):
        A: Any = Stiffness.of(box, 1.7, 0.6 * (seed % 2))
        expected = product(box.axes, 1.7, 0.6 * (seed % 2))
        while (step := A.coarsen()) is not None:
            chosen = box.coarsening()
            A, P = step
            coarse = box.coarse(chosen)
            matrices = [
                hats_between(axis, other) if some else np.eye(axis.unknowns)
                for axis, other, some in zip(box.axes, coarse.axes, chosen, strict=True)
            ]
            dense_P = reduce(np.kron, matrices)
            np.testing.assert_allclose(as_matrix(P, coarse.shape), dense_P, rtol=0, atol=1e-14)
            np.testing.assert_allclose(as_matrix(P.T, box.shape), dense_P.T, rtol=0, atol=1e-14)
            expected = dense_P.T @ expected @ dense_P
            found = A.to_dense().numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())
            kinds.add((type(P), all(chosen)))
            box = coarse
    assert kinds >= {(HatProlongation, True), (HatProlongation, False)}


def test_equal_pairs_are_interpolated_by_a_convolution() -> None:
    for dim in (2, 3):
        A, P = Stiffness.of(Box([Axis(8, 0.125)] * dim), 1.0, 2.0).coarsen()
        assert isinstance(P, Prolongation)
        assert as_matrix(P, (3,) * dim) == pytest.approx(
            reduce(np.kron, [hats_between(Axis(8, 0.125), Axis(4, 0.25))] * dim)
        )
        assert A.h == (0.25,) * dim


@pytest.mark.parametrize("dim", [2, 3])
def test_given_sides_are_continued_into_the_box(dim: int) -> None:
    """By I − ∏ (I − Π) as a matrix, and so that the sides keep their values."""
    for box in random_boxes(8, dim, 6):
        axes = [Axis(axis.cells, axis.h, axis.ends) for axis in box.axes]
        rest, held = [], np.zeros([n + 1 for n in box.cells], dtype=bool)
        for i, axis in enumerate(axes):
            t, n = np.linspace(0, 1, axis.cells + 1), axis.cells
            Pi = np.zeros((n + 1, n + 1))
            sides = [end for end, kind in zip((0, n), axis.ends, strict=True) if kind == "dirichlet"]
            for end in sides:
                Pi[:, end] = 1.0 if len(sides) == 1 else (t if end else 1 - t)
                np.moveaxis(held, i, 0)[end] = True
            rest.append(np.eye(n + 1) - Pi)
        g = np.random.default_rng(dim).standard_normal(held.shape) * held
        w = Box(axes).blend(torch.from_numpy(g)).numpy()
        expected = g.ravel() - reduce(np.kron, rest) @ g.ravel()  # eq: blending
        np.testing.assert_allclose(w.ravel(), expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(w[held], g[held], rtol=0, atol=1e-13)
