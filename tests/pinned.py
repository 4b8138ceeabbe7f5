"""Small, well-posed problems of every kind, whose answers are kept: what must not change by itself.

A problem is a function of its seed, and ``draw(seed).keywords`` the call of :func:`mgnet.solve`. Kept of each
answer are status, iterations, and a handful of figures of u and of the gradients (:func:`figures`).

    python tests/pinned.py --bits FILE    write what this machine computes, with a hash of all bits
    python tests/pinned.py --compare A B  say where two such files differ, by method
    python tests/pinned.py --write        keep the answers of now, after a change that was meant
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mgnet
from mgnet import Dirichlet, Neumann, Robin

STORED = Path(__file__).parent / "pinned" / "problems.npz"
SIDES = (("left", "right"), ("bottom", "top"), ("back", "front"))
COUNT, NODES, SUMS = 500, 4, 2
METHODS = ("auto", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct")
# The most cycles of what does not converge soon.
PATIENCE = 40
# What takes more is not kept, for the time it takes.
MOST = 30
# So many nodes, times the colours that a smoother has, take too long.
DEAR = 1200
# Those whose status or iterations were others without AVX2, or with two threads.
UNSTEADY = (96, 133, 140, 466)
# How many roundings, times the number of cells along all axes, may differ between two machines.
ROUNDINGS = 100
# No tolerance that is meant to be met is as small.
TINY = 1e-11


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, and how it is to be solved.

    Parameters
    ----------
    seed : int
        Where it comes from.
    keywords : dict
        The arguments of :func:`mgnet.solve`.
    leaves : dict of torch.Tensor
        What a gradient is taken by, among them.
    twice : bool
        Whether it goes the way by ``Poisson``, ``Hierarchy`` and a load that is ready.
    """

    seed: int
    keywords: dict[str, Any]
    leaves: dict[str, Tensor] = field(default_factory=dict)
    twice: bool = False

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        if "nodes" in self.keywords:
            return (len(self.keywords["nodes"]) - 1,)
        n = self.keywords["n"]
        return (n,) if isinstance(n, int) else tuple(n)

    @property
    def name(self) -> str:
        """What it is, in short."""
        return f"{len(self.cells)}-D {self.keywords['method']}"

    @property
    def low(self) -> bool:
        """Whether cycles have the precision of float32."""
        single = str(self.keywords["dtype"]).endswith("float32")
        return single or (len(self.cells) > 1 and self.keywords["method"] == "auto")

    @property
    def tol(self) -> float:
        """The tolerance, as documented."""
        if self.keywords["tol"] is not None:
            return float(self.keywords["tol"])
        single = str(self.keywords["dtype"]).endswith("float32") and not self.keywords["refine"]
        eps = float(np.finfo("float32" if single else "float64").eps)
        least = 4 if len(self.cells) == 1 else 32
        return max(1e-5 if single else 1e-10, 4 * eps * (least + math.sqrt(max(self.cells))))

    def changed(self, **keywords: Any) -> Case:
        """Return the same problem with other keywords and without gradients."""
        plain = {name: _plain(x) if isinstance(x, Tensor) else x for name, x in self.keywords.items()}
        return replace(self, keywords={**plain, **keywords}, leaves={})

    def shaken(self, share: float) -> Case:
        """Return a problem whose data differ by a share of their size, so that all is rounded otherwise."""
        factors = {"f": 1 + share, "b": 1 + share, "a": 1 - share, "c": 1 + 2 * share}
        given = {name: self.keywords.get(name) for name in factors}
        return self.changed(**{name: _times(factors[name], x) for name, x in given.items() if x is not None})


@dataclass(frozen=True)
class Answer:
    """What is kept of a solution.

    Parameters
    ----------
    status : str
        The name of its status.
    iterations : int
        Cycles done.
    dtype : str
        Precision of u.
    parts : dict of numpy.ndarray
        Figures of u, and of the gradient by each leaf; the last of each is the largest absolute value.
    bits : str
        Hash of all of u and the gradients.
    """

    status: str
    iterations: int
    dtype: str
    parts: dict[str, np.ndarray]
    bits: str


