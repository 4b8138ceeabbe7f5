"""Digits on paper come out in the form of MNIST, whatever the light, the paper and the pen."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from photographed import KINDS, PLAIN, photographed
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from mgnet.data import digits


def printed(figure: int) -> np.ndarray:
    """Give a printed digit in the form of MNIST: 20 pixels long, its centre of mass in the middle of 28."""
    sheet = Image.new("L", (300, 300))
    ImageDraw.Draw(sheet).text((60, 30), str(figure), 255, ImageFont.load_default(200))
    cut = sheet.crop(sheet.getbbox())
    scale = 20 / max(cut.size)
    small = np.array(cut.resize([max(1, round(n * scale)) for n in cut.size], Image.Resampling.BOX))
    y, x = (np.average(np.arange(n) + 0.5, weights=small.sum(1 - axis)) for axis, n in enumerate(small.shape))
    top, left = round(14.5 - y), round(14.5 - x)
    image = np.zeros((28, 28), np.uint8)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


PRINTED = [printed(figure) for figure in range(10)]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Give the cosine between two images, blurred so that a pixel's shift counts little."""
    a, b = (ndimage.gaussian_filter(x.astype(float), 1.0) for x in (one, other))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_photographed_digit_is_itself(kind: str) -> None:
    found = [
        digits.centred(grey(photographed(image, KINDS[kind], 10 * seed + figure)))
        for seed in range(2)
        for figure, image in enumerate(PRINTED)
    ]
    right = 0
    for i, each in enumerate(found):
        if each is None or each.inverted == KINDS[kind].light_on_dark:
            continue
        alike = [likeness(each.image, image) for image in PRINTED]
        right += int(np.argmax(alike)) == i % 10 and alike[i % 10] > 0.75
    least = 14 if kind == "thick" else 16  # where the loops of small digits are closed
    assert right >= least, f"{right} of 20"


def grey(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else (picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_the_result_has_the_form(seed: int) -> None:
    found = digits.centred(photographed(PRINTED[2 * seed], PLAIN, seed))
    assert found is not None and found.moved
    rows, columns = np.nonzero(found.image > 40)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    middle = [c + 0.5 for c in ndimage.center_of_mass(found.image.astype(float))]
    assert np.abs(np.array(middle) - 14.5).max() <= 0.51
    assert found.image[0].max() == 0
    assert found.image.max() > 200


@pytest.mark.parametrize("figure", range(10))
def test_what_has_the_form_comes_out_bit_for_bit(figure: int) -> None:
    own = PRINTED[figure]
    for picture, inverted in ((own, False), (255 - own, True), (np.pad(own, 2), False)):
        found = digits.centred(picture)
        assert found is not None
        assert (found.inverted, found.moved) == (inverted, False)
        np.testing.assert_array_equal(found.image, own)


def test_what_has_not_the_form_is_moved() -> None:
    own = PRINTED[3]
    for picture in (
        np.roll(own, 3, 1),
        np.roll(own, 2, 0),
        np.pad(own, ((0, 4), (0, 4))),
        np.kron(own, np.ones((2, 2))),
    ):
        assert digits.as_it_is(picture.astype(np.uint8)) is None
        found = digits.centred(picture.astype(np.uint8))
        assert found is not None and found.moved and not found.inverted
        assert likeness(found.image, own) > 0.95


def test_thin_and_thick_pens_are_brought_to_one_width() -> None:
    def ink(pen: float) -> float:
        kind = type(PLAIN)(size=(300, 300), digit=(0.6, 0.6), pen=pen, noise=1.0)
        found = digits.centred(photographed(PRINTED[2], kind, 0))
        assert found is not None
        return float(found.image.mean())

    thin, thick = ink(0.5), ink(5.0)
    assert thin > 0.4 * thick  # on the paper it is a tenth


def test_what_is_asked_for_is_done() -> None:
    photo = photographed(PRINTED[5], PLAIN, 1)
    dark = digits.centred(photo, invert=True)
    assert dark is not None and dark.inverted
    np.testing.assert_array_equal(dark.image, digits.centred(photo).image)  # type: ignore[union-attr]
    np.testing.assert_array_equal(digits.centred(255 - photo, invert=False).image.shape, (28, 28))  # type: ignore[union-attr]
    assert not digits.centred(255 - photo).inverted  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((28, 28)),
        np.full((50, 60), 255),
        np.full((1, 1), 9),
        np.full((1, 200), 9),
        np.random.default_rng(0).normal(200, 3, (120, 90)),
        np.linspace(90, 230, 80)[:, None] * np.ones(60),
    ],
    ids=["black", "white", "pixel", "row", "noise", "gradient"],
)
def test_paper_without_ink_has_no_digit(picture: np.ndarray) -> None:
    assert digits.centred(picture.astype(np.uint8)) is None


def ruled(axes: str, rise: float = 0.0, grey: float = 60.0) -> np.ndarray:
    """Give ruled paper with lines two pixels wide, 26 apart: along rows, columns or both."""
    y, x = np.mgrid[:240, :320]
    lines = np.zeros((240, 320), bool)
    if "rows" in axes:
        lines |= (y + rise * x + 11) % 26 < 2
    if "columns" in axes:
        lines |= (x + rise * y + 11) % 26 < 2
    paper = ndimage.gaussian_filter(np.where(lines, grey, 230.0), 0.6)
    return np.clip(paper + np.random.default_rng(0).normal(0, 2, paper.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("grey", [40.0, 60.0, 120.0])
@pytest.mark.parametrize("axes", ["rows", "columns", "rows and columns"])
def test_lines_from_edge_to_edge_are_no_ink(axes: str, grey: float) -> None:
    assert digits.centred(ruled(axes, grey=grey)) is None


@cache
def on_paper(figure: int, axes: str = "", rise: float = 0.0) -> digits.Digit:
    """Find a digit that is written across the lines of a paper."""
    paper = ruled(axes, rise)
    large = np.array(Image.fromarray(PRINTED[figure]).resize((150, 150), Image.Resampling.BICUBIC)) / 255
    part = paper[40:190, 80:230]
    part[:] = np.minimum(part, 230 - 203 * large)
    found = digits.centred(paper)
    assert found is not None and found.inverted
    return found


@pytest.mark.parametrize("axes", ["rows", "columns", "rows and columns"])
@pytest.mark.parametrize("rise", [0.0, 0.03, -0.08])
def test_strokes_that_lines_cross_are_mended(axes: str, rise: float) -> None:
    for figure in range(10):
        assert likeness(on_paper(figure, axes, rise).image, on_paper(figure).image) > 0.88, figure


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("length", [20, 26, 36, 60])
def test_a_small_digit_is_not_turned_inside_out(length: int, dark: bool) -> None:
    for image in PRINTED:
        side = round(length * 28 / 20)
        small = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        sheet = np.full((240, 320), 30.0)
        sheet[60 : 60 + side, 180 : 180 + side] += 200 / 255 * small
        sheet += np.random.default_rng(length).normal(0, 2, sheet.shape)
        found = digits.centred((255 - sheet if dark else sheet).astype(np.uint8))
        assert found is not None and found.inverted == dark
        assert likeness(found.image, image) > 0.85


@pytest.mark.parametrize("shape", [(1, 2), (3, 3), (2, 400), (400, 3), (29, 31), (16, 16)], ids=str)
def test_whatever_is_there_has_an_answer(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = digits.centred(picture)
    assert found is None or found.image.shape == (28, 28)
