"""VGG for CIFAR-10: 3×3 convolutions with batch normalisation, and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..core.checks import count
from .common import conv_norm, counts, head, kaiming
from .registry import register

__all__ = ["VGG"]

# How many convolutions stand before each of the five poolings; with three linear layers, which the form
# for CIFAR-10 does not have, they make up the number in the name.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Sequential):
    """VGG with batch normalisation and one linear layer behind the mean over all pixels.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 3 and 32
        Length of the answer; channels of an image, its width and height, at least 32: five poolings halve it.
    depth : {11, 13, 16, 19}, default 16
        Number of layers in the original network.
    widths : sequence of int, default (64, 128, 256, 512, 512)
        Channels of the convolutions before each pooling.

    Raises
    ------
    TypeError, ValueError
        For a smaller image, another depth, or widths that are no five positive integers.

    References
    ----------
    Simonyan, Zisserman, 'Very deep convolutional networks for large-scale image recognition', 2015.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        depth: int = 16,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        count("image_size", image_size, 32)
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth: got {depth!r}; accepted: one of {tuple(CONVOLUTIONS)}")
        layers: list[nn.Module] = []
        channels = count("in_channels", in_channels)
        for repeats, width in zip(CONVOLUTIONS[depth], counts("widths", widths, 5), strict=True):
            for _ in range(repeats):
                # The published counts include a bias for each convolution, although the norm removes it.
                layers.append(conv_norm((channels, width), 3, bias=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, head(channels, count("num_classes", num_classes)))
        kaiming(self)


for _depth in CONVOLUTIONS:
    register(f"vgg{_depth}", depth=_depth)(VGG)
