"""The cycles as the textbook has them; knows A, R, P and a smoother, never h or a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..operators.contract import Map, residual
from ..operators.fused import Fused
from ..operators.smoothers import chebyshev_weights

if TYPE_CHECKING:
    from ..operators.launched import Launched
    from ..operators.multiplied import Multiplied

__all__ = ["Level", "ascend", "cycle", "cycled", "descend", "full_multigrid", "fully_cycled", "repeat_cycles"]
__all__ += ["repeatable"]

# What corrections by a coarse grid may leave of an error, most cycles for that, and the slowest part that
# they are for; fewest and most steps to see what one cycle does.
LEFT, MOST, SLOWEST, FEWEST, STEPS = 0.2, 16, 0.01, 4, 10
# Unknowns of a grid, by its dimension, whose matrix SciPy factorises in a moment.
FACTORISED = {2: 2**18, 3: 2**14}


@dataclass
class Level:
    """One grid: its operator and smoother, and the transfers to the next coarser one.

    Parameters
    ----------
    A : operator
        V → V′ on this grid.
    cells, unknowns : int, or one int for each axis
        Size of this grid.
    smoother : callable
        Improves an approximation on this grid; has ``weights`` where passes are compiled.
    P, R : operator, optional
        Prolongation from the next grid, and its transpose; none on the coarsest.
    lift : callable, optional
        A more exact interpolation for full multigrid; P by default.
    passes : Fused, Launched or Multiplied, optional
        Passes over memory that smooth and transfer at once.
    weights : tuple of float, default (1.0,)
        What the corrections by cycles are multiplied by that solve for a load of this grid, one by default.
    solve : callable, optional
        Solves on this grid; on the coarsest only.
    """

    A: Map
    cells: Any
    unknowns: Any
    smoother: Any
    P: Any = None
    R: Any = None
    solve: Map | None = None
    lift: Map | None = None
    passes: Fused | Launched | Multiplied | None = None
    weights: tuple[float, ...] = (1.0,)

    def fused(self, *vectors: Tensor | None) -> Any:
        """Return the grid as compiled passes have it, where they may work on some vectors."""
        own = self.passes and self.passes.inverse is getattr(self.smoother, "inverse", None)
        return self.passes if own and self.passes.takes(*self.A.numbers, *vectors) else None  # type: ignore[attr-defined,union-attr]

    def own(self, x: Tensor) -> Tensor:
        """Return what came out of passes in memory of its own."""
        return x.clone() if self.passes and self.passes.reuses and self.fused(x) else x


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
    x = cycled(levels, b, x, sweeps, kind)
    return levels[0].own(x)


def cycled(
    levels: Sequence[Level], b: Tensor, x: Tensor | None, sweeps: tuple[int, int], kind: str = "V"
) -> Tensor:
    """Return the same; where passes are compiled, the next cycle overwrites it."""
    level = levels[0]
    if level.solve:
        return level.solve(b) if x is None else x + level.solve(b - level.A(x))
    x, r = descend(level, b, x, sweeps[0])
    return _corrected(levels, x, r, b, sweeps, kind)


def repeatable(levels: Sequence[Level], b: Tensor, sweeps: tuple[int, int]) -> Callable[[], Tensor] | None:
    """Return a V-cycle from zero for what stands in b by then, all of whose passes are prepared.

    Work on coarse grids takes less time than to find out each time what it is. None where there are not
    compiled passes for all of it, in memory that they use again.
    """
    *finer, coarsest = levels
    passed = all(isinstance(level.passes, Fused) and level.fused(b) for level in finer)
    if not passed or not coarsest.solve or any(level.weights != (1.0,) for level in levels[1:]):
        return None
    calls: list[Callable[[], object]] = []
    way: list[tuple[Any, Tensor, Tensor]] = []
    for level in finer:
        call, (x, r) = level.passes.descent(b, None, level.smoother.weights(sweeps[0]))  # type: ignore[union-attr]
        calls.append(call)
        way.append((level, x, b))
        b = r
    e = torch.empty_like(b)
    calls.append(partial(_solve, coarsest.solve, b, e))
    for level, x, load in reversed(way):
        call, e = level.passes.ascent(x, e, load, level.smoother.weights(sweeps[1]))
        calls.append(call)
    return partial(_called, calls, e)


def _called(calls: list[Callable[[], object]], found: Tensor) -> Tensor:
    for call in calls:
        call()
    return found


def _solve(solve: Map, b: Tensor, out: Tensor) -> None:
    out.copy_(solve(b))


def _corrected(
    levels: Sequence[Level], x: Tensor, r: Tensor, b: Tensor, sweeps: tuple[int, int], kind: str
) -> Tensor:
    """Correct what was smoothed by the coarse grids, and smooth again."""
    level, coarser = levels[0], levels[1:]
    e = _correction(coarser, r, sweeps, kind)  # eq: cycle
    if kind != "V" and len(coarser) > 1:
        e = cycled(coarser, r, e, sweeps, "W" if kind == "W" else "V")
    return ascend(level, x, e, b, sweeps[1])


def _correction(levels: Sequence[Level], b: Tensor, sweeps: tuple[int, int], kind: str) -> Tensor:
    """Solve for a load of a coarse grid by a cycle or, where one leaves much, by a polynomial in cycles."""
    level, x = levels[0], None
    if level.weights == (1.0,):
        return cycled(levels, b, None, sweeps, kind)
    for weight in level.weights:
        e = cycled(levels, b if x is None else residual(level.A, x, b), None, sweeps, kind)
        x = weight * e if x is None else x.add_(e, alpha=weight)
    return x  # type: ignore[return-value]  # there is a weight


def repeat_cycles(
    levels: list[Level], sweeps: tuple[int, int], factorise: Callable[[Any], Map] | None = None
) -> None:
    """Find out what cycles leave of errors of coarse grids, and repeat them there as it takes.

    A coarse grid may lack a part of an error, as where few strong cells hold together that have none of its
    nodes. There are many such parts, and what they need is many cycles on the one grid that lacks them,
    by Chebyshev's polynomial, :eq:`chebyshev`, not on the finest.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first; their weights are written.
    sweeps : (int, int)
        Sweeps before and after the coarse correction.
    factorise : callable, optional
        Returns what solves with an operator: instead of many cycles on a grid that is small, which is the
        coarsest then.

    Raises
    ------
    FloatingPointError
        When a cycle in float32 leaves more than there was.
    """
    for i in reversed(range(1, len(levels) - 1)):
        level, coarser = levels[i], levels[i + 1 :]
        level.weights = _weights(_left(levels[i:], sweeps))
        box = level.A.box  # type: ignore[attr-defined]
        small = math.prod(box.shape) <= FACTORISED[box.dim] and not level.A.shared  # type: ignore[attr-defined]
        if len(level.weights) > 1 and factorise and small:
            # Where what is left of a domain is threads, no coarser grid has them.
            level.P = level.R = level.passes = None
            level.weights, level.solve = (1.0,), factorise(level.A)
            del levels[i + 1 :]
            continue
        repeated = [other.weights for other in coarser]
        if len(level.weights) == 1 or all(len(weights) == 1 for weights in repeated):
            continue
        # It may have taken only this to make up for what the coarser ones lack.
        dear, found = _cost(levels[i:]), level.weights
        level.weights = (1.0,)
        for other in coarser:
            other.weights = (1.0,)
        level.weights = _weights(_left(levels[i:], sweeps))
        if _cost(levels[i:]) >= dear:
            level.weights = found
            for other, weights in zip(coarser, repeated, strict=True):
                other.weights = weights


def _cost(levels: Sequence[Level]) -> float:
    """Count the unknowns that all cycles for a load come to."""
    size, below = math.prod(levels[0].A.entire.shape), levels[1:]  # type: ignore[attr-defined]
    return len(levels[0].weights) * (size + (_cost(below) if below else 0.0))


def _weights(left: float) -> tuple[float, ...]:
    """Give weights of cycles each of which leaves a part of an error, that together they leave little."""
    if not left > 2 * LEFT:
        return (1.0,)
    # A few parts are slower than what was seen, and cycles overshoot where coarser ones are repeated too.
    low, high = max((1 - left) / 4, SLOWEST), 1 + LEFT
    count = math.ceil(math.acosh(1 / LEFT) / math.acosh((high + low) / (high - low)))
    return chebyshev_weights(min(max(count, 2), MOST), low, high)


def _left(levels: Sequence[Level], sweeps: tuple[int, int]) -> float:
    """Say which part of an error a cycle leaves, when what is left is all slow."""
    A: Any = levels[0].A
    e = A.noise()
    left, size = 1.0, _size(A, e)
    for step in range(STEPS):
        e = e - cycled(levels, A(e), None, sweeps)
        if A.loose:  # constants may be lost in entries, and are met apart from cycles
            e -= A.total(e) / math.prod(A.entire.shape)
        before, size = size, _size(A, e)
        left = size / before if before else 0.0
        if step + 1 >= FEWEST and left <= 2 * LEFT:
            break
    if not left <= 2 and A.like["dtype"] == torch.float32:
        raise FloatingPointError("float32 holds too little of the operators of coarse grids: cycles diverge")
    return left


def _size(A: Any, e: Tensor) -> float:
    """Give the Euclidean norm of an error or, where pieces may float, the root of its energy."""
    if not A.gaps:
        return math.sqrt(float(A.total(e * e)))
    return math.sqrt(max(float(A.total(e * A(e))), 0.0))


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
    passes = level.fused(b, x)
    if passes:
        return passes.descend(b, x, level.smoother.weights(sweeps))
    x = level.smoother(level.A, x, b, sweeps)
    return x, level.R(residual(level.A, x, b))


def ascend(level: Level, x: Tensor, e: Tensor, b: Tensor, sweeps: int) -> Tensor:
    """Add the interpolated correction, and smooth: what a cycle does on the way up.

    Parameters
    ----------
    level : Level
        A grid that is not the coarsest.
    x : torch.Tensor, shape ``(batch, 1, *unknowns)``
        Approximation.
    e : torch.Tensor, shape ``(batch, 1, *coarse unknowns)``
        Correction from the coarser grid.
    b : torch.Tensor, shape ``(batch, 1, *unknowns)``
        Load.
    sweeps : int
        Sweeps.

    Returns
    -------
    torch.Tensor, shape ``(batch, 1, *unknowns)``
        The better approximation.
    """
    passes = level.fused(b, x, e)
    if passes:
        return passes.ascend(x, e, b, level.smoother.weights(sweeps))
    x = x + level.P(e)  # eq: two-grid
    return level.smoother(level.A, x, b, sweeps, post=True)


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
    x = fully_cycled(levels, b, sweeps, kind)
    return levels[0].own(x)


def fully_cycled(levels: Sequence[Level], b: Tensor, sweeps: tuple[int, int], kind: str) -> Tensor:
    """Return the same; where passes are compiled, the next cycle overwrites it."""
    level = levels[0]
    if level.solve:
        return level.solve(b)
    passes = level.fused(b)
    if passes:
        e = fully_cycled(levels[1:], passes.restrict(b), sweeps, kind)
        x, r = passes.descend(b, None, level.smoother.weights(sweeps[0]), e)
        return _corrected(levels, x, r, b, sweeps, kind)
    x = (level.lift or level.P)(fully_cycled(levels[1:], level.R(b), sweeps, kind))  # eq: full-multigrid
    return cycled(levels, b, x, sweeps, kind)
