"""Smoothers against what they are as matrices: splittings, loops over unknowns, polynomials.

A smoother joins the tests, these and those of the cycles, by its line in
``mgnet.operators.smoothers.SMOOTHERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet import Stiffness
from mgnet.operators.smoothers import (
    SMOOTHERS,
    Chebyshev,
    Jacobi,
    RedBlack,
    chebyshev_weights,
    damping,
    rough_interval,
)
from mgnet.stencils import stiffness

# Those that are made of a diagonal; of the others test_lines.
POINTWISE = [name for name, make in SMOOTHERS.items() if not hasattr(make, "whole")]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 30)


def matrix(seed: int, n: int) -> np.ndarray:
    """A tridiagonal positive definite matrix, diagonally dominant, of cells that differ."""
    rng = np.random.default_rng(seed)
    k, s = 10 ** rng.uniform(-2, 2, n + 1), 10 ** rng.uniform(-2, 1, n)
    return np.diag(k[:-1] + k[1:] + s) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)


class Dense:
    """A matrix as an operator on (batch, 1, unknowns)."""

    def __init__(self, A: np.ndarray) -> None:
        self.A = torch.tensor(A)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.A.T


def run(
    smoother: Any, A: np.ndarray, x: np.ndarray | None, b: np.ndarray, sweeps: int, **post: bool
) -> np.ndarray:
    guess = None if x is None else torch.tensor(x)[None, None]
    return smoother(Dense(A), guess, torch.tensor(b)[None, None], sweeps, **post)[0, 0].numpy()


def make(name: str, A: np.ndarray, **keywords: Any) -> Any:
    return SMOOTHERS[name](torch.tensor(np.diag(A).copy()), **keywords)


def error_matrix(name: str, A: np.ndarray, sweeps: int, post: bool = False, **keywords: Any) -> np.ndarray:
    """The matrix that takes the error before to that after: with b = 0 the error is x itself."""
    smoother, zero = make(name, A, **keywords), np.zeros(len(A))
    return np.array([run(smoother, A, e, zero, sweeps, post=post) for e in np.eye(len(A))]).T


@given(seeds, sizes, st.integers(0, 4), st.floats(0.1, 1.9))
def test_jacobi(seed: int, n: int, sweeps: int, omega: float) -> None:
    A = matrix(seed, n)
    step = np.eye(n) - omega * A / np.diag(A)[:, None]
    expected = np.linalg.matrix_power(step, sweeps)
    # eq: jacobi
    np.testing.assert_allclose(error_matrix("jacobi", A, sweeps, omega=omega), expected, rtol=0, atol=1e-9)
    damped = np.linalg.matrix_power(np.eye(n) - 2 / 3 * A / np.diag(A)[:, None], sweeps)
    np.testing.assert_allclose(error_matrix("jacobi", A, sweeps), damped, rtol=0, atol=1e-10)


def relax(A: np.ndarray, x: np.ndarray, b: np.ndarray, order: list[int], omega: float) -> np.ndarray:
    """Solve one equation after the other."""
    x = x.copy()
    for i in order:
        x[i] += omega * (b[i] - A[i] @ x) / A[i, i]
    return x


@given(seeds, sizes, st.integers(0, 3), st.floats(0.1, 1.9), st.booleans(), st.sampled_from((0, 1)))
def test_red_black(seed: int, n: int, sweeps: int, omega: float, post: bool, new: int) -> None:
    A, rng = matrix(seed, n), np.random.default_rng(seed)
    x, b = rng.normal(size=(2, n))
    fresh, old = list(range(new, n, 2)), list(range(1 - new, n, 2))
    expected = x
    for _ in range(sweeps):
        expected = relax(A, expected, b, fresh + old if post else old + fresh, omega)
    smoother = make("red-black", A, omega=omega, new=(new,))
    got = run(smoother, A, x, b, sweeps, post=post)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * max(1, np.abs(expected).max()))


@given(seeds, sizes, st.integers(0, 6))
def test_chebyshev(seed: int, n: int, degree: int) -> None:
    """The error polynomial is Chebyshev's, on [½, 2], scaled to be 1 at 0."""
    A = matrix(seed, n)
    low, high = 0.5, 2.0
    polynomial = np.polynomial.Chebyshev.basis(degree)
    root = np.sqrt(np.diag(A))
    values, vectors = np.linalg.eigh(A / root / root[:, None])
    at = polynomial((high + low - 2 * values) / (high - low)) / polynomial((high + low) / (high - low))
    expected = (vectors * at) @ vectors.T * root / root[:, None]
    # eq: chebyshev
    np.testing.assert_allclose(error_matrix("chebyshev", A, degree), expected, rtol=0, atol=1e-9)


