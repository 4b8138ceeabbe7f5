"""The exact cycle, against dense solves refined in long double and solutions known in closed form."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet import Stiffness
from mgnet.core.arrays import NonFiniteError
from mgnet.multigrid.exact import Condensation
from mgnet.operators import loops
from mgnet.operators.varying import VaryingStiffness

# Robin's alpha where an end has one.
ENDS: dict[str, tuple[tuple[str, str], tuple[float, float]]] = {
    "dirichlet": (("dirichlet", "dirichlet"), (0.0, 0.0)),
    "dirichlet-neumann": (("dirichlet", "natural"), (0.0, 0.0)),
    "neumann-dirichlet": (("natural", "dirichlet"), (0.0, 0.0)),
    "dirichlet-robin": (("dirichlet", "natural"), (0.0, 0.7)),
    "robin-dirichlet": (("natural", "dirichlet"), (1e-3, 0.0)),
    "robin": (("natural", "natural"), (50.0, 0.2)),
    "neumann-robin": (("natural", "natural"), (0.0, 3.0)),
    "neumann": (("natural", "natural"), (0.0, 0.0)),
    "periodic": (("periodic", "periodic"), (0.0, 0.0)),
}
# Where constants are free there is no one solution: tests/solver/test_solving.py has those.
FIXED = {name: value for name, value in ENDS.items() if name not in ("neumann", "periodic")}
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
SIZES = [*range(1, 71), 96, 97, 128, 129, 257]
AROUND_BLOCKS = [1024, 1025, 1057]


def unknowns_of(ends: tuple[str, str], n: int) -> np.ndarray:
    return np.arange(int(ends[0] == "dirichlet"), n + 1 - int(ends[1] != "natural"))


def apply(k: np.ndarray, s: np.ndarray, u: np.ndarray, joined: bool) -> np.ndarray:
    """Apply the operator at all nodes, by fluxes: nothing is rounded into a diagonal first."""
    flux = k * np.diff(u)
    y = s * u
    y[..., :-1] -= flux
    y[..., 1:] += flux
    if joined:
        y[..., 0] += y[..., -1]
    return y


def reference(
    k: np.ndarray,
    s: np.ndarray,
    ends: tuple[str, str],
    robin: tuple[float, float],
    b: np.ndarray,
    values: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Solve as a dense matrix, and refine by residuals in long double; all nodes of each row of ``b``."""
    n, free = len(k), unknowns_of(ends, len(k))
    joined = ends[0] == "periodic"
    s = np.asarray(s, dtype=float).copy()
    s[0] += robin[0]
    s[-1] += robin[1]
    A = apply(k, s, np.eye(n + 1), False)
    if joined:
        A[0] += A[n]
        A[:, 0] += A[:, n]
    inverse = np.linalg.inv(A[np.ix_(free, free)])
    wide = np.longdouble
    u = np.zeros((len(b), n + 1), dtype=wide)
    u[:, 0], u[:, -1] = (v if end == "dirichlet" else 0.0 for v, end in zip(values, ends, strict=True))
    for _ in range(4):
        r = b.astype(wide) - apply(k.astype(wide), s.astype(wide), u, joined)[:, free]
        u[:, free] += r.astype(float) @ inverse
        if joined:
            u[:, -1] = u[:, 0]
    return u.astype(float)


def draw(rng: np.random.Generator, rows: int, unknowns: int, nearly_singular: bool) -> np.ndarray:
    """Draw loads; nothing must cancel where only their sum counts."""
    return rng.uniform(0.1, 2, (rows, unknowns)) if nearly_singular else rng.normal(size=(rows, unknowns))


def close(u: torch.Tensor, expected: np.ndarray, roundings: float) -> None:
    """Compare with the largest value; the measure is the rounding of the precision of ``u``."""
    scale = np.abs(expected).max(-1)
    error = np.abs(u.double().numpy() - expected).max(-1)
    assert (error <= roundings * EPS[u.dtype] * scale).all(), (error / scale).max() / EPS[u.dtype]


