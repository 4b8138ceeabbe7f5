"""What several families share: the convolution with its norm, and the random numbers to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..core.checks import count, shown
from ..operators.convolutions import convolution

__all__ = ["conv_norm", "counts", "head", "kaiming"]


def conv_norm(
    channels: tuple[int, int], size: int, stride: int = 1, *, bias: bool = False, activation: bool = True
) -> nn.Sequential:
    """Return a convolution, batch normalisation and, unless told otherwise, ReLU.

    ``channels`` are those of the input and of the output. A bias is superfluous before a norm, and ReLU works
    in place, since the norm's output is nobody else's.
    """
    layers = [convolution(channels, size, stride, bias=bias), nn.BatchNorm2d(channels[1])]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def head(channels: int, num_classes: int, dim: int = 2) -> nn.Sequential:
    """Return the mean over all pixels, :eq:`mean-pooling`, on ``dim`` axes, and one linear layer."""
    return nn.Sequential(POOLS[dim](1), nn.Flatten(), nn.Linear(channels, num_classes))  # eq: mean-pooling


def kaiming(model: nn.Module) -> None:
    """Draw new kernels for a network with ReLU, normal numbers of variance 2/inputs, :eq:`kaiming`.

    He et al. (2015), 'Delving deep into rectifiers', derive it for the forward pass (inputs, "fan in") and
    for the backward pass (outputs, "fan out") and find either one enough. This is the forward one, which
    also suits the linear layer, whose few outputs would give it far larger numbers than its inputs do.
    Biases become 0; norms are left at 1 and 0, and kernels that are not learned as they are.
    """
    for module in model.modules():
        if isinstance(module, LINEAR) and isinstance(module.weight, nn.Parameter):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")  # eq: kaiming
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def counts(name: str, value: Any, length: int | None = None, accepted: str = "") -> list[int]:
    """Return a list of positive integers, of any length or of one; ``accepted`` is what a message says."""
    accepted = accepted or ("a list of integers" if length is None else f"a list of {length} integers")
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise TypeError(f"{name}: got {shown(value)}; accepted: {accepted}")
    if length not in (None, len(value)):
        raise ValueError(f"{name}: got {shown(list(value))}; accepted: {accepted}")
    return [count(name, entry) for entry in value]
