"""An interval over several processes: the answer is that of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import environment, finished

SCRIPT = """
import json, os, pickle, sys
import numpy as np, torch, mgnet
import torch.distributed as dist
from mgnet.core.processes import Processes, together
from mgnet.operators import loops
from mgnet import Dirichlet, Neumann, Robin
torch.set_num_threads(1)
rng = np.random.default_rng(5)
n, folder = 101, sys.argv[1]
nan_in_one = np.ones(101)
nan_in_one[77] = np.nan
nodes = np.cumsum(rng.uniform(0.5, 1.5, n + 1))
several = rng.standard_normal((2, 3, n + 1))
balanced = rng.standard_normal(n)
balanced -= balanced.mean()
own_file = f"{folder}/{os.environ['RANK']}.npy"
np.save(own_file, rng.random(n + 1))
mapped = np.load(own_file, mmap_mode="r")
torch_f = lambda x: torch.sin(x)
rough = np.exp(rng.uniform(-6, 6, n))
CASES = {
    "function": dict(f=np.exp, n=n),
    "ends": dict(f=lambda x: 1 + x, n=n, left=Dirichlet(2.0), right=Neumann(-3.0)),
    "robin": dict(f=1.0, n=n, left=Robin(2.0, 1.0), right=Robin(0.5, -1.0), c=0.3),
    "robin alone": dict(f=several, left=Robin(1e-6, 1.0), right=Neumann(2.0)),
    "a by cell": dict(f=1.0, a=rough, right=Dirichlet(5.0)),
    "a function, c function": dict(f=np.cos, n=n, a=lambda x: 1 + x * x, c=lambda x: 50 * x),
    "lumped": dict(f=several[0, 0], c=rng.random(n + 1) * 1e4, load="nodal", left=Neumann(1.0)),
    "by cell": dict(f=rng.random(n), n=n, c=rng.random(n)),
    "stretched": dict(f=np.sin, nodes=nodes, a=rough, c=1.0, right=Robin(1.0)),
    "batch": dict(f=several, n=n, right=Neumann(1.0)),
    "long batch": dict(f=rng.standard_normal((9, n + 1)), n=n),
    "float32": dict(f=several[0].astype(np.float32), n=n, right=Neumann(1.0)),
    "float32, cells differ": dict(f=np.exp, a=rough, n=n, dtype="float32", c=lambda x: x),
    "ready": dict(b=rng.random((2, n - 1)), n=n),
    "ready, free": dict(b=rng.random(n), n=n, right=Neumann(1.0), c=1.0),
    "tensors": dict(f=torch_f, n=n, right=Neumann(1.0)),
    "tensor": dict(f=torch.from_numpy(several[0]), n=n),
    "mapped": dict(f=mapped),
    "joined": dict(f=lambda x: np.sin(2 * np.pi * x), n=n, periodic=True),
    "joined, c": dict(f=balanced, n=n, periodic=True, c=2.0),
    "joined, cells differ": dict(b=balanced, n=n, periodic=True, a=rough),
    "free": dict(f=lambda x: np.cos(np.pi * x), n=n, left=Neumann(0.0), right=Neumann(0.0)),
    "free, fluxes": dict(f=1.0, n=n, left=Neumann(-1.5), right=Neumann(0.5), a=rough),
    "free, c is zero": dict(b=np.r_[balanced, 0.0], n=n, left=Neumann(), right=Neumann(), c=lambda x: 0 * x),
    "project": dict(f=several[0], left=Neumann(), right=Neumann(1.0), compatible="project"),
    "huge": dict(f=1e300, n=n, domain=(0.0, 1e4), a=1e5),
    "far": dict(f=np.sin, n=n, domain=(1e6, 1e6 + 0.1)),
    "tol": dict(f=np.exp, n=n, tol=1e-9, c=3.0),
    "tol missed": dict(f=np.exp, n=n, tol=1e-30, throw=False),
    "not finite": dict(f=1e308, n=n, domain=(0.0, 1e4), throw=False),
    "named": dict(f=1.0, n=n, method="exact", maxiter=3, x0=np.zeros(n + 1)),
}

