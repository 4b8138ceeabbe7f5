"""Several processes on paper: the formula and the simulation agree, and messages are those that are sent."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import environment, finished

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # its scripts import each other, as they do when they are run

import scaling_model as model  # noqa: E402

NETWORK = model.Network()
# Speeds of one core, as they were measured about once: seconds for a cell and for an unknown.
LINE = model.Line(2**30, 1.5e-9, 1e-7)
PLANE = model.Boxes((16384, 16384), 4e-9, 1e-8, 6)
SPACE = model.Boxes((1024, 1024, 1024), 4e-9, 1e-8, 6)


@pytest.mark.parametrize("ranks", [2, 3, 16, 100, 1000, 1024])
def test_the_simulation_of_a_line_agrees_with_the_formula(ranks: int) -> None:
    simulated = LINE.simulated(ranks, NETWORK)
    assert simulated.seconds == pytest.approx(LINE.formula(ranks, NETWORK), rel=0.05)
    assert simulated.calls == {"gather": ranks}


@pytest.mark.parametrize("box", [PLANE, SPACE], ids=["plane", "space"])
@pytest.mark.parametrize("ranks", [2, 3, 16, 100, 256])
@pytest.mark.parametrize("small", [2**10, 2**15])
def test_the_simulation_of_a_box_agrees_with_the_formula(box: model.Boxes, ranks: int, small: int) -> None:
    box = model.Boxes(box.cells, box.visit, box.rest, box.iterations, small=small)
    edges = box.edges(0, ranks)
    uneven = max(b - a for a, b in zip(edges, edges[1:], strict=False)) * ranks / box.cells[0]
    simulated = box.simulated(ranks, NETWORK)
    formula = sum(box.formula(ranks, NETWORK).values())
    assert 0.95 <= simulated.seconds / formula <= 1.05 * uneven
    for depth in range(box.shared(ranks)):
        # Below the grids that are shared messages have the name of the first that is not: an all_gather.
        assert simulated.messages[f"grid {depth}"] == 2 * (ranks - 1) * box.exchanges(depth, ranks).total()


def test_one_process_sends_nothing_and_many_lose_by_coarse_grids() -> None:
    assert PLANE.shared(1) == 0
    assert sum(PLANE.formula(1, NETWORK).values()) == PLANE.alone()
    efficiency = [PLANE.alone() / p / sum(PLANE.formula(p, NETWORK).values()) for p in (2, 64, 1024)]
    assert efficiency[0] > 0.99
    assert efficiency == sorted(efficiency, reverse=True)


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 13])
def test_messages_reach_all_along_trees(ranks: int) -> None:
    rounds = math.ceil(math.log2(ranks))
    clocks = model.Clocks([0.0] * ranks, NETWORK)
    clocks.gather("all", [1000.0] * ranks)
    assert clocks.messages["all"] == ranks * rounds
    assert clocks.sent["all"] == pytest.approx(ranks * (ranks - 1) * 1000, abs=ranks * rounds)
    assert clocks.seconds == pytest.approx(model.gathering(1000, ranks, NETWORK))
    clocks = model.Clocks([0.0] * ranks, NETWORK)
    clocks.sum("sum", 8)
    assert clocks.messages["sum"] == 2 * (ranks - 1)
    assert clocks.seconds <= model.summing(8, ranks, NETWORK) * (1 + 1e-12)
    late = model.Clocks([0.0] * (ranks - 1) + [1.0], NETWORK)
    late.sum("sum", 8)
    assert min(late.times) > 1  # nobody has the sum before the last one's part is there


def test_neighbours_wait_for_each_other_and_only_they() -> None:
    clocks = model.Clocks([0.0, 0.0, 0.0, 1.0], model.Network(1e-3, 1e6))
    clocks.planes("plane", 1000)  # a millisecond on the wire, one until it begins to arrive
    assert clocks.times == pytest.approx([0.002, 0.002, 1.002, 1.001])
    assert clocks.messages["plane"] == 6


def test_a_step_of_training_and_its_ring() -> None:
    assert model.training(0.1, 10**6, 1, NETWORK) == 0.1
    assert model.training(0.1, 10**6, 64, NETWORK) == pytest.approx(
        0.1 + 2 * 63 * 1e-5 + 2 * 63 / 64 * 4e6 / 1e10
    )


@pytest.mark.slow
def test_a_quick_run_sends_what_the_model_says(tmp_path: Path) -> None:
    argv = [str(BENCHMARKS / "scaling.py"), "--quick", "--json", "table.json"]
    done = finished(*argv, cwd=tmp_path, env=environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert len({row["section"] for row in rows}) == 6
    sent = [row for row in rows if row["section"] == "Messages"]
    pairs = list(zip(sent[::2], sent[1::2], strict=True))
    assert len(pairs) == 14
    for measured, expected in pairs:
        assert expected["what"].strip() == "by the model"
        # A largest value more or less may be asked for.
        few = 0.1 if "all_reduce" in measured["what"] else 0.0
        assert measured["figure"] == pytest.approx(expected["figure"], rel=few, abs=0), measured["what"]
        assert measured["figure"] > 0
    simulated = [row["figure"] for row in rows if "simulated" in row["what"]]
    assert len(simulated) >= 10
    assert all(0.9 <= figure <= 1.1 for figure in simulated)
    same = [row["figure"] for row in rows if "change of the largest" in row["what"]]
    assert len(same) == 3
    assert max(same) < 1e-8
