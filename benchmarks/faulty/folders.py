"""Folders that cannot be a run's, and folders that two runs want."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from faulty.children import End, ended, spawn, wait
from faulty.disk import SAVE, TRAIN
from faulty.runs import REPLACE, Run, command, judged, prepare, readable
from mgnet.train import LAST

NOBODY = 65534


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Give all that is in a folder: kinds and contents by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = mode, path.read_bytes() if plain else b""
    return found


# Outs that no run can have.


def _is_file(place: Path) -> str:
    (place / "file").write_text("mine")
    return str(place / "file")


def _below_a_file(place: Path) -> str:
    return f"{_is_file(place)}/run"


def _linked_file(place: Path) -> str:
    (place / "link").symlink_to(_is_file(place))
    return str(place / "link")


def _dangling(place: Path) -> str:
    (place / "link").symlink_to(place / "nowhere")
    return str(place / "link")


def _loop(place: Path) -> str:
    (place / "link").symlink_to(place / "link")
    return str(place / "link")


def _pipe(place: Path) -> str:
    os.mkfifo(place / "pipe")
    return str(place / "pipe")


def _socket(place: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
    return str(place / "socket")


def _checkpoint_is_a_folder(place: Path) -> str:
    (place / "run" / LAST).mkdir(parents=True)
    return str(place / "run")


def _checkpoint_is_a_link(place: Path) -> str:
    (place / "precious").write_text("mine")
    (place / "run").mkdir()
    (place / "run" / LAST).symlink_to(place / "precious")
    return str(place / "run")


def _read_only(place: Path) -> str:
    (place / "folder").mkdir(mode=0o555)
    return str(place / "folder" / "run")


def _itself_read_only(place: Path) -> str:
    (place / "folder").mkdir(mode=0o555)
    return str(place / "folder")


def _another_run(place: Path) -> str:
    end = ended(partial(command, *TRAIN, "--seed", "7", "--out", str(place / "run")), place.parent)
    if end.code != 0:
        raise RuntimeError(f"an undisturbed run {end}")
    return str(place / "run")


OUTS: dict[str, Callable[[Path], str]] = {
    "a file": _is_file,
    "below a file": _below_a_file,
    "a link to a file": _linked_file,
    "a link to nowhere": _dangling,
    "a link to itself": _loop,
    "a pipe": _pipe,
    "a socket": _socket,
    "/dev/null": lambda place: "/dev/null",
    "below /dev/null": lambda place: "/dev/null/run",
    "/proc": lambda place: "/proc/run",
    "nothing": lambda place: "",
    "blanks": lambda place: "  ",
    "a name too long": lambda place: str(place / ("n" * 300)),
    "a path too long": lambda place: str(place / "/".join(["n" * 200] * 25)),
    "a name with a zero": lambda place: f"{place}/a\0b",
    "a read-only folder": _itself_read_only,
    "in a read-only folder": _read_only,
    "a folder whose last.ckpt is a folder": _checkpoint_is_a_folder,
    "a folder whose last.ckpt leads elsewhere": _checkpoint_is_a_link,
    "another run": _another_run,
}


def out(name: str, folder: Path) -> str:
    """Train into what cannot be a run's folder: refused before the first step, and nothing changed."""
    place = folder / name.replace("/", "-")
    place.mkdir()
    out = OUTS[name](place)
    before = tree(place)

    def train() -> int:
        if os.geteuid() == 0:  # whom no permission binds
            os.chown(place, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        prepare(2, partial(os.write, 2, b"a step was made\n"))
        Run.watch()
        return command(*TRAIN, "--out", out)

    end = ended(train, folder)
    if end.code != 2 or "a step was made" in end.said:
        return f"{name}: {end}"
    return "" if tree(place) == before else f"{name}: {sorted(set(tree(place)) ^ set(before))} changed"
