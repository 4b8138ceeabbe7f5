"""The pictures and the measured figures of the pages about two and three dimensions.

::

    python docs/figures/boxes.py [FOLDER]

It prints the figures and draws the pictures into FOLDER, which is docs/images by default.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from matplotlib.figure import Figure

import mgnet
from mgnet import box, cells, stencils
from mgnet.box import Axis, Box
from mgnet.galerkin import NodeProlongation

IMAGES = Path(__file__).parent.parent / "images"


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


def hats(fine: Box, chosen: Sequence[bool], _: Callable) -> NodeProlongation:
    """Interpolate as the operator with a = 1 dictates, which is linearly."""
    ones = torch.ones(fine.cells, dtype=torch.float64)
    return NodeProlongation(fine, chosen, cells.CellStiffness(fine, ones).assembled().entry)


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
        with mock.patch.object(cells, "NodeProlongation", hats):
            linear = [cycles(a, method) for method in ("vcycle", "pcg")]
        own = [cycles(a, method) for method in ("vcycle", "pcg", "auto")]
        print(f"  {name:<22}{linear[0]:>14}{linear[1]:>12}{own[0]:>20}{own[1]:>12}{own[2]:>8}")


def coarse_axis() -> Figure:
    """Draw the hats on an axis of 13 cells and on the coarser ones."""
    axis, rows = Axis(13, 1.0, ("natural", "natural")), []
    while axis.coarsens:
        rows.append(axis)
        axis = axis.coarse
    rows.append(axis)
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    for ax, row in zip(figure.subplots(len(rows), sharex=True), rows, strict=True):
        x = np.concatenate(([0.0], np.cumsum(row.widths)))
        for hat in np.eye(len(x)):
            ax.plot(x, hat, color="tab:blue", linewidth=1)
        ax.axvspan(x[-2], x[-1], color="tab:orange", alpha=0.25, linewidth=0)
        ax.plot(x, 0 * x, "k.-", markersize=6, linewidth=1, clip_on=False, zorder=3)
        title = f"{row.cells} cells, r = {row.widest / row.h:g}"
        ax.set_title(title, fontsize="medium", loc="left")
        ax.set_axis_off()
    return figure


def cell_modes() -> Figure:
    """Draw the four parts of a function on a square cell, each with its eigenvalue of the cell's matrix."""
    E, t = stencils.element((1.0, 1.0)), np.linspace(-1, 1, 65)
    names = {
        "mean": (0, 0),
        "difference along x": (1, 0),
        "difference along y": (0, 1),
        "of both: twist": (1, 1),
    }
    figure = Figure(figsize=(7.5, 2.3), layout="constrained")
    for ax, (name, flags) in zip(figure.subplots(1, 4), names.items(), strict=True):
        field = np.multiply.outer(*(t**flag for flag in flags))
        corners = field[::64, ::64]
        value = corners.ravel() @ E @ corners.ravel() / 4
        ax.imshow(field.T, origin="lower", cmap="RdBu_r", vmin=-1.3, vmax=1.3, extent=(0, 1, 0, 1))
        for (i, j), sign in np.ndenumerate(corners):
            place = 0.12 + 0.76 * i, 0.12 + 0.76 * j
            ax.text(*place, "+" if sign > 0 else "−", ha="center", va="center", fontsize="large")
        ax.set_title(name, fontsize="small")
        ax.set_xlabel(f"eigenvalue {round(value, 3):g}", fontsize="small")
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def plate() -> Figure:
    """Draw the plate of the page 'Getting started', with lines of equal temperature."""
    middle = (np.arange(256) + 0.5) / 256
    disc = (middle[:, None] - 0.4) ** 2 + (middle - 0.5) ** 2 < 0.25**2
    sol = mgnet.solve(
        n=256,
        dim=2,
        a=np.where(disc, 100.0, 1.0),
        boundary={
            "left": mgnet.Dirichlet(1.0),
            "right": mgnet.Robin(5.0, 0.0),
            "bottom": mgnet.Neumann(0.0),
            "top": mgnet.Neumann(lambda x, y: 2 * (x > 0.5)),
        },
    )
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    ax = sol.plot(ax=figure.subplots())
    ax.contour(*sol.x, sol.u.T, levels=20, colors="white", linewidths=0.5)
    return figure


def main(folder: str | Path = IMAGES) -> None:
    """Print and draw all."""
    for measure in (smoothers, wide_cells, jumps):
        measure()
    for name, draw in {"coarse-axis": coarse_axis, "cell-modes": cell_modes, "plate": plate}.items():
        draw().savefig(Path(folder) / f"{name}.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:2])
