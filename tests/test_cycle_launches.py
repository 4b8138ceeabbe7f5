"""Launches of a cycle, and cycles as CUDA graphs, on a pretended device; see ``test_pretended.py``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mgnet
from mgnet.operators import multiplied
from mgnet.solver import graphs

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import gpu_speed

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def only_pretended(counts: Any) -> None:
    if counts is None:
        pytest.skip("a real device is not counted")


@pytest.fixture(params=["triton", "torch"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make passes in Triton, as they would be where it is installed, or by what torch has."""
    monkeypatch.setattr(multiplied, "there_are", lambda: request.param == "triton")
    return request.param


def asked(counts: Any, call: Callable[[], Any]) -> tuple[int, int]:
    """Count the launches and the waits of a call."""
    counts.clear()
    call()
    return sum(counts.launches.values()), sum(counts.waits.values())


def boxes() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    natural = {"left": mgnet.Neumann(0.0), "top": mgnet.Robin(1.0, 0.0)}
    return {
        "2-D": {"n": 16},
        "2-D natural, per cell, odd": {"n": (15, 12), "a": 1 + rng.random((15, 12)), "boundary": natural},
        "3-D, periodic, c": {"n": (8, 9, 8), "dim": 3, "periodic": (True, False, False), "c": 2.0},
        "3-D per cell": {"n": 4, "dim": 3, "a": 1 + rng.random((4, 4, 4))},
    }


@pytest.mark.parametrize("name", boxes())
def test_a_level_takes_few_launches_and_waits_for_nothing(
    name: str, passes: str, device: str, counts: Any
) -> None:
    problem = mgnet.Poisson(**{"dim": 2, **boxes()[name]})
    hierarchy = mgnet.Hierarchy(problem, method="vcycle", device=device)
    b = torch.from_numpy(np.random.default_rng(1).random((2, 1, *problem.shape)))
    given = b.to(device)
    found = hierarchy.cycle(given)
    launches, waits = asked(counts, lambda: hierarchy.cycle(given))
    grids = len(hierarchy.levels) - 1
    assert grids and waits == 0
    # The coarsest grid has seven at most, and what comes out is copied.
    assert launches <= (6 if passes == "triton" else 12) * grids + 8
    expected = mgnet.Hierarchy(problem, method="vcycle").cycle(b)
    assert (found.cpu() - expected).abs().max() <= 1e-13 * expected.abs().max()


def test_full_multigrid_takes_few_launches(passes: str, device: str, counts: Any) -> None:
    problem = mgnet.Poisson(dim=2, n=16)
    hierarchy = mgnet.Hierarchy(problem, method="fmg", device=device)
    f = torch.ones(15, 15, dtype=torch.float64)
    sol, expected = hierarchy.solve(f.to(device)), mgnet.Hierarchy(problem, method="fmg").solve(f)
    assert sol.iterations == expected.iterations
    assert (sol.u.cpu() - expected.u).abs().max() <= 1e-12 * expected.u.abs().max()


def test_solves_end_with_the_same_answer(passes: str, device: str) -> None:
    """To what iterations leave: in float32 passes that add in another order round otherwise."""
    f = torch.from_numpy(np.random.default_rng(0).random((17, 16)))
    problem: dict[str, Any] = {"dim": 2, "n": (16, 15), "a": lambda x, y: 1 + x + y, "c": lambda x, y: x}
    there, here = mgnet.solve(f.to(device), device=device, **problem), mgnet.solve(f, **problem)
    assert there.iterations == here.iterations
    assert (there.u.cpu() - here.u).abs().max() <= 1e-9 * here.u.abs().max()


@pytest.mark.parametrize("method", ["auto", "vcycle", "pcg"])
def test_an_iteration_waits_once(method: str, device: str, counts: Any) -> None:
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=32), method=method, device=device)
    b = torch.from_numpy(np.random.default_rng(0).random((2, 31, 31))).to(device)

    def waits(maxiter: int) -> int:
        return asked(counts, lambda: hierarchy.solve(b, maxiter=maxiter, tol=1e-30, throw=False))[1]

    waits(1)  # sets up
    assert waits(4) - waits(3) == 1


# CUDA graphs: a stand-in, since no graph is to be had here.


class Graphs:
    """Captures by calling, and replays by calling again, into the memory of the first result."""

    def __init__(self, counts: Any) -> None:
        self.counts, self.captured, self.replayed = counts, list[tuple[int, ...]](), 0

    def __call__(self, call: Callable[[Tensor], Tensor], given: Tensor) -> tuple[Callable[[], None], Tensor]:
        call(given)  # kernels are compiled, and weights sent
        self.counts.waits.clear()
        found = call(given).clone()
        assert not self.counts.waits  # which a capture would not survive
        self.captured.append(tuple(given.shape))

        def replay() -> None:
            self.replayed += 1
            found.copy_(call(given))

        return replay, found


