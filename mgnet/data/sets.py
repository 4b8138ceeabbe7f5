"""The sets by name: CIFAR-10, MNIST, a procedural one, and those of your own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..core.checks import count, find_device, instance, new_name
from .drawn import CLASSES, generate
from .official import Images, read_cifar10, read_mnist
from .splits import Data, Split, statistics

__all__ = ["cifar10", "load", "mnist", "names", "register", "synthetic"]


def cifar10(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    validation: int = 5000,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return CIFAR-10: 60,000 photographs of 3×32×32, of ten kinds of animals and vehicles.

    Parameters
    ----------
    root : path-like, optional
        The folder cifar-10-batches-bin, or one that has it or shall get it; the package
        cifar-10-binary.tar.gz in it will do too. By default the environment variable MGNET_DATA says which,
        or else it is this user's cache.
    download : bool, default True
        Whether to download what is not there: 170 MB, from the address in MGNET_DATA_URL where that is set.
    validation : int, default 5000
        How many of the 50,000 training images to set apart, the same share of every class.
    seed : int, default 0
        Decides which.
    device : str or torch.device, optional
        Where the images lie; by default the CPU.

    Returns
    -------
    Data
        With the 10,000 test images.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before any work.
    DataError
        When the files are damaged; it names file and record.
    FileNotFoundError
        When there are none, and none can be downloaded.

    References
    ----------
    A. Krizhevsky, 'Learning multiple layers of features from tiny images', 2009.
    """
    kinds = "airplane automobile bird cat deer dog frog horse ship truck".split()
    place = _require(validation, 50_000, seed, device)
    images = read_cifar10(root, download=download)
    return _official("cifar10", kinds, images, validation, seed).to(place)


def mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    validation: int = 5000,
    seed: int = 0,
    pad: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return MNIST: 70,000 handwritten digits of 1×28×28.

    Parameters
    ----------
    root : path-like, optional
        The folder that has the four IDX files, plain or with .gz, in MNIST/raw or directly, or shall get
        them. By default the environment variable MGNET_DATA says which, or else it is this user's cache.
    download : bool, default True
        Whether to download what is not there: 12 MB, from the address in MGNET_DATA_URL where that is set.
    validation, seed, device
        As for :func:`cifar10`, of 60,000 training images.
    pad : int, default 0
        Black pixels to add on every side; 2 makes images of 32×32.

    Returns
    -------
    Data
        With the 10,000 test images.

    Raises
    ------
    TypeError, ValueError, DataError, FileNotFoundError
        As :func:`cifar10` does.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, 'The MNIST database of handwritten digits'.
    """
    place = _require(validation, 60_000, seed, device)
    count("pad", pad, 0)
    images = read_mnist(root, download=download)
    kinds = [str(digit) for digit in range(10)]
    return replace(_official("mnist", kinds, images, validation, seed, pad), form="digits").to(place)


def synthetic(
    *,
    train: int = 12_000,
    validation: int = 1_000,
    test: int = 2_000,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return ten shapes and textures of 3×32×32, drawn in a second and the same on every machine.

    A small convolutional network learns to tell them apart in two epochs; a linear model does not.

    Parameters
    ----------
    train, validation, test : int
        How many images; the size of one part does not change those of another.
    seed : int, default 0
        Another seed draws other images.
    device : str or torch.device, optional
        Where the images lie; by default the CPU.

    Returns
    -------
    Data
        Of the same form as the others.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before any work.
    """
    place = find_device(device)
    sizes = count("train", train), count("validation", validation, 0), count("test", test, 0)
    count("seed", seed, 0)
    parts = [_tensors(*generate(size, seed, part)) for part, size in enumerate(sizes)]
    return _data("synthetic", list(CLASSES), parts, f"procedural, seed {seed}", True).to(place)


