"""Pickles of arrays: what Python 2 and 3 write is read as Python reads it, and nothing else happens."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from processes import finished

from mgnet.data import pickled
from mgnet.data.pickled import unpickled

KINDS = st.sampled_from(["u1", "i1", "<i2", ">i4", "<i8", ">u2", "<f4", ">f8", "<f2", "?"])
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | KINDS.flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers() | st.binary(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=plain, protocol=st.integers(2, 5))
def test_what_is_plain_comes_back(value: Any, protocol: int) -> None:
    assert same(unpickled(pickle.dumps(value, protocol)), value)


@given(content=arrays.arrays("u1", (3, 4)), protocol=st.integers(2, 5))
def test_arrays_that_lie_otherwise_in_memory(content: np.ndarray, protocol: int) -> None:
    values = [content.T, content[:, ::2], np.asfortranarray(content), content]
    found = unpickled(pickle.dumps([*values, content], protocol))
    assert all(map(np.array_equal, found, [*values, content]))
    assert found[3] is found[4]


def test_scalars_of_numpy_are_numbers() -> None:
    for protocol in range(2, 6):
        assert unpickled(pickle.dumps([np.int64(3), np.float32(0.5)], protocol)) == [3, 0.5]


def python2(data: bytes, shape: tuple[int, int], labels: list[int]) -> bytes:
    """Write by hand what Python 2 writes for the dictionary of a batch, strings being bytes."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01"
    dtype = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    state = (
        number(shape[0]) + number(shape[1]) + b"\x86" + dtype + b"\x89T" + struct.pack("<i", len(data)) + data
    )
    entries = (
        (short(b"batch_label") + short(b"training batch 1 of 5"))
        + (short(b"labels") + b"](" + b"".join(map(number, labels)) + b"e")
        + (short(b"data") + array + state + b"tb")
    )
    return b"\x80\x02}(" + entries + b"u."


def test_what_python_2_wrote() -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (7, 3072), dtype=np.uint8)
    content = python2(pixels.tobytes(), (7, 3072), [3, 0, 9, 1, 1, 2, 7])
    found = unpickled(content)
    by_python = pickle.loads(content, encoding="latin1")  # noqa: S301  # written above
    np.testing.assert_array_equal(found["data"], pixels)
    np.testing.assert_array_equal(by_python["data"], pixels)
    assert found["labels"] == by_python["labels"] == [3, 0, 9, 1, 1, 2, 7]
    assert found["batch_label"] == by_python["batch_label"]
    for protocol in (2, 4, 5):  # saved again, with keys of either kind
        for encoding in ("latin1", "bytes"):
            saved = pickle.dumps(pickle.loads(content, encoding=encoding), protocol)  # noqa: S301
            again = unpickled(saved)
            key: Any = "data" if encoding == "latin1" else b"data"
            np.testing.assert_array_equal(again[key], pixels)


# Malicious files


