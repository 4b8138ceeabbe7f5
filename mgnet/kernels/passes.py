"""The passes of a cycle over a grid, each of which reads and writes its vectors once.

A front goes through the planes of the first axis: behind it follow the sweeps, one plane apart each, and the
residual and its restriction, while the planes that they need of one another are in cache. Vectors have shape
(batch, n0, n1, n2). Some planes are written by each call; it works out again what it needs of its neighbours,
so that calls for other planes may go on at the same time.

An operator is which ends are joined, the arrays of three kinds, of which two are None (axes, number and flag
of :mod:`mgnet.kernels.tensor`, E of :mod:`mgnet.kernels.entries`, a, K and c of :mod:`mgnet.kernels.cells`),
and the inverse of the diagonal, where it is not of the first kind. Transfers are what
:mod:`mgnet.kernels.tensor` has of hats, or None, and what :mod:`mgnet.kernels.transfers` has of weights, or
None. So no kind waits for others to be compiled.
"""

from __future__ import annotations

import numpy as np

from . import cells as cells_of
from . import entries as entries_of
from . import tensor, vectors
from . import transfers as weighted
from .compiling import lean, part

__all__ = ["CELLS", "ENTRIES", "PRODUCTS", "apply", "energies", "improve", "rooms"]

# The kinds of operators, in the order in which their arrays stand.
PRODUCTS, ENTRIES, CELLS = range(3)
# How far the residual of one plane reaches on the coarse grid and back, in planes, and one more for itself.
REACH = 3


def rooms(shape, coarse, sweeps, dtype):
    """Return the memory that a pass works in, whose ghosts are zero.

    That is, for planes of a shape: three padded ones for each sweep and before the first, three more; three
    padded coarse ones; one; a row; and what is known of it.
    """
    padded = [3, shape[1] + 2, shape[2] + 2]
    wide = [3, coarse[1] + 2 * tensor.MARGIN, coarse[2] + 2 * tensor.MARGIN]
    rings, work, coarse_work = (np.zeros(sizes, dtype) for sizes in ([sweeps + 1, *padded], padded, wide))
    return (
        rings,
        work,
        coarse_work,
        np.empty(shape[1:], dtype),
        np.empty(shape[2], dtype),
        np.full(3, np.nan, dtype),
    )


@part
def _product(products, entries, cells, exact, below, here, above, i, work, out):
    """Write A x on plane i from three padded planes; the kinds that an operator is not of are None."""
    if products is not None:
        axes, even, lump, flat = products
        tensor.product(axes, even, lump, flat, exact, below, here, above, i, work, out)
    if entries is not None:
        entries_of.product(entries, False, below, here, above, i, out)
    if cells is not None:
        cells_of.product(cells, below, here, above, i, work[0, 0, 1:], out)


@part
def _inverse(products, entries, cells, inverse, i, j, known, row):
    """Write the inverse of the diagonal at row j of plane i; ``known`` says what ``row`` has already."""
    if products is not None:
        axes, _, lump, _ = products
        tensor.inverse_row(axes, lump, i, j, known, row)
    elif len(inverse):
        given = inverse[i, j]
        for k in range(len(row)):
            row[k] = given[k]
    else:
        for k in range(len(row)):
            row[k] = 0
        if entries is not None:
            entries_of.add_diagonal(entries, i, j, row)
        if cells is not None:
            cells_of.add_diagonal(cells, i, j, row)
        one = row.dtype.type(1)
        for k in range(len(row)):
            row[k] = one / row[k] if row[k] != 0 else row[k]


@part
def _relax(op, b, here, i, weight, known, inverse, out, new):
    """Write x + w D⁻¹ (b − A x) into the inside of a padded plane; ``out`` has A x."""
    for j in range(out.shape[0]):
        _inverse(op[1], op[2], op[3], op[4], i, j, known, inverse)
        y, load, x, target = out[j], b[j], here[j + 1], new[j + 1]
        for k in range(len(y)):
            target[k + 1] = x[k + 1] + weight * inverse[k] * (load[k] - y[k])


@part
def _first(op, b, i, weights, known, inverse, new, out):
    """Write w D⁻¹ b, a sweep from zero, into a padded plane or, where there is no sweep, b into ``out``."""
    for j in range(b.shape[0]):
        load, target, rest = b[j], new[j + 1], out[j]
        if len(weights):
            _inverse(op[1], op[2], op[3], op[4], i, j, known, inverse)
            for k in range(len(load)):
                target[k + 1] = weights[0] * inverse[k] * load[k]
        else:
            for k in range(len(load)):
                rest[k] = load[k]


@part
def _interpolate(hats, weights, joined, e, i, work, plane):
    """Add to a padded plane what coarse values are there: by hats, or by weights of each new node."""
    if hats is not None:
        tensor.interpolate(hats, joined, e, i, work, plane)
    if weights is not None:
        numbers, start, axes = weights
        weighted.interpolate(numbers, start, axes, e, i, work[1], plane)


@part
def _restrict(hats, weights, joined, r, i, turns, low, high, work, coarse):
    """Add what plane i of residuals gives to some coarse planes, after so many turns around joined ends."""
    if hats is not None:
        tensor.restrict(hats, joined, r, i, turns, low, high, work, coarse)
    if weights is not None:
        numbers, start, axes = weights
        weighted.restrict(numbers, start, axes, r, i, turns, low, high, work[1], coarse)


@part
def _copy(plane, out):
    """Write the inside of a padded plane."""
    for j in range(out.shape[0]):
        given, target = plane[j + 1, 1:-1], out[j]
        for k in range(len(target)):
            target[k] = given[k]


