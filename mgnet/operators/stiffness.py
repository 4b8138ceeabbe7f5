"""The stiffness operator where all cells are alike: a convolution, on a line, in the plane, in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from .. import stencils
from ..core.arrays import sent
from ..core.checks import number, positive
from . import frames
from .boxes import Box, three
from .contract import Map, Operator, fused
from .convolutions import Prolongation, Stencil
from .differences import Differences
from .interpolation import HatProlongation
from .kernels import dense
from .launched import Numbers
from .margins import Boundary
from .varying import VaryingStiffness

__all__ = ["Stiffness"]


class Stiffness(Stencil, Operator):
    """The stiffness operator −∇·(a ∇u) + c u on a uniform grid, :eq:`stiffness`, :eq:`tensor-stiffness`.

    It is applied by differences, :eq:`difference-form`: that of two close numbers is exact in floating point,
    hence the residual of a fine grid keeps its digits, and a small row sum is not lost beside a large
    conductance.

    Parameters
    ----------
    h : float, default 1.0
        Cell width; one for each axis, or one for all, where ``dim`` is 2 or 3.
    a, c : float
        Coefficients, 1 and 0 by default.
    boundary : str, (str, str), or one (str, str) for each axis, default "dirichlet"
        As for :class:`mgnet.Stencil`; a natural end adds ``robin`` to its diagonal.
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

    h: float | tuple[float, ...]
    robin: tuple[Any, ...]
    a: float
    c: float
    lumped: bool
    form: Differences
    box: Box  # of an operator that was made by ``of`` or ``on``; a bare convolution fits any
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
        given = tuple(h) if isinstance(h, tuple | list) else (h,) * self.dim
        if len(given) != self.dim:
            raise ValueError(f"h: got {h!r}; accepted: a number, or {self.dim} of them")
        widths = tuple(positive("h", width) for width in given)
        for name, coefficient in (("a", a), ("c", c)):
            number(name, coefficient)
        with np.errstate(over="ignore"):  # looked for in the next line
            kernel = stencils.stiffness(widths, a, c, lumped)
        _require_range(kernel, a, c, h, dtype)
        self._convolution(kernel, 1, boundary, False, {"dtype": dtype, "device": device})
        alphas = (robin,) * self.dim if isinstance(robin[0], int | float) else tuple(robin)
        line = self.dim == 1
        sizes = {"h": widths[0] if line else widths, "robin": alphas[0] if line else alphas}
        form = Differences(widths, a, c, self.pairs, alphas, (None,) * self.dim, lumped)
        # Not one by one: torch looks at each attribute for parameters, which takes time.
        self.__dict__.update(sizes, a=a, c=c, lumped=lumped, form=form)

    @classmethod
    def of(
        cls,
        box: Box,
        a: float,
        c: float,
        *,
        robin: Any = None,
        lumped: bool = False,
        **like: Any,
    ) -> Stiffness:
        """Return the operator of a box.

        Parameters
        ----------
        box : Box
            The cells and their ends.
        a, c : float
            Coefficients.
        robin : sequence of (float, float), optional
            Robin's alpha at the ends of each axis; a times those of the box by default.
        lumped : bool, default False
            As for :class:`.Differences`.
        **like
            Precision and device.

        Returns
        -------
        Stiffness
            For the box's number of dimensions.
        """
        h = tuple(axis.h for axis in box.axes)
        if robin is None:
            robin = [(a * axis.robin[0], a * axis.robin[1]) for axis in box.axes]
        made = Stiffness(h, a, c, box.ends, robin=robin, lumped=lumped, dim=box.dim, **like)
        form = replace(made.form, last=tuple(axis.last for axis in box.axes))
        made.__dict__.update(form=form, box=box)
        return made

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
        passes = fused(self, x)
        return passes(x) if passes else self.form(x)

    def diagonal(self, shape: int | Sequence[int] | None = None) -> Tensor:
        """Return the diagonal of the matrix.

        Parameters
        ----------
        shape : int or sequence of int, optional
            Number of unknowns along each axis; its own by default.

        Returns
        -------
        torch.Tensor, shape ``(*shape)``
            In the precision of the kernel. By default, where all entries are alike, of shape (1, ..., 1).
        """
        numbers = self._box(shape).diagonal(self.form.a, self.form.c, self.form.lumped)
        diagonal = sent(torch.from_numpy(numbers), **self.like)
        return diagonal if shape is None else diagonal.expand(_each(shape))

    def to_dense(self, shape: int | Sequence[int] | None = None) -> Tensor:
        """Return the operator as a matrix, shape (unknowns, unknowns), the last axis fastest.

        Parameters
        ----------
        shape : int or sequence of int, optional
            Number of unknowns along each axis; its own by default.
        """
        return dense(self, self._box(None).shape if shape is None else _each(shape), self.like)

    def coarse(self) -> Stiffness:
        """Return the operator of cells twice as wide along every axis; it equals R A P, :eq:`galerkin`.

        Where c is lumped it is lumped there too, and no more than close to R A P.
        """
        form = self.form
        kept: dict[str, Any] = {"robin": form.robin, "lumped": form.lumped, "dim": self.dim}
        return Stiffness([2 * h for h in form.h], form.a, form.c, self.pairs, **kept, **self.like)

    def on(self, cells: int | Sequence[int]) -> Stiffness:
        """Return the same operator for a number of cells along each axis, which it then knows.

        Parameters
        ----------
        cells : int or sequence of int
            That number.
        """
        return self._on(self.form.on(_each(cells)))

    def _on(self, box: Box, **changed: Any) -> Stiffness:
        form = self.form
        kept = {"a": form.a, "c": form.c, "robin": form.robin, "lumped": form.lumped}
        return Stiffness.of(box, **{**kept, **self.like, **changed})

    def _box(self, shape: int | Sequence[int] | None) -> Box:
        """Give its own box, or that of so many unknowns."""
        if shape is not None:
            return self.form.box(_each(shape))
        if not hasattr(self, "box"):
            raise ValueError("shape: got None; accepted: the unknowns along each axis, since it fits any")
        return self.box

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes.

        Parameters
        ----------
        u : torch.Tensor, shape ``(N, 1, *nodes)``
            The values.
        """
        return replace(self.form, ends=(("natural", "natural"),) * self.dim)(u)

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        held = any("dirichlet" in ends for ends in self.form.ends)
        return not held and not self.form.c and not any(map(any, self.form.robin))

    @property
    def contrast(self) -> float:
        """How many times stronger the coupling along one axis is than along another."""
        ratio = max(self.form.h) / min(self.form.h)
        return ratio * ratio  # a power that is out of range is an error, a product infinite

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A: the largest of those of all kinds of cells; 2 on a line."""
        return self.form.largest

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        return self.box.matrix(self.form.a, self.form.c, self.form.lumped)

    @property
    def frame(self) -> Tensor:
        """The entries between nodes in one array, which is not kept."""
        form = replace(self.form, ends=(("natural", "natural"),) * self.dim)
        axes, found = form.couplings(form.on(self.box.cells)), frames.frame(self.box, self.like)
        for step, field in zip(frames.steps(self.dim), frames.inside(found, self.box), strict=True):
            parts = [_band(axis, s) for axis, s in zip(axes, step, strict=True)]
            # K⊗M⊗M + M⊗K⊗M + M⊗M⊗K, axis by axis.
            stiff, mass = parts[0]
            for K, M in parts[1:]:
                stiff, mass = (
                    np.multiply.outer(stiff, M) + np.multiply.outer(mass, K),
                    np.multiply.outer(mass, M),
                )
            if form.lumped and not any(step):
                stiff = stiff + form.c * reduce(np.multiply.outer, [axis[3, :-1] for axis in axes])
            field.copy_(torch.from_numpy(stiff))
        return found

    def compiled(self) -> tuple[int, Any]:
        """Return the matrices of all axes as :mod:`mgnet.kernels.tensor` has them."""
        dtype = self.weight.numpy().dtype
        trivial = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        with np.errstate(over="ignore", invalid="ignore"):  # an iteration finds what is out of range
            axes = three(self.form.couplings(self.box), trivial)
            lump = dtype.type(self.form.c if self.form.lumped else 0.0)
            axes = tuple(_with_kinds(x.astype(dtype)) for x in axes)
            return 0, ((axes, lump), _even(axes[-1], self.box.axes[-1].periodic))

    def on_device(self) -> Numbers | None:
        """Return the matrices of all axes as :mod:`mgnet.kernels.device` has them."""
        trivial, form = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), self.form
        axes = [torch.from_numpy(axis) for axis in three(form.couplings(self.box), trivial)]
        lump = torch.full((1,), form.c if form.lumped else 0.0, dtype=torch.float64, device="cpu")
        whole = sent(torch.cat([*(axis.flatten() for axis in axes), lump]), **self.like)
        *found, c = whole.split([*(axis.numel() for axis in axes), 1])
        return Numbers([x.view(axis.shape) for x, axis in zip(found, axes, strict=True)], c)

    def scaled(self, factor: float, dtype: torch.dtype) -> Stiffness:
        """Return a multiple of the operator in another precision, for corrections.

        Parameters
        ----------
        factor : float
            The multiple.
        dtype : torch.dtype
            The precision.
        """
        form = self.form
        robin = [(factor * low, factor * high) for low, high in form.robin]
        return self._on(self.box, a=factor * form.a, c=factor * form.c, robin=robin, dtype=dtype)

    def coarsen(self) -> tuple[Operator, Any] | None:
        """Return the operator of the next coarser box, which is R A P, and the prolongation from it.

        Where c is lumped it is lumped there too, and no more than close to R A P. The prolongation is a
        convolution where all cells come in pairs on every axis. On a line the odd last cell is kept, beside
        others that are twice as wide: cells differ from there on.
        """
        if self.dim == 1 and self.box.cells[0] % 2:
            return self.varying().coarsen()
        chosen = self.box.coarsening()
        return self.coarsened(chosen) if any(chosen) else None

    def coarsened(self, chosen: Sequence[bool]) -> tuple[Stiffness, Any]:
        """Return the same for the box that is coarser along some axes.

        Parameters
        ----------
        chosen : sequence of bool
            Which.
        """
        if all(chosen) and all(axis.even for axis in self.box.axes):
            P: Any = Prolongation(boundary=self.box.ends, dim=self.dim, **self.like)
        else:
            P = HatProlongation(self.box, chosen, **self.like)
        return self._on(self.box.coarse(chosen)), P

    @property
    def cubic(self) -> Map | None:
        """Interpolation by cubic polynomials from the next coarser box; on a line linear is all there is."""
        return HatProlongation(self.box, self.box.coarsening()).cubic if self.dim > 1 else None

    def varying(self, cells: int | None = None) -> VaryingStiffness:
        """Return the same operator of a line with its numbers spelled out, one cell after the other.

        Parameters
        ----------
        cells : int, optional
            Number of cells; its own by default.

        Returns
        -------
        mgnet.operators.varying.VaryingStiffness
            The operator in the form of :eq:`varying`.
        """
        cells = self.box.cells[0] if cells is None else cells
        k, s = self.form.cells(cells, **self.like)
        return VaryingStiffness(k, s, self.form.ends[0], self.form.robin[0])

    T = Operator.T  # type: ignore[assignment]


