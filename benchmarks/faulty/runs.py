"""Training runs of a dozen steps, in one process and in two, and whether two of them gave the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import mgnet
from faulty.children import End, together
from mgnet import checkpoint
from mgnet.cli import main
from mgnet.core import precision
from mgnet.train import BEST, LAST

DATA = mgnet.data.synthetic(train=96, validation=32, test=32)
STRAY = ".mgnet-*.tmp"
REPLACE = os.replace
# What depends on the clock.
CLOCK = ("seconds", "images_per_second", "sums")


class Moments:
    """The moments of a run: before each pass through the network, and before each file takes its place.

    At the chosen one something happens; that is how a run is stopped at a place that can be repeated.
    """

    def __init__(self) -> None:
        self.count, self.chosen = 0, 0
        self.act: Callable[[], object] = lambda: None

    def choose(self, moment: int, act: Callable[[], object]) -> None:
        self.count, self.chosen, self.act = 0, moment, act

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.chosen:
            self.act()


MOMENTS = Moments()


class Net(nn.Module):
    """A network with what makes resuming hard: running statistics, and random numbers in every step."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * width, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        MOMENTS.pass_by()
        return self.layers(x)


@dataclass(frozen=True)
class Run:
    """A run: what changes in its recipe, and how many processes share it."""

    changes: dict[str, Any] = field(default_factory=dict)
    world: int = 1
    seed: int = 0
    width: int = 4

    @property
    def recipe(self) -> mgnet.Recipe:
        usual: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.01, "crop": 2, "flip": "alternating"}
        return mgnet.Recipe(**{**usual, **self.changes})

    def fit(self, out: Path | str, **options: Any) -> None:
        """Train in this process."""
        torch.manual_seed(self.seed)
        model = Net(self.width)
        mgnet.fit(model, DATA, recipe=self.recipe, seed=self.seed, out=out, progress=False, **options)

    def ends(self, out: Path, act: Callable[[int], object] = lambda rank: None, **options: Any) -> list[End]:
        """Train in processes of their own; ``act`` is told the rank and prepares each."""
        store = out.parent / f"store-{os.urandom(4).hex()}"
        calls = [partial(self._process, rank, store, act, out, options) for rank in range(self.world)]
        try:
            return together(calls, out.parent, grace=5)  # torchrun too ends the others when one fails
        finally:
            store.unlink(missing_ok=True)

    def _process(
        self, rank: int, store: Path, act: Callable[[int], object], out: Path, options: dict[str, Any]
    ) -> None:
        act(rank)
        with joined(rank, self.world, store):
            self.fit(out, **options)
        print(MOMENTS.count)


@contextmanager
def joined(rank: int, world: int, store: Path) -> Iterator[None]:
    """Join the processes of a run, as ``torchrun`` would have them."""
    if world == 1:
        yield
        return
    dist.init_process_group("gloo", store=dist.FileStore(str(store), world), rank=rank, world_size=world)
    yield
    dist.destroy_process_group()


def prepare(moment: int = 0, act: Callable[[], object] = lambda: None) -> None:
    """In a child: let something happen at a moment, if any, and pretend that the processor has bfloat16."""
    precision._has_fast_bfloat16 = lambda device: True
    os.replace = _replace
    MOMENTS.choose(moment, act)


def _replace(*paths: Any, **options: Any) -> None:
    MOMENTS.pass_by()
    REPLACE(*paths, **options)


def result(out: Path) -> dict[str, Any]:
    """Give what a finished run left behind, but for what depends on the clock."""
    return {name: _timeless(checkpoint.load(out / name)) for name in (LAST, BEST)}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(x) for key, x in value.items() if key not in CLOCK}
    return [_timeless(x) for x in value] if isinstance(value, list | tuple) else value


def difference(one: Any, other: Any, where: str = "") -> str:
    """Name the first place where two results differ by a bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{where}: {sorted(map(str, one.keys() ^ other.keys()))}"
        pairs = [(f"{where}/{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}/{i}", x, y) for i, (x, y) in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return "" if one.dtype == other.dtype and torch.equal(one, other) else where
    else:
        return "" if one == other else f"{where}: {one!r} and {other!r}"[:200]
    return next((found for place, x, y in pairs if (found := difference(x, y, place))), "")


def judged(out: Path, other: Path) -> str:
    """Say how the result of a run differs from that of another."""
    try:
        found = difference(result(out), result(other))
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"
    return f"other bits: {found}" if found else ""


def strays(folder: Path) -> set[Path]:
    """Give the temporary files of a folder."""
    return set(folder.glob(STRAY))


def command(*argv: str) -> int:
    """Run ``mgnet`` in this process, with the small synthetic set for that of the command."""
    mgnet.data.synthetic = lambda **_: DATA
    return main(argv)


def readable(path: Path) -> bool:
    """Say whether a checkpoint is whole."""
    try:
        return bool(checkpoint.load(path))
    except (OSError, ValueError):
        return False
