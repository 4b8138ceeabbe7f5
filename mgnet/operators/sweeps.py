"""Relaxation in colours as the compiled loops have it: entries, padded grids, a table of colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import frames, loops
from .boxes import Box, three

__all__ = ["LineSweeps", "PointSweeps"]

# Unknowns of lines next to each other that are worked on at a time, since a cache holds so many; fewest of
# these lines, and how many lines along the last axis.
CACHED, LEAST, ALONG = 2**15, 32, 16
# Unknowns from which on threads may be worth it.
SHARED = 2**16
# What stands for the axis of points.
POINTS = 3

# The axis of its lines, of three axes, and which unknowns along each of them a colour has.
Colour = tuple[int, tuple[range, ...]]


class _Sweeps:
    """Sweeps over the colours of a grid, none of whose joined axes has one or two cells.

    Parameters
    ----------
    box : Box
        The cells and their ends, in two or three dimensions.
    frame : torch.Tensor
        The entries between nodes with joined ends, see :func:`.frames.joined`.
    colours : sequence of (int, sequence of slice)
        The axis of the lines, or POINTS, and which unknowns a colour has along each axis.

    Attributes
    ----------
    table : numpy.ndarray
        The colours, as :mod:`mgnet.kernels.relaxation` has them.
    """

    factors: Any  # what the loop needs beside entries

    def __init__(self, box: Box, frame: Tensor, colours: Sequence[tuple[int, Sequence[slice]]]) -> None:
        (entries,) = loops.arrays(frame)
        self.box, self.shape, self.padded = box, three(box.shape, 1), entries.shape[1:]
        self.entries = entries.reshape(len(entries), -1)
        self.joined = three([axis.periodic for axis in box.axes], False)
        self.table = self._described(colours)
        firsts = three([axis.chain.first + 1 for axis in box.axes], 0)
        self.inside = tuple(slice(f, f + n) for f, n in zip(firsts, self.shape, strict=True))
        nodes, unknowns = ((shape[1] * shape[2], shape[2], 1) for shape in (self.padded, self.shape))
        steps = [three(step, 0) for step in frames.steps(box.dim)]
        # The middle axis of a plane has no lines.
        self.ties = three([steps.index(three(unit, 0)) for unit in np.eye(box.dim, dtype=int).tolist()], 1)
        grid = *self.shape, *nodes, *unknowns, int(np.dot(firsts, nodes))
        beside = np.array([[m for m in range(1, len(steps)) if m != tie] for tie in self.ties])
        shifts = np.array([int(np.dot(step, nodes)) for step in steps])
        self.numbers = grid, beside, shifts, self.joined, self.padded, self._room()

    def _described(self, colours: Sequence[tuple[int, Sequence[slice]]]) -> np.ndarray:
        """Describe the colours as :mod:`mgnet.kernels.relaxation` has them."""
        places = three(range(self.box.dim), -1)
        found = list[Colour]()
        for axis, chosen in colours:
            spans = three([range(n)[some] for n, some in zip(self.box.shape, chosen, strict=True)], range(1))
            if all(spans):
                found.append((POINTS if axis == POINTS else places.index(axis), spans))
        table, offset = list[list[int]](), 0
        for group in self._together(found):
            for axis, spans in group:
                numbers = [getattr(span, name) for name in ("start", "step") for span in spans]
                counts, beside = [len(span) for span in spans], self._beside(axis)
                work = self._work(axis, counts, len(group) > 1)
                table.append([axis, *beside, *numbers, *counts, offset, *work, len(group)])
                offset += math.prod(counts)
        return np.array(table, np.int64)

    def _together(self, colours: Sequence[Colour]) -> Iterator[list[Colour]]:
        """Give colours whose lines, at any place of the first axis beside them, meet at no other place.

        Where ends are joined, what is past them must be repeated after each.
        """
        for (axis, *_), group in groupby(colours, self._place):
            if any(self.joined) or (self.box.dim == 2 and axis != POINTS):
                yield from ([colour] for colour in group)
            else:
                yield list(group)

    def _place(self, colour: Colour) -> tuple[Any, ...]:
        axis, spans = colour
        return axis, *(spans[:2] if axis == POINTS else (spans[self._beside(axis)[0]],))

    def _beside(self, axis: int) -> tuple[int, int]:
        """Give the two axes along which lines, or rows of points, lie beside each other."""
        if axis == 2 and self.box.dim == 2:
            return 1, 0
        return ((1, 2), (0, 2), (0, 1), (0, 1))[axis]

    def _work(self, axis: int, counts: Sequence[int], together: bool) -> tuple[int, ...]:
        """Give the lines next to each other and the places of a bundle, bundles of a piece, and pieces."""
        outer, inner = self._beside(axis)
        if axis == POINTS:
            return 1, 1, 1, counts[0] * counts[1]
        wide, places = (self.shape[inner] + 1) // 2, 1
        lanes = ALONG
        if axis != 2:
            lanes = max(CACHED // counts[axis], LEAST)
            places = max(1, lanes // wide)
        chunks, pieces = -(-counts[inner] // lanes), -(-counts[outer] // places)
        return (lanes, places, chunks, pieces) if together else (lanes, places, 1, chunks * pieces)

    @property
    def _loop(self) -> Any:
        """What relaxes colours."""
        raise NotImplementedError

    def _room(self) -> int:
        """Give the numbers of the largest bundle, and of a row of it."""
        raise NotImplementedError

    def __call__(self, x: Tensor | None, b: Tensor, sweeps: int, post: bool) -> Tensor:
        """Return what so many sweeps make of x, zero if it is None; ``post`` reverses the colours."""
        from ..kernels.relaxation import wrap

        whole = np.zeros((len(b), *self.padded), self.entries.dtype)
        flat, load = whole.reshape(len(b), -1), b.detach().contiguous().numpy().reshape(len(b), -1)
        inside = whole[(slice(None), *self.inside)]
        if x is not None:
            inside[...] = x.detach().numpy().reshape(inside.shape)
            wrap(self.numbers, flat)
        order = np.tile(np.arange(len(self.table))[:: -1 if post else 1], sweeps)
        if torch.get_num_threads() == 1 or load.size < SHARED:
            self._relax(flat, load, order, x is None, 0, 0)
        else:
            self._shared(flat, load, order, x is None)
        return torch.from_numpy(np.ascontiguousarray(inside)).reshape(b.shape)

    def _shared(self, x: np.ndarray, b: np.ndarray, order: np.ndarray, fresh: bool) -> None:
        """Do the same by threads, which share what is done together."""
        from ..kernels.relaxation import wrap

        done = 0
        while done < len(order):
            *_, pieces, together = self.table[order[done]].tolist()
            group = order[done : done + together]
            loops.shared(self._relax, len(b) * pieces, b.size, x, b, group, fresh and done == 0)
            wrap(self.numbers, x)
            done += together

    def _relax(self, x: np.ndarray, b: np.ndarray, order: np.ndarray, fresh: bool, *some: int) -> None:
        self._loop(self.entries, self.numbers, self.table, order, fresh, self.factors, x, b, *some)


class LineSweeps(_Sweeps):
    """Sweeps over lines, whose factors are made here."""

    def __init__(self, box: Box, frame: Tensor, colours: Sequence[tuple[int, Sequence[slice]]]) -> None:
        from ..kernels.relaxation import factorise

        super().__init__(box, frame, colours)
        size, kind = len({axis for axis, _ in colours}) * math.prod(self.shape), self.entries.dtype
        joined = any(self.joined[axis] for axis in self.table[:, 0])
        self.factors = np.empty(size, kind), np.empty(size, kind), np.empty(size * joined, kind)
        for colour in self.table:
            bundles = int(colour[15] * colour[16])
            loops.shared(
                factorise, bundles, size, self.entries, self.numbers, self.ties, colour, self.factors
            )

    @property
    def _loop(self) -> Any:
        from ..kernels.relaxation import relax_lines

        return relax_lines

    def _room(self) -> int:
        lines = {axis: self.shape[axis] for axis in self.table[:, 0].tolist()}
        most = max(max(CACHED, LEAST * n) if axis < 2 else ALONG * n for axis, n in lines.items())
        return most + 2 * max(self.shape)


class PointSweeps(_Sweeps):
    """Sweeps over points, from the inverse of the diagonal and the relaxation."""

    def __init__(
        self, box: Box, frame: Tensor, colours: Sequence[Sequence[slice]], inverse: Tensor, omega: float
    ) -> None:
        super().__init__(box, frame, [(POINTS, colour) for colour in colours])
        whole = inverse.expand(box.shape).numpy()
        rows = np.concatenate([whole[tuple(colour)].ravel() for colour in colours])
        self.factors = rows.astype(self.entries.dtype), self.entries.dtype.type(omega)

    @property
    def _loop(self) -> Any:
        from ..kernels.relaxation import relax_points

        return relax_points

    def _room(self) -> int:
        return 2 * self.shape[2]
