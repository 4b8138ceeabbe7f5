"""The passes of a cycle over a grid, each of which reads and writes its vectors once.

A front goes through the planes of the first axis: behind it follow the sweeps, one plane apart each, and the
residual and its restriction, while the planes that they need of one another are in cache. Vectors have shape
(batch, n0, n1, n2). Some planes are written by each call; it works out again what it needs of its neighbours,
so that calls for other planes may go on at the same time.
"""

from __future__ import annotations

import numpy as np

from . import tensor, vectors
from .compiling import compiled

__all__ = ["apply", "energies", "improve"]

# How far the residual of one plane reaches on the coarse grid and back, in planes, and one more for itself.
REACH = 3


@compiled
def _product(op, below, here, above, i, work, out):
    """Write A x on plane i, by the kind of the operator."""
    _, axes, lump, flat = op
    tensor.product(axes, lump, flat, below, here, above, i, work, out)


@compiled
def _relax(op, b, here, i, weight, known, inverse, out, new):
    """Write x + w D⁻¹ (b − A x) into the inside of a padded plane; ``out`` has A x."""
    _, axes, lump, _ = op
    for j in range(out.shape[0]):
        tensor.inverse_row(axes, lump, i, j, known, inverse)
        y, load, x, target = out[j], b[j], here[j + 1], new[j + 1]
        for k in range(y.shape[0]):
            target[k + 1] = x[k + 1] + weight * inverse[k] * (load[k] - y[k])


@compiled
def _first(op, b, i, weight, known, inverse, new):
    """Write w D⁻¹ b, a sweep from zero, into the inside of a padded plane."""
    _, axes, lump, _ = op
    for j in range(b.shape[0]):
        tensor.inverse_row(axes, lump, i, j, known, inverse)
        load, target = b[j], new[j + 1]
        for k in range(load.shape[0]):
            target[k + 1] = weight * inverse[k] * load[k]


@compiled
def _padded(x):
    return x.shape[2] + 2, x.shape[3] + 2


@compiled
def _copy(plane, out):
    """Write the inside of a padded plane."""
    for j in range(out.shape[0]):
        given, target = plane[j + 1, 1:-1], out[j]
        for k in range(len(target)):
            target[k] = given[k]


@compiled
def _pad(x, plane):
    """Write the inside of a padded plane from a plane."""
    for j in range(x.shape[0]):
        given, target = x[j], plane[j + 1, 1:-1]
        for k in range(len(given)):
            target[k] = given[k]


@compiled
def _guess(x, e, hats, joined, flags, i, work, plane):
    """Write the approximation that a pass begins with: x, what coarse values add to it, or both."""
    if flags[0]:
        _pad(x[i], plane)
    else:
        plane[:] = 0
    if flags[1]:
        tensor.interpolate(hats, joined, e, i, work, plane)


@compiled
def _residual(op, b, planes, at, i, work, out):
    """Write b − A x on plane i; three planes of x are in a ring."""
    _product(op, planes[(at - 1) % 3], planes[at % 3], planes[(at + 1) % 3], i, work, out)
    for j in range(out.shape[0]):
        load, here = b[j], out[j]
        for k in range(here.shape[0]):
            here[k] = load[k] - here[k]


