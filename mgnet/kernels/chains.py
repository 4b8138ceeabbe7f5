"""Chains of cells by elimination: eight cells become one, level after level, and all values are found again.

A chain has a conductance k for each cell and a row sum s for each node, or all cells are alike. In a block of
eight cells every second node is eliminated, three times over, which leaves the two ends. Pivots are sums of
conductances and row sums, so nothing is subtracted and no small row sum is lost. All is computed in float64,
whatever the loads are, in several blocks at a time: their steps are the same.

Level 0 has the given cells, and each level the blocks of the one before, the last a single cell. A solve
reads the loads of a level to give those of the next, and once more to give its values from those of the next.
Where cells differ weights are worth a division when they are used, not their memory.

The last block of a level may be short. It is filled up with cells of infinite conductance: all their nodes
have the value of the right end.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types
from numba.core.cgutils import int32_t, ir, voidptr_t
from numba.extending import intrinsic

from .compiling import lean, part

__all__ = ["BOTH", "CELLS", "DOWN", "TOGETHER", "UP", "condense", "down", "eliminate", "solve", "up"]

# Cells of a block, and blocks that a share has a multiple of: the same are worked on at a time in any share.
CELLS, TOGETHER = 8, 64
# Blocks from which on loads are not thought to be in a cache, those for which they are requested at a time,
# and how many bytes before they are needed: while it computes, a processor asks for few by itself.
FAR, SOME, AHEAD, LINE = 2**17, 32, 2**13, 64
# The first of something; for a plain 0 Numba would compile all that is called with it once more.
FIRST = np.int64(0)
# What holds at an end that is not given.
FREE, JOINED = 1, 2
# What is done of a solve: all, or what comes before the values at the two ends are known, and after.
BOTH, DOWN, UP = range(3)


# One block. Its nodes 1 to 7 are eliminated; each has its two neighbours' weights, and 1 over its pivot.


@part
def _node(k_left, k_right, s):
    """Eliminate a node; give also the conductance of the cell that its two become."""
    inverse = 1 / (k_left + k_right + s)
    left, right = k_left * inverse, k_right * inverse
    return (left, right, inverse), k_left * right


@part
def _given(x, left, x_left, right, x_right):
    """Give what a node has of loads, or of row sums, with what it receives from two eliminated ones."""
    return x + left[1] * x_left + right[0] * x_right


@part
def _block(k, s, i):
    """Eliminate the inner nodes of the block whose first cell is k[i] and whose node 1 has s[i], if any."""
    s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    if s is not None:
        s1, s2, s3, s4, s5, s6, s7 = s[i], s[i + 1], s[i + 2], s[i + 3], s[i + 4], s[i + 5], s[i + 6]
    one, k1 = _node(k[i], k[i + 1], s1)
    three, k3 = _node(k[i + 2], k[i + 3], s3)
    five, k5 = _node(k[i + 4], k[i + 5], s5)
    seven, k7 = _node(k[i + 6], k[i + 7], s7)
    s2, s6 = _given(s2, one, s1, three, s3), _given(s6, five, s5, seven, s7)
    two, k2 = _node(k1, k3, s2)
    six, k6 = _node(k5, k7, s6)
    four, k4 = _node(k2, k6, _given(_given(s4, three, s3, five, s5), two, s2, six, s6))
    return (one, two, three, four, five, six, seven), k4


@part
def _three(x):
    return x[0], x[1], x[2]


@part
def _of(weights):
    """Give the nodes of a block whose weights are kept."""
    one, two, three, four = _three(weights[0]), _three(weights[1]), _three(weights[2]), _three(weights[3])
    return one, two, three, four, _three(weights[4]), _three(weights[5]), _three(weights[6])


@part
def _alike(weights):
    """Give the nodes of a block whose cells are alike, of the same form."""
    one, two, four = _three(weights[0]), _three(weights[1]), _three(weights[3])
    one, two, four = (one[0], one[0], one[2]), (two[0], two[0], two[2]), (four[0], four[0], four[2])
    return one, two, one, four, one, two, one


@part
def _halves(nodes, x, i):
    """Give the loads of the nodes 2, 4 and 6 once the others are eliminated; node 1 has x[i]."""
    one, two, three, _, five, six, seven = nodes
    x2 = _given(x[i + 1], one, x[i], three, x[i + 2])
    x6 = _given(x[i + 5], five, x[i + 4], seven, x[i + 6])
    return x2, _given(_given(x[i + 3], three, x[i + 2], five, x[i + 4]), two, x2, six, x6), x6


@part
def _sums(nodes, x, i):
    """Give what the two ends receive of loads, the right one with its own."""
    x2, x4, x6 = _halves(nodes, x, i)
    low = nodes[0][0] * x[i] + nodes[1][0] * x2 + nodes[3][0] * x4
    return low, x[i + 7] + nodes[6][1] * x[i + 6] + nodes[5][1] * x6 + nodes[3][1] * x4


@part
def _value(node, x, left, right):
    return node[2] * x + node[0] * left + node[1] * right  # eq: block-green


@part
def _fill(nodes, x, left, right, i, u):
    """Write the values of a block, without its right end, and give a number that is not finite if one is not.

    That number may also be too large; then somebody has to look.
    """
    x2, x4, x6 = _halves(nodes, x, i)
    u4 = _value(nodes[3], x4, left, right)
    u2, u6 = _value(nodes[1], x2, left, u4), _value(nodes[5], x6, u4, right)
    kind = u.dtype.type
    v0, v2, v4, v6 = kind(left), kind(u2), kind(u4), kind(u6)
    v1, v3 = kind(_value(nodes[0], x[i], left, u2)), kind(_value(nodes[2], x[i + 2], u2, u4))
    v5, v7 = kind(_value(nodes[4], x[i + 4], u4, u6)), kind(_value(nodes[6], x[i + 6], u6, right))
    u[i], u[i + 1], u[i + 2], u[i + 3] = v0, v1, v2, v3
    u[i + 4], u[i + 5], u[i + 6], u[i + 7] = v4, v5, v6, v7
    # Loads that are read all, in a row, are read several at a time.
    return (v0 + v1) + (v2 + v3) + (v4 + v5) + (v6 + v7) + x[i + 7]


# Blocks of a level.


@intrinsic
def _request(typing, x, i):
    """Have memory with x[i] brought to the cache, without waiting for it; i may be past the end."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [voidptr_t, int32_t, int32_t, int32_t])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [voidptr_t], kind)
        # To be read, to the second cache, and data.
        builder.call(prefetch, [place, int32_t(0), int32_t(2), int32_t(1)])
        return context.get_dummy_value()

    return types.void(x, types.intp), generate


