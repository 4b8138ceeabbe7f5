"""Checkpoints: what was saved comes back, or an error; never half of it."""

from __future__ import annotations

import collections
import io
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import sealed

from mgnet import checkpoint
from mgnet.checkpoint import CheckpointError
from mgnet.core import checks

STATE: dict[str, Any] = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])},
    "rows": [{"epoch": 1, "loss": 0.5, "none": None}],
    "name": "net",
    "pair": (1, 2.5),
}


def same(x: Any, y: Any) -> bool:
    if isinstance(x, torch.Tensor):
        return bool(torch.equal(x, y)) and x.dtype == y.dtype
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(same(x[k], y[k]) for k in x)
    return bool(x == y)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.ckpt"
    checkpoint.save(path, STATE)
    assert same(checkpoint.load(path), STATE)
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


def test_tensors_go_where_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEVICES", ("cpu", "meta"))
    checkpoint.save(tmp_path / "a", STATE)
    assert checkpoint.load(tmp_path / "a")["weights"]["a"].device.type == "cpu"
    assert checkpoint.load(tmp_path / "a", "meta")["weights"]["a"].device.type == "meta"


def test_the_file_is_as_readable_as_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        checkpoint.save(tmp_path / "a", STATE)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", [0, 10, 30, 90, 200, -1])
def test_one_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a"
    checkpoint.save(path, STATE)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        checkpoint.load(path)


@pytest.mark.parametrize("length", [0, 5, 60, 84, 300])
def test_a_truncated_file_is_found(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    checkpoint.save(path, STATE)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_nothing_is_run_that_hides_in_a_file(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    buffer = io.BytesIO()
    torch.save({"trap": Trap()}, buffer)
    path = tmp_path / "a"
    for content in (pickle.dumps(Trap()), sealed(pickle.dumps(Trap())), sealed(buffer.getvalue())):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        assert not (tmp_path / "sprung").exists()


def test_every_changed_bit_and_every_length_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoint.save(path, {"a": 1})
    content = path.read_bytes()
    # Of every byte, all bits of the first lines; every place where it may end, and more at its end.
    flips = [(i, bit) for i in range(len(content)) for bit in range(8) if i < 90 or bit == i % 8]
    damaged = [content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :] for i, bit in flips]
    damaged += [content[:i] for i in range(len(content))] + [content + b"\0", content + content]
    for other in damaged:
        path.write_bytes(other)
        with pytest.raises(CheckpointError, match="damaged|something else"):
            checkpoint.load(path)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names")
def test_only_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    os.symlink("/dev/zero", "link")
    os.symlink("pipe", "link to a pipe")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a device does what it likes when it is opened"))
    for name, kind in {
        "pipe": "a pipe",
        "link to a pipe": "a pipe",
        "socket": "a socket",
        "/dev/zero": "a device",
        "link": "a device",
        ".": "a folder",
    }.items():
        with pytest.raises(CheckpointError, match=f"^{name}: got {kind}; accepted: a file$"):
            checkpoint.load(name)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="a file that waits, as Linux has it")
def test_a_file_that_waits_is_not_read() -> None:
    with pytest.raises((CheckpointError, PermissionError)):
        checkpoint.load("/proc/kmsg")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    status = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda *_: status)  # as if it had been exchanged in between
    with pytest.raises(CheckpointError, match="got a pipe"):
        checkpoint.load(tmp_path / "pipe")


def test_a_file_of_hundred_terabytes_is_not_read(tmp_path: Path) -> None:
    for begin, said in ((b"", "something else"), (checkpoint.MAGIC, "accepted: less than 4 GiB")):
        with open(tmp_path / "a", "wb") as file:
            file.write(begin)
            file.truncate(2**42)
        with pytest.raises(CheckpointError, match=said):
            checkpoint.load(tmp_path / "a")


