"""A box over several processes: the answer, and the way to it, are those of one."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lockstep import in_lockstep
from processes import environment, finished

import mgnet
from mgnet import Dirichlet, Neumann, Robin, Status
from mgnet.multigrid import slabs
from mgnet.multigrid.halos import width_for
from mgnet.multigrid.levels import Options
from mgnet.operators import loops
from mgnet.poisson.parts import matched_bounds
from mgnet.solver.slabs.boxes import SlabSolve, solve_slab
from mgnet.solver.stopping import Stopping

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def shares_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SHARE", 16)


def f(x: Any, y: Any) -> Any:
    return np.exp(x) * np.sin(3 * y)


def jump(x: Any, y: Any) -> Any:
    return np.where((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.06, 1e3, 1.0)


def wave(x: Any, y: Any) -> Any:
    return np.cos(2 * np.pi * x)


def of_space(x: Any, y: Any, z: Any) -> Any:
    return x * np.exp(y * z)


def swapped(x: Any, y: Any) -> Any:
    return 2 + np.sin(2 * np.pi * (x + y))


BOX: dict[str, Any] = {"f": f, "dim": 2, "n": (96, 80)}
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "constant": (2, {**BOX, "n": (128, 96)}),
    "narrow": (3, {**BOX, "n": (257, 33)}),
    "odd": (3, {**BOX, "n": (131, 101)}),
    "values": (3, {**BOX, "n": (130, 90), "boundary": {"left": Dirichlet(lambda x, y: 1 + y)}}),
    "values on a rank": (3, {**BOX, "boundary": {"right": Dirichlet(RNG.random((2, 81)))}, "a": jump}),
    "smooth a": (2, {**BOX, "a": lambda x, y: 1 + x * y}),
    "jump": (3, {**BOX, "a": jump}),
    "jumps everywhere": (2, {**BOX, "a": 10.0 ** RNG.integers(0, 4, (96, 80))}),
    "c": (2, {**BOX, "c": lambda x, y: 100 * x, "a": jump}),
    "c lumped": (3, {**BOX, "f": RNG.random((97, 81)), "c": 30.0}),
    "c at one end": (3, {**BOX, "a": jump, "c": lambda x, y: 1e3 * (x < 0.3), "boundary": Neumann(0.0)}),
    "floats": (3, {**BOX, "f": lambda x, y: np.cos(np.pi * x), "boundary": Neumann(0.0)}),
    "floats, jump": (
        2,
        {**BOX, "f": RNG.random((97, 81)), "a": jump, "boundary": Neumann(), "compatible": "project"},
    ),
    "robin": (2, {**BOX, "boundary": {"left": Robin(2.0, 1.0), "top": Robin(lambda x, y: 1 + x, 1.0)}}),
    "robin on a rank": (3, {**BOX, "boundary": {"left": Robin(lambda x, y: 1 + y, 1.0)}}),
    "hardly held": (2, {**BOX, "boundary": Robin(1e-9), "a": jump}),
    "joined": (3, {**BOX, "f": wave, "periodic": (True, False)}),
    "joined, a": (2, {**BOX, "f": wave, "periodic": True, "a": swapped}),
    "tensor": (3, {**BOX, "a": (lambda x, y: 1 + x, 3.0)}),
    "nodes": (2, {"f": f, "dim": 2, "nodes": (np.linspace(0, 1, 97) ** 1.1, np.linspace(0, 1, 81))}),
    "narrow cells": (2, {**BOX, "n": (64, 256)}),
    "wide cells": (2, {**BOX, "n": (256, 40)}),
    "batch": (2, {**BOX, "f": RNG.random((3, 97, 81))}),
    "load": (3, {"b": RNG.random((95, 79)), "dim": 2, "n": (96, 80)}),
    "huge": (2, {**BOX, "f": lambda x, y: 1e200 * x, "a": jump}),
    "contrast": (2, {**BOX, "a": lambda x, y: np.where(x > y, 1e7, 1.0)}),
    "space": (2, {"f": of_space, "dim": 3, "n": (32, 20, 18)}),
    "space, jump": (3, {"f": of_space, "dim": 3, "n": (33, 20, 18), "a": lambda x, y, z: 1 + 50 * (x > y)}),
}


def together(world: int, data: dict[str, Any], how: dict[str, Any] | None = None) -> list[SlabSolve]:
    """Solve over some processes, which are threads."""
    how = dict(how or {})
    x0, dtype = how.pop("x0", None), how.pop("dtype", torch.float64)
    stopping = Stopping(how.pop("tol", None), how.pop("maxiter", None), how.pop("refine", False), False)
    problem = mgnet.Poisson(**data)
    options = Options(how.pop("method", "auto"), dim=problem.dim, **how)
    return in_lockstep(world, lambda me: solve_slab(problem, me, options, stopping, dtype, CPU, x0))


def joined(found: list[SlabSolve], dim: int) -> torch.Tensor:
    """Put slabs together, of which neighbours have the same values at cuts to the last bit."""
    for one, other in zip(found[:-1], found[1:], strict=True):
        assert torch.equal(one.u.select(-dim, -1), other.u.select(-dim, 0))
    parts = [x.u.narrow(-dim, int(i > 0), x.u.shape[-dim] - (i > 0)) for i, x in enumerate(found)]
    return torch.cat(parts, -dim)


def compare(world: int, data: dict[str, Any], how: dict[str, Any] | None = None) -> list[SlabSolve]:
    """Several processes come to the answer of one, in as many iterations within one."""
    found = together(world, data, how)
    alone = mgnet.solve(**data, **(how or {}), throw=False)
    outcome, u = found[0].outcome, joined(found, data["dim"])
    for other in found:
        assert (other.outcome.status, other.outcome.residuals) == (outcome.status, outcome.residuals)
        assert other.outcome.error_estimate == outcome.error_estimate
    assert outcome.status is alone.status
    assert abs(outcome.iterations - alone.iterations) <= 1
    expected = torch.as_tensor(alone.u)
    allowed = max(2 * alone.error_estimate, 1e-13 * float(expected.abs().max()))
    assert float((u - expected).abs().max()) <= allowed + outcome.error_estimate
    return found


@pytest.mark.parametrize("name", CASES)
def test_several_processes_come_to_the_answer_of_one(name: str) -> None:
    world, data = CASES[name]
    assert compare(world, data)[0].grids >= 1


@pytest.mark.parametrize("method", ["vcycle", "wcycle", "fcycle", "fmg", "pcg"])
def test_all_cycles(method: str) -> None:
    compare(2, CASES["jump"][1], {"method": method})
    compare(3, CASES["odd"][1], {"method": method})


@pytest.mark.parametrize("smoother", ["jacobi", "red-black", "chebyshev"])
def test_all_point_smoothers(smoother: str) -> None:
    compare(2, CASES["jump"][1], {"method": "vcycle", "smoother": smoother})
    compare(3, CASES["odd"][1], {"smoother": smoother})


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": torch.float32},
        {"dtype": torch.float32, "refine": True},
        {"tol": 1e-4},
        {"tol": 1e-17},
        {"maxiter": 1},
        {"maxiter": 0},
        {"levels": 2, "method": "vcycle", "coarse": "smoother"},
        {"sweeps": (1, 1)},
        {"x0": RNG.random((97, 81))},
    ],
    ids=str,
)
def test_what_is_asked_of_an_answer(how: dict[str, Any]) -> None:
    compare(2, CASES["jump"][1], how)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_a_ring_of_processes(world: int) -> None:
    compare(world, CASES["joined, a"][1])


@pytest.mark.parametrize("name", ["jump", "odd", "tensor", "joined, a", "c", "space, jump"])
def test_torch_does_what_loops_do(name: str) -> None:
    world, data = CASES[name]
    problem, options = mgnet.Poisson(**data), Options(dim=data["dim"])

    def solve(me: Any) -> SlabSolve:
        with loops.without():
            return solve_slab(problem, me, options, Stopping(), torch.float64, CPU)

    u, expected = (joined(found, data["dim"]) for found in (in_lockstep(world, solve), together(world, data)))
    assert float((u - expected).abs().max()) <= 1e-10 * float(expected.abs().max())


def test_a_second_order_that_no_cut_disturbs() -> None:
    """Against the solution itself: sin πx sin πy, whose error is a quarter with half the width."""
    errors = []
    for n in (64, 128):
        data = {
            "f": lambda x, y: 2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y),
            "n": (n, n + 2),
            "dim": 2,
        }
        u = joined(together(3, data), 2).numpy()
        x, y = np.linspace(0, 1, n + 1)[:, None], np.linspace(0, 1, n + 3)
        errors.append(np.abs(u - np.sin(np.pi * x) * np.sin(np.pi * y)).max())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_messages_of_a_solution() -> None:
    """In a cycle two each way on every grid: of its load and of its correction.

    Where slabs are thin there are four: three sweeps, and the correction or the restriction.
    """
    found = together(3, CASES["odd"][1], {"method": "vcycle"})
    cycles = found[0].outcome.iterations
    # On the finest grid a load and a residual for each iteration, and an agreement on corrections under
    # another name; the load of the problem, and a last residual.
    assert found[0].sent["grid 0"][0] == 2 * cycles + 2
    thick = width_for((2, 2)) + slabs.APART
    layers = [min(b - a for a, b in pairwise(matched_bounds(131, 3))) // 2**grid for grid in range(9)]
    assert layers[1] >= thick > layers[found[0].grids - 1]
    for grid in range(1, found[0].grids):
        ways, each = [x.sent[f"grid {grid}"] for x in found], 2 if layers[grid] >= thick else 4
        assert [count for count, _ in ways] == [each * cycles, 2 * each * cycles, each * cycles]
        coarse = 101 // 2**grid + 1
        assert ways[0][1] <= 4 * cycles * 8 * (coarse + 1)  # three planes of a load, one of a correction
    assert found[1].sent[f"grid {found[0].grids}"][0] == cycles  # gathered


def test_what_is_small_every_process_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SHARE", 2**12)
    found = compare(2, {**BOX, "n": (30, 20)})
    assert found[0].grids == 0
    assert not found[0].sent


def test_lines_are_left_to_each_process() -> None:
    nodes = (np.linspace(0, 1, 97) ** 2, np.linspace(0, 1, 81) ** 2)
    assert compare(2, {"f": f, "dim": 2, "nodes": nodes})[0].grids == 0
    assert compare(2, {"f": f, "dim": 2, "nodes": nodes}, {"smoother": "chebyshev"})[0].grids >= 1


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "direct": ({}, {"method": "direct"}, "method: got 'direct' and several processes"),
    "few layers": ({"n": (5, 80)}, {}, "n: got 5 layers of cells along the first axis for 3 processes"),
    "not finite on one": (
        {"f": lambda x, y: np.where(x > 0.9, np.nan, y)},
        {},
        "f: the function returned nan",
    ),
    "infinite on one": (
        {"f": np.where(np.arange(97)[:, None] == 3, np.inf, np.ones((97, 81)))},
        {},
        "f: got inf at index (3, 0)",
    ),
    "a on one": ({"a": lambda x, y: 0.5 - x}, {}, "a: "),
    "defect": ({"boundary": Neumann(0.0)}, {}, "f: got data that sum to"),
    "mask": ({"fixed": (np.zeros((97, 81), bool), 0.0)}, {}, "fixed: "),
    "batch of a": ({"a": np.ones((2, 96, 80))}, {}, "a, c: "),
    "guess": ({}, {"x0": np.zeros((3, 4))}, "x0: "),
    "guess of one": (
        {},
        {"x0": np.where(np.arange(97) < 96, 0.0, np.nan)[:, None] * np.ones(81)},
        "x0: got nan at index (96, 0)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shared_all_refuse(case: str) -> None:
    change, how, message = REFUSED[case]
    seen: list[str] = []

    def solve(me: Any) -> None:
        problem = mgnet.Poisson(**{**BOX, **change})
        options = Options(how.get("method", "auto"), dim=2)
        try:
            solve_slab(problem, me, options, Stopping(), torch.float64, CPU, how.get("x0"))
        except (ValueError, TypeError) as error:
            seen.append(str(error))

    in_lockstep(3, solve)
    assert len(seen) == 3
    assert all(text.startswith(message) for text in seen), seen


def test_a_solution_out_of_range_has_diverged() -> None:
    found = together(2, {**BOX, "f": 1e308, "domain": ((0, 1e4), (0, 1e4))})
    assert {x.outcome.status for x in found} == {Status.DIVERGED}


STARTED = """
import json, sys, numpy as np, torch, mgnet
import torch.distributed as dist
from mgnet.core.processes import together
from mgnet.multigrid import slabs
torch.set_num_threads(1)
slabs.SHARE = 16
f = lambda x, y: np.exp(x) * np.sin(3 * y)
jump = lambda x, y: np.where((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.06, 1e3, 1.0)
wave = lambda x, y: np.cos(2 * np.pi * x)
CASES = {
    "odd": dict(f=f, dim=2, n=(257, 101)),
    "jump": dict(f=f, dim=2, n=(96, 80), a=jump, boundary={"left": mgnet.Dirichlet(2.0)}),
    "joined": dict(f=wave, dim=2, n=(96, 80), periodic=True, a=lambda x, y: 2 + np.sin(2 * np.pi * (x + y))),
    "space": dict(f=lambda x, y, z: x * y * z, dim=3, n=(33, 20, 18), a=lambda x, y, z: 1 + 50 * (x > y)),
}
with together(torch.device("cpu")):
    rank, report = dist.get_rank(), {}
    groups = {2: dist.new_group([0, 1]), 3: None}
    alone = dist.new_group([0])
    for name, data in CASES.items():
        ours = {world: mgnet.solve(**data, group=group) for world, group in groups.items() if rank < world}
        wholes = {world: sol.gathered(0) for world, sol in ours.items()}
        fluxes = {world: sol.flux("left") if name != "joined" else 0.0 for world, sol in ours.items()}
        if rank:
            continue
        one = mgnet.solve(**data, group=alone)
        report[name] = [
            [float(abs(wholes[world].u - one.u).max()), one.error_estimate + sol.error_estimate,
             float(abs(one.u).max()), sol.iterations, one.iterations, sol.status.name,
             sol.u.shape[-data["dim"]], one.u.shape[-data["dim"]],
             float(abs(fluxes[world] - (one.flux("left") if name != "joined" else 0.0)))]
            for world, sol in ours.items()
        ]
if not rank:
    json.dump(report, open(f"{sys.argv[1]}/report.json", "w"))
"""


@pytest.mark.slow
def test_processes_that_torchrun_starts(tmp_path: Path) -> None:
    """Groups of two and of three, in one start."""
    script = tmp_path / "script.py"
    script.write_text(STARTED)
    command = f"-m torch.distributed.run --nproc-per-node=3 --standalone {script} {tmp_path}"
    done = finished(*command.split(), env=environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report) == 4
    for name, rows in report.items():
        assert len(rows) == 2, name
        for error, estimates, size, iterations, alone, status, planes, nodes, flux in rows:
            assert status == "CONVERGED", name
            assert abs(iterations - alone) <= 1, name
            assert error <= 2 * estimates + 1e-13 * size, name
            assert planes < nodes, name
            assert flux <= 1e-6 * size, name
