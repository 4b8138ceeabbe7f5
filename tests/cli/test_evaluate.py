"""``mgnet evaluate``: the figure of the training, for models and data of one's own too, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import strangers
import torch
from command import last_words as complaint

import mgnet
from mgnet import checkpoint
from mgnet.cli import main
from mgnet.core import precision
from mgnet.data import sets as data
from mgnet.models import registry
from mgnet.train.run_folder import BEST, LAST

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread")

OWN = """
import torch
from torch import nn
import mgnet

@mgnet.models.register("own-model")
class Own(nn.Sequential):
    def __init__(self, num_classes=10, in_channels=3, image_size=32, widths=(4,)):
        features = in_channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(features, widths[0]), nn.Linear(widths[0], num_classes))

@mgnet.data.register("own-data")
def few(root=None):
    return mgnet.data.synthetic(train=64, validation=16, test=48)
"""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    images = data.synthetic(train=320, validation=32, test=64)
    monkeypatch.setattr(data, "synthetic", lambda **_: images)
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))  # a test may register what it likes
    monkeypatch.setattr(data, "LOADERS", dict(data.LOADERS))
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules:
        if name.startswith("own_"):
            del sys.modules[name]


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0, capsys.readouterr().err
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line, parse_constant=pytest.fail)


def trained(capsys: pytest.CaptureFixture[str], model: str = "logistic", *more: str) -> Any:
    argv = ("train", model, "--epochs", "1", "--batch-size", "32", "--out", "run", *more)
    return answer(capsys, *argv, *(() if "--dataset" in more else ("--dataset", "synthetic")))


@pytest.mark.parametrize("brain", [False, True])
@pytest.mark.parametrize("model", ["resnet20", "net"])
def test_the_figure_is_that_of_the_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: str, brain: bool
) -> None:
    monkeypatch.setattr(precision, "_has_fast_bfloat16", lambda _: brain)
    figures = trained(capsys, model, "--recipe", "fast")
    recipe = checkpoint.load(f"run/{BEST}")["recipe"]
    assert recipe["channels_last"] == recipe["bfloat16"] == (model == "resnet20")
    assert answer(capsys, "evaluate", "run") == figures
    assert answer(capsys, "evaluate", f"run/{LAST}")["test_accuracy"] == figures["test_accuracy"]


def test_scores_are_those_of_the_training_to_the_last_bit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Any] = []
    judge = mgnet.train.judging.judge

    def noted(*arguments: Any, **options: Any) -> Any:
        judged.append(judge(*arguments, **options))
        return judged[-1]

    monkeypatch.setattr(mgnet.train.judging, "judge", noted)
    trained(capsys, "resnet20", "--recipe", "fast")
    answer(capsys, "evaluate", "run")
    assert judged[-2] == judged[-1]  # the loss too


def test_a_model_and_data_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_module.py").write_text(OWN)
    own = ["--import", "own_module"]
    figures = trained(capsys, "own-model", "--dataset", "own-data", "--option", "widths=8", *own)
    assert (figures["model"], figures["dataset"]) == ("own-model", "own-data")
    assert figures["parameters"] == 3072 * 8 + 8 + 8 * 10 + 10
    assert answer(capsys, "evaluate", "run", *own) == figures
    other = answer(capsys, "evaluate", "run", *own, "--dataset", "synthetic")
    assert other["dataset"] == "synthetic"
    # In a shell where nobody has imported it.
    del registry.MODELS["own-model"]
    words = complaint(capsys, 2, "evaluate", "run")
    assert "got a model called 'own-model', which nobody has made known; accepted: " in words
    assert "--import MODULE" in words


def test_data_of_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    images = data.synthetic()
    mine = data.Data("mine", images.classes, images.train, images.validation, images.test, "here", False)
    model = mgnet.models.create("logistic", in_channels=3, image_size=32)
    history = mgnet.fit(model, mine, recipe="lecture", epochs=1, out="run", progress=False)
    words = complaint(capsys, 2, "evaluate", "run")
    assert "got a run on data called 'mine', which nobody has made known; accepted: --import MODULE" in words
    figures = answer(capsys, "evaluate", "run", "--dataset", "synthetic")
    assert figures["test_accuracy"] == history.test_accuracy


def test_a_model_of_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    mgnet.fit(model, data.synthetic(), recipe="lecture", epochs=1, out="run", progress=False)
    assert "got a model not made by name; accepted:" in complaint(capsys, 2, "evaluate", "run")


def test_a_model_with_more_outputs_than_there_are_classes(capsys: pytest.CaptureFixture[str]) -> None:
    model = mgnet.models.create("logistic", num_classes=12, in_channels=3, image_size=32)
    history = mgnet.fit(model, data.synthetic(), recipe="lecture", epochs=1, out="run", progress=False)
    assert answer(capsys, "evaluate", "run")["test_accuracy"] == history.test_accuracy


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "ModuleNotFoundError: No module named 'own_bad'"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("1 +", "SyntaxError"),
        ("raise KeyError('why')", "KeyError: 'why'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import mgnet\nmgnet.models.register('net')", "ValueError: name: got 'net', which is registered"),
        ("import mgnet\nmgnet.data.register('mnist')", "ValueError: name: got 'mnist', which is registered"),
    ],
)
@pytest.mark.parametrize("command", [("evaluate", "nowhere"), ("train", "net")])
def test_modules_that_cannot_be_imported(
    capsys: pytest.CaptureFixture[str], source: str | None, said: str, command: tuple[str, ...]
) -> None:
    if source is not None:
        Path("own_bad.py").write_text(source)
    words = complaint(capsys, 2, *command, "--import", "own_bad")
    assert f"--import: got 'own_bad'; accepted: a module to import ({said}" in words


@pytest.mark.parametrize("name", ["", ".own", "own_module.py", "a b", "own/module", "/own"])
def test_names_that_are_no_modules(capsys: pytest.CaptureFixture[str], name: str) -> None:
    Path("own_module.py").write_text(OWN)
    assert f"--import: got {name!r}; accepted: a module" in complaint(
        capsys, 2, "train", "net", "--import", name
    )


def test_a_file_here_takes_no_modules_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("random.py").write_text("raise ValueError")
    Path("own_module.py").write_text(OWN)
    del sys.modules["random"]
    trained(capsys, "own-model", "--import", "own_module", "--import", "random")


def test_data_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_module.py").write_text(
        "import mgnet\nmgnet.data.register('three')(lambda root: 3)\n"
        "@mgnet.data.register('worse')\ndef worse(root):\n    raise ValueError('no images in ' + str(root))"
    )
    own = ["train", "logistic", "--import", "own_module", "--data", "x", "--dataset"]
    assert "data: got 3; accepted: a Data" in complaint(capsys, 2, *own, "three")
    assert "no images in x" in complaint(capsys, 2, *own, "worse")


def test_unknown_data(capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    for argv in (["evaluate", "run"], ["train", "net"]):
        words = complaint(capsys, 2, *argv, "--dataset", "svhn")
        assert "--dataset: got 'svhn'; accepted: cifar10, cifar100, cifar100-coarse" in words


def test_folders_and_files_that_are_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in complaint(capsys, 2, "evaluate", "nowhere")
    os.mkdir("empty")
    assert f"RUN: got empty, a folder without {BEST}; accepted: that of a run" in complaint(
        capsys, 2, "evaluate", "empty"
    )
    figures = trained(capsys)
    os.unlink(f"run/{BEST}")
    words = complaint(capsys, 2, "evaluate", "run")
    assert f"RUN: got run, a run that has not ended; accepted: one that has, or run/{LAST} as it is" in words
    assert answer(capsys, "evaluate", f"run/{LAST}")["test_accuracy"] == figures["test_accuracy"]
    os.mkdir(f"run/{BEST}")
    assert f"run/{BEST}: got a folder; accepted: a file" in complaint(capsys, 4, "evaluate", "run")
    Path("text").write_text("words")
    assert "text: got something else; accepted: a checkpoint" in complaint(capsys, 4, "evaluate", "text")
    if os.name == "posix":
        os.mkfifo("pipe")
        assert "pipe: got a pipe; accepted: a file" in complaint(capsys, 4, "evaluate", "pipe")
        assert "/dev/zero: got a device" in complaint(capsys, 4, "evaluate", "/dev/zero")


def test_images_that_the_model_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    model: Any = mgnet.models.create("logistic")
    state = checkpoint.load(f"run/{BEST}")
    state |= {"spec": model.spec, "model": model.state_dict(), "mean": [0.0], "std": [1.0], "form": {}}
    checkpoint.save("digits.ckpt", state)
    words = complaint(capsys, 2, "evaluate", "digits.ckpt")
    assert "synthetic has images of 3×32×32 in 10 classes; logistic accepts 1×28×28 in 10" in words


def test_damage(capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    path = Path("run", BEST)
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"x", content[:100], content[:500] + b"?" + content[501:], b""):
        path.write_bytes(damaged)
        assert f"run/{BEST}: " in complaint(capsys, 4, "evaluate", "run")


def test_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    for name, archive in strangers.harmful():
        if len(archive) < 10**5:
            Path("a.ckpt").write_bytes(strangers.sealed(archive))
            assert complaint(capsys, 4, "evaluate", "a.ckpt").startswith("mgnet: error: a.ckpt: "), name


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mgnet", "dim": 3, "nu": [1], "channels": 2},
        {"name": "mgnet", "linear": True, "nu": [1], "kernels": "random", "in_channels": 3},
        {"name": "logistic", "in_channels": 3, "image_size": 32, "num_classes": 3},
    ],
    ids=str,
)
def test_models_that_are_whole_and_do_not_fit(
    capsys: pytest.CaptureFixture[str], spec: dict[str, Any]
) -> None:
    trained(capsys)
    model: Any = mgnet.models.create(**spec)
    state = checkpoint.load(f"run/{BEST}")
    state |= {"spec": model.spec, "model": model.state_dict()}
    state["classes"] = state["classes"][: model.spec["num_classes"]]
    checkpoint.save("a.ckpt", state)
    few_classes = model.spec["num_classes"] < 10
    words = complaint(capsys, 2 if few_classes else 4, "evaluate", "a.ckpt")
    assert ("synthetic has images of" if few_classes else "a.ckpt: model: ") in words


def test_a_run_that_was_moved(capsys: pytest.CaptureFixture[str]) -> None:
    figures = trained(capsys)
    shutil.move("run", "else where")
    assert answer(capsys, "evaluate", "else where") == figures
    os.symlink("else where", "link")
    assert answer(capsys, "evaluate", "link/") == figures


@pytest.mark.filterwarnings("always")
def test_other_images_of_the_same_name_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(capsys)
    assert main(["evaluate", "run"]) == 0
    assert "warning" not in capsys.readouterr().err
    images = data.synthetic()
    others = replace(images, test=images.test.subset(range(32)))
    monkeypatch.setattr(data, "synthetic", lambda **_: others)
    assert main(["evaluate", "run"]) == 0
    assert "warning: the test images of synthetic are not those of the run" in capsys.readouterr().err


def test_lazy_models_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_lazy.py").write_text(
        """
