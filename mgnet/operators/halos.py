"""Slabs with a halo: some planes of their neighbours, so that passes work out on both sides what is at a cut.

A pass over a grid works again what its sweeps need of planes around those that it writes. So a slab needs no
message between two sweeps, if it has been told some planes of a vector beyond its cuts: each sweep makes one
plane less of these right, and those that are wrong are not used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from . import frames, loops
from .boxes import Box
from .cells import CellStiffness
from .contract import Operator
from .entries import NodalOperator, StencilStiffness
from .fused import Fused
from .slabs import Cuts
from .stiffness import Stiffness

__all__ = ["Halo", "Kind", "Wide", "widened"]


class Halo:
    """Planes beyond the cuts of a slab: where vectors have them, and how they get there.

    Parameters
    ----------
    cuts : Cuts
        The neighbours; under their name messages are counted.
    box : Box
        The cells of the slab.
    width : int
        How many planes there are beyond each cut.
    like : dict
        Precision and device of vectors, as keywords.
    """

    def __init__(self, cuts: Cuts, box: Box, width: int, like: dict[str, Any]) -> None:
        self.cuts, self.width, self.like = cuts, width, like
        self.before, self.behind = width * cuts.low, width * cuts.high
        first, *others = box.axes
        self.planes, self.own_box = first.unknowns, box
        self.box = Box([replace(first, cells=first.cells + self.before + self.behind), *others])
        self._rooms: dict[str, Tensor] = {}

    def room(self, name: str, batch: int) -> Tensor:
        """Return memory that was used before for the same, ``(N, 1, *unknowns)`` with those of the halo."""
        known = self._rooms.get(name)
        if known is None or len(known) != batch:
            known = self.keep(name, torch.zeros((batch, 1, *self.box.shape), **self.like))
        return known

    def keep(self, name: str, x: Tensor) -> Tensor:
        """Let vectors with a halo be known, so that those without, which are views of them, are not copied."""
        self._rooms[name] = x
        return x

    def own(self, x: Tensor) -> Tensor:
        """Return what a slab has of vectors with a halo, a view."""
        return x.narrow(self.cuts.place, self.before, self.planes)

    def around(self, x: Tensor, name: str, planes: int) -> Tensor:
        """Return vectors, shape ``(N, 1, *unknowns)``, with a halo, of which so many planes are asked for.

        Those further out are of no use. What is no part of memory of this halo is copied to where it has
        room by a name.
        """
        wide = next((room for room in self._rooms.values() if _same(self.own(room), x)), None)
        if wide is None:
            wide = self.room(name, len(x))
            self.own(wide).copy_(x)
        place, size = self.cuts.place, self.planes
        # What is on a cut both have.
        got = self.cuts.swapped(x.narrow(place, 1, planes), x.narrow(place, size - 1 - planes, planes))
        for at, given in zip((self.before - planes, self.before + size), got, strict=True):
            if given is not None:
                wide.narrow(place, at, planes).copy_(given)
        return wide

    def narrowed(self, x: Tensor, width: int) -> Tensor:
        """Return vectors with a smaller halo, a view."""
        before, behind = width * self.cuts.low, width * self.cuts.high
        return x.narrow(self.cuts.place, self.before - before, before + self.planes + behind)

    def nodes(self, parts: Tensor, out: Tensor, place: int) -> None:
        """Write what slabs have at their nodes, along an axis, and at those of the halo, added up on cuts."""
        size, more = parts.shape[place], self.width + 1
        out.narrow(place, self.before, size).copy_(parts)
        ends = parts.narrow(place, 0, more), parts.narrow(place, size - more, more)
        for at, given in zip((0, self.before + size - 1), self.cuts.swapped(*ends), strict=True):
            if given is not None:
                out.narrow(place, at, more).add_(given)

    def layers(self, a: Tensor) -> Tensor:
        """Return what cells have, along the first axis, with those of the halo."""
        got = self.cuts.swapped(a[: self.width], a[len(a) - self.width :])
        return torch.cat([x for x in (got[0], a, got[1]) if x is not None])


class Wide:
    """An operator of which a slab has the whole rows, with a halo around.

    Parameters
    ----------
    A : Operator
        That of the slab and its halo.
    halo : Halo
        The halo.
    """

    def __init__(self, A: Operator, halo: Halo) -> None:
        self.A, self.halo = A, halo
        assert A.passes is not None  # or slabs would not have agreed
        self.passes: Fused = A.passes
        self.passes.within = halo.before, halo.before + halo.planes

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values at the unknowns of the slab, ``(N, 1, *unknowns)``."""
        return self.halo.own(self.passes(self.halo.around(x, "applied", 1)))

    def rows(self) -> tuple[Tensor, Tensor | None]:
        """Return the whole rows at the nodes of the slab, as entries and as their sums."""
        A, halo = self.A, self.halo
        frame, size = frames.frame(halo.own_box, A.like), halo.own_box.cells[0] + 1
        given = frames.whole(A.frame, halo.box).narrow(1, halo.before, size + 2)
        frames.whole(frame, halo.own_box).copy_(given)
        sums: Tensor | None = A.sums  # type: ignore[attr-defined]
        return frame, None if sums is None else sums.narrow(0, halo.before, size)


