"""A recipe from the shell: every field of it has an option, which one table declares.

The dataclass itself cannot be asked here: it needs torch, and ``--help`` is to answer without.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["FIELDS", "RECIPES", "declare_recipe", "number", "real", "whole"]

RECIPES = ("paper", "fast", "lecture")


def number(kind: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """Read a number, but not what Python takes for one and nobody else: 1_000, or other digits."""

    def read(text: str) -> Any:
        try:
            if "_" not in text and text.isascii():
                return kind(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: {what}")

    return read


whole, real = number(int, "a whole number"), number(float, "a number")


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let "none" stand for None in an option."""
    return lambda text: None if text.strip().lower() == "none" else kind(text)


def _shares(text: str) -> tuple[float, ...]:
    return tuple(real(part.strip()) for part in text.split(",") if part.strip())


# By the name of the field: how its value is read, None for one that is on or off, and what it is; where it
# may be none, that is said. The option is the name with dashes.
FIELDS: dict[str, tuple[Callable[[str], Any] | None, str]] = {
    "epochs": (whole, "passes over the training set"),
    "batch_size": (whole, "images per step, of all processes together"),
    "optimizer": (str, "sgd or adamw"),
    "lr": (real, "largest learning rate"),
    "momentum": (_or_none(real), "of SGD, or none; the first beta of AdamW"),
    "nesterov": (None, "Nesterov's form of the momentum"),
    "weight_decay": (_or_none(real), "pull on kernels and matrices, or none"),
    "schedule": (str, "of the rate: constant, milestones, cosine or onecycle"),
    "milestones": (_shares, "shares of the run after which the rate is divided by ten: 0.5,0.75"),
    "warmup": (_or_none(real), "share of the run in which onecycle rises, or none"),
    "label_smoothing": (_or_none(real), "weight of the uniform distribution in the targets, or none"),
    "crop": (_or_none(whole), "pixels of margin for random crops, or none"),
    "flip": (_or_none(str), "random, alternating or none"),
    "cutout": (_or_none(whole), "side of the square that is blanked, in pixels, or none"),
    "replacement": (None, "draw images with replacement"),
    "drop_last": (None, "leave out what does not fill a batch"),
    "bfloat16": (None, "products in bfloat16, where the device is faster in it"),
    "channels_last": (None, "memory order of images and kernels"),
    "compile": (None, "use torch.compile"),
    "clip": (_or_none(real), "largest norm of the gradient, or none"),
    "patience": (_or_none(whole), "epochs without better validation accuracy after which to stop, or none"),
}
SHORT = {"label_smoothing": "--smoothing"}


def declare_recipe(parser: argparse.ArgumentParser) -> None:
    """Declare ``--recipe`` and the fields that change it; what is not given stays the recipe's."""
    text = "How to train; each changes one field of the recipe."
    add = parser.add_argument_group("recipe", text).add_argument
    add("--recipe", metavar="NAME", choices=RECIPES, default="fast", help="paper, fast (default) or lecture")
    for name, (kind, meaning) in FIELDS.items():
        flags = [f"--{name.replace('_', '-')}", *([SHORT[name]] if name in SHORT else [])]
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": meaning, "dest": name}
        if kind is None:
            add(*flags, action=argparse.BooleanOptionalAction, **options)
        else:
            add(*flags, metavar="X", type=kind, **options)
