"""The training loop: it learns, stops, and looks at the test set once."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import ended, started, wait_until
from torch import nn
from trained import PLAIN, assert_same, small, weights

import mgnet
from mgnet import DivergedError, Recipe, checkpoint
from mgnet.core import precision, progress, signals
from mgnet.train import BEST, LAST, judging, loop, optimizers, recipes
from mgnet.train.state import LOOK

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> mgnet.data.Data:
    return mgnet.data.synthetic(train=160, validation=64, test=96)


# What a run does.


def test_only_the_generators_that_a_run_needs_are_seeded(
    data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.manual_seed would seed those of all GPUs too, which nothing puts back."""
    model, before = small(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("all GPUs were seeded"))
    mgnet.fit(model, data, **PLAIN, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_on_gpus_ask_each_other_only_when_they_look() -> None:
    """A sum over processes is one more wait, in every step."""

    def stopped(position: int, device: str, world: int = 2) -> bool:
        processes = SimpleNamespace(world=world, total=lambda *numbers, device: [1.0])
        batches = SimpleNamespace(position=position)
        run: Any = SimpleNamespace(processes=processes, batches=batches, device=torch.device(device))
        return loop.is_stopped(run, [])

    steps = range(1, 2 * LOOK + 1)
    assert [step for step in steps if stopped(step, "cuda")] == [LOOK, 2 * LOOK]
    assert all(stopped(step, "cpu") and stopped(step, "cuda", world=1) for step in steps)


def test_it_learns_and_keeps_its_figures(data: mgnet.data.Data) -> None:
    history = mgnet.fit(small(), data, **PLAIN, epochs=12, lr=0.1)
    losses = history["train_loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert [row["epoch"] for row in history.rows] == list(range(1, 13))
    assert all(row["images_per_second"] > 0 and row["seconds"] > 0 for row in history.rows)
    assert history.test_accuracy is not None
    assert history.images_per_second == pytest.approx(12 * 160 / history.seconds)


def test_one_step_of_sgd_is_the_formula(data: mgnet.data.Data) -> None:
    # eq: weight-decay
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    W, b = (p.detach().clone().requires_grad_() for p in model.parameters())
    change = {"batch_size": 160, "lr": 0.01, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.1}
    history = mgnet.fit(
        model, data, recipe="lecture", epochs=1, progress=False, label_smoothing=0.1, **change
    )
    x, y = data.train.normalise(data.train.images).flatten(1), data.train.labels
    loss = nn.functional.cross_entropy(x @ W.T + b, y, label_smoothing=0.1)
    loss.backward()
    assert W.grad is not None
    assert b.grad is not None
    with torch.no_grad():
        W -= 0.01 * (W.grad + 0.1 * W)
        b -= 0.01 * b.grad  # nothing pulls on a bias
    torch.testing.assert_close(model[1].weight, W, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model[1].bias, b, rtol=1e-4, atol=1e-6)
    assert history["train_loss"][0] == pytest.approx(loss.item(), rel=1e-4)


def sgd(w: torch.Tensor, gradients: list[torch.Tensor], nesterov: bool) -> torch.Tensor:
    v = torch.zeros_like(w)
    for g in gradients:
        v = 0.8 * v + g
        w = w - 0.01 * (g + 0.8 * v if nesterov else v)
    return w


def adamw(w: torch.Tensor, gradients: list[torch.Tensor], _: bool) -> torch.Tensor:
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.8**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w


@pytest.mark.parametrize(
    ("optimizer", "formula", "nesterov"), [("sgd", sgd, False), ("sgd", sgd, True), ("adamw", adamw, False)]
)
def test_the_momentum_is_that_of_the_formula(optimizer: str, formula: Any, nesterov: bool) -> None:
    # eq: momentum
    # eq: nesterov
    w = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    gradients = [torch.tensor([g]) for g in ([0.5, 1.0], [-0.3, 0.2], [0.1, 2.0])]
    expected = formula(w.detach().clone(), gradients, nesterov)
    recipe = Recipe(optimizer=optimizer, lr=0.01, momentum=0.8, nesterov=nesterov, weight_decay=0.0)
    steps = optimizers.create(nn.ParameterList([w]), recipe)
    for w.grad in gradients:
        steps.step()
    torch.testing.assert_close(w.detach(), expected)


def test_images_and_products_have_the_form_that_the_recipe_says(
    data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"memory_format": torch.channels_last}
    for wanted, instructions in ((False, True), (True, True), (True, False)):
        monkeypatch.setattr(precision, "_has_fast_bfloat16", lambda device, found=instructions: found)
        model: Any = small()
        seen = []
        model[0].register_forward_hook(
            lambda layer, x, y, seen=seen: seen.append((layer.training, x[0].is_contiguous(**order), y.dtype))
        )
        mgnet.fit(model, data, **PLAIN, channels_last=wanted, bfloat16=wanted)
        dtype = torch.bfloat16 if wanted and instructions else torch.float32
        # One look before the first step, in the images' own order; judged is in float32 whatever the recipe.
        assert seen.pop(0) == (False, False, dtype)
        assert set(seen) == {(True, wanted, dtype), (False, wanted, torch.float32)}
        assert model[0].weight.is_contiguous(**order) == wanted


@pytest.mark.parametrize(
    ("facts", "faster"),
    [
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        (None, True),  # a torch that does not tell
    ],
)
@pytest.mark.parametrize("instructions", [True, False])
def test_bfloat16_is_for_processors_that_are_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any] | None, faster: bool, instructions: bool
) -> None:
    if facts is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: instructions)
    device = torch.device("cpu")
    for wanted in (True, False):
        with precision.brain_float(device, wanted):
            assert torch.is_autocast_enabled("cpu") is (wanted and instructions and faster)


