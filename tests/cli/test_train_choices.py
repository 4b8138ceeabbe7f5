"""``mgnet train``: every field of a recipe, what it begins from, what it freezes, and how it goes on."""

from __future__ import annotations

import json
from dataclasses import fields as fields_of
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import last_words as complaint
from processes import environment, finished

import mgnet
from mgnet import Recipe, checkpoint, data
from mgnet.cli import fields, main
from mgnet.train import BEST, recipes

TRAIN = [
    "train",
    "net",
    "--dataset",
    "synthetic",
    "--epochs",
    "1",
    "--recipe",
    "lecture",
    "--batch-size",
    "32",
]

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.synthetic(train=128, validation=32, test=32)
    rows = {part: getattr(images, part) for part in ("train", "validation", "test")}
    parts: dict[str, Any] = {n: x.subset((x.labels < 3).nonzero().flatten()) for n, x in rows.items()}
    monkeypatch.setitem(data.sets.LOADERS, "synthetic", lambda *_, **__: images)
    monkeypatch.setitem(
        data.sets.LOADERS, "three", lambda *_: replace(images, classes=["a", "b", "c"], **parts)
    )


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[dict[str, Any], list[str]]:
    """Return what is printed, and the lines of stderr that are warnings."""
    assert main([*argv, "--json"]) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    return json.loads(line), [line for line in err.splitlines() if line.startswith("mgnet: ")]


# Each field of a recipe, by a value that no recipe has and how that is written.
CHANGED: dict[str, tuple[Any, list[str]]] = {
    "epochs": (3, ["--epochs", "3"]),
    "batch_size": (17, ["--batch-size", "17"]),
    "optimizer": ("adamw", ["--optimizer", "adamw"]),
    "lr": (0.0123, ["--lr", "0.0123"]),
    "momentum": (0.5, ["--momentum", "0.5"]),
    "nesterov": (None, ["--nesterov", "--no-nesterov"]),
    "weight_decay": (0.003, ["--weight-decay", "3e-3"]),
    "schedule": ("cosine", ["--schedule", "cosine"]),
    "milestones": ((0.25, 0.375), ["--milestones", "0.25,0.375"]),
    "warmup": (0.125, ["--warmup", "0.125"]),
    "label_smoothing": (0.25, ["--smoothing", "0.25"]),
    "crop": (3, ["--crop", "3"]),
    "flip": ("random", ["--flip", "random"]),
    "cutout": (5, ["--cutout", "5"]),
    "replacement": (None, ["--replacement", "--no-replacement"]),
    "drop_last": (None, ["--drop-last", "--no-drop-last"]),
    "bfloat16": (None, ["--bfloat16", "--no-bfloat16"]),
    "channels_last": (None, ["--channels-last", "--no-channels-last"]),
    "compile": (None, ["--compile", "--no-compile"]),
    "clip": (0.75, ["--clip", "0.75"]),
    "patience": (7, ["--patience", "7"]),
}


def test_every_field_of_a_recipe_has_an_option() -> None:
    names = [field.name for field in fields_of(Recipe)]
    assert names == list(fields.FIELDS)
    assert names == list(CHANGED)


def chosen(monkeypatch: pytest.MonkeyPatch, *argv: str) -> Recipe:
    """Return the recipe that a command would train by."""
    found: list[Recipe] = []

    def fit(model: Any, images: Any, *, recipe: str, **given: Any) -> Any:
        changes = {name: given[name] for name in given if name in CHANGED}
        found.append(recipes.recipe(recipe).changed(**changes))
        raise ValueError("enough")

    monkeypatch.setattr(mgnet, "fit", fit)
    assert main(list(argv)) == 2
    (recipe,) = found
    return recipe


