"""One table: what compiled loops are required to do on a CPU, beside a peer and beside a copy of the load.

::

    make bench-loops                              # the whole table, about 6 minutes on two cores
    python benchmarks/loops.py --quick            # small sizes, for a check that all runs
    python benchmarks/loops.py --only sine        # the sections with that in their title

The calls of a section take turns (peer, mgnet, copy, peer, ...), so that whatever else the machine does meets
them all; each counts with its median. A turn of a short call is several of it, after two that warm up: one
alone would tell what the call of another left in caches and of free memory.
What a peer can set up before, the eigenvalues of the sine transform, is off the clock, as the grids of a
``Hierarchy`` are. Answers are compared too: a fast one that is wrong is worth nothing.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import scipy.fft
from command import NEIGHBOUR, process
from poisson1d import FLOATS, LAPACK, Tridiagonal, many
from poisson2d import (
    axis_eigenvalues,
    constant_matrix,
    deviation,
    jumping,
    memory,
    outer,
    pyamg_rows,
    random_load,
    reference_solution,
    refined,
    unknowns,
    varying_matrix,
)
from table import Call, Row, Section, main, medians, nothing, size, timed

import mgnet

TOL = 1e-8


@dataclass(frozen=True)
class Plan:
    """Repetitions, and numbers of cells along an axis."""

    seconds: float = 2.0  # of a call's turns, all together
    rounds: int = 15
    small_rounds: int = 500
    pyamg_rounds: int = 3
    sine: tuple[tuple[int, int], ...] = ((2, 256), (2, 1024), (2, 2048), (3, 128))
    pyamg: int = 1024
    varying: int = 512
    lapack: tuple[int, ...] = (2**20, 2**24)
    batch: int = 1024
    memory: int = 2048
    starts: int = 7
    first: int = 3
    kinds: int | None = None  # of first solves
    solved: int = 256
    busy: tuple[tuple[int, int], ...] = ((1, 2**20), (2, 256), (2, 1024), (3, 64))
    cycles: tuple[tuple[int, int, int], ...] = ((2, 500, 20), (3, 64, 30))


FULL = Plan()
QUICK = Plan(
    seconds=0.0,
    rounds=1,
    small_rounds=10,
    pyamg_rounds=1,
    sine=((2, 32), (3, 12)),
    pyamg=32,
    varying=32,
    lapack=(2**12,),
    batch=16,
    memory=512,
    starts=1,
    first=1,
    kinds=1,
    solved=16,
    busy=((1, 2**10), (2, 16)),
    cycles=((2, 32, 20), (3, 12, 30)),
)


# Calls that take less seconds are short; how many of them a turn counts.
SHORT, BLOCK = 0.03, 5


def turns(plan: Plan, *calls: Call, least: int = 9) -> list[float]:
    """Give the median seconds of calls that take turns, for about so many seconds of the longest."""
    if not plan.seconds:
        return medians(calls, 2, block=1)
    # The first call of all may load what is compiled.
    longest = max(min(timed(call, nothing) for _ in range(2)) for call in calls)
    block = BLOCK if longest < SHORT else 1
    return medians(calls, max(least * block, min(500, int(plan.seconds / longest))), block=block)


def copying(b: np.ndarray) -> Call:
    """Copy the load into memory that is there."""
    return partial(np.copyto, np.empty_like(b), b)


# The sine transform

# Title and size: what is required of SciPy's time over ours, and the target, with one worker and with two.
SINE = {
    (2, 256): ((0.5, "1"), (0.5, "1")),
    (2, 1024): ((1.5, "3"), (1.0, "1.7")),
    (2, 2048): ((1.2, "2.5"), (0.9, "1.5")),
    (3, 128): ((1.0, "2"), (0.7, "1.3")),
}


def eigenvalues(n: int, dim: int) -> np.ndarray:
    """Give those of the operator of equal cells, one for each product of sines."""
    K, M = axis_eigenvalues(n, np.float64)
    return sum(outer([K if i == axis else M for i in range(dim)]) for axis in range(dim))


def sine_transform(b: np.ndarray, values: np.ndarray, workers: int = 1) -> np.ndarray:
    """Solve by SciPy's sine transform, forth and back."""
    found = scipy.fft.dstn(b, type=1, workers=workers)
    np.divide(found, values, out=found)
    return scipy.fft.idstn(found, type=1, workers=workers, overwrite_x=True)


