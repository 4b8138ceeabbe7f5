"""The stiffness operator where all cells are alike: a convolution, on a line, in the plane, in space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from .. import stencils
from ..core.checks import number, positive
from ..core.memory import STRIP, is_open, scratch, sent
from .axes import Axis, Box, BoxProlongation
from .convolutions import Prolongation, Stencil
from .margins import Boundary, extend, margin
from .rows import in_rows
from .varying import VaryingStiffness

__all__ = ["BoxStiffness", "Stiffness", "Stiffness1d", "second_difference"]


class Stiffness(Stencil):
    """The stiffness operator −∇·(a ∇u) + c u on a uniform grid, :eq:`stiffness`, :eq:`tensor-stiffness`.

    It is applied in the form of :eq:`varying`, by differences: that of two close numbers is exact in
    floating point, hence the residual of a fine grid keeps its digits, and a small row sum is not lost
    beside a large conductance.

    Parameters
    ----------
    h : float, default 1.0
        Cell width; one for each axis, or one for all, where ``dim`` is 2 or 3.
    a, c : float
        Coefficients, 1 and 0 by default.
    boundary : str, (str, str), or one (str, str) for each axis, default "dirichlet"
        As for :class:`Stencil`; a natural end adds ``robin`` to its diagonal.
    robin : (float, float), or one pair for each axis, default (0.0, 0.0)
        Robin's alpha at the two ends.
    lumped : bool, default False
        Whether c u counts at the nodes only, :eq:`mass-lumped`.
    dim : int, default 1
        Number of axes.
    dtype, device : optional
        Of the kernel; float64 on the CPU by default.

    Examples
    --------
    >>> Stiffness(0.5).to_dense(3)
    tensor([[ 4., -2.,  0.],
            [-2.,  4., -2.],
            [ 0., -2.,  4.]], dtype=torch.float64)
    """

    smooth = True  # all cells are alike

    def __init__(
        self,
        h: float | Sequence[float] = 1.0,
        a: float = 1.0,
        c: float = 0.0,
        boundary: Boundary = "dirichlet",
        *,
        robin: Any = (0.0, 0.0),
        lumped: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        for width in h if isinstance(h, tuple | list) else (h,):
            positive("h", width)
        for name, coefficient in (("a", a), ("c", c)):
            number(name, coefficient)
        with np.errstate(over="ignore"):  # looked for in the next line
            kernel = stencils.stiffness(h, a, c, lumped)
        _require_range(kernel, a, c, h, dtype)
        self._convolution(kernel, 1, boundary, False, {"dtype": dtype, "device": device})
        self.a, self.c, self.lumped = a, c, lumped

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        raise NotImplementedError

    def diagonal(self, shape: Any) -> Tensor:
        """Return the diagonal of the matrix.

        Parameters
        ----------
        shape : int or sequence of int
            Number of unknowns, along each axis where there are more.

        Returns
        -------
        torch.Tensor
            The diagonal, in the precision of the kernel.
        """
        raise NotImplementedError

    def coarse(self) -> Stiffness:
        """Return the operator of cells twice as wide along every axis; it equals R A P, :eq:`galerkin`.

        Where c is lumped it is lumped there too, and no more than close to R A P.
        """
        raise NotImplementedError

    @property
    def T(self) -> Stiffness:  # type: ignore[override]
        """The adjoint: the operator itself, which is symmetric."""
        return self


def _require_range(kernel: np.ndarray, a: float, c: float, h: Any, dtype: torch.dtype) -> None:
    """Refuse coefficients whose entries, or sums of some of them, overflow."""
    if not np.abs(kernel).max() <= torch.finfo(dtype).max / 16:
        raise ValueError(
            f"a, c: got {a!r}, {c!r} in cells of width {h!r}; accepted: numbers whose products with the cells"
            f" {str(dtype).removeprefix('torch.')} holds"
        )


class Stiffness1d(Stiffness, nn.Conv1d):
    """The stiffness operator on a line; parameters are those of :class:`Stiffness`."""

    dim = 1

    def __init__(
        self,
        h: float = 1.0,
        a: float = 1.0,
        c: float = 0.0,
        boundary: Boundary = "dirichlet",
        *,
        robin: tuple[float, float] = (0.0, 0.0),
        lumped: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        super().__init__(h, a, c, boundary, lumped=lumped, dtype=dtype, device=device)
        self.h, self.robin = h, robin
        self.k, self.row_sum = a / h - (0.0 if lumped else c * h / 6), c * h

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape (N, 1, unknowns)
            Values at the unknowns.

        Returns
        -------
        torch.Tensor, shape (N, 1, unknowns)
            The loads that belong to them.
        """
        y = self.extend(x).diff(dim=-1)
        y = torch.sub(y[..., :-1], y[..., 1:]).mul_(self.k)
        if self.row_sum:
            y.add_(x, alpha=self.row_sum)
        for end, node in ((0, 0), (1, -1)):
            extra = self._end(end)
            if extra:
                y[..., node] += extra * x[..., node]
        return y

    def _end(self, end: int) -> float:
        """Return what the end row of a natural end has beyond the interior row continued evenly."""
        return self.robin[end] - self.row_sum / 2 if self.boundary[end] == "natural" else 0.0

    @property
    def ends(self) -> tuple[str, str]:
        """The condition at the left and at the right end."""
        return self.pairs[0]

    @property
    def end_conductances(self) -> tuple[float, float]:
        """The conductance of the first and of the last cell."""
        return self.k, self.k

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        return "dirichlet" not in self.boundary and not self.row_sum and not any(self.robin)

    def diagonal(self, shape: int) -> Tensor:
        """Return the diagonal of the matrix.

        Parameters
        ----------
        shape : int
            Number of unknowns.

        Returns
        -------
        torch.Tensor, shape (shape,)
            The diagonal, in the precision of the kernel.
        """
        d = torch.full((shape,), 2 * self.k + self.row_sum, **self.like)
        for end, node in ((0, 0), (1, -1)):
            if self.boundary[end] == "natural":
                d[node] += self.robin[end] - self.k - self.row_sum / 2
        # A lone joined node is its own neighbour.
        return torch.full_like(d, self.row_sum) if shape == 1 and self.boundary[0] == "periodic" else d

    def coarse(self) -> Stiffness1d:
        """Return the stiffness operator of cells twice as wide; it equals R A P, :eq:`galerkin`.

        Where c is lumped it is lumped there too, and no more than close to R A P.

        Returns
        -------
        Stiffness1d
            The operator of the next coarser grid.
        """
        kept: dict[str, Any] = {"robin": self.robin, "lumped": self.lumped}
        return Stiffness1d(2 * self.h, self.a, self.c, self.boundary, **kept, **self.like)

    def varying(self, cells: int) -> VaryingStiffness:
        """Return the same operator with its numbers spelled out, one cell after the other.

        Parameters
        ----------
        cells : int
            Number of cells.

        Returns
        -------
        mgnet.operators.varying.VaryingStiffness
            The operator in the form of :eq:`varying`.
        """
        k = torch.full((cells,), self.k, **self.like)
        s = torch.full((cells + 1,), self.row_sum, **self.like) if self.row_sum else None
        if s is not None:
            s[0] /= 2
            s[-1] /= 2
        return VaryingStiffness(k, s, self.ends, self.robin)


