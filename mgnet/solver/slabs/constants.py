"""The constants of a problem that several processes share: sums of parts are sums of the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.processes import Processes
from ...poisson.assembly import Load
from ...poisson.boundary import side_rule
from ...poisson.constants import Constants
from ...poisson.problem import Poisson
from ...poisson.quadrature import hat_integrals
from .agreement import place, summed

__all__ = ["SharedConstants"]


class SharedConstants(Constants):
    """The constants, where they solve the homogeneous problem, of parts whose loads and weights add up.

    Parameters
    ----------
    whole, own : Poisson
        The problem and the part of it that this process has.
    processes : Processes
        Those that share it.
    """

    def __init__(self, whole: Poisson, own: Poisson, processes: Processes) -> None:
        self.whole, self.processes = whole, processes
        super().__init__(own)
        self.problem = whole

    def _borders(self) -> Tensor:
        """Give the measure of the sides of the whole; a cut is none."""
        total = torch.zeros_like(self.volume)
        for _, axis, end, _ in self.whole.sides():
            rule, _ = side_rule(self.problem if axis else self.whole, axis, end)
            part = hat_integrals(rule.grids, rule.active).sum()
            total += self._over_all(part) if axis else part
        return total

    @property
    def _counts(self) -> Tensor:
        """How many unknowns there are."""
        return torch.full_like(self.volume, self.whole.unknowns)

    def _sums(self, x: Tensor) -> Tensor:
        """Sum up each row over the domain, the same digits in every process."""
        return self._over_all(super()._sums(x))

    def _largest(self, sizes: Tensor) -> Tensor:
        """Give the largest absolute value of each row."""
        own = super()._largest(sizes)
        return self.processes.largest(own.contiguous().to(place(self.processes))).to(own.device)

    def _with_hidden(self, size: Tensor, load: Load) -> Tensor:
        """Give the size of the data of each row; what is hidden here may be nothing elsewhere."""
        return torch.maximum(size, self._of_rows(load.size, load, size))

    def _over_all(self, x: Tensor) -> Tensor:
        return summed(self.processes, x)

    def _of_rows(self, x: Tensor | float, load: Load, like: Tensor) -> Tensor:
        return self._over_all(super()._of_rows(x, load, like))
