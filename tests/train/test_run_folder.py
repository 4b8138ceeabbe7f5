"""A folder is one run's: tried first, locked while the run goes on, refused where it holds another run."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mgnet
from mgnet import checkpoint
from mgnet.core import files
from mgnet.train import loop, run_folder
from mgnet.train.run_folder import BEST, FILES, LAST, LOCK, claimed

OPTIONS: dict[str, Any] = {"recipe": "lecture", "epochs": 1, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def data() -> mgnet.data.Data:
    return mgnet.data.synthetic(train=64, validation=16, test=16)


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def unwritable(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "deeper")
    yield "a file", tmp_path / "file"
    yield "below a file", tmp_path / "file" / "run"
    yield "a device", Path(os.devnull)
    yield "a name that is too long", tmp_path / ("a" * 300)
    yield "a link to itself", tmp_path / "loop"
    yield "a link to nothing", tmp_path / "dangling"


def test_what_cannot_be_a_folder_is_refused_before_the_first_step(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("a step was made"))
    for kind, out in unwritable(tmp_path):
        with pytest.raises(ValueError, match="out: got .*accepted: a folder that can be written to"):
            mgnet.fit(model(), data, **OPTIONS, out=out)
        assert not (tmp_path / "file").read_bytes(), kind


def test_a_folder_that_refuses_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that is read-only; who runs the tests as root could write there all the same."""

    def refuse(*_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(run_folder, "durable", refuse)
    with pytest.raises(ValueError, match=r"out: got .*\(Permission denied\)"), claimed(tmp_path):
        pass


def test_a_full_disk_is_no_fault_of_the_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), claimed(tmp_path):
        pass
    assert not os.listdir(tmp_path)


def test_another_run_is_not_written_over(data: mgnet.data.Data, tmp_path: Path) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match=r"which holds a run \(last.ckpt, model.ckpt, .*--resume.*--overwrite"
    ):
        mgnet.fit(model(), data, **OPTIONS, seed=1, out=tmp_path)
    assert contents(tmp_path) == before
    mgnet.fit(model(), data, **OPTIONS, seed=1, out=tmp_path, overwrite=True)
    assert checkpoint.load(tmp_path / BEST)["seed"] == 1


