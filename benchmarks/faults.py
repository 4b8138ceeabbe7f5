"""One table: what happens to runs, checkpoints, data and input when all goes wrong that can.

::

    make faults                                 # the whole table, about 6 minutes on two cores
    python benchmarks/faults.py --quick         # a few cases of each kind
    python benchmarks/faults.py --only kills    # the sections with that in their title

Every figure is a number of cases in which a promise of docs/promises.md was not kept. The first of them is
printed beside it, and all of them on stderr. The cases are drawn from seeds, so that they can be repeated;
how far a process has come when it is killed is the machine's affair. It needs Linux.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

from faulty import downloads, fuzz, harm, packages, payloads
from faulty.children import verdicts
from faulty.damage import KINDS, corruptions, small_mnist
from faulty.disk import TRAIN, UNHEARD, full, requests, unheard
from faulty.folders import OUTS, PAIRS, pair, refusal
from faulty.runs import Run, command, prepare
from faulty.stops import kills, resume, stops, whole
from table import Row, Section, main


@dataclass(frozen=True)
class Plan:
    """How many cases of each kind."""

    kills: int = 500
    resumes: int = 100
    places: int = 50
    corruptions: int = 100_000
    mutants: int = 1000
    every: int = 1  # of the files made to harm, of outs, pairs and downloads
    fuzzed: int = 1_000_000
    large: int = 2**28
    jobs: int = os.cpu_count() or 1


FULL, QUICK = (
    Plan(),
    Plan(kills=2, resumes=8, places=5, corruptions=350, mutants=3, every=12, fuzzed=2500, large=2**25),
)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mgnet-faults-") as name:
        os.chmod(name, 0o711)  # for who gives up being root
        yield Path(name)


def row(what: str, found: list[str], cases: int | None = None) -> Row:
    """Count the cases that went wrong, of as many; show the first, and all of them on stderr."""
    wrong = [" ".join(text.split()) for text in found if text]
    print(*wrong, sep="\n", end="\n" * bool(wrong), file=sys.stderr, flush=True)
    return none_of(f"{what}, of {cases or len(found):,}", len(wrong), "".join(wrong[:1]))


def none_of(what: str, number: int, note: str = "") -> Row:
    return Row(what, number, "{:.0f}", most=0, note=note)


def saving(plan: Plan) -> Iterator[Row]:
    """Kill runs that save after every step; each start goes on from what the one before has left."""
    runs = max(1, plan.kills // 25)
    with folder() as place:
        cases = [(seed, plan.kills // runs) for seed in range(runs)]
        found = verdicts(partial(kills, folder=place), cases, plan.jobs)
    done = sum(came.kills for came in found)
    yield row("starts that failed", [came.fault for came in found])
    yield Row("kills of runs that save", done, "{:.0f}", least=plan.kills)
    yield none_of("    checkpoints that cannot be read", sum(came.unreadable for came in found))
    yield Row("    kills that left temporary files", sum(came.left for came in found), "{:.0f}")
    yield none_of("    temporary files after the next start", sum(came.stayed for came in found))


def resumes(plan: Plan) -> Iterator[Row]:
    """Stop runs at random moments by signals, and go on."""
    cases = stops(plan.resumes)
    kinds = sorted({(case.recipe, case.world) for case in cases})
    with folder() as place:
        moments = dict(zip(kinds, verdicts(partial(whole, folder=place), kinds, plan.jobs), strict=True))
        found = verdicts(partial(resume, moments=moments, folder=place), cases, plan.jobs)
    yield row("stopped runs", found)


SHARES = dict(zip(KINDS, (0.4, 0.15, 0.05, 0.2, 0.1, 0.1, 0.05, 0.05), strict=True))


def damage(plan: Plan) -> Iterator[Row]:
    """Corrupt files at random, of which a hash is known but for those of tables."""
    for kind, share in SHARES.items():
        number = round(plan.corruptions * share)
        size = max(1, min(500, number // plan.jobs))
        cases = [(kind, first, size) for first in range(0, number, size)]
        with folder() as place:
            found = sum(verdicts(partial(corruptions, folder=place), cases, plan.jobs), [])
        yield row(kind, found, len(cases) * size)


def made(plan: Plan) -> Iterator[Row]:
    """Give the command files that were made to do harm; it ends with 4, soon, and with little memory."""
    nowhere = Path()
    kinds: dict[str, tuple[Callable[..., str], Sequence[Any]]] = {
        "checkpoints that execute something": (harm.trap, list(payloads.executing("/nowhere"))),
        "checkpoints that fill memory or hang": (harm.filled, list(payloads.filling())),
        "checkpoints whose model is too large": (harm.oversized, list(harm.SPECS)),
        "checkpoints of another form": (harm.mutant, range(plan.mutants)),
        "names that are no files": (harm.unfile, list(product(harm.READERS, harm.UNFILES))),
        "packages": (harm.package, list(packages.packages(nowhere))),
        "files of MNIST": (harm.digits, list(packages.digits(small_mnist()[1]))),
        "tables": (harm.table, list(packages.tables(nowhere))),
    }
    for what, (check, names) in kinds.items():
        cases = names if check is harm.mutant else names[:: plan.every]
        with folder() as place:
            baseline = harm.prepared(place)
            found = verdicts(partial(check, folder=place, baseline=baseline), cases, plan.jobs)
        yield row(what, found)
    with folder() as place:
        taken = harm.memory(plan.large, place)
    most = 2 + harm.CONSTANT / plan.large
    name = f"memory for a whole checkpoint of {plan.large >> 20} MiB, in files"
    yield Row(name, taken, "{:.2f}", most=round(most, 2))


def disk(plan: Plan) -> Iterator[Row]:
    """Fill the disk at places spread over a run; the command ends with 5, and the run can be gone on with."""
    with folder() as place:
        last = requests(place / "whole")
        places = sorted({1 + i * (last - 1) // (plan.places - 1) for i in range(plan.places)})
        found = verdicts(partial(full, folder=place), places, plan.jobs)
        lines = verdicts(partial(unheard, folder=place), list(UNHEARD), plan.jobs)
    yield row("places of a run where the disk is full", found)
    yield row("progress that cannot be written: not exit 0, or something lost", lines)


def outs(plan: Plan) -> Iterator[Row]:
    """Train into what cannot be a folder of a run: refused with 2 before the first step."""
    with folder() as place:
        found = verdicts(partial(refusal, folder=place), list(OUTS)[:: plan.every], plan.jobs)
    yield row("outs", found)


def pairs(plan: Plan) -> Iterator[Row]:
    """Let runs want one folder, at once and one after the other."""
    with folder() as place:
        requests(place / "whole")
        found = verdicts(partial(pair, folder=place), list(PAIRS)[:: plan.every], plan.jobs)
    yield row("pairs", found)


def served(plan: Plan) -> Iterator[Row]:
    """Download from a server that does what servers should not."""
    ways = list(downloads.WAYS)[:: plan.every]
    with folder() as place, downloads.serving(place) as url:
        check = partial(downloads.download, folder=place, url=url)
        yield row("downloads", verdicts(check, ways, 8))
        yield row("eight at once", [check(way, readers=8) for way in ("whole", "cut", "of-the-same-form")])


CHANCES = dict(zip(fuzz.KINDS, (0.4, 0.25, 0.15, 0.1, 0.1), strict=True))


def fuzzed(plan: Plan) -> Iterator[Row]:
    """Draw input at random: it is read, or refused in the documented way."""
    for kind, share in CHANCES.items():
        number = round(plan.fuzzed * share)
        size = max(1, min(5000, number // plan.jobs))
        cases = [(kind, first, size) for first in range(0, number, size)]
        with folder() as place:
            found = sum(verdicts(partial(fuzz.fuzz, folder=place), cases, plan.jobs), [])
        yield row(kind, found, len(cases) * size)


SECTIONS: tuple[Section, ...] = (
    ("Kills while saving", saving, False),
    ("Corrupted, and loaded as if whole or with a traceback", damage, False),
    ("Made to harm, and executed, hanging, filling memory or not refused", made, False),
    ("Resumes that end with other bits than a run that was not stopped", resumes, False),
    ("Disk full, and not exit 5, or something lost", disk, False),
    ("Outs that are none, and not refused before the first step, or changed", outs, False),
    ("Two runs for one folder, and neither refused, or something lost", pairs, False),
    ("Downloads that hang, are taken for whole, or leave something", served, False),
    ("Fuzzed, and hanging or another exception than the documented one", fuzzed, False),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine, and load what training loads late."""
    prepare()
    with folder() as place, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        Run({"epochs": 1, "bfloat16": True}).fit(place / "run")
        command(*TRAIN, "--out", str(place / "command"))
    return {"cases": f"{plan.jobs} side by side, one thread each; temporary files in {tempfile.gettempdir()}"}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which takes the temporary folders away
    main(
        __doc__,
        "what is promised when things go wrong",
        SECTIONS,
        FULL,
        QUICK,
        facts,
        ("mgnet-companion", "torch", "numpy"),
    )
