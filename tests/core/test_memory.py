"""Memory that is used again: only what nobody holds, by no other thread, and never what is still needed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import mgnet
from mgnet.core import memory
from mgnet.core.memory import (
    KEPT,
    LARGE,
    LEAST,
    SLAB,
    apart,
    empty,
    empty_like,
    is_open,
    own_copy,
    reused,
    scratch,
    sent,
    spare,
    strips,
)

LIKE = torch.empty(0)
MANY = LEAST  # entries of 4 bytes: large enough to be reused


def taken() -> int:
    """Return the bytes that this thread has for blocks, or keeps for the next ``reused()``."""
    pool = memory._here.pool or memory._here.kept
    return pool.total if pool else 0


def test_outside_memory_is_torchs() -> None:
    assert not is_open()
    assert spare((MANY,), LIKE) is None
    x = empty((3, 4), LIKE, torch.float64)
    assert (x.shape, x.dtype) == ((3, 4), torch.float64)
    first = empty((MANY,), LIKE)
    assert first.data_ptr() != empty((MANY,), LIKE).data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_precisions(dtype: torch.dtype) -> None:
    like = torch.empty(0, dtype=dtype)
    with reused():
        for shape in ((), (0,), (0, MANY), (3, 5), (2, 1, 300, 301), (MANY + 1,), (SLAB // 4 + 1,)):
            for wanted in (None, torch.float32, torch.float64):
                x = empty(shape, like, wanted)
                assert (x.shape, x.dtype) == (shape, wanted or dtype)
                assert x.is_contiguous()
                x.fill_(1.0)
                assert bool((x == 1).all())
        y = torch.zeros(300, 400, dtype=dtype).T
        assert empty_like(y).shape == (400, 300)
        assert empty_like(y).is_contiguous()
        assert empty_like(y, torch.float64).dtype == torch.float64


def test_a_block_is_used_again_when_nobody_holds_it() -> None:
    with reused():
        x = empty((MANY,), LIKE)
        place = x.data_ptr()
        other = empty((MANY,), LIKE)
        assert other.data_ptr() != place
        del x
        assert empty((MANY,), LIKE).data_ptr() == place
        assert empty((MANY // 2,), LIKE, torch.float64).data_ptr() == place
        del other


def test_the_room_of_a_large_block_is_for_all_sizes() -> None:
    many = LARGE  # entries of 4 bytes
    with apart():
        x = empty((2 * many,), LIKE)
        place, others = x.data_ptr(), many * 4
        del x
        # Two in the room of one, and what is too large elsewhere.
        low, high = empty((many,), LIKE), empty((many - 7,), LIKE)
        assert [low.data_ptr(), high.data_ptr()] == [place, place + others]
        del low
        larger = empty((2 * many,), LIKE)
        assert larger.data_ptr() not in (place, place + others)
        del high
        assert empty((2 * many - 5,), LIKE).data_ptr() == place


def test_small_blocks_make_room_before_a_slab_is_taken() -> None:
    with apart():
        held = [empty((MANY,), LIKE) for _ in range(SLAB // 4 // MANY)]
        places = {x.data_ptr() for x in held}
        held.clear()
        again = [empty((MANY - 16 * (i + 1),), LIKE) for i in range(SLAB // 4 // MANY)]
        assert taken() == SLAB
        assert min(x.data_ptr() for x in again) == min(places)


def views(x: torch.Tensor) -> dict[str, object]:
    """What may be left of a tensor when its name is gone."""
    return {
        "slice": x[10:20],
        "entry": x[5],
        "reshaped": x.view(2, -1),
        "narrowed": x.narrow(0, 1, 3),
        "array": x.numpy(),
        "slice of an array": x.numpy()[3:4],
        "detached": x.detach(),
        "other type": x.view(torch.int32),
        "storage": x.untyped_storage(),
        "list": [x],
    }


@pytest.mark.parametrize("kind", views(torch.zeros(MANY)))
def test_views_hold_a_block(kind: str) -> None:
    with reused():
        x = empty((MANY,), LIKE)
        place = x.data_ptr()
        view = views(x)[kind]
        del x
        assert empty((MANY,), LIKE).data_ptr() != place
        del view
        assert empty((MANY,), LIKE).data_ptr() == place


@pytest.mark.parametrize("most", [SLAB // 16, LARGE])
def test_no_two_blocks_overlap(most: int) -> None:
    rng = np.random.default_rng(0)
    with reused():
        held: list[torch.Tensor] = []
        for step in range(400):
            if held and rng.random() < 0.5:
                held.pop(int(rng.integers(len(held))))
            # Sizes that differ by little more than a block's grain fit almost into each other's room.
            size = int(rng.choice([most // 4, most // 2, most])) + 16 * int(rng.integers(-3, 4))
            x = empty((size,), LIKE).fill_(step)
            held.append(x)
            ends = sorted((y.data_ptr(), y.data_ptr() + 4 * len(y)) for y in held)
            assert all(stop <= start for (_, stop), (start, _) in zip(ends, ends[1:], strict=False))
        for x in held:
            assert bool((x == x[0]).all())


def test_contexts_within_each_other_share() -> None:
    with reused():
        x = empty((MANY,), LIKE)
        place = x.data_ptr()
        del x
        with reused():
            assert empty((MANY,), LIKE).data_ptr() == place
        assert is_open()
        assert empty((MANY,), LIKE).data_ptr() == place
    assert not is_open()


def test_a_context_that_fails_is_closed() -> None:
    with pytest.raises(KeyError), reused():
        raise KeyError
    assert not is_open()


def test_threads_do_not_share() -> None:
    """Not even the question whether memory is used again."""
    found: dict[str, object] = {}

    def work() -> None:
        found["open"] = is_open()
        with reused():
            found["place"] = empty((MANY,), LIKE).data_ptr()

    with reused():
        x = empty((MANY,), LIKE)
        place = x.data_ptr()
        del x
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found["open"] is False
        assert found["place"] != place
        assert empty((MANY,), LIKE).data_ptr() == place


def test_what_outlives_the_context_is_intact() -> None:
    with reused():
        kept = empty((MANY,), LIKE).fill_(7.0)
        copied = own_copy(kept)
    with reused():
        others = [empty((MANY,), LIKE).fill_(float(i)) for i in range(8)]
    assert bool((kept == 7).all())
    assert bool((copied == 7).all())
    assert len({x.data_ptr() for x in (kept, copied, *others)}) == 10


def test_a_few_blocks_are_found_again() -> None:
    """By the next context of the same thread, and by nobody once they are many."""
    with reused():
        place = empty((MANY,), LIKE).data_ptr()
    with reused():
        kept = empty((MANY,), LIKE)
        assert kept.data_ptr() == place
    with reused():
        assert empty((MANY,), LIKE).data_ptr() != place
        empty((KEPT // 4 + 1,), LIKE)
    assert taken() == 0
    with reused():
        x = empty((MANY,), LIKE)
        assert taken() <= SLAB
        del x


def test_a_name_is_one_place() -> None:
    """For all shapes and precisions, as long as none is larger; and no other block is cut from it."""
    assert scratch("x", (MANY,), LIKE) is None
    with reused():
        x = scratch("x", (MANY,), LIKE)
        assert scratch("x", (MANY,), LIKE) is x
        smaller = scratch("x", (3, 5), LIKE.double())
        assert (smaller.shape, smaller.dtype) == ((3, 5), torch.float64)
        assert smaller.data_ptr() == x.data_ptr()
        larger = scratch("x", (2, MANY), LIKE)
        assert scratch("x", (MANY,), LIKE).data_ptr() == larger.data_ptr()
        assert scratch("x", (0, 4), LIKE).shape == (0, 4)
        others = [scratch("y", (MANY,), LIKE), *(empty((MANY,), LIKE) for _ in range(9))]
        ends = sorted((y.data_ptr(), y.data_ptr() + y.nbytes) for y in (larger, *others))
        assert all(stop <= start for (_, stop), (start, _) in zip(ends, ends[1:], strict=False))


def test_what_is_apart_is_given_back() -> None:
    with reused():
        outer, before = empty((MANY,), LIKE), taken()
        with apart():
            assert is_open() and taken() == 0
            inner = empty((MANY,), LIKE)
            assert taken() == SLAB
        assert taken() == before
        assert inner.data_ptr() != outer.data_ptr()
    with apart():
        assert is_open()
    assert not is_open()


def test_own_copies() -> None:
    x = torch.randn(30, 40, dtype=torch.float64).T
    y = own_copy(x)
    assert torch.equal(x, y)
    assert y.is_contiguous()
    y.zero_()
    assert bool(x.any())
    assert own_copy(torch.empty(0, 3)).shape == (0, 3)


def test_solutions_do_not_share_their_memory() -> None:
    """Neither with each other nor with what the next solve works on."""
    f = lambda x, y: np.exp(x) * y  # noqa: E731
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=200))
    first = mgnet.solve(f, 200, dim=2)
    before = first.u.copy()
    b = np.random.default_rng(0).normal(size=(2, 199, 199))
    second = hierarchy.solve(b)
    again = second.u.copy()
    for method in ("auto", "vcycle", "pcg", "fmg"):
        mgnet.solve(lambda x, y: x - y, 200, dim=2, method=method)
        hierarchy.solve(-b)
    assert (first.u == before).all()
    assert (second.u == again).all()
    np.testing.assert_allclose(hierarchy.solve(b).u, again, rtol=0, atol=1e-9 * np.abs(again).max())


def test_solves_in_threads() -> None:
    """The same answers, each thread with its own memory."""
    loads = np.random.default_rng(1).normal(size=(4, 149, 149))
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(dim=2, n=150), method="vcycle")
    expected = [hierarchy.solve(b).u for b in loads]
    found: list[np.ndarray | None] = [None] * 4

    def work(i: int) -> None:
        for _ in range(3):
            found[i] = hierarchy.solve(loads[i]).u

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * np.abs(one).max())


@pytest.mark.parametrize("rows", [0, 1, 7, 64])
@pytest.mark.parametrize("most", [1, 100, 4096, 10**9])
def test_strips_are_all_rows_and_no_larger_than_asked(rows: int, most: int) -> None:
    x = torch.empty(2, rows, 8, dtype=torch.float64)
    found = list(strips(rows, x, most))
    assert [i for some in found for i in range(rows)[some]] == list(range(rows))
    assert all(some.stop - some.start == 1 or x[:, some].nbytes <= most for some in found)
    assert all(x[:, some.start : some.stop + 1].nbytes > most for some in found[:-1])
    # A stand-in for a tensor of a GPU, which takes them at once.
    assert list(strips(rows, x.to("meta"), most)) == [slice(0, rows)] * bool(rows)


def test_what_is_sent_is_itself_or_a_copy() -> None:
    x = torch.arange(3.0)
    assert sent(x, torch.device("cpu")) is x
    assert torch.equal(sent(x, torch.device("cpu"), torch.float64), x.double())
    assert sent(x, torch.device("meta")).device.type == "meta"  # which has no memory to fetch anything
    w = torch.ones(3, requires_grad=True)
    sent(w, torch.device("cpu"), torch.float64).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, torch.ones(3))
