"""A small network, how it is trained in no time, and what its weights are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import mgnet
from mgnet import Recipe

PLAIN: dict[str, Any] = {
    "recipe": Recipe(epochs=2, batch_size=32, lr=0.02, weight_decay=1e-3, schedule="onecycle"),
    "progress": False,
}


def small(seed: int = 0, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        mgnet.operators.convolution((3, 8), 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
