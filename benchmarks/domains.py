"""One table: how many cycles what people bring takes: domains made of cells, tensors, stretched grids.

::

    make bench-domains                            # the whole table, about 3 minutes on two cores
    python benchmarks/domains.py --quick          # small sizes, for a check that all runs
    python benchmarks/domains.py --only tensor    # the sections with that in their title

Cycles of ``method="auto"`` to a tolerance of 1e-10, for a load that is random in each cell; ``inf``
where it is not reached. A row has the most cycles of those that are set in below it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from table import Row, Section, main

import mgnet

Shape = tuple[str, Callable[[int], np.ndarray], int]
TOL = 1e-10
# Most cycles that were asked for, by number of dimensions.
MOST = {2: 20, 3: 30}


@dataclass(frozen=True)
class Plan:
    """Numbers of cells along each axis, and ratios of coefficients and of widths."""

    domains: tuple[int, ...] = (64, 128, 256, 512, 1024)
    plane: int = 256
    space: int = 32
    ratios: tuple[float, ...] = (1e-4, 1e-2, 1e2, 1e4)
    widths: tuple[float, ...] = (1e1, 1e2, 1e3, 1e4)


FULL = Plan()
QUICK = Plan((16, 32), 32, 8, (1e-2, 1e2), (1e2,))


def cycles(size: tuple[int, ...], **problem: Any) -> float:
    """Count the cycles that a random load takes."""
    f, n = np.random.default_rng(0).standard_normal(size), None if "nodes" in problem else size
    sol = mgnet.solve(f, n, dim=len(size), compatible="project", tol=TOL, throw=False, **problem)
    return sol.iterations if sol.status is mgnet.Status.CONVERGED else math.inf


def most(what: str, found: Iterable[tuple[str, float]], dim: int = 2, required: bool = True) -> Iterator[Row]:
    """Give the most cycles in a row, and those of each case in one below."""
    cases = list(found)
    bound = MOST[dim] if required else None
    yield Row(f"{what}: most cycles", max(count for _, count in cases), "{:.0f}", most=bound)
    for name, count in cases:
        yield Row(f"    {name}", count, "{:.0f}")


# Domains made of cells


def disc(n: int) -> np.ndarray:
    middle = (np.arange(n) + 0.5) / n - 0.5
    return middle[:, None] ** 2 + middle**2 < 0.25


def l_shape(n: int) -> np.ndarray:
    cells = np.ones((n, n), bool)
    cells[n // 2 :, n // 2 :] = False
    return cells


def holes(n: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, n)) < 0.9


def comb(n: int, tooth: int) -> np.ndarray:
    """Give teeth of so many cells with slits of one cell between them, from a spine at the top."""
    cells = np.ones((n, n), bool)
    cells[tooth :: tooth + 1, : -max(1, n // 16)] = False
    return cells


# With the number of cells up to which each is solved.
SHAPES: tuple[Shape, ...] = (
    ("disc", disc, 1024),
    ("L", l_shape, 1024),
    ("holes, 10 % of the cells", holes, 1024),
    ("comb, teeth of 7 cells", lambda n: comb(n, 7), 1024),
    ("comb, teeth of 1 cell", lambda n: comb(n, 1), 1024),
)


def border(cells: np.ndarray) -> np.ndarray:
    """Mark the nodes that touch both a cell of the domain and what is none."""
    beyond = np.pad(cells, 1)
    shape = [n + 1 for n in cells.shape]
    corners = [
        beyond[tuple(slice(i, i + n) for i, n in zip(low, shape, strict=True))]
        for low in itertools.product((0, 1), repeat=cells.ndim)
    ]
    return np.logical_or.reduce(corners) & ~np.logical_and.reduce(corners)


def held(cells: np.ndarray) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the ways in which a domain is held."""
    natural = {"boundary": mgnet.Neumann()}
    node = np.zeros([n + 1 for n in cells.shape], bool)
    node[tuple(np.argwhere(cells)[0])] = True
    yield "sides held", {}
    yield "border held", {**natural, "fixed": (border(cells), 0.0)}
    yield "one node held", {**natural, "fixed": (node, 0.0)}
    yield "nothing held", natural


def domains(plan: Plan) -> Iterator[Row]:
    for name, shape, largest in SHAPES:
        for i, (how, _) in enumerate(held(shape(8))):
            sizes = [n for n in plan.domains if n <= largest]
            yield from most(f"{name}, {how}", (of_domain(n, shape, i) for n in sizes))


def of_domain(n: int, shape: Callable[[int], np.ndarray], i: int) -> tuple[str, float]:
    cells = shape(n)
    _, options = list(held(cells))[i]
    return f"{n} x {n}", cycles(cells.shape, cells=cells, **options)


# Tensors, and stretched grids


def tensors(plan: Plan) -> Iterator[Row]:
    """Count cycles for all combinations of coefficients 1 and a ratio, and for some that are random."""
    for dim, n in ((2, plan.plane), (3, plan.space)):
        for strong in range(1, dim):
            found = (
                (f"ratio {ratio:g}", cycles((n,) * dim, a=(ratio,) * strong + (1.0,) * (dim - strong)))
                for ratio in plan.ratios
            )
            yield from most(f"{dim}-D, {n} cells, {strong} of {dim} axes another a", found, dim)
        rng = np.random.default_rng(0)
        a = tuple(10 ** rng.uniform(-2, 2, (n,) * dim) for _ in range(dim))
        random = [("1e-2 to 1e2", cycles((n,) * dim, a=a))]
        yield from most(f"{dim}-D, {n} cells, random in each cell and along each axis", random, dim, False)


def geometric(n: int, ratio: float) -> np.ndarray:
    """Give nodes of (0, 1) between cells that widen by one factor, the last ``ratio`` times the first."""
    widths = ratio ** (np.arange(n) / (n - 1))
    return np.concatenate(([0.0], np.cumsum(widths))) / widths.sum()


def stretched(plan: Plan) -> Iterator[Row]:
    for dim, n in ((2, plan.plane), (3, plan.space)):
        equal = np.linspace(0, 1, n + 1)
        for count in range(1, dim + 1):
            found = (
                (
                    f"widths 1 to {ratio:g}",
                    cycles((n,) * dim, nodes=(geometric(n, ratio),) * count + (equal,) * (dim - count)),
                )
                for ratio in plan.widths
            )
            yield from most(f"{dim}-D, {n} cells, {count} of {dim} axes geometric", found, dim)


# The table

SECTIONS: tuple[Section, ...] = (
    ("Domains made of cells", domains, True),
    ("A diagonal tensor", tensors, True),
    ("Stretched grids", stretched, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine, on which it hardly does."""
    return {"tolerance": f"{TOL:g}, estimated, relative to the largest nodal value"}


if __name__ == "__main__":
    names = ("mgnet-companion", "torch", "numpy", "scipy", "numba")
    main(__doc__, "cycles for what people bring", SECTIONS, FULL, QUICK, facts, names)
