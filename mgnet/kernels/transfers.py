"""Interpolation with weights of its own for each new node, from the corners of its coarse cell.

An axis is nine integers: the first unknown among the nodes; how many nodes there are; how many of them are
kept in a pattern, and how many are new; whether another one is kept, and another new, at the end; the step
from one kept node to the next, which is 1 where nothing is coarsened; whether the ends are joined; and
whether the last node is no unknown of its own. Node 2 q is coarse node q, and new node 2 m + 1 lies between
the coarse nodes m and m + 1; the others at the end, if there are some, are the last node and the one before.

The weights stand row by row of all nodes, the last axis being that of a row: for each corner of the row,
which are the kept or new nodes' of the other axes, first those of the kept nodes, unless there is but one
corner, where they are 1; then those of the new nodes, for the left and for the right. ``start`` says where
each row begins.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, part

__all__ = ["FIRST", "JOINED", "KEPT", "MORE_KEPT", "MORE_NEW", "NEW", "NODES", "OUTER", "STEP"]
__all__ += ["corners_of", "gather", "interpolate", "restrict", "spread"]

FIRST, NODES, KEPT, NEW, MORE_KEPT, MORE_NEW, STEP, JOINED, OUTER = range(9)


@part
def corners_of(axis, node):
    """Return how many coarse nodes a node lies between, one or two, and the first of them."""
    last = axis[KEPT] - 1
    if axis[STEP] == 1:
        return 1, node
    if node <= 2 * last:
        return 1 + node % 2, node // 2
    new = node <= 2 * last + 2 * axis[MORE_NEW]
    return (2, last) if new else (1, last + 1)


@part
def _coarse_nodes(axis):
    return axis[KEPT] + axis[MORE_KEPT]


@part
def _ends(axis):
    """Return the first kept node in the pattern that is an unknown, and the one behind the last."""
    return axis[FIRST], axis[KEPT] if axis[MORE_KEPT] else axis[KEPT] - axis[OUTER]


@part
def _merge(axis, kept, new, out):
    """Add to a padded row what there is at the kept and at the new nodes."""
    (first, stop), pattern, step = _ends(axis), axis[NEW], axis[STEP]
    both = max(min(stop, pattern), first) if step == 2 else first
    pairs, even, odd = out[1 + first :], kept[first:], new[first:]
    # From zero on: where an index cannot be negative, loops go in lanes.
    for q in range(both - first):
        pairs[2 * q] += even[q]
        pairs[2 * q + 1] += odd[q]
    for q in range(both, stop):
        out[step * q + 1 - first] += kept[q]
    for m in range(min(first, pattern)):
        out[2 * m + 2 - first] += new[m]
    for m in range(both, pattern):
        out[2 * m + 2 - first] += new[m]
    for m in range(pattern, pattern + axis[MORE_NEW]):
        out[2 * m + 1 - first] += new[m]
    if axis[MORE_KEPT] and not axis[OUTER]:
        out[axis[NODES] - first] += kept[stop]


@part
def _split(axis, r, kept, new):
    """Write the values at the kept and at the new nodes of a row: the transpose of _merge."""
    (first, stop), pattern, step = _ends(axis), axis[NEW], axis[STEP]
    kept[0] = kept[len(kept) - 1] = 0
    both = max(min(stop, pattern), first) if step == 2 else first
    pairs, even, odd = r[first:], kept[first:], new[first:]
    for q in range(both - first):
        even[q] = pairs[2 * q]
        odd[q] = pairs[2 * q + 1]
    others, given = kept[both:], r[step * both - first :]
    for q in range(stop - both):
        others[q] = given[step * q]
    for m in range(min(first, pattern)):
        new[m] = r[2 * m + 1 - first]
    for m in range(both, pattern):
        new[m] = r[2 * m + 1 - first]
    for m in range(pattern, pattern + axis[MORE_NEW]):
        new[m] = r[2 * m - first]
    if axis[MORE_KEPT] and not axis[OUTER]:
        kept[stop] = r[len(r) - 1]


@part
def _spread_row(w, own, e, again, more, kept, new):
    """Write what the coarse nodes of a corner of a row give to its kept and new nodes, or add it ``again``.

    The last ``more`` new nodes are apart.
    """
    count, size = len(kept), len(new)
    left = w[0 if own else count :]
    right, behind = left[size:], e[1:]
    if again:
        for q in range(count):
            kept[q] += w[q] * e[q]
        for m in range(size - more):
            new[m] += left[m] * e[m] + right[m] * behind[m]
    else:
        for q in range(count):
            kept[q] = e[q] if own else w[q] * e[q]
        for m in range(size - more):
            new[m] = left[m] * e[m] + right[m] * behind[m]
    for m in range(size - more, size):
        new[m] = left[m] * e[m - 1] + right[m] * e[m] + (new[m] if again else 0)


@part
def _gather_row(w, own, kept, new, more, out):
    """Write what a row gives to the coarse nodes of one of its corners: the transpose of _spread_row."""
    count, size = len(kept), len(new)
    left, both = w[0 if own else count :], size - more
    right = left[size:]
    if own:
        for q in range(1, both):
            out[q] = kept[q] + (left[q] * new[q] + right[q - 1] * new[q - 1])
    else:
        for q in range(1, both):
            out[q] = w[q] * kept[q] + (left[q] * new[q] + right[q - 1] * new[q - 1])
    out[0] = kept[0] if own else w[0] * kept[0]
    for q in range(max(both, 1), count):
        out[q] = kept[q] if own else w[q] * kept[q]
    if both > 0:
        out[0] += left[0] * new[0]
        out[both] += right[both - 1] * new[both - 1]
    for m in range(both, size):
        out[m - 1] += left[m] * new[m]
        out[m] += right[m] * new[m]


@part
def _rooms(axis, rows):
    """Return room for the coarse nodes of a row, and for its kept and its new nodes."""
    count = _coarse_nodes(axis)
    return rows[0, :count], rows[1, :count], rows[2, : axis[NEW] + axis[MORE_NEW]]


@part
def interpolate(weights, start, axes, e, i, rows, plane):
    """Add to the inside of a padded plane i what coarse values, shape (N0, N1, N2), are between their nodes.

    ``rows`` has room for three rows of coarse nodes, those on sides included.
    """
    first, middle, last = axes[0], axes[1], axes[2]
    N0, N1, N2 = e.shape
    two, low = corners_of(first, i + first[FIRST])
    row, kept, new = _rooms(last, rows)
    row[0] = row[len(row) - 1] = 0
    inner = row[last[FIRST] :]
    for j in range(plane.shape[0] - 2):
        also, left = corners_of(middle, j + middle[FIRST])
        at, own = start[i + first[FIRST], j + middle[FIRST]], two * also == 1
        again = False
        for corner in range(two * also):
            Q = low + corner // also - first[FIRST]
            R = left + corner % also - middle[FIRST]
            Q, R = Q % N0 if first[JOINED] else Q, R % N1 if middle[JOINED] else R
            if 0 <= Q < N0 and 0 <= R < N1:  # or else it is given, and zero
                given = e[Q, R]
                for K in range(N2):
                    inner[K] = given[K]
                if last[JOINED]:
                    row[N2] = row[0]
                _spread_row(weights[at:], own, row, again, last[MORE_NEW], kept, new)
                again = True
            at += 2 * len(new) + (0 if own else len(kept))
        if again:
            _merge(last, kept, new, plane[j + 1])


@part
def restrict(weights, start, axes, r, i, turns, low, high, rows, coarse):
    """Add what plane i of residuals gives to the coarse planes from ``low`` to ``high``.

    ``turns`` says how often i has gone around a joined first axis. ``rows`` has room for three rows of coarse
    nodes, those on sides included.
    """
    first, middle, last = axes[0], axes[1], axes[2]
    N0, N1, N2 = coarse.shape
    two, begin = corners_of(first, i + first[FIRST])
    begin += turns * N0 - first[FIRST]
    if begin >= high or begin + two <= low:
        return
    row, kept, new = _rooms(last, rows)
    for j in range(r.shape[0]):
        also, left = corners_of(middle, j + middle[FIRST])
        at, own = start[i + first[FIRST], j + middle[FIRST]], two * also == 1
        _split(last, r[j], kept, new)
        for corner in range(two * also):
            Q = begin + corner // also
            R = left + corner % also - middle[FIRST]
            R = R % N1 if middle[JOINED] else R
            if low <= Q < high and 0 <= R < N1:
                _gather_row(weights[at:], own, kept, new, last[MORE_NEW], row)
                there, given = coarse[Q, R], row[last[FIRST] :]
                for K in range(N2):
                    there[K] += given[K]
                if last[JOINED]:
                    there[0] += row[N2]
            at += 2 * len(new) + (0 if own else len(kept))


@part
def _copy(plane, out):
    for j in range(out.shape[0]):
        given, target = plane[j + 1, 1:], out[j]
        for k in range(len(target)):
            target[k] = given[k]
            given[k] = 0


@compiled
def spread(weights, start, axes, e, out, low, high):
    """Interpolate coarse values, shape (batch, N0, N1, N2), to some planes of ``out``."""
    rows = np.empty((3, _coarse_nodes(axes[2])), e.dtype)
    plane = np.zeros((out.shape[2] + 2, out.shape[3] + 2), e.dtype)
    for n in range(len(e)):
        for i in range(low, high):
            interpolate(weights, start, axes, e[n], i, rows, plane)
            _copy(plane, out[n, i])


@compiled
def gather(weights, start, axes, b, out, low, high):
    """Restrict loads, shape (batch, n0, n1, n2), to some planes of ``out``, which are zero."""
    rows, planes = np.empty((3, _coarse_nodes(axes[2])), b.dtype), b.shape[1]
    for n in range(len(b)):
        # Before joined ends come the new nodes of the last cell, two at most.
        for at in range(-2 * axes[0, JOINED], planes):
            i, turns = at % planes, at // planes
            restrict(weights, start, axes, b[n, i], i, turns, low, high, rows, out[n])
