"""Where the unknowns of an axis lie among the coarse ones, as :mod:`mgnet.kernels.tensor` has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import torch

from .axes import Axis

__all__ = ["cubics", "hats"]

# Cells of an axis of which is kept what transfers need.
KEPT = 2**13


def _kept(found: Callable[[Axis, bool, Any], Any]) -> Callable[[Axis, bool, Any], Any]:
    """Keep what is found of the last axes, which are alike in many a box, but not of long ones."""
    known = lru_cache(maxsize=32)(found)
    return wraps(found)(lambda axis, *rest: (known if axis.cells <= KEPT else found)(axis, *rest))


@_kept
def hats(axis: Axis, chosen: bool, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give where the unknowns of an axis lie among the coarse ones; see :mod:`mgnet.kernels.tensor`."""
    unknowns = np.arange(axis.unknowns)
    if not chosen:
        weights = np.stack((np.ones(axis.unknowns), np.zeros(axis.unknowns)))
        return unknowns, weights.astype(dtype), np.zeros(3, np.int64)
    first, pairs = axis.chain.first, axis.pairs
    nodes = unknowns + first
    base, place = nodes // 2, (nodes % 2) / 2
    for node, t in [*axis.new_in_last, (axis.cells, 0.0)]:
        here = nodes == node
        base[here], place[here] = (pairs, t) if t else (axis.coarse.cells, 0.0)
    # The first unknown that is a coarse one as well is node 0 or node 2, coarse unknown 0.
    regular = np.array([first, max(pairs - first, 0), 0], np.int64)
    return base - first, np.stack((1 - place, place)).astype(dtype), regular


@_kept
def cubics(axis: Axis, chosen: bool, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the same of cubic interpolation, by what it makes of coarse values far apart at a time."""
    base, weights, regular = hats(axis, chosen, np.dtype(np.float64))
    if not chosen or axis.pairs < 2:  # linear, and nowhere in the pattern of cubics
        return base, np.concatenate((weights, 0 * weights)).astype(dtype), np.zeros(3, np.int64)
    size, first, begin = axis.coarse.unknowns, base - 1, axis.chain.first
    if not axis.periodic:  # at the ends the polynomials lie inside
        high = size - 4 + (axis.ends[1] == "dirichlet")
        first = np.clip(first, min(-begin, high), high)
    found = np.zeros((4, axis.unknowns))
    # The last of them is four away from the first also around joined ends.
    step = next(step for step in range(min(8, size), size + 1) if size % step not in (1, 2, 3))
    for colour in range(step):
        e = torch.zeros(size, dtype=torch.float64, device="cpu")
        e[colour::step] = 1
        made = axis.interpolate(e, -1, cubic=True).numpy()
        for t in range(min(4, size) if axis.periodic else 4):
            at = (first + t) % size if axis.periodic else first + t
            here = (at % step == colour) & (at >= 0) & (at < size)
            found[t, here] = made[here]
    return first, found.astype(dtype), np.array([2 - begin, max(axis.pairs - 2, 0), 1 - begin], np.int64)
