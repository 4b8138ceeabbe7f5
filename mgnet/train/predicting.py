"""What a trained network says of pictures, once they have the form of its training images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data import Split, digits, pictures
from .judging import DivergedError, predict

__all__ = ["Form", "Input", "Prediction", "answers", "normalised", "prepare"]

DARK_ON_LIGHT = 0.5  # how far the edge of a picture is from that of the training images, to be inverted


@dataclass(frozen=True)
class Form:
    """The form of the images that a network was trained with.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width.
    kind : {"square", "digits"}
        As :attr:`mgnet.data.Data.form`.
    border : float, optional
        As :attr:`mgnet.data.Data.border`.
    """

    shape: tuple[int, int, int]
    kind: str = "square"
    border: float | None = None


@dataclass(frozen=True, eq=False)
class Input:
    """A picture in the form of the training images, and what was done to it.

    Parameters
    ----------
    name : str
        The file, or which of the arrays.
    image : numpy.ndarray of uint8, shape (channels, height, width)
        As the network sees it, before normalisation.
    inverted : bool
        Whether dark and light were exchanged.
    form : {"square", "digits", "unchanged", "no digit"}
        Whether the square in the middle was taken, or a digit was found, scaled and centred, or the pixels
        are those of the picture; and where no digit was found the square was taken too.
    """

    name: str
    image: np.ndarray
    inverted: bool
    form: str


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a network says of a picture.

    Parameters
    ----------
    name : str
        The file, or which of the arrays.
    label : int
        The number of the most probable class, from 0.
    classes : list of str
        The name of each class.
    probabilities : numpy.ndarray of float64, shape (classes,)
        The softmax of the scores: how sure the network is, which need not be how often it is right.
    input : Input
        The picture as the network sees it.
    """

    name: str
    label: int
    classes: Sequence[str]
    probabilities: np.ndarray
    input: Input

    @property
    def class_name(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.label]

    @property
    def probability(self) -> float:
        """How probable that class is."""
        return float(self.probabilities[self.label])

    @property
    def best(self) -> list[tuple[str, float]]:
        """The names of the five most probable classes, or of all if they are fewer, with probabilities."""
        order = np.argsort(-self.probabilities, kind="stable")[:5]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {share:.1%}" for name, share in self.best)
        return f"Prediction({self.name}: {best}{'; inverted' if self.input.inverted else ''})"


def prepare(
    picture: Any, form: Form, name: str = "picture", *, invert: bool | None = None, as_is: bool = False
) -> Input:
    """Bring a picture into the form of training images, as :meth:`mgnet.Run.predict` says.

    Parameters
    ----------
    picture : path-like or array
        A file, or an array of pixels.
    form : Form
        That of the training images.
    name : str, default "picture"
        What an array is called.
    invert, as_is
        As for :meth:`mgnet.Run.predict`.

    Returns
    -------
    Input
        In that form.

    Raises
    ------
    mgnet.data.DataError
        For what is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        name = os.fspath(picture)
        pixels = pictures.read(picture)
    else:
        pixels = pictures.from_array(name, picture)
    channels, *size = form.shape
    if form.kind == "digits" and channels == 1 and not as_is:
        grey = pictures.fit(pixels, 1, pixels.shape[:2])[0]
        found = digits.centred(grey, invert)
        if found is not None:
            done = "digits" if found.moved else "unchanged"
            return Input(name, _with_margin(found.image, size), found.inverted, done)
    image = pictures.fit(pixels, channels, size)
    if invert is None:
        invert = not as_is and channels == 1 and _is_opposite(image, form.border)
    missing = "no digit" if form.kind == "digits" and not as_is else "square"
    done = "unchanged" if pixels.shape[:2] == image.shape[1:] else missing
    return Input(name, 255 - image if invert else image, invert, done)


def _with_margin(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return a digit in images of another size: within a margin, or smaller."""
    if min(size) < digits.SIDE:
        return pictures.fit(image[:, :, None], 1, size)
    margins = [divmod(length - digits.SIDE, 2) for length in size]
    return np.pad(image, [(half, half + odd) for half, odd in margins])[None]


def _is_opposite(image: np.ndarray, border: float | None) -> bool:
    if border is None:
        return False
    edge = np.concatenate([image[0, 0], image[0, -1], image[0, :, 0], image[0, :, -1]])
    return bool(abs(np.median(edge) / 255 - border) > DARK_ON_LIGHT)


def normalised(inputs: Sequence[Input], mean: Sequence[float], std: Sequence[float]) -> Split:
    """Return pictures as a network gets them, which is how its training images were normalised.

    Parameters
    ----------
    inputs : sequence of Input
        As :func:`prepare` returns them.
    mean, std : sequence of float
        Of the training images.

    Returns
    -------
    Split
        All its labels are 0, since nobody knows them.
    """
    images = torch.from_numpy(np.stack([each.image for each in inputs]))
    return Split(images, torch.zeros(len(images), dtype=torch.int64), mean, std)


def answers(
    model: nn.Module,
    inputs: Sequence[Input],
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
) -> list[Prediction]:
    """Ask a network about pictures in the form of its training images.

    Parameters
    ----------
    model : torch.nn.Module
        As for :func:`mgnet.predict`, which computes the scores.
    inputs : sequence of Input
        As :func:`prepare` returns them.
    mean, std : sequence of float
        Of the training images.
    classes : sequence of str
        Names; a class without one is called by its number.

    Returns
    -------
    list of Prediction
        One for each picture.

    Raises
    ------
    DivergedError
        For scores that are not finite.
    """
    if not inputs:
        return []
    scores = predict(model, normalised(inputs, mean, std))
    shares = scores.double().softmax(1).cpu().numpy()
    names = [*classes, *map(str, range(len(classes), shares.shape[1]))]
    if not math.isfinite(shares.sum()):
        raise DivergedError("the model's scores are not finite")
    return [
        Prediction(each.name, int(row.argmax()), names, row, each)
        for each, row in zip(inputs, shares, strict=True)
    ]
