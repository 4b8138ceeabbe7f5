"""Methods, and when to stop: from a problem to a solution whose error is estimated."""

from .solving import solve

__all__ = ["solve"]
