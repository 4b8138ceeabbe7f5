"""Batches of a and c: each sample has an operator of its own, one after the other; one answer of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import array
from ..core.kinds import tracked
from ..poisson.assembly import Load
from ..poisson.balance import Source
from ..poisson.boundary import Held
from ..poisson.problem import Poisson
from ..poisson.shapes import common_batch
from .hierarchy import Hierarchy
from .method import Found
from .solution import Solution
from .stopping import Outcome, Status, Stopping

__all__ = ["Samples"]

# From the best to the worst.
ORDER = (Status.CONVERGED, Status.MAXITER, Status.STAGNATED, Status.DIVERGED)


class _Part(NamedTuple):
    """What belongs to one sample: its place, its data, which keep all axes, and the numbers of its rows."""

    place: tuple[int, ...]
    load: Load
    held: Held
    guess: Tensor | None
    rows: np.ndarray


class Samples:
    """The problems of a batch of a and c, in the memory of one set-up at a time.

    Parameters
    ----------
    problem : Poisson
        With a batch of a or c.
    first : Hierarchy
        That of the first sample, whose options all have.
    """

    def __init__(self, problem: Poisson, first: Hierarchy) -> None:
        self.problem, self.first, self.samples = problem, first, problem.samples

    def run(self, load: Load, stopping: Stopping, x0: Any = None) -> Solution:
        """Solve for an assembled load; see :meth:`mgnet.Hierarchy.run`.

        Where the load, the values of the sides and the first guess have leading axes, those broadcast with
        the axes of the samples.
        """
        dtype = torch.float64 if stopping.refine else self.first.dtype
        held, dim = Held.of(self.problem, dtype, self.first.device), self.problem.dim
        batch = common_batch(load.name, load.b, dim, self.samples)
        if held.many is not None:
            batch = common_batch("boundary", held.many, dim, batch)
        guess = None if x0 is None else self._guess(x0, batch)

        def parts() -> Iterator[_Part]:
            return self._parts(load, held, guess, batch)

        found = [self._found(part, stopping) for part in parts()]
        rows = [part.rows for part in parts()]

        def look() -> Outcome:  # sets up again what was not kept
            with torch.no_grad():
                again = (self._found(part, stopping, looked=True) for part in parts())
                return _worst([outcome for _, outcome, _ in again], rows)

        solutions, outcomes, late = zip(*found, strict=True)
        u = self._stacked(solutions, batch)
        whole = Found(u, _worst(outcomes, rows), look if any(late) else None)
        source = Source(self.problem, self.first.device, load.b if load.ready else None)
        return self.first.finished(whole, tracked(u) or load.speaks_torch, stopping.throw, source)

    def _parts(self, load: Load, held: Held, guess: Tensor | None, batch: tuple[int, ...]) -> Iterator[_Part]:
        dim, count = self.problem.dim, math.prod(batch)
        rows = torch.arange(count).reshape(batch)
        for index in product(*map(range, self.samples)):
            b, size, fluxes = (
                self._of(x, index, axes) for x, axes in ((load.b, dim), (load.size, 0), (load.fluxes, 0))
            )
            numbers = self._of(rows, index, 0).flatten().numpy()
            own = load._replace(b=b, size=size, fluxes=fluxes, rows=numbers)
            here = held.replaced(self._of(held.many, index, dim))
            yield _Part(index, own, here, self._of(guess, index, dim), numbers)

    def _of(self, x: Any, index: tuple[int, ...], axes: int) -> Any:
        """Cut a tensor, whose last axes are no batch, to one entry along each axis that samples have."""
        if isinstance(x, Tensor):
            for place, (i, count) in enumerate(zip(index, self.samples, strict=True), -len(index) - axes):
                if count > 1 and -place <= x.ndim and x.shape[place] > 1:
                    x = x.narrow(place, i, 1)
        return x

    def _found(self, part: _Part, stopping: Stopping, looked: bool = False) -> tuple[Tensor, Outcome, bool]:
        """Solve for one sample, of whose set-up nothing is kept; say whether there is more to look at."""
        hierarchy = self.first.beside(self.problem.sample(part.place))
        u, outcome, look_again = hierarchy.found(part.load, stopping, part.guess, part.held)
        if looked and look_again:
            outcome = look_again()
        hierarchy.forget()
        return u, outcome, look_again is not None

    def _guess(self, x0: Any, batch: tuple[int, ...]) -> Tensor:
        nodes = self.problem.node_shape
        guess = array("x0", x0, (nodes,), "one value per node, boundary included")
        guess = self.problem.region.inside(guess, 0.0)
        if common_batch("x0", guess, len(nodes), batch) != batch:
            got = tuple(guess.shape[: guess.ndim - len(nodes)])
            raise ValueError(f"x0: got leading axes {got}; accepted: those of the solution, {batch}")
        return guess.expand(*batch, *nodes)

    def _stacked(self, parts: Sequence[Tensor], batch: tuple[int, ...]) -> Tensor:
        """Put the solutions of all samples, shape ``(..., *nodes)`` each, into one array."""
        nodes, axes = self.problem.node_shape, len(batch)
        samples = (1,) * (axes - len(self.samples)) + self.samples
        own = tuple(size if count == 1 else 1 for size, count in zip(batch, samples, strict=True))
        u = torch.stack([part.reshape(*own, *nodes) for part in parts]).reshape(*samples, *own, *nodes)
        pairs = [place for i in range(axes) for place in (i, axes + i)]
        return u.permute(*pairs, *range(2 * axes, u.ndim)).reshape(*batch, *nodes)


def _worst(outcomes: Sequence[Outcome], rows: list[np.ndarray]) -> Outcome:
    """Say how a batch ended: as its worst sample did."""
    worst = max(range(len(outcomes)), key=lambda i: ORDER.index(outcomes[i].status))
    histories = [outcome.residuals for outcome in outcomes if outcome.residuals]
    columns = [
        [history[min(i, len(history) - 1)] for history in histories]  # a shorter one stays where it ended
        for i in range(max(map(len, histories), default=0))
    ]
    factors = [outcome.convergence_factor for outcome in outcomes]
    return Outcome(
        outcomes[worst].status,
        max(outcome.iterations for outcome in outcomes),
        [float(np.max(column)) for column in columns],  # NaN where there is one
        float(np.max([outcome.error_estimate for outcome in outcomes])),
        max((factor for factor in factors if not math.isnan(factor)), default=math.nan),
        int(rows[worst][outcomes[worst].row]),
    )
