"""Sums of tensor products of tridiagonal matrices, and the hats' transfers, plane by plane.

An axis of n unknowns is an array of shape (5, n + 1): the couplings k and the row sums s of its stiffness
matrix, times the coefficient, and the couplings m and the row sums w of its mass matrix. Coupling i lies
between unknowns i - 1 and i, the first and the last one beyond the ends. The fifth row has a number for each
unknown, the same for those next to each other whose numbers are the same. What c adds is in k and s of the
last axis; where c is lumped it is a number of its own. An axis that a problem does not have has one unknown.

The transfers of an axis are where its unknowns lie among the coarse ones: ``base``, the first coarse unknown
that counts, and weights of shape (2, n) for that one and the next, or (4, n) of cubic interpolation.
``regular`` has the first unknown that is a coarse one, how many pairs of unknowns follow in the pattern of
hats or of cubics, and the coarse unknown where they begin.
"""

from __future__ import annotations

import numpy as np

from . import transfers as weighted
from .compiling import inlined, part
from .memory import ask

__all__ = ["clear", "interpolate", "plane", "restrict", "wrap"]

# How far past the ends cubic interpolation reaches, in coarse nodes, and a sweep, in its own.
MARGIN, ONE = np.int64(2), np.int64(1)  # literals would be types of their own, and compiled apart
# Numbers of a row of a plane that are done at a time, so that what is in work fits the nearest cache.
CHUNK = 512
# The same where memory is asked for what comes next: as much at a time as it has under way.
ASKED = 128
# What is known of a row: which of the rows next to each other it is like, along each axis but the last;
# whether numbers are the same to both sides; the factors of the load and of A x, those of K and M of the last
# axis and of lumped masses in the diagonal; and the row sums and the entries with nine neighbours of two sums
# u and v.
FIRST, MIDDLE, ALIKE, LOAD, IMAGE, STIFF, MASS, LUMPED, ROWS, ENTRIES = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10
KNOWN = ENTRIES + 18
# The row of an axis that says which unknowns are alike.
KIND = 4


