"""The command line: what it hands to the library, what it prints and writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command import KEYS, answer, complaint
from processes import ended, environment, finished, started

import mgnet
from mgnet.cli import main
from mgnet.cli.commands import CHOSEN

DATA = Path(__file__).parent.parent / "examples" / "data"
SINE = ["solve", "--rhs", "pi**2*sin(pi*x)", "--n", "64"]

pytestmark = pytest.mark.usefixtures("own_folder")


def columns(path: str) -> tuple[np.ndarray, np.ndarray]:
    table = np.load(path) if path.endswith(".npy") else np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1]


# The answer


def test_json_is_one_object_with_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(capsys, *SINE, "--exact", "sin(pi*x)")
    assert list(figures) == [*KEYS, "max_error"]
    assert figures["status"] == "CONVERGED"
    assert (figures["n"], figures["dim"]) == (64, 1)
    assert (figures["dtype"], figures["device"], figures["method"]) == ("float64", "cpu", "exact")
    assert 0 < figures["max_error"] < 1e-10  # nodally exact, to quadrature
    assert figures["seconds"] > 0
    assert list(answer(capsys, *SINE)) == KEYS


def test_the_table_says_what_there_is_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*SINE, "--exact", "sin(pi*x)", "--out", "u.csv", "--plot", "u.png", "--dtype", "float32"]) == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    rows = {line[:18].strip(): line[18:] for line in out.splitlines()}
    assert rows["status"] == "CONVERGED"
    assert rows["grid"] == "uniform on [0, 1]"
    assert (rows["n"], rows["dtype"], rows["device"], rows["method"]) == ("64", "float32", "cpu", "exact")
    assert {"iterations", "residual", "error estimate", "seconds"} <= set(rows)
    assert float(rows["max error"]) < 1e-5
    low, high = rows["u"].split(" to ")
    assert float(low) == pytest.approx(0.0, abs=1e-6)
    assert float(high) == pytest.approx(1.0, abs=1e-6)
    assert rows["written"] == "u.csv, u.png"


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ([], {}),
        (["--domain", "-pi/2", "pi"], {"domain": (-np.pi / 2, np.pi)}),
        (["--a", "1 + x**2", "--c", "3"], {"a": lambda x: 1 + x**2, "c": 3.0}),
        (["--left", "dirichlet:pi/2", "--right", "neumann:-1"], {"left": (0, np.pi / 2), "right": (1, -1.0)}),
        (["--right", "robin:max(1, 2), -sqrt(4)"], {"right": (2, 2.0, -2.0)}),
        (["--load", "nodal", "--method", "direct"], {"load": "nodal", "method": "direct"}),
        (
            ["--tol", "1e-6", "--maxiter", "40", "--method", "vcycle"],
            {"tol": 1e-6, "maxiter": 40, "method": "vcycle"},
        ),
        (["--method", "pcg", "--smoother", "chebyshev"], {"method": "pcg", "smoother": "chebyshev"}),
        (
            ["--method", "fmg", "--sweeps", "1", "3", "--levels", "3"],
            {"method": "fmg", "sweeps": (1, 3), "levels": 3},
        ),
        (["--dtype", "float32", "--refine"], {"dtype": torch.float32, "refine": True}),
        (["--a", "2", "--load", "exact"], {"a": 2.0, "load": "exact"}),
    ],
    ids=" ".join,
)
def test_the_answer_is_that_of_the_library(
    capsys: pytest.CaptureFixture[str], options: list[str], keywords: dict[str, Any]
) -> None:
    kinds = (mgnet.Dirichlet, mgnet.Neumann, mgnet.Robin)
    for side in {"left", "right"} & set(keywords):
        kind, *values = keywords[side]
        keywords = {**keywords, side: kinds[kind](*values)}
    expected = mgnet.solve(lambda x: x * np.exp(-x), n=64, **keywords, throw=False)
    figures = answer(capsys, "solve", "--rhs", "x*exp(-x)", "--n", "64", *options, "--out", "u.npy")
    x, u = columns("u.npy")
    assert np.array_equal(x, expected.x)
    assert u == pytest.approx(expected.u, rel=1e-12, abs=1e-14)
    assert figures["method"] == expected.method
    assert figures["iterations"] == expected.iterations
    assert figures["dtype"] == str(keywords.get("dtype", torch.float64)).removeprefix("torch.")


def test_periodic(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(
        capsys, "solve", "--rhs", "4*pi**2*sin(2*pi*x)", "--n", "64", "--periodic", "--exact", "sin(2*pi*x)"
    )
    assert figures["n"] == 64
    assert figures["max_error"] < 1e-8


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a recorder in the place of mgnet.solve."""
    record = SimpleNamespace()

    def solve(f: Any, **keywords: Any) -> SimpleNamespace:
        record.f, record.keywords = f, keywords
        n = keywords["n"] if "n" in keywords else len(keywords["nodes"]) - 1
        return SimpleNamespace(
            x=np.linspace(0, 1, n + 1),
            u=np.full(n + 1, np.nan),
            status=record.status,
            iterations=np.int64(3),
            residuals=[1.0, float("inf")],
            error_estimate=None,
            method="exact",
            dtype="float64",
            device="cpu",
            message="raise maxiter\nor tol",
        )

    record.status = mgnet.Status.CONVERGED
    monkeypatch.setattr(mgnet, "solve", solve)
    return record


