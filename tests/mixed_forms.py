"""Small problems at random that mix all forms which solve takes, judged by an assembly of its own.

A problem is a function of its seed: ``case(seed).keywords`` is the call of :func:`mgnet.solve`, and
``case(seed).rows`` are the same for the reference, one for each right-hand side. What fails is printed by

    python tests/mixed_forms.py FIRST COUNT
"""

from __future__ import annotations

import math
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import independent
import numpy as np
import torch
from draws import Draws
from independent import LONG, SIDES, Answer, Side, System

import mgnet
from mgnet import Dirichlet, Neumann, Robin, Status

# Which forms are drawn; a form that is not leaves the other parts of a problem as they are.
FORMS = {
    "nodes": True,  # in one dimension
    "reaction": True,
    "periodic": True,
    "nodal sides": True,  # g one value per node of a side
    "ready load": True,
    "batch": True,  # leading axes of f, g and b
    "tensors of torch": True,
    "nodes of boxes": True,  # nodes=(x, y)
    "cells": True,
    "fixed": True,
    "tensor": True,  # a=(ax, ay)
    "a at nodes": True,
    "c in cells": True,
    "f in cells": True,
    "batch of a": True,
    "batch of c": True,
    "alpha along sides": True,
    "points": True,  # b=mgnet.load(...)
    "project": True,  # compatible="project"
}
# The arguments of Poisson that go with a ready load.
PROBLEM = {"dim", "n", "domain", "nodes", "a", "c", "boundary", "periodic", "cells", "fixed", "load"}
# What can be wrong with an answer.
FAULTS = {
    "wrong": "CONVERGED, and the error is more than ten times the estimate",
    "nan": "NaN where there are cells, or numbers where there are none",
    "raised": "an exception, or a warning",
    "unsolved": "not CONVERGED, though solvable",
}


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, and how it is to be solved.

    Parameters
    ----------
    seed : int
        Where it comes from.
    drawn : dict
        The arguments of :func:`mgnet.solve`, but conditions as the reference has them.
    torch : bool
        Whether arrays are to be tensors.
    rows : sequence of independent.Problem
        The same for each right-hand side.
    """

    seed: int
    drawn: dict[str, Any]
    torch: bool
    rows: Sequence[independent.Problem]

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The arguments of :func:`mgnet.solve`; where there are ``points``, of :func:`mgnet.load` too."""
        return {name: _given(value, self.torch) for name, value in self.drawn.items()}

    @cached_property
    def answers(self) -> list[Answer]:
        """The solutions."""
        return [independent.solve(row) for row in self.rows]

    @property
    def solvable(self) -> bool:
        """Whether half of the digits, and as many as ``tol`` asks for, survive a rounding of A and b."""
        eps = float(np.finfo(self.drawn["dtype"]).eps)
        lost = eps * max(answer.condition for answer in self.answers)
        return lost < min(math.sqrt(eps), self.drawn.get("tol", 1.0))

    def solve(self) -> Any:
        """Solve it."""
        keywords = dict(self.keywords)
        points = keywords.pop("points", None)
        if points is not None:
            parts = {name: value for name, value in keywords.items() if name in PROBLEM}
            keywords["b"] = mgnet.load(mgnet.Poisson(**parts), f=keywords.pop("f"), points=points)
        return mgnet.solve(**keywords, throw=False)


@dataclass(frozen=True)
class Verdict:
    """What came of a case: its fault, one of ``FAULTS`` or empty, and what there is to say about it."""

    seed: int
    fault: str
    solvable: bool
    converged: bool
    detail: str

    def __str__(self) -> str:
        return f"case({self.seed}): {FAULTS.get(self.fault, 'sound')}: {self.detail}"


