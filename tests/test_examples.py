"""The examples run as they stand, hold what they assert themselves, and draw their picture."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# What they print, in part.
SAID = {
    "cloning.py": ["mean step across the seam: target 0.00", "clone 0.00"],
    "rod.py": ["CONVERGED", "heat in W/m²: "],
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", [name, str(picture)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    plt.close("all")
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert all(words in said for words in SAID.get(name, []))
