"""How loops are compiled: once for a machine, kept on disk, with a word on stderr if that takes a while."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
import threading
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


def _keep_somewhere() -> None:
    """Choose a folder of this user for compiled loops where neither the package nor its home is writable."""
    config: Any = numba.config
    if config.CACHE_DIR or _writable(Path(__file__).parent / "__pycache__"):
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not _writable(home):
        config.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"mgnet-{getpass.getuser()}")


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


_keep_somewhere()
event.register("numba:compile", _Notice())

# Sums keep their order, which accuracy rests on; a multiplication and an addition may become one.
compiled = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
