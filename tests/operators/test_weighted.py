"""Weights for each cell and axis, and nodes without an equation: what is kept where nothing holds a piece."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from operator_list import ENDS, held_chain, kron, random_weights, unknowns_of
from torch import Tensor

from mgnet.operators import frames, loops
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.entries import ends_of
from mgnet.operators.weighted import WeightedStiffness

pytestmark = pytest.mark.usefixtures("one_thread")

every_dim = pytest.mark.parametrize("dim", [2, 3])


def floating(dim: int, n: int, dtype: torch.dtype) -> WeightedStiffness:
    """Two pieces, between them a plane of cells that are none; weights differ by six orders of magnitude."""
    rng = np.random.default_rng(dim)
    box = Box([Axis(n, 1.0, ENDS["free"])] * dim)
    weights = 10 ** rng.uniform(-3, 3, (dim, *box.cells))
    weights[:, 2] = 0.0
    free = torch.ones([m + 1 for m in box.cells], dtype=torch.bool)
    return WeightedStiffness(box, list(torch.from_numpy(weights).to(dtype)), None, free)


@every_dim
def test_all_entries_are_those_of_the_matrix(dim: int) -> None:
    """Between free nodes alone; and what an operator makes of given values counts all nodes."""
    generator = torch.Generator().manual_seed(0)
    for it, _ in random_weights(dim, 20 + dim):
        A = it.operator(torch.float64)
        shape = tuple(n + 1 for n in A.box.cells)
        matrix = it.whole.reshape(*shape, *shape)
        for step, field in zip(frames.steps(dim), frames.inside(A.frame, A.box), strict=True):
            here, _ = ends_of(step, shape)
            for node in itertools.product(*(range(n)[each] for n, each in zip(shape, here[1:], strict=True))):
                expected = matrix[(*node, *np.add(node, step))]
                assert float(field[node]) == pytest.approx(expected, abs=1e-12 * np.abs(it.whole).max())
        u = torch.randn((1, 1, *shape), generator=generator, dtype=torch.float64)
        expected = it.all_nodes @ u.flatten().numpy()
        np.testing.assert_allclose(
            A.at_nodes(u).flatten(), expected, rtol=0, atol=1e-12 * abs(expected).max()
        )
        one = np.ones(math.prod(shape)) if it.free is None else it.free.ravel()
        np.testing.assert_allclose(A.sums.flatten(), one * (it.all_nodes @ one), rtol=0, atol=1e-12 * 10**3)
        held = 0.0 if it.cells.added is None else np.diag(it.cells.added)
        assert ((A.reacting.flatten().numpy()) == (held > np.zeros(math.prod(shape)))).all()


@every_dim
def test_values_without_an_equation_count_for_nothing(dim: int) -> None:
    generator, seen = torch.Generator().manual_seed(0), 0
    for it, _ in random_weights(dim, 30 + dim):
        A = it.operator(torch.float64)
        x = torch.randn((2, 1, *A.box.shape), generator=generator, dtype=torch.float64)
        if it.free is None:
            assert A.kept(x) is x
            assert not A.gaps
            continue
        E = kron(*map(unknowns_of, A.box.axes))
        free = torch.from_numpy((E.T @ it.free.ravel() > 0).reshape(A.box.shape))
        assert torch.equal(A.kept(x), x * free)
        assert torch.equal(A.kept(A(x)), A(x))
        assert torch.equal(A(A.kept(x)), A(x))
        assert A.gaps
        seen += int((~free).any())
    assert seen > 3


@every_dim
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_constants_of_pieces_are_mapped_to_zero_on_every_level(dim: int, dtype: torch.dtype) -> None:
    """Exactly, by loops, by torch, and of entries in another precision: entries alone would lose them."""
    A: Any = floating(dim, 12 if dim == 2 else 8, dtype)
    one = torch.ones((1, 1, *A.box.shape), dtype=dtype)
    levels = 0
    while True:
        for operator in (A, A.scaled(3.0, torch.float32)):
            y = operator(one.to(operator.like["dtype"]))
            assert not y.any()
        with loops.without():
            size = float(A.diagonal().max())
            assert float(A(one).abs().max()) <= 64 * torch.finfo(dtype).eps * size
        step = A.coarsen()
        if step is None:
            break
        A, P = step
        assert not A.sums.any()
        fine, one = one, torch.ones((1, 1, *A.box.shape), dtype=dtype)
        torch.testing.assert_close(P(one), fine, rtol=0, atol=16 * torch.finfo(dtype).eps)
        levels += 1
    assert levels >= 2


@every_dim
def test_the_bound_is_that_of_the_worst_cell(dim: int) -> None:
    """Cell by cell, with no c: one that is flat has the largest eigenvalue, 3 along one axis in space."""
    generator = np.random.default_rng(4)
    for spread in (0.0, 0.5, 3.0):
        weights = 10 ** generator.uniform(-spread, spread, (dim, *(2,) * dim))
        box = Box([Axis(2, 1.0, ENDS["free"])] * dim)
        K, M = np.array([[1, -1], [-1, 1]]), np.array([[2, 1], [1, 2]]) / 6
        worst = 0.0
        for cell in np.ndindex(*(2,) * dim):
            parts = (kron(*(K if i == axis else M for i in range(dim))) for axis in range(dim))
            element = sum(w[cell] * part for w, part in zip(weights, parts, strict=True))
            worst = max(worst, scipy.linalg.eigvalsh(element, np.diag(np.diag(element)))[-1])
        A = WeightedStiffness(box, list(torch.from_numpy(weights)))
        assert A.largest == pytest.approx(worst, rel=1e-12)


@every_dim
def test_what_is_flat_here_and_tall_there(dim: int) -> None:
    """Then whole lines are relaxed, and the widths of the box stay; else they are those of the weights."""

    def made(*weights: Any) -> WeightedStiffness:
        box = Box([Axis(4, 1.0)] * dim)
        full = [torch.as_tensor(w, dtype=torch.float64).expand(box.cells).clone() for w in weights]
        return WeightedStiffness(box, full)

    flat = made(100.0, *[1.0] * (dim - 1))
    assert not flat.uneven
    assert flat.contrast == pytest.approx(100)
    box = flat.fitted().box
    assert box.axes[0].h == pytest.approx(0.1 * box.axes[1].h)
    steps = torch.logspace(0, 1.2, 4, dtype=torch.float64)
    uneven = made(steps, *[1.0] * (dim - 1))
    assert uneven.uneven
    before = uneven.box
    assert uneven.fitted().box is before
    uneven.weights[0][..., 2:] = 0.0  # and what is left differs by less
    assert not made(uneven.weights[0] + 0.0, *[1.0 * (uneven.weights[0] > 0)] * (dim - 1)).uneven


def test_no_cells_at_all() -> None:
    A = WeightedStiffness(Box([Axis(2, 1.0)] * 2), [torch.zeros(2, 2, dtype=torch.float64)] * 2)
    assert (A.contrast, A.largest, A.uneven) == (1.0, 0.0, False)


# A line.


def chain(reacts: bool, first: list[int]) -> Any:
    """Nodes 0 to 3 are a piece that nothing holds, 4 has no cell, 5 to 8 end at 8, which is held."""
    rng = np.random.default_rng(0)
    k, s = rng.uniform(1, 2, 8), rng.uniform(1, 2, 9) * reacts
    k[[3, 4]] = 0.0
    free = np.ones(9, bool)
    free[[4, 8]] = False
    marks = np.zeros(9, bool)
    marks[first] = True
    return held_chain(k, s if reacts else None, ENDS["free"], (0.0, 0.0), free, marks, torch.float64)


def test_a_piece_of_a_line_that_nothing_holds_is_grounded() -> None:
    """With something on one diagonal entry there is an inverse, and for balanced loads a solution."""
    A = chain(False, [0])
    matrix, grounded = A.to_dense().numpy(), A.grounded.to_dense().numpy()
    assert np.linalg.matrix_rank(matrix) == 8
    change = grounded - matrix
    assert change[0, 0] > 0
    assert np.count_nonzero(change) == 1
    b = np.array([1.0, 2, -4, 1, 0, 3, 1, 1, 0])
    x = np.linalg.solve(grounded, b)
    np.testing.assert_allclose(matrix @ x, b, rtol=0, atol=1e-13)
    assert chain(True, []).grounded.to_dense().equal(chain(True, []).to_dense())


@pytest.mark.parametrize("reacts", [False, True])
def test_given_values_of_a_line(reacts: bool) -> None:
    """What is held acts on its neighbours; what an operator keeps, and what holds something, is as said."""
    A = chain(reacts, [0])
    u = torch.randn(1, 1, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(A.at_nodes(u), A.whole.at_nodes(u))
    free = torch.tensor([1.0, 1, 1, 1, 0, 1, 1, 1, 0], dtype=torch.float64)
    assert torch.equal(A.kept(u), u * free)
    x, held = u * free, torch.zeros_like(u)
    held[..., 8] = u[..., 8]
    whole = A.at_nodes(x + held) * free
    np.testing.assert_allclose(A(x) + A.at_nodes(held) * free, whole, rtol=0, atol=1e-14)
    assert A.gaps
    assert A.reacting.tolist() == [reacts] * 9


def test_multiples_of_a_line() -> None:
    A = chain(True, [0]).scaled(0.5, torch.float32)
    assert A.like["dtype"] == torch.float32
    np.testing.assert_allclose(A.to_dense(), 0.5 * chain(True, [0]).to_dense(), rtol=1e-6)
    grounded: Tensor = chain(False, [0]).scaled(2.0, torch.float64).grounded.to_dense()
    np.testing.assert_allclose(grounded, 2.0 * chain(False, [0]).grounded.to_dense(), rtol=1e-14)
