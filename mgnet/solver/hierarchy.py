"""A problem's operators on all grids, set up once, and the run of a method on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError, array, require_finite
from ..core.checks import count, find_device, flag, float_type, held, number, shown
from ..core.kinds import hidden, tracked, transforming
from ..core.memory import apart, empty, empty_like, own_copy, owned, reused, sent
from ..core.precision import full_precision
from ..core.resources import within_memory
from ..multigrid.cycles import (
    ConjugateGradients,
    Level,
    Options,
    build_box_levels,
    build_levels,
    cycle,
    full_multigrid,
)
from ..multigrid.exact import Condensation
from ..operators.entries import lost_in_entries
from ..operators.rows import residual
from ..operators.varying import VaryingStiffness
from ..poisson import assembly, box_assembly
from ..poisson.box_problem import SIDES, BoxPoisson
from ..poisson.constants import Constants, LooseConstants
from ..poisson.problem import Dirichlet, Poisson
from .adjoint import LinearSolve
from .direct import BoxFactorisation, Floating, solve_direct
from .iteration import Outcome, SingleStep, Status, Step, iterate, largest, relative_norm, slowness
from .mixed import MixedStep, multiplied, row_sizes
from .solution import ConvergenceError, Solution

__all__ = ["Hierarchy", "Stopping"]

# Boxes of no more unknowns have what rounding does measured, at the cost of a cycle.
SMALL = 2**16
# Loads between these need no other unit: what an iteration makes of them, and its products, can be held.
COMMON = {torch.float32: (1e-6, 1e6), torch.float64: (1e-60, 1e60)}
# Entries of operators that Dirichlet values are multiplied with are not expected to be larger.
ROOM = 2.0**20
# Most corrections of a direct solution, and relative to u the size of one that is the last.
REFINEMENTS, SETTLED = 10, 1e-10
# What solutions are multiplied by to see how their digits are rounded.
MULTIPLES = (1.1, 1.3, 1.7)
# Beyond this ratio of couplings the entries of coarse operators lose the weak ones in float32.
CONTRAST = 2**20
# Unknowns of a box, by its dimension, whose matrix SciPy factorises in a second or two.
FACTORISED = {2: 2**16, 3: 2**13}
# Default number of cycles on an interval; ten times as many in a box.
MAXITER = 100
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
            raise ValueError(f"tol: got {shown(tol)}; accepted: a number of at least 0")
        self.given_maxiter = maxiter is not None
        self.maxiter = MAXITER if maxiter is None else count("maxiter", maxiter, 0)
        self.refine, self.throw = flag("refine", refine), flag("throw", throw)

    def of(self, dim: int) -> Stopping:
        """Return the same with the default number of cycles of a dimension: jumps in a box may need many."""
        if dim == 1 or self.given_maxiter:
            return self
        return Stopping(self.tol, 10 * MAXITER, self.refine, self.throw)


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
    operator : VaryingStiffness or CellStiffness, optional
        Instead of the problem's own.

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
        operator: Any = None,
    ) -> None:
        if not isinstance(problem, Poisson):
            raise TypeError(f"problem: got {shown(problem)}; accepted: a Poisson problem")
        self.options = Options(method, smoother, sweeps, levels, coarse, omega, problem.dim)  # type: ignore[arg-type]
        self.problem, self.dtype, self.device = problem, float_type(dtype), find_device(device)
        self.space = problem.space
        self.A: Any = operator
        if operator is None:
            self.A = assembly_of(problem).operator(problem, self.dtype, self.device)
        self._own_operator = operator is not None
        self.constants = Constants(problem) if self.A.singular else None

    @property
    def method(self) -> str:
        """The method, "auto" resolved."""
        return self.options.method

    @cached_property
    def levels(self) -> list[Level]:
        """The grids of the cycles, finest first; in float32, and scaled, where those of "auto" are."""
        return self._levels if self._sound is self else self._sound.levels

    @cached_property
    def _levels(self) -> list[Level]:
        with torch.no_grad(), apart():
            try:
                if not isinstance(self.problem, BoxPoisson):
                    return build_levels(self.A, self.problem.n, self.options)
                A = self.A.scaled(self._scale, torch.float32) if self._mixed else self.A
                return build_box_levels(A, self.problem.space, self.options)
            except (torch.linalg.LinAlgError, spla.ArpackError):  # type: ignore[attr-defined]
                raise NonFiniteError from None

    @cached_property
    def _sound(self) -> Hierarchy:
        """The hierarchy whose cycles are used: in float64 where float32 cannot hold the operator."""
        low = (self._mixed or self.dtype == torch.float32) and self.method != "direct"
        if not isinstance(self.problem, BoxPoisson) or not low or not self.problem.unknowns:
            return self
        if self.A.contrast > CONTRAST:
            return self.in_double
        try:
            return self if self._levels else self.in_double
        except NonFiniteError:
            return self.in_double

    @property
    def _mixed(self) -> bool:
        """Whether cycles are computed in float32 although the problem is in float64."""
        return self.options.mixed and self.dtype == torch.float64

    @cached_property
    def _scale(self) -> float:
        """The reciprocal of the largest diagonal entry; 1 where nothing is unknown."""
        diagonal = self._diagonal
        # A lone joined node may have nothing on it.
        return 1 / (float(diagonal.max()) or 1.0) if diagonal.numel() else 1.0

    @property
    def _diagonal(self) -> Tensor:
        problem = self.problem
        return self.A.diagonal(problem.shape if problem.dim > 1 else problem.unknowns)

    @cached_property
    def condensation(self) -> Condensation:
        """The exact cycle."""
        return Condensation(self.A, self.problem.n)

    @cached_property
    def precise(self) -> Hierarchy:
        """The same problem in float64, by the exact cycle: for residuals and for a second look."""
        if self.dtype == torch.float64 and self.method == "exact":
            return self
        if self._own_operator:
            return Hierarchy(self.problem, device=self.device, operator=self._operator_in_double())
        return Hierarchy(self.problem, dtype=torch.float64, device=self.device)

    @cached_property
    def in_double(self) -> Hierarchy:
        """The same with all cycles in float64."""
        operator = self._operator_in_double() if self._own_operator else None
        return self._again(self.method, operator, torch.float64)

    def _operator_in_double(self) -> Any:
        return self.A.replaced(*(number.double() for number in self.A.numbers))

    def _again(self, method: str, operator: Any, dtype: torch.dtype) -> Hierarchy:
        """Set up the same with another method or precision, or for an operator that is not the problem's."""
        options = self.options
        return Hierarchy(
            self.problem,
            method=method,
            smoother=options.smoother,
            sweeps=options.sweeps,
            levels=options.levels,
            coarse=options.coarse,
            omega=options.omega,
            dtype=dtype,
            device=self.device,
            operator=operator,
        )

    def __getstate__(self) -> dict[str, Any]:
        # What is set up when it is needed is set up again: factorisations cannot be copied.
        return {
            name: value
            for name, value in self.__dict__.items()
            if not isinstance(getattr(type(self), name, None), cached_property)
        }

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
        r : torch.Tensor, shape ``(batch, 1, *unknowns)``
            Residual.

        Returns
        -------
        torch.Tensor, shape ``(batch, 1, *unknowns)``
            Correction. The cycle is that of the method, a V-cycle for "fmg", "pcg" and "direct".
        """
        if self.method == "exact":
            return self.space.unknowns(self.condensation.solve(r[:, 0]))[:, None]
        if self._sound is not self:
            return self._sound.cycle(r.double()).to(r)
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
        b : array, shape ``(..., *unknowns)``
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
        stopping = stopping.of(self.problem.dim)
        wide = torch.float64 if stopping.refine else self.dtype
        values = self._boundary_values(wide)
        if tracked(load.b, *self._numbers, *values):
            return self._run_tracked(load, values, stopping, x0)
        batch, rows, values = self._rows(load.b.to(dtype=wide, device=self.device), values)
        guess = None if x0 is None else self._guess(x0, rows)
        with within_memory(self.problem.cells), torch.no_grad(), self._full_precision(), reused():
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
        u = _rounded_to(u, self.dtype, outcome)
        sol = Solution(
            u.reshape(*batch, *u.shape[1:]),
            self.problem.grids,
            outcome,
            method=self.method,
            tensors=load.speaks_torch,
            look_again=look_again,
        )
        if stopping.throw and sol.status is not Status.CONVERGED:
            raise ConvergenceError(sol)
        return sol

    def _full_precision(self) -> AbstractContextManager[None]:
        """Keep products in float32 precise, if there are any."""
        any_single = self.dtype == torch.float32 or self.options.mixed
        return full_precision() if any_single else nullcontext()

    @property
    def _numbers(self) -> tuple[Tensor, ...]:
        return getattr(self.A, "numbers", ())

    def _run_tracked(self, load: assembly.Load, values: Any, stopping: Stopping, x0: Any) -> Solution:
        """Solve so that derivatives can be taken by the load, the boundary data and the numbers in A."""
        b = load.b.to(dtype=torch.float64 if stopping.refine else self.dtype, device=self.device)
        if self.constants and not hidden(b):
            self.constants.compatible(b.detach().reshape(-1, *self.problem.shape), load)
        if not isinstance(self.problem, BoxPoisson):
            b = _lifted_ends(b, self.A, values)
        elif values:
            (g,) = values
            at_nodes = self.A.at_nodes(g.reshape(-1, 1, *self.problem.node_shape)).reshape(g.shape)
            b = b - self.problem.space.loads(at_nodes)
        numbers = self._numbers if tracked(*self._numbers) else ()
        system = _System(self, stopping, load, x0)
        u = self.space.nodes(LinearSolve.apply(system, b, *numbers), *values)
        outcome, look_again = system.leave()
        if look_again and transforming():
            # SciPy and NumPy would be handed wrapped tensors.
            outcome, look_again = Outcome(outcome.status, outcome.iterations, [math.nan], math.nan), None
        sol = Solution(
            u.to(self.dtype),
            self.problem.grids,
            outcome,
            method=self.method,
            tensors=True,
            look_again=look_again,
        )
        if stopping.throw and sol.status is not Status.CONVERGED:
            raise ConvergenceError(sol)
        return sol

    def _boundary_values(self, dtype: torch.dtype) -> tuple[Any, ...]:
        """Give the values at the two ends, or those at all nodes of a box, if any is not zero."""
        for names, pair in zip(SIDES, self.problem.conditions, strict=False):
            for name, side in zip(names, pair, strict=True):
                if isinstance(side, Dirichlet) and isinstance(side.g, float):
                    held(f"{name}: Dirichlet g", side.g, dtype, ROOM)
        if not isinstance(self.problem, BoxPoisson):
            return _end_values(self.problem, self.device)
        at_nodes = box_assembly.boundary_values(self.problem, dtype, self.device)
        return () if at_nodes is None else (at_nodes,)

    def _rows(self, b: Tensor, values: tuple[Any, ...]) -> tuple[tuple[int, ...], Tensor, Any]:
        """Give the batch, the loads of shape ``(rows, *unknowns)``, and the values at the Dirichlet nodes."""
        problem = self.problem
        batch = tuple(b.shape[: b.ndim - problem.dim])
        if not isinstance(problem, BoxPoisson) or not values:
            return batch, b.reshape(math.prod(batch), *problem.shape), values
        (at_nodes,) = values
        batch = box_assembly.common_batch("boundary", at_nodes, problem.dim, batch)
        rows = b.expand(*batch, *problem.shape).reshape(math.prod(batch), *problem.shape)
        at_nodes = at_nodes.expand(*batch, *problem.node_shape).reshape(math.prod(batch), *problem.node_shape)
        return batch, rows, (at_nodes,)

    def _method(
        self, b: Tensor, values: Any, guess: Tensor | None, stopping: Stopping
    ) -> tuple[Tensor, Outcome, Callable[[], Outcome] | None]:
        """Run the method; the solution of the exact cycle and of SciPy is looked at again when asked for."""
        if self.method not in ("exact", "direct") or stopping.refine or not stopping.maxiter:
            return *self._iterate(b, values, guess, stopping), None
        u, status = self._once(b, values)
        u = self._remove_mean(u).to(b.dtype)
        if stopping.tol is None:
            return u, Outcome(status, 1), lambda: self._second_look(b, values, u)
        return u, self._second_look(b, values, u, stopping.tol), None

    def _once(self, b: Tensor, values: Any) -> tuple[Tensor, Status]:
        """Solve by the exact cycle or by SciPy; all nodes, and whether that settled."""
        if self.method == "exact":
            return self.condensation.solve(b, *values), Status.CONVERGED
        A = self.precise.A
        u, status = self._refined(self._lifted(b.double(), values, A), A)
        _require_all_finite(u)
        return self._own_nodes(u, values), status

    def _refined(self, load: Tensor, A: Any) -> tuple[Tensor, Status]:
        """Solve by SciPy in float64, and correct until nothing changes.

        LAPACK alone loses the digits that a fine grid or the jumps of a coefficient cost.
        """
        u, size = self._direct(load), largest(load) * math.inf
        for _ in range(REFINEMENTS):
            r = load - A(u[:, None])[:, 0]
            if not r.isfinite().all():
                # Beside huge loads fluxes may be out of range, though the solution is not.
                break
            e = self._direct(r)
            before, size = size, largest(e)
            u += e
            small = size <= SETTLED * largest(u)
            if bool((small | ~(size < before / 2)).all()):
                return u, Status.CONVERGED if bool(small.all()) else Status.STAGNATED
        return u, Status.CONVERGED

    def _direct(self, b: Tensor) -> Tensor:
        _require_all_finite(b)
        return self.precise.factorised(b.double()).to(b)

    @cached_property
    def factorised(self) -> Callable[[Tensor], Tensor]:
        """SciPy's solver: from loads to values at the unknowns, shape ``(batch, *unknowns)``, in float64."""
        problem, held = self.problem, self.problem.floats

        def solve(b: Tensor) -> Tensor:
            return solve_direct(self.A, problem.n, b, held)

        if isinstance(problem, BoxPoisson):
            solve = BoxFactorisation(self.A.to_sparse(problem.shape), held)
        if not held:
            return solve
        one = torch.ones((1, 1, *problem.shape), dtype=torch.float64, device=self.device)
        return Floating(solve, self.A(one)[0, 0])

    def _iterate(
        self, b: Tensor, values: Any, guess: Tensor | None, stopping: Stopping
    ) -> tuple[Tensor, Outcome]:
        """Iterate, in float64 where cycles in float32 cannot hold the operator or turn out not to.

        What "auto" then has not solved, and is small enough, is left to SciPy.
        """
        tol, rounding = self._tolerances(b, stopping)
        low = self._mixed or self.dtype == torch.float32
        if self._sound is self:
            u, outcome = self._iterated(b, values, guess, stopping, (tol, rounding))
            if not (low and _failed(outcome, u, rounding)):
                return self._judged(u, outcome, b, tol, stopping.refine)
            guess = None
        rounding = self._tolerances(b.double(), stopping)[1]
        wide = [value.double() if isinstance(value, Tensor) else value for value in values]
        guess = None if guess is None else guess.double()
        u, outcome = self.in_double._iterated(b.double(), wide, guess, stopping, (tol, rounding))
        cut_short = outcome.status is Status.MAXITER and stopping.given_maxiter
        if self.options.mixed and outcome.status is not Status.CONVERGED and self._small and not cut_short:
            last = self._again("direct", self._operator_in_double() if self._own_operator else None, u.dtype)
            u, outcome = last._iterated(b.double(), wide, None, stopping, (tol, rounding))
        return self._judged(u.to(b.dtype), outcome, b, tol, stopping.refine)

    @property
    def _small(self) -> bool:
        """Whether SciPy can factorise the matrix in about the time of the cycles."""
        problem = self.problem
        return isinstance(problem, BoxPoisson) and problem.unknowns <= FACTORISED[problem.dim]

    def _tolerances(self, b: Tensor, stopping: Stopping) -> tuple[float, float]:
        """Give the error that is accepted and the one that rounding leaves, relative to the largest value."""
        eps, root = torch.finfo(b.dtype).eps, math.sqrt(self.problem.n)
        # On an interval sums are few, and in small boxes it is measured how u is held; others may lose more.
        known = eps * ((4 if self.problem.dim == 1 else 32) + root)
        tol = max(TOLERANCE[b.dtype], 4 * known) if stopping.tol is None else stopping.tol
        return tol, eps * (4 + root) if self._measures else known

    def _judged(
        self, u: Tensor, outcome: Outcome, b: Tensor, tol: float, refine: bool
    ) -> tuple[Tensor, Outcome]:
        """Add to the estimate what the rounding of the answer costs."""
        rounded = (torch.finfo(self.dtype).eps * largest(u)).to(outcome.errors)
        lost, accepted = _lost_below_normal(b, u).to(outcome.errors), tol * largest(u)
        if refine:  # tol is asked of what is rounded
            errors, accepted = outcome.errors + lost + rounded, accepted + rounded
        else:
            errors = torch.maximum(outcome.errors, rounded + lost)
        # Where there is no load, the iteration has said when nothing was left.
        outcome.judge(errors, torch.where(largest(b) > 0, accepted, math.inf))
        return u, outcome

    def _iterated(
        self,
        b: Tensor,
        values: Any,
        guess: Tensor | None,
        stopping: Stopping,
        tolerances: tuple[float, float],
    ) -> tuple[Tensor, Outcome]:
        A = self.precise.A if stopping.refine else self.A
        tol, rounding = tolerances
        load = self._lifted(b, values, A)[:, None]
        if not load.numel() and stopping.maxiter:
            u = self.space.nodes(b, *values)
            return u, Outcome(Status.CONVERGED, 0, [0.0], 0.0, errors=b.new_zeros(b.shape[0]))
        unit = self._unit(load, guess)
        if unit is not None:
            load = load / unit
            guess = None if guess is None else guess / unit
        u, whole = self._room(load)
        if guess is None:
            self._start(u, whole, A, load, values, unit, stopping.maxiter)
        else:
            self._begin(u, A, load, guess)
        if self.constants:
            u.copy_(self._unknowns_without_mean(u))
        step, steady = self._step(A, load, stopping.refine), self.method != "pcg"
        u, outcome = iterate(step, load, u, tol, stopping.maxiter, rounding, steady, lambda: self._slowness)
        self._look_at(outcome, u, A, load, unit, stopping, tolerances)
        if unit is not None:
            u.mul_(unit)
        if isinstance(self.problem, BoxPoisson):
            self.problem.space.fill_sides(whole)
            u = whole.add_(*values) if values else whole
        else:
            u = self._own_nodes(u[:, 0], values)
        return self._remove_mean(u), outcome

    def _look_at(
        self,
        outcome: Outcome,
        u: Tensor,
        A: Any,
        load: Tensor,
        unit: Tensor | None,
        stopping: Stopping,
        tolerances: tuple[float, float],
    ) -> None:
        """Add to the estimate what the iteration does not see, and judge it again."""
        (tol, rounding), scale, loads = tolerances, largest(u), largest(load)
        errors, finite = outcome.errors, bool(scale.isfinite().all()) and outcome.iterations > 0
        if not isinstance(self.problem, BoxPoisson):
            missed = self._missed(u, load).to(errors) if finite else errors
            # Estimates that are nearly right stay, or it would be luck how an iteration ends.
            errors = torch.where(missed > 3 * errors, missed, errors)
        else:
            if self._small and self.A.contrast > CONTRAST and finite:
                errors = self._missed(u, load).to(errors)
            elif self._measures:
                # What is thought to be left, or what is measured if that is more.
                left = self._left_by_rounding(u, A, load, stopping)
                errors = torch.maximum(errors, errors - rounding * scale + left)
        if unit is not None:
            loads = loads * unit.flatten()
            errors, scale = errors * unit.flatten(), scale * unit.flatten()
        # Without a load there is no size to compare with: the iteration has said when nothing was left.
        outcome.judge(errors, torch.where(loads > 0, tol * scale, math.inf))

    def _unit(self, load: Tensor, guess: Tensor | None) -> Tensor | None:
        """Give a power of two for each row to divide it by, so that products of its values can be held.

        It makes loads and solutions of one size where the operator is of the size 1; None for common numbers.
        """
        size = largest(load)
        if guess is not None:
            size = torch.where(size > 0, size, largest(guess))
        low, high = COMMON[load.dtype]
        common = ((size >= low) & (size <= high)) | (size == 0)
        if bool(common.all()):
            return None
        if not bool(size.isfinite().all()):
            raise NonFiniteError
        exponent, one = torch.frexp(size * math.sqrt(self._scale))[1], torch.ones_like(size)
        unit = torch.where(common, one, torch.ldexp(one, exponent))
        return unit.reshape(-1, *[1] * (load.ndim - 1))

    def _begin(self, u: Tensor, A: Any, load: Tensor, guess: Tensor) -> None:
        """Write a given first guess, or zero in rows where its residual would drown the load in rounding."""
        u.copy_(guess)
        loads = largest(load)
        # Without any load the guess is all there is, and how it vanishes is what is asked for.
        drowned = (torch.finfo(u.dtype).eps * largest(A(u)) > loads) & (loads > 0).any()
        u.masked_fill_(drowned.reshape(-1, *[1] * (u.ndim - 1)), 0.0)

    @cached_property
    def _even(self) -> bool:
        """Whether neighbouring couplings are alike, so that cycles are as good as they are known to be."""
        if isinstance(self.problem, BoxPoisson) and self.problem.space.flat:
            return False
        return bool(self.A.smooth)

    @cached_property
    def _measures(self) -> bool:
        """Whether it is measured what rounding does: where it may do much, and if that takes little time."""
        held = self._even and not self.problem.floats
        return isinstance(self.problem, BoxPoisson) and not held and self.problem.unknowns <= SMALL

    @cached_property
    def _slowness(self) -> float:
        """How many times its last correction an error may be, where that is not known beforehand."""
        options = self.options
        plain = options.levels is None and options.omega is None and min(options.sweeps) >= 2
        if self.method == "direct" or (plain and self._even):
            return 0.0
        # In the precision of the cycles, and of the cycles themselves: conjugate gradients would soon be done
        # with a few slow parts.
        A = self.levels[0].A if self._mixed else self.A
        dtype = torch.float32 if self._mixed else self.dtype
        generator = torch.Generator("cpu").manual_seed(0)
        shape = (1, 1, *self.problem.shape)
        out = empty(shape, torch.empty(0, dtype=dtype, device="cpu"))
        e = torch.randn(shape, generator=generator, device="cpu", out=out)
        return slowness(self.cycle, A, sent(e, self.device), self._unknowns_without_mean)

    def _own_nodes(self, u: Tensor, values: Any) -> Tensor:
        """Give all nodes of a result, in memory that is nobody else's."""
        if isinstance(self.problem, BoxPoisson):
            return self.problem.space.nodes(u, *values, own=True)
        # A chain with natural ends has no other nodes, and would hand on the memory of u.
        return self.space.nodes(own_copy(u), *values)

    def _missed(self, u: Tensor, load: Tensor) -> Tensor:
        """Find each row's error by a solver that misses nothing, in float64.

        Residuals of multiples of u are the same but for rounding, which u may have followed.
        """
        precise, wide, loads = self.precise, u.double(), load.double()
        worst = torch.zeros_like(largest(wide))
        for factor in (1.0, *MULTIPLES):
            r = (residual(precise.A, factor * wide, factor * loads) / factor)[:, 0]
            e = precise._solved(self.constants.project(r) if self.constants else r)
            worst = torch.maximum(worst, largest(self._remove_mean(e)))
        return worst + torch.finfo(u.dtype).eps * largest(wide)

    def _left_by_rounding(self, u: Tensor, A: Any, load: Tensor, stopping: Stopping) -> Tensor:
        """Estimate each row's error by what the operator rounds, :eq:`rounding`, of which u may hold little.

        That is the solution for the differences between residuals that are the same but for rounding: of u,
        and of multiples that have other digits.
        """
        own, worst = residual(A, u, load), torch.zeros_like(largest(u))
        for factor in MULTIPLES:
            other = residual(A, factor * u, factor * load).div_(factor)
            e = torch.zeros_like(u)
            self._step(A, own - other, stopping.refine)(e, 1)  # eq: rounding
            worst = torch.maximum(worst, largest(e))
        return 2 * worst + torch.finfo(u.dtype).eps * largest(u)

    def _room(self, load: Tensor) -> tuple[Tensor, Tensor]:
        """Give memory for the unknowns; in a box among all nodes, in memory that is nobody else's."""
        if not isinstance(self.problem, BoxPoisson):
            u = empty_like(load)
            return u, u
        whole = owned((load.shape[0], *self.problem.node_shape), load)
        return self.problem.space.unknowns(whole)[:, None], whole

    def _start(
        self,
        u: Tensor,
        whole: Tensor,
        A: Any,
        load: Tensor,
        values: Any,
        unit: Tensor | None,
        maxiter: int,
    ) -> None:
        """Write a first guess: zero or what continues the values of a box's sides, and full multigrid."""
        full = (self.method == "fmg" or self.options.mixed) and maxiter > 0
        if isinstance(self.problem, BoxPoisson) and values:
            self.problem.space.blend(values[0], whole)
            if unit is not None:
                whole.div_(unit[:, 0])
            if full:
                r = residual(A, u, load)
                u.add_(self._full_multigrid(r, r))
        elif full:
            self._full_multigrid(load, u)
        else:
            u.zero_()

    def _full_multigrid(self, load: Tensor, out: Tensor) -> Tensor:
        if self._mixed:
            # For a first guess V-cycles will do.
            return self._scaled(lambda b: full_multigrid(self.levels, b, self.options.sweeps, "V"), load, out)
        return out.copy_(full_multigrid(self.levels, load.to(self.dtype), self.options.sweeps))

    def _step(self, A: Any, load: Tensor, refine: bool) -> Step:
        """Give the step of the iteration."""
        if self.method == "direct":
            return SingleStep(A, load, lambda r: self._direct(r[:, 0])[:, None])
        if self._mixed and self.method == "pcg":
            low, project = self.levels[0].A, self._unknowns_without_mean
            return MixedStep(A, load, low, self._scale, self._held_cycle, project)
        cycle = self._scaled_cycle if refine else self._held_cycle

        def correct(r: Tensor) -> Tensor:
            # The mean that a cycle adds is no part of the solution, and the size of u is what tol refers to.
            return self._unknowns_without_mean(cycle(r))

        return SingleStep(A, load, ConjugateGradients(A, correct) if self.method == "pcg" else correct)

    def _scaled_cycle(self, r: Tensor) -> Tensor:
        """Apply a cycle to a residual of another precision; late ones would underflow in float32."""
        return self._scaled(self._held_cycle, r, empty_like(r))

    def _held_cycle(self, r: Tensor) -> Tensor:
        """Apply a cycle, and correct the constants where too little holds them for it to notice."""
        return self._loose.corrected(self.cycle, r) if self._loose else self.cycle(r)

    @cached_property
    def _loose(self) -> LooseConstants | None:
        # On an interval nothing is lost but in a dense coarse matrix.
        may_lose = isinstance(self.problem, BoxPoisson) or self.options.coarse == "direct"
        if not may_lose or self.A.singular or not self.problem.floats:
            return None
        low = self._mixed or self.dtype == torch.float32
        dtype = torch.float32 if low else torch.float64
        factor = self._scale if self._mixed else 1.0
        image = self.A(torch.ones((1, 1, *self.problem.shape), dtype=self.dtype, device=self.device))[0, 0]
        diagonal = self._diagonal.expand(self.problem.shape).sum()
        return LooseConstants(factor * image) if lost_in_entries(image.sum(), diagonal, dtype) else None

    def _scaled(self, solve: Callable[[Tensor], Tensor], r: Tensor, out: Tensor) -> Tensor:
        size = row_sizes(r)
        low, factor = (torch.float32, self._scale) if self._mixed else (self.dtype, 1.0)
        e = solve(multiplied(r, 1 / size, empty_like(r, low)))
        return multiplied(e, factor * size, out)

    def _second_look(self, b: Tensor, values: Any, u: Tensor, tol: float = math.inf) -> Outcome:
        """Estimate the error of a solution by the exact correction for its residual, in float64."""
        with torch.no_grad(), full_precision():
            precise = self.precise
            load = precise._lifted(
                b.double(), [v.double() if isinstance(v, Tensor) else v for v in values], precise.A
            )[:, None]
            x = self.space.unknowns(u)[:, None]
            outcome = Outcome(Status.CONVERGED, 1)
            outcome.residuals = [1.0, relative_norm(residual(precise.A, x.double(), load), load)]
            try:
                error = self._missed(x, load) + torch.finfo(u.dtype).eps * largest(u)
            except NonFiniteError:  # the solution is in range, what says how good it is may not be
                error = largest(u) * math.inf
            error += _lost_below_normal(b, u)
            outcome.judge(error, tol * largest(u))
        return outcome

    @property
    def _zero_values(self) -> tuple[Any, ...]:
        return () if isinstance(self.problem, BoxPoisson) else (0.0, 0.0)

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
        b[:, 0] += first * values[0]  # eq: lifting
        b[:, -1] += last * values[1]
        return b

    def _guess(self, x0: Any, rows: Tensor) -> Tensor:
        """Check a first guess and give its unknowns, (batch, 1, unknowns)."""
        nodes = self.problem.node_shape
        guess = array("x0", x0, (nodes,), "one value per node, boundary included")
        require_finite("x0", guess, len(nodes))
        guess = sent(guess, rows.device, rows.dtype).reshape(-1, *nodes)
        if guess.shape[0] not in (1, rows.shape[0]):
            raise ValueError(f"x0: got {guess.shape[0]} rows; accepted: 1, or {rows.shape[0]} as the load")
        return self.space.unknowns(guess.expand(rows.shape[0], *nodes))[:, None].clone()


