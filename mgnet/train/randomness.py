"""Random numbers of a run's own: the caller's generators are left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

__all__ = ["generator", "own_random_numbers"]


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the generators of the CPU and of the device; torch.manual_seed would seed those of all devices."""
    own = generator(device)
    with torch.random.fork_rng([device] if own else [], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        if own:
            with own.device(device):
                own.manual_seed(seed)
        yield


def generator(device: torch.device) -> ModuleType | None:
    """Return the part of torch that has the random numbers of a device, if it is not the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)
