"""One table: what the command costs beside its work: its start, and threads that wait beside other work.

::

    make bench-command                            # the whole table, about 5 minutes on two cores
    python benchmarks/command.py --quick          # small sizes, for a check that all runs
    python benchmarks/command.py --only start     # the sections with that in their title

The threads of torch meet at the end of every loop that they share. Where nothing is said, one that waits
looks again and again (it spins), which is quick as long as each thread has a processor of its own. Where
another process has that processor, spinning takes the time of the thread that is waited for. OpenMP reads
how to wait when torch is loaded, so each way of waiting has a process of its own; they take turns, and
each counts with its median. *Busy* is one endless loop more for each processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from table import Row, Section, main, medians

from mgnet.cli.commands import CHOSEN, WAITING


@dataclass(frozen=True)
class Plan:
    """Turns, and numbers of cells along an axis of the square."""

    starts: int = 15
    turns: int = 7
    cells: Sequence[int] = (256, 1024)
    images: int = 128


FULL, QUICK = Plan(), Plan(starts=2, turns=1, cells=(16,), images=4)

# What is said to OpenMP, and what that is called here.
WAYS: dict[str, dict[str, str]] = {
    "nothing said": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
OURS = next(way for way, said in WAYS.items() if said == WAITING)

# Answers each line, a number of cells or 0 for training, with the seconds of a solve or of a step.
WORKER = """
import sys, time
import mgnet

images = int(sys.argv[1])
data = mgnet.data.synthetic(train=2 * images, validation=0, test=1)

def seconds(n):
    if n == 0:
        model = mgnet.models.create("resnet20")
        history = mgnet.fit(model, data, epochs=1, batch_size=images, progress=False)
        return images / history.images_per_second
    start = time.perf_counter()
    mgnet.solve(1.0, n=n, dim=2)
    return time.perf_counter() - start

for line in sys.stdin:
    print(seconds(int(line)), flush=True)
"""

# Busy for as long as the benchmark runs, however that ends.
NEIGHBOUR = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def start(plan: Plan) -> Iterator[Row]:
    """Time the help against a Python that does nothing."""
    quietly = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    help_, nothing = [sys.executable, "-m", "mgnet", "--help"], [sys.executable, "-c", ""]
    ours, bare = medians([partial(quietly, help_), partial(quietly, nothing)], plan.starts)
    yield Row("mgnet --help", 1e3 * ours, "{:.0f} ms", most=300)
    yield Row("    Python, and nothing to do", 1e3 * bare, "{:.0f} ms")


def waits(plan: Plan) -> Iterator[Row]:
    """Time every task in every way of waiting, on a quiet machine and on a busy one."""
    with ExitStack() as stack:
        workers = {way: stack.enter_context(process(WORKER, plan.images, said)) for way, said in WAYS.items()}
        for task in (*plan.cells, 0):
            quiet = turns(plan, workers, task)
            with ExitStack() as neighbours:
                for _ in range(os.cpu_count() or 1):
                    neighbours.enter_context(process(NEIGHBOUR, 0))
                busy = turns(plan, workers, task)
            name = f"solve, {task} × {task} cells" if task else f"a step of ResNet-20, {plan.images} images"
            slower = busy[OURS] / quiet["nothing said"]
            yield Row(f"{name}: busy, {OURS}, over quiet, nothing said", slower, "{:.1f}×", most=5)
            for way in WAYS:
                yield Row(f"    quiet, {way}", 1e3 * quiet[way], "{:.1f} ms")
                yield Row(f"    busy, {way}", 1e3 * busy[way], "{:.1f} ms")


def turns(plan: Plan, workers: dict[str, subprocess.Popen[str]], task: int) -> dict[str, float]:
    """Give the median seconds of each way of waiting; the first turn warms up."""
    seconds = [{way: answer(worker, task) for way, worker in workers.items()} for _ in range(1 + plan.turns)]
    return {way: median(turn[way] for turn in seconds[1:]) for way in workers}


def answer(worker: subprocess.Popen[str], task: int) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(task, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


@contextmanager
def process(script: str, number: int, said: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a script with a number beside this one, until the end of the block."""
    environment = {name: text for name, text in os.environ.items() if name not in CHOSEN} | (said or {})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = subprocess.Popen(
        [sys.executable, "-c", script, str(number)], env=environment, text=True, **pipes
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


SECTIONS: tuple[Section, ...] = (
    ("Start", start, True),
    ("Waiting", waits, True),
)


def facts(plan: Plan) -> dict[str, str]:
    """Say what this table depends on besides the machine."""
    return {"timing": f"medians of {plan.starts} starts, and of {plan.turns} turns of each way of waiting"}


if __name__ == "__main__":
    main(
        __doc__,
        "the command beside its work",
        SECTIONS,
        FULL,
        QUICK,
        facts,
        ("mgnet-companion", "torch", "numpy"),
    )
