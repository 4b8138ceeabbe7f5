"""Grids on an interval: nodes, cell widths, and where a point lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..core.arrays import to_numpy
from ..core.checks import count, number, shown
from ..core.kinds import is_array, refuse_masked, refuse_tracked
from ..core.resources import require_memory

__all__ = ["Grid", "grids_of"]

# Points that are outside by less, in units of the last place, are at the end; so close to a node they are it.
ROUNDED = 8


@dataclass(frozen=True, eq=False)
class Grid:
    """The nodes of an interval: ``n`` equal cells, or given nodes.

    Parameters
    ----------
    n : int
        Number of cells, at least 1.
    domain : tuple of float, default (0.0, 1.0)
        The two ends, in increasing order.
    nodes : numpy.ndarray, shape (n + 1,), optional
        Increasing node coordinates; then ``domain`` is their first and last.

    Examples
    --------
    >>> grid = Grid(4, (0.0, 2.0))
    >>> grid.h, grid.x
    (0.5, array([0. , 0.5, 1. , 1.5, 2. ]))
    """

    n: int
    domain: tuple[float, float] = (0.0, 1.0)
    nodes: np.ndarray | None = None

    def __post_init__(self) -> None:
        count("n", self.n)
        ends_of(self.domain)
        if self.nodes is not None and len(increasing(self.nodes)) != self.n + 1:
            raise ValueError(f"nodes: got {len(self.nodes)} nodes; accepted: n + 1 = {self.n + 1}")

    @property
    def uniform(self) -> bool:
        """Whether all cells have the same width by construction."""
        return self.nodes is None

    @property
    def first(self) -> int:
        """The number of the first cell: not zero where the grid is a part of another."""
        return 0

    @property
    def length(self) -> float:
        """The length of the interval."""
        return self.domain[1] - self.domain[0]

    @property
    def h(self) -> float | np.ndarray:
        """The cell width: one number on a uniform grid, else one per cell."""
        return self.length / self.n if self.nodes is None else self.widths(0, self.n)

    @cached_property
    def x(self) -> np.ndarray:
        """The ``n + 1`` node coordinates in float64, both ends included."""
        return self.points(0, self.n + 1)

    def points(self, start: int, stop: int) -> np.ndarray:
        """Return the coordinates of some nodes.

        Parameters
        ----------
        start, stop : int
            The first node, and the one behind the last.

        Returns
        -------
        numpy.ndarray, shape (stop - start,)
            In float64. The last node of a uniform grid is the domain's end to the last bit.
        """
        if self.nodes is not None:
            return self.nodes[start:stop]
        x = self.domain[0] + np.arange(start, stop) * (self.length / self.n)
        if stop == self.n + 1:
            x[-1] = self.domain[1]
        return x

    def inside(self, start: int, stop: int, t: np.ndarray) -> np.ndarray:
        """Return points inside of some cells, for a quadrature.

        Parameters
        ----------
        start, stop : int
            The first cell, and the one behind the last.
        t : numpy.ndarray, shape (points,)
            Local coordinates: 0 at the left end of a cell, 1 at its right.

        Returns
        -------
        numpy.ndarray, shape ((stop - start) * points,)
            In float64, cell by cell.
        """
        x = self.points(start, stop + 1)
        return (x[:-1, None] + np.diff(x)[:, None] * t).ravel()

    def widths(self, start: int, stop: int) -> np.ndarray:
        """Return the widths of some cells.

        Parameters
        ----------
        start, stop : int
            The first cell, and the one behind the last.

        Returns
        -------
        numpy.ndarray, shape (stop - start,)
            In float64.
        """
        if self.nodes is None:
            return np.full(stop - start, self.length / self.n)
        return np.diff(self.nodes[start : stop + 1])

    def locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell that each point lies in, and where in it.

        Parameters
        ----------
        x : numpy.ndarray of float64
            Points of the domain.

        Returns
        -------
        cell : numpy.ndarray of int64
            Number of the cell, from 0; a node belongs to the cell on its right, the last one to the last.
        t : numpy.ndarray of float64
            Local coordinate: 0 at the left end of the cell, 1 at its right.
        """
        if self.nodes is None:
            h = self.length / self.n
            cell = np.clip(np.floor((x - self.domain[0]) / h), 0, self.n - 1)
            # The quotient of a node may round to either side of its index.
            cell += (x >= self.domain[0] + (cell + 1) * h) & (cell < self.n - 1)
            cell -= (x < self.domain[0] + cell * h) & (cell > 0)
            return cell.astype(np.int64), np.clip((x - (self.domain[0] + cell * h)) / h, 0.0, 1.0)
        cell = np.clip(np.searchsorted(self.nodes, x, side="right") - 1, 0, self.n - 1)
        return cell, (x - self.nodes[cell]) / (self.nodes[cell + 1] - self.nodes[cell])

    def find(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where points lie as :meth:`locate`, but for rounding, and which of them lie outside.

        Parameters
        ----------
        x : numpy.ndarray of float32 or float64
            Any points. Those that are outside, or beside a node, by rounding alone are at the end, or there.

        Returns
        -------
        cell, t : numpy.ndarray
            As from :meth:`locate`; of points outside those of the nearest end.
        outside : numpy.ndarray of bool
            Which points the domain does not have.
        """
        low, high = self.domain
        largest = ROUNDED * max(abs(low), abs(high))
        slack = largest * np.finfo(x.dtype).eps
        outside = ~((x >= low - slack) & (x <= high + slack))
        cell, t = self.locate(np.clip(np.where(outside, low, x).astype(np.float64), low, high))
        close = largest * np.finfo(np.float64).eps / self.width(cell)
        up = t >= 1 - close
        last = cell == self.n - 1
        t = np.where(up, np.where(last, 1.0, 0.0), np.where(t <= close, 0.0, t))
        return cell + (up & ~last), t, outside

    def width(self, cell: np.ndarray) -> np.ndarray:
        """Return the widths of cells.

        Parameters
        ----------
        cell : numpy.ndarray of int64
            Their numbers, from 0.
        """
        h = self.h
        return np.full(cell.shape, h) if isinstance(h, float) else h[cell]


def ends_of(domain: Any) -> tuple[float, float]:
    """Return the two ends of an interval, or say what is accepted."""
    try:
        low, high = (number("domain", end) for end in domain)
    except (TypeError, ValueError):
        raise ValueError(f"domain: got {shown(domain)}; accepted: two finite numbers (low, high)") from None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"domain: got {shown(domain)}; accepted: (low, high) with low < high")
    return low, high


def increasing(nodes: Any) -> np.ndarray:
    """Return node coordinates in an array of their own, or say what is accepted."""
    x = to_numpy("nodes", nodes).astype(np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"nodes: got shape {x.shape}; accepted: (n + 1,), at least 2 nodes")
    finite = np.isfinite(x)
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"nodes: got {float(x[i])} at index {i}; accepted: finite numbers")
    with np.errstate(over="ignore"):
        widths = np.diff(x)
    rising = (widths > 0) & np.isfinite(widths)
    if not rising.all():
        i = int(np.argmin(rising))
        got = f"{float(x[i])}, {float(x[i + 1])} at index {i}"
        raise ValueError(f"nodes: got {got}; accepted: increasing coordinates")
    return x


def grids_of(n: Any, domain: Any, nodes: Any, dim: int) -> list[Grid]:
    """Return the grid of each axis, once it is known that there is memory for the cells."""
    if nodes is not None:
        grids = _of_all_nodes(nodes, n, domain, dim)
    else:
        cells = _cells(n, dim)
        require_memory(math.prod(cells), n if dim > 1 else None)
        grids = [_uniform_grid(k, ends) for k, ends in zip(cells, _domains(domain, dim), strict=True)]
    volume = math.prod(grid.length / grid.n for grid in grids)
    if dim > 1 and not 1e-300 < volume < 1e300:
        got = f"{shown(domain)}, whose cells have the volume {volume:.0e}"
        raise ValueError(f"domain: got {got}; accepted: cells of a volume between 1e-300 and 1e300")
    return grids


def _of_all_nodes(nodes: Any, n: Any, domain: Any, dim: int) -> list[Grid]:
    """Return the grids of given nodes, in more dimensions one array for each axis."""
    if dim == 1:
        (ends,) = _domains(domain, 1)
        return [_of_nodes(nodes, n, ends)]
    refuse_tracked("nodes", nodes)
    axes = list(nodes) if is_array(nodes) else []
    if len(axes) != dim or not all(map(is_array, axes)):
        raise ValueError(f"nodes: got {shown(nodes)}; accepted: a tuple of {dim} arrays, one for each axis")
    counts = list(n) if is_array(n) else [n] * dim
    if len(counts) != dim:
        raise ValueError(f"n: got {shown(n)}; accepted: a number of cells, or {dim} of them")
    grids = [_of_nodes(*each) for each in zip(axes, counts, _domains(domain, dim), strict=True)]
    require_memory(math.prod(grid.n for grid in grids), None)
    return grids


def _of_nodes(nodes: Any, n: Any, ends: Any) -> Grid:
    x = increasing(nodes)
    if ends_of(ends) not in ((0.0, 1.0), (x[0], x[-1])):
        raise ValueError(f"domain: got {shown(ends)} and nodes; accepted: one of them")
    if n is not None and count("n", n) != len(x) - 1:
        raise ValueError(f"n: got {shown(n)} and {len(x)} nodes; accepted: n = {len(x) - 1}, or nodes alone")
    return Grid(len(x) - 1, (float(x[0]), float(x[-1])), x)


def _cells(n: Any, dim: int) -> tuple[int, ...]:
    if n is None:
        other = "nodes" if dim == 1 else "one for each axis"
        accepted = f"a number of cells of at least 1, or {other}, or arrays whose shapes tell it"
        raise ValueError(f"n: got None; accepted: {accepted}")
    if dim == 1 or not is_array(n):
        return (count("n", n),) * dim
    n = n if hasattr(n, "tolist") or not hasattr(n, "__array__") else np.asarray(n)
    cells = n.tolist() if hasattr(n, "tolist") else list(n)
    if len(cells) != dim:
        raise ValueError(f"n: got {shown(n)}; accepted: a number of cells, or {dim} of them")
    return tuple(count("n", each) for each in cells)


def _uniform_grid(cells: int, domain: Any) -> Grid:
    low, high = ends_of(domain)
    h = (high - low) / cells
    if not (low + h > low and high - h < high):
        got = f"{domain!r}, where {cells} cells are lost to rounding"
        raise ValueError(f"domain: got {got}; accepted: a longer one")
    return Grid(cells, (low, high))


def _domains(domain: Any, dim: int) -> list[Any]:
    """Return the ends of each axis, not yet looked at, from one pair for all axes or one for each."""
    refuse_masked("domain", domain)
    if hasattr(domain, "__array__"):
        domain = to_numpy("domain", domain).tolist()
    if dim == 1:
        return [domain]
    try:
        ends = [tuple(pair) if is_array(pair) else pair for pair in domain]
    except TypeError:
        raise ValueError(f"domain: got {shown(domain)}; accepted: a pair (low, high) for each axis") from None
    if len(ends) == 2 and not any(isinstance(end, tuple) for end in ends):
        return [tuple(ends)] * dim
    if len(ends) != dim or not all(isinstance(pair, tuple) for pair in ends):
        raise ValueError(f"domain: got {shown(domain)}; accepted: (low, high), or {dim} such pairs")
    return ends
