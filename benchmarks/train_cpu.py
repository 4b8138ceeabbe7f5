"""One table: accuracies and speeds of training on this machine's processor, and what is required of them.

::

    MGNET_DATA=DIR python benchmarks/train_cpu.py           # the whole table, about 15 minutes on two cores
    python benchmarks/train_cpu.py --quick                  # a few steps of everything, nothing is judged
    python benchmarks/train_cpu.py --only speed             # the sections with that in their title

MNIST and CIFAR-10 are those under MGNET_DATA; where a set is not the official archive's, the table says so,
in the words of MGNET_DATA_NOTE if that is set. The plain loop that the speed is compared with is that of the
common tutorials: a Dataset that crops, flips
and normalises one image at a time, a DataLoader with two workers, float32, channels first.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from table import Row, Section, main, medians
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

import mgnet
from mgnet.core.precision import brain_float


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    limit: int | None = None  # images of a training set
    epochs: int | None = None
    warm: int = 60  # steps before the clock starts, of either side
    steps: int = 30
    turns: int = 3
    batch: int = 128


FULL, QUICK = Plan(), Plan(limit=512, epochs=1, warm=2, steps=2, turns=1, batch=8)


def loaded(name: str, plan: Plan, **options: Any) -> mgnet.data.Data:
    data = mgnet.data.load(name, **options)
    if plan.limit is None:
        return data
    return replace(
        data, **{part: getattr(data, part).subset(range(plan.limit)) for part in ("train", "test")}
    )


def trained(
    model: str, data: mgnet.data.Data, plan: Plan, seed: int = 0, epochs: int | None = None, **options: Any
) -> tuple[mgnet.History, float]:
    """Train by the recipe 'fast'; return the history and the seconds from start to end."""
    shape = {"num_classes": data.num_classes, "in_channels": data.shape[0], "image_size": data.shape[1]}
    torch.manual_seed(seed)
    made = mgnet.models.create(model, **shape, **options)
    start = time.perf_counter()
    history = mgnet.fit(made, data, recipe="fast", epochs=plan.epochs or epochs, seed=seed, progress=False)
    return history, time.perf_counter() - start


def accuracy(what: str, history: mgnet.History, data: mgnet.data.Data, least: float) -> Row:
    copy = "" if data.verified else f" ({os.environ.get('MGNET_DATA_NOTE', 'not the official files')})"
    return Row(f"{what}, test accuracy{copy}", 100 * (history.test_accuracy or 0), "{:.2f} %", least=least)


def mnist(plan: Plan) -> Iterator[Row]:
    for what, model, pad, least in (
        ("logistic regression, MNIST, recipe fast", "logistic", 0, 92.0),
        ("LeNet-5, MNIST, recipe fast", "lenet5", 2, 98.8),
    ):
        try:
            data = loaded("mnist", plan, pad=pad, download=False)
        except FileNotFoundError as error:
            yield Row(what, None, least=least, note=str(error))
            continue
        history, seconds = trained(model, data, plan)
        yield accuracy(f"{what}, {len(history)} epochs", history, data, least)
        yield Row("    seconds, evaluation included", seconds, "{:.0f} s")


def cifar10(plan: Plan) -> Iterator[Row]:
    what = "MgNet [1,1,1,1]-32, CIFAR-10, recipe fast"
    try:
        data = loaded("cifar10", plan, download=False)
    except FileNotFoundError as error:
        yield Row(what, None, least=78.0, note=str(error))
        return
    history, seconds = trained("mgnet", data, plan, channels=32, nu=[1, 1, 1, 1])
    yield accuracy(f"{what}, {len(history)} epochs", history, data, 78.0)
    yield Row("    minutes, evaluation included", seconds / 60, "{:.1f} min", most=8.0)
    yield Row("    images per second in training", history.images_per_second, "{:.0f}")


def synthetic(plan: Plan) -> Iterator[Row]:
    data = loaded("synthetic", plan)
    history, seconds = trained("net", data, plan, epochs=2)
    yield accuracy("Net, synthetic set, recipe fast, 2 epochs", history, data, 90.0)
    yield Row("    seconds, evaluation included", seconds, "{:.0f} s", most=60.0)


# Speed against the plain loop


class OneByOne(Dataset):
    """Images as the tutorials treat them: each is cropped, mirrored and normalised by itself."""

    def __init__(self, split: mgnet.data.Split) -> None:
        self.images, self.labels = split.images, split.labels
        self.mean, self.std = (torch.tensor(x)[:, None, None] for x in (split.mean, split.std))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = nn.functional.pad(self.images[i], (4, 4, 4, 4))
        top, left = (int(k) for k in torch.randint(0, 9, (2,)))
        image = image[:, top : top + 32, left : left + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image.float() / 255 - self.mean) / self.std, int(self.labels[i])


def pictures(plan: Plan) -> mgnet.data.Data:
    """Return images of the size of CIFAR-10's; which ones does not matter for a speed."""
    return mgnet.data.synthetic(train=plan.batch * (plan.warm + plan.steps), validation=0, test=10)


