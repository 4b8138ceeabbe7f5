"""Relaxation, colour by colour, of lines by elimination or of points, for entries between neighbours.

E has the entries of :mod:`mgnet.kernels.entries`, each as one row of all nodes of a padded grid, and x has a
value for each of these nodes, zero where there is no unknown, those past joined ends repeated. A colour is
every so many unknowns along each axis, none of which has a neighbour in another line of that colour. So its
lines are relaxed in any order and by any number of threads.

A line is solved for, not corrected: from its load comes off what nodes beside it give, in the pass that
eliminates. The factors of the elimination are kept: 1 over the pivot of each unknown, the coupling to the
next one over the pivot, and where ends are joined the coupling to the last one of the line. Pivots are sums
of couplings and row sums, as in :mod:`mgnet.kernels.chains`.

A step along a line waits for the one before. So several lines are worked on at a time, in lanes: those next
to each other along the last axis as they stand, those along that axis turned round.

A colour is a row of a table: the axis of its lines, and the two along which they lie beside each other, first
places and at each of these lines; the first unknown along each axis, how far it is to the next, and how many
there are; where its factors begin; how many lines next to each other and how many places make a bundle; how
many bundles are a piece of work, and how many pieces there are; and how many colours are done together, piece
by piece, since their lines meet at no place but their own. A grid is how many unknowns there are along each
axis, how far it is from one to the next among nodes and among unknowns, and the node that is the first one.
"""

from __future__ import annotations

import numpy as np

from .compiling import compiled, lean, part

__all__ = ["factorise", "relax_lines", "relax_points", "wrap"]

AXIS, OUTER, INNER, FIRST, STEP, COUNT = 0, 1, 2, 3, 6, 9
OFFSET, LANES, PLACES, BUNDLES, PIECES, TOGETHER = 12, 13, 14, 15, 16, 17
NODES, UNKNOWNS, ORIGIN, LAST = 3, 6, 9, 2
# Pivots that are smaller than the diagonal by this, in units of its rounding, are nothing but rounding.
LOST = 4


@part
def _gather(E, x, near, shifts, p, out):
    """Subtract from loads what nodes in other lines give, at the nodes from p on."""
    for t in range(0, len(near), 3):
        m, s, h = near[t], near[t + 1], near[t + 2]
        a, b, c = E[m, p:], E[s, p:], E[h, p:]
        d, e, f = E[m, p - shifts[m] :], E[s, p - shifts[s] :], E[h, p - shifts[h] :]
        u, v, w = x[p + shifts[m] :], x[p + shifts[s] :], x[p + shifts[h] :]
        y, z, q = x[p - shifts[m] :], x[p - shifts[s] :], x[p - shifts[h] :]
        for k in range(len(out)):
            high = a[k] * u[k] + (b[k] * v[k] + c[k] * w[k])
            out[k] -= high + (d[k] * y[k] + (e[k] * z[k] + f[k] * q[k]))


@part
def _bundle(colour, at):
    """Give the first line of a bundle, how many there are next to each other, and how many times that."""
    wide, lanes = colour[COUNT + colour[INNER]], colour[LANES]
    chunks = (wide + lanes - 1) // lanes
    place, lane = at // chunks * colour[PLACES], at % chunks * lanes
    places = min(colour[PLACES], colour[COUNT + colour[OUTER]] - place)
    return place * wide + lane, min(lanes, wide - lane), places


@part
def _start(colour, grid, line):
    """Say where the first unknown of a line is, among nodes and among unknowns."""
    node, load, wide = grid[ORIGIN], 0 * line, colour[COUNT + colour[INNER]]
    for side in range(2):
        axis, at = colour[OUTER + side], line % wide if side else line // wide
        at = colour[FIRST + axis] + at * colour[STEP + axis]
        node += at * grid[NODES + axis]
        load += at * grid[UNKNOWNS + axis]
    return node, load


@part
def _forward(work, r, count, f, factors):
    """Add to the loads in row r what the unknowns before them give."""
    if r > 0:
        before, y, up = work[(r - 1) * count :], work[r * count : (r + 1) * count], factors[1][f - count :]
        for k in range(count):
            y[k] += up[k] * before[k]


@part
def _joined(work, n, count, start, factors):
    """Solve for the last unknowns of joined lines, and take to the others' loads what these give."""
    inverse, _, far = factors
    last = work[(n - 1) * count :]
    for r in range(n - 1):
        y, f = work[r * count :], start + r * count
        for k in range(count):
            last[k] += far[f + k] * (inverse[f + k] * y[k])
    f = start + (n - 1) * count
    for r in range(n - 1):
        y, share = work[r * count :], far[start + r * count :]
        for k in range(count):
            y[k] += share[k] * (inverse[f + k] * last[k])


