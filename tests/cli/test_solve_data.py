"""mgnet solve with data per cell and per node, and with data that do not sum to zero."""

from __future__ import annotations

import numpy as np
import pytest

import mgnet
from mgnet.cli import main

pytestmark = pytest.mark.usefixtures("own_folder")


def test_projected_data(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["solve", "--rhs", "1 + cos(pi*x)", "--n", "16", "--left", "neumann:0", "--right", "neumann:0"]
    assert main(argv) == 2
    assert "subtract 1.0 from f, or give compatible='project'" in " ".join(capsys.readouterr().err.split())
    assert main([*argv, "--compatible", "project", "--out", "u.npy"]) == 0
    free = {"boundary": mgnet.Neumann(0.0)}
    expected = mgnet.solve(lambda x: np.cos(np.pi * x), 16, **free).u
    np.testing.assert_allclose(np.load("u.npy")[:, 1], expected, atol=1e-13)
    assert main([*argv, "--compatible", "mean"]) == 2


@pytest.mark.parametrize(
    ("shapes", "n"),
    [
        ({"rhs": (5, 4)}, "5 4"),
        ({"rhs": (5, 4), "a": (6, 5)}, ""),
        ({"rhs": (6, 5), "c": (5, 4), "a": (6, 5)}, "5 4"),
        ({"c": (5, 4), "rhs": (6, 5)}, ""),
        ({"a": (5, 4)}, ""),
    ],
    ids=str,
)
def test_arrays_of_either_shape(shapes: dict[str, tuple[int, ...]], n: str) -> None:
    rng = np.random.default_rng(0)
    data = {name: 1 + rng.random(shape) for name, shape in shapes.items()}
    argv = ["solve", *([] if "rhs" in data else ["--rhs", "1"])]
    for name, values in data.items():
        np.save(f"{name}.npy", values)
        argv += [f"--{name}", f"{name}.npy"]
    assert main([*argv, "--dim", "2", *(["--n", *n.split()] if n else []), "--out", "u.npy"]) == 0
    f = data.pop("rhs", 1.0)
    np.testing.assert_allclose(np.load("u.npy"), mgnet.solve(f, n=(5, 4), dim=2, **data).u, rtol=1e-12)


def test_rows_with_coordinates_are_what_those_say(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.linspace(0, 1, 9)
    np.savetxt("f.csv", np.stack((x, x), axis=1), delimiter=",")
    assert main(["solve", "--rhs", "f.csv", "--n", "9"]) == 2
    assert "the numbers of cells differ: 8 by --rhs f.csv, 9 by --n" in capsys.readouterr().err
