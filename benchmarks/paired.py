"""One table: this checkout against another one, in turn: what a restructuring costs, or saves.

::

    git worktree add ../before COMMIT
    python benchmarks/paired.py --quick                   # against itself, for a check that all runs
    MGNET_BEFORE=../before python benchmarks/paired.py    # about 10 minutes on two cores

Each checkout has a process of its own for every case. They take turns, so that whatever else the machine does
meets both, and the median of the ratios counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from table import Row, Section, main

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """Turns of each case, the least seconds of a turn, and how many of the cases."""

    turns: int = 11
    seconds: float = 0.3
    cases: int | None = None


FULL, QUICK = Plan(), Plan(turns=1, seconds=0.0, cases=4)

# What is timed: set-up, and the call.
CASES: dict[str, tuple[str, str]] = {
    "interval, exact, 2^20 cells": ("f = np.ones(2**20 + 1)", "mgnet.solve(f, n=2**20)"),
    "interval, exact, 2^20 cells, float32": (
        "f = np.ones(2**20 + 1, np.float32)",
        "mgnet.solve(f, n=2**20, left=mgnet.Dirichlet(1.0))",
    ),
    "interval, exact, 64 cells": ("f = np.ones(65)", "mgnet.solve(f, n=64)"),
    "interval, exact, 64 cells, function": ("f = lambda x: np.sin(x)", "mgnet.solve(f, n=64)"),
    "interval, exact, 2^20 cells that differ": (
        "x = np.linspace(0, 1, 2**20 + 1) ** 2; f = np.ones(2**20 + 1)",
        "mgnet.solve(f, nodes=x)",
    ),
    "interval, vcycle, 2^16 cells": ("f = np.ones(2**16 + 1)", "mgnet.solve(f, n=2**16, method='vcycle')"),
    "interval, pcg, 2^16 cells that differ": (
        "a = 1 + np.random.default_rng(0).random(2**16); f = np.ones(2**16 + 1)",
        "mgnet.solve(f, n=2**16, a=a, method='pcg')",
    ),
    "interval, direct, 2^16 cells": ("f = np.ones(2**16 + 1)", "mgnet.solve(f, n=2**16, method='direct')"),
    "plane, auto, 32 x 32 cells": ("f = np.ones((33, 33))", "mgnet.solve(f, n=32, dim=2)"),
    "plane, auto, 256 x 256 cells": ("f = np.ones((257, 257))", "mgnet.solve(f, n=256, dim=2)"),
    "plane, auto, 1024 x 1024 cells": ("f = np.ones((1025, 1025))", "mgnet.solve(f, n=1024, dim=2)"),
    "plane, auto, 1024 x 1024 cells, float32": (
        "f = np.ones((1025, 1025), np.float32)",
        "mgnet.solve(f, n=1024, dim=2)",
    ),
    "plane, auto, 512 x 512 cells, values on the sides": (
        "f = np.ones((513, 513)); g = mgnet.Dirichlet(lambda x, y: x + y * y)",
        "mgnet.solve(f, n=512, dim=2, boundary=g)",
    ),
    "plane, auto, 256 x 256 cells that differ": (
        "a = 1 + np.random.default_rng(0).random((256, 256)); f = np.ones((257, 257))",
        "mgnet.solve(f, n=256, dim=2, a=a)",
    ),
    "plane, vcycle, 256 x 256 cells, function": (
        "f = lambda x, y: np.sin(x) * y",
        "mgnet.solve(f, n=256, dim=2, method='vcycle')",
    ),
    "space, auto, 64 x 64 x 64 cells": ("f = np.ones((65, 65, 65))", "mgnet.solve(f, n=64, dim=3)"),
    "plane, gradient by f and a, 64 x 64 cells": (
        "f = torch.ones(65, 65, dtype=torch.float64, requires_grad=True);"
        " a = torch.ones(64, 64, dtype=torch.float64, requires_grad=True)",
        "mgnet.solve(f, n=64, dim=2, a=a).u.sum().backward()",
    ),
    "hierarchy set up, 512 x 512 cells": ("", "mgnet.Hierarchy(mgnet.Poisson(n=512, dim=2)).levels"),
    "a step of ResNet-20, 64 images": (
        "d = mgnet.data.synthetic(train=64, validation=0, test=1); m = mgnet.models.create('resnet20')",
        "mgnet.fit(m, d, epochs=1, batch_size=64, progress=False)",
    ),
}

# Sets up, says the highest memory that one call takes, and then answers each line with the seconds of a call.
WORKER = """
import sys, time
import numpy as np, torch
import mgnet

prepare, call, least = sys.argv[1], compile(sys.argv[2], "case", "eval"), float(sys.argv[3])
names = {"np": np, "torch": torch, "mgnet": mgnet}
exec(prepare, names)

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

before = peak()
eval(call, names)
print(peak() - before, flush=True)
eval(call, names)
for line in sys.stdin:
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < least:
        eval(call, names)
        count += 1
    print((time.perf_counter() - start) / count, flush=True)
"""


def speed(plan: Plan) -> Iterator[Row]:
    """Time each case in both checkouts."""
    for case, code in list(CASES.items())[: plan.cases]:
        workers = [started(folder, code, plan) for folder in (before(), HERE)]
        for worker in workers:
            read(worker)
        pairs = [turn(workers, backwards=bool(i % 2)) for i in range(1 + plan.turns)][1:]
        stop(workers)
        yield Row(case, median(after / first for first, after in pairs), "{:.2f}×", most=1.05)
        yield Row("    before", 1e3 * median(first for first, _ in pairs), "{:.2f} ms")


def memory(plan: Plan) -> Iterator[Row]:
    """Compare the memory that the first call takes beyond what is there before."""
    for case, code in list(CASES.items())[: plan.cases]:
        found = []
        for folder in (before(), HERE):
            worker = started(folder, code, plan)
            found.append(read(worker) / 1024)
            stop([worker])
        yield Row(case, found[1] / max(found[0], 1.0), "{:.2f}×", most=1.05)
        yield Row("    before", found[0], "{:.0f} MiB")


def before() -> Path:
    """Give the other checkout: this one, where none is named."""
    return Path(os.environ.get("MGNET_BEFORE", HERE)).resolve()


def started(folder: Path, code: tuple[str, str], plan: Plan) -> subprocess.Popen[str]:
    """Start a process that has the package of a checkout."""
    argv = [sys.executable, "-c", WORKER, *code, str(plan.seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(
        argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, text=True, **pipes
    )


def turn(workers: list[subprocess.Popen[str]], backwards: bool) -> list[float]:
    """Let both work once, in either order."""
    seconds = [0.0] * len(workers)
    for i in reversed(range(len(workers))) if backwards else range(len(workers)):
        stdin = workers[i].stdin
        assert stdin is not None
        print(file=stdin, flush=True)
        seconds[i] = read(workers[i])
    return seconds


def read(worker: subprocess.Popen[str]) -> float:
    assert worker.stdout is not None
    return float(worker.stdout.readline())


def stop(workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        worker.kill()
        worker.communicate()


SECTIONS: tuple[Section, ...] = (("Speed", speed, True), ("Memory", memory, True))


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {
        "timing": f"median ratio of {plan.turns} turns of at least {plan.seconds} s each, one after the other"
    }


if __name__ == "__main__":
    main(
        __doc__,
        "after a restructuring over before",
        SECTIONS,
        FULL,
        QUICK,
        facts,
        ("mgnet-companion", "torch", "numpy", "scipy"),
    )
