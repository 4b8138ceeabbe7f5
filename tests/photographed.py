"""Digits as a telephone sees them: ink on paper in uneven light, somewhere in the picture; all by a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

__all__ = ["KINDS", "Photo", "photographed"]


@dataclass(frozen=True)
class Photo:
    """How a digit is photographed; lengths are shares of the picture's shorter side."""

    size: tuple[int, int] = (200, 300)
    digit: tuple[float, float] = (0.33, 0.66)
    paper: tuple[float, float] = (180.0, 245.0)
    ink: tuple[float, float] = (0.1, 0.35)  # share of the light that it gives back
    gradient: float = 0.25
    noise: float = 4.0
    blur: float = 0.8
    pen: float = 0.0  # width of the stroke, in pixels of the digit in 28 × 28; by default its own
    vignette: float = 0.0
    frame: float = 0.0
    table: float = 0.0  # what is seen of the table that the sheet lies on, in dark wood, turned
    cell: float = 0.0  # how far from the edge the lines of a printed box are
    shadow: float = 0.0  # share of light that is taken from a half of the picture
    lines: float = 0.0  # share of light that the lines of ruled paper take
    ruled: float = 0.0  # the same for dark lines, two pixels wide, 26 apart
    squared: float = 0.0  # and for such lines along rows and columns
    turn: float = 0.0  # degrees at most
    colour: bool = False
    light_on_dark: bool = False


PLAIN = Photo()
# The neighbours of a pixel, clockwise from the one above, as shifts that bring them here.
AROUND = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
KINDS = {
    "plain": PLAIN,
    "small": replace(PLAIN, size=(56, 72), noise=3.0, blur=0.5),
    "large": replace(PLAIN, size=(1000, 800), blur=2.0),
    "square": replace(PLAIN, size=(128, 128), digit=(0.6, 0.8)),
    "little": replace(PLAIN, digit=(0.2, 0.3)),
    "dim": replace(PLAIN, paper=(70.0, 130.0)),
    "faint": replace(PLAIN, ink=(0.65, 0.75), noise=3.0),
    "noisy": replace(PLAIN, noise=16.0),
    "blurred": replace(PLAIN, blur=3.0),
    "gradient": replace(PLAIN, gradient=0.6),
    "vignette": replace(PLAIN, vignette=0.6),
    "frame": replace(PLAIN, frame=0.05),
    "table": replace(PLAIN, table=0.12),
    "cell": replace(PLAIN, cell=0.1),
    "shadow": replace(PLAIN, shadow=0.4),
    "lines": replace(PLAIN, lines=0.15),
    "far": replace(PLAIN, size=(240, 320), digit=(1 / 12, 1 / 6), gradient=0.1, noise=2.0),
    "distant": replace(PLAIN, size=(1200, 900), digit=(1 / 8, 1 / 6), noise=2.0),
    "ruled dark": replace(
        PLAIN, size=(240, 320), ink=(0.1, 0.15), ruled=0.75, gradient=0.1, noise=2.0, blur=0.6
    ),
    "squared dark": replace(
        PLAIN, size=(240, 320), ink=(0.1, 0.15), squared=0.75, gradient=0.1, noise=2.0, blur=0.6
    ),
    "thin": replace(PLAIN, pen=0.6, blur=0.5),
    "thick": replace(PLAIN, pen=4.5),
    "turned": replace(PLAIN, turn=8.0),
    "colour": replace(PLAIN, colour=True),
    "board": replace(PLAIN, light_on_dark=True),
}


def photographed(digit: np.ndarray, kind: Photo, seed: int) -> np.ndarray:
    """Return a picture, uint8 of shape (height, width) or (height, width, 3), of a digit of MNIST."""
    rng = np.random.default_rng(seed)
    light = _light(kind, rng)
    ink = _ink(digit, kind, rng)
    share = rng.uniform(*kind.ink)
    if kind.light_on_dark:
        picture = light * (0.25 + 0.6 * ink)
    else:
        picture = light * (1 - (1 - share) * ink)
    picture = _surrounded(picture, kind, rng)
    if kind.frame:
        width = max(1, round(kind.frame * min(kind.size)))
        inner = np.zeros(kind.size, bool)
        inner[width:-width, width:-width] = True
        picture = np.where(inner, picture, rng.uniform(20, 90))
    picture = ndimage.gaussian_filter(picture, kind.blur) + rng.normal(0, kind.noise, kind.size)
    if not kind.colour:
        return np.clip(picture, 0, 255).astype(np.uint8)
    tint = np.where(ink[:, :, None] > 0.5, (0.6, 0.8, 1.25), (1.0, 0.97, 0.9))
    coloured = Image.fromarray(np.clip(picture[:, :, None] * tint, 0, 255).astype(np.uint8))
    file = BytesIO()
    coloured.save(file, "JPEG", quality=60)
    return np.array(Image.open(file))


