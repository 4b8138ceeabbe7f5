"""Sharing a loop: every chunk once, in as many threads as there are, and errors come through."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from processes import TIMEOUT, finished

from mgnet.core import threads
from mgnet.multigrid import exact as condensation
from mgnet.multigrid.exact import Condensation
from mgnet.operators.stiffness import Stiffness

CHUNKS = [slice(i, i + 1) for i in range(200)]


def meeting(threads: int) -> Callable[[], None]:
    """Return what each thread calls at every chunk: at its first it waits until all have one."""
    barrier = threading.Barrier(threads, timeout=TIMEOUT)
    come: set[int] = set()

    def meet() -> None:
        if threading.get_ident() not in come:
            come.add(threading.get_ident())
            barrier.wait()

    return meet


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
@pytest.mark.usefixtures("two_threads")
def test_every_chunk_is_worked_on_once(count: int) -> None:
    done = np.zeros(200, int)

    def work(chunks: Iterator[slice]) -> None:
        for some in chunks:
            done[some] += 1

    threads.share(work, CHUNKS[:count])
    assert (done[:count] == 1).all()
    assert (done[count:] == 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("two_threads")
def test_as_many_threads_take_part_as_torch_uses_and_one_chunk_wakes_none(count: int) -> None:
    seen: set[int] = set()

    def work(chunks: Iterator[slice]) -> None:
        for _ in chunks:
            seen.add(threading.get_ident())
            meet()

    torch.set_num_threads(count)
    meet = meeting(1)
    threads.share(work, CHUNKS[:1])
    assert seen == {threading.get_ident()}
    meet = meeting(count)
    threads.share(work, CHUNKS)
    assert len(seen) == count


@pytest.mark.usefixtures("two_threads")
def test_shared_work_that_shares_takes_no_more_threads() -> None:
    """Rows of a batch are shared, and each may be long enough to be shared itself."""
    seen: set[int] = set()
    done = np.zeros((20, 20), int)

    def outer(rows: Iterator[slice]) -> None:
        for row in rows:
            meet()

            def inner(columns: Iterator[slice], row: slice = row) -> None:
                for column in columns:
                    seen.add(threading.get_ident())
                    done[row, column] += 1

            threads.share(inner, CHUNKS[:20])

    for _ in range(3):
        seen.clear()
        meet = meeting(2)
        threads.share(outer, CHUNKS[:20])
        assert len(seen) == 2
    assert (done == 3).all()


@pytest.mark.usefixtures("two_threads")
def test_an_error_comes_through_whichever_thread_meets_it() -> None:
    def work(chunks: Iterator[slice]) -> None:
        for some in chunks:
            time.sleep(0.001)
            if some.start == 100:
                raise KeyError("chunk 100")

    with pytest.raises(KeyError, match="chunk 100"):
        threads.share(work, CHUNKS)


@pytest.mark.usefixtures("two_threads")
def test_after_an_error_no_thread_works_on() -> None:
    begun: list[int] = []
    here = threading.get_ident()
    meet = meeting(2)

    def work(chunks: Iterator[slice]) -> None:
        for some in chunks:
            begun.append(some.start)
            meet()
            if threading.get_ident() == here:
                raise KeyError("enough")
            time.sleep(0.001)

    many = CHUNKS * 1000  # the other thread would need minutes for them
    with pytest.raises(KeyError, match="enough"):
        threads.share(work, many)
    count = len(begun)
    time.sleep(0.05)
    assert count == len(begun) < len(many)


@pytest.mark.usefixtures("two_threads")
def test_no_thread_warns_of_infinity() -> None:
    meet = meeting(2)

    def work(chunks: Iterator[slice]) -> None:
        for _ in chunks:
            meet()
            np.array([1.0]) / np.array([0.0])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        threads.share(work, CHUNKS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.usefixtures("two_threads")
def test_the_exact_cycle_is_the_same_to_the_last_bit(
    batch: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condensation, "CHUNK", 2**8)
    n = 33_333
    solver = Condensation(Stiffness(1 / n, dtype=dtype).on(n))
    b = torch.randn(batch, n - 1, dtype=dtype)
    shared = [solver.solve(b) for _ in range(5)]
    torch.set_num_threads(1)
    for u in shared:
        torch.testing.assert_close(u, solver.solve(b), rtol=0, atol=0)


@pytest.mark.parametrize("when", ["in a forked child", "after the last line"])
def test_it_works_where_threads_cannot_be_had(when: str) -> None:
    fork = "solve()\nif os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\nsolve()"
    lines = {"in a forked child": fork, "after the last line": "atexit.register(solve)"}
    script = f"""
import atexit, os, sys
import numpy as np, torch
from mgnet.core import threads
torch.set_num_threads(2)
def solve():
    done = np.zeros(100)
    def work(chunks):
        for some in chunks:
            done[some] += 1
    threads.share(work, [slice(i, i + 1) for i in range(100)])
    assert (done == 1).all()
    print("done")
{lines[when]}
"""
    result = finished("-c", script)
    assert result.returncode == 0, result.stderr
    assert "done" in result.stdout
    assert not result.stderr
