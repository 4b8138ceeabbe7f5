"""Published files: found under a folder, or downloaded, checked and unpacked.

A download is checked against its published hash, unpacked into a folder beside its place, and moved there
when it is whole: a process that is killed leaves nothing that looks like data.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from ..core.files import durable, locked, regular, sync_folder
from .downloads import DownloadError, fetch

__all__ = ["BROKEN", "Archive", "DataError", "find_root", "is_unpacked", "locate", "marker_of"]

MARKER = "mgnet-verified.txt"  # in the form of sha256sum, so 'sha256sum -c' reads it too
LONGEST = 2**20  # bytes of a header in a package, of a marker, and of what is read at once
BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)  # what damaged packages raise


class DataError(ValueError):
    """Files that are there but do not hold what they should; the message names the file and the place."""


@dataclass(frozen=True, eq=False)
class Archive:
    """What the official files are called, how large they are and how they are known."""

    name: str  # in messages
    base: str  # the address of the folder that has the packages
    packages: dict[str, str]  # .tar.gz or .gz, to be downloaded, and their "sha256:..." or "md5:..."
    package_sizes: dict[str, int]  # in bytes; more are not downloaded
    folder: str  # where the unpacked files lie below the root, with '/'
    sizes: dict[str, int]  # the unpacked files with their bytes
    exact: bool = True  # whether they have just as many; otherwise that is a bound
    records: dict[str, int] = field(default_factory=dict)  # images in a file, where its size does not say
    marks: tuple[str, ...] = ()  # the files by which a folder of another name is known, if not by any of them
    known: dict[str, str] | None = None  # "sha256:..." or "md5:..." of each, where it is published
    classes: tuple[list[int], list[int]] | None = None  # images of each class, in training and test set

    def has_published(self, name: str, content: bytes) -> bool:
        """Say whether a file's content is known to be the published one."""
        algorithm, _, digest = (self.known or {}).get(name, "sha256:").partition(":")
        return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == digest


def find_root(root: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """Return the folder in which data are searched, and who named it: "root", "MGNET_DATA" or "the cache".

    It need not be there yet.
    """
    if root is not None and not isinstance(root, str | os.PathLike):
        raise TypeError(f"root: got {root!r}; accepted: the path of a folder")
    if root is not None and not os.fspath(root):
        raise ValueError("root: got ''; accepted: the path of a folder")
    if root is not None:
        folder, origin = Path(root), "root"
    elif os.environ.get("MGNET_DATA"):
        folder, origin = Path(os.environ["MGNET_DATA"]), "MGNET_DATA"
    else:
        import pooch  # late: it is needed only where nothing else is named

        folder, origin = Path(pooch.os_cache("mgnet")), "the cache"
    try:
        folder = folder.expanduser()
    except RuntimeError as error:  # '~' of a user who is not known here
        raise ValueError(f"{origin}: got {str(folder)!r}; accepted: a folder ({error})") from error
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{origin}: got {folder}, which is a file; accepted: a folder")
    return folder, origin


def is_unpacked(archive: Archive, folder: Path, digests: dict[str, str]) -> bool:
    """Say whether files are the published ones, by the marker of our unpacking.

    False also means: nobody can say. When a file is another than the one that we unpacked there, that is a
    :class:`DataError`.
    """
    try:
        with regular(folder / MARKER) as file:
            marker = file.read(LONGEST).decode("utf-8")
    except (OSError, ValueError):  # none there, or none of ours
        return False
    if marker.partition("\n")[0] != marker_of(archive, digests).partition("\n")[0]:
        return False  # unpacked from something else
    for name, digest in digests.items():
        if f"{digest}  {name}\n" not in marker:
            advice = f"remove {folder} to unpack it anew, or {MARKER} there to take it as it is"
            raise DataError(f"{folder / name}: changed since it was unpacked; {advice}")
    return True


def marker_of(archive: Archive, digests: dict[str, str]) -> str:
    """Return the text of the file that says what was unpacked: a line of origin, then one for each file."""
    packages = ", ".join(f"{name} {known}" for name, known in archive.packages.items())
    lines = [
        f"# unpacked by mgnet from {packages}",
        *(f"{digests[name]}  {name}" for name in archive.sizes if name in digests),
    ]
    return "\n".join(lines) + "\n"


def locate(
    forms: Sequence[Archive], root: str | os.PathLike[str] | None, download: bool
) -> tuple[Archive, Path]:
    """Return the form in which a set is there, and the folder that has at least one of its files.

    The root is the folder, or one above it. A package that lies in the root is unpacked either way; where
    nothing is there, the first form is downloaded, if that is allowed.
    """
    place, origin = find_root(root)
    if (found := _found(forms, place)) is not None:
        return found
    folders = " or ".join(form.folder for form in forms)
    missing = f"{forms[0].name}: no {folders} in {place} ({origin})"
    packages = " or ".join(" and ".join(form.packages) for form in forms)
    accepted = f"accepted: a root, or MGNET_DATA, with {folders}, or with {packages}"
    here = [form for form in forms if all((place / package).exists() for package in form.packages)]
    if not (download or here):
        raise FileNotFoundError(f"{missing}, and download=False; {accepted}")
    form = (here or forms)[0]
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / f".{_flat(form)}.lock"):
        if (found := _found(forms, place)) is not None:  # another process may have been faster
            return found
        try:
            return form, _install(form, place)
        except DownloadError as error:
            raise FileNotFoundError(f"{missing}, and {error}; {accepted}") from error.__cause__


