"""The sums of an epoch: on a GPU they are made up some steps later, since each look waits for it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..core.checks import count, number
from .judging import diverged

__all__ = ["LOOK", "Sums"]

# Steps between two looks at the losses on a GPU; each look waits for it.
LOOK = 25


class Sums:
    """The losses, correct answers, images and seconds of the steps of an epoch, in one process."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.loss, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        # Steps whose losses nobody has looked at: number, learning rate, images, loss and correct ones.
        self._unseen: list[tuple[int, float, int, Tensor]] = []

    def note(self, step: int, lr: float, losses: Tensor, correct: Tensor, images: int) -> None:
        """Take the figures of a step; on a CPU, and every so often on a GPU, look at them.

        The step's number and learning rate are for the message. ``losses`` is the sum of the losses, and
        ``correct`` the number of images that were classified correctly.
        """
        self._unseen.append((step, lr, images, torch.stack((losses.detach().double(), correct.double()))))
        if losses.device.type == "cpu" or len(self._unseen) >= LOOK:
            self.look()

    def look(self) -> None:
        """Add up the losses since the last look; one that is not finite is a :class:`mgnet.DivergedError`."""
        # One look at all of them.
        figures = torch.stack([figure for *_, figure in self._unseen]).tolist() if self._unseen else []
        for (step, lr, images, _), (loss, correct) in zip(self._unseen, figures, strict=True):
            if not math.isfinite(loss):
                raise diverged(f"the loss of step {step} is {loss}", lr)
            self.loss += loss
            self.correct += int(correct)
            self.seen += images
        self._unseen.clear()

    def state(self) -> list[Any]:
        """Return the sums as a checkpoint holds them."""
        return [self.loss, self.correct, self.seen, self.seconds]

    def load(self, state: list[Any]) -> None:
        """Take up what :meth:`state` returned."""
        loss, correct, seen, seconds = state
        self.loss, self.seconds = number("loss", loss), number("seconds", seconds)
        self.correct, self.seen = count("correct", correct, 0), count("seen", seen, 0)
