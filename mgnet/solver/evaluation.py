"""A finite-element function between its nodes: its values and its slopes at any points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import data, known_values, sent, to_numpy
from ..core.checks import shown
from ..core.kinds import hidden, tracked
from ..poisson.grid import Grid

__all__ = ["Interpolant"]


class Interpolant:
    """The function that is linear along each axis of each cell, by its nodal values.

    Their shape is ``(..., *nodes)``; leading axes are a batch. Outside of the active cells it is NaN.
    """

    def __init__(self, u: Tensor, grids: Sequence[Grid], active: Tensor | None = None) -> None:
        self.grids, self.dim, self.active = grids, len(grids), active
        self.u = u if active is None else torch.where(u.isnan(), 0.0, u)

    def value(self, x: tuple[Any, ...]) -> Tensor:
        """Return the values at points, in float64; see :meth:`mgnet.Solution.__call__`."""
        places = self._places(x)
        return self._where_active(self._sum(self._inside(places)), places)

    def slope(self, x: tuple[Any, ...], side: str | None = None) -> Tensor:
        """Return the slopes at points, in float64; see :meth:`mgnet.Solution.derivative`."""
        places = self._places(x)
        components = [self._slope(places, along, side) for along in range(self.dim)]
        components = [self._where_active(slope, places) for slope in components]
        return components[0] if self.dim == 1 else torch.stack(components, -1)

    def _where_active(self, values: Tensor, places: list[_Place]) -> Tensor:
        """Return values, and NaN at points that are in no active cell, nor on the border of one."""
        if self.active is None:
            return values
        return values.masked_fill(~self._around(places), math.nan)

    def _around(self, places: list[_Place]) -> Tensor:
        """Say at which places one of the cells that meet there is active."""
        around = itertools.product(*((place.cell, place.before) for place in places))
        return reduce(torch.logical_or, map(self._is_active, around))

    def _is_active(self, cells: Sequence[Tensor]) -> Tensor:
        assert self.active is not None
        return sent(self.active, self.u.device)[tuple(cells)]

    def _inside(self, places: list[_Place]) -> list[_Place]:
        """Give the places in active cells, of those that meet there, if there are any."""
        if self.active is None:
            return places
        found = [place.cell for place in places]
        for cells in itertools.product(*((place.cell, place.before) for place in places)):
            here = self._is_active(cells) & ~self._is_active(found)
            found = [torch.where(here, *pair) for pair in zip(cells, found, strict=True)]
        return [place.seen_from(cell) for place, cell in zip(places, found, strict=True)]

    def _slope(self, places: list[_Place], along: int, side: str | None) -> Tensor:
        """Give the slope along an axis; at the border of two cells from both, or from that on a side."""
        high, low = (
            [place.alone(which) if axis == along else place for axis, place in enumerate(places)]
            for which in (0, 1)
        )
        here, at = self._sum(self._inside(high), along), places[along]
        if not at.at_borders:
            return here
        there = self._sum(self._inside(low), along)
        own, other = (width.to(here.device) for width in (at.width, at.width_before))
        share = torch.where((at.before != at.cell).to(here.device), own / (own + other), 0.0)
        share = share if side is None else torch.full_like(share, float(side == "left"))
        if self.active is not None:  # there may be but one
            share = torch.where(self._around(high), share, 1.0)
            share = torch.where(self._around(low), share, 0.0)
        return torch.lerp(here, there, share.expand(here.shape))

    def _sum(self, places: list[_Place], along: int | None = None) -> Tensor:
        """Add up the weighted values at the corners."""
        zero = torch.zeros((), dtype=torch.float64, device=self.u.device)
        return sum((weight * value for weight, value in self._corners(places, along)), zero)

    def _corners(self, places: list[_Place], along: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the values at the corners of each point's cell, in float64, and their weights.

        The weights are those of the values, or of the slope along an axis.
        """
        u = self.u
        batch, shape = u.shape[: u.ndim - self.dim], places[0].t.shape
        for corner in itertools.product((0, 1), repeat=self.dim):
            weight = torch.ones((), dtype=torch.float64, device=u.device)
            for axis, (high, place) in enumerate(zip(corner, places, strict=True)):
                if axis == along:
                    weight = weight * ((1.0 if high else -1.0) / place.width)
                else:
                    weight = weight * (place.t if high else 1 - place.t)  # eq: hat
            # In one row: a lone number as an index would be read, and a GPU waited for.
            cells = (place.cell + high for high, place in zip(corner, places, strict=True))
            index: list[Any] = [cell.ravel() for cell in cells]
            yield weight, u[(..., *index)].reshape((*batch, *shape)).double()  # eq: product-hat

    def _places(self, x: tuple[Any, ...]) -> list[_Place]:
        """Find the cell of each point along each axis."""
        given = [data("x", coordinate) for coordinate in self._coordinates(x)]
        try:
            points = np.broadcast_arrays(*map(_fixed, given))
        except ValueError:
            shapes = [tuple(coordinate.shape) for coordinate in given]
            raise ValueError(f"x: got shapes {shapes}; accepted: shapes that broadcast") from None
        pairs = zip(points, self.grids, strict=True)
        places = [_Place.of(each, grid, self.u.device) for each, grid in pairs]
        return [place.moving(x) for place, x in zip(places, given, strict=True)]

    def _coordinates(self, x: tuple[Any, ...]) -> Sequence[Any]:
        """Give one array for each coordinate."""
        if len(x) == self.dim:
            return x
        if len(x) == 1 and isinstance(x[0], tuple | list) and len(x[0]) == self.dim:
            _require_coordinates(x[0])
            return x[0]
        if len(x) == 1:
            points = data("x", x[0])
            if isinstance(points, Tensor) and not tracked(points):
                points = known_values(points)  # all coordinates at once: a GPU is waited for
            if points.ndim and points.shape[-1] == self.dim:
                return [points[..., axis] for axis in range(self.dim)]
        raise ValueError(
            f"x: got {len(x)} arguments; accepted: {self.dim} arrays of coordinates,"
            f" or one array of points of shape (..., {self.dim})"
        )