def test_only_what_was_given_is_handed_on(call: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "solve", "--rhs", "1", "--n", "2**3")
    assert call.f == 1.0
    assert call.keywords == {"n": 8, "domain": (0.0, 1.0), "throw": False}


@pytest.mark.parametrize("rhs", ["-x", "-2*x", "-1", " -x", "-(x)"])
def test_an_expression_may_begin_with_minus(call: SimpleNamespace, rhs: str) -> None:
    assert main(["solve", "--rhs", rhs, "--n", "4", "--domain", "-1e3", "-pi"]) == 0
    assert (call.f(1.0) if callable(call.f) else call.f) < 0
    assert call.keywords["domain"] == (-1000.0, -np.pi)


def test_what_is_not_finite_is_null_in_json(
    call: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = answer(capsys, "solve", "--rhs", "1", "--n", "4", "--exact", "x")
    assert figures["residual"] is figures["error_estimate"] is figures["max_error"] is None
    assert figures["iterations"] == 3


# Files in


def write(name: str, *columns: Sequence[float] | np.ndarray, header: str = "") -> str:
    if name.endswith(".npy"):
        np.save(name, columns[0] if len(columns) == 1 else np.stack(columns, axis=1))
    else:
        np.savetxt(name, np.stack(columns, axis=1), delimiter=",", fmt="%.17g", header=header, comments="")
    return name


def test_a_file_of_uneven_nodes(call: SimpleNamespace) -> None:
    x = np.array([0.0, 0.1, 0.5, 2.0])
    for rhs in (write("f.csv", x, x**2, header="x,f"), write("f.npy", x, x**2)):
        assert main(["solve", "--rhs", rhs, "--n", "3"]) == 0
        assert call.keywords.keys() == {"nodes", "throw"}
        assert call.keywords["nodes"].tolist() == x.tolist()
        assert call.f.tolist() == (x**2).tolist()


def test_a_file_of_even_nodes_is_a_uniform_grid(call: SimpleNamespace) -> None:
    x = -1 + np.arange(11) * 0.3
    assert main(["solve", "--rhs", write("f.csv", x, x**2)]) == 0
    assert call.keywords == {"n": 10, "domain": (-1.0, 2.0), "throw": False}
    assert call.f.tolist() == (x**2).tolist()


def test_nodal_values_alone(call: SimpleNamespace) -> None:
    f = np.arange(6.0)
    assert main(["solve", "--rhs", write("f.npy", f), "--domain", "1", "3", "--c", write("c.txt", f)]) == 0
    assert call.keywords["n"] == 5
    assert call.keywords["domain"] == (1.0, 3.0)
    assert call.f.tolist() == call.keywords["c"].tolist() == f.tolist()


def test_coefficients_from_files(call: SimpleNamespace) -> None:
    x = np.array([0.0, 0.1, 0.5, 2.0])
    a, c = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]
    middle = (x[1:] + x[:-1]) / 2
    for a_file in (
        write("a.csv", middle, a),
        write("a1.csv", a),
        write("a.npy", a),
        write("a2.npy", middle, a),
    ):
        for c_file in (write("c.csv", x, c), write("c1.csv", c), write("c.npy", c)):
            assert main(["solve", "--rhs", write("f.csv", x, x), "--a", a_file, "--c", c_file]) == 0
            assert call.keywords["a"].tolist() == a
            assert call.keywords["c"].tolist() == c
    # each of them alone tells the number of cells, c with x the grid too
    assert main(["solve", "--rhs", "x", "--a", "a1.csv"]) == 0
    assert call.keywords["n"] == 3
    assert main(["solve", "--rhs", "x", "--a", "a.csv", "--c", "c.csv"]) == 0
    assert call.keywords["nodes"].tolist() == x.tolist()


