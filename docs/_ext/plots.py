"""Matplotlib's directive ``plot`` for pages in Markdown, with a caption in Markdown.

The directive inserts lines of reStructuredText into what is still to be read, and the parser of Markdown has
no such thing. Here these lines are read by themselves. Pages in reStructuredText are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils import new_document
from matplotlib.sphinxext.plot_directive import PlotDirective
from myst_parser.mocking import MockRSTParser, MockState
from sphinx.application import Sphinx


class _Listener:
    """The state machine, except that it keeps what it should insert."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    def insert_input(self, lines: Sequence[str], source: str | None = None) -> None:
        self.lines += lines


class Plot(PlotDirective):
    """The directive, for both languages."""

    def run(self) -> list[nodes.Node]:
        """Make the picture, and read what is to be inserted."""
        if not isinstance(self.state, MockState):
            return super().run()
        caption = self.content if self.arguments else StringList()
        if self.arguments:
            self.content = StringList()
        listener = self.state_machine = _Listener(self.state_machine)
        problems = super().run()
        made = new_document(self.state.document["source"], self.state.document.settings)
        made.reporter = self.state.document.reporter
        MockRSTParser().parse("\n".join(listener.lines), made)
        if any(line.strip() for line in caption):
            self._describe(made, caption)
        return [*problems, *made.children]

    def _describe(self, made: nodes.document, caption: StringList) -> None:
        text = nodes.Element()
        self.state.nested_parse(caption, self.content_offset, text)
        for figure in made.findall(nodes.figure):
            first, *more = [node.deepcopy() for node in text.children]
            figure += nodes.caption("", "", *first.children)
            if more:
                figure += nodes.legend("", *more)


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the place of matplotlib's own."""
    app.setup_extension("matplotlib.sphinxext.plot_directive")
    app.add_directive("plot", Plot, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
