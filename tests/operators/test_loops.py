"""The door to compiled loops: nothing is behind it before a solve, and without Numba torch does the work."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from processes import environment, finished

import mgnet

BLOCKED = """
import sys

class NoNumba:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "numba":
            raise ERROR("no Numba for this Python")

sys.meta_path.insert(0, NoNumba())
"""
SOLVES = """
import warnings
import numpy as np, torch
import mgnet
from mgnet.operators import loops

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert not loops.apply_to(torch.zeros(3))
    line = mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n=1000)
    plane = mgnet.solve(1.0, n=48, dim=2)
    varying = mgnet.solve(1.0, n=48, dim=2, a=np.linspace(1, 9, 48 * 48).reshape(48, 48))
assert abs(line.u - np.sin(np.pi * line.x)).max() < 1e-6
assert abs(plane.u.max() - 0.0736713) < 1e-4
assert varying.status is mgnet.Status.CONVERGED
(warning,) = said
assert warning.category is RuntimeWarning
print(warning.message)
"""


@pytest.mark.parametrize("error", ["ImportError", "OSError", "RuntimeError", ""])
def test_without_numba_torch_does_the_work_and_one_warning_says_so(error: str) -> None:
    blocked = bool(error)  # or there, and broken
    missing = "no Numba for this Python" if blocked else "NUMBA_DISABLE_JIT is set"
    done = finished(
        "-c",
        BLOCKED.replace("ERROR", error) * blocked + SOLVES,
        env=environment(**({} if blocked else {"NUMBA_DISABLE_JIT": "1"})),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"mgnet: no compiled loops, so solves take longer: {missing}"
    assert done.stderr == ""


def test_what_solves_is_imported_without_numba() -> None:
    code = (
        "import sys, mgnet; mgnet.solve, mgnet.Hierarchy, mgnet.Stiffness; sys.exit('numba' in sys.modules)"
    )
    assert finished("-c", code).returncode == 0


def test_vectors_of_a_grid_are_used_again_and_do_not_overlap() -> None:
    passes = mgnet.Hierarchy(mgnet.Poisson(n=128, dim=2)).levels[0].passes
    names = {"a": False, "b": False, "c": True, "d": False, "e": True, "f": False, "g": False}
    for batch in (2, 3, 2):
        rooms = [passes.room(name, batch, coarse) for name, coarse in names.items()]
        for (name, coarse), (array, x) in zip(names.items(), rooms, strict=True):
            assert passes.room(name, batch, coarse)[1] is x
            assert x.shape == (batch, 1, *[63 if coarse else 127] * 2)
            assert np.shares_memory(array, x.numpy())
        for (one, _), (other, _) in itertools.combinations(rooms, 2):
            assert not np.shares_memory(one, other)


def test_residuals_have_memory_in_the_precision_of_the_operator() -> None:
    from mgnet.operators.contract import room

    b = torch.ones(2, 1, 15, 15, dtype=torch.float64)
    A = mgnet.Hierarchy(mgnet.Poisson(n=16, dim=2)).levels[0].A
    for like in (b, b.clone().requires_grad_()):  # passes take the first alone
        r = room(A, like)
        assert (r.shape, r.dtype, r is room(A, like)) == (b.shape, A.like["dtype"], like is b)
