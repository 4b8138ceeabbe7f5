"""Chains of cells by elimination for a GPU: whole blocks of cells at once, in few operations.

A level is cut into blocks of 64 cells, and what is left of a chain at last is one block. All inner nodes of a
block are eliminated at once. Where cells are alike one small matrix has its Green's function and wide hats,
:eq:`block-green`, so that a level is two products of matrices, :eq:`block-solution`. Where they differ and
row sums are zero, resistances from the two ends of a block say the same: the value that a load makes at
another node is the product of two numbers, and sums from both ends give those of all loads,
:eq:`block-sums`. All terms are positive where the loads are, so no digit is lost.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent

__all__ = ["CELLS", "AlikeBlocks", "Cell", "DifferentBlocks", "alike", "different", "sizes"]

# Cells of a block, and of a chain that is one block.
CELLS, WHOLE = 64, 320
# Shorter chains are computed in float64, whatever the loads are: it takes no longer.
SHORT = 2**14
# Chains of equal cells whose matrices are kept.
KEPT = 32


class Cell(NamedTuple):
    """The last coarse grid: its conductance ``k / per``, and its row sums.

    On a GPU they may be tensors of one number.
    """

    k: Any
    left: Any
    right: Any
    per: Any = 1.0


class Block(NamedTuple):
    """A block without its inner nodes, in float64: what they do, and the cell that is left.

    Of the inner nodes the Green's function, and the values that the left and the right end give them.
    """

    green: np.ndarray
    left: np.ndarray
    right: np.ndarray
    cell: Cell


def sizes(cells: int) -> list[int]:
    """Give the number of cells of each level; the last is one cell."""
    if cells == 1:
        return [1]
    return [cells, *sizes(1 if cells <= WHOLE else -(-cells // CELLS))]


def eliminated(k: list[float], s: list[float]) -> Block:
    """Eliminate the inner nodes of a block from the conductances of its cells and its inner row sums.

    From the left end, which is held, to the right, each node conducts to it through those before; and so from
    the right. Nothing is subtracted.
    """
    m = len(k)
    from_left, to_right = _conducted(k, s)
    from_right, to_left = (x[::-1] for x in _conducted(k[::-1], s[::-1]))
    G = np.diag([1 / (x + y + z) for x, y, z in zip(from_left, from_right, s, strict=True)])
    for i in range(m - 3, -1, -1):
        G[i, i + 1 :] = to_right[i] * G[i + 1, i + 1 :]
    G += np.triu(G, 1).T
    left, right = np.cumprod(to_left), np.cumprod(to_right[::-1])[::-1]
    k_coarse = k[0] * right[0] if m > 1 else k[0]
    return Block(G.reshape(m - 1, m - 1), left, right, Cell(k_coarse, float(left @ s), float(right @ s)))


def _conducted(k: list[float], s: list[float]) -> tuple[list[float], list[float]]:
    """Give what each inner node conducts to the first end, and its value when the next one's is 1."""
    conducted, values, before = [], [], k[0]
    for sum_here, after in zip(s, k[1:], strict=True):
        held = before + sum_here
        conducted.append(before)
        values.append(after / (held + after))
        before = held * (after / (held + after))
    return conducted, values


