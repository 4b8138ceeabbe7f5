"""Six families at comparable parameters: what the structure of MgNet buys, and what not.

::

    MGNET_DATA=DIR python benchmarks/zoo.py run --results benchmarks/results/zoo.jsonl   # hours; it goes on
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from table import processor

import mgnet
from mgnet.core.files import locked, replacing

RESULTS = Path(__file__).parent / "results" / "zoo.jsonl"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Entry:
    """A network of the table: a model of the registry by its name and options."""

    family: str
    size: str
    model: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """What ``--only`` and the results call it."""
        return f"{self.family}-{self.size}"


FIXED = {"kernels": "poisson", "learned": "BRP"}
# From the cheapest to the dearest.
ZOO = (
    Entry("alexnet", "130k", "alexnet-cifar", {"widths": [14, 43, 87, 58, 58]}),
    Entry("lenet", "130k", "net", {"widths": [9, 23, 174, 121]}),
    Entry("vgg", "130k", "vgg11", {"widths": [8, 16, 32, 60, 60]}),
    Entry("resnet", "130k", "resnet", {"widths": [11, 22, 44]}),
    Entry("mgnet", "130k", "mgnet", {"channels": 32}),
    Entry("mgnet-poisson", "130k", "mgnet", {"channels": 38, **FIXED}),
    Entry("googlenet", "130k", "googlenet", {"width": 0.144}),
    Entry("alexnet", "500k", "alexnet-cifar", {"widths": [29, 87, 174, 116, 116]}),
    Entry("lenet", "500k", "net", {"widths": [17, 46, 346, 242]}),
    Entry("vgg", "500k", "vgg11", {"widths": [16, 32, 64, 120, 120]}),
    Entry("resnet", "500k", "resnet", {"widths": [22, 44, 88]}),
    Entry("mgnet", "500k", "mgnet", {"channels": 64}),
    Entry("mgnet-poisson", "500k", "mgnet", {"channels": 76, **FIXED}),
    Entry("googlenet", "500k", "googlenet", {"width": 0.29}),
)


def lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a file of results; the last one may be broken, and is left out then."""
    texts = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found += [json.loads(text)] if text.strip() else []
        except ValueError:
            if any(later.strip() for later in texts[number:]):
                raise SystemExit(f"{path}: line {number} is no JSON") from None
    return found


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line, whole or not at all, whoever else adds one."""
    with locked(f"{path}.lock"):
        known = lines(path)
        with replacing(path) as file:
            for each in (*known, line):
                file.write((json.dumps(each, ensure_ascii=False) + "\n").encode())


def run_of(line: dict[str, Any]) -> tuple[str, int] | None:
    """Say which run a line is of."""
    return (line["name"], line["seed"]) if line["kind"] == "run" else None


def waiting(path: Path, zoo: Sequence[Entry], seeds: Sequence[int]) -> list[tuple[Entry, int]]:
    """Give the runs without a line; first one seed of all, so that the table is whole early."""
    done = {run_of(line) for line in lines(path)}
    return [(entry, seed) for seed in seeds for entry in zoo if (entry.name, seed) not in done]


@contextmanager
def claimed(path: Path, zoo: Sequence[Entry], seeds: Sequence[int]) -> Iterator[tuple[Entry, int] | None]:
    """Hold the first waiting run that no other process has; the claim of a process ends with it."""
    for entry, seed in waiting(path, zoo, seeds):
        try:
            with locked(path.with_name(f".{path.stem}-{entry.name}-{seed}.lock"), 0):
                if (entry, seed) in waiting(path, zoo, seeds):  # it may have ended meanwhile
                    yield entry, seed
                    return
        except TimeoutError:
            continue
    yield None


def trained(entry: Entry, seed: int, data: mgnet.data.Data, **options: Any) -> dict[str, Any]:
    """Train a network by the recipe 'fast' and give its line."""
    torch.manual_seed(seed)
    shape = {"num_classes": data.num_classes, "in_channels": data.shape[0], "image_size": data.shape[1]}
    model = mgnet.models.create(entry.model, **shape, **entry.options)
    parameters, products = mgnet.models.summary(entry.model, **shape, **entry.options)
    start, history, diverged = time.process_time(), None, None
    try:
        history = mgnet.fit(model, data, recipe="fast", seed=seed, progress=False, **options)
    except mgnet.DivergedError as error:
        diverged = str(error)
    best = history.best if history else None
    return {
        **{"kind": "run", "name": entry.name, "family": entry.family, "size": entry.size},
        **{"model": entry.model, "options": entry.options, "seed": seed, "recipe": "fast"},
        **{"parameters": parameters, "multiply_adds": products, "epochs": len(history) if history else None},
        "val_accuracy": best["val_accuracy"] if best else None,
        "test_accuracy": history.test_accuracy if history else None,
        "diverged": diverged,
        "seconds": round(history.seconds, 1) if history else None,
        "cpu_seconds": round(time.process_time() - start, 1),
        **{"dataset": data.name, "official": data.verified, **machine()},
    }


def machine() -> dict[str, Any]:
    """Say where and when."""
    return {
        **{"threads": torch.get_num_threads(), "torch": torch.__version__, "processor": processor()},
        **{"python": platform.python_version(), "date": time.strftime("%Y-%m-%d")},
    }


def run(
    path: Path, zoo: Sequence[Entry], seeds: Sequence[int], data: mgnet.data.Data, **options: Any
) -> None:
    """Train what is waiting and nobody else has."""
    while True:
        with claimed(path, zoo, seeds) as found:
            if found is None:
                return
            entry, seed = found
            print(f"{time.strftime('%H:%M:%S')} {entry.name}, seed {seed} ...", flush=True)
            line = trained(entry, seed, data, **options)
            append(path, line)
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--results", type=Path, default=RESULTS)
    command.add_argument("--only", default="")
    command.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    zoo = [entry for entry in ZOO if arguments.only in entry.name]
    data = mgnet.data.load("cifar10", download=False)
    run(arguments.results, zoo, arguments.seeds, data)


if __name__ == "__main__":
    main()
