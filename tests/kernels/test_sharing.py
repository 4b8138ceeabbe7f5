"""Shared work: every part once, in as many threads as there are parts, and errors come through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from processes import TIMEOUT, finished

from mgnet.kernels import bells
from mgnet.kernels.compiling import compiled
from mgnet.kernels.sharing import AWAKE, LEAST, MANY, ringing, share, shares

PARTS = [(i, i + 1) for i in range(200)]


def meeting(threads: int) -> Callable[[], None]:
    """Return what each thread calls at every part: at its first it waits until all have one."""
    barrier = threading.Barrier(threads, timeout=TIMEOUT)
    come: set[int] = set()

    def meet() -> None:
        if threading.get_ident() not in come:
            come.add(threading.get_ident())
            barrier.wait()

    return meet


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_shares_cover_the_rows_and_are_about_alike(rows: int, threads: int) -> None:
    parts = shares(rows, 100 * LEAST, threads)
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == rows
    assert len(parts) == max(1, min(rows, threads))
    lengths = [stop - start for start, stop in parts]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("size", "count"), [(0, 1), (2 * LEAST - 1, 1), (2 * LEAST, 2), (100 * LEAST, 8)])
def test_only_as_many_shares_as_are_worth_it(size: int, count: int) -> None:
    assert len(shares(1000, size, 8)) == count


def test_long_shares_are_two_for_each_thread() -> None:
    """One that is late has less to do; where they are short, what they do again of each other counts."""
    size = 4 * MANY
    assert len(shares(1000, size, 2, least=250)) == 4
    assert len(shares(999, size, 2, least=250)) == len(shares(1000, size - 1, 2, least=250)) == 2
    assert len(shares(1000, size, 1, least=250)) == 1


def test_no_more_threads_than_asked_for() -> None:
    ran: set[int] = set()

    def work(start: int, stop: int) -> None:
        ran.add(threading.get_ident())
        time.sleep(0.01)

    share(work, PARTS[:20], threads=2)
    assert len(ran) == 2


@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
def test_every_part_is_worked_on_once(count: int) -> None:
    done = np.zeros(200, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    share(work, PARTS[:count])
    assert (done[:count] == 1).all()
    assert (done[count:] == 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_threads_take_part_as_there_are_parts(count: int) -> None:
    """One part, which is what one thread has, wakes no other."""
    seen: set[int] = set()
    meet = meeting(count)

    def work(start: int, stop: int) -> None:
        seen.add(threading.get_ident())
        meet()

    share(work, PARTS[:count])
    assert len(seen) == count
    assert threading.get_ident() in seen


def test_shared_work_that_shares_takes_no_more_threads() -> None:
    done = np.zeros((2, 20), int)
    for _ in range(3):
        seen: set[int] = set()
        meet = meeting(2)

        def outer(row: int, stop: int, seen: set[int] = seen, meet: Callable[[], None] = meet) -> None:
            meet()

            def inner(column: int, stop: int) -> None:
                seen.add(threading.get_ident())
                done[row, column] += 1

            share(inner, PARTS[:20])

        share(outer, PARTS[:2])
        assert len(seen) == 2
    assert (done == 3).all()


def test_threads_of_the_caller_share_at_the_same_time() -> None:
    done = np.zeros((4, 200), int)

    def call(row: int) -> None:
        def work(start: int, stop: int) -> None:
            done[row, start:stop] += 1

        for _ in range(20):
            share(work, PARTS)

    callers = [threading.Thread(target=call, args=(row,)) for row in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (done == 20).all()


@pytest.mark.parametrize("here", [True, False], ids=["in this thread", "in another"])
def test_an_error_comes_through_and_nobody_works_on(here: bool) -> None:
    begun: list[int] = []
    caller, failed = threading.get_ident(), threading.Event()

    def work(start: int, stop: int) -> None:
        begun.append(start)
        if (threading.get_ident() == caller) == here:
            failed.set()
            raise KeyError("enough")
        assert failed.wait(TIMEOUT)
        time.sleep(0.001)

    with pytest.raises(KeyError, match="enough"):
        share(work, PARTS)
    count = len(begun)
    time.sleep(0.05)
    assert count == len(begun) < len(PARTS)


def test_all_have_ended_when_an_error_comes_through() -> None:
    meet, roles = meeting(3), iter(["fails", "works on"])
    caller, failed = threading.get_ident(), threading.Event()
    ended: list[int] = []

    def work(start: int, stop: int) -> None:
        meet()
        if threading.get_ident() == caller:
            return
        if next(roles) == "fails":
            failed.set()
            raise KeyError("one of three")
        assert failed.wait(TIMEOUT)
        time.sleep(0.01)
        ended.append(start)

    with pytest.raises(KeyError, match="one of three"):
        share(work, PARTS[:3])
    assert len(ended) == 1


@compiled
def mark(bell: Any, done: Any, start: Any, stop: Any) -> None:
    """Do some parts, in a loop that rings."""
    bells.ring(bell)
    for i in range(start, stop):
        done[i] += 1
    bells.attend(bell)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
def test_loops_that_ring_do_every_part_once(count: int) -> None:
    """Whether others are awake or asleep; and in the end nobody is at work."""
    done = np.zeros(200, int)
    for times in range(1, 50):
        ringing(lambda bell, start, stop: mark(bell, done, start, stop), PARTS[:count], 3)
        assert (done[:count] == times).all()
        assert (done[count:] == 0).all()
        if times % 10 == 0:
            time.sleep(2 * AWAKE)
    end = time.monotonic() + 20
    while bells.BUSY[0] and time.monotonic() < end:
        time.sleep(AWAKE)
    assert bells.BUSY[0] == 0


def test_who_shares_rings_and_others_do_not() -> None:
    """One who has no others, or whose loop is part of shared work, rings nowhere."""
    given: dict[bool, Any] = {}
    caller, meet = threading.get_ident(), meeting(2)

    def work(bell: Any, start: int, stop: int) -> None:
        meet()
        given[threading.get_ident() == caller] = bell
        ringing(lambda bell, start, stop: given.setdefault("within", bell), PARTS[:2], 2)  # type: ignore[call-overload]

    ringing(work, PARTS[:2], 2)
    assert given[True][0] is bells.RUNG
    assert given[True][2] > 0
    assert given[False] is given["within"] is bells.SILENT  # type: ignore[index]
    alone: list[Any] = []
    ringing(lambda bell, start, stop: alone.append(bell), PARTS[:1], 2)
    assert alone == [bells.SILENT]


def test_a_bell_is_heard() -> None:
    rung, busy = np.zeros((2, 1), np.int64)
    assert not bells.listen(rung, 0, busy, 10)
    assert busy[0] == -1  # who has heard nothing is not at work
    bells.count(busy, 1)
    mark((rung, busy, 0), busy, 0, 0)
    assert bells.listen(rung, 0, busy, 10)
    assert (rung[0], busy[0]) == (1, 0)
    assert bells.looks_in(1e-3) > bells.looks_in(1e-5) >= 0


CHILD = "run()\nbells.BUSY[0] += 1\nif os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
CHILD += "assert bells.BUSY[0] == 0\nassert run()() is None"


@pytest.mark.parametrize(
    "lines", [CHILD, "atexit.register(run)"], ids=["in a forked child", "after the last line"]
)
def test_it_works_where_threads_cannot_be_had(lines: str) -> None:
    """And keeps nothing there for threads that never come."""
    script = f"""
import atexit, gc, os, sys, weakref
from mgnet.kernels import bells
from mgnet.kernels.sharing import ringing, share

class Load:
    done = 0

def run():
    load = Load()
    def work(start, stop):
        load.done += stop - start
    share(work, [(i, i + 1) for i in range(100)])
    ringing(lambda bell, i, j: work(i, j), [(i, i + 1) for i in range(100)], 2)
    assert load.done == 200
    print("done")
    reference = weakref.ref(load)
    del load, work
    gc.collect()
    return reference
{lines}
"""
    result = finished("-c", script)
    assert result.returncode == 0, result.stderr
    assert "done" in result.stdout
    assert not result.stderr
