"""One table: how solving and training go on from one process to several, and on paper to 1,024.

::

    python benchmarks/scaling.py                     # the whole table, about 15 minutes on two cores
    python benchmarks/scaling.py --quick             # tiny sizes, nothing is judged
    python benchmarks/scaling.py --only "2^30"       # the largest line: it needs 14 GiB of memory

Every process has one thread; four of them share two cores, so a speed that four have over two is not to be
expected here. Messages are counted where they are given to torch.distributed. The model takes the speed of
the kernels from one process of this table, and a network of 10 µs and 10 GB/s; beside its formula stands a
simulation that replays every message.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import scaling_model as model
import torch
import torch.distributed as dist
from table import Row, Section, main, size

import mgnet
from mgnet.core.processes import Processes, together
from mgnet.core.resources import free_memory

TIMEOUT = 1800
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How much is solved and trained."""

    line: int = 2**24
    plane: int = 1024
    space: int = 128
    large: int = 2**30
    images: int = 4096
    repeats: int = 5
    ranks: tuple[int, ...] = (1, 2, 4)


FULL = Plan()
QUICK = Plan(line=2**10, plane=256, space=48, large=2**12, images=128, repeats=1, ranks=(1, 2))


# What every process does


@dataclass(frozen=True)
class Job:
    """A solve of -u'' = 1 with zeros around, or so many images to train on; and how often."""

    cells: tuple[int, ...] = ()
    dtype: str = "float64"
    repeats: int = 1
    images: int = 0


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the messages that this process gives to torch.distributed, and their bytes, by what they are."""
    counts: Counter[str] = Counter()

    def note(name: str, tensors: list[torch.Tensor]) -> None:
        for x in tensors:
            counts[f"{name} messages"] += 1
            counts[f"{name} bytes"] += x.nbytes

    before = dist.batch_isend_irecv, dist.all_gather, dist.all_reduce

    def neighbours(calls: Any) -> Any:
        note("plane", [call.tensor for call in calls if call.op is dist.isend])
        return before[0](calls)

    def gather(out: Any, x: Any, **options: Any) -> Any:
        note("gather", [x])
        return before[1](out, x, **options)

    def reduce(x: Any, *more: Any, **options: Any) -> Any:
        note("sum", [x])
        return before[2](x, *more, **options)

    dist.batch_isend_irecv, dist.all_gather, dist.all_reduce = neighbours, gather, reduce
    try:
        yield counts
    finally:
        dist.batch_isend_irecv, dist.all_gather, dist.all_reduce = before


def solves(job: Job, processes: Processes) -> dict[str, Any]:
    """Solve so often, after once to warm up, or once, after a small one; the last one's messages count."""
    dim, seconds = len(job.cells), []
    problem = {"n": job.cells[0] if dim == 1 else job.cells, "dim": dim, "dtype": getattr(torch, job.dtype)}
    if not job.repeats:
        mgnet.solve(1.0, **{**problem, "n": 2**10})
    for _ in range(job.repeats + 1):
        sol = None  # its memory is that of the next
        processes.total(0.0)  # all begin together
        start = time.perf_counter()
        with counted() as counts:
            sol = mgnet.solve(1.0, **problem)
        (last,) = processes.largest(torch.tensor([time.perf_counter() - start], dtype=torch.float64)).tolist()
        seconds.append(last)
    u = torch.as_tensor(sol.u)
    least, most = processes.largest(torch.stack((-u.min(), u.max())).double()).tolist()
    return {
        "seconds": statistics.median(seconds[1:] or seconds),
        "iterations": sol.iterations,
        "least": -least,
        "most": most,
        "counts": dict(counts),
    }


def trains(job: Job, processes: Processes) -> dict[str, Any]:
    """Train ResNet-20 for two epochs; the speed is that of the second, of all processes together."""
    torch.manual_seed(0)
    net = mgnet.models.create("resnet20")
    data = mgnet.data.synthetic(train=job.images * processes.world, validation=0, test=64)
    batch = min(128, job.images) * processes.world
    history = mgnet.fit(net, data, recipe="fast", epochs=2, batch_size=batch, progress=False)
    speed = history["images_per_second"][-1]
    gradients = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return {"images_per_second": speed, "gradients": gradients}


