"""Batch normalisation with ReLU, and its derivatives, in as few passes over memory as there can be.

Numbers lie with the channels of a pixel together, in one row. What there is for each channel, as scale and
shift, comes repeated to a *tile* of some hundred numbers: processors work on 8 to 32 at a time, and most
networks begin with fewer channels than pay for a loop of their own. A row is cut into *blocks* of whole
tiles, each with sums of its own, so that the number of threads is not seen in a result.

bfloat16 comes as its bits, uint16: the upper half of a float32, in which it is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compiling import lean, part

__all__ = ["BLOCK", "blocks", "join", "mask", "moments", "pull", "pull_within", "rectify", "settle"]
__all__ += ["settle_back", "tile"]

# Numbers of a tile and of a block: what there is of a tile has room in the nearest cache.
TILE, BLOCK = 1024, 2**15

_BITS, _HALF, _SINGLE = ir.IntType(32), ir.IntType(16), ir.FloatType()


def tile(channels: int) -> int:
    """Return how many numbers a tile has: whole pixels."""
    return channels * max(1, TILE // channels)


def blocks(size: int, length: int) -> int:
    """Return how many blocks a row of so many numbers has, with tiles of some length."""
    return -(-size // (max(1, BLOCK // length) * length))


@intrinsic
def wide(typing: Any, x: Any) -> Any:
    """Give a number that can be computed with: of the bits of a bfloat16 the float32, which is exact."""
    if isinstance(x, types.Float):
        return x(x), lambda context, builder, signature, arguments: arguments[0]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _BITS), _BITS(16)), _SINGLE)

    return types.float32(types.uint16), generate


class _BrainFloat(ir.Type):
    """The type that LLVM has, and llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"


def _rounds() -> bool:
    """Say whether this processor rounds to bfloat16 itself, which LLVM otherwise may ask a library for."""
    config: Any = numba.config
    return not config.CPU_NAME and bool(llvm.get_host_cpu_features().get("avx512bf16"))


_ROUNDS = _rounds()


def _rounded(builder: Any, y: Any) -> Any:
    """Give the bits of the nearest bfloat16, of two the even one, as torch does."""
    if _ROUNDS:
        return builder.bitcast(builder.fptrunc(y, _BrainFloat()), _HALF)
    bits = builder.bitcast(y, _BITS)
    even = builder.and_(builder.lshr(bits, _BITS(16)), _BITS(1))
    rounded = builder.lshr(builder.add(bits, builder.add(even, _BITS(0x7FFF))), _BITS(16))
    # Rounding could carry the bits of a NaN over into those of a zero.
    nan = builder.fcmp_unordered("uno", y, y)
    return builder.trunc(builder.select(nan, _BITS(0x7FC0), rounded), _HALF)


@intrinsic
def narrow(typing: Any, y: Any, like: Any) -> Any:
    """Give a number as ``like`` is: as it is, or rounded to a bfloat16."""
    if isinstance(like, types.Float):
        return like(y, like), lambda context, builder, signature, arguments: arguments[0]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _rounded(builder, arguments[0])

    return types.uint16(types.float32, types.uint16), generate


@part
def _add(x, pivot, first, second):
    for k in range(len(x)):
        d = wide(x[k]) - pivot[k]
        first[k] += d
        second[k] += d * d


@part
def _fold(sums, totals):
    """Add up the sums of a tile for each channel, in float64."""
    channels = totals.shape[1]
    for s in range(2):
        for c in range(channels):
            totals[s, c] = 0.0
        for k in range(0, sums.shape[1], channels):
            for c in range(channels):
                totals[s, c] += sums[s, k + c]


