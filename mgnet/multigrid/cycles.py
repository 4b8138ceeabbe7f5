"""Levels and cycles; knows A, R, P and a smoother, never h or a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ..core.checks import choice, count, number, shown, sweep_counts
from ..operators.axes import Box, BoxProlongation
from ..operators.blocks import BlockDiagonal
from ..operators.chain import Chain
from ..operators.convolutions import Prolongation
from ..operators.entries import lost_in_entries
from ..operators.rows import residual
from ..operators.smoothers import SMOOTHERS, Smoother, damping, rough_interval
from ..operators.stiffness import BoxStiffness, Stiffness1d
from .coarsest import TensorSolver
from .exact import Condensation

__all__ = ["ConjugateGradients", "Level", "Options", "build_levels", "cycle", "descend", "full_multigrid"]

METHODS = ("auto", "exact", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct")
COARSE = ("exact", "direct", "smoother")
# Two directions whose angle has a square sine below this, in energy, are taken for one.
PARALLEL = 1e-6
# Largest coarse grid that is solved as a dense matrix.
DENSE = 4096
# Unknowns of the largest coarse grid that is solved at once, although it could be coarsened, where speed is
# all: as a dense matrix, or by the eigenvectors of its axes, by number of axes.
SMALL, SMALL_BOX = 256, {2: 256**2, 3: 64**3}


@dataclass(frozen=True)
class Options:
    """How a hierarchy is built and cycled, checked.

    Parameters
    ----------
    method : str, default "auto"
        One of ``METHODS``; "auto" is "exact" in one dimension and "pcg" in more, with ``mixed``.
    smoother : {"jacobi", "red-black", "chebyshev"}, optional
        Smoother of the cycles; "jacobi" in one dimension and "chebyshev" in more by default.
    sweeps : (int, int), optional
        Sweeps before and after the coarse correction; not both zero. (2, 2) by default.
    levels : int, optional
        Most grids, the finest included; as many as there are by default.
    coarse : {"exact", "direct", "smoother"}, default "exact"
        What solves the coarsest grid: the exact cycle or, in more dimensions, the eigenvectors of its axes; a
        dense factorisation; or 50 sweeps.
    omega : float, optional
        Damping of Jacobi (2/3, in more dimensions 8/9) or relaxation of red-black (1).
    dim : int, default 1
        Number of dimensions.
    mixed : bool, default False
        Whether the cycles of a float64 problem are computed in float32.
    """

    method: str = "auto"
    smoother: str = None  # type: ignore[assignment]  # replaced by the default of the dimension
    sweeps: tuple[int, int] = None  # type: ignore[assignment]
    levels: int | None = None
    coarse: str = "exact"
    omega: float | None = None
    dim: int = 1
    mixed: bool = False

    def __post_init__(self) -> None:
        box = self.dim > 1
        defaults: dict[str, Any] = {"smoother": "chebyshev" if box else "jacobi", "sweeps": (2, 2)}
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, accepted in (("method", METHODS), ("smoother", tuple(SMOOTHERS)), ("coarse", COARSE)):
            choice(name, getattr(self, name), accepted)
        sweep_counts(self.sweeps)
        if self.levels is not None:
            count("levels", self.levels)
        if self.omega is not None and number("omega", self.omega) <= 0:
            raise ValueError(f"omega: got {shown(self.omega)}; accepted: a positive number")
        if self.omega is not None and "omega" not in signature(SMOOTHERS[self.smoother]).parameters:
            raise ValueError(
                f"omega: got {shown(self.omega)}; accepted: None with smoother={self.smoother!r}"
            )
        if self.method == "exact" and box:
            raise ValueError(f"method: got 'exact' in {self.dim} dimensions; accepted: 'auto' or another")
        if self.method == "auto":
            object.__setattr__(self, "method", "pcg" if box else "exact")
            object.__setattr__(self, "mixed", box)


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

    A: Any
    cells: Any
    unknowns: Any
    smoother: Smoother
    P: Any = None
    R: Any = None
    solve: Callable[[Tensor], Tensor] | None = None
    lift: Any = None


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


class ConjugateGradients:
    """Preconditioned conjugate gradients as a step from residual to correction.

    Each correction is the best one in the plane of the preconditioned residual and the last correction. In
    exact arithmetic one number fixes it, since the residual is orthogonal to the last correction. Two allow
    for a residual that is computed afresh and is not.

    Parameters
    ----------
    A : callable
        The operator.
    precondition : callable
        A cycle: from a residual to a correction.
    """

    def __init__(self, A: Any, precondition: Callable[[Tensor], Tensor]) -> None:
        self.A, self.precondition = A, precondition
        # The last correction and its image.
        self.last: tuple[Tensor, Tensor] | None = None

    def __call__(self, r: Tensor) -> Tensor:
        """Return the next correction, :eq:`conjugate-gradients`.

        Parameters
        ----------
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual of the approximation that the last correction gave.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            Correction; the next step needs it, so it is not to be overwritten.
        """
        z = self.precondition(r)
        Az = self.A(z)
        product, energy = _dot(r, z), _dot(z, Az)
        # Where this points upwards the preconditioner is not positive definite, in its precision, and small
        # corrections would mean nothing.
        product = product.masked_fill((product < 0) | (energy < 0), math.nan)
        if self.last is None:
            length = _ratio(product, energy)
            self.last = z.mul_(length), Az.mul_(length)
        else:
            e, Ae = self.last
            along_z, along_e = _best((product, _dot(r, e)), (energy, _dot(z, Ae), _dot(e, Ae)))
            e.mul_(along_e).addcmul_(z, along_z)  # eq: conjugate-gradients
            Ae.mul_(along_e).addcmul_(Az, along_z)
        return self.last[0]

    def forget(self, rows: Tensor) -> None:
        """Begin anew in some rows of the batch.

        Parameters
        ----------
        rows : torch.Tensor of bool, shape ``(batch, 1, ..., 1)``
            Which.
        """
        for direction in self.last or ():
            direction.masked_fill_(rows, 0.0)

    def residual(self, r: Tensor) -> Tensor:
        """Return what the last correction leaves of a residual, without another product with A.

        Parameters
        ----------
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            What the correction was made from; it is overwritten.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            r − A e.
        """
        assert self.last
        return r.sub_(self.last[1])


def _best(products: tuple[Tensor, Tensor], energies: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Solve the symmetric system of two equations; of one, where the second direction adds nothing new."""
    (rz, re), (zz, ze, ee) = products, energies
    shared = _ratio(ze, zz)
    rest = ee - shared * ze  # no product of two energies, which may be too small to hold
    along_e = torch.where(rest <= PARALLEL * ee, 0.0, _ratio(re - shared * rz, rest))
    return _ratio(rz, zz) - shared * along_e, along_e


