"""Sums of tensor products of tridiagonal matrices, and the hats' transfers, plane by plane.

An axis of n unknowns is an array of shape (4, n + 1): the couplings k and the row sums s of its stiffness
matrix, times the coefficient, and the couplings m and the row sums w of its mass matrix. Coupling i lies
between unknowns i - 1 and i, the first and the last one beyond the ends. What c adds is in k and s of the
last axis; where c is lumped it is a number of its own. An axis that a problem does not have has one unknown.

The transfers of an axis are where its unknowns lie among the coarse ones: ``base``, the first coarse unknown
that counts, and weights of shape (2, n) for that one and the next, or (4, n) of cubic interpolation.
``regular`` has the first unknown that is a coarse one, how many pairs of unknowns follow in the pattern of
hats or of cubics, and the coarse unknown where they begin.
"""

from __future__ import annotations

from .compiling import part

__all__ = ["clear", "inverse_row", "interpolate", "product", "restrict", "wrap"]

# How far past the ends cubic interpolation reaches, in coarse nodes.
MARGIN = 2


@part
def along_first(axis, i, below, here, above, p, q):
    """Write K x and M x of the first axis on a row of plane i; differences keep their digits."""
    low, high, s = axis[0, i], axis[0, i + 1], axis[1, i]
    m_low, m_high = axis[2, i], axis[2, i + 1]
    own = axis[3, i] - m_low - m_high
    for k in range(len(here)):
        x = here[k]
        p[k] = s * x + (low * (x - below[k]) + high * (x - above[k]))
        q[k] = own * x + (m_low * below[k] + m_high * above[k])


@part
def along_middle(axis, j, p, q, p_row, q_row):
    """Write M p + K q and M q of the middle axis on row j, as padded rows."""
    low, high, s = axis[0, j], axis[0, j + 1], axis[1, j]
    m_low, m_high = axis[2, j], axis[2, j + 1]
    own = axis[3, j] - m_low - m_high
    p0, p1, p2, q0, q1, q2 = p[j], p[j + 1], p[j + 2], q[j], q[j + 1], q[j + 2]
    for k in range(len(p1)):
        x = q1[k]
        p_row[k] = own * p1[k] + (m_low * p0[k] + m_high * p2[k])
        p_row[k] += s * x + (low * (x - q0[k]) + high * (x - q2[k]))
        q_row[k] = own * x + (m_low * q0[k] + m_high * q2[k])


@part
def along_last(axis, p, q, out):
    """Write M p + K q of the last axis."""
    k_, s, m, w = axis[0], axis[1], axis[2], axis[3]
    for k in range(len(out)):
        x = q[k + 1]
        mass = (w[k] - m[k] - m[k + 1]) * p[k + 1] + (m[k] * p[k] + m[k + 1] * p[k + 2])
        out[k] = mass + (s[k] * x + (k_[k] * (x - q[k]) + k_[k + 1] * (x - q[k + 2])))


@part
def _tied_row(first, even, i, below, here, above, out):
    """Write A x on a row of a plane problem whose last axis has cells that are alike, but at its ends."""
    low, high, s = first[0, i], first[0, i + 1], first[1, i]
    m_low, m_high, w = first[2, i], first[2, i + 1], first[3, i]
    k, r, m, v = even[0], even[1], even[2], even[3]
    own = s * v + w * r
    beside = (w - m_low - m_high) * k - (s + low + high) * m
    across, inside = v - (m + m), r + (k + k)  # whole numbers would make float64 of them
    under, over = low * across - m_low * inside, high * across - m_high * inside
    slant, steep = low * m + m_low * k, high * m + m_high * k
    for j in range(len(out)):
        x = here[j + 1]
        ends = (x - here[j]) + (x - here[j + 2])
        lower, upper = (x - below[j]) + (x - below[j + 2]), (x - above[j]) + (x - above[j + 2])
        middle = under * (x - below[j + 1]) + over * (x - above[j + 1])
        out[j] = own * x + (beside * ends + (slant * lower + steep * upper) + middle)


@part
def _even_row(even, p, q, out):
    """Write M p + K q of a last axis whose cells are alike, but at its ends."""
    k, r, m, v = even[0], even[1], even[2], even[3]
    own = v - (m + m)
    for j in range(len(out)):
        x = q[j + 1]
        mass = own * p[j + 1] + m * (p[j] + p[j + 2])
        out[j] = mass + (r * x + k * ((x - q[j]) + (x - q[j + 2])))


@part
def _at_ends(last, p, q, out):
    """Write M p + K q of the last axis at its two ends."""
    for j in (0, len(out) - 1):
        x, m, k = q[j + 1], (last[2, j], last[2, j + 1]), (last[0, j], last[0, j + 1])
        mass = (last[3, j] - m[0] - m[1]) * p[j + 1] + (m[0] * p[j] + m[1] * p[j + 2])
        out[j] = mass + (last[1, j] * x + (k[0] * (x - q[j]) + k[1] * (x - q[j + 2])))


@part
def _last(last, even, p, q, out):
    """Write M p + K q of the last axis, whose cells may be alike."""
    if len(even):
        _even_row(even, p, q, out)
        _at_ends(last, p, q, out)
    else:
        along_last(last, p, q, out)


