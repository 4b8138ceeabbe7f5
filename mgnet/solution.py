"""What a solver returns: nodal values that can be evaluated, drawn and trusted as far as they say."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import plot
from .grid import Grid
from .iteration import Outcome, Status

__all__ = ["ConvergenceError", "Solution"]


class Solution:
    """A finite-element function and how it was found.

    Attributes
    ----------
    method : str
        How it was computed, "auto" resolved.
    """

    def __init__(
        self,
        u: Tensor,
        grid: Grid,
        outcome: Outcome,
        *,
        method: str,
        tensors: bool = True,
        look_again: Callable[[], Outcome] | None = None,
    ) -> None:
        self._u, self._grid, self._outcome, self._tensors = u, grid, outcome, tensors
        self._look_again = look_again
        self.method = method

    @property
    def u(self) -> Any:
        """Nodal values, shape (..., n + 1), boundary included; NumPy or torch, as the data came."""
        return self._u if self._tensors else self._u.cpu().numpy()

    @cached_property
    def x(self) -> Any:
        """Node coordinates, shape (n + 1,), in float64."""
        x = self._grid.x.copy()
        return torch.from_numpy(x).to(self._u.device) if self._tensors else x

    @property
    def status(self) -> Status:
        """How it ended."""
        return self._outcome.status

    @property
    def iterations(self) -> int:
        """Cycles done."""
        return self._outcome.iterations

    @cached_property
    def _history(self) -> Outcome:
        return self._look_again() if self._look_again else self._outcome

    def __getstate__(self) -> dict[str, Any]:
        # Another process gets the figures, not the hierarchy that they come from.
        return {**self.__dict__, "_history": self._history, "_look_again": None}

    @property
    def residuals(self) -> list[float]:
        """Residuals before the first and after each iteration.

        Each is the Euclidean norm relative to that of the load, of the worst right-hand side.
        """
        return self._history.residuals

    @property
    def error_estimate(self) -> float:
        """Estimated largest nodal error, absolute, of the worst right-hand side, :eq:`error-estimate`.

        It is that of the algebraic solution, not of the discretisation. Of "exact" and "direct" it is the
        size of the exact correction for the residual, computed when it is first asked for: from the arrays
        of the call and of ``u``, so ask before you change those in place.
        """
        return self._history.error_estimate

    @property
    def convergence_factor(self) -> float:
        """Mean factor by which the last corrections shrank; NaN where there was at most one."""
        return self._history.convergence_factor

    @property
    def dtype(self) -> str:
        """Precision of the values."""
        return str(self._u.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where it was computed."""
        return str(self._u.device)

    @property
    def message(self) -> str:
        """One line: what the status means, and what to do about it."""
        where = (
            f" (row {self._outcome.row})" if self._u.ndim > 1 and self.status is not Status.CONVERGED else ""
        )
        count = f"{self.iterations} iteration{'' if self.iterations == 1 else 's'}"
        return f"{self.status.name} after {count}{where}: {self.status.value}"

    def __call__(self, x: Any) -> Any:
        """Evaluate the finite-element function.

        Parameters
        ----------
        x : array or float
            Points of the domain, of any shape.

        Returns
        -------
        array
            The values there: the batch axes of ``u``, then those of ``x``.

        Raises
        ------
        ValueError
            For a point outside the domain.
        """
        left, right, t, _ = self._around(x)
        return self._like((1 - t) * left + t * right)

    def derivative(self, x: Any) -> Any:
        """Evaluate the slope, constant on each cell; at a node, that of the cell to its right.

        Parameters
        ----------
        x : array or float
            Points of the domain, of any shape.

        Returns
        -------
        array
            The slopes there: the batch axes of ``u``, then those of ``x``.

        Raises
        ------
        ValueError
            For a point outside the domain.
        """
        left, right, _, width = self._around(x)
        return self._like((right - left) / width)

    def _around(self, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give the values at both ends of each point's cell, the local coordinate and the width."""
        try:
            points = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
        except ValueError as error:
            raise TypeError(f"x: got {x!r}; accepted: real numbers ({error})") from None
        if points.dtype.kind not in "fiu":
            raise TypeError(f"x: got dtype {points.dtype}; accepted: real numbers")
        points = points.astype(np.float64)
        low, high = self._grid.domain
        outside = ~((points >= low) & (points <= high))
        if outside.any():
            raise ValueError(f"x: got {float(points[outside].flat[0])}; accepted: points in [{low}, {high}]")
        cell, t = self._grid.locate(points)
        u, h = self._u.cpu().numpy(), self._grid.h
        width = np.full(cell.shape, h) if isinstance(h, float) else h[cell]
        # Differences are taken in float64, so a slope of float32 values loses nothing more.
        left, right = (u[..., index].astype(np.float64) for index in (cell, cell + 1))
        return left, right, t, width

    def _like(self, values: np.ndarray) -> Any:
        result = torch.from_numpy(np.asarray(values)).to(self._u)
        return result if self._tensors else result.cpu().numpy()[()]

    def plot(self, ax: Any = None) -> Any:
        """Draw the nodal values, one line for each right-hand side.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            Where it was drawn.
        """
        u = self._u.cpu().numpy()
        ax = plot.nodal(self._grid.x, u.reshape(-1, u.shape[-1]), ax)
        ax.set_title(f"{self.method}, n = {self._grid.n}, {self.status.name.lower()}")
        return ax

    def _rows(self) -> list[tuple[str, str]]:
        low, high = self._grid.domain
        shape = "" if self._u.ndim == 1 else f", {math.prod(self._u.shape[:-1])} right-hand sides"
        nodes = "uniform" if self._grid.uniform else "given"
        return [
            ("status", self.message),
            ("grid", f"{self._grid.n} cells on [{low:g}, {high:g}], {nodes} nodes{shape}"),
            ("method", f"{self.method}, {self.dtype} on {self.device}"),
            ("error estimate", f"{self.error_estimate:.1e}"),
            ("residual", f"{self.residuals[-1]:.1e}"),
            ("u", f"{float(self._u.min()):.6g} to {float(self._u.max()):.6g}"),
        ]

    def __repr__(self) -> str:
        return "Solution\n" + "\n".join(f"  {name:<15} {value}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        cells = (f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in self._rows())
        return f"<table>{''.join(cells)}</table>"


class ConvergenceError(ArithmeticError):
    """The solution has not converged; ``solution`` is what there is, the message says what to change.

    Parameters
    ----------
    solution : Solution
        The unconverged solution.
    """

    def __init__(self, solution: Solution) -> None:
        super().__init__(
            f"{solution.message} (method {solution.method!r}, estimated error {solution.error_estimate:.1e})"
        )
        self.solution = solution

    def __reduce__(self) -> tuple[type[ConvergenceError], tuple[Solution]]:
        return ConvergenceError, (self.solution,)
