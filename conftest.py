"""What tests and doctests share: a model that one registers is forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mgnet.models import registry


@pytest.fixture(autouse=True)
def own_names() -> Iterator[None]:
    """Forget what a test or a page registers."""
    before = dict(registry._MODELS)
    yield
    registry._MODELS.clear()
    registry._MODELS.update(before)
