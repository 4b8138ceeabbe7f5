"""The models without convolutions: logistic regression and the multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ..core.checks import count
from .registry import register

__all__ = ["MLP", "Logistic"]


@register("logistic")
class Logistic(nn.Sequential):
    """Logistic regression for several classes: one linear layer, :eq:`linear-scores`.

    It is to be trained with the cross-entropy, :eq:`softmax-cross-entropy`.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 1 and 28
        Length of the answer; channels of an image, its width and height, by default those of MNIST.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        pixels = count("in_channels", in_channels) * count("image_size", image_size) ** 2
        # eq: linear-scores
        super().__init__(nn.Flatten(), nn.Linear(pixels, count("num_classes", num_classes)))


@register("mlp")
class MLP(nn.Sequential):
    """Multi-layer perceptron: linear layers with ReLU in between.

    Parameters
    ----------
    num_classes, in_channels, image_size
        As for :class:`Logistic`.
    hidden : sequence of int, default (256, 128)
        Width of each hidden layer.

    Raises
    ------
    TypeError, ValueError
        For widths that are no positive integers.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        hidden: Sequence[int] = (256, 128),
    ) -> None:
        pixels = count("in_channels", in_channels) * count("image_size", image_size) ** 2
        if not isinstance(hidden, Sequence):
            raise TypeError(f"hidden: got {hidden!r}; accepted: a list of widths")
        widths = [pixels, *(count("hidden", width) for width in hidden)]
        super().__init__(nn.Flatten())
        for inputs, outputs in pairwise(widths):
            self.extend([nn.Linear(inputs, outputs), nn.ReLU()])
        self.append(nn.Linear(widths[-1], count("num_classes", num_classes)))
