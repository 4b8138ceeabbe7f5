"""The operators: one list of factories times one conformance test, and the convolution that they are.

The expected matrices are built here, entry by entry, from hat functions and cells; none of the package's
numbers goes into them. A new operator joins by one line in ``CASES``.
"""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet import Prolongation, Restriction, Stencil, Stiffness
from mgnet.precision import full_precision
from mgnet.varying import VaryingProlongation, VaryingStiffness

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
PAIRS = ["dirichlet", "natural", "periodic", ("dirichlet", "natural"), ("natural", "dirichlet")]

Ends = str | tuple[str, str]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations in many threads wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The expected matrices.


def pair(boundary: Ends) -> tuple[str, str]:
    return (boundary, boundary) if isinstance(boundary, str) else boundary


def nodes_of(cells: int, boundary: Ends) -> np.ndarray:
    """Number the nodes that are unknowns, among 0 ... cells."""
    low, high = pair(boundary)
    return np.arange(low == "dirichlet", cells + 1 - (high in ("dirichlet", "periodic")))


def interpolation(cells: int, factor: int, boundary: Ends) -> np.ndarray:
    """Evaluate each coarse hat at each fine node: the matrix of the prolongation."""
    fine, coarse = nodes_of(cells, boundary), nodes_of(cells // factor, boundary) * factor
    P = np.zeros((len(fine), len(coarse)))
    for j, centre in enumerate(coarse):
        for shift in (-cells, 0, cells) if pair(boundary)[0] == "periodic" else (0,):
            P[:, j] += np.interp(
                fine, [centre + shift - factor, centre + shift, centre + shift + factor], [0, 1, 0]
            )
    return P


def convolution(kernel: np.ndarray, shape: tuple[int, ...], stride: int, boundary: Ends) -> np.ndarray:
    """Write the matrix of a convolution, tap by tap; kernel (out, in, *sizes), reach r along each axis."""
    low, high = pair(boundary)
    reach, dim = kernel.shape[2] // 2, len(shape)
    first = stride - 1 if low == "dirichlet" else 0  # the node of the first output
    cells = [n if low == "periodic" else n - 1 + (low, high).count("dirichlet") for n in shape]
    ends = 0 if low == "periodic" else 1 - (low, high).count("dirichlet")
    outputs = [count // stride + ends if n else 0 for count, n in zip(cells, shape, strict=True)]
    A = np.zeros((kernel.shape[0], *outputs, kernel.shape[1], *shape))
    for place in itertools.product(*map(range, outputs)):
        for tap in itertools.product(range(2 * reach + 1), repeat=dim):
            nodes = [first + stride * i + o - reach for i, o in zip(place, tap, strict=True)]
            if low == "periodic":
                nodes = [i % n for i, n in zip(nodes, shape, strict=True)]
            if stride == 1:  # the nearest end node stands for those past a natural end
                nodes = [max(i, 0) if low == "natural" else i for i in nodes]
                nodes = [min(i, n - 1) if high == "natural" else i for i, n in zip(nodes, shape, strict=True)]
            if all(0 <= i < n for i, n in zip(nodes, shape, strict=True)):
                A[(slice(None), *place, slice(None), *nodes)] += kernel[(slice(None), slice(None), *tap)]
    return A.reshape(kernel.shape[0] * int(np.prod(outputs)), kernel.shape[1] * int(np.prod(shape)))


def finite_elements(
    k: Sequence[float], s: Sequence[float], boundary: Ends, robin: Sequence[float] = (0.0, 0.0)
) -> np.ndarray:
    """Assemble cell by cell: conductances of cells, row sums of nodes; then drop or join the ends."""
    n = len(k)
    A = np.diag(np.asarray(s, dtype=float))
    for i in range(n):
        A[i : i + 2, i : i + 2] += k[i] * np.array([[1, -1], [-1, 1]])
    A[0, 0] += robin[0]
    A[n, n] += robin[1]
    if boundary == "periodic":
        A[0] += A[n]
        A[:, 0] += A[:, n]
    keep = nodes_of(n, boundary)
    return A[np.ix_(keep, keep)]


def poisson(
    cells: int, h: float, a: float, c: float, boundary: Ends, robin: Sequence[float] = (0.0, 0.0)
) -> np.ndarray:
    """Assemble −(a u′)′ + c u from the element matrices of stiffness and mass."""
    s = np.zeros(cells + 1)
    s[:-1] += c * h / 2
    s[1:] += c * h / 2
    return finite_elements([a / h - c * h / 6] * cells, s, boundary, robin)


def schur_interpolation(A: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Interpolate by eliminating the new unknowns of a dense matrix."""
    old = np.setdiff1d(np.arange(len(A)), new)
    P = np.zeros((len(A), len(old)))
    P[old, np.arange(len(old))] = 1
    P[new] = -np.linalg.solve(A[np.ix_(new, new)], A[np.ix_(new, old)])
    return P


# The factories.


@dataclass
class Case:
    name: str
    make: Callable[..., Any]
    shape: tuple[int, ...]
    dense: np.ndarray
    channels: int = 1
    kind: type | None = None
    learned: bool = False

    def __str__(self) -> str:
        return self.name


def kron(*matrices: np.ndarray) -> np.ndarray:
    return reduce(np.kron, matrices)


def transfers() -> Iterator[Case]:
    for boundary, factor in itertools.product(PAIRS, (2, 3, 32)):
        cells = 3 * factor
        P = interpolation(cells, factor, boundary)
        label = f"{factor}-{boundary}"
        keywords = {"factor": factor, "boundary": boundary}
        yield Case(f"R-{label}", partial(Restriction, **keywords), P.shape[:1], P.T, kind=nn.Conv1d)
        yield Case(f"P-{label}", partial(Prolongation, **keywords), P.shape[1:], P, kind=nn.ConvTranspose1d)
    for boundary, dim, learned in itertools.product(PAIRS, (2, 3), (False, True)):
        counts = (4, 6, 8)[:dim]
        axes = [interpolation(cells, 2, boundary) for cells in counts]
        P, label = kron(*axes), f"{dim}d-{boundary}{'-learned' * learned}"
        keywords = {"boundary": boundary, "dim": dim, "learned": learned}
        fine, coarse = (tuple(axis.shape[i] for axis in axes) for i in (0, 1))
        yield Case(f"R-{label}", partial(Restriction, **keywords), fine, P.T, 1, CONVOLUTIONS[dim], learned)
        yield Case(f"P-{label}", partial(Prolongation, **keywords), coarse, P, 1, TRANSPOSED[dim], learned)


def convolutions() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    shapes = {1: (11,), 2: (5, 7), 3: (3, 5, 3)}
    for dim, boundary, stride in itertools.product((1, 2, 3), [*PAIRS, "same"], (1, 2)):
        kernel = rng.normal(size=(1, 1, *[3] * dim))
        # All of these sizes are odd; joined ends, and different ones, need an even number of nodes.
        even = boundary == "periodic" or isinstance(boundary, tuple)
        shape = tuple(n + even for n in shapes[dim])
        dense = convolution(kernel, shape, stride, boundary)
        make = partial(Stencil, kernel[0, 0], stride, boundary, dim=dim)
        yield Case(f"stencil-{dim}d-{boundary}-{stride}", make, shape, dense, 1, CONVOLUTIONS[dim])
    for dim, learned, stride in itertools.product((1, 2, 3), (False, True), (1, 2)):
        kernel = rng.normal(size=(2, 3, *[3] * dim))
        make = partial(Stencil, kernel, stride, "same", dim=dim, learned=learned)
        label = f"stencil-{dim}d-channels-{stride}{'-learned' * learned}"
        dense = convolution(kernel, shapes[dim], stride, "same")
        yield Case(label, make, shapes[dim], dense, 3, CONVOLUTIONS[dim], learned)
    for size, boundary in itertools.product((1, 5, 7), ("dirichlet", "periodic", "same")):
        kernel = rng.normal(size=(1, 1, size))
        make = partial(Stencil, kernel[0, 0], 1, boundary)
        yield Case(
            f"stencil-size-{size}-{boundary}",
            make,
            (9,),
            convolution(kernel, (9,), 1, boundary),
            1,
            nn.Conv1d,
        )


def stiffnesses() -> Iterator[Case]:
    rng = np.random.default_rng(8)
    for boundary, c, robin in itertools.product(PAIRS, (0.0, 3.0), ((0.0, 0.0), (5.0, 0.25))):
        given = tuple(r if end == "natural" else 0.0 for r, end in zip(robin, pair(boundary), strict=True))
        dense = poisson(9, 0.3, 2.0, c, boundary, given)
        make = partial(Stiffness, 0.3, 2.0, c, boundary, robin=given)
        yield Case(f"A-{boundary}-c{c:g}-robin{robin[0]:g}", make, (len(dense),), dense, 1, nn.Conv1d)
    for boundary, reacts, cells in itertools.product(PAIRS, (False, True), (9, 10)):
        robin = (0.0 if pair(boundary)[0] != "natural" else 3.0, 0.0)
        k, s = rng.uniform(0.1, 9, cells), rng.uniform(0, 2, cells + 1) * reacts
        dense = finite_elements(k, s, boundary, robin)
        label = f"{boundary}-{cells}{'-c' * reacts}"
        make = partial(varying_stiffness, k, s if reacts else None, pair(boundary), robin)
        yield Case(f"varying-A-{label}", make, (len(dense),), dense)
        new = np.searchsorted(nodes_of(cells, boundary), np.arange(1, cells - cells % 2, 2))
        bare = finite_elements(k, s, boundary)
        P = schur_interpolation(bare, new)
        make = partial(varying_prolongation, k, s if reacts else None, pair(boundary))
        yield Case(f"varying-P-{label}", make, P.shape[1:], P)
        yield Case(f"varying-R-{label}", adjoint_of(make), P.shape[:1], P.T)


def partial(make: Callable[..., Any], *args: Any, **keywords: Any) -> Callable[..., Any]:
    return lambda dtype: make(*args, **keywords, dtype=dtype)


def adjoint_of(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda dtype: make(dtype).T


def varying_stiffness(k: Any, s: Any, ends: Any, robin: Any, dtype: torch.dtype) -> VaryingStiffness:
    return VaryingStiffness(
        torch.tensor(k, dtype=dtype), None if s is None else torch.tensor(s, dtype=dtype), ends, robin
    )


def varying_prolongation(k: Any, s: Any, ends: Any, dtype: torch.dtype) -> VaryingProlongation:
    return varying_stiffness(k, s, ends, (0.0, 0.0), dtype).coarsen()[1]


CASES = [*transfers(), *convolutions(), *stiffnesses()]
MODULES = [case for case in CASES if case.kind]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_module = pytest.mark.parametrize("case", MODULES, ids=str)
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])


def random(case: Case, dtype: torch.dtype, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, case.channels, *case.shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def one_or_more(shape: tuple[int, ...]) -> Any:
    """Give the shape of one axis as a number, as the interface allows."""
    return shape if len(shape) > 1 else shape[0]


def flat(x: Tensor) -> np.ndarray:
    return x.detach().double().flatten(1).numpy()


def close(x: Any, expected: np.ndarray, dtype: torch.dtype, scale: float) -> None:
    np.testing.assert_allclose(np.asarray(x, dtype=float), expected, rtol=0, atol=32 * EPS[dtype] * scale)


# The conformance test.


@every_case
def test_matrix(case: Case) -> None:
    for dtype in EPS:
        matrix = case.make(dtype).to_dense(one_or_more(case.shape))
        assert matrix.dtype == dtype
        assert matrix.shape == case.dense.shape
        close(matrix.detach(), case.dense, dtype, np.abs(case.dense).max())


@every_case
def test_application(case: Case) -> None:
    for dtype, batch in itertools.product(EPS, (0, 1, 3)):
        operator, x = case.make(dtype), random(case, dtype, batch)
        before = x.clone()
        y = operator(x)
        assert (y.dtype, y.shape[0]) == (dtype, batch)
        close(flat(y), flat(x) @ case.dense.T, dtype, np.abs(case.dense).sum(1).max() * 5)
        assert (x == before).all()


@every_case
def test_adjoint(case: Case) -> None:
    for dtype in EPS:
        operator, u = case.make(dtype), random(case, dtype)
        Au = operator(u)
        v = torch.randn(Au.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        left, right = (flat(Au) * flat(v)).sum(), (flat(u) * flat(operator.T(v))).sum()
        size = np.linalg.norm(flat(Au)) * np.linalg.norm(flat(v))
        assert left == pytest.approx(right, abs=16 * EPS[dtype] * size)
        assert abs(right) > 1e-3  # the test is not that of zeros


@every_case
def test_matrix_of_the_adjoint(case: Case) -> None:
    operator = case.make(torch.float64)
    shape = tuple(operator(random(case, torch.float64)).shape[2:])
    matrix = operator.T.to_dense(one_or_more(shape)).detach()
    close(matrix, case.dense.T, torch.float64, np.abs(case.dense).max())
    again = operator.T.T.to_dense(one_or_more(case.shape)).detach()
    close(again, case.dense, torch.float64, np.abs(case.dense).max())


numbers = st.floats(-1e3, 1e3, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(alpha=numbers, beta=numbers, index=st.integers(0, len(CASES) - 1))
def test_linearity(alpha: float, beta: float, index: int) -> None:
    case = CASES[index]
    operator = case.make(torch.float64)
    u, v = random(case, torch.float64, seed=1), random(case, torch.float64, seed=2)
    combined = operator(alpha * u + beta * v)
    scale = (abs(alpha) + abs(beta)) * np.abs(case.dense).sum(1).max() * 5
    close(flat(combined), flat(alpha * operator(u) + beta * operator(v)), torch.float64, scale)


@every_case
def test_gradients_to_the_input(case: Case) -> None:
    x = random(case, torch.float64, 1).requires_grad_()
    y = case.make(torch.float64)(x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y.backward(v)
    expected = flat(v) @ case.dense
    close(flat(x.grad), expected, torch.float64, np.abs(case.dense).sum(0).max() * 5)


@every_module
def test_is_a_torch_convolution(case: Case) -> None:
    operator = case.make(torch.float64)
    assert isinstance(operator, case.kind)
    assert operator.bias is None
    named = dict(operator.named_parameters() if case.learned else operator.named_buffers())
    assert list(named) == ["weight"]
    assert list(operator.state_dict()) == ["weight"]
    assert isinstance(operator.weight, nn.Parameter) == case.learned
    assert len(list(operator.parameters())) == int(case.learned)


@every_module
def test_copies(case: Case) -> None:
    operator = case.make(torch.float32)
    x = random(case, torch.float32)
    expected = operator(x)
    for other in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):  # noqa: S301
        assert type(other) is type(operator)
        assert (other(x) == expected).all()
        assert (other.T(other(x)) == operator.T(expected)).all()
    file = io.BytesIO()
    torch.save(operator.state_dict(), file)
    file.seek(0)
    other = case.make(torch.float32)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other(x) == expected).all()


@every_module
def test_moves_to_another_precision(case: Case) -> None:
    operator = case.make(torch.float32).double()
    assert operator.weight.dtype == torch.float64
    x = random(case, torch.float64)
    assert operator(x).dtype == torch.float64
    # A kernel whose numbers are known in float64 lost none; a learned one has float32's.
    close(flat(operator(x)), flat(x) @ case.dense.T, torch.float32, np.abs(case.dense).sum(1).max() * 5)


@pytest.mark.parametrize("case", [case for case in MODULES if case.learned], ids=str)
def test_gradients_to_a_learned_kernel(case: Case) -> None:
    operator = case.make(torch.float64)
    x = random(case, torch.float64, 1)

    def applied(weight: Tensor) -> Tensor:
        return torch.func.functional_call(operator, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(applied, (operator.weight,))
    assert operator.T.weight is operator.weight
    assert operator.T.T.weight is operator.weight
    both = operator.T(operator(x)).square().sum()
    both.backward()
    assert operator.weight.grad.abs().max() > 0
    with torch.no_grad():
        operator.weight.mul_(2)
    close(flat(operator(x)), 2 * flat(x) @ case.dense.T, torch.float64, np.abs(case.dense).sum(1).max() * 9)


# The slices, pinned to the convolution that the operator is.


def padded(x: Tensor, operator: Any) -> Tensor:
    """Continue past the ends by torch's own padding."""
    reach, stride = operator.kernel_size[0] // 2, operator.stride[0]
    modes = {"natural": "replicate" if stride == 1 else "constant", "periodic": "circular"}
    for axis in range(x.ndim - 2):
        x = x.movedim(-1, 2)  # all axes in turn, the last one first
        for end, boundary in enumerate(operator.boundary):
            width = reach - stride + 1 if boundary == "dirichlet" else reach
            if boundary == "periodic":
                continue
            widths = [0] * (2 * (x.ndim - 2))
            widths[2 * (x.ndim - 3) + end] = width
            shape = x.shape
            x = F.pad(x.reshape(-1, *shape[1:]), widths, mode=modes.get(boundary, "constant"))
        if operator.boundary[0] == "periodic":
            widths = [0] * (2 * (x.ndim - 2))
            widths[-2:] = reach, reach - stride + 1 if stride > 1 else reach
            x = F.pad(x, widths, mode="circular")
        assert axis < 3
    return x


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
        close(A.varying(cells).to_dense(n), A.to_dense(n).numpy(), torch.float64, 40)
        close(A.varying(cells).diagonal(n), np.diag(A.to_dense(n).numpy()), torch.float64, 40)
        close(A.diagonal(n), np.diag(A.to_dense(n).numpy()), torch.float64, 40)


@pytest.mark.parametrize("c", [0.0, 2.0])
def test_one_unknown_has_a_diagonal(c: float) -> None:
    for boundary, cells in (("periodic", 1), (("dirichlet", "natural"), 1), ("dirichlet", 2)):
        expected = poisson(cells, 0.5, 3.0, c, boundary)
        A = Stiffness(0.5, 3.0, c, boundary)
        for operator in (A, A.varying(cells)):
            close(operator.to_dense(1), expected, torch.float64, 12)
            close(operator.diagonal(1), expected[0], torch.float64, 12)


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
