"""Sums of tensor products of tridiagonal matrices, and the hats' transfers, plane by plane.

An axis of n unknowns is an array of shape (4, n + 1): the couplings k and the row sums s of its stiffness
matrix, times the coefficient, and the couplings m and the row sums w of its mass matrix. Coupling i lies
between unknowns i - 1 and i, the first and the last one beyond the ends. What c adds is in k and s of the last
axis; where c is lumped it is a number of its own. An axis that a problem does not have has one unknown.

The transfers of an axis are where its unknowns lie among the coarse ones: ``base``, the coarse unknown at the
left, and weights of shape (2, n) for that one and the next. ``regular`` has the first unknown that is a coarse
one, how many pairs of unknowns follow in the pattern of hats, and the coarse unknown where they begin.
"""

from __future__ import annotations

from .compiling import compiled

__all__ = ["inverse_row", "interpolate", "product", "restrict", "wrap"]


@compiled
def along_first(axis, i, below, here, above, p, q):
    """Write K x and M x of the first axis on a row of plane i; differences keep their digits."""
    low, high, s = axis[0, i], axis[0, i + 1], axis[1, i]
    m_low, m_high = axis[2, i], axis[2, i + 1]
    own = axis[3, i] - m_low - m_high
    for k in range(len(here)):
        x = here[k]
        p[k] = s * x + (low * (x - below[k]) + high * (x - above[k]))
        q[k] = own * x + (m_low * below[k] + m_high * above[k])


@compiled
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


@compiled
def along_last(axis, p, q, out):
    """Write M p + K q of the last axis."""
    k_, s, m, w = axis[0], axis[1], axis[2], axis[3]
    for k in range(len(out)):
        x = q[k + 1]
        mass = (w[k] - m[k] - m[k + 1]) * p[k + 1] + (m[k] * p[k] + m[k + 1] * p[k + 2])
        out[k] = mass + (s[k] * x + (k_[k] * (x - q[k]) + k_[k + 1] * (x - q[k + 2])))


@compiled
def product(axes, lump, flat, below, here, above, i, work, out):
    """Write A x on plane i from three padded planes; ``work`` has room for three more.

    ``flat`` says that there is no middle axis.
    """
    first, middle, last = axes
    p, q = work[0], work[1]
    for j in range(flat, here.shape[0] - flat):
        along_first(first, i, below[j], here[j], above[j], p[j], q[j])
    for j in range(out.shape[0]):
        if flat:
            along_last(last, p[1], q[1], out[0])
        else:
            along_middle(middle, j, p, q, work[2, 0], work[2, 1])
            along_last(last, work[2, 0], work[2, 1], out[j])
        if lump != 0:
            factor = lump * first[3, i] * middle[3, j]
            row, x = out[j], here[j + 1]
            for k in range(row.shape[0]):
                row[k] += factor * last[3, k] * x[k + 1]


@compiled
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


@compiled
def wrap(plane, joined_middle, joined_last):
    """Fill the ghosts of a padded plane past joined ends; others are zero and stay so."""
    rows, columns = plane.shape
    if joined_last:
        for j in range(1, rows - 1):
            plane[j, 0], plane[j, columns - 1] = plane[j, columns - 2], plane[j, 1]
    if joined_middle:
        plane[0], plane[rows - 1] = plane[rows - 2], plane[1]


@compiled
def _fold(plane, joined_middle, joined_last):
    """Apply the transpose of :func:`wrap`."""
    rows, columns = plane.shape
    if joined_middle:
        for k in range(columns):
            plane[rows - 2, k] += plane[0, k]
            plane[1, k] += plane[rows - 1, k]
    if joined_last:
        for j in range(1, rows - 1):
            plane[j, columns - 2] += plane[j, 0]
            plane[j, 1] += plane[j, columns - 1]


