"""Training on the real images, where MGNET_DATA says where they are; the full figures are in benchmarks/."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from photographed import KINDS, photographed

import mgnet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*unverified. not known to be"),  # a copy will do
    pytest.mark.skipif(not os.environ.get("MGNET_DATA"), reason="MGNET_DATA does not say where the data are"),
]


def data(load: Callable[..., mgnet.data.Data], **options: int) -> mgnet.data.Data:
    try:
        return load(download=False, **options)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_logistic_regression_reads_digits() -> None:
    torch.manual_seed(0)
    digits = data(mgnet.data.mnist)
    history = mgnet.fit(mgnet.models.create("logistic"), digits, progress=False)
    assert history.test_accuracy is not None
    assert history.test_accuracy >= 0.92


def test_lenet_reads_digits_in_one_epoch() -> None:
    torch.manual_seed(0)
    digits = data(mgnet.data.mnist, pad=2)
    history = mgnet.fit(mgnet.models.create("lenet5"), digits, epochs=1, progress=False)
    assert history.test_accuracy is not None
    assert history.test_accuracy >= 0.97


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[mgnet.Run, mgnet.data.Split]:
    """Give LeNet-5 after five epochs, and digits that it has not seen."""
    torch.manual_seed(0)
    digits, out = data(mgnet.data.mnist, pad=2), tmp_path_factory.mktemp("digits")
    mgnet.fit(mgnet.models.create("lenet5"), digits, epochs=5, out=out, progress=False)
    return mgnet.load_run(out), data(mgnet.data.mnist).test


def test_images_of_the_set_are_what_they_are(reader: tuple[mgnet.Run, mgnet.data.Split]) -> None:
    run, test = reader
    for images in (test.images[:300], 255 - test.images[:300]):
        answers = run.predict(images)
        assert {each.input.form for each in answers} == {"unchanged"}
        padded = torch.nn.functional.pad(test.images[:300], (2,) * 4)
        assert all((each.input.image == x.numpy()).all() for each, x in zip(answers, padded, strict=True))


def test_photographed_digits_are_read(reader: tuple[mgnet.Run, mgnet.data.Split]) -> None:
    """All kinds in one test, for which one worker trains the reader."""
    run, test = reader
    right = {}
    for kind, way in KINDS.items():
        photos = [photographed(test.images[i, 0].numpy(), way, i) for i in range(20)]
        answers = zip(run.predict(photos), test.labels[:20], strict=True)
        right[kind] = sum(each.label == int(y) for each, y in answers)
    assert {kind: n for kind, n in right.items() if n < (17 if kind == "cell" else 18)} == {}, "of 20"


def test_mgnet_begins_to_tell_photographs_apart() -> None:
    torch.manual_seed(0)
    photographs = data(mgnet.data.cifar10)
    model = mgnet.models.create("mgnet", channels=16, nu=[1, 1, 1, 1])
    history = mgnet.fit(model, photographs, epochs=1, progress=False)
    assert history.test_accuracy is not None
    assert history.test_accuracy >= 0.5  # ten classes; five epochs of 32 channels give 79 %
