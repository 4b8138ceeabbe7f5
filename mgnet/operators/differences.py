"""How a stiffness kernel is applied: by second differences, axis by axis, which keep its digits.

The difference of two close numbers is exact in floating point. So the residual of a fine grid keeps its
digits, and a small row sum is not lost beside a large conductance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import stencils
from ..core.memory import STRIP, is_open, scratch, sent
from .axes import Axis
from .boxes import Box
from .margins import extend, margin
from .rows import few, in_rows

__all__ = ["Differences", "second_difference"]


@dataclass(frozen=True)
class Differences:
    """−∇·(a ∇u) + c u in a box of cells that are alike, but for the last of each axis, :eq:`difference-form`.

    It is the sum of tensor products K⊗M + M⊗K, :eq:`tensor-stiffness`, built up axis by axis from second
    differences.

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
    sums : bool
        Whether it is built up from sums of neighbours instead, which is faster and rounds at the size of the
        values. That is good enough for corrections.
    """

    h: tuple[float, ...]
    a: float
    c: float
    ends: tuple[tuple[str, str], ...]
    robin: tuple[tuple[float, float], ...]
    last: tuple[float | None, ...]
    lumped: bool = False
    sums: bool = False

    strip = STRIP

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

    def on(self, cells: Sequence[int]) -> Box:
        """Return the box of so many cells along each axis."""
        robins = [(_over(low, self.a), _over(high, self.a)) for low, high in self.robin]
        return Box(list(map(Axis, cells, self.h, self.ends, robins, self.last)))

    def box(self, shape: Sequence[int]) -> Box:
        """Return the box of so many unknowns along each axis."""
        lost = [0 if ends[0] == "periodic" else 1 - ends.count("dirichlet") for ends in self.ends]
        return self.on([size - less for size, less in zip(shape, lost, strict=True)])

    def __call__(self, x: Tensor, b: Tensor | None = None) -> Tensor:
        """Return A x, or b − A x in one go, for values of shape ``(N, 1, *unknowns)``."""
        whole = slice(0, x.shape[-self.dim])
        y = in_rows(self, x, b) if self._in_place(x) else self.rows(x, whole, b)
        if not self.by_rows:
            self._correct(x, y, 1.0 if b is None else -1.0)
        return y

    @cached_property
    def _terms(self) -> list[tuple[tuple[int, ...], float, float]]:
        """The kernel as a polynomial in the second differences D of the axes, :eq:`difference-form`.

        Each set of axes but the last, with the factor of the product of their D, and of that times the last.
        With ``sums`` in D + 2, the sums of neighbours.
        """
        # Of u and of D u in the stiffness and in the mass matrix of an axis.
        change = np.array([[1.0, -2.0 * self.sums], [0.0, 1.0]])
        stiff = [change @ [0.0, -1 / h] for h in self.h]
        masses = [change @ [h, h / 6] for h in self.h]
        parts = [stencils.tensor(*masses[:i], K, *masses[i + 1 :]) for i, K in enumerate(stiff)]
        reacting = [change @ [h, 0.0 if self.lumped else h / 6] for h in self.h]
        number = self.a * sum(parts) + self.c * stencils.tensor(*reacting)  # eq: difference-form
        sets = itertools.product((0, 1), repeat=self.dim - 1)
        return [
            (
                tuple(i for i, flag in enumerate(flags) if flag),
                float(number[(*flags, 0)]),
                float(number[(*flags, 1)]),
            )
            for flags in sets
        ]

    @cached_property
    def by_rows(self) -> bool:
        """Whether the kernel is all there is: no end has a row of its own, no last cell another width."""
        natural = any("natural" in ends for ends in self.ends)
        return not natural and all(last in (None, h) for last, h in zip(self.last, self.h, strict=True))

    def rows(self, x: Tensor, rows: slice, b: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Apply the kernel at some rows of the first axis, as :class:`.Rows` says.

        What ends and last cells change is not in it, nor need ``out`` be given.
        """
        here = x.narrow(-self.dim, rows.start, rows.stop - rows.start)
        fields: dict[tuple[int, ...], Tensor] = {(): here}
        for axis in range(self.dim - 1):
            for axes, field in list(fields.items()):
                # Along the first axis neighbours may lie in other rows.
                whole, some = (field, None) if axis else (x, rows)
                fields[(*axes, axis)] = self._pairwise(whole, axis, (*axes, axis), some)
        sign = 1.0 if b is None else -1.0
        y = b
        for axes, own, _ in self._terms:
            if own and y is not None:
                y = torch.add(y, fields[axes], alpha=sign * own, out=out)
            elif own:
                y = torch.mul(fields[axes], own, out=out)
        z, factor = _combination([(fields[axes], last) for axes, _, last in self._terms], here)
        if self.dim == 1:  # the last axis is the first one
            return self._add_last(x, sign * factor, y, out, rows)
        return self._add_last(z, sign * factor, y, out)

    def _add_last(
        self, z: Tensor, factor: float, y: Tensor | None, out: Tensor | None, rows: slice | None = None
    ) -> Tensor:
        """Add to y, if there is one, a multiple of what D or D + 2 of the last axis makes of z."""
        if self.sums and y is not None and y is out and rows is None:
            return _add_neighbours(z, self.ends[-1], factor, y)
        D = self._pairwise(z, self.dim - 1, "last", rows)
        if y is not None:
            return torch.add(y, D, alpha=factor, out=out)
        return D * factor + 0.0 if out is None else torch.mul(D, factor, out=out)  # + 0.0: no zero is -0

    def _pairwise(self, x: Tensor, axis: int, name: Any, rows: slice | None = None) -> Tensor:
        """Return D or, with ``sums``, D + 2 along an axis, of all entries or some; its memory has a name."""
        ends, place = self.ends[axis], axis - self.dim
        if not self._in_place(x):
            D = second_difference(x, ends, place)
            return D + 2 * x if self.sums else D
        rows = rows or slice(0, x.shape[place])
        shape = list(x.shape)
        shape[place] = rows.stop - rows.start
        out: Any = scratch(("pairwise", name), shape, x)
        return _written(x, ends, place, rows, self.sums, out)

    def _in_place(self, x: Tensor) -> bool:
        """Say whether results are written where they are wanted: no gradients flow, and it pays."""
        return is_open() and (self.sums or not few(x))

    def _correct(self, x: Tensor, y: Tensor, sign: float) -> None:
        """Add what natural ends, Robin's alpha and last cells change, side by side."""
        box = self.box(x.shape[2:])
        if self.c and self.lumped:
            self._correct_lumped(box, x, y, sign)
        for i, (axis, place) in enumerate(zip(box.axes, box.places, strict=True)):
            for row, column, k, m in axis.corrections:
                # The axes before count as uniform here: what they change has been added.
                M = A = x.select(place, column)
                A = torch.mul(A, 0.0 if self.lumped else self.c)
                others = [(other, j < i) for j, other in enumerate(box.axes) if j != i]
                for where, (other, plain) in enumerate(others, 1 - self.dim):
                    M, A = self._next_axis(other, where, M, A, plain)
                width = math.prod(self.h[:i] + self.h[i + 1 :])
                y.select(place, row).add_(A, alpha=sign * m * width).add_(M, alpha=sign * self.a * k * width)

    def _correct_lumped(self, box: Box, x: Tensor, y: Tensor, sign: float) -> None:
        """Add what the integrals of hats, which c is lumped with, differ by from those inside."""
        weights = [axis.hat_integrals() for axis in box.axes]
        for i, (axis, place) in enumerate(zip(box.axes, box.places, strict=True)):
            # The axes before count as uniform here: what they change has been added.
            others = stencils.tensor(np.array(math.prod(self.h[:i])), *weights[i + 1 :])
            for row in np.flatnonzero(weights[i] != axis.h):
                factor = sent(
                    torch.as_tensor(self.c * (weights[i][row] - axis.h) * others), y.device, y.dtype
                )
                y.select(place, int(row)).add_(x.select(place, int(row)) * factor, alpha=sign)

    def _next_axis(self, axis: Axis, place: int, M: Tensor, A: Tensor, plain: bool) -> tuple[Tensor, Tensor]:
        """Extend products of mass and of stiffness matrices by an axis; each over the cell width."""
        D = second_difference(M, axis.ends, place)
        next_M = torch.add(M, D, alpha=1 / 6)
        next_A = second_difference(A, axis.ends, place).mul_(1 / 6).add_(A).sub_(D, alpha=self.a / axis.h**2)
        for row, column, k, m in [] if plain else axis.corrections:
            next_M.select(place, row).add_(M.select(place, column), alpha=m / axis.h)
            next_A.select(place, row).add_(A.select(place, column), alpha=m / axis.h)
            next_A.select(place, row).add_(M.select(place, column), alpha=self.a * k / axis.h)
        return next_M, next_A


