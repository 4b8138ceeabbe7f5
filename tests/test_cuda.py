"""The same answers on a GPU as on a CPU; skipped, with the reason, where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mgnet

pytestmark = pytest.mark.cuda

METHODS = ["exact", "vcycle", "wcycle", "fcycle", "fmg", "pcg", "direct"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 33, 1000, 4096])
def test_agrees_with_the_cpu(method: str, n: int) -> None:
    f = np.random.default_rng(n).standard_normal((3, n + 1))
    problem = {"n": n, "left": mgnet.Dirichlet(1.0), "right": mgnet.Robin(2.0, 0.5)}
    here = mgnet.solve(f, method=method, **problem)
    there = mgnet.solve(torch.from_numpy(f).cuda(), method=method, **problem)
    assert there.u.is_cuda
    np.testing.assert_allclose(there.u.cpu(), here.u, rtol=0, atol=1e-9 * np.abs(here.u).max())


def test_cells_that_differ() -> None:
    rng = np.random.default_rng(0)
    problem = {
        "nodes": np.concatenate(([0.0], np.cumsum(rng.random(1001) + 0.01))),
        "a": 10 ** rng.uniform(-3, 3, 1001),
        "c": rng.random(1002),
    }
    here, there = (mgnet.solve(1.0, device=device, **problem) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.u, here.u, rtol=0, atol=1e-10 * np.abs(here.u).max())


@pytest.mark.parametrize("n", [2**20, 10**6 + 3])
def test_float32_stays_float32_where_tf32_is_allowed(n: int) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        sol = mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n=n, dtype=torch.float32, device="cuda")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.abs(sol.u - np.sin(np.pi * sol.x)).max() <= 1e-6
