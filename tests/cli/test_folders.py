"""``mgnet train`` and ``evaluate`` on a folder of pictures, and what is set apart of a data set."""

from __future__ import annotations

import json
import os
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import last_words
from PIL import Image

from mgnet import checkpoint, data
from mgnet.cli import main
from mgnet.train import BEST

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread")

DRAW = np.random.default_rng(0)
TRAIN = ["train", "logistic", "--recipe", "lecture", "--epochs", "1", "--batch-size", "8"]
FOLDER = [*TRAIN, "--dataset", "folder", "--data", "photos"]


@pytest.fixture(autouse=True)
def photos(own_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGNET_DATA", raising=False)
    for kind, i in product(("ape", "bee"), range(20)):
        path = Path("photos") / kind / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = DRAW.integers(0, 256, (12, 14, 3), dtype=np.uint8) // (1 + 2 * (kind == "ape"))
        Image.fromarray(pixels).save(path)


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0, capsys.readouterr().err
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def complaint(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    capsys.readouterr()
    return last_words(capsys, code, *argv)


def test_a_folder_is_trained_on_and_evaluated_on_the_same_split(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(capsys, *FOLDER, "--out", "run", "--validation", "0.25")
    assert (figures["dataset"], figures["source"].split(";")[0]) == ("folder", "pictures in photos")
    state = checkpoint.load(f"run/{BEST}")
    assert state["classes"] == ["ape", "bee"]
    assert state["spec"]["image_size"] == 28  # the model's own, and its channels
    own = data.folder("photos", size=28, channels=1, validation=0.25)
    assert state["digests"] == {part: getattr(own, part).digest() for part in ("train", "validation", "test")}
    assert main(["evaluate", "run", "--data", "photos", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["test_accuracy"] == figures["test_accuracy"]
    assert "warning" not in err


def test_a_model_in_colour_gets_colours_of_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "mgnet", *FOLDER[2:], "--option", "channels=4", "--option", "nu=1", "--out", "run"]
    answer(capsys, *argv)
    spec = checkpoint.load(f"run/{BEST}")["spec"]
    assert (spec["in_channels"], spec["image_size"], spec["num_classes"]) == (3, 32, 2)


@pytest.mark.filterwarnings("default")
def test_other_pictures_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *FOLDER, "--out", "run")
    for path in Path("photos").rglob("*.png"):
        Image.fromarray(DRAW.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    assert main(["evaluate", "run", "--data", "photos"]) == 0
    assert "warning: the test images of folder are not those of the run" in capsys.readouterr().err


def test_other_classes_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *FOLDER, "--out", "run")
    evaluate = ("evaluate", "run", "--data", "photos")
    os.rename("photos/bee", "photos/cat")
    said = complaint(capsys, 2, *evaluate)
    got = "class 1 of folder is 'cat', and 'bee' in the run"
    assert f"--data: got other classes: {got}; accepted: ['ape', 'bee']" in said
    os.rename("photos/cat", "photos/aal")  # the same number, in another order
    assert "class 0 of folder is 'aal', and 'ape' in the run" in complaint(capsys, 2, *evaluate)
    os.rename("photos/aal", "photos/bee")
    os.mkdir("photos/cow")
    os.rename("photos/ape/0.png", "photos/cow/0.png")
    assert "--data: folder has images of 1×28×28 in 3 classes" in complaint(capsys, 2, *evaluate)
    assert "--data: folder has" in complaint(capsys, 2, *evaluate, "--dataset", "folder")
    assert "--dataset: synthetic has" in complaint(capsys, 2, *evaluate[:2], "--dataset", "synthetic")


@pytest.mark.filterwarnings("default")
def test_damaged_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/ape/3.png").write_bytes(b"x")
    Path("photos/bee/9.png").write_bytes(Path("photos/bee/9.png").read_bytes()[:50])
    said = complaint(capsys, 4, *FOLDER)
    assert "2 files are damaged: ape/3.png: " in said
    assert "bee/9.png: " in said
    assert main([*FOLDER, "--skip-damaged", "--out", "run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["dataset"] == "folder"
    assert "warning: photos: skipped damaged files (2): ape/3.png: " in err
    assert "damaged" in complaint(capsys, 4, "evaluate", "run", "--data", "photos")
    assert main(["evaluate", "run", "--data", "photos", "--skip-damaged"]) == 0


@pytest.mark.parametrize(
    ("code", "said", "argv"),
    [
        (
            2,
            "--data: got none; accepted with --dataset folder: --data DIR, where each class",
            ["--dataset", "folder"],
        ),
        (2, "--data: got nowhere, which is not there", ["--dataset", "folder", "--data", "nowhere"]),
        (4, "got no folders of classes", ["--dataset", "folder", "--data", "photos/ape"]),
        (
            2,
            "--skip-damaged: got synthetic; accepted: --dataset folder",
            ["--dataset", "synthetic", "--skip-damaged"],
        ),
        (2, "--validation: got 'x'; accepted: a whole number, or a share", ["--validation", "x"]),
        (2, "validation: got 1.5; accepted: an integer", [*FOLDER[-4:], "--validation", "1.5"]),
        (2, "validation: got -1; accepted: an integer", [*FOLDER[-4:], "--validation", "-1"]),
        (2, "validation: got 36; accepted: below the 36", [*FOLDER[-4:], "--validation", "36"]),
    ],
)
def test_how_it_ends(capsys: pytest.CaptureFixture[str], code: int, said: str, argv: list[str]) -> None:
    assert said in complaint(capsys, code, *TRAIN, *argv)


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("6", 6), ("0.5", 18), ("0.0", 0)])
def test_what_is_set_apart(capsys: pytest.CaptureFixture[str], text: str, count: int) -> None:
    figures = answer(capsys, *FOLDER, "--validation", text, "--out", "run")
    digests = checkpoint.load(f"run/{BEST}")["digests"]
    assert digests["validation"].startswith(f"{count} images, ")
    assert digests["train"].startswith(f"{36 - count} images, ")
    assert (figures["val_accuracy"] is None) == (count == 0)


def test_another_validation_set_is_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *FOLDER, "--out", "run")
    said = complaint(capsys, 2, *FOLDER, "--out", "run", "--resume", "--validation", "0.3")
    assert said.startswith("mgnet: error: data.train: got ")


class Call:
    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


def test_a_malicious_batch_executes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir("cifar-10-batches-py")
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        Path("cifar-10-batches-py", name).write_bytes(pickle.dumps({"data": Call(), "labels": [0]}))
    for root in (".", "cifar-10-batches-py"):
        said = complaint(capsys, 4, "train", "net", "--dataset", "cifar10", "--data", root)
        assert "data_batch_1: not a file of arrays as it should be: it names " in said
        assert "mkdir, which no pickle of arrays has" in said
    assert not os.path.exists("canary")
