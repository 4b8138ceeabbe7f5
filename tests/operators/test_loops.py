"""The door to compiled loops: nothing is behind it before a solve, and without Numba torch does the work."""

from __future__ import annotations

import pytest
from processes import environment, finished

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
