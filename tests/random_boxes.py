"""Axes and boxes at random, and what maps as a matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from operator_list import ENDS

from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box


def as_matrix(operator: Callable[[torch.Tensor], torch.Tensor], shape: Sequence[int]) -> np.ndarray:
    """The columns are what the operator makes of unit vectors."""
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, 1, *shape)
    return operator(unit).flatten(1).T.numpy()


def random_axis(rng: np.random.Generator, ends: tuple[str, str], most: int = 8) -> Axis:
    h = float(rng.uniform(0.5, 2))
    last = None if rng.random() < 0.4 else h * float(rng.uniform(0.5, 1.5))
    robin = tuple(float(rng.uniform(0, 2) * (end == "natural")) for end in ends)
    least = 2 if ends == ENDS["held"] else 1
    return Axis(int(rng.integers(least, most)), h, ends, (robin[0], robin[1]), last)


def random_boxes(seed: int, dim: int, most: int = 7) -> list[Box]:
    """One for every combination of ends."""
    rng = np.random.default_rng(seed)
    return [
        Box([random_axis(rng, ends, most) for ends in each])
        for each in itertools.product(ENDS.values(), repeat=dim)
    ]
