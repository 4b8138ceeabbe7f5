"""Cells that have a weight for each axis: their matrices, and how large the eigenvalues of D⁻¹ A are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

import mgnet
from mgnet.poisson import assembly

pytestmark = pytest.mark.usefixtures("one_thread")

# Gauss points and weights on (0, 1), exact for what two hats make.
POINTS, WEIGHTS = ((1 + np.polynomial.legendre.leggauss(2)[0]) / 2, np.array([0.5, 0.5]))


def of_cell(widths: list[float], a: list[float]) -> np.ndarray:
    """Integrate the products of slopes of the hats of the corners of a cell, weighted along each axis."""
    corners = list(itertools.product((0, 1), repeat=len(widths)))
    matrix = np.zeros((len(corners), len(corners)))
    for point in itertools.product(zip(POINTS, WEIGHTS, strict=True), repeat=len(widths)):
        weight = math.prod(h * w for h, (_, w) in zip(widths, point, strict=True))
        for axis, value in enumerate(a):
            slopes = [
                math.prod(
                    (2 * high - 1) / widths[axis] if i == axis else (t if high else 1 - t)
                    for i, (high, (t, _)) in enumerate(zip(corner, point, strict=True))
                )
                for corner in corners
            ]
            matrix += weight * value * np.outer(slopes, slopes)
    return matrix


def random_problem(
    dim: int, seed: int, held: float = 0.2
) -> tuple[mgnet.Poisson, np.ndarray, list[np.ndarray]]:
    """Give cells of all shapes with holes and held nodes, the matrix of all nodes, and those of the cells."""
    rng = np.random.default_rng(seed)
    counts = [int(n) for n in rng.integers(2, 5, dim)]
    nodes = [np.concatenate(([0.0], np.cumsum(10 ** rng.uniform(-2, 1, n)))) for n in counts]
    a = [10 ** rng.uniform(-2, 2, counts) for _ in range(dim)]
    cells = rng.random(counts) < 0.7
    cells.flat[0] = True
    mask = rng.random([n + 1 for n in counts]) < held
    problem = mgnet.Poisson(
        dim=dim,
        nodes=tuple(nodes),
        a=tuple(a),
        cells=cells,
        fixed=(mask, 0.0) if held else None,
        boundary=mgnet.Neumann(),
    )
    numbers = np.arange(mask.size).reshape(mask.shape)
    whole, parts = np.zeros((mask.size, mask.size)), []
    for cell in np.argwhere(cells):
        widths = [float(np.diff(x)[i]) for x, i in zip(nodes, cell, strict=True)]
        parts.append(of_cell(widths, [float(each[tuple(cell)]) for each in a]))
        index = [numbers[tuple(cell + corner)] for corner in itertools.product((0, 1), repeat=dim)]
        whole[np.ix_(index, index)] += parts[-1]
    free = ((np.diag(whole) > 0) & ~mask.ravel()).astype(float)
    return problem, free[:, None] * whole * free, parts


def operator(problem: mgnet.Poisson) -> Any:
    return assembly.operator(problem, torch.float64, torch.device("cpu"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [2, 3])
def test_the_matrix_is_that_of_its_cells(dim: int, seed: int) -> None:
    problem, matrix, _ = random_problem(dim, seed)
    A = operator(problem)
    # eq: weighted-cells
    np.testing.assert_allclose(A.to_dense().numpy(), matrix, rtol=1e-12, atol=1e-13 * matrix.max())
    u = np.random.default_rng(seed).standard_normal(len(matrix))
    found = A(torch.from_numpy(u.reshape(1, 1, *problem.shape))).numpy().ravel()
    np.testing.assert_allclose(found, matrix @ u, rtol=1e-10, atol=1e-13 * np.abs(matrix).max())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [2, 3])
def test_the_largest_eigenvalue_is_that_of_a_cell_at_most(dim: int, seed: int) -> None:
    problem, matrix, parts = random_problem(dim, seed)
    most = max(scipy.linalg.eigvalsh(part, np.diag(np.diag(part)))[-1] for part in parts)
    bound = operator(problem).largest
    assert bound == pytest.approx(most, rel=1e-12)  # eq: weighted-bound
    free = np.diag(matrix) > 0
    scale = np.diag(matrix)[free] ** -0.5
    found = scipy.linalg.eigvalsh(scale[:, None] * matrix[np.ix_(free, free)] * scale)[-1]
    assert found <= bound * (1 + 1e-12) <= {2: 3, 3: 4.5}[dim] * (1 + 2e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dim", [2, 3])
def test_steps_keep_in_float32_what_values_lose(dim: int, seed: int) -> None:
    problem, matrix, _ = random_problem(dim, seed, held=0.0)
    entries = operator(problem).scaled(1.0, torch.float32)
    u = 1 + 1e-6 * torch.randn(problem.node_shape, generator=torch.Generator().manual_seed(seed))
    # Rows sum to zero, so a constant may be taken from u: in float64 nothing is lost.
    exact = matrix @ (u.double() - 1).numpy().ravel()
    by_steps = entries.steps(u).numpy().ravel()
    by_values = entries.at_nodes(u[None, None]).numpy().ravel()
    size = np.abs(exact).max()
    np.testing.assert_allclose(by_steps, exact, rtol=0, atol=1e-6 * size)  # eq: steps
    assert np.abs(by_values - exact).max() > 1e-4 * size
    assert not entries.steps(torch.ones(problem.node_shape)).any()
