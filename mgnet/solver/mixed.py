"""Corrections in float32 for approximations in float64, :eq:`mixed`: half the bytes, and all the digits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..multigrid.krylov import ConjugateGradients
from ..operators import loops
from ..operators.contract import Map, fused, residual
from ..operators.fused import rescale
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
        self.A, self.b, self.scale, self.low = A, b, scale, low
        self.gradients = ConjugateGradients(low, lambda r: project(precondition(r)))
        self.size: Tensor | None = None  # of the first residual, (batch,)
        self.room = torch.empty_like(b, dtype=torch.float32, memory_format=torch.contiguous_format)

    def __call__(self, u: Tensor, most: int) -> Progress:
        """Add up to ``most`` corrections to u; see :class:`mgnet.solver.iteration.Step`."""
        count = 1 if self.size is not None else min(ENOUGH - 1, most)
        r, size, norm = self._residual(u)  # eq: mixed
        progress = Progress()
        for i in range(count):
            progress.norms.append(norm * size)
            faded = (norm < FADED) & (norm > 0)
            if not i and bool(faded.any()):
                r, size = self._enlarged(r, faded)
            found, norm, progress.scale = self._advance(r, u, self.scale * size)
            if i:
                # Of a residual that was not computed afresh, float32 knows no smaller part.
                found = torch.maximum(found, torch.finfo(torch.float32).eps * progress.sizes[-1])
            progress.sizes.append(found)
        return progress

    def _advance(self, r: Tensor, u: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Add a correction to u: its size, the norm of what it leaves of r, and the size of u."""
        passes = fused(self.low, r)
        if passes and u.device.type == "cpu":
            seen, largest_u = self.gradients.advance(passes, r, u, gain)
            return gain * seen.largest, seen.norm, largest_u
        e = self.gradients(r)
        u.add_(e.to(u.dtype) * _column(gain, u))
        self.gradients.residual(r)
        return gain * largest(e), norms(r).double(), None

    def _enlarged(self, r: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Divide some rows of the residual by their own sizes from here on, and begin anew there."""
        assert self.size is not None
        own = torch.where(rows, _sizes(r), 1.0)
        self.size = (self.size * own).clamp_min(torch.finfo(self.size.dtype).tiny)
        self.gradients.forget(_column(rows, r))
        return multiplied(r, 1 / own, r), self.size

    def norm(self, u: Tensor) -> Tensor:
        """Return the norm of the residual of each row of u."""
        if not self.b.numel():
            return norms(residual(self.A, u, self.b))
        _, size, norm = self._residual(u)
        return norm * size

    def _residual(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the residual, rounded to float32, what it was divided by, and its norm."""
        if self.size is not None:
            return self.room, self.size, self._rounded(u, self.size)
        # No residual is much larger than this, but it may be much smaller.
        loads = _sizes(self.b)
        bound = loads + _sizes(u) / self.scale
        bound = torch.where(bound.isfinite(), bound, loads)
        norm, own = self._rounded(u, bound), _sizes(self.room)
        self.size = (bound * own).clamp_min(torch.finfo(bound.dtype).tiny)
        return multiplied(self.room, 1 / own, self.room), self.size, norm / own

    def _rounded(self, u: Tensor, size: Tensor) -> Tensor:
        """Write the residual over a size in float32, and give its norm."""
        r, passes = self.room, fused(self.A, u, self.b)
        if passes:
            return passes.residual(u, self.b, 1 / size, out=r).norm
        r.copy_(residual(self.A, u, self.b) / _column(size, r))
        return norms(r).double()


def _column(x: Tensor, like: Tensor) -> Tensor:
    """Give one number for each row, to be multiplied with them."""
    return x.to(like.device).reshape(-1, *[1] * (like.ndim - 1))


def _sizes(x: Tensor) -> Tensor:
    """Give the largest absolute value of each row, to be divided by: not zero; in float64."""
    return row_sizes(x).flatten().double()


def row_sizes(r: Tensor) -> Tensor:
    """Return the largest absolute value of each row, to be divided by: not zero.

    Its shape is ``(batch, 1, ..., 1)``.
    """
    return largest(r).clamp_min(torch.finfo(r.dtype).tiny).reshape(-1, *[1] * (r.ndim - 1))


def multiplied(x: Tensor, factor: Tensor, out: Tensor) -> Tensor:
    """Write the rows of x times factors in float64 in another precision."""
    if x is out and loops.apply_to(x):
        x.numpy()[...] *= factor.reshape(-1, *[1] * (x.ndim - 1)).numpy().astype(loops.kind(x.dtype))
        return x
    if loops.apply_to(x, out):
        return rescale(x, factor.flatten(), out)
    return out.copy_(x * _column(factor, x))
