"""The published sets as arrays: CIFAR-10 and -100 in both of their forms, MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from .archives import BROKEN, Archive, DataError, is_unpacked, locate
from .pickled import unpickled
from .published import (
    BATCHES,
    CIFAR10,
    CIFAR10_PYTHON,
    CIFAR100,
    CIFAR100_PYTHON,
    COARSE,
    FASHION,
    FINE,
    LOOKALIKES,
    MNIST,
    PLANES,
)

__all__ = ["CIFAR10", "MNIST", "Files", "Images", "read_cifar10", "read_cifar100"]
__all__ += ["read_fashion_mnist", "read_idx", "read_mnist"]

Part = tuple[np.ndarray, np.ndarray]
Root = str | os.PathLike[str] | None
FEW = 10  # classes whose numbers a message shows


@dataclass(frozen=True, eq=False)
class Images:
    """The images of an archive in the official order, and where and how they were read."""

    train: Part
    test: Part
    folder: Path
    verified: bool
    doubts: list[str] = field(default_factory=list)


def read_cifar10(
    root: Root = None,
    *,
    download: bool = True,
    archive: Archive = CIFAR10,
    python: Archive = CIFAR10_PYTHON,
) -> Images:
    """Return the images of CIFAR-10, of shape (3, 32, 32) each, from the binary version or from Python's."""
    files = Files((archive, python), root, download)
    if files.archive is archive:
        names = [BATCHES, ["test_batch.bin"]]
        train, test = (_records(files, some, 1, 0, 10) for some in names)
    else:
        names = [[name.removesuffix(".bin") for name in BATCHES], ["test_batch"]]
        train, test = (_pickles(files, some, "labels", 10) for some in names)
    return files.images(train, test, names)


def read_cifar100(
    root: Root = None,
    *,
    labels: str = "fine",
    download: bool = True,
    archive: Archive = CIFAR100,
    python: Archive = CIFAR100_PYTHON,
) -> Images:
    """Return the images of CIFAR-100, of shape (3, 32, 32) each, with the labels "fine" or "coarse"."""
    files = Files((archive, python), root, download)
    kinds, column = (len(FINE), 1) if labels == "fine" else (len(COARSE), 0)
    if files.archive is archive:
        names = [["train.bin"], ["test.bin"]]
        train, test = (_records(files, some, 2, column, kinds) for some in names)
    else:
        names = [["train"], ["test"]]
        train, test = (_pickles(files, some, f"{labels}_labels", kinds) for some in names)
    return files.images(train, test, names, kinds)


def _records(files: Files, names: list[str], head: int, column: int, kinds: int) -> Part:
    """Return what stands in files of records: some labels, of which one counts, and three planes."""
    record = head + math.prod(PLANES)
    counts = [files.archive.sizes[name] // record for name in names]
    images = np.empty((sum(counts), *PLANES), np.uint8)
    labels = np.empty(sum(counts), np.int64)
    start = 0
    for name, count in zip(names, counts, strict=True):
        records = files.content(name, record).reshape(count, record)
        part = slice(start, start := start + count)
        images[part] = records[:, head:].reshape(count, *PLANES)
        labels[part] = files.labels(name, records[:, column], kinds)
    return images, labels


def _pickles(files: Files, names: list[str], key: str, kinds: int) -> Part:
    """Return what stands in pickles, each a dictionary with the pixels and a list of labels."""
    parts = [_pickle(files, name, key, kinds) for name in names]
    images, labels = (np.concatenate(some) for some in zip(*parts, strict=True))
    return images.reshape(-1, *PLANES), labels


def _pickle(files: Files, name: str, key: str, kinds: int) -> Part:
    count, pixels = files.archive.records[name], math.prod(PLANES)
    where, content = files.path(name), files.read(name)
    try:
        found = unpickled(content)
        if not isinstance(found, dict):
            raise ValueError(f"it has {type(found).__name__}; accepted: a dictionary")
        images, labels = (_entry(found, wanted) for wanted in ("data", key))
        if images.dtype != np.uint8 or images.shape != (count, pixels):
            got = f"data of {images.dtype}, shape {images.shape}"
            raise ValueError(f"it has {got}; accepted: uint8, shape ({count}, {pixels})")
        if labels.dtype.kind not in "iu" or labels.shape != (count,):
            raise ValueError(f"it has {key} of shape {labels.shape}; accepted: {count} integers")
    except ValueError as error:
        raise DataError(f"{where}: not a file of arrays as it should be: {error}") from error
    return images, files.labels(name, labels, kinds)


def _entry(found: dict[Any, Any], name: str) -> np.ndarray:
    """Return an array, or a list of integers, by its name: Python 2's strings may have been kept as bytes."""
    value = found.get(name, found.get(name.encode()))
    if type(value) is list and set(map(type, value)) <= {int}:
        if any(not 0 <= number < 2**31 for number in value):
            raise ValueError(f"it has {name} that are no labels")
        value = np.array(value, np.int64)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"it has no {name!r}; accepted: an array, or a list of integers")
    return value


