"""One file from an address: no larger than it is known to be, and not slower than a limit."""

from __future__ import annotations

import os
import sys
import threading
from typing import IO

__all__ = ["DownloadError", "fetch"]

# A transfer of fewer bytes a second, over as many seconds, is given up. Over that time, so that a pause does
# not end it; and whatever they are spent on, so that names, headers and redirections do not last for ever.
SLOWEST = 1000
WINDOW = 30.0
PIECE = 2**12  # bytes: few enough that a slow transfer shows that it goes on


class DownloadError(Exception):
    """A file cannot be had from its address."""


def fetch(url: str, path: str | os.PathLike[str], most: int) -> None:
    """Download a file of at most so many bytes; on failure what lies at the path is to be removed."""
    with open(path, "wb") as file:
        transfer = _Transfer(url, file, most)
        # A thread, since no timeout of a socket bounds the time of many small pieces; what waits here, does
        # so for signals too. A thread that is given up ends with its process at the latest.
        thread = threading.Thread(target=transfer.run, name="mgnet download", daemon=True)
        thread.start()
        try:
            watch(transfer, thread)
        finally:
            transfer.wanted = False


def watch(transfer: _Transfer, thread: threading.Thread) -> None:
    """Wait for a download; give one up that is too slow, and raise what went wrong with it."""
    before = 0
    while True:
        thread.join(WINDOW)
        if not thread.is_alive():
            break
        if transfer.received - before < SLOWEST * WINDOW:
            slow = f"fewer than {SLOWEST:,} bytes a second came for {WINDOW:g} seconds"
            given_up = f"was given up after {transfer.received:,} bytes: {slow}"
            raise DownloadError(f"the download from {transfer.url} {given_up}")
        before = transfer.received
    if transfer.error is not None:
        raise transfer.error


class _Transfer:
    """What a thread downloads, while another one watches it."""

    def __init__(self, url: str, file: IO[bytes], most: int) -> None:
        import requests  # not in the thread, whose time is measured
        from tqdm import tqdm

        self.get, self.bar = requests.get, tqdm
        self.url, self.file, self.most = url, file, most
        self.received = 0
        self.wanted = True
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._stream()
        except Exception as error:  # those of requests, and what it lets through of bad addresses and answers
            self.error = DownloadError(f"the download from {self.url} failed ({error})")
            self.error.__cause__ = error

    def _stream(self) -> None:
        # Not pooch's own: that leaves the connection open where a download fails.
        plain = {"Accept-Encoding": "identity"}  # a .gz is to stay one
        hidden = sys.stderr is None or None  # None: unless it is a terminal
        with self.get(self.url, stream=True, timeout=WINDOW, headers=plain) as answer:
            answer.raise_for_status()
            size = int(answer.headers.get("Content-Length", 0))
            self._take(b"", size)
            with self.bar(total=size or None, unit="B", unit_scale=True, disable=hidden) as bar:
                for piece in answer.iter_content(PIECE) if self.wanted else ():
                    self._take(piece, self.received + len(piece))
                    if not self.wanted:
                        break
                    bar.update(len(piece))

    def _take(self, piece: bytes, size: int) -> None:
        """Write what has come, unless the file gets too large."""
        try:
            if size > self.most:
                raise ValueError(f"{size:,} bytes or more; accepted: {self.most:,}")
            self.file.write(piece)
            self.received += len(piece)
        except (OSError, ValueError) as error:
            self.error, self.wanted = error, False
