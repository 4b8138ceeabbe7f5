"""Training and testing: the loop, recipes as data, the figures of a run and the folder that it is in."""

from .judging import DivergedError, evaluate, predict
from .loop import fit
from .run_folder import BEST, LAST

__all__ = ["BEST", "LAST", "DivergedError", "evaluate", "fit", "predict"]
