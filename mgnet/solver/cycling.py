"""Methods that iterate by multigrid cycles, alone or as a preconditioner, and in float32 for float64."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..multigrid.cycles import Level, cycled, fully_cycled, repeatable
from ..multigrid.levels import build_levels
from ..operators.boxes import Box
from ..operators.contract import Map, lost_in_entries
from ..operators.fused import Fused
from ..poisson.constants import LooseConstants
from .graphs import Replayed
from .iteration import Step
from .method import Method
from .mixed import KrylovStep
from .once import Direct
from .system import System

__all__ = ["Cycles"]

# Beyond this ratio of couplings the entries of coarse operators in float32 lose the weak ones, as those that
# hold layer to layer.
HELD = 2**18


class _Plan(NamedTuple):
    """How cycles are used: their kind, whether full multigrid comes first, and conjugate gradients."""

    kind: str = "V"
    full: bool = False
    krylov: bool = False


PLANS = {
    "wcycle": _Plan("W"),
    "fcycle": _Plan("F"),
    "fmg": _Plan(full=True),
    "pcg": _Plan(krylov=True),
}


class _Ready(threading.local):
    """The cycle of this thread that can be repeated: for what vector and how many threads, and itself."""

    given: Tensor | None = None
    threads = 0
    calls: Callable[[], Tensor] | None = None


class Cycles(Method):
    """Multigrid cycles, and conjugate gradients that are preconditioned by them."""

    @property
    def plan(self) -> _Plan:
        """How they are used."""
        plan = PLANS.get(self.options.method, _Plan())
        return plan._replace(full=True) if self.options.mixed else plan

    @property
    def steady(self) -> bool:  # type: ignore[override]
        """Whether corrections shrink evenly, as those of conjugate gradients do not."""
        return not self.plan.krylov

    @property
    def mixed(self) -> bool:
        """Whether cycles are computed in float32 although the problem is in float64."""
        return self.options.mixed and self.system.dtype == torch.float64

    @property
    def precision(self) -> torch.dtype:
        """The precision of cycles."""
        return torch.float32 if self.mixed else self.system.dtype

    @property
    def factor(self) -> float:
        """What corrections are multiplied by: in float32 the operator is scaled to the size of 1."""
        return self.system.scale if self.mixed else 1.0

    @property
    def levels(self) -> list[Level]:
        """The grids of the cycles, finest first; in float32, and scaled, where those of "auto" are."""
        return self._levels if self.sound else self.in_double.levels

    @cached_property
    def _levels(self) -> list[Level]:
        A = self.system.A
        with torch.no_grad():
            try:
                A = A.scaled(self.system.scale, torch.float32) if self.mixed else A
                return build_levels(A.grounded, A.box.cells, self.options)
            except (torch.linalg.LinAlgError, np.linalg.LinAlgError, FloatingPointError):  # type: ignore[attr-defined]
                raise NonFiniteError from None
            except scipy.sparse.linalg.ArpackError:
                raise NonFiniteError from None

    @property
    def boxes(self) -> list[Box]:
        """The cells of every level."""
        operators: list[Any] = [level.A for level in self.levels]
        return [A.box for A in operators]

    @cached_property
    def sound(self) -> bool:
        """Whether its precision can hold the operator."""
        system = self.system
        if self.precision != torch.float32 or system.box.dim == 1 or not system.problem.unknowns:
            return True
        if system.A.contrast > HELD:
            return False
        try:
            return bool(self._levels)
        except NonFiniteError:
            return False

    def last_resort(self) -> Method | None:
        """Return SciPy, where "auto" has failed and the matrix is small enough."""
        return Direct(self.system.double, self.options) if self.options.mixed and self.small else None

    @property
    def operator(self) -> Map:
        """The operator in the precision of cycles."""
        finest = self.levels[0].A  # slabs have compiled passes from when their levels are built
        return finest if self.mixed else self.system.A

    def cycle(self, r: Tensor) -> Tensor:
        """Apply one cycle to a residual, from a zero guess, :eq:`cycle`."""
        if not self.sound:
            return self.in_double.cycle(r.double()).to(r)
        if self.mixed and r.dtype == torch.float64:
            return self.scaled_correction(r)
        return self.cycled(r).clone()

    def cycled(self, r: Tensor) -> Tensor:
        """Apply one cycle in the precision of cycles; the result is overwritten by the next one."""
        if not self.sound:
            return self.cycle(r)
        return self._replayed(r) if self._replayed else self._launched(r)

    def _launched(self, r: Tensor) -> Tensor:
        """Do the same, one launch after the other where there is a device."""
        levels, sweeps, ready = self.levels, self.options.sweeps, self._ready
        passes = levels[0].passes
        # Residuals of conjugate gradients stand in the same memory at each step, and in each solve.
        if isinstance(passes, Fused) and self.plan.kind == "V" and passes.holds("residual", r):
            if ready.given is not r or ready.threads != torch.get_num_threads():
                ready.given, ready.threads = r, torch.get_num_threads()
                ready.calls = repeatable(levels, r, sweeps)
            if ready.calls:
                return ready.calls()
        return cycled(levels, r, None, sweeps, self.plan.kind)

    @cached_property
    def _ready(self) -> _Ready:
        return _Ready()

    @cached_property
    def _replayed(self) -> Replayed | None:
        """The same from a CUDA graph, where that is asked for."""
        if not self.options.graph:
            return None
        if hasattr(self.levels[-1].solve, "on_host"):
            raise ValueError(
                "graph: got True, but the coarsest grid is solved on the CPU; accepted: False for a problem"
                " whose coefficients jump this far or whose domain has gaps"
            )
        return Replayed(self._launched)

    def correct(self, r: Tensor) -> Tensor:
        """Apply a cycle, and correct the constants where too little holds them for it to notice."""
        return self._loose.corrected(self.cycle, r) if self._loose else self.cycle(r)

    def _preconditioned(self, r: Tensor) -> Tensor:
        """Do the same in the precision of cycles; the result is overwritten by the next one."""
        return self._loose.corrected(self.cycled, r) if self._loose else self.cycled(r)

    @cached_property
    def _loose(self) -> LooseConstants | None:
        system, A = self.system, self.system.A
        # On an interval nothing is lost but in a dense coarse matrix.
        may_lose = system.box.dim > 1 or self.options.coarse == "direct"
        if not may_lose or system.constants or not system.whole.floats:
            return None
        factor = system.scale if self.mixed else 1.0
        image = A(torch.ones((1, 1, *system.box.shape), **A.like))[0, 0]
        diagonal = A.total(A.diagonal().expand(system.box.shape))
        lost = lost_in_entries(A.total(image), diagonal, self.precision)
        return LooseConstants(factor * image, A.total) if lost else None

    def guess(self, load: Tensor, out: Tensor, sizes: Tensor) -> bool:
        """Write what full multigrid makes of a load, where that comes first."""
        if self.plan.full and self.mixed:
            # For a first guess V-cycles will do.
            solve = partial(fully_cycled, self.levels, sweeps=self.options.sweeps, kind="V")
            self.scaled(solve, load, out, sizes)
        elif self.plan.full:
            out.copy_(fully_cycled(self.levels, load.to(self.system.dtype), self.options.sweeps, "F"))
        return self.plan.full

    def step(self, system: System, load: Tensor, refine: bool, bound: Tensor) -> Step:
        """Return the step of the iteration, whose residuals are hardly larger than ``bound``, (batch,)."""
        if not self.plan.krylov:
            return super().step(system, load, refine, bound)
        cycle, own = self._preconditioned, self.system
        precondition = lambda r: own.without_mean(cycle(own.balanced(r)))  # noqa: E731
        low, factor = self.operator, self.factor
        return KrylovStep(system.A, load, bound, low, factor, precondition, self.measure)
