"""The passes of a cycle over a grid, each of which reads and writes its vectors once.

A front goes through the planes of the first axis: behind it follow the sweeps, one plane apart each, and the
residual and its restriction, while the planes that they need of one another are in cache. Vectors have shape
(batch, n0, n1, n2). Some planes are written by each call; it works out again what it needs of its neighbours,
so that calls for other planes may go on at the same time.

An operator is which ends are joined; the inverse of the diagonal, where it is to be read; the size of the
middle axis, if there is one; and the arrays of three kinds, of which two are None: products and even numbers
of :mod:`mgnet.kernels.tensor`, E of :mod:`mgnet.kernels.entries`, and a, K and c of
:mod:`mgnet.kernels.cells`. Transfers are what :mod:`mgnet.kernels.tensor` has of hats, or None, and what
:mod:`mgnet.kernels.transfers` has of weights, or None. Loops are compiled for what there is: none waits for
what is None or empty. Each pass rings a bell of :mod:`mgnet.kernels.bells`, for threads that share it.
"""

from __future__ import annotations

import numpy as np

from . import bells, tensor, vectors
from . import cells as cells_of
from . import entries as entries_of
from .compiling import inlined, lean
from .memory import FAR

__all__ = ["CELLS", "ENTRIES", "PRODUCTS", "apply", "energies", "improve", "rooms"]

# The kinds of operators, in the order in which their arrays stand.
PRODUCTS, ENTRIES, CELLS = range(3)
# How far the residual of one plane reaches on the coarse grid and back, in planes, and one more for itself.
REACH = 3


def rooms(shape, coarse, sweeps, dtype):
    """Return the memory that a pass works in, whose ghosts are zero.

    That is, for planes of a shape: three padded ones for each sweep and before the first; some rows; three
    padded coarse planes; one; and what is known of rows at each stage.
    """
    padded = [sweeps + 1, 3, shape[1] + 2, shape[2] + 2]
    wide = [3, coarse[1] + 2 * tensor.MARGIN, coarse[2] + 2 * tensor.MARGIN]
    return (
        np.zeros(padded, dtype),
        np.full((7, max(padded[3], tensor.KNOWN)), np.nan, dtype),
        np.zeros(wide, dtype),
        np.empty(shape[1:], dtype),
        np.full((sweeps + 2, 3, tensor.KNOWN), np.nan, dtype),
    )


@inlined
def _step(
    products, even, entries, cells, middle, task, below, here, above, load, i, work, known, ahead, target, pad
):
    """Write a sum of x, b and A x on plane i; see :func:`mgnet.kernels.tensor.plane`.

    The kinds that an operator is not of are None.
    """
    if products is not None:
        parts = task, below, here, above, load, i, work, known, ahead, target, pad
        tensor.plane(products, even, middle, *parts)
    if entries is not None:
        entries_of.plane(entries, middle, task, below, here, above, load, i, work, target, pad)
    if cells is not None:
        cells_of.plane(cells, middle, task, below, here, above, load, i, work, target, pad)


@inlined
def _relax(inverse, weight, here, residual, plane):
    """Write x and a residual times the inverse of the diagonal."""
    for j in range(residual.shape[0]):
        x, row, given, out = here[j + 1, 1:], inverse[j], residual[j], plane[j + 1, 1:]
        for k in range(len(given)):
            out[k] = x[k] + weight * row[k] * given[k]


@inlined
def _copy(plane, out):
    """Write the inside of a padded plane."""
    for j in range(out.shape[0]):
        given, target = plane[j + 1, 1:-1], out[j]
        for k in range(len(target)):
            target[k] = given[k]


@inlined
def _pad(x, start, stride, plane):
    """Write the inside of a padded plane from memory: where its first row starts, and the next ones."""
    columns = plane.shape[1] - 2
    for j in range(plane.shape[0] - 2):
        at = start + j * stride
        given, target = x[at : at + columns], plane[j + 1, 1:-1]
        for k in range(columns):
            target[k] = given[k]


