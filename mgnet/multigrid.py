"""Levels and cycles; knows A, R, P and a smoother, never h or a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .chain import Chain
from .checks import count, number
from .condensation import Condensation
from .operators import Prolongation
from .smoothers import SMOOTHERS, RedBlack, Smoother
from .stiffness import Stiffness

__all__ = ["ConjugateGradients", "Level", "Options", "build_levels", "cycle", "full_multigrid"]

METHODS = ("auto", "exact", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct")
COARSE = ("exact", "direct", "smoother")
# Largest coarse grid that is solved as a dense matrix.
DENSE = 4096


@dataclass(frozen=True)
class Options:
    """How a hierarchy is built and cycled, checked.

    Parameters
    ----------
    method : str, default "auto"
        One of ``METHODS``; "auto" is "exact".
    smoother : {"jacobi", "red-black", "chebyshev"}, default "jacobi"
        Smoother of the cycles.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction; not both zero.
    levels : int, optional
        Most grids, the finest included; as many as there are by default.
    coarse : {"exact", "direct", "smoother"}, default "exact"
        What solves the coarsest grid: the exact cycle, a dense factorisation, or 50 sweeps.
    omega : float, optional
        Damping of Jacobi (2/3) or relaxation of red-black (1).
    """

    method: str = "auto"
    smoother: str = "jacobi"
    sweeps: tuple[int, int] = (2, 2)
    levels: int | None = None
    coarse: str = "exact"
    omega: float | None = None

    def __post_init__(self) -> None:
        for name, accepted in (("method", METHODS), ("smoother", tuple(SMOOTHERS)), ("coarse", COARSE)):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; accepted: one of {accepted}")
        try:
            before, after = (count("sweeps", sweep, 0) for sweep in self.sweeps)
        except (TypeError, ValueError):
            raise ValueError(f"sweeps: got {self.sweeps!r}; accepted: two integers of at least 0") from None
        if before + after == 0:
            raise ValueError(f"sweeps: got {self.sweeps!r}; accepted: at least one sweep")
        if self.levels is not None:
            count("levels", self.levels)
        if self.omega is not None and number("omega", self.omega) <= 0:
            raise ValueError(f"omega: got {self.omega!r}; accepted: a positive number")
        if self.omega is not None and self.smoother == "chebyshev":
            raise ValueError(f"omega: got {self.omega!r}; accepted: None with smoother='chebyshev'")
        if self.method == "auto":
            object.__setattr__(self, "method", "exact")


@dataclass
class Level:
    """One grid: its operator and smoother, and the transfers to the next coarser one.

    Parameters
    ----------
    A : operator
        V → V′ on this grid.
    cells, unknowns : int
        Size of this grid.
    smoother : Smoother
        Improves an approximation on this grid.
    P, R : operator, optional
        Prolongation from the next grid, and its transpose; none on the coarsest.
    solve : callable, optional
        Solves on this grid; on the coarsest only.
    """

    A: Any
    cells: int
    unknowns: int
    smoother: Smoother
    P: Any = None
    R: Any = None
    solve: Callable[[Tensor], Tensor] | None = None


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
    b : torch.Tensor, shape (batch, 1, unknowns)
        Load or residual.
    x : torch.Tensor, optional
        Approximation; zero by default.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction.
    kind : {"V", "W", "F"}, default "V"
        How often, and by which cycle, the coarse grid is visited.

    Returns
    -------
    torch.Tensor, shape (batch, 1, unknowns)
        The better approximation.
    """
    level, coarser = levels[0], levels[1:]
    if level.solve:
        return level.solve(b) if x is None else x + level.solve(b - level.A(x))
    x = level.smoother(level.A, x, b, sweeps[0])
    r = level.R(b - level.A(x))
    e = cycle(coarser, r, None, sweeps, kind)
    if kind != "V" and len(coarser) > 1:
        e = cycle(coarser, r, e, sweeps, "W" if kind == "W" else "V")
    x = x + level.P(e)
    return level.smoother(level.A, x, b, sweeps[1], post=True)


def full_multigrid(levels: Sequence[Level], b: Tensor, sweeps: tuple[int, int] = (2, 2)) -> Tensor:
    """Solve on the coarsest grid, then interpolate and cycle once on each finer one, :eq:`full-multigrid`.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first.
    b : torch.Tensor, shape (batch, 1, unknowns)
        Load.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction of each V-cycle.

    Returns
    -------
    torch.Tensor, shape (batch, 1, unknowns)
        Approximation on the finest grid.
    """
    if levels[0].solve:
        return levels[0].solve(b)
    x = levels[0].P(full_multigrid(levels[1:], levels[0].R(b), sweeps))
    return cycle(levels, b, x, sweeps)


