"""Chains of cells by elimination: blocks of them, several at a time, so that their recurrences overlap.

A chain has a conductance k for each cell and a row sum s for each node; a single number stands for all.
Blocks of up to 64 cells are condensed to one, their inner nodes eliminated from the left to the right. Pivots
are sums of conductances and row sums, so nothing is subtracted and no small row sum is lost. All is computed
in float64, whatever the loads are.

Level 0 has the given cells, and each level the blocks of the one before, the last a single cell. A solve
reads the loads of a level to give those of the next, and once more to give its values from those of the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import compiled
from .sharing import LEAST, share, shares

__all__ = ["Line"]

# Most cells of a block, and blocks that are worked on at a time.
CELLS, LANES, HALF = 64, 16, 8
# A little more, or a node would have the same place in a page in two parts, for which a processor waits.
WIDE = CELLS + 4
# Values that are worked on together where there are many loads, so that they stay in a processor's cache.
CHUNK = 2**16
# Parts of the room of a group of blocks, each (LANES, WIDE): conductances to the right and row sums of the
# inner nodes, inverse pivots, their products with the conductances to the left and to the right, the hats of
# the two ends, loads or values.
K, S, PIVOT, LEFT, RIGHT, LOW, HIGH, Y = range(8)
# What holds at an end.
ENDS = ("dirichlet", "natural", "periodic")
FREE, JOINED = 1, 2


@compiled
def _edge(cells, blocks, j):
    """Give the first cell of a block: the first ones have one cell more than the others, if need be."""
    return j * (cells // blocks) + min(j, cells % blocks)


@compiled
def _group(cells, blocks, j, stop):
    """Give how many blocks from one on have its size, no more than there are lanes, and that size."""
    longer = cells % blocks
    last = min(stop, longer) if j < longer else stop
    return min(LANES, last - j), cells // blocks + (j < longer)


@compiled
def _rows(x, at, count, size, room):
    """Give what blocks have, one in a row, without their high ends: one for each lane, zeros in idle ones.

    There is nothing before the first number. The room is for what is not there as it is.
    """
    if at >= 0 and count == LANES:
        return x[at : at + LANES * size].reshape(LANES, size)
    here = room[: LANES * size]
    for i in range(here.size):
        here[i] = x[at + i] if at + i >= 0 and i < count * size else 0
    return here.reshape(LANES, size)


@compiled
def _update(x, at, count, size, y):
    """Write what some blocks have into the first rows of y, and say whether that changes anything."""
    changed = 0
    for lane in range(count):
        row, start = y[lane], at + lane * size
        for i in range(size):
            new = x[start + i]
            changed |= row[i] != new
            row[i] = new
    return changed


@compiled
def _weigh(k, s, at, count, size, changed, room, cell):
    """Eliminate the inner nodes of some blocks, which begin with the cell and the node at ``at``.

    Fills the room, but for the values, and writes the conductances that the blocks become; nothing need be
    done where neither their size has changed nor their numbers are others than before.
    """
    if changed:  # idle lanes have numbers too
        room[K].fill(k[0])
        room[S].fill(s[0])
    if k.size > 1:
        changed |= _update(k, at, count, size, room[K])
    if s.size > 1:
        changed |= _update(s, at, count, size, room[S])
    if changed:
        for lane in range(0, 1 if k.size == s.size == 1 else count, HALF):
            _eliminate(room, size, cell, lane)


@compiled
def _eliminate(room, size, cell, first):
    """Fill the rest of the room, in half of the lanes: divisions take so long that more would not overlap."""
    to_left = np.empty(LANES)
    for half in range(HALF):
        lane = first + half
        to_left[lane] = cell[lane] = room[K, lane, 0]
        room[PIVOT, lane, 0], room[LOW, lane, 0], room[HIGH, lane, 0] = 0.0, 1.0, 0.0
    for i in range(1, size):
        for half in range(HALF):
            lane = first + half
            ground = to_left[lane] + room[S, lane, i]
            pivot = 1 / (ground + room[K, lane, i])
            passed = room[K, lane, i] * pivot
            room[PIVOT, lane, i], room[RIGHT, lane, i] = pivot, passed
            room[LEFT, lane, i] = room[K, lane, i - 1] * pivot
            room[LOW, lane, i], room[HIGH, lane, i] = cell[lane] * pivot, passed
            to_left[lane] = passed * ground
            cell[lane] *= passed
    for i in range(size - 2, 0, -1):
        for half in range(HALF):
            lane = first + half
            room[LOW, lane, i] += room[RIGHT, lane, i] * room[LOW, lane, i + 1]
            room[HIGH, lane, i] = room[RIGHT, lane, i] * room[HIGH, lane, i + 1]


def _sums(x, low, high, alike, sums):
    """Sum up the loads of blocks, without their high ends, against the hats of the two ends."""
    step = 0 if alike else 1
    for lane in range(x.shape[0]):
        to_low = 0.0
        to_high = 0.0
        for i in range(x.shape[1]):
            to_low += low[lane * step, i] * x[lane, i]
            to_high += high[lane * step, i] * x[lane, i]
        sums[0, lane], sums[1, lane] = to_low, to_high


# Within a block the order is the processor's, which takes several at a time.
_sums = compiled(_sums, "reassoc")


@compiled
def _restrict(b, at_b, k, s, at, cells, blocks, start, stop, coarse, to, coarse_k):
    """Write the loads of the low ends of some blocks, and of the last node of all.

    Node i has column ``at_b + i`` of b, or no load if there is none. Their columns in ``coarse`` begin at
    ``to``; there the conductances of the blocks are written too, if there is room. The block before the
    first is looked at as well, so that no two shares write to one node.
    """
    room, cell, sums = np.zeros((Y, LANES, WIDE)), np.empty(LANES), np.empty((2, LANES))
    own, low, high = np.empty(LANES * CELLS, b.dtype), room[LOW], room[HIGH]
    alike = k.size == s.size == 1
    for row in range(b.shape[0]):
        for j in range(start, stop):
            coarse[row, to + j] = 0.0
        if stop == blocks:
            coarse[row, to + blocks] = b[row, at_b + cells] if at_b + cells < b.shape[1] else 0.0
    last = stop + (stop == blocks)
    j, known = max(start - 1, 0), 0
    while j < stop:
        count, size = _group(cells, blocks, j, stop)
        first = _edge(cells, blocks, j)
        _weigh(k, s, at + first, count, size, size != known, room, cell)
        known = size
        for row in range(b.shape[0]):
            _sums(_rows(b[row], at_b + first, count, size, own), low, high, alike, sums)
            for lane in range(count):
                node = to + j + lane
                if j + lane >= start:
                    coarse[row, node] += sums[0, lane]
                if j + lane + 1 < last:
                    coarse[row, node + 1] += sums[1, lane]
        for lane in range(min(count, coarse_k.size)):
            coarse_k[to + j + lane] = cell[lane]
        j += count


@compiled
def _inside(x, pivot, left, right, y):
    """Write the values that loads have between ends that are zero, in all lanes.

    Each inner node takes its own load and shares of its neighbours' values: first of the left, then of the
    right.
    """
    size = x.shape[1]
    for lane in range(LANES):
        y[lane, 0] = 0.0
    for i in range(1, size):
        for lane in range(LANES):
            y[lane, i] = pivot[lane, i] * x[lane, i] + left[lane, i] * y[lane, i - 1]
    for i in range(size - 2, 0, -1):
        for lane in range(LANES):
            y[lane, i] += right[lane, i] * y[lane, i + 1]  # eq: block-green


@compiled
def _inside_alike(x, pivot, share, y):
    """Do the same where all blocks, and all their cells, are alike."""
    size = x.shape[1]
    for lane in range(LANES):
        y[lane, 0] = 0.0
    for i in range(1, size):
        for lane in range(LANES):
            y[lane, i] = pivot[i] * x[lane, i] + share[i] * y[lane, i - 1]
    for i in range(size - 2, 0, -1):
        for lane in range(LANES):
            y[lane, i] += share[i] * y[lane, i + 1]


@compiled
def _between(x, ends, low, high, alike, out):
    """Write the values of blocks: those between zero ends, which are small, and then what the ends add.

    Return whether they are finite.
    """
    bad, step = 0, 0 if alike else 1
    for lane in range(out.shape[0]):
        left, right = ends[lane], ends[lane + 1]
        for i in range(out.shape[1]):
            # eq: block-solution
            out[lane, i] = x[lane, i] + high[lane * step, i] * right + low[lane * step, i] * left
            bad |= out[lane, i] - out[lane, i] != 0
    return not bad


@compiled
def _finish(b, at_b, k, s, at, cells, blocks, start, stop, coarse, at_c, u, to):
    """Write the values of some blocks without their high ends, and of the last node of all.

    The values of the ends have columns of ``coarse`` from ``at_c`` on; u may be b. Return whether all values
    are finite.
    """
    room, cell, good = np.zeros((Y + 1, LANES, WIDE)), np.empty(LANES), True
    own, alike = np.empty(LANES * CELLS, b.dtype), k.size == s.size == 1
    pivot, left, right, low, high, y = room[PIVOT], room[LEFT], room[RIGHT], room[LOW], room[HIGH], room[Y]
    j, known = start, 0
    while j < stop:
        count, size = _group(cells, blocks, j, stop)
        first = _edge(cells, blocks, j)
        _weigh(k, s, at + first, count, size, size != known, room, cell)
        known = size
        for row in range(b.shape[0]):
            x = _rows(b[row], at_b + first, count, size, own)
            if alike:
                _inside_alike(x, pivot[0], right[0], y)
            else:
                _inside(x, pivot, left, right, y)
            out = u[row, to + first : to + first + count * size].reshape(count, size)
            good &= _between(y, coarse[row, at_c + j : at_c + j + count + 1], low, high, alike, out)
        j += count
    if stop == blocks:
        for row in range(b.shape[0]):
            u[row, to + cells] = coarse[row, at_c + blocks]
    return good


@compiled
def _close(work, at, numbers):
    """Solve the last chain, a single cell, with what holds at its ends; loads become values."""
    left, right, end_left, end_right = numbers[0], numbers[1], numbers[2], numbers[3]
    k, s_left, s_right = numbers[4], numbers[5], numbers[6]
    for row in range(work.shape[0]):
        b_left, b_right = work[row, at], work[row, at + 1]
        if end_left == JOINED:
            total = s_left + s_right
            left = right = (b_left + b_right) / total if total else 0.0
        elif end_left == FREE and end_right == FREE:
            # The right end eliminated: what of its load and of its row sum the left end receives.
            passed = k / (k + s_right)
            total = s_left + passed * s_right
            left = (b_left + passed * b_right) / total if total else 0.0
            right = (b_right + k * left) / (k + s_right)
        elif end_left == FREE:
            left = (b_left + k * right) / (k + s_left)
        elif end_right == FREE:
            right = (b_right + k * left) / (k + s_right)
        work[row, at], work[row, at + 1] = left, right


class Line:
    """A chain of cells, condensed level after level; it solves for any number of loads.

    Parameters
    ----------
    cells : int
        Number of cells.
    k, s : numpy.ndarray
        Conductance of each cell and row sum of each node, or a single number of all, of which the two ends
        have half a row sum.
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    robin : (float, float)
        What is added to the row sums of the two ends.
    threads : int
        How many may share the work.

    Attributes
    ----------
    cells : list of int
        Those of each level, the last a single one.
    """

    def __init__(
        self,
        cells: int,
        k: np.ndarray,
        s: np.ndarray,
        ends: tuple[str, str],
        robin: tuple[float, float],
        threads: int,
    ) -> None:
        self.k, self.s = k, s
        self.cells, self.first = [cells], int(ends[0] == "dirichlet")
        while len(self.cells) < 2 or self.cells[-1] > 1:
            self.cells.append(-(-self.cells[-1] // CELLS))
        # Where the nodes of a level begin among those of all but the first.
        self.starts = [0, 0]
        for blocks in self.cells[1:]:
            self.starts.append(self.starts[-1] + blocks + 1)
        self.coarse_k, sums = np.empty(self.starts[-1]), np.zeros((1, self.starts[-1]))
        self.coarse_s = sums[0]
        alike = k.size == s.size == 1
        if alike:
            self._condense_alike()
        for level in range(int(alike), len(self.cells) - 1):
            # Row sums are restricted as loads are.
            here = sums if level else s[None] if s.size > 1 else s[:0].reshape(0, 0)
            to = sums, self.starts[level + 1], self.coarse_k
            self._share(threads, level, _restrict, (here, self.starts[level]), to)
        s_left, s_right = self.coarse_s[-2] + robin[0], self.coarse_s[-1] + robin[1]
        kinds = ENDS.index(ends[0]), ENDS.index(ends[1])
        self.numbers = np.array([0.0, 0.0, *kinds, self.coarse_k[-2], s_left, s_right])

    def _condense_alike(self) -> None:
        """Condense the first level where all cells are alike: two kinds of blocks at most."""
        cells, blocks = self.cells[:2]
        size, longer = divmod(cells, blocks)
        for start, stop, some in ((0, longer, size + 1), (longer, blocks, size)):
            if start < stop:
                sums, k, both = np.full((1, some + 1), self.s[0]), np.empty(1), np.empty((1, 2))
                sums[0, 0] = sums[0, -1] = self.s[0] / 2
                _restrict(sums, 0, self.k, self.s, 0, some, 1, 0, 1, both, 0, k)
                self.coarse_k[start:stop] = k
                self.coarse_s[start:stop] += both[0, 0]
                self.coarse_s[start + 1 : stop + 1] += both[0, 1]

    def _share(
        self, threads: int, level: int, loop: Any, here: tuple[Any, ...], to: tuple[Any, ...]
    ) -> list[Any]:
        """Run a loop over the blocks of a level, in several threads if they are many."""
        cells, blocks = self.cells[level], self.cells[level + 1]
        chain = (self.coarse_k, self.coarse_s, self.starts[level]) if level else (self.k, self.s, 0)
        if cells < 2 * LEAST:
            return [loop(*here, *chain, cells, blocks, 0, blocks, *to)]
        found: list[Any] = []

        def work(start: int, stop: int) -> None:
            found.append(loop(*here, *chain, cells, blocks, start, stop, *to))

        share(work, shares(blocks, cells, threads))
        return found

    def solve(self, b: np.ndarray, u: np.ndarray, left: float, right: float, threads: int) -> bool:
        """Solve, and say whether all values are finite.

        Parameters
        ----------
        b : numpy.ndarray, shape (rows, unknowns)
            Loads.
        u : numpy.ndarray, shape (rows, cells + 1)
            What the values at all nodes are written into.
        left, right : float
            The values at Dirichlet ends; not used at others.
        threads : int
            How many may share the work.
        """
        rows, nodes = u.shape
        numbers = self.numbers.copy()
        numbers[0], numbers[1] = left, right
        # Some short rows after others, so that what is read twice stays in a processor's cache.
        step = max(1, CHUNK // nodes)
        if rows <= step or nodes > 2 * LEAST:
            return self._solve(b, u, numbers, threads)
        good: list[bool] = []

        def work(start: int, stop: int) -> None:
            for i in range(start, stop, step):
                some = slice(i, min(i + step, stop))
                good.append(self._solve(b[some], u[some], numbers, 1))

        share(work, shares(rows, rows * nodes, threads))
        return all(good)

    def _solve(self, b: np.ndarray, u: np.ndarray, numbers: np.ndarray, threads: int) -> bool:
        """Solve for some rows: to coarser and coarser levels, and back."""
        work, last = np.empty((len(b), self.starts[-1])), len(self.cells) - 1
        for level in range(last):
            here = (work, self.starts[level]) if level else (b, -self.first)
            self._share(threads, level, _restrict, here, (work, self.starts[level + 1], NOWHERE))
        _close(work, self.starts[last], numbers)
        for level in reversed(range(1, last)):
            here = work, self.starts[level]
            self._share(threads, level, _finish, here, (work, self.starts[level + 1], *here))
        return all(self._share(threads, 0, _finish, (b, -self.first), (work, 0, u, 0)))


# For conductances that are known.
NOWHERE = np.empty(0)
