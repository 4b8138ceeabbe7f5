"""Downloads from a server that cuts, stalls, drips, never ends, or sends something else."""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from faulty.children import End, spawn, together
from faulty.damage import packed, small_cifar
from mgnet.data.official import read_cifar10

ARCHIVE, FILES = small_cifar()
CONTENT = packed(FILES)
# What is promised for 170 MB takes minutes to be seen; the small archive has its own measures.
LIMITS = {"WINDOW": 1.0}
SECONDS = 20.0


class Handler(BaseHTTPRequestHandler):
    """Answers as the first part of the address says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with suppress(OSError):  # the other side has seen enough
            WAYS[self.path.split("/")[1]](self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def head(self, length: int | str | None = len(CONTENT), **more: str) -> None:
        """Begin an answer."""
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, text in more.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()


def _whole(answer: Handler) -> None:
    answer.head()
    answer.wfile.write(CONTENT)


def _cut(answer: Handler) -> None:
    answer.head()
    answer.wfile.write(CONTENT[: len(CONTENT) // 2])


def _cut_without_a_length(answer: Handler) -> None:
    answer.head(None)
    answer.wfile.write(CONTENT[: len(CONTENT) // 2])


def _stalled(answer: Handler) -> None:
    _cut(answer)
    _sleep()


def _dripping(answer: Handler) -> None:
    answer.head()
    for byte in CONTENT:
        answer.wfile.write(bytes([byte]))
        time.sleep(0.2)


def _endless(answer: Handler) -> None:
    answer.head(None)
    while True:
        answer.wfile.write(bytes(2**16))
        time.sleep(0.001)


def _longer(answer: Handler) -> None:
    answer.head(10**12)
    while True:
        answer.wfile.write(bytes(2**16))
        time.sleep(0.001)


def _dripping_head(answer: Handler) -> None:
    for i in range(10**6):
        answer.wfile.write(b"HTTP/1.1 200 OK\r\n" if i == 0 else b"X-%d: 1\r\n" % i)
        time.sleep(0.1)


def _endless_head(answer: Handler) -> None:
    answer.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        answer.wfile.write(b"x" * 2**16)


def _silent(answer: Handler) -> None:
    _sleep()


def _closed(answer: Handler) -> None:
    pass


def _no_http(answer: Handler) -> None:
    answer.wfile.write(b"\x00\xff no answer at all\r\n\r\n")


def _another(answer: Handler) -> None:
    answer.head(5)
    answer.wfile.write(b"wrong")


def _flipped(answer: Handler) -> None:
    answer.head()
    answer.wfile.write(CONTENT[:-9] + bytes([CONTENT[-9] ^ 1]) + CONTENT[-8:])


def _of_the_same_form(answer: Handler) -> None:
    files = {name: content[:-1] + b"x" for name, content in FILES.items()}
    content = packed(files)
    answer.head(len(content))
    answer.wfile.write(content)


def _page(answer: Handler) -> None:
    page = b"<html>please log in</html>"
    answer.head(len(page), Content_Type="text/html")
    answer.wfile.write(page)


def _bomb(answer: Handler) -> None:
    content = gzip.compress(bytes(2**28), 1)
    answer.head(len(content), Content_Encoding="gzip")
    answer.wfile.write(content)


def _chunks_cut(answer: Handler) -> None:
    answer.head(None, Transfer_Encoding="chunked")
    answer.wfile.write(b"%x\r\n" % 10**6 + CONTENT[:1000])


def _chunks_that_are_none(answer: Handler) -> None:
    answer.head(None, Transfer_Encoding="chunked")
    answer.wfile.write(b"zz\r\nnothing\r\n")


def _round(answer: Handler) -> None:
    answer.send_response(302)
    answer.send_header("Location", answer.path)
    answer.send_header("Content-Length", "0")
    answer.end_headers()


def _to_a_file(answer: Handler) -> None:
    answer.send_response(302)
    answer.send_header("Location", "file:///etc/passwd")
    answer.send_header("Content-Length", "0")
    answer.end_headers()


def _status(code: int) -> Callable[[Handler], None]:
    return lambda answer: answer.send_error(code)


def _length(text: str) -> Callable[[Handler], None]:
    def answer_with(answer: Handler) -> None:
        answer.head(text)
        answer.wfile.write(CONTENT)

    return answer_with


def _sleep() -> None:
    time.sleep(600)  # the server ends before


WAYS: dict[str, Callable[[Handler], None]] = {
    "whole": _whole,
    "cut": _cut,
    "cut-without-a-length": _cut_without_a_length,
    "stalled": _stalled,
    "dripping": _dripping,
    "endless": _endless,
    "longer-than-any-disk": _longer,
    "dripping-head": _dripping_head,
    "endless-head": _endless_head,
    "silent": _silent,
    "closed": _closed,
    "no-http": _no_http,
    "another": _another,
    "flipped": _flipped,
    "of-the-same-form": _of_the_same_form,
    "page": _page,
    "bomb": _bomb,
    "chunks-cut": _chunks_cut,
    "chunks-that-are-none": _chunks_that_are_none,
    "round": _round,
    "to-a-file": _to_a_file,
    "404": _status(404),
    "500": _status(500),
    "a-length-below-zero": _length("-5"),
    "a-length-that-is-none": _length("many"),
}
# The ways in which the file does come, whatever the head says of it.
WHOLE = ("whole", "a-length-below-zero", "a-length-that-is-none")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve from a process of its own, which may have threads, for as long as the block lasts."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def serve() -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()

    pid = spawn(lambda: (serve(), _sleep()), folder / "server")
    listening.close()
    try:
        yield url
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def read(url: str, root: Path) -> None:
    """Download into a folder and read, in this process."""
    if importlib.util.find_spec("mgnet.data.downloads"):
        vars(importlib.import_module("mgnet.data.downloads")).update(LIMITS)
    os.environ["MGNET_DATA_URL"] = url
    print("verified" if read_cifar10(root, archive=replace(ARCHIVE)).verified else "unverified")


def download(way: str, folder: Path, url: str, readers: int = 1) -> str:
    """Download in a way, in several processes at once; none hangs, and nothing is left but what is whole."""
    root = folder / f"{way}-{readers}"
    ends = together([partial(read, f"{url}/{way}", root)] * readers, folder, SECONDS)
    found = next((text for end in ends if (text := _judged(way, end))), "")
    names = {ARCHIVE.folder} if all(end.code == 0 for end in ends) else set()
    left = {path.name for path in root.iterdir()} ^ names if root.exists() else set()
    shutil.rmtree(root, ignore_errors=True)
    return f"{way}: {found or f'leaves {sorted(left)}'}" if found or left else ""


def _judged(way: str, end: End) -> str:
    if end.code == 0:
        return "" if way in WHOLE and "verified" in end.said.split() else "taken for whole"
    if (
        end.code != 1
        or way == "whole"
        or not end.error.startswith(("FileNotFoundError: CIFAR", "mgnet.data.archives.DataError"))
    ):
        return str(end)
    return ""
