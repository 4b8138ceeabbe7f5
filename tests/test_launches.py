"""What is asked of a device, counted on one that is pretended: the budget of :doc:`devices`.

A launch takes some microseconds whatever it does, so that small solves take as long as there are launches.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from test_waits import launches, only_pretended, uploaded, waits

import mgnet
from mgnet.multigrid import exact

__all__ = ["only_pretended"]

pytestmark = pytest.mark.cuda

NATURAL = mgnet.Neumann(0.0)


N = 2**20


@pytest.fixture(params=["triton", "torch"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Solve by passes in Triton, as where it is installed, or by what torch has."""
    monkeypatch.setattr(exact, "there_are", lambda: request.param == "triton")
    return request.param


def of_line(n: int, dtype: torch.dtype, *varies: str) -> tuple[torch.Tensor, dict[str, Any]]:
    data = {name: uploaded(n + (name == "c")).to(dtype) + 0.5 for name in varies}
    return torch.cos(2 * torch.pi * torch.linspace(0, 1, n + 1, dtype=dtype)).to("pretended"), data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("varies", [(), ("a",)])
def test_a_long_line(
    varies: tuple[str, ...], dtype: torch.dtype, passes: str, device: str, counts: Any
) -> None:
    """From nothing, a and f on the device; the second time with a wait, once, and from what is set up."""
    f, data = of_line(N, dtype, *varies)
    assert launches(counts, lambda: mgnet.solve(f, n=N, **data)) <= (20 if passes == "triton" else 40)
    assert sum(counts.waits.values()) == 1
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=N, **data), dtype=dtype, device=device)
    hierarchy.solve(f[1:-1])
    assert launches(counts, hierarchy.solve, f[1:-1]) <= (12 if passes == "triton" else 25)
    assert sum(counts.waits.values()) == 1


ROBIN = mgnet.Robin(1.0, 2.0)
CONDITIONS: dict[str, dict[str, Any]] = {
    "held": {},
    "natural left": {"left": NATURAL},
    "robin right": {"right": ROBIN},
    "natural, robin": {"left": NATURAL, "right": ROBIN},
    "robin": {"left": ROBIN, "right": mgnet.Robin(0.5, 1.0)},
    "natural": {"left": NATURAL, "right": NATURAL},
    "periodic": {"periodic": True},
}


def numbers(kind: str, n: int, dtype: torch.dtype) -> Any:
    """Give a coefficient."""
    if kind in ("cells", "nodes"):
        return uploaded(n + (kind == "nodes")).to(dtype) + 0.5
    return {"none": 0.0, "number": 3.0, "function": lambda x: 1 + x * (1 - x)}[kind]


def loads(kind: str, n: int, dtype: torch.dtype) -> Any:
    """Give a right-hand side that sums to zero where cells are alike."""
    x = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    if kind == "function":
        return lambda x: np.cos(2 * np.pi * x)
    if kind == "number":
        return 0.0
    f = torch.cos(2 * torch.pi * ((x[1:] + x[:-1]) / 2 if kind == "cells" else x))
    return (torch.stack((f, 2 * f)) if kind == "rows" else f).to(dtype).to("pretended")


def asked(
    a: str, c: str, f: str, ends: str, stretched: bool, dtype: torch.dtype, n: int = N
) -> dict[str, Any]:
    """Give what a problem is asked for with."""
    options = {"a": numbers(a, n, dtype), "c": numbers(c, n, dtype), "dtype": dtype, "device": "pretended"}
    i = np.arange(n + 1) / n
    # Symmetric, so that the load still sums to zero, and not so far from equal that rounding tells.
    grid: dict[str, Any] = {"nodes": i + np.sin(4 * np.pi * i) / 40} if stretched else {"n": n}
    return {"f": loads(f, n, dtype), "compatible": "project", **options, **grid, **CONDITIONS[ends]}


KINDS = [
    ("none", "array"),
    *itertools.product(("number", "cells", "nodes", "function"), ("array", "cells", "function")),
]
# Each kind with each end, once, and the rest in turn.
EVERY = [
    (a, c, f, ends, stretched)
    for i, ((c, f), ends) in enumerate(itertools.product(KINDS, CONDITIONS))
    for a, stretched in [(("number", "cells", "nodes", "function")[i % 4], i % 3 == 0)]
]
EVERY += [
    (a, "none", f, ends, stretched)
    for i, (a, f, ends) in enumerate(
        itertools.product(("number", "cells"), ("array", "function", "number", "rows"), CONDITIONS)
    )
    for stretched in [i % 2 == 0]
]


@pytest.mark.parametrize("case", EVERY, ids=lambda case: ", ".join(map(str, case)))
def test_any_line(case: Any, device: str, counts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "there_are", lambda: True)
    problem = asked(*case, torch.float32)
    assert launches(counts, lambda: mgnet.solve(**problem)) <= 40
    a, c, f, ends, _ = case
    # What comes back in NumPy is waited for; and whether numbers in c hold the constants must be seen.
    to_numpy = f in ("function", "number") and not {a, c} & {"cells", "nodes"}
    seen = c in ("cells", "nodes", "function") and ends in ("natural", "periodic")
    assert sum(counts.waits.values()) == 1 + to_numpy + seen


@pytest.mark.parametrize("case", EVERY[::3], ids=lambda case: ", ".join(map(str, case)))
def test_any_line_is_what_it_is_on_a_cpu(
    case: Any, device: str, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "there_are", lambda: True)
    problem = asked(*case, torch.float64, 1057)
    there = mgnet.solve(**problem).u
    here = {name: x.cpu() if isinstance(x, torch.Tensor) else x for name, x in problem.items()}
    expected = torch.as_tensor(mgnet.solve(**{**here, "device": "cpu"}).u)
    assert (torch.as_tensor(there).cpu() - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize(
    ("most", "varies", "ends"),
    [
        (40, (), "natural left"),
        (40, (), "robin right"),
        (40, (), "natural, robin"),
        (50, (), "natural"),
        (45, ("a",), "natural left"),
        (55, ("a",), "natural, robin"),
        (60, ("a",), "periodic"),
        (490, ("a", "c"), "held"),  # row sums that vary: every second node, 20 times
    ],
)
def test_other_lines_by_torch_alone(
    most: int,
    varies: tuple[str, ...],
    ends: str,
    device: str,
    counts: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "there_are", lambda: False)
    f, data = of_line(N, torch.float64, *varies)
    assert launches(counts, lambda: mgnet.solve(f, n=N, **data, **CONDITIONS[ends])) <= most


def test_long_lines_of_equal_cells_are_cut_into_blocks(
    device: str, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There memory counts, of which passes in Triton read and write more."""
    monkeypatch.setattr(exact, "there_are", lambda: True)
    monkeypatch.setattr(exact, "LAUNCHED", 2 * 400)
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=400), device=device)
    for rows, passes in ((2, True), (3, False)):
        launches(counts, hierarchy.solve, uploaded(rows, 399))
        assert any("eliminate" in name for name in counts.launches) == passes


@pytest.mark.parametrize(("dim", "n"), [(2, 64), (2, 128), (3, 16)])
def test_grids_with_a_per_cell_are_set_up(dim: int, n: int, device: str, counts: Any) -> None:
    a = uploaded(*[n] * dim) + 0.5
    made: list[Any] = []

    def set_up() -> None:
        made.extend(mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim, a=a), device=device).levels)

    assert launches(counts, set_up) <= 60 * len(made)
    # Of each grid but the first and the last: its ties, and the bound of its eigenvalues.
    assert waits(counts, set_up) <= 3 * len(made)
