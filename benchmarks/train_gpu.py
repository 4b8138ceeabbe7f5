"""One table: accuracy and time of training on a GPU, three seeds each, beside the published figures.

::

    MGNET_DATA=DIR python benchmarks/train_gpu.py           # the whole table, about an hour on one GPU
    python benchmarks/train_gpu.py --quick                  # a few steps of everything on any device
    python benchmarks/train_gpu.py --only mgnet             # the sections with that in their title

Without a GPU the full table says 'unmeasured'. CIFAR-10 is that under MGNET_DATA, or the official archive,
downloaded; the table says which.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from table import Row, Section, main

import mgnet

# What fits a GPU: large batches, bfloat16, channels last, compiled.
FAST = mgnet.Recipe(
    batch_size=512,
    lr=0.8,
    weight_decay=5e-4,
    schedule="onecycle",
    label_smoothing=0.1,
    crop=4,
    flip="alternating",
    bfloat16=True,
    channels_last=True,
    compile=True,
    drop_last=True,
)


@dataclass(frozen=True)
class Task:
    """A network, how long it is trained, and what is known of it."""

    model: str
    epochs: int
    published: float
    source: str
    least: float | None = None
    most_seconds: float | None = None
    cutout: int = 0


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    seeds: int = 3
    images: int | None = None


FULL, QUICK = Plan(), Plan(seeds=2, images=8)

TASKS = {
    "ResNet-20": Task("resnet20", 60, 91.25, "He et al. 2015"),
    "ResNet-56": Task("resnet56", 60, 93.03, "He et al. 2015"),
    "ResNet-18, fast": Task("resnet18", 12, 94.01, "airbench on an A100 in 2.6 s", 94.0, 10.0),
    "ResNet-18": Task("resnet18", 60, 95.28, "He and Xu 2019", cutout=8),
    "MgNet-128": Task("mgnet-128", 120, 95.3, "target", 95.3, 600.0, cutout=8),
    "MgNet-256": Task("mgnet-256", 120, 96.00, "He and Xu 2019", 96.0, 600.0, cutout=8),
}


def trained(
    task: Task, data: mgnet.data.Data, plan: Plan, seed: int, device: str
) -> tuple[mgnet.History, float]:
    """Train once; return the history and the seconds from start to end, compilation included."""
    torch.manual_seed(seed)
    model = mgnet.models.create(task.model, num_classes=data.num_classes)
    recipe = FAST.changed(epochs=task.epochs, cutout=task.cutout)
    if plan.images is not None:
        recipe = recipe.changed(epochs=1, batch_size=plan.images, compile=False)
    start = time.perf_counter()
    history = mgnet.fit(model, data, recipe=recipe, seed=seed, device=device, progress=False)
    return history, time.perf_counter() - start


def measured(plan: Plan, name: str) -> Iterator[Row]:
    task = TASKS[name]
    what = f"{name}, {task.epochs} epochs, test accuracy, mean of {plan.seeds} seeds"
    if plan.images is None and not torch.cuda.is_available():
        yield Row(what, None, least=task.least, note="no CUDA device")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    quick = plan.images is not None
    data = mgnet.data.synthetic(train=plan.images, validation=16, test=16) if quick else mgnet.data.cifar10()
    runs = [trained(task, data, plan, seed, device) for seed in range(plan.seeds)]
    accuracies = [100 * (history.test_accuracy or 0) for history, _ in runs]
    copy = "" if data.verified else f" ({os.environ.get('MGNET_DATA_NOTE', 'not the official files')})"
    yield Row(what + copy, statistics.fmean(accuracies), "{:.2f} %", least=task.least)
    yield Row("    standard deviation over the seeds", statistics.stdev(accuracies), "{:.2f} %")
    yield Row(f"    published: {task.source}", task.published, "{:.2f} %")
    seconds = statistics.median(history.seconds for history, _ in runs)
    yield Row("    seconds of training, median", seconds, "{:.1f} s", most=task.most_seconds)
    yield Row("    seconds from start to end, the first run, with compilation", runs[0][1], "{:.1f} s")
    speed = statistics.median(history.images_per_second for history, _ in runs)
    yield Row("    images per second in training", speed, "{:.0f}")


SECTIONS: tuple[Section, ...] = tuple((name, partial(measured, name=name), True) for name in TASKS)


def facts(plan: Plan) -> dict[str, Any]:
    """Say what this table depends on besides the machine."""
    return {"recipe": str(FAST)}


if __name__ == "__main__":
    main(__doc__, "training on a GPU", SECTIONS, FULL, QUICK, facts, ("mgnet-companion", "torch", "numpy"))
