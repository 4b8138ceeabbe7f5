"""Smoothers: each improves x in A x = b by a few sweeps, and knows A only by its diagonal and its action."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from . import frames, loops
from .contract import Map, Operator, residual
from .lines import Lines
from .sweeps import PointSweeps

__all__ = [
    "SMOOTHERS",
    "Chebyshev",
    "Jacobi",
    "RedBlack",
    "Relaxation",
    "Smoother",
    "chebyshev_weights",
    "damping",
    "rough_interval",
]


class Smoother(Protocol):
    """``smoother(A, x, b, sweeps)`` returns the improved x; ``post`` runs it in the adjoint order."""

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
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


class _Polynomial:
    """x ← x + w D⁻¹ (b − A x), with one weight after the other; see :class:`Smoother`."""

    inverse: Any  # of the diagonal

    def weights(self, sweeps: int) -> Sequence[float]:
        """Return the weight of each sweep."""
        raise NotImplementedError

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`."""
        for weight in self.weights(sweeps):
            x = _relaxed(A, x, b, self.inverse, weight)
        return torch.zeros_like(b) if x is None else x


class Jacobi(_Polynomial):
    """Damped Jacobi: x ← x + ω D⁻¹ (b − A x), :eq:`jacobi`.

    Parameters
    ----------
    diagonal : torch.Tensor or BlockDiagonal
        The diagonal of A, or blocks of it.
    omega : float, default 2/3
        Damping; 2/3 damps the upper half of the spectrum of −u″ best.
    """

    def __init__(self, diagonal: Any, omega: float = 2 / 3) -> None:
        self.inverse, self.omega = _inverted(diagonal), omega

    def weights(self, sweeps: int) -> Sequence[float]:
        """Return the weight of each sweep, the same."""
        return [self.omega] * sweeps  # eq: jacobi