class AlikeBlocks:
    """One level of cells that are alike, but for the last one, and for the last block, which may be short.

    Parameters
    ----------
    cells : int
        Number of cells.
    full, last : Block
        A block, and the last one.
    like
        Precision and device of the loads.
    """

    whole = False

    def __init__(self, cells: int, full: Block, last: Block, **like: Any) -> None:
        self.cells, self.blocks = cells, sizes(cells)[1]
        self.full, self.last = _matrices((full, True), (last, False), **like)
        self.size, self.dtype = len(full.left) + 1, like["dtype"]
        self.nodes = cells + 1

    def restrict(self, b: Tensor) -> tuple[Any, Tensor, Any, Any]:
        """Give what is kept for :meth:`correct`, the loads of the coarse nodes, and what both ends receive.

        b, shape ``(batch, cells - 1)``, are the loads of the inner nodes; there may be more entries.
        """
        b = b if b.dtype is self.dtype else b.to(self.dtype)
        (G, _), (G_last, _), first = self.full, self.last, (self.blocks - 1) * self.size
        own = torch.mm(b[:, first : self.cells - 1], G_last)
        if self.blocks == 1:
            return (None, own), own[:, :0], own[:, -2], own[:, -1]
        found = torch.bmm(b[:, :first].unflatten(1, (-1, self.size)), G.expand(len(b), *G.shape))
        low = torch.cat((found[:, 1:, -2], own[:, -2:-1]), 1)
        return (found, own), found[:, :, -1].double().add_(low), found[:, 0, -2], own[:, -1]

    def correct(self, kept: Any, coarse: Tensor, out: Tensor) -> None:
        """Write the values of all nodes but the first, given those of the coarse nodes."""
        if out.dtype is not self.dtype:  # of a short chain
            wide = out.new_empty(out.shape, dtype=self.dtype)
            self._correct(kept, coarse, wide)
            out[:, 1:] = wide[:, 1:]
        else:
            self._correct(kept, coarse.to(self.dtype), out)

    def _correct(self, kept: Any, coarse: Tensor, out: Tensor) -> None:
        (_, W), (_, W_last), first = self.full, self.last, (self.blocks - 1) * self.size + 1
        found, own = kept
        torch.addmm(own[:, :-2], coarse[:, -2:], W_last, out=out[:, first : self.nodes])
        if found is None:
            return
        ends = torch.stack((coarse[:, :-2], coarse[:, 1:-1]), -1)
        into = out[:, 1:first].unflatten(1, (-1, self.size))
        torch.baddbmm(found[:, :, :-2], ends, W.expand(len(ends), *W.shape), out=into)


