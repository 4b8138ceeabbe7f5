"""Which nodes of a chain of cells are unknowns: all but Dirichlet ends; joined ends are one node."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Chain"]


class Chain:
    """The unknowns among the nodes of a chain of cells, along the last axis of any tensor.

    Parameters
    ----------
    ends : (str, str)
        ``"dirichlet"``, ``"natural"`` or ``"periodic"`` at the left and at the right.
    """

    def __init__(self, ends: tuple[str, str]) -> None:
        self.ends = ends
        self._first = int(ends[0] == "dirichlet")
        self._behind = int(ends[1] != "natural")

    def nodes(self, x: Tensor, left: float = 0.0, right: float = 0.0) -> Tensor:
        """Return a function's values at all nodes from those at the unknowns.

        Parameters
        ----------
        x : torch.Tensor, shape (..., unknowns)
            Values at the unknowns.
        left, right : float, default 0.0
            Values at the Dirichlet ends; not used at others.

        Returns
        -------
        torch.Tensor, shape (..., nodes)
            Values at all nodes.
        """
        if self.ends[0] == "periodic":
            return torch.cat((x, x[..., :1]), -1)
        low = [x.new_full((*x.shape[:-1], 1), left)] if self._first else []
        high = [x.new_full((*x.shape[:-1], 1), right)] if self._behind else []
        return torch.cat((*low, x, *high), -1) if low or high else x

    def unknowns(self, u: Tensor) -> Tensor:
        """Return the values at the unknowns among those at all nodes.

        Parameters
        ----------
        u : torch.Tensor, shape (..., nodes)
            Values at all nodes.

        Returns
        -------
        torch.Tensor, shape (..., unknowns)
            A view of ``u``.
        """
        return u[..., self._first : u.shape[-1] - self._behind]

    def loads(self, y: Tensor) -> Tensor:
        """Return the loads of the unknowns from those of all nodes: the transpose of ``nodes``.

        Parameters
        ----------
        y : torch.Tensor, shape (..., nodes)
            Loads of all nodes; those of joined ends add up.

        Returns
        -------
        torch.Tensor, shape (..., unknowns)
            Loads of the unknowns.
        """
        b = self.unknowns(y)
        if self.ends[0] == "periodic":
            b = b.clone()
            b[..., 0] += y[..., -1]
        return b

    def spread(self, b: Tensor) -> Tensor:
        """Return loads of all nodes from those of the unknowns: the transpose of ``unknowns``.

        Parameters
        ----------
        b : torch.Tensor, shape (..., unknowns)
            Loads of the unknowns.

        Returns
        -------
        torch.Tensor, shape (..., nodes)
            The same, and zeros.
        """
        zero = b.new_zeros((*b.shape[:-1], 1))
        low, high = [zero] * self._first, [zero] * self._behind
        return torch.cat((*low, b, *high), -1) if low or high else b
