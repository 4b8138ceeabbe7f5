"""Convolution operators: stiffness, restriction, prolongation; their kernels fixed or learned.

An operator *is* a torch convolution: its kernel is the buffer ``weight`` when fixed and the parameter
``weight`` when learned. Tensors are (N, C, ...). A fixed kernel of one channel is applied as shifted
slices, since the convolution routines of a CPU are 10 to 50 times slower on a single channel; the tests
pin the slices to the convolution itself.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from . import stencils
from .varying import VaryingStiffness

__all__ = ["Prolongation", "Restriction", "Stencil", "Stiffness", "full_precision"]

BOUNDARIES = ("dirichlet", "natural", "periodic", "same")

Ends = str | tuple[str, str]
# How a vector continues past one end: (mode, width), mode one of zero, edge, wrap.
Margin = tuple[str, int]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32: neither TF32, nor bfloat16, nor autocast."""
    torch_backends: Any = torch.backends
    backends = (
        torch_backends.cuda.matmul,
        torch_backends.cudnn.conv,
        torch_backends.mkldnn.matmul,
        torch_backends.mkldnn.conv,
    )
    before = [backend.fp32_precision for backend in backends]
    cast = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with contextlib.ExitStack() as stack:
            for device in cast:
                stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def both_ends(boundary: Ends) -> tuple[str, str]:
    """Return the condition of the left and of the right end, checked."""
    pair = (boundary, boundary) if isinstance(boundary, str) else tuple(boundary)
    if len(pair) != 2 or not set(pair) <= set(BOUNDARIES) or pair.count("periodic") == 1:
        raise ValueError(
            f"boundary: got {boundary!r}; accepted: one of {BOUNDARIES}, or a pair (left, right)"
        )
    return pair


