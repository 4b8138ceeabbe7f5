"""A line of cells, which :mod:`mgnet.kernels.chains` condenses, and the threads that share it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from . import chains
from .sharing import LEAST, share, shares

__all__ = ["Descent", "Line"]

# How many times less than elsewhere a number costs here, which counts where threads are to pay.
QUICK = 4
# What holds at an end, by its number.
ENDS = ("dirichlet", "natural", "periodic")
# Where nothing is said of the ends.
NONE = np.empty((0, 2))


def _within(u: np.ndarray, count: int) -> np.ndarray:
    """Give room for numbers in float64 within a vector that is not in use yet."""
    start, long = u.ctypes.data % 8 // u.itemsize, 8 // u.itemsize
    return u[start : start + count * long].view(np.float64)


class _Kept(NamedTuple):
    """What is kept of the way down for the way up: of each long level, and the arguments of the rest."""

    phase: int
    levels: list[Any]
    rest: tuple[Any, ...]


class Descent(NamedTuple):
    """The first half of a solve.

    Parameters
    ----------
    b, u : numpy.ndarray
        Loads, and room for the values.
    ends : numpy.ndarray of float64, shape (rows, 2)
        The loads of the two ends, once all other nodes are eliminated.
    kept : object
        What the second half begins with.
    """

    b: np.ndarray
    u: np.ndarray
    ends: np.ndarray
    kept: Any


class Line:
    """A chain of cells, condensed level after level; it solves for any number of loads.

    Parameters
    ----------
    cells : int
        Number of cells.
    k, s : numpy.ndarray or float
        Conductance of each cell and row sum of each node; s is None where all are zero. Two numbers where
        all cells are alike: then the two ends have half a row sum.
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
        self, cells: int, k: Any, s: Any, ends: tuple[str, str], robin: tuple[float, float], threads: int
    ) -> None:
        self.cells, self.at = [cells], -int(ends[0] == "dirichlet")
        while len(self.cells) < 2 or self.cells[-1] > 1:
            self.cells.append(-(-self.cells[-1] // chains.CELLS))
        # Where the nodes of each level but the first begin among those of all of these.
        self.starts = np.array([0, *accumulate(blocks + 1 for blocks in self.cells[1:])])
        self.sizes, self.size = np.array(self.cells), int(self.starts[-1])
        self.weights, self.last = np.zeros((2, len(self.cells) - 1, chains.CELLS - 1, 3))
        # Those of level 0, and of all others.
        self.k: Any = None
        self.s: Any = None
        self.coarse: Any = (None, None)
        if isinstance(k, float):
            found = self._condense_alike(k, s)
        else:
            self.k, self.s = k, s
            self.coarse = np.empty(self.size), None if s is None else np.empty(self.size)
            found = self._condense(threads)
        kinds = ENDS.index(ends[0]), ENDS.index(ends[1])
        self.levels = self._from(0)
        self.numbers = np.array([0.0, 0.0, *kinds, found[0], found[1] + robin[0], found[2] + robin[1]])

    def _chain(self, level: int) -> tuple[Any, Any]:
        """Give the conductances and the row sums of a level; None where all are alike, or zero."""
        if level == 0:
            return self.k, self.s
        nodes = slice(*self.starts[level - 1 : level + 1])
        k, s = (None if x is None else x[nodes] for x in self.coarse)
        return k, s

    def _condense_alike(self, k: float, s: float) -> tuple[float, float, float]:
        """Condense cells that are alike; give the conductance of the last one, and its row sums."""
        # Of the last cell, the node before it, and the two ends.
        k_last, s_last, s_left, s_right = k, s, s / 2, s / 2
        for level, (cells, blocks) in enumerate(pairwise(self.cells)):
            count = cells - chains.CELLS * (blocks - 1)
            inner = [*[s] * (count - 2), s_last][: count - 1]
            self.last[level], to_end, low_end, high_end = chains.eliminate(
                [*[k] * (count - 1), k_last], inner
            )
            self.weights[level], k, low, high = chains.eliminate([k] * chains.CELLS, [s] * (chains.CELLS - 1))
            s_left += low if blocks > 1 else low_end
            s_last = (s if count > 1 else s_last) + high + low_end
            k_last, s, s_right = to_end, s + low + high, s_right + high_end
        return k_last, s_left, s_right

    def _condense(self, threads: int) -> tuple[float, float, float]:
        """Condense cells that differ; give the same."""
        for level in range(len(self.last)):
            self._condense_level(level, threads)
        k, s = self._chain(len(self.last))
        return (k[0], 0.0, 0.0) if s is None else (k[0], *s)

    def _condense_level(self, level: int, threads: int) -> None:
        (cells, blocks), (k, s) = self.cells[level : level + 2], self._chain(level)
        to_k, to_s = self._chain(level + 1)
        found = self._share(threads, level, lambda i, j: chains.condense(blocks, k, s, i, j, to_k, to_s))
        first = chains.CELLS * (blocks - 1)
        inner = [] if s is None else s[first + 1 : cells].tolist()
        self.last[level], to_k[blocks - 1], low, high = chains.eliminate(k[first:cells].tolist(), inner)
        if s is not None:
            to_s[-2:] = low, s[cells] + high
            for stop, more in found:
                to_s[min(stop, blocks - 1)] += more

    def _share(self, threads: int, level: int, loop: Callable[[int, int], Any]) -> list[tuple[int, Any]]:
        """Run a loop over the blocks of a level in threads; give where each stopped, and what it found."""
        (cells, blocks), found = self.cells[level : level + 2], []

        def work(i: int, j: int) -> None:
            stop = min(chains.TOGETHER * j, blocks)
            found.append((stop, loop(chains.TOGETHER * i, stop)))

        share(work, shares(-(-blocks // chains.TOGETHER), cells // QUICK, threads))
        return found

    def solve(self, b: np.ndarray, u: np.ndarray, left: float, right: float, threads: int) -> bool:
        """Solve, and say whether all values are finite for sure.

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
        numbers = self.numbers
        if left or right:
            numbers = numbers.copy()
            numbers[0], numbers[1] = left, right
        if self._is_long:
            bad = [
                self._up(self._down(x, y, chains.BOTH, numbers, NONE, threads), NONE, threads)
                for x, y in zip(b, u, strict=True)
            ]
            return not any(bad)
        return self._rows(b, u, chains.BOTH, numbers, None, NONE, threads)

    def descend(self, b: np.ndarray, u: np.ndarray, threads: int) -> Descent:
        """Condense loads to those of the two ends, which is the first half of a solve, :eq:`slab-condensed`.

        Parameters
        ----------
        b : numpy.ndarray, shape (rows, unknowns)
            Loads.
        u : numpy.ndarray, shape (rows, cells + 1)
            Where the values will be; until then it is used for other numbers.
        threads : int
            How many may share the work.

        Returns
        -------
        Descent
            The loads of the ends, and what :meth:`ascend` needs.
        """
        ends = np.empty((len(b), 2))
        if self._is_long:
            pairs = zip(b, u, ends, strict=True)
            kept: Any = [self._down(x, y, chains.DOWN, self.numbers, e[None], threads) for x, y, e in pairs]
        else:
            kept = np.empty((len(b), len(self._room(0))))
            self._rows(b, u, chains.DOWN, self.numbers, kept, ends, threads)
        return Descent(b, u, ends, kept)

    def ascend(self, descent: Descent, ends: np.ndarray, threads: int) -> bool:
        """Write all values, given those at the two ends, and say whether they are finite for sure.

        Parameters
        ----------
        descent : Descent
            What :meth:`descend` has returned; it serves once.
        ends : numpy.ndarray of float64, shape (rows, 2)
            The values at the two ends.
        threads : int
            How many may share the work.
        """
        if self._is_long:
            pairs = zip(descent.kept, ends, strict=True)
            bad = [self._up(kept, e[None], threads) for kept, e in pairs]
            return not any(bad)
        return self._rows(descent.b, descent.u, chains.UP, self.numbers, descent.kept, ends, threads)

    @property
    def _is_long(self) -> bool:
        """Whether a row is worth several threads."""
        return self.cells[0] >= 2 * QUICK * LEAST

    def _rows(
        self,
        b: np.ndarray,
        u: np.ndarray,
        phase: int,
        numbers: np.ndarray,
        rooms: Any,
        ends: Any,
        threads: int,
    ) -> bool:
        """Solve for rows, each by one thread; say whether all values are finite for sure."""
        rows, nodes = u.shape
        bad: list[bool] = []

        def work(start: int, stop: int) -> None:
            room = self._room(0)[None] if rooms is None else rooms
            bad.append(chains.solve(b, self.at, *self.levels, numbers, start, stop, room, u, phase, ends))

        if rows == 1:
            work(0, 1)
        else:
            share(work, shares(rows, rows * nodes // QUICK, threads))
        return not any(bad)

    def _from(self, level: int) -> tuple[Any, ...]:
        """Give the levels from one on, as the compiled loops take them."""
        begin = self.starts[level]
        coarse = (None if x is None else x[begin:] for x in self.coarse)
        kept = self.weights[level:], self.last[level:]
        return self.sizes[level:], self.starts[level:] - begin, *self._chain(level), *coarse, *kept

    def _room(self, level: int) -> np.ndarray:
        """Make room for the loads and values of all levels after one, and for a block."""
        return np.empty(2 * (self.size - int(self.starts[level]) + chains.CELLS))

    def _down(
        self, b: np.ndarray, u: np.ndarray, phase: int, numbers: np.ndarray, ends: np.ndarray, threads: int
    ) -> _Kept:
        """Condense a row of loads that is worth several threads, until it is not: then do a phase of it."""
        level, at, levels = 0, self.at, []
        while self.cells[level] >= 2 * QUICK * LEAST:
            cells, blocks = self.cells[level : level + 2]
            chain = b, at, cells, blocks, *self._chain(level), self.weights[level], self.last[level]
            loads, values = _within(u, blocks + 1), np.empty(blocks + 1)

            def down(start: int, stop: int, chain: Any = chain, loads: np.ndarray = loads) -> float:
                return chains.down(*chain, start, stop, np.empty(chains.CELLS), loads)

            for stop, more in self._share(threads, level, down):
                if stop < blocks:
                    loads[stop] += more
            levels.append((chain, values, u))
            b, at, u, level = loads, 0, values, level + 1
        rest = b[None], at, *self._from(level), numbers, 0, 1, self._room(level)[None], u[None]
        chains.solve(*rest, phase, ends)
        return _Kept(phase, levels, rest)

    def _up(self, kept: _Kept, ends: np.ndarray, threads: int) -> bool:
        """Write the values of such a row; say whether they may not be finite."""
        if kept.phase == chains.DOWN:
            chains.solve(*kept.rest, chains.UP, ends)
        bad = False
        for level in reversed(range(len(kept.levels))):
            chain, values, u = kept.levels[level]

            def up(start: int, stop: int, chain: Any = chain, c: Any = values, u: Any = u) -> bool:
                return chains.up(*chain, start, stop, np.empty(2 * chains.CELLS), c, u)

            bad = any(found for _, found in self._share(threads, level, up))
            kept.levels[level] = ()  # its memory
        return bad
