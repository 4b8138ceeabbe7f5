"""Tables as nodes of docutils, for the directives that make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from docutils import nodes

Cell = Sequence[nodes.Node] | nodes.paragraph  # a paragraph, or what belongs into one


def table(columns: Mapping[str, int], rows: Iterable[Iterable[Cell]], **attributes: Any) -> nodes.table:
    """Make a table of the rows; the columns are the heads and their relative widths."""
    group = nodes.tgroup(cols=len(columns))
    group += [nodes.colspec(colwidth=width) for width in columns.values()]
    head, body = nodes.thead(), nodes.tbody()
    head += _row([nodes.Text(title)] for title in columns)
    body += [_row(row) for row in rows]
    group += [head, body]
    made = nodes.table(**attributes)
    made += group
    return made


def _row(cells: Iterable[Cell]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry = nodes.entry()
        entry += cell if isinstance(cell, nodes.paragraph) else nodes.paragraph("", "", *cell)
        row += entry
    return row


def listed(parts: Iterable[nodes.Node]) -> list[nodes.Node]:
    """Put commas between the parts."""
    found: list[nodes.Node] = []
    for part in parts:
        found += [nodes.Text(", "), part] if found else [part]
    return found
