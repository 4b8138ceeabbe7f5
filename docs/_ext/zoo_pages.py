"""The directives ``zoo-table``, ``zoo-against``, ``zoo-front`` and ``zoo-target``: what the runs say.

They are made of ``benchmarks/results/zoo.jsonl`` by the same functions as the table of ``benchmarks/zoo.py``.
"""

from __future__ import annotations

import runpy
from typing import Any

from docutils import nodes
from pages import listed, table
from sources import BENCHMARKS
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ZOO = runpy.run_path(str(BENCHMARKS / "zoo_lines.py"))
NAMES = {
    **{"lenet": "LeNet", "alexnet": "AlexNet", "vgg": "VGG", "googlenet": "GoogLeNet", "resnet": "ResNet"},
    **{"mgnet": "MgNet", "mgnet-poisson": "MgNet, A of the hat functions"},
}
SIZES = {"130k": "130 thousand", "500k": "500 thousand"}


class _FromLines(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        for path in (ZOO["RESULTS"], BENCHMARKS / "zoo_lines.py"):
            self.env.note_dependency(str(path))
        return self.make(ZOO["lines"](ZOO["RESULTS"]))

    def make(self, found: list[dict[str, Any]]) -> list[nodes.Node]:
        raise NotImplementedError


class Table(_FromLines):
    """One row for each network of which there is a run."""

    def make(self, found: list[dict[str, Any]]) -> list[nodes.Node]:
        """Make the table."""
        return [_table(dict.fromkeys(ZOO["COLUMNS"], 14), ZOO["table"](found))]


class Against(_FromLines):
    """MgNet beside each other family."""

    def make(self, found: list[dict[str, Any]]) -> list[nodes.Node]:
        """Make the table."""
        return [_table(dict.fromkeys(ZOO["AGAINST"], 16), ZOO["against"](found))]


class Front(_FromLines):
    """A sentence for multiply-adds and one for parameters: which networks nothing cheaper equals."""

    def make(self, found: list[dict[str, Any]]) -> list[nodes.Node]:
        """Make the list."""
        points = []
        for cost in ("multiply_adds", "parameters"):
            names = [
                [nodes.Text(f"{NAMES[row.family]} ({row.size}, {row.mean:.1f} %)")]
                for row in ZOO["front"](found, cost)
            ]
            paragraph = nodes.paragraph("", f"by {cost.replace('_', '-')}: ")
            paragraph += listed(node for name in names for node in name)
            points.append(nodes.list_item("", paragraph))
        return [nodes.bullet_list("", *points)]


class Target(_FromLines):
    """The runs of the lecture's network."""

    def make(self, found: list[dict[str, Any]]) -> list[nodes.Node]:
        """Make the table."""
        return [_table(dict.fromkeys(ZOO["TARGETS"], 16), ZOO["targets"](found))]


def _table(heads: dict[str, int], rows: list[list[str]]) -> nodes.table:
    said = {**NAMES, **SIZES}
    return table(heads, ([[nodes.Text(said.get(cell, cell))] for cell in row] for row in rows))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    for name, directive in {"table": Table, "against": Against, "front": Front, "target": Target}.items():
        app.add_directive(f"zoo-{name}", directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