@pytest.fixture
def captures(counts: Any, monkeypatch: pytest.MonkeyPatch) -> Graphs:
    stand_in = Graphs(counts)
    monkeypatch.setattr(graphs, "capture", stand_in)
    return stand_in


@pytest.mark.parametrize("method", ["auto", "vcycle"])
def test_a_graph_gives_the_same(method: str, passes: str, device: str, captures: Graphs) -> None:
    a = 1 + np.random.default_rng(0).random((16, 16)) if method == "auto" else 1.0
    problem = mgnet.Poisson(dim=2, n=16, a=a)
    plain = mgnet.Hierarchy(problem, method=method, device=device)
    graphed = mgnet.Hierarchy(problem, method=method, device=device, graph=True)
    for rows in (1, 3, 1):
        b = torch.from_numpy(np.random.default_rng(rows).random((rows, 15, 15))).to(device)
        first, second = plain.solve(b), graphed.solve(b)
        assert first.iterations == second.iterations
        assert torch.equal(first.u.cpu(), second.u.cpu())
    assert captures.captured == [(rows, 1, 15, 15) for rows in (1, 3)]
    assert captures.replayed >= 6


def test_the_script_for_a_gpu_replays_cycles(device: str, captures: Graphs) -> None:
    case = gpu_speed.Case(8, 2, torch.float64, varies=True)
    assert gpu_speed.by_graph(case, case.load("cpu").to(device), device) > 0
    assert captures.captured == [(1, 1, 7, 7)]
    assert captures.replayed >= 2


def test_few_graphs_are_kept(device: str, captures: Graphs) -> None:
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=16), method="vcycle", device=device, graph=True)
    for rows in (*range(1, graphs.KEPT + 2), graphs.KEPT + 1, 2, 1):
        hierarchy.cycle(torch.ones(rows, 1, 15, 15, dtype=torch.float64, device=device))
    assert [shape[0] for shape in captures.captured] == [*range(1, graphs.KEPT + 2), 1]


def test_gradients_are_the_same_beside_a_graph(device: str, captures: Graphs) -> None:
    grads = []
    for graph in (False, True):
        hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=16), method="pcg", device=device, graph=graph)
        b = torch.ones(15, 15, dtype=torch.float64).to(device).requires_grad_()
        hierarchy.solve(b).u.square().sum().backward()
        grads.append(b.grad.cpu())
    assert torch.equal(*grads)
    r = torch.ones(1, 1, 15, 15, dtype=torch.float64, device=device, requires_grad=True)
    before = captures.replayed
    hierarchy.cycle(r)
    assert captures.replayed == before  # whose derivative a graph would not have


def test_where_there_is_no_graph(device: str, captures: Graphs) -> None:
    problem = mgnet.Poisson(dim=2, n=16)
    with pytest.raises(ValueError, match=r"^graph: got True on cpu; accepted: a CUDA device"):
        mgnet.Hierarchy(problem, graph=True)
    with pytest.raises(TypeError, match="^graph: got 1; accepted: True or False"):
        mgnet.Hierarchy(problem, graph=1)  # type: ignore[arg-type]
    for method, given in (("exact", mgnet.Poisson(n=16)), ("auto", mgnet.Poisson(n=16)), ("direct", problem)):
        with pytest.raises(ValueError, match="^graph: got True with method='(exact|direct)'; accepted"):
            mgnet.Hierarchy(given, method=method, device=device, graph=True)
    cells = np.ones((16, 16), dtype=bool)
    cells[4:7, 4:9] = False
    gaps = mgnet.Hierarchy(
        mgnet.Poisson(dim=2, n=16, cells=cells), method="vcycle", device=device, graph=True
    )
    with pytest.raises(ValueError, match="^graph: got True, but the coarsest grid is solved on the CPU"):
        gaps.solve(torch.ones(15, 15, dtype=torch.float64).to(device))


def test_a_capture_asks_torch_for_a_graph(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Run through the real one with stand-ins for what torch has on CUDA."""
    order: list[str] = []

    class Stream:
        def wait_stream(self, other: Any) -> None:
            order.append("wait")

    class Graph:
        def replay(self) -> None:
            order.append("replay")

    @contextlib.contextmanager
    def entered(name: str, *_: Any, **__: Any) -> Iterator[None]:
        order.append(name)
        yield
        order.append(f"end of {name}")

    fakes = {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "current_stream": Stream,
        "device": lambda device: contextlib.nullcontext(),
        "stream": lambda stream: entered("stream"),
        "graph": lambda graph, **options: entered("graph"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def call(x: Tensor) -> Tensor:
        order.append("call")
        return 2 * x

    given = torch.ones(2, device=device)
    replay, found = graphs.capture(call, given)
    replay()
    warm = ["wait", "stream", *["call"] * graphs.WARM, "end of stream", "wait"]
    assert order == [*warm, "graph", "call", "end of graph", "replay"]
    assert found.tolist() == [2, 2]
