"""The methods by name."""

from __future__ import annotations

from collections.abc import Callable

from ..multigrid.levels import NAMES, Options
from .cycling import Cycles
from .method import Method
from .once import Direct, Exact
from .system import System

__all__ = ["METHODS", "register"]

METHODS: dict[str, Callable[[System, Options], Method]] = {
    "exact": Exact,
    "direct": Direct,
    **dict.fromkeys(("vcycle", "wcycle", "fcycle", "fmg", "pcg"), Cycles),
}


def register(name: str, make: Callable[[System, Options], Method]) -> None:
    """Make a method known, also to :func:`mgnet.solve`.

    Parameters
    ----------
    name : str
        What ``method`` calls it.
    make : callable
        From a system and options to the method: its class.

    Raises
    ------
    ValueError
        When there is a method of that name.
    """
    if name in NAMES:
        raise ValueError(f"name: got {name!r}; accepted: one that is not taken")
    METHODS[name] = make
    NAMES.append(name)
