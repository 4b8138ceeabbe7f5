"""Ruled paper: the lines that run across a picture from edge to edge are no ink, and are taken out.

A line is looked for where it is nearly level or nearly upright, by what most of the pixels along it are.
Where it crosses a stroke, the stroke is mended.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["without_lines"]

STEEPEST = 0.12  # rows per column of a line that is nearly level
# Shares of the longer side: the width of a line, and the strip whose brighter pixels are the paper beside it.
THICKEST, STRIP = 0.04, 0.07
DEEP = 0.12  # share of the light that a line takes; what takes less is too faint to be ink
WHOLE = 0.95  # share of the pixels from edge to edge that are dark
DARKER = 0.08  # share of the light by which ink on a line is darker than the line


def without_lines(work: np.ndarray) -> np.ndarray:
    """Return a picture without the dark lines that run across it from edge to edge, level or upright.

    Parameters
    ----------
    work : numpy.ndarray of float, shape (height, width)
        Grey, 0 to 255, in even light.

    Returns
    -------
    numpy.ndarray of float, shape (height, width)
        The same array where there are no lines.
    """
    if min(work.shape) < 32:
        return work
    return _without_level(_without_level(work).T).T


def _without_level(work: np.ndarray) -> np.ndarray:
    """Return a picture without its lines that are nearly level."""
    width = work.shape[1]
    count = 2 * int(np.ceil(STEEPEST * width / 2)) + 1  # a line is met within half a pixel at its ends
    slopes = np.linspace(-STEEPEST, STEEPEST, count)
    along = np.stack([_along(work, slope) for slope in slopes])
    darkest = along.min(axis=0)
    strip = 2 * round(STRIP * max(work.shape) / 2) + 1
    paper = ndimage.percentile_filter(np.median(work, axis=1), 80, strip, mode="nearest")
    depth = (paper - darkest) / np.maximum(paper, 20.0)
    labels, runs = ndimage.label(depth > DEEP)
    mended = work
    for (run,) in ndimage.find_objects(labels, runs):
        if run.stop - run.start > THICKEST * max(work.shape):
            continue  # a frame, the table, a shadow
        row = run.start + int(depth[run].argmax())
        mended = _mended(mended, row, float(slopes[along[:, row].argmin()]), float(paper[row]))
    return mended


def _rows(shape: tuple[int, ...], row: int, slope: float, offsets: np.ndarray, step: int = 1) -> np.ndarray:
    """Return the rows of lines that pass the middle column in a row and in those beside it."""
    columns = np.arange(0, shape[1], step)
    return row + offsets[:, None] + np.rint(slope * (columns - shape[1] / 2)).astype(int)


def _along(work: np.ndarray, slope: float, step: int = 3) -> np.ndarray:
    """Return for each row how dark nearly all pixels are of the line that passes its middle."""
    height, width = work.shape
    rows = _rows(work.shape, 0, slope, np.arange(height), step)
    values = work[np.clip(rows, 0, height - 1), np.arange(0, width, step)]
    values[(rows < 0) | (rows >= height)] = 0.0  # outside the picture nothing speaks against a line
    kept = int(WHOLE * (values.shape[1] - 1))
    return np.partition(values, kept, axis=1)[:, kept]


def _mended(work: np.ndarray, row: int, slope: float, paper: float) -> np.ndarray:
    """Return a picture without a line: across it runs what is on both sides, and darker ink."""
    height, width = work.shape
    most = max(2, round(THICKEST * max(work.shape)))
    rows, columns = _rows(work.shape, row, slope, np.arange(-most, most + 1)), np.arange(width)
    inside = (rows >= 0) & (rows < height)
    rows = np.clip(rows, 0, height - 1)
    profile = np.median(work[rows, columns], axis=1)
    profile[~inside[:, width // 2]] = paper
    half = max(_reach(profile[most::-1], paper), _reach(profile[most:], paper))
    band = slice(most - half, most + half + 1)
    values, inside = work[rows[band], columns], inside[band]
    share = np.linspace(0, 1, 2 * half + 1)[:, None]
    share = np.where(inside[0], np.where(inside[-1], share, 0.0), 1.0)  # at the edge, what is inside
    across = (1 - share) * values[0] + share * values[-1]
    line = ndimage.minimum_filter1d(profile, 3)[band, None]  # it may be a row off
    inked = inside & (line - values > DARKER * paper)
    mended = work.copy()
    mended[rows[band], columns] = np.where(inked, np.minimum(across, values), across)
    return mended


def _reach(profile: np.ndarray, paper: float) -> int:
    """Return how many rows from its middle a line ends, in paper that may be a little lighter or darker."""
    beside = profile.max()
    return max(1, int(np.argmax(profile >= beside - max(0.03 * (beside - profile[0]), 0.01 * paper))))
