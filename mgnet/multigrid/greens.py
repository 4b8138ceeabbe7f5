"""Blocks of cells of a line with their insides eliminated: Green's functions, small dense matrices."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Block", "Cell", "Matrices", "block", "matrices_of", "scale_of", "scaled"]


class Cell(NamedTuple):
    """A condensed piece of the chain: its conductance, and what it adds to its end nodes' row sums.

    Of cells that differ, on a GPU, they are tensors of one number.
    """

    k: Any
    left: Any
    right: Any


class Block(NamedTuple):
    """The inside of some cells eliminated: Green's function, interpolation from the ends, the coarse cell."""

    green: np.ndarray
    weights: np.ndarray
    cell: Cell


def block(size: int, cell: Cell, last: Cell) -> Block:
    """Condense ``size - 1`` copies of ``cell`` and then ``last``, in float64."""
    scale = scale_of(cell)
    unit = unit_block(size, scaled(cell, scale), scaled(last, scale))
    return Block(unit.green / scale, unit.weights, Cell(*(v * scale for v in unit.cell)))


def scale_of(cell: Cell) -> float:
    """Return the unit of a cell's numbers: blocks of cells in proportion are computed once."""
    return abs(cell.k) + cell.left


def scaled(cell: Cell, unit: float) -> Cell:
    """Return a cell in other units."""
    return Cell(*(v / unit for v in cell))


@lru_cache(maxsize=1024)
def unit_block(size: int, cell: Cell, last: Cell) -> Block:
    k = [*[cell.k] * (size - 1), last.k]
    s = [*[cell.right + cell.left] * (size - 2), cell.right + last.left][: size - 1]
    to_left, pass_left = _conductances(k, s)
    to_right = _conductances(k[::-1], s[::-1])[0][::-1]
    # Row i of Green's function right of its diagonal is row i + 1 times what node i passes on.
    green = np.diag([1 / (s_i + low + high) for s_i, low, high in zip(s, to_left, to_right, strict=True)])
    for i in range(size - 3, -1, -1):
        green[i, i + 1 :] = green[i + 1, i + 1 :] * pass_left[i]  # eq: block-green
    green = np.triu(green) + np.triu(green, 1).T
    if size == 1:
        return Block(green, np.empty((2, 0)), last)
    weights = np.stack((k[0] * green[0], k[-1] * green[-1]))
    added = weights @ np.array(s)
    return Block(green, weights, Cell(k[0] * weights[1, 0], cell.left + added[0], last.right + added[1]))


def _conductances(k: list[float], s: list[float]) -> tuple[list[float], list[float]]:
    """Return each node's conductance to the ground by its left, and the share it passes to its right.

    Nothing is subtracted, so the digits of small row sums are kept.
    """
    ground, share = [], []
    left = k[0]
    for k_right, s_i in zip(k[1:], s, strict=True):
        ground.append(left)
        pivot = left + s_i + k_right
        share.append(k_right / pivot)
        left = k_right * ((left + s_i) / pivot)
    return ground, share


class Matrices(NamedTuple):
    """The numbers of a level of blocks in units of its cells, as NumPy arrays or as tensors.

    ``inside`` maps the values of ``Blocks.correct`` to those of a block; ``weights`` and
    ``tail_weights`` are the hats of the two ends, (2, nodes), ``tail`` is Green's function.
    """

    inside: Any
    weights: Any
    tail: Any
    tail_weights: Any


@lru_cache(maxsize=256)
def matrices_of(size: int, tail_size: int, cell: Cell, last: Cell, dtype: np.dtype) -> Matrices:
    """Return the numbers of a level: blocks of one size, and the tail."""
    main, tail = unit_block(size, cell, cell), unit_block(tail_size, cell, last)
    inside, weights = np.zeros((size, size)), np.zeros((2, size))
    weights[:, :-1], weights[1, -1] = main.weights, 1
    inside[:-2, :-1], inside[-2], inside[-1, :-1] = main.green[1:], weights[1], main.green[0]
    return Matrices(*(x.astype(dtype) for x in (inside, weights, tail.green, tail.weights)))