@part
def _learn(axes, i, j, mix, more, known):
    """Write what a row of two sums, by numbers ``mix``, of K and M of all axes but the last has.

    The row sums of the first have so much of lumped masses ``more``.
    """
    first, middle = axes[0], axes[1]
    low0, high0, s0 = first[0, i], first[0, i + 1], first[1, i]
    m_low0, m_high0, w0 = first[2, i], first[2, i + 1], first[3, i]
    low1, high1, s1 = middle[0, j], middle[0, j + 1], middle[1, j]
    m_low1, m_high1, w1 = middle[2, j], middle[2, j + 1], middle[3, j]
    known[FIRST], known[MIDDLE] = first[KIND, i], middle[KIND, j]
    k0, m0, k1, m1 = s0 + low0 + high0, w0 - m_low0 - m_high0, s1 + low1 + high1, w1 - m_low1 - m_high1
    known[ALIKE] = low0 == high0 and m_low0 == m_high0 and low1 == high1 and m_low1 == m_high1
    known[STIFF], known[MASS], known[LUMPED] = k0 * m1 + m0 * k1, m0 * m1, w0 * w1
    stiff, mass = s0 * w1 + w0 * s1, w0 * w1
    known[ROWS] = mix[0] * stiff + mix[1] * mass + more * mass
    known[ROWS + 1] = mix[2] * stiff + mix[3] * mass
    for m in range(9):
        K0, M0 = (-low0, k0, -high0)[m // 3], (m_low0, m0, m_high0)[m // 3]
        K1, M1 = (-low1, k1, -high1)[m % 3], (m_low1, m1, m_high1)[m % 3]
        stiff, mass, at = K0 * M1 + M0 * K1, M0 * M1, ENTRIES + 2 * m
        known[at], known[at + 1] = mix[0] * stiff + mix[1] * mass, mix[2] * stiff + mix[3] * mass


@part
def _blend(known, middle, below, here, above, j, at, u, v):
    """Write two sums of x on row j, from a column on, and of what rows around differ by (digits stay)."""
    planes, x, flat = (below, here, above), here[j + 1, at:], len(middle) == 0
    own, of_own = known[ROWS], known[ROWS + 1]
    for k in range(len(u)):
        u[k] = own * x[k]
        v[k] = of_own * x[k]
    for m in range(4):
        if flat and m != 1:
            continue
        low, high = planes[m // 3][j + m % 3, at:], planes[2 - m // 3][j + 2 - m % 3, at:]
        left, right = ENTRIES + 2 * m, ENTRIES + 2 * (8 - m)
        low_u, low_v, high_u, high_v = known[left], known[left + 1], known[right], known[right + 1]
        for k in range(len(u)):
            to_low, to_high = low[k] - x[k], high[k] - x[k]
            u[k] += low_u * to_low + high_u * to_high
            v[k] += low_v * to_low + high_v * to_high


@part
def _learn_cells(axes, numbers, lump, task, i, j, known):
    """Write what is known of row j of plane i inside of cells that are alike, or at an end of the row."""
    keep, of_load, of_image = task
    k, s, m, w, sides = numbers[0], numbers[1], numbers[2], numbers[3], numbers[5]
    _learn(axes, i, j, (w, s, m, -k), lump * numbers[4], known)
    if keep != 0 or of_image == 0:
        entry = known[STIFF] * (w - sides * m) + known[MASS] * (s + sides * k)
        entry += lump * known[LUMPED] * numbers[4]
        inverse = known.dtype.type(1) / entry if entry != 0 else entry
        of_load *= inverse
        of_image *= inverse
    known[LOAD], known[IMAGE] = of_load, of_image
    known[ROWS] = of_image * known[ROWS] + keep
    known[ROWS + 1] *= of_image
    for t in range(ENTRIES, KNOWN):
        known[t] *= of_image


@inlined
def _uneven_row(axes, lump, middle, task, below, here, above, load, j, work, known, out):
    """Write a row by numbers of each column."""
    keep, of_load, of_image = task
    n, last, one = len(out), axes[2], load.dtype.type(1)
    p, q, x = work[0, : n + 2], work[1, : n + 2], here[j + 1, 1:]
    k_, s, m, w = last[0], last[1], last[2], last[3]
    stiff, mass, lumped = known[STIFF], known[MASS], lump * known[LUMPED]
    if of_image != 0:
        _blend(known, middle, below, here, above, j, 0 * n, p, q)
        for k in range(n):
            c = q[k + 1]
            y = (w[k] - m[k] - m[k + 1]) * p[k + 1] + (m[k] * p[k] + m[k + 1] * p[k + 2])
            y += lumped * w[k] * x[k]
            out[k] = y + (s[k] * c + (k_[k] * (c - q[k]) + k_[k + 1] * (c - q[k + 2])))
    else:
        for k in range(n):
            out[k] = 0
    scaled = keep != 0 or of_image == 0
    for k in range(n):
        entry = stiff * (w[k] - m[k] - m[k + 1]) + mass * (s[k] + k_[k] + k_[k + 1]) + lumped * w[k]
        # A zero, as that of a lone joined node may be, stays one.
        factor = (one / entry if entry != 0 else entry) if scaled else one
        out[k] = factor * (of_load * load[k] + of_image * out[k])
    if keep != 0:
        for k in range(n):
            out[k] += x[k]


@inlined
def _flat_sums(known, below, here, above, at, u, v):
    """Write two sums of x and of what rows around differ by, in a plane problem, from a column on."""
    own, of_own, low_u, low_v = known[ROWS], known[ROWS + 1], known[ENTRIES + 2], known[ENTRIES + 3]
    high_u, high_v = known[ENTRIES + 14], known[ENTRIES + 15]
    b1, h1, a1 = below[1, at:], here[1, at:], above[1, at:]
    for k in range(len(u)):
        c = h1[k]
        to_low, to_high = b1[k] - c, a1[k] - c
        u[k] = own * c + (low_u * to_low + high_u * to_high)
        v[k] = of_own * c + (low_v * to_low + high_v * to_high)


@inlined
def _deep_sums(known, middle, below, here, above, j, u, v):
    """Write the same on all of row j in space, in one loop where both sides are alike."""
    if known[ALIKE] == 0:
        _blend(known, middle, below, here, above, j, 0 * j, u, v)
        return
    own, of_own, corner, of_corner = known[ROWS], known[ROWS + 1], known[ENTRIES], known[ENTRIES + 1]
    low_u, low_v = known[ENTRIES + 2], known[ENTRIES + 3]
    near, of_near = known[ENTRIES + 6], known[ENTRIES + 7]
    b0, b1, b2, h0, h1, h2 = below[j], below[j + 1], below[j + 2], here[j], here[j + 1], here[j + 2]
    a0, a1, a2 = above[j], above[j + 1], above[j + 2]
    for k in range(len(u)):
        c = h1[k]
        corners = ((b0[k] - c) + (b2[k] - c)) + ((a0[k] - c) + (a2[k] - c))
        on_first, on_middle = (b1[k] - c) + (a1[k] - c), (h0[k] - c) + (h2[k] - c)
        u[k] = own * c + corner * corners + (low_u * on_first + near * on_middle)
        v[k] = of_own * c + of_corner * corners + (low_v * on_first + of_near * on_middle)


@part
def _end(even, middle, side, task, below, here, above, load, j, fluxes, room, known, out):
    """Write an end of a row, where u is another sum than inside, but v is not.

    So what leaves a column for the next one is the same there to the last digit, and no digit is lost of what
    holds constants where A is all but singular.
    """
    end, numbers = side * (len(out) - 1), known[1 + side]
    value = numbers[LOAD] * load[end]
    if task[2] != 0:
        if len(middle) > 0:
            _blend(numbers, middle, below, here, above, j, end + 1, room[:1], room[1:2])
        else:
            _flat_sums(numbers, below, here, above, end + 1, room[:1], room[1:2])
        flux = fluxes[2 * side]
        if even[1 + side, 5] > 1:
            flux += fluxes[2 * side + 1]
        value += room[0] + numbers[IMAGE] / known[0, IMAGE] * flux
    out[end] = value


@inlined
def _even_row(even, middle, task, below, here, above, load, j, work, known, ahead, out):
    """Write a row whose numbers are the same everywhere inside."""
    n, inside, of_load, fluxes = len(out), known[0], known[0, LOAD], work[2]
    chunk = n if len(middle) > 0 else min(ASKED if ahead[0] else CHUNK, n)
    u, v = work[0, : chunk + 2], work[1, : chunk + 2]
    if task[2] == 0:
        for k in range(n):
            out[k] = of_load * load[k]
    for at in range(0, n if task[2] != 0 else 0, chunk):
        count, some, there = min(chunk, n - at), load[at:], out[at:]
        if ahead[0]:
            # Evenly, or loops wait for memory first and memory then for them.
            ask(ahead[1], ahead[2] + j * ahead[3] + at, count)
            ask(ahead[4], (j + 1) * n + at, count)
            ask(ahead[5], (j + 1) * n + at, count)
        if len(middle) > 0:
            _deep_sums(inside, middle, below, here, above, j, u, v)
        else:
            _flat_sums(inside, below, here, above, at, u[: count + 2], v)
        for k in range(count):
            c = v[k + 1]
            there[k] = (u[k + 1] + of_load * some[k]) + ((v[k] - c) + (v[k + 2] - c))
        if at == 0:
            fluxes[0], fluxes[1] = v[2] - v[1], v[0] - v[1]
        fluxes[2], fluxes[3] = v[count - 1] - v[count], v[count + 1] - v[count]
    for side in range(0 if even[0, 6] else 2):
        _end(even, middle, side, task, below, here, above, load, j, fluxes, work[3], known, out)


@inlined
def plane(products, even, middle, task, below, here, above, load, i, work, known, ahead, target, pad):
    """Write a sum of x, b and A x on plane i, from three padded planes of x, into one with so many ghosts.

    ``task`` are three numbers: if x counts, the factors of b and A x times the inverse of the diagonal; or
    the factors themselves, where that of A x is not zero; or the factor of b times the inverse. ``products``
    are the axes and the lumped c; ``even`` has numbers of the last axis if they are the same everywhere
    inside: inside and at each end, k, s, m, w, that for lumped masses, how many neighbours count and, inside,
    whether the ends are no different. ``middle`` has the size of the middle axis, if there is one. ``work``
    has room for four rows, and ``known`` what rows of this task have found out before, inside and at both
    ends. ``ahead`` says whether memory is to be asked for what is needed next, and for what: an array, where
    in it the rows of a plane begin and how far apart they are; and rows behind which others stand.
    """
    axes, lump = products
    n, inside, one, zero = target.shape[1] - 2 * pad, known[0], load.dtype.type(1), load.dtype.type(0)
    for j in range(target.shape[0] - 2 * pad if len(middle) > 0 else 1):
        given, out = load[j], target[j + pad, pad : pad + n]
        same = inside[FIRST] == axes[0][KIND, i] and inside[MIDDLE] == axes[1][KIND, j]
        if len(even) > 0:
            for which in range(0 if same else len(even[0])):
                _learn_cells(axes, even[0][which], lump, task, i, j, known[which])
            _even_row(even[0], middle, task, below, here, above, given, j, work, known, ahead, out)
        else:
            if not same:
                _learn(axes, i, j, (one, zero, zero, one), zero, inside)
            _uneven_row(axes, lump, middle, task, below, here, above, given, j, work, inside, out)


@inlined
def clear(plane):
    """Write zeros."""
    for j in range(plane.shape[0]):
        row = plane[j]
        for k in range(len(row)):
            row[k] = 0


@inlined
def wrap(plane, width, joined_middle, joined_last):
    """Fill the ghosts of a plane that is padded by a width, past joined ends; others are zero and stay so."""
    rows, columns = plane.shape[0] - 2 * width, plane.shape[1] - 2 * width
    if joined_last:
        for j in range(width, width + rows):
            for k in range(width):
                plane[j, k] = plane[j, width + (k - width) % columns]
                plane[j, width + columns + k] = plane[j, width + k % columns]
    if joined_middle:
        for j in range(width):
            for k in range(plane.shape[1]):
                plane[j, k] = plane[width + (j - width) % rows, k]
                plane[width + rows + j, k] = plane[width + j % rows, k]


@inlined
def _fold(plane, width, joined_middle, joined_last):
    """Apply the transpose of :func:`wrap`, where only the first ghosts have something."""
    rows, columns = plane.shape[0] - 2 * width, plane.shape[1] - 2 * width
    if joined_middle:
        for k in range(plane.shape[1]):
            plane[width + rows - 1, k] += plane[width - 1, k]
            plane[width, k] += plane[width + rows, k]
    if joined_last:
        for j in range(width, width + rows):
            plane[j, width + columns - 1] += plane[j, width - 1]
            plane[j, width] += plane[j, width + columns]


@inlined
def _spread_row(row, base, weights, regular, out):
    """Add to fine values what a padded row of coarse ones is between them."""
    start, pairs, coarse = regular
    half, nine, one = row.dtype.type(1 / 2), row.dtype.type(9 / 16), row.dtype.type(1 / 16)
    fine, left, right = out[start:], row[coarse + MARGIN :], row[coarse + MARGIN + 1 :]
    if len(weights) == 2:
        for c in range(pairs):
            fine[2 * c] += left[c]
            fine[2 * c + 1] += half * (left[c] + right[c])
    else:
        before, after = row[coarse + MARGIN - 1 :], row[coarse + MARGIN + 2 :]
        for c in range(pairs):
            fine[2 * c] += left[c]
            fine[2 * c + 1] += nine * (left[c] + right[c]) - one * (before[c] + after[c])
    for piece in ((0, start), (start + 2 * pairs, len(out))):
        for k in range(piece[0], piece[1]):
            for t in range(len(weights)):
                out[k] += weights[t, k] * row[base[k] + t + MARGIN]


@inlined
def _gather_row(r, base, weights, regular, halves, out):
    """Write the padded row of coarse loads from fine ones: the transpose of :func:`_spread_row`.

    ``halves`` is a row to work in.
    """
    start, pairs, coarse = regular
    half, fine, loads = r.dtype.type(1 / 2), r[start:], out[coarse + MARGIN :]
    for K in range(coarse + MARGIN):
        out[K] = 0
    for K in range(pairs, len(loads)):
        loads[K] = 0
    # Pairs of numbers, side by side, are what goes in lanes.
    for c in range(pairs):
        halves[c] = half * fine[2 * c + 1]
        loads[c] = fine[2 * c] + halves[c]
    after = loads[1:]
    for c in range(pairs):
        after[c] += halves[c]
    for piece in ((0, start), (start + 2 * pairs, len(r))):
        for k in range(piece[0], piece[1]):
            out[base[k] + MARGIN] += weights[0, k] * r[k]
            out[base[k] + MARGIN + 1] += weights[1, k] * r[k]


@inlined
def interpolate(hats, given, middle, joined, e, i, work, plane):
    """Add to the inside of a padded plane i what coarse values, (N0, N1, N2), are between their nodes.

    That is by hats or, where there are none, by what :mod:`mgnet.kernels.transfers` has been given.
    ``middle`` has the size of the middle axis, if there is one.
    """
    if given is not None:
        numbers, start, axes = given
        weighted.interpolate(numbers, start, axes, e, i, work[1], plane)
    if hats is not None:
        bases, weights, regular = hats
        coarse, size = work[0], e.shape[0]
        for J in range(e.shape[1]):
            inner = coarse[J + MARGIN, MARGIN:-MARGIN]
            for K in range(len(inner)):
                inner[K] = 0
            for t in range(len(weights[0])):
                weight, place = weights[0][t, i], bases[0][i] + t
                if joined[0]:
                    place %= size
                if 0 <= place < size and weight != 0:
                    there = e[place, J]
                    for K in range(len(there)):
                        inner[K] += weight * there[K]
        wrap(coarse, MARGIN, joined[1], joined[2])
        if len(middle) == 0:
            _spread_row(coarse[MARGIN], bases[2], weights[2], regular[2], plane[1, 1:-1])
        else:
            _spread_plane(hats, coarse, work[1, 0], plane)


@inlined
def _spread_plane(hats, coarse, row, plane):
    """Add to the inside of a padded plane what a padded one of coarse values is; ``row`` is room for one."""
    bases, weights, regular = hats
    for j in range(plane.shape[0] - 2):
        for K in range(len(row)):
            row[K] = 0
        for t in range(len(weights[1])):
            weight = weights[1][t, j]
            if weight != 0:
                there = coarse[bases[1][j] + t + MARGIN]
                for K in range(len(row)):
                    row[K] += weight * there[K]
        _spread_row(row, bases[2], weights[2], regular[2], plane[j + 1, 1:-1])


@inlined
def restrict(hats, given, middle, joined, r, i, turns, low, high, work, coarse):
    """Add what plane i of residuals gives to the coarse planes from ``low`` to ``high``.

    ``turns`` says how often i has gone around a joined first axis; of the rest see :func:`interpolate`.
    """
    if given is not None:
        numbers, start, axes = given
        weighted.restrict(numbers, start, axes, r, i, turns, low, high, work[1], coarse)
    if hats is not None:
        bases, weights, regular = hats
        at = bases[0][i] + turns * coarse.shape[0]
        reaches = (low <= at < high and weights[0][0, i] != 0) or (
            low <= at + 1 < high and weights[0][1, i] != 0
        )
        if not reaches:
            return
        plane, halves = work[2], work[0, 0]  # the ghosts of the first one stay zero
        if len(middle) == 0:
            _gather_row(r[0], bases[2], weights[2], regular[2], halves, plane[MARGIN])
        else:
            _gather_plane(hats, r, work[1, 0], halves, plane)
        _fold(plane, MARGIN, joined[1], joined[2])
        for side in range(2):
            place, weight = at + side, weights[0][side, i]
            if low <= place < high and weight != 0:
                for J in range(coarse.shape[1]):
                    there, row = coarse[place, J], plane[J + MARGIN]
                    for K in range(there.shape[0]):
                        there[K] += weight * row[K + MARGIN]


@inlined
def _gather_plane(hats, r, row, halves, plane):
    """Write the padded plane of coarse loads from fine ones: the transpose of :func:`_spread_plane`."""
    bases, weights, regular = hats
    clear(plane)
    for j in range(r.shape[0]):
        _gather_row(r[j], bases[2], weights[2], regular[2], halves, row)
        for side in range(2):
            weight = weights[1][side, j]
            if weight != 0:
                there = plane[bases[1][j] + side + MARGIN]
                for K in range(row.shape[0]):
                    there[K] += weight * row[K]
