"""The layers of networks, written out: dropout and batch normalisation against torch's, averaging."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgnet import Restriction
from mgnet.layers import Averaging, BatchNorm, Dropout

TORCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}

pytestmark = pytest.mark.usefixtures("one_thread", "seed")


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()


# Dropout.


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_dropout_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"^p: got .*; accepted"):
        Dropout(p)


@pytest.mark.parametrize("p", ["half", None, True])
def test_dropout_refuses_what_is_no_number(p: Any) -> None:
    with pytest.raises(TypeError, match="^p: got"):
        Dropout(p)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_is_the_identity_in_evaluation(p: float) -> None:
    x = torch.randn(5, 7)
    assert Dropout(p).eval()(x) is x


def test_dropout_at_the_ends_keeps_all_or_nothing() -> None:
    x = torch.randn(100, requires_grad=True)
    assert torch.equal(Dropout(0)(x), x)
    nothing = Dropout(1)(x)
    nothing.sum().backward()
    assert nothing.abs().sum() == 0 and x.grad is not None and x.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.003, 0.3, 0.9])
def test_dropout_has_the_distribution_of_torchs(p: float, dtype: torch.dtype) -> None:
    # eq: dropout
    n = 200_000
    for layer in (Dropout(p), nn.Dropout(p)):
        y = layer(torch.ones(n, dtype=dtype)).double()
        deviation = math.sqrt(p * (1 - p) / n)
        assert abs((y == 0).double().mean() - p) < 5 * deviation
        kept = y[y != 0].unique()
        assert len(kept) == 1 and abs(kept.item() * (1 - p) - 1) < (1e-2 if dtype == torch.bfloat16 else 1e-6)
        if dtype != torch.bfloat16:
            assert abs(y.mean() - 1) < 5 * deviation / (1 - p)


def test_dropout_passes_gradients_where_it_kept_and_draws_anew() -> None:
    x = torch.randn(50, 40, requires_grad=True)
    layer = Dropout(0.4)
    y = layer(x)
    y.sum().backward()
    assert torch.allclose(y, x * x.grad)
    assert not torch.equal(layer(x), y)
    assert not layer(x).detach().requires_grad


def test_dropout_keeps_shape_and_memory_format() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert Dropout(0.5)(x).is_contiguous(memory_format=torch.channels_last)
    assert Dropout(0.5)(torch.ones(())).shape == ()


# Batch normalisation.

SETTINGS = [
    {},
    {"eps": 1e-2, "momentum": 0.3},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
    {"momentum": 0.0},
]


def pair(axes: int, dtype: torch.dtype, **settings: Any) -> tuple[BatchNorm, nn.Module]:
    """Return our norm and torch's of 3 channels, with the same numbers in them."""
    ours, theirs = BatchNorm(3, **settings).to(dtype), TORCH_NORMS[axes](3, **settings).to(dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def batch(axes: int, dtype: torch.dtype) -> Tensor:
    return (2 * torch.randn(6, 3, *(4, 5, 2)[:axes], dtype=dtype) + 1).requires_grad_()


@pytest.mark.parametrize("dtype", EPS, ids=str)
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_batchnorm_equals_torchs(settings: dict[str, Any], axes: int, dtype: torch.dtype) -> None:
    ours, theirs = pair(axes, dtype, **settings)
    for mode in (True, True, True, False):
        x = batch(axes, dtype)
        weights = torch.randn_like(x)
        results = []
        for layer in (ours.train(mode), theirs.train(mode)):
            x.grad = None
            layer.zero_grad()
            y = layer(x)
            (y * weights).sum().backward()
            results.append([y, x.grad, *(p.grad for p in layer.parameters())])
        for a, b in zip(*results, strict=True):
            assert difference(a, b) < 40 * EPS[dtype]
        for name, statistics in theirs.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], statistics, rtol=20 * EPS[dtype])
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_batchnorm_normalises_by_hand() -> None:
    # eq: batch-norm
    # eq: running-statistics
    x = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)  # mean 3, variance 14/3, unbiased 7
    norm = BatchNorm(1, eps=0.0).double()
    assert torch.allclose(norm(x), (x - 3) / math.sqrt(14 / 3), rtol=1e-15)
    assert torch.allclose(norm.running_mean, torch.tensor([0.3], dtype=torch.float64))
    assert torch.allclose(norm.running_var, torch.tensor([0.9 + 0.7], dtype=torch.float64))
    assert norm.num_batches_tracked == 1
    norm.eval()(x)
    assert norm.num_batches_tracked == 1


def test_batchnorm_of_second_order() -> None:
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(BatchNorm(2).double(), (x,))


def test_batchnorm_keeps_low_precision_and_computes_in_float32() -> None:
    x = (100 + torch.randn(64, 3, 8, 8)).bfloat16()
    y = BatchNorm(3)(x)
    assert y.dtype == torch.bfloat16
    assert difference(y.float(), BatchNorm(3)(x.float())) < 2**-8


@pytest.mark.parametrize(
    "x", [torch.ones(4), torch.ones(2, 4), torch.ones(2, 4, 3)], ids=lambda x: str(x.shape)
)
def test_batchnorm_refuses_other_channels(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^x: got shape .*; accepted: \(N, 3, ...\)"):
        BatchNorm(3)(x)


def test_batchnorm_refuses_one_number_per_channel_in_training_only() -> None:
    with pytest.raises(ValueError, match="accepted in training: several"):
        BatchNorm(3)(torch.ones(1, 3, 1, 1))
    assert torch.allclose(BatchNorm(3, eps=0.0).eval()(torch.ones(1, 3, 1, 1)), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("channels", [0, -1])
def test_batchnorm_refuses_no_channels(channels: int) -> None:
    with pytest.raises(ValueError, match="^channels: got"):
        BatchNorm(channels)


# Averaging.


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_averaging_is_half_the_restriction_per_axis(dim: int) -> None:
    x = torch.randn(2, 3, *(9, 8, 7)[:dim], dtype=torch.float64)
    averaging = Averaging(dim=dim, dtype=torch.float64)
    restriction = Restriction(boundary="same", dim=dim)
    expected = torch.cat([restriction(x[:, c : c + 1]) for c in range(3)], 1) / 2**dim
    assert difference(averaging(x), expected) < 1e-15
    assert averaging.weight.sum() == 1 and not list(averaging.parameters())
    assert isinstance(averaging, Restriction) and isinstance(
        averaging, (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1]
    )


def test_averaging_keeps_constants_inside_and_works_under_autocast() -> None:
    x = torch.ones(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = Averaging(dim=2)(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y[:, :, 1:, 1:].float(), torch.ones(1, 4, 3, 3))
    assert torch.allclose(
        Averaging(boundary="natural", dim=2)(torch.ones(1, 4, 9, 9))[..., 1:-1, 1:-1], torch.ones(())
    )
