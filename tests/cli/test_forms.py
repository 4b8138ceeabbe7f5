"""mgnet solve on any cells, with held nodes, given nodes along axes, and a diagonal tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import KEYS, answer, complaint

import mgnet
from mgnet.cli import main

pytestmark = pytest.mark.usefixtures("own_folder")

N = (6, 5, 4)
STRETCHED = [0.0, 0.1, 0.3, 0.6, 1.0, 1.5]
EXPRESSION = {1: "sin(3*x)", 2: "sin(3*x) + y", 3: "sin(3*x) + y - z"}


def save(**arrays: Any) -> None:
    for name, values in arrays.items():
        np.save(f"{name}.npy", values)


def function(dim: int) -> Any:
    return lambda x, y=0.0, z=0.0: np.sin(3 * x) + y - z + 0 * x


def values(path: str, dim: int) -> np.ndarray:
    stored = np.load(path)
    return stored[:, 1] if dim == 1 else stored


def masks(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some cells of a box, and some nodes."""
    rng = np.random.default_rng(dim)
    cells = rng.random(N[:dim]) < 0.9
    cells[(0,) * dim] = cells[(-1,) * dim] = True
    nodes = np.zeros([n + 1 for n in N[:dim]], bool)
    nodes[(3,) * dim] = nodes[(0,) * dim] = True
    return cells, nodes


