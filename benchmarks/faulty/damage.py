"""Files that are corrupted at random: bits flipped, bytes overwritten, ends cut off or added.

A case is a seed: it decides the file and what is done to it. Where a hash is known, nothing of it may be
taken for whole; anywhere, what is wrong is said in an exception that is documented.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faulty.children import patience
from faulty.runs import difference
from mgnet import checkpoint
from mgnet.checkpoint import CheckpointError
from mgnet.cli import tables
from mgnet.cli.tables import TableError
from mgnet.data import archives
from mgnet.data.archives import MARKER, Archive, DataError
from mgnet.data.official import CIFAR10, MNIST, Images, read_cifar10, read_mnist

PACKAGE = "cifar-10-binary.tar.gz"
RECORD = 1 + 3 * 32 * 32  # bytes: a label and three planes
RECORDS = 3  # in each file of the small archives


def corrupted(content: bytes, draw: np.random.Generator) -> bytes:
    """Return other bytes: some bits flipped, a piece overwritten or moved, an end cut off or added."""
    changed = bytearray(content)
    start, stop = sorted(draw.integers(0, len(content) + 1, 2).tolist())
    kind = draw.integers(0, 7)
    if kind <= 1:  # a single bit is the hardest to see
        changed[draw.integers(len(content))] ^= 1 << draw.integers(8)
    elif kind == 2:
        for place in draw.integers(0, len(content), draw.integers(2, 20)):
            changed[place] ^= draw.integers(1, 256)
    elif kind == 3:
        del changed[start:]
    elif kind == 4:
        changed += draw.bytes(int(draw.integers(1, 2000)))
    elif kind == 5:
        changed[start:stop] = bytes(stop - start)
    else:
        del changed[start:stop]
    return bytes(changed)


# The small archives.


def small_cifar() -> tuple[Archive, dict[str, bytes]]:
    """Give an archive of a few records, and its files."""
    draw = np.random.default_rng(0)
    files = {}
    for name in CIFAR10.sizes:
        records = draw.integers(0, 256, (RECORDS, RECORD), dtype=np.uint8)
        records[:, 0] %= 10
        files[name] = records.tobytes()
    return with_package(_small(CIFAR10, files), packed(files)), files


def with_package(archive: Archive, content: bytes) -> Archive:
    """Return the archive whose package is this one."""
    known = {PACKAGE: f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return _replaced(archive, packages=known, package_sizes={PACKAGE: len(content)})


def _small(archive: Archive, files: Mapping[str, bytes]) -> Archive:
    sizes = {name: len(content) for name, content in files.items()}
    return _replaced(archive, sizes=sizes, classes=None)


def _replaced(archive: Archive, **values: Any) -> Archive:
    there = {field.name for field in fields(Archive)}
    return replace(archive, **{name: value for name, value in values.items() if name in there})


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return the package of the small archive."""
    return gzip.compress(tarred(files), 1, mtime=0)


