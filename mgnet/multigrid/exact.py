"""The exact cycle: relax the new nodes, restrict, solve, interpolate; once, and the answer is there.

In one dimension the hats of all levels are orthogonal in the energy, so the level corrections add up to
the solution, :eq:`exact`. This is static condensation: a level eliminates the nodes inside its blocks of
m cells, and what is left is the same problem on the block ends, :eq:`block-solution`. Cells that are alike
are taken 32 at a time, five levels as one convolution and one small matrix (16 in long levels);
cells that differ in pairs, :eq:`elimination`. The last coarse grid is a single cell, and the boundary
conditions live there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..core.memory import sent, strips
from ..core.threads import share
from ..operators.contract import Operator
from ..operators.stiffness import Stiffness
from ..operators.varying import VaryingStiffness, eliminate
from .greens import Cell, Matrices, block, matrices_of, scale_of, scaled

__all__ = ["Condensation"]

# Cells per block; half of it in long levels, where the products with the blocks' matrices are what costs.
FACTOR, LONG = 32, 2**15
# Values that a CPU works on at a time, so that what is written stays in its cache until it is complete.
CHUNK = 2**18
# Most multiplications of a product with a vector or a matrix for which OpenBLAS starts no threads.
PRODUCT = {1: 2**13, 2: 2**18}


class _Level(Protocol):
    cells: int

    def restrict(self, b: Any) -> tuple[Any, Any, Any]: ...
    def correct(self, b: Any, coarse: Any, out: Any) -> None: ...


class Blocks:
    """One level of equal cells: full blocks of ``factor`` cells, then a tail of at most as many.

    Loads are (batch, cells - 1), the interior nodes; a block is its interior nodes and its right end.
    NumPy arrays and tensors go through the same lines.
    """

    def __init__(self, cells: int, cell: Cell, last: Cell, dtype: torch.dtype, device: torch.device) -> None:
        size = self.factor = FACTOR // 2 if cells > LONG else FACTOR
        self.cells, self.full = cells, (cells - 1) // size
        self.stop = self.full * size
        self.cell, self.last = block(size, cell, cell).cell, block(cells - self.stop, cell, last).cell
        unit = scale_of(cell)
        self.per_load, self.passed = 1 / unit, cell.k / unit
        with np.errstate(over="ignore", under="ignore"):
            sizes, units = (size, cells - self.stop), (scaled(cell, unit), scaled(last, unit))
            self.arrays = matrices_of(*sizes, *units, _NUMPY[dtype])
        self.device = device

    @cached_property
    def tensors(self) -> Matrices:
        """The numbers as tensors, for a GPU."""
        return Matrices(*(sent(torch.from_numpy(x), self.device) for x in self.arrays))

    def restrict(self, b: Any) -> tuple[Any, Any, Any]:
        """Give the loads of the coarse nodes, and what the left and the right end receive."""
        matrices = self.tensors if isinstance(b, Tensor) else self.arrays
        low, high = (b[:, self.stop :] @ matrices.tail_weights.T).T
        if not self.full:
            return b[:, :0], low, high
        body = b[:, : self.stop].reshape(b.shape[0], self.full, self.factor)
        loads = _empty(matrices.weights, len(body) * self.full).reshape(2, len(body), self.full)

        def work(chunks: Iterator[slice]) -> None:
            for blocks in chunks:
                for weights, sums in zip(matrices.weights, loads, strict=True):
                    _multiply(body[:, blocks], weights, sums[:, blocks])

        share(work, _chunks(body[0], len(body)))
        to_left, coarse = loads
        coarse[:, :-1] += to_left[:, 1:]
        coarse[:, -1] += low
        return coarse, to_left[:, 0], high

    def correct(self, b: Any, coarse: Any, out: Any) -> None:
        """Write the interior nodes' values, given all nodes of the coarse grid.

        A block is worked out from its loads but the first, the value at its right end, and the first load
        with the value at the left end, which is passed on like a load. The large ones come last, so that
        the small ones are added up before they are rounded beside them.
        """
        matrices = self.tensors if isinstance(b, Tensor) else self.arrays
        multiply: Any = torch.multiply if isinstance(b, Tensor) else np.multiply
        batch, m = b.shape[0], self.factor
        values = out[:, : self.stop].reshape(batch, self.full, m)

        def work(chunks: Iterator[slice]) -> None:
            for blocks in chunks:
                start, stop = blocks.start * m, blocks.stop * m
                flat = _ROOM.take("loads", b, (batch, stop - start))
                multiply(b[:, start + 1 : stop], self.per_load, out=flat[:, :-1])
                x = flat.reshape(batch, -1, m)
                x[..., -2] = coarse[:, blocks.start + 1 : blocks.stop + 1]
                x[..., -1] = self.passed * coarse[:, blocks]
                x[..., -1] += self.per_load * b[:, start:stop:m]
                _multiply(x, matrices.inside, values[:, blocks])  # eq: block-solution

        if self.full:
            share(work, _chunks(values[0], batch))
        tail = self.per_load * b[:, self.stop :] @ matrices.tail
        tail += coarse[:, -2:] @ matrices.tail_weights
        out[:, self.stop :] = tail


class _Room(threading.local):
    """Room for the numbers of a chunk, kept by each thread: new memory costs more to touch than to fill."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}

    def take(self, use: str, like: Any, shape: tuple[int, ...]) -> Any:
        """Return an array of the kind of ``like``, which is free until the next one for this use."""
        if isinstance(like, Tensor):
            return like.new_empty(shape)
        size = math.prod(shape) * like.itemsize
        if use not in self.kept or len(self.kept[use]) < size:
            self.kept[use] = np.empty(size, np.uint8)
        return self.kept[use][:size].view(like.dtype).reshape(shape)


