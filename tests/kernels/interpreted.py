"""The passes in Triton against those in torch, in Triton's interpreter; see ``test_triton_passes.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from device_grids import levels_of
from torch import Tensor

from mgnet.operators import launches, loops
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
