"""Memory that is used again: fresh pages cost more time than the arithmetic of a whole sweep on them.

The system hands out memory in pages of 4 KiB and clears each at its first use, which takes longer than a
stencil does. While ``reused()`` is open, blocks are cut from slabs of huge pages, and the room of those that
nobody holds any more is used again. When it closes the slabs are given back, but for a few that the next one
finds.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kinds import tracked

__all__ = [
    "apart",
    "copy",
    "empty",
    "empty_like",
    "is_open",
    "own_copy",
    "owned",
    "reused",
    "scratch",
    "sent",
    "spare",
    "strips",
]

# In bytes: smaller blocks are quickly had from the allocator; how much is asked from the system at once; and
# from where on just what is needed.
LEAST, SLAB, LARGE = 2**16, 2**22, 2**21
# Bytes that a thread keeps from one ``reused()`` to the next; of more it keeps nothing.
KEPT = 2**27
# Bytes of which the start and the length of a block are multiples.
LINE = 64
# A page, where the system is asked for huge ones.
PAGE = 2**21
# Bytes of a strip: what is made of it should stay in the second-level cache.
STRIP = 2**20


class _Slab:
    """Memory, and the blocks that have been cut from it: where each begins, and the block."""

    def __init__(self, size: int) -> None:
        self.memory = _pages(size)
        self.cuts: list[tuple[int, np.ndarray]] = []

    def gaps(self, size: int) -> Iterator[tuple[int, int, int]]:
        """Give where a block fits: how much room there is, its place in order, and its start."""
        end = 0
        for i, (start, block) in enumerate([*self.cuts, (len(self.memory), self.memory[:0])]):
            if start - end >= size:
                yield start - end, i, end
            end = start + len(block)


class _Blocks:
    """Slabs, and the blocks cut from them, by size.

    ``slab`` is the least size of one. Without it each slab is for a block of its own, and blocks are cut from
    what others leave as soon as none has their size, not only before another slab is taken.
    """

    def __init__(self, slab: int = 0) -> None:
        self.slab = slab
        self.slabs: list[_Slab] = []
        self.blocks: dict[int, list[np.ndarray]] = {}

    def block(self, size: int) -> np.ndarray:
        """Return a block that nobody holds: one of the size, or a new one from the smallest gap."""
        blocks = self.blocks.setdefault(size, [])
        for i in range(len(blocks)):
            # A tensor, and every view of it, holds the array that it was made from.
            if sys.getrefcount(blocks[i]) == _UNHELD:
                return blocks[i]
        found = self._gaps(size) if self.slab else []
        if not found:
            self._forget()
            found = self._gaps(size)
        if not found:
            # A little more, since grids have more nodes than unknowns.
            self.slabs.append(_Slab(max(size + size // 16, self.slab)))
            found = self._gaps(size)
        (_, place, start), slab = min(found, key=lambda pair: pair[0][0])
        block = slab.memory[start : start + size]
        slab.cuts.insert(place, (start, block))
        self.blocks.setdefault(size, []).append(block)
        return block

    def _gaps(self, size: int) -> list[tuple[tuple[int, int, int], _Slab]]:
        return [(gap, slab) for slab in self.slabs for gap in slab.gaps(size)]

    def _forget(self) -> None:
        """Forget the blocks that nobody holds."""
        for blocks in self.blocks.values():
            held = [sys.getrefcount(blocks[i]) > _UNHELD for i in range(len(blocks))]
            blocks[:] = itertools.compress(blocks, held)
        # What is left is in a list and in a pair, or in the pair alone.
        for slab in self.slabs:
            counts = [sys.getrefcount(slab.cuts[i][1]) for i in range(len(slab.cuts))]
            slab.cuts = [cut for cut, count in zip(slab.cuts, counts, strict=True) if count >= _UNHELD]


class _Pool:
    """Large blocks, of which there are few, many small ones, and the tensors that have names."""

    def __init__(self) -> None:
        self.large, self.small = _Blocks(), _Blocks(SLAB)
        self.rooms: dict[Any, np.ndarray] = {}
        self.scratch: dict[tuple[Any, ...], Tensor] = {}

    @property
    def total(self) -> int:
        """Bytes of all slabs."""
        return sum(len(slab.memory) for slab in (*self.large.slabs, *self.small.slabs))

    def block(self, size: int) -> np.ndarray:
        """Return a block that nobody holds, of that many bytes or a few more."""
        size = -(-size // LINE) * LINE
        return (self.large if size >= LARGE else self.small).block(size)

    def named(self, name: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return the tensor of a name, in the room that all of this name share."""
        # A tensor that was made in inference mode cannot be written into outside of it.
        key = name, shape, dtype, torch.is_inference_mode_enabled()
        if key not in self.scratch:
            count = math.prod(shape)
            if name not in self.rooms or len(self.rooms[name]) < count * dtype.itemsize:
                self.rooms[name] = self.block(max(count * dtype.itemsize, 1))
                self.scratch = {known: x for known, x in self.scratch.items() if known[0] != name}
            self.scratch[key] = torch.frombuffer(self.rooms[name], dtype=dtype)[:count].view(shape)
        return self.scratch[key]


