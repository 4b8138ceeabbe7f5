"""The measured figures about two and three dimensions: ``python docs/figures/boxes.py`` prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch

import mgnet
from mgnet.operators import boxes as box
from mgnet.operators import entries
from mgnet.operators.cells import CellStiffness
from mgnet.operators.interpolation import NodeProlongation


def factor(n: Any, dim: int = 2, **options: Any) -> float:
    """Give the mean factor of the last five V-cycles that take a random error to zero."""
    problem = mgnet.Poisson(dim=dim, n=n)
    error = np.random.default_rng(0).standard_normal([k - 1 for k in problem.cells])
    hierarchy = mgnet.Hierarchy(problem, method="vcycle", **options)
    sol = hierarchy.solve(np.zeros(problem.shape), x0=np.pad(error, 1), tol=0.0, throw=False)
    return (sol.residuals[-1] / sol.residuals[-6]) ** 0.2


def smoothers() -> None:
    """Compare the smoothers."""
    print("factor of a V-cycle   128 x 128   32 x 32 x 32")
    for name in ("jacobi", "chebyshev", "red-black"):
        print(f"  {name:<20} {factor(128, smoother=name):9.3f} {factor(32, 3, smoother=name):14.3f}")


def wide_cells() -> None:
    """Compare semi-coarsening with the coarsening of all axes at once."""
    print("cells in the unit square   narrow axes first   all axes at once")
    for n in ((128, 128), (128, 64), (128, 32), (256, 8)):
        semi = factor(n)
        with mock.patch.object(box, "WIDEST", math.inf):
            print(f"  {f'{n[0]} x {n[1]}':<24} {semi:18.3f} {factor(n):18.3f}")


def islands(jump: float, n: int = 128, count: int = 30) -> np.ndarray:
    """Give a coefficient of 1 with rectangles of up to 8 x 8 cells where it is something else."""
    rng, a = np.random.default_rng(0), np.ones((n, n))
    for _ in range(count):
        (i, j), (p, q) = rng.integers(0, n - 8, 2), rng.integers(1, 9, 2)
        a[i : i + p, j : j + q] = jump
    return a


def hats(A: Any, chosen: Sequence[bool]) -> NodeProlongation:
    """Interpolate as the operator with a = 1 dictates, which is linearly."""
    ones = torch.ones(A.box.cells, dtype=torch.float64)
    return NodeProlongation(CellStiffness(A.box, ones), chosen)


def cycles(a: np.ndarray, method: str) -> str:
    """Say after how many cycles a random load is solved for."""
    problem = mgnet.Poisson(dim=2, n=a.shape, a=a)
    load = np.random.default_rng(1).standard_normal(problem.shape)
    sol = mgnet.Hierarchy(problem, method=method).solve(load, throw=False)
    return str(sol.iterations) if sol.status is mgnet.Status.CONVERGED else sol.status.name.lower()


def jumps() -> None:
    """Count cycles where a jumps, with the interpolation of the hats and with that of the operator."""
    random = 10 ** np.random.default_rng(2).uniform(-3, 3, (128, 128))
    kinds = {"1": np.ones((128, 128)), "30 islands of 1e3": islands(1e3), "30 islands of 1e6": islands(1e6)}
    print(f"{'a':<24}{'hats: vcycle':>14}{'pcg':>12}{'operator: vcycle':>20}{'pcg':>12}{'auto':>8}")
    for name, a in {**kinds, "1e-3 to 1e3 per cell": random}.items():
        with mock.patch.object(entries, "NodeProlongation", hats):
            linear = [cycles(a, method) for method in ("vcycle", "pcg")]
        own = [cycles(a, method) for method in ("vcycle", "pcg", "auto")]
        print(f"  {name:<22}{linear[0]:>14}{linear[1]:>12}{own[0]:>20}{own[1]:>12}{own[2]:>8}")


def main() -> None:
    """Print all."""
    for measure in (smoothers, wide_cells, jumps):
        measure()


if __name__ == "__main__":
    main()