def whole(x):
    return float(x) if np.ndim(x) == 0 else np.asarray(x).tolist()

def checked(name, case, me, alone):
    with np.errstate(all="ignore"):
        shared, one = mgnet.solve(**case), mgnet.solve(**{**case, "group": alone})
        assert type(one) is mgnet.Solution, type(one)
        same = np.asarray(shared.gathered().u)
    u, x = np.asarray(one.u), np.asarray(one.x)
    n = case.get("n", len(one.x) - 1)
    low = 0 if me.rank == 0 else np.searchsorted(x, np.asarray(shared.x)[0])
    part = slice(low, low + len(shared.x))
    np.testing.assert_array_equal(np.asarray(shared.x), x[part])
    np.testing.assert_array_equal(np.asarray(shared.u), same[..., part])
    assert type(shared.u) is type(one.u) and shared.u.dtype == one.u.dtype
    size = max(abs(u).max(), 1e-300)
    report = {"error": float(abs(same / size - u / size).max()), "status": shared.status.name}
    assert shared.status is one.status, (shared.status, one.status)
    if one.status is mgnet.Status.DIVERGED:
        return report
    eps = np.finfo(str(one.u.dtype).removeprefix("torch.")).eps
    report["estimate"] = shared.error_estimate
    assert one.error_estimate < 8 * shared.error_estimate + 64 * eps * size, (
        shared.error_estimate, one.error_estimate)
    assert shared.error_estimate < 8 * one.error_estimate + 64 * eps * size
    report["residuals"] = shared.residuals
    assert shared.iterations == one.iterations == 1
    loose = 1e-3 if eps > 1e-10 else 1e-9
    ours, theirs = np.asarray(shared.energy), np.asarray(one.energy)
    if np.isfinite(theirs).all():  # that of huge values is out of range, and so may be parts that cancel
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=loose * max(abs(theirs).max(), 1e-300))
    ours, theirs = np.asarray(shared.integral()), np.asarray(one.integral())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=loose * size * (x[-1] - x[0]))
    for side in [] if case.get("periodic") else ["left", "right"]:
        ours, theirs = np.asarray(shared.flux(side)), np.asarray(one.flux(side))
        most = abs(np.asarray(one.flux("left"))).max() + abs(np.asarray(one.flux("right"))).max() + 1e-9
        assert np.all(abs(ours - theirs) <= loose * most), (side, ours, theirs)
    if name in ("function", "ready", "batch"):  # of all that is held
        mask = np.zeros(n + 1, bool)
        mask[[0, n // 2, n]] = True
        ours, theirs = np.asarray(shared.flux(mask)), np.asarray(one.flux(mask))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    inside = np.asarray(shared.x)[:-1] + 0.3 * np.diff(np.asarray(shared.x))
    np.testing.assert_allclose(np.asarray(shared(inside)) / size, np.asarray(one(inside)) / size, rtol=0,
                               atol=1e3 * eps)
    report["known"] = [whole(shared.energy), whole(shared.integral())]
    return report

def compared(me, group, alone):
    reports = {}
    for name, case in CASES.items():
        try:
            reports[name] = checked(name, dict(case, group=group), me, alone)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    with loops.without():  # as on a device
        some = "ends", "stretched", "robin", "float32", "joined, cells differ", "free, fluxes", "batch"
        for name in some:
            reports[f"torch: {name}"] = checked(name, dict(CASES[name], group=group), me, alone)
    for n in (me.world, 2 * me.world, 2 * me.world + 1, 10_007, 270_001):
        for case in (dict(f=np.exp), dict(f=np.exp, c=3.0, a=lambda x: 1 + x, left=Robin(1.0, 2.0))):
            reports[f"{n}, {len(case)}"] = checked(str(n), dict(case, n=n, group=group), me, alone)
    everyone = me.gathered(json.dumps({k: {**v, "error": None} for k, v in reports.items()}))
    assert len(set(everyone)) == 1, everyone  # all digits are the same
    return reports

def messages():
    calls, found = [], {}
    names = "all_gather", "all_reduce", "broadcast", "send", "isend", "all_gather_object"
    kept = {name: getattr(dist, name) for name in names}
    for name, call in kept.items():
        def counted(*given, call=call, **more):
            calls.append(call.__name__)
            return call(*given, **more)
        setattr(dist, name, counted)
    for name in ("robin", "a by cell", "stretched", "batch", "joined, c", "free"):
        calls.clear()
        mgnet.solve(**CASES[name])
        found[name] = list(calls)
    for name, call in kept.items():
        setattr(dist, name, call)
    return found

with together(torch.device("cpu")):
    me = Processes()
    alone = [dist.new_group([rank]) for rank in range(me.world)][me.rank]
    worlds = {world: dist.new_group(list(range(world))) for world in (2, 3)} | {4: None}
    found = {}
    for world, group in worlds.items():
        if me.rank < world:
            found[world] = compared(Processes(group), group, alone)
    sent = messages()
    if me.rank == 0:
        with open(f"{folder}/report.json", "w") as file:
            json.dump({"reports": found, "messages": sent}, file)
    last = me.rank == me.world - 1
    BROKEN = {
        "nan of a function": dict(f=lambda x: np.where(x > 0.9, np.nan, x), n=100),
        "a function that raises": dict(f=lambda x: x / (1 if not last else np.zeros(3)), n=100),
        "nan of an array": dict(f=nan_in_one),
        "nan at an end": dict(f=np.r_[np.ones(100), np.nan]),
        "nan of a load": dict(b=nan_in_one[1:100], n=100),
        "shape in one": dict(f=np.ones(50 if last else 101), n=100),
        "batch in one": dict(f=lambda x: np.ones((2 if last else 3, len(x))), n=100),
        "n in one": dict(f=1.0, n=200 if last else 100),
        "dtype in one": dict(f=1.0, n=100, dtype="float32" if last else "float64"),
        "end in one": dict(f=1.0, n=100, right=mgnet.Neumann(1.0 if last else 2.0)),
        "domain in one": dict(f=1.0, n=100, domain=(0, 2 if last else 1)),
        "tolerance in one": dict(f=1.0, n=100, tol=1e-3 if last else None),
        "keyword in one": dict(f=1.0, n=100, load="what" if last else None),
        "a in one": dict(f=1.0, n=100, a=lambda x: np.where(x < 0.9, 1.0, -1.0)),
        "incompatible": dict(f=1.0, n=100, periodic=True),
        "too few cells": dict(f=1.0, n=me.world - 1),
        "method": dict(f=1.0, n=100, method="vcycle"),
        "refine": dict(f=1.0, n=100, refine=True),
        "maxiter": dict(f=1.0, n=100, maxiter=0),
        "first guess": dict(f=1.0, n=100, x0=np.zeros(7)),
        "batch of operators": dict(f=1.0, a=np.ones((2, 100))),
        "gradient": dict(f=torch.ones(101, requires_grad=True)),
        "gradient of a function": dict(f=lambda x: x * torch.ones((), requires_grad=True), n=100),
        "tolerance": dict(f=1.0, n=100, tol=1e-30),
        "memory": dict(f=1.0, n=2**45),
        "group": dict(f=1.0, n=100, group="all"),
    }
    reports = {}
    for name, case in BROKEN.items():
        try:
            mgnet.solve(**case)
            reports[name] = "nothing"
        except Exception as error:
            reports[name] = f"{type(error).__name__}: {error}"
    sol = mgnet.solve(1.0, n=100)  # all are where they were
    np.testing.assert_allclose(sol.u, sol.x * (1 - sol.x) / 2, rtol=1e-12, atol=1e-15)
    for name, ask in {"outside": lambda: sol(2.0), "side": lambda: sol.flux("top"),
                      "rank": lambda: sol.gathered(9)}.items():
        try:
            ask()
        except ValueError as error:
            reports[name] = str(error)
    assert "not asked for" in repr(sol)  # which one process may do alone
    assert np.array_equal(pickle.loads(pickle.dumps(sol)).u, sol.u)
    whole = sol.gathered(me.world - 1)
    assert (whole is None) != last
    if last:
        assert whole.u.shape == (101,) and abs(whole.flux("left") + 0.5) < 1e-12
    others = dist.new_group([0])
    if me.rank:
        try:
            mgnet.solve(1.0, n=100, group=others)
        except ValueError as error:
            reports["of others"] = str(error)
    with open(f"{folder}/rank{me.rank}.json", "w") as file:
        json.dump(reports, file)
"""

SAID = {
    "nan of a function": "ValueError: f: the function returned nan at index ",
    "a function that raises": "ValueError: f: the function raised ValueError",
    "nan of an array": "ValueError: f: got nan at index 77",
    "nan at an end": "ValueError: f: got nan at index 100",
    "nan of a load": "ValueError: b: got nan at index 76",
    "shape in one": "ValueError: f: got shape (50,)",
    "batch in one": "ValueError: f: got right-hand sides whose number differs",
    "n in one": "ValueError: solve: got (100,) cells, 64 bits in process 0",
    "dtype in one": "ValueError: solve: got (100,) cells, 64 bits in process 0",
    "end in one": "ValueError: solve: got other conditions, numbers or options in process",
    "domain in one": "ValueError: solve: got other conditions, numbers or options in process",
    "tolerance in one": "ValueError: solve: got other conditions, numbers or options in process",
    "keyword in one": "ValueError: load: got 'what'",
    "a in one": "ValueError: a: got -1.0 in cell 90",
    "incompatible": "ValueError: f: got data that sum to 1.000e+00",
    "too few cells": "ValueError: n: got",
    "method": "ValueError: method: got 'vcycle' on an interval that several processes share",
    "refine": "ValueError: refine: got True",
    "maxiter": "ValueError: maxiter: got 0",
    "first guess": "ValueError: x0: got shape (7,)",
    "batch of operators": "ValueError: a, c: got leading axes (2,)",
    "gradient": "ValueError: f: got a tensor by which derivatives",
    "gradient of a function": "ValueError: f: got a tensor by which derivatives",
    "tolerance": "ConvergenceError: STAGNATED",
    "memory": "ResourceError: n: got",
    "group": "TypeError: group: got 'all'",
    "outside": "x: got 2.0; accepted: points in",
    "side": "side: got 'top'; accepted: 'left', 'right'",
    "rank": "rank: got 9; accepted: 0 to ",
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Start four processes, once: groups of two and of three are among them."""
    folder = tmp_path_factory.mktemp("slabs")
    (folder / "script.py").write_text(SCRIPT)
    command = "-m torch.distributed.run --nproc-per-node=4 --standalone"
    done = finished(
        *command.split(), str(folder / "script.py"), str(folder), env=environment(OMP_NUM_THREADS="1")
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_several_processes_have_the_answer_of_one(reports: Path) -> None:
    found = json.loads((reports / "report.json").read_text())
    assert list(found["reports"]) == ["2", "3", "4"]
    for of_world in found["reports"].values():
        for name, report in of_world.items():
            if name != "not finite":
                assert report["error"] < (1e-5 if "float32" in name else 1e-10), (name, report)
        assert of_world["tol missed"]["status"] == "STAGNATED"
        assert of_world["not finite"]["status"] == "DIVERGED"


@pytest.mark.slow
def test_there_is_one_message(reports: Path) -> None:
    """With many right-hand sides there are two; where u is determined up to a constant, sums and a mean."""
    messages = json.loads((reports / "report.json").read_text())["messages"]
    for name in ("robin", "a by cell", "stretched", "joined, c"):
        assert messages[name] == ["all_gather"], name
    assert messages["batch"] == ["all_gather"] * 2
    assert len(messages["free"]) < 12


@pytest.mark.slow
def test_an_error_of_one_process_is_one_of_all(reports: Path) -> None:
    first, *others = (json.loads((reports / f"rank{rank}.json").read_text()) for rank in range(4))
    for found in (first, *others):
        for name, said in SAID.items():
            assert found[name].startswith(said), (name, found[name])
    for found in others:
        assert "one that this process is not in" in found["of others"]
