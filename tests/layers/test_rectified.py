"""Batch normalisation with ReLU as one operation, against torch's modules one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgnet import models
from mgnet.kernels import norms
from mgnet.layers import rectified as module
from mgnet.layers.rectified import _fits, _Rectified, rectified
from mgnet.operators import loops

pytestmark = pytest.mark.usefixtures("one_thread", "seed")

# One pixel in each of two images, channels that no tile is a multiple of, rows of several blocks.
SHAPES = [(2, 5, 1, 1), (1, 3, 2, 2), (7, 16, 9, 9), (128, 16, 8, 8), (64, 64, 8, 8), (2, 3000, 3, 3)]


def images(*shape: int) -> Tensor:
    """Return images in bfloat16, with the channels of a pixel together, far from mean 0 and deviation 1."""
    return (2 * torch.randn(shape) + 3).bfloat16().to(memory_format=torch.channels_last)


def norm_of(channels: int, **options: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, **options)
    nn.init.normal_(norm.weight, 1.0)
    nn.init.normal_(norm.bias, -0.5)
    return norm


def exact(norm: nn.BatchNorm2d, x: Tensor, skip: Tensor | None) -> Tensor:
    """Compute in float64 what torch's modules compute."""
    y = norm(x)
    return torch.relu(y if skip is None else y + skip)


def difference(a: Any, b: Any) -> float:
    a, b = a.detach(), b.detach()
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_values_and_statistics_are_those_of_torch(shape: Any, joined: bool, momentum: float | None) -> None:
    norm = norm_of(shape[1], momentum=momentum)
    reference = copy.deepcopy(norm).double()
    for _ in range(2):
        x, skip = images(*shape), images(*shape) if joined else None
        assert _fits(norm, torch.relu_, x, skip)
        y = rectified(norm, torch.relu_, x, skip)
        wanted = exact(reference, x.double(), None if skip is None else skip.double())
        assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
        assert difference(y, wanted) < 2**-8  # half a unit of the last of 8 bits
    assert difference(norm.running_mean, reference.running_mean) < 1e-6
    assert difference(norm.running_var, reference.running_var) < 1e-5
    assert norm.num_batches_tracked is not None and int(norm.num_batches_tracked) == 2


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("joined", [False, True])
def test_gradients_are_those_of_torch(shape: Any, joined: bool) -> None:
    norm = norm_of(shape[1])
    reference = copy.deepcopy(norm).double()
    x, g = images(*shape).requires_grad_(), images(*shape)
    skip: Any = images(*shape).requires_grad_() if joined else None
    y = rectified(norm, torch.relu_, x, skip)
    y.backward(g.contiguous())  # in another memory order than y
    x64 = x.detach().double().requires_grad_()
    skip64 = None if skip is None else skip.detach().double().requires_grad_()
    wanted = reference(x64) if skip64 is None else reference(x64) + skip64
    wanted.backward(g.double() * (y > 0))  # where y rounds to 0 there is no slope
    assert difference(norm.weight.grad, reference.weight.grad) < 1e-3
    assert difference(norm.bias.grad, reference.bias.grad) < 1e-5
    assert x.grad is not None and difference(x.grad, x64.grad) < 2**-7
    if skip is not None:
        assert torch.equal(skip.grad, g * (y > 0))


def in_float64(skip: Tensor | None) -> Callable[..., Any]:
    def function(x: Tensor, weight: Tensor, bias: Tensor, *more: Tensor) -> Any:
        laid = x.contiguous(memory_format=torch.channels_last)
        return _Rectified.apply(laid, weight, bias, more[0] if more else skip, 1e-5)[0]

    return function


@pytest.mark.parametrize("joined", [False, True])
def test_derivatives_of_the_same_loops_in_float64(joined: bool) -> None:
    like: dict[str, Any] = {"dtype": torch.float64, "requires_grad": True}
    inputs = [torch.randn(3, 4, 2, 3, **like), torch.randn(4, **like), torch.randn(4, **like)]
    inputs += [torch.randn(3, 4, 2, 3, **like)] if joined else []
    assert torch.autograd.gradcheck(in_float64(None), inputs)
    assert torch.autograd.gradgradcheck(in_float64(None), inputs)


