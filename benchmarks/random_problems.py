"""One table: random problems of the hard kinds, solved by every method and judged by extended precision.

::

    python benchmarks/random_problems.py 0 10000 --out results.jsonl --jobs 2   # seeds 0 ... 9999
    python benchmarks/random_problems.py --table results.jsonl                  # what came of them
    python benchmarks/random_problems.py --show 1234                            # the call of one

Each line of the file is what came of one seed; seeds that are in it already are left out, so that a run can
be stopped and continued, or split over machines. A fault is printed when it is found.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from table import Row, header, report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hard_problems import FAULTS, Verdict, case, judge


def line(verdict: Verdict) -> str:
    """Say in one line what went wrong."""
    keywords = case(verdict.seed).keywords
    options = {
        name: value
        for name, value in keywords.items()
        if value is not None and isinstance(value, str | int | float | tuple) and name != "load"
    }
    return f"{verdict.fault}  case({verdict.seed})  {verdict.status}  {verdict.detail}  {options}"


def run(seeds: Iterable[int], out: Path, jobs: int) -> None:
    """Judge the seeds that are not in the file yet."""
    done = {row["seed"] for row in read(out)} if out.exists() else set()
    left = [seed for seed in seeds if seed not in done]
    with multiprocessing.Pool(jobs, torch.set_num_threads, (1,)) as pool, out.open("a") as file:
        for verdict in pool.imap_unordered(judge, left, chunksize=1):
            file.write(json.dumps(asdict(verdict)) + "\n")
            file.flush()
            if verdict.fault:
                print(line(verdict), flush=True)


def read(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a file."""
    return [json.loads(row) for row in out.read_text().splitlines()]


def show(seed: int) -> None:
    """Print the call of a case, arrays by their shape and size."""
    print(f"mgnet.solve(**case({seed}).keywords), of tests/hard_problems.py:")
    for name, value in case(seed).keywords.items():
        if isinstance(value, np.ndarray) and value.size > 12:
            size = np.abs(value)
            value = (
                f"array {value.shape}, {value.dtype}, absolute values {size.min():.3g} to {size.max():.3g}"
            )
        print(f"    {name:9} {value}")


def rows_of(found: list[dict[str, Any]]) -> Iterator[Row]:
    """Count what came of all."""
    faults = Counter(row["fault"] for row in found if row["fault"])
    for fault, meaning in FAULTS.items():
        bounds = {} if fault in ("refused", "unsolved") else {"most": 0.0}
        yield Row(f"{fault}: {meaning}", float(faults[fault]), "{:.0f}", **bounds)
    solvable = [row for row in found if row["solvable"]]
    solved = sum(row["status"] == "CONVERGED" for row in solvable)
    yield Row("problems of which the reference has eight digits", float(len(solvable)), "{:.0f}")
    yield Row("    solved of them, in percent", 100 * solved / max(len(solvable), 1), "{:.1f} %", least=95.0)


def table(found: list[dict[str, Any]]) -> None:
    """Print what came of all."""
    seeds = [row["seed"] for row in found]
    seconds = [sum(row[name] for row in found) for name in ("seconds", "reference_seconds")]
    facts = {
        **header(("mgnet-companion", "torch", "numpy", "scipy", "python-flint")),
        "problems": f"{len(found)}, seeds {min(seeds)} to {max(seeds)}",
        "seconds": f"{seconds[0]:.0f} solving, {seconds[1]:.0f} for the reference, one thread a problem",
    }
    sections = [(f"{len(found)} problems", lambda _: rows_of(found), False)]
    report("random problems of the hard kinds", facts, sections, None, True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=int, nargs="?")
    parser.add_argument("stop", type=int, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("random_problems.jsonl"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--show", type=int)
    options = parser.parse_args()
    if options.show is not None:
        show(options.show)
    elif options.table:
        table(read(options.table))
    else:
        run(range(options.first, options.stop), options.out, options.jobs)
        table(read(options.out))


if __name__ == "__main__":
    main()
