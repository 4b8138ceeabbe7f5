"""Conjugate gradients, preconditioned by a cycle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..operators.contract import Map
from ..operators.fused import Fused, Survey

__all__ = ["ConjugateGradients"]

# Two directions whose angle has a square sine below this, in energy, are taken for one.
PARALLEL = 1e-6


class ConjugateGradients:
    """Preconditioned conjugate gradients as a step from residual to correction.

    Each correction is the best one in the plane of the preconditioned residual and the last correction. In
    exact arithmetic one number fixes it, since the residual is orthogonal to the last correction. Two allow
    for a residual that is computed afresh and is not.

    Parameters
    ----------
    A : callable
        The operator.
    precondition : callable
        A cycle: from a residual to a correction.
    """

    def __init__(self, A: Map, precondition: Map) -> None:
        self.A, self.precondition = A, precondition
        # The last correction and its image.
        self.last: tuple[Tensor, Tensor] | None = None

    def __call__(self, r: Tensor) -> Tensor:
        """Return the next correction, :eq:`conjugate-gradients`.

        Parameters
        ----------
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual of the approximation that the last correction gave.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            Correction; the next step needs it, so it is not to be overwritten.
        """
        z = self.precondition(r).clone()  # it is kept
        Az = self.A(z)
        product, energy = _dot(r, z), _dot(z, Az)
        # Where this points upwards the preconditioner is not positive definite, in its precision, and small
        # corrections would mean nothing.
        product = product.masked_fill((product < 0) | (energy < 0), math.nan)
        if self.last is None:
            length = _ratio(product, energy)
            self.last = z.mul_(length), Az.mul_(length)
        else:
            e, Ae = self.last
            along_z, along_e = _best((product, _dot(r, e)), (energy, _dot(z, Ae), _dot(e, Ae)))
            e.mul_(along_e).addcmul_(z, along_z)  # eq: conjugate-gradients
            Ae.mul_(along_e).addcmul_(Az, along_z)
        return self.last[0]

    def advance(self, passes: Fused, r: Tensor, u: Tensor, gain: Tensor) -> tuple[Survey, Tensor]:
        """Add a correction times a gain to u, and take its image off the residual, in compiled passes.

        Parameters
        ----------
        passes : Fused
            The operator as these have it.
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual; what the correction leaves of it is written there.
        u : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Approximation, of any precision; it is overwritten.
        gain : torch.Tensor, shape (batch,)
            What the correction is multiplied by.

        Returns
        -------
        (Survey, torch.Tensor)
            Norm of what is left of the residual and largest entry of the correction, and of u.
        """
        z = self.precondition(r)
        Az, products = passes.energies(z, r, self.last)
        rz, zz, re, ze, ee = products.unbind(1)
        rz = rz.masked_fill((rz < 0) | (zz < 0), math.nan)
        if self.last is None:
            lengths = _ratio(rz, zz), torch.zeros_like(rz)
        else:
            lengths = _best((rz, re), (zz, ze, ee))
        self.last, seen, scale = passes.combine(torch.stack(lengths, 1), gain, (z, Az, r), self.last, u)
        return seen, scale

    def forget(self, rows: Tensor) -> None:
        """Begin anew in some rows of the batch.

        Parameters
        ----------
        rows : torch.Tensor of bool, shape ``(batch, 1, ..., 1)``
            Which.
        """
        for direction in self.last or ():
            direction.masked_fill_(rows, 0.0)

    def residual(self, r: Tensor) -> Tensor:
        """Return what the last correction leaves of a residual, without another product with A.

        Parameters
        ----------
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            What the correction was made from; it is overwritten.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            r − A e.
        """
        assert self.last
        return r.sub_(self.last[1])


def _best(products: tuple[Tensor, Tensor], energies: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Solve the symmetric system of two equations; of one, where the second direction adds nothing new."""
    (rz, re), (zz, ze, ee) = products, energies
    shared = _ratio(ze, zz)
    rest = ee - shared * ze  # no product of two energies, which may be too small to hold
    along_e = torch.where(rest <= PARALLEL * ee, 0.0, _ratio(re - shared * rz, rest))
    return _ratio(rz, zz) - shared * along_e, along_e


def _dot(x: Tensor, y: Tensor) -> Tensor:
    rows = x.flatten(1), y.flatten(1)
    if x.shape[0] > 16:
        product = torch.linalg.vecdot(*rows)
    else:  # needs no memory for the products
        product = torch.stack([torch.dot(p, q) for p, q in zip(*rows, strict=True)])
    return product.reshape(-1, *[1] * (x.ndim - 1))


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """Divide; a row that is solved already has nothing to add."""
    return torch.where(y == 0, 0.0, x / y)