def _surrounded(picture: np.ndarray, kind: Photo, rng: np.random.Generator) -> np.ndarray:
    """Put what is not the digit around it: the table below the sheet, a printed box."""
    height, width = kind.size
    y, x = np.mgrid[:height, :width]
    lean = rng.uniform(-0.06, 0.06)
    depth = np.minimum(
        np.minimum(x + lean * y, width - 1 - x - lean * y),
        np.minimum(y - lean * x, height - 1 - y + lean * x),
    ) / min(kind.size)
    if kind.table:
        picture = np.where(depth > kind.table, picture, rng.uniform(40, 90))
    if kind.cell:
        picture = np.where(np.abs(depth - kind.cell) * min(kind.size) < 1.2, 0.3 * picture, picture)
    return picture


def _light(kind: Photo, rng: np.random.Generator) -> np.ndarray:
    y, x = (np.linspace(-1, 1, n) for n in kind.size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.add.outer(np.sin(angle) * y, np.cos(angle) * x) / 2
    radius = np.add.outer(y**2, x**2) / 2
    light = rng.uniform(*kind.paper) * (1 - kind.gradient * (0.5 + ramp)) * (1 - kind.vignette * radius)
    edge = np.add.outer(np.sin(angle + 1) * y, np.cos(angle + 1) * x) > rng.uniform(-0.5, 0.5)
    light = np.where(edge, light, (1 - kind.shadow) * light)
    rows = np.arange(kind.size[0]) % max(8, kind.size[0] // 8) < max(1, kind.size[0] // 150)
    faint = np.where(rows, 1 - kind.lines, 1.0)[:, None]
    across, down = ((np.arange(n) + 9) % 26 < 2 for n in kind.size)
    dark = np.where(across, 1 - kind.ruled, 1.0)[:, None]
    return light * faint * dark * np.where(np.logical_or.outer(across, down), 1 - kind.squared, 1.0)


def _ink(digit: np.ndarray, kind: Photo, rng: np.random.Generator) -> np.ndarray:
    """Return how much ink there is in each pixel, 0 to 1."""
    side = max(10, round(rng.uniform(*kind.digit) * min(kind.size) * 28 / 20))
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    turned = np.asarray(large.rotate(rng.uniform(-kind.turn, kind.turn), Image.Resampling.BICUBIC)) / 255
    if kind.pen:
        away = ndimage.distance_transform_edt(~_thinned(turned > 0.5))
        turned = np.clip(kind.pen * side / 28 / 2 + 0.5 - away, 0, 1)
    rows, columns = np.nonzero(turned > 0.2)
    cut = turned[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    ink = np.zeros(kind.size)
    margin = max(kind.frame, 1.4 * kind.table, 1.4 * kind.cell) * min(kind.size) + 4
    top, left = (
        int(rng.uniform(min(margin, (n - m) / 2), max(n - m - margin, (n - m) / 2)))
        for n, m in zip(kind.size, cut.shape, strict=True)
    )
    ink[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return ink


def _thinned(mask: np.ndarray) -> np.ndarray:
    """Return the lines in the middle of strokes, by the algorithm of Zhang and Suen (1984)."""
    x = np.pad(mask, 1).astype(np.int8)
    while True:
        before = x.sum()
        for step in (0, 1):
            ring = [np.roll(x, shift, (0, 1)) for shift in AROUND]
            up, _, right, _, down, _, left, _ = ring
            neighbours = sum(ring)
            rises = sum((a == 0) & (b == 1) for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
            pairs = (
                (up * right * down, right * down * left)
                if step == 0
                else (up * right * left, up * down * left)
            )
            gone = (neighbours >= 2) & (neighbours <= 6) & (rises == 1) & (pairs[0] == 0) & (pairs[1] == 0)
            x = np.where(gone, 0, x).astype(np.int8)
        if x.sum() == before:
            return x[1:-1, 1:-1].astype(bool)
