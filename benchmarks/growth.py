"""One table: how time and memory grow with the number of unknowns, and what the memory lets through.

::

    make bench-growth                             # the whole table, about 5 minutes on two cores
    python benchmarks/growth.py --quick           # small sizes, for a check that all runs
    python benchmarks/growth.py --only time       # the sections with that in their title

Nothing here is required. The book draws its pictures from the committed run: how cost grows, and the roofline
of a cycle. Times are medians, float64 to a tolerance of 1e-8 where a method has one; an exponent is the slope
between the logarithms of unknowns and cost, over the four largest sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse.linalg as spla
import torch
from loops import TOL, eigenvalues, sine_transform
from poisson1d import Tridiagonal
from poisson2d import constant_matrix, random_load
from table import Call, Row, Section, in_child, main, nothing, pyamg_solve, size, timed

import mgnet
from mgnet.operators import loops as door

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Seconds for a time, and numbers of cells along an axis."""

    seconds: float = 0.5
    line: Sizes = tuple(2**k for k in range(6, 25, 3))
    plane: Sizes = (16, 32, 64, 128, 256, 512, 1024, 2048)
    space: Sizes = (8, 16, 32, 64, 128)
    most_lu: tuple[int, int] = (512, 32)
    most_pyamg: tuple[int, int] = (1024, 64)
    memory: dict[int, Sizes] | None = None
    passes: Sizes = tuple(2**k for k in range(8, 27, 2))
    cycles: Sizes = (64, 128, 256, 512, 1024, 2048)
    product: int = 2048


FULL = Plan()
QUICK = Plan(0.0, (64, 512), (16, 32), (4, 8), (32, 8), (32, 8), {1: (2**16,), 2: (128,)}, (256,), (64,), 64)
MEMORY = {1: (2**18, 2**20, 2**22, 2**24), 2: (128, 256, 512, 1024, 2048), 3: (16, 32, 64, 128)}


def seconds(plan: Plan, call: Call) -> float:
    """Give the median of calls for about so many seconds, the first of all not counted."""
    first, *found = (timed(call, nothing) for _ in range(1 + bool(plan.seconds)))
    if found:
        found += (timed(call, nothing) for _ in range(min(1000, int(plan.seconds / found[0]))))
    return median(found or [first])


# How time grows


def line_calls(n: int) -> Iterator[tuple[str, Call]]:
    system = Tridiagonal(n, np.float64)
    yield "1-D, exact, reused", partial(mgnet.Hierarchy(mgnet.Poisson(n=n)).solve, system.b)
    yield "1-D, exact, set up and solved", partial(mgnet.solve, b=system.b, n=n)
    yield "1-D, LAPACK dptsv", system.solve


def box_calls(plan: Plan, dim: int, n: int) -> Iterator[tuple[str, Call]]:
    b = random_load(n, dim)
    problem = mgnet.Poisson(n=n, dim=dim)
    yield f"{dim}-D, multigrid, reused", partial(mgnet.Hierarchy(problem).solve, b, tol=TOL)
    yield f"{dim}-D, multigrid, set up and solved", partial(mgnet.solve, b=b, n=n, dim=dim, tol=TOL)
    yield f"{dim}-D, sine transform", partial(sine_transform, b, eigenvalues(n, dim))
    A = constant_matrix(n, dim) if n <= max(plan.most_lu[dim - 2], plan.most_pyamg[dim - 2]) else None
    if n <= plan.most_lu[dim - 2]:
        yield f"{dim}-D, SciPy's sparse LU", partial(sparse_lu, A, b.ravel())
    if n <= plan.most_pyamg[dim - 2] and pyamg() is not None:
        yield f"{dim}-D, PyAMG Ruge-Stüben", partial(pyamg_solve, pyamg(), A, b.ravel())


def pyamg() -> Any:
    try:
        import pyamg
    except ImportError:
        return None
    return pyamg


def sparse_lu(A: Any, b: np.ndarray) -> np.ndarray:
    """Factor with the ordering that suits a symmetric matrix, and solve."""
    options = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
    return spla.splu(A.tocsc(), **options).solve(b)


def times(plan: Plan) -> Iterator[Row]:
    found: dict[str, list[tuple[int, float]]] = {}
    for dim, sizes in enumerate((plan.line, plan.plane, plan.space), 1):
        for n in sizes:
            for name, call in line_calls(n) if dim == 1 else box_calls(plan, dim, n):
                found.setdefault(name, []).append(((n - 1) ** dim, seconds(plan, call)))
    yield from grown(found, 1e3, "{:.4g} ms")


def grown(found: dict[str, list[tuple[int, float]]], unit: float, form: str) -> Iterator[Row]:
    """Give the exponent of each method, and its figures."""
    for name, pairs in found.items():
        yield Row(f"{name}, its exponent", exponent(pairs), "{:.2f}")
        for unknowns, cost in pairs:
            yield Row(f"    {unknowns} unknowns", unit * cost, form)


