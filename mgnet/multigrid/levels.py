"""From an operator to the grids of the cycles, as options say: coarser operators and their smoothers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ..core.checks import choice, count, positive, shown, sweep_counts
from ..operators import loops
from ..operators.blocks import BlockDiagonal
from ..operators.boxes import Box
from ..operators.contract import Operator
from ..operators.convolutions import Prolongation
from ..operators.interpolation import HatProlongation, NodeProlongation
from ..operators.smoothers import SMOOTHERS, Smoother, damping, rough_interval
from ..operators.stiffness import Stiffness
from .coarsest import coarse_solver, factors_of_pieces
from .cycles import Level, repeat_cycles

__all__ = ["Options", "build_levels", "grids", "is_wild", "repeat", "smoother_of", "solved_at_once"]

NAMES = ["auto", "exact", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct"]
COARSE = ("exact", "direct", "smoother")

# Unknowns of the largest coarse grid that is solved at once, although it could be coarsened, where speed is
# all: as a dense matrix, or by the eigenvectors of its axes, by number of axes.
SMALL, SMALL_BOX = 256, {1: 256, 2: 64**2, 3: 16**3}
# A ratio of couplings up to which cycles are as good as where all are alike.
ALIKE = 100.0


@dataclass(frozen=True)
class Options:
    """How a hierarchy is built and cycled, checked.

    Parameters
    ----------
    method : str, default "auto"
        One of ``NAMES``; "auto" is "exact" in one dimension and "pcg" in more, with ``mixed``.
    smoother : {"jacobi", "red-black", "chebyshev", "line"}, optional
        Smoother of the cycles; "jacobi" in one dimension and "chebyshev" in more by default. Method "auto"
        takes "line" where cells are flat in some places and tall in others.
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
    graph : bool, default False
        Whether cycles are captured in a CUDA graph and replayed; not with "exact" and "direct".
    """

    method: str = "auto"
    smoother: str | None = None
    sweeps: tuple[int, int] = None  # type: ignore[assignment]
    levels: int | None = None
    coarse: str = "exact"
    omega: float | None = None
    dim: int = 1
    mixed: bool = False
    graph: bool = False

    def __post_init__(self) -> None:
        box = self.dim > 1
        for name, accepted in (("method", NAMES), ("smoother", tuple(SMOOTHERS)), ("coarse", COARSE)):
            if name != "smoother" or self.smoother is not None:
                choice(name, getattr(self, name), accepted)
        given: Any = self.sweeps
        if given is None:
            object.__setattr__(self, "sweeps", (2, 2))
        sweep_counts(self.sweeps)
        if self.levels is not None:
            count("levels", self.levels)
        if self.omega is not None:
            positive("omega", self.omega)
        smoother = self.smoother or self.default
        if self.omega is not None and "omega" not in signature(SMOOTHERS[smoother]).parameters:
            raise ValueError(f"omega: got {shown(self.omega)}; accepted: None with smoother={smoother!r}")
        if self.method == "exact" and box:
            raise ValueError(f"method: got 'exact' in {self.dim} dimensions; accepted: 'auto' or another")
        if self.method == "auto":
            object.__setattr__(self, "method", "pcg" if box else "exact")
            object.__setattr__(self, "mixed", box)
        if self.graph and self.method in ("exact", "direct"):
            raise ValueError(f"graph: got True with method={self.method!r}; accepted: a method of cycles")

    @property
    def default(self) -> str:
        """The smoother where none is asked for, and cells are alike."""
        return "chebyshev" if self.dim > 1 else "jacobi"

    def smoother_for(self, A: Operator) -> str:
        """Return the smoother for an operator.

        Parameters
        ----------
        A : Operator
            Where its cells are flat here and tall there, whole lines are relaxed.
        """
        return self.smoother or ("line" if A.uneven else self.default)


def build_levels(A: Operator, cells: int | Sequence[int], options: Options) -> list[Level]:
    """Coarsen an operator as long as it can be, or as far as asked.

    Parameters
    ----------
    A : Operator
        The finest operator.
    cells : int or sequence of int
        Its number of cells along each axis.
    options : Options
        Smoother, number of levels and coarse solver. With ``mixed`` the coarsest grid may be larger, since
        solving there at once takes less time than more levels do.

    Returns
    -------
    list of Level
        Finest first.
    """
    if isinstance(A, Stiffness) and not hasattr(A, "box"):
        A = A.on(cells)  # a bare convolution fits any number
    wild = is_wild(A)
    levels = grids(A, options, wild)
    repeat(levels, options, wild)
    return levels


def repeat(levels: list[Level], options: Options, wild: bool) -> None:
    """Let cycles be repeated on coarse grids where these lack clusters of cells; see ``repeat_cycles``."""
    if options.method == "pcg" and wild:
        repeat_cycles(levels, options.sweeps, factors_of_pieces if levels[0].A.gaps else None)  # type: ignore[attr-defined]


def grids(A: Operator, options: Options, wild: bool) -> list[Level]:
    """Return the grids from an operator on, finest first; ``wild`` says how the finest of all is."""
    levels: list[Level] = []
    while True:
        line = A.box.dim == 1  # where sizes are numbers
        cells, unknowns = (size[0] if line else size for size in (A.box.cells, A.box.shape))
        levels.append(Level(A, cells, unknowns, smoother_of(A, options)))
        small = (options.mixed or wild) and solved_at_once(A, A.box)
        coarser = None if small or len(levels) == options.levels else A.coarsen()
        if coarser is None:
            break
        levels[-1].lift = A.cubic
        A, P = coarser
        levels[-1].P, levels[-1].R = P, P.T
        _compile(levels[-1])
    levels[-1].solve = coarse_solver(A, levels[-1].smoother, options.coarse)
    return levels


def _compile(level: Level) -> None:
    """Let passes do what the smoother and the transfers of a grid do, if they can."""
    A: Any = level.A
    plain = hasattr(level.smoother, "weights") and isinstance(level.smoother.inverse, Tensor)
    if not plain or not isinstance(level.P, Prolongation | HatProlongation | NodeProlongation):
        return
    if torch.device(A.like["device"]).type != "cpu":
        from ..operators.multiplied import on_device

        level.passes = on_device(A, level.P, level.smoother.inverse)
    elif loops.apply_to(*A.numbers) and A.passes:
        level.passes = A.passes
        level.passes.P, level.passes.inverse = level.P, level.smoother.inverse
        level.passes.cubic = level.lift is not None


def is_wild(A: Operator) -> bool:
    """Say whether cells differ so much that coarse grids may lack clusters of them, or come to lone ones."""
    return A.box.dim > 1 and (A.gaps or (not A.smooth and A.contrast >= ALIKE))


def solved_at_once(A: Operator, box: Box) -> bool:
    """Say whether a grid is so small that solving there at once takes less time than more grids do."""
    size = math.prod(box.shape)
    # Eigenvectors cost the cube of the longest axis.
    square = max(box.shape) ** box.dim <= SMALL_BOX[box.dim]
    return size <= SMALL or (square and isinstance(A, Stiffness))


def smoother_of(A: Operator, options: Options) -> Smoother:
    """Return the smoother of a grid, as options say."""
    name = options.smoother_for(A)
    if getattr(SMOOTHERS[name], "whole", False):
        return SMOOTHERS[name](A)
    box, extra = A.box, dict[str, Any]()
    rough, bound = rough_interval(box.dim)
    if name == "jacobi":
        # Damping for the bound of equal cells; where the bound is larger, less, or the sweep itself diverges.
        extra["omega"] = damping(box.dim) * min(1.0, bound / _largest(A))
    elif name == "red-black":
        extra["new"] = [
            None if thin else int(axis.ends[0] != "dirichlet")
            for axis, thin in zip(box.axes, A.entire.thin, strict=True)
        ]
    elif name == "chebyshev":
        # What the coarse grid does not see begins at a fraction of the bound for equal cells.
        largest = _largest(A) or 1.0  # of no equations at all
        extra |= {"largest": largest, "fraction": min(rough / largest, 0.9)}
    if options.omega is not None:
        extra["omega"] = options.omega
    if any(A.entire.thin):
        return SMOOTHERS[name](BlockDiagonal(A, box.thin), **extra)
    diagonal = A.diagonal()
    if A.gaps or any(axis.periodic and axis.cells == 1 for axis in box.axes):
        # A lone joined node has no neighbour but itself: where a row is zero there is nothing to relax.
        diagonal = diagonal.masked_fill(diagonal <= 0, math.inf)  # as rounding may leave it
    return SMOOTHERS[name](diagonal, **extra)


def _largest(A: Operator) -> float:
    """Bound the eigenvalues of D⁻¹ A also where a joined axis has one cell, whose corners are one node."""
    box = A.entire
    if any(box.thin):
        # The matrix of a cell has as many blocks, none of which is larger than the whole.
        return float(2 ** box.thin.count(False))
    lone = sum(axis.periodic and axis.cells == 1 for axis in box.axes)
    # No eigenvalue of the matrix of a cell is larger than its trace, one for each corner that is left.
    return max(A.largest, 2.0 ** (box.dim - lone)) if lone else A.largest