@lean
def moments(x, pivot, sums, totals, i, j):
    """Add up x − pivot and its squares in blocks i to j.

    ``totals`` has shape (blocks, 2, channels), and ``sums`` (blocks, 2, tile) is for the way there.
    """
    n = len(pivot)
    block = max(1, BLOCK // n) * n
    for b in range(i, j):
        sums[i] = 0
        for k in range(b * block, min((b + 1) * block, len(x)), n):
            _add(x[k : k + n], pivot, sums[i, 0], sums[i, 1])
        _fold(sums[i], totals[b])


@lean
def settle(totals, pivot, weight, bias, eps, count, statistics, tiles):
    """Give scale and shift of every channel as tiles, and mean, variance and 1/√(variance + eps)."""
    channels, n = totals.shape[2], tiles.shape[1]
    for c in range(channels):
        first = second = 0.0
        for b in range(len(totals)):
            first += totals[b, 0, c]
            second += totals[b, 1, c]
        first, second = first / count, second / count
        mean, variance = first + pivot[c], max(second - first * first, 0.0)  # NaN stays NaN
        inverse = 1 / math.sqrt(variance + eps)
        statistics[0, c], statistics[1, c], statistics[2, c] = mean, variance, inverse
        for k in range(c, n, channels):
            tiles[0, k] = weight[c] * inverse
            tiles[1, k] = bias[c] - mean * weight[c] * inverse
            tiles[2, k] = mean


@lean
def settle_back(totals, weight, statistics, count, gradients, tiles):
    """Give scale, slope and shift for :func:`pull` as tiles, and the gradients of weight and bias."""
    channels, n = totals.shape[2], tiles.shape[1]
    for c in range(channels):
        shift = slope = 0.0
        for b in range(len(totals)):
            shift += totals[b, 0, c]
            slope += totals[b, 1, c]
        inverse = statistics[2, c]
        scale = weight[c] * inverse
        gradients[0, c], gradients[1, c] = slope * inverse, shift
        for k in range(c, n, channels):
            tiles[0, k] = scale
            tiles[1, k] = -scale * slope * inverse * inverse / count
            tiles[2, k] = -scale * shift / count


@part
def _rectify(x, scale, shift, y):
    zero = scale.dtype.type(0)
    for k in range(len(x)):
        v = wide(x[k]) * scale[k] + shift[k]
        y[k] = narrow(zero if v <= 0 else v, x[k])  # NaN stays NaN


@lean
def rectify(x, scale, shift, y, i, j):
    """Write y = relu(scale x + shift) for blocks i to j."""
    n = len(scale)
    block = max(1, BLOCK // n) * n
    for k in range(i * block, min(j * block, len(x)), n):
        _rectify(x[k : k + n], scale, shift, y[k : k + n])


@part
def _join(x, scale, shift, skip, y):
    zero = scale.dtype.type(0)
    for k in range(len(x)):
        v = wide(x[k]) * scale[k] + shift[k] + wide(skip[k])
        y[k] = narrow(zero if v <= 0 else v, x[k])


@lean
def join(x, scale, shift, skip, y, i, j):
    """Write y = relu(scale x + shift + skip) for blocks i to j."""
    n = len(scale)
    block = max(1, BLOCK // n) * n
    for k in range(i * block, min(j * block, len(x)), n):
        _join(x[k : k + n], scale, shift, skip[k : k + n], y[k : k + n])


@part
def _mask(g, y, x, mean, d, first, second):
    zero = mean.dtype.type(0)
    for k in range(len(x)):
        v = zero if wide(y[k]) <= 0 else wide(g[k])
        first[k] += v
        second[k] += v * (wide(x[k]) - mean[k])
        d[k] = narrow(v, x[k])


@lean
def mask(g, y, x, mean, d, sums, totals, i, j):
    """Write d, the g where y is positive, and add up d and d (x − mean), as :func:`moments` does."""
    n = len(mean)
    block = max(1, BLOCK // n) * n
    for b in range(i, j):
        sums[i] = 0
        for k in range(b * block, min((b + 1) * block, len(x)), n):
            m = k + n
            _mask(g[k:m], y[k:m], x[k:m], mean, d[k:m], sums[i, 0], sums[i, 1])
        _fold(sums[i], totals[b])


@part
def _pull(d, x, mean, scale, slope, shift, out):
    for k in range(len(x)):
        out[k] = narrow(wide(d[k]) * scale[k] + (wide(x[k]) - mean[k]) * slope[k] + shift[k], x[k])


@lean
def pull(d, x, mean, scale, slope, shift, out, i, j):
    """Write scale d + slope (x − mean) + shift for blocks i to j."""
    n = len(mean)
    block = max(1, BLOCK // n) * n
    for k in range(i * block, min(j * block, len(x)), n):
        m = k + n
        _pull(d[k:m], x[k:m], mean, scale, slope, shift, out[k:m])


@part
def _pull_within(d, x, mean, scale, slope, shift):
    for k in range(len(x)):
        d[k] = narrow(wide(d[k]) * scale[k] + (wide(x[k]) - mean[k]) * slope[k] + shift[k], x[k])


@lean
def pull_within(d, x, mean, scale, slope, shift, i, j):
    """Write over d what :func:`pull` makes of it, which would go number by number there."""
    n = len(mean)
    block = max(1, BLOCK // n) * n
    for k in range(i * block, min(j * block, len(x)), n):
        m = k + n
        _pull_within(d[k:m], x[k:m], mean, scale, slope, shift)
