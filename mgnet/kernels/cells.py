"""One coefficient for each cell of equal size, plane by plane: no entries are stored.

The coefficients a have shape (n0 + 1, n1 + 1, n2 + 1): cell (i, j, k) lies below unknown (i, j, k) along
each axis. They are zero past natural ends, and repeated past joined ones. In a plane the middle axis has one
entry. The matrix of a cell has the entries K, shape (2, 2, 2), by the axes along which two corners differ.
Row sums are zero, but for a lumped reaction c, shape (n0, n1, n2) or empty.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, inlined, part
from .entries import add_diagonal as add_entries_of_diagonal
from .entries import add_row as add_entries
from .entries import finish, step_of

__all__ = ["add_diagonal", "assemble", "diagonal", "plane"]


@part
def _add_row(p, q, straight, slant, x, own, out):
    """Add what the sum of two rows of cells gives by a row of neighbours; differences keep digits."""
    for k in range(len(out)):
        c, left, right = own[k + 1], p[k] + q[k], p[k + 1] + q[k + 1]
        ends = left * (x[k] - c) + right * (x[k + 2] - c)
        out[k] += slant * ends + straight * (left + right) * (x[k + 1] - c)


@part
def _between(a, i, d, j, s, total):
    """Write the cells between row j of plane i and its neighbour d planes and s rows on, or their sum."""
    flat = a.shape[1] == 1
    start, stop = (0, 1) if flat else (j + max(s, 0), j + 2 + min(s, 0))
    for k in range(len(total)):
        total[k] = 0
    for plane in range(i + max(d, 0), i + 2 + min(d, 0)):
        for row in range(start, stop):
            given = a[plane, row]
            for k in range(len(total)):
                total[k] += given[k]


@inlined
def _flat_row(low, high, K, below, here, above, own, out):
    """Write A x on a row of a plane problem, and the diagonal, all in one loop."""
    centre, along, across, slant = K[0, 0, 0], K[0, 0, 1], K[1, 0, 0], K[1, 0, 1]
    for k in range(len(out)):
        c, p, q, r, s = here[k + 1], low[k], low[k + 1], high[k], high[k + 1]
        far = p * (below[k] - c) + q * (below[k + 2] - c) + (r * (above[k] - c) + s * (above[k + 2] - c))
        left, right, lower, upper = p + r, q + s, p + q, r + s
        ends = left * (here[k] - c) + right * (here[k + 2] - c)
        middle = lower * (below[k + 1] - c) + upper * (above[k + 1] - c)
        own[k] = centre * (left + right)
        out[k] = slant * far + along * ends + across * middle


@inlined
def _deep_row(a, K, below, here, above, i, j, total, own, out):
    """Write A x on a row in space, and the diagonal."""
    x, half, centre, along = here[j + 1], a.dtype.type(1 / 2), K[0, 0, 0], K[0, 0, 1]
    rows = a[i, j], a[i, j + 1], a[i + 1, j], a[i + 1, j + 1]
    p, q, r, s = rows
    for k in range(len(total)):
        total[k] = (p[k] + q[k]) + (r[k] + s[k])
    for k in range(len(out)):
        c = x[k + 1]
        own[k] = centre * (total[k] + total[k + 1])
        out[k] = along * (total[k] * (x[k] - c) + total[k + 1] * (x[k + 2] - c))
    for side in range(2):
        plane, m = above if side else below, 2 * side
        _add_row(rows[m], rows[m + 1], K[1, 0, 0], K[1, 0, 1], plane[j + 1], x, out)
        _add_row(rows[side], rows[side + 2], K[0, 1, 0], K[0, 1, 1], here[j + m], x, out)
        for t in range(2):
            cells = rows[m + t]  # one row, which counts twice
            _add_row(cells, cells, half * K[1, 1, 0], half * K[1, 1, 1], plane[j + 2 * t], x, out)


@inlined
def _row(cells, middle, task, below, here, above, load, i, j, work, out):
    """Write a sum of x, b and A x on row j of plane i, from three padded planes of x.

    ``cells`` are a, K, c and, where there is more to the operator, entries as :mod:`mgnet.kernels.entries`
    has them; of the rest see :func:`mgnet.kernels.tensor.plane`.
    """
    a, K, c, rest = cells
    n, x = len(out), here[j + 1]
    y, own, total = work[0, :n], work[1, :n], work[2, : n + 1]
    if task[2] == 0:
        for k in range(n):
            own[k] = 0
        add_diagonal(cells, i, j, own)
        finish(task, own, x, load, y, out)
        return
    if len(middle) == 0:
        _flat_row(a[i, 0], a[i + 1, 0], K, below[1], x, above[1], own, y)
    else:
        _deep_row(a, K, below, here, above, i, j, total, own, y)
    _add_reaction(cells, i, j, own)
    if len(c):
        reaction = c[i, j]
        for k in range(n):
            y[k] += reaction[k] * x[k + 1]
    if len(rest[0]):
        add_entries(rest, middle, below, here, above, i, j, total[:n], y)
    finish(task, own, x, load, y, out)


@part
def _add_reaction(cells, i, j, row):
    """Add to the diagonal at row j of plane i what there is more to the operator."""
    _, _, c, rest = cells
    if len(c):
        reaction = c[i, j]
        for k in range(len(row)):
            row[k] += reaction[k]
    if len(rest[0]):
        add_entries_of_diagonal(rest, i, j, row)


@inlined
def plane(cells, middle, task, below, here, above, load, i, work, target, pad):
    """Write a sum of x, b and A x on plane i; see :func:`mgnet.kernels.tensor.plane`."""
    n = target.shape[1] - 2 * pad
    for j in range(target.shape[0] - 2 * pad if len(middle) > 0 else 1):
        _row(cells, middle, task, below, here, above, load[j], i, j, work, target[j + pad, pad : pad + n])


@part
def add_diagonal(cells, i, j, row):
    """Add the diagonal at row j of plane i, without what ties lone joined nodes to themselves."""
    a, K, _, _ = cells
    flat, own = a.shape[1] == 1, K[0, 0, 0]
    for plane in range(i, i + 2):
        for s in range(1 if flat else 2):
            given = a[plane, 0 if flat else j + s]
            for k in range(len(row)):
                row[k] += own * (given[k] + given[k + 1])
    _add_reaction(cells, i, j, row)


@compiled
def diagonal(cells, out, start, stop):
    """Write the diagonal for some planes, shape (n0, n1, n2)."""
    out[start:stop] = 0
    for i in range(start, stop):
        for j in range(out.shape[1]):
            add_diagonal(cells, i, j, out[i, j])


@compiled
def assemble(a, K, E, start, stop):
    """Write the entries E of :mod:`mgnet.kernels.entries` on some planes, all nodes being unknowns."""
    total, flat = np.empty(a.shape[2], a.dtype), a.shape[1] == 1
    wide = 0 if flat else 1
    for i in range(start, stop):
        for j in range(E.shape[2] - 2 * wide):
            for m in range(E.shape[0]):
                d, s, t = step_of(m, flat)
                entry, row = K[d, abs(s), abs(t)], E[m, i + 1, j + wide, 1:-1]
                _between(a, i, d, j, s, total)
                low, high = total[1 if t > 0 else 0 :], total[1:]
                if t == 0:
                    for k in range(len(row)):
                        row[k] = entry * (low[k] + high[k])
                else:
                    for k in range(len(row)):
                        row[k] = entry * low[k]
