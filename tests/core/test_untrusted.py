"""Archives from strangers: what torch writes is read, and nothing else, at a price that is known before."""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import strangers
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import environment, finished

from mgnet import checkpoint, models
from mgnet.checkpoint import CheckpointError
from mgnet.core import untrusted

# Words of torch that would have people trust what they have been warned of.
ADVICE = re.compile(r"weights_only|safe_globals|unsafe|trust", re.IGNORECASE)


def written(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def outlined(archive: bytes) -> Any:
    found = untrusted.entries(memoryview(archive))
    sizes = {name.removeprefix("data/"): len(content) for name, content in found.items()}
    return untrusted.outline(bytes(found["data.pkl"]), sizes)


def test_the_entries_are_those_of_another_reader() -> None:
    archive = written(models.create("resnet20").state_dict())
    found = untrusted.entries(memoryview(archive))
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        assert {f"archive/{name}": bytes(content) for name, content in found.items()} == {
            name: zipped.read(name) for name in zipped.namelist()
        }


def test_an_outline_has_the_structure_and_no_numbers() -> None:
    state = {"a": [1, -2.5, None, True, ("x", 2**40)], "b": {3: torch.ones(2, 3)}, "c": {}, "d": "ü"}
    found = outlined(written(state))
    tensor = found["b"].pop(3)
    assert found == {**state, "b": {}}
    assert tensor.numel() == 0


@pytest.mark.parametrize("dtype", untrusted.STORAGES.values(), ids=str)
def test_every_kind_of_number(dtype: torch.dtype, tmp_path: Path) -> None:
    x = torch.tensor([0, 1, 1, 0]).to(dtype)
    rows = x.reshape(2, 2)
    state = {"x": x, "transposed": rows.T, "part": x[1:3], "empty": x[:0], "one": x[1], "strided": x[::2]}
    checkpoint.save(tmp_path / "a", state)
    loaded = checkpoint.load(tmp_path / "a")
    assert all(torch.equal(loaded[name], y) and loaded[name].dtype == dtype for name, y in state.items())


plain: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.lists(st.integers(0, 3), max_size=4).map(lambda shape: torch.zeros(shape)),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(-5, 300), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(state=st.dictionaries(st.text(max_size=5), plain, max_size=6))
def test_what_is_plain_is_written_with_as_few_opcodes_as_thought(state: dict[str, Any]) -> None:
    checkpoint.require_plain(state)
    archive = written(state)
    outlined(archive)
    pickled = bytes(untrusted.entries(memoryview(archive))["data.pkl"])
    thought = checkpoint.opcodes(state)
    assert sum(1 for _ in pickletools.genops(pickled)) <= thought + 2  # of protocol and end


def test_long_lists_are_written_with_as_few_opcodes_as_thought() -> None:
    rows = [{"epoch": i, "loss": i / 7, "more": [None] * 100} for i in range(5000)]
    state = {"rows": rows, "numbers": list(range(50_000)), "words": {f"{i}": i for i in range(5000)}}
    pickled = bytes(untrusted.entries(memoryview(written(state)))["data.pkl"])
    thought = checkpoint.opcodes(state)
    assert sum(1 for _ in pickletools.genops(pickled)) <= thought + 2


def test_zips_that_torch_does_not_write_are_refused_before_torch_sees_them() -> None:
    for name, archive in strangers.zips():
        with pytest.raises((ValueError, struct.error)):
            pytest.fail(f"{name}: {list(untrusted.entries(memoryview(archive)))}")


def test_what_strangers_make_is_refused_before_torch_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, taken = tmp_path / "a.ckpt", []
    monkeypatch.setattr(torch, "load", lambda *_, **__: taken.append("by torch"))
    for name, archive in strangers.harmful():
        path.write_bytes(strangers.sealed(archive))
        try:
            checkpoint.load(path)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: "), name
            assert len(str(error)) < 500, name
            assert not ADVICE.search(str(error)), name
        else:
            taken.append(name)
    assert taken == []


def test_there_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = written({str(i): torch.ones(i) for i in range(5)})
    for bound, value, said in (
        ("ENTRIES", 9, "it has 11 entries; accepted: up to 9"),
        ("TENSORS", 4, "it has more than 4 tensors"),
        ("PICKLE", 99, "accepted: up to 99"),
        ("OPCODES", 99, "it takes more than 99 steps"),
        ("NAME", 6, "its directory is not"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ValueError, match=said):
            patch.setattr(untrusted, bound, value)
            outlined(archive)
    assert len(outlined(archive)) == 5


MEASURED = """
import pathlib, sys
from mgnet import checkpoint
import strangers

def memory(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024

def taken(path):
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    try:
        checkpoint.load(path)
    except checkpoint.CheckpointError:
        pass
    return memory("VmHWM") - before

path = pathlib.Path(sys.argv[1])
for size in (2**10, 2**18, 2**24):  # the first loads what torch loads once
    checkpoint.save(path, {str(i): strangers.torch.ones(size // 8) for i in range(8)})
    print(taken(path) <= 2.1 * path.stat().st_size + 2**22 or size == 2**10, "of", size)
for name, archive in strangers.harmful():
    path.write_bytes(strangers.sealed(archive))
    print(taken(path) <= 2 * len(archive) + 100 * 10**6, name)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured by /proc")
def test_memory_stays_within_two_files(tmp_path: Path) -> None:
    found = environment(PYTHONPATH=f"{Path(checkpoint.__file__).parent.parent}:{Path(__file__).parents[1]}")
    done = finished("-c", MEASURED, str(tmp_path / "a"), env=found)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("True")] == []


def test_corruptions_under_the_right_hash(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.ckpt", random.Random(0)
    state = {"spec": {"nu": [1, 2], "name": "x"}, "model": {"w": torch.ones(3), "b": torch.zeros(2, 2)}}
    archive = written(state)
    dense = [i for i, byte in enumerate(archive) if byte not in (0, ord("Z"))]  # no padding
    for _ in range(2000):
        forgery = bytearray(archive)
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.choice(dense)
            forgery[place] = rng.choice((rng.randrange(256), forgery[place] ^ 1 << rng.randrange(8)))
        path.write_bytes(strangers.sealed(bytes(forgery)))
        try:
            checkpoint.load(path)
        except CheckpointError as error:
            assert not ADVICE.search(str(error))
