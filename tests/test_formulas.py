"""Formulas of the book, number by number: what no other test computes from scratch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mgnet
from mgnet import Recipe, Stencil, models
from mgnet.layers import Averaging
from mgnet.train import optimizers

RNG = np.random.default_rng


def one_step(**change: Any) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    """Train logistic regression for one step of rate 0.1; give W before and after, data and history."""
    data = mgnet.data.synthetic(train=40, validation=20, test=10)
    torch.manual_seed(0)
    model = models.create("logistic", in_channels=3, image_size=32)
    before = model[1].weight.detach().numpy().copy()
    plain = {"lr": 0.1, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0, "progress": False}
    history = mgnet.fit(model, data, recipe="lecture", epochs=1, **{**plain, **change})
    return before, model[1].weight.detach().numpy(), data, history


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def pixels(split: mgnet.data.Split) -> np.ndarray:
    return split.normalise(split.images).numpy().reshape(len(split), -1).astype(float)


def test_scores_are_those_of_the_formula() -> None:
    model = models.create("logistic", num_classes=4, in_channels=2, image_size=3).double()
    x = RNG(0).normal(size=(5, 2, 3, 3))
    W, b = (p.detach().numpy() for p in model.parameters())
    z = [[sum(W[k, j] * image.flat[j] for j in range(18)) + b[k] for k in range(4)] for image in x]
    # eq: linear-scores
    np.testing.assert_allclose(model(torch.from_numpy(x)).detach().numpy(), z, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_a_batch_and_its_step(smoothing: float) -> None:
    before, after, data, history = one_step(batch_size=40, label_smoothing=smoothing)
    torch.manual_seed(0)
    b = models.create("logistic", in_channels=3, image_size=32)[1].bias.detach().numpy()
    x, y = pixels(data.train), data.train.labels.numpy()
    p = log_softmax(x @ before.T.astype(float) + b)
    target = np.full((40, 10), smoothing / 10)
    target[range(40), y] += 1 - smoothing
    # eq: label-smoothing
    assert history["train_loss"][0] == pytest.approx(-(target * p).sum(1).mean(), rel=1e-5)
    gradient = (np.exp(p) - target).T @ x / 40
    # eq: batch-loss
    np.testing.assert_allclose(after, before - 0.1 * gradient, rtol=0, atol=1e-6)


def test_a_batch_that_is_not_full_has_its_own_mean() -> None:
    data = mgnet.data.synthetic(train=7, validation=0, test=10)
    torch.manual_seed(0)
    model = models.create("logistic", in_channels=3, image_size=32)
    W, b = (p.detach().numpy().copy() for p in model.parameters())
    change = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    mgnet.fit(model, data, recipe="lecture", epochs=1, batch_size=40, progress=False, **change)
    x = pixels(data.train)
    p = np.exp(log_softmax(x @ W.T.astype(float) + b))
    p[range(7), data.train.labels.numpy()] -= 1
    np.testing.assert_allclose(model[1].weight.detach().numpy(), W - 0.1 * p.T @ x / 7, atol=1e-6)


def test_the_loss_of_the_validation_set_is_not_smoothed() -> None:
    data = mgnet.data.synthetic(train=40, validation=20, test=10)
    model = models.create("logistic", in_channels=3, image_size=32)
    history = mgnet.fit(model, data, recipe="lecture", epochs=1, label_smoothing=0.3, progress=False)
    W, b = (p.detach().numpy().astype(float) for p in model.parameters())
    p = log_softmax(pixels(data.validation) @ W.T + b)
    # eq: softmax-cross-entropy
    expected = -p[range(20), data.validation.labels.numpy()].mean()
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


def test_adamw_takes_the_decay_out_of_the_quotient() -> None:
    w = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    gradients = RNG(1).normal(size=(5, 1, 2))
    expected, m, v = w.detach().numpy().copy(), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g**2
        # eq: adamw
        step = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected = (1 - 0.01 * 0.3) * expected - 0.01 * step
    recipe = Recipe(optimizer="adamw", lr=0.01, momentum=0.8, weight_decay=0.3)
    optimizer = optimizers.create(nn.ParameterList([w]), recipe)
    for g in gradients:
        w.grad = torch.from_numpy(g)
        optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5])
def test_one_cycle_is_two_lines(warmup: float) -> None:
    recipe = Recipe(epochs=4, lr=0.4, schedule="onecycle", warmup=warmup)
    optimizer = optimizers.create(nn.Linear(2, 2), recipe)
    rates = []
    for step in range(100):
        optimizers.set_rate(optimizer, recipe, step, 25)
        rates.append(optimizer.param_groups[0]["lr"])
    tau = (np.arange(100) + 0.5) / 100
    rise = tau / warmup if warmup else np.full(100, np.inf)
    # eq: one-cycle
    np.testing.assert_allclose(rates, 0.4 * np.minimum(rise, (1 - tau) / (1 - warmup)), rtol=1e-9)


# Convolutions, by loops. Margins are (low, high).

SETTINGS = [
    ("valid", 1, 3, (0, 0)),
    ("valid", 3, 4, (0, 0)),
    ("same", 1, 5, (2, 2)),
    ("same", 2, 3, (1, 1)),
    ("dirichlet", 2, 3, (0, 0)),
]


@pytest.mark.parametrize("channels", [(1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(("boundary", "stride", "k", "margins"), SETTINGS)
def test_a_convolution_by_loops(
    boundary: str, stride: int, k: int, margins: tuple[int, int], channels: tuple[int, int]
) -> None:
    inputs, outputs = channels
    K = RNG(0).normal(size=(outputs, inputs, k, k))
    A = Stencil(K, stride, boundary, dim=2)  # of one channel: slices, of several: torch's convolution
    for shape in ((7, 8), (9, 6), (5, 5)):
        # eq: output-size
        size = [(n + sum(margins) - k) // stride + 1 for n in shape]
        x = RNG(1).normal(size=(inputs, *shape))
        y, back = np.zeros((outputs, *size)), np.zeros((inputs, *shape))
        v = RNG(2).normal(size=y.shape)
        every = itertools.product(range(outputs), range(inputs), np.ndindex(*size), np.ndindex(k, k))
        for o, c, i, j in every:
            place = tuple(stride * p + q - margins[0] for p, q in zip(i, j, strict=True))
            if all(0 <= p < n for p, n in zip(place, shape, strict=True)):
                # eq: convolution
                y[o][i] += K[o, c][j] * x[c][place]
                # eq: transposed-convolution
                back[c][place] += K[o, c][j] * v[o][i]
        result = A(torch.from_numpy(x)[None])[0]
        assert result.shape == y.shape
        np.testing.assert_allclose(result.numpy(), y, atol=1e-13)
        spread = A.T(torch.from_numpy(v)[None], output_size=shape)[0]
        np.testing.assert_allclose(spread.numpy(), back, atol=1e-13)


def test_the_transpose_gives_the_smallest_image_of_its_size() -> None:
    for stride, k, n in itertools.product((1, 2, 3), (1, 3, 5), range(1, 6)):
        A = Stencil(np.ones(k), stride, "same")
        size = A.T(torch.ones(1, 1, n, dtype=torch.float64)).shape[-1]
        assert size == stride * (n - 1) + k - 2 * (k // 2)  # eq: transposed-size
        if size > 0:
            assert A(torch.ones(1, 1, size, dtype=torch.float64)).shape[-1] == n
            assert size == 1 or A(torch.ones(1, 1, size - 1, dtype=torch.float64)).shape[-1] == n - 1


# Layers and blocks.


def maxima(x: np.ndarray, k: int, stride: int) -> np.ndarray:
    size = [(n - k) // stride + 1 for n in x.shape[1:]]
    y = np.empty((len(x), *size))
    for i, j in np.ndindex(*size):
        y[:, i, j] = x[:, i * stride : i * stride + k, j * stride : j * stride + k].max((1, 2))
    return y


def test_maxconvnet_by_loops() -> None:
    model = models.create("maxconvnet", image_size=19).double()
    x = RNG(0).normal(size=(1, 19, 19))
    y = x
    # eq: max-pooling
    for layer, (k, stride) in zip((model[0], model[2], model[4]), ((2, 1), (4, 1), (4, 4)), strict=True):
        y = maxima(layer(torch.from_numpy(y)[None])[0].detach().numpy(), k, stride)
    W, b = (p.detach().numpy() for p in model[-1].parameters())
    result = model(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(result, W @ y.ravel() + b, rtol=1e-12)


def test_the_head_takes_means() -> None:
    head = models.common.head(3, 2).double()
    x = RNG(0).normal(size=(4, 3, 5, 6))
    W, b = (p.detach().numpy() for p in head.parameters())
    mean = x.sum((2, 3)) / 30  # eq: mean-pooling
    np.testing.assert_allclose(head(torch.from_numpy(x)).detach().numpy(), mean @ W.T + b, rtol=1e-12)


def test_averaging_has_weights_of_a_quarter_and_a_half() -> None:
    x = RNG(0).normal(size=9)
    wide = np.pad(x, 1)
    # eq: averaging
    expected = [wide[2 * i] / 4 + wide[2 * i + 1] / 2 + wide[2 * i + 2] / 4 for i in range(5)]
    result = Averaging(dtype=torch.float64)(torch.from_numpy(x)[None, None])
    np.testing.assert_allclose(result[0, 0].numpy(), expected, rtol=1e-14)
    plane = np.multiply.outer(x, x)
    result = Averaging(dim=2, dtype=torch.float64)(torch.from_numpy(plane)[None, None])
    np.testing.assert_allclose(result[0, 0].numpy(), np.multiply.outer(expected, expected), rtol=1e-13)


def test_residual_blocks_are_their_formulas() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    F, S = (mgnet.operators.convolution((3, 4), 3, 2, dtype=torch.float64) for _ in range(2))
    block = models.resnet.Residual(F, S)
    assert torch.equal(block(x), (F(x) + S(x)).clamp(min=0))  # eq: residual-block
    for width in (3, 4):
        block = models.resnet.PreActivation((3, width), 1).double().eval()
        activated = (x / math.sqrt(1 + 1e-5)).clamp(min=0)  # a norm that has seen nothing
        skip = x if width == 3 else block.projection(activated)
        # eq: pre-activation
        torch.testing.assert_close(block(x), block.body(activated) + skip, rtol=1e-12, atol=1e-12)