def _over(alpha: float, a: float) -> float:
    return alpha / a if alpha else 0.0


def _combination(terms: list[tuple[Tensor, float]], kept: Tensor) -> tuple[Tensor, float]:
    """Give Σ factor · field as a tensor and a factor of its own; its memory is that of any field but one."""
    # The largest factor: others may be zero, where c is to a as the mass matrix likes it.
    (total, factor), *others = sorted(terms, key=lambda term: -abs(term[1]))
    out = None
    if others and is_open():
        out = others[0][0] if total is kept else total
    for field, other in others:
        total = torch.add(total, field, alpha=other / factor, out=out)
    return total, factor


def _add_neighbours(z: Tensor, ends: tuple[str, str], factor: float, y: Tensor) -> Tensor:
    """Add to y a multiple of the sum of the neighbours along the last axis."""
    n = z.shape[-1]
    y.narrow(-1, 1, n - 1).add_(z.narrow(-1, 0, n - 1), alpha=factor)
    y.narrow(-1, 0, n - 1).add_(z.narrow(-1, 1, n - 1), alpha=factor)
    for end, node, other in ((ends[0], 0, n - 1), (ends[1], n - 1, 0)):
        if end != "dirichlet":
            y.select(-1, node).add_(z.select(-1, node if end == "natural" else other), alpha=factor)
    return y


