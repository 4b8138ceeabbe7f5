"""Signals: one ends a command in order, whenever it comes and however often."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random

import pytest
from processes import ended, finished, started, wait_until

from mgnet.core.signals import WORDS, until_signalled

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
ALL = pytest.mark.parametrize("number", list(WORDS), ids=lambda number: signal.Signals(number).name)
TRAIN = ["train", "net", "--dataset", "synthetic", "--epochs", "1"]
SOLVE = ["solve", "--rhs", "1", "--n", "32", "--dim", "2"]


def run(work: Callable[[], int]) -> int:
    """Run in the way of the command; a signal's number comes back negative."""
    before = [signal.getsignal(number) for number in WORDS]
    result = until_signalled(work, lambda number: -number)
    assert [signal.getsignal(number) for number in WORDS] == before
    return result


def test_what_is_not_disturbed_gives_its_own_code() -> None:
    assert run(lambda: 3) == 3


def test_an_error_is_no_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        until_signalled(lambda: 1 // 0, lambda number: -number)
    assert signal.getsignal(signal.SIGTERM) is before


@ALL
def test_a_signal_unwinds(number: int) -> None:
    tidied = []

    def work() -> int:
        try:
            signal.raise_signal(number)
        finally:
            tidied.append(number)
        return 0

    assert run(work) == -number
    assert tidied == [number]


@ALL
def test_a_second_one_does_not_disturb_the_tidying_up(number: int) -> None:
    tidied = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(number)
            tidied.append(number)
        return 0

    assert run(work) == -signal.SIGTERM
    assert tidied == [number]


@ALL
def test_what_is_ignored_stays_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run(lambda: signal.raise_signal(number) or 5) == 5
    finally:
        signal.signal(number, before)


def test_a_signal_that_somebody_swallows_ends_the_command_later() -> None:
    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass
        return 0

    assert run(work) == -signal.SIGTERM


def test_a_signal_that_a_library_makes_an_error_of() -> None:
    def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            raise RuntimeError("python_error") from error
        return 0

    assert run(work) == -signal.SIGINT


@posix
@ALL
def test_an_import_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (tmp_path / "mgnet_slow.py").write_text(f"import signal\nsignal.raise_signal({number})\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mgnet_slow", raising=False)
    after = []

    def work() -> int:
        after.append(import_module("mgnet_slow").whole)
        last = time.monotonic() + 600
        while time.monotonic() < last:
            pass
        return 0

    assert run(work) == -number
    assert after == [True]


@posix
def test_a_destructor_is_finished_first() -> None:
    done = []

    class Held:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)
            done.append(True)

    def work() -> int:
        Held()
        return 0

    assert run(work) == -signal.SIGTERM
    assert done == [True]


def assert_in_order(done: subprocess.CompletedProcess[str], number: int) -> None:
    """Look that a process has ended by a signal, in one line, or had done its work before."""
    assert done.returncode in (0, 128 + number), done.stderr
    if done.returncode and not done.stdout:  # where that is there, the work was done before, and is told
        assert done.stderr.splitlines()[-1:] == [f"mgnet: {WORDS[number]}"]
    assert done.stdout == "" or done.stdout.endswith("\n")
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert "gnored" not in done.stderr


# Run as 'python -c', it signals itself when a module is about to be imported; 0 is no signal.
AT_IMPORT = """
import importlib.abc, os, signal, sys
module, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            open("begun", "x").close()
            for _ in range(times):
                os.kill(os.getpid(), number)
sys.meta_path.insert(0, Watch())
sys.argv[1:] = sys.argv[4:]
from mgnet.__main__ import main
main()
"""


@posix
@pytest.mark.parametrize(
    ("module", "number", "argv"),
    [
        ("mgnet.cli", "SIGINT", SOLVE),
        ("torch", "SIGHUP", SOLVE),
        ("torch._C", "SIGINT", SOLVE),
        ("torch._tensor", "SIGTERM", SOLVE),
        ("torch.overrides", "SIGINT", SOLVE),
        ("numba.core.dispatcher", "SIGTERM", SOLVE),
        ("matplotlib.figure", "SIGINT", [*SOLVE, "--plot", "u.png"]),
        ("matplotlib.backends.backend_agg", "SIGTERM", [*SOLVE, "--plot", "u.png"]),
        ("mgnet.train", "SIGQUIT", TRAIN),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("own_folder")
def test_two_signals_amid_an_import(module: str, number: str, argv: list[str]) -> None:
    sent = int(getattr(signal, number))
    done = finished("-c", AT_IMPORT, module, str(sent), "2", *argv)
    assert done.returncode == 128 + sent, done.stderr
    assert_in_order(done, sent)
    assert [path.name for path in Path().iterdir()] == ["begun"]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("argv", [SOLVE, TRAIN], ids=lambda argv: argv[0])
@pytest.mark.usefixtures("own_folder")
def test_signals_at_any_moment(argv: list[str]) -> None:
    began = time.monotonic()
    assert finished("-m", "mgnet", *argv).returncode == 0
    whole, draw = time.monotonic() - began, Random(0)
    for _ in range(4):
        number = draw.choice([*WORDS])
        with started("-c", AT_IMPORT, "mgnet.cli", "0", "1", *argv) as process:
            wait_until(Path("begun").exists)  # before that Python is not there yet to handle anything
            Path("begun").unlink()
            time.sleep(draw.uniform(0, whole))
            for _ in range(draw.choice((1, 1, 2))):
                process.send_signal(number)
            assert_in_order(ended(process), number)


@posix
@pytest.mark.usefixtures("own_folder")
def test_a_closed_terminal_does_not_end_what_nohup_started() -> None:
    nohup = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    command = [sys.executable, "-c", AT_IMPORT, "torch", str(int(signal.SIGHUP)), "1", *SOLVE]
    done = finished("-c", f"{nohup}; os.execv(sys.executable, sys.argv[1:])", *command)
    assert done.returncode == 0, done.stderr
