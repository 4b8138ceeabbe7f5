"""Six families at comparable parameters: accuracy, multiply-adds and time of each in CIFAR form.

::

    MGNET_DATA=DIR python benchmarks/zoo.py run             # hours on two cores; again, and it goes on
    python benchmarks/zoo.py speed                          # on a quiet machine, about ten minutes
    python benchmarks/zoo.py table                          # of the runs that are there
    MGNET_DATA=DIR python benchmarks/zoo.py resnet32 --epochs 100 --out DIR     # three hours

LeNet, AlexNet, VGG, GoogLeNet, ResNet, MgNet, and MgNet with the A that the hat functions dictate, each with
about 130 and about 500 thousand parameters, are trained on CIFAR-10 by the recipe 'fast' with three seeds. A
run is a line of benchmarks/results/zoo.jsonl. Several processes may share the work, each with one thread: a
process takes what no other has, and what one that was killed has left.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from table import processor
from zoo_lines import COLUMNS, RESULTS, SEEDS, append, claimed, lines, table, waiting

import mgnet


@dataclass(frozen=True)
class Network:
    """A network of the table: what it is called there, and by what name and options it is made."""

    family: str
    size: str
    model: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """What results and ``--only`` call it."""
        return f"{self.family}-{self.size}"


POISSON = {"kernels": "poisson", "learned": "BRP"}
# The cheapest first. Each family keeps its proportions, and is as wide as the parameters allow:
ZOO = (
    # 'net' is LeNet with three colours, ReLU and maxima; all four of its widths grow alike.
    Network("lenet", "130k", "net", {"widths": [9, 23, 174, 121]}),
    Network("lenet", "500k", "net", {"widths": [17, 46, 346, 242]}),
    # All five convolutions, 0.226 and 0.453 times as wide as they were published.
    Network("alexnet", "130k", "alexnet-cifar", {"widths": [14, 43, 87, 58, 58]}),
    Network("alexnet", "500k", "alexnet-cifar", {"widths": [29, 87, 174, 116, 116]}),
    # The shallowest VGG: the deeper ones would begin with six channels. An eighth and a quarter of the
    # widths, but for the last two stages.
    Network("vgg", "130k", "vgg11", {"widths": [8, 16, 32, 60, 60]}),
    Network("vgg", "500k", "vgg11", {"widths": [16, 32, 64, 120, 120]}),
    # ResNet-20: the depth that was published for these images, with 11 and 22 channels in the place of 16.
    Network("resnet", "130k", "resnet", {"widths": [11, 22, 44]}),
    Network("mgnet", "130k", "mgnet", {"channels": 32}),
    # Wider than MgNet by what A has no parameters for.
    Network("mgnet-poisson", "130k", "mgnet", {"channels": 38, **POISSON}),
    Network("googlenet", "130k", "googlenet", {"width": 0.144}),
    Network("resnet", "500k", "resnet", {"widths": [22, 44, 88]}),
    Network("mgnet", "500k", "mgnet", {"channels": 64}),
    Network("mgnet-poisson", "500k", "mgnet", {"channels": 76, **POISSON}),
    Network("googlenet", "500k", "googlenet", {"width": 0.29}),
)
TARGET = Network("resnet32", "460k", "resnet32", {})


@dataclass(frozen=True)
class Plan:
    """How much is trained; a quick plan shows that all runs, and its figures mean nothing."""

    quick: bool = False
    steps: int = 20  # in each of two epochs, of which the second is timed
    turns: int = 3

    def data(self) -> mgnet.data.Data:
        """Give the images to train on."""
        if self.quick:
            return mgnet.data.synthetic(train=128, validation=32, test=32)
        return mgnet.data.load("cifar10", download=False)

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed in a recipe."""
        return {"epochs": 1} if self.quick else {}


FULL, QUICK = Plan(), Plan(quick=True, steps=1, turns=1)


def machine() -> dict[str, Any]:
    """Say where and when."""
    return {
        **{"threads": torch.get_num_threads(), "torch": torch.__version__, "processor": processor()},
        **{"python": platform.python_version(), "date": time.strftime("%Y-%m-%d")},
    }


def trained(
    network: Network, seed: int, data: mgnet.data.Data, recipe: str = "fast", **options: Any
) -> dict[str, Any]:
    """Train a network; give what its line says."""
    torch.manual_seed(seed)
    shape = {"num_classes": data.num_classes, "in_channels": data.shape[0], "image_size": data.shape[1]}
    parameters, products = mgnet.models.summary(network.model, **shape, **network.options)
    model = mgnet.models.create(network.model, **shape, **network.options)
    start, history, diverged = time.process_time(), mgnet.History(), None
    try:
        history = mgnet.fit(model, data, recipe=recipe, seed=seed, progress=False, **options)
    except mgnet.DivergedError as error:
        diverged = str(error)
    return {
        **{"kind": "run", "name": network.name, "family": network.family, "size": network.size},
        **{"model": network.model, "options": network.options, "seed": seed, "recipe": recipe},
        **{"parameters": parameters, "multiply_adds": products, "epochs": len(history)},
        "val_accuracy": (history.best or {}).get("val_accuracy"),
        **{"test_accuracy": history.test_accuracy, "diverged": diverged},
        "seconds": round(history.seconds, 1),  # of the steps alone, by the clock on the wall
        "cpu_seconds": round(time.process_time() - start, 1),
        **{"dataset": data.name, "official": data.verified, "note": os.environ.get("MGNET_DATA_NOTE")},
        **machine(),
    }


