"""Digits on paper, brought into the form of MNIST: found, cut out, scaled to 20 pixels and centred.

The authors of MNIST scaled each digit to a box of 20 × 20 pixels and laid its centre of mass into the middle
of 28 × 28, white on black. A network that has seen nothing else knows no photographs of paper: so a picture
takes the same way before it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from .ruled import without_lines

__all__ = ["Digit", "as_it_is", "centred"]

SIDE, BOX = 28, 20  # pixels of an image of MNIST, and of the box that a digit fills
# In MNIST the centre of mass lies in the pixel right and below of the middle; two images of 70,000 just miss.
MIDDLE, NEAR = 14.5, 0.53
# Pictures are looked at in this size: a stroke is some pixels wide, and the longest takes milliseconds.
WORK = 256
# Widths of a stroke in a box of 20, of nearly all of MNIST; what is thinner or thicker is brought there.
THIN, THICK = 2.0, 3.6
# Shares of the picture's longer side: what is wider than this is paper or a shadow, and no stroke.
WIDEST = 0.2
# Below this share of the difference between paper and ink it is paper, and below so many deviations noise.
FAINT, NOISE = 0.45, 5.0
# Of the longer side: the longest side of a digit, and one below which it is looked at anew, from nearby.
SMALLEST, SMALL = 0.05, 0.25
# Shares of the pixels that a small digit fills, and others: so many are as dark as ink.
SPARSE, FILLED = 0.001, 0.005
UNLIT = 25.0  # brightness of a board that gives back too little light to be levelled
LEAST = 0.02  # difference between paper and ink, of the full range


@dataclass(frozen=True)
class Digit:
    """A digit in the form of MNIST.

    Parameters
    ----------
    image : numpy.ndarray of uint8, shape (28, 28)
        Light on dark.
    inverted : bool
        Whether it was dark on light.
    moved : bool
        Whether it was found in a picture, scaled and centred; else the pixels are those of the picture.
    """

    image: np.ndarray
    inverted: bool
    moved: bool


def as_it_is(picture: np.ndarray) -> np.ndarray | None:
    """Return the pixels of a picture that has the form of MNIST, as all of its 70,000 images have.

    Parameters
    ----------
    picture : numpy.ndarray of uint8, shape (height, width)
        Light on dark.

    Returns
    -------
    numpy.ndarray of uint8, shape (28, 28), or None
        None unless it is a square with black around an ink of 19 or 20 pixels, whose centre of mass lies in
        the middle. What is wider than 28 pixels, as with a margin for a larger network, is cut off.
    """
    height, width = picture.shape
    margin = (height - SIDE) // 2
    if height != width or margin < 0 or height != SIDE + 2 * margin or not picture.any():
        return None
    box = _box(picture > 0)
    if _longest(box) not in (BOX - 1, BOX):
        return None
    centre = np.array(ndimage.center_of_mass(picture.astype(float))) + 0.5 - margin
    end = SIDE + margin
    return picture[margin:end, margin:end] if np.abs(centre - MIDDLE).max() <= NEAR else None


def centred(picture: np.ndarray, invert: bool | None = None) -> Digit | None:
    """Return the digit of a picture in the form of MNIST.

    The paper's brightness is what is left when strokes are closed; the ink is what differs from it, not at
    the picture's edge. It is drawn anew from its outline, with a stroke as wide as MNIST's, into 20 × 20
    pixels, and these are laid into 28 × 28 by the centre of mass. What has this form is left as it is.

    Parameters
    ----------
    picture : numpy.ndarray of uint8, shape (height, width)
        Grey.
    invert : bool, optional
        Whether it is dark on light. By default, what most of the picture has is paper, and the rest ink.

    Returns
    -------
    Digit or None
        None where there is no ink.
    """
    for inverted in (False, True) if invert is None else (invert,):
        ready = as_it_is(255 - picture if inverted else picture)
        if ready is not None:
            return Digit(ready, inverted, False)
    found = _found(picture, invert)
    if found is None:
        return None
    mask, dark = found
    if _longest(_box(mask)) < SMALL * WORK:
        closer = _found(_around(picture, mask), dark)
        if closer is None:
            return None
        mask = closer[0]
    return Digit(_drawn(mask), dark, True)


def _found(picture: np.ndarray, invert: bool | None) -> tuple[np.ndarray, bool] | None:
    """Return where the ink is, in the size in which pictures are looked at, and whether it is dark."""
    work = without_lines(_evenly_lit(_without_table(_resized(picture))))
    found = [(dark, _ink(work, dark)) for dark in ((False, True) if invert is None else (invert,))]
    seen = [(mask, dark) for dark, mask in found if mask is not None]
    if not seen:
        return None
    return seen[0] if len(seen) == 1 else _outer(work, *seen)


def _around(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the part of a picture that has a digit in its middle third, in the pixels of the picture."""
    box = _box(mask)
    side = 3 * _longest(box)
    cut = []
    for part, seen, length in zip(box, mask.shape, picture.shape, strict=True):
        scale, middle = length / seen, (part.start + part.stop) / 2
        start, stop = (round(scale * (middle + sign * side / 2)) for sign in (-1, 1))
        cut.append(slice(max(start, 0), min(stop, length)))
    return picture[tuple(cut)]


