"""All forms of a problem, mixed at random, against an assembly of its own; and that against formulas."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import independent
import mixed_forms
import numpy as np
import pytest
import reference
from independent import LONG, SIDES, Problem, Side, System
from mixed_forms import FORMS, case, judge, summary

import mgnet

# How many problems a slow test takes, some hundredths of a second each; there are ten of them.
PROBLEMS = int(os.environ.get("MGNET_PROBLEMS", "220"))
SIZES = [(6,), (5, 4), (3, 4, 3)]


# The reference.


def stretched(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.concatenate(([0.0], np.cumsum(10 ** rng.uniform(-2, 0, n)))).astype(LONG)


def some_cells(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    mask = rng.random(sizes) < 0.7
    mask.flat[0] = True
    return mask


def off(answer: independent.Answer, u: np.ndarray, cells: np.ndarray) -> float:
    """The largest error at nodes that have a cell; the others are to be NaN."""
    reached = np.zeros(u.shape, bool)
    for index in np.argwhere(cells):
        reached[tuple(slice(i, i + 2) for i in index)] = True
    assert (np.isnan(answer.u) == ~reached).all()
    return float(np.nanmax(np.abs(answer.u - u)))


@pytest.mark.parametrize("lumped", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_what_elements_represent_is_found(sizes: tuple[int, ...], lumped: bool) -> None:
    """A function linear along each axis: a tensor, stretched axes, some cells, nodes held at their border."""
    rng, dim = np.random.default_rng(0), len(sizes)
    axes, cells = [stretched(rng, n) for n in sizes], some_cells(rng, sizes)
    x = np.meshgrid(*axes, indexing="ij")
    u, a = 1 + sum((i + 2) * x[i] for i in range(dim)), rng.uniform(1, 9, dim)
    # Fluxes that vary along a side are no nodal values; and α u is linear where α or u does not vary.
    u = u if lumped else u + math.prod(x)
    border = np.zeros(u.shape, bool)
    for index in np.argwhere(~cells):
        border[tuple(slice(i, i + 2) for i in index)] = True
    boundary = {}
    for axis in range(dim):
        slope = np.diff(u, axis=axis).take([0], axis) / np.diff(axes[axis])[0]
        flux = (a[axis] * slope).squeeze(axis)
        alpha = rng.uniform(0, 5, flux.shape if lumped else None)
        boundary[SIDES[axis][0]] = Side(False, alpha, -flux + alpha * u.take(0, axis))
        value = u.take(-1, axis)
        boundary[SIDES[axis][1]] = Side(True, 0.0, value) if axis == 0 else Side(False, 0.0, flux)
    problem = Problem(axes, a, boundary=boundary, cells=cells, fixed=(border, u), lumped=lumped)
    assert off(independent.solve(problem), u, cells) < 1e-15


@pytest.mark.parametrize("lumped", [True, False])
@pytest.mark.parametrize("in_cells", [(), ("c",), ("f",), ("c", "f"), ("a",)])
@pytest.mark.parametrize("sizes", SIZES)
def test_c_and_f_alpha_and_g_fit(sizes: tuple[int, ...], in_cells: tuple[str, ...], lumped: bool) -> None:
    """c (u − 1) = 0 and α (u − 1) = 0 have the solution 1; c and f of one kind vary, of two they do not."""
    rng, shape = np.random.default_rng(1), tuple(n + 1 for n in sizes)
    cells = some_cells(rng, sizes)
    c = 10 ** rng.uniform(-2, 2, sizes if "c" in in_cells else shape)
    c = np.full_like(c, 3.0) if in_cells in (("f",), ("c",)) else c
    f = np.full(sizes if "f" in in_cells else shape, 3.0) if in_cells in (("f",), ("c",)) else c
    a = [10 ** rng.uniform(-2, 2, sizes if "a" in in_cells else shape) for _ in sizes]
    boundary = {}
    for axis in range(len(sizes)):
        alpha = rng.uniform(0, 5, shape[:axis] + shape[axis + 1 :])
        boundary |= {SIDES[axis][0]: Side(False, alpha, alpha), SIDES[axis][1]: Side(False)}
    axes = [stretched(rng, n) for n in sizes]
    problem = Problem(axes, a, c, f, boundary=boundary, cells=cells, lumped=lumped, c_lumped=lumped)
    assert off(independent.solve(problem), np.ones(shape), cells) < 1e-15


def test_conductances_in_series_and_beside_each_other() -> None:
    """A tensor that varies along x alone, and slits: each channel is a line of resistances h/a."""
    rng = np.random.default_rng(2)
    axes, along = [stretched(rng, 7), stretched(rng, 5)], 10 ** rng.uniform(-2, 2, (7, 1))
    cells = np.ones((7, 5), bool)
    cells[:, 1::2] = False
    natural = {"bottom": Side(False), "top": Side(False)}
    boundary = natural | {"left": Side(True), "right": Side(True, 0.0, 1.0)}
    found = independent.solve(
        Problem(axes, [along * np.ones((7, 5)), rng.uniform(1, 2, (7, 5))], boundary=boundary, cells=cells)
    )
    steps = np.cumsum(np.diff(axes[0]) / along[:, 0])
    assert off(found, np.append(0, steps)[:, None] / steps[-1] * np.ones(6), cells) < 1e-15
    width = np.diff(axes[1])[::2].sum()
    assert float(found.fluxes[-1].sum()) == pytest.approx(float(width / steps[-1]), rel=1e-14)


def test_each_piece_that_nothing_holds_has_zero_mean() -> None:
    """Three parts: one is held, one is not and has a constant f too much, one reacts."""
    x, cells = np.linspace(0, 1, 9), np.ones(8, bool)
    cells[[2, 5]] = False
    c, f = np.where(x > 0.7, 2.0, 0.0), np.where(x < 0.7, np.where(x < 0.3, 0, 5 + x), 6.0)
    problem = Problem([x], [1.0], c, f, cells=cells, boundary={"right": Side(False)})
    (middle,) = System(problem).pieces
    assert middle.tolist() == [3, 4, 5]
    found = independent.solve(problem)
    h = 1 / 8
    # −u″ = x − its mean, lumped: two slopes.
    slope = h / 2 * (x[3] - x[4]) * h
    np.testing.assert_allclose(np.diff(found.u[3:6]).astype(float), [-slope, -slope], rtol=1e-14)
    assert abs(float(found.u[3] + 2 * found.u[4] + found.u[5])) < 1e-17
    np.testing.assert_allclose(found.u[6:].astype(float), 3, rtol=1e-15)
    np.testing.assert_allclose(found.u[:3].astype(float), 0, atol=1e-17)


@pytest.mark.parametrize("at", [0.25, 0.3, 1.0])
def test_point_sources_are_hats(at: float) -> None:
    """In one dimension the values at nodes are those of Green's function."""
    x = np.array([0.0, 0.25, 0.6, 1.0])
    found = independent.solve(Problem([x], [1.0], points=[(at, 3.0)]))
    np.testing.assert_allclose(
        found.u.astype(float), 3 * np.minimum(x, at) * (1 - np.maximum(x, at)), atol=1e-15
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_point_sources_keep_moments(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    axes = [stretched(rng, n) for n in sizes]
    x, at = np.meshgrid(*axes, indexing="ij"), [float(rng.uniform(0, axis[-1])) for axis in axes]
    load = System(Problem(axes, [1.0] * len(sizes), points=[(at, 2.0)])).of_f.reshape(x[0].shape)
    for function in ([], [0], [*range(len(sizes))]):
        values = math.prod((x[i] for i in function), start=LONG(1))
        assert float((load * values).sum()) == pytest.approx(
            2 * math.prod(at[i] for i in function), rel=1e-14
        )


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_it_agrees_with_the_reference_of_hundreds_of_bits(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All forms that both know."""
    known = {"nodes", "reaction", "periodic", "nodal sides", "ready load", "nodes of boxes"}
    monkeypatch.setattr(mixed_forms, "FORMS", {name: name in known for name in FORMS})
    for seed in range(first, first + 20):
        (row,) = case(seed).rows
        row = replace(row, nodes=[axis.astype(float) for axis in row.nodes])
        if math.prod(map(len, row.nodes)) > 60:
            continue
        found, (u,) = independent.solve(row), reference.Reference(translated(row)).u
        exact = np.array([LONG(x.str(25, radius=False)) for x in u.ravel()]).reshape(found.u.shape)
        assert np.abs(found.u - exact).max() <= found.uncertainty + 1e-18 * found.size, seed


def translated(row: Problem) -> reference.Data:
    """Give a problem to the other reference."""
    system = System(row)
    sides = {
        (axis, end): reference.Side(*row.boundary.get(name, Side(True)))
        for axis, names in enumerate(SIDES[: len(row.nodes)])
        for end, name in enumerate(names)
        if not system.periodic[axis]
    }
    a = np.broadcast_to(row.a[0], system.active.shape)
    load = {"f": np.broadcast_to(row.f, system.shape)[None]}
    if row.b is not None:
        places = np.ix_(*(np.unique(i) for i in np.unravel_index(system.unknowns, system.shape)))
        load = {"b": row.b[places][None]}
    return reference.Data(
        row.nodes, system.periodic, sides, a, row.c, **load, lumped=row.lumped, c_lumped=row.c_lumped
    )


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_all_forms_have_answers(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn of all forms has a solution, known far better than in float64, and its fluxes balance."""
    monkeypatch.setattr(mixed_forms, "FORMS", dict.fromkeys(FORMS, True))
    for seed in range(first, first + 25):
        it = case(seed)
        for row, answer in zip(it.rows, it.answers, strict=True):
            assert answer.uncertainty <= 1e-9 * answer.size, seed
            assert unbalanced(row, answer) < 1e-17, seed


def unbalanced(problem: Problem, answer: independent.Answer) -> float:
    """The sum of sources and fluxes, beside the sum of the sizes of what they are made of."""
    system = System(problem)
    u = np.nan_to_num(answer.u).ravel()
    taken = [d * system.weights[p].sum() for d, p in zip(system.defects(), system.pieces, strict=True)]
    of_c = system.inner.of_c
    total = answer.fluxes.sum() + system.of_f.sum() - sum(taken) - (of_c.entries * u[of_c.columns]).sum()
    size = (system.whole.of_sizes(u) + np.abs(system.of_f)).sum()
    return float(abs(total) / (size or 1))


# How answers are judged.


@pytest.mark.parametrize(
    ("fault", "keywords", "change"),
    [
        ("wrong", {}, lambda u: 1.001 * u),
        ("nan", {}, lambda u: np.where(u == np.nanmax(u), np.nan, u)),
        ("raised", {"n": -1}, None),
        ("unsolved", {"maxiter": 1}, None),
    ],
)
def test_faults_are_seen(
    fault: str, keywords: dict[str, Any], change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, solve = next(filter(takes_steps, range(1000))), mgnet.solve

    def changed(**given: Any) -> Any:
        sol = solve(**given | keywords)
        if change:
            sol.u[...] = change(sol.u)
        return sol

    assert judge(seed).fault == ""
    monkeypatch.setattr(mixed_forms.mgnet, "solve", changed)
    assert judge(seed).fault == fault


def takes_steps(seed: int) -> bool:
    """Whether a problem is one that an iteration solves in more than one step."""
    it = case(seed)
    plain = it.drawn["dtype"] == "float64" and it.drawn["method"] == "pcg" and not it.torch
    return plain and "tol" not in it.drawn and it.solvable and it.solve().iterations > 1


# The product.


def require_sound(verdicts: list[mixed_forms.Verdict]) -> None:
    """No fault but unsolved problems, and few of those."""
    told = summary(verdicts)
    assert not any(verdict.fault not in ("", "unsolved") for verdict in verdicts), told
    assert sum(verdict.fault == "unsolved" for verdict in verdicts) <= max(1, len(verdicts) // 50), told


@pytest.mark.parametrize("first", range(0, 300, 20))
def test_mixed_forms(first: int) -> None:
    require_sound([judge(seed) for seed in range(first, first + 20)])


@pytest.mark.parametrize("seed", [4129, 5013, 8530])
def test_estimates_know_how_much_of_the_data_was_taken_out(seed: int) -> None:
    """Loads 46 to 106 times as large as what is left of them without their mean: so is their rounding."""
    require_sound([judge(seed)])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100_000, 1_100_000, 200_000))
def test_many_mixed_forms(first: int) -> None:
    require_sound([judge(seed) for seed in range(first, first + PROBLEMS)])