_ROOM = _Room()


def _chunks(rows: Any, batch: int = 1) -> list[slice]:
    """Cut the rows into slices of one length: on a CPU so short that they stay in its cache."""
    count = max(1, round(len(rows) * batch * rows.shape[1] / CHUNK)) if isinstance(rows, np.ndarray) else 1
    step = max(1, -(-len(rows) // count))
    return [slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step)]


def _multiply(x: Any, matrix: Any, out: Any) -> None:
    """Write ``x @ matrix`` for x of shape (batch, blocks, m)."""
    if isinstance(x, Tensor):
        # Not by matmul: it would put the blocks of all rows into one axis, which strides do not allow.
        columns, target = (matrix, out) if matrix.ndim == 2 else (matrix[:, None], out[..., None])
        torch.bmm(x, columns.expand(len(x), *columns.shape), out=target)
    elif matrix.ndim == 1 or len(x) == 1:
        _stacked(x, matrix, out)
    else:
        # Short rows are taken together: their own products are too small to be fast.
        target = _ROOM.take("values", out, out.shape)
        _stacked(x.reshape(1, -1, x.shape[-1]), matrix, target.reshape(1, -1, x.shape[-1]))
        out[:] = target


def _stacked(x: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """Multiply in NumPy as a stack of products so small that BLAS starts no threads for them."""
    size = PRODUCT[matrix.ndim] // matrix.size
    whole = x.shape[1] // size * size
    if whole:
        pieces, results = (y[:, :whole].reshape(len(y), -1, size, *y.shape[2:]) for y in (x, out))
        np.matmul(pieces, matrix, out=results)
    if whole < x.shape[1]:
        np.matmul(x[:, whole:], matrix, out=out[:, whole:])


class Pairs:
    """One level of cells that differ: every odd node is eliminated.

    Only the cells are kept: weights are worth a division when they are used, not their memory.
    """

    def __init__(self, k: Tensor, s: Tensor | None) -> None:
        self.cells, self.pairs = k.shape[0], k.shape[0] // 2
        self.left, self.right = k[0 : 2 * self.pairs : 2], k[1 : 2 * self.pairs : 2]
        self.s = None if s is None else s[1 : 2 * self.pairs : 2]

    def _pivot(self, some: slice = slice(None)) -> Tensor:
        pivot = self.left[some] + self.right[some]
        return pivot if self.s is None else pivot.add_(self.s[some])

    def restrict(self, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the loads of the coarse nodes, and what the left and the right end receive."""
        share, coarse = b[:, 0 : 2 * self.pairs : 2] / self._pivot(), b[:, 1::2].clone()
        coarse[:, : self.pairs - 1].addcmul_(self.left[1:], share[:, 1:])
        inner = min(self.pairs, coarse.shape[1])
        coarse[:, :inner].addcmul_(self.right[:inner], share[:, :inner])
        to_right = self.right[-1] * share[:, -1] if self.cells % 2 == 0 else b.new_zeros(b.shape[0])
        return coarse, self.left[0] * share[:, 0], to_right

    def correct(self, b: Tensor, coarse: Tensor, out: Tensor) -> None:
        """Write the interior nodes' values, given all nodes of the coarse grid."""
        out[:, 1::2] = coarse[:, 1:-1]
        loads, odd = (x[:, 0 : 2 * self.pairs : 2] for x in (b, out))
        for some in strips(self.pairs, odd):
            total = torch.addcmul(loads[:, some], self.left[some], coarse[:, some])
            total.addcmul_(self.right[some], coarse[:, some.start + 1 : some.stop + 1])
            torch.div(total, self._pivot(some), out=odd[:, some])


class Condensation:
    """The exact solver of a chain of cells, all its levels set up once; the operator's box has the unknowns.

    ``looks`` says whether NaN and infinity are looked for, which waits for a GPU.
    """

    def __init__(self, A: Operator, looks: bool = True) -> None:
        ((self.cells,), (self.ends,)), self.looks = (A.box.cells, A.box.ends), looks
        self.uniform = isinstance(A, Stiffness)
        if isinstance(A, Stiffness):
            (self.robin,) = A.form.robin
            cell = Cell(A.form.k, A.form.row_sum / 2, A.form.row_sum / 2)
            self.levels, self.top = _blocks(self.cells, cell, A.weight.dtype, A.weight.device)
        else:
            assert isinstance(A, VaryingStiffness)
            self.robin = A.robin
            self.levels, self.top = _pairs(A.k, A.s)

    def solve(self, b: Tensor, left: float = 0.0, right: float = 0.0) -> Tensor:
        """Return the values at all nodes, shape (batch, cells + 1), for loads of shape (batch, unknowns).

        ``left`` and ``right`` are the values at Dirichlet ends; not used at others. When NaN or infinity
        turns up, that is a :class:`NonFiniteError`, if they are looked for.
        """
        u = _empty(b, self.cells + 1)
        # On a CPU by NumPy: its calls cost a third of torch's, and in tall and narrow products its BLAS was
        # the faster one on the machine of the benchmarks.
        loads, rows = (b.numpy(), u.numpy()) if self.uniform and u.device.type == "cpu" else (b, u)

        def work(chunks: Iterator[slice]) -> None:
            for some in chunks:
                self._solve(loads[some], rows[some], left, right)

        # NaN and infinity are looked for where they must show; NumPy need not warn of them.
        with np.errstate(all="ignore"):
            share(work, _chunks(rows))
        return u

    def _solve(self, b: Any, u: Any, left: float, right: float) -> None:
        """Solve in place; the arrays are NumPy's or torch's."""
        inner, at_left, at_right = self._split(b)
        loads, fixed = [inner], self.ends == ("dirichlet", "dirichlet")
        # Where both ends are given, their loads do not matter, nor does the last restriction.
        for level in self.levels[: -1 if fixed else None]:
            inner, low, high = level.restrict(inner)  # eq: splitting
            loads.append(inner)
            if not fixed:
                at_left, at_right = at_left + low, at_right + high
        ends = self._close(b, at_left, at_right, left, right)
        coarse = ends
        if not self.levels:
            u[:] = self._finite(ends)
        for depth in range(len(self.levels) - 1, -1, -1):
            level = self.levels[depth]
            fine = _empty(b, level.cells + 1) if depth else u
            fine[:, :: level.cells] = ends
            level.correct(loads[depth], coarse, fine[:, 1:-1])  # eq: exact
            coarse = self._finite(fine) if depth == min(1, len(self.levels) - 1) else fine
            del loads[depth:]

    def _finite(self, u: Any) -> Any:
        """Refuse NaN and infinity. Each load bears on all of the second grid, so checking that is enough."""
        with np.errstate(all="ignore"):
            if self.looks and not math.isfinite(u.sum().item()) and not bool((u - u == 0).all()):
                raise NonFiniteError
        return u

    def _split(self, b: Any) -> tuple[Any, Any, Any]:
        """Split the loads of the unknowns into those of the interior nodes and of the two ends."""
        start, stop = int(self.ends[0] != "dirichlet"), b.shape[1] - int(self.ends[1] == "natural")
        inner = b[:, start:stop] if stop - start < b.shape[1] else b
        return inner, b[:, 0] if start else 0.0, b[:, -1] if stop < b.shape[1] else 0.0

    def _close(self, b: Any, b0: Any, b1: Any, left: Any, right: Any) -> Any:
        """Solve the last coarse grid, a single cell, with the boundary conditions; (batch, 2)."""
        k = self.top.k
        s0, s1 = self.top.left + self.robin[0], self.top.right + self.robin[1]
        if self.ends[0] == "periodic":
            left = right = _ratio(b0 + b1, s0 + s1)
        elif self.ends[0] == self.ends[1] == "natural":
            # The right end eliminated: what of its load and of its row sum the left end receives.
            share = k / (k + s1)
            left = _ratio(b0 + share * b1, s0 + share * s1)
            right = (b1 + k * left) / (k + s1)
        elif self.ends[0] == "natural":
            left = (b0 + k * right) / (k + s0)
        elif self.ends[1] == "natural":
            right = (b1 + k * left) / (k + s1)
        ends = _empty(b, 2)
        ends[:, 0], ends[:, 1] = left, right
        return ends


def _ratio(x: Any, y: Any) -> Any:
    """Divide; what nothing holds is zero."""
    return torch.where(y == 0, 0.0, x / y) if isinstance(y, Tensor) else x / y if y else 0.0


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def _empty(b: Any, nodes: int) -> Any:
    """Allocate (batch, nodes), of the kind of ``b``."""
    if isinstance(b, np.ndarray):
        return np.empty((b.shape[0], nodes), b.dtype)
    if b.device.type == "cpu":
        # NumPy asks for huge pages; touching small ones for the first time costs more than a solve.
        return torch.from_numpy(np.empty((b.shape[0], nodes), _NUMPY[b.dtype]))
    return b.new_empty((b.shape[0], nodes))


@lru_cache(maxsize=64)
def _blocks(cells: int, cell: Cell, dtype: torch.dtype, device: torch.device) -> tuple[list[_Level], Cell]:
    """Set up the levels of equal cells; they hold small matrices, so those of the last calls are kept."""
    levels: list[_Level] = []
    last = cell
    while cells > 1:
        level = Blocks(cells, cell, last, dtype, device)
        levels.append(level)
        cells, cell, last = level.full + 1, level.cell, level.last
    return levels, last


def _pairs(k: Tensor, s: Tensor | None) -> tuple[list[_Level], Cell]:
    levels: list[_Level] = []
    while k.shape[0] > 1:
        levels.append(Pairs(k, s))
        k, s = eliminate(k, s)[-2:]
    numbers = torch.cat((k, k.new_zeros(2) if s is None else s))
    # On a GPU they stay there: reading would wait.
    return levels, Cell(*(numbers.tolist() if k.device.type == "cpu" else numbers.double().unbind()))
