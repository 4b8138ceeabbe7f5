"""How many images to set apart from others, and which."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from ..core.checks import number, shown

__all__ = ["require_share", "share", "stratified"]


def require_share(name: str, value: Any) -> float:
    """Return a number of images, as an integer, or a share of them, as a float."""
    accepted = "an integer of at least 0, or a share from 0 to below 1"
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value}; accepted: {accepted}")
    part = int(value) if isinstance(value, numbers.Integral) else number(name, value)
    if part < 0 or (isinstance(part, float) and part >= 1):
        raise ValueError(f"{name}: got {shown(value)}; accepted: {accepted}")
    return part


def share(name: str, value: Any, images: int) -> int:
    """Return how many of some images an argument stands for; a share that is not 0 is one image at least."""
    part = require_share(name, value)
    chosen = part if isinstance(part, int) else max(round(part * images), part > 0)
    if chosen >= max(images, 1):
        raise ValueError(f"{name}: got {shown(value)}; accepted: below the {images} training images")
    return int(chosen)


def stratified(labels: np.ndarray, chosen: int, seed: int) -> np.ndarray:
    """Return the rows of a set apart, in increasing order, the same share of every class to one row."""
    rng = np.random.Generator(np.random.PCG64(seed))
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, at random inside
    steps = np.arange(chosen) * len(labels) // max(chosen, 1)  # evenly spaced in it
    return np.sort(order[steps])
