"""What is to be seen of numbers on a GPU, at one time: each look by itself waits for all that was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["look", "settle", "together"]

# What is to be seen, and what says whether it is as it should be.
Look = tuple[list[Tensor], Callable[[list[float]], None]]


class _Here(threading.local):
    """The looks of this thread that are still to be taken; none where each is taken at once."""

    waiting: list[Look] | None = None


_here = _Here()


@contextmanager
def together() -> Iterator[None]:
    """Put off looks at numbers on a GPU until :func:`settle` is called, or the context is left.

    What a look finds wrong is then raised there, also in place of an error that it may have led to.
    """
    if _here.waiting is not None:
        yield
        return
    _here.waiting = []
    try:
        try:
            yield
        finally:
            settle()
    finally:
        _here.waiting = None


def look(numbers: Sequence[Tensor], judge: Callable[[list[float]], None]) -> None:
    """Have numbers judged, in float64 and in their order: now, or with others where that waits for a GPU."""
    flat = [number.detach().reshape(-1) for number in numbers]
    if _here.waiting is None or all(x.device.type == "cpu" for x in flat):
        judge(_read(flat))
    else:
        _here.waiting.append((flat, judge))


def settle(*numbers: Tensor) -> list[float]:
    """Take all looks that were put off, and give numbers, whatever their shapes, from the same read."""
    waiting = _here.waiting or []
    if waiting:
        _here.waiting = []
    flat = [number.detach().reshape(-1) for number in numbers]
    groups = [*(part for part, _ in waiting), flat]
    values = iter(_read([x for group in groups for x in group]))
    found = [[next(values) for x in group for _ in range(len(x))] for group in groups]
    for (_, judge), seen in zip(waiting, found, strict=False):
        judge(seen)
    return found[-1]


def _read(flat: list[Tensor]) -> list[float]:
    """Give vectors one after the other, in one read if they are on one device."""
    if len({x.device for x in flat}) > 1:
        return [value for x in flat for value in x.tolist()]
    if len(flat) > 1:
        flat = [torch.cat([x if x.is_floating_point() else x.double() for x in flat])]
    return [value for x in flat for value in x.tolist()]
