"""f and c go through the same integrals: constants, steps of time, nodes that are held, smoothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Neumann
from mgnet.poisson import quadrature

STEPS = [1e-2, 1e-3, 1e-4, 1 / 60000, 1e-5, 1e-6, 1e-7]
# How c may be given, made of its nodal values.
KINDS = ("number", "array", "function")


def given(kind: str, c: float, nodes: tuple[int, ...]) -> Any:
    """Give a constant in one of the forms that c has."""
    forms = {"number": c, "array": np.full(nodes, c), "function": lambda *x: c + 0 * sum(x)}
    return forms[kind]


@pytest.mark.parametrize("dt", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_time_decays_as_the_lumped_scheme_says(kind: str, dt: float) -> None:
    n = 100
    u = np.sin(np.pi * np.linspace(0, 1, n + 1))
    rate = (2 - 2 * np.cos(np.pi / n)) * n**2
    after = mgnet.solve(u / dt, n=n, c=given(kind, 1 / dt, (n + 1,))).u
    np.testing.assert_allclose(after, u / (1 + dt * rate), rtol=0, atol=1e-14)


def test_many_steps_keep_the_rate() -> None:
    """With h²/6 for dt a consistent mass matrix stood still, and with less it grew."""
    n, dt = 100, 1e-5
    u = start = np.sin(np.pi * np.linspace(0, 1, n + 1))
    step = mgnet.Hierarchy(mgnet.Poisson(n=n, c=1 / dt, load="nodal"))
    for _ in range(100):
        u = step.solve(u[1:-1] / (n * dt)).u
    rate = (2 - 2 * np.cos(np.pi / n)) * n**2
    np.testing.assert_allclose(u, start / (1 + dt * rate) ** 100, rtol=0, atol=1e-12)


@pytest.mark.parametrize("large", [1e2, 1e4, 1e8, 1e14])
@pytest.mark.parametrize("n", [8, 33])
def test_nodes_that_are_held_overshoot_by_nothing(n: int, large: float) -> None:
    """The lumped matrix has no positive entry off its diagonal: u stays between what holds it."""
    rng = np.random.default_rng(n)
    c = large * (rng.random(n + 1) < 0.3)
    values = rng.integers(0, 2, n + 1)
    sol = mgnet.solve(c * values, n=n, c=c, left=mgnet.Dirichlet(0.0), right=mgnet.Dirichlet(1.0))
    assert sol.u.min() >= 0
    assert sol.u.max() <= 1 + 4 * np.finfo(float).eps
    if large > 1e7:
        np.testing.assert_allclose(sol.u[c > 0][1:-1], values[c > 0][1:-1], atol=n**2 / large * 9)


CONDITIONS: dict[str, dict[str, Any]] = {
    "neumann": {"left": Neumann(0), "right": Neumann(0)},
    "robin": {"left": mgnet.Robin(2.0, 6.0), "right": Neumann(0)},
    "dirichlet": {"left": mgnet.Dirichlet(3.0), "right": mgnet.Dirichlet(3.0)},
    "periodic": {"periodic": True},
}
# A peak between nodes of some grids, and c as nodal values of any size.
PEAK = lambda x: 1e3 * np.exp(-(((x - 0.43) / 0.05) ** 2)) + 1e-3  # noqa: E731


@pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("grid", [{"n": 8}, {"n": 33}, {"nodes": np.linspace(0, 1, 12) ** 2}], ids=str)
def test_a_constant_comes_out_on_a_line(
    grid: dict[str, Any], dtype: str, load: str, conditions: dict[str, Any]
) -> None:
    x = mgnet.Poisson(**grid).grid.x
    nodal = 10.0 ** np.random.default_rng(0).uniform(-4, 4, len(x))
    batch = np.array([[1.0], [1.0]])
    pairs = [
        (7.0 * 3, 7.0),
        (7.0 * 3 * np.ones_like(x), 7.0),
        (3 * nodal, nodal),
        (3 * nodal * batch, nodal),
        (3 * PEAK(x), PEAK),
        (lambda x: 3 * PEAK(x), PEAK),
    ]
    if "periodic" in conditions:
        pairs = [(f, c) for f, c in pairs if c is not PEAK]
    for f, c in pairs:
        u = mgnet.solve(f, **grid, **conditions, c=c, load=load, dtype=dtype).u
        np.testing.assert_allclose(u, 3, rtol=40 * np.finfo(dtype).eps)


def test_which_integrals_are_taken() -> None:
    """A nodal array f is lumped and c with it; all else is integrated, unless load says more."""
    array, function = np.ones(9), np.cos
    for f, load, lumped, nodal in (
        (array, None, True, True),
        (array, "exact", False, True),
        (array, "nodal", True, True),
        (function, None, False, False),
        (function, "nodal", True, True),
        (1.0, None, False, False),
        (1.0, "nodal", True, True),
        (None, None, False, False),
        (None, "nodal", True, True),
    ):
        problem = mgnet.Poisson(f, n=8, load=load)
        assert (problem.lumped, problem.nodal) == (lumped, nodal)


def test_a_number_that_requires_a_gradient_is_the_same_number() -> None:
    f = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for more in ({}, {"load": "nodal"}, {"dim": 2}):
        for c in (30.0, lambda *x: 30 * x[0]):
            expected = mgnet.solve(2.0, n=8, c=c, **more).u
            u = mgnet.solve(f, n=8, c=c, **more).u.detach()
            np.testing.assert_allclose(u, expected, rtol=1e-9)


# In boxes.


@pytest.mark.parametrize("dt", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_time_in_the_plane(kind: str, dt: float) -> None:
    """The eigenvalue of the nine-point stencil and of the lumped mass, in closed form."""
    n = 32
    x = np.linspace(0, 1, n + 1)
    u = np.sin(np.pi * x)[:, None] * np.sin(np.pi * x)
    stiff, mass = (2 - 2 * np.cos(np.pi / n)) * n**2, (2 + np.cos(np.pi / n)) / 3
    after = mgnet.solve(u / dt, n=n, dim=2, c=given(kind, 1 / dt, (n + 1, n + 1))).u
    np.testing.assert_allclose(after, u / (1 + dt * 2 * stiff * mass), rtol=0, atol=1e-8)


def peak(*x: Any) -> Any:
    """Of width 0.1, away from the nodes of coarse grids."""
    return 1e3 * np.exp(-100 * sum((axis - 0.43) ** 2 for axis in x)) + 1e-3


BOXES: dict[str, dict[str, Any]] = {
    "plane": {"dim": 2, "n": 8},
    "odd": {"dim": 2, "n": (9, 14), "domain": ((0, 1), (0, 2))},
    "a": {"dim": 2, "n": 16, "a": 10.0 ** np.random.default_rng(1).uniform(-2, 2, (16, 16))},
    "space": {"dim": 3, "n": (4, 5, 6)},
}
NAMES = ("left", "right", "bottom", "top", "back", "front")
SIDES: dict[str, dict[str, Any]] = {
    "neumann": {},
    "robin": {"left": mgnet.Robin(2.0, 6.0), "top": mgnet.Dirichlet(3.0)},
    "periodic": {"periodic": True},
}


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_a_constant_comes_out_in_a_box(
    box: dict[str, Any], method: str, load: str, sides: dict[str, Any]
) -> None:
    keywords = {**box, "load": load, "method": method}
    joined = "periodic" in sides
    if joined:
        keywords |= sides
    else:
        keywords["boundary"] = {**dict.fromkeys(NAMES[: 2 * box["dim"]], Neumann(0)), **sides}
    nodes = np.ix_(*(grid.x for grid in mgnet.Poisson(**box).grids))
    nodal = 10.0 ** np.random.default_rng(0).uniform(-3, 4, np.broadcast_shapes(*(x.shape for x in nodes)))
    pairs: list[tuple[Any, Any]] = [
        (7.0 * 3, 7.0),
        (7.0 * 3 * np.ones_like(nodal), 7.0),
        (np.stack((3 * nodal, 3 * nodal)), nodal),
    ]
    if not joined:
        pairs += [(3 * peak(*nodes), peak), (lambda *x: 3 * peak(*x), peak)]
    for f, c in pairs:
        u = mgnet.solve(f, **keywords, c=c).u
        np.testing.assert_allclose(u, 3, rtol=1e-12 if method == "direct" else 1e-9)


def test_a_constant_comes_out_in_float32() -> None:
    c = 10.0 ** np.random.default_rng(0).uniform(-3, 3, (17, 17)).astype(np.float32)
    for load in ("nodal", "exact"):
        sol = mgnet.solve(3 * c, n=16, dim=2, c=c, boundary=Neumann(0), load=load)
        assert sol.u.dtype == np.float32
        np.testing.assert_allclose(sol.u, 3, rtol=3e-5)


@pytest.mark.parametrize("large", [1e4, 1e8, 1e14])
@pytest.mark.parametrize("n", [32, 33])
def test_nodes_that_are_held_in_the_plane(n: int, large: float) -> None:
    """In square cells no entry off the diagonal is positive: u stays between what holds it, in few cycles."""
    rng = np.random.default_rng(n)
    c = large * (rng.random((n + 1, n + 1)) < 0.2)
    values = rng.integers(0, 2, c.shape)
    sol = mgnet.solve(c * values, n=n, dim=2, c=c, boundary=Neumann(0))
    assert sol.u.min() >= -1e-9
    assert sol.u.max() <= 1 + 1e-9
    assert sol.iterations <= 20
    one = np.zeros((9, 9))
    one[4, 4] = large
    np.testing.assert_allclose(mgnet.solve(one, dim=2, n=8, c=one, boundary=Neumann(0)).u, 1, rtol=1e-9)


def test_the_smoothing_of_a_picture_stays_within_its_values() -> None:
    """u − λ Δu = f with square cells: the lumped operator has no positive entry off its diagonal."""
    rng = np.random.default_rng(0)
    edges = np.zeros((65, 65))
    edges[20:45, 20:45] = 1
    noise = rng.normal(0, 0.1, edges.shape)
    smooth = {"dim": 2, "n": 64, "domain": (0, 64), "a": 0.1, "c": 1.0, "boundary": Neumann(0)}
    clear = mgnet.solve(edges, **smooth).u
    assert clear.min() >= -1e-9
    assert clear.max() <= 1 + 1e-9
    # White noise shrinks as the symbols of the stencils say, here averaged over all waves.
    theta = (np.arange(200) + 0.5) / 200 * 2 * np.pi
    x, y = np.cos(theta)[:, None], np.cos(theta)
    stiff, mass = (8 - 2 * x - 2 * y - 4 * x * y) / 3, (2 + x) * (2 + y) / 9
    for load, kept in (("nodal", 1 / (1 + 0.1 * stiff)), ("exact", mass / (mass + 0.1 * stiff))):
        factor = mgnet.solve(noise, **smooth, load=load).u.std() / noise.std()
        assert factor == pytest.approx(np.sqrt((kept**2).mean()), rel=0.03)


@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_smooth_c_costs_no_order(dim: int, load: str) -> None:
    """u = cos πx cos πy with c = 2 + x y, in all three forms of c."""
    u = lambda *x: math.prod(np.cos(np.pi * t) for t in x)  # noqa: E731
    c = lambda *x: 2 + math.prod(x)  # noqa: E731
    f = lambda *x: (dim * np.pi**2 + c(*x)) * u(*x)  # noqa: E731
    errors = []
    for n in (8, 16, 32):
        nodes = np.ix_(*[np.linspace(0, 1, n + 1)] * dim)
        each = [
            mgnet.solve(f_given, dim=dim, n=n, c=c_given, boundary=Neumann(0), load=load).u
            for f_given in (f, f(*nodes))
            for c_given in (c, c(*nodes))
        ]
        errors.append([np.abs(found - u(*nodes)).max() for found in each])
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders[-1].min() > 1.9
    assert orders[-1].max() < 2.2


@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_derivatives_by_c(dim: int, load: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backwards, forwards and under vmap, also where c is integrated in parts."""
    monkeypatch.setattr(quadrature, "MOST", 20)
    n = (6, 4, 2)[dim - 1]
    nodes = (n + 1,) * dim
    f, *cs = np.random.default_rng(dim).uniform(0.5, 1, (4, *nodes))
    load_f, many = torch.from_numpy(f), torch.from_numpy(np.stack(cs))

    def solved(c: torch.Tensor) -> torch.Tensor:
        ends = {"left": mgnet.Dirichlet(1.0), "right": mgnet.Robin(1.0, 2.0)}
        return mgnet.solve(load_f, n=n, dim=dim, c=c, load=load, **ends).u

    each = torch.stack([solved(c) for c in many])
    torch.testing.assert_close(torch.func.vmap(solved)(many), each, rtol=1e-8, atol=1e-12)
    forwards, backwards = torch.func.jacfwd(solved)(many[0]), torch.func.jacrev(solved)(many[0])
    torch.testing.assert_close(forwards, backwards, rtol=1e-6, atol=1e-10)
    step = 1e-5 * many[1]
    change = (solved(many[0] + step) - solved(many[0] - step)) / 2
    along = torch.tensordot(backwards, step, dim)
    torch.testing.assert_close(along, change, rtol=1e-4, atol=1e-9)
