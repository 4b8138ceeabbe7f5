"""A grid for the passes on a device: its operator, and the transfers to the next, as tables of numbers there.

What it does is what torch does with the same operators, in fewer launches, which is where small grids spend
their time on a GPU: a V(2,2) cycle has six of them on each grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.kinds import tracked
from . import loops, places
from .boxes import Box, three

__all__ = ["DeviceGrid", "Launched", "Numbers", "there_are"]

# Unknowns that 32 bits count.
MOST = 2**31 - 2**12


@lru_cache(maxsize=1)
def there_are() -> bool:
    """Say whether Triton is there, which the passes on a device are written in."""
    return find_spec("triton") is not None


@dataclass(frozen=True)
class Numbers:
    """An operator as :mod:`mgnet.kernels.device` has it; what it does not have is None.

    Parameters
    ----------
    axes : sequence of torch.Tensor, optional
        The matrices of three axes, shape (4, n + 1) each.
    c : torch.Tensor, optional
        Lumped: a number beside ``axes``, or one for each unknown.
    cells, element : torch.Tensor, optional
        The coefficients, and the matrix of a cell, shape (2, 2, 2).
    entries, sums : torch.Tensor, optional
        Entries between nodes, and row sums where steps are to be taken.
    """

    axes: Sequence[Tensor] | None = None
    c: Tensor | None = None
    cells: Tensor | None = None
    element: Tensor | None = None
    entries: Tensor | None = None
    sums: Tensor | None = None

    def listed(self, like: Tensor, deep: bool) -> list[Tensor]:
        """Return all of them in their order, and something last where there are three axes."""
        none = like.new_empty(0)
        rest = self.cells, self.element, self.c, self.entries, self.sums
        given = [*(self.axes or [none] * 3), *(none if x is None else x for x in rest)]
        return [*(x.contiguous() for x in given), like.new_empty(int(deep))]


class DeviceGrid:
    """What passes on a device know of a grid, however they are made.

    Parameters
    ----------
    A : Operator
        The operator.
    P : Interpolation
        What comes from the next coarser grid.
    inverse : torch.Tensor
        Of the diagonal, for the sweeps.
    """

    reuses = False  # what passes return is in memory of its own

    def __init__(self, A: Any, P: Any, inverse: Tensor) -> None:
        self.box: Box = A.box
        self.like: dict[str, Any] = A.like
        self.P, self.inverse, self.cubic = P, inverse, A.cubic
        self.joined = three([axis.periodic for axis in self.box.axes], False)
        self.firsts = three([axis.chain.first for axis in self.box.axes], 0)
        self.chosen = self.box.coarsening()
        self.coarse = self.box.coarse(self.chosen).shape
        self.none = inverse.new_empty(0)

    def takes(self, *tensors: Tensor | None) -> bool:
        """Say whether the passes may work on some tensors: those of its precision, without derivatives."""
        known = [x for x in tensors if x is not None]
        fitting = all(x.dtype == self.like["dtype"] and x.device == self.inverse.device for x in known)
        return fitting and not tracked(*known)

    @cached_property
    def hats(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Where unknowns lie among the coarse ones, along three axes: the first that counts, and weights."""
        return self.along_axes(places.hats, np.array([[1.0], [0.0]]))

    def along_axes(self, of: Any, alone: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Give that of hats or of cubics; what is not coarsened has one weight, 1."""
        kind = loops.kind(self.like["dtype"])
        found = [
            (*of(axis, some, kind)[:2], some) for axis, some in zip(self.box.axes, self.chosen, strict=True)
        ]
        pairs = [(base, weights if some else weights[:1]) for base, weights, some in found]
        bases, weights = zip(*three(pairs, (np.zeros(1, np.int64), alone[:1].astype(kind))), strict=True)
        return list(bases), list(weights)

    @cached_property
    def corners(self) -> Tensor:
        """The weights of all corners of each node, where they are not those of hats.

        They are what P makes of the function that is 1 at every second coarse node along each coarsened axis:
        no two corners of a node are of one such colour.
        """
        if not hasattr(self.P, "at_nodes"):
            return self.none
        taps = [2 if some else 1 for some in self.chosen]
        colours, cells = list(itertools.product(*map(range, taps))), self.P.coarse.cells
        e = torch.zeros((len(colours), 1, *(n + 1 for n in cells)), **self.like)
        for function, colour in zip(e[:, 0], colours, strict=True):
            function[tuple(slice(start, None, tap) for start, tap in zip(colour, taps, strict=True))] = 1
        found = self.P.at_nodes(e)[:, 0].contiguous()
        return found if self.box.dim > 2 else found.unsqueeze(2)


class Launched(DeviceGrid):
    """A grid as the passes in Triton see it.

    Parameters
    ----------
    A : Operator
        The operator, which says by ``on_device`` what it is.
    numbers : Numbers
        That.
    P, inverse
        As for :class:`DeviceGrid`.
    """

    def __init__(self, A: Any, numbers: Numbers, P: Any, inverse: Tensor) -> None:
        from . import launches

        super().__init__(A, P, inverse)
        self.ops, self.shape = launches, three(self.box.shape, 1)
        self.numbers = numbers.listed(inverse, self.box.dim > 2)
        whole = inverse.expand(self.box.shape)
        self.spread_inverse = whole if self.box.dim > 2 else whole.unsqueeze(1)
        self._weights: dict[tuple[float, ...], Tensor] = {}

    def takes(self, *tensors: Tensor | None) -> bool:
        """Say whether the passes may work on some tensors; of a device a launch takes so many vectors."""
        fitting = super().takes(*tensors)
        return fitting and all(x.ndim < 3 or len(x) <= self.ops.MOST for x in tensors if x is not None)

    def descend(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Smooth by one sweep for each weight, and restrict the residual; see :class:`.Fused`."""
        load = self._three(b)
        if coarse is not None:
            before: Tensor | None = self._spread(coarse, None, self.lifting)
        else:
            before = None if x is None else self._three(x)
        after = self._relaxed(load, before, weights)
        r = load if after is None else self._apply(after, load, (), self.ops.RESIDUAL)
        return self._back(torch.zeros_like(load) if after is None else after), self.restrict(r)

    def ascend(self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Add the interpolation of coarse values, and smooth."""
        before = self._spread(e, self._three(x), self.transfers)
        after = self._relaxed(self._three(b), before, weights)
        return self._back(before if after is None else after)

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads."""
        tables, corners = self.gathering
        r = torch.ops.mgnet.gather(self._three(b), *tables, corners, self.firsts)
        return r.reshape(len(r), 1, *self.coarse)

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x, shape ``(N, 1, *unknowns)``."""
        return self._back(self._apply(self._three(x), self._three(x), (), self.ops.IMAGE))

    def _relaxed(self, b: Tensor, x: Tensor | None, weights: Sequence[float]) -> Tensor | None:
        """Sweep; from zero the first two sweeps are one launch."""
        weights = list(weights)
        if x is None and weights:
            two = (*weights[:2], 0.0)[:2]  # a second sweep that does nothing, where there is one only
            x, weights = self._apply(None, b, two, self.ops.RELAXED), weights[2:]
        for weight in weights:
            x = self._apply(x, b, (weight,), self.ops.RELAXED)
        return x

    def _apply(self, x: Tensor | None, b: Tensor, weights: tuple[float, ...], mode: int) -> Tensor:
        numbers = self.spread_inverse, self._on_device(weights), self.numbers, self.firsts, self.joined
        return torch.ops.mgnet.apply(b if x is None else x, b, *numbers, x is None, mode)

    def _spread(self, e: Tensor, x: Tensor | None, transfers: Any) -> Tensor:
        (bases, weights), corners = transfers
        e = e.reshape(len(e), *three(self.coarse, 1))
        return torch.ops.mgnet.spread(e, x, bases, weights, corners, self.firsts, self.joined)

    def _on_device(self, weights: tuple[float, ...]) -> Tensor:
        """Give weights where they are read; a number among the arguments would be rounded to float32."""
        if weights not in self._weights:
            found = torch.tensor(weights or (0.0,), dtype=torch.float64, device="cpu")
            self._weights[weights] = sent(found, self.like["device"], self.like["dtype"])
        return self._weights[weights]

    def _three(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def _back(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 1, *self.box.shape)

    @cached_property
    def transfers(self) -> tuple[Any, Tensor]:
        """For each unknown of an axis the first coarse one and weights, and those of all corners of nodes."""
        return self._tables(self.hats), self.corners

    @cached_property
    def lifting(self) -> tuple[Any, Tensor]:
        """More exact interpolation, by cubics where there are no weights that know better."""
        if self.cubic is None:
            return self.transfers
        return self._tables(self.along_axes(places.cubics, np.array([[1.0]]))), self.none

    @cached_property
    def gathering(self) -> tuple[Any, Tensor]:
        """For each coarse unknown of an axis the unknowns that give to it, as which node, and weights."""
        found = [
            _gathered(*axis) for axis in zip(*self.hats, three(self.coarse, 1), self.joined, strict=True)
        ]
        fine, nodes, weights = zip(*found, strict=True)
        nodes = [node + first for node, first in zip(nodes, self.firsts, strict=True)]
        return (self._sent(fine), self._sent(nodes), self._sent(weights)), self.corners

    def _tables(self, axes: tuple[list[np.ndarray], list[np.ndarray]]) -> tuple[list[Tensor], list[Tensor]]:
        return self._sent(axes[0]), self._sent(axes[1])

    def _sent(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Send several tables at once, integers in 32 bits."""
        whole = np.concatenate([x.ravel() for x in arrays])
        whole = whole.astype(np.int32) if whole.dtype.kind == "i" else whole
        pieces = sent(torch.from_numpy(whole), self.like["device"]).split([x.size for x in arrays])
        return [piece.view(x.shape) for piece, x in zip(pieces, arrays, strict=True)]


def _gathered(
    base: np.ndarray, weights: np.ndarray, N: int, joined: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the table of an axis round: which unknowns give to each coarse one, as which node, how much."""
    unknowns = np.arange(len(base))
    fine, node, weight = (
        np.concatenate(parts)
        for parts in zip(*((unknowns, base + tap, w) for tap, w in enumerate(weights)), strict=True)
    )
    coarse = node % N if joined else node
    kept = (coarse >= 0) & (coarse < N) & (weight != 0)
    order = np.flatnonzero(kept)[np.argsort(coarse[kept], kind="stable")]
    counts = np.bincount(coarse[kept], minlength=N)
    most = max(int(counts.max(initial=1)), 2 if len(weights) > 1 else 1)
    at = coarse[order], np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    tables = np.full((most, N), -1), np.zeros((most, N), np.int64), np.zeros((most, N), weights.dtype)
    for table, values in zip(tables, (fine, node, weight), strict=True):
        table[at[1], at[0]] = values[order]
    return tables
