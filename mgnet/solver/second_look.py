"""A second look at a solution: its error by an exact correction for the residual, in float64."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.arrays import NonFiniteError
from ..core.precision import full_precision
from ..multigrid.exact import Condensation
from ..operators.contract import Map, residual
from ..poisson.boundary import Held
from .iteration import largest, lost_below_normal, relative_norm
from .stopping import Outcome, Status
from .system import Lazy, System

if TYPE_CHECKING:
    from .method import Found

__all__ = ["MULTIPLES", "SecondLook", "with_data"]

# What solutions are multiplied by to see how their digits are rounded.
MULTIPLES = (1.1, 1.3, 1.7)


class SecondLook(Lazy):
    """What says how good a solution of a system, of any precision, is without having made it."""

    def __init__(self, system: System) -> None:
        self.system = system.double

    @cached_property
    def inverse(self) -> Map:
        """What misses nothing: the exact cycle of a line, SciPy's factors of a box; all nodes of unknowns."""
        if self.system.box.dim == 1:
            return Condensation(self.system.A.grounded).solve
        return lambda b: self.system.box.nodes(self.system.factorised(b))

    def missed(self, x: Tensor, load: Tensor) -> Tensor:
        """Return each row's error, shape (batch,), in float64.

        Residuals of multiples of x are the same but for rounding, which x may have followed.
        """
        system, wide, loads = self.system, x.double(), load.double()
        worst = torch.zeros_like(largest(wide))
        for factor in (1.0, *MULTIPLES):
            r = (residual(system.A, factor * wide, factor * loads) / factor)[:, 0]
            e = self.inverse(system.constants.project(r) if system.constants else r)
            worst = torch.maximum(worst, largest(system.remove_mean(e)))
        return worst + torch.finfo(x.dtype).eps * largest(wide)

    def __call__(self, b: Tensor, held: Held, u: Tensor, tol: float = math.inf) -> Outcome:
        """Judge a solution, shape ``(batch, *nodes)``: the outcome has its estimated error.

        The accepted error ``tol`` is relative to the largest nodal value.
        """
        with torch.no_grad(), full_precision():
            load = held.double().lifted(b.double(), self.system.A)[:, None]
            x = self.system.A.kept(self.system.box.unknowns(u)[:, None])
            outcome = Outcome(Status.CONVERGED, 1)
            outcome.residuals = [1.0, relative_norm(residual(self.system.A, x.double(), load), load)]
            try:
                error = self.missed(x, load) + torch.finfo(u.dtype).eps * largest(u)
            except NonFiniteError:  # the solution is in range, what says how good it is may not be
                error = largest(u) * math.inf
            error += lost_below_normal(largest(b), largest(u))
            outcome.judge(error, tol * largest(u))
        return outcome


def with_data(found: Found, b: Tensor, rows: Tensor, largest: Map) -> Found:
    """Add to the estimates what the rounding of loads becomes, where most of them has been taken out.

    Where there is no estimate yet, that waits until one is asked for.
    """

    @torch.no_grad()
    def widened(outcome: Outcome) -> Outcome:
        share = (largest(b) / largest(rows)).nan_to_num(0.0, 0.0, 0.0).double()
        return outcome.widened(torch.finfo(b.dtype).eps * share * largest(found.u).double())

    look = found.look_again
    if look is None:
        return found._replace(outcome=widened(found.outcome))
    return found._replace(look_again=lambda: widened(look()))
