"""Entries between neighbouring nodes, plane by plane.

E has shape (1 + S, m0 + 2, m1 + 2, m2 + 2), the nodes of each axis and one more past each end: the diagonal,
and for half of the steps to a neighbour, those whose first component that is not zero is positive, the entry
between a node and its neighbour there, in the order of the steps. Then S = 13. In a plane, S = 4, the middle
axis is not padded and has one entry. Past joined ends entries are repeated, and zero past others.

Where row sums S are given, shape (m0 + 2, m1 + 2, m2 + 2), or (m0 + 2, 1, m2 + 2) in a plane, A x is made of
them and of differences, which lose nothing; where S is empty, of the diagonal.
"""

from __future__ import annotations

from .compiling import compiled, inlined, part

__all__ = ["add_diagonal", "add_row", "finish", "is_flat", "plane", "row_sums", "step_of"]


@inlined
def is_flat(E):
    """Say whether there is no middle axis."""
    return E.shape[0] < 14


@inlined
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
def _add_steps(left, middle, right, x, own, out):
    """Add three entries of each row times the steps to padded values next to each other."""
    for k in range(len(out)):
        c = own[k + 1]
        out[k] += left[k] * (x[k] - c) + (middle[k] * (x[k + 1] - c) + right[k] * (x[k + 2] - c))


@part
def _add_around(E, steps, plane, at, start, below, here, above, j, out):
    """Add what the rows around give in space, by their values or by steps."""
    own = here[j + 1]
    for d in range(2):
        for s in range(-d, 2):
            if d == 0 and s <= 0:
                continue
            m = 9 * d + 3 * s
            # An entry stands at the first of its two nodes.
            x, z = (above if d else here)[j + 1 + s], (below if d else here)[j + 1 - s]
            p, q, k = (plane, at), (plane - d, at - s), 1 + start
            if steps:
                _add_steps(E[m - 1][p][k:], E[m][p][k:], E[m + 1][p][k:], x, own, out)
                _add_steps(E[m + 1][q][start:], E[m][q][k:], E[m - 1][q][k + 1 :], z, own, out)
            else:
                _add_taps(E[m - 1][p][k:], E[m][p][k:], E[m + 1][p][k:], x, out)
                _add_taps(E[m + 1][q][start:], E[m][q][k:], E[m - 1][q][k + 1 :], z, out)


@inlined
def _flat_row(E, plane, start, below, here, above, out):
    """Write A x on a row of a plane problem, all in one loop."""
    tie, own, low, high = E[1, plane, 0][start:], E[0, plane, 0][1 + start :], plane - 1, plane
    # An entry stands at the first of its two nodes.
    a, b, c = E[4, low, 0][start:], E[3, low, 0][1 + start :], E[2, low, 0][2 + start :]
    d, e, f = E[2, high, 0][1 + start :], E[3, high, 0][1 + start :], E[4, high, 0][1 + start :]
    for k in range(len(out)):
        lower = a[k] * below[k] + (b[k] * below[k + 1] + c[k] * below[k + 2])
        upper = d[k] * above[k] + (e[k] * above[k + 1] + f[k] * above[k + 2])
        out[k] = tie[k] * here[k] + (own[k] * here[k + 1] + tie[k + 1] * here[k + 2]) + (lower + upper)


@inlined
def _flat_steps(E, S, plane, start, below, here, above, out):
    """Write the same from row sums and steps."""
    tie, own, low, high = E[1, plane, 0][start:], S[plane, 0][1 + start :], plane - 1, plane
    a, b, c = E[4, low, 0][start:], E[3, low, 0][1 + start :], E[2, low, 0][2 + start :]
    d, e, f = E[2, high, 0][1 + start :], E[3, high, 0][1 + start :], E[4, high, 0][1 + start :]
    for k in range(len(out)):
        x = here[k + 1]
        lower = a[k] * (below[k] - x) + (b[k] * (below[k + 1] - x) + c[k] * (below[k + 2] - x))
        upper = d[k] * (above[k] - x) + (e[k] * (above[k + 1] - x) + f[k] * (above[k + 2] - x))
        out[k] = tie[k] * (here[k] - x) + (own[k] * x + tie[k + 1] * (here[k + 2] - x)) + (lower + upper)