@pytest.mark.parametrize("name", CHANGED)
def test_every_field_can_be_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["train", "net", "--dataset", "synthetic"]
    usual = chosen(monkeypatch, *argv)
    value, words = CHANGED[name]
    if value is None:
        for word, wanted in zip(words, (True, False), strict=True):
            assert chosen(monkeypatch, *argv, word) == replace(usual, **{name: wanted})
    else:
        assert chosen(monkeypatch, *argv, *words) == replace(usual, **{name: value})
        assert getattr(usual, name) != value


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "warmup", "label_smoothing", "cutout"])
def test_none_is_zero_where_it_means_that(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["train", "net", "--dataset", "synthetic", "--recipe", "paper"]
    recipe = chosen(monkeypatch, *argv, f"--{name.replace('_', '-')}", "none")
    assert getattr(recipe, name) == 0


def test_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for heading in ("data and device:", "recipe:", "weights and classes:", "run:"):
        assert heading in lines
    for name in fields.FIELDS:
        assert any(line.startswith(f"  --{name.replace('_', '-')}") for line in lines), name


# Weights of another run.


def test_it_begins_from_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--out", "a")
    figures, said = answer(capsys, *TRAIN, "--init", "a", "--freeze", "features.0,features.3", "--out", "b")
    assert said == []
    assert figures["init"] == "a"
    first, second = (checkpoint.load(f"{run}/{BEST}") for run in "ab")
    assert second["freeze"] == ["features.0", "features.3"]
    assert second["init"].startswith("SHA-256")
    kept = {name for name, x in first["model"].items() if torch.equal(x, second["model"][name])}
    assert kept == {f"features.{i}.{name}" for i in (0, 3) for name in ("weight", "bias")}
    again, _ = answer(
        capsys,
        *TRAIN,
        "--init",
        "a",
        "--freeze",
        "features.0",
        "--freeze",
        "features.3",
        "--out",
        "b",
        "--resume",
    )
    assert again["test_accuracy"] == figures["test_accuracy"]
    alone, _ = answer(capsys, *TRAIN, "--freeze", "features.0,features.3", "--out", "b", "--resume")
    assert alone["test_accuracy"] == figures["test_accuracy"]
    evaluated, _ = answer(capsys, "evaluate", "b")
    assert evaluated["test_accuracy"] == figures["test_accuracy"]


@pytest.mark.filterwarnings("default")  # which the command prints
def test_other_classes_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--out", "a")
    other = ["train", "net", "--dataset", "three", *TRAIN[4:]]
    figures, said = answer(capsys, *other, "--init", f"a/{BEST}", "--seeds", "2", "--out", "b")
    assert len(said) == 1
    assert "init a/model.ckpt: the last layer" in said[0]
    assert "is new, since it has 10 outputs there and 3 here" in said[0]
    assert (figures["init"], figures["seeds"]) == (f"a/{BEST}", 2)
    states = [checkpoint.load(f"b/seed{seed}/{BEST}") for seed in range(2)]
    assert states[0]["init"] == states[1]["init"]
    assert states[0]["classes"] == ["a", "b", "c"]


def test_classes_that_count(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--class-weights", "balanced", "--out", "a")
    counts = torch.bincount(data.load("synthetic").train.labels, minlength=10)
    weights = torch.tensor(checkpoint.load(f"a/{BEST}")["class_weights"])
    torch.testing.assert_close(weights * counts, torch.full((10,), 12.8))
    answer(capsys, *TRAIN, "--class-weights", "2" + ",1" * 9, "--out", "b")
    weights = torch.tensor(checkpoint.load(f"b/{BEST}")["class_weights"])
    torch.testing.assert_close(weights / weights[1], torch.tensor([2.0] + [1.0] * 9))


@pytest.mark.parametrize(
    ("code", "words", "argv"),
    [
        (2, "nowhere: No such file", [*TRAIN, "--init", "nowhere"]),
        (2, "init: got ''", [*TRAIN, "--init", ""]),
        (2, "got ., a folder without model.ckpt", [*TRAIN, "--init", "."]),
        (2, "model.named_modules() names them: features, classifier", [*TRAIN, "--freeze", "nothing"]),
        (2, "--freeze: got ','; accepted: names", [*TRAIN, "--freeze", ","]),
        (2, "class_weights: got 'even'; accepted: 'balanced', or", [*TRAIN, "--class-weights", "even"]),
        (2, "accepted: numbers of at least 0", [*TRAIN, "--class-weights", "-1" + ",1" * 9]),
        (2, "accepted: 'balanced', or 10", [*TRAIN, "--class-weights", " 1,1,1"]),
        (2, "class_weights: got nan; accepted: a finite", [*TRAIN, "--class-weights", "nan" + ",1" * 9]),
        (2, "class_weights: got inf; accepted: a finite", [*TRAIN, "--class-weights", "inf" + ",1" * 9]),
        (2, "unrecognized arguments: -x (see", [*TRAIN, "-x"]),
        (2, "--class-weights: got 'x'; accepted: a number", [*TRAIN, "--class-weights", "1,x"]),
        (2, "class_weights: got [1.0, 2.0]; accepted: 'balanced', or 10", [*TRAIN, "--class-weights", "1,2"]),
        (2, "milestones: got (0.5, 1.5)", [*TRAIN, "--milestones", "0.5,1.5"]),
        (2, "--milestones: got 'half'; accepted: a number", [*TRAIN, "--milestones", "half"]),
        (
            2,
            "flip: got 'sideways'; accepted: one of ('random', 'alternating'), or None",
            [*TRAIN, "--flip", "sideways"],
        ),
        (2, "clip: got 0.0; accepted: a positive number, or None", [*TRAIN, "--clip", "0"]),
        (2, "optimizer: got 'adam'", [*TRAIN, "--optimizer", "adam"]),
        (2, "schedule: got 'steps'", [*TRAIN, "--schedule", "steps"]),
        (2, "momentum: got 1.0", [*TRAIN, "--momentum", "1"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_how_it_ends(capsys: pytest.CaptureFixture[str], code: int, words: str, argv: list[str]) -> None:
    assert words in complaint(capsys, code, *argv)


def test_weights_that_are_damaged_or_others(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--out", "a")
    words = complaint(capsys, 2, "train", "mlp", *TRAIN[2:], "--init", "a", "--out", "b")
    assert "init: got a (net, images of 3×32×32), in which " in words
    assert not Path("b").exists()
    content = bytearray(Path("a", BEST).read_bytes())
    content[-100] ^= 1
    Path("a", BEST).write_bytes(content)
    assert "damaged" in complaint(capsys, 4, *TRAIN, "--init", "a")


# More of a run.


@pytest.mark.filterwarnings("default")  # which the command prints
def test_more_epochs_and_another_rate(capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = answer(capsys, *TRAIN, "--out", "a")
    longer = [*TRAIN, "--out", "a", "--resume", "--epochs", "3"]
    figures, said = answer(capsys, *longer, "--lr", "0.002")
    assert figures["epochs"] == 3
    assert len(said) == 1
    assert "a: goes on from epoch 2 with lr 0.002 instead of 0.01, and 3 epochs instead of 1" in said[0]
    assert f"the first time its accuracy was {first['test_accuracy']:.4f}" in said[0]
    assert "epochs: got 2, but a goes to 3" in complaint(capsys, 2, *longer, "--epochs", "2", "--lr", "0.002")


@pytest.mark.filterwarnings("default")  # which the command prints
def test_another_rate_after_a_divergence(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *TRAIN, "--out", "a")
    hot = [*TRAIN, "--epochs", "3", "--out", "a", "--resume", "--lr"]
    words = complaint(capsys, 3, *hot, "1e20")
    assert "in the shell --lr RATE --resume, goes on from it" in words
    figures, said = answer(capsys, *hot, "0.001")
    assert figures["epochs"] == 3
    assert "lr 0.001 instead of 0.01" in said[0]


@pytest.mark.slow
def test_two_processes_begin_from_a_run(tmp_path: Path) -> None:
    run = "train logistic --dataset synthetic --recipe lecture --json --epochs".split()
    torchrun = "-m torch.distributed.run --nproc-per-node=2 --standalone".split()
    one = environment(OMP_NUM_THREADS="1")
    begun = "1 --init 0a --freeze 1.bias --class-weights balanced --out "
    for world, out in (([], "1 --out 0a"), ([], f"{begun} 0b"), (torchrun, f"{begun} {len(torchrun)}b")):
        done = finished(*world, "-m", "mgnet", *run, *out.split(), env=one, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    alone, both = (checkpoint.load(tmp_path / f"{n}b" / BEST) for n in (0, len(torchrun)))
    assert alone["init"] == both["init"]
    bias = checkpoint.load(tmp_path / "0a" / BEST)["model"]["1.bias"]
    for state in (alone, both):
        assert torch.equal(state["model"]["1.bias"], bias)
    torch.testing.assert_close(alone["model"]["1.weight"], both["model"]["1.weight"], rtol=1e-4, atol=1e-5)
    out = "2 --init 0a --freeze 1.bias --class-weights balanced --resume --out"
    done = finished(*torchrun, "-m", "mgnet", *run, *out.split(), f"{len(torchrun)}b", env=one, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("goes on from epoch 2 with 2 epochs instead of 1") == 1


def test_a_beginning_in_the_folder_of_a_later_seed(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = [*TRAIN, "--seeds", "2", "--out", "sd"]
    answer(capsys, *seeds)
    before = Path("sd", "seed0", BEST).read_bytes()
    words = complaint(capsys, 2, *seeds, "--init", "sd/seed1", "--overwrite")
    assert "init: got sd/seed1, where out is" in words
    assert Path("sd", "seed0", BEST).read_bytes() == before


@pytest.mark.parametrize("option", ["--freeze", "--init", "--import", "--option"])
def test_a_value_may_begin_with_a_dash(capsys: pytest.CaptureFixture[str], option: str) -> None:
    words = complaint(capsys, 2, *TRAIN, option, "-x")
    assert "-x" in words and " -x'" not in words and "x00" not in words and "\0" not in words
