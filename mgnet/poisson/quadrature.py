"""Integrals over cells: functions of the user at Gauss points, nodal values, and both against hats."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import array, first_bad, sent
from ..core.kinds import hidden
from ..operators.axes import gathered, integrate_linear, overlap
from .grid import Grid
from .problem import Poisson
from .shapes import require_bounds
from .unseen import Lookout

__all__ = [
    "CPU",
    "Quadrature",
    "coefficient_at",
    "evaluate",
    "hat_integrals",
    "integrate_cells",
    "integrate_nodal",
]

CPU = torch.device("cpu")
# Points along each axis of a cell, by the number of axes. Five integrate polynomials of degree 9 exactly, so
# a quadrature error is O(h^10); three those of degree 5, O(h^6).
RULES = {1: stencils.gauss(5), 2: stencils.gauss(3), 3: stencils.gauss(3)}
# Quadrature points that exist at one time, and where each piece is a launch.
MOST, MOST_THERE = 5 * 2**16, 5 * 2**21


class Quadrature:
    """Gauss points, those of a box on its sides too, in some cells of the first axis after others."""

    def __init__(self, grids: Sequence[Grid], dim: int, active: Tensor | None = None) -> None:
        self.grids, self.dim, self.active = list(grids), dim, active
        self.points, self.weights = RULES[dim]

    @classmethod
    def of(cls, problem: Poisson) -> Quadrature:
        """Return that of a problem."""
        return cls(problem.grids, problem.dim, problem.region.active)

    def inside(self, cells: slice, values: Tensor, other: float = 0.0) -> Tensor:
        """Return values at the points of some cells, and another one in cells outside of the domain."""
        if self.active is None:
            return values
        mask = self.active[cells]
        for place in range(-mask.ndim, 0):
            mask = mask.repeat_interleave(len(self.points), place)
        return torch.where(mask.to(values.device), values, values.new_full((), other))

    def between(self, nodal: Tensor) -> Tensor:
        """Return at the points what is linear along each axis of a cell, from its nodal values."""
        t = sent(torch.from_numpy(self.points), nodal.device, nodal.dtype)
        for place in range(-len(self.grids), 0):
            n = nodal.shape[place] - 1
            low, high = (nodal.narrow(place, i, n).unsqueeze(nodal.ndim + place + 1) for i in (0, 1))
            s = t.reshape(-1, *[1] * (-1 - place))
            axis = nodal.ndim + place
            nodal = (low * (1 - s) + high * s).flatten(axis, axis + 1)
        return nodal

    def pieces(self, device: torch.device = CPU) -> Iterator[slice]:
        """Split the cells along the first axis, for numbers that go to a device."""
        across = math.prod(len(self.points) * grid.n for grid in self.grids[1:])
        most = MOST if device.type == "cpu" else MOST_THERE
        step = max(1, most // (len(self.points) * across))
        for start in range(0, self.grids[0].n, step):
            yield slice(start, min(start + step, self.grids[0].n))

    def coordinates(self, cells: slice) -> tuple[np.ndarray, ...]:
        """Give the coordinates of the points of some cells along the first axis, to be broadcast."""
        first, *others = self.grids
        x = first.inside(cells.start, cells.stop, self.points)
        return np.ix_(x, *(grid.inside(0, grid.n, self.points) for grid in others)) if others else (x,)

    def apart(self, values: Tensor, place: int) -> Tensor:
        """Move the points of each cell of an axis to an axis of their own, at the end."""
        shape, axis = list(values.shape), values.ndim + place
        shape[axis : axis + 1] = [shape[axis] // len(self.points), len(self.points)]
        values = values.reshape(shape)  # by itself: torch's unflatten is slow
        return values if place == -1 else values.movedim(place, -1)

    def sampled(self, name: str, function: Any, cells: slice, device: torch.device) -> Tensor:
        """Give the values in float64 of a function, "a" or "c", at the points of some cells, checked.

        They are where the function left them.
        """
        values = coefficient_at(name, function, device, *self.coordinates(cells))
        values = self.inside(cells, values, float(name == "a"))
        least = values
        for place in range(-len(self.grids), 0):
            least = self.apart(least, place).amin(-1)
        require_bounds(tuple(least.shape), self.grids[0].first + cells.start, **{name: [least]})
        return values

    def averages(self, values: Tensor) -> Tensor:
        """Return the mean over each cell of what has these values at the points."""
        weights = sent(torch.from_numpy(self.weights), values.device)
        for place in range(-values.ndim, 0):
            values = self.apart(values, place) @ weights
        return values

    def against_hats(self, cells: slice, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Integrate values in float64 at the points of some cells against the hats of their nodes.

        From ``(..., *points)`` it makes ``(..., *nodes)``. What neighbours along the first axis give to a
        node is added in ``dtype``, so that the sums do not depend on the pieces.
        """
        t, w = self.points, self.weights
        hats = [sent(torch.from_numpy(w * hat), values.device) for hat in (1 - t, t)]
        for place in range(-1, -len(self.grids) - 1, -1):
            each, widths = self.apart(values, place), self._measure(place, cells, values.device)
            low, high = ((each @ hat) * widths for hat in hats)
            if place == -len(self.grids):
                low, high = low.to(dtype), high.to(dtype)
            values = overlap(low, high, place)  # eq: load, load-box
        return values

    def sums(self, cells: slice, values: Tensor) -> Tensor:
        """Integrate values at the points of some cells over those, shape (...,)."""
        w = sent(torch.from_numpy(self.weights), values.device)
        for place in range(-1, -len(self.grids) - 1, -1):
            # The axes behind are summed up: this is the last.
            widths = self._measure(place, cells, values.device)
            widths = widths.flatten() if isinstance(widths, Tensor) else widths
            values = ((self.apart(values, -1) @ w) * widths).sum(-1)
        return values

    def _measure(self, place: int, cells: slice, device: torch.device) -> float | Tensor:
        """Give the same as ``widths``, as one number where all are alike."""
        grid = self.grids[place]
        return grid.length / grid.n if grid.uniform else self.widths(place, cells, device)

    def widths(self, place: int, cells: slice, device: torch.device) -> Tensor:
        """Give the widths of an axis's cells, to be multiplied with what has an entry for each."""
        grid = self.grids[place]
        part = cells if place == -len(self.grids) else slice(0, grid.n)
        if grid.nodes is None and device.type != "cpu":  # which is far from this memory
            width = torch.full((1,), grid.length / grid.n, dtype=torch.float64, device=device)
            return width.expand(part.stop - part.start).reshape(-1, *[1] * (-1 - place))
        widths = sent(torch.from_numpy(grid.widths(part.start, part.stop)), device)
        return widths.reshape(-1, *[1] * (-1 - place))

    def integrate(
        self, name: str, f: Callable[..., Any], dtype: torch.dtype, device: torch.device, names: str = "xyz"
    ) -> tuple[Tensor, bool, Tensor]:
        """Integrate a function against the hats of all nodes, and its absolute value over cells in float64.

        Return the integrals where the function left its values, whether it returned a tensor, and the
        integral of the absolute value, zero where it cannot be looked at.
        """
        speaks_torch, size = False, torch.zeros((), dtype=torch.float64, device="cpu")
        lookout = Lookout(len(self.grids))

        def pieces() -> Iterator[tuple[slice, list[Tensor]]]:
            nonlocal speaks_torch, size
            for cells in self.pieces(device):
                points = self.coordinates(cells)
                values, speaks_torch = evaluate(name, f, *points, device=device, names=names)
                values = self.inside(cells, values)
                if not hidden(values):
                    sizes = values.detach().abs()
                    lookout.look(sizes)
                    size = size + self.sums(cells, sizes)
                yield cells, [self.against_hats(cells, values, dtype)]

        (b,) = gathered(pieces(), self.grids[0].n, -len(self.grids))
        if not hidden(b):
            lookout.warn(name, lambda *x: evaluate(name, f, *x, device=device, names=names)[0], self.grids)
        return b, speaks_torch, size


