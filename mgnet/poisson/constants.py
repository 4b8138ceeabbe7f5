"""Problems that determine u up to a constant, or hardly more: which data they accept, which solution counts.

The data are those of :eq:`compatibility`, the solution is that of :eq:`zero-mean`. Where a tiny c or Robin's
alpha is all that holds the constants, cycles may lose them to rounding: they get a correction of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from ..core.arrays import sent
from .assembly import Load
from .conditions import nothing
from .problem import Poisson

__all__ = ["Constants", "LooseConstants"]

# What rounding may leave of data, in units of the last place.
ROUNDED = 16


class Constants:
    """The constants, where they solve the homogeneous problem: c = 0, and no end holds u."""

    def __init__(self, problem: Poisson) -> None:
        self.problem, self.space = problem, problem.space
        self.volume = math.prod(grid.length for grid in problem.grids)
        # The measure of the sides that are not joined.
        self.border = sum(self.volume / problem.grids[axis].length for _, axis, *_ in problem.sides())
        self.axes = tuple(range(-problem.dim, 0))

    def compatible(self, b: Tensor, load: Load) -> Tensor:
        """Return the load without the defect that rounding or lumping left, :eq:`compatibility`.

        A constant right-hand side is subtracted that takes the defect away. What quadrature leaves of a kink,
        or lumping of any f, is removed too, and so is what rounding leaves of data of the size of 1: they are
        zero. When the defect is more than that, a ValueError gives it, and what to subtract, unless the
        problem says to project whatever it is.
        """
        if self.problem.compatible == "project":
            return self.project(b)
        given = load.given if load.given is not None else b  # of which the rounding may be the larger
        allowed = 1e-4 if torch.float32 in (b.dtype, given.dtype) else 1e-8
        if load.name == "f":
            coarsest = min(self.problem.cells)
            allowed = max(allowed, min(0.1 if load.lumped else 0.01, 2 / coarsest**2))
        defect, size = b.sum(self.axes), b.abs().sum(self.axes)  # eq: compatibility
        size = torch.maximum(size, self._of_rows(load.size, load, size))
        # What a load and fluxes of 1 everywhere sum to.
        ones = self.border + (self.problem.unknowns if load.name == "b" else self.volume)
        bad = defect.abs() > (allowed * size).clamp_min(ROUNDED * torch.finfo(b.dtype).eps * ones)
        if bad.any():
            row = int(bad.int().argmax())
            fluxes = self._of_rows(load.fluxes, load, defect)[row]
            self._refuse(load, row, *(x.item() for x in (defect[row], fluxes, size[row])))
        return self.project(b)

    def _of_rows(self, x: Tensor | float, load: Load, like: Tensor) -> Tensor:
        """Give one number for each row of the load, from one for each or for all."""
        batch = load.b.shape[: load.b.ndim - self.problem.dim]
        if isinstance(x, Tensor):
            return sent(x, like.device, like.dtype).expand(batch or (1,)).reshape(-1)
        return torch.full_like(like, x)

    def _refuse(self, load: Load, row: int, defect: float, fluxes: float, size: float) -> NoReturn:
        """Say what is incompatible, by how much, and what to subtract from it."""
        sides = [name for name, *_, condition in self.problem.sides() if not nothing(condition.g)]
        names = [load.name] if abs(defect - fluxes) > 0.1 * abs(defect) else []
        names += [f"the fluxes g of {', '.join(sides)}"] if abs(fluxes) > 0.1 * abs(defect) else []
        several = load.b.ndim > self.problem.dim and load.b.shape[0] > 1
        where = (
            f" in row {row if load.rows is None else load.rows[row]}"
            if several or load.rows is not None
            else ""
        )
        of_f = load.name == "f"
        mean = defect / (self.volume if of_f else self.problem.unknowns)
        halved = of_f and load.lumped and not fluxes
        why = " (its mean, in which nodes on a border count by half)" if halved else ""
        flux = f", or {defect / self.border!r} from g on every side" if fluxes else ""
        raise ValueError(
            f"{' and '.join(names)}: got data that sum to {defect:.3e}{where}, the defect, of {size:.3e} in"
            " absolute value; accepted: a load and boundary fluxes that sum to zero, since u is determined up"
            f" to a constant only; subtract {mean!r} from {load.name}{why}{flux},"
            " or give compatible='project'"
        )

    def project(self, b: Tensor) -> Tensor:
        """Return the load less a constant right-hand side, so that it sums to zero; zero of a constant."""
        weights = self.space.hat_integrals(b)
        rest = b - b.sum(self.axes, keepdim=True) / weights.sum() * weights
        rounding = ROUNDED * torch.finfo(b.dtype).eps * b.abs().amax(self.axes, keepdim=True)
        return rest.mul_(rest.abs().amax(self.axes, keepdim=True) > rounding)

    def remove(self, u: Tensor) -> Tensor:
        """Return the function with zero mean that differs from another by a constant, :eq:`zero-mean`."""
        weights = self.space.hat_integrals(u)
        # eq: zero-mean
        mean = (self.space.unknowns(u) * weights).sum(self.axes, keepdim=True) / weights.sum()
        return u - mean


class LooseConstants:
    """The constants, where so little holds them that a cycle loses it: a coarse space of one dimension.

    ``image`` is what the operator makes of the function 1: differences, of which nothing is lost.
    """

    def __init__(self, image: Tensor) -> None:
        self.image, self.energy = image, image.sum()
        self.axes = tuple(range(-image.ndim, 0))

    def corrected(self, cycle: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
        """Return what a cycle, less constants, makes of a residual between two corrections by constants."""
        image, energy = self.image.to(r), self.energy.to(r)
        mean = r.sum(self.axes, keepdim=True) / energy
        e = cycle(r - mean * image)
        return e + (mean - (e * image).sum(self.axes, keepdim=True) / energy)
