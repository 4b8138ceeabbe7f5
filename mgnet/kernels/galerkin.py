"""The coarse operator R A P, from entries between nodes and the weights of the interpolation.

Every third column of P at a time is a vector, :eq:`probing`, which reaches some planes only. Entries between
nodes, as :mod:`mgnet.kernels.entries` has them, are zero past all ends here: where ends are joined, each has
its part.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, part
from .entries import is_flat
from .transfers import FIRST, KEPT, NODES, STEP, interpolate, restrict

__all__ = ["probe"]


@part
def _add_differences(left, middle, right, x, own, out):
    for k in range(len(out)):
        c = own[k + 1]
        ends = left[k] * (x[k] - c) + right[k] * (x[k + 2] - c)
        out[k] += middle[k] * (x[k + 1] - c) + ends


@part
def _product(E, sums, below, here, above, i, out):
    """Write A x at the nodes of plane i from the row sums and from differences, which keep their digits."""
    flat = is_flat(E)
    wide, pad = (0, 0) if flat else (1, 1)
    for j in range(out.shape[0]):
        y, at, own = out[j], j + pad, here[j + 1]
        if sums.shape[2] > 1:
            s = sums[i, j]
            for k in range(len(y)):
                y[k] = s[k] * own[k + 1]
        else:
            y[:] = 0
        e = E[1, i + 1, at]
        for k in range(len(y)):
            c = own[k + 1]
            y[k] += e[k] * (own[k] - c) + e[k + 1] * (own[k + 2] - c)
        for d in range(2):
            for s in range(-wide * d, wide + 1):
                if d == 0 and s <= 0:
                    continue
                m = (3 if flat else 9) * d + 3 * s
                x, z = (above if d else here)[j + 1 + s], (below if d else here)[j + 1 - s]
                p, q = (i + 1, at), (i + 1 - d, at - s)
                _add_differences(E[m - 1][p][1:], E[m][p][1:], E[m + 1][p][1:], x, own, y)
                _add_differences(E[m + 1][q], E[m][q][1:], E[m - 1][q][2:], z, own, y)


@part
def _read(got, J, colour, C):
    """Take the entries of the coarse planes J - 1 and J in the columns of a colour."""
    flat, rows, columns = is_flat(C), got.shape[1], got.shape[2]
    for back in range(2 if J else 1):
        for a in range(rows):
            s = 0 if flat else (colour[0] - a + 1) % 3 - 1
            for t in range(-1, 2):
                m = (3 if flat else 9) * back + 3 * s + t
                if m < 0 or a + s < 0 or a + s >= rows:
                    continue
                row, entries = got[1 - back, a], C[m, J - back + 1, a + (0 if flat else 1), 1:]
                for b in range((colour[1] - t) % 3, columns, 3):
                    if 0 <= b + t < columns:
                        entries[b] = row[b]


@compiled
def probe(E, sums, weights, start, axes, C, low, high):
    """Write the entries C between coarse nodes that belong to some coarse planes.

    They are those of each of these planes, and those between it and the plane before.
    """
    m0, m1, m2 = axes[0, NODES], axes[1, NODES], axes[2, NODES]
    M1, M2 = C.shape[2] - (0 if is_flat(C) else 2), C.shape[3] - 2
    e, got = np.zeros((1, M1, M2), E.dtype), np.zeros((2, M1, M2), E.dtype)
    ring, y = np.zeros((3, m1 + 2, m2 + 2), E.dtype), np.empty((m1, m2), E.dtype)
    rows, from_, to = np.empty((3, M2), E.dtype), axes.copy(), axes.copy()
    for J in range(low, high):
        begin = max(J - 1, 0) * axes[0, STEP]
        end = axes[0, STEP] * (J + 1) if J + 1 < axes[0, KEPT] else m0
        # Plane J alone is interpolated from; it and the one before are restricted to.
        from_[0, FIRST], to[0, FIRST] = J, J - 1
        for a in range(1 if is_flat(C) else 3):
            for b in range(3):
                e[:] = 0
                e[0, a::3, b::3] = 1
                got[:] = 0
                for at in range(begin - 1, end + 1):
                    plane = ring[at % 3]
                    plane[:] = 0
                    if 0 <= at < m0:
                        interpolate(weights, start, from_, e, at - J, rows, plane)
                    i = at - 1
                    if i >= begin:
                        _product(E, sums, ring[(i - 1) % 3], ring[i % 3], plane, i, y)
                        restrict(weights, start, to, y, i - (J - 1), 0, 0, 2, rows, got)
                _read(got, J, (a, b), C)
