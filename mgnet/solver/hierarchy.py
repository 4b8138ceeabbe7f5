"""A problem's operators on all grids, set up once, and the run of a method on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import array, require_finite, sent
from ..core.checks import find_device, float_type, instance
from ..core.kinds import hidden, tracked, transforming
from ..core.looks import together
from ..core.precision import full_precision
from ..multigrid.cycles import Level
from ..multigrid.levels import Options
from ..operators.boxes import Box
from ..operators.contract import Operator
from ..poisson import assembly
from ..poisson.balance import Source
from ..poisson.boundary import Held
from ..poisson.problem import Poisson
from .adjoint import LinearSolve, Solving
from .cycling import Cycles
from .method import Found, Method, attempt
from .methods import METHODS
from .once import Direct, Exact
from .solution import ConvergenceError, Solution
from .stopping import Outcome, Status, Stopping
from .system import Lazy, System

__all__ = ["Hierarchy"]


class Hierarchy(Lazy):
    """A problem's operators on all grids, set up once for any number of right-hand sides.

    Parameters
    ----------
    problem : Poisson
        The problem; its f is not used.
    method, smoother, sweeps, levels, coarse, omega
        As for :func:`mgnet.solve`.
    dtype : torch.dtype, default torch.float64
        Precision of operators and solutions, float32 or float64.
    device : str or torch.device, optional
        The CPU by default.
    operator : VaryingStiffness or CellStiffness, optional
        Instead of the problem's own.
    graph : bool, default False
        Whether cycles are captured in a CUDA graph, one for each number of loads, and replayed: then the many
        small launches of coarse grids cost the host one. For a CUDA device, and a method that cycles.

    Raises
    ------
    TypeError, ValueError
        For options that are none of these, and for a graph on a CPU or with a method that does not cycle.

    Examples
    --------
    >>> import mgnet
    >>> print(mgnet.Hierarchy(mgnet.Poisson(n=16), method="vcycle"))
    Hierarchy: vcycle, jacobi, 4 levels, float64 on cpu
      level      cells   unknowns   nonzeros
          0         16         15         43
          1          8          7         19
          2          4          3          7
          3          2          1          1
      grid complexity 1.73, operator complexity 1.63
    """

    def __init__(
        self,
        problem: Poisson,
        *,
        method: str = "auto",
        smoother: str | None = None,
        sweeps: tuple[int, int] | None = None,
        levels: int | None = None,
        coarse: str = "exact",
        omega: float | None = None,
        dtype: Any = torch.float64,
        device: Any = None,
        operator: Operator | None = None,
        graph: bool = False,
    ) -> None:
        instance("problem", problem, Poisson, "a Poisson problem")
        if problem.samples:
            raise ValueError(
                f"problem: got a or c with leading axes {problem.samples}, an operator for each sample;"
                " accepted: one operator, so one Hierarchy for each, or mgnet.solve, which takes them all"
            )
        self.problem, self.dtype, self.device = problem, float_type(dtype), find_device(device)
        instance("graph", graph, bool, "True or False")
        if graph and self.device.type == "cpu":
            raise ValueError("graph: got True on cpu; accepted: a CUDA device, or False")
        given: Any = method, smoother, sweeps, levels, coarse, omega, problem.dim, False, graph
        self.options = Options(*given)
        if operator is None:
            self.system = System(problem, self.dtype, self.device)
        else:
            self.system = System.of(problem, operator)

    @property
    def A(self) -> Operator:
        """The finest operator."""
        return self.system.A

    @property
    def method(self) -> str:
        """The method, "auto" resolved."""
        return self.options.method

    @cached_property
    def _solver(self) -> Method:
        with torch.no_grad():  # it may set up grids of coefficients that derivatives are taken by
            return METHODS[self.method](self.system, self.options)

    @cached_property
    def _cycles(self) -> Cycles:
        """The cycles, also of a method that does not use them."""
        return self._solver if isinstance(self._solver, Cycles) else Cycles(self.system, self.options)

    @property
    def levels(self) -> list[Level]:
        """The grids of the cycles, finest first; in float32, and scaled, where those of "auto" are."""
        return self._cycles.levels

    def __str__(self) -> str:
        boxes = self._boxes()
        precision = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        smoother = "" if self.method in ("exact", "direct") else f" {self.options.smoother_for(self.A)},"
        head = f"Hierarchy: {self.method},{smoother} {len(boxes)} levels, {precision}"
        return "\n".join([head, *_table(boxes)])

    __repr__ = __str__

    def _boxes(self) -> list[Box]:
        """Give the cells of every level."""
        if isinstance(self._solver, Exact):
            (axis,), levels = self.problem.space.axes, self._solver.condensation.levels
            return [Box([replace(axis, cells=cells)]) for cells in levels]
        if isinstance(self._solver, Cycles):
            return self._cycles.boxes
        return [self.problem.space]

    def cycle(self, r: Tensor) -> Tensor:
        """Apply one cycle to a residual, from a zero guess, :eq:`cycle`.

        Parameters
        ----------
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            Correction. The cycle is that of the method, a V-cycle for "fmg", "pcg" and "direct".
        """
        return self._cycles.cycle(r) if isinstance(self._solver, Direct) else self._solver.cycle(r)

    def as_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return one cycle as a SciPy operator, to be the ``M`` of ``scipy.sparse.linalg.cg``.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator, shape (unknowns, unknowns)
            From a residual to a correction, as :meth:`cycle`.

        Examples
        --------
        >>> import mgnet, numpy as np
        >>> mgnet.Hierarchy(mgnet.Poisson(n=4)).as_linear_operator() @ np.ones(3)
        array([0.375, 0.5  , 0.375])
        """
        shape, size = self.problem.shape, math.prod(self.problem.shape)
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))

        def apply(r: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.array(r, dtype=dtype).reshape(1, 1, *shape)).to(self.device)
            with torch.no_grad(), full_precision():
                return self.cycle(x).reshape(size).cpu().numpy()

        known = isinstance(self._solver, Cycles | Direct) and self.method != "fcycle"
        symmetric = known and self.options.sweeps[0] == self.options.sweeps[1]
        adjoint = apply if symmetric or self.method == "exact" else None
        return scipy.sparse.linalg.LinearOperator((size, size), matvec=apply, rmatvec=adjoint, dtype=dtype)

    def solve(
        self,
        b: Any,
        *,
        x0: Any = None,
        tol: float | None = None,
        maxiter: int | None = None,
        refine: bool = False,
        throw: bool = True,
    ) -> Solution:
        """Solve for a load.

        Parameters
        ----------
        b : array, shape ``(..., *unknowns)``
            Load, one entry per unknown, NumPy or torch; the data of Neumann and Robin sides included, as
            :func:`mgnet.load` does with ``fluxes=True``.
        x0, tol, maxiter, refine, throw
            As for :func:`mgnet.solve`.

        Returns
        -------
        Solution
            In the kind of ``b``, NumPy or torch, and the precision of the hierarchy.

        Raises
        ------
        TypeError, ValueError, ConvergenceError
            As for :func:`mgnet.solve`.
        """
        load = self.problem.with_equations(array("b", b, (self.problem.shape,), "one entry per unknown"))
        stopping = Stopping(tol, maxiter, refine, throw)
        given = assembly.Load(load, "b", load, False, isinstance(b, Tensor), ready=True)
        return self.run(given, stopping, x0)

    def run(self, load: assembly.Load, stopping: Stopping, x0: Any = None) -> Solution:
        """Solve for an assembled load.

        Parameters
        ----------
        load : Load
            The load, and where it came from.
        stopping : Stopping
            When to stop.
        x0 : array, shape ``(..., *nodes)``, optional
            First guess.

        Returns
        -------
        Solution
            In the precision of the hierarchy.

        Raises
        ------
        ValueError
            For data that are not finite or, in a singular problem, not compatible; for a wrong first guess.
        ConvergenceError
            When the solution has not converged and ``stopping`` says to raise.
        """
        with together():
            found = self.found(load, stopping, x0)
        own = self.A if self.system.own else None
        source = Source(self.problem, self.device, load.b if load.ready else None, own)
        return self.finished(found, tracked(found.u) or load.speaks_torch, stopping.throw, source)

    def found(self, load: assembly.Load, stopping: Stopping, x0: Any, held: Held | None = None) -> Found:
        """Solve for an assembled load, whatever comes of it.

        Parameters
        ----------
        load, stopping, x0
            As for :meth:`run`.
        held : Held, optional
            The values at the Dirichlet nodes; those of the problem by default.

        Returns
        -------
        Found
            The solution, whose shape is ``(..., *nodes)`` here, and how it ended.
        """
        stopping = stopping.of(self.problem.dim)
        wide = torch.float64 if stopping.refine else self.dtype
        held = held or self._held(wide)
        b = load.b if load.b.dtype is wide and load.b.device == self.device else load.b.to(self.device, wide)
        moving = tracked(b, *self.system.numbers, *held.numbers)
        return (self._derivable if moving else self._plain)(b, held, load, stopping, x0)

    def beside(self, problem: Poisson) -> Hierarchy:
        """Return a hierarchy with the same options for another problem on the same grid.

        Parameters
        ----------
        problem : Poisson
            The problem.
        """
        other = copy(self)
        other.problem, other.system = problem, System(problem, self.dtype, self.device)
        return other

    def forget(self) -> None:
        """Drop what is set up, until it is needed, also where a graph of derivatives holds the method."""
        self._solver.forget()
        self.system.forget()
        super().forget()

    def _held(self, dtype: torch.dtype) -> Held:
        """Give the values at the Dirichlet nodes; where they are numbers they are looked at once."""
        if dtype in self._known:
            return self._known[dtype]
        held = Held.of(self.problem, dtype, self.device)
        plain = self.problem.dim == 1 and self.problem.region.whole
        if plain and all(isinstance(side.g, float) for *_, side in self.problem.sides()):
            self._known[dtype] = held
        return held

    @cached_property
    def _known(self) -> dict[torch.dtype, Held]:
        return {}

    def _plain(self, b: Tensor, held: Held, load: assembly.Load, stopping: Stopping, x0: Any) -> Found:
        batch, rows, held = held.beside(b)

        def blame() -> None:
            if load.given is not None:
                require_finite(load.name, load.given, self.problem.dim)

        found = attempt(self._solver, rows, held, x0, stopping, lambda c: c.compatible(rows, load), blame)
        return found._replace(u=found.u.reshape(*batch, *found.u.shape[1:]))

    def _derivable(self, b: Tensor, held: Held, load: assembly.Load, stopping: Stopping, x0: Any) -> Found:
        """Solve so that derivatives can be taken by the load, the boundary data and the numbers in A."""
        if self.system.constants and not hidden(b):
            self.system.constants.compatible(b.detach().reshape(-1, *self.problem.shape), load)
        b = held.lifted(b, self.A)
        numbers = self.A.numbers if tracked(*self.A.numbers) else ()
        solving = Solving(self._solver, stopping, load, x0)
        u = held.complete(LinearSolve.apply(solving, b, *numbers))
        found = solving.leave()
        if found.look_again and transforming():
            # SciPy and NumPy would be handed wrapped tensors.
            outcome = found.outcome
            return Found(u, Outcome(outcome.status, outcome.iterations, [math.nan], math.nan))
        return found._replace(u=u)

    def finished(self, found: Found, tensors: bool, throw: bool, source: Source) -> Solution:
        """Round to the precision asked for, and raise where that is asked for.

        Parameters
        ----------
        found : Found
            The solution, and how it ended.
        tensors : bool
            Whether its values are to be tensors.
        throw : bool
            Whether to raise a ConvergenceError when it has not converged.
        source : Source
            Where it came from.
        """
        u, outcome, look_again = found
        rounded = u if u.dtype is self.dtype else u.to(self.dtype)
        out_of_range = rounded is not u and not hidden(rounded) and not rounded.isfinite().all()
        if out_of_range and outcome.status is Status.CONVERGED:
            outcome.status = Status.DIVERGED
        region = self.problem.region
        if region.present is not None:
            rounded = rounded.masked_fill(~sent(region.present, rounded.device), math.nan)
        options: dict[str, Any] = {"method": self.method, "tensors": tensors, "look_again": look_again}
        sol = Solution(rounded, self.problem.grids, outcome, source=source, active=region.active, **options)
        if throw and sol.status is not Status.CONVERGED:
            raise ConvergenceError(sol)
        return sol


def _table(boxes: Sequence[Box]) -> list[str]:
    """Give cells, unknowns and nonzeros of every level, and what all have beside the first."""
    rows = [
        (
            " x ".join(map(str, box.cells)),
            math.prod(box.shape),
            math.prod(axis.nonzeros for axis in box.axes),
        )
        for box in boxes
    ]
    wide = max(10, *(len(cells) for cells, *_ in rows))
    lines = [f"  level {'cells':>{wide}}   unknowns   nonzeros"]
    lines += [
        f"  {i:>5} {cells:>{wide}} {unknowns:>10} {entries:>10}"
        for i, (cells, unknowns, entries) in enumerate(rows)
    ]
    totals = [sum(column) / max(column[0], 1) for column in list(zip(*rows, strict=True))[1:]]
    return [*lines, f"  grid complexity {totals[0]:.2f}, operator complexity {totals[1]:.2f}"]