@inlined
def _guess(x, start, stride, e, transfers, middle, joined, flags, i, work, plane):
    """Write the approximation that a pass begins with: x, what coarse values add to it, or both."""
    if flags[0]:
        _pad(x, start, stride, plane)
    else:
        tensor.clear(plane)
    if flags[1]:
        tensor.interpolate(transfers[0], transfers[1], middle, joined, e, i, work, plane)


@lean
def improve(bell, op, up, down, space, weights, flags, b, x, where, e, y, r, start, stop, low, high):
    """Improve approximations by a sweep for each weight, and restrict the residual of what comes out.

    ``flags`` say whether x counts, or else is zero, whether the coarse values e are interpolated and added
    to it first, and whether the residual is wanted. x is an array, and ``where`` in it the first vector
    starts, the next one, and the planes and rows of each. Planes from ``start`` to ``stop`` of y are written,
    and those from ``low`` to ``high`` of the coarse loads r. ``space`` is what :func:`rooms` gives,
    and ``up`` and ``down`` are the transfers that interpolate and restrict.
    """
    bells.ring(bell)
    joined, inverse, middle = op[0], op[1], op[2]
    n0, n1, sweeps, rest = b.shape[1], b.shape[2], len(weights), REACH * flags[2]
    far = b[0].size * b.itemsize >= FAR
    rings, work, coarse_work, out, knowns = space
    for stage in range(len(knowns)):
        knowns[stage, 0, tensor.FIRST] = np.nan  # of other weights
    # From zero, the first sweep is a multiple of the load, unless the inverse of the diagonal is given, and
    # without a sweep the residual is the load.
    from_zero = not flags[0] and not flags[1]
    first, idle = 1 if sweeps and from_zero and not len(inverse) else 0, from_zero and not sweeps
    one, zero = b.dtype.type(1), b.dtype.type(0)
    for row in range(b.shape[0]):
        for at in range(low, high):
            if flags[2]:
                tensor.clear(r[row, at])
        for front in range(start - sweeps - rest, stop + sweeps + rest):
            for stage in range(first, sweeps + 1 + flags[2]):
                at, reach = front - stage, sweeps - stage + rest
                if at < start - reach or at >= stop + reach:
                    continue
                i, whole = at % n0, stage <= sweeps
                plane, before = rings[stage if whole else 0, at % 3], rings[stage - 1]
                if at != i and not joined[0]:
                    if whole:
                        tensor.clear(plane)
                    continue
                if stage == 0:
                    begin = where[0] + row * where[1] + i * where[2]
                    _guess(x, begin, where[3], e[row], up, middle, joined, flags, i, coarse_work, plane)
                elif not idle:
                    below, here, above = before[(at - 1) % 3], before[at % 3], before[(at + 1) % 3]
                    task, target, pad = (zero, one, -one), out, 0
                    if whole and not len(inverse):
                        weight = weights[stage - 1]
                        task = (zero, weight, zero) if stage == first else (one, weight, -weight)
                        target, pad = (y[row, i], 0) if stage == sweeps and not flags[2] else (plane, 1)
                    # Loads that the first sweep multiplies are a plane ahead of the next one.
                    given = b[row, min(i + 1, n0 - 1), n1 - 1] if first == 1 else b[row, i, 0]
                    begin = where[0] + row * where[1] + (i + 2) * where[2]
                    ahead = far and stage == first + 1, x, begin, where[3], given, y[row, i, 0]
                    parts = task, below, here, above, b[row, i], i, work, knowns[stage], ahead, target, pad
                    _step(op[3], op[4], op[5], op[6], middle, *parts)
                    if whole and len(inverse):
                        _relax(inverse[i], weights[stage - 1], here, out, plane)
                if not whole:
                    turns = at // n0
                    left = b[row, i] if idle else out
                    parts = joined, left, i, turns, low, high, coarse_work, r[row]
                    tensor.restrict(down[0], down[1], middle, *parts)
                    continue
                tensor.wrap(plane, tensor.ONE, joined[1], joined[2])
                if stage == sweeps and start <= at < stop and (flags[2] or stage == 0 or len(inverse)):
                    _copy(plane, y[row, i])
    bells.attend(bell)


