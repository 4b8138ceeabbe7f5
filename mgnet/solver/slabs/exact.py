"""The exact cycle of a line over several processes, and a second look at its answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..iteration import largest, lost_below_normal
from ..second_look import MULTIPLES
from ..stopping import Outcome, Status, Stopping
from .agreement import raise_together
from .line import Chain, Halfway, OwnCells
from .own_line import OwnLine

__all__ = ["Answer", "Begun", "begin", "solve_line"]

# Rows of loads whose ends go with the first message.
FIRST_ROWS = 4
# What part of a range is thought to be safe for what lies between values that are known.
SAFE = 2.0**-10
# What loads are multiplied by to see whether only sums of them are out of range.
PART = 2.0**-64


class Begun(NamedTuple):
    """What a process can do by itself: its line, and half of the cycle, unless data are projected first."""

    line: OwnLine
    halfway: Halfway | None

    @property
    def numbers(self) -> list[float]:
        """What others have to know: how many rows, the cell of this process, and the loads of its ends."""
        ends = [] if self.halfway is None else self.halfway.ends[:FIRST_ROWS].ravel().tolist()
        return [float(len(self.line.rows)), *self.line.cells.cell, *ends]


class Answer(NamedTuple):
    """The values of a process, shape (rows, nodes), how it ended, and a look by all that is not done yet."""

    u: Tensor
    outcome: Outcome
    look_again: Callable[[], Outcome] | None = None


def begin(line: OwnLine) -> Begun:
    """Do what needs no other process."""
    return Begun(line, None if line.floats else line.cells.descend(line.rows))


def solve_line(begun: Begun, heads: Tensor, stopping: Stopping) -> Answer:
    """Solve together, with the first numbers of all processes, shape (world, numbers)."""
    line, halfway = begun
    counts, cells, ends = heads[:, 0], heads[:, 1:4], heads[:, 4 : 4 + 2 * len(line.rows)]
    _require_one_batch(counts)
    chain, rows, floats = Chain(cells, line.problem.ends), line.rows, False
    if line.may_float and not bool(chain.sums.any()):
        rows, halfway, floats = line.constants.compatible(rows, line.load), None, True
    if halfway is None:
        halfway = line.cells.descend(rows)
    if floats or len(rows) > FIRST_ROWS:
        ends = line.all_have(torch.from_numpy(halfway.ends))
    else:
        ends = ends.reshape(len(heads), len(rows), 2)
    b = chain.loads(ends)
    values = chain.solve(b, line.left, line.right)
    limit = SAFE * torch.finfo(line.dtype).max
    if not (bool((b.abs() <= limit).all()) and bool((np.abs(values) <= limit).all())):
        return _diverged(line) if _out_of_range(line, rows) else _scaled(line, chain, rows)
    u = line.cells.ascend(halfway, _own(line, values))
    if floats:
        u = line.constants.remove(u)
    look = _Look(line, chain, rows, u, floats)
    if stopping.tol is None:
        return Answer(u, Outcome(Status.CONVERGED, 1), look)
    return Answer(u, look(stopping.tol))


def _own(line: OwnLine, values: np.ndarray) -> np.ndarray:
    """Give the values at the two ends of this process's cells."""
    return np.ascontiguousarray(values[:, line.processes.rank : line.processes.rank + 2])


def _require_one_batch(counts: Tensor) -> None:
    """Refuse a function that has other leading axes in another slab."""
    if bool((counts != counts[0]).any()):
        got = ", ".join(f"{int(count)} in process {rank}" for rank, count in enumerate(counts.tolist()))
        raise ValueError(f"f: got right-hand sides whose number differs: {got}; accepted: as many in each")


def _out_of_range(line: OwnLine, rows: Tensor) -> bool:
    """Say whether loads are not finite, of any process; raise an error where the data are to blame."""
    bad, error = not bool(rows.isfinite().all()), None
    if bad:
        try:
            line.blame()
        except ValueError as found:
            error = found
    any_bad, any_error = line.largest(torch.tensor([float(bad), float(error is not None)])).tolist()
    if any_error:
        raise_together(line.processes, error)
    return bool(any_bad)


def _diverged(line: OwnLine) -> Answer:
    shape = len(line.rows), line.own.node_shape[0]
    u = torch.full(shape, math.nan, dtype=line.dtype, device=line.device)
    return Answer(u, Outcome(Status.DIVERGED, 1, [math.nan]))


