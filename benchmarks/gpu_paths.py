"""What a GPU must answer as a CPU does: every method, kind of data, precision and derivative."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mgnet

Problem = dict[str, Any]
Answer = Callable[[str], list[Tensor]]
NEUMANN, ROBIN = mgnet.Neumann(0.0), mgnet.Robin(2.0, 0.5)
CYCLES = ["vcycle", "wcycle", "fcycle", "fmg", "pcg"]
# Of the largest entry; iterations may end in other digits, where rounding takes one more of them.
MOST = {"float64": 1e-8, "float32": 1e-4}


@dataclass(frozen=True)
class Path:
    """What is computed on a device named, and which of the bounds holds."""

    section: str
    name: str
    answer: Answer
    precision: str = "float64"

    def difference(self, device: str) -> float:
        """Return the largest difference between the device and the CPU, over the largest entry."""
        worst = 0.0
        for there, here in zip(self.answer(device), self.answer("cpu"), strict=True):
            if there.device.type != torch.device(device).type:
                raise AssertionError(f"the answer is on {there.device}")
            there, here = there.detach().cpu().double(), here.detach().double()
            scale = float(here.abs().max()) or 1.0
            worst = max(worst, float((there - here).nan_to_num(torch.inf).abs().max()) / scale)
        return worst


def paths(quick: bool) -> Iterator[Path]:
    """Give all paths, those that most depends on first."""
    n = {1: (17,), 2: (6, 4), 3: (4, 3, 4)} if quick else {1: (1000,), 2: (64, 48), 3: (20, 16, 12)}
    for dim in (1, 2, 3):
        for name, problem in problems(n[dim]).items():
            precision = str(problem.get("dtype", "float64"))
            yield Path(f"{dim}-D", name, partial(solved, problem), precision)
    for dim in (1, 2, 3):
        for name, data in derived(n[dim]).items():
            yield Path("Gradients", f"{dim}-D, {name}", partial(gradients, n[dim], data))
    for dim in (1, 2, 3):
        yield Path("What is around a solve", f"{dim}-D, a hierarchy used again", partial(again, n[dim]))
        if dim > 1:
            from_graph = partial(again, n[dim], graph=True)
            yield Path("What is around a solve", f"{dim}-D, cycles from a CUDA graph", from_graph)
        yield Path("What is around a solve", f"{dim}-D, values between nodes", partial(between, n[dim]))
        yield Path("What is around a solve", f"{dim}-D, integrals", partial(integrals, n[dim]))
        yield Path("What is around a solve", f"{dim}-D, loads and masses", partial(loads, n[dim]))
    yield Path("What is around a solve", "a network, trained", trained, "float32")


def rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def problems(n: tuple[int, ...]) -> dict[str, Problem]:
    """Give the arguments of solves."""
    dim, r = len(n), rng("problems")
    box: Problem = {"n": n[0] if dim == 1 else n, "dim": dim}
    nodes = tuple(k + 1 for k in n)
    f, rows = r.standard_normal(nodes), r.standard_normal((3, *nodes))
    a, c = 10 ** r.uniform(-0.5, 0.5, n), r.random(nodes)
    plain: Problem = {"f": f, **box}
    ends = {"left": mgnet.Dirichlet(1.0), "right": ROBIN}
    sides: Problem = ends if dim == 1 else {"boundary": ends}
    natural: Problem = {"left": NEUMANN, "right": NEUMANN} if dim == 1 else {"boundary": NEUMANN}
    stretched = [np.cumsum(np.concatenate(([0.0], 0.5 + r.random(k)))) for k in n]
    first = (slice(None, -1),) + (slice(None),) * (dim - 1)
    around: Any = True if dim == 1 else (True, *[False] * (dim - 1))
    made = {
        "auto": plain,
        "a per cell": {**plain, "a": a},
        "a per cell, c, sides": {**plain, "a": a, "c": c, **sides},
        "float32": {**plain, "f": f.astype(np.float32), "dtype": "float32"},
        "float32, a per cell": {**plain, "a": a, "dtype": "float32", "method": "pcg"},
        "refined": {**plain, "dtype": "float32", "refine": True, "method": "exact" if dim == 1 else "pcg"},
        "rows": {**plain, "f": rows},
        "rows, a per cell": {**plain, "f": rows, "a": a, **sides},
        "an operator for each sample": {**plain, "a": np.stack((a, 2 * a + 1))},
        "periodic": {**box, "f": f[first] - f[first].mean(), "periodic": around, "compatible": "project"},
        "Neumann": {**plain, **natural, "compatible": "project"},
        "nodes": {"f": f, "dim": dim, "nodes": stretched[0] if dim == 1 else tuple(stretched)},
        "functions": {**box, "f": lambda *x: torch.sin(x[0]), "a": lambda *x: 1 + x[0], "c": 1.0, **sides},
        "first guess": {**plain, "x0": f, "method": "vcycle"},
        "direct": {**plain, "method": "direct"},
        "coarse grid by sweeps": {**plain, "method": "pcg", "coarse": "smoother"},
        "coarse grid, direct": {**plain, "method": "fmg", "coarse": "direct"},
        **{method: {**plain, "method": method} for method in CYCLES},
        **{f"{method}, a per cell": {**plain, "a": a, "method": method} for method in CYCLES},
        **{
            f"vcycle, {smoother}": {**plain, "method": "vcycle", "smoother": smoother}
            for smoother in ("jacobi", "red-black", "chebyshev")
        },
    }
    if dim == 1:
        graded = {"f": f, "nodes": stretched[0], "a": a, "c": c, **sides}
        made["exact, a, c, nodes"] = {**graded, "method": "exact"}
        made["exact, periodic"] = {"f": f, "n": n[0], "a": a, "c": 1.0, "periodic": True}
        return made
    held = r.random(nodes) < 0.1
    active = np.ones(n, bool)
    active[tuple(slice(k // 2, None) for k in n)] = False
    made["a tensor"] = {**plain, "a": (a, *[1.0] * (dim - 1))}
    made["nodes that are held"] = {**plain, "fixed": (held, f)}
    made["a domain of cells"] = {**plain, "cells": active}
    return made


def placed(device: str, x: Any) -> Any:
    """Put arrays on the device, however they are nested."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(np.array(x)).to(device)
    if isinstance(x, dict):
        return {key: placed(device, value) for key, value in x.items()}
    return tuple(placed(device, value) for value in x) if isinstance(x, tuple) else x


