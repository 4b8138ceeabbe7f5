"""What a solve costs over many processes, on paper: a formula, and a simulation that replays every message.

The formula is arithmetic with shares that need not be whole; the simulation keeps a clock for each process,
gives each the planes that it has, and lets it wait for what it needs. Both take the speed of the kernels from a
measurement, and the network from what it is said to do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

NUMBERS = (
    17  # of the one message of a line: what is solved, a cell, the loads of the ends of four rows at most
)
SINGLE, DOUBLE = 4, 8  # bytes: cycles compute in float32, conjugate gradients in float64
PLANES = 3  # exchanges of a fine plane in a V(2,2) cycle; the first sweep begins at zero and needs none
SUMS = 3  # all_reduce in an iteration of conjugate gradients


@dataclass(frozen=True)
class Network:
    """Seconds until a message begins to arrive, and bytes per second."""

    latency: float = 1e-5
    bandwidth: float = 1e10

    def seconds(self, size: float) -> float:
        return self.latency + size / self.bandwidth


@dataclass(frozen=True)
class Line:
    """The exact cycle of a line with n cells; seconds for a cell, and for a process in the chain of all."""

    n: int
    cell: float
    link: float = 0.0

    def alone(self) -> float:
        return self.n * self.cell

    def formula(self, ranks: int, network: Network) -> float:
        """Return the seconds of a solve: two passes over a share, one all_gather, the chain of all shares."""
        return self.n * self.cell / ranks + gathering(8 * NUMBERS, ranks, network) + self.link * ranks

    def simulated(self, ranks: int, network: Network) -> Clocks:
        clocks = Clocks([0.0] * ranks, network)
        edges = [self.n * rank // ranks for rank in range(ranks + 1)]
        cells = [high - low for low, high in zip(edges, edges[1:], strict=False)]
        clocks.work([0.5 * self.cell * count for count in cells])
        clocks.gather("line", [8.0 * NUMBERS] * ranks)
        clocks.work([0.5 * self.cell * count + self.link * ranks for count in cells])
        return clocks


@dataclass(frozen=True)
class Boxes:
    """Full multigrid and conjugate gradients in a box, cut along its first axis.

    ``visit`` is what an unknown costs each time that a cycle visits its grid, ``rest`` what one of the finest grid
    costs in an iteration besides. Grids are shared while a share has ``least`` unknowns and planes to coarsen, and
    the box more than ``small``; those below are solved by all.
    """

    cells: tuple[int, ...]
    visit: float
    rest: float
    iterations: int
    least: int = 2**12
    small: int = 0

    def grids(self) -> list[tuple[int, ...]]:
        """Return the cells of all grids; axes of two cells are not halved."""
        found = [self.cells]
        while max(found[-1]) > 2:
            found.append(tuple(max(2, n // 2) for n in found[-1]))
        return found

    def shared(self, ranks: int) -> int:
        """Return how many grids are shared."""
        if ranks == 1:
            return 0
        for depth, cells in enumerate(self.grids()):
            planes = cells[0] / ranks
            few = math.prod(cells) <= max(self.small, self.least * ranks * (self.small == 0))
            if few or planes < 2 or planes * ranks % 2:
                return depth
        return len(self.grids())

    def visits(self, depth: int) -> int:
        """Return how often a grid is visited: by each iteration, and by full multigrid from each finer one."""
        return self.iterations + depth + 1

    def alone(self) -> float:
        work = sum(self.visits(depth) * math.prod(cells) for depth, cells in enumerate(self.grids()))
        return self.visit * work + self.rest * self.iterations * math.prod(self.cells)

    def formula(self, ranks: int, network: Network) -> dict[str, float]:
        """Return the seconds of a solve by what they are spent on."""
        grids, shared, finest = self.grids(), self.shared(ranks), math.prod(self.cells)
        parts = dict.fromkeys(("fine", "planes", "sums", "gathering", "coarse"), 0.0)
        parts["fine"] = self.rest * self.iterations * finest / ranks
        for depth, cells in enumerate(grids):
            visits, unknowns = self.visits(depth), math.prod(cells)
            plane, below = unknowns / cells[0], unknowns / cells[0] / 2 ** (len(cells) - 1)
            if depth >= shared:
                parts["coarse"] += visits * self.visit * unknowns
                continue
            parts["fine"] += visits * self.visit * unknowns / ranks
            parts["planes"] += visits * PLANES * network.seconds(2 * SINGLE * plane)
            if depth + 1 < shared:
                parts["planes"] += visits * network.seconds(2 * SINGLE * below)
            else:
                size = SINGLE * math.prod(grids[min(shared, len(grids) - 1)]) / ranks
                parts["gathering"] += visits * gathering(size, ranks, network)
        if shared:
            parts["planes"] += self.iterations * network.seconds(2 * DOUBLE * finest / self.cells[0])
            parts["sums"] = self.iterations * SUMS * summing(DOUBLE, ranks, network)
        return parts

    def simulated(self, ranks: int, network: Network) -> Clocks:
        """Replay a solve, message by message."""
        clocks, grids, shared = Clocks([0.0] * ranks, network), self.grids(), self.shared(ranks)
        edges = matched(self.cells[0], ranks, shared)
        for start in range(len(grids) - 1, -1, -1):  # full multigrid
            self._cycle(clocks, start, edges, shared)
        for _ in range(self.iterations):
            self._cycle(clocks, 0, edges, shared)
            plane = math.prod(self.cells[1:])
            clocks.work([self.rest * plane * (b - a) for a, b in zip(edges, edges[1:], strict=False)])
            if shared:
                clocks.planes("product", DOUBLE * plane)
                for _ in range(SUMS):
                    clocks.sum("sums", DOUBLE)
        return clocks

    def _cycle(self, clocks: Clocks, start: int, edges: Sequence[int], shared: int) -> None:
        """Go down and up from a grid; what sweeps before and after cost is taken as the same."""
        grids, last = self.grids(), min(shared, len(self.grids()))
        for depth in range(start, last):
            self._sweeps(clocks, depth, edges)
            clocks.planes(f"grid {depth}", SINGLE * math.prod(grids[depth][1:]))
            if depth + 1 < last:
                clocks.planes(f"grid {depth + 1}", SINGLE * math.prod(grids[depth + 1][1:]))
            elif depth + 1 < len(grids):
                plane = math.prod(grids[depth + 1][1:])
                planes = [(b - a) / 2 ** (depth + 1) for a, b in zip(edges, edges[1:], strict=False)]
                clocks.gather(f"grid {depth + 1}", [SINGLE * plane * count for count in planes])
        coarse = sum(math.prod(cells) for cells in grids[max(start, last) :])
        clocks.work([self.visit * coarse] * len(clocks.times))
        for depth in range(last - 1, start - 1, -1):
            for _ in range(2):
                clocks.planes(f"grid {depth}", SINGLE * math.prod(grids[depth][1:]))
            self._sweeps(clocks, depth, edges)

    def _sweeps(self, clocks: Clocks, depth: int, edges: Sequence[int]) -> None:
        plane = math.prod(self.grids()[depth][1:])
        planes = [(b - a) / 2**depth for a, b in zip(edges, edges[1:], strict=False)]
        clocks.work([0.5 * self.visit * plane * count for count in planes])


def matched(n: int, ranks: int, shared: int) -> list[int]:
    """Return the first cell of each slab and the last of all: multiples of what the shared grids halve."""
    block = 2 ** max(shared, 0)
    return [block * (n // block * rank // ranks) for rank in range(ranks)] + [n]


def gathering(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of an all_gather: in each round a process passes on all that it has."""
    return math.ceil(math.log2(ranks)) * network.latency + (ranks - 1) * size / network.bandwidth


