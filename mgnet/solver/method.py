"""What all methods share: an object that is set up for a system and solves for loads, by iteration."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ..core.arrays import NonFiniteError, array, require_finite, roomy, sent
from ..core.looks import settle
from ..core.precision import full_precision
from ..core.resources import within_memory
from ..multigrid.levels import Options
from ..operators.contract import Map, residual
from ..operators.fused import Survey
from ..poisson.boundary import Held
from ..poisson.constants import Constants
from .iteration import Measure, SingleStep, Step, iterate, lost_below_normal, slowness
from .mixed import column, multiplied, to_divide_by
from .second_look import MULTIPLES, SecondLook, with_data
from .stopping import NONE, Outcome, Status, Stopping
from .system import Lazy, System

__all__ = ["Found", "Method", "attempt"]

# Boxes of no more unknowns have what rounding does measured, at the cost of a cycle.
SMALL = 2**16
# Loads between these need no other unit: what an iteration makes of them, and its products, can be held.
COMMON = {torch.float32: (1e-6, 1e6), torch.float64: (1e-60, 1e60)}
# Beyond this ratio of couplings corrections may be too small to tell an error.
CONTRAST = 2**20
# Unknowns of a box, by its dimension, whose matrix SciPy factorises in a second or two.
FACTORISED = {1: 0, 2: 2**16, 3: 2**13}


class Found(NamedTuple):
    """What a method came to: the solution, shape ``(batch, *nodes)``, and how it ended.

    ``look_again`` gives the outcome of a look at its error, where there was none yet.
    """

    u: Tensor
    outcome: Outcome
    look_again: Callable[[], Outcome] | None = None


@dataclass(frozen=True)
class _Task:
    """A load in the unit in which it is iterated for, and what is asked of the solution."""

    load: Tensor  # (batch, 1, *unknowns), boundary values lifted
    loads: Survey
    held: Held
    unit: Tensor | None
    stopping: Stopping
    tol: float
    rounding: float  # what it leaves of an error, relative to the largest value


class Method(Lazy):
    """What solves A u = b: set up once for a system, used for any number of loads.

    One that iterates says how a residual becomes a correction; that is all it need say.

    Parameters
    ----------
    system : System
        What is solved.
    options : Options
        How.
    """

    steady = True  # whether corrections shrink evenly, as those of conjugate gradients do not
    measure = Measure()

    def __init__(self, system: System, options: Options) -> None:
        self.system, self.options = system, options

    def cycle(self, r: Tensor) -> Tensor:
        """Return a correction for a residual, shape ``(batch, 1, *unknowns)``, from zero."""
        raise NotImplementedError

    def cycled(self, r: Tensor) -> Tensor:
        """Return the same in the precision of corrections; the next call may overwrite it."""
        return self.cycle(r)

    def correct(self, r: Tensor) -> Tensor:
        """Return a correction that also meets what a cycle may lose."""
        return self.cycle(r)

    def guess(self, load: Tensor, out: Tensor, sizes: Tensor) -> bool:
        """Write a first guess that is better than zero, and say whether there is one.

        ``sizes`` are the largest entries of the load, shape (batch,).
        """
        return False

    @property
    def precision(self) -> torch.dtype:
        """The precision of corrections."""
        return self.system.dtype

    @property
    def factor(self) -> float:
        """What corrections are multiplied by, where they are those of a multiple of A."""
        return 1.0

    @property
    def sound(self) -> bool:
        """Whether its precision can hold the operator."""
        return True

    @cached_property
    def in_double(self) -> Self:
        """The same with all corrections in float64."""
        return type(self)(self.system.double, replace(self.options, mixed=False))

    @cached_property
    def look(self) -> SecondLook:
        """What judges solutions that nothing else has judged."""
        return SecondLook(self.system)

    def assembled(self, load: Tensor) -> Tensor:
        """Return a load, ``(batch, 1, *unknowns)``, with what others have of its unknowns."""
        return load

    def last_resort(self) -> Method | None:
        """Return what solves where the method has failed, if there is anything."""
        return None

    def solve(self, b: Tensor, held: Held, guess: Tensor | None, stopping: Stopping) -> Found:
        """Solve for loads.

        Parameters
        ----------
        b : torch.Tensor, shape ``(batch, *unknowns)``
            Loads.
        held : Held
            The values at the Dirichlet nodes.
        guess : torch.Tensor, shape ``(batch, 1, *unknowns)``, or None
            First guess.
        stopping : Stopping
            When to stop.

        Returns
        -------
        Found
            The solution, and how it ended.

        Raises
        ------
        NonFiniteError
            When NaN or infinity turns up.
        """
        with _precision(self):
            return self._solve(b, held, guess, stopping)

    def _solve(self, b: Tensor, held: Held, guess: Tensor | None, stopping: Stopping) -> Found:
        tol = stopping.accepted(b.dtype, self._rounding(b, measured=False))
        low = self.precision == torch.float32
        if self.sound:
            u, outcome = self._iterated(b, held, guess, stopping, tol)
            if not (low and self._failed(outcome, u, self._rounding(b, self._measures))):
                return self._judged(u, outcome, b, tol, stopping.refine)
            guess = None
        wide, of_wide = b.double(), held.double()
        guess = None if guess is None else guess.double()
        u, outcome = self.in_double._iterated(wide, of_wide, guess, stopping, tol)
        cut_short = outcome.status is Status.MAXITER and stopping.given_maxiter
        last = None if outcome.status is Status.CONVERGED or cut_short else self.last_resort()
        if last is not None:
            u, outcome = last._iterated(wide, of_wide, None, stopping, tol)
        return self._judged(u.to(b.dtype), outcome, b, tol, stopping.refine)

    def _failed(self, outcome: Outcome, u: Tensor, rounding: float) -> bool:
        """Say whether an iteration went wrong; what stagnates at the rounding of u is as good as it gets."""
        if outcome.status is not Status.STAGNATED:
            return outcome.status is Status.DIVERGED
        return outcome.error_estimate > 10 * rounding * float(self.measure.largest(u).max())

    def _rounding(self, b: Tensor, measured: bool) -> float:
        """Give what rounding may leave of an error relative to u; less where it is measured."""
        # On an interval sums are few; in boxes they may lose more.
        terms = 4 if (measured and not self.system.A.gaps) or self.system.box.dim == 1 else 32
        return torch.finfo(b.dtype).eps * (terms + math.sqrt(self.system.whole.n))

    def _judged(self, u: Tensor, outcome: Outcome, b: Tensor, tol: float, refine: bool) -> Found:
        """Add to the estimate what the rounding of the answer costs."""
        largest = self.measure.largest
        size, loads = outcome.scale if len(outcome.scale) else largest(u), largest(b)
        rounded = (torch.finfo(self.system.dtype).eps * size).to(outcome.errors)
        lost, accepted = lost_below_normal(loads, size).to(outcome.errors), tol * size
        if refine:  # tol is asked of what is rounded
            errors, accepted = outcome.errors + lost + rounded, accepted + rounded
        else:
            errors = torch.maximum(outcome.errors, rounded + lost)
        # Where there is no load, the iteration has said when nothing was left.
        outcome.judge(errors, torch.where(loads > 0, accepted, math.inf))
        return Found(u, outcome)

    def _iterated(
        self, b: Tensor, held: Held, guess: Tensor | None, stopping: Stopping, tol: float
    ) -> tuple[Tensor, Outcome]:
        system = self.system.double if stopping.refine else self.system
        load = held.lifted(b, system.A)[:, None]
        if not load.numel() and stopping.maxiter:
            outcome = Outcome(Status.CONVERGED, 0, [0.0], 0.0, errors=b.new_zeros(b.shape[0]))
            return held.complete(b), outcome
        load, measure = self.assembled(load), self.measure
        loads = measure.surveyed(load)
        unit = _unit(loads.largest, load, guess, self)
        if unit is not None:
            load = load / unit
            guess, loads = None if guess is None else guess / unit, measure.surveyed(load)
        task = _Task(load, loads, held, unit, stopping, tol, self._rounding(b, self._measures))
        whole = roomy((load.shape[0], *self.system.problem.node_shape), load)
        u = self.system.box.unknowns(whole)[:, None]
        if guess is None:
            self._start(u, whole, system, task)
        else:
            _take(guess, u, system, loads.largest, measure)
        if self.system.constants or self.system.A.gaps:
            u.copy_(self.system.without_mean(u))
        start = measure.largest(measure.agreed(u))
        step = self.step(system, load, stopping.refine, loads.largest + start / self.system.scale)
        ending = tol, stopping.maxiter, task.rounding, self.steady, lambda: self.slowness
        u, outcome = iterate(step, loads, u, start, *ending)
        self._look_at(outcome, u, system, task)
        if unit is not None:
            u.mul_(unit)
            outcome.scale = outcome.scale * unit.flatten()
        if not (held.zero and self.system.constants is None and not self.system.A.gaps):
            outcome.scale = NONE  # that of the solution is another one
        return self.system.remove_mean(held.filled(whole)), outcome

    def _start(self, u: Tensor, whole: Tensor, system: System, task: _Task) -> None:
        """Write a first guess: zero or what continues the values of a box's sides, and the method's own."""
        guesses = task.stopping.maxiter > 0
        if self.system.box.dim > 1 and not task.held.zero and not task.held.inside:
            whole.copy_(self.system.blend(task.held.nodes(whole)))
            if task.unit is not None:
                whole.div_(task.unit[:, 0])
            if guesses:
                r = residual(system.A, u, task.load)
                if self.guess(r, r, self.measure.largest(r)):
                    u.add_(r)
        elif not (guesses and self.guess(task.load, u, task.loads.largest)):
            u.zero_()

    def step(self, system: System, load: Tensor, refine: bool, bound: Tensor) -> Step:
        """Return the step of the iteration, whose residuals are hardly larger than ``bound``, (batch,)."""
        return SingleStep(system.A, load, self.corrector(refine), self.measure)

    def corrector(self, refine: bool) -> Map:
        """Return what makes corrections of residuals, which with ``refine`` are in float64."""
        correct = self.scaled_correction if refine else self.correct
        # The mean that a cycle adds is no part of the solution, and the size of u is what tol refers to.
        return lambda r: self.system.without_mean(correct(self.system.balanced(r)))

    def scaled_correction(self, r: Tensor) -> Tensor:
        """Return a correction for a residual of another precision; late ones would underflow in float32."""
        return self.scaled(self.correct, r, torch.empty_like(r), self.measure.largest(r))

    def scaled(self, solve: Map, r: Tensor, out: Tensor, sizes: Tensor) -> Tensor:
        """Apply what takes the precision of corrections to residuals of the size of 1."""
        size = column(to_divide_by(sizes), r)
        e = solve(multiplied(r, 1 / size, torch.empty_like(r, dtype=self.precision)))
        return multiplied(e, self.factor * size, out)

    @cached_property
    def _even(self) -> bool:
        """Whether neighbouring couplings are alike, so that cycles are as good as they are known to be."""
        return not self.system.A.box.flat and self.system.A.smooth

    @cached_property
    def _measures(self) -> bool:
        """Whether it is measured what rounding does: where it may do much, and if that takes little time."""
        held, small = self._even and not self.system.whole.floats, self.system.whole.unknowns <= SMALL
        return self.system.box.dim > 1 and not held and small

    @property
    def small(self) -> bool:
        """Whether SciPy can factorise the matrix in about the time of the cycles."""
        return self.system.whole.unknowns <= FACTORISED[self.system.box.dim]

    @property
    def operator(self) -> Map:
        """The operator in the precision of corrections, times ``1 / factor``."""
        return self.system.A

    @cached_property
    def slowness(self) -> float:
        """How many times its last correction an error may be, where that is not known beforehand."""
        options = self.options
        plain = options.levels is None and options.omega is None and min(options.sweeps) >= 2
        if plain and self._even:
            return 0.0
        # Of cycles themselves: conjugate gradients would soon be done with a few slow parts.
        e = self.measure.noise((1, 1, *self.system.box.shape), self.precision, self.system.device)
        return slowness(self.cycled, self.operator, e, self.system.without_mean, self.measure)

    def _look_at(self, outcome: Outcome, u: Tensor, system: System, task: _Task) -> None:
        """Add to the estimate what the iteration does not see, and judge it again."""
        scale, loads, errors = outcome.scale, task.loads.largest, outcome.errors
        finite = lambda: outcome.iterations > 0 and bool(scale.isfinite().all())  # noqa: E731
        # Estimates that are nearly right stay, or it would be luck how an iteration ends.
        if self.system.box.dim == 1:
            missed = self.look.missed(u, task.load).to(errors) if finite() else errors
            errors = torch.where(missed > 3 * errors, missed, errors)
        elif self.small and self.system.A.contrast > CONTRAST and finite():
            missed = self.look.missed(u, task.load).to(errors)
            errors = torch.where((missed > errors) & (missed <= 3 * errors), errors, missed)
        elif self._measures:
            # What is thought to be left, or what is measured if that is more.
            more = self._left_by_rounding(u, system, task) - task.rounding * scale
            errors = torch.where(more > 0.1 * errors, errors + more, errors)
        if task.unit is not None:
            loads, errors, scale = (x * task.unit.flatten() for x in (loads, errors, scale))
        if self.system.box.dim > 1 and self.system.whole.unknowns <= SMALL:
            scale = self._with_held(scale, task)  # of larger boxes all is as the iteration has judged it
        # Without a load there is no size to compare with: the iteration has said when nothing was left.
        outcome.judge(errors, torch.where(loads > 0, task.tol * scale, math.inf))

    def _left_by_rounding(self, u: Tensor, system: System, task: _Task) -> Tensor:
        """Estimate each row's error by what the operator rounds, :eq:`rounding`, of which u may hold little.

        That is the solution for the differences between residuals that are the same but for rounding: of u,
        and of multiples that have other digits, as the values that are held have.
        """
        largest, own = self.measure.largest, residual(system.A, u, task.load)
        worst = torch.zeros_like(largest(u))
        moved = self._moved(system, task, 1.0)
        for factor in MULTIPLES:
            load = factor * task.load + (self._moved(system, task, factor) - factor * moved)
            other = residual(system.A, factor * u, load).div_(factor)
            e, r = torch.zeros_like(u), own - other
            self.step(system, r, task.stopping.refine, largest(r))(e)  # eq: rounding
            worst = torch.maximum(worst, largest(e))
        return 2 * worst + torch.finfo(u.dtype).eps * largest(u)

    def _moved(self, system: System, task: _Task, factor: float) -> Tensor:
        """Give what a multiple of the values that are held adds to the load."""
        moved, values = torch.zeros_like(task.load[:, 0]), task.held.many
        if values is not None:
            moved = task.held.replaced(factor * values).lifted(moved, system.A)
        moved = self.assembled(moved[:, None])
        return moved if task.unit is None else moved / task.unit

    def _with_held(self, scale: Tensor, task: _Task) -> Tensor:
        """Give the largest nodal value of each row from the largest unknown: values that are held count."""
        values = scale[:, None] if task.held.many is None else task.held.many
        return torch.maximum(scale, self.measure.largest(values).to(scale))


def attempt(
    method: Method,
    b: Tensor,
    held: Held,
    x0: Any,
    stopping: Stopping,
    project: Callable[[Constants], Tensor],
    blame: Callable[[], None],
) -> Found:
    """Run a method for loads of shape ``(batch, *unknowns)``.

    ``project`` gives the loads that are solved for where constants are mapped to zero, and ``blame`` raises
    an error, if the data are to blame that NaN or infinity turned up. Of sound data whose solution is out of
    the range of the precision, it has diverged.
    """
    system = method.system
    guess = None if x0 is None else _guess(x0, b, system)
    with within_memory(system.problem.cells), torch.no_grad():
        try:
            rows = project(system.constants) if system.constants else b
            rows = rows if system.problem.region.whole else system.A.kept(rows)
            found = method.solve(rows, held, guess, stopping)
            projected = system.constants and system.problem.compatible == "project"
            return with_data(found, b, rows, method.measure.largest) if projected else found
        except NonFiniteError:
            blame()
            u = b.new_full((b.shape[0], *system.problem.node_shape), math.nan)
            return Found(u, Outcome(Status.DIVERGED, 1, [math.nan]))


def _precision(method: Method) -> AbstractContextManager[None]:
    """Keep products in float32 precise, if there are any."""
    any_single = torch.float32 in (method.system.dtype, method.precision)
    return full_precision() if any_single else nullcontext()


def _guess(x0: Any, rows: Tensor, system: System) -> Tensor:
    """Check a first guess and give its unknowns, shape ``(batch, 1, *unknowns)``."""
    nodes = system.problem.node_shape
    guess = array("x0", x0, (nodes,), "one value per node, boundary included")
    guess = system.problem.region.inside(guess, 0.0)
    require_finite("x0", guess, len(nodes))
    guess = sent(guess, rows.device, rows.dtype).reshape(-1, *nodes)
    if guess.shape[0] not in (1, rows.shape[0]):
        raise ValueError(f"x0: got {guess.shape[0]} rows; accepted: 1, or {rows.shape[0]} as the load")
    return system.box.unknowns(guess.expand(rows.shape[0], *nodes))[:, None].clone()


def _unit(size: Tensor, load: Tensor, guess: Tensor | None, method: Method) -> Tensor | None:
    """Give a power of two for each row of a size to divide it by, so that products of its values can be held.

    It makes loads and solutions of one size where the operator is of the size 1; None for common numbers.
    """
    if guess is not None:
        size = torch.where(size > 0, size, method.measure.largest(guess))
    low, high = COMMON[load.dtype]
    common = ((size >= low) & (size <= high)) | (size == 0)
    if settle(common.all())[0]:
        return None
    if not bool(size.isfinite().all()):
        raise NonFiniteError
    exponent, one = torch.frexp(size * math.sqrt(method.system.scale))[1], torch.ones_like(size)
    unit = torch.where(common, one, torch.ldexp(one, exponent))
    return column(unit, load)


def _take(guess: Tensor, u: Tensor, system: System, loads: Tensor, measure: Measure) -> None:
    """Write a given first guess, or zero in rows where its residual would drown the load in rounding."""
    u.copy_(guess)
    # Without any load the guess is all there is, and how it vanishes is what is asked for.
    drowned = (torch.finfo(u.dtype).eps * measure.largest(system.A(u)) > loads) & (loads > 0).any()
    u.masked_fill_(column(drowned, u), 0.0)
