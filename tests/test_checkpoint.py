"""Checkpoints: what was saved comes back, or an error; never half of it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from mgnet import checkpoint
from mgnet.checkpoint import CheckpointError

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


def test_tensors_go_where_they_are_wanted(tmp_path: Path) -> None:
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

    for content in (pickle.dumps(Trap()), None):
        path = tmp_path / "a"
        if content is None:
            checkpoint.save(path, {"trap": Trap()})  # even with the right hash
        else:
            path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        assert not (tmp_path / "sprung").exists()


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
