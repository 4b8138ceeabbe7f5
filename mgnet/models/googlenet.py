"""GoogLeNet for CIFAR-10: nine inception blocks, each four views of the same image side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import count, positive
from .common import conv_norm, head, kaiming
from .registry import register

__all__ = ["GoogLeNet", "Inception"]

# Channels of the first convolution.
FIRST = 192
# Widths of the nine blocks, as Inception names them; None is a pooling that halves.
BLOCKS = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


class Inception(nn.Module):
    """Four branches, their channels put one after the other.

    They have these widths: ``one`` a 1×1 convolution, ``three`` one of 1×1 and one of 3×3, ``five`` sees 5×5
    pixels by one of 1×1 and two of 3×3, and ``pooled`` is a maximum of 3×3 pixels and a 1×1 convolution.
    """

    def __init__(
        self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int
    ) -> None:
        super().__init__()

        def branch(*widths: int, pool: bool = False) -> nn.Sequential:
            steps = zip((channels, *widths), widths, (1, 3, 3), strict=False)
            layers = [conv_norm((inputs, outputs), size, bias=True) for inputs, outputs, size in steps]
            return nn.Sequential(*([nn.MaxPool2d(3, 1, 1)] if pool else []), *layers)

        self.branches = nn.ModuleList(
            [branch(one), branch(*three), branch(*five, five[1]), branch(pooled, pool=True)]
        )
        self.channels = one + three[1] + five[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return what all branches see, images of the same size."""
        return torch.cat([branch(x) for branch in self.branches], 1)


@register("googlenet")
class GoogLeNet(nn.Sequential):
    """GoogLeNet with batch normalisation, without the first poolings that only large images need.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 3 and 32
        Length of the answer; channels of an image, its width and height, at least 4: it is halved twice.
    width : float, default 1.0
        Factor of all numbers of channels, each rounded and at least 1.

    Raises
    ------
    TypeError, ValueError
        For a smaller image, or a factor that is not positive.

    References
    ----------
    Szegedy et al., 'Going deeper with convolutions', 2015; Ioffe, Szegedy, 'Batch normalization', 2015, for
    the norms and for the two 3×3 convolutions in the place of one of 5×5.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, *, width: float = 1.0
    ) -> None:
        count("image_size", image_size, 4)
        factor = positive("width", width)

        def scaled(widths: Any) -> Any:
            if isinstance(widths, tuple):
                return tuple(map(scaled, widths))
            return max(1, round(widths * factor))

        channels = scaled(FIRST)
        layers: list[nn.Module] = [conv_norm((count("in_channels", in_channels), channels), 3, bias=True)]
        for widths in BLOCKS:
            if widths is None:
                layers.append(nn.MaxPool2d(3, 2, 1))
            else:
                block = Inception(channels, *scaled(widths))
                channels = block.channels
                layers.append(block)
        super().__init__(*layers, head(channels, count("num_classes", num_classes)))
        kaiming(self)
