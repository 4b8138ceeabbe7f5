"""What iterations do with vectors of shape (batch, n0, n1, n2), in one pass over them.

Sums and largest values are kept for each plane, and what adds them up does so in their order: the number of
threads is not seen in a result.
"""

from __future__ import annotations

from functools import partial

from . import bells
from .compiling import inlined, lean

__all__ = ["combine", "invert", "multiply", "products", "rescale", "scale", "survey"]


@partial(inlined, more=("reassoc",))
def products(r, z, e, y):
    """Sum the products r z, z y, r e and e y of rows, in as many lanes as the processor has."""
    rz, zy, re, ey = r[0] * z[0], z[0] * y[0], r[0] * e[0], e[0] * y[0]
    for k in range(1, len(r)):
        rz += r[k] * z[k]
        zy += z[k] * y[k]
        re += r[k] * e[k]
        ey += e[k] * y[k]
    return rz, zy, re, ey


@partial(inlined, more=("reassoc",))
def scale(x, factor, out):
    """Write x times a factor, and sum up the squares."""
    total = 0.0
    for k in range(len(out)):
        y = x[k] * factor
        out[k] = y
        total += y * y
    return total


@partial(inlined, more=("reassoc",))
def dot_row(x, y):
    """Sum the products of two rows, in float64."""
    total = 0.0
    for k in range(len(x)):
        total += x[k] * y[k]
    return total


@inlined
def top(bits, mask):
    """Return the largest of the bits of a row without their signs, which order numbers as they are ordered.

    NaN comes after infinity. The loop over integers is one that compilers know to do in lanes.
    """
    most = bits[0] & 0
    for k in range(len(bits)):
        most = max(most, bits[k] & mask)
    return most


@lean
def survey(bell, x, bits, mask, where, shape, sums, tops, start, stop):
    """Sum up the squares of some planes of vectors, and find their largest bits, (batch, n0) each.

    They have a shape, and stand in an array as for :func:`mgnet.kernels.passes.improve`.
    """
    bells.ring(bell)
    for row in range(sums.shape[0]):
        for i in range(start, stop):
            most, total = bits[0] & 0, 0.0
            for j in range(shape[1]):
                at = where[0] + row * where[1] + i * where[2] + j * where[3]
                here = x[at : at + shape[2]]
                most = max(most, top(bits[at : at + shape[2]], mask))
                total += dot_row(here, here)
            sums[row, i], tops[row, i] = total, most
    bells.attend(bell)


@lean
def rescale(bell, x, given, factors, y, target, shape, start, stop):
    """Write some planes of vectors times a factor of each, in another precision; both stand in an array."""
    bells.ring(bell)
    for row in range(len(factors)):
        for i in range(start, stop):
            for j in range(shape[1]):
                at = given[0] + row * given[1] + i * given[2] + j * given[3]
                to = target[0] + row * target[1] + i * target[2] + j * target[3]
                here, there, factor = x[at : at + shape[2]], y[to : to + shape[2]], factors[row]
                for k in range(shape[2]):
                    there[k] = here[k] * factor
    bells.attend(bell)


@lean
def combine(bell, lengths, gains, first, z, e, u, where, bits, masks, tops, start, stop):
    """Make the next correction e, and add it to u.

    ``lengths`` has for each row the factors of z and of the e before, which on the ``first`` call counts for
    nothing, and ``gains`` that of e in u, which stands in an array as for :func:`survey`. The largest bits
    of e and of u are found, (batch, 2, n0), by their masks.
    """
    bells.ring(bell)
    batch, _, n1, n2 = z.shape
    for row in range(batch):
        along_z, along_e, gain = lengths[row, 0], lengths[row, 1], gains[row]
        for i in range(start, stop):
            of_e, of_u = bits[0][0, 0, 0, 0] & 0, bits[1][0] & 0
            for j in range(n1):
                at = where[0] + row * where[1] + i * where[2] + j * where[3]
                _mixed(along_z, along_e, first, z[row, i, j], e[row, i, j])
                _added(gain, e[row, i, j], u[at : at + n2])
                of_e = max(of_e, top(bits[0][row, i, j], masks[0]))
                of_u = max(of_u, top(bits[1][at : at + n2], masks[1]))
            tops[row, 0, i], tops[row, 1, i] = of_e, of_u
    bells.attend(bell)


@lean
def multiply(matrix, x, y):
    """Write the products of a symmetric matrix with vectors, (batch, n)."""
    for row in range(len(x)):
        for i in range(len(matrix)):
            y[row, i] = dot_row(matrix[i], x[row])


@lean
def invert(matrix):
    """Invert a symmetric positive definite matrix in its own memory, by Gauss and Jordan."""
    one = matrix.dtype.type(1)
    for i in range(len(matrix)):
        pivot = one / matrix[i, i]
        matrix[i, i] = one
        chosen = matrix[i]
        for k in range(len(chosen)):
            chosen[k] *= pivot
        for j in range(len(matrix)):
            if j != i:
                row, factor = matrix[j], matrix[j, i]
                row[i] *= 0
                for k in range(len(row)):
                    row[k] -= factor * chosen[k]


@inlined
def _mixed(along_z, along_e, first, z, e):
    if first:
        for k in range(len(e)):
            e[k] = along_z * z[k]
    else:
        for k in range(len(e)):
            e[k] = along_e * e[k] + along_z * z[k]


@inlined
def _added(gain, e, u):
    for k in range(len(e)):
        u[k] += gain * e[k]
