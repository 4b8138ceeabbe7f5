"""What maps, and its transpose: convolutions, fixed and learned; knows tensors, stride and padding."""

from .convolutions import Prolongation, Restriction, Stencil, convolution

__all__ = ["Prolongation", "Restriction", "Stencil", "convolution"]
