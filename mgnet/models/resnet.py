"""Residual networks: the thin ones for CIFAR-10, the wide ones in CIFAR form, and activation first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..core.checks import choice, count
from ..operators.convolutions import convolution
from .common import conv_norm, counts, head, kaiming
from .registry import register

__all__ = ["PreActivation", "ResNet", "Residual", "ZeroPadded"]


class ZeroPadded(nn.Module):
    """A skip without parameters, :eq:`zero-padded-skip`: every stride-th pixel, and zeros as new channels.

    With the padding "end" they come last; with "both" half of them come first.
    """

    def __init__(self, channels: tuple[int, int], stride: int, padding: str = "end") -> None:
        super().__init__()
        missing = channels[1] - channels[0]
        self.before = missing // 2 if padding == "both" else 0
        self.after, self.stride = missing - self.before, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return fewer pixels and more channels, in the memory format of x."""
        # Pooling a single pixel is slicing, but its derivative keeps the memory format.
        x = F.avg_pool2d(x, 1, self.stride) if self.stride > 1 else x
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))  # eq: zero-padded-skip


class Residual(nn.Module):
    """A residual block: relu(body(x) + skip(x)), :eq:`residual-block`; the body's output is its own."""

    def __init__(self, body: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.body, self.skip = body, skip

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of images."""
        return self.body(x).add_(self.skip(x)).relu_()  # eq: residual-block


class PreActivation(nn.Module):
    """A residual block with norm and ReLU before each convolution, :eq:`pre-activation`.

    Where the shape stays the skip is x itself; where it changes, a 1×1 convolution of relu(norm(x)). From He,
    Zhang, Ren, Sun, 'Identity mappings in deep residual networks', 2016.
    """

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels[0])
        self.body = nn.Sequential(conv_norm(channels, 3, stride), convolution((channels[1], channels[1]), 3))
        changes = stride > 1 or channels[0] != channels[1]
        self.projection = convolution(channels, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of images."""
        activated = self.norm(x).relu_()
        # eq: pre-activation
        return self.body(activated).add_(x if self.projection is None else self.projection(activated))


def _thin(inputs: int, width: int, stride: int, padding: str = "end") -> tuple[nn.Module, int]:
    """Give two 3×3 convolutions, and a skip without parameters."""
    same = (inputs, 1) == (width, stride)
    skip = nn.Identity() if same else ZeroPadded((inputs, width), stride, padding)
    return Residual(_plain(inputs, width, stride), skip), width


def _wide(inputs: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """Give two 3×3 convolutions, and a skip that is a 1×1 convolution where the shape changes."""
    return Residual(_plain(inputs, width, stride), _projection(inputs, width, stride)), width


def _bottleneck(inputs: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """Give a 3×3 convolution between two of 1×1, the last one four times as wide."""
    body = nn.Sequential(
        conv_norm((inputs, width), 1),
        conv_norm((width, width), 3, stride),
        conv_norm((width, 4 * width), 1, activation=False),
    )
    return Residual(body, _projection(inputs, 4 * width, stride)), 4 * width


def _plain(inputs: int, width: int, stride: int) -> nn.Sequential:
    last = conv_norm((width, width), 3, activation=False)
    return nn.Sequential(conv_norm((inputs, width), 3, stride), last)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    if (inputs, 1) == (outputs, stride):
        return nn.Identity()
    return conv_norm((inputs, outputs), 1, stride, activation=False)


PADDINGS = ("end", "both")
# From the channels of the input, the width of the stage and the stride to a block and its channels.
BLOCKS: dict[str, Callable[[int, int, int], tuple[nn.Module, int]]] = {
    "thin": _thin,
    "wide": _wide,
    "bottleneck": _bottleneck,
    "preactivation": lambda inputs, width, stride: (PreActivation((inputs, width), stride), width),
}


class ResNet(nn.Sequential):
    """A residual network: one convolution, stages of blocks, the mean over all pixels, one linear layer.

    Each stage after the first halves the images in its first block.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 3 and 32
        Length of the answer; channels of an image, its width and height, at least the product of all strides:
        4 for three stages, 8 for four.
    repeats : sequence of int, default (3, 3, 3)
        Blocks in each stage.
    widths : sequence of int, default (16, 32, 64)
        Channels inside the blocks of each stage; the first is also that of the first convolution.
    block : {"thin", "wide", "bottleneck", "preactivation"}, default "thin"
        Two convolutions with a zero-padded skip or with a 1×1 convolution as skip, three convolutions of
        which the middle one is narrow, or two with the norms before them.
    padding : {"end", "both"}, default "end"
        Where the new channels of a zero-padded skip are: all behind the others, or half of them before and
        half behind, as in the networks whose weights :func:`mgnet.models.import_weights` reads. Other blocks
        refuse "both".

    Raises
    ------
    TypeError, ValueError
        For a smaller image, another block, a padding that is none or that the block has not, and lists that
        are not of positive integers and as long as each other.

    References
    ----------
    He, Zhang, Ren, Sun, 'Deep residual learning for image recognition', 2016.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        repeats: Sequence[int] = (3, 3, 3),
        widths: Sequence[int] = (16, 32, 64),
        block: str = "thin",
        padding: str = "end",
    ) -> None:
        repeats = counts("repeats", repeats)
        widths = counts("widths", widths, len(repeats), f"{len(repeats)} integers, as repeats has")
        count("image_size", image_size, 2 ** (len(widths) - 1))
        choice("block", block, tuple(BLOCKS))
        if choice("padding", padding, PADDINGS) != "end" and block != "thin":
            raise ValueError(f"padding: got {padding!r}; accepted with block={block!r}: 'end'")
        make = partial(_thin, padding=padding) if block == "thin" else BLOCKS[block]
        channels = widths[0]
        first = (count("in_channels", in_channels), channels)
        # Blocks with activation first begin with a norm of their own.
        layers: list[nn.Module] = [convolution(first, 3) if block == "preactivation" else conv_norm(first, 3)]
        for stage, (repeat, width) in enumerate(zip(repeats, widths, strict=True)):
            for i in range(repeat):
                made, channels = make(channels, width, 2 if stage > 0 and i == 0 else 1)
                layers.append(made)
        super().__init__(*layers, head(channels, count("num_classes", num_classes)))
        kaiming(self)
        self.repeats, self.block, self.padding = repeats, block, padding


register("resnet")(ResNet)
for _depth in (20, 32, 44, 56, 110):
    # Two convolutions in each block of three stages, the first convolution and the linear layer.
    register(f"resnet{_depth}", repeats=((_depth - 2) // 6,) * 3, widths=(16, 32, 64), block="thin")(ResNet)

for _name, _block, _repeats in (
    ("resnet18", "wide", (2, 2, 2, 2)),
    ("resnet34", "wide", (3, 4, 6, 3)),
    ("resnet50", "bottleneck", (3, 4, 6, 3)),
    ("preact18", "preactivation", (2, 2, 2, 2)),
):
    # Their skips have no zeros to place: padding is no option of theirs.
    register(_name, repeats=_repeats, widths=(64, 128, 256, 512), block=_block, padding="end")(ResNet)
