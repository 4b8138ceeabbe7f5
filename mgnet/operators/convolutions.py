"""Convolution operators: stencils, restriction, prolongation; their kernels fixed or learned.

An operator *is* a torch convolution: its kernel is the buffer ``weight`` when fixed and the parameter
``weight`` when learned. Tensors are (N, C, ...). On a CPU a fixed kernel of one channel is applied as
shifted slices, since the convolution routines there are 10 to 50 times slower on a single channel; the
tests pin the slices to the convolution itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import count
from .kernels import KernelOperator, hats
from .margins import Boundary, extend, fold

__all__ = ["Prolongation", "Restriction", "Stencil", "convolution"]

CONVOLVE = (torch.conv1d, torch.conv2d, torch.conv3d)
SPREAD = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


class Stencil(KernelOperator):
    """A convolution, :eq:`convolution`: a torch ``Conv1d``, ``Conv2d`` or ``Conv3d``, fixed or learned.

    Parameters
    ----------
    kernel : array, shape (size,) * dim or (out, in / groups) + (size,) * dim
        The numbers, an odd size along each axis; those without channels are every group's.
    stride : int, default 1
        Step of the output nodes.
    boundary : str, (str, str), or one (str, str) for each axis, default "dirichlet"
        What lies past the ends of every axis, past (low, high) ones, or of each axis: ``"dirichlet"`` (the
        nodes are interior, the function vanishes outside), ``"natural"`` (the ends are nodes themselves),
        ``"periodic"``, ``"same"`` (zeros outside, as for images) or ``"valid"`` (only where the kernel fits
        inside).
    learned : bool, default False
        Whether the kernel is a parameter.
    groups : int, default 1
        Parts of equal size into which the channels fall, each with kernels of its own: as many as channels
        for an operator that acts on each channel alone.
    bias : bool, default False
        Whether a learned number per output channel is added, zero at first.
    dim : int, default 1
        Number of spatial axes.
    dtype, device : optional
        Of the kernel; float64 on the CPU by default.

    Raises
    ------
    ValueError
        For a kernel, a boundary, groups or a dimension that are none of these.
    """

    def __init__(
        self,
        kernel: Any,
        stride: int = 1,
        boundary: Boundary = "dirichlet",
        *,
        learned: bool = False,
        groups: int = 1,
        bias: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        self._convolution(kernel, stride, boundary, learned, {"dtype": dtype, "device": device}, groups, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape (N, in channels, ...)
            Values at the nodes.

        Returns
        -------
        torch.Tensor, shape (N, out channels, ...)
            Values at the output nodes.
        """
        x = self._matched(x)
        if self.sliced and self.bias is None:
            return self._slices(self.extend(x))
        x, zeros = (self.extend(x), 0) if self.zeros is None else (x, self.zeros)
        with self._precision():
            # eq: convolution
            return CONVOLVE[self.dim - 1](x, self.weight, self.bias, self.stride, zeros, 1, self.groups)

    def extend(self, x: Tensor) -> Tensor:
        """Continue a vector past the ends, as the boundary says.

        Parameters
        ----------
        x : torch.Tensor, shape (N, C, ...)
            Values at the nodes.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            Longer by the margins that the kernel reaches into.
        """
        for axis in range(-self.dim, 0):
            if self.pairs[axis][0] == "periodic" and x.shape[axis] % self.stride[0]:
                size, step = x.shape[axis], self.stride[0]
                raise ValueError(f"x: got a period of {size} nodes; accepted: a multiple of {step}")
            x = extend(x, self.margins[axis], axis)
        return x

    def _shifted(self, x: Tensor) -> Iterator[tuple[float, Tensor]]:
        """Give each number of the kernel and the nodes that it multiplies."""
        step, size = self.stride[0], self.kernel_size[0]
        counts = [(length - size) // step + 1 for length in x.shape[2:]]  # eq: output-size
        offsets = itertools.product(range(size), repeat=self.dim)
        for tap, offset in zip(self._taps(x), offsets, strict=True):
            nodes: list[Any] = [
                slice(o, o + step * max(c, 0), step) for o, c in zip(offset, counts, strict=True)
            ]
            yield tap, x[(..., *nodes)]

    def _slices(self, x: Tensor) -> Tensor:
        shifted = self._shifted(x)
        tap, nodes = next(shifted)
        y = nodes * tap
        for tap, nodes in shifted:
            y.add_(nodes, alpha=tap)
        return y

    @property
    def T(self) -> Prolongation:
        """The adjoint of the linear part: the transposed convolution with the same kernel."""
        return Prolongation.of(self)


def convolution(
    channels: tuple[int, int],
    size: int,
    stride: int = 1,
    boundary: Boundary = "same",
    *,
    bias: bool = False,
    dim: int = 2,
    dtype: torch.dtype = torch.float32,
    device: Any = None,
) -> Stencil:
    """Return a learned stencil with a random kernel, the convolution of a network.

    Parameters
    ----------
    channels : (int, int)
        Of the input and of the output.
    size : int
        Of the kernel, along each axis.
    stride, boundary, bias, dim, dtype, device
        As for :class:`mgnet.Stencil`; in the plane, with zeros outside, in float32 by default.

    Returns
    -------
    Stencil
        Its numbers are uniform in ±1/√(channels · size^dim), as torch's own are, :eq:`uniform-start`.
    """
    for name, value in (("channels", channels[0]), ("channels", channels[1]), ("size", size)):
        count(name, value)
    reach = (channels[0] * size**dim) ** -0.5  # eq: uniform-start
    kernel = torch.empty(channels[1], channels[0], *[size] * dim, dtype=dtype).uniform_(-reach, reach)
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    made = Stencil(kernel, stride, boundary, learned=True, bias=bias, dim=dim, **like)
    if made.bias is not None:
        nn.init.uniform_(made.bias, -reach, reach)
    return made


class Restriction(Stencil):
    """Restriction of functionals (loads, residuals) to the coarse hats, :eq:`restriction`.

    Parameters
    ----------
    factor : int, default 2
        Fine cells per coarse cell: the stride. ``factor = 2**k`` restricts k levels at once, and the
        kernel is the wide hat.
    boundary, learned, groups, dim, dtype, device
        As for :class:`mgnet.Stencil`.
    kernel : array, optional
        Other numbers than the hat's, as for :class:`mgnet.Stencil`.

    Examples
    --------
    >>> Restriction().to_dense(3)
    tensor([[0.5000, 1.0000, 0.5000]], dtype=torch.float64)
    """

    def __init__(
        self,
        factor: int = 2,
        boundary: Boundary = "dirichlet",
        *,
        kernel: Any = None,
        learned: bool = False,
        groups: int = 1,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = hats(factor, self.dim) if kernel is None else kernel  # eq: restriction
        self._convolution(kernel, factor, boundary, learned, {"dtype": dtype, "device": device}, groups)


class Prolongation(KernelOperator):
    """Interpolation from the coarse hats to the fine nodes, the transpose of :class:`Restriction`.

    Parameters
    ----------
    factor, boundary, kernel, learned, groups, dim, dtype, device
        As for :class:`Restriction`.

    Examples
    --------
    >>> Prolongation().to_dense(1).flatten()
    tensor([0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """

    def __init__(
        self,
        factor: int = 2,
        boundary: Boundary = "dirichlet",
        *,
        kernel: Any = None,
        learned: bool = False,
        groups: int = 1,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = hats(factor, self.dim) if kernel is None else kernel  # eq: prolongation
        self._convolution(kernel, factor, boundary, learned, {"dtype": dtype, "device": device}, groups)
        self.adjoint: type[Stencil] = Restriction

    @classmethod
    def of(cls, stencil: Stencil) -> Prolongation:
        """Return the transpose of a convolution; the two share one kernel.

        Parameters
        ----------
        stencil : Stencil
            The convolution, a :class:`Restriction` for example.

        Returns
        -------
        Prolongation
            Its transpose.
        """
        kernel = stencil.weight.detach()
        other = cls(stencil.stride[0], stencil.boundary, kernel=kernel, **stencil._settings)
        other.weight = stencil.weight
        other.adjoint = Restriction if isinstance(stencil, Restriction) else Stencil
        return other

    @property
    def T(self) -> Stencil:
        """The adjoint: the convolution with the same kernel."""
        kernel = self.weight.detach()
        if self.adjoint is Restriction:
            other: Stencil = Restriction(self.stride[0], self.boundary, kernel=kernel, **self._settings)
        else:
            other = Stencil(kernel, self.stride[0], self.boundary, **self._settings)
        other.weight = self.weight
        return other

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape (N, in channels, ...)
            Values at the coarse nodes.
        output_size : sequence of int, optional
            The fine spatial shape, where the coarse one leaves it open (as for images).

        Returns
        -------
        torch.Tensor, shape (N, out channels, ...)
            Values at the fine nodes.
        """
        x = self._matched(x)
        y = self._slices(x) if self.sliced else self._transposed(x)
        for axis in range(-self.dim, 0):
            if output_size is not None:
                missing = output_size[axis] + sum(width for _, width in self.margins[axis]) - y.shape[axis]
                y = extend(y, (("zero", 0), ("zero", missing)), axis)
            y = fold(y, self.margins[axis], axis)
        return y

    def _transposed(self, x: Tensor) -> Tensor:
        with self._precision():
            # eq: transposed-convolution
            return SPREAD[self.dim - 1](x, self.weight, stride=self.stride, groups=self.groups)

    def _slices(self, x: Tensor) -> Tensor:
        step, size = self.stride[0], self.kernel_size[0]
        counts = x.shape[2:]
        # eq: transposed-size
        spread = ((max(count, 0) - 1) * step + size if count else size - step for count in counts)
        y = x.new_zeros((*x.shape[:2], *spread))
        offsets = itertools.product(range(size), repeat=self.dim)
        for tap, offset in zip(self._taps(x), offsets, strict=True):
            nodes: list[Any] = [slice(o, o + step * c, step) for o, c in zip(offset, counts, strict=True)]
            y[(..., *nodes)].add_(x, alpha=tap)
        return y


def every_second(x: Tensor, axis: int, first: int, count: int) -> Tensor:
    """Give ``count`` entries of an axis, from ``first`` on; the axis counts from the end."""
    if not count:
        return x.narrow(axis, 0, 0)
    nodes: list[Any] = [slice(first, first + 2 * count - 1, 2), *[slice(None)] * (-1 - axis)]
    return x[(..., *nodes)]


class Stencil1d(Stencil, nn.Conv1d):
    """A stencil on a line."""

    dim = 1


class Stencil2d(Stencil, nn.Conv2d):
    """A stencil in the plane."""

    dim = 2


class Stencil3d(Stencil, nn.Conv3d):
    """A stencil in space."""

    dim = 3


class Restriction1d(Restriction, nn.Conv1d):
    """Restriction on a line."""

    dim = 1


class Restriction2d(Restriction, nn.Conv2d):
    """Restriction in the plane."""

    dim = 2


class Restriction3d(Restriction, nn.Conv3d):
    """Restriction in space."""

    dim = 3


class Prolongation1d(Prolongation, nn.ConvTranspose1d):
    """Prolongation on a line."""

    dim = 1


class Prolongation2d(Prolongation, nn.ConvTranspose2d):
    """Prolongation in the plane."""

    dim = 2


class Prolongation3d(Prolongation, nn.ConvTranspose3d):
    """Prolongation in space."""

    dim = 3


Stencil.members = (Stencil1d, Stencil2d, Stencil3d)
Restriction.members = (Restriction1d, Restriction2d, Restriction3d)
Prolongation.members = (Prolongation1d, Prolongation2d, Prolongation3d)
