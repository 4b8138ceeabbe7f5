"""The same answers on a GPU as on a CPU; skipped, with the reason, where there is none.

``test_pretended.py`` runs them on a device that is pretended too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mgnet
from mgnet.train.state import own_random_numbers

pytestmark = pytest.mark.cuda

METHODS = ["exact", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct"]
NEUMANN, ROBIN = mgnet.Neumann(0.0), mgnet.Robin(2.0, 0.5)

Problem = dict[str, Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def on(device: str, x: Any) -> Any:
    """Put arrays on the device, however they are nested; the rest stays."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x).to(device)
    if isinstance(x, dict):
        return {key: on(device, value) for key, value in x.items()}
    if isinstance(x, mgnet.Robin):
        return mgnet.Robin(x.alpha, on(device, x.g))
    if isinstance(x, mgnet.Dirichlet | mgnet.Neumann):
        return type(x)(on(device, x.g))
    return x


def assert_close(there: Any, here: Any, counts: Any) -> None:
    """Compare; a device sums in another order, and what iterations leave, up to their tolerance, differs."""
    there, here = (
        x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (there, here)
    )
    tol = (1e-9 if counts is None else 1e-11) if here.dtype == np.float64 else 1e-5
    assert there.dtype == here.dtype and there.shape == here.shape
    np.testing.assert_allclose(there, here, rtol=0, atol=tol * np.abs(here).max())


def assert_same_answer(device: str, counts: Any, problem: Problem) -> None:
    here = mgnet.solve(**problem)
    there = mgnet.solve(**on(device, problem), device=device)
    assert there.device.startswith(device) and there.status is here.status
    assert_close(there.u, here.u, counts)


# On an interval.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 17, 130, 1000, 4096])
def test_agrees_with_the_cpu(method: str, n: int, device: str, counts: Any) -> None:
    if counts is not None and n > 17 and method != "exact":
        pytest.skip("as many launches take minutes where they are pretended")
    f = np.random.default_rng(n).standard_normal((3, n + 1))
    problem = {"n": n, "left": mgnet.Dirichlet(1.0), "right": ROBIN}
    here = mgnet.solve(f, method=method, **problem)
    there = mgnet.solve(on(device, f), method=method, **problem)
    assert there.u.device.type == device
    assert_close(there.u, here.u, counts)


def intervals() -> dict[str, Problem]:
    r, x = rng(), np.linspace(0, 1, 98)
    f, wave = r.standard_normal((2, 98)), np.cos(2 * np.pi * x)
    varying = {"a": 10 ** r.uniform(-2, 2, 97), "c": r.random(98)}
    graded = np.concatenate(([0.0], np.cumsum(r.random(97) + 0.01)))
    return {
        "one row": {"f": f[0], "n": 97},
        "Dirichlet": {"f": f, "n": 97, "left": mgnet.Dirichlet(1.0), "right": mgnet.Dirichlet(-2.0)},
        "Neumann": {"f": np.stack((wave, -wave)), "n": 97, "left": NEUMANN, "right": NEUMANN},
        "periodic": {"f": np.stack((wave, -wave))[:, :-1], "n": 97, "periodic": True},
        "periodic, integrated": {"f": wave, "n": 97, "periodic": True, "load": "exact", "method": "pcg"},
        "periodic, c": {"f": f, "n": 97, "periodic": True, "c": 3.0},
        "varying": {"f": f, "n": 97, **varying, "right": ROBIN},
        "varying, vcycle": {"f": f, "n": 97, **varying, "right": ROBIN, "method": "vcycle"},
        "varying, periodic": {"f": f, "n": 97, **varying, "periodic": True},
        "varying, Neumann": {"f": f, "n": 97, **varying, "left": NEUMANN, "right": NEUMANN},
        "varying a, Neumann": {"f": 0 * f, "n": 97, "a": varying["a"], "left": NEUMANN, "right": NEUMANN},
        "given nodes": {"f": f, "nodes": graded, "right": ROBIN},
        "given nodes, integrated": {"f": f, "nodes": graded, "load": "exact", "a": varying["a"]},
        "functions": {"f": np.sin, "n": 97, "a": lambda x: 1 + x, "c": lambda x: x, "left": NEUMANN},
        "numbers": {"f": 1.0, "n": 97, "a": 2.0, "c": 3.0, "right": ROBIN},
        "ready load": {"b": f[:, 1:-1], "n": 97, "left": mgnet.Dirichlet(1.0)},
        "tol": {"f": f, "n": 97, "tol": 1e-8},
        "refine": {"f": f, "n": 97, "refine": True, "dtype": "float32"},
        "float32": {"f": f.astype(np.float32), "n": 97},
        "first guess": {"f": f, "n": 97, "x0": r.standard_normal(98), "method": "vcycle"},
        "red-black": {"f": f[:, :65], "n": 64, "method": "vcycle", "smoother": "red-black"},
        "chebyshev": {"f": f[:, :65], "n": 64, "method": "vcycle", "smoother": "chebyshev"},
        "dense coarse grid": {"f": f[:, :65], "n": 64, "method": "fmg", "coarse": "direct", "levels": 3},
        "sweeps on the coarse grid": {
            "f": f[:, :65],
            "n": 64,
            "method": "pcg",
            "coarse": "smoother",
            "levels": 5,
        },
    }


