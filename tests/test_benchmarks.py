"""The benchmarks run from end to end with tiny settings; their figures are judged elsewhere."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import environment, finished

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def quick_rows(script: str, folder: Path, *more: str) -> list[dict[str, Any]]:
    return all_rows(script, folder, "--quick", *more)


def all_rows(script: str, folder: Path, *more: str) -> list[dict[str, Any]]:
    argv = [str(BENCHMARKS / script), *more, "--json", "table.json"]
    # Beside other tests two threads wait for each other, up to forty times as long as one works.
    done = finished(*argv, cwd=folder, env=environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "table.json").read_text())["rows"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "sections"),
    [
        ("train_cpu.py", ["Synthetic", "Speed", "Precision", "Data side"]),
        ("train_gpu.py", ["-"]),
        ("command.py", ["Start", "Waiting"]),
        ("paired.py", ["Speed"]),
        ("loops.py", ["sine", "LAPACK", "cell", "small", "Start", "first", "Neighbours"]),
        ("growth.py", ["time", "memory", "Roofline"]),
        ("domains.py", ["cells", "tensor", "grids"]),
    ],
)
def test_a_quick_run(script: str, sections: list[str], tmp_path: Path) -> None:
    rows = quick_rows(script, tmp_path, *(word for text in sections for word in ("--only", text)))
    assert all(row["holds"] is None for row in rows)  # too little was trained to be judged
    for text in sections:
        some = [row for row in rows if text.lower() in row["section"].lower()]
        assert any(row["figure"] is not None for row in some), text


@pytest.mark.slow
def test_a_quick_run_in_two_and_three_dimensions(tmp_path: Path) -> None:
    rows = quick_rows("poisson2d.py", tmp_path)
    assert {row["section"] for row in rows} >= {"Order of convergence", "Memory", "GPU"}
    assert all(row["note"] if row["figure"] is None else math.isfinite(row["figure"]) for row in rows)
    # These depend on no machine, and on the size of the run only a little.
    judged = [row for row in rows if row["section"] in ("Order of convergence", "Cycles", "Jumps of a")]
    assert sum(row["holds"] is True for row in judged) >= 8
    assert all(row["holds"] is not False for row in judged)
    speeds = [row["figure"] for row in rows if "sine transform, workers=None" in row["what"]]
    assert len(speeds) == 2
    assert min(speeds) > 0
    errors = [
        row["figure"] for row in rows if "largest error" in row["what"] and "multigrid" not in row["section"]
    ]
    assert len(errors) >= 4
    assert all(error is not None and error < 1e-5 for error in errors)


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


@needs_linux
def test_faults_do_no_harm_in_a_few_cases_of_each_kind(tmp_path: Path) -> None:
    rows = quick_rows("faults.py", tmp_path)
    assert len({row["section"] for row in rows}) == 9
    assert [row for row in rows if row["holds"] is False] == []


@needs_linux
@pytest.mark.slow
def test_no_out_that_is_none_does_harm(tmp_path: Path) -> None:
    rows = all_rows("faults.py", tmp_path, "--only", "outs")
    assert rows
    assert [row for row in rows if row["holds"] is False] == []
