"""One set of convolution operators with two uses: multigrid for Poisson problems, and networks.

The public names are loaded when they are first used, so that ``import mgnet`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks import ResourceError
    from .grid import Grid
    from .hierarchy import Hierarchy
    from .iteration import Status
    from .operators import Prolongation, Restriction, Stencil
    from .problem import Dirichlet, Neumann, Poisson, Robin
    from .solution import ConvergenceError, Solution
    from .solver import solve
    from .stiffness import Stiffness

__version__ = "0.1.0"

_HOMES = {
    "ConvergenceError": "solution",
    "Dirichlet": "problem",
    "Grid": "grid",
    "Hierarchy": "hierarchy",
    "Neumann": "problem",
    "Poisson": "problem",
    "Prolongation": "operators",
    "ResourceError": "checks",
    "Restriction": "operators",
    "Robin": "problem",
    "Solution": "solution",
    "Status": "iteration",
    "Stencil": "operators",
    "Stiffness": "stiffness",
    "solve": "solver",
}

__all__ = [
    "ConvergenceError",
    "Dirichlet",
    "Grid",
    "Hierarchy",
    "Neumann",
    "Poisson",
    "Prolongation",
    "ResourceError",
    "Restriction",
    "Robin",
    "Solution",
    "Status",
    "Stencil",
    "Stiffness",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
