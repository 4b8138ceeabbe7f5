"""How large a network is and how much it computes: parameters and multiplications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from ..layers.graphs import image, meta_copy
from .registry import create

__all__ = ["Count", "Row", "count", "summary"]


@dataclass(frozen=True)
class Row:
    """One call of one layer.

    Attributes
    ----------
    name : str
        The layer's name in the model.
    kind : {"convolution", "linear"}
        What it is.
    parameters : int
        Learned numbers of the layer, but for those that an earlier row has too.
    multiplications : int
        For one image. As many additions go with them; those of biases are not counted.
    """

    name: str
    kind: str
    parameters: int
    multiplications: int


@dataclass(frozen=True)
class Count:
    """The multiplications of a forward pass.

    Attributes
    ----------
    rows : tuple of Row
        One for each call of a convolution or a linear layer, in the order of the calls.
    """

    rows: tuple[Row, ...]

    @property
    def convolution(self) -> int:
        """Multiplications in convolutions."""
        return sum(row.multiplications for row in self.rows if row.kind == "convolution")

    @property
    def linear(self) -> int:
        """Multiplications in linear layers."""
        return sum(row.multiplications for row in self.rows if row.kind == "linear")

    @property
    def total(self) -> int:
        """All multiplications."""
        return self.convolution + self.linear


def count(model: nn.Module, image_shape: Sequence[int]) -> Count:
    """Count the multiplications of a model for one image, :eq:`multiply-adds`, without computing anything.

    Those of convolutions and linear layers are counted, by their shapes, whatever the numbers are: also
    products with zeros outside of the image. Norms and activations are not.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it is left as it is.
    image_shape : sequence of int
        Shape (C, ...) of an image.

    Returns
    -------
    Count
        Row by row, and in total.

    Examples
    --------
    >>> count(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (1, 28, 28)).total
    7840
    """
    empty = meta_copy(model).eval()
    rows: list[Row] = []
    seen: set[int] = set()
    for name, module in empty.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            module.register_forward_hook(partial(_record, rows, seen, name))
    with torch.no_grad():
        empty(image(model, image_shape))
    return Count(tuple(rows))


def _record(
    rows: list[Row], seen: set[int], name: str, layer: Any, inputs: tuple[Any, ...], output: Any
) -> None:
    """Note one call: each number of the output takes the kernel once, transposed each of the input."""
    new = {id(p): p.numel() for p in layer.parameters() if id(p) not in seen}
    seen.update(new)
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    values = inputs[0] if transposed else output
    rows.append(
        Row(
            name,
            "linear" if isinstance(layer, nn.Linear) else "convolution",
            sum(new.values()),  # eq: parameters
            values.numel() * math.prod(layer.weight.shape[1:]),  # eq: multiply-adds
        )
    )


def summary(name: str, **arguments: Any) -> tuple[int, int]:
    """Return how many parameters a model has and how many multiplications it takes for one image.

    Parameters
    ----------
    name : str
        One of :func:`mgnet.models.names`.
    **arguments
        As for :func:`mgnet.models.create`.

    Returns
    -------
    (int, int)
        Parameters, and multiplications each of which goes with an addition.

    Examples
    --------
    >>> summary("alexnet")
    (61100840, 714188480)
    """
    with torch.device("meta"):
        model = create(name, **arguments)
    spec: Any = model.spec
    total = count(model, (spec["in_channels"], *[spec["image_size"]] * spec.get("dim", 2))).total
    return sum(p.numel() for p in model.parameters()), total
