"""Poisson problems of every form, assembled cell by cell and solved by SciPy: an answer of its own.

Nothing here comes from mgnet. An integral is a sum over points of
every cell: two Gauss points along each axis, exact for what occurs, or where it is lumped the corners. What a
side adds is the same, one dimension lower. All is assembled in NumPy's longest float, a factor in float64 is
corrected until it has given what it can, and the last correction says how much may be wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

LONG = np.longdouble
SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
# Points on (0, 1) whose values each weigh a half: those of Gauss, exact to degree 3, and those that lump.
GAUSS = ((1 - 1 / np.sqrt(LONG(3))) / 2, (1 + 1 / np.sqrt(LONG(3))) / 2)
CORNERS = (LONG(0), LONG(1))
# Most corrections of a solution.
CORRECTIONS = 30


def lumps_alpha(alpha: Any, lumped: bool) -> bool:
    """Say whether Robin's alpha counts by its nodal values: an array does where g does, a number never."""
    return lumped and np.ndim(alpha) > 0


class Side(NamedTuple):
    """A condition: u = g where ``holds``, else a ∂u/∂ν + α u = g; numbers, or nodal values of the side."""

    holds: bool
    alpha: Any = 0.0
    g: Any = 0.0


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem −∇·(a ∇u) + c u = f on cells of a box, with one right-hand side.

    Parameters
    ----------
    nodes : sequence of array
        Increasing coordinates for each axis.
    a : sequence of number or array
        The entries of a diagonal tensor, one for each axis: numbers, one value per cell, or one per node, of
        which a cell has the mean of its corners.
    c, f : number or array
        One value per cell, or one per node.
    b : array, one value per node, optional
        A ready load instead of ``f``, to which fluxes are added; it counts at unknowns, once where nodes are
        joined.
    boundary : dict
        Conditions by the name of the side; u = 0 where none is named.
    periodic : sequence of bool, optional
        Which axes are joined.
    cells : array of bool, optional
        The cells that the domain is made of.
    fixed : (array of bool, array or number), optional
        Nodes that are held, whatever holds on the sides, and their values.
    points : sequence of (coordinates, strength)
        Point sources.
    lumped : bool
        Whether nodal values of f, g and alpha stand for their integrals.
    c_lumped : bool
        Whether c u does.
    """

    nodes: Sequence[np.ndarray]
    a: Sequence[Any]
    c: Any = 0.0
    f: Any = 0.0
    b: np.ndarray | None = None
    boundary: Mapping[str, Side] = field(default_factory=dict)
    periodic: Sequence[bool] | None = None
    cells: np.ndarray | None = None
    fixed: tuple[np.ndarray, Any] | None = None
    points: Sequence[tuple[Sequence[float], float]] = ()
    lumped: bool = True
    c_lumped: bool = True


class Elements(NamedTuple):
    """Some cells of a box, or of a side of it.

    ``nodes`` are the numbers of their corners, shape (corners, elements), in the order of
    ``itertools.product``; ``widths`` those along each axis, of shape (elements,).
    """

    nodes: np.ndarray
    widths: list[np.ndarray]

    @classmethod
    def of(cls, numbers: np.ndarray, widths: Sequence[np.ndarray], active: np.ndarray) -> Elements:
        """Take the active cells of a box whose nodes have these numbers."""
        active, dim = np.asarray(active), len(widths)
        nodes = []
        for corner in itertools.product((0, 1), repeat=dim):
            at = tuple(slice(low, low + n) for low, n in zip(corner, active.shape, strict=True))
            nodes.append(np.asarray(numbers[at])[active])
        along = [w.reshape([-1 if i == axis else 1 for i in range(dim)]) for axis, w in enumerate(widths)]
        return cls(np.array(nodes), [np.broadcast_to(w, active.shape)[active] for w in along])

    def points(self, rule: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Give local coordinates, and what each element's value there weighs."""
        measure = math.prod(self.widths, start=np.ones(self.nodes.shape[1], LONG))
        for t in itertools.product(rule, repeat=len(self.widths)):
            yield t, measure / LONG(2) ** len(t)

    def stiffness(self, a: Sequence[np.ndarray]) -> np.ndarray:
        """Integrate Σ a ∂φ ∂ψ for a of each axis, constant in elements: (corners, corners, elements)."""
        total = LONG(0)
        for t, weight in self.points(GAUSS):
            for axis, (value, width) in enumerate(zip(a, self.widths, strict=True)):
                slope = hats(t, axis)
                total = total + np.multiply.outer(slope, slope)[..., None] * (value * weight / width**2)
        return total

    def mass(self, c: np.ndarray, rule: Sequence[Any]) -> np.ndarray:
        """Integrate c φ ψ for c with values at all corners: (corners, corners, elements)."""
        total = LONG(0)
        for t, weight in self.points(rule):
            hat = hats(t)
            total = total + np.multiply.outer(hat, hat)[..., None] * ((hat @ c) * weight)
        return total

    def load(self, f: np.ndarray, rule: Sequence[Any]) -> np.ndarray:
        """Integrate f φ for f with values at all corners: (corners, elements)."""
        total = LONG(0)
        for t, weight in self.points(rule):
            hat = hats(t)
            total = total + np.multiply.outer(hat, (hat @ f) * weight)
        return total


