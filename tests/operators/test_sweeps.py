"""Relaxation by compiled loops: against what torch defines, against dense solves, and where rows are wild."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from operator_list import EPS, OPERATORS, Case

import mgnet
from mgnet import Hierarchy, Poisson, Status
from mgnet.operators import loops, sweeps
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.contract import Operator
from mgnet.operators.entries import StencilStiffness
from mgnet.operators.lines import Lines, Tridiagonal
from mgnet.operators.smoothers import RedBlack
from mgnet.operators.stiffness import Stiffness

CASES = [case for case in OPERATORS if case.stiffness and len(case.shape) > 1 and math.prod(case.shape)]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def boxed(case: Case, dtype: torch.dtype) -> Operator:
    A = case.make(dtype)
    return A if hasattr(A, "box") else A.on(A.form.box(case.shape).cells)


def smoothers(A: Operator) -> list[Any]:
    diagonal = A.diagonal()
    new = [int(axis.ends[0] != "dirichlet") for axis in A.box.axes]
    return [Lines(A), RedBlack(diagonal.masked_fill(diagonal == 0, torch.inf), 1.2, new)]


def randn(shape: Any, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def same_as_torch(A: Operator, slack: float = 1.0) -> None:
    """Of a batch, from a guess and from none, before and after a coarse correction, once and twice."""
    dtype = A.like["dtype"]
    x, b = (randn((2, 1, *A.box.shape), dtype, seed) for seed in range(2))
    for smoother in smoothers(A):
        for guess, post, count in itertools.product((x, None), (False, True), (1, 2)):
            got = smoother(A, guess, b, count, post=post)
            with loops.without():
                expected = smoother(A, guess, b, count, post=post)
            bound = 1e3 * slack * EPS[dtype] * float(expected.abs().max())
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound)


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loops_are_what_torch_says(case: Case, dtype: torch.dtype) -> None:
    same_as_torch(boxed(case, dtype), case.slack)


@pytest.mark.parametrize("cells", [(9, 41), (40, 7), (5, 4, 23), (4, 19, 6)])
@pytest.mark.parametrize("periodic", [False, True])
def test_lines_in_several_bundles(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[int, ...], periodic: bool
) -> None:
    for name, value in (("CACHED", 60), ("LEAST", 3), ("ALONG", 3)):
        monkeypatch.setattr(sweeps, name, value)
    a = 10 ** np.random.default_rng(0).uniform(-1, 1, cells)
    same_as_torch(Hierarchy(Poisson(n=cells, dim=len(cells), a=a, c=1.0, periodic=periodic)).A)


@pytest.mark.parametrize("cells", [(300, 300), (24, 40, 80)])
def test_threads_change_no_bit(cells: tuple[int, ...]) -> None:
    a = 10 ** np.random.default_rng(0).uniform(-1, 1, cells)
    A = Hierarchy(Poisson(n=cells, dim=len(cells), a=a), dtype="float32").A
    b, found, before = randn((1, 1, *A.box.shape), torch.float32, 0), [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([smoother(A, None, b, 2) for smoother in smoothers(A)])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert torch.equal(one, three)


@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_entries_are_those_of_the_matrix(case: Case) -> None:
    A = boxed(case, torch.float64)
    size = float(np.abs(case.dense).max())
    # What it knows, and what anyone finds out who applies it to all nodes, held ones among them.
    for frame in (A.frame,) if A.gaps else (A.frame, Operator.frame.fget(A)):
        got = StencilStiffness.framed(A.box, frame).to_sparse().toarray()
        np.testing.assert_allclose(got, case.dense, rtol=0, atol=1e-13 * size)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_entries_where_c_is_lumped(dim: int) -> None:
    box = Box([Axis(4, 0.3, ("natural", "natural")), *[Axis(5, 0.2)] * (dim - 1)])
    A = Stiffness.of(box, 1.5, 0.7, lumped=True)
    got = StencilStiffness.framed(box, A.frame).to_sparse().toarray()
    np.testing.assert_allclose(got, A.to_sparse().toarray(), rtol=0, atol=1e-14)


# Wild rows: stretched grids, nodes that nothing ties, nodes that have nothing at all.


def stretched(widths: list[np.ndarray], dead: Any = (), alone: Any = ()) -> StencilStiffness:
    """−Δ on cells of these widths, assembled here; some rows are zero, some have a diagonal only."""
    K: Any = 0.0
    for axis in range(len(widths)):
        part = np.ones((1, 1))
        for i, h in enumerate(widths):
            A = np.zeros((len(h) + 1,) * 2)
            for cell, width in enumerate(h):
                one = (
                    np.array([[1, -1], [-1, 1]]) / width
                    if i == axis
                    else np.array([[2, 1], [1, 2]]) * width / 6
                )
                A[cell : cell + 2, cell : cell + 2] += one
            part = np.kron(part, A)
        K = K + part
    for node in (*dead, *alone):
        K[node], K[:, node] = 0, 0
    for node in alone:
        K[node, node] = 3.0
    nodes = [len(h) + 1 for h in widths]
    numbers, fields = np.arange(len(K)).reshape(nodes), {}
    for step in itertools.product((-1, 0, 1), repeat=len(nodes)):
        if step >= (0,) * len(nodes):
            here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, nodes, strict=True))
            there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, nodes, strict=True))
            field = np.zeros(nodes)
            field[here] = K[numbers[here], numbers[there]]
            fields[step] = torch.tensor(field)
    centre = fields.pop((0,) * len(nodes))
    return StencilStiffness(Box([Axis(len(h), 1 / len(h)) for h in widths]), centre, fields).fitted()


def both_ways(n: int, decades: float) -> np.ndarray:
    """Cells that are narrow at the ends and wide in the middle."""
    half = np.geomspace(1, 10**decades, n // 2)
    widths = np.concatenate((half, half[::-1]))
    return widths / widths.sum()


@pytest.mark.parametrize("dim", [2, 3])
def test_wild_rows_are_relaxed_as_dense_blocks_are(dim: int) -> None:
    n = {2: 14, 3: 8}[dim]
    nodes = np.arange((n + 1) ** dim).reshape((n + 1,) * dim)
    dead, alone = nodes[((3, 4, 4), (2, 2, 3), (5, 5, 5))[:dim]], [nodes[(5,) * dim]]
    A = stretched([both_ways(n, 4.0)] * dim, dead, alone)
    dense, shape, rng = A.to_sparse().toarray(), A.box.shape, np.random.default_rng(0)
    numbers = np.arange(len(dense)).reshape(shape)
    x, b = rng.normal(size=(2, len(dense)))
    smoother, expected = Lines(A), x.copy()
    assert {axis for axis, _ in smoother.colours} == set(range(dim))
    for axis, colour in smoother.colours:
        for line in np.moveaxis(numbers, axis, -1)[(*colour, slice(None))].reshape(-1, shape[axis]):
            line = line[dense[line, line] > 0]
            expected[line] += np.linalg.solve(dense[np.ix_(line, line)], b[line] - dense[line] @ expected)
    guess, load = (torch.tensor(v).reshape(1, 1, *shape) for v in (x, b))
    rows = dense.diagonal() == 0
    assert rows.sum() == len(dead)
    for got in (smoother(A, guess, load, 1), torch_only(smoother, A, guess, load)):  # eq: line-pivots
        np.testing.assert_allclose(got.ravel(), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
        np.testing.assert_array_equal(got.numpy().ravel()[rows], x[rows])


def torch_only(smoother: Any, A: Any, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    with loops.without():
        return smoother(A, x, b, 1)


@pytest.mark.parametrize("cells", [4, 7])
def test_what_nothing_holds_is_not_solved_for(cells: int) -> None:
    """Lines whose ties are all along them, with free ends: each has one number that nothing determines."""
    box = Box([Axis(cells, 1.0), Axis(6, 1.0, ("natural", "natural"))])
    centre, along = torch.zeros((cells + 1, 7)), torch.zeros((cells + 1, 7))
    along[:, :-1] = -torch.rand((cells + 1, 6), generator=torch.Generator().manual_seed(0)) - 0.1
    centre[:, :-1] -= along[:, :-1]
    centre[:, 1:] -= along[:, :-1]
    A = StencilStiffness(box, centre, {(0, 1): along})
    b = A(randn((1, 1, *box.shape), torch.float32, 0))
    for got in (Lines(A)(A, None, b, 1), torch_only(Lines(A), A, torch.zeros_like(b), b)):
        assert torch.isfinite(got).all()
        assert (A(got) - b).abs().max() < 1e-4


def test_pivots_that_are_lost_are_held() -> None:
    diagonal, ties = (
        torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 4.0]]),
        torch.tensor([[-1.0, -1.0], [0.0, 0.0]]),
    )
    x = Tridiagonal(diagonal, ties)(torch.tensor([[1.0, 0.0, -1.0], [1.0, 1.0, 2.0]]))
    np.testing.assert_allclose(x[0].diff(), [-1.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(x[1], [0.0, 0.0, 0.5])


# What "auto" takes.


@pytest.mark.parametrize(("dim", "n", "most"), [(2, 64, 20), (3, 16, 30)])
def test_auto_relaxes_lines_where_cells_are_flat_here_and_tall_there(dim: int, n: int, most: int) -> None:
    A = stretched([both_ways(n, 2.0)] * dim) if dim == 2 else stretched([both_ways(8, 2.0)] * 3)
    A.uneven = True  # as an operator from the weights of such cells says itself
    cells = A.box.cells
    hierarchy = Hierarchy(Poisson(n=cells, dim=dim), operator=A)
    assert hierarchy.options.smoother_for(A) == "line"
    assert all(isinstance(level.smoother, Lines) for level in hierarchy.levels)
    b = np.random.default_rng(0).normal(size=A.box.shape)
    sol = hierarchy.solve(b, tol=1e-10)
    assert sol.iterations <= most
    expected = np.linalg.solve(A.to_sparse().toarray(), b.ravel())
    inside = sol.u[(slice(1, -1),) * dim].ravel()
    np.testing.assert_allclose(inside, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_auto_keeps_its_smoother_elsewhere_and_one_that_is_asked_for() -> None:
    flat = stretched([np.full(8, 1e-3), np.full(8, 1.0)])
    both = stretched([both_ways(8, 2.0)] * 2)
    problem = Poisson(n=8, dim=2)
    both.uneven = True
    assert Hierarchy(problem, operator=flat).options.smoother_for(flat) == "chebyshev"
    assert Hierarchy(problem, operator=both, smoother="chebyshev").options.smoother_for(both) == "chebyshev"
    assert Hierarchy(problem, operator=both, method="pcg").options.smoother_for(both) == "line"
    jumps = 10 ** np.random.default_rng(0).uniform(0, 3, (8, 8))
    assert not Hierarchy(Poisson(n=8, dim=2, a=jumps)).A.uneven
    nodes = np.concatenate(([0.0], np.cumsum(both_ways(8, 2.0))))
    assert Hierarchy(Poisson(dim=2, nodes=(nodes, nodes))).A.uneven


def test_a_ring_of_lines_and_of_points_in_a_cycle() -> None:
    """Joined axes, odd ones too, through whole solves."""
    for smoother in ("line", "red-black"):
        sol = mgnet.solve(
            lambda x, y: np.sin(2 * np.pi * x) * np.cos(2 * np.pi * y),
            n=(45, 33), dim=2, c=1.0, periodic=True, smoother=smoother, method="pcg",
        )  # fmt: skip
        assert sol.status is Status.CONVERGED
        assert sol.iterations < 15
