"""A run that goes on as another than it was: with more epochs after its end, or another rate."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from trained import assert_same, small, weights

import mgnet
from mgnet import CheckpointError, DivergedError, Recipe, checkpoint
from mgnet.data import Data
from mgnet.train import BEST, LAST, loop

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANT: dict[str, Any] = {
    "recipe": "lecture",
    "batch_size": 32,
    "lr": 0.02,
    "schedule": "constant",
    "progress": False,
}
FIGURES = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


@pytest.fixture(scope="module")
def data() -> Data:
    return mgnet.data.synthetic(train=160, validation=64, test=96)


def test_more_epochs_are_those_of_a_longer_run(data: Data, tmp_path: Path) -> None:
    """By a constant rate, bit for bit, also where the best epoch was not the last one."""
    whole, parts = small(), small()
    expected = mgnet.fit(whole, data, **CONSTANT, epochs=6)
    first = mgnet.fit(parts, data, **CONSTANT, epochs=2, out=tmp_path)
    with pytest.warns(UserWarning) as said:
        history = mgnet.fit(small(seed=1), data, **CONSTANT, epochs=4, out=tmp_path, resume=True)
    assert [str(warning.message) for warning in said] == [
        f"{tmp_path}: goes on from epoch 3 with 4 epochs instead of 2, with their schedule, and the test set"
        f" will be looked at again (the first time its accuracy was {first.test_accuracy:.4f})"
    ]
    assert [f"{tmp_path}: {note}" for note in history.notes] == [str(warning.message) for warning in said]
    with pytest.warns(UserWarning, match="6 epochs instead of 4"):
        history = mgnet.fit(parts, data, **CONSTANT, epochs=6, out=tmp_path, resume=True)
    for name in FIGURES:
        assert history[name] == expected[name], name
    assert history.test_accuracy == expected.test_accuracy
    assert_same(weights(parts), weights(whole))
    assert len(history.notes) == 2
    assert checkpoint.load(tmp_path / BEST)["history"]["notes"] == history.notes
    assert json.loads((tmp_path / "history.json").read_text())["notes"] == history.notes


def test_the_last_weights_are_kept_beside_the_best(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    judge = mgnet.train.judging.judge

    def worse(model: Any, split: Any, *rest: Any) -> tuple[float, float]:
        seen.append(weights(model))
        return judge(model, split, *rest)[0], 1.0 / len(seen)

    monkeypatch.setattr(mgnet.train.judging, "judge", worse)
    model = small()
    mgnet.fit(model, data, **CONSTANT, epochs=3, out=tmp_path)
    assert_same(weights(model), seen[0])
    assert_same(dict(checkpoint.load(tmp_path / BEST)["model"]), seen[0])
    assert_same(dict(checkpoint.load(tmp_path / LAST)["model"]), seen[2])


def test_a_schedule_is_that_of_the_new_length(data: Data, tmp_path: Path) -> None:
    options = {**CONSTANT, "schedule": "cosine"}
    mgnet.fit(small(), data, **options, epochs=2, out=tmp_path)
    with pytest.warns(UserWarning, match="with their schedule"):
        history = mgnet.fit(small(), data, **options, epochs=4, out=tmp_path, resume=True)
    assert history["lr"] == pytest.approx([0.01, 0.0, 0.02 * (0.5 - 0.125**0.5), 0.0], abs=1e-12)


def test_after_patience_too(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.4, 0.3, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(mgnet.train.judging, "judge", lambda *_: (1.0, next(accuracies)))
    assert len(mgnet.fit(small(), data, **CONSTANT, epochs=5, patience=1, out=tmp_path)) == 2
    with pytest.warns(UserWarning, match="goes on from epoch 3 with 9 epochs instead of 5"):
        history = mgnet.fit(small(), data, **CONSTANT, epochs=9, patience=1, out=tmp_path, resume=True)
    assert history.stopped_early
    assert len(history) == 4
    assert history.best == history.rows[2]


def test_no_checkpoint_is_promised_that_is_not_there(data: Data, tmp_path: Path) -> None:
    for out in (None, tmp_path):
        with pytest.raises(DivergedError, match="clip the gradient$"):
            mgnet.fit(small(), data, **{**CONSTANT, "lr": 1e30}, out=out)


def test_another_rate_after_a_divergence(data: Data, tmp_path: Path) -> None:
    options = {**CONSTANT, "epochs": 3, "out": tmp_path}
    model = small()
    step = loop.train_step

    def breaks(run: Any, *batch: Any) -> None:
        if len(run.history) == 1:
            run.optimizer.param_groups[0]["lr"] = 1e30
        step(run, *batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DivergedError) as found:
        patch.setattr(loop, "train_step", breaks)
        mgnet.fit(model, data, **options)
    assert "fit(..., lr=RATE, resume=True), in the shell --lr RATE --resume" in str(found.value)
    kept = checkpoint.load(tmp_path / LAST)
    with pytest.warns(UserWarning, match=r": goes on from epoch 2 with lr 0.005 instead of 0.02$"):
        history = mgnet.fit(model, data, **{**options, "lr": 0.005}, resume=True)
    assert history["lr"] == [0.02, 0.005, 0.005]
    assert history.rows[0] == kept["history"]["rows"][0]
    assert history.notes == ["goes on from epoch 2 with lr 0.005 instead of 0.02"]
    with pytest.raises(ValueError, match="lr: got 0.02, but .* has 0.005"):
        mgnet.fit(model, data, **options, resume=True)  # it has ended


def test_within_an_epoch(data: Data, tmp_path: Path) -> None:
    options = {**CONSTANT, "epochs": 1, "out": tmp_path, "save_every": 1}
    step = loop.train_step

    def third(run: Any, *batch: Any) -> None:
        if run.batches.position == 3:
            raise InterruptedError
        step(run, *batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(loop, "train_step", third)
        mgnet.fit(small(), data, **options)
    with pytest.warns(UserWarning, match="goes on from epoch 1 with lr 0.01 instead of 0.02"):
        assert mgnet.fit(small(), data, **{**options, "lr": 0.01}, resume=True)["lr"] == [0.01]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"epochs": 1},
            "epochs: got 1, .*goes to 2; accepted: 2, of which 2 are done, or more by epochs=K",
        ),
        ({"lr": 0.5}, "lr: got 0.5, .*; accepted: the same, or more epochs too, since it has ended"),
        ({"momentum": 0.5}, "momentum: got 0.5, .*; accepted: the same, or another folder"),
        ({"momentum": 0.5, "epochs": 5}, "momentum: got 0.5"),
        ({"seed": 3, "lr": 0.01, "epochs": 5}, "seed: got 3"),
    ],
    ids=str,
)
def test_all_else_is_refused(data: Data, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    mgnet.fit(small(), data, **CONSTANT, epochs=2, out=tmp_path)
    with pytest.raises(ValueError, match=message):
        mgnet.fit(small(), data, **{**CONSTANT, "epochs": 2, **changes}, out=tmp_path, resume=True)


def test_what_nobody_has_asked_for_is_no_change(data: Data, tmp_path: Path) -> None:
    """A name of a recipe says nothing of the run that is to go on; its own fields do."""
    mgnet.fit(small(), data, recipe="lecture", epochs=1, lr=0.02, out=tmp_path, progress=False)
    for changes in ({"lr": 0.02}, {"epochs": 1}):
        with pytest.raises(ValueError, match="epochs: got 10|lr: got 0.01"):
            mgnet.fit(small(), data, recipe="lecture", **changes, out=tmp_path, resume=True, progress=False)

    def broken(_: Any) -> None:
        raise InterruptedError

    options = {"recipe": "lecture", "epochs": 2, "out": tmp_path / "b", "progress": False}
    with pytest.raises(InterruptedError):
        mgnet.fit(small(), data, **options, lr=0.02, on_epoch=broken)
    with pytest.raises(
        ValueError,
        match="lr: got 0.01, but .* has 0.02; accepted: the same, or another one by lr=RATE",
    ):
        mgnet.fit(small(), data, **options, resume=True)
    longer = Recipe(**{**checkpoint.load(tmp_path / LAST)["recipe"], "epochs": 2})
    with pytest.warns(UserWarning, match="2 epochs instead of 1"):
        mgnet.fit(small(), data, recipe=longer, out=tmp_path, resume=True, progress=False)


def older(path: Path) -> None:
    """Make a checkpoint one of the format before."""
    state = checkpoint.load(path)
    for name in ("init", "freeze", "class_weights"):
        del state[name]
    del state["history"]["notes"]
    checkpoint.save(path, {**state, "format": 2})


def test_a_run_of_the_format_before_goes_on(data: Data, tmp_path: Path) -> None:
    first = mgnet.fit(small(), data, **CONSTANT, epochs=1, out=tmp_path)
    older(tmp_path / LAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mgnet.fit(small(), data, **CONSTANT, epochs=1, out=tmp_path, resume=True).rows == first.rows
    older(tmp_path / LAST)
    with pytest.raises(ValueError, match="freeze: got"):
        mgnet.fit(small(), data, **CONSTANT, epochs=1, out=tmp_path, resume=True, freeze="0")
    checkpoint.save(tmp_path / LAST, {**checkpoint.load(tmp_path / LAST), "format": 1})
    with pytest.raises(CheckpointError, match="format: got 1; accepted: 2 or 3"):
        mgnet.fit(small(), data, **CONSTANT, epochs=1, out=tmp_path, resume=True)
