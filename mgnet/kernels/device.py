"""The passes of a cycle on a GPU, in Triton: each is one launch, which reads and writes its vectors once.

Vectors have shape (batch, n0, n1, n2), and a program works on some unknowns of one of them. An operator is
what the compiled loops have: the matrices of three axes and a lumped c (:mod:`mgnet.kernels.tensor`); the
coefficients, the matrix of a cell and what there is more (:mod:`mgnet.kernels.cells`); or entries and row
sums (:mod:`mgnet.kernels.entries`). What an operator does not have is empty. A plane problem has no middle
axis.

Transfers are tables, one for each axis: for each unknown the first coarse one that counts, and weights for
that one and the next ones, or those of all corners for each node, by how they lie among every second coarse
node; and for each coarse unknown the unknowns that give to it.
"""

from __future__ import annotations

from typing import Any

try:
    import triton.language as tl
    from triton import jit
except ImportError:  # nothing here is called then

    def jit(kernel: Any = None, **options: Any) -> Any:
        """Leave a kernel as it is."""
        return kernel or jit


__all__ = ["apply", "gather", "spread"]

# Sizes are numbers like others: grids of all sizes, and their tables wherever they stand, share one kernel.
SIZES = ["n0", "n1", "n2", "f0", "f1", "f2"]
OF_APPLY = [*SIZES, "m0", "m1", "m2", "q0", "q1", "q2"]
OF_TRANSFERS = [*SIZES, "N0", "N1", "N2", "m1", "m2", "size"]
NUMBERS = ["inverse", "weights", "t0", "t1", "t2", "a", "K", "c", "E", "S"]
TABLES = ["base0", "base1", "base2", "w0", "w1", "w2", "corners", "x", "e"]
LISTS = ["fine0", "fine1", "fine2", "nodes0", "nodes1", "nodes2", "w0", "w1", "w2", "corners", "r"]


@jit
def _moved(i, n, step: tl.constexpr, joined: tl.constexpr):
    """Give the neighbour of each unknown of an axis; past an end that is not joined there is none."""
    j = i + step
    if joined:
        j = tl.where(j < 0, j + n, tl.where(j >= n, j - n, j))
    return j


@jit
def _among(i, n):
    return (i >= 0) & (i < n)


@jit
def _place(i, shape):
    """Give where an unknown stands among all."""
    return (i[0].to(tl.int64) * shape[1] + i[1]) * shape[2] + i[2]


