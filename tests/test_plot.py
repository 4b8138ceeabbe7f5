"""Figures of training runs and of images: what is drawn is what was given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import mgnet
from mgnet import plot


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_learning_curves() -> None:
    history = mgnet.History()
    for epoch in (1, 2, 3):
        history.append(epoch=epoch, train_accuracy=0.2 * epoch, val_accuracy=0.1 * epoch)
    ax = plot.learning_curves(history.rows)
    curves = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(curves["training"], [20, 40, 60])
    np.testing.assert_allclose(curves["validation"], [10, 20, 30])
    given = plt.subplots()[1]
    assert plot.learning_curves(history.rows, given) is given
    with pytest.raises(ValueError, match="rows: got none"):
        plot.learning_curves([])


def test_learning_curves_without_a_validation_set() -> None:
    history = mgnet.History()
    history.append(epoch=1, train_accuracy=0.5)
    assert [line.get_label() for line in plot.learning_curves(history.rows).lines] == ["training"]


def test_the_confusion_matrix_is_in_percent_of_each_class() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    ax = plot.confusion_matrix(labels, predicted, ["cat", "dog", "emu"])
    np.testing.assert_allclose(ax.images[0].get_array(), [[75, 25, 0], [0, 100, 0], [0, 0, 0]])
    assert {text.get_text() for text in ax.texts} == {"75", "25", "100"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["cat", "dog", "emu"]


@pytest.mark.parametrize("channels", [1, 3])
def test_misclassified_images(channels: int) -> None:
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 256, (6, channels, 5, 4), dtype=np.uint8))
    labels, predicted = [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0]
    figure = plot.misclassified(pictures, labels, predicted, ["cat", "dog"], most=2, columns=2)
    drawn = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in drawn] == ["cat,\nnot dog", "dog,\nnot cat"]
    for ax, i in zip(drawn, (1, 2), strict=True):
        expected = pictures[i].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(
            ax.images[0].get_array(), expected[..., 0] if channels == 1 else expected
        )


def test_nothing_is_misclassified() -> None:
    figure = plot.misclassified(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 1], [0, 1], ["cat", "dog"])
    assert not any(ax.images for ax in figure.axes)


@pytest.mark.parametrize(("channels", "pictures"), [(3, 8), (1, 8), (2, 16)])
def test_kernels_have_one_scale_and_zero_in_its_middle(channels: int, pictures: int) -> None:
    weight = torch.randn(8, channels, 3, 3)
    weight[0] = 0
    figure = plot.kernels(weight)
    drawn = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    assert len(drawn) == pictures
    np.testing.assert_allclose(drawn[0], 0.5)
    everything = np.concatenate([picture.ravel() for picture in drawn])
    assert max(everything.max() - 0.5, 0.5 - everything.min()) == pytest.approx(0.5)


def test_predictions() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    best = [[("cat", 0.7), ("dog", 0.25)], [("dog", 1.0)], [("cat", 0.5), ("dog", 0.5)]]
    figure = plot.predictions(pictures, best, ["a", "b", "c"])
    left, right = figure.axes[0:8:2], figure.axes[1:8:2]
    for ax, picture, title in zip(left, pictures, "abc", strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), picture.transpose(1, 2, 0))
        assert ax.get_title() == title
    assert not left[3].images
    for ax, pairs in zip(right, best, strict=False):
        assert [text.get_text() for text in ax.get_yticklabels()] == [name for name, _ in pairs]
        assert [bar.get_width() for bar in ax.patches] == [100 * share for _, share in pairs]
    given = plt.figure()
    assert plot.predictions(pictures[:1, :1], best[:1], figure=given) is given
