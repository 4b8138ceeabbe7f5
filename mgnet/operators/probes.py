"""Weights of interpolation and coarse operators for a GPU: all nodes at once, in few operations.

What :class:`.NodeProlongation` does offset by offset, and :eq:`probing` colour by colour, is done here for
the whole stencil of each node, a tensor of shape ``(3**dim, *nodes)``, by small matrices that are the same
for all nodes of a kind. That takes memory where loops over offsets take launches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink, pad

from ..core.arrays import sent
from ..core.precision import full_precision
from .boxes import Box

__all__ = [
    "Probed",
    "applied",
    "around",
    "fits",
    "interpolate",
    "interpolation",
    "probed",
    "restrict",
    "stencil_of_cells",
    "takes",
]

# Numbers that may be there at a time for all pairs of a colour and an offset; more are taken in turn. Beyond
# so many, loops over offsets need less memory, and each of their launches has much to do.
ROOM, MOST = 2**27, 2**31


class Probed(NamedTuple):
    """What probing finds.

    The stencils of the coarse operator, its row sums if they were asked for, and by offset what coarse nodes
    receive of loads around them, ``(*coarse nodes, *[3] * dim)``.
    """

    stencil: Tensor
    sums: Tensor | None
    weights: Tensor


def takes(box: Box, chosen: Sequence[bool]) -> bool:
    """Say whether all cells along the chosen axes come in pairs, and there are not too many."""
    pairs = all(axis.cells == 2 * axis.pairs or not some for axis, some in zip(box.axes, chosen, strict=True))
    return box.dim > 1 and pairs and 9**box.dim * math.prod(box.cells) <= MOST


def fits(field: Tensor, *vectors: Tensor) -> bool:
    """Say whether products of a field with vectors are few, so that it is launches that take time."""
    return field.numel() * sum(len(x) for x in vectors) <= ROOM // 2**6


def around(dim: int) -> list[tuple[int, ...]]:
    """Return the offsets of a stencil, in their order; that to the node itself is in the middle."""
    return list(itertools.product((-1, 0, 1), repeat=dim))


def stencil_of_cells(fields: Sequence[Tensor], elements: Sequence[np.ndarray]) -> Tensor:
    """Return the stencils of all nodes from fields of cells, shape ``(*cells)``, times a matrix of each.

    Parameters
    ----------
    fields : sequence of torch.Tensor
        Coefficients.
    elements : sequence of numpy.ndarray, shape (2**dim, 2**dim)
        The matrix of a cell for each coefficient of 1.

    Returns
    -------
    torch.Tensor, shape ``(3**dim, *nodes)``
        The entries between each node and its neighbours; zero where there is none.
    """
    dim, a = fields[0].ndim, torch.stack(list(fields)) if len(fields) > 1 else fields[0][None]
    nodes = [n + 1 for n in a.shape[1:]]
    of_cells = np.concatenate([_of_cell_beside(dim, element) for element in elements])
    beside = cells_beside(a, dim)
    values = beside.movedim(tuple(range(-dim, 0)), tuple(range(1, dim + 1))).reshape(len(of_cells), -1)
    with full_precision():
        return (sent(torch.from_numpy(of_cells.T.copy()), a.device, a.dtype) @ values).reshape(-1, *nodes)


def cells_beside(a: Tensor, dim: int) -> Tensor:
    """Give the values of the cells around each node, zero where there is none, ``(..., *nodes, 2, ...)``."""
    beside = pad(a, (1, 1) * dim)
    for place in range(a.ndim - dim, a.ndim):
        beside = beside.unfold(place, 2, 1)
    return beside


def _of_cell_beside(dim: int, element: np.ndarray) -> np.ndarray:
    """Give what each cell beside a node adds to its stencil, shape (2**dim, 3**dim)."""
    corners, found = list(itertools.product((0, 1), repeat=dim)), np.zeros((2**dim, 3**dim))
    for row, beside in enumerate(corners):
        here = tuple(1 - o for o in beside)
        for column, step in enumerate(around(dim)):
            there = tuple(i + s for i, s in zip(here, step, strict=True))
            if there in corners:
                found[row, column] = element[corners.index(here), corners.index(there)]
    return found


@lru_cache(maxsize=64)
def _equilibria(
    dim: int, chosen: tuple[bool, ...], lost: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Give, for each kind of node, what makes weights of its stencil, and those where there is no equation.

    A kind says along which of the chosen axes a node is new. The rows of its matrix are the pulls of its
    neighbours along these axes, the stencil summed along the others; their sum; what it has itself; and how
    large a sum is that is nothing but rounding.
    """
    steps, places = around(dim), [i for i, some in enumerate(chosen) if some]
    kinds = list(itertools.product((0, 1), repeat=len(places)))
    rows, alone = np.zeros((len(kinds), len(steps) + 3, len(steps))), np.zeros((len(kinds), len(steps), 1))
    middle = len(steps) // 2
    for number, kind in enumerate(kinds):
        pulled = [place for place, new in zip(places, kind, strict=True) if new]
        for column, step in enumerate(steps):
            along = tuple(s if i in pulled else 0 for i, s in enumerate(step))
            if any(along):
                rows[number, steps.index(along), column] = -1
                rows[number, -3, column] = -1
            else:
                rows[number, -2, column] = 1
            if pulled and step == along and _only(along, pulled[-1]):
                alone[number, column] = 0.5
        rows[number, -1, middle] = lost if pulled else math.inf  # a node that is kept has no equation
        alone[number, middle] = not pulled
    with torch.inference_mode(False):  # they are kept
        both = sent(torch.from_numpy(np.concatenate((rows.ravel(), alone.ravel()))), device, dtype)
        return both[: rows.size].view(rows.shape), both[rows.size :].view(alone.shape)