class _Operator(nn.Module):
    """What all operators share: the kernel, how a vector continues past the ends, the dense matrix."""

    weight: Tensor
    dim: int
    boundary: tuple[str, str]
    margins: tuple[Margin, Margin]
    taps: np.ndarray
    in_channels: int
    stride: tuple[int, ...]
    kernel_size: tuple[int, ...]

    def __new__(cls, *args: Any, dim: int = 1, **kwargs: Any) -> Self:
        """Return the class for ``dim`` dimensions, as ``Restriction(dim=2)`` is a ``torch.nn.Conv2d``."""
        if cls in _FAMILIES:
            if dim not in (1, 2, 3):
                raise ValueError(f"dim: got {dim!r}; accepted: 1, 2 or 3")
            cls = _FAMILIES[cls][dim - 1]
        return super().__new__(cls)

    def _convolution(self, kernel: Any, stride: int, boundary: Ends, learned: bool, like: dict) -> None:
        kernel = torch.as_tensor(kernel, dtype=torch.float64)
        if kernel.ndim == self.dim:
            kernel = kernel[None, None]
        if kernel.ndim != self.dim + 2:
            raise ValueError(f"kernel: got {kernel.ndim} axes; accepted: {self.dim}, or 2 more for channels")
        reach = kernel.shape[2] // 2
        if any(size != 2 * reach + 1 for size in kernel.shape[2:]):
            raise ValueError(f"kernel: got sizes {tuple(kernel.shape[2:])}; accepted: one odd size")
        channels = (kernel.shape[0], kernel.shape[1])
        if not isinstance(self, nn.modules.conv._ConvTransposeNd):
            channels = channels[::-1]
        super().__init__(*channels, 2 * reach + 1, stride=stride, bias=False, device="meta")
        del self._parameters["weight"]
        self.boundary = both_ends(boundary)
        low, high = self.boundary
        self.margins = _margin(low, stride, reach, 0), _margin(high, stride, reach, 1)
        weight = kernel.to(**like)
        if learned:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
        # Numbers on the host, in float64: slices need no look-up on the device, and lose no digit.
        self.taps = kernel.detach().cpu().numpy()[0, 0].copy()
        self.sliced = not learned and channels == (1, 1)

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of the kernel, as keywords."""
        return {"dtype": self.weight.dtype, "device": self.weight.device}

    def reset_parameters(self) -> None:
        """Draw no random kernel: the numbers are given."""

    def extra_repr(self) -> str:
        """Add the boundary to torch's own description."""
        return f"{super().extra_repr()}, boundary={self.boundary}"

    def to_dense(self, shape: int | Sequence[int]) -> Tensor:
        """Return the operator as a matrix.

        Parameters
        ----------
        shape : int or sequence of int
            The spatial shape of what it is applied to.

        Returns
        -------
        torch.Tensor, shape (outputs, inputs)
            Channels first, then the spatial axes, the last one fastest.
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = (self.in_channels, *shape)
        unit = torch.eye(int(np.prod(size)), dtype=self.weight.dtype, device=self.weight.device)
        return self(unit.reshape(-1, *size)).flatten(1).T


def _margin(condition: str, stride: int, reach: int, end: int) -> Margin:
    if condition == "periodic":
        return "wrap", reach if stride == 1 or end == 0 else reach - stride + 1
    if condition == "natural" and stride == 1:
        return "edge", reach
    # A strided kernel of interior nodes starts on the first one; all else sees zeros outside.
    return "zero", reach - stride + 1 if condition == "dirichlet" else reach


def _extend(x: Tensor, margins: Sequence[Margin], axis: int) -> Tensor:
    (left, low), (right, high) = margins
    size = x.shape[axis]
    parts = [x]
    if low:
        source = x.narrow(axis, size - low, low) if left == "wrap" else x.narrow(axis, 0, min(low, size))
        parts.insert(0, torch.zeros_like(_widen(source, axis, low)) if left == "zero" else source)
    if high:
        source = (
            x.narrow(axis, 0, high)
            if right == "wrap"
            else x.narrow(axis, max(size - high, 0), min(high, size))
        )
        parts.append(torch.zeros_like(_widen(source, axis, high)) if right == "zero" else source)
    return torch.cat(parts, axis) if len(parts) > 1 else x


def _widen(x: Tensor, axis: int, width: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = width
    return x.new_empty(()).expand(shape)


def _fold(y: Tensor, margins: Sequence[Margin], axis: int) -> Tensor:
    """Apply the transpose of ``_extend``."""
    (left, low), (right, high) = margins
    size = y.shape[axis] - low - high
    x = y.narrow(axis, low, size)
    if left == "wrap" and low:
        x = x.clone()
        x.narrow(axis, size - low, low).add_(y.narrow(axis, 0, low))
    if right == "wrap" and high:
        x = x.clone()
        x.narrow(axis, 0, high).add_(y.narrow(axis, low + size, high))
    for mode, width, inner, outer in ((left, low, 0, 0), (right, high, size - 1, low + size)):
        if mode == "edge" and width:
            x = x.clone()
            x.narrow(axis, inner, 1).add_(y.narrow(axis, outer, width).sum(axis, keepdim=True))
    return x


class Stencil(_Operator):
    """A convolution: a torch ``Conv1d``, ``Conv2d`` or ``Conv3d`` whose kernel is fixed or learned.

    Parameters
    ----------
    kernel : array, shape (size,) * dim or (out, in) + (size,) * dim
        The numbers, an odd size along each axis.
    stride : int, default 1
        Step of the output nodes.
    boundary : str or (str, str), default "dirichlet"
        What lies past the ends of every axis, or (left, right): ``"dirichlet"`` (the nodes are interior,
        the function vanishes outside), ``"natural"`` (the ends are nodes themselves), ``"periodic"``, or
        ``"same"`` (zeros outside, as for images).
    learned : bool, default False
        Whether the kernel is a parameter.
    dim : int, default 1
        Number of spatial axes.
    dtype, device : optional
        Of the kernel; float64 on the CPU by default.

    Raises
    ------
    ValueError
        For a kernel, a boundary or a dimension that is none of these.
    """

    def __init__(
        self,
        kernel: Any,
        stride: int = 1,
        boundary: Ends = "dirichlet",
        *,
        learned: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        self._convolution(kernel, stride, boundary, learned, {"dtype": dtype, "device": device})

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator to ``x`` of shape (N, C, ...)."""
        x = self.extend(x)
        if self.sliced:
            return self._slices(x)
        with full_precision():
            return _CONVOLVE[self.dim - 1](x, self.weight, stride=self.stride)

    def extend(self, x: Tensor) -> Tensor:
        """Continue ``x`` past the ends, as the boundary says."""
        for axis in range(-self.dim, 0):
            x = _extend(x, self.margins, axis)
        return x

    def _shifted(self, x: Tensor) -> Iterator[tuple[float, Tensor]]:
        """Give each number of the kernel and the nodes that it multiplies."""
        step, size = self.stride[0], self.kernel_size[0]
        counts = [(length - size) // step + 1 for length in x.shape[2:]]
        for offset in itertools.product(range(size), repeat=self.dim):
            nodes: list[Any] = [
                slice(o, o + step * max(c, 0), step) for o, c in zip(offset, counts, strict=True)
            ]
            yield float(self.taps[offset]), x[(..., *nodes)]

    def _slices(self, x: Tensor) -> Tensor:
        shifted = self._shifted(x)
        tap, nodes = next(shifted)
        y = tap * nodes
        for tap, nodes in shifted:
            y.add_(nodes, alpha=tap)
        return y

    @property
    def T(self) -> Prolongation:
        """The adjoint: the transposed convolution with the same kernel."""
        return Prolongation.of(self)


class Restriction(Stencil):
    """Restriction of functionals (loads, residuals) to the coarse hats, :eq:`restriction`.

    Parameters
    ----------
    factor : int, default 2
        Fine cells per coarse cell: the stride. ``factor = 2**k`` restricts k levels at once, and the
        kernel is the wide hat.
    boundary, learned, dim, dtype, device
        As for :class:`Stencil`.
    kernel : array, optional
        Other numbers than the hat's, as for :class:`Stencil`.

    Examples
    --------
    >>> Restriction().to_dense(3)
    tensor([[0.5000, 1.0000, 0.5000]], dtype=torch.float64)
    """

    def __init__(
        self,
        factor: int = 2,
        boundary: Ends = "dirichlet",
        *,
        kernel: Any = None,
        learned: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = _hats(factor, self.dim) if kernel is None else kernel
        self._convolution(kernel, factor, boundary, learned, {"dtype": dtype, "device": device})


class Prolongation(_Operator):
    """Interpolation from the coarse hats to the fine nodes, the transpose of :class:`Restriction`.

    Parameters
    ----------
    factor, boundary, kernel, learned, dim, dtype, device
        As for :class:`Restriction`.

    Examples
    --------
    >>> Prolongation().to_dense(1).flatten()
    tensor([0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """

    def __init__(
        self,
        factor: int = 2,
        boundary: Ends = "dirichlet",
        *,
        kernel: Any = None,
        learned: bool = False,
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = _hats(factor, self.dim) if kernel is None else kernel
        self._convolution(kernel, factor, boundary, learned, {"dtype": dtype, "device": device})
        self.adjoint: type[Stencil] = Restriction

    @classmethod
    def of(cls, stencil: Stencil) -> Prolongation:
        """Return the transpose of ``stencil``; the two share one kernel."""
        learned = isinstance(stencil.weight, nn.Parameter)
        kernel = stencil.taps if stencil.sliced else stencil.weight.detach()
        other = cls(
            stencil.stride[0],
            stencil.boundary,
            kernel=kernel,
            learned=learned,
            dim=stencil.dim,
            **stencil.like,
        )
        other.weight = stencil.weight
        other.adjoint = Restriction if isinstance(stencil, Restriction) else Stencil
        return other

    @property
    def T(self) -> Stencil:
        """The adjoint: the convolution with the same kernel."""
        learned = isinstance(self.weight, nn.Parameter)
        kernel = self.taps if self.sliced else self.weight.detach()
        if self.adjoint is Restriction:
            other: Stencil = Restriction(
                self.stride[0], self.boundary, kernel=kernel, learned=learned, dim=self.dim, **self.like
            )
        else:
            other = Stencil(kernel, self.stride[0], self.boundary, learned=learned, dim=self.dim, **self.like)
        other.weight = self.weight
        return other

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Apply the operator to ``x`` of shape (N, C, ...).

        ``output_size`` is the fine spatial shape where the coarse one leaves it open (as for images).
        """
        y = self._slices(x) if self.sliced else self._transposed(x)
        for axis in range(-self.dim, 0):
            if output_size is not None:
                missing = output_size[axis] + self.margins[0][1] + self.margins[1][1] - y.shape[axis]
                y = _extend(y, (("zero", 0), ("zero", missing)), axis)
            y = _fold(y, self.margins, axis)
        return y

    def _transposed(self, x: Tensor) -> Tensor:
        with full_precision():
            return _SPREAD[self.dim - 1](x, self.weight, stride=self.stride)

    def _slices(self, x: Tensor) -> Tensor:
        step, size = self.stride[0], self.kernel_size[0]
        counts = x.shape[2:]
        y = x.new_zeros(
            (*x.shape[:2], *((max(count, 0) - 1) * step + size if count else size - step for count in counts))
        )
        for offset in itertools.product(range(size), repeat=self.dim):
            nodes: list[Any] = [slice(o, o + step * c, step) for o, c in zip(offset, counts, strict=True)]
            y[(..., *nodes)].add_(x, alpha=float(self.taps[offset]))
        return y


def _hats(factor: int, dim: int) -> np.ndarray:
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"factor: got {factor!r}; accepted: an integer of at least 1")
    return stencils.tensor(*[stencils.hat(factor)] * dim)


class Stiffness(Stencil):
    """The stiffness operator −(a u′)′ + c u on a uniform grid, :eq:`stiffness`.

    It is applied in difference form, ``k (u_i - u_{i-1}) + k (u_i - u_{i+1}) + s u_i``: differences of
    neighbours are exact in floating point, so the residual of a fine grid keeps its digits, and a small
    row sum ``s`` is not lost beside a large ``k``.

    Parameters
    ----------
    h : float, default 1.0
        Cell width.
    a, c : float
        Coefficients, 1 and 0 by default.
    boundary : str or (str, str), default "dirichlet"
        As for :class:`Stencil`; a natural end adds ``robin`` to its diagonal.
    robin : (float, float), default (0.0, 0.0)
        Robin's alpha at the two ends.
    dim : int, default 1
        Only 1 so far.
    dtype, device : optional
        Of the kernel; float64 on the CPU by default.

    Examples
    --------
    >>> Stiffness(0.5).to_dense(3)
    tensor([[ 4., -2.,  0.],
            [-2.,  4., -2.],
            [ 0., -2.,  4.]], dtype=torch.float64)
    """

    def __init__(
        self,
        h: float = 1.0,
        a: float = 1.0,
        c: float = 0.0,
        boundary: Ends = "dirichlet",
        *,
        robin: tuple[float, float] = (0.0, 0.0),
        dim: int = 1,
        dtype: torch.dtype = torch.float64,
        device: Any = None,
    ) -> None:
        kernel = stencils.stiffness(h, a, c)
        self._convolution(kernel, 1, boundary, False, {"dtype": dtype, "device": device})
        self.h, self.a, self.c, self.robin = h, a, c, robin
        self.k, self.row_sum = a / h - c * h / 6, c * h

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator to ``x`` of shape (N, 1, nodes)."""
        y = self.extend(x).diff(dim=-1)
        y = torch.sub(y[..., :-1], y[..., 1:]).mul_(self.k)
        if self.row_sum:
            y.add_(x, alpha=self.row_sum)
        for end, node in ((0, 0), (1, -1)):
            extra = self._end(end)
            if extra:
                y[..., node] += extra * x[..., node]
        return y

    def _end(self, end: int) -> float:
        """Return what the end row of a natural end has beyond the interior row continued evenly."""
        return self.robin[end] - self.row_sum / 2 if self.boundary[end] == "natural" else 0.0

    @property
    def ends(self) -> tuple[str, str]:
        """The condition at the left and at the right end."""
        return self.boundary

    @property
    def end_conductances(self) -> tuple[float, float]:
        """The conductance of the first and of the last cell."""
        return self.k, self.k

    @property
    def singular(self) -> bool:
        """Whether constants are mapped to zero."""
        return "dirichlet" not in self.boundary and not self.row_sum and not any(self.robin)

    def diagonal(self, shape: int) -> Tensor:
        """Return the diagonal of the matrix for ``shape`` nodes."""
        d = torch.full((shape,), float(self.taps[1]), dtype=self.weight.dtype, device=self.weight.device)
        for end, node in ((0, 0), (1, -1)):
            if self.boundary[end] == "natural":
                d[node] += self.robin[end] - self.taps[1] / 2
        if shape == 1 and self.boundary[0] == "periodic":
            d += float(self.taps[0] + self.taps[2])
        return d

    @property
    def T(self) -> Stiffness:  # type: ignore[override]
        """The adjoint: the operator itself, which is symmetric."""
        return self

    def coarse(self) -> Stiffness:
        """Return the stiffness operator of cells twice as wide; it equals R A P, :eq:`galerkin`."""
        return Stiffness(2 * self.h, self.a, self.c, self.boundary, robin=self.robin, **self.like)

    def varying(self, cells: int) -> VaryingStiffness:
        """Return the same operator with its numbers spelled out, one cell after the other."""
        k = torch.full((cells,), self.k, **self.like)
        s = torch.full((cells + 1,), self.row_sum, **self.like) if self.row_sum else None
        if s is not None:
            s[0] /= 2
            s[-1] /= 2
        return VaryingStiffness(k, s, self.boundary, self.robin)


_CONVOLVE = (torch.conv1d, torch.conv2d, torch.conv3d)
_SPREAD = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


def _families() -> dict[type, tuple[type, ...]]:
    """Make the torch class of every operator in every dimension, as ``Restriction2d``."""
    families: dict[type, tuple[type, ...]] = {}
    for family in (Stencil, Restriction, Prolongation, Stiffness):
        transposed = family is Prolongation
        members = []
        for dim in (1,) if family is Stiffness else (1, 2, 3):
            base = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dim}d")
            name = f"{family.__name__}{dim}d"
            members.append(type(name, (family, base), {"dim": dim, "__module__": __name__}))
            globals()[name] = members[-1]
        families[family] = tuple(members)
    return families


_FAMILIES: dict[type, tuple[type, ...]] = {}
_FAMILIES.update(_families())
