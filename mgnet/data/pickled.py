"""Pickles of arrays, as Python saves them: numbers, strings, lists and arrays come out, nothing else happens.

The Python form of CIFAR is such files, and who has it got it from somewhere. They are read by
:mod:`mgnet.core.pickles`: the names below are all that a file may call, none of them is looked up in a
module, and no array and no string becomes larger than the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.pickles import STEPS, Function, Machine, require, run

__all__ = ["OPCODES", "unpickled"]

# The largest published file, the training set of CIFAR-100, takes some 300,000 steps.
OPCODES = 2**20
KINDS = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
AXES = 8


def unpickled(content: bytes) -> Any:
    """Return what a pickle of protocol 2 to 5 describes, strings of Python 2 as text of Latin-1.

    What is no array, number, string, list, tuple, dictionary or None, and what is cut short, is a ValueError.
    """
    try:
        return run(content, _Machine(len(content)), ARRAY_STEPS, OPCODES)
    except LookupError:
        raise ValueError("it takes what is not there") from None


class _Type:
    """The type of an array's numbers, whose order of bytes is known later."""

    def __init__(self, kind: str) -> None:
        self.kind, self.order = kind, "|"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.kind)


class _Machine(Machine):
    """Plain types, and arrays whose bytes are in the file."""

    keys = (str, int, bytes)
    what = "pickle of arrays"

    def __init__(self, size: int) -> None:
        super().__init__()
        # Bytes that may be made of the file's: otherwise one string in it could become a thousand arrays.
        self.left = 2 * size
        self.known = {"numpy ndarray": "ndarray", "numpy dtype": Function("dtype")}
        # Bytes, as Python 3 saves them for Python 2.
        self.known |= {"_codecs encode": Function("encode"), "__builtin__ bytes": Function("no_bytes")}
        for core in ("numpy.core", "numpy._core"):
            self.known[f"{core}.multiarray _reconstruct"] = Function("empty")
            self.known[f"{core}.multiarray scalar"] = Function("scalar")
            self.known[f"{core}.numeric _frombuffer"] = Function("array")

    def spend(self, size: int) -> None:
        self.left -= size
        require(self.left >= 0, "becomes larger than the file")

    def look_up_stacked(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        require(type(name) is type(module) is str, "names what is no name")
        self.look_up(f"{module} {name}")

    def memoize(self, _: None) -> None:
        self.remember(len(self.memo))

    def empty(self, kind: Any, shape: Any, typecode: Any) -> np.ndarray:
        require(kind == "ndarray" and shape == (0,), "begins an array in another way than numpy")
        return np.empty(0, np.uint8)

    def dtype(self, kind: Any, align: Any = False, copy: Any = True) -> _Type:
        kind = kind.decode("latin-1") if type(kind) is bytes else kind
        require(type(kind) is str and kind in KINDS, "has arrays of what are no numbers")
        return _Type(kind)

    def encode(self, text: Any, encoding: Any) -> bytes:
        require(type(text) is str and encoding == "latin1", "encodes in another way than Python")
        self.spend(len(text))
        return bytes(_bytes(text))

    def no_bytes(self) -> bytes:
        return b""

    def scalar(self, kind: Any, content: Any) -> Any:
        return self.array(content, kind, (), "C").item()

    def array(self, content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
        """Return an array that shares the bytes of the pickle, where they are bytes."""
        require(type(kind) is _Type, "has an array of no type")
        require(type(content) in (bytes, bytearray, str), "has an array of no bytes")
        whole = type(shape) is tuple and len(shape) <= AXES and all(type(n) is int and n >= 0 for n in shape)
        require(whole and order in ("C", "F"), "has an array of no shape")
        dtype, size = kind.numpy(), len(content)
        require(math.prod(shape) * dtype.itemsize == size, "has an array of another size than its bytes")
        self.spend(size)
        return np.frombuffer(_bytes(content), dtype).reshape(shape, order=order)

    def set_state(self, target: Any, state: Any) -> None:
        require(type(state) is tuple, "sets attributes")
        if type(target) is _Type:
            require(len(state) == 8 and state[0] == 3, "has arrays of what are no numbers")
            require(state[1] in ("|", "<", ">", b"|", b"<", b">"), "has numbers of no order of bytes")
            target.order = state[1] if type(state[1]) is str else state[1].decode()
            return
        require(isinstance(target, np.ndarray) and len(state) == 5, "sets attributes")
        _, shape, kind, fortran, content = state
        made = self.array(content, kind, shape, "F" if fortran else "C")
        # The array may stand in a list already; what it is given has been looked at.
        target.__setstate__((1, made.shape, made.dtype, bool(fortran), made.tobytes("A")))


def _bytes(content: bytes | bytearray | str) -> bytes | bytearray:
    """Return bytes; pickletools gives the strings of Python 2 as text, a letter for each byte."""
    try:
        return content.encode("latin-1") if isinstance(content, str) else content
    except UnicodeEncodeError:
        raise ValueError("it has text where bytes are wanted") from None


def _protocol(_: Any, number: int) -> None:
    require(2 <= number <= 5, f"is of protocol {number}; accepted: 2 to 5")


# What numpy's arrays need besides plain types, and what newer protocols call the same.
ARRAY_STEPS: dict[str, Callable[[Any, Any], None]] = {
    **STEPS,
    "PROTO": _protocol,
    "FRAME": lambda machine, _: None,
    "STACK_GLOBAL": _Machine.look_up_stacked,
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE8"), Machine.push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), Machine.push),
}
