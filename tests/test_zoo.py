"""The table of six families: its networks, how processes share the runs, and its arithmetic."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import environment, finished, started

from mgnet import models

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # its scripts import each other, as they do when they are run

import zoo  # noqa: E402
import zoo_lines  # noqa: E402

ZOO = pytest.mark.parametrize("network", zoo.ZOO, ids=lambda network: network.name)


# Networks


@ZOO
def test_a_network_has_the_parameters_of_its_size(network: zoo.Network) -> None:
    parameters, _ = models.summary(network.model, **network.options)
    assert abs(parameters / zoo_lines.SIZES[network.size] - 1) < 0.1


def test_lines_are_of_the_networks_that_there_are() -> None:
    """A network that is changed is trained anew."""
    runs = {line["name"]: line for line in zoo_lines.lines(zoo_lines.RESULTS) if line["kind"] == "run"}
    for line in runs.values():
        own = models.summary(line["model"], **line["options"])
        assert own == (line["parameters"], line["multiply_adds"]), line["name"]


def test_every_family_has_every_size_once() -> None:
    names = [network.name for network in zoo.ZOO]
    assert sorted(names) == sorted(f"{f}-{size}" for f in zoo_lines.FAMILIES for size in zoo_lines.SIZES)


def test_fixed_a_stays_and_all_else_is_learned() -> None:
    (network,) = (network for network in zoo.ZOO if network.name == "mgnet-poisson-130k")
    model = models.create(network.model, **network.options)
    fixed = {name for name, _ in model.named_buffers() if name.endswith(".weight")}
    assert fixed == {f"levels.{i}.A.weight" for i in range(4)}
    learned = [name for name, _ in model.named_parameters()]
    assert all(any(f"{kind}.weight" in name for name in learned) for kind in ("B.0", "R", "Pi"))
    kernel = model.levels[0].A.weight
    assert kernel.shape == (38, 1, 3, 3)  # each channel alone
    assert kernel[3, 0].flatten().tolist() == pytest.approx([-1 / 3] * 4 + [8 / 3] + [-1 / 3] * 4)


# Lines


def line(
    name: str = "lenet-130k", seed: int = 0, accuracy: float | None = 0.5, **more: Any
) -> dict[str, Any]:
    family, _, size = name.rpartition("-")
    return {
        **{"kind": "run", "name": name, "family": family, "size": size, "seed": seed},
        **{"parameters": 1000, "multiply_adds": 2_000_000, "test_accuracy": accuracy, "cpu_seconds": 60.0},
        **{"diverged": None if accuracy is not None else "step 3", "official": False, "note": "JPEG copy"},
        **more,
    }


JOBS = [("a-130k", 0), ("b-130k", 0), ("a-130k", 1)]


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    assert zoo_lines.lines(path) == []
    added = [line(seed=seed, note="größer") for seed in range(3)]
    for each in added:
        zoo_lines.append(path, each)
    assert zoo_lines.lines(path) == added
    assert [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] == added
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.jsonl"]


@pytest.mark.parametrize("tail", ['{"kind": "run", "na', '{"kind": "run"', "\n", ""])
def test_a_broken_last_line_is_dropped_and_its_run_waits(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "zoo.jsonl"
    zoo_lines.append(path, line("a-130k"))
    with path.open("a", encoding="utf-8") as file:
        file.write(tail)
    assert zoo_lines.waiting(path, JOBS) == JOBS[1:]
    zoo_lines.append(path, line("b-130k"))
    assert [each["name"] for each in zoo_lines.lines(path)] == ["a-130k", "b-130k"]


def test_a_broken_line_before_others_is_named(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    path.write_text('{"kind": "ru\n' + json.dumps(line()) + "\n")
    with pytest.raises(SystemExit, match="line 1 is no JSON"):
        zoo_lines.lines(path)


def test_each_takes_what_no_other_has(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    zoo_lines.append(path, line("b-130k"))
    with zoo_lines.claimed(path, JOBS) as first, zoo_lines.claimed(path, JOBS) as second:
        assert (first, second) == (JOBS[0], JOBS[2])
        with zoo_lines.claimed(path, JOBS) as third:
            assert third is None
    with zoo_lines.claimed(path, JOBS) as again:  # what was given back without a line
        assert again == JOBS[0]


def test_a_run_that_ended_while_it_was_asked_for_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, waiting = tmp_path / "zoo.jsonl", zoo_lines.waiting

    def slow(path: Path, jobs: Any) -> Any:
        found = waiting(path, jobs)
        if len(jobs) == len(JOBS):  # another process ends the first job between the look and the claim
            zoo_lines.append(path, line("a-130k"))
        return found

    monkeypatch.setattr(zoo_lines, "waiting", slow)
    with zoo_lines.claimed(path, JOBS) as job:
        assert job == JOBS[1]


def test_what_a_killed_process_had_is_free(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    code = (
        f"import pathlib, sys; sys.path.append({str(BENCHMARKS)!r}); import zoo_lines\n"
        f"with zoo_lines.claimed(pathlib.Path({str(path)!r}), {JOBS!r}) as job:\n"
        "    print(job, flush=True); input()"
    )
    with started("-c", code, stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(JOBS[0])
        with zoo_lines.claimed(path, JOBS) as job:
            assert job == JOBS[1]
        process.kill()
        process.wait()
        with zoo_lines.claimed(path, JOBS) as job:
            assert job == JOBS[0]


# Runs


def tiny(size: str) -> zoo.Network:
    return zoo.Network("logistic", size, "logistic", {})


def test_runs_go_on_where_they_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(zoo.torch, "set_num_threads", lambda n: None)
    path, networks = tmp_path / "zoo.jsonl", [tiny("1k"), tiny("2k")]
    zoo.run(path, networks[:1], (0,), zoo.QUICK)
    (first,) = zoo_lines.lines(path)
    assert (first["name"], first["seed"], first["parameters"]) == ("logistic-1k", 0, 3 * 32**2 * 10 + 10)
    assert first["multiply_adds"] == 3 * 32**2 * 10
    assert 0 <= first["test_accuracy"] <= 1
    assert first["cpu_seconds"] is not None
    zoo.run(path, networks, (0, 1), zoo.QUICK)
    found = zoo_lines.lines(path)
    assert found[0] == first
    assert [(each["name"], each["seed"]) for each in found[1:]] == [
        ("logistic-2k", 0),
        ("logistic-1k", 1),
        ("logistic-2k", 1),
    ]
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 runs are done"
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.jsonl"]


def test_a_run_that_diverges_is_a_line_too(tmp_path: Path) -> None:
    made = zoo.trained(tiny("1k"), 0, zoo.QUICK.data(), epochs=1, lr=1e38, momentum=0, schedule="constant")
    assert made["test_accuracy"] is None
    assert "lr" in made["diverged"] or "rate" in made["diverged"]
    zoo_lines.append(tmp_path / "zoo.jsonl", made)
    assert [row.accuracy for row in zoo_lines.rows(zoo_lines.lines(tmp_path / "zoo.jsonl"))] == ["diverged"]


def test_a_run_that_was_interrupted_does_not_say_what_it_cost(tmp_path: Path) -> None:
    out = tmp_path / "run"
    whole = zoo.resumed(out, tiny("1k"), 0, zoo.QUICK.data(), epochs=1)
    again = zoo.resumed(out, tiny("1k"), 0, zoo.QUICK.data(), epochs=1)
    assert whole["cpu_seconds"] is not None
    assert again["cpu_seconds"] is None
    assert again["test_accuracy"] == whole["test_accuracy"]


@pytest.mark.slow
def test_two_processes_share_the_runs(tmp_path: Path) -> None:
    argv = [str(BENCHMARKS / "zoo.py"), "run", "--quick", "--results", "zoo.jsonl", "--only", "lenet"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(OMP_NUM_THREADS="1")}
    with started(*argv, **options) as one, started(*argv, **options) as two:
        for process in (one, two):
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said
    found = zoo_lines.lines(tmp_path / "zoo.jsonl")
    assert sorted((each["name"], each["seed"]) for each in found) == sorted(
        (f"lenet-{size}", seed) for size in zoo_lines.SIZES for seed in zoo.SEEDS
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv", [("speed", "--quick", "--only", "vgg"), ("resnet32", "--quick", "--epochs", "1", "--out", "run")]
)
def test_the_other_commands_add_lines(argv: tuple[str, ...], tmp_path: Path) -> None:
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(OMP_NUM_THREADS="1")}
    script = str(BENCHMARKS / "zoo.py")
    done = finished(script, *argv, "--results", "zoo.jsonl", **options)
    assert done.returncode == 0, done.stderr
    found = zoo_lines.lines(tmp_path / "zoo.jsonl")
    assert [each["kind"] for each in found] == (["speed"] * 2 if argv[0] == "speed" else ["paper"])
    done = finished(script, "table", "--results", "zoo.jsonl", **options)
    assert "0 runs, 42 are missing" in done.stdout


# Tables


def test_the_columns_are_the_figures_of_the_lines() -> None:
    accuracies = [0.701, 0.712, 0.734]
    found = [
        line("mgnet-130k", seed, a, cpu_seconds=c)
        for seed, (a, c) in enumerate(zip(accuracies, (60, 120, 90), strict=True))
    ]
    found += [{"kind": "speed", "name": "mgnet-130k", "images_per_second": x} for x in (900.0, 1234.5)]
    found += [line("vgg-130k", 0, 0.6, cpu_seconds=None), line("resnet-500k", 0, 0.9)]
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert zoo_lines.table(found) == [
        ["mgnet", "1,000", "2.0 M", f"{100 * mean:.2f} ± {100 * deviation:.2f} % (n = 3)", "1.5", "1,234"],
        ["vgg", "1,000", "2.0 M", "60.00 % (n = 1)", "unmeasured", "unmeasured"],
        ["resnet", "1,000", "2.0 M", "90.00 % (n = 1)", "1.0", "unmeasured"],
    ]


def test_seeds_that_diverged_are_said() -> None:
    found = [line("vgg-130k", 0, 0.5), line("vgg-130k", 1, None, cpu_seconds=1.0)]
    (row,) = zoo_lines.rows(found)
    assert row.accuracy == "50.00 % (n = 1, 1 diverged)"
    assert row.cpu_seconds == 60


def test_differences_are_judged_by_their_standard_errors() -> None:
    def three(name: str, *accuracies: float, **more: Any) -> list[dict[str, Any]]:
        return [line(name, seed, accuracy, **more) for seed, accuracy in enumerate(accuracies)]

    found = three("mgnet-130k", 0.80, 0.81, 0.82, cpu_seconds=30.0)
    found += three("resnet-130k", 0.70, 0.71, 0.72, multiply_adds=4_000_000)
    found += (
        three("vgg-130k", 0.76, 0.80, 0.84)
        + three("lenet-130k", 0.83, 0.84, 0.85)
        + three("alexnet-130k", 0.6)
    )
    # Deviations of 1, 1 and 4 points: errors of √(1/3 + 1/3) and √(1/3 + 16/3).
    assert {row[0]: row[2:] for row in zoo_lines.against(found)} == {
        "resnet": ["+10.00 ± 0.82 points", "yes, better", "0.5×", "0.5×"],
        "vgg": ["+1.00 ± 2.38 points", "no", "1×", "0.5×"],
        "lenet": ["-3.00 ± 0.82 points", "yes, worse", "1×", "0.5×"],
        "alexnet": ["+21.00 points", "one seed", "1×", "0.5×"],
    }


def test_what_is_missing_is_said() -> None:
    found = [line(network.name, seed) for network in zoo.ZOO for seed in zoo_lines.SEEDS]
    found += [{"kind": "speed", "name": network.name, "images_per_second": 1} for network in zoo.ZOO]
    assert zoo_lines.missing([*found, line(kind="paper")]) == []
    wanting = [each for each in found if (each["name"], each.get("seed", 1)) != ("vgg-500k", 1)]
    assert zoo_lines.missing(wanting) == [
        "vgg-500k: seeds 1 and images per second",
        "ResNet-32 by the recipe 'paper'",
    ]
    assert len(zoo_lines.missing([])) == len(zoo.ZOO) + 1


def test_the_lectures_network_is_told_with_its_epochs() -> None:
    told = {"kind": "paper", "processor": "X", "date": "2026-12-01"}
    done = line(**told, epochs=36, accuracy=0.8512, val_accuracy=0.8456) | {"cpu_seconds": 2940}
    lost = line(**told, epochs=100, accuracy=None, val_accuracy=None) | {"cpu_seconds": None}
    assert zoo_lines.targets([line(), done, lost]) == [
        ["36 of 200", "85.12 %", "84.56 %", "49", "X, 2026-12-01"],
        ["100 of 200", "diverged", "diverged", "interrupted", "X, 2026-12-01"],
    ]


def test_the_front_has_what_nothing_cheaper_equals() -> None:
    costs = {"a-1k": (1, 0.5), "b-1k": (2, 0.4), "c-1k": (3, 0.7), "d-1k": (3, 0.6), "e-1k": (9, 0.7)}
    found = [line(name, 0, a, multiply_adds=m) for name, (m, a) in costs.items()]
    assert [row.name for row in zoo_lines.front(found, "multiply_adds")] == ["a-1k", "c-1k"]
