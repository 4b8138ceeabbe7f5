"""The passes in Triton, in processes of their own: it looks at its environment once, where it is imported."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import environment, finished

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="no Triton")


def ran(file: str, env: dict[str, str]) -> None:
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / file)]
    done = finished(*argv, cwd=HERE.parents[1], env=environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


def test_in_the_interpreter() -> None:
    ran("interpreted.py", {"TRITON_INTERPRET": "1"})


@pytest.mark.slow
def test_for_a_gpu(tmp_path: Path) -> None:
    ran("compiled_for_a_gpu.py", {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"})
