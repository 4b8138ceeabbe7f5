"""Files are written whole or not at all, what killed processes leave is swept, and a lock is for one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from mgnet.core import files

HEX = "0123456789ab"


def test_only_what_becomes_the_named_files_is_swept(tmp_path: Path) -> None:
    strays = [f".mgnet-a.ckpt-{HEX}.tmp", f".mgnet-b.csv-{HEX}.tmp", f".mgnet-{HEX}.tmp"]
    others = ["a.ckpt", f".mgnet-u.csv-{HEX}.tmp", f".mgnet-aXckpt-{HEX}.tmp", f"mgnet-{HEX}.tmp", ".x.tmp"]
    for name in strays + others:
        (tmp_path / name).touch()
    files.sweep(tmp_path, ["a.ckpt", "b.csv"])
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_file_half_written_is_what_is_swept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "a.ckpt"):
        (stray,) = tmp_path.iterdir()
        stray.rename(tmp_path / f"{stray.name}.kept")  # as if the process were killed here
        raise KeyboardInterrupt
    (kept,) = tmp_path.iterdir()
    kept.rename(tmp_path / kept.name.removesuffix(".kept"))
    files.sweep(tmp_path, ["a.ckpt"])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["a" * 250, "\N{SNOWMAN}" * 80])
def test_long_names_can_be_written(tmp_path: Path, name: str) -> None:
    with files.replacing(tmp_path / name) as file:
        file.write(b"whole")
    assert os.listdir(tmp_path) == [name]


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with files.locked(lock, 0):
        with pytest.raises(TimeoutError), files.locked(lock, 0):
            pass
        assert lock.exists()
    assert not lock.exists()
    with files.locked(lock, 0):
        pass


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_does_not_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def refuse(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, os.strerror(number))
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    with files.replacing(tmp_path / "a") as file:
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize("name", [None, "temporary"])
def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(OSError, match="No space") as caught, files.replacing(tmp_path / "a") as file:
        raise OSError(errno.ENOSPC, "No space left on device", name and file.name)
    assert caught.value.filename == str(tmp_path / "a")
    assert not os.listdir(tmp_path)