@part
def _backward(work, r, n, count, f, factors):
    """Solve for the unknowns in row r from those that come after them."""
    y, own, up = work[r * count : (r + 1) * count], factors[0][f:], factors[1][f:]
    if r == n - 1:
        for k in range(count):
            y[k] *= own[k]
    else:
        after = work[(r + 1) * count :]
        for k in range(count):
            y[k] = own[k] * y[k] + up[k] * after[k]


@part
def _across(E, x, b, near, shifts, joined, grid, colour, at, factors, work):
    """Relax lines next to each other along the last axis, at several places along the other one."""
    axis, wide, (line, count, places) = colour[AXIS], colour[COUNT + LAST], _bundle(colour, at)
    n, step, stride = grid[axis], grid[NODES + axis], grid[UNKNOWNS + axis]
    start, lanes = colour[OFFSET] + line * n, places * count
    row = work[n * lanes : n * lanes + 2 * count - 1]
    for r in range(n):
        for t in range(places):
            node, load = _start(colour, grid, line + t * wide)
            y, given = work[r * lanes + t * count :], b[load + r * stride :]
            # To work for others in between takes less time than to pick every second one.
            for k in range(len(row)):
                row[k] = given[k]
            _gather(E, x, near, shifts, node + r * step, row)
            for k in range(count):
                y[k] = row[2 * k]
        _forward(work, r, lanes, start + r * lanes, factors)
    if joined:
        _joined(work, n, lanes, start, factors)
    for i in range(n):
        r = n - 1 - i
        _backward(work, r, n, lanes, start + r * lanes, factors)
        for t in range(places):
            node, _ = _start(colour, grid, line + t * wide)
            at = r * lanes + t * count
            y, own, target = work[at:], factors[0][start + at :], x[node + r * step :]
            for k in range(count):
                if own[k] != 0:  # else the row of A is zero, and there is nothing to relax
                    target[2 * k] = y[k]


@part
def _along(E, x, b, near, shifts, joined, grid, colour, at, factors, work):
    """Relax lines along the last axis."""
    n, (line, count, _) = grid[LAST], _bundle(colour, at)
    start, row = colour[OFFSET] + line * n, work[n * count : n * count + n]
    for t in range(count):
        node, load = _start(colour, grid, line + t)
        y, given = work[t:], b[load:]
        for k in range(n):
            row[k] = given[k]
        _gather(E, x, near, shifts, node, row)
        for k in range(n):
            y[k * count] = row[k]
    for r in range(n):
        _forward(work, r, count, start + r * count, factors)
    if joined:
        _joined(work, n, count, start, factors)
    for i in range(n):
        _backward(work, n - 1 - i, n, count, start + (n - 1 - i) * count, factors)
    for t in range(count):
        node, _ = _start(colour, grid, line + t)
        y, own, target = work[t:], factors[0][start + t :], x[node:]
        for k in range(n):
            if own[k * count] != 0:
                target[k] = y[k * count]


@part
def _piece(E, x, b, numbers, colour, at, fresh, factors, work):
    """Relax the lines of a piece of work."""
    grid, beside, shifts, joined, _, _ = numbers
    axis = colour[AXIS]
    ends, near = joined[axis], beside[axis][: 0 if fresh else beside.shape[1]]
    for bundle in range(at * colour[BUNDLES], (at + 1) * colour[BUNDLES]):
        if axis == LAST:
            _along(E, x, b, near, shifts, ends, grid, colour, bundle, factors, work)
        else:
            _across(E, x, b, near, shifts, ends, grid, colour, bundle, factors, work)


@compiled
def relax_lines(E, numbers, colours, order, fresh, factors, x, b, start, stop):
    """Relax lines of colours in an order, pieces of work from ``start`` to ``stop`` of all rows of the batch.

    ``numbers`` are the grid, for each axis the entries that are not along it, how far the node is that each
    entry leads to, which axes are joined, the shape of the padded grid, and how many numbers there is room
    to work with. ``fresh`` says that x is zero. Where ``stop`` is zero all pieces are done, and values past
    joined ends repeated.
    """
    work, g = np.empty(numbers[5], E.dtype), 0
    while g < len(order):
        pieces, together = colours[order[g], PIECES], colours[order[g], TOGETHER]
        for piece in range(start, stop if stop else len(x) * pieces):
            row, at = piece // pieces, piece % pieces
            for t in range(together):
                alone = fresh and g + t == 0
                _piece(E, x[row], b[row], numbers, colours[order[g + t]], at, alone, factors, work)
        if not stop:
            wrap(numbers, x)
        g += together


