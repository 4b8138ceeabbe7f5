"""Cycles over grids: levels, the textbook's cycle, the coarsest grid, and the exact cycle of an interval."""

from .cycles import ConjugateGradients, Level, Options, build_levels, cycle, descend, full_multigrid

__all__ = ["ConjugateGradients", "Level", "Options", "build_levels", "cycle", "descend", "full_multigrid"]
