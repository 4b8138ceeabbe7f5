"""Pictures of one's own: one file to bytes, and bytes to the form that a network takes.

Files are those of strangers: nothing in them is executed, what they cost is known from their first bytes, and
one that cannot be read is a :class:`mgnet.data.DataError` that names it.

>>> import numpy as np
>>> photo = np.zeros((60, 80, 3), dtype=np.uint8)
>>> fit(photo, channels=1, size=28).shape
(1, 28, 28)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..core.checks import count, instance, shown
from ..core.files import mapped, regular
from ..core.resources import is_shortage
from .archives import DataError

__all__ = ["ENDINGS", "FILTER", "FORMATS", "LARGEST", "PIXELS", "fit", "from_array", "is_picture", "read"]

# What Pillow is asked to recognise, by the first bytes of a file and not by its name. The others that it
# knows are no photographs, or call other programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".npy")
ACCEPTED = "a picture as PNG, JPEG, GIF, BMP or WebP, or an array as NPY"
# Pixels of a side that images are brought to: a data set has many of them.
LARGEST = 4096
# More than a telephone's camera takes; the bytes of so many are 400 MB.
PIXELS = 2**27
# Where a picture is made smaller, Pillow widens the support of its filters by the factor: all pixels count.
FILTER = Image.Resampling.BICUBIC
NPY = b"\x93NUMPY"
SHAPES = (
    "the shape (height, width), (height, width, channels) or (channels, height, width) of 1, 3 or 4 channels"
)
VALUES = "uint8, uint16, bool, or floats from 0 to 1"


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the pixels of a picture in a file, as a viewer shows them.

    A photograph is turned as its EXIF orientation says; of several frames the first one counts. What is
    transparent is laid over white, as a page would be. Sixteen bits become eight by scaling, not by cutting
    off. Colour profiles are of no account: pixels are taken for sRGB.

    Parameters
    ----------
    path : path-like
        A PNG, JPEG, GIF, BMP or WebP file, known by its content, or an array of NumPy in a ``.npy`` file, see
        :func:`from_array`.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width, channels)
        One channel where the file is grey, else three.

    Raises
    ------
    DataError
        For what is no such file, or a damaged one, or has more than ``PIXELS`` pixels; it names the file.
    OSError
        For a file that is not there or may not be read.

    See Also
    --------
    fit : Bring it into the form that a network takes.
    """
    instance("path", path, str | os.PathLike, "the path of a picture")
    try:
        with regular(path) as file:
            start = file.read(len(NPY))
            file.seek(0)
            if start == NPY:
                return from_array(f"{path}", mapped(path))
            if not start:
                raise ValueError(f"got an empty file; accepted: {ACCEPTED}")
            return _decoded(file)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Say whether a file's name ends as that of a picture; hidden files are none.

    Parameters
    ----------
    path : path-like
        It need not be there.

    Returns
    -------
    bool
        Whatever its content.
    """
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(ENDINGS)


def _decoded(file: Any) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures, which have a bound here, and of small faults.
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=FORMATS)
            _require_pixels(*image.size)
            image.load()
            return _pixels(_upright(image))
    except UnidentifiedImageError:
        raise ValueError(f"got no picture that is known; accepted: {ACCEPTED}") from None
    except Image.DecompressionBombError:
        raise ValueError(f"got a picture of too many pixels; accepted: up to {PIXELS:,}") from None
    except _RefusedError:
        raise
    except Exception as error:  # decoders raise whatever they stumble over
        if is_shortage(error):
            raise
        said, *_ = (str(error).strip() or type(error).__name__).splitlines()
        raise ValueError(f"got a damaged picture ({said}); accepted: a whole one") from error


class _RefusedError(ValueError):
    """What is no damage, but cannot be taken."""


def _require_pixels(width: int, height: int) -> None:
    if width * height > PIXELS:
        raise _RefusedError(f"got {width:,} × {height:,} pixels; accepted: up to {PIXELS:,}")


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # a damaged note on the orientation is no damage to the picture
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return ImageOps.exif_transpose(image)
    return image


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the bytes of an image of any mode, grey or RGB, over white."""
    if image.mode.startswith("I"):  # 16 bits of grey, which convert would cut off
        pixels = np.asarray(image)
        clear = image.info.get("transparency")
        return from_array("pixels", np.where(pixels == clear, 65535, pixels).astype(np.uint16))
    grey = image.mode in ("1", "L", "LA", "La") or (image.mode == "P" and _is_grey(image))
    if image.has_transparency_data:
        image = _over_white(image.convert("RGBA"))
    return _channels_last(np.array(image.convert("L" if grey else "RGB")))


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    """Say whether a palette has greys only, as in every GIF of a grey picture."""
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def from_array(name: str, array: Any) -> np.ndarray:
    """Return the pixels of a picture that is an array.

    Parameters
    ----------
    name : str
        What a message calls it.
    array : array_like or torch.Tensor
        Shape (height, width), (height, width, channels) or (channels, height, width) with one, three or four
        channels; where both fit, the last axis has the channels, and the fourth channel is how opaque a pixel
        is. Values are uint8, uint16 (where 65535 is white), bool (where True is), or floats from 0 to 1.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width, channels)
        A new array of one channel or three.

    Raises
    ------
    DataError
        For another shape or other values.
    """
    laid = _laid(name, _array(name, array))
    height, width = laid.shape[:2]
    if height * width > PIXELS:
        raise DataError(f"{name}: got {width:,} × {height:,} pixels; accepted: up to {PIXELS:,}")
    pixels = _channels_last(_bytes(name, np.asarray(laid)))
    if pixels.shape[2] == 4:
        return np.array(_over_white(Image.fromarray(pixels)))
    return pixels


