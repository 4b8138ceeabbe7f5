"""Links between equations and lines of code, both ways, and the index of them all.

A comment ``# eq: label`` in the package marks the line that implements the equation of that label; the same
comment within a test function marks the test that checks it. An equation says where its code is and what
checks it; the page of the source leads back. Each equation has one mark of each kind, so that none is lost
unseen: fewer, more, or a mark without an equation is a warning, and the build turns warnings into errors.
"""

from __future__ import annotations

import ast
import html
import io
import re
import shutil
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from pages import listed, table
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
LABELS = r"# eq: ([a-z0-9-]+(?:, [a-z0-9-]+)*)"
# Where a long name may go on in the next line: after a dot, an underscore, a slash, a double colon.
BREAKS = re.compile(r"(?<=\.)(?!py\b)|(?<=[^\W_]_)(?=[^\W_])|(?<=/)|(?<=::)")


@dataclass(frozen=True)
class Mark:
    """A comment that names an equation."""

    label: str
    path: str  # from the project's root
    line: int
    function: str  # that it stands in, with its class

    @property
    def page(self) -> str:
        """The page of the source."""
        return "_modules/" + self.path.removesuffix(".py").removesuffix("/__init__")

    @property
    def anchor(self) -> str:
        """Its place on the page of the source."""
        return f"eq-{self.label}"


class Equations:
    """All marks, found anew for each build."""

    def __init__(self) -> None:
        self.code = _by_label(mark for path in _sources("mgnet") for mark in _marks(path))
        self.tests = _by_label(
            mark for path in _sources("tests") for mark in _marks(path) if "test_" in mark.function
        )
        self.examples = defaultdict(list)
        for path in _sources("examples"):
            for label in sorted(set(re.findall(r":eq:`([a-z0-9-]+)`", path.read_text(encoding="utf-8")))):
                self.examples[label].append(path)

    def of(self, label: str | None) -> tuple[Mark | None, Mark | None]:
        """Give the mark in the code and that in the tests; :func:`check` warns where there is not one."""
        return tuple(next(iter(marks.get(label, [])), None) for marks in (self.code, self.tests))


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _marks(path: Path) -> Iterator[Mark]:
    text = path.read_text(encoding="utf-8")
    if "# eq: " not in text:
        return
    functions = list(_functions(ast.parse(text)))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        found = token.type == tokenize.COMMENT and re.search(LABELS, token.string)
        if found:
            line = token.start[0]
            inside = [name for name, first, last in functions if first <= line <= last]
            for label in found[1].split(", "):
                yield Mark(label, path.relative_to(ROOT).as_posix(), line, inside[-1] if inside else "")


def _functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, int, int]]:
    """Give the functions and classes with their first and last lines, the outer ones first."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}" if outer else node.name
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield name, first, node.end_lineno or first
            yield from _functions(node, name)
        else:
            yield from _functions(node, outer)


def _by_label(marks: Iterator[Mark]) -> dict[str, list[Mark]]:
    found = defaultdict(list)
    for mark in marks:
        found[mark.label].append(mark)
    return found


def _test_name(mark: Mark) -> str:
    return f"{mark.path}::{mark.function.replace('.', '::')}"


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of equations without their one line of code and one test, and of marks without an equation."""
    marks, labels = app.equations, env.domains["math"].equations
    for what, found in (("code", marks.code), ("test", marks.tests)):
        for label in sorted(labels.keys() - found.keys()):
            page = str(env.doc2path(labels[label][0]))
            logger.warning("equation %r has no %s: no '# eq: %s'", label, what, label, location=page)
        for label in sorted(label for label in found if len(found[label]) > 1):
            places = ", ".join(f"{mark.path}:{mark.line}" for mark in found[label])
            logger.warning("equation %r has more than one %s: %s", label, what, places)
        for label in sorted(found.keys() - labels.keys()):
            for mark in found[label]:
                logger.warning("'# eq: %s' names no equation", label, location=f"{mark.path}:{mark.line}")
    for label in sorted(marks.examples.keys() - labels.keys()):
        logger.warning(":eq:`%s` names no equation", label, location=str(marks.examples[label][0]))


def _number(env: BuildEnvironment, label: str) -> str:
    page = env.domains["math"].equations[label][0]
    number = env.toc_fignumbers[page]["displaymath"][f"equation-{label}"]
    return ".".join(map(str, number))


