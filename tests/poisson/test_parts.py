"""Parts of a problem: their matrices and loads add up to those of the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mgnet
from mgnet.poisson import assembly
from mgnet.poisson.parts import even_bounds, matched_bounds, part, require_parts

CPU = torch.device("cpu")
RNG = np.random.default_rng(3)


def stretched(n: int) -> np.ndarray:
    return np.cumsum(RNG.uniform(0.5, 1.5, n + 1))


CASES: dict[str, dict[str, Any]] = {
    "function": {"f": lambda x: np.sin(x) * x, "n": 13, "domain": (1e6, 1e6 + 3)},
    "nodal, robin": {"f": RNG.random(14), "left": mgnet.Robin(2.0, 1.0), "right": mgnet.Neumann(0.5)},
    "cells": {"f": RNG.random((3, 13)), "n": 13, "a": RNG.random(13) + 1, "c": 2.0},
    "nodes": {"f": np.cos, "nodes": stretched(13), "c": lambda x: x, "a": lambda x: 1 + x * x},
    "lumped": {"f": RNG.random(14), "n": 13, "c": RNG.random(14), "a": RNG.random(14) + 1},
    "ready": {"b": RNG.random((2, 12)), "n": 13},
    "ready, free": {"b": RNG.random(14), "n": 13, "left": mgnet.Robin(1.0), "right": mgnet.Neumann(2.0)},
    "joined": {"f": RNG.random(13), "n": 13, "periodic": True, "c": RNG.random(13)},
    "joined, ready": {"b": RNG.random(13), "n": 13, "periodic": True, "c": 1.0},
    "box": {
        "f": lambda x, y: x * np.exp(y),
        "dim": 2,
        "n": (13, 5),
        "boundary": {
            "left": mgnet.Neumann(lambda x, y: y),
            "top": mgnet.Neumann(RNG.random(14)),
            "bottom": mgnet.Robin(RNG.random((14, 6)), lambda x, y: x),
        },
        "c": lambda x, y: x + y,
        "a": (RNG.random((13, 5)) + 1, 2.0),
    },
    "whole box at sides": {"f": 1.0, "dim": 2, "n": (13, 5), "boundary": mgnet.Neumann(RNG.random((14, 6)))},
    "joined box": {"f": RNG.random((13, 5)), "dim": 2, "n": (13, 5), "periodic": True, "c": 1.0},
    "joined in part": {
        "f": RNG.random((13, 6)),
        "dim": 2,
        "n": (13, 5),
        "periodic": (True, False),
        "load": "exact",
        "boundary": {"top": mgnet.Neumann(RNG.random((2, 14)))},
    },
    "ready in a box": {
        "b": RNG.random((12, 5)),
        "dim": 2,
        "n": (13, 5),
        "boundary": {"top": mgnet.Neumann(1)},
    },
    "space": {
        "f": lambda x, y, z: x * y + z,
        "dim": 3,
        "nodes": (stretched(13), stretched(3), stretched(2)),
        "c": RNG.random((14, 4, 3)),
        "boundary": {
            "back": mgnet.Robin(lambda x, y, z: 1 + y, 2.0),
            "right": mgnet.Neumann(lambda x, y, z: z),
        },
    },
    "alike": {"f": 1.0, "dim": 3, "n": (13, 3, 2), "boundary": {"front": mgnet.Robin(2.0, 1.0)}},
}


def at_nodes(problem: mgnet.Poisson, u: Tensor) -> Tensor:
    A = assembly.operator(problem, torch.float64, CPU)
    return A.at_nodes(u[None, None])[0, 0]


def load_at_nodes(problem: mgnet.Poisson) -> Tensor:
    return problem.space.spread(assembly.load(problem, torch.float64, CPU).b)


def padded(x: Tensor, start: int, count: int, dim: int) -> Tensor:
    whole = x.new_zeros((*x.shape[: x.ndim - dim], count, *x.shape[x.ndim - dim + 1 :]))
    whole.narrow(-dim, start, x.shape[-dim]).copy_(x)
    return whole


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("edges", [(0, 13), (0, 1, 2, 13), (0, 4, 8, 13)])
def test_parts_add_up_to_the_whole(name: str, edges: tuple[int, ...]) -> None:
    problem = mgnet.Poisson(**CASES[name])
    require_parts(problem)
    dim, space, count = problem.dim, problem.space, problem.node_shape[0]
    u = space.nodes(space.unknowns(torch.from_numpy(RNG.random(problem.node_shape))))
    parts = [(start, part(problem, start, stop)) for start, stop in pairwise(edges)]
    images = [padded(at_nodes(p, u[i : i + p.node_shape[0]]), i, count, dim) for i, p in parts]
    loads = [padded(load_at_nodes(p), i, count, dim) for i, p in parts]
    wanted = space.loads(at_nodes(problem, u))
    # eq: parts
    torch.testing.assert_close(
        space.loads(sum(images)), wanted, rtol=0, atol=2e-13 * float(wanted.abs().max())
    )
    wanted = assembly.load(problem, torch.float64, CPU).b
    found = space.loads(sum(loads))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14 * float(wanted.abs().max()))


def test_parts_have_the_coordinates_of_the_whole() -> None:
    """To the last bit: what a function is asked for does not depend on how many share it."""
    problem = mgnet.Poisson(1.0, n=1000, domain=(1e6, 1e6 + 0.1))
    x, h = problem.grid.x, problem.grid.h
    for start, stop in pairwise(even_bounds(1000, 7)):
        grid = part(problem, start, stop).grid
        np.testing.assert_array_equal(grid.x, x[start : stop + 1])
        assert grid.h == pytest.approx(h, rel=4e-16)
        middle = x[start:stop] + 0.25 * h
        cell, t, outside = grid.find(middle)
        np.testing.assert_array_equal(cell, np.arange(stop - start))
        assert not outside.any()
        cell, t, _ = grid.find(grid.x)
        np.testing.assert_array_equal(cell + t, np.arange(stop - start + 1))
        assert grid.find(np.array([x[start] - h, x[stop] + h])).__getitem__(2).all()


def test_dirichlet_ends_may_be_left_open() -> None:
    problem = mgnet.Poisson(b=np.ones(12), n=13, right=mgnet.Dirichlet(3.0))
    own = part(problem, 0, 13, free=True)
    assert own.ends == ("natural", "natural")
    assert own.b.tolist() == [0.0, *[1.0] * 12, 0.0]


def test_shares_are_even_and_coarsen_together() -> None:
    assert even_bounds(10, 4) == [0, 2, 5, 7, 10]
    assert matched_bounds(64, 4) == [0, 16, 32, 48, 64]
    assert matched_bounds(1024, 3) == [0, 256, 640, 1024]
    for n in range(4, 200):
        for world in range(1, n // 2 + 1):
            shares = [high - low for low, high in pairwise(matched_bounds(n, world))]
            assert sum(shares) == n
            assert min(shares) >= 2
    with pytest.raises(
        ValueError, match=r"n: got 5 layers .* for 3 processes; accepted: .*, 6, or at most 2"
    ):
        matched_bounds(5, 3)
    with pytest.raises(ValueError, match="n: got 2 cells for 3 processes"):
        even_bounds(2, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"f": 1.0, "a": np.ones((2, 8))}, "a, c: got leading axes"),
        ({"f": 1.0, "cells": np.ones(8, bool)}, "cells: got a mask"),
        ({"f": 1.0, "n": 8, "fixed": (np.ones(9, bool), 0.0)}, "fixed: got a mask"),
        ({"f": torch.ones(9, requires_grad=True)}, "f: got a tensor by which derivatives"),
        ({"f": 1.0, "n": 8, "left": mgnet.Robin(torch.tensor(1.0, requires_grad=True))}, "left: Robin alpha"),
    ],
)
def test_what_cannot_be_shared_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        require_parts(mgnet.Poisson(**given))


def test_a_batch_at_a_side_that_looks_like_a_box_is_refused() -> None:
    left = mgnet.Neumann(RNG.random((5, 6)))
    problem = mgnet.Poisson(1.0, dim=2, n=(13, 5), boundary={"left": left})
    assert part(problem, 0, 5).node_shape == (6, 6)
    with pytest.raises(ValueError, match="left: got a batch of shape"):
        part(problem, 0, 4)