import mgnet
from torch import nn
@mgnet.models.register("lazy")
def lazy(num_classes=10, in_channels=3, image_size=32, width=4):
    norm = nn.LazyBatchNorm2d()
    return nn.Sequential(nn.LazyConv2d(width, 3), norm, nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
"""
    )
    figures = trained(capsys, "lazy", "--import", "own_lazy")
    assert answer(capsys, "evaluate", "run", "--import", "own_lazy") == figures


def test_code_of_others_that_fails_is_no_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_broken.py").write_text(
        """
import mgnet
print("hello")
@mgnet.models.register("broken")
def broken(num_classes=10, in_channels=3, image_size=32):
    raise KeyError("boom")
@mgnet.data.register("broken")
def data(root=None):
    raise RuntimeError("boom")
"""
    )
    argv = ("--import", "own_broken")
    words = complaint(capsys, 2, "train", "broken", "--dataset", "synthetic", *argv)
    assert "MODEL: broken failed (KeyError: 'boom')" in words
    words = complaint(capsys, 2, "train", "logistic", "--dataset", "broken", *argv)
    assert "--dataset: broken failed (RuntimeError: boom)" in words


def test_weights_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    state = checkpoint.load(Path("run", BEST))
    next(iter(state["model"].values())).fill_(float("nan"))
    checkpoint.save(Path("run", BEST), state)
    assert "with numbers that are not finite" in complaint(capsys, 4, "evaluate", "run")


def test_statistics_that_make_scores_infinite(capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys, "resnet20")
    state = checkpoint.load(Path("run", BEST))
    name = next(name for name in state["model"] if name.endswith("running_var"))
    state["model"][name].fill_(float("nan"))
    checkpoint.save(Path("run", BEST), state)
    assert "the model's scores are not finite" in complaint(capsys, 4, "evaluate", "run")