class Call:
    """What becomes a call when it is unpickled by Python."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Stateful:
    """What becomes an object whose state is set."""

    def __setstate__(self, state: Any) -> None:
        os.mkdir(state)

    def __getstate__(self) -> str:
        return "canary"


def persistent(value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 2)
    pickler.persistent_id = lambda x: "canary" if x == "me" else None  # type: ignore[method-assign]
    pickler.dump(value)
    return buffer.getvalue()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"


def malicious() -> Iterator[tuple[str, bytes]]:
    """Give pickles that would make a folder 'canary', or do some other harm, if Python read them."""
    for protocol in (2, 3, 4, 5):
        yield f"a call, protocol {protocol}", pickle.dumps({"data": Call(os.mkdir, "canary")}, protocol)
        yield f"a module of numpy, {protocol}", pickle.dumps(Call(np.fromfile, "canary"), protocol)
        yield f"a class with a state, {protocol}", pickle.dumps(Stateful(), protocol)
        yield f"a getattr, {protocol}", pickle.dumps(Call(getattr, np.ndarray, "tofile"), protocol)
    yield "os.system by GLOBAL", b"\x80\x02cos\nsystem\nU\x0cmkdir canary\x85R."
    yield "posix by GLOBAL", b"\x80\x02cposix\nsystem\nU\x0cmkdir canary\x85R."
    yield "os.system by STACK_GLOBAL", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0cmkdir canary\x85R."
    yield "os.system by INST", b"\x80\x02(U\x0cmkdir canaryios\nsystem\n."
    yield "os.system by OBJ", b"\x80\x02(cos\nsystem\nU\x0cmkdir canaryo."
    yield "an old protocol", b"cos\nsystem\n(S'mkdir canary'\ntR."
    yield "no protocol", b"(dp0\nS'data'\np1\nS'x'\np2\ns."
    yield "a new object", b"\x80\x02ccollections\nOrderedDict\n)\x81."
    yield "a new object with keys", b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)}\x92."
    yield "an extension", b"\x80\x02\x82\x01."
    yield "a large extension", b"\x80\x02\x84\x01\0\0\0."
    yield "a persistent name", persistent({"data": "me"})
    yield "a persistent line", b"\x80\x02Pcanary\n."
    yield "a buffer from outside", b"\x80\x05\x97."
    yield "eval of builtins", b"\x80\x02c__builtin__\neval\nU\x0d__import__(1)\x85R."
    yield "a name with dots", b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    yield "ndarray itself called", b"\x80\x02" + NDARRAY + b"K\x05\x85R."
    yield "a method by its name", b"\x80\x02cnumpy\nspend\n."
    yield "builds on a list", b"\x80\x02]}U\x01aK\x01sb."
    yield "builds on an array from a dictionary", b"\x80\x02" + ARRAY + NDARRAY + b"K\0\x85U\x01b\x87R}b."
    yield "an array of another class", b"\x80\x02" + ARRAY + b"cnumpy\nmatrix\nK\0\x85U\x01b\x87R."
    yield "a large empty array", b"\x80\x02" + ARRAY + NDARRAY + b"J\xff\xff\xff\x7f\x85U\x01b\x87R."
    yield "arrays of objects", pickle.dumps(np.array([Call(os.mkdir, "canary")], dtype=object), 2)
    yield "records with names", pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "f4")]), 2)
    yield "dates with units", pickle.dumps(np.zeros(2, "M8[s]"), 2)
    yield "texts of numpy", pickle.dumps(np.array(["a", "b"]), 2)
    yield "complex numbers", pickle.dumps(np.zeros(2, "c8"), 2)
    yield "subarrays", pickle.dumps(np.dtype(("u1", (3,))), 2)
    yield "a set", pickle.dumps({1, 2}, 4)
    yield "an ordered dictionary", pickle.dumps(OrderedDict(a=1), 2)
    yield "another encoding", b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x04\0\0\0zlib\x86R."
    yield "a key that is a tuple", pickle.dumps({(1, 2): 3}, 2)


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taken = []
    for name, content in malicious():
        try:
            unpickled(content)
        except ValueError as error:
            assert len(str(error)) < 300, name
        else:
            taken.append(name)
    assert taken == []
    assert os.listdir() == []


def test_python_itself_would_have_executed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in malicious():
        if name in ("a call, protocol 2", "os.system by INST", "os.system by OBJ", "arrays of objects"):
            pickle.loads(content)  # noqa: S301  # which makes a folder
            assert os.path.isdir("canary"), name
            os.rmdir("canary")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Give pickles that cost more than they take in the file."""
    array = python2(bytes(2**20), (1024, 1024), [0])
    start = array.index(b"cnumpy.core")
    one = array[start:-2]
    text = b"T" + struct.pack("<i", 2**20) + bytes(2**20)
    shared = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87Rq\x02"
    many = (ARRAY + NDARRAY + b"K\0\x85U\x01b\x87R(K\x01J\0\0\x10\0\x85h\x02\x89h\x01tb") * 5000
    yield "one string, many arrays", b"\x80\x02" + text + b"q\x01" + shared + b"](" + many + b"e."
    letters = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20
    call = b"c_codecs\nencode\nh\x01X\x06\0\0\0latin1\x86R"
    yield "one text, many strings", b"\x80\x02" + letters + b"q\x01](" + call * 5000 + b"e."
    yield "a string of 4 GB", b"\x80\x02T\xff\xff\xff\x7f" + bytes(100)
    yield "a text of 16 EB", b"\x80\x04\x8d" + b"\xff" * 8 + bytes(100)
    yield "bytes of 16 EB", b"\x80\x04\x8e" + b"\xff" * 8 + bytes(100)
    yield "a frame without end", b"\x80\x04\x95" + b"\xff" * 8 + b"N" * 100
    yield "a long integer", b"\x80\x02\x8b" + struct.pack("<i", 2**24) + b"\x7f" * 2**24 + b"."
    yield "a long line of digits", b"\x80\x02L" + b"9" * 2**22 + b"L\n."
    yield "lists in lists", b"\x80\x02" + b"]" * 2**21 + b"a" * (2**21 - 1) + b"."
    yield "tuples in tuples", b"\x80\x02)" + b"\x85" * 2**21 + b"."
    yield "marks", b"\x80\x02" + b"(" * 2**21 + b"."
    yield "memory", b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", i) for i in range(2**20)) + b"."
    yield "memory by itself", b"\x80\x04N" + b"\x94" * 2**21 + b"."
    shape = b"(" + b"J\xff\xff\xff\x7f" * 9 + b"t"
    yield "a shape of many axes", b"\x80\x02" + one.replace(b"M\0\x04M\0\x04\x86", shape) + b"."
    huge = b"\x8a\xff" + b"\x7f" * 255
    yield (
        "a shape of huge numbers",
        b"\x80\x02" + one.replace(b"M\0\x04M\0\x04\x86", huge + huge + b"\x86") + b".",
    )
    yield (
        "a shape below zero",
        b"\x80\x02" + one.replace(b"M\0\x04M\0\x04\x86", b"J\0\0\xf0\xffJ\xff\xff\xff\xff\x86") + b".",
    )