def _link(app: Sphinx, page: str, target: str, text: str, anchor: str, literal: bool = True) -> nodes.Node:
    uri = app.builder.get_relative_uri(page, target) + anchor
    inner = _name(text) if literal else nodes.Text(text)
    return nodes.reference("", "", inner, internal=True, refuri=uri)


def _code_link(app: Sphinx, page: str, mark: Mark) -> nodes.Node:
    text = f"{Path(mark.path).stem}.{mark.function}" if mark.function else f"{mark.path}:{mark.line}"
    return _link(app, page, mark.page, text, f"#{mark.anchor}")


def _name(text: str) -> nodes.literal:
    """Make a name in code that may be broken between its parts and nowhere else."""
    literal = nodes.literal(text, "")
    for i, part in enumerate(filter(None, BREAKS.split(text))):
        literal += [nodes.raw("", "<wbr>", format="html")] * bool(i) + [nodes.Text(part)]
    return literal


def add_links(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put below each equation where its code is and what checks it; fill in the index."""
    for block in list(doctree.findall(nodes.math_block)):
        label = block.get("label")
        code, test = app.equations.of(label)
        if code and test:
            line = nodes.paragraph(classes=["equation-links"])
            line += [nodes.Text("Code: "), _code_link(app, page, code)]
            line += [nodes.Text(" · Checked by: "), _name(_test_name(test))]
            block.parent.insert(block.parent.index(block) + 1, line)
    for place in list(doctree.findall(Index)):
        place.replace_self(_table(app, page))


class Index(nodes.General, nodes.Element):
    """Where the index of equations goes."""


class EquationIndex(SphinxDirective):
    """The directive ``equation-index``."""

    def run(self) -> list[nodes.Node]:
        """Leave a place: numbers are known when all pages have been read."""
        return [Index()]


def _table(app: Sphinx, page: str) -> nodes.table:
    domain = app.env.domains["math"]
    order = {label: tuple(map(int, _number(app.env, label).split("."))) for label in domain.equations}
    rows = []
    for label in sorted(order, key=order.__getitem__):
        home = domain.equations[label][0]
        shown = _link(app, page, home, f"({_number(app.env, label)})", f"#equation-{label}", literal=False)
        code, test = app.equations.of(label)
        links = [_code_link(app, page, code)] if code else []
        tests = [_name(_test_name(test))] if test else []
        gallery = listed(_example_link(app, page, path) for path in app.equations.examples[label])
        rows.append(([shown], [nodes.Text(label)], links, tests, gallery))
    columns = {"No.": 8, "Label": 16, "Code": 22, "Checked by": 30, "Gallery": 24}
    return table(columns, rows, classes=["equation-index", "colwidths-given"])


def _example_link(app: Sphinx, page: str, path: Path) -> nodes.Node:
    target = "auto_examples/" + path.relative_to(ROOT / "examples").with_suffix("").as_posix()
    title = app.env.titles.get(target)
    return _link(app, page, target, title.astext() if title else path.stem, "", literal=False)


def link_back(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """On the pages of the source, lead from each mark to its equation, and name the test."""
    if page.startswith("_modules/mgnet"):
        here = [mark for found in app.equations.code.values() for mark in found if mark.page == page]
        marks = iter(sorted(here, key=lambda mark: mark.line))
        labels = app.env.domains["math"].equations

        def linked(match: re.Match[str]) -> str:
            parts = []
            for label in match[1].split(", "):
                mark = next(marks)
                if label not in labels:
                    parts.append(label)
                    continue
                uri = app.builder.get_relative_uri(page, labels[label][0]) + f"#equation-{label}"
                _, test = app.equations.of(label)
                name = html.escape(_test_name(test)) if test else "nothing"
                parts.append(
                    f'<a id="{mark.anchor}" class="equation" href="{uri}" title="checked by {name}">'
                    f"{label} ({_number(app.env, label)})</a>, checked by {name}"
                )
            return "# eq: " + "; ".join(parts)

        context["body"] = re.sub(LABELS, linked, context["body"])


def forget(app: Sphinx) -> None:
    """Have the pages of the source made anew: their links depend on more than the source."""
    shutil.rmtree(Path(app.outdir, "_modules", "mgnet"), ignore_errors=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions above."""
    app.equations = Equations()
    app.add_node(Index)
    app.add_directive("equation-index", EquationIndex)
    app.connect("builder-inited", forget)
    app.connect("env-check-consistency", check)
    app.connect("doctree-resolved", add_links)
    app.connect("html-page-context", link_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
