"""Hard problems at random against a reference in extended precision; and that reference against formulas."""

from __future__ import annotations

import os
import warnings
from typing import Any

import hard_problems
import numpy as np
import pytest
from hard_problems import FAULTS, Verdict, case, judge
from reference import Data, Equal, Reference, Side

import mgnet

# How many problems a slow test takes, a tenth of a second each; there are five of them.
PROBLEMS = int(os.environ.get("MGNET_PROBLEMS", "60"))
# The seed of a problem that conjugate gradients solve in some steps.
SOUND = 96


# The reference.


def multilinear(*x: Any) -> Any:
    total = 1.0 + 2 * x[0]
    for i, coordinate in enumerate(x[1:], 3):
        total = total + i * coordinate + (i + 2) * x[0] * coordinate
    return total


@pytest.mark.parametrize("c", [0.0, 2.0])
@pytest.mark.parametrize("cells", [(5,), (3, 4), (1, 2), (2, 3, 2)])
def test_the_reference_knows_what_elements_represent(cells: tuple[int, ...], c: float) -> None:
    """A function that is linear along each axis, and conditions of every kind."""
    axes = [Equal(n, 0.5 * i, 0.5 * i + 2**i) for i, n in enumerate(cells)]
    x = np.ix_(*(np.linspace(axis.low, axis.high, axis.cells + 1) for axis in axes))
    u = multilinear(*x) * np.ones([n + 1 for n in cells])
    sides = {}
    for axis in range(len(cells)):
        rise = np.diff(u, axis=axis).take(0, axis) * cells[axis] / 2**axis
        for end, outward in ((0, -1), (1, 1)):
            value, flux = u.take(-end, axis), 3.0 * outward * rise
            kinds = (Side(True, 0.0, value), Side(False, 0.0, flux), Side(False, 7.0, flux + 7.0 * value))
            sides[axis, end] = kinds[(axis + end) % 3]
    a = np.full(cells, 3.0)
    data = Data(axes, (False,) * len(cells), sides, a, c, f=c * u[None], lumped=False)
    assert Reference(data).errors(u[None])[0] < 1e-14


@pytest.mark.parametrize("lumped", [True, False])
@pytest.mark.parametrize("cells", [(5,), (3, 4), (2, 3, 2)])
def test_the_reference_knows_that_c_and_f_fit(cells: tuple[int, ...], lumped: bool) -> None:
    """c (u - 1) = 0 has the solution 1, whatever the nodal values of c are."""
    c = 10.0 ** np.random.default_rng(0).uniform(-3, 3, [n + 1 for n in cells])
    sides = {(axis, end): Side(False) for axis in range(len(cells)) for end in (0, 1)}
    axes = [Equal(n) for n in cells]
    data = Data(axes, (False,) * len(cells), sides, np.ones(cells), c, f=c[None], lumped=lumped)
    assert Reference(data).errors(np.ones_like(c)[None])[0] < 1e-14


def test_the_reference_knows_layers_and_nodes() -> None:
    """Flux 1 through cells of their own widths and coefficients: u grows by h/a, to 1e-12 of the largest."""
    rng = np.random.default_rng(0)
    nodes, a = np.concatenate(([0.0], np.cumsum(10 ** rng.uniform(-9, 0, 40)))), 10 ** rng.uniform(-6, 6, 40)
    u = np.concatenate(([0.0], np.cumsum(np.diff(nodes) / a)))
    data = Data(
        [nodes], (False,), {(0, 0): Side(True), (0, 1): Side(False, 0.0, 1.0)}, a, f=np.zeros((1, 41))
    )
    reference = Reference(data)
    assert reference.errors(u[None])[0] < 1e-14 * u[-1]
    assert reference.sizes[0] == pytest.approx(u[-1], rel=1e-14)
    # A is an M-matrix, and u and b are positive: |A| |u| + |b| is all that rounding can act on.
    K = np.diag(np.append(0, a / np.diff(nodes))) + np.diag(np.append(a / np.diff(nodes), 0))
    K -= np.diag(a / np.diff(nodes), 1) + np.diag(a / np.diff(nodes), -1)
    spread = (np.abs(K) @ u + np.append(np.zeros(40), 1.0))[1:]
    steps = np.cumsum(np.cumsum(spread[::-1])[::-1] * np.diff(nodes) / a)
    assert reference.conditions[0] == pytest.approx(steps[-1] / u[-1], rel=1e-6)


