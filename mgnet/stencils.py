"""The kernels as numbers: what the hat functions dictate, in float64.

Everything here is a NumPy array of ``float64``. Nothing here knows tensors, boundaries or levels.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

__all__ = ["galerkin", "hat", "mass", "stiffness", "tensor"]


def hat(factor: int = 2) -> np.ndarray:
    """Return a coarse hat function's values at the fine nodes, ``factor`` fine cells per coarse cell.

    Parameters
    ----------
    factor : int, default 2
        Fine cells per coarse cell, at least 1.

    Returns
    -------
    numpy.ndarray
        The ``2 * factor - 1`` positive values. For 2 they are the weights of :eq:`restriction`.

    Examples
    --------
    >>> hat()
    array([0.5, 1. , 0.5])
    >>> hat(4)
    array([0.25, 0.5 , 0.75, 1.  , 0.75, 0.5 , 0.25])
    """
    return 1 - np.abs(np.arange(1 - factor, factor)) / factor


def tensor(*kernels: np.ndarray) -> np.ndarray:
    """Return the tensor product of one-dimensional kernels.

    Parameters
    ----------
    *kernels : numpy.ndarray
        One kernel for each axis, first axis first.

    Returns
    -------
    numpy.ndarray
        One axis for each kernel.

    Examples
    --------
    >>> tensor(hat(), hat())
    array([[0.25, 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 0.25]])
    """
    return reduce(np.multiply.outer, kernels)


def stiffness(h: float = 1.0, a: float = 1.0, c: float = 0.0) -> np.ndarray:
    """Return the interior row of −(a u′)′ + c u between hats of width ``h``, :eq:`stiffness`.

    Parameters
    ----------
    h : float, default 1.0
        Cell width.
    a, c : float
        The coefficients, constant.

    Returns
    -------
    numpy.ndarray
        Three numbers, left to right.

    Examples
    --------
    >>> stiffness(0.25)
    array([-4.,  8., -4.])
    """
    return a / h * np.array([-1.0, 2.0, -1.0]) + c * mass(h)


def mass(h: float = 1.0) -> np.ndarray:
    """Return the interior row of the mass matrix of hats of width ``h``, :eq:`mass`.

    Parameters
    ----------
    h : float, default 1.0
        Cell width.

    Returns
    -------
    numpy.ndarray
        Three numbers, left to right.
    """
    return h / 6 * np.array([1.0, 4.0, 1.0])


def galerkin(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of ``R A P`` for the stencil ``A`` and the hats' ``R`` and ``P``, :eq:`galerkin`.

    Parameters
    ----------
    kernel : numpy.ndarray, shape (3,)
        The fine stencil.

    Returns
    -------
    numpy.ndarray, shape (3,)
        The coarse stencil.

    Examples
    --------
    >>> galerkin(stiffness(0.25))
    array([-2.,  4., -2.])
    """
    return np.convolve(np.convolve(hat(), kernel), hat())[1::2]


def gauss(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of Gauss's rule on the unit interval."""
    x, w = np.polynomial.legendre.leggauss(points)
    return (1 + x) / 2, w / math.fsum(w)
