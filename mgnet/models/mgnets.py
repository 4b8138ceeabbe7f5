"""MgNet: the fine-to-coarse half of a multigrid cycle whose operators are learned, or a whole V-cycle.

The data f lives on the dual side, the features u on the primal one, and on each grid u is corrected by what
the residual f − A u says, :class:`Level`. A :class:`Transfer` takes both to the next coarser grid, and with
the up-sweep corrections back. None knows what its operators are: any module will do that takes images to
images. With those that the hat functions dictate, and nothing between them that is not linear, the network is
the cycle itself, :eq:`mgnet-cycle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .. import stencils
from ..core.checks import count
from ..layers import Averaging
from ..operators.convolutions import Prolongation, Restriction, Stencil, convolution
from ..operators.smoothers import chebyshev_weights, damping, rough_interval
from ..operators.stiffness import Stiffness
from .common import head, kaiming
from .registry import register

__all__ = ["Level", "MgNet", "Return", "Transfer", "mgnet"]

BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": lambda channels, dim: BATCH_NORMS[dim](channels),
    "none": lambda channels, dim: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}
SMOOTHERS = ("level", "iteration")
INTERPOLATIONS = ("learned", "averaging", "zero")
# Of all levels together: the deepest published network has 8 of them.
ITERATIONS = 1000
# Of a Chebyshev polynomial: its roots are put in order in a time that grows with the third power.
DEGREE = 100

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
            correction = sigma(bn_u(B(sigma(bn_r(self.residual(u, f))))))  # eq: mgnet-smoothing
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
        f_next = sigma(bn_f(self.R(r))) + coarse.A(u_next)  # eq: mgnet-restriction
        return u_next, f_next


class Return(nn.Module):
    """From one grid back to the finer one: u ← u + P(u′ − Π u), then the iterations of the finer level.

    Parameters
    ----------
    P : torch.nn.Module
        From coarser features to finer ones; called with the shape that it has to give.
    level : Level
        The iterations that follow.
    """

    def __init__(self, P: nn.Module, level: Level) -> None:
        super().__init__()
        self.P, self.level = P, level

    def forward(self, coarse_u: Tensor, u: Tensor, f: Tensor, transfer: Transfer) -> Tensor:
        """Return the features of the finer grid.

        Parameters
        ----------
        coarse_u : torch.Tensor, shape (N, C', ...)
            Features of the coarser grid.
        u, f : torch.Tensor, shape (N, C, ...)
            Features and data of the finer grid, on the way down.
        transfer : Transfer
            Between the two.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            Features.
        """
        correction = coarse_u if transfer.Pi is None else coarse_u - transfer.Pi(u)
        return self.level(u + self.P(correction, u.shape[2:]), f)


class MgNet(nn.Module):
    """MgNet: f is the image after one convolution, u = 0; then level by level; u is classified.

    Parameters
    ----------
    num_classes : int, default 10
        Length of the answer.
    in_channels : int, default 3
        Channels of an image.
    image_size : int, default 32
        Its size along each axis, large enough that the coarsest images have a pixel.
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
        iterations = _counts("nu", nu)
        if sum(iterations) > ITERATIONS:
            raise ValueError(f"nu: got {list(nu)}; accepted: up to {ITERATIONS} iterations in all")
        count("in_channels", in_channels)
        widths = _counts("channels", in_channels if linear else channels, len(iterations))
        count("image_size", image_size, 2 ** (len(widths) - 1))
        _one_of("B", B, SMOOTHERS)
        _one_of("Pi", Pi, INTERPOLATIONS)
        for name, flag in (("transfer_norm", transfer_norm), ("up", up), ("linear", linear)):
            _one_of(name, flag, (True, False))
        self.dim = _one_of("dim", dim, (1, 2, 3))
        _one_of("smoother", smoother, ("jacobi", "chebyshev"))
        make = KERNELS[_one_of("kernels", kernels, tuple(KERNELS))](
            dim, image_size, linear, smoother, learned
        )
        if linear:
            norm, activation, transfer_norm = "none", "identity", False
        norms = NORMS[_one_of("norm", norm, tuple(NORMS))]
        bn, plain = partial(norms, dim=dim), partial(NORMS["none"], dim=dim)
        sigma = ACTIVATIONS[_one_of("activation", activation, tuple(ACTIVATIONS))]()
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
            Transfer(
                _interpolation(Pi, pair, make),
                make.R(pair),
                partial(bn if transfer_norm else plain, pair[1]),
                sigma,
            )
            for pair in pairwise(widths)
        )
        self.returns = nn.ModuleList()
        if up:
            pairs: Any = zip(self.levels, self.transfers, widths, iterations, strict=False)
            for level, transfer, width, times in pairs:
                again = Level(level.A, level.B, times, partial(bn, width), sigma)
                self.returns.append(Return(Prolongation.of(transfer.R), again))
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


class _Random:
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


class _Poisson:
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
            raise ValueError(
                f"image_size: got {self.size} with {level + 1} levels; accepted: a multiple of {2**level},"
                f" less 1, from {2 * 2**level - 1} on"
            )
        return 2**level / (self.size + 1)

    def _each(self, kernel: Any, channels: tuple[int, int], stride: int, name: str) -> Stencil:
        """Give a stencil that has this kernel from each channel to the same one."""
        eye = torch.eye(channels[1], channels[0], dtype=torch.float64)
        kernel = torch.as_tensor(kernel, dtype=torch.float64)
        whole = torch.einsum("oi,...->oi...", eye, kernel)
        make: Any = Restriction if name == "R" and self.linear else Stencil
        if make is Restriction:
            return Restriction(stride, self.boundary, kernel=whole, learned=name in self.learned, **self.like)
        return make(whole, stride, self.boundary, learned=name in self.learned, **self.like)

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
        return [self._each(weight * _unit(shape), (width, width), 1, "B") for weight in weights]

    def R(self, pair: tuple[int, int]) -> Stencil:
        """Give R between two levels."""
        return self._each(stencils.tensor(*[stencils.hat()] * self.dim), pair, 2, "R")

    def Pi(self, pair: tuple[int, int]) -> Stencil:
        """Give Π between two levels: averaging."""
        return self._each(stencils.tensor(*[stencils.hat() / 2] * self.dim), pair, 2, "P")


KERNELS: dict[str, Any] = {"random": _Random, "poisson": _Poisson}


def _unit(shape: tuple[int, ...]) -> Tensor:
    """Give the kernel of the identity."""
    kernel = torch.zeros(shape, dtype=torch.float64)
    kernel[tuple(size // 2 for size in shape)] = 1
    return kernel


def _interpolation(kind: str, channels: tuple[int, int], make: Any) -> nn.Module | None:
    """Give the operator Π between two levels with these channels."""
    if kind == "averaging" and channels[0] != channels[1]:
        raise ValueError(
            f"Pi: got 'averaging' from {channels[0]} to {channels[1]} channels;"
            " accepted: as many channels on all levels"
        )
    if kind == "learned":
        return make.Pi(channels)
    if kind == "zero":
        return None
    like = {"dtype": torch.get_default_dtype()} | make.like | {"dim": make.dim}
    return Averaging(boundary=make.boundary, **like)


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
