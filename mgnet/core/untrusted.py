"""Archives of torch from strangers: what unpacking one costs is known before torch is asked to do it.

Such an archive is a zip whose entries are the memory of tensors and one pickle that says how they belong
together. Both are read here with a fraction of what their formats allow, just as ``torch.save`` writes them:
entries that are stored and lie beside each other, opcodes that put together plain types, and tensors that
stay inside of the memory that is there. So torch allocates no more than the archive holds, whatever a pickle
says, and neither shared nor nested lists become more than they take in the file.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from .pickles import STEPS, Function, Machine, require, run

__all__ = ["OPCODES", "STORAGES", "TENSORS", "entries", "is_legacy", "legacy", "outline"]

# Bounds of what is not the memory of tensors: entries and the length of their names; tensors; bytes of the
# pickle, and its opcodes, each of which takes some 100 bytes of memory at most.
ENTRIES, NAME, TENSORS, PICKLE, OPCODES = 2**16, 128, 2**15, 2**24, 2**20

# The records of a zip, as in its specification (APPNOTE, 4.3): the one before each entry, the one for each
# entry in the directory, and the three at the end. An archive of torch has all three, whatever its size.
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4sQ2H2L4Q 4sLQL 4s4H2LH")

# The number that files begin with which torch wrote before it took zips.
MAGIC = 0x1950A86A20F9469CFC6C

# What torch calls the memory of a tensor, by its dtype.
STORAGES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"ComplexDoubleStorage": torch.complex128, "ComplexFloatStorage": torch.complex64},
    "BoolStorage": torch.bool,
}


def entries(archive: memoryview) -> dict[str, memoryview]:
    """Return the entries of an archive by their names, without the folder that they are in.

    What is not just as ``torch.save`` writes it, and less than 4 GiB, is a ValueError.
    """
    count, start = _directory(archive)
    found: dict[str, memoryview] = {}
    for _ in range(count):
        name, place, size, start = _entry(archive, start)
        if name in found:
            raise ValueError(f"it has two entries {name!r}")
        found[name] = archive[place : place + size]
    if sum(map(len, found.values())) > len(archive):
        raise ValueError("its entries are larger than itself")
    folders = {name.partition("/")[0] for name in found}
    if len(folders) != 1:  # torch looks in the folder of the first
        raise ValueError("its entries are not in one folder")
    return {name.partition("/")[2]: content for name, content in found.items()}


def _directory(archive: memoryview) -> tuple[int, int]:
    """Return how many entries there are, and where the list of them begins."""
    place = len(archive) - END.size
    if place < 0 or bytes(archive[:4]) != b"PK\3\4":
        raise ValueError("it does not begin as a zip")
    end = END.unpack_from(archive, place)
    marks = end[0], end[10], end[14]
    count, length, start = end[7:10]
    if marks != (b"PK\6\6", b"PK\6\7", b"PK\5\6") or end[12] != place or start + length != place:
        raise ValueError("it does not end as one of torch")
    if count > ENTRIES:
        raise ValueError(f"it has {count} entries; accepted: up to {ENTRIES}")
    return count, start


def _entry(archive: memoryview, start: int) -> tuple[str, int, int, int]:
    """Return an entry's name in small letters, place and size, and where the next one's record is."""
    record = CENTRAL.unpack_from(archive, start)
    mark, *_, method, _, _, _, packed, size, name, extra, comment, _, _, _, place = record
    if mark != b"PK\1\2" or extra or comment or name > NAME:
        raise ValueError("its directory is not as torch writes it")
    start += CENTRAL.size
    # torch finds entries whatever the case of their letters.
    text = bytes(archive[start : start + name]).decode("ascii").lower()
    if not text.isprintable():
        raise ValueError(f"its entry {text!r} has no name")
    if method or packed != size:
        raise ValueError(f"its entry {text!r} is compressed")
    local = LOCAL.unpack_from(archive, place)
    first = place + LOCAL.size + local[-2] + local[-1]
    if local[0] != b"PK\3\4" or first + size > len(archive):
        raise ValueError(f"its entry {text!r} is not inside")
    return text, first, size, start + name


def outline(pickled: bytes, sizes: Mapping[str, int]) -> Any:
    """Return what a pickle describes, an empty tensor in place of each tensor; nothing in it is called.

    ``sizes`` says how many bytes the memory of tensors has, by the name that the pickle gives it. Containers
    may be shared, and hold themselves. What ``torch.save`` does not write for plain types and tensors, and
    tensors that do not lie in their memory, are a ValueError.
    """
    if len(pickled) > PICKLE:
        raise ValueError(f"it has {len(pickled)} bytes; accepted: up to {PICKLE}")
    return run(pickled, _Machine(sizes), TENSOR_STEPS, OPCODES)


def is_legacy(file: bytes) -> bool:
    """Say whether a file begins as torch wrote it before it took zips: a pickle of this number."""
    return file.startswith(pickle.dumps(MAGIC, 2))


def legacy(file: bytes) -> Any:
    """Return what such a file describes, as :func:`outline` does.

    There are five pickles in it: the number, a version, sizes of types, what was saved and the names of its
    memory, which comes behind them, each after its size in 8 bytes.
    """
    stream, machine = io.BytesIO(file), _Machine({}, len(file))
    _, _, _, saved, _ = (run(stream, machine, TENSOR_STEPS, OPCODES) for _ in range(5))
    memory = sum(8 + each.numel * each.dtype.itemsize for each in machine.storages.values())
    require(memory <= len(file) - stream.tell(), "is shorter than its tensors")
    return saved


class _Storage(NamedTuple):
    """The memory of tensors: in which entry, and how many numbers of which kind."""

    dtype: torch.dtype
    name: str
    numel: int


class _Machine(Machine):
    """As torch's own has it, with stand-ins for tensors."""

    what = "checkpoint"

    def __init__(self, sizes: Mapping[str, int], room: int | None = None) -> None:
        super().__init__()
        # The bytes of each memory; or where these are not known yet, of all together.
        self.sizes, self.room = sizes, room
        self.storages: dict[str, _Storage] = {}
        self.tensors = 0
        self.known = {
            "collections OrderedDict": Function("ordered"),
            "torch._utils _rebuild_tensor_v2": Function("tensor"),
            "torch._utils _rebuild_parameter": Function("parameter"),
            **{f"torch {name}": dtype for name, dtype in STORAGES.items()},
        }

    def set_state(self, target: Any, state: Any) -> None:
        known = type(state) is dict and [*state] == ["_metadata"]
        require(known and type(target) is OrderedDict, "sets attributes")
        target._metadata = state["_metadata"]

    def storage(self, _: None) -> None:
        kind, dtype, name, place, numel, *view = self.stack.pop()
        require(kind == "storage" and isinstance(dtype, torch.dtype), "refers to what is no memory")
        require((type(name), type(place), type(numel)) == (str, str, int), "refers to memory by no name")
        known = name in self.storages
        found = self.storages.setdefault(name, _Storage(dtype, name, numel))
        require(found == (dtype, name, numel), f"has memory {name[:NAME]!r} of two kinds")
        size = numel * dtype.itemsize
        if self.room is None:
            fits = not view and self.sizes.get(name) == size
        else:
            self.room -= 0 if known else size
            fits = view == [None] and size >= 0 and self.room >= 0
        require(fits, f"has memory {name[:NAME]!r} of another size")
        self.stack.append(found)

    def ordered(self) -> OrderedDict[Any, Any]:
        return OrderedDict()

    def tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, tracked: Any, hooks: Any
    ) -> torch.Tensor:
        shaped = type(shape) is type(strides) is tuple
        require(shaped and type(storage) is _Storage, "has a tensor of nothing")
        whole = all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides))
        require(whole and len(shape) == len(strides), "has a tensor of no shape")
        require(type(tracked) is bool and _none(hooks), "has a tensor with hooks")
        self.tensors += 1
        require(self.tensors <= TENSORS, f"has more than {TENSORS} tensors")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        end = offset if 0 in shape else max(last + 1, offset + math.prod(shape))
        require(end <= storage.numel, "has a tensor larger than its memory")
        return torch.empty(0)

    def parameter(self, tensor: Any, tracked: Any, hooks: Any) -> torch.Tensor:
        require(type(tensor) is torch.Tensor, "has a parameter of nothing")
        require(type(tracked) is bool and _none(hooks), "has a parameter with hooks")
        return tensor


def _none(hooks: Any) -> bool:
    return type(hooks) is OrderedDict and not hooks


# What torch.save needs besides plain types; torch.load knows more.
TENSOR_STEPS = {
    **STEPS,
    "PROTO": lambda _, number: require(number == 2, f"is of protocol {number}"),
    "BINPERSID": _Machine.storage,
}