@compiled
def _spread_row(row, base, weights, regular, out):
    """Add to fine values what a padded row of coarse ones is between them."""
    start, pairs, coarse = regular
    fine, left, right = out[start:], row[coarse + 1 :], row[coarse + 2 :]
    for c in range(pairs):
        fine[2 * c] += left[c]
        fine[2 * c + 1] += (left[c] + right[c]) / 2
    for part in ((0, start), (start + 2 * pairs, len(out))):
        for k in range(part[0], part[1]):
            out[k] += weights[0, k] * row[base[k] + 1] + weights[1, k] * row[base[k] + 2]


@compiled
def _gather_row(r, base, weights, regular, out):
    """Write the padded row of coarse loads from fine ones: the transpose of :func:`_spread_row`."""
    start, pairs, coarse = regular
    out[:] = 0
    fine, loads = r[start:], out[coarse + 1 :]
    if pairs:
        loads[0], loads[pairs] = fine[0] + fine[1] / 2, fine[2 * pairs - 1] / 2
    inner, between = loads[1:], fine[1:]
    for c in range(pairs - 1):
        inner[c] = between[2 * c + 1] + (between[2 * c] + between[2 * c + 2]) / 2
    for part in ((0, start), (start + 2 * pairs, len(r))):
        for k in range(part[0], part[1]):
            out[base[k] + 1] += weights[0, k] * r[k]
            out[base[k] + 2] += weights[1, k] * r[k]


@compiled
def interpolate(hats, joined, e, i, work, plane):
    """Add to the inside of a padded plane i what coarse values, shape (N0, N1, N2), are between their nodes.

    ``work`` has three padded coarse planes, zero at first, whose ghosts past open ends stay zero.
    """
    bases, weights, regular = hats
    low, high = bases[0][i], bases[0][i] + 1
    size = e.shape[0]
    if joined[0]:
        high %= size
    coarse, row = work[0], work[1, 0]
    for J in range(e.shape[1]):
        inner = coarse[J + 1, 1:-1]
        inner[:] = 0
        for I, weight in ((low, weights[0][0, i]), (high, weights[0][1, i])):
            if 0 <= I < size and weight != 0:
                given = e[I, J]
                for K in range(given.shape[0]):
                    inner[K] += weight * given[K]
    wrap(coarse, joined[1], joined[2])
    for j in range(plane.shape[0] - 2):
        at, left, right = bases[1][j], weights[1][0, j], weights[1][1, j]
        below, above = coarse[at + 1], coarse[at + 2]
        for K in range(row.shape[0]):
            row[K] = left * below[K] + right * above[K]
        _spread_row(row, bases[2], weights[2], regular[2], plane[j + 1, 1:-1])


@compiled
def restrict(hats, joined, r, i, turns, low, high, work, coarse):
    """Add what plane i of residuals gives to the coarse planes from ``low`` to ``high``.

    ``turns`` says how often i has gone around a joined first axis. ``work`` is as for :func:`interpolate`.
    """
    bases, weights, regular = hats
    at = bases[0][i] + turns * coarse.shape[0]
    reaches = (low <= at < high and weights[0][0, i] != 0) or (
        low <= at + 1 < high and weights[0][1, i] != 0
    )
    if not reaches:
        return
    plane, row = work[2], work[1, 0]  # the ghosts of the first one stay zero
    plane[:] = 0
    for j in range(r.shape[0]):
        _gather_row(r[j], bases[2], weights[2], regular[2], row)
        for side in range(2):
            weight = weights[1][side, j]
            if weight != 0:
                there = plane[bases[1][j] + 1 + side]
                for K in range(row.shape[0]):
                    there[K] += weight * row[K]
    _fold(plane, joined[1], joined[2])
    for side in range(2):
        I, weight = at + side, weights[0][side, i]
        if low <= I < high and weight != 0:
            for J in range(coarse.shape[1]):
                there, given = coarse[I, J], plane[J + 1]
                for K in range(there.shape[0]):
                    there[K] += weight * given[K + 1]
