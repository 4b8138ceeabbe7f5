"""What all tests share: no screen, no deadlines, signals as a terminal leaves them, no GPU where none is."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from mgnet.core import checks
from mgnet.operators import loops

os.environ.setdefault("MPLBACKEND", "Agg")

# The first call of a kernel can take longer than Hypothesis allows an example; a repeatable run is worth
# more in CI than a new example.
settings.register_profile("mgnet", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mgnet")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of a GPU run on one that is pretended, in a process that does nothing else."""
    parser.addoption("--device", default="cuda", choices=("cuda", "pretended"), help="of tests marked cuda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests marked ``cuda`` where torch sees no GPU."""
    wanting = [item for item in items if item.get_closest_marker("cuda")]
    if not wanting or config.getoption("--device") == "pretended":
        return
    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture
def counts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Count what is asked of the device, where it is pretended; None on a real one."""
    if request.config.getoption("--device") == "cuda":
        yield None
        return
    import pretended

    monkeypatch.setattr(checks, "DEVICES", ("cpu", pretended.NAME))
    with loops.without(), pretended.pretended() as counts:  # by torch on both
        yield counts


@pytest.fixture
def device(request: pytest.FixtureRequest, counts: Any) -> str:
    """Name the device, as users do."""
    return request.config.getoption("--device")


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Take signals as a program does that a terminal starts, in this process and in those that a test starts.

    A shell starts what it runs in the background with SIGINT ignored, and what a process ignores, all that it
    starts ignores too.
    """
    own: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    own |= {getattr(signal, name): signal.SIG_DFL for name in ("SIGHUP", "SIGQUIT") if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def without_a_word() -> None:
    """Compile in silence: how long that takes depends on the machine, and whether, on earlier runs."""
    with contextlib.suppress(ImportError):
        from mgnet.kernels import compiling

        compiling.QUIET = math.inf


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small operations in many threads wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seed() -> None:
    """Draw the same numbers in each test."""
    torch.manual_seed(0)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
