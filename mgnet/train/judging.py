"""What a model's answers are worth: its scores, their loss and accuracy, and numbers that are not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..core.checks import flag, instance
from ..core.precision import brain_float
from ..core.processes import Processes
from ..data import Batches, Split
from .preflight import evaluating, place_of, require_answer

__all__ = ["DivergedError", "diverged", "evaluate", "judge", "not_finite", "predict"]


class DivergedError(ArithmeticError):
    """The loss is not finite; the checkpoint that was saved last is still there."""


def evaluate(model: nn.Module, split: Split, *, batch_size: int = 1000, bfloat16: bool = False) -> float:
    """Return the share of images that a model classifies correctly, :eq:`accuracy`.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to scores; used in evaluation mode, and left in the mode it was in.
    split : Split
        Images and labels, ``data.test`` for example.
    batch_size : int, default 1000
        Images at a time.
    bfloat16 : bool, default False
        Compute products in bfloat16, where the device is faster in it. Training judges in float32, whatever
        its recipe says, and so does this by default: the figure is that of the history.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        For a model that gives no scores for the images, or for other arguments, before any work.
    DivergedError
        When the loss on the images is not finite.
    """
    flag("bfloat16", bfloat16)
    split = _ready(model, split)
    loss, accuracy = judge(model, split, Processes(), batch_size, bfloat16)
    if not math.isfinite(loss):
        raise DivergedError(f"the loss on the split is {loss}: the model's scores are not finite")
    return accuracy


def predict(model: nn.Module, split: Split, *, batch_size: int = 1000) -> Tensor:
    """Return the scores of all images, in order; of several processes each computes them all.

    Parameters
    ----------
    model, split, batch_size
        As for :func:`evaluate`.

    Returns
    -------
    torch.Tensor, shape (images, classes)
        Scores, float32, on the model's device.
    """
    split = _ready(model, split)
    with evaluating(model):
        return torch.cat([model(x).float() for x, _ in _in_order(model, split, batch_size)])


def _ready(model: Any, split: Any) -> Split:
    """Return the split where the model is, after a look at both."""
    instance("model", model, nn.Module, "a torch.nn.Module")
    instance("split", split, Split, "a Split, data.test for example")
    if not len(split):
        raise ValueError("split: got no images; accepted: at least one")
    there = split.to(place_of(model, split.images.device))
    require_answer(model, there)
    return there


def judge(
    model: nn.Module, split: Split, processes: Processes, batch_size: int = 1000, bfloat16: bool = False
) -> tuple[float, float]:
    """Return mean loss and accuracy over all images of all processes, in evaluation mode."""
    device = split.images.device
    loss, correct = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
    with evaluating(model), brain_float(device, bfloat16):
        for x, y in _in_order(model, split, batch_size, processes.rank, processes.world):
            scores = model(x).float()
            loss += F.cross_entropy(scores, y, reduction="sum")  # eq: softmax-cross-entropy
            correct += (scores.argmax(1) == y).sum()  # eq: accuracy
    sums = processes.total(*torch.stack((loss, correct)).tolist(), device=device)
    return sums[0] / len(split), sums[1] / len(split)


def _in_order(model: nn.Module, split: Split, batch_size: int, rank: int = 0, world: int = 1) -> Batches:
    """Return the batches of a split as they are, in the memory order of the model's kernels."""
    order = {"memory_format": torch.channels_last}
    last = any(p.ndim == 4 and p.is_contiguous(**order) for p in model.parameters())
    return Batches(split, batch_size, shuffle=False, rank=rank, world=world, channels_last=last)


def diverged(what: str, lr: float) -> DivergedError:
    """Return the error for a training that has left the finite numbers; it says what to do."""
    return DivergedError(f"{what} at learning rate {lr:.3g}; take a smaller one, or clip the gradient")


def not_finite(model: nn.Module) -> list[str]:
    """Return the names of weights and buffers that have numbers which are not finite."""
    named = {n: x for n, x in model.state_dict().items() if isinstance(x, Tensor) and x.is_floating_point()}
    # One look at all of them.
    finite = torch.stack([x.isfinite().all() for x in named.values()]).tolist() if named else []
    return [name for name, whole in zip(named, finite, strict=True) if not whole]
