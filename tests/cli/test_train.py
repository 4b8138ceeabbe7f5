"""``mgnet train`` and ``models``: what they print and write, and how they end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from command import last_words as complaint
from processes import environment, finished

import mgnet
from mgnet import checkpoint, data
from mgnet.cli import fields, main
from mgnet.cli import train as cli_train
from mgnet.train import BEST, LAST, recipes

KEYS = {
    "model",
    "parameters",
    "dataset",
    "source",
    "epochs",
    "train_loss",
    "val_accuracy",
    "test_accuracy",
    "seconds",
    "images_per_second",
}
TRAIN = ["train", "logistic", "--dataset", "synthetic", "--recipe", "lecture", "--epochs", "2"]

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.synthetic(train=320, validation=32, test=64)
    for place in (data, data.sets):  # what the tests call, and what the command does
        monkeypatch.setattr(place, "synthetic", lambda **_: images)


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0, capsys.readouterr().err
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line, parse_constant=pytest.fail)


def test_the_keys_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(capsys, *TRAIN)
    assert set(figures) == KEYS
    assert (figures["model"], figures["parameters"], figures["epochs"]) == ("logistic", 30_730, 2)
    assert 0 < figures["test_accuracy"] <= 1
    assert not os.listdir()


def test_it_is_one_call_of_fit(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(capsys, *TRAIN, "--seed", "3", "--lr", "0.003", "--batch-size", "40")
    torch.manual_seed(3)
    model = mgnet.models.create("logistic", in_channels=3, image_size=32)
    change = {"lr": 0.003, "batch_size": 40, "seed": 3, "epochs": 2}
    history = mgnet.fit(model, data.synthetic(), recipe="lecture", progress=False, **change)
    assert figures["test_accuracy"] == history.test_accuracy
    assert figures["train_loss"] in history["train_loss"]


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN) == 0
    out, err = capsys.readouterr()
    rows = {line[:18].strip(): line[18:] for line in out.splitlines()}
    assert rows["model"] == "logistic"
    assert rows["test accuracy"].endswith("%")
    assert any(line.startswith("epoch 1/2  loss ") for line in err.splitlines())


def test_several_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    single = [answer(capsys, *TRAIN, "--seed", str(seed))["test_accuracy"] for seed in range(3)]
    figures = answer(capsys, *TRAIN, "--seeds", "3", "--out", "runs")
    assert figures["test_accuracies"] == single
    assert figures["test_accuracy"] == pytest.approx(sum(single) / 3)
    deviation = (sum((x - sum(single) / 3) ** 2 for x in single) / 2) ** 0.5
    assert figures["test_accuracy_std"] == pytest.approx(deviation)
    assert sorted(os.listdir("runs")) == ["seed0", "seed1", "seed2"]


def test_options_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--option", "channels=4", "--option", "nu=1,1", "--option", "B=iteration"]
    argv = ["train", "mgnet", *TRAIN[2:], "--epochs", "1", *options, "--out", "run"]
    figures = answer(capsys, *argv)
    made = mgnet.models.create("mgnet", channels=4, nu=[1, 1], B="iteration")
    assert figures["parameters"] == sum(p.numel() for p in made.parameters())
    assert checkpoint.load(f"run/{BEST}")["spec"]["nu"] == [1, 1]
    assert answer(capsys, "evaluate", "run")["test_accuracy"] == figures["test_accuracy"]


@pytest.mark.parametrize("value", ["2", "2,", "[2]", "[2,]", "(2,)", " [ 2 ] "])
def test_a_list_of_one(value: str) -> None:
    name, given = cli_train.option(f"nu={value}")
    assert mgnet.models.create("mgnet", **{name: given}).spec["nu"] == [2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,1", [1, 1]),
        ("[1, 2]", [1, 2]),
        ("(1,2)", [1, 2]),
        ("[]", []),
        ("0.5", 0.5),
        ("level", "level"),
        ("True", True),
        ("none", None),
        ("", ""),
        ("a,b", ["a", "b"]),
    ],
)
def test_values_of_options(text: str, value: Any) -> None:
    assert cli_train.option(f"x={text}") == ("x", value)


def test_the_choices_are_what_there_is() -> None:
    assert tuple(recipes.RECIPES) == fields.RECIPES


def test_resume(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answer(capsys, *TRAIN)
    done = []
    step = mgnet.train.loop.train_step

    def pressed(run: Any, *batch: Any) -> None:
        step(run, *batch)
        done.append(1)
        if len(done) == 7:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(mgnet.train.loop, "train_step", pressed)
        assert complaint(capsys, 130, *TRAIN, "--out", "run") == "mgnet: interrupted"
    resumed = answer(capsys, *TRAIN, "--out", "run", "--resume")
    for name in ("train_loss", "val_accuracy", "test_accuracy"):
        assert resumed[name] == whole[name]


def test_a_folder_is_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*TRAIN, "--out", "run"]
    first = answer(capsys, *argv)
    assert "which holds a run" in complaint(capsys, 2, *argv, "--seed", "1")
    assert answer(capsys, "evaluate", "run")["test_accuracy"] == first["test_accuracy"]
    answer(capsys, *argv, "--seed", "1", "--overwrite")
    assert checkpoint.load(f"run/{BEST}")["seed"] == 1


def test_it_saves_every_few_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    save = mgnet.train.state.State.save
    monkeypatch.setattr(
        mgnet.train.state.State, "save", lambda run: places.append(run.batches.position) or save(run)
    )
    answer(capsys, *TRAIN[:-1], "1", "--out", "run", "--save-every", "2", "--batch-size", "64")
    assert places == [2, 4, 0, 0]


@pytest.mark.parametrize("recipe", ["fast", "lecture"])
def test_none_means_none(capsys: pytest.CaptureFixture[str], recipe: str) -> None:
    none = [text for name in ("flip", "clip", "patience", "crop") for text in (f"--{name}", "none")]
    answer(capsys, "train", "net", *TRAIN[2:4], "--epochs", "1", "--recipe", recipe, *none, "--out", "run")
    kept = checkpoint.load(f"run/{BEST}")["recipe"]
    assert [kept[name] for name in ("flip", "clip", "patience", "crop")] == [None, None, None, 0]


def test_the_recipe_is_changed_from_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"flip": "random", "clip": 0.5, "patience": 3, "crop": 2, "weight_decay": 0.25, "lr": 0.125}
    argv = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    answer(capsys, *TRAIN, *argv, "--out", "run")
    kept = checkpoint.load(f"run/{BEST}")["recipe"]
    assert {name: kept[name] for name in given} == given


def test_an_extra_that_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "tensorboard: not installed; accepted: pip" in complaint(
        capsys, 2, *TRAIN, "--out", "run", "--tensorboard", "log"
    )
    assert not os.listdir()


def test_half_of_what_torchrun_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "RANK: got 'nothing' in the environment" in complaint(capsys, 2, *TRAIN)


@pytest.mark.parametrize(
    ("code", "words", "argv"),
    [
        (2, "got 'resnut'; accepted: one of alexnet", ["train", "resnut", *TRAIN[2:]]),
        (
            2,
            "--dataset: got 'svhn'; accepted: cifar10, cifar100, cifar100-coarse",
            ["train", "net", "--dataset", "svhn"],
        ),
        (2, "invalid choice: 'slow'", ["train", "net", "--recipe", "slow"]),
        (2, "epochs: got 0", [*TRAIN[:-1], "0"]),
        (2, "lr: got -1", [*TRAIN, "--lr=-1"]),
        (2, "--epochs: got 'two'; accepted: a whole number", [*TRAIN[:-1], "two"]),
        (2, "--seeds: got 0", [*TRAIN, "--seeds", "0"]),
        (2, "--resume: needs --out", [*TRAIN, "--resume"]),
        (2, "--option: got 'nu'", [*TRAIN, "--option", "nu"]),
        (2, "depth: got 3; accepted by 'logistic'", [*TRAIN, "--option", "depth=3"]),
        (2, "device: got 'tpu'", [*TRAIN, "--device", "tpu"]),
        (3, "diverged: the loss of step", [*TRAIN, "--lr", "1e38", "--out", "run"]),
        (2, "arguments are required: MODEL", ["train"]),
        (2, "out: got ''", [*TRAIN, "--out", ""]),
        (2, "--data: got ''", [*TRAIN, "--data", ""]),
        (2, "--option: got num_classes, which the data say", [*TRAIN, "--option", "num_classes=3"]),
        (2, "--option: got depth twice", [*TRAIN, "--option", "depth=3", "--option", "depth=4"]),
        (2, "accepted: one of (True, False)", ["train", "net", *TRAIN[2:], "--option", "batch_norm=no"]),
        (2, "nu: got [2000]; accepted: up to 1000", ["train", "mgnet", *TRAIN[2:], "--option", "nu=2000"]),
        (
            2,
            "hidden: got 100000000000000000000; accepted: an integer from",
            ["train", "mlp", *TRAIN[2:], "--option", f"hidden={10**20}"],
        ),
        (2, "--lr: got '\u0663'; accepted: a number", [*TRAIN, "--lr", "\u0663"]),
        (2, "--epochs: got '1_0'; accepted: a whole number", [*TRAIN, "--epochs", "1_0"]),
        (2, "seed: got", [*TRAIN, "--seed", str(2**63 - 1), "--seeds", "2"]),
        (2, "--data: got '~nosuchuser/x'", [*TRAIN, "--data", "~nosuchuser/x"]),
        (2, "--data: got /dev/null, which is a file", ["train", "net", "--data", "/dev/null"]),
        (2, "out: got /dev/null; accepted: a folder that", [*TRAIN, "--out", "/dev/null"]),
        (2, "seed: got 1", [*TRAIN, "--seed", "1" * 20]),
        (2, "--overwrite: needs --out", [*TRAIN, "--overwrite"]),
        (2, "--save-every: needs --out", [*TRAIN, "--save-every", "3"]),
        (2, "save_every: got -3", [*TRAIN, "--out", "run", "--save-every=-3"]),
        (2, "overwrite: got True", [*TRAIN, "--out", "run", "--resume", "--overwrite"]),
        (2, "flip: got 'sideways'", [*TRAIN, "--flip", "sideways"]),
        (2, "--crop: got 'many'; accepted: a whole number", [*TRAIN, "--crop", "many"]),
        (2, "--epochs: got 'none'", [*TRAIN[:-1], "none"]),
        (3, "step 1 is beyond the numbers of its weights at learning rate 1e+308", [*TRAIN, "--lr", "1e308"]),
        (2, "lr: got inf", [*TRAIN, "--lr", "1e400"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_how_it_ends(capsys: pytest.CaptureFixture[str], code: int, words: str, argv: list[str]) -> None:
    assert words in complaint(capsys, code, *argv)


def test_damaged_files_have_a_code_of_their_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer(capsys, *TRAIN, "--out", "run")
    for name in (LAST, BEST):
        content = bytearray(Path("run", name).read_bytes())
        content[len(content) // 2] ^= 1
        Path("run", name).write_bytes(content)
    assert "damaged" in complaint(capsys, 4, "evaluate", "run")
    assert "damaged" in complaint(capsys, 4, *TRAIN, "--out", "run", "--resume")
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(b"\x01" * 3073)
    words = complaint(capsys, 4, "train", "net", "--dataset", "cifar10", "--data", str(tmp_path))
    assert "data_batch_1.bin" in words


def test_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "models")
    by_name = {row["name"]: row for row in rows}
    assert list(by_name) == mgnet.models.names()
    assert by_name["alexnet"]["multiply_adds"] == 655_566_528 + 58_621_952
    assert by_name["resnet20"]["parameters"] == 269_722
    assert main(["models"]) == 0
    assert "61,100,840" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_from_the_shell(tmp_path: Path) -> None:
    torchrun = "-m torch.distributed.run --nproc-per-node=2 --standalone -m mgnet"
    argv = "train logistic --dataset synthetic --epochs 1 --json --out"
    one = environment(OMP_NUM_THREADS="1")
    done = finished(*torchrun.split(), *argv.split(), str(tmp_path / "run"), env=one)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert set(json.loads(line)) == KEYS
    assert sorted(os.listdir(tmp_path / "run")) == ["history.csv", "history.json", LAST, BEST]


def test_all_seeds_are_looked_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    Path("g/seed1").mkdir(parents=True)
    Path("g/seed1", BEST).touch()
    assert "seed1, which holds a run" in complaint(capsys, 2, *TRAIN, "--seeds", "2", "--out", "g")
    assert os.listdir("g") == ["seed1"]


def test_a_name_that_begins_like_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--out", "-run")
    assert os.listdir() == ["-run"]
    answer(capsys, "evaluate", "-run")
