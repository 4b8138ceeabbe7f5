"""Line relaxation against dense block Gauss-Seidel, and elimination against dense solves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgnet
from mgnet import Hierarchy, Neumann, Poisson, Robin
from mgnet.operators.lines import Lines, Tridiagonal


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.booleans())
def test_elimination(seed: int, m: int, joined: bool) -> None:
    rng = np.random.default_rng(seed)
    ties, corner = -(10 ** rng.uniform(-3, 3, (3, 2, m))), None
    ties, ends = ties[..., :-1], ties[..., -1]
    matrices = np.zeros((3, 2, m, m))
    i = np.arange(m - 1)
    matrices[..., i, i + 1] = matrices[..., i + 1, i] = ties
    if joined and m > 2:
        corner = torch.tensor(ends)
        matrices[..., 0, -1] = matrices[..., -1, 0] = ends
    diagonal = np.abs(matrices).sum(-1) * rng.uniform(1.01, 2, (3, 2, m)) + 1e-3
    matrices[..., np.arange(m), np.arange(m)] = diagonal
    b = rng.normal(size=(4, 1, 3, 2, m))
    got = Tridiagonal(torch.tensor(diagonal), torch.tensor(ties), corner)(torch.tensor(b)).numpy()
    expected = np.linalg.solve(matrices, b[..., None])[..., 0]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


ROBIN = dict.fromkeys(("left", "right", "bottom", "top"), Robin(2.0))
CASES: dict[str, dict[str, Any]] = {
    "held": {"n": (5, 6)},
    "Robin": {"n": (4, 7), "boundary": ROBIN},
    "free on one side": {"n": (4, 5), "boundary": {"top": Neumann(0.0)}},
    "an odd number of lines, joined": {"n": (5, 7), "periodic": (True, False)},
    "joined lines": {"n": (4, 5), "periodic": (False, True)},
    "one cell and two, joined": {"n": (1, 2), "periodic": (True, True)},
    "space": {"n": (3, 4, 5)},
    "space, joined": {"n": (3, 2, 5), "periodic": (True, True, False)},
    "a line": {"n": (6,)},
    "a ring": {"n": (5,), "periodic": True},
}


def problem(name: str, varying: bool) -> Poisson:
    keywords = dict(CASES[name])
    cells = keywords.pop("n")
    a = 10 ** np.random.default_rng(0).uniform(-0.3, 0.3, cells) if varying else 1.5
    return Poisson(n=cells if len(cells) > 1 else cells[0], dim=len(cells), a=a, c=0.3, **keywords)


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_sweep_is_block_gauss_seidel(name: str, varying: bool) -> None:
    A = Hierarchy(problem(name, varying)).A
    shape, dense, rng = A.box.shape, A.to_dense().numpy(), np.random.default_rng(1)
    numbers = np.arange(len(dense)).reshape(shape)
    smoother = Lines(A)
    lines = [
        line
        for axis, colour in smoother.colours
        for line in np.moveaxis(numbers, axis, -1)[(*colour, slice(None))].reshape(-1, shape[axis])
    ]
    x, b = rng.normal(size=(2, len(dense)))
    for post in (False, True):
        expected = x.copy()
        for line in reversed(lines) if post else lines:
            r = b - dense @ expected
            expected[line] += np.linalg.solve(dense[np.ix_(line, line)], r[line])
        guess, load = (torch.tensor(v).reshape(1, 1, *shape) for v in (x, b))
        got = smoother(A, guess, load, 1, post=post).numpy().ravel()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(guess.ravel(), x)


@pytest.mark.parametrize("name", CASES)
def test_all_axes_have_their_lines_or_those_that_are_tied(name: str) -> None:
    A = Hierarchy(problem(name, True)).A
    assert {axis for axis, _ in Lines(A).colours} == set(range(A.box.dim))
    stretched = Poisson(n=(6, 6), dim=2, domain=((0, 1), (0, 10)), a=np.ones((6, 6)))
    assert {axis for axis, _ in Lines(Hierarchy(stretched).A).colours} == {0}


@pytest.mark.parametrize("keywords", [{"domain": ((0, 1), (0, 1000))}, {"boundary": ROBIN}, {}])
def test_a_cycle_of_lines_is_symmetric(keywords: dict[str, Any]) -> None:
    a = np.where(np.arange(12) // 3 % 2, 1e3, 1.0)[:, None] * np.ones(10)
    hierarchy = Hierarchy(
        Poisson(n=(12, 10), dim=2, a=a, **keywords), method="vcycle", smoother="line", sweeps=(1, 1)
    )
    B = hierarchy.as_linear_operator() @ np.eye(hierarchy.problem.unknowns)
    np.testing.assert_allclose(B, B.T, rtol=0, atol=1e-11 * np.abs(B).max())
    assert np.linalg.eigvals(B @ hierarchy.A.to_dense().numpy()).real.min() > 0.3


def test_lines_solve_where_points_are_slow() -> None:
    keywords = {"n": 65, "dim": 2, "method": "pcg", "tol": 1e-8, "sweeps": (1, 1)}
    a = np.where(np.arange(65) // 33, np.where(np.arange(65) // 3 % 2, 1e3, 1.0)[:, None], 1.0)
    assert mgnet.solve(1.0, a=a, smoother="line", **keywords).iterations <= 12