def exponent(pairs: list[tuple[int, float]]) -> float | None:
    """Fit cost = C unknowns^p over the four largest sizes."""
    largest = np.log([pair for pair in pairs if pair[1] > 0][-4:])
    return float(np.polyfit(*largest.T, 1)[0]) if len(largest) > 1 else None


# How memory grows

SOLVE = """
name, dim, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, sys.argv[4])
import growth

def calls(n):
    each = growth.line_calls(n) if dim == 1 else growth.box_calls(growth.FULL, dim, n)
    return next(call for found, call in each if found == name)

calls(16)()
call = calls(n)
# What was needed to set up no longer counts for the peak.
open("/proc/self/clear_refs", "w").write("5")
before = peak()
call()
print(peak() - before)
"""
OWN = ("exact, reused", "LAPACK dptsv", "multigrid, reused", "sine transform", "SciPy's sparse LU")


def memory(plan: Plan) -> Iterator[Row]:
    """Give what a solve takes beyond its load and what is set up, at its peak, in a process of its own."""
    found: dict[str, list[tuple[int, float]]] = {}
    for dim, sizes in (plan.memory or MEMORY).items():
        for n in sizes:
            for name in OWN[:2] if dim == 1 else OWN[2:]:
                if "LU" in name and n > plan.most_lu[dim - 2]:
                    continue
                taken = in_child(SOLVE, f"{dim}-D, {name}", dim, n, __file__.rpartition("/")[0] or ".")
                if taken and taken > 4 * (n - 1) ** dim:  # less cannot be told from what was there
                    found.setdefault(f"{dim}-D, {name}", []).append(((n - 1) ** dim, taken))
    yield from grown(found, 2**-20, "{:.4g} MiB")


# Roofline


def threads(count: int, call: Call) -> Call:
    """Call with so many of torch's threads."""

    def limited() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            call()
        finally:
            torch.set_num_threads(before)

    return limited


def passes(plan: Plan) -> Iterator[Row]:
    """Time a copy of more and more numbers, by one thread."""
    for count in plan.passes:
        x = torch.ones(count)
        y = torch.empty_like(x)
        taken = seconds(plan, threads(1, partial(copies, y, x, max(1, 2**14 // count))))
        each = taken / max(1, 2**14 // count)
        yield Row(f"copy of {size(count)} numbers in float32, per number", 1e9 * each / count, "{:.3f} ns")


def copies(y: torch.Tensor, x: torch.Tensor, count: int) -> None:
    for _ in range(count):
        y.copy_(x)


def roofs(plan: Plan) -> Iterator[Row]:
    """Time the largest copy and a product of matrices: what memory and arithmetic allow at most."""
    n, count = plan.product, max(plan.passes)
    x, A = torch.ones(count), torch.ones(n, n)
    y, B = torch.empty_like(x), torch.empty_like(A)
    for workers, name in ((1, "one thread"), (2, "two threads")):
        of_copy = seconds(plan, threads(workers, partial(y.copy_, x)))
        yield Row(f"memory, {name}, read and written by a copy", 8e-9 * count / of_copy, "{:.2f} GB/s")
        of_product = seconds(plan, threads(workers, partial(torch.mm, A, A, out=B)))
        yield Row(f"arithmetic, {name}, product of matrices", 2e-9 * n**3 / of_product, "{:.1f} GFlop/s")


def roofline(plan: Plan) -> Iterator[Row]:
    """Time a cycle in float32, by compiled loops and by torch, which makes a pass of every operation."""
    yield from roofs(plan)
    ways: dict[str, Callable[[], Any]] = {"compiled": nullcontext, "torch": door.without}
    for n in plan.cycles:
        hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", dtype=torch.float32)
        b = torch.from_numpy(random_load(n, 2)).float()[None, None]
        for name, way in ways.items():
            for workers in (1, 2):
                with way():
                    taken = seconds(plan, threads(workers, partial(hierarchy.cycle, b)))
                what = f"V(2,2) cycle, n = {n}, {name}, {workers} thread{'s' * (workers > 1)}"
                yield Row(what, 1e3 * taken, "{:.3f} ms")


# The table

SECTIONS: tuple[Section, ...] = (
    ("How time grows", times, True),
    ("How memory grows", memory, True),
    ("Passes over memory", passes, True),
    ("Roofline of a cycle", roofline, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {
        "timing": f"medians of calls for about {plan.seconds:g} s each",
        "precision": "float64; passes and cycles in float32",
    }


if __name__ == "__main__":
    names = ("mgnet-companion", "torch", "numpy", "scipy", "numba", "pyamg")
    main(__doc__, "how cost grows", SECTIONS, FULL, QUICK, facts, names)