def plain_loop(data: mgnet.data.Data, plan: Plan, name: str) -> float:
    """Return images per second of the tutorials' loop."""
    model = mgnet.models.create(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        OneByOne(data.train), batch_size=plan.batch, shuffle=True, num_workers=2, drop_last=True
    )
    model.train()
    start = 0.0
    for step, (x, y) in enumerate(loader):
        if step == plan.warm:
            start = time.perf_counter()
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == plan.warm + plan.steps - 1:
            break
    return plan.batch * plan.steps / (time.perf_counter() - start)


def our_loop(data: mgnet.data.Data, plan: Plan, name: str, **changes: Any) -> float:
    """Return images per second of ``fit`` in its last epoch; those before are as long as the warming up."""
    model = mgnet.models.create(name)
    few = replace(data, train=data.train.subset(range(plan.batch * plan.steps)))
    epochs = 1 + plan.warm // plan.steps
    options = {"epochs": epochs, "batch_size": plan.batch, "crop": 4, **changes}
    history = mgnet.fit(model, few, recipe="fast", progress=False, **options)
    return float(history["images_per_second"][-1])


def has_bfloat16() -> bool:
    """Say whether this processor has instructions for bfloat16, fast ones or not.

    As ONEDNN_MAX_CPU_ISA lets it.
    """
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def speed(plan: Plan) -> Iterator[Row]:
    data = pictures(plan)
    kind, least = ("with", 2.5) if has_bfloat16() else ("without", 1.6)
    for what, name, required in (("ResNet-20", "resnet20", least), ("MgNet-64", "mgnet-64", None)):
        turns = [(plain_loop(data, plan, name), our_loop(data, plan, name)) for _ in range(plan.turns)]
        plain, ours = (statistics.median(column) for column in zip(*turns, strict=True))
        where = f"on a processor {kind} bfloat16 instructions"
        yield Row(
            f"{what}, recipe fast over the plain loop, {where}", ours / plain, "{:.2f}×", least=required
        )
        yield Row("    images per second, recipe fast", ours, "{:.0f}")
        yield Row("    images per second, plain loop", plain, "{:.0f}")


def precisions(plan: Plan) -> Iterator[Row]:
    """Say how long a step takes in both precisions, in turns, whichever the recipe takes here."""
    for what, name in (("ResNet-20", "resnet20"), ("MgNet-64", "mgnet-64")):
        casts = (torch.autocast("cpu", torch.bfloat16, enabled=wanted) for wanted in (False, True))
        steps = [one_step(name, plan.batch, cast) for cast in casts]
        single, brain = (1000 * median for median in medians(steps, plan.turns, block=1))
        yield Row(f"{what}, one step in float32", single, "{:.0f} ms")
        yield Row("    in bfloat16, of that time", 100 * brain / single, "{:.0f} %")
    taken = brain_float(torch.device("cpu"))._enabled
    yield Row("The recipe fast takes bfloat16 here", float(taken), "{:.0f}")


# What the operations of a step are part of, by their names in torch's profiler; the first that fits.
PARTS = (
    ("convolutions, derivatives", ("convolution_backward",)),
    ("convolutions", ("convolution",)),
    ("norms and ReLU", ("batch_norm", "threshold_backward", "clamp_min", "relu")),
    ("sums, differences and copies", ("aten::add", "aten::sub", "aten::neg", "aten::copy", "aten::fill")),
    ("all else, Python among it", ("",)),
)


