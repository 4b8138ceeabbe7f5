"""Figures. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["nodal"]

# Beyond this many nodes a line is drawn through a sample of them: no screen shows more.
MOST_POINTS = 4096


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
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    step = -(-len(x) // MOST_POINTS)
    sample = np.union1d(np.arange(0, len(x), step), [len(x) - 1])
    ax.plot(x[sample], np.atleast_2d(u)[:, sample].T, **style)
    ax.set_xlabel("x")
    ax.set_ylabel("u")
    ax.margins(x=0)
    return ax
