"""The directive ``lecture-systems``: what the course treats, and the page of the gallery that shows it.

The words stand in ``lecture-systems.toml``. An example names the systems that it covers in its docstring, on
a line ``:Lecture systems: T1, T2``. A system without an example is a warning, and so is a code that is not in
the file; the build turns warnings into errors.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
DOCS = Path(__file__).parents[1]
EXAMPLES = DOCS.parent / "examples"
SYSTEMS = DOCS / "lecture-systems.toml"
LINE = re.compile(r"^:Lecture systems:(.*)$", re.MULTILINE)


def covered(examples: Path) -> dict[str, list[Path]]:
    """Give the examples by the code of the system, as their docstrings say."""
    found = defaultdict(list)
    for path in sorted(examples.glob("*/*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        line = LINE.search(text)
        for code in re.findall(r"\b[A-Z]\d+\b", line[1] if line else ""):
            found[code].append(path)
    return dict(found)


class LectureSystems(SphinxDirective):
    """A table for each part of the course."""

    def run(self) -> list[nodes.Node]:
        """Make the tables."""
        parts = tomllib.loads(SYSTEMS.read_text(encoding="utf-8"))
        pages = covered(EXAMPLES)
        for path in (SYSTEMS, *(path for paths in pages.values() for path in paths)):
            self.env.note_dependency(str(path))
        known = [code for part in parts.values() for code in part["systems"]]
        for code in sorted(set(known) - set(pages)):
            logger.warning("no example covers lecture system %s", code, location=self.get_location())
        for code in sorted(set(pages) - set(known)):
            logger.warning("lecture system %s is not in %s", code, SYSTEMS.name, location=str(pages[code][0]))
        return [node for part in parts.values() for node in self._part(part, pages)]

    def _part(self, part: dict, pages: dict[str, list[Path]]) -> list[nodes.Node]:
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (8, 52, 40)]
        head, body = nodes.thead(), nodes.tbody()
        head += _row([nodes.Text("Code")], [nodes.Text("System")], [nodes.Text("In the gallery")])
        for code, words in part["systems"].items():
            links: list[nodes.Node] = []
            for path in pages.get(code, []):
                links += [nodes.Text(", ")] * bool(links) + [self._link(path)]
            inline, problems = self.state.inline_text(words, self.lineno)
            body += _row([nodes.Text(code)], [*inline, *problems], links)
        group += [head, body]
        table = nodes.table(classes=["lecture-systems"])
        table += group
        return [nodes.rubric("", part["title"]), table]

    def _link(self, path: Path) -> nodes.Node:
        page = "/auto_examples/" + path.relative_to(EXAMPLES).with_suffix("").as_posix()
        link = addnodes.pending_xref(
            "", refdomain="std", reftype="doc", reftarget=page, refexplicit=False, refwarn=True
        )
        link["refdoc"] = self.env.docname
        link += nodes.inline("", path.stem.replace("_", " "), classes=["std", "std-doc"])
        return link


def _row(*cells: list[nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry, paragraph = nodes.entry(), nodes.paragraph()
        paragraph += cell
        entry += paragraph
        row += entry
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("lecture-systems", LectureSystems)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
