"""One coefficient for each cell of equal size, plane by plane: no entries are stored.

The coefficients a have shape (n0 + 1, n1 + 1, n2 + 1): cell (i, j, k) lies below unknown (i, j, k) along
each axis. They are zero past natural ends, and repeated past joined ones. In a plane the middle axis has one
entry. The matrix of a cell has the entries K, shape (2, 2, 2), by the axes along which two corners differ.
Row sums are zero, but for a lumped reaction c, shape (n0, n1, n2) or empty.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, part
from .entries import add_diagonal as add_entries_of_diagonal
from .entries import product as add_entries
from .entries import step_of

__all__ = ["add_diagonal", "assemble", "diagonal", "product"]


@part
def _add_row(a, straight, slant, x, own, out):
    """Add what a row of cells, or a sum of some, gives by a row of neighbours; differences keep digits."""
    for k in range(len(out)):
        c = own[k + 1]
        ends = a[k] * (x[k] - c) + a[k + 1] * (x[k + 2] - c)
        out[k] += slant * ends + straight * (a[k] + a[k + 1]) * (x[k + 1] - c)


@part
def _add_ends(a, slant, x, out):
    """Add what cells around a row tie its neighbours along it to each other."""
    for k in range(len(out)):
        c = x[k + 1]
        out[k] += slant * (a[k] * (x[k] - c) + a[k + 1] * (x[k + 2] - c))


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


@part
def _flat_row(low, high, K, below, here, above, out):
    """Write A x on a row of a plane problem, all in one loop."""
    along, across, slant = K[0, 0, 1], K[1, 0, 0], K[1, 0, 1]
    for k in range(len(out)):
        c, p, q, r, s = here[k + 1], low[k], low[k + 1], high[k], high[k + 1]
        far = p * (below[k] - c) + q * (below[k + 2] - c) + (r * (above[k] - c) + s * (above[k + 2] - c))
        ends = (p + r) * (here[k] - c) + (q + s) * (here[k + 2] - c)
        out[k] = (
            slant * far
            + along * ends
            + across * ((p + q) * (below[k + 1] - c) + (r + s) * (above[k + 1] - c))
        )


@part
def _deep_row(a, K, below, here, above, i, j, total, out):
    """Write A x on a row in space."""
    out[:] = 0
    x = here[j + 1]
    for d in range(-1, 2):
        plane = below if d < 0 else here if d == 0 else above
        for s in range(-1, 2):
            _between(a, i, d, j, s, total)
            if d == 0 and s == 0:
                _add_ends(total, K[0, 0, 1], x, out)
            else:
                _add_row(total, K[abs(d), abs(s), 0], K[abs(d), abs(s), 1], plane[j + 1 + s], x, out)


@part
def product(cells, below, here, above, i, total, out):
    """Write A x on plane i from three padded planes of x; ``total`` has room for a row of cells.

    ``cells`` are a, K, c and, where there is more to the operator, entries as :mod:`mgnet.kernels.entries`
    has them.
    """
    a, K, c, rest = cells
    for j in range(out.shape[0]):
        y, x = out[j], here[j + 1]
        if a.shape[1] == 1:
            _flat_row(a[i, 0], a[i + 1, 0], K, below[1], x, above[1], y)
        else:
            _deep_row(a, K, below, here, above, i, j, total, y)
        if len(c):
            reaction = c[i, j]
            for k in range(len(y)):
                y[k] += reaction[k] * x[k + 1]
    if len(rest[0]):
        add_entries(rest, True, below, here, above, i, out)


@part
def add_diagonal(cells, i, j, row):
    """Add the diagonal at row j of plane i, without what ties lone joined nodes to themselves."""
    a, K, c, rest = cells
    flat, own = a.shape[1] == 1, K[0, 0, 0]
    for plane in range(i, i + 2):
        for s in range(1 if flat else 2):
            given = a[plane, 0 if flat else j + s]
            for k in range(len(row)):
                row[k] += own * (given[k] + given[k + 1])
    if len(c):
        reaction = c[i, j]
        for k in range(len(row)):
            row[k] += reaction[k]
    if len(rest[0]):
        add_entries_of_diagonal(rest, i, j, row)


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
