"""Float32 means float32, and bfloat16 is used where it is fast."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["brain_float", "full_precision"]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32: neither TF32, nor bfloat16, nor autocast."""
    known: Any = torch.backends
    backends = (known.cuda.matmul, known.cudnn.conv, known.mkldnn.matmul, known.mkldnn.conv)
    changed = [(each, precision) for each in backends if (precision := each.fp32_precision) != "ieee"]
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


def brain_float(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Return autocast to bfloat16, if it is wanted and the device computes faster in it than in float32.

    Without instructions for it torch imitates it: on a processor with AVX2 and no more, training became 5 to
    10 times slower than in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and _has_fast_bfloat16(device))


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    mkldnn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _multiplies_faster()


def _multiplies_faster() -> bool:
    """Say whether this processor multiplies more numbers of bfloat16 a second than of float32.

    Intel's do by AMX, which virtual machines often hide, and not by AVX-512: without AMX steps of ResNet-20
    took 1.4 times as long. AMD's do by AVX-512.
    """
    # Not all versions of torch can tell.
    look: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    facts = look()
    return bool(facts.get("amx_bf16")) or "Intel" not in facts.get("cpu_name", "")