def one_step(name: str, images: int = 128, cast: torch.autocast | None = None) -> Callable[[], None]:
    """Return a step of the recipe 'fast', without its data, as the loop of training makes it.

    In the precision that it takes here, or in that of ``cast``.
    """
    cast = brain_float(torch.device("cpu")) if cast is None else cast
    model = mgnet.models.create(name).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    x = torch.randn(images, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.randint(10, (images,))

    def step() -> None:
        with cast:
            scores = model(x)
        loss = nn.functional.cross_entropy(scores.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def profiled(plan: Plan) -> Iterator[Row]:
    """Say where the time of a step goes, by the time that each operation takes without those it calls."""
    threads = torch.get_num_threads()
    for what, name in (("ResNet-20", "resnet20"), ("MgNet-64", "mgnet-64")):
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            step = one_step(name)
            for _ in range(2):
                step()
            with profile(activities=[ProfilerActivity.CPU]) as found:
                for _ in range(min(plan.steps, 10)):
                    step()
            torch.set_num_threads(threads)
            shares = dict.fromkeys((part for part, _ in PARTS), 0.0)
            for row in found.key_averages():
                part = next(part for part, names in PARTS if any(name in row.key for name in names))
                shares[part] += row.self_cpu_time_total
            total = sum(shares.values())
            milliseconds = total / 1e3 / min(plan.steps, 10)
            yield Row(f"{what}, one step, threads: {count}", milliseconds, "{:.0f} ms")
            for part, share in shares.items():
                yield Row(f"    {part}", 100 * share / total, "{:.0f} %")


def compiled(plan: Plan) -> Iterator[Row]:
    """Say after how many epochs of 45,000 images a run by torch.compile would be ahead."""
    data = pictures(plan)
    start = time.perf_counter()
    rates = [our_loop(data, plan, "resnet20", compile=flag) for flag in (False, True)]
    images = plan.batch * plan.steps * (1 + plan.warm // plan.steps)
    waited = time.perf_counter() - start - images * sum(1 / rate for rate in rates)
    yield Row("ResNet-20 by torch.compile over without", rates[1] / rates[0], "{:.2f}×")
    yield Row("    seconds of compiling", waited, "{:.0f} s")
    gained = 45_000 * (1 / rates[0] - 1 / rates[1])
    epochs = waited / gained if gained > 0 else None
    yield Row(
        "    epochs of 45,000 images after which it is ahead",
        epochs,
        "{:.0f}",
        note="" if epochs else "never",
    )


def data_side(plan: Plan) -> Iterator[Row]:
    data = pictures(plan)
    augmentation = mgnet.data.Augmentation(crop=4, flip="random")
    batches = mgnet.data.Batches(data.train, plan.batch, augmentation=augmentation, drop_last=True)
    loader = DataLoader(OneByOne(data.train), batch_size=plan.batch, shuffle=True, drop_last=True)
    turns = [(rate(loader), rate(batches)) for _ in range(max(plan.turns, 3))]
    plain, ours = (statistics.median(column) for column in zip(*turns, strict=True))
    what = "crop, flip and normalise, whole batches over one image at a time"
    yield Row(what, ours / plain, "{:.1f}×", least=5, target="20")
    yield Row("    images per second, whole batches", ours, "{:.0f}")
    yield Row("    images per second, one at a time (in one process)", plain, "{:.0f}")


def rate(batches: Any) -> float:
    start, images = time.perf_counter(), 0
    for x, _ in batches:
        images += len(x)
    return images / (time.perf_counter() - start)


SECTIONS: tuple[Section, ...] = (
    ("Synthetic set", synthetic, True),
    ("Speed in training", speed, True),
    ("Precision of a step", precisions, True),
    ("Where a step goes", profiled, True),
    ("Data side", data_side, True),
    ("MNIST", mnist, True),
    ("CIFAR-10", cifar10, True),
    ("Compiled networks", compiled, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {"timing": f"medians of {plan.turns} turns each; one run, seed 0, for an accuracy"}


if __name__ == "__main__":
    main(__doc__, "training on a CPU", SECTIONS, FULL, QUICK, facts, ("mgnet-companion", "torch", "numpy"))
