"""A folder of pictures as a data set: one folder for each class, and parts that are there or are made.

What decides which picture is in which part are names, contents and a seed, never the order in which a system
lists its files. Copies of a picture stay together, so that no test image is one that was trained on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.checks import choice, count, find_device
from ..core.files import regular
from ..core.resources import is_shortage
from . import pictures
from .archives import DataError, find_root
from .layouts import classes_of, pictures_of
from .shares import require_share, share, stratified
from .splits import Data, Split, statistics

__all__ = ["folder"]

SIZE = 32
# Pictures at a time: a large photograph takes some 100 MB while it is decoded.
THREADS = min(4, os.cpu_count() or 1)
SHOWN = 5  # names that a remark shows
# What is the fault of a file, as a broken link is; all else is the machine's.
UNREADABLE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.EIO)
# Counts up when files are brought into another form: the digest of a split knows files, not pixels, since
# decoders of JPEG differ in the last bit.
FORM = 1


@dataclass(eq=False)
class _Part:
    """The pictures of one part, in order: class by class, each by its names."""

    files: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)  # the hash of each; "" of what cannot be read

    def rows(self, chosen: Iterable[int]) -> _Part:
        some = [*chosen]
        return _Part(
            [self.files[i] for i in some], [self.labels[i] for i in some], [self.contents[i] for i in some]
        )

    def without(self, some: Collection[Path]) -> _Part:
        return self.rows(row for row, path in enumerate(self.files) if path not in some)


def folder(
    root: str | os.PathLike[str] | None = None,
    *,
    size: int | None = None,
    channels: int = 3,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    damaged: str = "refuse",
    device: str | torch.device | None = None,
) -> Data:
    """Return the pictures in a folder as a data set.

    Each class is a folder of pictures (PNG, JPEG, GIF, BMP, WebP or NPY), and its name is that of the class;
    classes are numbered in the order of their names. These folders lie in ``root``, or in ``root/train`` with
    ``root/test`` and ``root/val`` beside it (or ``training``, ``testing``, ``valid`` and ``validation``). A
    part that is not there is made of the training pictures: the test set first, then the validation set, both
    with the same share of every class, and never so many that a class is left without one to train on. Files
    that are equal byte for byte go into the same part.

    Pictures in folders below that of a class belong to it. Hidden files, what systems leave behind
    (``Thumbs.db``, ``desktop.ini``, ``__MACOSX``) and links to folders below a class are passed over, and so
    are files whose names end otherwise than those of pictures: of these a warning says how many there are.

    Parameters
    ----------
    root : path-like, optional
        The folder; by default the environment variable MGNET_DATA says which.
    size : int, optional
        Pixels of a side, by default 32, at most 4096: the square in the middle of each picture, resized as
        :func:`mgnet.data.pictures.fit` says. ``mgnet train`` takes the size that the model is made for.
    channels : {3, 1}, default 3
        Colours, or greys.
    validation, test : int or float, default 0.1
        How many pictures to set apart where the folder has no such part, or which share: of all of them for
        the test set, of what then is left for validation. Without a test set a model can be trained by a loop
        of one's own, but not by :func:`mgnet.fit`.
    seed : int, default 0
        Decides which.
    damaged : {"refuse", "skip"}, default "refuse"
        What to do about files that are no whole pictures: a DataError lists them all, or a warning does, and
        the others are the data set.
    device : str or torch.device, optional
        Where the images lie; by default the CPU.

    Returns
    -------
    Data
        Its name is "folder". The digests of its splits are those of the files, so that a run goes on with
        them on a machine whose decoder of JPEG rounds in another way.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before any work.
    DataError
        For a folder in another layout, classes without pictures or not the same ones in every part, fewer
        than two of them, and for damaged files.
    FileNotFoundError, NotADirectoryError
        When there is no such folder.

    Warns
    -----
    UserWarning
        When files are passed over, when a picture is in two classes, and when one is in two parts.
    """
    size = count("size", SIZE if size is None else size, 1, pictures.LARGEST)
    if channels not in (1, 3) or isinstance(channels, bool):
        raise ValueError(f"channels: got {channels!r}; accepted: 3 or 1")
    choice("damaged", damaged, ("refuse", "skip"))
    count("seed", seed, 0)
    for name, value in (("validation", validation), ("test", test)):
        require_share(name, value)
    place, where = find_device(device), _existing(root)
    classes, found, faults = _found(where)
    shares = {n: x for n, x in {"test": test, "validation": validation}.items() if n not in found}
    shape = (channels, size, size)
    _say_copies(where, found)
    parts = _parted(found, shares, seed)
    images = {name: _decoded(part, shape, faults) for name, part in parts.items()}
    if faults:
        _say_damaged(where, faults, damaged == "skip")
        found = {name: part.without(faults) for name, part in found.items()}
        _require_all(where, found["train"], classes)
        rows = {path: x for n, part in parts.items() for path, x in zip(part.files, images[n], strict=True)}
        parts = _parted(found, shares, seed)  # of what is whole
        images = {
            name: np.array([rows[path] for path in part.files], np.uint8).reshape(-1, *shape)
            for name, part in parts.items()
        }
    said = f"; {' and '.join(shares)} set made by seed {seed}" if shares else ""
    splits: dict[str, Any] = _splits(parts, images)
    return Data("folder", classes, **splits, source=f"pictures in {where}{said}", verified=False).to(place)


def _existing(root: Any) -> Path:
    where, origin = find_root(root)
    if origin == "the cache":
        raise ValueError("root: got None; accepted: the folder of the pictures, here or in MGNET_DATA")
    if not where.exists():
        raise FileNotFoundError(f"{origin}: got {where}, which is not there; accepted: a folder of pictures")
    return where


def _found(root: Path) -> tuple[list[str], dict[str, _Part], dict[Path, str]]:
    """Return the classes, the pictures of each part that is there, and what is wrong with some of them."""
    faults: dict[Path, str] = {}
    strays: list[Path] = []
    found = classes_of(root)
    parts = {name: _Part() for name in found}
    for name, part in parts.items():
        for label, place in enumerate(found[name].values()):
            files = pictures_of(place, strays)
            part.files += files
            part.labels += [label] * len(files)
        part.contents = [*_each(part.files, _content, faults, "")]
    if strays:
        _warn(f"{root}: left out files that are no pictures by name ({len(strays):,})", _names(root, strays))
    return [*found["train"]], parts, faults


# Which picture is in which part


def _parted(found: Mapping[str, _Part], shares: Mapping[str, Any], seed: int) -> dict[str, _Part]:
    """Return the parts that are there, and those that are made of the training pictures."""
    parts = dict(found)
    for name, value in shares.items():
        parts["train"], parts[name] = _set_apart(name, value, parts["train"], seed)
    return parts


def _set_apart(name: str, value: Any, part: _Part, seed: int) -> tuple[_Part, _Part]:
    """Return what is left of the pictures, and those that are set apart, copies together."""
    contents = [content or f"{path}" for path, content in zip(part.files, part.contents, strict=True)]
    first = {content: row for row, content in reversed([*enumerate(contents)])}
    rows = np.array(sorted(first.values()))
    labels = np.array(part.labels)[rows]
    free = np.delete(np.arange(len(rows)), _one_of_each(labels, seed))
    chosen = share(name, value, len(rows))
    if chosen > len(free):
        got = f"{value!r}, which is {chosen} of {len(rows)} different pictures"
        accepted = f"up to {len(free)}, since each class needs one to train on"
        raise DataError(f"{name}: got {got}; accepted: {accepted}")
    apart = {contents[rows[i]] for i in free[stratified(labels[free], chosen, seed)]}
    inside = np.array([content in apart for content in contents], bool)
    return part.rows(np.flatnonzero(~inside)), part.rows(np.flatnonzero(inside))


def _one_of_each(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a row of each class."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(labels))
    return order[np.unique(labels[order], return_index=True)[1]]


def _say_copies(root: Path, parts: Mapping[str, _Part]) -> None:
    """Warn of pictures that are there twice where that spoils a figure."""
    seen: dict[str, tuple[str, int, Path]] = {}
    kinds: list[Path] = []
    leaks: list[Path] = []
    for name, part in parts.items():
        for path, label, content in zip(part.files, part.labels, part.contents, strict=True):
            before = seen.setdefault(content, (name, label, path)) if content else (name, label, path)
            kinds += [path] * (before[1] != label)
            leaks += [path] * (before[0] != name)
    if kinds:
        _warn(f"{root}: copies of pictures of another class ({len(kinds):,})", _names(root, kinds))
    if leaks:
        _warn(f"{root}: copies of pictures of another part ({len(leaks):,})", _names(root, leaks))


# Reading


def _say_damaged(root: Path, faults: Mapping[Path, str], skip: bool) -> None:
    """Refuse damaged files, or warn of them."""
    said = "; ".join(f"{_name(root, path)}: {reason}" for path, reason in sorted(faults.items()))
    if not skip:
        files = "1 file is" if len(faults) == 1 else f"{len(faults):,} files are"
        accepted = "whole pictures, or to skip those that are not (damaged='skip', --skip-damaged)"
        raise DataError(f"{root}: {files} damaged: {said}; accepted: {accepted}")
    _warn(f"{root}: skipped damaged files ({len(faults):,})", said)


def _require_all(root: Path, part: _Part, classes: Sequence[str]) -> None:
    bare = [name for label, name in enumerate(classes) if label not in part.labels]
    if bare:
        raise DataError(
            f"{root}: got no whole picture to train on of {', '.join(bare)}; accepted: at least one"
        )


def _splits(parts: Mapping[str, _Part], images: Mapping[str, np.ndarray]) -> dict[str, Split]:
    normalisation = statistics(torch.from_numpy(images["train"]))
    return {
        name: Split(
            torch.from_numpy(images[name]),
            torch.tensor(part.labels, dtype=torch.int64),
            *normalisation,
            origin=_origin(part, images[name].shape[1:]),
        )
        for name, part in parts.items()
    }


def _decoded(part: _Part, shape: tuple[int, int, int], faults: dict[Path, str]) -> np.ndarray:
    images = np.zeros((len(part.files), *shape), np.uint8)
    rows = {path: row for row, path in enumerate(part.files) if path not in faults}

    def decode(path: Path) -> None:
        images[rows[path]] = pictures.fit(pictures.read(path), *shape[:2])

    with warnings.catch_warnings():  # each thread sets the filters and puts back what it found, in any order
        for _ in _each([*rows], decode, faults, None):
            pass
    return images


def _each(
    files: Sequence[Path], work: Callable[[Path], Any], faults: dict[Path, str], bad: Any
) -> Iterator[Any]:
    """Yield what is made of each file, in order; of what cannot be read, note why."""

    def tried(path: Path) -> Any:
        try:
            return work(path)
        except (ValueError, OSError) as error:
            if is_shortage(error) or (isinstance(error, OSError) and error.errno not in UNREADABLE):
                raise
            said = error.strerror if isinstance(error, OSError) else f"{error}"
            faults[path] = f"{said}".removeprefix(f"{path}: ").partition("; accepted: ")[0]
            return bad

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(tried, files)


def _content(path: Path) -> str:
    with regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _origin(part: _Part, shape: Sequence[int]) -> str:
    contents = hashlib.sha256("".join(part.contents).encode()).hexdigest()
    return f"pictures in form {FORM} of {'×'.join(map(str, shape))}, SHA-256 {contents}"


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _names(root: Path, paths: list[Path]) -> str:
    more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
    return ", ".join(_name(root, path) for path in paths[:SHOWN]) + more


def _warn(what: str, which: str) -> None:
    warnings.warn(f"{what}: {which}", stacklevel=4)
