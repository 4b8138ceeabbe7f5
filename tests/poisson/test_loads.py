"""Loads with sources at points, and steps of time with the mass operator, against dense matrices."""

from __future__ import annotations

import itertools
import math
import re
from functools import reduce
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.operators.mass import Mass

RNG = np.random.default_rng
SIDES = ("left", "right", "bottom", "top", "back", "front")
CELLS = (7, 4, 5)
DOMAINS = ((-1.0, 2.0), (0.0, 0.7), (3.0, 4.0))


def axes_of(dim: int) -> list[np.ndarray]:
    pairs = zip(CELLS[:dim], DOMAINS, strict=False)
    return [np.linspace(*ends, n + 1) for n, ends in pairs]


def boxed(dim: int, **more: Any) -> dict[str, Any]:
    domain = DOMAINS[:dim] if dim > 1 else DOMAINS[0]
    return {"dim": dim, "n": CELLS[:dim] if dim > 1 else CELLS[0], "domain": domain, **more}


def hats_at(axes: list[np.ndarray], place: np.ndarray) -> np.ndarray:
    """Evaluate all hats at a place by NumPy's interpolation, shape (*nodes)."""
    each = [
        np.array([np.interp(s, x, unit) for unit in np.eye(len(x))]) for x, s in zip(axes, place, strict=True)
    ]
    return reduce(np.multiply.outer, each)


def sources(dim: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw places, of which the first is a corner, the second a node and the third on a side of cells."""
    rng, axes = RNG(seed), axes_of(dim)
    places = np.stack([rng.uniform(*ends, count) for ends in DOMAINS[:dim]], -1)
    places[0] = [x[-1] for x in axes]
    places[1] = [x[2] for x in axes]
    places[2, 0] = axes[0][3]
    return places, rng.normal(size=count)


def interior(b: np.ndarray) -> np.ndarray:
    return b[(slice(1, -1),) * b.ndim]


# Sources.


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_each_hat_gets_its_value_at_the_source(dim: int) -> None:
    places, q = sources(dim, 6)
    expected = sum(s * hats_at(axes_of(dim), place) for place, s in zip(places, q, strict=True))
    pairs = [(tuple(place), s) for place, s in zip(places.tolist(), q.tolist(), strict=True)]
    free = Poisson(**boxed(dim, boundary=Neumann()) if dim > 1 else boxed(1, left=Neumann(), right=Neumann()))
    # eq: point-load
    for points in (pairs, (places, q), (torch.from_numpy(places), q.tolist())):
        np.testing.assert_allclose(mgnet.load(free, points=points), expected, rtol=0, atol=1e-14)
    held = mgnet.load(Poisson(**boxed(dim)), points=pairs)
    np.testing.assert_allclose(held, interior(expected), rtol=0, atol=1e-14)
    at_node = mgnet.load(free, points=[(tuple(x[2] for x in axes_of(dim)), 3.0)])
    assert np.count_nonzero(at_node) == 1
    assert at_node[(2,) * dim] == 3


def test_given_nodes_and_numbers_as_places() -> None:
    x = np.array([0.0, 0.1, 0.15, 0.8, 1.0])
    problem = Poisson(nodes=x, right=Neumann())
    expected = 2 * np.interp(0.3, x, [0, 0, 1, 0, 0]), 2 * np.interp(0.3, x, [0, 0, 0, 1, 0]) + 5
    for points in ([(0.3, 2.0), (0.8, 5)], [((0.3,), 2.0), ([0.8], 5)], (np.array([0.3, 0.8]), [2.0, 5.0])):
        b = mgnet.load(problem, points=points)
        np.testing.assert_allclose(b, [0, *expected, 0], atol=1e-15)


@pytest.mark.parametrize("periodic", [(True, False), (False, True), (True, True)])
def test_joined_ends_are_one(periodic: tuple[bool, bool]) -> None:
    problem = Poisson(**boxed(2, periodic=periodic, boundary={} if all(periodic) else None))
    (low, high), (bottom, top) = DOMAINS[:2]
    places = itertools.product((low, high, 0.3), (bottom, top, 0.11))
    for x, y in places:
        given = mgnet.load(problem, points=[((x, y), 1.0)])
        turned = (low + high - x if x in (low, high) and periodic[0] else x), y
        assert np.array_equal(given, mgnet.load(problem, points=[(turned, 1.0)]))
        if all(periodic):
            assert given.sum() == pytest.approx(1, abs=1e-15)
    ends = mgnet.load(Poisson(n=4, periodic=True), points=[(0.0, 1.0), (1.0, 2.0), (0.875, 4.0)])
    np.testing.assert_array_equal(ends, [5, 0, 0, 2])


def test_the_string_hangs_from_the_place() -> None:
    """In one dimension the solution is exact at the nodes, wherever the source is."""
    places, q = np.array([0.123, 0.5, 0.77]), np.array([1.0, -2.0, 3.0])
    problem = Poisson(n=16)
    b = mgnet.load(problem, f=2.0, points=(places, q))
    x = np.linspace(0, 1, 17)
    exact = x * (1 - x) + sum(
        s * np.minimum(x, p) * (1 - np.maximum(x, p)) for p, s in zip(places, q, strict=True)
    )
    for sol in (mgnet.solve(b=b, n=16), mgnet.Hierarchy(problem).solve(b)):
        np.testing.assert_allclose(sol.u, exact, rtol=0, atol=1e-15)


def test_a_source_is_what_a_narrow_function_becomes() -> None:
    """A Gaussian that a grid resolves, and the source that stands for it where a grid does not."""
    place, width = 0.3605, 1e-4

    def narrow(x: np.ndarray) -> np.ndarray:
        return np.exp(-(((x - place) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))

    resolved = mgnet.solve(narrow, n=2**16).u[:: 2**10]
    source = mgnet.solve(b=mgnet.load(Poisson(n=64), points=[(place, 1.0)]), n=64).u
    np.testing.assert_allclose(source, resolved, rtol=0, atol=width**2)
    assert source.max() == pytest.approx(0.2304, abs=0.004)


def green(x: np.ndarray, y: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    """Sum up Green's function of the unit square: sines in x, and in y two exponentials each."""
    s, t = place
    low, high = np.minimum(y, t), np.maximum(y, t)
    k = np.pi * np.arange(1, 400)[:, None, None]
    decay = np.exp(-k * (high - low)) * -np.expm1(-2 * k * low) * -np.expm1(-2 * k * (1 - high))
    return (np.sin(k * s) * np.sin(k * x) * decay / (k * -np.expm1(-2 * k))).sum(0)


def test_away_from_a_source_the_order_is_two() -> None:
    place, errors = (1 / 3, 2 / 3), []  # at a third of a cell of each grid
    for n in (32, 64, 128):
        b = mgnet.load(Poisson(n=n, dim=2), points=[(place, 1.0)])
        x, y = np.meshgrid(*[np.arange(1, 16) / 16] * 2, indexing="ij")
        away = np.hypot(x - place[0], y - place[1]) > 0.2
        found = mgnet.solve(b=b, n=n, dim=2)(x[away], y[away])
        errors.append(np.abs(found - green(x, y, place)[away]).max())
    assert errors[-1] < 1e-4
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2, atol=0.3)