def judge(seed: int) -> Verdict:
    """Solve a case and say what is wrong with the answer."""
    it = case(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sol = it.solve()
            estimate, u = sol.error_estimate, np.asarray(sol.u)
    except Exception as error:
        (*_, last) = traceback.extract_tb(error.__traceback__)
        where = f"{last.name}, line {last.lineno}"
        return Verdict(seed, "raised", it.solvable, False, f"{type(error).__name__} in {where}: {error}")
    converged = sol.status is Status.CONVERGED
    found = u.reshape(len(it.rows), *u.shape[u.ndim - len(it.rows[0].nodes) :])
    errors, excess = [], []
    for row, answer in zip(found, it.answers, strict=True):
        errors.append(float(np.nanmax(np.abs(row - answer.u), initial=0.0)))
        # An answer that is rounded correctly cannot be better.
        excess.append(errors[-1] - float(np.spacing(np.asarray(answer.size, u.dtype))) - answer.uncertainty)
    there = [np.isnan(answer.u) for answer in it.answers]
    fault = "nan" if converged and (np.isnan(found) != there).any() else ""
    if converged and not max(excess) <= 10 * estimate:
        fault = fault or "wrong"
    if not converged and it.solvable:
        fault = "unsolved"
    row = int(np.argmax(excess))
    worst = it.answers[row]
    detail = (
        f"{sol.status.name} by {sol.method} after {sol.iterations}, estimate {estimate:.1e}; row {row}: error"
        f" {errors[row]:.1e} size {worst.size:.1e} uncertainty {worst.uncertainty:.0e}"
        f" condition {worst.condition:.0e}"
    )
    return Verdict(seed, fault, it.solvable, converged, detail)


def case(seed: int) -> Case:
    """Draw a problem."""
    return _Draw(seed).case()


class _Draw(Draws):
    """The parts of a problem, each drawn in its turn."""

    def form(self, name: str, share: float) -> bool:
        """Draw whether a form is to be had."""
        return self.chance(share) and FORMS[name]

    def case(self) -> Case:
        self.dim = self.pick(1, 2, 2, 2, 3)
        self.single = self.chance(0.3)
        self.dtype = np.float32 if self.single else np.float64
        self.sizes = tuple(int(n) for n in self.rng.integers(2, (15, 15, 8)[self.dim - 1], self.dim))
        self.shape = tuple(n + 1 for n in self.sizes)
        self.joined = tuple(self.form("periodic", 0.15) for _ in self.sizes)
        self.count = self.pick(1, 1, 2, 3)
        self.batched = self.form("batch", 0.4)
        self.count = self.count if self.batched else 1
        self.leading = False  # whether something else than f or b is a batch
        self.drawn: dict[str, Any] = {"dim": self.dim, "periodic": self._of_axes(self.joined)}
        parts: dict[str, list[Any]] = {}
        draws = (self._nodes, self._cells, self._fixed, self._diffusion, self._sides, self._reaction)
        for number, draw in enumerate(draws):
            self._restart(number)
            parts |= draw()
        self._restart(len(draws))
        tensors = self.form("tensors of torch", 0.2)
        self._options()
        return Case(self.seed, self.drawn, tensors, self._load(self._rows(parts)))

    def _restart(self, part: int) -> None:
        """Draw from other numbers, which do not depend on how many were drawn before."""
        self.rng = np.random.default_rng((self.seed, part))

    def _rows(self, parts: dict[str, Any]) -> list[independent.Problem]:
        """Make one problem for each right-hand side, of parts that are lists of as many."""
        return [
            independent.Problem(**{name: part[row] for name, part in parts.items()}, periodic=self.joined)
            for row in range(self.count)
        ]

    def _of_axes(self, values: Sequence[Any]) -> Any:
        """Give what has one value for each axis: on an interval that value."""
        return tuple(values) if self.dim > 1 else values[0]

    def _same(self, value: Any) -> list[Any]:
        return [value] * self.count

    # Where

    def _nodes(self) -> dict[str, list[Any]]:
        given = self.form("nodes", 0.4) if self.dim == 1 else self.form("nodes of boxes", 0.4)
        most = self.pick(1, 2, 4)
        axes = []
        for n in self.sizes:
            kinds = (
                self.power(-most, 0, n),
                self.power(-most, 0) ** (np.arange(n) / n),
                np.where(self.rng.random(n) < 0.3, self.power(-most, 0), 1.0),
            )
            axes.append(self.pick(-1.0, 0.0) + np.concatenate(([0.0], np.cumsum(self.pick(*kinds)))))
        domain = [(low := self.pick(0.0, 0.0, -0.5), low + n * self.power(-1, 0.3)) for n in self.sizes]
        if given:
            self.drawn["nodes"] = self._of_axes(axes)
            self.drawn |= {"n": self._of_axes(self.sizes)} if self.chance(0.2) else {}
            self.axes = [axis.astype(LONG) for axis in axes]
        else:
            self.drawn |= {"n": self._of_axes(self.sizes), "domain": self._of_axes(domain)}
            equal = [np.arange(n + 1, dtype=LONG) / n for n in self.sizes]
            self.axes = [low + (LONG(high) - low) * t for t, (low, high) in zip(equal, domain, strict=True)]
        self.lengths = [float(axis[-1] - axis[0]) for axis in self.axes]
        return {"nodes": self._same(self.axes)}

    def _cells(self) -> dict[str, list[Any]]:
        kind, share = int(self.rng.integers(5)), self.pick(0.05, 0.1, 0.3, 0.7)
        at = np.ix_(*((np.arange(n) + 0.5) / n for n in self.sizes))
        mask = self.rng.random(self.sizes) >= share  # holes, or grains
        if kind == 1:  # a disc
            mask = np.asarray(sum((x - 0.5) ** 2 for x in at) < self.rng.uniform(0.1, 0.3))
        elif kind == 2:  # an L
            mask = ~np.all(np.broadcast_arrays(*(x > self.rng.uniform(0.2, 0.8) for x in at)), 0)
        elif kind == 3:  # two parts, or more
            mask = np.ones(self.sizes, bool)
            axis = int(self.rng.integers(self.dim))
            np.moveaxis(mask, axis, 0)[:: int(self.rng.integers(2, 5))] = False
        elif kind == 4:  # a comb, with slits of one cell
            mask = np.ones(self.sizes, bool)
            mask[(slice(1, None, 2), slice(int(self.rng.integers(0, 2)), None))[: self.dim]] = False
        mask.flat[int(self.rng.integers(mask.size))] = True
        if not self.form("cells", 0.5):
            self.mask = np.ones(self.sizes, bool)
            return {}
        self.drawn["cells"] = self.mask = mask
        return {"cells": self._same(mask)}

    def _fixed(self) -> dict[str, list[Any]]:
        share = self.pick(0.02, 0.1, 0.5)
        mask = self.rng.random(self.shape) < share
        if self.chance(0.4):  # an electrode
            mask[...] = False
            mask[tuple(slice(*sorted(self.rng.integers(0, n + 1, 2))) for n in self.shape)] = True
        mask = self._joined_up(mask)
        values = self._rounded(self._joined_up(self.rng.normal(size=(self.count, *self.shape))))
        number, alone = self.chance(0.2), self.chance(0.3)
        if not self.form("fixed", 0.4):
            return {}
        if number or alone or not self.batched:
            values[:] = values.flat[0] if number else values[0]
            given = float(values.flat[0]) if number else values[0]
        else:
            given, self.leading = values, True
        self.drawn["fixed"] = (mask, given)
        return {"fixed": [(mask, row) for row in values]}

    # Coefficients

    def _diffusion(self) -> dict[str, list[Any]]:
        count = self.dim if self.form("tensor", 0.4) and self.dim > 1 else 1
        self.typical = self.power(-2, 2)
        most = self.pick(1, 2, 3)
        drawn = [self._coefficient(most) for _ in range(count)]
        given = tuple(entry for entry, _ in drawn)
        self.drawn["a"] = given if count > 1 else given[0]
        rows = [entries for _, entries in drawn]
        return {"a": [[rows[axis % count][row] for axis in range(self.dim)] for row in range(self.count)]}

    def _coefficient(self, most: int) -> tuple[Any, list[Any]]:
        """Draw a, of a contrast up to 10^(2 most), and give it as an argument and for each row."""
        batch = self.form("batch of a", 0.3) and self.batched
        self.leading |= batch
        shape = self.shape if self.form("a at nodes", 0.2) else self.sizes
        size = (self.count if batch else 1, *shape)
        kind = int(self.rng.integers(4))
        a = self.typical * self.power(-most, most) * np.ones(size)
        if kind == 1:
            a = self.typical * self.power(-most, most, size)
        elif kind == 2:
            a[self.rng.random(size) < self.rng.random()] = self.typical * self.power(-most, most)
        elif kind == 3:
            a[:, *(slice(*sorted(self.rng.integers(0, n + 1, 2))) for n in shape)] *= self.power(-most, most)
        a = self._rounded(a)
        if kind == 0 and not batch:
            return float(a.flat[0]), self._same(float(a.flat[0]))
        return (a, list(a)) if batch else (a[0], self._same(a[0]))

    def _reaction(self) -> dict[str, list[Any]]:
        """Draw c, beside what diffusion does over the longest axis."""
        natural = self.typical / max(self.lengths) ** 2
        batch = self.form("batch of c", 0.3) and self.batched
        self.by_cells = self.form("c in cells", 0.3) and not all(self.joined)
        size = (self.count if batch else 1, *(self.sizes if self.by_cells else self.shape))
        kind = int(self.rng.integers(4))
        c = natural * self.power(-3, 3) * np.ones(size)
        if kind == 1:
            c = natural * self.power(-3, 3, size)
        elif kind == 2:
            c[self.rng.random(size) < 0.8] = 0.0
        c = self._rounded(c if self.by_cells else self._joined_up(c))
        if not self.form("reaction", 0.5):
            self.by_cells = False
            return {}
        if kind == 0 and not batch:
            self.by_cells = False
            self.drawn["c"] = float(c.flat[0])
            return {"c": self._same(float(c.flat[0]))}
        self.leading |= batch
        self.drawn["c"] = c if batch else c[0]
        return {"c": list(c) if batch else self._same(c[0])}

    # Conditions

    def _sides(self) -> dict[str, list[Any]]:
        mode = self.pick("any", "any", "natural", "held")
        quiet = self.chance(0.3)
        given: dict[str, Side] = {}
        rows: list[dict[str, Side]] = [{} for _ in range(self.count)]
        for axis, joined in enumerate(self.joined):
            for name in () if joined else SIDES[axis]:
                side, each = self._side(mode, axis, quiet)
                if side.holds and not np.any(side.g) and self.chance(0.5):  # as where none is named
                    continue
                given[name] = side
                for row, condition in zip(rows, each, strict=True):
                    row[name] = condition
        if given:
            self.drawn["boundary"] = given
        return {"boundary": rows}

    def _side(self, mode: str, axis: int, quiet: bool) -> tuple[Side, list[Side]]:
        kind = self.pick(*{"any": (0, 1, 2), "natural": (1, 1, 2), "held": (0,)}[mode])
        shape = tuple(n for i, n in enumerate(self.shape) if i != axis)
        g: Any = self._rounded(self.rng.normal())
        values = self._rounded(self._joined_up(self.rng.normal(size=(self.count, *shape)), axis))
        each = self._same(g)
        nodal, batch = self.form("nodal sides", 0.4) and self.dim > 1, self.batched and self.chance(0.5)
        # As values of the whole box those of a batch would be refused.
        batch = batch and (self.count, *shape) != self.shape
        if quiet:
            g, each = 0.0, self._same(0.0)
        elif nodal:
            g, each = (values, list(values)) if batch else (values[0], self._same(values[0]))
            self.leading |= batch
        alpha: Any = self.typical / self.lengths[axis] * self.power(*self.pick((-2, 2), (-2, 2), (-5, 5)))
        along = np.where(self.rng.random(shape) < 0.5, alpha * self.power(-1, 1, shape), 0.0)
        if self.form("alpha along sides", 0.4) and self.dim > 1:
            alpha = self._rounded(self._joined_up(along, axis))
        alpha = alpha if kind == 2 else 0.0
        return Side(kind == 0, alpha, g), [Side(kind == 0, alpha, row) for row in each]

    # Loads

    def _load(self, rows: list[independent.Problem]) -> list[independent.Problem]:
        kind, points = self._kind(), self._points()
        ready = self.form("ready load", 0.2) and points is None
        in_cells = self.form("f in cells", 0.3) and not ready and not all(self.joined)
        shape = self.sizes if in_cells else self.shape
        f = self.rng.normal(size=(self.count, *shape))
        if kind == 0:
            f *= self.rng.random(f.shape) < 0.1
        elif kind == 1:
            f = 1 + 0.01 * f
        f = self._rounded(f if in_cells else self._joined_up(f))
        if shared := self.leading and self.chance(0.3):
            f[:] = f[0]
        number = self.chance(0.15) and not ready and not in_cells and not self.batched
        load = self.pick("exact", "nodal", None)
        # What is constant in cells is no nodal value: say what is meant.
        load = load or ("nodal" if in_cells or self.by_cells or points is not None else None)
        lumped = load != "exact"
        c_lumped = lumped and (load == "nodal" or not (ready or number))
        project = self.form("project", 0.3)
        found = []
        for row, problem in enumerate(rows):
            part = replace(problem, lumped=lumped, c_lumped=c_lumped, points=points or ())
            if number and not System(part).pieces:
                f[row] = f.flat[0]
            part = replace(part, **{"b" if ready else "f": f[row]})
            part = part if project else self._balanced(part)
            found.append(part)
        loads = np.array([part.b if ready else part.f for part in found])
        shared = shared and (loads == loads[0]).all()
        given: Any = loads if self.batched and not shared else loads[0]
        if number and np.ptp(given) == 0 and not System(found[0]).pieces:
            given = float(given.flat[0])
        elif number:
            found = [replace(part, c_lumped=lumped) for part in found]
        if ready:
            given = given[(..., *self._unknowns())]
        self.drawn |= {"b" if ready else "f": given, "load": load}
        self.drawn |= {} if points is None else {"points": points}
        self.drawn |= {"compatible": "project"} if project else {}
        return found

    def _kind(self) -> int:
        return int(self.rng.integers(3))

    def _points(self) -> list[Any] | None:
        """Draw point sources in cells that there are, on nodes too."""
        found = []
        for _ in range(int(self.rng.integers(1, 4))):
            cell = self.rng.permutation(np.argwhere(self.mask))[0]
            t = self.rng.random(self.dim) * self.pick(0, 1)
            corners = [(axis[i], axis[i + 1]) for axis, i in zip(self.axes, cell, strict=True)]
            x = [float(low + s * (high - low)) for (low, high), s in zip(corners, t, strict=True)]
            found.append((self._of_axes(x), float(self.rng.normal())))
        return found if self.form("points", 0.2) else None

    def _unknowns(self) -> tuple[slice, ...]:
        """Which nodes of each axis are unknowns of a box."""
        boundary = self.drawn.get("boundary", {})
        held = [[boundary.get(name, Side(True)).holds for name in pair] for pair in SIDES]
        return tuple(
            slice(None, -1) if joined else slice(int(low), n - int(high))
            for joined, n, (low, high) in zip(self.joined, self.shape, held, strict=False)
        )

    def _balanced(self, problem: independent.Problem) -> independent.Problem:
        """Take the defects off the data of pieces that nothing holds."""
        system = System(problem)
        pieces = system.pieces
        if not pieces:
            return problem
        name = "f" if problem.b is None else "b"
        data = np.array(getattr(problem, name), LONG)
        for piece, defect in zip(pieces, system.defects(), strict=True):
            if name == "b":
                data.ravel()[piece] -= defect * system.weights[piece]
            elif data.shape == self.shape:
                data.ravel()[np.isin(system.names, piece)] -= defect
            else:
                inside = np.isin(system.names[system.elements.nodes], piece).any(0)
                data[system.active] -= np.where(inside, defect, 0)
        return replace(problem, **{name: self._rounded(data)})

    # How

    def _options(self) -> None:
        methods = ["auto"] * 6 + ["direct", "direct", "pcg", "fmg", "vcycle"]
        self.drawn["method"] = self.pick(*methods, *(["exact"] if self.dim == 1 else []))
        smoother = self.pick(*[None] * 6, "red-black", "line")
        if smoother and self.drawn["method"] not in ("exact", "direct"):
            self.drawn["smoother"] = smoother
        tol = self.power(-5 if self.single else -11, -2)
        if self.chance(0.3):
            self.drawn["tol"] = tol
        self.drawn["dtype"] = "float32" if self.single else "float64"

    def _joined_up(self, values: np.ndarray, without: int | None = None) -> np.ndarray:
        """Repeat the first nodes of joined axes as the last; of a side there is one axis less."""
        joined = [flag for axis, flag in enumerate(self.joined) if axis != without]
        for place, flag in enumerate(joined, -len(joined)):
            if flag:
                moved = np.moveaxis(values, place, 0)
                moved[-1] = moved[0]
        return values

    def _rounded(self, x: Any) -> Any:
        """Round to the precision of the call."""
        return np.asarray(x).astype(self.dtype) if np.ndim(x) else float(self.dtype(x))


def _given(value: Any, tensors: bool) -> Any:
    """Make conditions of those of the reference, and if asked for tensors of all arrays in an argument."""
    if isinstance(value, Side):
        holds, alpha, g = (_given(each, tensors) for each in value)
        natural = Robin(alpha, g) if np.ndim(alpha) or alpha else Neumann(g)
        return Dirichlet(g) if holds else natural
    if isinstance(value, np.ndarray) and tensors:
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, dict):
        return {name: _given(each, tensors) for name, each in value.items()}
    return tuple(_given(each, tensors) for each in value) if isinstance(value, tuple) else value


