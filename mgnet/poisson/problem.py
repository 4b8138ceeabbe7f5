"""The problem: −(a u′)′ + c u = f on an interval, with a condition at each end; checked, not yet discrete."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array, data, to_numpy
from ..core.checks import count, flag, instance, number, shown
from ..core.kinds import hidden, is_array, is_number, refuse_masked, tracked
from ..core.resources import require_memory
from ..operators.chain import Chain
from .grid import Grid, ends_of, increasing

__all__ = ["Dirichlet", "Neumann", "Poisson", "Robin"]

Data = float | Callable[..., Any] | Sequence[float] | np.ndarray | Tensor


class _Condition:
    """What conditions share: they show arrays by their shape."""

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", _given("Dirichlet g", self.g))


@dataclass(frozen=True, repr=False)
class Neumann(_Condition):
    """The flux into an end, or a side, is given: a ∂u/∂ν = g, ν the outward normal.

    Parameters
    ----------
    g : float, callable or array, default 0.0
        The flux; what varies on the side of a box as for :class:`Dirichlet`.
    """

    g: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", _given("Neumann g", self.g))


@dataclass(frozen=True, repr=False)
class Robin(_Condition):
    """Flux and value at an end, or on a side, are tied: a ∂u/∂ν + α u = g.

    Parameters
    ----------
    alpha : float
        The transfer coefficient α, at least 0; a tensor that requires a gradient gets one.
    g : float, callable or array, default 0.0
        The right-hand side; what varies on the side of a box as for :class:`Dirichlet`.
    """

    alpha: Any
    g: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _tracked_number("Robin alpha", self.alpha))
        object.__setattr__(self, "g", _given("Robin g", self.g))
        if not hidden(self.alpha) and self.alpha < 0:
            raise ValueError(f"Robin alpha: got {shown(self.alpha)}; accepted: a number of at least 0")


Condition = Dirichlet | Neumann | Robin


def _given(name: str, g: Any) -> Any:
    """Check the data of a condition as far as it can be without a grid."""
    if callable(g):
        return g
    return data(name, g) if is_array(g) else _tracked_number(name, g)


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


class Poisson:
    """The boundary-value problem −(a u′)′ + c u = f on an interval, :eq:`strong-form`.

    Parameters
    ----------
    f : float, callable or array, optional
        Right-hand side: a number, a function of x, or nodal values of shape (..., n + 1), boundary
        included; leading axes are a batch. (A periodic f may have shape (..., n), each node once.) A
        function is called with a float64 array of points (a NumPy array, or if it does not take that a torch
        tensor, on the device of the problem or on the CPU) and returns as many values, or one; leading axes
        are a batch here too.
    dim : {1, 2, 3}, default 1
        Number of dimensions; 2 and 3 make a :class:`~mgnet.poisson.box_problem.BoxPoisson`, which has
        parameters of its own.
    n : int
        Number of cells, at least 1; not with ``nodes``.
    domain : (float, float), default (0.0, 1.0)
        The two ends.
    nodes : array, shape (n + 1,), optional
        Increasing node coordinates of a non-uniform grid, instead of ``n`` and ``domain``.
    boundary : Dirichlet, Neumann, Robin or dict, optional
        One condition for both ends, or a dictionary with ``left`` and ``right``, instead of those two.
    a : float, callable or array of shape (n,), default 1.0
        Coefficient, positive; an array has one value per cell, a function is averaged over each cell by
        five-point Gauss quadrature.
    c : float, callable or array of shape (n + 1,), default 0.0
        Coefficient, not negative; an array has one value per node. It goes through the same integrals as f,
        so that f = c g with a constant g has the solution g: see ``load``.
    left, right : Dirichlet, Neumann or Robin, default Dirichlet(0.0)
        Conditions at the two ends.
    periodic : bool, default False
        Join the two ends instead.
    load : {"exact", "nodal"}, optional
        How f becomes the load, and how c u becomes a part of the operator. "exact", the default for functions
        f: by five-point Gauss quadrature on each cell, :eq:`load` (exact for polynomials of degree 8), or of
        nodal values as the integral of the piecewise linear function through them, :eq:`load-consistent`;
        where f is an array, a function c counts by its nodal values too. "nodal", the default for arrays f:
        lumped, f and c at a node times the integral of its hat, :eq:`load-nodal`, :eq:`mass-lumped`. For a
        number f, where both loads are the same, and for ``b`` c is integrated unless it is "nodal".
    b : array, shape (..., unknowns), optional
        The load vector itself, instead of ``f``, one entry per unknown: the nodes without Dirichlet
        ends, a periodic end once. The data of Neumann and Robin ends are still added.

    Raises
    ------
    TypeError, ValueError
        For an argument that is none of these; the message names it, its value and what is accepted.
    ResourceError
        When the problem needs more memory than the machine has.
    """

    # The class for problems in a box; set where it is defined.
    boxes: type[Poisson]
    dim = 1
    # Whether f, and c with it, counts by its nodal values; and whether they are lumped.
    nodal: bool
    lumped: bool

    def __new__(cls, f: Any = None, *, dim: Any = 1, **options: Any) -> Self:
        """Return the class for ``dim`` dimensions."""
        if isinstance(dim, bool) or not isinstance(dim, numbers.Integral) or dim not in (1, 2, 3):
            raise ValueError(f"dim: got {shown(dim)}; accepted: 1, 2 or 3")
        return super().__new__(cls if dim == 1 else cls.boxes)  # type: ignore[return-value]

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (None,), {"dim": self.dim}

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
    ) -> None:
        self.grid = _grid(n, domain, nodes)
        left, right = _ends_of(boundary, left, right)
        self.left, self.right, self.periodic = _conditions(left, right, periodic)
        self.conditions: list[tuple[Condition, Condition]] = [(self.left, self.right)]
        self._set_data(f, b, a, c, load)  # eq: strong-form

    @property
    def n(self) -> int:
        """Number of cells."""
        return self.grid.n

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return (self.n,)

    @property
    def joined(self) -> tuple[bool, ...]:
        """Whether the two ends of each axis are joined."""
        return (self.periodic,)

    @property
    def grids(self) -> list[Grid]:
        """The grid of each axis."""
        return [self.grid]

    def sides(self) -> list[tuple[str, int, int, Condition]]:
        """Return the ends that are not joined: name, axis, 0 or -1 for low or high, condition."""
        return [] if self.periodic else [("left", 0, 0, self.left), ("right", 0, -1, self.right)]

    @property
    def space(self) -> Chain:
        """Which nodes are unknowns."""
        return Chain(self.ends)

    @property
    def node_shape(self) -> tuple[int, ...]:
        """Number of nodes along each axis."""
        return (self.n + 1,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of unknowns along each axis."""
        return (self.unknowns,)

    @property
    def floats(self) -> bool:
        """Whether no value is given, so that only c and Robin's alpha hold the constants."""
        return "dirichlet" not in self.ends

    @property
    def ends(self) -> tuple[str, str]:
        """What the operators call the two ends: dirichlet, natural or periodic."""
        if self.periodic:
            return "periodic", "periodic"
        names = ["dirichlet" if isinstance(end, Dirichlet) else "natural" for end in (self.left, self.right)]
        return names[0], names[1]

    @property
    def robin(self) -> tuple[Any, Any]:
        """Robin's alpha at the two ends, floats or tensors by which derivatives are taken."""
        alphas = [end.alpha if isinstance(end, Robin) else 0.0 for end in (self.left, self.right)]
        return alphas[0], alphas[1]

    @property
    def unknowns(self) -> int:
        """Number of unknowns: the nodes without Dirichlet ends, a periodic end once."""
        return self.n if self.periodic else self.n + 1 - self.ends.count("dirichlet")

    def _set_data(self, f: Any, b: Any, a: Any, c: Any, load: Any) -> None:
        """Check and keep coefficients and right-hand side, for an interval or a box."""
        if not isinstance(load, str | None) or load not in (None, "exact", "nodal"):
            raise ValueError(f"load: got {shown(load)}; accepted: 'exact', 'nodal' or None")
        at_nodes = "one value per node, boundary included"
        self.a = coefficient("a", 1.0 if a is None else a, self.cells, "one value per cell")
        self.c = coefficient("c", 0.0 if c is None else c, self.node_shape, at_nodes)
        require_bounds(a=self.a, c=self.c)
        self.f, self.b = self._right_hand_side(f, b, at_nodes)
        self.load = load or ("exact" if callable(self.f) else "nodal")
        # A number f is a constant, also where it became nodal values to take derivatives by.
        array_f = isinstance(self.f, Tensor) and not is_number(f)
        self.lumped = load == "nodal" or (load is None and array_f)
        self.nodal = array_f or self.lumped

    def _right_hand_side(self, f: Any, b: Any, at_nodes: str) -> tuple[Any, Any]:
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
        return array("f", f, shapes, at_nodes), None

    def __repr__(self) -> str:
        ends = "periodic" if self.periodic else f"left={self.left}, right={self.right}"
        grid = "uniform" if self.grid.uniform else "given nodes"
        return f"Poisson(n={self.n}, domain={self.grid.domain}, {grid}, {ends})"


