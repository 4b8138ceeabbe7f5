"""A finite-element function between its nodes: its values and its slopes at any points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import data, known_values, sent, to_numpy
from ..core.checks import shown
from ..core.kinds import hidden, tracked
from ..poisson.grid import Grid

__all__ = ["Interpolant"]

# Points that are outside by less, in units of the last place, are at the end; so close to a node they are it.
ROUNDED = 8


class Interpolant:
    """The function that is linear along each axis of each cell, by its nodal values.

    Their shape is ``(..., *nodes)``; leading axes are a batch.
    """

    def __init__(self, u: Tensor, grids: Sequence[Grid]) -> None:
        self.u, self.grids, self.dim = u, grids, len(grids)

    def value(self, x: tuple[Any, ...]) -> Tensor:
        """Return the values at points, in float64; see :meth:`mgnet.Solution.__call__`."""
        return self._sum(self._places(x))

    def slope(self, x: tuple[Any, ...], side: str | None = None) -> Tensor:
        """Return the slopes at points, in float64; see :meth:`mgnet.Solution.derivative`."""
        places = self._places(x)
        components = [self._slope(places, along, side) for along in range(self.dim)]
        return components[0] if self.dim == 1 else torch.stack(components, -1)

    def _slope(self, places: list[_Place], along: int, side: str | None) -> Tensor:
        """Give the slope along an axis; at the border of two cells from both, or from that on a side."""
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
        low, high = grid.domain
        largest = ROUNDED * max(abs(low), abs(high))
        slack = largest * np.finfo(points.dtype).eps
        outside = ~((points >= low - slack) & (points <= high + slack))
        if outside.any():
            raise ValueError(f"x: got {float(points[outside].flat[0])}; accepted: points in [{low}, {high}]")
        cell, t = grid.locate(np.clip(points.astype(np.float64), low, high))
        close = largest * np.finfo(np.float64).eps / _width(grid, cell)
        up = (t >= 1 - close) & (cell < grid.n - 1)
        cell, t = cell + up, np.where(up | (t <= close), 0.0, t)
        before = np.where((t == 0) & (cell > 0), cell - 1, cell)
        parts = cell, _width(grid, cell), t, before, _width(grid, before)
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


def _width(grid: Grid, cell: np.ndarray) -> np.ndarray:
    h = grid.h
    return np.full(cell.shape, h) if isinstance(h, float) else h[cell]


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
