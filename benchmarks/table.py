"""What the benchmarks share: a table that is judged line by line, and how time and memory are measured."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``figure`` is None, and ``note`` says why, where nothing was measured."""

    what: str
    figure: float | None
    form: str = "{:.1e}"
    least: float | None = None
    most: float | None = None
    target: str = ""
    note: str = ""

    @property
    def measured(self) -> str:
        """The figure as it is printed."""
        text = "unmeasured" if self.figure is None else self.form.format(self.figure)
        return f"{text}: {self.note}" if self.note else text

    @property
    def required(self) -> str:
        """The bounds as they are printed."""
        bounds = [("≥", self.least), ("≤", self.most)]
        texts = [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
        return ", ".join(texts + [f"target {self.target}"] * bool(self.target))

    @property
    def holds(self) -> bool | None:
        """Whether the figure is within its bounds; None where nothing is required or measured."""
        if self.figure is None or not self.required:
            return None
        least = -math.inf if self.least is None else self.least
        most = math.inf if self.most is None else self.most
        return bool(least <= self.figure <= most)


# Title, what measures it for a plan, and whether its figures are only judged at full size.
Section = tuple[str, Callable[[Any], Iterator[Row]], bool]


def size(n: int) -> str:
    """Write a number of cells as a power where it is one."""
    for base in (2, 10):
        power = round(math.log(n, base))
        if n == base**power and n > 1024:
            return f"{base}^{power}"
    return str(n)


def worst(value: float, *others: float) -> float:
    """Return the largest, and NaN if there is one: a maximum that loses a NaN would praise it."""
    values = (value, *others)
    return math.nan if any(map(math.isnan, values)) else max(values)


def fitted_orders(cells: Sequence[int], errors: np.ndarray) -> np.ndarray:
    """Fit error = C cells^-order along the middle axis, for each case and norm."""
    logarithms = np.log(errors).transpose(1, 0, 2)
    slopes = np.polyfit(np.log(cells), logarithms.reshape(len(cells), -1), 1)[0]
    return -slopes.reshape(logarithms.shape[1:])


def nothing() -> None:
    """Prepare nothing."""


def medians(calls: Sequence[Call], rounds: int, prepare: Call = nothing, block: int = 5) -> list[float]:
    """Give the median seconds of each call; ``prepare`` runs before each, off the clock.

    They take turns of ``block`` calls in a row, after two more to warm up; with ``block=1`` there is no
    warming up within a turn.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + max(2, rounds // block)):
        for call, times in zip(calls, seconds, strict=True):
            turn = [timed(call, prepare) for _ in range(block + 2 * (block > 1))]
            times.append(statistics.median(turn[-block:]))
    return [statistics.median(times[1:]) for times in seconds]


def timed(call: Call, prepare: Call) -> float:
    """Give the seconds of one call."""
    prepare()
    start = time.perf_counter()
    result = call()
    stop = time.perf_counter()
    del result
    return stop - start


def ratio(peer: Call, ours: Call, rounds: int, prepare: Call = nothing, block: int = 5) -> float:
    """Give the peer's median time over ours."""
    seconds = medians((peer, ours), rounds, prepare, block)
    return seconds[0] / seconds[1]


def finished(call: Call) -> Any:
    """Call, and wait for the device."""
    result = call()
    torch.cuda.synchronize()
    return result


def pyamg_solve(
    pyamg: Any, A: Any, b: np.ndarray, accel: str | None = None
) -> tuple[float, float, int, np.ndarray]:
    """Time PyAMG's Ruge-Stüben to a residual of 1e-8, or to twice the smallest that rounding lets it reach.

    Give the seconds, set-up included, the relative residual, the iterations, and the last iterate.
    """
    times: list[float] = []
    residuals: list[float] = []
    start = time.perf_counter()
    solver = pyamg.ruge_stuben_solver(A)
    clock = {"callback": lambda _: times.append(time.perf_counter())}
    u = solver.solve(b, tol=1e-8, residuals=residuals, accel=accel, **clock)
    relative = np.array(residuals[1:]) / np.linalg.norm(b)
    least = float(relative.min())
    cycles = int(np.argmax(relative <= (1e-8 if least <= 1e-8 else 2 * least)))
    return times[cycles] - start, float(relative[cycles]), cycles + 1, u


# ru_maxrss would not do: across exec a process inherits that of the one which started it.
PEAK = """
import sys
import numpy as np
import mgnet

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
"""


def in_child(script: str, *arguments: object) -> float | None:
    """Give the number that a script prints in a process of its own; ``peak()`` is its memory so far."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", PEAK + script, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_row(what: str, script: str, *arguments: object, most: float, target: str = "") -> Row:
    """Judge the memory that a script prints."""
    found = in_child(script, *arguments)
    note = "no /proc here" if found is None else ""
    return Row(what, found, "{:.2f}×", most=most, target=target, note=note)


def header(packages: Sequence[str]) -> dict[str, str]:
    """Say what ran where."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    limits = {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_NUM_THREADS")}
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{processor()}, {os.cpu_count()} cores, {platform.machine()}; GPU: {cuda}",
        "threads": f"torch {torch.get_num_threads()}; {blas['name']} {blas['version']}: "
        + (", ".join(f"{key}={value}" for key, value in limits.items()) or "no limit set"),
        "versions": f"Python {platform.python_version()}, " + ", ".join(f"{n} {found(n)}" for n in packages),
        "machine": f"load average {load} at the start, nice {os.getpriority(os.PRIO_PROCESS, 0)}",
    }


