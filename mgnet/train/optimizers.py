"""The optimiser of a recipe, and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .recipes import Recipe

__all__ = ["create", "load", "set_rate"]


def create(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser; norms and biases are not pulled towards zero."""
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
    """Take up the ``state`` of another's ``state_dict()``; rates and decay stay those of the recipe."""
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for p, state in optimizer.state.items():
        for name, x in state.items():
            if isinstance(x, Tensor) and x.ndim and x.shape != p.shape:
                raise ValueError(f"{name} has shape {tuple(x.shape)}, its parameter {tuple(p.shape)}")


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    """Set the learning rate after so many steps of a run, where an epoch has ``steps``."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * _share(recipe, step, recipe.epochs * steps)


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