class Stiffness1d(Stiffness, nn.Conv1d):
    """The stiffness operator on a line."""

    dim = 1


class Stiffness2d(Stiffness, nn.Conv2d):
    """The stiffness operator in the plane."""

    dim = 2


class Stiffness3d(Stiffness, nn.Conv3d):
    """The stiffness operator in space."""

    dim = 3


Stiffness.members = (Stiffness1d, Stiffness2d, Stiffness3d)


def _band(axis: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the entries between each node of an axis and its neighbour at a step, stiffness and mass."""
    k, s, m, w = axis
    if step:
        ties = np.stack((-k, m))
        stiff, mass = ties[:, 1:] if step > 0 else ties[:, :-1]
    else:
        stiff, mass = s[:-1] + k[:-1] + k[1:], w[:-1] - m[:-1] - m[1:]
    return stiff, mass


def _with_kinds(axis: np.ndarray) -> np.ndarray:
    """Add a row that says which unknowns next to each other have the same numbers, as loops have it."""
    k, s, m, w = axis
    numbers = np.stack((k[:-1], k[1:], s[:-1], m[:-1], m[1:], w[:-1]))
    kinds = np.zeros(len(k))
    kinds[1:-1] = (numbers[:, 1:] != numbers[:, :-1]).any(0).cumsum()
    if kinds.max() > 1 / np.finfo(axis.dtype).eps:  # of those so many are not told from one another
        kinds[:] = np.nan
    return np.concatenate((axis, kinds[None].astype(axis.dtype)))


def _even(axis: np.ndarray, joined: bool) -> tuple[np.ndarray, ...]:
    """Give the numbers of an axis that are the same everywhere inside, as loops have them, or else nothing.

    Past an end that is given there are zeros, so that it may have the couplings of those inside.
    """
    couplings, sums = axis[[0, 2], 1:-1], axis[[1, 3], 1:-2]
    if not sums.shape[1] or not all((row == row[0]).all() for row in (*couplings, *sums)):
        return ()
    (k, m), (s, w) = couplings[:, 0], sums[:, 0]
    if joined and any(axis[0, [0, -1]] != k):
        return ()  # nor are the two ends, which are neighbours
    found = [(k, s, m, w, w, 2, 0)]
    for coupling, unknown in ((0, 0), (-1, -2)):
        k_end, m_end, s_end, w_end = *axis[[0, 2], coupling], *axis[[1, 3], unknown]
        if k_end or m_end:
            found.append((k, s_end + (k_end - k), m, w_end - (m_end - m), w_end, 2, 0))
        else:
            found.append((k, s_end, m, w_end, w_end, 1, 0))
    numbers = np.array(found, axis.dtype)
    numbers[0, 6] = (numbers[1:] == numbers[0]).all()
    return (numbers,)


def _each(sizes: int | Sequence[int]) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def _require_range(kernel: np.ndarray, a: float, c: float, h: Any, dtype: torch.dtype) -> None:
    """Refuse coefficients whose entries, or sums of some of them, overflow."""
    if not np.abs(kernel).max() <= torch.finfo(dtype).max / 16:
        raise ValueError(
            f"a, c: got {a!r}, {c!r} in cells of width {h!r}; accepted: numbers whose products with the cells"
            f" {str(dtype).removeprefix('torch.')} holds"
        )