@pytest.mark.parametrize("name", intervals())
def test_on_an_interval(name: str, device: str, counts: Any) -> None:
    assert_same_answer(device, counts, intervals()[name])


def test_cells_that_differ(device: str, counts: Any) -> None:
    r = rng()
    problem = {
        "nodes": np.concatenate(([0.0], np.cumsum(r.random(1001) + 0.01))),
        "a": 10 ** r.uniform(-3, 3, 1001),
        "c": r.random(1002),
    }
    here, there = (mgnet.solve(1.0, device=where, **problem) for where in ("cpu", device))
    assert_close(there.u, here.u, counts)


@pytest.mark.parametrize("n", [2**20, 10**6 + 3])
def test_float32_stays_float32_where_tf32_is_allowed(n: int, device: str) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        sol = mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n=n, dtype=torch.float32, device=device)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.abs(sol.u - np.sin(np.pi * sol.x)).max() <= 1e-6


# In boxes.


def boxes() -> dict[str, Problem]:
    r = rng()
    f, wide = r.standard_normal((17, 17)), r.standard_normal((2, 17, 25))
    deep = r.standard_normal((9, 9, 9))
    a = 10 ** r.uniform(-0.5, 0.5, (16, 24))
    sides = {"left": mgnet.Dirichlet(r.standard_normal(25)), "top": mgnet.Robin(1.0, r.standard_normal(17))}
    plane: Problem = {"dim": 2, "n": (16, 24)}
    return {
        **{method: {"f": f, "dim": 2, "n": 16, "method": method} for method in ["auto", *METHODS[1:]]},
        "batch": {"f": wide, **plane},
        "large batch": {"f": r.standard_normal((20, 9, 9)), "dim": 2, "n": 8},
        "odd": {"f": r.standard_normal((12, 16)), "dim": 2, "n": (11, 15), "method": "fmg"},
        "float32": {"f": f.astype(np.float32), "dim": 2, "n": 16},
        "refine": {"f": f, "dim": 2, "n": 16, "dtype": "float32", "refine": True, "method": "pcg"},
        "periodic": {"f": f[:, :-1], "dim": 2, "n": 16, "periodic": (False, True)},
        "natural": {"f": lambda x, y: np.cos(np.pi * x) + 0 * y, **plane, "boundary": NEUMANN},
        "boundary tensors": {"f": wide, **plane, "boundary": sides},
        "batch of boundary tensors": {
            "f": wide,
            **plane,
            "boundary": {"right": mgnet.Dirichlet(r.standard_normal((2, 25)))},
        },
        "boundary functions": {
            "f": wide[0],
            **plane,
            "boundary": {"left": mgnet.Dirichlet(lambda x, y: y), "top": mgnet.Neumann(lambda x, y: x)},
        },
        "varying": {"f": wide, **plane, "a": a},
        "varying, vcycle": {"f": wide, **plane, "a": a, "method": "vcycle", "boundary": sides},
        "varying, c": {"f": wide, **plane, "a": a, "c": r.random((17, 25)), "boundary": sides},
        "varying, periodic": {"f": wide, **plane, "a": a, "periodic": (True, False)},
        "functions": {"f": lambda x, y: x * y, **plane, "a": lambda x, y: 1 + x + y, "c": lambda x, y: x},
        "red-black": {"f": f, "dim": 2, "n": 16, "method": "vcycle", "smoother": "red-black"},
        "jacobi": {"f": f, "dim": 2, "n": 16, "method": "vcycle", "smoother": "jacobi"},
        "first guess": {"f": f, "dim": 2, "n": 16, "x0": f},
        "ready load": {"b": deep, "dim": 3, "n": 10},
        "3-D": {"f": deep, "dim": 3, "n": 8, "method": "fmg"},
        "3-D, varying": {
            "f": deep[:6, :6, :6],
            "dim": 3,
            "n": 5,
            "a": 10 ** r.uniform(-0.5, 0.5, (5, 5, 5)),
            "boundary": {"left": mgnet.Dirichlet(r.standard_normal((6, 6))), "top": mgnet.Robin(1.0, 1.0)},
        },
    }


