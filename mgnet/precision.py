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
    before = [backend.fp32_precision for backend in backends]
    cast = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with contextlib.ExitStack() as stack:
            for device in cast:
                stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
