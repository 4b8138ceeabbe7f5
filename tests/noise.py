"""Splits of noise, whose labels say which image is which."""

from __future__ import annotations

import torch
from torch import Tensor

from mgnet.data import Batches, Split

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def images(n: int, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def split(n: int = 20, channels: int = 3, height: int = 32, width: int = 32) -> Split:
    """Images of noise; the label of each is its row."""
    pixels = images(n, channels, height, width)
    return Split(pixels, torch.arange(n), MEAN[:channels], STD[:channels])


def epoch(batches: Batches) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
