"""The mass matrix of a box: what values at the nodes weigh, axis by axis."""

from __future__ import annotations

import itertools
import math
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import array, known_values, sent
from .axes import overlap
from .boxes import Box
from .contract import Operator
from .entries import at_first, corner_of
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
    cells : torch.Tensor of bool, shape ``(*cells)``, optional
        The cells that count, all by default. Values at nodes without one do not count, and may be NaN.
    **like
        Precision and device of its matrix and its diagonal; float64 on the CPU by default.
    """

    singular = False
    smooth = True

    def __init__(
        self, box: Box, lumped: bool = False, factor: float = 1.0, cells: Tensor | None = None, **like: Any
    ) -> None:
        self.box, self.lumped, self.factor, self.cells = box, lumped, factor, cells
        self._like = {"dtype": torch.float64, "device": torch.device("cpu"), **like}

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of its matrix, as keywords."""
        return self._like

    def at_nodes(self, u: Tensor) -> Tensor:
        """Return the loads of all nodes that belong to values at all nodes, shape ``(..., *nodes)``."""
        if self.cells is not None:
            return self._over_cells(u)
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

    def _over_cells(self, u: Tensor) -> Tensor:
        """Add up what the cells that count give to their corners."""
        which, weights, element = (sent(x, u.device) for x in self._by_cells)
        at_corners = torch.stack([u[corner_of(corner, self.box.cells)] for corner in self._corners], -1)
        at_corners = torch.where(which[..., None], at_corners, 0.0)
        y = torch.zeros_like(u)
        loads = (weights.to(u.dtype)[..., None] * (at_corners @ element.to(u.dtype))).unbind(-1)
        for corner, load in zip(self._corners, loads, strict=True):
            y = y + at_first(load, [1 - 2 * high for high in corner])
        return y

    @property
    def _corners(self) -> list[tuple[int, ...]]:
        return list(itertools.product((0, 1), repeat=self.box.dim))

    @cached_property
    def _by_cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """The cells that count, their weights, which are zero elsewhere, and the matrix of a unit cell."""
        assert self.cells is not None
        volumes = reduce(np.multiply.outer, [axis.widths for axis in self.box.axes])
        line = np.eye(2) / 2 if self.lumped else np.array([[2.0, 1.0], [1.0, 2.0]]) / 6
        kron: Any = np.kron
        element = reduce(kron, [line] * self.box.dim)
        which = self.cells.cpu()
        return which, which * torch.from_numpy(self.factor * volumes), torch.from_numpy(element)

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
        if self.cells is not None:
            whole = torch.from_numpy(self.to_sparse().diagonal().reshape(self.box.shape))
            return sent(whole, **self.like)
        axes = self.box.axes
        each = [axis.hat_integrals() if self.lumped else axis.diagonals()[1] for axis in axes]
        return sent(torch.from_numpy(self.factor * reduce(np.multiply.outer, each)), **self.like)

    def to_sparse(self) -> scipy.sparse.csc_array:
        """Return the matrix in SciPy's form."""
        if self.cells is not None:
            return self._sparse_over_cells()
        axes = self.box.axes
        diagonal = scipy.sparse.diags_array
        each = [diagonal(axis.hat_integrals()) if self.lumped else axis.matrices()[1] for axis in axes]
        return scipy.sparse.csc_array(self.factor * reduce(scipy.sparse.kron, each))

    def _sparse_over_cells(self) -> scipy.sparse.csc_array:
        """Give the matrix, one pair of corners of all cells after the other."""
        _, weights, element = (x.numpy() for x in self._by_cells)
        size = math.prod(self.box.shape)
        # The unknown of each node; none is -1.
        unknowns = self.box.nodes(torch.arange(1, size + 1, device="cpu").reshape(self.box.shape)).numpy() - 1
        at = [unknowns[corner_of(corner, self.box.cells)].ravel() for corner in self._corners]
        whole = scipy.sparse.csc_array((size, size))
        for (i, rows), (j, columns) in itertools.product(enumerate(at), repeat=2):
            both = (rows >= 0) & (columns >= 0)
            entries = (weights.ravel() * element[i, j])[both]
            triplets = entries, (rows[both], columns[both])
            whole += scipy.sparse.coo_array(triplets, shape=(size, size)).tocsc()
        return whole

    @property
    def largest(self) -> float:
        """A bound of the eigenvalues of D⁻¹ M: the largest of those of a cell."""
        return 1.0 if self.lumped else 1.5**self.box.dim

    def coarsen(self) -> tuple[Mass, HatProlongation] | None:
        """Return the operator of the next coarser box, and P; lumped, it is no more than close to R M P.

        None where cells are missing: coarser ones would be there in part.
        """
        chosen = self.box.coarsening()
        if self.cells is not None or not any(chosen):
            return None
        coarse = Mass(self.box.coarse(chosen), self.lumped, self.factor, None, **self.like)
        return coarse, HatProlongation(self.box, chosen, **self.like)

    def scaled(self, factor: float, dtype: torch.dtype) -> Mass:
        """Return a multiple of the operator in another precision."""
        like = {**self.like, "dtype": dtype}
        return Mass(self.box, self.lumped, factor * self.factor, self.cells, **like)


def _along(values: Tensor, place: int) -> Tensor:
    """Let values stand along an axis, counted from the end."""
    return values.reshape(-1, *[1] * (-1 - place))
