"""One axis: its matrices and transfers, against those that plain loops over the cells make."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from operator_list import ENDS, hats_between, matrices_of, unknowns_of, widths_of

from mgnet.operators import places
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box

pytestmark = pytest.mark.usefixtures("one_thread")

every_end = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)


@every_end
def test_matrices_of_an_axis(ends: tuple[str, str]) -> None:
    rng = np.random.default_rng(0)
    for n, last in itertools.product(range(1, 7), (None, 0.3, 0.6, "given")):
        robin = 0.5 * (ends[0] == "natural"), 2.0 * (ends[1] == "natural")
        if last == "given":
            axis = Axis(n, 0.4, ends, robin, nodes=np.cumsum(rng.uniform(0.1, 2.0, n + 1)))
        else:
            axis = Axis(n, 0.4, ends, robin, last)
        K, M = matrices_of(axis)
        assert axis.unknowns == len(K) == len(axis.hat_integrals())
        for found, diagonal, expected in zip(axis.matrices(), axis.diagonals(), (K, M), strict=True):
            np.testing.assert_allclose(found.toarray(), expected, rtol=0, atol=1e-14)
            np.testing.assert_allclose(diagonal, np.diag(expected), rtol=0, atol=1e-14)
        np.testing.assert_allclose(axis.widths, widths_of(axis))
        lumped = unknowns_of(axis).T @ np.convolve(widths_of(axis), [0.5, 0.5])
        np.testing.assert_allclose(axis.hat_integrals(), lumped, rtol=1e-14)


def test_an_axis_with_given_nodes_is_not_coarsened() -> None:
    axis = Axis(8, 0.5, nodes=np.linspace(0, 2, 9) ** 2)
    assert not axis.coarsens
    assert not axis.even
    assert Box([axis]).coarsening() == (False,)
    assert (hash(axis), axis) == (hash(Axis(8, 0.5)), Axis(8, 0.5))


@every_end
def test_the_couplings_of_an_axis(ends: tuple[str, str]) -> None:
    """a times the stiffness and c times the mass matrix, and the mass matrix: couplings and row sums."""
    for n, last in itertools.product(range(2, 6), (None, 0.3, 0.6)):
        axis = Axis(n, 0.4, ends, (0.5 * (ends[0] == "natural"), 0.0), last)
        k, s, m, w = axis.couplings(1.7, 0.3)
        size, (K, M) = axis.unknowns, matrices_of(axis)
        for expected, sums, others in ((1.7 * K + 0.3 * M, s, -k), (M, w, m)):
            found = np.diag(sums[:size] - others[:-1] - others[1:])
            for i in range(int(not axis.periodic), size):
                found[[i - 1, i], [i, i - 1]] += others[i]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@every_end
@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 9, 31])
def test_transfers_of_an_axis(n: int, ends: tuple[str, str]) -> None:
    """Interpolation between the nodes that are left, its transpose, and the matrices of the coarse axis."""
    robin = (0.5 * (ends[0] == "natural"), 2.0 * (ends[1] == "natural"))
    axis = Axis(n, 0.4, ends, robin)
    while axis.coarsens:
        coarse = axis.coarse
        assert sum(widths_of(coarse)) == pytest.approx(0.4 * n, rel=1e-14)
        assert 0.5 * coarse.h <= coarse.widest <= 1.5 * coarse.h
        assert coarse.cells in (axis.cells // 2, axis.cells - axis.cells // 2)
        P = hats_between(axis, coarse)
        for place in (-1, -2, -3):
            # Unit vectors along this axis, one for each entry of the first of the others.
            e, b = (
                torch.eye(size, dtype=torch.float64).expand(2, -1, -1).movedim(2, place).clone()
                for size in (coarse.unknowns, axis.unknowns)
            )
            before = e.clone(), b.clone()
            interpolated = axis.interpolate(e, place).movedim(place, 2)
            restricted = axis.restrict(b, place).movedim(place, 2)
            for row in range(2):
                np.testing.assert_allclose(interpolated[row].T, P, rtol=0, atol=1e-14)
                np.testing.assert_allclose(restricted[row].T, P.T, rtol=0, atol=1e-14)
            assert torch.equal(e, before[0])
            assert torch.equal(b, before[1])
        for fine, found in zip(matrices_of(axis), matrices_of(coarse), strict=True):
            np.testing.assert_allclose(P.T @ fine @ P, found, rtol=0, atol=1e-12)
        axis = coarse
    assert axis.cells in (2, 3)


@every_end
@pytest.mark.parametrize("n", [8, 9, 16, 31])
def test_the_cubic_between_four_nodes(n: int, ends: tuple[str, str]) -> None:
    """A new node between four old ones takes the cubic through them, beside an end the parabola of three."""
    axis = Axis(n, 0.5, ends)
    coarse, pairs = axis.coarse, axis.pairs
    old = np.arange(coarse.cells + 1.0)
    values = np.random.default_rng(n).standard_normal(len(old))
    values[[0] * (ends[0] == "dirichlet") + [-1] * (ends[1] == "dirichlet")] = 0.0
    values[-1] = values[0] if ends[0] == "periodic" else values[-1]
    e = torch.from_numpy(values[coarse.chain.first : coarse.chain.first + coarse.unknowns])
    u = axis.chain.nodes(axis.interpolate(e, -1, cubic=True), axis=-1).numpy()
    np.testing.assert_allclose(u[: 2 * pairs + 1 : 2], values[: pairs + 1], rtol=0, atol=1e-14)
    joined = ends[0] == "periodic" and axis.even
    around = np.concatenate((values[-2:-1], values, values[1:2])) if joined else values
    shift = int(joined)
    for i in range(pairs):
        low, high = (i - 1, i + 3) if joined else (max(i - 1, 0), min(i + 3, pairs + 1))
        x = np.arange(low, high)
        through = np.polynomial.Polynomial.fit(x, around[x + shift], len(x) - 1)  # eq: cubic
        assert u[2 * i + 1] == pytest.approx(through(i + 0.5), abs=1e-12)


def test_an_odd_cell_is_kept_or_merged() -> None:
    axis = Axis(11, 1.0)
    last = []
    for _ in range(2):
        axis = axis.coarse
        last.append((axis.cells, axis.h, axis.widest))
    assert last == [(6, 2.0, 1.0), (3, 4.0, 3.0)]
    assert Axis(5, 1.0, last=0.5).coarse == Axis(2, 2.0, last=2.5)
    assert Axis(8, 1.0).even
    assert not Axis(8, 1.0, last=0.5).even
    assert not Axis(7, 1.0).even


@every_end
def test_cubic_weights_of_compiled_loops_are_those_of_the_interpolation(ends: tuple[str, str]) -> None:
    for n in range(4, 90):
        axis = Axis(n, 1 / n, ends)
        if not axis.coarsens:
            continue
        first, weights, _ = places.cubics(axis, True, np.dtype(np.float64))
        size, rows = axis.coarse.unknowns, np.arange(axis.unknowns)
        found, margin = np.zeros((axis.unknowns, size + 4)), 0 if axis.periodic else 2
        for t, some in enumerate(weights):
            at = (first + t) % size if axis.periodic else first + t + margin
            np.add.at(found, (rows, at), some)
        expected = axis.interpolate(torch.eye(size, dtype=torch.float64), -1, cubic=True).T
        # There are no unknowns past the ends, and no weights for them.
        expected = np.pad(expected.numpy(), ((0, 0), (margin, 4 - margin)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14, err_msg=f"{n} cells")
