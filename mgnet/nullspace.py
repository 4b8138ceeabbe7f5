"""Problems that determine u up to a constant, or hardly more: which data they accept, which solution counts.

The data are those of :eq:`compatibility`, the solution is that of :eq:`zero-mean`. Where a tiny c or Robin's
alpha is all that holds the constants, cycles may lose them to rounding: they get a correction of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .assembly import Load
from .box_problem import BoxPoisson
from .memory import sent
from .problem import Poisson

__all__ = ["Constants", "LooseConstants"]


class Constants:
    """The constants, where they solve the homogeneous problem: c = 0, and no end holds u.

    Parameters
    ----------
    problem : Poisson
        A problem with natural or joined ends.
    """

    def __init__(self, problem: Poisson) -> None:
        self.problem, self.space = problem, problem.space
        self.axes = tuple(range(-problem.dim, 0))

    def weights(self, like: Tensor) -> Tensor:
        """Return the integral of each unknown's hat.

        Parameters
        ----------
        like : torch.Tensor
            Gives precision and device.

        Returns
        -------
        torch.Tensor, shape ``(*unknowns)``
            The weights of :eq:`zero-mean`.
        """
        if isinstance(self.problem, BoxPoisson):
            return self.problem.space.hat_integrals(like)
        h = torch.as_tensor(self.problem.grid.h, dtype=like.dtype)
        h = sent(h, like.device).expand(self.problem.n)
        whole = torch.cat((h, h[-1:])) / 2
        whole[1:-1] += h[:-1] / 2
        return self.space.loads(whole)

    def compatible(self, b: Tensor, load: Load) -> Tensor:
        """Return the load without the defect that rounding or lumping left, :eq:`compatibility`.

        Parameters
        ----------
        b : torch.Tensor, shape ``(batch, *unknowns)``
            Load, boundary fluxes included.
        load : Load
            Where it came from. The defect that quadrature leaves of a kink, or lumping of any f, is
            removed too.

        Returns
        -------
        torch.Tensor, shape ``(batch, *unknowns)``
            The load less a constant right-hand side that takes the defect away.

        Raises
        ------
        ValueError
            When the defect is more than that; the message gives it.
        """
        allowed = 1e-8 if b.dtype == torch.float64 else 1e-4
        if load.name == "f":
            coarsest = min(self.problem.cells)
            allowed = max(allowed, min(0.1 if load.lumped else 0.01, 2 / coarsest**2))
        defect, size = b.sum(self.axes), b.abs().sum(self.axes).clamp_min(load.size)  # eq: compatibility
        bad = defect.abs() > allowed * size
        if bad.any():
            row = int(bad.int().argmax())
            where = f" in row {row}" if b.shape[0] > 1 else ""
            raise ValueError(
                f"{load.name}: got data that sum to {defect[row].item():.3e}{where}, the defect, of"
                f" {size[row].item():.3e} in absolute value; accepted: a load and boundary fluxes that sum"
                " to zero, since u is determined up to a constant only"
            )
        return self.project(b)

    def project(self, b: Tensor) -> Tensor:
        """Return the load less a constant right-hand side, so that it sums to zero."""
        weights = self.weights(b)
        return b - b.sum(self.axes, keepdim=True) / weights.sum() * weights

    def remove(self, u: Tensor) -> Tensor:
        """Return the function with zero mean that differs from another by a constant, :eq:`zero-mean`.

        Parameters
        ----------
        u : torch.Tensor, shape ``(batch, *nodes)``
            Nodal values.

        Returns
        -------
        torch.Tensor, shape ``(batch, *nodes)``
            Nodal values.
        """
        weights = self.weights(u)
        # eq: zero-mean
        mean = (self.space.unknowns(u) * weights).sum(self.axes, keepdim=True) / weights.sum()
        return u - mean


class LooseConstants:
    """The constants, where so little holds them that a cycle loses it: a coarse space of one dimension.

    Parameters
    ----------
    image : torch.Tensor, shape ``(*unknowns)``
        What the operator makes of the function 1: differences, of which nothing is lost.
    """

    def __init__(self, image: Tensor) -> None:
        self.image, self.energy = image, image.sum()
        self.axes = tuple(range(-image.ndim, 0))

    def corrected(self, cycle: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
        """Return what a cycle makes of a residual that sums to zero, between two corrections by constants.

        Parameters
        ----------
        cycle : callable
            From residuals to corrections, of which the constant part does not count.
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            Correction; the whole is symmetric if the cycle is.
        """
        image, energy = self.image.to(r), self.energy.to(r)
        mean = r.sum(self.axes, keepdim=True) / energy
        e = cycle(r - mean * image)
        return e + (mean - (e * image).sum(self.axes, keepdim=True) / energy)
