"""How loops are compiled: once for a machine, kept on disk, with a word on stderr if that takes a while."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

__all__ = ["compiled"]

# Seconds of compiling that nobody wonders about.
QUIET = 1.0


class _Notice(event.Listener):
    """Says once that loops are compiled, when that has taken longer than nobody wonders about."""

    def __init__(self) -> None:
        self.depth, self.said = 0, False
        self.timer = threading.Timer(QUIET, self._say)

    def on_start(self, event: Any) -> None:
        """Start the clock with the first loop of this package that is compiled."""
        if not event.data["dispatcher"].py_func.__module__.startswith("mgnet."):
            return
        self.depth += 1
        if self.depth == 1 and not self.said:
            self.timer = threading.Timer(QUIET, self._say)
            self.timer.daemon = True
            self.timer.start()

    def on_end(self, event: Any) -> None:
        """Stop the clock when nothing is compiled any more."""
        if event.data["dispatcher"].py_func.__module__.startswith("mgnet."):
            self.depth -= 1
            if not self.depth:
                self.timer.cancel()

    def _say(self) -> None:
        if not self.said:
            self.said = True
            print(
                "mgnet: compiling loops for this processor, once; some seconds", file=sys.stderr, flush=True
            )


@lru_cache(maxsize=1)
def _folder() -> str:
    """Give the folder where compiled loops of these sources are kept.

    It lies in the package or, where that is not writable, in the user's cache or among temporary files;
    ``NUMBA_CACHE_DIR`` overrides. Numba looks at the file of a loop, not at those of the loops that it calls,
    so the name of the folder tells all sources apart.
    """
    here = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(here.glob("*.py")))
    name = f"mgnet-{hashlib.sha256(sources).hexdigest()[:16]}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = [Path(_config.CACHE_DIR)] if _config.CACHE_DIR else []
    for base in (*given, here / "__pycache__", home):
        if _writable(base):
            return str(base / name)
    return str(Path(tempfile.gettempdir()) / f"{name}-{getpass.getuser()}")


def _writable(folder: Path) -> bool:
    """Say whether there is such a folder, or can be, that this user may write into."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def compiled(function: Any, *more: str) -> Any:
    """Compile a loop when it is first called; ``more`` are liberties with arithmetic that it may take.

    Sums keep their order, which accuracy rests on; a multiplication and an addition may become one.
    """
    before, _config.CACHE_DIR = _config.CACHE_DIR, _folder()
    try:
        options = {"fastmath": {"contract", "nsz", *more}, "error_model": "numpy"}
        return numba.njit(nogil=True, cache=True, **options)(function)
    finally:
        _config.CACHE_DIR = before


_config: Any = numba.config
event.register("numba:compile", _Notice())
