"""Axes and boxes, their operators and their solver: against matrices that plain loops over the cells make."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F  # noqa: N812
from operator_list import ENDS, hats_between, matrices_of, product, unknowns_of, widths_of

import mgnet
from mgnet.core import memory
from mgnet.multigrid.coarsest import TensorSolver
from mgnet.operators import Prolongation
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.differences import second_difference
from mgnet.operators.interpolation import HatProlongation
from mgnet.operators.rows import relaxed, residual, rounded_residual
from mgnet.operators.stiffness import Stiffness

every_end = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """Small operations in many threads wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# What is drawn, and read off.


def as_matrix(operator: Callable[[torch.Tensor], torch.Tensor], shape: Sequence[int]) -> np.ndarray:
    """The columns are what the operator makes of unit vectors."""
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, 1, *shape)
    return operator(unit).flatten(1).T.numpy()


def random_axis(rng: np.random.Generator, ends: tuple[str, str], most: int = 8) -> Axis:
    h = float(rng.uniform(0.5, 2))
    last = None if rng.random() < 0.4 else h * float(rng.uniform(0.5, 1.5))
    robin = tuple(float(rng.uniform(0, 2) * (end == "natural")) for end in ends)
    least = 2 if ends == ENDS["held"] else 1
    return Axis(int(rng.integers(least, most)), h, ends, (robin[0], robin[1]), last)


def random_boxes(seed: int, dim: int, most: int = 7) -> list[Box]:
    """One for every combination of ends."""
    rng = np.random.default_rng(seed)
    return [
        Box([random_axis(rng, ends, most) for ends in each])
        for each in itertools.product(ENDS.values(), repeat=dim)
    ]


