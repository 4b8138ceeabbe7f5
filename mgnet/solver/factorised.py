"""The oracle: the same matrix, solved by SciPy."""

from __future__ import annotations

import math

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..multigrid.coarsest import symmetric_factors
from ..operators.contract import Map, Operator

__all__ = ["Floating", "factorised"]


def factorised(A: Operator, floats: bool, pieces: Tensor | None = None) -> Map:
    """Return SciPy's solver of an operator in float64, from loads to values, shape ``(batch, *unknowns)``.

    It is LAPACK's banded Cholesky on a line, SuperLU where ends are joined and in more dimensions. The
    operator ``floats`` where no node is given, so that little or nothing holds the constants. Where not all
    unknowns have an equation, ``pieces`` are numbers of those that nothing holds, from 1, or None.
    """
    chain = A.box.dim == 1 and not A.box.axes[0].periodic
    if A.gaps:
        matrix = _grounded(A, pieces)
        return Banded(matrix, False) if chain else Sparse(matrix, False)
    solve: Map = Banded(A.to_sparse(), floats) if chain else Sparse(A.to_sparse(), floats)
    if not floats:
        return solve
    one = torch.ones((1, 1, *A.box.shape), **A.like)
    return Floating(solve, A(one)[0, 0])


def _grounded(A: Operator, pieces: Tensor | None) -> scipy.sparse.csc_array:
    """Give a matrix that has an inverse, and the same solutions for loads that it has any for.

    Unknowns without an equation are zero. One node of each piece that nothing holds gets something on its
    diagonal: since the loads of the piece sum to zero, so does its value there.
    """
    matrix = A.to_sparse()
    diagonal = matrix.diagonal()
    more = np.where(diagonal == 0, 1.0, 0.0)
    if pieces is not None:
        found, first = np.unique(pieces.flatten().numpy(), return_index=True)
        first = first[found > 0]
        more[first] = np.where(diagonal[first] > 0, diagonal[first], 1.0)
    return scipy.sparse.csc_array(matrix + scipy.sparse.diags_array(more))


class Floating:
    """The inverse of an operator without Dirichlet nodes, where c and Robin's alpha may hold very little.

    A matrix of rounded entries does not know how little that is, but the image of the function 1 does, since
    it is computed from differences. So a solution is one that is zero at the first unknown, and a multiple of
    the function 1 that makes the sum of all equations right. ``held`` gives the one that is zero there, of
    all equations but the first. The image is zero where constants are solutions, which then stay out.
    """

    def __init__(self, held: Map, image: Tensor) -> None:
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


class _Scipy:
    """A symmetric matrix that SciPy solves with; ``floats`` holds the first unknown at zero."""

    def __init__(self, A: scipy.sparse.csc_array, floats: bool) -> None:
        self.first = int(floats)
        self.inner = A[self.first :, self.first :].tocsc()

    def __call__(self, b: Tensor) -> Tensor:
        """Return the values at the unknowns for loads of shape ``(batch, *unknowns)``, in float64."""
        load = b.cpu().numpy().reshape(b.shape[0], math.prod(b.shape[1:]))
        x = np.zeros_like(load)
        if self.inner.shape[0]:
            x[:, self.first :] = self.solve(np.ascontiguousarray(load[:, self.first :].T)).T
        return torch.from_numpy(x).reshape(b.shape).to(b)

    def solve(self, load: np.ndarray) -> np.ndarray:
        """Solve for the columns of an array."""
        raise NotImplementedError


class Banded(_Scipy):
    """LAPACK's banded Cholesky of a tridiagonal matrix."""

    def solve(self, load: np.ndarray) -> np.ndarray:
        """Solve for the columns of an array."""
        if self.inner.shape[0] == 1:  # of which LAPACK's routine for three diagonals takes none
            single: np.ndarray = load / self.inner.toarray()
            return single
        bands = np.zeros((2, self.inner.shape[0]), dtype=load.dtype)
        bands[1], bands[0, 1:] = self.inner.diagonal(), self.inner.diagonal(1)
        try:
            solution: np.ndarray = scipy.linalg.solveh_banded(bands, load, check_finite=False)
        except np.linalg.LinAlgError:
            raise NonFiniteError from None
        return solution


class Sparse(_Scipy):
    """SuperLU's factors of a sparse matrix."""

    def __init__(self, A: scipy.sparse.csc_array, floats: bool) -> None:
        super().__init__(A, floats)
        try:
            self.factors = symmetric_factors(self.inner) if self.inner.shape[0] else None
        except RuntimeError as error:
            if "singular" not in str(error):
                raise
            # There is more between its entries than float64 holds.
            raise NonFiniteError from None

    def solve(self, load: np.ndarray) -> np.ndarray:
        """Solve for the columns of an array."""
        solution: np.ndarray = self.factors.solve(load)  # type: ignore[union-attr]
        return solution
