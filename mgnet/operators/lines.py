"""Line relaxation: all unknowns of a line at once, by elimination, every second line and then the others.

Where neighbours along one axis are tied much more strongly than along the others, relaxing one unknown after
the other does nothing to an error that varies along the others only. Relaxing lines does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .boxes import Box
from .contract import Map, Operator, residual

__all__ = ["Lines", "Tridiagonal"]

# Lines along an axis are left out where its ties are weaker than the strongest by this factor.
WEAK = 0.1


class Tridiagonal:
    """The inverse of symmetric tridiagonal matrices, many at once, along the last axis.

    Every odd unknown is eliminated, then of those that are left every odd one again, and so on: it takes as
    many steps as a number of unknowns can be halved.

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
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []
        while diagonal.shape[-1] > 1:
            diagonal, ties = self._eliminate(diagonal, ties)
        self.last = diagonal
        if joined is not None:
            ends = torch.zeros(*joined.shape, size, dtype=diagonal.dtype, device=diagonal.device)
            ends[..., [0, -1]] = 1
            self.ends = self._solve(ends)
            self.share = joined / (1 + joined * self.ends[..., [0, -1]].sum(-1))

    def _eliminate(self, diagonal: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
        """Keep what every odd unknown takes from its neighbours; give what is left of the matrices."""
        odd = diagonal[..., 1::2]
        left = ties[..., ::2] / odd
        right = pad(ties[..., 1::2], (0, odd.shape[-1] - ties[..., 1::2].shape[-1])) / odd
        self.steps.append((odd, left, right))
        even = diagonal[..., ::2].clone()
        even[..., : odd.shape[-1]] -= left * left * odd
        even[..., 1:] -= (right * right * odd)[..., : even.shape[-1] - 1]
        return even, -(left * right * odd)[..., : even.shape[-1] - 1]

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


class Lines:
    """Line relaxation, in zebra order, along the strongly tied axes in turn; see :class:`.Smoother`.

    In space the lines along an axis have four colours, since stencils have corners. After the coarse
    correction the order is the reverse, so that a cycle is symmetric.

    Parameters
    ----------
    A : Operator
        The operator, of which it takes the entries along each axis.

    Attributes
    ----------
    whole : bool
        That it is made of the operator, not of its diagonal.
    """

    whole = True

    def __init__(self, A: Operator) -> None:
        ties = [_tie(A, axis) for axis in range(A.box.dim)]
        self.steps: list[tuple[int, Any, Tridiagonal]] = []
        for axis in range(A.box.dim):
            if ties[axis] < WEAK * max(ties):
                continue
            diagonal, between = _along(A, axis)
            if A.loose and A.box.shape[axis] == math.prod(A.box.shape):
                diagonal = diagonal.clone()
                diagonal.movedim(axis, 0)[:1] *= 2  # what nothing holds cannot be solved for
            self.steps += self._of_axis(A.box, axis, diagonal, between)

    def _of_axis(self, box: Box, axis: int, diagonal: Tensor, between: Tensor) -> Iterator[Any]:
        """Give the matrices of all lines along an axis, of one colour after the other."""
        diagonal, between = diagonal.movedim(axis, -1), between.movedim(axis, -1)
        own = box.axes[axis]
        joined = between[..., -1] if own.periodic else None
        ties = between[..., own.chain.first : own.chain.first + own.unknowns - 1]
        if own.periodic and own.cells < 3:
            # A lone joined node is its own neighbour, and two are neighbours twice.
            diagonal = diagonal + 2 * between if own.cells == 1 else diagonal
            ties, joined = (ties if own.cells == 1 else between.sum(-1, keepdim=True)), None
        # Nothing holds a lone node on which there is nothing.
        diagonal = diagonal.masked_fill(diagonal == 0, torch.inf)
        others = [other for i, other in enumerate(box.axes) if i != axis]
        for colour in itertools.product(*(_colours(other) for other in others)):
            yield (
                axis,
                colour,
                Tridiagonal(diagonal[colour], ties[colour], None if joined is None else joined[colour]),
            )

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`.Smoother`. With ``post`` the lines come in reverse order."""
        x = torch.zeros_like(b) if x is None else x.clone()
        for _ in range(sweeps):
            for axis, colour, inverse in reversed(self.steps) if post else self.steps:
                r = residual(A, x, b).movedim(axis + 2, -1)[(..., *colour, slice(None))]
                x.movedim(axis + 2, -1)[(..., *colour, slice(None))] += inverse(r)
        return x


def _colours(axis: Any) -> list[slice]:
    """Give every second unknown, and the others; where an odd number is joined, the last is alone."""
    count = axis.unknowns
    odd = axis.periodic and count % 2 == 1
    slices = [slice(0, count - odd, 2), slice(1, count, 2), slice(count - odd, count)]
    return [some for some in slices if some.start < count and some.start < some.stop]


def _tie(A: Operator, axis: int) -> float:
    """Give the energy of the numbers of the nodes along an axis, which is the sum of all ties along it."""
    numbers = torch.arange(A.box.cells[axis] + 1.0, **A.like) - A.box.cells[axis] / 2
    shape = [n + 1 for n in A.box.cells]
    u = numbers.reshape(-1, *[1] * (A.box.dim - 1 - axis)).expand(shape)[None, None].contiguous()
    return float((u * A.at_nodes(u)).sum())


def _along(A: Operator, axis: int) -> tuple[Tensor, Tensor]:
    """Give the diagonal, at unknowns, and the entries between neighbours along an axis, one for each cell.

    Of these the other axes have unknowns. They are found by applying A to every third node along the axis,
    and to every second along the others.
    """
    box, like = A.box, A.like
    shape = [n + 1 for n in box.cells]
    diagonal, between = torch.zeros(shape, **like), torch.zeros(shape, **like)
    periods = [3 if i == axis else 2 for i in range(box.dim)]
    for i, other in enumerate(box.axes):
        if i != axis and other.periodic and other.cells == 1:
            periods[i] = 1  # both its nodes are one
    for colour in itertools.product(*map(range, periods)):
        nodes: tuple[Any, ...] = tuple(
            slice(first, None, period) for first, period in zip(colour, periods, strict=True)
        )
        e = torch.zeros((1, 1, *shape), **like)
        e[(..., *nodes)] = 1
        y = A.at_nodes(e)[0, 0]
        diagonal[nodes] = y[nodes]
        behind = y.narrow(axis, 1, shape[axis] - 1)  # of each node what its right neighbour has
        before: tuple[Any, ...] = tuple(
            slice(some.start, shape[i] - (i == axis), some.step) for i, some in enumerate(nodes)
        )
        between[before] = behind[before]
    between = between.narrow(axis, 0, shape[axis] - 1)
    for i, other in enumerate(box.axes):
        diagonal = other.chain.loads(diagonal, i - box.dim)
        if i != axis:
            between = other.chain.loads(between, i - box.dim)
    return diagonal, between
