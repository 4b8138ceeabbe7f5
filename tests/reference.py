"""Poisson problems in arithmetic of hundreds of bits: an assembly and a solver of their own.

Nothing here comes from mgnet. Arrays are NumPy's, of balls of Arb: each number of a problem is taken as the
binary fraction that it is, and sums and products come with bounds of their rounding. A solution is computed
without such bounds, which grow too fast in an elimination, and then corrected once for its residual, which
has them: the correction says how many digits were right. Where those are too few, all is done again with
twice as many bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat, ctx
from numpy.lib.stride_tricks import sliding_window_view

# Bits to begin with, and those that the solution must have right before its last correction.
BITS, GOOD = 192, 60

# On a cell (0, 1): the integrals of the products of two hats, of their slopes, and of three hats.
MASS = np.array([[2, 1], [1, 2]])
SLOPES = np.array([[1, -1], [-1, 1]])
TRIPLES = np.array([[[3, 1], [1, 1]], [[1, 1], [1, 3]]])
# The same lumped: one hat at its own node.
DIAGONALS = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]])


class Side(NamedTuple):
    """A condition: u = g where ``holds``, else a ∂u/∂ν + α u = g; g is a number, or nodal values."""

    holds: bool
    alpha: float = 0.0
    g: Any = 0.0


class Equal(NamedTuple):
    """An axis of equal cells."""

    cells: int
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, eq=False)
class Data:
    """A problem −∇·(a ∇u) + c u = f on an interval or in a box.

    Parameters
    ----------
    axes : sequence of Equal or array
        Equal cells, or the coordinates of the nodes.
    joined : sequence of bool
        Which axes are periodic.
    sides : dict
        The conditions by axis and end, 0 or 1; of two that hold an edge, the later one counts.
    a : array, one value per cell
    c : float, or array with one value per node
    f, b : array, shape (rows, *nodes) or (rows, *unknowns)
        Nodal values or the ready load, to which fluxes are added; one of the two.
    lumped : bool
        Whether nodal values of f, and of the g of natural sides, are lumped; else they are integrated as
        piecewise linear functions.
    c_lumped : bool, optional
        Whether c is; as nodal values of f are by default, and integrated beside a ready load.
    """

    axes: Sequence[Equal | np.ndarray]
    joined: Sequence[bool]
    sides: dict[tuple[int, int], Side]
    a: np.ndarray
    c: Any = 0.0
    f: np.ndarray | None = None
    b: np.ndarray | None = None
    lumped: bool = True
    c_lumped: bool | None = None

    @property
    def singular(self) -> bool:
        """Whether u is determined up to a constant only."""
        return not np.any(self.c) and not any(side.holds or side.alpha for side in self.sides.values())


class Reference:
    """The finite-element solution of a problem.

    Parameters
    ----------
    data : Data
        The problem.

    Attributes
    ----------
    u : numpy.ndarray of arb, shape (rows, *nodes)
        Nodal values; in a singular problem those with zero mean, for a load without its defect.
    """

    def __init__(self, data: Data) -> None:
        self.data, self.bits = data, BITS
        while not self._solved():
            self.bits *= 2

    def _solved(self) -> bool:
        with ctx.workprec(self.bits):
            self.system = System(self.data)
            try:
                self.inverse = Layers(self.system)
                u = self.inverse(self.system.residual(exact(np.zeros(self.system.loads.shape))))
                e = self.inverse(self.system.residual(u))
            except ZeroDivisionError:
                return False
            # What is nothing but a defect, which is taken out, leaves rounding alone: it is zero.
            nothing = arb(2) ** (-self.bits // 2)
            for row, correction, size in zip(u, e, self.system.sizes, strict=True):
                if self.data.singular and most(row) <= size * nothing:
                    row *= 0
                    correction *= 0
            self.unknowns = u + e
            self.u = self.system.whole(self.unknowns)
            return all(
                most(correction) <= most(row) * arb(2) ** -GOOD
                for row, correction in zip(self.u, e, strict=True)
            )

    def errors(self, u: np.ndarray) -> list[float]:
        """Return the largest error of each row of nodal values, shape (rows, *nodes); infinite with NaN."""
        with ctx.workprec(self.bits):
            return [
                float(most(exact(mine) - row)) if np.isfinite(mine).all() else math.inf
                for mine, row in zip(u, self.u, strict=True)
            ]

    @cached_property
    def sizes(self) -> list[float]:
        """The largest absolute nodal value of each row."""
        return [float(most(row)) for row in self.u]

    @cached_property
    def conditions(self) -> list[float]:
        """By how many roundings each row of the solution may change when A and b are rounded.

        This is Skeel's condition: the largest entry of |A⁻¹| (|A| |u| + |b|) over that of |u|, with A⁻¹ in
        the place of its absolute value. The two are one where A is an M-matrix, and alike elsewhere. In a
        singular problem a node is held.
        """
        with ctx.workprec(self.bits):
            changes = self.inverse(self._magnitudes)
            return [
                float(most(change) / most(row)) if most(row) > 0 else 0.0
                for change, row in zip(changes, self.u, strict=True)
            ]

    @cached_property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number that a solver meets in some row: of u, or of |A| |u| + |b|."""
        found = [float(most(row)) for row in (*self.u, *self._magnitudes)]
        found = [number for number in found if number] or [1.0]
        return min(found), max(found)

    @cached_property
    def _magnitudes(self) -> np.ndarray:
        with ctx.workprec(self.bits):
            return self.system.magnitudes(self.u)


