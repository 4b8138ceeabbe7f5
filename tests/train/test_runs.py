"""A run read from its checkpoint: all of it fits together, or the file and what is wrong in it are named."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mgnet
from mgnet import checkpoint, data, models
from mgnet.checkpoint import CheckpointError
from mgnet.models import registry
from mgnet.train import runs
from mgnet.train.predicting import Form
from mgnet.train.run_folder import BEST, LAST

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a short run."""
    out = tmp_path_factory.mktemp("run")
    model = models.create("mgnet", channels=2, nu=[1, 1], image_size=32)
    images = data.synthetic(train=64, validation=20, test=20)
    mgnet.fit(model, images, recipe="fast", epochs=2, batch_size=32, out=out, progress=False)
    return out


@pytest.fixture
def state(folder: Path) -> dict[str, Any]:
    return checkpoint.load(folder / BEST)


def reread(tmp_path: Path, state: Any) -> runs.Run:
    checkpoint.save(tmp_path / "a.ckpt", state)
    return runs.read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", [BEST, LAST])
def test_a_run_comes_back(folder: Path, name: str) -> None:
    run, state = runs.read(folder / name), checkpoint.load(folder / name)
    assert run.spec == state["spec"] == run.model.spec
    assert not run.model.training
    assert all(torch.equal(x, state["model"][key]) for key, x in run.model.state_dict().items())
    assert (run.dataset, run.classes) == ("synthetic", list(data.synthetic(train=1).classes))
    assert (run.mean, run.std, run.recipe) == (state["mean"], state["std"], state["recipe"])
    assert len(run.history) == 2
    kernel = next(p for p in run.model.parameters() if p.ndim == 4 and min(p.shape) > 1)
    assert run.recipe["channels_last"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_a_run_in_one_line(folder: Path, tmp_path: Path, state: dict[str, Any]) -> None:
    accuracy = state["history"]["test_accuracy"]
    assert (
        repr(runs.read(folder / BEST)) == f"Run(mgnet on synthetic, 10 classes, test accuracy {accuracy:.2%})"
    )
    figures = {**state["history"], "test_accuracy": None}
    older = reread(tmp_path, {**state, "classes": None, "history": figures})
    assert repr(older) == "Run(mgnet on synthetic, 10 classes)"


def test_the_first_format_is_read_too(tmp_path: Path, state: dict[str, Any]) -> None:
    for key in ("classes", "digests", "form"):
        state.pop(key, None)
    run = reread(tmp_path, {**state, "format": 1})
    assert run.classes is None
    assert run.form == Form((3, 32, 32))
    assert reread(tmp_path, {**state, "format": 1, "dataset": "mnist"}).form.kind == "digits"
    assert run.history.test_accuracy == state["history"]["test_accuracy"]


def at(*keys: Any, value: Any = None) -> Callable[[dict[str, Any]], None]:
    """Give what puts a value in a place."""

    def change(state: dict[str, Any]) -> None:
        inner: Any = state
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


def without(*keys: Any) -> Callable[[dict[str, Any]], None]:
    """Give what removes something."""

    def change(state: dict[str, Any]) -> None:
        inner: Any = state
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return change


WEIGHT = "levels.0.A.weight"
ROW = ("history", "rows", 1)


def wrong() -> Iterator[tuple[Callable[[dict[str, Any]], None], str]]:
    """Yield changes of a state, and what is said of each."""
    for key in ("spec", "dataset", "mean", "std", "recipe", "history", "model"):
        yield without(key), f"{key}: it is missing; accepted: "
        for value in (3, "word", [[1]], 1.5, [{}]):
            if not (key == "dataset" and value == "word"):
                yield at(key, value=value), f"{key}: got "
    yield without("format"), r"format: got None; accepted: one of \(1, 2, 3\)"
    for value in (99, "1", [], None):
        yield at("format", value=value), r"format: got .*; accepted: one of \(1, 2, 3\)"
    # The spec.
    yield without("spec", "name"), "spec: name: it is missing"
    yield at("spec", "name", value=3), "spec: name: got 3; accepted: a string"
    yield at("spec", "depth", value=3), "depth: got 3; accepted by 'mgnet': channels"
    yield at("spec", 3, value=3), "keywords must be strings"
    yield at("spec", "name", value="logistic"), "accepted by 'logistic'"
    for size in ("num_classes", "in_channels", "image_size"):
        for value in (0, -1, 2.5, "3", True):
            yield at("spec", size, value=value), f"{size}: got "
    yield at("spec", "num_classes", value=11), "model: got float32 of shape .* accepted: float32 of shape"
    yield at("spec", "num_classes", value=10**9), "accepted from a file: integers up to 1,048,576"
    yield at("spec", "channels", value=10**6), "model: got float32 of shape"
    for value in ([10**8], 10**8, [-(10**8)], [1, 10**8]):
        yield at("spec", "nu", value=value), r"spec\['nu'\].*accepted from a file: integers up to"
    yield at("spec", "nu", value=[10**6]), "nu: got .* accepted: up to 1000 iterations in all"
    yield at("spec", "nu", value=[2] * 500), r"image_size: got 32; accepted"
    yield at("spec", "nu", value=[1] * 2000), "spec: got more than 1000 values"
    yield at("spec", "nu", value=[[1, 1]]), "nu: got "
    yield at("spec", "nu", value=[1, 1, 1]), "model: .* is missing"
    yield at("spec", "nu", value=[1]), "model: .* is no part of the spec"
    yield at("spec", "nu", value="x" * 5000), "accepted from a file: .* letters"
    yield at("spec", "B", value={"a": 1}), "B: got "
    yield at("spec", "norm", value=["batch"]), "norm: got "
    yield at("spec", "dim", value=3), "model: got float32 of shape"
    # The weights.
    yield without("model", WEIGHT), f"model: '{WEIGHT}' is missing"
    yield at("model", "more", value=torch.ones(1)), "model: 'more' is no part of the spec"
    yield at("model", 3, value=torch.ones(1)), "model: '3' is no part of the spec"
    yield (
        at("model", WEIGHT, value=torch.ones(1)),
        f"model: got float32 of shape \\(1,\\) as {WEIGHT}; accepted",
    )
    yield at("model", WEIGHT, value=torch.ones(2, 2, 3, 3).double()), "model: got float64 of shape"
    yield at("model", WEIGHT, value=[1.0]), "model: got list as"
    yield at("model", value={}), "model: .* is missing"
    # The figures.
    for value in (3, None, "x", [], {"epoch": 1}):
        yield at(*ROW, value=value), "history: row 2: "
    for column in ("epoch", "lr", "train_accuracy", "val_loss", "seconds"):
        yield without(*ROW, column), f"history: row 2: {column}: it is missing; accepted: a number"
        for value in ("1", [1.0], float("nan"), float("inf"), True):
            yield at(*ROW, column, value=value), f"history: row 2: {column}: got "
    yield at(*ROW, "seconds", value=None), "history: row 2: seconds: got None"
    yield at(*ROW, "val_accuracy", value=7.0), "history: row 2: val_accuracy: got 7.0; accepted: a probab"
    yield at(*ROW, "seconds", value=1.7e308), "history: "
    for key in ("rows", "test_accuracy", "stopped_early"):
        yield without("history", key), f"history: {key}: it is missing"
    for value in (-1, 2, "x", [0.5], float("nan")):
        yield at("history", "test_accuracy", value=value), "history: test_accuracy: got "
    yield at("history", "stopped_early", value=1), "history: stopped_early: got 1"
    # Normalisation, recipe, classes.
    for value in ([], [0.0], [float("nan")] * 3, ["0"] * 3, [None] * 3, [True] * 3, [[0.0]] * 3):
        yield at("mean", value=value), "mean: got "
    for value in ([0.0] * 3, [-1.0] * 3, [float("inf")] * 3):
        yield at("std", value=value), "std: got "
    yield (
        at("recipe", "channels_last", value="no"),
        "recipe: channels_last: got 'no'; accepted: True or False",
    )
    for value in ("word", [1], ["x"] * 11):
        yield at("classes", value=value), "classes: got "
    # The form of the images.
    yield at("form", value=3), "form: got 3; accepted: a dictionary"
    for value in (None, "round", ["square"]):
        yield at("form", "kind", value=value), "form: kind: got "
    for value in ([1, 32, 32], [3, 32], "square", [3, 0, 32], [3, 32, 10**6], [3, 32.0, 32]):
        yield at("form", "shape", value=value), "form: shape: got "
    for value in (2.0, "black", float("nan")):
        yield at("form", "border", value=value), "form: border: got "


@pytest.mark.parametrize(("change", "said"), list(wrong()))
def test_what_is_wrong_is_named(
    tmp_path: Path, state: dict[str, Any], change: Callable[[dict[str, Any]], None], said: str
) -> None:
    change(state)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/a.ckpt: .*{said}") as found:
        reread(tmp_path, state)
    assert len(str(found.value)) < 600
    assert "state_dict" not in str(found.value)


def test_weights_that_share_their_memory_make_no_large_model(tmp_path: Path) -> None:
    sizes = {"in_channels": 1, "image_size": 32, "num_classes": 1000}
    model = models.create("mlp", hidden=[1024] * 40, **sizes)
    few = torch.ones(1024 * 1024)
    weights = {name: few[: x.numel()].view(x.shape) for name, x in model.state_dict().items()}
    with pytest.raises(ValueError, match="model: has 4,194,304 bytes of numbers; accepted: the 17[0-9],"):
        models.restore(model.spec, weights)


def test_a_model_too_large_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []
    create = registry.MODELS["mlp"].factory

    def watched(**options: Any) -> nn.Module:
        model = create(**options)
        seen.append(next(model.parameters()).device)
        return model

    entry = registry.MODELS["mlp"]
    monkeypatch.setitem(registry.MODELS, "mlp", replace(entry, factory=watched))
    model = models.create("mlp")
    with pytest.raises(ValueError, match="accepted: float32 of shape"):
        models.restore({**model.spec, "hidden": [2**20, 2**20]}, model.state_dict() | {})
    assert [device.type for device in seen] == ["cpu", "meta"]
    models.restore(model.spec, model.state_dict())
    assert [device.type for device in seen] == ["cpu", "meta", "meta", "cpu"]


def test_a_model_of_ones_own_that_looks_at_numbers(tmp_path: Path, state: dict[str, Any]) -> None:
    class Own(nn.Module):
        def __init__(self, num_classes: int, in_channels: int, image_size: int, depth: int = 3) -> None:
            super().__init__()
            self.rates = [float(x) for x in torch.linspace(0, 0.5, depth)]
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    models.register("own")(Own)
    try:
        model: Any = models.create("own", depth=2)
        run = reread(tmp_path, {**state, "spec": model.spec, "model": model.state_dict()})
        assert run.model.rates == [0.0, 0.5]
        with pytest.raises(CheckpointError, match="'more' is no part of the spec"):
            reread(tmp_path, {**state, "spec": model.spec, "model": {**model.state_dict(), "more": 1}})
    finally:
        del registry.MODELS["own"]
    with pytest.raises(ValueError, match="got a model called 'own', which nobody has made known") as found:
        reread(tmp_path, {**state, "spec": model.spec, "model": model.state_dict()})
    assert not isinstance(found.value, CheckpointError)
    with pytest.raises(ValueError, match="got a model not made by name; accepted: .* --import MODULE"):
        reread(tmp_path, {**state, "spec": None})


RUBBISH = (
    *(None, True, 0, -1, 1, 2**40, 0.5, -1e300, float("nan"), "", "x", "\ud800", "x" * 500, [], {}, ()),
    *([1, 1], [[1]], {"a": 1}, {1: 2}, ("x",), torch.ones(2), torch.ones(()), [torch.ones(1)]),
)


def places(state: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys to everything in a state."""
    if keys:
        yield keys
    for key in state if isinstance(state, dict) else range(len(state)) if isinstance(state, list) else ():
        yield from places(state[key], (*keys, key))


def test_rubbish_anywhere_is_read_or_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    rng = random.Random(0)
    everywhere = list(places(state))
    for _ in range(200):
        changed = copy.deepcopy(state)
        keys = rng.choice(everywhere)
        rng.choice([at(*keys, value=rng.choice(RUBBISH)), without(*keys)])(changed)
        try:
            reread(tmp_path, changed)
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path}/a.ckpt: "), keys


SPECS = (
    *(None, True, 0, 1, 2, 3, 5, 31, 32, 33, 1000, 65_536, 2**20, 0.5, 1e9, "level", "iteration", "poisson"),
    *("chebyshev", "zero", "averaging", "none", "ABRP", "meta", "", [], [1], [1, 1], [100], [1000], [20_000]),
    *([2**20], [1] * 20, [1] * 999, [[1]], [1000] * 5, [2**20] * 5, ["x"], {"a": 1}, [None]),
)


def test_no_spec_keeps_us_busy(state: dict[str, Any]) -> None:
    rng = random.Random(0)
    for name in models.names():
        for _ in range(12):
            spec = {**models.defaults(name), "name": name}
            for key in rng.choices(list(models.defaults(name)), k=rng.choice((1, 1, 2, 3))):
                spec[key] = rng.choice(SPECS)
            try:
                models.restore(spec, state["model"])
            except (TypeError, ValueError):
                pass
            except RuntimeError as error:  # of torch, where a size is beyond all
                assert "overflow" in str(error) or "Storage size" in str(error), spec
