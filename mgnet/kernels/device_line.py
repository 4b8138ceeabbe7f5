"""The elimination of a line on a GPU, in Triton: two launches a level, which read and write vectors once.

A program works on some blocks of cells, of any rows, each by one of its lanes: that eliminates the inner
nodes of a block from the left to the right, and finds their values on the way back. Pivots are sums of
conductances and row sums, so nothing is subtracted, as in :mod:`mgnet.kernels.chains`, and all is computed in
float64. Between the two a row keeps a number for each node, and all rows together two, which lie so that
neighbouring lanes have neighbouring places.

Loads and row sums may be the sum of two vectors: of coarse nodes, what their right and their left blocks give
them.
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


__all__ = ["close", "eliminate", "fill"]

# Sizes are numbers like others: lines of all lengths, wherever they stand, share one kernel.
SIZES = ["rows", "cells", "blocks", "at", "size", "stride"]
NUMBERS = ["weights", "share", "to_k", "to_s", "to_b", "k", "s", "b", "u", "c", "given"]


@jit
def _blocks(rows, blocks, BLOCK: tl.constexpr):
    """Give the row of each lane, its block, and whether there is one."""
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return p // blocks, p % blocks, p < rows.to(tl.int64) * blocks


@jit
def _of_node(x, i, size, parts: tl.constexpr, ok):
    """Give the sum of all parts at some places; what has none there is zero."""
    total = i.to(tl.float64) * 0.0
    for part in tl.static_range(parts):
        total += tl.load(x + part * size + i, ok & (i >= 0) & (i < size), 0.0).to(tl.float64)
    return total


@jit
def _pass_on(to, first, last, nodes, j, low, high, own, ok):
    """Write what both ends of blocks receive, into vectors of their own."""
    tl.store(to + j, low, ok)
    tl.store(to + nodes + j + 1, tl.where(last, high + own, high), ok)
    tl.store(to + nodes + j, low * 0.0, ok & first)
    tl.store(to + j + 1, low * 0.0, ok & last)


@jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=NUMBERS)
def eliminate(
    weights, share, to_k, to_s, to_b, k, s, b, rows, cells, blocks, at, size,
    parts: tl.constexpr, sums: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what each inner node of a block takes from the left end, and from the next node, and its share.

    Beside them what blocks conduct, and what their ends receive of row sums and loads. Node i has the load
    ``b[at + i]`` of its row, or none if there is none.
    """
    row, j, ok = _blocks(rows, blocks, BLOCK)
    one, first, last = ok & (row == 0), j * CELLS, j == blocks - 1
    nodes, load = blocks.to(tl.int64) + 1, b + row * parts * size
    low, low_s = _of_node(load, first + at, size, parts, ok), _of_node(s, first, cells + 1, sums, ok)
    high, high_s = low * 0.0, low * 0.0
    through = tl.load(k + first, ok, 1.0).to(tl.float64)
    for i in range(1, CELLS):
        inner = ok & (first + i < cells)
        after = tl.load(k + first + i, inner, 1.0).to(tl.float64)
        own = _of_node(load, first + i + at, size, parts, inner) + high
        own_s = _of_node(s, first + i, cells + 1, sums, inner) + high_s
        inverse = 1.0 / (through + after + own_s)
        left, right = through * inverse, after * inverse
        place = i * blocks.to(tl.int64) + j
        tl.store(weights + place, left, inner & one)
        tl.store(weights + CELLS * blocks.to(tl.int64) + place, right, inner & one)
        tl.store(share + row * CELLS * blocks + place, own * inverse, inner)
        low, low_s = tl.where(inner, low + left * own, low), tl.where(inner, low_s + left * own_s, low_s)
        high, high_s = tl.where(inner, right * own, high), tl.where(inner, right * own_s, high_s)
        through = tl.where(inner, through * right, through)
    tl.store(to_k + j, through, one)
    end, end_s = _of_node(load, low.to(tl.int64) * 0 + cells + at, size, parts, ok), low * 0.0
    _pass_on(to_b + row * 2 * nodes, j == 0, last, nodes, j, low, high, end, ok)
    if sums > 0:
        end_s = _of_node(s, j * 0 + cells, cells + 1, sums, ok)
        _pass_on(to_s, j == 0, last, nodes, j, low_s, high_s, end_s, one)


@jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=NUMBERS)
def close(
    c, k, s, b, given, rows, at, size, stride,
    parts: tl.constexpr, sums: tl.constexpr, low: tl.constexpr, high: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the values of the ends of a cell, which have a value given, or Robin's alpha, or are joined.

    ``low`` and ``high`` are "dirichlet", "natural" or "periodic".
    """
    row, j, ok = _blocks(rows, 1, BLOCK)
    load, own = b + row * parts * size, given + row * stride
    left, right = tl.load(own, ok, 0.0), tl.load(own + 1, ok, 0.0)
    b_left, b_right = _of_node(load, j + at, size, parts, ok), _of_node(load, j + 1 + at, size, parts, ok)
    s_left, s_right = _of_node(s, j, 2, sums, ok), _of_node(s, j + 1, 2, sums, ok)
    through = tl.load(k + j, ok, 1.0).to(tl.float64)
    if low == "natural":
        s_left += left
    if high == "natural":
        s_right += right
        held = through + s_right
        # The right end eliminated: what of its load and of its row sum the left end receives.
        b_left += through / held * b_right
        s_left += through / held * s_right
    if low == "periodic":
        total = s_left + s_right
        left = tl.where(total == 0, 0.0, (b_left + b_right) / tl.where(total == 0, 1.0, total))
        right = left
    elif low == "natural":
        if high == "natural":
            total = s_left
        else:
            total = through + s_left
            b_left += through * right
        left = tl.where(total == 0, 0.0, b_left / tl.where(total == 0, 1.0, total))
    if high == "natural":
        right = (b_right + through * left) / held
    tl.store(c + 2 * row, left, ok)
    tl.store(c + 2 * row + 1, right, ok)


@jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=NUMBERS)
def fill(u, c, weights, share, rows, cells, blocks, CELLS: tl.constexpr, BLOCK: tl.constexpr):
    """Write the values of all nodes, given those of the ends of blocks, c."""
    row, j, ok = _blocks(rows, blocks, BLOCK)
    first, wide, out = j * CELLS, blocks.to(tl.int64), u + row * (cells + 1)
    left = tl.load(c + row * (wide + 1) + j, ok, 0.0)
    value = tl.load(c + row * (wide + 1) + j + 1, ok, 0.0)
    tl.store(out + first, left, ok)
    tl.store(out + j * 0 + cells, value, ok & (j == blocks - 1))
    for back in range(1, CELLS):
        i = CELLS - back
        inner, place = ok & (first + i < cells), i * wide + j
        own = tl.load(share + row * CELLS * wide + place, inner, 0.0)
        own += tl.load(weights + place, inner, 0.0) * left
        own += tl.load(weights + CELLS * wide + place, inner, 0.0) * value
        value = tl.where(inner, own, value)
        tl.store(out + first + i, value, inner)
