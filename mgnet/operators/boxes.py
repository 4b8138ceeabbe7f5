"""A box of cells, a product of axes: its unknowns among the nodes, what lies on its sides, coarser boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import sent
from .axes import Axis

__all__ = ["Box", "three"]

# An axis is coarsened as long as its cells are no wider than the narrowest by this factor: point smoothers
# do not see errors that vary along the wide side of a cell only.
WIDEST = math.sqrt(2)


class Box:
    """A box of cells: a product of axes, which are the last axes of any tensor.

    Parameters
    ----------
    axes : sequence of Axis
        One for each dimension.

    Attributes
    ----------
    cells, shape, ends : tuple
        Number of cells, number of unknowns, and what holds at the two ends, along each axis.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.dim = len(self.axes)
        self.places = tuple(range(-self.dim, 0))
        self.cells = tuple(axis.cells for axis in self.axes)
        self.shape = tuple(axis.unknowns for axis in self.axes)
        self.ends = tuple(axis.ends for axis in self.axes)

    def nodes(self, x: Tensor, values: Tensor | None = None) -> Tensor:
        """Return a function's values at all nodes from those at the unknowns.

        ``values`` are those at the Dirichlet nodes, and zeros, shape ``(..., *nodes)``; all zero by default.
        """
        for axis, place in zip(self.axes, self.places, strict=True):
            x = axis.chain.nodes(x, axis=place)
        return x if values is None else x + values

    def unknowns(self, u: Tensor) -> Tensor:
        """Return the values at the unknowns among those at all nodes, a view."""
        for axis, place in zip(self.axes, self.places, strict=True):
            u = axis.chain.unknowns(u, place)
        return u

    def loads(self, y: Tensor) -> Tensor:
        """Return the loads of the unknowns from those of all nodes: the transpose of ``nodes``."""
        for axis, place in zip(self.axes, self.places, strict=True):
            y = axis.chain.loads(y, place)
        return y

    def spread(self, b: Tensor) -> Tensor:
        """Return loads of all nodes from those of the unknowns: the transpose of ``unknowns``."""
        for axis, place in zip(self.axes, self.places, strict=True):
            b = axis.chain.spread(b, place)
        return b

    def fill_sides(self, u: Tensor) -> None:
        """Write the values at nodes that are no unknowns: those of joined ends, and zero at Dirichlet ones.

        u has all nodes; the values at the unknowns are there already.
        """
        # The sides in turn: joined ones repeat what is there by then, edges included.
        for axis, place in zip(self.axes, self.places, strict=True):
            if axis.periodic:
                u.select(place, -1).copy_(u.select(place, 0))
            for node, end in zip((0, -1), axis.ends, strict=True):
                if end == "dirichlet":
                    u.select(place, node).zero_()

    def blend(self, values: Tensor) -> Tensor:
        """Continue values at the Dirichlet nodes into the box, linearly from side to side, :eq:`blending`.

        Values at other nodes do not count. The function is smooth where the values are, and has them.
        """
        rest, total = values.clone(), torch.zeros_like(values)
        for axis, place in zip(self.axes, self.places, strict=True):
            held = [
                rest.narrow(place, node, 1)
                for node, end in zip((0, axis.cells), axis.ends, strict=True)
                if end == "dirichlet"
            ]
            if held:
                t = sent(torch.from_numpy(axis.places), values.device, values.dtype)
                part = torch.lerp(held[0], held[-1], t.reshape(-1, *[1] * (-1 - place)))
                total += part  # eq: blending
                rest -= part
        return total

    def matrix(self, a: float, c: float, lumped: bool = False) -> scipy.sparse.csc_array:
        """Return the matrix of −∇·(a ∇u) + c u in SciPy's form, :eq:`tensor-stiffness`.

        Lumped, c u counts at the nodes only.
        """
        stiff, masses = zip(*(axis.matrices() for axis in self.axes), strict=True)
        kron, diagonal = scipy.sparse.kron, scipy.sparse.diags_array
        reacting = [diagonal(axis.hat_integrals()) for axis in self.axes] if lumped else masses
        return scipy.sparse.csc_array(a * _sum_of_products(kron, stiff, masses) + c * reduce(kron, reacting))

    def diagonal(self, a: float, c: float, lumped: bool = False) -> np.ndarray:
        """Return its diagonal, shape ``(*unknowns)``, or 1 along each axis where all entries are alike."""
        stiff, masses = zip(*(axis.diagonals() for axis in self.axes), strict=True)
        if all(d.size and (d == d[0]).all() for d in (*stiff, *masses)):
            stiff, masses = ([d[:1] for d in parts] for parts in (stiff, masses))
        reacting = masses
        if lumped:
            reacting = [axis.hat_integrals()[: len(m)] for axis, m in zip(self.axes, masses, strict=True)]
        product = np.multiply.outer
        return a * _sum_of_products(product, stiff, masses) + c * reduce(product, reacting)

    def hat_integrals(self, like: Tensor) -> Tensor:
        """Return the integral of each unknown's hat, in the precision of another tensor."""
        integrals = (torch.from_numpy(axis.hat_integrals()) for axis in self.axes)
        weights = [sent(weight, like.device, like.dtype) for weight in integrals]
        return reduce(torch.multiply, torch.meshgrid(*weights, indexing="ij"))

    def coarsening(self) -> tuple[bool, ...]:
        """Say which axes the next coarser box coarsens: those whose cells are narrow; none at the end."""
        return self._narrow

    @cached_property
    def _narrow(self) -> tuple[bool, ...]:
        widths = [axis.h for axis, may in zip(self.axes, self._may, strict=True) if may]
        narrow = WIDEST * min(widths, default=0.0)
        return tuple(may and axis.h <= narrow for axis, may in zip(self.axes, self._may, strict=True))

    @cached_property
    def _may(self) -> tuple[bool, ...]:
        return tuple(axis.coarsens for axis in self.axes)

    @cached_property
    def thin(self) -> tuple[bool, ...]:
        """Which axes are coarsened no more, although their cells are narrower than those that are."""
        widths = [axis.h for axis, chosen in zip(self.axes, self._narrow, strict=True) if chosen]
        least = min(widths, default=0.0) / WIDEST
        pairs = zip(self.axes, self._may, strict=True)
        return tuple(not may and axis.h < least and axis.unknowns > 1 for axis, may in pairs)

    @cached_property
    def flat(self) -> bool:
        """Whether this box or a coarser one has thin axes."""
        return any(self._narrow) and (any(self.thin) or self._coarser.flat)

    @cached_property
    def _coarser(self) -> Box:
        pairs = zip(self.axes, self._narrow, strict=True)
        return Box([axis.coarse if chosen else axis for axis, chosen in pairs])

    def coarse(self, which: Sequence[bool]) -> Box:
        """Return the box that is coarser along some axes."""
        if tuple(which) == self._narrow:
            return self._coarser
        return Box([axis.coarse if chosen else axis for axis, chosen in zip(self.axes, which, strict=True)])

    def stretched(self, ties: Sequence[float]) -> Box:
        """Return the box whose equal cells would have such sums of ties between neighbours along the axes.

        Where layers are finer than cells an operator is like one of other widths, and is coarsened like that.
        """
        if not all(0 < tie < math.inf for tie in ties):
            return self
        widths = [1 / math.sqrt(tie) for tie in ties]
        pairs = list(zip(self.axes, widths, strict=True))
        mean = math.exp(sum(math.log(axis.h) - math.log(width) for axis, width in pairs) / self.dim)
        return Box([axis.stretched(mean * width / axis.h) for axis, width in pairs])


def _sum_of_products(product: Any, stiff: Sequence[Any], masses: Sequence[Any]) -> Any:
    """Give K⊗M⊗M + M⊗K⊗M + M⊗M⊗K."""
    return sum(reduce(product, [*masses[:i], K, *masses[i + 1 :]]) for i, K in enumerate(stiff))


def three(values: Sequence[Any], missing: Any) -> tuple[Any, ...]:
    """Return three for three axes, as the compiled loops count them, where a problem has fewer."""
    if len(values) == 1:
        return (missing, missing, *values)
    return (values[0], missing, values[1]) if len(values) == 2 else tuple(values)
