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

from . import frames
from .boxes import Box
from .cells import CellStiffness
from .contract import Operator
from .cuts import Cuts
from .entries import NodalOperator, StencilStiffness
from .fused import Fused
from .slabs import Kind, SlabOperator
from .stiffness import Stiffness

__all__ = ["Halo", "Wide", "missing", "widened"]


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
        self._rooms: dict[str, tuple[Tensor, Tensor]] = {}  # with a halo, and a view without

    def room(self, name: str, batch: int) -> Tensor:
        """Return memory that was used before for the same, ``(N, 1, *unknowns)`` with those of the halo."""
        known = self._rooms.get(name)
        if known is not None and len(known[0]) == batch:
            return known[0]
        return self.keep(name, torch.zeros((batch, 1, *self.box.shape), **self.like))

    def keep(self, name: str, x: Tensor) -> Tensor:
        """Make vectors with a halo known, so that those without, which are views of them, are not copied."""
        if name not in self._rooms or self._rooms[name][0] is not x:
            self._rooms[name] = x, self.own(x)
        return x

    def own(self, x: Tensor) -> Tensor:
        """Return what a slab has of vectors with a halo, a view."""
        return x.narrow(self.cuts.place, self.before, self.planes)

    def around(self, x: Tensor, name: str, planes: int) -> Tensor:
        """Return vectors, shape ``(N, 1, *unknowns)``, with a halo, of which so many planes are asked for.

        Those further out are of no use. What is no part of memory of this halo is copied to where it has
        room by a name.
        """
        wide, place, size = self.home(x, name), self.cuts.place, self.planes
        # What is on a cut both have.
        got = self.cuts.swapped(x.narrow(place, 1, planes), x.narrow(place, size - 1 - planes, planes))
        for at, given in zip((self.before - planes, self.before + size), got, strict=True):
            if given is not None:
                wide.narrow(place, at, planes).copy_(given)
        return wide

    def home(self, x: Tensor, name: str) -> Tensor:
        """Return the same without asking for any."""
        wide = next((room for room, own in self._rooms.values() if _same(own, x)), None)
        if wide is None:
            wide = self.room(name, len(x))
            self.own(wide).copy_(x)
        return wide

    def agreed(self, x: Tensor, name: str) -> Tensor:
        """Return vectors with a plane of the halo; those on cuts become the mean of what both slabs have."""
        place, size = self.cuts.place, self.planes
        ends = x.narrow(place, 0, 2), x.narrow(place, size - 2, 2)
        got = self.cuts.swapped(*ends)
        for end, given, at in zip(ends, got, (0, 1), strict=True):
            if given is not None:
                end.narrow(place, at, 1).add_(given.narrow(place, 1 - at, 1)).mul_(0.5)
        wide = self.home(x, name)
        for given, at, to in zip(got, (0, 1), (self.before - 1, self.before + size), strict=True):
            if given is not None:
                wide.narrow(place, to, 1).copy_(given.narrow(place, at, 1))
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
        # What two slabs have counts once.
        self.passes.counted = halo.before + halo.cuts.low, halo.before + halo.planes

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values at the unknowns of the slab, ``(N, 1, *unknowns)``."""
        return self.halo.own(self.passes(self.halo.around(x, "applied", 1)))

    def diagonal(self) -> Tensor:
        """Return the diagonal at the unknowns of the slab, shape ``(*unknowns)``."""
        halo = self.halo
        return self.A.diagonal().expand(halo.box.shape).narrow(0, halo.before, halo.planes)

    def room(self, name: str, batch: int) -> tuple[Tensor, Tensor]:
        """Return memory that was used before for the same, with a halo and without; see ``Fused.room``."""
        wide = self.halo.room(name, batch)
        own = self.halo.own(wide)
        return wide, own if own.is_contiguous() else torch.empty_like(own)

    def energies(self, z: Tensor, r: Tensor, e: Tensor | None) -> Tensor:
        """Return products and energies over all slabs, see ``Fused.energies``; on cuts z becomes the same."""
        z, r = self.halo.agreed(z, "z"), self.halo.home(r, "residual")
        given = None if e is None else self.halo.home(e, "direction")
        return self.halo.cuts.summed(self.passes.energies(z, r, given))

    def combine(
        self, lengths: tuple[Any, Any], gains: Tensor, z: Tensor, first: bool, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make the next direction, and add it to u; of all slabs are the largest; see ``Fused.combine``."""
        e, *own = self.passes.combine(lengths, gains, self.halo.home(z, "z"), first, u)
        of_e, of_u = self.halo.cuts.largest(torch.stack(own))
        return self.halo.own(self.halo.keep("direction", e)), of_e, of_u

    def own(self, local: Operator) -> Operator:
        """Return the operator of a slab in the memory of this one, with whole rows on cuts."""
        begin, cells, A = self.halo.before, local.box.cells[0], self.A
        if isinstance(local, CellStiffness):
            return CellStiffness(local.box, A.a.narrow(0, begin, cells), local.reaction)  # type: ignore[attr-defined]
        assert isinstance(local, StencilStiffness)
        frame = A.frame.narrow(1, begin, cells + 3)
        return StencilStiffness.framed(
            local.box, frame, local.singular, local.hold, local.sums, local.gaps, local.uneven
        )

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


def missing(A: SlabOperator, x: Tensor, b: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    """Write (b − A x) times a factor of each row, in any precision, and return its norm, shape (batch,).

    All is that of a slab; each adds up what both have on cuts before it is rounded. The passes are those of
    its own cells.
    """
    passes, cuts, place = A.local.passes, A.cuts, A.cuts.place
    assert passes is not None
    last, one = x.shape[place] - 1, torch.ones_like(factors)
    ends = [torch.empty_like(b.narrow(place, at, 1)) for at in (0, last)]
    for at, end in zip((0, last), ends, strict=True):
        passes.missing(x, b, one, end, (at, at + 1))
    got = cuts.swapped(*ends)
    sums = passes.missing(x, b, factors, out, (int(cuts.low), last + 1 - int(cuts.high)))
    for at, end, other in zip((0, last), ends, got, strict=True):
        if other is not None:
            # Both have counted the load; the sum is the same on both sides to the last bit.
            whole = (end + other - b.narrow(place, at, 1)) * factors.reshape(-1, *[1] * (b.ndim - 1))
            out.narrow(place, at, 1).copy_(whole)
            sums += whole.double().square().flatten(1).sum(1) if at else 0.0
    return cuts.summed(sums).sqrt()
