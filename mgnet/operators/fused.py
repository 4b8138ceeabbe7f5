"""A grid for the compiled passes over memory: its operator, and the transfers to the next, as arrays.

What it does is what torch does with the same operators, in fewer passes. A CPU spends its time in these.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from . import loops, places
from .boxes import Box, three

__all__ = ["Fused", "Survey", "rescale", "survey"]

# Where the first vector starts in an array, the next one, and its planes and rows one after the other.
Where = tuple[int, int, int, int]

# What numbers are looked at as, and the bits of all but their sign.
BITS: dict[Any, Any] = {
    np.dtype(np.float32): (np.dtype(np.int32), np.int32(2**31 - 1)),
    np.dtype(np.float64): (np.dtype(np.int64), np.int64(2**63 - 1)),
}


# Planes of a share that work of its neighbours' planes again does not matter beside.
LONG = 128


class Survey(NamedTuple):
    """What a pass has seen of vectors, in float64, shape (batch,): Euclidean norm and largest entry."""

    norm: Tensor
    largest: Tensor


class _Rooms(threading.local):
    """Memory that this thread uses again, of each grid, by name."""

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[Fused, dict[Any, Any]] = WeakKeyDictionary()

    def __call__(self, grid: Fused) -> dict[Any, Any]:
        known = self.of.get(grid)
        if known is None:
            known = self.of[grid] = {}
        return known


_rooms = _Rooms()


class Fused:
    """A grid as the compiled passes see it.

    Parameters
    ----------
    A : Operator
        The operator, which says by ``compiled`` what it is as arrays.
    arrays : (int, tuple)
        That: a kind of :mod:`mgnet.kernels.passes`, and its arrays.

    Attributes
    ----------
    P : Interpolation or None
        What comes from the next coarser grid; hats by default.
    cubic : bool
        Whether cubics, which are more exact than hats, interpolate a first guess; True by default.
    inverse : torch.Tensor or None
        Of the diagonal, for the sweeps.
    within, counted : (int, int)
        The first plane that passes write, and the one behind the last, and those that sums are over; all by
        default. Those around are read.
    margin : int
        How many more planes on both sides are written on the way down, for the way up.
    """

    reuses = True  # what passes return is overwritten by the next ones

    def __init__(self, A: Any, arrays: tuple[int, Any]) -> None:
        self.box: Box = A.box
        self.kind: Any = loops.kind(A.like["dtype"])
        self.shape = three(self.box.shape, 1)
        self.joined = three([axis.periodic for axis in self.box.axes], False)
        self.arrays = arrays
        self.P: Any = None
        self.cubic = True
        self.inverse: Tensor | None = None
        self.within = self.counted = (0, self.shape[0])
        self.margin = 0
        self.op = self._operator(np.empty((0, 0, 0), self.kind))

    def _operator(self, inverse: np.ndarray) -> tuple[Any, ...]:
        kind, given = self.arrays
        products, entries, cells = (given if i == kind else None for i in range(3))
        return self.joined, inverse, self.box.shape[1:-1], *(products or (None, ())), entries, cells

    @cached_property
    def smoothed(self) -> tuple[Any, ...]:
        """The operator with the inverse of its diagonal."""
        if self.arrays[0] == 0:
            return self.op
        if not any(axis.periodic and axis.cells == 1 for axis in self.box.axes):
            return self.op  # and it is worked out row by row
        assert self.inverse is not None
        inverse = self.inverse.expand(self.box.shape).contiguous()
        return self._operator(inverse.numpy().reshape(self.shape))

    @cached_property
    def transfers(self) -> tuple[Any, ...]:
        """Interpolation from the coarse grid, as arrays."""
        own = getattr(self.P, "compiled", None)
        return (self.hats if own is None else None, own)

    @cached_property
    def hats(self) -> tuple[Any, ...]:
        """Where unknowns lie among the coarse ones."""
        return self._places(places.hats, np.array([[1.0], [0.0]], self.kind))

    @cached_property
    def cubics(self) -> tuple[Any, ...]:
        """The same for cubic interpolation."""
        return self._places(places.cubics, np.eye(4, 1, dtype=self.kind))

    def _places(self, of: Callable[..., Any], weights: np.ndarray) -> tuple[Any, ...]:
        chosen = zip(self.box.axes, self.box.coarsening(), strict=True)
        alone = (np.zeros(1, np.int64), weights, np.zeros(3, np.int64))
        return tuple(zip(*three([of(axis, some, self.kind) for axis, some in chosen], alone), strict=True))

    @property
    def lifting(self) -> tuple[Any, ...]:
        """More exact interpolation, by cubics where there are no weights that know better."""
        return (self.cubics, None) if self.cubic and self.transfers[1] is None else self.transfers

    @cached_property
    def coarse(self) -> tuple[int, ...]:
        """The shape of the next coarser grid."""
        return three(self.box.coarse(self.box.coarsening()).shape, 1)

    @cached_property
    def _centres(self) -> list[int]:
        """Where the planes of the coarse grid lie among those of this one."""
        return np.flatnonzero(self.hats[1][0][1] == 0).tolist()

    @cached_property
    def _coarse_box(self) -> tuple[int, ...]:
        return self.box.coarse(self.box.coarsening()).shape

    def takes(self, *tensors: Tensor | None) -> bool:
        """Say whether the passes may work on some tensors."""
        return loops.apply_to(*tensors)

    def descend(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Smooth by one sweep for each weight, and restrict the residual; both results are used again.

        Shapes are ``(N, 1, *unknowns)``; x that is None is zero, or what ``lifting`` makes of coarse values.
        """
        run, found = self.descent(b, x, weights, coarse)
        run()
        return found

    def ascend(self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Add the interpolation of coarse values, and smooth; the result is used again."""
        run, found = self.ascent(x, e, b, weights)
        run()
        return found

    def descent(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Callable[[], object], tuple[Tensor, Tensor]]:
        """Return what runs :meth:`descend` for what stands in these vectors by then, and what it writes."""
        r, load = self.room("load", b.shape[0], coarse=True)
        y, found = self.room("down", b.shape[0])
        return self._improving(y, self._array(b), x, coarse, r, weights, self.lifting), (found, load)

    def ascent(
        self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]
    ) -> tuple[Callable[[], object], Tensor]:
        """Return the same of :meth:`ascend`."""
        y, found = self.room("up", b.shape[0])
        return self._improving(y, self._array(b), x, e, None, weights), found

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads; the result is used again."""
        r, load = self.room("restricted", b.shape[0], coarse=True)
        y, _ = self.room("down", b.shape[0])
        self._improving(y, self._array(b), None, None, r, ())()
        return load

    def _coarse_planes(self, start: int, stop: int) -> tuple[int, int]:
        """Give the first coarse plane among some of this grid, and the one behind the last."""
        if self.shape[0] == 1:
            return 0, 1
        return bisect_left(self._centres, start), bisect_left(self._centres, stop)

    def _improving(
        self, y: Any, b: Any, x: Any, e: Any, r: Any, weights: Sequence[float], lifting: Any = None
    ) -> Callable[[], object]:
        """Return what runs :func:`mgnet.kernels.passes.improve`, cut for as many threads as there are."""
        from ..kernels.passes import improve
        from ..kernels.sharing import ringing

        none, op, coarse = _NONE[self.kind], self.smoothed, self.coarse
        flags = (x is not None, e is not None, r is not None)
        before, where = (none.reshape(-1), _NOWHERE) if x is None else _placed(x)
        given = none if e is None else e.detach().contiguous().numpy().reshape(e.shape[0], *coarse)
        by = lifting or self.transfers, self.transfers
        numbers, rest = np.array(weights, self.kind), given if r is None else r
        first, last = self.within

        def cut(rows: slice, start: int, stop: int) -> tuple[Any, ...]:
            some = before, _from(where, rows), _some(given, rows), y[rows], _some(rest, rows)
            planes = start, stop, *self._coarse_planes(max(start, first), min(stop, last))
            return numbers, flags, b[rows], *some, *planes

        def work(bell: Any, *part: Any) -> None:
            improve(bell, op, *by, self._space(len(numbers), coarse), *part)

        more = 0 if r is None else self.margin
        planes = max(first - more, 0), min(last + more, self.shape[0])
        parts = [cut(*some) for some in _cut(len(y), self.shape, 2, planes)]
        return partial(ringing, work, parts, torch.get_num_threads())

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x, shape ``(N, 1, *unknowns)``, in memory of its own."""
        y = np.empty((len(x), *self.shape), self.kind)
        self._apply(x, None, None, y)
        return self._tensor(y)

    def residual(
        self, x: Tensor, b: Tensor, factors: Tensor | None = None, out: Tensor | None = None
    ) -> Survey:
        """Write (b − A x) times a factor for each row into ``out``, of any precision; say how large it is.

        Shapes are ``(N, 1, *unknowns)``, and (N,) of the factors.
        """
        assert out is not None
        gains = np.ones(len(x), self.kind) if factors is None else factors.numpy().astype(self.kind)
        sums = self._apply(x, self._array(b), gains, self._array(out))
        return _seen(sums, None, self.kind)

    def missing(self, x: Tensor, b: Tensor, factors: Tensor, out: Tensor, planes: tuple[int, int]) -> Tensor:
        """Do the same for some planes, from the first one to the one behind the last.

        ``out`` has all planes or these alone. What comes back are the sums of squares, (batch,).
        """
        gains, y = factors.numpy().astype(self.kind), out.numpy().reshape(len(x), -1, *self.shape[1:])
        begin = 0 if y.shape[1] == self.shape[0] else planes[0]
        sums = self._apply(x, self._array(b), gains, y, planes, begin)
        return torch.from_numpy(sums[:, planes[0] - begin : planes[1] - begin].sum(-1))

    def _apply(self, x: Tensor, b: Any, gains: Any, y: np.ndarray, planes: Any = None, begin: int = 0) -> Any:
        from ..kernels.passes import apply

        sums = np.empty(y.shape[:2])
        memory, where = _placed(x)
        gains, loads = (np.empty(0, self.kind), _NONE[self.kind]) if b is None else (gains, b)
        op, n0 = self.op, self.shape[0]

        def work(bell: Any, rows: slice, start: int, stop: int) -> None:
            parts = n0, _some(loads, rows), gains[rows], y[rows], sums[rows], begin
            apply(bell, op, self._space(0, (1, 1, 1)), memory, _from(where, rows), *parts, start, stop)

        _shared(work, len(x), self.shape, 2, planes or self.within)
        return sums

    def energies(self, z: Tensor, r: Tensor, e: Tensor | None) -> Tensor:
        """Return the products r z, z A z, r e and e A z of each row, shape (N, 4)."""
        from ..kernels.passes import energies

        memory, where = _placed(z)
        given = [self._array(x) for x in (r, z if e is None else e)]
        sums = np.empty((len(given[0]), 4, self.shape[0]))

        def work(bell: Any, rows: slice, start: int, stop: int) -> None:
            some = [x[rows] for x in (*given, sums)]
            energies(bell, self.op, self._space(0, (1, 1, 1)), memory, _from(where, rows), *some, start, stop)

        _shared(work, len(sums), self.shape, 4, self.counted)
        return torch.from_numpy(sums[..., slice(*self.counted)].sum(-1))

    def combine(
        self, lengths: tuple[Any, Any], gains: Tensor, z: Tensor, first: bool, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make the next direction e of z and the one before, and add it to u times the gain of each row.

        ``lengths`` are the factors of z and of the last e, arrays (N,); on the ``first`` call that counts for
        nothing. What comes back is e, which is used again, and the largest entries of e and of u.
        """
        from ..kernels.vectors import combine

        given, (memory, where), planes = self._array(z), _placed(u), slice(*self.within)
        where = (where[0] - planes.start * where[2], *where[1:])  # u has no others
        e, direction = self.room("direction", len(given))
        kinds = [BITS[x.dtype] for x in (e, memory)]
        bits, masks = (e.view(kinds[0][0]), memory.view(kinds[1][0])), (kinds[0][1], kinds[1][1])
        tops = np.empty((len(e), 2, self.shape[0]), np.int64)
        factors, gain = np.stack(lengths, 1).astype(self.kind), gains.numpy().astype(memory.dtype)

        def work(bell: Any, rows: slice, start: int, stop: int) -> None:
            parts = first, given[rows], e[rows], memory, _from(where, rows), (bits[0][rows], bits[1])
            combine(bell, factors[rows], gain[rows], *parts, masks, tops[rows], start, stop)

        _shared(work, len(e), self.shape, 4, self.within)
        of_e, of_u = (tops[:, i, planes] for i in (0, 1))
        return direction, _largest(of_e, self.kind), _largest(of_u, memory.dtype)

    def holds(self, name: str, x: Tensor) -> bool:
        """Say whether a vector is the memory that this thread has by a name."""
        room = _rooms(self).get(name)
        return room is not None and room[1][1] is x

    def room(self, name: str, batch: int, coarse: bool = False) -> tuple[np.ndarray, Tensor]:
        """Return memory that this thread has used before for the same, as an array and as a tensor.

        What was in it is lost, but where a vector of the same name is asked for by its owner again.
        """
        rooms, size = _rooms(self), (batch, coarse)
        if name not in rooms or rooms[name][0] != size:
            array = np.empty((batch, *(self.coarse if coarse else self.shape)), self.kind)
            shape = self._coarse_box if coarse else self.box.shape
            rooms[name] = size, (array, torch.from_numpy(array).reshape(batch, 1, *shape))
        return rooms[name][1]

    def _space(self, sweeps: int, coarse: Sequence[int]) -> Any:
        """Give the memory that passes of this thread work in."""
        from ..kernels.passes import rooms

        known = _rooms(self)
        if (sweeps, coarse) not in known:
            known[sweeps, coarse] = rooms(self.shape, coarse, sweeps, self.kind)
        return known[sweeps, coarse]

    def _array(self, x: Tensor) -> np.ndarray:
        return x.detach().contiguous().numpy().reshape(x.shape[0], *self.shape)

    def _tensor(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(y).reshape(len(y), 1, *self.box.shape)


def survey(x: Tensor) -> Survey:
    """Return the Euclidean norm and the largest entry of each of some vectors, shape ``(N, ...)``."""
    from ..kernels.vectors import survey as surveyed

    x = x if x.shape[1] == 1 else x[:, None]
    shape = three(x.shape[2:], 1)
    whole, where = _placed(x)
    bits, mask = BITS[whole.dtype]
    sums, tops = np.empty((len(x), shape[0])), np.empty((len(x), shape[0]), np.int64)

    def work(bell: Any, rows: slice, start: int, stop: int) -> None:
        some = whole.view(bits), mask, _from(where, rows), shape, sums[rows], tops[rows]
        surveyed(bell, whole, *some, start, stop)

    _shared(work, len(x), shape, 8)
    return _seen(sums, tops, whole.dtype)


def rescale(x: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    """Write vectors, shape ``(N, 1, *unknowns)``, times a factor of each in the precision of ``out``."""
    from ..kernels.vectors import rescale as rescaled

    shape = three(x.shape[2:], 1)
    (given, of_x), (target, of_y), numbers = _placed(x), _placed(out), factors.double().numpy()

    def work(bell: Any, rows: slice, start: int, stop: int) -> None:
        some = numbers[rows], target, _from(of_y, rows), shape, start, stop
        rescaled(bell, given, _from(of_x, rows), *some)

    _shared(work, len(x), shape, 8)
    return out


def _placed(x: Tensor) -> tuple[np.ndarray, Where]:
    """Give the memory that vectors, (N, 1, *unknowns), stand in, and where they do."""
    if x.is_contiguous():
        sizes = three(x.shape[2:], 1)
        plane = sizes[1] * sizes[2]
        return x.detach().numpy().reshape(-1), (0, sizes[0] * plane, plane, sizes[2])
    x = x.detach() if x.stride(-1) == 1 else x.detach().contiguous()
    steps = three(x.stride()[2:], 0)
    length = x.untyped_storage().nbytes() // x.element_size()
    memory = torch.as_strided(x, (length,), (1,), 0).numpy()
    return memory, (int(x.storage_offset()), x.stride(0), steps[0], steps[1])


def _from(where: Where, rows: slice) -> Where:
    """Give where some vectors of several stand."""
    return (where[0] + (rows.start or 0) * where[1], *where[1:])


def _shared(
    work: Callable[[Any, slice, int, int], None],
    batch: int,
    shape: Sequence[int],
    quick: int,
    planes: tuple[int, int] | None = None,
) -> None:
    """Let threads do some planes each, of all or some, or some of many vectors; see :func:`_cut`."""
    from ..kernels.sharing import ringing

    ringing(work, _cut(batch, shape, quick, planes), torch.get_num_threads())


def _cut(
    batch: int, shape: Sequence[int], quick: int, planes: tuple[int, int] | None = None
) -> list[tuple[slice, int, int]]:
    """Cut work for threads: into some of many vectors, or all and some planes, from which one to which.

    ``quick`` says how little a number takes.
    """
    from ..kernels.sharing import FEWER, shares

    threads, size = torch.get_num_threads(), batch * math.prod(shape) // quick
    first, last = planes or (0, shape[0])
    if batch >= 2 * threads:
        return [(slice(i, j), first, last) for i, j in shares(batch, size, threads, 0, FEWER)]
    parts = shares(last - first, size, threads, LONG, FEWER)
    return [(slice(0, batch), first + i, first + j) for i, j in parts]


def _some(x: np.ndarray, rows: slice) -> np.ndarray:
    return x[rows] if x.size else x


def _seen(sums: np.ndarray, tops: np.ndarray | None, kind: Any) -> Survey:
    with np.errstate(over="ignore", invalid="ignore"):  # who asks sees whether it is finite
        norm = torch.from_numpy(np.sqrt(sums.sum(-1)))
    return Survey(norm, norm if tops is None else _largest(tops, kind))


def _largest(tops: np.ndarray, kind: Any) -> Tensor:
    """Give the numbers that the largest bits of each row are."""
    bits = tops.max(-1, initial=0).astype(BITS[kind][0])
    return torch.from_numpy(bits.view(kind).astype(np.float64))


_NOWHERE = (0, 0, 0, 0)
_NONE = {kind: np.empty((0, 0, 0, 0), kind) for kind in map(loops.kind, loops.TYPES)}
