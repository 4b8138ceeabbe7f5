"""Packages that only some of the functions need, and that an extra installs."""

from __future__ import annotations

import importlib.util

__all__ = ["require"]


def require(package: str, extra: str) -> None:
    """Raise an ImportError that says which extra to install, unless a package is there."""
    if importlib.util.find_spec(package) is None:
        needed = f"pip install 'mgnet-companion[{extra}]'"
        raise ImportError(f"{package}: not installed; accepted: {needed}", name=package)