def described(keywords: dict[str, Any]) -> str:
    """Show the keywords of a call, arrays by their shapes."""

    def shown(value: Any) -> str:
        if isinstance(value, np.ndarray | torch.Tensor):
            return f"{type(value).__name__}{tuple(value.shape)}"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name}: {shown(each)}" for name, each in value.items()) + "}"
        if isinstance(value, tuple):
            return f"({', '.join(map(shown, value))})"
        return f"{value!r}"

    return ", ".join(f"{name}={shown(value)}" for name, value in keywords.items())


def summary(verdicts: Sequence[Verdict]) -> str:
    """Say what there is to say about many cases: counts, and a line for each that is not sound."""
    solvable = [it for it in verdicts if it.solvable]
    solved = sum(it.converged for it in solvable)
    counts = ", ".join(f"{sum(it.fault == fault for it in verdicts)} {fault}" for fault in FAULTS)
    lines = [f"{len(verdicts)} problems, {solved} of {len(solvable)} solvable ones converged; {counts}"]
    return "\n".join(lines + [str(it) for it in verdicts if it.fault])


def main(first: int, count: int) -> None:
    """Judge so many cases, and print what fails as it is found."""
    verdicts = []
    for seed in range(first, first + count):
        verdicts.append(judge(seed))
        if verdicts[-1].fault:
            print(f"{verdicts[-1]}\n    {described(case(seed).keywords)}", flush=True)
    print(summary(verdicts).splitlines()[0])


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
