"""The script for the day with a GPU: what it compares with, what it does with its time, and a rehearsal."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import environment, finished
from torch import Tensor

import mgnet

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # its scripts import each other, as they do when they are run
sys.path.append(str(BENCHMARKS.parent / "docs" / "_ext"))

import gpu_day  # noqa: E402
import gpu_paths  # noqa: E402
import gpu_speed  # noqa: E402
import sources  # noqa: E402
import train_gpu  # noqa: E402
from table import Row  # noqa: E402

# What it compares with


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_sines_are_solutions_and_the_transform_finds_them(dim: int) -> None:
    case = gpu_speed.Case(6, dim, torch.float64)
    A = mgnet.Hierarchy(mgnet.Poisson(n=6, dim=dim)).A.to_dense().numpy()
    u, b = case.solution("cpu"), case.load("cpu")
    assert b.flatten().numpy() == pytest.approx(A @ u.flatten().numpy(), rel=1e-12)
    noise = torch.randn(b.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = gpu_speed.by_sines(noise, case.eigenvalues("cpu"))
    assert A @ found.flatten().numpy() == pytest.approx(noise.flatten().numpy(), abs=1e-12)


def test_sizes_are_those_of_the_plan() -> None:
    found = {(case.dim, case.n) for case in gpu_speed.cases(quick=False) if not case.varies}
    assert found == {
        *((1, 2**k) for k in (20, 22, 24, 26)),
        *((2, n) for n in (1024, 2048, 4096, 8192)),
        *((3, n) for n in (256, 512)),
    }


@pytest.mark.parametrize(
    ("wrong", "least"),
    [(1e-6, 1e-7), (float("nan"), float("inf"))],
)
def test_a_wrong_answer_is_a_difference(wrong: float, least: float) -> None:
    answers = iter([torch.tensor([2.0, 1 + wrong]), torch.tensor([2.0, 1.0])])
    path = gpu_paths.Path("", "", lambda device: [next(answers).double()])
    assert path.difference("cpu") >= least


def test_an_answer_that_is_not_on_the_device_is_none() -> None:
    def answer(device: str) -> list[Tensor]:
        return [torch.ones(2)]

    with pytest.raises(AssertionError, match="on cpu"):
        gpu_paths.Path("", "", answer).difference("meta")


def test_every_method_and_dimension_is_a_path() -> None:
    names = {(path.section, path.name) for path in gpu_paths.paths(quick=False)}
    for dim in ("1-D", "2-D", "3-D"):
        for method in (*gpu_paths.CYCLES, "direct", "an operator for each sample", "refined"):
            assert (dim, method) in names
        assert ("Gradients", f"{dim}, a per cell") in names
    assert ("What is around a solve", "2-D, cycles from a CUDA graph") in names


# Its time


def options(folder: Path, **more: Any) -> Namespace:
    return Namespace(out=folder, device="cpu", quick=True, seconds=None, **more)


def test_a_part_that_overruns_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    assert gpu_day.finished("correctness", options(tmp_path), 0.3, environment()) is None
    assert time.monotonic() - start < 60


def test_what_no_time_is_left_for_is_said() -> None:
    clock = gpu_day.Clock(time.monotonic() + 1)
    (found,) = gpu_day.timely("a", "b", iter([Row("c", 1.0)]), clock, 60)
    assert found[1].measured == "unmeasured: no time was left"
    paths = list(gpu_day.correctness("cpu", True, clock))
    assert len(paths) == 1
    assert paths[0][1].figure is None


def test_one_failure_is_a_line_and_the_next_figure_follows() -> None:
    def rows() -> Any:
        yield Row("one", 1.0)
        raise RuntimeError("out of\nmemory")

    clock = gpu_day.Clock(time.monotonic() + 60)
    first, second = gpu_day.timely("a", "b", rows(), clock, 1)
    assert first[1].figure == 1
    assert second[1].note == "RuntimeError: out of memory"


def test_the_parts_fit_eight_minutes() -> None:
    assert sum(gpu_day.LIMITS.values()) + 15 <= 8 * 60
    assert gpu_day.LIMITS.keys() == gpu_day.PARTS.keys()


@pytest.mark.parametrize(
    ("given", "said"), [({"device": "cuda"}, "no CUDA device"), ({"quick": False}, "accepted: 'cuda'")]
)
def test_without_a_gpu_nothing_begins(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = Namespace(**{**vars(options(tmp_path)), **given})
    with pytest.raises(SystemExit) as ended:
        gpu_day.require_device(wanted, ArgumentParser())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_long_runs_say_their_time_by_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = 555_422_720 * 6 * 45_000 * 60
    expected = pytest.approx((operations / 3e14 / 60, operations / 1e14 / 60))
    assert train_gpu.TASKS["ResNet-18, long"].expected_minutes == expected
    monkeypatch.setattr(train_gpu.Task, "expected_minutes", (7.2, 21.6))
    said = train_gpu.choices()
    assert all(f'--only "{name}"' in said for name in train_gpu.TASKS)
    assert "21.6   64.8" in said  # of three runs


# Its lines


def test_the_table_is_that_of_the_last_day(tmp_path: Path) -> None:
    lines = gpu_day.Lines(tmp_path / "gpu-day.jsonl")
    row = {"form": "{:.1e}", "least": None, "most": 1e-8, "target": "", "note": ""}
    lines.add(header={"device": "old"}, quick=False)
    lines.add(part="solving", section="Speed, 1-D", what="old", figure=1.0, **row)
    lines.add(header={"device": "new, 1 GiB"}, quick=False)
    for figure in (1e-10, 3e-10, 1e-3, None):
        lines.add(part="correctness", section="1-D", what=f"{figure}, float64", figure=figure, **row)
    lines.add(part="correctness", seconds=3.0, ended="it was ended after 3 s")
    lines.add(part="solving", section="Speed, 1-D", what="a solve", figure=2.0, **{**row, "most": None})
    with open(lines.path, "a") as file:
        file.write('{"part": "solving", "sec')  # killed in the writing
    _, (run,) = sources.runs_of(gpu_day.table(lines.last_day()))
    assert run.subject == gpu_day.SUBJECT
    assert run.facts["device"] == "new, 1 GiB"
    assert run.sections == {
        "Correctness": [
            ["1-D: largest difference of 3 answers, float64", "1.0e-03", "≤ 1e-08", "NO"],
            ["    1-D, 0.001, float64", "1.0e-03", "≤ 1e-08", "NO"],
            ["    1-D, None, float64", "unmeasured", "≤ 1e-08", ""],
        ],
        "Speed, 1-D": [["a solve", "2.0e+00", "", ""]],
        "Clocks": [["correctness", "3 s: it was ended after 3 s", "", ""]],
    }
    assert sources.script_of(run).name == "gpu_day.py"


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "pretended"])
def test_a_rehearsal(device: str, tmp_path: Path) -> None:
    argv = [str(BENCHMARKS / "gpu_day.py"), "--quick", "--device", device, "--seconds", "300"]
    done = finished(*argv, cwd=tmp_path, env=environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "gpu-day.jsonl").read_text().splitlines()]
    figures = [line for line in lines if "section" in line]
    assert {line["part"] for line in figures} == set(gpu_day.PARTS)
    assert {line["ended"] for line in lines if "seconds" in line} == {""}
    missing = [line for line in figures if line["figure"] is None]
    assert {line["what"].strip() for line in missing} == {"cuSPARSE's gtsv2"}, missing
    judged = [line for line in figures if line["most"] is not None]
    assert len(judged) >= (8 if device == "pretended" else 100)
    assert all(line["figure"] <= line["most"] for line in judged)
    assert (tmp_path / "gpu-day.txt").read_text() in done.stdout + "\n"
