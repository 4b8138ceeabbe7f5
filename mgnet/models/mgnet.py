"""MgNet: the fine-to-coarse half of a multigrid cycle whose operators are learned.

The data f lives on the dual side, the features u on the primal one, and on each grid u is corrected by what
the residual f − A u says, :class:`Level`. A :class:`Transfer` takes both to the next coarser grid. Neither
knows what its operators are: any module will do that takes images to images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ..checks import count
from ..layers import Averaging
from ..operators import convolution
from .common import head, kaiming
from .registry import register

__all__ = ["Level", "MgNet", "Transfer"]

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}
SMOOTHERS = ("level", "iteration")
INTERPOLATIONS = ("learned", "averaging", "zero")

Norm = Callable[[], nn.Module]


class Level(nn.Module):
    """One grid, with the iteration u ← u + σ(bn(B σ(bn(f − A u)))).

    Parameters
    ----------
    A : torch.nn.Module
        From features to data.
    B : iterable of torch.nn.Module
        From data to features: one for all iterations, or one for each.
    nu : int
        How many iterations.
    norm : callable
        Makes a norm (bn), two for each iteration.
    activation : torch.nn.Module
        σ, which may work in place if the norms do not return what they got.
    """

    def __init__(
        self, A: nn.Module, B: Iterable[nn.Module], nu: int, norm: Norm, activation: nn.Module
    ) -> None:
        super().__init__()
        self.A, self.B = A, nn.ModuleList(B)
        self.residual_norms = nn.ModuleList(norm() for _ in range(nu))
        self.correction_norms = nn.ModuleList(norm() for _ in range(nu))
        self.activation = activation

    def residual(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return f − A u.

        Parameters
        ----------
        u : torch.Tensor or None
            Features; None is zero, which A need not be applied to.
        f : torch.Tensor, shape (N, C, ...)
            Data.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            The residual.
        """
        return f if u is None else f - self.A(u)

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return the features after all iterations.

        Parameters
        ----------
        u : torch.Tensor or None
            Features before; None is zero.
        f : torch.Tensor, shape (N, C, ...)
            Data.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            Features.
        """
        sigma = self.activation
        for i, (bn_r, bn_u) in enumerate(zip(self.residual_norms, self.correction_norms, strict=True)):
            B = self.B[i % len(self.B)]
            correction = sigma(bn_u(B(sigma(bn_r(self.residual(u, f))))))
            u = correction if u is None else u + correction
        assert u is not None
        return u


class Transfer(nn.Module):
    """From one grid to the next: u′ = σ(bn(Π u)) and f′ = σ(bn(R(f − A u))) + A′ u′.

    Parameters
    ----------
    Pi : torch.nn.Module or None
        From features to coarser ones; None is zero.
    R : torch.nn.Module
        From residuals to coarser data.
    norm : callable
        Makes a norm (bn).
    activation : torch.nn.Module
        σ, which may work in place.
    """

    def __init__(self, Pi: nn.Module | None, R: nn.Module, norm: Norm, activation: nn.Module) -> None:
        super().__init__()
        self.Pi, self.R = Pi, R
        self.feature_norm = None if Pi is None else norm()
        self.data_norm = norm()
        self.activation = activation

    def forward(self, u: Tensor, f: Tensor, fine: Level, coarse: Level) -> tuple[Tensor | None, Tensor]:
        """Return features and data of the coarser grid.

        Parameters
        ----------
        u, f : torch.Tensor, shape (N, C, ...)
            Features and data of the finer grid.
        fine, coarse : Level
            The two grids.

        Returns
        -------
        (torch.Tensor or None, torch.Tensor)
            u′, where None is zero, and f′.
        """
        sigma, bn_u, bn_f = self.activation, self.feature_norm, self.data_norm
        r = fine.residual(u, f)
        if self.Pi is None or bn_u is None:
            return None, sigma(bn_f(self.R(r)))
        u_next = sigma(bn_u(self.Pi(u)))
        f_next = sigma(bn_f(self.R(r))) + coarse.A(u_next)
        return u_next, f_next


class MgNet(nn.Module):
    """MgNet for images: f is the image after one convolution, u = 0; then level by level; u is classified.

    Parameters
    ----------
    num_classes : int, default 10
        Length of the answer.
    in_channels : int, default 3
        Channels of an image.
    image_size : int, default 32
        Its width and height, at least 2^(levels − 1), so that the coarsest images have a pixel.
    channels : int or sequence of int, default 64
        Of features and data, on all levels or on each.
    nu : sequence of int, default (2, 2, 2, 2)
        Iterations on each level, the finest first. Its length is the number of levels.
    B : {"level", "iteration"}, default "level"
        Whether the iterations of a level share one B or have one each. A is shared on a level.
    Pi : {"learned", "averaging", "zero"}, default "learned"
        How features come to the next grid: by a learned kernel, by :class:`mgnet.layers.Averaging`, where
        all levels have as many channels, or not at all.
    transfer_norm : bool, default True
        Whether there are norms behind Π and R.
    norm : {"batch", "none"}, default "batch"
        The normalisation before each activation.
    activation : {"relu", "tanh", "identity"}, default "relu"
        The activation σ.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Notes
    -----
    On the last level f − A u is used for u = u′ only if nu is 1 there; f contains A u′, so what A does
    cancels. The published networks have it all the same, and so it is here.

    References
    ----------
    He, Xu, 'MgNet: a unified framework of multigrid and convolutional neural network', 2019.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        channels: int | Sequence[int] = 64,
        nu: Sequence[int] = (2, 2, 2, 2),
        B: str = "level",
        Pi: str = "learned",
        transfer_norm: bool = True,
        norm: str = "batch",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        iterations = _counts("nu", nu)
        widths = _counts("channels", channels, len(iterations))
        count("image_size", image_size, 2 ** (len(widths) - 1))
        _one_of("B", B, SMOOTHERS)
        _one_of("Pi", Pi, INTERPOLATIONS)
        _one_of("transfer_norm", transfer_norm, (True, False))
        bn = NORMS[_one_of("norm", norm, tuple(NORMS))]
        sigma = ACTIVATIONS[_one_of("activation", activation, tuple(ACTIVATIONS))]()
        if isinstance(sigma, nn.ReLU):
            sigma.inplace = norm == "batch"  # without a norm it would change f itself
        self.data = nn.Sequential(
            convolution((count("in_channels", in_channels), widths[0]), 3), bn(widths[0]), sigma
        )
        self.levels = nn.ModuleList(
            Level(
                convolution((width, width), 3),
                [convolution((width, width), 3) for _ in range(1 if B == "level" else times)],
                times,
                partial(bn, width),
                sigma,
            )
            for width, times in zip(widths, iterations, strict=True)
        )
        if iterations[-1] == 1 and (Pi == "zero" or len(widths) == 1):
            self.levels[-1].A = nn.Identity()  # u is zero whenever the last level asks for f - A u
        self.transfers = nn.ModuleList(
            Transfer(
                _interpolation(Pi, pair),
                convolution(pair, 3, 2),
                partial(NORMS[norm if transfer_norm else "none"], pair[1]),
                sigma,
            )
            for pair in pairwise(widths)
        )
        self.head = head(widths[-1], count("num_classes", num_classes))
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return one row of logits for each image.

        Parameters
        ----------
        x : torch.Tensor, shape (N, channels, size, size)
            The images.

        Returns
        -------
        torch.Tensor, shape (N, classes)
            The logits.
        """
        fine, *coarser = self.levels
        f = self.data(x)
        u = fine(None, f)
        for transfer, coarse in zip(self.transfers, coarser, strict=True):
            u, f = transfer(u, f, fine, coarse)
            u = coarse(u, f)
            fine = coarse
        return self.head(u)


def _interpolation(kind: str, channels: tuple[int, int]) -> nn.Module | None:
    """Give the operator Π between two levels with these channels."""
    if kind == "averaging" and channels[0] != channels[1]:
        raise ValueError(
            f"Pi: got 'averaging' from {channels[0]} to {channels[1]} channels;"
            " accepted: as many channels on all levels"
        )
    if kind == "learned":
        return convolution(channels, 3, 2)
    return Averaging(dim=2) if kind == "averaging" else None


def _counts(name: str, value: Any, length: int | None = None) -> list[int]:
    """Give a list of positive integers; one integer stands for ``length`` of them."""
    if length is not None and not isinstance(value, Sequence):
        return [count(name, value)] * length
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise TypeError(f"{name}: got {value!r}; accepted: a list of integers, one for each level")
    if length is not None and len(value) != length:
        raise ValueError(f"{name}: got {list(value)}; accepted: one integer, or {length} as nu has")
    return [count(name, entry) for entry in value]


def _one_of(name: str, value: Any, accepted: tuple[Any, ...]) -> Any:
    if value not in accepted:
        raise ValueError(f"{name}: got {value!r}; accepted: one of {accepted}")
    return value


register("mgnet")(MgNet)
for _channels in (32, 64, 128, 256):
    register(f"mgnet-{_channels}", channels=_channels)(MgNet)