class _Place(NamedTuple):
    """Where points lie along an axis: the cell, the local coordinate, and the cell before a node."""

    cell: Tensor
    width: Tensor
    t: Tensor
    before: Tensor
    width_before: Tensor
    at_borders: bool  # whether any point is at the border of two cells

    @classmethod
    def of(cls, points: np.ndarray, grid: Grid, device: torch.device) -> _Place:
        cell, t, outside = grid.find(points)
        if outside.any():
            low, high = grid.domain
            raise ValueError(f"x: got {float(points[outside].flat[0])}; accepted: points in [{low}, {high}]")
        before = np.where((t == 0) & (cell > 0), cell - 1, cell)
        parts = cell, grid.width(cell), t, before, grid.width(before)
        fields: list[Any] = [sent(torch.from_numpy(np.asarray(part)), device) for part in parts]
        return cls._make([*fields, bool((before != cell).any())])

    def alone(self, which: int) -> _Place:
        """Return the place in the cell, or in the one before it, and on the border of no other."""
        cell = (self.cell, self.before)[which]
        return self.seen_from(cell)._replace(before=cell, at_borders=False)

    def seen_from(self, cell: Tensor) -> _Place:
        """Return the place in the cell, or where it is another one in that before it."""
        own, ratio = (x.to(self.t.device) for x in (cell == self.cell, self.width / self.width_before))
        t = torch.where(own, self.t, 1 + self.t * ratio)
        return self._replace(
            cell=cell, width=torch.where(cell == self.cell, self.width, self.width_before), t=t
        )

    def moving(self, x: Any) -> _Place:
        """Return the same place, for derivatives by the points if any are taken."""
        if not tracked(x):
            return self
        return self._replace(t=self.t.to(x.device) + (x - x.detach()) / self.width.to(x.device))


def _fixed(x: Any) -> np.ndarray:
    """Give points as they are, without derivatives."""
    if hidden(x):
        raise ValueError("x: got points hidden by vmap; accepted: points whose cells can be found")
    return known_values(x) if isinstance(x, Tensor) else x


def _require_coordinates(x: tuple[Any, ...] | list[Any]) -> None:
    """Refuse nested lists that may be arrays of coordinates and points alike; a tuple of arrays is clear."""
    if isinstance(x, tuple) and all(hasattr(part, "__array__") for part in x):
        return
    try:
        shape = to_numpy("x", x).shape
    except TypeError:  # of different lengths: no points
        return
    if len(shape) > 1 and shape[-1] == len(x):
        raise ValueError(
            f"x: got {shown(x)}, which may be {len(x)} arrays of coordinates, or points of {len(x)}"
            f" coordinates each; accepted: {len(x)} arguments, one for each coordinate, or one NumPy array or"
            f" tensor of points, of shape (..., {len(x)})"
        )
