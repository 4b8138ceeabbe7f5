"""Weights and Galerkin products of all nodes at once, against compiled loops, which do them node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet.operators import loops, probes

EPS = torch.finfo(torch.float64).eps


def drawn(*shape: int, decades: float = 4.0) -> np.ndarray:
    return 10 ** (decades * np.random.default_rng(0).random(shape))


PROBLEMS: dict[str, dict[str, Any]] = {
    "plane": {"n": (8, 12), "a": drawn(8, 12)},
    "space": {"n": (4, 8, 4), "a": drawn(4, 8, 4)},
    "reacting": {"n": (8, 8), "a": drawn(8, 8), "c": drawn(9, 9)},
    "lumped": {"n": (8, 8), "a": drawn(8, 8), "c": drawn(9, 9), "load": "nodal"},
    "periodic": {"n": (8, 8), "a": drawn(8, 8), "c": 3.0, "periodic": (True, False)},
    "natural": {"n": (8, 8), "a": drawn(8, 8), "boundary": {"left": mgnet.Neumann(0.0)}},
    "one axis": {"n": (8, 8), "a": drawn(8, 8), "domain": ((0.0, 8.0), (0.0, 1.0))},
    "tensor": {"n": (8, 8), "a": (drawn(8, 8, decades=0.5), drawn(8, 8, decades=0.4))},
}


@pytest.mark.parametrize("room", [probes.ROOM, 0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_coarse_operator_is_that_of_loops(name: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ROOM", room)  # many numbers at a time, or in turn
    options = PROBLEMS[name]
    problem = mgnet.Poisson(dim=len(options["n"]), **options)
    looped = mgnet.Hierarchy(problem).A
    with loops.without():
        A = mgnet.Hierarchy(problem).A
    for _ in range(2):
        expected = looped.coarsen()
        with loops.without():
            found = A.coarsen()
        assert (expected is None) == (found is None)
        if expected is None or found is None:
            return
        for one, other in zip(found, expected, strict=True):
            with loops.without():
                matrix = one.to_dense()
            wanted = other.to_dense()
            assert (matrix - wanted).abs().max() <= 64 * EPS * wanted.abs().max()
        with loops.without():
            sizes, largest = found[0].row_sums(), found[0].largest
            assert (sizes - expected[0].row_sums()).abs().max() <= 64 * EPS * sizes.max()
            assert largest == pytest.approx(expected[0].largest, rel=1e-10)
            assert (found[1].T.to_dense() - expected[1].to_dense().T).abs().max() <= 64 * EPS
        looped, A = expected[0], found[0]


def test_stencils_have_the_entries_of_the_matrix() -> None:
    a = torch.from_numpy(drawn(4, 6))
    A: Any = mgnet.Hierarchy(mgnet.Poisson(n=(4, 6), dim=2, a=a)).A
    entries = torch.stack([A.assembled().entry(step) for step in probes.around(2)])
    assert (A.stencil - entries).abs().max() <= 8 * EPS * entries.abs().max()


def test_what_is_not_in_pairs_is_left_to_loops_over_offsets() -> None:
    A: Any = mgnet.Hierarchy(mgnet.Poisson(n=(9, 8), dim=2, a=drawn(9, 8))).A
    assert not probes.takes(A.box, (True, True))
    assert probes.takes(A.box, (False, True))
