"""Downloads end: of whatever size and speed, and whatever the other side does."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import environment, finished

from mgnet.cli import main
from mgnet.data import downloads
from mgnet.data.archives import DataError
from mgnet.data.downloads import DownloadError, fetch
from mgnet.data.official import CIFAR10, MNIST, read_cifar10

MOST = 100_000
OK = b"HTTP/1.1 200 OK\r\n"


def slowly(connection: socket.socket, head: bytes, piece: bytes) -> None:
    """Send a head, then pieces for ever: a hundredth of a second apart, and some thousands will do."""
    connection.sendall(head)
    for _ in range(3000):
        time.sleep(0.01)
        connection.sendall(piece)


def at_once(*parts: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: [connection.sendall(part) for part in parts] and None


def silence(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(3000):  # 30 MB, should nobody end it
            connection.sendall(piece)

    return send


@pytest.fixture
def served() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Give a function that answers each request by what it is told, and returns the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    behaviour: list[Callable[[socket.socket], None]] = []
    open_ones: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(10_000)  # the request
            behaviour[0](connection)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                open_ones.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    server = threading.Thread(target=serve, daemon=True)
    server.start()

    def told(what: Callable[[socket.socket], None]) -> str:
        behaviour[:] = [what]
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield told
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in open_ones:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    server.join()


def redirection(where: bytes) -> Callable[[socket.socket], None]:
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n"
    return at_once(head + b"Location: " + where + b"\r\n\r\n")


ANSWERS = {
    "silence": (silence, DownloadError, "given up after 0 bytes|timed out"),
    "a dripping head": (lambda c: slowly(c, OK + b"X: ", b"x"), DownloadError, "given up after 0 bytes"),
    "a head without end": (endless(OK, b"X: " + 1000 * b"x" + b"\r\n"), DownloadError, "failed"),
    "a line without end": (endless(OK + b"X: ", 1000 * b"x"), DownloadError, "failed"),
    "a dripping body": (
        lambda c: slowly(c, OK + b"Content-Length: 90000\r\n\r\n", b"x"),
        DownloadError,
        "given up after 0 bytes: fewer than 1,000 bytes a second came for 0.3 seconds",
    ),
    "dripping chunks": (
        lambda c: slowly(c, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        DownloadError,
        "given up after",
    ),
    "a dripping size of a chunk": (
        lambda c: slowly(c, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        DownloadError,
        "given up after 0 bytes",
    ),
    "a dripping redirection": (
        lambda c: slowly(c, b"HTTP/1.1 302 Found\r\nLocation: /", b"x"),
        DownloadError,
        "given up after 0 bytes",
    ),
    "a body without end": (
        endless(OK + b"\r\n", 10_000 * b"x"),
        ValueError,
        "bytes or more; accepted: 100,000",
    ),
    "chunks without end": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"2710\r\n" + 10_000 * b"x" + b"\r\n"),
        ValueError,
        "bytes or more; accepted: 100,000",
    ),
    "a body that is announced too large": (
        at_once(OK + b"Content-Length: 1000000000000\r\n\r\n"),
        ValueError,
        "1,000,000,000,000 bytes or more; accepted: 100,000",
    ),
    "a body that breaks off": (
        at_once(OK + b"Content-Length: 90000\r\n\r\n", b"some"),
        DownloadError,
        "failed",
    ),
    "no size": (at_once(OK + b"Content-Length: much\r\n\r\n", b"some"), DownloadError, "failed"),
    "not found": (at_once(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), DownloadError, "404"),
    "not now": (at_once(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), DownloadError, "503"),
    "redirections without end": (redirection(b"/"), DownloadError, "redirects"),
    "redirection to a file": (redirection(b"file:///etc/passwd"), DownloadError, "failed"),
    "redirection to nothing": (redirection(b"http://["), DownloadError, "failed"),
    "no answer": (at_once(), DownloadError, "failed"),
    "no HTTP": (at_once(b"SSH-2.0-OpenSSH\r\n"), DownloadError, "failed"),
}


def impatient(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Give up in a moment what is slow; a busy machine makes it slower still."""
    if "given up" in ANSWERS[case][2]:
        monkeypatch.setattr(downloads, "WINDOW", 0.3)


