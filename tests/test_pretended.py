"""The tests of a GPU on a device that is pretended, in processes of their own: torch keeps its name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("file", ["test_cuda.py", "test_waits.py"])
def test_on_a_pretended_device(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "pretended"]
    run = subprocess.run([*command, str(HERE / file)], cwd=HERE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\d+ passed", run.stdout)
