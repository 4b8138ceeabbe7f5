"""Several processes, one training: who am I, and what do we agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Processes", "together"]


class Processes:
    """The processes of ``torchrun``, or this one alone.

    Attributes
    ----------
    rank, world : int
        Which process this is, and of how many.
    """

    def __init__(self) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if active else (0, 1)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and lines."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the model so that its gradients are means over all processes.

        Parameters
        ----------
        model : torch.nn.Module
            With equal weights everywhere; those of the first process are handed out.
        """
        return nn.parallel.DistributedDataParallel(model) if self.world > 1 else model

    def total(self, *numbers: float, device: Any = None) -> list[float]:
        """Return each number summed over the processes.

        Parameters
        ----------
        *numbers : float
            Of this process.
        device : torch.device, optional
            Where the backend computes.
        """
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(sums)
        return [float(x) for x in sums]

    def same(self, tensors: Iterator[Tensor]) -> None:
        """Overwrite tensors with those of the first process: running statistics differ between them."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did; by gloo on CPUs and NCCL on GPUs.

    Parameters
    ----------
    device : torch.device
        What this process computes on.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=10))
    try:
        yield
    finally:
        dist.destroy_process_group()
