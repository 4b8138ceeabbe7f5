"""Grids that processes share by slabs, down to where a share is small; coarser ones are gathered by all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..operators import frames
from ..operators.boxes import Box
from ..operators.contract import Interpolation, Map, Operator
from ..operators.cuts import Cuts
from ..operators.entries import StencilStiffness
from ..operators.halos import Halo, Wide, widened
from ..operators.slabs import SlabInterpolation, SlabOperator
from ..operators.smoothers import SMOOTHERS
from ..operators.stiffness import Stiffness
from .cycles import Level
from .halos import SharedBeyond, WidePasses, width_for
from .levels import Options, grids, is_wild, repeat, smoother_of, solved_at_once

__all__ = ["SHARE", "WHOLE", "are_few", "build_slab_levels", "stays"]

# Unknowns of a process below which the grid is gathered: a message takes as long as the work for as many.
# Of so many processes that this would be much for each of them, the unknowns of all.
SHARE, WHOLE = 2**14, 2**15
# How many more planes a slab has than a halo: three cells at the end of a box may be one of the coarse grid.
APART = 3


@dataclass
class SlabLevel(Level):
    """One grid that processes share."""

    slab: SlabPasses | WidePasses | None = None

    def fused(self, *vectors: Tensor | None) -> Any:
        """Return what smooths and transfers at once, in fewer messages."""
        return self.slab

    def own(self, x: Tensor) -> Tensor:
        """Return what came out of passes in memory of its own."""
        return x.clone() if isinstance(self.slab, WidePasses) else x


class SlabPasses:
    """Smoothing and transfers of a slab: a message each way for each sweep, and one for the restriction.

    Parameters
    ----------
    A : SlabOperator
        The operator of the grid.
    P : SlabInterpolation
        The transfers.
    inverse : torch.Tensor, shape ``(*unknowns)``
        Of the diagonal.
    lift : callable
        Interpolation of first guesses.
    """

    reuses = False  # what passes return is in memory of its own

    def __init__(self, A: SlabOperator, P: SlabInterpolation, inverse: Tensor, lift: Map) -> None:
        self.A, self.P, self.inverse, self.lift = A, P, inverse, lift

    def descend(
        self, b: Tensor, x: Tensor | None, weights: Sequence[float], coarse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Smooth by one sweep for each weight, and restrict the residual; see ``Fused.descend``."""
        x = self._smoothed(self.lift(coarse) if coarse is not None else x, b, weights)
        return x, self.P.collected(self.A.part_of_residual(x, b))

    def ascend(self, x: Tensor, e: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Add the interpolation of coarse values, and smooth."""
        return self._smoothed(x + self.P(e), b, weights)

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads."""
        return self.P.restrict(b)

    def _smoothed(self, x: Tensor | None, b: Tensor, weights: Sequence[float]) -> Tensor:
        for weight in weights:
            if x is None:  # the residual of zero is known
                x = torch.mul(b, weight * self.inverse)
            else:
                x = torch.addcmul(x, self.A.residual(x, b), self.inverse, value=weight)
        return torch.zeros_like(b) if x is None else x


class Gathered(SlabInterpolation):
    """Transfers between the slabs of a grid and a coarser one that every process has all of.

    Parameters
    ----------
    P : Interpolation
        That of the slab.
    fine, coarse : Cuts
        The neighbours on both grids; under the name of the coarse one messages are counted.
    entire : Box
        The whole coarse box.
    edges : list of int
        The first node of each slab there, and the last of all.
    """

    def __init__(self, P: Interpolation, fine: Cuts, coarse: Cuts, entire: Box, edges: list[int]) -> None:
        super().__init__(P, fine, coarse)
        self.entire, self.edges = entire, edges

    def collected(self, part: Tensor) -> Tensor:
        """Restrict what this slab has of a load, and gather the whole."""
        return self.gathered(self.R(part), whole=False)

    def gathered(self, own: Tensor, whole: bool = True) -> Tensor:
        """Return the load of all coarse unknowns from what slabs have, on cuts the ``whole`` or a part."""
        place = self.coarse.place
        shape = list(own.shape)
        shape[place] = max(self._unknowns(rank)[1] for rank in range(len(self.edges) - 1))
        padded = own.new_zeros(shape)
        padded.narrow(place, 0, own.shape[place]).copy_(own)
        load = own.new_zeros((*own.shape[:2], *self.entire.shape))
        for rank, found in enumerate(self.coarse.stacked(padded)):
            first, count = self._unknowns(rank)
            within = min(count, load.shape[place] - first)
            # The last node of joined ends is the first.
            for at, begin, size in ((first, 0, within), (0, within, count - within)):
                there, given = load.narrow(place, at, size), found.narrow(place, begin, size)
                there.copy_(given) if whole else there.add_(given)
        return load

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values at all coarse unknowns to this slab."""
        return self.P(self.slab(e))

    def slab(self, e: Tensor) -> Tensor:
        """Return what this slab has of values at all coarse unknowns."""
        return self.around(e, 0)

    def around(self, e: Tensor, width: int, planes: int = 0) -> Tensor:
        """Return the same with so many planes beyond cuts, all of them right."""
        place, cuts = self.coarse.place, self.coarse
        first, count = self._unknowns(cuts.processes.rank)
        at = torch.arange(first - width * cuts.low, first + count + width * cuts.high, device=e.device)
        return e.index_select(place, at % e.shape[place])

    def _unknowns(self, rank: int) -> tuple[int, int]:
        """Give the first unknown of a slab and how many it has; of joined ends one is behind the last."""
        chain, (start, stop) = self.entire.axes[0].chain, self.edges[rank : rank + 2]
        first = 0 if chain.ends[0] == "periodic" else chain.first
        low = max(start, first)
        last = stop - int(stop == self.edges[-1] and chain.ends[1] == "dirichlet")
        return low - first, last - low + 1

    def whole(self, A: SlabOperator) -> Operator:
        """Return the coarse operator of the whole box: by its form or of entries, which are gathered."""
        if isinstance(A.local, Stiffness):
            form = A.local.form
            robin = [tuple(A.cuts.most(*ends)) for ends in form.robin]
            return Stiffness.of(self.entire, form.a, form.c, robin=robin, lumped=form.lumped, **A.like)
        assert isinstance(A.local, StencilStiffness)
        E = frames.frame(self.entire, A.like)
        self._add(frames.whole(A.local.frame, A.box).contiguous(), frames.whole(E, self.entire))
        sums = A.local.sums
        if sums is not None:
            given, sums = sums.contiguous(), sums.new_zeros([n + 1 for n in self.entire.cells])
            self._add(given[None], sums[None])
            sums = sums if bool(sums.any()) or A.gaps else sums.new_zeros(()).expand(sums.shape)
        return StencilStiffness.framed(self.entire, E, A.singular, A.hold, sums, A.gaps, A.uneven)

    def _add(self, own: Tensor, whole: Tensor) -> None:
        """Add up what all slabs have, along the second axis, whose planes are those of nodes or some more."""
        counts = [stop - start for start, stop in pairwise(self.edges)]
        more = own.shape[1] - counts[self.coarse.processes.rank]
        padded = own.new_zeros((own.shape[0], max(counts) + more, *own.shape[2:]))
        padded[:, : own.shape[1]] = own
        parts = zip(self.edges, counts, self.coarse.named("set-up").stacked(padded), strict=False)
        for start, count, found in parts:
            whole[:, start : start + count + more] += found[:, : count + more]


def are_few(unknowns: int, world: int) -> bool:
    """Say whether a grid is so small that each of some processes has all of it."""
    return unknowns <= min(SHARE * world, WHOLE)


def stays(A: SlabOperator, edges: Sequence[int], options: Options, wild: bool, depth: int) -> bool:
    """Say whether processes go on sharing a grid, the finest but so many, and make a coarser one together.

    Parameters
    ----------
    A : SlabOperator
        Its operator.
    edges : sequence of int
        The first node of each slab, and the last of all.
    options : Options
        How grids are made.
    wild : bool
        Whether cells differ much.
    depth : int
        How many grids are finer.
    """
    box, chosen = A.entire, A.entire.coarsening()
    coarsest = not any(chosen) or depth + 1 == options.levels
    lines = getattr(SMOOTHERS[options.smoother_for(A)], "whole", False)  # type: ignore[arg-type]
    if lines or coarsest or any(box.thin) or ((options.mixed or wild) and solved_at_once(A.local, box)):
        return False
    if are_few(math.prod(box.shape), len(edges) - 1):
        return False
    together = all(edge % 2 == 0 for edge in edges[:-1]) and min(b - a for a, b in pairwise(edges)) > 1
    return together or not chosen[0]


def build_slab_levels(A: SlabOperator, edges: Sequence[int], options: Options) -> list[Level]:
    """Return the grids from an operator on which processes share, finest first; see ``build_levels``.

    Parameters
    ----------
    A : SlabOperator
        The finest operator, one that stays shared.
    edges : sequence of int
        The first node of each slab, and the last of all.
    options : Options
        As for ``build_levels``.
    """
    levels: list[Level] = []
    wild, edges = is_wild(A), list(edges)  # type: ignore[arg-type]
    halos = _Halos(A, options)
    while True:
        wide = halos.widened(A, edges)
        level = SlabLevel(A, A.entire.cells, A.entire.shape, smoother_of(A, options))  # type: ignore[arg-type]
        chosen = A.entire.coarsening()
        cuts = A.cuts.named(f"grid {len(levels) + 1}")
        lift = A.cubic(chosen)
        coarse, P = A.coarsened(chosen, cuts)
        levels.append(level)
        if chosen[0]:
            edges = [edge // 2 for edge in edges[:-1]] + [coarse.entire.cells[0]]
        goes_on = stays(coarse, edges, options, wild, len(levels))
        transfers = (
            SlabInterpolation(P, A.cuts, cuts) if goes_on else Gathered(P, A.cuts, cuts, coarse.entire, edges)
        )
        if wide:
            level.slab = halos.passes(wide, coarse, transfers)
            A.settle()
        else:
            level.P, level.R = transfers, transfers.T
            level.lift = lift and (lift if goes_on else _Lift(lift, transfers))
            if hasattr(level.smoother, "weights"):
                level.slab = SlabPasses(A, transfers, level.smoother.inverse, level.lift or transfers)
        if not goes_on:
            assert isinstance(transfers, Gathered)
            rest = None if options.levels is None else options.levels - len(levels)
            levels += grids(transfers.whole(coarse), replace(options, levels=rest), wild)
            break
        A = coarse
    repeat(levels, options, wild)
    return levels


class _Halos:
    """Halos of all grids, and where they are of use: in all processes, or in none.

    Parameters
    ----------
    A : SlabOperator
        The finest operator.
    options : Options
        As for ``build_levels``.
    """

    def __init__(self, A: SlabOperator, options: Options) -> None:
        self.options, self.width = options, width_for(options.sweeps)
        self.kind = A.kind
        self.halos: dict[SlabOperator, Halo] = {}

    def of(self, A: SlabOperator) -> Halo:
        """Return the halo of a grid."""
        if A not in self.halos:
            self.halos[A] = Halo(A.cuts, A.box, self.width, A.like)
        return self.halos[A]

    def widened(self, A: SlabOperator, edges: Sequence[int]) -> Wide | None:
        """Give an operator its halo, where slabs are thick enough, and there are passes for what it is."""
        thin = min(b - a for a, b in pairwise(edges)) < self.width + APART
        joined = [axis for axis in A.entire.axes if axis.periodic]
        # In a ring the last cells, which may be others, would lie in the middle of a halo.
        odd = any(axis.cells == 1 for axis in joined) or (A.cuts.ring and not joined[0].even)
        smoother = SMOOTHERS[self.options.smoother_for(A)]  # type: ignore[arg-type]
        if thin or odd or not (self.kind.same and hasattr(smoother, "weights")):
            return None
        A.wide = Wide(widened(A.local, self.of(A), self.kind), self.of(A))
        return A.wide

    def passes(self, wide: Wide, coarse: SlabOperator, transfers: SlabInterpolation) -> WidePasses:
        """Return the passes of a grid, to and from the next coarser one."""
        if isinstance(transfers, Gathered):
            return WidePasses(wide, self.options.sweeps, transfers.around, transfers.gathered)
        return WidePasses(wide, self.options.sweeps, SharedBeyond(self.of(coarse)), lambda load: load)


class _Lift:
    """Interpolation of first guesses from all unknowns of a coarse grid to a slab."""

    def __init__(self, lift: Map, transfers: SlabInterpolation) -> None:
        self.lift, self.transfers = lift, transfers

    def __call__(self, e: Tensor) -> Tensor:
        return self.lift(self.transfers.slab(e))  # type: ignore[attr-defined]
