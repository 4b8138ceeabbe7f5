"""A command that several processes of ``torchrun`` run together: one table, one message, whatever happens."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import shell
from .shell import RESOURCES, CommandError, refused
from .values import constant

if TYPE_CHECKING:
    from ..core.processes import Processes

__all__ = [
    "agreed",
    "are",
    "files",
    "gathered",
    "joined",
    "share",
    "slab_file",
    "speak_by_turns",
    "speaks",
    "write",
]

# Seconds that who speaks for all waits for the others to say that they are there.
PATIENCE = 2.0
# What gloo, NCCL and torch's store say when another process is gone, or does not answer.
LOST = re.compile(
    r"connection|closed by peer|reset by peer|broken pipe|socket|timed out|timeout|remote process|nccl", re.I
)
# What is said of a process of which nothing more is known.
GONE = "another process is lost: "


def are() -> bool:
    """Say whether ``torchrun`` has started more than this process."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def share(count: int) -> range:
    """Return which of so many numbers this process looks at, of those that one of all has to."""
    rank, world = (int(os.environ.get(name) or one) for name, one in (("RANK", 0), ("WORLD_SIZE", 1)))
    return range(count * rank // world, count * (rank + 1) // world)


def speaks(processes: Processes | None) -> bool:
    """Say whether this process reports."""
    return processes is None or processes.writes


def gathered(processes: Processes | None, found: Any) -> list[Any]:
    """Return what each process has found."""
    return [found] if processes is None else processes.gathered(found)


def slab_file(processes: Processes | None, path: str | None) -> str | None:
    """Return the name of the file of this process's slab: the number of the process before the ending."""
    if path is None:
        return None
    stem, ending = os.path.splitext(path)
    return f"{stem}.{0 if processes is None else processes.rank}{ending}"


def files(processes: Processes | None, arguments: argparse.Namespace) -> list[str]:
    """Return the names of all files that are written."""
    slabs = gathered(processes, slab_file(processes, arguments.out_slabs))
    found = [path for path in (arguments.out, *slabs, arguments.plot) if path]
    for path in found:
        if sum(os.path.realpath(path) == os.path.realpath(other) for other in found) > 1:
            raise CommandError(
                f"--out, --out-slabs, --plot: got {path} twice; accepted: another file for each"
            )
    return found


def write(
    processes: Processes | None,
    solution: Any,
    arguments: argparse.Namespace,
    files: Callable[[Any, str | None, str | None], None],
) -> None:
    """Write the files: those of the whole by the first process, and by each that of its slab."""
    whole = solution
    if processes is not None and (arguments.out or arguments.plot):
        whole = solution.gathered(0)

    def act() -> None:
        if speaks(processes):
            files(whole, arguments.out, arguments.plot)
        files(solution, slab_file(processes, arguments.out_slabs), None)

    agreed(processes, act)


@contextmanager
def joined(arguments: argparse.Namespace) -> Iterator[Processes]:
    """Join the other processes, as ``--device`` and ``--timeout`` say.

    A process that is lost ends all others, with the exit code 5; one speaks for all.
    """
    timeout = constant("--timeout", arguments.timeout)
    if timeout is not None and not timeout > 0:
        raise CommandError(f"--timeout: got {arguments.timeout!r}; accepted: seconds, more than 0")
    from ..core.checks import find_device
    from ..core.processes import Processes, together

    with refused():
        device = find_device(arguments.device)
        if device.type == "cuda":
            import torch

            arguments.device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(find_device(arguments.device))
    with _lost_is_told(), _environment_is_whole(together(device, timeout)), _lost_is_told():
        yield Processes()


@contextmanager
def _environment_is_whole(context: Any) -> Iterator[None]:
    """Enter a context, whose refusal is the end of the command."""
    with ExitStack() as stack:
        with refused():
            stack.enter_context(context)
        yield


@contextmanager
def _lost_is_told() -> Iterator[None]:
    """Turn what torch says when another process is gone into the end of the command."""
    try:
        yield
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        from ..core.signals import ignore

        ignore()
        said = str(error).partition(". This is typically")[0].rpartition("] ")[2] or str(error)
        raise CommandError(f"{GONE}{said}", RESOURCES) from error


def _is_loss(error: RuntimeError) -> bool:
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and LOST.search(str(error)) is not None


def agreed(processes: Processes | None, action: Callable[[], Any]) -> Any:
    """Return what an action of each process returns; an error of one ends all, with its exit code."""
    if processes is None:
        return action()
    found, error = None, None
    try:
        found = action()
    except Exception as caught:
        error = caught
    said = None if error is None else (str(error), getattr(error, "code", shell.USAGE))
    told = [each for each in processes.gathered(said) if each is not None]
    if error is not None:
        raise error
    if told:
        raise CommandError(*told[0])
    return found


def speak_by_turns() -> None:
    """Let one of several processes say what there is to say, from here on."""
    if are():
        shell.speak_by(_Voice())


class _Voice:
    """Which of the processes says what is wrong: the first that asks, and who does not answer then.

    They meet at a store, ``torchrun``'s own, which outlives them.
    """

    def __init__(self) -> None:
        self.key = f"mgnet/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        rank, world = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
        known = rank.isdigit() and world.isdigit()
        self.rank, self.world = (int(rank), int(world)) if known else (0, 1)

    def __call__(self, message: str, code: int) -> str | None:
        """Return what this process is to say, if anything."""
        if code == shell.DONE:  # a warning
            return message if self.rank == 0 else None
        from ..core.signals import ignore

        ignore()  # torchrun ends who is left; this takes a moment, and then it is the end
        try:
            store = self._store()
            store.set(f"{self.key}/there/{self.rank}", "1")
            if store.add(f"{self.key}/said", 1) > 1:
                return None
            missing = self._missing(store)
        except Exception:  # no store: its process is gone
            return message if self.rank == min(1, self.world - 1) else None
        if not missing:
            return message
        who = f"process{'es' if len(missing) > 1 else ''} {', '.join(map(str, missing))} of {self.world}"
        why = message.removeprefix("error: ").removeprefix(GONE)
        return f"error: lost {who}, seen by process {self.rank} ({why})"

    def _store(self) -> Any:
        import torch.distributed as dist

        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # The type checker does not know it.
        return vars(dist)["TCPStore"](host, port, None, False, timedelta(seconds=PATIENCE))

    def _missing(self, store: Any) -> list[int]:
        """Wait for the others, and return who has not come."""
        end = time.monotonic() + PATIENCE
        missing = list(range(self.world))
        while missing and time.monotonic() < end:
            with suppress(Exception):
                missing = [rank for rank in missing if not store.check([f"{self.key}/there/{rank}"])]
            time.sleep(0.01)
        return missing