@part
def _pad(x, start, stride, plane):
    """Write the inside of a padded plane from memory: where its first row starts, and the next ones."""
    columns = plane.shape[1] - 2
    for j in range(plane.shape[0] - 2):
        at = start + j * stride
        given, target = x[at : at + columns], plane[j + 1, 1:-1]
        for k in range(columns):
            target[k] = given[k]


@part
def _guess(x, start, stride, e, transfers, joined, flags, i, work, plane):
    """Write the approximation that a pass begins with: x, what coarse values add to it, or both."""
    if flags[0]:
        _pad(x, start, stride, plane)
    else:
        tensor.clear(plane)
    if flags[1]:
        _interpolate(transfers[0], transfers[1], joined, e, i, work, plane)


@part
def _subtract(load, out):
    """Write what is missing of a load."""
    for j in range(out.shape[0]):
        given, here = load[j], out[j]
        for k in range(len(here)):
            here[k] = given[k] - here[k]


@lean
def improve(op, transfers, space, weights, flags, b, x, where, e, y, r, start, stop, low, high):
    """Improve approximations by a sweep for each weight, and restrict the residual of what comes out.

    ``flags`` say whether x counts, or else is zero, whether the coarse values e are interpolated and added
    to it first, and whether the residual is wanted. x is an array, and ``where`` in it the first vector
    starts, the next one, and the planes and rows of each. Planes from ``start`` to ``stop`` of y are written,
    and those from ``low`` to ``high`` of the coarse loads r. ``space`` is what :func:`rooms` gives.
    """
    joined = op[0]
    n0, sweeps, rest = b.shape[1], len(weights), REACH * flags[2]
    rings, work, coarse_work, out, inverse, known = space
    for row in range(b.shape[0]):
        for at in range(low, high):
            if flags[2]:
                tensor.clear(r[row, at])
        for front in range(start - sweeps - rest, stop + sweeps + rest):
            for stage in range(sweeps + 1 + flags[2]):
                at, reach = front - stage, sweeps - stage + rest
                if at < start - reach or at >= stop + reach:
                    continue
                i, whole = at % n0, stage <= sweeps
                plane, before = rings[stage if whole else 0, at % 3], rings[stage - 1]
                if at != i and not joined[0]:
                    if whole:
                        tensor.clear(plane)
                    continue
                load = b[row, i]
                if stage == 0:
                    begin = where[0] + row * where[1] + i * where[2]
                    _guess(x, begin, where[3], e[row], transfers, joined, flags, i, coarse_work, plane)
                elif stage == 1 and not flags[0] and not flags[1]:
                    _first(op, load, i, weights, known, inverse, plane, out)
                else:
                    here = before[at % 3]
                    around = before[(at - 1) % 3], before[(at + 1) % 3]
                    _product(op[1], op[2], op[3], False, around[0], here, around[1], i, work, out)
                    if whole:
                        _relax(op, load, here, i, weights[stage - 1], known, inverse, out, plane)
                    else:
                        _subtract(load, out)
                if not whole:
                    turns, by = at // n0, transfers
                    _restrict(by[0], by[1], joined, out, i, turns, low, high, coarse_work, r[row])
                    continue
                tensor.wrap(plane, 1, joined[1], joined[2])
                if stage == sweeps and start <= at < stop:
                    _copy(plane, y[row, i])


@part
def _take(x, where, row, at, size, joined, plane):
    """Write plane ``at`` of so many of a vector, padded; zero past an end that is not joined."""
    if at % size != at and not joined[0]:
        tensor.clear(plane)
        return
    _pad(x, where[0] + row * where[1] + at % size * where[2], where[3], plane)
    tensor.wrap(plane, 1, joined[1], joined[2])


@lean
def apply(op, space, x, where, b, factors, out, sums, start, stop):
    """Write A x, or (b − A x) times a factor of its row where there is one, for some planes.

    x is as for :func:`improve`. ``factors`` is empty, and b not used, for A x. The squares of what is written
    are summed up for each plane, shape (batch, n0).
    """
    joined = op[0]
    batch, n0, n1, n2 = out.shape
    ring, work, y = space[0][0], space[1], space[3]
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(x, where, row, at, n0, joined, ring[at % 3])
            i = at - 1
            if i < start:
                continue
            _product(op[1], op[2], op[3], True, ring[(i - 1) % 3], ring[i % 3], ring[at % 3], i, work, y)
            if len(factors):
                _subtract(b[row, i], y)
            factor = factors[row] if len(factors) else 1.0
            for j in range(n1):
                given, target = y[j], out[row, i, j]
                for k in range(n2):
                    target[k] = given[k] * factor
            sums[row, i] = vectors.dot(out[row, i], out[row, i])


@lean
def energies(op, space, z, where, r, e, image, of_z, sums, start, stop):
    """Write A z for some planes, and sum up r z, z A z, r e, z A e and e A e for each, (batch, 5, n0).

    ``image`` is A e.
    """
    batch, n0 = r.shape[:2]
    ring, work = space[0][0], space[1]
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(z, where, row, at, n0, op[0], ring[at % 3])
            i = at - 1
            if i < start:
                continue
            y, mine, loads = of_z[row, i], ring[i % 3, 1:-1, 1:-1], r[row, i]
            _product(op[1], op[2], op[3], True, ring[(i - 1) % 3], ring[i % 3], ring[at % 3], i, work, y)
            sums[row, 0, i], sums[row, 1, i] = vectors.dot(loads, mine), vectors.dot(mine, y)
            sums[row, 2, i] = vectors.dot(loads, e[row, i])
            sums[row, 3, i] = vectors.dot(mine, image[row, i])
            sums[row, 4, i] = vectors.dot(e[row, i], image[row, i])
