"""An operator on slabs of a box, one for each process: what each has of it, and what they tell each other.

Each process has the matrix of the cells of its slab, and these add up to that of the box, :eq:`slabs`. A node
on a cut belongs to two slabs. Both have the same value there; of a load each first has a part, and once they
have given each other the plane of the cut, both have the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from . import frames, loops
from .boxes import Box
from .cells import CellStiffness
from .contract import Interpolation, Map, Operator, lost_in_entries, residual
from .cuts import Cuts
from .entries import NodalOperator, StencilStiffness
from .interpolation import HatProlongation, NodeProlongation
from .stiffness import Stiffness
from .weighted import UNEVEN, WeightedStiffness

if TYPE_CHECKING:
    from .halos import Wide

__all__ = ["Kind", "SlabInterpolation", "SlabOperator"]


class Kind(NamedTuple):
    """What slabs have agreed on: whether compiled loops have operators of one kind in all of them.

    ``reacts`` says whether c or Robin's alpha add entries in any, and ``ties`` whether to neighbours too.
    """

    same: bool
    reacts: bool
    ties: bool

    @classmethod
    def of(cls, local: Operator, cuts: Cuts) -> Kind:
        """Ask all."""
        kinds = (Stiffness, CellStiffness, NodalOperator)
        kind = next((float(i) for i, each in enumerate(kinds) if isinstance(local, each)), -1.0)
        reaction = getattr(local, "reaction", None)
        unable = kind < 0 or not loops.apply_to(*local.numbers)
        found = map(float, (unable, reaction is not None, bool(reaction and reaction.pairs)))
        high, low, *said = cuts.most(kind, -kind, *found)
        return cls(high == -low and not said[0], bool(said[1]), bool(said[2]))


class SlabOperator:
    """An operator V → V′ of a box of which each process has a slab: what cycles and smoothers ask of one.

    Unknowns are those of the slab, both cuts included; values and loads on cuts are whole.

    Parameters
    ----------
    local : Operator
        The operator of the cells of this slab, with natural ends at cuts.
    entire : Box
        The whole box.
    cuts : Cuts
        The neighbours.
    """

    shared = True

    def __init__(self, local: Operator, entire: Box, cuts: Cuts) -> None:
        self.local, self.entire, self.cuts = local, entire, cuts
        self.gaps = local.gaps
        self.wide: Wide | None = None
        self.multiple: tuple[SlabOperator, float] | None = None

    @classmethod
    def of(cls, local: Operator, entire: Box, cuts: Cuts) -> SlabOperator:
        """Return the finest operator; where all cells are met by weights, their box is fitted to all."""
        uneven = False
        if isinstance(local, WeightedStiffness):
            pairs = [numbers for pair in local.ratios for numbers in (pair[0], -pair[1])]
            found = cuts.most(*pairs)
            uneven = any(high > -UNEVEN * low for high, low in zip(found[::2], found[1::2], strict=True))
            local.__dict__["uneven"] = uneven
            if not uneven:
                ties = cuts.sums(*local.ties)
                local.box, entire = local.box.stretched(ties), entire.stretched(ties)
        return cls(local, entire, cuts)

    @property
    def box(self) -> Box:
        """The cells of this slab."""
        return self.local.box

    @property
    def passes(self) -> Wide | None:
        """The operator as compiled loops have it, where slabs have a halo."""
        return self.wide

    @cached_property
    def kind(self) -> Kind:
        """What all slabs agree on, of their operators."""
        return Kind.of(self.local, self.cuts)

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device, as keywords."""
        return self.local.like

    @property
    def uneven(self) -> bool:
        """Whether cells are flat here and tall there."""
        return self.local.uneven

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values at the unknowns of this slab, shape ``(N, 1, *unknowns)``."""
        if self.wide:
            return self.wide(x)
        return self.cuts.assemble(self.local(x))  # eq: slabs

    def residual(self, x: Tensor, b: Tensor) -> Tensor:
        """Return b − A x, in memory of its own."""
        if self.wide:
            return b - self(x)
        return self.cuts.assemble(residual(self.local, x, b), twice=b)

    def part_of_residual(self, x: Tensor, b: Tensor) -> Tensor:
        """Return what this slab adds to b − A x, without a message."""
        return self.cuts.halve(residual(self.local, x, b), b)

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return what this slab adds to the loads of all its nodes, shape ``(N, 1, *nodes)``."""
        return self.local.at_nodes(u)

    def kept(self, x: Tensor) -> Tensor:
        """Return values or loads; all unknowns have an equation."""
        return x

    def diagonal(self) -> Tensor:
        """Return the diagonal at the unknowns of this slab; see ``Operator.diagonal``."""
        return self._diagonal

    @cached_property
    def _diagonal(self) -> Tensor:
        if self.multiple is not None:
            of, factor = self.multiple  # which needs no second message
            return (factor * of.diagonal()).to(self.like["dtype"])
        if isinstance(self.local, Stiffness) and not (self.cuts.ring and self.entire.axes[0].last):
            form = self.local.form
            found = torch.from_numpy(self._beyond.diagonal(form.a, form.c, form.lumped))
            return found.to(**self.like)
        if self.wide:
            return self.wide.diagonal()
        return self.cuts.assemble(self.local.diagonal().expand(self.box.shape).clone())

    @property
    def _beyond(self) -> Box:
        """The cells of the slab and one more beyond each cut, where zero is given: so rows are whole."""
        first, *others = self.box.axes
        cut = self.cuts.low, self.cuts.high
        low, high = ("dirichlet" if at else end for end, at in zip(first.ends, cut, strict=True))
        return Box([replace(first, cells=first.cells + sum(cut), ends=(low, high)), *others])

    def total(self, x: Tensor) -> Tensor:
        """Return the sum over all unknowns of each row, shape ``(..., 1, ..., 1)``."""
        return self.cuts.summed(self.cuts.owned(x).sum(self.box.places, keepdim=True))

    def noise(self) -> Tensor:
        """Return random values at the unknowns, always the same, shape ``(1, 1, *unknowns)``."""
        return noise((1, 1, *self.box.shape), self.cuts, **self.like)

    @cached_property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A, the largest of all slabs': :eq:`slab-bound`."""
        return self.cuts.most(self.local.largest)[0]  # eq: slab-bound

    @cached_property
    def contrast(self) -> float:
        """How many times stronger a coupling is than another, anywhere in the box."""
        high, low = self.local.extremes
        high, low = self.cuts.most(high, -low)
        return high / -low if low else float("inf")

    @cached_property
    def smooth(self) -> bool:
        """Whether neighbouring couplings are alike, also across cuts."""
        smooth = self.local.smooth
        if isinstance(self.local, CellStiffness):
            a = self.local.a
            for own, other in self.cuts._planes(a):
                smooth = smooth and not bool(((own > 2 * other) | (other > 2 * own)).any())
        return not self.cuts.most(float(not smooth))[0]

    @cached_property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        return not self.cuts.most(float(not self.local.singular))[0]

    @cached_property
    def hold(self) -> float:
        """The energy of constants; infinite where a side is given."""
        if any("dirichlet" in ends for ends in self.entire.ends):
            return float("inf")
        if isinstance(self.local, StencilStiffness):
            return self.local.hold  # as was said of all
        ones = torch.ones((1, 1, *self.box.shape), **self.like)
        return self.cuts.sums(float(self.local(ones).sum()))[0]

    @cached_property
    def loose(self) -> bool:
        """Whether constants are mapped to zero, or to so little that entries may lose it to rounding."""
        if self.singular or self.hold == float("inf"):
            return self.singular
        diagonal = self.diagonal().expand(self.box.shape)
        return lost_in_entries(self.hold, self.total(diagonal), self.like["dtype"])

    def scaled(self, factor: float, dtype: torch.dtype) -> SlabOperator:
        """Return a multiple of the operator in another precision."""
        local = self.local.scaled(factor, dtype)
        found = SlabOperator(local, self.entire, self.cuts)
        # What is known of all slabs needs no second message.
        found.__dict__.update(singular=self.singular, smooth=self.smooth, kind=self.kind)
        found.multiple = self, factor
        return found

    def cubic(self, chosen: Sequence[bool]) -> Map | None:
        """Return a more exact interpolation from the box that is coarser along some axes, if there is one."""
        return HatProlongation(self.box, chosen).cubic if isinstance(self.local, Stiffness) else None

    def coarsened(self, chosen: Sequence[bool], cuts: Cuts) -> tuple[SlabOperator, Interpolation]:
        """Return R A P for the box that is coarser along some axes, and P on this slab.

        ``cuts`` are those of the coarser grid. New nodes on a cut are weighted by whole rows of A; of the
        product each slab has a part again.
        """
        if isinstance(self.local, Stiffness):
            local, form = self.local, self.local.form
            if self.wide:  # whose passes know the hats
                P: Interpolation = HatProlongation(self.box, chosen, **self.like)
                how: Any = {"robin": form.robin, "lumped": form.lumped, **self.like}
                local = Stiffness.of(self.box.coarse(chosen), form.a, form.c, **how)
            else:
                local, P = local.coarsened(chosen)
            return SlabOperator(local, self.entire.coarse(chosen), cuts), P
        assert isinstance(self.local, NodalOperator)
        P = NodeProlongation(self.local, chosen, self._rows())
        coarse = self.local.product(P)  # eq: slab-product
        coarse._singular, coarse._hold = self.singular, self.hold
        entire = self.entire.coarse(chosen)
        if not self.uneven:
            ties = cuts.sums(*coarse.ties)
            coarse.box, entire = coarse.box.stretched(ties), entire.stretched(ties)
        found = SlabOperator(coarse, entire, cuts)
        found.__dict__["singular"] = self.singular
        return found, P

    def settle(self) -> None:
        """Let the numbers of a slab be a view of those with a halo, once coarser grids are made."""
        if self.wide and isinstance(self.local, StencilStiffness | CellStiffness):
            self.local = self.wide.own(self.local)

    def _rows(self) -> _Rows:
        """Give its whole rows: those that are there, or what neighbours add to those of the cells."""
        if self.wide:
            return _Rows(self.box, *self.wide.rows())
        local: Any = self.local
        frame = _framed(local.frame.clone(), self.box, self.cuts)
        return _Rows(self.box, frame, _assembled_sums(local.sums, self.cuts))


