"""Runs that are killed while they save, and runs that signals stop, and all of them gone on with."""

from __future__ import annotations

import os
import random
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from faulty.children import End, kill_after, spawn, wait
from faulty.runs import Run, judged, prepare, readable, strays
from mgnet.train import LAST

# Kills at random moments.


@dataclass(frozen=True)
class Kills:
    """What came of killing one run again and again.

    How many kills came to a process that was running, and left an unreadable checkpoint; how many temporary
    files they left, and the next starts did; and how a process ended that was not killed.
    """

    kills: int
    unreadable: int
    left: int
    stayed: int
    fault: str


def kills(case: tuple[int, int], folder: Path) -> Kills:
    """Start a run and kill it, as often as is said; each start goes on from what the one before has saved."""
    seed, number = case
    draw, out = random.Random(seed), folder / f"run{seed}"
    run = Run({"epochs": 1000, "batch_size": 2}, seed=seed, width=512)
    done = unreadable = left = stayed = 0
    fault, stray = "", strays(out)
    for _ in range(number):
        end = _killed(run, out, draw.uniform(0, 0.03))
        done += end.code == -signal.SIGKILL
        fault = fault or (str(end) if end.code != -signal.SIGKILL else "")
        unreadable += not readable(out / LAST)
        before, stray = stray, strays(out)
        left, stayed = left + len(stray - before), stayed + len(stray & before)
    shutil.rmtree(out, ignore_errors=True)
    return Kills(done, unreadable, left, stayed, fault)


def _killed(run: Run, out: Path, seconds: float) -> End:
    """Start a run that saves after every step, and kill it some time after its first save."""
    began, begin = os.pipe()
    said = out.parent / f"said-{out.name}"

    def train() -> None:
        prepare(6, lambda: os.write(begin, b"."))
        run.fit(out, resume=True, save_every=1)

    pid = spawn(train, said)
    os.close(begin)
    try:
        os.read(began, 1)  # nothing, where it ended before
        kill_after(pid, seconds)
        return wait(pid, said)
    finally:
        os.close(began)
        said.unlink(missing_ok=True)


# Stops by a signal, and going on.

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
RECIPES: tuple[dict[str, Any], ...] = (
    {"schedule": "cosine", "optimizer": "adamw", "lr": 1e-3},
    {"schedule": "cosine", "cutout": 8},
    {"bfloat16": True, "channels_last": True, "label_smoothing": 0.1},
    {"optimizer": "adamw", "lr": 1e-3, "bfloat16": True, "cutout": 8, "flip": "random"},
    {"replacement": True, "clip": 0.5, "schedule": "milestones"},
    {"drop_last": True, "batch_size": 20, "schedule": "cosine", "optimizer": "adamw", "lr": 1e-3},
)


@dataclass(frozen=True)
class Stop:
    """A run, the signal that stops it at a random moment, and how often it does."""

    recipe: int
    world: int
    signal: signal.Signals
    times: int
    seed: int

    @property
    def run(self) -> Run:
        return Run(RECIPES[self.recipe], self.world)

    def __str__(self) -> str:
        return f"{self.signal.name}, {self.world} process{'es' * (self.world > 1)}, {RECIPES[self.recipe]}"


def stops(number: int) -> list[Stop]:
    """Give as many cases: every signal in one process and in two, with every recipe in turn."""
    kinds = list(product(range(len(RECIPES)), (1, 2), SIGNALS))
    return [Stop(*kinds[i % len(kinds)], 1 + i // len(kinds) % 2, i) for i in range(number)]


def whole(case: tuple[int, int], folder: Path) -> int:
    """Run a recipe undisturbed in as many processes; give the number of its moments."""
    recipe, world = case
    out = folder / f"whole-{recipe}-{world}"
    ends = Run(RECIPES[recipe], world).ends(out, lambda rank: prepare(), save_every=1)
    if any(end.code != 0 for end in ends):
        raise RuntimeError(f"an undisturbed run {'; '.join(map(str, ends))}")
    return int(ends[0].said.split()[-1])


def resume(case: Stop, moments: dict[tuple[int, int], int], folder: Path) -> str:
    """Stop a run, go on, and say how the end differs from that of an undisturbed one."""
    draw, out = random.Random(case.seed), folder / f"run{case.seed}"
    places = [draw.randint(1, moments[case.recipe, case.world]) for _ in range(case.times)]
    for place in places:
        victim = draw.randrange(case.world)
        stop = partial(_stop_at, place, victim, case.signal)
        ends = case.run.ends(out, stop, resume=True, save_every=draw.randint(1, 3))
        if any(end.code is None for end in ends):
            return f"{case}, moment {place}: hangs"
    ends = case.run.ends(out, lambda rank: prepare(), resume=True, save_every=1)
    if any(end.code != 0 for end in ends):
        return f"{case}, moments {places}: {'; '.join(map(str, ends))}"
    found = judged(out, folder / f"whole-{case.recipe}-{case.world}")
    shutil.rmtree(out, ignore_errors=True)
    return f"{case}, moments {places}: {found}" if found else ""


def _stop_at(place: int, victim: int, number: signal.Signals, rank: int) -> None:
    prepare(place if rank == victim else 0, lambda: os.kill(os.getpid(), number))
