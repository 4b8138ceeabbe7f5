"""Splits, batches and augmentation against loops over single images; the procedural set; real data."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import finished
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from mgnet.data import Augmentation, Batches, Data, Split, augmentation, official, statistics
from mgnet.data import sets as data
from mgnet.data.batches import _mixed as mixed
from mgnet.data.drawn import CLASSES, generate

ROOT = os.environ.get("MGNET_DATA")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def images(n: int, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def split(n: int = 20, channels: int = 3, height: int = 32, width: int = 32) -> Split:
    """Images of noise; the label of each is its row."""
    pixels = images(n, channels, height, width)
    return Split(pixels, torch.arange(n), MEAN[:channels], STD[:channels])


def epoch(batches: Batches) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


# Splits


def test_a_split_is_a_sequence() -> None:
    s = split(5)
    assert len(s) == 5
    assert s.shape == (3, 32, 32)
    for i, (x, y) in enumerate(s):
        assert y == i
        assert isinstance(y, int)
        assert x.dtype == torch.float32
        expected = (s.images[i].numpy() / 255.0 - np.array(MEAN)[:, None, None]) / np.array(STD)[
            :, None, None
        ]
        np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6)
    assert i == 4
    assert torch.equal(s[-1][0], s[4][0])
    assert s[np.int64(3)][1] == s[torch.tensor(3)][1] == 3
    assert repr(s) == "Split(5 images of 3×32×32, cpu)"


@pytest.mark.parametrize("index", [5, -6])
def test_an_index_out_of_range(index: int) -> None:
    with pytest.raises(IndexError, match=f"index: got {index}; accepted: below 5"):
        split(5)[index]


def test_an_index_that_is_no_integer() -> None:
    with pytest.raises(TypeError):
        split(5)[1.0]  # type: ignore[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_torch_dataloader_gives_the_same_batches(workers: int) -> None:
    s = split(10)
    loader = torch.utils.data.DataLoader(s, batch_size=4, num_workers=workers)
    for (x, y), (x_, y_) in zip(loader, Batches(s, 4, shuffle=False), strict=True):
        assert torch.equal(x, x_)
        assert torch.equal(y, y_)


@pytest.mark.parametrize(
    ("dtype", "atol"),
    [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)],
)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_the_formula(
    dtype: torch.dtype, atol: float, channels_last: bool, channels: int
) -> None:
    # eq: normalise
    s = split(4, channels, 6, 9)
    for pixels in (s.images, s.images[..., 1:7], s.images[::2].flip(0)):  # gaps in memory are no matter
        x = s.normalise(pixels, dtype, channels_last)
        mean, std = (np.array(v)[:, None, None] for v in (s.mean, s.std))
        assert x.dtype == dtype
        assert x.is_contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )
        np.testing.assert_allclose(x.double(), (pixels.numpy() / 255.0 - mean) / std, rtol=0, atol=atol)


def test_half_precision_is_rounded_once() -> None:
    s = split(4)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(s.normalise(s.images, dtype), s.normalise(s.images).to(dtype))


def test_normalise_leaves_the_images_alone() -> None:
    s = split(4)
    before = s.images.clone()
    s.normalise(s.images)
    s.normalise(s.images, channels_last=True)
    assert torch.equal(s.images, before)


@pytest.mark.parametrize(
    ("pixels", "kind", "said"),
    [
        (torch.zeros(2, 3, 4, 4), TypeError, "images: got a tensor of float32, shape"),
        (images(2)[0], TypeError, r"shape \(3, 32, 32\); accepted: a tensor of uint8, shape \(images,"),
        (np.zeros((2, 3, 4, 4), np.uint8), TypeError, "images: got ndarray"),
        (images(2, 1), ValueError, "images: got 1 channels; accepted: 3"),
    ],
)
def test_normalise_refuses(pixels: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        split().normalise(pixels)


def test_normalise_refuses_other_types() -> None:
    with pytest.raises(ValueError, match=r"dtype: got torch.int64; accepted: torch.float32, "):
        split().normalise(images(2), torch.int64)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((torch.zeros(2, 3, 4, 4), torch.arange(2)), TypeError, "images: got a tensor of float32"),
        (
            (images(2), torch.arange(3)),
            TypeError,
            r"labels: got a tensor of int64, shape \(3,\); accepted: .*2",
        ),
        ((images(2), torch.arange(2.0)), TypeError, "labels: got a tensor of float32"),
        ((images(2), [0, 1]), TypeError, "labels: got list"),
        (
            (images(2), torch.arange(2), (0.1, 0.2)),
            ValueError,
            r"mean: got \(0.1, 0.2\); accepted: 3 numbers",
        ),
        ((images(2), torch.arange(2), (0,), (1, 1)), ValueError, "std: got .*; accepted: 3 numbers"),
        (
            (images(2), torch.arange(2), (0,), (1, 0, 1)),
            ValueError,
            "std: got .*; accepted: positive numbers",
        ),
        ((images(2), torch.arange(2), (math.nan,)), ValueError, "mean: got nan; accepted: a finite number"),
    ],
)
def test_a_split_refuses(arguments: tuple[Any, ...], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Split(*arguments)


@pytest.mark.parametrize(
    "indices", [[3, 0, -1], torch.tensor([3, 0, 19]), torch.tensor([3, 0, -1], dtype=torch.int32), (3, 0, 19)]
)
def test_a_subset(indices: Any) -> None:
    s = split()
    part = s.subset(indices)
    assert part.labels.tolist() == [3, 0, 19]
    assert torch.equal(part.images, s.images[[3, 0, 19]])
    assert (part.mean, part.std) == (s.mean, s.std)


def test_an_empty_subset() -> None:
    part = split().subset([])
    assert len(part) == 0
    assert list(part) == []
    assert part.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("indices", "kind"), [([20], IndexError), ([-21], IndexError), ([0.5], TypeError), ([[1]], TypeError)]
)
def test_a_subset_refuses(indices: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="indices: got"):
        split().subset(indices)


def test_a_mask_is_no_list_of_indices() -> None:
    with pytest.raises(TypeError, match="indices: got a tensor of bool"):
        split().subset(torch.ones(20, dtype=torch.bool))


def test_another_normalisation_shares_the_images() -> None:
    s = split()
    other = s.normalised_by((0.5, 0.5, 0.5), (1.0, 1.0, 2.0))
    assert other.images is s.images
    assert (other.mean, other.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 2.0))


def test_moving_to_where_it_is_copies_nothing() -> None:
    s = split()
    assert s.to("cpu") is s


def test_a_device_that_is_none() -> None:
    with pytest.raises(ValueError, match="device: got 'moon'"):
        split().to("moon")


# Statistics


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(0, 1000))
def test_statistics_are_those_of_numpy(n: int, channels: int, side: int, seed: int) -> None:
    pixels = images(n, channels, side, side + 1, seed)
    mean, std = statistics(pixels)
    exact = pixels.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-12)
    constant = np.ptp(exact, axis=(0, 2, 3)) == 0
    np.testing.assert_allclose(std, np.where(constant, 1, exact.std((0, 2, 3))), rtol=1e-12)


def test_a_normalised_training_set_has_mean_0_and_std_1() -> None:
    train = data.synthetic(train=200, validation=0, test=10).train
    x = train.normalise(train.images, torch.float64)
    assert x.mean((0, 2, 3)).abs().max() < 1e-12
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-12


def test_a_constant_channel_is_only_shifted() -> None:
    pixels = torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)
    mean, std = statistics(pixels)
    assert mean == (pytest.approx(0.2),)
    assert std == (1.0,)


def test_statistics_of_no_image() -> None:
    with pytest.raises(ValueError, match=r"images: got shape \(0, 3, 32, 32\); accepted: at least one image"):
        statistics(images(0))


# Augmentation, against loops over images


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
    augment = Augmentation(crop=2, flip="random", cutout=5, padding="reflect")
    batches = Batches(s, 64, augmentation=augment, seed=3)
    draws = batches._draws(batches._order(), 0)
    x, y = next(iter(batches))
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
    assert len({mixed(*n) for n in numbers}) == len(numbers)


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


# Batches


@given(st.integers(0, 30), st.integers(1, 35), st.booleans(), st.integers(0, 3))
def test_an_epoch_has_every_image_once(n: int, batch_size: int, shuffle: bool, seed: int) -> None:
    batches = Batches(split(n, 1, 2, 2), batch_size, shuffle=shuffle, seed=seed)
    parts = [y.tolist() for _, y in batches]
    labels = sum(parts, [])
    assert sorted(labels) == list(range(n))
    assert shuffle or labels == list(range(n))
    assert len(batches) == len(parts) == math.ceil(n / batch_size)
    assert all(len(part) == batch_size for part in parts[:-1])
    assert (batches.epoch, batches.position) == (1, 0)


def test_epochs_have_different_orders_and_seeds_too() -> None:
    batches, other = Batches(split(200, 1, 2, 2), 50), Batches(split(200, 1, 2, 2), 50, seed=1)
    orders = [epoch(b)[1].tolist() for b in (batches, batches, other)]
    assert len({tuple(order) for order in orders}) == 3


def test_images_and_labels_belong_together() -> None:
    s = split(30)
    x, y = epoch(Batches(s, 7))
    assert torch.equal(x, s.normalise(s.images)[y])


def test_with_replacement_some_occur_twice() -> None:
    batches = Batches(split(1000, 1, 2, 2), 100, replacement=True)
    counts = epoch(batches)[1].bincount(minlength=1000)
    assert counts.sum() == 1000
    assert abs((counts == 0).float().mean() - math.exp(-1)) < 0.06
    assert len(batches) == 10


def test_drop_last_leaves_out_the_smaller_batch() -> None:
    batches = Batches(split(10, 1, 2, 2), 4, drop_last=True)
    assert [len(y) for _, y in batches] == [4, 4]
    assert len(batches) == 2
    assert len(Batches(split(8, 1, 2, 2), 4, drop_last=True)) == 2


def test_nothing_but_the_seed_decides() -> None:
    s = split(40)
    options = {"augmentation": Augmentation(4, "random", 8), "seed": 5}
    torch.manual_seed(1)
    expected = epoch(Batches(s, 8, **options))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    found = epoch(Batches(s, 8, **options))
    assert torch.equal(torch.get_rng_state(), before)  # and the random numbers of others stay as they are
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(epoch(Batches(s, 8, **{**options, "seed": 6}))[0], expected[0])


@given(st.integers(1, 30), st.integers(4, 12), st.integers(1, 4), st.booleans(), st.booleans())
def test_processes_share_the_batches_of_one(
    n: int, batch_size: int, world: int, drop_last: bool, replacement: bool
) -> None:
    if drop_last and n < batch_size:
        return
    s = split(n, 2, 5, 5)
    augment = Augmentation(2, "random", 2)
    options = {"augmentation": augment, "drop_last": drop_last, "replacement": replacement}
    whole = list(Batches(s, batch_size, **options))
    parts = [list(Batches(s, batch_size, rank=r, world=world, **options)) for r in range(world)]
    for step, (x, y) in enumerate(whole):
        for rank in range(world):
            mine = slice(rank, None, world)
            assert torch.equal(parts[rank][step][0], x[mine])
            assert torch.equal(parts[rank][step][1], y[mine])
        sizes = [len(parts[rank][step][1]) for rank in range(world)]
        assert max(sizes) - min(sizes) <= 1
    assert {len(part) for part in parts} == {len(whole)}


@pytest.mark.parametrize("flip", ["random", "alternating"])
@pytest.mark.parametrize("steps", [0, 1, 4, 5, 6, 9, 10])
def test_a_resumed_run_sees_the_same_batches(steps: int, flip: Any) -> None:
    s = split(33)
    options = {"augmentation": Augmentation(4, flip, 8), "replacement": steps % 2 == 0, "seed": 2}

    def run(batches: Batches, epochs: int = 2) -> Any:
        while batches.epoch < epochs:
            yield from batches

    first, expected = Batches(s, 8, **options), []
    running = run(Batches(s, 8, **options))
    expected = list(running)
    assert len(expected) == 10
    interrupted = run(first)
    for _ in range(steps):
        next(interrupted)
    state = first.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = Batches(s, 8, **options)
    resumed.load_state_dict(state)
    found = list(run(resumed))
    assert len(found) == 10 - steps
    for (x, y), (x_, y_) in zip(found, expected[steps:], strict=True):
        assert torch.equal(x, x_)
        assert torch.equal(y, y_)


def test_the_position_is_that_of_the_next_batch() -> None:
    batches = Batches(split(10, 1, 2, 2), 4)
    seen = [(batches.epoch, batches.position) for _ in batches]
    assert seen == [(0, 1), (0, 2), (0, 3)]
    assert (batches.epoch, batches.position) == (1, 0)


def test_a_pass_begins_where_the_last_was_left() -> None:
    batches = Batches(split(10, 1, 2, 2), 4)
    first = next(iter(batches))[1].tolist()
    rest = epoch(batches)[1].tolist()
    assert sorted(first + rest) == list(range(10))


def test_a_state_of_another_number_of_processes() -> None:
    batches = Batches(split(), 8, rank=1, world=2)
    batches.load_state_dict(Batches(split(), 8).state_dict())


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"seed": 1}, ValueError, "state: got seed 1; accepted: 0"),
        ({"batch_size": 7}, ValueError, "state: got batch_size 7; accepted: 8"),
        ({"images": 21}, ValueError, "state: got images 21; accepted: 20"),
        ({"position": 4}, ValueError, "position: got 4; accepted: at most 3"),
        ({"position": -1}, ValueError, "position: got -1"),
        ({"epoch": -1}, ValueError, "epoch: got -1"),
        ({"epoch": 0.5}, TypeError, "epoch: got 0.5"),
    ],
)
def test_a_state_that_does_not_fit(change: dict[str, Any], kind: type[Exception], said: str) -> None:
    batches = Batches(split(), 8)
    with pytest.raises(kind, match=said):
        batches.load_state_dict({**batches.state_dict(), **change})
    assert (batches.epoch, batches.position) == (0, 0)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: got 0; accepted: an integer of at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size: got 2.0"),
        (
            {"batch_size": 21, "drop_last": True},
            ValueError,
            "batch_size: got 21; accepted: at most the 20 images",
        ),
        (
            {"batch_size": 2, "world": 3},
            ValueError,
            "batch_size: got 2; accepted: at least 3, one per process",
        ),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"rank": 1}, ValueError, "rank: got 1; accepted: below the 1 of world"),
        ({"rank": -1, "world": 2}, ValueError, "rank: got -1"),
        ({"world": 0}, ValueError, "world: got 0"),
        ({"dtype": torch.uint8}, ValueError, "dtype: got torch.uint8"),
        ({"shuffle": False, "replacement": True}, ValueError, "replacement: got True"),
        ({"augmentation": "flip"}, TypeError, "augmentation: got 'flip'; accepted: an Augmentation or None"),
        ({"augmentation": Augmentation(cutout=33)}, ValueError, "cutout: got 33; accepted: at most 32"),
        ({"augmentation": Augmentation(32, padding="reflect")}, ValueError, "crop: got 32; .* below 32"),
        ({"split": [1, 2]}, TypeError, "split: got list; accepted: a Split, such as data.train"),
    ],
)
def test_batches_refuse(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Batches(**{"split": split(), "batch_size": 8, **options})


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_type_and_order_in_memory_change_no_value(dtype: torch.dtype, channels_last: bool) -> None:
    s, augment = split(20), Augmentation(4, "random", 8)
    expected = epoch(Batches(s, 8, augmentation=augment))[0]
    for start, (x, _) in enumerate(
        Batches(s, 8, augmentation=augment, dtype=dtype, channels_last=channels_last)
    ):
        assert x.dtype == dtype
        assert x.is_contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )
        assert torch.equal(x, expected[8 * start : 8 * start + 8].to(dtype))


# Data sets


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(0, 9), st.integers(0, 3))
def test_a_validation_set_has_its_share_of_every_class(labels: list[int], tenths: int, seed: int) -> None:
    y, wanted = np.array(labels), len(labels) * tenths // 10
    rows = data._stratified(y, wanted, seed)
    assert len(set(rows.tolist())) == len(rows) == wanted
    assert np.all(np.diff(rows) > 0)
    share = np.bincount(y[rows], minlength=10) - np.bincount(y, minlength=10) * wanted / len(labels)
    assert np.abs(share).max() < 1


def published(channels: int, side: int, train: int = 400, verified: bool = False) -> official.Images:
    """Images of the form that the readers return."""

    def part(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return images(n, channels, side, side, seed).numpy(), np.arange(n, dtype=np.int64) % 10

    return official.Images(part(train, 0), part(60, 1), Path("there"), verified)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "read_cifar10", lambda root, download: published(3, 32))
    monkeypatch.setattr(data, "read_mnist", lambda root, download: published(1, 28, verified=True))


UNVERIFIED = "there: unverified: not known to be the published files"
unverified = pytest.mark.filterwarnings("ignore:there. unverified")


@pytest.mark.usefixtures("small")
def test_files_that_nobody_knows_are_told_of() -> None:
    with pytest.warns(UserWarning, match=UNVERIFIED) as said:
        data.cifar10(validation=100)
    assert len(said) == 1
    assert said[0].filename == __file__


def test_what_is_wrong_with_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    doubtful = replace(published(3, 32), doubts=["a.bin is odd", "b.bin is not"])
    monkeypatch.setattr(data, "read_cifar10", lambda root, download: doubtful)
    with pytest.warns(UserWarning, match="there: unverified: a.bin is odd; b.bin is not"):
        data.load("cifar10", validation=100)


@unverified
@pytest.mark.usefixtures("small")
def test_training_and_validation_set_are_the_official_training_set() -> None:
    found = data.cifar10(validation=100)
    train, _ = published(3, 32).train
    assert found.validation.labels.bincount().tolist() == 10 * [10]
    rows = {image.tobytes() for part in (found.train, found.validation) for image in part.images.numpy()}
    assert len(rows) == len(found.train) + len(found.validation) == 400
    assert rows == {image.tobytes() for image in train}
    np.testing.assert_array_equal(found.test.images, published(3, 32).test[0])
    # The normalisation is that of the training images alone, for all three.
    assert (found.mean, found.std) == statistics(found.train.images)
    assert found.validation.mean == found.test.mean == found.train.mean
    assert found.num_classes == 10
    assert found.classes[3:6] == ["cat", "deer", "dog"]
    assert (found.name, found.source, found.verified) == ("cifar10", "there (unverified)", False)


@unverified
@pytest.mark.usefixtures("small")
def test_the_seed_decides_which_images_are_set_apart() -> None:
    a, b, c = (data.cifar10(validation=50, seed=seed).validation.images for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@unverified
@pytest.mark.usefixtures("small")
def test_no_validation_set() -> None:
    found = data.load("cifar10", validation=0)
    assert (len(found.train), len(found.validation), len(found.test)) == (400, 0, 60)


@pytest.mark.usefixtures("small")
def test_mnist_may_get_a_margin() -> None:
    plain, padded = data.mnist(validation=40), data.load("mnist", None, validation=40, pad=2)
    assert plain.shape == (1, 28, 28)
    assert padded.shape == (1, 32, 32)
    assert torch.equal(padded.test.images[..., 2:30, 2:30], plain.test.images)
    assert padded.test.images.sum() == plain.test.images.sum()
    assert padded.mean == statistics(padded.train.images)[0]
    assert (plain.classes[7], plain.source) == ("7", "there (verified)")
    assert plain.verified


@pytest.mark.parametrize(
    ("work", "kind", "said"),
    [
        (lambda: data.cifar10("x", validation=-1), ValueError, "validation: got -1"),
        (lambda: data.cifar10("x", validation=50_000), ValueError, "validation: got 50000; accepted: below"),
        (lambda: data.mnist("x", validation=60_000), ValueError, "validation: got 60000; accepted: below"),
        (lambda: data.mnist("x", validation=0.1), TypeError, "validation: got 0.1"),
        (lambda: data.mnist("x", pad=-2), ValueError, "pad: got -2"),
        (lambda: data.cifar10("x", seed=-1), ValueError, "seed: got -1"),
        (lambda: data.cifar10("x", device="moon"), ValueError, "device: got 'moon'"),
        (lambda: data.synthetic(train=0), ValueError, "train: got 0"),
        (lambda: data.synthetic(test=-1), ValueError, "test: got -1"),
        (lambda: data.synthetic(seed=1.5), TypeError, "seed: got 1.5"),
        (lambda: data.synthetic(device="moon"), ValueError, "device: got 'moon'"),
        (lambda: data.load("cifar100"), ValueError, "name: got 'cifar100'; accepted: cifar10, mnist, synth"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(
    work: Callable[[], object], kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in ("read_cifar10", "read_mnist", "generate"):
        monkeypatch.setattr(data, reader, lambda *args, **options: pytest.fail("work was done"))
    with pytest.raises(kind, match=said):
        work()


def test_names() -> None:
    assert data.names() == ["cifar10", "mnist", "synthetic"]


def test_a_data_set_moves_as_a_whole() -> None:
    made = data.load("synthetic", "no matter where", train=20, validation=10, test=10)
    moved = made.to("cpu")
    assert isinstance(moved, Data)
    assert moved.train is made.train
    assert (moved.name, moved.source, moved.shape) == (made.name, made.source, (3, 32, 32))


def test_the_readers_need_no_torch() -> None:
    code = "import sys; import mgnet.data.official, mgnet.data.drawn; sys.exit('torch' in sys.modules)"
    assert finished("-c", code).returncode == 0


# The procedural set


def test_the_procedural_set_is_the_same_on_every_machine() -> None:
    pixels, labels = generate(100, seed=0)
    assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)
    digest = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert digest == "a7e19ceabf0ebffeac9665b8be11335a297e871ff8c91c4126dd525f76b76a99"


def test_the_seed_of_the_procedural_set() -> None:
    a, b, c = (data.synthetic(train=50, validation=10, test=10, seed=seed).train.images for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_size_of_one_part_does_not_change_another() -> None:
    a, b = data.synthetic(train=50, validation=10, test=30), data.synthetic(train=70, validation=0, test=30)
    assert torch.equal(a.test.images, b.test.images)
    assert torch.equal(a.test.labels, b.test.labels)


def test_the_parts_have_different_images() -> None:
    made = data.synthetic(train=30, validation=30, test=30)
    parts = (made.train, made.validation, made.test)
    assert len({image.tobytes() for part in parts for image in part.images.numpy()}) == 90


def test_the_procedural_set_has_the_sizes_it_says() -> None:
    made = data.synthetic()
    assert (len(made.train), len(made.validation), len(made.test)) == (12_000, 1_000, 2_000)
    assert made.shape == (3, 32, 32)
    assert made.classes == CLASSES
    assert len(set(made.classes)) == 10
    for part in (made.train, made.validation, made.test):
        assert part.labels.bincount().tolist() == 10 * [len(part) // 10]


def test_the_mean_image_of_every_class_is_grey() -> None:
    pixels, labels = generate(10_000, seed=1)
    for kind in range(10):
        mean = pixels[labels == kind].mean(axis=0)
        # A pixel has a standard deviation of about 50, and the mean is over 1,000 of them.
        assert np.abs(mean - 127.5).max() < 50 / math.sqrt(1000) * 5.5


def lecture_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def accuracy(model: Callable[[Tensor], Tensor], part: Split) -> float:
    with torch.no_grad():
        return float((model(part.normalise(part.images)).argmax(1) == part.labels).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_network_learns_the_procedural_set_in_two_epochs(seed: int, kind: str) -> None:
    made = data.synthetic(seed=seed)
    torch.manual_seed(seed)
    net = lecture_net()
    assert sum(p.numel() for p in net.parameters()) == 62_006
    optimiser: torch.optim.Optimizer = (
        torch.optim.AdamW(net.parameters(), lr=3e-3)
        if kind == "AdamW"
        else torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    )
    batches = Batches(made.train, 64, seed=seed)
    peak = optimiser.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=2 * len(batches) + 1)
    while batches.epoch < 2:
        for x, y in batches:
            optimiser.zero_grad()
            cross_entropy(net(x), y).backward()
            optimiser.step()
            schedule.step()
    assert accuracy(net, made.test) >= (0.98 if kind == "AdamW" else 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_model_does_not(seed: int) -> None:
    made = data.synthetic(seed=seed)
    x, test = (part.normalise(part.images).flatten(1) for part in (made.train, made.test))
    # In this order the product of the gradient reads the images row by row.
    W, b = torch.zeros(10, 3072, requires_grad=True), torch.zeros(10, requires_grad=True)
    optimiser = torch.optim.LBFGS([W, b], max_iter=100, line_search_fn="strong_wolfe")
    best = 0.0

    @torch.no_grad()
    def right(images: Tensor, labels: Tensor) -> float:
        return float((linear(images, W, b).argmax(1) == labels).float().mean())

    def loss() -> Tensor:
        nonlocal best
        best = max(best, right(test, made.test.labels))
        optimiser.zero_grad()
        value = cross_entropy(linear(x, W, b), made.train.labels)
        value.backward()
        return value

    optimiser.step(loss)
    assert right(x, made.train.labels) > 0.3  # it has learned what it could
    assert best < 0.6


# Real data


real = pytest.mark.skipif(not ROOT, reason="MGNET_DATA names no folder with the real images")


@real
@pytest.mark.filterwarnings("ignore:.*unverified. not known to be")  # a copy with the right labels will do
def test_real_cifar10() -> None:
    found = data.cifar10(ROOT, download=False)
    assert (len(found.train), len(found.validation), len(found.test)) == (45_000, 5_000, 10_000)
    assert found.shape == (3, 32, 32)
    assert found.train.labels.bincount().tolist() == 10 * [4_500]
    assert found.validation.labels.bincount().tolist() == 10 * [500]
    assert found.test.labels.bincount().tolist() == 10 * [1_000]
    np.testing.assert_allclose(found.mean, MEAN, atol=2e-3)
    np.testing.assert_allclose(found.std, STD, atol=2e-3)


@real
def test_real_mnist() -> None:
    found = data.mnist(ROOT, download=False)
    assert (len(found.train), len(found.validation), len(found.test)) == (55_000, 5_000, 10_000)
    assert found.shape == (1, 28, 28)
    assert found.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # as printed in every tutorial
    whole = (found.train.labels.bincount() + found.validation.labels.bincount()).tolist()
    assert whole == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_allclose((found.mean[0], found.std[0]), (0.1307, 0.3081), atol=1e-3)


# On a GPU


@pytest.mark.cuda
@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("flip", ["random", "alternating"])
def test_batches_are_the_same_on_a_gpu(padding: Any, flip: Any) -> None:
    s, augment = split(100), Augmentation(4, flip, 8, padding)
    for channels_last in (False, True):
        options = {"augmentation": augment, "channels_last": channels_last}
        here, there = (epoch(Batches(part, 16, **options)) for part in (s, s.to("cuda")))
        assert there[0].is_cuda
        assert torch.equal(here[1], there[1].cpu())
        torch.testing.assert_close(here[0], there[0].cpu(), rtol=0, atol=1e-6)


def test_a_digest_tells_splits_apart() -> None:
    split = data.synthetic(train=12).train
    images, labels = split.images, split.labels
    same = [split, split.subset(range(12)), Split(images.clone(), labels.clone(), split.mean, split.std)]
    strided = Split(images.transpose(2, 3).contiguous().transpose(2, 3), labels, split.mean, split.std)
    assert {one.digest() for one in (*same, strided)} == {split.digest()}
    other = images.clone()
    other[3, 1, 4, 5] ^= 1
    different = [
        Split(other, labels, split.mean, split.std),
        Split(images, labels.roll(1), split.mean, split.std),
        split.normalised_by((0.0,), (1.0,)),
        *(split.subset(range(size)) for size in (0, 1, 11)),
        split.subset(range(11, -1, -1)),
    ]
    assert len({one.digest() for one in (split, *different)}) == 1 + len(different)
    nothing = Split(
        torch.from_numpy(np.empty((0, 3, 4, 4), np.uint8)), torch.from_numpy(np.empty(0, np.int64))
    )
    assert nothing.digest().startswith("0 images")
