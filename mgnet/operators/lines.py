"""Line relaxation: all unknowns of a line at once, by elimination, every second line and then the others.

Where neighbours along one axis are tied much more strongly than along the others, relaxing one unknown after
the other does nothing to an error that varies along the others only. Relaxing lines does.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property, reduce
from operator import and_

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import frames, loops
from .axes import Axis
from .boxes import Box
from .contract import Map, Operator, residual
from .sweeps import LineSweeps

__all__ = ["Lines", "Tridiagonal"]

# Lines along an axis are left out where its ties are weaker than the strongest by this factor at every node.
WEAK = 0.1
# Pivots that are smaller than the diagonal by this, in units of its rounding, are nothing but rounding.
LOST = 4


class Tridiagonal:
    """The inverse of symmetric tridiagonal matrices, many at once, along the last axis.

    Every odd unknown is eliminated, then of those that are left every odd one again, and so on: it takes as
    many steps as a number of unknowns can be halved. Where a row is zero the inverse gives zero; where
    nothing holds a part of a line, one of its diagonal entries counts twice.

    Parameters
    ----------
    diagonal : torch.Tensor, shape ``(..., m)``
        The diagonals.
    ties : torch.Tensor, shape ``(..., m - 1)``
        The entries beside them.
    joined : torch.Tensor, shape ``(...)``, optional
        The entry between the last unknown and the first, of at least three, which are neighbours then.
    """

    def __init__(self, diagonal: Tensor, ties: Tensor, joined: Tensor | None = None) -> None:
        self.joined = joined
        if joined is not None:
            # Without the entry, and definite all the more; what that changes has rank one.
            diagonal = diagonal.clone()
            diagonal[..., [0, -1]] -= joined[..., None]
        size = diagonal.shape[-1]
        own = diagonal = diagonal.masked_fill(diagonal == 0, torch.inf)
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []
        while diagonal.shape[-1] > 1:
            diagonal, ties = self._eliminate(_held(diagonal, own), ties)
            own = own[..., ::2]
        self.last = _held(diagonal, own)
        if joined is not None:
            ends = torch.zeros(*joined.shape, size, dtype=diagonal.dtype, device=diagonal.device)
            ends[..., [0, -1]] = 1
            self.ends = self._solve(ends)
            self.share = joined / (1 + joined * self.ends[..., [0, -1]].sum(-1))

    def _eliminate(self, diagonal: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
        """Keep what every odd unknown takes from its neighbours; give what is left of the matrices."""
        odd = diagonal[..., 1::2]
        low, high = ties[..., ::2], pad(ties[..., 1::2], (0, odd.shape[-1] - ties[..., 1::2].shape[-1]))
        left, right = low / odd, high / odd
        self.steps.append((odd, left, right))
        even = diagonal[..., ::2].clone()
        even[..., : odd.shape[-1]] -= left * low
        even[..., 1:] -= (right * high)[..., : even.shape[-1] - 1]
        return even, -(left * high)[..., : even.shape[-1] - 1]

    def __call__(self, b: Tensor) -> Tensor:
        """Solve for loads of shape ``(N, 1, ..., m)``."""
        x = self._solve(b)
        if self.joined is not None:
            x = x - (self.share * x[..., [0, -1]].sum(-1))[..., None] * self.ends
        return x

    def _solve(self, b: Tensor) -> Tensor:
        loads = []
        for odd, left, right in self.steps:
            b_odd, b = b[..., 1::2], b[..., ::2].clone()
            b[..., : odd.shape[-1]] -= left * b_odd
            b[..., 1:] -= (right * b_odd)[..., : b.shape[-1] - 1]
            loads.append(b_odd)
        x = b / self.last
        for (odd, left, right), b_odd in zip(reversed(self.steps), reversed(loads), strict=True):
            count, whole = odd.shape[-1], x.new_empty((*x.shape[:-1], x.shape[-1] + odd.shape[-1]))
            beyond = pad(x[..., 1:], (0, count - x.shape[-1] + 1))
            whole[..., ::2] = x
            whole[..., 1::2] = b_odd / odd - left * x[..., :count] - right * beyond
            x = whole
        return x


def _held(pivots: Tensor, diagonal: Tensor) -> Tensor:
    """Give pivots, those that are nothing but rounding with the diagonal added."""
    lost = pivots <= LOST * torch.finfo(pivots.dtype).eps * diagonal
    return torch.where(lost, pivots + diagonal, pivots)


class Lines:
    """Line relaxation, in zebra order, along the strongly tied axes in turn; see :class:`.Smoother`.

    In space the lines along an axis have four colours, since stencils have corners. New nodes, which the
    coarse grid lacks, come last before the coarse correction. After it the order is the reverse, so that a
    cycle is symmetric. An axis is left out where its ties are
    weak at every node: cells may be flat here and tall there.

    Parameters
    ----------
    A : Operator
        The operator, of which it takes the entries.

    Attributes
    ----------
    whole : bool
        That it is made of the operator, not of its diagonal.
    colours : list of (int, tuple of slice)
        The axis of lines, and which unknowns along the other axes have lines that are relaxed at a time.
    """

    whole = True

    def __init__(self, A: Operator) -> None:
        self.A, self.box, self.frame = A, A.box, frames.joined(A.frame, A.box)
        whole = [axis for axis in range(A.box.dim) if A.box.shape[axis] == math.prod(A.box.shape)]
        self.loose = whole if whole and A.loose else []
        strong = _strong(self.frame, A.box)
        self.colours = [(axis, colour) for axis in strong for colour in _of_lines(A.box, axis)]

    @cached_property
    def inverses(self) -> list[Tridiagonal]:
        """The inverses of the matrices of the lines, of one colour after the other."""
        found = []
        for axis, group in itertools.groupby(self.colours, lambda pair: pair[0]):
            diagonal, ties, joined = self._along(axis)
            for _, colour in group:
                ends = None if joined is None else joined[colour]
                found.append(Tridiagonal(diagonal[colour], ties[colour], ends))
        return found

    def _along(self, axis: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give the diagonals of all lines along an axis, their ties, and the ties between joined ends."""
        own = self.box.axes[axis]
        diagonal, between = self._entries(axis, 0), self._entries(axis, 1)[..., : own.cells]
        diagonal = own.chain.unknowns(diagonal)
        joined = between[..., -1] if own.periodic else None
        ties = between[..., own.chain.first : own.chain.first + own.unknowns - 1]
        if own.periodic and own.cells < 3:
            # A lone joined node is its own neighbour, and two are neighbours twice.
            diagonal = diagonal + 2 * between if own.cells == 1 else diagonal
            ties, joined = (ties if own.cells == 1 else between.sum(-1, keepdim=True)), None
        if axis in self.loose:
            diagonal = diagonal.clone()
            diagonal[..., :1] *= 2  # what nothing holds cannot be solved for
        return diagonal, ties, joined

    def _entries(self, axis: int, step: int) -> Tensor:
        """Give the entries between nodes of lines, a step apart along them, of all unknowns beside."""
        # A lone joined node is its own neighbour.
        lone = [other.periodic and other.cells == 1 for other in self.box.axes]
        choices = [(step,) if i == axis else (-1, 0, 1) if alone else (0,) for i, alone in enumerate(lone)]
        total = reduce(
            torch.add, (frames.entry(self.frame, self.box, each) for each in itertools.product(*choices))
        )
        for i, other in enumerate(self.box.axes):
            total = total if i == axis else other.chain.unknowns(total, i - self.box.dim)
        return total.movedim(axis, -1)

    @cached_property
    def _sweeps(self) -> LineSweeps | None:
        """The same as compiled loops have it, if they do."""
        few = any(axis.periodic and axis.cells < 3 for axis in self.box.axes)
        if self.box.dim == 1 or few or self.loose or not math.prod(self.box.shape):
            return None
        whole = slice(None)  # lines have all unknowns along their axis
        colours = [(axis, (*some[:axis], whole, *some[axis:])) for axis, some in self.colours]
        return LineSweeps(self.box, self.frame, colours)

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`.Smoother`. With ``post`` the lines come in reverse order."""
        if A is self.A and loops.apply_to(self.frame, x, b) and self._sweeps:
            return self._sweeps(x, b, sweeps, post)
        x = torch.zeros_like(b) if x is None else x.clone()
        steps = list(zip(self.colours, self.inverses, strict=True))
        for _ in range(sweeps):
            for (axis, colour), inverse in reversed(steps) if post else steps:
                r = residual(A, x, b).movedim(axis + 2, -1)[(..., *colour, slice(None))]
                x.movedim(axis + 2, -1)[(..., *colour, slice(None))] += inverse(r)
        return x


def _of_lines(box: Box, axis: int) -> list[tuple[slice, ...]]:
    """Give the colours of the lines along an axis, as unknowns of the others."""
    others = [other for i, other in enumerate(box.axes) if i != axis]
    return list(itertools.product(*map(_colours, others)))


def _colours(axis: Axis) -> list[slice]:
    """Give every second unknown, those that coarse grids have before the others, as for :class:`.RedBlack`.

    Where an odd number is joined, the last is alone.
    """
    count, new = axis.unknowns, int(axis.ends[0] != "dirichlet")
    pairs = count - (axis.periodic and count % 2)
    slices = slice(pairs, count), slice(1 - new, pairs, 2), slice(new, pairs, 2)
    return [some for some in slices if range(count)[some]]


def _strong(frame: Tensor, box: Box) -> list[int]:
    """Give the axes whose ties are not weak at every node; all where there are no ties."""
    ties = frames.ties(frame, box)
    strong = [(tie > 0) & reduce(and_, (tie >= WEAK * other for other in ties)) for tie in ties]
    return [axis for axis, where in enumerate(strong) if where.any()] or list(range(box.dim))
