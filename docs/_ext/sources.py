"""What pages are made of: the committed results of the benchmarks, and what the examples say they cover.

Nothing here needs Sphinx, so the tests can read it too.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
EXAMPLES = ROOT / "examples"
SYSTEMS = ROOT / "docs" / "lecture-systems.toml"
LINE = re.compile(r"^:Lecture systems:(.*)$", re.MULTILINE)


def lecture_systems() -> dict[str, dict[str, Any]]:
    """Give the parts of the course, each with a title and its systems."""
    return tomllib.loads(SYSTEMS.read_text(encoding="utf-8"))


def covered(examples: Path) -> dict[str, list[Path]]:
    """Give the examples by the code of the system, as their docstrings say."""
    found = defaultdict(list)
    for path in sorted(examples.glob("*/*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        line = LINE.search(text)
        for code in re.findall(r"\b[A-Z]\d+\b", line[1] if line else ""):
            found[code].append(path)
    return dict(found)


@dataclass
class Run:
    """What a script printed once."""

    subject: str
    facts: dict[str, str] = field(default_factory=dict)
    # Rows of four texts: what, measured, required, holds.
    sections: dict[str, list[list[str]]] = field(default_factory=dict)
    verdict: str = ""


def runs_of(text: str) -> tuple[list[str], list[Run]]:
    """Take a file of results apart: what is said before the first run, and the runs."""
    said: list[str] = []
    runs: list[Run] = []
    section = None
    for line in text.splitlines():
        parts = re.split(r"\s{2,}", line.strip())
        if line.startswith("mgnet, "):
            runs.append(Run(line.removeprefix("mgnet, ")))
            section = None
        elif not line.strip() or parts[0] == "what":
            continue
        elif not runs:
            said.append(line)
        elif line.startswith("Requirements: "):
            runs[-1].verdict = line
        elif section is None and len(parts) == 2 and " " not in parts[0]:
            runs[-1].facts[parts[0]] = parts[1]
        elif len(parts) == 1 and re.match(r"[a-z]+ ", line):  # a fact whose name fills its column
            name, _, rest = line.partition(" ")
            runs[-1].facts[name] = rest.strip()
        elif len(parts) == 1:
            section = runs[-1].sections.setdefault(line, [])
        elif section is None:
            raise ValueError(f"a row without a section: {line!r}")
        else:
            indent = "    " if line.startswith("    ") else ""
            section.append([indent + parts[0], *parts[1:], *[""] * (4 - len(parts))])
    return said, runs


def found() -> dict[Path, tuple[list[str], list[Run]]]:
    """Give all committed files of results."""
    return {path: runs_of(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.txt"))}


def script_of(run: Run) -> Path:
    """Give the script that printed a run: the one that has its subject."""
    for script in sorted(BENCHMARKS.glob("*.py")):
        if f'"{run.subject}"' in script.read_text(encoding="utf-8"):
            return script
    raise ValueError(f"no script in {BENCHMARKS.name} is about {run.subject!r}")


def docstring(script: Path) -> tuple[str, str]:
    """Give what a script measures, and the commands, from its docstring."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    before, _, after = text.partition("::\n")
    commands = "\n".join(line for line in after.splitlines() if line.startswith("    "))
    prose = after[after.rindex(commands.splitlines()[-1]) + len(commands.splitlines()[-1]) :]
    words = " ".join(" ".join((before + prose).split()).removeprefix("One table: ").split())
    return words[:1].upper() + words[1:], re.sub(r"(?m)^ {4}", "", commands)
