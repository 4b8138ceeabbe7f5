"""Processes that tests start: each has time enough, and none is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mgnet

# Seconds after which something hangs. It bounds no speed: what is tested needs a fraction of it, on a busy
# machine too.
TIMEOUT = 600


def environment(**more: str) -> dict[str, str]:
    """Give that of this process, in which Python finds this mgnet wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(Path(mgnet.__file__).parent.parent), **more}


@contextmanager
def started(*argv: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run Python beside this process; at the end of the block it is gone, and so is what it started."""
    usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment()}
    command = [sys.executable, *argv]
    process = subprocess.Popen(command, text=True, start_new_session=True, **{**usual, **options})
    try:
        yield process
    finally:
        if process.poll() is None:  # torchrun's own processes have sessions of their own: it ends them
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread or process does."""
    last = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a process; give its exit code and what it said, except that it compiled."""
    out, err = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err and without_notice(err))


def without_notice(said: str) -> str:
    """Take out that loops were compiled, which depends on who came before."""
    return re.sub(r"(?m)^mgnet: compiling loops.*\n", "", said)


def finished(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    with started(*argv, **options) as process:
        return ended(process)
