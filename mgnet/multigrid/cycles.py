"""The cycles as the textbook has them; knows A, R, P and a smoother, never h or a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..operators.contract import Map
from ..operators.rows import residual
from ..operators.smoothers import Smoother

__all__ = ["Level", "cycle", "descend", "full_multigrid"]


@dataclass
class Level:
    """One grid: its operator and smoother, and the transfers to the next coarser one.

    Parameters
    ----------
    A : operator
        V → V′ on this grid.
    cells, unknowns : int, or one int for each axis
        Size of this grid.
    smoother : Smoother
        Improves an approximation on this grid.
    P, R : operator, optional
        Prolongation from the next grid, and its transpose; none on the coarsest.
    lift : callable, optional
        A more exact interpolation for full multigrid; P by default.
    solve : callable, optional
        Solves on this grid; on the coarsest only.
    """

    A: Map
    cells: Any
    unknowns: Any
    smoother: Smoother
    P: Any = None
    R: Any = None
    solve: Map | None = None
    lift: Map | None = None


def cycle(
    levels: Sequence[Level],
    b: Tensor,
    x: Tensor | None = None,
    sweeps: tuple[int, int] = (2, 2),
    kind: str = "V",
) -> Tensor:
    """Improve x in A x = b by one multigrid cycle, :eq:`cycle`.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first.
    b : torch.Tensor, shape ``(batch, 1, *unknowns)``
        Load or residual.
    x : torch.Tensor, optional
        Approximation; zero by default.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction.
    kind : {"V", "W", "F"}, default "V"
        How often, and by which cycle, the coarse grid is visited.

    Returns
    -------
    torch.Tensor, shape ``(batch, 1, *unknowns)``
        The better approximation.
    """
    level, coarser = levels[0], levels[1:]
    if level.solve:
        return level.solve(b) if x is None else x + level.solve(b - level.A(x))
    x, r = descend(level, b, x, sweeps[0])
    e = cycle(coarser, r, None, sweeps, kind)  # eq: cycle
    if kind != "V" and len(coarser) > 1:
        e = cycle(coarser, r, e, sweeps, "W" if kind == "W" else "V")
    x = level.P(e).add_(x)  # eq: two-grid
    return level.smoother(level.A, x, b, sweeps[1], post=True)


def descend(level: Level, b: Tensor, x: Tensor | None, sweeps: int) -> tuple[Tensor, Tensor]:
    """Smooth, and restrict the residual: what a cycle does on the way down, and a network on every level.

    Parameters
    ----------
    level : Level
        A grid that is not the coarsest.
    b : torch.Tensor, shape ``(batch, 1, *unknowns)``
        Load.
    x : torch.Tensor or None
        Approximation; None is zero.
    sweeps : int
        Sweeps.

    Returns
    -------
    (torch.Tensor, torch.Tensor)
        The better approximation, and the load of the coarser grid.
    """
    x = level.smoother(level.A, x, b, sweeps)
    return x, level.R(residual(level.A, x, b))


def full_multigrid(
    levels: Sequence[Level], b: Tensor, sweeps: tuple[int, int] = (2, 2), kind: str = "F"
) -> Tensor:
    """Solve on the coarsest grid, then interpolate and cycle once on each finer one, :eq:`full-multigrid`.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first.
    b : torch.Tensor, shape ``(batch, 1, *unknowns)``
        Load.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction.
    kind : {"V", "W", "F"}, default "F"
        The cycle on each grid. One V-cycle leaves a tenth of the discretisation error, one F-cycle nothing
        that counts.

    Returns
    -------
    torch.Tensor, shape ``(batch, 1, *unknowns)``
        Approximation on the finest grid.
    """
    if levels[0].solve:
        return levels[0].solve(b)
    lift = levels[0].lift or levels[0].P
    x = lift(full_multigrid(levels[1:], levels[0].R(b), sweeps, kind))  # eq: full-multigrid
    return cycle(levels, b, x, sweeps, kind)
