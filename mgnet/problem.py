"""The problem: −(a u′)′ + c u = f on an interval, with a condition at each end; checked, not yet discrete."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .checks import array, count, from_numpy, is_number, number, require_memory
from .grid import Grid

__all__ = ["Dirichlet", "Neumann", "Poisson", "Robin"]

Data = float | Callable[..., Any] | Sequence[float] | np.ndarray | Tensor


@dataclass(frozen=True)
class Dirichlet:
    """The value at an end is given: u = g.

    Parameters
    ----------
    g : float, default 0.0
        The value.
    """

    g: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", number("Dirichlet g", self.g))


@dataclass(frozen=True)
class Neumann:
    """The flux into an end is given: a ∂u/∂ν = g, ν the outward normal.

    Parameters
    ----------
    g : float, default 0.0
        The flux.
    """

    g: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", number("Neumann g", self.g))


@dataclass(frozen=True)
class Robin:
    """Flux and value at an end are tied: a ∂u/∂ν + α u = g.

    Parameters
    ----------
    alpha : float
        The transfer coefficient α, at least 0.
    g : float, default 0.0
        The right-hand side.
    """

    alpha: float
    g: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", number("Robin alpha", self.alpha))
        object.__setattr__(self, "g", number("Robin g", self.g))
        if self.alpha < 0:
            raise ValueError(f"Robin alpha: got {self.alpha!r}; accepted: a number of at least 0")


Condition = Dirichlet | Neumann | Robin


class Poisson:
    """The boundary-value problem −(a u′)′ + c u = f on an interval, :eq:`strong-form`.

    Parameters
    ----------
    f : float, callable or array, optional
        Right-hand side: a number, a function of x, or nodal values of shape (..., n + 1), boundary
        included; leading axes are a batch. (A periodic f may have shape (..., n), each node once.) A
        function is called with a float64 array of points (a NumPy array, or a torch tensor if it does not
        take that) and returns as many values, or one; leading axes are a batch here too.
    n : int
        Number of cells, at least 1; not with ``nodes``.
    domain : (float, float), default (0.0, 1.0)
        The two ends.
    nodes : array, shape (n + 1,), optional
        Increasing node coordinates of a non-uniform grid, instead of ``n`` and ``domain``.
    a : float, callable or array of shape (n,), default 1.0
        Coefficient, positive; an array has one value per cell, a function is averaged over each cell by
        five-point Gauss quadrature.
    c : float, callable or array of shape (n + 1,), default 0.0
        Coefficient, not negative; an array has one value per node and stands for the piecewise linear
        function through them.
    left, right : Dirichlet, Neumann or Robin, default Dirichlet(0.0)
        Conditions at the two ends.
    periodic : bool, default False
        Join the two ends instead.
    load : {"exact", "nodal"}, optional
        How f becomes the load: "exact", by five-point Gauss quadrature on each cell, :eq:`load` (exact for
        polynomials of degree 8; the default for functions), or of nodal values as the integral of the
        piecewise linear function through them, :eq:`load-consistent`; "nodal", lumped, f at a node times
        the integral of its hat, :eq:`load-nodal` (the default for arrays).
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

    def __init__(
        self,
        f: Data | None = None,
        *,
        n: int | None = None,
        domain: tuple[float, float] = (0.0, 1.0),
        nodes: Any = None,
        a: Data | None = None,
        c: Data | None = None,
        left: Condition | None = None,
        right: Condition | None = None,
        periodic: bool = False,
        load: str | None = None,
        b: Any = None,
    ) -> None:
        self.grid = _grid(n, domain, nodes)
        self.left, self.right, self.periodic = _conditions(left, right, periodic)
        if load not in (None, "exact", "nodal"):
            raise ValueError(f"load: got {load!r}; accepted: 'exact', 'nodal' or None")
        self.a = _coefficient("a", 1.0 if a is None else a, (self.n,), "one value per cell")
        self.c = _coefficient(
            "c", 0.0 if c is None else c, (self.n + 1,), "one value per node, boundary included"
        )
        self.f, self.b = self._right_hand_side(f, b)
        self.load = load or ("exact" if callable(self.f) else "nodal")

    @property
    def n(self) -> int:
        """Number of cells."""
        return self.grid.n

    @property
    def ends(self) -> tuple[str, str]:
        """What the operators call the two ends: dirichlet, natural or periodic."""
        if self.periodic:
            return "periodic", "periodic"
        names = ["dirichlet" if isinstance(end, Dirichlet) else "natural" for end in (self.left, self.right)]
        return names[0], names[1]

    @property
    def robin(self) -> tuple[float, float]:
        """Robin's alpha at the two ends."""
        alphas = [end.alpha if isinstance(end, Robin) else 0.0 for end in (self.left, self.right)]
        return alphas[0], alphas[1]

    @property
    def unknowns(self) -> int:
        """Number of unknowns: the nodes without Dirichlet ends, a periodic end once."""
        return self.n if self.periodic else self.n + 1 - self.ends.count("dirichlet")

    def _right_hand_side(self, f: Any, b: Any) -> tuple[Any, Any]:
        if (f is None) == (b is None):
            if f is None:
                return 0.0, None
            raise ValueError("f and b: got both; accepted: one of them")
        if b is not None:
            return None, array("b", b, (self.unknowns,), "one entry per unknown")
        if callable(f):
            return f, None
        if is_number(f):
            return number("f", f), None
        sizes = (self.n + 1, self.n) if self.periodic else (self.n + 1,)
        return array("f", f, sizes, "one value per node, boundary included"), None

    def __repr__(self) -> str:
        ends = "periodic" if self.periodic else f"left={self.left}, right={self.right}"
        grid = "uniform" if self.grid.uniform else "given nodes"
        return f"Poisson(n={self.n}, domain={self.grid.domain}, {grid}, {ends})"


