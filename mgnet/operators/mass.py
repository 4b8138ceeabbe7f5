"""The mass matrix of a box: what values at the nodes weigh, axis by axis."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..core.arrays import array, known_values, sent
from .axes import overlap
from .boxes import Box
from .contract import Operator
from .interpolation import HatProlongation

__all__ = ["Mass"]


class Mass(Operator):
    """The mass operator of a box of any cells, ∫ u φ for each hat φ: :eq:`mass` along each axis in turn.

    It has no numbers but the widths, and is applied in the precision and on the device of its argument.

    Parameters
    ----------
    box : Box
        The cells and their ends; the Robin data of its axes are not used.
    lumped : bool, default False
        Whether u counts at the nodes only, :eq:`mass-lumped`: then the matrix is a diagonal.
    factor : float, default 1.0
        What all of it is multiplied with.
    **like
        Precision and device of its matrix and its diagonal; float64 on the CPU by default.
    """

    singular = False
    smooth = True

    def __init__(self, box: Box, lumped: bool = False, factor: float = 1.0, **like: Any) -> None:
        self.box, self.lumped, self.factor = box, lumped, factor
        self._like = {"dtype": torch.float64, "device": torch.device("cpu"), **like}

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of its matrix, as keywords."""
        return self._like

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(..., *nodes)``."""
        for axis, place in zip(self.box.axes, self.box.places, strict=True):
            widths = sent(torch.from_numpy(axis.widths), u.device, u.dtype)
            here = widths / (2 if self.lumped else 3)
            y = u * _along(overlap(here, here, -1), place)
            if not self.lumped:
                sixth, n = _along(widths / 6, place), axis.cells
                y.narrow(place, 1, n).addcmul_(sixth, u.narrow(place, 0, n))
                y.narrow(place, 0, n).addcmul_(sixth, u.narrow(place, 1, n))
            u = y
        return u if self.factor == 1 else self.factor * u

    def __call__(self, u: Any) -> Any:
        """Return the load of the unknowns that belongs to a function.

        Parameters
        ----------
        u : array, shape ``(..., *unknowns)`` or ``(..., *nodes)``
            Its values at the unknowns, those at Dirichlet nodes being zero, or at all nodes, as ``u`` of a
            :class:`mgnet.Solution`. NumPy or torch; derivatives can be taken.

        Returns
        -------
        array, shape ``(..., *unknowns)``
            In the kind and the precision of ``u``.
        """
        nodes, known = tuple(n + 1 for n in self.box.cells), (torch.float32, torch.float64)
        ready = isinstance(u, Tensor) and u.dtype in known and u.shape[-self.box.dim :] == self.box.shape
        x = u if ready else array("u", u, (self.box.shape, nodes), "one value per unknown, or per node")
        whole = x.shape[x.ndim - self.box.dim :] == nodes
        b = self.box.loads(self.at_nodes(x if whole else self.box.nodes(x)))
        return b if isinstance(u, Tensor) else known_values(b)

    def diagonal(self) -> Tensor:
        """Return the diagonal of the matrix, shape ``(*unknowns)``."""
        axes = self.box.axes
        each = [axis.hat_integrals() if self.lumped else axis.diagonals()[1] for axis in axes]
        return sent(torch.from_numpy(self.factor * reduce(np.multiply.outer, each)), **self.like)

    def to_sparse(self) -> sp.csc_array:
        """Return the matrix in SciPy's form."""
        axes = self.box.axes
        each = [sp.diags_array(axis.hat_integrals()) if self.lumped else axis.matrices()[1] for axis in axes]
        return sp.csc_array(self.factor * reduce(sp.kron, each))

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ M: the largest of those of a cell."""
        return 1.0 if self.lumped else 1.5**self.box.dim

    def coarsen(self) -> tuple[Mass, HatProlongation] | None:
        """Return the operator of the next coarser box, and P; lumped, it is no more than close to R M P."""
        chosen = self.box.coarsening()
        if not any(chosen):
            return None
        coarse = Mass(self.box.coarse(chosen), self.lumped, self.factor, **self.like)
        return coarse, HatProlongation(self.box, chosen, **self.like)

    def scaled(self, factor: float, dtype: torch.dtype) -> Mass:
        """Return a multiple of the operator in another precision."""
        return Mass(self.box, self.lumped, factor * self.factor, **{**self.like, "dtype": dtype})


def _along(values: Tensor, place: int) -> Tensor:
    """Let values stand along an axis, counted from the end."""
    return values.reshape(-1, *[1] * (-1 - place))