class Number(float):
    """A float of somebody's own."""


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], r"^state: got list \(\[1\]\); accepted: a dictionary$"),
        ({"a": Path("x")}, r"^state\['a'\]: got pathlib.PosixPath"),
        ({"spec": {"nu": [np.int64(2)]}}, r"^state\['spec'\]\['nu'\]\[0\]: got numpy.int64 \(2\); acc"),
        ({"lr": np.float64(0.1)}, r"^state\['lr'\]: got numpy.float64 \(0.1\)"),
        ({"a": np.ones(3)}, r"^state\['a'\]: got numpy.ndarray"),
        ({"a": ({1, 2},)}, r"^state\['a'\]\[0\]: got set"),
        ({"a": b"x"}, r"^state\['a'\]: got bytes"),
        ({"a": 1j}, r"^state\['a'\]: got complex"),
        ({"a": Number(1)}, r"^state\['a'\]: got .*Number"),
        ({"a": Pair(1, 2)}, r"^state\['a'\]: got .*Pair"),
        ({"a": torch.Size([1])}, r"^state\['a'\]: got torch.Size"),
        ({"a": torch.float32}, r"^state\['a'\]: got torch.dtype"),
        ({"a": collections.Counter("a")}, r"^state\['a'\]: got collections.Counter"),
        ({"a": collections.defaultdict(int)}, r"^state\['a'\]: got collections.defaultdict"),
        ({"a": {(1, 2): 3}}, r"^state\['a'\]: got the key tuple .*; accepted: strings and integers"),
        ({"a": {None: 3}}, r"^state\['a'\]: got the key NoneType"),
        ({"a": {True: 3}}, r"^state\['a'\]: got the key bool"),
        ({"a": print}, r"^state\['a'\]: got builtin_function_or_method"),
        ({"a": torch.ones(2, 2).to_sparse()}, r"^state\['a'\]: got a tensor of layout torch.sparse_coo"),
        ({"a": torch.ones(2, device="meta")}, r"^state\['a'\]: got a meta tensor"),
        ({"a": torch.ones(1).expand(9)}, r"^state\['a'\]: got a tensor that repeats its memory"),
        ({"a": torch.ones(1, dtype=torch.complex64).conj()}, r"^state\['a'\]: got a tensor that is to be"),
        ({"a": torch.ones(2).to(torch.float8_e5m2)}, r"^state\['a'\]: got a tensor of torch.float8_e5m2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_could_not_be_read_is_not_written(tmp_path: Path, state: Any, said: str) -> None:
    for refusing in (checkpoint.require_plain, lambda state: checkpoint.save(tmp_path / "a", state)):
        with pytest.raises(TypeError, match=said):
            refusing(state)
    assert not (tmp_path / "a").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about their days to come
def test_tensors_of_other_kinds_are_not_written() -> None:
    marked = torch.ones(2)
    marked.own = 1  # type: ignore[attr-defined]
    for kind, x in {
        "a quantised tensor": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
        "a nested tensor": torch.nested.nested_tensor([torch.ones(2)]),
        "a tensor with attributes": marked,
    }.items():
        with pytest.raises(TypeError, match=rf"^state\['a'\]: got {kind}; accepted: a plain array"):
            checkpoint.require_plain({"a": x})


def test_more_than_a_checkpoint_holds_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for state in (endless, deep):
        with pytest.raises(ValueError, match="^state: got more than 32 lists in each other"):
            checkpoint.require_plain({"a": state})
    shared = [[1] * 1000] * 1100
    for state in (shared, "x" * (2**20 + 1), [torch.ones(1)] * 40_000, {str(i): i for i in range(10**6)}):
        with pytest.raises(ValueError, match="^state: got more than a checkpoint holds; accepted: about"):
            checkpoint.require_plain({"a": state})
    with pytest.raises(ValueError, match=r"^state\['a'\]: got an integer of 65 bits; accepted: up to 64"):
        checkpoint.require_plain({"a": 2**64})
    monkeypatch.setattr(checkpoint, "MEMORY", 1000)
    x = torch.ones(200)
    checkpoint.require_plain({"a": x, "b": x[:100]})  # the same memory
    with pytest.raises(ValueError, match="^state: got tensors of 1,600 bytes; accepted: up to 1,000"):
        checkpoint.require_plain({"a": x, "b": x.clone()})


def test_a_long_history_is_no_trouble(tmp_path: Path) -> None:
    row = dict.fromkeys(
        ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "s", "i"], 0.5
    )
    state = {"rows": [dict(row) for _ in range(35_000)]}
    checkpoint.save(tmp_path / "a", state)
    assert checkpoint.load(tmp_path / "a") == state


def test_weights_of_a_model_keep_what_torch_notes_beside_them(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    checkpoint.save(tmp_path / "a", {"model": model.state_dict(), "parameter": model[0].weight})
    loaded = checkpoint.load(tmp_path / "a")
    assert loaded["model"]._metadata == model.state_dict()._metadata
    model.load_state_dict(loaded["model"])
    assert torch.equal(loaded["parameter"], model[0].weight)


def test_no_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / "a", STATE)

    def exhausted(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", exhausted)
    with pytest.raises(RuntimeError, match="allocate memory"):
        checkpoint.load(tmp_path / "a")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    checkpoint.save(path, STATE)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(os, name, full)
            checkpoint.save(path, {"other": 1})
        assert same(checkpoint.load(path), STATE)
        assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none")
