"""When an iteration stops, and how it ended: tolerance, most cycles, status, and the error that is left."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..core.checks import count, flag, number, shown

__all__ = ["TOLERANCE", "Outcome", "Status", "Stopping"]

# Default number of cycles on an interval; ten times as many in a box.
MAXITER = 100
# Default tolerance, relative to the largest nodal value; more is asked of neither precision.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Stopping:
    """When to stop, and what to do then; checked.

    ``tol`` is the accepted error, relative to the largest nodal value, ``maxiter`` the most cycles.
    ``refine`` corrects by residuals in float64; ``throw`` says whether to raise when the solution has not
    converged.
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

    def accepted(self, dtype: torch.dtype, rounding: float) -> float:
        """Return the error that is accepted in a precision, relative to the largest value.

        ``rounding`` is what rounding alone may leave of one.
        """
        return max(TOLERANCE[dtype], 4 * rounding) if self.tol is None else self.tol


class Status(enum.Enum):
    """How a solution ended; each value says what to do about it.

    Attributes
    ----------
    CONVERGED
        The error estimate is below the tolerance.
    MAXITER
        The iterations ran out first: raise ``maxiter``, or take more sweeps.
    STAGNATED
        The corrections no longer shrink, or the exact cycle misses a ``tol`` that was given: where that is
        rounding, loosen ``tol``, or take ``method="exact"``, float64 or ``refine=True``; where cycles are too
        slow, another smoother or ``method="auto"``.
    DIVERGED
        The corrections grow or are not finite: take a smaller ``omega``, another smoother, or
        ``method="auto"``.
    """

    CONVERGED = "the error estimate is below the tolerance"
    MAXITER = "the iterations ran out before the tolerance was met: raise maxiter, or take more sweeps"
    STAGNATED = (
        "the error stays above tol: loosen tol, or take float64 or refine=True, where rounding keeps it so;"
        " another smoother, or method='auto', where cycles are slow"
    )
    DIVERGED = (
        "the corrections grow or are not finite: take a smaller omega, another smoother, or method='auto'"
    )


# No estimates; nothing is ever written into them.
NONE = torch.zeros(0, device="cpu")


@dataclass
class Outcome:
    """What an iteration came to.

    Parameters
    ----------
    status : Status
        How it ended.
    iterations : int, default 0
        Corrections made.
    residuals : list of float
        Before the first and after each correction: Euclidean norm relative to that of the load, the worst
        row of a batch.
    error_estimate : float, default inf
        Estimated largest nodal error, absolute, of the worst row.
    convergence_factor : float, default nan
        Mean factor of the last corrections, of the slowest row.
    row : int, default 0
        The row that decided a status other than ``CONVERGED``.
    errors : torch.Tensor, shape (batch,)
        The estimates of all rows; none where nothing was iterated.
    scale : torch.Tensor, shape (batch,)
        The largest unknown of each row; none where nothing was iterated.
    """

    status: Status
    iterations: int = 0
    residuals: list[float] = field(default_factory=list)
    error_estimate: float = math.inf
    convergence_factor: float = math.nan
    row: int = 0
    errors: Tensor = field(default_factory=lambda: NONE)
    scale: Tensor = field(default_factory=lambda: NONE)

    def widened(self, more: Tensor) -> Outcome:
        """Return the outcome with larger estimates of the rows' errors, which were not iterated for."""
        errors = self.errors + more if self.errors.numel() else self.errors
        return replace(self, error_estimate=self.error_estimate + float(more.max()), errors=errors)

    def judge(self, errors: Tensor, accepted: Tensor) -> None:
        """Take other estimates of the rows' errors, and see whether they are small enough, :eq:`stopping`.

        NaN is not accepted, and means divergence as infinity does.
        """
        bad = ~((errors <= accepted) & errors.isfinite())
        # One look, which waits for a GPU.
        figures = errors.max(), bad.any(), bad.int().argmax()
        self.error_estimate, wanting, row = torch.stack([x.double() for x in figures]).tolist()
        self.errors = errors
        if self.status is Status.CONVERGED and wanting:
            # The largest of rows with NaN is NaN.
            lost = not math.isfinite(self.error_estimate)
            self.status, self.row = Status.DIVERGED if lost else Status.STAGNATED, int(row)
