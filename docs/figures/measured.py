"""What the pictures of measured figures share: a committed run of a benchmark, as the pages read it."""

import runpy
from pathlib import Path

# Where pictures are drawn by the build, they run in this folder and have no file.
EXT = Path(__file__).parents[1] / "_ext"
# What reads the runs of the families.
ZOO = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "zoo_lines.py"))


def measured(subject, section=""):
    """Give where and when a run with such a section was made, in a line, and its rows by section."""
    for _, runs in runpy.run_path(str(EXT / "sources.py"))["found"]().values():
        for run in runs:
            if run.subject == subject and any(each.startswith(section) for each in run.sections):
                return f"{run.facts['processor'].partition('; GPU')[0]}; {run.facts['date']}", run.sections
    raise ValueError(f"no run of {subject!r} is committed")
