"""The problem: −∇·(a ∇u) + c u = f on an interval or in a box, with conditions; checked, not yet discrete."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array
from ..core.checks import flag, number, shown
from ..core.kinds import hidden, is_array, is_number, tracked
from ..operators.axes import Axis
from ..operators.boxes import Box
from .conditions import SIDES, Condition, Dirichlet, conditions_of, side_shape
from .grid import Grid, grids_of
from .region import Region

__all__ = ["Poisson"]

Data = float | Callable[..., Any] | Sequence[float] | np.ndarray | Tensor

AT_NODES = "one value per node, boundary included"
BOUNDS = {"a": "positive, finite numbers", "c": "finite numbers of at least 0"}


class Poisson:
    """The boundary-value problem −∇·(a ∇u) + c u = f on an interval or in a box, :eq:`strong-form-box`.

    On an interval that is −(a u′)′ + c u = f, :eq:`strong-form`.

    Parameters
    ----------
    f : float, callable or array, optional
        Right-hand side: a number, a function of the coordinates, or nodal values of shape (..., n + 1) or
        (..., n₁ + 1, n₂ + 1), indexed [x, y], boundary included; leading axes are a batch. (Along a periodic
        axis each node may stand once.) A function is called with one float64 array of points for each
        coordinate, of shapes that broadcast, (n₁, 1) and (1, n₂) for example (NumPy arrays, or if it does not
        take those torch tensors, on the device of the problem or on the CPU), and returns as many values, or
        one; leading axes are a batch here too.
    dim : {1, 2, 3}, default 1
        Number of dimensions, the axes of the box.
    n : int or sequence of int
        Number of cells, at least 1, along all axes or along each; not with ``nodes``.
    domain : (float, float) or a sequence of them, default (0.0, 1.0)
        The two ends of all axes or of each.
    nodes : array, shape (n + 1,), or one for each axis, optional
        Increasing node coordinates of a non-uniform grid, instead of ``n`` and ``domain``; in more
        dimensions a tuple of arrays, one for each axis.
    boundary : Dirichlet, Neumann, Robin or dict, optional
        One condition for all sides, or a dictionary by side: left, right (x), bottom, top (y), back, front
        (z). A side that is not named is Dirichlet(0). At an edge that two Dirichlet sides share the one
        later in this list counts.
    a : float, callable or array of shape (n,) or (n₁, n₂), or a tuple of them, default 1.0
        Coefficient, positive; an array has one value per cell, a function is averaged over each cell by Gauss
        quadrature: five points, in a box three along each axis. In a box a tuple (a_x, a_y) is a diagonal
        tensor: the flux along each axis has a coefficient of its own.
    c : float, callable or array of shape (n + 1,) or (n₁ + 1, n₂ + 1), default 0.0
        Coefficient, not negative; an array has one value per node. It goes through the same integrals as f,
        so that f = c g with a constant g has the solution g: see ``load``.
    left, right : Dirichlet, Neumann or Robin, optional
        Another way to write those two sides of ``boundary``; in one dimension instead of it.
    periodic : bool or sequence of bool, default False
        Join the two sides of all axes, or of some, instead.
    load : {"exact", "nodal"}, optional
        How f becomes the load, and how c u becomes a part of the operator. "exact", the default for functions
        f: by five Gauss points on each cell, :eq:`load` (exact for polynomials of degree 8), in a box by
        three along each axis, :eq:`load-box`, :eq:`mass-box` (of degree 4), or of nodal values as the
        integral of the piecewise linear function through them, :eq:`load-consistent`; where f is an array, a
        function c counts by its nodal values too. "nodal", the default for arrays f: lumped, f and c at a
        node times the integral of its hat, :eq:`load-nodal`, :eq:`mass-lumped`. For a number f, where both
        loads are the same, and for ``b`` c is integrated unless it is "nodal".
    b : array, shape ``(..., *unknowns)``, optional
        The load vector itself, instead of ``f``, one entry per unknown: the nodes that are on no Dirichlet
        side, those of joined sides once; :func:`mgnet.load` makes one. The data of Neumann and Robin sides
        are still added. Entries at nodes that are held by ``fixed``, or have no cell, do not count.
    cells : array of bool, shape (n,) or (n₁, n₂), optional
        The cells that are the domain: any set of them, all by default. Where its border is not on a side of
        the box nothing flows through it, unless nodes are held there; sides hold where there are cells. Of
        data at other cells and nodes nothing counts, but functions are called on the whole box.
    fixed : (array of bool, data), optional
        Nodes that are held, anywhere: a mask of shape (n + 1,) or (n₁ + 1, n₂ + 1), and the values there, a
        number, a function of the coordinates, or an array of shape (..., n₁ + 1, n₂ + 1), or of shape
        (..., k) for the k nodes that are held. On a side this counts, not the condition.

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
        dim: int = 1,
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
        cells: Any = None,
        fixed: Any = None,
    ) -> None:
        self.dim = _dimension(dim)
        self.grids = grids_of(n, domain, nodes, self.dim)
        self.joined = _joined(periodic, self.dim)
        self.region = Region(cells, fixed, self.joined, self.cells)
        self.conditions = conditions_of(boundary, left, right, self.joined, self.node_shape)
        if not isinstance(load, str | None) or load not in (None, "exact", "nodal"):
            raise ValueError(f"load: got {shown(load)}; accepted: 'exact', 'nodal' or None")
        self.a = self._coefficients(1.0 if a is None else a)
        self.c = self._coefficient("c", 0.0 if c is None else c, self.node_shape, AT_NODES)
        self.f, self.b = self._right_hand_side(f, b)  # eq: strong-form, strong-form-box
        self._rule = load
        self.load = load or ("exact" if callable(self.f) else "nodal")
        # Whether anything came as a tensor, so that answers are to be tensors.
        several = a if isinstance(a, tuple) else (a,)
        self.tensors = any(isinstance(x, Tensor) for x in (f, b, c, nodes, *several, self.region.values))
        # A number f is a constant, also where it became nodal values to take derivatives by.
        array_f = isinstance(self.f, Tensor) and not is_number(f)
        # Whether f, and c with it, counts by its nodal values; and whether they are lumped.
        self.lumped = load == "nodal" or (load is None and array_f)
        self.nodal = array_f or self.lumped

    def _coefficients(self, a: Any) -> Any:
        """Return a, or one for each axis."""
        if self.dim == 1 or not isinstance(a, tuple):
            return self._coefficient("a", a, self.cells, "one value per cell")
        if len(a) != self.dim:
            raise ValueError(f"a: got {len(a)} coefficients; accepted: one, or a tuple of {self.dim}")
        return tuple(self._coefficient("a", each, self.cells, "one value per cell") for each in a)

    def _coefficient(self, name: str, value: Any, shape: tuple[int, ...], what: str) -> Any:
        found = _coefficient(name, value, shape, what)
        if isinstance(found, Tensor):
            found = self.region.inside(found, 1.0 if name == "a" else 0.0)
        require_bounds(**{name: found})
        return found

    def _right_hand_side(self, f: Any, b: Any) -> tuple[Any, Any]:
        if (f is None) == (b is None):
            if f is None:
                return 0.0, None
            raise ValueError("f and b: got both; accepted: one of them")
        if b is not None:
            return None, array("b", b, (self.shape,), "one entry per unknown")
        if callable(f):
            return f, None
        if is_number(f) and tracked(f):
            f = f.expand(self.node_shape)
        if is_number(f):
            return number("f", f), None
        once = tuple(n + (not joined) for n, joined in zip(self.cells, self.joined, strict=True))
        shapes = (self.node_shape, once) if any(self.joined) else (self.node_shape,)
        f = array("f", f, shapes, AT_NODES)
        return (self.region.inside(f, 0.0) if f.shape[-self.dim :] == self.node_shape else f), None

    def with_f(self, f: Data) -> Poisson:
        """Return the problem with another right-hand side, and the same operator.

        Parameters
        ----------
        f : float, callable or array
            As for the problem. How it becomes the load is by the problem's ``load`` or, if that was not
            given, by what f is.
        """
        other = copy(self)
        other.f, other.b = self._right_hand_side(f, None)
        other.load = self._rule or ("exact" if callable(other.f) else "nodal")
        other.tensors = self.tensors or isinstance(f, Tensor)
        return other

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(grid.n for grid in self.grids)

    @property
    def n(self) -> int:
        """Number of cells along the longest axis."""
        return max(self.cells)

    @cached_property
    def node_shape(self) -> tuple[int, ...]:
        """Number of nodes along each axis."""
        return tuple(n + 1 for n in self.cells)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of unknowns along each axis."""
        return self.space.shape

    @property
    def unknowns(self) -> int:
        """Number of unknowns: the nodes without Dirichlet sides, those of joined sides once."""
        return math.prod(self.shape)

    @property
    def domain(self) -> tuple[Any, ...]:
        """The two ends, in more dimensions those of each axis."""
        return self.grid.domain if self.dim == 1 else tuple(grid.domain for grid in self.grids)

    @property
    def periodic(self) -> bool:
        """Whether some axis is joined."""
        return any(self.joined)

    @cached_property
    def space(self) -> Box:
        """The axes, and which nodes are unknowns; Robin's alpha is divided by a, where cells are alike."""
        axes = []
        for grid, pair, joined, (low, high) in zip(
            self.grids, self.conditions, self.joined, self.alphas, strict=True
        ):
            ends = ["dirichlet" if isinstance(side, Dirichlet) else "natural" for side in pair]
            ends = ["periodic"] * 2 if joined else ends
            robin = (low / self.a, high / self.a) if self.alike else (0.0, 0.0)
            axes.append(Axis(grid.n, grid.length / grid.n, (ends[0], ends[1]), robin, nodes=grid.nodes))
        return Box(axes)

    @property
    def floats(self) -> bool:
        """Whether no value is given, so that only c and Robin's alpha hold the constants."""
        return self.region.fixed is None and not any("dirichlet" in ends for ends in self.space.ends)

    @cached_property
    def alike(self) -> bool:
        """Whether cells differ by c alone: their widths, a and what derivatives Robin's alpha has do not."""
        uniform = all(grid.uniform for grid in self.grids) and self.region.whole
        known = not any(tracked(alpha) or not is_number(alpha) for pair in self.alphas for alpha in pair)
        return uniform and isinstance(self.a, float) and known

    @cached_property
    def alphas(self) -> list[tuple[Any, Any]]:
        """Robin's alpha on the two sides of each axis: floats, tensors by which derivatives are taken, or data."""
        alphas = [getattr(side, "alpha", 0.0) for pair in self.conditions for side in pair]
        return list(zip(alphas[::2], alphas[1::2], strict=True))

    def sides(self) -> list[tuple[str, int, int, Condition]]:
        """Return the sides that are not joined: name, axis, 0 or -1 for the low or high end, condition."""
        found = []
        for axis, (names, pair) in enumerate(zip(SIDES, self.conditions, strict=False)):
            if not self.joined[axis]:
                found += [(names[i], axis, (0, -1)[i], pair[i]) for i in (0, 1)]
        return found

    def side_shape(self, axis: int) -> tuple[int, ...]:
        """Return the number of nodes along each axis of a side.

        Parameters
        ----------
        axis : int
            The axis that the side ends.
        """
        return side_shape(self.node_shape, axis)

    @property
    def grid(self) -> Grid:
        """The grid of the first axis, in one dimension the only one."""
        return self.grids[0]

    @property
    def left(self) -> Condition:
        """The condition at the low end of the first axis."""
        return self.conditions[0][0]

    @property
    def right(self) -> Condition:
        """The condition at the high end of the first axis."""
        return self.conditions[0][1]

    @property
    def ends(self) -> tuple[str, str]:
        """What the operators call the two ends of the first axis: dirichlet, natural or periodic."""
        return self.space.ends[0]

    @property
    def robin(self) -> tuple[Any, Any]:
        """Robin's alpha at the two ends of the first axis."""
        return self.alphas[0]

    def __repr__(self) -> str:
        if self.dim == 1:
            ends = "periodic" if self.periodic else f"left={self.left}, right={self.right}"
            grid = "uniform" if self.grid.uniform else "given nodes"
            return f"Poisson(n={self.n}, domain={self.domain}, {grid}, {ends})"
        sides = ", ".join(f"{name}={side}" for name, *_, side in self.sides())
        joined = f", periodic={self.joined}" if self.periodic else ""
        return f"Poisson(dim={self.dim}, n={self.cells}, domain={self.domain}, {sides}{joined})"


def _dimension(dim: Any) -> int:
    if type(dim) is int and 1 <= dim <= 3:  # the common case
        return dim
    if isinstance(dim, bool) or not isinstance(dim, numbers.Integral) or dim not in (1, 2, 3):
        raise ValueError(f"dim: got {shown(dim)}; accepted: 1, 2 or 3")
    return int(dim)


def _joined(periodic: Any, dim: int) -> tuple[bool, ...]:
    if dim == 1:
        return (flag("periodic", periodic),)
    flags = list(periodic) if is_array(periodic) else [periodic] * dim
    if len(flags) != dim or not all(isinstance(flag, bool | np.bool_) for flag in flags):
        raise TypeError(f"periodic: got {shown(periodic)}; accepted: True or False, or {dim} of them")
    return tuple(bool(flag) for flag in flags)


def _coefficient(name: str, value: Any, shape: tuple[int, ...], what: str) -> Any:
    """Return a coefficient as a float, whose bound is checked, a callable, or a tensor of this shape."""
    if callable(value):
        return value
    if is_number(value) and tracked(value):
        value = value.expand(shape)
    if is_number(value):
        result: Any = number(name, value)
        if result < 0 or (name == "a" and result == 0):
            raise ValueError(f"{name}: got {shown(value)}; accepted: {BOUNDS[name]}")
        return result
    return array(name, value, (shape,), what, batch=False).double()


