"""The weights of transfers that the operator dictates: new nodes are the equilibrium of the others.

All is done on nodes, those on sides included. Interpolated are the functions that are 1 at the coarse nodes
of one parity along each axis, so that each corner of a coarse cell has a function of its own.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, part
from .entries import is_flat
from .transfers import KEPT, MORE_KEPT, MORE_NEW, NEW, NODES, STEP, corners_of

__all__ = ["weigh"]

# What a node is along an axis: a coarse one, one between two, or one at a place of its own in the last cell.
COARSE, BETWEEN, PLACED = range(3)
# A row sum of this part of the diagonal is known well enough from the entries.
REACTS = 1e-3
# How many times its rounding the part of a diagonal is that is left of entries which cancel.
LOST = 4


@part
def _kind(axis, node):
    two, _ = corners_of(axis, node)
    if two == 1:
        return COARSE
    return PLACED if axis[MORE_NEW] and node > 2 * (axis[KEPT] - 1) else BETWEEN


@part
def _nodes_of(axis, kind):
    """Return the first of the nodes of a kind, the step to the next, and how many there are."""
    last = axis[KEPT] - 1
    if kind == COARSE:
        return 0, axis[STEP], axis[KEPT]
    if kind == BETWEEN:
        return 1, 2, axis[NEW] - axis[MORE_NEW]
    return 2 * last + 1, 1, 2 * axis[MORE_NEW]


@part
def _add_entries(E, i, j, step, out):
    """Add the entries between a row and its neighbours in a direction."""
    flat = is_flat(E)
    m = (3 if flat else 9) * step[0] + (0 if flat else 3 * step[1]) + step[2]
    at, row = 1, E[abs(m), i + 1, j + (0 if flat else 1)]
    if m < 0:  # an entry stands at the first of its two nodes
        at, row = 1 + step[2], E[-m, i + 1 + step[0], j + (0 if flat else 1 + step[1])]
    given = row[at:]
    for k in range(len(out)):
        out[k] += given[k]


@part
def _pull(E, i, j, step, along, out):
    """Write the entries in a direction along some axes, summed across the others."""
    for k in range(len(out)):
        out[k] = 0
    deep, wide, long = 1 - along[0], 0 if is_flat(E) else 1 - along[1], 1 - along[2]
    for d in range(-deep, deep + 1):
        for s in range(-wide, wide + 1):
            for t in range(-long, long + 1):
                _add_entries(E, i, j, (step[0] + d, step[1] + s, step[2] + t), out)


@part
def _own_entry(E, sums, i, j, along, pulls, own):
    """Write what nodes have in their own equations: the pulls of the others and the row sum, or the entry.

    Entries may cancel so far that they do not know a row sum, and weights would not sum to one.
    """
    if sums.shape[2] == 1:
        for k in range(len(own)):
            own[k] = pulls[k]
        return
    _pull(E, i, j, (0, 0, 0), along, own)
    if sums.shape[2]:
        given = sums[i, j]
        for k in range(len(own)):
            s = given[k]
            own[k] = own[k] if s > REACTS * abs(own[k]) else pulls[k] + s


@part
def _balance(E, sums, i, j, along, before, here, after, work, found):
    """Write the equilibria along some axes at all nodes of a row; across the others entries are summed."""
    pull, pulls, own = work[0], work[1], work[2]
    pulls[:] = 0
    found[:] = 0
    for d in range(-along[0], along[0] + 1):
        values = before if d < 0 else here if d == 0 else after
        for s in range(-along[1], along[1] + 1):
            for t in range(-along[2], along[2] + 1):
                if d == 0 and s == 0 and t == 0:
                    continue
                _pull(E, i, j, (d, s, t), along, pull)
                for k in range(len(pull)):
                    pulls[k] -= pull[k]
                for c in range(len(found)):
                    y, x = found[c], values[c, j + 1 + s, 1 + t :]
                    for k in range(len(y)):
                        y[k] -= pull[k] * x[k]
    _own_entry(E, sums, i, j, along, pulls, own)
    least, whole = np.finfo(E.dtype).eps, E[0, i + 1, j + (0 if is_flat(E) else 1)][1:]
    for c in range(len(found)):
        y = found[c]
        if along[2]:
            low, high = here[c, j + 1], here[c, j + 1, 2:]
        elif along[1]:
            low, high = here[c, j, 1:], here[c, j + 2, 1:]
        else:
            low, high = before[c, j + 1, 1:], after[c, j + 1, 1:]
        for k in range(len(y)):
            # One without an equation is between two others, so that constants stay what they are beside it.
            known = abs(own[k]) > LOST * least * whole[k]
            y[k] = y[k] / own[k] if known else (low[k] + high[k]) / 2
            # What is less than rounding is none: else a node without an equation would have one of noise.
            y[k] = y[k] if abs(y[k]) > least else least * 0


@part
def _place(t, axes, outer, j, before, here, after, found):
    """Write what is linear along the first or the middle axis in its last coarse cell, at a whole row."""
    stop = axes[1, NODES]
    for c in range(len(found)):
        low, high = (before[c, j + 1], after[c, j + 1]) if outer else (here[c, stop - 3], here[c, stop])
        y = found[c]
        for k in range(len(y)):
            y[k] = (1 - t) * low[k + 1] + t * high[k + 1]


@part
def _place_last(places, stop, j, values):
    """Write what is linear along a row in its last coarse cell, at the two new nodes there."""
    for c in range(len(values)):
        row = values[c, j + 1]
        for n in range(2):
            row[stop - 2 + n] = (1 - places[n]) * row[stop - 3] + places[n] * row[stop]


@part
def _take(found, nodes, values, j):
    begin, step, count = nodes
    for c in range(len(found)):
        y, x = values[c, j + 1, 1 + begin :], found[c, begin:]
        for q in range(count):
            y[step * q] = x[step * q]


@part
def _bits(axes):
    """Return the weight of the parity along each axis in the number of a function; 0 where all nodes stay."""
    first, middle, last = axes[0, STEP] - 1, axes[1, STEP] - 1, axes[2, STEP] - 1
    return first, middle * (1 + first), last * (1 + first) * (1 + middle)


@part
def _own(axes, bits, i, j, values):
    """Write the values at the coarse nodes of a row."""
    _, first = corners_of(axes[0], i)
    _, middle = corners_of(axes[1], j)
    group = bits[0] * (first % 2) + bits[1] * (middle % 2)
    count, more, step = axes[2, KEPT], axes[2, MORE_KEPT], axes[2, STEP]
    for c in range(len(values)):
        row = values[c, j + 1, 1:]
        for q in range(count + more):
            node = axes[2, NODES] - 1 if q == count else step * q
            row[node] = 1.0 if c == group + bits[2] * (q % 2) else 0.0


@part
def _fill_row(E, sums, axes, places, bits, i, j, before, here, after, work):
    """Interpolate the functions at the nodes of a row, those before it in order being known."""
    found, first, middle = work[3:], _kind(axes[0], i), _kind(axes[1], j)
    for kind in (COARSE, PLACED, BETWEEN):
        nodes = _nodes_of(axes[2], kind)
        if nodes[2] == 0:
            continue
        along = (int(first == BETWEEN), int(middle == BETWEEN), int(kind == BETWEEN))
        if along[0] or along[1] or along[2]:
            _balance(E, sums, i, j, along, before, here, after, work, found)
        elif first == PLACED:
            t = places[0, i - (axes[0, NODES] - 3)]
            _place(t, axes, True, j, before, here, after, found)
        elif middle == PLACED:
            t = places[1, j - (axes[1, NODES] - 3)]
            _place(t, axes, False, j, before, here, after, found)
        elif kind == PLACED:
            _place_last(places[2], axes[2, NODES], j, here)
            continue
        else:
            _own(axes, bits, i, j, here)
            continue
        _take(found, nodes, here, j)
        if kind == COARSE and axes[2, MORE_KEPT]:
            _take(found, (axes[2, NODES] - 1, 1, 1), here, j)


@part
def _fill(E, sums, axes, places, bits, i, before, here, after, work):
    """Interpolate the functions at the nodes of a plane; those before and after it are coarse, and known."""
    for kind in (COARSE, PLACED, BETWEEN):
        for j in range(axes[1, NODES]):
            if _kind(axes[1], j) == kind:
                _fill_row(E, sums, axes, places, bits, i, j, before, here, after, work)


@part
def _pack(axes, bits, i, values, start, weights):
    """Write the weights of a plane of nodes."""
    last = axes[2]
    kept, step, bit = last[KEPT], last[STEP], bits[2]
    new, more = last[NEW], last[NEW] + last[MORE_NEW]
    two, Q = corners_of(axes[0], i)
    for j in range(axes[1, NODES]):
        also, J = corners_of(axes[1], j)
        at = start[i, j]
        for corner in range(two * also):
            group = bits[0] * ((Q + corner // also) % 2) + bits[1] * ((J + corner % also) % 2)
            if two * also > 1:
                for q in range(kept):
                    weights[at + q] = values[group + bit * (q % 2), j + 1, 1 + step * q]
                at += kept
                if last[MORE_KEPT]:
                    weights[at] = values[group + bit * (kept % 2), j + 1, last[NODES]]
                    at += 1
            for side in range(2):
                for m in range(more):
                    q, node = (m + side, 2 * m + 1) if m < new else (m - 1 + side, 2 * m)
                    weights[at + m] = values[group + bit * (q % 2), j + 1, 1 + node]
                at += more


@part
def _node_of(axis, coarse):
    """Return where a coarse node stands."""
    return axis[NODES] - 1 if coarse >= axis[KEPT] else axis[STEP] * coarse


@compiled
def weigh(E, sums, axes, places, start, weights, low, high):
    """Write the weights of the nodes on some coarse planes, and from each to the next.

    ``sums`` are the row sums, shape (m0, m1, m2); (1, 1, 1) where all are zero, and empty where only the
    entries tell. ``places`` says where the two new nodes in the last cell of an axis lie in it, shape (3, 2).
    """
    bits = _bits(axes)
    count = 1 + bits[0] + bits[1] + bits[2]
    shape = (count, axes[1, NODES] + 2, axes[2, NODES] + 2)
    planes = np.zeros((3, *shape), E.dtype)
    work = np.zeros((3 + count, axes[2, NODES]), E.dtype)
    stop = axes[0, KEPT] + axes[0, MORE_KEPT]
    for Q in range(low, min(high + 1, stop)):
        i, here, before = _node_of(axes[0], Q), planes[Q % 2], planes[1 - Q % 2]
        _fill(E, sums, axes, places, bits, i, here, here, here, work)
        if Q < high:
            _pack(axes, bits, i, here, start, weights)
        if Q > low:
            for between in range(_node_of(axes[0], Q - 1) + 1, i):
                _fill(E, sums, axes, places, bits, between, before, planes[2], here, work)
                _pack(axes, bits, between, planes[2], start, weights)
