"""Boxes and entries as the arrays of the compiled loops, which have three axes: see :mod:`mgnet.kernels`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import loops
from .axes import Axis
from .boxes import Box, three

__all__ = [
    "cells_around",
    "cells_framed",
    "described",
    "entry",
    "frame",
    "framed",
    "inside",
    "joined",
    "places",
    "row_starts",
    "steps",
    "ties",
    "whole",
]


def described(box: Box, chosen: Sequence[bool], opened: bool = False) -> np.ndarray:
    """Describe the axes as :mod:`mgnet.kernels.transfers` has it; ``opened`` makes all nodes unknowns."""
    rows = [_described(axis, some, opened) for axis, some in zip(box.axes, chosen, strict=True)]
    return np.array(three(rows, [0, 1, 1, 0, 0, 0, 1, 0, 0]), np.int64)


def _described(axis: Axis, chosen: bool, opened: bool) -> list[int]:
    nodes = axis.cells + 1
    kinds = [nodes, 0, 0, 0, 1]
    if chosen:
        last = axis.cells - 2 * axis.pairs  # how many cells the last coarse one has, if it is no regular pair
        pairs = axis.pairs + (last == 2)
        kinds = [pairs + 1, pairs + (last == 3), int(last in (1, 3)), int(last == 3), 2]
    ends = [0, 0, 0] if opened else [axis.chain.first, int(axis.periodic), axis.chain.behind]
    return [ends[0], nodes, *kinds, *ends[1:]]


def places(box: Box, chosen: Sequence[bool], dtype: Any) -> np.ndarray:
    """Say where the two new nodes of a last coarse cell lie in it, shape (3, 2)."""
    found = []
    for axis, some in zip(box.axes, chosen, strict=True):
        new = [t for _, t in axis.new_in_last] if some else []
        found.append(new if len(new) == 2 else [0.0, 0.0])
    return np.array(three(found, [0.0, 0.0]), dtype)


def row_starts(axes: np.ndarray) -> tuple[np.ndarray, int]:
    """Say where the weights of each row of nodes begin, and how many there are in all."""
    corners = [_corners(axis) for axis in axes]
    two = np.multiply.outer(corners[0], corners[1])
    kept = int((corners[2] == 1).sum())
    sizes = two * (kept * (two > 1) + 2 * (len(corners[2]) - kept))
    ends = np.cumsum(sizes)
    return (ends - sizes.ravel()).reshape(sizes.shape), int(ends[-1])


def _corners(axis: np.ndarray) -> np.ndarray:
    """Say of each node whether it is a coarse one, 1, or lies between two, 2."""
    _, nodes, kept, _, _, more, step, *_ = axis
    corners = np.ones(nodes, np.int64)
    if step == 2:
        corners[1 : 2 * kept - 2 : 2] = 2
        corners[2 * kept - 1 : 2 * kept - 1 + 2 * more] = 2
    return corners


def steps(dim: int) -> list[tuple[int, ...]]:
    """Return no step, and the half of those to neighbours, in their order."""
    return [step for step in itertools.product((-1, 0, 1), repeat=dim) if step >= (0,) * dim]


def frame(box: Box, like: dict[str, Any]) -> Tensor:
    """Return zeros for the entries between the nodes of a box, as :mod:`mgnet.kernels.entries` has them."""
    count = (3**box.dim + 1) // 2
    return torch.zeros((count, *three([n + 3 for n in box.cells], 1)), **like)


def whole(frame: Tensor, box: Box) -> Tensor:
    """Return the entries of nodes and of one more past each end, a view of shape ``(1 + S, *nodes + 2)``."""
    return frame.reshape(len(frame), *(n + 3 for n in box.cells))


def inside(frame: Tensor, box: Box) -> Tensor:
    """Return the entries of nodes, a view of shape ``(1 + S, *nodes)``."""
    return whole(frame, box)[(slice(None), *[slice(1, -1)] * box.dim)]


def joined(frame: Tensor, box: Box) -> Tensor:
    """Give to joined nodes all that both have, and repeat what is past them; itself without such ends."""
    if not any(axis.periodic for axis in box.axes):
        return frame
    frame = frame.clone()
    for place, axis in enumerate(box.axes, 1):
        if axis.periodic:
            nodes = whole(frame, box).movedim(place, 0)
            nodes[1] += nodes[-2]
            nodes[-2] = nodes[1]
            nodes[0], nodes[-1] = nodes[-3], nodes[2]
    return frame


def framed(x: Tensor, box: Box) -> Tensor:
    """Return row sums of all nodes as :mod:`mgnet.kernels.entries` has them, those of joined ends added."""
    whole = x.new_zeros((1, *three([n + 3 for n in box.cells], 1)))
    inside(whole, box)[0] = x
    return joined(whole, box)[0]


def entry(frame: Tensor, box: Box, step: Sequence[int]) -> Tensor:
    """Return the entries between each node and its neighbour in any direction, a view of shape ``(*nodes)``.

    The frame has joined ends, if there are any.
    """
    known = steps(box.dim)
    opposite = tuple(step) not in known
    found = whole(frame, box)[known.index(tuple(-s for s in step) if opposite else tuple(step))]
    for place, (s, n) in enumerate(zip(step, box.cells, strict=True)):
        # An entry stands at the first of its two nodes.
        found = found.narrow(place, 1 + s * opposite, n + 1)
    return found


def ties(frame: Tensor, box: Box) -> list[Any]:
    """Return how strongly each unknown is tied along each axis: the energy there of the numbers of nodes.

    The frame has joined ends, if there are any. They are arrays or tensors of shape ``(*unknowns)``.
    """
    around = list(itertools.product((-1, 0, 1), repeat=box.dim))
    return [
        -sum(loops.plain(box.unknowns(entry(frame, box, step))) for step in around if step[axis])
        for axis in range(box.dim)
    ]


def cells_around(a: Tensor, box: Box) -> Tensor:
    """Return coefficients as :mod:`mgnet.kernels.cells` has them, on any device."""
    for place, axis in enumerate(box.axes):
        if axis.periodic:
            a = torch.cat((a.narrow(place, -1, 1), a), place)
    margins = [int(end == "natural") for axis in reversed(box.axes) for end in axis.ends]
    a = torch.nn.functional.pad(a, margins) if any(margins) else a
    return a.reshape(three(a.shape, 1))


def cells_framed(a: np.ndarray, box: Box, opened: bool = False) -> np.ndarray:
    """Return coefficients as :mod:`mgnet.kernels.cells` has them, in the same memory where that may be.

    With ``opened`` all nodes are unknowns, and no ends are joined.
    """
    for place, axis in enumerate(box.axes):
        low, high = (opened or end == "natural" for end in axis.ends)
        if axis.periodic and not opened:
            a = np.concatenate((np.take(a, [-1], place), a), place)
        elif low or high:
            a = np.pad(a, [(low, high) if i == place else (0, 0) for i in range(box.dim)])
    return np.ascontiguousarray(a).reshape(three(a.shape, 1))
