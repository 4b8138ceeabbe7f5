"""What a run saves, and that it goes on bit for bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trained import PLAIN, assert_same, small, weights

import mgnet
from mgnet import CheckpointError, History, checkpoint
from mgnet.train import BEST, LAST, judging, loop

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> mgnet.data.Data:
    return mgnet.data.synthetic(train=160, validation=64, test=96)


class StoppedError(Exception):
    pass


def interrupted(
    data: mgnet.data.Data, folder: Path, steps: int, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    """Train, saving after every step, and break off before step ``steps``."""
    done = 0
    step = loop.train_step

    def counted(run: Any, *batch: Any) -> None:
        nonlocal done
        if done == steps:
            raise StoppedError
        done += 1
        step(run, *batch)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(loop, "train_step", counted)
        mgnet.fit(small(), data, **options, out=folder, save_every=1)


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 7, 12])
def test_a_run_goes_on_bit_for_bit(
    data: mgnet.data.Data, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**PLAIN, "epochs": 3, "crop": 4, "flip": "alternating", "cutout": 6, "seed": 3}
    whole, resumed = small(), small(seed=1)
    expected = mgnet.fit(whole, data, **options)
    interrupted(data, tmp_path, steps, monkeypatch, **options)
    history = mgnet.fit(resumed, data, **options, out=tmp_path, resume=True)
    assert_same(weights(resumed), weights(whole))
    for name in ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert history[name] == expected[name], name
    assert history.test_accuracy == expected.test_accuracy


@pytest.mark.parametrize("change", [{"optimizer": "adamw"}, {"replacement": True}, {"bfloat16": True}])
def test_other_recipes_go_on_too(
    data: mgnet.data.Data, tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**PLAIN, **change}
    whole, resumed = small(), small(seed=1)
    mgnet.fit(whole, data, **options)
    interrupted(data, tmp_path, 7, monkeypatch, **options)
    mgnet.fit(resumed, data, **options, out=tmp_path, resume=True)
    assert_same(weights(resumed), weights(whole))


def test_the_best_weights_outlive_an_interruption(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.3, 0.9, 0.5, 0.1])
    seen: list[dict[str, torch.Tensor]] = []

    def judged(model: nn.Module, *_: Any) -> tuple[float, float]:
        seen.append(weights(model))
        return 1.0, next(accuracies, 0.0)

    monkeypatch.setattr(judging, "judge", judged)
    options = {**PLAIN, "epochs": 4}
    interrupted(data, tmp_path, 12, monkeypatch, **options)  # in the third epoch
    resumed = small(seed=1)
    mgnet.fit(resumed, data, **options, out=tmp_path, resume=True)
    assert_same(weights(resumed), seen[1])


def test_a_finished_run_is_not_repeated(data: mgnet.data.Data, tmp_path: Path) -> None:
    model, again = small(), small(seed=1)
    expected = mgnet.fit(model, data, **PLAIN, out=tmp_path)
    history = mgnet.fit(again, data, **PLAIN, out=tmp_path, resume=True)
    assert history.rows == expected.rows
    assert history.test_accuracy == expected.test_accuracy
    assert_same(weights(again), weights(model))


def test_the_files_of_a_run(data: mgnet.data.Data, tmp_path: Path) -> None:
    model = small()
    history = mgnet.fit(model, data, **PLAIN, out=tmp_path / "runs" / "a")
    folder = tmp_path / "runs" / "a"
    assert sorted(file.name for file in folder.iterdir()) == ["history.csv", "history.json", LAST, BEST]
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == history["train_loss"]
    written = json.loads((folder / "history.json").read_text())
    assert written["rows"] == history.rows
    assert written["test_accuracy"] == history.test_accuracy
    state = checkpoint.load(folder / BEST)
    assert_same(state["model"], weights(model))
    again = History()
    again.load_state_dict(state["history"])
    assert again.rows == history.rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "lr: got 0.5, but .* has 0.02"),
        ({"seed": 9}, "seed: got 9"),
        ({"epochs": 1}, "epochs: got 1, .*; accepted: 2, of which 2 are done, or more by epochs=K"),
        ({"freeze": "0"}, r"freeze: got \['0'\], but .* was begun with \[\]"),
        (
            {"class_weights": [2.0] + [1.0] * 9},
            "class_weights: got weights of the classes, but .* was begun with None",
        ),
        ({"milestones": (0.1,)}, "milestones: got"),
    ],
)
def test_another_run_is_not_gone_on_with(
    data: mgnet.data.Data, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    with pytest.raises(ValueError, match=message):
        mgnet.fit(small(), data, **{**PLAIN, **changes}, out=tmp_path, resume=True)


def test_a_run_goes_on_though_its_model_has_got_an_option(data: mgnet.data.Data, tmp_path: Path) -> None:
    """Options that are not in an older checkpoint are at their defaults, and at nothing else."""

    def model(padding: str) -> nn.Module:
        made: Any = mgnet.models.ResNet(repeats=(1, 1), widths=(4, 8), padding=padding)
        made.spec = {**mgnet.models.create("resnet20").spec, "padding": padding}
        return made

    options = {**PLAIN, "epochs": 1}
    mgnet.fit(model("end"), data, **options, out=tmp_path)
    state = checkpoint.load(tmp_path / LAST)
    assert state["spec"].pop("padding") == "end"
    checkpoint.save(tmp_path / LAST, state)
    with pytest.raises(ValueError, match=r"^spec: got .*; accepted: the same"):
        mgnet.fit(model("both"), data, **options, out=tmp_path, resume=True)
    assert len(mgnet.fit(model("end"), data, **options, out=tmp_path, resume=True)) == 1


def test_a_damaged_checkpoint_is_refused(data: mgnet.data.Data, tmp_path: Path) -> None:
    mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    content = bytearray((tmp_path / LAST).read_bytes())
    content[-100] ^= 1
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        mgnet.fit(small(), data, **PLAIN, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("weights_now", "words"),
    [
        ([3.0] + [1.0] * 9, "class_weights: got weights of the classes, but .* was begun with other ones;"),
        (None, "class_weights: got None, but .* was begun with weights of the classes;"),
    ],
    ids=["others", "none"],
)
def test_other_weights_of_classes_are_told_of_in_words(
    data: mgnet.data.Data, tmp_path: Path, weights_now: Any, words: str
) -> None:
    """The scaled ones are numbers that nobody has typed."""
    options = {**PLAIN, "epochs": 1, "out": tmp_path}
    mgnet.fit(small(), data, **options, class_weights=[2.0] + [1.0] * 9)
    with pytest.raises(ValueError, match=words):
        mgnet.fit(small(), data, **options, class_weights=weights_now, resume=True)
