"""Folders that cannot be a run's, and folders that two runs want."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_pre_hook

from faulty.children import End, ended, spawn, together, wait
from faulty.disk import SAVE, TRAIN
from faulty.runs import command, judged, prepare
from mgnet.train import LAST

NOBODY, STEP = 65534, "a step was made"


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Give all that is in a folder: kinds and contents by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = mode, path.read_bytes() if plain else b""
    return found


# Outs that no run can have.


def _is_file(place: Path) -> str:
    (place / "file").write_text("mine")
    return str(place / "file")


def _below_a_file(place: Path) -> str:
    return f"{_is_file(place)}/run"


def _linked_file(place: Path) -> str:
    (place / "link").symlink_to(_is_file(place))
    return str(place / "link")


def _dangling(place: Path) -> str:
    (place / "link").symlink_to(place / "nowhere")
    return str(place / "link")


def _loop(place: Path) -> str:
    (place / "link").symlink_to(place / "link")
    return str(place / "link")


def _pipe(place: Path) -> str:
    os.mkfifo(place / "pipe")
    return str(place / "pipe")


def _socket(place: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
    return str(place / "socket")


def _checkpoint_is_a_folder(place: Path) -> str:
    (place / "run" / LAST).mkdir(parents=True)
    return str(place / "run")


def _checkpoint_is_a_link(place: Path) -> str:
    (place / "precious").write_text("mine")
    (place / "run").mkdir()
    (place / "run" / LAST).symlink_to(place / "precious")
    return str(place / "run")


def _checkpoint_leads_nowhere(place: Path) -> str:
    (place / "run").mkdir()
    (place / "run" / LAST).symlink_to(place / "new")
    return str(place / "run")


def _read_only(place: Path) -> str:
    (place / "folder").mkdir(mode=0o555)
    return str(place / "folder" / "run")


def _itself_read_only(place: Path) -> str:
    (place / "folder").mkdir(mode=0o555)
    return str(place / "folder")


def _another_run(place: Path) -> str:
    end = ended(partial(command, *TRAIN, "--seed", "7", "--out", str(place / "run")), place.parent)
    if end.code != 0:
        raise RuntimeError(f"an undisturbed run {end}")
    return str(place / "run")


ORDINARY = "a new folder"
OUTS: dict[str, Callable[[Path], str]] = {
    ORDINARY: lambda place: str(place / "new" / "run"),
    "a file": _is_file,
    "below a file": _below_a_file,
    "a link to a file": _linked_file,
    "a link to nowhere": _dangling,
    "a link to itself": _loop,
    "a pipe": _pipe,
    "a socket": _socket,
    "/dev/null": lambda place: "/dev/null",
    "below /dev/null": lambda place: "/dev/null/run",
    "below /proc": lambda place: "/proc/run",
    "nothing": lambda place: "",
    "a name too long": lambda place: str(place / ("n" * 300)),
    "a path too long": lambda place: str(place / "/".join(["n" * 200] * 25)),
    "a name with a zero": lambda place: f"{place}/a\0b",
    "a read-only folder": _itself_read_only,
    "in a read-only folder": _read_only,
    "where last.ckpt is a folder": _checkpoint_is_a_folder,
    "where last.ckpt leads elsewhere": _checkpoint_is_a_link,
    "where last.ckpt leads nowhere": _checkpoint_leads_nowhere,
    "another run": _another_run,
}


def refusal(name: str, folder: Path) -> str:
    """Train into what cannot be a run's folder: refused before the first step, and nothing changed.

    An ordinary folder is taken under the same circumstances, or the others would prove nothing.
    """
    place = folder / name.replace("/", "-")
    place.mkdir()
    out = OUTS[name](place)
    before = tree(place)
    end = ended(partial(_try, place, out), folder)
    if name == ORDINARY:
        return "" if end.code == 0 and STEP in end.said else f"{name}: {end}"
    if end.code != 2 or STEP in end.said:
        return f"{name}: {end}"
    changed = set(tree(place)) ^ set(before)
    return "" if tree(place) == before else f"{name}: changed {sorted(changed)}"


def _try(place: Path, out: str) -> int:
    if os.geteuid() == 0:  # no permission binds this one
        for path in (place, *place.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    register_optimizer_step_pre_hook(lambda *_: print(STEP, file=sys.stderr))
    os.chdir(place)  # where nothing is written
    return command(*TRAIN, "--out", out)


# Two runs, one folder.


class Held:
    """A run that stands still with its folder until it is told to go on."""

    def __init__(self, out: Path, *more: str) -> None:
        self.said = out.parent / f"said-{out.name}"
        self.inside, inside = os.pipe()
        on, self.on = os.pipe()

        def train() -> int:
            os.close(self.on)
            prepare(2, lambda: (os.write(inside, b"."), os.read(on, 1)))
            return command(*TRAIN, *SAVE, "--out", str(out), *more)

        self.pid = spawn(train, self.said)
        os.close(inside)
        os.close(on)
        os.read(self.inside, 1)

    def end(self) -> End:
        """Let it go on to its end."""
        os.close(self.on)
        os.close(self.inside)
        end = wait(self.pid, self.said)
        self.said.unlink()
        return end


def train(out: Path, *more: str) -> End:
    """Train in a process of its own."""
    return ended(partial(command, *TRAIN, *SAVE, "--out", str(out), *more), out.parent)


def begin(out: Path, *more: str) -> None:
    """Leave a run that is not finished."""

    def stopped() -> int:
        prepare(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        return command(*TRAIN, *SAVE, "--out", str(out), *more)

    end = ended(stopped, out.parent)
    if end.code != 143:
        raise RuntimeError(f"a run that was stopped {end}")


def refused(out: Path, *more: str) -> str:
    """Start a run that must be refused, and must change nothing."""
    before = tree(out)
    end = train(out, *more)
    if end.code != 2:
        return f"a second run {end}"
    return "" if tree(out) == before else "a second run changed the folder"


def _another_after(out: Path) -> str:
    train(out)
    return refused(out, "--seed", "7") or judged(out, whole(out))


def _the_same_after(out: Path) -> str:
    train(out)
    return refused(out) or judged(out, whole(out))


def _another_after_an_unfinished(out: Path) -> str:
    begin(out)
    return refused(out, "--seed", "7") or refused(out) or _goes_on(out)


def _resumed_as_another(out: Path) -> str:
    begin(out)
    return (
        refused(out, "--resume", "--momentum", "0.5")
        or refused(out, "--resume", "--seed", "7")
        or _goes_on(out)
    )


def _overwritten(out: Path) -> str:
    begin(out, "--seed", "7")
    end = train(out, "--overwrite")
    return judged(out, whole(out)) if end.code == 0 else str(end)


def _at_once(out: Path) -> str:
    held = Held(out)
    found = refused(out) or refused(out, "--resume") or refused(out, "--overwrite")
    end = held.end()
    return found or (judged(out, whole(out)) if end.code == 0 else f"the first {end}")


def _two_resumes(out: Path) -> str:
    begin(out)
    held = Held(out, "--resume")
    found = refused(out, "--resume") or refused(out, "--overwrite")
    end = held.end()
    return found or (judged(out, whole(out)) if end.code == 0 else f"the first {end}")


def _killed_with_the_folder(out: Path) -> str:
    held = Held(out)
    os.kill(held.pid, signal.SIGKILL)
    held.end()
    return _goes_on(out)


def _race(out: Path) -> str:
    call = partial(command, *TRAIN, *SAVE, "--out", str(out))
    codes = sorted(str(end.code) for end in together([call] * 4, out.parent))
    return judged(out, whole(out)) if codes == ["0", "2", "2", "2"] else f"four starts end with {codes}"


def _goes_on(out: Path) -> str:
    end = train(out, "--resume")
    return judged(out, whole(out)) if end.code == 0 else f"going on {end}"


PAIRS: dict[str, Callable[[Path], str]] = {
    "another, when one is finished": _another_after,
    "the same, when it is finished": _the_same_after,
    "another, when one is not finished": _another_after_an_unfinished,
    "gone on with as another": _resumed_as_another,
    "overwritten": _overwritten,
    "a second while one runs": _at_once,
    "two resumed at once": _two_resumes,
    "one that was killed, gone on with": _killed_with_the_folder,
    **{f"four starts at once, {i}": _race for i in range(1, 9)},
}


def whole(out: Path) -> Path:
    """Give the folder of the undisturbed run."""
    return out.parent / "whole"


def pair(name: str, folder: Path) -> str:
    """Let two runs want one folder; what wins ends as if alone."""
    out = folder / name.replace(" ", "-")
    found = PAIRS[name](out)
    shutil.rmtree(out, ignore_errors=True)
    return f"{name}: {found}" if found else ""
