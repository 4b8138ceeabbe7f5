"""What a network looks at: how much of its answer is gone when a part of the image is covered."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import count, instance, number, shown
from .preflight import evaluating, place_of, require_scores

__all__ = ["occlusion"]


def occlusion(
    model: nn.Module,
    image: Tensor,
    label: int | None = None,
    *,
    size: int = 5,
    step: int = 1,
    value: float = 0.0,
) -> Tensor:
    """Return how much the probability of a class falls when a square covers each place of an image.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to scores; used in evaluation mode, and left in the mode it was in.
    image : torch.Tensor, shape (channels, height, width)
        Normalised, as ``data.test[0][0]`` is, and what :meth:`mgnet.Run.tensor` returns for a picture.
    label : int, optional
        The class; by default the one with the highest score.
    size : int, default 5
        Width and height of the square in pixels, up to those of the image; at the border less of it is in
        the image.
    step : int, default 1
        Pixels between the centres of neighbouring squares, the first of which is the first pixel.
    value : float, default 0
        What stands in the square; 0 is the mean colour of the normalised images.

    Returns
    -------
    torch.Tensor, shape (rows, columns)
        The falls for centres at every ``step``-th pixel, on the CPU; where one is negative the model is surer
        without this part.

    Raises
    ------
    TypeError, ValueError
        For other arguments, before any work.

    References
    ----------
    Zeiler, Fergus, 'Visualizing and understanding convolutional networks', 2014.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        accepted = (
            "a normalised image (channels, height, width), as data.test[0][0] and run.tensor(picture) are"
        )
        raise TypeError(f"image: got {shown(image)}; accepted: {accepted}")
    # A larger square would cover the image wherever it stands: a constant map, which tells nothing.
    size = count("size", size, 1, min(image.shape[1:]))
    step, value = count("step", step), number("value", value)
    image = image.detach().to(place_of(model, image.device))
    with evaluating(model):
        scores: Any = model(image[None])
        require_scores(scores, 1)
        label = int(scores.argmax()) if label is None else count("label", label, 0, scores.shape[1] - 1)
        rows = (_covered(image, row, size, step, value) for row in range(0, image.shape[1], step))
        # A row of squares at a time: all of a large image would be many.
        kept = torch.stack([model(row).softmax(1)[:, label] for row in rows])
    return (scores.softmax(1)[0, label] - kept).cpu()


def _covered(image: Tensor, row: int, size: int, step: int, value: float) -> Tensor:
    """Return copies of an image with a square around every step-th pixel of a row, one in each."""
    columns = range(0, image.shape[2], step)
    copies = image.repeat(len(columns), 1, 1, 1)
    before, after = size // 2, (size + 1) // 2
    for copy, column in zip(copies, columns, strict=True):
        copy[:, max(row - before, 0) : row + after, max(column - before, 0) : column + after] = value
    return copies
