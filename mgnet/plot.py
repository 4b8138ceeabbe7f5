"""Figures. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

__all__ = ["confusion_matrix", "images", "kernels", "learning_curves", "misclassified", "nodal", "nodal_map"]

# Beyond this many nodes a line is drawn through a sample of them: no screen shows more.
MOST_POINTS = 4096
# The same for each axis of a map.
MOST_CELLS = 512


def nodal(x: np.ndarray, u: np.ndarray, ax: Any = None, **style: Any) -> Any:
    """Draw nodal values over the nodes.

    Parameters
    ----------
    x : numpy.ndarray, shape (nodes,)
        Node coordinates.
    u : numpy.ndarray, shape (nodes,) or (batch, nodes)
        Nodal values; one line per row.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.
    **style
        For ``matplotlib.axes.Axes.plot``.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    ax = _axes(ax)
    step = -(-len(x) // MOST_POINTS)
    sample = np.union1d(np.arange(0, len(x), step), [len(x) - 1])
    ax.plot(x[sample], np.atleast_2d(u)[:, sample].T, **style)
    ax.set(xlabel="x", ylabel="u")
    ax.margins(x=0)
    return ax


def nodal_map(x: np.ndarray, y: np.ndarray, u: np.ndarray, ax: Any = None, **style: Any) -> Any:
    """Draw nodal values in a rectangle by colour, with a scale beside it.

    Parameters
    ----------
    x, y : numpy.ndarray
        Node coordinates along the two axes.
    u : numpy.ndarray, shape (nodes along x, nodes along y)
        Nodal values.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.
    **style
        For ``matplotlib.axes.Axes.pcolormesh``.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    ax = _axes(ax)
    some = [slice(None, None, max(1, -(-len(axis) // MOST_CELLS))) for axis in (x, y)]
    x, y, u = x[some[0]], y[some[1]], u[some[0], some[1]]
    colours = ax.pcolormesh(x, y, u.T, shading="gouraud", rasterized=True, **style)
    ax.figure.colorbar(colours, ax=ax, label="u")
    ax.set(aspect="equal", xlabel="x", ylabel="y")
    return ax


def _axes(ax: Any) -> Any:
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    return ax


def learning_curves(rows: Sequence[Mapping[str, Any]], ax: Any = None) -> Any:
    """Draw the accuracies of a training run over its epochs.

    Parameters
    ----------
    rows : sequence of dict
        Those of a :class:`mgnet.History`: epoch, train_accuracy, val_accuracy.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    if not rows:
        raise ValueError("rows: got none; accepted: at least one epoch")
    ax = _axes(ax)
    epochs = [row["epoch"] for row in rows]
    for name, label, style in (("train_accuracy", "training", "o-"), ("val_accuracy", "validation", "s--")):
        values = [row[name] for row in rows]
        if values[0] is not None:
            ax.plot(epochs, [100 * value for value in values], style, label=label, markersize=4)
    ax.set(xlabel="epoch", ylabel="accuracy in %")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def confusion_matrix(labels: Any, predicted: Any, classes: Sequence[str], ax: Any = None) -> Any:
    """Draw how often images of each class (rows) are taken for each class (columns), in % of the row.

    Parameters
    ----------
    labels, predicted : array of int, shape (images,)
        Classes, as they are and as they are predicted.
    classes : sequence of str
        Names.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax = _axes(ax)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (i, j), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 50 else "black"
            ax.text(j, i, f"{share:.0f}", ha="center", va="center", color=colour, fontsize="small")
    ticks = range(len(classes))
    ax.set_xticks(ticks, classes, rotation=45, ha="right")
    ax.set_yticks(ticks, classes)
    ax.set(xlabel="predicted", ylabel="class")
    return ax


def images(pictures: Any, titles: Sequence[str] = (), columns: int = 8) -> Any:
    """Draw images in a grid.

    Parameters
    ----------
    pictures : array of uint8, shape (images, channels, height, width)
        Grey or RGB.
    titles : sequence of str
        One per image, or none.
    columns : int, default 8
        Images side by side.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    return _grid([np.moveaxis(np.asarray(x), 0, -1) for x in pictures], titles, columns)


def misclassified(
    pictures: Any, labels: Any, predicted: Any, classes: Sequence[str], most: int = 32, columns: int = 8
) -> Any:
    """Draw the first images that are taken for something else, with 'predicted, not class' above each.

    Parameters
    ----------
    pictures : array of uint8, shape (images, channels, height, width)
        All images.
    labels, predicted, classes
        As for :func:`confusion_matrix`.
    most : int, default 32
        Images at most.
    columns : int, default 8
        Images side by side.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    wrong = np.flatnonzero(labels != predicted)[:most]
    titles = [f"{classes[predicted[i]]},\nnot {classes[labels[i]]}" for i in wrong]
    return images([np.asarray(pictures[int(i)]) for i in wrong], titles, columns)


def kernels(weight: Any, columns: int = 8) -> Any:
    """Draw the kernels of a first layer as images, all on one scale.

    Parameters
    ----------
    weight : array, shape (out channels, in channels, height, width)
        The kernels; those of three input channels are drawn as RGB, others as one image per input channel.
    columns : int, default 8
        Kernels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    weight = np.asarray(weight, dtype=float)
    if weight.shape[1] != 3:
        weight = weight.reshape(-1, 1, *weight.shape[2:])
    most = np.abs(weight).max() or 1.0
    return _grid([np.moveaxis(0.5 + 0.5 * kernel / most, 0, -1) for kernel in weight], (), columns)


def _grid(pictures: Sequence[np.ndarray], titles: Sequence[str], columns: int) -> Any:
    import matplotlib.pyplot as plt

    rows = max(1, -(-len(pictures) // columns))
    size = columns, rows * (1.3 if titles else 1.0)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax, picture, title in zip_longest(axes.flat, pictures, titles[: len(pictures)]):
        ax.set_axis_off()
        if picture is not None:
            grey, whole = picture.shape[-1] == 1, 255 if picture.dtype == np.uint8 else 1.0
            ax.imshow(picture[..., 0] if grey else picture, cmap="gray" if grey else None, vmin=0, vmax=whole)
            ax.set_title(title or "", fontsize="x-small")
    return figure
