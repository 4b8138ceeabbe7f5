"""The options of ``mgnet solve`` that pose the problem: strings to the keywords of ``mgnet.solve``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .shell import DAMAGED, USAGE, CommandError, reason, refused

if TYPE_CHECKING:
    import numpy as np

    from .expression import Expression
    from .tables import Table

__all__ = ["AXES", "SIDES", "constant", "expression", "problem", "whole"]

AXES = ("x", "y", "z")
SIDES = ("left", "right", "bottom", "top", "back", "front")  # low and high end of each axis


def problem(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return f and those keywords of ``mgnet.solve`` that say what is solved; None is its own default.

    Beside them are ``points``, which ``mgnet.load`` takes.
    """
    dim = _dimension(arguments)
    for side in SIDES[2 * dim :]:  # which there are not in so few dimensions
        if (condition := getattr(arguments, side)) is not None:
            needed = "--dim 2 or 3" if side in SIDES[:4] else "--dim 3"
            raise CommandError(f"--{side}: got {condition!r} in {_dimensions(dim)}; accepted with {needed}")
    rhs = _function("--rhs", arguments.rhs, dim, alone=_is_array(arguments.rhs))
    a, c = _function("--a", arguments.a, dim), _function("--c", arguments.c, dim)
    grid = _grid(arguments, dim, rhs, a, c)
    along = AXES[:dim] if dim > 1 else ()  # on an end there is nothing to vary with
    sides = {side: _condition(f"--{side}", getattr(arguments, side), along) for side in SIDES[: 2 * dim]}
    return _values(rhs), {
        **grid,
        "a": _values(a),
        "c": _values(c),
        "boundary": {side: condition for side, condition in sides.items() if condition} or None,
        "periodic": _joined(arguments.periodic, dim) or None,
        "points": _points(arguments.points, dim),
    }


