"""``mgnet predict``: every picture that can be read has an answer, and the others a line and a code."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographed import PLAIN, photographed
from PIL import Image

import mgnet
from mgnet import checkpoint
from mgnet.cli import main
from mgnet.data import Data, Split
from mgnet.train.run_folder import BEST, LAST

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread")

COLOUR = mgnet.data.synthetic(train=64, validation=10, test=10)


def trained(data: Data, out: str) -> None:
    channels, size, _ = data.shape
    model = mgnet.models.create("logistic", in_channels=channels, image_size=size, num_classes=10)
    mgnet.fit(model, data, epochs=1, batch_size=32, out=out, progress=False)


@pytest.fixture
def run() -> mgnet.Run:
    trained(COLOUR, "run")
    for i in range(3):
        Image.fromarray(COLOUR.test.images[i].permute(1, 2, 0).numpy()).save(f"{i}.png")
    return mgnet.load_run("run")


def digits() -> Data:
    images = torch.zeros((40, 1, 28, 28), dtype=torch.uint8)
    images[:, :, 4:24, 13:16] = 255
    part = Split(images, torch.arange(40) % 10)
    return Data("own", [str(i) for i in range(10)], part, part, part, "drawn", False, "digits")


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[Any, list[str]]:
    assert main(["predict", *argv, "--json"]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert all(words.startswith("mgnet: ") for words in err.splitlines())
    return json.loads(line, parse_constant=pytest.fail), err.splitlines()


def test_json_has_what_the_run_says(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    found, words = said(capsys, "run", "0.png", "1.png", "--plot", "x.png")
    assert words == []
    assert list(found) == ["model", "dataset", "predictions"]
    assert (found["model"], found["dataset"]) == ("logistic", "synthetic")
    for row, answer in zip(found["predictions"], run.predict(["0.png", "1.png"]), strict=True):
        assert row == {
            "file": answer.name,
            "class": answer.class_name,
            "label": answer.label,
            "probability": answer.probability,
            "best": [list(pair) for pair in answer.best],
            "inverted": False,
            "form": "unchanged",
        }
        assert len(row["best"]) == 5
    with Image.open("x.png") as figure:
        assert min(figure.size) > 100


def test_a_table_has_a_line_for_each(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    assert main(["predict", f"run/{BEST}", "0.png", "2.png"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "best"]
    for line, answer in zip(lines, run.predict(["0.png", "2.png"]), strict=True):
        assert line.split()[0] == answer.name
        for name, share in answer.best:
            assert f"{name} {share:.1%}" in line


def test_others_are_answered(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    Path("bad.jpg").write_bytes(b"\xff\xd8\xff damaged")
    Path("text.png").write_text("words")
    Path("folder").mkdir()
    files = ["bad.jpg", "0.png", "text.png", "1.png"]
    found, words = said(capsys, "run", *files, code=4)
    assert [row["file"] for row in found["predictions"]] == files
    assert ["error" in row for row in found["predictions"]] == [True, False, True, False]
    assert found["predictions"][0]["error"].startswith("bad.jpg: got ")
    assert [line.split(": ")[1:3] for line in words] == [["error", "bad.jpg"], ["error", "text.png"]]
    assert found["predictions"][1]["probability"] == pytest.approx(run.predict("0.png")[0].probability)
    found, words = said(capsys, "run", "none.png", "1.png", code=2)
    assert "error" in found["predictions"][0] and "best" in found["predictions"][1]
    assert said(capsys, "run", "none.png", "bad.jpg", code=4)[0]["predictions"][0]["file"] == "none.png"
    assert main(["predict", "run", "bad.jpg"]) == 4
    assert capsys.readouterr().out == ""


def test_a_folder_stands_for_its_pictures(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    Path("photos").mkdir()
    for name in ("b.PNG", "a.jpeg", ".hidden.png", "notes.txt"):
        Path("photos", name).write_bytes(Path("0.png").read_bytes())
    found, _ = said(capsys, "run", "photos", "1.png")
    assert [row["file"] for row in found["predictions"]] == ["photos/a.jpeg", "photos/b.PNG", "1.png"]
    Path("photos", "broken.png").symlink_to("nowhere")
    Path("photos", "loop.png").symlink_to("loop.png")
    Path("photos", "folder.png").mkdir()
    found, words = said(capsys, "run", "photos", code=2)
    rows = {row["file"].removeprefix("photos/"): "best" in row for row in found["predictions"]}
    assert rows == {"a.jpeg": True, "b.PNG": True, "broken.png": False, "loop.png": False}
    assert [line.split(": ")[2] for line in words] == ["photos/broken.png", "photos/loop.png"]
    os.mkfifo(Path("photos", "pipe.png"))
    assert "got a pipe" in said(capsys, "run", "photos", code=4)[1][-1]
    Path("empty").mkdir()
    assert main(["predict", "run", "empty"]) == 2
    assert "FILE: got empty, a folder without pictures; accepted: .png" in capsys.readouterr().err


def test_what_is_done_to_a_digit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    trained(digits(), "run")
    stroke = digits().test.images[0, 0].numpy()
    Image.fromarray(photographed(stroke, PLAIN, 0)).save("photo.png")
    Image.fromarray(255 - stroke).save("dark.png")
    Image.fromarray(stroke).save("own.png")
    files = ["photo.png", "dark.png", "own.png"]
    found, words = said(capsys, "run", *files)
    rows = found["predictions"]
    assert [row["inverted"] for row in rows] == [True, True, False]
    assert [row["form"] for row in rows] == ["digits", "unchanged", "unchanged"]
    assert rows[1]["probability"] == pytest.approx(rows[2]["probability"])
    dark, moved = words
    assert dark.startswith("mgnet: photo.png, dark.png: dark on light, ")
    assert "--invert" in dark and "--no-invert" in dark
    assert moved.startswith("mgnet: photo.png: the digit was found, ") and "--as-is" in moved
    left, words = said(capsys, "run", "dark.png", "--as-is")
    assert words == []
    assert left["predictions"][0]["best"] != rows[1]["best"]
    asked, words = said(capsys, "run", "dark.png", "--as-is", "--invert")
    assert words == []
    assert asked["predictions"][0]["probability"] == pytest.approx(rows[1]["probability"])
    assert not any(row["inverted"] for row in said(capsys, "run", *files, "--no-invert")[0]["predictions"])


def test_many_pictures_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    trained(digits(), "run")
    files = [f"{i}.png" for i in range(6)]
    for file in files:
        Image.fromarray(255 - digits().test.images[0, 0].numpy()).save(file)
    _, (words,) = said(capsys, "run", *files)
    assert words.startswith("mgnet: 0.png, 1.png, 2.png and 3 more: dark on light, and own is light on dark")


def test_runs_that_cannot_be_asked(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    state = checkpoint.load(f"run/{BEST}")
    state["form"]["shape"] = [3, 16, 16]
    checkpoint.save("a.ckpt", state)
    Path("damaged.ckpt").write_bytes(b"no")
    Path("going on").mkdir()
    Path("going on", LAST).write_bytes(b"")
    for name, code, words in (
        ("a.ckpt", 4, "a.ckpt: model: does not take images of 3×16×16"),
        ("damaged.ckpt", 4, "damaged.ckpt: "),
        ("none", 2, "none: No such file"),
        ("going on", 2, "RUN: got going on, a run that has not ended"),
    ):
        assert main(["predict", name, "0.png"]) == code
        out, err = capsys.readouterr()
        assert out == "" and words in err and len(err.splitlines()) == 1


def test_arguments(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    for argv, words in (
        (["run"], "FILE"),
        (["run", "0.png", "--plot", "x.txt"], "--plot: x.txt: the name must end in .png"),
        (["run", "0.png", "--invert", "--no-invert"], "not allowed with"),
        (["run", "0.png", "--device", "abacus"], "device: got 'abacus'"),
    ):
        assert main(["predict", *argv]) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in err


def test_older_runs_have_numbers_for_names(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    state = checkpoint.load(f"run/{BEST}")
    del state["classes"], state["form"], state["digests"]
    checkpoint.save("old.ckpt", state)
    (row,) = said(capsys, "old.ckpt", "0.png")[0]["predictions"]
    assert row["class"] == str(row["label"])
    assert row["probability"] == run.predict("0.png")[0].probability
    np.testing.assert_array_equal(
        [share for _, share in row["best"]], [s for _, s in run.predict("0.png")[0].best]
    )


STRANGE = ["-dash.png", " -blank.png", "a\x1b[31mb\nc.png", os.fsdecode(b"bad\xff.png"), r"$\frac$.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_any_name_of_a_file(capsys: pytest.CaptureFixture[str], run: mgnet.Run) -> None:
    for name in STRANGE:
        Path(name).write_bytes(Path("0.png").read_bytes())
    assert main(["predict", "run", "--plot", "x.png", "--", *STRANGE]) == 0
    out, err = capsys.readouterr()
    assert err == "" and len(out.splitlines()) == 1 + len(STRANGE)
    assert r"a\x1b[31mb\nc.png  " in out and r"bad\udcff.png  " in out
    assert all(line.isprintable() for line in out.splitlines())
    with Image.open("x.png") as figure:
        assert min(figure.size) > 100
    found, _ = said(capsys, "run", *STRANGE)
    assert [row["file"] for row in found["predictions"]] == STRANGE


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "0.png", "--plot", "none/x.png"], "--plot: none/x.png cannot be written: No such file"),
        (["run", "0.png", "--plot", ""], "--plot: : the name must end in .png"),
        (["run", "0.png", ""], "FILE: got ''; accepted: a picture, "),
        (["", "0.png"], "RUN: got ''; accepted: the folder of a run, or a checkpoint in it"),
    ],
)
def test_names_that_are_none(
    capsys: pytest.CaptureFixture[str], run: mgnet.Run, argv: list[str], words: str
) -> None:
    assert main(["predict", *argv]) == 2
    assert capsys.readouterr().err.startswith(f"mgnet: error: {words}")
