"""Recipes: how a network is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from .augmentation import Augmentation
from .checks import count, instance, number

__all__ = ["RECIPES", "Recipe", "recipe"]

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "milestones", "cosine", "onecycle")


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
        Shares of the run after which the rate is divided by ten.
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
        for name in ("epochs", "batch_size"):
            count(name, getattr(self, name))
        for name in ("lr", "momentum", "weight_decay", "warmup", "label_smoothing", "clip"):
            self._in_range(name)
        for name, accepted in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; accepted: one of {accepted}")
        if self.patience is not None:
            count("patience", self.patience)
        self.augmentation()  # it refuses what it does not accept
        instance("milestones", self.milestones, (tuple, list), "a tuple of shares of the run")
        object.__setattr__(self, "milestones", tuple(number("milestones", m) for m in self.milestones))

    def _in_range(self, name: str) -> None:
        value = getattr(self, name)
        if name == "clip" and value is None:
            return
        least, most = {"momentum": (0, 1), "label_smoothing": (0, 1), "warmup": (0, 1)}.get(name, (0, None))
        value = number(name, value)
        if value < least or (most is not None and value >= most) or (name in ("lr", "clip") and value == 0):
            text = "a positive number" if name in ("lr", "clip") else f"at least {least}"
            raise ValueError(
                f"{name}: got {value!r}; accepted: {text}{'' if most is None else f', below {most}'}"
            )

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
            By name; ``None`` keeps the value.

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
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


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
        "photographs": Recipe(
            epochs=10, batch_size=64, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"
        ),
        "bare": Recipe(
            epochs=10, batch_size=64, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"
        ),
        "digits": Recipe(
            epochs=15, batch_size=32, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"
        ),
        "flat": Recipe(
            epochs=10, batch_size=64, lr=0.01, nesterov=False, weight_decay=0.0, schedule="constant"
        ),
    },
}


def recipe(name: str, channels: int = 3, normalised: bool = True, convolutional: bool = True) -> Recipe:
    """Return a recipe by name.

    Parameters
    ----------
    name : {"paper", "fast", "lecture"}
        Which.
    channels : int, default 3
        Of the images: one for grey digits, else photographs.
    normalised : bool, default True
        Whether the network has batch normalisation.
    convolutional : bool, default True
        Whether it has convolutions.

    Returns
    -------
    Recipe
        The recipe.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe: got {name!r}; accepted: one of {tuple(RECIPES)}")
    if not convolutional:
        return RECIPES[name]["flat"]
    return RECIPES[name]["digits" if channels == 1 else "photographs" if normalised else "bare"]
