"""Boxes over several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.processes import Processes
from ...multigrid.levels import Options
from ...poisson.problem import Poisson
from ..stopping import Outcome, Stopping

__all__ = ["solve_box"]


def solve_box(
    problem: Poisson,
    processes: Processes,
    options: Options,
    stopping: Stopping,
    dtype: torch.dtype,
    device: torch.device,
    x0: Any,
) -> tuple[Tensor, Outcome]:
    """Return the values at all nodes of the slab of this process, and how the iteration ended."""
    got = f"{problem.dim} over {processes.world} processes"
    raise ValueError(f"dim: got {got}; accepted: 1, or a group of one process")
