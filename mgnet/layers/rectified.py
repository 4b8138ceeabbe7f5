"""Batch normalisation and ReLU as one operation, in training on a CPU: the same numbers in fewer passes.

In bfloat16 the operations of torch take most of their time to widen numbers and to round them again, each
operation anew. Here that is once a pass, two passes forth and two back, :mod:`mgnet.kernels.norms`. Modules,
parameters and statistics are those of torch, and elsewhere (in evaluation, in float32, on a GPU, in another
memory order) torch does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..core.kinds import ordinary
from ..operators import loops

__all__ = ["rectified"]


def rectified(
    norm: nn.Module, activation: Callable[[Tensor], Tensor], x: Tensor, skip: Tensor | None = None
) -> Tensor:
    """Return activation(norm(x) + skip).

    Parameters
    ----------
    norm : torch.nn.Module
        What comes first, a :class:`torch.nn.BatchNorm2d` for example; its output is nobody else's.
    activation : callable
        What comes last, a :class:`torch.nn.ReLU` for example, which may work in place.
    x : torch.Tensor, shape (N, C, H, W)
        The input.
    skip : torch.Tensor, shape (N, C, H, W), optional
        What is added in between; nothing by default.

    Returns
    -------
    torch.Tensor, shape (N, C, H, W)
        In the precision and the memory format of x.
    """
    if not _fits(norm, activation, x, skip):
        y = norm(x)
        return activation(y if skip is None else y.add_(skip))
    assert isinstance(norm, nn.BatchNorm2d)  # as _fits has found
    y, moments = _Rectified.apply(x, norm.weight, norm.bias, skip, norm.eps)
    _follow(norm, moments, x.numel() // x.shape[1])
    return y


def _fits(norm: Any, activation: Any, x: Any, skip: Any) -> bool:
    """Say whether the loops do what these modules would do to these tensors."""
    if type(norm) is not nn.BatchNorm2d or not norm.training or norm.weight is None:
        return False
    if not (activation is torch.relu_ or type(activation) is nn.ReLU) or _watched(norm, activation):
        return False
    if type(x) is not Tensor or not x.is_cpu or x.ndim != 4 or norm.weight.dtype != torch.float32:
        return False
    if x.dtype != torch.bfloat16:  # of float32 memory has no more to give: nothing is gained
        return False
    if x.shape[1] != norm.num_features or x.numel() <= x.shape[1] or not _rows(x):
        return False
    if skip is not None and (type(skip), skip.shape, skip.dtype) != (Tensor, x.shape, x.dtype):
        return False
    return torch.is_grad_enabled() and ordinary() and loops.are_on()


def _watched(*modules: Any) -> bool:
    """Say whether somebody follows the calls of these modules: a hook, a tracer, a compiler."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = any(getattr(module, kind, None) for module in modules for kind in kinds)
    return hooks or torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()


def _rows(x: Tensor) -> bool:
    """Say whether the channels of a pixel lie together, one pixel after the other."""
    return x.is_contiguous(memory_format=torch.channels_last)


def _row(x: Tensor) -> np.ndarray:
    """Return the numbers of images as they lie in memory; of bfloat16 the bits, which NumPy lacks."""
    row = x.detach().permute(0, 2, 3, 1).reshape(-1)
    return (row.view(torch.uint16) if x.dtype == torch.bfloat16 else row).numpy()