@pytest.mark.parametrize("name", boxes())
def test_in_a_box(name: str, device: str, counts: Any) -> None:
    assert_same_answer(device, counts, boxes()[name])


# Gradients.


def gradients(where: str, data: dict[str, np.ndarray], call: Callable[..., Any]) -> tuple[Tensor, ...]:
    """Give the gradients of a sum of squares by everything."""
    tensors = {name: torch.as_tensor(x).to(where).requires_grad_() for name, x in data.items()}
    sol = call(**tensors)
    assert sol.u.device.type == where
    return torch.autograd.grad(sol.u.square().sum(), list(tensors.values()))


def on_an_interval(f: Any, a: Any, c: Any, g: Any, q: Any) -> Any:
    return mgnet.solve(f, n=65, a=a, c=c, left=mgnet.Dirichlet(g), right=mgnet.Robin(1.0, q))


def equal_cells(f: Any, g: Any) -> Any:
    return mgnet.solve(f, n=130, left=mgnet.Dirichlet(g))


def in_a_box(f: Any, a: Any, c: Any, g: Any, q: Any) -> Any:
    boundary = {"left": mgnet.Dirichlet(g), "top": mgnet.Neumann(q)}
    return mgnet.solve(f, dim=2, n=8, a=a, c=c, boundary=boundary)


def of_cells_alike(f: Any, g: Any) -> Any:
    return mgnet.solve(f, dim=2, n=8, boundary=mgnet.Dirichlet(g))


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (on_an_interval, {"f": (2, 66), "a": (65,), "c": (66,), "g": (), "q": ()}),
        (equal_cells, {"f": (2, 131), "g": ()}),
        (in_a_box, {"f": (2, 9, 9), "a": (8, 8), "c": (9, 9), "g": (9,), "q": (9,)}),
        (of_cells_alike, {"f": (9, 9), "g": (9, 9)}),
    ],
)
def test_gradients(call: Any, shapes: dict[str, tuple[int, ...]], device: str, counts: Any) -> None:
    r = rng()
    data = {name: 0.5 + r.random(shape) for name, shape in shapes.items()}
    for there, here in zip(gradients(device, data, call), gradients("cpu", data, call), strict=True):
        assert_close(there, here, counts)