LOADERS: dict[str, Callable[..., Data]] = {
    "cifar10": cifar10,
    "mnist": mnist,
    "synthetic": lambda root=None, **options: synthetic(**options),  # whose images are in no folder
}

Loader = TypeVar("Loader", bound=Callable[..., Data])


def register(name: str) -> Callable[[Loader], Loader]:
    """Return a decorator that makes a data set known under a name.

    Parameters
    ----------
    name : str
        A new one.

    Returns
    -------
    callable
        Takes a function of the folder ``root``, which may be None, that returns a :class:`mgnet.data.Data`,
        and gives it back.

    Raises
    ------
    ValueError
        For a name that is taken.
    TypeError
        For a name that is no string.

    Examples
    --------
    >>> @register("few")
    ... def few(root=None):
    ...     return synthetic(train=20, validation=10, test=10)
    >>> load("few")
    Data(few: 20 train, 10 validation, 10 test; 3×32×32, 10 classes; procedural, seed 0)
    """
    new_name(name, LOADERS)

    def decorator(loader: Loader) -> Loader:
        LOADERS[name] = loader
        return loader

    return decorator


def names() -> list[str]:
    """Return the names that :func:`load` takes.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    return sorted(LOADERS)


def load(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> Data:
    """Return a data set by name.

    Parameters
    ----------
    name : {"cifar10", "mnist", "synthetic"} or str
        Which; or one that :func:`register` made known.
    root : path-like, optional
        Where its files are; of no account for a procedural one.
    **options
        Further arguments of :func:`cifar10`, :func:`mnist`, :func:`synthetic` or what was registered.

    Returns
    -------
    Data
        Training, validation and test set, under this name.

    Raises
    ------
    ValueError
        When there is none of this name.
    TypeError
        When what was registered gives something else.
    """
    if name not in LOADERS:
        raise ValueError(f"name: got {name!r}; accepted: {', '.join(names())}")
    found = LOADERS[name](root, **options)
    instance("data", found, Data, f"a Data, as what {name!r} is registered for is to return")
    return replace(found, name=name)


def _require(validation: int, images: int, seed: int, device: str | torch.device | None) -> torch.device:
    if count("validation", validation, 0) >= images:
        raise ValueError(f"validation: got {validation}; accepted: below the {images} training images")
    count("seed", seed, 0)
    return find_device(device)


def _official(
    name: str, classes: list[str], images: Images, validation: int, seed: int, pad: int = 0
) -> Data:
    pixels, labels = images.train
    apart = stratified(labels, validation, seed)
    rest = np.delete(np.arange(len(labels)), apart)
    parts = [_tensors(pixels[rows], labels[rows], pad) for rows in (rest, apart)]
    if not images.verified:
        said = "; ".join(images.doubts) or "not known to be the published files"
        warnings.warn(f"{images.folder}: unverified: {said}", stacklevel=3)
    source = f"{images.folder} ({'verified' if images.verified else 'unverified'})"
    return _data(name, classes, [*parts, _tensors(*images.test, pad)], source, images.verified)


def stratified(labels: np.ndarray, chosen: int, seed: int) -> np.ndarray:
    """Return the rows of a validation set, in increasing order, the same share of every class to one row."""
    rng = np.random.Generator(np.random.PCG64(seed))
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, at random inside
    steps = np.arange(chosen) * len(labels) // max(chosen, 1)  # evenly spaced in it
    return np.sort(order[steps])


def _tensors(images: np.ndarray, labels: np.ndarray, pad: int = 0) -> tuple[Tensor, Tensor]:
    return torch.nn.functional.pad(torch.from_numpy(images), (pad,) * 4), torch.from_numpy(labels)


def _data(name: str, classes: list[str], parts: Sequence[Any], source: str, verified: bool) -> Data:
    normalisation = statistics(parts[0][0])
    train, validation, test = (Split(images, labels, *normalisation) for images, labels in parts)
    return Data(name, classes, train, validation, test, source, verified)
