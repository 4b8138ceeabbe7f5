"""The elimination of a line on a device as operations of torch: one launch of Triton each, on CUDA.

Their other form, in torch, says what they are, and is for tensors on a CPU, so that a device may be
pretended. It is imported where there is a device only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .launches import at

__all__ = ["CELLS", "close", "eliminate", "fill"]

# Cells of a block, which one lane of a program goes through.
CELLS = 32
# Lanes of a program, and threads of it by 32.
BLOCK, WARPS = 32, 1

_LIBRARY = torch.library.Library("mgnet", "FRAGMENT")
_LIBRARY.define(
    "eliminate(Tensor k, Tensor s, Tensor b, int at) -> (Tensor weights, Tensor share, Tensor to_k,"
    " Tensor to_s, Tensor to_b)"
)
_LIBRARY.define("close(Tensor k, Tensor s, Tensor b, int at, Tensor given, str low, str high) -> Tensor")
_LIBRARY.define("fill(Tensor(a!) u, Tensor c, Tensor weights, Tensor share) -> ()")

Eliminated = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _rooms(k: Tensor, s: Tensor, b: Tensor) -> Eliminated:
    """Make room for what :func:`eliminate` gives."""
    rows, blocks = len(b), -(-len(k) // CELLS)
    wide: dict[str, Any] = {"dtype": torch.float64}
    weights, share = k.new_empty((2, CELLS, blocks), **wide), k.new_empty((rows, CELLS, blocks), **wide)
    to_s = k.new_empty((2 if len(s) else 0, blocks + 1), **wide)
    return weights, share, k.new_empty(blocks, **wide), to_s, k.new_empty((rows, 2, blocks + 1), **wide)


def eliminate(k: Tensor, s: Tensor, b: Tensor, at_first: int) -> Eliminated:
    """Eliminate all inner nodes of blocks of cells by one launch.

    Parameters
    ----------
    k : torch.Tensor, shape (cells,)
        The conductance of each cell.
    s : torch.Tensor, shape (parts, cells + 1)
        The row sum of each node, as the sum of no parts, of one or of two.
    b : torch.Tensor, shape (rows, parts, loads)
        Loads in one part or two. Node i has those at ``at_first + i``, and none if there are none.
    at_first : int
        See b; -1 where the first node has none.

    Returns
    -------
    weights : torch.Tensor, shape (2, CELLS, blocks)
        What each inner node takes from the left end of its block, and from the next node.
    share : torch.Tensor, shape (rows, CELLS, blocks)
        What its load, and those before it, make of it.
    to_k, to_s, to_b : torch.Tensor
        The chain that is left, with parts for what the blocks at the right and at the left of a node give.
    """
    from ..kernels import device_line

    k, s, b = k.contiguous(), s.contiguous(), b.contiguous()
    found = _rooms(k, s, b)
    (rows, parts, size), blocks = b.shape, len(found[2])
    sizes = rows, len(k), blocks, at_first, size, parts, len(s), CELLS, BLOCK
    with at(k):
        device_line.eliminate[_grid(rows * blocks)](*found, k, s, b, *sizes, num_warps=WARPS)
    return found


def close(k: Tensor, s: Tensor, b: Tensor, at_first: int, given: Tensor, low: str, high: str) -> Tensor:
    """Solve a chain of one cell by one launch.

    Parameters
    ----------
    k, s, b, at_first
        As for :func:`eliminate`.
    given : torch.Tensor of float64, shape (1 or rows, 2)
        The value of an end that is "dirichlet", and Robin's alpha of one that is "natural".
    low, high : {"dirichlet", "natural", "periodic"}
        What holds at the ends. Where they are joined the node is in two parts.

    Returns
    -------
    torch.Tensor, shape (rows, 2)
        The values of the ends. Where nothing holds them the left one is zero.
    """
    from ..kernels import device_line

    s, b, given = s.contiguous(), b.contiguous(), given.contiguous()
    rows, parts, size = b.shape
    c = k.new_empty((rows, 2), dtype=torch.float64)
    stride = 2 if len(given) > 1 else 0
    flags = parts, len(s), low, high, BLOCK
    with at(k):
        device_line.close[_grid(rows)](c, k, s, b, given, rows, at_first, size, stride, *flags, num_warps=1)
    return c


def fill(u: Tensor, c: Tensor, weights: Tensor, share: Tensor) -> None:
    """Write the values of all nodes into u, shape (rows, cells + 1), given those that are left, c."""
    from ..kernels import device_line

    (rows, nodes), blocks = u.shape, c.shape[1] - 1
    with at(u):
        device_line.fill[_grid(rows * blocks)](
            u, c, weights, share, rows, nodes - 1, blocks, CELLS, BLOCK, num_warps=WARPS
        )


def _grid(lanes: int) -> tuple[int]:
    return (-(-lanes // BLOCK),)


# The same in torch.


def _of_nodes(x: Tensor, at_first: int, count: int) -> Tensor:
    """Give the sum of all parts, shape (..., parts, size), at each node of so many."""
    found = x.new_zeros((*x.shape[:-2], count), dtype=torch.float64)
    start, size = max(-at_first, 0), min(count, x.shape[-1] - at_first)
    found[..., start:size] = x[..., start + at_first : size + at_first].double().sum(-2)
    return found


def _cut(x: Tensor, blocks: int) -> Tensor:
    """Give numbers by their place in a block and their block, shape (..., CELLS, blocks); zeros behind."""
    padded = torch.nn.functional.pad(x, (0, blocks * CELLS - x.shape[-1]))
    return padded.unflatten(-1, (blocks, CELLS)).transpose(-1, -2)


def _eliminate(k: Tensor, s: Tensor, b: Tensor, at_first: int) -> Eliminated:
    found, cells = _rooms(k, s, b), len(k)
    weights, share, to_k, to_s, to_b = found
    blocks, nodes = len(to_k), len(k) + 1
    loads, sums = _of_nodes(b, at_first, nodes), _of_nodes(s, 0, nodes)
    conductances = _cut(k.double(), blocks)
    ends = torch.cat((sums[None], loads))
    own = _cut(ends[:, :cells], blocks)
    low, high, through = own[:, 0].clone(), torch.zeros_like(own[:, 0]), conductances[0].clone()
    for i in range(1, CELLS):
        inner = torch.arange(blocks) * CELLS + i < cells
        after, here = conductances[i], own[:, i] + high
        inverse = 1 / torch.where(inner, through + after + here[0], 1.0)
        left, right = through * inverse, after * inverse
        weights[0, i], weights[1, i], share[:, i] = left, right, here[1:] * inverse
        low, high = torch.where(inner, low + left * here, low), torch.where(inner, right * here, high)
        through = torch.where(inner, through * right, through)
    to_k[:] = through
    high[:, -1] += ends[:, -1]
    parts = torch.stack((torch.nn.functional.pad(low, (0, 1)), torch.nn.functional.pad(high, (1, 0))), 1)
    to_b[:] = parts[1:]
    if len(s):
        to_s[:] = parts[0]
    return found


def _close(k: Tensor, s: Tensor, b: Tensor, at_first: int, given: Tensor, low: str, high: str) -> Tensor:
    loads, (s_left, s_right) = _of_nodes(b, at_first, 2), _of_nodes(s, 0, 2)
    (b_left, b_right), (left, right) = loads.unbind(-1), given.expand(len(b), 2).unbind(-1)
    through = k[0].double()
    if low == "periodic":
        left = right = _ratio(b_left + b_right, s_left + s_right)
    s_left = s_left + left if low == "natural" else s_left
    if high == "natural":
        held = through + s_right + right
        b_left, s_left = b_left + through / held * b_right, s_left + through / held * (s_right + right)
    if low == "natural":
        more = 0.0 if high == "natural" else through
        left = _ratio(b_left + more * right, s_left + more)
    if high == "natural":
        right = (b_right + through * left) / held
    return torch.stack((left, right), -1)


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    return torch.where(y == 0, 0.0, x / y)


def _fill(u: Tensor, c: Tensor, weights: Tensor, share: Tensor) -> None:
    cells, left, value = u.shape[1] - 1, c[:, :-1], c[:, 1:]
    found, starts = torch.empty_like(share), torch.arange(share.shape[2]) * CELLS
    for i in range(CELLS - 1, 0, -1):
        own = share[:, i] + weights[0, i] * left + weights[1, i] * value
        value = torch.where(starts + i < cells, own, value)
        found[:, i] = value
    found[:, 0] = left
    u[:, :-1] = found.transpose(1, 2).flatten(1)[:, :cells]
    u[:, -1] = c[:, -1]


for _name, _launch, _same in (
    ("eliminate", eliminate, _eliminate),
    ("close", close, _close),
    ("fill", fill, _fill),
):
    _LIBRARY.impl(_name, _launch, "CUDA")
    _LIBRARY.impl(_name, _same, "CPU")
