"""What one process has of a line that several share: its part of the problem, its loads and its cells."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...core.arrays import require_finite
from ...core.kinds import refuse_tracked
from ...core.processes import Processes
from ...poisson import assembly
from ...poisson.boundary import Held
from ...poisson.conditions import Dirichlet
from ...poisson.parts import even_bounds, part
from ...poisson.problem import Poisson
from .agreement import place
from .constants import SharedConstants
from .line import Chain, OwnCells

__all__ = ["OwnLine"]


class OwnLine:
    """What one process has of a line, and what it does together with the others.

    Parameters
    ----------
    problem : Poisson
        The whole.
    processes : Processes
        Those that share it.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where this process computes.

    Attributes
    ----------
    own : Poisson
        The part of this process, all of whose nodes are unknowns.
    slab : Poisson
        The same, with the Dirichlet ends that it has.
    rows : torch.Tensor, shape (rows, nodes)
        Its loads.
    """

    def __init__(
        self, problem: Poisson, processes: Processes, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.problem, self.processes, self.dtype, self.device = problem, processes, dtype, device
        rank, edges = processes.rank, even_bounds(problem.n, processes.world)
        self.start, self.stop = edges[rank : rank + 2]
        self.own = part(problem, self.start, self.stop, free=True)
        self.slab = part(problem, self.start, self.stop)
        self.held = Held.of(problem, dtype, device)
        self.left, self.right = (float(end) for end in self.held.ends)
        self.load = assembly.load(self.own, dtype, device, problem.tensors)
        refuse_tracked("f", self.load.b)
        self.batch = tuple(self.load.b.shape[:-1])
        self.rows = self.load.b.reshape(math.prod(self.batch), self.own.node_shape[0])
        self._require_ends()
        self.cells = OwnCells(self._operator(dtype), self.own.space, device)

    def _operator(self, dtype: torch.dtype) -> Any:
        return assembly.form(self.own, dtype) or assembly.operator(self.own, dtype, self.device)

    def _require_ends(self) -> None:
        """Refuse what is not finite at a Dirichlet end: of no account for the values, it is a fault."""
        for end, side in enumerate(self.slab.conditions[0]):
            if isinstance(side, Dirichlet) and not bool(self.rows[:, -end].isfinite().all()):
                self.blame()

    def blame(self) -> None:
        """Raise the error that names what is not finite of an array, by its place in the whole."""
        if self.load.given is not None:
            given = self.problem.space.axes[0].chain.first if self.load.name == "b" else 0
            require_finite(self.load.name, self.load.given, 1, self.start - given)

    @property
    def may_float(self) -> bool:
        """Whether no end holds u."""
        return self.problem.floats and not any(map(any, self.problem.alphas))

    @property
    def floats(self) -> bool:
        """Whether nothing holds u, as far as can be said without the other processes."""
        return self.may_float and isinstance(self.problem.c, float) and not self.problem.c

    @cached_property
    def constants(self) -> SharedConstants:
        """The constants, where nothing holds them; all processes ask for them together."""
        return SharedConstants(self.problem, self.own, self.processes)

    def all_have(self, x: Tensor) -> Tensor:
        """Return what each process has, shape (world, ...), in float64 on the CPU."""
        return self.processes.stacked(x.double().to(place(self.processes))).cpu()

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest that a process has, entry by entry, in float64 on the CPU."""
        return self.processes.largest(x.double().to(place(self.processes))).cpu()

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum over the processes, in float64 on the CPU."""
        return self.processes.summed(x.double().to(place(self.processes))).cpu()

    def double(self) -> tuple[Any, OwnCells, Chain]:
        """Return the operator of this process in float64, its cells condensed, and the chain of all."""
        A = assembly.operator(self.own, torch.float64, self.device)
        cells = OwnCells(assembly.form(self.own, torch.float64) or A, self.own.space, self.device)
        return A, cells, Chain(self.all_have(torch.tensor(cells.cell)), self.problem.ends)
