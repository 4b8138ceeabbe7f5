"""What the shape of an array says: one value per cell or per node, a batch, and the number of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.arrays import array, data, require_finite
from ..core.kinds import hidden, is_array, refuse_masked
from ..core.looks import look

__all__ = [
    "BOUNDS",
    "MASKS",
    "by_shape",
    "cell_means",
    "cells_told",
    "common_batch",
    "refuse_squares",
    "require_bounds",
    "require_finite_load",
    "sample_of",
    "whole_period",
]

# What a mask of data may be meant as.
MASKS = ", with cells= where a mask says what the domain is, fixed= where it says which nodes are held"
BOUNDS = {"a": "positive, finite numbers", "c": "finite numbers of at least 0"}
PER_NODE = "one value per node, boundary included"


def by_shape(name: str, value: Any, cells: tuple[int, ...], joined: Sequence[bool]) -> Tensor:
    """Return an array f, a or c, shape ``(..., *cells)`` or ``(..., *nodes)``, or say what is accepted.

    Along joined axes each node may stand once.
    """
    refuse_masked(name, value, MASKS)
    nodes = tuple(n + 1 for n in cells)
    once = tuple(n + (not together) for n, together in zip(cells, joined, strict=True))
    shapes, what = [nodes, once, cells], f"{PER_NODE}, or one per cell"
    if name == "a":
        shapes, what = [cells, nodes, once], "one value per cell, or one per node, boundary included"
    return array(name, value, list(dict.fromkeys(shapes)), what)


def refuse_squares(**given: Any) -> None:
    """Ask what an array is whose axes are all of one length, where neither n nor dim is said."""
    for name, shape in _shapes(given):
        if len(shape) in (2, 3) and len(set(shape)) == 1:
            dim, n = len(shape), shape[0] - (name != "a")
            raise ValueError(
                f"{name}: got shape {shape} without n and dim: a batch of rows, or dim={dim}?"
                f" accepted: n={n} for a batch, or dim={dim}"
            )


def cells_told(dim: int, joined: Sequence[bool], **given: Any) -> int | tuple[int, ...] | None:
    """Return the number of cells, along each axis, that arrays f, a and c tell by their shapes, if any.

    By itself an a has one value per cell, f and c one per node, once along joined axes. Where these do not
    agree with each other, the number of cells that fits all counts.
    """
    shapes = _shapes(given, dim)
    if not shapes:
        return None
    for name, shape in shapes:
        if len(shape) < dim:
            raise ValueError(f"{name}: got shape {shape} without n; accepted: {dim} axes or more")
    told = [_readings(name, shape[-dim:], joined) for name, shape in shapes]
    fitting = {readings[0] for readings in told}
    if len(fitting) > 1:
        fitting = set.intersection(*map(set, told))
    if len(fitting) != 1:
        found = ", ".join(f"{name} of shape {shape}" for name, shape in shapes)
        several = " or ".join(str(cells if dim > 1 else cells[0]) for cells in sorted(fitting))
        fits = f"which fit n = {several}" if fitting else "which fit no number of cells together"
        accepted = "n" if fitting else "arrays with one value per cell or per node of one grid"
        raise ValueError(f"n: got None and {found}, {fits}; accepted: {accepted}")
    cells = fitting.pop()
    return cells if dim > 1 else cells[0]


def _shapes(given: dict[str, Any], dim: int = 1) -> list[tuple[str, tuple[int, ...]]]:
    """Give the shapes of those data that are arrays; in a box a tuple a has one for each axis."""
    each = [
        (name, part)
        for name, value in given.items()
        for part in (value if name == "a" and dim > 1 and isinstance(value, tuple) else (value,))
    ]
    for name, part in each:
        refuse_masked(name, part, MASKS)
    return [(name, tuple(data(name, part).shape)) for name, part in each if is_array(part)]


def _readings(name: str, sizes: tuple[int, ...], joined: Sequence[bool]) -> list[tuple[int, ...]]:
    """Give the numbers of cells that a shape may mean, the likeliest first."""
    once = tuple(size - (not together) for size, together in zip(sizes, joined, strict=True))
    nodal = [once, tuple(size - 1 for size in sizes)]
    if name in ("cells", "fixed"):  # masks, of cells and of nodes
        return [sizes] if name == "cells" else [nodal[1]]
    return list(dict.fromkeys([sizes, *nodal] if name == "a" else [*nodal, sizes]))


def whole_period(x: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Repeat the first nodes at the end of each axis that has each node once."""
    for place, n in enumerate(cells, -len(cells)):
        if x.shape[place] == n:
            x = torch.cat((x, x.narrow(place, 0, 1)), place)
    return x