def solved(problem: Problem, device: str) -> list[Tensor]:
    data = {name: x if name == "fixed" else placed(device, x) for name, x in problem.items()}
    sol = mgnet.solve(**data, device=device)
    return [torch.as_tensor(sol.u).nan_to_num()]  # NaN lies outside a domain of cells


def derived(n: tuple[int, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Give what derivatives are taken by."""
    r, nodes = rng("gradients"), tuple(k + 1 for k in n)
    f, g = r.random(nodes), np.array(0.5)
    return {
        "cells alike": {"f": f, "g": g},
        "a per cell": {"f": f, "a": 0.5 + r.random(n), "g": g},
        "a, c, rows": {"f": r.random((2, *nodes)), "a": 0.5 + r.random(n), "c": r.random(nodes), "g": g},
    }


def gradients(n: tuple[int, ...], data: dict[str, np.ndarray], device: str) -> list[Tensor]:
    """Give the gradients of a sum of squares by everything."""
    tensors = {name: placed(device, x).requires_grad_() for name, x in data.items()}
    given = {name: x for name, x in tensors.items() if name != "g"}
    left = {"left": mgnet.Dirichlet(tensors["g"])}
    ends: Problem = left if len(n) == 1 else {"boundary": left}
    sol = mgnet.solve(**given, **ends, n=n[0] if len(n) == 1 else n, dim=len(n), device=device)
    return list(torch.autograd.grad(sol.u.square().sum(), list(tensors.values())))


def again(n: tuple[int, ...], device: str, graph: bool = False) -> list[Tensor]:
    """Solve with one hierarchy twice; cycles are replayed from a graph where there are such, if asked for."""
    r = rng("again")
    for_one = mgnet.Poisson(n=n[0] if len(n) == 1 else n, dim=len(n), a=10 ** r.uniform(-0.5, 0.5, n))
    hierarchy = mgnet.Hierarchy(for_one, device=device, graph=graph and device == "cuda")
    loads = [r.standard_normal([k - 1 for k in n]) for _ in range(2)]
    return [hierarchy.solve(placed(device, b)).u for b in loads]


def solution(n: tuple[int, ...], device: str) -> Any:
    f = rng("solution").standard_normal([k + 1 for k in n])
    return mgnet.solve(placed(device, f), n=n[0] if len(n) == 1 else n, dim=len(n), device=device)


def between(n: tuple[int, ...], device: str) -> list[Tensor]:
    points = rng("between").random((7, len(n)))
    where = points[:, 0] if len(n) == 1 else points
    sol = solution(n, device)
    return [sol(where), sol.derivative(where)]


def integrals(n: tuple[int, ...], device: str) -> list[Tensor]:
    sol = solution(n, device)
    return [torch.as_tensor(x, device=device) for x in (sol.flux("right"), sol.energy, sol.integral())]


def loads(n: tuple[int, ...], device: str) -> list[Tensor]:
    r, dim = rng("loads"), len(n)
    problem = mgnet.Poisson(n=n[0] if dim == 1 else n, dim=dim)
    points = r.random(4) if dim == 1 else r.random((4, dim))
    b = mgnet.load(problem, 1.0, (placed(device, points), placed(device, r.standard_normal(4))))
    u = placed(device, r.standard_normal([k + 1 for k in n]))
    return [b, *[mgnet.mass(problem, lumped)(u) for lumped in (False, True)]]


def trained(device: str) -> list[Tensor]:
    """Give the losses and scores of a small network after an epoch in float32."""
    torch.manual_seed(0)
    model = mgnet.models.create("mgnet", channels=4, nu=[1, 1])
    data = mgnet.data.synthetic(train=64, validation=16, test=16)
    recipe = mgnet.Recipe(epochs=1, batch_size=16, lr=0.02, schedule="constant", bfloat16=False)
    history = mgnet.fit(model, data, recipe=recipe, progress=False, device=device)
    losses = torch.tensor([history["train_loss"], history["val_loss"]], device=device)
    return [losses, mgnet.predict(model, data.test)]