def test_chebyshev_elsewhere() -> None:
    A = matrix(0, 9)
    smoother = Chebyshev(torch.tensor(np.diag(A).copy()), largest=1.5, fraction=0.1)
    polynomial = np.polynomial.Chebyshev.basis(3)
    spectrum = np.linalg.eigvals(A / np.diag(A)[:, None]).real
    got = np.array([run(smoother, A, e, np.zeros(9), 3) for e in np.eye(9)]).T
    at = polynomial((1.65 - 2 * spectrum) / 1.35) / polynomial(1.65 / 1.35)
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(got).real), np.sort(at), atol=1e-10)


@pytest.mark.parametrize("name", POINTWISE)
@given(seeds, sizes, st.integers(1, 4))
def test_the_solution_stays_and_errors_shrink(name: str, seed: int, n: int, sweeps: int) -> None:
    A, rng = matrix(seed, n), np.random.default_rng(seed)
    x = rng.normal(size=n)
    np.testing.assert_allclose(run(make(name, A), A, x, A @ x, sweeps), x, rtol=0, atol=1e-11)
    e = error_matrix(name, A, sweeps)
    energy = np.linalg.cholesky(A).T
    assert np.linalg.norm(energy @ e @ np.linalg.inv(energy), 2) < 1 + 1e-12  # in energy, never more


@pytest.mark.parametrize("name", POINTWISE)
@given(seeds, sizes, st.integers(0, 3))
def test_after_is_the_adjoint_of_before(name: str, seed: int, n: int, sweeps: int) -> None:
    """In the energy inner product: (S e, v)_A = (e, S* v)_A. Conjugate gradients need it of a cycle."""
    A = matrix(seed, n)
    before, after = error_matrix(name, A, sweeps), error_matrix(name, A, sweeps, post=True)
    np.testing.assert_allclose(before.T @ A, A @ after, rtol=0, atol=1e-11 * np.abs(A).max())


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("post", [False, True])
def test_no_guess_is_a_guess_of_zero(name: str, post: bool) -> None:
    A, b = matrix(1, 12), np.random.default_rng(1).normal(size=12)
    for sweeps in range(4):
        zero = run(make(name, A), A, np.zeros(12), b, sweeps, post=post)
        np.testing.assert_allclose(
            run(make(name, A), A, None, b, sweeps, post=post), zero, rtol=0, atol=1e-14
        )
    assert (run(make(name, A), A, None, b, 0) == 0).all()


@pytest.mark.parametrize("name", POINTWISE)
def test_what_comes_in_is_left_alone(name: str) -> None:
    A = Stiffness(0.1, 1.0, 2.0)
    smoother = SMOOTHERS[name](A.diagonal(9))
    x, b = torch.randn(2, 4, 1, 9, dtype=torch.float64)
    x_before, b_before = x.clone(), b.clone()
    for sweeps in range(3):
        y = smoother(A, x, b, sweeps)
        assert y.shape == x.shape
        for i in range(4):
            torch.testing.assert_close(smoother(A, x[i : i + 1], b[i : i + 1], sweeps)[0], y[i])
        assert (x == x_before).all()
        assert (b == b_before).all()