@part
def _relax_row(E, x, node, inverse, omega, out):
    """Relax the points of a row from their loads, from which all but the neighbours in it are subtracted."""
    tie, before, own = E[1, node:], E[1, node - 1 :], x[node:]
    left, right = x[node - 1 :], x[node + 1 :]
    for k in range(len(out)):
        out[k] -= before[k] * left[k] + tie[k] * right[k]
    for k in range((len(out) + 1) // 2):
        if inverse[k] != 0:  # else there is nothing to relax
            own[2 * k] += omega * (inverse[k] * out[2 * k] - own[2 * k])


@part
def _points(E, x, b, near, shifts, grid, colour, at, factors, work):
    """Relax every second point of a row."""
    inverse, omega = factors
    count, first = colour[COUNT + LAST], colour[FIRST + LAST]
    node, load = _start(colour, grid, at)
    out, given = work[: 2 * count - 1], b[load + first :]
    for k in range(len(out)):
        out[k] = given[k]
    _gather(E, x, near, shifts, node + first, out)
    _relax_row(E, x, node + first, inverse[colour[OFFSET] + at * count :], omega, out)


@compiled
def relax_points(E, numbers, colours, order, fresh, factors, x, b, start, stop):
    """Relax points of colours; see :func:`relax_lines`. A piece is a row.

    ``factors`` are the inverse of the diagonal, colour by colour, and the relaxation.
    """
    grid, beside, shifts, _, _, room = numbers
    work, g = np.empty(room, E.dtype), 0
    while g < len(order):
        pieces, together = colours[order[g], PIECES], colours[order[g], TOGETHER]
        for piece in range(start, stop if stop else len(x) * pieces):
            row, at = piece // pieces, piece % pieces
            for t in range(together):
                near = beside[LAST][: 0 if fresh and g + t == 0 else beside.shape[1]]
                _points(E, x[row], b[row], near, shifts, grid, colours[order[g + t]], at, factors, work)
        if not stop:
            wrap(numbers, x)
        g += together


@part
def _wrap(grid, joined, shape, x):
    """Repeat past joined ends of a padded grid what is at the other end."""
    for axis in range(3):
        if joined[axis]:
            a, b = 1 if axis == 0 else 0, 1 if axis == LAST else LAST
            step, n = grid[NODES + axis], grid[axis]
            for i in range(shape[a]):
                for j in range(shape[b]):
                    p = i * grid[NODES + a] + j * grid[NODES + b]
                    x[p], x[p + (n + 1) * step] = x[p + n * step], x[p + step]


@lean
def wrap(numbers, x):
    """Repeat past joined ends of padded grids what is at the other end."""
    for row in range(len(x)):
        _wrap(numbers[0], numbers[3], numbers[4], x[row])


@part
def _factorise(E, tie, joined, node, step, n, first, count, least, factors):
    """Write the factors of a line, whose nodes are a step apart and whose factors so many.

    An unknown has couplings k to the next one and g to the last one, if ends are joined, and what it has
    beside them: its row sum in the line. Eliminated, it leaves to each of the two a part of that,
    :eq:`line-pivots`.
    """
    inverse, onwards, far = factors
    k = -float(E[tie, node + (n - 1) * step]) if joined else 0.0
    g, received, for_last = k, 0.0, 0.0
    for r in range(n):
        p, f, before = node + r * step, first + r * count, k
        own = float(E[0, p])
        k = -float(E[tie, p]) if joined or r < n - 1 else 0.0
        sigma = own - before - k + received
        if joined and r >= n - 2:
            sigma, g, k = (sigma, g + k, 0.0) if r == n - 2 else (sigma + for_last, 0.0, 0.0)
        pivot = sigma + k + g  # eq: line-pivots
        if not pivot > least * own:
            sigma += own  # what nothing holds cannot be solved for
            pivot += own
        inverted = 1 / pivot if own > 0 else 0.0
        inverse[f], onwards[f] = inverted, k * inverted
        received = k * inverted * sigma
        if joined:
            far[f] = g
            for_last += g * inverted * sigma
            g = k * inverted * g
            if r == n - 2:
                k = -float(E[tie, p])


@compiled
def factorise(E, numbers, ties, colour, factors, start, stop):
    """Write the factors of bundles of lines of a colour; ``ties`` are the entries along each axis."""
    grid, axis, least = numbers[0], colour[AXIS], LOST * float(np.finfo(E.dtype).eps)
    tie, joined, n, step = ties[axis], numbers[3][axis], grid[axis], grid[NODES + axis]
    for at in range(start, stop):
        line, count, places = _bundle(colour, at)
        first, lanes = colour[OFFSET] + line * n, places * count
        for t in range(lanes):
            node, _ = _start(colour, grid, line + t // count * colour[COUNT + colour[INNER]] + t % count)
            _factorise(E, tie, joined, node, step, n, first + t, lanes, least, factors)
