"""Interpolation in a box: that of hats, and that which the operator dictates, with the coarse operator R A P.

There a new node is the equilibrium of its neighbours, :eq:`equilibrium`: along an edge of a coarse cell the
stencil is first summed across the edge, so that one equation with two neighbours is left; inside a face or a
cell the nodes around are known by then. Where the coefficient jumps, this keeps the flux and not the slope.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import frames, loops
from .axes import Axis
from .boxes import Box, three
from .contract import Interpolation, Map

__all__ = ["HatProlongation", "NodeProlongation", "galerkin_product"]

Index = tuple[Any, ...]
# A row sum of this part of the diagonal is known well enough from the entries.
REACTS = 1e-3
# How far weights may be from a sum of 1 by rounding, in units of the last place.
SUMMED = 64
# How many times its rounding the part of a diagonal is that is left of entries which cancel.
LOST = 4
# Along one axis: what stands where in the fine and in the coarse vector, and the new nodes, each with how
# far it lies between the two coarse nodes where no equilibrium along this axis is taken.
Pieces = tuple[list[tuple[slice, slice]], list[tuple[slice, float | None]]]


class HatProlongation(Interpolation):
    """Interpolation of hats in a box, along the axes that were coarsened.

    ``like`` are precision and device, for its matrix.
    """

    def __init__(self, box: Box, which: Sequence[bool], **like: Any) -> None:
        self.box, self.coarse, self.like = box, box.coarse(which), like
        pairs = zip(box.axes, box.places, which, strict=True)
        self.chosen = [(axis, place) for axis, place, chosen in pairs if chosen]

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values of shape ``(..., *coarse unknowns)``."""
        for axis, place in self.chosen:
            e = axis.interpolate(e, place)
        return e

    def cubic(self, e: Tensor) -> Tensor:
        """Interpolate values of shape ``(..., *coarse unknowns)`` by cubic polynomials."""
        for axis, place in self.chosen:
            e = axis.interpolate(e, place, cubic=True)
        return e

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads of shape ``(..., *unknowns)``."""
        for axis, place in self.chosen:
            b = axis.restrict(b, place)
        return b


class NodeProlongation(Interpolation):
    """Interpolation by equilibria, on all nodes of a box.

    Parameters
    ----------
    A : NodalOperator
        The operator of the fine box. Where it maps constants to zero, or almost, they are interpolated
        exactly, however much its entries differ.
    chosen : sequence of bool
        The axes that are coarsened.
    rows : optional
        What has the ``frame``, the ``sums`` and the ``entries`` that weights are taken from: A by default,
        or, where A is a part of an operator, whole rows of that.
    """

    def __init__(self, A: Any, chosen: Sequence[bool], rows: Any = None) -> None:
        self.box, self.coarse, self.like = A.box, A.box.coarse(chosen), A.like
        self.pieces = [_pieces(axis, some) for axis, some in zip(A.box.axes, chosen, strict=True)]
        self.A, self.chosen, self.rows = A, tuple(chosen), rows or A

    @cached_property
    def sums(self) -> Tensor | None:
        """What the fine operator makes of the function 1; None where nothing but entries tells."""
        return self.A.sums

    @cached_property
    def joined(self) -> Tensor | None:
        """The same with what both nodes of joined ends have."""
        return None if self.rows.sums is None else self.rows.joined(self.rows.sums)

    @cached_property
    def steps(self) -> list[_Weighted]:
        """New nodes, and how they follow from others, in an order that has those before."""
        return list(self._steps(self.rows))

    @cached_property
    def compiled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights, where those of a row begin, and the axes: see :mod:`mgnet.kernels.transfers`."""
        return self._weights(self.rows.frame)

    def _weights(self, frame: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        from ..kernels.equilibria import weigh

        axes = frames.described(self.box, self.chosen)
        start, size = frames.row_starts(axes)
        (E,) = loops.arrays(frames.joined(frame, self.box))
        weights, places = np.empty(size, E.dtype), frames.places(self.box, self.chosen, E.dtype)
        numbers = E, self._sums(self.joined), axes, places, start, weights
        loops.shared(weigh, axes[0, 2] + axes[0, 4], E.size, *numbers)
        return weights, start, axes

    def _sums(self, sums: Tensor | None) -> np.ndarray:
        """Give row sums to compiled loops, which know by their shape where all are zero or not known."""
        kind = loops.kind(self.like["dtype"])
        if sums is None:
            return np.zeros((0, 0, 0), kind)
        if not any(sums.stride()):
            return np.zeros((1, 1, 1), kind)
        return loops.arrays(sums)[0].reshape(three(sums.shape, 1))

    def product(self) -> tuple[Tensor, Tensor | None]:
        """Return the entries of R A P, as :mod:`mgnet.kernels.entries` has them, and its row sums."""
        from ..kernels.entries import row_sums
        from ..kernels.galerkin import probe

        frame = self.A.frame
        own = self.rows is self.A
        weights, start, _ = self.__dict__["compiled"] = self._weights(frame if own else self.rows.frame)
        axes, C = frames.described(self.box, self.chosen, opened=True), frames.frame(self.coarse, self.like)
        E, entries = loops.arrays(frame, C)
        totals = self._sums(self.A.totals)
        if not totals.size:
            totals = np.empty(three([n + 1 for n in self.box.cells], 1), E.dtype)
            loops.shared(row_sums, len(totals), E.size, E, False, totals)
        loops.shared(probe, axes[0, 2] + axes[0, 4], E.size, E, totals, weights, start, axes, entries)
        return C, self._looped_sums(axes) if not self.A.gaps else self._exact_sums(self._over(axes))

    def _over(self, axes: np.ndarray) -> tuple[Map, Map]:
        """Return interpolation and restriction between all nodes, by loops."""
        from ..kernels import transfers

        def apply(way: Any, x: Tensor, shape: Sequence[int]) -> Tensor:
            y = x.new_zeros(list(shape))
            given, out = (z.reshape(1, *three(z.shape, 1)) for z in loops.arrays(x, y))
            way(*self.compiled[:2], axes, given, out, 0, out.shape[1])
            return y

        fine, coarse = ([n + 1 for n in box.cells] for box in (self.box, self.coarse))
        return lambda e: apply(transfers.spread, e, fine), lambda b: apply(transfers.gather, b, coarse)

    def _exact_sums(self, transfers: tuple[Map, Map]) -> Tensor:
        """Give the row sums of the coarse operator, by steps: zero wherever nothing holds constants."""
        interpolate, restrict = transfers
        if self.sums is not None and not bool(self.rows.sums.any()):
            return self.sums.new_zeros([n + 1 for n in self.coarse.cells])
        u = interpolate(torch.ones([n + 1 for n in self.coarse.cells], **self.like))
        # Weights sum to 1 but for rounding where row sums are zero.
        u = torch.where((u - 1).abs() <= SUMMED * torch.finfo(u.dtype).eps, 1.0, u)
        return restrict(self.A.assembled().steps(u))

    def _looped_sums(self, axes: np.ndarray) -> Tensor | None:
        """Give what :attr:`coarse_sums` does, by loops."""
        from ..kernels.transfers import gather

        if self.sums is None or not any(self.sums.stride()):
            return self.coarse_sums
        sums = self.sums.new_zeros([n + 1 for n in self.coarse.cells])
        given, out = (x.reshape(1, *three(x.shape, 1)) for x in loops.arrays(self.sums, sums))
        gather(*self.compiled[:2], axes, given, out, 0, out.shape[1])
        return sums

    def _steps(self, A: Any) -> Iterator[_Weighted]:
        entry = A.entries()
        kinds = [
            [(fine, None, False) for fine, _ in kept] + [(fine, t, True) for fine, t in new]
            for kept, new in self.pieces
        ]
        groups = itertools.product(*kinds)
        for group in sorted(groups, key=lambda group: sum(new for *_, new in group)):
            target = tuple(fine for fine, *_ in group)
            pulled = [axis for axis, (_, t, new) in enumerate(group) if new and t is None]
            placed = [(axis, t) for axis, (_, t, _) in enumerate(group) if t is not None]
            if pulled:
                yield _Weighted(target, _equilibrium(entry, target, pulled, self._own))
            elif placed:
                axis, t = placed[0]
                ends, whole = (slice(-4, -3), slice(-1, None)), entry((0,) * self.box.dim)
                weights = (whole.new_full((), w) for w in (1 - t, t))
                sources = [(_replaced(target, axis, end), w) for end, w in zip(ends, weights, strict=True)]
                yield _Weighted(target, sources)

    def _own(self, target: Index, pulls: Tensor, entry: Callable[[], Tensor]) -> Tensor:
        """Give what new nodes have in their own equations, which are the pulls of the others and the row sum.

        Entries may cancel so far that they do not know a row sum, and weights would not sum to one.
        """
        if self.joined is None:
            return entry()
        if not any(self.joined.stride()):
            return pulls  # all are zero
        sums, own = self.joined[target], entry()
        return torch.where(sums > REACTS * own.abs(), own, pulls + sums)

    @property
    def coarse_sums(self) -> Tensor | None:
        """The row sums of the coarse operator, where they are small; others are known from its entries."""
        if self.A.gaps:
            ways = (
                lambda e: self.at_nodes(e[None, None])[0, 0],
                lambda b: self.at_nodes_transposed(b[None, None])[0, 0],
            )
            return self._exact_sums(ways)
        if self.sums is None or not any(self.sums.stride()):
            return (
                None
                if self.sums is None
                else self.sums.new_zeros(()).expand([n + 1 for n in self.coarse.cells])
            )
        return self.at_nodes_transposed(self.sums[None, None].clone())[0, 0].clone()

    def at_nodes(self, e: Tensor) -> Tensor:
        """Interpolate values at all coarse nodes to all nodes."""
        u = e.new_zeros((*e.shape[:2], *(n + 1 for n in self.box.cells)))
        for fine, coarse in self._kept():
            u[fine] = e[coarse]
        for step in self.steps:
            step.interpolate(u)
        return u

    def at_nodes_transposed(self, b: Tensor) -> Tensor:
        """Restrict loads of all nodes, which are overwritten, to all coarse nodes."""
        for step in reversed(self.steps):
            step.restrict(b)
        coarse_b = b.new_zeros((*b.shape[:2], *(n + 1 for n in self.coarse.cells)))
        for fine, coarse in self._kept():
            coarse_b[coarse] = b[fine]
        return coarse_b

    def _kept(self) -> Iterator[tuple[Index, Index]]:
        for pieces in itertools.product(*(kept for kept, _ in self.pieces)):
            yield (..., *(fine for fine, _ in pieces)), (..., *(coarse for _, coarse in pieces))

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values of shape ``(N, 1, *coarse unknowns)``."""
        if loops.apply_to(e, *self.A.numbers):
            return self._looped(e, self.box.shape, "spread")
        return self.box.unknowns(self.at_nodes(self.coarse.nodes(e)))

    def _looped(self, x: Tensor, shape: Sequence[int], way: str) -> Tensor:
        from ..kernels import transfers

        y = x.new_zeros((*x.shape[:2], *shape))
        given, out = (z.reshape(len(z), *three(z.shape[2:], 1)) for z in loops.arrays(x, y))
        loops.shared(getattr(transfers, way), out.shape[1], out.size, *self.compiled, given, out)
        return y

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads of shape ``(N, 1, *unknowns)``."""
        if loops.apply_to(b, *self.A.numbers):
            return self._looped(b, self.coarse.shape, "gather")
        nodes = self.box.spread(b)
        return self.coarse.loads(self.at_nodes_transposed(b.clone() if nodes is b else nodes))


class _Weighted:
    """New nodes, the target, that are weighted sums of others.

    Each of the others comes with a weight for every new node or one for all.
    """

    def __init__(self, target: Index, sources: list[tuple[Index, Tensor]]) -> None:
        self.target, self.sources = target, sources

    def interpolate(self, u: Tensor) -> None:
        """Write the new values, which are zero before."""
        new = u[(..., *self.target)]
        for source, weight in self.sources:
            new.addcmul_(weight, u[(..., *source)])

    def restrict(self, b: Tensor) -> None:
        """Add the loads of the new nodes to those of the others."""
        new = b[(..., *self.target)]
        for source, weight in self.sources:
            b[(..., *source)].addcmul_(weight, new)


def _pieces(axis: Axis, chosen: bool) -> Pieces:
    if not chosen:
        return [(slice(None), slice(None))], []
    last = axis.cells - 2 * axis.pairs  # how many cells the last coarse one has, if it is no regular pair
    pairs = axis.pairs + (last == 2)
    kept = [(slice(0, 2 * pairs + 1, 2), slice(0, pairs + 1))]
    new: list[tuple[slice, float | None]] = [(slice(1, 2 * pairs, 2), None)] if pairs else []
    if last in (1, 3):
        kept.append((slice(axis.cells, None), slice(pairs + 1, None)))
    if last == 3:
        new += [(slice(node, node + 1), t) for node, t in axis.new_in_last]
    return kept, new


def _equilibrium(
    entry: Callable[[tuple[int, ...]], Tensor],
    target: Index,
    pulled: Sequence[int],
    own: Callable[..., Tensor],
) -> list[tuple[Index, Tensor]]:
    """Give the neighbours along some axes and their weights; along the others the stencil is summed."""
    dim = len(target)

    def summed(step: tuple[int, ...]) -> Tensor:
        ranges: list[tuple[int, ...]] = [(-1, 0, 1)] * dim
        for axis, s in zip(pulled, step, strict=True):
            ranges[axis] = (s,)
        return sum(entry(offset)[target] for offset in itertools.product(*ranges))  # type: ignore[return-value]

    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(pulled)) if any(step)]
    pulls = [-summed(step) for step in steps]
    total = own(target, sum(pulls), lambda: summed((0,) * len(pulled)))
    rounding = LOST * torch.finfo(total.dtype).eps * entry((0,) * dim)[target]
    unknown = total.abs() <= rounding
    found = []
    for step, pull in zip(steps, pulls, strict=True):
        source = target
        for axis, s in zip(pulled, step, strict=True):
            nodes = source[axis]
            source = _replaced(source, axis, slice(nodes.start + s, nodes.stop + s, nodes.step))
        # A node without an equation is between two others, so that constants stay what they are beside it.
        alone = 0.5 if any(step[-1:]) and not any(step[:-1]) else 0.0
        weight = pull.div_(total).masked_fill_(unknown, alone)  # eq: equilibrium
        # What is less than rounding is none: else a node without an equation would have one of noise.
        found.append((source, weight.masked_fill_(weight.abs() <= torch.finfo(weight.dtype).eps, 0.0)))
    return found


def _replaced(index: Index, axis: int, entry: Any) -> Index:
    return (*index[:axis], entry, *index[axis + 1 :])


def galerkin_product(A: Map, P: NodeProlongation, like: dict[str, Any]) -> dict[tuple[int, ...], Tensor]:
    """Return the entries of R A P, found by applying it to every third node at a time, :eq:`probing`.

    A is the fine operator at all nodes, and R the transpose of P. There are entries between each node and
    itself, and its neighbour in one of each two opposite directions, each of shape ``(*coarse nodes)``.
    """
    dim, shape = P.box.dim, [n + 1 for n in P.coarse.cells]
    fields = {step: torch.zeros(shape, **like) for step in frames.steps(dim)}
    for colour in itertools.product(range(3), repeat=dim):
        e = torch.zeros((1, 1, *shape), **like)
        ones: list[Any] = [slice(first, None, 3) for first in colour]
        e[(..., *ones)] = 1
        y = P.at_nodes_transposed(A(P.at_nodes(e)))[0, 0]  # eq: probing
        for step, field in fields.items():
            nodes = tuple(slice((first - s) % 3, None, 3) for first, s in zip(colour, step, strict=True))
            field[nodes] = y[nodes]
    return fields