def test_a_compiled_model_is_saved_under_its_own_names(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    real = torch.compile

    def without_a_compiler(model: nn.Module) -> Any:
        compiled.append(model)
        return real(model, backend="eager")

    monkeypatch.setattr(torch, "compile", without_a_compiler)
    plain, model = small(), small()
    mgnet.fit(plain, data, **PLAIN)
    mgnet.fit(model, data, **PLAIN, compile=True, out=tmp_path)
    assert compiled == [torch.sin, model]  # the first to see whether there is a compiler
    assert_same(checkpoint.load(tmp_path / BEST)["model"], weights(plain))


def test_a_run_in_another_thread(data: mgnet.data.Data) -> None:
    with ThreadPoolExecutor(1) as pool:  # where no signal can be caught
        assert len(pool.submit(mgnet.fit, small(), data, **PLAIN).result()) == 2


def test_evaluate_counts(data: mgnet.data.Data) -> None:
    # eq: accuracy
    model = small()
    scores = mgnet.predict(model, data.test, batch_size=7)
    assert scores.shape == (96, 10)
    assert model.training
    expected = float((scores.argmax(1) == data.test.labels).double().mean())
    for size in (1, 7, 1000):
        assert mgnet.evaluate(model, data.test, batch_size=size) == pytest.approx(expected)


def test_the_test_set_is_looked_at_once(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    judge = judging.judge

    def counted(model: Any, split: Any, *rest: Any) -> tuple[float, float]:
        looks.append("test" if len(split) == 96 else "validation")
        return judge(model, split, *rest)

    monkeypatch.setattr(judging, "judge", counted)
    options = {**PLAIN, "epochs": 3, "out": tmp_path}
    mgnet.fit(small(), data, **options)
    assert looks == ["validation"] * 3 + ["test"]
    mgnet.fit(small(), data, **options, resume=True)  # it is finished
    assert looks == ["validation"] * 3 + ["test"]


def test_the_best_weights_are_restored(data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    # eq: early-stopping
    accuracies = iter([0.3, 0.9, 0.5, 0.9, 0.1])
    seen: list[dict[str, torch.Tensor]] = []

    def judged(model: nn.Module, *_: Any) -> tuple[float, float]:
        seen.append(weights(model))
        return 1.0, next(accuracies, 0.0)

    monkeypatch.setattr(judging, "judge", judged)
    model = small()
    history = mgnet.fit(model, data, **PLAIN, epochs=5)
    assert history.best is not None
    assert history.best["epoch"] == 2
    assert_same(weights(model), seen[1])
    assert_same(seen[5], seen[1])  # the test set is judged with them


def test_patience(data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.3, 0.4, 0.4, 0.2, 0.1, 0.9])
    monkeypatch.setattr(judging, "judge", lambda *_: (1.0, next(accuracies, 0.0)))
    options = {**PLAIN, "epochs": 9, "patience": 3, "out": tmp_path}
    for resume in (False, True):  # the second time it has run out already
        history = mgnet.fit(small(), data, **options, resume=resume)
        assert len(history) == 5
        assert history.stopped_early


def test_without_a_validation_set_the_last_weights_stay() -> None:
    data = mgnet.data.synthetic(train=64, validation=0, test=32)
    history = mgnet.fit(small(), data, **PLAIN)
    assert history["val_accuracy"] == [None, None]
    assert history.best is history.rows[-1]


def test_the_random_numbers_of_others_are_left_alone(data: mgnet.data.Data) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = small(seed=5)
    torch.manual_seed(5)
    mgnet.fit(model, data, **PLAIN)
    assert torch.equal(torch.rand(3), expected)


def test_a_seed_decides_everything(data: mgnet.data.Data) -> None:
    runs = []
    for seed in (0, 0, 1):
        model = small()
        mgnet.fit(model, data, **PLAIN, seed=seed, crop=4, flip="random", cutout=8)
        runs.append(weights(model))
    assert_same(runs[0], runs[1])
    assert any(not torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adamw", "lr": 0.003},
        {"schedule": "milestones"},
        {"schedule": "cosine"},
        {"schedule": "constant", "nesterov": False},
        {"bfloat16": True, "channels_last": True},
        {"clip": 0.5},
        {"momentum": 0.0},
        {"replacement": True},
        {"drop_last": True, "batch_size": 50},
    ],
    ids=str,
)
def test_every_part_of_a_recipe_runs(data: mgnet.data.Data, change: dict[str, Any]) -> None:
    history = mgnet.fit(small(), data, **PLAIN, **change)
    assert all(math.isfinite(loss) for loss in history["train_loss"])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda t: 1.0),
        ("milestones", lambda t: 1.0 if t < 0.5 else 0.1 if t < 0.75 else 0.01),
        ("cosine", lambda t: 0.5 + 0.5 * math.cos(math.pi * t)),
    ],
)
def test_the_learning_rate_of_every_step(schedule: str, expected: Any) -> None:
    # eq: milestones
    # eq: cosine
    recipe = Recipe(epochs=4, lr=1.0, schedule=schedule)
    optimizer = optimizers.create(small(), recipe)
    for step in range(100):
        optimizers.set_rate(optimizer, recipe, step, 25)
        assert optimizer.param_groups[1]["lr"] == pytest.approx(expected(step / 100)), step


