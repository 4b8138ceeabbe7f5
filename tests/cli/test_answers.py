"""What ``mgnet solve`` reports of a solution beside its values, and the files that it writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command import answer, complaint

import mgnet
from mgnet.cli.commands import main

ROD = ["solve", "--rhs", "1", "--n", "8", "--right", "robin:2,1"]
PLATE = ["solve", "--rhs", "1", "--n", "8", "6", "--periodic", "y"]

pytestmark = pytest.mark.usefixtures("own_folder")


def test_fluxes(capsys: pytest.CaptureFixture[str]) -> None:
    sol = mgnet.solve(1.0, 8, right=mgnet.Robin(2.0, 1.0))
    figures = answer(capsys, *ROD, "--flux", "right", "--flux", "left", "--flux", "right")
    assert figures["flux"] == {"right": sol.flux("right"), "left": sol.flux("left")}
    assert sum(figures["flux"].values()) == pytest.approx(-1.0)
    assert "flux" not in answer(capsys, *ROD)
    assert main([*ROD, "--flux", "left"]) == 0
    assert f"\nflux left         {sol.flux('left'):.4g}\n" in capsys.readouterr().out
    figures = answer(capsys, *PLATE, "--flux", "left")
    assert figures["flux"]["left"] == pytest.approx(-0.5)


def test_fluxes_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["solve", "--rhs", "1", "--n", "8", "--a", "5e-324", "--flux", "left"]
    assert answer(capsys, *argv, code=3)["flux"] == {"left": None}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*ROD, "--flux", "top"], "--flux: got 'top'; accepted: left, right"),
        ([*PLATE, "--flux", "left", "--flux", "top"], "--flux: got 'top'; accepted: left, right"),
        ([*PLATE, "--flux", "0"], "--flux: got '0'; accepted: left, right"),
        (
            ["solve", "--rhs", "0", "--n", "8", "--periodic", "--flux", "left"],
            "accepted: none, since all sides",
        ),
    ],
)
def test_what_is_no_side_is_found_before_solving(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    monkeypatch.setattr(mgnet, "solve", pytest.fail)
    assert words in complaint(capsys, *argv, code=2)


def test_archives_and_vtk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(capsys, *PLATE, "--out", "u.npz")
    sol = mgnet.solve(1.0, (8, 6), dim=2, periodic=(False, True))
    with np.load("u.npz") as stored:
        assert (stored["u"] == sol.u).all()
        assert (stored["y"] == sol.x[1]).all()
    monkeypatch.setitem(sys.modules, "pyevtk", None)
    words = "--out: pyevtk: not installed; accepted: pip install 'mgnet-companion[files]'"
    assert words in complaint(capsys, *PLATE, "--out", "u.vtr", code=2)
    assert os.listdir() == ["u.npz"]


def test_vtk(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyevtk")
    answer(capsys, *PLATE, "--out", "u.vtr")
    assert b'<VTKFile type="RectilinearGrid"' in Path("u.vtr").read_bytes()
