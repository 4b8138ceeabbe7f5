"""The oracle: the same matrix, solved by SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..operators.stiffness import Stiffness1d
from ..operators.varying import VaryingStiffness

__all__ = ["BoxFactorisation", "Floating", "matrix", "solve_direct"]


class Floating:
    """The inverse of an operator without Dirichlet nodes, where c and Robin's alpha may hold very little.

    A matrix of rounded entries does not know how little that is, but the image of the function 1 does, since
    it is computed from differences. So a solution is one that is zero at the first unknown, and a multiple of
    the function 1 that makes the sum of all equations right.

    Parameters
    ----------
    held : callable
        From loads of shape ``(batch, *unknowns)`` to the solution that is zero at the first unknown, of all
        equations but the first.
    image : torch.Tensor, shape ``(*unknowns)``
        What the operator makes of the function 1; zero where constants are solutions, which then stay out.
    """

    def __init__(self, held: Callable[[Tensor], Tensor], image: Tensor) -> None:
        self.held, self.image, self.axes = held, image, tuple(range(-image.ndim, 0))
        # What is left of the function 1 when all other unknowns follow the first, and its energy.
        self.rest = 1 - held(image[None])
        self.energy = (self.rest * image).sum()

    def __call__(self, b: Tensor) -> Tensor:
        """Return the values at the unknowns for loads of shape ``(batch, *unknowns)``, in float64."""
        x = self.held(b)
        if not self.energy > 0:
            return x
        gap = (b - x * self.image).sum(self.axes, keepdim=True)
        return x + gap / self.energy * self.rest


def matrix(A: Stiffness1d | VaryingStiffness, cells: int, unknowns: int) -> sp.csc_array:
    """Return the sparse matrix of a stiffness operator on a chain of cells.

    Parameters
    ----------
    A : Stiffness1d or VaryingStiffness
        The operator.
    cells, unknowns : int
        Number of cells and of unknowns.

    Returns
    -------
    scipy.sparse.csc_array, shape (unknowns, unknowns)
        In the precision of the operator.
    """
    chain = A.varying(cells) if isinstance(A, Stiffness1d) else A
    k, diagonal = chain.k.cpu().numpy(), chain.diagonal(unknowns).cpu().numpy()
    low, high = chain.ends
    i = np.arange(cells) if low == "periodic" else np.arange(unknowns - 1)
    j = (i + 1) % unknowns
    # The cell between unknowns i and j; a lone periodic unknown has no neighbour.
    off = k[int(low == "dirichlet") :][: len(i)]
    i, j, off = i[i != j], j[i != j], off[i != j]
    entries, here = np.concatenate((diagonal, -off, -off)), np.arange(unknowns)
    rows, columns = np.concatenate((here, i, j)), np.concatenate((here, j, i))
    return sp.coo_array((entries, (rows, columns)), shape=(unknowns, unknowns)).tocsc()


def solve_direct(A: Any, cells: int, b: Tensor, held: bool) -> Tensor:
    """Solve by LAPACK's banded Cholesky, or by sparse LU where the ends are joined.

    Parameters
    ----------
    A : Stiffness1d or VaryingStiffness
        The operator.
    cells : int
        Number of cells.
    b : torch.Tensor, shape (batch, unknowns)
        Loads.
    held : bool
        Whether the first unknown is held at zero.

    Returns
    -------
    torch.Tensor, shape (batch, unknowns)
        Values at the unknowns.
    """
    load = b.cpu().numpy().T
    first = int(held)
    whole = matrix(A, cells, b.shape[1])[first:, first:]
    x = np.zeros_like(load)
    if whole.shape[0] == 1:
        x[first:] = load[first:] / whole.toarray()
    elif whole.shape[0] and "periodic" in A.ends:
        x[first:] = _factors(whole).solve(np.ascontiguousarray(load[first:]))
    elif whole.shape[0]:
        bands = np.zeros((2, whole.shape[0]), dtype=load.dtype)
        bands[1], bands[0, 1:] = whole.diagonal(), whole.diagonal(1)
        try:
            x[first:] = scipy.linalg.solveh_banded(bands, load[first:], check_finite=False)
        except np.linalg.LinAlgError:
            raise NonFiniteError from None
    return torch.from_numpy(np.ascontiguousarray(x.T)).to(b)


class BoxFactorisation:
    """SuperLU's factors of a sparse matrix.

    Parameters
    ----------
    A : scipy.sparse.csc_array, shape (unknowns, unknowns)
        The matrix, symmetric.
    held : bool
        Whether the first unknown is held at zero.
    """

    def __init__(self, A: sp.csc_array, held: bool) -> None:
        self.first = int(held)
        inner = A[self.first :, self.first :].tocsc()
        # The matrix is symmetric and positive definite: the pivots may be taken as they come.
        options: dict[str, Any] = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.0,
            "options": {"SymmetricMode": True},
        }
        self.factors = _factors(inner, **options) if inner.shape[0] else None

    def __call__(self, b: Tensor) -> Tensor:
        """Return the values at the unknowns for loads of shape ``(batch, *unknowns)``, in float64."""
        load = b.cpu().numpy().reshape(b.shape[0], math.prod(b.shape[1:]))
        x = np.zeros_like(load)
        if self.factors is not None:
            x[:, self.first :] = self.factors.solve(np.ascontiguousarray(load[:, self.first :].T)).T
        return torch.from_numpy(x).reshape(b.shape).to(b)


def _factors(A: sp.csc_array, **options: Any) -> Any:
    try:
        return spla.splu(A, **options)
    except RuntimeError as error:
        if "singular" not in str(error):
            raise
        # There is more between its entries than float64 holds.
        raise NonFiniteError from None