MEASURED = """
import resource, sys, time
from pathlib import Path
from mgnet.data.pickled import unpickled
content = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
try:
    unpickled(content)
    said = "read"
except ValueError as error:
    said = str(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - start, said)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the unit of ru_maxrss is that of Linux")
@pytest.mark.slow
def test_bombs_are_refused_at_a_bounded_price(tmp_path: Path) -> None:
    for name, content in bombs():
        (tmp_path / "bomb").write_bytes(content)
        done = finished("-c", MEASURED, str(tmp_path / "bomb"))
        assert done.returncode == 0, (name, done.stderr)
        kilobytes, _, said = done.stdout.split(" ", 2)
        assert not said.startswith("read"), name
        assert int(kilobytes) * 1024 < 40 * len(content) + 2**28, (name, kilobytes)


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "OPCODES", 2**14)
    for name, content in bombs():
        if len(content) < 2**22:
            with pytest.raises(ValueError):
                pytest.fail(f"{name}: {type(unpickled(content))}")


def test_one_string_does_not_become_many() -> None:
    for name, content in bombs():
        if name.startswith("one "):
            with pytest.raises(ValueError, match="it becomes larger than the file"):
                pytest.fail(f"{name}: {type(unpickled(content))}")


def test_there_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps([1, 2, 3], 2)
    for bound, accepted in ((sum(1 for _ in pickletools.genops(content)), True), (3, False)):
        monkeypatch.setattr(pickled, "OPCODES", bound)
        if accepted:
            assert unpickled(content) == [1, 2, 3]
        else:
            with pytest.raises(ValueError, match="it takes more than 3 steps"):
                unpickled(content)


def test_damage_is_a_value_error_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    seeds = [python2(bytes(range(60)), (6, 10), [1, 2, 3, 4, 5, 6])]
    seeds += [
        pickle.dumps({"data": np.arange(6, dtype=np.uint8), b"x": [1, "a", None]}, p) for p in range(2, 6)
    ]
    for _ in range(4000):
        content = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(content))
            kind = draw.randrange(4)
            if kind == 0:
                content[place] = draw.randrange(256)
            elif kind == 1:
                del content[place : place + draw.randint(1, 9)]
            elif kind == 2:
                content[place:place] = draw.randbytes(draw.randint(1, 5))
            else:
                content[place:place] = content[: draw.randint(1, len(content))]
            if not content:
                break
        try:
            unpickled(bytes(content))
        except ValueError:
            pass
    assert os.listdir() == []
