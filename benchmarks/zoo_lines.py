"""The file of results of ``zoo.py``: how several processes write it, and the tables that are made of it.

A line is a JSON object, of one run or one measured speed.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet.core.files import locked, replacing

RESULTS = Path(__file__).parent / "results" / "zoo.jsonl"
FAMILIES = ("lenet", "alexnet", "vgg", "googlenet", "resnet", "mgnet", "mgnet-poisson")
SIZES = {"130k": 130_000, "500k": 500_000}  # parameters, to a tenth
SEEDS = (0, 1, 2)
Job = tuple[str, int]  # the name of a network, and a seed
Line = dict[str, Any]

# Writing


def lines(path: Path) -> list[Line]:
    """Read the lines; a broken last one, of a process that was killed, is left out."""
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(json.loads(text))
        except ValueError:
            if number < len(texts):
                raise SystemExit(f"{path}: line {number} is no JSON; accepted: one object a line") from None
    return found


def append(path: Path, line: Line) -> None:
    """Add a line, whole or not at all, whoever else adds one."""
    with locked(f"{path}.lock"):
        known = lines(path)
        with replacing(path) as file:
            for each in (*known, line):
                file.write((json.dumps(each, ensure_ascii=False) + "\n").encode())


def waiting(path: Path, jobs: Iterable[Job]) -> list[Job]:
    """Give the jobs of which there is no line."""
    done = {(line["name"], line["seed"]) for line in lines(path) if line["kind"] == "run"}
    return [job for job in jobs if job not in done]


@contextmanager
def claimed(path: Path, jobs: Sequence[Job]) -> Iterator[Job | None]:
    """Hold the first waiting job that no other process holds; what a process holds ends with it."""
    for name, seed in waiting(path, jobs):
        try:
            with locked(path.with_name(f".{path.stem}-{name}-{seed}.lock"), 0):
                if waiting(path, [(name, seed)]):  # another may have ended it meanwhile
                    yield name, seed
                    return
        except TimeoutError:
            continue
    yield None


# Reading

# Of standard errors of a difference: with three seeds each, chance alone exceeds it about once in 25 times.
CLEAR = 3.0


@dataclass(frozen=True)
class Row:
    """What is known of one network of the table."""

    name: str
    family: str
    size: str
    parameters: int
    multiply_adds: int
    accuracies: tuple[float, ...]  # of the test set, one for each seed, in percent
    diverged: int  # seeds that gave no accuracy
    cpu_seconds: float | None  # of a run, the mean; None where all were interrupted
    images_per_second: float | None

    @property
    def mean(self) -> float:
        """The mean accuracy, in percent."""
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of one seed's accuracy; None where there is only one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def accuracy(self) -> str:
        """Mean, standard deviation and number of seeds, as they are printed."""
        if not self.accuracies:
            return "diverged"
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        lost = f", {self.diverged} diverged" if self.diverged else ""
        return f"{self.mean:.2f}{spread} % (n = {len(self.accuracies)}{lost})"


def rows(found: Sequence[Line]) -> list[Row]:
    """Give the networks of which there is a run, those with few parameters first, each size by accuracy."""
    speeds = {line["name"]: line["images_per_second"] for line in found if line["kind"] == "speed"}
    made = []
    for name in dict.fromkeys(line["name"] for line in found if line["kind"] == "run"):
        runs = [line for line in found if line["kind"] == "run" and line["name"] == name]
        accuracies = [100 * a for run in runs if (a := run["test_accuracy"]) is not None]
        costs = [c for run in runs if (c := run["cpu_seconds"]) is not None and not run["diverged"]]
        made.append(
            Row(
                *(name, runs[0]["family"], runs[0]["size"]),
                *(runs[0]["parameters"], runs[0]["multiply_adds"]),
                *(tuple(accuracies), len(runs) - len(accuracies)),
                *(statistics.fmean(costs) if costs else None, speeds.get(name)),
            )
        )
    return sorted(
        made, key=lambda row: (int(row.size.rstrip("k")), -row.mean if row.accuracies else math.inf)
    )


COLUMNS: dict[str, Callable[[Row], str]] = {
    "network": lambda row: row.family,
    "parameters": lambda row: f"{row.parameters:,}",
    "multiply-adds": lambda row: f"{row.multiply_adds / 1e6:,.1f} M",
    "test accuracy": lambda row: row.accuracy,
    "CPU minutes": lambda row: "unmeasured" if row.cpu_seconds is None else f"{row.cpu_seconds / 60:.1f}",
    "images per second": lambda row: (
        "unmeasured" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
    ),
}


def table(found: Sequence[Line]) -> list[list[str]]:
    """Give the cells of the table, one list for each network."""
    return [[cell(row) for cell in COLUMNS.values()] for row in rows(found)]


AGAINST = ("network", "parameters, about", "accuracy, MgNet less this", "clear?", "multiply-adds", "CPU time")


def against(found: Sequence[Line], one: str = "mgnet") -> list[list[str]]:
    """Compare a family with each other one of the same size: the means, and what they cost."""
    made = []
    known = [row for row in rows(found) if row.accuracies]
    for mine in (row for row in known if row.family == one):
        for other in (row for row in known if row.size == mine.size and row.family != one):
            error = standard_error(mine, other)
            difference = mine.mean - other.mean
            spread = "" if error is None else f" ± {error:.2f}"
            made.append(
                [
                    *(other.family, mine.size, f"{difference:+.2f}{spread} points"),
                    verdict(difference, error),
                    f"{mine.multiply_adds / other.multiply_adds:.2g}×",
                    ratio(mine.cpu_seconds, other.cpu_seconds),
                ]
            )
    return made


def standard_error(a: Row, b: Row) -> float | None:
    """Give that of the difference of two means; None where one of them is of one seed."""
    if a.deviation is None or b.deviation is None:
        return None
    return math.hypot(a.deviation / len(a.accuracies) ** 0.5, b.deviation / len(b.accuracies) ** 0.5)


def ratio(a: float | None, b: float | None) -> str:
    """Give a quotient as it is printed."""
    return "unmeasured" if a is None or b is None else f"{a / b:.2g}×"


def verdict(difference: float, error: float | None) -> str:
    """Say whether a difference is more than the seeds make."""
    if error is None:
        return "one seed"
    if abs(difference) <= CLEAR * error:
        return "no"
    return "yes, better" if difference > 0 else "yes, worse"


def front(found: Sequence[Line], cost: str) -> list[Row]:
    """Give the networks that no other equals in accuracy at the same cost or less, the cheapest first."""
    best: list[Row] = []
    for row in sorted(rows(found), key=lambda row: (getattr(row, cost), -max(row.accuracies, default=0))):
        if row.accuracies and (not best or row.mean > best[-1].mean):
            best.append(row)
    return best


TARGETS = ("epochs", "test accuracy", "validation accuracy", "CPU minutes", "on")


def targets(found: Sequence[Line]) -> list[list[str]]:
    """Give the runs of the lecture's network by the recipe 'paper', which has 200 epochs, as texts."""
    runs = [line for line in found if line["kind"] == "paper"]
    return [
        [
            f"{run['epochs']} of 200",
            "diverged" if run["test_accuracy"] is None else f"{100 * run['test_accuracy']:.2f} %",
            "diverged" if run["val_accuracy"] is None else f"{100 * run['val_accuracy']:.2f} %",
            "interrupted" if run["cpu_seconds"] is None else f"{run['cpu_seconds'] / 60:.0f}",
            f"{run['processor']}, {run['date']}",
        ]
        for run in runs
    ]


def missing(found: Sequence[Line]) -> list[str]:
    """Say what has not been measured, a text for each network; the last is the lecture's target."""
    said = []
    for name in (f"{family}-{size}" for size in SIZES for family in FAMILIES):
        mine = [line for line in found if line["name"] == name]
        seeds = sorted({*SEEDS} - {line["seed"] for line in mine if line["kind"] == "run"})
        parts = [f"seeds {', '.join(map(str, seeds))}"] if seeds else []
        parts += [] if any(line["kind"] == "speed" for line in mine) else ["images per second"]
        said += [f"{name}: {' and '.join(parts)}"] if parts else []
    return said + (
        [] if any(line["kind"] == "paper" for line in found) else ["ResNet-32 by the recipe 'paper'"]
    )
