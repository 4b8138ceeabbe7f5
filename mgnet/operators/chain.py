"""Which nodes of a chain of cells are unknowns: all but Dirichlet ends; joined ends are one node."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Chain"]


class Chain:
    """The unknowns among the nodes of a chain of cells, along one axis of any tensor, the last by default.

    Parameters
    ----------
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    """

    def __init__(self, ends: tuple[str, str]) -> None:
        self.ends = ends
        self.first = int(ends[0] == "dirichlet")
        self.behind = int(ends[1] != "natural")

    def nodes(self, x: Tensor, left: float = 0.0, right: float = 0.0, axis: int = -1) -> Tensor:
        """Return a function's values at all nodes from those at the unknowns.

        Parameters
        ----------
        x : torch.Tensor, shape (..., unknowns)
            Values at the unknowns.
        left, right : float, default 0.0
            Values at the Dirichlet ends; not used at others.
        axis : int, default -1
            The axis of the unknowns.

        Returns
        -------
        torch.Tensor, shape (..., nodes)
            Values at all nodes.
        """
        if self.ends[0] == "periodic":
            return torch.cat((x, x.narrow(axis, 0, 1)), axis)
        shape = list(x.shape)
        shape[axis] = 1
        # An end value may be a tensor, to take derivatives by.
        low = [x.new_ones(shape) * left] if self.first else []
        high = [x.new_ones(shape) * right] if self.behind else []
        return torch.cat((*low, x, *high), axis) if low or high else x

    def unknowns(self, u: Tensor, axis: int = -1) -> Tensor:
        """Return the values at the unknowns among those at all nodes.

        Parameters
        ----------
        u : torch.Tensor, shape (..., nodes)
            Values at all nodes.
        axis : int, default -1
            The axis of the nodes.

        Returns
        -------
        torch.Tensor, shape (..., unknowns)
            A view of ``u``.
        """
        return u.narrow(axis, self.first, u.shape[axis] - self.behind - self.first)

    def loads(self, y: Tensor, axis: int = -1) -> Tensor:
        """Return the loads of the unknowns from those of all nodes: the transpose of ``nodes``.

        Parameters
        ----------
        y : torch.Tensor, shape (..., nodes)
            Loads of all nodes; those of joined ends add up.
        axis : int, default -1
            The axis of the nodes.

        Returns
        -------
        torch.Tensor, shape (..., unknowns)
            Loads of the unknowns.
        """
        b = self.unknowns(y, axis)
        if self.ends[0] == "periodic":
            b = b.clone()
            b.select(axis, 0).add_(y.select(axis, -1))
        return b

    def spread(self, b: Tensor, axis: int = -1) -> Tensor:
        """Return loads of all nodes from those of the unknowns: the transpose of ``unknowns``.

        Parameters
        ----------
        b : torch.Tensor, shape (..., unknowns)
            Loads of the unknowns.
        axis : int, default -1
            The axis of the unknowns.

        Returns
        -------
        torch.Tensor, shape (..., nodes)
            The same, and zeros.
        """
        shape = list(b.shape)
        shape[axis] = 1
        zero = b.new_zeros(shape)
        low, high = [zero] * self.first, [zero] * self.behind
        return torch.cat((*low, b, *high), axis) if low or high else b
