"""Memory that is asked for before it is needed, so that it comes while there is something else to do."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compiling import inlined

__all__ = ["FAR", "ask"]

# Bytes of a vector that the caches do not hold beside others. What they hold is as well read when needed.
FAR = 6 * 2**20
# Bytes that memory hands out at a time.
LINE = 64


@intrinsic
def _ask(typing: Any, x: Any, place: Any) -> Any:
    """Have the cache fetch what a place of an array stands in; it may lie beyond the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        # To be read, and to stay in the second cache, of data.
        builder.call(fetch, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.none(x, types.intp), generate


@inlined
def ask(x, place, count):
    """Have so many numbers of an array fetched, from a place on."""
    for k in range(place, place + count, LINE // x.itemsize):
        _ask(x, k)
