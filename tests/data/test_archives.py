"""The official files: found or downloaded, checked and read; damage is named, and leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
from processes import ended, started
from small_archives import (
    CIFAR_CONTENT,
    CIFAR_FILES,
    FOLDER,
    GOOD_TAR,
    MNIST_CONTENT,
    PACKAGE,
    RECORDS,
    Server,
    assert_small_mnist,
    label,
    pixel,
    put,
    server,
    small_cifar,
    small_mnist,
    tarred,
    tree,
)

from mgnet.data import archives, official
from mgnet.data.archives import MARKER, Archive, DataError, find_root
from mgnet.data.official import CIFAR10, MNIST, read_cifar10, read_mnist

__all__ = ["server"]  # a fixture


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MGNET_DATA", "MGNET_DATA_URL"):
        monkeypatch.delenv(name, raising=False)


def assert_small_cifar(images: official.Images) -> None:
    train, train_labels = images.train
    test, test_labels = images.test
    assert train.shape == (5 * RECORDS, 3, 32, 32)
    assert test.shape == (RECORDS, 3, 32, 32)
    assert train.dtype == test.dtype == np.uint8
    assert train_labels.dtype == test_labels.dtype == np.int64
    for f in range(6):
        for i in range(RECORDS):
            image = train[f * RECORDS + i] if f < 5 else test[i]
            assert (train_labels[f * RECORDS + i] if f < 5 else test_labels[i]) == label(f, i)
            for c, y, x in ((0, 0, 0), (0, 3, 31), (1, 17, 5), (2, 31, 31)):
                assert image[c, y, x] == pixel(f, i, 1024 * c + 32 * y + x)


# A folder in the official layout


@pytest.mark.parametrize("root", ["", FOLDER], ids=["the parent", "the folder itself"])
def test_cifar10_from_a_folder(tmp_path: Path, root: str) -> None:
    put(tmp_path / FOLDER, CIFAR_CONTENT)
    images = read_cifar10(tmp_path / root, download=False, archive=small_cifar())
    assert_small_cifar(images)
    assert images.folder == tmp_path / FOLDER
    assert not images.verified


def test_the_root_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / FOLDER, CIFAR_CONTENT)
    monkeypatch.setenv("MGNET_DATA", str(tmp_path))
    assert_small_cifar(read_cifar10(download=False, archive=small_cifar()))
    assert find_root() == (tmp_path, "MGNET_DATA")


def test_the_argument_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / FOLDER, CIFAR_CONTENT)
    monkeypatch.setenv("MGNET_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        read_cifar10(str(tmp_path / "elsewhere"), download=False, archive=small_cifar())


@pytest.mark.parametrize("value", [None, ""])
def test_by_default_the_root_is_the_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("MGNET_DATA", value)
    assert find_root() == (Path(pooch.os_cache("mgnet")), "the cache")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_root("~/images")[0] == tmp_path / "images"


def test_the_home_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"root: got '~nosuchuser/x'; accepted: a folder"):
        find_root("~nosuchuser/x")
    with pytest.raises(ValueError, match="root: got ''; accepted: the path of a folder"):
        find_root("")
    monkeypatch.setenv("MGNET_DATA", "~nosuchuser")
    with pytest.raises(ValueError, match=r"MGNET_DATA: got '~nosuchuser'"):
        find_root()


def test_a_root_that_is_no_path() -> None:
    with pytest.raises(TypeError, match=r"root: got 3; accepted: the path of a folder"):
        read_cifar10(3)  # type: ignore[arg-type]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"root: got .*a, which is a file; accepted: a folder"):
        read_cifar10(tmp_path / "a")


def test_nothing_there_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_cifar10(tmp_path, download=False)
    for part in (str(tmp_path), FOLDER, PACKAGE, "MGNET_DATA", "download=False"):
        assert part in str(caught.value)
    assert tree(tmp_path) == []


# Damaged files


def read_damaged(tmp_path: Path, files: dict[str, bytes]) -> str:
    put(tmp_path / FOLDER, files)
    with pytest.raises(DataError) as caught:
        read_cifar10(tmp_path, archive=small_cifar())
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize("missing", [1, 3072, 3073, 2 * 3073 + 5, 7 * 3073])
def test_a_truncated_file(tmp_path: Path, missing: int) -> None:
    content = CIFAR_CONTENT["data_batch_3.bin"][: 7 * 3073 - missing]
    said = read_damaged(tmp_path, {**CIFAR_CONTENT, "data_batch_3.bin": content})
    assert "data_batch_3.bin: ends in record" in said
    assert f"record {len(content) // 3073} (from 0)" in said
    assert "accepted: 21,511 bytes, which are 7 records" in said


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    said = read_damaged(tmp_path, {**CIFAR_CONTENT, "test_batch.bin": CIFAR_CONTENT["test_batch.bin"] + b"x"})
    assert "test_batch.bin: more than 21,511 bytes; accepted: 21,511 bytes" in said


@pytest.mark.parametrize(("record", "value"), [(0, 10), (4, 255), (6, 11)])
def test_a_label_out_of_range(tmp_path: Path, record: int, value: int) -> None:
    content = bytearray(CIFAR_CONTENT["data_batch_2.bin"])
    content[record * 3073] = value
    said = read_damaged(tmp_path, {**CIFAR_CONTENT, "data_batch_2.bin": bytes(content)})
    assert f"data_batch_2.bin, record {record} (from 0): label {value}; accepted: 0 to 9" in said


def test_a_missing_file(tmp_path: Path) -> None:
    files = {name: content for name, content in CIFAR_CONTENT.items() if name != "data_batch_4.bin"}
    assert "data_batch_4.bin is missing; accepted: " in read_damaged(tmp_path, files)


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / FOLDER / "data_batch_1.bin").mkdir(parents=True)
    files = {name: content for name, content in CIFAR_CONTENT.items() if name != "data_batch_1.bin"}
    assert "data_batch_1.bin: is there and is not a file" in read_damaged(tmp_path, files)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path / FOLDER, {name: c for name, c in CIFAR_CONTENT.items() if name != "data_batch_1.bin"})
    os.mkfifo(tmp_path / FOLDER / "data_batch_1.bin")
    with pytest.raises(DataError, match=r"data_batch_1.bin: is there and is not a file"):
        read_cifar10(tmp_path, archive=small_cifar())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_the_marker_or_a_package_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path / "a" / FOLDER, CIFAR_CONTENT)
    os.mkfifo(tmp_path / "a" / FOLDER / MARKER)
    assert not read_cifar10(tmp_path / "a", archive=small_cifar()).verified
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / PACKAGE)
    with pytest.raises(DataError, match=f"{PACKAGE}: got a pipe; accepted: a file"):
        read_cifar10(tmp_path / "b", archive=small_cifar())


def test_a_marker_without_end_is_no_marker(tmp_path: Path) -> None:
    put(tmp_path / FOLDER, CIFAR_CONTENT)
    (tmp_path / FOLDER / MARKER).symlink_to("/dev/zero")
    assert not read_cifar10(tmp_path, archive=small_cifar()).verified


# Packages


def test_a_package_in_the_root_is_unpacked(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    images = read_cifar10(tmp_path, download=False, archive=small_cifar())
    assert_small_cifar(images)
    assert images.verified
    assert tree(tmp_path) == sorted([PACKAGE, FOLDER, *(f"{FOLDER}/{n}" for n in [*CIFAR_FILES, MARKER])])


def test_what_was_unpacked_is_verified_the_next_time_too(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    read_cifar10(tmp_path, archive=small_cifar())
    (tmp_path / PACKAGE).unlink()
    assert read_cifar10(tmp_path / FOLDER, archive=small_cifar()).verified


def test_the_marker_is_that_of_sha256sum(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    read_cifar10(tmp_path, archive=small_cifar())
    lines = (tmp_path / FOLDER / MARKER).read_text().splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == [f"{hashlib.sha256(CIFAR_CONTENT[n]).hexdigest()}  {n}" for n in CIFAR_FILES]


def test_a_file_that_changed_after_unpacking(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    read_cifar10(tmp_path, archive=small_cifar())
    path = tmp_path / FOLDER / "data_batch_5.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match=r"data_batch_5.bin: changed since it was unpacked"):
        read_cifar10(tmp_path, archive=small_cifar())


def test_what_came_from_another_package_is_unverified(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    read_cifar10(tmp_path, archive=small_cifar())
    other = replace(small_cifar(), packages={PACKAGE: f"sha256:{64 * '0'}"})
    assert not read_cifar10(tmp_path, archive=other).verified


def test_a_package_with_another_hash(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR[:-1]})
    with pytest.raises(
        DataError, match=rf"{PACKAGE}: its sha256 is [0-9a-f]{{64}}; accepted: [0-9a-f]{{64}}"
    ):
        read_cifar10(tmp_path, archive=small_cifar())
    assert tree(tmp_path) == [PACKAGE]


def refused(tmp_path: Path, package: bytes) -> str:
    """Unpack a bad package of the right hash; return the message after a look that nothing is left."""
    root = put(tmp_path / "root", {PACKAGE: package})
    with pytest.raises(DataError) as caught:
        read_cifar10(root, archive=small_cifar(package))
    assert tree(tmp_path) == ["root", f"root/{PACKAGE}"]
    return str(caught.value)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member(f"{FOLDER}/link", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
        (
            member(f"{FOLDER}/hard", tarfile.LNKTYPE, f"{FOLDER}/test_batch.bin"),
            "neither a file nor a folder",
        ),
        (member(f"{FOLDER}/null", tarfile.CHRTYPE), "neither a file nor a folder"),
        (member(f"{FOLDER}/disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (member(f"{FOLDER}/pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("/tmp/test_batch.bin"), "leads out of the folder"),
        (member("../test_batch.bin"), "leads out of the folder"),
        (member(f"{FOLDER}/../../escaped"), "leads out of the folder"),
        (member(f"{FOLDER}\\..\\escaped"), "leads out of the folder"),
        (member("..", tarfile.DIRTYPE), "leads out of the folder"),
        (member(f"{FOLDER}/test_batch.bin"), "a second one of this name"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_package_with_a_bad_member(tmp_path: Path, bad: tarfile.TarInfo, said: str) -> None:
    message = refused(tmp_path, tarred(CIFAR_CONTENT, (bad, b"")))
    assert repr(bad.name) in message
    assert said in message


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_package_with_a_long_header(tmp_path: Path, kind: bytes) -> None:
    """tarfile would read it at once, whatever its size; 8 MiB of zeros are few bytes in a package."""
    header = member("././@LongLink", kind)
    message = refused(tmp_path, tarred(CIFAR_CONTENT, (header, bytes(2**23))))
    assert "a header of 8388608 bytes; accepted: up to 1048576" in message


def test_a_package_that_lacks_a_file(tmp_path: Path) -> None:
    files = {name: content for name, content in CIFAR_CONTENT.items() if name != "data_batch_4.bin"}
    assert "data_batch_4.bin is missing" in refused(tmp_path, tarred(files))


@pytest.mark.parametrize(("change", "said"), [(-1, "21,510 bytes"), (1, "more than 21,511 bytes")])
def test_a_package_with_a_file_of_another_size(tmp_path: Path, change: int, said: str) -> None:
    content = (CIFAR_CONTENT["data_batch_1.bin"] + b"x")[: RECORDS * 3073 + change]
    message = refused(tmp_path, tarred({**CIFAR_CONTENT, "data_batch_1.bin": content}))
    assert f"data_batch_1.bin: {said} in its package; accepted: 21,511" in message


@pytest.mark.parametrize("keep", [0, 5, 100, len(GOOD_TAR) // 2, len(GOOD_TAR) - 4])
def test_a_truncated_package_of_the_right_hash(tmp_path: Path, keep: int) -> None:
    assert PACKAGE in refused(tmp_path, GOOD_TAR[:keep])


def test_a_package_with_a_flipped_bit(tmp_path: Path) -> None:
    bad = bytearray(GOOD_TAR)
    bad[len(bad) // 2] ^= 16
    assert PACKAGE in refused(tmp_path, bytes(bad))


@pytest.mark.parametrize("size", [2**62, 2**63, 2**64, 2**70])
def test_a_package_whose_member_claims_more_than_there_is(tmp_path: Path, size: int) -> None:
    huge = member(f"{FOLDER}/data_batch_1.bin")
    huge.size = size
    assert PACKAGE in refused(tmp_path, gzip.compress(huge.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)))


def test_members_elsewhere_in_the_package_are_left_there(tmp_path: Path) -> None:
    package = tarred(CIFAR_CONTENT, (member("other/test_batch.bin"), b"x"), (member("test_batch.bin"), b"y"))
    put(tmp_path, {PACKAGE: package})
    assert_small_cifar(read_cifar10(tmp_path, archive=small_cifar(package)))


# Downloads


def test_a_download(tmp_path: Path, server: Server) -> None:
    server.files[PACKAGE] = GOOD_TAR
    root = tmp_path / "new" / "root"
    images = read_cifar10(root, archive=small_cifar())
    assert_small_cifar(images)
    assert images.verified
    # Neither lock nor package nor anything half-done is left.
    assert tree(root) == sorted([FOLDER, *(f"{FOLDER}/{name}" for name in [*CIFAR_FILES, MARKER])])
    read_cifar10(root, archive=small_cifar())
    assert server.asked == [f"/{PACKAGE}"]


def test_the_address_of_an_archive_counts_where_the_environment_names_none(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[PACKAGE] = GOOD_TAR
    monkeypatch.delenv("MGNET_DATA_URL")
    assert read_cifar10(tmp_path, archive=replace(small_cifar(), base=server.url)).verified


def test_the_bar_is_drawn_only_on_a_terminal(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[PACKAGE] = GOOD_TAR
    written = {}
    for terminal in (False, True):
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stderr", screen)
        read_cifar10(tmp_path / str(terminal), archive=small_cifar())
        written[terminal] = screen.getvalue()
    assert "100%" in written[True]
    assert "%" not in written[False]


def failed(tmp_path: Path, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        read_cifar10(tmp_path, archive=small_cifar())
    assert tree(tmp_path) == []
    return str(caught.value)


def test_a_download_of_another_hash(tmp_path: Path, server: Server) -> None:
    server.files[PACKAGE] = GOOD_TAR + b"x"
    said = failed(tmp_path, DataError)
    assert f"{server.url}/{PACKAGE}: what came is damaged" in said


def test_a_download_that_breaks_off(tmp_path: Path, server: Server) -> None:
    server.files[PACKAGE], server.missing = GOOD_TAR[:-100], 100
    said = failed(tmp_path, FileNotFoundError)
    assert f"the download from {server.url}/{PACKAGE} failed" in said


def test_a_file_that_the_server_does_not_have(tmp_path: Path, server: Server) -> None:
    said = failed(tmp_path, FileNotFoundError)
    for part in ("404", server.url, str(tmp_path), "MGNET_DATA"):
        assert part in said


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        monkeypatch.setenv("MGNET_DATA_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "failed" in failed(tmp_path, FileNotFoundError)


def test_an_address_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGNET_DATA_URL", "file:///somewhere")
    assert "file:///somewhere" in failed(tmp_path, FileNotFoundError)


@pytest.mark.parametrize("where", ["_unpack", "sync_folder", "_download"])
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    server.files[PACKAGE] = GOOD_TAR
    inner: Callable = getattr(archives, where)

    def interrupted(*args: object) -> None:
        inner(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_cifar10(tmp_path, archive=small_cifar())
    assert tree(tmp_path) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, server: Server) -> None:
    server.files[PACKAGE] = GOOD_TAR
    put(tmp_path / f".{FOLDER}.part" / "unpacked", {"data_batch_1.bin": b"half"})
    put(tmp_path, {f".{FOLDER}.lock": b""})
    assert read_cifar10(tmp_path, archive=small_cifar()).verified
    assert tree(tmp_path)[0] == FOLDER


def test_a_folder_of_the_name_that_has_something_else(tmp_path: Path, server: Server) -> None:
    put(tmp_path / FOLDER, {"notes.txt": b"mine"})
    with pytest.raises(DataError, match=r"is there but has none of data_batch_1.bin"):
        read_cifar10(tmp_path, archive=small_cifar())
    assert server.asked == []
    assert tree(tmp_path) == [FOLDER, f"{FOLDER}/notes.txt"]


RACER = """
import json, sys
from dataclasses import replace
from mgnet.data.official import CIFAR10, read_cifar10
root, packages, sizes = json.loads(sys.argv[1])
print(sys.stdin.readline(), end="")
images = read_cifar10(root, archive=replace(CIFAR10, packages=packages, sizes=sizes))
print(images.verified, len(images.train[0]), "torch" in sys.modules)
"""


@pytest.mark.parametrize("processes", [2, 8])
def test_several_processes_download_once(tmp_path: Path, server: Server, processes: int) -> None:
    server.files[PACKAGE], server.delay = GOOD_TAR, 0.5
    archive = small_cifar()
    argument = json.dumps([str(tmp_path), archive.packages, archive.sizes])
    with ExitStack() as stack:
        racers = [
            stack.enter_context(started("-c", RACER, argument, stdin=subprocess.PIPE))
            for _ in range(processes)
        ]
        for process in racers:
            print("go", file=process.stdin, flush=True)
        for done in map(ended, racers):
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines() == ["go", f"True {5 * RECORDS} False"]
    assert server.asked == [f"/{PACKAGE}"]
    assert FOLDER in tree(tmp_path)
    assert not [name for name in tree(tmp_path) if name.startswith(".")]


# MNIST


@pytest.mark.parametrize("root", ["", "MNIST", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_mnist_from_a_folder(tmp_path: Path, root: str, packed: bool) -> None:
    archive, packages = small_mnist()
    put(tmp_path / "MNIST" / "raw", packages if packed else MNIST_CONTENT)
    images = read_mnist(tmp_path / root, download=False, archive=archive)
    assert_small_mnist(images)
    assert not images.verified


def test_mnist_is_known_by_the_hashes_of_its_files(tmp_path: Path) -> None:
    put(tmp_path, MNIST_CONTENT)
    known = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in MNIST_CONTENT.items()}
    archive = small_mnist()[0]
    assert read_mnist(tmp_path, archive=replace(archive, known=known)).verified
    wrong = {**known, "t10k-labels-idx1-ubyte": f"sha256:{64 * '0'}"}
    assert not read_mnist(tmp_path, archive=replace(archive, known=wrong)).verified


def test_a_download_of_mnist(tmp_path: Path, server: Server) -> None:
    archive, server.files = small_mnist()
    images = read_mnist(tmp_path, archive=archive)
    assert_small_mnist(images)
    assert images.verified
    assert sorted(server.asked) == sorted(f"/{name}" for name in server.files)
    assert tree(tmp_path) == sorted(
        ["MNIST", "MNIST/raw", *(f"MNIST/raw/{n}" for n in [*MNIST_CONTENT, MARKER])]
    )


def test_a_download_of_mnist_that_fails_at_the_last_file(tmp_path: Path, server: Server) -> None:
    archive, server.files = small_mnist()
    del server.files["t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        read_mnist(tmp_path, archive=archive)
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "train-images-idx3-ubyte",
            b"\0\0\x08\x01",
            r"the header says \(2049, 9, 28, 28\); accepted: \(2051,",
        ),
        (
            "t10k-labels-idx1-ubyte",
            b"\0\0\x08\x01\0\0\0\x05",
            r"the header says \(2049, 5\); accepted: \(2049, 4",
        ),
        ("train-labels-idx1-ubyte", struct.pack(">2I2B", 2049, 9, 1, 10), r"record 1 \(from 0\): label 10"),
    ],
)
def test_a_damaged_file_of_mnist(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    put(tmp_path, {**MNIST_CONTENT, name: content + MNIST_CONTENT[name][len(content) :]})
    with pytest.raises(DataError, match=rf"{name}.*{said}"):
        read_mnist(tmp_path, archive=small_mnist()[0])


@pytest.mark.parametrize(("keep", "record"), [(0, 0), (15, 0), (16 + 784, 1), (16 + 9 * 784 - 1, 8)])
def test_a_truncated_file_of_mnist(tmp_path: Path, keep: int, record: int) -> None:
    name = "train-images-idx3-ubyte"
    put(tmp_path, {**MNIST_CONTENT, name: MNIST_CONTENT[name][:keep]})
    with pytest.raises(DataError, match=rf"{name}: ends in record {record} \(from 0\), after {keep:,} bytes"):
        read_mnist(tmp_path, archive=small_mnist()[0])


@pytest.mark.parametrize("keep", [0, 5, 100, -5])
def test_a_truncated_gz(tmp_path: Path, keep: int) -> None:
    archive, packages = small_mnist()
    name = "train-images-idx3-ubyte.gz"
    put(tmp_path, {**packages, name: packages[name][:keep]})
    with pytest.raises(DataError, match=name):
        read_mnist(tmp_path, archive=archive)


def test_a_gz_with_a_flipped_bit(tmp_path: Path) -> None:
    archive, packages = small_mnist()
    name = "train-images-idx3-ubyte.gz"
    bad = bytearray(packages[name])
    bad[len(bad) // 2] ^= 16
    put(tmp_path, {**packages, name: bytes(bad)})
    with pytest.raises(DataError, match=name):
        read_mnist(tmp_path, archive=archive)


def test_a_gz_that_is_too_long_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    archive, packages = small_mnist()
    name = "train-images-idx3-ubyte"
    bomb = gzip.compress(MNIST_CONTENT[name] + bytes(10**7), 9)[:-1000]  # its end would not even be read
    put(tmp_path, {**packages, f"{name}.gz": bomb})
    with pytest.raises(DataError, match=rf"{name}.gz: more than 7,072 bytes"):
        read_mnist(tmp_path, archive=archive)


# Files of the right size that are not the published ones


def twins(content: dict[str, bytes], archive: Archive) -> Archive:
    """Return an archive that has as many of each class as these files."""
    label_files = [name for name in content if "images" not in name]
    skip, step = (8, 1) if archive.folder == MNIST.folder else (0, 3073)
    parts = [label_files[:-1], label_files[-1:]]
    joined = (b"".join(content[name][skip:][::step] for name in part) for part in parts)
    train, test = ([labels.count(k) for k in range(10)] for labels in joined)
    return replace(archive, classes=(train, test))


def doubts(tmp_path: Path, changed: dict[str, bytes]) -> list[str]:
    put(tmp_path / FOLDER, {**CIFAR_CONTENT, **changed})
    images = read_cifar10(tmp_path, archive=twins(CIFAR_CONTENT, small_cifar()))
    assert not images.verified
    return images.doubts


def test_other_pixels_and_the_right_labels_raise_no_doubt(tmp_path: Path) -> None:
    content = bytearray(CIFAR_CONTENT["data_batch_1.bin"])
    content[5] ^= 1
    assert doubts(tmp_path, {"data_batch_1.bin": bytes(content)}) == []


def test_zeros_are_told_of(tmp_path: Path) -> None:
    said = doubts(tmp_path, dict.fromkeys(CIFAR_FILES, bytes(RECORDS * 3073)))
    assert said == [
        *(f"data_batch_{i}.bin: 7 of 7 images are of one colour throughout" for i in range(1, 6)),
        "data_batch_1.bin to data_batch_5.bin: all 35 images are of class 0",
        "test_batch.bin: 7 of 7 images are of one colour throughout",
        "test_batch.bin: all 7 images are of class 0",
    ]


def test_the_file_that_is_half_of_zeros_is_named(tmp_path: Path) -> None:
    content = CIFAR_CONTENT["data_batch_4.bin"]
    blank, unlike = doubts(tmp_path, {"data_batch_4.bin": content[: 3 * 3073] + bytes(4 * 3073)})
    assert blank == "data_batch_4.bin: 4 of 7 images are of one colour throughout"
    assert unlike.startswith("data_batch_1.bin to data_batch_5.bin: images of the classes 0 to 9: [")


def test_another_label_is_told_of(tmp_path: Path) -> None:
    content = bytearray(CIFAR_CONTENT["test_batch.bin"])
    content[0] = (content[0] + 1) % 10
    (unlike,) = doubts(tmp_path, {"test_batch.bin": bytes(content)})
    assert unlike == (
        "test_batch.bin: images of the classes 0 to 9: [1, 1, 0, 0, 0, 0, 2, 1, 1, 1];"
        " published: [1, 1, 0, 0, 0, 1, 1, 1, 1, 1]"
    )


def test_a_known_hash_tells_which_file_of_mnist_is_another(tmp_path: Path) -> None:
    known = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in MNIST_CONTENT.items()}
    archive = replace(twins(MNIST_CONTENT, small_mnist()[0]), known=known)
    content = MNIST_CONTENT["train-images-idx3-ubyte"]
    zeros = content[: 16 + 3 * 784] + bytes(len(content) - 16 - 3 * 784)
    put(tmp_path, {**MNIST_CONTENT, "train-images-idx3-ubyte": zeros})
    images = read_mnist(tmp_path, archive=archive)
    assert not images.verified
    assert images.doubts == [
        "train-images-idx3-ubyte is not the published file",
        "train-images-idx3-ubyte: 6 of 9 images are of one colour throughout",
    ]


def test_published_files_raise_no_doubt(tmp_path: Path) -> None:
    put(tmp_path, {PACKAGE: GOOD_TAR})
    assert read_cifar10(tmp_path, archive=replace(small_cifar(), classes=None)).doubts == []
    assert read_cifar10(tmp_path, archive=small_cifar()).doubts == []


# What is written in the constants


def test_the_official_classes() -> None:
    assert CIFAR10.classes == ([5000] * 10, [1000] * 10)
    assert MNIST.classes is not None
    assert [sum(part) for part in MNIST.classes] == [60_000, 10_000]


def test_the_official_sizes() -> None:
    assert CIFAR10.package_sizes == {PACKAGE: 170_052_171}
    assert list(MNIST.package_sizes.values()) == [9_912_422, 28_881, 1_648_877, 4_542]
    for archive in (CIFAR10, MNIST):
        assert archive.package_sizes.keys() == archive.packages.keys()
    assert CIFAR10.sizes == dict.fromkeys(CIFAR_FILES, 30_730_000)
    assert [MNIST.sizes[f"{p}-images-idx3-ubyte"] for p in ("train", "t10k")] == [47_040_016, 7_840_016]
    assert [MNIST.sizes[f"{p}-labels-idx1-ubyte"] for p in ("train", "t10k")] == [60_008, 10_008]