def integrate_nodal(grids: Sequence[Grid], f: Tensor, lumped: bool, active: Tensor | None = None) -> Tensor:
    """Integrate the function through nodal values against the hats, along each axis in turn.

    Lumped values stand for it all over their hats, :eq:`load-nodal`; else it is linear along each axis of a
    cell, :eq:`load-consistent`. Only over the active cells, if it is said which they are.
    """
    if active is not None:
        return _over_active(grids, f, lumped, active)
    for place, grid in enumerate(grids, -len(grids)):
        f = _lumped(f, grid.h, place) if lumped else integrate_linear(f, grid.h, place)
    return f


def _over_active(grids: Sequence[Grid], f: Tensor, lumped: bool, active: Tensor) -> Tensor:
    """Do so over some cells: lumped by the integrals of what is left of the hats."""
    if lumped or not grids:
        return f * sent(hat_integrals(grids, active), f.device, f.dtype)
    rule = Quadrature(grids, len(grids), active)
    whole = slice(0, grids[0].n)
    return rule.against_hats(whole, rule.inside(whole, rule.between(f.double()))).to(f.dtype)


def hat_integrals(grids: Sequence[Grid], active: Tensor | None) -> Tensor:
    """Return the integral of each node's hat over the active cells, shape ``(*nodes)``, in float64."""
    ones = torch.ones((), dtype=torch.float64, device="cpu").expand([grid.n for grid in grids])
    return integrate_cells(grids, ones if active is None else ones * active)


