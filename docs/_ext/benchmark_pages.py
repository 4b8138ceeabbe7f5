"""The directives ``benchmark-results``, ``-section``, ``-shortfalls``: pages out of ``benchmarks/results``.

A file of results is what a script of ``benchmarks`` printed, one run or several. What the script measures and
the commands that repeat it are taken from its docstring.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from pages import table
from sources import BENCHMARKS, Run, docstring, found, script_of
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from zoo_pages import ZOO

# What the scripts share, and what has a page of its own.
NO_SCRIPTS = {
    *("table", "zoo_lines", "gpu_paths", "gpu_speed", "gpu_training", "scaling_model"),
    *("zoo", "launches"),
}


def _literal(text: str) -> list[nodes.Node]:
    """Set what stands between double grave accents as code."""
    made: list[nodes.Node] = []
    for index, part in enumerate(text.split("``")):
        made.append(nodes.literal(part, part) if index % 2 else nodes.Text(part))
    return made


def _paragraph(text: str) -> nodes.paragraph:
    paragraph = nodes.paragraph()
    paragraph += _literal(text)
    return paragraph


COLUMNS = {"What": 52, "Measured": 16, "Required": 20, "Holds": 12}


def _table(rows: list[list[str]], columns: int = 4) -> nodes.table:
    heads = dict(list(COLUMNS.items())[:columns])
    # No smart quotes: u'' is no quotation.
    return table(heads, (map(_cell, row) for row in rows), classes=["benchmark"], support_smartquotes=False)


def _cell(text: str) -> nodes.paragraph:
    paragraph = nodes.paragraph("", "", classes=["inset"] * text.startswith("    "))
    paragraph += nodes.strong("", "no") if text == "NO" else nodes.Text(text.strip())
    return paragraph


class _FromResults(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        results = found()
        for path in (*results, ZOO["RESULTS"], *BENCHMARKS.glob("*.py")):
            self.env.note_dependency(str(path))
        return self.make(results)

    def make(self, results: dict[Path, tuple[list[str], list[Run]]]) -> list[nodes.Node]:
        raise NotImplementedError


class Shortfalls(_FromResults):
    """Every requirement that a committed run does not meet, and all that nobody has measured."""

    def make(self, results: dict[Path, tuple[list[str], list[Run]]]) -> list[nodes.Node]:
        """Make the table."""
        rows, printed = [], {script_of(run) for _, runs in results.values() for run in runs}
        for _, runs in results.values():
            for run in runs:
                for section in run.sections.values():
                    rows += [row[:3] for row in section if row[3] == "NO"]
                    rows += [row[:3] for row in section if row[1].startswith("unmeasured")]
        for script in sorted(BENCHMARKS.glob("*.py")):
            if script.stem not in NO_SCRIPTS and script not in printed:
                what = docstring(script)[0].split(". ")[0]
                rows.append([f"{what} (benchmarks/{script.name})", "never run", ""])
        lines = ZOO["lines"](ZOO["RESULTS"])
        rows += [[f"Six families: {what}", "unmeasured", ""] for what in ZOO["missing"](lines)]
        return [_table(rows, 3)]


class Section(_FromResults):
    """One section of a committed run, of which the argument is the subject."""

    required_arguments, final_argument_whitespace = 1, True
    option_spec = {"section": directives.unchanged_required}

    def make(self, results: dict[Path, tuple[list[str], list[Run]]]) -> list[nodes.Node]:
        """Make the table."""
        for _, runs in results.values():
            for run in runs:
                if run.subject == self.arguments[0] and self.options["section"] in run.sections:
                    return [_table(run.sections[self.options["section"]])]
        raise self.error(f"no committed run of {self.arguments[0]!r} has {self.options['section']!r}")


class Results(_FromResults):
    """A section for each file of results."""

    def make(self, results: dict[Path, tuple[list[str], list[Run]]]) -> list[nodes.Node]:
        """Make the sections."""
        return [self._section(path, *result) for path, result in results.items()]

    def _section(self, path: Path, said: list[str], runs: list[Run]) -> nodes.section:
        title = runs[0].subject[:1].upper() + runs[0].subject[1:]
        section = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        self.state.document.note_implicit_target(section, section)
        words, commands = docstring(script_of(runs[0]))
        section += [nodes.title(title, title), _paragraph(words)]
        section += nodes.literal_block(commands, commands, language="shell")
        section += [_paragraph(line) for line in said]
        for number, run in enumerate(runs, 1):
            if number == 1 or _lasting(run) != _lasting(runs[number - 2]):
                section += self._facts(run if len(runs) == 1 else Run("", _lasting(run)))
            if len(runs) > 1:
                section += _paragraph(f"Run {number} of {len(runs)}, {run.facts.get('machine', '')}:")
            for heading, rows in run.sections.items():
                section += nodes.rubric("", heading)
                section += _table(rows)
            section += _paragraph(run.verdict)
        section += _paragraph(f"The file: ``benchmarks/results/{path.name}``.")
        return section

    def _facts(self, run: Run) -> nodes.field_list:
        fields = nodes.field_list(classes=["facts"])
        for name, value in run.facts.items():
            body = nodes.field_body()
            body += _paragraph(value)
            fields += nodes.field("", nodes.field_name(name, name), body)
        return fields


def _lasting(run: Run) -> dict[str, str]:
    """Give the facts that do not change from minute to minute."""
    return {name: value for name, value in run.facts.items() if name != "machine"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("benchmark-results", Results)
    app.add_directive("benchmark-section", Section)
    app.add_directive("benchmark-shortfalls", Shortfalls)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
