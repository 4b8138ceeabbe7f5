"""How a stiffness kernel is applied: by differences, axis by axis, which keep its digits.

The difference of two close numbers is exact in floating point. So the residual of a fine grid keeps its
digits, and a small row sum is not lost beside a large conductance.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import stencils
from ..core.arrays import sent
from .axes import Axis
from .boxes import Box
from .margins import extend

__all__ = ["Differences"]

# A number for all unknowns of an axis, or one for each; None stands for what changes nothing.
Numbers = float | Tensor | None


@dataclass(frozen=True)
class Differences:
    """−∇·(a ∇u) + c u in a box of cells that are alike but for the last of each axis, :eq:`difference-form`.

    It is the sum of tensor products K⊗M + M⊗K, :eq:`tensor-stiffness`, built up axis by axis.

    Parameters
    ----------
    h : tuple of float
        Cell widths.
    a, c : float
        Coefficients.
    ends : tuple of (str, str)
        What holds at the ends of each axis.
    robin : tuple of (float, float)
        Robin's alpha there.
    last : tuple of (float or None)
        Widths of the last cells, where they differ.
    lumped : bool
        Whether c u counts at the nodes only.
    """

    h: tuple[float, ...]
    a: float
    c: float
    ends: tuple[tuple[str, str], ...]
    robin: tuple[tuple[float, float], ...]
    last: tuple[float | None, ...]
    lumped: bool = False

    @property
    def dim(self) -> int:
        """Number of axes."""
        return len(self.h)

    @property
    def k(self) -> float:
        """The conductance of a cell of a line: a/h, less a sixth of c h where c is not lumped."""
        return self.a / self.h[0] - (0.0 if self.lumped else self.c * self.h[0] / 6)

    @property
    def row_sum(self) -> float:
        """The row sum of an inner node of a line."""
        return self.c * self.h[0]

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all kinds of cells; 2 on a line."""
        if self.dim == 1:
            return 2.0
        bound = 1.5 ** (self.dim - 1) if any(map(any, self.robin)) else 0.0
        kinds = [{h, h if last is None else last} for h, last in zip(self.h, self.last, strict=True)]
        for widths in itertools.product(*kinds):
            element = stencils.element(widths, self.a, self.c, self.lumped)
            bound = max(bound, float(np.linalg.eigvalsh(element).max() / element[0, 0]))
        return bound

    def cells(self, count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return the conductance of each of so many cells of a line, and the row sum of each node, if any."""
        k = torch.full((count,), self.k, dtype=dtype, device=device)
        if not self.row_sum:
            return k, None
        s = torch.full((count + 1,), self.row_sum, dtype=dtype, device=device)
        s[::count] *= 0.5
        return k, s

    def on(self, cells: Sequence[int]) -> Box:
        """Return the box of so many cells along each axis."""
        robins = [(_over(low, self.a), _over(high, self.a)) for low, high in self.robin]
        return Box(list(map(Axis, cells, self.h, self.ends, robins, self.last)))

    def box(self, shape: Sequence[int]) -> Box:
        """Return the box of so many unknowns along each axis."""
        lost = [0 if ends[0] == "periodic" else 1 - ends.count("dirichlet") for ends in self.ends]
        return self.on([size - less for size, less in zip(shape, lost, strict=True)])

    def couplings(self, box: Box) -> list[np.ndarray]:
        """Return the matrices of the axes of a box as :mod:`mgnet.kernels.tensor` has them.

        What c adds, unless it is lumped, stands in those of the last axis.
        """
        reacting = [0.0] * (self.dim - 1) + [0.0 if self.lumped else self.c]
        return [axis.couplings(self.a, c) for axis, c in zip(box.axes, reacting, strict=True)]

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x for values of shape ``(N, 1, *unknowns)``."""
        axes, lump = _numbers(self, x.shape[-self.dim :], x.dtype, x.device)
        total, masses = None, x
        for stiff, mass in axes:
            part = stiff(masses)
            total = part if total is None else mass(total) + part  # eq: difference-form
            masses = mass(masses)
        return total if lump is None else total + lump * x  # type: ignore[return-value,operator]


class _Tridiagonal(NamedTuple):
    """A symmetric matrix along an axis: row sums, and a factor of the couplings, which may have others."""

    place: int
    ends: tuple[str, str]
    sums: Numbers
    factor: float
    others: Numbers

    def __call__(self, x: Tensor) -> Tensor:
        margins = [("wrap" if end == "periodic" else "zero", 1) for end in self.ends]
        steps = extend(x, margins, self.place).diff(dim=self.place)
        steps = steps if self.others is None else steps * self.others
        y = steps.diff(dim=self.place) * self.factor
        return y + (0.0 if self.sums is None else self.sums * x)  # + 0.0: no zero is -0


@lru_cache(maxsize=64)
def _numbers(
    form: Differences, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[list[tuple[_Tridiagonal, _Tridiagonal]], Numbers]:
    """Give the stiffness and the mass matrix of each axis, and what c adds where it is lumped."""
    box, found = form.box(shape), []

    def number(values: np.ndarray, nothing: float, place: int) -> Numbers:
        if not values.size or (values == values[0]).all():
            return None if not values.size or values[0] == nothing else float(values[0])
        return sent(torch.from_numpy(values.copy()), device, dtype).reshape(-1, *[1] * (-1 - place))

    with torch.inference_mode(False):  # they are kept
        for place, axis, (k, s, m, w) in zip(box.places, box.axes, form.couplings(box), strict=True):
            pair = []
            for sign, couplings, sums in ((-1, k, s), (1, m, w)):
                # Couplings that are alike are a factor: then the difference of differences is rounded once.
                most = np.abs(couplings).max() or 1.0
                others = number(couplings / most, 1.0, place)
                of_rows = number(sums[:-1], 0.0, place)
                pair.append(_Tridiagonal(place, axis.ends, of_rows, sign * most, others))
            found.append((pair[0], pair[1]))
        weights = [w[:-1] for _, _, _, w in form.couplings(box)]
        lump = form.c * reduce(np.multiply.outer, weights) if form.c and form.lumped else None
        return found, None if lump is None else sent(torch.from_numpy(lump), device, dtype)


def _over(alpha: float, a: float) -> float:
    return alpha / a if alpha else 0.0
