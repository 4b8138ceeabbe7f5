"""``mgnet solve`` by several processes: one table, one message, files whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import KEYS
from processes import environment, finished

from mgnet.cli import main


def run(world: int, folder: Path, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command by several processes."""
    command = f"-m torch.distributed.run --nproc-per-node={world} --standalone {' '.join(argv[:1])}"
    env = environment(OMP_NUM_THREADS="1", TORCHELASTIC_ERROR_FILE="")
    return finished(*command.split(), *argv[1:], env=env, cwd=folder, **options)


def ours(said: str) -> list[str]:
    """Give the lines that are not torchrun's; whether loops are compiled depends on who came before."""
    lines = [line for line in said.splitlines() if line.startswith("mgnet:")]
    return [line for line in lines if not line.startswith("mgnet: compiling loops")]


SEVERAL = """
import contextlib, io, json, os, sys, torch
from mgnet.cli import main
from mgnet.core.processes import together
results = {}
with together(torch.device("cpu")):  # once, for many commands
    for name, argv in json.loads(sys.argv[1]).items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            os.environ["TORCHELASTIC_RESTART_COUNT"] = name  # of each another may speak
            code = main(argv)
        results[name] = [code, out.getvalue(), err.getvalue()]
with open(f"rank{os.environ['RANK']}.json", "w") as file:
    json.dump(results, file)
"""


@pytest.mark.slow
def test_several_processes_answer_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    f = np.random.default_rng(1).random(1001)
    np.save(tmp_path / "f.npy", f)
    np.save(tmp_path / "f32.npy", f.astype(np.float32))
    np.save(tmp_path / "nan.npy", np.where(np.arange(1001) == 900, np.nan, f))
    usual = ["solve", "--rhs", "pi**2*sin(pi*x)", "--num-cells", "1000"]
    commands = {
        "json": [*usual, "--exact", "sin(pi*x)", "--flux", "left", "--json", "--right", "neumann:-pi"],
        "table": [*usual, "--out", "u.npy", "--plot", "u.png", "--out-slabs", "slab.npz", "--timeout", "60"],
        "file": ["solve", "--rhs", "f.npy", "--c", "1", "--out", "f.csv", "--json"],
        "single": ["solve", "--rhs", "f32.npy", "--json"],
        "damaged": ["solve", "--rhs", "nan.npy"],
        "wrong": [*usual, "--left", "what"],
        "unconverged": [*usual, "--tol", "1e-30", "--out", "no.npy"],
        "points": [*usual, "--points", "p.csv"],
        "timeout": [*usual, "--timeout", "0"],
        "unwritable": [*usual, "--out", "no/u.npy"],
        "twice": [*usual, "--out", "s.1.npz", "--out-slabs", "s.npz"],
        "box": ["solve", "--rhs", "1", "--dim", "2", "--num-cells", "20", "--flux", "left", "--json"],
    }
    (tmp_path / "script.py").write_text(SEVERAL)
    done = run(2, tmp_path, "script.py", json.dumps(commands))
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    for name in commands:
        assert first[name][0] == second[name][0]  # the exit code
        assert second[name][1] == ""
        assert len(ours(first[name][2] + second[name][2])) == (first[name][0] != 0), (
            first[name],
            second[name],
        )
    codes = {name: first[name][0] for name in commands}
    assert codes == {
        "json": 0,
        "table": 0,
        "file": 0,
        "single": 0,
        "damaged": 4,
        "wrong": 2,
        "unconverged": 3,
        "points": 2,
        "timeout": 2,
        "unwritable": 2,
        "twice": 2,
        "box": 0,
    }
    os.chdir(tmp_path)
    found = json.loads(first["json"][1])
    assert main(commands["json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert list(found) == [*KEYS, "max_error", "processes", "flux"]
    assert found["processes"] == 2
    for name in ("status", "n", "dim", "dtype", "device", "method", "iterations"):
        assert found[name] == alone[name]
    assert found["max_error"] < 1e-12
    assert found["flux"]["left"] == pytest.approx(alone["flux"]["left"], rel=1e-12)
    x, u = np.load(tmp_path / "u.npy").T
    np.testing.assert_allclose(u, np.sin(np.pi * x), atol=1e-12)
    slabs = [np.load(tmp_path / f"slab.{rank}.npz") for rank in range(2)]
    np.testing.assert_array_equal(np.r_[slabs[0]["x"], slabs[1]["x"][1:]], x)
    np.testing.assert_array_equal(np.r_[slabs[0]["u"], slabs[1]["u"][1:]], u)
    assert "u.npy, slab.0.npz, slab.1.npz, u.png" in first["table"][1]
    assert (tmp_path / "u.png").stat().st_size > 1000
    assert main([*commands["file"][:5], "--out", "one.csv", "--json"]) == 0
    both = [np.genfromtxt(tmp_path / name, delimiter=",", skip_header=1) for name in ("f.csv", "one.csv")]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-10, atol=1e-13)
    assert json.loads(first["single"][1])["dtype"] == "float64"  # as for one process
    assert not (tmp_path / "no.npy").exists()
    assert "row 900" in first["damaged"][2] + second["damaged"][2]
    capsys.readouterr()
    assert main(commands["box"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert json.loads(first["box"][1])["flux"]["left"] == pytest.approx(alone["flux"]["left"], rel=1e-8)


LOST = """
import os, signal, sys, time
from mgnet.cli import main
from mgnet.core.processes import Processes
rank, how = int(os.environ["RANK"]), sys.argv[1]
stacked = Processes.stacked
def last(me, x):
    if me.rank == int(sys.argv[2]):
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)  # torchrun ends it
    return stacked(me, x)
Processes.stacked = last
code = main(["solve", "--rhs", "1", "--n", "100", "--timeout", "3", "--out", "u.npy"])
with open(f"rank{rank}.txt", "w") as file:
    file.write(str(code))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "which"), [("killed", 0), ("silent", 1)])
def test_a_lost_process_ends_all_with_one_message(tmp_path: Path, how: str, which: int) -> None:
    (tmp_path / "script.py").write_text(LOST)
    began = time.monotonic()
    done = run(2, tmp_path, "script.py", how, str(which))
    assert time.monotonic() - began < 120  # not the ten minutes of the default, nor the sleep
    assert done.returncode != 0
    (line,) = ours(done.stderr)
    assert line.startswith(f"mgnet: error: lost process {which} of 2, seen by process ")
    survivors = [rank for rank in range(2) if rank != which]
    codes = {(tmp_path / f"rank{rank}.txt").read_text() for rank in survivors}
    assert codes <= {"5", "143"}  # as torchrun is late or not to end who is left
    assert not (tmp_path / "u.npy").exists()
    assert not list(tmp_path.glob(".mgnet-*"))