def work(todo: list[Job]) -> None:
    """Do jobs in this process, and let the first one say what came of them."""
    torch.set_num_threads(1)
    told = []
    with together(torch.device("cpu")):
        processes = Processes()
        for job in todo:
            made = (trains if job.images else solves)(job, processes)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of Linux: in KiB
            told.append(processes.gathered({**made, "peak": peak}))
    if processes.writes:
        print(json.dumps(told))


@cache
def started(todo: tuple[Job, ...], ranks: int) -> dict[Job, list[dict[str, Any]]]:
    """Start the processes, and give what each of them has to say of each job."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] * (ranks > 1)
    command = [sys.executable, *torchrun, __file__, "--jobs", json.dumps([asdict(job) for job in todo])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(mgnet.__file__).parents[1])}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    if process.returncode:
        raise RuntimeError(process.stderr[-4000:])
    return dict(zip(todo, json.loads(process.stdout.splitlines()[-1]), strict=True))


def done(plan: Plan, job: Job, ranks: int) -> list[dict[str, Any]]:
    """Give what each process has to say of a job; with it are done all that need no start of their own."""
    ours = [tuple(dict.fromkeys([*jobs(plan).values(), *wider(plan, ranks).values()]))]
    ours += [(Job(images=plan.images),), (Job((plan.large,), "float32", 0),)]
    if plan != FULL:  # a start takes longer than all its jobs
        ours = [tuple(each for group in ours for each in group)]
    return next(started(group, ranks)[job] for group in ours if job in group)


# Measured


def jobs(plan: Plan) -> dict[str, Job]:
    return {
        "1-D": Job((plan.line,), "float64", plan.repeats),
        "2-D": Job((plan.plane,) * 2, "float64", plan.repeats),
        "3-D": Job((plan.space,) * 3, "float64", plan.repeats),
    }


def wider(plan: Plan, ranks: int) -> dict[str, Job]:
    """Return the problems in which each process has as many cells as the most have of those above."""
    share = {name: job.cells[0] // max(plan.ranks) for name, job in jobs(plan).items()}
    return {
        name: replace(job, cells=(share[name] * ranks, *job.cells[1:])) for name, job in jobs(plan).items()
    }


def cells(job: Job) -> str:
    return " x ".join(map(size, job.cells)) + f", {job.dtype}"


def strong(plan: Plan) -> Iterator[Row]:
    for name, job in jobs(plan).items():
        for ranks in plan.ranks:
            found, alone = done(plan, job, ranks)[0], done(plan, job, 1)[0]
            what = f"{name}, {cells(job)}, processes: {ranks}, iterations: {found['iterations']}"
            yield Row(what, 1e3 * found["seconds"], "{:.1f} ms")
            if ranks > 1:
                yield Row("    speed over one", alone["seconds"] / found["seconds"], "{:.2f}×")
                change = abs(found["most"] / alone["most"] - 1)
                yield Row("    change of the largest value", change, most=1e-8)
                yield Row(
                    "    iterations more or less",
                    abs(found["iterations"] - alone["iterations"]),
                    "{:.0f}",
                    most=1,
                )


def weak(plan: Plan) -> Iterator[Row]:
    for ranks in plan.ranks:
        for name, job in wider(plan, ranks).items():
            found, alone = done(plan, job, ranks)[0], done(plan, wider(plan, 1)[name], 1)[0]
            what = f"{name}, {cells(job)}, processes: {ranks}, iterations: {found['iterations']}"
            yield Row(what, 1e3 * found["seconds"], "{:.1f} ms")
            per = found["seconds"] / found["iterations"] / (alone["seconds"] / alone["iterations"])
            yield Row("    time of an iteration over that of one process", per, "{:.2f}×")


def messages(plan: Plan) -> Iterator[Row]:
    """Compare what a process sends in a solve, as a mean over all, with what the model says."""
    ranks = max(plan.ranks)
    for name, job in jobs(plan).items():
        told = done(plan, job, ranks)
        counts = sum((Counter(each["counts"]) for each in told), Counter())
        problem: Any = model.Line(job.cells[0], 0.0)
        if len(job.cells) > 1:
            problem = model.Boxes(job.cells, 0.0, 0.0, told[0]["iterations"], **rule())
        clocks = problem.simulated(ranks, model.Network())
        for kind in model.KINDS if len(job.cells) > 1 else ("gather",):
            for unit, expected in (("messages", clocks.calls), ("bytes", clocks.given)):
                what = f"{name}, {cells(job)}, processes: {ranks}, {model.KINDS[kind]}, {unit}"
                yield Row(what, counts[f"{kind} {unit}"] / ranks, "{:.0f}")
                yield Row("    by the model", expected[kind] / ranks, "{:.0f}")


def rule() -> dict[str, int]:
    """Return the rule by which grids are shared, as the package has it."""
    try:
        from mgnet.multigrid import halos, slabs
    except ImportError:
        return {}
    return {"least": slabs.SHARE, "small": slabs.WHOLE, "thick": halos.width_for((2, 2)) + slabs.APART}


# On paper


def line_on_paper(plan: Plan, n: int) -> model.Line:
    """Return a line with the speed of one process of this table."""
    alone = done(plan, jobs(plan)["1-D"], 1)[0]
    return model.Line(n, alone["seconds"] / plan.line, link_seconds())


def link_seconds(ranks: int = 1024) -> float:
    """Return the seconds that the chain of all shares takes, for each of them."""
    from mgnet.solver.slabs.line import Chain

    heads = torch.ones(ranks, 3, dtype=torch.float64) * torch.tensor([1.0, 0.0, 0.0])
    ends, times = torch.ones(ranks, 1, 2, dtype=torch.float64), []
    for _ in range(5):
        start = time.perf_counter()
        chain = Chain(heads, ("dirichlet", "dirichlet"))
        chain.solve(chain.loads(ends), 0.0, 0.0)
        times.append(time.perf_counter() - start)
    return min(times) / ranks


def box_on_paper(plan: Plan, name: str, large: tuple[int, ...], **how: int) -> model.Boxes:
    """Return a box with the speed of one process of this table: of its cycles, and of the rest."""
    job = jobs(plan)[name]
    alone, visit = done(plan, job, 1)[0], visit_seconds(job.cells)
    small = model.Boxes(job.cells, visit, 0.0, alone["iterations"])
    rest = max(alone["seconds"] - small.alone(), 0.0) / (alone["iterations"] * math.prod(job.cells))
    return model.Boxes(large, visit, rest, alone["iterations"], **how)


@cache
def visit_seconds(cells: tuple[int, ...]) -> float:
    """Return the seconds of a cycle in float32 for an unknown of a grid, each time it is visited."""
    problem = mgnet.Poisson(n=cells, dim=len(cells))
    hierarchy = mgnet.Hierarchy(problem, method="vcycle", dtype=torch.float32)
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    r = torch.randn(1, 1, *problem.shape)
    for _ in range(6):
        start = time.perf_counter()
        hierarchy.cycle(r)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return statistics.median(times[1:]) * (1 - 2.0 ** -len(cells)) / math.prod(cells)


MANY = (2, 16, 64, 256, 1024)
BEGINS = 0.1  # the share of a solve from which on coarse grids and messages are said to cost


def paper(plan: Plan) -> Iterator[Row]:
    network, whole = model.Network(), plan == FULL
    line = line_on_paper(plan, 2**30 if whole else 2**20)
    yield Row("1-D, ns for a cell, measured", 1e9 * line.cell, "{:.2f} ns")
    yield Row("    µs for a process in the chain of all, measured", 1e6 * line.link, "{:.2f} µs")
    for ranks in MANY:
        spent = line.formula(ranks, network)
        yield from efficiency(f"1-D, {size(line.n)}", ranks, line.alone(), spent, line, network)
    large = {"2-D": (16384,) * 2, "3-D": (1024,) * 3} if whole else {"2-D": (2048,) * 2, "3-D": (128,) * 3}
    for name, cells in large.items():
        box = box_on_paper(plan, name, cells, **rule())
        what = f"{name}, ns for an unknown whenever its grid is visited, measured"
        yield Row(what, 1e9 * box.visit, "{:.2f} ns")
        yield Row("    ns besides, in an iteration, measured", 1e9 * box.rest, "{:.2f} ns")
        title = f"{name}, {' x '.join(map(size, cells))}"
        yield from box_efficiencies(title, box, network)


def box_efficiencies(name: str, box: model.Boxes, network: model.Network) -> Iterator[Row]:
    begins = None
    for ranks in (r for r in MANY if box.cells[0] >= 2 * r):
        parts = box.formula(ranks, network)
        whole = sum(parts.values())
        rest = 1 - parts["fine"] / whole
        begins = ranks if begins is None and rest > BEGINS else begins
        what = f"{name}, shared grids: {box.shared(ranks)}"
        yield from efficiency(what, ranks, box.alone(), whole, box, network)
        yield Row("    share of coarse grids that all solve", 100 * parts["coarse"] / whole, "{:.1f} %")
        yield Row("    share of messages", 100 * (rest - parts["coarse"] / whole), "{:.1f} %")
    what = f"{name}: processes from which both together cost more than {BEGINS:.0%}"
    yield Row(what, begins, "{:.0f}", note="" if begins else "not up to there")


def efficiency(
    name: str, ranks: int, alone: float, formula: float, problem: Any, network: model.Network
) -> Iterator[Row]:
    yield Row(f"{name}, processes: {ranks}, efficiency", 100 * alone / ranks / formula, "{:.1f} %")
    simulated = problem.simulated(ranks, network).seconds
    yield Row("    seconds by the formula", formula, "{:.4f} s")
    yield Row("    simulated time over the formula's", simulated / formula, "{:.3f}", least=0.9, most=1.1)


# The largest line, and training


def large(plan: Plan) -> Iterator[Row]:
    n, ranks = plan.large, max(plan.ranks)
    what = f"{size(n)} cells in float32, processes: {ranks}"
    free = free_memory()
    if free < 14 * n:  # nine bytes for a cell, and what Python and torch take in each process
        yield Row(what, None, note=f"{free / GIB:.1f} GiB are free, of {14 * n / GIB:.0f} wanted")
        return
    told = done(plan, Job((n,), "float32", 0), ranks)
    yield Row(what, told[0]["seconds"], "{:.2f} s")
    error = abs(told[0]["most"] - 0.125) / 0.125
    yield Row("    error of the largest value, which is 1/8", error, most=1e-5)
    peaks = [each["peak"] for each in told]
    yield Row("    peak memory of all processes", sum(peaks) / GIB, "{:.2f} GiB")
    yield Row("    bytes for a cell, what Python and torch take included", sum(peaks) / n, "{:.1f}")


def training(plan: Plan) -> Iterator[Row]:
    told = {ranks: done(plan, Job(images=plan.images), ranks)[0] for ranks in (1, 2)}
    alone = told[1]["images_per_second"]
    for ranks, each in told.items():
        speed = each["images_per_second"]
        yield Row(f"ResNet-20, {128 * ranks} images a batch, processes: {ranks}", speed, "{:.0f} images/s")
        yield Row("    efficiency", 100 * speed / alone / ranks, "{:.0f} %")
    for ranks in (2, 4, 8, 16, 32, 64):
        step = 128 / alone
        whole = model.training(step, told[1]["gradients"], ranks, model.Network())
        what = f"on paper, {128 * ranks} images a batch, processes: {ranks}"
        yield Row(what, 128 * ranks / whole, "{:.0f} images/s")
        yield Row("    efficiency", 100 * step / whole, "{:.1f} %")


SECTIONS: tuple[Section, ...] = (
    ("Strong scaling", strong, True),
    ("Weak scaling: as many cells for each process", weak, True),
    ("Messages", messages, True),
    ("On paper: 10 µs, 10 GB/s", paper, False),
    ("The largest line: 2^30", large, True),
    ("Training: as many images for each process", training, True),
)


def facts(plan: Plan) -> dict[str, Any]:
    """Say what this table depends on besides the machine."""
    return {
        "processes": "one thread each; four share two cores",
        "timing": f"medians of {plan.repeats} solves",
    }


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--jobs":
        work([Job(**{**made, "cells": tuple(made["cells"])}) for made in json.loads(sys.argv[2])])
    else:
        packages = ("mgnet-companion", "torch", "numpy", "numba")
        main(__doc__, "several processes", SECTIONS, FULL, QUICK, facts, packages)
