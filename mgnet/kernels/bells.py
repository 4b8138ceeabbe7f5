"""How threads that share a loop hear of each other while they are without Python's lock.

The lock takes long to change hands: whoever finds it taken falls asleep. So a thread that has work for others
rings when it is in a compiled loop, and those who are awake come while the lock is free; and it stays in that
loop until they have given the lock back. A bell is an array of one number that is counted up, another of how
many are at work, and how many looks at that a thread takes before it goes on.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compiling import inlined, lean

__all__ = ["BUSY", "RUNG", "SILENT", "attend", "bell", "count", "listen", "look", "looks_in", "ring"]

# Looks at a number that a thread takes which is done, and after those that found something.
LOOKS, AFTER = 2**11, 2**13
# Looks that are timed at once, and how often.
TIMED, TIMES = 100, 20

# What is counted up when there is work, how many are at work for others, and what nobody looks at; each has
# lines of cache of its own.
RUNG, BUSY, _STILL = np.zeros((4, 32), np.int64)[1:, :1]
SILENT = _STILL, _STILL, 0


def bell(waits: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Return what a loop rings, and after which it waits for others or not."""
    return RUNG, BUSY, LOOKS if waits else 0


@intrinsic
def _seen(typing: Any, x: Any) -> Any:
    """Read a number that another thread may write, each time anew."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(pointer, "monotonic", 8)

    return types.int64(x), generate


@intrinsic
def _add(typing: Any, x: Any, more: Any) -> Any:
    """Add to a number that other threads add to as well."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")
        return context.get_dummy_value()

    return types.none(x, types.int64), generate


@intrinsic
def _rest(typing: Any) -> Any:
    """Let the processor rest for a moment, where there is a word for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            name, kind = "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.none(), generate


@inlined
def ring(bell):
    """Say that there is work for others."""
    _add(bell[0], 1)


@inlined
def attend(bell):
    """Look until nobody is at work for others any more, or as often as the bell says."""
    for _ in range(bell[2]):
        if _seen(bell[1]) == 0:
            break
        _rest()


@lean
def look(flag: Any, most: Any) -> Any:
    """Look at a number until it is not zero, or so many times; then a little longer.

    Whoever has written it has Python's lock for so long, and to wait for that is to be woken again.
    """
    for _ in range(most):
        if _seen(flag):
            break
    for _ in range(AFTER):
        _seen(flag)


@lean
def listen(rung: Any, known: Any, busy: Any, most: Any) -> Any:
    """Leave off work until the bell rings, or for so many looks, and say whether it has.

    It has where another number is seen than was known.
    """
    _add(busy, -1)
    for _ in range(most):
        if _seen(rung) != known:
            _add(busy, 1)
            return True
        _rest()
    return False


@lean
def count(busy: Any, more: Any) -> Any:
    """Count those at work."""
    _add(busy, more)


def looks_in(seconds: float) -> int:
    """Return how many looks of :func:`listen` take so long; of many timings the shortest is not disturbed."""
    rung, busy = np.zeros((2, 1), np.int64)
    taken = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        listen(rung, 0, busy, TIMED)
        taken.append(time.perf_counter() - begin)
    return int(TIMED * seconds / min(taken))