@jit
def _unknowns(shape, BLOCK: tl.constexpr):
    """Give the unknowns of a program, and which there are."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rest = p // shape[2]
    return (rest // shape[1], rest % shape[1], p % shape[2]), p < shape[0] * shape[1] * shape[2]


@jit
def _value(x, b, inverse, weights, row, j, shape, strides, ok, fresh: tl.constexpr):
    """Give x at some unknowns or, from zero, what the first sweep makes of b there."""
    at = row + _place(j, shape)
    if fresh:
        own = j[0].to(tl.int64) * strides[0] + j[1] * strides[1] + j[2] * strides[2]
        return tl.load(weights) * tl.load(inverse + own, ok, 0.0) * tl.load(b + at, ok, 0.0)
    else:
        return tl.load(x + at, ok, 0.0)


@jit
def _axis(table, i, n, ok):
    """Give three entries of a row of the stiffness and of the mass matrix of an axis, and its row sums."""
    low, high = tl.load(table + i, ok, 0.0), tl.load(table + i + 1, ok, 0.0)
    s, w = tl.load(table + (n + 1) + i, ok, 0.0), tl.load(table + 3 * (n + 1) + i, ok, 0.0)
    m, r = tl.load(table + 2 * (n + 1) + i, ok, 0.0), tl.load(table + 2 * (n + 1) + i + 1, ok, 0.0)
    return (-low, s + low + high, -high), (m, w - m - r, r), (s, w)


@jit
def _of_products(x, own, axes, lump, d: tl.constexpr, s: tl.constexpr, t: tl.constexpr):
    """Give what a neighbour gives by sums of tensor products; an unknown itself by the row sum."""
    first, middle, last = axes
    if d == 0 and s == 0 and t == 0:
        k0, m0 = first[2]
        k1, m1 = middle[2]
        k2, m2 = last[2]
        return ((k0 * m1 + m0 * k1) * m2 + m0 * m1 * k2 + lump * (m0 * m1 * m2)) * own
    else:
        k0, m0 = first[0][d + 1], first[1][d + 1]
        k1, m1 = middle[0][s + 1], middle[1][s + 1]
        k2, m2 = last[0][t + 1], last[1][t + 1]
        return ((k0 * m1 + m0 * k1) * m2 + m0 * m1 * k2) * (x - own)


@jit
def _cells(a, i, shape, ok, flat: tl.constexpr):
    """Give the coefficients of the cells around each unknown; in a plane there are four, twice."""
    wide, long = shape[1] + (0 if flat else 1), shape[2] + 1
    row: tl.constexpr = 0 if flat else 1
    at = (i[0].to(tl.int64) * wide + i[1]) * long + i[2]
    up = at + wide.to(tl.int64) * long
    low, beside = at + row * long, up + row * long
    return (
        tl.load(a + at, ok, 0.0),
        tl.load(a + at + 1, ok, 0.0),
        tl.load(a + low, ok, 0.0),
        tl.load(a + low + 1, ok, 0.0),
        tl.load(a + up, ok, 0.0),
        tl.load(a + up + 1, ok, 0.0),
        tl.load(a + beside, ok, 0.0),
        tl.load(a + beside + 1, ok, 0.0),
    )


@jit
def _of_cells(x, own, cells, K, d: tl.constexpr, s: tl.constexpr, t: tl.constexpr, flat: tl.constexpr):
    """Give what a neighbour gives by the cells between; differences keep digits."""
    total = (x - own) * 0.0
    for p in tl.static_range(2):
        for q in tl.static_range(1 if flat else 2):
            for r in tl.static_range(2):
                if (d == 0 or d == 2 * p - 1) and (s == 0 or s == 2 * q - 1) and (t == 0 or t == 2 * r - 1):
                    total += cells[4 * p + 2 * q + r]
    return tl.load(K + 4 * d * d + 2 * s * s + t * t) * total * (x - own)


@jit
def _of_entries(
    x,
    own,
    E,
    S,
    at,
    sizes,
    ok,
    d: tl.constexpr,
    s: tl.constexpr,
    t: tl.constexpr,
    flat: tl.constexpr,
    steps: tl.constexpr,
):
    """Give what a neighbour gives by an entry, which stands at the first of its two nodes."""
    field: tl.constexpr = (3 * d + t) if flat else (9 * d + 3 * s + t)
    size = sizes[0].to(tl.int64) * sizes[1] * sizes[2]
    if field == 0:
        if steps:
            return tl.load(S + at, ok, 0.0) * own
        else:
            return tl.load(E + at, ok, 0.0) * own
    else:
        if field > 0:
            entry = tl.load(E + field * size + at, ok, 0.0)
        else:
            there = at + (d * sizes[1] + s).to(tl.int64) * sizes[2] + t
            entry = tl.load(E - field * size + there, ok, 0.0)
        if steps:
            return entry * (x - own)
        else:
            return entry * x


@jit
def _image(x, b, inverse, weights, numbers, i, row, shape, strides, padded, firsts, own, ok,
           fresh: tl.constexpr, flat: tl.constexpr, joined: tl.constexpr,
           kinds: tl.constexpr):  # fmt: skip
    """Give A x at some unknowns, where ``own`` is x."""
    t0, t1, t2, a, K, c, E, S = numbers
    products: tl.constexpr = kinds[0]
    cellwise: tl.constexpr = kinds[1]
    lumped: tl.constexpr = kinds[2]
    entries: tl.constexpr = kinds[3]
    steps: tl.constexpr = kinds[4]
    wide: tl.constexpr = 0 if flat else 1
    y = own * 0.0
    if products:
        axes = _axis(t0, i[0], shape[0], ok), _axis(t1, i[1], shape[1], ok), _axis(t2, i[2], shape[2], ok)
        lump = tl.load(c)
    if cellwise:
        cells = _cells(a, i, shape, ok, flat)
    if lumped:
        y += tl.load(c + _place(i, shape), ok, 0.0) * own
    if entries:
        at = _place((i[0] + firsts[0] + 1, i[1] + firsts[1] + wide, i[2] + firsts[2] + 1), padded)
    for d in tl.static_range(-1, 2):
        for s in tl.static_range(-wide, wide + 1):
            for t in tl.static_range(-1, 2):
                given = own
                if d != 0 or s != 0 or t != 0:
                    j = (
                        _moved(i[0], shape[0], d, joined[0]),
                        _moved(i[1], shape[1], s, joined[1]),
                        _moved(i[2], shape[2], t, joined[2]),
                    )
                    there = ok & _among(j[0], shape[0]) & _among(j[1], shape[1]) & _among(j[2], shape[2])
                    given = _value(x, b, inverse, weights, row, j, shape, strides, there, fresh)
                if products:
                    y += _of_products(given, own, axes, lump, d, s, t)
                if cellwise:
                    if d != 0 or s != 0 or t != 0:
                        y += _of_cells(given, own, cells, K, d, s, t, flat)
                if entries:
                    y += _of_entries(given, own, E, S, at, padded, ok, d, s, t, flat, steps)
    return y


@jit(do_not_specialize=OF_APPLY, do_not_specialize_on_alignment=["out", "x", "b", *NUMBERS])
def apply(
    out, x, b, inverse, weights, t0, t1, t2, a, K, c, E, S,
    n0, n1, n2, m0, m1, m2, f0, f1, f2, q0, q1, q2,
    mode: tl.constexpr, fresh: tl.constexpr, flat: tl.constexpr,
    joined: tl.constexpr, kinds: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write A x (mode 0), b - A x (1), or x and a weight times that times the inverse of the diagonal (2).

    From zero, ``fresh``, x is the first weight times the inverse of the diagonal times b, and the weight that
    counts is the second. n are the unknowns of the axes, m their nodes and one more past each end, f the
    first unknown among the nodes, q the strides of the inverse, and ``joined`` says which ends are joined.
    ``kinds`` say which numbers there are: of axes, of cells, a lumped c, entries, and row sums of these.
    """
    shape, strides = (n0, n1, n2), (q0, q1, q2)
    i, ok = _unknowns(shape, BLOCK)
    row = tl.program_id(1).to(tl.int64) * n0 * n1 * n2
    own = _value(x, b, inverse, weights, row, i, shape, strides, ok, fresh)
    numbers, padded, firsts = (t0, t1, t2, a, K, c, E, S), (m0, m1, m2), (f0, f1, f2)
    y = _image(x, b, inverse, weights, numbers, i, row, shape, strides, padded, firsts, own, ok,
               fresh, flat, joined, kinds)  # fmt: skip
    here = row + _place(i, shape)
    if mode > 0:
        y = tl.load(b + here, ok, 0.0) - y
    if mode == 2:
        at = i[0].to(tl.int64) * q0 + i[1] * q1 + i[2] * q2
        weight = tl.load(weights + (1 if fresh else 0))
        y = own + weight * (tl.load(inverse + at, ok, 0.0) * y)
    tl.store(out + here, y, ok)


