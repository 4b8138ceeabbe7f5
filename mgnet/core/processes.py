"""Several processes, one piece of work: who am I, and what do we agree on."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Processes", "together"]

# Seconds that one process waits for another.
TIMEOUT = 600.0


class Processes:
    """The processes of ``torchrun`` or of a group of them, ``world`` in number, or this one alone."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.group = group
        self.rank, self.world = (dist.get_rank(group), dist.get_world_size(group)) if active else (0, 1)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and lines."""
        return self.rank == 0

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, where the same of the parameters have one.

        They lie in one row in the order of the parameters, so that every sum is rounded in one way. (torch's
        DistributedDataParallel finds another order after the first step of each start: of three processes or
        more a run that goes on would end with other digits.)
        """
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        row = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(row, group=self.group)
        for gradient, total in zip(gradients, row.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def total(self, *numbers: float, device: Any = None) -> list[float]:
        """Return each number summed over the processes; the device is where the backend computes."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(sums, group=self.group)
        return [float(x) for x in sums]

    def gathered(self, state: Any) -> list[Any]:
        """Return what each process has, plain types and tensors of the CPU, in the order of their ranks."""
        if self.world == 1:
            return [state]
        states: list[Any] = [None] * self.world
        dist.all_gather_object(states, state, group=self.group)
        return states

    def first(self, action: Callable[[], Any], device: Any = None) -> None:
        """Do something in the first process; what it raises there, the others raise too, as a ValueError."""
        error: Exception | None = None
        if self.writes:
            try:
                action()
            except Exception as caught:
                error = caught
        if self.world > 1:
            told = [None if error is None else str(error)]
            dist.broadcast_object_list(told, group=self.group, group_src=0, device=device)
            if told[0] is not None and not self.writes:
                raise ValueError(told[0])
        if error is not None:
            raise error

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes, the same digits in each."""
        if self.world > 1:
            x = x.clone()
            dist.all_reduce(x, group=self.group)
        return x

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest of the tensors of all processes, entry by entry; NaN is infinity."""
        if self.world > 1:
            x = x.nan_to_num(torch.inf, torch.inf, -torch.inf)  # a maximum may pass over NaN
            dist.all_reduce(x, dist.ReduceOp.MAX, group=self.group)
        return x

    def stacked(self, x: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape, one after the other along a new first axis."""
        if self.world == 1:
            return x[None]
        out = x.new_empty((self.world, *x.shape))
        dist.all_gather(list(out), x.contiguous(), group=self.group)
        return out

    def swapped(self, low: Tensor, high: Tensor, ring: bool = False) -> tuple[Tensor | None, Tensor | None]:
        """Give ``low`` to the process before this one and ``high`` to the next; return what those give.

        The first and the last process have one neighbour, or each other where it is a ring; None stands for
        what nobody gives. All that is sent has one shape.
        """
        if self.world == 1:
            return (high, low) if ring else (None, None)
        neighbours = [self.rank - 1, self.rank + 1]
        if ring:
            neighbours = [rank % self.world for rank in neighbours]
        received: list[Tensor | None] = [None, None]
        calls = []
        for side, (rank, given) in enumerate(zip(neighbours, (low, high), strict=True)):
            if not 0 <= rank < self.world:
                continue
            # What goes up is told from what goes down: in a ring of two both have one neighbour.
            mine = received[side] = torch.empty_like(given, memory_format=torch.contiguous_format)
            calls.append(dist.P2POp(dist.isend, given.contiguous(), None, self.group, side, rank))
            calls.append(dist.P2POp(dist.irecv, mine, None, self.group, 1 - side, rank))
        for work in dist.batch_isend_irecv(calls) if calls else ():
            work.wait()
        return received[0], received[1]

    def same(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite weights or running statistics, which differ between processes, by those of the first."""
        if self.world == 1:
            return
        for tensor in tensors:
            row = tensor.detach().contiguous()  # which a kernel in another memory order is not
            dist.broadcast(row, group=self.group, group_src=0)
            tensor.detach().copy_(row)


@contextmanager
def together(device: torch.device, timeout: float | None = None) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did; by gloo on CPUs and NCCL on GPUs.

    ``timeout`` is how many seconds one waits for another before it gives up, ten minutes by default.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    _require_environment()
    backend = "nccl" if device.type == "cuda" else "gloo"
    # Optimisers import this, whose defaults keep the group that is there then: its threads would live on into
    # the end of Python, and abort the process where one of them frees a tensor.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT if timeout is None else timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _require_environment() -> None:
    """Refuse variables that are not as torchrun sets them, before anything waits for other processes."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        value = os.environ.get(name, "")
        if not value or (name != "MASTER_ADDR" and not (value.isascii() and value.isdigit())):
            got = f"{value or 'nothing'!r} in the environment, where WORLD_SIZE is set"
            raise ValueError(f"{name}: got {got}; accepted: what torchrun sets, or no WORLD_SIZE")
    world = os.environ["WORLD_SIZE"]
    limits = {"MASTER_PORT": (2**16, "65536"), "RANK": (int(world), f"WORLD_SIZE, which is {world}")}
    for name, (limit, said) in limits.items():
        if int(os.environ[name]) >= limit:
            raise ValueError(f"{name}: got {os.environ[name]} in the environment; accepted: below {said}")
