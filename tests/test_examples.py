"""The examples run as they stand, hold what they assert themselves, and draw their pictures."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
# What they print, in part.
SAID = {
    "beyond/cloning.py": ["mean step across the seam: target 0.00", "clone 0.00"],
    "beyond/inverse.py": ["slope by the adjoint", "relative error of the conductivity 0.0"],
    "beyond/learned_multigrid.py": ["trained in", "Chebyshev with 4 sweeps instead of 2: 0.03"],
    "beyond/rod.py": ["CONVERGED", "heat in W/m²: "],
    "beyond/there_and_back.py": ["test accuracy", "0.10 0.13", "B helps against: −Δ 100%"],
    "beyond/one_cycle_is_exact.py": ["one cycle in"],
    "multigrid/mgnet_is_multigrid.py": ["one pass differs from a V-cycle by", "factor 0.07"],
}
SLOW = {"beyond/learned_multigrid.py", "beyond/there_and_back.py"}  # several seconds each: they train
NAMES = sorted(
    f"{path.parent.name}/{path.name}" for path in EXAMPLES.glob("*/*.py") if path.parent.name != "data"
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NAMES]
)
def test_an_example(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[int] = []

    def show() -> None:
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            shown.append(number)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small operations in many threads wait for each other on a busy machine
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    assert shown
    assert not plt.get_fignums(), "a figure without plt.show()"
    said = capsys.readouterr().out
    assert all(words in said for words in SAID.get(name, []))