def _same(x: Tensor, y: Tensor) -> bool:
    return x.data_ptr() == y.data_ptr() and x.shape == y.shape and x.stride() == y.stride()


class Kind:
    """What slabs agree on before they widen an operator: its kind, and whether c or Robin's alpha add to it.

    Parameters
    ----------
    local : Operator
        That of the cells of this slab.
    cuts : Cuts
        The neighbours.
    """

    def __init__(self, local: Operator, cuts: Cuts) -> None:
        kinds = (Stiffness, CellStiffness, NodalOperator)
        kind = next((float(i) for i, each in enumerate(kinds) if isinstance(local, each)), -1.0)
        reaction = getattr(local, "reaction", None)
        found = reaction is not None, bool(reaction and reaction.pairs), not loops.apply_to(*local.numbers) or kind < 0
        high, low, self.reacts, self.ties, unable = cuts.most(kind, -kind, *map(float, found))
        self.same = high == -low and not unable


def widened(local: Operator, halo: Halo, kind: Kind) -> Operator:
    """Return the operator of a slab and its halo; the outermost plane has the rows of cells that end there.

    Parameters
    ----------
    local : Operator
        That of the cells of this slab, with natural ends at cuts.
    halo : Halo
        Its halo.
    kind : Kind
        What all slabs have agreed on.
    """
    if isinstance(local, Stiffness):
        form = local.form
        return Stiffness.of(halo.box, form.a, form.c, robin=form.robin, lumped=form.lumped, **local.like)
    if isinstance(local, CellStiffness):
        return CellStiffness(halo.box, halo.layers(local.a), _reaction(local, halo, kind))
    assert isinstance(local, NodalOperator)
    return _entries(local.assembled(), halo)


def _reaction(local: CellStiffness, halo: Halo, kind: Kind) -> StencilStiffness | None:
    if not kind.reacts:
        return None
    given = local.reaction
    if given is None:
        given = StencilStiffness(local.box, torch.zeros([n + 1 for n in local.box.cells], **local.like), {})
    if kind.ties:
        return _entries(given, halo)
    centre = torch.zeros([n + 1 for n in halo.box.cells], **local.like)
    halo.nodes(given.centre, centre, 0)
    return StencilStiffness(halo.box, centre, {})


def _entries(A: StencilStiffness, halo: Halo) -> StencilStiffness:
    frame = frames.frame(halo.box, A.like)
    given, out = (frames.whole(x, box)[:, 1:-1] for x, box in ((A.frame, A.box), (frame, halo.box)))
    halo.nodes(given, out, 1)
    sums = None
    if A.sums is not None:
        shape = [n + 1 for n in halo.box.cells]
        if not halo.cuts.most(float(any(A.sums.stride())))[0]:
            sums = A.sums.new_zeros(()).expand(shape)
        else:
            sums = A.sums.new_zeros(shape)
            halo.nodes(A.sums, sums, 0)
    return StencilStiffness.framed(halo.box, frame, A.singular, A.hold, sums, A.gaps, A.uneven)
