"""Smoothers: each improves x in A x = b by a few sweeps, and knows A only by its diagonal and its action."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .memory import copy, is_open, spare

__all__ = [
    "SMOOTHERS",
    "Chebyshev",
    "Jacobi",
    "RedBlack",
    "Relaxation",
    "Smoother",
    "chebyshev_weights",
    "damping",
    "lowest",
]


class Smoother(Protocol):
    """``smoother(A, x, b, sweeps)`` returns the improved x; ``post`` runs it in the adjoint order."""

    def __call__(self, A: Any, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Improve an approximation.

        Parameters
        ----------
        A : callable
            The operator.
        x : torch.Tensor, shape ``(batch, 1, *unknowns)``, or None
            Approximation; None is zero.
        b : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Load.
        sweeps : int
            Number of sweeps, or degree of a polynomial.
        post : bool, default False
            Whether it follows the coarse correction.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            The better approximation.
        """


def residual(A: Any, x: Tensor, b: Tensor) -> Tensor:
    """Return b − A x, by the operator's own way if it has one."""
    if hasattr(A, "residual"):
        return A.residual(x, b)
    y = A(x)
    return y.neg_().add_(b) if is_open() else b - y


class Jacobi:
    """Damped Jacobi: x ← x + ω D⁻¹ (b − A x), :eq:`jacobi`.

    Parameters
    ----------
    diagonal : torch.Tensor
        The diagonal of A.
    omega : float, default 2/3
        Damping; 2/3 damps the upper half of the spectrum of −u″ best.
    """

    def __init__(self, diagonal: Tensor, omega: float = 2 / 3) -> None:
        self.weight = omega / diagonal

    def __call__(self, A: Any, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`."""
        for _ in range(sweeps):
            x = (
                torch.mul(b, self.weight, out=spare(b.shape, b))
                if x is None
                else residual(A, x, b).mul_(self.weight).add_(x)  # eq: jacobi
            )
        return torch.zeros_like(b) if x is None else x


class RedBlack:
    """Red-black Gauss-Seidel: every second unknown is relaxed exactly, then the others.

    In the plane there are four colours and in space eight, since the stencils there have corners: odd or even
    along each axis. The new nodes, which the coarse grid lacks, come last before the coarse correction and
    first after it. In 1-D nothing is then left for a second cycle, :eq:`red-black`, except that c > 0 on a
    uniform grid, where the transfers are those of the hats, leaves a little.

    Parameters
    ----------
    diagonal : torch.Tensor
        The diagonal of A.
    omega : float, default 1.0
        Relaxation.
    new : sequence of {0, 1}, default (0,)
        Index of the first unknown that is a new node, along each axis.
    """

    def __init__(self, diagonal: Tensor, omega: float = 1.0, new: Sequence[int] = (0,)) -> None:
        self.weight = omega / diagonal
        self.colours = list(itertools.product(*((1 - first, first) for first in new)))

    def __call__(self, A: Any, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`. With ``post`` the colours swap their order."""
        x = torch.zeros_like(b) if x is None else x.clone()
        weight = self.weight.expand(x.shape[2:])
        for _ in range(sweeps):
            for colour in reversed(self.colours) if post else self.colours:
                nodes: tuple[Any, ...] = (..., *(slice(first, None, 2) for first in colour))
                x[nodes] += weight[nodes] * residual(A, x, b)[nodes]  # eq: red-black
        return x


class Chebyshev:
    """Chebyshev polynomial of degree ``sweeps`` in D⁻¹ A, :eq:`chebyshev`.

    It is the polynomial that is smallest on the part of the spectrum that the coarse grid does not see,
    from a quarter of the largest eigenvalue on.

    Parameters
    ----------
    diagonal : torch.Tensor
        The diagonal of A.
    largest : float, default 2.0
        A bound of the eigenvalues of D⁻¹ A; 2 bounds them for every operator of this package in 1-D.
    fraction : float, default 0.25
        Where the damped part of the spectrum begins.
    """

    def __init__(self, diagonal: Tensor, largest: float = 2.0, fraction: float = 0.25) -> None:
        self.centre, self.radius = (1 + fraction) / 2 * largest, (1 - fraction) / 2 * largest
        self.first = (self.centre * diagonal).reciprocal_()

    def __call__(self, A: Any, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply the polynomial of degree ``sweeps``; see :class:`Smoother`."""
        if not sweeps:
            return torch.zeros_like(b) if x is None else x
        d = (
            torch.mul(b, self.first, out=spare(b.shape, b))
            if x is None
            else residual(A, x, b).mul_(self.first)
        )
        x = copy(d) if x is None else torch.add(x, d, out=spare(x.shape, x))
        sigma = self.centre / self.radius
        rho = 1 / sigma
        for _ in range(sweeps - 1):
            rho, before = 1 / (2 * sigma - rho), rho  # eq: chebyshev
            factor = 2 * rho / self.radius * self.centre
            d = d.mul_(rho * before).addcmul_(residual(A, x, b), self.first, value=factor)
            x = x.add_(d)
        return x


class Relaxation:
    """x ← x + B (b − A x) with any operators B, a network's for example, one for each sweep in turn.

    Parameters
    ----------
    B : sequence of callable
        From residuals to corrections.
    """

    def __init__(self, B: Sequence[Any]) -> None:
        self.B = list(B)

    def __call__(self, A: Any, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`. The order is that of B before and after."""
        for i in range(sweeps):
            B = self.B[i % len(self.B)]
            x = B(b) if x is None else x + B(residual(A, x, b))
        return torch.zeros_like(b) if x is None else x


def damping(dim: int) -> float:
    """Return the best damping of Jacobi for −Δ on equal cells: 2/3 on a line, 8/9 in more dimensions."""
    return 2 / 3 if dim == 1 else 8 / 9


def lowest(dim: int) -> float:
    """Return where Chebyshev's interval begins: below what the coarse grid does not see of D⁻¹ A."""
    return 0.5 if dim == 1 else 0.42  # eq: rough-interval


def chebyshev_weights(sweeps: int, dim: int) -> list[float]:
    """Return the polynomial of :class:`Chebyshev` as one weight of D⁻¹ for each of ``sweeps`` sweeps.

    Parameters
    ----------
    sweeps : int
        Degree of the polynomial.
    dim : int
        Number of dimensions, for −Δ on equal cells.

    Returns
    -------
    list of float
        The reciprocals of the roots, :eq:`chebyshev-roots`.
    """
    low, high = lowest(dim), 2.0 if dim == 1 else 1.5
    nodes = [math.cos(math.pi * (i + 0.5) / sweeps) for i in range(sweeps)]
    return [1 / ((high + low) / 2 + (high - low) / 2 * node) for node in nodes]  # eq: chebyshev-roots


SMOOTHERS: dict[str, Any] = {"jacobi": Jacobi, "red-black": RedBlack, "chebyshev": Chebyshev}
