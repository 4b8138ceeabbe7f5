"""CIFAR-100, Fashion-MNIST, and the Python form of CIFAR: in every layout, never under another name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_archives import MNIST_CONTENT, Server, assert_small_mnist, put, server, small_mnist, tree

from mgnet.data import official, published
from mgnet.data.archives import MARKER, Archive, DataError
from mgnet.data.official import read_cifar10, read_cifar100, read_fashion_mnist, read_mnist
from mgnet.data.published import CIFAR10_PYTHON, CIFAR100, CIFAR100_PYTHON, FASHION, MNIST

__all__ = ["server"]  # a fixture

ROOT = os.environ.get("MGNET_DATA")
DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (6, 8, 3072), dtype=np.uint8)
TENS = [[(3 * i + k) % 10 for k in range(8)] for i in range(6)]
FINE = [[(17 * i + 5 * k) % 100 for k in range(8)] for i in range(2)]
COARSE = [[n % 20 for n in some] for some in FINE]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MGNET_DATA", "MGNET_DATA_URL"):
        monkeypatch.delenv(name, raising=False)


def batches(protocol: int = 2, kind: Callable[[str], str | bytes] = str) -> dict[str, bytes]:
    """The files of CIFAR-10 in its Python form, as Python 3 saves them."""
    return {
        name: pickle.dumps({kind("data"): PIXELS[i], kind("labels"): TENS[i], kind("more"): ["x"]}, protocol)
        for i, name in enumerate(CIFAR10_PYTHON.sizes)
    } | {"batches.meta": b"of no account"}


def hundred(protocol: int = 2) -> dict[str, bytes]:
    """The files of CIFAR-100 in its Python form."""
    files = {}
    for i, name in enumerate(("train", "test")):
        value = {
            "data": PIXELS[i],
            "fine_labels": FINE[i],
            "coarse_labels": COARSE[i],
            "filenames": ["a"] * 8,
        }
        files[name] = pickle.dumps(value, protocol)
    return files | {"meta": pickle.dumps({"fine_label_names": ["apple"]}, protocol)}


def records() -> dict[str, bytes]:
    """The files of CIFAR-100 in its binary form."""
    joined = (np.column_stack([COARSE[i], FINE[i], PIXELS[i]]).astype(np.uint8) for i in range(2))
    return dict(zip(("train.bin", "test.bin"), (rows.tobytes() for rows in joined), strict=True))


def small(archive: Archive, files: dict[str, bytes]) -> Archive:
    known = {name: f"md5:{hashlib.md5(files[name]).hexdigest()}" for name in archive.sizes}
    sizes = {name: len(files[name]) for name in archive.sizes} if archive.exact else archive.sizes
    counts = dict.fromkeys(archive.records, 8)
    return replace(archive, known=known if archive.known else None, sizes=sizes, records=counts, classes=None)


def packed(archive: Archive, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def with_package(archive: Archive, content: bytes) -> Archive:
    (name,) = archive.packages
    known = f"md5:{hashlib.md5(content).hexdigest()}"
    return replace(archive, packages={name: known}, package_sizes={name: len(content)})


def assert_ten(images: official.Images) -> None:
    for (pixels, labels), part in ((images.train, slice(5)), (images.test, slice(5, 6))):
        np.testing.assert_array_equal(pixels, PIXELS[part].reshape(-1, 3, 32, 32))
        assert labels.tolist() == sum(TENS[part], [])
        assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)


def assert_hundred(images: official.Images, labels: list[list[int]]) -> None:
    for i, (pixels, found) in enumerate((images.train, images.test)):
        np.testing.assert_array_equal(pixels, PIXELS[i].reshape(-1, 3, 32, 32))
        assert found.tolist() == labels[i]


# The Python form


@pytest.mark.parametrize("root", ["", CIFAR10_PYTHON.folder], ids=["the parent", "the folder itself"])
def test_cifar10_as_torchvision_leaves_it(tmp_path: Path, root: str) -> None:
    files = batches()
    put(tmp_path / CIFAR10_PYTHON.folder, files)
    archive = small(CIFAR10_PYTHON, files)
    images = read_cifar10(tmp_path / root, download=False, python=archive)
    assert_ten(images)
    assert images.verified
    assert images.folder == tmp_path / CIFAR10_PYTHON.folder


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_was_saved_again_is_read_and_unverified(tmp_path: Path, protocol: int) -> None:
    put(tmp_path / CIFAR10_PYTHON.folder, batches(protocol, str.encode))
    images = read_cifar10(tmp_path, download=False, python=small(CIFAR10_PYTHON, batches()))
    assert_ten(images)
    assert not images.verified
    assert images.doubts == [f"{name} is not the published file" for name in CIFAR10_PYTHON.sizes]


def test_labels_may_be_an_array(tmp_path: Path) -> None:
    value = {"data": PIXELS[2], "labels": np.array(TENS[2])}
    put(tmp_path, {**batches(), "data_batch_3": pickle.dumps(value)})
    assert_ten(read_cifar10(tmp_path, download=False, python=small(CIFAR10_PYTHON, batches())))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([PIXELS[0], TENS[0]], "it has list; accepted: a dictionary"),
        ({"labels": TENS[0]}, "it has no 'data'; accepted: an array, or a list of integers"),
        ({"data": PIXELS[0]}, "it has no 'labels'"),
        (
            {"data": PIXELS[0][:7], "labels": TENS[0]},
            r"data of uint8, shape \(7, 3072\); accepted: uint8, shape",
        ),
        ({"data": PIXELS[0].astype(float), "labels": TENS[0]}, "data of float64"),
        ({"data": PIXELS[0], "labels": TENS[0][:7]}, r"labels of shape \(7,\); accepted: 8 integers"),
        ({"data": PIXELS[0], "labels": [2**70] * 8}, "it has labels that are no labels"),
        ({"data": PIXELS[0], "labels": [-1] * 8}, "it has labels that are no labels"),
        ({"data": PIXELS[0], "labels": [True] * 8}, "it has no 'labels'"),
        ({"data": PIXELS[0], "labels": [0] * 7 + [10]}, r"record 7 \(from 0\): label 10; accepted: 0 to 9"),
        ({"data": PIXELS[0], "labels": np.array([0] * 7 + [-1])}, r"record 7 \(from 0\): label -1"),
        ({"data": os.getcwd, "labels": TENS[0]}, "names (posix|nt).getcwd, which no pickle of arrays has"),
    ],
)
def test_a_damaged_batch(tmp_path: Path, value: object, said: str) -> None:
    put(tmp_path, {**batches(), "data_batch_1": pickle.dumps(value, 2)})
    with pytest.raises(DataError, match=f"data_batch_1.*{said}"):
        read_cifar10(tmp_path, download=False, python=small(CIFAR10_PYTHON, batches()))


@pytest.mark.parametrize("keep", [0, 1, 2, 100, -1])
def test_a_truncated_batch(tmp_path: Path, keep: int) -> None:
    files = batches()
    put(tmp_path, {**files, "test_batch": files["test_batch"][:keep]})
    with pytest.raises(DataError, match="test_batch: not a file of arrays as it should be: "):
        read_cifar10(tmp_path, download=False, python=small(CIFAR10_PYTHON, files))


def test_a_batch_that_is_too_long(tmp_path: Path) -> None:
    files = batches()
    archive = replace(small(CIFAR10_PYTHON, files), sizes=dict.fromkeys(CIFAR10_PYTHON.sizes, 50_000))
    put(tmp_path, {**files, "test_batch": files["test_batch"] + bytes(30_000)})
    said = "test_batch: more than 50,000 bytes; accepted: up to 50,000 bytes"
    with pytest.raises(DataError, match=said):
        read_cifar10(tmp_path, download=False, python=archive)


def test_the_binary_form_comes_first(tmp_path: Path) -> None:
    put(tmp_path / CIFAR10_PYTHON.folder, batches())
    put(tmp_path / CIFAR100_PYTHON.folder, hundred())
    put(tmp_path / CIFAR100.folder, records())
    assert (
        read_cifar10(tmp_path, python=small(CIFAR10_PYTHON, batches())).folder.name == CIFAR10_PYTHON.folder
    )
    found = read_cifar100(tmp_path, archive=small(CIFAR100, records()), download=False)
    assert found.folder.name == CIFAR100.folder


def test_a_package_of_pickles_in_the_root_is_unpacked(tmp_path: Path) -> None:
    content = packed(CIFAR10_PYTHON, batches())
    archive = with_package(small(CIFAR10_PYTHON, batches()), content)
    put(tmp_path, {"cifar-10-python.tar.gz": content})
    assert_ten(read_cifar10(tmp_path, python=archive))
    assert not (tmp_path / CIFAR10_PYTHON.folder / "batches.meta").exists()
    # Known by the marker too, when nothing is known of the files.
    assert read_cifar10(tmp_path, python=replace(archive, known=None)).verified


def test_nothing_there_names_both_forms(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_cifar10(tmp_path, download=False)
    for part in ("cifar-10-batches-bin or cifar-10-batches-py", "cifar-10-binary.tar.gz or cifar-10-python"):
        assert part in str(caught.value)


# CIFAR-100


@pytest.mark.parametrize(("labels", "wanted"), [("fine", FINE), ("coarse", COARSE)])
@pytest.mark.parametrize("form", ["binary", "python"])
def test_cifar100(tmp_path: Path, labels: str, wanted: list[list[int]], form: str) -> None:
    files, kind = (records(), CIFAR100) if form == "binary" else (hundred(), CIFAR100_PYTHON)
    put(tmp_path / kind.folder, files)
    forms = {"archive": small(CIFAR100, records()), "python": small(CIFAR100_PYTHON, hundred())}
    for root in (tmp_path, tmp_path / kind.folder):
        images = read_cifar100(root, labels=labels, download=False, **forms)
        assert_hundred(images, wanted)
        assert images.verified == (form == "python")  # of the binary form the package's hash alone is known


def test_nothing_asks_for_the_names_of_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / CIFAR100_PYTHON.folder, {n: x for n, x in hundred().items() if n != "meta"})
    python = small(CIFAR100_PYTHON, hundred())
    monkeypatch.chdir(tmp_path / CIFAR100_PYTHON.folder)
    for root in (tmp_path, tmp_path / CIFAR100_PYTHON.folder, Path(".")):
        images = read_cifar100(root, download=False, python=python)
        assert_hundred(images, FINE)
        assert images.verified
    os.rename(tmp_path / CIFAR100_PYTHON.folder, tmp_path / "other")
    with pytest.raises(FileNotFoundError):  # train and test alone may be anybody's
        read_cifar100(tmp_path / "other", download=False, python=python)
    ten = {n: x for n, x in batches().items() if n != "batches.meta"}
    put(tmp_path / CIFAR10_PYTHON.folder, ten)
    assert_ten(read_cifar10(tmp_path, download=False, python=small(CIFAR10_PYTHON, ten)))


def test_a_download_of_cifar100(tmp_path: Path, server: Server) -> None:
    content = packed(CIFAR100, records())
    server.files["cifar-100-binary.tar.gz"] = content
    archive = with_package(small(CIFAR100, records()), content)
    images = read_cifar100(tmp_path, archive=archive)
    assert_hundred(images, FINE)
    assert images.verified
    assert server.asked == ["/cifar-100-binary.tar.gz"]
    assert tree(tmp_path) == sorted(
        [CIFAR100.folder, *(f"{CIFAR100.folder}/{n}" for n in [*records(), MARKER])]
    )


@pytest.mark.parametrize(("labels", "column", "most"), [("fine", 1, 99), ("coarse", 0, 19)])
def test_a_label_of_cifar100_out_of_range(tmp_path: Path, labels: str, column: int, most: int) -> None:
    content = bytearray(records()["test.bin"])
    content[3 * 3074 + column] = most + 1
    put(tmp_path, {**records(), "test.bin": bytes(content)})
    said = rf"test.bin, record 3 \(from 0\): label {most + 1}; accepted: 0 to {most}"
    with pytest.raises(DataError, match=said):
        read_cifar100(tmp_path, labels=labels, archive=small(CIFAR100, records()))


def test_of_many_classes_the_first_that_differs_is_named(tmp_path: Path) -> None:
    put(tmp_path, records())
    archive = replace(small(CIFAR100, records()), classes=(100 * [1], 100 * [1]))
    first, _ = read_cifar100(tmp_path, archive=archive).doubts
    assert first.startswith("train.bin: class 1 has 0 images; published: 1 (and 9")


def test_folders_called_train_and_test_are_no_cifar100(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="CIFAR-100: no cifar-100-binary or cifar-100-python"):
        read_cifar100(tmp_path, download=False)


def test_the_classes_have_as_many_names_as_there_are() -> None:
    assert [len(names) for names in (published.THINGS, published.GARMENTS)] == [10, 10]
    for names, count in ((published.FINE, 100), (published.COARSE, 20)):
        assert len(names) == len(set(names)) == count
        assert names == sorted(names)


# Fashion-MNIST


def lookalikes(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Archive, dict[str, bytes], Archive, dict[str, bytes]]:
    """Two archives whose files have the same names and sizes."""
    digits = MNIST_CONTENT
    clothes = {
        name: content[:16] + bytes(255 - byte for byte in content[16:]) if "images" in name else content
        for name, content in digits.items()
    }
    one, two = (
        replace(
            small_mnist()[0],
            name=kind.name,
            folder=kind.folder,
            known={name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in files.items()},
            classes=None,
        )
        for kind, files in ((MNIST, digits), (FASHION, clothes))
    )
    monkeypatch.setattr(official, "LOOKALIKES", (one, two))
    return one, digits, two, clothes


@pytest.mark.parametrize("root", ["", "FashionMNIST", "FashionMNIST/raw"])
@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, gz: bool) -> None:
    _, _, archive, clothes = lookalikes(monkeypatch)
    files = {f"{name}.gz": gzip.compress(x) for name, x in clothes.items()} if gz else clothes
    put(tmp_path / "FashionMNIST" / "raw", files)
    images = read_fashion_mnist(tmp_path / root, download=False, archive=archive)
    assert images.verified
    assert (
        images.train[0][1, 0, 3, 4] == 255 - MNIST_CONTENT["train-images-idx3-ubyte"][16 + 784 + 3 * 28 + 4]
    )


def test_neither_is_read_under_the_name_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, digits, two, clothes = lookalikes(monkeypatch)
    put(tmp_path / "a" / "FashionMNIST" / "raw", digits)
    with pytest.raises(DataError, match=r"idx3-ubyte: got a file of MNIST; accepted: Fashion-MNIST"):
        read_fashion_mnist(tmp_path / "a", download=False, archive=two)
    put(tmp_path / "b" / "MNIST" / "raw", clothes)
    with pytest.raises(DataError, match=r"idx3-ubyte: got a file of Fashion-MNIST; accepted: MNIST"):
        read_mnist(tmp_path / "b", download=False, archive=one)
    # Directly in a folder there is no other sign than the hash.
    put(tmp_path / "c", {**digits, "t10k-images-idx3-ubyte": clothes["t10k-images-idx3-ubyte"]})
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: got a file of Fashion-MNIST"):
        read_mnist(tmp_path / "c", download=False, archive=one)


def test_a_folder_that_names_another_set_is_refused_unless_the_hashes_say_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, digits, _, _ = lookalikes(monkeypatch)
    folder = put(tmp_path / "FashionMNIST" / "raw", digits)
    assert_small_mnist(read_mnist(folder, download=False, archive=one))
    name = "train-images-idx3-ubyte"
    put(folder, {name: digits[name][:-1] + b"\x07"})
    with pytest.raises(DataError, match="got the folder of Fashion-MNIST; accepted: MNIST"):
        read_mnist(folder, download=False, archive=one)


def test_a_download_of_fashion_mnist(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, archive, clothes = lookalikes(monkeypatch)
    server.files = {f"{name}.gz": gzip.compress(content) for name, content in clothes.items()}
    known = {name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in server.files.items()}
    images = read_fashion_mnist(tmp_path, archive=replace(archive, packages=known))
    assert images.verified
    assert images.folder == tmp_path / "FashionMNIST" / "raw"
    assert sorted(server.asked) == sorted(f"/{name}" for name in server.files)


@pytest.mark.skipif(ROOT is None, reason="needs MGNET_DATA")
def test_the_real_digits_are_no_clothes(tmp_path: Path) -> None:
    assert ROOT is not None
    images = read_mnist(ROOT, download=False)
    if not images.verified:
        pytest.skip("not the published files")
    with pytest.raises(DataError, match="got a file of MNIST; accepted: Fashion-MNIST"):
        read_fashion_mnist(images.folder, download=False)


def test_the_constants_fit_each_other() -> None:
    for archive in (CIFAR10_PYTHON, CIFAR100, CIFAR100_PYTHON, FASHION, MNIST):
        assert archive.package_sizes.keys() == archive.packages.keys()
        assert archive.known is None or archive.known.keys() == archive.sizes.keys()
        assert archive.classes is not None
        assert sum(archive.classes[1]) == 10_000
        for known in (*archive.packages.values(), *(archive.known or {}).values()):
            algorithm, _, digest = known.partition(":")
            assert len(digest) == 2 * hashlib.new(algorithm).digest_size
    assert FASHION.sizes == MNIST.sizes
    assert CIFAR100.sizes == {"train.bin": 153_700_000, "test.bin": 30_740_000}