def _only(step: tuple[int, ...], axis: int) -> bool:
    return all((s != 0) == (i == axis) for i, s in enumerate(step))


def _by_kind(x: Tensor, chosen: Sequence[bool]) -> Tensor:
    """Return fields, shape ``(K, *nodes)``, by the kind of the nodes: (kinds, K, nodes of a kind)."""
    dim, m = len(chosen), sum(chosen)
    whole = pad(x, [width for some in reversed(chosen) for width in (0, int(some))])
    kinds = []
    for place in range(dim - 1, -1, -1):
        if chosen[place]:
            whole = whole.unflatten(place + 1, (-1, 2))
            kinds.append(place + 2)
    # Of the axes that are there twice the second says whether a node is new.
    places = [place + 1 + sum(chosen[:place]) for place in range(dim)]
    new = [place + 1 for place, some in zip(places, chosen, strict=True) if some]
    return whole.permute(*new, 0, *places).reshape(2**m, len(x), -1)


def _by_node(x: Tensor, nodes: Sequence[int], chosen: Sequence[bool]) -> Tensor:
    """Return fields that are there by the kind of the nodes by the nodes, ``(K, *nodes)``."""
    m, count = sum(chosen), x.shape[1]
    halves = [(n + 1) // 2 if some else n for n, some in zip(nodes, chosen, strict=True)]
    whole = x.reshape(*[2] * m, count, *halves)
    order, kind = [m], 0
    for place, some in enumerate(chosen):
        order.append(m + 1 + place)
        if some:
            order.append(kind)
            kind += 1
    sizes = [2 * half if some else half for half, some in zip(halves, chosen, strict=True)]
    found = whole.permute(*order).reshape(count, *sizes)
    return found[(slice(None), *(slice(0, n) for n in nodes))]


def interpolation(
    stencil: Tensor, sums: Tensor | None, chosen: tuple[bool, ...], lost: float, reacts: float
) -> Tensor:
    """Return the weights of all nodes, :eq:`equilibrium`, by offset; a node that is kept has itself.

    Parameters
    ----------
    stencil : torch.Tensor, shape ``(3**dim, *nodes)``
        The stencils of a fine operator, joined ends added up.
    sums : torch.Tensor, shape ``(*nodes)``, or None
        Its row sums; None where nothing but entries tells.
    chosen : tuple of bool
        Which axes are coarsened; their cells come in pairs.
    lost, reacts : float
        How many times its rounding a diagonal is where that is all, and which part of the diagonal a row sum
        is that is known from entries.

    Returns
    -------
    torch.Tensor, shape ``(3**dim, *nodes)``
        What each node takes from those around it.
    """
    eps, count, nodes = torch.finfo(stencil.dtype).eps, len(stencil), stencil.shape[1:]
    rows, alone = _equilibria(len(nodes), chosen, lost * eps, stencil.dtype, stencil.device)
    with full_precision():
        found = torch.bmm(rows, _by_kind(stencil, chosen))
    pulls, total, own, rounding = found[:, :count], *found[:, count:].unbind(1)
    if sums is None:
        total = own
    elif any(sums.stride()):
        held = _by_kind(sums[None], chosen)[:, 0]
        total = torch.where(held > reacts * own.abs(), own, total + held)
    known = total.abs() > rounding
    weights = torch.where(known[:, None], pulls / total[:, None], alone)
    return _by_node(hardshrink(weights, eps), nodes, chosen)


def _windows(x: Tensor, dim: int, strides: Sequence[int]) -> Tensor:
    """Return what is around nodes, a view of shape ``(K, *some nodes, *[3] * dim)``; x has a margin."""
    for place, stride in enumerate(strides, 1):
        x = x.unfold(place, 3, stride)
    return x


def _inside(x: Tensor, strides: Sequence[int]) -> Tensor:
    """Return every node, or every second, of what has a margin."""
    return x[(slice(None), *(slice(1, -1, stride) for stride in strides))]


def _applied(field: Tensor, x: Tensor, out: Tensor, middle: Tensor | None = None) -> None:
    """Write the sum over offsets of a field times what is there around each node; x and out have a margin.

    The field has shape ``(3**dim, *nodes)``, the others ``(K, *nodes + 2)``. What ``middle`` has, of the
    shape of all nodes, is subtracted from what is around them.
    """
    dim, nodes, into = field.ndim - 1, field.shape[1:], _inside(out, (1,) * (field.ndim - 1))
    if len(x) * field.numel() <= ROOM:
        parts = _windows(x, dim, (1,) * dim)
        if middle is not None:
            parts = parts - middle.reshape(*middle.shape, *[1] * dim)
        torch.sum(parts * _last(field), tuple(range(-dim, 0)), out=into)
        return
    total = torch.zeros(into.shape, dtype=x.dtype, device=x.device)
    for step, weight in zip(around(dim), field, strict=True):
        there = x[(slice(None), *(slice(1 + s, 1 + s + n) for s, n in zip(step, nodes, strict=True)))]
        total.addcmul_(there if middle is None else there - middle, weight)
    into.copy_(total)


def probed(
    stencil: Tensor, totals: Tensor | None, sums: Tensor | None, weights: Tensor, chosen: Sequence[bool]
) -> Probed:
    """Return R A P, found by applying it to every third node at a time, :eq:`probing`, all colours at once.

    Parameters
    ----------
    stencil : torch.Tensor, shape ``(3**dim, *nodes)``
        The stencils of the fine operator, at all nodes.
    totals : torch.Tensor, shape ``(*nodes)``, or None
        Its row sums to rounding: then nothing is lost of differences; None where they are not known.
    sums : torch.Tensor, shape ``(*nodes)``, or None
        What is restricted beside it.
    weights : torch.Tensor, shape ``(3**dim, *nodes)``
        Of interpolation, by :func:`interpolation`.
    chosen : sequence of bool
        Which axes are coarsened.
    """
    dim, nodes = len(chosen), stencil.shape[1:]
    strides = [2 if some else 1 for some in chosen]
    coarse = [n // 2 + 1 if some else n for n, some in zip(nodes, chosen, strict=True)]
    ones, colours = _colours(coarse, stencil.dtype, stencil.device)
    x = _interpolated(ones, weights, strides)
    middle, y = _inside(x, (1,) * dim), stencil.new_zeros((3**dim, *(n + 2 for n in nodes)))
    _applied(stencil, x, y, None if totals is None else middle)
    if totals is not None and any(totals.stride()):
        _inside(y, (1,) * dim).addcmul_(totals, middle)
    return _restricted(x, y, colours, sums, strides)


def _restricted(x: Tensor, y: Tensor, colours: Tensor, sums: Tensor | None, strides: Sequence[int]) -> Probed:
    """Restrict what probing gave of each colour, y, by the weights that nodes of each colour gave, x."""
    dim, count = len(strides), len(x)
    own = colours[count // 2][(None, ..., *[None] * dim)]
    around_coarse = _windows(x, dim, strides)
    weights = around_coarse.gather(0, own.expand(1, *around_coarse.shape[1:]))[0]
    products = (_windows(y, dim, strides) * weights).sum(tuple(range(-dim, 0)))
    found = None if sums is None else restrict(sums[None], weights, strides)[0]
    return Probed(products.gather(0, colours), found, weights)


def restrict(b: Tensor, weights: Tensor, strides: Sequence[int]) -> Tensor:
    """Return what coarse nodes receive of loads, shape ``(K, *nodes)``, by weights that probing found."""
    dim = len(strides)
    return (_windows(pad(b, (1, 1) * dim), dim, strides) * weights).sum(tuple(range(-dim, 0)))


def interpolate(e: Tensor, weights: Tensor, strides: Sequence[int]) -> Tensor:
    """Return values at all nodes from those at coarse ones, shape ``(K, *coarse nodes)``, by a field."""
    return _inside(_interpolated(e, weights, strides), (1,) * len(strides))


def _interpolated(e: Tensor, weights: Tensor, strides: Sequence[int]) -> Tensor:
    """Return the same with a margin."""
    x = e.new_zeros((len(e), *(n + 2 for n in weights.shape[1:])))
    _inside(x, strides).copy_(e)
    for _ in range(sum(stride > 1 for stride in strides)):  # what new nodes take from others is known by then
        _applied(weights, x, x)
    return x


def applied(stencil: Tensor, u: Tensor) -> Tensor:
    """Return the loads of all nodes, shape ``(K, *nodes)``, that belong to values, by the stencil of each."""
    dim = u.ndim - 1
    windows = _windows(pad(u, (1, 1) * dim), dim, (1,) * dim)
    return (windows * _last(stencil)).sum(tuple(range(-dim, 0)))


def _last(field: Tensor) -> Tensor:
    """Return what has offsets first with those last, one axis for each."""
    dim = field.ndim - 1
    return field.unflatten(0, (3,) * dim).movedim(tuple(range(dim)), tuple(range(-dim, 0)))


def _colours(nodes: Sequence[int], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give 1 at the nodes of each colour, and which colour each node's neighbours have, by offset.

    Both have shape ``(3**dim, *nodes)``. A colour has every third node along each axis.
    """
    dim = len(nodes)
    beside = np.array([-1, 0, 1])[:, None]
    axes = [(np.arange(n) + beside) % 3 * 3 ** (dim - 1 - i) for i, n in enumerate(nodes)]
    numbers = sent(torch.from_numpy(np.concatenate([axis.ravel() for axis in axes])), device)
    parts, total = numbers.split([axis.size for axis in axes]), None
    for place, (part, n) in enumerate(zip(parts, nodes, strict=True)):
        shape = [1] * (2 * dim)
        shape[place], shape[dim + place] = 3, n
        total = part.view(shape) if total is None else total + part.view(shape)
    colours = total.flatten(0, dim - 1)  # type: ignore[union-attr]
    each = torch.arange(3**dim, device=device).view(-1, *[1] * dim)
    return (colours[3**dim // 2] == each).to(dtype), colours
