"""What a solver returns: nodal values that can be evaluated, drawn and trusted as far as they say."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import plot
from ..core.arrays import data, known_values, to_numpy
from ..core.checks import shown
from ..core.kinds import hidden, tracked
from ..core.memory import sent
from ..poisson.grid import Grid
from .iteration import Outcome, Status

__all__ = ["ConvergenceError", "Solution"]

# Points that are outside by less, in units of the last place, are at the end; so close to a node they are it.
ROUNDED = 8


class Solution:
    """A finite-element function and how it was found.

    Attributes
    ----------
    method : str
        How it was computed, "auto" resolved.
    device : str
        Where it was computed.
    """

    def __init__(
        self,
        u: Tensor,
        grids: Sequence[Grid],
        outcome: Outcome,
        *,
        method: str,
        tensors: bool = True,
        look_again: Callable[[], Outcome] | None = None,
    ) -> None:
        # What is read and written as an array is one array, also where a GPU computed it.
        self._u, self.device = u if tensors else u.cpu(), str(u.device)
        self._grids, self._outcome, self._tensors = tuple(grids), outcome, tensors
        self._look_again = look_again
        self.method = method

    @property
    def u(self) -> Any:
        """Nodal values, shape (..., n + 1) or (..., n₁ + 1, n₂ + 1), boundary included.

        NumPy or torch, as the data came; indexed [x, y, z]. Where the data require gradients it carries
        them on, and so do the values and slopes between the nodes, :eq:`adjoint`; a copy does not.
        """
        return self._u if self._tensors else self._values

    @cached_property
    def x(self) -> Any:
        """Node coordinates, shape (n + 1,), in float64; one array for each axis where there are more."""
        axes: list[Any] = [grid.x.copy() for grid in self._grids]
        if self._tensors:
            axes = [sent(torch.from_numpy(x), self._u.device) for x in axes]
        return axes[0] if self.dim == 1 else tuple(axes)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._grids)

    @property
    def _values(self) -> np.ndarray:
        return known_values(self._u)

    @property
    def status(self) -> Status:
        """How it ended."""
        return self._outcome.status

    @property
    def iterations(self) -> int:
        """Cycles done."""
        return self._outcome.iterations

    @cached_property
    def _history(self) -> Outcome:
        return self._look_again() if self._look_again else self._outcome

    def __getstate__(self) -> dict[str, Any]:
        # Another process gets the figures, not the hierarchy and the graph that they come from.
        return {**self.__dict__, "_u": self._u.detach(), "_history": self._history, "_look_again": None}

    @property
    def residuals(self) -> list[float]:
        """Residuals before the first and after each iteration.

        Each is the Euclidean norm relative to that of the load, of the worst right-hand side.
        """
        return self._history.residuals

    @property
    def error_estimate(self) -> float:
        """Estimated largest nodal error, absolute, of the worst right-hand side, :eq:`error-estimate`.

        It is that of the algebraic solution, not of the discretisation. Of "exact" and "direct" it is the
        size of the exact correction for the residual, computed when it is first asked for: from the arrays
        of the call and of ``u``, so ask before you change those in place.
        """
        return self._history.error_estimate

    @property
    def convergence_factor(self) -> float:
        """Mean factor by which the last corrections shrank; NaN where there was at most one."""
        return self._history.convergence_factor

    @property
    def dtype(self) -> str:
        """Precision of the values."""
        return str(self._u.dtype).removeprefix("torch.")

    @property
    def message(self) -> str:
        """One line: what the status means, and what to do about it."""
        where = (
            f" (row {self._outcome.row})"
            if self._u.ndim > self.dim and self.status is not Status.CONVERGED
            else ""
        )
        count = f"{self.iterations} iteration{'' if self.iterations == 1 else 's'}"
        return f"{self.status.name} after {count}{where}: {self.status.value}"

    def __call__(self, *x: Any) -> Any:
        """Evaluate the finite-element function.

        Parameters
        ----------
        *x : array or float
            Points of the domain, of any shape; what is outside by rounding alone is at the end. In more
            dimensions one array for each coordinate, of shapes that broadcast, or a tuple of those, or one
            array of points whose last axis is the coordinates.

        Returns
        -------
        array
            The values there: the batch axes of ``u``, then those of the points. In the kind of ``u``, and in
            tensors where a point requires a gradient.

        Raises
        ------
        ValueError
            For a point outside the domain, and for nested lists that are coordinates and points alike.

        Notes
        -----
        Points that require a gradient get one: the slope, in the cell that they lie in.
        """
        return self._like(self._sum(self._places(x)))

    def derivative(self, *x: Any) -> Any:
        """Evaluate the slope.

        At a node, where the slopes of two cells meet, it is their mean, each weighted with the width of the
        other cell: exact for parabolas, and of second order where the solution is smooth. At an end of the
        domain it is the slope of the one cell that there is.

        Parameters
        ----------
        *x : array or float
            Points, as for evaluation.

        Returns
        -------
        array
            The slopes there: the batch axes of ``u``, then those of the points; in more dimensions a last
            axis for the components of the gradient.

        Raises
        ------
        ValueError
            For a point outside the domain.
        """
        places = self._places(x)
        components = [self._slope(places, along) for along in range(self.dim)]
        return self._like(components[0] if self.dim == 1 else torch.stack(components, -1))

    def _slope(self, places: list[_Place], along: int) -> Tensor:
        """Give the slope along an axis; at the border of two cells from both."""
        here, at = self._sum(places, along), places[along]
        if not at.at_borders:
            return here
        border = (at.before != at.cell).to(here.device)
        before = at._replace(cell=at.before, width=at.width_before)
        there = self._sum([*places[:along], before, *places[along + 1 :]], along)
        own, other = at.width.to(here.device), at.width_before.to(here.device)
        return torch.where(border, torch.lerp(here, there, own / (own + other)), here)

    def _sum(self, places: list[_Place], along: int | None = None) -> Tensor:
        """Add up the weighted values at the corners."""
        zero = torch.zeros((), dtype=torch.float64, device=self._u.device)
        return sum((weight * value for weight, value in self._corners(places, along)), zero)

    def _corners(self, places: list[_Place], along: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the values at the corners of each point's cell, in float64, and their weights.

        The weights are those of the values, or of the slope along an axis.
        """
        u = self._u
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
        pairs = zip(points, self._grids, strict=True)
        places = [_Place.of(each, grid, self._u.device) for each, grid in pairs]
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

    def _like(self, values: Tensor) -> Any:
        result = values.to(self._u.dtype)
        return result if self._tensors or tracked(result) else result.detach().cpu().numpy()[()]

    def plot(self, ax: Any = None) -> Any:
        """Draw the nodal values: one line for each right-hand side, or the first one's as a map.

        In three dimensions the map is that of the plane in the middle of the last axis.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            Where it was drawn.
        """
        u = self._values
        title = f"{self.method}, n = {self._size}, {self.status.name.lower()}"
        if self.dim == 1:
            ax = plot.nodal(self._grids[0].x, u.reshape(-1, u.shape[-1]), ax)
        else:
            u = u.reshape(-1, *u.shape[-self.dim :])[0]
            if self.dim == 3:
                middle = self._grids[2].n // 2
                u, title = u[..., middle], f"{title}, z = {self._grids[2].x[middle]:g}"
            ax = plot.nodal_map(self._grids[0].x, self._grids[1].x, u, ax)
        ax.set_title(title)
        return ax

    @property
    def _size(self) -> str:
        return " x ".join(str(grid.n) for grid in self._grids)

    def _rows(self) -> list[tuple[str, str]]:
        batch = self._u.shape[: self._u.ndim - self.dim]
        shape = f", batch of {math.prod(batch)} right-hand sides" if batch else ""
        nodes = "uniform" if all(grid.uniform for grid in self._grids) else "given"
        domain = " x ".join(f"[{grid.domain[0]:g}, {grid.domain[1]:g}]" for grid in self._grids)
        return [
            ("status", self.message),
            ("grid", f"{self._size} cells on {domain}, {nodes} nodes{shape}"),
            ("method", f"{self.method}, {self.dtype} on {self.device}"),
            ("error estimate", f"{self.error_estimate:.1e}"),
            ("residual", f"{self.residuals[-1]:.1e}"),
            (
                "u",
                "hidden by vmap"
                if hidden(self._u)
                else f"{self._values.min():.6g} to {self._values.max():.6g}",
            ),
        ]

    def __repr__(self) -> str:
        return "Solution\n" + "\n".join(f"  {name:<15} {value}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        cells = (f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in self._rows())
        return f"<table>{''.join(cells)}</table>"


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


class ConvergenceError(ArithmeticError):
    """The solution has not converged; ``solution`` is what there is, the message says what to change.

    Parameters
    ----------
    solution : Solution
        The unconverged solution.
    """

    def __init__(self, solution: Solution) -> None:
        super().__init__(
            f"{solution.message} (method {solution.method!r}, estimated error {solution.error_estimate:.1e})"
        )
        self.solution = solution

    def __reduce__(self) -> tuple[type[ConvergenceError], tuple[Solution]]:
        return ConvergenceError, (self.solution,)