def _matrices(*blocks: tuple[Block, bool], **like: Any) -> list[tuple[Tensor, Tensor]]:
    """Give blocks as two matrices: from loads to values and to what their ends receive, and from their ends.

    The values are those of all nodes but the left end; with True beside a block it has the right one's load.
    """
    arrays = [array for block in blocks for array in _arrays(*block)]
    numbers = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    parts = sent(numbers, like["device"], like["dtype"]).split([array.size for array in arrays])
    found = [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
    return list(zip(found[::2], found[1::2], strict=True))


def _arrays(block: Block, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    inner = len(block.left)
    G, W = np.zeros((inner + whole, inner + 3)), np.zeros((2, inner + 1))
    G[:inner, :inner], G[:inner, -2], G[:inner, -1] = block.green, block.left, block.right
    G[inner:, -1] = 1
    W[0, :inner], W[1, :inner], W[1, inner] = block.left, block.right, 1
    return G, W


@lru_cache(maxsize=KEPT)
def alike(
    cells: int, k: float, s: float, dtype: torch.dtype, device: torch.device
) -> tuple[list[AlikeBlocks], Cell]:
    """Set up the levels of equal cells of conductance k, with the row sum s of each inner node."""
    wide = torch.float64 if cells <= SHORT else dtype
    levels, k_last, s_last, s_left, s_right = [], k, s, s / 2, s / 2
    with torch.inference_mode(False):  # they are kept
        for count, blocks in pairwise(sizes(cells)):
            size = count if blocks == 1 else CELLS
            rest = count - size * (blocks - 1)
            last = eliminated([*[k] * (rest - 1), k_last], [*[s] * (rest - 2), s_last][: rest - 1])
            full = eliminated([k] * size, [s] * (size - 1)) if blocks > 1 else last
            levels.append(AlikeBlocks(count, full, last, dtype=wide, device=device))
            s_left += (full if blocks > 1 else last).cell.left
            s_last = (s if rest > 1 else s_last) + full.cell.right + last.cell.left
            k_last, s_right = last.cell.k, s_right + last.cell.right
            k, s, wide = full.cell.k, s + full.cell.left + full.cell.right, torch.float64
    return levels, Cell(k_last, s_left, s_right)


class DifferentBlocks:
    """One level of cells that differ, whose nodes have no row sums; computed in float64.

    Parameters
    ----------
    resistances : torch.Tensor, shape (cells,)
        1 over the conductance of each cell, in float64.
    """

    whole = True

    def __init__(self, resistances: Tensor) -> None:
        self.cells = len(resistances)
        self.blocks = sizes(self.cells)[1]
        self.size = m = self.cells if self.blocks == 1 else CELLS
        self.nodes = self.blocks * m + 1
        self.sums = _sums(resistances.device)[:, :m, : m + 1]
        cells = _filled(resistances[None], self.nodes - 1)[0].unflatten(0, (self.blocks, m))
        # Beside each node what lies between it and the left end, and the right one, over that of all cells.
        between = torch.bmm(cells.expand(2, *cells.shape), self.sums[..., 1:])
        total = between[0, :, -1]
        if self.blocks > CELLS:  # of long chains the memory counts
            self.total = total.clone()
            self.weights = between.div_(self.total[:, None])
        else:
            self.total, self.weights = total, between / total[:, None]

    def restrict(self, b: Tensor) -> tuple[Any, Tensor, Any, Any]:
        """Give what is kept for :meth:`correct`, the loads of the coarse nodes, and what both ends receive.

        b, shape ``(batch, cells - 1)``, are the loads of the inner nodes, and of the right end where there is
        one more. That is so of the coarse ones that come back, and then the right end receives nothing yet.
        """
        x = _filled(b, self.nodes - 1).unflatten(1, (self.blocks, self.size))
        parts = (self.weights[:, None] * x).flatten(1, 2)
        sums = torch.bmm(parts, self.sums).unflatten(1, x.shape[:2])  # eq: block-sums
        coarse, low = sums[0, :, :, -1], sums[1, :, :, 0]
        if self.blocks == 1:
            return sums, coarse, low[:, 0], coarse[:, 0]
        coarse[:, :-1].add_(low[:, 1:])  # no value of a right end needs its sum
        return sums, coarse, low[:, 0], 0.0

    def correct(self, kept: Any, coarse: Tensor, out: Tensor) -> None:
        """Write the values of all nodes but the first, given those of the coarse nodes."""
        ends = coarse.unfold(1, self.blocks, 1)[:, :2].transpose(0, 1)[..., None]
        left, right = torch.addcmul(ends, kept[..., 1:], self.total[:, None]).unbind()
        left.mul_(self.weights[1])
        if out.shape[1] == self.nodes:
            into = out[:, 1:].unflatten(1, (self.blocks, self.size))
            torch.addcmul(left, right, self.weights[0], out=into)
        else:
            found = left.addcmul_(right, self.weights[0])
            out[:, 1:] = found.flatten(1)[:, : out.shape[1] - 1]


@lru_cache(maxsize=KEPT)
def _sums(device: torch.device) -> Tensor:
    """Give the matrices that sum up all, and what is before a node, itself included; all, and what is after.

    The first rows and columns do it for smaller blocks.
    """
    both = np.ones((2, WHOLE, WHOLE + 1))
    both[0, :, 1:], both[1, :, 1:] = np.triu(both[0, :, 1:]), np.tril(both[1, :, 1:], -1)
    with torch.inference_mode(False):  # they are kept
        return sent(torch.from_numpy(both), device)


def _filled(x: Tensor, size: int) -> Tensor:
    """Return rows in float64 with as many entries, zeros behind their own."""
    if x.shape[1] == size:
        return x if x.dtype == torch.float64 else x.double()
    whole = torch.zeros((len(x), size), dtype=torch.float64, device=x.device)
    whole[:, : x.shape[1]] = x
    return whole


def different(k: Tensor) -> tuple[list[DifferentBlocks], Cell]:
    """Set up the levels of cells that differ, from the conductance of each, shape (cells,)."""
    one = _sums(k.device)[0, 0, :1]  # of a shape that lets its precision count
    resistances, levels = one / k, list[DifferentBlocks]()
    while len(resistances) > 1:
        levels.append(DifferentBlocks(resistances))
        resistances = levels[-1].total
    return levels, Cell(1.0, 0.0, 0.0, resistances[0])
