"""How fast a GPU solves: beside a copy of the answer, cuSPARSE's tridiagonal solve and the sine transform."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from table import Row, medians, size, timed
from torch import Tensor

import mgnet

MS = "{:.3f} ms"
ROUNDS = 10


@dataclass(frozen=True)
class Case:
    """A problem by its cells along each axis, its dimension and its precision."""

    n: int
    dim: int
    dtype: torch.dtype
    varies: bool = False  # a from cell to cell

    @property
    def name(self) -> str:
        cells = " x ".join([size(self.n)] * self.dim)
        return f"{cells}, {str(self.dtype).removeprefix('torch.')}" + ", a per cell" * self.varies

    def solution(self, device: str) -> Tensor:
        """Return a product of sines at the inner nodes; it is an eigenvector of the stiffness matrix."""
        x = torch.arange(1, self.n, dtype=torch.float64, device=device) / self.n
        u, sine = torch.ones((), dtype=torch.float64, device=device), torch.sin(math.pi * x)
        for _ in range(self.dim):
            u = u[..., None] * sine
        return u.to(self.dtype)

    def eigenvalues(self, device: str) -> Tensor:
        """Return those of the stiffness matrix, for each wave number of each axis."""
        waves = torch.arange(1, self.n, dtype=torch.float64, device=device)
        s, h = torch.sin(waves * (math.pi / (2 * self.n))) ** 2, 1 / self.n
        k, m = 4 * s / h, h * (1 - s * (2 / 3))
        found, masses = k, m
        for _ in range(self.dim - 1):
            found = found[..., None] * m + masses[..., None] * k
            masses = masses[..., None] * m
        return found.to(self.dtype)

    def load(self, device: str) -> Tensor:
        """Return the load of the solution."""
        s, h = math.sin(math.pi / (2 * self.n)) ** 2, 1 / self.n
        return self.solution(device) * (self.dim * 4 * s / h * (h * (1 - s * (2 / 3))) ** (self.dim - 1))


def cases(quick: bool) -> Iterator[Case]:
    single, double = torch.float32, torch.float64
    one = [2**6, 2**7] if quick else [2**20, 2**22, 2**24, 2**26]
    two = [8] if quick else [1024, 2048, 4096, 8192]
    three = [4] if quick else [256, 512]
    for n in one:
        yield from (Case(n, 1, single), Case(n, 1, double))
    for dim, sizes in ((2, two), (3, three)):
        for n in sizes:
            yield Case(n, dim, single)
            if n != max(sizes) or quick:
                yield Case(n, dim, double)
        yield Case(sizes[0] if dim == 2 or quick else 128, dim, double, varies=True)


def waits(call: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Wait for the device after a call."""

    def whole() -> Any:
        result = call()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return whole


def milliseconds(call: Callable[[], Any], device: str, prepare: Callable[[], Any] = lambda: None) -> float:
    (seconds,) = medians([waits(call, device)], ROUNDS if device == "cuda" else 1, prepare, block=1)
    return 1e3 * seconds


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def speeds(case: Case, device: str) -> Iterator[Row]:
    """Measure one problem; the load and the hierarchy are ready, and the answer stays on the device."""
    b = case.load(device)
    hierarchy = mgnet.Hierarchy(problem(case, device), dtype=case.dtype, device=device)
    # The first call sets up, and compiles where that is needed.
    first = 1e3 * timed(waits(lambda: hierarchy.solve(b), device), waits(lambda: None, device))
    sol = hierarchy.solve(b)
    ours = milliseconds(lambda: hierarchy.solve(b), device)
    yield Row(f"{case.name}: a solve, iterations: {sol.iterations}", ours, MS)
    yield Row("    the first solve, set-up included", first, MS)
    if not case.varies:
        u = case.solution(device)
        most = 1e-8 if case.dtype == torch.float64 else 1e-4
        yield Row("    largest error of a sine", error(inner(sol.u, case), u), most=most)
        yield from peers(case, b, u, ours, device)
    if case.dim > 1 and device == "cuda":
        yield Row("    a solve, its cycles from a CUDA graph", by_graph(case, b, device), MS)


def by_graph(case: Case, b: Tensor, device: str) -> float:
    """Measure a solve whose cycles are replayed."""
    hierarchy = mgnet.Hierarchy(problem(case, device), dtype=case.dtype, device=device, graph=True)
    return milliseconds(lambda: hierarchy.solve(b), device)


def problem(case: Case, device: str) -> mgnet.Poisson:
    """Return -u'' = f, or one whose a differs from cell to cell by up to a factor of 100."""
    a: Any = 1.0
    if case.varies:
        a = torch.from_numpy(10 ** np.random.default_rng(0).uniform(-1, 1, [case.n] * case.dim)).to(device)
    return mgnet.Poisson(n=case.n, dim=case.dim, a=a)


