"""What each process does with its cells of a line, without other processes: against dense matrices."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import mgnet
from mgnet.core.processes import Processes
from mgnet.core.resources import ResourceError, require_memory, sharing
from mgnet.operators import loops
from mgnet.operators.varying import VaryingStiffness
from mgnet.poisson.parts import part
from mgnet.solver.slabs.agreement import processes_of
from mgnet.solver.slabs.line import Chain, OwnCells
from mgnet.solver.slabs.solution import Slab, SlabSolution
from mgnet.solver.stopping import Outcome, Status

CPU = torch.device("cpu")
RNG = np.random.default_rng(11)


def chain(cells: int, dtype: torch.dtype = torch.float64, c: bool = True) -> VaryingStiffness:
    k = torch.from_numpy(np.exp(RNG.uniform(-3, 3, cells))).to(dtype)
    s = torch.from_numpy(RNG.random(cells + 1)).to(dtype) if c else None
    return VaryingStiffness(k, s, ("natural", "natural"), (0.5, 0.25) if c else (0.0, 0.0))


def solved(A: VaryingStiffness, rows: Tensor, bounds: list[int], ends: tuple[str, str]) -> Tensor:
    """Solve as processes with these cells do: each its part, all the chain, each its part."""
    parts = []
    for low, high in pairwise(bounds):
        s = None
        if A.s is not None:  # half of it where two share a node
            s = A.s[low : high + 1].clone()
            s[0] *= 1.0 if low == 0 else 0.5
            s[-1] *= 1.0 if high == bounds[-1] else 0.5
        robin = A.robin[0] * (low == 0), A.robin[1] * (high == bounds[-1])
        own = VaryingStiffness(A.k[low:high], s, ("natural", "natural"), robin)
        parts.append(OwnCells(own, own.box, CPU))
    loads = []
    for low, high in pairwise(bounds):
        part = rows[:, low : high + 1].clone()
        part[:, 0] *= 1.0 if low == 0 else 0.5
        part[:, -1] *= 1.0 if high == bounds[-1] else 0.5
        loads.append(part)
    half = [cells.descend(b) for cells, b in zip(parts, loads, strict=True)]
    of_all = Chain(torch.tensor([cells.cell for cells in parts], dtype=torch.float64), ends)
    sums = torch.from_numpy(np.stack([each.ends for each in half]))
    values = of_all.solve(of_all.loads(sums), 2.0, -1.0)
    found = []
    for i, (cells, each) in enumerate(zip(parts, half, strict=True)):
        found.append(cells.ascend(each, np.ascontiguousarray(values[:, i : i + 2])))
    for left, right in pairwise(found):
        assert torch.equal(left[:, -1], right[:, 0])
    return torch.cat([found[0], *(x[:, 1:] for x in found[1:])], 1)


def dense(A: VaryingStiffness, rows: Tensor, ends: tuple[str, str]) -> Tensor:
    """Solve by LAPACK for all nodes, joined ends once, given ends as they are."""
    n = A.k.shape[0]
    wide = VaryingStiffness(A.k.double(), None if A.s is None else A.s.double(), A.ends, A.robin)
    matrix = wide.at_nodes(torch.eye(n + 1, dtype=torch.float64)).T
    b = rows.double().clone()
    if ends[0] == "periodic":
        join = torch.eye(n + 1, dtype=torch.float64)[:, :n]
        join[n, 0] = 1
        return torch.linalg.solve(join.T @ matrix @ join, (b @ join).T).T @ join.T
    for end, value in ((0, 2.0), (n, -1.0)):
        if ends[min(end, 1)] == "dirichlet":
            matrix[end], b[:, end] = torch.eye(n + 1, dtype=torch.float64)[end], value
    return torch.linalg.solve(matrix, b.T).T


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bounds", [[0, 1, 2], [0, 5, 13, 90], [0, 40, 41, 80, 173]])
@pytest.mark.parametrize(
    "ends",
    [("dirichlet", "dirichlet"), ("natural", "dirichlet"), ("natural", "natural"), ("periodic", "periodic")],
)
def test_parts_and_their_chain_solve_a_line(ends: tuple[str, str], bounds: list[int], compiled: bool) -> None:
    A, n = chain(bounds[-1]), bounds[-1]
    rows = torch.from_numpy(RNG.standard_normal((3, n + 1)))
    with nullcontext() if compiled else loops.without():
        found = solved(A, rows, bounds, ends)
    wanted = dense(A, rows, ends)
    # eq: slab-chain
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))
    single = chain(n, torch.float32, c=ends[1] == "natural" or ends[0] == "periodic")
    with nullcontext() if compiled else loops.without():
        found = solved(single, rows.float(), bounds, ends)
    wanted = dense(single, rows.float(), ends)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("cells", [1, 2, 8, 9, 77])
def test_a_part_is_condensed_to_its_ends(cells: int, compiled: bool) -> None:
    """To the Schur complement of its inner nodes, and what they hand on."""
    A = chain(cells)
    rows = torch.from_numpy(RNG.standard_normal((2, cells + 1)))
    with nullcontext() if compiled else loops.without():
        own = OwnCells(A, A.box, CPU)
        halfway = own.descend(rows)
    matrix = A.at_nodes(torch.eye(cells + 1, dtype=torch.float64))
    outer, inner = [0, cells], list(range(1, cells))
    to_ends = torch.linalg.solve(matrix[inner][:, inner], matrix[inner][:, outer]).T
    left = matrix[outer][:, outer] - to_ends @ matrix[inner][:, outer]
    k, low, high = own.cell
    expected = torch.tensor([[k + low, -k], [-k, k + high]], dtype=torch.float64)
    torch.testing.assert_close(expected, left, rtol=1e-12, atol=1e-12)
    # eq: slab-condensed
    wanted = rows[:, outer] - rows[:, inner] @ to_ends.T
    torch.testing.assert_close(torch.from_numpy(halfway.ends), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alike", [True, False])
def test_halves_of_a_long_line_are_the_whole(alike: bool) -> None:
    """Where threads share a row too: bit for bit what the solve in one piece gives."""
    n = 600_001
    a = 1.0 if alike else RNG.random(n) + 0.5
    problem = mgnet.Poisson(np.cos, n=n, a=a, left=mgnet.Neumann(), right=mgnet.Robin(1.0, 2.0))
    hierarchy = mgnet.Hierarchy(problem)
    condensation = hierarchy._solver.condensation
    b = np.random.default_rng(0).random((2, n + 1))
    u, v = np.empty(b.shape), np.empty(b.shape)
    assert condensation.line.solve(b, u, 0.0, 0.0, 2)
    descent = condensation.line.descend(b, v, 2)
    assert condensation.line.ascend(descent, np.ascontiguousarray(u[:, [0, -1]]), 2)
    np.testing.assert_array_equal(u, v)


def test_a_slab_has_its_part_and_says_where_it_ends() -> None:
    problem = mgnet.Poisson(1.0, n=10)
    own = part(problem, 4, 8)
    u = torch.from_numpy(own.grid.x * (1 - own.grid.x) / 2)
    slab = Slab(problem, own, Processes(), 4, 8)
    sol = SlabSolution(u, slab, Outcome(Status.CONVERGED, 1, [0.0]), CPU, method="exact", tensors=False)
    np.testing.assert_array_equal(sol.x, problem.grid.x[4:9])
    assert sol(0.5) == pytest.approx(0.125)
    with pytest.raises(ValueError, match=r"accepted: points in \[0.4, 0.8\]"):
        sol(0.3)
    assert sol.flux("left") == 0.0  # of which it has nothing


def test_what_is_no_group_is_refused() -> None:
    assert processes_of(None).world == 1
    with pytest.raises(TypeError, match="group: got 3; accepted: what torch"):
        mgnet.solve(1.0, n=4, group=3)


def test_memory_is_that_of_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgnet.core.resources.free_memory", lambda: 3.0 * 2**30)
    with sharing(4):
        require_memory(2**28)
    with pytest.raises(ResourceError, match="needs about 6 GiB"):
        require_memory(2**28)


def test_a_file_stays_mapped(tmp_path: object) -> None:
    """Nothing is copied of an array in a file but the part that a process has."""
    np.save(f"{tmp_path}/f.npy", np.arange(101.0))
    mapped = np.load(f"{tmp_path}/f.npy", mmap_mode="r")
    problem = mgnet.Poisson(mapped)
    assert problem.f.data_ptr() == mapped.ctypes.data
    assert part(problem, 40, 60).f.data_ptr() == mapped[40:].ctypes.data
    np.testing.assert_array_equal(mgnet.solve(mapped).u, mgnet.solve(np.arange(101.0)).u)
