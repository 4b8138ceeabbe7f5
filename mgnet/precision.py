"""Float32 means float32: what torch may compute in less is switched off for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["full_precision"]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32: neither TF32, nor bfloat16, nor autocast."""
    torch_backends: Any = torch.backends
    backends = (
        torch_backends.cuda.matmul,
        torch_backends.cudnn.conv,
        torch_backends.mkldnn.matmul,
        torch_backends.mkldnn.conv,
    )
    changed = [
        (backend, precision) for backend in backends if (precision := backend.fp32_precision) != "ieee"
    ]
    cast = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    try:
        for backend, _ in changed:
            backend.fp32_precision = "ieee"
        for device in cast:
            torch.set_autocast_enabled(device, False)
        yield
    finally:
        for backend, precision in changed:
            backend.fp32_precision = precision
        for device in cast:
            torch.set_autocast_enabled(device, True)
