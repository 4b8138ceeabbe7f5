"""A procedural set of images: ten shapes and textures that a small network tells apart, a linear model not.

Foreground and background change places with even odds and every pattern has a random place or phase, so the
mean image of each class is the same grey, and a model that weighs single pixels learns next to nothing. All
arithmetic is on integers: the same seed gives the same bytes on every machine. No class becomes another by a
flip or a shift, so the usual augmentation is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["CLASSES", "generate"]

SIDE = 32
# How far from grey: the image, its channels, gradient, pixel noise.
OFFSET, TINT, SLOPE, NOISE = 24, 24, 4, 24
CONTRAST = (30, 50)  # half the distance between foreground and background


class _Place(NamedTuple):
    """Where the patterns of one class lie: pixel coordinates against one random number per image."""

    y: np.ndarray  # of the pixel, shape (32, 1)
    x: np.ndarray  # likewise, shape (32,)
    dy: np.ndarray  # of the pixel from the centre of the shape, shape (images, 32, 1)
    dx: np.ndarray  # likewise, shape (images, 1, 32)
    radius: np.ndarray
    a: np.ndarray  # the phase of a texture along y
    b: np.ndarray  # and along x
    width: np.ndarray  # of a stripe


def _disc(p: _Place, radius: np.ndarray) -> np.ndarray:
    return p.dy**2 + p.dx**2 <= radius**2


def _far(p: _Place) -> np.ndarray:
    return np.maximum(abs(p.dy), abs(p.dx))


def _stripes(t: np.ndarray, width: np.ndarray) -> np.ndarray:
    return t % (2 * width) < width


PATTERNS: dict[str, Callable[[_Place], np.ndarray]] = {
    "disc": lambda p: _disc(p, p.radius),
    "ring": lambda p: _disc(p, p.radius) & ~_disc(p, p.radius - 3),
    "square": lambda p: _far(p) < p.radius,
    "cross": lambda p: (np.minimum(abs(p.dy), abs(p.dx)) <= 1) & (_far(p) <= p.radius + 2),
    "horizontal": lambda p: _stripes(p.y + p.a + 0 * p.x, p.width),
    "vertical": lambda p: _stripes(p.x + p.b + 0 * p.y, p.width),
    # Rising or falling: a flip must not leave the class.
    "diagonal": lambda p: _stripes(p.x + (1 - 2 * (p.b % 2)) * p.y + p.a, 3 + p.width % 2),
    "checker": lambda p: _stripes(p.y + p.a, 3 + p.width % 2) ^ _stripes(p.x + p.b, 3 + p.width % 2),
    "grid": lambda p: ((p.y + p.a) % (p.width + 4) < 2) | ((p.x + p.b) % (p.width + 4) < 2),
    "dots": lambda p: ((p.y + p.a) % (p.width + 4) < 3) & ((p.x + p.b) % (p.width + 4) < 3),
}
CLASSES = list(PATTERNS)


def generate(images: int, seed: int, part: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw images, uint8 of shape (images, 3, 32, 32), and labels, int64 indices of the names in ``CLASSES``.

    Every class gets a tenth of the images, to one image. Another part of the same seed has other images:
    training, validation and test set are 0, 1 and 2, so that the size of one does not change another.
    """
    rng = np.random.Generator(np.random.PCG64([seed, part]))
    labels = rng.permutation(np.arange(images) % len(CLASSES))
    mask = np.empty((images, SIDE, SIDE), dtype=bool)
    for label, pattern in enumerate(PATTERNS.values()):
        chosen = np.flatnonzero(labels == label)
        mask[chosen] = pattern(_place(rng, chosen.size))
    return _paint(rng, mask), labels


def _place(rng: np.random.Generator, images: int) -> _Place:
    def draw(low: int, high: int) -> np.ndarray:
        return rng.integers(low, high, (images, 1, 1), dtype=np.int32, endpoint=True)

    x = np.arange(SIDE, dtype=np.int32)
    y = x[:, None]
    centre_y, centre_x = draw(8, 23), draw(8, 23)
    return _Place(y, x, y - centre_y, x - centre_x, draw(6, 9), draw(0, 31), draw(0, 31), draw(2, 4))


def _paint(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    def draw(low: int, high: int, *sizes: int) -> np.ndarray:
        return rng.integers(low, high, (len(mask), *sizes), dtype=np.int16, endpoint=True)

    half = draw(*CONTRAST, 1, 1, 1) * (2 * draw(0, 1, 1, 1, 1) - 1) + draw(-TINT // 2, TINT // 2, 3, 1, 1)
    background = 128 + draw(-OFFSET, OFFSET, 1, 1, 1) + draw(-TINT, TINT, 3, 1, 1)
    t = np.arange(-SIDE // 2, SIDE // 2, dtype=np.int16)
    slope = (draw(-SLOPE, SLOPE, 1, 1, 1) * t[:, None] + draw(-SLOPE, SLOPE, 1, 1, 1) * t) // 4
    image = draw(-NOISE, NOISE, 3, SIDE, SIDE)
    image += background + slope
    image += np.where(mask[:, None], half, -half)
    return np.clip(image, 0, 255).astype(np.uint8)
