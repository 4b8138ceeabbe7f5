"""The passes in Triton against those in torch, in Triton's interpreter; see ``test_triton_passes.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from device_grids import levels_of
from torch import Tensor

from mgnet.operators import eliminations, launches, loops
from mgnet.operators.launched import Launched


def vectors(shape: Any, dtype: torch.dtype) -> list[Tensor]:
    rng, rows = np.random.default_rng(0), 2 if shape[1] == 1 else 1
    return [torch.from_numpy(rng.standard_normal((rows, *shape))).to(dtype) for _ in range(2)]


def same(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    # Entries of all sizes may be in a sum, so that rounding is as large as the largest has it.
    assert (found - expected).abs().max() <= 50 * torch.finfo(found.dtype).eps * expected.abs().max()


def passes_of(name: str, dtype: torch.dtype) -> tuple[Launched, Launched | None]:
    """Give the passes of the first two grids; the second is entries where coefficients vary."""
    with loops.without(), torch.no_grad():
        levels = levels_of(name, dtype)[:-1][:2]
        made = [
            Launched(A, A.on_device(), level.P, level.smoother.inverse) for level in levels for A in [level.A]
        ]  # type: ignore[attr-defined]
    return made[0], made[1] if len(made) > 1 else None


# One precision of each, since the interpreter takes its time.
CASES = {
    "equal, periodic": torch.float64,
    "equal, lumped c": torch.float32,
    "cells, natural": torch.float64,
    "cells, periodic": torch.float32,
    "gaps": torch.float64,
    "equal, 3-D": torch.float32,
    "cells, 3-D": torch.float64,
}


@pytest.mark.parametrize("name", CASES)
def test_triton_gives_what_torch_gives(name: str) -> None:
    dtype = CASES[name]
    for passes in filter(None, passes_of(name, dtype)):
        x, b = vectors(passes.shape, dtype)
        weights = torch.tensor([0.7, 1 / 3], dtype=dtype)
        numbers = passes.spread_inverse, weights, passes.numbers, passes.firsts, passes.joined
        for fresh, mode in ((False, launches.RESIDUAL), (True, launches.RELAXED)):
            given = x, b, *numbers, fresh, mode
            same(launches.apply(*given), torch.ops.mgnet.apply(*given))
        e, _ = vectors(levels_shape(passes), dtype)
        for added, ((bases, w), corners) in ((x, passes.transfers), (None, passes.lifting)):
            given = e, added, bases, w, corners, passes.firsts, passes.joined
            same(launches.spread(*given), torch.ops.mgnet.spread(*given))
        tables, corners = passes.gathering
        same(
            launches.gather(b, *tables, corners, passes.firsts),
            torch.ops.mgnet.gather(b, *tables, corners, passes.firsts),
        )


def levels_shape(passes: Launched) -> tuple[int, ...]:
    """Give the shape of the coarse grid, with three axes."""
    return tuple(table.shape[1] for table in passes.gathering[0][0])


# A line.


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(0.1 + np.random.default_rng(sum(shape)).random(shape)).to(dtype)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("cells", [2, 33, 64, 1000])
@pytest.mark.parametrize(
    ("parts", "dtype"), [(0, torch.float64), (1, torch.float32), (2, torch.float64)], ids=str
)
@pytest.mark.parametrize("at", [0, -1])
def test_a_line_is_eliminated_as_torch_does_it(
    at: int, parts: int, dtype: torch.dtype, cells: int, rows: int
) -> None:
    k, s = drawn(cells, dtype=dtype), drawn(parts, cells + 1, dtype=dtype)
    b = drawn(rows, max(parts, 1), cells + 1 + at, dtype=dtype)
    found = eliminations.eliminate(k, s, b, at)
    weights, share, *chain = torch.ops.mgnet.eliminate(k, s, b, at)
    places = torch.arange(eliminations.CELLS)[:, None] + eliminations.CELLS * torch.arange(share.shape[2])
    inner = (places < cells) & (places % eliminations.CELLS > 0)  # nothing stands elsewhere
    for x, y in zip(found[:2], (weights, share), strict=True):
        same(x[..., inner], y[..., inner])
    for x, y in zip(found[2:], chain, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-14, atol=0)
    c = drawn(rows, share.shape[2] + 1)
    u, expected = torch.empty(2, rows, cells + 1, dtype=dtype)
    eliminations.fill(u, c, weights, share)
    torch.ops.mgnet.fill(expected, c, weights, share)
    same(u, expected)


ENDS = [
    "dirichlet dirichlet",
    "natural dirichlet",
    "dirichlet natural",
    "natural natural",
    "periodic periodic",
]


@pytest.mark.parametrize("parts", [0, 1, 2])
@pytest.mark.parametrize("ends", ENDS)
def test_the_last_cell_is_solved_as_torch_does_it(ends: str, parts: int) -> None:
    low, high = ends.split()
    at = -int(low == "dirichlet")
    for rows in (1, 3):
        k, s = drawn(1), drawn(parts, 2)
        b = drawn(rows, max(parts, 1), 2 + at - int(high != "natural"))
        for given in (drawn(1, 2), drawn(rows, 2), torch.zeros(1, 2, dtype=torch.float64)):
            found = eliminations.close(k, s, b, at, given, low, high)
            expected = torch.ops.mgnet.close(k, s, b, at, given, low, high)
            torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
