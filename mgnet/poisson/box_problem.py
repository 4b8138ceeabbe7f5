"""The problem in two and three dimensions: −∇·(a ∇u) + c u = f in a box, with a condition on each side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from ..core.arrays import array
from ..core.checks import count, shown
from ..core.kinds import is_array, tracked
from ..core.resources import require_memory
from ..operators.axes import Axis, Box
from .grid import Grid
from .problem import Condition, Data, Dirichlet, Neumann, Poisson, Robin, domains, uniform_grid

__all__ = ["SIDES", "BoxPoisson", "Poisson"]

# Low and high side of each axis.
SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))


class BoxPoisson(Poisson):
    """The boundary-value problem −∇·(a ∇u) + c u = f in a rectangle or a box, :eq:`strong-form-box`.

    It is what ``Poisson(dim=2)`` and ``Poisson(dim=3)`` return.

    Parameters
    ----------
    f : float, callable or array, optional
        Right-hand side: a number, a function of the coordinates, or nodal values of shape
        (..., n₁ + 1, n₂ + 1), indexed [x, y], boundary included; leading axes are a batch. (Along a periodic
        axis each node may stand once.) A function is called with one array for each coordinate, of shapes
        that broadcast, (n₁, 1) and (1, n₂) for example.
    dim : {2, 3}
        Number of axes.
    n : int or sequence of int
        Number of cells along all axes or along each.
    domain : (float, float) or a sequence of them, default (0.0, 1.0)
        The ends of all axes or of each.
    a : float, callable or array of shape (n₁, n₂), default 1.0
        Coefficient, positive; an array has one value per cell, a function is averaged over each cell by
        three Gauss points along each axis.
    c : float, callable or array of shape (n₁ + 1, n₂ + 1), default 0.0
        Coefficient, not negative; an array has one value per node. It goes through the same integrals as f,
        so that f = c g with a constant g has the solution g: see ``load``.
    boundary : Dirichlet, Neumann, Robin or dict, optional
        One condition for all sides, or a dictionary by side: left, right (x), bottom, top (y), back, front
        (z). A side that is not named is Dirichlet(0). At an edge that two Dirichlet sides share the one
        later in this list counts.
    periodic : bool or sequence of bool, default False
        Join the two sides of all axes, or of some, instead.
    load : {"exact", "nodal"}, optional
        As in one dimension, for f and for c, with three Gauss points along each axis, :eq:`load-box`,
        :eq:`mass-box` (f: exact for polynomials of degree 4).
    b : array, shape ``(..., *unknowns)``, optional
        The load vector itself, instead of ``f``, one entry per unknown: the nodes that are on no Dirichlet
        side, those of joined sides once. The data of Neumann and Robin sides are still added.
    left, right : Dirichlet, Neumann or Robin, optional
        Another way to write those two sides of ``boundary``.
    nodes : None
        Only in one dimension.

    Raises
    ------
    TypeError, ValueError
        For an argument that is none of these; the message names it, its value and what is accepted.
    ResourceError
        When the problem needs more memory than the machine has.
    """

    def __init__(
        self,
        f: Data | None = None,
        *,
        dim: int,
        n: int | Sequence[int] | None = None,
        domain: Any = (0.0, 1.0),
        nodes: Any = None,
        boundary: Any = None,
        a: Data | None = None,
        c: Data | None = None,
        left: Condition | None = None,
        right: Condition | None = None,
        periodic: bool | Sequence[bool] = False,
        load: str | None = None,
        b: Any = None,
    ) -> None:
        self.dim = dim
        if nodes is not None:
            raise ValueError(f"nodes: got nodes with dim={dim}; accepted: n and domain, or dim=1")
        cells = _cells(n, dim)
        require_memory(math.prod(cells), n)
        self.axes_grids = [uniform_grid(k, ends) for k, ends in zip(cells, domains(domain, dim), strict=True)]
        volume = math.prod(grid.length / grid.n for grid in self.axes_grids)
        if not 1e-300 < volume < 1e300:
            raise ValueError(
                f"domain: got {shown(domain)}, whose cells have the volume {volume:.0e};"
                " accepted: cells of a volume between 1e-300 and 1e300"
            )
        self._joined = _joined(periodic, dim)
        self.conditions = self._conditions(boundary, {"left": left, "right": right})
        self._set_data(f, b, a, c, load)  # eq: strong-form-box

    @property
    def grids(self) -> list[Grid]:
        """The grid of each axis."""
        return self.axes_grids

    @property
    def joined(self) -> tuple[bool, ...]:
        """Whether the two sides of each axis are joined."""
        return self._joined

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(grid.n for grid in self.grids)

    @property
    def node_shape(self) -> tuple[int, ...]:
        """Number of nodes along each axis."""
        return tuple(grid.n + 1 for grid in self.grids)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of unknowns along each axis."""
        return self.space.shape

    @property
    def n(self) -> int:
        """Number of cells along the longest axis."""
        return max(self.cells)

    @property
    def unknowns(self) -> int:
        """Number of unknowns."""
        return math.prod(self.shape)

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The ends of each axis."""
        return tuple(grid.domain for grid in self.grids)

    @property
    def periodic(self) -> bool:  # type: ignore[override]
        """Whether some axis is joined."""
        return any(self.joined)

    @cached_property
    def space(self) -> Box:  # type: ignore[override]
        """The axes, and which nodes are unknowns; Robin's alpha is divided by a, where a is constant."""
        axes = []
        for grid, (low, high), joined in zip(self.grids, self.conditions, self.joined, strict=True):
            kinds = ["dirichlet" if isinstance(side, Dirichlet) else "natural" for side in (low, high)]
            ends = ("periodic", "periodic") if joined else (kinds[0], kinds[1])
            alphas = (
                [side.alpha / self.a if isinstance(side, Robin) else 0.0 for side in (low, high)]
                if self.alike
                else [0.0, 0.0]
            )
            axes.append(Axis(grid.n, grid.length / grid.n, ends, (alphas[0], alphas[1])))
        return Box(axes)

    @property
    def floats(self) -> bool:
        """Whether no side is given, so that only c and Robin's alpha hold the constants."""
        return not any("dirichlet" in axis.ends for axis in self.space.axes)

    @property
    def alike(self) -> bool:
        """Whether a is one number and no derivative is taken by Robin's alpha."""
        return isinstance(self.a, float) and not any(tracked(*pair) for pair in self.alphas)

    @property
    def alphas(self) -> list[tuple[Any, Any]]:
        """Robin's alpha on the two sides of each axis, floats or tensors by which derivatives are taken."""
        pairs = [
            [side.alpha if isinstance(side, Robin) else 0.0 for side in pair] for pair in self.conditions
        ]
        return [(low, high) for low, high in pairs]

    def sides(self) -> list[tuple[str, int, int, Condition]]:
        """Return the sides that are not joined: name, axis, 0 or -1 for the low or high end, condition."""
        found = []
        for axis, (names, pair) in enumerate(zip(SIDES, self.conditions, strict=False)):
            if not self.joined[axis]:
                found += [(names[i], axis, (0, -1)[i], pair[i]) for i in (0, 1)]
        return found

    def _conditions(self, boundary: Any, also: dict[str, Any]) -> list[tuple[Condition, Condition]]:
        names = [name for pair in SIDES[: self.dim] for name in pair]
        given = {name: side for name, side in also.items() if side is not None}
        if isinstance(boundary, Mapping):
            for name in boundary:
                if name not in names:
                    raise ValueError(f"boundary: got the side {shown(name)}; accepted: {', '.join(names)}")
                if name in given:
                    raise ValueError(f"boundary: got the side {name!r} twice; accepted: once")
            given.update(boundary)
        elif boundary is not None:
            given = {
                **{
                    name: boundary
                    for pair, joined in zip(SIDES, self.joined, strict=False)
                    for name in pair
                    if not joined
                },
                **given,
            }
        for axis, pair in enumerate(SIDES[: self.dim]):
            for name in pair:
                if name in given:
                    self._require_condition(name, given[name], axis)
                    if given[name] is not boundary:  # one condition for all sides is that of the whole box
                        self._require_one_way(name, given[name], axis)
        return [
            (given.get(low, Dirichlet()), given.get(high, Dirichlet())) for low, high in SIDES[: self.dim]
        ]

    def _require_condition(self, name: str, side: Any, axis: int) -> None:
        if not isinstance(side, Dirichlet | Neumann | Robin):
            raise TypeError(
                f"boundary: got {shown(side)} for the side {name!r};"
                " accepted: Dirichlet(g), Neumann(g) or Robin(alpha, g)"
            )
        if self.joined[axis]:
            raise ValueError(
                f"boundary: got {shown(side)} for the side {name!r} of a periodic axis; accepted: none"
            )
        if is_array(side.g) or (isinstance(side.g, Tensor) and side.g.ndim):
            what = f"nodal values on the side {name!r}, or on the whole box"
            array(f"{name}: {type(side).__name__} g", side.g, (self.node_shape, self.side_shape(axis)), what)

    def _require_one_way(self, name: str, side: Condition, axis: int) -> None:
        """Refuse an array for one side that fits the whole box and is a batch for the side as well."""
        shape, dim = tuple(getattr(side.g, "shape", ())), self.dim
        if shape[-dim:] == self.node_shape and shape[1 - dim :] == self.side_shape(axis):
            place, end = axis - dim, -SIDES[axis].index(name)
            raise ValueError(
                f"{name}: {type(side).__name__} g: got shape {shape}, which fits the whole box and a batch"
                f" for the side; accepted: values on the side, numpy.take(g, {end}, {place}) of a whole box,"
                f" or for a batch a function, lambda {', '.join('xyz'[:dim])}: numpy.expand_dims(g, {place})"
            )

    def side_shape(self, axis: int) -> tuple[int, ...]:
        """Return the number of nodes along each axis of a side."""
        return self.node_shape[:axis] + self.node_shape[axis + 1 :]

    def __repr__(self) -> str:
        sides = ", ".join(f"{name}={side}" for name, *_, side in self.sides())
        joined = f", periodic={self.joined}" if self.periodic else ""
        return f"Poisson(dim={self.dim}, n={self.cells}, domain={self.domain}, {sides}{joined})"


Poisson.boxes = BoxPoisson


def _cells(n: Any, dim: int) -> tuple[int, ...]:
    if n is None:
        raise ValueError("n: got None; accepted: a number of cells of at least 1, or one for each axis")
    if not is_array(n):
        return (count("n", n),) * dim
    cells = n.tolist() if hasattr(n, "tolist") else list(n)
    if len(cells) != dim:
        raise ValueError(f"n: got {shown(n)}; accepted: a number of cells, or {dim} of them")
    return tuple(count("n", each) for each in cells)


def _joined(periodic: Any, dim: int) -> tuple[bool, ...]:
    flags = list(periodic) if is_array(periodic) else [periodic] * dim
    if len(flags) != dim or not all(isinstance(flag, bool | np.bool_) for flag in flags):
        raise TypeError(f"periodic: got {shown(periodic)}; accepted: True or False, or {dim} of them")
    return tuple(bool(flag) for flag in flags)
