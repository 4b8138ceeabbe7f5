"""Splits and their statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise import MEAN, STD, images, split

from mgnet.data import Batches, Data, Split, statistics
from mgnet.data import sets as data

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


def test_another_normalisation_of_all_parts() -> None:
    parts = split(), split().subset([]), split().subset([0])
    data = Data("own", ["a", "b"], *parts, source="drawn", verified=True)
    other = data.normalised_by((0.5, 0.5, 0.5), (1.0, 1.0, 2.0))
    assert (other.mean, other.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 2.0))
    for part, before in zip((other.train, other.validation, other.test), parts, strict=True):
        assert part.images is before.images and (part.mean, part.std) == (other.mean, other.std)
    assert (other.name, other.classes, other.source, other.verified) == ("own", ["a", "b"], "drawn", True)


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
