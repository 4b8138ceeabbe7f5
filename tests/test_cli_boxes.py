"""``mgnet solve`` in two and three dimensions: what it hands to the library, prints, writes and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import KEYS, answer, complaint

import mgnet
from mgnet.cli import main

PLANE = ["solve", "--rhs", "2*pi**2*sin(pi*x)*sin(pi*y)", "--dim", "2", "--n", "16"]
SPACE = ["solve", "--rhs", "3*pi**2*sin(pi*x)*sin(pi*y)*sin(pi*z)", "--dim", "3", "--n", "8"]
WAVE = {2: "sin(pi*x)*sin(pi*y)", 3: "sin(pi*x)*sin(pi*y)*sin(pi*z)"}

pytestmark = pytest.mark.usefixtures("own_folder")


# The answer


@pytest.mark.parametrize(("argv", "dim", "n"), [(PLANE, 2, [16, 16]), (SPACE, 3, [8, 8, 8])])
def test_the_keys_are_those_of_one_dimension(
    capsys: pytest.CaptureFixture[str], argv: list[str], dim: int, n: list[int]
) -> None:
    figures = answer(capsys, *argv, "--exact", WAVE[dim])
    assert list(figures) == [*KEYS, "max_error"]
    assert (figures["status"], figures["n"], figures["dim"]) == ("CONVERGED", n, dim)
    # The error of bilinear elements in the middle, from the eigenvalue of the discrete operator.
    t = np.pi / n[0]
    discrete = 6 * (1 - np.cos(t)) / (2 + np.cos(t)) / t**2
    along = 2 * (1 - np.cos(t)) / t**2  # of the load: sin against a hat
    mass = (2 + np.cos(t)) / 3
    assert figures["max_error"] == pytest.approx(abs((along / mass) ** dim / discrete - 1), rel=1e-5)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLANE, "--n", "16", "8", "--domain", "0", "2", "-1", "1", "--out", "u.csv"]) == 0
    rows = {line[:18].strip(): line[18:] for line in capsys.readouterr().out.splitlines()}
    assert rows["grid"] == "uniform on [0, 2] x [-1, 1]"
    assert (rows["n"], rows["status"], rows["written"]) == ("16 x 8", "CONVERGED", "u.csv")


def g(x: Any, y: Any) -> Any:
    return x**2 - y


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ([], {}),
        (["--n", "8", "12"], {"n": (8, 12)}),
        (["--domain", "-1", "pi"], {"domain": (-1.0, np.pi)}),
        (["--domain", "0", "2", "-1", "1"], {"domain": ((0.0, 2.0), (-1.0, 1.0))}),
        (["--a", "1 + x*y", "--c", "y"], {"a": lambda x, y: 1 + x * y, "c": lambda x, y: y + 0 * x}),
        (["--a", "2", "--c", "3"], {"a": 2.0, "c": 3.0}),
        (
            ["--left", "dirichlet:2", "--right", "neumann:x**2 - y", "--bottom", "robin:3, x**2 - y"],
            {
                "boundary": {
                    "left": mgnet.Dirichlet(2.0),
                    "right": mgnet.Neumann(g),
                    "bottom": mgnet.Robin(3.0, g),
                }
            },
        ),
        (["--top", "dirichlet:max(x, y)"], {"boundary": {"top": mgnet.Dirichlet(np.maximum)}}),
        (["--periodic", "x"], {"periodic": (True, False)}),
        (
            ["--periodic", "y", "--right", "neumann:1"],
            {"periodic": (False, True), "right": mgnet.Neumann(1.0)},
        ),
        (["--periodic", "--c", "1"], {"periodic": True, "c": 1.0}),
        (["--periodic", "y,x", "--c", "1"], {"periodic": True, "c": 1.0}),
        (["--method", "vcycle", "--smoother", "jacobi", "--sweeps", "1", "2"], {"method": "vcycle"}),
        (["--load", "nodal", "--method", "direct"], {"load": "nodal", "method": "direct"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_answer_is_that_of_the_library(
    capsys: pytest.CaptureFixture[str], options: list[str], keywords: dict[str, Any]
) -> None:
    if "--smoother" in options:
        keywords = {**keywords, "smoother": "jacobi", "sweeps": (1, 2)}
    expected = mgnet.solve(lambda x, y: x * np.exp(-y), **{"n": 12, **keywords}, dim=2)
    figures = answer(
        capsys, "solve", "--rhs", "x*exp(-y)", "--n", "12", "--dim", "2", *options, "--out", "u.npy"
    )
    assert np.load("u.npy") == pytest.approx(expected.u, rel=1e-12, abs=1e-14)
    assert (figures["method"], figures["iterations"]) == (expected.method, expected.iterations)


def test_six_sides_and_a_solution_that_the_elements_have(capsys: pytest.CaptureFixture[str]) -> None:
    # u = 1 + 2 x - y + 3 z + x y z is trilinear and harmonic: it comes out exactly if every sign is right.
    argv = "solve --rhs 1+2*x-y+3*z+x*y*z --a 2 --c 1 --n 4 3 5 --domain 0 1 -1 1 0 2"
    argv += " --left neumann:-2*(2+y*z) --right dirichlet:3-y+3*z+y*z"
    argv += " --bottom robin:3,2*(1-x*z)+3*(2+2*x+3*z-x*z)"
    argv += " --top neumann:2*(x*z-1) --back dirichlet:1+2*x-y --front robin:0,2*(3+x*y)"
    assert answer(capsys, *argv.split(), "--exact", "1+2*x-y+3*z+x*y*z")["max_error"] < 1e-11


@pytest.mark.parametrize(
    ("options", "dim"),
    [
        (["--n", "4", "5"], 2),
        (["--n", "4", "5", "6"], 3),
        (["--n", "4", "--domain", "0", "1", "0", "2"], 2),
        (["--n", "4", "--domain", "0", "1", "0", "2", "0", "3"], 3),
        (["--rhs", "plane.npy"], 2),
        (["--rhs", "space.npy"], 3),
        (["--a", "space.npy"], 3),
        (["--c", "plane.npy"], 2),
        (["--rhs", "narrow.npy", "--dim", "2"], 2),
        (["--rhs", "narrow.npy"], 1),  # two columns: x and f
        (["--n", "4"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_says_the_number_of_dimensions(
    capsys: pytest.CaptureFixture[str], options: list[str], dim: int
) -> None:
    np.save("plane.npy", np.ones((5, 4)))
    np.save("space.npy", np.ones((3, 4, 5)))
    np.save("narrow.npy", [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    figures = answer(capsys, "solve", "--rhs", "1", *options)
    assert figures["dim"] == dim
    assert np.size(figures["n"]) == dim


def test_arrays_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(3)
    f, a, c = random.normal(size=(7, 5)), 1 + random.random((6, 4)), random.random((7, 5))
    for name, values in (("f", f), ("a", a), ("c", c)):
        np.save(f"{name}.npy", values)
    argv = ["solve", "--rhs", "f.npy", "--a", "a.npy", "--c", "c.npy", "--right", "neumann:y"]
    figures = answer(capsys, *argv, "--out", "u.npy")
    assert figures["n"] == [6, 4]
    expected = mgnet.solve(f, n=(6, 4), dim=2, a=a, c=c, right=mgnet.Neumann(lambda x, y: y), method="vcycle")
    assert np.load("u.npy") == pytest.approx(expected.u, abs=1e-9)
    # what was written can be read again
    assert answer(capsys, "solve", "--rhs", "u.npy")["n"] == [6, 4]


# Files out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("argv", "dim"), [(PLANE, 2), (SPACE, 3)])
def test_out_has_every_node_and_every_digit(
    capsys: pytest.CaptureFixture[str], argv: list[str], dim: int, dtype: str
) -> None:
    domain = ["--domain", "0", "1", "0", "3", "0", "0.7"][: 1 + 2 * dim]
    n = ["--n", "4", "5", "6"][: 1 + dim]
    for name in ("u.npy", "u.csv"):
        answer(capsys, *argv, *domain, *n, "--dtype", dtype, "--out", name)
    u = np.load("u.npy")
    assert u.shape == (5, 6, 7)[:dim]
    assert u.dtype == dtype
    header, *_ = Path("u.csv").read_text().splitlines()
    assert header == ("x,y,u" if dim == 2 else "x,y,z,u")
    table = np.loadtxt("u.csv", delimiter=",", skiprows=1)
    places = [tuple(map(round, row[:-1] * [4, 5 / 3, 6 / 0.7][:dim])) for row in table]
    assert sorted(places) == list(np.ndindex(u.shape))
    assert all(u[place] == np.dtype(dtype).type(row[-1]) for place, row in zip(places, table, strict=True))


def test_many_rows(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *PLANE, "--n", "3", "70000", "--tol", "1", "--out", "u.csv")
    x, y, _ = np.loadtxt("u.csv", delimiter=",", skiprows=1, unpack=True)
    assert np.array_equal(x.reshape(4, 70001)[:, 0], np.linspace(0, 1, 4))
    assert np.array_equal(y.reshape(4, 70001)[2], np.linspace(0, 1, 70001))


@pytest.mark.parametrize("argv", [PLANE, SPACE])
def test_a_map(argv: list[str]) -> None:
    assert main([*argv, "--plot", "u.png"]) == 0
    assert Path("u.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir() == ["u.png"]


def test_an_unconverged_answer_is_told_and_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*PLANE, "--method", "vcycle", "--maxiter", "1", "--json", "--out", "u.npy"]
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "MAXITER"
    assert err.startswith("mgnet: not converged: ")
    assert err.endswith("(u.npy not written)\n")
    assert os.listdir() == []


# What is refused


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*PLANE, "--dim", "4"], "--dim: invalid choice: '4'"),
        ([*PLANE, "--dim", "1"], "(y with --dim 2 or 3, z with --dim 3)"),
        ([*PLANE, "--rhs", "z"], "--rhs: 'z' at column 1"),
        ([*PLANE, "--rhs", "w"], "--rhs: 'w' at column 1"),
        ([*PLANE, "--exact", "x*z"], "--exact: 'z' at column 3"),
        ([*PLANE, "--exact", ""], "--exact: the expression is empty"),
        ([*PLANE, "--exact", "1/y"], "--exact: '1/y' is inf at x = 0, y = 0"),
        ([*PLANE, "--rhs", "1/(x - x)"], "is inf at x ="),
        (["solve", "--rhs", "1", "--dim", "2"], "--n is missing"),
        ([*PLANE, "--n", "8", "8", "8"], "--n: expected 1 or 2 arguments in 2 dimensions, got 8 8 8"),
        ([*PLANE, "--n", "8", "8", "8", "8", "--dim", "3"], "--n: expected 1 or 3 arguments in 3 dim"),
        (["solve", "--rhs", "1", "--n", "8", "8", "8", "8"], "--n: expected 1 or 3 arguments in 3 dim"),
        (["solve", "--rhs", "1", "--n", "8", "8", "--dim", "1"], "--n: expected 1 argument in 1 dim"),
        ([*PLANE, "--n", "8", "more"], "--n: unrecognized arguments: more"),
        ([*PLANE, "--n", "8", "2.5"], "--n: '2.5' is not accepted; accepted is a whole number"),
        ([*PLANE, "--n", "8", "0"], "n: got 0; accepted: an integer of at least 1"),
        (
            [*PLANE, "--domain", "0", "1", "2"],
            "--domain: expected 2 or 4 arguments in 2 dimensions, got 0 1 2",
        ),
        ([*PLANE, "--domain", "0", "x"], "--domain: 'x' at column 1"),
        ([*PLANE, "--domain", "1", "0"], "domain: got (1.0, 0.0)"),
        ([*PLANE, "--back", "neumann:0"], "--back: got 'neumann:0' in 2 dimensions; accepted with --dim 3"),
        (
            ["solve", "--rhs", "1", "--n", "8", "--top", "neumann:0"],
            "--top: got 'neumann:0' in 1 dimension; accepted with --dim 2 or 3",
        ),
        ([*PLANE, "--top", "free:0"], "--top: 'free:0' is not accepted; accepted are dirichlet:G"),
        ([*PLANE, "--top", "dirichlet:z"], "--top: 'z' at column 1"),
        ([*PLANE, "--top", "robin:z,1"], "--top: 'z' at column 1"),
        ([*PLANE, "--top", "robin:x - 1,1"], "top: Robin alpha: got"),
        ([*PLANE, "--top", "robin:-1,1"], "--top: Robin alpha: got -1.0; accepted: a number of at least 0"),
        (
            [*PLANE, "--top", "neumann:1/(y - 1)"],
            "top: g: the function raised ExpressionError: '1/(y - 1)' is",
        ),
        (
            [*PLANE, "--periodic", "z"],
            "--periodic: 'z' is not accepted; accepted are axes such as x or y or x,y",
        ),
        ([*PLANE, "--periodic", "x,x"], "--periodic: 'x,x' is not accepted"),
        ([*PLANE, "--periodic", ""], "--periodic: '' is not accepted"),
        ([*PLANE, "--periodic", "x", "--left", "dirichlet:1"], "left"),
        ([*PLANE, "--periodic"], "f: got data that sum to"),  # its mean is not zero
        ([*PLANE, "--a", "x - 1"], "a: got"),
        ([*PLANE, "--c", "-1"], "c"),
        ([*PLANE, "--method", "exact"], "method: got 'exact' in 2 dimensions"),
    ],
    ids=lambda value: " ".join(value[5:])[:40] if isinstance(value, list) else "",
)
def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert words in complaint(capsys, *argv, code=2)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--rhs", "none.npy"], 2, "--rhs: none.npy: No such file"),
        (
            ["--rhs", "f.csv"],
            2,
            "--rhs: got f.csv in 2 dimensions; accepted are an expression and a .npy file",
        ),
        (["--rhs", "bad.npy"], 4, "--rhs: bad.npy: not a readable .npy file"),
        (["--rhs", "line.npy"], 4, "--rhs: line.npy: an array of shape (5,); accepted: 2 dimensions"),
        (["--rhs", "none-in-it.npy"], 4, "--rhs: none-in-it.npy: no numbers in it"),
        (["--rhs", "hole.npy"], 4, "--rhs: hole.npy, entry (2, 1): nan: not a finite number"),
        (
            ["--rhs", "complex.npy"],
            4,
            "--rhs: complex.npy: an array of complex128; real numbers are accepted",
        ),
        (["--a", "plane.npy", "--n", "5"], 2, "differ: 5 x 4 by --a plane.npy, 5 x 5 by --n"),
        (
            ["--a", "plane.npy", "--c", "plane.npy"],
            4,
            "differ: 5 x 4 by --a plane.npy, 4 x 3 by --c plane.npy",
        ),
        (["--a", "zero.npy"], 2, "a: got 0.0 in cell (1, 2); accepted: positive"),
    ],
)
def test_arrays_that_do_not_do(
    capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    hole, zero = np.ones((5, 4)), np.ones((5, 4))
    hole[2, 1], zero[1, 2] = np.nan, 0.0
    arrays = {"line": np.ones(5), "plane": np.ones((5, 4)), "none-in-it": np.ones((0, 4))}
    for name, values in {**arrays, "hole": hole, "zero": zero, "complex": 1j * hole}.items():
        np.save(f"{name}.npy", values)
    Path("bad.npy").write_text("\x93NUMPY")
    assert words in complaint(capsys, "solve", "--dim", "2", "--rhs", "1", *options, code=code)


def test_memory_asked_for_is_refused_before_it_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, "solve", "--rhs", "x*y", "--n", "2**30", "2**30", code=5)


def test_an_input_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("f.npy", np.ones((5, 4)))
    words = "--out: ./f.npy is an input; accepted is another file"
    assert words in complaint(capsys, "solve", "--rhs", "f.npy", "--out", "./f.npy", code=2)


# Sources at points


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_points_are_added_to_the_right_hand_side(capsys: pytest.CaptureFixture[str], dim: int) -> None:
    places = np.array([[0.3, 0.4, 0.2], [0.55, 0.5, 0.9]])[:, :dim]
    q = np.array([1.5, -0.5])
    lines = [",".join(["x", "y", "z"][:dim] + ["q"])]
    lines += [",".join(map(str, [*place, s])) for place, s in zip(places.tolist(), q.tolist(), strict=True)]
    Path("points.csv").write_text("\n".join(lines))
    rhs = ["solve", "--dim", str(dim), "--n", "8", "--rhs", "x", "--c", "1 + x", "--right", "robin:2,3"]
    figures = answer(capsys, *rhs, "--points", "points.csv", "--out", "u.npy")
    assert list(figures) == KEYS
    problem = {"dim": dim, "n": 8, "c": lambda *x: 1 + x[0], "right": mgnet.Robin(2.0, 3.0)}
    given = mgnet.Poisson(lambda *x: x[0] + 0 * sum(x), **problem)
    expected = mgnet.Hierarchy(given).solve(mgnet.load(given, points=(places, q), fluxes=True)).u
    found = np.load("u.npy")
    np.testing.assert_allclose(found[:, 1] if dim == 1 else found, expected, rtol=0, atol=1e-12)
    without = mgnet.solve(lambda *x: x[0] + 0 * sum(x), **problem).u
    assert np.abs(without - expected).max() > 0.01


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("x,y,q\n0.5,0.5,1\n1.5,0.5,1\n", 2, "points: got (1.5, 0.5) as place 1; accepted: places in [0.0"),
        ("x,q\n0.5,1\n", 4, "--points: points.csv, line 1: columns: 2; accepted: 3"),
        ("x,y,q\n0.5,0.5,one\n", 4, "--points: points.csv, line 2: 'one' is not a number"),
        ("x,y,q\n0.5,0.5,nan\n", 4, "--points: points.csv, line 2: 0.5, 0.5, nan: not a finite number"),
        ("x,y,q\n", 4, "--points: points.csv: no numbers in it"),
        (None, 2, "--points: "),
    ],
)
def test_points_that_are_wrong_are_refused(
    capsys: pytest.CaptureFixture[str], text: str | None, code: int, said: str
) -> None:
    if text is not None:
        Path("points.csv").write_text(text)
    assert said in complaint(capsys, *PLANE, "--points", "points.csv", code=code)
    assert "--points: got '3'" in complaint(capsys, *PLANE, "--points", "3", code=2)