# The answer is that of the library


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_cells_say_the_grid_and_the_dimension(capsys: pytest.CaptureFixture[str], dim: int) -> None:
    cells, _ = masks(dim)
    save(cells=cells)
    figures = answer(
        capsys, "solve", "--rhs", EXPRESSION[dim], "--cells", "cells.npy", "--c", "1", "--out", "u.npy"
    )
    assert list(figures) == KEYS
    assert (figures["n"], figures["dim"]) == (list(N[:dim]) if dim > 1 else N[0], dim)
    expected = mgnet.solve(function(dim), dim=dim, cells=cells, c=1.0).u
    np.testing.assert_allclose(values("u.npy", dim), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("form", ["number", "expression", "nodes", "held"])
def test_nodes_that_are_held(capsys: pytest.CaptureFixture[str], dim: int, form: str) -> None:
    cells, nodes = masks(dim)
    data = np.random.default_rng(5).normal(size=nodes.shape)
    data[~nodes] = np.nan  # which do not count
    save(cells=cells, nodes=nodes.astype(int), at_nodes=data, at_held=data[nodes])
    text, given = {
        "number": ("-pi", -np.pi),
        "expression": (f"max(0.5, {EXPRESSION[dim]})", lambda *x: np.maximum(0.5, function(dim)(*x))),
        "nodes": ("at_nodes.npy", np.where(nodes, data, 0.0)),
        "held": ("at_held.npy", data[nodes]),
    }[form]
    argv = ["solve", "--rhs", "1", "--fixed", f"nodes.npy,{text}", "--out", "u.npy"]
    for more, keywords in (([], {}), (["--cells", "cells.npy"], {"cells": cells, "c": 1.0})):
        answer(capsys, *argv, *more, *(["--c", "1"] if more else []))
        expected = mgnet.solve(1.0, N[:dim] if dim > 1 else N[0], dim=dim, fixed=(nodes, given), **keywords).u
        np.testing.assert_allclose(values("u.npy", dim), expected, rtol=0, atol=1e-12)


def test_several_are_held(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = np.zeros((2, 9, 9), bool)
    one[2, 2:7], other[6, 2:7] = True, True
    save(one=one, other=other)
    held = ["--fixed", "one.npy,1", "--fixed", "other.npy,-x"]
    asked = ["--flux", "one.npy", "--flux", "other.npy", "--flux", "top"]
    figures = answer(capsys, "solve", "--rhs", "0", *held, *asked, "--top", "neumann:0")
    given = np.where(one, 1.0, -0.75)
    sol = mgnet.solve(0.0, 8, dim=2, fixed=(one | other, given), boundary={"top": mgnet.Neumann(0.0)})
    expected = {"one.npy": sol.flux(one), "other.npy": sol.flux(other), "top": 0.0}
    assert figures["flux"] == pytest.approx({name: float(q) for name, q in expected.items()}, abs=1e-12)
    assert abs(figures["flux"]["one.npy"]) > 1
    again = [*held, "--fixed", "one.npy,1", "--fixed", "one.npy,x+2"]
    line = complaint(capsys, "solve", "--rhs", "0", *again, code=2)
    assert line.endswith("--fixed: got 1 and, by one.npy, 2.25 at node (2, 2); accepted: one value")


def test_axes_with_nodes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("y.csv").write_text("y\n" + "\n".join(map(str, STRETCHED)))
    save(x=STRETCHED[:4], even=[1.0, 2.0, 3.0], load=np.ones((5, 6)))
    rhs = ["solve", "--rhs", EXPRESSION[2], "--out", "u.npy"]
    y = np.array(STRETCHED)
    for argv, keywords in (
        (["--nodes-x", "x.npy", "--nodes-y", "y.csv"], {"nodes": (y[:4], y)}),
        (["--n", "4", "--nodes-y", "y.csv"], {"nodes": (np.linspace(0, 1, 5), y)}),
        (["--n", "4", "5", "--nodes-y", "y.csv"], {"nodes": (np.linspace(0, 1, 5), y)}),
        (["--n", "4", "--nodes-y", "y.csv", "--domain", "1", "2"], {"nodes": (np.linspace(1, 2, 5), y)}),
        (
            ["--n", "4", "--nodes-y", "y.csv", "--domain", "1", "2", "0", "1.5"],
            {"nodes": (np.linspace(1, 2, 5), y)},
        ),
        (["--n", "4", "--nodes-y", "even.npy"], {"n": (4, 2), "domain": ((0, 1), (1, 3))}),
    ):
        figures = answer(capsys, *rhs, *argv)
        expected = mgnet.solve(function(2), dim=2, **keywords)
        assert figures["n"] == [len(x) - 1 for x in expected.x]
        np.testing.assert_allclose(np.load("u.npy"), expected.u, rtol=0, atol=1e-12)
    # An array that may have a value per node or per cell is what the nodes say.
    assert answer(capsys, "solve", "--rhs", "load.npy", "--nodes-y", "y.csv")["n"] == [4, 5]
    assert answer(capsys, "solve", "--rhs", "load.npy", "--n", "6", "--nodes-x", "y.csv")["n"] == [5, 6]
    assert answer(capsys, "solve", "--rhs", "x", "--nodes-x", "x.npy")["n"] == 3
    answer(capsys, "solve", "--rhs", "x*z", "--n", "2", "--nodes-z", "y.csv", "--out", "u.csv")
    assert np.loadtxt("u.csv", delimiter=",", skiprows=1)[:6, 2].tolist() == STRETCHED


def test_the_table_tells_cells_and_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    cells, held = np.ones((5, 5), bool), np.zeros((6, 6), bool)
    cells[3:, 3:], held[1, 1] = False, True
    save(cells=cells, held_ones=held, y=STRETCHED)
    argv = ["--cells", "cells.npy", "--nodes-y", "y.npy", "--fixed", "held_ones.npy,5"]
    assert main(["solve", "--rhs", "0", *argv, "--flux", "held_ones.npy", "--plot", "u.png"]) == 0
    rows = {line[:18].strip(): line[18:] for line in capsys.readouterr().out.splitlines()}
    assert rows["grid"] == "given nodes on [0, 1] x [0, 1.5], 21 of 25 cells"
    assert rows["u"] == "0 to 5"
    assert float(rows["flux held_ones.npy"]) > 0
    assert Path("u.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "a"),
    [
        (["--a-x", "2", "--a-y", "1 + x"], (2.0, lambda x, y: 1 + x + 0 * y)),
        (["--a-y", "1e-3"], (1.0, 1e-3)),
        (["--a-x", "a.npy"], ("a", 1.0)),
        (["--a-x", "a.npy", "--a-y", "nodal.npy"], ("a", "nodal")),
    ],
    ids=["function", "number", "file", "files"],
)
def test_a_diagonal_tensor(capsys: pytest.CaptureFixture[str], argv: list[str], a: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(1)
    data = {"a": 1 + rng.random((6, 5)), "nodal": 1 + rng.random((7, 6))}
    save(**data)
    answer(capsys, "solve", "--rhs", EXPRESSION[2], "--n", "6", "5", *argv, "--out", "u.npy")
    along = tuple(data[each] if isinstance(each, str) else each for each in a)
    expected = mgnet.solve(function(2), (6, 5), dim=2, a=along).u
    np.testing.assert_allclose(np.load("u.npy"), expected, rtol=0, atol=1e-12)


def test_on_an_interval_a_tensor_is_a_coefficient(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["solve", "--rhs", "1", "--n", "8", "--out", "u.npy"]
    answer(capsys, *argv, "--a-x", "1 + x")
    expected = mgnet.solve(1.0, 8, a=lambda x: 1 + x).u
    np.testing.assert_allclose(np.load("u.npy")[:, 1], expected, rtol=1e-12)


def test_robin_s_alpha_varies(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "solve",
        "--rhs",
        "1",
        "--dim",
        "2",
        "--n",
        "8",
        "--right",
        "robin:where(y < 0.5, 10, 0), max(x, y)",
    ]
    answer(capsys, *argv, "--out", "u.npy")
    right = mgnet.Robin(lambda x, y: np.where(y < 0.5, 10.0, 0.0), np.maximum)
    expected = mgnet.solve(1.0, 8, dim=2, boundary={"right": right}).u
    np.testing.assert_allclose(np.load("u.npy"), expected, rtol=0, atol=1e-12)


def test_everything_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    cells, nodes = masks(2)
    Path("points.csv").write_text("x,y,q\n0.3,0.4,2\n")
    rng = np.random.default_rng(2)
    f, a = rng.normal(size=(7, 6)), 1 + rng.random((6, 5))
    outside = mgnet.solve(0.0, dim=2, cells=cells, c=1.0).u
    f[np.isnan(outside)], a[~cells] = np.nan, np.inf  # nothing there counts
    save(cells=cells, nodes=nodes, f=f, a=a, y=STRETCHED)
    argv = "--rhs f.npy --a-y a.npy --c 1 --cells cells.npy --fixed nodes.npy,x+y --nodes-y y.npy --n 6"
    answer(capsys, "solve", *argv.split(), "--top", "robin:y,1", "--points", "points.csv", "--out", "u.npz")
    problem = mgnet.Poisson(
        np.nan_to_num(f),
        dim=2,
        nodes=(np.linspace(0, 1, 7), np.array(STRETCHED)),
        a=(1.0, np.where(cells, a, 1.0)),
        c=1.0,
        cells=cells,
        fixed=(nodes, lambda x, y: x + y),
        boundary={"top": mgnet.Robin(lambda x, y: y + 0 * x, 1.0)},
    )
    b = mgnet.load(problem, points=[((0.3, 0.4), 2.0)], fluxes=True)
    with np.load("u.npz") as stored:
        expected = mgnet.Hierarchy(problem, method="direct").solve(b).u
        np.testing.assert_allclose(stored["u"], expected, rtol=0, atol=1e-9)
        assert stored["y"].tolist() == STRETCHED


def test_neumann_everywhere_on_two_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    cells = np.ones((9, 8), bool)
    cells[4] = False
    save(cells=cells)
    free = [word for side in ("left", "right", "bottom", "top") for word in (f"--{side}", "neumann:0")]
    argv = ["solve", "--rhs", "where(x < 0.5, 1, 2) + x", "--cells", "cells.npy", *free]
    assert "compatible='project'" in complaint(capsys, *argv, code=2)
    figures = answer(capsys, *argv, "--compatible", "project")
    assert figures["status"] == "CONVERGED"


# NaN is where there is no cell, and nowhere else


def test_the_largest_error_is_that_of_the_domain(capsys: pytest.CaptureFixture[str]) -> None:
    cells = np.ones((8, 8), bool)
    cells[:3, :3] = False
    save(cells=cells)
    nodes = np.ones((9, 9), bool)
    nodes[0, 0] = False  # the corner that is missing, where there is no log(x + y)
    save(nodes=nodes)
    argv = ["solve", "--rhs", "0", "--cells", "cells.npy", "--fixed", "nodes.npy,log(x + y)"]
    assert answer(capsys, *argv, "--exact", "log(x + y)")["max_error"] == 0.0
    assert answer(capsys, *argv, "--exact", "log(x + y) + x")["max_error"] == 1.0
    line = complaint(capsys, *argv, "--exact", "log(x + y - 2)", code=2)
    assert "--exact: 'log(x + y - 2)' is nan at x = 0, y = 0.375" in line


def test_what_diverged_on_some_cells_is_not_taken_for_none(capsys: pytest.CaptureFixture[str]) -> None:
    save(cells=np.arange(8) != 3)
    argv = ["solve", "--rhs", "1", "--cells", "cells.npy", "--a", "5e-324", "--exact", "x"]
    figures = answer(capsys, *argv, code=3)
    assert (figures["status"], figures["max_error"]) == ("DIVERGED", None)
    assert main(argv) == 3
    assert "\nu                 nan to nan\n" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz", ".vtr"])
@pytest.mark.parametrize("dim", [1, 2])
def test_files_have_every_node(capsys: pytest.CaptureFixture[str], ending: str, dim: int) -> None:
    if ending == ".vtr":
        pytest.importorskip("pyevtk")
    cells = np.ones((4, 4)[:dim])
    cells[-2:] = 0
    save(cells=cells)
    path = f"u{ending}"
    argv = ["solve", "--rhs", "1", "--cells", "cells.npy"]
    answer(capsys, *argv, "--out", path)
    if ending == ".csv":
        u = np.loadtxt(path, delimiter=",", skiprows=1)[:, dim].reshape((5, 5)[:dim])
    elif ending == ".npy":
        u = values(path, dim)
    elif ending == ".npz":
        u = np.load(path)["u"]
    else:
        assert b'<VTKFile type="RectilinearGrid"' in Path(path).read_bytes()
        return
    assert np.isnan(u[3:]).all()
    assert np.isfinite(u[:3]).all()
    if ending == ".npy":  # what was written can be read again, beside those cells alone
        assert answer(capsys, "solve", "--rhs", path, *argv[3:])["status"] == "CONVERGED"
        assert "not a finite number" in complaint(capsys, "solve", "--rhs", path, code=4)


# What is refused


def test_memory_asked_for_is_refused_before_it_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    save(y=STRETCHED)
    words = "got (1152921504606846976, 5), which needs about"
    assert words in complaint(capsys, "solve", "--rhs", "1", "--n", "2**60", "--nodes-y", "y.npy", code=5)


BOX = ["solve", "--rhs", "1", "--dim", "2"]


@pytest.fixture
def files(own_folder: None) -> None:
    mask = np.ones((6, 5), bool)
    half, hole = mask.astype(float), np.ones((7, 6))
    half[2, 1], hole[2, 1] = 0.5, np.nan
    save(
        cells=mask,
        nodes=np.ones((7, 6), bool),
        half=half,
        hole=hole,
        none=mask & False,
        line=np.ones(6, bool),
    )
    save(
        other=np.ones((4, 4), bool),
        words=np.array(["a"]),
        twos=np.full((6, 5), 2, np.uint8),
        f=np.ones((7, 6)),
    )
    save(few=np.zeros(3), y=np.linspace(0, 1, 5), falling=[0.0, 2.0, 1.0], empty=np.ones((0, 5), bool))
    Path("text.npy").write_text("1 0 1\n")
    Path("mask.csv").write_text("1\n0\n0.5\n")
    Path("y.csv").write_text("x,y\n0,1\n1,2\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--cells", "half.npy"], 4, "--cells: half.npy, entry (2, 1): 0.5; accepted: True or False, 1 or 0"),
        (["--cells", "hole.npy"], 4, "--cells: hole.npy, entry (2, 1): nan; accepted: True or False"),
        (["--cells", "twos.npy"], 4, "--cells: twos.npy, entry (0, 0): 2; accepted: True or False, 1 or 0"),
        (["--cells", "line.npy"], 4, "--cells: line.npy: an array of shape (6,); accepted: 2 dimensions"),
        (["--cells", "empty.npy"], 4, "--cells: empty.npy: no numbers in it"),
        (["--cells", "words.npy"], 4, "--cells: words.npy: an array of <U1; real numbers are accepted"),
        (["--cells", "text.npy"], 4, "--cells: text.npy: not a readable .npy file"),
        (["--cells", "nowhere.npy"], 2, "--cells: nowhere.npy: No such file or directory"),
        (["--cells", "mask.csv"], 2, "--cells: got mask.csv in 2 dimensions; accepted is a .npy file"),
        (["--cells", "x < 0.5"], 2, "--cells: got 'x < 0.5'; accepted: a file of True and False, .npy"),
        (["--cells", "none.npy"], 2, "--cells: got a mask that is False everywhere; accepted: at least one"),
        (["--cells", "cells.npy", "--n", "8"], 2, "differ: 6 x 5 by --cells cells.npy, 8 x 8 by --n"),
        (
            ["--cells", "cells.npy", "--fixed", "cells.npy,0"],
            4,
            "differ: 6 x 5 by --cells cells.npy, 5 x 4 by --fixed cells.npy",
        ),
        (["--n", "6", "5", "--flux", "cells.npy"], 2, "differ: 5 x 4 by --flux cells.npy, 6 x 5 by --n"),
        (["--n", "4", "--flux", "half.npy"], 4, "--flux: half.npy, entry (2, 1): 0.5"),
        (["--n", "4", "--flux", "up"], 2, "--flux: got 'up'; accepted: left, right, bottom, top, or a file"),
        (["--fixed", "nodes.npy"], 2, "--fixed: got 'nodes.npy'; accepted: MASK,VALUES"),
        (["--fixed", "nodes.npy,"], 2, "--fixed: got 'nodes.npy,'; accepted: MASK,VALUES"),
        (["--fixed", "x,1"], 2, "--fixed: got 'x'; accepted: a file of True and False, .npy"),
        (["--fixed", "nodes.npy,w"], 2, "--fixed: 'w' at column 1"),
        (["--fixed", "nodes.npy,1/x"], 2, "--fixed: '1/x' is inf at x = 0, y = 0"),
        (
            ["--fixed", "nodes.npy,values.npz"],
            2,
            "--fixed: got the file 'values.npz'; accepted: an expression",
        ),
        (
            ["--fixed", "nodes.npy,mask.csv"],
            2,
            "--fixed: got mask.csv in 2 dimensions; accepted are a number",
        ),
        (["--fixed", "nodes.npy,hole.npy"], 4, "--fixed: hole.npy, entry (2, 1): nan: not a finite number"),
        (
            ["--fixed", "nodes.npy,few.npy"],
            4,
            "--fixed: few.npy: an array of shape (3,); accepted: one value for each node, (7, 6), or for each"
            " that is held, (42,)",
        ),
        (["--nodes-y", "y.npy"], 2, "--n is missing"),
        (["--nodes-y", "3", "--n", "4"], 2, "--nodes-y: got '3'; accepted: a file of increasing coordinates"),
        (["--nodes-y", "y.csv", "--n", "4"], 4, "--nodes-y: y.csv, line 1: columns: 2; accepted: 1"),
        (["--nodes-y", "few.npy", "--n", "4"], 4, "--nodes-y: few.npy, row 1: y = 0 does not increase"),
        (["--nodes-x", "falling.npy", "--n", "4"], 4, "falling.npy, row 2: x = 1 does not increase"),
        (["--nodes-y", "y.npy", "--n", "4", "5"], 2, "differ: ? x 4 by --nodes-y y.npy, 4 x 5 by --n"),
        (
            ["--nodes-y", "y.npy", "--rhs", "f.npy"],
            4,
            "differ: 6 x 5 by --rhs f.npy, ? x 4 by --nodes-y y.npy",
        ),
        (["--nodes-x", "y.npy", "--nodes-y", "y.npy", "--n", "5"], 2, "? x 4 by --nodes-y y.npy, 5 x 5 by"),
        (
            ["--nodes-x", "y.npy", "--nodes-y", "y.npy", "--domain", "0", "2"],
            2,
            "--domain 0 2: the nodes in the file go from 0 to 1",
        ),
        (
            ["--n", "4", "--nodes-z", "y.npy"],
            2,
            "--nodes-z: got 'y.npy' in 2 dimensions; accepted with --dim 3",
        ),
        (["--n", "4", "--a-z", "2"], 2, "--a-z: got '2' in 2 dimensions; accepted with --dim 3"),
        (["--n", "4", "--a", "2", "--a-y", "3"], 2, "--a: got '2' and --a-y; accepted: one of them"),
        (["--n", "4", "--a-y", "y - 1"], 2, "a: got"),
        (["--a-y", "hole.npy"], 4, "--a-y: hole.npy, entry (2, 1): nan: not a finite number"),
        (["--cells", "cells.npy", "--out", "./cells.npy"], 2, "--out: ./cells.npy is an input"),
        (["--fixed", "nodes.npy,f.npy", "--out", "f.npy"], 2, "--out: f.npy is an input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_named(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    assert words in complaint(capsys, *BOX, *argv, code=code)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--cells", "mask.csv"], 4, "--cells: mask.csv, line 3: 0.5; accepted: 0 or 1"),
        (["--fixed", "line.npy,few.npy"], 4, "--fixed: few.npy: an array of shape (3,); accepted: one value"),
        (["--fixed", "line.npy,1", "--n", "4"], 2, "differ: 5 by --fixed line.npy, 4 by --n"),
        (["--n", "4", "--a-y", "1"], 2, "--a-y: got '1' in 1 dimension; accepted with --dim 2 or 3"),
        (["--nodes-x", "y.npy", "--n", "5"], 2, "differ: 4 by --nodes-x y.npy, 5 by --n"),
        (["--n", "4", "--right", "robin:x,1"], 2, "--right: 'x' at column 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_on_an_interval(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    assert words in complaint(capsys, "solve", "--rhs", "1", "--dim", "1", *argv, code=code)


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_ends_in_one_line(capsys: pytest.CaptureFixture[str], seed: int) -> None:
    rng = np.random.default_rng(seed)

    def damaged(name: str, shape: tuple[int, ...], mask: bool = True) -> None:
        sizes = tuple(int(n + rng.integers(-1, 2)) for n in shape) if rng.random() < 0.3 else shape
        sizes = sizes[: len(sizes) - int(rng.random() < 0.15)]
        array: Any = rng.random(sizes) < 0.9 if mask else rng.normal(size=sizes)
        kind = rng.choice(["bool", "f4", "i8", "c16", "O", "?"], p=[0.5, 0.2, 0.1, 0.05, 0.05, 0.1])
        array = array.astype(kind) if mask or kind[0] in "fc" else array
        if array.size and array.dtype.kind == "f" and rng.random() < 0.5:
            array.flat[int(rng.integers(array.size))] = rng.choice([0.5, np.nan, -1.0, 1e30])
        np.save(f"{name}.npy", array)
        content = Path(f"{name}.npy").read_bytes()
        if rng.random() < 0.3:
            place = int(rng.integers(len(content)))
            content = content[:place] + rng.bytes(3) + content[place + int(rng.choice([3, 30])) :]
        Path(f"{name}.npy").write_bytes(content)

    damaged("cells", (6, 5))
    damaged("nodes", (7, 6))
    damaged("values", (7, 6), mask=False)
    np.save("y.npy", np.sort(rng.random(6)) if rng.random() < 0.7 else rng.random(6))
    argv = ["solve", "--rhs", "1", "--c", "1", "--cells", "cells.npy", "--fixed", "nodes.npy,values.npy"]
    with np.errstate(all="ignore"):
        code = main([*argv, "--nodes-y", "y.npy", "--flux", "nodes.npy", "--exact", "x", "--json"])
    out, err = capsys.readouterr()
    assert code in (0, 2, 3, 4)
    if code in (0, 3):
        json.loads(out, parse_constant=pytest.fail)
    else:
        assert (out, err.count("\n"), err[:14]) == ("", 1, "mgnet: error: ")