def cell_means(x: Tensor, dim: int) -> Tensor:
    """Return the mean over each cell of the function that is linear along each axis between nodes."""
    for place in range(-dim, 0):
        n = x.shape[place] - 1
        x = torch.lerp(x.narrow(place, 0, n), x.narrow(place, 1, n), 0.5)
    return x


def common_batch(name: str, values: Tensor, axes: int, batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the batch of values, the leading axes before so many, and of others, broadcast if they fit."""
    own = tuple(values.shape[: values.ndim - axes])
    if own == batch or not batch:
        return own
    try:
        return tuple(torch.broadcast_shapes(own, batch))
    except RuntimeError:
        got = f"leading axes {own} beside {tuple(batch)} of other data"
        raise ValueError(f"{name}: got {got}; accepted: a batch that all share") from None


def sample_of(x: Any, index: tuple[int, ...], axes: int) -> Any:
    """Return what belongs to one sample of a tensor, or of a tuple of them; itself where it has no batch.

    Its last ``axes`` are none. ``index`` counts along a batch that the other axes broadcast to.
    """
    if isinstance(x, tuple):
        return tuple(sample_of(part, index, axes) for part in x)
    batch = x.shape[: x.ndim - axes] if isinstance(x, Tensor) else ()
    places = zip(index[len(index) - len(batch) :], batch, strict=True)
    return x[tuple(i if size > 1 else 0 for i, size in places)] if batch else x


def require_finite_load(f: Tensor, dim: int, floats: bool) -> None:
    """Say where an array f is not finite; on an interval if that may not show later.

    What else is not finite shows in the answer, and so does all of it where nothing is held, ``floats``; what
    a Dirichlet end makes of no account does not.
    """
    if hidden(f) or (dim == 1 and floats):
        return

    def judge(numbers: list[float]) -> None:
        if not all(map(math.isfinite, numbers)):
            require_finite("f", f, dim)

    look([f.sum() if dim > 1 else f[..., :: max(1, f.shape[-1] - 1)]], judge)


def require_bounds(cells: tuple[int, ...], start: int = 0, **coefficients: Sequence[Any]) -> None:
    """Raise the error that names the first cell or node where a ≤ 0, c < 0, or either is not finite.

    What has one value for each of the ``cells``, of which ``start`` is the number of the first along the
    first axis, is named by those, what has one more along each axis by nodes.
    """
    given = [(name, x) for name, several in coefficients.items() for x in several]
    known = [(name, x) for name, x in given if isinstance(x, Tensor) and not hidden(x)]
    if not known:
        return

    def judge(ends: list[float]) -> None:
        for (name, x), low, high in zip(known, ends[::2], ends[1::2], strict=True):
            if not (high < math.inf and (low > 0 if name == "a" else low >= 0)):
                _refuse(name, x, cells, start)

    look([end for _, x in known for end in x.aminmax()], judge)  # NaN where there is one


def _refuse(name: str, x: Tensor, cells: tuple[int, ...], start: int) -> None:
    bad = ~((x > 0) if name == "a" else (x >= 0)) | x.isinf()
    place = "cell" if x.shape[-len(cells) :] == cells else "node"
    index = tuple(bad.nonzero()[0].tolist())
    row, (first, *others) = index[: -len(cells)], index[-len(cells) :]
    where = (start + first, *others) if others else start + first
    where = f"{where} of row {row[0] if len(row) == 1 else row}" if row else f"{where}"
    raise ValueError(f"{name}: got {x[index].item()!r} in {place} {where}; accepted: {BOUNDS[name]}")