# One axis.


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
def test_what_the_matrices_have_beyond_equal_cells(ends: tuple[str, str]) -> None:
    """−D/h and h (1 + D/6), and the corrections."""
    for n, last in itertools.product(range(2, 6), (None, 0.3, 0.6)):
        axis = Axis(n, 0.4, ends, (0.5 * (ends[0] == "natural"), 0.0), last)
        D = second_difference(torch.eye(axis.unknowns, dtype=torch.float64), ends, 0).numpy()
        K, M = -D / axis.h, axis.h * (np.eye(axis.unknowns) + D / 6)
        for row, column, k, m in axis.corrections:
            K[row, column] += k
            M[row, column] += m
        np.testing.assert_allclose(K, matrices_of(axis)[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(M, matrices_of(axis)[1], rtol=0, atol=1e-14)


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


@pytest.mark.parametrize("rows", [1, 2, 1000])
@pytest.mark.parametrize("dim", [2, 3])
def test_given_sides_are_continued_into_the_box(dim: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By I − ∏ (I − Π) as a matrix, and so that the sides keep their values."""
    monkeypatch.setattr(
        mgnet.operators.boxes, "strips", lambda n, x: memory.strips(n, x, rows * x.nbytes // n)
    )
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
        out = torch.full(g.shape, torch.nan, dtype=torch.float64)
        w = Box(axes).blend(torch.from_numpy(g), out).numpy()
        expected = g.ravel() - reduce(np.kron, rest) @ g.ravel()  # eq: blending
        np.testing.assert_allclose(w.ravel(), expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(w[held], g[held], rtol=0, atol=1e-13)


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


# Boxes.


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
        with memory.reused():
            assert torch.equal(box.spread(x).clone(), spread)
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


# The operator.


def test_the_kernel_of_the_plane() -> None:
    kernel = Stiffness(0.1, dim=2).weight  # eq: nine-point
    torch.testing.assert_close(
        3 * kernel[0, 0], torch.tensor([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=torch.float64)
    )
    # In space the neighbours across a face have weight zero.
    assert Stiffness(1.0, dim=3).weight[0, 0, 0, 1, 1] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("c", "lumped"), [(0.0, False), (0.6, False), (0.6, True)])
def test_sweeps_and_loads_of_all_nodes(c: float, lumped: bool, dim: int) -> None:
    for box in random_boxes(7, dim, 9 - 2 * dim):
        A, expected = Stiffness.of(box, 1.7, c, lumped=lumped), product(box.axes, 1.7, c, lumped)
        x, b = torch.randn(2, 2, 1, *box.shape, dtype=torch.float64)
        r = (b.flatten(1).numpy() - x.flatten(1).numpy() @ expected).reshape(b.shape)
        for form in (A, Stiffness.of(box, 1.7, c, lumped=lumped, sums=True)):
            inverse = 1 / form.diagonal()
            with memory.reused():  # where no gradients flow
                swept = relaxed(form, x, b, inverse, 0.7)
                y = x.numpy() + 0.7 * inverse.numpy() * r
                np.testing.assert_allclose(swept, y, rtol=0, atol=1e-12 * np.abs(r).max())
        # At all nodes, nothing held and nothing joined.
        free = Box([Axis(axis.cells, axis.h, ENDS["free"], axis.robin, axis.last) for axis in box.axes])
        whole, scale = as_matrix(A.at_nodes, free.shape), 1e-13 * np.abs(expected).max()
        np.testing.assert_allclose(whole, product(free.axes, 1.7, c, lumped), rtol=0, atol=scale)


@pytest.mark.parametrize("dim", [2, 3])
def test_robin_sides_count_in_the_bound(dim: int) -> None:
    """Beside a large alpha theirs is the largest eigenvalue, 3/2 for each axis of a side."""
    box = Box([Axis(4, 1.0, ENDS["free"], (1e4, 0.0))] + [Axis(4, 1.0, ENDS["free"])] * (dim - 1))
    D = product(box.axes, 1.0, 0.0)
    largest = scipy.linalg.eigvalsh(D, np.diag(np.diag(D))).max()
    assert largest == pytest.approx(1.5 ** (dim - 1), rel=0.05)
    assert largest <= Stiffness.of(box, 1.0, 0.0).largest
    equal = Stiffness.of(Box([Axis(16, 1 / 16)] * 2), 1.0, 0.0)
    assert equal.largest == pytest.approx(1.5)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strips_are_seamless(dtype: torch.dtype, sums: bool, dim: int) -> None:
    """Inside reused() large arrays are worked on in strips; the numbers are the same."""
    shape = {2: (700, 901), 3: (60, 70, 80)}[dim]
    assert 2 * math.prod(shape) * dtype.itemsize > memory.STRIP
    generator = torch.Generator().manual_seed(dim)
    for ends in ENDS.values():
        robin = (0.5 * (ends[0] == "natural"), 0.0)
        lost = 0 if ends[0] == "periodic" else 1 - ends.count("dirichlet")
        last = None if sums and ends in (ENDS["held"], ENDS["joined"]) else 0.7 / shape[0]
        box = Box([Axis(size - lost, 1 / shape[0], ends, robin, last) for size in shape])
        A = Stiffness.of(box, 1.3, 40.0, sums=sums, dtype=dtype)
        assert box.shape == shape
        x, b = torch.randn((2, 2, 1, *shape), generator=generator, dtype=dtype)
        inverse = 1 / A.diagonal()
        outside = A(x), residual(A, x, b), x + 0.7 * inverse * residual(A, x, b)
        with memory.reused():
            results = A(x), residual(A, x, b), relaxed(A, x, b, inverse, 0.7)
            inside = [memory.own_copy(y) for y in results]
            scale = torch.tensor([2.0, 3.0], dtype=dtype).reshape(-1, 1, *[1] * dim)
            single = rounded_residual(A, x, b, scale, torch.empty_like(x, dtype=torch.float32))
            torch.testing.assert_close(
                single, (scale * outside[1]).float(), rtol=1e-4, atol=1e-4 * float(outside[1].abs().max())
            )
        for y, z in zip(outside, inside, strict=True):
            scale = y.abs().max().item()
            torch.testing.assert_close(z, y, rtol=0, atol=8 * torch.finfo(dtype).eps * scale)


def test_a_factor_of_the_kernel_may_vanish() -> None:
    """With c h² = 6 a there are no entries to the neighbours along an axis."""
    for dim in (2, 3):
        A = Stiffness(1.0, 1.0, 6.0, dim=dim)
        x = torch.randn(1, 1, *[9] * dim, dtype=torch.float64)
        convolved = (F.conv2d if dim == 2 else F.conv3d)(x, A.weight, padding=1)
        torch.testing.assert_close(A(x), convolved, rtol=0, atol=1e-13)
    sol = mgnet.solve(1.0, 8, dim=2, domain=(0, 8), c=6.0)
    expected = mgnet.solve(1.0, 8, dim=2, domain=(0, 8), c=6.0, method="direct")
    np.testing.assert_allclose(sol.u, expected.u, rtol=0, atol=1e-13)


def test_a_fine_grid_keeps_its_digits() -> None:
    """In float32 no more is lost than the rounding of values costs, less than a convolution loses."""
    n = 1024
    x = np.linspace(0, 1, n + 1)[1:-1]
    u = np.sin(np.pi * x)[:, None] * np.sin(2 * np.pi * x)
    A = Stiffness(1 / n, dim=2, dtype=torch.float32)
    single = torch.from_numpy(u)[None, None].float()
    exact = Stiffness(1 / n, dim=2)(single.double())  # of the rounded values
    assert (A(single) - exact).abs().max() < 2 * torch.finfo(torch.float32).eps
    convolved = F.conv2d(single, A.weight, padding=1)
    assert (convolved - exact).abs().max() > 2 * (A(single) - exact).abs().max()
    # Along one axis next to nothing is lost.
    D, D_exact = (second_difference(x, ENDS["held"], -1) for x in (single, single.double()))
    assert (D - D_exact).abs().max() < 1e-2 * torch.finfo(torch.float32).eps


def test_a_box_stiffness_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match=r"h: got \(0.1, 0.1, 0.1\); accepted: a number, or 2 of them"):
        Stiffness((0.1, 0.1, 0.1), dim=2)
    with pytest.raises(ValueError, match="dim: got 4"):
        Stiffness(dim=4)


def test_the_coarse_operator_of_equal_cells() -> None:
    A = Stiffness((0.1, 0.2), 2.0, 3.0, dim=2, dtype=torch.float32).coarse()
    assert (A.h, A.a, A.c, A.weight.dtype) == ((0.2, 0.4), 2.0, 3.0, torch.float32)
    B = Stiffness(0.1, 2.0, 3.0, ("natural", "dirichlet"), robin=(0.5, 0.0)).coarse()
    assert (B.h, B.a, B.c, B.robin, B.boundary) == (0.2, 2.0, 3.0, (0.5, 0.0), ("natural", "dirichlet"))


# The solver of coarse grids.


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("c", [0.0, 0.6])
def test_the_tensor_solver(c: float, dim: int) -> None:
    for seed, box in enumerate(random_boxes(5, dim, 6)):
        axes = box.axes
        if seed % 2:  # without Robin: among them the singular ones
            axes = tuple(Axis(axis.cells, axis.h, axis.ends, last=axis.last) for axis in axes)
        A = product(axes, 1.7, c)
        b = torch.randn(2, 1, *box.shape, dtype=torch.float64)
        singular = np.abs(A.sum(0)).max() < 1e-9
        if singular:
            b -= b.mean(tuple(range(2, 2 + dim)), keepdim=True)
        solve = TensorSolver(Box(axes), 1.7, c, {"dtype": torch.float64})
        x = solve(b).flatten(1).numpy()
        expected = b.flatten(1).numpy() @ np.linalg.pinv(A, 1e-12, hermitian=True)
        if singular:  # without a mean in the discrete sense
            weights = reduce(np.multiply.outer, [axis.hat_integrals() for axis in axes]).ravel()
            assert np.abs(x @ weights).max() < 1e-10 * np.abs(x).max()
            expected -= (expected @ weights / weights.sum())[:, None]
        # eq: eigenpairs, fast-diagonalization
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-10 * max(np.abs(expected).max(), 1e-300))


@pytest.mark.parametrize("dim", [2, 3])
def test_the_tensor_solver_of_a_lumped_c(dim: int) -> None:
    """Exact where cells are alike and no alpha is given; else a good preconditioner, whatever c is."""
    for (seed, box), c in itertools.product(enumerate(random_boxes(6, dim, 6)), (0.1, 1e6)):
        axes = box.axes
        if seed % 2:
            axes = tuple(Axis(axis.cells, axis.h, axis.ends) for axis in axes)
        A = product(axes, 1.7, c, lumped=True)
        solve = TensorSolver(Box(axes), 1.7, c, {"dtype": torch.float64}, lumped=True)
        B = as_matrix(solve, box.shape)
        if seed % 2:
            np.testing.assert_allclose(B @ A, np.eye(len(A)), rtol=0, atol=1e-9)
        else:
            values = np.linalg.eigvals(B @ A).real
            assert values.min() > 0.25
            assert values.max() < 4


def test_the_tensor_solver_knows_a_small_eigenvalue_from_none() -> None:
    """What makes −Δu + c u = 1 singular is its ends and c, not how long its longest axis is."""
    y = np.linspace(0, 8e3, 9)[1:-1]
    free, wide = Axis(8, 0.125, ENDS["free"]), Axis(8, 1e3, ENDS["held"])
    for axes, c, expected, digits in (
        ((Axis(8, 1e-5, ENDS["free"]), wide), 0.0, y * (8e3 - y) / 2, 1e-9),
        ((Axis(8, 1e-5, ENDS["joined"]), wide), 0.0, y * (8e3 - y) / 2, 1e-9),
        ((Axis(8, 0.125, ENDS["joined"]), free), 1e-12, 1e12, 1e-9),
        ((free, Axis(8, 0.125, ENDS["free"], (1e-9, 0.0))), 0.0, 1e9, 1e-3),
    ):
        box = Box(axes)
        solve = TensorSolver(box, 1.0, c, {"dtype": torch.float64})
        x = solve(box.hat_integrals(torch.zeros(1, dtype=torch.float64)))
        np.testing.assert_allclose(x, np.broadcast_to(expected, box.shape), rtol=digits)
