"""What every operator has, and all that those who use one ask of it.

A map is called, has an adjoint ``T`` and is a matrix, ``to_dense``. What is solved with is more than that: an
operator from V to V′ on the cells of a box, which knows its axes, its diagonal and a bound of D⁻¹ A, what it
makes of constants, and the operator of the next coarser box.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import scipy
import torch
from torch import Tensor, nn

from ..core.arrays import sent
from . import frames, loops
from .boxes import Box
from .fused import Fused
from .kernels import dense
from .launched import Numbers

__all__ = ["LOST", "Interpolation", "Map", "Operator", "Transpose", "fused", "lost_in_entries", "residual"]

# How many times the rounding of all diagonal entries the energy of constants may be, and yet be lost in them.
LOST = 2**10

# Whatever takes a vector and gives one: all that cycles and smoothers ask of A.
Map = Callable[[Tensor], Tensor]


class Interpolation:
    """A map V of the coarse box → V of the fine one, whose transpose restricts; both share their numbers.

    Attributes
    ----------
    box, coarse : Box
        The fine box and the coarse one.
    like : dict
        Precision and device, as keywords.
    """

    box: Box
    coarse: Box
    like: dict[str, Any]

    def __call__(self, e: Tensor) -> Tensor:
        """Interpolate values at the coarse unknowns, shape ``(N, 1, *coarse unknowns)``."""
        raise NotImplementedError

    def restrict(self, b: Tensor) -> Tensor:
        """Restrict loads of the fine unknowns, shape ``(N, 1, *unknowns)``."""
        raise NotImplementedError

    @property
    def T(self) -> Transpose:
        """The adjoint: restriction with the same weights."""
        return Transpose(self)

    def to_dense(self) -> Tensor:
        """Return the map as a matrix, shape (fine unknowns, coarse unknowns)."""
        return dense(self, self.coarse.shape, self.like)


class Transpose:
    """The restriction that belongs to an interpolation; the two share their numbers.

    Parameters
    ----------
    T : Interpolation
        The interpolation.
    """

    def __init__(self, T: Interpolation) -> None:
        self.T = T

    def __call__(self, b: Tensor) -> Tensor:
        """Restrict loads of the fine unknowns, shape ``(N, 1, *unknowns)``."""
        return self.T.restrict(b)

    def to_dense(self) -> Tensor:
        """Return the map as a matrix, shape (coarse unknowns, fine unknowns)."""
        return dense(self, self.T.box.shape, self.T.like)


class Operator:
    """A symmetric operator V → V′ on the cells of a box; what most have in common is written here.

    Attributes
    ----------
    box : Box
        Its cells, their ends, and so its unknowns.
    """

    box: Box
    shared = False  # whether other processes have parts of it
    gaps = False  # whether there are unknowns without an equation, whose entries are all zero
    uneven = False  # whether cells are flat here and tall there, so that only whole lines can be relaxed

    def kept(self, x: Tensor) -> Tensor:
        """Return values or loads of the unknowns with zeros at those that have no equation.

        Parameters
        ----------
        x : torch.Tensor, shape ``(..., *unknowns)``
            The values or loads.
        """
        return x

    @property
    def entire(self) -> Box:
        """The box that its own is a part of: itself."""
        return self.box

    def total(self, x: Tensor) -> Tensor:
        """Return the sum over the unknowns of each row, shape ``(..., 1, ..., 1)``.

        Parameters
        ----------
        x : torch.Tensor, shape ``(..., *unknowns)``
            Values or loads.
        """
        return x.sum(self.box.places, keepdim=True)

    def noise(self) -> Tensor:
        """Return random values at the unknowns, shape ``(1, 1, *unknowns)``, always the same."""
        generator = torch.Generator("cpu").manual_seed(0)
        like = self.like
        e = torch.randn((1, 1, *self.box.shape), generator=generator, dtype=like["dtype"], device="cpu")
        return sent(e, like["device"])

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device, as keywords."""
        first = self.numbers[0]
        return {"dtype": first.dtype, "device": first.device}

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        raise NotImplementedError

    @property
    def smooth(self) -> bool:
        """Whether neighbouring couplings are alike, so that point smoothers and hats do well."""
        return False

    @property
    def contrast(self) -> float:
        """How many times stronger one coupling is than another; 1 where that costs no digits."""
        return 1.0

    @property
    def extremes(self) -> tuple[float, float]:
        """Two couplings whose quotient the contrast is, the strongest first."""
        return self.contrast, 1.0

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ A."""
        raise NotImplementedError

    def diagonal(self) -> Tensor:
        """Return the diagonal, shape ``(*unknowns)``, or 1 along each axis where all entries are alike."""
        raise NotImplementedError

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(N, 1, *nodes)``."""
        raise NotImplementedError

    @property
    def frame(self) -> Tensor:
        """The entries between nodes as :mod:`mgnet.kernels.entries` has them, but without joined ends.

        Those who do not know them find them by applying the operator to every third node at a time.
        """
        frame, nodes = frames.frame(self.box, self.like), [n + 1 for n in self.box.cells]
        for firsts in itertools.product(range(3), repeat=self.box.dim):
            here: tuple[Any, ...] = tuple(slice(first, None, 3) for first in firsts)
            e = torch.zeros((1, 1, *nodes), **self.like)
            e[(..., *here)] = 1
            y = nn.functional.pad(self.at_nodes(e)[0, 0], (1, 1) * self.box.dim)
            for field, step in zip(frames.inside(frame, self.box), frames.steps(self.box.dim), strict=True):
                found = y
                for place, (s, n) in enumerate(zip(step, nodes, strict=True)):
                    found = found.narrow(place, 1 + s, n)
                field[here] = found[here]
        return frame

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator to values at the unknowns, shape ``(N, 1, *unknowns)``."""
        return self.box.loads(self.at_nodes(self.box.nodes(x)))

    def coarsen(self) -> tuple[Operator, Any] | None:
        """Return the operator of the next coarser box and the interpolation from it; None at the coarsest."""
        raise NotImplementedError

    @property
    def cubic(self) -> Map | None:
        """A more exact interpolation from the next coarser box, for first guesses, if there is one."""
        return None

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        raise NotImplementedError

    def scaled(self, factor: float, dtype: torch.dtype) -> Operator:
        """Return a multiple of the operator in another precision, for corrections."""
        raise NotImplementedError

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The tensors that derivatives can be taken by."""
        return ()

    def replaced(self, *numbers: Tensor) -> Self:
        """Return the operator with other numbers.

        Parameters
        ----------
        *numbers : torch.Tensor
            As many as it has.
        """
        return self

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers.

        Parameters
        ----------
        v, u : torch.Tensor, shape ``(..., *unknowns)``
            Values at the unknowns.
        """
        return ()

    @property
    def grounded(self) -> Operator:
        """An operator that has an inverse where this one has one up to constants; itself where it has one."""
        return self

    @property
    def T(self) -> Self:
        """The adjoint: the operator itself, which is symmetric."""
        return self

    def to_dense(self) -> Tensor:
        """Return the operator as a matrix, shape (unknowns, unknowns), the last axis fastest."""
        return dense(self, self.box.shape, self.like)

    @property
    def passes(self) -> Fused | None:
        """The operator as compiled loops have it, if they do."""
        dtype, (known, found) = self.like["dtype"], self.__dict__.get("_passes", (None, None))
        if known != dtype:  # a module may have been sent to another one
            arrays = self.compiled() if hasattr(self, "box") else None
            found = None if arrays is None else Fused(self, arrays)
            self.__dict__["_passes"] = dtype, found
        return found

    def compiled(self) -> tuple[int, Any] | None:
        """Return the kind that compiled loops have of it and its arrays, if they have one."""
        return None

    def on_device(self) -> Numbers | None:
        """Return its numbers as the passes on a device have them, if these can take it."""
        return None

    @cached_property
    def hold(self) -> float:
        """The energy of constants: what c and Robin's alpha hold them by; infinite where a side is given."""
        if any("dirichlet" in ends for ends in self.box.ends):
            return math.inf
        return float(self(torch.ones((1, 1, *self.box.shape), **self.like)).sum())

    @cached_property
    def loose(self) -> bool:
        """Whether constants are mapped to zero, or to so little that entries may lose it to rounding."""
        if self.singular or self.hold == math.inf:
            return self.singular
        diagonal = self.diagonal().expand(self.box.shape)
        return lost_in_entries(self.hold, diagonal.sum(), self.like["dtype"])


def fused(A: Any, *vectors: Tensor | None) -> Fused | None:
    """Return an operator as compiled loops have it, where they may work on vectors, ``(N, 1, *unknowns)``."""
    if not loops.apply_to(*getattr(A, "numbers", ()), *vectors):
        return None
    found: Fused | None = getattr(A, "passes", None)
    return found


def residual(A: Map, x: Tensor, b: Tensor) -> Tensor:
    """Return b − A x, in memory of its own; all are ``(N, 1, *unknowns)``."""
    own = getattr(A, "residual", None)  # of what processes share
    if own is not None:
        found: Tensor = own(x, b)
        return found
    passes = fused(A, x, b)
    if passes and x.dtype == b.dtype:
        out = torch.empty_like(b, memory_format=torch.contiguous_format)
        passes.residual(x, b, out=out)
        return out
    return b - A(x)


def lost_in_entries(energy: Any, diagonal: Tensor, dtype: torch.dtype) -> bool:
    """Say whether an energy of constants is so small that entries of a precision may lose it.

    The energy is the sum of all entries, from differences, and the diagonal is summed. It may be lost where
    the rounding of that sum is more than a thousandth of it.
    """
    return bool(energy <= LOST * torch.finfo(dtype).eps * diagonal)
