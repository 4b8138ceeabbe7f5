"""Several processes do what one does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import environment, finished
from trained import assert_same

import mgnet
from mgnet import checkpoint
from mgnet.core.processes import Processes, together
from mgnet.train import BEST, LAST
from mgnet.train.choices import Choices
from mgnet.train.state import State

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> mgnet.data.Data:
    return mgnet.data.synthetic(train=160, validation=64, test=96)


def test_processes_join_once_and_part_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in one.items():
        monkeypatch.setenv(name, value)  # as torchrun does
    with together(torch.device("cpu")):
        with together(torch.device("cpu")):  # who has joined already goes on as it is
            assert dist.is_initialized()
        assert dist.is_initialized()
        assert (Processes().rank, Processes().world) == (0, 1)
    assert not dist.is_initialized()


PARTED = """
import weakref, torch
import torch.distributed as dist
from mgnet.core.processes import together
weight = torch.nn.Parameter(torch.ones(()))
with together(torch.device("cpu")):
    group = weakref.ref(dist.group.WORLD)
    torch.optim.AdamW([weight])  # imports what it needs of torch
assert group() is None
"""


def test_nothing_keeps_the_group_of_processes_alive() -> None:
    """Its threads may not outlive it: one that frees a tensor while Python ends aborts the process."""
    torchrun(1, "--no-python", sys.executable, "-c", PARTED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": ""}, "RANK: got 'nothing' in the environment"),
        ({"RANK": "2"}, "RANK: got 2 in the environment; accepted: below WORLD_SIZE, which is 2"),
        ({"RANK": "-1"}, "RANK: got '-1'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: got 'two'"),
        ({"MASTER_PORT": "?"}, "MASTER_PORT"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR"),
    ],
)
def test_half_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str], message: str
) -> None:
    """torch would wait for the others, or raise something of its own."""
    whole = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**whole, **change}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), together(torch.device("cpu")):
        pass


def torchrun(world: int, *argv: str) -> None:
    command = f"-m torch.distributed.run --nproc-per-node={world} --standalone"
    done = finished(*command.split(), *argv, env=environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr


TOGETHER = """
import sys, torch, mgnet
from mgnet.core.processes import Processes, together
torch.set_num_threads(1)
with together(torch.device("cpu")):
    me = Processes()
    data = mgnet.data.synthetic(train=96, validation=32, test=33)
    torch.manual_seed(me.rank)  # the first one's weights are handed out
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    history = mgnet.fit(model, data, recipe="lecture", epochs=2, batch_size=32, lr=0.01, crop=4,
                        flip="random", progress=False, out=sys.argv[1])
    scores = mgnet.predict(model, data.test, batch_size=7)
    saved, save = [], mgnet.checkpoint.save
    mgnet.checkpoint.save = lambda *what: saved.append(save(*what))
    dropout, dropped = torch.nn.Dropout(0.5), []
    dropout.register_forward_hook(lambda layer, x, y: dropped.append(y == 0) if layer.training else None)
    norm = torch.nn.BatchNorm2d(3)
    mixed = torch.nn.Sequential(norm, torch.nn.Flatten(), torch.nn.Linear(3072, 10), dropout)
    mgnet.fit(mixed, data, recipe="lecture", epochs=1, batch_size=32, lr=0.01, progress=False,
              out=f"{sys.argv[1]}/mixed")
    torch.save({"weights": model.state_dict(), "rows": history.rows, "test": history.test_accuracy,
                "scores": scores, "mixed": mixed.state_dict(), "dropped": dropped[0],
                "saved": len(saved)},
               f"{sys.argv[1]}/rank{me.rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    results = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        torchrun(world, str(script), str(folder))
        results.append([torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world)])
        assert {file.name for file in folder.iterdir()} == {
            "history.csv",
            "history.json",
            LAST,
            BEST,
            "mixed",
            *(f"rank{rank}.pt" for rank in range(world)),
        }
    (alone,), (first, second) = results
    assert_same(first["weights"], second["weights"])
    assert first["rows"][-1]["train_loss"] == second["rows"][-1]["train_loss"]
    for name in alone["weights"]:
        torch.testing.assert_close(first["weights"][name], alone["weights"][name], rtol=1e-4, atol=1e-6)
    for row, same in zip(alone["rows"], first["rows"], strict=True):
        assert row["train_loss"] == pytest.approx(same["train_loss"], rel=1e-5)
        assert row["train_accuracy"] == same["train_accuracy"]
        assert row["val_accuracy"] == same["val_accuracy"]
    assert alone["test"] == first["test"]
    assert_same(first["mixed"], second["mixed"])  # the running statistics too
    assert not torch.equal(first["dropped"], second["dropped"])
    assert (first["saved"], second["saved"]) == (3, 0)
    for process in (first, second):  # each predicts for all images
        torch.testing.assert_close(process["scores"], alone["scores"], rtol=1e-4, atol=1e-4)