def _array(name: str, given: Any) -> np.ndarray:
    """Return what is given as an array of NumPy; what is none has no numbers in it."""
    try:
        array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asanyarray(given)
    except Exception as error:  # lists of unequal lengths, tensors without numbers, arrays of others
        if is_shortage(error):
            raise
        raise DataError(f"{name}: got {shown(given)}; accepted: {SHAPES}") from error
    if array.dtype.kind in "OSUVMm":
        raise DataError(f"{name}: got {shown(given)}; accepted: {ACCEPTED}, or an array of {VALUES}")
    return array


def _laid(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array whose channels, if it has such an axis, come last."""
    shape = array.shape
    if array.ndim in (2, 3) and array.size:
        laid = array if array.ndim == 2 or shape[-1] in (1, 3, 4) else np.moveaxis(array, 0, -1)
        if laid.ndim == 2 or laid.shape[2] in (1, 3, 4):
            return laid
    raise DataError(f"{name}: got an array of shape {shape}; accepted: {SHAPES}")


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _bytes(name: str, array: np.ndarray) -> np.ndarray:
    """Return a new array of bytes in the usual order, whose 255 is white."""
    if array.dtype == np.uint8:
        return np.array(array, order="C")
    if array.dtype == bool:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 · 257
    if array.dtype.kind != "f":
        raise DataError(f"{name}: got an array of {array.dtype}; accepted: {VALUES}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # which no NaN is
        raise DataError(f"{name}: got floats from {shown(low)} to {shown(high)}; accepted: {VALUES}")
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def fit(pixels: np.ndarray, channels: int, size: int | Sequence[int]) -> np.ndarray:
    """Bring a picture into the form that a network takes: square, small, grey or in colour.

    The square in the middle is cut out, as large as fits, and resized by Pillow's bicubic filter,
    which is antialiased: where the picture shrinks, each new pixel is a weighted mean of all those that it
    stands for. A picture that has the form already is not changed by a bit. Colours become grey by the luma
    of ITU-R 601, Y = 0.299 R + 0.587 G + 0.114 B; a grey becomes colour by three equal channels.

    Parameters
    ----------
    pixels : numpy.ndarray of uint8, shape (height, width, 1) or (height, width, 3)
        As :func:`read` returns them.
    channels : {1, 3}
        Grey or red, green and blue.
    size : int or (int, int)
        Pixels of a side, or height and width; then it is a rectangle that is cut out.

    Returns
    -------
    numpy.ndarray of uint8, shape (channels, height, width)
        A new array.

    Raises
    ------
    TypeError, ValueError
        For other arguments.
    """
    height, width = (count("size", n) for n in (size if isinstance(size, Sequence) else (size, size)))
    if channels not in (1, 3):
        raise ValueError(f"channels: got {shown(channels)}; accepted: 1 or 3")
    if height * width > PIXELS:
        raise ValueError(f"size: got {shown(size)}; accepted: up to {PIXELS:,} pixels in all")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        accepted = "uint8 of shape (height, width, 1) or (height, width, 3)"
        raise ValueError(f"pixels: got {pixels.dtype} of shape {pixels.shape}; accepted: {accepted}")
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    # Cut first: with a box of its own, resizing would let in what lies beside it.
    cut = image.crop((left, top, left + across, top + down)).resize((width, height), FILTER)
    return np.ascontiguousarray(np.moveaxis(_channels_last(np.array(cut)), 2, 0))
