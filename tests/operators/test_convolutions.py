"""The operators: the convolution that they are, identities of the hats, precision, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from operator_list import CONVOLUTIONS, EPS, PAIRS, Ends, convolution, nodes_of, padded, pair, poisson
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet import Prolongation, Restriction, Stencil, Stiffness
from mgnet.core.precision import full_precision

pytestmark = pytest.mark.usefixtures("one_thread")


both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])


def close(x: Any, expected: np.ndarray, dtype: torch.dtype, scale: float) -> None:
    np.testing.assert_allclose(np.asarray(x, dtype=float), expected, rtol=0, atol=32 * EPS[dtype] * scale)


# The slices, pinned to the convolution that the operator is.


SIZES = [1, 2, 3, 4, 5, 8, 31, 32, 63, 64, 65, 96, 127, 257, 1000, 4096, 4097]


@both_precisions
@pytest.mark.parametrize("boundary", [*PAIRS, "same"], ids=str)
@pytest.mark.parametrize("factor", [1, 2, 4, 32])
def test_slices_are_conv1d(factor: int, boundary: Ends, dtype: torch.dtype) -> None:
    if factor == 1:
        operator = Stencil([2.0, 3.0, 7.0], 1, boundary, dtype=dtype)
    else:
        operator = Restriction(factor, boundary, dtype=dtype)
    tried = 0
    for batch, n in itertools.product((1, 2, 7), SIZES):
        if boundary == "periodic" and n % factor:
            continue
        x = torch.randn((batch, 1, n), dtype=torch.float64).to(dtype)
        wide = padded(x, operator)
        if wide.shape[-1] < operator.kernel_size[0]:
            assert operator(x).shape == (batch, 1, 0)  # torch refuses what is empty
            continue
        expected = F.conv1d(wide, operator.weight, stride=operator.stride)
        y = operator(x)
        assert y.shape == expected.shape
        torch.testing.assert_close(y, expected, rtol=0, atol=64 * EPS[dtype] * factor)
        tried += 1
    assert tried > 8


@both_precisions
@pytest.mark.parametrize("boundary", [*PAIRS, "same"], ids=str)
@pytest.mark.parametrize("factor", [1, 2, 4, 32])
def test_transposed_slices_are_conv_transpose1d(factor: int, boundary: Ends, dtype: torch.dtype) -> None:
    if factor == 1:
        operator = Stencil([2.0, 3.0, 7.0], 1, boundary, dtype=dtype).T
    else:
        operator = Prolongation(factor, boundary, dtype=dtype)
    reach = operator.kernel_size[0] // 2
    low, high = operator.boundary
    for batch, count in ((5, 1), (1, 2), (2, 3), (1, 5), (7, 64), (1, 1001)):
        if factor == 1 and low == "natural" and count < 2:
            continue
        x = torch.randn((batch, 1, count), dtype=torch.float64).to(dtype)
        y = F.conv_transpose1d(x, operator.weight, stride=factor)
        if low == "periodic":
            n = factor * count
            places = (torch.arange(y.shape[-1]) - reach) % n
            expected = torch.zeros((batch, 1, n), dtype=dtype).index_add(2, places, y)
        else:
            cut = [reach - factor + 1 if end == "dirichlet" else reach for end in (low, high)]
            expected = y[..., cut[0] : y.shape[-1] - cut[1]].clone()
            if factor == 1 and low == "natural":
                expected[..., 0] += y[..., 0]
            if factor == 1 and high == "natural":
                expected[..., -1] += y[..., -1]
        torch.testing.assert_close(operator(x), expected, rtol=0, atol=64 * EPS[dtype] * factor)


@both_precisions
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("boundary", ["dirichlet", "natural", "periodic", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_slices_are_conv2d_and_conv3d(stride: int, boundary: str, dim: int, dtype: torch.dtype) -> None:
    kernel = np.random.default_rng(0).normal(size=[3] * dim)
    operator = Stencil(kernel, stride, boundary, dim=dim, dtype=dtype)
    convolve = F.conv2d if dim == 2 else F.conv3d
    for shape in ((4, 6, 8)[:dim], (3, 3, 3)[:dim], (16, 9, 5)[:dim]):
        if boundary == "periodic" and stride == 2 and any(n % 2 for n in shape):
            continue
        x = torch.randn((3, 1, *shape), dtype=torch.float64).to(dtype)
        wide = padded(x, operator)
        expected = convolve(wide, operator.weight, stride=stride)
        torch.testing.assert_close(operator(x), expected, rtol=0, atol=200 * EPS[dtype])


def test_a_fixed_kernel_and_a_learned_one_give_the_same() -> None:
    for dim, boundary in itertools.product((1, 2, 3), PAIRS):
        for kind, sizes in ((Restriction, (7, 7, 7)), (Prolongation, (3, 3, 3))):
            sizes = (8, 8, 8) if boundary == "periodic" and kind is Restriction else sizes
            sizes = (6, 6, 6) if kind is Restriction and isinstance(boundary, tuple) else sizes
            x = torch.randn((2, 1, *sizes[:dim]), dtype=torch.float64)
            fixed, learned = (kind(boundary=boundary, dim=dim, learned=learned) for learned in (False, True))
            torch.testing.assert_close(fixed(x), learned(x).detach(), rtol=0, atol=1e-14)


def test_no_unknowns_give_no_unknowns() -> None:
    """As on a single cell between two Dirichlet ends."""
    empty = torch.zeros(2, 1, 0, dtype=torch.float64)
    assert Stiffness(1.0)(empty).shape == (2, 1, 0)
    assert Stencil([1.0, 2.0, 3.0])(empty).shape == (2, 1, 0)
    assert Restriction()(torch.ones(2, 1, 1, dtype=torch.float64)).shape == (2, 1, 0)
    assert (Prolongation()(empty) == torch.zeros(2, 1, 1)).all()
    assert (Prolongation(32)(empty) == torch.zeros(2, 1, 31)).all()


@pytest.mark.parametrize("boundary", [pair for pair in PAIRS if pair != "periodic"] + ["same"], ids=str)
@pytest.mark.parametrize("dim", [1, 2])
def test_output_size_says_what_the_coarse_grid_leaves_open(boundary: Ends, dim: int) -> None:
    R = Restriction(boundary=boundary, dim=dim)
    for n in range(2, 9):
        u = torch.randn((2, 1, *[n] * dim), dtype=torch.float64)
        v = torch.randn_like(R(u))
        back = R.T(v, output_size=u.shape[2:])
        assert back.shape == u.shape
        assert (R(u) * v).sum().item() == pytest.approx((u * back).sum().item(), abs=1e-13)


# The identities of the hats.


def hat_boundaries() -> list[tuple[str, str]]:
    return [*itertools.product(("dirichlet", "natural"), repeat=2), ("periodic", "periodic")]


def test_the_numbers_of_the_lecture() -> None:
    """Seed (1.22): rows of ½, 1, ½, two columns further on each row; the prolongation is its transpose."""
    R = Restriction().to_dense(7).numpy()
    expected = [[0.5, 1, 0.5, 0, 0, 0, 0], [0, 0, 0.5, 1, 0.5, 0, 0], [0, 0, 0, 0, 0.5, 1, 0.5]]
    assert R.tolist() == expected  # eq: restriction
    assert Prolongation().to_dense(3).numpy().T.tolist() == expected  # eq: prolongation
    assert Restriction().weight.flatten().tolist() == [0.5, 1, 0.5]


def test_the_stiffness_of_the_design() -> None:
    assert Stiffness(1.0).weight.flatten().tolist() == [-1, 2, -1]
    A = Stiffness(0.25).to_dense(3).numpy()
    assert A.tolist() == [[8, -4, 0], [-4, 8, -4], [0, -4, 8]]  # eq: stiffness


@both_precisions
@pytest.mark.parametrize("boundary", hat_boundaries(), ids=str)
@pytest.mark.parametrize("factor", [2, 3, 4, 32])
def test_restriction_is_the_transpose_of_prolongation(
    boundary: tuple[str, str], factor: int, dtype: torch.dtype
) -> None:
    cells = 4 * factor
    fine, coarse = (
        len(nodes_of(n, boundary if boundary[0] != "periodic" else "periodic")) for n in (cells, 4)
    )
    R = Restriction(factor, boundary, dtype=dtype).to_dense(fine)
    P = Prolongation(factor, boundary, dtype=dtype).to_dense(coarse)
    assert (R.T == P).all()


@pytest.mark.parametrize("boundary", hat_boundaries(), ids=str)
@pytest.mark.parametrize("factor", [2, 3, 4, 32])
@pytest.mark.parametrize("c", [0.0, 5.0])
def test_galerkin_in_one_dimension(boundary: tuple[str, str], factor: int, c: float) -> None:
    robin = tuple(1.5 * (end == "natural") for end in boundary)
    cells, h = 5 * factor, 0.3
    fine, coarse = (
        len(nodes_of(n, "periodic" if boundary[0] == "periodic" else boundary)) for n in (cells, 5)
    )
    A = Stiffness(h, 2.0, c, boundary, robin=robin).to_dense(fine)
    R, P = Restriction(factor, boundary).to_dense(fine), Prolongation(factor, boundary).to_dense(coarse)
    expected = poisson(5, factor * h, 2.0, c, boundary if boundary[0] != "periodic" else "periodic", robin)
    close(R @ A @ P, expected, torch.float64, np.abs(expected).max())  # eq: galerkin
    if factor == 2:
        own = Stiffness(h, 2.0, c, boundary, robin=robin).coarse().to_dense(coarse)
        close(own, expected, torch.float64, np.abs(expected).max())


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("boundary", ["dirichlet", "periodic"])
def test_galerkin_in_more_dimensions(dim: int, boundary: str) -> None:
    """R A P is A on the coarse grid: Q1 on a grid of equal cells, written down as tensor products."""
    K, M = np.array([-1.0, 2, -1]), np.array([1.0, 4, 1]) / 6

    def kernel(h: float) -> np.ndarray:
        terms = ([K / h if i == j else M * h for j in range(dim)] for i in range(dim))
        return sum(reduce(np.multiply.outer, term) for term in terms)

    cells = (6, 4, 4)[:dim]
    fine, coarse = (tuple(len(nodes_of(n // f, boundary)) for n in cells) for f in (1, 2))
    A, A_H = (
        Stencil(kernel(h), boundary=boundary, dim=dim).to_dense(s) for h, s in ((0.5, fine), (1.0, coarse))
    )
    R, P = Restriction(boundary=boundary, dim=dim), Prolongation(boundary=boundary, dim=dim)
    np.testing.assert_allclose(R.to_dense(fine) @ A @ P.to_dense(coarse), A_H, rtol=0, atol=1e-14)
    if dim == 2:
        assert (4 * R.weight[0, 0]).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]  # eq: restriction-box
        expected = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 3
        np.testing.assert_allclose(kernel(0.5), expected, rtol=0, atol=1e-15)


@both_precisions
@pytest.mark.parametrize("boundary", hat_boundaries(), ids=str)
def test_five_levels_at_once(boundary: tuple[str, str], dtype: torch.dtype) -> None:
    fine = len(nodes_of(32 * 6, "periodic" if boundary[0] == "periodic" else boundary))
    b = torch.randn((3, 1, fine), dtype=torch.float64).to(dtype)
    steps = b
    for _ in range(5):
        steps = Restriction(2, boundary, dtype=dtype)(steps)
    # eq: wide-hat
    torch.testing.assert_close(Restriction(32, boundary, dtype=dtype)(b), steps, rtol=0, atol=64 * EPS[dtype])
    e = torch.randn_like(steps)
    up = e
    for _ in range(5):
        up = Prolongation(2, boundary, dtype=dtype)(up)
    torch.testing.assert_close(Prolongation(32, boundary, dtype=dtype)(e), up, rtol=0, atol=64 * EPS[dtype])


@both_precisions
def test_differences_keep_the_digits_of_small_row_sums(dtype: torch.dtype) -> None:
    """A constant meets the row sums alone, even where they are below the rounding of the kernel."""
    h, c = 1e-4, 1e-3
    A = Stiffness(h, 1.0, c, "natural", dtype=dtype)
    y = A(torch.ones(1, 1, 50, dtype=dtype)).double().flatten().numpy()
    expected = np.full(50, c * h)
    expected[[0, -1]] /= 2
    np.testing.assert_allclose(y, expected, rtol=4 * EPS[dtype])
    assert c * h < EPS[torch.float32] / h  # float32's kernel could not hold it
    varying = A.varying(49)(torch.ones(1, 1, 50, dtype=dtype)).double().flatten().numpy()
    np.testing.assert_allclose(varying, expected, rtol=4 * EPS[dtype])


@both_precisions
def test_second_differences_are_rounded_once(dtype: torch.dtype) -> None:
    """Neighbours of a smooth function are close, so their differences are exact: A u has all its digits."""
    n, k = 4096, 4111.3
    x = torch.arange(1, n, dtype=torch.float64) / n
    u = (1 + x * (1 - x) * x.exp()).to(dtype)
    y = Stiffness(1.0, k, dtype=dtype)(u[None, None]).flatten()[1:-1].tolist()
    exact, conductance = [Fraction(v) for v in u.tolist()], Fraction(k)
    expected = [conductance * (2 * exact[i] - exact[i - 1] - exact[i + 1]) for i in range(1, n - 2)]
    assert all(abs(Fraction(a) - b) <= 2 * EPS[dtype] * abs(b) for a, b in zip(y, expected, strict=True))


@pytest.mark.parametrize("boundary", PAIRS, ids=str)
@pytest.mark.parametrize("c", [0.0, 7.0])
def test_the_spelled_out_operator_is_the_same(boundary: Ends, c: float) -> None:
    robin = tuple(2.5 * (end == "natural") for end in pair(boundary))
    A = Stiffness(0.2, 3.0, c, boundary, robin=robin)
    for cells in (2, 3, 8):
        n = len(nodes_of(cells, boundary))
        close(A.varying(cells).to_dense(), A.to_dense(n).numpy(), torch.float64, 40)
        close(A.varying(cells).diagonal(), np.diag(A.to_dense(n).numpy()), torch.float64, 40)
        close(A.diagonal(n), np.diag(A.to_dense(n).numpy()), torch.float64, 40)


@pytest.mark.parametrize("c", [0.0, 2.0])
def test_one_unknown_has_a_diagonal(c: float) -> None:
    for boundary, cells in (("periodic", 1), (("dirichlet", "natural"), 1), ("dirichlet", 2)):
        expected = poisson(cells, 0.5, 3.0, c, boundary)
        A = Stiffness(0.5, 3.0, c, boundary)
        for operator in (A.on(cells), A.varying(cells)):
            close(operator.to_dense(), expected, torch.float64, 12)
            close(operator.diagonal(), expected[0], torch.float64, 12)
        close(A.to_dense(1), expected, torch.float64, 12)
        close(A.diagonal(1), expected[0], torch.float64, 12)


def test_what_maps_constants_to_zero_is_singular() -> None:
    for boundary, c, robin in itertools.product(hat_boundaries(), (0.0, 1e-12), ((0.0, 0.0), (0.0, 1e-12))):
        A = Stiffness(0.5, 1.0, c, boundary, robin=robin)
        if boundary[0] == "periodic" and any(robin):
            continue
        expected = "dirichlet" not in boundary and not c and not any(robin)
        assert A.singular == expected
        assert A.varying(4).singular == expected


# Precision.


PRECISIONS = [
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.mkldnn.matmul,
    torch.backends.mkldnn.conv,
]


@pytest.fixture
def settings() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), [place.fp32_precision for place in PRECISIONS]
    yield
    torch.set_float32_matmul_precision(before[0])
    for place, precision in zip(PRECISIONS, before[1], strict=True):
        place.fp32_precision = precision


def state() -> list[Any]:
    return [torch.is_autocast_enabled("cpu"), *(place.fp32_precision for place in PRECISIONS)]


def test_full_precision_restores_what_it_changes(settings: None) -> None:
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = state()
        assert before[0]
        assert {"tf32", "bf16"} & set(before[1:])
        with full_precision():
            assert state() == [False] + ["ieee"] * len(PRECISIONS)
            with full_precision():
                assert state() == [False] + ["ieee"] * len(PRECISIONS)
            assert state() == [False] + ["ieee"] * len(PRECISIONS)
        assert state() == before
        with pytest.raises(ZeroDivisionError), full_precision():
            raise ZeroDivisionError
        assert state() == before
    assert not torch.is_autocast_enabled("cpu")
    assert state()[1:] == before[1:]


def channels() -> list[Any]:
    rng = np.random.default_rng(0)
    make = {"boundary": "same", "dtype": torch.float32}
    return [
        Stencil(rng.normal(size=(4, 3, 3, 3)), dim=2, **make),
        Stencil(rng.normal(size=(4, 3, 3)), **make),
        Restriction(kernel=rng.normal(size=(4, 3, 3, 3)), dim=2, **make),
        Prolongation(kernel=rng.normal(size=(3, 4, 3, 3)), dim=2, **make),
        Stencil([1.0, 2.0, 3.0], **make),
        Stiffness(0.1, dtype=torch.float32),
    ]


@pytest.mark.parametrize("operator", channels(), ids=lambda operator: operator._get_name())
def test_float32_means_float32(operator: Any, settings: None) -> None:
    x = torch.randn(2, operator.in_channels, *[16] * operator.dim)
    expected = operator(x).detach()
    torch.set_float32_matmul_precision("medium")
    assert (operator(x) == expected).all()
    before = state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = operator(x)
        assert y.dtype == torch.float32
        assert (y == expected).all()
        assert torch.is_autocast_enabled("cpu")
        # The test can fail: a bare convolution does lose digits here.
        bare = F.conv1d(torch.randn(1, 3, 9), torch.randn(4, 3, 3))
        assert bare.dtype == torch.bfloat16
    assert state() == before


@pytest.mark.parametrize("method", ["exact", "vcycle", "pcg", "fmg"])
@pytest.mark.parametrize("coarse", ["exact", "direct"])
def test_a_solution_in_float32_is_in_float32(method: str, coarse: str, settings: None) -> None:
    keywords = {"n": 96, "dtype": torch.float32, "method": method, "coarse": coarse, "levels": 2}
    plain = mgnet.solve(1.0, **keywords).u
    torch.set_float32_matmul_precision("medium")
    before = state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (mgnet.solve(1.0, **keywords).u == plain).all()
    assert state() == before


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stencil([1.0], dim=4), r"dim: got 4; accepted: 1, 2 or 3"),
        (lambda: Restriction(dim=0), r"dim: got 0; accepted: 1, 2 or 3"),
        (lambda: Stencil([1.0, 2, 1], boundary="reflect"), r"boundary: got 'reflect'; accepted: one of"),
        (lambda: Stencil([1.0, 2, 1], boundary=("periodic", "dirichlet")), r"boundary: got \('periodic'"),
        (lambda: Stencil([1.0, 2, 1], boundary=("same",) * 3), r"boundary: got \('same', 'same', 'same'\)"),
        (lambda: Stencil([1.0, 2]), r"kernel: got sizes \(2,\); accepted: one odd size"),
        (lambda: Stencil(np.ones((3, 5)), dim=2), r"kernel: got sizes \(3, 5\); accepted: one odd size"),
        (lambda: Stencil(np.ones((3, 3))), r"kernel: got 2 axes; accepted: 1, or 2 more for channels"),
        (lambda: Restriction(0), r"factor: got 0; accepted: an integer of at least 1"),
        (lambda: Restriction(-2), r"factor: got -2; accepted: an integer of at least 1"),
        (lambda: Prolongation(2.5), r"factor: got 2\.5; accepted: an integer of at least 1"),
        (lambda: Stencil(np.ones((3, 1, 3)), groups=2), r"groups: got 2; accepted: a divisor of 3"),
        (lambda: Restriction(groups=0), r"groups: got 0; accepted: an integer of at least 1"),
        (lambda: Restriction(True), r"factor: got True; accepted: an integer of at least 1"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_stiffness_refuses_four_dimensions() -> None:
    with pytest.raises(ValueError, match="dim: got 4; accepted: 1, 2 or 3"):
        Stiffness(dim=4)


@pytest.mark.parametrize("size", [5, 7])
def test_a_wide_kernel_at_a_natural_end(size: int) -> None:
    kernel = np.arange(1.0, size + 1)
    A = Stencil(kernel, boundary="natural")
    np.testing.assert_allclose(A.T.to_dense(9), A.to_dense(9).T)
    np.testing.assert_allclose(A.to_dense(9), convolution(kernel[None, None], (9,), 1, "natural"))


@pytest.mark.parametrize(("size", "n"), [(5, 1), (7, 2)])
def test_a_kernel_wider_than_the_period(size: int, n: int) -> None:
    kernel = np.arange(1.0, size + 1)
    dense = Stencil(kernel, boundary="periodic").to_dense(n)
    np.testing.assert_allclose(dense, convolution(kernel[None, None], (n,), 1, "periodic"))


@pytest.mark.parametrize("boundary", ["dirichlet", "periodic"])
def test_injection(boundary: str) -> None:
    n = len(nodes_of(8, boundary))
    R = Restriction(kernel=[1.0], boundary=boundary)
    np.testing.assert_allclose(R.to_dense(n), convolution(np.ones((1, 1, 1)), (n,), 2, boundary))


@pytest.mark.parametrize("make", [Stencil, lambda kernel: Prolongation(kernel=kernel)], ids=["A", "P"])
def test_a_loaded_kernel_is_the_one_applied(make: Any) -> None:
    one, other = make([1.0, 2.0, 3.0]), make([4.0, 5.0, 6.0])
    one.load_state_dict(other.state_dict())
    x = torch.ones(1, 1, 4, dtype=torch.float64)
    assert (one.weight == other.weight).all()
    assert (one(x) == other(x)).all()


@pytest.mark.parametrize("learned", [False, True])
def test_a_kernel_is_no_view_of_the_array_it_came_from(learned: bool) -> None:
    for kernel in (torch.ones(1, 1, 3, dtype=torch.float64), np.ones(3)):
        one, other = (Stencil(kernel, learned=learned) for _ in range(2))
        kernel *= 5
        with torch.no_grad():
            one.weight.mul_(2)
        assert one.weight.flatten().tolist() == [2, 2, 2] and other.weight.flatten().tolist() == [1, 1, 1]


def test_channels_that_a_convolution_refuses() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        F.conv1d(torch.ones(1, 3, 9), torch.ones(1, 1, 3))
    with pytest.raises((RuntimeError, ValueError), match="channels"):
        Stencil([1.0, 2.0, 1.0], boundary="same")(torch.ones(1, 3, 9))


@pytest.mark.parametrize("make", [Stiffness, lambda: Stencil([1.0, 2.0, 3.0])], ids=["A", "stencil"])
def test_the_matrix_of_no_unknowns(make: Any) -> None:
    assert make().to_dense(0).shape == (0, 0)


@pytest.mark.parametrize("factor", [2, 32])
def test_a_period_that_does_not_divide(factor: int) -> None:
    with pytest.raises(ValueError, match="5 .*accepted"):
        Restriction(factor, "periodic")(torch.ones(1, 1, 5))


@pytest.mark.parametrize("stride", [0, -1, 2.5, True])
def test_strides_that_are_none(stride: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="stride: got .*; accepted"):
        Stencil([1.0, 2.0, 1.0], stride)


# Convolutions of networks.


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("size", "stride", "boundary"),
    [(3, 1, "same"), (3, 2, "same"), (1, 2, "same"), (5, 1, "valid"), (7, 3, "valid"), (4, 1, "valid")],
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_learned_convolution_is_that_of_torch(
    dim: int, size: int, stride: int, boundary: str, bias: bool
) -> None:
    torch.manual_seed(dim)
    made = mgnet.operators.convolution((2, 3), size, stride, boundary, bias=bias, dim=dim)
    assert isinstance(made, CONVOLUTIONS[dim])
    assert [name for name, _ in made.named_parameters()] == (["weight", "bias"] if bias else ["weight"])
    x = torch.randn(2, 2, *(9, 8, 7)[:dim])
    padding = size // 2 if boundary == "same" else 0
    expected = (F.conv1d, F.conv2d, F.conv3d)[dim - 1](x, made.weight, made.bias, stride, padding)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=0)
    reach = (2 * size**dim) ** -0.5
    for numbers in made.parameters():
        assert numbers.dtype == torch.float32
        assert float(numbers.detach().abs().max()) <= reach
    if made.weight.numel() > 50:
        assert float(made.weight.detach().std()) == pytest.approx(reach / 3**0.5, rel=0.2)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("make", [Stencil, Restriction, Prolongation])
def test_groups_are_operators_side_by_side(make: Any, dim: int, learned: bool) -> None:
    kernels = np.random.default_rng(dim).normal(size=(4, 3, *[3] * dim))  # two groups
    like: dict[str, Any] = {"learned": learned, "dim": dim}

    def made(kernel: np.ndarray, **groups: int) -> Any:
        return make(kernel, 2, **groups, **like) if make is Stencil else make(kernel=kernel, **groups, **like)

    grouped, shape = made(kernels, groups=2), (7, 5, 3)[:dim]
    whole = grouped.to_dense(shape).detach()
    torch.testing.assert_close(
        whole, torch.block_diag(*(made(kernel).to_dense(shape).detach() for kernel in np.split(kernels, 2)))
    )
    assert grouped.T.weight is grouped.weight and grouped.T.groups == 2
    outputs = grouped(torch.zeros(1, grouped.in_channels, *shape).double()).shape[2:]
    torch.testing.assert_close(grouped.T.to_dense(outputs).detach(), whole.T)


def test_one_kernel_for_every_group() -> None:
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    kernel = np.arange(9.0).reshape(3, 3)
    alone, each = Stencil(kernel, dim=2), Stencil(kernel, groups=3, dim=2)
    torch.testing.assert_close(each(x), torch.cat([alone(part) for part in x.split(1, 1)], 1))


def test_the_adjoint_of_a_valid_convolution() -> None:
    kernel = np.random.default_rng(0).normal(size=(1, 1, 4))
    made = Stencil(kernel, boundary="valid")
    dense = made.to_dense(7)
    assert dense.shape == (4, 7)
    torch.testing.assert_close(made.T.to_dense(4), dense.T)


def test_a_fixed_kernel_with_a_bias() -> None:
    made = Stencil([1.0, 2.0, 1.0], bias=True)
    with torch.no_grad():
        made.bias += 3.0
    torch.testing.assert_close(
        made(torch.ones(1, 1, 3, dtype=torch.float64)).flatten(), torch.tensor([6.0, 7, 6]).double()
    )


def test_an_even_kernel_has_no_middle() -> None:
    with pytest.raises(ValueError, match=r"kernel: got sizes \(2,\).*or any one size with boundary='valid'"):
        Stencil([1.0, 1.0])
    with pytest.raises(ValueError, match="channels: got 0"):
        mgnet.operators.convolution((0, 3), 3)
