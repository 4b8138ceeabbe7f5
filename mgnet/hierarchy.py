"""A problem's operators on all grids, set up once, and the run of a method on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from . import assembly
from .chain import Chain
from .checks import array, count, find_device, float_type, number, require_finite
from .condensation import Condensation, NonFiniteError
from .direct import solve_direct
from .iteration import Outcome, Status, iterate, largest, relative_norm
from .multigrid import ConjugateGradients, Level, Options, build_levels, cycle, full_multigrid
from .nullspace import Constants
from .precision import full_precision
from .problem import Dirichlet, Poisson
from .solution import ConvergenceError, Solution

__all__ = ["Hierarchy", "Stopping"]

# Default tolerance, relative to the largest nodal value; more is asked of neither precision.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Stopping:
    """When to stop, and what to do then; checked.

    Parameters
    ----------
    tol : float, optional
        Accepted error, relative to the largest nodal value.
    maxiter : int, optional
        Most cycles.
    refine : bool, default False
        Correct by residuals in float64.
    throw : bool, default True
        Whether to raise when the solution has not converged.
    """

    def __init__(
        self, tol: float | None = None, maxiter: int | None = None, refine: bool = False, throw: bool = True
    ) -> None:
        self.tol = None if tol is None else number("tol", tol)
        if self.tol is not None and self.tol < 0:
            raise ValueError(f"tol: got {tol!r}; accepted: a number of at least 0")
        self.maxiter = 100 if maxiter is None else count("maxiter", maxiter, 0)
        self.refine, self.throw = bool(refine), bool(throw)


class Hierarchy:
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
        smoother: str = "jacobi",
        sweeps: tuple[int, int] = (2, 2),
        levels: int | None = None,
        coarse: str = "exact",
        omega: float | None = None,
        dtype: Any = torch.float64,
        device: Any = None,
    ) -> None:
        self.options = Options(method, smoother, sweeps, levels, coarse, omega)
        if not isinstance(problem, Poisson):
            raise TypeError(f"problem: got {problem!r}; accepted: a Poisson problem")
        self.problem, self.dtype, self.device = problem, float_type(dtype), find_device(device)
        self.chain = Chain(problem.ends)
        with torch.no_grad():
            self.A = assembly.operator(problem, self.dtype, self.device)
        self.constants = Constants(problem) if self.A.singular else None

    @property
    def method(self) -> str:
        """The method, "auto" resolved."""
        return self.options.method

    @cached_property
    def levels(self) -> list[Level]:
        """The grids of the cycles, finest first."""
        with torch.no_grad():
            return build_levels(self.A, self.problem.n, self.options)

    @cached_property
    def condensation(self) -> Condensation:
        """The exact cycle."""
        return Condensation(self.A, self.problem.n)

    @cached_property
    def precise(self) -> Hierarchy:
        """The same problem in float64, by the exact cycle: for residuals and for a second look."""
        if self.dtype == torch.float64 and self.method == "exact":
            return self
        return Hierarchy(self.problem, dtype=torch.float64, device=self.device)

    def __str__(self) -> str:
        sizes = self._sizes()
        precision = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        smoother = "" if self.method in ("exact", "direct") else f" {self.options.smoother},"
        lines = [f"Hierarchy: {self.method},{smoother} {len(sizes)} levels, {precision}"]
        lines.append("  level      cells   unknowns   nonzeros")
        lines += [
            f"  {i:>5} {cells:>10} {unknowns:>10} {entries:>10}"
            for i, (cells, unknowns, entries) in enumerate(sizes)
        ]
        totals = [sum(column) / max(column[0], 1) for column in list(zip(*sizes, strict=True))[1:]]
        lines.append(f"  grid complexity {totals[0]:.2f}, operator complexity {totals[1]:.2f}")
        return "\n".join(lines)

    __repr__ = __str__

    def _sizes(self) -> list[tuple[int, int, int]]:
        """Give cells, unknowns and nonzeros of every level."""
        if self.method == "exact":
            cells = [*(level.cells for level in self.condensation.levels), 1]
        else:
            cells = [self.problem.n] if self.method == "direct" else [level.cells for level in self.levels]
        lost = self.problem.n - self.problem.unknowns
        sizes = [(n, n - lost) for n in cells]
        if self.problem.periodic:
            return [(n, size, min(3 * size, size**2)) for n, size in sizes]
        return [(n, size, max(3 * size - 2, 0)) for n, size in sizes]

    def cycle(self, r: Tensor) -> Tensor:
        """Apply one cycle to a residual, from a zero guess, :eq:`cycle`.

        Parameters
        ----------
        r : torch.Tensor, shape (batch, 1, unknowns)
            Residual.

        Returns
        -------
        torch.Tensor, shape (batch, 1, unknowns)
            Correction. The cycle is that of the method, a V-cycle for "fmg", "pcg" and "direct".
        """
        if self.method == "exact":
            return self.chain.unknowns(self.condensation.solve(r[:, 0]))[:, None]
        kind = {"wcycle": "W", "fcycle": "F"}.get(self.method, "V")
        return cycle(self.levels, r, None, self.options.sweeps, kind)

    def as_linear_operator(self) -> spla.LinearOperator:
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
        size = self.problem.unknowns
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))

        def apply(r: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.array(r, dtype=dtype).reshape(1, 1, size)).to(self.device)
            with torch.no_grad(), full_precision():
                return self.cycle(x).reshape(size).cpu().numpy()

        symmetric = self.method != "fcycle" and self.options.sweeps[0] == self.options.sweeps[1]
        adjoint = apply if symmetric or self.method == "exact" else None
        return spla.LinearOperator((size, size), matvec=apply, rmatvec=adjoint, dtype=dtype)

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
        b : array, shape (..., unknowns)
            Load, one entry per unknown, NumPy or torch; the data of Neumann and Robin ends included.
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
        load = array("b", b, (self.problem.unknowns,), "one entry per unknown")
        stopping = Stopping(tol, maxiter, refine, throw)
        return self.run(assembly.Load(load, "b", load, False, isinstance(b, Tensor)), stopping, x0)

    def run(self, load: assembly.Load, stopping: Stopping, x0: Any = None) -> Solution:
        """Solve for an assembled load.

        Parameters
        ----------
        load : Load
            The load, and where it came from.
        stopping : Stopping
            When to stop.
        x0 : array, shape (..., n + 1), optional
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
        batch, unknowns = load.b.shape[:-1], load.b.shape[-1]
        wide = torch.float64 if stopping.refine else self.dtype
        rows = load.b.to(dtype=wide, device=self.device).reshape(math.prod(batch), unknowns)
        guess = None if x0 is None else self._guess(x0, rows)
        with torch.no_grad(), full_precision():
            try:
                if self.constants:
                    rows = self.constants.compatible(rows, load)
                u, outcome, look_again = self._method(rows, guess, stopping)
            except NonFiniteError:
                if load.given is not None:
                    require_finite(load.name, load.given)
                # The data are sound: the solution is out of the range of the precision.
                u = rows.new_full((rows.shape[0], self.problem.n + 1), math.nan)
                outcome, look_again = Outcome(Status.DIVERGED, 1, [math.nan]), None
        sol = Solution(
            u.to(self.dtype).reshape(*batch, u.shape[-1]),
            self.problem.grid,
            outcome,
            method=self.method,
            tensors=load.speaks_torch,
            look_again=look_again,
        )
        if stopping.throw and sol.status is not Status.CONVERGED:
            raise ConvergenceError(sol)
        return sol

    def _method(
        self, b: Tensor, guess: Tensor | None, stopping: Stopping
    ) -> tuple[Tensor, Outcome, Callable[[], Outcome] | None]:
        """Run the method; the solution of the exact cycle and of SciPy is looked at again when asked for."""
        if self.method not in ("exact", "direct") or stopping.refine or not stopping.maxiter:
            return *self._iterate(b, guess, stopping), None
        u = self._remove_mean(self._once(b)).to(b.dtype)
        if stopping.tol is None:
            return u, Outcome(Status.CONVERGED, 1), lambda: self._second_look(b, u)
        return u, self._second_look(b, u, stopping.tol), None

    def _once(self, b: Tensor) -> Tensor:
        """Solve by the exact cycle or by SciPy; all nodes."""
        if self.method == "exact":
            return self.condensation.solve(b, *self._values)
        # In float64 and with one step of refinement: LAPACK alone loses the digits that a fine grid or
        # the jumps of a coefficient cost.
        A = self.precise.A
        load = self._lifted(b.double(), A)
        u = self._direct(load)
        r = load - A(u[:, None])[:, 0]
        # Beside huge loads fluxes may be out of range, though the solution is not.
        if r.isfinite().all():
            u += self._direct(r)
        _require_all_finite(u)
        return self.chain.nodes(u, *self._values)

    def _direct(self, b: Tensor) -> Tensor:
        _require_all_finite(b)
        return solve_direct(self.precise.A, self.problem.n, b.double()).to(b)

    def _iterate(self, b: Tensor, guess: Tensor | None, stopping: Stopping) -> tuple[Tensor, Outcome]:
        A = self.precise.A if stopping.refine else self.A
        rounding = torch.finfo(b.dtype).eps * (4 + math.sqrt(self.problem.n))
        tol = max(TOLERANCE[b.dtype], 4 * rounding) if stopping.tol is None else stopping.tol
        load = self._lifted(b, A)[:, None]
        if not load.numel() and stopping.maxiter:
            return self.chain.nodes(b, *self._values), Outcome(Status.CONVERGED, 0, [0.0], 0.0)
        _require_all_finite(load)
        u = torch.zeros_like(load) if guess is None else guess
        u = self._unknowns_without_mean(u)
        if self.method == "fmg" and guess is None and stopping.maxiter:
            u = full_multigrid(self.levels, load.to(self.dtype), self.options.sweeps).to(load)
        u, outcome = iterate(self._step(A, stopping.refine), A, load, u, tol, stopping.maxiter, rounding)
        if stopping.refine:
            outcome.error_estimate += torch.finfo(self.dtype).eps * float(largest(u).max())
        return self._remove_mean(self.chain.nodes(u[:, 0], *self._values)), outcome

    def _step(self, A: Any, refine: bool) -> Callable[[Tensor], Tensor]:
        """Give the map from a residual to a correction."""
        if self.method == "direct":
            return lambda r: self._direct(r[:, 0])[:, None]
        cycle = self._scaled_cycle if refine else self.cycle

        def correct(r: Tensor) -> Tensor:
            # The mean that a cycle adds is no part of the solution, and the size of u is what tol refers to.
            return self._unknowns_without_mean(cycle(r))

        return ConjugateGradients(A, correct) if self.method == "pcg" else correct

    def _scaled_cycle(self, r: Tensor) -> Tensor:
        """Apply a cycle to a residual of another precision; late ones would underflow in float32."""
        size = r.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(r.dtype).tiny)
        return self.cycle((r / size).to(self.dtype)).to(r) * size

    def _second_look(self, b: Tensor, u: Tensor, tol: float = math.inf) -> Outcome:
        """Estimate the error of a solution by the exact correction for its residual, in float64."""
        with torch.no_grad(), full_precision():
            precise = self.precise
            load = precise._lifted(b.double(), precise.A)[:, None]
            r = load - precise.A(self.chain.unknowns(u.double())[:, None])
            residual = self.constants.project(r[:, 0]) if self.constants else r[:, 0]
            correction = self._remove_mean(precise.condensation.solve(residual))
            error = largest(correction) + torch.finfo(u.dtype).eps * largest(u)
        bad = error > tol * largest(u)
        status = Status.STAGNATED if bool(bad.any()) else Status.CONVERGED
        estimate, row = float(error.max()), int(bad.int().argmax())
        return Outcome(status, 1, [1.0, relative_norm(r, load)], estimate, row=row)

    def _unknowns_without_mean(self, u: Tensor) -> Tensor:
        if not self.constants:
            return u
        return self.chain.unknowns(self._remove_mean(self.chain.nodes(u[:, 0])))[:, None]

    def _remove_mean(self, u: Tensor) -> Tensor:
        return self.constants.remove(u) if self.constants else u

    @property
    def _values(self) -> tuple[float, float]:
        """The values at the two ends, 0 where they are not given."""
        ends = self.problem.left, self.problem.right
        left, right = (end.g if isinstance(end, Dirichlet) else 0.0 for end in ends)
        return left, right

    def _lifted(self, b: Tensor, A: Any) -> Tensor:
        """Move given boundary values to the right-hand side, :eq:`lifting`."""
        left, right = self._values
        if not (left or right) or not b.shape[-1]:
            return b
        first, last = A.end_conductances
        b = b.clone()
        b[:, 0] += first * left
        b[:, -1] += last * right
        return b

    def _guess(self, x0: Any, rows: Tensor) -> Tensor:
        """Check a first guess and give its unknowns, (batch, 1, unknowns)."""
        guess = array("x0", x0, (self.problem.n + 1,), "one value per node, boundary included")
        require_finite("x0", guess)
        guess = guess.to(rows).reshape(-1, guess.shape[-1])
        if guess.shape[0] not in (1, rows.shape[0]):
            raise ValueError(f"x0: got {guess.shape[0]} rows; accepted: 1, or {rows.shape[0]} as the load")
        return self.chain.unknowns(guess.expand(rows.shape[0], -1))[:, None].clone()


def _require_all_finite(b: Tensor) -> None:
    if not math.isfinite(b.sum().item()) and not bool(b.isfinite().all()):
        raise NonFiniteError
