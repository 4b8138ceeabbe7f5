"""Conjugate gradients, preconditioned by a cycle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..operators.contract import Map
from ..operators.fused import Fused

__all__ = ["ConjugateGradients", "dots"]

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
    products : callable, optional
        From pairs of vectors to the inner product of each; :func:`dots` by default.
    """

    def __init__(
        self, A: Map, precondition: Map, products: Callable[..., Sequence[Tensor]] | None = None
    ) -> None:
        self.A, self.precondition, self.products = A, precondition, products or dots
        # The last correction, and its energy: its image would be one vector more to read and to write.
        self.last: Tensor | None = None
        self.energy: Any = 0.0

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
        z = self.precondition(r)
        image, e = self.A(z), z if self.last is None else self.last
        along_z, along_e = self._lengths(*self.products((r, z), (z, image), (r, e), (e, image)))
        # eq: conjugate-gradients
        self.last = z * along_z if self.last is None else e.mul_(along_e).addcmul_(z, along_z)
        return self.last

    @np.errstate(all="ignore")  # who asked sees whether it is finite
    def advance(self, passes: Fused, r: Tensor, u: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Add the next correction times a gain to u, in compiled passes.

        Parameters
        ----------
        passes : Fused
            The operator as these have it.
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual.
        u : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Approximation, of any precision; it is overwritten.
        gain : torch.Tensor, shape (batch,)
            What the correction is multiplied by.

        Returns
        -------
        (torch.Tensor, torch.Tensor)
            The largest entries of the correction and of u, shape (batch,).
        """
        z = self.precondition(r)
        lengths = self._lengths(*passes.energies(z, r, self.last).numpy().T)
        self.last, of_e, of_u = passes.combine(lengths, gain, z, self.last is None, u)
        return of_e, of_u

    def _lengths(self, rz: Any, zz: Any, re: Any, ez: Any) -> tuple[Any, Any]:
        """Return the factors of z and of the last correction e, from products and energies, in each row.

        They are arrays or tensors, as those are.
        """
        # Where z points upwards the preconditioner is not positive definite, in its precision, and small
        # corrections would mean nothing.
        rz = _where((rz < 0) | (zz < 0), math.nan, rz)
        if self.last is None:
            along_z, along_e = _ratio(rz, zz), 0.0 * zz
        else:
            along_z, along_e = _best((rz, re), (zz, ez, self.energy))
        both = along_z * zz + 2 * along_e * ez
        self.energy = along_z * both + along_e * (along_e * self.energy)
        return along_z, along_e

    def forget(self, rows: Tensor) -> None:
        """Begin anew in some rows of the batch.

        Parameters
        ----------
        rows : torch.Tensor of bool, shape (batch,)
            Which.
        """
        if self.last is not None:
            column = rows.reshape(-1, *[1] * (self.last.ndim - 1))
            self.last.masked_fill_(column.to(self.last.device), 0.0)
            known = rows.numpy() if isinstance(self.energy, np.ndarray) else rows.to(self.energy.device)
            self.energy = _where(known.reshape(self.energy.shape), 0.0, self.energy)


def _best(products: tuple[Any, Any], energies: tuple[Any, Any, Any]) -> tuple[Any, Any]:
    """Solve the symmetric system of two equations; of one, where the second direction adds nothing new."""
    (rz, re), (zz, ze, ee) = products, energies
    shared = _ratio(ze, zz)
    rest = ee - shared * ze  # no product of two energies, which may be too small to hold
    along_e = _where(rest <= PARALLEL * ee, 0.0, _ratio(re - shared * rz, rest))
    return _ratio(rz, zz) - shared * along_e, along_e


def dots(*pairs: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Return the inner product of each row of pairs of vectors, shape (batch, 1, ...)."""
    return [_dot(x, y) for x, y in pairs]


def _dot(x: Tensor, y: Tensor) -> Tensor:
    rows = x.flatten(1), y.flatten(1)
    if x.shape[0] > 16:
        product = torch.linalg.vecdot(*rows)
    else:  # needs no memory for the products
        product = torch.stack([torch.dot(p, q) for p, q in zip(*rows, strict=True)])
    return product.reshape(-1, *[1] * (x.ndim - 1))


def _ratio(x: Any, y: Any) -> Any:
    """Divide; a row that is solved already has nothing to add."""
    return _where(y == 0, 0.0, x / y)


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Choose, of arrays or of tensors."""
    return (np if isinstance(condition, np.ndarray) else torch).where(condition, x, y)