def coefficient(name: str, value: Any, shape: tuple[int, ...], what: str) -> Any:
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
    result = array(name, value, (shape,), what, batch=False)
    return result.double()


BOUNDS = {"a": "positive, finite numbers", "c": "finite numbers of at least 0"}


def require_bounds(place: str = "", **coefficients: Any) -> None:
    """Raise the error that names the first cell or node where a ≤ 0, c < 0, or either is not finite."""
    known = {name: x for name, x in coefficients.items() if isinstance(x, Tensor) and not hidden(x)}
    if not known:
        return
    first, *_ = known.values()
    # NaN where there is one. All are looked at at once, since looking waits for a GPU.
    ends = torch.stack([end.to(first) for x in known.values() for end in x.aminmax()]).tolist()
    for (name, x), low, high in zip(known.items(), ends[::2], ends[1::2], strict=True):
        if not (high < math.inf and (low > 0 if name == "a" else low >= 0)):
            _refuse(name, x, place)


def _refuse(name: str, x: Tensor, place: str) -> None:
    bad = ~((x > 0) if name == "a" else (x >= 0)) | x.isinf()
    place = place or ("cell" if name == "a" else "node")
    index = tuple(bad.nonzero()[0].tolist())
    where = index[-1] if len(index) == 1 else index
    raise ValueError(f"{name}: got {x[index].item()!r} in {place} {where}; accepted: {BOUNDS[name]}")


