"""MgNet: the fine-to-coarse half of a multigrid cycle whose operators are learned, or a whole V-cycle.

It is made of levels and of the ways between them, :mod:`mgnet.models.levels`. Their operators may be any
modules that take images to images. With those that the hat functions dictate, and nothing between them that
is not linear, the network is the cycle itself, :eq:`mgnet-cycle`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ..core.checks import count, shown
from ..operators.convolutions import Prolongation, convolution
from .common import counts, head, kaiming
from .kernels import KERNELS, interpolation
from .levels import Level, Return, Transfer
from .registry import register

__all__ = ["MgNet", "mgnet"]

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": lambda channels, dim: BATCH_NORMS[dim - 1](channels),
    "none": lambda channels, dim: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "identity": nn.Identity}
# Of all levels together: the deepest published network has 8 of them.
ITERATIONS = 1000


class MgNet(nn.Module):
    """MgNet: f is the image after one convolution, u = 0; then level by level; u is classified.

    Parameters
    ----------
    num_classes, in_channels, image_size : int, default 10, 3 and 32
        Length of the answer; channels of an image, its size along each axis, large enough that the coarsest
        images have a pixel.
    channels : int or sequence of int, default 64
        Of features and data, on all levels or on each; with ``linear`` as many as the image has.
    nu : sequence of int, default (2, 2, 2, 2)
        Iterations on each level, the finest first. Its length is the number of levels.
    B : {"level", "iteration"}, default "level"
        Whether the iterations of a level share one B or have one each. A is shared on a level.
    Pi : {"learned", "averaging", "zero"}, default "learned"
        How features come to the next grid: by a kernel of their own, by :class:`mgnet.layers.Averaging`,
        where all levels have as many channels, or not at all.
    transfer_norm : bool, default True
        Whether there are norms behind Π and R.
    norm : {"batch", "none"}, default "batch"
        The normalisation before each activation.
    activation : {"relu", "tanh", "identity"}, default "relu"
        The activation σ.
    dim : {1, 2, 3}, default 2
        Number of axes of an image.
    up : bool, default False
        Whether corrections come back up, u ← u + P(u′ − Π u), each followed by as many iterations again: a
        V-cycle. P is the transpose of R.
    kernels : {"random", "poisson"}, default "random"
        What A, B, R and Π are at first: random, or for each channel what the hat functions dictate for −Δ,
        with damped Jacobi as B. Then image borders are those of interior nodes with ``linear``, and of images
        without.
    linear : bool, default False
        Leave out all that is not linear: no norms, no activations, neither the first convolution nor the
        classifier. An image is then a load f, and the answer is u on the coarsest level, or with ``up`` on
        the finest.
    smoother : {"jacobi", "chebyshev"}, default "jacobi"
        B with ``kernels="poisson"``; a Chebyshev polynomial has a B for each of its roots.
    learned : str, optional
        Which of the operators are parameters, a part of "ABRP" (P for Π); all by default, and none with
        ``linear``.

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
        dim: int = 2,
        up: bool = False,
        kernels: str = "random",
        linear: bool = False,
        smoother: str = "jacobi",
        learned: str | None = None,
    ) -> None:
        super().__init__()
        iterations = _iterations(nu)
        count("in_channels", in_channels)
        widths = _widths(in_channels if linear else channels, len(iterations))
        count("image_size", image_size, 2 ** (len(widths) - 1))
        _one_of("B", B, ("level", "iteration"))
        _one_of("Pi", Pi, ("learned", "averaging", "zero"))
        for name, flag in {"transfer_norm": transfer_norm, "up": up, "linear": linear}.items():
            _one_of(name, flag, (True, False))
        self.dim = _one_of("dim", dim, (1, 2, 3))
        _one_of("smoother", smoother, ("jacobi", "chebyshev"))
        make = KERNELS[_one_of("kernels", kernels, KERNELS)](dim, image_size, linear, smoother, learned)
        if linear:
            norm, activation, transfer_norm = "none", "identity", False
        bn = partial(NORMS[_one_of("norm", norm, NORMS)], dim=dim)
        between = bn if transfer_norm else partial(NORMS["none"], dim=dim)
        sigma = ACTIVATIONS[_one_of("activation", activation, ACTIVATIONS)]()
        if isinstance(sigma, nn.ReLU):
            sigma.inplace = norm == "batch"  # without a norm it would change f itself
        self.data: nn.Module = nn.Identity()
        if not linear:
            self.data = nn.Sequential(convolution((in_channels, widths[0]), 3, dim=dim), bn(widths[0]), sigma)
        self.levels = nn.ModuleList(
            Level(make.A(width, i), make.B(width, i, times, B), times, partial(bn, width), sigma)
            for i, (width, times) in enumerate(zip(widths, iterations, strict=True))
        )
        if iterations[-1] == 1 and (Pi == "zero" or len(widths) == 1) and not linear:
            self.levels[-1].A = nn.Identity()  # u is zero whenever the last level asks for f - A u
        self.transfers = nn.ModuleList(
            Transfer(interpolation(Pi, pair, make), make.R(pair), partial(between, pair[1]), sigma)
            for pair in pairwise(widths)
        )
        down: Any = zip(self.levels, self.transfers, widths, iterations, strict=False) if up else ()
        self.returns = nn.ModuleList(  # the operators of the way down, and norms of their own
            Return(Prolongation.of(transfer.R), Level(level.A, level.B, times, partial(bn, width), sigma))
            for level, transfer, width, times in down
        )
        self.head: nn.Module = nn.Identity()
        if not linear:
            self.head = head(widths[0] if up else widths[-1], count("num_classes", num_classes), dim)
            if kernels == "random":
                kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return one row of logits for each image; with ``linear`` the features u themselves.

        Parameters
        ----------
        x : torch.Tensor, shape (N, channels, size, ...)
            The images, or loads.

        Returns
        -------
        torch.Tensor, shape (N, classes)
            The logits, or u of the coarsest level, or with ``up`` of the finest.
        """
        states = self.descend(x)
        u = states[-1][0]
        for i in reversed(range(len(self.returns))):
            u = self.returns[i](u, *states[i], self.transfers[i])
        return self.head(u)

    def descend(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return features u and data f of every level, the finest first: the fine-to-coarse half of a cycle.

        Parameters
        ----------
        x : torch.Tensor, shape (N, channels, size, ...)
            The images, or loads.

        Returns
        -------
        list of (torch.Tensor, torch.Tensor)
            (u, f) after the iterations of each level.
        """
        fine, *coarser = self.levels
        f = self.data(x)
        states = [(fine(None, f), f)]
        for transfer, coarse in zip(self.transfers, coarser, strict=True):
            u, f = transfer(*states[-1], fine, coarse)  # eq: mgnet-cycle
            states.append((coarse(u, f), f))
            fine = coarse
        return states


