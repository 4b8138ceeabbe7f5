"""Cycles as CUDA graphs: what many launches do, a GPU repeats at the cost of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.kinds import tracked
from ..core.precision import full_precision
from ..operators.contract import Map

__all__ = ["Replayed", "capture"]

# Shapes of vectors of which a graph is kept, each with the memory that it works in.
KEPT = 4
# Calls before the one that is captured: kernels are compiled by then, and tables are sent.
WARM = 2


class _Graph(NamedTuple):
    """A captured call: the memory that it reads, what repeats it, and the memory that it writes."""

    given: Tensor
    replay: Callable[[], None]
    found: Tensor


class _Known(threading.local):
    """The graphs of this thread by shape, the one that was used last at the end."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, ...], _Graph] = {}


class Replayed:
    """A map of vectors on a GPU, captured once for each shape and then replayed.

    Parameters
    ----------
    call : callable
        The map: from a vector to a new one, by launches alone.
    """

    def __init__(self, call: Map) -> None:
        self.call, self._known = call, _Known()

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the map makes of a vector; the next call for such a shape overwrites it."""
        if tracked(x):
            return self.call(x)
        known, shape = self._known.of, tuple(x.shape)
        graph = known.pop(shape, None)
        if graph is None:
            given = x.detach().clone(memory_format=torch.contiguous_format)
            with torch.no_grad(), full_precision():
                graph = _Graph(given, *capture(self.call, given))
        else:
            graph.given.copy_(x)
        known[shape] = graph
        if len(known) > KEPT:
            del known[next(iter(known))]
        graph.replay()
        return graph.found


def capture(call: Map, given: Tensor) -> tuple[Callable[[], None], Tensor]:
    """Capture a call for a vector.

    Parameters
    ----------
    call : callable
        What is captured. It may not wait for the device, nor may it need memory that is not on it.
    given : torch.Tensor
        The vector, on a CUDA device. What stands in it at the time of a replay counts.

    Returns
    -------
    (callable, torch.Tensor)
        What repeats the call, and the memory that it writes the result into.
    """
    with torch.cuda.device(given.device):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # no capture begins while the first calls are under way
            for _ in range(WARM):
                call(given)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = call(given)
    return graph.replay, found