def test_a_wrong_call_overwrites_nothing(data: mgnet.data.Data, tmp_path: Path) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    before = contents(tmp_path)
    for wrong in ({"lr": -1.0}, {"batch_size": 0}, {"tensorboard": tmp_path / LAST}):
        with pytest.raises((ValueError, OSError, ImportError)):
            mgnet.fit(model(), data, **{**OPTIONS, **wrong}, out=tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_an_overwritten_run_leaves_nothing_of_itself(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a run that has just begun must not lie the end of another: evaluate would take that."""
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    monkeypatch.setattr(loop, "train_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mgnet.fit(model(), data, **OPTIONS, out=tmp_path, overwrite=True)
    assert not os.listdir(tmp_path)


def test_two_runs_at_once(data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, refused = loop.train_step, []

    def another(run: Any, *batch: Any) -> None:
        step(run, *batch)
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(ValueError, match="where another run is going on") as error:
                mgnet.fit(model(), data, **OPTIONS, out=tmp_path, **options)
            refused.append(error)

    monkeypatch.setattr(loop, "train_step", another)
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path, save_every=1)
    assert len(refused) == 6
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


def test_what_a_killed_run_left_is_swept(data: mgnet.data.Data, tmp_path: Path) -> None:
    for name in (LAST, BEST, "u.csv"):
        Path(files.beside(tmp_path / name)).write_bytes(b"half")
    (tmp_path / LOCK).touch()  # a killed process holds no lock, but its file stays
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    others = set(os.listdir(tmp_path)) - set(FILES)
    assert [name[:13] for name in others] == [".mgnet-u.csv-"]  # somebody else's


@pytest.mark.parametrize("name", FILES)
def test_links_are_refused(data: mgnet.data.Data, tmp_path: Path, name: str) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path / "a")
    before = contents(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).symlink_to(tmp_path / "a" / name)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=f"where {name} is a link"):
            mgnet.fit(model(), data, **OPTIONS, out=tmp_path / "b", **options)
    assert contents(tmp_path / "a") == before


def test_nothing_to_resume_from(data: mgnet.data.Data, tmp_path: Path) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path, resume=True)  # begins
    (tmp_path / LAST).unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="no last.ckpt to resume from"):
        mgnet.fit(model(), data, **OPTIONS, out=tmp_path, resume=True)
    assert contents(tmp_path) == before


def other_labels(data: mgnet.data.Data) -> mgnet.data.Data:
    from dataclasses import replace

    split = mgnet.data.Split(data.test.images, data.test.labels.roll(1), data.test.mean, data.test.std)
    return replace(data, test=split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: mgnet.data.synthetic(train=64, validation=16, test=16, seed=1), "data.train: got"),
        (lambda data: mgnet.data.synthetic(train=64, validation=17, test=16), "data.validation: got"),
        (other_labels, "data.test: got '16 images, SHA-256"),
    ],
)
def test_a_run_goes_on_with_its_own_data_only(
    data: mgnet.data.Data, tmp_path: Path, change: Any, message: str
) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        mgnet.fit(model(), change(data), **OPTIONS, out=tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_a_run_goes_on_with_its_own_model_only(data: mgnet.data.Data, tmp_path: Path) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    frozen = model()
    frozen[1].bias.requires_grad_(False)  # type: ignore[index]
    for other, message in (
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3072, 12)),
            "model, line 3: got .*=12",
        ),
        (model().append(nn.Linear(10, 10)), r"trained: got .* but"),  # type: ignore[operator]
        (model().append(nn.BatchNorm1d(10, affine=False)), "model, line 4: got '.2.: BatchNorm1d"),  # type: ignore[operator]
        (model().double(), "model: does not take"),
        (frozen, r"trained: got \['1.weight'\], but .* \['1.weight', '1.bias'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            mgnet.fit(other, data, **OPTIONS, out=tmp_path, resume=True)


def test_more_epochs_than_a_checkpoint_has_room_for(data: mgnet.data.Data, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs: got 30001; accepted with out: at most 30000"):
        mgnet.fit(model(), data, **{**OPTIONS, "epochs": 30_001}, out=tmp_path / "run")
    assert not os.listdir(tmp_path)
    history = mgnet.History()
    for epoch in range(30_000):
        history.append(**dict.fromkeys(mgnet.train.history.COLUMNS, epoch + 0.1))
    checkpoint.save(tmp_path / "a", {"history": history.state_dict()})


def lacking(name: str) -> Any:
    def change(state: dict[str, Any]) -> None:
        del state[name]

    return change


def rubbish(*path: Any, value: Any) -> Any:
    def change(state: Any) -> None:
        for name in path[:-1]:
            state = state[name]
        state[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        *map(
            lacking,
            ("format", "model", "optimizer", "batches", "ranks", "history", "recipe", "best", "digests"),
        ),
        rubbish("format", value=99),
        rubbish("ranks", value=[]),
        rubbish("ranks", 0, value={"sums": [1, 2]}),
        rubbish("ranks", 0, "cpu", value=torch.zeros(3)),
        rubbish("batches", "position", value=10**6),
        rubbish("batches", "epoch", value="one"),
        rubbish("history", "rows", value=[{"epoch": 1}]),
        rubbish("history", "rows", value=3),
        rubbish("best", value={"1.weight": torch.zeros(2)}),
        rubbish("optimizer", value={0: {"momentum_buffer": torch.zeros(2)}}),
        rubbish("optimizer", value={7: 3}),
        rubbish("recipe", value=[]),
        rubbish("recipe", "lr", value=torch.zeros(2)),
        rubbish("recipe", "milestones", value=torch.zeros(2)),
        rubbish("spec", value=torch.zeros(2)),
        rubbish("digests", value=0.5),
        rubbish("digests", value=torch.zeros(2)),
        rubbish("digests", "train", value=torch.zeros(2)),
        rubbish("seed", value=[torch.zeros(2)]),
        rubbish("model", value=[1]),
        rubbish("format", value=torch.zeros(2)),
    ],
)
def test_the_right_hash_and_the_wrong_structure(data: mgnet.data.Data, tmp_path: Path, change: Any) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    state = checkpoint.load(tmp_path / LAST)
    change(state)
    checkpoint.save(tmp_path / LAST, state)
    with pytest.raises(mgnet.CheckpointError, match=str(tmp_path / LAST)):
        mgnet.fit(model(), data, **OPTIONS, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: net.insert(1, nn.Tanh()), r"trained: got \['3.weight'"),
        (lambda net: setattr(net[0], "p", 0.9), "model, line 2: got '.0.: Dropout.p=0.9"),
        (lambda net: net[0].eval(), r"still: got \['0'\]"),
        (lambda net: net[2].bias.requires_grad_(False), "trained: got"),
    ],
)
def test_a_model_without_a_name_is_known_by_what_it_prints(
    data: mgnet.data.Data, tmp_path: Path, change: Any, message: str
) -> None:
    def net() -> Any:
        return nn.Sequential(nn.Dropout(0.3), nn.Flatten(), nn.Linear(3072, 10))

    mgnet.fit(net(), data, **OPTIONS, out=tmp_path)
    mgnet.fit(net(), data, **OPTIONS, out=tmp_path, resume=True)
    other = net()
    change(other)
    with pytest.raises(ValueError, match=message):
        mgnet.fit(other, data, **OPTIONS, out=tmp_path, resume=True)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_in_the_place_of_a_file(
    data: mgnet.data.Data, tmp_path: Path, options: dict[str, bool]
) -> None:
    mgnet.fit(model(), data, **OPTIONS, out=tmp_path)
    (tmp_path / "history.json").unlink()
    (tmp_path / "history.json").mkdir()
    with pytest.raises(ValueError, match=r"where history.json is no file"):
        mgnet.fit(model(), data, **OPTIONS, out=tmp_path, **options)
    assert set(FILES) <= set(os.listdir(tmp_path))
