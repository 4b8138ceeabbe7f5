"""Processes that are threads of this one, in lockstep: what several do, without starting any."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mgnet.core.processes import Processes

# Seconds after which one waits in vain.
TIMEOUT = 60


class _Table:
    """Where all lay down what they give, and read what the others gave."""

    def __init__(self, world: int) -> None:
        self.world, self.barrier = world, threading.Barrier(world)
        self.places: list[Any] = [None] * world

    def exchange(self, rank: int, given: Any) -> list[Any]:
        self.places[rank] = given
        self.barrier.wait(TIMEOUT)
        found = list(self.places)
        self.barrier.wait(TIMEOUT)
        return found


class Thread(Processes):
    """One of several processes that are threads."""

    def __init__(self, table: _Table, rank: int) -> None:
        self.group, self.table, self.rank, self.world = None, table, rank, table.world

    def gathered(self, state: Any) -> list[Any]:
        return self.table.exchange(self.rank, state)

    def stacked(self, x: Tensor) -> Tensor:
        return torch.stack(self.table.exchange(self.rank, x.clone()))

    def summed(self, x: Tensor) -> Tensor:
        return self.stacked(x).sum(0)

    def largest(self, x: Tensor) -> Tensor:
        return self.stacked(x.nan_to_num(torch.inf, torch.inf, -torch.inf)).amax(0)

    def swapped(self, low: Tensor, high: Tensor, ring: bool = False) -> tuple[Tensor | None, Tensor | None]:
        given = self.table.exchange(self.rank, (low.clone(), high.clone()))
        below, above = self.rank - 1, self.rank + 1
        if ring:
            below, above = below % self.world, above % self.world
        return (
            given[below][1].clone() if below >= 0 else None,
            given[above][0].clone() if above < self.world else None,
        )

    def same(self, tensors: Any) -> None:
        for x in tensors:
            x.copy_(self.table.exchange(self.rank, x.clone())[0])


def _unlock() -> None:
    """Let threads set up the same property at once: Python 3.11 has one lock for all objects."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("mgnet.")]
    for kind in {each for module in modules for each in vars(module).values() if isinstance(each, type)}:
        for found in vars(kind).values():
            if isinstance(found, cached_property) and hasattr(found, "lock"):
                found.lock = contextlib.nullcontext()


def in_lockstep(world: int, work: Callable[[Processes], Any]) -> list[Any]:
    """Do something in processes that are threads; return what each came to, or raise what one does."""
    _unlock()
    table = _Table(world)
    found: list[Any] = [None] * world
    failed: list[tuple[int, BaseException]] = []

    def run(rank: int) -> None:
        torch.set_num_threads(1)
        try:
            found[rank] = work(Thread(table, rank))
        except BaseException as error:
            failed.append((rank, error))
            table.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, error in failed:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    assert not failed, "some wait for what others do not send"
    return found
