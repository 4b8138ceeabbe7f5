"""The directive ``lecture-systems``: what the course treats, and the page of the gallery that shows it.

The words stand in ``lecture-systems.toml``. An example names the systems that it covers in its docstring, on
a line ``:Lecture systems: T1, T2``. A system without an example is a warning, and so is a code that is not in
the file; the build turns warnings into errors.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from pages import listed, table
from sources import EXAMPLES, SYSTEMS, covered, lecture_systems
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


class ByLecture:
    """Sort the examples of a part as the lectures go; those beyond them by name, at the end.

    Parameters
    ----------
    src_dir : str
        Folder of the part.
    """

    def __init__(self, src_dir: str) -> None:
        self.folder = Path(src_dir)

    def __call__(self, filename: str) -> tuple[int, str]:
        """Return what an example is sorted by."""
        here = EXAMPLES / self.folder.name / Path(filename).name
        numbers = [int(code[1:]) for code, paths in covered(EXAMPLES).items() if here in paths]
        return min(numbers, default=100), here.name


class LectureSystems(SphinxDirective):
    """A table for each part of the course."""

    def run(self) -> list[nodes.Node]:
        """Make the tables."""
        parts = lecture_systems()
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
        rows = []
        for code, words in part["systems"].items():
            inline, problems = self.state.inline_text(words, self.lineno)
            links = listed(map(self._link, pages.get(code, [])))
            rows.append(([nodes.Text(code)], [*inline, *problems], links))
        columns = {"Code": 8, "System": 52, "In the gallery": 40}
        return [nodes.rubric("", part["title"]), table(columns, rows, classes=["lecture-systems"])]

    def _link(self, path: Path) -> nodes.Node:
        page = "/auto_examples/" + path.relative_to(EXAMPLES).with_suffix("").as_posix()
        link = addnodes.pending_xref(
            "", refdomain="std", reftype="doc", reftarget=page, refexplicit=False, refwarn=True
        )
        link["refdoc"] = self.env.docname
        link += nodes.inline("", path.stem.replace("_", " "), classes=["std", "std-doc"])
        return link


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("lecture-systems", LectureSystems)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