def processor() -> str:
    """Name the processor; in a virtual machine the family says more than the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{facts.get('model name', 'unknown')} (family {facts.get('cpu family', '?')})"


def found(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def measure(
    sections: Sequence[Section], plan: Any, whole: bool, only: Sequence[str]
) -> Iterator[tuple[str, Row]]:
    for title, rows, sized in sections:
        wanted = not only or any(text.lower() in title.lower() for text in only)
        for row in rows(plan) if wanted else ():
            unjudged = sized and not whole
            yield title, replace(row, least=None, most=None, target="") if unjudged else row


HOLDS = {True: "yes", False: "NO", None: ""}
LINE = "{:<86}  {:>10}  {:<16}  {}"


def report(
    subject: str,
    facts: dict[str, str],
    sections: Sequence[Section],
    plan: Any,
    whole: bool,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Print the table, each line as it is measured, and return it for JSON."""
    rows, last = [], None
    print(f"mgnet, {subject}" + ("" if whole else " (quick: smaller sizes)"))
    print(*(f"{name:<10} {text}" for name, text in facts.items()), sep="\n", end="\n\n")
    print(LINE.format("what", "measured", "required", "holds"))
    for title, row in measure(sections, plan, whole, only):
        if title != last:
            print(f"\n{title}")
        last = title
        print(LINE.format(row.what, row.measured, row.required, HOLDS[row.holds]).rstrip(), flush=True)
        rows.append({"section": title, **asdict(row), "required": row.required, "holds": row.holds})
    held, failed = (sum(row["holds"] is verdict for row in rows) for verdict in (True, False))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\nRequirements: {held} hold, {failed} do not; load average {load} at the end.")
    return {"header": facts, "rows": rows}


def main(
    doc: str,
    subject: str,
    sections: Sequence[Section],
    full: Any,
    quick: Any,
    facts: Callable[[Any], dict[str, str]],
    packages: Sequence[str],
) -> None:
    """Read the arguments, and print the table of a benchmark."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a check that all runs")
    what = "sections with this in their title; may be given several times"
    parser.add_argument("--only", metavar="TEXT", action="append", default=[], help=what)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    plan = quick if arguments.quick else full
    known = {**header(packages), **facts(plan)}
    table = report(subject, known, sections, plan, not arguments.quick, arguments.only)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
