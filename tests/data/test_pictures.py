"""Pictures of one's own: read as a viewer shows them, fitted, or refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mgnet.data import DataError, pictures

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREYS = COLOURS[:, :, :1]


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "gif"])
def test_colours_come_back(tmp_path: Path, ending: str) -> None:
    few = np.zeros((5, 7, 3), np.uint8)  # so that a palette has room for them
    few[1:3, 2:5] = 200, 30, 90
    path = saved(
        tmp_path / f"x.{ending}", Image.fromarray(few), **({"lossless": True} if ending == "webp" else {})
    )
    np.testing.assert_array_equal(pictures.read(path), few)


@pytest.mark.parametrize("ending", ["png", "bmp", "gif"])
def test_greys_have_one_channel(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"x.{ending}", Image.fromarray(GREYS[:, :, 0]))
    np.testing.assert_array_equal(pictures.read(path), GREYS)


def test_a_photograph_is_nearly_what_it_was(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :60]
    smooth = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).astype(np.uint8)
    found = pictures.read(saved(tmp_path / "x.jpg", Image.fromarray(smooth), quality=95))
    assert np.abs(found.astype(int) - smooth).max() <= 12


# Numbers of the EXIF standard: how the rows and columns of the file lie in the scene.
TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "x.png", Image.fromarray(COLOURS), exif=exif)
    np.testing.assert_array_equal(pictures.read(path), TURNS[orientation](COLOURS))


def test_damaged_exif_is_no_damage(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(COLOURS), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    np.testing.assert_array_equal(pictures.read(path), COLOURS)


def over_white(colours: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    share = opaque[:, :, None] / 255
    return share * colours + (1 - share) * 255


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    opaque = RNG.integers(0, 256, COLOURS.shape[:2], dtype=np.uint8)
    opaque[0, 0], opaque[0, 1] = 0, 255
    expected = over_white(COLOURS, opaque)
    path = saved(tmp_path / "x.png", Image.fromarray(np.dstack([COLOURS, opaque])))
    assert np.abs(pictures.read(path) - expected).max() <= 1
    assert pictures.read(path)[0, 0].tolist() == [255, 255, 255]
    grey = saved(tmp_path / "y.png", Image.fromarray(np.dstack([GREYS, opaque])))
    found = pictures.read(grey)
    assert found.shape == GREYS.shape and np.abs(found - over_white(GREYS, opaque)).max() <= 1


def test_palettes_may_be_transparent(tmp_path: Path) -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((2, 1), 0)
    found = pictures.read(saved(tmp_path / "x.png", image, transparency=0))
    expected = np.full((3, 4, 3), (200, 100, 50))
    expected[1, 2] = 255
    np.testing.assert_array_equal(found, expected)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    expected = np.rint(deep / 257)[:, :, None]
    for found in (
        pictures.read(saved(tmp_path / "x.png", Image.fromarray(deep))),
        pictures.from_array("deep", deep),
    ):
        np.testing.assert_array_equal(found, expected)


def test_other_modes(tmp_path: Path) -> None:
    bits = Image.fromarray(GREYS[:, :, 0] > 99)
    np.testing.assert_array_equal(
        pictures.read(saved(tmp_path / "x.png", bits))[:, :, 0], 255 * (GREYS[:, :, 0] > 99)
    )
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow
    red = pictures.read(saved(tmp_path / "x.jpg", ink, quality=100)).astype(int)
    assert np.abs(red - (255, 0, 0)).max() <= 3


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("#ff0000", "#0000ff")]
    path = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pictures.read(path), np.full((4, 5, 3), (255, 0, 0)))


@pytest.mark.parametrize(
    "array",
    [
        COLOURS,
        COLOURS.transpose(2, 0, 1),
        COLOURS / 255,
        torch.from_numpy(COLOURS),
        (COLOURS / 255).astype("f2"),
    ],
    ids=["last", "first", "floats", "tensor", "half"],
)
def test_arrays_of_colours(tmp_path: Path, array: Any) -> None:
    np.testing.assert_array_equal(pictures.from_array("array", array), COLOURS)
    np.save(tmp_path / "x.npy", np.asarray(array))
    np.testing.assert_array_equal(pictures.read(tmp_path / "x.npy"), COLOURS)


@pytest.mark.parametrize(
    "array", [GREYS, GREYS[:, :, 0], GREYS.transpose(2, 0, 1)], ids=["last", "flat", "first"]
)
def test_arrays_of_grey(array: np.ndarray) -> None:
    np.testing.assert_array_equal(pictures.from_array("array", array), GREYS)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 5, 7)), r"shape \(2, 5, 7\)"),
        (np.zeros(7), r"shape \(7,\)"),
        (np.zeros((0, 7)), r"shape \(0, 7\)"),
        (np.full((4, 4), 200.0), "floats from 200.0 to 200.0"),
        (np.full((4, 4), np.nan), "nan"),
        (np.full((4, 4), -0.5), "-0.5"),
        (np.zeros((4, 4), int), "int64"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.array([["a"]]), "<U1"),
        (np.array(3), r"shape \(\)"),
        (None, "None"),
        (b"a", "b'a'"),
        ([[1], [1, 2]], r"\[\[1\], \[1, 2\]\]"),
        (torch.zeros(4, 4, dtype=torch.bfloat16), "Tensor"),
    ],
    ids=[
        *("channels", "axes", "empty", "bright", "nan", "negative", "integers", "complex", "text"),
        *("number", "none", "bytes", "lists", "bfloat16"),
    ],
)
def test_other_arrays_are_refused(array: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"mine: got .*{said}.*; accepted: "):
        pictures.from_array("mine", array)


def large_png() -> bytes:
    """The first bytes of a picture that promises 12,000 × 12,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", 12_000, 12_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000)))


