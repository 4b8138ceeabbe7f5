"""Recipes: how a network is trained, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
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
        Nesterov's form of the momentum.
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
        Compute products in bfloat16 (autocast). A device without instructions for it uses float32, which is
        several times faster there.
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
        for name in changes:
            if name not in known:
                raise TypeError(
                    f"{name}: got {changes[name]!r}, and is no part of a recipe; accepted: {', '.join(known)}"
                )
        return replace(self, **changes)


def _word(accepted: tuple[str, ...]) -> Callable[[str, Any], str]:
    def plain(name: str, value: Any) -> str:
        choice(name, value, accepted)
        return str(value)

    return plain


def _share(name: str, value: Any) -> float:
    """Return a number from 0 to below 1; none is 0."""
    share = number(name, 0.0 if value is None else value)
    if not 0 <= share < 1:
        raise ValueError(f"{name}: got {shown(value)}; accepted: at least 0, below 1")
    return share


def _decay(name: str, value: Any) -> float:
    decay = number(name, 0.0 if value is None else value)
    if decay < 0:
        raise ValueError(f"{name}: got {shown(value)}; accepted: at least 0")
    return decay


def _milestones(name: str, value: Any) -> tuple[float, ...]:
    if not is_array(value):
        raise TypeError(
            f"{name}: got {shown(value)}; accepted: a tuple of shares of the run, between 0 and 1"
        )
    shares = tuple(number(name, share) for share in value)
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"{name}: got {shown(value)}; accepted: shares of the run, between 0 and 1")
    return shares


def _some(name: str, value: Any) -> int:
    return count(name, value, 1, MOST)


def _pixels(name: str, value: Any) -> int:
    return 0 if value is None else count(name, value, 0)


def _optional(plain: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else plain(name, value)


# How each field is checked and made plain.
_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    "epochs": _some,
    "batch_size": _some,
    "optimizer": _word(OPTIMIZERS),
    "lr": positive,
    "momentum": _share,
    "nesterov": flag,
    "weight_decay": _decay,
    "schedule": _word(SCHEDULES),
    "milestones": _milestones,
    "warmup": _share,
    "label_smoothing": _share,
    "crop": _pixels,
    "flip": _optional(_word(FLIPS)),
    "cutout": _pixels,
    "replacement": flag,
    "drop_last": flag,
    "bfloat16": flag,
    "channels_last": flag,
    "compile": flag,
    "clip": _optional(positive),
    "patience": _optional(_some),
}


PLAIN = Recipe(epochs=10, batch_size=64, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant")

# "paper": what the articles on these networks did. "fast": the most that few epochs give on a CPU.
# "lecture": the plain loop of the course, nothing that was not explained yet. Each for photographs and for
# grey digits; for "bare" networks, without batch normalisation, where large learning rates diverge; for
# "flat" ones, without convolutions, which a shifted image confuses.
RECIPES: dict[str, dict[str, Recipe]] = {
    "paper": {
        "photographs": Recipe(
            epochs=200,
            lr=0.1,
            nesterov=False,
            weight_decay=1e-4,
            schedule="milestones",
            crop=4,
            flip="random",
        ),
        "bare": Recipe(
            epochs=200,
            lr=0.01,
            nesterov=False,
            weight_decay=5e-4,
            schedule="milestones",
            crop=4,
            flip="random",
        ),
        "digits": Recipe(epochs=20, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"),
        "flat": Recipe(epochs=20, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"),
    },
    "fast": {
        "photographs": Recipe(
            epochs=5,
            lr=0.4,
            label_smoothing=0.1,
            crop=2,
            flip="alternating",
            bfloat16=True,
            channels_last=True,
            drop_last=True,
        ),
        "bare": Recipe(
            epochs=5, batch_size=64, optimizer="adamw", lr=3e-3, flip="alternating", drop_last=True
        ),
        "digits": Recipe(epochs=5, batch_size=64, lr=0.05, crop=2, drop_last=True),
        "flat": Recipe(epochs=5, batch_size=64, lr=0.02, weight_decay=1e-4, drop_last=True),
    },
    "lecture": {
        "photographs": PLAIN,
        "bare": PLAIN,
        "digits": replace(PLAIN, epochs=15, batch_size=32),
        "flat": PLAIN,
    },
}


def recipe(name: str, channels: int = 3, normalised: bool = True, convolutional: bool = True) -> Recipe:
    """Return a recipe by name, "paper", "fast" or "lecture"; another is a ValueError.

    It depends on the channels of the images, one for grey digits, else photographs, and on whether the
    network has batch normalisation, and convolutions.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe: got {name!r}; accepted: one of {tuple(RECIPES)}")
    if not convolutional:
        return RECIPES[name]["flat"]
    return RECIPES[name]["digits" if channels == 1 else "photographs" if normalised else "bare"]