def against_sine(plan: Plan) -> Iterator[Row]:
    for dim, n in plan.sine:
        b, values = random_load(n, dim), eigenvalues(n, dim)
        ours = partial(mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim)).solve, b, tol=TOL)
        peers = [partial(sine_transform, b, values, workers) for workers in (1, 2)]
        *theirs, mine, copy = turns(plan, *peers, ours, copying(b))
        bounds = SINE.get((dim, n), ((None, ""), (None, "")))
        for workers, (least, target), time in zip(("1 worker", "2 workers"), bounds, theirs, strict=True):
            what = f"sine transform, {workers}, over a reused Hierarchy, {dim}-D, n = {n}"
            yield Row(what, time / mine, "{:.2f}×", least=least, target=target)
        yield Row("    a reused Hierarchy over a copy of the load", mine / copy, "{:.1f}×")
        yield Row("    its time", 1e3 * mine, "{:.2f} ms")
        found = deviation(unknowns(ours()), sine_transform(b, values))
        yield Row(f"    its largest difference from the sine transform, tol = {TOL:g}", found, most=TOL)


def against_pyamg(plan: Plan) -> Iterator[Row]:
    n = plan.pyamg
    what = f"PyAMG Ruge-Stüben, set up and solved, over solve(b=b), 2-D, n = {n}"
    b, matrix = random_load(n, 2), partial(constant_matrix, n, 2)
    yield from pyamg_rows(what, plan, b, {}, matrix, reference_solution, 60, "150")


def varying(plan: Plan) -> Iterator[Row]:
    """Solve with a coefficient that no transform takes, beside the transform of that size."""
    n = plan.varying
    b, values = random_load(n, 2), eigenvalues(n, 2)
    a = 10 ** np.random.default_rng(n).uniform(-1, 1, (n, n))
    reused = partial(mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2, a=a)).solve, b, tol=TOL)
    whole = partial(mgnet.solve, b=b, n=n, dim=2, a=a, tol=TOL)
    sine, mine, all_of_it, copy = turns(
        plan, partial(sine_transform, b, values), reused, whole, copying(b), least=5
    )
    what = f"over the sine transform, n = {n}, a per cell over two decades"
    yield Row(f"a reused Hierarchy {what}", mine / sine, "{:.2f}×", most=3, target="1.5")
    yield Row(f"solve(b=b, a=a) {what}", all_of_it / sine, "{:.2f}×", most=8, target="4")
    yield Row("    a reused Hierarchy over a copy of the load", mine / copy, "{:.1f}×")
    yield Row("    its time", 1e3 * mine, "{:.2f} ms")
    sol = reused()
    yield Row("    its cycles", sol.iterations, "{:.0f}")
    found = deviation(unknowns(sol), refined(varying_matrix(a), b))
    yield Row(f"    its largest error, tol = {TOL:g}", found, most=TOL)


# LAPACK, and a copy

# Size and precision: what is required of LAPACK's time over ours, and the target.
REQUIRED = {
    (2**20, np.float64): (9, "14"),
    (2**20, np.float32): (11, "20"),
    (2**24, np.float64): (10, "13"),
    (2**24, np.float32): (16, "25"),
}


def against_lapack(plan: Plan) -> Iterator[Row]:
    for n, dtype in itertools.product(plan.lapack, FLOATS):
        system, name = Tridiagonal(n, dtype), np.dtype(dtype).name
        whole = partial(mgnet.solve, b=system.b, n=n, dtype=dtype)
        reused = partial(mgnet.Hierarchy(mgnet.Poisson(n=n), dtype=dtype).solve, system.b)
        calls = system.solve, whole, reused, copying(system.b), system.b.copy
        lapack, all_of_it, mine, copy, fresh = turns(plan, *calls)
        least, target = REQUIRED.get((n, dtype), (None, ""))
        what = f"{LAPACK[dtype]} over solve(b=b), n = {size(n)}, {name}"
        yield Row(what, lapack / all_of_it, "{:.2f}×", least=least, target=target)
        yield Row("    over a reused Hierarchy", lapack / mine, "{:.2f}×")
        bounds: dict[str, Any] = {"most": 3, "target": "2"} if n == 2**24 else {}
        what = f"a reused Hierarchy over a copy of the load, n = {size(n)}, {name}"
        yield Row(what, mine / copy, "{:.2f}×", **bounds)
        yield Row("    over a copy in fresh memory, which the answer has too", mine / fresh, "{:.2f}×")
        yield Row("    its time", 1e3 * mine, "{:.2f} ms")


def small(plan: Plan, n: int = 1024) -> Iterator[Row]:
    """Compare what a call costs whose arithmetic costs little."""
    system, hierarchy = Tridiagonal(n, np.float64), mgnet.Hierarchy(mgnet.Poisson(n=n))
    calls = system.solve, partial(hierarchy.solve, system.b), partial(mgnet.solve, b=system.b, n=n)
    lapack, reused, whole = medians(calls, plan.small_rounds)
    yield Row(f"a reused Hierarchy over dptsv, n = {n}", reused / lapack, "{:.1f}×", most=4)
    yield Row(f"solve(b=b) over dptsv, n = {n}", whole / lapack, "{:.1f}×", most=12)
    yield Row("    the time of dptsv", 1e6 * lapack, "{:.1f} µs")


# Start