def tarred(files: Mapping[str, bytes]) -> bytes:
    """Return what is in the package."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def small_mnist() -> tuple[Archive, dict[str, bytes]]:
    """Give an archive of a few digits whose files have known hashes, and these files."""
    draw = np.random.default_rng(1)
    files = {}
    for part, count in (("train", 5), ("t10k", 3)):
        header = np.array([0x803, count, 28, 28], ">u4").tobytes()
        files[f"{part}-images-idx3-ubyte"] = header + draw.bytes(784 * count)
        labels = draw.integers(0, 10, count, dtype=np.uint8).tobytes()
        files[f"{part}-labels-idx1-ubyte"] = np.array([0x801, count], ">u4").tobytes() + labels
    known = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in files.items()}
    return replace(_small(MNIST, files), known=known), files


# Kinds of files.


@dataclass(frozen=True)
class Kind:
    """Files in a folder, how they are read, and the exception that says that they are damaged.

    ``read`` gives what it read, and whether that is said to be whole; ``pack`` is what is done to the content
    of a file after its corruption.
    """

    files: Mapping[str, bytes]
    read: Callable[[Path], tuple[Any, bool]]
    error: type[Exception]
    pack: Callable[[bytes], bytes] = bytes


def _checkpoint() -> Kind:
    torch.manual_seed(0)
    rows = [{"epoch": 1, "loss": 1.5, "accuracy": None}]
    state = {"model": {"weight": torch.randn(20, 30), "bias": torch.randn(20)}, "seed": 3, "rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        checkpoint.save(path, state)
        content = path.read_bytes()
    return Kind(
        {"a.ckpt": content}, lambda folder: (checkpoint.load(folder / "a.ckpt"), True), CheckpointError
    )


def _package() -> Kind:
    archive, files = small_cifar()

    def read(folder: Path) -> tuple[Any, bool]:
        shutil.rmtree(folder / archive.folder, ignore_errors=True)
        return _images(read_cifar10(folder, download=False, archive=archive))

    return Kind({PACKAGE: packed(files)}, read, DataError)


def _package_anew() -> Kind:
    kind = _package()
    content = gzip.decompress(kind.files[PACKAGE])
    return replace(kind, files={PACKAGE: content}, pack=lambda tar: gzip.compress(tar, 1, mtime=0))


def _cifar() -> Kind:
    archive, files = small_cifar()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[MARKER] = archives.marker_of(archive, digests).encode()
    return Kind(
        files, lambda folder: _images(read_cifar10(folder, download=False, archive=archive)), DataError
    )


def _mnist() -> Kind:
    archive, files = small_mnist()
    return Kind(files, lambda folder: _images(read_mnist(folder, download=False, archive=archive)), DataError)


def _mnist_gz() -> Kind:
    kind = _mnist()
    files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in kind.files.items()}
    return replace(kind, files=files)


def _npy() -> Kind:
    packed = io.BytesIO()
    np.save(packed, np.linspace(0, 1, 40).reshape(20, 2))
    return Kind({"a.npy": packed.getvalue()}, lambda folder: (_table(folder / "a.npy"), False), TableError)


def _csv() -> Kind:
    text = "x,f\n" + "".join(f"{i / 20},{i * i / 7:.17g}\n" for i in range(20))
    return Kind({"a.csv": text.encode()}, lambda folder: (_table(folder / "a.csv"), False), TableError)


def _images(images: Images) -> tuple[Any, bool]:
    return [array.tobytes() for array in (*images.train, *images.test)], images.verified


def _table(path: Path) -> bytes:
    return tables.read(str(path)).columns.tobytes()


KINDS: dict[str, Callable[[], Kind]] = {
    "checkpoints": _checkpoint,
    "packages, .tar.gz": _package,
    "packages, packed anew after it": _package_anew,
    "unpacked files of CIFAR-10, and their list": _cifar,
    "files of MNIST": _mnist,
    "files of MNIST, .gz": _mnist_gz,
    "tables, .npy": _npy,
    "tables, .csv": _csv,
}


def corruptions(case: tuple[str, int, int], folder: Path) -> list[str]:
    """Corrupt a file of a kind, once for each seed from one on, and say what was not noticed."""
    name, first, number = case
    kind, place = KINDS[name](), folder / f"{first}-{os.urandom(4).hex()}"
    place.mkdir()
    for file, content in kind.files.items():
        (place / file).write_bytes(kind.pack(content))
    original, whole = kind.read(place)
    if not whole and name[:6] != "tables":
        raise RuntimeError(f"{name}: what is whole is not taken for it")
    with patience():
        found = [_corruption(kind, place, seed, original) for seed in range(first, first + number)]
    shutil.rmtree(place)
    return [f"{name}, seed {seed}: {text}" for seed, text in enumerate(found, first) if text]


def _corruption(kind: Kind, place: Path, seed: int, original: Any) -> str:
    draw = np.random.default_rng(seed)
    file = list(kind.files)[draw.integers(len(kind.files))]
    content = corrupted(kind.files[file], draw)
    (place / file).write_bytes(kind.pack(content))
    try:
        read, whole = kind.read(place)
    except kind.error:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        (place / file).write_bytes(kind.pack(kind.files[file]))
    if content == kind.files[file] or not whole:
        return ""
    return "taken for whole" if difference(read, original) else ""
