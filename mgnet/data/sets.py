"""The sets by name: published ones, a procedural one, a folder of pictures, and those of your own."""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..core.checks import choice, count, find_device, instance, new_name
from .drawn import CLASSES, generate
from .folders import folder
from .official import Images, read_cifar10, read_cifar100, read_fashion_mnist, read_mnist
from .published import COARSE, FINE, GARMENTS, THINGS
from .shares import share, stratified
from .splits import Data, Split, statistics

__all__ = [
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "folder",
    "load",
    "mnist",
    "names",
    "register",
    "synthetic",
]


def cifar10(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    validation: float = 5000,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return CIFAR-10: 60,000 photographs of 3×32×32, of ten kinds of animals and vehicles.

    Parameters
    ----------
    root : path-like, optional
        The folder cifar-10-batches-bin, or cifar-10-batches-py as torchvision leaves it, or one that has one
        of them or shall get the first; the package cifar-10-binary.tar.gz or cifar-10-python.tar.gz in it
        will do too. By default the environment variable MGNET_DATA says which, or else it is this user's
        cache. The Python form is pickles, which may call anything where Python reads them; here they are read
        by a reader that knows arrays, numbers, strings and lists, and nothing else.
    download : bool, default True
        Whether to download what is not there: 170 MB, from the address in MGNET_DATA_URL where that is set.
    validation : int or float, default 5000
        How many of the 50,000 training images to set apart, or which share of them, as 0.1; the same of every
        class.
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
    place, apart = _require(validation, 50_000, seed, device)
    images = read_cifar10(root, download=download)
    return _official("cifar10", THINGS, images, apart, seed).to(place)


def cifar100(
    root: str | os.PathLike[str] | None = None,
    *,
    labels: str = "fine",
    download: bool = True,
    validation: float = 5000,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return CIFAR-100: 60,000 photographs of 3×32×32, of a hundred kinds of things or of twenty.

    Parameters
    ----------
    root : path-like, optional
        The folder cifar-100-binary, or cifar-100-python as torchvision leaves it, or one that has one of them
        or shall get the first, or a package of them; as for :func:`cifar10`.
    labels : {"fine", "coarse"}, default "fine"
        A hundred classes, or the twenty that each have five of them. The coarse set is called
        "cifar100-coarse".
    download, validation, seed, device
        As for :func:`cifar10`; the package has 169 MB.

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
    A. Krizhevsky, 'Learning multiple layers of features from tiny images', 2009.
    """
    choice("labels", labels, ("fine", "coarse"))
    place, apart = _require(validation, 50_000, seed, device)
    images = read_cifar100(root, labels=labels, download=download)
    name, classes = ("cifar100", FINE) if labels == "fine" else ("cifar100-coarse", COARSE)
    return _official(name, classes, images, apart, seed).to(place)


def mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    validation: float = 5000,
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
    place, apart = _require(validation, 60_000, seed, device)
    count("pad", pad, 0)
    images = read_mnist(root, download=download)
    kinds = [str(digit) for digit in range(10)]
    return replace(_official("mnist", kinds, images, apart, seed, pad), form="digits").to(place)


def fashion_mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    validation: float = 5000,
    seed: int = 0,
    pad: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return Fashion-MNIST: 70,000 pictures of clothes of 1×28×28, in the form of MNIST.

    Its files have the names and sizes of MNIST's, and are told from them by their hashes: neither set is ever
    given out under the name of the other.

    Parameters
    ----------
    root : path-like, optional
        The folder that has the four IDX files, plain or with .gz, in FashionMNIST/raw or directly, or shall
        get them; as for :func:`mnist`.
    download, validation, seed, pad, device
        As for :func:`mnist`; the packages have 31 MB.

    Returns
    -------
    Data
        With the 10,000 test images.

    Raises
    ------
    TypeError, ValueError, DataError, FileNotFoundError
        As :func:`cifar10` does; a DataError also for the files of MNIST.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, 'Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms', arXiv 1708.07747.
    """
    place, apart = _require(validation, 60_000, seed, device)
    count("pad", pad, 0)
    images = read_fashion_mnist(root, download=download)
    return _official("fashion-mnist", GARMENTS, images, apart, seed, pad).to(place)


def synthetic(
    *,
    train: int = 12_000,
    validation: float = 1_000,
    test: int = 2_000,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Data:
    """Return ten shapes and textures of 3×32×32, drawn in a second and the same on every machine.

    A small convolutional network learns to tell them apart in two epochs; a linear model does not.

    Parameters
    ----------
    train, validation, test : int
        How many images; the size of one part does not change those of another. A float as ``validation``
        stands for a share of ``train``.
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
    sizes = count("train", train), _held_out(validation, train), count("test", test, 0)
    count("seed", seed, 0)
    parts = [_tensors(*generate(size, seed, part)) for part, size in enumerate(sizes)]
    return _data("synthetic", list(CLASSES), parts, f"procedural, seed {seed}", True).to(place)


LOADERS: dict[str, Callable[..., Data]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar100-coarse": partial(cifar100, labels="coarse"),
    "fashion-mnist": fashion_mnist,
    "folder": folder,
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
    name : str
        One of :func:`names`: "cifar10", "cifar100", "cifar100-coarse", "fashion-mnist", "folder", "mnist",
        "synthetic", or what :func:`register` made known.
    root : path-like, optional
        Where its files are; of no account for a procedural one.
    **options
        Further arguments of the function of this name: :func:`cifar10`, :func:`folder` and so on.

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


def _require(
    validation: Any, images: int, seed: int, device: str | torch.device | None
) -> tuple[torch.device, int]:
    """Return the device and how many images are set apart."""
    apart = share("validation", validation, images)
    count("seed", seed, 0)
    return find_device(device), apart


def _held_out(validation: Any, train: int) -> int:
    """Return how many images are drawn for validation: they are no part of the training set."""
    drawn = isinstance(validation, numbers.Integral)
    return count("validation", validation, 0) if drawn else share("validation", validation, train)


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


def _tensors(images: np.ndarray, labels: np.ndarray, pad: int = 0) -> tuple[Tensor, Tensor]:
    return torch.nn.functional.pad(torch.from_numpy(images), (pad,) * 4), torch.from_numpy(labels)


def _data(name: str, classes: list[str], parts: Sequence[Any], source: str, verified: bool) -> Data:
    normalisation = statistics(parts[0][0])
    train, validation, test = (Split(images, labels, *normalisation) for images, labels in parts)
    return Data(name, classes, train, validation, test, source, verified)
