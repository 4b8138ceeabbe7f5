"""The solver of coarse grids by the eigenvectors of their axes, against dense matrices."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
import torch
from operator_list import ENDS, product
from random_boxes import as_matrix, random_boxes

from mgnet.kernels.vectors import invert
from mgnet.multigrid.coarsest import FEW, TensorSolver, _inverse
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.parametrize("n", [0, 1, 2, 17, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inverse_of_a_matrix(dtype: type, n: int) -> None:
    B = np.random.default_rng(n).normal(size=(n, n))
    A = B @ B.T + n * np.eye(n)
    inverse = A.astype(dtype)
    invert(inverse)
    np.testing.assert_allclose(inverse, np.linalg.inv(A), rtol=0, atol=100 * np.finfo(dtype).eps)


def test_a_matrix_without_an_inverse_is_told() -> None:
    """By torch and by loops; who sets up grids goes on in float64 then."""
    for size in (2, FEW + 1):
        with pytest.raises((torch.linalg.LinAlgError, np.linalg.LinAlgError)):
            _inverse(torch.ones(size, size, dtype=torch.float64), False)