SOLVE = "import mgnet; mgnet.solve(1.0, n=int(sys.argv[1]), dim={dim}{more})"
FIRST = "import sys, time, numpy as np, mgnet\nmgnet.solve\nstart = time.perf_counter()\n"
KINDS: dict[str, tuple[str, str, float | None]] = {
    "1-D": ("1", "", 4),
    "2-D": ("2", "", 10),
    "2-D, a per cell": ("2", ", a=np.ones((int(sys.argv[1]),) * 2)", None),
    "3-D": ("3", "", None),
}


def child(script: str, *arguments: object, cache: str | None = None) -> str:
    """Run a script in a process of its own; give what it prints."""
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cache else {})}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"check": True, "capture_output": True, "text": True}
    return subprocess.run(command, env=environment, **pipes).stdout


def start(plan: Plan) -> Iterator[Row]:
    """Time whole processes, the loops compiled before."""
    solves = {dim: "import sys; " + SOLVE.format(dim=dim, more="") for dim in (1, 2)}
    calls = [partial(child, "import torch"), *(partial(child, solves[dim], plan.solved) for dim in (1, 2))]
    bare, line, plane = turns(plan, *calls, least=plan.starts)
    what = "a process that solves once over one that only imports torch"
    yield Row(f"{what}, 2-D, n = {plan.solved}", plane - bare, "{:.2f} s more", most=0.8, target="0.4")
    yield Row(f"{what}, 1-D, n = {plan.solved}", line - bare, "{:.2f} s more")
    yield Row("    one that only imports torch", bare, "{:.2f} s")


def first(plan: Plan) -> Iterator[Row]:
    """Time the first solve ever, which compiles; the packages are imported before."""
    for kind, (dim, more, most) in itertools.islice(KINDS.items(), plan.kinds):
        solve = SOLVE.format(dim=dim, more=more)
        script = f"{FIRST}{solve}\nprint(time.perf_counter() - start)"
        seconds = []
        for _ in range(plan.first):
            with tempfile.TemporaryDirectory() as cache:
                seconds.append(float(child(script, plan.solved if dim != "3" else 16, cache=cache)))
        yield Row(f"the first solve ever, {kind}", median(seconds), "{:.1f} s", most=most)


# Neighbours


def neighbours(plan: Plan) -> Iterator[Row]:
    """Time solves beside one endless loop for each processor; nothing is said to OpenMP."""
    for dim, n in plan.busy:
        call = partial(mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim)).solve, random_load(n, dim))
        (quiet,) = turns(plan, call)
        with ExitStack() as stack:
            for _ in range(os.cpu_count() or 1):
                stack.enter_context(process(NEIGHBOUR, 0))
            (busy,) = turns(plan, call)
        yield Row(f"both processors busy over quiet, {dim}-D, n = {size(n)}", busy / quiet, "{:.1f}×", most=5)
        yield Row("    quiet", 1e3 * quiet, "{:.2f} ms")
        yield Row("    busy", 1e3 * busy, "{:.2f} ms")


# Cycles


def hard_cases(n: int, dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give problems in which couplings differ by 1e3 between axes, or from cell to cell."""
    for name, a in jumping(n, dim):
        if not name.startswith("inclusions"):
            yield name, {"a": a}
    yield "cells 1e3 times as long as wide", {"domain": [(0.0, 1.0)] * (dim - 1) + [(0.0, 1e3)]}


def cycles(plan: Plan) -> Iterator[Row]:
    for dim, n, most in plan.cycles:
        for name, more in hard_cases(n, dim):
            sol = mgnet.solve(b=random_load(n, dim), n=n, dim=dim, throw=False, **more)
            converged = sol.iterations if sol.status is mgnet.Status.CONVERGED else np.inf
            yield Row(f"{name}, {dim}-D, n = {n}, cycles to 1e-10", converged, "{:.0f}", most=most)


# The table

SECTIONS: tuple[Section, ...] = (
    ("Against the sine transform", against_sine, True),
    ("Against PyAMG", against_pyamg, True),
    ("A coefficient per cell, against the sine transform", varying, True),
    ("Against LAPACK", against_lapack, True),
    ("Many right-hand sides", many, True),
    ("One small problem", small, True),
    ("Memory", memory, True),
    ("Start", start, True),
    ("The first solve ever", first, True),
    ("Neighbours", neighbours, True),
    ("Cycles", cycles, False),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {
        "timing": f"medians of turns, at least 9 and about {plan.seconds:g} s of each call; below"
        f" {1000 * SHORT:g} ms each turn is {BLOCK} calls, behind two that warm up",
        "precision": "float64 where nothing is said; loads are random",
    }


if __name__ == "__main__":
    names = ("mgnet-companion", "torch", "numpy", "scipy", "numba", "pyamg")
    main(__doc__, "compiled loops beside peers and copies", SECTIONS, FULL, QUICK, facts, names)
