"""Data sets that lie in memory as a whole: published ones, a folder of pictures, and a procedural one.

A training, a validation and a test set as bytes on the device, and random batches of them. The names are
loaded when they are first used, so that files are read and downloaded without torch.

>>> from mgnet.data import Augmentation, Batches, synthetic
>>> data = synthetic(train=200, validation=50, test=100)
>>> data
Data(synthetic: 200 train, 50 validation, 100 test; 3×32×32, 10 classes; procedural, seed 0)
>>> batches = Batches(data.train, 64, augmentation=Augmentation(crop=4, flip="random"))
>>> [tuple(x.shape) for x, y in batches]
[(64, 3, 32, 32), (64, 3, 32, 32), (64, 3, 32, 32), (8, 3, 32, 32)]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .archives import DataError
    from .augmentation import Augmentation
    from .batches import Batches
    from .folders import folder
    from .sets import cifar10, cifar100, fashion_mnist, load, mnist, names, register, synthetic
    from .splits import Data, Split, statistics

_HOMES = {
    "Augmentation": "augmentation",
    "Batches": "batches",
    "Data": "splits",
    "DataError": "archives",
    "Split": "splits",
    "cifar10": "sets",
    "cifar100": "sets",
    "fashion_mnist": "sets",
    "folder": "folders",
    "load": "sets",
    "mnist": "sets",
    "names": "sets",
    "register": "sets",
    "statistics": "splits",
    "synthetic": "sets",
}

__all__ = ["Augmentation", "Batches", "Data", "DataError", "Split", "cifar10", "cifar100", "fashion_mnist"]
__all__ += ["folder", "load", "mnist", "names", "register", "statistics", "synthetic"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
