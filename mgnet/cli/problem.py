"""The options of ``mgnet solve`` that pose the problem: strings to the arguments of ``mgnet.solve``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .grid import cell_numbers, coordinates, grid
from .shell import CommandError, refused
from .values import AXES, dimensions, expression, function, is_array, mask, reading, values_of

if TYPE_CHECKING:
    import numpy as np

    from .expression import Expression
    from .tables import Table

__all__ = ["SIDES", "Posed", "inputs", "problem"]

SIDES = ("left", "right", "bottom", "top", "back", "front")  # low and high end of each axis


@dataclass(frozen=True)
class Posed:
    """What is solved, and what is asked for beside the solution."""

    dim: int
    f: Any
    keywords: dict[str, Any]  # of ``mgnet.solve``; None is its own default
    points: tuple[np.ndarray, np.ndarray] | None  # as ``mgnet.load`` takes them
    fluxes: dict[str, Any]  # what was typed: the name of a side, or a mask of nodes
    present: np.ndarray | None  # the nodes that have a cell; None where all have


def problem(arguments: argparse.Namespace) -> Posed:
    """Return the problem that the options pose."""
    from .tables import Table

    dim = _dimension(arguments)
    _require_dimensions(arguments, dim)
    joined = _joined(arguments.periodic, dim)
    cells = None if arguments.cells is None else mask("--cells", arguments.cells, dim)
    present = None if cells is None else _present(cells, joined)
    held, across = _held(arguments, dim), _fluxes(arguments, dim, joined)
    counting = [] if cells is None or present is None else [cells, present]
    functions = _functions(arguments, dim, counting)
    where = {} if cells is None else {f"--cells {arguments.cells}": cells}
    where |= {f"--fixed {path}": nodes for path, nodes, _ in held}
    where |= {f"--flux {text}": nodes for text, nodes in across.items() if not isinstance(nodes, str)}
    tables = {option: found for option, found in functions.items() if isinstance(found, Table)}
    box = grid(arguments, dim, tables, where)
    along = AXES[:dim] if dim > 1 else ()  # on an end there is nothing to vary with
    sides = {side: _condition(f"--{side}", getattr(arguments, side), along) for side in SIDES[: 2 * dim]}
    keywords = {
        **box,
        "a": _coefficient(functions, dim),
        "c": values_of(functions["--c"]),
        "boundary": {side: condition for side, condition in sides.items() if condition} or None,
        "periodic": joined or None,
        "cells": cells,
        "fixed": _fixed(held, coordinates(box)) if held else None,
    }
    points = _points(arguments.points, dim)
    return Posed(dim, values_of(functions["--rhs"]), keywords, points, across, present)


def inputs(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the files that are read."""
    texts = [arguments.rhs, arguments.points, arguments.cells, *_coefficients(arguments).values()]
    texts += [getattr(arguments, f"nodes_{axis}") for axis in AXES]
    texts += [part for text in arguments.fixed for part in text.split(",", 1)]
    return [text for text in (*texts, *arguments.flux) if text and os.path.isfile(text)]