def png(form: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


def npy() -> bytes:
    file = BytesIO()
    np.save(file, np.zeros((4, 4), np.uint8))
    return file.getvalue()


def objects() -> bytes:
    """A pickle in the form of an array, which is never opened."""
    file = BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"a few words\n",
    "truncated.png": png()[:4000],
    "flipped.png": png()[:200] + bytes(100) + png()[300:],
    "header.png": png()[:20],
    "large.png": large_png(),
    "short.npy": npy()[:-3],
    "pickle.npy": objects(),
    "header.npy": npy()[:30],
    "another.tiff": png("TIFF"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(DataError) as raised:
        pictures.read(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ") and "\n" not in text


def test_what_is_too_large_is_known_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(large_png())
    with pytest.raises(DataError, match="got 12,000 × 12,000 pixels; accepted: up to 134,217,728"):
        pictures.read(tmp_path / "x.png")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: got a pipe"):
        pictures.read(tmp_path / "pipe")
    with pytest.raises(DataError, match="got a folder"):
        pictures.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        pictures.read(tmp_path / "none")
    with pytest.raises(TypeError, match="path"):
        pictures.read(3)  # type: ignore[arg-type]


def test_names_of_pictures() -> None:
    yes, no = ["a.PNG", "b/c.jpeg", "x.npy"], [".x.png", "a.txt", "png"]
    assert [pictures.is_picture(name) for name in yes + no] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_what_fits_is_not_changed(channels: int) -> None:
    square = RNG.integers(0, 256, (28, 28, channels), dtype=np.uint8)
    np.testing.assert_array_equal(pictures.fit(square, channels, 28), square.transpose(2, 0, 1))


def test_the_square_in_the_middle_is_taken() -> None:
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 77
    assert (pictures.fit(wide, 1, 5) == 77).all()
    assert (pictures.fit(wide.swapaxes(0, 1), 3, 5) == 77).all()


def test_shrinking_takes_means() -> None:
    y, x = np.mgrid[:256, :256]
    fine = (255 * ((x + y) % 2)).astype(np.uint8)[:, :, None]  # a board whose every second pixel is black
    inner = pictures.fit(fine, 1, 16)[0, 2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 1
    smooth = (x // 2 + y // 4).astype(np.uint8)[:, :, None]
    means = smooth.reshape(16, 16, 16, 16).mean((1, 3))
    assert np.abs(pictures.fit(smooth, 1, 16)[0] - means)[2:-2, 2:-2].max() <= 1


def test_colour_and_grey() -> None:
    luma = COLOURS[:6, :6] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pictures.fit(COLOURS[:6, :6], 1, 6)[0] - luma).max() <= 1
    np.testing.assert_array_equal(pictures.fit(GREYS[:6, :6], 3, 6), np.repeat(GREYS[None, :6, :6, 0], 3, 0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 2}, "channels: got 2"),
        ({"size": 0}, "size: got 0"),
        ({"size": 10**9}, "size: got 1000000000; accepted: up to 134,217,728 pixels in all"),
        ({"pixels": GREYS[:, :, 0]}, "pixels: got"),
    ],
    ids=["channels", "size", "large", "pixels"],
)
def test_other_forms_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pictures.fit(**{"pixels": GREYS, "channels": 1, "size": 4, **change})
