"""Launches and waits of solves on a device, counted on one that is pretended: ``docs/devices.md``.

::

    python benchmarks/launches.py

No time is measured, so any machine will do. What is counted are the operations that torch hands to a device,
and the times that the host waits for one; a library may start more than one kernel for an operation.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mgnet
from mgnet.core import checks
from mgnet.multigrid import exact
from mgnet.operators import loops

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

Asked = Callable[[], Any]


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Draw numbers between a half and one and a half on the device."""
    return torch.from_numpy(0.5 + np.random.default_rng(0).random(shape)).to(dtype).to("pretended")


def lines(n: int, dtype: torch.dtype) -> Iterator[tuple[str, Asked]]:
    """Give solves on an interval, from nothing and once it is set up."""
    robin = {"left": mgnet.Robin(1.0, 2.0), "right": mgnet.Robin(0.5, 1.0)}
    ends: dict[str, dict[str, Any]] = {"": {}, ", Robin": robin, ", periodic": {"periodic": True}}
    for varies, (end, conditions) in itertools.product(((), ("a",), ("a", "c")), ends.items()):
        data: dict[str, Any] = {name: drawn(n + (name == "c"), dtype=dtype) for name in varies}
        data |= {"compatible": "project", **conditions}
        f, name = drawn(n + 1, dtype=dtype), f"1-D {n}, {', '.join(varies) or 'a = 1'}{end}, {dtype}"
        yield name, lambda f=f, data=data: mgnet.solve(f, n=n, **data)
        if not conditions:
            made = mgnet.Hierarchy(mgnet.Poisson(n=n, **data), dtype=dtype, device="pretended")
            made.solve(f[1:-1])
            yield f"{name}, again", lambda f=f, made=made: made.solve(f[1:-1])


def boxes(dim: int, n: int) -> Iterator[tuple[str, Asked]]:
    """Give solves in a box, and setting up its grids."""
    f, a = drawn(*[n + 1] * dim), drawn(*[n] * dim)
    yield f"{dim}-D {n}, a = 1", lambda: mgnet.solve(f, n=n, dim=dim)
    yield f"{dim}-D {n}, a per cell", lambda: mgnet.solve(f, n=n, dim=dim, a=a)
    problem = mgnet.Poisson(n=n, dim=dim, a=a)
    yield f"{dim}-D {n}, a per cell, its grids", lambda: mgnet.Hierarchy(problem, device="pretended").levels


def solves() -> Iterator[tuple[str, Asked]]:
    """Give all that is counted, lines by passes in Triton and by torch alone."""
    for triton in (True, False):
        exact.there_are = lambda triton=triton: triton
        for dtype in (torch.float64, torch.float32):
            yield from (
                (f"{name}{'' if triton else ', torch'}", asked) for name, asked in lines(2**20, dtype)
            )
    yield from (*boxes(2, 256), *boxes(3, 32))


def main() -> None:
    """Print the counts as a table."""
    import pretended

    checks.DEVICES = ("cpu", pretended.NAME)
    with loops.without(), pretended.pretended() as counts:
        print(f"{'':52} launches  waits")
        for name, asked in solves():
            counts.clear()
            asked()
            print(f"{name:52} {sum(counts.launches.values()):>8} {sum(counts.waits.values()):>6}")


if __name__ == "__main__":
    main()
