"""Layers written from scratch: dropout, batch normalisation, averaging."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import count, number, probability
from ..operators.convolutions import CONVOLVE, Restriction

__all__ = ["Averaging", "BatchNorm", "Dropout"]


class Dropout(nn.Module):
    """Dropout, :eq:`dropout`: in training numbers become 0 with probability p, the others grow by 1/(1 − p).

    The mean of a number stays what it was, so that evaluation changes nothing.

    Parameters
    ----------
    p : float, default 0.5
        Probability, from 0 to 1.

    Raises
    ------
    ValueError
        For a probability outside.

    Examples
    --------
    >>> Dropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = probability("p", p)

    def forward(self, x: Tensor) -> Tensor:
        """Drop numbers at random in training; return x itself in evaluation.

        Parameters
        ----------
        x : torch.Tensor
            Of any shape.

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        if not self.training:
            return x
        kept = torch.empty_like(x, requires_grad=False).bernoulli_(1 - self.p)
        return x * (kept if self.p == 1 else kept.div_(1 - self.p))  # eq: dropout

    def extra_repr(self) -> str:
        """Say the probability."""
        return f"p={self.p}"


class BatchNorm(nn.Module):
    """Batch normalisation of every channel, over the batch and whatever spatial axes there are.

    y = γ (x − μ)/√(σ² + ε) + β, :eq:`batch-norm`. In training μ and σ² are the mean and the variance of the
    batch, and the running ones move a little towards them, :eq:`running-statistics`; in evaluation they are
    the running ones.

    Parameters
    ----------
    channels : int
        How many.
    eps : float, default 1e-5
        The ε that keeps the root away from zero.
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None takes the mean of all batches so far.
    affine : bool, default True
        Whether there are learned numbers γ and β for each channel, 1 and 0 at first.
    track_running_stats : bool, default True
        Whether there are running statistics; without them evaluation takes the batch's too.

    Notes
    -----
    Parameters and buffers have the names of :class:`torch.nn.BatchNorm2d`, so the two can exchange their
    ``state_dict``. The running variance is the unbiased one, as there.

    Examples
    --------
    >>> y = BatchNorm(2)(torch.randn(8, 2, 5))
    >>> y.mean((0, 2)).abs().max() < 1e-6
    tensor(True)
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = count("channels", channels)
        if number("eps", eps) < 0:
            raise ValueError(f"eps: got {eps!r}; accepted: a number of at least 0")
        self.eps, self.momentum = eps, None if momentum is None else probability("momentum", momentum)
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", torch.zeros(channels) if tracked else None)
        self.register_buffer("running_var", torch.ones(channels) if tracked else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if tracked else None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel.

        Parameters
        ----------
        x : torch.Tensor, shape (N, C, ...)
            Any number of spatial axes, also none.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            In the precision of x.

        Raises
        ------
        ValueError
            For another number of channels, or one number per channel in training: it has no variance.
        """
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x: got shape {tuple(x.shape)}; accepted: (N, {self.num_features}, ...)")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # means of bfloat16 lose too much
        mean, variance = self._statistics(wide)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = self.weight * scale
        y = (wide - _per_channel(mean, x)) * _per_channel(scale, x)  # eq: batch-norm
        return (y if self.bias is None else y + _per_channel(self.bias, x)).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mean and the variance to normalise with, and follow them in training."""
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self.running_mean, self.running_var
        size = x.numel() // x.shape[1]
        if self.training and size < 2:
            accepted = "several numbers per channel"
            raise ValueError(f"x: got shape {tuple(x.shape)}; accepted in training: {accepted}")
        axes = (0, *range(2, x.ndim))
        mean, variance = x.mean(axes), x.var(axes, correction=0)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            part = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            unbiased = variance.detach() * (size / (size - 1))
            for running, now in ((self.running_mean, mean.detach()), (self.running_var, unbiased)):
                assert running is not None  # since batches are counted
                running.lerp_(now.to(running.dtype), part)  # eq: running-statistics
        return mean, variance

    def extra_repr(self) -> str:
        """Say what it was made with."""
        affine, tracked = self.weight is not None, self.running_mean is not None
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={affine},"
            f" track_running_stats={tracked}"
        )


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 2))


# Norms over a batch, and all that keep running statistics.
NORMS = (nn.modules.batchnorm._BatchNorm, BatchNorm)
TRACKING = (nn.modules.batchnorm._NormBase, BatchNorm)


class Averaging(Restriction):
    """Restriction of nodal values, R/2 per axis, to every channel on its own, :eq:`averaging`.

    Restriction itself is for functionals, whose numbers grow with the cells. Values must not: the kernel
    here sums to 1. It is fixed.

    Parameters
    ----------
    factor : int, default 2
        Fine cells per coarse cell: the stride.
    boundary, dim, dtype, device
        As for :class:`mgnet.Restriction`; zeros outside and float32 by default, as for images.

    Examples
    --------
    >>> Averaging(dim=2).weight[0, 0] * 16
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """

    def __init__(
        self,
        factor: int = 2,
        boundary: Any = "same",
        *,
        dim: int = 1,
        dtype: torch.dtype = torch.float32,
        device: Any = None,
    ) -> None:
        like: dict[str, Any] = {"dtype": dtype, "device": device}
        kernel = Restriction(factor, dim=self.dim, **like).weight / factor**self.dim  # eq: averaging
        super().__init__(factor, boundary, kernel=kernel, dim=dim, **like)

    def forward(self, x: Tensor) -> Tensor:
        """Average every channel.

        Parameters
        ----------
        x : torch.Tensor, shape (N, C, ...)
            Nodal values.

        Returns
        -------
        torch.Tensor, shape (N, C, ...)
            Values at the coarse nodes.
        """
        channels = x.shape[1]
        kernel = self.weight.expand(channels, *self.weight.shape[1:])
        x, zeros = (self.extend(x), 0) if self.zeros is None else (x, self.zeros)
        return CONVOLVE[self.dim - 1](x, kernel, None, self.stride, zeros, 1, channels)


class Averaging1d(Averaging, nn.Conv1d):
    """Averaging on a line."""

    dim = 1


class Averaging2d(Averaging, nn.Conv2d):
    """Averaging in the plane."""

    dim = 2


class Averaging3d(Averaging, nn.Conv3d):
    """Averaging in space."""

    dim = 3


Averaging.members = (Averaging1d, Averaging2d, Averaging3d)