STOPPED = """
import signal, sys, torch, mgnet
from mgnet.train import loop
from mgnet.core.processes import Processes, together
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
with together(torch.device("cpu")):
    rank, step = Processes().rank, loop.train_step
    def pressed(run, *batch):
        step(run, *batch)
        if rank == 1 and run.batches.position == 2:
            signal.raise_signal(signal.SIGINT)
    loop.train_step = pressed
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    try:
        mgnet.fit(model, mgnet.data.synthetic(train=128, validation=0, test=8), recipe="lecture", epochs=2,
                  batch_size=32, progress=False, out=sys.argv[1])
    except KeyboardInterrupt:
        open(f"{sys.argv[1]}/stopped{rank}", "x").close()
"""


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(STOPPED)
    torchrun(2, str(script), str(tmp_path))
    assert {"stopped0", "stopped1"} <= {file.name for file in tmp_path.iterdir()}
    assert checkpoint.load(tmp_path / LAST)["batches"]["position"] == 2


GOING_ON = """
import signal, sys, torch, mgnet
from mgnet.train import loop
from mgnet.core.processes import Processes, together
torch.set_num_threads(1)
for number in (signal.SIGINT, signal.SIGTERM):  # who was not asked to stop is ended by the second one
    signal.signal(number, signal.default_int_handler)
folder = sys.argv[1]
with together(torch.device("cpu")):
    me, step, done = Processes(), loop.train_step, []
    data = mgnet.data.synthetic(train=100, validation=31, test=33)

    def run(name, stop=None, **options):
        def pressed(run, *batch):
            step(run, *batch)
            done.append(1)
            if me.rank == me.world - 1 and len(done) == stop:
                signal.raise_signal(signal.SIGINT)

        done.clear()
        loop.train_step = pressed
        torch.manual_seed(me.rank)
        model = torch.nn.Sequential(
            mgnet.operators.convolution((3, 8), 3, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Dropout(0.3), torch.nn.Flatten(), torch.nn.Linear(2048, 20), torch.nn.Linear(20, 10),
        )
        recipe = mgnet.Recipe(epochs=2, batch_size=32, lr=0.01, optimizer="adamw", schedule="cosine", crop=4,
                              flip="alternating", cutout=5)
        history = mgnet.fit(model, data, recipe=recipe, progress=False, out=f"{folder}/{name}", **options)
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in history.rows]
        return {"weights": model.state_dict(), "rows": rows, "test": history.test_accuracy}

    results = {"whole": run("whole")}
    for stop in (2, 5):
        try:
            run(str(stop), stop)
        except KeyboardInterrupt:
            results[str(stop)] = run(str(stop), resume=True)
    torch.save(results, f"{folder}/rank{me.rank}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])  # of three, the order in which gradients are added counts
def test_several_processes_go_on_bit_for_bit(tmp_path: Path, world: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(GOING_ON)
    torchrun(world, str(script), str(tmp_path))
    for rank in range(world):
        whole, *others = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True).values()
        assert len(others) == 2
        for other in others:
            assert_same(other["weights"], whole["weights"])
            assert (other["rows"], other["test"]) == (whole["rows"], whole["test"])


@pytest.mark.slow
def test_the_number_of_processes_belongs_to_a_run(data: mgnet.data.Data, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(GOING_ON)
    torchrun(2, str(script), str(tmp_path))
    state = checkpoint.load(tmp_path / "whole" / LAST)
    assert (state["processes"], len(state["ranks"])) == (2, 2)
    run: Any = SimpleNamespace(out=tmp_path, configuration=lambda: {**state, "processes": 1})
    run.choices = Choices()
    run.model = SimpleNamespace(state_dict=lambda: state["model"])
    assert "processes: got 1, but" in State.difference(run, state)


HEARD = """
import sys, torch, mgnet
from mgnet.core.processes import Processes, together
torch.set_num_threads(1)
with together(torch.device("cpu")):
    me, heard = Processes(), []
    data = mgnet.data.synthetic(train=96, validation=31, test=33)
    options = dict(recipe="lecture", batch_size=32, progress=False, freeze="1.bias")
    options["class_weights"] = [3.0] + [1.0] * 9

    def run(on_epoch, **more):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        return model, mgnet.fit(model, data, on_epoch=on_epoch, epochs=3, **options, **more)

    def second(row):
        heard.append((me.rank, row["epoch"]))
        return row["epoch"] == 2

    model, history = run(second if me.rank == 0 else None, out=f"{sys.argv[1]}/run")
    assert len(history) == 2 and history.stopped_early, history
    assert heard == ([(0, 1), (0, 2)] if me.rank == 0 else []), heard

    def broken(row):
        raise ZeroDivisionError("mine")

    said = ""
    try:
        run(broken)
    except (ZeroDivisionError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
    assert said == ("ZeroDivisionError: mine" if me.rank == 0 else "ValueError: mine"), said
    options["init"] = f"{sys.argv[1]}/run"
    began, _ = run(None)
    torch.save([model.state_dict(), began.state_dict()], f"{sys.argv[1]}/rank{me.rank}.pt")
"""


@pytest.mark.slow
def test_several_processes_choose_as_one(tmp_path: Path) -> None:
    """Weights of classes, frozen parts, what a run begins from, and an answer of the first one."""
    script = tmp_path / "script.py"
    script.write_text(HEARD)
    results = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        torchrun(world, str(script), str(folder))
        results += [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world)]
    alone, first, second = results
    for one, other, another in zip(alone, first, second, strict=True):
        assert_same(other, another)
        assert torch.equal(one["1.bias"], other["1.bias"])
        torch.testing.assert_close(one["1.weight"], other["1.weight"], rtol=1e-4, atol=1e-6)
