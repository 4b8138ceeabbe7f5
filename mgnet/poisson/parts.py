"""Parts of a problem along its first axis, one for each process: their matrices and loads add up to its own.

A cut leaves ends through which nothing flows: each part has the integrals over its own cells, and a node of
two parts the sum of what both have, as in substructuring, :eq:`parts`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.kinds import refuse_tracked
from .conditions import SIDES, Condition, Dirichlet, Neumann
from .grid import Grid
from .problem import Poisson
from .region import Region

__all__ = ["GridPart", "even_bounds", "matched_bounds", "part", "require_parts"]

# Cells of the largest share over those of an even one, up to which shares may be uneven to coarsen together.
UNEVEN = 1.25


@dataclass(frozen=True, eq=False)
class GridPart(Grid):
    """Some cells of a grid, whose coordinates are those of the whole to the last bit.

    Parameters
    ----------
    n, domain, nodes
        As for ``Grid``; the ends are two nodes of the whole.
    whole : Grid
        The grid that it is a part of.
    start : int
        The number of its first cell there.
    """

    whole: Grid = Grid(1)
    start: int = 0

    @property
    def first(self) -> int:
        """The number of the first cell."""
        return self.start

    @property
    def length(self) -> float:
        """The length of the interval, so that the width of a cell is the whole's, whatever its ends round."""
        return self.whole.length * (self.n / self.whole.n) if self.uniform else super().length

    def points(self, start: int, stop: int) -> np.ndarray:
        """Return the coordinates of some nodes; see ``Grid.points``."""
        return self.whole.points(self.start + start, self.start + stop)

    def widths(self, start: int, stop: int) -> np.ndarray:
        """Return the widths of some cells; see ``Grid.widths``."""
        return self.whole.widths(self.start + start, self.start + stop)

    def locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell that each point lies in, and where in it; see ``Grid.locate``."""
        cell, t = self.whole.locate(x)
        inside = np.clip(cell - self.start, 0, self.n - 1)
        # The last node is the first of the next part's cells, and the end of this one's.
        t = np.where(cell - self.start > inside, 1.0, np.where(cell - self.start < inside, 0.0, t))
        return inside, t


def even_bounds(n: int, world: int) -> list[int]:
    """Return where the cells of each of some processes begin, and the end, as evenly as can be.

    Parameters
    ----------
    n : int
        Number of cells.
    world : int
        Number of processes.

    Raises
    ------
    ValueError
        When there are fewer cells than processes.
    """
    if n < world:
        raise ValueError(f"n: got {n} cells for {world} processes; accepted: at least one for each")
    return [n * rank // world for rank in range(world + 1)]


def matched_bounds(n: int, world: int) -> list[int]:
    """Return the same at multiples of a power of two, so that the grids of all coarsen together.

    The power is the largest by which no share has more than a quarter more cells than an even one.

    Parameters
    ----------
    n : int
        Number of cells along the first axis.
    world : int
        Number of processes.

    Raises
    ------
    ValueError
        When there are fewer than two layers of cells for each process.
    """
    if n < 2 * world:
        accepted = f"at least two for each, {2 * world}, or at most {max(1, n // 2)} processes"
        raise ValueError(
            f"n: got {n} layers of cells along the first axis for {world} processes; accepted: {accepted}"
        )
    step = 2
    while n // step >= world:
        step *= 2
    found = even_bounds(n, world)
    while step > 1:
        edges = [step * (n // step * rank // world) for rank in range(world)] + [n]
        shares = [high - low for low, high in pairwise(edges)]
        if min(shares) >= 2 and max(shares) * world <= UNEVEN * n:
            return edges
        step //= 2
    return found


def require_parts(problem: Poisson) -> None:
    """Refuse a problem that several processes cannot share.

    Parameters
    ----------
    problem : Poisson
        The problem.

    Raises
    ------
    ValueError
        For a batch of operators, parts of a box and held nodes, and for data by which derivatives are taken.
    """
    if problem.samples:
        got = f"leading axes {problem.samples} and several processes"
        raise ValueError(f"a, c: got {got}; accepted: one operator, or a process alone")
    for name, given in (("cells", problem.region.active), ("fixed", problem.region.fixed)):
        if given is not None:
            got = f"a mask of shape {tuple(given.shape)} and several processes"
            raise ValueError(f"{name}: got {got}; accepted: none, or a process alone")
    several = problem.a if isinstance(problem.a, tuple) else (problem.a,)
    named = [("f", problem.f), ("b", problem.b), *(("a", a) for a in several), ("c", problem.c)]
    for name, _, _, side in problem.sides():
        named += [(f"{name}: g", side.g), (f"{name}: Robin alpha", getattr(side, "alpha", 0.0))]
    for name, value in named:
        refuse_tracked(name, value)


def part(problem: Poisson, start: int, stop: int, free: bool = False) -> Poisson:
    """Return the problem on some cells of its first axis, :eq:`parts`; arrays are referred to, not copied.

    Parameters
    ----------
    problem : Poisson
        The whole problem, one that :func:`require_parts` accepts.
    start, stop : int
        The first cell, and the one behind the last.
    free : bool, default False
        Whether the values at Dirichlet ends of the first axis are left open too, as those at cuts.

    Returns
    -------
    Poisson
        Its first axis is never joined: a joined one is cut between its last node and its first. Of a ready
        load ``b`` an entry at a cut goes to the part that begins there.
    """
    whole, low, high = problem.grid, start == 0, stop == problem.cells[0]
    outer = not problem.joined[0]
    own = copy(problem)
    for name, found in vars(Poisson).items():
        if isinstance(found, cached_property):
            vars(own).pop(name, None)
    # Of one kind in all processes: a side whose alpha differs may be one part's alone.
    vars(own)["alike"] = problem.alike
    own.grids = [_grid(whole, start, stop), *problem.grids[1:]]
    own.joined = (False, *problem.joined[1:])
    own.region = Region(None, None, own.joined, own.cells)  # eq: parts
    first = [
        side if outer and at and not (free and isinstance(side, Dirichlet)) else Neumann(0.0)
        for side, at in zip(problem.conditions[0], (low, high), strict=True)
    ]
    pairs = [(first[0], first[1]), *problem.conditions[1:]]
    own.conditions = [
        (_side(problem, pair[0], axis, 0, start, stop), _side(problem, pair[1], axis, -1, start, stop))
        for axis, pair in enumerate(pairs)
    ]
    several = isinstance(problem.a, tuple)
    cells = [_cut(problem, a, start, stop, 0) for a in (problem.a if several else (problem.a,))]
    own.a = tuple(cells) if several else cells[0]
    own.c, own.f = (
        _cut(problem, x, start, stop, int(not problem.by_cell(x))) for x in (problem.c, problem.f)
    )
    own.b = None if problem.b is None else _ready(problem, own, start, stop)
    return own


def _grid(whole: Grid, start: int, stop: int) -> Grid:
    ends = whole.points(start, start + 1)[0], whole.points(stop, stop + 1)[0]
    nodes = None if whole.nodes is None else whole.nodes[start : stop + 1]
    return GridPart(stop - start, (float(ends[0]), float(ends[1])), nodes, whole, start)


def _cut(problem: Poisson, x: Any, start: int, stop: int, nodal: int) -> Any:
    """Cut an array of cells, or of nodes, along the first axis; of joined ends the nodes may stand once."""
    if not isinstance(x, Tensor):
        return x
    place, count = -problem.dim, x.shape[-problem.dim]
    if stop + nodal <= count:
        return x.narrow(place, start, stop + nodal - start)
    return torch.cat((x.narrow(place, start, count - start), x.narrow(place, 0, 1)), place)


def _ready(problem: Poisson, own: Poisson, start: int, stop: int) -> Tensor:
    """Cut a ready load: an entry for each unknown of the part, zero where another part, or none, has it."""
    b, place = problem.b, -problem.dim
    assert b is not None
    given, chain = problem.space.axes[0].chain, own.space.axes[0].chain
    last = stop + int(stop == problem.cells[0] and not problem.joined[0])
    begin, end = max(start, given.first), min(last, given.first + b.shape[place])
    shape = list(b.shape)
    shape[place] = own.shape[0]
    found = b.new_zeros(shape)
    at = begin - start - chain.first
    # A Dirichlet end is an unknown of neither.
    found.narrow(place, at, end - begin).copy_(b.narrow(place, begin - given.first, end - begin))
    return found


def _side(problem: Poisson, side: Condition, axis: int, end: int, start: int, stop: int) -> Condition:
    """Cut the arrays of a side of a box along the first axis."""
    changed = {
        name: _along(problem, value, axis, end, start, stop)
        for name, value in vars(side).items()
        if getattr(value, "ndim", 0)
    }
    return replace(side, **changed) if changed else side


def _along(problem: Poisson, value: Any, axis: int, end: int, start: int, stop: int) -> Any:
    """Cut nodal values on a side, or on the whole box, of which those on the side are kept."""
    dim, nodes = problem.dim, problem.node_shape
    if tuple(value.shape[-dim:]) == nodes:
        value = value[(..., 0 if end == 0 else nodes[axis] - 1, *[slice(None)] * (dim - 1 - axis))]
    if axis:
        value = value[(..., slice(start, stop + 1), *[slice(None)] * (dim - 2))]
    if tuple(value.shape[-dim:]) == (stop - start + 1, *nodes[1:]):
        got = f"a batch of shape {tuple(value.shape)}, which fits the whole box of a process"
        raise ValueError(f"{SIDES[axis][end]}: got {got}; accepted: a batch of another size")
    return value