def read_mnist(root: Root = None, *, download: bool = True, archive: Archive = MNIST) -> Images:
    """Return the images of MNIST, of shape (1, 28, 28) each, from the IDX files, plain or with .gz."""
    files = Files((archive,), root, download)
    train, test = (_pair(files, part) for part in ("train", "t10k"))
    return files.images(train, test, [[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")])


def read_fashion_mnist(root: Root = None, *, download: bool = True, archive: Archive = FASHION) -> Images:
    """Return the images of Fashion-MNIST, whose files are as those of MNIST."""
    return read_mnist(root, download=download, archive=archive)


def _pair(files: Files, part: str) -> Part:
    images, labels = (read_idx(files, f"{part}-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
    return images[:, None].copy(), files.labels(f"{part}-labels-idx1-ubyte", labels, 10)


def read_idx(files: Files, name: str) -> np.ndarray:
    """Return the bytes of a file of MNIST, named without .gz, of shape (count, 28, 28) or (count,)."""
    shape = (28, 28) if "idx3" in name else ()
    record, header = math.prod(shape), 4 * (2 + len(shape))
    content = files.content(name, record, header)
    count = (len(content) - header) // record
    wanted = (0x0801 + len(shape), count, *shape)
    found = tuple(np.frombuffer(content[:header], ">u4").tolist())
    if found != wanted:
        path = files.path(name)
        raise DataError(f"{path}: the header says {found}; accepted: {wanted} (magic number, then sizes)")
    return content[header:].reshape(count, *shape)


class Files:
    """The files of the form in which a set is there; the hash of each is noted when it is read."""

    def __init__(self, forms: Sequence[Archive], root: Root, download: bool) -> None:
        self.archive, self.folder = locate(forms, root, download)
        self.digests: dict[str, str] = {}
        self.strangers: list[str] = []  # names of files that are not known to be the published ones

    def images(self, train: Part, test: Part, names: list[list[str]], kinds: int = 10) -> Images:
        """Return what was read, of each part from files of such names, and what is to be thought of it."""
        verified = not self.strangers or is_unpacked(self.archive, self.folder, self.digests)
        if verified:
            return Images(train, test, self.folder, True)
        self._require_name()
        known = self.archive.known is not None
        doubts = [f"{name} is not the published file" for name in self.strangers if known]
        classes = [_by_kind(counts, kinds) for counts in self.archive.classes or (None, None)]
        for part, (pixels, labels), published in zip(names, (train, test), classes, strict=True):
            doubts += [*_blank(part, pixels), *_unlike(part, labels, published)]
        return Images(train, test, self.folder, False, doubts)

    def _require_name(self) -> None:
        """Refuse a folder that says of itself that it is of another set, whose files look alike."""
        for other in self._others():
            parts = PurePosixPath(other.folder).parts
            if self.folder.absolute().parts[-len(parts) :] == parts:
                self._refuse(self.folder, f"the folder of {other.name}")

    def _others(self) -> list[Archive]:
        return [other for other in LOOKALIKES if other.name != self.archive.name]

    def _refuse(self, path: Path, got: str) -> NoReturn:
        raise DataError(f"{path}: got {got}; accepted: {self.archive.name}")

    def path(self, name: str) -> Path:
        """Return where a file lies, with .gz or without."""
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():  # asked before opening, which would wait for ever at a pipe
                return path
            if path.exists():
                raise DataError(f"{path}: is there and is not a file")
        raise DataError(f"{self.folder}: {name} is missing; accepted: {', '.join(self.archive.sizes)}")

    def read(self, name: str) -> bytes:
        """Return the bytes of a file, no more than are allowed; of another set's that is a DataError."""
        size, path = self.archive.sizes[name], self.path(name)
        try:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
                data = file.read(size + 1)  # one more tells 'too long' without reading all of it
        except BROKEN as error:
            raise DataError(f"{path}: damaged ({error})") from error
        if len(data) > size:
            raise DataError(f"{path}: more than {size:,} bytes; accepted: {self._accepted(size)}")
        self.digests[name] = hashlib.sha256(data).hexdigest()
        if not self.archive.has_published(name, data):
            self.strangers.append(name)
            for other in self._others():
                if other.has_published(name, data):
                    self._refuse(path, f"a file of {other.name}")
        return data

    def _accepted(self, size: int) -> str:
        return f"{size:,} bytes" if self.archive.exact else f"up to {size:,} bytes"

    def content(self, name: str, record: int, header: int = 0) -> np.ndarray:
        """Return the bytes of a file of records, which has as many as it should."""
        data, size = self.read(name), self.archive.sizes[name]
        if len(data) < size:
            last = max(len(data) - header, 0) // record
            accepted = f"accepted: {size:,} bytes, which are {(size - header) // record:,} records"
            ends = f"ends in record {last} (from 0), after {len(data):,} bytes"
            raise DataError(f"{self.path(name)}: {ends}; {accepted}")
        return np.frombuffer(data, np.uint8)

    def labels(self, name: str, labels: np.ndarray, kinds: int) -> np.ndarray:
        """Return labels after a look that they are those of so many classes."""
        wrong = np.flatnonzero((labels < 0) | (labels >= kinds))
        if wrong.size:
            said = f"record {wrong[0]} (from 0): label {labels[wrong[0]]}; accepted: 0 to {kinds - 1}"
            raise DataError(f"{self.path(name)}, {said}")
        return labels.astype(np.int64)


def _by_kind(counts: list[int] | None, kinds: int) -> list[int] | None:
    """Return how many images of each class were published; coarser classes have equal shares."""
    return counts if counts is None or len(counts) == kinds else kinds * [sum(counts) // kinds]


def _blank(names: list[str], images: np.ndarray) -> Iterator[str]:
    """Say which files have images without anything in them; none was published."""
    for name, some in zip(names, np.split(images, len(names)), strict=True):
        pixels = some.reshape(len(some), -1)
        blank = int(np.sum(pixels.max(axis=1) == pixels.min(axis=1)))
        if blank:
            yield f"{name}: {blank:,} of {len(some):,} images are of one colour throughout"


def _unlike(names: list[str], labels: np.ndarray, published: list[int] | None) -> Iterator[str]:
    """Say what is the matter with the classes of a part."""
    where = " to ".join(dict.fromkeys((names[0], names[-1])))
    if labels.min() == labels.max():
        yield f"{where}: all {len(labels):,} images are of class {labels[0]}"
        return
    if published is None:
        return
    found = np.bincount(labels, minlength=len(published)).tolist()
    if found != published and len(found) <= FEW:
        yield f"{where}: images of the classes 0 to {len(found) - 1}: {found}; published: {published}"
    elif found != published:
        wrong = [i for i, (got, wanted) in enumerate(zip(found, published, strict=True)) if got != wanted]
        said = f"class {wrong[0]} has {found[wrong[0]]:,} images; published: {published[wrong[0]]:,}"
        yield f"{where}: {said}" + (f" (and {len(wrong) - 1} more classes)" if len(wrong) > 1 else "")
