"""Operators whose entries vary, as compiled loops: on every level they are what torch makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from operator_list import Case, boxes_of_cells, boxes_of_entries, boxes_of_weights
from torch import Tensor

from mgnet.operators import frames, loops
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.cells import CellStiffness
from mgnet.operators.entries import StencilStiffness

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = [
    case
    for case in itertools.chain(boxes_of_cells(), boxes_of_entries(), boxes_of_weights())
    if case.name.startswith(("cells-A", "entries-A", "weights-A"))
]
# Rounding of a coarse operator of an operator whose entries differ by some orders of magnitude.
DIGITS = {torch.float64: 1e-13, torch.float32: 2e-5}


def close(found: Tensor, expected: Tensor) -> None:
    size = expected.abs().max() if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=float(DIGITS[expected.dtype] * size))


def levels(A: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Give the operators of all levels, the coarser one, and the interpolation from it."""
    while (step := A.coarsen()) is not None:
        yield A, *step
        A = step[0]


def by_torch(f: Any, *args: Any) -> Any:
    with loops.without():
        return f(*args)


def random(box: Box, dtype: torch.dtype) -> Tensor:
    return torch.randn((2, 1, *box.shape), dtype=dtype)


@pytest.mark.parametrize("dtype", list(DIGITS), ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loops_are_what_torch_makes_of_every_level(case: Case, dtype: torch.dtype) -> None:
    """Products, interpolation, restriction, and coarse entries with what is known of their sums."""
    torch.manual_seed(0)
    found, expected = case.make(dtype), case.make(dtype)
    x = random(found.box, dtype)
    close(found(x), by_torch(expected, x))
    pairs = zip(levels(found), by_torch(list, levels(expected)), strict=True)
    for (A, coarse, P), (_, other, Q) in pairs:
        e, r, x = random(coarse.box, dtype), random(A.box, dtype), random(coarse.box, dtype)
        close(P(e), by_torch(Q, e))
        close(P.T(r), by_torch(Q.T, r))
        size = other.centre.abs().max()
        for step, field in other.pairs.items():
            close(coarse.pairs[step] / size + 1, field / size + 1)
        close(coarse.centre, other.centre)
        close(coarse(x), by_torch(other, x))
        close(coarse.diagonal(), by_torch(other.diagonal))
        assert (coarse.sums is None) == (other.sums is None)
        if other.sums is not None:
            close(coarse.sums / size + 1, other.sums / size + 1)
        assert (coarse.singular, coarse.largest) == (other.singular, pytest.approx(other.largest, rel=1e-4))


def test_all_ends_of_many_cells() -> None:
    """Where there are regular pairs and an odd rest, joined ends among them; one level only."""
    rng, ends = np.random.default_rng(0), ("dirichlet", "natural", "periodic")
    for (low, high), n in itertools.product(itertools.product(ends, repeat=2), (16, 17, 19)):
        for last in (0.7, 1.0, 1.4):
            axes = [Axis(n, 1.0, (low, low), last=last), Axis(n + 2, 1.0, (high, high), last=last)]
            box = Box(axes)
            a = torch.from_numpy(10 ** rng.uniform(-2, 2, box.cells))
            A = CellStiffness(box, a)
            (coarse, P), (other, Q) = A.coarsen(), by_torch(CellStiffness(box, a).coarsen)
            e, r = random(coarse.box, a.dtype), random(box, a.dtype)
            close(A(r), by_torch(A, r))
            close(P(e), by_torch(Q, e))
            close(P.T(r), by_torch(Q.T, r))
            close(coarse(e), by_torch(other, e))


@pytest.mark.parametrize("dim", [2, 3])
def test_threads_are_not_seen_in_results(dim: int) -> None:
    box = Box([Axis({2: 300, 3: 41}[dim], 1.0)] * dim)
    a, found = torch.rand(box.cells) + 0.1, []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        A = CellStiffness(box, a)
        coarse, P = A.coarsen()
        y = A(P(torch.ones((1, 1, *coarse.box.shape))))
        found.append((coarse.frame, torch.from_numpy(P.compiled[0]), y))
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


@pytest.mark.parametrize("dtype", list(DIGITS), ids=str)
def test_constants_are_interpolated_to_constants(dtype: torch.dtype) -> None:
    """However much coefficients differ, and coarse row sums stay zero."""
    box = Box([Axis(21, 1.0, ("natural", "natural")), Axis(16, 1.0, ("periodic", "periodic"))])
    a = torch.from_numpy(10 ** np.random.default_rng(1).uniform(-6, 6, box.cells)).to(dtype)
    coarse, P = CellStiffness(box, a).coarsen()
    one = torch.ones((1, 1, *coarse.box.shape), dtype=dtype)
    assert float((P(one) - 1).abs().max()) < 8 * torch.finfo(dtype).eps
    assert not coarse.sums.any()


def test_entries_share_memory() -> None:
    """What loops and torch see of a coarse operator is one array; cells are not copied."""
    box = Box([Axis(8, 1.0)] * 2)
    a = torch.rand(box.cells, dtype=torch.float64) + 0.1
    A = CellStiffness(box, a)
    coarse, _ = A.coarsen()
    (E, *_), (cells, *_) = coarse.compiled()[1], A.compiled()[1]
    assert np.shares_memory(E, coarse.centre.numpy())
    assert np.shares_memory(cells, a.numpy())


def test_entries_from_parts_are_entries_in_one_array() -> None:
    box = Box([Axis(5, 1.0, ("periodic", "periodic")), Axis(6, 1.0)])
    centre, *others = torch.rand((5, *(n + 1 for n in box.cells)), dtype=torch.float64)
    pairs = dict(zip(frames.steps(2)[1:], others, strict=True))
    A = StencilStiffness(box, centre + 9, pairs)
    x = random(box, torch.float64)
    close(A(x), by_torch(A, x))
    np.testing.assert_allclose(A.to_dense(), A.to_sparse().toarray(), rtol=0, atol=1e-14)