def _ends_of(boundary: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """Give the conditions at the two ends from ``boundary``, where that is given."""
    if boundary is None:
        return left, right
    if left is not None or right is not None:
        raise ValueError(f"boundary: got {shown(boundary)} and left or right; accepted: one of them")
    if isinstance(boundary, Mapping):
        unknown = set(boundary) - {"left", "right"}
        if unknown:
            raise ValueError(f"boundary: got the side {shown(unknown.pop())}; accepted: 'left', 'right'")
        return boundary.get("left"), boundary.get("right")
    what = "Dirichlet(g), Neumann(g) or Robin(alpha, g), or a dictionary of them by side"
    instance("boundary", boundary, (Dirichlet, Neumann, Robin), what)
    return boundary, boundary


def _conditions(left: Any, right: Any, periodic: Any) -> tuple[Condition, Condition, bool]:
    periodic = flag("periodic", periodic)
    for name, end in (("left", left), ("right", right)):
        if end is not None and periodic:
            raise ValueError(f"{name}: got {shown(end)} and periodic=True; accepted: one of them")
        if end is not None and not isinstance(end, Dirichlet | Neumann | Robin):
            raise TypeError(
                f"{name}: got {shown(end)}; accepted: Dirichlet(g), Neumann(g) or Robin(alpha, g)"
            )
        if end is not None and not (
            isinstance(end.g, float) or (isinstance(end.g, Tensor) and not end.g.ndim)
        ):
            raise TypeError(
                f"{name}: got {type(end).__name__}(g) with g = {shown(end.g)}; accepted: a number"
            )
    return left or Dirichlet(), right or Dirichlet(), periodic


def _grid(n: Any, domain: Any, nodes: Any) -> Grid:
    (ends,) = domains(domain, 1)
    if nodes is not None:
        x = increasing(nodes)
        if ends_of(ends) not in ((0.0, 1.0), (x[0], x[-1])):
            raise ValueError(f"domain: got {shown(domain)} and nodes; accepted: one of them")
        if n is not None and count("n", n) != len(x) - 1:
            raise ValueError(
                f"n: got {shown(n)} and {len(x)} nodes; accepted: n = {len(x) - 1}, or nodes alone"
            )
        return Grid(len(x) - 1, (float(x[0]), float(x[-1])), x)
    if n is None:
        raise ValueError("n: got None; accepted: a number of cells of at least 1, or nodes")
    cells = count("n", n)
    require_memory(cells)
    return uniform_grid(cells, ends)


def uniform_grid(cells: int, domain: Any) -> Grid:
    """Return a grid of equal cells, if the domain has room for them."""
    low, high = ends_of(domain)
    h = (high - low) / cells
    if not (low + h > low and high - h < high):
        raise ValueError(
            f"domain: got {domain!r}, where {cells} cells are lost to rounding; accepted: a longer one"
        )
    return Grid(cells, (low, high))


def domains(domain: Any, dim: int) -> list[Any]:
    """Return the ends of each axis, not yet looked at, from one pair for all axes or one for each."""
    refuse_masked("domain", domain)
    if hasattr(domain, "__array__"):
        domain = to_numpy("domain", domain).tolist()
    if dim == 1:
        return [domain]
    try:
        ends = [tuple(pair) if is_array(pair) else pair for pair in domain]
    except TypeError:
        raise ValueError(f"domain: got {shown(domain)}; accepted: a pair (low, high) for each axis") from None
    if len(ends) == 2 and not any(isinstance(end, tuple) for end in ends):
        return [tuple(ends)] * dim
    if len(ends) != dim or not all(isinstance(pair, tuple) for pair in ends):
        raise ValueError(f"domain: got {shown(domain)}; accepted: (low, high), or {dim} such pairs")
    return ends