class _Rows:
    """Whole rows of an operator at the nodes of a slab, those on cuts included."""

    def __init__(self, box: Box, frame: Tensor, sums: Tensor | None) -> None:
        self.box, self.frame, self.sums = box, frame, sums

    def joined(self, field: Tensor) -> Tensor:
        """Add up what the two nodes of joined ends have, for both."""
        return NodalOperator.joined(self, field)  # type: ignore[arg-type]

    def entries(self) -> Callable[[tuple[int, ...]], Tensor]:
        """Give the entries between each node and its neighbour in a direction."""
        frame = frames.joined(self.frame, self.box)
        return lambda step: frames.entry(frame, self.box, step)


def _framed(frame: Tensor, box: Box, cuts: Cuts) -> Tensor:
    """Add what neighbours have of nodes on cuts, and write what is past them; in its own memory."""
    nodes = frames.whole(frame, box).movedim(1, 0)
    below, above = cuts.swapped(nodes[1:3].contiguous(), nodes[-3:-1].contiguous())
    if below is not None:
        nodes[1] += below[1]
        nodes[0] = below[0]
    if above is not None:
        nodes[-2] += above[0]
        nodes[-1] = above[1]
    return frame


def _assembled_sums(sums: Tensor | None, cuts: Cuts) -> Tensor | None:
    """Return whole row sums at the nodes of a slab; in the memory of one number where all are zero."""
    if sums is None:
        return None
    zero = not any(sums.stride())
    if not cuts.most(float(not zero))[0]:
        return sums
    return cuts.assemble(sums.clone(memory_format=torch.contiguous_format))


class SlabInterpolation:
    """Interpolation from the coarser grid of a slab, and restriction, whose loads are made whole.

    Parameters
    ----------
    P : Interpolation
        That of the slab.
    fine, coarse : Cuts
        The neighbours on both grids.
    """

    def __init__(self, P: Interpolation, fine: Cuts, coarse: Cuts) -> None:
        self.P, self.R, self.fine, self.coarse = P, P.T, fine, coarse

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values at the coarse unknowns of the slab."""
        return self.P(e)

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict a load."""
        return self.collected(self.fine.halve(b.clone(), b))

    def collected(self, part: Tensor) -> Tensor:
        """Restrict what this slab has of a load, and add what the others have."""
        return self.coarse.assemble(self.R(part))

    @property
    def T(self) -> Map:
        """The restriction."""
        return self.restrict


def noise(shape: tuple[int, ...], cuts: Cuts, dtype: torch.dtype, device: Any) -> Tensor:
    """Return random values at the unknowns of a slab, always the same, on cuts the same for both."""
    generator = torch.Generator("cpu").manual_seed(cuts.processes.rank)
    e = torch.randn(shape, generator=generator, dtype=dtype, device="cpu").to(device)
    return cuts.agree(e)