def test_a_function_may_have_numbers_on_the_device(device: str, counts: Any) -> None:
    def gradient(where: str, dim: int) -> Tensor:
        w = torch.tensor(2.0, dtype=torch.float64, device=where, requires_grad=True)
        along: Problem = {} if dim == 1 else {"boundary": {"left": mgnet.Dirichlet(lambda x, y: w * y)}}
        sol = mgnet.solve(
            lambda *x: torch.sin(w * x[0]),
            dim=dim,
            n=12,
            a=lambda *x: w + 0 * x[0],
            c=lambda *x: w * x[0],
            device=where,
            **along,
        )
        (found,) = torch.autograd.grad(sol.u.sum(), w)
        return found

    for dim in (1, 2):
        assert_close(gradient(device, dim), gradient("cpu", dim), counts)


def test_a_function_may_have_numbers_on_the_cpu(device: str) -> None:
    w = torch.tensor([2.0], dtype=torch.float64)
    there = mgnet.solve(lambda x: torch.sin(x + w), n=12, device=device)
    assert there.u.device.type == device
    assert_close(there.u, mgnet.solve(lambda x: torch.sin(x + w), n=12).u, None)


# Where the data are.


@pytest.mark.parametrize("which", ["f", "b", "a", "c", "left", "g of a box"])
def test_the_device_is_that_of_the_data(which: str, device: str) -> None:
    sizes = {"f": 9, "b": 7, "a": 8, "c": 9}
    problem: Problem = {"n": 8} if which == "b" else {"f": 1.0, "n": 8}
    if which in sizes:
        problem[which] = torch.ones(sizes[which], dtype=torch.float64, device=device)
    elif which == "left":
        g = torch.ones((), dtype=torch.float64, device=device, requires_grad=True)
        problem["left"] = mgnet.Dirichlet(g)
    else:
        side = mgnet.Dirichlet(torch.ones(9, dtype=torch.float64, device=device))
        problem = {"f": np.ones((9, 9)), "dim": 2, "n": 8, "boundary": {"top": side}}
    assert mgnet.solve(**problem).device.startswith(device)
    assert mgnet.solve(**problem, device="cpu").device == "cpu"


# What is set up and what is returned.


def test_a_hierarchy_is_used_again(device: str, counts: Any) -> None:
    for problem, shape in (
        (mgnet.Poisson(n=97), (3, 96)),
        (mgnet.Poisson(dim=2, n=16), (3, 15, 15)),
        (mgnet.Poisson(n=97, a=lambda x: 1 + x), (3, 96)),
    ):
        there, here = (mgnet.Hierarchy(problem, device=where) for where in (device, "cpu"))
        for seed in (0, 1):
            b = np.random.default_rng(seed).standard_normal(shape)
            assert_close(there.solve(on(device, b)).u, here.solve(b).u, counts)
        r = rng().standard_normal(int(np.prod(shape[1:])))
        assert_close(there.as_linear_operator() @ r, here.as_linear_operator() @ r, None)


def test_loads_and_masses_are_made_there(device: str, counts: Any) -> None:
    places, q = rng().random((4, 2)), rng().standard_normal((3, 4))
    sides = {"left": mgnet.Robin(2.0, rng().random(17)), "top": mgnet.Neumann(1.0)}
    here, there = (
        mgnet.Poisson(dim=2, n=(8, 16), boundary=boundary) for boundary in (sides, on(device, sides))
    )
    for problem, points in ((here, (on(device, places), on(device, q))), (there, (places, q))):
        b = mgnet.load(problem, 1.0, points, fluxes=True)
        if problem is here:  # by the strengths alone; data of sides do not say the kind
            assert b.device.type == device
        assert_close(b, mgnet.load(here, 1.0, (places, q), fluxes=True), counts)
    u = rng().standard_normal((2, 9, 17))
    for lumped in (False, True):
        M = mgnet.mass(here, lumped)
        assert M(on(device, u)).device.type == device
        assert_close(M(on(device, u)), M(u), counts)


