"""One table: what happens to runs, checkpoints, data and input when all goes wrong that can.

::

    make faults                                 # the whole table, about 15 minutes on two cores
    python benchmarks/faults.py --quick         # a few cases of each kind
    python benchmarks/faults.py --only kills    # the sections with that in their title

Every figure is a number of cases in which a promise of docs/promises.md was not kept, and the first of them is
printed beside it. The cases are drawn from seeds, so that they can be repeated; how far a process has come when
it is killed is the machine's affair. It needs Linux.
"""

from __future__ import annotations

import os

# A process with more threads than one cannot be forked safely; see faulty/children.py.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
for name in [name for name in os.environ if name.startswith("MGNET_")]:
    del os.environ[name]

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faulty.children import verdicts
from faulty.runs import Run, prepare
from faulty.stops import kills, resume, stops, whole
from table import Row, Section, main


@dataclass(frozen=True)
class Plan:
    """How many cases of each kind."""

    kills: int = 500
    resumes: int = 100
    jobs: int = os.cpu_count() or 1


FULL, QUICK = Plan(), Plan(kills=8, resumes=8)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mgnet-faults-") as name:
        yield Path(name)


def row(what: str, found: list[str]) -> Row:
    """Count the cases that went wrong, of as many, and show the first."""
    wrong = [text for text in found if text]
    return Row(f"{what}, of {len(found)}", len(wrong), "{:.0f}", most=0, note=wrong[0] if wrong else "")


def saving(plan: Plan) -> Iterator[Row]:
    """Kill runs that save after every step; each start goes on from what the one before has left."""
    runs = max(1, plan.kills // 25)
    with folder() as place:
        cases = [(seed, plan.kills // runs) for seed in range(runs)]
        found = verdicts(partial(kills, folder=place), cases, plan.jobs)
    done = sum(came.kills for came in found)
    yield row("starts that failed", [came.fault for came in found])
    yield Row("kills of runs that save", done, "{:.0f}", least=plan.kills)
    yield Row("    checkpoints that cannot be read", sum(came.unreadable for came in found), "{:.0f}", most=0)
    yield Row("    kills that left temporary files", sum(came.left for came in found), "{:.0f}")
    yield Row("    temporary files after the next start", sum(came.stayed for came in found), "{:.0f}", most=0)


def resumes(plan: Plan) -> Iterator[Row]:
    """Stop runs at random moments by signals, and go on."""
    cases = stops(plan.resumes)
    kinds = sorted({(case.recipe, case.world) for case in cases})
    with folder() as place:
        moments = dict(zip(kinds, verdicts(partial(whole, folder=place), kinds, plan.jobs), strict=True))
        found = verdicts(partial(resume, moments=moments, folder=place), cases, plan.jobs)
    yield row("resumed runs that ended with other bits", found)


SECTIONS: tuple[Section, ...] = (
    ("Kills while saving", saving, False),
    ("Resumes", resumes, False),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine, and load what training loads late."""
    prepare()
    with folder() as place:
        Run({"epochs": 1, "bfloat16": True}).fit(place / "run")
    return {"cases": f"{plan.jobs} side by side, one thread each; temporary files in {tempfile.gettempdir()}"}


if __name__ == "__main__":
    main(
        __doc__,
        "what is promised when things go wrong",
        SECTIONS,
        FULL,
        QUICK,
        facts,
        ("mgnet-companion", "torch", "numpy"),
    )