def answer(case: Case) -> Answer:
    """Solve a problem, take the gradient of a weighted sum if it has one, and reduce both to figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sol = _by_hierarchy(case) if case.twice else mgnet.solve(**case.keywords, throw=False)
        arrays = {"u": sol.u}
        if case.leaves:
            weights = np.random.default_rng([case.seed, 2]).normal(size=sol.u.shape)
            total = (sol.u * torch.from_numpy(weights).to(sol.u)).sum()
            arrays |= zip(case.leaves, torch.autograd.grad(total, list(case.leaves.values())), strict=True)
    given = {name: np.ascontiguousarray(_plain(x)) for name, x in arrays.items()}
    bits = hashlib.sha256(b"".join(x.tobytes() for x in given.values())).hexdigest()
    parts = {name: figures(case.seed, x) for name, x in given.items()}
    return Answer(sol.status.name, sol.iterations, str(given["u"].dtype), parts, bits)


def _by_hierarchy(case: Case) -> Any:
    """Solve with the same keywords, shared out among the three calls."""
    keywords = dict(case.keywords)
    rest = {name: keywords.pop(name) for name in ("x0", "tol", "maxiter", "refine")}
    options = {
        name: keywords.pop(name)
        for name in ("method", "smoother", "sweeps", "levels", "coarse", "omega", "dtype")
    }
    b = keywords.pop("b")
    return mgnet.Hierarchy(mgnet.Poisson(**keywords), **options).solve(b, **rest, throw=False)


def _times(factor: float, x: Any) -> Any:
    if callable(x):
        return lambda *points: factor * x(*points)
    return (factor * _plain(x)).astype(_plain(x).dtype) if np.ndim(_plain(x)) else factor * float(_plain(x))


def _plain(x: Any) -> np.ndarray:
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def figures(seed: int, x: np.ndarray) -> np.ndarray:
    """Reduce an array to values of some of its nodes, weighted means, and the largest absolute value."""
    rng = np.random.default_rng([seed, 1])
    x = np.nan_to_num(x.astype(np.float64).ravel(), posinf=0.0, neginf=0.0)  # where it diverged
    nodes = x[rng.integers(x.size, size=NODES)]
    means = rng.normal(size=(SUMS, x.size)) @ x / x.size
    return np.concatenate([nodes, means, [np.abs(x).max()]])


# The problems


def draw(seed: int) -> Case:
    """Draw a problem."""
    return _Draw(seed).case()


class _Draw:
    """The parts of a problem, each drawn in its turn."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, np.random.default_rng([seed, 0])
        self.leaves: dict[str, Tensor] = {}
        self.stretched = False

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def case(self) -> Case:
        self.dim = self.pick(1, 1, 2, 2, 3)
        self.single, self.torch = self.chance(0.25), self.chance(0.4)
        self.gradient = self.chance(0.25)
        self.torch |= self.gradient
        self.twice = not self.gradient and self.chance(0.1)
        self.grid()
        self.joined = tuple(self.chance(0.2) for _ in self.cells)
        self.c = self.coefficient_c()
        kinds = self.kinds()
        held = any(kind == "dirichlet" for kind in kinds.values())
        self.singular = not held and "robin" not in kinds.values() and self.c is None
        self.sides = {name: self.side(name, kind) for name, kind in kinds.items()}
        self.a = self.coefficient_a()
        keywords = {**self.grid_keywords, **self.conditions(), **self.right_hand_side()}
        keywords |= {"a": self.a, "c": self.c}
        keywords |= {"load": self.pick(None, None, None, "exact", "nodal")}
        return Case(self.seed, keywords | self.options(), self.leaves, self.twice)

    # Grid

    def grid(self) -> None:
        rng = self.rng
        if self.dim == 1:
            n = int(self.pick(rng.integers(1, 6), rng.integers(6, 65), rng.integers(6, 65), 8, 32, 64))
            if self.chance(0.3):
                widths = rng.uniform(0.2, 1.0, n)
                self.axes = [np.concatenate([[0.0], np.cumsum(widths)]) / n - self.pick(0.0, 0.5)]
                self.cells, self.grid_keywords = (n,), {"nodes": self.axes[0].copy()}
                return
            self.cells = (n,)
        else:
            most = 25 if self.dim == 2 else 8
            n = int(rng.integers(2, most))
            self.cells = tuple(int(k) for k in rng.integers(1, most, self.dim))
            if self.chance(0.4):
                self.cells = (self.pick(n, n, 8, 16 if self.dim == 2 else 4),) * self.dim
        ends = [(0.0, 1.0)] * self.dim
        if self.chance(0.4):
            # Cells stay nearly squares: point smoothers are to converge.
            unit = float(rng.uniform(0.5, 2)) / max(self.cells)
            lows = rng.normal(size=self.dim)
            ends = [(float(low), float(low + k * unit)) for low, k in zip(lows, self.cells, strict=True)]
        self.axes = [np.linspace(*pair, k + 1) for pair, k in zip(ends, self.cells, strict=True)]
        widths = [float(axis[1] - axis[0]) for axis in self.axes]
        self.stretched = max(widths) > 1.1 * min(widths)
        self.grid_keywords = {"n": self.cells, "domain": tuple(ends), "dim": self.dim}
        if self.dim == 1:
            self.grid_keywords = {"n": self.cells[0], "domain": ends[0]}

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(k + 1 for k in self.cells)

    def hats(self, axes: Iterable[int]) -> np.ndarray:
        """Return the integrals of the hats on these axes."""
        parts = [np.convolve(np.diff(self.axes[axis]) / 2, [1, 1]) for axis in axes]
        return reduce(np.multiply.outer, parts, np.ones(()))

    def wave(self) -> Callable[..., Any]:
        """Return a periodic function of the coordinates, between -1 and 1."""
        rng, lows = self.rng, [axis[0] for axis in self.axes]
        factors = [2 * math.pi * int(rng.integers(1, 3)) / (axis[-1] - axis[0]) for axis in self.axes]
        phase = rng.uniform(0, 6, self.dim)

        def value(*x: Any) -> Any:
            terms = zip(x, lows, factors, phase, strict=True)
            return sum(np.sin(k * (t - low) + p) for t, low, k, p in terms) / len(lows)

        return value

    def joined_up(self, values: np.ndarray) -> np.ndarray:
        """Repeat the first nodes of joined axes as the last."""
        for place, joined in enumerate(self.joined, -self.dim):
            if joined:
                moved = np.moveaxis(values, place, 0)
                moved[-1] = moved[0]
        return values

    def given(self, name: str, values: Any) -> Any:
        """Hand a number or an array over, as what the user has; perhaps to take a gradient by it."""
        if not self.gradient or not self.chance(0.6):
            return torch.tensor(values) if self.torch and np.ndim(values) else values
        leaf = torch.tensor(values, dtype=torch.float64).requires_grad_()
        self.leaves[name] = leaf
        return leaf

    # Coefficients

    def coefficient_a(self) -> Any:
        rng, kind = self.rng, int(self.rng.integers(6))
        if kind < 2:
            return None
        if kind == 2:
            return self.given("a", float(rng.uniform(0.5, 3)))
        if kind == 3:
            wave, size = self.wave(), float(rng.uniform(0, 1))
            return lambda *x: np.exp(size * wave(*x))
        if kind == 4:
            return self.given("a", rng.uniform(0.5, 2, self.cells))
        a = np.ones(self.cells)
        a[tuple(slice(*sorted(rng.integers(0, k + 1, 2))) for k in self.cells)] = self.pick(0.05, 20.0, 100.0)
        return self.given("a", a)

    def coefficient_c(self) -> Any:
        rng, kind = self.rng, int(self.rng.integers(7))
        if kind < 4:
            return None
        if kind == 4:
            return self.given("c", float(rng.uniform(0.5, 20)))
        if kind == 5:
            wave, size = self.wave(), float(rng.uniform(1, 20))
            return lambda *x: size * (1.1 + wave(*x))
        return self.given("c", self.joined_up(rng.uniform(0, 20, self.nodes)))

    # Conditions

    def kinds(self) -> dict[str, str]:
        mode = self.pick("dirichlet", "any", "any", "neumann", "natural")
        accepted = {"any": ("dirichlet", "neumann", "robin"), "natural": ("neumann", "robin")}
        return {
            name: self.pick(*accepted.get(mode, (mode,)))
            for pair, joined in zip(SIDES, self.joined, strict=False)
            if not joined
            for name in pair
        }

    def side(self, name: str, kind: str) -> tuple[str, Any, np.ndarray]:
        """Draw a condition: its kind, the condition, and g as an array where it is one or a number."""
        axis = next(i for i, pair in enumerate(SIDES) if name in pair)
        shape = self.nodes[:axis] + self.nodes[axis + 1 :]
        choice = self.pick(0, 1, 1, 2, 3) if self.dim > 1 else self.pick(0, 1)
        values = np.zeros(shape) if choice == 0 else np.full(shape, float(self.rng.normal()))
        if choice == 2:
            whole = self.joined_up(self.rng.normal(size=self.nodes))
            values = np.ascontiguousarray(np.take(whole, 0, axis))
        # The sum of the data of a singular problem must be known.
        g = self.wave() if choice == 3 and not self.singular else values
        if choice in (0, 1):
            g = float(values.flat[0])
        if choice and not callable(g) and not self.singular:
            g = self.given(f"g {name}", g)
        if kind == "robin":
            return kind, Robin(float(self.rng.uniform(0.5, 3)), g), values
        return kind, (Dirichlet if kind == "dirichlet" else Neumann)(g), values

    def conditions(self) -> dict[str, Any]:
        sides = {name: side for name, (_, side, _) in self.sides.items()}
        joined = self.joined if self.dim > 1 else self.joined[0]
        if self.dim == 1 and self.chance(0.5):
            return {**sides, "periodic": joined}
        return {"boundary": sides or None, "periodic": joined}

    # Loads

    def right_hand_side(self) -> dict[str, Any]:
        ready = self.twice or self.chance(0.2)
        rows = self.pick((), (), (), (1,), (2,), (2, 2))
        if not ready and not self.singular and not rows and self.chance(0.6):
            return {"f": self.function() if self.chance(0.6) else self.given("f", float(self.rng.normal()))}
        shape = self.unknowns() if ready else self.nodes
        f = self.rng.normal(size=(*rows, *shape))
        if not ready:
            f = self.joined_up(f)
        if self.singular:
            f = self.balanced(f, ready)
        if self.single and not self.gradient:
            f = f.astype(np.float32)
        return {"b" if ready else "f": self.given("f", f)}

    def function(self) -> Callable[..., Any]:
        wave, size = self.wave(), float(self.rng.uniform(1, 10))
        if self.torch:
            return lambda *x: torch.as_tensor(size * wave(*x))
        return lambda *x: size * (0.3 + wave(*x))

    def unknowns(self) -> tuple[int, ...]:
        lost = [
            joined or sum(self.sides[name][0] == "dirichlet" for name in pair)
            for pair, joined in zip(SIDES, self.joined, strict=False)
        ]
        return tuple(k - less for k, less in zip(self.nodes, lost, strict=True))

    def balanced(self, f: np.ndarray, ready: bool) -> np.ndarray:
        """Take off what keeps the data of a singular problem from summing to zero."""
        flux = 0.0
        for axis, pair in enumerate(SIDES[: self.dim]):
            others = self.hats(i for i in range(self.dim) if i != axis)
            flux += sum(float((others * self.sides[name][2]).sum()) for name in pair if name in self.sides)
        weights = np.ones(f.shape[f.ndim - self.dim :]) if ready else self.hats(range(self.dim))
        axes = tuple(range(f.ndim - self.dim, f.ndim))
        given = flux if not self.twice else 0.0  # there the fluxes are in the load
        return f - ((f * weights).sum(axes, keepdims=True) + given) / weights.sum()

    # Options

    def options(self) -> dict[str, Any]:
        method = self.pick(*METHODS, *(["exact", "exact"] if self.dim == 1 else []))
        smoother = self.pick(None, None, "jacobi", "red-black", "chebyshev")
        omega = float(self.rng.uniform(0.6, 1.0)) if self.chance(0.3) else None
        if smoother not in ("jacobi", "red-black"):
            omega = None
        stopped = self.chance(0.3)
        maxiter = int(self.rng.integers(1, 4)) if stopped else None
        coarse = self.pick("exact", "exact", "exact", "direct", "smoother")
        levels = self.pick(None, None, None, 1, 2, 3)
        slow = levels or omega or coarse == "smoother" or self.stretched or self.a is not None
        if not stopped and slow:
            maxiter = PATIENCE
        tol = self.pick(None, None, 1e-3, 1e-4 if self.single else 1e-8)
        # Many sweeps of many colours on many grids take long, and teach no more than a few.
        heavy = method in ("wcycle", "fcycle") or coarse == "smoother" or smoother == "red-black"
        if heavy and self.dim > 1:
            maxiter, tol = min(maxiter or 3, 3), self.pick(1e-2, 1e-3, tol)
            coarse = "exact" if smoother == "red-black" and coarse == "smoother" else coarse
        if self.chance(0.06):
            smoother, omega, maxiter = "jacobi", 1.9, PATIENCE  # it may diverge
        elif self.single and self.chance(0.2):
            tol = 1e-12  # more than its precision has
        return {
            "method": method,
            "smoother": smoother,
            "sweeps": self.pick(None, None, (1, 1), (3, 3), (2, 1), (0, 2)),
            "levels": levels,
            "coarse": coarse,
            "omega": omega,
            "x0": self.rng.normal(size=self.nodes) if self.chance(0.2) else None,
            "tol": tol,
            "maxiter": maxiter,
            "refine": self.chance(0.15),
            "dtype": self.precision(),
        }

    def precision(self) -> Any:
        if not self.single:
            return self.pick(torch.float64, "float64")
        return self.pick(torch.float32, "float32")