def _pages(size: int) -> np.ndarray:
    """Return memory that begins with a huge page, if it is large: what lies before one is in small ones."""
    if size < 2 * PAGE:
        return np.empty(size, dtype=np.uint8)
    # A mapping of its own: what comes from the heap may stay there when it is given back.
    mapping = mmap.mmap(-1, size + PAGE, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(mapping, dtype=np.uint8)
    start = -block.ctypes.data % PAGE
    return block[start : start + size]


class _Here(threading.local):
    """The pool of this thread, if ``reused()`` is open, and the one that the next will have."""

    pool: _Pool | None = None
    kept: _Pool | None = None


_here = _Here()


@contextlib.contextmanager
def reused() -> Iterator[None]:
    """Use blocks of memory again, in this thread, until the context is left."""
    if _here.pool is not None:
        yield
        return
    pool, _here.kept = _here.kept or _Pool(), None
    _here.pool = pool
    try:
        yield
    finally:
        _here.pool, _here.kept = None, pool if pool.total <= KEPT else None


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Use blocks of memory again that are all given back at the end: for work that takes more than others."""
    before, _here.pool = _here.pool, _Pool()
    try:
        yield
    finally:
        _here.pool = before


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor without values, on the device of another and by default of its precision.

    It is in a block that was used before, where ``reused()`` is open and the size is worth it.
    """
    dtype = dtype or like.dtype
    count = math.prod(shape)
    size = count * dtype.itemsize
    if _here.pool is None or size < LEAST or like.device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=like.device)
    block = _here.pool.block(size)
    return torch.frombuffer(block, dtype=dtype, count=count).view(*shape)


def is_open() -> bool:
    """Say whether ``reused()`` is open in this thread."""
    return _here.pool is not None


def spare(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor | None:
    """Return what :func:`empty` does inside ``reused()``, and None outside: for torch's ``out=``.

    Outside torch takes memory itself, and gradients may flow, which they cannot into a given block.
    """
    return None if _here.pool is None else empty(shape, like, dtype)


def scratch(name: Any, shape: Sequence[int], like: Tensor) -> Tensor | None:
    """Return what :func:`spare` does, but always in the same place for the same name.

    It is for what nobody needs any more when the function that asks returns: to look a tensor up costs less
    than to find a block, which counts where arrays are small. On a GPU it is another one each time.
    """
    pool = _here.pool
    if pool is None or like.device.type != "cpu":
        return spare(shape, like)
    return pool.named(name, tuple(shape), like.dtype)


def owned(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor without values in memory that is nobody else's, to outlive ``reused()``."""
    if like.device.type != "cpu" or not math.prod(shape):
        return like.new_empty(tuple(shape))
    block = _pages(math.prod(shape) * like.element_size())
    return torch.frombuffer(block, dtype=like.dtype).view(*shape)


def own_copy(x: Tensor) -> Tensor:
    """Return a copy in memory that is nobody else's, to outlive ``reused()``."""
    return owned(x.shape, x).copy_(x)


def empty_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a contiguous tensor without values, of the shape of another."""
    return empty(x.shape, x, dtype)


def copy(x: Tensor) -> Tensor:
    """Return a copy, in memory that may have been used before."""
    return empty_like(x).copy_(x)


def sent(x: Tensor, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device, itself where it is there already.

    What a GPU is doing is not waited for.
    """
    if x.device.type != "cpu" or device is None or device.type in ("cpu", "meta") or tracked(x):
        return x.to(device=device, dtype=dtype)
    # A GPU fetches by itself only what is in pinned memory.
    return x.to(dtype=dtype).pin_memory().to(device, non_blocking=True)


def strips(rows: int, x: Tensor, most: int = STRIP) -> Iterator[slice]:
    """Cut rows into slices, so that what is made of each stays in a processor's cache.

    x is what belongs to all rows, and ``most`` the bytes of it for a slice. A GPU, where each slice is a
    launch, takes all rows at once.
    """
    step = max(1, most * rows // max(1, x.nbytes)) if x.device.type == "cpu" else max(1, rows)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


# Where there is no such choice a mapping without a file is private.
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)
# References to a block in a list and in a pair, counted as above.
_UNHELD = [sys.getrefcount(blocks[i]) for blocks in ([np.empty(0)],) for i in range(1)][0] + 1
