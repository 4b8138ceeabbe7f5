"""What holds on the sides: Dirichlet, Neumann and Robin conditions, and which side has which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..core.arrays import array, data
from ..core.checks import instance, number, shown
from ..core.kinds import hidden, is_array, is_number, refuse_masked, tracked
from .shapes import MASKS

__all__ = ["SIDES", "Condition", "Dirichlet", "Neumann", "Robin", "conditions_of", "nothing", "side_shape"]

# Low and high side of each axis.
SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
ACCEPTED = "Dirichlet(g), Neumann(g) or Robin(alpha, g)"


class _Condition:
    """What conditions share: their data are checked, and arrays shown by their shape."""

    g: Any

    def __post_init__(self) -> None:
        name, g = f"{type(self).__name__} g", self.g  # checked as far as it can be without a grid
        refuse_masked(name, g, MASKS)
        if not callable(g):
            object.__setattr__(self, "g", data(name, g) if is_array(g) else _tracked_number(name, g))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={shown(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True, repr=False)
class Dirichlet(_Condition):
    """The value at an end, or on a side, is given: u = g.

    Parameters
    ----------
    g : float, callable or array, default 0.0
        The value. On the sides of a box it may vary: a function of the coordinates, or nodal values on the
        side, or on the whole box, of which those on the side count. What fits the whole box and is a batch
        for a side too is refused, unless it is the one condition for all sides: that is of the whole box.
    """

    g: Any = 0.0


@dataclass(frozen=True, repr=False)
class Neumann(_Condition):
    """The flux into an end, or a side, is given: a ∂u/∂ν = g, ν the outward normal.

    Parameters
    ----------
    g : float, callable or array, default 0.0
        The flux; what varies on the side of a box as for :class:`Dirichlet`.
    """

    g: Any = 0.0


@dataclass(frozen=True, repr=False)
class Robin(_Condition):
    """Flux and value at an end, or on a side, are tied: a ∂u/∂ν + α u = g.

    Parameters
    ----------
    alpha : float, callable or array
        The transfer coefficient α, at least 0; a tensor that requires a gradient gets one. On the sides of a
        box it may vary as g may, without a batch: where it is zero the side is one with a given flux. A
        number is integrated against products of hats, and so is a function or an array where g is;
        where ``load`` is "nodal" these are lumped as g is.
    g : float, callable or array, default 0.0
        The right-hand side; what varies on the side of a box as for :class:`Dirichlet`.
    """

    alpha: Any
    g: Any = 0.0

    def __post_init__(self) -> None:
        name, alpha = "Robin alpha", self.alpha
        if not callable(alpha):
            alpha = data(name, alpha) if is_array(alpha) else _tracked_number(name, alpha)
            object.__setattr__(self, "alpha", alpha)
        super().__post_init__()
        if callable(alpha) or is_array(alpha):
            return
        if not hidden(alpha) and alpha < 0:
            raise ValueError(f"Robin alpha: got {shown(alpha)}; accepted: a number of at least 0")


Condition = Dirichlet | Neumann | Robin


def _tracked_number(name: str, value: Any) -> Any:
    """Return a finite float, or a tensor by which derivatives are taken as it is."""
    if not tracked(value):
        return number(name, value)
    if value.ndim or not hidden(value):
        number(name, value.detach())
    return value


def nothing(g: Any) -> bool:
    """Say whether data of a condition are the number zero."""
    return isinstance(g, float) and not g


# What holds where nothing is said.
ZERO = Dirichlet()


def conditions_of(
    boundary: Any, left: Any, right: Any, joined: tuple[bool, ...], node_shape: tuple[int, ...]
) -> list[tuple[Condition, Condition]]:
    """Return the conditions at the low and at the high end of each axis: Dirichlet(0) where none is named."""
    sides = SIDES[: len(joined)]
    given = {name: side for name, side in (("left", left), ("right", right)) if side is not None}
    given = _at_ends(given, boundary) if len(joined) == 1 else _on_sides(given, boundary, joined)
    for axis, pair in enumerate(sides):
        for name in pair:
            if name in given and len(joined) == 1:
                _require_at_end(name, given[name], joined[axis])
            elif name in given:
                _require_on_side(name, given[name], joined[axis], axis, node_shape)
                if given[name] is not boundary:  # one condition for all sides is that of the whole box
                    _require_one_way(name, given[name], axis, node_shape)
    return [(given.get(low, ZERO), given.get(high, ZERO)) for low, high in sides]


def _at_ends(given: dict[str, Any], boundary: Any) -> dict[str, Any]:
    if boundary is None:
        return given
    if given:
        raise ValueError(f"boundary: got {shown(boundary)} and left or right; accepted: one of them")
    if isinstance(boundary, Mapping):
        unknown = set(boundary) - {"left", "right"}
        if unknown:
            raise ValueError(f"boundary: got the side {shown(unknown.pop())}; accepted: 'left', 'right'")
        return {name: side for name, side in boundary.items() if side is not None}
    instance("boundary", boundary, Condition, f"{ACCEPTED}, or a dictionary of them by side")
    return {"left": boundary, "right": boundary}


def _require_at_end(name: str, end: Any, joined: bool) -> None:
    if joined:
        raise ValueError(f"{name}: got {shown(end)} and periodic=True; accepted: one of them")
    instance(name, end, Condition, ACCEPTED)
    if not (isinstance(end.g, float) or (isinstance(end.g, Tensor) and not end.g.ndim)):
        raise TypeError(f"{name}: got {type(end).__name__}(g) with g = {shown(end.g)}; accepted: a number")
    alpha = getattr(end, "alpha", 0.0)
    if not is_number(alpha):
        raise TypeError(f"{name}: got Robin(alpha, g) with alpha = {shown(alpha)}; accepted: a number")


def _on_sides(given: dict[str, Any], boundary: Any, joined: tuple[bool, ...]) -> dict[str, Any]:
    names = [name for pair in SIDES[: len(joined)] for name in pair]
    if isinstance(boundary, Mapping):
        for name in boundary:
            if name not in names:
                raise ValueError(f"boundary: got the side {shown(name)}; accepted: {', '.join(names)}")
            if name in given:
                raise ValueError(f"boundary: got the side {name!r} twice; accepted: once")
        return {**given, **boundary}
    if boundary is None:
        return given
    free = [name for pair, periodic in zip(SIDES, joined, strict=False) if not periodic for name in pair]
    return {**dict.fromkeys(free, boundary), **given}


def _require_on_side(name: str, side: Any, joined: bool, axis: int, node_shape: tuple[int, ...]) -> None:
    if not isinstance(side, Dirichlet | Neumann | Robin):
        raise TypeError(f"boundary: got {shown(side)} for the side {name!r}; accepted: {ACCEPTED}")
    if joined:
        got = f"{shown(side)} for the side {name!r} of a periodic axis"
        raise ValueError(f"boundary: got {got}; accepted: none")
    what, shapes = (
        f"nodal values on the side {name!r}, or on the whole box",
        (node_shape, side_shape(node_shape, axis)),
    )
    if is_array(side.g) or (isinstance(side.g, Tensor) and side.g.ndim):
        array(f"{name}: {type(side).__name__} g", side.g, shapes, what)
    alpha = getattr(side, "alpha", 0.0)
    if is_array(alpha) or (isinstance(alpha, Tensor) and alpha.ndim):
        array(f"{name}: Robin alpha", alpha, shapes, what, batch=False)


def _require_one_way(name: str, side: Condition, axis: int, node_shape: tuple[int, ...]) -> None:
    """Refuse an array for one side that fits the whole box and is a batch for the side as well."""
    shape, dim = tuple(getattr(side.g, "shape", ())), len(node_shape)
    if shape[-dim:] == node_shape and shape[1 - dim :] == side_shape(node_shape, axis):
        place, end = axis - dim, -SIDES[axis].index(name)
        raise ValueError(
            f"{name}: {type(side).__name__} g: got shape {shape}, which fits the whole box and a batch"
            f" for the side; accepted: values on the side, numpy.take(g, {end}, {place}) of a whole box,"
            f" or for a batch a function, lambda {', '.join('xyz'[:dim])}: numpy.expand_dims(g, {place})"
        )


def side_shape(node_shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the number of nodes along each axis of a side."""
    return node_shape[:axis] + node_shape[axis + 1 :]