def mgnet(**options: Any) -> MgNet:
    """Return an :class:`MgNet`: a network or, by ``kernels`` and ``linear``, multigrid itself.

    Parameters
    ----------
    **options
        Those of :class:`MgNet`.

    Returns
    -------
    MgNet
        The network.

    Examples
    --------
    One V-cycle for −u″ = f with 7 interior nodes and two sweeps of damped Jacobi:

    >>> import torch
    >>> V = mgnet(kernels="poisson", linear=True, up=True, dim=1, in_channels=1, image_size=7, nu=(2, 2, 1))
    >>> V(torch.ones(1, 1, 7, dtype=torch.float64) / 8).shape
    torch.Size([1, 1, 7])
    """
    return MgNet(**options)


def _iterations(nu: Any) -> list[int]:
    iterations = counts("nu", nu, accepted="a list of integers, one for each level")
    if sum(iterations) > ITERATIONS:
        raise ValueError(f"nu: got {shown(iterations)}; accepted: up to {ITERATIONS} iterations in all")
    return iterations


def _widths(channels: Any, levels: int) -> list[int]:
    """Give the channels of each level; one integer stands for all."""
    if not isinstance(channels, Sequence):
        return [count("channels", channels)] * levels
    return counts("channels", channels, levels, f"one integer, or {levels} as nu has")


def _one_of(name: str, value: Any, accepted: Collection[Any]) -> Any:
    if value not in tuple(accepted):
        raise ValueError(f"{name}: got {value!r}; accepted: one of {tuple(accepted)}")
    return value


register("mgnet")(MgNet)
for _channels in (32, 64, 128, 256):
    register(f"mgnet-{_channels}", channels=_channels)(MgNet)