def tensor(x: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(np.asarray(x), dtype=dtype)


# Chains of equal cells.


REACTIONS = {"none": 0.0, "small": 1e-6, "moderate": 30.0, "huge": None}
every_reaction = pytest.mark.parametrize(
    ("ends", "robin", "reaction"),
    [
        pytest.param(*ENDS[name], reaction, id=f"{name}-{reaction}")
        for reaction in REACTIONS
        for name in (FIXED if reaction == "none" else ENDS)
    ],
)


@every_reaction
def test_equal_cells(ends: tuple[str, str], robin: tuple[float, float], reaction: str) -> None:
    rng = np.random.default_rng(0)
    for n in [*SIZES, *(AROUND_BLOCKS if ends == ("dirichlet", "natural") and any(robin) else [])]:
        h, a = 1 / n, 3.0
        # Huge: a conductance turns negative at c h² = 6 a.
        c = 60 * a / h**2 if reaction == "huge" else REACTIONS[reaction]
        s = np.full(n + 1, c * h)
        s[[0, -1]] /= 2
        k = np.full(n, a / h - c * h / 6)
        b = draw(rng, 2, len(unknowns_of(ends, n)), reaction == "small")
        values = (2.0, -1.0)
        expected = reference(k, s, ends, robin, b, values)
        A = Stiffness(h, a, c, ends, robin=robin)
        u = Condensation(A.on(n)).solve(tensor(b), *values)
        close(u, expected, 40)
        # The path of cells that differ gives the same.
        other = Condensation(A.varying(n)).solve(tensor(b), *values)
        close(other, expected, 40)


@every_reaction
def test_equal_cells_in_single_precision(
    ends: tuple[str, str], robin: tuple[float, float], reaction: str
) -> None:
    rng = np.random.default_rng(1)
    for n in [1, 2, 3, 5, 31, 32, 33, 34, 64, 65, 129, 257]:
        h, a = 1 / n, 3.0
        c = 60 * a / h**2 if reaction == "huge" else REACTIONS[reaction]
        s = np.full(n + 1, c * h)
        s[[0, -1]] /= 2
        sums_count = reaction == "small" or "dirichlet" not in ends
        b = draw(rng, 1, len(unknowns_of(ends, n)), sums_count).astype(np.float32)
        expected = reference(np.full(n, a / h - c * h / 6), s, ends, robin, b)
        A = Stiffness(h, a, c, ends, robin=robin, dtype=torch.float32)
        u = Condensation(A.on(n)).solve(tensor(b, torch.float32))
        assert u.dtype == torch.float32
        close(u, expected, 20)


# Chains of cells that differ.


@pytest.mark.parametrize(
    ("ends", "robin", "reacts"),
    [pytest.param(*ENDS[name], True, id=f"{name}-c") for name in ENDS]
    + [pytest.param(*FIXED[name], False, id=name) for name in FIXED],
)
def test_different_cells(ends: tuple[str, str], robin: tuple[float, float], reacts: bool) -> None:
    rng = np.random.default_rng(2)
    for n, dtype in itertools.product((*range(1, 40), 63, 64, 65, 127, 128, 257), EPS):
        number = np.float32 if dtype == torch.float32 else np.float64
        k = (10 ** rng.uniform(-3, 3, n)).astype(number)
        s = (10 ** rng.uniform(-6, 2, n + 1) * (rng.random(n + 1) < 0.7) * reacts).astype(number)
        s[n // 2] += 1.0 * reacts
        b = rng.normal(size=(2, len(unknowns_of(ends, n)))).astype(number)
        A = VaryingStiffness(tensor(k, dtype), tensor(s, dtype) if reacts else None, ends, robin)
        u = Condensation(A).solve(tensor(b, dtype), 0.5, -3.0)
        expected = reference(k.astype(float), s.astype(float), ends, robin, b, (0.5, -3.0))
        close(u, expected, 200)


def beyond_the_mesh(n: int, seed: int, name: str) -> tuple[VaryingStiffness, np.ndarray, np.ndarray]:
    """Draw an operator with large c and a load, and give them with the solution."""
    (ends, robin), rng = ENDS[name], np.random.default_rng(seed)
    h, a = rng.uniform(0.1, 1, n), 10 ** rng.uniform(-2, 2, n)
    c = a / h**2 * 10 ** rng.uniform(-2, 3, n)
    k, s = a / h - c * h / 6, np.zeros(n + 1)
    s[:-1] += c * h / 2
    s[1:] += c * h / 2
    b = rng.normal(size=(1, len(unknowns_of(ends, n))))
    return VaryingStiffness(tensor(k), tensor(s), ends, robin), b, reference(k, s, ends, robin, b)


@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.sampled_from(list(ENDS)))
def test_reaction_beyond_the_mesh(n: int, seed: int, name: str) -> None:
    """Where c h² > 6 a conductances are negative, here and there; the matrix stays definite."""
    A, b, expected = beyond_the_mesh(n, seed, name)
    close(Condensation(A).solve(tensor(b)), expected, 200)


@pytest.mark.parametrize("n", [64, 65, 1000])
@pytest.mark.parametrize("where", [0.5, 0.31])
def test_a_jump_of_a_million(n: int, where: float) -> None:
    k = np.where(np.arange(n) < where * n, 1.0, 1e6) * n
    b = np.random.default_rng(0).normal(size=n - 1)
    for ends in (("dirichlet", "dirichlet"), ("natural", "dirichlet")):
        load = b[None] if ends[0] == "dirichlet" else np.append(1.0, b)[None]
        expected = reference(k, np.zeros(n + 1), ends, (0.0, 0.0), load)
        u = Condensation(VaryingStiffness(tensor(k), None, ends)).solve(tensor(load))
        close(u, expected, 40)
        # Not only the largest value: on the good conductor u is small, and right too.
        right = slice(int(where * n) + 1, n)
        error = np.abs(u[0, right].numpy() - expected[0, right]).max()
        assert error <= 1e-12 * np.abs(expected[0, right]).max()


def hats_of_all_levels(n: int) -> np.ndarray:
    """Give the hats that are new on a level, of all levels, by their values at the unknowns; n = 2**k."""
    x, columns, width = np.linspace(0, 1, n + 1), [], 1 / n
    while width < 1:
        columns += [np.maximum(0, 1 - abs(x - centre) / width) for centre in np.arange(width, 1, 2 * width)]
        width *= 2
    return np.array(columns).T[1:-1]


@pytest.mark.parametrize("n", [2, 8, 64, 256])
def test_hats_of_all_levels_are_orthogonal_in_energy(n: int) -> None:
    """So each adds its load over its energy to the solution, whatever the others do."""
    A, H = Stiffness(1 / n, 3.0), hats_of_all_levels(n)
    energies = H.T @ A.to_dense(n - 1).numpy() @ H
    diagonal = np.diag(energies)
    # eq: splitting
    np.testing.assert_allclose(energies, np.diag(diagonal), rtol=0, atol=1e-14 * diagonal.max())
    b = np.random.default_rng(n).normal(size=(2, n - 1))
    u = b @ H / diagonal @ H.T
    close(Condensation(A.on(n)).solve(tensor(b))[:, 1:-1], u, 40)  # eq: exact
    with_reaction = H.T @ Stiffness(1 / n, 3.0, 5.0).to_dense(n - 1).numpy() @ H
    assert n == 2 or abs(with_reaction - np.diag(np.diag(with_reaction))).max() > 1e-3


# Long chains, where a dense matrix does not go.


LONG = [2**10 + 1, 2**12 - 1, 2**15, 2**15 + 1, 2**15 + 31, 2**16 + 33, 2**18 + 1, 10**5 + 3, 2**20]


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize("n", LONG)
def test_parabolas(n: int, dtype: torch.dtype) -> None:
    """With unit conductances and loads the solutions are half integers: i (n − i) / 2 and the like."""
    i = np.arange(n + 1.0)
    for path in ("equal", "different"):
        for ends, count, exact in (
            (("dirichlet", "dirichlet"), n - 1, i * (n - i) / 2),
            (("dirichlet", "natural"), n, i * n - i * (i - 1) / 2),
            (("natural", "dirichlet"), n, (i * n - i * (i - 1) / 2)[::-1]),
        ):
            A: Any = Stiffness(1.0, boundary=ends, dtype=dtype)
            A = A.on(n) if path == "equal" else A.varying(n)
            u = Condensation(A).solve(torch.ones(1, count, dtype=dtype))
            close(u[0], exact, 16)


@pytest.mark.parametrize("n", LONG)
def test_a_constant_is_what_its_row_sums_make(n: int) -> None:
    for ends, c in itertools.product(((("natural",) * 2), ("periodic",) * 2), (1e-9, 1.0, 1e4)):
        A = Stiffness(1.0, 1.0, c, ends)
        b = torch.full((1, n + (ends[0] == "natural")), c, dtype=torch.float64)
        if ends[0] == "natural":
            b[0, [0, -1]] /= 2
        for path in (A.on(n), A.varying(n)):
            close(Condensation(path).solve(b)[0], np.ones(n + 1), 64)


def test_given_ends_make_a_straight_line() -> None:
    for n in (1, 2, 33, 1000, 2**15 + 7):
        A = Stiffness(1 / n)
        for path in (A.on(n), A.varying(n)):
            u = Condensation(path).solve(torch.zeros(1, n - 1, dtype=torch.float64), -2.0, 5.0)
            close(u[0], np.linspace(-2, 5, n + 1), 16)
            assert (u[0, 0].item(), u[0, -1].item()) == (-2.0, 5.0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 32])