def _resized(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape
    scale = WORK / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(picture.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return ndimage.gaussian_filter(np.clip(np.asarray(image), 0, 255), 1.0)


def _without_table(work: np.ndarray) -> np.ndarray:
    """Return the sheet alone, where all around it is something darker or lighter: a table, a frame."""
    light = work > _between_classes(work)
    for sheet in (light, ~light):
        edge = np.concatenate([sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]])
        if edge.mean() > 0.03:
            continue
        labels, pieces = ndimage.label(sheet)
        if not pieces:
            continue
        largest = labels == 1 + np.bincount(labels.ravel(), minlength=2)[1:].argmax()
        whole = ndimage.binary_fill_holes(largest)
        box = _box(whole)
        wide = all(s.stop - s.start > 0.6 * length for s, length in zip(box, work.shape, strict=True))
        if wide and whole[box].mean() > 0.82:  # a rectangle; a digit 0 fills 0.79 of its box
            inner = ndimage.binary_erosion(whole, iterations=6)
            nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
            return work[tuple(nearest)]
    return work


def _between_classes(work: np.ndarray) -> float:
    """Return the brightness that divides the pixels into two classes which differ most (Otsu, 1979)."""
    counts = np.bincount(work.astype(np.uint8).ravel(), minlength=256).astype(float)
    below, levels = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(invalid="ignore"):
        between = below * above * (levels / below - (levels[-1] - levels) / above) ** 2
    return float(np.nanargmax(between)) + 0.5 if np.isfinite(between).any() else 255.0


def _evenly_lit(work: np.ndarray) -> np.ndarray:
    """Return the picture with its light levelled: divided by the smooth surface that fits most of it best.

    That is the polynomial of degree 3 with the least sum of absolute deviations, so that ink counts little.
    """
    small = work[:: WORK // 64, :: WORK // 64]
    if np.median(small) < UNLIT:
        return work
    weight = np.ones(small.size)
    for _ in range(10):  # by least squares that are weighted anew
        root = np.sqrt(weight)
        A = _polynomials(small.shape)
        coefficients = np.linalg.lstsq(root[:, None] * A, root * small.ravel(), rcond=None)[0]
        weight = 1 / np.maximum(np.abs(small.ravel() - A @ coefficients), 1.0)
    light = (_polynomials(work.shape) @ coefficients).reshape(work.shape)
    level = max(float(np.median(light)), 1.0)
    return np.clip(work * level / np.maximum(light, 0.25 * level), 0, 255)


def _polynomials(shape: tuple[int, ...], degree: int = 3) -> np.ndarray:
    rows, columns = (np.linspace(-1, 1, length) for length in shape)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([np.outer(rows**i, columns**j).ravel() for i, j in powers], axis=1)


def _outer(work: np.ndarray, *seen: tuple[np.ndarray, bool]) -> tuple[np.ndarray, bool]:
    """Return which of two is ink: the clearer one, but for what is a hole in the other."""
    clear = [_clear(work, mask, dark) for mask, dark in seen]
    best = int(np.argmax(clear))
    other = 1 - best
    is_hole = _share(_box(seen[best][0]), _box(seen[other][0])) > 0.9
    return seen[other if is_hole and clear[other] > 0.5 * clear[best] else best]


def _clear(work: np.ndarray, mask: np.ndarray, dark: bool) -> float:
    """Return by how much ink differs from what is around it, and the paper on all sides does.

    What is light between dark strokes, taken for ink, has paper as light as itself around it.
    """
    around = 3 + round(0.06 * _longest(_box(mask)))
    rows, columns = (
        slice(max(s.start - around, 0), min(s.stop + around, length))
        for s, length in zip(_box(mask), mask.shape, strict=True)
    )
    cut = work[rows, columns]
    ring = np.concatenate([cut[0], cut[-1], cut[:, 0], cut[:, -1]])
    difference = ring - work[mask].mean()
    return float(np.quantile(difference if dark else -difference, 0.1))


def _ink(work: np.ndarray, dark: bool) -> np.ndarray | None:
    """Return where the ink is; dark ink on paper leaves a share of the light, whatever that is."""
    width = 2 * round(WIDEST * WORK / 2) + 1
    close = ndimage.grey_closing if dark else ndimage.grey_opening
    paper = ndimage.uniform_filter(
        close(work, size=(width, width), mode="nearest"), width // 3, mode="nearest"
    )
    ink = (paper - work) / np.maximum(paper, 20.0) if dark else (work - paper) / 255
    noise = 1.4826 * np.median(np.abs(ink - np.median(ink)))
    ink -= np.median(ink)
    inside = ink[2:-2, 2:-2] if min(ink.shape) > 8 else ink
    mask = None
    for filled in (SPARSE, FILLED):
        most = float(np.quantile(inside, 1 - filled))
        if most < LEAST:
            return mask
        mask = _chosen(ink, max(FAINT * most, NOISE * noise))
        if mask is None or mask.mean() < 2 * FILLED:
            return mask
    return mask


def _chosen(ink: np.ndarray, threshold: float) -> np.ndarray | None:
    """Return the largest piece of ink that does not touch the edge, and what lies close to it."""
    labels, pieces = ndimage.label(ink > threshold, np.ones((3, 3)))
    if not pieces:
        return None
    boxes = ndimage.find_objects(labels)
    sizes = ndimage.sum_labels(np.maximum(ink, 0), labels, np.arange(1, pieces + 1))
    whole = np.array([_longest(box) > SMALLEST * WORK and not _touches(box, ink.shape) for box in boxes])
    frames = [whole[i] and _is_frame(labels == i + 1, i, boxes, whole) for i in range(pieces)]
    whole &= ~np.array(frames)
    if whole.any():
        sizes = sizes * whole
    main = int(sizes.argmax())
    piece = labels == main + 1
    along = max(side.mean() for side in (piece[0], piece[-1], piece[:, 0], piece[:, -1]))
    if along > 0.5 or _longest(boxes[main]) <= SMALLEST * WORK:
        return None  # a shade of the light at a side of the picture, or a speck
    reach = 0.35 * _longest(boxes[main])
    kept = [
        i + 1
        for i, box in enumerate(boxes)
        if i == main or (sizes[i] > 0.04 * sizes[main] and _gap(box, boxes[main]) < reach)
    ]
    return np.isin(labels, kept)


def _is_frame(mask: np.ndarray, number: int, boxes: list[tuple[slice, ...]], whole: np.ndarray) -> bool:
    """Say whether a piece goes around another one of some size, and has nothing in its own middle."""
    box = boxes[number]
    middle = tuple(slice((3 * s.start + s.stop) // 4, (s.start + 3 * s.stop) // 4) for s in box)
    inside = [
        j != number and _longest(other) > 0.2 * _longest(box) and _share(other, box) > 0.7
        for j, other in enumerate(boxes)
        if whole[j]
    ]
    return any(inside) and mask[middle].sum() < 0.02 * mask.sum()


def _longest(box: tuple[slice, ...]) -> int:
    return max(s.stop - s.start for s in box)


def _touches(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(s.start == 0 or s.stop == length for s, length in zip(box, shape, strict=True))


def _share(one: tuple[slice, ...], other: tuple[slice, ...]) -> float:
    """Return how much of a box lies in another one."""
    common = [max(min(a.stop, b.stop) - max(a.start, b.start), 0) for a, b in zip(one, other, strict=True)]
    return float(np.prod(common) / np.prod([s.stop - s.start for s in one]))


def _gap(one: tuple[slice, ...], other: tuple[slice, ...]) -> int:
    return max(max(a.start - b.stop, b.start - a.stop, 0) for a, b in zip(one, other, strict=True))


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    return ndimage.find_objects(mask.astype(np.int8))[0]


def _drawn(mask: np.ndarray) -> np.ndarray:
    """Return ink in the form of MNIST, with a stroke that is neither thinner nor thicker than there."""
    mask = np.pad(mask, WORK // 4)
    depth = ndimage.distance_transform_edt(mask)
    outline = depth - ndimage.distance_transform_edt(~mask)  # the distance from it, positive inside
    longest = _longest(_box(mask))
    width = 4 * depth[mask].mean() * BOX / longest  # of a straight stroke: a quarter of it is the mean depth
    grown = (np.clip(width, THIN, THICK) - width) / 2 * longest / BOX
    shape = outline + grown > 0
    if not shape.any():
        shape, grown = mask, 0.0
    box = _box(shape)
    cut = Image.fromarray(np.clip(outline[box] + grown + 0.5, 0, 1).astype(np.float32))
    scale = BOX / max(cut.size)
    size = max(1, round(cut.width * scale)), max(1, round(cut.height * scale))
    small = np.asarray(cut.resize(size, Image.Resampling.BOX))
    return _laid(np.rint(np.clip(small * 255, 0, 255)).astype(np.uint8))


def _laid(small: np.ndarray) -> np.ndarray:
    """Lay a box into the image, its centre of mass into the middle."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    place = []
    for centre, length in zip(ndimage.center_of_mass(small.astype(float)), small.shape, strict=True):
        place.append(int(np.clip(round(MIDDLE - centre - 0.5), 0, SIDE - length)))
    image[place[0] : place[0] + small.shape[0], place[1] : place[1] + small.shape[1]] = small
    return image
