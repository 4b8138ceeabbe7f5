"""Batches: every image once, the same in every run, shared among processes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise import epoch, split

from mgnet.data import Augmentation, Batches


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
