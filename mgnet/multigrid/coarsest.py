"""What solves the coarsest grid: the exact cycle, the eigenvectors of its axes, a dense matrix, or sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import sent
from ..operators import loops
from ..operators.axes import Axis
from ..operators.boxes import Box
from ..operators.contract import LOST, Map, Operator
from ..operators.smoothers import Smoother
from ..operators.stiffness import Stiffness
from .exact import Condensation

__all__ = ["TensorSolver", "coarse_solver", "factors_of_pieces", "symmetric_factors"]

# Unknowns for which a LAPACK's threads would take longer, above all where they wait for one another.
FEW = 512
# Parts of a diagonal: what is added so that there are factors, and pivots that are none but for rounding.
SLIGHT, ALIKE = 2.0**-46, 2.0**-40
# Largest coarse grid that is solved as a dense matrix.
DENSE = 4096


def coarse_solver(A: Operator, smoother: Smoother, coarse: str) -> Map:
    """Return what solves the coarsest grid, from loads to values, shape ``(N, 1, *unknowns)``.

    ``"exact"`` is the exact cycle or, in more dimensions, the eigenvectors of its axes where cells are alike;
    ``"direct"`` is a dense factorisation, also where these two are not to be had, and ``"smoother"`` is 50
    sweeps. A grid that is too large for a dense factorisation is a ValueError.
    """
    if coarse == "smoother":
        return lambda b: smoother(A, None, b, 50)
    if coarse == "exact" and A.box.dim == 1:
        # An iteration looks at its corrections itself.
        exact = Condensation(A, looks=False)
        return lambda b: A.box.unknowns(exact.solve(b[:, 0]))[:, None]
    if coarse == "exact" and isinstance(A, Stiffness):
        return TensorSolver(A.box, A.form.a, A.form.c, A.like, A.form.lumped)
    return _dense_solver(A)


def _dense_solver(A: Operator) -> Map:
    size = math.prod(A.box.shape)
    if size > DENSE:
        raise ValueError(
            f"levels: got a coarsest grid of {size} unknowns, too many for a dense factorisation;"
            f" accepted: at most {DENSE}; take more levels, or coarse='exact' where a and c are constant"
        )
    if A.gaps:
        # What one node holds is so soft that all else would be lost beside it in float32.
        return factors_of_pieces(A)
    inverse = _inverse(A.to_dense(), A.loose)
    return lambda b: _product(inverse, b)


def _product(matrix: Tensor, b: Tensor) -> Tensor:
    """Multiply by a symmetric matrix; a BLAS would start threads for a product as small as this one."""
    if not loops.apply_to(b):
        return (b.flatten(1) @ matrix).reshape(b.shape)
    from ..kernels.vectors import multiply

    x = np.empty((len(b), math.prod(b.shape[1:])), loops.kind(b.dtype))
    multiply(matrix.numpy(), b.contiguous().numpy().reshape(x.shape), x)
    return torch.from_numpy(x).reshape(b.shape)


def _inverse(A: Tensor, loose: bool) -> Tensor:
    """Invert in float64; where constants are mapped to zero, or almost, with the first unknown held there."""
    first = int(loose)
    inverse = torch.zeros_like(A, dtype=torch.float64)
    inner = A.double()[first:, first:]
    if loops.apply_to(A) and len(A) <= FEW:
        from ..kernels.vectors import invert

        found = inner.numpy().copy()
        invert(found)
        if not np.isfinite(found).all():
            raise np.linalg.LinAlgError("Singular matrix")
        inverse[first:, first:] = torch.from_numpy(found)
    else:
        inverse[first:, first:] = torch.linalg.inv(inner)
    return inverse.to(A.dtype)


def factors_of_pieces(A: Operator) -> Map:
    """Factorise in float64 what may fall into pieces; of those that nothing holds one unknown is held.

    Unknowns without an equation are zero.
    """
    matrix = A.scaled(1.0, torch.float64).to_sparse()
    matrix.eliminate_zeros()  # which tie nothing
    diagonal = matrix.diagonal()
    count, piece = scipy.sparse.csgraph.connected_components(matrix, directed=False)
    energies = np.bincount(piece, matrix.sum(1), count)
    loose = energies <= LOST * np.finfo(np.float64).eps * np.bincount(piece, diagonal, count)
    first = np.unique(piece, return_index=True)[1][loose]
    more = np.zeros_like(diagonal)
    more[first] = np.where(diagonal[first] > 0, diagonal[first], 1.0)
    factors = _factors(matrix, more + SLIGHT * diagonal)
    # What all nodes around a free one say alike is said too often: of such unknowns one is held as well.
    alike = factors.U.diagonal()[factors.perm_c] <= ALIKE * diagonal
    if alike.any():
        factors = _factors(matrix, more + np.where(alike, diagonal, 0.0))

    def solve(b: Tensor) -> Tensor:
        loads = b.detach().double().cpu().numpy().reshape(len(b), -1)
        found = factors.solve(np.ascontiguousarray(loads.T)).T if loads.size else loads
        return torch.from_numpy(np.ascontiguousarray(found)).reshape(b.shape).to(b)

    solve.on_host = True  # type: ignore[attr-defined]  # so no CUDA graph can have it
    return solve


def _factors(matrix: scipy.sparse.csc_array, more: np.ndarray) -> Any:
    """Factorise a symmetric matrix with something more on its diagonal."""
    try:
        return symmetric_factors((matrix + scipy.sparse.diags_array(more)).tocsc())
    except RuntimeError as error:
        raise np.linalg.LinAlgError(str(error)) from None


def symmetric_factors(matrix: scipy.sparse.csc_array) -> Any:
    """Return SuperLU's factors of a symmetric and positive definite matrix: pivots are taken as they come."""
    options: dict[str, Any] = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0}
    return scipy.sparse.linalg.splu(matrix, **options, options={"SymmetricMode": True})