@inlined
def finish(task, own, x, load, y, out):
    """Write what a task makes of a padded row of x, of b and of A x, y; ``own`` is the diagonal there."""
    keep, of_load, of_image = task
    n, one = len(out), load.dtype.type(1)
    if of_image == 0:
        for k in range(n):
            out[k] = of_load * (one / own[k] if own[k] != 0 else own[k]) * load[k]
    elif keep != 0:
        for k in range(n):
            inverse = one / own[k] if own[k] != 0 else own[k]
            out[k] = x[k + 1] + inverse * (of_load * load[k] + of_image * y[k])
    else:
        for k in range(n):
            out[k] = of_load * load[k] + of_image * y[k]


@inlined
def _deep_row(E, S, plane, at, start, below, here, above, j, out):
    """Write A x on row j in space."""
    x, tie, steps = here[j + 1], E[1, plane, at][start:], S.shape[2] > 0
    if steps:
        sums = S[plane, at][1 + start :]
        for k in range(len(out)):
            c = x[k + 1]
            out[k] = tie[k] * (x[k] - c) + (sums[k] * c + tie[k + 1] * (x[k + 2] - c))
    else:
        own = E[0, plane, at][1 + start :]
        for k in range(len(out)):
            out[k] = tie[k] * x[k] + (own[k] * x[k + 1] + tie[k + 1] * x[k + 2])
    _add_around(E, steps, plane, at, start, below, here, above, j, out)


@inlined
def _row(entries, middle, task, below, here, above, load, i, j, work, out):
    """Write a sum of x, b and A x on row j of plane i of the unknowns, from three padded planes of x.

    ``entries`` are E, the first unknown among the nodes of each axis, and S; of the rest see
    :func:`mgnet.kernels.tensor.plane`.
    """
    E, first, S = entries
    y, x, plane, start = work[0, : len(out)], here[j + 1], i + 1 + first[0], first[2]
    at = j + first[1] + (0 if len(middle) == 0 else 1)
    if task[2] != 0:
        if len(middle) > 0:
            _deep_row(E, S, plane, at, start, below, here, above, j, y)
        elif S.shape[2] > 0:
            _flat_steps(E, S, plane, start, below[1], x, above[1], y)
        else:
            _flat_row(E, plane, start, below[1], x, above[1], y)
    finish(task, E[0, plane, at][1 + start :], x, load, y, out)


@inlined
def plane(entries, middle, task, below, here, above, load, i, work, target, pad):
    """Write a sum of x, b and A x on plane i; see :func:`mgnet.kernels.tensor.plane`."""
    n = target.shape[1] - 2 * pad
    for j in range(target.shape[0] - 2 * pad if len(middle) > 0 else 1):
        _row(entries, middle, task, below, here, above, load[j], i, j, work, target[j + pad, pad : pad + n])


@part
def add_row(entries, middle, below, here, above, i, j, y, out):
    """Add A x on row j of plane i of the unknowns; ``y`` is a row to work in."""
    E, first = entries
    x, plane, start = here[j + 1], i + 1 + first[0], first[2]
    at = j + first[1] + (0 if len(middle) == 0 else 1)
    tie, own = E[1, plane, at], E[0, plane, at][1 + start :]
    if len(middle) == 0:
        _flat_row(E, plane, start, below[1], x, above[1], y)
        for k in range(len(out)):
            out[k] += y[k]
    else:
        _add_taps(tie[start:], own, tie[1 + start :], x, out)
        _add_around(E, False, plane, at, start, below, here, above, j, out)


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