def summing(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of an all_reduce: along a tree to the first process, and back."""
    return 2 * math.ceil(math.log2(ranks)) * network.seconds(size)


# The simulation


@dataclass
class Clocks:
    """The time of each process, and what it has sent."""

    times: list[float]
    network: Network
    messages: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)  # bytes

    @property
    def seconds(self) -> float:
        return max(self.times)

    def work(self, seconds: Sequence[float]) -> None:
        self.times = [time + more for time, more in zip(self.times, seconds, strict=True)]

    def deliver(self, name: str, letters: Sequence[tuple[int, int, float]]) -> None:
        """Send what (from, to, bytes) say, one after the other from each; who gets one waits for it."""
        leaves, arrives = list(self.times), list(self.times)
        for source, target, size in letters:
            leaves[source] += size / self.network.bandwidth
            arrives[target] = max(arrives[target], leaves[source] + self.network.latency)
            self.messages[name] += 1
            self.sent[name] += round(size)
        self.times = [max(pair) for pair in zip(leaves, arrives, strict=True)]

    def planes(self, name: str, size: float) -> None:
        """Let neighbours exchange planes."""
        last = len(self.times) - 1
        both = ((i, j, size) for i in range(last + 1) for j in (i - 1, i + 1) if 0 <= j <= last)
        self.deliver(name, list(both))

    def gather(self, name: str, sizes: Sequence[float]) -> None:
        """Let all have what each has."""
        ranks, have = len(self.times), list(sizes)
        for step in rounds(ranks):
            # All but the last round pass on all that is there; the last what is still missing.
            part = min(step, ranks - step) / step
            self.deliver(name, [(i, (i - step) % ranks, part * have[i]) for i in range(ranks)])
            have = [have[i] + part * have[(i + step) % ranks] for i in range(ranks)]

    def sum(self, name: str, size: float) -> None:
        """Add up along a tree to the first process, and tell all."""
        ranks = len(self.times)
        steps = list(rounds(ranks))
        for step in steps:
            self.deliver(name, [(i, i - step, size) for i in range(step, ranks, 2 * step)])
        for step in reversed(steps):
            self.deliver(name, [(i - step, i, size) for i in range(step, ranks, 2 * step)])


def rounds(ranks: int) -> Iterator[int]:
    """Give the distances of the rounds in which a message reaches all."""
    step = 1
    while step < ranks:
        yield step
        step *= 2


# Training


def training(seconds: float, gradients: int, ranks: int, network: Network) -> float:
    """Return the seconds of a step of training: that of one process, and an all_reduce of its gradients.

    Each process computes those of as many images as one alone; around a ring they pass in 2 (p - 1) messages of
    a p-th of them.
    """
    if ranks == 1:
        return seconds
    return seconds + 2 * (ranks - 1) * network.seconds(4 * gradients / ranks)
