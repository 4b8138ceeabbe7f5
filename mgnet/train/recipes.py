"""Recipes: how a network is trained, as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

from ..core.checks import choice, count, flag, number, positive, shown
from ..core.kinds import is_array
from ..data.augmentation import Augmentation

__all__ = ["RECIPES", "Recipe", "recipe"]

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "milestones", "cosine", "onecycle")
MOST = 10**9  # of epochs, and of images in a batch: with more a product or a quotient of them could overflow
FLIPS = ("random", "alternating")


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but model, data and seed.

    Parameters
    ----------
    epochs : int, default 10
        Passes over the training set.
    batch_size : int, default 128
        Images per step, of all processes together.
    optimizer : {"sgd", "adamw"}, default "sgd"
        SGD has momentum, :eq:`momentum`, or Nesterov's, :eq:`nesterov`; AdamW is :eq:`adamw`.
    lr : float, default 0.1
        Learning rate; the largest of the schedule.
    momentum : float, default 0.9
        Of SGD; the first beta of AdamW.
    nesterov : bool, default True
        Nesterov's form of the momentum; nothing where there is none.
    weight_decay : float, default 5e-4
        On kernels and matrices, :eq:`weight-decay`; not on norms and biases.
    schedule : {"constant", "milestones", "cosine", "onecycle"}, default "onecycle"
        How the learning rate changes from step to step: not, or as :eq:`milestones`, :eq:`cosine` and
        :eq:`one-cycle` say.
    milestones : tuple of float, default (0.5, 0.75)
        Shares of the run, between 0 and 1, after which the rate is divided by ten.
    warmup : float, default 0.2
        Share of the run in which "onecycle" rises.
    label_smoothing : float, default 0.0
        Weight of the uniform distribution in the targets, :eq:`label-smoothing`.
    crop : int, default 0
        Padding of the random crops, in pixels; 0 for none.
    flip : {"random", "alternating"}, optional
        Mirror images at random, or every other epoch.
    cutout : int, default 0
        Side of the square that is blanked, in pixels; 0 for none.
    replacement : bool, default False
        Draw images with replacement.
    drop_last : bool, default False
        Leave out what does not fill a batch.
    bfloat16 : bool, default False
        Compute products in bfloat16 (autocast). A device that is not faster in it uses float32: one without
        instructions for it, and Intel's processors without AMX.
    channels_last : bool, default False
        Memory order of images and kernels.
    compile : bool, default False
        Use ``torch.compile``.
    clip : float, optional
        Largest norm of the gradient, :eq:`clipping`.
    patience : int, optional
        Epochs without a better validation accuracy after which to stop, :eq:`early-stopping`.

    Raises
    ------
    TypeError, ValueError
        For other values.

    Notes
    -----
    Values are kept as plain Python types. None means none for flip, clip and patience, and for numbers of
    which 0 means none: momentum, weight_decay, warmup, label_smoothing, crop and cutout.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.2
    label_smoothing: float = 0.0
    crop: int = 0
    flip: Literal["random", "alternating"] | None = None
    cutout: int = 0
    replacement: bool = False
    drop_last: bool = False
    bfloat16: bool = False
    channels_last: bool = False
    compile: bool = False
    clip: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, plain in _PLAIN.items():
            # What is checked is what is kept: a checkpoint takes no NumPy scalars.
            object.__setattr__(self, name, plain(name, getattr(self, name)))
        self.augmentation()  # it refuses what it does not accept

    def augmentation(self) -> Augmentation:
        """Return what is done to the images of a batch: crop, flip and cutout.

        Returns
        -------
        Augmentation
            As :class:`mgnet.data.Batches` takes it.
        """
        return Augmentation(self.crop, self.flip, self.cutout)

    def changed(self, **changes: Any) -> Recipe:
        """Return the recipe with other values for some fields.

        Parameters
        ----------
        **changes
            By name; None means none, where a field may be none.

        Returns
        -------
        Recipe
            A new one.

        Raises
        ------
        TypeError
            For a name that is no field; the message lists them.
        """
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                accepted = ", ".join(known)
                raise TypeError(f"{name}: got {value!r}, and is no part of a recipe; accepted: {accepted}")
        return replace(self, **changes)


def _share(name: str, value: Any, limit: float = 1.0) -> float:
    share = number(name, value)
    if not 0 <= share < limit:
        below = ", below 1" if limit == 1 else ""
        raise ValueError(f"{name}: got {shown(value)}; accepted: at least 0{below}")
    return share


def _milestones(name: str, value: Any) -> tuple[float, ...]:
    accepted = "shares of the run, between 0 and 1"
    if not is_array(value):
        raise TypeError(f"{name}: got {shown(value)}; accepted: a tuple of {accepted}")
    shares = tuple(number(name, share) for share in value)
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"{name}: got {shown(value)}; accepted: {accepted}")
    return shares


def _optional(plain: Callable[[str, Any], Any], none: Any = None) -> Callable[[str, Any], Any]:
    def checked(name: str, value: Any) -> Any:
        if value is None:
            return none
        try:
            return plain(name, value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}, or None") from None

    return checked


_some = partial(count, most=MOST)
# How each field is checked and made plain.
_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("epochs", "batch_size"), _some),
    **dict.fromkeys(("momentum", "warmup", "label_smoothing"), _optional(_share, 0.0)),
    **dict.fromkeys(("crop", "cutout"), _optional(partial(count, least=0), 0)),
    **dict.fromkeys(("nesterov", "replacement", "drop_last", "bfloat16", "channels_last", "compile"), flag),
    "optimizer": partial(choice, accepted=OPTIMIZERS),
    "lr": positive,
    "weight_decay": _optional(partial(_share, limit=math.inf), 0.0),
    "schedule": partial(choice, accepted=SCHEDULES),
    "milestones": _milestones,
    "flip": _optional(partial(choice, accepted=FLIPS)),
    "clip": _optional(positive),
    "patience": _optional(_some),
}


PAPER = Recipe(epochs=200, nesterov=False, weight_decay=1e-4, schedule="milestones", crop=4, flip="random")
FAST = Recipe(epochs=5, batch_size=64, drop_last=True)
PHOTOGRAPHS = replace(FAST, batch_size=128, lr=0.4, label_smoothing=0.1, crop=2, flip="alternating")
PLAIN = Recipe(epochs=10, batch_size=64, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant")

# "paper": what the articles on these networks did. "fast": the most that few epochs give on a CPU.
# "lecture": the plain loop of the course, nothing that was not explained yet. Each for photographs and for
# grey digits; for "bare" networks, without batch normalisation, where large learning rates diverge; for
# "flat" ones, without convolutions, which a shifted image confuses.
RECIPES: dict[str, dict[str, Recipe]] = {
    "paper": {
        "photographs": PAPER,
        "bare": replace(PAPER, lr=0.01, weight_decay=5e-4),
        "digits": replace(PLAIN, epochs=20, batch_size=128),
        "flat": replace(PLAIN, epochs=20, batch_size=128),
    },
    "fast": {
        "photographs": replace(PHOTOGRAPHS, bfloat16=True, channels_last=True),
        "bare": replace(FAST, optimizer="adamw", lr=3e-3, flip="alternating"),
        "digits": replace(FAST, lr=0.05, crop=2),
        "flat": replace(FAST, lr=0.02, weight_decay=1e-4),
    },
    "lecture": {
        **dict.fromkeys(("photographs", "bare", "flat"), PLAIN),
        "digits": replace(PLAIN, epochs=15, batch_size=32),
    },
}


def recipe(name: str, channels: int = 3, normalised: bool = True, convolutional: bool = True) -> Recipe:
    """Return a recipe by name, for grey digits or photographs, and networks with or without those layers."""
    if name not in RECIPES:
        raise ValueError(f"recipe: got {name!r}; accepted: one of {tuple(RECIPES)}")
    if not convolutional:
        return RECIPES[name]["flat"]
    return RECIPES[name]["digits" if channels == 1 else "photographs" if normalised else "bare"]
