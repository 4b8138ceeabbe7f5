"""The kernels as numbers, against exact integrals of hat functions in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgnet import stencils

widths = st.floats(1e-6, 1e6)
coefficients = st.floats(1e-6, 1e6)


def hat_at(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    """The hat function itself."""
    return np.interp(x, [centre - width, centre, centre + width], [0, 1, 0])


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7, 32])
def test_a_coarse_hat_is_a_combination_of_fine_hats(factor: int) -> None:
    x = np.linspace(-1.5 * factor, 1.5 * factor, 997)
    fine = [hat_at(x, j, 1) for j in range(1 - factor, factor)]
    assert stencils.hat(factor) @ fine == pytest.approx(hat_at(x, 0, factor), abs=1e-14)  # eq: two-scale


def test_the_hat_is_the_restriction_of_the_lecture() -> None:
    assert stencils.hat().tolist() == [0.5, 1.0, 0.5]  # seed (1.22)


def test_wide_hats_are_exact_numbers() -> None:
    for factor in (2, 4, 8, 16, 32):
        expected = [Fraction(factor - abs(j), factor) for j in range(1 - factor, factor)]
        assert [Fraction(value) for value in stencils.hat(factor)] == expected


def integral(polynomial: list[Fraction]) -> Fraction:
    """Integrate a polynomial, lowest power first, over the unit interval."""
    return sum((p / (i + 1) for i, p in enumerate(polynomial)), Fraction(0))


def entries(h: Fraction, a: Fraction, c: Fraction) -> list[Fraction]:
    """Energy and mass of neighbouring hats, integrated exactly: on a cell they are t and 1 - t."""
    rising, product = integral([Fraction(0), Fraction(0), Fraction(1)]), Fraction(1, 2) - Fraction(1, 3)
    off = -a / h + c * h * product
    return [off, 2 * (a / h + c * h * rising), off]


@given(widths, coefficients, st.one_of(st.just(0.0), coefficients))
def test_stiffness_is_the_integral_of_slopes_and_products(h: float, a: float, c: float) -> None:
    expected = [float(value) for value in entries(Fraction(h), Fraction(a), Fraction(c))]
    scale = max(a / h, c * h)
    # eq: mass
    np.testing.assert_allclose(stencils.stiffness(h, a, c), expected, rtol=0, atol=4e-16 * 4 * scale)


@given(widths)
def test_mass_sums_to_the_width(h: float) -> None:
    kernel = stencils.mass(h)
    assert kernel.sum() == pytest.approx(h, rel=1e-15, abs=0)
    assert kernel[1] == pytest.approx(4 * kernel[0], rel=1e-15, abs=0)
    assert kernel[0] == kernel[2]


@given(widths, coefficients, st.one_of(st.just(0.0), coefficients))
def test_galerkin_gives_the_stencil_of_cells_twice_as_wide(h: float, a: float, c: float) -> None:
    scale = max(a / h, c * h)
    coarse = stencils.stiffness(2 * h, a, c)
    np.testing.assert_allclose(stencils.galerkin(stencils.stiffness(h, a, c)), coarse, atol=1e-14 * scale)


def test_galerkin_of_any_stencil_is_the_product_of_matrices() -> None:
    kernel = np.array([2.0, 3.0, 7.0])
    n = 11
    A = sum(np.diag(np.full(n - abs(o), kernel[1 + o]), o) for o in (-1, 0, 1))
    P = np.zeros((n, 5))
    for j in range(5):
        P[2 * j : 2 * j + 3, j] = 0.5, 1, 0.5
    coarse = P.T @ A @ P
    np.testing.assert_allclose(coarse[2, 1:4], stencils.galerkin(kernel), rtol=1e-15)


def test_tensor_products_are_the_q1_kernels() -> None:
    K, M = stencils.stiffness(0.25), stencils.mass(0.25)
    A = stencils.tensor(K, M) + stencils.tensor(M, K)
    np.testing.assert_allclose(A, np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 3, atol=1e-15)
    R = stencils.tensor(stencils.hat(), stencils.hat())
    assert (R * 4).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    x, y, z = np.array([1.0, 2]), np.array([3.0, 5, 7]), np.array([11.0, 13])
    assert stencils.tensor(x, y, z)[1, 2, 0] == 2 * 7 * 11  # first axis first


@pytest.mark.parametrize("points", [1, 2, 3, 5, 8])
def test_gauss_integrates_the_degrees_that_it_should_and_no_more(points: int) -> None:
    x, w = stencils.gauss(points)
    assert sum(map(Fraction, w)) == pytest.approx(1, abs=2.3e-16)
    for degree in range(2 * points):
        assert w @ x**degree == pytest.approx(1 / (degree + 1), abs=1e-15)
    # The remainder for the next power, from the norm of Legendre's polynomial.
    norm = Fraction(1, 2 * points + 1)
    for i in range(1, points + 1):
        norm *= Fraction(i, points + i) ** 2
    missing = 1 / (2 * points + 1) - w @ x ** (2 * points)
    assert missing == pytest.approx(float(norm), rel=1e-4, abs=1e-15)


def test_kernels_are_float64() -> None:
    for kernel in (stencils.hat(3), stencils.mass(), stencils.stiffness(), stencils.galerkin(np.ones(3))):
        assert kernel.dtype == np.float64
