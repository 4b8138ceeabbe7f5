"""What iterations do with vectors of shape (batch, n0, n1, n2), in one pass over them.

Sums and largest values are kept for each plane, and what adds them up does so in their order: the number of
threads is not seen in a result.
"""

from __future__ import annotations

from .compiling import lean, part

__all__ = ["combine", "dot", "multiply", "rescale", "survey"]


def _dot_row(x, y):
    """Sum the products of two rows, in as many lanes as the processor has."""
    total = x[0] * 0
    for k in range(len(x)):
        total += x[k] * y[k]
    return total


dot_row = lean(_dot_row, "reassoc")


@part
def dot(x, y):
    """Sum the products of two planes."""
    total = 0.0
    for j in range(x.shape[0]):
        total += dot_row(x[j], y[j])
    return total


@part
def top(bits, mask):
    """Return the largest of the bits of a row without their signs, which order numbers as they are ordered.

    NaN comes after infinity. The loop over integers is one that compilers know to do in lanes.
    """
    most = bits[0] & 0
    for k in range(len(bits)):
        most = max(most, bits[k] & mask)
    return most


@lean
def survey(x, bits, mask, where, shape, sums, tops, start, stop):
    """Sum up the squares of some planes of vectors, and find their largest bits, (batch, n0) each.

    They have a shape, and stand in an array as for :func:`mgnet.kernels.passes.improve`.
    """
    for row in range(sums.shape[0]):
        for i in range(start, stop):
            most, total = bits[0] & 0, 0.0
            for j in range(shape[1]):
                at = where[0] + row * where[1] + i * where[2] + j * where[3]
                here = x[at : at + shape[2]]
                most = max(most, top(bits[at : at + shape[2]], mask))
                total += dot_row(here, here)
            sums[row, i], tops[row, i] = total, most


@lean
def rescale(x, given, factors, y, target, shape, start, stop):
    """Write some planes of vectors times a factor of each, in another precision; both stand in an array."""
    for row in range(len(factors)):
        for i in range(start, stop):
            for j in range(shape[1]):
                at = given[0] + row * given[1] + i * given[2] + j * given[3]
                to = target[0] + row * target[1] + i * target[2] + j * target[3]
                here, there, factor = x[at : at + shape[2]], y[to : to + shape[2]], factors[row]
                for k in range(shape[2]):
                    there[k] = here[k] * factor


@lean
def combine(lengths, gains, first, z, of_z, e, image, r, u, where, bits, masks, sums, tops, start, stop):
    """Make the next correction e and its image A e, add it to u and take it off the residual r.

    ``lengths`` has for each row the factors of z and of the e before, which on the ``first`` call counts for
    nothing, and ``gains`` that of e in u, which stands in an array as for :func:`survey`. The squares of r
    are summed up for each plane, and the largest bits of e and of u found, by their masks.
    """
    batch, _, n1, n2 = z.shape
    for row in range(batch):
        along_z, along_e, gain = lengths[row, 0], lengths[row, 1], gains[row]
        for i in range(start, stop):
            of_e, of_u = bits[0][0, 0, 0, 0] & 0, bits[1][0] & 0
            for j in range(n1):
                _mixed(along_z, along_e, first, z[row, i, j], e[row, i, j])
                _mixed(along_z, along_e, first, of_z[row, i, j], image[row, i, j])
                at = where[0] + row * where[1] + i * where[2] + j * where[3]
                _updated(gain, e[row, i, j], u[at : at + n2], image[row, i, j], r[row, i, j])
                of_e = max(of_e, top(bits[0][row, i, j], masks[0]))
                of_u = max(of_u, top(bits[1][at : at + n2], masks[1]))
            sums[row, i], tops[row, 0, i], tops[row, 1, i] = dot(r[row, i], r[row, i]), of_e, of_u


@lean
def multiply(matrix, x, y):
    """Write the products of a symmetric matrix with vectors, (batch, n)."""
    for row in range(len(x)):
        for i in range(len(matrix)):
            y[row, i] = dot_row(matrix[i], x[row])


@part
def _mixed(along_z, along_e, first, z, e):
    if first:
        for k in range(len(e)):
            e[k] = along_z * z[k]
    else:
        for k in range(len(e)):
            e[k] = along_e * e[k] + along_z * z[k]


@part
def _updated(gain, e, u, image, r):
    for k in range(len(e)):
        u[k] += gain * e[k]
    for k in range(len(r)):
        r[k] -= image[k]