@inlined
def _take(x, where, row, at, size, joined, plane):
    """Write plane ``at`` of so many of a vector, padded; zero past an end that is not joined."""
    if at % size != at and not joined[0]:
        tensor.clear(plane)
        return
    _pad(x, where[0] + row * where[1] + at % size * where[2], where[3], plane)
    tensor.wrap(plane, tensor.ONE, joined[1], joined[2])


@lean
def apply(bell, op, space, x, where, n0, b, factors, out, sums, begin, start, stop):
    """Write A x, or (b − A x) times a factor of its row where there is one, for some of n0 planes.

    x is as for :func:`improve`. ``factors`` is empty, and b not used, for A x. Planes of what is written are
    counted from ``begin`` on, and the squares are summed up for each, shape (batch, planes).
    """
    bells.ring(bell)
    joined, (batch, _, n1, n2), missing = op[0], out.shape, len(factors) > 0
    far = n0 * n1 * n2 * space[3].itemsize >= FAR
    ring, work, y = space[0][0], space[1], space[3]
    zero, one, pad = y.dtype.type(0), y.dtype.type(1), 0 * n1
    task = (zero, one, -one) if missing else (zero, zero, one)
    work[4, tensor.FIRST] = np.nan  # another task's numbers
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(x, where, row, at, n0, joined, ring[at % 3])
            i = at - 1
            if i < start:
                continue
            below, here, above = ring[(i - 1) % 3], ring[i % 3], ring[at % 3]
            load = b[row, i] if missing else here
            given = b[row, i, 0] if missing else x
            next_plane = where[0] + row * where[1] + (at + 1) * where[2]
            ahead = far, x, next_plane, where[3], given, out[row, i - begin, 0]
            parts = task, below, here, above, load, i, work, work[4:], ahead, y, pad
            _step(op[3], op[4], op[5], op[6], op[2], *parts)
            factor, total = factors[row] if missing else one, 0.0
            for j in range(n1):
                total += vectors.scale(y[j], factor, out[row, i - begin, j])
            sums[row, i - begin] = total
    bells.attend(bell)


@lean
def energies(bell, op, space, z, where, r, e, sums, start, stop):
    """Sum up r z, z A z, r e and e A z for each of some planes, shape (batch, 4, n0)."""
    bells.ring(bell)
    batch, n0, n1, n2 = r.shape
    far = n0 * n1 * n2 * r.itemsize >= FAR
    ring, work, y = space[0][0], space[1], space[3]
    zero, one, pad = y.dtype.type(0), y.dtype.type(1), 0 * n0
    work[4, tensor.FIRST] = np.nan  # another task's numbers
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(z, where, row, at, n0, op[0], ring[at % 3])
            i = at - 1
            if i < start:
                continue
            below, here, above, task = ring[(i - 1) % 3], ring[i % 3], ring[at % 3], (zero, zero, one)
            next_plane = where[0] + row * where[1] + (at + 1) * where[2]
            ahead = far, z, next_plane, where[3], r[row, i, 0], e[row, i, 0]
            parts = task, below, here, above, here, i, work, work[4:], ahead, y, pad
            _step(op[3], op[4], op[5], op[6], op[2], *parts)
            for k in range(4):
                sums[row, k, i] = 0
            for j in range(n1):
                parts = vectors.products(r[row, i, j], here[j + 1, 1:], e[row, i, j], y[j])
                for k in range(4):
                    sums[row, k, i] += parts[k]
    bells.attend(bell)
