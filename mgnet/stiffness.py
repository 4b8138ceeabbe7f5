"""The stiffness operator where all cells are alike: a convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import stencils
from .margins import Ends
from .operators import Stencil
from .varying import VaryingStiffness

__all__ = ["Stiffness"]


class Stiffness(Stencil):
    """The stiffness operator −(a u′)′ + c u on a uniform grid, :eq:`stiffness`.

    It is applied in the form of :eq:`varying`, by differences: that of two close numbers is exact in
    floating point, hence the residual of a fine grid keeps its digits, and a small row sum is not lost
    beside a large conductance.

    Parameters
    ----------
    h : float, default 1.0
        Cell width.
    a, c : float
        Coefficients, 1 and 0 by default.
    boundary : str or (str, str), default "dirichlet"
        As for :class:`Stencil`; a natural end adds ``robin`` to its diagonal.
    robin : (float, float), default (0.0, 0.0)
        Robin's alpha at the two ends.
    dim : int, default 1
        Only 1 so far.
    dtype, device : optional
        Of the kernel; float64 on the CPU by default.

    Examples
    --------
    >>> Stiffness(0.5).to_dense(3)
    tensor([[ 4., -2.,  0.],
            [-2.,  4., -2.],
            [ 0., -2.,  4.]], dtype=torch.float64)
    """

    def __init__(
        self,
        h: float = 1.0,
        a: float = 1.0,
        c: float = 0.0,
        boundary: Ends = "dirichlet",
        *,
        robin: tuple[float, float] = (0.0, 0.0),
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = stencils.stiffness(h, a, c)
        self._convolution(kernel, 1, boundary, False, {"dtype": dtype, "device": device})
        self.h, self.a, self.c, self.robin = h, a, c, robin
        self.k, self.row_sum = a / h - c * h / 6, c * h

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape (N, 1, unknowns)
            Values at the unknowns.

        Returns
        -------
        torch.Tensor, shape (N, 1, unknowns)
            The loads that belong to them.
        """
        y = self.extend(x).diff(dim=-1)
        y = torch.sub(y[..., :-1], y[..., 1:]).mul_(self.k)
        if self.row_sum:
            y.add_(x, alpha=self.row_sum)
        for end, node in ((0, 0), (1, -1)):
            extra = self._end(end)
            if extra:
                y[..., node] += extra * x[..., node]
        return y

    def _end(self, end: int) -> float:
        """Return what the end row of a natural end has beyond the interior row continued evenly."""
        return self.robin[end] - self.row_sum / 2 if self.boundary[end] == "natural" else 0.0

    @property
    def ends(self) -> tuple[str, str]:
        """The condition at the left and at the right end."""
        return self.boundary

    @property
    def end_conductances(self) -> tuple[float, float]:
        """The conductance of the first and of the last cell."""
        return self.k, self.k

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        return "dirichlet" not in self.boundary and not self.row_sum and not any(self.robin)

    def diagonal(self, shape: int) -> Tensor:
        """Return the diagonal of the matrix.

        Parameters
        ----------
        shape : int
            Number of unknowns.

        Returns
        -------
        torch.Tensor, shape (shape,)
            The diagonal, in the precision of the kernel.
        """
        d = torch.full((shape,), 2 * self.k + self.row_sum, **self.like)
        for end, node in ((0, 0), (1, -1)):
            if self.boundary[end] == "natural":
                d[node] += self.robin[end] - self.k - self.row_sum / 2
        # A lone joined node is its own neighbour.
        return torch.full_like(d, self.row_sum) if shape == 1 and self.boundary[0] == "periodic" else d

    @property
    def T(self) -> Stiffness:  # type: ignore[override]
        """The adjoint: the operator itself, which is symmetric."""
        return self

    def coarse(self) -> Stiffness:
        """Return the stiffness operator of cells twice as wide; it equals R A P, :eq:`galerkin`.

        Returns
        -------
        Stiffness
            The operator of the next coarser grid.
        """
        return Stiffness(2 * self.h, self.a, self.c, self.boundary, robin=self.robin, **self.like)

    def varying(self, cells: int) -> VaryingStiffness:
        """Return the same operator with its numbers spelled out, one cell after the other.

        Parameters
        ----------
        cells : int
            Number of cells.

        Returns
        -------
        mgnet.varying.VaryingStiffness
            The operator in the form of :eq:`varying`.
        """
        k = torch.full((cells,), self.k, **self.like)
        s = torch.full((cells + 1,), self.row_sum, **self.like) if self.row_sum else None
        if s is not None:
            s[0] /= 2
            s[-1] /= 2
        return VaryingStiffness(k, s, self.boundary, self.robin)


class Stiffness1d(Stiffness, nn.Conv1d):
    """The stiffness operator on a line."""

    dim = 1


Stiffness.members = (Stiffness1d,)
