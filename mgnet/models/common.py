"""What several families share: the convolution with its norm, and the random numbers to start from."""

from __future__ import annotations

from torch import nn

from ..operators.convolutions import convolution

__all__ = ["conv_norm", "head", "kaiming"]


def conv_norm(
    channels: tuple[int, int], size: int, stride: int = 1, *, bias: bool = False, activation: bool = True
) -> nn.Sequential:
    """Return a convolution, batch normalisation and, unless told otherwise, ReLU.

    Parameters
    ----------
    channels : (int, int)
        Of the input and of the output.
    size : int
        Of the kernel, along each axis; an odd one.
    stride : int, default 1
        Step of the output pixels.
    bias : bool, default False
        Whether the convolution has a bias, which the norm makes superfluous.
    activation : bool, default True
        Whether ReLU follows, in place: the norm's output is nobody else's.

    Returns
    -------
    torch.nn.Sequential
        The two or three of them.
    """
    layers = [convolution(channels, size, stride, bias=bias), nn.BatchNorm2d(channels[1])]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def head(channels: int, num_classes: int, dim: int = 2) -> nn.Sequential:
    """Return the mean over all pixels, :eq:`mean-pooling`, and one linear layer.

    Parameters
    ----------
    channels : int
        Of the last images.
    num_classes : int
        Length of the answer.
    dim : int, default 2
        Number of axes of the images.

    Returns
    -------
    torch.nn.Sequential
        Pooling, flattening, linear layer.
    """
    return nn.Sequential(POOLS[dim](1), nn.Flatten(), nn.Linear(channels, num_classes))  # eq: mean-pooling


def kaiming(model: nn.Module) -> None:
    """Draw new kernels for a network with ReLU, normal numbers of variance 2/inputs, :eq:`kaiming`.

    He et al. (2015), 'Delving deep into rectifiers', derive it for the forward pass (inputs, "fan in") and
    for the backward pass (outputs, "fan out") and find either one enough. This is the forward one, which
    also suits the linear layer, whose few outputs would give it far larger numbers than its inputs do.
    Biases become 0; norms are left at 1 and 0.

    Parameters
    ----------
    model : torch.nn.Module
        The network. Kernels that are not learned stay.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and isinstance(
            module.weight, nn.Parameter
        ):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")  # eq: kaiming
            if module.bias is not None:
                nn.init.zeros_(module.bias)
