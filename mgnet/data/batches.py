"""The batches of a split, in random order and augmented, every random number of them from a seed.

A generator is seeded anew for the order of each epoch and for each batch, from the run's seed and the numbers
of epoch and step. So two integers say where a run stands, and one that goes on in the middle of an epoch sees
the same batches, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.checks import count
from .augmentation import Augmentation
from .splits import FLOATS, Split

__all__ = ["Batches"]


class Batches:
    """The batches of a split, epoch after epoch: each pass over it yields what is left of one.

    Parameters
    ----------
    split : Split
        The images; what is drawn is the same on every device.
    batch_size : int
        Images per step, of all processes together.
    augmentation : Augmentation, optional
        By default none.
    shuffle : bool, default True
        Whether the order is random.
    replacement : bool, default False
        Whether every image of a batch is drawn from all, so that one may occur twice in an epoch and another
        not at all.
    drop_last : bool, default False
        Whether to leave out the last batch where it would be smaller than the others.
    smallest : int, default 1
        The last batch is also left out where it would have fewer images than this.
    seed : int, default 0
        Decides every random number, with the epoch and the step.
    rank, world : int
        This process and how many there are: it gets the rows rank, rank + world, ... of every batch. Order
        and augmentation are drawn for the whole batch first, and so are those of a single process. Where the
        last batch cannot be shared evenly the parts differ by one row, and may be empty.
    dtype : torch.dtype, default torch.float32
        Of the images.
    channels_last : bool, default False
        Whether the channels of a pixel lie together in memory.

    Attributes
    ----------
    epoch : int
        The epoch that the next batch belongs to, from 0.
    position : int
        The number of its batches that were handed out. It counts a batch already while that is worked on, so
        that a state saved after the step goes on with the next one.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        augmentation: Augmentation | None = None,
        shuffle: bool = True,
        replacement: bool = False,
        drop_last: bool = False,
        smallest: int = 1,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        if not isinstance(split, Split):
            raise TypeError(f"split: got {type(split).__name__}; accepted: a Split, such as data.train")
        self.split = split
        self.batch_size = count("batch_size", batch_size)
        self.seed, self.rank, self.world = (
            count("seed", seed, 0),
            count("rank", rank, 0),
            count("world", world),
        )
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.shuffle, self.replacement = shuffle, replacement
        self.smallest = self.batch_size if drop_last else count("smallest", smallest)
        self.dtype, self.channels_last = dtype, channels_last
        self.epoch = self.position = 0
        self._require_sense()

    def _require_sense(self) -> None:
        images, (_, height, width) = len(self.split), self.split.shape
        augmentation, least = self.augmentation, min(height, width)
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation: got {augmentation!r}; accepted: an Augmentation or None")
        size, smallest, world = self.batch_size, self.smallest, self.world
        crop, reflects = augmentation.crop, augmentation.padding == "reflect"
        few = "batch_size" if smallest == size else "smallest"
        for wrong, name, got, accepted in (
            (self.dtype not in FLOATS, "dtype", self.dtype, f": {', '.join(map(str, FLOATS))}"),
            (self.rank >= world, "rank", self.rank, f": below the {world} of world"),
            (size < world, "batch_size", size, f": at least {world}, one per process"),
            (size < smallest, "batch_size", size, f": at least {smallest}"),
            (smallest > max(images, 1), few, smallest, f": at most the {images} images"),
            (self.replacement and not self.shuffle, "replacement", True, " with shuffle=False: False"),
            (reflects and crop >= least, "crop", crop, f" with 'reflect': below {least}, the image"),
            (crop > least, "crop", crop, f": at most {least}, the image"),
            (augmentation.cutout > least, "cutout", augmentation.cutout, f": at most {least}, the image"),
        ):
            if wrong:
                raise ValueError(f"{name}: got {got!r}; accepted{accepted}")

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest >= self.smallest)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._order()
        while self.position < len(self):
            step = self.position
            self.position += 1
            yield self._batch(order, step)
        self.epoch, self.position = self.epoch + 1, 0

    def _order(self) -> Tensor:
        images, generator = len(self.split), _generator(self.seed, self.epoch)
        if not self.shuffle:
            return torch.arange(images)
        if self.replacement and images:
            return torch.randint(images, (images,), generator=generator)
        return torch.randperm(images, generator=generator)

    def _batch(self, order: Tensor, step: int) -> tuple[Tensor, Tensor]:
        split, device = self.split, self.split.images.device
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        mine = slice(self.rank, None, self.world)
        draws = self._draws(rows, step) if self.augmentation else rows.new_empty(0, len(rows))
        # What a step needs goes to the device together.
        numbers = sent(torch.cat((rows[None], draws))[:, mine], device)
        index, x = numbers[0], split.images.index_select(0, numbers[0])
        if self.augmentation:
            x = self.augmentation(x, numbers[1:])
        return split.normalise(x, self.dtype, self.channels_last), split.labels.index_select(0, index)

    def _draws(self, rows: Tensor, step: int) -> Tensor:
        _, height, width = self.split.shape
        draws = self.augmentation.draw(rows, height, width, _generator(self.seed, self.epoch, step))
        if self.augmentation.flip == "alternating":
            draws[0] = (_coin(rows, self.seed) + self.epoch) % 2
        return draws

    def state_dict(self) -> dict[str, int]:
        """Return where the batches stand.

        Returns
        -------
        dict of str to int
            Epoch and position, and what they depend on: seed, batch_size and the number of images.
        """
        return {"epoch": self.epoch, "position": self.position, **self._fixed()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where other batches of the same split stood.

        Parameters
        ----------
        state : dict of str to int
            From :meth:`state_dict`. The number of processes may be another one.

        Raises
        ------
        ValueError
            When it belongs to another seed, batch size or number of images, or to a place that is not there.
        """
        for name, own in self._fixed().items():
            if state.get(name, own) != own:
                raise ValueError(f"state: got {name} {state[name]}; accepted: {own}, as these batches have")
        epoch, position = count("epoch", state["epoch"], 0), count("position", state["position"], 0)
        steps = len(self)
        if position > steps:
            raise ValueError(f"position: got {position}; accepted: at most {steps}, the steps of an epoch")
        self.epoch, self.position = epoch, position

    def _fixed(self) -> dict[str, int]:
        return {"seed": self.seed, "batch_size": self.batch_size, "images": len(self.split)}


MASK = 2**64 - 1
ODD = 0x9E3779B97F4A7C15


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(hashed(*numbers))


def hashed(*numbers: int) -> int:
    """Return 32 bits, of which each depends on every number and on how many there are."""
    mixed = len(numbers) * ODD
    for value in numbers:
        mixed = ((mixed ^ value) * ODD) & MASK
        mixed ^= mixed >> 29  # or the upper bits would never reach the lower ones
    return (mixed * ODD & MASK) >> 32  # of a seed, torch's generator takes no more than 32


def _coin(rows: Tensor, seed: int) -> Tensor:
    """Return 0 or 1 for each row, the same in every epoch."""
    odd = ODD - 2**64  # as a signed number; products wrap
    mixed = (rows + hashed(seed)) * odd
    return (((mixed ^ (mixed >> 29)) * odd) >> 40) & 1