class RedBlack:
    """Red-black Gauss-Seidel: every second unknown is relaxed exactly, then the others.

    In the plane there are four colours and in space eight, since the stencils there have corners: odd or even
    along each axis. The new nodes, which the coarse grid lacks, come last before the coarse correction and
    first after it. In 1-D nothing is then left for a second cycle, :eq:`red-black`, except that c > 0 on a
    uniform grid, where the transfers are those of the hats, leaves a little.

    Parameters
    ----------
    diagonal : torch.Tensor or BlockDiagonal
        The diagonal of A, or blocks of it.
    omega : float, default 1.0
        Relaxation.
    new : sequence of {0, 1} or None, default (0,)
        Index of the first unknown that is a new node, along each axis; None along the axes of blocks.
    """

    def __init__(self, diagonal: Any, omega: float = 1.0, new: Sequence[int | None] = (0,)) -> None:
        self.inverse, self.omega = _inverted(diagonal), omega
        choices = [(slice(None),) if first is None else _every_second(1 - first, first) for first in new]
        self.colours = list(itertools.product(*choices))
        # The operator that compiled loops have last met, and their sweeps over it, if there are any.
        self._known: tuple[Any, PointSweeps | None] = (None, None)

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`. With ``post`` the colours swap their order."""
        looped = self._looped(A, x, b)
        if looped:
            return looped(x, b, sweeps, post)
        x = torch.zeros_like(b) if x is None else x.clone()
        for _ in range(sweeps):
            for colour in reversed(self.colours) if post else self.colours:
                nodes: tuple[Any, ...] = (..., *colour)
                x[nodes] += self._relaxation(residual(A, x, b), nodes)  # eq: red-black
        return x

    def _looped(self, A: Any, *vectors: Tensor | None) -> PointSweeps | None:
        """Give the sweeps as compiled loops have them, where they may work on vectors."""
        if callable(self.inverse) or not loops.apply_to(self.inverse, *getattr(A, "numbers", ()), *vectors):
            return None
        if self._known[0] is not A:
            self._known = A, self._swept(A) if isinstance(A, Operator) and hasattr(A, "box") else None
        return self._known[1]

    def _swept(self, A: Operator) -> PointSweeps | None:
        # A lone joined node is its own neighbour.
        lone = any(axis.periodic and axis.cells == 1 for axis in A.box.axes)
        if A.box.dim == 1 or lone or not math.prod(A.box.shape):
            return None
        return PointSweeps(A.box, frames.joined(A.frame, A.box), self.colours, self.inverse, self.omega)

    def _relaxation(self, r: Tensor, nodes: tuple[Any, ...]) -> Tensor:
        if callable(self.inverse):
            return self.omega * self.inverse(r)[nodes]
        return self.omega * self.inverse.expand(r.shape[2:])[nodes] * r[nodes]


class Chebyshev(_Polynomial):
    """Chebyshev polynomial of degree ``sweeps`` in D⁻¹ A, :eq:`chebyshev`.

    It is the polynomial that is smallest on the part of the spectrum that the coarse grid does not see,
    from a quarter of the largest eigenvalue on, and is applied root by root, :eq:`chebyshev-roots`.

    Parameters
    ----------
    diagonal : torch.Tensor or BlockDiagonal
        The diagonal of A, or blocks of it.
    largest : float, default 2.0
        A bound of the eigenvalues of D⁻¹ A; 2 bounds them for every operator of this package in 1-D.
    fraction : float, default 0.25
        Where the damped part of the spectrum begins.
    """

    def __init__(self, diagonal: Any, largest: float = 2.0, fraction: float = 0.25) -> None:
        self.inverse, self.interval = _inverted(diagonal), (fraction * largest, largest)

    def weights(self, sweeps: int) -> Sequence[float]:
        """Return the reciprocals of the roots, in an order that keeps what is between them small."""
        return chebyshev_weights(sweeps, *self.interval)  # eq: chebyshev


class Relaxation:
    """x ← x + B (b − A x) with any operators B, a network's for example, one for each sweep in turn.

    Parameters
    ----------
    B : sequence of callable
        From residuals to corrections.
    """

    def __init__(self, B: Sequence[Any]) -> None:
        self.B = list(B)

    def __call__(self, A: Map, x: Tensor | None, b: Tensor, sweeps: int, post: bool = False) -> Tensor:
        """Apply ``sweeps`` sweeps; see :class:`Smoother`. The order is that of B before and after."""
        for i in range(sweeps):
            B = self.B[i % len(self.B)]
            x = B(b) if x is None else x + B(residual(A, x, b))
        return torch.zeros_like(b) if x is None else x


def _relaxed(A: Map, x: Tensor | None, b: Tensor, inverse: Any, weight: float) -> Tensor:
    """Return x + w D⁻¹ (b − A x); the inverse is numbers, or what it makes of a residual; no x is zero."""
    r = b if x is None else residual(A, x, b)
    before = b.new_zeros(()) if x is None else x
    if callable(inverse):
        return torch.add(before, inverse(r), alpha=weight)
    return torch.addcmul(before, r, inverse, value=weight)


def _inverted(diagonal: Any) -> Any:
    """Invert a diagonal, or blocks of it; without the threads of torch where nothing else needs them."""
    if isinstance(diagonal, Tensor) and loops.apply_to(diagonal):
        return torch.from_numpy(1 / diagonal.numpy())
    return diagonal.reciprocal()


def _every_second(*starts: int) -> tuple[slice, ...]:
    return tuple(slice(start, None, 2) for start in starts)


def damping(dim: int) -> float:
    """Return the best damping of Jacobi for −Δ on equal cells: 2/3 on a line, 8/9 in more dimensions."""
    return 2 / 3 if dim == 1 else 8 / 9


def rough_interval(dim: int) -> tuple[float, float]:
    """Return what of the spectrum of D⁻¹ A Chebyshev is to damp: a little more than coarse grids do not see.

    That is the interval for −Δ on equal cells in so many dimensions.
    """
    return (0.5, 2.0) if dim == 1 else (0.42, 1.5)  # eq: rough-interval


@lru_cache
def chebyshev_weights(sweeps: int, low: float, high: float) -> tuple[float, ...]:
    """Return the polynomial of :class:`Chebyshev` as one weight of D⁻¹ for each of ``sweeps`` sweeps.

    It is smallest on the interval from ``low`` to ``high``. The weights are the reciprocals of the roots,
    :eq:`chebyshev-roots`, in Leja's order: each is as far as possible from those before it, or the errors of
    many sweeps would grow in between and leave their rounding.
    """
    nodes = [math.cos(math.pi * (i + 0.5) / sweeps) for i in range(sweeps)]
    ordered: list[float] = []
    while nodes:
        farthest = max(nodes, key=lambda node: math.prod(abs(node - other) for other in ordered))
        nodes.remove(farthest)
        ordered.append(farthest)
    centre, radius = (high + low) / 2, (high - low) / 2
    return tuple(1 / (centre + radius * node) for node in ordered)  # eq: chebyshev-roots


SMOOTHERS: dict[str, Any] = {
    "jacobi": Jacobi,
    "red-black": RedBlack,
    "chebyshev": Chebyshev,
    "line": Lines,  # of the operator itself
}
