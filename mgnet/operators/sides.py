"""Robin's alpha on the sides of a box: the mass matrices of the sides, each times a number, as entries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from ..core.arrays import sent
from . import frames
from .boxes import Box
from .entries import StencilStiffness

__all__ = ["with_sides"]


def with_sides(
    A: StencilStiffness | None, box: Box, alphas: Sequence[Sequence[Any]], like: dict[str, Any]
) -> StencilStiffness | None:
    """Add to entries, if there are any, what alpha gives at the two ends of each axis.

    The cells of the box are alike. An alpha may be a tensor, to take derivatives by. ``like`` are precision
    and device.
    """
    sides = [
        (i, end, alpha)
        for i, pair in enumerate(alphas)
        for end, alpha in enumerate(pair)
        if isinstance(alpha, torch.Tensor) or alpha
    ]
    if not sides:
        return A
    fields = {} if A is None else {(0,) * box.dim: A.centre, **A.pairs}
    for step in frames.steps(box.dim):
        for i, end, alpha in sides:
            if not step[i]:
                factor = alpha.to(**like) if isinstance(alpha, torch.Tensor) else alpha
                part = factor * sent(torch.from_numpy(_mass(box, i, end, step)), **like)
                fields[step] = fields[step] + part if step in fields else part
    return StencilStiffness(box, fields.pop((0,) * box.dim), fields)


def _mass(box: Box, place: int, end: int, step: Sequence[int]) -> np.ndarray:
    """Give the entries of a side's mass matrix between each node and its neighbour in a direction."""
    factors = []
    for i, axis in enumerate(box.axes):
        entries = np.full(axis.cells + 1, axis.h / 6)
        if i == place:
            entries[:] = 0
            entries[-end] = 1
        elif step[i]:
            entries[0 if step[i] < 0 else -1] = 0  # no neighbour
        else:
            entries = np.convolve(np.full(axis.cells, axis.h / 3), [1.0, 1.0])
        factors.append(entries)
    return reduce(np.multiply.outer, factors)
