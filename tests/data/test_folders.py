"""A folder of pictures as a data set: layouts, parts that are made, damage, and what stays the same."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mgnet import data
from mgnet.data import DataError, folders, pictures, statistics

KINDS = ("ape", "bee", "cat")


def colours(*key: int | str, side: int = 8) -> np.ndarray:
    """Give the pixels of a picture that no other one has."""
    draw = np.random.default_rng([sum(map(ord, str(part))) * 7 + i for i, part in enumerate(key)])
    return draw.integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def filled(root: Path, *parts: str, each: int = 10, kinds: tuple[str, ...] = KINDS) -> Path:
    for part, kind, i in product(parts or ("",), kinds, range(each)):
        save(root / part / kind / f"{i}.png", colours(part, kind, i))
    return root


def keys(split: data.Split) -> list[bytes]:
    return [image.tobytes() for image in split.images.numpy()]


def test_folders_of_classes(tmp_path: Path) -> None:
    found = data.folder(filled(tmp_path), size=8)
    assert (found.name, found.classes, found.verified) == ("folder", [*KINDS], False)
    assert "unverified" not in found.source
    assert found.source == f"pictures in {tmp_path}; test and validation set made by seed 0"
    assert (len(found.train), len(found.validation), len(found.test)) == (24, 3, 3)
    assert found.shape == (3, 8, 8)
    assert (found.mean, found.std) == statistics(found.train.images)
    for part in (found.train, found.validation, found.test):
        assert part.labels.bincount(minlength=3).tolist() == [len(part) // 3] * 3
        assert part.mean == found.train.mean
        for image, label in zip(part.images.numpy(), part.labels.tolist(), strict=True):
            own = {colours("", KINDS[label], i).transpose(2, 0, 1).tobytes() for i in range(10)}
            assert image.tobytes() in own
    together = keys(found.train) + keys(found.validation) + keys(found.test)
    assert len(set(together)) == len(together) == 30


def test_the_pixels_are_those_of_the_reader_of_single_pictures(tmp_path: Path) -> None:
    for kind, i in product(KINDS, range(3)):
        save(tmp_path / kind / f"{i}.jpg", colours(kind, i, side=40)[:, :31])
    for channels, size in ((3, 32), (1, 28)):
        found = data.folder(tmp_path, channels=channels, size=size, test=0, validation=0)
        files = sorted(tmp_path.rglob("*.jpg"))
        expected = [pictures.fit(pictures.read(path), channels, size) for path in files]
        np.testing.assert_array_equal(found.train.images, np.stack(expected))
    assert data.folder(tmp_path).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("parts", "made"),
    [
        (("train", "val", "test"), ""),
        (("train", "validation", "test"), ""),
        (("Training", "valid", "Testing"), ""),
        (("train", "test"), "; validation set made by seed 0"),
        (("train", "val"), "; test set made by seed 0"),
        (("train",), "; test and validation set made by seed 0"),
    ],
)
def test_parts_that_are_there_or_made(tmp_path: Path, parts: tuple[str, ...], made: str) -> None:
    found = data.folder(filled(tmp_path, *parts), size=8)
    assert found.source == f"pictures in {tmp_path}{made}"
    pairs = [*product(KINDS, range(10))]
    own = {n: {colours(n, kind, i).transpose(2, 0, 1).tobytes() for kind, i in pairs} for n in parts}
    for name in parts[1:]:
        split = found.test if name.lower().startswith("test") else found.validation
        assert set(keys(split)) == own[name]
    rest = [
        p
        for p, word in (("validation", "val"), ("test", "test"))
        if not any(n.lower().startswith(word) for n in parts)
    ]
    made_of_train = [key for name in ("train", *rest) for key in keys(getattr(found, name))]
    assert sorted(made_of_train) == sorted(own[parts[0]])


def test_the_seed_decides_and_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    first, same, other = (data.folder(tmp_path, size=8, seed=seed) for seed in (0, 0, 1))
    assert keys(first.test) == keys(same.test) != keys(other.test)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(listed(path), reverse=True)))
    again = data.folder(tmp_path, size=8)
    for part in ("train", "validation", "test"):
        assert getattr(again, part).digest() == getattr(first, part).digest()


def test_the_validation_set_does_not_change_the_test_set(tmp_path: Path) -> None:
    filled(tmp_path)
    tests = [data.folder(tmp_path, size=8, validation=validation).test.digest() for validation in (0, 0.3, 4)]
    assert len(set(tests)) == 1


@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    test=st.floats(0, 0.6),
    seed=st.integers(0, 5),
)
def test_no_class_is_left_without_training_pictures(counts: list[int], test: float, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    part = folders._Part(
        [Path(str(i)) for i in range(len(labels))], labels, [str(i) for i in range(len(labels))]
    )
    try:
        rest, apart = folders._set_apart("test", test, part, seed)
    except DataError:
        assert round(test * len(labels)) > len(labels) - len(counts) or len(labels) == len(counts)
        return
    assert set(rest.labels) == set(labels)
    assert len(apart.files) == (max(round(test * len(labels)), 1) if test else 0)
    assert sorted(rest.files + apart.files) == sorted(part.files)


def test_copies_stay_together(tmp_path: Path) -> None:
    filled(tmp_path, each=6)
    for kind, i, k in product(KINDS, range(6), range(3)):
        save(tmp_path / kind / f"copy {k} of {i}.png", colours("", kind, i))
    found = data.folder(tmp_path, size=8, test=0.3, validation=0.3)
    parts = [set(keys(part)) for part in (found.train, found.validation, found.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert sum(map(len, parts)) == 18
    assert len(found.test) == 4 * len(parts[2])


def test_copies_in_other_parts_and_classes_are_told_of(tmp_path: Path) -> None:
    filled(tmp_path, "train", "val", "test")
    save(tmp_path / "test" / "ape" / "again.png", colours("train", "ape", 3))
    said = r"copies of pictures of another part \(1\): test/ape/again.png"
    with pytest.warns(UserWarning, match=said):
        data.folder(tmp_path, size=8)
    save(tmp_path / "train" / "bee" / "ape.png", colours("train", "ape", 4))
    with pytest.warns(UserWarning) as found:
        data.folder(tmp_path, size=8)
    assert any("copies of pictures of another class (1)" in str(w.message) for w in found)
    assert all(w.filename == __file__ for w in found)


# What lies about


def test_litter_is_passed_over_and_other_files_are_counted(tmp_path: Path) -> None:
    filled(tmp_path)
    for name in (
        ".DS_Store",
        "ape/Thumbs.db",
        "bee/desktop.ini",
        "cat/._3.png",
        ".hidden/x.png",
        "__MACOSX/ape/y.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"litter")
    (tmp_path / "labels.csv").write_text("at the root, of no account")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.folder(tmp_path, size=8).train) == 24
    (tmp_path / "ape" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match="left out files that are no pictures by name .1.: ape/notes.txt"):
        data.folder(tmp_path, size=8)


def test_pictures_in_nested_folders_belong_to_the_class(tmp_path: Path) -> None:
    filled(tmp_path)
    for i in range(10):
        save(tmp_path / "ape" / "deep" / "deeper" / f"{i}.png", colours("deep", i))
    os.symlink(tmp_path, tmp_path / "ape" / "loop")
    found = data.folder(tmp_path, size=8, test=0, validation=0)
    assert found.train.labels.bincount().tolist() == [20, 10, 10]


def test_a_class_may_be_a_link(tmp_path: Path) -> None:
    filled(tmp_path / "there")
    (tmp_path / "here").mkdir()
    for kind in KINDS:
        os.symlink(tmp_path / "there" / kind, tmp_path / "here" / kind)
    assert len(data.folder(tmp_path / "here", size=8).train) == 24


def test_names_with_accents_are_the_same_on_every_system(tmp_path: Path) -> None:
    kinds = ("äpfel", "zebra", "öl")
    for form in ("NFC", "NFD"):
        filled(tmp_path / form, kinds=tuple(unicodedata.normalize(form, kind) for kind in kinds))
    one, two = (data.folder(tmp_path / form, test=0, size=8) for form in ("NFC", "NFD"))
    assert one.classes == two.classes == sorted(kinds)


def test_capital_endings_and_arrays(tmp_path: Path) -> None:
    for kind, i in product(("a", "b"), range(2)):
        save(tmp_path / kind / f"{i}.PNG", colours(kind, i))
        np.save(tmp_path / kind / f"{i}.npy", colours(kind, i, "npy"))
    assert len(data.folder(tmp_path, size=8, test=0, validation=0).train) == 8


# What is refused


def only(root: Path, *names: str) -> Path:
    for name in names:
        save(root / name, colours(name))
    return root


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "got no folders of classes; accepted: a folder of pictures for each of two or more"),
        (("0.png", "1.png"), "got no folders of classes"),
        (("a/0.png",), "got one class, a; accepted"),
        (("train/a/0.png",), "train: got one class, a"),
        (("train/0.png", "test/0.png"), "train: got no folders of classes"),
        (("test/a/0.png", "test/b/0.png"), "got test without train; accepted: train beside them"),
        (("val/a/0.png", "test/b/0.png"), "got test, val without train"),
        (
            ("train/a/0.png", "train/b/0.png", "cars/0.png"),
            "got cars beside train; accepted: folders of classes",
        ),
        (("train/a/0.png", "train/b/0.png", "val/a/0.png", "valid/a/0.png"), "got val and valid, which"),
        (
            ("train/a/0.png", "train/b/0.png", "val/a/0.png"),
            "val: lacks b; accepted: the classes of train, a, b",
        ),
        (
            ("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/c/0.png"),
            "test: lacks b and has c; accepted: the classes of train, a, b",
        ),
    ],
)
def test_other_layouts(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        data.folder(only(tmp_path, *names))


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    only(tmp_path, *(f"{kind}/{i}.png" for kind in ("test", "train", "exam") for i in range(2)))
    assert data.folder(tmp_path, size=8, test=0, validation=0).classes == ["exam", "test", "train"]


def test_an_empty_class(tmp_path: Path) -> None:
    filled(tmp_path, "train", "test")
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(DataError, match="test: lacks dog"):
        data.folder(tmp_path)
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(DataError, match="dog: got a class without pictures; accepted: at least one"):
        data.folder(tmp_path)


def test_too_few_pictures_for_a_test_set(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"test: got 0.1, which is 1 of 2 different pictures; accepted: up to 0"
    ):
        data.folder(only(tmp_path, "a/0.png", "b/0.png"))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"size": 0}, ValueError, "size: got 0"),
        ({"size": 10**9}, ValueError, "size: got 1000000000; accepted: an integer from 1 to 4096"),
        ({"size": 8.5}, TypeError, "size: got 8.5"),
        ({"channels": 4}, ValueError, "channels: got 4; accepted: 3 or 1"),
        ({"channels": True}, ValueError, "channels: got True"),
        (
            {"validation": 1.0},
            ValueError,
            "validation: got 1.0; accepted: an integer of at least 0, or a share",
        ),
        ({"test": -1}, ValueError, "test: got -1"),
        ({"test": "x"}, TypeError, "test: got 'x'"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"damaged": "keep"}, ValueError, r"damaged: got 'keep'; accepted: one of \('refuse', 'skip'\)"),
        ({"device": "moon"}, ValueError, "device: got 'moon'"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(
    options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        data.folder("nowhere", **options)


def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGNET_DATA", raising=False)
    with pytest.raises(ValueError, match="root: got None; accepted: the folder of the pictures"):
        data.folder()
    with pytest.raises(FileNotFoundError, match="root: got .*nowhere, which is not there"):
        data.folder(tmp_path / "nowhere")
    monkeypatch.setenv("MGNET_DATA", str(filled(tmp_path)))
    assert len(data.load("folder", size=8).train) == 24


# Damaged files


def damaged(root: Path) -> list[str]:
    filled(root)
    (root / "ape" / "4.png").write_bytes((root / "ape" / "4.png").read_bytes()[:60])
    (root / "bee" / "no picture.jpg").write_bytes(b"<html></html>")
    (root / "bee" / "empty.gif").write_bytes(b"")
    os.symlink(root / "nowhere.png", root / "cat" / "link.png")
    os.mkfifo(root / "cat" / "pipe.png")
    np.save(root / "cat" / "bad.npy", np.zeros((2, 2, 7)))
    return ["ape/4.png", "bee/no picture.jpg", "bee/empty.gif", "cat/link.png", "cat/pipe.png", "cat/bad.npy"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_all_damaged_files_are_listed(tmp_path: Path) -> None:
    names = damaged(tmp_path)
    with pytest.raises(DataError) as caught:
        data.folder(tmp_path, size=8)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}: 6 files are damaged: ape/4.png: ")
    assert "accepted: whole pictures, or to skip those that are not (damaged='skip', --skip-damaged)" in said
    assert all(f"{name}: " in said for name in names)
    assert said.count(str(tmp_path)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_damaged_files_may_be_skipped(tmp_path: Path) -> None:
    names = damaged(tmp_path)
    with pytest.warns(UserWarning, match="skipped damaged files .6.: ") as said:
        found = data.folder(tmp_path, size=8, damaged="skip")
    assert all(f"{name}: " in str(said[0].message) for name in names)
    assert sum(len(getattr(found, part)) for part in ("train", "validation", "test")) == 29
    together = [key for part in ("train", "validation", "test") for key in keys(getattr(found, part))]
    assert len(set(together)) == 29


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_made_of_what_is_whole(tmp_path: Path, seed: int) -> None:
    """As if the damaged files had never been there, whichever part they would have come into."""
    names = ["ape/0.png", "bee/1.png", *(f"cat/{i}.png" for i in range(9))]
    for folder in ("damaged", "without"):
        filled(tmp_path / folder)
    for name in names:
        (tmp_path / "damaged" / name).write_bytes(name.encode())
        (tmp_path / "without" / name).unlink()
    with pytest.warns(UserWarning, match="skipped damaged files .11.: "):
        found = data.folder(tmp_path / "damaged", size=8, damaged="skip", test=0.3, seed=seed)
    expected = data.folder(tmp_path / "without", size=8, test=0.3, seed=seed)
    for part in ("train", "validation", "test"):
        one, other = getattr(found, part), getattr(expected, part)
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert one.digest() == other.digest()


def test_a_class_of_damaged_files_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(path.name.encode())
    said = "got no whole picture to train on of cat; accepted: at least one"
    with pytest.warns(UserWarning, match="skipped damaged files .10."), pytest.raises(DataError, match=said):
        data.folder(tmp_path, damaged="skip")


def test_filters_of_warnings_are_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ignore warnings for a while put back what they found, which another had set."""
    both, order = threading.Barrier(2, timeout=10), itertools.count()
    read = pictures.read

    def slow(path: Path) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            second = next(order) % 2
            both.wait()
            time.sleep(0.005 * second)  # who came last goes last
        return read(path)

    monkeypatch.setattr(folders, "THREADS", 2)
    monkeypatch.setattr(pictures, "read", slow)
    before = list(warnings.filters)
    data.folder(filled(tmp_path, each=2, kinds=("ape", "bee")), size=8, test=0, validation=0)
    assert warnings.filters == before


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOMEM, "no memory"), OSError(errno.EMFILE, "too many", "x")],
    ids=repr,
)
def test_what_the_machine_lacks_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read(path: Path) -> np.ndarray:
        raise error

    monkeypatch.setattr(pictures, "read", read)
    with pytest.raises(type(error)) as caught:
        data.folder(filled(tmp_path), damaged="skip")
    assert caught.value is error