@part
def _from(x, i):
    # Only for loops that count no references, as this one.
    if x is not None:
        return x[i:]
    return None


@part
def _request_some(x, i):
    """Request what a block and some after it will need, which are not the next."""
    for at in range(AHEAD, AHEAD + SOME * CELLS * x.itemsize, LINE):
        _request(x, i + at // x.itemsize)


@part
def _restrict(x, k, s, weights, before, out):
    """Write the loads of the left ends of blocks, and give what the right end of the last one has so far.

    x and s begin with the first inner node.
    """
    nodes = _alike(weights)
    for j in range(out.size):
        if k is not None:
            nodes, _ = _block(k, s, CELLS * j)
        low, high = _sums(nodes, x, CELLS * j)
        out[j] = before + low
        before = high
    return before


@part
def _finish(x, k, s, weights, c, u):
    """Write the values of blocks whose ends have the values c, and say whether they may not be finite."""
    bad = 0
    nodes = _alike(weights)
    for j in range(c.size - 1):
        if k is not None:
            nodes, _ = _block(k, s, CELLS * j)
        found = _fill(nodes, x, c[j], c[j + 1], CELLS * j, u)  # eq: block-solution
        bad |= found - found != 0
    return bad


@part
def _last(x, at, cells, blocks, room):
    """Copy the loads of the last block's nodes, from its first inner one on; zeros where it is short."""
    first = CELLS * (blocks - 1) + 1
    for i in range(CELLS):
        node = first + i
        room[i] = x[at + node] if node <= cells and at + node < x.size else 0


@lean
def down(x, at, cells, blocks, k, s, weights, last, start, stop, room, out):
    """Write the loads of the left ends of some blocks, and of the last node of all.

    Node i has the load ``x[at + i]``, or none if there is none. What the right end of these blocks receives
    is returned, if that is not the last node.
    """
    before = x[at] + 0.0 if start == 0 and at == 0 else 0.0
    full = min(stop, blocks - 1)
    step = SOME if full - start >= FAR else max(1, full - start)
    for j in range(start, full, step):
        i, to = CELLS * j, out[j : min(j + step, full)]
        if step == SOME:
            _request_some(x, i)
        before = _restrict(x[at + i + 1 :], _from(k, i), _from(s, i + 1), weights, before, to)
    if stop < blocks:
        return before
    _last(x, at, cells, blocks, room)
    low, high = _sums(_of(last), room, FIRST)
    out[blocks - 1], out[blocks] = before + low, high
    return 0.0


@lean
def up(x, at, cells, blocks, k, s, weights, last, start, stop, room, c, u):
    """Write the values of some blocks, and of the last node of all; say whether they may not be finite."""
    full, bad = min(stop, blocks - 1), False
    step = SOME if full - start >= FAR else max(1, full - start)
    for j in range(start, full, step):
        i, ends = CELLS * j, c[j : min(j + step, full) + 1]
        if step == SOME:
            _request_some(x, i)
        bad |= _finish(x[at + i + 1 :], _from(k, i), _from(s, i + 1), weights, ends, u[i:])
    if stop < blocks:
        return bad
    _last(x, at, cells, blocks, room)
    first, found = CELLS * full, room[CELLS:]
    _fill(_of(last), room, c[full], c[blocks], FIRST, found)
    for i in range(first, cells + 1):
        u[i] = found[i - first] if i < cells else c[blocks]
        bad |= u[i] - u[i] != 0
    return bad


# All of a chain.


@lean
def condense(blocks, k, s, start, stop, coarse_k, coarse_s):
    """Write what blocks conduct, and the row sums of their left ends, but for the last block.

    What the right end of these blocks receives is returned.
    """
    full, first, before = min(stop, blocks - 1), CELLS * start, 0.0
    own_k, own_s = _from(k, first), _from(s, first + 1)
    if s is not None:
        before = s[0] + 0.0 if start == 0 else 0.0
    for j in range(full - start):
        nodes, coarse_k[start + j] = _block(own_k, own_s, CELLS * j)
        if s is not None:
            low, high = _sums(nodes, own_s, CELLS * j)
            coarse_s[start + j] = before + low
            before = high
    return before


def eliminate(k: list[float], s: list[float]) -> tuple[list[tuple[float, float, float]], float, float, float]:
    """Eliminate one block, which may be short, by the conductances of its cells and its inner row sums.

    Give the weights of its inner nodes, its conductance, and what the row sums give to its two ends. It is
    not compiled: that takes longer than all blocks of which a chain needs the weights.
    """
    k = [*k, *[math.inf] * (CELLS - len(k))]
    s = [0.0, *s, *[0.0] * (CELLS - len(s))]
    weights, step = [(0.0, 0.0, 0.0)] * (CELLS - 1), 1
    while step < CELLS:
        for i in range(step, CELLS, 2 * step):
            pivot = k[i - step] + k[i] + s[i]
            inverse = 1 / pivot if pivot else math.inf
            joined = k[i] == math.inf
            left, right = (0.0, 1.0) if joined else (k[i - step] * inverse, k[i] * inverse)
            k[i - step] *= right
            s[i - step] += left * s[i]
            s[i + step] += right * s[i]
            weights[i - 1] = left, right, inverse
        step *= 2
    return weights, k[0], s[0], s[CELLS]


@part
def _close(b_left, b_right, numbers):
    """Solve the last chain, a single cell, with what holds at its ends."""
    left, right, end_left, end_right = numbers[0], numbers[1], numbers[2], numbers[3]
    k, s_left, s_right = numbers[4], numbers[5], numbers[6]
    if end_left == JOINED:
        total = s_left + s_right
        left = right = (b_left + b_right) / total if total else 0.0
    elif end_left == FREE and end_right == FREE:
        # The right end eliminated: what of its load and of its row sum the left end receives.
        passed = k / (k + s_right)
        total = s_left + passed * s_right
        left = (b_left + passed * b_right) / total if total else 0.0
        right = (b_right + k * left) / (k + s_right)
    elif end_left == FREE:
        left = (b_left + k * right) / (k + s_left)
    elif end_right == FREE:
        right = (b_right + k * left) / (k + s_right)
    return left, right


@lean
def solve(
    b, at, cells, starts, k, s, coarse_k, coarse_s, weights, last, numbers, start, stop, rooms, u, phase, ends
):
    """Solve for some rows of loads; say whether values may not be finite.

    The chain is cut into blocks ``len(last)`` times; the nodes of level i + 1 begin at ``starts[i]`` among
    those of all levels but the first. For these a room has loads and values, and some more.

    There is a room for all rows, or one for each. Where it is done in two phases, which needs the latter,
    the first gives the loads of the two ends of each row, and the second takes their values.
    """
    levels, bad = len(last), False
    total = starts[levels]
    w, z, top, m = weights[0], last[0], starts[levels - 1], cells[1]
    for row in range(start, stop):
        own = rooms[min(row, len(rooms) - 1)]
        loads, values, room = own[:total], own[total:], own[2 * total :]
        if phase != UP:
            down(b[row], at, cells[0], m, k, s, w, z, FIRST, m, room, loads)
            for i in range(1, levels):
                low, high, n = starts[i - 1], starts[i], cells[i + 1]
                x, kc, sc = loads[low:high], _from(coarse_k, low), _from(coarse_s, low)
                down(x, FIRST, cells[i], n, kc, sc, weights[i], last[i], FIRST, n, room, loads[high:])
        if phase == DOWN:
            ends[row, 0], ends[row, 1] = loads[top], loads[top + 1]
            continue
        if phase == UP:
            values[top], values[top + 1] = ends[row, 0], ends[row, 1]
        else:
            values[top], values[top + 1] = _close(loads[top], loads[top + 1], numbers)
        for i in range(levels - 1, 0, -1):
            low, high, n = starts[i - 1], starts[i], cells[i + 1]
            x, kc, sc, c = loads[low:high], _from(coarse_k, low), _from(coarse_s, low), values[high:]
            up(x, FIRST, cells[i], n, kc, sc, weights[i], last[i], FIRST, n, room, c, values[low:])
        bad |= up(b[row], at, cells[0], m, k, s, w, z, FIRST, m, room, values, u[row])
    return bad
