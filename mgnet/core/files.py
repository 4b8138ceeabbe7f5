"""Files are written whole or not at all, and lie on the disk when that is said; only files are read."""

from __future__ import annotations

import errno
import os
import re
import stat
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["beside", "durable", "locked", "mapped", "regular", "replacing", "sweep", "sync_folder"]

# What file systems say that do not sync folders.
UNSYNCED = (errno.EINVAL, errno.ENOTSUP)
# Characters of a file's name that stand in that of its temporary file: a name has 255 bytes at most.
LONGEST = 32

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file that takes the path's place when the block ends well, and vanishes when it does not."""
    temporary = beside(path)
    try:
        with durable(temporary) as file:
            yield file
        os.replace(temporary, os.path.realpath(path))  # a link stays a link
        sync_folder(os.path.dirname(temporary))
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        # A full disk has no name, and the temporary file is nobody's.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = os.fspath(path)
        raise


@contextmanager
def durable(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file that is on the disk, not only on its way there, when the block has ended well."""
    with open(path, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Wait until the names in a folder are on the disk; its files are a matter of their own."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(folder)


def beside(path: str | os.PathLike[str]) -> str:
    """Return the name of a file that is not there, in the same folder: only there is moving atomic.

    (A file of ``tempfile`` would be hidden from others too.)
    """
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".mgnet-{name[:LONGEST]}-{os.urandom(6).hex()}.tmp")


def sweep(folder: str | os.PathLike[str], names: Collection[str]) -> None:
    """Remove what processes left that were killed while they wrote some files of a folder.

    The caller holds the folder's lock, so that nobody is writing them. What becomes another file is left
    alone, but for that of versions that did not name it.
    """
    known = "|".join(map(re.escape, names))
    stray = re.compile(rf"\.mgnet-(?:(?:{known})-)?[0-9a-f]{{12}}\.tmp")
    for name in os.listdir(folder):
        if stray.fullmatch(name):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


@contextmanager
def locked(path: str | os.PathLike[str], timeout: float = -1) -> Iterator[None]:
    """Hold a lock, free when its process is killed; a TimeoutError if another has it for so many seconds."""
    from filelock import FileLock  # late: only what writes into shared folders needs it

    with FileLock(path, timeout):
        try:
            yield
        finally:
            # Removed while it is held: who waits sees that the file has lost its name, and tries anew.
            with suppress(OSError):  # Windows keeps what is open
                os.unlink(path)


@contextmanager
def regular(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    """Open a file for reading, without waiting; a pipe, a device, a socket or a folder is a ValueError."""
    _require_regular(os.stat(path))  # first: opening a pipe waits, opening a device may do anything
    flags = [getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")]
    with open(path, "rb", opener=lambda name, mode: os.open(name, mode | sum(flags))) as file:
        _require_regular(os.fstat(file.fileno()))  # again: another may have taken its place
        yield file


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise ValueError(f"got {kind}; accepted: a file")


def mapped(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of a ``.npy`` file, mapped and not yet read; one that is none is a ValueError.

    So a header that promises more than the file holds takes no memory; and nothing is unpickled.
    """
    import numpy as np  # late: most of this module does without

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header in Python 2's form, which is read all the same
            # Not by np.load, which leaves a file open that begins like an archive and is none.
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises whatever its parser of the header stumbles over
        said, *_ = (str(error).strip() or type(error).__name__).splitlines()
        accepted = "an array of numbers, as numpy.save writes it"
        raise ValueError(f"not a readable .npy file ({said}); accepted: {accepted}") from error
