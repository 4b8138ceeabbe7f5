"""What tests and doctests share: a model or data that one registers is forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from mgnet.data import sets as data
from mgnet.models import registry

# A page whose examples need an extra.
collect_ignore = [] if find_spec("onnxruntime") else ["docs/export.md"]


@pytest.fixture(autouse=True)
def own_names() -> Iterator[None]:
    """Forget what a test or a page registers."""
    names: tuple[dict[str, Any], ...] = (registry.MODELS, data.LOADERS)
    before = [dict(known) for known in names]
    yield
    for known, old in zip(names, before, strict=True):
        known.clear()
        known.update(old)