def peers(case: Case, b: Tensor, u: Tensor, ours: float, device: str) -> Iterator[Row]:
    out = torch.empty_like(b)
    copy = milliseconds(lambda: out.copy_(b), device)
    yield Row("    a copy of the load", copy, MS)
    yield Row("    a solve in such copies", ours / copy, "{:.1f}×")
    waves = case.eigenvalues(device)
    yield Row("    sine transform by torch.fft", milliseconds(lambda: by_sines(b, waves), device), MS)
    yield Row("    its largest error", error(by_sines(b, waves), u))
    if case.dim == 1:
        yield from by_cusparse(case, b, u, device)


def inner(u: Any, case: Case) -> Tensor:
    return torch.as_tensor(u)[(slice(1, -1),) * case.dim]


# Peers


def sine_sums(x: Tensor) -> Tensor:
    """Return twice the sums of a row with sines, along the last axis."""
    zero = x.new_zeros((*x.shape[:-1], 1))
    return -torch.fft.rfft(torch.cat((zero, x, zero, -x.flip(-1)), -1)).imag[..., 1:-1]


def by_sines(b: Tensor, eigenvalues: Tensor) -> Tensor:
    """Solve by the eigenvectors of equal cells and a constant coefficient."""
    for turn in range(2):
        for axis in range(b.ndim):
            b = sine_sums(b.movedim(axis, -1)).movedim(-1, axis)
        if turn == 0:
            b = b / eigenvalues
    return b / math.prod(2 * (k + 1) for k in b.shape)


class Library:
    """The functions of cuSPARSE that CuPy calls by these names, of the library that comes with torch."""

    def __init__(self) -> None:
        major = (torch.version.cuda or "").partition(".")[0]
        self.library = ctypes.CDLL(f"libcusparse.so.{min(int(major), 12)}")

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} ended with status {status}")

    def create(self) -> int:
        handle = ctypes.c_void_p()
        self.call("cusparseCreate", ctypes.byref(handle))
        return handle.value or 0

    def setStream(self, handle: int, stream: int) -> None:
        self.call("cusparseSetStream", *map(ctypes.c_void_p, (handle, stream)))

    def gtsv2_size(self, letter: str, handle: int, n: int, *pointers: int) -> int:
        found = ctypes.c_size_t()
        given = (ctypes.c_void_p(handle), n, 1, *map(ctypes.c_void_p, pointers), n)
        self.call(f"cusparse{letter}gtsv2_bufferSizeExt", *given, ctypes.byref(found))
        return found.value

    def gtsv2(self, letter: str, handle: int, n: int, *pointers: int) -> None:
        *system, buffer = map(ctypes.c_void_p, pointers)
        self.call(f"cusparse{letter}gtsv2", ctypes.c_void_p(handle), n, 1, *system, n, buffer)


class CuPy:
    """The same by CuPy."""

    def __init__(self) -> None:
        from cupy.cuda import cusparse

        self.module = cusparse
        self.create, self.setStream = cusparse.create, cusparse.setStream

    def gtsv2_size(self, letter: str, handle: int, n: int, *pointers: int) -> int:
        return getattr(self.module, f"{letter.lower()}gtsv2_bufferSizeExt")(handle, n, 1, *pointers, n)

    def gtsv2(self, letter: str, handle: int, n: int, *pointers: int) -> None:
        *system, buffer = pointers
        getattr(self.module, f"{letter.lower()}gtsv2")(handle, n, 1, *system, n, buffer)


def tridiagonal(case: Case, b: Tensor) -> tuple[str, Callable[[], Any], Callable[[], Any], Tensor]:
    """Give who solves, what makes the right-hand side anew, what solves in its place, and that place."""
    try:
        by, name = CuPy(), "CuPy"
    except ImportError:
        by, name = Library(), "torch's cuSPARSE"  # type: ignore[assignment]
    letter, m = "S" if case.dtype == torch.float32 else "D", len(b)
    main = torch.full_like(b, 2.0 * case.n)
    low, high = torch.full_like(b, -float(case.n)), torch.full_like(b, -float(case.n))
    low[0] = high[-1] = 0
    x = b.clone()
    handle = by.create()
    by.setStream(handle, torch.cuda.current_stream().cuda_stream)
    system = [t.data_ptr() for t in (low, main, high, x)]
    buffer = torch.empty(by.gtsv2_size(letter, handle, m, *system), dtype=torch.uint8, device=b.device)
    matrix = (low, main, high)  # the pointers name their memory

    def solve() -> Any:
        by.gtsv2(letter, handle, m, *system, buffer.data_ptr())
        return matrix

    return name, lambda: x.copy_(b), solve, x


def by_cusparse(case: Case, b: Tensor, u: Tensor, device: str) -> Iterator[Row]:
    what = "    cuSPARSE's gtsv2"
    if device != "cuda":
        yield Row(what, None, note="no CUDA device")
        return
    try:
        name, prepare, solve, x = tridiagonal(case, b)
        seconds = milliseconds(solve, device, prepare)
    except (OSError, RuntimeError, AttributeError) as failure:
        yield Row(what, None, note=f"{type(failure).__name__}: {failure}")
        return
    yield Row(f"{what}, by {name}", seconds, MS)
    yield Row("    its largest error", error(x, u))
