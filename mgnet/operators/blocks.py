"""The blocks of an operator along thin axes of a box, which stand in for its diagonal.

An axis of fewer than four cells is no longer coarsened. Where its cells are much narrower than the others,
neighbours along it are tied so strongly that a sweep which relaxes one unknown after the other moves none of
them. Blocks relax them all at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .contract import Operator

__all__ = ["BlockDiagonal", "BlockInverse"]

# What is added to the diagonal of a block, in units of its rounding.
ROUNDED = 8


class BlockDiagonal:
    """What an operator does along some axes, the thin ones, at each place along the others."""

    def __init__(self, A: Operator, thin: Sequence[bool]) -> None:
        self.box, self.like, self.gaps = A.box, A.like, A.gaps
        box = A.box
        # A lone joined cell ties its node to itself.
        lone = [axis.periodic and axis.cells == 1 for axis in box.axes]
        along = [flag or alone for flag, alone in zip(thin, lone, strict=True)]
        self.inside = [i for i, flag in enumerate(along) if flag]
        self.outside = [i for i, flag in enumerate(along) if not flag]
        self.matrices = self._of_unknowns(self._probed(A))

    def _probed(self, A: Operator) -> Tensor:
        """Apply the operator to every third node of the other axes at a time; (*others, *thin, *thin)."""
        sizes = [n + 1 for n in self.box.cells]
        thin, others = ([sizes[i] for i in some] for some in (self.inside, self.outside))
        found = torch.zeros((*others, *thin, *thin), dtype=torch.float64, device=A.like["device"])
        for column in itertools.product(*map(range, thin)):
            for colour in itertools.product(range(3), repeat=len(others)):
                e = torch.zeros((1, 1, *sizes), **A.like)
                places: list[Any] = [slice(first, None, 3) for first in colour]
                self._blocks_last(e)[(..., *places, *column)] = 1
                y = self._blocks_last(A.at_nodes(e))[0, 0]
                found[(*places, *[slice(None)] * len(thin), *column)] = y[tuple(places)].double()
        return found

    def _blocks_last(self, x: Tensor) -> Tensor:
        """Move the axes of the blocks behind the others."""
        order = [i - self.box.dim for i in (*self.outside, *self.inside)]
        return x.permute(*range(x.ndim - self.box.dim), *(x.ndim + place for place in order))

    def _of_unknowns(self, found: Tensor) -> Tensor:
        """Go from nodes to unknowns, shape ``(*others, block, block)``."""
        axes = [self.box.axes[i] for i in (*self.outside, *self.inside, *self.inside)]
        for place, axis in enumerate(axes, -len(axes)):
            found = axis.chain.loads(found, place)
        size = math.prod(self.box.axes[i].unknowns for i in self.inside)
        return found.reshape(*(self.box.axes[i].unknowns for i in self.outside), size, size)

    def reciprocal(self) -> BlockInverse:
        """Return the inverse."""
        return BlockInverse(self)


class BlockInverse:
    """The inverse of a :class:`BlockDiagonal`, applied to residuals of shape ``(N, 1, *unknowns)``."""

    def __init__(self, D: BlockDiagonal) -> None:
        self.D = D
        matrices, own = D.matrices, torch.diagonal(D.matrices, dim1=-2, dim2=-1)
        # Where a row is zero there is nothing to relax; rounding may leave others no inverse.
        if D.gaps:
            more = torch.where(own > 0, ROUNDED * torch.finfo(own.dtype).eps * own, 1.0 - own)
            matrices = matrices + torch.diag_embed(more)
        self.inverse = torch.linalg.inv(matrices).to(**D.like)
        self.inside = [i - D.box.dim for i in D.inside]

    def __call__(self, r: Tensor) -> Tensor:
        """Return what each block alone makes of a residual."""
        last = list(range(-len(self.inside), 0))
        blocks = r.movedim(self.inside, last)
        e = torch.matmul(self.inverse, blocks.flatten(last[0])[..., None])
        return e.reshape(blocks.shape).movedim(last, self.inside).contiguous()
