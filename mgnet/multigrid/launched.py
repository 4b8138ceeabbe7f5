"""A chain of cells by elimination in Triton: two launches a level, for any conductances and row sums.

Blocks of 32 cells become one, level after level, until one cell is left, and all values are found on the way
back, :eq:`elimination`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import eliminations

__all__ = ["CELLS", "solve"]

# Cells of a block.
CELLS = eliminations.CELLS


def solve(k: Tensor, s: Tensor | None, b: Tensor, ends: tuple[str, str], given: Tensor, u: Tensor) -> Tensor:
    """Solve for loads, in place.

    Parameters
    ----------
    k, s : torch.Tensor, shape (cells,) and (cells + 1,)
        The conductance of each cell and the row sum of each node; none where all are zero.
    b : torch.Tensor, shape (rows, unknowns)
        Loads.
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    given : torch.Tensor of float64, shape (1 or rows, 2)
        The values of Dirichlet ends, and Robin's alpha of natural ones.
    u : torch.Tensor, shape (rows, cells + 1)
        What the values at all nodes are written into.

    Returns
    -------
    torch.Tensor
        The values of the ends of all blocks, in float64, of which each load has its part.
    """
    ops, rows, kept = torch.ops.mgnet, len(b), list[tuple[Tensor, Tensor, int]]()
    loads, sums = b[:, None], k.new_empty((0, len(k) + 1)) if s is None else s[None]
    at = -int(ends[0] == "dirichlet")
    while len(k) > 1:
        nodes = len(k) + 1
        weights, share, k, sums, loads = ops.eliminate(k, sums, loads, at)
        kept.append((weights, share, nodes))
        at = 0
    coarse = found = ops.close(k, sums, loads, at, given, *ends)
    while kept:
        weights, share, nodes = kept.pop()
        coarse, found = found, found.new_empty((rows, nodes)) if kept else u
        ops.fill(found, coarse, weights, share)
    if found is not u:
        u[:] = found
    return coarse