def integrate_cells(grids: Sequence[Grid], f: Tensor) -> Tensor:
    """Integrate what is constant in each cell, shape ``(..., *cells)``, against the hats of all nodes."""
    for place, grid in enumerate(grids, -len(grids)):
        half = sent(torch.from_numpy(grid.widths(0, grid.n) / 2), f.device, f.dtype)
        part = f * half.reshape(-1, *[1] * (-1 - place))
        f = overlap(part, part, place)  # eq: load-cells
    return f


def _lumped(f: Tensor, h: float | np.ndarray, place: int) -> Tensor:
    """Multiply values at the nodes of an axis by the integrals of their hats."""
    if isinstance(h, float):
        b = f * h  # eq: load-nodal
        b.movedim(place, -1)[..., :: b.shape[place] - 1].mul_(0.5)
        return b
    half = torch.from_numpy(h / 2).to(f.dtype)
    return f * sent(overlap(half, half, -1), f.device).reshape(-1, *[1] * (-1 - place))


def evaluate(
    name: str, function: Any, *x: np.ndarray, device: torch.device = CPU, names: str = "xyz"
) -> tuple[Tensor, bool]:
    """Call a user's function; return float64 values and whether they came as a tensor.

    It takes one array for each coordinate, of shapes that broadcast: NumPy arrays, and if it does not take
    those, tensors, on the device, where it may have numbers of its own, or on the CPU. Its values, shape
    ``(..., *points)``, are where it left them. Of ``names`` a message makes the coordinates.
    """
    try:
        values = _called(function, x, device)
    except MemoryError:
        raise
    except Exception as error:
        said = f"the function raised {type(error).__name__}: {error}"
        accepted = f"a function of {', '.join(names[: len(x)])} that returns numbers"
        raise ValueError(f"{name}: {said}; accepted: {accepted}") from error
    shape = _returned_shape(name, values)
    points = np.broadcast_shapes(*(axis.shape for axis in x))
    last = shape[max(len(shape) - len(points), 0) :]
    fits = len(points) > 1 and len(last) == len(points)
    fits = fits and all(size in (1, full) for size, full in zip(last, points, strict=True))
    if shape and not fits and last != points:
        accepted = f"(..., {', '.join(map(str, points))}) or a number"
        raise ValueError(f"{name}: the function returned shape {shape}; accepted: {accepted}")
    speaks_torch = isinstance(values, Tensor)
    result = array(name, values, (last,), "one value per point")
    batch = shape[: max(len(shape) - len(points), 0)]
    result = result.to(torch.float64).expand(*batch, *points)
    _require_finite_at(name, result, x, names)
    return result, speaks_torch


def _called(function: Any, x: Sequence[np.ndarray], device: torch.device) -> Any:
    """Call a function with what it takes of NumPy arrays and tensors."""
    try:
        return function(*x)
    except (TypeError, AttributeError, RuntimeError):
        for place in dict.fromkeys((device, CPU)):
            with contextlib.suppress(Exception):
                values = function(*(sent(torch.from_numpy(points), place) for points in x))
                if values is not None:
                    return values
        raise


def _returned_shape(name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, Tensor):
        return tuple(values.shape)
    try:
        seen = np.asarray(values)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: the function returned {values!r}; accepted: real numbers") from None
    if seen.dtype.kind not in "fiubc":
        raise TypeError(f"{name}: the function returned dtype {seen.dtype}; accepted: real numbers")
    return seen.shape


def _require_finite_at(name: str, values: Tensor, x: Sequence[np.ndarray], names: str) -> None:
    if not hidden(values) and not torch.isfinite(values.sum()):
        bad = ~values.isfinite()
        if bad.any():
            index = bad.nonzero()[0].tolist()[-len(x) :]
            points = [float(axis[tuple(index)]) for axis in np.broadcast_arrays(*x)]
            at = ", ".join(f"{axis} = {point!r}" for axis, point in zip(names, points, strict=False))
            first = first_bad(values, bad, len(x))
            raise ValueError(f"{name}: the function returned {first}, {at}; accepted: finite numbers")


def coefficient_at(name: str, function: Any, device: torch.device, *x: np.ndarray) -> Tensor:
    """Evaluate the function a or c, which has no batch, as ``evaluate`` does."""
    values, _ = evaluate(name, function, *x, device=device)
    if values.ndim != len(x):
        accepted = f"{len(x)}, one value per point"
        raise ValueError(f"{name}: the function returned {values.ndim} axes; accepted: {accepted}")
    return values
