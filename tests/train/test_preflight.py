"""Before the first step: what does not fit is refused, with the argument's name, and nothing is changed."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mgnet
from mgnet.data import Data, Split
from mgnet.train import LAST, loop, optimizers
from mgnet.train.state import own_random_numbers

OPTIONS: dict[str, Any] = {"recipe": "lecture", "epochs": 1, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def data() -> Data:
    return mgnet.data.synthetic(train=64, validation=16, test=16)


def linear(outputs: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, outputs))


def changed(data: Data, part: str, **changes: Any) -> Data:
    split = getattr(data, part)
    old = {name: getattr(split, name) for name in ("images", "labels", "mean", "std")}
    new: dict[str, Any] = {part: Split(**{**old, **changes})}
    return replace(data, **new)


def relabelled(data: Data, part: str, label: int) -> Data:
    labels = getattr(data, part).labels.clone()
    labels[3] = label
    return changed(data, part, labels=labels)


def smaller(data: Data, part: str) -> Data:
    return changed(data, part, images=getattr(data, part).images[..., :16, :16].contiguous())


@pytest.fixture
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("a step was made"))


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data, part: relabelled(data, part, 85), "labels: got 85 in data.{part}, image 3"),
        (lambda data, part: relabelled(data, part, 10), "labels: got 10 in data.{part}.*accepted: 0 to 9"),
        (lambda data, part: relabelled(data, part, -100), "labels: got -100 in data.{part}"),
        (smaller, r"data: got shape \(3, .*; accepted: the same"),
        (lambda data, part: changed(data, part, mean=(0.0,)), "data: got mean"),
        (lambda data, part: changed(data, part, std=(1.0,)), "data: got std"),
    ],
)
def test_a_part_that_does_not_fit(data: Data, tmp_path: Path, part: str, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.format(part=part)):
        mgnet.fit(linear(), change(data, part), **OPTIONS, out=tmp_path / "run")
    assert not os.listdir(tmp_path)


class Several(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.inner, self.answer = linear(), answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(self.inner(x))


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize(
    ("error", "message", "model"),
    [
        (TypeError, "model: got 'net'", lambda: "net"),
        (TypeError, "model: got <class", lambda: nn.Linear),
        (TypeError, "model: gave", lambda: Several(lambda x: (x, x))),
        (TypeError, "model: gave", lambda: Several(lambda x: {"logits": x})),
        (TypeError, "model: gave", lambda: Several(lambda x: x.argmax(1))),
        (ValueError, r"model: gave shape \(2, 10, 1, 1\)", lambda: Several(lambda x: x[..., None, None])),
        (ValueError, r"model: gave shape \(20,\)", lambda: Several(torch.flatten)),
        (
            ValueError,
            "model: does not take images of 3×32×32",
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 2)),
        ),
        (
            ValueError,
            "model: got no parameter to train",
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)).requires_grad_(False),
        ),
        (ValueError, "model: got no parameter to train", nn.Flatten),
        (ValueError, "on the meta device", lambda: linear().to("meta")),
        (ValueError, "model: got 1.bias with numbers that are not finite", lambda: broken(linear())),
    ],
)
def test_a_model_that_does_not_fit(data: Data, error: type[Exception], message: str, model: Any) -> None:
    with pytest.raises(error, match=message):
        mgnet.fit(model(), data, **OPTIONS)


def broken(model: Any) -> nn.Module:
    with torch.no_grad():
        model[1].bias[2] = math.nan
    return model


@pytest.mark.parametrize("function", [mgnet.evaluate, mgnet.predict])
@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "split: got mgnet.Data.*; accepted: a Split", lambda data: (linear(), data)),
        (TypeError, "model: got 'net'", lambda data: ("net", data.test)),
        (ValueError, "split: got no images", lambda data: (linear(), data.test.subset([]))),
        (ValueError, "model: does not take", lambda data: (linear(), smaller(data, "test").test)),
        (TypeError, "model: gave", lambda data: (Several(lambda x: [x]), data.test)),
        (ValueError, "labels: got 85", lambda data: (linear(), relabelled(data, "test", 85).test)),
    ],
)
def test_evaluate_and_predict_look_first(
    data: Data, function: Any, error: type[Exception], message: str, arguments: Any
) -> None:
    with pytest.raises(error, match=message):
        function(*arguments(data))


@pytest.mark.usefixtures("no_step")
def test_data_of_another_kind(data: Data) -> None:
    loader: Any = torch.utils.data.DataLoader(data.train)
    with pytest.raises(TypeError, match="data: got .*DataLoader.*; accepted: a Data"):
        mgnet.fit(linear(), loader, **OPTIONS)
    with pytest.raises(TypeError, match=r"as data\.train; accepted: a Split"):
        mgnet.fit(linear(), replace(data, train=loader), **OPTIONS)
    with pytest.raises(TypeError, match=r"data: got None as data.classes; accepted: a list of names"):
        mgnet.fit(linear(), replace(data, classes=None), **OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patience: got 2; accepted without a validation set: None"):
        mgnet.fit(linear(), replace(data, validation=data.test.subset([])), **OPTIONS, patience=2)


def test_a_model_without_parameters_can_be_evaluated(data: Data) -> None:
    class Red(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1].mean((2, 3)).expand(-1, 10)

    assert 0 <= mgnet.evaluate(Red(), data.test) <= 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_caller_does_not_matter(data: Data, mode: Any) -> None:
    plain, model = linear(), linear()
    model.load_state_dict(plain.state_dict())
    mgnet.fit(plain, data, **OPTIONS)
    with mode():
        mgnet.fit(model, data, **OPTIONS)
        assert not torch.is_grad_enabled()
    assert torch.equal(plain[1].weight, model[1].weight)  # type: ignore[index]


def test_lazy_layers_are_as_others(data: Data) -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    mgnet.fit(lazy, data, **OPTIONS, seed=3)
    whole = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))
    with own_random_numbers(torch.device("cpu"), 3):
        for layer in (whole[0], whole[3]):
            layer.reset_parameters()  # type: ignore[operator]
    mgnet.fit(whole, data, **OPTIONS, seed=3)
    for one, other in zip(lazy.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_lazy_kernels_decay(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    optimizer = optimizers.create
    monkeypatch.setattr(optimizers, "create", lambda *given: made.append(optimizer(*given)) or made[0])
    mgnet.fit(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), data, **OPTIONS, weight_decay=0.1)
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in made[0].param_groups] == [
        (0.1, {2}),
        (0.0, {1}),
    ]


NORMS = pytest.mark.parametrize("norm", [nn.BatchNorm2d, mgnet.layers.BatchNorm])


def normed(apart: bool = False, frozen: bool = False, norm: Any = nn.BatchNorm2d) -> Any:
    norm = norm(3)
    model = nn.Sequential(norm, nn.Dropout(0.5), nn.Flatten(), nn.Linear(3072, 10))
    if apart:
        norm.eval()
    if frozen:
        norm.requires_grad_(False)
    return model


@pytest.mark.parametrize(("apart", "frozen"), [(False, False), (True, False), (False, True), (True, True)])
@NORMS
def test_frozen_norms_stay_frozen(data: Data, apart: bool, frozen: bool, norm: Any) -> None:
    model = normed(apart, frozen, norm)
    mgnet.fit(model, data, **OPTIONS)
    moved = not torch.equal(model[0].running_mean, torch.zeros(3))
    assert moved == (not (apart or frozen))
    assert model[1].training


def test_a_model_in_evaluation_mode_is_trained(data: Data) -> None:
    model = normed().eval()
    mgnet.fit(model, data, **OPTIONS)
    assert not torch.equal(model[0].running_mean, torch.zeros(3))


def test_evaluation_puts_every_module_back(data: Data) -> None:
    model = normed(apart=True)
    mgnet.evaluate(model, data.test)
    mgnet.predict(model, data.test)
    assert [module.training for module in model.modules()] == [True, False, True, True, True]


def pooled(norm: Any = nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), norm(3), nn.Flatten(), nn.Linear(3, 10))


@NORMS
def test_one_image_left_over(data: Data, norm: Any) -> None:
    """torch refuses to normalise one value; the last image of each epoch is left out, which is said once."""
    one_more = replace(data, train=data.train.subset(range(33)))
    with pytest.warns(UserWarning, match="the last 1 of 33 images are left out: batch normalisation") as said:
        history = mgnet.fit(pooled(norm), one_more, **{**OPTIONS, "epochs": 3})
    assert len(said) == 1
    expected = mgnet.fit(pooled(norm), one_more, **{**OPTIONS, "epochs": 3}, drop_last=True)  # says nothing
    assert len(history) == len(expected) == 3
    with pytest.raises(ValueError, match="batch_size: got 1; accepted: at least 2"):
        mgnet.fit(pooled(norm), data, **{**OPTIONS, "batch_size": 1})
    with pytest.raises(ValueError, match="data: got 1 images in data.train; accepted: at least 2"):
        mgnet.fit(pooled(norm), replace(data, train=data.train.subset([0])), **OPTIONS)


def test_one_image_is_enough_where_a_norm_has_many_pixels(data: Data) -> None:
    one_more = replace(data, train=data.train.subset(range(33)))
    model = normed()
    mgnet.fit(model, one_more, **OPTIONS)
    assert int(model[0].num_batches_tracked) == 2


def test_none_means_none(data: Data) -> None:
    recipe = mgnet.Recipe(
        flip="random", clip=1.0, patience=2, crop=4, cutout=8, weight_decay=0.1, milestones=(0.5,)
    )
    off = recipe.changed(flip=None, clip=None, patience=None, crop=None, cutout=None, weight_decay=None)
    assert (off.flip, off.clip, off.patience, off.crop, off.cutout, off.weight_decay) == (
        None,
        None,
        None,
        0,
        0,
        0.0,
    )
    assert off.milestones == (0.5,)
    plain, flipped = linear(), linear()
    flipped.load_state_dict(plain.state_dict())
    mgnet.fit(plain, data, **{**OPTIONS, "recipe": mgnet.Recipe(epochs=1)})
    mgnet.fit(
        flipped,
        data,
        **{**OPTIONS, "recipe": mgnet.Recipe(epochs=1, flip="random", clip=1e-3)},
        flip=None,
        clip=None,
    )
    assert torch.equal(plain[1].weight, flipped[1].weight)  # type: ignore[index]


def test_values_are_kept_as_plain_types(data: Data, tmp_path: Path) -> None:
    import numpy as np

    given: dict[str, Any] = {
        "lr": np.logspace(-3, -1, 3)[1], "momentum": np.float32(0.5), "weight_decay": np.float64(0.1),
        "batch_size": np.int64(32), "epochs": np.int32(1), "nesterov": np.bool_(True), "crop": np.int8(2),
        "milestones": np.array([0.5]), "clip": torch.tensor(1.0), "schedule": np.str_("cosine"),
        "flip": np.str_("random"), "label_smoothing": np.float16(0.5), "save_every": np.int64(1),
        "seed": np.int64(3),
    }  # fmt: skip
    mgnet.fit(linear(), data, **{**OPTIONS, **given}, out=tmp_path / "run")
    state = mgnet.checkpoint.load(tmp_path / "run" / LAST)
    for value in state["recipe"].values():
        assert type(value) in (int, float, bool, str, tuple, type(None))
    assert type(state["seed"]) is int


@pytest.mark.usefixtures("no_step")
def test_a_machine_without_a_compiler(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    with pytest.raises(ValueError, match=r"compile: got True; .*: False \(No working C\+\+ compiler found\)"):
        mgnet.fit(linear(), data, **OPTIONS, compile=True, out=tmp_path / "run")
    assert not os.listdir(tmp_path)


class InTraining(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.inner, self.answer = linear(), answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(self.inner(x)) if self.training else self.inner(x)


@pytest.mark.parametrize(
    ("error", "answer", "message"),
    [
        (TypeError, lambda x: (x, x), "model: gave"),
        (ValueError, torch.Tensor.flatten, "model: gave shape"),
        (ValueError, torch.Tensor.detach, "model: its scores do not depend on its parameters"),
    ],
)
def test_another_answer_in_training_mode(
    data: Data, error: type[Exception], answer: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        mgnet.fit(InTraining(answer), data, **OPTIONS)


def test_a_name_that_is_none(data: Data) -> None:
    for name in (None, 5):
        with pytest.raises(TypeError, match=f"data: got {name} as data.name; accepted: a string"):
            mgnet.fit(linear(), replace(data, name=name), **OPTIONS)  # type: ignore[arg-type]


def test_one_number_for_all_channels(data: Data) -> None:
    number: Any = 0.5
    assert Split(data.test.images, data.test.labels, number, number).mean == (0.5, 0.5, 0.5)


def test_scores_that_are_not_finite_give_no_figure(data: Data) -> None:
    with pytest.raises(mgnet.DivergedError, match="the loss on the split is nan"):
        mgnet.evaluate(broken(linear()), data.test)
