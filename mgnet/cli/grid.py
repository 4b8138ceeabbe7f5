"""The grid of ``mgnet solve``, on which its options and the files agree."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .shell import DAMAGED, USAGE, CommandError, refused
from .values import AXES, dimensions, expression, is_accepted, reading, whole

if TYPE_CHECKING:
    import numpy as np

    from .tables import Table

__all__ = ["cell_numbers", "coordinates", "grid"]

NODAL = ("--rhs", "--c")  # whose tables have one row per node, where they have an x
Counts = tuple[int | None, ...]  # of cells along each axis, None where they are not known
Nodes = Sequence["np.ndarray | None"]  # of each axis, None where cells are alike


def grid(
    arguments: argparse.Namespace, dim: int, tables: Mapping[str, Table], masks: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return ``nodes``, or ``n`` and ``domain``, on which the files and the options agree.

    The tables are by the option, the masks by the option and the file.
    """
    from .tables import is_uniform

    nodes = _given_nodes(arguments, dim, tables)
    cells = _cells(arguments, nodes, tables, masks)
    domains = _domains(arguments, nodes)
    _require_x(tables, cells, domains[0], nodes[0])
    if all(x is None or is_uniform(x) for x in nodes):
        if dim == 1:
            return {"n": cells[0], "domain": domains[0]}
        return {"dim": dim, "n": cells, "domain": domains}
    if dim == 1:
        return {"nodes": nodes[0]}
    from ..core.resources import require_memory

    require_memory(math.prod(cells), cells)  # before the coordinates take some
    alike = coordinates({"dim": dim, "n": cells, "domain": domains})
    return {"dim": dim, "nodes": tuple(a if x is None else x for a, x in zip(alike, nodes, strict=True))}


