"""Values at the Dirichlet nodes: moved to the load before a solve, and part of the solution after it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..core.checks import held
from ..core.kinds import hidden, tracked
from ..operators.boxes import Box
from ..operators.contract import Operator
from .boundary import boundary_values, common_batch, side_values
from .conditions import Dirichlet
from .problem import Poisson

__all__ = ["Held"]

# Entries of operators that Dirichlet values are multiplied with are not expected to be larger.
ROOM = 2.0**20


class Held:
    """The values at the Dirichlet nodes; at others, where they do not count, zero.

    Parameters
    ----------
    box : Box
        The cells and their ends.
    nodes : torch.Tensor, shape ``(..., *nodes)``, optional
        The values, and zeros.
    ends : (float or Tensor, float or Tensor), default (0.0, 0.0)
        Instead of them the values at the two ends of a line, which need no array of all its nodes.
    """

    def __init__(self, box: Box, nodes: Tensor | None = None, ends: tuple[Any, Any] = (0.0, 0.0)) -> None:
        self.box, self._nodes, self.ends = box, nodes, ends

    @classmethod
    def of(cls, problem: Poisson, dtype: torch.dtype, device: torch.device) -> Held:
        """Return those of a problem.

        Raises
        ------
        ValueError
            For numbers that the precision cannot hold, or values that are none.
        """
        for name, *_, side in problem.sides():
            if isinstance(side, Dirichlet) and isinstance(side.g, float):
                held(f"{name}: Dirichlet g", side.g, dtype, ROOM)
        if problem.dim > 1:
            return cls(problem.space, boundary_values(problem, dtype, device))
        ends: list[Any] = [0.0, 0.0]
        for _, end, value in side_values(problem, dtype, device):
            ends[end] = value if tracked(value) or hidden(value) or value.is_cuda else float(value)
        return cls(problem.space, None, (ends[0], ends[1]))

    @property
    def numbers(self) -> tuple[Any, ...]:
        """What derivatives may be taken by."""
        return self.ends if self._nodes is None else (self._nodes,)

    @property
    def zero(self) -> bool:
        """Whether all are zero, and known to be."""
        return self._nodes is None and not any(isinstance(end, Tensor) or end for end in self.ends)

    def nodes(self, like: Tensor) -> Tensor:
        """Return the values at all nodes, shape ``(..., *nodes)``, in the precision of a tensor."""
        if self._nodes is not None:
            return self._nodes.to(like.dtype)
        (axis,) = self.box.axes
        return axis.chain.nodes(like.new_zeros(axis.unknowns), *self.ends)

    def double(self) -> Held:
        """Return the same in float64."""
        ends = [end.double() if isinstance(end, Tensor) else end for end in self.ends]
        nodes = None if self._nodes is None else self._nodes.double()
        return Held(self.box, nodes, (ends[0], ends[1]))

    def beside(self, b: Tensor) -> tuple[tuple[int, ...], Tensor, Held]:
        """Return the batch, and loads and values with one axis for it.

        Parameters
        ----------
        b : torch.Tensor, shape ``(..., *unknowns)``
            Loads.

        Returns
        -------
        (tuple of int, torch.Tensor, Held)
            The leading axes of both; the loads, shape ``(rows, *unknowns)``; the values, likewise.
        """
        shape, batch = self.box.shape, tuple(b.shape[: b.ndim - self.box.dim])
        if self._nodes is None:
            return batch, b.reshape(math.prod(batch), *shape), self
        batch = common_batch("boundary", self._nodes, self.box.dim, batch)
        rows = b.expand(*batch, *shape).reshape(math.prod(batch), *shape)
        nodes = self._nodes.expand(*batch, *self._nodes.shape[-self.box.dim :])
        return batch, rows, Held(self.box, nodes.reshape(len(rows), *nodes.shape[-self.box.dim :]))

    def lifted(self, b: Tensor, A: Operator) -> Tensor:
        """Move the values to the right-hand side, :eq:`lifting`; derivatives can be taken.

        Parameters
        ----------
        b : torch.Tensor, shape ``(..., *unknowns)``
            Loads.
        A : Operator
            The operator.

        Returns
        -------
        torch.Tensor, shape ``(..., *unknowns)``
            The loads of what is unknown.
        """
        if self.zero or not b.numel():
            return b
        g = self.nodes(b)
        at_nodes = A.at_nodes(g.reshape(-1, 1, *g.shape[-self.box.dim :])).reshape(g.shape)
        return b - self.box.loads(at_nodes)  # eq: lifting

    def complete(self, x: Tensor, *, own: bool = False) -> Tensor:
        """Return all nodes of a solution from its unknowns, shape ``(..., *unknowns)``; see Box.nodes."""
        return self.box.nodes(x, None if self.zero else self.nodes(x), own=own)

    def filled(self, u: Tensor) -> Tensor:
        """Write the values into all nodes, shape ``(batch, *nodes)``, where the unknowns are already."""
        self.box.fill_sides(u)
        if self._nodes is not None:
            u.add_(self._nodes)
        elif not self.zero:
            u[..., 0] += self.ends[0]
            u[..., -1] += self.ends[1]
        return u