def _coefficient(name: str, value: Any, sizes: tuple[int, ...], what: str) -> Any:
    if callable(value):
        return value
    if is_number(value):
        result: Any = number(name, value)
        if result < 0 or (name == "a" and result == 0):
            raise ValueError(f"{name}: got {value!r}; accepted: {BOUNDS[name]}")
        return result
    result = array(name, value, sizes, what)
    if result.ndim != 1:
        raise ValueError(f"{name}: got shape {tuple(result.shape)}; accepted: ({sizes[0]},), {what}")
    require_bound(name, result)
    return result.double()


BOUNDS = {"a": "positive, finite numbers", "c": "finite numbers of at least 0"}


def require_bound(name: str, x: Tensor) -> None:
    """Raise the error that names the first cell or node where a ≤ 0, c < 0, or either is not finite."""
    low, high = x.aminmax()  # NaN where there is one
    if high < math.inf and (low > 0 if name == "a" else low >= 0):
        return
    bad = ~((x > 0) if name == "a" else (x >= 0)) | x.isinf()
    place = "cell" if name == "a" else "node"
    i = int(bad.nonzero()[0, -1])
    raise ValueError(
        f"{name}: got {x[..., i].flatten()[0].item()!r} in {place} {i}; accepted: {BOUNDS[name]}"
    )


def _conditions(left: Any, right: Any, periodic: Any) -> tuple[Condition, Condition, bool]:
    if not isinstance(periodic, bool | np.bool_):
        raise TypeError(f"periodic: got {periodic!r}; accepted: True or False")
    for name, end in (("left", left), ("right", right)):
        if end is not None and periodic:
            raise ValueError(f"{name}: got {end!r} and periodic=True; accepted: one of them")
        if end is not None and not isinstance(end, Dirichlet | Neumann | Robin):
            raise TypeError(f"{name}: got {end!r}; accepted: Dirichlet(g), Neumann(g) or Robin(alpha, g)")
    return left or Dirichlet(), right or Dirichlet(), bool(periodic)


def _grid(n: Any, domain: Any, nodes: Any) -> Grid:
    if nodes is not None:
        x = _nodes(nodes)
        if tuple(domain) not in ((0.0, 1.0), (x[0], x[-1])):
            raise ValueError(f"domain: got {domain!r} and nodes; accepted: one of them")
        if n is not None and count("n", n) != len(x) - 1:
            raise ValueError(f"n: got {n!r} and {len(x)} nodes; accepted: n = {len(x) - 1}, or nodes alone")
        return Grid(len(x) - 1, (float(x[0]), float(x[-1])), x)
    if n is None:
        raise ValueError("n: got None; accepted: a number of cells of at least 1, or nodes")
    cells = count("n", n)
    require_memory(cells)
    low, high = _domain(domain)
    h = (high - low) / cells
    if not (low + h > low and high - h < high):
        raise ValueError(
            f"domain: got {domain!r}, where {cells} cells are lost to rounding; accepted: a longer one"
        )
    return Grid(cells, (low, high))


def _domain(domain: Any) -> tuple[float, float]:
    try:
        low, high = (number("domain", end) for end in domain)
    except (TypeError, ValueError):
        raise ValueError(f"domain: got {domain!r}; accepted: two finite numbers (low, high)") from None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"domain: got {domain!r}; accepted: (low, high) with low < high")
    return low, high


def _nodes(nodes: Any) -> np.ndarray:
    source = nodes.detach().cpu().numpy() if isinstance(nodes, Tensor) else nodes
    x = from_numpy("nodes", source).double().numpy().copy()
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"nodes: got shape {x.shape}; accepted: (n + 1,), at least 2 nodes")
    finite = np.isfinite(x)
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"nodes: got {float(x[i])} at index {i}; accepted: finite numbers")
    with np.errstate(over="ignore"):
        widths = np.diff(x)
    rising = (widths > 0) & np.isfinite(widths)
    if not rising.all():
        i = int(np.argmin(rising))
        raise ValueError(
            f"nodes: got {float(x[i])}, {float(x[i + 1])} at index {i}; accepted: increasing coordinates"
        )
    return x