def symbol(name: str, smoother: Callable[[torch.Tensor], Any], sweeps: int) -> tuple[float, float]:
    """Give the largest factor of smooth and of rough sine waves of −u″, from eigenvectors."""
    n = 64
    A = Stiffness(1.0)
    i = torch.arange(1, n, dtype=torch.float64)
    waves = torch.sin(torch.pi * torch.outer(i, i) / n)[:, None]
    after = smoother(A.diagonal(n - 1))(A, waves, torch.zeros_like(waves), sweeps)
    factors = after.flatten(1).norm(dim=1) / waves.flatten(1).norm(dim=1)
    return factors[: n // 2 - 1].max().item(), factors[n // 2 - 1 :].max().item()


def test_smoothing_factors() -> None:
    """Textbook numbers: a third per sweep of Jacobi with ω = 2/3; of Chebyshev 1 / T_k(5/3)."""
    smooth, rough = symbol("jacobi", Jacobi, 1)
    assert rough == pytest.approx(1 / 3, rel=1e-3)
    assert smooth > 0.99
    for k in (1, 2, 3):
        assert symbol("jacobi", Jacobi, k)[1] == pytest.approx(3.0**-k, rel=1e-2)
        # In [½, 2] the polynomial is at most this; the rough waves are those from 1 on.
        bound = 1 / np.polynomial.Chebyshev.basis(k)(5 / 3)
        assert symbol("chebyshev", Chebyshev, k)[1] <= bound * (1 + 1e-12)
        assert symbol("chebyshev", Chebyshev, k)[1] >= 0.5 * bound


@pytest.mark.parametrize("dim", [2, 3])
def test_what_jacobi_has_to_damp_in_a_box(dim: int) -> None:
    """In the plane 3/4 to 3/2, of which a third is left and no damping leaves less; in space from 1/2 on."""
    angles = np.linspace(-np.pi, np.pi, 33)
    kernel = stiffness([1.0] * dim)
    symbol = kernel / kernel[(1,) * dim]
    for _ in range(dim):
        symbol = np.tensordot(symbol, np.exp(1j * np.outer([-1, 0, 1], angles)), (0, 0))
    t = np.sin(angles / 2) ** 2
    coarse = np.prod(np.meshgrid(*[t < 0.5 - 1e-12] * dim), axis=0).astype(bool)
    rough = symbol.real[~coarse]
    assert np.abs(symbol.imag).max() < 1e-14
    low = {2: 3 / 4, 3: 1 / 2}[dim]
    assert (rough.min(), rough.max()) == pytest.approx((low, 3 / 2))  # eq: rough-interval
    left = [np.abs(1 - (damping(dim) + change) * rough).max() for change in (0.0, 0.01, -0.01)]
    assert left[0] == pytest.approx({2: 1 / 3, 3: 5 / 9}[dim])
    if dim == 2:
        assert left[0] < min(left[1:])


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_the_roots_of_the_polynomial(degree: int, dim: int) -> None:
    """Sweeps with these weights, one after the other, are the polynomial that is 1 at zero."""
    low, high = rough_interval(dim)
    T = np.polynomial.Chebyshev.basis(degree, domain=[low, high])
    at = np.linspace(0, 2, 50)
    swept = np.prod([1 - weight * at for weight in chebyshev_weights(degree, low, high)], axis=0)
    np.testing.assert_allclose(swept, T(at) / T(0.0), rtol=0, atol=1e-12)  # eq: chebyshev-roots


@pytest.mark.parametrize("degree", [2, 8, 50, 200])
def test_many_sweeps_keep_their_digits(degree: int) -> None:
    """In the order of their size what is left in between would overflow, or its rounding would."""
    low, high = 0.1, 2.0
    factors = 1 - np.outer(chebyshev_weights(degree, low, high), np.linspace(low, high, 999))
    for ordered in (factors, factors[::-1]):
        assert np.abs(np.cumprod(ordered, 0)).max() < 10
    A = Stiffness(1.0, c=0.3, dtype=torch.float32)
    dense = A.to_dense(63).double().numpy()
    smoother = Chebyshev(A.diagonal(63), largest=high, fraction=low / high)
    b = torch.randn(1, 1, 63, generator=torch.Generator().manual_seed(0))
    values, vectors = np.linalg.eigh(dense)
    T = np.polynomial.Chebyshev.basis(degree, domain=[low, high])
    left = T(values / dense[0, 0]) / T(0.0)
    expected = vectors @ ((1 - left) / values * (vectors.T @ b[0, 0].double().numpy()))
    got = smoother(A, None, b, degree)[0, 0].numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_red_black_leaves_no_residual_where_it_was_last() -> None:
    A = Stiffness(1.0)
    b = torch.randn(1, 1, 15, dtype=torch.float64)
    for new in (0, 1):
        smoother = RedBlack(A.diagonal(15), new=(new,))
        for post, last in ((False, new), (True, 1 - new)):
            r = (b - A(smoother(A, torch.randn_like(b), b, 1, post=post))).flatten()
            assert r[last::2].abs().max() < 1e-13
            assert r[1 - last :: 2].abs().max() > 1e-3