@pytest.mark.parametrize("case", ANSWERS)
def test_a_download_ends(served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    impatient(monkeypatch, case)
    answer, kind, words = ANSWERS[case]
    with pytest.raises(kind, match=words):
        fetch(served(answer), tmp_path / "file", MOST)
    assert (tmp_path / "file").stat().st_size <= MOST


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://", "http://[", "http://\udcff/", "http://a b/", "ftp://x/"]
)
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="failed"):
        fetch(url, tmp_path / "file", MOST)


@pytest.mark.parametrize("size", [0, 1, MOST])
def test_what_is_small_enough_comes_whole(served: Any, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    for head in (f"Content-Length: {size}\r\n", ""):
        fetch(served(at_once(OK + head.encode() + b"\r\n", content[:size])), tmp_path / "file", MOST)
        assert (tmp_path / "file").read_bytes() == content[:size]


@pytest.mark.parametrize(
    ("received", "ends"),
    [
        ([30_000, 60_000, 90_000], None),  # at the limit
        ([90_000, 120_000, 150_000], None),
        ([30_000, 30_001, 90_000], 30_001),  # a pause that is as long as the window
        ([0, 10**9], 0),
        ([29_999], 29_999),
    ],
)
def test_a_speed_is_that_of_a_window(received: list[int], ends: int | None) -> None:
    """What is joined for a window's time is a pretended thread, which lets the next bytes come."""
    transfer: Any = SimpleNamespace(url="there", received=0, error=None)
    coming = iter(received)

    def join(seconds: float) -> None:
        assert seconds == downloads.WINDOW == 30.0
        transfer.received = next(coming, None)

    thread: Any = SimpleNamespace(join=join, is_alive=lambda: transfer.received is not None)
    if ends is None:
        downloads.watch(transfer, thread)
    else:
        with pytest.raises(DownloadError, match=f"given up after {ends:,} bytes"):
            downloads.watch(transfer, thread)


# From the shell


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("silence", 2),
        ("a dripping body", 2),
        ("a body that breaks off", 2),
        ("not found", 2),
        ("not now", 2),
        ("redirections without end", 2),
        ("chunks without end", 4),
        ("a body that is announced too large", 4),
    ],
)
@pytest.mark.parametrize("dataset", [CIFAR10, MNIST], ids=lambda archive: archive.name)
def test_the_shell_says_what_is_the_matter(
    served: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dataset: Any,
    case: str,
    code: int,
) -> None:
    impatient(monkeypatch, case)
    monkeypatch.setenv("MGNET_DATA_URL", served(ANSWERS[case][0]))
    for package in dataset.package_sizes:
        monkeypatch.setitem(dataset.package_sizes, package, MOST)
    name = dataset.name.replace("-", "").lower()
    assert main(["train", "net", "--dataset", name, "--data", str(tmp_path)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("mgnet: error: ")
    assert "http://127.0.0.1" in err
    assert list(tmp_path.iterdir()) == []


def test_a_page_instead_of_a_file_is_damaged(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = OK + b"Content-Type: text/html\r\nContent-Length: 20\r\n\r\n<html>Log in.</html>"
    monkeypatch.setenv("MGNET_DATA_URL", served(at_once(page)))
    with pytest.raises(DataError, match=r"what came is damaged"):
        read_cifar10(tmp_path)
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import json, resource, sys
address, folder, size = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
from mgnet.cli import main
sys.exit(main(["train", "net", "--dataset", "cifar10", "--data", folder]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits")
def test_a_disk_that_fills(served: Any, tmp_path: Path) -> None:
    """A file reaches the limit of its size, which is as near as one comes to a full disk without one."""
    url = served(endless(OK + b"Content-Length: 5000000\r\n\r\n", 10_000 * b"x"))
    argument = json.dumps([url, str(tmp_path), 100_000])
    done = finished("-c", LIMITED, argument, env=environment(MGNET_DATA_URL=url))
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mgnet: error: ")
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []
