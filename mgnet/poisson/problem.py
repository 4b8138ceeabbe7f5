"""The problem: −∇·(a ∇u) + c u = f on an interval or in a box, with conditions; checked, not yet discrete."""

from __future__ import annotations

import itertools
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
from ..core.checks import choice, flag, number, shown
from ..core.kinds import is_array, is_number, tracked
from ..operators.axes import Axis
from ..operators.boxes import Box
from . import shapes
from .conditions import SIDES, Condition, Dirichlet, conditions_of, side_shape
from .grid import Grid, grids_of
from .region import Region

__all__ = ["Poisson"]

Data = float | Callable[..., Any] | Sequence[float] | np.ndarray | Tensor


class Poisson:
    """The boundary-value problem −∇·(a ∇u) + c u = f on an interval or in a box, :eq:`strong-form-box`.

    On an interval that is −(a u′)′ + c u = f, :eq:`strong-form`.

    Parameters
    ----------
    f : float, callable or array, optional
        Right-hand side: a number, a function of the coordinates, nodal values of shape (..., n + 1) or
        (..., n₁ + 1, n₂ + 1), indexed [x, y], boundary included, or values per cell, (..., n) or
        (..., n₁, n₂), constant in each; leading axes are a batch. (Along a periodic axis each node may stand
        once; where that makes nodes and cells one shape, f and c are nodal, and a is per cell.) A function is
        called with one float64 array of points for each coordinate, of shapes that broadcast, (n₁, 1) and
        (1, n₂) for example (NumPy arrays, or if it does not take those torch tensors, on the device of the
        problem or on the CPU), and returns as many values, or one; leading axes are a batch here too.
    dim : {1, 2, 3}, default 1
        Number of dimensions, the axes of the box.
    n : int or sequence of int
        Number of cells, at least 1, along all axes or along each; not with ``nodes``. It may be left out
        where the shapes of arrays f, a and c tell it: by itself an a is per cell, f and c are nodal, and
        along a periodic axis each node stands once. Where ``dim`` is left out too, a square array, which may
        be a batch of rows, is refused.
    domain : (float, float) or a sequence of them, default (0.0, 1.0)
        The two ends of all axes or of each.
    nodes : array, shape (n + 1,), or one for each axis, optional
        Increasing node coordinates of a non-uniform grid, instead of ``n`` and ``domain``; in more
        dimensions a tuple of arrays, one for each axis.
    boundary : Dirichlet, Neumann, Robin or dict, optional
        One condition for all sides, or a dictionary by side: left, right (x), bottom, top (y), back, front
        (z). A side that is not named is Dirichlet(0). At an edge that two Dirichlet sides share the one
        later in this list counts.
    a : float, callable or array, or a tuple of them, default 1.0
        Coefficient, positive; an array has, as f, one value per cell or per node by its shape. What counts is
        its mean over each cell: of nodal values that of the function which is linear along each axis between
        them, of a function by Gauss quadrature, five points, in a box three along each axis. In a box a tuple
        (a_x, a_y) is a diagonal tensor: the flux along each axis has a coefficient of its own.
    c : float, callable or array, default 0.0
        Coefficient, not negative; an array has one value per node or per cell by its shape. It goes through
        the same integrals as f, so that f = c g with a constant g, where both are given in one way, has the
        solution g: see ``load``.

        Leading axes of arrays a and c are a batch of problems, each with an operator of its own, that are
        solved one after the other; those of f, b, the conditions and these broadcast.
    left, right : Dirichlet, Neumann or Robin, optional
        Another way to write those two sides of ``boundary``; in one dimension instead of it.
    periodic : bool or sequence of bool, default False
        Join the two sides of all axes, or of some, instead.
    load : {"exact", "nodal"}, optional
        How f becomes the load, and how c u becomes a part of the operator. "exact", the default for functions
        f and for values per cell: functions by five Gauss points on each cell, :eq:`load` (exact for
        polynomials of degree 8), in a box by three along each axis, :eq:`load-box`, :eq:`mass-box` (of degree
        4), values per cell as they are, :eq:`load-cells`, and nodal values as the integral of the piecewise
        linear function through them, :eq:`load-consistent`; where f is nodal, a function c counts by its
        nodal values too. "nodal", the default for nodal f: lumped, f and c at a node times the integral of
        its hat, :eq:`load-nodal`, :eq:`mass-lumped`; of values per cell each corner gets the same part. For a
        number f, where both loads are the same, and for ``b`` c is integrated unless it is "nodal".
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

    compatible : {"raise", "project"}, default "raise"
        What happens to data that do not sum to zero, :eq:`compatibility`, where u is determined up to a
        constant, by c = 0 and sides that are all Neumann or periodic: they are refused, or a constant
        right-hand side that takes their sum away is subtracted, from each row its own. Of other problems it
        changes nothing.

    Attributes
    ----------
    samples : tuple of int
        The batch of a and c, problems with an operator of their own; empty where there is one operator.

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
        dim: int | None = None,
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
        compatible: str = "raise",
    ) -> None:
        self.dim = _dimension(1 if dim is None else dim)
        self.joined = _joined(periodic, self.dim)
        if n is None and nodes is None:
            if dim is None:
                shapes.refuse_squares(f=f, a=a, c=c)
            mask = fixed[0] if isinstance(fixed, tuple | list) and fixed else None
            n = shapes.cells_told(self.dim, self.joined, f=f, a=a, c=c, cells=cells, fixed=mask)
        self.grids = grids_of(n, domain, nodes, self.dim)
        self.region = Region(cells, fixed, self.joined, self.cells)
        self.compatible = choice("compatible", compatible, ("raise", "project"))
        self.conditions = conditions_of(boundary, left, right, self.joined, self.node_shape)
        if not isinstance(load, str | None) or load not in (None, "exact", "nodal"):
            raise ValueError(f"load: got {shown(load)}; accepted: 'exact', 'nodal' or None")
        self.a, self.c = self._coefficients(1.0 if a is None else a, 0.0 if c is None else c)
        self.f, self.b = self._right_hand_side(f, b)  # eq: strong-form, strong-form-box
        self._rule = load
        self.load = load or self._load_of(self.f)
        # Whether anything came as a tensor, so that answers are to be tensors.
        several = [x for x in (a, nodes, () if fixed is None else fixed[1:]) if isinstance(x, tuple | list)]
        self.tensors = any(isinstance(x, Tensor) for x in (f, a, b, c, nodes, *itertools.chain(*several)))
        # A number f is a constant, also where it became nodal values to take derivatives by.
        array_f = isinstance(self.f, Tensor) and not (is_number(f) or self.by_cell(self.f))
        # Whether f, and c with it, counts by its nodal values; and whether they are lumped.
        self.lumped = load == "nodal" or (load is None and array_f)
        self.nodal = array_f or self.lumped
        # What has an operator each; the other data share that batch.
        self.samples = self._batch_of(a=self.a, c=self.c)
        self._batch_of(a=self.a, c=self.c, f=self.f, b=self.b)

    def _right_hand_side(self, f: Any, b: Any) -> tuple[Any, Any]:
        if (f is None) == (b is None):
            if f is None:
                return 0.0, None
            raise ValueError("f and b: got both; accepted: one of them")
        if b is not None:
            return None, self.with_equations(array("b", b, (self.shape,), "one entry per unknown"))
        if callable(f):
            return f, None
        if is_number(f) and tracked(f):
            f = f.expand(self.node_shape)
        if is_number(f):
            return number("f", f), None
        f = shapes.by_shape("f", f, self.cells, self.joined)
        return self.region.inside(f, 0.0, self.by_cell(f)), None

    def with_equations(self, b: Tensor) -> Tensor:
        """Return a load of the unknowns with zeros at those that have no cell, where anything may stand.

        Parameters
        ----------
        b : torch.Tensor, shape ``(..., *unknowns)``
            The load.
        """
        present = self.region.present
        if present is None:
            return b
        return torch.where(self.space.unknowns(present).to(b.device), b, b.new_zeros(()))

    def _load_of(self, f: Any) -> str:
        """Say how an f becomes the load, where nothing else is said."""
        return "exact" if callable(f) or self.by_cell(f) else "nodal"

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
        other.load = self._rule or self._load_of(other.f)
        other.tensors = self.tensors or isinstance(f, Tensor)
        return other

    def _coefficients(self, a: Any, c: Any) -> tuple[Any, Any]:
        """Return a, or one for each axis, and c; their bounds are checked, of all at once."""
        tensor = isinstance(a, tuple) and self.dim > 1
        if tensor and len(a) != self.dim:
            raise ValueError(f"a: got {len(a)} coefficients; accepted: one, or a tuple of {self.dim}")
        every = [self._coefficient("a", each, self.cells) for each in (a if tensor else (a,))]
        c = self._coefficient("c", c, self.node_shape)
        shapes.require_bounds(self.cells, 0, a=every, c=[c])
        at_nodes = [isinstance(x, Tensor) and x.shape[-self.dim :] == self.node_shape for x in every]
        means = [
            shapes.cell_means(x, self.dim) if nodal else x for x, nodal in zip(every, at_nodes, strict=True)
        ]
        return tuple(means) if tensor else means[0], c

    def _coefficient(self, name: str, value: Any, shape: tuple[int, ...]) -> Any:
        """Return a coefficient as a float, whose bound is checked, a callable, or a tensor in float64.

        ``shape`` is that of a number by which derivatives are taken.
        """
        if callable(value):
            return value
        if is_number(value) and tracked(value):
            value = value.expand(shape)
        if is_number(value):
            result: Any = number(name, value)
            if result < 0 or (name == "a" and result == 0):
                raise ValueError(f"{name}: got {shown(value)}; accepted: {shapes.BOUNDS[name]}")
            return result
        given = shapes.by_shape(name, value, self.cells, self.joined).double()
        of_cells = self.by_cell(given) or (name == "a" and given.shape[-self.dim :] == self.cells)
        if not of_cells:
            given = shapes.whole_period(given, self.cells)
        return self.region.inside(given, float(name == "a"), of_cells)

    def by_cell(self, x: Any) -> bool:
        """Say whether an f or c that was taken is an array of one value per cell.

        Parameters
        ----------
        x : float, callable or torch.Tensor
            The f or c; what may be one value per node as well, in a box whose axes are all periodic, is.
        """
        return isinstance(x, Tensor) and x.shape[-self.dim :] == self.cells and not all(self.joined)

    def _batch_of(self, **arrays: Any) -> tuple[int, ...]:
        """Return the leading axes of arrays, broadcast if they fit."""
        batch: tuple[int, ...] = ()
        for name, x in arrays.items():
            for part in x if isinstance(x, tuple) else (x,):
                if isinstance(part, Tensor):
                    batch = shapes.common_batch(name, part, self.dim, batch)
        return batch

    def sample(self, index: tuple[int, ...]) -> Poisson:
        """Return the problem with the a and c of one sample, and the data of all.

        Parameters
        ----------
        index : tuple of int
            Its place in the batch of a and c.
        """
        one = copy(self)
        one.a, one.c = (shapes.sample_of(x, index, self.dim) for x in (self.a, self.c))
        one.samples = ()
        return one

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
        """Robin's alpha on the two sides of each axis: floats, tensors, functions or arrays."""
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