@pytest.mark.parametrize("lumped", [True, False])
@pytest.mark.parametrize("cells", [(7,), (6, 5), (4, 3, 5)])
def test_the_reference_knows_waves(cells: tuple[int, ...], lumped: bool) -> None:
    """Where all axes are joined, waves are eigenvectors; constants are no part of the answer."""
    waves = [np.cos(2 * np.pi * np.arange(n + 1) / n) for n in cells]
    h = [1 / n for n in cells]
    stiff = [(2 - 2 * np.cos(2 * np.pi * w)) / w for w in h]
    mass = [w * (2 + np.cos(2 * np.pi * w)) / 3 for w in h]
    wave = waves[0]
    for other in waves[1:]:
        wave = np.multiply.outer(wave, other)
    masses = np.prod(mass)
    eigenvalue = sum(k / m for k, m in zip(stiff, mass, strict=True)) * masses
    load = np.prod(h) if lumped else masses
    data = Data(
        [Equal(n) for n in cells],
        (True,) * len(cells),
        {},
        np.ones(cells),
        f=5 + eigenvalue / load * np.stack([wave, 2 * wave]),
        lumped=lumped,
    )
    assert data.singular
    assert max(Reference(data).errors(np.stack([wave, 2 * wave]))) < 1e-14


def test_the_reference_needs_as_many_digits_as_a_problem_takes() -> None:
    """Flat cells, a jump of 1e40, and a condition that hardly holds the solution."""
    a = np.ones((3, 40))
    a[1, 7] = 1e40
    axes = [Equal(3, 0.0, 1e-6), Equal(40)]
    sides = {(i, end): Side(False) for i in (0, 1) for end in (0, 1)} | {(1, 1): Side(False, 1e-30)}
    reference = Reference(Data(axes, (False, False), sides, a, f=np.ones((1, 4, 41))))
    np.testing.assert_allclose(reference.sizes[0], 1e30, rtol=1e-12)  # the load over alpha
    assert reference.bits > 192


# How answers are judged.


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("wrong", None),
        ("foreign", ValueError("bad")),
        ("foreign", KeyError("f: got 1; accepted: 2")),
        ("warning", UserWarning("slow")),
        ("refused", ValueError("f: got 1; accepted: 2")),
    ],
)
def test_faults_are_seen(fault: str, change: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    solve = mgnet.solve

    def changed(**keywords: Any) -> Any:
        if isinstance(change, Warning):
            warnings.warn(change, stacklevel=1)
        elif change:
            raise change
        sol = solve(**keywords)
        sol.u[...] *= 1.001
        return sol

    assert case(SOUND).keywords["method"] == "pcg"
    assert judge(SOUND).fault == ""
    monkeypatch.setattr(hard_problems.mgnet, "solve", changed)
    assert judge(SOUND).fault == fault


def test_what_is_not_solved_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = mgnet.solve
    monkeypatch.setattr(hard_problems.mgnet, "solve", lambda **keywords: solve(**keywords | {"maxiter": 1}))
    assert judge(SOUND).fault == "unsolved"


# The product.


def require_sound(verdicts: list[Verdict]) -> None:
    """No fault but unsolved problems, and few of those."""
    bad = [verdict for verdict in verdicts if verdict.fault not in ("", "unsolved")]
    assert not bad, "\n".join(f"case({it.seed}): {FAULTS[it.fault]}: {it.detail}" for it in bad)
    solvable = [verdict for verdict in verdicts if verdict.solvable]
    assert sum(not verdict.fault for verdict in solvable) >= 0.95 * len(solvable), solvable


def test_hard_problems() -> None:
    require_sound([judge(seed) for seed in range(30)])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100_000, 600_000, 100_000))
def test_many_hard_problems(first: int) -> None:
    require_sound([judge(seed) for seed in range(first, first + PROBLEMS)])
