"""What is around a solve: torch's defaults, inference mode, copies, and memory that is not there."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Hierarchy, Neumann, Poisson, Robin


def problems(dim: int) -> Iterator[dict[str, Any]]:
    n = 9 if dim < 3 else 6
    nodes = (n + 1,) * dim
    yield {"f": 1.0, "n": n}
    yield {"f": lambda *x: sum(x) ** 2 + 0.1, "n": n}
    yield {"f": lambda *x: 0.1, "n": n}
    yield {"f": 0.0, "n": n, "boundary": Robin(2.0, 0.1), "c": 0.1}
    yield {"f": 1.0, "n": n, "a": np.random.default_rng(0).uniform(1, 2, (n,) * dim), "left": Neumann(0.1)}
    yield {"f": np.ones(nodes), "n": n, "load": "exact", "x0": np.ones(nodes)}
    yield {"f": 0.0, "n": n, "periodic": True}
    yield {"f": 1.0, "n": n, "dtype": "float32", "refine": True}
    yield {
        "f": 1.0,
        "n": n,
        "left": Dirichlet(0.1),
        "right": Robin(torch.tensor(0.1, device="cpu", dtype=torch.float64), 0.3),
    }


def everything(dim: int) -> list[np.ndarray]:
    """Solve by several methods, look at all that a solution has, and take gradients."""
    found = []
    for method in ("auto", "vcycle", "fmg", "direct"):
        for keywords in problems(dim):
            sol = mgnet.solve(dim=dim, method=method, throw=False, **keywords)
            repr(sol)
            found += [sol.u, np.array([sol.error_estimate]), np.array(sol(*(0.3,) * dim))]
            found.append(np.asarray(sol.derivative(*(0.5,) * dim)))
    alpha = torch.tensor(0.1, dtype=torch.float64, device="cpu", requires_grad=True)
    a = torch.full((4,) * dim, 1.1, dtype=torch.float64, device="cpu", requires_grad=True)
    u = mgnet.solve(lambda *x: 0.1, 4, dim=dim, a=a, right=Robin(alpha)).u
    found += [x.numpy() for x in torch.autograd.grad(u.sum(), (a, alpha))]
    return found


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_defaults_of_torch_change_nothing(dim: int) -> None:
    expected = everything(dim)
    for device, dtype in (("meta", torch.float32), (None, torch.float64), (None, torch.float16)):
        torch.set_default_device(device)
        torch.set_default_dtype(dtype)
        try:
            found = everything(dim)
        finally:
            torch.set_default_device(None)
            torch.set_default_dtype(torch.float32)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_number_that_a_function_returns_has_all_its_digits() -> None:
    for dim in (1, 2):
        expected = mgnet.solve(0.1, 4, dim=dim, a=0.1, c=0.1).u
        found = mgnet.solve(lambda *x: 0.1, 4, dim=dim, a=lambda *x: 0.1, c=0.1).u
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("dim", [1, 2])
def test_inference_mode_leaves_nothing_behind(dim: int) -> None:
    a = np.random.default_rng(0).uniform(1, 2, (32,) * dim)
    load = np.ones((31,) * dim)
    with torch.inference_mode():
        expected = [mgnet.solve(1.0, 32, dim=dim).u, mgnet.solve(1.0, 32, dim=dim, method="vcycle").u]
        hierarchy = Hierarchy(Poisson(n=32, dim=dim, a=a), method="vcycle")
        inside = hierarchy.solve(load).u
    np.testing.assert_array_equal(mgnet.solve(1.0, 32, dim=dim).u, expected[0])
    np.testing.assert_array_equal(mgnet.solve(1.0, 32, dim=dim, method="vcycle").u, expected[1])
    np.testing.assert_array_equal(hierarchy.solve(load).u, inside)
    f = torch.ones((33,) * dim, dtype=torch.float64, requires_grad=True)
    mgnet.solve(f, 32, dim=dim).u.sum().backward()
    assert f.grad is not None
    b = torch.tensor(load, requires_grad=True)
    hierarchy.solve(b).u.sum().backward()
    assert b.grad is not None
    with torch.inference_mode():
        np.testing.assert_array_equal(mgnet.solve(1.0, 32, dim=dim).u, expected[0])


def pickled(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))  # noqa: S301


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("method", ["auto", "vcycle", "fmg", "direct"])
def test_hierarchies_and_solutions_can_be_copied(dim: int, method: str) -> None:
    load = np.ones((7,) * dim)
    for a in (None, np.random.default_rng(0).uniform(1, 2, (8,) * dim)):
        used = Hierarchy(Poisson(n=8, dim=dim, a=a), method=method)
        expected = used.solve(load)
        for hierarchy in (used, Hierarchy(Poisson(n=8, dim=dim, a=a), method=method)):
            for again in (pickled, copy.deepcopy, copy.copy):
                sol = again(again(hierarchy).solve(load))
                np.testing.assert_array_equal(sol.u, expected.u)
                assert sol.error_estimate == expected.error_estimate
                assert repr(sol) == repr(expected)


LITTLE = """
import resource, sys, mgnet, numpy as np
mgnet.solve(1.0, 64, dim=2)
mgnet.core.resources.free_memory = lambda: float("inf")  # the look beforehand sees the machine, not the limit
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, -1))
try:
    mgnet.solve(**eval(sys.argv[1]))
except mgnet.ResourceError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
@pytest.mark.parametrize(
    "call",
    [
        "dict(f=1.0, n=3000, dim=2)",
        "dict(f=lambda x, y: x * y, n=3000, dim=2)",
        "dict(f=1.0, n=3000, dim=2, a=lambda x, y: 1 + x * y)",
        "dict(f=1.0, n=2**25)",
        "dict(f=np.cos, n=2**25)",
        "dict(f=1.0, n=2**24, method='direct')",
        "dict(f=1.0, n=180, dim=3)",
        "dict(f=1.0, n=1500, dim=2, method='direct')",
    ],
)
def test_memory_that_is_not_there(call: str) -> None:
    done = subprocess.run([sys.executable, "-c", LITTLE, call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("n: got "), done.stdout
    assert "; accepted: " in done.stdout


def test_solutions_do_not_share_their_memory() -> None:
    """Neither with each other nor with what the next solve works on."""
    f = lambda x, y: np.exp(x) * y  # noqa: E731
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=200))
    first = mgnet.solve(f, 200, dim=2)
    before = first.u.copy()
    b = np.random.default_rng(0).normal(size=(2, 199, 199))
    second = hierarchy.solve(b)
    again = second.u.copy()
    for method in ("auto", "vcycle", "pcg", "fmg"):
        mgnet.solve(lambda x, y: x - y, 200, dim=2, method=method)
        hierarchy.solve(-b)
    assert (first.u == before).all()
    assert (second.u == again).all()
    np.testing.assert_allclose(hierarchy.solve(b).u, again, rtol=0, atol=1e-9 * np.abs(again).max())


def test_solves_in_threads() -> None:
    """The same answers, each thread with its own memory."""
    loads = np.random.default_rng(1).normal(size=(4, 149, 149))
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=150), method="vcycle")
    expected = [hierarchy.solve(b).u for b in loads]
    found: list[np.ndarray | None] = [None] * 4

    def work(i: int) -> None:
        for _ in range(3):
            found[i] = hierarchy.solve(loads[i]).u

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * np.abs(one).max())