@compiled
def improve(op, hats, weights, flags, b, x, e, y, r, start, stop, low, high):
    """Improve approximations by a sweep for each weight, and restrict the residual of what comes out.

    ``flags`` say whether x counts, or else is zero, whether the coarse values e are interpolated and added
    to it first, and whether the residual is wanted. Planes from ``start`` to ``stop`` of y are written, and
    those from ``low`` to ``high`` of the coarse loads r.
    """
    joined = op[0]
    batch, n0, n1, n2 = b.shape
    sweeps, rest = len(weights), REACH * flags[2]
    rings = np.zeros((sweeps + 1, 3, n1 + 2, n2 + 2), b.dtype)
    work, coarse_work = np.zeros((3, n1 + 2, n2 + 2), b.dtype), np.zeros((3, *_padded(r)), b.dtype)
    out, inverse, known = np.empty((n1, n2), b.dtype), np.empty(n2, b.dtype), np.empty(3, b.dtype)
    for row in range(batch):
        known[:] = np.nan
        if flags[2]:
            r[row, low:high] = 0
        for front in range(start - sweeps - rest, stop + sweeps + rest):
            for stage in range(sweeps + 1):
                at, reach = front - stage, sweeps - stage + rest
                if at < start - reach or at >= stop + reach:
                    continue
                plane, before, i = rings[stage, at % 3], rings[stage - 1], at % n0
                if at != i and not joined[0]:
                    plane[:] = 0
                    continue
                if stage == 0:
                    _guess(x[row], e[row], hats, joined, flags, i, coarse_work, plane)
                elif stage == 1 and not flags[0] and not flags[1]:
                    _first(op, b[row, i], i, weights[0], known, inverse, plane)
                else:
                    here = before[at % 3]
                    _product(op, before[(at - 1) % 3], here, before[(at + 1) % 3], i, work, out)
                    _relax(op, b[row, i], here, i, weights[stage - 1], known, inverse, out, plane)
                tensor.wrap(plane, joined[1], joined[2])
                if stage == sweeps and start <= at < stop:
                    _copy(plane, y[row, i])
            at = front - sweeps - 1
            if flags[2] and start - rest < at < stop + rest - 1 and (joined[0] or 0 <= at < n0):
                _residual(op, b[row, at % n0], rings[sweeps], at, at % n0, work, out)
                turns = at // n0
                tensor.restrict(hats, joined, out, at % n0, turns, low, high, coarse_work, r[row])


@compiled
def _take(x, at, joined, plane):
    """Write plane ``at`` of x, padded; zero past an end that is not joined."""
    size = x.shape[0]
    if at % size != at and not joined[0]:
        plane[:] = 0
        return
    _pad(x[at % size], plane)
    tensor.wrap(plane, joined[1], joined[2])


@compiled
def apply(op, x, b, factors, out, sums, start, stop):
    """Write A x, or (b − A x) times a factor of its row where there is one, for some planes.

    ``factors`` is empty, and b not used, for A x. The squares of what is written are summed up for each
    plane, shape (batch, n0).
    """
    joined = op[0]
    batch, _, n1, n2 = x.shape
    ring, work = np.zeros((3, n1 + 2, n2 + 2), x.dtype), np.zeros((3, n1 + 2, n2 + 2), x.dtype)
    y = np.empty((n1, n2), x.dtype)
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(x[row], at, joined, ring[at % 3])
            i = at - 1
            if i < start:
                continue
            if len(factors):
                _residual(op, b[row, i], ring, i, i, work, y)
                y *= factors[row]
            else:
                _product(op, ring[(i - 1) % 3], ring[i % 3], ring[at % 3], i, work, y)
            out[row, i] = y
            sums[row, i] = vectors.dot(y, y)


@compiled
def energies(op, z, r, e, image, of_z, sums, start, stop):
    """Write A z for some planes, and sum up r z, z A z, r e, z A e and e A e for each, (5, batch, n0).

    ``image`` is A e.
    """
    joined = op[0]
    batch, _, n1, n2 = z.shape
    ring, work = np.zeros((3, n1 + 2, n2 + 2), z.dtype), np.zeros((3, n1 + 2, n2 + 2), z.dtype)
    for row in range(batch):
        for at in range(start - 1, stop + 1):
            _take(z[row], at, joined, ring[at % 3])
            i = at - 1
            if i < start:
                continue
            y = of_z[row, i]
            _product(op, ring[(i - 1) % 3], ring[i % 3], ring[at % 3], i, work, y)
            mine, loads = z[row, i], r[row, i]
            sums[0, row, i], sums[1, row, i] = vectors.dot(loads, mine), vectors.dot(mine, y)
            if len(e):
                sums[2, row, i] = vectors.dot(loads, e[row, i])
                sums[3, row, i] = vectors.dot(mine, image[row, i])
                sums[4, row, i] = vectors.dot(e[row, i], image[row, i])