def test_onecycle_rises_and_falls() -> None:
    recipe = Recipe(epochs=4, lr=1.0, schedule="onecycle", warmup=0.25)
    optimizer = optimizers.create(small(), recipe)
    rates = []
    for step in range(100):
        optimizers.set_rate(optimizer, recipe, step, 25)
        rates.append(optimizer.param_groups[0]["lr"])
    top = rates.index(max(rates))
    assert 23 <= top <= 26
    assert max(rates) == pytest.approx(1.0, rel=0.03)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02


def test_only_kernels_and_matrices_decay() -> None:
    groups = optimizers.create(small(), Recipe(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [
        (0.1, {2, 4}),
        (0.0, {1}),
    ]


def test_the_gradient_is_clipped(data: mgnet.data.Data) -> None:
    # eq: clipping
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    before = weights(model)
    change = {"clip": 1e-3, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0}
    mgnet.fit(model, data, recipe="lecture", epochs=1, batch_size=160, progress=False, **change)
    after = weights(model)
    moved = math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in before))
    assert moved == pytest.approx(1e-3, rel=0.01)


# How it ends otherwise.


def test_a_loss_that_is_not_finite(data: mgnet.data.Data, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"loss of step \d+ is .*learning rate 1e\+30"):
        mgnet.fit(
            small(dropout=0.0), data, **PLAIN, lr=1e30, schedule="constant", out=tmp_path, save_every=50
        )
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("validation", [64, 0])
def test_a_run_that_diverges_in_its_last_step(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: int
) -> None:
    """No loss is computed after it, and the last good state has to stay."""
    step = loop.train_step

    def last(run: Any, *batch: Any) -> None:
        step(run, *batch)
        if len(run.history) == 1 and run.batches.position == len(run.batches):
            with torch.no_grad():
                run.model[0].weight[0] = math.inf

    monkeypatch.setattr(loop, "train_step", last)
    few = replace(data, validation=data.validation.subset(range(validation)))
    with pytest.raises(DivergedError, match=r"0\.weight is not finite at learning rate .*; take a smaller"):
        mgnet.fit(small(), few, **PLAIN, out=tmp_path)
    state = checkpoint.load(tmp_path / LAST)
    assert len(state["history"]["rows"]) == 1
    assert all(x.isfinite().all() for x in state["model"].values())
    assert os.listdir(tmp_path) == [LAST]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_loss_that_is_judged_and_not_finite(data: mgnet.data.Data, tmp_path: Path, part: str) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            judged = not self.training and len(x) == len(getattr(data, part))
            return self.inner(x) * (math.nan if judged else 1.0)

    with pytest.raises(DivergedError, match=f"the {part} loss is nan"):
        mgnet.fit(Breaks(), data, **PLAIN, out=tmp_path)
    assert os.listdir(tmp_path) == ([] if part == "validation" else [LAST])


