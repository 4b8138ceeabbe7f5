"""Coarse grids where cells differ much: which axes are coarsened, and cycles that are repeated there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Hierarchy, Neumann, Poisson, Robin
from mgnet.multigrid.cycles import Level, cycle, repeat_cycles

RANDOM, LAYERS = "1 or 1e3 at random", "layers of 7"


def coefficient(kind: str, n: int, dim: int, axis: int = 0, jump: float = 1e3) -> np.ndarray:
    if kind == RANDOM:
        return np.random.default_rng(n).choice([1.0, jump], (n,) * dim)
    layers = np.where(np.arange(n) // 7 % 2, jump, 1.0)
    return np.moveaxis(np.broadcast_to(layers, (n,) * dim), -1, axis).copy()


def sides(dim: int, *conditions: Any) -> dict[str, Any]:
    names = ("left", "right", "bottom", "top", "back", "front")[: 2 * dim]
    return {name: conditions[i % len(conditions)] for i, name in enumerate(names)}


KINDS: dict[str, Any] = {
    "held": lambda dim: {},
    "Robin": lambda dim: {"boundary": sides(dim, Robin(2.0, 1.0))},
    "free on every second side": lambda dim: {"boundary": sides(dim, mgnet.Dirichlet(0.0), Neumann(0.0))},
    "joined along the first axis": lambda dim: {"periodic": (True, *[False] * (dim - 1))},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dim", "n", "what", "axis", "jump", "most"),
    [
        (2, 128, RANDOM, 0, 1e3, 20),
        (2, 255, RANDOM, 0, 1e3, 20),
        (2, 128, LAYERS, 0, 1e3, 12),
        (2, 255, LAYERS, 1, 1e3, 12),
        (2, 128, LAYERS, 1, 1e6, 17),
        (3, 33, LAYERS, 1, 1e3, 14),
        (3, 33, RANDOM, 0, 1e3, 14),
    ],
)
def test_few_cycles(dim: int, n: int, what: str, axis: int, jump: float, most: int, kind: str) -> None:
    f = np.random.default_rng(n).standard_normal((n + 1,) * dim)
    a = coefficient(what, n, dim, axis, jump)
    keywords = KINDS[kind](dim)
    sol = mgnet.solve(f, n=n, dim=dim, a=a, tol=1e-8, throw=False, **keywords)
    assert sol.status is mgnet.Status.CONVERGED
    assert sol.iterations <= most


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_finer_than_cells_are_coarsened_as_the_wide_cells_that_they_are_like(axis: int) -> None:
    hierarchy = Hierarchy(Poisson(n=256, dim=2, a=coefficient(LAYERS, 256, 2, axis)))
    cells = np.array([box.cells for box in hierarchy._cycles.boxes])
    # In the middle of a layer ties are alike; beyond its width those along the layers are the stronger ones.
    np.testing.assert_array_equal(cells[:4], [[256, 256], [128, 128], [64, 64], [32, 32]])
    assert cells[4, axis] == 32
    assert cells[4, 1 - axis] == 16
    equal = Hierarchy(Poisson(n=256, dim=2, a=np.ones((256, 256))), method="pcg")._cycles.boxes
    assert all(box.cells[0] == box.cells[1] for box in equal)
    for box in equal:
        assert box.axes[0].h == pytest.approx(box.axes[1].h, rel=1e-6)


def dense(levels: list[Level]) -> torch.Tensor:
    size = levels[0].A.to_dense().shape[0]
    unit = torch.eye(size, dtype=torch.float64).reshape(size, 1, *levels[0].A.box.shape)
    return cycle(levels, unit, None, (2, 2)).reshape(size, size)


def test_repeated_cycles_are_symmetric_and_leave_little() -> None:
    problem = Poisson(n=40, dim=2, a=coefficient(RANDOM, 40, 2))
    hierarchy = Hierarchy(problem, method="vcycle")
    levels = hierarchy.levels
    A = levels[0].A.to_dense().numpy()
    plain = np.linalg.eigvals(dense(levels).numpy() @ A).real.min()
    repeat_cycles(levels, (2, 2))
    assert len(levels[1].weights) > 1
    B = dense(levels).numpy()
    np.testing.assert_allclose(B, B.T, rtol=0, atol=1e-11 * np.abs(B).max())
    spectrum = np.linalg.eigvals(B @ A).real
    assert spectrum.min() > max(0.6, 1.5 * plain)
    assert spectrum.max() < 1.3


def test_cycles_are_not_repeated_where_one_is_enough() -> None:
    levels = Hierarchy(Poisson(n=64, dim=2), method="vcycle").levels
    repeat_cycles(levels, (2, 2))
    assert all(level.weights == (1.0,) for level in levels)
    smooth = Hierarchy(
        Poisson(n=32, dim=2, a=np.random.default_rng(0).uniform(1, 50, (32, 32))), method="pcg"
    )
    assert all(level.weights == (1.0,) for level in smooth.levels)
