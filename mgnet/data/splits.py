"""Labelled images that lie in memory as a whole: bytes on the device, normalised when they are used."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.checks import find_device, number
from ..core.kinds import is_array

__all__ = ["Data", "Split", "statistics"]

PARTS = ("train", "validation", "test")
FORMS = ("square", "digits")
# The edge of images is the same where more than this share of its pixels differs by no more than this level.
MOST, SAME = 0.6, 12
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Split(torch.utils.data.Dataset):
    """Images and labels of one part of a data set.

    An ordinary sequence of pairs, and a data set for torch's DataLoader. Whole batches at a time are faster:
    :class:`mgnet.data.Batches`.

    Parameters
    ----------
    images : torch.Tensor of uint8, shape (images, channels, height, width)
        The pixels; not copied.
    labels : torch.Tensor of int64, shape (images,)
        The class of each image.
    mean, std : sequence of float, shape (channels,) or (1,)
        What :meth:`normalise` subtracts and divides by, where 1 is the brightest pixel; by default 0 and 1.
    origin : str, optional
        Says of which files, and how, the images were made, where their pixels depend on who decodes them.
        :meth:`digest` then goes by it.

    Raises
    ------
    TypeError, ValueError
        When types or sizes do not fit.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        origin: str = "",
    ) -> None:
        _require_images(images)
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            accepted = f"a tensor of int64, shape {tuple(images.shape[:1])}, one label per image"
            raise TypeError(f"labels: got {_shown(labels)}; accepted: {accepted}")
        channels, device = images.shape[1], images.device
        if labels.device != device:
            raise ValueError(f"labels: got device {labels.device}; accepted: that of the images, {device}")
        self.images, self.labels, self.origin = images, labels, origin
        self.mean, self.std = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
        if min(self.std) <= 0:
            raise ValueError(f"std: got {self.std}; accepted: positive numbers")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex) -> tuple[Tensor, int]:
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index: got {i}; accepted: below {len(self)}")  # which ends a for loop
        return self.normalise(self.images[i][None])[0], int(self.labels[i])

    def __repr__(self) -> str:
        return f"Split({len(self):,} images of {'×'.join(map(str, self.shape))}, {self.images.device})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def normalise(
        self, images: Tensor, dtype: torch.dtype = torch.float32, channels_last: bool = False
    ) -> Tensor:
        """Return (x/255 − mean)/std, channel by channel, :eq:`normalise`.

        Parameters
        ----------
        images : torch.Tensor of uint8, shape (images, channels, height, width)
            They need not be those of this split.
        dtype : torch.dtype, default torch.float32
            Of the result: float32, float64, float16 or bfloat16. The last two are rounded from float32.
        channels_last : bool, default False
            Whether the channels of a pixel lie together in memory; the shape is the same.

        Returns
        -------
        torch.Tensor, shape (images, channels, height, width)
            A new tensor.

        Raises
        ------
        TypeError, ValueError
            For other types or another number of channels.
        """
        _require_images(images, len(self.mean))
        if dtype not in FLOATS:
            raise ValueError(f"dtype: got {dtype!r}; accepted: {', '.join(map(str, FLOATS))}")
        layout = torch.channels_last if channels_last else torch.contiguous_format
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        pairs = [(1 / (255 * s), -m / s) for m, s in zip(self.mean, self.std, strict=True)]
        # One value per pixel: in channels_last the loop over one value per channel would be three long.
        scale, shift = (
            channel[:, None, None].expand(1, *images.shape[1:]).contiguous(memory_format=layout)
            for channel in sent(torch.tensor(pairs, dtype=exact), images.device).T
        )
        if channels_last:
            # One channel after the other: torch's own change of order takes four times as long.
            x = torch.empty(images.shape, dtype=exact, device=images.device, memory_format=layout)
            for channel in range(images.shape[1]):
                x[:, channel] = images[:, channel]
        else:
            x = images.to(exact, memory_format=layout)
        return torch.addcmul(shift, x, scale, out=x).to(dtype)  # eq: normalise

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> Split:
        """Return the same images with another normalisation: that of the training set of a model, say.

        Parameters
        ----------
        mean, std : sequence of float, shape (channels,)
            As of this class.

        Returns
        -------
        Split
            It shares the images.
        """
        return Split(self.images, self.labels, mean, std, self.origin)

    def subset(self, indices: Sequence[int] | Tensor) -> Split:
        """Return a copy of some of the images.

        Parameters
        ----------
        indices : sequence of int, or 1-D tensor of integers
            Which, and in which order.

        Returns
        -------
        Split
            With the same normalisation.

        Raises
        ------
        TypeError, IndexError
            When they are no integers, or not those of images.
        """
        rows = torch.as_tensor(indices)
        if rows.numel() == 0:
            rows = rows.to(torch.int64)
        if rows.ndim != 1 or rows.dtype.is_floating_point or rows.dtype in (torch.bool, torch.complex64):
            raise TypeError(f"indices: got {_shown(rows)}; accepted: integers in one row")
        low, high = (int(rows.min()), int(rows.max())) if rows.numel() else (0, -1)
        if low < -len(self) or high >= len(self):
            raise IndexError(f"indices: got {low} to {high}; accepted: below {len(self)}")
        rows = rows.to(self.images.device, torch.int64) % max(len(self), 1)
        return Split(self.images.index_select(0, rows), self.labels[rows], self.mean, self.std)

    def digest(self) -> str:
        """Return what tells this split from others: number and hash of images, labels and normalisation.

        Of images with an ``origin``, this stands for their pixels and the normalisation that follows from
        them.

        Returns
        -------
        str
            The same on every device.
        """
        pixels = repr((tuple(self.images.shape), self.mean, self.std))
        hashed = hashlib.sha256((self.origin or pixels).encode())
        for tensor in (self.labels,) if self.origin else (self.images, self.labels):
            hashed.update(np.ascontiguousarray(tensor.cpu().numpy()).ravel().view(np.uint8).data)
        return f"{len(self):,} images, SHA-256 {hashed.hexdigest()}"

    def to(self, device: Any) -> Split:
        """Return the split on a device.

        Parameters
        ----------
        device : str or torch.device
            The CPU or a CUDA device.

        Returns
        -------
        Split
            Itself, where it is there already.
        """
        place = find_device(device)
        images = self.images.to(place)
        if images is self.images:
            return self
        return Split(images, self.labels.to(place), self.mean, self.std, self.origin)


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: training, validation and test images of the same classes.

    Parameters
    ----------
    name : str
        As :func:`mgnet.data.load` knows it.
    classes : list of str
        The name of each label.
    train, validation, test : Split
        The parts. The test set is for one look at the end; choices are made on the validation set, which may
        be empty.
    source : str
        Where the images come from; of published sets 'unverified' stands in it unless they are known to be
        the published ones.
    verified : bool
        Whether they are known to be the published or the procedural ones; never of one's own pictures.
    form : {"square", "digits"}
        How a picture becomes an image of the set: "square" by cutting out the middle and resizing, "digits"
        as in MNIST, where the ink is scaled to 20 pixels and centred by its mass. A run keeps it, for
        pictures that its model is asked about.
    """

    name: str
    classes: list[str]
    train: Split
    validation: Split
    test: Split
    source: str
    verified: bool
    form: str = "square"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of each channel over the training images, where 1 is the brightest pixel."""
        return self.train.mean

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each channel over all pixels of the training images."""
        return self.train.std

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> Data:
        """Return the same images with another normalisation in all parts: that of a model's run, say.

        Parameters
        ----------
        mean, std : sequence of float, shape (channels,)
            As of :class:`Split`.

        Returns
        -------
        Data
            It shares the images.
        """
        return replace(self, **{part: getattr(self, part).normalised_by(mean, std) for part in PARTS})

    @property
    def border(self) -> float | None:
        """How bright the edge of the training images is, where 1 is white; None where it is not the same."""
        x = self.train.images
        edge = torch.cat([x[:, :, [0, -1]].flatten(), x[:, :, :, [0, -1]].flatten()])
        share = torch.bincount(edge, minlength=256).cpu().double() / edge.numel()
        level = int(share.argmax())
        nearly = float(share[max(level - SAME, 0) : level + SAME + 1].sum())
        return level / 255 if nearly > MOST else None

    def to(self, device: Any) -> Data:
        """Return the data set on a device.

        Parameters
        ----------
        device : str or torch.device
            The CPU or a CUDA device.

        Returns
        -------
        Data
            It shares what is there already.
        """
        return replace(self, **{part: getattr(self, part).to(device) for part in PARTS})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, p)):,} {p}" for p in ("train", "validation", "test"))
        shape = "×".join(map(str, self.shape))
        return f"Data({self.name}: {sizes}; {shape}, {self.num_classes} classes; {self.source})"


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all pixels.

    Parameters
    ----------
    images : torch.Tensor of uint8, shape (images, channels, height, width)
        At least one.

    Returns
    -------
    mean, std : tuple of float, shape (channels,)
        Where 1 is the brightest pixel. The std of a channel that is constant is given as 1.
    """
    _require_images(images)
    if not images.numel():
        raise ValueError(f"images: got shape {tuple(images.shape)}; accepted: at least one image")
    level = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        # Counts are exact, whatever their number, and 256 of them are quick to add up in float64.
        share = torch.bincount(images[:, channel].flatten(), minlength=256).cpu().double()
        share /= share.sum()
        mean.append(float((share * level).sum()))
        std.append(float((share * (level - mean[-1]).square()).sum().sqrt()) or 1.0)
    return tuple(mean), tuple(std)


def _require_images(images: Tensor, channels: int | None = None) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        accepted = "a tensor of uint8, shape (images, channels, height, width)"
        raise TypeError(f"images: got {_shown(images)}; accepted: {accepted}")
    if channels is not None and images.shape[1] != channels:
        raise ValueError(f"images: got {images.shape[1]} channels; accepted: {channels}")


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    found = tuple(number(name, value) for value in (values if is_array(values) else [values]))
    if len(found) not in (1, channels):
        raise ValueError(f"{name}: got {found}; accepted: {channels} numbers, one per channel")
    return found if len(found) == channels else found * channels


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}"
    return type(value).__name__
