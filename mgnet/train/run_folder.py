"""The folder of a training run: it is one run's, from the first step to the last file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..core.checks import shown
from ..core.files import beside, durable, locked, sweep

__all__ = ["BEST", "CSV", "JSON", "LAST", "claimed", "folder", "path_of", "require_free", "result"]

# Where a run can go on, the weights that it ended with, and its figures.
FILES = LAST, BEST, CSV, JSON = "last.ckpt", "model.ckpt", "history.csv", "history.json"
LOCK = ".mgnet.lock"
# What the machine lacks is no fault of the argument.
LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def folder(out: Any) -> Path | None:
    """Return the folder that an argument names, None for None."""
    return None if out is None else path_of("out", out, "the path of a folder")


def path_of(name: str, value: Any, accepted: str) -> Path:
    """Return the path that an argument is; an empty one, which would be the current folder, is none."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}: got {shown(value)}; accepted: {accepted}")
    if not os.fspath(value).strip() or "\0" in os.fspath(value):
        raise ValueError(f"{name}: got {shown(os.fspath(value))}; accepted: {accepted}")
    return Path(value)


def result(name: str, value: Any) -> Path:
    """Return the checkpoint that a run has ended with, by its folder; a file is meant as it is."""
    path = path_of(name, value, "the folder of a run, or a checkpoint in it")
    if not path.is_dir() or (path / BEST).exists():
        return path / BEST if path.is_dir() else path
    if (path / LAST).exists():
        accepted = f"one that has, or {path / LAST} as it is"
        raise ValueError(f"{name}: got {path}, a run that has not ended; accepted: {accepted}")
    raise ValueError(f"{name}: got {path}, a folder without {BEST}; accepted: that of a run")


@contextmanager
def claimed(out: Path, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
    """Hold a folder for one run; make it where it is not there, and see that it can be written to.

    What a run that was killed has left half-written in it is removed. What cannot be one run's folder is a
    ValueError; when the machine lacks what is needed, as space on the disk, that is an OSError.
    """
    with ExitStack() as held:
        with _named(out):
            out.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(out / LOCK, 0))
            sweep(out, FILES)
            require_free(out, resume, overwrite)
            _try(out)
            if overwrite:
                for name in FILES:
                    (out / name).unlink(missing_ok=True)
        yield


@contextmanager
def _named(out: Path) -> Iterator[None]:
    """Say of which argument it is the fault that a folder cannot be had."""
    try:
        yield
    except TimeoutError:
        raise ValueError(f"out: got {out}, where another run is going on; accepted: another folder") from None
    except OSError as error:
        if error.errno in LACKING:
            raise
        accepted = f"a folder that can be written to ({error.strerror})"
        raise ValueError(f"out: got {out}; accepted: {accepted}") from error


def require_free(out: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Refuse a folder with another run in it; the ValueError names what is there."""
    for name in FILES:
        # A run that was gathered from links would write over what they lead to.
        path = out / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            kind = "a link" if path.is_symlink() else "no file"
            raise ValueError(f"out: got {out}, where {name} is {kind}; accepted: a folder with its own files")
    there = [name for name in FILES if (out / name).exists()]
    if not there or overwrite:
        return
    if not resume:
        asked = "resume (--resume) to go on with that run, or overwrite (--overwrite) to remove it"
        accepted = f"another folder, {asked}"
        raise ValueError(f"out: got {out}, which holds a run ({', '.join(there)}); accepted: {accepted}")
    if LAST not in there:
        got = f"{out}, which holds {', '.join(there)} and no {LAST} to resume from"
        raise ValueError(f"out: got {got}; accepted: the folder of a run, or another one")


def _try(out: Path) -> None:
    """Write something, so that a run does not find out after an epoch that it cannot."""
    path = Path(beside(out / LAST))
    try:
        with durable(path) as file:
            file.write(bytes(4096))
    finally:
        path.unlink(missing_ok=True)