def _found(forms: Sequence[Archive], root: Path) -> tuple[Archive, Path] | None:
    for form in forms:
        if (folder := _find(form, root)) is not None:
            return form, folder
    return None


def _find(archive: Archive, root: Path) -> Path | None:
    parts = PurePosixPath(archive.folder).parts
    for depth in range(len(parts) + 1):  # the root may be any folder on the way
        folder = root.joinpath(*parts[depth:])
        named = os.path.basename(os.path.abspath(folder)) == parts[-1]
        names = archive.sizes if named else archive.marks or archive.sizes
        if any((folder / f"{name}{end}").exists() for name in names for end in ("", ".gz")):
            return folder
    return None


def _flat(archive: Archive) -> str:
    return archive.folder.replace("/", "-")


def _install(archive: Archive, root: Path) -> Path:
    """Download and unpack; the folder appears whole or not at all."""
    target = root / archive.folder
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        names = ", ".join(archive.sizes)
        raise DataError(f"{target}: is there but has none of {names}; remove it or add them")
    work = root / f".{_flat(archive)}.part"
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed: the lock is ours now
    unpacked = work / "unpacked"
    unpacked.mkdir(parents=True)
    try:
        digests: dict[str, str] = {}
        for package, known in archive.packages.items():
            path = root / package
            if path.exists():
                _require_hash(path, known)
            else:
                path = _download(archive, package, known, work)
            digests.update(_unpack(archive, path, unpacked))
        for name in archive.sizes:
            if name not in digests:
                raise DataError(f"{', '.join(archive.packages)}: {name} is missing in it")
        with durable(unpacked / MARKER) as file:
            file.write(marker_of(archive, digests).encode())
        sync_folder(unpacked)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unpacked, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _require_hash(path: Path, known: str) -> None:
    algorithm, _, digest = known.partition(":")
    try:
        with regular(path) as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if found != digest:
        accepted = f"accepted: {digest}. Remove it to download it anew"
        raise DataError(f"{path}: its {algorithm} is {found}; {accepted}")


def _download(archive: Archive, package: str, known: str, folder: Path) -> Path:
    import pooch

    base = os.environ.get("MGNET_DATA_URL") or archive.base
    url = f"{base.rstrip('/')}/{package}"

    def downloader(url: str, path: str, _: object) -> None:
        fetch(url, path, archive.package_sizes[package])

    try:
        return Path(pooch.retrieve(url, known, fname=package, path=folder, downloader=downloader))
    except ValueError as error:  # pooch's word for a wrong hash, ours for a wrong size
        raise DataError(f"{url}: what came is damaged ({error})") from error


def _unpack(archive: Archive, path: Path, into: Path) -> dict[str, str]:
    """Unpack a package into a folder and return the SHA-256 of each file."""
    try:
        if path.name.endswith(".tar.gz"):
            return _untar(archive, path, into)
        name = path.name.removesuffix(".gz")
        with gzip.open(path) as packed:
            return {name: _copy(packed, into / name, archive.sizes[name])}
    except DataError:
        raise
    except (*BROKEN, OverflowError, ValueError) as error:  # tarfile stumbles over numbers too
        raise DataError(f"{path}: damaged ({error})") from error


class _Packed(gzip.GzipFile):
    """A compressed file that is read in pieces: tarfile would take as much at once as a header says."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LONGEST:
            raise tarfile.ReadError(f"a header of {size} bytes; accepted: up to {LONGEST}")
        return super().read(size)


def _untar(archive: Archive, path: Path, into: Path) -> dict[str, str]:
    digests: dict[str, str] = {}

    def refuse(member: tarfile.TarInfo, reason: str) -> NoReturn:
        raise DataError(f"{path}, member {member.name!r}: {reason}; nothing was unpacked")

    with _Packed(path) as stream, tarfile.open(fileobj=stream, mode="r:") as packed:
        for member in packed:
            inside = PurePosixPath(member.name)
            if inside.is_absolute() or ".." in inside.parts or "\\" in member.name:
                refuse(member, "leads out of the folder")
            if not (member.isfile() or member.isdir()):
                refuse(member, "neither a file nor a folder")
            name = inside.name
            if member.isdir() or str(inside) != f"{archive.folder}/{name}" or name not in archive.sizes:
                continue  # a page about the data, the names of the classes
            if name in digests:
                refuse(member, "a second one of this name")
            content = packed.extractfile(member)
            assert content is not None  # since it is a file
            digests[name] = _copy(content, into / name, archive.sizes[name], archive.exact)
        while stream.read(2**20):
            pass  # to the end, where gzip's own checksum stands
    return digests


def _copy(source: IO[bytes] | gzip.GzipFile, path: Path, size: int, exact: bool = True) -> str:
    """Write a file of the expected size, or of less where that is a bound, and return its SHA-256."""
    digest, left = hashlib.sha256(), size + 1
    with durable(path) as file:
        while chunk := source.read(min(left, 2**20)):
            file.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
    if left == 0 or (exact and left != 1):
        have = f"more than {size:,}" if left == 0 else f"{size + 1 - left:,}"
        raise DataError(f"{path.name}: {have} bytes in its package; accepted: {size:,}")
    return digest.hexdigest()
