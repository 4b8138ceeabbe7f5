"""Operators of which processes have slabs: together they are that of the box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lockstep import in_lockstep
from random_boxes import as_matrix

import mgnet
from mgnet.operators.cuts import Cuts
from mgnet.operators.halos import missing
from mgnet.operators.slabs import SlabOperator
from mgnet.poisson import assembly
from mgnet.poisson.parts import part
from mgnet.solver.slabs.cycling import SlabSystem

CPU = torch.device("cpu")
RNG = np.random.default_rng(1)
EDGES = [0, 4, 8, 13]

PROBLEMS: dict[str, dict[str, Any]] = {
    "alike": {"n": (13, 6), "boundary": {"left": mgnet.Robin(2.0), "top": mgnet.Neumann()}, "c": 3.0},
    "cells": {"n": (13, 6), "a": 10.0 ** RNG.integers(-2, 3, (13, 6)), "c": RNG.random((14, 7))},
    "joined": {"n": (13, 6), "a": RNG.random((13, 6)) + 0.1, "periodic": True},
    "weights": {"n": (13, 6), "a": (RNG.random((13, 6)) + 0.5, 2.0), "boundary": mgnet.Neumann()},
    "space": {
        "n": (13, 4, 4),
        "a": RNG.random((13, 4, 4)) + 0.1,
        "dim": 3,
        "boundary": {"back": mgnet.Robin(1.0)},
    },
}


def places(problem: mgnet.Poisson, rank: int) -> torch.Tensor:
    """Say which unknown of the whole each of a slab is."""
    whole = torch.arange(problem.unknowns).reshape(problem.shape)
    nodes = problem.space.nodes(whole + 1).long() - 1
    own = part(problem, EDGES[rank], EDGES[rank + 1]).space
    return own.unknowns(nodes.narrow(0, EDGES[rank], EDGES[rank + 1] - EDGES[rank] + 1))


def systems(problem: mgnet.Poisson, work: Any) -> list[Any]:
    """Do something with the system of each of three slabs."""

    def of_slab(me: Any) -> Any:
        own = part(problem, EDGES[me.rank], EDGES[me.rank + 1])
        cuts = Cuts(me, problem.dim, problem.joined[0])
        return work(me.rank, SlabSystem(problem, own, cuts, EDGES, torch.float64, CPU).A)

    return in_lockstep(3, of_slab)


def whole_operator(name: str) -> tuple[mgnet.Poisson, Any]:
    problem = mgnet.Poisson(**{"dim": 2, **PROBLEMS[name]})
    return problem, assembly.operator(problem, torch.float64, CPU)


@pytest.mark.parametrize("name", PROBLEMS)
def test_slabs_apply_the_operator_of_the_box(name: str) -> None:
    problem, A = whole_operator(name)
    x = torch.from_numpy(RNG.random((2, 1, *problem.shape)))
    b = torch.from_numpy(RNG.random((2, 1, *problem.shape)))
    y, r, diagonal = A(x), b - A(x), A.diagonal().expand(problem.shape).flatten()

    def work(rank: int, own: SlabOperator) -> None:
        at = places(problem, rank)
        here = [v.flatten(1)[:, at.flatten()].reshape(2, 1, *at.shape) for v in (x, b, y, r)]
        # eq: slabs
        torch.testing.assert_close(own(here[0]), here[2], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(own.residual(here[0], here[1]), here[3], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(own.diagonal().expand(at.shape), diagonal[at], rtol=1e-12, atol=0)
        parts = own.cuts.assemble(own.part_of_residual(here[0], here[1]))
        torch.testing.assert_close(parts, here[3], rtol=1e-12, atol=1e-12)
        out, factors = torch.empty(here[3].shape, dtype=torch.float32), torch.tensor([2.0, 0.5]).double()
        norm = missing(own, here[0], here[1], factors, out)
        torch.testing.assert_close(out, (factors.reshape(2, 1, *[1] * problem.dim) * here[3]).float())
        torch.testing.assert_close(norm, factors * r.flatten(1).norm(dim=1), rtol=1e-6, atol=0)
        assert (own.singular, own.uneven) == (A.singular, A.uneven)
        assert own.smooth == A.smooth
        assert own.contrast == pytest.approx(A.contrast)
        assert own.hold == pytest.approx(A.hold, abs=1e-12)
        total = own.total(here[0]).flatten()
        torch.testing.assert_close(total, x.flatten(1).sum(1), rtol=1e-12, atol=0)

    systems(problem, work)


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_eigenvalue_is_beyond_the_bound_of_slabs(name: str) -> None:
    problem, A = whole_operator(name)
    K = as_matrix(A, problem.shape)
    root = np.diag(1 / np.sqrt(np.diag(K)))
    largest = np.linalg.eigvalsh(root @ K @ root)[-1]
    bounds = systems(problem, lambda rank, own: own.largest)
    assert len(set(bounds)) == 1
    assert largest <= bounds[0] * (1 + 1e-12) <= 1.3 * A.largest  # eq: slab-bound


@pytest.mark.parametrize("name", PROBLEMS)
def test_coarse_slabs_are_the_product_of_the_box(name: str) -> None:
    """Twice: new nodes on cuts get the weights of whole rows, on the coarser grid too."""
    problem, A = whole_operator(name)
    coarser, transfers = [], []
    while len(coarser) < 2:
        A, P = A.coarsen()
        coarser.append(as_matrix(A, A.box.shape))
        transfers.append(as_matrix(P, A.box.shape))

    def work(rank: int, own: SlabOperator) -> tuple[Any, ...]:
        found = []
        for _ in range(2):
            own, P = own.coarsened(own.entire.coarsening(), own.cuts)
            size = as_matrix(own.local, own.box.shape), as_matrix(P, own.box.shape)
            found.append((*size, own.box.shape, own.entire.shape, [axis.h for axis in own.box.axes]))
        return tuple(found)

    found = systems(problem, work)
    for depth, K in enumerate(coarser):
        shape = found[0][depth][3]
        nodes, edges = torch.arange(K.shape[0]).reshape(shape), [edge // 2 ** (depth + 1) for edge in EDGES]
        total, first = np.zeros_like(K), int(problem.ends[0] == "dirichlet")
        assert np.prod(shape) == len(K)
        for rank, slab in enumerate(found):
            own, _, count, *_ = slab[depth]
            low = max(edges[rank] - first, 0)
            at = (low + torch.arange(count[0])) % shape[0]
            places = nodes[at].flatten().numpy()
            total[np.ix_(places, places)] += own
        np.testing.assert_allclose(total, K, rtol=0, atol=1e-12 * abs(K).max())  # eq: slab-product
        assert len({tuple(slab[depth][4]) for slab in found}) == 1


def test_random_values_are_the_same_on_both_sides_of_a_cut() -> None:
    problem, _ = whole_operator("cells")
    noise = systems(problem, lambda rank, own: own.noise())
    for one, other in zip(noise[:-1], noise[1:], strict=True):
        assert torch.equal(one[:, :, -1], other[:, :, 0])
        assert not torch.equal(one[:, :, 1], other[:, :, 1])


def test_a_jump_across_a_cut_is_seen() -> None:
    a = np.where(np.arange(13) < 4, 1.0, 3.0)[:, None] * np.ones((13, 6))
    problem = mgnet.Poisson(dim=2, n=(13, 6), a=a)
    assert systems(problem, lambda rank, own: own.smooth) == [False] * 3
