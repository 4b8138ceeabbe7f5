"""CIFAR-10, its binary version without pickles, and MNIST: what their files are called, how they are read."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .archives import BROKEN, Archive, DataError, is_verified, locate

__all__ = ["CIFAR10", "MNIST", "Files", "Images", "read_cifar10", "read_idx", "read_mnist"]


Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Images:
    """The images of an archive in the official order, and where and how they were read."""

    train: Part
    test: Part
    folder: Path
    verified: bool
    doubts: list[str] = field(default_factory=list)


PLANES = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # the label, then the red, green and blue plane
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]
PACKAGE = "cifar-10-binary.tar.gz"

CIFAR10 = Archive(
    name="CIFAR-10",
    base="https://www.cs.toronto.edu/~kriz",
    packages={PACKAGE: "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    package_sizes={PACKAGE: 170_052_171},
    folder="cifar-10-batches-bin",
    sizes=dict.fromkeys([*BATCHES, "test_batch.bin"], 10_000 * RECORD),
    classes=(10 * [5000], 10 * [1000]),
)

# Each file with its bytes and its SHA-256, and the bytes and the MD5 of its package.
DIGITS = {
    "train-images-idx3-ubyte": (
        *(16 + 60_000 * 784, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        *(9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ),
    "train-labels-idx1-ubyte": (
        *(8 + 60_000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        *(28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    "t10k-images-idx3-ubyte": (
        *(16 + 10_000 * 784, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        *(1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    ),
    "t10k-labels-idx1-ubyte": (
        *(8 + 10_000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        *(4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}
MNIST = Archive(
    name="MNIST",
    base="https://ossci-datasets.s3.amazonaws.com/mnist",
    packages={f"{name}.gz": f"md5:{md5}" for name, (*_, md5) in DIGITS.items()},
    package_sizes={f"{name}.gz": size for name, (_, _, size, _) in DIGITS.items()},
    folder="MNIST/raw",
    sizes={name: size for name, (size, *_) in DIGITS.items()},
    known={name: sha for name, (_, sha, *_) in DIGITS.items()},
    classes=(
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
)


def read_cifar10(
    root: str | os.PathLike[str] | None = None, *, download: bool = True, archive: Archive = CIFAR10
) -> Images:
    """Return the images of CIFAR-10, of shape (3, 32, 32) each, from the binary version's files."""
    files = Files(archive, root, download)
    train, test = (_records(files, names) for names in (BATCHES, ["test_batch.bin"]))
    return files.images(train, test, [BATCHES, ["test_batch.bin"]])


def _records(files: Files, names: list[str]) -> Part:
    counts = [files.archive.sizes[name] // RECORD for name in names]
    images, labels = np.empty((sum(counts), *PLANES), np.uint8), np.empty(sum(counts), np.int64)
    start = 0
    for name, count in zip(names, counts, strict=True):
        records = files.content(name, RECORD).reshape(count, RECORD)
        part = slice(start, start := start + count)
        images[part] = records[:, 1:].reshape(count, *PLANES)
        labels[part] = files.labels(name, records[:, 0])
    return images, labels


def read_mnist(
    root: str | os.PathLike[str] | None = None, *, download: bool = True, archive: Archive = MNIST
) -> Images:
    """Return the images of MNIST, of shape (1, 28, 28) each, from the IDX files, plain or with .gz."""
    files = Files(archive, root, download)
    train, test = (_pair(files, part) for part in ("train", "t10k"))
    return files.images(train, test, [[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")])


def _pair(files: Files, part: str) -> Part:
    images, labels = (read_idx(files, f"{part}-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
    return images[:, None].copy(), files.labels(f"{part}-labels-idx1-ubyte", labels)


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
    """The files of an archive in a folder; the hash of each is noted when it is read."""

    def __init__(self, archive: Archive, root: str | os.PathLike[str] | None, download: bool) -> None:
        self.archive = archive
        self.folder = locate(archive, root, download)
        self.digests: dict[str, str] = {}

    def images(self, train: Part, test: Part, names: list[list[str]]) -> Images:
        """Return what was read, of each part from files of such names, and what is to be thought of it."""
        if is_verified(self.archive, self.folder, self.digests):
            return Images(train, test, self.folder, True)
        known = self.archive.known or self.digests
        doubts = [f"{n} is not the published file" for n in self.digests if self.digests[n] != known[n]]
        classes = self.archive.classes or (None, None)
        for part, (pixels, labels), published in zip(names, (train, test), classes, strict=True):
            doubts += [*_blank(part, pixels), *_unlike(part, labels, published)]
        return Images(train, test, self.folder, False, doubts)

    def path(self, name: str) -> Path:
        """Return where a file lies, with .gz or without."""
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():  # asked before opening, which would wait for ever at a pipe
                return path
            if path.exists():
                raise DataError(f"{path}: is there and is not a file")
        raise DataError(f"{self.folder}: {name} is missing; accepted: {', '.join(self.archive.sizes)}")

    def content(self, name: str, record: int, header: int = 0) -> np.ndarray:
        """Return the bytes of a file, which has as many as it should."""
        size, path = self.archive.sizes[name], self.path(name)
        try:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
                data = file.read(size + 1)  # one more tells 'too long' without reading all of it
        except BROKEN as error:
            raise DataError(f"{path}: damaged ({error})") from error
        accepted = f"accepted: {size:,} bytes, which are {(size - header) // record:,} records"
        if len(data) > size:
            raise DataError(f"{path}: more than {size:,} bytes; {accepted}")
        if len(data) < size:
            last = max(len(data) - header, 0) // record
            raise DataError(f"{path}: ends in record {last} (from 0), after {len(data):,} bytes; {accepted}")
        self.digests[name] = hashlib.sha256(data).hexdigest()
        return np.frombuffer(data, np.uint8)

    def labels(self, name: str, labels: np.ndarray) -> np.ndarray:
        """Return labels after a look that they are digits."""
        wrong = np.flatnonzero(labels > 9)
        if wrong.size:
            said = f"record {wrong[0]} (from 0): label {labels[wrong[0]]}; accepted: 0 to 9"
            raise DataError(f"{self.path(name)}, {said}")
        return labels.astype(np.int64)


def _blank(names: list[str], images: np.ndarray) -> Iterator[str]:
    """Say which files have images without anything in them; none was published."""
    for name, some in zip(names, np.split(images, len(names)), strict=True):
        pixels = some.reshape(len(some), -1)
        blank = int(np.sum(pixels.max(axis=1) == pixels.min(axis=1)))
        if blank:
            yield f"{name}: {blank:,} of {len(some):,} images are of one colour throughout"


def _unlike(names: list[str], labels: np.ndarray, published: list[int] | None) -> Iterator[str]:
    """Say what is the matter with the classes of a part."""
    found = np.bincount(labels, minlength=10).tolist()
    where = " to ".join(dict.fromkeys((names[0], names[-1])))
    if max(found) == len(labels):
        yield f"{where}: all {len(labels):,} images are of class {labels[0]}"
    elif published not in (None, found):
        yield f"{where}: images of the classes 0 to 9: {found}; published: {published}"
