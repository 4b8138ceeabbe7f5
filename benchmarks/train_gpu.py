"""One table: accuracy and time of long training on a GPU, three seeds each, beside the published figures.

::

    python benchmarks/train_gpu.py                                    # which networks there are, their time
    MGNET_DATA=DIR python benchmarks/train_gpu.py --only "ResNet-56"  # one of them
    MGNET_DATA=DIR python benchmarks/train_gpu.py --only "MgNet-256"  # the longest
    python benchmarks/train_gpu.py --quick                            # a few steps of all, on any device

The time of a run is known by arithmetic before it is measured; what fits a few minutes, images per second
and a run to 94 %, is in ``gpu_day.py``. Without a GPU a table says 'unmeasured'. CIFAR-10 is that under
MGNET_DATA, or the official archive, downloaded; the table says which.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu_training import FAST, FAST_TASK, RATES, Task, copy_note, images, trained
from table import Row, Section, main


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    seeds: int = 3
    images: int | None = None


FULL, QUICK = Plan(), Plan(seeds=2, images=4)

TASKS = {
    "ResNet-20": Task("resnet20", 60, 91.25, "He et al. 2015"),
    "ResNet-56": Task("resnet56", 60, 93.03, "He et al. 2015"),
    "ResNet-18, fast": FAST_TASK,
    "ResNet-18, long": Task("resnet18", 60, 95.28, "He and Xu 2019", cutout=8),
    "MgNet-128": Task("mgnet-128", 120, 95.3, "target", 95.3, 600.0, cutout=8),
    "MgNet-256": Task("mgnet-256", 120, 96.00, "He and Xu 2019", 96.0, 600.0, cutout=8),
}


def measured(plan: Plan, name: str) -> Iterator[Row]:
    task = TASKS[name]
    what = f"{name}, {task.epochs} epochs, test accuracy, mean of {plan.seeds} seeds"
    if plan.images is None and not torch.cuda.is_available():
        yield Row(what, None, least=task.least, note="no CUDA device")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = images(plan.images)
    runs = [trained(task, data, seed, device, plan.images) for seed in range(plan.seeds)]
    accuracies = [100 * (history.test_accuracy or 0) for history, _ in runs]
    yield Row(what + copy_note(data), statistics.fmean(accuracies), "{:.2f} %", least=task.least)
    yield Row("    standard deviation over the seeds", statistics.stdev(accuracies), "{:.2f} %")
    yield Row(f"    published: {task.source}", task.published, "{:.2f} %")
    for seed, (history, whole) in enumerate(runs):
        what = f"    seed {seed}, seconds of training, compilation included"
        yield Row(what, history.seconds, "{:.1f} s", most=task.most_seconds)
        yield Row(f"    seed {seed}, seconds from start to end, evaluation included", whole, "{:.1f} s")
    low, high = task.expected_minutes
    yield Row("    minutes of a run by arithmetic, at least", low, "{:.1f} min")
    yield Row("    minutes of a run by arithmetic, at most", high, "{:.1f} min")
    speed = statistics.median(history.images_per_second for history, _ in runs)
    yield Row("    images per second in training, median", speed, "{:.0f}")


SECTIONS: tuple[Section, ...] = tuple((name, partial(measured, name=name), True) for name in TASKS)


def facts(plan: Plan) -> dict[str, Any]:
    """Say what this table depends on besides the machine."""
    return {"recipe": str(FAST)}


def choices() -> str:
    """List the networks, each with its command and the minutes of its runs by arithmetic."""
    slow, fast = (f"{rate / 1e12:.0f}" for rate in RATES)
    rates = f"{fast} and at {slow} TFLOP/s"
    lines = [f"Choose one. Minutes of {FULL.seeds} runs at {rates}, compilation apart:", ""]
    for name, task in TASKS.items():
        low, high = (FULL.seeds * minutes for minutes in task.expected_minutes)
        command = f'    python benchmarks/train_gpu.py --only "{name}"'
        lines.append(f"{command:<64}{low:5.1f} {high:6.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(choices())
    else:
        packages = ("mgnet-companion", "torch", "numpy")
        main(__doc__, "training on a GPU", SECTIONS, FULL, QUICK, facts, packages)
