"""Imports without the garbage collector, which comes back whatever happens, if it was there."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from processes import finished

from mgnet.core.imports import uncollected


@pytest.fixture(params=[True, False])
def enabled(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_the_collector_is_as_it_was(enabled: bool) -> None:
    with uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() is enabled
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled() is enabled


# Counts large collections while what a solve needs is imported, and says whether the collector is there.
COUNT = """
import gc
import mgnet

large = []
gc.callbacks.append(lambda phase, info: large.append(phase == "start" and info["generation"] == 2))
mgnet.Hierarchy
print(sum(large), gc.isenabled())
"""


def test_nothing_large_is_collected_while_a_solver_is_imported() -> None:
    assert finished("-c", COUNT).stdout.split() == ["0", "True"]
