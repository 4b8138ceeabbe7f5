"""Where tensors are, and in what memory."""

from __future__ import annotations

import torch

from mgnet.core.arrays import roomy, sent


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