def test_a_block_has_greens_function_and_wide_hats(size: int) -> None:
    """Without reaction both are known: h min(i, j) (m − max(i, j)) / m over a, and straight lines."""
    h, a, i = 0.3, 1.7, np.arange(1, size)
    b = np.random.default_rng(size).normal(size=(2, size - 1))
    G = h / a * np.minimum(i, i[:, None]) * (size - np.maximum(i, i[:, None])) / size  # eq: block-green
    expected = (size - i) / size * -2.0 + i / size * 5.0 + b @ G  # eq: block-solution
    for path in (contextlib.nullcontext(), loops.without()):
        with path:
            u = Condensation(Stiffness(h, a).on(size)).solve(tensor(b), -2.0, 5.0)
        if size > 1:
            close(u[:, 1:-1], expected, 16)


# Batches, and what is refused.


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize("n", [1, 2, 33, 70, 1057, 2**16 + 5])
def test_a_batch_is_its_rows(n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    for (ends, robin), c, path in itertools.product(ENDS.values(), (0.0, 2.0), ("equal", "different")):
        if not c and "dirichlet" not in ends and not any(robin):
            continue
        A: Any = Stiffness(1 / n, 1.0, c, ends, robin=robin, dtype=dtype)
        exact = Condensation(A.on(n) if path == "equal" else A.varying(n))
        b = torch.randn((5, len(unknowns_of(ends, n))), generator=generator, dtype=torch.float64).to(dtype)
        before = b.clone()
        u = exact.solve(b, 1.0, 2.0)
        assert u.shape == (5, n + 1)
        assert (b == before).all()
        for i in range(0, 5, 2):
            close(u[i], exact.solve(b[i : i + 1], 1.0, 2.0)[0].double().numpy(), 32)


# Compiled loops, and what torch does where there are none.


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize(("ends", "robin"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("path", ["equal", "different"])
def test_torch_gives_the_same(
    path: str, ends: tuple[str, str], robin: tuple[float, float], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    for n, rows, c in itertools.product((1, 2, 3, 63, 65, 130, 1057, 4100), (1, 3), (0.0, 3.0)):
        if not c and "dirichlet" not in ends and not any(robin):
            continue
        A: Any = Stiffness(1 / n, c=c, boundary=ends, robin=robin, dtype=dtype)
        exact = Condensation(A.on(n) if path == "equal" else A.varying(n))
        b = torch.rand((rows, len(unknowns_of(ends, n))), generator=generator, dtype=torch.float64).to(dtype)
        with loops.without():
            expected = exact.solve(b, 1.0, -2.0)
        close(exact.solve(b, 1.0, -2.0), expected.double().numpy(), 64)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize(("rows", "n"), [(1, 2**21 + 77), (3, 2**17 + 1), (300, 1000)])
@pytest.mark.parametrize("path", ["equal", "different"])
@pytest.mark.usefixtures("two_threads")
def test_threads_change_no_bit(path: str, rows: int, n: int, dtype: torch.dtype) -> None:
    A: Any = Stiffness(1 / n, c=3.0, boundary=("natural", "dirichlet"), dtype=dtype)
    A = A.on(n) if path == "equal" else A.varying(n)
    b = torch.rand(rows, n, dtype=dtype)
    shared = []
    for threads in (2, 2, 3, 5):
        torch.set_num_threads(threads)
        shared.append(Condensation(A).solve(b))
    torch.set_num_threads(1)
    for u in shared:
        torch.testing.assert_close(u, Condensation(A).solve(b), rtol=0, atol=0)


def test_columns_of_a_matrix_are_a_batch() -> None:
    """Loads whose rows are not contiguous give the same."""
    n = 100
    b = torch.randn(n - 1, 4, dtype=torch.float64).T
    exact = Condensation(Stiffness(1 / n).on(n))
    assert not b.is_contiguous()
    torch.testing.assert_close(exact.solve(b), exact.solve(b.contiguous()), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2, 33, 1000, 2**16])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_is_refused(n: int) -> None:
    A = Stiffness(1 / n)
    for path, value in itertools.product((A.on(n), A.varying(n)), (np.nan, np.inf, -np.inf)):
        for index in {0, 1, n // 2, n - 2} & set(range(n - 1)):
            b = torch.zeros(2, n - 1, dtype=torch.float64)
            b[1, index] = value
            with pytest.raises(NonFiniteError):
                Condensation(path).solve(b)
            with loops.without(), pytest.raises(NonFiniteError):
                Condensation(path).solve(b)


def test_sums_may_overflow_where_values_do_not() -> None:
    b = torch.full((1, 999), 1e306, dtype=torch.float64)
    u = Condensation(Stiffness(1.0, 1e3).on(1000)).solve(b)
    i = np.arange(1001)
    np.testing.assert_allclose(u[0], i * (1000 - i) * 0.5e303, rtol=1e-13)


def test_values_at_the_end_of_the_range_are_found_and_those_beyond_it_refused() -> None:
    i = np.arange(101.0)
    exact = Condensation(Stiffness(1.0, dtype=torch.float32).on(100))
    b = torch.full((2, 99), 1e35, dtype=torch.float32)
    close(exact.solve(b, 3e38), b[:, :1].double().numpy() * i * (100 - i) / 2 + 3e38 * (1 - i / 100), 4)
    for node in (1, 50, 99):
        loads = b.clone().index_fill_(1, torch.tensor(node - 1), 3e38)
        with pytest.raises(NonFiniteError):
            exact.solve(loads, *((2e38, 2e38) if node != 50 else ()))


@pytest.mark.parametrize("n", [10**5 + 3, 2**20, 2**22 + 9])
def test_loads_that_cancel_lose_no_digit(n: int) -> None:
    """The flux is a sum of loads, and the solution one of fluxes, here in long double."""
    b = (-1.0) ** np.arange(1, n) * np.random.default_rng(n).random(n - 1)
    for dtype, most in ((torch.float64, 8), (torch.float32, 1)):
        loads = tensor(b, dtype)
        sums = np.append(0, np.cumsum(loads.numpy(), dtype=np.longdouble))
        expected = np.append(0, np.cumsum(sums.sum() / n - sums))
        for A in (Stiffness(1.0, dtype=dtype).on(n), Stiffness(1.0, dtype=dtype).varying(n)):
            close(Condensation(A).solve(loads[None])[0], expected.astype(float), most)


# Blocks of 64 cells, as on a GPU.


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize("n", [321, 2**14 + 1, 2**18 + 77, 2**20])
def test_blocks_keep_all_digits(n: int, dtype: torch.dtype) -> None:
    i = np.arange(n + 1.0)
    for ends, exact in (
        (("dirichlet", "dirichlet"), i * (n - i) / 2),
        (("dirichlet", "natural"), i * n - i * (i - 1) / 2),
    ):
        for path in ("equal", "different"):
            A: Any = Stiffness(1.0, boundary=ends, dtype=dtype)
            with loops.without():
                b = torch.ones(1, len(unknowns_of(ends, n)), dtype=dtype)
                u = Condensation(A.on(n) if path == "equal" else A.varying(n)).solve(b)
            close(u[0], exact, 16)


@pytest.mark.parametrize("c", [0.0, 1e-6, 1e3, 1e9])
def test_blocks_of_equal_cells(c: float) -> None:
    rng = np.random.default_rng(4)
    for (ends, robin), n in itertools.product(FIXED.values(), (2, 64, 320, 321, 385, 1000)):
        s = np.full(n + 1, c / n)
        s[[0, -1]] /= 2
        b = rng.normal(size=(3, len(unknowns_of(ends, n))))
        expected = reference(np.full(n, n - c / n / 6), s, ends, robin, b, (2.0, -1.0))
        with loops.without():
            u = Condensation(Stiffness(1 / n, 1.0, c, ends, robin=robin).on(n)).solve(tensor(b), 2.0, -1.0)
        close(u, expected, 100)


@pytest.mark.parametrize("n", [2, 65, 321, 400])
def test_blocks_of_different_cells(n: int) -> None:
    """Where the conductance jumps by a million, values are right on both sides."""
    k = np.where(np.arange(n) < 0.31 * n, 1.0, 1e6) * n
    b = np.random.default_rng(0).normal(size=n - 1)
    expected = reference(k, np.zeros(n + 1), *ENDS["dirichlet"], b[None])
    with loops.without():
        u = Condensation(VaryingStiffness(tensor(k), None, ENDS["dirichlet"][0])).solve(tensor(b[None]))
    close(u, expected, 64)
    right = slice(int(0.31 * n) + 1, n)
    error = np.abs(u[0, right].numpy() - expected[0, right]).max(initial=0)
    assert error <= 1e-12 * np.abs(expected[0, right]).max(initial=0)
    # In one block, by resistances from both ends.
    R = np.cumsum(1 / k)
    S = np.append(np.cumsum(1 / k[::-1])[::-1][1:], 0.0)
    left, after = np.cumsum(R[:-1] * b), np.append(np.cumsum((S[:-1] * b)[::-1])[::-1][1:], 0.0)
    by_sums = (S[:-1] * left + R[:-1] * after) / R[-1]  # eq: block-sums
    close(u[0, 1:-1], by_sums, 200)


# Passes in Triton, as on a GPU, by what they are in torch.


def by_passes(A: Any, b: torch.Tensor, left: Any = 0.0, right: Any = 0.0) -> torch.Tensor:
    exact = Condensation(A)
    return exact._launched(b, b.new_empty((len(b), exact.cells + 1)), left, right)


@pytest.mark.parametrize(
    ("ends", "robin", "reacts"),
    [pytest.param(*ENDS[name], True, id=f"{name}-c") for name in ENDS]
    + [pytest.param(*FIXED[name], False, id=name) for name in FIXED],
)
def test_passes_solve_for_any_cells(ends: tuple[str, str], robin: tuple[float, float], reacts: bool) -> None:
    rng = np.random.default_rng(2)
    for n, dtype in itertools.product((*range(1, 8), *range(31, 36), 64, 65, 257, 1057), EPS):
        number = np.float32 if dtype == torch.float32 else np.float64
        k = (10 ** rng.uniform(-3, 3, n)).astype(number)
        s = (10 ** rng.uniform(-6, 2, n + 1) * (rng.random(n + 1) < 0.7) * reacts).astype(number)
        s[n // 2] += 1.0 * reacts
        b = rng.normal(size=(2, len(unknowns_of(ends, n)))).astype(number)
        A = VaryingStiffness(tensor(k, dtype), tensor(s, dtype) if reacts else None, ends, robin)
        expected = reference(k.astype(float), s.astype(float), ends, robin, b, (0.5, -3.0))
        close(by_passes(A, tensor(b, dtype), 0.5, -3.0), expected, 100)


@given(st.integers(2, 150), st.integers(0, 2**32 - 1), st.sampled_from(list(ENDS)))
def test_passes_solve_beyond_the_mesh(n: int, seed: int, name: str) -> None:
    A, b, expected = beyond_the_mesh(n, seed, name)
    close(by_passes(A, tensor(b)), expected, 200)


@given(st.integers(2, 2000), st.integers(0, 2**32 - 1), st.sampled_from(list(FIXED)))
def test_passes_solve_as_a_cpu_does_where_numbers_are_far_apart(n: int, seed: int, name: str) -> None:
    """With jumps of 24 orders of magnitude, where nodes are held by nothing but c, or hardly tied."""
    (ends, robin), rng = FIXED[name], np.random.default_rng(seed)
    k = 10 ** rng.uniform(-12, 12, n) if seed % 2 else np.where(rng.random(n) < 0.5, 1e-12, 1e12)
    s = 10 ** rng.uniform(-20, 20, n + 1) * (rng.random(n + 1) < rng.random())
    b = rng.random((2, len(unknowns_of(ends, n))))  # nothing cancels
    for sums in (None, tensor(s)):
        A = VaryingStiffness(tensor(k), sums, ends, robin)
        expected = Condensation(A).solve(tensor(b), 1.0, 2.0)
        u = by_passes(A, tensor(b), 1.0, 2.0)
        # Each value, not only the largest.
        assert ((u - expected).abs() <= 1e-11 * expected).all()


@pytest.mark.parametrize("dtype", EPS, ids=["single", "double"])
@pytest.mark.parametrize("n", [1025, 2**15 + 31, 2**20])
def test_passes_keep_all_digits(n: int, dtype: torch.dtype) -> None:
    i = np.arange(n + 1.0)
    for ends, exact in (
        (("dirichlet", "dirichlet"), i * (n - i) / 2),
        (("natural", "dirichlet"), (i * n - i * (i - 1) / 2)[::-1]),
    ):
        A = Stiffness(1.0, boundary=ends, dtype=dtype)
        b = torch.ones(1, len(unknowns_of(ends, n)), dtype=dtype)
        for path in (A.on(n), A.varying(n)):
            close(by_passes(path, b)[0], exact, 16)


@pytest.mark.parametrize("n", [33, 1057, 2**16 + 33])
def test_passes_find_what_little_holds_a_constant(n: int) -> None:
    for ends, c in itertools.product((("natural",) * 2, ("periodic",) * 2), (1e-9, 1.0, 1e4)):
        A = Stiffness(1.0, 1.0, c, ends)
        b = torch.full((1, n + (ends[0] == "natural")), c, dtype=torch.float64)
        if ends[0] == "natural":
            b[0, [0, -1]] /= 2
        for path in (A.on(n), A.varying(n)):
            close(by_passes(path, b)[0], np.ones(n + 1), 64)


def test_passes_take_values_of_the_ends_for_each_row() -> None:
    b, ends = torch.randn(3, 99, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    A = Stiffness(0.01).varying(100)
    for values in ((ends[0], ends[1]), (ends[0], 2.0)):
        u = by_passes(A, b, *values)
        for i in range(3):
            row = [float(x[i]) if isinstance(x, torch.Tensor) else x for x in values]
            torch.testing.assert_close(u[i : i + 1], by_passes(A, b[i : i + 1], *row), rtol=0, atol=0)


def test_passes_refuse_what_is_not_finite() -> None:
    n = 1000
    for value, index in itertools.product((np.nan, np.inf), (0, 500, n - 2)):
        b = torch.zeros(2, n - 1, dtype=torch.float64)
        b[1, index] = value
        with pytest.raises(NonFiniteError):
            by_passes(Stiffness(1 / n).varying(n), b)
