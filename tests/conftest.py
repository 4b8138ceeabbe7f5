"""What all tests share: figures without a screen, examples without a deadline, GPU tests only on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The first call of a kernel can take longer than Hypothesis allows an example; a repeatable run is worth
# more in CI than a new example.
settings.register_profile("mgnet", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mgnet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``cuda`` where torch sees no GPU."""
    wanting = [item for item in items if item.get_closest_marker("cuda")]
    if not wanting:
        return
    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small operations in many threads wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seed() -> None:
    """Draw the same numbers in each test."""
    torch.manual_seed(0)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