def _dimension(arguments: argparse.Namespace) -> int:
    """Return --dim, or how many axes --n, --domain or a file speak of."""
    cells = _cell_numbers(arguments.n)
    if arguments.dim is not None:
        return int(arguments.dim)
    from .tables import axes_of

    files = [text for text in (arguments.rhs, arguments.a, arguments.c) if text and _is_array(text)]
    counts = [len(cells), len(arguments.domain or ()) // 2, *map(axes_of, files)]
    return min(max(1, *counts), len(AXES))


def _is_array(text: str) -> bool:
    return text.lower().endswith(".npy")


def _dimensions(dim: int) -> str:
    return f"{dim} dimension{'s' if dim > 1 else ''}"


def _cell_numbers(texts: Sequence[str] | None) -> list[int]:
    for text in (texts or ())[1:]:  # argparse gives --n all that follows it
        if not _is_accepted(text, ()):
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
        raise CommandError(f"{option}: expected {expected} in {_dimensions(dim)}, got {got}")


def _function(option: str, text: str | None, dim: int, alone: bool = True) -> Table | Expression | None:
    """Return what the text stands for; `alone` accepts a table of values without their x."""
    if text is None:
        return None
    from .tables import Table, is_file_name, read, read_array

    if not is_file_name(text):
        return expression(option, text, AXES[:dim])
    if dim > 1 and not _is_array(text):
        accepted = "accepted are an expression and a .npy file"
        raise CommandError(f"{option}: got {text} in {_dimensions(dim)}; {accepted}")
    with _reading(option):
        if dim > 1:
            return Table(text, read_array(text, dim)[None])
        return read(text, columns=(1, 2) if alone else (2,))


@contextmanager
def _reading(option: str) -> Iterator[None]:
    """Turn what is wrong with an option's file into the end of the command."""
    try:
        with refused(f"{option}: ", DAMAGED):
            yield
    except OSError as error:
        raise CommandError(f"{option}: {reason(error)}") from error


def _points(text: str | None, dim: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the places and the strengths of sources, as ``mgnet.load`` takes them."""
    if text is None:
        return None
    from .tables import ENDINGS, is_file_name, read

    if not is_file_name(text):
        accepted = f"a file that ends in {', '.join(ENDINGS)}, of columns {', '.join(AXES[:dim])}, q"
        raise CommandError(f"--points: got {text!r}; accepted: {accepted}")
    with _reading("--points"):
        *places, strengths = read(text, columns=(dim + 1,)).columns
    import numpy as np

    return np.stack(places, axis=-1), strengths


def _grid(arguments: argparse.Namespace, dim: int, *functions: Table | Expression | None) -> dict[str, Any]:
    """Return ``nodes``, or ``n`` and ``domain``, on which the files and the options agree."""
    from .tables import Table, is_uniform

    rhs, a, c = (function if isinstance(function, Table) else None for function in functions)
    cells = _cells(arguments, dim, rhs, a, c)
    _require_count("--domain", arguments.domain or (), dim, 2)
    ends = [float(expression("--domain", text, names=())()) for text in arguments.domain or ()]
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    with refused(code=DAMAGED):
        nodes = next((table.nodes() for table in (rhs, c) if table and table.x is not None), None)
    if nodes is not None:
        pairs = [_domain(pairs, nodes)]
    domain = pairs if len(pairs) > 1 else (pairs or [(0.0, 1.0)]) * dim
    # Without an x n is only a number yet, perhaps a huge one.
    if any(table and table.x is not None for table in (rhs, a, c)):
        import numpy as np

        x = np.linspace(*domain[0], cells[0] + 1) if nodes is None else nodes
        with refused(code=USAGE if nodes is None else DAMAGED):
            for table in filter(None, (rhs, c)):
                table.require_nodes(x)
            if a:
                a.require_cells(x)
    if nodes is not None and not is_uniform(nodes):
        return {"nodes": nodes}
    return {"dim": dim, "n": cells, "domain": domain} if dim > 1 else {"n": cells[0], "domain": domain[0]}


def _domain(given: Sequence[tuple[float, float]], nodes: np.ndarray) -> tuple[float, float]:
    ends = float(nodes[0]), float(nodes[-1])
    slack = 1e-9 * (ends[1] - ends[0])
    for low, high in given:
        if not abs(low - ends[0]) <= slack or not abs(high - ends[1]) <= slack:
            raise CommandError(
                f"--domain {low:g} {high:g}: the nodes in the file go from {ends[0]:g} to {ends[1]:g}"
            )
    return ends


def expression(option: str, text: str, names: Sequence[str] = AXES[:1]) -> Expression:
    """Read an expression in some coordinates; where only one is too much, say a word about ``--dim``."""
    from .expression import ExpressionError, parse
    from .tables import ENDINGS, is_other_file

    with refused(f"{option}: "):
        try:
            return parse(text, names)
        except ExpressionError as error:
            if is_other_file(text):
                accepted = f"an expression, or a file that ends in {', '.join(ENDINGS)} where a table is"
                raise ExpressionError(f"got the file {text!r}; accepted: {accepted}") from None
            if not names or not _is_accepted(text, AXES):
                raise
            raise ExpressionError(f"{error} (y with --dim 2 or 3, z with --dim 3)") from None


def _is_accepted(text: str, names: Sequence[str]) -> bool:
    from .expression import ExpressionError, parse

    try:
        parse(text, names)
    except ExpressionError:
        return False
    return True


def _values(function: Table | Expression | None) -> Any:
    """Return what ``mgnet.solve`` takes: nodal values, a number, or a callable."""
    from .expression import Expression

    if not isinstance(function, Expression):
        return None if function is None else function.values
    return float(function(*[0.0] * len(function.names))) if function.is_constant else function


def constant(option: str, text: str | None) -> float | None:
    """Return the value of an option's expression without coordinates, None for None."""
    return None if text is None else float(expression(option, text, names=())())


def whole(option: str, text: str | None) -> int | None:
    """Return the whole number that an option's expression stands for, None for None."""
    number = constant(option, text)
    if number is not None and not number.is_integer():
        raise CommandError(f"{option}: {text!r} is not accepted; accepted is a whole number")
    return None if number is None else int(number)


def _cells(arguments: argparse.Namespace, dim: int, *tables: Table | None) -> tuple[int, ...]:
    """Return the numbers of cells on which --n and the files agree; the tables are those of rhs, a and c."""
    numbers = _cell_numbers(arguments.n)
    _require_count("--n", numbers, dim, 1)
    texts = {"--rhs": arguments.rhs, "--a": arguments.a, "--c": arguments.c}
    told = {
        f"{option} {text}": _readings(option, table)
        for (option, text), table in zip(texts.items(), tables, strict=True)
        if table
    }
    if not told and not numbers:
        raise CommandError("--n is missing; accepted is a number of cells, or a file that says it")
    given = tuple(numbers * dim if len(numbers) == 1 else numbers)
    every = {**told, **({"--n": [given]} if numbers else {})}
    counts = {source: readings[0] for source, readings in every.items()}
    if len(set(counts.values())) > 1:
        fitting = set.intersection(*map(set, every.values()))
        if len(fitting) == 1:
            return fitting.pop()
        differ = ", ".join(f"{' x '.join(map(str, count))} by {source}" for source, count in counts.items())
        code = DAMAGED if len({readings[0] for readings in told.values()}) > 1 else USAGE
        raise CommandError(f"the numbers of cells differ: {differ}", code)
    return next(iter(counts.values()))


def _readings(option: str, table: Table) -> list[tuple[int, ...]]:
    """Give the numbers of cells that a table may mean, the likeliest first; its x says what its rows are."""
    per_cell, per_node = (tuple(size - nodal for size in table.values.shape) for nodal in (0, 1))
    readings = [per_cell, per_node] if option == "--a" else [per_node, per_cell]
    return readings if table.x is None else readings[:1]


def _condition(option: str, text: str | None, names: Sequence[str] = ()) -> Any:
    """Return a boundary condition; its last number may vary with the coordinates named."""
    if text is None:
        return None
    import mgnet

    kinds: dict[str, Any] = {"dirichlet": mgnet.Dirichlet, "neumann": mgnet.Neumann, "robin": mgnet.Robin}
    kind, _, rest = text.partition(":")
    condition, parts = kinds.get(kind.strip().lower()), _outer_parts(rest)
    count = 2 if condition is mgnet.Robin else 1
    if condition is None or len(parts) != count or not all(part.strip() for part in parts):
        accepted = "dirichlet:G, neumann:G, robin:ALPHA,G"
        raise CommandError(f"{option}: {text!r} is not accepted; accepted are {accepted}")
    *alpha, g = parts
    with refused(f"{option}: "):
        return condition(*(constant(option, part) for part in alpha), _values(expression(option, g, names)))


def _outer_parts(text: str) -> list[str]:
    """Split at the commas outside brackets: 'max(1, 2), 3' has two parts."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _joined(text: str | None, dim: int) -> bool | tuple[bool, ...]:
    """Return what ``periodic`` takes: 'all' for all axes, or names of some, as in 'x,y'."""
    if text in (None, "all"):
        return text is not None
    names = [name.strip() for name in str(text).split(",")]
    if not set(names) <= set(AXES[:dim]) or len(set(names)) < len(names):
        axes = " or ".join([*AXES[:dim], ",".join(AXES[:dim])][: dim + (dim > 1)])
        accepted = f"axes such as {axes}, or nothing for all"
        raise CommandError(f"--periodic: {text!r} is not accepted; accepted are {accepted}")
    return tuple(name in names for name in AXES[:dim]) if dim > 1 else True
