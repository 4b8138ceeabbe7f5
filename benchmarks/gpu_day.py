"""One table: all that is to be known of a GPU that is lent for a few minutes.

::

    python benchmarks/gpu_day.py --out DIR                      # eight minutes on one GPU
    python benchmarks/gpu_day.py --out DIR --only solving       # the parts with that in their name
    python benchmarks/gpu_day.py --quick --device cpu           # a rehearsal: tiny sizes, no GPU

Three parts, each in a process of its own and on its own clock: a part that overruns is ended, and the table
says so. *correctness* takes two minutes: answers against those of the CPU. *solving* takes two: beside a
copy, cuSPARSE's gtsv2 and a solve by torch.fft. *training* takes four: images per second of two networks, and
runs to 94 %. Every figure is a line of ``DIR/gpu-day.jsonl`` as soon as it is known; ``DIR/gpu-day.txt`` is
the table of them. CIFAR-10 is that under MGNET_DATA; without it, the packed copy in a folder ``shared`` in
the repository or beside it, or the official archive, downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from table import HOLDS, LINE, Row, header

HERE = Path(__file__).resolve().parent
SUBJECT = "a day with a GPU"
# Seconds of each part, its start included; with what comes before and after them, eight minutes.
LIMITS = {"correctness": 115.0, "solving": 115.0, "training": 235.0}
GRACE = 5.0  # between the request to end and the end
UNPACK = "shared/data/unpack.py"


# Lines: one a figure, written before the next is measured


@dataclass
class Lines:
    """A file that figures are added to."""

    path: Path

    def add(self, **line: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def last_day(self) -> list[dict[str, Any]]:
        """Return the lines from the last header on; one that was cut off in the writing is left out."""
        found: list[dict[str, Any]] = []
        for text in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                found = [line] if "header" in line else [*found, line]
        return found


# Parts: each yields a section and a row, and looks at the clock before it begins what takes long


@dataclass(frozen=True)
class Clock:
    """What is left of the seconds of a part."""

    end: float

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


Rows = Iterator[tuple[str, Row]]


def correctness(device: str, quick: bool, clock: Clock) -> Rows:
    import gpu_paths

    late = 0
    # Where launches are pretended, each takes a hundred times as long; test_cuda.py has the others.
    every = 15 if device == "pretended" else 1
    for path in list(gpu_paths.paths(quick))[::every]:
        if clock.left < 2:
            late += 1
            continue
        most = gpu_paths.MOST[path.precision]
        found = guarded(lambda path=path: path.difference(device))  # type: ignore[misc]
        note = found if isinstance(found, str) else ""
        figure = None if isinstance(found, str) else found
        yield path.section, Row(f"{path.name}, {path.precision}", figure, most=most, note=note)
    if late:
        yield "What is around a solve", Row(f"{late} more", None, note="no time was left")


def guarded(call: Callable[[], Any]) -> Any:
    """Return what is found, or what went wrong in a line: the next figure does not depend on it."""
    try:
        return call()
    except Exception as failure:
        return " ".join(f"{type(failure).__name__}: {failure}".split())[:200]


def solving(device: str, quick: bool, clock: Clock) -> Rows:
    import gpu_speed

    for case in gpu_speed.cases(quick):
        rows = gpu_speed.speeds(case, device)
        yield from timely(f"Speed, {case.dim}-D", case.name, rows, clock, 6)


def timely(section: str, what: str, rows: Iterator[Row], clock: Clock, seconds: float) -> Rows:
    """Give rows, unless so little time is left that they would be cut off; one says what went wrong."""
    if clock.left < seconds:
        yield section, Row(what, None, note="no time was left")
        return
    while True:
        row = guarded(lambda: next(rows, None))
        if row is None:
            return
        if isinstance(row, str):
            yield section, Row(what, None, note=row)
            return
        yield section, row


def training(device: str, quick: bool, clock: Clock) -> Rows:
    import gpu_training as shared

    few = 4 if quick else None
    try:
        data = shared.images(few)
    except Exception as failure:  # no network, for one: the speed does not depend on the images
        yield "A run to 94 %", Row("CIFAR-10", None, note=" ".join(str(failure).split())[:200])
        data = None
    if data is None:
        data = shared.mgnet.data.synthetic(train=shared.IMAGES, validation=512, test=512)
        yield from timely(
            "Images per second", "ResNet-18", network_speed("resnet18", data, device, few), clock, 0
        )
        seeds = 0
    else:
        yield from timely("A run to 94 %", "seed 0", a_run(data, 0, device, few), clock, 0)
        seeds = 1 if quick else 5
    start = time.monotonic()
    yield from timely(
        "Images per second", "MgNet-128", network_speed("mgnet-128", data, device, few), clock, 30
    )
    for seed in range(1, seeds):
        needed = 45.0 if seed == 1 else 1.2 * (time.monotonic() - start)
        if clock.left < needed:
            return
        start = time.monotonic()
        yield from timely("A run to 94 %", f"seed {seed}", a_run(data, seed, device, few), clock, 0)


def network_speed(model: str, data: Any, device: str, few: int | None) -> Iterator[Row]:
    """Train for three epochs: the first one has the compilation, those after it the speed."""
    import gpu_training as shared

    rows: list[dict[str, Any]] = []
    task = shared.Task(model, 3, 0.0, "")
    _, whole = shared.trained(task, data, 0, device, few, on_epoch=rows.append)
    yield Row(f"{model}, images per second in the last of {len(rows)} epochs", *steady(rows))
    yield Row("    compilation: seconds of the first epoch beyond the last", compilation(rows), "{:.1f} s")
    yield Row("    seconds from start to end, evaluation included", whole, "{:.1f} s")


def steady(epochs: list[dict[str, Any]]) -> tuple[float, str]:
    return epochs[-1]["images_per_second"], "{:.0f}"


def compilation(epochs: list[dict[str, Any]]) -> float:
    """Return the seconds of the first epoch that it would not have taken at the speed of the last."""
    first, last = epochs[0], epochs[-1]
    return first["seconds"] * (1 - first["images_per_second"] / last["images_per_second"])


def a_run(data: Any, seed: int, device: str, few: int | None) -> Iterator[Row]:
    """Train ResNet-18 once; each seed has its own lines, that which compiles too."""
    import gpu_training as shared

    rows: list[dict[str, Any]] = []
    task = shared.FAST_TASK
    history, whole = shared.trained(task, data, seed, device, few, on_epoch=rows.append)
    what = f"ResNet-18, {len(history)} epochs, seed {seed}, test accuracy{shared.copy_note(data)}"
    yield Row(what, 100 * (history.test_accuracy or 0), "{:.2f} %", least=task.least)
    yield Row("    seconds of training", history.seconds, "{:.1f} s", most=task.most_seconds)
    yield Row("    of these compilation: the first epoch beyond the last", compilation(rows), "{:.1f} s")
    yield Row("    seconds from start to end, evaluation included", whole, "{:.1f} s")
    yield Row("    images per second in the last epoch", *steady(rows))


PARTS: dict[str, Callable[[str, bool, Clock], Rows]] = {
    "correctness": correctness,
    "solving": solving,
    "training": training,
}


# A part in a process of its own


@contextlib.contextmanager
def on(device: str) -> Iterator[None]:
    """Let torch do both sides of a comparison, and make the device of the tests where it is asked for."""
    from mgnet.core import checks
    from mgnet.operators import loops

    with contextlib.ExitStack() as stack:
        stack.enter_context(loops.without())  # to compile the loops takes a minute of the two
        if device == "pretended":
            sys.path.append(str(HERE.parent / "tests"))
            import pretended

            checks.DEVICES = ("cpu", pretended.NAME)
            stack.enter_context(pretended.pretended())
        yield


def run_part(name: str, options: argparse.Namespace) -> None:
    """Measure a part, and add each row to the lines."""
    start = time.monotonic()
    lines = Lines(options.out / "gpu-day.jsonl")
    clock = Clock(start + options.seconds)
    with on(options.device):
        for section, row in PARTS[name](options.device, options.quick, clock):
            judged = row if not options.quick or name == "correctness" else without_bounds(row)
            lines.add(part=name, section=section, at=round(time.monotonic() - start, 1), **asdict(judged))


def without_bounds(row: Row) -> Row:
    return Row(row.what, row.figure, row.form, note=row.note)


def finished(
    name: str, options: argparse.Namespace, seconds: float, environment: dict[str, str]
) -> int | None:
    """Run a part to its end or to that of its seconds; return its exit status, None where it was ended."""
    command = [sys.executable, str(HERE / "gpu_day.py"), "--part", name, "--seconds", str(seconds)]
    command += ["--out", str(options.out), "--device", options.device, *["--quick"] * options.quick]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # what it compiles with has processes of its own, in its session
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)


# Images


@contextlib.contextmanager
def unpacking(wanted: bool) -> Iterator[Callable[[], dict[str, str]]]:
    """Unpack CIFAR-10 beside the first parts, where it lies packed; give what waits and says where it is."""
    environment = dict(os.environ)
    script = next((p for p in (HERE.parent / UNPACK, HERE.parents[1] / UNPACK) if p.is_file()), None)
    if not wanted or environment.get("MGNET_DATA") or script is None:
        yield lambda: environment
        return
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, str(script), folder, "--cifar10"])

        def there() -> dict[str, str]:
            if process.wait() == 0:
                environment.update(MGNET_DATA=folder, MGNET_DATA_NOTE="JPEG copy")
            return environment

        try:
            yield there
        finally:
            process.kill()
            process.wait()


# The table


def table(lines: list[dict[str, Any]]) -> str:
    """Make the table of one day."""
    day = lines[0]
    out = [f"mgnet, {SUBJECT}" + " (quick: smaller sizes)" * day["quick"]]
    out += [f"{name:<10} {text}" for name, text in day["header"].items()]
    out += ["", LINE.format("what", "measured", "required", "holds")]
    last, verdicts = None, []
    for section, row in (*summary(lines), *figures(lines), *ended(lines)):
        if section != last:
            out += ["", section]
        last = section
        verdicts.append(row.holds)
        out.append(LINE.format(row.what, row.measured, row.required, HOLDS[row.holds]).rstrip())
    held, failed = verdicts.count(True), verdicts.count(False)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    out += ["", f"Requirements: {held} hold, {failed} do not; load average {load} at the end."]
    return "\n".join(out) + "\n"


def row_of(line: dict[str, Any]) -> Row:
    return Row(**{field.name: line[field.name] for field in fields(Row)})


def summary(lines: list[dict[str, Any]]) -> Rows:
    """Give one row for the paths of a kind and precision that agree, and each of the others."""
    kinds: dict[tuple[str, float | None], list[Row]] = {}
    for line in lines:
        if line.get("part") == "correctness" and "section" in line:
            kinds.setdefault((line["section"], line["most"]), []).append(row_of(line))
    for (kind, most), rows in kinds.items():
        found = [row.figure for row in rows if row.figure is not None]
        what = f"{kind}: largest difference of {len(found)} answers, {rows[0].what.rpartition(', ')[2]}"
        if found:
            yield "Correctness", Row(what, max(found), most=most)
        for row in rows:
            if row.figure is None or row.holds is False:
                yield "Correctness", Row(f"    {kind}, {row.what}", row.figure, most=most, note=row.note)


def figures(lines: list[dict[str, Any]]) -> Rows:
    for line in lines:
        if "section" in line and line["part"] != "correctness":
            yield line["section"], row_of(line)


def ended(lines: list[dict[str, Any]]) -> Rows:
    for line in lines:
        if "seconds" in line:
            yield "Clocks", Row(line["part"], line["seconds"], "{:.0f} s", note=line["ended"])


def require_device(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End before any work where there is nothing to measure."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device: torch {torch.__version__} sees none, and nothing is measured;"
            " --quick --device cpu rehearses"
        )
    if options.device != "cuda" and not options.quick:
        parser.error(f"--device: got {options.device!r} without --quick; accepted: 'cuda', or --quick")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("."), help="where the figures go")
    parser.add_argument("--only", metavar="TEXT", default="", help="parts with this in their name")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for a check that all runs")
    parser.add_argument("--device", choices=("cuda", "cpu", "pretended"), default="cuda")
    parser.add_argument("--seconds", type=float, help="of each part, instead of its own")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options.part, options)
        return
    require_device(options, parser)
    options.out.mkdir(parents=True, exist_ok=True)
    sys.exit(day(options))


def day(options: argparse.Namespace) -> int:
    """Run the parts and print the table; return 1 if one of them failed."""
    lines, failed = Lines(options.out / "gpu-day.jsonl"), False
    packages = ("mgnet-companion", "torch", "triton", "cupy", "numpy")
    facts = {**header(packages), **device_facts(options.device)}
    lines.add(header=facts, quick=options.quick)
    names = [name for name in PARTS if options.only in name]
    with unpacking("training" in names and not options.quick) as there:
        for name in names:
            environment = there() if name == "training" else dict(os.environ)
            seconds = options.seconds or LIMITS[name]
            start = time.monotonic()
            status = finished(name, options, seconds, environment)
            word = "" if status == 0 else f"it ended with status {status}"
            if status is None:
                word = f"it was ended after {seconds:.0f} s"
            failed |= bool(status)
            lines.add(part=name, seconds=round(time.monotonic() - start, 1), ended=word)
    text = table(lines.last_day())
    print(text)
    (options.out / "gpu-day.txt").write_text(text, encoding="utf-8")
    return int(failed)


def device_facts(device: str) -> dict[str, str]:
    import torch

    if device != "cuda":
        return {"device": f"{device}; no GPU"}
    properties = torch.cuda.get_device_properties(0)
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    versions = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return {"device": f"{properties.name}, {memory}; {versions}"}


if __name__ == "__main__":
    main()
