"""The optimiser of a recipe, and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .recipes import Recipe

__all__ = ["create", "go_to", "load", "schedule"]


def create(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser; norms and biases are not pulled towards zero.

    Lazy layers know their shapes by then.
    """
    numbers = [p for p in model.parameters() if p.requires_grad]
    groups = [
        # eq: weight-decay
        {"params": [p for p in numbers if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in numbers if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))  # eq: adamw
    nesterov = recipe.nesterov and recipe.momentum > 0  # eq: nesterov
    # eq: momentum
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)


def load(optimizer: torch.optim.Optimizer, moments: dict[int, dict[str, Any]]) -> None:
    """Take up the ``state`` of another's ``state_dict()``; rates and decay stay those of the recipe.

    Moments that belong to other parameters are a ValueError.
    """
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for p, state in optimizer.state.items():
        for name, x in state.items():
            if isinstance(x, Tensor) and x.ndim and x.shape != p.shape:
                raise ValueError(f"{name} has shape {tuple(x.shape)}, its parameter {tuple(p.shape)}")


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Any:
    """Return the schedule of the learning rate, a new value for every step.

    ``steps`` are those of an epoch.
    """
    total = recipe.epochs * steps
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(recipe, step, total))


def go_to(schedule: Any, step: int) -> None:
    """Put a new schedule where it is after some steps."""
    schedule.last_epoch = step
    rates = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    schedule._last_lr = [base * share(step) for base, share in rates]
    for group, lr in zip(schedule.optimizer.param_groups, schedule._last_lr, strict=True):
        group["lr"] = lr


def _share(recipe: Recipe, step: int, total: int) -> float:
    """Return which share of the largest learning rate a step has."""
    if recipe.schedule == "milestones":
        return 0.1 ** sum(step >= share * total for share in recipe.milestones)  # eq: milestones
    if recipe.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * step / total)  # eq: cosine
    if recipe.schedule == "onecycle":
        middle = (step + 0.5) / total  # no step has rate zero
        rise = middle / recipe.warmup if recipe.warmup else 1.0
        return max(0.0, min(rise, (1 - middle) / (1 - recipe.warmup)))  # eq: one-cycle
    return 1.0