def test_a_broken_weight_is_not_saved_within_an_epoch(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.train_step

    def third(run: Any, *batch: Any) -> None:
        step(run, *batch)
        if run.batches.position == 3:
            run.model[1].running_var.fill_(math.nan)

    monkeypatch.setattr(loop, "train_step", third)
    with pytest.raises(DivergedError, match=r"1\.running_var is not finite"):
        mgnet.fit(small(), data, **PLAIN, out=tmp_path, save_every=1)
    assert checkpoint.load(tmp_path / LAST)["batches"]["position"] == 2


def test_a_mask_of_minus_infinities_is_no_divergence(data: mgnet.data.Data, tmp_path: Path) -> None:
    model = small()
    model.register_buffer("mask", torch.full((2,), -math.inf))
    mgnet.fit(model, data, **PLAIN, out=tmp_path)
    assert checkpoint.load(tmp_path / BEST)["model"]["mask"].isneginf().all()


@pytest.mark.parametrize("step", [4, 7])  # in the first epoch and in the second, of five steps each
def test_the_step_and_the_rate_are_those_of_the_loss(data: mgnet.data.Data, step: int) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = small(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return self.inner(x) * (math.nan if self.calls == step else 1.0)

    model = Breaks()
    with pytest.raises(DivergedError, match=f"step {step} is nan at learning rate 0.02"):
        mgnet.fit(model, data, **PLAIN, schedule="constant")
    assert model.calls == step  # on a CPU none is made after it
    assert all(x.isfinite().all() for x in model.parameters())


SCRIPT = """
import sys, time
import torch, mgnet
from mgnet.train import loop
torch.set_num_threads(1)
data = mgnet.data.synthetic(train=320, validation=32, test=32)
model = mgnet.models.create("logistic", num_classes=10, in_channels=3, image_size=32)
go, step = loop.train, loop.train_step
def noted(run, came, *rest):
    run.came = came
    go(run, came, *rest)
def third(run, *batch):
    step(run, *batch)
    print("step", flush=True)
    while run.batches.position == 3 and not run.came:
        time.sleep(0.01)
loop.train, loop.train_step = noted, third
mgnet.fit(model, data, recipe="lecture", epochs=50, batch_size=32, lr=0.001, out=sys.argv[1], progress=False)
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [(number, -number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)],
)
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: int, code: int) -> None:
    with started("-c", SCRIPT, str(tmp_path)) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "step\n"
        process.send_signal(number)
        done = ended(process)
    assert done.stdout == ""  # no further step
    assert done.returncode in (code, 1 if number == signal.SIGINT else code)
    state = checkpoint.load(tmp_path / LAST)
    assert state["batches"]["position"] == 3
    assert state["history"]["rows"] == []


def test_the_handlers_are_put_back(data: mgnet.data.Data) -> None:
    noted = list(signals.WORDS)
    before = [signal.getsignal(number) for number in noted]
    mgnet.fit(small(), data, **PLAIN)
    assert [signal.getsignal(number) for number in noted] == before


def test_what_is_ignored_stays_ignored(data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.train_step

    def pressed(run: Any, *batch: Any) -> None:
        step(run, *batch)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "train_step", pressed)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a shell does so for what it starts with '&'
    try:
        assert len(mgnet.fit(small(), data, **PLAIN)) == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_goes_on_does_not_make_a_broken_run_a_finished_one(
    data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.train_step

    def pressed(run: Any, *batch: Any) -> None:
        step(run, *batch)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "train_step", pressed)
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            mgnet.fit(small(), data, **PLAIN)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]


def test_ctrl_c_is_a_keyboard_interrupt(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.train_step

    def pressed(run: Any, *batch: Any) -> None:
        step(run, *batch)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "train_step", pressed)
    with pytest.raises(KeyboardInterrupt):
        mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    assert checkpoint.load(tmp_path / LAST)["batches"]["position"] == 1


def test_a_signal_after_the_last_step_waits_for_the_files(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = loop.finish

    def pressed(run: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        finish(run)

    monkeypatch.setattr(loop, "finish", pressed)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    assert signal.getsignal(signal.SIGINT) == before
    assert len(checkpoint.load(tmp_path / BEST)["history"]["rows"]) == 2
    assert json.loads((tmp_path / "history.json").read_text())["test_accuracy"] is not None


def test_the_second_signal_does_not_wait_for_the_step(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = []

    def pressed(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append("between")
        signal.raise_signal(signal.SIGINT)
        reached.append("after")

    monkeypatch.setattr(loop, "train_step", pressed)
    with pytest.raises(KeyboardInterrupt):
        mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    assert reached == ["between"]
    assert not list(tmp_path.iterdir())


def test_the_second_signal_is_the_first_ones_like(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two SIGTERMs are no Ctrl-C: what was there before is called, and told which signal it is."""

    class TerminatedError(Exception):
        pass

    def terminate(number: int, _: Any) -> None:
        raise TerminatedError(number)

    def pressed(*_: Any) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        pytest.fail("went on")

    monkeypatch.setattr(loop, "train_step", pressed)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(TerminatedError, match=str(int(signal.SIGTERM))):
            mgnet.fit(small(), data, **PLAIN, out=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)


# What it says.


def test_figures_are_saved_before_they_are_told(
    data: mgnet.data.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def report(progress: Any, row: dict[str, Any]) -> None:
        told.append((row["epoch"], len(checkpoint.load(tmp_path / LAST)["history"]["rows"])))

    monkeypatch.setattr(progress.Progress, "epoch", report)
    mgnet.fit(small(), data, **PLAIN, out=tmp_path)
    assert told == [(1, 1), (2, 2)]


class Unwritable(io.StringIO):
    """A terminal that is gone, or a log on a full disk."""

    def __init__(self, terminal: bool, error: Exception) -> None:
        super().__init__()
        self.terminal, self.error = terminal, error

    def isatty(self) -> bool:
        return self.terminal

    def write(self, _: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), BrokenPipeError(), OSError(5, "I/O"), ValueError("closed")],
)
def test_a_line_that_cannot_be_written_ends_no_run(
    data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch, terminal: bool, error: Exception
) -> None:
    monkeypatch.setattr(sys, "stderr", Unwritable(terminal, error))
    assert len(mgnet.fit(small(), data, recipe=PLAIN["recipe"])) == 2


def test_plain_lines_where_there_is_no_terminal(
    data: mgnet.data.Data, capsys: pytest.CaptureFixture[str]
) -> None:
    mgnet.fit(small(), data, recipe=PLAIN["recipe"])
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ")
    assert "validation" in lines[0]


def test_a_step_that_takes_long_is_not_silent(data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    step, stream = loop.train_step, io.StringIO()

    def slow(run: Any, *batch: Any) -> None:
        wait_until(lambda: f"step {run.batches.position - 1}/5 after " in stream.getvalue())
        step(run, *batch)

    monkeypatch.setattr(loop, "train_step", slow)
    monkeypatch.setattr(progress, "PERIOD", 0.001)
    monkeypatch.setattr(sys, "stderr", stream)
    mgnet.fit(small(), data, recipe=PLAIN["recipe"], epochs=1)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 0/5 after 0 s")
    assert any(line.endswith(" to the end") for line in lines)


def test_tensorboard_is_optional(data: mgnet.data.Data, tmp_path: Path) -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="tensorboard: not installed"):
            mgnet.fit(small(), data, **PLAIN, tensorboard=tmp_path)
    else:
        mgnet.fit(small(), data, **PLAIN, tensorboard=tmp_path)
        assert list(tmp_path.iterdir())


# Bad input.


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "recipe: got 'slow'", {"recipe": "slow"}),
        (ValueError, "epochs: got 0", {"epochs": 0}),
        (TypeError, "epochs", {"epochs": 1.5}),
        (ValueError, "lr: got 0", {"lr": 0.0}),
        (ValueError, "lr: got -1", {"lr": -1.0}),
        (ValueError, "lr: got nan", {"lr": math.nan}),
        (ValueError, "batch_size: got 0", {"batch_size": 0}),
        (ValueError, "optimizer: got 'adam'", {"optimizer": "adam"}),
        (ValueError, "schedule: got 'step'", {"schedule": "step"}),
        (ValueError, "flip: got 'up'", {"flip": "up"}),
        (ValueError, "crop: got -1", {"crop": -1}),
        (ValueError, "crop: got 33; accepted: at most 32, the image", {"crop": 33}),
        (ValueError, "epochs: got 1.*; accepted: an integer from 1 to 1000000000", {"epochs": 10**400}),
        (TypeError, "progress: got 'no'", {"progress": "no"}),
        (ValueError, "lr: got 1e\\+400|lr: got inf", {"lr": math.inf}),
        (TypeError, "lr: got None; accepted: a real number", {"lr": None}),
        (TypeError, "drop_last: got 1; accepted: True or False", {"drop_last": 1}),
        (TypeError, "compile: got None", {"compile": None}),
        (
            ValueError,
            r"milestones: got \(4, 6\); accepted: shares of the run, between 0 and 1",
            {"milestones": (4, 6)},
        ),
        (ValueError, "milestones", {"milestones": (0.5, 1.0)}),
        (ValueError, "seed: got 1", {"seed": 10**20}),
        (TypeError, "resume: got 'no'", {"resume": "no", "out": "x"}),
        (ValueError, "overwrite: got True; accepted with resume: False", {"resume": True, "overwrite": True}),
        (ValueError, "out: got ''", {"out": ""}),
        (TypeError, "out: got 3", {"out": 3}),
        (TypeError, "cutout: got 1.5", {"cutout": 1.5}),
        (ValueError, "momentum: got 1", {"momentum": 1.0}),
        (ValueError, "label_smoothing: got 1", {"label_smoothing": 1.0}),
        (ValueError, "clip: got 0", {"clip": 0.0}),
        (ValueError, "patience: got 0", {"patience": 0}),
        (TypeError, "rate: got 1, and is no part of a recipe; accepted: epochs, batch_size", {"rate": 1}),
        (ValueError, "seed: got -1", {"seed": -1}),
        (ValueError, "out: got None", {"resume": True}),
        (ValueError, "save_every: got 0", {"save_every": 0, "out": "x"}),
        (
            ValueError,
            "batch_size: got 1000; accepted: at most the 160",
            {"batch_size": 1000, "drop_last": True},
        ),
    ],
    ids=str,
)
def test_bad_input(
    data: mgnet.data.Data, error: type[Exception], message: str, arguments: dict[str, Any]
) -> None:
    model = small()
    before = weights(model)
    with pytest.raises(error, match=message):
        mgnet.fit(model, data, **{**PLAIN, **arguments})
    assert_same(weights(model), before)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_images(data: mgnet.data.Data, part: str, tmp_path: Path) -> None:
    nothing: Any = {part: getattr(data, part).subset([])}
    with pytest.raises(ValueError, match=f"data: got no images in data.{part}"):
        mgnet.fit(small(), replace(data, **nothing), **PLAIN, out=tmp_path)
    assert not list(tmp_path.iterdir())  # before any work
    with pytest.raises(ValueError, match="split: got no images"):
        mgnet.evaluate(small(), data.test.subset([]))


def test_recipes_are_data() -> None:
    for by_kind in recipes.RECIPES.values():
        for recipe in by_kind.values():
            assert Recipe(**asdict(recipe)) == recipe
            assert json.loads(json.dumps(asdict(recipe)))


def test_a_recipe_fits_images_and_network(data: mgnet.data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    monkeypatch.setattr(loop, "require_fit", lambda model, data, recipe, still: chosen.append(recipe))
    bare = nn.Sequential(mgnet.operators.convolution((3, 8), 3))
    own, behind = (nn.Sequential(bare, norm(8)) for norm in (mgnet.layers.BatchNorm, nn.BatchNorm1d))
    models = (3, small()), (3, own), (3, bare), (3, behind), (1, bare), (1, nn.Linear(1, 1))
    for channels, model in models:
        images = torch.zeros(10, channels, 8, 8, dtype=torch.uint8)
        split = mgnet.data.Split(images, torch.arange(10))
        with pytest.raises(AttributeError):  # what follows is not there
            mgnet.fit(model, mgnet.data.Data("mine", ["a"], split, split, split, "", True))
    kinds = "photographs", "photographs", "bare", "bare", "digits", "flat"
    assert chosen == [recipes.RECIPES["fast"][kind] for kind in kinds]
