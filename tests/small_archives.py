"""Small archives in the form of the published ones, and a server for their packages."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mgnet.data import official
from mgnet.data.archives import Archive
from mgnet.data.official import CIFAR10, MNIST

RECORDS = 7  # in each file of the small archives
CIFAR_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
PACKAGE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"


# Files written by struct, number by number


def pixel(file: int, record: int, place: int) -> int:
    return (31 * file + 7 * record + 3 * place + place // 100) % 256


def label(file: int, record: int) -> int:
    return (3 * file + record) % 10


def cifar_files() -> dict[str, bytes]:
    def record(file: int, i: int) -> bytes:
        return struct.pack("B3072B", label(file, i), *(pixel(file, i, p) for p in range(3072)))

    return {name: b"".join(record(f, i) for i in range(RECORDS)) for f, name in enumerate(CIFAR_FILES)}


def mnist_files() -> dict[str, bytes]:
    files = {}
    for f, (part, count) in enumerate((("train", 9), ("t10k", 4))):
        pixels = [pixel(f, i, p) for i in range(count) for p in range(784)]
        files[f"{part}-images-idx3-ubyte"] = struct.pack(f">4I{784 * count}B", 2051, count, 28, 28, *pixels)
        labels = [label(f, i) for i in range(count)]
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(f">2I{count}B", 2049, count, *labels)
    return files


def tarred(files: dict[str, bytes], *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member, content in more:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


CIFAR_CONTENT = cifar_files()
MNIST_CONTENT = mnist_files()
GOOD_TAR = tarred({**CIFAR_CONTENT, "batches.meta.txt": b"airplane\n"})


def small_cifar(package: bytes = GOOD_TAR) -> Archive:
    known = f"sha256:{hashlib.sha256(package).hexdigest()}"
    return replace(CIFAR10, packages={PACKAGE: known}, sizes=dict.fromkeys(CIFAR_FILES, RECORDS * 3073))


def small_mnist() -> tuple[Archive, dict[str, bytes]]:
    packages = {f"{name}.gz": gzip.compress(content) for name, content in MNIST_CONTENT.items()}
    known = {name: f"md5:{hashlib.md5(packed).hexdigest()}" for name, packed in packages.items()}
    sizes = {name: len(content) for name, content in MNIST_CONTENT.items()}
    return replace(MNIST, packages=known, sizes=sizes, known=None), packages


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Server:
    """Serve files from memory, and count the requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.missing = 0  # bytes promised and not sent
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                time.sleep(outer.delay)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + outer.missing))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("MGNET_DATA_URL", made.url + "/")
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def assert_small_mnist(images: official.Images) -> None:
    for f, (count, (pixels, labels)) in enumerate(((9, images.train), (4, images.test))):
        assert pixels.shape == (count, 1, 28, 28)
        assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)
        assert labels.tolist() == [label(f, i) for i in range(count)]
        for i, y, x in ((0, 0, 0), (count - 1, 13, 27), (2, 27, 27)):
            assert pixels[i, 0, y, x] == pixel(f, i, 28 * y + x)
