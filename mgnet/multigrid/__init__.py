"""Cycles over grids: levels, the textbook's cycle, the coarsest grid, and the exact cycle of an interval."""

from .cycles import Level, cycle, descend, full_multigrid
from .krylov import ConjugateGradients
from .levels import Options, build_levels

__all__ = ["ConjugateGradients", "Level", "Options", "build_levels", "cycle", "descend", "full_multigrid"]