class _Tiles:
    """Images of one shape as the loops have them: a row in blocks, and what a channel has, repeated."""

    def __init__(self, x: Tensor) -> None:
        from ..kernels import norms

        self.loops, self.row, self.size, self.channels = norms, _row(x), x.numel(), x.shape[1]
        self.count = self.size // self.channels
        self.length = norms.tile(self.channels)
        self.blocks = norms.blocks(self.size, self.length)
        self.kind = np.float64 if x.dtype == torch.float64 else np.float32

    def empty(self, rows: int) -> np.ndarray:
        """Return room for so many tiles."""
        return np.empty((rows, self.length), self.kind)

    def summed(self, loop: Callable[..., None], *numbers: Any) -> np.ndarray:
        """Return two sums for each block and channel, in float64."""
        totals = np.empty((self.blocks, 2, self.channels))
        self.work(loop, *numbers, np.empty((self.blocks, 2, self.length), self.kind), totals)
        return totals

    def pivot(self) -> np.ndarray:
        """Return the mean of a few pixels: differences from it leave digits for the variance."""
        few = self.row.reshape(-1, self.channels)[:: max(1, self.count // 16)]
        if few.dtype == np.uint16:
            few = (few.astype(np.uint32) << 16).view(np.float32)
        return few.mean(0, dtype=self.kind)

    def work(self, loop: Callable[..., None], *numbers: Any) -> None:
        """Let threads do some blocks each."""
        loops.shared(loop, self.blocks, self.size, *numbers)


class _Rectified(torch.autograd.Function):
    """relu(norm(x) + skip), and mean and variance of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, skip: Tensor | None, eps: float) -> Any:
        """Take one pass for the moments, and one for the result."""
        at = _Tiles(x)
        pivot, statistics, tiles = at.pivot(), np.empty((3, at.channels), at.kind), at.empty(3)
        totals = at.summed(at.loops.moments, at.row, np.tile(pivot, at.length // at.channels))
        numbers = (weight.detach().numpy(), bias.detach().numpy(), eps, at.count)
        at.loops.settle(totals, pivot, *numbers, statistics, tiles)
        y = torch.empty_like(x, requires_grad=False)
        if skip is None:
            at.work(at.loops.rectify, at.row, tiles[0], tiles[1], _row(y))
        else:
            skip = skip.contiguous(memory_format=torch.channels_last)
            at.work(at.loops.join, at.row, tiles[0], tiles[1], _row(skip), _row(y))
        ctx.save_for_backward(x, y, weight)
        ctx.statistics, ctx.mean, ctx.eps, ctx.joined = statistics, tiles[2], eps, skip is not None
        moments = torch.from_numpy(statistics)[:2]
        ctx.mark_non_differentiable(moments)
        return y, moments

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> Any:
        """Take one pass for what ReLU lets through and the sums of it, and one for the result."""
        x, y, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(x, y, weight, g, ctx)
        at, mean = _Tiles(x), ctx.mean
        g, d = g.contiguous(memory_format=torch.channels_last), torch.empty_like(y)
        let = _row(d)
        totals = at.summed(at.loops.mask, _row(g), _row(y), at.row, mean, let)
        gradients, tiles = np.empty((2, at.channels), at.kind), at.empty(3)
        at.loops.settle_back(totals, weight.detach().numpy(), ctx.statistics, at.count, gradients, tiles)
        affine = (mean, tiles[0], tiles[1], tiles[2])
        if ctx.joined:  # d is the skip's gradient too
            dx, skipped = torch.empty_like(d), d
            at.work(at.loops.pull, let, at.row, *affine, _row(dx))
        else:
            dx, skipped = d, None
            at.work(at.loops.pull_within, let, at.row, *affine)
        dweight, dbias = torch.from_numpy(gradients)
        return dx, dweight, dbias, skipped, None


def _differentiable(x: Tensor, y: Tensor, weight: Tensor, g: Tensor, ctx: Any) -> tuple[Any, ...]:
    """Return the gradients so that they have derivatives themselves, which only torch knows."""
    d = g * (y > 0)
    norm = F.batch_norm(x, None, None, weight, torch.zeros_like(weight), True, 0.0, ctx.eps)
    dx, dweight = torch.autograd.grad(norm, (x, weight), d, create_graph=True)
    return dx, dweight, d.sum((0, 2, 3), dtype=weight.dtype), d if ctx.joined else None, None


@torch.no_grad()
def _follow(norm: nn.BatchNorm2d, moments: Tensor, count: int) -> None:
    """Let the running statistics follow those of a batch, as torch's own module does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    part = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(moments[0], part)
    norm.running_var.lerp_(moments[1] * (count / (count - 1)), part)
