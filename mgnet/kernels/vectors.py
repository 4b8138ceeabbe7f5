"""What iterations do with vectors of shape (batch, n0, n1, n2), in one pass over them.

Sums and largest values are kept for each plane, and what adds them up does so in their order: the number of
threads is not seen in a result.
"""

from __future__ import annotations

from .compiling import compiled

__all__ = ["combine", "dot", "top"]


def _dot(x, y):
    """Sum the products of two planes, a row in as many lanes as the processor has."""
    total = 0.0
    for j in range(x.shape[0]):
        p, q = x[j], y[j]
        row = p[0] * 0
        for k in range(len(p)):
            row += p[k] * q[k]
        total += row
    return total


dot = compiled(_dot, "reassoc")


@compiled
def top(bits, mask):
    """Return the largest of the bits of a plane without their signs, which order numbers as they are ordered.

    NaN comes after infinity. The loop over integers is one that compilers know to do in lanes.
    """
    most = bits[0, 0] & 0
    for j in range(bits.shape[0]):
        row, largest = bits[j], most
        for k in range(len(row)):
            largest = max(largest, row[k] & mask)
        most = max(most, largest)
    return most


@compiled
def tops(bits, mask, found, start, stop):
    """Write the largest bits of some planes, (batch, n0)."""
    for row in range(bits.shape[0]):
        for i in range(start, stop):
            found[row, i] = top(bits[row, i], mask)


@compiled
def combine(lengths, first, z, of_z, e, image, r, u, sums, start, stop):
    """Make the next correction e and its image A e, add it to u and take it off the residual r.

    ``lengths`` has for each row the factors of z, of the e before, which on the ``first`` call counts for
    nothing, and of what is added to u. The squares of r are summed up for each plane, (batch, n0).
    """
    batch, _, n1, n2 = z.shape
    for row in range(batch):
        along_z, along_e, gain = lengths[0, row], lengths[1, row], lengths[2, row]
        for i in range(start, stop):
            for j in range(n1):
                _mixed(along_z, along_e, first, z[row, i, j], e[row, i, j])
                _mixed(along_z, along_e, first, of_z[row, i, j], image[row, i, j])
                correction, target = e[row, i, j], u[row, i, j]
                for k in range(n2):
                    target[k] += gain * correction[k]
                rest, gone = r[row, i, j], image[row, i, j]
                for k in range(n2):
                    rest[k] -= gone[k]
            sums[row, i] = dot(r[row, i], r[row, i])


@compiled
def _mixed(along_z, along_e, first, z, e):
    if first:
        for k in range(len(e)):
            e[k] = along_z * z[k]
    else:
        for k in range(len(e)):
            e[k] = along_e * e[k] + along_z * z[k]
