"""The oracle: the same matrix, solved by SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from .stiffness import Stiffness1d
from .varying import VaryingStiffness

__all__ = ["BoxFactorisation", "matrix", "solve_direct"]


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


def solve_direct(A: Any, cells: int, b: Tensor) -> Tensor:
    """Solve by LAPACK's banded Cholesky, or by sparse LU where the ends are joined.

    Where constants are solutions, the first unknown is held at zero.

    Parameters
    ----------
    A : Stiffness1d or VaryingStiffness
        The operator.
    cells : int
        Number of cells.
    b : torch.Tensor, shape (batch, unknowns)
        Loads.

    Returns
    -------
    torch.Tensor, shape (batch, unknowns)
        Values at the unknowns.
    """
    load = b.cpu().numpy().T
    first = int(A.singular)
    whole = matrix(A, cells, b.shape[1])[first:, first:]
    x = np.zeros_like(load)
    if whole.shape[0] == 1:
        x[first:] = load[first:] / whole.toarray()
    elif whole.shape[0] and "periodic" in A.ends:
        x[first:] = spla.splu(whole).solve(np.ascontiguousarray(load[first:]))
    elif whole.shape[0]:
        bands = np.zeros((2, whole.shape[0]), dtype=load.dtype)
        bands[1], bands[0, 1:] = whole.diagonal(), whole.diagonal(1)
        x[first:] = scipy.linalg.solveh_banded(bands, load[first:], check_finite=False)
    return torch.from_numpy(np.ascontiguousarray(x.T)).to(b)


class BoxFactorisation:
    """SuperLU's factors of a sparse matrix; where constants are solutions, the first unknown is held at zero.

    Parameters
    ----------
    A : scipy.sparse.csc_array, shape (unknowns, unknowns)
        The matrix, symmetric.
    singular : bool
        Whether constants are mapped to zero.
    """

    def __init__(self, A: sp.csc_array, singular: bool) -> None:
        self.first = int(singular)
        inner = A[self.first :, self.first :].tocsc()
        # The matrix is symmetric and positive definite: the pivots may be taken as they come.
        options: dict[str, Any] = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.0,
            "options": {"SymmetricMode": True},
        }
        self.factors = spla.splu(inner, **options) if inner.shape[0] else None

    def __call__(self, b: Tensor) -> Tensor:
        """Return the values at the unknowns for loads of shape ``(batch, *unknowns)``, in float64."""
        load = b.cpu().numpy().reshape(b.shape[0], math.prod(b.shape[1:]))
        x = np.zeros_like(load)
        if self.factors is not None:
            x[:, self.first :] = self.factors.solve(np.ascontiguousarray(load[:, self.first :].T)).T
        return torch.from_numpy(x).reshape(b.shape).to(b)