def second_difference(x: Tensor, ends: tuple[str, str], axis: int) -> Tensor:
    """Return the difference of the differences along an axis, u₋ − 2 u + u₊.

    Past a Dirichlet end there is zero, past a natural one the end's own value, joined ends go on.
    """
    return extend(x, (margin(ends[0], 1, 1, 0), margin(ends[1], 1, 1, 1)), axis).diff(2, axis)


def _written(x: Tensor, ends: tuple[str, str], axis: int, rows: slice, sums: bool, out: Tensor) -> Tensor:
    """Write D or D + 2 of some entries of an axis."""
    size = x.shape[axis]
    start, stop = max(rows.start, 1), min(rows.stop, size - 1)
    count = stop - start
    if count > 0:
        here = out.narrow(axis, start - rows.start, count)
        if sums:
            torch.add(x.narrow(axis, start - 1, count), x.narrow(axis, start + 1, count), out=here)
        else:
            steps = x.narrow(axis, start, count + 1), x.narrow(axis, start - 1, count + 1)
            shape = list(here.shape)
            shape[axis] += 1
            between = torch.sub(*steps, out=scratch("steps", shape, x))
            torch.sub(between.narrow(axis, 1, count), between.narrow(axis, 0, count), out=here)
    for node in {0, size - 1} if size else ():
        if rows.start <= node < rows.stop:
            _write_end(x, ends, axis, node, sums, out.select(axis, node - rows.start))
    return out


def _write_end(x: Tensor, ends: tuple[str, str], axis: int, node: int, sums: bool, out: Tensor) -> None:
    """Write D or D + 2 of the first or the last entry of an axis."""
    own, last = x.select(axis, node), x.shape[axis] - 1

    def past(end: str) -> Any:
        if end == "dirichlet":
            return 0.0
        return own if end == "natural" else x.select(axis, last - node)

    side = int(node > 0)
    outside = past(ends[side])
    # A lone entry has no other neighbours than what lies past its ends.
    inside = x.select(axis, abs(node - 1)) if last else torch.zeros_like(own).add_(past(ends[1 - side]))
    if sums:
        torch.add(inside, outside, out=out)
    else:
        torch.sub(inside, own, out=out).sub_(own - outside)