# What is kept


def load() -> dict[int, Answer]:
    """Return the answers that are kept, by seed."""
    with np.load(STORED) as file:
        columns = {name: file[name] for name in file.files}
    found, width = {}, NODES + SUMS + 1
    ends = np.cumsum([len(names.split(",")) for names in columns["parts"].tolist()])
    for i, seed in enumerate(columns["seeds"].tolist()):
        names = columns["parts"][i].split(",")
        rows = columns["figures"][ends[i] - len(names) : ends[i]].reshape(len(names), width)
        found[seed] = Answer(
            str(columns["status"][i]),
            int(columns["iterations"][i]),
            str(columns["dtype"][i]),
            dict(zip(names, rows, strict=True)),
            "",
        )
    return found


def write(answers: dict[int, Answer]) -> None:
    """Keep answers."""
    values = list(answers.values())
    np.savez_compressed(
        STORED,
        seeds=np.array(list(answers)),
        status=np.array([it.status for it in values]),
        iterations=np.array([it.iterations for it in values]),
        dtype=np.array([it.dtype for it in values]),
        parts=np.array([",".join(it.parts) for it in values]),
        figures=np.concatenate([list(it.parts.values()) for it in values]),
    )


def close(case: Case, one: Answer, other: Answer) -> str:
    """Say what is different in two answers to a problem that no rounding explains."""
    if one.status != other.status:
        return f"status {other.status} instead of {one.status}"
    if one.dtype != other.dtype:
        return f"dtype {other.dtype} instead of {one.dtype}"
    if list(one.parts) != list(other.parts):
        return f"{list(other.parts)} instead of {list(one.parts)}"
    if one.status in ("STAGNATED", "DIVERGED"):
        return ""  # when, and where then, rounding says
    slack = 2 if case.low or case.keywords["method"] == "pcg" else 1
    if abs(one.iterations - other.iterations) > slack:
        return f"{other.iterations} iterations instead of {one.iterations}"
    for part, kept in one.parts.items():
        allowed = accepted(case, one, part, other.iterations) * kept[-1]
        error = float(np.abs(kept - other.parts[part]).max())
        if not error <= allowed:
            return f"{part} is off by {error:.1e}, where {allowed:.1e} is allowed"
    return ""


