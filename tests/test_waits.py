"""What the host waits for, counted on a device that is pretended; see ``test_pretended.py``.

A wait empties the queue of a GPU, and a solve of many small operations then takes as long as the host does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mgnet
from mgnet import operators
from mgnet.core.kinds import hidden
from mgnet.data import Augmentation, Batches
from mgnet.multigrid import exact
from mgnet.poisson import quadrature
from mgnet.train import state

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def only_pretended(counts: Any) -> None:
    if counts is None:
        pytest.skip("a real device is not counted")


def waits(counts: Any, call: Callable[..., Any], *args: Any, **options: Any) -> int:
    """Count the waits of a call."""
    counts.clear()
    call(*args, **options)
    return sum(counts.waits.values())


def launches(counts: Any, call: Callable[..., Any], *args: Any) -> int:
    counts.clear()
    call(*args)
    return sum(counts.launches.values())


def uploaded(*shape: int, device: str = "pretended") -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).random(shape)).to(device)


# The device itself.


def test_a_cpu_tensor_is_refused(device: str) -> None:
    x = torch.ones(3, device=device)
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        torch.add(x, x, out=torch.ones(3))
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(x)
    assert (x + torch.tensor(1.0)).sum().item() == 6  # a lone number is an argument


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.copy_(torch.ones(3), non_blocking=True),  # what is not pinned is copied by the host
        lambda x: torch.ones(3, device="cpu").to(x.device),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: torch.equal(x, x),
    ],
)
def test_a_look_is_a_wait(look: Callable[[Tensor], Any], device: str, counts: Any) -> None:
    x = torch.ones(3, device=device)
    assert waits(counts, look, x) == 1


def test_what_is_no_look_is_no_wait(device: str, counts: Any) -> None:
    x, pinned = torch.ones(3, 4, device=device), torch.ones(3, 4).pin_memory()

    def work() -> None:
        x[:, 1:].add_(x[:, :-1]).mul_(2.0)
        x[0, 0] = 1.0
        x.copy_(pinned, non_blocking=True)
        torch.zeros(2, device=device)

    assert waits(counts, work) == 0
    assert launches(counts, work) == 6
    assert launches(counts, lambda: x[1:].T.reshape(4, 2)[None]) == 0


# Operators and checks.


@pytest.mark.parametrize("ends", ["dirichlet", "natural", "periodic", "same"])
@pytest.mark.parametrize("dim", [1, 2])
def test_operators_do_not_wait(ends: str, dim: int, device: str, counts: Any) -> None:
    kernel = np.arange(3.0**dim).reshape((3,) * dim)
    stencil = operators.Stencil(kernel, boundary=ends, dim=dim, device=device)
    P = operators.Prolongation(boundary=ends, dim=dim, device=device)
    x = uploaded(1, 1, *[8] * dim)
    assert waits(counts, lambda: (stencil(x), stencil.T(x), P(x), P.T(P(x)))) == 0


def test_whether_numbers_are_hidden_is_not_looked_up(device: str, counts: Any) -> None:
    x = uploaded(3)
    assert waits(counts, hidden, x) == 0


# The exact cycle.


def one_dimensional() -> list[dict[str, Any]]:
    natural, robin = mgnet.Neumann(0.0), mgnet.Robin(1.0, 2.0)
    ends: list[dict[str, Any]] = [
        {},
        {"left": natural},
        {"right": robin},
        {"left": natural, "right": robin},
        {"left": mgnet.Dirichlet(2.0), "right": natural},
        {"left": natural, "right": natural},
        {"periodic": True},
    ]
    return ends


@pytest.mark.parametrize("varies", [(), ("a",), ("a", "c")])
@pytest.mark.parametrize("end", range(7))
def test_the_exact_cycle_waits_once(varies: tuple[str, ...], end: int, device: str, counts: Any) -> None:
    f = torch.cos(2 * torch.pi * torch.linspace(0, 1, 98, dtype=torch.float64)).expand(2, -1).to(device)
    data = {name: uploaded(97 + (name == "c")) + 0.1 for name in varies}
    problem = one_dimensional()[end]
    # Where nothing but a tensor c holds the constants, it must be seen whether it does.
    expected = 1 + ("c" in varies and end >= 5)
    assert waits(counts, mgnet.solve, f, n=97, **data, **problem) == expected


def test_a_hierarchy_waits_once_for_a_solve(device: str, counts: Any) -> None:
    for options in ({}, {"a": uploaded(97) + 0.1}):
        hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=97, **options), device=device)
        b = uploaded(3, 96)
        hierarchy.solve(b)
        assert waits(counts, hierarchy.solve, b) == 1


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize(("triton", "sizes", "most"), [(True, (5, 10, 15), 2), (False, (10, 11, 12), 30)])
def test_a_level_is_one_batch_of_launches(
    triton: bool,
    sizes: tuple[int, ...],
    most: int,
    varies: bool,
    device: str,
    counts: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "there_are", lambda: triton)

    def asked(n: int, rows: int) -> int:
        problem = mgnet.Poisson(n=n, a=uploaded(n) + 0.1 if varies else 1.0)
        hierarchy, b = mgnet.Hierarchy(problem, device=device), uploaded(rows, n - 1)
        hierarchy.solve(b)
        return launches(counts, hierarchy.solve, b)

    first, second, third = (asked(2**power, 2) for power in sizes)
    assert third - second == second - first <= most
    assert asked(2 ** sizes[1], 1) == asked(2 ** sizes[1], 20) == second


@pytest.mark.parametrize("method", ["vcycle", "wcycle", "pcg", "fmg"])
def test_cycles_on_an_interval_wait_once_an_iteration(method: str, device: str, counts: Any) -> None:
    f = uploaded(3, 33)

    def asked(maxiter: int) -> int:
        options = {"maxiter": maxiter, "throw": False, "tol": 0.0}
        return waits(counts, mgnet.solve, f, n=32, method=method, **options)

    assert asked(4) - asked(2) == 2


def test_coefficients_stay_on_the_device(device: str, counts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "MOST", 40)
    a, c = uploaded(97) + 0.1, uploaded(98)
    assert waits(counts, lambda: mgnet.Hierarchy(mgnet.Poisson(n=97, a=a, c=c), device=device).A) == 1


# In boxes.


def box_problems() -> dict[str, Any]:
    side = mgnet.Dirichlet(np.linspace(0, 1, 33))
    return {
        "auto": {},
        "vcycle": {"method": "vcycle"},
        "fmg": {"method": "fmg"},
        "pcg": {"method": "pcg"},
        "float32": {"dtype": torch.float32, "method": "pcg"},
        "natural": {"method": "vcycle", "boundary": {"left": mgnet.Neumann(0.0), "top": side}},
        "periodic": {"method": "pcg", "periodic": (True, False)},
        "varying": {"method": "pcg", "a": 1 + np.random.default_rng(0).random((32, 32))},
        "refine": {"method": "vcycle", "dtype": torch.float32, "refine": True},
    }


@pytest.mark.parametrize("name", box_problems())
def test_a_box_waits_once_an_iteration(name: str, device: str, counts: Any) -> None:
    problem = {"dim": 2, "n": 32, "throw": False, "tol": 0.0, **box_problems()[name]}
    f = uploaded(3, 33, 33)

    def asked(maxiter: int) -> int:
        return waits(counts, mgnet.solve, f, maxiter=maxiter, **problem)

    assert asked(6) - asked(4) == 2


def test_boundary_tensors_are_looked_at_once(device: str, counts: Any) -> None:
    q, f = uploaded(33), uploaded(33, 33)
    fixed: dict[str, Any] = {"dim": 2, "n": 32, "maxiter": 0, "throw": False}

    def asked(**boundary: Any) -> int:
        return waits(counts, mgnet.solve, f, boundary=boundary, **fixed)

    assert asked(left=mgnet.Dirichlet(q)) <= asked() + 1
    assert asked(left=mgnet.Dirichlet(q), top=mgnet.Dirichlet(q)) <= asked() + 2


# Solutions.


@pytest.mark.parametrize("dim", [1, 2])
def test_a_value_waits_for_nothing(dim: int, device: str, counts: Any) -> None:
    sol = mgnet.solve(uploaded(*[17] * dim), dim=dim, n=16)
    assert waits(counts, sol, *[0.3] * dim) == 0
    assert waits(counts, sol.derivative, *[np.linspace(0, 1, 5)] * dim) == 0
    # In which cells points on the device lie is found on the CPU.
    assert waits(counts, sol, uploaded(5, dim) if dim > 1 else uploaded(5)) == 1


# Training.


@pytest.mark.parametrize("augmentation", [None, Augmentation(crop=4, flip="random", cutout=4)])
def test_batches_wait_for_nothing(augmentation: Any, device: str, counts: Any) -> None:
    split = mgnet.data.synthetic(train=96, validation=0, test=16).train.to(device)
    batches = Batches(split, 32, augmentation=augmentation, channels_last=True)
    assert waits(counts, list, batches) == 0


@pytest.mark.parametrize("look", [1000, 3])
def test_a_step_waits_only_to_look(
    look: int, device: str, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOOK", look)
    recipe = mgnet.Recipe(epochs=1, batch_size=16, lr=0.02, crop=4, flip="random", cutout=4, clip=1.0)

    def asked(images: int) -> int:
        data = mgnet.data.synthetic(train=images, validation=16, test=16).to(device)
        model = mgnet.models.create("lenet5", in_channels=3).to(device)
        return waits(counts, mgnet.fit, model, data, recipe=recipe, progress=False)

    few, more = asked(3 * 16), asked(9 * 16)
    assert more - few == (0 if look == 1000 else 2)