def test_a_file_of_coefficients_on_another_interval(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.csv", [0.5, 1.5, 2.5], [1.0, 2.0, 3.0])
    words = "a.csv, line 1: x = 0.5 is not in the grid's cell (0, 0.333333333)"
    assert words in complaint(capsys, "solve", "--rhs", "1", "--a", "a.csv", code=2)
    assert answer(capsys, "solve", "--rhs", "1", "--a", "a.csv", "--domain", "0", "3")["n"] == 3


def test_a_layered_bar_between_two_temperatures(capsys: pytest.CaptureFixture[str]) -> None:
    # No source: the flux is constant and u is linear in the thermal resistance.
    x = np.sort(np.append(np.random.default_rng(7).uniform(0, 2, 30), [0.0, 0.7, 2.0]))
    a = np.where((x[1:] + x[:-1]) / 2 < 0.7, 400.0, 0.5)
    write("f.csv", x, 0 * x)
    write("a.csv", a)
    answer(capsys, "solve", "--rhs", "f.csv", "--a", "a.csv", "--right", "dirichlet:100", "--out", "u.csv")
    resistance = np.append(0, np.cumsum(np.diff(x) / a))
    assert columns("u.csv")[1] == pytest.approx(100 * resistance / resistance[-1], rel=1e-12)


F = "f.csv"


@pytest.mark.parametrize(
    ("content", "options", "code", "words"),
    [
        ("x,f\n0,1\n0.5\n1,1\n", [], 4, "--rhs: f.csv, line 3: columns: 1; accepted: 2"),
        ("1\n2\n", [], 4, "f.csv, line 1: columns: 1; accepted: 2"),
        ("0,1\n0.5,abc\n", [], 4, "f.csv, line 2: 'abc' is not a number"),
        ("0,1\n0.5,nan\n", [], 4, "f.csv, line 2: 0.5, nan: not a finite number"),
        ("0,1\n0.5,1\n0.4,1\n", [], 4, "f.csv, line 3: x = 0.4 does not increase"),
        ("0,1\n", [], 4, "at least two"),
        ("", [], 4, "f.csv: no numbers"),
        ("0,1\n0.5,1\n1,1\n", ["--n", "3"], 2, "differ: 2 by --rhs f.csv, 3 by --n"),
        (
            "0,1\n0.5,1\n1,1\n",
            ["--domain", "0", "2"],
            2,
            "--domain 0 2: the nodes in the file go from 0 to 1",
        ),
        ("0,1\n0.5,1\n1,1\n", ["--a", "three.csv"], 4, "differ: 2 by --rhs f.csv, 3 by --a three.csv"),
        (
            "0,1\n0.3,1\n0.6,1\n1,1\n",
            ["--c", "even.csv"],
            4,
            "even.csv, line 2: x = 0.333 is not the grid's node 0.3",
        ),
        (
            "0,1\n0.1,1\n0.2,1\n1,1\n",
            ["--a", "three.csv"],
            4,
            "three.csv, line 2: x = 0.5 is not in the grid's cell",
        ),
        ("0,1\n1,1\n", ["--a", "none.csv"], 2, "--a: none.csv: No such file"),
        ("0,1\n1,1\n", ["--rhs", "none.npy"], 2, "--rhs: none.npy: No such file"),
        ("0,1\n1,1\n", ["--rhs", "bad.npy"], 4, "--rhs: bad.npy: not a readable .npy file"),
    ],
)
def test_files_that_do_not_do(
    capsys: pytest.CaptureFixture[str], content: str, options: list[str], code: int, words: str
) -> None:
    Path(F).write_text(content)
    Path("three.csv").write_text("0.05,1\n0.5,1\n0.8,1\n")
    Path("even.csv").write_text("0,1\n0.333,1\n0.667,1\n1,1\n")
    Path("bad.npy").write_text("\x93NUMPY")
    assert words in complaint(capsys, "solve", "--rhs", F, *options, code=code)


# Files out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_out_has_every_digit(capsys: pytest.CaptureFixture[str], dtype: str) -> None:
    answer(capsys, *SINE, "--dtype", dtype, "--out", "u.csv")
    answer(capsys, *SINE, "--dtype", dtype, "--out", "u.npy")
    for text, binary in zip(columns("u.csv"), columns("u.npy"), strict=True):
        assert np.array_equal(text.astype(dtype), binary.astype(dtype))
    assert Path("u.csv").read_text().startswith("x,u\n0,")
    assert np.load("u.npy").shape == (65, 2)
    assert sorted(os.listdir()) == ["u.csv", "u.npy"]


def test_what_was_written_can_be_read_again(call: SimpleNamespace) -> None:
    x = np.linspace(0, 3, 10)
    for name in ("u.csv", "u.npy"):
        write(name, x, np.sin(x))
        assert main(["solve", "--rhs", name]) == 0
        assert call.keywords["n"] == 9


@pytest.mark.parametrize(("name", "magic"), [("u.png", b"\x89PNG"), ("u.pdf", b"%PDF"), ("u.svg", b"<?xml")])
def test_plot_is_a_picture_of_the_kind_that_its_name_says(name: str, magic: bytes) -> None:
    assert main([*SINE, "--plot", name]) == 0
    assert Path(name).read_bytes().startswith(magic)
    assert os.listdir() == [name]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "u.txt"], "--out: u.txt: the name must end in .csv or .npy"),
        (["--out", "none/u.csv"], "--out: none/u.csv cannot be written: No such file or directory"),
        (["--out", "folder.csv"], "--out: folder.csv: is there and is not a file"),
        (["--out", "./f.csv"], "--out: ./f.csv is an input"),
        (["--plot", "u.jpg"], "--plot: u.jpg: the name must end in .png or .pdf or .svg"),
        (["--plot", "none/u.png"], "--plot: none/u.png cannot be written"),
    ],
)
def test_what_cannot_be_written_is_found_before_solving(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.setattr(mgnet, "solve", pytest.fail)
    Path("folder.csv").mkdir()
    Path("f.csv").write_text("0,1\n1,2\n")
    assert words in complaint(capsys, "solve", "--rhs", "f.csv", *options, code=2)
    assert sorted(os.listdir()) == ["f.csv", "folder.csv"]


# Ends


def test_an_unconverged_answer_is_told_and_not_written(
    call: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    call.status = mgnet.Status.MAXITER
    assert main(["solve", "--rhs", "1", "--n", "4", "--json", "--out", "u.csv", "--plot", "u.png"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "MAXITER"
    assert err == "mgnet: not converged: raise maxiter or tol (u.csv and u.png not written)\n"
    assert os.listdir() == []
    assert main(["solve", "--rhs", "1", "--n", "4"]) == 3
    assert "status            MAXITER" in capsys.readouterr().out


def test_no_iteration_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    figures = answer(capsys, *SINE, "--method", "vcycle", "--maxiter", "0", code=3)
    assert figures["status"] == "MAXITER"
    assert figures["iterations"] == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "required: COMMAND"),
        (["sovle"], "invalid choice: 'sovle'"),
        (["solve"], "required: --rhs"),
        (["solve", "--n", "4", "--rhs"], "--rhs: expected one argument"),
        (["solve", "--rhs", "1"], "--n is missing"),
        ([*SINE, "--bogus", "1"], "unrecognized arguments: --bogus"),
        ([*SINE, "-q"], "unrecognized arguments"),
        ([*SINE, "more"], "unrecognized arguments: more"),
        ([*SINE, "--peri"], "unrecognized arguments: --peri"),
        ([*SINE, "--rhs", "y"], "--rhs: 'y' at column 1"),
        ([*SINE, "--rhs", ""], "--rhs: the expression is empty"),
        ([*SINE, "--rhs", "(" * 100_000], "--rhs: the expression"),
        ([*SINE, "--rhs", "9**9**9**9"], "overflow"),
        ([*SINE, "--rhs", "1/(x - x)"], "is inf at x ="),
        ([*SINE, "--a", "x.y"], "--a: 'x.y'"),
        ([*SINE, "--a", "x - 1"], "a"),
        ([*SINE, "--c", "-1"], "c"),
        ([*SINE, "--exact", "1/x"], "'1/x' is inf at x = 0"),
        ([*SINE, "--n", "2.5"], "--n: '2.5' is not accepted; accepted is a whole number"),
        ([*SINE, "--n", "x"], "--n: 'x' at column 1"),
        ([*SINE, "--n", "nan"], "--n: 'nan' at column 1"),
        ([*SINE, "--n", "0"], "n"),
        ([*SINE, "--n", "-4"], "-4"),
        ([*SINE, "--domain", "1", "0"], "domain"),
        ([*SINE, "--domain", "0"], "--domain: expected 2 arguments"),
        ([*SINE, "--left", "free:0"], "--left: 'free:0' is not accepted; accepted are dirichlet:G"),
        ([*SINE, "--left", "dirichlet"], "--left: 'dirichlet' is not accepted"),
        ([*SINE, "--left", "dirichlet:"], "--left: 'dirichlet:' is not accepted"),
        ([*SINE, "--left", "dirichlet:1,2"], "--left: 'dirichlet:1,2' is not accepted"),
        ([*SINE, "--right", "robin:1"], "--right: 'robin:1' is not accepted"),
        ([*SINE, "--right", "neumann:x"], "--right: 'x' at column 1"),
        ([*SINE, "--left", "neumann:0", "--right", "neumann:0"], ""),  # incompatible with this f
        ([*SINE, "--method", "magic"], "magic"),
        ([*SINE, "--method", "vcycle", "--smoother", "sand"], "sand"),
        ([*SINE, "--load", "heavy"], "heavy"),
        ([*SINE, "--tol", "-1"], "-1"),
        ([*SINE, "--tol", "abc"], "--tol: 'abc' at column 1"),
        ([*SINE, "--maxiter", "1.5"], "--maxiter: '1.5' is not accepted"),
        ([*SINE, "--maxiter", "-1"], "-1"),
        ([*SINE, "--dtype", "float16"], "--dtype: invalid choice: 'float16'"),
        ([*SINE, "--device", "abacus"], "abacus"),
    ],
    ids=lambda value: " ".join(value[-2:])[:40] if isinstance(value, list) else "",
)
def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert words in complaint(capsys, *argv, code=2)


def test_memory_asked_for_is_refused_before_it_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, "solve", "--rhs", "x", "--n", "2**60", code=5)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 5, "error: out of memory"),
        (RuntimeError("CUDA out of memory. Tried ..."), 5, "error: CUDA out of memory. Tried ..."),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            5,
            "error: [enforce",
        ),
        (OSError(28, "No space left on device"), 5, "error: No space left"),
        (PermissionError(13, "Permission denied", "u.csv"), 2, "error: u.csv: Permission denied"),
        (ValueError("n: 0\nis wrong"), 2, "error: n: 0 is wrong"),
        (TypeError("f: object"), 2, "error: f: object"),
        (ZeroDivisionError("oops"), 1, "internal error: ZeroDivisionError: oops"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_the_library_raises_ends_as_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def solve(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(mgnet, "solve", solve)
    monkeypatch.delenv("MGNET_TRACEBACK", raising=False)
    assert main(SINE) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mgnet: {line}")
    assert err.count("\n") == 1


def test_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mgnet, "solve", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("MGNET_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(SINE)


def test_help_tells_of_every_function_and_version_is_the_package_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mgnet.cli.expression import FUNCTIONS

    assert main(["solve", "--help"]) == 0
    words = capsys.readouterr().out.replace("(", " ").replace(",", " ").split()
    assert set(FUNCTIONS) <= set(words)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mgnet {mgnet.__version__}\n"


# A process of its own


def run(*argv: str, stdout: Any = subprocess.PIPE, **more: str) -> subprocess.CompletedProcess[str]:
    return finished("-m", "mgnet", *argv, stdout=stdout, env=environment(**more))


def test_the_shell_line_of_the_documentation() -> None:
    line = "--n 4096 --left dirichlet:0 --right neumann:1 --plot u.png --out u.csv --json"
    done = run("solve", "--rhs", "pi**2*sin(pi*x)", *line.split(), "--exact", "sin(pi*x) + (1 + pi)*x")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["max_error"] < 1e-10
    assert sorted(os.listdir()) == ["u.csv", "u.png"]


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["solve", "--rhs", "none.csv"], 2), (["solve", "--rhs", "bad.csv"], 4), (["solve"], 2)],
)
def test_a_failing_process_says_one_line(argv: list[str], code: int) -> None:
    Path("bad.csv").write_text("0,1\n0.5")
    done = run(*argv)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("mgnet: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        *(({name: "100"}, None) for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")),
    ],
    ids=str,
)
def test_the_command_says_how_threads_wait_unless_that_is_said(
    said: dict[str, str], policy: str | None
) -> None:
    code = "import mgnet.cli, os; mgnet.cli.main(['--version']); print(os.environ.get('OMP_WAIT_POLICY'))"
    done = finished("-c", code, env=unsaid() | said)
    assert done.stdout.splitlines()[-1] == str(policy), done.stderr