# Digests


def test_the_digest_is_that_of_the_files_and_their_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    own = data.folder(tmp_path, size=8).test
    assert data.folder(tmp_path, size=9).test.digest() != own.digest()
    assert data.folder(tmp_path, size=8, channels=1).test.digest() != own.digest()
    assert own.normalised_by((0.5,), (0.5,)).digest() == own.to("cpu").digest() == own.digest()
    assert own.subset(range(len(own))).digest() != own.digest()
    # Another decoder rounds otherwise: the files are the same.
    read = pictures.read
    monkeypatch.setattr(pictures, "read", lambda path: read(path) ^ 1)
    other = data.folder(tmp_path, size=8).test
    assert not torch.equal(other.images, own.images)
    assert other.digest() == own.digest()
    monkeypatch.undo()
    for path in (tmp_path / "ape").iterdir():
        save(path, colours("other", path.name))
    assert data.folder(tmp_path, size=8).test.digest() != own.digest()


def test_labels_count_in_the_digest(tmp_path: Path) -> None:
    filled(tmp_path, "train", "test")
    own = data.folder(tmp_path, size=8).test.digest()
    os.rename(tmp_path / "test" / "ape", tmp_path / "test" / "x")
    os.rename(tmp_path / "test" / "bee", tmp_path / "test" / "ape")
    os.rename(tmp_path / "test" / "x", tmp_path / "test" / "bee")
    assert data.folder(tmp_path, size=8).test.digest() != own


def test_a_model_learns_from_a_folder(tmp_path: Path) -> None:
    import mgnet

    shades: dict[str, Callable[[int], np.ndarray]] = {
        "dark": lambda i: colours("d", i) // 3,
        "light": lambda i: 255 - colours("l", i) // 3,
    }
    for kind, i in product(shades, range(60)):
        save(tmp_path / kind / f"{i}.png", shades[kind](i))
    found = data.folder(tmp_path, size=8)
    model = mgnet.models.create("logistic", num_classes=2, in_channels=3, image_size=8)
    history = mgnet.fit(model, found, recipe="lecture", epochs=5, batch_size=16, progress=False, lr=0.01)
    assert history.test_accuracy == 1