def test_a_source_on_a_dirichlet_side_changes_nothing() -> None:
    problem = Poisson(n=4, dim=2, boundary={"right": Neumann(0)})
    assert not mgnet.load(problem, points=[((0.0, 0.3), 1.0), ((0.4, 1.0), 1.0)]).any()
    assert mgnet.load(problem, points=[((1.0, 0.3), 1.0)]).sum() == pytest.approx(1)
    # Beside it a part is lost to the side.
    assert mgnet.load(problem, points=[((0.0625, 0.5), 1.0)]).sum() == pytest.approx(0.25)


def test_rounding_is_no_outside() -> None:
    problem = Poisson(n=3, domain=(0.0, 0.3), right=Neumann())
    np.testing.assert_array_equal(mgnet.load(problem, points=[(0.1 * 3, 1.0)]), [0, 0, 1])
    np.testing.assert_array_equal(mgnet.load(problem, points=[(0.2 - 1e-17, 1.0)]), [0, 1, 0])


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(0.5, 1.0), (1.25, 1.0)], "points: got 1.25 as place 1; accepted: places in [0.0, 1.0]"),
        ([(math.nan, 1.0)], "points: place 0: got nan; accepted: a finite number"),
        ([(0.5, math.inf)], "points: strength 0: got inf; accepted: a finite number"),
        ([((0.5, 0.5), 1.0)], "points: place 0: got (0.5, 0.5); accepted: a number"),
        ([0.5], "points: got 0.5 as number 0; accepted: pairs (place, strength)"),
        ((0.5, 1.0), "points: got 0.5 as number 0; accepted: pairs (place, strength)"),
        (np.ones((2, 2)), "points: got array([[1., 1.],"),
        ("word", "points: got 'word'; accepted: pairs"),
        (2.0, "points: got 2.0; accepted: pairs"),
        ([(0.5, [1.0, 2.0])], "points: strength 0: got [1.0, 2.0]; accepted: a real number"),
        ([("a", 1.0)], "points: place 0: got 'a'; accepted: a number"),
        ((np.ones((2, 2)), [1.0, 1.0]), "points: places: got shape (2, 2); accepted: (k, 1) or (k,)"),
        ((np.ones(2), [1.0]), "points: strengths: got shape (1,); accepted: (..., 2), one strength"),
        ((np.ones(2), [1.0, math.nan]), "points: strengths: got nan at index 1; accepted: finite numbers"),
        ((np.array([0.5, math.nan]), [1.0, 1.0]), "points: got nan as place 1; accepted: places in"),
    ],
)
def test_bad_points_are_refused(points: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        mgnet.load(Poisson(n=4), points=points)


def test_other_bad_inputs_are_refused() -> None:
    plane = Poisson(n=4, dim=2)
    with pytest.raises(ValueError, match=r"got \(0.5, -0.25\) as place 0; accepted: places in"):
        mgnet.load(plane, points=[((0.5, -0.25), 1.0)])
    place = torch.tensor([[0.5, 0.5]], requires_grad=True)
    with pytest.raises(ValueError, match="places: got a tensor by which derivatives are taken"):
        mgnet.load(plane, points=(place, [1.0]))
    with pytest.raises(ValueError, match=r"points: got leading axes \(2,\) beside \(3,\)"):
        mgnet.load(plane, f=np.ones((3, 5, 5)), points=(place.detach(), np.ones((2, 1))))
    with pytest.raises(TypeError, match="problem: got 4; accepted: a Poisson problem"):
        mgnet.load(4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fluxes: got 1; accepted: True or False"):
        mgnet.load(plane, fluxes=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"f: got nan at index \(0, 0\)"):
        mgnet.load(plane, f=np.full((5, 5), np.nan))


# The rest of the load.


@pytest.mark.parametrize("f", [2.0, np.sin, RNG(1).normal(size=(3, 8)), None], ids=["c", "f", "array", "own"])
@pytest.mark.parametrize("rule", [None, "exact", "nodal"])
def test_both_ways_to_solve_give_one_answer(f: Any, rule: str | None) -> None:
    """``solve`` adds the data of the sides, ``Hierarchy.solve`` wants them."""
    given = {"n": 7, "left": Robin(2.0, 3.0), "right": Neumann(-1.5), "a": 2.0, "load": rule}
    problem = Poisson(f=np.cos, **given)
    own = np.cos if f is None else f
    expected = mgnet.solve(own, **given).u
    b, whole = (mgnet.load(problem, f, fluxes=fluxes) for fluxes in (False, True))
    np.testing.assert_allclose(mgnet.solve(b=b, **given).u, expected, atol=1e-14)
    np.testing.assert_allclose(mgnet.Hierarchy(problem).solve(whole).u, expected, atol=1e-14)
    difference = np.broadcast_to([3.0, *[0] * 6, -1.5], b.shape)
    np.testing.assert_allclose(whole - b, difference, atol=1e-15)


@pytest.mark.parametrize("dim", [2, 3])
def test_sides_of_a_box(dim: int) -> None:
    sides = {"left": Robin(2.0, lambda *x: x[0] + x[1]), "top": Neumann(1.5), "bottom": Dirichlet(0.5)}
    given = boxed(dim, boundary=sides, c=0.5, load="exact")
    problem, f = Poisson(**given), lambda *x: x[0] * x[1]
    places, q = sources(dim, 4)
    b, whole = (mgnet.load(problem, f, (places, q), fluxes=fluxes) for fluxes in (False, True))
    first, second = mgnet.solve(b=b, **given).u, mgnet.Hierarchy(problem).solve(whole).u
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)
    without = mgnet.solve(f, **given).u
    alone = {side: type(one)(*([2.0] if side == "left" else []), 0.0) for side, one in sides.items()}
    at_points = mgnet.solve(
        b=mgnet.load(problem, f=0.0, points=(places, q)), **{**given, "boundary": alone}
    ).u
    np.testing.assert_allclose(first, without + at_points, rtol=0, atol=1e-9)


def test_the_problems_own_load_is_left_as_it_is() -> None:
    own = np.arange(3.0)
    problem = Poisson(n=4, b=own)
    b = mgnet.load(problem, points=[(0.5, 1.0)])
    np.testing.assert_array_equal(b, [0, 2, 2])
    again = mgnet.load(problem)
    again += 1
    np.testing.assert_array_equal(own, [0, 1, 2])
    assert problem.with_f(1.0).b is None
    assert problem.b is not None


def test_kinds_and_precision() -> None:
    problem, places = Poisson(n=4), np.array([0.3, 0.6])
    single = mgnet.load(problem, points=(places, np.ones((2, 2), np.float32)))
    assert (type(single), single.dtype, single.shape) == (np.ndarray, np.float32, (2, 3))
    assert mgnet.load(problem, points=[(0.5, torch.tensor(1.0)), (0.7, 2.0)]).dtype == torch.float64
    assert mgnet.load(problem, f=torch.ones(5), points=(places, [1.0, 1.0])).dtype == torch.float32
    assert isinstance(mgnet.load(Poisson(torch.ones(5), n=4)), Tensor)
    assert isinstance(mgnet.load(Poisson(n=4), f=lambda x: torch.as_tensor(x) ** 2), Tensor)
    assert type(mgnet.load(problem, f=np.sin)) is np.ndarray
    assert not mgnet.load(problem, points=[]).any()
    assert mgnet.load(problem, points=[]).flags.c_contiguous


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_strengths_have_gradients(dim: int) -> None:
    problem = Poisson(**boxed(dim))
    places, q = sources(dim, 4)
    given = torch.from_numpy(np.stack((q, -2 * q))).requires_grad_()

    def solved(q: Tensor) -> Tensor:
        b = mgnet.load(problem, points=(places, q))
        return mgnet.Hierarchy(problem, method="direct").solve(b).u

    assert torch.autograd.gradcheck(lambda q: mgnet.load(problem, points=(places, q)), (given,))
    assert torch.autograd.gradcheck(solved, (given,), fast_mode=True)
    one = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    place = tuple(places[3])
    mgnet.load(problem, points=[(place, one), (place, 1.0)]).sum().backward()
    assert one.grad == pytest.approx(interior(hats_at(axes_of(dim), places[3])).sum())
    many = torch.func.vmap(lambda q: mgnet.load(problem, points=(places, q)))(given.detach())
    torch.testing.assert_close(many, mgnet.load(problem, points=(places, given.detach())))


# The mass operator.


def mass_matrix(x: np.ndarray, lumped: bool) -> np.ndarray:
    """Write that of an interval between all nodes, one cell after the other."""
    M = np.zeros((len(x), len(x)))
    for i, h in enumerate(np.diff(x)):
        M[i : i + 2, i : i + 2] += h / 2 * np.eye(2) if lumped else h / 6 * np.array([[2, 1], [1, 2]])
    return M


@pytest.mark.parametrize("lumped", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_mass_of_all_nodes_and_of_the_unknowns(dim: int, lumped: bool) -> None:
    problem = Poisson(**boxed(dim))
    whole = reduce(np.kron, [mass_matrix(x, lumped) for x in axes_of(dim)])
    inside = interior(np.arange(len(whole)).reshape(problem.node_shape)).ravel()
    M = mgnet.mass(problem, lumped=lumped)
    u = RNG(3).normal(size=(2, *problem.node_shape))
    expected = (u.reshape(2, -1) @ whole)[:, inside].reshape(2, *problem.shape)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(M(u), expected, rtol=0, atol=20e-16 * scale)
    held = u.reshape(2, -1)[:, inside].reshape(2, *problem.shape)
    np.testing.assert_allclose(
        M(held).reshape(2, -1), held.reshape(2, -1) @ whole[np.ix_(inside, inside)], atol=20e-16 * scale
    )
    np.testing.assert_allclose(M.to_dense(), whole[np.ix_(inside, inside)], atol=1e-16)
    np.testing.assert_allclose(M.diagonal().numpy().ravel(), np.diag(whole)[inside], atol=1e-16)
    assert M.T is M
    single = M(torch.from_numpy(u[0]).float())
    assert (single.dtype, single.shape) == (torch.float32, problem.shape)
    assert torch.autograd.gradcheck(M, (torch.from_numpy(u).requires_grad_(),), fast_mode=True)


def test_mass_on_given_nodes_and_joined_ends() -> None:
    x = np.cumsum(RNG(4).uniform(0.1, 1, 9))
    M = mgnet.mass(Poisson(nodes=x, left=Neumann(), right=Neumann()))
    np.testing.assert_allclose(M.to_dense(), mass_matrix(x, False), atol=1e-16)
    joined = mgnet.mass(Poisson(n=4, periodic=True))
    np.testing.assert_allclose(joined.to_dense(), scipy.linalg.circulant([4, 1, 0, 1]) / 24, atol=1e-16)
    u = np.arange(4.0)
    np.testing.assert_allclose(joined(u), joined(np.append(u, u[0])), atol=1e-16)


def test_what_is_outside_of_the_cells_does_not_weigh() -> None:
    cells = torch.ones(3, 2, dtype=torch.bool)
    cells[0, 1] = False
    M = Mass(Poisson(n=(3, 2), dim=2, boundary=Neumann()).space, cells=cells)
    u = np.ones((4, 3))
    u[0, 2] = np.nan  # the corner that has no cell
    b = M(u)
    assert b.sum() == pytest.approx(5 / 6)
    assert b[0, 2] == 0
    assert M.coarsen() is None


def test_mass_follows_the_rule_of_the_problem() -> None:
    values = np.ones(9)
    for keywords, lumped in (({}, False), ({"f": values}, True), ({"f": np.sin}, False)):
        assert mgnet.mass(Poisson(n=8, **keywords)).lumped == lumped
        assert mgnet.mass(Poisson(n=8, load="nodal", **keywords)).lumped
        assert not mgnet.mass(Poisson(n=8, load="exact", **keywords)).lumped
        assert mgnet.mass(Poisson(n=8, **keywords), lumped=True).lumped
        assert not mgnet.mass(Poisson(n=8, **keywords), lumped=False).lumped


def test_mass_refuses_what_it_cannot_weigh() -> None:
    M = mgnet.mass(Poisson(n=4, dim=2))
    with pytest.raises(ValueError, match=r"u: got shape \(4, 4\); accepted: \(..., 3, 3\) or \(..., 5, 5\)"):
        M(np.ones((4, 4)))
    with pytest.raises(TypeError, match="problem: got 'word'"):
        mgnet.mass("word")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lumped: got 'no'; accepted: True or False"):
        mgnet.mass(Poisson(n=4), lumped="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("lumped", [False, True])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_step_of_time_is_that_of_the_matrices(dim: int, lumped: bool) -> None:
    """With sides that are held at values, others with fluxes, and a source that is switched on."""
    dt, sides = 0.03, {"left": Dirichlet(1.0), "right": Robin(2.0, 0.5), "top": Neumann(0.2)}
    names = SIDES[: 2 * dim]
    given = {**boxed(dim), "c": 1 / dt, "load": "nodal" if lumped else "exact"}
    given["boundary"] = {name: side for name, side in sides.items() if name in names}
    problem, axes = Poisson(**given), axes_of(dim)
    places, q = sources(dim, 3)
    F = mgnet.load(problem, f=0.3, points=(places, q), fluxes=True)
    M, step = mgnet.mass(problem), mgnet.Hierarchy(problem, method="direct")
    K = [scipy.linalg.toeplitz([2.0, -1, *[0] * (len(x) - 2)]) / (x[1] - x[0]) for x in axes]
    for k in K:
        k[[0, -1], [0, -1]] /= 2
    full = [mass_matrix(x, False) for x in axes]
    right = np.zeros_like(K[0])
    right[-1, -1] = 1
    parts = [K[0] + 2 * right] if dim == 1 else [np.kron(K[0], full[1]), np.kron(full[0], K[1])]
    A = sum(parts) + (0 if dim == 1 else 2 * np.kron(right, full[1]))
    mass = reduce(np.kron, [mass_matrix(x, lumped) for x in axes])
    weights = [mass_matrix(x, True).diagonal() for x in axes]
    b = 0.3 * reduce(np.multiply.outer, weights) + sum(
        s * hats_at(axes, place) for place, s in zip(places, q, strict=True)
    )
    b[-1] += 0.5 * (1 if dim == 1 else weights[1])
    if dim == 2:
        b[:, -1] += 0.2 * weights[0]
    held = np.zeros(problem.node_shape, bool)
    held[0] = True
    if dim == 2:
        held[:, 0] = True
    value = np.zeros(problem.node_shape)
    value[0] = 1.0
    if dim == 2:
        value[:, 0] = 0.0  # the later side counts in the corner
    free = ~held.ravel()
    u = RNG(6).normal(size=problem.node_shape)
    expected = u.ravel()
    for _ in range(3):
        u = step.solve(M(u) / dt + F).u
        rhs = (mass @ expected) / dt + b.ravel()
        whole = A + mass / dt
        new = value.ravel().copy()
        new[free] = np.linalg.solve(whole[np.ix_(free, free)], (rhs - whole @ new)[free])
        expected = new
    np.testing.assert_allclose(u.ravel(), expected, rtol=0, atol=1e-12)
