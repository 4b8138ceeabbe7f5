"""One set of convolution operators with two uses: multigrid for Poisson problems, and networks.

The public names are loaded when they are first used, so that ``import mgnet`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.imports import uncollected

if TYPE_CHECKING:
    from . import data, models
    from .checkpoint import CheckpointError
    from .core.resources import ResourceError
    from .operators.convolutions import Prolongation, Restriction, Stencil
    from .operators.stiffness import Stiffness
    from .poisson.conditions import Dirichlet, Neumann, Robin
    from .poisson.grid import Grid
    from .poisson.loads import load, mass
    from .poisson.problem import Poisson
    from .solver.hierarchy import Hierarchy
    from .solver.solution import ConvergenceError, Solution
    from .solver.solving import solve
    from .solver.stopping import Status
    from .train.history import History
    from .train.judging import DivergedError, evaluate, predict
    from .train.looking import occlusion
    from .train.loop import fit
    from .train.predicting import Prediction
    from .train.recipes import Recipe
    from .train.runs import Run, load_run

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "checkpoint",
    "ConvergenceError": "solver.solution",
    "Dirichlet": "poisson.conditions",
    "DivergedError": "train.judging",
    "Grid": "poisson.grid",
    "Hierarchy": "solver.hierarchy",
    "History": "train.history",
    "Neumann": "poisson.conditions",
    "Poisson": "poisson.problem",
    "Prediction": "train.predicting",
    "Prolongation": "operators.convolutions",
    "Recipe": "train.recipes",
    "ResourceError": "core.resources",
    "Restriction": "operators.convolutions",
    "Robin": "poisson.conditions",
    "Run": "train.runs",
    "Solution": "solver.solution",
    "Status": "solver.stopping",
    "Stencil": "operators.convolutions",
    "Stiffness": "operators.stiffness",
    "evaluate": "train.judging",
    "fit": "train.loop",
    "load": "poisson.loads",
    "load_run": "train.runs",
    "mass": "poisson.loads",
    "occlusion": "train.looking",
    "predict": "train.judging",
    "solve": "solver.solving",
}
# Modules whose names are used as they are: mgnet.models.create, mgnet.data.cifar10.
_MODULES = ("checkpoint", "data", "layers", "models", "operators", "plot", "stencils")

__all__ = ["CheckpointError", "ConvergenceError", "Dirichlet", "DivergedError", "Grid", "Hierarchy"]
__all__ += ["History", "Neumann", "Poisson", "Prediction", "Prolongation", "Recipe", "ResourceError"]
__all__ += ["Restriction", "Robin", "Run", "Solution", "Status", "Stencil", "Stiffness", "data", "evaluate"]
__all__ += ["fit", "load", "load_run", "mass", "models", "occlusion", "predict", "solve"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _loaded(name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_loaded(_HOMES[name]), name)
    return value


def _loaded(module: str) -> Any:
    with uncollected():
        return import_module(f".{module}", __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
