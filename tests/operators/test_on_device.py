"""The passes for a device, as torch has them, against the operators, smoothers and transfers they are of.

Here they compute on a CPU; what Triton makes of them is compared with that in ``tests/kernels``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from device_grids import boxes, levels_of
from torch import Tensor

import mgnet
from mgnet.multigrid import cycles
from mgnet.multigrid.cycles import Level
from mgnet.operators import loops
from mgnet.operators.launched import Launched
from mgnet.operators.multiplied import Multiplied, on_device


@pytest.fixture(autouse=True)
def by_torch() -> Iterator[None]:
    with loops.without(), torch.no_grad():
        yield


def made(way: str, level: Level) -> Any:
    """Give the passes of a grid."""
    A: Any = level.A
    if way == "launched":
        return Launched(A, A.on_device(), level.P, level.smoother.inverse)
    return Multiplied(A, level.P, level.smoother.inverse)


def vector(A: Any, shape: Any, seed: int) -> Tensor:
    x = np.random.default_rng(seed).standard_normal((2, 1, *shape))
    return A.kept(torch.from_numpy(x).to(A.like["dtype"]))


def all_ways(level: Level, below: Level, passes: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Give what passes find, and what should be found."""
    A: Any = level.A
    b, x = vector(A, A.box.shape, 1), vector(A, A.box.shape, 2)
    e = vector(below.A, below.A.box.shape, 3)  # type: ignore[attr-defined]
    for sweeps in (0, 1, 3):
        weights = level.smoother.weights(sweeps)
        for guess in (None, x):
            found = passes.descend(b, guess, weights)
            yield from zip(("down", "load"), found, cycles.descend(level, b, guess, sweeps), strict=True)
        yield "up", passes.ascend(x.clone(), e, b, weights), cycles.ascend(level, x, e, b, sweeps)
    yield "R", passes.restrict(b), level.R(b)
    lift = level.lift or level.P
    found = passes.descend(b, None, level.smoother.weights(2), e)
    yield "lift", found[0], level.smoother(A, lift(e), b, 2)
    if isinstance(passes, Launched):
        yield "A", passes(x), A(x)


@pytest.mark.parametrize("way", ["launched", "multiplied"])
@pytest.mark.parametrize("name", boxes())
def test_passes_do_what_the_operators_do(name: str, way: str) -> None:
    for dtype in (torch.float64, torch.float32)[: 2 if name == "equal" else 1]:
        levels = levels_of(name, dtype)
        assert len(levels) > 1
        for level, below in zip(levels, levels[1:], strict=False):
            passes = made(way, level)
            if way == "multiplied" and level.A.gaps:
                continue
            eps = torch.finfo(dtype).eps
            for what, found, expected in all_ways(level, below, passes):
                assert found.shape == expected.shape, what
                assert (found - expected).abs().max() <= 100 * eps * expected.abs().max(), what


def test_what_passes_cannot_take_goes_the_old_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgnet.operators import multiplied

    level = levels_of("equal", torch.float64)[0]
    A, inverse = level.A, level.smoother.inverse
    for there, kind in ((True, Launched), (False, Multiplied)):
        monkeypatch.setattr(multiplied, "there_are", lambda there=there: there)
        passes = on_device(A, level.P, inverse)
        assert isinstance(passes, kind)
        x = torch.ones(1, 1, *A.box.shape, dtype=torch.float64)  # type: ignore[attr-defined]
        assert passes.takes(x, None)
        assert not passes.takes(x.float())
        with torch.enable_grad():
            assert not passes.takes(x.clone().requires_grad_())
    gaps = levels_of("gaps", torch.float64)[0]
    assert on_device(gaps.A, gaps.P, gaps.smoother.inverse) is None  # without Triton: row sums would be lost
    monkeypatch.setattr(multiplied, "MOST", 100)
    assert on_device(A, level.P, inverse) is None
    line = mgnet.Hierarchy(mgnet.Poisson(n=16), method="vcycle").levels[0]
    assert on_device(line.A, line.P, line.smoother.inverse) is None


def test_a_batch_may_be_too_large_for_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = made("launched", levels_of("equal", torch.float64)[0])
    monkeypatch.setattr(passes.ops, "MOST", 2)
    x = torch.ones(3, 1, *passes.box.shape, dtype=torch.float64)
    assert passes.takes(x[:2]) and not passes.takes(x)


@pytest.mark.parametrize("break_it", [lambda w: w.mul_(1.01), lambda w: w.zero_()])
def test_other_weights_are_noticed(break_it: Callable[[Tensor], Tensor]) -> None:
    level, below = levels_of("cells", torch.float64)[:2]
    passes = made("launched", level)
    break_it(passes.corners)
    e = torch.ones(1, 1, *below.A.box.shape, dtype=torch.float64)  # type: ignore[attr-defined]
    x = torch.zeros(1, 1, *level.A.box.shape, dtype=torch.float64)  # type: ignore[attr-defined]
    assert not torch.allclose(passes.ascend(x, e, x, ()), level.P(e))
