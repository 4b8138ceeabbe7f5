"""What the processes of a group agree on: that none has failed, and whether a message can be waited for."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from ...core.checks import shown
from ...core.processes import Processes
from ...core.resources import ResourceError
from ...poisson.problem import Poisson
from ..stopping import Stopping

__all__ = ["Posed", "first_message", "place", "processes_of", "raise_together", "summed"]

# Numbers of the first message: whether a process has failed, and what it has.
LENGTH = 17
# Errors that another process may hear of, by their names.
KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (ValueError, TypeError, ResourceError, MemoryError, OSError)
}


class Posed(NamedTuple):
    """What is to be solved, how, and when to stop.

    Parameters
    ----------
    problem : Poisson
        The whole problem.
    options : dict
        As :class:`mgnet.Hierarchy` takes them, with ``dtype`` and ``device``.
    stopping : Stopping
        When to stop.
    x0 : array, optional
        First guess.
    """

    problem: Poisson
    options: dict[str, Any]
    stopping: Stopping
    x0: Any


def processes_of(group: Any) -> Processes:
    """Return the processes of a group, all where it is None; of no group, this one alone.

    Raises
    ------
    TypeError, ValueError
        For what is no group, and for a group that this process is not in.
    """
    if group is None:
        return Processes()
    member = getattr(getattr(dist, "GroupMember", None), "NON_GROUP_MEMBER", None)
    if group is member:
        accepted = "a group that this process is in, or None"
        raise ValueError(f"group: got one that this process is not in; accepted: {accepted}")
    if not (dist.is_available() and isinstance(group, dist.ProcessGroup)):
        accepted = "what torch.distributed.new_group returns, or None"
        raise TypeError(f"group: got {shown(group)}; accepted: {accepted}")
    return Processes(group)


def place(processes: Processes) -> torch.device:
    """Return where tensors lie that the processes send: NCCL's on their GPUs, gloo's on the CPU."""
    if dist.is_initialized() and dist.get_backend(processes.group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def summed(processes: Processes, x: Tensor) -> Tensor:
    """Return the sum over all processes, where x is."""
    return processes.summed(x.contiguous().to(place(processes))).to(x.device)


def first_message(processes: Processes, numbers: list[float], error: Exception | None) -> Tensor:
    """Give some numbers to all processes, and take theirs, shape (world, numbers), float64 on the CPU.

    Where one has failed, all raise an error: it is the same message, so that nobody waits for another.
    """
    own = torch.zeros(LENGTH, dtype=torch.float64)
    own[0] = float(error is not None)
    if error is None:
        own[1 : len(numbers) + 1] = torch.tensor(numbers, dtype=torch.float64)
    heads = processes.stacked(own.to(place(processes))).cpu()
    if bool(heads[:, 0].any()):
        raise_together(processes, error)
    return heads[:, 1:]


def raise_together(processes: Processes, error: Exception | None) -> NoReturn:
    """Raise the error of this process or, where it has none, the first that another has."""
    said = None if error is None else (type(error).__name__, str(error))
    told = processes.gathered(said)
    if error is not None:
        raise error
    rank, (kind, text) = next((rank, each) for rank, each in enumerate(told) if each is not None)
    known = KINDS.get(kind)
    if known is None:
        raise RuntimeError(f"process {rank} of {processes.world} failed with {kind}: {text}")
    raise known(text)
