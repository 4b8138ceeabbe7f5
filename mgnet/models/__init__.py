"""Networks for images: made by name, from the operators of the package.

Importing it registers the families; :func:`register` adds one of your own.
"""

from __future__ import annotations

from .alexnet import AlexNet, SmallAlexNet
from .counting import Count, Row, count, summary
from .googlenet import GoogLeNet
from .lenet import LeNet5, MaxConvNet, Net
from .linear import MLP, Logistic
from .mgnets import MgNet, mgnet
from .published import import_weights
from .registry import create, defaults, names, register
from .resnet import ResNet
from .restoring import restore
from .vgg import VGG

__all__ = ["MLP", "VGG", "AlexNet", "Count", "GoogLeNet", "LeNet5", "Logistic", "MaxConvNet", "MgNet", "Net"]
__all__ += ["ResNet", "Row", "SmallAlexNet", "count", "create", "defaults", "import_weights", "mgnet"]
__all__ += ["names", "register", "restore", "summary"]
