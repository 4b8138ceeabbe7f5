"""A disk that is full: from a chosen request for room on, or at that request alone, there is none."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from faulty.children import End, ended
from faulty.runs import command, judged, readable
from mgnet.train import LAST

TRAIN = ("train", "logistic", "--dataset", "synthetic", "--epochs", "2", "--batch-size", "256")
SAVE = ("--save-every", "1")


class Disk:
    """Counts the requests for room below a folder: folders and files made, writes, syncs and renamings.

    A write that finds the disk full has written half.
    """

    def __init__(self, folder: Path, place: int = 0, for_good: bool = False) -> None:
        self.folder, self.place, self.for_good = str(folder), place, for_good
        self.asked = 0

    def install(self) -> None:
        """Let this process see this disk."""
        for name in ("replace", "fsync", "link"):
            setattr(os, name, self.guarded(getattr(os, name)))
        os.mkdir, os.open = self.made(os.mkdir), self.opened(os.open)
        builtins.open = io.open = self.file  # type: ignore[assignment]

    def is_full(self) -> bool:
        self.asked += 1
        return self.asked == self.place or (self.for_good and self.asked > self.place)

    def require_room(self) -> None:
        if self.is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def asks(*arguments: Any, **options: Any) -> Any:
            self.require_room()
            return real(*arguments, **options)

        return asks

    def made(self, real: Callable[..., None]) -> Callable[..., None]:
        def asks(path: Any, *more: Any, **options: Any) -> None:
            if not os.path.exists(path):
                self.require_room()
            real(path, *more, **options)

        return asks

    def opened(self, real: Callable[..., int]) -> Callable[..., int]:
        def asks(path: Any, flags: int, *more: Any, **options: Any) -> int:
            if flags & os.O_CREAT and self.is_here(path):
                self.require_room()
            return real(path, flags, *more, **options)

        return asks

    def is_here(self, path: Any) -> bool:
        return not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(self.folder)

    def file(self, path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        """Open a file as ``open`` does."""
        if not (set(mode) & set("wxa+") and self.is_here(path)):
            return OPEN(path, mode, *more, **options)
        self.require_room()
        raw = _File(self, path, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        names = ("encoding", "errors", "newline")
        return io.TextIOWrapper(buffered, **{name: options[name] for name in names if name in options})


OPEN = open


class _File(io.FileIO):
    def __init__(self, disk: Disk, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self.disk = disk

    def write(self, content: Any) -> int:
        if self.disk.is_full():
            super().write(bytes(content)[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def train(disk: Disk, out: Path, *more: str) -> int:
    """Train in this process, and print how often room was asked for."""
    disk.install()
    code = command(*TRAIN, *SAVE, "--out", str(out), *more)
    print(disk.asked)
    return code


def requests(out: Path) -> int:
    """Train undisturbed; give how often room was asked for."""
    end = ended(partial(train, Disk(out), out), out.parent)
    if end.code != 0:
        raise RuntimeError(f"an undisturbed run {end}")
    return int(end.said.split()[-1])


def full(place: int, folder: Path) -> str:
    """Fill the disk at a place of a run, make room again, and go on."""
    out = folder / f"full{place}"
    found = _judged(ended(partial(train, Disk(out, place, place % 2 == 0), out), folder), out)
    if not found:
        end = ended(partial(train, Disk(out), out, "--resume"), folder)
        found = judged(out, folder / "whole") if end.code == 0 else f"then {end}"
    shutil.rmtree(out, ignore_errors=True)
    return f"request {place}: {found}" if found else ""


def _judged(end: End, out: Path) -> str:
    lines = end.said.split("\n")
    if end.code != 5:
        return str(end)
    if "No space left" not in end.said or "Traceback" in end.said:
        return f"says {' '.join(lines)[:200]}"
    return "" if readable(out / LAST) or not (out / LAST).exists() else "an unreadable checkpoint"


# Lines that nobody can write.


def _full_stderr() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


def _broken_pipe() -> None:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 2)


def _no_stderr() -> None:
    os.close(2)
    sys.stderr = None  # as Python has it where it starts without one


UNHEARD: dict[str, Callable[[], None]] = {
    "stderr on a full disk": _full_stderr,
    "stderr into a pipe that nobody reads": _broken_pipe,
    "no stderr": _no_stderr,
}


def unheard(name: str, folder: Path) -> str:
    """Train where no line of progress can be written: the run ends as if all could."""
    out = folder / name.replace(" ", "-")

    def silent() -> int:
        UNHEARD[name]()
        return command(*TRAIN, "--out", str(out))

    end = ended(silent, folder)
    found = judged(out, folder / "whole") if end.code == 0 else str(end)
    return f"{name}: {found}" if found else ""