@part
def product(axes, even, lump, flat, exact, below, here, above, i, work, out):
    """Write A x on plane i from three padded planes; ``work`` has room for three more.

    ``even`` are k, s, m and w inside the last axis, where they are the same everywhere, and ``flat`` says
    that there is no middle axis. ``exact`` sums lose nothing to rounding that a small c holds constants by;
    corrections can do without.
    """
    first, middle, last = axes
    p, q = work[0], work[1]
    if flat and len(even) and not exact:
        _tied_row(first, even, i, below[1], here[1], above[1], out[0])
        for at in (0, here.shape[1] - 3):
            x, y, z = below[1, at:], here[1, at:], above[1, at:]
            along_first(first, i, x[:3], y[:3], z[:3], p[1, at:], q[1, at:])
        _at_ends(last, p[1], q[1], out[0])
    else:
        for j in range(flat, here.shape[0] - flat):
            along_first(first, i, below[j], here[j], above[j], p[j], q[j])
        for j in range(out.shape[0]):
            if flat:
                _last(last, even, p[1], q[1], out[0])
            else:
                along_middle(middle, j, p, q, work[2, 0], work[2, 1])
                _last(last, even, work[2, 0], work[2, 1], out[j])
    if lump != 0:
        for j in range(out.shape[0]):
            factor, row, x = lump * first[3, i] * middle[3, j], out[j], here[j + 1]
            for k in range(len(row)):
                row[k] += factor * last[3, k] * x[k + 1]


@part
def inverse_row(axes, lump, i, j, known, row):
    """Write the inverse of the diagonal at row j of plane i, where it is not ``known`` from the row before.

    A row that is zero, as that of a lone joined node may be, gets zero.
    """
    first, middle, last = axes
    m0 = first[3, i] - first[2, i] - first[2, i + 1]
    m1 = middle[3, j] - middle[2, j] - middle[2, j + 1]
    k0 = first[1, i] + first[0, i] + first[0, i + 1]
    k1 = middle[1, j] + middle[0, j] + middle[0, j + 1]
    stiff, mass, reacting = k0 * m1 + m0 * k1, m0 * m1, lump * first[3, i] * middle[3, j]
    if known[0] == stiff and known[1] == mass and known[2] == reacting:
        return
    known[0], known[1], known[2] = stiff, mass, reacting
    for k in range(row.shape[0]):
        m2 = last[3, k] - last[2, k] - last[2, k + 1]
        k2 = last[1, k] + last[0, k] + last[0, k + 1]
        entry = stiff * m2 + mass * k2 + reacting * last[3, k]
        row[k] = 1 / entry if entry != 0 else entry


@part
def clear(plane):
    """Write zeros."""
    for j in range(plane.shape[0]):
        row = plane[j]
        for k in range(len(row)):
            row[k] = 0


@part
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


@part
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


@part
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


@part
def _gather_row(r, base, weights, regular, out):
    """Write the padded row of coarse loads from fine ones: the transpose of :func:`_spread_row`."""
    start, pairs, coarse = regular
    half = r.dtype.type(1 / 2)
    for K in range(len(out)):
        out[K] = 0
    fine, loads = r[start:], out[coarse + MARGIN :]
    if pairs:
        loads[0], loads[pairs] = fine[0] + half * fine[1], half * fine[2 * pairs - 1]
    inner, between = loads[1:], fine[1:]
    for c in range(pairs - 1):
        inner[c] = between[2 * c + 1] + half * (between[2 * c] + between[2 * c + 2])
    for piece in ((0, start), (start + 2 * pairs, len(r))):
        for k in range(piece[0], piece[1]):
            out[base[k] + MARGIN] += weights[0, k] * r[k]
            out[base[k] + MARGIN + 1] += weights[1, k] * r[k]


@part
def interpolate(hats, joined, e, i, work, plane):
    """Add to the inside of a padded plane i what coarse values, (N0, N1, N2), are between their nodes."""
    bases, weights, regular = hats
    coarse, row, size = work[0], work[1, 0], e.shape[0]
    for J in range(e.shape[1]):
        inner = coarse[J + MARGIN, MARGIN:-MARGIN]
        for K in range(len(inner)):
            inner[K] = 0
        for t in range(len(weights[0])):
            weight, place = weights[0][t, i], bases[0][i] + t
            if joined[0]:
                place %= size
            if 0 <= place < size and weight != 0:
                given = e[place, J]
                for K in range(len(given)):
                    inner[K] += weight * given[K]
    wrap(coarse, MARGIN, joined[1], joined[2])
    for j in range(plane.shape[0] - 2):
        for K in range(len(row)):
            row[K] = 0
        for t in range(len(weights[1])):
            weight = weights[1][t, j]
            if weight != 0:
                given = coarse[bases[1][j] + t + MARGIN]
                for K in range(len(row)):
                    row[K] += weight * given[K]
        _spread_row(row, bases[2], weights[2], regular[2], plane[j + 1, 1:-1])


@part
def restrict(hats, joined, r, i, turns, low, high, work, coarse):
    """Add what plane i of residuals gives to the coarse planes from ``low`` to ``high``.

    ``turns`` says how often i has gone around a joined first axis.
    """
    bases, weights, regular = hats
    at = bases[0][i] + turns * coarse.shape[0]
    reaches = (low <= at < high and weights[0][0, i] != 0) or (low <= at + 1 < high and weights[0][1, i] != 0)
    if not reaches:
        return
    plane, row = work[2], work[1, 0]  # the ghosts of the first one stay zero
    clear(plane)
    for j in range(r.shape[0]):
        _gather_row(r[j], bases[2], weights[2], regular[2], row)
        for side in range(2):
            weight = weights[1][side, j]
            if weight != 0:
                there = plane[bases[1][j] + side + MARGIN]
                for K in range(row.shape[0]):
                    there[K] += weight * row[K]
    _fold(plane, MARGIN, joined[1], joined[2])
    for side in range(2):
        place, weight = at + side, weights[0][side, i]
        if low <= place < high and weight != 0:
            for J in range(coarse.shape[1]):
                there, given = coarse[place, J], plane[J + MARGIN]
                for K in range(there.shape[0]):
                    there[K] += weight * given[K + MARGIN]
