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
        return self._where_active(self._sum(places), places)

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
        around = itertools.product(*((place.cell, place.before) for place in places))
        return values.masked_fill(~reduce(torch.logical_or, map(self._is_active, around)), math.nan)

    def _is_active(self, cells: Sequence[Tensor]) -> Tensor:
        assert self.active is not None
        return sent(self.active, self.u.device)[tuple(cells)]

    def _slope(self, places: list[_Place], along: int, side: str | None) -> Tensor:
        """Give the slope along an axis; at the border of two cells from both, or from that on a side."""
        places = places if self.active is None else self._beside(places, along)
        here, at = self._sum(places, along), places[along]
        if not at.at_borders or side == "right":
            return here
        before = at._replace(cell=at.before, width=at.width_before)
        there = self._sum([*places[:along], before, *places[along + 1 :]], along)
        if side == "left":
            return there
        border = (at.before != at.cell).to(here.device)
        own, other = at.width.to(here.device), at.width_before.to(here.device)
        return torch.where(border, torch.lerp(here, there, own / (own + other)), here)

    def _beside(self, places: list[_Place], along: int) -> list[_Place]:
        """Give places whose cell, and the one before it along an axis, are active where one of both is."""
        # On borders across the axis the cell on the other side may be the active one.
        cells = [place.cell for place in places]
        for other in (i for i in range(self.dim) if i != along):
            here = self._is_active(cells) | self._is_active(
                [*cells[:along], places[along].before, *cells[along + 1 :]]
            )
            moved = torch.where(here, cells[other], places[other].before)
            t = torch.where(moved == cells[other], places[other].t, torch.ones_like(places[other].t))
            places = [p._replace(cell=moved, t=t) if i == other else p for i, p in enumerate(places)]
            cells[other] = moved
        at = places[along]
        low = self._is_active([*cells[:along], at.before, *cells[along + 1 :]])
        high = self._is_active(cells)
        cell, before = torch.where(high, at.cell, at.before), torch.where(low, at.before, at.cell)
        width = torch.where(high, at.width, at.width_before)
        own = at._replace(
            cell=cell, before=before, width=width, width_before=torch.where(low, at.width_before, at.width)
        )
        return [*places[:along], own, *places[along + 1 :]]

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
