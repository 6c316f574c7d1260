"""One node for one expression: in every thread, and no longer than somebody holds it."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from maquette.ir import Graph, by_section, evaluate, patterns, section_traffic, work
from maquette.ir.build import Tensor, activation, apply, clip, dot, silu, softmax, weight


def layer(width: int) -> Tensor:
    """Something with every way of sharing: an operand used twice, a section, a softmax."""
    x = activation("x", b="b", d=width)
    with patterns.section("mlp"):
        up = silu((x * weight("up", d=width, f=3)).sum("d"))
        return softmax((up * weight("down", f=3, d=width)).sum("f") + x, "d")


def test_the_same_expression_is_the_same_node() -> None:
    assert layer(8).value is layer(8).value
    assert layer(8).value is not layer(9).value


def test_words_and_operators_are_the_patterns_they_stand_for() -> None:
    x, w = activation("x", b="b", d=8), weight("w", d=8, f=3)
    assert dot(x, w, "d").value is (x * w).sum("d").value
    assert (x % 3).value is apply("mod", x, 3).value
    assert (x // 3).value is apply("floordiv", x, 3).value
    bounded = Graph("bounded", {"y": clip(x, 1.0, 5.0).value})
    found = evaluate(bounded, {"x": np.arange(8.0).reshape(1, 8)})
    assert found["y"].tolist() == [[1, 1, 2, 3, 4, 5, 5, 5]]


def test_a_thousand_programs_leave_nothing_behind() -> None:
    gc.collect()
    before = len(patterns._interned)
    for width in range(1000, 2000):
        graph = Graph("layer", {"x": layer(width).value})
        for values in by_section(graph).values():  # facts are remembered, but hold nobody
            section_traffic(values, graph)
            work(values)
    del graph, values
    gc.collect()
    assert len(patterns._interned) <= before + 50


def test_a_very_deep_program_is_let_go() -> None:
    x = activation("x", n="n")
    for i in range(20_000):
        x = x + float(i)
    del x
    gc.collect()


def test_threads_share_nodes() -> None:
    start = Barrier(8)

    def built(_: int) -> list[Tensor]:
        start.wait()
        return [layer(width) for width in range(3000, 3050)]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(built, range(8))
    for tensors in others:
        assert all(a.value is b.value for a, b in zip(first, tensors, strict=True))
