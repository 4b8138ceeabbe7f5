"""The map of what a network looks at, where it is known: one that looks at one pixel, and a linear one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mgnet

pytestmark = pytest.mark.usefixtures("seed")


class OnePixel(nn.Module):
    """Two classes; the score of the second is a pixel of the first channel."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), x[:, 0, 3, 5]], 1)


def test_only_squares_over_the_pixel_count() -> None:
    image = torch.full((2, 9, 8), 2.0)
    found = mgnet.occlusion(OnePixel(), image, size=3, value=-1.0)
    expected = torch.zeros(9, 8)
    expected[2:5, 4:7] = 1 / (1 + math.exp(-2)) - 1 / (1 + math.exp(1))
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(mgnet.occlusion(OnePixel(), image, 0, size=3, value=-1.0), -expected, atol=1e-6)


@pytest.mark.parametrize(("size", "step"), [(1, 1), (2, 3), (5, 2), (6, 4)])
def test_a_linear_model_by_its_weights(size: int, step: int) -> None:
    """Its scores fall by what the covered weights add, which is a sum over the square."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 7 * 6, 4)).double()
    image = torch.randn(3, 7, 6, dtype=torch.float64)
    weights = model[2].weight.detach().reshape(4, 3, 7, 6)
    scores = (weights * image).sum((1, 2, 3)) + model[2].bias.detach()
    label = int(scores.argmax())
    found = mgnet.occlusion(model, image, size=size, step=step)
    assert model.training and found.shape == (math.ceil(7 / step), math.ceil(6 / step))
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(6), indexing="ij")
    for i, row in enumerate(range(0, 7, step)):
        for j, column in enumerate(range(0, 6, step)):
            low, high = -(size // 2), (size + 1) // 2 - 1
            inside = (rows - row >= low) & (rows - row <= high) & (columns - column >= low)
            inside &= columns - column <= high
            rest = scores - (weights * image * inside).sum((1, 2, 3))
            expected = scores.softmax(0)[label] - rest.softmax(0)[label]
            assert abs(found[i, j] - expected) < 1e-12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": 3}, "^model: got 3"),
        ({"image": torch.zeros(1, 2, 9, 8)}, "^image: got .*; accepted: a normalised image .*run.tensor"),
        ({"image": torch.zeros(2, 9, 8, dtype=torch.uint8)}, "^image: got "),
        ({"label": 2}, "^label: got 2; accepted: an integer from 0 to 1"),
        ({"size": 0}, "^size: got 0"),
        ({"size": 9}, "^size: got 9; accepted: an integer from 1 to 8"),
        ({"step": 0}, "^step: got 0"),
        ({"value": math.nan}, "^value: got nan"),
        ({"model": nn.Identity()}, "^model: gave "),
    ],
    ids=range(9),
)
def test_what_is_refused(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"model": OnePixel(), "image": torch.zeros(2, 9, 8)}
    with pytest.raises((TypeError, ValueError), match=words):
        mgnet.occlusion(**{**arguments, **change})