def require_bounds(place: str = "", start: int = 0, **coefficients: Any) -> None:
    """Raise the error that names the first cell or node where a ≤ 0, c < 0, or either is not finite.

    ``place`` is what has a value each, by default as a and c come as arrays, and ``start`` the number of the
    first along the first axis.
    """
    known = {name: x for name, x in coefficients.items() if isinstance(x, Tensor) and not hidden(x)}
    if not known:
        return
    first, *_ = known.values()
    # NaN where there is one. All are looked at at once, since looking waits for a GPU.
    ends = torch.stack([end.to(first) for x in known.values() for end in x.aminmax()]).tolist()
    for (name, x), low, high in zip(known.items(), ends[::2], ends[1::2], strict=True):
        if not (high < math.inf and (low > 0 if name == "a" else low >= 0)):
            _refuse(name, x, place, start)


def _refuse(name: str, x: Tensor, place: str, start: int) -> None:
    bad = ~((x > 0) if name == "a" else (x >= 0)) | x.isinf()
    place = place or ("cell" if name == "a" else "node")
    index = tuple(bad.nonzero()[0].tolist())
    numbered = (start + index[0], *index[1:])
    where = numbered[0] if len(index) == 1 else numbered
    raise ValueError(f"{name}: got {x[index].item()!r} in {place} {where}; accepted: {BOUNDS[name]}")
