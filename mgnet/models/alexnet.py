"""AlexNet, in the form for ImageNet and in the one that was shrunk to CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from ..core.checks import count, probability
from ..layers import Dropout
from ..operators.convolutions import convolution
from .common import counts, head
from .registry import register

__all__ = ["AlexNet", "SmallAlexNet"]

# Channels of the five convolutions.
WIDTHS = (64, 192, 384, 256, 256)


def _features(in_channels: int, widths: Sequence[int], first: str, window: int) -> nn.Sequential:
    """Give the five convolutions; ``first`` is the boundary of the first, ``window`` that of the pooling."""
    one, two, three, four, five = widths

    def layers(
        channels: tuple[int, int], size: int, stride: int = 1, boundary: str = "same"
    ) -> list[nn.Module]:
        return [convolution(channels, size, stride, boundary, bias=True), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *(*layers((in_channels, one), 11, 4, first), nn.MaxPool2d(window, 2)),
        *(*layers((one, two), 5), nn.MaxPool2d(window, 2)),
        *layers((two, three), 3),
        *layers((three, four), 3),
        *(*layers((four, five), 3), nn.MaxPool2d(window, 2)),
    )


@register("alexnet")
class AlexNet(nn.Sequential):
    """AlexNet for ImageNet, in one column: five convolutions, three linear layers.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 1000, 3 and 227
        Length of the answer; channels of an image, its width and height, at least 67. The first convolution
        adds no zeros, so that 227 pixels give 55.
    dropout : float, default 0.5
        Probability of dropout before the first two linear layers.

    References
    ----------
    Krizhevsky, 'One weird trick for parallelizing convolutional neural networks', 2014, for the widths.
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, image_size: int = 227, *, dropout: float = 0.5
    ) -> None:
        count("image_size", image_size, 67)
        p = probability("dropout", dropout)
        features = _features(count("in_channels", in_channels), WIDTHS, "valid", 3)
        classifier = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(6), nn.Flatten()),
            *(Dropout(p), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)),
            *(Dropout(p), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            nn.Linear(4096, count("num_classes", num_classes)),
        )
        super().__init__(OrderedDict(features=features, classifier=classifier))


@register("alexnet-cifar")
class SmallAlexNet(nn.Sequential):
    """AlexNet for small images: the same convolutions, with zeros outside, and one linear layer.

    Parameters
    ----------
    num_classes, in_channels, image_size : int
        As for :class:`AlexNet`, by default 10, 3 and 32 pixels, at least 29. Pooling takes windows of 2, so
        that 32 pixels become 8, 4, 2, 1.
    widths : sequence of int, default (64, 192, 384, 256, 256)
        Channels of the five convolutions.

    Raises
    ------
    TypeError, ValueError
        For a smaller image, or widths that are no five positive integers.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        count("image_size", image_size, 29)
        channels = counts("widths", widths, len(WIDTHS))
        features = _features(count("in_channels", in_channels), channels, "same", 2)
        super().__init__(features, head(channels[-1], count("num_classes", num_classes)))