def _scaled(line: OwnLine, chain: Chain, rows: Tensor) -> Answer:
    """Solve for a part of the loads, whose sums may leave the range where the values do not."""
    halfway = line.cells.descend(PART * rows.double())
    b = chain.loads(line.all_have(torch.from_numpy(halfway.ends)))
    values = chain.solve(b, PART * line.left, PART * line.right)
    u = (line.cells.ascend(halfway, _own(line, values)) / PART).to(line.dtype)
    floats = line.may_float and not bool(chain.sums.any())
    u = line.constants.remove(u) if floats else u
    if float(line.largest(torch.tensor(float(not bool(u.isfinite().all()))))):
        return _diverged(line)
    return Answer(u, Outcome(Status.CONVERGED, 1), _Look(line, chain, rows, u, floats))


class _Look:
    """A second look, by all processes together; see :class:`mgnet.solver.second_look.SecondLook`."""

    def __init__(self, line: OwnLine, chain: Chain, rows: Tensor, u: Tensor, floats: bool) -> None:
        self.line, self.chain, self.rows, self.u = line, chain, rows, u
        self.constants = line.constants if floats else None

    def __call__(self, tol: float = math.inf) -> Outcome:
        """Judge it: the outcome has its estimated error, the same in all processes."""
        with torch.no_grad():
            line, eps = self.line, torch.finfo(self.u.dtype).eps
            A, cells, chain = line.double()
            x, loads = self.u.double(), self.rows.double()
            worst = torch.zeros(len(x), dtype=torch.float64)
            for factor in (1.0, *MULTIPLES):
                r = (factor * loads - _image(A, factor * x)) / factor
                worst = torch.maximum(worst, largest(self._corrected(r, cells, chain)).cpu())
            figures = [worst, *(largest(part).cpu() for part in (x, loads, line.load.b.reshape(loads.shape)))]
            error, size, of_rows, of_data = line.largest(torch.stack(figures))
            outcome = Outcome(Status.CONVERGED, 1)
            outcome.residuals = [1.0, self._residual(A, loads - _image(A, x), loads)]
            error = error + 2 * eps * size + lost_below_normal(of_data.to(self.u.dtype), size)
            if self.constants and line.problem.compatible == "project":
                error = error + eps * (of_data / of_rows).nan_to_num(0.0, 0.0, 0.0) * size
            outcome.judge(error, tol * size)
        return outcome

    def _corrected(self, r: Tensor, cells: OwnCells, chain: Chain) -> Tensor:
        """Return the exact correction for a residual that all have parts of."""
        line = self.line
        halfway = cells.descend(self.constants.project(r) if self.constants else r)
        values = chain.solve(chain.loads(line.all_have(torch.from_numpy(halfway.ends))), 0.0, 0.0)
        e = cells.ascend(halfway, _own(line, values))
        return self.constants.remove(e) if self.constants else e

    def _residual(self, A: Any, r: Tensor, loads: Tensor) -> float:
        """Return the norm of the residual over that of the load, lifted, of the worst row."""
        line, held = self.line, torch.zeros(loads.shape[-1], dtype=torch.float64, device=loads.device)
        first, last = line.start == 0, line.stop == line.problem.n
        held[0] += line.left * (first and line.problem.ends[0] == "dirichlet")
        held[-1] += line.right * (last and line.problem.ends[1] == "dirichlet")
        load = loads - _image(A, held[None]) if bool(held.any()) else loads
        both = torch.stack((r, load))
        ends = line.all_have(both[..., [0, -1]])
        cuts = torch.stack([self.chain.loads(ends[:, i]) for i in (0, 1)])
        inner = both[..., 1:-1]
        size = torch.maximum(line.largest(largest(inner[1])), largest(cuts[1]))
        size = torch.where(size > 0, size, 1.0)[:, None]
        of_inner = line.summed((inner / size.to(inner.device)).square().sum(-1))
        norm, unit = (of_inner + (cuts / size).square().sum(-1)).sqrt()
        return float(torch.where(unit > 0, norm / unit, norm).max())


def _image(A: Any, u: Tensor) -> Tensor:
    """Apply the operator of a process at all its nodes, shape (rows, nodes)."""
    return A.at_nodes(u[:, None])[:, 0]
