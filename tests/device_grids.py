"""Small grids of every kind that the passes for a device have to do with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import mgnet
from mgnet.multigrid.cycles import Level


def boxes() -> dict[str, dict[str, Any]]:
    """Give problems by name, all in boxes; odd sizes keep a cell, or take one in, on the next grid."""
    rng = np.random.default_rng(0)
    natural = {"left": mgnet.Neumann(0.0), "top": mgnet.Robin(1.5, 0.0)}
    cells, whole = np.ones((20, 19), dtype=bool), 1 + rng.random((8, 11))
    cells[3:6, 3:7] = False
    return {
        "equal": {"n": (8, 11)},
        "equal, natural": {"n": (9, 7), "boundary": natural, "c": 2.0},
        "equal, periodic": {"n": (9, 7), "periodic": True},
        "equal, lumped c": {"n": (8, 11), "c": np.full((9, 12), 3.0), "boundary": natural},
        "cells": {"n": (8, 11), "a": whole},
        "cells, natural": {"n": (8, 11), "a": whole, "boundary": natural, "c": rng.random((9, 12))},
        "cells, periodic": {"n": (8, 11), "a": whole, "periodic": (False, True), "c": 2.0},
        "gaps": {"n": (20, 19), "cells": cells},
        "jumps": {"n": 20, "a": 10 ** rng.uniform(-2, 2, (20, 20))},
        "equal, 3-D": {"n": (5, 6, 4), "dim": 3, "periodic": (False, False, True), "c": 1.0},
        "cells, 3-D": {"n": (4, 6, 5), "dim": 3, "a": 1 + rng.random((4, 6, 5)), "boundary": natural},
    }


def levels_of(name: str, dtype: torch.dtype) -> list[Level]:
    """Give the grids of a problem, finest first."""
    problem = mgnet.Poisson(**{"dim": 2, **boxes()[name]})
    return mgnet.Hierarchy(problem, method="vcycle", dtype=dtype).levels
