"""Problems that determine u up to a constant, or hardly more: which data they accept, which solution counts.

The data are those of :eq:`compatibility`, the solution is that of :eq:`zero-mean`. Where a tiny c or Robin's
alpha is all that holds the constants, cycles may lose them to rounding: they get a correction of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.looks import look
from .assembly import Load
from .boundary import side_rule
from .conditions import nothing
from .problem import Poisson
from .quadrature import hat_integrals

__all__ = ["Constants", "LooseConstants"]

# What rounding may leave of data, in units of the last place.
ROUNDED = 16


class Constants:
    """The constants, where they solve the homogeneous problem: c = 0, and no end holds u."""

    def __init__(self, problem: Poisson, pieces: Tensor | None = None) -> None:
        self.problem, self.space = problem, problem.space
        self.axes = tuple(range(-problem.dim, 0))
        self.pieces = None if pieces is None else self.space.unknowns(pieces)
        self.nodes, self.count = pieces, 1 if pieces is None else int(pieces.max())
        self.weights = self._weights()
        # Of each piece: its volume, and the measure of its sides that are not joined.
        self.volume = self._sums(self.weights[None])[0]
        self.border = self._borders()
        # What part of its piece's volume the hat of each unknown has.
        volume = self._spread(self.volume[None], self.pieces)[0]
        self.shares = torch.where(volume > 0, self.weights / volume, 0.0)

    def _weights(self) -> Tensor:
        """Give the integrals of the hats, shape ``(*unknowns)``, in float64."""
        region = self.problem.region
        if region.active is None:
            return self.space.hat_integrals(torch.zeros((), dtype=torch.float64, device="cpu"))
        return self.space.loads(hat_integrals(self.problem.grids, region.active))

    def _borders(self) -> Tensor:
        """Give the measure of the sides of each piece."""
        total = torch.zeros_like(self.volume)
        for _, axis, end, _ in self.problem.sides():
            rule, _ = side_rule(self.problem, axis, end)
            parts = hat_integrals(rule.grids, rule.active)
            if self.nodes is None:
                total += parts.sum()
                continue
            pieces = self.nodes.select(axis, end).flatten()
            total += torch.bincount(pieces, parts.flatten(), len(total) + 1)[1:]
        return total

    def _sums(self, x: Tensor) -> Tensor:
        """Sum up each row, shape ``(batch, *unknowns)``, over each piece, (batch, pieces)."""
        if self.pieces is None:
            return x.sum(self.axes)[:, None]
        pieces, rows = sent(self.pieces.flatten(), x.device), x.reshape(len(x), -1)
        total = rows.new_zeros((len(rows), self.count + 1))
        return total.index_add(1, pieces, rows)[:, 1:]

    def _largest(self, sizes: Tensor) -> Tensor:
        """Give the largest absolute value of each row, to be compared with all of it."""
        return sizes.amax(self.axes, keepdim=True)

    def _spread(self, x: Tensor, pieces: Tensor | None) -> Tensor:
        """Give all places what their piece has, of shape (batch, pieces); zero where there is none."""
        if pieces is None:
            return x.reshape(-1, *[1] * len(self.axes))
        padded = torch.cat((x.new_zeros((len(x), 1)), x), 1)
        return padded[:, sent(pieces, x.device)]

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
        sizes = b.abs()
        defect, size = self._sums(b), self._with_hidden(self._sums(sizes), load)  # eq: compatibility
        # What a load and fluxes of 1 everywhere sum to.
        ones = self.border + (self._counts if load.name == "b" else self.volume)
        least = ROUNDED * torch.finfo(b.dtype).eps * ones

        def judge(numbers: list[float]) -> None:
            found = torch.tensor(numbers, dtype=torch.float64, device="cpu")
            defects, sizes = found.reshape(2, -1, self.count)
            bad = defects.abs() > torch.maximum(allowed * sizes, least)
            if bad.any():
                row, piece = bad.nonzero()[0].tolist()
                fluxes = self._of_rows(load.fluxes, load, defect)[row, 0]
                self._refuse(
                    load, (row, piece), float(defects[row, piece]), float(fluxes), float(sizes[row, piece])
                )

        look([defect, size], judge)
        return self._projected(b, defect, sizes)

    def _with_hidden(self, size: Tensor, load: Load) -> Tensor:
        """Give the size of the data of each row, also of what its sum of absolute values hides."""
        if not isinstance(load.size, Tensor):  # then it is zero
            return size
        return torch.maximum(size, self._of_rows(load.size, load, size))

    @property
    def _counts(self) -> Tensor:
        """How many unknowns each piece has."""
        return self._sums(torch.ones_like(self.weights)[None])[0]

    def _of_rows(self, x: Tensor | float, load: Load, like: Tensor) -> Tensor:
        """Give one number for each row of the load, from one for each or for all."""
        batch = load.b.shape[: load.b.ndim - self.problem.dim]
        if isinstance(x, Tensor):
            return sent(x, like.device, like.dtype).expand(batch or (1,)).reshape(-1, 1)
        return torch.full_like(like, x)

    def _refuse(
        self, load: Load, place: tuple[int, int], defect: float, fluxes: float, size: float
    ) -> NoReturn:
        """Say what is incompatible, by how much, and what to subtract from it."""
        row, piece = place
        volume, border = float(self.volume[piece]), float(self.border[piece])
        sides = [name for name, *_, condition in self.problem.sides() if not nothing(condition.g)]
        names = [load.name] if abs(defect - fluxes) > 0.1 * abs(defect) else []
        names += [f"the fluxes g of {', '.join(sides)}"] if abs(fluxes) > 0.1 * abs(defect) else []
        several = load.b.ndim > self.problem.dim and load.b.shape[0] > 1
        number = row if load.rows is None else load.rows[row]
        where = f" in row {number}" if several or load.rows is not None else ""
        if self.pieces is not None:
            index = tuple((self.pieces == piece + 1).nonzero()[0].tolist())
            where += f" in the piece of the domain around the unknown {index}"
        of_f = load.name == "f"
        mean = defect / (volume if of_f else float(self._counts[piece]))
        halved = of_f and load.lumped and not fluxes
        why = " (its mean, in which nodes on a border count by half)" if halved else ""
        flux = f", or {defect / border!r} from g on every side" if fluxes and border else ""
        raise ValueError(
            f"{' and '.join(names)}: got data that sum to {defect:.3e}{where}, the defect, of {size:.3e} in"
            " absolute value; accepted: a load and boundary fluxes that sum to zero, since u is determined up"
            f" to a constant only; subtract {mean!r} from {load.name}{why}{flux},"
            " or give compatible='project'"
        )

    def project(self, b: Tensor) -> Tensor:
        """Return the load less a constant right-hand side, so that it sums to zero; zero of a constant."""
        return self._projected(b, self._sums(b), b.abs())

    def _projected(self, b: Tensor, sums: Tensor, sizes: Tensor) -> Tensor:
        """Do so, given the sums of each row over each piece, and absolute values."""
        # A load of nodal values is they times the weights as they are rounded here: most of it cancels.
        weights = sent(self.weights, b.device, b.dtype)
        means = sums / sent(self.volume, b.device, b.dtype)
        rest = torch.addcmul(b, self._spread(means, self.pieces), weights, value=-1)
        if self.pieces is not None:  # summed up one by one, which loses digits: most are in what is left
            means = self._sums(rest) / sent(self.volume, b.device, b.dtype)
            rest.addcmul_(self._spread(means, self.pieces), weights, value=-1)
        rounding = ROUNDED * torch.finfo(b.dtype).eps * self._largest(sizes)
        return rest.mul_(self._largest(rest.abs()) > rounding)

    def remove(self, u: Tensor) -> Tensor:
        """Return the function with zero mean that differs from another by a constant, :eq:`zero-mean`."""
        means = self._sums(self.space.unknowns(u) * sent(self.shares, u.device, u.dtype))
        return u - self._spread(means, self.nodes)  # eq: zero-mean


class LooseConstants:
    """The constants, where so little holds them that a cycle loses it: a coarse space of one dimension.

    ``image`` is what the operator makes of the function 1: differences, of which nothing is lost. ``total``
    sums up each row of unknowns, shape ``(..., *unknowns)``.
    """

    def __init__(self, image: Tensor, total: Callable[[Tensor], Tensor]) -> None:
        self.total, self.image, self.energy = total, image, total(image)

    def corrected(self, cycle: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
        """Return what a cycle, less constants, makes of a residual between two corrections by constants."""
        image, energy = self.image.to(r), self.energy.to(r)
        mean = self.total(r) / energy
        e = cycle(r - mean * image)
        return e + (mean - self.total(e * image) / energy)
