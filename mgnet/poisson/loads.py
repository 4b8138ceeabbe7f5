"""What users make right-hand sides of: loads with sources at points, and the mass operator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array, known_values, require_finite, sent, to_numpy
from ..core.checks import find_device, flag, instance, number, shown
from ..core.kinds import is_array, is_number, tracked
from ..operators.mass import Mass
from . import assembly
from .problem import Data, Poisson
from .shapes import common_batch

__all__ = ["load", "mass"]

PAIRS = "pairs (place, strength), or a tuple of two arrays, the places and the strengths"


def load(problem: Poisson, f: Data | None = None, points: Any = None, *, fluxes: bool = False) -> Any:
    """Return the load vector b of a problem, sources at points included, :eq:`system`, :eq:`point-load`.

    Parameters
    ----------
    problem : Poisson
        The problem.
    f : float, callable or array, optional
        Right-hand side, as for :func:`mgnet.solve`; that of the problem, its ``f`` or its ``b``, by default.
        How it becomes the load is by the problem's ``load`` or, if that was not given, by what f is.
    points : sequence of (place, strength) or (array, array), optional
        Sources: the strength q at a place is the functional v ↦ q v(place), so each hat gets q times its
        value there. A place has one number for each axis; in one dimension it may be a number. A tuple of
        two arrays, of shape (k, dim) and (..., k), has k places and their strengths, of which leading axes
        are a batch, and which may be tensors that require a gradient. On a node and on sides between cells
        sources count once; those at joined sides may be at either. A source on a Dirichlet side is let in,
        and changes nothing: what holds the value there takes it. A charge on a line is many points along it,
        each with its share.
    fluxes : bool, default False
        Whether the data of Neumann and Robin sides are added. ``mgnet.solve(b=...)`` and ``Poisson(b=...)``
        add them by themselves and take b without; :meth:`mgnet.Hierarchy.solve` takes all of the right-hand
        side, b with them.

    Returns
    -------
    array, shape ``(..., *unknowns)``
        One entry per unknown, in memory of its own; leading axes are those of f, strengths and fluxes. A
        tensor where ``f``, the strengths or data of the problem came as such or require a gradient, else a
        NumPy array; float64, or the precision of an array f or b or, where there is none, of strengths.

    Raises
    ------
    TypeError, ValueError
        For bad input, before any work; a place that is not in the domain is named with its number.

    Examples
    --------
    >>> import mgnet
    >>> problem = mgnet.Poisson(n=4)
    >>> mgnet.load(problem, points=[(0.5, 3.0), (0.8125, 4.0)])
    array([0., 3., 3.])
    >>> b = mgnet.load(problem, f=1.0, points=[(0.5, 3.0)])
    >>> mgnet.solve(b=b, n=4).u
    array([0.     , 0.46875, 0.875  , 0.46875, 0.     ])

    A load of 3 along the line y = 1/4, from x = 0 to 1/2, as 1000 points:

    >>> import numpy as np
    >>> x = (np.arange(1000) + 0.5) / 2000
    >>> places = np.stack((x, np.full(1000, 0.25)), axis=-1)
    >>> square = mgnet.Poisson(n=4, dim=2, boundary=mgnet.Neumann())
    >>> mgnet.load(square, points=(places, np.full(1000, 3 / 1000))).round(5)[:4, :2]
    array([[0.  , 0.75],
           [0.  , 1.5 ],
           [0.  , 0.75],
           [0.  , 0.  ]])
    """
    instance("problem", problem, Poisson, "a Poisson problem")
    with_fluxes, problem = flag("fluxes", fluxes), problem if f is None else problem.with_f(f)
    places, strengths, in_torch = _sources([] if points is None else points, problem.dim)
    given = [x for x in (problem.f, problem.b, strengths) if isinstance(x, Tensor)]
    for name, x in (("f", problem.f), ("b", problem.b)):
        if isinstance(x, Tensor):
            require_finite(name, x, problem.dim)
    dtype, device = given[0].dtype, _device(problem, *given)
    at_nodes = _at_nodes(problem, places, sent(strengths, device))
    found = assembly.load(problem, dtype, device, problem.tensors, with_fluxes)
    common_batch("points", at_nodes, problem.dim, tuple(found.b.shape[: found.b.ndim - problem.dim]))
    b = (found.b + problem.space.loads(at_nodes).to(dtype)).contiguous()
    return b if found.speaks_torch or in_torch or tracked(b) else known_values(b)


def mass(problem: Poisson, lumped: bool | None = None) -> Mass:
    """Return the mass operator of a problem: from values of a function u to its load, ∫ u φ for each hat φ.

    Parameters
    ----------
    problem : Poisson
        The problem, of which the grid counts and which nodes are unknowns.
    lumped : bool, optional
        Whether u counts at the nodes only, :eq:`mass-lumped`, or is integrated, :eq:`mass`. By default as the
        problem's own term with c: lumped where f is an array or with ``load="nodal"``.

    Returns
    -------
    Mass
        An operator on the unknowns with ``.T``, ``.diagonal()``, ``.to_dense()`` and ``.to_sparse()``. It is
        called with values at the unknowns, shape ``(..., *unknowns)``, or at all nodes, ``(..., *nodes)``, of
        which then those at Dirichlet nodes count too.

    Examples
    --------
    A step of time, u_t = u_xx, by the implicit Euler method: −u″ + u/dt = u_old/dt.

    >>> import mgnet, numpy as np
    >>> dt, x = 1e-3, np.linspace(0, 1, 65)
    >>> problem = mgnet.Poisson(n=64, c=1 / dt)
    >>> M, step = mgnet.mass(problem), mgnet.Hierarchy(problem)
    >>> u = np.sin(np.pi * x)
    >>> for _ in range(100):
    ...     u = step.solve(M(u) / dt).u
    >>> round(float(u.max() / np.exp(-np.pi**2 * 0.1)), 3)
    1.005
    """
    instance("problem", problem, Poisson, "a Poisson problem")
    lumped = problem.lumped if lumped is None else flag("lumped", lumped)
    return Mass(problem.space, lumped, cells=problem.region.active)


def _device(problem: Poisson, *given: Tensor) -> torch.device:
    """Give that of the first data that are not on the CPU."""
    sides = [side.g for pair in problem.conditions for side in pair]
    known = (x.device for x in (*given, problem.a, problem.c, *sides) if isinstance(x, Tensor))
    return find_device(next((device for device in known if device.type != "cpu"), None))


def _sources(points: Any, dim: int) -> tuple[np.ndarray, Tensor, bool]:
    """Return places, shape (k, dim), strengths, shape (..., k), and whether these came as tensors."""
    if isinstance(points, tuple) and len(points) == 2 and hasattr(points[0], "__array__"):
        places, given = to_numpy("points: places", points[0]), points[1]
        if dim == 1 and places.ndim == 1:
            places = places[:, None]
        if places.ndim != 2 or places.shape[1] != dim:
            accepted = f"(k, {dim}){' or (k,)' if dim == 1 else ''}, one place per source"
            raise ValueError(f"points: places: got shape {np.shape(points[0])}; accepted: {accepted}")
        strengths = array("points: strengths", given, (len(places),), "one strength per place")
        require_finite("points: strengths", strengths)
        return places, strengths, isinstance(given, Tensor)
    if not isinstance(points, Sequence) or isinstance(points, str):
        raise TypeError(f"points: got {shown(points)}; accepted: {PAIRS}")
    for i, pair in enumerate(points):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"points: got {shown(pair)} as number {i}; accepted: {PAIRS}")
    places = np.reshape([_place(i, place, dim) for i, (place, _) in enumerate(points)], (-1, dim))
    given = [_strength(i, strength) for i, (_, strength) in enumerate(points)]
    tensors = [q for q in given if isinstance(q, Tensor)]
    like: dict[str, Any] = {"dtype": torch.float64, "device": tensors[0].device if tensors else "cpu"}
    if not tensors:
        return places, torch.tensor(given, **like), False
    return places, torch.stack([torch.as_tensor(q, **like) for q in given]), True


def _place(i: int, place: Any, dim: int) -> list[float]:
    """Give the coordinates of one source."""
    name = f"points: place {i}"
    if dim == 1 and is_number(place):
        return [number(name, place)]
    if not is_array(place) or len(place) != dim:
        what = "a number" if dim == 1 else f"{dim} numbers"
        raise TypeError(f"{name}: got {shown(place)}; accepted: {what}")
    return [number(name, x) for x in place]


def _strength(i: int, q: Any) -> float | Tensor:
    """Give the strength of one source, a tensor where it is one."""
    name = f"points: strength {i}"
    if not isinstance(q, Tensor) or q.ndim:
        return number(name, q)
    require_finite(name, q[None])
    return array(name, q[None], (1,), "a number")[0]


def _at_nodes(problem: Poisson, places: np.ndarray, strengths: Tensor) -> Tensor:
    """Share the strengths of sources among the nodes of their cells, in float64, shape ``(..., *nodes)``."""
    shape, found = problem.node_shape, []
    for grid, x in zip(problem.grids, places.T, strict=True):
        cell, t, outside = grid.find(x)
        if outside.any():
            i = int(np.argmax(outside))
            place = tuple(places[i].tolist())
            domain = " x ".join(f"[{grid.domain[0]}, {grid.domain[1]}]" for grid in problem.grids)
            got = f"{place if problem.dim > 1 else place[0]} as place {i}"
            raise ValueError(f"points: got {got}; accepted: places in {domain}")
        found.append(((cell, 1 - t), (cell + 1, t)))
    _require_cells(problem, places, found)
    strengths = strengths.double()
    b = strengths.new_zeros((*strengths.shape[:-1], math.prod(shape)))
    for corner in itertools.product(*found):
        nodes = np.ravel_multi_index([node for node, _ in corner], shape)
        weights = math.prod(weight for _, weight in corner)
        index, hats = (sent(torch.from_numpy(np.asarray(x)), b.device) for x in (nodes, weights))
        b = b.index_add(-1, index, strengths * hats)  # eq: point-load
    return b.reshape(*b.shape[:-1], *shape)


def _require_cells(problem: Poisson, places: np.ndarray, found: list[Any]) -> None:
    """Refuse places that are in no cell of the domain, nor on the border of one."""
    if problem.region.active is None:
        return
    active, inside = problem.region.active.numpy(), np.zeros(len(places), bool)
    around = ((cell, np.where((t == 0) & (cell > 0), cell - 1, cell)) for (cell, _), (_, t) in found)
    for cells in itertools.product(*around):
        inside |= active[cells]
    if not inside.all():
        i = int(np.argmin(inside))
        got = f"{places[i].tolist()} as place {i}, which is in none of the cells"
        raise ValueError(f"points: got {got}; accepted: places in the domain")
