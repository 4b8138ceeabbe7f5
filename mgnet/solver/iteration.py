"""When to stop: the successive corrections of any iteration, and what they say of the error.

The relative residual of a fine grid cannot go below about ``0.04 eps n**2`` however good the answer is,
so it is reported but does not decide. The sizes of the corrections do, :eq:`error-estimate` and
:eq:`stopping`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.arrays import sent
from ..core.looks import settle
from ..multigrid.krylov import dots
from ..operators import loops
from ..operators.contract import Map, fused, residual
from ..operators.fused import Survey, survey
from .stopping import Outcome, Status

__all__ = [
    "ENOUGH",
    "Measure",
    "Progress",
    "SingleStep",
    "Step",
    "iterate",
    "largest",
    "lost_below_normal",
    "norms",
    "relative_norm",
    "slowness",
    "surveyed",
]

# An iteration whose smallest correction shrinks by less than this over this many steps has stagnated;
# conjugate gradients may stand still for longer before they find the slow directions.
WINDOW, PATIENCE, SHRINKAGE = 10, 60, 0.95
# Conjugate gradients that are slower than this shrink by fits and starts: the largest of the last three
# corrections counts, and the mean factor over more of them.
SLOW = 0.05
# Corrections that an estimate of the error needs.
ENOUGH = 3
# Numbers that torch shares among its threads.
LONG = 2**15
# No iteration is believed to shrink its error by more than this.
QUICKEST = 0.05
# The least that an error is believed to be, in units of its last correction, by what cycles are known to do.
KNOWN = 0.25
# What rounding may leave of a residual, in units of the last place of the load.
ROUNDED = 16
# A part of a random error that is smaller than any shape that an error may have.
SEEN = 1e-5


@dataclass
class Progress:
    """What a correction has done to an approximation.

    Of each row, shape (batch,), the Euclidean norm of the residual before it, the largest absolute value of
    the correction and, if known, of what came out.
    """

    norm: Tensor
    size: Tensor
    scale: Tensor | None = None


class Step(Protocol):
    """What :func:`iterate` repeats."""

    def __call__(self, u: Tensor) -> Progress:
        """Correct an approximation, shape ``(batch, 1, *unknowns)``, in its own memory."""

    def norm(self, u: Tensor) -> Tensor:
        """Return the Euclidean norm of the residual of each row."""


class Measure:
    """How large vectors are and what their products are, where all of their unknowns are here."""

    def norms(self, x: Tensor) -> Tensor:
        """Return the Euclidean norm of each row, shape (batch,)."""
        return norms(x)

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest absolute value of each row, shape (batch,)."""
        return largest(x)

    def surveyed(self, x: Tensor) -> Survey:
        """Return both."""
        return surveyed(x)

    def sizes(self, e: Tensor, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the largest values of a correction and, where that costs nothing more, of what it made."""
        return largest(e), None

    def products(self, *pairs: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Return the inner product of each pair of vectors, shape (batch, 1, ...)."""
        return dots(*pairs)

    def missing(self, A: Map, u: Tensor, b: Tensor, size: Tensor, out: Tensor) -> Tensor:
        """Write b − A u over the size of each row, in another precision, and return its norm, (batch,)."""
        passes = fused(A, u, b)
        if passes:
            return passes.residual(u, b, 1 / size, out=out).norm
        out.copy_(residual(A, u, b) / size.to(b).reshape(-1, *[1] * (out.ndim - 1)))
        return self.norms(out).double()

    def agreed(self, x: Tensor) -> Tensor:
        """Return a vector of which all who hold an unknown have the same value."""
        return x

    def noise(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return random numbers, always the same."""
        generator = torch.Generator("cpu").manual_seed(0)
        return sent(torch.randn(shape, generator=generator, device="cpu", dtype=dtype), device)


class SingleStep:
    """One correction of an approximation to A u = b, made from its residual.

    ``correct`` may overwrite the residual, and ``measure`` says how large vectors are.
    """

    def __init__(self, A: Map, b: Tensor, correct: Map, measure: Measure | None = None) -> None:
        self.A, self.b, self.correct, self.measure = A, b, correct, measure or Measure()

    def __call__(self, u: Tensor) -> Progress:
        """Add a correction to u; see :class:`Step`."""
        r = residual(self.A, u, self.b)
        norm = self.measure.norms(r)
        e = self.measure.agreed(self.correct(r))
        u.add_(e)
        return Progress(norm, *self.measure.sizes(e, u))

    def norm(self, u: Tensor) -> Tensor:
        """Return the norm of the residual of each row of u."""
        return self.measure.norms(residual(self.A, u, self.b))


class _Corrections:
    """The sizes of the successive corrections, (batch,) each, and the error that they let expect.

    These are few numbers, which are looked at where they are at hand: in NumPy, whose calls take less than
    torch's, and of a GPU once for each correction.
    """

    def __init__(self, rounding: float, start: np.ndarray, steady: bool) -> None:
        self.sizes: list[np.ndarray] = []
        self.rounding, self.start, self.steady = rounding, start, steady
        # Of the last corrections above rounding; a half makes the tail of a series its last member.
        self.settled = np.full_like(start, 0.5)

    def estimate(self, scale: np.ndarray) -> np.ndarray:
        """Estimate each row's error from the geometric series that its corrections follow.

        A smooth error shrinks faster at first than later, so two ratios are waited for, the larger of
        the last two counts, and none counts as less than ``QUICKEST``.
        """
        size, noise = self.sizes[-1], self.rounding * scale
        quiet = size <= 4 * noise
        if len(self.sizes) < ENOUGH:
            return np.where(quiet, size + noise, math.inf)
        factor = np.maximum(*(_ratio(new, old) for old, new in itertools.pairwise(self.sizes[-ENOUGH:])))
        if not self.steady:
            last = self.sizes[-WINDOW:]
            factor = np.maximum(factor, _ratio(last[-1], last[0]) ** (1 / (len(last) - 1)))
            size = np.where(factor > SLOW, np.maximum.reduce(self.sizes[-ENOUGH:]), size)
        factor = np.maximum(factor, QUICKEST)
        tail = _tail(size, factor)
        # Corrections that are rounding themselves follow no series, but slow ones before them leave more.
        self.settled = np.where(quiet | (factor >= 1), self.settled, factor)
        rest = _tail(self.sizes[-1], np.maximum(self.settled, 0.5))
        return np.where(quiet, np.minimum(tail, rest), tail) + noise  # eq: error-estimate

    def corrected(self, error: np.ndarray, scale: np.ndarray, hidden: float) -> np.ndarray:
        """Correct an estimate by what cycles are known to leave of an error, in units of its last correction.

        It may be that much; and conjugate gradients, whose corrections are at least as good as a cycle's in
        energy, leave hardly more.
        """
        size = self.sizes[-1]
        error = np.maximum(error, hidden * size)
        if self.steady or len(self.sizes) < ENOUGH - 1:
            return error
        known = max(2 * hidden, KNOWN) * size + self.rounding * scale  # eq: known
        return np.minimum(error, known)

    def factor(self) -> float:
        """Return the mean factor of the last corrections of the slowest row."""
        last = self.sizes[-6:]
        if len(last) < 2:
            return math.nan
        return float((_ratio(last[-1], last[0]) ** (1 / (len(last) - 1))).max())

    def stagnated(self, scale: np.ndarray) -> np.ndarray:
        """Say which rows' corrections no longer shrink."""
        still = self._still(WINDOW)
        if self.steady:
            return still
        rounded = self.sizes[-1] <= 1e3 * self.rounding * scale
        return (still & rounded) | self._still(PATIENCE)

    def _still(self, window: int) -> np.ndarray:
        if len(self.sizes) <= window:
            return np.zeros_like(self.start, dtype=bool)
        before, since = (np.minimum.reduce(part) for part in (self.sizes[:-window], self.sizes[-window:]))
        return since >= SHRINKAGE * before

    def diverged(self, scale: np.ndarray, stagnated: np.ndarray) -> np.ndarray:
        """Say which rows' corrections grow, beyond what rounding does, or are not finite."""
        size, first = self.sizes[-1], np.maximum(self.sizes[0], self.start)
        grown = size > 1.5 * self.sizes[-min(WINDOW, len(self.sizes))]
        slowly = stagnated & grown & (size > 100 * self.rounding * scale)
        return ~np.isfinite(size) | (size > 1e6 * first) | slowly


def _ratio(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Divide sizes; nothing has not grown."""
    ratio = new / old
    ratio[ratio != ratio] = 0.0
    return ratio


def _tail(size: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Sum what follows the last member of a geometric series."""
    return np.where(factor < 1, size * factor / (1 - factor), math.inf)


@np.errstate(all="ignore")  # what is not finite is judged
def iterate(
    step: Step,
    loads: Survey,
    u: Tensor,
    start: Tensor,
    tol: float,
    maxiter: int,
    rounding: float,
    steady: bool = True,
    hidden: Callable[[], float] = lambda: 0.0,
) -> tuple[Tensor, Outcome]:
    """Improve u by corrections until the estimated error is small enough, :eq:`error-estimate`.

    u, shape ``(batch, 1, *unknowns)``, becomes the last approximation, in its own memory; what comes with it
    says how the iteration ended, and its history. ``start`` are its largest entries, and ``loads`` what is
    known of the load. ``tol`` is the accepted error and ``rounding`` what
    rounding alone leaves of one, both relative to the largest nodal value of each row. ``steady`` says
    whether corrections shrink evenly, as those of cycles do and those of conjugate gradients do not.

    ``hidden`` gives how many times the last correction an error may be, whatever the corrections before it
    say: see :func:`slowness`. It is asked when the iteration would end; of conjugate gradients, which look
    for the slow parts of an error, only while that is early, and when a correction is small.
    """
    scale, load, most = _seen(start, loads.norm, loads.largest)
    unloaded, corrections, eps = most == 0, _Corrections(rounding, scale, steady), torch.finfo(u.dtype).eps
    error, good = np.full_like(scale, math.inf), np.zeros_like(unloaded)
    status, bad, begin = Status.MAXITER, ~good, scale
    found: list[np.ndarray] = []
    while len(corrections.sizes) < maxiter:
        progress = step(u)
        norm, size, scale = _seen(
            progress.norm, progress.size, largest(u) if progress.scale is None else progress.scale
        )
        found.append(norm)
        corrections.sizes.append(size)
        # A correction of nothing beside a residual, but for what rounding leaves of one, is no convergence.
        idle = (size == 0) & (norm > ROUNDED * eps * load)
        error = np.where(idle, math.inf, corrections.estimate(scale))
        # A row without a load has converged when nothing is left of the guess.
        gone = unloaded & (scale + size <= eps * begin)
        error = np.where(gone, scale, error)
        good = (error <= tol * scale) | gone  # eq: stopping
        stagnated = corrections.stagnated(scale)
        diverged = corrections.diverged(scale, stagnated)
        small = ((size <= tol * scale) & ~idle) | gone
        ends = (good if steady else good | small).all()
        status, bad = _verdict(good, stagnated, diverged)
        unseen = status in (Status.MAXITER, Status.CONVERGED)
        if unseen and ends and (steady or len(corrections.sizes) < WINDOW):
            error = np.where(idle & ~gone, math.inf, corrections.corrected(error, scale, hidden()))
            good = (error <= tol * scale) | gone
            status, bad = _verdict(good, stagnated, diverged)
        if status is not Status.MAXITER:
            break
    found.extend(_seen(step.norm(u)))
    # Without a load, from a guess, residuals are relative to the first one.
    unit = found[0] if unloaded.all() else load
    residuals = [float(_relative(norm, unit).max()) for norm in found]
    rows = torch.from_numpy(error), torch.from_numpy(scale)
    ending = residuals, float(error.max()), corrections.factor(), int(bad.argmax())
    return u, Outcome(status, len(corrections.sizes), *ending, *(sent(x, u.device) for x in rows))


def _seen(*figures: Tensor) -> list[np.ndarray]:
    """Give some numbers of each row, shape (batch,), in float64, by one look, which waits for a GPU."""
    return list(np.array(settle(*figures)).reshape(len(figures), -1))


def _verdict(good: np.ndarray, stagnated: np.ndarray, diverged: np.ndarray) -> tuple[Status, np.ndarray]:
    """Say how an iteration ends, if it does, and which rows are to blame."""
    if diverged.any():
        return Status.DIVERGED, diverged
    stuck = stagnated & ~good
    if stuck.any():
        return Status.STAGNATED, stuck
    return Status.CONVERGED if good.all() else Status.MAXITER, ~good


def slowness(cycle: Map, A: Map, e: Tensor, project: Map, measure: Measure) -> float:
    """Return how many times its last correction an error may be, seen on an error that is known.

    The parts of an error that shrink slowest are small among the first corrections, :eq:`hidden`; after some
    steps nothing else is left, so that the largest ratio of the last three of ten steps tells, or of fewer
    where nothing is left to see. The cycle
    makes corrections of residuals, always the same. The error e has something of everything, and is
    overwritten. ``project`` takes away what no correction can: constants, in a singular problem. ``measure``
    says how large vectors are.
    """
    sizes, e = [], project(e)
    start = float(measure.largest(e))
    for _ in range(WINDOW):
        c = project(cycle(A(e)))
        if loops.apply_to(e, c):
            np.subtract(e.numpy(), c.numpy(), out=e.numpy())
        else:
            e.sub_(c)
        # What rounding leaves of constants would stay while all else shrinks.
        e = project(e)
        sizes.append(torch.cat((measure.largest(e), measure.largest(c))))
        if float(sizes[-1][0]) <= SEEN * start:  # of a slow part there is more than this, at first
            break
    pairs = torch.stack(sizes[-3:]).tolist()
    return max(left / shrunk if shrunk else 0.0 for left, shrunk in pairs)  # eq: hidden


def largest(x: Tensor) -> Tensor:
    """Return the largest absolute value of each row, shape (batch,); zero for an empty row."""
    if not x.numel():
        return x.new_zeros(x.shape[0])
    if _long(x):
        return survey(x).largest.to(x.dtype)
    entries = tuple(range(1, x.ndim))
    # Twenty times as fast as aminmax; a zero from both sides is made positive.
    return torch.maximum(-x.amin(entries), x.amax(entries)).abs()


def relative_norm(r: Tensor, b: Tensor) -> float:
    """Return the Euclidean norm of a residual over that of the load, of the worst row.

    Where a load is zero the residual's own norm counts.
    """
    # Divided by its size first: a sum of squares may leave the range where its root does not.
    size = largest(b)
    size = torch.where(size > 0, size, 1.0).reshape(-1, *[1] * (b.ndim - 1))
    return float(_relative(*_seen(norms(r / size), norms(b / size))).max())


def surveyed(x: Tensor) -> Survey:
    """Return the Euclidean norm and the largest absolute value of each row, shape (batch,) each."""
    return Survey(*(of.to(x.dtype) for of in survey(x))) if _long(x) else Survey(norms(x), largest(x))


def norms(x: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, shape (batch,); zero for an empty row."""
    return survey(x).norm.to(x.dtype) if _long(x) else torch.linalg.vector_norm(x.flatten(1), dim=1)


def _long(x: Tensor) -> bool:
    """Say whether vectors are so long that threads pay, which torch's are not when others are at work."""
    return 2 <= x.ndim <= 4 + (x.shape[1] == 1) and x.numel() > LONG and loops.apply_to(x)


def _relative(norm: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return norm / np.where(unit > 0, unit, 1.0)


def lost_below_normal(loads: Tensor, size: Tensor) -> Tensor:
    """Return the part of each row of u that loads below the normal range lost before they came here.

    ``loads`` and ``size`` are the largest entries of the loads and of u, shape (batch,).
    """
    limits, wide = torch.finfo(loads.dtype), loads.double()
    part = torch.where(wide > 0, limits.smallest_normal * limits.eps / wide, 0.0)
    return (part * size).to(size)