def coordinates(grid: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the node coordinates along each axis of a grid as :func:`grid` returns it."""
    from mgnet import Grid

    several = "dim" in grid
    if "nodes" in grid:
        nodes = grid["nodes"]
        return nodes if several else (nodes,)
    axes = zip(grid["n"], grid["domain"], strict=True) if several else [(grid["n"], grid["domain"])]
    with refused():
        return tuple(Grid(n, domain).x for n, domain in axes)


def cell_numbers(texts: Sequence[str] | None) -> list[int]:
    """Return the numbers after --n."""
    for text in (texts or ())[1:]:  # argparse gives --n all that follows it
        if not is_accepted(text, ()):
            accepted = "a whole number, or one per axis"
            raise CommandError(f"--n: unrecognized arguments: {text}; accepted is {accepted}")
    numbers = [whole("--n", text) for text in texts or ()]
    return [number for number in numbers if number is not None]


def _require_count(option: str, values: Sequence[Any], dim: int, each: int) -> None:
    """Refuse values that are neither for all axes nor for each."""
    counts = sorted({each, each * dim})
    if values and len(values) not in counts:
        expected = f"{' or '.join(map(str, counts))} argument{'s' if counts[-1] > 1 else ''}"
        got = " ".join(map(str, values))
        raise CommandError(f"{option}: expected {expected} in {dimensions(dim)}, got {got}")


def _given_nodes(arguments: argparse.Namespace, dim: int, tables: Mapping[str, Table]) -> Nodes:
    """Return the nodes that --nodes-x and its kin say, and on an interval the x of a table per node."""
    from .tables import ENDINGS, is_file_name, read

    nodes: list[np.ndarray | None] = []
    for axis in AXES[:dim]:
        option, text = f"--nodes-{axis}", getattr(arguments, f"nodes_{axis}")
        if text is None:
            nodes.append(None)
            continue
        if not is_file_name(text):
            accepted = f"a file of increasing coordinates, {', '.join(ENDINGS)}"
            raise CommandError(f"{option}: got {text!r}; accepted: {accepted}")
        with reading(option):
            nodes.append(read(text, columns=(1,)).nodes(axis))
    nodal = (tables[option] for option in ("--rhs", "--c") if option in tables)
    with refused(code=DAMAGED):
        told = next((table.nodes() for table in nodal if table.x is not None), None)
    return [told] if dim == 1 and nodes[0] is None else nodes


def _cells(
    arguments: argparse.Namespace, nodes: Nodes, tables: Mapping[str, Table], masks: Mapping[str, np.ndarray]
) -> tuple[int, ...]:
    """Return the numbers of cells on which --n and the files agree."""
    dim, numbers = len(nodes), cell_numbers(arguments.n)
    _require_count("--n", numbers, dim, 1)
    told = {f"{option} {table.path}": _readings(option, table) for option, table in tables.items()}
    for source, mask in masks.items():
        told[source] = [mask.shape if source.startswith("--cells") else tuple(n - 1 for n in mask.shape)]
    for i, (axis, x) in enumerate(zip(AXES, nodes, strict=False)):
        if x is not None and (path := getattr(arguments, f"nodes_{axis}")):
            told[f"--nodes-{axis} {path}"] = [tuple(len(x) - 1 if i == j else None for j in range(dim))]
    every = dict(told)
    if len(numbers) == 1:  # for all axes, or for those whose nodes no file says
        some = any(x is None for x in nodes)
        every["--n"] = [tuple(numbers[0] if x is None or not some else None for x in nodes)]
    elif numbers:
        every["--n"] = [tuple(numbers)]
    agreed = _common(found[:1] for found in every.values()) or _common(every.values())
    if len(agreed) != 1:
        counts = {
            source: " x ".join("?" if n is None else str(n) for n in every[source][0]) for source in every
        }
        differ = ", ".join(f"{count} by {source}" for source, count in counts.items())
        code = USAGE if _common(found[:1] for found in told.values()) else DAMAGED
        raise CommandError(f"the numbers of cells differ: {differ}", code)
    cells = [n for n in agreed.pop() if n is not None]
    if len(cells) < dim:
        raise CommandError("--n is missing; accepted is a number of cells, or a file that says it")
    return tuple(cells)


def _readings(option: str, table: Table) -> list[Counts]:
    """Give the numbers of cells that a table may mean, the likeliest first; its x says what its rows are."""
    per_cell, per_node = (tuple(size - nodal for size in table.values.shape) for nodal in (0, 1))
    readings: list[Counts] = [per_node, per_cell] if option in NODAL else [per_cell, per_node]
    return readings if table.x is None else readings[:1]


def _common(sources: Iterable[Sequence[Counts]]) -> set[Counts]:
    """Return the numbers of cells on which one reading of each source agrees with one of each other."""
    common: set[Counts] = {()}
    for readings in sources:
        pairs = [(one, other) for one in common for other in readings]
        common = {_joint(one or (None,) * len(other), other) for one, other in pairs} - {()}
    return common


def _joint(one: Counts, other: Counts) -> Counts:
    """Fill what one does not know from the other; nothing where they differ."""
    pairs = list(zip(one, other, strict=True))
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        return ()
    return tuple(b if a is None else a for a, b in pairs)


def _domains(arguments: argparse.Namespace, nodes: Nodes) -> list[tuple[float, float]]:
    """Return the two ends of each axis, on which --domain and the nodes of files agree."""
    dim, texts = len(nodes), arguments.domain or ()
    _require_count("--domain", texts, dim, 2)
    ends = [float(expression("--domain", text, names=())()) for text in texts]
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    stretched = [x for x in nodes if x is not None]
    if len(pairs) < dim:  # for all axes, or for those whose nodes no file says
        every = (pairs or [(0.0, 1.0)])[0]
        given = [every if x is None else _ends_of(x) for x in nodes]
        return given if len(stretched) < dim or not pairs else [_ends_of(x, every) for x in stretched]
    return [pair if x is None else _ends_of(x, pair) for x, pair in zip(nodes, pairs, strict=True)]


def _ends_of(nodes: np.ndarray, given: tuple[float, float] | None = None) -> tuple[float, float]:
    ends = float(nodes[0]), float(nodes[-1])
    slack = 1e-9 * (ends[1] - ends[0])
    low, high = given or ends
    if not abs(low - ends[0]) <= slack or not abs(high - ends[1]) <= slack:
        raise CommandError(
            f"--domain {low:g} {high:g}: the nodes in the file go from {ends[0]:g} to {ends[1]:g}"
        )
    return ends


def _require_x(
    tables: Mapping[str, Table], cells: Sequence[int], domain: tuple[float, float], nodes: np.ndarray | None
) -> None:
    """Refuse tables on an interval whose x is not that of their nodes or cells."""
    if all(table.x is None for table in tables.values()):  # then n is only a number yet, perhaps a huge one
        return
    import numpy as np

    x = np.linspace(*domain, cells[0] + 1) if nodes is None else nodes
    with refused(code=USAGE if nodes is None else DAMAGED):
        for option, table in tables.items():
            if option in NODAL:
                table.require_nodes(x)
            else:
                table.require_cells(x)
