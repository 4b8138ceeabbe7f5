"""The data sets: official, of one's own, procedural, real; and on a GPU."""

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
from noise import MEAN, STD, epoch, images, split
from processes import finished
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from mgnet.cli import networks
from mgnet.data import Augmentation, Batches, Data, Split, official, shares, statistics
from mgnet.data import sets as data
from mgnet.data.drawn import CLASSES, generate

ROOT = os.environ.get("MGNET_DATA")


# Data sets


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(0, 9), st.integers(0, 3))
def test_a_validation_set_has_its_share_of_every_class(labels: list[int], tenths: int, seed: int) -> None:
    y, wanted = np.array(labels), len(labels) * tenths // 10
    rows = data.stratified(y, wanted, seed)
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
def test_a_validation_set_may_be_a_share() -> None:
    assert len(data.cifar10(validation=0.002).validation) == 100  # of the published 50,000
    assert len(data.cifar10(validation=0.0).validation) == 0
    assert len(data.synthetic(train=40, validation=0.25, test=10).validation) == 10


def test_a_share_is_one_image_at_least_and_an_integer_is_a_number_of_them() -> None:
    pairs = ((0.1, 40), (np.float32(0.25), 100), (1e-9, 1), (0.0, 0), (np.int64(8), 8), (1, 1))
    for value, wanted in pairs:
        assert shares.share("x", value, 400) == wanted


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
        (lambda: data.mnist("x", validation=1.5), ValueError, "validation: got 1.5; accepted: an integer"),
        (lambda: data.mnist("x", validation=-0.1), ValueError, "validation: got -0.1"),
        (lambda: data.mnist("x", validation=float("nan")), ValueError, "validation: got nan"),
        (lambda: data.mnist("x", validation=True), TypeError, "validation: got True"),
        (lambda: data.mnist("x", validation="1"), TypeError, "validation: got '1'"),
        (lambda: data.fashion_mnist("x", pad=-2), ValueError, "pad: got -2"),
        (lambda: data.cifar100("x", labels="all"), ValueError, "labels: got 'all'; accepted: one of"),
        (lambda: data.cifar100("x", validation=50_000), ValueError, "validation: got 50000; accepted: below"),
        (lambda: data.mnist("x", pad=-2), ValueError, "pad: got -2"),
        (lambda: data.cifar10("x", seed=-1), ValueError, "seed: got -1"),
        (lambda: data.cifar10("x", device="moon"), ValueError, "device: got 'moon'"),
        (lambda: data.synthetic(train=0), ValueError, "train: got 0"),
        (lambda: data.synthetic(test=-1), ValueError, "test: got -1"),
        (lambda: data.synthetic(seed=1.5), TypeError, "seed: got 1.5"),
        (lambda: data.synthetic(device="moon"), ValueError, "device: got 'moon'"),
        (
            lambda: data.load("svhn"),
            ValueError,
            "name: got 'svhn'; accepted: cifar10, cifar100, cifar100-coarse",
        ),
    ],
)
def test_wrong_arguments_are_named_before_any_work(
    work: Callable[[], object], kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in ("read_cifar10", "read_cifar100", "read_mnist", "read_fashion_mnist", "generate"):
        monkeypatch.setattr(data, reader, lambda *args, **options: pytest.fail("work was done"))
    with pytest.raises(kind, match=said):
        work()


def test_names() -> None:
    assert data.names() == [
        *("cifar10", "cifar100", "cifar100-coarse"),
        *("fashion-mnist", "folder", "mnist", "synthetic"),
    ]
    assert tuple(data.names()) == networks.SETS  # what --help says of them without torch


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
@pytest.mark.parametrize("seed", [0, 1])
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
@pytest.mark.parametrize("seed", [0, 1])
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
