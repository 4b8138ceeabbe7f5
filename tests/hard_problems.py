"""Random problems of the hard kinds, and what a solver made of them, judged by the reference.

A problem is a function of its seed. ``case(seed).keywords`` is the call of :func:`mgnet.solve`.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
from draws import Draws
from reference import Data, Equal, Reference, Side

import mgnet
from mgnet import Dirichlet, Neumann, Robin, Status

SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
# What is asked for where tol is not given; as the docstring of solve has it.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
# What can be wrong with an answer, the worst first.
FAULTS = {
    "wrong": "CONVERGED, and the error is more than ten times the estimate",
    "row": "CONVERGED, and the error of a row is more than ten times what tol allows",
    "contradiction": "CONVERGED, and the estimate is more than tol allows",
    "foreign": "an exception that is not ours",
    "warning": "a warning",
    "refused": "bad input, it says, of what is solvable",
    "unsolved": "not CONVERGED, though solvable",
}
OURS = re.compile(r"^[\w ,:\[\]]+: got .*; accepted: ", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, and how it is to be solved.

    Parameters
    ----------
    seed : int
        Where it comes from.
    keywords : dict
        The arguments of :func:`mgnet.solve`.
    data : Data
        The same for the reference.
    """

    seed: int
    keywords: dict[str, Any]
    data: Data

    @cached_property
    def reference(self) -> Reference:
        """The solution."""
        return Reference(self.data)

    @property
    def eps(self) -> float:
        """The precision of the cycles."""
        return float(np.finfo(self.keywords["dtype"]).eps)

    @property
    def tol(self) -> float:
        """The tolerance, as documented."""
        given = self.keywords["tol"]
        if given is not None:
            return given
        refine = self.keywords["refine"]
        least = 4 if len(self.data.axes) == 1 else 32
        eps = float(np.finfo("float64").eps) if refine else self.eps
        rounding = eps * (least + math.sqrt(max(self.data.a.shape)))
        return max(TOLERANCE["float64" if refine else self.keywords["dtype"]], 4 * rounding)

    @cached_property
    def solvable(self) -> bool:
        """Whether a method can be expected to converge.

        When A and b are off by a rounding each, they still determine half of the digits that the precision
        has, eight in float64, and as many as ``tol`` asks for; all numbers are in range; and nothing limits
        iterations.
        """
        whole = self.keywords["maxiter"] is None
        lost = self.eps * max(self.reference.conditions)
        numbers, (least, most) = np.finfo(self.keywords["dtype"]), self.reference.range
        held = least * self.eps > float(numbers.tiny) and most < float(numbers.max) * self.eps
        return whole and held and lost < min(math.sqrt(self.eps), self.tol if self.keywords["tol"] else 1)


@dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Parameters
    ----------
    seed : int
        Its case.
    fault : str
        The kind of fault, one of ``FAULTS``, or empty.
    solvable : bool
        Whether it should be solved.
    status : str
        That of the solution, or the name of the exception.
    detail : str
        Figures or a message.
    seconds, reference_seconds : float
        Processor time that the solver and the reference took.
    """

    seed: int
    fault: str
    solvable: bool
    status: str
    detail: str
    seconds: float
    reference_seconds: float


def judge(seed: int) -> Verdict:
    """Solve a case and say what is wrong with the answer."""
    it = case(seed)
    start = time.process_time()
    error, sol = None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sol = mgnet.solve(**it.keywords, throw=False)
            estimate = sol.error_estimate
            u = np.asarray(sol.u)
    except Exception as caught:
        error = caught
    seconds = time.process_time() - start
    start = time.process_time()
    solvable = it.solvable
    if error is not None:
        fault, status, detail = _raised(error, solvable)
    else:
        fault, detail = _compared(it, sol, u, estimate)
        status = sol.status.name
    return Verdict(seed, fault, solvable, status, detail, seconds, time.process_time() - start)


def _raised(error: Exception, solvable: bool) -> tuple[str, str, str]:
    name, text = type(error).__name__, " ".join(str(error).split())[:200]
    if isinstance(error, Warning):
        return "warning", name, text
    if isinstance(error, mgnet.ResourceError) or (
        isinstance(error, ValueError | TypeError) and OURS.match(str(error))
    ):
        return "refused" if solvable else "", name, text
    return "foreign", name, text


def _compared(it: Case, sol: Any, u: np.ndarray, estimate: float) -> tuple[str, str]:
    converged = sol.status is Status.CONVERGED
    reference = it.reference
    errors = reference.errors(u.reshape(len(reference.u), *u.shape[u.ndim - len(it.data.axes) :]))
    sizes = reference.sizes
    detail = (
        f"error {max(errors):.1e} estimate {estimate:.1e} size {max(sizes):.1e} tol {it.tol:.0e}"
        f" cond {max(reference.conditions):.0e} iterations {sol.iterations}"
    )
    if not converged:
        return "unsolved" if it.solvable else "", detail
    # An answer that is rounded correctly cannot be better.
    rounding = [float(np.spacing(np.asarray(size, dtype=u.dtype))) for size in sizes]
    if not max(errors) <= 10 * estimate + max(rounding):
        return "wrong", detail
    judged = sol.method not in ("exact", "direct") or it.keywords["tol"] is not None
    for error, size, ulp in zip(errors, sizes, rounding, strict=True):
        if judged and size and not error <= 10 * it.tol * size + ulp:
            return "row", f"{detail}; a row: error {error:.1e} size {size:.1e}"
    if judged and max(sizes) and estimate > (1.1 * it.tol + it.eps) * max(sizes) + max(rounding):
        return "contradiction", detail
    return "", detail


def case(seed: int) -> Case:
    """Draw a problem."""
    return _Draw(seed).case()


class _Draw(Draws):
    """The parts of a problem, each drawn in its turn."""

    def case(self) -> Case:
        self.dim = self.pick(1, 1, 2, 2, 2, 3)
        self.single = self.chance(0.3)
        # Loads of any size, or anything else of any size.
        self.size = 1.0
        self.unit = self.strength = 1.0
        if self.chance(0.3):
            self.size = self.power(-35, 35) if self.single else self.power(-300, 300)
        elif self.chance(0.3):
            self.unit, self.strength = self.power(-12, 12), self.power(-12, 12)
        self.cells = self._cells()
        self.shape = tuple(n + 1 for n in self.cells)
        self.joined = tuple(self.chance(0.15) for _ in self.cells)
        self.axes = self._axes()
        self.a = self._a()
        self.typical = float(np.exp(np.mean(np.log(self.a))))
        self.c = self._c()
        self.sides = self._sides()
        self.lumped = self.chance(0.8)
        problem, data = self._problem()
        return Case(self.seed, problem | self._options(), data)

    # Grids

    def _cells(self) -> tuple[int, ...]:
        rng = self.rng
        if self.dim == 1:
            return (int(self.pick(rng.integers(1, 6), rng.integers(6, 65), rng.integers(65, 300))),)
        if self.chance(0.4):
            short = [int(k) for k in rng.integers(1, 6 if self.dim == 2 else 5, self.dim - 1)]
            cells = [*short, int(rng.integers(6, 120 if self.dim == 2 else 24))]
        else:
            cells = [int(k) for k in rng.integers(1, 20 if self.dim == 2 else 7, self.dim)]
        return tuple(int(k) for k in rng.permutation(cells))

    def _axes(self) -> list[Any]:
        if self.dim == 1 and self.chance(0.4):
            nodes = self._nodes()
            self.cells, self.shape = (len(nodes) - 1,), (len(nodes),)
            return [nodes]
        spread = self.pick(0, 1, 4)
        axes = []
        for n in self.cells:
            length = self.unit * n * self.power(-spread, 0)
            low = self.pick(0.0, 0.0, 0.0, -length / 2, length * float(self.rng.normal()))
            axes.append(Equal(n, low, low + length))
        return axes

    def _nodes(self) -> np.ndarray:
        n = min(self.cells[0], 64)
        widths = self.pick(
            self.power(-12, 0, n),
            np.where(self.rng.random(n) < 0.2, 1e-12, 1.0),
            self.power(-12, 0) ** (np.arange(n) / n),
            self.power(-1, 1, n),
        )
        return np.unique(np.concatenate(([0.0], np.cumsum(widths)))) * self.unit

    # Coefficients

    def _a(self) -> np.ndarray:
        rng, cells, ones = self.rng, self.cells, np.ones(self.cells)
        most = self.pick(1, 3, 6)
        self.constant = self.chance(0.2)
        if self.constant:
            return self.strength * self.power(-most, most) * ones
        other = self.power(-2 * most, 2 * most)
        kind = int(rng.integers(6))
        if kind == 0:
            a = self.power(-most, most, cells)
        elif kind == 1:
            a = np.where(rng.random(cells) < rng.random(), other, ones)
        elif kind == 2:
            axis = int(rng.integers(self.dim))
            along = [1] * self.dim
            along[axis] = -1
            a = ones * self.power(-most, most, cells[axis]).reshape(along)
        elif kind == 3:
            a = ones
            a[tuple(slice(*sorted(rng.integers(0, n + 1, 2))) for n in cells)] = other
        elif kind == 4:
            a = ones
            for _ in range(int(rng.integers(1, 4))):
                a[tuple(int(rng.integers(n)) for n in cells)] = self.power(-2 * most, 2 * most)
        else:
            waves = np.ix_(*(np.arange(n) * rng.uniform(0, 2) for n in cells))
            a = 10 ** (most * np.sin(sum(waves))) * ones
        return self.strength * a

    def _c(self) -> Any:
        """Draw c, beside what diffusion does over the longest axis."""
        natural = self.typical / max(_length(axis) for axis in self.axes) ** 2
        kind = int(self.rng.integers(6))
        if kind < 3:
            return 0.0
        if kind == 3:
            return natural * self.pick(self.power(-3, 6), self.power(-15, -6))
        if kind == 4:
            return self._joined_up(natural * self.power(-3, 3, self.shape))
        return self._joined_up(natural * np.where(self.rng.random(self.shape) < 0.05, self.power(0, 6), 0.0))

    def _joined_up(self, values: np.ndarray) -> np.ndarray:
        """Repeat the first nodes of joined axes as the last."""
        for place, joined in enumerate(self.joined, -self.dim):
            if joined:
                moved = np.moveaxis(values, place, 0)
                moved[-1] = moved[0]
        return values

    # Conditions

    def _sides(self) -> dict[tuple[int, int], Side]:
        mode = self.pick("any", "any", "natural", "dirichlet")
        quiet = self.chance(0.4)
        return {
            (axis, end): self._side(mode, axis, quiet)
            for axis, joined in enumerate(self.joined)
            for end in (0, 1)
            if not joined
        }

    def _side(self, mode: str, axis: int, quiet: bool) -> Side:
        g: Any = 0.0
        if not quiet:
            g = float(self.rng.normal())
            if self.dim > 1 and self.chance(0.2):
                # Those of the whole box, of which the side's own count, are the same where sides are joined.
                g = np.take(self._joined_up(self.rng.normal(size=self.shape)), 0, axis)
        kind = self.pick(*{"any": (0, 1, 2), "natural": (1, 1, 2), "dirichlet": (0,)}[mode])
        if kind == 0:
            return Side(True, 0.0, g)
        if kind == 1:
            return Side(False, 0.0, g)
        least, most = self.pick((-2, 2), (-13, -6), (4, 10))
        return Side(False, self.typical / _length(self.axes[axis]) * self.power(least, most), g)

    # Loads

    def _problem(self) -> tuple[dict[str, Any], Data]:
        rows = self.pick(0, 0, 0, 1, 2, 3)
        empty = Data(self.axes, self.joined, self.sides, self.a, self.c)
        ready = self.chance(0.4)
        shape = self._unknowns() if ready else self.shape
        f = self.rng.normal(size=(max(rows, 1), *shape))
        kind = int(self.rng.integers(5))
        if kind == 0:
            f *= self.rng.random(f.shape) < 0.05
        elif kind == 1:
            f = 1 + 0.01 * f
        elif kind == 2:
            f = 0 * f + self.power(-3, 3)
        if self.chance(0.05):
            f *= 0
        if not ready:
            f = self._joined_up(f)
        if empty.singular:
            f = self._balanced(f, ready)
        sizes = self.power(*self.pick((0, 0), (-3, 3), (-20, 20)), (len(f), *[1] * self.dim)) if rows else 1.0
        if empty.singular and any(np.any(side.g) for side in self.sides.values()):
            sizes = 1.0
        f = self._number(f * sizes * self.size)
        self.sides = {
            place: Side(side.holds, side.alpha, self._number(side.g * self.size))
            for place, side in self.sides.items()
        }
        data = Data(
            self.axes,
            self.joined,
            self.sides,
            self.a,
            self.c,
            **{"b" if ready else "f": np.asarray(f, dtype=float)},
            lumped=self.lumped,
        )
        self.rows = rows
        given: Any = f if rows else f[0]
        if not ready and not rows and np.all(given == given.flat[0]) and not data.singular:
            given = float(given.flat[0])
            data = replace(data, c_lumped=False)
        problem = {
            "dim": self.dim,
            "b" if ready else "f": given,
            "load": None if self.lumped else "exact",
            "a": float(self.a.flat[0]) if self.constant else self.a,
            "c": self.c,
            **self._grid_keywords(),
            **self._side_keywords(),
        }
        return problem, data

    def _number(self, x: Any) -> Any:
        """Round to the precision of the call, and to its range."""
        dtype = np.float32 if self.single else np.float64
        most = np.finfo(dtype).max / 1e3
        rounded = np.clip(x, -most, most).astype(dtype) if np.ndim(x) else dtype(min(max(x, -most), most))
        return rounded if np.ndim(x) else float(rounded)

    def _unknowns(self) -> tuple[int, ...]:
        return tuple(
            n + 1 - (joined or sum(self.sides[axis, end].holds for end in (0, 1)))
            for axis, (n, joined) in enumerate(zip(self.cells, self.joined, strict=True))
        )

    def _balanced(self, f: np.ndarray, ready: bool) -> np.ndarray:
        """Take the defect off the data of a singular problem."""
        hats = [_hats(axis) for axis in self.axes]
        fluxes = sum(
            float(
                (
                    reduce(np.multiply.outer, [h for i, h in enumerate(hats) if i != axis], np.ones(()))
                    * side.g
                ).sum()
            )
            for (axis, _), side in self.sides.items()
        )
        weights = np.ones(f.shape[1:]) if ready else reduce(np.multiply.outer, hats)
        axes = tuple(range(1, f.ndim))
        return f - ((f * weights).sum(axes, keepdims=True) + fluxes) / weights.sum()

    # Keywords

    def _grid_keywords(self) -> dict[str, Any]:
        if not isinstance(self.axes[0], Equal):
            return {"nodes": self.axes[0]}
        domain = tuple((axis.low, axis.high) for axis in self.axes)
        return (
            {"n": self.cells, "domain": domain} if self.dim > 1 else {"n": self.cells[0], "domain": domain[0]}
        )

    def _side_keywords(self) -> dict[str, Any]:
        conditions = {}
        for (axis, end), side in self.sides.items():
            natural = Robin(side.alpha, side.g) if side.alpha else Neumann(side.g)
            conditions[SIDES[axis][end]] = Dirichlet(side.g) if side.holds else natural
        return (
            {"boundary": conditions, "periodic": self.joined if self.dim > 1 else self.joined[0]}
            if conditions
            else {"periodic": self.joined if self.dim > 1 else self.joined[0]}
        )

    def _options(self) -> dict[str, Any]:
        often = ["auto", "vcycle", "fmg", "pcg", "direct"]
        method = self.pick(
            *often, *often, *often, "auto", "auto", "wcycle", "fcycle", "exact" if self.dim == 1 else "auto"
        )
        smoother = self.pick(None, None, None, "jacobi", "red-black", "chebyshev")
        omega = None
        if smoother in ("jacobi", "red-black") and self.chance(0.1):
            omega = float(self.rng.uniform(0.4, 1.2))
        coarse = self.pick(*["exact"] * 7, "direct", "direct", "smoother")
        # What needs hundreds of cycles takes minutes.
        weak = coarse == "smoother" or omega is not None or self.chance(0.1)
        maxiter = int(self.rng.integers(1, 16)) if weak else None
        return {
            "method": method,
            "smoother": smoother,
            "sweeps": self.pick(None, None, None, (1, 1), (3, 3), (2, 1)),
            "levels": self.pick(None, None, None, None, None, 1, 2, 3),
            "coarse": coarse,
            "omega": omega,
            "x0": self._x0(),
            "tol": None if self.chance(0.5) else self.power(-5 if self.single else -12, -1),
            "maxiter": maxiter,
            "refine": self.chance(0.2),
            "dtype": "float32" if self.single else "float64",
        }

    def _x0(self) -> Any:
        if self.chance(0.7):
            return None
        shape = (self.rows, *self.shape) if self.rows and self.chance(0.5) else self.shape
        noise = self.pick(0.0, 1.0, 1.0, 1.0) * self.rng.normal(size=shape)
        size = math.log10(self.size) + self.rng.uniform(-20, 30)
        most = 37 if self.single else 300
        return self._number(noise * 10 ** min(max(size, -most), most))


def _length(axis: Any) -> float:
    return axis.high - axis.low if isinstance(axis, Equal) else float(axis[-1] - axis[0])


def _hats(axis: Any) -> np.ndarray:
    widths = np.full(axis.cells, _length(axis) / axis.cells) if isinstance(axis, Equal) else np.diff(axis)
    return np.convolve(widths / 2, [1, 1])
