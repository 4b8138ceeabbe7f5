"""What a caller chooses beside the recipe: frozen parts, weights of classes, and who hears of an epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trained import PLAIN, assert_same, small, weights

import mgnet
from mgnet import Recipe, checkpoint
from mgnet.data import Data
from mgnet.train import BEST, LAST
from mgnet.train.choices import class_weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> Data:
    return mgnet.data.synthetic(train=160, validation=64, test=96)


# Frozen parts.


class Named(nn.Module):
    """A network with names of several parts, and a norm without numbers to freeze."""

    def __init__(self, norm: Any = nn.BatchNorm2d) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 8, 3, 2), norm(8, affine=c == 3), nn.ReLU()) for c in (3, 8)
        )
        self.levels10 = nn.Conv2d(8, 8, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    def forward(self, x: torch.Tensor) -> Any:
        for level in self.levels:
            x = level(x)
        return self.head(self.levels10(x))


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize(
    "freeze",
    [
        "levels.0",
        ("levels",),
        ("levels.1", "levels.0"),
        ("levels.1.0.weight",),
        ["levels10", "levels.1.1", "head.0"],
    ],
)
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, mgnet.layers.BatchNorm])
def test_what_is_frozen_stays_bit_for_bit(data: Data, freeze: Any, evaluation: bool, norm: Any) -> None:
    model = Named(norm).train(not evaluation)
    before = weights(model)
    mgnet.fit(model, data, **PLAIN, freeze=freeze)
    names = [freeze] if isinstance(freeze, str) else freeze
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    kept = {name for name in before if any(name == n or name.startswith(f"{n}.") for n in names)}
    assert kept == before.keys() - moved  # the running statistics of the norms are among them
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_weights_do_not_decay(data: Data, optimizer: str) -> None:
    model = small()
    before = weights(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)  # of a step before, which is nobody's any more
    recipe = Recipe(epochs=1, batch_size=32, optimizer=optimizer, lr=0.01, weight_decay=0.1, clip=1e-3)
    mgnet.fit(model, data, recipe=recipe, progress=False, freeze=("0", "1"))
    assert_same(
        {n: x for n, x in weights(model).items() if n[0] in "01"},
        {n: before[n] for n in before if n[0] in "01"},
    )


def test_old_gradients_of_frozen_weights_do_not_count(data: Data) -> None:
    """The length of the gradient, where it is clipped, is that of the weights that are trained."""
    results = []
    for old in (None, 1e6):
        model = small()
        for p in model[0].parameters():
            p.grad = None if old is None else torch.full_like(p, old)
        mgnet.fit(model, data, **PLAIN, freeze="0", clip=1e-2)
        results.append(weights(model))
    assert_same(*results)


def test_it_is_put_back_whatever_ends_the_run(data: Data, tmp_path: Path) -> None:
    model = small()
    model[6].bias.requires_grad_(False)

    def stop(_: Any) -> None:
        raise KeyError("mine")

    for options in (
        {"on_epoch": stop},
        {"patience": 1, "data": replace(data, validation=data.train.subset([]))},
    ):
        options = {"data": data, **options}
        with pytest.raises((KeyError, ValueError)):
            mgnet.fit(model, **{**PLAIN, **options}, freeze="0")
        assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["6.bias"]


@pytest.mark.parametrize(
    ("error", "message", "freeze"),
    [
        (
            ValueError,
            "freeze: got 'level'; accepted: modules .*named_modules.. names them: levels, levels10, head$",
            "level",
        ),
        (ValueError, r"freeze: got 'levels.2'; accepted: modules of .*: levels.0, levels.1$", "levels.2"),
        (
            ValueError,
            r"freeze: got 'levels.0.0.kernel'; accepted: parameters .*: levels.0.0.weight, levels.0.0.bias$",
            "levels.0.0.kernel",
        ),
        (
            ValueError,
            "freeze: got levels.0.2, which has none; accepted: one with parameters: modules of .*: l",
            "levels.0.2",
        ),
        (ValueError, "freeze: got ''; accepted: modules of .*: levels, ", ""),
        (TypeError, "freeze: got 3; accepted: names of modules or parameters", 3),
        (TypeError, "freeze: got .*; accepted: names", ["head", 3]),
        (ValueError, "model: got no parameter to train", ["levels", "levels10", "head"]),
    ],
    ids=str,
)
def test_names_that_are_not_there(data: Data, error: type[Exception], message: str, freeze: Any) -> None:
    model = Named()
    with pytest.raises(error, match=message):
        mgnet.fit(model, data, **PLAIN, freeze=freeze)
    assert all(p.requires_grad for p in model.parameters())


def test_a_lazy_layer_can_be_frozen(data: Data) -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3, 4), nn.Flatten(), nn.LazyLinear(10))
    mgnet.fit(model, data, **PLAIN, freeze="0", epochs=1)
    before = weights(model)
    mgnet.fit(model, data, **PLAIN, freeze="0", epochs=1)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[2].weight, before["2.weight"])
    assert model[0].weight.requires_grad


# Weights of classes.


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_step_is_that_of_the_loss_of_torch(data: Data, smoothing: float) -> None:
    """With all images in one batch, whose mean weight torch divides by."""
    # eq: class-weights
    given = np.linspace(0.5, 3, 10)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    twin = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    twin.load_state_dict(model.state_dict())
    plain = {
        "batch_size": 160,
        "lr": 0.01,
        "schedule": "constant",
        "momentum": 0.0,
        "label_smoothing": smoothing,
    }
    history = mgnet.fit(model, data, recipe="lecture", epochs=1, progress=False, class_weights=given, **plain)
    x, y = data.train.normalise(data.train.images), data.train.labels
    weight = torch.from_numpy(given).float()
    scaled = weight / weight[y].mean()
    if smoothing:  # torch divides by the weights of the labels alone, which is the same sum
        loss = (
            nn.CrossEntropyLoss(weight=scaled, reduction="sum", label_smoothing=smoothing)(twin(x), y) / 160
        )
    else:
        loss = nn.CrossEntropyLoss(weight=weight)(twin(x), y)
    loss.backward()
    torch.optim.SGD(twin.parameters(), lr=0.01).step()
    torch.testing.assert_close(model[1].weight, twin[1].weight, rtol=1e-4, atol=1e-6)
    assert history["train_loss"][0] == pytest.approx(loss.item(), rel=1e-4)


def test_figures_of_other_parts_are_not_weighted(data: Data) -> None:
    model = small()
    history = mgnet.fit(model, data, **PLAIN, epochs=1, class_weights="balanced")
    scores = mgnet.predict(model, data.validation)
    expected = nn.functional.cross_entropy(scores, data.validation.labels).item()
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


def counted(*counts: int) -> Data:
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    split = mgnet.data.Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels)
    return Data("counted", [str(k) for k in range(len(counts))], split, split, split, "", True)


def test_balanced_classes_count_the_same() -> None:
    found = class_weights("balanced", counted(10, 30, 60))
    assert found is not None
    assert [n * w for n, w in zip((10, 30, 60), found, strict=True)] == pytest.approx([100 / 3] * 3)
    assert class_weights("balanced", counted(5, 0, 5)) == pytest.approx((1, 1, 1))
    for scale in (1e-30, 1, 1e30):  # only their ratios count
        assert class_weights([6 * scale, 2 * scale, scale], counted(10, 30, 60)) == pytest.approx(found)
    assert class_weights(None, counted(1, 2)) is None


def test_a_rare_class_is_found_where_it_counts(data: Data) -> None:
    """Of two kinds, one image in 16 is of the second: weighted, it is answered more often."""
    rows = [
        *(data.train.labels == 0).nonzero().flatten().tolist(),
        (data.train.labels == 1).nonzero()[0].item(),
    ]
    rare = data.train.subset(rows)
    answers = []
    for wanted in (None, "balanced"):
        model = small(dropout=0.0)
        mgnet.fit(
            model, replace(data, train=rare), **PLAIN, epochs=8, batch_size=8, lr=0.05, class_weights=wanted
        )
        answers.append(mgnet.predict(model, data.test).softmax(1)[:, 1].mean().item())
    assert answers[1] > 2 * answers[0]


@pytest.mark.parametrize(
    ("error", "message", "wanted"),
    [
        (ValueError, r"class_weights: got 'even'; accepted: 'balanced', or 10 numbers", "even"),
        (ValueError, "class_weights: got .*; accepted: 'balanced', or 10 numbers, one for each", [1, 2]),
        (ValueError, "class_weights: got .*; accepted: numbers of at least 0", [-1.0, *[1] * 9]),
        (ValueError, "class_weights: got .*; accepted: numbers of at least 0", [0.0] * 10),
        (ValueError, "class_weights: got nan", [math.nan] * 10),
        (TypeError, "class_weights: got 'a'; accepted: a real number", ["a"] * 10),
        (TypeError, "class_weights: got 3; accepted: 'balanced'", 3),
        (TypeError, "class_weights: got {'cat': 2}; accepted: 'balanced'", {"cat": 2}),
    ],
    ids=str,
)
def test_weights_that_are_none(data: Data, error: type[Exception], message: str, wanted: Any) -> None:
    with pytest.raises(error, match=message):
        mgnet.fit(small(), data, **PLAIN, class_weights=wanted)


def test_more_outputs_than_classes(data: Data) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 13))
    assert len(mgnet.fit(model, data, **PLAIN, class_weights=[1.0] * 10)) == 2


# Who hears of an epoch.


def test_a_row_is_told_when_it_is_saved(data: Data, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    def hear(row: dict[str, Any]) -> None:
        assert checkpoint.load(tmp_path / LAST)["history"]["rows"][-1] == row
        told.append({**row})
        row.clear()  # it is a copy
        torch.rand(3)  # which no dropout misses

    model, plain = small(), small()
    history = mgnet.fit(model, data, **PLAIN, epochs=3, out=tmp_path, on_epoch=hear)
    assert told == history.rows
    mgnet.fit(plain, data, **PLAIN, epochs=3)
    assert_same(weights(model), weights(plain))


def test_what_it_raises_ends_the_run_with_all_saved(data: Data, tmp_path: Path) -> None:
    def broken(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise ZeroDivisionError("mine")

    whole, resumed = small(), small(seed=1)
    expected = mgnet.fit(whole, data, **PLAIN, epochs=3)
    with pytest.raises(ZeroDivisionError, match="mine"):
        mgnet.fit(small(), data, **PLAIN, epochs=3, out=tmp_path, on_epoch=broken)
    history = mgnet.fit(resumed, data, **PLAIN, epochs=3, out=tmp_path, resume=True)
    assert history["train_loss"] == expected["train_loss"]
    assert_same(weights(resumed), weights(whole))


@pytest.mark.parametrize("true", [True, np.True_])
def test_true_stops_in_good_order(data: Data, tmp_path: Path, true: Any) -> None:
    history = mgnet.fit(
        small(),
        data,
        **PLAIN,
        epochs=5,
        out=tmp_path,
        on_epoch=lambda row: true if row["epoch"] == 2 else None,
    )
    assert len(history) == 2
    assert history.stopped_early
    assert history.test_accuracy is not None
    assert (tmp_path / BEST).exists()
    again = mgnet.fit(small(), data, **PLAIN, epochs=5, out=tmp_path, resume=True)
    assert again.rows == history.rows  # it has ended


def test_what_is_no_answer(data: Data) -> None:
    with pytest.raises(TypeError, match="on_epoch: got 3; accepted: a function"):
        mgnet.fit(small(), data, **PLAIN, on_epoch=3)
    with pytest.raises(TypeError, match="on_epoch: returned 'no'; accepted: None, or True to stop"):
        mgnet.fit(small(), data, **PLAIN, on_epoch=lambda _: "no")


@pytest.mark.parametrize("size", [1e308, 1.5e-323])
def test_large_and_small_weights_count_by_their_ratios(size: float) -> None:
    assert class_weights([size] * 3, counted(10, 30, 60)) == (1, 1, 1)
