"""The kernels as numbers: what the hat functions dictate, in float64.

Everything here is a NumPy array of ``float64``. Nothing here knows tensors, boundaries or levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

__all__ = ["element", "galerkin", "hat", "mass", "stiffness", "tensor"]


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
    return 1 - np.abs(np.arange(1 - factor, factor)) / factor  # eq: two-scale, wide-hat


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


def stiffness(
    h: float | Sequence[float] = 1.0, a: float = 1.0, c: float = 0.0, lumped: bool = False
) -> np.ndarray:
    """Return the interior row of −∇·(a ∇u) + c u between hats, :eq:`stiffness`, :eq:`tensor-stiffness`.

    Parameters
    ----------
    h : float or sequence of float, default 1.0
        Cell width, or one for each axis.
    a, c : float
        The coefficients, constant.
    lumped : bool, default False
        Whether the mass matrix that c stands before is lumped, :eq:`mass-lumped`.

    Returns
    -------
    numpy.ndarray, shape (3,) * axes
        Left to right along each axis.

    Examples
    --------
    >>> stiffness(0.25)
    array([-4.,  8., -4.])
    >>> 3 * stiffness((0.1, 0.1))
    array([[-1., -1., -1.],
           [-1.,  8., -1.],
           [-1., -1., -1.]])
    """
    widths = [float(h)] if isinstance(h, int | float) else list(h)
    masses = [mass(width) for width in widths]
    rows = [np.array([-1.0, 2.0, -1.0]) / width for width in widths]  # eq: stiffness
    parts = [tensor(*masses[:i], row, *masses[i + 1 :]) for i, row in enumerate(rows)]
    reacting = tensor(*(mass(width, lumped) for width in widths))
    return a * sum(parts[1:], parts[0]) + c * reacting  # eq: tensor-stiffness, nine-point


def mass(h: float = 1.0, lumped: bool = False) -> np.ndarray:
    """Return the interior row of the mass matrix of hats of width ``h``, :eq:`mass`, :eq:`mass-lumped`.

    Parameters
    ----------
    h : float, default 1.0
        Cell width.
    lumped : bool, default False
        Whether the row's sum stands on the diagonal.

    Returns
    -------
    numpy.ndarray
        Three numbers, left to right.
    """
    return h * np.array([0.0, 1.0, 0.0]) if lumped else h / 6 * np.array([1.0, 4.0, 1.0])  # eq: mass


def element(h: Sequence[float], a: float = 1.0, c: float = 0.0, lumped: bool = False) -> np.ndarray:
    """Return the matrix of −∇·(a ∇u) + c u between the corners of one cell, :eq:`cell-energy`.

    Parameters
    ----------
    h : sequence of float
        Width of the cell along each axis.
    a, c : float
        The coefficients, constant.
    lumped : bool, default False
        As for :func:`stiffness`.

    Returns
    -------
    numpy.ndarray, shape (2**axes, 2**axes)
        The corners in the order of the axes, the last one fastest.

    Examples
    --------
    >>> element((0.5,))
    array([[ 2., -2.],
           [-2.,  2.]])
    """
    stiff: list[Any] = [np.array([[1.0, -1.0], [-1.0, 1.0]]) / width for width in h]
    masses: list[Any] = [np.array([[2.0, 1.0], [1.0, 2.0]]) * width / 6 for width in h]
    parts = [reduce(np.kron, [*masses[:i], K, *masses[i + 1 :]]) for i, K in enumerate(stiff)]
    reacting = math.prod(h) / 2 ** len(h) * np.eye(2 ** len(h)) if lumped else reduce(np.kron, masses)
    return a * sum(parts[1:], parts[0]) + c * reacting


def elements(axes: int) -> list[np.ndarray]:
    """Return the matrices of a cell of width 1 with a = 1 along one axis and zero along the others.

    Parameters
    ----------
    axes : int
        Number of axes.

    Returns
    -------
    list of numpy.ndarray, shape (2**axes, 2**axes)
        One for each axis, :eq:`weighted-cells`; the corners as for :func:`element`.

    Examples
    --------
    >>> elements(1)
    [array([[ 1., -1.],
           [-1.,  1.]])]
    """
    stiff, mass = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([[2.0, 1.0], [1.0, 2.0]]) / 6
    return [reduce(np.kron, [stiff if i == axis else mass for i in range(axes)]) for axis in range(axes)]


def galerkin(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of ``R A P`` for the stencil ``A`` and the hats' ``R`` and ``P``, :eq:`galerkin`.

    Parameters
    ----------
    kernel : numpy.ndarray, shape (3,) * axes
        The fine stencil.

    Returns
    -------
    numpy.ndarray, shape (3,) * axes
        The coarse stencil.

    Examples
    --------
    >>> galerkin(stiffness(0.25))
    array([-2.,  4., -2.])
    """
    tent = np.convolve(hat(), hat())
    for axis in range(kernel.ndim):
        # eq: galerkin
        kernel = np.apply_along_axis(lambda row: np.convolve(tent, row)[1::2], axis, kernel)
    return kernel


def gauss(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of Gauss's rule on the unit interval."""
    x, w = np.polynomial.legendre.leggauss(points)
    return (1 + x) / 2, w / math.fsum(w)