def _dot(x: Tensor, y: Tensor) -> Tensor:
    rows = x.flatten(1), y.flatten(1)
    if x.shape[0] > 16:
        product = torch.linalg.vecdot(*rows)
    else:  # needs no memory for the products
        product = torch.stack([torch.dot(p, q) for p, q in zip(*rows, strict=True)])
    return product.reshape(-1, *[1] * (x.ndim - 1))


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """Divide; a row that is solved already has nothing to add."""
    return torch.where(y == 0, 0.0, x / y)


def build_levels(A: Any, cells: int, options: Options) -> list[Level]:
    """Coarsen an interval until one pair of cells is left, or as far as asked.

    Parameters
    ----------
    A : Stiffness1d or VaryingStiffness
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
        extra: dict[str, Any] = {}
        if options.smoother == "red-black" and A.ends[0] != "dirichlet":
            extra["new"] = (1,)
        levels.append(Level(A, cells, unknowns, _smoother(A.diagonal(unknowns), options, extra)))
        if cells <= 2 or len(levels) == options.levels:
            break
        A, P = _coarsen(A, cells)
        levels[-1].P, levels[-1].R = P, P.T
        cells = (cells + 1) // 2
    levels[-1].solve = _coarse_solver(levels[-1], options)
    return levels


def build_box_levels(A: Any, box: Box, options: Options) -> list[Level]:
    """Coarsen a box as long as an axis has four cells, or as far as asked.

    Parameters
    ----------
    A : BoxStiffness or CellStiffness
        The finest operator.
    box : Box
        Its cells and their ends.
    options : Options
        Smoother, number of levels and coarse solver. With ``mixed`` the coarsest grid may be larger, since
        solving there at once takes less time than more levels do.

    Returns
    -------
    list of Level
        Finest first.
    """
    levels: list[Level] = []
    while True:
        levels.append(Level(A, box.cells, box.shape, _box_smoother(A, box, options)))
        small = options.mixed and _solved_at_once(A, box)
        coarser = None if small or len(levels) == options.levels else A.coarsen(box.shape)
        if coarser is None:
            break
        if isinstance(A, BoxStiffness):
            levels[-1].lift = BoxProlongation(box, box.coarsening()).cubic
        box = box.coarse(box.coarsening())
        A, P = coarser
        levels[-1].P, levels[-1].R = P, P.T
    levels[-1].solve = _box_solver(levels[-1], box, options)
    return levels


def _solved_at_once(A: Any, box: Box) -> bool:
    size = math.prod(box.shape)
    # Eigenvectors cost the cube of the longest axis.
    square = max(box.shape) ** box.dim <= SMALL_BOX[box.dim]
    return size <= SMALL or (square and isinstance(A, BoxStiffness))


def _smoother(diagonal: Any, options: Options, extra: dict[str, Any]) -> Smoother:
    if options.omega is not None:
        extra["omega"] = options.omega
    if isinstance(diagonal, Tensor):
        # A lone joined node has no neighbour but itself: where its row is zero there is nothing to relax.
        diagonal = diagonal.masked_fill(diagonal == 0, math.inf)
    return SMOOTHERS[options.smoother](diagonal, **extra)


def _box_smoother(A: Any, box: Box, options: Options) -> Smoother:
    extra: dict[str, Any] = {}
    if options.smoother == "jacobi":
        # Damping for the bound 3/2; where the bound is larger, less, or the sweep itself diverges.
        extra["omega"] = damping(box.dim) * min(1.0, 1.5 / _largest(A, box))
    elif options.smoother == "red-black":
        extra["new"] = [
            None if thin else int(axis.ends[0] != "dirichlet")
            for axis, thin in zip(box.axes, box.thin, strict=True)
        ]
    elif options.smoother == "chebyshev":
        # What the coarse grid does not see begins at a fraction of the bound for equal cells.
        largest = _largest(A, box)
        extra |= {"largest": largest, "fraction": min(rough_interval(box.dim)[0] / largest, 0.9)}
    D = BlockDiagonal(A, box, box.thin) if any(box.thin) else A.diagonal(box.shape)
    return _smoother(D, options, extra)


def _largest(A: Any, box: Box) -> float:
    """Bound the eigenvalues of D⁻¹ A also where a joined axis has one cell, whose corners are one node."""
    if any(box.thin):
        # The matrix of a cell has as many blocks, none of which is larger than the whole.
        return float(2 ** box.thin.count(False))
    lone = sum(axis.periodic and axis.cells == 1 for axis in box.axes)
    # No eigenvalue of the matrix of a cell is larger than its trace, one for each corner that is left.
    return max(A.largest, 2.0 ** (box.dim - lone)) if lone else A.largest


def _coarsen(A: Any, cells: int) -> tuple[Any, Any]:
    """Give the next operator and the prolongation from it: convolutions, as long as all cells pair up."""
    if not isinstance(A, Stiffness1d):
        return A.coarsen()
    if cells % 2:
        return A.varying(cells).coarsen()
    return A.coarse(), Prolongation(boundary=A.boundary, dtype=A.weight.dtype, device=A.weight.device)


def _coarse_solver(level: Level, options: Options) -> Callable[[Tensor], Tensor]:
    A = level.A
    if options.coarse == "smoother":
        return lambda b: level.smoother(A, None, b, 50)
    if options.coarse == "exact":
        # An iteration looks at its corrections itself.
        exact, chain = Condensation(A, level.cells, looks=False), Chain(A.ends)
        return lambda b: chain.unknowns(exact.solve(b[:, 0]))[:, None]
    return _dense_solver(level)


def _box_solver(level: Level, box: Box, options: Options) -> Callable[[Tensor], Tensor]:
    A = level.A
    if options.coarse == "smoother":
        return lambda b: level.smoother(A, None, b, 50)
    if options.coarse == "exact" and isinstance(A, BoxStiffness):
        return TensorSolver(A.box(box.shape), A.a, A.c, A.like, A.lumped)
    return _dense_solver(level)


def _dense_solver(level: Level) -> Callable[[Tensor], Tensor]:
    size = math.prod(level.unknowns) if isinstance(level.unknowns, tuple) else level.unknowns
    if size > DENSE:
        raise ValueError(
            f"levels: got a coarsest grid of {size} unknowns, too many for a dense factorisation;"
            f" accepted: at most {DENSE}; take more levels, or coarse='exact' where a and c are constant"
        )
    inverse = _inverse(level.A.to_dense(level.unknowns), _is_loose(level))
    return lambda b: (b.flatten(1) @ inverse).reshape(b.shape)


def _is_loose(level: Level) -> bool:
    """Say whether the matrix of a level may lose what little holds the constants."""
    A = level.A
    if hasattr(A, "loose"):
        return bool(A.loose)
    if A.singular or not hasattr(A, "ends") or "dirichlet" in A.ends:
        return bool(A.singular)
    diagonal = A.diagonal(level.unknowns)
    hold = A(torch.ones_like(diagonal)[None, None]).sum()
    return lost_in_entries(hold, diagonal.sum(), diagonal.dtype)


def _inverse(A: Tensor, loose: bool) -> Tensor:
    """Invert in float64; where constants are mapped to zero, or almost, with the first unknown held there."""
    first = int(loose)
    inverse = torch.zeros_like(A, dtype=torch.float64)
    inverse[first:, first:] = torch.linalg.inv(A.double()[first:, first:])
    return inverse.to(A.dtype)
