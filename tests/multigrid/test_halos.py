"""Passes over slabs with a halo: they do what sweeps with a message each do, and what one process does."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from lockstep import in_lockstep

import mgnet
from mgnet.multigrid import slabs
from mgnet.multigrid.cycles import cycle, full_multigrid
from mgnet.multigrid.halos import WidePasses
from mgnet.multigrid.levels import Options, build_levels
from mgnet.operators import loops
from mgnet.operators.cuts import Cuts
from mgnet.operators.halos import Halo
from mgnet.poisson import assembly
from mgnet.poisson.parts import matched_bounds, part
from mgnet.solver.slabs.cycling import SlabSystem

CPU = torch.device("cpu")
RNG = np.random.default_rng(5)

PROBLEMS: dict[str, tuple[int, dict[str, Any]]] = {
    "alike": (3, {"n": (70, 30), "boundary": {"left": mgnet.Robin(2.0), "top": mgnet.Neumann()}}),
    "odd": (2, {"n": (67, 31), "c": 3.0, "load": "nodal"}),
    "wide": (2, {"n": (128, 16)}),
    "narrow": (2, {"n": (64, 256)}),
    "ring": (3, {"n": (96, 24), "periodic": True, "c": 1.0}),
    "cells": (3, {"n": (72, 30), "a": 10.0 ** RNG.integers(0, 3, (72, 30))}),
    "joined cells": (2, {"n": (64, 24), "a": RNG.random((64, 24)) + 0.1, "periodic": True}),
    "c": (3, {"n": (75, 30), "a": RNG.random((75, 30)) + 0.1, "c": RNG.random((76, 31)), "load": "exact"}),
    "c at nodes": (2, {"n": (64, 30), "a": RNG.random((64, 30)) + 0.1, "c": 5.0, "load": "nodal"}),
    "a side": (3, {"n": (72, 30), "a": RNG.random((72, 30)) + 0.1, "boundary": {"left": mgnet.Robin(2.0)}}),
    "one side": (3, {"n": (72, 30), "boundary": {"left": mgnet.Robin(lambda x, y: 1 + y, 1.0)}}),
    "weights": (2, {"n": (66, 30), "a": (RNG.random((66, 30)) + 0.5, 2.0), "boundary": mgnet.Neumann()}),
    "space": (2, {"n": (40, 12, 10), "a": RNG.random((40, 12, 10)) + 0.1, "dim": 3}),
    "space alike": (2, {"n": (48, 12, 10), "dim": 3, "boundary": {"back": mgnet.Robin(1.0)}}),
}


@pytest.fixture(autouse=True)
def shares_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SHARE", 16)


@pytest.fixture
def useless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let planes that nobody has been told be NaN, so that it is seen where one is used."""
    room = Halo.room

    def poisoned(halo: Halo, name: str, batch: int) -> torch.Tensor:
        new = name not in halo._rooms
        found = room(halo, name, batch)
        return found.fill_(torch.nan) if new else found

    monkeypatch.setattr(Halo, "room", poisoned)


def of_slabs(name: str, options: Options, work: Any) -> list[Any]:
    """Do something with the grids of each slab, and what a slab has of a vector of the whole."""
    world, data = PROBLEMS[name]
    problem = mgnet.Poisson(**{"dim": 2, **data})
    edges = matched_bounds(problem.cells[0], world)

    def of_slab(me: Any) -> Any:
        own = part(problem, *edges[me.rank : me.rank + 2])
        cuts = Cuts(me, problem.dim, problem.joined[0]).named("grid 0")
        A = SlabSystem(problem, own, cuts, edges, torch.float64, CPU).A
        levels = slabs.build_slab_levels(A, edges, options)  # type: ignore[arg-type]

        def here(x: torch.Tensor) -> torch.Tensor:
            nodes = problem.space.nodes(x).narrow(-problem.dim, edges[me.rank], own.cells[0] + 1)
            return own.space.unknowns(nodes).contiguous()

        return work(levels, here)

    return in_lockstep(world, of_slab)


def vectors(name: str, batch: int = 2) -> tuple[mgnet.Poisson, torch.Tensor, torch.Tensor]:
    problem = mgnet.Poisson(**{"dim": 2, **PROBLEMS[name][1]})
    b, x = (torch.from_numpy(RNG.random((batch, 1, *problem.shape))) for _ in range(2))
    return problem, b, x


def close(found: list[Any], expected: list[Any]) -> None:
    for each, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(each, other, rtol=0, atol=1e-12 * scale)


HOW: list[tuple[tuple[int, int], str]] = [
    ((2, 2), "V"), ((2, 2), "W"), ((1, 1), "F"), ((0, 1), "V"), ((3, 2), "V"), ((1, 4), "V")
]  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_passes_do_what_sweeps_with_a_message_each_do(
    name: str, monkeypatch: pytest.MonkeyPatch, useless: None
) -> None:
    problem, b, x = vectors(name)

    def cycles(how: Any, wide: bool) -> list[list[torch.Tensor]]:
        def work(levels: Any, here: Any) -> list[torch.Tensor]:
            assert isinstance(levels[0].slab, WidePasses) is wide
            guessed = cycle(levels, here(b), here(x), *how)
            return [cycle(levels, here(b), None, *how), guessed, levels[0].A(here(x))]

        return of_slabs(name, Options("vcycle", sweeps=how[0], dim=problem.dim), work)

    for how in HOW if name in ("odd", "cells") else HOW[:1]:
        found = cycles(how, wide=True)
        with monkeypatch.context() as patch:
            patch.setattr(slabs, "APART", 10**6)  # no slab is that thick
            expected = cycles(how, wide=False)
        for each, other in zip(found, expected, strict=True):
            close(each, other)


