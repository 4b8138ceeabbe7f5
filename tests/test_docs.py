"""Pages that repeat what the code says: they say the same."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path

import pytest

from mgnet.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_architecture_shows_every_module_in_its_room() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    shown = {
        folder: set(re.findall(r"^ +(\w+)\.py", block, re.MULTILINE))
        for folder, block in re.findall(
            r"^`(\w+)/`: [^\n]*\n\n```text\n(.*?)```", text, re.MULTILINE | re.DOTALL
        )
    }
    package = ROOT / "mgnet"
    rooms = {path.parent for path in package.glob("*/*.py")}
    there = {room.name: {path.stem for path in room.glob("[!_]*.py")} for room in rooms}
    assert shown == there


def test_the_table_of_places_leads_somewhere() -> None:
    """Each name is there, under the module that is said, and what is only written is in its module."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Where is it?") :].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "what | where" not in line]
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"\{py:(\w+)\}`(mgnet[\w.]+)`", row)
        assert names, row
        for role, name in names:
            module, _, last = (f"{name}." if role == "mod" else name).rpartition(".")
            there = importlib.import_module(module)
            assert not last or getattr(there, last).__module__ == module, name
            for written in re.findall(r"(?<!\})`(\w+)`", row):
                assert hasattr(there, written), row


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_help_of_each_command_is_shown(command: str) -> None:
    name = "-".join(["mgnet", *command.split()])
    assert f"_generated/{name}.txt\n" in (DOCS / "cli.md").read_text(encoding="utf-8")


def test_a_run_of_a_benchmark_is_read_whole() -> None:
    """Every line of the committed files is a fact, a row, a title or a verdict of the page made of them."""
    read = runpy.run_path(str(DOCS / "_ext" / "sources.py"))
    for path, (said, runs) in read["found"]().items():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        kept = len(said) + sum(
            2 + len(run.facts) + bool(run.verdict) + len(run.sections) + sum(map(len, run.sections.values()))
            for run in runs
        )
        assert kept == len(lines), path.name
        rows = [row for run in runs for section in run.sections.values() for row in section]
        assert all(len(row) == 4 and row[1] for row in rows)
        assert {row[3] for row in rows} <= {"yes", "NO", ""}
        for run in runs:
            missed = sum(row[3] == "NO" for section in run.sections.values() for row in section)
            counted = re.findall(r"(\d+) do not", run.verdict)  # a run that was stopped has no verdict
            assert not counted or int(counted[0]) == missed


def test_every_lecture_system_has_its_words() -> None:
    read = runpy.run_path(str(DOCS / "_ext" / "sources.py"))
    known = [code for part in read["lecture_systems"]().values() for code in part["systems"]]
    numbers = {"T": 8, "C": 14, "M": 6}
    assert known == [f"{letter}{i}" for letter, count in numbers.items() for i in range(1, count + 1)]


def test_the_examples_say_which_systems_they_cover(tmp_path: Path) -> None:
    read = runpy.run_path(str(DOCS / "_ext" / "sources.py"))
    (tmp_path / "part").mkdir()
    page = '"""\nTitle\n=====\n\n:Lecture systems: {}\n"""\n'
    for name, systems in (("one", "T1, C14"), ("two", "T1"), ("three", "beyond the lectures")):
        (tmp_path / "part" / f"{name}.py").write_text(page.format(systems))
    (tmp_path / "part" / "four.py").write_text("x = 1\n")
    covered = read["covered"](tmp_path)
    assert {code: [path.stem for path in paths] for code, paths in covered.items()} == {
        "T1": ["one", "two"],
        "C14": ["one"],
    }
