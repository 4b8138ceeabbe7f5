"""The operators that an MgNet begins with: random kernels, or those that the hat functions dictate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import stencils
from ..layers import Averaging
from ..operators.convolutions import Restriction, Stencil, convolution
from ..operators.smoothers import chebyshev_weights, damping, rough_interval
from ..operators.stiffness import Stiffness

__all__ = ["KERNELS", "Kernels", "PoissonKernels", "RandomKernels", "interpolation"]

# Of a Chebyshev polynomial: its roots are put in order in a time that grows with the third power.
DEGREE = 100


class RandomKernels:
    """Learned operators with random kernels, as images take them."""

    boundary = "same"

    def __init__(self, dim: int, image_size: int, linear: bool, smoother: str, learned: str | None) -> None:
        if learned is not None:
            raise ValueError(f"learned: got {learned!r}; accepted: None with kernels='random'")
        self.dim = dim
        self.like: dict[str, Any] = {"dtype": torch.float64} if linear else {}

    def A(self, width: int, level: int) -> Stencil:
        """Give A of a level."""
        return convolution((width, width), 3, dim=self.dim, **self.like)

    def B(self, width: int, level: int, times: int, kind: str) -> list[Stencil]:
        """Give the B of a level."""
        return [self.A(width, level) for _ in range(1 if kind == "level" else times)]

    def R(self, pair: tuple[int, int]) -> Stencil:
        """Give R between two levels."""
        return convolution(pair, 3, 2, dim=self.dim, **self.like)

    Pi = R


class PoissonKernels:
    """What the hat functions dictate for −Δ on the unit cube, for each channel on its own."""

    def __init__(self, dim: int, image_size: int, linear: bool, smoother: str, learned: str | None) -> None:
        self.dim, self.size, self.linear = dim, image_size, linear
        self.smoother = smoother
        self.learned = ("" if linear else "ABRP") if learned is None else learned
        if not isinstance(self.learned, str) or set(self.learned) - set("ABRP"):
            raise ValueError(f"learned: got {learned!r}; accepted: some of the letters of 'ABRP'")
        self.boundary = "dirichlet" if linear else "same"
        self.like: dict[str, Any] = {
            "dtype": torch.float64 if linear else torch.get_default_dtype(),
            "dim": dim,
        }

    def _h(self, level: int) -> float:
        """Give the cell width; images count pixels, and every level has the one of the finest."""
        if not self.linear:
            return 1.0
        if (self.size + 1) % 2**level:
            accepted = f"a multiple of {2**level}, less 1, from {2 * 2**level - 1} on"
            raise ValueError(f"image_size: got {self.size} with {level + 1} levels; accepted: {accepted}")
        return 2**level / (self.size + 1)

    def _each(self, kernel: Any, channels: tuple[int, int], stride: int, name: str) -> Stencil:
        """Give a stencil that has this kernel from each channel to the same one.

        One that is learned may find others between different channels, one that is not has none there.
        """
        like = {"learned": name in self.learned, **self.like}
        kernel = torch.as_tensor(kernel, dtype=torch.float64)
        if like["learned"] or channels[0] != channels[1]:
            eye = torch.eye(channels[1], channels[0], dtype=torch.float64)
            kernel = torch.einsum("oi,...->oi...", eye, kernel)
        else:
            like["groups"] = channels[0]
        if name == "R" and self.linear:
            return Restriction(stride, self.boundary, kernel=kernel, **like)
        return Stencil(kernel, stride, self.boundary, **like)

    def A(self, width: int, level: int) -> nn.Module:
        """Give A of a level: the solver's own operator, where it is neither learned nor has channels."""
        h = self._h(level)
        if width == 1 and self.linear and "A" not in self.learned:
            return Stiffness(h, boundary=self.boundary, **self.like)
        return self._each(stencils.stiffness([h] * self.dim), (width, width), 1, "A")

    def B(self, width: int, level: int, times: int, kind: str) -> list[Stencil]:
        """Give the B of a level: damped Jacobi, or what each root of a Chebyshev polynomial makes of it."""
        diagonal = float(stencils.stiffness([self._h(level)] * self.dim)[(1,) * self.dim])
        if self.linear and (self.size + 1) // 2**level == 2:
            weights = [1 / diagonal]  # one unknown: that is exact
        elif self.smoother == "jacobi":
            weights = [damping(self.dim) / diagonal]
        elif times > DEGREE:
            raise ValueError(f"nu: got {times}; accepted with smoother='chebyshev': up to {DEGREE}")
        else:
            interval = rough_interval(self.dim)
            weights = [weight / diagonal for weight in chebyshev_weights(times, *interval)]
        if len(weights) == 1 and kind == "iteration":
            weights *= times
        shape = (1,) * self.dim if self.linear else (3,) * self.dim
        return [self._each(weight * unit(shape), (width, width), 1, "B") for weight in weights]

    def R(self, pair: tuple[int, int]) -> Stencil:
        """Give R between two levels."""
        return self._each(stencils.tensor(*[stencils.hat()] * self.dim), pair, 2, "R")

    def Pi(self, pair: tuple[int, int]) -> Stencil:
        """Give Π between two levels: averaging."""
        return self._each(stencils.tensor(*[stencils.hat() / 2] * self.dim), pair, 2, "P")


def interpolation(kind: str, channels: tuple[int, int], make: Kernels) -> nn.Module | None:
    """Give the operator Π between two levels with these channels."""
    if kind == "averaging" and channels[0] != channels[1]:
        got = f"'averaging' from {channels[0]} to {channels[1]} channels"
        raise ValueError(f"Pi: got {got}; accepted: as many channels on all levels")
    if kind == "learned":
        return make.Pi(channels)
    if kind == "zero":
        return None
    like = {"dtype": torch.get_default_dtype()} | make.like | {"dim": make.dim}
    return Averaging(boundary=make.boundary, **like)


def unit(shape: tuple[int, ...]) -> Tensor:
    """Give the kernel of the identity."""
    kernel = torch.zeros(shape, dtype=torch.float64)
    kernel[tuple(size // 2 for size in shape)] = 1
    return kernel


Kernels = RandomKernels | PoissonKernels
KERNELS: dict[str, type[Kernels]] = {"random": RandomKernels, "poisson": PoissonKernels}
