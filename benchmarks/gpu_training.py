"""What the benchmarks of training on a GPU share: the recipe, a task, a run, and the images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

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
# A step computes each multiply-add of a network three times (forwards, backwards by data and by weights), as
# two operations. Between these of them is what one GPU makes in a second of training a wide network in
# bfloat16; a narrow one waits for memory.
RATES = (1e14, 3e14)
IMAGES = 45_000


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

    @property
    def expected_minutes(self) -> tuple[float, float]:
        """The least and the most minutes that the steps of one run take, by arithmetic."""
        _, multiply_adds = mgnet.models.summary(self.model)
        operations = 6 * multiply_adds * IMAGES * self.epochs
        low, high = (operations / rate / 60 for rate in reversed(RATES))
        return low, high


FAST_TASK = Task("resnet18", 12, 94.01, "airbench on an A100 in 2.6 s", 94.0, 10.0)


def trained(
    task: Task,
    data: mgnet.data.Data,
    seed: int,
    device: str,
    few: int | None = None,
    on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
) -> tuple[mgnet.History, float]:
    """Train once; return the history and the seconds from start to end, compilation included.

    With ``few`` it is one epoch in batches of so many images, in float32 and without a compiler.
    """
    torch.manual_seed(seed)
    model = mgnet.models.create(task.model, num_classes=data.num_classes)
    recipe = FAST.changed(epochs=task.epochs, cutout=task.cutout)
    if few is not None:
        recipe = recipe.changed(epochs=1, batch_size=few, compile=False, bfloat16=device == "cpu")
    start = time.perf_counter()
    history = mgnet.fit(
        model, data, recipe=recipe, seed=seed, device=device, progress=False, on_epoch=on_epoch
    )
    return history, time.perf_counter() - start


def images(few: int | None) -> mgnet.data.Data:
    """Return CIFAR-10, or a few images for a rehearsal."""
    if few is not None:
        return mgnet.data.synthetic(train=few, validation=few, test=few)
    return mgnet.data.cifar10()


def copy_note(data: mgnet.data.Data) -> str:
    """Say which images these are, unless they are the official ones."""
    return "" if data.verified else f" ({os.environ.get('MGNET_DATA_NOTE', 'not the official files')})"