@pytest.mark.parametrize("name", ["alike", "odd", "wide", "narrow", "ring", "space alike"])
def test_full_multigrid_is_that_of_one_process(name: str, useless: None) -> None:
    """First guesses are cubic polynomials across cuts too; bounds of the spectrum are the same here."""
    problem, b, _ = vectors(name)
    options = Options("fmg", dim=problem.dim, levels=3)
    alone = build_levels(assembly.operator(problem, torch.float64, CPU), problem.cells, options)
    whole = full_multigrid(alone, b)

    def work(levels: Any, here: Any) -> None:
        close([full_multigrid(levels, here(b))], [here(whole)])

    of_slabs(name, options, work)


def test_both_slabs_at_a_cut_agree_to_rounding() -> None:
    problem, b, _ = vectors("cells")
    found = of_slabs("cells", Options("vcycle", dim=2), lambda levels, here: cycle(levels, here(b)))
    close([x[:, :, -1] for x in found[:-1]], [x[:, :, 0] for x in found[1:]])


def test_thin_slabs_go_on_sweep_by_sweep() -> None:
    """Shared grids of 24 and 12 layers here, and for so many sweeps a halo of ten."""

    def work(levels: Any, here: Any) -> list[bool]:
        return [isinstance(level.slab, WidePasses) for level in levels if hasattr(level, "slab")]

    for kinds in of_slabs("cells", Options("vcycle", dim=2, sweeps=(2, 6)), work):
        assert kinds == [True, False]


@pytest.mark.parametrize("name", ["odd", "cells", "ring", "space", "weights"])
def test_conjugate_gradients_count_what_two_slabs_have_once(name: str, useless: None) -> None:
    """Products and energies are those of the whole; a direction is added, on cuts too."""
    problem, r, z = vectors(name)
    A = assembly.operator(problem, torch.float64, CPU)
    u, e = (torch.from_numpy(RNG.random(z.shape)) for _ in range(2))
    products = [(x * y).flatten(1).sum(1) for x, y in ((r, z), (z, A(z)), (r, e), (e, A(z)))]
    lengths, gains = (np.array([2.0, 3.0]), np.array([0.5, 0.25])), torch.tensor([1.0, 7.0])
    along = [torch.as_tensor(x).double().reshape(2, *[1] * (z.ndim - 1)) for x in (*lengths, gains)]
    direction = along[0] * z + along[1] * (along[0] * e)
    new = u + along[2] * direction

    def work(levels: Any, here: Any) -> None:
        passes, known = levels[0].A.passes, [here(x) for x in (z, r, e, u)]
        found = passes.energies(*known[:3])
        torch.testing.assert_close(found, torch.stack(products, 1), rtol=1e-10, atol=0)
        first = passes.combine((lengths[0], 0 * gains), 0 * gains, known[2], True, known[3])[0]
        torch.testing.assert_close(first, along[0] * known[2], rtol=1e-12, atol=0)
        made, of_e, of_u = passes.combine(lengths, gains, known[0], False, known[3])
        close([made, known[3]], [here(direction), here(new)])
        for size, whole in ((of_e, direction), (of_u, new)):
            torch.testing.assert_close(size, whole.flatten(1).amax(1), rtol=1e-12, atol=0)

    of_slabs(name, Options("vcycle", dim=problem.dim), work)


def kinds_of(name: str, **how: Any) -> list[Any]:
    options = Options("vcycle", dim=2, **how)
    return of_slabs(name, options, lambda levels, here: type(getattr(levels[0], "slab", None)))


def test_what_keeps_slabs_without_a_halo(monkeypatch: pytest.MonkeyPatch) -> None:
    """All or none: other last cells of a ring, sweeps that are none, and a process without compiled loops."""
    assert kinds_of("cells") == [WidePasses] * 3
    monkeypatch.setitem(PROBLEMS, "odd ring", (2, {"n": (67, 24), "periodic": True, "c": 1.0}))
    assert kinds_of("odd ring") == [slabs.SlabPasses] * 2
    assert kinds_of("cells", smoother="red-black") == [type(None)] * 3
    able = loops.apply_to

    def not_all(*tensors: torch.Tensor | None) -> bool:
        return threading.current_thread() is not lame and able(*tensors)

    lame, known = None, SlabSystem.__init__

    def begun(self: Any, *given: Any, **options: Any) -> None:
        nonlocal lame
        if given[2].processes.rank == 1:
            lame = threading.current_thread()
        known(self, *given, **options)

    monkeypatch.setattr(SlabSystem, "__init__", begun)
    monkeypatch.setattr(loops, "apply_to", not_all)
    assert kinds_of("cells") == [slabs.SlabPasses] * 3
