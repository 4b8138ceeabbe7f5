"""Where tensors are, and in what memory."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pytest
import torch

from mgnet.core.arrays import HUGE, lasting, roomy, sent


def test_what_is_sent_is_itself_or_a_copy() -> None:
    x = torch.arange(3.0)
    assert sent(x, torch.device("cpu")) is x
    assert torch.equal(sent(x, torch.device("cpu"), torch.float64), x.double())
    assert sent(x, torch.device("meta")).device.type == "meta"  # which has no memory to fetch anything
    w = torch.ones(3, requires_grad=True)
    sent(w, torch.device("cpu"), torch.float64).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, torch.ones(3))


def test_a_tensor_without_values_is_like_another() -> None:
    for dtype in (torch.float32, torch.float64):
        x = roomy((2, 3), torch.zeros(1, dtype=dtype))
        assert (x.shape, x.dtype, x.device.type) == ((2, 3), dtype, "cpu")
    assert roomy((0, 3), x).numel() == 0
    assert roomy((2,), torch.empty(1, device="meta")).device.type == "meta"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("huge", [True, False])
def test_memory_that_lasts_is_an_array(dtype: Any, huge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> None:
        raise OSError("no memory")

    if not huge:
        monkeypatch.setattr(mmap, "mmap", nothing)
    kind = np.dtype(dtype)
    for count in (0, 3, HUGE // kind.itemsize, HUGE + 1):
        x = lasting((2, count), kind)
        assert not x.any()
        x[:] = np.arange(count)
        assert (x.shape, x.dtype, x.flags.c_contiguous) == ((2, count), kind, True)
        assert (x == np.arange(count, dtype=dtype)).all()
        assert torch.from_numpy(x).shape == x.shape  # without a warning: it can be written to
