"""The small networks of the lectures: LeNet-5, the Net for CIFAR-10, and one with maxima instead of ReLU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from ..core.checks import count, probability
from ..layers import Dropout
from ..operators.convolutions import convolution
from .common import counts
from .registry import register

__all__ = ["LeNet5", "MaxConvNet", "Net"]


@register("lenet5")
class LeNet5(nn.Sequential):
    """LeNet-5: three convolutions with tanh, average pooling between them, two linear layers.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 1 and 32
        Length of the answer; channels of an image, its width and height, at least 32: the third convolution
        sees 5×5 pixels then, and leaves one.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, 'Gradient-based learning applied to document recognition', 1998.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 32) -> None:
        size = _size(image_size, least=32) - 4
        super().__init__(
            *(convolution((in_channels, 6), 5, boundary="valid", bias=True), nn.Tanh(), nn.AvgPool2d(2)),
            *(convolution((6, 16), 5, boundary="valid", bias=True), nn.Tanh(), nn.AvgPool2d(2)),
            *(convolution((16, 120), 5, boundary="valid", bias=True), nn.Tanh()),
            nn.Flatten(),
            *(nn.Linear(120 * size**2, 84), nn.Tanh()),
            nn.Linear(84, count("num_classes", num_classes)),
        )


@register("net")
class Net(nn.Sequential):
    """The lectures' network for CIFAR-10: two convolutions with max pooling, three linear layers.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 3 and 32
        Length of the answer; channels of an image, its width and height, at least 16.
    dropout : float, default 0
        Probability of dropout behind the first linear layer.
    batch_norm : bool, default False
        Whether the images behind the first pooling and the features behind the second linear layer are
        normalised.
    widths : sequence of int, default (6, 16, 120, 84)
        Channels of the two convolutions, and features of the first two linear layers.

    Raises
    ------
    TypeError, ValueError
        For a smaller image, a probability that is none, or widths that are no four positive integers.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        dropout: float = 0.0,
        batch_norm: bool = False,
        widths: Sequence[int] = (6, 16, 120, 84),
    ) -> None:
        size = _size(image_size, least=16)
        first, second, third, fourth = counts("widths", widths, 4)
        features = nn.Sequential(
            *(convolution((in_channels, first), 5, boundary="valid", bias=True), nn.ReLU(), nn.MaxPool2d(2)),
            *([nn.BatchNorm2d(first)] if batch_norm else []),
            *(convolution((first, second), 5, boundary="valid", bias=True), nn.ReLU(), nn.MaxPool2d(2)),
        )
        classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(second * size**2, third), nn.ReLU(), Dropout(probability("dropout", dropout))),
            *(nn.Linear(third, fourth), nn.ReLU()),
            *([nn.BatchNorm1d(fourth)] if batch_norm else []),
            nn.Linear(fourth, count("num_classes", num_classes)),
        )
        super().__init__(OrderedDict(features=features, classifier=classifier))


@register("maxconvnet")
class MaxConvNet(nn.Sequential):
    """Convolutions and max pooling, :eq:`max-pooling`, which is nonlinear enough: there is no activation.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 1 and 28
        Length of the answer; channels of an image, its width and height, at least 15.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        # Windows of 2, 2, 4, 4 and 4 pixels leave 1, 1, 3, 3 and 3 positions fewer; the last are 4 apart.
        size = (count("image_size", image_size, 15) - 11) // 4
        super().__init__(
            # eq: max-pooling
            *(convolution((in_channels, 4), 2, boundary="valid", bias=True), nn.MaxPool2d(2, stride=1)),
            *(convolution((4, 8), 4, boundary="valid", bias=True), nn.MaxPool2d(4, stride=1)),
            *(convolution((8, 15), 4, boundary="valid", bias=True), nn.MaxPool2d(4)),
            nn.Flatten(),
            nn.Linear(15 * size**2, count("num_classes", num_classes)),
        )


def _size(image_size: int, least: int) -> int:
    """Give the size behind two 5×5 convolutions, each with a pooling that halves."""
    size = count("image_size", image_size, least)
    return ((size - 4) // 2 - 4) // 2
