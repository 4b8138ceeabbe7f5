"""Entries between neighbouring nodes, plane by plane.

E has shape (1 + S, m0 + 2, m1 + 2, m2 + 2), the nodes of each axis and one more past each end: the diagonal,
and for half of the steps to a neighbour, those whose first component that is not zero is positive, the entry
between a node and its neighbour there, in the order of the steps. Then S = 13. In a plane, S = 4, the middle
axis is not padded and has one entry. Past joined ends entries are repeated, and zero past others.
"""

from __future__ import annotations

from .compiling import compiled, part

__all__ = ["add_diagonal", "is_flat", "product", "row_sums", "step_of"]


@part
def is_flat(E):
    """Say whether there is no middle axis."""
    return E.shape[0] < 14


@part
def step_of(m, flat):
    """Return the step of an entry by its number."""
    d = (m + 1) // 3 if flat else (m + 4) // 9
    s = 0 if flat else (m - 9 * d + 4) // 3 - 1
    return d, s, m - (3 if flat else 9) * d - 3 * s


@part
def _add_taps(left, middle, right, x, out):
    """Add three entries of each row times three padded values next to each other."""
    for k in range(len(out)):
        out[k] += left[k] * x[k] + (middle[k] * x[k + 1] + right[k] * x[k + 2])


@part
def product(entries, more, below, here, above, i, out):
    """Write A x on plane i of the unknowns from three padded planes of x, or add it to what is there.

    ``entries`` are E and the first unknown among the nodes of each axis.
    """
    E, first = entries
    flat = is_flat(E)
    wide, plane, start = 0 if flat else 1, i + 1 + first[0], first[2]
    for j in range(out.shape[0]):
        y, at, x = out[j], j + wide + first[1], here[j + 1]
        if not more:
            y[:] = 0
        tie = E[1, plane, at]
        _add_taps(tie[start:], E[0, plane, at][1 + start :], tie[1 + start :], x, y)
        for d in range(2):
            for s in range(-wide * d, wide + 1):
                if d == 0 and s <= 0:
                    continue
                m = (3 if flat else 9) * d + 3 * s
                # An entry stands at the first of its two nodes.
                x, z = (above if d else here)[j + 1 + s], (below if d else here)[j + 1 - s]
                p, q, k = (plane, at), (plane - d, at - s), 1 + start
                _add_taps(E[m - 1][p][k:], E[m][p][k:], E[m + 1][p][k:], x, y)
                _add_taps(E[m + 1][q][start:], E[m][q][k:], E[m - 1][q][k + 1 :], z, y)


@part
def add_diagonal(entries, i, j, row):
    """Add the diagonal at row j of plane i of unknowns, without what ties lone joined nodes to themselves."""
    E, first = entries
    given = E[0, i + 1 + first[0], j + first[1] + (0 if is_flat(E) else 1)][1 + first[2] :]
    for k in range(len(row)):
        row[k] += given[k]


@compiled
def row_sums(E, sizes, out, start, stop):
    """Write the sums of the entries of each node of some planes, or of their sizes."""
    flat = is_flat(E)
    pad = 0 if flat else 1
    for i in range(start, stop):
        for j in range(out.shape[1]):
            y, at = out[i, j], j + pad
            y[:] = E[0, i + 1, at, 1:-1]
            for m in range(1, E.shape[0]):
                d, s, t = step_of(m, flat)
                high, low = E[m, i + 1, at, 1:], E[m, i + 1 - d, at - s, 1 - t :]
                if sizes:
                    for k in range(len(y)):
                        y[k] += abs(high[k]) + abs(low[k])
                else:
                    for k in range(len(y)):
                        y[k] += high[k] + low[k]
