"""What is asked of a device, counted on one that is pretended: the budget of :doc:`devices`.

A launch takes some microseconds whatever it does, so that small solves take as long as there are launches.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_waits import launches, only_pretended, uploaded, waits

import mgnet

__all__ = ["only_pretended"]

pytestmark = pytest.mark.cuda

NATURAL = mgnet.Neumann(0.0)


def of_line(n: int, dtype: torch.dtype, *varies: str) -> tuple[torch.Tensor, dict[str, Any]]:
    data = {name: uploaded(n + (name == "c")).to(dtype) + 0.5 for name in varies}
    return torch.cos(2 * torch.pi * torch.linspace(0, 1, n + 1, dtype=dtype)).to("pretended"), data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("varies", [(), ("a",)])
def test_a_long_line(varies: tuple[str, ...], dtype: torch.dtype, device: str, counts: Any) -> None:
    """From nothing, a and f on the device; the second time with a wait, once, and from what is set up."""
    f, data = of_line(2**20, dtype, *varies)
    assert launches(counts, lambda: mgnet.solve(f, n=2**20, **data)) <= 40
    assert sum(counts.waits.values()) == 1
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=2**20, **data), dtype=dtype, device=device)
    hierarchy.solve(f[1:-1])
    assert launches(counts, hierarchy.solve, f[1:-1]) <= 25
    assert sum(counts.waits.values()) == 1


@pytest.mark.parametrize(
    ("most", "varies", "ends"),
    [
        (40, (), {"left": NATURAL}),
        (40, (), {"right": mgnet.Robin(1.0, 2.0)}),
        (45, (), {"left": NATURAL, "right": mgnet.Robin(1.0, 2.0)}),
        (70, (), {"left": NATURAL, "right": NATURAL}),
        (45, ("a",), {"left": NATURAL}),
        (62, ("a",), {"left": NATURAL, "right": mgnet.Robin(1.0, 2.0)}),
        (80, ("a",), {"periodic": True}),
        (490, ("a", "c"), {}),  # row sums that vary: every second node, 20 times
    ],
)
def test_other_lines(
    most: int, varies: tuple[str, ...], ends: dict[str, Any], device: str, counts: Any
) -> None:
    n = 2**20
    f, data = of_line(n, torch.float64, *varies)
    assert launches(counts, lambda: mgnet.solve(f, n=n, **data, **ends)) <= most


@pytest.mark.parametrize(("dim", "n"), [(2, 64), (2, 128), (3, 16)])
def test_grids_with_a_per_cell_are_set_up(dim: int, n: int, device: str, counts: Any) -> None:
    a = uploaded(*[n] * dim) + 0.5
    made: list[Any] = []

    def set_up() -> None:
        made.extend(mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim, a=a), device=device).levels)

    assert launches(counts, set_up) <= 60 * len(made)
    # Of each grid but the first and the last: its ties, and the bound of its eigenvalues.
    assert waits(counts, set_up) <= 3 * len(made)
