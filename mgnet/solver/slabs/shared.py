"""One solve that several processes share: posed, begun, agreed on, done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import Tensor

from ...core.arrays import array
from ...core.checks import find_device, float_type, shown
from ...core.processes import Processes
from ...core.resources import sharing
from ...multigrid.levels import Options
from ...poisson.parts import matched_bounds, part, require_parts
from ...poisson.problem import Poisson
from ..solution import ConvergenceError
from ..stopping import Status, Stopping
from .agreement import Posed, first_message
from .boxes import solve_box
from .exact import Begun, begin, solve_line
from .own_line import OwnLine
from .solution import Slab, SlabSolution

__all__ = ["solve"]


class _Task(NamedTuple):
    """What is posed, checked, and what of it a process has done by itself."""

    problem: Poisson
    options: Options
    stopping: Stopping
    dtype: torch.dtype
    device: torch.device
    x0: Any
    begun: Begun | None

    @property
    def numbers(self) -> list[float]:
        """What the others have to know: of what is solved, and of a line the loads of its ends."""
        cells = [*self.problem.cells, 0, 0][:3]
        # One number of both: the size of a value in the last four bits.
        kind = 16 * crc32(self.said.encode()) + self.dtype.itemsize
        return [*map(float, cells), float(kind), *(self.begun.numbers if self.begun else [])]

    @property
    def said(self) -> str:
        """What is to be the same in all processes, as far as words can say it: an array is one."""
        problem, known = self.problem, (float, str, bool)
        data = [problem.f, problem.a, problem.c, problem.b]
        data += [value for *_, side in problem.sides() for value in (side.g, getattr(side, "alpha", 0.0))]
        kinds = [type(side).__name__ for *_, side in problem.sides()]
        numbers = [each if isinstance(each, known) else each is None for each in data]
        rules = problem.domain, problem.joined, problem.compatible, problem.load
        return repr((rules, kinds, numbers, self.options, vars(self.stopping), self.x0 is None))


# How many of the numbers say what is solved.
SAID = 4


def solve(processes: Processes, pose: Callable[[], Posed]) -> SlabSolution:
    """Solve together what each process poses.

    Parameters
    ----------
    processes : Processes
        Those that share it, more than one.
    pose : callable
        Poses the problem; what it raises in one process, all raise.

    Returns
    -------
    SlabSolution
        The slab of this process.
    """
    task: _Task | None = None
    error: Exception | None = None
    try:
        with sharing(processes.world):
            task = _begin(pose(), processes)
    except Exception as found:
        error = found
    heads = first_message(processes, task.numbers if task else [], error)
    assert task is not None  # or there was an error
    _require_one_problem(heads[:, :SAID])
    sol = _line(task, task.begun, heads[:, SAID:]) if task.begun else _box(task, processes)
    if task.stopping.throw and sol.status is not Status.CONVERGED:
        raise ConvergenceError(sol)
    return sol


def _begin(posed: Posed, processes: Processes) -> _Task:
    """Check what is asked for, and do what needs no other process."""
    problem, how, stopping = posed.problem, dict(posed.options), posed.stopping.of(posed.problem.dim)
    dtype, device = float_type(how.pop("dtype")), find_device(how.pop("device"))
    options = Options(**how, dim=problem.dim)
    require_parts(problem)
    begun = None
    if problem.dim == 1:
        _require_exact(options.method, stopping)
        if posed.x0 is not None:
            array("x0", posed.x0, (problem.node_shape,), "one value per node, boundary included")
        begun = begin(OwnLine(problem, processes, dtype, device))
    else:
        matched_bounds(problem.cells[0], processes.world)
    return _Task(problem, options, stopping, dtype, device, posed.x0, begun)


def _require_exact(method: str, stopping: Stopping) -> None:
    for name, got, wrong, accepted in (
        ("method", method, method != "exact", "'auto' or 'exact'"),
        ("refine", stopping.refine, stopping.refine, "False, with dtype=torch.float64"),
        ("maxiter", stopping.maxiter, not stopping.maxiter, "at least 1"),
    ):
        if wrong:
            what = f"{shown(got)} on an interval that several processes share"
            raise ValueError(f"{name}: got {what}; accepted: {accepted}, or a group of one process")


def _require_one_problem(heads: Tensor) -> None:
    """Refuse what differs between processes that is to be one problem."""
    if not bool((heads != heads[0]).any()):
        return
    found = []
    for rank, (*cells, kind) in enumerate(heads.tolist()):
        found.append(
            f"{tuple(int(n) for n in cells if n)} cells, {8 * (int(kind) % 16)} bits in process {rank}"
        )
    if len({each.partition(" in process")[0] for each in found}) == 1:
        other = int((heads != heads[0]).any(1).int().argmax())
        found = [f"other conditions, numbers or options in process {other} than in process 0"]
    raise ValueError(f"solve: got {'; '.join(found)}; accepted: the same problem in each")


def _line(task: _Task, begun: Begun, heads: Tensor) -> SlabSolution:
    answer, line = solve_line(begun, heads, task.stopping), begun.line
    slab = Slab(task.problem, line.slab, line.processes, line.start, line.stop)
    u = answer.u.reshape(*line.batch, *answer.u.shape[1:])
    options = {"tensors": line.load.speaks_torch, "look_again": answer.look_again}
    return SlabSolution(u, slab, answer.outcome, task.device, method=task.options.method, **options)


def _box(task: _Task, processes: Processes) -> SlabSolution:
    problem = task.problem
    edges = matched_bounds(problem.cells[0], processes.world)
    start, stop = edges[processes.rank : processes.rank + 2]
    u, outcome = solve_box(problem, processes, task.options, task.stopping, task.dtype, task.device, task.x0)
    slab = Slab(problem, part(problem, start, stop), processes, start, stop)
    return SlabSolution(u, slab, outcome, task.device, method=task.options.method, tensors=problem.tensors)
