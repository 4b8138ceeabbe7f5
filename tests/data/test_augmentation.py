"""Augmentation, against loops over single images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise import epoch, images, split
from torch import Tensor

from mgnet.data import Augmentation, Batches, Split, augmentation
from mgnet.data.batches import hashed


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(4, 7), st.integers(4, 7), st.integers(1, 3), st.data()
)
def test_crop_is_a_window_of_the_padded_image(
    n: int, channels: int, height: int, width: int, margin: int, choice: st.DataObject
) -> None:
    pixels = images(n, channels, height, width)
    offsets = st.lists(st.integers(0, 2 * margin), min_size=n, max_size=n)
    top, left = (torch.tensor(choice.draw(offsets)) for _ in range(2))
    for padding, mode in (("zero", "constant"), ("reflect", "reflect")):
        found = augmentation.crop(pixels, top, left, margin, padding)
        for i in range(n):
            padded = np.pad(pixels[i].numpy(), ((0, 0), (margin, margin), (margin, margin)), mode=mode)
            window = padded[:, top[i] : top[i] + height, left[i] : left[i] + width]
            np.testing.assert_array_equal(found[i], window)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=9))
def test_flip_mirrors_what_is_marked(flipped: list[int]) -> None:
    pixels = images(len(flipped), 3, 4, 5)
    found = augmentation.flip(pixels, torch.tensor(flipped))
    for i, marked in enumerate(flipped):
        image = pixels[i].numpy()
        np.testing.assert_array_equal(found[i], image[:, :, ::-1] if marked else image)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.data())
def test_cutout_blackens_a_square(side: int, height: int, width: int, choice: st.DataObject) -> None:
    pixels = images(3, 2, height, width).clamp(min=1)
    y, x = (
        torch.tensor(choice.draw(st.lists(st.integers(0, size - 1), min_size=3, max_size=3)))
        for size in (height, width)
    )
    found = augmentation.cutout(pixels, y, x, side)
    for i in range(3):
        expected = pixels[i].numpy().copy()
        first_y, first_x = int(y[i]) - side // 2, int(x[i]) - side // 2
        expected[:, max(first_y, 0) : first_y + side, max(first_x, 0) : first_x + side] = 0
        np.testing.assert_array_equal(found[i], expected)


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_augmentation_leaves_the_split_alone(padding: Any) -> None:
    s = split(12)
    before = s.images.clone()
    epoch(Batches(s, 4, augmentation=Augmentation(4, "random", 8, padding)))
    assert torch.equal(s.images, before)


def test_a_batch_is_the_loop_over_its_images() -> None:
    s = split(64, 3, 10, 12)
    noted = []

    class Noted(Augmentation):
        def __call__(self, x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
            noted.append(draws)
            return super().__call__(x, draws)

    augment = Noted(crop=2, flip="random", cutout=5, padding="reflect")
    x, y = next(iter(Batches(s, 64, augmentation=augment, seed=3)))
    (draws,) = noted
    mean, std = (np.array(v)[:, None, None] for v in (s.mean, s.std))
    for i in range(64):
        flipped, top, left, cy, cx = draws[:, i].tolist()
        image = s.images[int(y[i])].numpy()
        image = image[:, :, ::-1] if flipped else image
        image = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="reflect")[:, top : top + 10, left : left + 12]
        image = image.copy()
        image[:, max(cy - 2, 0) : cy + 3, max(cx - 2, 0) : cx + 3] = 0
        np.testing.assert_allclose(x[i], (image / 255.0 - mean) / std, rtol=0, atol=3e-6)


def test_draws_are_uniform_and_independent() -> None:
    n = 40_000
    draws = Augmentation(1, "random", 2).draw(torch.arange(n), 4, 5, torch.Generator().manual_seed(0))
    for row, values in zip(draws, (2, 3, 3, 4, 5), strict=True):
        share = row.bincount() / n
        assert len(share) == values
        assert (share - 1 / values).abs().max() < 4 * math.sqrt(0.25 / n)
    correlation = np.corrcoef(draws.numpy()) - np.eye(5)
    assert np.abs(correlation).max() < 4 / math.sqrt(n)


def test_one_kind_of_augmentation_does_not_change_another() -> None:
    rows = torch.arange(50)

    def draws(augment: Augmentation) -> Tensor:
        return augment.draw(rows, 32, 32, torch.Generator().manual_seed(1))

    assert torch.equal(draws(Augmentation(4, "random"))[0], draws(Augmentation(0, "random"))[0])
    assert torch.equal(draws(Augmentation(4, "random", 8))[:3], draws(Augmentation(4))[:3])


def flips(s: Split, batches: Batches) -> Tensor:
    """Say for each image, by its label, whether this epoch shows it mirrored."""
    x, y = epoch(batches)
    plain = s.normalise(s.images)[y]
    mirrored = (x == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(~mirrored, (x == plain).flatten(1).all(1))
    found = torch.empty(len(s), dtype=torch.bool)
    found[y] = mirrored
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_alternating_flips_show_each_side_in_turn(seed: int) -> None:
    s = split(2000, 1, 1, 4)
    s.images[:] = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
    batches = Batches(s, 64, augmentation=Augmentation(flip="alternating"), seed=seed)
    first, second, third = (flips(s, batches) for _ in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert abs(first.float().mean() - 0.5) < 4 * math.sqrt(0.25 / 2000)
    runs = (first[1:] == first[:-1]).float().mean()  # neighbours are told apart by chance as well
    assert abs(runs - 0.5) < 4 * math.sqrt(0.25 / 2000)


def test_every_step_and_every_epoch_draws_anew() -> None:
    s = split(8)
    s.images[:] = s.images[:1].clone()  # so that only the augmentation makes a difference
    batches = Batches(s, 4, augmentation=Augmentation(4, "random", 8))
    seen = {x.numpy().tobytes() for _ in range(3) for x, _ in batches}
    assert len(seen) == 6


def test_no_two_streams_are_the_same() -> None:
    numbers: list[tuple[int, ...]] = [(seed, epoch) for seed in range(4) for epoch in range(20)]
    numbers += [(seed, epoch, step) for seed in range(4) for epoch in range(20) for step in range(20)]
    assert len({hashed(*n) for n in numbers}) == len(numbers)


def test_another_seed_begins_with_other_sides() -> None:
    s = split(500, 1, 1, 4)
    s.images[:] = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
    a, b = (
        flips(s, Batches(s, 50, augmentation=Augmentation(flip="alternating"), seed=seed)) for seed in (0, 1)
    )
    assert abs((a == b).float().mean() - 0.5) < 4 * math.sqrt(0.25 / 500)


def test_random_flips_differ_from_epoch_to_epoch() -> None:
    s = split(500, 1, 1, 4)
    s.images[:] = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
    batches = Batches(s, 50, augmentation=Augmentation(flip="random"))
    a, b = flips(s, batches), flips(s, batches)
    assert abs((a == b).float().mean() - 0.5) < 4 * math.sqrt(0.25 / 500)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"crop": -1}, ValueError, "crop: got -1; accepted: an integer of at least 0"),
        ({"crop": 1.5}, TypeError, "crop: got 1.5"),
        ({"cutout": -2}, ValueError, "cutout: got -2"),
        ({"flip": "vertical"}, ValueError, "flip: got 'vertical'; accepted: None, 'random' or 'alternating'"),
        ({"flip": True}, ValueError, "flip: got True"),
        ({"padding": "edge"}, ValueError, "padding: got 'edge'; accepted: 'zero' or 'reflect'"),
    ],
)
def test_augmentation_refuses(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Augmentation(**options)
