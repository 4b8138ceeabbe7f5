"""What a solver returns: nodal values that can be evaluated, drawn and trusted as far as they say."""

from __future__ import annotations

import copy
import html
import math
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import plot
from ..core.arrays import known_values, sent
from ..core.checks import choice
from ..core.kinds import hidden, tracked
from ..poisson.balance import Balance, Source, integral
from ..poisson.grid import Grid
from . import saving
from .evaluation import Interpolant
from .stopping import Outcome, Status

__all__ = ["ConvergenceError", "Solution"]


class Solution:
    """A finite-element function and how it was found.

    Attributes
    ----------
    method : str
        How it was computed, "auto" resolved.
    device : str
        Where it was computed.
    """

    def __init__(
        self,
        u: Tensor,
        grids: Sequence[Grid],
        outcome: Outcome,
        *,
        method: str,
        tensors: bool = True,
        look_again: Callable[[], Outcome] | None = None,
        active: Tensor | None = None,
        source: Source | None = None,
    ) -> None:
        # What is read and written as an array is one array, also where a GPU computed it.
        self._u, self.device = u if tensors else u.cpu(), str(u.device)
        self._grids, self._outcome, self._tensors = tuple(grids), outcome, tensors
        self._look_again, self._active = look_again, active
        self._balance = source and Balance(source, self._u)
        self.method = method

    @property
    def u(self) -> Any:
        """Nodal values, shape (..., n + 1) or (..., n₁ + 1, n₂ + 1), boundary included.

        NumPy or torch, as the data came; indexed [x, y, z]; NaN at nodes without a cell. Where the data
        require gradients it carries them on, and so do the values and slopes between the nodes,
        :eq:`adjoint`; a copy does not.
        """
        return self._u if self._tensors else self._values

    @cached_property
    def x(self) -> Any:
        """Node coordinates, shape (n + 1,), in float64; one array for each axis where there are more."""
        axes: list[Any] = [grid.x.copy() for grid in self._grids]
        if self._tensors:
            axes = [sent(torch.from_numpy(x), self._u.device) for x in axes]
        return axes[0] if self.dim == 1 else tuple(axes)

    @property
    def _function(self) -> Interpolant:
        return Interpolant(self._u, self._grids, self._active)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._grids)

    @property
    def _values(self) -> np.ndarray:
        return known_values(self._u)

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
        # Another process gets the figures, not the hierarchy and the graph that they come from.
        known = {"_u": self._u.detach(), "_history": self._history, "_balance": copy.copy(self._balance)}
        return {**self.__dict__, **known, "_look_again": None}

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
    def message(self) -> str:
        """One line: what the status means, and what to do about it."""
        where = (
            f" (row {self._outcome.row})"
            if self._u.ndim > self.dim and self.status is not Status.CONVERGED
            else ""
        )
        count = f"{self.iterations} iteration{'' if self.iterations == 1 else 's'}"
        return f"{self.status.name} after {count}{where}: {self.status.value}"

    def __call__(self, *x: Any) -> Any:
        """Evaluate the finite-element function.

        Parameters
        ----------
        *x : array or float
            Points of the domain, of any shape; what is outside by rounding alone is at the end. In more
            dimensions one array for each coordinate, of shapes that broadcast, or a tuple of those, or one
            array of points whose last axis is the coordinates.

        Returns
        -------
        array
            The values there: the batch axes of ``u``, then those of the points. In the kind of ``u``, and in
            tensors where a point requires a gradient.

        Raises
        ------
        ValueError
            For a point outside the domain, and for nested lists that are coordinates and points alike.

        Notes
        -----
        Points that require a gradient get one: the slope, in the cell that they lie in.
        """
        return self._like(self._function.value(x))

    def derivative(self, *x: Any, side: str | None = None) -> Any:
        """Evaluate the slope.

        At a node, where the slopes of two cells meet, it is their mean, each weighted with the width of the
        other cell: exact for parabolas, and of second order where the solution is smooth. Where a jumps, so
        does the slope: ``side`` asks for that of one cell. At an end of the domain it is the slope of the one
        cell that there is.

        Parameters
        ----------
        *x : array or float
            Points, as for evaluation.
        side : {"left", "right"}, optional
            At nodes the slope in the cell on the left or on the right, in more dimensions for each component
            that in the cell before or behind along its own axis; by default their mean. It makes no
            difference inside of cells.

        Returns
        -------
        array
            The slopes there: the batch axes of ``u``, then those of the points; in more dimensions a last
            axis for the components of the gradient.

        Raises
        ------
        ValueError
            For a point outside the domain, and for another side.
        """
        if side is not None:
            choice("side", side, ("left", "right"))
        return self._like(self._function.slope(x, side))

    def _like(self, values: Tensor) -> Any:
        return self._handed(values.to(self._u.dtype))

    def _handed(self, result: Tensor) -> Any:
        return result if self._tensors or tracked(result) else result.detach().cpu().numpy()[()]

    def flux(self, side: Any) -> Any:
        """Integrate the flux a ∂u/∂ν through a side of the domain, :eq:`boundary-flux`, ν the outward normal.

        It is what comes into the domain there, as the g of :class:`mgnet.Neumann`. All fluxes balance with
        the sources to rounding: their sum, and that of the integrals of f − c u, is zero.

        Parameters
        ----------
        side : str or array of bool, shape ``(*nodes)``
            The name of a side, "left" and "right" on an interval. Or some nodes: what comes in where they are
            held, which is nothing where they are not, but for what an iteration has left.

        Returns
        -------
        array, shape (...,)
            One number for each right-hand side, in float64, in the kind of ``u``.

        Raises
        ------
        ValueError
            For a side that there is not, or that is joined to another; a mask of another shape; and for what
            a failed derivative carries, of which no problem is known.

        Notes
        -----
        Through a Neumann or Robin side it is the integral of g − αu, as the assembly has it. Through a
        Dirichlet side it is the sum of the residuals of its nodes, of second order where u is smooth, which
        the slopes of u are not. A node that it shares with a Neumann or Robin side has that side's part taken
        out; where two Dirichlet sides meet, each has the part of the slope across it, and what is left is
        divided equally.

        Of a ready load b nothing is known at the nodes of Dirichlet sides: f counts as zero there, and in the
        balance. The data of Neumann and Robin sides are those of the problem, also of what
        :meth:`mgnet.Hierarchy.solve` was given.

        It is found when it is first asked for: functions are called again, so ask before you change the
        arrays of the call, or ``u``, in place. Where ``u`` carries derivatives it does as well.
        """
        return self._handed(self._of_problem.through(side))

    @property
    def energy(self) -> Any:
        """Half of a(u, u), :eq:`energy`, shape (...,): of the integral of a ∇u·∇u + c u u, as discretised.

        That of α u u over Robin sides is part of it. In float64, found as :meth:`flux` is.
        """
        return self._handed(self._of_problem.energy)

    @property
    def _of_problem(self) -> Balance:
        if self._balance is None:
            raise ValueError("solution: got one of a failed derivative; accepted: what solve returns")
        return self._balance

    def integral(self) -> Any:
        """Integrate the finite-element function over the domain.

        Returns
        -------
        array, shape (...,)
            One number for each right-hand side, in float64, in the kind of ``u``.
        """
        return self._handed(integral(self._grids, self._u, self._active))

    def to_xarray(self) -> Any:
        """Return the nodal values as a labelled array; needs the extra ``files``.

        Returns
        -------
        xarray.DataArray
            Named u, with the coordinates x, y and z; leading axes are the dimension batch, or batch0, batch1
            and so on.

        Raises
        ------
        ImportError
            Where xarray is not installed.
        """
        return saving.data_array([grid.x.copy() for grid in self._grids], self._values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write nodes and nodal values into a file, whole or not at all; one that is there is replaced.

        Parameters
        ----------
        path : path
            Its ending says what is written. ``.npz``: arrays x, y, z and u. ``.csv``: a row for each node,
            x, y, z and u in all digits, the last coordinate running fastest. ``.npy``: an array, of the
            columns x and u on an interval, else of u alone. ``.vtr``: a rectilinear grid of VTK, as ParaView
            reads; needs the extra ``files``. In tables and in VTK many right-hand sides are u0, u1 and so on.

        Raises
        ------
        ValueError
            For another ending.
        ImportError
            For ``.vtr``, where pyevtk is not installed.
        OSError
            Where the file cannot be written.
        """
        saving.write(path, [grid.x for grid in self._grids], self._values)

    def plot(self, ax: Any = None) -> Any:
        """Draw the nodal values: one line for each right-hand side, or the first one's as a map.

        In three dimensions the map is that of the plane in the middle of the last axis.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            Where it was drawn.
        """
        u = self._values
        active: Any = None if self._active is None else self._active.cpu().numpy()
        title = f"{self.method}, n = {self._size}, {self.status.name.lower()}"
        if self.dim == 1:
            ax = plot.nodal(self._grids[0].x, u.reshape(-1, u.shape[-1]), ax, active)
        else:
            u = u.reshape(-1, *u.shape[-self.dim :])[0]
            if self.dim == 3:
                middle = self._grids[2].n // 2
                u, title = u[..., middle], f"{title}, z = {self._grids[2].x[middle]:g}"
                if active is not None:
                    active = active[..., max(0, middle - 1) : middle + 1].any(-1)
            ax = plot.nodal_map(self._grids[0].x, self._grids[1].x, u, ax, active)
        ax.set_title(title)
        return ax

    @property
    def _size(self) -> str:
        return " x ".join(str(grid.n) for grid in self._grids)

    def _rows(self) -> list[tuple[str, str]]:
        batch = self._u.shape[: self._u.ndim - self.dim]
        shape = f", batch of {math.prod(batch)} right-hand sides" if batch else ""
        nodes = "uniform" if all(grid.uniform for grid in self._grids) else "given"
        domain = " x ".join(f"[{grid.domain[0]:g}, {grid.domain[1]:g}]" for grid in self._grids)
        return [
            ("status", self.message),
            ("grid", f"{self._size} cells on {domain}, {nodes} nodes{shape}"),
            ("method", f"{self.method}, {self.dtype} on {self.device}"),
            ("error estimate", self._error_text),
            ("residual", self._residual_text),
            (
                "u",
                "hidden by vmap"
                if hidden(self._u)
                else f"{np.fmin.reduce(self._values, None):.6g} to {np.fmax.reduce(self._values, None):.6g}",
            ),
        ]

    @property
    def _error_text(self) -> str:
        return f"{self.error_estimate:.1e}"

    @property
    def _residual_text(self) -> str:
        return f"{self.residuals[-1]:.1e}"

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