def assembly_of(problem: Poisson) -> Any:
    """Return the module that assembles a problem: that of intervals or that of boxes."""
    return box_assembly if isinstance(problem, BoxPoisson) else assembly


class _System:
    """A hierarchy as the system of :class:`mgnet.solver.adjoint.LinearSolve`.

    On the way forward, until ``leave``, it knows the load and the first guess, and notes how it ended. What
    comes after that are derivatives.
    """

    def __init__(self, hierarchy: Hierarchy, stopping: Stopping, load: assembly.Load, x0: Any) -> None:
        self.hierarchy, self.stopping = hierarchy, stopping
        self.load: assembly.Load | None = load
        self.x0 = x0
        self.outcome = Outcome(Status.CONVERGED)
        self.look_again: Callable[[], Outcome] | None = None

    def leave(self) -> tuple[Outcome, Callable[[], Outcome] | None]:
        """Say how the way forward ended, and forget everything that derivatives do not need."""
        found = self.outcome, self.look_again
        self.load = self.x0 = self.look_again = None
        return found

    def solve(self, b: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Return u of A(numbers) u = b, shape (..., *unknowns)."""
        mine = self._with(numbers) if numbers else self.hierarchy
        shape = mine.problem.shape
        rows = b.detach().reshape(math.prod(b.shape[: b.ndim - len(shape)]), *shape)
        guess = None if self.x0 is None else mine._guess(self.x0, rows)
        with within_memory(mine.problem.cells), torch.no_grad(), mine._full_precision(), reused():
            if mine.constants:
                rows = mine.constants.project(rows)
            try:
                u, outcome, look_again = mine._method(rows, mine._zero_values, guess, self.stopping)
            except NonFiniteError:
                self._require_finite(rows)
                u = rows.new_full((rows.shape[0], *mine.problem.node_shape), math.nan)
                outcome, look_again = Outcome(Status.DIVERGED, 1, [math.nan]), None
            solution = own_copy(mine.space.unknowns(u)).reshape(b.shape)
        if self.load is None and self.stopping.throw and outcome.status is not Status.CONVERGED:
            raise ConvergenceError(Solution(own_copy(u), mine.problem.grids, outcome, method=mine.method))
        if self.load is not None and self.outcome.status is Status.CONVERGED:
            # Of many operators the last counts, or the first that did not converge.
            self.outcome, self.look_again = outcome, look_again
        return solution

    def _with(self, numbers: Sequence[Tensor]) -> Hierarchy:
        """Give the hierarchy for other numbers in A."""
        mine = self.hierarchy
        method = "auto" if mine.options.mixed else mine.options.method
        return mine._again(method, mine.A.replaced(*numbers), mine.dtype)

    def _require_finite(self, rows: Tensor) -> None:
        """Name what is not finite: the data, or a gradient that came back."""
        if self.load is None:
            require_finite("gradient", rows)
        elif self.load.given is not None:
            require_finite(self.load.name, self.load.given)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers."""
        return self.hierarchy.A.energies(v, u)


def _end_values(problem: Poisson, device: torch.device) -> tuple[Any, Any]:
    """Give the values at the two ends of an interval, 0 where they are not given."""
    values = (end.g if isinstance(end, Dirichlet) else 0.0 for end in (problem.left, problem.right))
    left, right = (g.to(device) if isinstance(g, Tensor) else g for g in values)
    return left, right


def _lifted_ends(b: Tensor, A: Any, values: tuple[Any, Any]) -> Tensor:
    """Move the values at the ends of an interval to the right-hand side, so that derivatives can be taken."""
    if not b.shape[-1]:
        return b
    conductances = (A.k[0], A.k[-1]) if isinstance(A, VaryingStiffness) else A.end_conductances
    for node, k, g in zip((0, -1), conductances, values, strict=True):
        if isinstance(g, Tensor) or g:
            here = torch.zeros(b.shape[-1], dtype=b.dtype, device=b.device)
            here[node] = 1
            b = b + g * k * here
    return b


def _failed(outcome: Outcome, u: Tensor, rounding: float) -> bool:
    """Say whether an iteration went wrong; what stagnates at the rounding of u is as good as it gets."""
    if outcome.status is not Status.STAGNATED:
        return outcome.status is Status.DIVERGED
    return outcome.error_estimate > 10 * rounding * float(largest(u).max())


def _lost_below_normal(b: Tensor, u: Tensor) -> Tensor:
    """Give the part of each row of u that loads below the normal range lost before they came here."""
    limits, loads = torch.finfo(b.dtype), largest(b).double()
    part = torch.where(loads > 0, limits.smallest_normal * limits.eps / loads, 0.0)
    return (part * largest(u)).to(u)


def _rounded_to(u: Tensor, dtype: torch.dtype, outcome: Outcome) -> Tensor:
    """Round a solution to the precision asked for; one that is out of its range has diverged."""
    if u.dtype == dtype:
        return u
    rounded = u.to(dtype)
    if outcome.status is Status.CONVERGED and not bool(largest(rounded).isfinite().all()):
        outcome.status = Status.DIVERGED
    return rounded


def _require_all_finite(b: Tensor) -> None:
    if not math.isfinite(b.sum().item()) and not bool(b.isfinite().all()):
        raise NonFiniteError