class ConjugateGradients:
    """Preconditioned conjugate gradients as a step from residual to correction.

    β is Polak and Ribière's, which allows for the rounding of a residual that is computed afresh.

    Parameters
    ----------
    A : callable
        The operator.
    precondition : callable
        A cycle: from a residual to a correction.
    """

    def __init__(self, A: Any, precondition: Callable[[Tensor], Tensor]) -> None:
        self.A, self.precondition = A, precondition
        # Residual, its product with the preconditioned one, and direction of the last step.
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, r: Tensor) -> Tensor:
        """Return the next correction, :eq:`conjugate-gradients`.

        Parameters
        ----------
        r : torch.Tensor, shape (batch, 1, unknowns)
            Residual of the approximation that the last correction gave.

        Returns
        -------
        torch.Tensor, shape (batch, 1, unknowns)
            Correction.
        """
        p = z = self.precondition(r)
        rz = _dot(r, z)
        if self.last:
            before, before_z, direction = self.last
            p = z + _ratio(rz - _dot(before, z), before_z) * direction
        self.last = r, rz, p
        return _ratio(_dot(r, p), _dot(p, self.A(p))) * p


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((-2, -1), keepdim=True)


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """Divide; a row that is solved already has nothing to add."""
    return torch.where(y == 0, 0.0, x / y)


def build_levels(A: Any, cells: int, options: Options) -> list[Level]:
    """Coarsen until one pair of cells is left, or as far as asked.

    Parameters
    ----------
    A : Stiffness or VaryingStiffness
        The finest operator.
    cells : int
        Its number of cells.
    options : Options
        Smoother, number of levels and coarse solver.

    Returns
    -------
    list of Level
        Finest first.
    """
    levels: list[Level] = []
    lost = A.ends.count("dirichlet") - 1 + A.ends.count("periodic") // 2
    while True:
        unknowns = cells - lost
        levels.append(Level(A, cells, unknowns, _smoother(A, unknowns, options)))
        if cells <= 2 or len(levels) == options.levels:
            break
        A, P = _coarsen(A, cells)
        levels[-1].P, levels[-1].R = P, P.T
        cells = (cells + 1) // 2
    levels[-1].solve = _coarse_solver(levels[-1], options)
    return levels


def _smoother(A: Any, unknowns: int, options: Options) -> Smoother:
    kind = SMOOTHERS[options.smoother]
    extra: dict[str, Any] = {} if options.omega is None else {"omega": options.omega}
    if kind is RedBlack and A.ends[0] != "dirichlet":
        extra["new"] = 1
    diagonal = A.diagonal(unknowns)
    # A lone joined node has no neighbour but itself: where its row is zero there is nothing to relax.
    return kind(diagonal.masked_fill(diagonal == 0, math.inf), **extra)


def _coarsen(A: Any, cells: int) -> tuple[Any, Any]:
    """Give the next operator and the prolongation from it: convolutions, as long as all cells pair up."""
    if not isinstance(A, Stiffness):
        return A.coarsen()
    if cells % 2:
        return A.varying(cells).coarsen()
    return A.coarse(), Prolongation(boundary=A.ends, dtype=A.weight.dtype, device=A.weight.device)


def _coarse_solver(level: Level, options: Options) -> Callable[[Tensor], Tensor]:
    A = level.A
    if options.coarse == "smoother":
        return lambda b: level.smoother(A, None, b, 50)
    if options.coarse == "exact":
        exact, chain = Condensation(A, level.cells), Chain(A.ends)
        return lambda b: chain.unknowns(exact.solve(b[:, 0]))[:, None]
    if level.unknowns > DENSE:
        raise ValueError(
            f"coarse: got 'direct' for {level.unknowns} unknowns on the coarsest grid;"
            f" accepted: at most {DENSE}; take more levels, or coarse='exact'"
        )
    inverse = _inverse(A.to_dense(level.unknowns), A.singular)
    return lambda b: b @ inverse


def _inverse(A: Tensor, singular: bool) -> Tensor:
    """Invert in float64; where constants are mapped to zero, with the first unknown held at zero."""
    first = int(singular)
    inverse = torch.zeros_like(A, dtype=torch.float64)
    inverse[first:, first:] = torch.linalg.inv(A.double()[first:, first:])
    return inverse.to(A.dtype)
