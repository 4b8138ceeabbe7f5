"""What a process has of a solution that several share: the values of its slab, and questions to all."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...core.checks import shown
from ...core.processes import Processes
from ...poisson.balance import Balance, Source, integral
from ...poisson.conditions import SIDES, Dirichlet
from ...poisson.problem import Poisson
from ..solution import Solution
from ..stopping import Outcome
from .agreement import place, summed

__all__ = ["Slab", "SlabSolution"]


class Slab:
    """Which part of a problem a process has.

    Parameters
    ----------
    whole, own : Poisson
        The problem, and the part of it.
    processes : Processes
        Those that share it.
    start, stop : int
        The first of its cells along the first axis, and the one behind the last.
    """

    def __init__(self, whole: Poisson, own: Poisson, processes: Processes, start: int, stop: int) -> None:
        self.whole, self.own, self.processes = whole, own, processes
        self.start, self.stop = start, stop

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum over all processes, where x is."""
        return summed(self.processes, x)

    def whole_of(self, u: Tensor, rank: int | None) -> Tensor | None:
        """Return the nodal values of the whole from those of all slabs; of a rank alone, if one is named."""
        me, axis = self.processes, u.ndim - self.whole.dim
        last = self.stop == self.whole.cells[0]  # the last nodes of others are the first of the next
        own = u.movedim(axis, 0)[: self.stop - self.start + last].contiguous().to(place(me))
        counts = me.gathered(len(own))
        if rank not in (None, me.rank):
            dist.send(own, group=me.group, group_dst=rank)
            return None
        whole = own.new_empty((sum(counts), *own.shape[1:]))
        for source, part in enumerate(whole.split(counts)):
            if source == me.rank:
                part.copy_(own)
            if rank is None:
                dist.broadcast(part, group=me.group, group_src=source)
            elif source != rank:
                dist.recv(part, group=me.group, group_src=source)
        return whole.to(u.device).movedim(0, axis).contiguous()


class SlabSolution(Solution):
    """A finite-element function of which each process has a slab: see :class:`mgnet.Solution`.

    ``x``, ``u``, values, slopes, files and pictures are those of the slab, with both of its cut ends. What
    all processes have a part in they have to ask for together: ``flux``, ``energy``, ``integral``,
    ``gathered``, and ``residuals`` and ``error_estimate`` of the exact cycle, where no ``tol`` was given.
    """

    def __init__(self, u: Tensor, slab: Slab, outcome: Outcome, device: torch.device, **options: Any) -> None:
        self._slab: Slab | None = slab
        self._source = Source(slab.own, device)
        super().__init__(u, slab.own.grids, outcome, source=self._source, **options)

    @property
    def _shared(self) -> Slab:
        if self._slab is None:
            raise ValueError("solution: got a copy from another process; accepted: what solve returns")
        return self._slab

    def gathered(self, rank: int | None = None) -> Solution | None:
        """Return the solution of the whole; all processes have to ask for it together.

        Parameters
        ----------
        rank : int, optional
            Of the process that gets it; the others get None. By default all get it, and need its memory.

        Returns
        -------
        Solution or None
            The error estimate of the exact cycle, if it was not known yet, is NaN.

        Raises
        ------
        ValueError
            For a rank that no process has.
        """
        slab = self._shared
        if rank is not None and not (isinstance(rank, int) and 0 <= rank < slab.processes.world):
            accepted = f"0 to {slab.processes.world - 1}, or None"
            raise ValueError(f"rank: got {shown(rank)}; accepted: {accepted}")
        u = slab.whole_of(self._u, rank)
        if u is None:
            return None
        known = self.__dict__.get("_history", self._outcome)
        if self._look_again is not None and "_history" not in self.__dict__:
            known = Outcome(self.status, self.iterations, [float("nan")], float("nan"))
        source = Source(slab.whole, self._source.device)
        options: dict[str, Any] = {"method": self.method, "tensors": self._tensors, "source": source}
        return Solution(u, slab.whole.grids, known, **options)

    def flux(self, side: Any) -> Any:
        """Integrate the flux a ∂u/∂ν through a side; see :meth:`mgnet.Solution.flux`.

        All processes have to ask for it together. A mask has one entry for each node of the whole. For a side
        of a box the first process gathers the whole, and needs its memory.
        """
        slab, balance = self._shared, self._balances
        of_whole = Balance(Source(slab.whole, self._source.device), self._u)
        if isinstance(side, str):
            of_whole.require_side(side)
            return self._handed(
                slab.summed(self._through(side)) if slab.whole.dim == 1 else self._whole(side)
            )
        own = of_whole.mask_of(side)[slab.start : slab.stop + 1].to(self._u.device)
        total = (balance.reactions * own).flatten(-slab.whole.dim).sum(-1)
        return self._handed(slab.summed(total))

    def _through(self, name: str) -> Tensor:
        """Give the part of a flux through a side that this process has."""
        slab, balance = self._shared, self._balances
        end = -SIDES[0].index(name)
        total = balance.reactions[..., 0] * 0
        if (slab.stop == slab.whole.n) if end else (slab.start == 0):
            side = slab.own.conditions[0][end]
            dirichlet = isinstance(side, Dirichlet)
            total = total + (balance.reactions[..., end] if dirichlet else balance.of_data(0, end, side))
        return total

    def _whole(self, name: str) -> Tensor:
        """Give the flux through a side of a box, whose weights go through the whole of it."""
        whole = self.gathered(0)
        flux = None if whole is None else torch.as_tensor(whole.flux(name)).cpu()
        found: Tensor = self._shared.processes.gathered(flux)[0]
        return found.to(self._u.device)

    @property
    def energy(self) -> Any:
        """Half of a(u, u), see :attr:`mgnet.Solution.energy`; all processes have to ask for it together."""
        return self._handed(self._shared.summed(self._balances.energy))

    def integral(self) -> Any:
        """Integrate the function over the whole domain; all processes have to ask for it together."""
        return self._handed(self._shared.summed(integral(self._grids, self._u)))

    @property
    def _balances(self) -> Balance:
        assert self._balance is not None
        return self._balance

    @property
    def _error_text(self) -> str:
        known = self._look_again is None or "_history" in self.__dict__
        return super()._error_text if known else "not asked for"

    @property
    def _residual_text(self) -> str:
        known = self._look_again is None or "_history" in self.__dict__
        return super()._residual_text if known else "not asked for"

    def __getstate__(self) -> dict[str, Any]:
        # Another process cannot ask all.
        known = self.__dict__.get("_history", self._outcome)
        gone = {"_slab": None, "_source": None, "_balance": None, "_look_again": None}
        return {**self.__dict__, "_u": self._u.detach(), "_history": known, **gone}
