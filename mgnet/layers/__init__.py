"""Layers written from scratch, and rewritten ones: folded batch normalisation, a sliding classifier."""

from .rewriting import fold_batchnorm, foldable, linear_to_conv
from .scratch import Averaging, BatchNorm, Dropout

__all__ = ["Averaging", "BatchNorm", "Dropout", "fold_batchnorm", "foldable", "linear_to_conv"]
