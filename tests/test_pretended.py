"""The tests of a GPU on a device that is pretended, in processes of their own: torch keeps its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from processes import finished

HERE = Path(__file__).parent


DEVICE_TESTS = ["test_cuda.py", "test_waits.py", "test_launches.py", "test_cycle_launches.py"]


@pytest.mark.parametrize("file", DEVICE_TESTS)
def test_on_a_pretended_device(file: str) -> None:
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "pretended", str(HERE / file)]
    done = finished(*argv, cwd=HERE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
