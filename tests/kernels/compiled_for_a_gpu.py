"""The passes in Triton compiled for a GPU that is not there, as a cycle asks for them.

See ``test_triton_passes.py``. What is called is compiled to the GPU's own code, by the compiler that Triton
brings, and not run.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

pytest.importorskip("triton")  # doctests are looked for here too

from device_grids import levels_of
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from mgnet.operators import eliminations, launches, loops
from mgnet.operators.launched import Launched


class Driver:
    """What Triton asks of a GPU before it launches."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Compile instead of launching; give what was compiled."""
    driver.set_active(Driver())
    found: list[Any] = []

    def compiling(kernel: Any, grid: Any) -> Any:
        def call(*args: Any, **options: Any) -> None:
            found.append(JITFunction.run(kernel, *args, grid=grid, warmup=True, **options))

        return call

    monkeypatch.setattr(JITFunction, "__getitem__", compiling)
    return found


@pytest.mark.parametrize("name", ["equal", "cells, 3-D"])
def test_passes_compile_for_a_gpu(name: str, compiled: list[Any]) -> None:
    with loops.without(), torch.no_grad():
        levels = levels_of(name, torch.float64)
    asked = 0
    for level in levels[:-1]:
        A: Any = level.A
        passes = Launched(A, A.on_device(), level.P, level.smoother.inverse)
        x = torch.ones(1, *passes.shape, dtype=torch.float64)
        weights = torch.ones(2, dtype=torch.float64)
        numbers = passes.spread_inverse, weights, passes.numbers, passes.firsts, passes.joined
        launches.apply(x, x, *numbers, True, launches.RELAXED)
        launches.apply(x, x, *numbers, False, launches.RESIDUAL)
        tables, corners = passes.gathering
        e = launches.gather(x, *tables, corners, passes.firsts)
        launches.spread(e, x, *passes.transfers[0], passes.transfers[1], passes.firsts, passes.joined)
        asked += 4
    assert len(compiled) == asked and all(len(kernel.asm["cubin"]) > 0 for kernel in compiled)
    # Grids of other sizes need no kernels of their own: only other kinds of operators do.
    assert name != "equal" or len({kernel.hash for kernel in compiled}) == 4


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_the_elimination_of_a_line_compiles_for_a_gpu(parts: int, compiled: list[Any]) -> None:
    given, dtype = torch.zeros(1, 2, dtype=torch.float64), torch.float64 if parts > 1 else torch.float32
    for cells, rows in ((100, 1), (999, 3)):
        k, s = torch.ones(cells, dtype=dtype), torch.ones(parts, cells + 1, dtype=dtype)
        b = torch.ones(rows, max(parts, 1), cells + 1, dtype=dtype)
        weights, share, k, s, b = eliminations.eliminate(k, s, b, 0)
        for low, high in itertools.product(("natural", "dirichlet"), repeat=2):
            c = eliminations.close(k, s, b, 0, given, low, high)
        c = eliminations.close(k, s, b, 0, given, "periodic", "periodic")
        eliminations.fill(torch.empty(rows, cells + 1, dtype=dtype), c, weights, share)
    assert len(compiled) == 14 and all(len(kernel.asm["cubin"]) > 0 for kernel in compiled)
    assert len({kernel.hash for kernel in compiled}) == 7  # of all lengths
