"""Packages, images and tables that were made to do harm: to write elsewhere, to fill memory or the disk."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faulty.damage import packed, small_cifar
from faulty.payloads import Call
from mgnet.data.official import CIFAR10

ZEROS = 2**28  # bytes that pack well


def tarred(*more: tuple[tarfile.TarInfo, bytes], first: bool = False) -> bytes:
    """Return the package of the small archive with members before or behind its files."""
    return gzip.compress(_plain(*more, first=first), 1)


def _plain(*more: tuple[tarfile.TarInfo, bytes], first: bool = False) -> bytes:
    files = [_file(f"{CIFAR10.folder}/{name}", content) for name, content in small_cifar()[1].items()]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in [*more, *files] if first else [*files, *more]:
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _file(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def _other(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def _with_size(field: bytes) -> bytes:
    """Let the header of the first file have another size, with the right sum."""
    content = bytearray(_plain())
    content[124:136] = field
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\x00 " % sum(content[:512])
    return gzip.compress(bytes(content), 1)


def _long(kind: bytes) -> bytes:
    """Begin with a header whose name, or whose further fields, are as long as memory."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, ZEROS
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(ZEROS // 2**20):
            file.write(b"7" * 2**20)
        file.write(_plain())
    return stream.getvalue()


def _large(name: str) -> bytes:
    """Pack a file that is far larger than it may be."""
    member = tarfile.TarInfo(name)
    member.size = ZEROS
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(ZEROS // 2**20):
            file.write(bytes(2**20))
        file.write(_plain())
    return stream.getvalue()


def packages(canary: Path) -> dict[str, Callable[[], bytes]]:
    """Give packages by name; ``canary`` is a file that none may make."""
    up, name = f"{CIFAR10.folder}/../../canary", f"{CIFAR10.folder}/test_batch.bin"
    content = small_cifar()[1]["test_batch.bin"]
    short, long = content[:-1], content + b"x"
    lacking = {key: x for key, x in small_cifar()[1].items() if key != "test_batch.bin"}
    return {
        "nothing": lambda: b"",
        "no gzip": lambda: b"nothing packed" * 100,
        "gzip of nothing": lambda: gzip.compress(b""),
        "gzip of noise": lambda: gzip.compress(np.random.default_rng(0).bytes(20_000)),
        "cut in the middle": lambda: tarred()[:3000],
        "a member that leads out": lambda: tarred(_file(up, b"evil")),
        "a member that leads out, first": lambda: tarred(_file(up, b"evil"), first=True),
        "an absolute member": lambda: tarred(_file(str(canary), b"evil")),
        "a member with backslashes": lambda: tarred(_file("..\\..\\canary", b"evil")),
        "a link that leads out": lambda: tarred(_other(name, tarfile.SYMTYPE, str(canary)), first=True),
        "a hard link": lambda: tarred(_other(name, tarfile.LNKTYPE, "/etc/passwd"), first=True),
        "a folder that is a link": lambda: tarred(
            _other(CIFAR10.folder, tarfile.SYMTYPE, str(canary.parent)), first=True
        ),
        "a device": lambda: tarred(_other(name, tarfile.CHRTYPE), first=True),
        "a block device": lambda: tarred(_other(name, tarfile.BLKTYPE), first=True),
        "a pipe": lambda: tarred(_other(name, tarfile.FIFOTYPE), first=True),
        "a kind that is none": lambda: tarred(_other(name, b"Z"), first=True),
        "a file twice": lambda: tarred(_file(name, content)),
        "a file missing": lambda: packed(lacking),
        "a file too short": lambda: packed({**lacking, "test_batch.bin": short}),
        "a file too long": lambda: packed({**lacking, "test_batch.bin": long}),
        "a file of 256 MiB": lambda: _large(name),
        "escapes in a name": lambda: tarred(_file("../\x1b[2J\n\x07evil", b"")),
        "a size below zero": lambda: _with_size(b"\xff" * 12),
        "a size of 1e24": lambda: _with_size(b"\x80" + b"\x7f" * 11),
        "a size that is no number": lambda: _with_size(b"99999999999x"),
        "a size of 8 GB": lambda: _with_size(b"77777777777\x00"),
        "a name of 256 MiB": lambda: _long(tarfile.GNUTYPE_LONGNAME),
        "a link's name of 256 MiB": lambda: _long(tarfile.GNUTYPE_LONGLINK),
        "further fields of 256 MiB": lambda: _long(tarfile.XHDTYPE),
        "global fields of 256 MiB": lambda: _long(tarfile.XGLTYPE),
        "a sparse file": lambda: tarred(_other(name, tarfile.GNUTYPE_SPARSE), first=True),
        "a member before the checksum breaks": lambda: tarred()[:-6] + b"\x00" * 6,
    }


def digits(files: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Give files that take the place of those of MNIST."""
    name = "train-images-idx3-ubyte"
    good = files[name]

    def header(*numbers: int) -> dict[str, bytes]:
        return {name: np.array(numbers, ">u4").tobytes() + good[4 * len(numbers) :]}

    return {
        "a .gz of 256 MiB": {f"{name}.gz": gzip.compress(bytes(ZEROS), 1)},
        "a .gz of 256 MiB behind the images": {f"{name}.gz": gzip.compress(good + bytes(ZEROS), 1)},
        "a .gz cut": {f"{name}.gz": gzip.compress(good)[:-20]},
        "a .gz that is none": {f"{name}.gz": good},
        "4e9 images": header(0x803, 2**32 - 1, 28, 28),
        "images of 4e9 pixels": header(0x803, 5, 2**32 - 1, 2**32 - 1),
        "another number": header(0x801, 5, 28, 28),
        "labels above nine": {"train-labels-idx1-ubyte": files["train-labels-idx1-ubyte"][:-1] + b"\xff"},
        "nothing": {name: b""},
        "a header alone": {name: good[:16]},
    }


def _npy(header: str, version: int = 1, length: int | None = None) -> bytes:
    text = header.encode("latin1") + b"\n"
    bytes_of_length = 2 if version == 1 else 4
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(bytes_of_length, "little") + text + bytes(800)


def _described(shape: str = "(100,)", kind: str = "'<f8'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


def _saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, **options)
    return buffer.getvalue()


def tables(canary: Path) -> dict[str, tuple[str, bytes]]:
    """Give tables by name, each with the file's name."""
    trap = np.array([Call(os.mkdir, str(canary))], object)
    archived = io.BytesIO()
    np.savez(archived, a=np.ones(3))
    text = {
        "a field of 8 MB": b"0," + b"9" * 2**23 + b"\n",
        "1e6 columns": b",".join([b"1"] * 10**6) + b"\n",
        "bytes that are zero": bytes(10_000),
        "a quotation without end": b'"' + b"x," * 100_000,
        "no line end, and no number": b"x" * 2**22,
        "numbers beyond float64": b"0,1e999\n1,1e999\n",
        "other digits": "\u0661\n".encode() * 9,
        "a letter for a digit, first": b"1.O\n" + b"1\n" * 9,
    }
    return {
        "an object": ("a.npy", _saved(trap, allow_pickle=True)),
        "a pickle": ("a.npy", pickle.dumps(Call(os.mkdir, str(canary)))),
        "an archive": ("a.npy", archived.getvalue()),
        "1e12 numbers": ("a.npy", _npy(_described("(1000000000000,)"))),
        "1e30 numbers": ("a.npy", _npy(_described("(10000000000,) * 3"))),
        "1e30 numbers, written out": ("a.npy", _npy(_described("(10000000000, 10000000000, 10000000000)"))),
        "numbers below zero": ("a.npy", _npy(_described("(-1,)"))),
        "many numbers below zero": ("a.npy", _npy(_described("(-100, -1)"))),
        "no number": ("a.npy", _npy(_described("(0, 1000000000000)"))),
        "a shape that is none": ("a.npy", _npy(_described("[100]"))),
        "a call": ("a.npy", _npy(_described(kind=f"__import__('os').mkdir({str(canary)!r})"))),
        "a type of 2 GB": ("a.npy", _npy(_described(kind="'|V2000000000'"))),
        "a structure": ("a.npy", _npy(_described(kind="[('a', '<f8'), ('b', '<f8')]"))),
        "a structure in itself": ("a.npy", _npy(_described(kind="[('a', " * 500 + "'<f8'" + ")]" * 500), 2)),
        "brackets 1e5 deep": ("a.npy", _npy("(" * 100_000, 2)),
        "signs 1e5 long": ("a.npy", _npy("-" * 100_000 + "1", 2)),
        "a header of 3 GB": ("a.npy", _npy(_described(), 2, 3 * 10**9)),
        "a header of 8 MB": ("a.npy", _npy(_described() + " " * 2**23, 2)),
        "version 9": ("a.npy", _npy(_described(), 9)),
        "zeros": ("a.npy", bytes(1000)),
        **{name: ("a.csv", content) for name, content in text.items()},
    }