def hats(t: Sequence[Any], slope: int | None = None) -> np.ndarray:
    """Give the hats of all corners at a point of the unit cell, or their slopes along an axis."""
    found = []
    for corner in itertools.product((0, 1), repeat=len(t)):
        parts = [x if high else 1 - x for x, high in zip(t, corner, strict=True)]
        if slope is not None:
            parts[slope] = LONG(1 if corner[slope] else -1)
        found.append(math.prod(parts, start=LONG(1)))
    return np.array(found)


class System:
    """The matrix and the load of a problem at all nodes, which of them are held, and its pieces.

    Parameters
    ----------
    problem : Problem
        The problem.

    Attributes
    ----------
    names : numpy.ndarray, shape (nodes,)
        The node that each is: itself, but for those of a joined side.
    held, value : numpy.ndarray, shape (nodes,)
        Whether u is given at a node, and what it is.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.shape = tuple(len(x) for x in problem.nodes)
        self.widths = [np.diff(np.asarray(x, LONG)) for x in problem.nodes]
        self.numbers = np.arange(math.prod(self.shape)).reshape(self.shape)
        cells = tuple(n - 1 for n in self.shape)
        self.active = np.ones(cells, bool) if problem.cells is None else np.asarray(problem.cells)
        self.elements = Elements.of(self.numbers, self.widths, self.active)
        self.periodic = problem.periodic or (False,) * len(cells)
        names = self.numbers.copy()
        for axis, joined in enumerate(self.periodic):
            if joined:
                end = np.moveaxis(names, axis, 0)
                end[-1] = end[0]
        self.names = names.ravel()
        # Whether a node, and with it all that it is, has a cell.
        self.reached = np.isin(self.names, self.names[self.elements.nodes])
        self._hold()
        self._assemble()

    def _hold(self) -> None:
        self.held, self.value = np.zeros(self.numbers.size, bool), np.zeros(self.numbers.size, LONG)
        given = [(self._at(axis, end), side.g) for axis, end, side in self._sides() if side.holds]
        if self.problem.fixed is not None:
            mask, values = self.problem.fixed
            given.append((self.numbers[mask], np.broadcast_to(values, self.shape)[mask]))
        for at, values in given:
            where = self.names[at]
            self.held[where] = True
            self.value[where] = values
        self.held, self.value = self.held[self.names], self.value[self.names]

    def _assemble(self) -> None:
        problem, cells = self.problem, self.elements
        size = self.numbers.size
        self.of_f, self.of_sides = np.zeros(size, LONG), np.zeros(size, LONG)
        of_a, of_c = (
            Triplets.of(self.names[cells.nodes], entries, size)
            for entries in (
                cells.stiffness([self._corners(a).mean(0) for a in problem.a]),
                cells.mass(self._corners(problem.c), _rule(problem.c_lumped)),
            )
        )
        if problem.b is not None:
            self.of_f[self.unknowns] = np.ravel(problem.b)[self.unknowns]
        else:
            self._load(self.of_f, cells, cells.load(self._corners(problem.f), _rule(problem.lumped)))
        for x, strength in problem.points:
            self._add_point(x, strength)
        of_sides = [self._side(*place) for place in self._sides() if not place[-1].holds]
        # That of the cells alone, and that with the sides.
        self.inner, self.whole = Matrix(of_a, [of_c]), Matrix(of_a, [of_c, *of_sides])

    def _side(self, axis: int, end: int, side: Side) -> Triplets:
        """Add to the load what flows in through a side, where it has cells; return what ties u there."""
        rest = [w for i, w in enumerate(self.widths) if i != axis]
        facets = Elements.of(self._at(axis, end), rest, self.active.take(end, axis))
        g, alpha = np.zeros(self.numbers.size, LONG), np.zeros(self.numbers.size, LONG)
        g[self._at(axis, end)] = side.g
        self._load(self.of_sides, facets, facets.load(g[facets.nodes], _rule(self.problem.lumped)))
        alpha[self._at(axis, end)] = side.alpha
        entries = facets.mass(alpha[facets.nodes], _rule(lumps_alpha(side.alpha, self.problem.lumped)))
        return Triplets.of(self.names[facets.nodes], entries, len(g))

    def _add_point(self, x: Sequence[float], strength: float) -> None:
        """Add a point source, to the corners of a cell that it lies in."""
        places, t = [], []
        for axis, at in zip(self.problem.nodes, np.atleast_1d(x), strict=True):
            i = int(np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2))
            places.append(i)
            t.append((LONG(at) - axis[i]) / (axis[i + 1] - axis[i]))
        corners = self.numbers[tuple(slice(i, i + 2) for i in places)].ravel()
        np.add.at(self.of_f, self.names[corners], strength * hats(t))

    def _load(self, target: np.ndarray, elements: Elements, values: np.ndarray) -> None:
        np.add.at(target, self.names[elements.nodes], values)

    def _corners(self, values: Any) -> np.ndarray:
        """Give values at the corners of elements, of a number, or what has one per cell or per node."""
        values = np.asarray(values, LONG)
        if values.shape == self.shape:
            return values.ravel()[self.elements.nodes]
        in_cells = np.broadcast_to(values, self.active.shape)[self.active]
        return np.broadcast_to(in_cells, self.elements.nodes.shape)

    def _sides(self) -> list[tuple[int, int, Side]]:
        """Give axis, end and condition of what is not joined; of two that hold a node the later counts."""
        return [
            (axis, (0, -1)[i], self.problem.boundary.get(name, Side(True)))
            for axis, names in enumerate(SIDES[: len(self.shape)])
            if not self.periodic[axis]
            for i, name in enumerate(names)
        ]

    def _at(self, axis: int, end: int) -> np.ndarray:
        return np.asarray(self.numbers.take(end, axis))

    @cached_property
    def unknowns(self) -> np.ndarray:
        """The numbers of the nodes where u is to be found."""
        own = self.names == np.arange(len(self.names))
        return np.flatnonzero(own & self.reached & ~self.held)

    @cached_property
    def weights(self) -> np.ndarray:
        """The integrals of the hats, shape (nodes,)."""
        weights = np.zeros(self.numbers.size, LONG)
        self._load(weights, self.elements, self.elements.load(self._corners(1.0), GAUSS))
        return weights

    @cached_property
    def pieces(self) -> list[np.ndarray]:
        """The unknowns of each part that nothing holds: those that cells join, whatever entries cancel."""
        nodes, count = self.names[self.elements.nodes], self.numbers.size
        free = ~self.held[nodes]
        cells = np.broadcast_to(count + np.arange(nodes.shape[1]), nodes.shape)
        links = coo_matrix((np.ones(free.sum()), (nodes[free], cells[free])), [count + nodes.shape[1]] * 2)
        label = connected_components(links, directed=False)[1]
        reacts = label[:count][(self.whole.reaction > 0) & ~self.held]
        bound = set(np.concatenate((label[cells[~free]], reacts)).tolist())
        of_unknowns = label[self.unknowns]
        return [self.unknowns[of_unknowns == i] for i in np.unique(of_unknowns) if i not in bound]

    def defects(self) -> list[Any]:
        """For each piece that nothing holds: the constant right-hand side that its data exceed zero by."""
        b = self.of_f + self.of_sides
        return [b[piece].sum() / self.weights[piece].sum() for piece in self.pieces]


class Triplets(NamedTuple):
    """A matrix as rows, columns and entries; those with the same place are summed up."""

    rows: np.ndarray
    columns: np.ndarray
    entries: np.ndarray
    size: int

    @classmethod
    def of(cls, nodes: np.ndarray, entries: np.ndarray, size: int) -> Triplets:
        """Take matrices of elements, (corners, corners, elements), with these nodes at the corners."""
        rows, columns = np.broadcast_arrays(nodes[:, None], nodes[None])
        return cls(rows.ravel(), columns.ravel(), entries.ravel(), size)

    def sums(self, values: np.ndarray, where: Any = slice(None)) -> np.ndarray:
        """Sum up values of entries by rows."""
        total = np.zeros(self.size, LONG)
        np.add.at(total, self.rows[where], values[where])
        return total


class Matrix:
    """The matrix of a problem: what maps constants to zero, and what holds them."""

    def __init__(self, of_a: Triplets, of_c: Sequence[Triplets]) -> None:
        self.of_a = of_a
        parts = (np.concatenate(part) for part in list(zip(*of_c, strict=True))[:3])
        self.of_c = Triplets(*parts, of_a.size)
        both = (np.concatenate(part) for part in list(zip(self.of_a, self.of_c, strict=True))[:3])
        self.triplets = Triplets(*both, of_a.size)
        self.diagonal, self.reaction = (
            it.sums(it.entries, it.rows == it.columns) for it in (self.triplets, self.of_c)
        )

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Multiply; a part that is constant is lost no digit of, since its rows sum to zero."""
        of_a, of_c = self.of_a, self.of_c
        differences = of_a.sums(of_a.entries * (u[of_a.columns] - u[of_a.rows]))
        return differences + of_c.sums(of_c.entries * u[of_c.columns])

    def of_sizes(self, u: np.ndarray) -> np.ndarray:
        """Multiply absolute values."""
        it = self.triplets
        return it.sums(np.abs(it.entries) * np.abs(u[it.columns]))


