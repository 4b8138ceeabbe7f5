"""Corrections in float32 for approximations in float64, :eq:`mixed`: half the bytes, and all the digits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.memory import empty, empty_like, strips
from ..multigrid.krylov import ConjugateGradients
from ..operators.contract import Map
from ..operators.rows import residual, rounded_residual
from .iteration import ENOUGH, Progress, largest, norms

__all__ = ["MixedStep", "multiplied", "row_sizes"]

# Residuals that have shrunk this far are given another size, or their products would leave float32.
FADED = 1e-12


class MixedStep:
    """A step of :func:`mgnet.solver.iteration.iterate` by conjugate gradients in float32.

    Only how fast they converge depends on the precision of their products. All residuals are divided by the
    size of the first one, since products of residuals must be comparable. Of as many corrections as an
    estimate of the error needs, all but the last come at once. That one, from a residual in float64, meets
    what they left.

    A and b are the system in float64. ``low`` is A in float32, times ``scale``, the reciprocal of its largest
    entry, and ``precondition`` a cycle for that. ``project`` takes the mean off a correction, where it is no
    part of the solution.
    """

    def __init__(
        self,
        A: Map,
        b: Tensor,
        low: Map,
        scale: float,
        precondition: Map,
        project: Map,
    ) -> None:
        self.A, self.b, self.scale, self.project = A, b, scale, project
        self.gradients = ConjugateGradients(low, precondition)
        self.size: Tensor | None = None  # of the first residual, (batch, 1, ..., 1)

    def __call__(self, u: Tensor, most: int) -> Progress:
        """Add up to ``most`` corrections to u; see :class:`mgnet.solver.iteration.Step`."""
        count = 1 if self.size is not None else min(ENOUGH - 1, most)
        r, size = self._residual(u)  # eq: mixed
        progress = Progress()
        for i in range(count):
            r = self.gradients.residual(r) if i else r
            norm = norms(r)
            progress.norms.append(norm * size.flatten())
            faded = (norm < FADED) & (norm > 0)
            if not i and bool(faded.any()):
                r, size = self._enlarged(r, faded.reshape(size.shape))
            e = self.project(self.gradients(r))
            found = self.scale * size.flatten() * largest(e)
            if i:
                # Of a residual that was not computed afresh, float32 knows no smaller part.
                found = torch.maximum(found, torch.finfo(torch.float32).eps * progress.sizes[-1])
            progress.sizes.append(found)
            multiplied(e, self.scale * size, u, more=True)
        return progress

    def _enlarged(self, r: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Divide some rows of the residual by their own sizes from here on, and begin anew there."""
        assert self.size is not None
        own = torch.where(rows, row_sizes(r), 1.0)
        self.size = (self.size * own).clamp_min(torch.finfo(self.size.dtype).tiny)
        self.gradients.forget(rows)
        return r.div_(own), self.size

    def norm(self, u: Tensor) -> Tensor:
        """Return the norm of the residual of each row of u."""
        if not self.b.numel():
            return norms(residual(self.A, u, self.b))
        r, size = self._residual(u)
        return norms(r) * size.flatten()

    def _residual(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Give the residual, rounded to float32, and what it was divided by."""
        r = empty_like(self.b, torch.float32)
        if self.size is not None:
            return rounded_residual(self.A, u, self.b, 1 / self.size, r), self.size
        # No residual is much larger than this, but it may be much smaller.
        bound = row_sizes(self.b) + row_sizes(u) / self.scale
        bound = torch.where(bound.isfinite(), bound, row_sizes(self.b))
        own = row_sizes(rounded_residual(self.A, u, self.b, 1 / bound, r))
        self.size = (bound * own).clamp_min(torch.finfo(bound.dtype).tiny)
        return r.div_(own), self.size


def row_sizes(r: Tensor) -> Tensor:
    """Return the largest absolute value of each row, to be divided by: not zero.

    Its shape is ``(batch, 1, ..., 1)``.
    """
    return largest(r).clamp_min(torch.finfo(r.dtype).tiny).reshape(-1, *[1] * (r.ndim - 1))


def multiplied(x: Tensor, factor: Tensor, out: Tensor, more: bool = False) -> Tensor:
    """Write the rows of x times factors in float64 in another precision, or add that to what is there.

    In pieces that are converted first: torch would convert whole tensors by the way.
    """
    for rows in strips(x.shape[2], x):
        here = x[:, :, rows]
        wide = empty(here.shape, factor).copy_(here)
        if more:
            out[:, :, rows].addcmul_(wide, factor)
        else:
            out[:, :, rows].copy_(wide.mul_(factor))
    return out