def accepted(case: Case, kept: Answer, part: str, iterations: int) -> float:
    """Return how far the figures may be off, relative to the largest value."""
    eps = float(np.finfo("float32" if case.low or kept.dtype == "float32" else "float64").eps)
    steps = 1 if part == "u" else sum(case.cells)  # derivatives by a are made of differences
    # After as many cycles there is the same error, but for rounding, of which conjugate gradients make more.
    more = 10 if case.keywords["method"] in ("auto", "pcg") else 1
    rounding = ROUNDINGS * more * sum(case.cells) * eps
    converged = kept.status == "CONVERGED" and kept.iterations > 1
    if part == "u" and (iterations == kept.iterations or not converged):
        return rounding
    return steps * (rounding + (10 * case.tol if converged else 0.0))


def steady(case: Case, first: Answer) -> bool:
    """Say whether neither status nor iterations hang on rounding or on the last digits of the tolerance."""
    if first.iterations > MOST:
        return False
    share = 4 * float(np.finfo("float32" if case.low else "float64").eps)
    for factor in (0.8, 1.25):
        other = case.shaken(share if factor > 1 else -share)
        if case.tol > TINY:
            other = other.changed(tol=case.tol * factor)
        again = answer(other)
        if again.status != first.status:
            return False
        if first.status == "MAXITER" and again.iterations != first.iterations:
            return False
        if first.status == "CONVERGED" and abs(again.iterations - first.iterations) > 1:
            return False
    return True