@dataclass(frozen=True, eq=False)
class Answer:
    """The solution of a problem.

    Parameters
    ----------
    u : numpy.ndarray of the longest float, shape (*nodes,)
        Nodal values, NaN at a node without a cell; on a piece that nothing holds those with zero mean, for
        data less a constant right-hand side that they do not fit to.
    fluxes : numpy.ndarray, shape (*nodes,)
        What flows in at a node by the residual, the equation of its hat without the sides: the integral of
        a ∂u/∂ν there against the hat. Zero at an inner unknown; of joined nodes it stands at the first.
    uncertainty : float
        What rounding may have left of an error in u.
    condition : float
        By how much relative changes of the entries of matrix and load may grow in u, about.
    size : float
        The largest absolute value.
    """

    u: np.ndarray
    fluxes: np.ndarray
    uncertainty: float
    condition: float
    size: float


def solve(problem: Problem) -> Answer:
    """Assemble a problem and solve it."""
    return answer(System(problem))


def answer(system: System) -> Answer:
    """Solve a system."""
    A, of_f = system.whole, system.of_f.copy()
    for piece, defect in zip(system.pieces, system.defects(), strict=True):
        of_f[piece] -= defect * system.weights[piece]
    b = of_f + system.of_sides
    u = np.where(system.held & system.reached, system.value, 0)
    inverse = _Inverse(system)
    last = math.inf
    for step in range(CORRECTIONS):
        e = inverse(b - A(u))
        change = float(np.abs(e).max(initial=0))
        if step and not change < last / 2:
            break
        u, last = u + e, change
    assert math.isfinite(last), "the reference has no solution"
    size = float(np.abs(u).max(initial=0))
    spread = inverse(A.of_sizes(u) + np.abs(b))
    condition = float(np.abs(spread).max(initial=0)) / size if size else 1.0
    fluxes = np.where(system.reached, system.inner(u) - of_f, 0)
    fluxes[system.names != np.arange(len(fluxes))] = 0
    u = np.where(system.reached, u[system.names], np.nan)
    return Answer(u.reshape(system.shape), fluxes.reshape(system.shape), 10 * last, condition, size)


