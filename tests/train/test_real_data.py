"""Training on the real images, where MGNET_DATA says where they are; the full figures are in benchmarks/."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

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


def test_mgnet_begins_to_tell_photographs_apart() -> None:
    torch.manual_seed(0)
    photographs = data(mgnet.data.cifar10)
    model = mgnet.models.create("mgnet", channels=16, nu=[1, 1, 1, 1])
    history = mgnet.fit(model, photographs, epochs=1, progress=False)
    assert history.test_accuracy is not None
    assert history.test_accuracy >= 0.5  # ten classes; five epochs of 32 channels give 79 %
