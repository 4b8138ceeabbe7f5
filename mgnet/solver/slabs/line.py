"""The exact cycle of a line over several processes: each has some of its cells, and they send one message.

Each process eliminates the inner nodes of its cells, :eq:`slab-condensed`. What is left is a chain of one
cell for each process, :eq:`slab-chain`, where the conditions at the ends live; it is so short that all solve
it. Then each has the values at its two ends, and finds its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...multigrid.exact import Condensation
from ...operators import loops
from ...operators.boxes import Box
from ...operators.contract import Operator
from ...operators.differences import Differences
from ...operators.stiffness import Stiffness
from ...operators.varying import VaryingStiffness, eliminate

__all__ = ["Chain", "Halfway", "OwnCells"]


class Halfway(NamedTuple):
    """Loads of which those of the two ends are known, and all that is needed to go on.

    Parameters
    ----------
    ends : numpy.ndarray of float64, shape (rows, 2)
        The loads of the two ends, once all other nodes are eliminated.
    rest : object
        What :meth:`OwnCells.ascend` begins with.
    """

    ends: np.ndarray
    rest: Any


class OwnCells:
    """The cells of one process, whose ends are natural, condensed to one.

    Parameters
    ----------
    A : Operator or Differences
        Their operator, or the form of one whose cells are alike.
    box : Box
        The nodes, all of them unknowns.
    device : torch.device
        Where their loads are.

    Attributes
    ----------
    cell : (float, float, float)
        The conductance of the one cell, and the row sums of its two ends, Robin's alpha included.
    """

    def __init__(self, A: Operator | Differences, box: Box, device: torch.device) -> None:
        condensation = Condensation(A, box)
        self.line = None
        if device.type == "cpu" and loops.apply_to(*condensation.numbers):
            self.line = condensation.line
            k, low, high = self.line.numbers[4:].tolist()
            self.cell = k, low, high
        else:
            self.cell, self.held, self.ties = _elsewhere(A, condensation.cells, device)

    def descend(self, b: Tensor) -> Halfway:
        """Return what the two ends have of loads of shape (rows, nodes), :eq:`slab-condensed`."""
        if self.line is not None:
            (loads,) = loops.arrays(b)
            # NumPy asks for huge pages; touching small ones for the first time costs more than a solve.
            u = np.empty(loads.shape, loads.dtype)
            found = self.line.descend(loads, u, torch.get_num_threads())  # eq: slab-condensed
            return Halfway(found.ends, found)
        inner = b[:, 1:-1].double()
        values = self.held.solve(inner)
        # What holds the ends at zero: the values beside them are sums of loads, nothing is subtracted.
        ends = b[:, [0, -1]].double() + values[:, [1, -2]] * self.ties
        return Halfway(ends.cpu().numpy(), (inner, b.dtype))

    def ascend(self, halfway: Halfway, ends: np.ndarray) -> Tensor:
        """Return the values at all nodes, given those at the two ends, shape (rows, 2)."""
        if self.line is not None:
            self.line.ascend(halfway.rest, ends, torch.get_num_threads())
            return torch.from_numpy(halfway.rest.u)
        inner, dtype = halfway.rest
        left, right = torch.from_numpy(ends).to(inner.device).T
        return self.held.solve(inner, left, right).to(dtype)


def _elsewhere(
    A: Operator | Differences, cells: int, device: torch.device
) -> tuple[tuple[float, float, float], Condensation, Tensor]:
    """Condense by torch: give the one cell, what solves where the ends are held, and the ties of those.

    There each of the two passes is a solve.
    """
    chain: Any = A.form if isinstance(A, Stiffness) else A
    if isinstance(chain, Differences):
        (k, s), robin = chain.cells(cells, torch.float64, device), chain.robin[0]
    else:
        k, s, robin = chain.k.double(), None if chain.s is None else chain.s.double(), chain.robin
    held, ties = Condensation(VaryingStiffness(k, s, ("dirichlet", "dirichlet")), looks=False), k[[0, -1]]
    while k.shape[0] > 1:
        k, s = eliminate(k, s)[-2:]
    low, high = (0.0, 0.0) if s is None else s.tolist()
    return (float(k[0]), low + robin[0], high + robin[1]), held, ties


class Chain:
    """What is left of a line: a cell for each process.

    Parameters
    ----------
    cells : array, shape (world, 3)
        Of each its conductance, and the row sums of its two ends.
    ends : (str, str)
        What holds at the two ends of the line, as the operators call it.
    """

    def __init__(self, cells: Tensor, ends: tuple[str, str]) -> None:
        k, low, high = cells.T.contiguous()
        self.sums = _overlapped(low, high)
        A = VaryingStiffness(k, self.sums, ends)
        self.inverse, self.chain = Condensation(A, looks=False), A.chain

    def loads(self, ends: Tensor) -> Tensor:
        """Return the loads of its unknowns, from those of the two ends of all cells, (world, rows, 2)."""
        low, high = ends.unbind(-1)
        return self.chain.loads(_overlapped(low, high).T)

    def solve(self, b: Tensor, left: float, right: float) -> np.ndarray:
        """Return the values at its nodes, shape (rows, world + 1), for loads of its unknowns.

        ``left`` and ``right`` are those at Dirichlet ends.
        """
        return self.inverse.solve(b.contiguous(), left, right).numpy()  # eq: slab-chain


def _overlapped(low: Tensor, high: Tensor) -> Tensor:
    """Add up what cells have at their low ends and at their high ends, shape (world + 1, ...)."""
    zero = torch.zeros_like(low[:1])
    return torch.cat((low, zero)) + torch.cat((zero, high))
