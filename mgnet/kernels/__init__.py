"""The operators again, as compiled loops over memory for a CPU; knows arrays and numbers only.

Nothing here is imported before the first solve, since that brings Numba: :mod:`mgnet.operators.loops` is the
only door.
"""
