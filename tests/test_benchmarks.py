"""The benchmarks of training run from end to end with tiny settings; their figures are judged elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "sections"), [("train_cpu.py", ["Synthetic", "Speed", "Data side"]), ("train_gpu.py", ["-"])]
)
def test_a_quick_run(script: str, sections: list[str], tmp_path: Path) -> None:
    for only in sections:
        command = [
            sys.executable,
            str(BENCHMARKS / script),
            "--quick",
            "--only",
            only,
            "--json",
            "table.json",
        ]
        subprocess.run(
            command, check=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=500
        )
        rows = json.loads((tmp_path / "table.json").read_text())["rows"]
        assert rows
        assert all(row["holds"] is None for row in rows)  # too little was trained to be judged
        assert any(row["figure"] is not None for row in rows)