class BoxStiffness(Stiffness):
    """The stiffness operator of a box of cells that are alike, but for the last of each axis.

    It is the sum of tensor products K⊗M + M⊗K, :eq:`tensor-stiffness`, built up axis by axis from second
    differences. Parameters are those of :class:`Stiffness`, the ``last`` cell widths, and ``sums``: to build
    it up from sums of neighbours instead, which is faster and rounds at the size of the values. That is good
    enough for corrections.
    """

    strip = STRIP

    def __init__(
        self,
        h: float | Sequence[float] = 1.0,
        a: float = 1.0,
        c: float = 0.0,
        boundary: Boundary = "dirichlet",
        *,
        robin: Any = (0.0, 0.0),
        lumped: bool = False,
        last: Sequence[float | None] | None = None,
        sums: bool = False,
        dim: int = 2,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        widths = (float(h),) * self.dim if isinstance(h, int | float) else tuple(h)
        if len(widths) != self.dim:
            raise ValueError(f"h: got {h!r}; accepted: a number, or {self.dim} of them")
        super().__init__(widths, a, c, boundary, lumped=lumped, dtype=dtype, device=device)
        self.h, self.last, self.sums = widths, tuple(last or (None,) * self.dim), sums
        self.robin: tuple[tuple[float, float], ...] = (
            ((robin,) * self.dim) if isinstance(robin[0], int | float) else tuple(robin)
        )

    @classmethod
    def of(cls, box: Box, a: float, c: float, **like: Any) -> BoxStiffness:
        """Return the operator of a box.

        Parameters
        ----------
        box : Box
            The cells and their ends.
        a, c : float
            Coefficients.
        **like
            Precision and device; ``lumped`` and ``sums``.

        Returns
        -------
        BoxStiffness
            For the box's number of dimensions.
        """
        h, last = zip(*((axis.h, axis.last) for axis in box.axes), strict=True)
        robin = [(a * axis.robin[0], a * axis.robin[1]) for axis in box.axes]
        return BoxStiffness(h, a, c, box.ends, robin=robin, last=last, dim=box.dim, **like)

    def box(self, shape: Sequence[int]) -> Box:
        """Return the box whose unknowns have this shape."""
        robins = [(low / self.a, high / self.a) for low, high in self.robin]
        lost = [0 if ends[0] == "periodic" else 1 - ends.count("dirichlet") for ends in self.pairs]
        return Box(
            [
                Axis(size - less, h, ends, robin, last)
                for size, less, h, ends, robin, last in zip(
                    shape, lost, self.h, self.pairs, robins, self.last, strict=True
                )
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape ``(N, 1, *unknowns)``
            Values at the unknowns.

        Returns
        -------
        torch.Tensor, shape ``(N, 1, *unknowns)``
            The loads that belong to them.
        """
        return self._applied(x, None)

    def residual(self, x: Tensor, b: Tensor) -> Tensor:
        """Return b − A x in one go, shape ``(N, 1, *unknowns)``."""
        return self._applied(x, b)

    def _applied(self, x: Tensor, b: Tensor | None) -> Tensor:
        whole = slice(0, x.shape[-self.dim])
        y = in_rows(self, x, b) if is_open() else self.rows(x, whole, b)
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
        natural = any("natural" in ends for ends in self.pairs)
        return not natural and all(last in (None, h) for last, h in zip(self.last, self.h, strict=True))

    def rows(self, x: Tensor, rows: slice, b: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Apply the kernel at some rows of the first axis, as :class:`.Rows` says.

        What ends and last cells change is not in it, nor need ``out`` be given.
        """
        here = x.narrow(-self.dim, rows.start, rows.stop - rows.start)
        fields: dict[tuple[int, ...], Tensor] = {(): here, (0,): self._pairwise(x, 0, (0,), rows)}
        for axis in range(1, self.dim - 1):
            for axes, field in list(fields.items()):
                fields[(*axes, axis)] = self._pairwise(field, axis, (*axes, axis))
        sign = 1.0 if b is None else -1.0
        y = b
        for axes, own, _ in self._terms:
            if own and y is not None:
                y = torch.add(y, fields[axes], alpha=sign * own, out=out)
            elif own:
                y = torch.mul(fields[axes], own, out=out)
        z, factor = _combination([(fields[axes], last) for axes, _, last in self._terms], here)
        return self._add_last(z, sign * factor, y, out)

    def _add_last(self, z: Tensor, factor: float, y: Tensor | None, out: Tensor | None) -> Tensor:
        """Add to y, if there is one, a multiple of what D or D + 2 of the last axis makes of z."""
        if self.sums and y is not None and y is out:
            return _add_neighbours(z, self.pairs[-1], factor, y)
        D = self._pairwise(z, self.dim - 1, "last")
        return torch.mul(D, factor, out=out) if y is None else torch.add(y, D, alpha=factor, out=out)

    def _pairwise(self, x: Tensor, axis: int, name: Any, rows: slice | None = None) -> Tensor:
        """Return D or, with ``sums``, D + 2 along an axis, of all entries or some; its memory has a name."""
        ends, place = self.pairs[axis], axis - self.dim
        rows = rows or slice(0, x.shape[place])
        shape = list(x.shape)
        shape[place] = rows.stop - rows.start
        out = scratch(("pairwise", name), shape, x)
        if out is None:  # gradients may flow
            D = second_difference(x, ends, place)
            return D + 2 * x if self.sums else D
        return _written(x, ends, place, rows, self.sums, out)

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

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        held = any("dirichlet" in ends for ends in self.pairs)
        return not held and not self.c and not any(alpha for robin in self.robin for alpha in robin)

    def diagonal(self, shape: Sequence[int]) -> Tensor:
        """Return the diagonal of the matrix, as one number where it is the same everywhere.

        Parameters
        ----------
        shape : sequence of int
            Number of unknowns along each axis.

        Returns
        -------
        torch.Tensor, shape ``(*shape)`` or (1, ..., 1)
            In the precision of the kernel.
        """
        axes = self.box(shape).axes
        pairs = [axis.diagonals() for axis in axes]
        if all(d.size and (d == d[0]).all() for pair in pairs for d in pair):
            pairs = [(k[:1], m[:1]) for k, m in pairs]
        masses = [m for _, m in pairs]
        parts = [stencils.tensor(*masses[:i], k, *masses[i + 1 :]) for i, (k, _) in enumerate(pairs)]
        if self.lumped:
            masses = [axis.hat_integrals()[: len(m)] for axis, m in zip(axes, masses, strict=True)]
        numbers = torch.from_numpy(self.a * sum(parts) + self.c * stencils.tensor(*masses))
        return sent(numbers, **self.like)

    @property
    def contrast(self) -> float:
        """How many times stronger the coupling along one axis is than along another."""
        return (max(self.h) / min(self.h)) ** 2

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all kinds of cells."""
        bound = 1.5 ** (self.dim - 1) if any(map(any, self.robin)) else 0.0
        kinds = [{h, h if last is None else last} for h, last in zip(self.h, self.last, strict=True)]
        for widths in itertools.product(*kinds):
            element = stencils.element(widths, self.a, self.c, self.lumped)
            bound = max(bound, float(np.linalg.eigvalsh(element).max() / element[0, 0]))
        return bound

    def scaled(self, factor: float, dtype: torch.dtype) -> BoxStiffness:
        """Return a multiple of the operator in another precision, for corrections: by sums."""
        robin = [(factor * low, factor * high) for low, high in self.robin]
        return BoxStiffness(
            self.h,
            factor * self.a,
            factor * self.c,
            self.boundary,
            robin=robin,
            lumped=self.lumped,
            last=self.last,
            sums=True,
            dim=self.dim,
            dtype=dtype,
            device=self.weight.device,
        )

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        kept: dict[str, Any] = {"robin": self.robin, "lumped": self.lumped, "last": self.last}
        return BoxStiffness(self.h, self.a, self.c, "natural", dim=self.dim, **kept, **self.like)(u)

    def to_sparse(self, shape: Sequence[int]) -> sp.csc_array:
        """Return the matrix in SciPy's form, for ``shape`` unknowns along each axis."""
        pairs: list[tuple[Any, Any]] = [axis.matrices() for axis in self.box(shape).axes]
        masses = [M for _, M in pairs]
        parts = [[*masses[:i], K, *masses[i + 1 :]] for i, (K, _) in enumerate(pairs)]
        stiff = sum(reduce(sp.kron, part) for part in parts)
        if self.lumped:
            masses = [sp.diags_array(axis.hat_integrals()) for axis in self.box(shape).axes]
        return sp.csc_array(self.a * stiff + self.c * reduce(sp.kron, masses))

    def coarsen(self, shape: Sequence[int]) -> tuple[BoxStiffness, Any] | None:
        """Return the operator of the next coarser box, which is R A P, and the prolongation from it.

        Where c is lumped it is lumped there too, and no more than close to R A P.

        Parameters
        ----------
        shape : sequence of int
            Number of unknowns along each axis.

        Returns
        -------
        (BoxStiffness, prolongation) or None
            None where no axis can be coarsened. The prolongation is a convolution where all cells come in
            pairs on every axis.
        """
        box = self.box(shape)
        chosen = box.coarsening()
        if not any(chosen):
            return None
        if all(chosen) and all(axis.even for axis in box.axes):
            P: Any = Prolongation(boundary=box.ends, dim=self.dim, **self.like)
        else:
            P = BoxProlongation(box, chosen)
        kept: dict[str, Any] = {"lumped": self.lumped, "sums": self.sums}
        return BoxStiffness.of(box.coarse(chosen), self.a, self.c, **kept, **self.like), P

    def coarse(self) -> BoxStiffness:
        """Return the operator of cells twice as wide along every axis; it equals R A P, :eq:`galerkin`.

        Where c is lumped it is lumped there too, and no more than close to R A P.
        """
        h = [2 * width for width in self.h]
        kept: dict[str, Any] = {"robin": self.robin, "lumped": self.lumped, "dim": self.dim}
        return type(self)(h, self.a, self.c, self.boundary, **kept, **self.like)


class Stiffness2d(BoxStiffness, nn.Conv2d):
    """The stiffness operator in the plane."""

    dim = 2


class Stiffness3d(BoxStiffness, nn.Conv3d):
    """The stiffness operator in space."""

    dim = 3


Stiffness.members = (Stiffness1d, Stiffness2d, Stiffness3d)


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

    Parameters
    ----------
    x : torch.Tensor
        Values at the unknowns.
    ends : (str, str)
        Past a Dirichlet end there is zero, past a natural one the end's own value, joined ends go on.
    axis : int
        Which axis.

    Returns
    -------
    torch.Tensor
        Of the shape of ``x``.
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