def test_a_solution_is_evaluated(device: str, counts: Any) -> None:
    f = rng().standard_normal((2, 9, 17))
    here = mgnet.solve(f, dim=2, n=(8, 16))
    there = mgnet.solve(on(device, f), dim=2, n=(8, 16))
    points = rng().random((5, 2))
    for x in ((0.3, 0.4), (points,), (points[:, :1], points[:, 1])):
        assert there(*x).device.type == device
        assert_close(there(*x), here(*x), counts)
        assert_close(there.derivative(*x), here.derivative(*x), counts)
    assert_close(there(on(device, points)), here(points), counts)
    for side in ("left", "top", np.ones((9, 17), bool)):
        assert there.flux(side).device.type == device
        assert_close(there.flux(side), here.flux(side), counts)
    assert_close(there.energy, here.energy, counts)
    assert_close(there.integral(), here.integral(), counts)
    assert_close(there.x[0], here.x[0], counts)
    assert there.error_estimate == pytest.approx(here.error_estimate, rel=1e-3 if counts else 10)
    assert there.residuals[0] == pytest.approx(here.residuals[0])


def test_an_array_from_the_device_is_one_array(device: str) -> None:
    sol = mgnet.solve(1.0, n=16, device=device)
    assert isinstance(sol.u, np.ndarray) and sol.device.startswith(device)
    sol.u[8] = 7.0
    assert sol.u[8] == 7.0 and sol(0.5) == 7.0
    assert isinstance(sol.flux("left"), np.floating)


def test_bad_data_on_the_device_are_named(device: str) -> None:
    bad = torch.ones(9, dtype=torch.float64, device=device)
    bad[8] = torch.nan
    for data, said in (({"f": bad}, "f: got nan at index 8"), ({"c": bad}, "c: got nan in node 8")):
        for right in (mgnet.Dirichlet(), NEUMANN):
            with pytest.raises(ValueError, match=said):
                mgnet.solve(n=8, right=right, **data)
    with pytest.raises(ValueError, match="a: got -1.0 in cell 3"):
        mgnet.solve(n=4, a=on(device, np.array([1.0, 1.0, 1.0, -1.0])))
    with pytest.raises(ValueError, match="left: g: got nan"):
        mgnet.solve(dim=2, n=8, boundary={"left": mgnet.Dirichlet(bad)}, device=device)


# Training.


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        mgnet.operators.convolution((3, 8), 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_training(optimizer: Any, channels_last: bool, device: str, counts: Any) -> None:
    data = mgnet.data.synthetic(train=96, validation=32, test=32)
    recipe = mgnet.Recipe(
        epochs=2,
        batch_size=32,
        lr=0.02,
        weight_decay=1e-3,
        schedule="onecycle",
        optimizer=optimizer,
        channels_last=channels_last,
        crop=4,
        flip="random",
        cutout=4,
        clip=1.0,
    )
    runs = []
    for where in ("cpu", device):
        model = network()
        history = mgnet.fit(model, data, recipe=recipe, progress=False, device=where)
        runs.append((history, model.state_dict(), mgnet.predict(model, data.test)))
    (here, weights, scores), (there, others, other_scores) = runs
    assert other_scores.device.type == device
    tol = 1e-6 if counts else 1e-2
    for name in ("train_loss", "val_loss"):
        assert there[name] == pytest.approx(here[name], rel=tol)
    for name in weights:
        torch.testing.assert_close(others[name].cpu(), weights[name], rtol=tol, atol=tol)
    torch.testing.assert_close(other_scores.cpu(), scores, rtol=tol, atol=10 * tol)


def test_the_generators_of_all_devices_are_left_as_they_were(device: str) -> None:
    module, model = torch.get_device_module(device), network()
    module.manual_seed_all(12)
    before = [module.get_rng_state(i) for i in range(module.device_count())]
    data = mgnet.data.synthetic(train=32, validation=0, test=16)
    for where in ("cpu", device):
        mgnet.fit(model, data, epochs=1, batch_size=32, progress=False, device=where)
        for i, state in enumerate(before):
            assert torch.equal(module.get_rng_state(i), state)


def test_random_numbers_of_the_device_are_the_runs_own(device: str) -> None:
    place, states = torch.device(device, 0), []
    module = torch.get_device_module(device)
    for seed in (1, 1, 2):
        with own_random_numbers(place, seed):
            states.append(module.get_rng_state(place))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])
