"""Augmentation of whole batches, as index gathers on bytes: no loop over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..core.checks import count

__all__ = ["Augmentation", "crop", "cutout", "flip"]


@dataclass(frozen=True)
class Augmentation:
    """What is done to the images of a batch, in this order, and before they are normalised.

    Parameters
    ----------
    crop : int, default 0
        Pixels added on every side, of which a random window of the old size is kept.
    flip : {None, "random", "alternating"}
        Whether to mirror left and right: each time by chance, or every image in every other epoch, with
        chance deciding only whether in even or in odd ones.
    cutout : int, default 0
        The side of a square that is blackened. Its centre is any pixel, so that it may lie partly outside.
    padding : {"zero", "reflect"}
        Whether the pixels added are black or mirror the image at its outermost pixel.

    Raises
    ------
    TypeError, ValueError
        For other values.
    """

    crop: int = 0
    flip: Literal["random", "alternating"] | None = None
    cutout: int = 0
    padding: Literal["zero", "reflect"] = "zero"

    def __post_init__(self) -> None:
        count("crop", self.crop, 0)
        count("cutout", self.cutout, 0)
        if self.flip not in (None, "random", "alternating"):
            raise ValueError(f"flip: got {self.flip!r}; accepted: None, 'random' or 'alternating'")
        if self.padding not in ("zero", "reflect"):
            raise ValueError(f"padding: got {self.padding!r}; accepted: 'zero' or 'reflect'")

    def __bool__(self) -> bool:
        return bool(self.crop or self.flip or self.cutout)

    def draw(self, rows: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers of a batch.

        Parameters
        ----------
        rows : torch.Tensor of int64, shape (images,)
            Only their number counts.
        height, width : int
            The size of the images.
        generator : torch.Generator
            On the CPU, as the result: a batch is the same on every device.

        Returns
        -------
        torch.Tensor of int64, shape (5, images)
            For each image whether it is flipped, where its window begins (row, column), and where its square
            has its centre. All are drawn, so that one kind of augmentation does not change another.
        """
        ends = torch.tensor([2, 2 * self.crop + 1, 2 * self.crop + 1, height, width])
        return torch.randint(2**48, (5, len(rows)), generator=generator) % ends[:, None]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment a batch.

        Parameters
        ----------
        images : torch.Tensor of uint8, shape (images, channels, height, width)
            The batch.
        draws : torch.Tensor of int64, shape (5, images)
            From :meth:`draw`, on the same device.

        Returns
        -------
        torch.Tensor of uint8, shape (images, channels, height, width)
            Not necessarily contiguous.
        """
        flipped, top, left, y, x = draws
        if self.flip:
            images = flip(images, flipped)
        if self.crop:
            images = crop(images, top, left, self.crop, self.padding)
        return cutout(images, y, x, self.cutout) if self.cutout else images


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Return a new batch in which those images are mirrored left and right where ``flipped`` is 1, not 0."""
    both = torch.cat((images, images.flip(-1)))
    own = torch.arange(len(images), device=images.device)
    return both.index_select(0, own + len(images) * flipped)


def crop(images: Tensor, top: Tensor, left: Tensor, margin: int, padding: str = "zero") -> Tensor:
    """Return a new batch: to each image a margin is added, and a window of the old size is kept.

    Windows begin at ``top`` and ``left``, from 0 to twice the margin. The new rows have gaps between them in
    memory.
    """
    n, channels, height, width = images.shape
    if padding == "reflect":
        rows, columns = (_mirrored(size, margin, images.device) for size in (height, width))
        padded = images.index_select(2, rows).index_select(3, columns)
    else:
        padded = functional.pad(images, (margin,) * 4)
    stride = padded.shape[-1]
    # A window is one run of memory, from its first pixel to its last, with what lies between its rows: it is
    # faster to copy runs than rows.
    length = height * stride - 2 * margin
    runs, start = padded.flatten(2).unfold(2, length, 1), top * stride + left
    own = torch.arange(n, device=images.device)
    if images.device.type == "cpu":  # where NumPy copies whole runs and torch one element at a time
        kept = torch.from_numpy(runs.numpy()[own.numpy(), :, start.numpy()])
    else:
        kept = runs[own, :, start]
    return kept.contiguous().as_strided(images.shape, (channels * length, length, stride, 1))


def _mirrored(size: int, margin: int, device: torch.device) -> Tensor:
    """Return which pixels stand along an axis and its margins, both of which mirror the image."""
    place = torch.arange(-margin, size + margin, device=device).abs()
    return size - 1 - (size - 1 - place).abs()


def cutout(images: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    """Return a new batch with a black square in each image, whose pixel (side // 2, side // 2) is (y, x).

    From T. DeVries, G. W. Taylor, 'Improved regularization of convolutional neural networks with cutout',
    arXiv 1708.04552.
    """

    def outside(centre: Tensor, size: int) -> Tensor:
        place = torch.arange(size, device=images.device) - centre[:, None] + side // 2
        return (place < 0) | (place >= side)

    kept = outside(y, images.shape[2])[:, :, None] | outside(x, images.shape[3])[:, None, :]
    return images * kept[:, None]
