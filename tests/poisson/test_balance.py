"""Fluxes, energy and integrals of solutions, against dense matrices, known solutions and each other."""

from __future__ import annotations

import copy
import itertools
import pickle
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin, Status

SIDES = ("left", "right", "bottom", "top", "back", "front")


def dense(x: list[np.ndarray], a: np.ndarray) -> np.ndarray:
    """The matrix of the integrals of a grad u grad v at all nodes, cell by cell."""
    nodes, dim = tuple(map(len, x)), len(x)
    numbers, A = np.arange(np.prod(nodes)).reshape(nodes), np.zeros((np.prod(nodes),) * 2)
    for cell in np.ndindex(a.shape):
        h = [x[i][k + 1] - x[i][k] for i, k in enumerate(cell)]
        stiff = [np.array([[1, -1], [-1, 1]]) / w for w in h]
        mass = [w / 6 * np.array([[2, 1], [1, 2]]) for w in h]
        element = sum(
            reduce(np.kron, [stiff[j] if i == j else mass[j] for j in range(dim)]) for i in range(dim)
        )
        here = numbers[tuple(slice(k, k + 2) for k in cell)].ravel()
        A[np.ix_(here, here)] += a[cell] * element
    return A


def hats(x: list[np.ndarray]) -> np.ndarray:
    """The integrals of the hats of all nodes."""
    ends = [np.convolve(np.diff(each) / 2, [1, 1]) for each in x]
    return reduce(np.multiply.outer, ends, np.ones(()))


def on_side(name: str, dim: int) -> tuple[Any, ...]:
    axis, end = divmod(SIDES.index(name), 2)
    return (..., *[slice(None)] * axis, -end, *[slice(None)] * (dim - 1 - axis))


