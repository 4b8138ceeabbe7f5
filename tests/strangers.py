"""Checkpoints as strangers make them: the hash is right, what is under it is not."""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from mgnet.checkpoint import MAGIC

NONE: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def sealed(payload: bytes) -> bytes:
    """Give a file in which the hash of a payload is right."""
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def payload(path: Path) -> bytes:
    """Give what stands under the hash of a file."""
    return path.read_bytes()[len(MAGIC) + 65 :]


def archive(pickled: bytes, records: dict[str, bytes]) -> bytes:
    """Give an archive that torch wrote, with any pickle and any memory in it."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in {"data.pkl": pickled, "byteorder": b"little", **records}.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getvalue()


class Call:
    """What becomes a call when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Memory:
    """What becomes the memory of a tensor."""

    def __init__(self, name: Any, numel: Any, kind: Any = torch.FloatStorage, word: Any = "storage") -> None:
        self.reference = (word, kind, name, "cpu", numel)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, Memory) else None


def forged(value: Any, **records: bytes) -> bytes:
    """Give an archive of a pickled value, with the memory of tensors by name."""
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return archive(buffer.getvalue(), {f"data/{name.lstrip('_')}": x for name, x in records.items()})


def tensor(memory: Memory, shape: Any, strides: Any, offset: Any = 0, *more: Any) -> Call:
    """Give a tensor in some memory."""
    return Call(_rebuild_tensor_v2, memory, offset, shape, strides, False, NONE, *more)


def raw(code: bytes) -> bytes:
    """Give an archive of a pickle that is written by hand, from its second opcode on."""
    return archive(b"\x80\x02" + code, {"data/0": bytes(16)})


def nested(depth: int, kind: Callable[[Any], Any]) -> Any:
    """Give lists in each other, each twice in the next one."""
    inner: Any = kind([1, 2])
    for _ in range(depth):
        inner = kind([inner, inner])
    return inner


