"""Where slabs of a box are cut from each other, and what their processes tell each other there."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from ..core.processes import Processes
from .contract import Map

__all__ = ["Cuts"]


class Cuts:
    """Where a slab is cut from those before and after it, and what processes tell each other there.

    Parameters
    ----------
    processes : Processes
        Those that share a box, in the order of their slabs along the first axis.
    dim : int
        Number of axes, the last of any tensor.
    ring : bool
        Whether the last slab and the first are neighbours too.
    wire : torch.device, optional
        Where tensors lie that processes send; where they are, by default.

    Attributes
    ----------
    low, high : bool
        Whether there is a slab before this one, and after it.
    sent : dict
        By name, of grids and of sums over all: how many messages this process has sent, and bytes.
    """

    def __init__(self, processes: Processes, dim: int, ring: bool, wire: torch.device | None = None) -> None:
        self.processes, self.place, self.ring, self.wire = processes, -dim, ring, wire
        self.low, self.high = processes.rank > 0 or ring, processes.rank + 1 < processes.world or ring
        self.name, self.sent = "set-up", dict[str, list[int]]()

    def named(self, name: str) -> Cuts:
        """Return the same, under whose name messages are counted."""
        other = copy(self)
        other.name = name
        return other

    def _count(self, name: str, x: Tensor, times: int = 1) -> None:
        count = self.sent.setdefault(name, [0, 0])
        count[0] += times
        count[1] += times * x.numel() * x.element_size()

    def swapped(self, low: Tensor, high: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Give something to the slab before and to the one after; return what these give."""
        given = [x.to(self.wire or x.device).clone() for x in (low, high)]
        self._count(self.name, low, self.low + self.high)
        got = self.processes.swapped(given[0], given[1], self.ring)
        return tuple(None if x is None else x.to(low.device) for x in got)  # type: ignore[return-value]

    def _planes(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Give the planes of cuts, and what the neighbours have there."""
        low, high = (x.narrow(self.place, at, 1) for at in (0, x.shape[self.place] - 1))
        got = self.swapped(low, high)
        return [(own, other) for own, other in zip((low, high), got, strict=True) if other is not None]

    def assemble(self, x: Tensor, twice: Tensor | None = None) -> Tensor:
        """Add what neighbours have on cuts to a load, in its own memory, less what both have counted."""
        for own, other in self._planes(x):
            own.add_(other)  # the same sum on both sides, to the last bit
        for at in self._ends if twice is not None else ():
            x.select(self.place, at).sub_(twice.select(self.place, at))  # type: ignore[union-attr]
        return x

    def agree(self, x: Tensor) -> Tensor:
        """Give unknowns on cuts the mean of what both slabs have, which may differ in a last digit."""
        for own, other in self._planes(x):
            own.add_(other).mul_(0.5)
        return x

    @property
    def _ends(self) -> list[int]:
        return [at for at, cut in ((0, self.low), (-1, self.high)) if cut]

    def halve(self, r: Tensor, b: Tensor) -> Tensor:
        """Take half of a whole load off on cuts, so that two slabs have counted it once."""
        for at in self._ends:
            r.select(self.place, at).sub_(b.select(self.place, at), alpha=0.5)
        return r

    def owned(self, x: Tensor) -> Tensor:
        """Return the unknowns of this slab that the one before has not, a view."""
        return x.narrow(self.place, 1, x.shape[self.place] - 1) if self.low else x

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum over all processes."""
        self._count("sums", x)
        return self.processes.summed(x.to(self.wire or x.device)).to(x.device)

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest of all processes, entry by entry; NaN is infinity."""
        self._count("sums", x)
        return self.processes.largest(x.to(self.wire or x.device)).to(x.device)

    def most(self, *numbers: float) -> list[float]:
        """Return the largest of each number."""
        return self._listed(self.largest, numbers)

    def sums(self, *numbers: float) -> list[float]:
        """Return the sum of each number."""
        return self._listed(self.summed, numbers)

    def _listed(self, over_all: Map, numbers: Sequence[float]) -> list[float]:
        found: list[float] = over_all(torch.tensor(numbers, dtype=torch.float64, device=self.wire)).tolist()
        return found

    def stacked(self, x: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape, along a new first axis."""
        self._count(self.name, x)
        return self.processes.stacked(x.to(self.wire or x.device)).to(x.device)
