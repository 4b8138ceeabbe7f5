"""Conjugate gradients as a step; in float32 for approximations in float64, :eq:`mixed`: half the bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.looks import look
from ..multigrid.krylov import ConjugateGradients
from ..operators import loops
from ..operators.contract import Map, fused, residual
from ..operators.fused import rescale
from .iteration import Measure, Progress

__all__ = ["KrylovStep", "column", "multiplied", "to_divide_by"]

# Residuals that have shrunk this far are given another size, or their products would leave float32.
FADED = 1e-12
# A first residual of this size is large enough as it is.
SMALL = 1e-6


class KrylovStep:
    """A step of :func:`mgnet.solver.iteration.iterate` by conjugate gradients, of any precision.

    Only how fast they converge depends on the precision of their products. All residuals are divided by the
    size of the first one, since products of residuals must be comparable.

    A and b are the system, and ``bound`` what its residuals are hardly larger than, shape (batch,). ``low``
    is A in the precision of corrections, times ``scale``: of A in float64 that may be float32, and the scale
    the reciprocal of its largest entry. ``precondition`` is a cycle for that. ``measure`` says how large
    vectors are.
    """

    def __init__(
        self,
        A: Map,
        b: Tensor,
        bound: Tensor,
        low: Any,
        scale: float,
        precondition: Map,
        measure: Measure,
    ) -> None:
        self.A, self.b, self.scale, self.low, self.measure = A, b, scale, low, measure
        self.gradients = ConjugateGradients(low, precondition, measure.products)
        self.bound = bound.double()
        self.size: Tensor | None = None  # of the first residual, (batch,)
        self.fading = False
        passes, dtype = fused(low, b), low.like["dtype"]
        # What a solve has used the next one may use again: pages that are new cost more than a pass.
        self.room = passes.room("residual", len(b))[1] if passes else torch.empty_like(b, dtype=dtype)

    def __call__(self, u: Tensor) -> Progress:
        """Add a correction to u; see :class:`mgnet.solver.iteration.Step`."""
        r, size, norm = self._residual(u)  # eq: mixed
        before = norm * size
        faded = (norm < FADED) & (norm > 0)
        if not self.fading:
            look([faded.any()], self._note)
        if self.fading:
            size, self.fading = self._enlarged(r, faded), False
        gain, passes = self.scale * size, fused(self.low, r)
        if passes and u.device.type == "cpu":
            of_e, scale = self.gradients.advance(passes, r, u, gain)
            return Progress(before, gain * of_e, scale)
        e = self.measure.agreed(self.gradients(r))
        u.add_(e.to(u.dtype) * column(gain, u).to(u.dtype))
        size_of_e, scale_of_u = self.measure.sizes(e, u)
        return Progress(before, gain * size_of_e, scale_of_u)

    def _note(self, fading: list[float]) -> None:
        """Note that residuals have faded: for this step, or on a GPU, where that is seen late, the next."""
        self.fading = bool(fading[0])

    def _enlarged(self, r: Tensor, rows: Tensor) -> Tensor:
        """Divide some rows of the residual by their own sizes from here on, and begin anew there."""
        assert self.size is not None
        own = torch.where(rows, to_divide_by(self.measure.largest(r)).double(), 1.0)
        self.size = to_divide_by(self.size * own, self.b.dtype)
        self.gradients.forget(rows)
        multiplied(r, 1 / own, r)
        return self.size

    def norm(self, u: Tensor) -> Tensor:
        """Return the norm of the residual of each row of u."""
        if not self.b.numel():
            return self.measure.norms(residual(self.A, u, self.b))
        _, size, norm = self._residual(u)
        return norm * size

    def _residual(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the residual, rounded, what it was divided by, and its norm."""
        if self.size is not None:
            return self.room, self.size, self._rounded(u, self.size)
        # The first residual is not much larger than the bound, but it may be much smaller.
        bound = to_divide_by(torch.where(self.bound.isfinite(), self.bound, 1.0), self.b.dtype)
        norm = self._rounded(u, bound)
        own = to_divide_by(torch.where((norm > 0) & (norm < SMALL), norm, 1.0))
        self.size = to_divide_by(bound * own, self.b.dtype)
        if not self.room.is_cpu or bool((own != 1).any()):  # to look would wait
            multiplied(self.room, 1 / own, self.room)
        return self.room, self.size, norm / own

    def _rounded(self, u: Tensor, size: Tensor) -> Tensor:
        """Write the residual over a size in the precision of corrections, and give its norm."""
        return self.measure.missing(self.A, u, self.b, size, self.room)


def column(x: Tensor, like: Tensor) -> Tensor:
    """Give one number for each row, to be multiplied with them."""
    return x.to(like.device).reshape(-1, *[1] * (like.ndim - 1))


def to_divide_by(sizes: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return sizes that are not zero, nor is what numbers of a precision, by default theirs, have of them."""
    return sizes.clamp_min(torch.finfo(dtype or sizes.dtype).tiny)


def multiplied(x: Tensor, factor: Tensor, out: Tensor) -> Tensor:
    """Write the rows of x times factors in float64 in another precision."""
    if x is out and loops.apply_to(x):
        x.numpy()[...] *= factor.reshape(-1, *[1] * (x.ndim - 1)).numpy().astype(loops.kind(x.dtype))
        return x
    if loops.apply_to(x, out):
        return rescale(x, factor.flatten(), out)
    return out.copy_(x * column(factor, x))
