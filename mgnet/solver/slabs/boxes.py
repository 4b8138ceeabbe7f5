"""A box over several processes: each has a slab of it, and all make the grids and the iteration together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ...core.arrays import array, require_finite
from ...core.kinds import refuse_tracked
from ...core.processes import Processes
from ...multigrid import slabs
from ...multigrid.levels import Options, is_wild
from ...operators.contract import Operator
from ...operators.cuts import Cuts
from ...operators.slabs import SlabOperator
from ...poisson import assembly
from ...poisson.boundary import Held
from ...poisson.parts import matched_bounds, part, require_parts
from ...poisson.problem import Poisson
from ..hierarchy import Hierarchy
from ..method import attempt
from ..stopping import Outcome, Status, Stopping
from .agreement import place, raise_together
from .cycling import SlabCycles, SlabSystem

__all__ = ["METHODS", "SlabSolve", "solve_box", "solve_slab"]

# Methods that iterate by cycles; others need the whole matrix.
METHODS = ("vcycle", "wcycle", "fcycle", "fmg", "pcg")
# Unknowns of a box that every process may solve alone, where lines or blocks would reach from slab to slab.
ALONE = 2**21


@dataclass(frozen=True)
class SlabSolve:
    """What a process has of a solution.

    Parameters
    ----------
    u : torch.Tensor, shape ``(..., *nodes)``
        Values at all nodes of its slab, both cuts included.
    outcome : Outcome
        How it ended, the same in all processes.
    start, stop : int
        The first of its cells along the first axis, and the one behind the last.
    grids : int
        How many grids were shared; none where every process solved all of the problem.
    set_up, sent : dict
        By grid, how many messages this process has sent, and bytes: for the set-up, and for the solution.
    """

    u: Tensor
    outcome: Outcome
    start: int
    stop: int
    grids: int = 0
    set_up: dict[str, list[int]] = field(default_factory=dict)
    sent: dict[str, list[int]] = field(default_factory=dict)


def solve_box(
    problem: Poisson,
    processes: Processes,
    options: Options,
    stopping: Stopping,
    dtype: torch.dtype,
    device: torch.device,
    x0: Any = None,
) -> tuple[Tensor, Outcome]:
    """Solve a box together with the other processes of a group; see :func:`solve_slab`.

    Returns
    -------
    (torch.Tensor, Outcome)
        Values at the nodes of this process's slab, and how it ended.
    """
    found = solve_slab(problem, processes, options, stopping, dtype, device, x0)
    return found.u, found.outcome


def solve_slab(
    problem: Poisson,
    processes: Processes,
    options: Options,
    stopping: Stopping,
    dtype: torch.dtype,
    device: torch.device,
    x0: Any = None,
) -> SlabSolve:
    """Solve a box together with the other processes of a group, :eq:`slabs`.

    Parameters
    ----------
    problem : Poisson
        The whole problem, the same in every process.
    processes : Processes
        The group.
    options : Options
        How; methods that iterate by cycles.
    stopping : Stopping
        When to stop.
    dtype, device
        Precision, and where this process computes.
    x0 : array, shape ``(..., *nodes)``, optional
        First guess at all nodes of the box.

    Returns
    -------
    SlabSolve
        What this process has of the solution.

    Raises
    ------
    ValueError
        In all processes, for what cannot be shared, and for bad data that one of them has.
    """
    require_parts(problem)
    _require(options)
    edges = matched_bounds(problem.cells[0], processes.world)
    share = _Share(problem, processes, edges, options, stopping, dtype, device, x0)
    if slabs.are_few(problem.unknowns, processes.world):
        return share.alone()
    begun = share.begun()
    system = SlabSystem(problem, share.own, share.cuts, edges, dtype, device, begun.local)
    A: Any = system.A
    if slabs.stays(A, edges, options, is_wild(A), 0):
        return share.together(system, begun)
    if problem.unknowns > ALONE:
        got = f"{problem.cells} cells for {processes.world} processes, whose grids do not coarsen together"
        raise ValueError(
            f"n: got {got}; accepted: more layers of cells along the first axis, point smoothers"
            " (smoother='chebyshev' where cells are flat here and tall there), or fewer processes"
        )
    return share.alone()


def _require(options: Options) -> None:
    """Refuse what needs the whole matrix."""
    if options.method not in METHODS:
        accepted = f"'auto', {', '.join(map(repr, METHODS))}, or a process alone"
        raise ValueError(f"method: got {options.method!r} and several processes; accepted: {accepted}")


class _Begun(NamedTuple):
    """What a process has done by itself: its operator, load, given values and guess, and the batch of all."""

    local: Operator
    load: assembly.Load
    held: Held
    guess: Any
    batch: tuple[int, ...]


class _Share:
    """A process's share of a problem, and what is asked of it."""

    def __init__(
        self,
        problem: Poisson,
        processes: Processes,
        edges: list[int],
        options: Options,
        stopping: Stopping,
        dtype: torch.dtype,
        device: torch.device,
        x0: Any,
    ) -> None:
        self.problem, self.processes, self.options = problem, processes, options
        self.stopping, self.dtype, self.device, self.x0 = stopping.of(problem.dim), dtype, device, x0
        self.start, self.stop = edges[processes.rank : processes.rank + 2]
        self.own = part(problem, self.start, self.stop)
        wire = place(processes) if dist.is_available() and dist.is_initialized() else None
        self.cuts = Cuts(processes, problem.dim, problem.joined[0], wire).named("grid 0")
        self.wide = torch.float64 if stopping.refine else dtype

    def begun(self) -> _Begun:
        """Do what needs no other process; what one cannot do, none does."""
        begun, error = None, None
        try:
            self._require_finite()
            guess = self._guess()
            local = assembly.operator(self.own, self.dtype, self.device)
            load = assembly.load(self.own, self.wide, self.device)
            held = Held.of(self.own, self.wide, self.device)
            for x in (load.b, *local.numbers, *held.numbers):
                refuse_tracked("f, a, c or a side", x)
            begun = local, load, held, guess
        except Exception as caught:
            error = caught
        arrays = [] if begun is None else [x for x in (begun[1].b, begun[2].many) if x is not None]
        batches = [tuple(x.shape[: x.ndim - self.problem.dim]) for x in arrays]
        told = self.processes.gathered((error is not None, len(arrays) > 1, batches))
        if begun is None or any(failed for failed, *_ in told):
            raise_together(self.processes, error)
        local, load, held, guess = begun
        if held.zero and any(given for _, given, _ in told):  # then all go the same way
            held = held.replaced(load.b.new_zeros(self.own.node_shape))
        shapes = [shape for *_, batches in told for shape in batches]
        return _Begun(local, load, held, guess, torch.broadcast_shapes(*shapes))

    def together(self, system: SlabSystem, begun: _Begun) -> SlabSolve:
        """Solve together with the others."""
        method, load = SlabCycles(system, self.options), begun.load
        with torch.no_grad():
            shared = sum(isinstance(level.A, SlabOperator) for level in method.levels)
        set_up = dict(self.cuts.sent)
        self.cuts.sent.clear()
        b = load.b.expand(*begun.batch, *self.own.shape)
        batch, rows, held = begun.held.beside(b)
        asked = held, begun.guess, self.stopping
        found = attempt(method, rows, *asked, lambda c: c.compatible(rows, load), self._blame)
        u = self._rounded(found.u.reshape(*batch, *found.u.shape[1:]), found.outcome)
        return SlabSolve(u, found.outcome, self.start, self.stop, shared, set_up, self.cuts.sent)

    def _rounded(self, u: Tensor, outcome: Outcome) -> Tensor:
        """Round to the precision asked for; what that does not hold has diverged."""
        if u.dtype == self.dtype:
            return u
        rounded = u.to(self.dtype)
        lost = self.cuts.most(float(not rounded.isfinite().all()))[0]
        if lost and outcome.status is Status.CONVERGED:
            outcome.status = Status.DIVERGED
        return rounded

    def _guess(self) -> Any:
        """Give the first guess at the nodes of this slab."""
        if self.x0 is None:
            return None
        dim, nodes = self.problem.dim, self.problem.node_shape
        whole = array("x0", self.x0, (nodes,), "one value per node, boundary included")
        own = whole.narrow(-dim, self.start, self.stop + 1 - self.start)
        require_finite("x0", own, dim, self.start)
        return own

    def _require_finite(self) -> None:
        """Refuse what is not finite of an array of this slab, by its place in the whole."""
        before = self.own.space.axes[0].chain.first - self.problem.space.axes[0].chain.first
        for name, given, start in (("f", self.own.f, self.start), ("b", self.own.b, self.start + before)):
            if isinstance(given, Tensor):
                require_finite(name, given, self.problem.dim, start)

    def _blame(self) -> None:
        """Say whose data are not finite, if any are."""
        error = None
        try:
            self._require_finite()
        except ValueError as caught:
            error = caught
        if any(self.processes.gathered(error is not None)):
            raise_together(self.processes, error)

    def alone(self) -> SlabSolve:
        """Solve all of the problem in every process; the first one's answer counts."""
        found, error = None, None
        try:
            hierarchy = Hierarchy(self.problem, dtype=self.dtype, device=self.device)
            hierarchy.options = self.options
            load = assembly.load(self.problem, self.wide, self.device)
            found = hierarchy.found(load, self.stopping, self.x0)
        except Exception as caught:
            error = caught
        told = self.processes.gathered((error is not None, found and found.outcome))
        if found is None or any(failed for failed, _ in told):
            raise_together(self.processes, error)
        u = found.u.to(self.cuts.wire or found.u.device).contiguous()
        self.processes.same([u])
        u = u.to(self.device).narrow(-self.problem.dim, self.start, self.stop + 1 - self.start).clone()
        return SlabSolve(self._rounded(u, told[0][1]), told[0][1], self.start, self.stop)
