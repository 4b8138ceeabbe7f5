"""Constant coefficients in a box, solved by the eigenvectors of its axes, :eq:`fast-diagonalization`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.memory import sent
from ..operators.axes import Axis, Box

__all__ = ["TensorSolver"]


class TensorSolver:
    """The inverse of a sum of tensor products of stiffness and mass matrices.

    Its cost is that of one dense matrix for each axis, so it is for coarse grids. Where constants are mapped
    to zero, the solution has no constant part in the discrete sense.

    Parameters
    ----------
    box : Box
        The cells and their ends.
    a, c : float
        Coefficients.
    like : dict
        Precision and device of what it is applied to; the eigenvectors are computed in float64.
    lumped : bool, default False
        Whether the mass matrix that c stands before is lumped. Where all cells are alike and no end has an
        alpha, that has the same eigenvectors; else its diagonal in them stands for it, which is close.
    """

    def __init__(self, box: Box, a: float, c: float, like: dict[str, Any], lumped: bool = False) -> None:
        pairs = [tuple(map(torch.from_numpy, _eigenpairs(axis))) for axis in box.axes]
        total = torch.zeros((), dtype=torch.float64, device="cpu")
        reacting = torch.full((), c, dtype=torch.float64, device="cpu")
        for axis, (values, vectors) in zip(box.axes, pairs, strict=True):
            total = total[..., None] + a * values
            if lumped:
                reacting = reacting[..., None] * (torch.from_numpy(axis.hat_integrals()) @ vectors**2)
        total = total + reacting
        inverse = total.reciprocal()
        if not any("dirichlet" in axis.ends for axis in box.axes):
            # That of constants is zero where nothing holds them, or lost in the rounding of the others.
            constants = (0,) * box.dim
            inverse[constants].masked_fill_(total[constants] <= 0, 0.0)
        self.inverse, *self.vectors = (sent(x, **like) for x in (inverse, *(vectors for _, vectors in pairs)))

    def __call__(self, b: Tensor) -> Tensor:
        """Solve for loads of shape ``(..., *unknowns)``."""
        transposed = [V.T for V in self.vectors]
        # eq: fast-diagonalization
        return _along_axes(self.vectors, _along_axes(transposed, b) * self.inverse)


@lru_cache(maxsize=4)
def _eigenpairs(axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Give λ and V of K V = M V λ, with Vᵀ M V the identity; those of the last axes are kept.

    As arrays: tensors would remember whether they were made in inference mode.
    """
    # By torch and not by SciPy, whose threads would keep the processors from torch's for a while.
    K, M = (torch.from_numpy(matrix.toarray()) for matrix in axis.matrices())
    L = torch.linalg.cholesky(M)
    half = torch.linalg.solve_triangular(L, K, upper=False)
    # eq: eigenpairs
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.T, upper=False))
    if "dirichlet" not in axis.ends and not any(axis.robin):
        # What rounding leaves of the zero of constants may be more than the other axes have.
        values[0] = 0.0
    return values.numpy(), torch.linalg.solve_triangular(L.T, vectors, upper=True).numpy()


def _along_axes(matrices: Sequence[Tensor], x: Tensor) -> Tensor:
    """Apply one matrix along each of the last axes."""
    for place, matrix in enumerate(matrices, -len(matrices)):
        x = torch.tensordot(x, matrix, ([place], [1])).movedim(-1, place)
    return x
