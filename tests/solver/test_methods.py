"""Methods of one's own: a cycle is all that they need to say, and the rest is that of all methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mgnet
from mgnet import Dirichlet, Hierarchy, Neumann, Poisson, Robin, Status
from mgnet.multigrid import Options, build_levels, cycle
from mgnet.solver import methods
from mgnet.solver.cycling import Cycles
from mgnet.solver.method import Method
from mgnet.solver.once import Direct, Exact
from mgnet.solver.system import System

pytestmark = pytest.mark.usefixtures("one_thread")


class TwoGrid(Method):
    """Cycles of two grids."""

    def __init__(self, system: System, options: Options) -> None:
        super().__init__(system, options)
        self.levels = build_levels(system.A, system.box.cells, replace(options, levels=2))

    def cycle(self, r: Tensor) -> Tensor:
        return cycle(self.levels, r, None, self.options.sweeps)


class Nothing(Method):
    """No correction at all."""

    def cycle(self, r: Tensor) -> Tensor:
        return torch.zeros_like(r)


class Backwards(Method):
    """Corrections that lead away."""

    def cycle(self, r: Tensor) -> Tensor:
        diagonal: Tensor = self.system.A.diagonal()
        return -r / diagonal


@pytest.fixture
def names() -> Iterator[None]:
    """Make them known for a while."""
    own = {"two-grid": TwoGrid, "nothing": Nothing, "backwards": Backwards}
    for name, make in own.items():
        methods.register(name, make)
    yield
    for name in own:
        del methods.METHODS[name]
        methods.NAMES.remove(name)


PROBLEMS: dict[str, dict[str, Any]] = {
    "line": {"n": 40, "c": 2.0, "left": Dirichlet(1.0), "right": Robin(2.0, 3.0)},
    "jumps": {"n": 41, "a": np.where(np.arange(41) < 20, 1.0, 1e3)},
    "joined": {"n": 32, "periodic": True},
    "plane": {"n": (16, 13), "dim": 2, "boundary": {"left": Dirichlet(2.0), "top": Neumann(1.0)}},
    "cells": {
        "n": 16,
        "dim": 2,
        "a": 1 + np.arange(256.0).reshape(16, 16),
        "boundary": Neumann(0.0),
        "c": 1.0,
    },
    "space": {"n": 8, "dim": 3, "c": 1.0},
}


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("keywords", PROBLEMS.values(), ids=PROBLEMS)
def test_a_cycle_is_all_that_a_method_needs(keywords: dict[str, Any]) -> None:
    f = np.random.default_rng(0).normal(size=(2, *Poisson(**keywords).node_shape))
    if keywords.get("periodic"):
        f[:, -1] = f[:, 0]
        f -= f[:, :-1].mean(-1, keepdims=True)
    expected = mgnet.solve(f, **keywords, method="direct").u
    for dtype, refine, digits in (
        ("float64", False, 1e-9),
        ("float32", False, 1e-4),
        ("float32", True, 1e-6),
    ):
        sol = mgnet.solve(f, **keywords, method="two-grid", dtype=dtype, refine=refine)
        assert sol.status is Status.CONVERGED
        assert sol.iterations < 40
        np.testing.assert_allclose(sol.u, expected, rtol=0, atol=digits * np.abs(expected).max())


@pytest.mark.usefixtures("names")
def test_gradients_of_a_method_of_ones_own() -> None:
    f = torch.randn(9, 9, dtype=torch.float64, requires_grad=True)
    a = (1 + torch.rand(8, 8, dtype=torch.float64)).requires_grad_()
    found = [
        torch.autograd.grad(mgnet.solve(f, 8, dim=2, a=a, method=method).u.square().sum(), (f, a))
        for method in ("two-grid", "direct")
    ]
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("method", ["nothing", "backwards"])
def test_a_method_that_does_not_solve_says_so(method: str) -> None:
    for dim in (1, 2):
        with pytest.raises(mgnet.ConvergenceError) as caught:
            mgnet.solve(1.0, 8, dim=dim, method=method)
        assert caught.value.solution.status is not Status.CONVERGED


@pytest.mark.usefixtures("names")
def test_a_hierarchy_has_the_cycle_of_its_method() -> None:
    problem = Poisson(n=16, dim=2)
    hierarchy = Hierarchy(problem, method="two-grid")
    own = TwoGrid(hierarchy.system, Options("two-grid", dim=2))
    r = torch.randn(2, 1, 15, 15, dtype=torch.float64)
    torch.testing.assert_close(hierarchy.cycle(r), own.cycle(r), rtol=0, atol=1e-14)


def test_a_name_that_is_taken_is_refused() -> None:
    for name in methods.NAMES:
        with pytest.raises(ValueError, match=f"^name: got '{name}'; accepted: one that is not taken"):
            methods.register(name, TwoGrid)
    with pytest.raises(ValueError, match="^method: got 'two-grid'; accepted: "):
        mgnet.solve(1.0, 8, method="two-grid")


def test_what_makes_the_methods_of_the_package() -> None:
    expected = {"exact": Exact, "direct": Direct}
    assert set(methods.METHODS) == set(methods.NAMES) - {"auto"}
    for name, make in methods.METHODS.items():
        assert make is expected.get(name, Cycles)
