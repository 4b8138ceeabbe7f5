"""Operators of cells that differ, against dense elimination and exact fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet.operators.varying import VaryingStiffness, eliminate

ENDS = [*itertools.product(("dirichlet", "natural"), repeat=2), ("periodic", "periodic")]
seeds = st.integers(0, 2**32 - 1)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def cells(seed: int, n: int, reacts: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw conductances over six orders of magnitude, and row sums of which some are zero."""
    rng = np.random.default_rng(seed)
    k = 10 ** rng.uniform(-3, 3, n)
    return k, 10 ** rng.uniform(-6, 3, n + 1) * (rng.random(n + 1) < 0.7) * reacts


def assembled(k: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Assemble the matrix of all nodes, cell by cell."""
    A = np.diag(s)
    for i, k_i in enumerate(k):
        A[i : i + 2, i : i + 2] += k_i * np.array([[1, -1], [-1, 1]])
    return A


@given(seeds, st.integers(2, 60), st.booleans())
def test_elimination_is_the_schur_complement(seed: int, n: int, reacts: bool) -> None:
    k, s = cells(seed, n, reacts)
    e = eliminate(tensor(k), tensor(s) if reacts else None)
    A = assembled(k, s)
    new = np.arange(1, n - n % 2, 2)
    old = np.setdiff1d(np.arange(n + 1), new)
    inner, coupling = A[np.ix_(new, new)], A[np.ix_(new, old)]
    schur = A[np.ix_(old, old)] - coupling.T @ np.linalg.solve(inner, coupling)
    coarse_s = np.zeros(len(old)) if e.s is None else e.s.numpy()
    scale = np.abs(A).max()
    # eq: elimination, coarse-row-sums
    np.testing.assert_allclose(assembled(e.k.numpy(), coarse_s), schur, rtol=0, atol=1e-14 * scale)
    np.testing.assert_allclose(e.pivot, np.diag(inner), rtol=1e-14)
    weights = -np.linalg.solve(inner, coupling)
    rows = np.arange(len(new))
    np.testing.assert_allclose(e.left, weights[rows, rows], rtol=1e-13)  # eq: interpolation
    np.testing.assert_allclose(e.right, weights[rows, rows + 1], rtol=1e-13)
    assert (e.s is None) == (not reacts)


@given(seeds, st.integers(2, 70), st.booleans())
def test_elimination_loses_no_digit(seed: int, n: int, reacts: bool) -> None:
    """Every coarse number has the relative accuracy of a few roundings, however the sizes differ."""
    k, s = cells(seed, n, reacts)
    exact_k, exact_s = [Fraction(v) for v in k], [Fraction(v) for v in s]
    got_k, got_s = tensor(k), tensor(s) if reacts else None
    steps = 0
    while len(exact_k) > 1:
        got = eliminate(got_k, got_s)
        got_k, got_s = got.k, got.s
        pairs = len(exact_k) // 2
        coarse_k, coarse_s = [], exact_s[0 : 2 * pairs + 1 : 2] + exact_s[2 * pairs + 1 :]
        for i in range(pairs):
            low, high, middle = exact_k[2 * i], exact_k[2 * i + 1], exact_s[2 * i + 1]
            pivot = low + high + middle
            coarse_k.append(low * high / pivot)
            coarse_s[i] += low / pivot * middle
            coarse_s[i + 1] += high / pivot * middle
        exact_k, exact_s = coarse_k + exact_k[2 * pairs :], coarse_s
        steps += 1
        np.testing.assert_allclose(got_k, [float(v) for v in exact_k], rtol=8e-16 * steps)
        if got_s is not None:
            np.testing.assert_allclose(got_s, [float(v) for v in exact_s], rtol=8e-16 * steps)


def test_a_thousand_cells_keep_a_tiny_row_sum() -> None:
    """Diagonals would lose it: 1e-20 beside 2 is nothing."""
    k, s = tensor(np.ones(1024)), tensor(np.full(1025, 1e-20))
    while len(k) > 1:
        e = eliminate(k, s)
        k, s = e.k, e.s
    assert s is not None
    assert s.sum().item() == pytest.approx(1025e-20, rel=1e-14, abs=0)
    assert k.item() == pytest.approx(1 / 1024, rel=1e-14)


def test_one_joined_node_keeps_its_row_sum() -> None:
    A = VaryingStiffness(tensor([1.0]), tensor([5e-21, 5e-21]), ("periodic", "periodic"))
    assert A.to_dense().item() == pytest.approx(1e-20, abs=0)
    assert A.diagonal().item() == pytest.approx(1e-20, abs=0)


def test_any_leading_axes() -> None:
    k, s = cells(3, 9, True)
    A = VaryingStiffness(tensor(k), tensor(s), ("dirichlet", "natural"))
    coarse, P = A.coarsen()
    x, e = torch.randn(2, 3, 4, 9, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for operator, values in ((A, x), (P, e), (P.T, x)):
        y = operator(values)
        assert y.shape[:-1] == (2, 3, 4)
        assert (y[1, 2, 3] == operator(values[1, 2, 3])).all()
    assert coarse(e).shape == e.shape