def resumed(folder: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Train with checkpoints in a folder, and go on from them; then nobody knows the processor's time."""
    before = (folder / "last.ckpt").exists()
    line = trained(*arguments, out=folder, resume=True, **options)
    return {**line, "cpu_seconds": None} if before else line


def run(path: Path, zoo: Sequence[Network], seeds: Sequence[int], plan: Plan) -> None:
    """Train what has no line and no other process has: one seed of all first, for a table that is whole."""
    torch.set_num_threads(1)
    data, by_name = plan.data(), {network.name: network for network in zoo}
    jobs = [(name, seed) for seed in seeds for name in by_name]
    while True:
        with claimed(path, jobs) as job:
            if job is None:
                break
            name, seed = job
            print(f"{time.strftime('%H:%M:%S')}  {name}, seed {seed} ...", flush=True)
            folder = path.with_name(f".{path.stem}-{name}-{seed}")
            line = resumed(folder, by_name[name], seed, data, **plan.changes)
            append(path, line)
            shutil.rmtree(folder)
            print(f"{time.strftime('%H:%M:%S')}  test accuracy {line['test_accuracy']}", flush=True)
    left = waiting(path, jobs)
    print(f"{len(jobs) - len(left)} of {len(jobs)} runs are done" + "; others train the rest" * bool(left))


def speed(path: Path, zoo: Sequence[Network], plan: Plan) -> None:
    """Measure training by the recipe 'fast' in images per second, the networks in turns."""
    data = mgnet.data.synthetic(train=128 * plan.steps, validation=0, test=10)
    few = replace(data, train=data.train.subset(range(128 * plan.steps)))
    found: dict[str, list[float]] = {network.name: [] for network in zoo}
    for _ in range(plan.turns):
        for network in zoo:
            model = mgnet.models.create(network.model, **network.options)
            history = mgnet.fit(model, few, epochs=2, progress=False)
            found[network.name].append(history["images_per_second"][-1])
    for name, figures in found.items():
        median = round(statistics.median(figures), 1)
        print(f"{name:<20} {median:>8.0f} images per second", flush=True)
        line = {"kind": "speed", "name": name, "images_per_second": median, "turns": plan.turns}
        append(path, {**line, "load": round(os.getloadavg()[0], 1), **machine()})


def show(path: Path) -> None:
    """Print the table."""
    found = lines(path)
    cells = [[*COLUMNS], *table(found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    runs = [line for line in found if line["kind"] == "run"]
    notes = sorted({line["note"] or "not the official files" for line in runs if not line["official"]})
    missing = len(ZOO) * len(SEEDS) - len(runs)
    print(f"\n{len(runs)} runs, {missing} are missing. CIFAR-10, {', '.join(notes) or 'the official files'}.")


def target(path: Path, epochs: int, out: Path, plan: Plan) -> None:
    """Train ResNet-32 by the recipe 'paper', shortened: its steps in the rate come after the same shares.

    Memory order and precision are those of the recipe 'fast', at twice the speed.
    """
    changes = {"bfloat16": True, "channels_last": True}
    line = resumed(out, TARGET, 0, plan.data(), "paper", epochs=epochs, **changes)
    append(path, {**line, "kind": "paper", "changes": changes})
    print(f"{epochs} epochs of 200: test accuracy {line['test_accuracy']}")


def parsed() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "speed", "table", "resnet32"):
        command = commands.add_parser(name)
        command.add_argument("--results", metavar="FILE", type=Path, default=RESULTS)
        if name != "table":
            command.add_argument("--quick", action="store_true", help="a few steps, to see that all runs")
        if name in ("run", "speed"):
            command.add_argument("--only", metavar="TEXT", default="", help="networks whose names begin so")
        if name == "run":
            command.add_argument("--seeds", metavar="K", type=int, nargs="+", default=SEEDS)
        if name == "resnet32":
            command.add_argument("--epochs", metavar="N", type=int, required=True)
            command.add_argument("--out", metavar="DIR", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Do what is asked for."""
    asked = parsed()
    plan = QUICK if getattr(asked, "quick", False) else FULL
    zoo = [network for network in ZOO if network.name.startswith(getattr(asked, "only", ""))]
    if not zoo:
        raise SystemExit(
            f"only: got {asked.only!r}; accepted: the beginning of {', '.join(n.name for n in ZOO)}"
        )
    if asked.command == "run":
        run(asked.results, zoo, asked.seeds, plan)
    elif asked.command == "speed":
        speed(asked.results, zoo, plan)
    elif asked.command == "table":
        show(asked.results)
    else:
        target(asked.results, asked.epochs, asked.out, plan)


if __name__ == "__main__":
    main()