def unsaid() -> dict[str, str]:
    return {name: text for name, text in environment().items() if name not in CHOSEN}


def test_openmp_hears_it() -> None:
    """GNU's says what it makes of the environment when torch is loaded; by itself it spins 300,000 times."""
    done = finished("-m", "mgnet", *SINE, env=unsaid() | {"OMP_DISPLAY_ENV": "VERBOSE"})
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch has not GNU's OpenMP")
    assert "GOMP_SPINCOUNT = '0'" in done.stderr


def test_a_program_that_has_torch_keeps_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    answer(capsys, *SINE)
    assert dict(os.environ) == before


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_failure(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run("--help", stdout=writing, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_on_stdout_is_told(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = run("--help", stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 5
    assert done.stderr == "mgnet: error: stdout: No space left on device\n"


def run_without(*numbers: int, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run with standard streams closed, as by '>&-' in a shell."""
    closing = f"import os, sys; [os.close(n) for n in {numbers}]; os.execv(sys.executable, sys.argv[1:])"
    return finished("-c", closing, sys.executable, "-m", "mgnet", *argv)


@pytest.mark.skipif(sys.platform == "win32", reason="needs execv")
@pytest.mark.parametrize("numbers", [(2,), (0, 2)])
def test_where_stderr_is_closed_nothing_takes_its_place(numbers: tuple[int, ...]) -> None:
    done = run_without(*numbers, argv=["solve", "--rhs", "none.csv", "--json"])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    slow = [*SINE, "--method", "vcycle", "--maxiter", "1", "--json"]
    done = run_without(*numbers, argv=slow)
    assert done.returncode == 3
    assert json.loads(done.stdout)["status"] == "MAXITER"
    done = run_without(*numbers, argv=[*SINE, "--out", "u.csv", "--plot", "u.png", "--json"])
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "CONVERGED"
    assert len(columns("u.csv")[0]) == 65


@pytest.mark.skipif(sys.platform == "win32", reason="needs execv")
def test_what_was_opened_does_not_become_a_standard_stream() -> None:
    closed = "import os; os.close(0); os.close(2); from mgnet.cli.shell import hold_streams; hold_streams()"
    done = finished("-c", f"{closed}; print(os.open(os.devnull, os.O_RDONLY) > 2)")
    assert done.stdout == "True\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs execv")
def test_where_stdout_is_closed_nothing_is_computed() -> None:
    done = run_without(1, argv=[*SINE, "--out", "u.csv"])
    assert (done.returncode, done.stderr) == (5, "mgnet: error: stdout: Bad file descriptor\n")
    assert os.listdir() == []


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_without_streams(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(sys, stream, None)
    assert main(["solve", "--rhs", "none.csv"]) == (5 if stream == "stdout" else 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("stdout: " in err) == (stream == "stdout")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from mgnet.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits")
@pytest.mark.parametrize(("option", "path"), [("--out", "u.npy"), ("--out", "u.csv"), ("--plot", "u.png")])
def test_a_file_at_its_limit_is_named(option: str, path: str) -> None:
    done = finished("-c", LIMITED, *SINE[:-1], "4096", option, path)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == f"mgnet: error: {path}: File too large\n"
    assert os.listdir() == []


@pytest.mark.parametrize("argv", [["--plot", "u.png"], ["--plot", "u.pdf", "--dim", "2"]], ids=" ".join)
def test_a_backend_that_there_is_not(argv: list[str]) -> None:
    done = run(*SINE, *argv, MPLBACKEND="nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "MPLBACKEND" in done.stderr
    assert "'nonsense'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run(*SINE, MPLBACKEND="nonsense").returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--left", "dirichlet:1e308"], 2, "left: Dirichlet g: got 1e+308; accepted: what float64 holds"),
        (
            ["--dim", "2", "--top", "dirichlet:-1e308"],
            2,
            "top: Dirichlet g: got -1e+308; accepted: what float",
        ),
        (["--dtype", "float32", "--right", "dirichlet:1e39"], 2, "right: Dirichlet g: got 1e+39; accepted"),
        (["--a", "1e308"], 2, "a, c: got 1e+308, 0.0 in cells of width"),
        (["--a", "5e-324"], 3, "DIVERGED"),
        (["--domain", "0", "1e-308"], 2, "a, c: got 1.0, 0.0 in cells of width"),
        (["--dtype", "float32", "--rhs", "1e39"], 2, "f: got 1e+39; accepted: what float32 holds"),
        (["--dim", "2", "--dtype", "float32", "--rhs", "1e39"], 2, "f: got 1e+39; accepted: what float32"),
        (["--dim", "2", "--dtype", "float32", "--a", "1e39"], 2, "float32 holds"),
        (["--dim", "3", "--n", "4", "--dtype", "float32", "--c", "1e308"], 2, "float32 holds"),
        (["--method", "vcycle", "--sweeps", "1e308", "1"], 2, "sweeps: got"),
        (["--n", "1e308"], 5, "memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_numbers_at_the_ends_of_the_range(
    capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert main([*SINE, *options]) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_in_one_line(number: signal.Signals, code: int) -> None:
    # The command waits for its input, so the signal always comes in the middle of the work.
    os.mkfifo("load.csv")
    with started("-m", "mgnet", "solve", "--rhs", "load.csv", "--out", "u.csv") as process:
        with open("load.csv", "w"):  # opens once the command has opened its end
            process.send_signal(number)
            done = ended(process)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr in ("mgnet: interrupted\n", "mgnet: terminated\n")
    assert os.listdir() == ["load.csv"]


# The example data


def generator() -> ModuleType:
    spec = spec_from_file_location("make_rod", DATA / "make_rod.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_rod_is_what_its_generator_makes(tmp_path: Path) -> None:
    generator().main(tmp_path)
    for name in ("rod_sources.csv", "rod_conductivity.csv"):
        shipped = (DATA / name).read_bytes()
        assert shipped.startswith(b"# Generated by make_rod.py")
        assert (tmp_path / name).read_bytes() == shipped


def test_the_heat_that_is_put_into_the_rod_comes_out_at_its_ends(capsys: pytest.CaptureFixture[str]) -> None:
    rod = ["--rhs", str(DATA / "rod_sources.csv"), "--a", str(DATA / "rod_conductivity.csv")]
    figures = answer(
        capsys, "solve", *rod, "--left", "dirichlet:20", "--right", "robin:10,200", "--out", "u.npy"
    )
    assert figures["n"] == 400
    x, u = columns("u.npy")
    _, f = np.loadtxt(DATA / "rod_sources.csv", delimiter=",", skiprows=3, unpack=True)
    produced = np.trapezoid(f, x)
    out_left = 400.0 * (u[1] - u[0]) / (x[1] - x[0])  # the first cells hold no source
    out_right = 10.0 * (u[-1] - 20.0)
    assert out_left + out_right == pytest.approx(produced, rel=1e-9)
    assert 50 < u.max() < 60
