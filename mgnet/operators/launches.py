"""The passes on a device as operations of torch: one launch of Triton each, on CUDA.

Their other form, in torch, says what they are, and is for tensors on a CPU, so that a device may be
pretended. It is imported where there is a device only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor

__all__ = ["IMAGE", "RELAXED", "RESIDUAL", "apply", "at", "gather", "spread"]

# What `apply` gives: A x, b - A x, or x and a weight times that times the inverse of the diagonal.
IMAGE, RESIDUAL, RELAXED = range(3)
# Unknowns of a program, and threads of it by 32.
BLOCK, WARPS = 128, 4
# Of a device, the most vectors of a launch.
MOST = 2**16 - 1

_LIBRARY = torch.library.Library("mgnet", "FRAGMENT")
_LIBRARY.define(
    "apply(Tensor x, Tensor b, Tensor inverse, Tensor weights, Tensor[] numbers, int[] firsts, bool[] joined,"
    " bool fresh, int mode) -> Tensor"
)
_LIBRARY.define(
    "spread(Tensor e, Tensor? x, Tensor[] bases, Tensor[] weights, Tensor corners, int[] firsts,"
    " bool[] joined) -> Tensor"
)
_LIBRARY.define(
    "gather(Tensor r, Tensor[] fine, Tensor[] nodes, Tensor[] weights, Tensor corners, int[] firsts)"
    " -> Tensor"
)


def _kinds(numbers: Sequence[Tensor]) -> tuple[bool, ...]:
    """Say which numbers an operator has: of axes, of cells, a lumped c, entries, and their row sums."""
    there = [x.numel() > 0 for x in numbers]
    return there[0], there[3], there[5] and not there[0], there[6], there[7]


def apply(
    x: Tensor,
    b: Tensor,
    inverse: Tensor,
    weights: Tensor,
    numbers: Sequence[Tensor],
    firsts: Sequence[int],
    joined: Sequence[bool],
    fresh: bool,
    mode: int,
) -> Tensor:
    """Return A x, b − A x or a sweep, by one launch; see ``mgnet.kernels.device.apply``."""
    from ..kernels import device

    shape, kinds = b.shape[1:], _kinds(numbers)
    padded = numbers[6].shape[1:] if kinds[3] else (0, 0, 0)
    x, b = x.contiguous(), b.contiguous()
    out = torch.empty_like(b)
    sizes = (*shape, *padded, *firsts, *inverse.stride())
    flags = mode, fresh, numbers[8].numel() == 0, tuple(joined), kinds
    with at(out):
        device.apply[_grid(b)](
            out, x, b, inverse, weights, *numbers[:8], *sizes, *flags, BLOCK, num_warps=WARPS
        )
    return out


def spread(
    e: Tensor,
    x: Tensor | None,
    bases: Sequence[Tensor],
    weights: Sequence[Tensor],
    corners: Tensor,
    firsts: Sequence[int],
    joined: Sequence[bool],
) -> Tensor:
    """Return the interpolation of e, x added where it is given, by one launch."""
    from ..kernels import device

    shape, nodes, e = [len(base) for base in bases], corners.shape[1:], e.contiguous()
    out = e.new_empty((len(e), *shape))
    given = e if x is None else x.contiguous()
    own = corners.numel() > 0
    counts = (*nodes[1:], math.prod(nodes)) if own else (0, 0, 0)
    sizes = (*shape, *e.shape[1:], *counts, *firsts, *firsts)
    flags = x is not None, *(len(w) for w in weights), tuple(joined), own
    with at(out):
        device.spread[_grid(out)](
            out, given, e, *bases, *weights, corners, *sizes, *flags, BLOCK, num_warps=WARPS
        )
    return out


def gather(
    r: Tensor,
    fine: Sequence[Tensor],
    nodes: Sequence[Tensor],
    weights: Sequence[Tensor],
    corners: Tensor,
    firsts: Sequence[int],
) -> Tensor:
    """Return the restriction of r by one launch."""
    from ..kernels import device

    r, coarse, own = r.contiguous(), [table.shape[1] for table in fine], corners.numel() > 0
    out = r.new_empty((len(r), *coarse))
    counts = (*corners.shape[2:], corners[0].numel()) if own else (0, 0, 0)
    sizes = (*r.shape[1:], *coarse, *counts, *firsts, *(len(table) for table in fine))
    taps = (2 if len(table) > 1 else 1 for table in fine)
    tables = *fine, *nodes, *weights, corners
    with at(out):
        device.gather[_grid(out)](out, r, *tables, *sizes, *taps, own, BLOCK, num_warps=WARPS)
    return out


def at(x: Tensor) -> AbstractContextManager[Any]:
    """Make the device of a tensor the one that launches go to."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _grid(out: Tensor) -> tuple[int, int]:
    return -(-out[0].numel() // BLOCK), len(out)


# The same in torch.


def _apply(
    x: Tensor,
    b: Tensor,
    inverse: Tensor,
    weights: Tensor,
    numbers: Sequence[Tensor],
    firsts: Sequence[int],
    joined: Sequence[bool],
    fresh: bool,
    mode: int,
) -> Tensor:
    if fresh:
        x = weights[0] * (inverse * b)
    y = _image(x, numbers, firsts, joined)
    if mode == IMAGE:
        return y
    return b - y if mode == RESIDUAL else x + weights[int(fresh)] * (inverse * (b - y))


def _image(x: Tensor, numbers: Sequence[Tensor], firsts: Sequence[int], joined: Sequence[bool]) -> Tensor:
    """Return A x, step by step to the neighbours."""
    products, cellwise, lumped, entries, _ = _kinds(numbers)
    *axes, a, K, c, E, S, deep = numbers
    wide, y = int(deep.numel() > 0), torch.zeros_like(x)
    for step in itertools.product((-1, 0, 1), range(-wide, wide + 1), (-1, 0, 1)):
        here, near = not any(step), x
        for axis, s in enumerate(step, 1):
            near = _neighbours(near, s, axis, joined[axis - 1])
        if products:
            y += _of_axes(axes, c, step, x.shape[1:]) * (x if here else near - x)
        if cellwise and not here:
            y += K[tuple(map(abs, step))] * _cells_between(a, step, x.shape[1:]) * (near - x)
        if entries:
            y += _of_entries(E, S, step, firsts, x, near)
    return y + c * x if lumped else y


def _neighbours(x: Tensor, step: int, axis: int, joined: bool) -> Tensor:
    """Give the values one unknown on, zero past ends that are not joined."""
    n = x.shape[axis]
    if not step or joined:
        return x.roll(-step, axis) if step else x
    whole = torch.zeros_like(x)
    whole.narrow(axis, max(-step, 0), n - 1).copy_(x.narrow(axis, max(step, 0), n - 1))
    return whole


def _of_axes(axes: Sequence[Tensor], lump: Tensor, step: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Give the entries to neighbours at a step of sums of tensor products, or the row sums."""
    pairs = []
    for place, (axis, s) in enumerate(zip(axes, step, strict=True)):
        low, high, own = axis[:, :-1], axis[:, 1:], any(step)
        if s:
            side = high if s > 0 else low
            K, M = -side[0], side[2]
        else:
            K, M = axis[1, :-1], axis[3, :-1]
            if own:
                K, M = K + low[0] + high[0], M - low[2] - high[2]
        pairs.append([x.reshape([-1 if i == place else 1 for i in range(3)]) for x in (K, M)])
    (k0, m0), (k1, m1), (k2, m2) = pairs
    found = (k0 * m1 + m0 * k1) * m2 + m0 * m1 * k2
    return found if any(step) else found + lump * (m0 * m1 * m2)


def _cells_between(a: Tensor, step: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Add up the cells between unknowns and their neighbours at a step."""
    sides = [(0, 1) if s == 0 else ((s + 1) // 2,) for s in step]
    if a.shape[1] == 1:
        sides[1] = (0,)
    parts = itertools.product(*sides)
    return sum(a[tuple(slice(p, p + n) for p, n in zip(part, shape, strict=True))] for part in parts)  # type: ignore[return-value]


def _of_entries(
    E: Tensor, S: Tensor, step: Sequence[int], firsts: Sequence[int], x: Tensor, near: Tensor
) -> Tensor:
    """Give what neighbours give by entries; with row sums by their steps."""
    flat = E.shape[2] == 1
    field = reduce(lambda total, s: 3 * total + s, step[::2] if flat else step)
    starts = [first + (0 if flat and axis == 1 else 1) for axis, first in enumerate(firsts)]
    if field < 0:  # it stands at the first of its two nodes
        starts = [start + s for start, s in zip(starts, step, strict=True)]
    here: Any = tuple(slice(start, start + n) for start, n in zip(starts, x.shape[1:], strict=True))
    if not S.numel():
        return E[(abs(field), *here)] * near
    return E[(abs(field), *here)] * (near - x) if field else S[here] * x


def _spread(
    e: Tensor,
    x: Tensor | None,
    bases: Sequence[Tensor],
    weights: Sequence[Tensor],
    corners: Tensor,
    firsts: Sequence[int],
    joined: Sequence[bool],
) -> Tensor:
    shape, taps = [len(base) for base in bases], [len(w) for w in weights]
    y = e.new_zeros((len(e), *shape)) if x is None else x.clone()
    for tap in itertools.product(*map(range, taps)):
        value, weight, colour = e, e.new_ones(()), e.new_zeros((), dtype=torch.int64)
        for axis in range(3):
            J, N = bases[axis] + tap[axis], e.shape[axis + 1]
            Q = J % N if joined[axis] else J
            inside = (Q >= 0) & (Q < N)
            value = value.index_select(axis + 1, Q.clamp(0, N - 1).long())
            line = [-1 if i == axis else 1 for i in range(3)]
            weight = weight * (inside * (1 if corners.numel() else weights[axis][tap[axis]])).reshape(line)
            colour = colour * taps[axis] + ((J + firsts[axis]) % taps[axis]).reshape(line)
        if corners.numel():
            weight = weight * _of_corners(corners, colour, firsts, shape)
        y += weight * value
    return y


def _of_corners(corners: Tensor, colour: Tensor, firsts: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Give of each unknown the weight of the coarse nodes of a colour."""
    here = tuple(slice(first, first + n) for first, n in zip(firsts, shape, strict=True))
    return corners[(slice(None), *here)].gather(0, colour.expand(1, *shape).long())[0]


def _gather(
    r: Tensor,
    fine: Sequence[Tensor],
    nodes: Sequence[Tensor],
    weights: Sequence[Tensor],
    corners: Tensor,
    firsts: Sequence[int],
) -> Tensor:
    taps = [2 if len(table) > 1 else 1 for table in fine]
    y = r.new_zeros((len(r), *(table.shape[1] for table in fine)))
    for row in itertools.product(*(range(len(table)) for table in fine)):
        value, weight, colour = r, r.new_ones(()), r.new_zeros((), dtype=torch.int64)
        there = corners
        for axis in range(3):
            i = fine[axis][row[axis]]
            line = [-1 if k == axis else 1 for k in range(3)]
            factor = (i >= 0) * (1 if corners.numel() else weights[axis][row[axis]])
            weight, i = weight * factor.reshape(line), i.clamp_min(0).long()
            value = value.index_select(axis + 1, i)
            colour = colour * taps[axis] + (nodes[axis][row[axis]] % taps[axis]).reshape(line)
            there = there.index_select(axis + 1, i + firsts[axis]) if corners.numel() else there
        if corners.numel():
            weight = weight * there.gather(0, colour.expand(1, *there.shape[1:]).long())[0]
        y += weight * value
    return y


for _name, _launch, _same in (
    ("apply", apply, _apply),
    ("spread", spread, _spread),
    ("gather", gather, _gather),
):
    _LIBRARY.impl(_name, _launch, "CUDA")
    _LIBRARY.impl(_name, _same, "CPU")
