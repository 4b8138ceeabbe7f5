"""The examples run as they stand, hold what they assert themselves, and draw their picture."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
# What they print, in part.
SAID = {
    "cloning.py": ["mean step across the seam: target 0.00", "clone 0.00"],
    "inverse.py": ["slope by the adjoint", "relative error of the conductivity 0.0"],
    "learned_multigrid.py": ["trained in", "Chebyshev with 4 sweeps instead of 2: 0.03"],
    "mgnet_is_multigrid.py": ["one pass differs from a V-cycle by", "factor 0.07"],
    "rod.py": ["CONVERGED", "heat in W/m²: "],
    "there_and_back.py": ["test accuracy", "0.10 0.13", "B helps against: −Δ 100%"],
}
SLOW = {"learned_multigrid.py", "there_and_back.py"}  # about ten seconds each: they train


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, marks=[pytest.mark.slow] if path.name in SLOW else [])
        for path in sorted(EXAMPLES.glob("*.py"))
    ],
)
def test_an_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", [name, str(picture)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small operations in many threads wait for each other on a busy machine
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    plt.close("all")
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert all(words in said for words in SAID.get(name, []))
