"""One set of convolution operators with two uses: multigrid for Poisson problems, and networks.

The public names are loaded when they are first used, so that ``import mgnet`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data, models
    from .box_problem import Poisson
    from .checkpoint import CheckpointError
    from .checks import ResourceError
    from .grid import Grid
    from .hierarchy import Hierarchy
    from .history import History
    from .iteration import Status
    from .operators import Prolongation, Restriction, Stencil
    from .problem import Dirichlet, Neumann, Robin
    from .recipes import Recipe
    from .solution import ConvergenceError, Solution
    from .solver import solve
    from .stiffness import Stiffness
    from .train import DivergedError, evaluate, fit, predict

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "checkpoint",
    "ConvergenceError": "solution",
    "Dirichlet": "problem",
    "DivergedError": "train",
    "Grid": "grid",
    "Hierarchy": "hierarchy",
    "History": "history",
    "Neumann": "problem",
    "Poisson": "box_problem",
    "Prolongation": "operators",
    "Recipe": "recipes",
    "ResourceError": "checks",
    "Restriction": "operators",
    "Robin": "problem",
    "Solution": "solution",
    "Status": "iteration",
    "Stencil": "operators",
    "Stiffness": "stiffness",
    "evaluate": "train",
    "fit": "train",
    "predict": "train",
    "solve": "solver",
}
# Modules whose names are used as they are: mgnet.models.create, mgnet.data.cifar10.
_MODULES = ("checkpoint", "data", "layers", "models", "operators", "plot", "stencils")

__all__ = [
    "CheckpointError",
    "ConvergenceError",
    "Dirichlet",
    "DivergedError",
    "Grid",
    "Hierarchy",
    "History",
    "Neumann",
    "Poisson",
    "Prolongation",
    "Recipe",
    "ResourceError",
    "Restriction",
    "Robin",
    "Solution",
    "Status",
    "Stencil",
    "Stiffness",
    "data",
    "evaluate",
    "fit",
    "models",
    "predict",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