class _Inverse:
    """An approximate inverse in float64; on pieces that nothing holds it gives zero means."""

    def __init__(self, system: System) -> None:
        A, self.system = system.whole.triplets, system
        pinned = [piece[0] for piece in system.pieces]
        self.kept = np.setdiff1d(system.unknowns, pinned)
        place = np.full(A.size, -1)
        place[self.kept] = np.arange(len(self.kept))
        rows, columns = place[A.rows], place[A.columns]
        inside = (rows >= 0) & (columns >= 0)
        rows, columns = rows[inside], columns[inside]
        self.scale = 1 / np.sqrt(system.whole.diagonal[self.kept])
        entries = (A.entries[inside] * self.scale[rows] * self.scale[columns]).astype(float)
        matrix = coo_matrix((entries, (rows, columns)), (len(self.kept),) * 2).tocsc()
        self.factor = splu(matrix) if len(self.kept) else None

    def __call__(self, r: np.ndarray) -> np.ndarray:
        u = np.zeros(len(r), LONG)
        if self.factor is not None:
            scaled = r[self.kept] * self.scale
            size = np.abs(scaled).max() or LONG(1)
            u[self.kept] = self.factor.solve((scaled / size).astype(float)) * size * self.scale
        for piece in self.system.pieces:
            weights = self.system.weights[piece]
            u[piece] -= (u[piece] * weights).sum() / weights.sum()
        return u


def _rule(lumped: bool) -> Sequence[Any]:
    return CORNERS if lumped else GAUSS
