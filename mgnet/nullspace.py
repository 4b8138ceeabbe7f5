"""Problems that determine u up to a constant: which data they accept, and which solution is returned.

The data are those of :eq:`compatibility`, the solution is that of :eq:`zero-mean`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .chain import Chain
from .problem import Poisson

__all__ = ["Constants"]


class Constants:
    """The constants, where they solve the homogeneous problem: c = 0, and no end holds u.

    Parameters
    ----------
    problem : Poisson
        A problem with natural or joined ends.
    """

    def __init__(self, problem: Poisson) -> None:
        self.problem, self.chain = problem, Chain(problem.ends)

    def weights(self, like: Tensor) -> Tensor:
        """Return the integral of each unknown's hat.

        Parameters
        ----------
        like : torch.Tensor
            Gives precision and device.

        Returns
        -------
        torch.Tensor, shape (unknowns,)
            The weights of :eq:`zero-mean`.
        """
        h = torch.as_tensor(self.problem.grid.h, dtype=like.dtype, device=like.device).expand(self.problem.n)
        whole = torch.cat((h, h[-1:])) / 2
        whole[1:-1] += h[:-1] / 2
        return self.chain.loads(whole)

    def compatible(self, b: Tensor) -> Tensor:
        """Return the load without the defect that rounding or lumping left, :eq:`compatibility`.

        Parameters
        ----------
        b : torch.Tensor, shape (batch, unknowns)
            Load, boundary fluxes included.

        Returns
        -------
        torch.Tensor, shape (batch, unknowns)
            The load less a constant right-hand side that takes the defect away.

        Raises
        ------
        ValueError
            When the defect is more than that; the message gives it.
        """
        defect, size = b.sum(-1), b.abs().sum(-1)
        bad = defect.abs() > self._allowed(b.dtype) * size
        if bad.any():
            row = int(bad.int().argmax())
            where = f" in row {row}" if b.shape[0] > 1 else ""
            raise ValueError(
                f"{'b' if self.problem.f is None else 'f'}: got data that sum to"
                f" {defect[row].item():.3e}{where}, the defect, of {size[row].item():.3e} in absolute value;"
                " accepted: a load and boundary fluxes that sum to zero, since u is determined up to a"
                " constant only"
            )
        weights = self.weights(b)
        return b - (defect / weights.sum())[:, None] * weights

    def _allowed(self, dtype: torch.dtype) -> float:
        """Give the relative defect that rounding, or the quadrature of a lumped load, explains."""
        rounding = 1e-8 if dtype == torch.float64 else 1e-4
        lumped = self.problem.f is not None and self.problem.load == "nodal"
        return max(rounding, min(0.1, 2 / self.problem.n**2)) if lumped else rounding

    def remove(self, u: Tensor) -> Tensor:
        """Return the function with zero mean that differs from another by a constant, :eq:`zero-mean`.

        Parameters
        ----------
        u : torch.Tensor, shape (batch, nodes)
            Nodal values.

        Returns
        -------
        torch.Tensor, shape (batch, nodes)
            Nodal values.
        """
        weights = self.weights(u)
        mean = (self.chain.unknowns(u) * weights).sum(-1, keepdim=True) / weights.sum()
        return u - mean