class System:
    """The matrix and the loads of a problem, assembled cell by cell.

    Parameters
    ----------
    data : Data
        The problem.
    """

    def __init__(self, data: Data) -> None:
        self.data = data
        self.axes = range(len(data.axes))
        self.widths = [_widths(axis) for axis in data.axes]  # of one cell, where all are equal
        self.cells = data.a.shape
        self.shape = tuple(n + 1 for n in self.cells)
        rings = (
            np.arange(n + 1) % (n if joined else n + 1)
            for n, joined in zip(self.cells, data.joined, strict=True)
        )
        # The node that stands for each one, where sides are joined.
        self.numbers = np.ravel_multi_index(np.ix_(*rings), self.shape)
        self.held, self.values = self._boundary_values()
        own = self.numbers.ravel() == np.arange(self.numbers.size)
        self.free = np.flatnonzero(own & ~self.held.ravel())
        self.rows, self.columns, self.entries = self._matrix()
        weights = reduce(np.multiply.outer, map(self._hats, self.axes))
        self.weights = self._of_nodes(weights)[self.free]
        loads = self._loads()
        self.sizes = [most(row) for row in loads]
        self.loads = self._balanced(loads)

    def residual(self, u: np.ndarray) -> np.ndarray:
        """Return what values of the unknowns leave of the loads, (rows, unknowns)."""
        r = self.loads - self._applied(self.entries, self._filled(u))
        return self._balanced(r)

    def magnitudes(self, u: np.ndarray) -> np.ndarray:
        """Return |A| |u| + |b| of the unknowns, (rows, unknowns)."""
        return self._applied(np.abs(self.entries), np.abs(u.reshape(len(u), -1))) + np.abs(self.loads)

    def whole(self, u: np.ndarray) -> np.ndarray:
        """Return the values of all nodes, (rows, *nodes); in a singular problem those with zero mean."""
        if self.data.singular:
            u = u - (u * self.weights).sum(-1, keepdims=True) / self.weights.sum()
        return self._filled(u)[:, self.numbers]

    def _filled(self, u: np.ndarray) -> np.ndarray:
        filled = np.tile(self.values.ravel(), (len(u), 1))
        filled[:, self.free] = u
        return filled

    def _applied(self, entries: np.ndarray, u: np.ndarray) -> np.ndarray:
        starts = np.searchsorted(self.rows, self.free)
        return np.array([np.add.reduceat(entries * row[self.columns], starts) for row in u], dtype=object)

    # Nodes

    def _boundary_values(self) -> tuple[np.ndarray, np.ndarray]:
        held, values = np.zeros(self.shape, dtype=bool), exact(np.zeros(self.shape))
        for (axis, end), side in self.data.sides.items():
            if side.holds:
                at = self._at(axis, end)
                held[at], values[at] = True, exact(side.g)
        return held, values

    def _at(self, axis: int, end: int) -> tuple[Any, ...]:
        return (*(-end if i == axis else slice(None) for i in self.axes), ...)

    def _of_nodes(self, loads: np.ndarray) -> np.ndarray:
        """Add up the loads of the nodes that are one, (..., *nodes) to (..., nodes)."""
        found = exact(np.zeros((*loads.shape[: loads.ndim - len(self.axes)], self.numbers.size)))
        np.add.at(found, (..., self.numbers.ravel()), loads.reshape(found.shape))
        return found

    def _hats(self, axis: int) -> np.ndarray:
        """Integrate the hats along an axis."""
        half = np.broadcast_to(self.widths[axis] / 2, self.cells[axis])
        return np.append(half, exact(0)) + np.append(exact(0), half)

    # The matrix

    def _matrix(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the rows of the unknowns: the numbers of rows and columns, and the entries, by rows."""
        sides = [
            (place, side.alpha) for place, side in self.data.sides.items() if not side.holds and side.alpha
        ]
        parts = [_scattered(self.numbers, self._element()), *itertools.starmap(self._robin, sides)]
        rows, columns, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
        wanted = np.isin(rows, self.free)
        keys = rows[wanted] * self.numbers.size + columns[wanted]
        order = np.argsort(keys, kind="stable")
        keys, starts = np.unique(keys[order], return_index=True)
        summed = np.add.reduceat(entries[wanted][order], starts) if len(keys) else entries[:0]
        return keys // self.numbers.size, keys % self.numbers.size, summed

    def _element(self) -> np.ndarray:
        """Give each cell's matrix, (*cells, *corners, *corners)."""
        a, c = exact(self.data.a), self.data.c
        each = (*self.cells, *[1] * 2 * len(self.axes))
        energy = sum(
            self._product([SLOPES / width if i == axis else MASS * width / 6 for i, width in self._each()])
            for axis in self.axes
        )
        return a.reshape(each) * energy + (self._reaction() if np.any(c) else 0)

    def _reaction(self) -> np.ndarray:
        """Integrate c times the product of two hats over each cell: the one place that knows what c is.

        It is linear along each axis between its nodal values, unless it is lumped.
        """
        dim, lumped = len(self.axes), self.data.c_lumped
        lumped = self.data.lumped and self.data.f is not None if lumped is None else lumped
        c = exact(np.broadcast_to(self.data.c, self.shape))
        total = 0
        for corner in itertools.product((0, 1), repeat=dim):
            at = c[tuple(slice(low, low + n) for low, n in zip(corner, self.cells, strict=True))]
            own = [DIAGONALS[low] / exact(2) if lumped else TRIPLES[low] / exact(12) for low in corner]
            parts = [own[axis] * width for axis, width in self._each()]
            total = total + at.reshape(*self.cells, *[1] * 2 * dim) * self._product(parts)
        return total

    def _each(self) -> list[tuple[int, np.ndarray]]:
        return [(axis, width.reshape(-1, 1, 1)) for axis, width in enumerate(self.widths)]

    @staticmethod
    def _product(matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Multiply matrices of cells along each axis to those of cells, (*cells, *corners, *corners)."""
        dim = len(matrices)
        parts = []
        for axis, matrix in enumerate(matrices):
            shape = [1] * 3 * dim
            shape[axis], shape[dim + axis], shape[2 * dim + axis] = matrix.shape
            parts.append(matrix.reshape(shape))
        return reduce(np.multiply, parts, exact(1))

    def _robin(self, place: tuple[int, int], alpha: float) -> tuple[np.ndarray, ...]:
        axis, end = place
        mass = self._product([MASS * width / 6 for i, width in self._each() if i != axis])
        return _scattered(self.numbers[self._at(axis, end)], arb(alpha) * mass)

    # Loads

    def _loads(self) -> np.ndarray:
        """Give the loads of the unknowns, (rows, unknowns), fluxes included."""
        f, b = self.data.f, self.data.b
        fluxes = exact(np.zeros(self.shape))
        for (axis, end), side in self.data.sides.items():
            if not side.holds:
                at = self._at(axis, end)
                g = exact(np.broadcast_to(side.g, fluxes[at].shape))
                fluxes[at] += self._integrated(g, [i for i in self.axes if i != axis])
        if f is not None:
            return self._of_nodes(self._integrated(exact(f), self.axes) + fluxes)[:, self.free]
        return exact(b).reshape(len(b), -1) + self._of_nodes(fluxes)[self.free]

    def _integrated(self, values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """Integrate nodal values along the last axes, which are those of the box given, against the hats."""
        for place, axis in enumerate(axes, -len(axes)):
            along = np.moveaxis(values, place, -1)
            if self.data.lumped:
                along = along * self._hats(axis)
            else:
                sixth = self.widths[axis] / 6
                low, high = along[..., :-1], along[..., 1:]
                none = exact(np.zeros((*along.shape[:-1], 1)))
                along = np.append((2 * low + high) * sixth, none, -1) + np.append(
                    none, (low + 2 * high) * sixth, -1
                )
            values = np.moveaxis(along, -1, place)
        return values

    def _balanced(self, loads: np.ndarray) -> np.ndarray:
        """Take a constant right-hand side off, so that loads of a singular problem sum to zero."""
        if not self.data.singular:
            return loads
        return loads - loads.sum(-1, keepdims=True) / self.weights.sum() * self.weights


class Layers:
    """An approximate inverse, by elimination of layers of nodes across one axis.

    Parameters
    ----------
    system : System
        The matrix. In a singular problem the last unknown is held at zero.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        free = system.free[:-1] if system.data.singular else system.free
        self.layers = min(
            (self._layers(free, axis) for axis in system.axes),
            key=lambda found: max(map(len, found), default=0),
        )
        self.pivots: list[arb_mat] = []
        self.ratios: list[arb_mat] = []
        self.links: list[arb_mat] = []
        blocks = self._blocks()
        for k, layer in enumerate(self.layers):
            pivot = blocks(layer, layer)
            if k:
                before = self.layers[k - 1]
                self.links.append(blocks(layer, before))
                self.ratios.append(_solved(self.pivots[-1], blocks(before, layer)))
                pivot = (pivot - self.links[-1] * self.ratios[-1]).mid()
            self.pivots.append(pivot)

    def __call__(self, loads: np.ndarray) -> np.ndarray:
        """Solve for loads of the unknowns, (rows, unknowns); as many values, without bounds."""
        places = {node: i for i, node in enumerate(self.system.free)}
        parts: list[arb_mat] = []
        for k, layer in enumerate(self.layers):
            part = _matrix(loads[:, [places[node] for node in layer]].T)
            if k:
                part = part - self.links[k - 1] * parts[-1]
            parts.append(_solved(self.pivots[k], part.mid()))
        for k in range(len(parts) - 2, -1, -1):
            parts[k] = (parts[k] - self.ratios[k] * parts[k + 1]).mid()
        u = exact(np.zeros(loads.shape))
        for layer, part in zip(self.layers, parts, strict=True):
            u[:, [places[node] for node in layer]] = np.array(part.tolist(), dtype=object).T
        return u

    def _layers(self, free: np.ndarray, axis: int) -> list[np.ndarray]:
        place = np.unravel_index(free, self.system.shape)[axis]
        if self.system.data.joined[axis]:
            # A ring is folded, so that each layer has two neighbours too.
            place = np.minimum(place, self.system.cells[axis] - place)
        return [free[place == i] for i in np.unique(place)]

    def _blocks(self) -> Callable[[np.ndarray, np.ndarray], arb_mat]:
        system = self.system
        entries: dict[tuple[int, int], arb] = dict(
            zip(zip(system.rows.tolist(), system.columns.tolist(), strict=True), system.entries, strict=True)
        )
        zero = arb(0)

        def block(rows: np.ndarray, columns: np.ndarray) -> arb_mat:
            pairs = itertools.product(rows.tolist(), columns.tolist())
            return arb_mat(len(rows), len(columns), [entries.get(pair, zero) for pair in pairs]).mid()

        return block


def exact(x: Any) -> np.ndarray:
    """Return the numbers of an array as balls of no width."""
    return np.frompyfunc(arb, 1, 1)(np.asarray(x, dtype=float).astype(object))


def most(x: np.ndarray) -> arb:
    """Bound the largest absolute value."""
    return max((abs(entry).upper() for entry in x.ravel()), default=arb(0))


def _widths(axis: Equal | np.ndarray) -> np.ndarray:
    if isinstance(axis, Equal):
        return (exact([axis.high]) - exact([axis.low])) / axis.cells
    return np.diff(exact(axis))


def _scattered(numbers: np.ndarray, element: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give rows, columns and entries of the cells' matrices, (*cells, *corners, *corners)."""
    dim = numbers.ndim
    corners = sliding_window_view(numbers, (2,) * dim)
    rows = corners.reshape((*corners.shape, *[1] * dim))
    columns = corners.reshape((*corners.shape[:dim], *[1] * dim, *[2] * dim))
    return tuple(part.ravel() for part in np.broadcast_arrays(rows, columns, element))


def _matrix(x: np.ndarray) -> arb_mat:
    return arb_mat(*x.shape, list(x.ravel()))


def _solved(A: arb_mat, b: arb_mat) -> arb_mat:
    return A.solve(b, algorithm="approx")
