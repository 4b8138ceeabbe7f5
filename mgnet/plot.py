"""Figures. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from .core.words import legible

__all__ = ["confusion_matrix", "images", "kernels", "learning_curves", "misclassified", "nodal", "nodal_map"]
__all__ += ["predictions"]

# Beyond this many nodes a line is drawn through a sample of them: no screen shows more.
MOST_POINTS = 4096
# The same for each axis of a map.
MOST_CELLS = 512
# So many cells of equal width look smooth.
FEWEST_CELLS = 128


def nodal(x: np.ndarray, u: np.ndarray, ax: Any = None, active: Any = None, **style: Any) -> Any:
    """Draw nodal values over the nodes.

    Parameters
    ----------
    x : numpy.ndarray, shape (nodes,)
        Node coordinates.
    u : numpy.ndarray, shape (nodes,) or (batch, nodes)
        Nodal values; one line per row.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.
    active : numpy.ndarray of bool, shape (nodes - 1,), optional
        Over which cells there is a line; all by default.
    **style
        For ``matplotlib.axes.Axes.plot``.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    ax = _axes(ax)
    sample = _sample(len(x), MOST_POINTS)
    x, u = x[sample], np.atleast_2d(u)[:, sample]
    if active is not None:
        gaps = 1 + np.flatnonzero(~np.logical_or.reduceat(active, sample[:-1]))
        x, u = np.insert(x, gaps, x[gaps]), np.insert(u, gaps, np.nan, axis=1)
    ax.plot(x, u.T, **style)
    ax.set(xlabel="x", ylabel="u")
    ax.margins(x=0)
    return ax


def nodal_map(
    x: np.ndarray, y: np.ndarray, u: np.ndarray, ax: Any = None, active: Any = None, **style: Any
) -> Any:
    """Draw nodal values in a rectangle by colour, with a scale beside it.

    Parameters
    ----------
    x, y : numpy.ndarray
        Node coordinates along the two axes.
    u : numpy.ndarray, shape (nodes along x, nodes along y)
        Nodal values.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.
    active : numpy.ndarray of bool, shape (nodes along x - 1, nodes along y - 1), optional
        Which cells are drawn; all by default.
    **style
        For ``matplotlib.axes.Axes.pcolormesh``.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.
    """
    ax = _axes(ax)
    for axis in (0, 1):
        sample = _sample(u.shape[axis], MOST_CELLS)
        u = u.take(sample, axis)
        if active is not None:
            active = np.logical_or.reduceat(active, sample[:-1], axis)
        x, y = (x[sample], y) if axis == 0 else (x, y[sample])
    # Colours are mixed along a cell, which are not those of the values between: long cells are divided.
    (x, i, s), (y, j, t) = _divided(x), _divided(y)
    u = _between(_between(u, i, s).T, j, t)
    ax.figure.colorbar(ax.pcolormesh(x, y, u, shading="gouraud", rasterized=True, **style), ax=ax, label="u")
    if active is not None:  # cells that are not, between nodes that have others, are covered
        from matplotlib.colors import ListedColormap

        cover, blank = (
            np.ma.masked_where(active[np.ix_(i[:-1], j[:-1])].T, 0.0 * u[1:, 1:]),
            ax.get_facecolor(),
        )
        ax.pcolormesh(x, y, cover, cmap=ListedColormap([blank]), rasterized=True)
    ax.set(aspect="equal", xlabel="x", ylabel="y")
    return ax


def _sample(nodes: int, most: int) -> np.ndarray:
    """Return the numbers of some nodes, the first and the last among them."""
    return np.union1d(np.arange(0, nodes, -(-nodes // most)), [nodes - 1])


def _divided(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes, and more within long cells; and of each the cell, and the place in it from 0 to 1."""
    pieces = np.ceil(np.diff(x) / (x[-1] - x[0]) * FEWEST_CELLS - 1e-6).clip(1).astype(int)
    cell = np.repeat(np.arange(len(pieces)), pieces)
    t = (np.arange(len(cell)) - (np.cumsum(pieces) - pieces)[cell]) / pieces[cell]
    cell, t = np.append(cell, cell[-1]), np.append(t, 1.0)
    return np.where(t < 1, x[cell] + t * (x[cell + 1] - x[cell]), x[cell + 1]), cell, t


def _between(u: np.ndarray, cell: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return values between those of the first axis; at a node its own, also beside one that has none."""
    low, high, t = u[cell], u[cell + 1], t[:, None]
    return np.where(t == 0, low, np.where(t == 1, high, low + t * (high - low)))


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


def predictions(
    pictures: Any,
    best: Sequence[Sequence[tuple[str, float]]],
    titles: Sequence[str] = (),
    columns: int = 2,
    figure: Any = None,
) -> Any:
    """Draw images, and beside each the most probable classes as bars.

    Parameters
    ----------
    pictures : array of uint8, shape (images, channels, height, width)
        Grey or RGB.
    best : sequence of sequence of (str, float)
        For each image names of classes with their probabilities, the largest first.
    titles : sequence of str
        One per image, or none.
    columns : int, default 2
        Images side by side.
    figure : matplotlib figure, optional
        Where to draw; it gets the size that is needed. A new one by default.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    columns = min(columns, len(best))
    rows = -(-len(best) // columns)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(layout="constrained")
    figure.set_size_inches(4.2 * columns, 1.5 * rows)
    axes = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 2] * columns)
    pairs = axes.reshape(-1, 2)
    for (left, right), picture, classes, title in zip_longest(pairs, pictures, best, titles[: len(best)]):
        left.set_axis_off()
        if picture is None:
            right.set_axis_off()
            continue
        _show(left, np.moveaxis(np.asarray(picture), 0, -1), legible(title or ""), parse_math=False)
        names, shares = zip(*((legible(name), share) for name, share in classes), strict=True)
        bars = right.barh(range(len(names)), [100 * share for share in shares], color="tab:blue")
        right.bar_label(bars, [f"{100 * share:.1f} %" for share in shares], padding=2, fontsize="x-small")
        right.set_yticks(range(len(names)), names, fontsize="x-small", parse_math=False)
        right.set(xlim=(0, 125), xticks=())
        right.invert_yaxis()
        right.spines[:].set_visible(False)
        right.tick_params(length=0)
    return figure


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
            _show(ax, picture, title or "")
    return figure


def _show(ax: Any, picture: np.ndarray, title: str, **words: Any) -> None:
    grey, whole = picture.shape[-1] == 1, 255 if picture.dtype == np.uint8 else 1.0
    ax.imshow(picture[..., 0] if grey else picture, cmap="gray" if grey else None, vmin=0, vmax=whole)
    ax.set_title(title, fontsize="x-small", **words)
