"""A cycle's passes over a slab with a halo: a message on the way down and one on the way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ..operators.contract import Map
from ..operators.halos import Halo, Wide
from ..operators.interpolation import NodeProlongation
from ..operators.stiffness import Stiffness

__all__ = ["Beyond", "SharedBeyond", "WidePasses", "margin_for", "width_for"]


def margin_for(sweeps: tuple[int, int]) -> int:
    """Return how many planes beyond a cut are to be right after the sweeps before the coarse correction.

    The residual one plane beyond it, which the restriction wants, takes two, and each sweep after it one.
    """
    return max(2, sweeps[1])


def width_for(sweeps: tuple[int, int]) -> int:
    """Return how many planes a halo has: even, so that coarse planes lie in it as they do in the slab.

    Each sweep takes one more. A first guess between coarse values is a cubic polynomial of two on each side.
    """
    planes = margin_for(sweeps) + sweeps[0]
    return 2 * (-(-planes // 2) + 1)


class Beyond(Protocol):
    """What gives values of a coarse grid with those of the halo of the next finer one."""

    def __call__(self, e: Tensor, width: int, planes: int) -> Tensor:
        """Return values with so many planes beyond cuts, of which some are asked for."""


class SharedBeyond:
    """The same where processes share the coarse grid too.

    Parameters
    ----------
    halo : Halo
        That of the coarse grid.
    """

    def __init__(self, halo: Halo) -> None:
        self.halo = halo

    def __call__(self, e: Tensor, width: int, planes: int) -> Tensor:
        """Return values with so many planes beyond cuts, of which some are asked for."""
        return self.halo.narrowed(self.halo.around(e, "correction", planes), width)


class WidePasses:
    """Smoothing and transfers of a slab with a halo, in the passes of one process; see ``Fused``.

    Loads on cuts come out whole, since both slabs work them out.

    Parameters
    ----------
    wide : Wide
        The operator.
    sweeps : (int, int)
        Sweeps before and after the coarse correction, the most that are asked for.
    beyond : Beyond
        What gives coarse values beyond cuts.
    collect : callable
        What becomes of the load of the coarse grid, which it has of this slab.
    """

    reuses = False  # of its own are only what callers keep

    def __init__(self, wide: Wide, sweeps: tuple[int, int], beyond: Beyond, collect: Map) -> None:
        self.halo, self.passes, self.beyond, self.collect = wide.halo, wide.passes, beyond, collect
        box = self.halo.box
        chosen = box.coarsening()
        if not isinstance(wide.A, Stiffness):
            self.passes.P = NodeProlongation(wide.A, chosen)
        self.step, self.before = 2 if chosen[0] else 1, sweeps[0]
        self.passes.margin = self.margin = margin_for(sweeps)
        # Of the coarse grid: planes of the halo, and where what this slab has of it lies among them.
        self.width = self.halo.width // self.step
        self.begin, self.planes = self.width * self.halo.cuts.low, self.halo.own_box.coarse(chosen).shape[0]
        # The last load with a halo, and one that was restricted and is smoothed for next.
        self.b: Tensor | None = None
        self.restricted: Tensor | None = None

    def descend(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Smooth by one sweep for each weight, and restrict the residual; see ``Fused.descend``."""
        planes = self.margin + len(weights)
        if b is not self.restricted:
            self.b = self.halo.around(b, "load", planes - 1)
        assert self.b is not None
        self.restricted = None
        if x is not None:
            x = self.halo.around(x, "guess", planes)
        if coarse is not None:
            coarse = self.beyond(coarse, self.width, min(planes, self.width))
        x, load = self.passes.descend(self.b, x, weights, coarse)
        return self.halo.own(self.halo.keep("down", x)), self._collected(load)

    def ascend(self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Add the interpolation of coarse values, and smooth; x and b are those of the way down."""
        wide = self.halo.room("down", len(x))
        assert self.b is not None
        e = self.beyond(e, self.width, -(-len(weights) // self.step))
        return self.halo.own(self.halo.keep("up", self.passes.ascend(wide, e, self.b, weights)))

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads, as full multigrid does before it comes back to them."""
        self.b, self.restricted = self.halo.around(b, "load", self.margin + self.before - 1), b
        return self._collected(self.passes.restrict(self.b))

    def _collected(self, load: Tensor) -> Tensor:
        return self.collect(load.narrow(self.halo.cuts.place, self.begin, self.planes))
