"""What convolution operators share: a kernel, fixed or learned, and how a vector continues past the ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from .. import stencils
from ..core.arrays import data, require_finite, sent
from ..core.checks import count
from ..core.precision import full_precision
from .margins import Boundary, Margin, all_ends, margin

__all__ = ["KernelOperator", "dense", "hats"]


class KernelOperator(nn.Module):
    """What all operators share: the kernel, how a vector continues past the ends, the dense matrix."""

    weight: Tensor
    dim: int
    boundary: Boundary
    pairs: tuple[tuple[str, str], ...]
    margins: tuple[tuple[Margin, Margin], ...]
    zeros: int | None  # at all ends
    in_channels: int
    stride: tuple[int, ...]
    kernel_size: tuple[int, ...]
    groups: int
    bias: Tensor | None

    # The classes for one, two and three dimensions; they have a ``dim``, families have not.
    members: tuple[type[KernelOperator], ...]

    def __new__(cls, *args: Any, dim: int = 1, **kwargs: Any) -> Self:
        """Return the class for ``dim`` dimensions, as ``Restriction(dim=2)`` is a ``torch.nn.Conv2d``."""
        if hasattr(cls, "dim"):
            return super().__new__(cls)
        if dim not in range(1, len(cls.members) + 1):
            raise ValueError(f"dim: got {dim!r}; accepted: 1, 2 or 3")
        return super().__new__(cls.members[dim - 1])  # type: ignore[return-value]

    def _convolution(
        self,
        kernel: Any,
        stride: int,
        boundary: Boundary,
        learned: bool,
        like: dict,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        count("stride" if type(self).__name__.startswith("Stencil") else "factor", stride)
        count("groups", groups)
        if not (isinstance(kernel, Tensor) and kernel.is_meta):  # where only sizes count
            kernel = data("kernel", kernel)
        kernel = (
            kernel.double() if isinstance(kernel, Tensor) else torch.tensor(kernel, device="cpu").double()
        )
        if kernel.device.type == "cpu":  # elsewhere a look would be waited for
            require_finite("kernel", kernel.detach(), kernel.ndim)
        if kernel.ndim == self.dim:
            kernel = kernel.repeat(groups, 1, *[1] * self.dim)
        if kernel.ndim != self.dim + 2:
            raise ValueError(f"kernel: got {kernel.ndim} axes; accepted: {self.dim}, or 2 more for channels")
        pairs = all_ends(boundary, self.dim)
        size, reach = kernel.shape[2], kernel.shape[2] // 2
        even = size % 2 == 0 and set(pairs) != {("valid", "valid")}
        if even or any(other != size for other in kernel.shape[2:]):
            raise ValueError(
                f"kernel: got sizes {tuple(kernel.shape[2:])}; accepted: one odd size,"
                " or any one size with boundary='valid'"
            )
        if len(kernel) % groups:
            raise ValueError(f"groups: got {groups}; accepted: a divisor of {len(kernel)}, as the kernel has")
        channels = (kernel.shape[0], kernel.shape[1] * groups)
        if not isinstance(self, nn.modules.conv._ConvTransposeNd):
            channels = channels[::-1]
        super().__init__(*channels, size, stride=stride, groups=groups, bias=False, device="meta")
        del self._parameters["weight"]
        margins = tuple(
            (margin(low, stride, reach, 0), margin(high, stride, reach, 1)) for low, high in pairs
        )
        # As many zeros at all ends need no longer copy of the input: torch's convolutions add them.
        widths = {(mode, width) for pair in margins for mode, width in pair}
        mode, width = widths.pop() if len(widths) == 1 else ("none", 0)
        weight = sent(kernel, torch.device(like["device"] or kernel.device), like["dtype"])
        weight = weight.clone() if weight is kernel else weight  # the caller's array stays the caller's
        del self._parameters["bias"]  # to stand behind the kernel again, as in torch's own
        if learned:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
        self.bias = nn.Parameter(torch.zeros(kernel.shape[0], **like)) if bias else None
        # Not one by one: torch looks at each attribute for parameters, which takes time.
        self.__dict__.update(
            pairs=pairs,
            boundary=pairs[0] if len(set(pairs)) == 1 else pairs,
            margins=margins,
            zeros=width if mode == "zero" and width >= 0 else None,
        )

    @property
    def sliced(self) -> bool:
        """Whether the operator is applied as shifted slices: a fixed kernel of one channel on a CPU."""
        alone = self.weight.shape[:2] == (1, 1) and self.weight.device.type == "cpu"
        return alone and not isinstance(self.weight, nn.Parameter)

    def _taps(self, x: Tensor) -> list[float]:
        """Give the numbers of the kernel, the last axis fastest, for an input of one channel."""
        if x.shape[1] != 1:
            raise ValueError(f"x: got {x.shape[1]} channels; accepted: 1")
        return self.weight.flatten().tolist()

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of the kernel, as keywords."""
        return {"dtype": self.weight.dtype, "device": self.weight.device}

    @property
    def _settings(self) -> dict[str, Any]:
        """What another operator with this kernel is made with, as keywords."""
        learned = isinstance(self.weight, nn.Parameter)
        return {"learned": learned, "groups": self.groups, "dim": self.dim, **self.like}

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        """Give fixed kernels full precision; a learned one follows its training loop."""
        return contextlib.nullcontext() if isinstance(self.weight, nn.Parameter) else full_precision()

    def _matched(self, x: Tensor) -> Tensor:
        """Give x in the precision of a fixed kernel, where autocast has left it in another."""
        fixed, dtype = not isinstance(self.weight, nn.Parameter), self.weight.dtype
        # The precision first: of a device without numbers torch does not say whether it casts.
        other = fixed and x.dtype != dtype and torch.is_autocast_enabled(x.device.type)
        return x.to(dtype) if other else x

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
        return dense(self, shape, self.like, self.in_channels)


def hats(factor: int, dim: int) -> np.ndarray:
    """Return the kernel of restriction: the values of a coarse hat at the fine nodes."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"factor: got {factor!r}; accepted: an integer of at least 1")
    return stencils.tensor(*[stencils.hat(factor)] * dim)  # eq: restriction-box


def dense(
    A: Callable[[Tensor], Tensor], shape: Sequence[int], like: dict[str, Any], channels: int = 1
) -> Tensor:
    """Return what a map makes of unit vectors of a spatial shape, as the columns of a matrix.

    Both sides have channels first, then the spatial axes, the last one fastest. ``like`` are precision and
    device.
    """
    size = (channels, *shape)
    unit = torch.eye(math.prod(size), **like)
    return A(unit.reshape(len(unit), *size)).flatten(1).T