def test_a_mean_that_is_large_leaves_digits_for_the_variance() -> None:
    x = (torch.randn(64, 4, 8, 8) + 1000).to(memory_format=torch.channels_last)
    moments = _Rectified.apply(x, torch.ones(4), torch.zeros(4), None, 1e-5)[1]
    assert difference(moments[1], x.double().var((0, 2, 3), correction=0)) < 1e-5


def test_what_is_not_finite_stays_so() -> None:
    for bad in (torch.nan, torch.inf):
        norm, x = norm_of(3), images(4, 3, 5, 5)
        x[0, 1, 0, 0] = bad
        y = rectified(norm, torch.relu_, x)
        assert y[:, 1].isnan().all() and y[:, (0, 2)].isfinite().all()


def test_bits_are_rounded_as_torch_does() -> None:
    numbers = torch.cat((torch.randn(4000), 1 + torch.arange(2000) * 2.0**-10))
    x = numbers.bfloat16()
    ones, zeros = np.ones(6000, np.float32), np.zeros(6000, np.float32)
    y = torch.empty_like(x)
    norms.rectify(x.view(torch.uint16).numpy(), ones * 1.0009, zeros, y.view(torch.uint16).numpy(), 0, 1)
    assert torch.equal(y, (x.float() * torch.tensor(1.0009)).relu().bfloat16())


def test_the_number_of_threads_is_not_seen() -> None:
    results: list[Any] = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        norm, x = norm_of(16), images(64, 16, 16, 16).requires_grad_()
        y = rectified(norm, torch.relu_, x)
        y.backward(images(64, 16, 16, 16))
        results.append((y, x.grad, norm.weight.grad, norm.running_var))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "case",
    ["evaluation", "float32", "contiguous", "one number", "hook", "without gradients", "tanh", "no affine"],
)
def test_elsewhere_torch_does_the_work(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_Rectified", None)  # which would fail if it were called
    norm, x = norm_of(4), images(8, 4, 3, 3)
    activation: Callable[[Tensor], Tensor] = torch.relu_
    if case == "evaluation":
        norm.eval()
    elif case == "float32":
        x = x.float()
    elif case == "contiguous":
        x = x.contiguous()
    elif case == "hook":
        norm.register_forward_hook(lambda *_: None)
    elif case == "tanh":
        activation = torch.tanh
    elif case == "no affine":
        norm = nn.BatchNorm2d(4, affine=False)
    if case == "one number":
        with pytest.raises(ValueError, match="more than 1 value"):
            rectified(norm, activation, images(1, 4, 1, 1))
        return
    other = copy.deepcopy(norm)
    with torch.set_grad_enabled(case != "without gradients"):
        y = rectified(norm, activation, x.clone())
    assert torch.equal(y, activation(other(x.clone())))


def gradients(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return all gradients of a copy in one row, in float64 or with autocast to bfloat16."""
    twin = copy.deepcopy(model).to(torch.promote_types(dtype, torch.float32))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        scores = twin(x.to(torch.promote_types(dtype, torch.float32)))
    scores.double().square().sum().backward()
    return torch.cat([p.grad.flatten().double() for p in twin.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["resnet20", "mgnet-32", "preact18", "vgg11"])
def test_gradients_of_networks_are_as_good_as_torchs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    follow = module._follow

    def counted(norm: Any, *others: Any) -> None:
        calls.append(1)
        follow(norm, *others)

    monkeypatch.setattr(module, "_follow", counted)
    model = models.create(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(8, 3, 32, 32).to(memory_format=torch.channels_last)
    truth = gradients(model, x, torch.float64)
    with loops.without():
        plain = gradients(model, x, torch.bfloat16)
    assert not calls
    ours = gradients(model, x, torch.bfloat16)
    assert len(calls) == sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert (ours - truth).norm() < 1.2 * (plain - truth).norm()


def test_the_skip_is_every_second_pixel_in_either_memory_order() -> None:
    skip = models.resnet.ZeroPadded((3, 8), 2)
    x = torch.randn(2, 3, 6, 6)
    for laid in (x.clone(), x.to(memory_format=torch.channels_last)):
        laid.requires_grad_()
        y = skip(laid)
        assert torch.equal(y[:, :3], x[:, :, ::2, ::2]) and not y[:, 3:].any()
        y.backward(torch.ones_like(y))
        wanted = torch.zeros_like(x)
        wanted[:, :, ::2, ::2] = 1
        assert laid.grad is not None and torch.equal(laid.grad, wanted)
        assert laid.grad.stride() == laid.stride()