@jit
def _corner(base, weights, i, n, N, tap: tl.constexpr, ok, joined: tl.constexpr):
    """Give the coarse unknown of a tap of an axis, its weight, which there are, and how it lies among two."""
    J = tl.load(base + i, ok, 0) + tap
    weight = tl.load(weights + tap * n + i, ok, 0.0)
    Q = _moved(J, N, 0, joined)
    return Q, weight, _among(Q, N), J


@jit(do_not_specialize=[*OF_TRANSFERS, "F0", "F1", "F2"], do_not_specialize_on_alignment=["out", *TABLES])
def spread(
    out, x, e, base0, base1, base2, w0, w1, w2, corners,
    n0, n1, n2, N0, N1, N2, m1, m2, size, f0, f1, f2, F0, F1, F2,
    added: tl.constexpr, T0: tl.constexpr, T1: tl.constexpr, T2: tl.constexpr,
    joined: tl.constexpr, own: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the interpolation of coarse values e, and add x to it where there is one.

    n and N are the unknowns and the coarse ones of each axis, f and F the first ones among nodes, and m and
    ``size`` the nodes of rows, of planes and of all. With ``own`` the weights are those of ``corners``.
    """
    shape, coarse = (n0, n1, n2), (N0, N1, N2)
    i, ok = _unknowns(shape, BLOCK)
    here = tl.program_id(1).to(tl.int64) * n0 * n1 * n2 + _place(i, shape)
    row = tl.program_id(1).to(tl.int64) * N0 * N1 * N2
    node = _place((i[0] + f0, i[1] + f1, i[2] + f2), (0, m1, m2))
    y = tl.load(w0 + i[0], ok, 0.0) * 0.0
    if added:
        y += tl.load(x + here, ok, 0.0)
    for p in tl.static_range(T0):
        Q0, v0, ok0, J0 = _corner(base0, w0, i[0], n0, N0, p, ok, joined[0])
        for q in tl.static_range(T1):
            Q1, v1, ok1, J1 = _corner(base1, w1, i[1], n1, N1, q, ok, joined[1])
            for r in tl.static_range(T2):
                Q2, v2, ok2, J2 = _corner(base2, w2, i[2], n2, N2, r, ok, joined[2])
                there = ok & ok0 & ok1 & ok2
                weight = v0 * v1 * v2
                if own:
                    weight = _weight(corners, J0 + F0, J1 + F1, J2 + F2, T0, T1, T2, size, node, there)
                y += weight * tl.load(e + row + _place((Q0, Q1, Q2), coarse), there, 0.0)
    tl.store(out + here, y, ok)


@jit
def _weight(corners, J0, J1, J2, C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, size, node, ok):
    """Give the weight of coarse nodes for some nodes: the fields go by every second one of coarsened axes."""
    field = (J0 & (C0 - 1)) * (C1 * C2) + (J1 & (C1 - 1)) * C2 + (J2 & (C2 - 1))
    return tl.load(corners + field.to(tl.int64) * size + node, ok, 0.0)


@jit(do_not_specialize=[*OF_TRANSFERS, "T0", "T1", "T2"], do_not_specialize_on_alignment=["out", *LISTS])
def gather(
    out, r, fine0, fine1, fine2, nodes0, nodes1, nodes2, w0, w1, w2, corners,
    n0, n1, n2, N0, N1, N2, m1, m2, size, f0, f1, f2, T0, T1, T2,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, own: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the restriction of loads r: for each coarse unknown, what the T unknowns in its tables give.

    These say which they are, -1 where there are fewer, as which coarse node it counts for them, and weights.
    Of the rest see :func:`spread`.
    """
    shape, coarse = (n0, n1, n2), (N0, N1, N2)
    J, ok = _unknowns(coarse, BLOCK)
    row = tl.program_id(1).to(tl.int64) * n0 * n1 * n2
    y = tl.load(w0 + J[0], ok, 0.0) * 0.0
    for at in range(T0 * T1 * T2):
        p, q, t = at // (T1 * T2), at // T2 % T1, at % T2
        k0, k1, k2 = p * N0 + J[0], q * N1 + J[1], t * N2 + J[2]
        i0, i1, i2 = tl.load(fine0 + k0, ok, -1), tl.load(fine1 + k1, ok, -1), tl.load(fine2 + k2, ok, -1)
        there = ok & (i0 >= 0) & (i1 >= 0) & (i2 >= 0)
        if own:
            node = _place((i0 + f0, i1 + f1, i2 + f2), (0, m1, m2))
            J0 = tl.load(nodes0 + k0, ok, 0)
            J1 = tl.load(nodes1 + k1, ok, 0)
            J2 = tl.load(nodes2 + k2, ok, 0)
            weight = _weight(corners, J0, J1, J2, C0, C1, C2, size, node, there)
        else:
            weight = tl.load(w0 + k0, ok, 0.0) * tl.load(w1 + k1, ok, 0.0) * tl.load(w2 + k2, ok, 0.0)
        y += weight * tl.load(r + row + _place((i0, i1, i2), shape), there, 0.0)
    tl.store(out + tl.program_id(1).to(tl.int64) * N0 * N1 * N2 + _place(J, coarse), y, ok)
