"""The exact cycle: relax the new nodes, restrict, solve, interpolate; once, and the answer is there.

In one dimension the hats of all levels are orthogonal in the energy, so the level corrections add up to
the solution, :eq:`exact`. This is static condensation: every second node is eliminated, :eq:`elimination`,
and what is left is the same problem on the others. The last coarse grid is a single cell, and the boundary
conditions live there.

On a CPU that is :class:`mgnet.kernels.line.Line`, which takes three levels at a time, blocks of eight cells,
:eq:`block-solution`. On a GPU chains go by passes in Triton, :mod:`mgnet.multigrid.launched`, and long ones
of equal cells by blocks of 64, :mod:`mgnet.multigrid.blocks`, as all do where there is no Triton. But where
row sums vary there, or derivatives of the elimination itself are under way, it is written here, level by
level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError, sent
from ..core.kinds import tracked, transforming
from ..core.looks import settle
from ..core.precision import full_precision
from ..operators import loops
from ..operators.boxes import Box
from ..operators.contract import Operator
from ..operators.differences import Differences
from ..operators.launched import there_are
from ..operators.stiffness import Stiffness
from ..operators.varying import VaryingStiffness, eliminate
from .blocks import Cell, alike, different

if TYPE_CHECKING:
    from ..kernels.line import Line

__all__ = ["Condensation"]

# Cells per block, and chains that are kept, as those of the last calls.
FACTOR, KEPT = 8, 64
# Cells of all rows up to which launches take the time, and not the memory that is read and written.
LAUNCHED = 2**22


class Eliminated(Protocol):
    """One level of cells, and what eliminating all nodes does that are not among the coarse ones."""

    nodes: int  # how many values there are room for
    whole: bool  # whether the load of the right end may stand behind those of the inner nodes

    def restrict(self, b: Tensor) -> tuple[Any, Tensor, Any, Any]:
        """Give what is kept, the loads of the inner coarse nodes, and what the left and right end receive."""

    def correct(self, kept: Any, coarse: Tensor, out: Tensor) -> None:
        """Write the values of all nodes but the first, given those of the coarse nodes."""


class Pairs:
    """One level of cells: every odd node is eliminated. Loads are (batch, cells - 1), the interior nodes.

    Of the weights only the pivots are kept: others are worth a product when they are used, not their memory.
    """

    whole = False

    def __init__(self, k: Tensor, pivot: Tensor) -> None:
        self.cells, self.pairs, self.nodes = k.shape[0], k.shape[0] // 2, k.shape[0] + 1
        self.left, self.right = k[0 : 2 * self.pairs : 2], k[1 : 2 * self.pairs : 2]
        self.pivot = pivot

    def restrict(self, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give the loads, those of the coarse nodes, and what the left and the right end receive."""
        share, coarse = b[:, 0 : 2 * self.pairs : 2] / self.pivot, b[:, 1::2].clone()
        coarse[:, : self.pairs - 1].addcmul_(self.left[1:], share[:, 1:])
        inner = min(self.pairs, coarse.shape[1])
        coarse[:, :inner].addcmul_(self.right[:inner], share[:, :inner])
        to_right = self.right[-1] * share[:, -1] if self.cells % 2 == 0 else b.new_zeros(b.shape[0])
        return b, coarse, self.left[0] * share[:, 0], to_right

    def correct(self, kept: Tensor, coarse: Tensor, out: Tensor) -> None:
        """Write the values of all nodes, given those of the coarse nodes."""
        even, odd, loads = out[:, ::2], out[:, 1 : 2 * self.pairs : 2], kept[:, 0 : 2 * self.pairs : 2]
        even[:] = coarse[:, : even.shape[1]]
        if self.cells % 2:
            out[:, -1] = coarse[:, -1]
        total = torch.addcmul(loads, self.left, coarse[:, : self.pairs])
        total.addcmul_(self.right, coarse[:, 1 : self.pairs + 1])
        torch.div(total, self.pivot, out=odd)


