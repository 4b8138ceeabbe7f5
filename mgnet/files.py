"""Files are written whole or not at all, and lie on the disk when that is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

__all__ = ["beside", "durable", "replacing", "sync_folder"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file that takes the path's place when the block ends well, and vanishes when it does not.

    Parameters
    ----------
    path : path
        The file to be written or replaced; its folder is there.

    Yields
    ------
    file
        Open for writing bytes.
    """
    temporary = beside(path)
    try:
        with durable(temporary) as file:
            yield file
        os.replace(temporary, os.path.realpath(path))  # a link stays a link
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextmanager
def durable(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file that is on the disk, not only on its way there, when the block has ended well.

    Parameters
    ----------
    path : path
        The file to be written; it is not there yet, and its folder is.

    Yields
    ------
    file
        Open for writing bytes.
    """
    with open(path, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Wait until the names in a folder are on the disk; its files are a matter of their own.

    Parameters
    ----------
    path : path
        The folder.
    """
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def beside(path: str | os.PathLike[str]) -> str:
    """Return the name of a file that is not there, in the same folder: only there is moving atomic.

    Parameters
    ----------
    path : path
        The file that it is to become; of a link the one that it leads to.

    Returns
    -------
    str
        A hidden name. (A file of ``tempfile`` would be hidden from others too.)
    """
    return os.path.join(os.path.dirname(os.path.realpath(path)), f".mgnet-{os.urandom(6).hex()}.tmp")
