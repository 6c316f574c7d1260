"""Memory that is used again: only what nothing refers to, and no more of it than is said."""

from __future__ import annotations

import gc
import os
import threading
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maquette as mq
from maquette.run import blocks
from maquette.run.blocks import LARGE, Blocks, mapped

SIDE = 600  # of a matrix of fp32 that is large
assert SIDE * SIDE * 4 > LARGE


def address(array) -> int:
    return int(array.__array_interface__["data"][0])


def test_fresh_memory_is_zero_and_aligned():
    for size in (1, 4096, blocks.HUGE, 3 * blocks.HUGE + 5):
        block = mapped(size)
        assert block.address == address(block.array())
        assert block.address % (blocks.HUGE if size >= blocks.HUGE else 4096) == 0
        assert block.array().size == size
        assert not block.array().any()


VIEWS = {
    "itself": lambda a: a,
    "slice": lambda a: a[1:],
    "view of a view": lambda a: a[3:].view("i4")[::2].reshape(-1, 1),
    "memoryview": memoryview,
    "buffer": lambda a: np.frombuffer(a, np.int8),
    "subclass": lambda a: a.view(np.ma.MaskedArray),
    "interface": lambda a: np.asarray(SimpleNamespace(held=a, **interface(a))),
    "dlpack": np.from_dlpack,
}


def interface(a):
    return {"__array_interface__": a.__array_interface__}


@pytest.mark.parametrize("kind", VIEWS)
def test_nothing_is_used_again_while_a_view_is_left(kind):
    pool = Blocks()
    array = pool.take(LARGE).view(np.float32)
    where, view = address(array), VIEWS[kind](array)
    del array
    other = pool.take(LARGE)
    assert address(other) != where
    assert pool.unused == 0
    del view
    assert address(pool.take(LARGE)) == where


def test_views_of_the_framework_count():
    torch = pytest.importorskip("torch")
    for view in (
        lambda t: t,
        lambda t: t[5:].detach().view(torch.int32),
        lambda t: t.untyped_storage(),
        lambda t: t.numpy()[1:],
        torch.from_dlpack,
        lambda t: torch.nn.Parameter(t),
    ):
        pool = Blocks()
        tensor = torch.from_numpy(pool.take(LARGE).view(np.float32))
        where, held = tensor.data_ptr(), view(tensor)
        del tensor
        assert pool.unused == 0
        del held
        assert pool.unused == LARGE
        assert address(pool.take(LARGE)) == where


def test_collected_cycles_give_back_only_what_stays_dead():
    pool, saved = Blocks(), []

    class Saver:
        def __init__(self) -> None:
            self.me, self.array = self, pool.take(LARGE)

        def __del__(self) -> None:
            saved.append(self.array)

    Saver()
    gc.collect()
    (array,) = saved
    assert pool.unused == 0
    assert address(pool.take(LARGE)) != address(array)


SIZES = st.sampled_from([4096, 5000, 6100, 9000])


@given(st.lists(st.tuples(st.integers(0, 5), SIZES), max_size=60))
@settings(deadline=None, max_examples=50)
def test_what_is_held_never_overlaps_and_keeps_its_bytes(steps):
    pool = Blocks(20_000)
    held: dict[int, tuple[int, object]] = {}
    for number, (slot, size) in enumerate(steps):
        array = pool.take(size)
        assert size <= array.size <= size + size // 4
        array[:] = number % 251
        held[slot] = (number % 251, array)
        ends = sorted((address(a), address(a) + a.size) for _, a in held.values())
        assert all(a[1] <= b[0] for a, b in pairwise(ends))
        assert all((a == mark).all() for mark, a in held.values())
        assert pool.unused <= 20_000


def test_unused_blocks_are_bounded_and_the_newest_are_kept():
    pool = Blocks(3 * LARGE)
    held = [pool.take(LARGE) for _ in range(5)]
    places = [address(a) for a in held]
    while held:
        del held[0]
    assert pool.unused == 3 * LARGE
    assert [address(a) for a in [pool.take(LARGE) for _ in range(3)]] == places[:1:-1]
    pool.take(4 * LARGE)
    assert pool.unused <= 3 * LARGE
    pool.clear()
    assert pool.unused == 0


def test_threads_take_and_give():
    pool, wrong = Blocks(), []

    def work(mark: int) -> None:
        for _ in range(200):
            array = pool.take(4096 * (1 + mark % 2))
            array[:] = mark
            if not (array == mark).all():
                wrong.append(mark)

    team = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    assert not wrong


def test_a_finaliser_in_the_midst_of_it_does_not_wait_for_itself():
    pool = Blocks()
    array = pool.take(LARGE)
    with pool._lock:
        del array
    assert pool.unused == LARGE


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_results_of_calls_are_apart_and_their_memory_comes_back(library):
    x = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    if library == "torch":
        x = pytest.importorskip("torch").from_numpy(x)
    twice = mq.compile(lambda x, y: (x + y, x * y))
    blocks.RESULTS.clear()
    first = [twice(x, x + i) for i in range(3)]
    for i, (total, product) in enumerate(first):
        assert bool((total == x + (x + i)).all())
        assert bool((product == x * (x + i)).all())
    del first, total, product
    assert blocks.RESULTS.unused == 6 * SIDE * SIDE * 4
    twice(x, x)
    assert blocks.RESULTS.unused == 6 * SIDE * SIDE * 4
    blocks.RESULTS.clear()


def test_large_results_in_every_format_of_the_framework():
    torch = pytest.importorskip("torch")
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.ones(1024, 1024, dtype=kind)
        for found in (mq.compile(lambda x: x + 1)(x) for _ in range(2)):
            assert found.dtype is kind
            assert bool((found == 2).all())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_has_memory_of_its_own():
    block = mapped(1 << 21)
    child = os.fork()
    if not child:
        block.array()[:] = 7
        os._exit(0)
    os.waitpid(child, 0)
    assert not block.array().any()
