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

from . import assembly, box_assembly
from .box_problem import BoxPoisson
from .checks import array, count, find_device, float_type, number, require_finite
from .condensation import Condensation, NonFiniteError
from .direct import BoxFactorisation, solve_direct
from .iteration import Outcome, Status, iterate, largest, relative_norm
from .memory import empty_like, own_copy, reused
from .multigrid import (
    ConjugateGradients,
    Level,
    Options,
    build_box_levels,
    build_levels,
    cycle,
    full_multigrid,
)
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
        smoother: str | None = None,
        sweeps: tuple[int, int] | None = None,
        levels: int | None = None,
        coarse: str = "exact",
        omega: float | None = None,
        dtype: Any = torch.float64,
        device: Any = None,
    ) -> None:
        if not isinstance(problem, Poisson):
            raise TypeError(f"problem: got {problem!r}; accepted: a Poisson problem")
        self.options = Options(method, smoother, sweeps, levels, coarse, omega, problem.dim)  # type: ignore[arg-type]
        self.problem, self.dtype, self.device = problem, float_type(dtype), find_device(device)
        self.space = problem.space
        with torch.no_grad():
            self.A: Any = self._operator()
        self.constants = Constants(problem) if self.A.singular else None

    @property
    def method(self) -> str:
        """The method, "auto" resolved."""
        return self.options.method

    def _operator(self) -> Any:
        if isinstance(self.problem, BoxPoisson):
            return box_assembly.operator(self.problem, self.dtype, self.device)
        return assembly.operator(self.problem, self.dtype, self.device)

    @cached_property
    def levels(self) -> list[Level]:
        """The grids of the cycles, finest first; in float32, and scaled, where those of "auto" are."""
        with torch.no_grad():
            if not isinstance(self.problem, BoxPoisson):
                return build_levels(self.A, self.problem.n, self.options)
            A = self.A.scaled(self._scale, torch.float32) if self._mixed else self.A
            return build_box_levels(A, self.problem.space, self.options)

    @cached_property
    def _mixed(self) -> bool:
        """Whether cycles are computed in float32 although the problem is in float64."""
        if not self.options.mixed or self.dtype == torch.float32:
            return False
        diagonal = self.A.diagonal(self.problem.shape)
        # Entries that differ by more would be out of the range of float32.
        return bool(diagonal.numel() and diagonal.min() > 1e-15 * diagonal.max())

    @cached_property
    def _scale(self) -> float:
        return 1 / float(self.A.diagonal(self.problem.shape).max())

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
        wide = max(10, *(len(str(cells)) for cells, *_ in sizes))
        lines.append(f"  level {'cells':>{wide}}   unknowns   nonzeros")
        lines += [
            f"  {i:>5} {cells:>{wide}} {unknowns:>10} {entries:>10}"
            for i, (cells, unknowns, entries) in enumerate(sizes)
        ]
        totals = [sum(column) / max(column[0], 1) for column in list(zip(*sizes, strict=True))[1:]]
        lines.append(f"  grid complexity {totals[0]:.2f}, operator complexity {totals[1]:.2f}")
        return "\n".join(lines)

    __repr__ = __str__

    def _box_sizes(self) -> list[tuple[Any, int, int]]:
        assert isinstance(self.problem, BoxPoisson)
        boxes = [self.problem.space]
        if self.method != "direct":
            for _ in self.levels[1:]:
                boxes.append(boxes[-1].coarse(boxes[-1].coarsening()))
        return [
            (
                " x ".join(map(str, box.cells)),
                math.prod(box.shape),
                math.prod(axis.matrices()[0].nnz for axis in box.axes),
            )
            for box in boxes
        ]

    def _sizes(self) -> list[tuple[Any, int, int]]:
        """Give cells, unknowns and nonzeros of every level."""
        if self.method == "exact":
            cells = [*(level.cells for level in self.condensation.levels), 1]
        else:
            cells = [self.problem.n] if self.method == "direct" else [level.cells for level in self.levels]
        if isinstance(self.problem, BoxPoisson):
            return self._box_sizes()
        lost = self.problem.n - self.problem.unknowns
        sizes = [(n, n - lost) for n in cells]
        if self.problem.periodic:
            return [(n, size, min(3 * size, size**2)) for n, size in sizes]
        return [(n, size, max(3 * size - 2, 0)) for n, size in sizes]

    def cycle(self, r: Tensor) -> Tensor:
        """Apply one cycle to a residual, from a zero guess, :eq:`cycle`.

        Parameters
        ----------
        r : torch.Tensor, shape (batch, 1, *unknowns)
            Residual.

        Returns
        -------
        torch.Tensor, shape (batch, 1, *unknowns)
            Correction. The cycle is that of the method, a V-cycle for "fmg", "pcg" and "direct".
        """
        if self.method == "exact":
            return self.problem.space.unknowns(self.condensation.solve(r[:, 0]))[:, None]
        if self._mixed and r.dtype == torch.float64:
            return self._scaled_cycle(r)
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
        shape, size = self.problem.shape, math.prod(self.problem.shape)
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))

        def apply(r: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.array(r, dtype=dtype).reshape(1, 1, *shape)).to(self.device)
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
        b : array, shape (..., *unknowns)
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
        load = array("b", b, (self.problem.shape,), "one entry per unknown")
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
        x0 : array, shape (..., *nodes), optional
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
        wide = torch.float64 if stopping.refine else self.dtype
        batch, rows, values = self._rows(load.b.to(dtype=wide, device=self.device))
        guess = None if x0 is None else self._guess(x0, rows)
        with torch.no_grad(), full_precision(), reused():
            try:
                if self.constants:
                    rows = self.constants.compatible(rows, load)
                u, outcome, look_again = self._method(rows, values, guess, stopping)
            except NonFiniteError:
                if load.given is not None:
                    require_finite(load.name, load.given, self.problem.dim)
                # The data are sound: the solution is out of the range of the precision.
                u = rows.new_full((rows.shape[0], *self.problem.node_shape), math.nan)
                outcome, look_again = Outcome(Status.DIVERGED, 1, [math.nan]), None
        u = u.to(self.dtype)
        sol = Solution(
            (u if self.method == "exact" else own_copy(u)).reshape(*batch, *u.shape[1:]),
            self.problem.grids,
            outcome,
            method=self.method,
            tensors=load.speaks_torch,
            look_again=look_again,
        )
        if stopping.throw and sol.status is not Status.CONVERGED:
            raise ConvergenceError(sol)
        return sol

    def _rows(self, b: Tensor) -> tuple[tuple[int, ...], Tensor, Any]:
        """Give the batch, the loads of shape (rows, *unknowns), and the values at the Dirichlet nodes."""
        problem = self.problem
        if not isinstance(problem, BoxPoisson):
            ends = problem.left, problem.right
            batch = b.shape[:-1]
            values = tuple(end.g if isinstance(end, Dirichlet) else 0.0 for end in ends)
            return batch, b.reshape(math.prod(batch), b.shape[-1]), values
        at_nodes = box_assembly.boundary_values(problem, b.dtype, self.device)
        batch = b.shape[: -problem.dim]
        if at_nodes is None:
            return batch, b.reshape(math.prod(batch), *problem.shape), ()
        shared = box_assembly.common_batch("boundary", at_nodes, problem.dim, batch)
        size = math.prod(shared)
        rows = b.expand(*shared, *problem.shape).reshape(size, *problem.shape)
        at_nodes = at_nodes.expand(*shared, *problem.node_shape).reshape(size, *problem.node_shape)
        return shared, rows, (at_nodes,)

    def _method(
        self, b: Tensor, values: Any, guess: Tensor | None, stopping: Stopping
    ) -> tuple[Tensor, Outcome, Callable[[], Outcome] | None]:
        """Run the method; the solution of the exact cycle and of SciPy is looked at again when asked for."""
        if self.method not in ("exact", "direct") or stopping.refine or not stopping.maxiter:
            return *self._iterate(b, values, guess, stopping), None
        u = self._remove_mean(self._once(b, values)).to(b.dtype)
        if stopping.tol is None:
            return u, Outcome(Status.CONVERGED, 1), lambda: self._second_look(b, values, u)
        return u, self._second_look(b, values, u, stopping.tol), None

    def _once(self, b: Tensor, values: Any) -> Tensor:
        """Solve by the exact cycle or by SciPy; all nodes."""
        if self.method == "exact":
            return self.condensation.solve(b, *values)
        # In float64 and with one step of refinement: LAPACK alone loses the digits that a fine grid or
        # the jumps of a coefficient cost.
        A = self.precise.A
        load = self._lifted(b.double(), values, A)
        u = self._direct(load)
        r = load - A(u[:, None])[:, 0]
        # Beside huge loads fluxes may be out of range, though the solution is not.
        if r.isfinite().all():
            u += self._direct(r)
        _require_all_finite(u)
        return self.space.nodes(u, *values)

    def _direct(self, b: Tensor) -> Tensor:
        _require_all_finite(b)
        return self.precise.factorised(b.double()).to(b)

    @cached_property
    def factorised(self) -> Callable[[Tensor], Tensor]:
        """SciPy's solver: from loads to values at the unknowns, shape (batch, *unknowns), in float64."""
        if isinstance(self.problem, BoxPoisson):
            return BoxFactorisation(self.A.to_sparse(self.problem.shape), self.A.singular)
        return lambda b: solve_direct(self.A, self.problem.n, b)

    def _iterate(
        self, b: Tensor, values: Any, guess: Tensor | None, stopping: Stopping
    ) -> tuple[Tensor, Outcome]:
        A = self.precise.A if stopping.refine else self.A
        rounding = torch.finfo(b.dtype).eps * (4 + math.sqrt(self.problem.n))
        tol = max(TOLERANCE[b.dtype], 4 * rounding) if stopping.tol is None else stopping.tol
        load = self._lifted(b, values, A)[:, None]
        if not load.numel() and stopping.maxiter:
            u = self.space.nodes(b, *values)
            return u, Outcome(Status.CONVERGED, 0, [0.0], self._rounded(u))
        _require_all_finite(load)
        u = torch.zeros_like(load) if guess is None else guess
        u = self._unknowns_without_mean(u)
        if (self.method == "fmg" or self.options.mixed) and guess is None and stopping.maxiter:
            u = self._full_multigrid(load)
        u, outcome = iterate(self._step(A, stopping.refine), A, load, u, tol, stopping.maxiter, rounding)
        u = self._remove_mean(self.space.nodes(u[:, 0], *values))
        rounded = self._rounded(u)
        outcome.error_estimate = max(outcome.error_estimate + rounded * stopping.refine, rounded)
        return u, outcome

    def _rounded(self, u: Tensor) -> float:
        """What rounding of nodal values costs: those at Dirichlet nodes may be the largest."""
        return torch.finfo(self.dtype).eps * float(largest(u).max())

    def _full_multigrid(self, load: Tensor) -> Tensor:
        if self._mixed:
            return self._scaled(lambda b: full_multigrid(self.levels, b, self.options.sweeps), load)
        return full_multigrid(self.levels, load.to(self.dtype), self.options.sweeps).to(load)

    def _step(self, A: Any, refine: bool) -> Callable[[Tensor], Tensor]:
        """Give the map from a residual to a correction."""
        if self.method == "direct":
            return lambda r: self._direct(r[:, 0])[:, None]
        if self._mixed and self.method == "pcg":
            return self._single_step()
        cycle = self._scaled_cycle if refine else self.cycle

        def correct(r: Tensor) -> Tensor:
            # The mean that a cycle adds is no part of the solution, and the size of u is what tol refers to.
            return self._unknowns_without_mean(cycle(r))

        return ConjugateGradients(A, correct) if self.method == "pcg" else correct

    def _single_step(self) -> Callable[[Tensor], Tensor]:
        """Give conjugate gradients in float32, from residuals and to corrections in float64.

        Only how fast they converge depends on the precision of their products; the scale is that of the first
        residual, since products of residuals must be comparable.
        """
        gradients = ConjugateGradients(self.levels[0].A, self.cycle)
        first: list[Tensor] = []

        def step(r: Tensor) -> Tensor:
            if not first:
                first.append(_row_sizes(r))
            e = gradients(torch.div(r, first[0], out=empty_like(r, torch.float32)))
            return self._unknowns_without_mean(torch.mul(e, self._scale * first[0], out=empty_like(r)))

        return step

    def _scaled_cycle(self, r: Tensor) -> Tensor:
        """Apply a cycle to a residual of another precision; late ones would underflow in float32."""
        return self._scaled(self.cycle, r)

    def _scaled(self, solve: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
        size = _row_sizes(r)
        low, factor = (torch.float32, self._scale) if self._mixed else (self.dtype, 1.0)
        scaled = torch.div(r, size, out=empty_like(r))
        e = solve(scaled if low == r.dtype else empty_like(scaled, low).copy_(scaled))
        return torch.mul(e, factor * size, out=scaled)

    def _second_look(self, b: Tensor, values: Any, u: Tensor, tol: float = math.inf) -> Outcome:
        """Estimate the error of a solution by the exact correction for its residual, in float64."""
        with torch.no_grad(), full_precision():
            precise = self.precise
            load = precise._lifted(
                b.double(), [v.double() if isinstance(v, Tensor) else v for v in values], precise.A
            )[:, None]
            r = load - precise.A(self.space.unknowns(u.double())[:, None])
            residual = self.constants.project(r[:, 0]) if self.constants else r[:, 0]
            correction = self._remove_mean(precise._solved(residual))
            error = largest(correction) + torch.finfo(u.dtype).eps * largest(u)
        bad = error > tol * largest(u)
        status = Status.STAGNATED if bool(bad.any()) else Status.CONVERGED
        estimate, row = float(error.max()), int(bad.int().argmax())
        return Outcome(status, 1, [1.0, relative_norm(r, load)], estimate, row=row)

    def _solved(self, b: Tensor) -> Tensor:
        """Solve as exactly as can be, with zeros at the Dirichlet nodes; all nodes."""
        if isinstance(self.problem, BoxPoisson):
            return self.space.nodes(self.factorised(b))
        return self.condensation.solve(b)

    def _unknowns_without_mean(self, u: Tensor) -> Tensor:
        if not self.constants:
            return u
        return self.space.unknowns(self._remove_mean(self.space.nodes(u[:, 0])))[:, None]

    def _remove_mean(self, u: Tensor) -> Tensor:
        return self.constants.remove(u) if self.constants else u

    def _lifted(self, b: Tensor, values: Any, A: Any) -> Tensor:
        """Move given boundary values to the right-hand side, :eq:`lifting`."""
        if not any(isinstance(value, Tensor) or value for value in values) or not b.numel():
            return b
        if isinstance(self.problem, BoxPoisson):
            return b - self.problem.space.loads(A.at_nodes(values[0][:, None]))[:, 0]
        first, last = A.end_conductances
        b = b.clone()
        b[:, 0] += first * values[0]
        b[:, -1] += last * values[1]
        return b

    def _guess(self, x0: Any, rows: Tensor) -> Tensor:
        """Check a first guess and give its unknowns, (batch, 1, unknowns)."""
        nodes = self.problem.node_shape
        guess = array("x0", x0, (nodes,), "one value per node, boundary included")
        require_finite("x0", guess, len(nodes))
        guess = guess.to(rows).reshape(-1, *nodes)
        if guess.shape[0] not in (1, rows.shape[0]):
            raise ValueError(f"x0: got {guess.shape[0]} rows; accepted: 1, or {rows.shape[0]} as the load")
        return self.space.unknowns(guess.expand(rows.shape[0], *nodes))[:, None].clone()


def _row_sizes(r: Tensor) -> Tensor:
    """Give the largest absolute value of each row, to be divided by."""
    return largest(r).clamp_min(torch.finfo(r.dtype).tiny).reshape(-1, *[1] * (r.ndim - 1))


def _require_all_finite(b: Tensor) -> None:
    if not math.isfinite(b.sum().item()) and not bool(b.isfinite().all()):
        raise NonFiniteError
