"""Data sets that lie in memory as a whole: CIFAR-10, MNIST and a procedural one.

A training, a validation and a test set as bytes on the device, and random batches of them.

>>> data = synthetic(train=200, validation=50, test=100)
>>> data
Data(synthetic: 200 train, 50 validation, 100 test; 3×32×32, 10 classes; procedural, seed 0)
>>> batches = Batches(data.train, 64, augmentation=Augmentation(crop=4, flip="random"))
>>> [tuple(x.shape) for x, y in batches]
[(64, 3, 32, 32), (64, 3, 32, 32), (64, 3, 32, 32), (8, 3, 32, 32)]
"""

from .archives import DataError
from .augmentation import Augmentation
from .batches import Batches
from .sets import cifar10, load, mnist, names, register, synthetic
from .splits import Data, Split, statistics

__all__ = [
    "Augmentation",
    "Batches",
    "Data",
    "DataError",
    "Split",
    "cifar10",
    "load",
    "mnist",
    "names",
    "register",
    "statistics",
    "synthetic",
]