class TensorSolver:
    """The inverse of a sum of tensor products of stiffness and mass matrices, :eq:`fast-diagonalization`.

    Its cost is that of one dense matrix for each axis, so it is for coarse grids. Where constants are mapped
    to zero, the solution has no constant part in the discrete sense. The eigenvectors are computed in
    float64. The mass matrix that c stands before may be lumped: where all cells are alike and no end has an
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
        matrices = [sent(V, **like) for _, V in pairs]
        self._matrices: Any = [V.T.contiguous() for V in matrices], sent(inverse, **like), matrices

    def __call__(self, b: Tensor) -> Tensor:
        """Solve for loads of shape ``(..., *unknowns)``."""
        transposed, inverse, vectors = self._matrices
        if not loops.apply_to(b):
            return _along_axes(vectors, _along_axes(transposed, b) * inverse)  # eq: fast-diagonalization
        with np.errstate(all="ignore"):  # NaN is looked for elsewhere
            x = _along_axes(self._arrays[0], b.numpy()) * self._arrays[1]
            return torch.from_numpy(_along_axes(self._arrays[2], x))

    @cached_property
    def _arrays(self) -> Any:
        """Give the matrices as arrays: BLAS starts no threads for products as small as these."""
        return [x.numpy() if isinstance(x, Tensor) else [V.numpy() for V in x] for x in self._matrices]


@lru_cache(maxsize=4)
def _eigenpairs(axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Give λ and V of K V = M V λ, with Vᵀ M V the identity; those of the last axes are kept.

    As arrays: tensors would remember whether they were made in inference mode.
    """
    # By torch and not by SciPy, whose threads would keep the processors from torch's for a while.
    K, M = map(torch.from_numpy, axis.dense_matrices())
    L = torch.linalg.cholesky(M)
    half = torch.linalg.solve_triangular(L, K, upper=False)
    # eq: eigenpairs
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.T, upper=False))
    if "dirichlet" not in axis.ends and not any(axis.robin):
        # What rounding leaves of the zero of constants may be more than the other axes have.
        values[0] = 0.0
    return values.numpy(), torch.linalg.solve_triangular(L.T, vectors, upper=True).numpy()


def _along_axes(matrices: Sequence[Any], x: Any) -> Any:
    """Apply one matrix along each of the last axes."""
    *others, last = matrices
    x = x @ last.T
    for place, matrix in enumerate(others, -len(matrices)):
        x = (matrix @ x.swapaxes(place, -2)).swapaxes(place, -2)
    return x