def random_problem(seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(1, 4))
    cells = tuple(int(k) for k in rng.integers(1, (40, 9, 5)[dim - 1], dim))
    x = [np.linspace(0, rng.uniform(0.5, 2), k + 1) for k in cells]
    if dim == 1 and rng.random() < 0.5:
        x = [np.cumsum(rng.uniform(0.1, 1, cells[0] + 1))]
        grid: dict[str, Any] = {"nodes": x[0]}
    else:
        grid = {"n": cells, "domain": [(0.0, each[-1]) for each in x], "dim": dim}
        grid = grid if dim > 1 else {"n": cells[0], "domain": (0.0, x[0][-1])}
    joined = rng.random(dim) < 0.2
    kinds = [Dirichlet, Neumann, Robin]
    boundary = {}
    for i, name in enumerate(SIDES[: 2 * dim]):
        if not joined[i // 2]:
            kind = kinds[rng.integers(0, 3)]
            boundary[name] = kind(*rng.uniform(0.2, 2, 2 if kind is Robin else 1).tolist())
    nodes, batch = tuple(k + 1 for k in cells), [(), (3,), (2, 2)][rng.integers(0, 3)]
    return {
        **grid,
        "f": rng.normal(size=(*batch, *nodes)),
        "a": rng.uniform(0.1, 3, cells) if rng.random() < 0.7 else 1.5,
        "c": rng.uniform(0.1, 3, nodes),
        "boundary": boundary,
        "periodic": joined.tolist() if dim > 1 else bool(joined[0]),
    }, x


@pytest.mark.parametrize("seed", range(60))
def test_random_problems_against_dense_matrices(seed: int) -> None:
    given, x = random_problem(seed)
    dim, nodes = len(x), tuple(map(len, x))
    sol = mgnet.solve(**given)
    u, a = sol.u, np.broadcast_to(given["a"], [k - 1 for k in nodes])
    flat = u.reshape(*u.shape[: u.ndim - dim], -1)
    image = (flat @ dense(x, a)).reshape(u.shape) + given["c"] * u * hats(x)
    load, axes = given["f"] * hats(x), tuple(range(-dim, 0))
    form, natural = (u * image).sum(axes), np.zeros_like(u)
    fluxes = {name: sol.flux(name) for name in given["boundary"]}
    size = np.max(np.abs(image).sum(axes) + np.abs(load).sum(axes))
    for name, side in given["boundary"].items():
        assert fluxes[name].shape == u.shape[: u.ndim - dim]
        if isinstance(side, Dirichlet):
            continue
        axis, here = SIDES.index(name) // 2, on_side(name, dim)
        along, alpha = x[:axis] + x[axis + 1 :], getattr(side, "alpha", 0.0)
        mass = reduce(np.kron, (gram(each) for each in along), np.ones((1, 1)))
        v = u[here].reshape(*u.shape[: u.ndim - dim], -1)
        of_u = alpha * (v @ mass)
        form = form + (of_u * v).sum(-1)
        natural[here] += side.g * hats(along) - of_u.reshape(u[here].shape)
        np.testing.assert_allclose(
            fluxes[name], (side.g * hats(along)).sum() - of_u.sum(-1), atol=1e-12 * size
        )
    np.testing.assert_allclose(sol.energy, form / 2, rtol=1e-11)  # eq: energy
    np.testing.assert_allclose(sol.integral(), (u * hats(x)).sum(axes), atol=1e-13 * np.abs(u).max())
    rest = (load - given["c"] * u * hats(x)).sum(axes)
    scale = max(size, max((np.abs(flux).max() for flux in fluxes.values()), default=0.0))
    unheld = all(isinstance(side, Neumann) for side in given["boundary"].values())
    # Where nothing is held, nothing takes what an iteration has left.
    assert np.abs(sum(fluxes.values()) + rest).max() < (1e-9 if unheld else 1e-13) * scale
    held = np.zeros(nodes, bool)
    for name, side in given["boundary"].items():
        held[on_side(name, dim)] |= isinstance(side, Dirichlet)
    some = held & (np.random.default_rng(seed).random(nodes) < 0.5)
    for i in range(dim):  # of joined nodes both copies, or none
        if np.ravel(given["periodic"])[i]:
            first, last = on_side(SIDES[2 * i], dim), on_side(SIDES[2 * i + 1], dim)
            some[last] = some[first]
    reaction = ((image - load - natural) * some).sum(axes)
    np.testing.assert_allclose(sol.flux(some), reaction, rtol=0, atol=1e-12 * scale)  # eq: boundary-flux


def gram(x: np.ndarray) -> np.ndarray:
    """The mass matrix of an axis."""
    h, M = np.diff(x), np.zeros((len(x), len(x)))
    for k, w in enumerate(h):
        M[k : k + 2, k : k + 2] += w / 6 * np.array([[2, 1], [1, 2]])
    return M


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_fluxes_are_of_second_order(dim: int) -> None:
    """Of exp(x + y/2 - z), whose flux through a side is not zero where sides meet."""
    k = np.array([1.0, 0.5, -1.0])[:dim]

    def exact(*x: Any) -> Any:
        return np.exp(sum(factor * each for factor, each in zip(k, x, strict=True)))

    along = (np.exp(k) - 1) / k
    expected = [
        (2 * end - 1) * k[i] * np.exp(k[i] * end) * np.prod(np.delete(along, i))
        for i, end in itertools.product(range(dim), (0, 1))
    ]
    conditions: list[dict[str, Any]] = [{}]
    if dim > 1:  # some sides with a flux that is given
        conditions.append({"bottom": Neumann(lambda *x: -0.5 * exact(*x))})
        conditions.append(
            {"right": Robin(2.0, lambda *x: 3 * exact(*x)), "top": Neumann(lambda *x: 0.5 * exact(*x))}
        )
    for changed in conditions:
        errors = []
        for n in (8, 16, 32)[: 2 if dim == 3 else 3]:
            ends = {SIDES[i]: Dirichlet(float(np.exp(k[0] * i))) for i in (0, 1)}
            sides = dict.fromkeys(SIDES[: 2 * dim], Dirichlet(exact)) if dim > 1 else ends
            f = lambda *x: (3 - k @ k) * exact(*x)  # noqa: E731
            sol = mgnet.solve(f, n, dim=dim, c=3.0, boundary=sides | changed)
            errors.append(np.abs([sol.flux(name) for name in SIDES[: 2 * dim]] - np.array(expected)))
        assert errors[-1].max() < 0.02
        assert errors[-2].max() / errors[-1].max() > 3.7
        given = [isinstance(changed.get(name), Neumann) for name in SIDES[: 2 * dim]]
        assert errors[-1][given].max(initial=0) < 1e-8


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_linear_functions_have_exact_fluxes(dim: int) -> None:
    slopes, n = np.array([2.0, -1.0, 0.5])[:dim], (1, 2, 5)[:dim]

    def exact(*x: Any) -> Any:
        return 1 + sum(slope * each for slope, each in zip(slopes, x, strict=True))

    for cells in itertools.permutations(n):
        sides: Any = Dirichlet(exact)
        if dim == 1:
            sides = {"left": Dirichlet(1.0), "right": Dirichlet(1 + slopes[0])}
        sol = mgnet.solve(n=cells if dim > 1 else cells[0], dim=dim, a=3.0, boundary=sides)
        for i, name in enumerate(SIDES[: 2 * dim]):
            assert sol.flux(name) == pytest.approx((2 * (i % 2) - 1) * 3 * slopes[i // 2], abs=1e-13)
        assert sol.energy == pytest.approx(1.5 * slopes @ slopes)
        assert sol.integral() == pytest.approx(1 + slopes.sum() / 2)


def test_a_wall_of_layers() -> None:
    """Resistances in series across the layers, conductances in parallel along them."""
    a = np.array([1.0, 1e4, 1.0, 1e-3, 7.0, 7.0, 20.0, 0.5])
    whole = np.broadcast_to(a[:, None], (8, 6))
    hot = {"left": Dirichlet(3.0), "bottom": Neumann(0.0), "top": Neumann(0.0)}
    for sol in (
        mgnet.solve(n=8, a=a, left=Dirichlet(3.0)),
        mgnet.solve(n=(8, 6), dim=2, a=whole, boundary=hot),
    ):
        expected = 3 / (1 / 8 / a).sum()
        assert sol.flux("left") == pytest.approx(expected, rel=1e-8)
        assert sol.flux("right") == pytest.approx(-sol.flux("left"), rel=1e-12)
        assert sol.energy == pytest.approx(1.5 * expected, rel=1e-8)
    sides = {
        "left": Dirichlet(0.0),
        "right": Dirichlet(1.0),
        **{side: Dirichlet(lambda x, y: x) for side in SIDES[2:4]},
    }
    sol = mgnet.solve(n=(6, 8), dim=2, a=whole.T, boundary=sides)  # u = x whatever a(y) is
    assert sol.flux("right") == pytest.approx(a.mean(), rel=1e-10)
    assert abs(sol.flux("top")) < 1e-9 * a.mean()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dim", [1, 2])
def test_an_iteration_that_has_not_ended_balances_too(dim: int, dtype: str) -> None:
    sides = {"right": Robin(2.0, 1.0)}
    sol = mgnet.solve(3.0, 32, dim=dim, boundary=sides, method="vcycle", maxiter=1, throw=False, dtype=dtype)
    assert sol.status is Status.MAXITER
    total = sum(sol.flux(name) for name in SIDES[: 2 * dim])
    assert total == pytest.approx(-3.0, rel=1e-13)
    assert total.dtype == np.float64


def test_rounding_on_a_fine_grid_counts_little() -> None:
    sol = mgnet.solve(1.0, 2**20)
    assert sol.flux("left") == pytest.approx(-0.5, rel=1e-13)
    graded = np.concatenate((np.linspace(0, 1e-9, 9)[:-1], np.geomspace(1e-9, 1, 99)))
    sol = mgnet.solve(nodes=graded, right=Dirichlet(1.0))
    assert sol.flux("left") == pytest.approx(-1.0, rel=1e-13)


def test_ready_loads() -> None:
    f, sides = (
        np.random.default_rng(0).normal(size=(2, 9, 7)),
        {"left": Neumann(2.0), "top": Robin(1.0, -3.0)},
    )
    grid: dict[str, Any] = {"n": (8, 6), "dim": 2, "boundary": sides}
    f[:, -1] = f[:, :, 0] = 0  # unknown at the nodes that are held
    x = [np.linspace(0, 1, 9), np.linspace(0, 1, 7)]
    b = (f * hats(x))[:, :-1, 1:]
    whole = mgnet.solve(f, **grid)
    apart = mgnet.solve(b=b, **grid)
    g = np.zeros((9, 7))
    g[0], g[:, -1] = 2 * hats(x[1:]), g[:, -1] - 3 * hats(x[:1])
    g[0, -1] = 2 * hats(x[1:])[-1] - 3 * hats(x[:1])[0]
    ready = mgnet.Hierarchy(Poisson(**grid)).solve(b + g[:-1, 1:])
    for name in ("left", "right", "bottom", "top", np.eye(9, 7) == 1):
        for sol in (apart, ready):
            np.testing.assert_allclose(sol.flux(name), whole.flux(name), rtol=0, atol=1e-9)


def test_an_operator_of_ones_own() -> None:
    problem = Poisson(n=8, a=np.full(8, 2.0), left=Dirichlet(1.0))
    A = mgnet.Hierarchy(problem).A.scaled(3.0, torch.float32)
    sol = mgnet.Hierarchy(problem, operator=A).solve(np.zeros(7))
    assert sol.flux("left") == pytest.approx(6.0)
    assert sol.energy == pytest.approx(3.0)


def test_a_point_load_flows_to_the_ends() -> None:
    b = np.zeros(7)
    b[1] = 1.0
    sol = mgnet.solve(b=b, n=8)
    assert [sol.flux("left"), sol.flux("right")] == pytest.approx([-0.75, -0.25], rel=1e-14)


def figures(**given: torch.Tensor) -> torch.Tensor:
    """Some of all figures, of a problem whose data are tensors."""
    sides = {
        "left": Dirichlet(given["u"]),
        "right": Robin(given["alpha"], given["g"]),
        "bottom": Dirichlet(0.5),
    }
    keywords: dict[str, Any] = {"n": (4, 3), "dim": 2, "boundary": sides, "tol": 1e-13, "throw": False}
    sol = mgnet.solve(given["f"], a=given["a"], c=given["c"], **keywords)
    found = [sol.flux(name) for name in SIDES[:4]]
    mask = np.arange(20).reshape(5, 4) % 3 == 0
    return torch.stack([*found, sol.flux(mask), sol.energy, sol.integral()])


def differentiable() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    shapes = {"f": (5, 4), "a": (4, 3), "c": (5, 4), "u": (4,), "g": (4,), "alpha": ()}
    return {name: torch.tensor(rng.uniform(0.5, 2, shape)) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["f", "a", "c", "u", "g", "alpha"])
def test_derivatives_of_figures(name: str) -> None:
    given = differentiable()
    x = given.pop(name).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: figures(**given, **{name: x}), x, atol=1e-6)


def test_transforms_of_figures() -> None:
    given = differentiable()
    f = given.pop("f")
    of_f = lambda f: figures(**given, f=f)  # noqa: E731
    forwards, backwards = torch.func.jacfwd(of_f)(f), torch.func.jacrev(of_f)(f)
    torch.testing.assert_close(forwards, backwards, rtol=1e-8, atol=1e-10)
    rows = torch.stack((f, 2 * f, f - 1))
    torch.testing.assert_close(torch.func.vmap(of_f)(rows), torch.stack([of_f(row) for row in rows]))


def test_what_carries_no_derivative_gives_none() -> None:
    """Neither a solution that was found without, nor a copy, gives half of one."""
    a = torch.ones(8, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        plain = mgnet.solve(1.0, 8, a=a)
    sol = mgnet.solve(1.0, 8, a=a)
    for each in (plain, copy.copy(sol)):
        assert not each.flux("left").requires_grad
        assert not each.energy.requires_grad
    with torch.no_grad():
        assert sol.energy == pytest.approx(1 / 24, rel=0.02)
    (gradient,) = torch.autograd.grad(sol.energy, a)  # asked for before without, all the same
    expected = -((4 - np.arange(8) - 0.5) ** 2) / 8**3 / 2
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_copies_have_the_figures(way: str) -> None:
    sol = mgnet.solve(lambda x, y: x + y, 6, dim=2, boundary={"top": Neumann(lambda x, y: x)})
    ways = {"pickle": lambda s: pickle.loads(pickle.dumps(s)), "copy": copy.copy, "deepcopy": copy.deepcopy}  # noqa: S301
    again = ways[way](ways[way](sol))
    mask = np.arange(49).reshape(7, 7) < 20
    for name in ("left", "top", mask):
        assert again.flux(name) == sol.flux(name)
    assert again.energy == sol.energy
    assert again.integral() == sol.integral()
    with pytest.raises(ValueError, match="side: got 'up'"):
        again.flux("up")


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_kinds_of_figures(kind: str) -> None:
    f = np.ones((2, 9), np.float32)
    sol = mgnet.solve(f if kind == "numpy" else torch.tensor(f), 8)
    for figure in (sol.flux("left"), sol.energy, sol.integral(), sol.flux(torch.ones(9, dtype=torch.bool))):
        assert isinstance(figure, np.ndarray if kind == "numpy" else torch.Tensor)
        assert str(figure.dtype).endswith("float64")
        assert figure.shape == (2,)


def test_without_a_problem_there_is_no_flux() -> None:
    """The solution that a failed derivative carries is of the adjoint problem, which nobody posed."""
    f = torch.ones(33, 33, dtype=torch.float64, requires_grad=True)
    sol = mgnet.solve(f, 32, dim=2, tol=1e-15, maxiter=3, throw=False)
    lost = mgnet.Solution(sol.u, sol._grids, sol._outcome, method="pcg")
    for ask in (lambda: lost.flux("left"), lambda: lost.energy):
        with pytest.raises(ValueError, match="solution: got one of a failed derivative"):
            ask()
    assert lost.integral().detach() == sol.integral().detach()
    assert copy.copy(lost).status is sol.status


WRONG = ["top", "", 0, None, [[True], [True, False]], np.ones(9), np.ones(8, bool), [True] * 8, torch.ones(9)]


@pytest.mark.parametrize("side", WRONG, ids=repr)
def test_what_is_no_side_is_refused(side: Any) -> None:
    with pytest.raises(
        ValueError, match=r"side: got .*; accepted: 'left', 'right', an array of bool of shape \(9,\)"
    ):
        mgnet.solve(1.0, 8).flux(side)


def test_joined_sides_have_no_flux() -> None:
    sol = mgnet.solve(1.0, 8, dim=2, periodic=(True, False))
    with pytest.raises(
        ValueError, match="side: got 'left', which is joined to the opposite side; accepted: 'bottom'"
    ):
        sol.flux("left")
    assert sol.flux("bottom") + sol.flux("top") == pytest.approx(-1.0, rel=1e-13)
    one = np.zeros((9, 9), bool)
    one[8, 0] = True  # the copy of the node (0, 0)
    assert sol.flux(one) == pytest.approx(-0.5 / 8, rel=1e-9)
