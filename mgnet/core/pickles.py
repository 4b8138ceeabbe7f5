"""Pickles from strangers: a stack machine that puts plain types together, and calls what its owner knows.

A pickle is a program, and Python's own reader runs it. This one reads the same opcodes and does nothing with
them but what stands here: numbers, strings, lists, tuples and dictionaries. What else a kind of pickle may
name and call, its owner says (:mod:`mgnet.core.untrusted` for tensors, :mod:`mgnet.data.pickled` for arrays),
and those are methods of the machine: nothing that a pickle names is ever looked up in a module.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeVar

__all__ = ["STEPS", "Function", "Machine", "require", "run"]

OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
NAMED = 128  # letters of a name that a message shows


class Function(NamedTuple):
    """What a pickle may call: a method of the machine."""

    name: str


class Machine:
    """A stack on which a pickle puts things together, and what it may name, by 'module name'."""

    keys: tuple[type, ...] = (str, int)
    what = "pickle of plain types"

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.known: dict[str, Any] = {}

    def mark(self, _: None) -> None:
        """Begin a row of items."""
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Take away the row that was begun last."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def pack(self, items: list[Any]) -> None:
        """Put a tuple on the stack."""
        self.stack.append(tuple(items))

    def pack_last(self, count: int) -> None:
        """Make a tuple of what was put there last."""
        if len(self.stack) < count:
            raise ValueError("it takes more than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        self.pack(items)

    def append(self, items: list[Any]) -> None:
        """Append items to the list on top."""
        require(type(self.stack[-1]) is list, "appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Set keys and values, in turn, of the dictionary on top."""
        target, keys = self.stack[-1], items[::2]
        require(isinstance(target, dict), "sets items of what is no dictionary")
        # Others are not only none that anybody saves: the hash of nested tuples can take for ever.
        require(all(type(key) in self.keys for key in keys), "has keys that are no strings or integers")
        target.update(zip(keys, items[1::2], strict=True))

    def look_up(self, name: str) -> None:
        """Put on the stack what is known by 'module name'."""
        require(name in self.known, f"names {'.'.join(name.split())[:NAMED]}, which no {self.what} has")
        self.stack.append(self.known[name])

    def call(self, _: None) -> None:
        """Call a method of this machine by what stands for it."""
        arguments, function = self.stack.pop(), self.stack.pop()
        require(type(function) is Function, "calls what is no function")
        try:
            self.stack.append(getattr(self, function.name)(*arguments))
        except TypeError:
            raise ValueError("it calls a function with other arguments") from None

    def build(self, _: None) -> None:
        """Give the object below the top the state on top."""
        state = self.stack.pop()
        self.set_state(self.stack[-1], state)

    def set_state(self, target: Any, state: Any) -> None:
        """Give an object its state; the owner says to which kinds."""
        raise ValueError("it sets attributes")

    def remember(self, place: int) -> None:
        """Note what is on top, to be shared."""
        self.memo[place] = self.stack[-1]

    def push(self, value: Any) -> None:
        """Put something on the stack."""
        self.stack.append(value)


def require(holds: bool, otherwise: str) -> None:
    """Raise a ValueError that says what the pickle does, unless something holds."""
    if not holds:
        raise ValueError(f"it {otherwise}")


Kind = TypeVar("Kind", bound=Machine)


def run(
    pickled: bytes | BinaryIO,
    machine: Kind,
    steps: Mapping[str, Callable[[Kind, Any], None]],
    most: int,
) -> Any:
    """Return what a pickle describes, in a stream the next one.

    Another opcode than those of the table, or too many of them, is a ValueError. Containers may be shared,
    and hold themselves. Of a pickle that is cut short, or that takes what is not there, an IndexError or a
    KeyError says so.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in the lines of damaged files
        stream = io.BytesIO(pickled) if isinstance(pickled, bytes) else pickled
        return _run(stream, machine, steps, most)


def _run(stream: BinaryIO, machine: Kind, steps: Mapping[str, Callable[[Kind, Any], None]], most: int) -> Any:
    for _ in range(most):
        opcode = OPCODES.get(stream.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError("it does not end, or does what no pickle does")
        if opcode.name == "STOP":
            return machine.stack.pop()
        # Looked up first: what no step takes is not even decoded.
        step = steps.get(opcode.name)
        if step is None:
            raise ValueError(f"it does {opcode.name}")
        step(machine, None if opcode.arg is None else opcode.arg.reader(stream))
    raise ValueError(f"it takes more than {most} steps")


# What plain types need of the opcodes of protocol 2.
STEPS: dict[str, Callable[[Any, Any], None]] = {
    "MARK": Machine.mark,
    "GLOBAL": lambda machine, name: machine.look_up(name),
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.pack(machine.since_mark()),
    "TUPLE1": lambda machine, _: machine.pack_last(1),
    "TUPLE2": lambda machine, _: machine.pack_last(2),
    "TUPLE3": lambda machine, _: machine.pack_last(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Machine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), Machine.push),
}