class Condensation:
    """The exact solver of a chain of cells, all its levels set up once; a box has the unknowns.

    The cells are those of an operator, or of the form of one whose cells are alike. ``looks`` says whether
    NaN and infinity are looked for, which waits for a GPU.
    """

    def __init__(self, A: Operator | Differences, box: Box | None = None, looks: bool = True) -> None:
        self.form = A.form if isinstance(A, Stiffness) else A if isinstance(A, Differences) else None
        self.A = A if isinstance(A, VaryingStiffness) else None
        found: Any = box if isinstance(A, Differences) else A.box
        self.looks, ((self.cells,), (self.ends,)) = looks, (found.cells, found.ends)
        self.numbers = self.A.numbers if self.A else ()
        self._alike: tuple[Tensor, Tensor | None] | None = None
        self._made: tuple[Any, tuple[Sequence[Eliminated], Cell]] | None = None
        self.robin: tuple[float, float] = self.form.robin[0] if self.form else self._varying.robin

    @property
    def _varying(self) -> VaryingStiffness:
        assert self.A is not None
        return self.A

    @cached_property
    def line(self) -> Line:
        """The levels of the compiled loops."""
        from ..kernels.line import Line

        if self.form:
            return _line(self.cells, self.form.k, self.form.row_sum, self.ends, self.robin)
        k, *s = loops.arrays(*self.numbers)
        return Line(self.cells, k, s[0] if s else None, self.ends, self.robin, torch.get_num_threads())

    def _chain(self, like: Tensor) -> tuple[Sequence[Eliminated], Cell]:
        """Give the levels of torch for loads like these, and the last coarse grid; the last ones are kept."""
        plain = not (tracked(like, *self.numbers) or transforming())
        kind = like.dtype, like.device
        if self._made is None or self._made[0] != (*kind, plain):
            self._made = (*kind, plain), self._levels(plain, *kind)
        return self._made[1]

    def _levels(self, plain: bool, *kind: Any) -> tuple[Sequence[Eliminated], Cell]:
        """Set up the levels of torch: blocks, unless row sums vary or derivatives are taken."""
        if self.form and plain:
            return alike(self.cells, self.form.k, self.form.row_sum, *kind)
        k, s = self.form.cells(self.cells, *kind) if self.form else (self._varying.k, self._varying.s)
        return different(k) if s is None and plain else _pairs(k, s)

    def _launches(self, b: Tensor, *values: Any) -> bool:
        """Say whether the passes in Triton solve for some loads and values of the ends."""
        if b.device.type == "cpu" or not there_are() or (self.form and len(b) * self.cells > LAUNCHED):
            return False
        return not (tracked(b, *values, *self.numbers) or transforming())

    def _cells(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Give the conductance of each cell and the row sum of each node; those of alike ones are kept."""
        if not self.form:
            return self._varying.k, self._varying.s
        if self._alike is None or self._alike[0].device != device:
            self._alike = self.form.cells(self.cells, torch.float64, device)
        return self._alike

    @property
    def levels(self) -> list[int]:
        """Number of cells of each level; the last is one cell."""
        if self.form or loops.apply_to(*self.numbers):
            return levels_of(self.cells, FACTOR)
        if self._launches(self.numbers[0][None]):
            from .launched import CELLS

            return levels_of(self.cells, CELLS)
        chain: Any = self._chain(self.numbers[0])[0]
        return [*(level.cells for level in chain), 1]

    def solve(self, b: Tensor, left: Any = 0.0, right: Any = 0.0) -> Tensor:
        """Return the values at all nodes, shape (batch, cells + 1), for loads of shape (batch, unknowns).

        ``left`` and ``right`` are the values at Dirichlet ends; not used at others. When NaN or infinity
        turns up, that is a :class:`NonFiniteError`, if they are looked for.
        """
        known = not (isinstance(left, Tensor) or isinstance(right, Tensor))
        if not b.numel():  # of which a transform may have wrapped nothing
            b = torch.zeros(b.shape, dtype=b.dtype, device=b.device)
        if known and loops.apply_to(b, *self.numbers):
            (loads,) = loops.arrays(b)
            # NumPy asks for huge pages; touching small ones for the first time costs more than a solve.
            found = np.empty((len(loads), self.cells + 1), loads.dtype)
            if not self.line.solve(loads, found, left, right, torch.get_num_threads()) and self.looks:
                self._look(loads, found, left, right)
            return torch.from_numpy(found)
        u = b.new_empty((len(b), self.cells + 1))
        if self._launches(b, left, right):
            return self._launched(b, u, left, right)
        return self._solve(b, u, left, right)

    def _launched(self, b: Tensor, u: Tensor, left: Any, right: Any) -> Tensor:
        """Solve by passes in Triton, in place."""
        from . import launched

        values = [
            alpha if end == "natural" else value
            for end, alpha, value in zip(self.ends, self.robin, (left, right), strict=True)
        ]
        if any(isinstance(value, Tensor) for value in values):
            given = _beside(b.new_empty((len(b), 0), dtype=torch.float64), *values)
        else:
            given = sent(torch.tensor([values], dtype=torch.float64, device="cpu"), b.device)
        self._finite(launched.solve(*self._cells(b.device), b, self.ends, given, u))
        return u

    def _look(self, b: np.ndarray, u: np.ndarray, left: float, right: float) -> None:
        """Solve again for a part of the loads, whose sums may leave the range where the values do not."""
        if np.isfinite(b).all():
            wide, part = np.empty(u.shape), 2.0**-64
            self.line.solve(part * b.astype(float), wide, part * left, part * right, torch.get_num_threads())
            with np.errstate(over="ignore", invalid="ignore"):
                u[:] = wide / part
        if not np.isfinite(u).all():
            raise NonFiniteError

    def _solve(self, b: Tensor, u: Tensor, left: Any, right: Any) -> Tensor:
        """Solve by torch, in place."""
        levels, top = self._chain(b)
        inner, low, high = self._split(b, bool(levels) and levels[0].whole)
        kept, lows, highs = list[Any](), [low], [high]
        with full_precision():
            for level in levels:
                state, inner, low, high = level.restrict(inner)  # eq: splitting
                kept.append(state)
                lows.append(low)
                highs.append(high)
            # Blocks are computed in float64.
            coarse = self._close(inner[:, :0], top, lows, highs, left, right)
            if not levels:
                u[:] = self._finite(coarse)
            rooms = [u, *_rooms(levels[1:], coarse)]
            rooms[0][:, 0] = coarse[:, 0]
            for depth in range(len(levels) - 1, -1, -1):
                fine = rooms.pop()
                levels[depth].correct(kept.pop(), coarse, fine)  # eq: exact
                coarse = self._finite(fine) if depth == min(1, len(levels) - 1) else fine
        return u

    def _finite(self, u: Tensor) -> Tensor:
        """Refuse NaN and infinity. Each load bears on all of the second grid, so checking that is enough."""
        if self.looks and not math.isfinite(settle(u.sum())[0]) and not bool((u - u == 0).all()):
            raise NonFiniteError
        return u

    def _split(self, b: Tensor, whole: bool) -> tuple[Tensor, Any, Any]:
        """Split the loads of the unknowns into those of the interior nodes and of the two ends.

        With ``whole`` that of the right end stays with the interior ones.
        """
        apart = self.ends[1] == "natural" and not whole
        start, stop = int(self.ends[0] != "dirichlet"), b.shape[1] - int(apart)
        inner = b[:, start:stop] if stop - start < b.shape[1] else b
        return inner, b[:, 0] if start else 0.0, b[:, -1] if stop < b.shape[1] else 0.0

    def _close(
        self, like: Tensor, top: Cell, lows: list[Any], highs: list[Any], left: Any, right: Any
    ) -> Tensor:
        """Solve the last coarse grid, a single cell, with the boundary conditions; (batch, 2).

        What its ends have of the loads comes in parts. Where both are given that does not matter.
        """
        k, per, s0, s1 = top.k, top.per, _sum(top.left, self.robin[0]), _sum(top.right, self.robin[1])
        if self.ends[0] == "periodic":
            left = right = _ratio(_total([*lows, *highs]), _sum(s0, s1))
        elif self.ends[0] == self.ends[1] == "natural":
            # The right end eliminated: what of its load and of its row sum the left end receives.
            own, held = _total(highs), _sum(k, _times(per, s1))
            share = _over(k, held)
            left = _ratio(_sum(_total(lows), _times(share, own)), _sum(s0, _times(share, s1)))
            right = _over(_sum(_times(per, own), _times(k, left)), held)
        elif self.ends[0] == "natural":
            loads = _sum(_times(per, _total(lows)), _times(k, right))
            left = _over(loads, _sum(k, _times(per, s0)))
        elif self.ends[1] == "natural":
            loads = _sum(_times(per, _total(highs)), _times(k, left))
            right = _over(loads, _sum(k, _times(per, s1)))
        return _beside(like, left, right)


def _beside(like: Tensor, left: Any, right: Any) -> Tensor:
    """Return the values of the two ends as columns, (batch, 2)."""
    if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape == (len(like),):
        return torch.stack((left, right), 1).to(like.dtype)
    if not isinstance(left, Tensor) and not isinstance(right, Tensor) and left == right:
        return like.new_full((len(like), 2), left)
    ends = like.new_empty((len(like), 2))
    ends[:, 0], ends[:, 1] = left, right
    return ends


# On a GPU each operation counts, so numbers that change nothing are left out.


def _sum(x: Any, y: Any) -> Any:
    return x if _is(y, 0.0) else y if _is(x, 0.0) else x + y


def _times(x: Any, y: Any) -> Any:
    if _is(x, 0.0) or _is(y, 0.0):
        return 0.0
    return x if _is(y, 1.0) else y if _is(x, 1.0) else x * y


def _over(x: Any, y: Any) -> Any:
    return x if _is(y, 1.0) else x / y


def _is(x: Any, number: float) -> bool:
    return isinstance(x, float) and x == number


def _total(parts: list[Any]) -> Any:
    """Add up loads; numbers are none."""
    known = [part for part in parts if isinstance(part, Tensor)]
    if len(known) > 2:
        return torch.stack(known).sum(0)
    return known[0] + known[1] if len(known) == 2 else known[0] if known else 0.0


def _rooms(levels: Sequence[Eliminated], ends: Tensor) -> list[Tensor]:
    """Make room for the values of all nodes of some levels, with that of the left end."""
    if not levels or isinstance(levels[0], Pairs):  # which write that themselves
        return [ends.new_empty((len(ends), level.nodes)) for level in levels]
    rooms = ends.new_empty((len(levels), len(ends), levels[0].nodes))
    rooms[:, :, 0] = ends[:, 0]
    return [room[:, : level.nodes] for room, level in zip(rooms, levels, strict=True)]


def _ratio(x: Any, y: Any) -> Any:
    """Divide; what nothing holds is zero."""
    if isinstance(y, Tensor):
        return torch.where(y == 0, 0.0, x / y)
    return x / y if y else 0.0 * x


def levels_of(cells: int, factor: int) -> list[int]:
    """Give the number of cells of each level where so many become one; the last is one cell."""
    return [cells] if cells == 1 else [cells, *levels_of(-(-cells // factor), factor)]


@lru_cache(maxsize=KEPT)
def _line(cells: int, k: float, row_sum: float, ends: tuple[str, str], robin: tuple[float, float]) -> Line:
    """Set up the compiled loops of equal cells."""
    from ..kernels.line import Line

    return Line(cells, k, row_sum, ends, robin, torch.get_num_threads())


def _pairs(k: Tensor, s: Tensor | None) -> tuple[list[Pairs], Cell]:
    levels: list[Pairs] = []
    while k.shape[0] > 1:
        _, _, pivot, coarse_k, coarse_s = eliminate(k, s)
        levels.append(Pairs(k, pivot))
        k, s = coarse_k, coarse_s
    numbers = torch.cat((k, k.new_zeros(2) if s is None else s))
    # On a GPU they stay there: reading would wait.
    return levels, Cell(*(numbers.tolist() if k.device.type == "cpu" else numbers.double().unbind()))