def drawn() -> Iterator[tuple[int, Answer]]:
    """Draw problems and solve them, and pass on those that all machines solve alike, and soon."""
    for case in map(draw, itertools.count()):
        if case.seed in UNSTEADY:
            continue
        colours = 2 ** len(case.cells) if case.keywords["smoother"] == "red-black" else 1
        if colours * math.prod(case.cells) > DEAR:
            continue
        first = answer(case)
        if steady(case, first):
            yield case.seed, first


def compared(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Say where two files of ``--bits`` differ, by method."""
    first, second = ({row["seed"]: row for row in map(json.loads, lines)} for lines in (one, other))
    same: Counter[str] = Counter()
    differing: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for seed in sorted(first.keys() | second.keys()):
        a, b = first.get(seed), second.get(seed)
        name = (a or b)["name"]
        if a == b:
            same[name] += 1
        else:
            differing[name].append((seed, _distance(a, b)))
    lines = []
    for name in sorted(same.keys() | differing.keys()):
        seeds = differing.get(name, [])
        worst = max((size for _, size in seeds), default=0.0)
        text = f"{name:12} same {same[name]:3}  differing {len(seeds):3}"
        lines.append(text + (f", by {worst:.1e} at most: {[seed for seed, _ in seeds]}" if seeds else ""))
    return lines


def _distance(a: Any, b: Any) -> float:
    """Return how far figures are apart, relative to the largest value; inf where more than they differ."""
    if not a or not b or any(a[key] != b[key] for key in ("status", "iterations", "dtype")):
        return math.inf
    if a["parts"].keys() != b["parts"].keys():
        return math.inf
    pairs = [(np.array(x), np.array(b["parts"][part])) for part, x in a["parts"].items()]
    return max(float(np.abs(x - y).max()) / (float(x[-1]) or 1.0) for x, y in pairs)


def row(case: Case, it: Answer) -> str:
    """Return a line of ``--bits``."""
    parts = {name: x.tolist() for name, x in it.parts.items()}
    kept = {"status": it.status, "iterations": it.iterations, "dtype": it.dtype, "parts": parts}
    return json.dumps({"seed": case.seed, "name": case.name, **kept, "bits": it.bits})


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--bits", metavar="FILE", type=Path)
    group.add_argument("--compare", metavar=("A", "B"), type=Path, nargs=2)
    group.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        print("\n".join(compared(*(path.read_text().splitlines() for path in arguments.compare))))
    elif arguments.bits:
        cases = map(draw, load())
        arguments.bits.write_text("".join(row(case, answer(case)) + "\n" for case in cases))
    else:
        write(dict(itertools.islice(drawn(), COUNT)))


if __name__ == "__main__":
    main()