def harmful() -> Iterator[tuple[str, bytes]]:
    """Yield archives that ask for memory or time, or call something, each with a name."""
    four = Memory("0", 4)
    of_four = {"_0": bytes(16)}
    yield "470 bytes that ask for 3 GB", forged({"x": tensor(four, (800_000_000,), (1,))}, **of_four)
    for name, shape, strides, offset in (
        ("one number, a million times", (10**6,), (0,), 0),
        ("overlapping rows", (4, 4), (1, 0), 0),
        ("past the end", (4,), (1,), 1),
        ("far past the end", (2,), (2**62,), 0),
        ("negative strides", (4,), (-1,), 3),
        ("negative size", (-1,), (1,), 0),
        ("negative offset", (4,), (1,), -1),
        ("more strides than sizes", (4,), (1, 1), 0),
        ("fractions", (1.5,), (1,), 0),
        ("a list as shape", [4], [1], 0),
        ("nothing far away", (0,), (1,), 10**9),
        ("huge and empty", (0, 2**70), (1, 1), 0),
    ):
        yield name, forged({"x": tensor(four, shape, strides, offset)}, **of_four)
    for name, memory in (
        ("memory that is too short", Memory("0", 1000)),
        ("memory that is too long", Memory("0", 2)),
        ("memory that is not there", Memory("1", 4)),
        ("memory of another name", Memory("data.pkl", 4)),
        ("memory in another folder", Memory("../data/0", 4)),
        ("memory without a name", Memory(0, 4)),
        ("negative memory", Memory("0", -4)),
        ("memory of no kind", Memory("0", 4, kind=int)),
        ("untyped memory", Memory("0", 16, kind=torch.UntypedStorage)),
        ("a module", Memory("0", 4, word="module")),
    ):
        yield name, forged({"x": tensor(memory, (1,), (1,))}, **of_four)
    twice = [tensor(four, (4,), (1,)), tensor(Memory("0", 16, torch.ByteStorage), (16,), (1,))]
    yield "memory of two kinds", forged({"x": twice}, **of_four)
    cased = [tensor(Memory(name, 4), (4,), (1,)) for name in ("ab", "aB", "Ab", "AB")]
    yield "one memory by several names", forged({"x": cased}, ab=bytes(16))
    yield (
        "a tensor with hooks",
        forged(
            {"x": Call(_rebuild_tensor_v2, four, 0, (4,), (1,), True, collections.OrderedDict(a=1))},
            **of_four,
        ),
    )
    yield "a tensor with metadata", forged({"x": tensor(four, (4,), (1,), 0, {"conj": True})}, **of_four)
    yield (
        "a tensor set again",
        forged(
            {
                "x": Call(
                    _rebuild_tensor_v2, four, 0, (4,), (1,), False, NONE, state=(four, 0, (10**9,), (1,))
                )
            },
            **of_four,
        ),
    )
    yield "a parameter of nothing", forged({"x": Call(_rebuild_parameter, [1], True, NONE)})
    for function in (
        *(torch._utils._rebuild_sparse_tensor, torch._utils._rebuild_qtensor, torch._utils._rebuild_tensor),
        *(torch._utils._rebuild_meta_tensor_no_storage, torch._utils._rebuild_nested_tensor),
        *(torch._utils._rebuild_wrapper_subclass, torch._utils._rebuild_tensor_v3),
        *(torch.Tensor, torch.Size, torch.device, torch.nn.Parameter, torch.FloatStorage),
        *(bytearray, set, complex, collections.Counter, collections.defaultdict, eval, print, getattr),
    ):
        yield f"a call of {function.__name__}", forged({"x": Call(function, 1_000_000_000)})
    yield "bytes", forged({"x": bytearray(b"x")})
    yield "a set", forged({"x": {1, 2}})
    yield "an ordered dictionary from pairs", forged({"x": Call(collections.OrderedDict, [("a", 1)])})
    yield "attributes", forged({"x": Call(collections.OrderedDict, state={"items": 1})})
    yield "metadata of rubbish", forged({"x": Call(collections.OrderedDict, state={"_metadata": print})})
    for kind in (list, tuple):
        yield f"shared {kind.__name__}s, 28 deep", forged({"x": nested(28, kind)})
        yield f"shared {kind.__name__}s, 200 deep", forged({"x": nested(200, kind)})
    yield "shared tuples as a key", raw(b"}K\x01K\x01\x86q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns.")
    yield "shared dictionaries", forged({"x": nested(28, lambda pair: dict(enumerate(pair)))})
    yield "a list in itself", raw(b"}X\x01\x00\x00\x00x]q\x00h\x00as.")
    for name, inner in {
        "memory": four,
        "a function": _rebuild_tensor_v2,
        "a kind": torch.FloatStorage,
    }.items():
        yield f"{name} alone", forged(inner, **of_four)
        yield f"{name} inside", forged({"x": [inner]}, **of_four)
    yield "no dictionary", forged([1, 2])
    yield "a number alone", forged(3)
    yield "nothing", raw(b".")
    yield "no end", raw(b"}")
    yield "lists for ever", raw(b"}X\x01\x00\x00\x00x" + b"]" * 3_000_000 + b"s.")
    yield "marks for ever", raw(b"(" * 3_000_000 + b".")
    yield "lists, 100,000 deep", raw(b"}X\x01\x00\x00\x00x" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"s.")
    yield "nothing in the memo", raw(b"h\x07.")
    yield "a pair of one", raw(b"}X\x01\x00\x00\x00x(K\x01\x86ts.")
    yield "a string longer than all", raw(b"X\xff\xff\xff\x7fabc.")
    letters = "\U0001f43c".encode() + b"x" * 40_000_000  # one that makes all of them four bytes wide
    yield (
        "a string of 40 MB",
        raw(b"}X\x01\x00\x00\x00xX" + struct.pack("<L", len(letters)) + letters + b"s."),
    )
    yield "a large integer", raw(b"}X\x01\x00\x00\x00x\x8a\xff" + b"\x7f" * 255 + b"s.")
    yield "a long integer", raw(b"}X\x01\x00\x00\x00x\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b"s.")
    yield "decimal digits", raw(b"}X\x01\x00\x00\x00xL" + b"7" * 10**6 + b"L\ns.")
    yield "another protocol", archive(pickle.dumps({"x": 1}, 4), {})
    yield "a name of many letters", raw(b"c" + b"a" * 10**6 + b"\nb\n.")
    yield "another way to name", raw(b"ctorch\n_utils._rebuild_tensor_v2\n.")
    yield "tensors without end", forged({"x": [tensor(four, (0,), (1,))] * 40_000}, **of_four)
    yield "no pickle", archive(b"", {})[:-22]
    yield "no archive", b"\x80\x02}q\x00."
    yield "as torch saved before", _legacy()
    yield from zips()


def _legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def directory(archive: bytes | bytearray) -> int:
    """Give the place of the list of entries."""
    return int(struct.unpack_from("<Q", archive, len(archive) - 98 + 48)[0])


def moved(archive: bytes, before: bytes) -> bytes:
    """Give an archive behind something else, its places set right."""
    forgery = bytearray(before + archive)
    count, _, start = struct.unpack_from("<3Q", archive, len(archive) - 98 + 32)
    at = len(before) + start
    for offset in (98 - 48, 42 - 8):
        place = struct.unpack_from("<Q", forgery, len(forgery) - offset)[0]
        struct.pack_into("<Q", forgery, len(forgery) - offset, place + len(before))
    for _ in range(count):
        name, place = (struct.unpack_from(form, forgery, at + i)[0] for form, i in (("<H", 28), ("<L", 42)))
        struct.pack_into("<L", forgery, at + 42, place + len(before))
        at += 46 + name
    return bytes(forgery)


def zips() -> Iterator[tuple[str, bytes]]:
    """Yield zips that are not as torch writes them."""
    yield "two archives", forged({"x": 1}) + forged({"y": 1})
    yield "a comment at the end", forged({"x": 1})[:-2] + struct.pack("<H", 4) + b"abcd"
    yield "behind what torch reads without a zip", moved(forged({"x": 1}), _legacy())
    good = zipfile.ZipFile(io.BytesIO(forged({"x": 1}, _0=bytes(10**6))))
    contents = {entry.filename: good.read(entry) for entry in good.infolist()}
    for name, method in (("deflated", zipfile.ZIP_DEFLATED), ("another's zip", zipfile.ZIP_STORED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as zipped:
            for entry, content in contents.items():
                zipped.writestr(entry, content)
        yield name, buffer.getvalue()
    whole = forged({"x": 1}, _0=bytes(10**6))
    start = directory(whole)
    at = whole.rindex(b"archive/") - 46  # the last, behind which is no other
    for name, offset, form, value in (
        ("deflated by the directory", 10, "<H", 8),
        ("longer than stored", 24, "<L", 2**31),
        ("that is unpacked", 20, "<L", 10),
        ("with more to it", 30, "<H", 4),
        ("with a comment", 32, "<H", 4),
        ("longer than the file", 20, "<2L", (2**31, 2**31)),
        ("somewhere else", 42, "<L", 2**31),
        ("in the directory", 42, "<L", start),
        ("encrypted name", 28, "<H", 60_000),
        ("not at all", 0, "<L", 0),
    ):
        forgery = bytearray(whole)
        struct.pack_into(form, forgery, at + offset, *(value if isinstance(value, tuple) else (value,)))
        yield f"an entry {name}", bytes(forgery)
    for name, offset, value in (
        ("another directory", 64, 0),
        ("more entries than there are", 32, 10**9),
        ("entries without end", 32, 2**63),
        ("a directory before all", 48, 0),
        ("a longer directory", 40, 2**40),
    ):
        forgery = bytearray(whole)
        struct.pack_into("<Q", forgery, len(whole) - 98 + offset, value)
        yield name, bytes(forgery)
    yield "an entry of no kind", whole.replace(b"PK\3\4", b"PK\3\5").replace(b"PK\3\5", b"PK\3\4", 1)
    yield "a long name", forged({"x": 1}, **{"_" + "1" * 200: bytes(8)})
    both = [tensor(Memory(name, 250_000), (250_000,), (1,)) for name in ("0", "1")]
    forgery = bytearray(forged({"x": both}, _0=bytes(10**6), _1=bytes(8)))
    start = directory(forgery)
    at, other = (forgery.index(b"archive/data/" + name, start) for name in (b"0", b"1"))
    forgery[other - 26 : other] = forgery[at - 26 : at]  # sizes and place
    yield "two entries in one place", bytes(forgery)
    pair = forged({"x": 1}, _0=bytes(16), _1=bytes(8))
    for name, new in (
        ("a name that ends early", b"archive/data/\0"),
        ("two entries of a name", b"archive/data/0"),
        ("a name in two cases", b"archive/DATA/0"),
        ("an entry in another folder", b"another/data/1"),
        ("a name that is no text", b"archive/data/\xff"),
    ):
        yield name, pair.replace(b"archive/data/1", new)
