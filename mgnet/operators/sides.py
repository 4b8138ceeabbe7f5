"""Robin's alpha on the sides of a box: the mass matrices of the sides, each times a number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.memory import sent
from .axes import integrate_linear
from .boxes import Box

__all__ = ["RobinSides"]


class RobinSides:
    """Robin's alpha at the two ends of each axis of a box of equal cells, whose own Robin data are not used.

    A tensor of shape (axes, 2) is one that derivatives can be taken by.
    """

    def __init__(self, box: Box, alphas: Sequence[tuple[float, float]] | Tensor) -> None:
        self.box, self.given = box, alphas
        self.tensor = alphas if isinstance(alphas, Tensor) else None

    @cached_property
    def alphas(self) -> list[tuple[float, float]]:
        """The numbers."""
        if self.tensor is None:
            return list(self.given)
        return [(low, high) for low, high in self.tensor.detach().tolist()]

    def __bool__(self) -> bool:
        return any(map(any, self.alphas))

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """What derivatives can be taken by."""
        return () if self.tensor is None else (self.tensor,)

    def __call__(self, moving: bool = False) -> Iterator[tuple[int, int, Any]]:
        """Give the sides with an alpha: place of the axis, end, alpha.

        With ``moving`` all of them, and what derivatives are taken by.
        """
        pairs: Any = self.tensor if moving and self.tensor is not None else self.alphas
        for place, alphas in zip(self.box.places, pairs, strict=True):
            for end, alpha in zip((0, -1), alphas, strict=True):
                if isinstance(alpha, Tensor) or alpha:
                    yield place, end, alpha

    def mass(self, u: Tensor, place: int) -> Tensor:
        """Apply the mass matrix of a side to values at its nodes."""
        others = [axis.h for i, axis in enumerate(self.box.axes, -self.box.dim) if i != place]
        for axis, h in enumerate(others, -len(others)):
            u = integrate_linear(u, h, axis)
        return u

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers, for v and u of shape ``(..., *nodes)``."""
        if self.tensor is None:
            return ()
        dim, found = self.box.dim, []
        for place, end in itertools.product(self.box.places, (0, -1)):
            of_v, of_u = v.select(place, end), u.select(place, end)
            found.append((of_v * self.mass(of_u, place)).flatten(of_v.ndim - dim + 1).sum(-1))
        return (torch.stack(found, -1).unflatten(-1, (dim, 2)),)

    def elements(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Give axis, end and alpha times the matrix between the corners of a cell at that side."""
        mass, axes = np.array([[2.0, 1.0], [1.0, 2.0]]) / 6, self.box.axes
        for place, end, alpha in self():
            here = np.diag([1.0, 0.0]) if end == 0 else np.diag([0.0, 1.0])
            parts = [here if i == place else axis.h * mass for i, axis in enumerate(axes, -len(axes))]
            yield len(axes) + place, end, alpha * reduce(np.kron, parts)

    def add_diagonal(self, y: Tensor) -> None:
        """Add to the diagonal at all nodes."""
        for place, end, alpha in self():
            others = [axis for i, axis in enumerate(self.box.axes, -self.box.dim) if i != place]
            sides = [np.convolve(np.full(axis.cells, axis.h / 3), [1.0, 1.0]) for axis in others]
            side = reduce(np.multiply.outer, sides, np.ones(()))
            y.select(place, end).add_(sent(torch.from_numpy(side), y.device, y.dtype), alpha=alpha)