def _dimension(arguments: argparse.Namespace) -> int:
    """Return --dim, or how many axes --n, --domain or a file speak of."""
    numbers = cell_numbers(arguments.n)
    if arguments.dim is not None:
        return int(arguments.dim)
    from .tables import axes_of

    counts = [len(numbers), len(arguments.domain or ()) // 2]
    counts += [i for i, axis in enumerate(AXES, start=1) if getattr(arguments, f"nodes_{axis}")]
    data = [arguments.rhs, *_coefficients(arguments).values()]
    counts += [axes_of(text) for text in data if text and is_array(text)]
    masks = [arguments.cells, *(text.split(",", 1)[0] for text in arguments.fixed), *arguments.flux]
    counts += [axes_of(text, columns=()) for text in masks if text and is_array(text)]
    return min(max(1, *counts), len(AXES))


def _require_dimensions(arguments: argparse.Namespace, dim: int) -> None:
    """Refuse the options of sides and axes that there are not in so few dimensions."""
    kin = [(side, i // 2) for i, side in enumerate(SIDES)]
    kin += [(f"{name}-{axis}", i) for name in ("nodes", "a") for i, axis in enumerate(AXES)]
    for option, axis in kin:
        if axis >= dim and (text := getattr(arguments, option.replace("-", "_"))) is not None:
            needed = "--dim 2 or 3" if axis == 1 else "--dim 3"
            raise CommandError(f"--{option}: got {text!r} in {dimensions(dim)}; accepted with {needed}")


def _coefficients(arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return what is said of a, of its parts along the axes, and of c, by option."""
    along = {f"--a-{axis}": getattr(arguments, f"a_{axis}") for axis in AXES}
    return {"--a": arguments.a, **along, "--c": arguments.c}


def _functions(
    arguments: argparse.Namespace, dim: int, masks: Sequence[np.ndarray]
) -> dict[str, Table | Expression | None]:
    """Return the right-hand side and the coefficients, by option."""
    texts = _coefficients(arguments)
    parts = [option for option in texts if option.startswith("--a-") and texts[option] is not None]
    if parts and arguments.a is not None:
        raise CommandError(f"--a: got {arguments.a!r} and {parts[0]}; accepted: one of them")
    rhs = function("--rhs", arguments.rhs, dim, is_array(arguments.rhs), masks)
    others = {option: function(option, text, dim, masks=masks) for option, text in texts.items()}
    return {"--rhs": rhs, **others}


def _coefficient(functions: Mapping[str, Table | Expression | None], dim: int) -> Any:
    """Return a, or a tuple of its parts along the axes, one where nothing is said."""
    parts = [values_of(functions[f"--a-{axis}"]) for axis in AXES[:dim]]
    if all(part is None for part in parts):
        return values_of(functions["--a"])
    return parts[0] if dim == 1 else tuple(1.0 if part is None else part for part in parts)


def _present(cells: np.ndarray, joined: bool | tuple[bool, ...]) -> np.ndarray:
    """Return which nodes have a cell."""
    from ..poisson.region import Region

    with refused("--"):
        axes = joined if isinstance(joined, tuple) else (joined,) * cells.ndim
        present = Region(cells, None, axes, cells.shape).present
    assert present is not None  # since there is a mask
    return present.numpy()


def _held(arguments: argparse.Namespace, dim: int) -> list[tuple[str, np.ndarray, str]]:
    """Return the file, the mask and the values of each --fixed, the values as they were typed."""
    held = []
    for text in arguments.fixed:
        path, _, values = (part.strip() for part in text.partition(","))
        if not path or not values:
            accepted = "MASK,VALUES, a file of True and False and a number, an expression or a file"
            raise CommandError(f"--fixed: got {text!r}; accepted: {accepted}")
        held.append((path, mask("--fixed", path, dim), values))
    return held


def _fixed(
    held: Sequence[tuple[str, np.ndarray, str]], axes: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which nodes are held, and values of all nodes, of which those count."""
    import numpy as np

    shape = tuple(map(len, axes))
    nodes, values = np.zeros(shape, bool), np.zeros(shape)
    for path, here, text in held:
        given = _at_nodes(text, here, axes)
        twice = nodes[here] & (values[here] != given)
        if twice.any():
            place = tuple(int(i[np.argmax(twice)]) for i in np.nonzero(here))
            one, other = values[place], np.broadcast_to(given, twice.shape)[np.argmax(twice)]
            raise CommandError(
                f"--fixed: got {one:g} and, by {path}, {other:g} at node {place}; accepted: one value"
            )
        values[here] = given
        nodes |= here
    return nodes, values


def _at_nodes(text: str, nodes: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the values that are typed, or in a file, at the nodes of a mask."""
    from .tables import TableError, is_file_name, read, read_array

    dim = len(axes)
    if not is_file_name(text):
        typed = expression("--fixed", text, AXES[:dim])
        with refused("--fixed: "):
            return typed(*(x[i] for x, i in zip(axes, nodes.nonzero(), strict=True)))
    if dim > 1 and not is_array(text):
        accepted = "accepted are a number, an expression and a .npy file"
        raise CommandError(f"--fixed: got {text} in {dimensions(dim)}; {accepted}")
    with reading("--fixed"):
        values = read(text, (1,), [nodes]).values if dim == 1 else read_array(text, {1, dim}, [nodes])
        if values.shape == nodes.shape:
            return values[nodes]
        count = int(nodes.sum())
        if values.shape != (count,):
            accepted = f"one value for each node, {nodes.shape}, or for each that is held, {(count,)}"
            raise TableError(f"{text}: an array of shape {values.shape}; accepted: {accepted}")
        return values


def _fluxes(arguments: argparse.Namespace, dim: int, joined: bool | tuple[bool, ...]) -> dict[str, Any]:
    """Return the sides and the masks of nodes through which the flux is asked for, by what was typed."""
    from .tables import is_file_name

    periodic = joined if isinstance(joined, tuple) else (joined,) * dim
    sides = [side for i, side in enumerate(SIDES[: 2 * dim]) if not periodic[i // 2]]
    found: dict[str, Any] = {}
    for text in arguments.flux:
        if is_file_name(text):
            found[text] = mask("--flux", text, dim)
        elif text in sides:
            found[text] = text
        else:
            some = ", ".join(sides) or "none, since all sides are joined"
            raise CommandError(f"--flux: got {text!r}; accepted: {some}, or a file of True and False")
    return found


def _points(text: str | None, dim: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the places and the strengths of sources, as ``mgnet.load`` takes them."""
    if text is None:
        return None
    from .tables import ENDINGS, is_file_name, read

    if not is_file_name(text):
        accepted = f"a file that ends in {', '.join(ENDINGS)}, of columns {', '.join(AXES[:dim])}, q"
        raise CommandError(f"--points: got {text!r}; accepted: {accepted}")
    with reading("--points"):
        *places, strengths = read(text, columns=(dim + 1,)).columns
    import numpy as np

    return np.stack(places, axis=-1), strengths


def _condition(option: str, text: str | None, names: Sequence[str] = ()) -> Any:
    """Return a boundary condition; its numbers may vary with the coordinates named."""
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
    with refused(f"{option}: "):
        return condition(*(values_of(expression(option, part, names)) for part in parts))


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
