"""Methods that need no iteration: the exact cycle of a line, and SciPy."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..multigrid.exact import Condensation
from ..operators.contract import Map
from ..poisson.boundary import Held
from .iteration import largest
from .method import Found, Method
from .stopping import Outcome, Status, Stopping

__all__ = ["Direct", "Exact"]

# Most corrections of a direct solution, and relative to u the size of one that is the last.
REFINEMENTS, SETTLED = 10, 1e-10


class Once(Method):
    """A method whose first solution is the answer; its error is looked at when that is asked for."""

    def once(self, b: Tensor, held: Held) -> tuple[Tensor, Status]:
        """Return the solution at all nodes, and whether that settled."""
        raise NotImplementedError

    def solve(self, b: Tensor, held: Held, guess: Tensor | None, stopping: Stopping) -> Found:
        """Solve for loads; see :meth:`mgnet.solver.method.Method.solve`."""
        if stopping.refine or not stopping.maxiter:
            return super().solve(b, held, guess, stopping)
        u, status = self.once(b, held)
        u = self.system.remove_mean(u)
        u = u if u.dtype is b.dtype else u.to(b.dtype)
        if stopping.tol is None:
            return Found(u, Outcome(status, 1), lambda: self.look(b, held, u))
        return Found(u, self.look(b, held, u, stopping.tol))


class Exact(Once):
    """The exact cycle of a line."""

    @cached_property
    def condensation(self) -> Condensation:
        """All levels of it."""
        return Condensation(self.system.form or self.system.A.grounded, self.system.box)

    def cycle(self, r: Tensor) -> Tensor:
        """Return the solution for a residual."""
        return self.system.box.unknowns(self.condensation.solve(r[:, 0]))[:, None]

    def once(self, b: Tensor, held: Held) -> tuple[Tensor, Status]:
        """Return the solution at all nodes."""
        if not held.inside:
            return self.condensation.solve(b, *held.ends), Status.CONVERGED
        x = self.system.box.unknowns(self.condensation.solve(held.lifted(b, self.system.A)))
        return held.complete(x), Status.CONVERGED


class Direct(Once):
    """SciPy's banded or sparse solver in float64, the oracle."""

    slowness = 0.0  # nothing is hidden

    def once(self, b: Tensor, held: Held) -> tuple[Tensor, Status]:
        """Solve in float64, and correct until nothing changes.

        LAPACK alone loses the digits that a fine grid or the jumps of a coefficient cost.
        """
        A, wide = self.system.double.A, held.double()
        load = wide.lifted(b.double(), A)
        x, size, status = self._inverse(load), largest(load) * torch.inf, Status.CONVERGED
        for _ in range(REFINEMENTS):
            r = load - A(x[:, None])[:, 0]
            if not r.isfinite().all():
                # Beside huge loads fluxes may be out of range, though the solution is not.
                break
            e = self._inverse(r)
            before, size = size, largest(e)
            x += e
            small = size <= SETTLED * largest(x)
            if bool((small | ~(size < before / 2)).all()):
                status = Status.CONVERGED if bool(small.all()) else Status.STAGNATED
                break
        _require_finite(x)
        return held.complete(x), status

    def _inverse(self, b: Tensor) -> Tensor:
        _require_finite(b)
        constants = self.system.double.constants
        if constants and self.system.A.gaps:  # what rounding leaves of sums would come back each time
            b = constants.project(b)
        return self.system.double.factorised(b.double()).to(b)

    def corrector(self, refine: bool) -> Map:
        """Return what solves for residuals."""
        return lambda r: self._inverse(r[:, 0])[:, None]


def _require_finite(b: Tensor) -> None:
    if not bool(b.sum().isfinite()) and not bool(b.isfinite().all()):
        raise NonFiniteError
