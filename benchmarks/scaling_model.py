"""What a solve costs over many processes, on paper: a formula, and a simulation that replays every message.

The formula is arithmetic with shares that need not be whole; the simulation keeps a clock for each process,
gives each the planes that it has, and lets it wait for what it needs. Both take the speed of the kernels from
a measurement, and the network from what it is said to do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mgnet.poisson.parts import even_bounds, matched_bounds

NUMBERS = 17  # of the first message: what is solved and, of a line, a cell and the loads of its ends
SINGLE, DOUBLE = 4, 8  # bytes: cycles compute in float32, conjugate gradients in float64
# Planes of an exchange on a grid where slabs have a halo: of the load, before a V(2,2) cycle's way down; of
# the correction, before its way up, and of the first guess that full multigrid interpolates; and on the
# finest grid, in each iteration, of what is made the same on cuts.
LOAD, CORRECTION, GUESSED, SAME = 3, 1, 3, 2
# Where slabs are too thin for it, exchanges of one plane: in a cycle that begins at zero, so that its first
# sweep needs none; one more where it begins at a guess; and on the finest grid two more in each iteration.
SWEEPS, GUESS, AGREED = 3, 1, 2
WIDE = 3  # exchanges in float64 besides one in each iteration
ITERATION_SUMS = (32, 16, 8)  # bytes of each all_reduce of an iteration
KINDS_SUM = 40  # of that in which processes agree on what they can do
OTHER_SUMS = 8  # all_reduce of one number besides, and one more for each grid
PAIRS = 1  # of two numbers, and one more for each axis
KINDS = {"plane": "to neighbours", "gather": "to all_gather", "sum": "to all_reduce"}


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
        cells = [high - low for low, high in pairwise(even_bounds(self.n, ranks))]
        clocks.work([0.5 * self.cell * count for count in cells])
        clocks.gather("line", [8.0 * NUMBERS] * ranks)
        clocks.work([0.5 * self.cell * count + self.link * ranks for count in cells])
        return clocks


@dataclass(frozen=True)
class Boxes:
    """Full multigrid and conjugate gradients in a box, cut along its first axis.

    ``visit`` is what an unknown costs each time that a cycle visits its grid, ``rest`` what one of the finest
    grid costs in an iteration besides. Grids are shared while the box has more than ``least`` unknowns for
    each process, or than ``small`` in all, and all slabs coarsen; those below all solve. Slabs of at least
    ``thick`` layers have a halo.
    """

    cells: tuple[int, ...]
    visit: float
    rest: float
    iterations: int
    least: int = 2**14
    small: int = 2**15
    thick: int = 9

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
        few = min(self.small, self.least * ranks)
        for depth, cells in enumerate(self.grids()):
            edges = self.edges(depth, ranks)
            even = all(edge % 2 == 0 for edge in edges[:-1])
            if unknowns(cells) <= few or not even or min(b - a for a, b in pairwise(edges)) < 2:
                return depth
        return len(self.grids()) - 1

    def edges(self, depth: int, ranks: int) -> list[int]:
        """Return the first plane of each slab of a grid, and the last of all."""
        finest = matched_bounds(self.cells[0], ranks)
        return [edge // 2**depth for edge in finest]

    @property
    def pairs(self) -> int:
        """How many times processes agree on two numbers in a solve."""
        return PAIRS + len(self.cells)

    def visits(self, depth: int) -> int:
        """Return how often a grid is visited: by each iteration, and by full multigrid from finer ones."""
        return self.iterations + depth + 1

    def alone(self) -> float:
        work = sum(self.visits(depth) * unknowns(cells) for depth, cells in enumerate(self.grids()))
        return self.visit * work + self.rest * self.iterations * unknowns(self.cells)

    def wide(self, depth: int, ranks: int) -> bool:
        """Say whether slabs of a grid have a halo."""
        return min(b - a for a, b in pairwise(self.edges(depth, ranks))) >= self.thick

    def exchanges(self, depth: int, ranks: int) -> Counter[int]:
        """Return how often a process gives so many planes to a neighbour on a shared grid, in a solve."""
        visits, found = self.visits(depth), Counter[int]()
        if self.wide(depth, ranks):
            found += {LOAD: visits}
        else:
            found[1] += SWEEPS * visits + GUESS
        if depth == 0:
            found += {SAME: self.iterations} if self.wide(0, ranks) else {1: AGREED * self.iterations}
            return found
        # Visits from the finer grid are all but one; full multigrid restricts the load once.
        above = {CORRECTION: visits - 1, GUESSED: 1} if self.wide(depth - 1, ranks) else {1: visits}
        return found + Counter(above)

    def formula(self, ranks: int, network: Network) -> dict[str, float]:
        """Return the seconds of a solve by what they are spent on."""
        grids, shared, finest = self.grids(), self.shared(ranks), unknowns(self.cells)
        parts = dict.fromkeys(("fine", "planes", "sums", "gathering", "coarse"), 0.0)
        if not shared:
            return {**parts, "coarse": self.alone()}
        parts["fine"] = self.rest * self.iterations * finest / ranks
        for depth, cells in enumerate(grids):
            work = self.visits(depth) * self.visit * unknowns(cells)
            if depth >= shared:
                parts["coarse"] += work
                continue
            parts["fine"] += work / ranks
            size = 2 * SINGLE * unknowns(cells[1:])
            for planes, times in self.exchanges(depth, ranks).items():
                parts["planes"] += times * network.seconds(planes * size)
        planes = self.iterations + WIDE
        parts["planes"] += planes * network.seconds(2 * DOUBLE * unknowns(self.cells[1:]))
        sums = len(ITERATION_SUMS) * self.iterations + OTHER_SUMS + shared + self.pairs + 1  # to agree
        parts["sums"] = sums * summing(DOUBLE, ranks, network)
        coarse = grids[shared]
        size = SINGLE * unknowns(coarse[1:]) * (coarse[0] / ranks + 1)
        parts["gathering"] = self.visits(shared) * gathering(size, ranks, network)
        parts["gathering"] += gathering(8 * NUMBERS, ranks, network)
        return parts

    def simulated(self, ranks: int, network: Network) -> Clocks:
        """Replay a solve, message by message."""
        clocks, shared = Clocks([0.0] * ranks, network), self.shared(ranks)
        clocks.gather("first", [8 * NUMBERS] * ranks)
        if not shared:
            clocks.work([self.alone()] * ranks)
            return clocks
        replay = _Replay(self, clocks, [self.edges(depth, ranks) for depth in range(shared + 1)])
        replay.set_up()
        for start in range(shared - 1, -1, -1):
            replay.cycle(start, guess=True)
        plane = unknowns(self.cells[1:])
        for _ in range(WIDE):
            clocks.planes("double", DOUBLE * plane)
        for _ in range(OTHER_SUMS):
            clocks.sum("sums", DOUBLE)
        for _ in range(self.pairs):
            clocks.sum("sums", 2 * DOUBLE)
        for _ in range(self.iterations):
            replay.cycle(0)
            clocks.work([self.rest * plane * count for count in replay.counts(0)])
            replay.agree()
            clocks.planes("double", DOUBLE * plane)
            for size in ITERATION_SUMS:
                clocks.sum("sums", size)
        return clocks


def unknowns(cells: Sequence[int]) -> int:
    """Return the inner nodes of so many cells along each axis."""
    return math.prod(n - 1 for n in cells)


@dataclass
class _Replay:
    """The steps of cycles on grids that are shared, and on those below, which all solve."""

    box: Boxes
    clocks: Clocks
    edges: list[list[int]]  # of the shared grids and of the next coarser one

    def counts(self, depth: int) -> list[int]:
        """Return the planes of each process; those on cuts count for one of two."""
        counts = [high - low for low, high in pairwise(self.edges[depth])]
        return [*counts[:-1], counts[-1] - 1]

    def wide(self, depth: int) -> bool:
        return self.box.wide(depth, len(self.clocks.times))

    def planes(self, depth: int, count: int = 1) -> None:
        """Exchange so many planes, where processes share the grid."""
        if depth < len(self.edges) - 1:
            self.clocks.planes(f"grid {depth}", count * SINGLE * unknowns(self.box.grids()[depth][1:]))

    def agree(self) -> None:
        """Make values on cuts the same, and give neighbours what they apply the operator to."""
        for count in [SAME] if self.wide(0) else [1] * AGREED:
            self.planes(0, count)

    def gather(self) -> None:
        """Gather a load; processes send as many planes as the one that has most, both cuts included."""
        edges = self.edges[-1]
        own = [high - low + 1 for low, high in pairwise(edges)]
        own[0], own[-1] = own[0] - 1, own[-1] - 1  # the ends of the box are no unknowns
        shared = len(self.edges) - 1
        size = SINGLE * unknowns(self.box.grids()[shared][1:]) * max(own)
        self.clocks.gather(f"grid {shared}", [size] * len(own))

    def coarse(self) -> None:
        """Solve what all have."""
        work = sum(unknowns(cells) for cells in self.box.grids()[len(self.edges) - 1 :])
        self.clocks.work([self.box.visit * work] * len(self.clocks.times))

    def set_up(self) -> None:
        """Agree on what to do, bound eigenvalues, and restrict the load to where all solve."""
        shared = len(self.edges) - 1
        self.clocks.sum("set-up", KINDS_SUM)
        for _ in range(shared):
            self.clocks.sum("set-up", DOUBLE)
        for depth in range(shared):
            self.planes(depth, LOAD) if self.wide(depth) else self.planes(depth + 1)
        self.gather()
        self.coarse()

    def sweeps(self, depth: int) -> None:
        """Do half of the work of a visit."""
        plane = unknowns(self.box.grids()[depth][1:])
        self.clocks.work([0.5 * self.box.visit * plane * count for count in self.counts(depth)])

    def cycle(self, start: int, guess: bool = False) -> None:
        """Go down and up from a grid."""
        shared = len(self.edges) - 1
        for depth in range(start, shared):
            begun = guess and depth == start
            if self.wide(depth):
                if begun:  # the load has come with the one that was restricted
                    self.planes(depth + 1, GUESSED)
                else:
                    self.planes(depth, LOAD)
                self.sweeps(depth)
                continue
            self.sweeps(depth)
            for _ in range(1 + begun):
                self.planes(depth)
            self.planes(depth + 1)
        self.gather()
        self.coarse()
        for depth in range(shared - 1, start - 1, -1):
            if self.wide(depth):
                self.planes(depth + 1, CORRECTION)
            else:
                self.planes(depth)
                self.planes(depth)
            self.sweeps(depth)


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
    # By kind: what processes ask for, of which an all_gather or all_reduce becomes several messages.
    calls: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)

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
        both = [(i, j, size) for i in range(last + 1) for j in (i - 1, i + 1) if 0 <= j <= last]
        self._ask("plane", [size] * len(both))
        self.deliver(name, both)

    def gather(self, name: str, sizes: Sequence[float]) -> None:
        """Let all have what each has."""
        ranks, have = len(self.times), list(sizes)
        self._ask("gather", sizes)
        for step in rounds(ranks):
            # All but the last round pass on all that is there; the last what is still missing.
            part = min(step, ranks - step) / step
            self.deliver(name, [(i, (i - step) % ranks, part * have[i]) for i in range(ranks)])
            have = [have[i] + part * have[(i + step) % ranks] for i in range(ranks)]

    def sum(self, name: str, size: float) -> None:
        """Add up along a tree to the first process, and tell all."""
        ranks = len(self.times)
        self._ask("sum", [size] * ranks)
        steps = list(rounds(ranks))
        for step in steps:
            self.deliver(name, [(i, i - step, size) for i in range(step, ranks, 2 * step)])
        for step in reversed(steps):
            self.deliver(name, [(i - step, i, size) for i in range(step, ranks, 2 * step)])

    def _ask(self, kind: str, sizes: Sequence[float]) -> None:
        self.calls[kind] += len(sizes)
        self.given[kind] += round(sum(sizes))


def rounds(ranks: int) -> Iterator[int]:
    """Give the distances of the rounds in which a message reaches all."""
    step = 1
    while step < ranks:
        yield step
        step *= 2


# Training


def training(seconds: float, gradients: int, ranks: int, network: Network) -> float:
    """Return the seconds of a step of training: that of one process, and an all_reduce of its gradients.

    Each process computes those of as many images as one alone; around a ring they pass in 2 (p - 1) messages
    of a p-th of them.
    """
    if ranks == 1:
        return seconds
    return seconds + 2 * (ranks - 1) * network.seconds(4 * gradients / ranks)
