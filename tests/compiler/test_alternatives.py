"""Flows are chosen by price, whatever is chosen means the same, and what was priced is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import maquette
from compiler.derive.programs import causal, graph, inputs, rms_norm, soft
from maquette.compiler.alternatives import Alternative, Price, Search
from maquette.compiler.derive import derive, worthwhile
from maquette.compiler.fuse import evaluate_flow, show_flow
from maquette.compiler.kernel import Interpreted
from maquette.compiler.pipeline import named
from maquette.compiler.tile.text import parse_tiling
from maquette.compiler.variants import LENGTHS, Variant, Written, lengths, made
from maquette.ir import Graph, evaluate
from maquette.ir.build import dot, scan, tensor, weight
from maquette.ir.monoids import ADD, Streamed
from maquette.ir.patterns import section

GUESS = worthwhile(1 << 20)


def streamed(kernel):
    return any(isinstance(s.monoid, Streamed) for s in kernel.stages)


def online_at(seconds):
    """A price at which kernels that stream take so long, and any others one second."""
    return lambda kernel: seconds if streamed(kernel) else 1.0


def search(of, price, tries=48, original=None, constants=()):
    written = Written(of, frozenset(constants))
    other = written if original is None else Written(original, frozenset(constants))
    return Search(written, other, GUESS, price, tries)


def linear(s=512):
    """A running sum of outer products, read out at every position."""
    q, k = (tensor(n, "activation", "f32", s=s, d=4) for n in "qk")
    v = tensor("v", "activation", "f32", s=s, e=2)
    return Graph("linear", {"y": dot(q, scan(ADD, "s", k * v)[0], "d").value})


def normed():
    """A scaled row in front of a product with weights."""
    x = tensor("x", "activation", "f32", n=6, d=8)
    y = x / (x * x).sum("d")
    return Graph("normed", {"y": dot(y, weight("w", d=8, f=5), "d").value})


@pytest.mark.parametrize(("seconds", "online"), [(0.5, True), (1.5, False)])
def test_one_pass_where_it_is_cheaper(seconds, online):
    found = search(graph(causal), online_at(seconds))
    variant, told = found.run()
    assert any(map(streamed, found.made.flow.kernels)) == online
    (fold,) = [a for a in told if a.what.startswith("max.add.add")]
    assert fold.chosen == ("online" if online else "pass by pass")
    assert dict(fold.options)["online"] == Price(0, seconds)
    assert bool(variant.flipped) != online  # the guess is to stream


def test_a_guess_that_declines_is_overruled():
    assert not any(map(GUESS, derive(graph(soft)).derivations))
    for seconds, online in ((0.5, True), (1.5, False)):
        found = search(graph(soft), online_at(seconds))
        found.run()
        assert any(map(streamed, found.made.flow.kernels)) == online


def test_numpy_is_the_last_resort():
    """A fold that no strategy takes is not derived, however quick the rest is."""
    found = search(graph(causal), lambda k: None if streamed(k) else 100.0)
    _, told = found.run()
    assert not any(map(streamed, found.made.flow.kernels))
    assert "1 in NumPy" in str(told[0])
    assert Price(0, 9.0).beats(Price(1, 1.0)) and not Price(1, 1.0).beats(Price(0, 9.0))
    assert not Price(0, 0.999).beats(Price(0, 1.0))  # less than prices can tell


def test_fewer_kernels_or_more():
    """What is joined costs what the price says: by number, or by what one kernel holds."""
    by_number = search(graph(causal), lambda k: 1.0)
    by_number.run()
    by_size = search(graph(causal), lambda k: float(len(k.stages)) ** 3)
    by_size.run()
    assert len(by_number.made.flow.kernels) < len(by_size.made.flow.kernels)


@pytest.mark.parametrize("length", LENGTHS[:3])
def test_recurrences_by_chunks(length):
    """The length of a chunk is the one whose kernels are cheapest; none if none is."""

    def price(kernel):
        if 512 in kernel.extents.values():
            return 1000.0
        return 1.0 if {length, 512 // length} & set(kernel.extents.values()) else 10.0

    of = linear()
    assert lengths(of) == LENGTHS and not lengths(graph(rms_norm))
    variant, told = search(of, price).run()
    assert variant.chunk == length
    assert next(a for a in told if a.what == "recurrences").chosen == f"by {length}"
    variant, _ = search(of, lambda k: float(len(k.stages)) ** 2).run()
    assert variant.chunk == 0


def test_rewriting_is_declined_where_kernels_get_slower():
    of, better = graph(rms_norm), graph(soft)
    kept, told = search(better, lambda k: 1.0 + len(k.inputs), original=of).run()
    assert "the graph" in {a.what for a in told}
    prices = dict(next(a for a in told if a.what == "the graph").options)
    assert kept.rewritten == (not prices["as written"].beats(prices["rewritten"]))


VARIANTS = [
    Variant(),
    Variant(through=False),
    Variant(weights_through=True),
    Variant(siblings=False),
    Variant(chunk=32),
    Variant(through=False, siblings=False, chunk=32),
]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
@pytest.mark.parametrize(
    "of", [graph(causal), graph(soft), graph(rms_norm), normed(), linear(70)], ids=lambda g: g.name
)
def test_every_variant_means_the_same(of, variant, flip):
    first = made(Written(of), variant, GUESS).algebra
    chosen = replace(
        variant,
        flipped=frozenset(first.guessed if flip else ()),
        apart=frozenset(first.keeps if flip else ()),
    )
    found = made(Written(of), chosen, GUESS)
    given = inputs(of, np.random.default_rng(3))
    wanted = evaluate(of, given, precise=True)
    result = evaluate_flow(found.flow, {t.name: given[t.name] for t in found.flow.inputs})
    for name, value in wanted.items():
        np.testing.assert_allclose(result[name], value, rtol=3e-5, atol=3e-5)


def test_the_same_answer_every_time():
    def run():
        found = search(graph(causal), lambda k: float(len(k.stages) + len(k.inputs)))
        variant, told = found.run()
        return variant, told, show_flow(found.made.flow)

    assert run() == run()


def test_no_tries_take_the_guess():
    variant, told = search(graph(causal), online_at(9.0), tries=0).run()
    assert variant == Variant() and told == ()


def layers(count):
    """Layers of one form, each a normed product in a section of its own."""
    x = tensor("x", "activation", "f32", n=6, d=8)
    for number in range(count):
        with section(f"layer{number}"):
            h = x * ((x * x).sum("d") + 1.0)
            x = x + dot(h, weight(f"w{number}", d=8, f=8), "d").rename(f="d")
    return Graph("layers", {"y": x.value})


def test_layers_of_one_form_are_priced_once():
    """What is decided of one is decided of all; a price stands for as many as there are."""
    asked = []

    def price(kernel):
        asked.append(kernel)
        return 0.0 if isinstance(kernel, Interpreted) else 1.0 + len(kernel.stages)

    counts = []
    for number in (40, 80):
        asked.clear()
        found = search(layers(number), price)
        _, told = found.run()
        counts.append(len(asked))
        assert found.made is None and told
    assert counts[1] <= 1.3 * counts[0]


GOLDEN = """\
max.add.add over 9 of 9×9×2×4×3: pass by pass 1000 ms, online 500 ms: online
products of activations: stored 1500 ms, streamed 500 ms: streamed"""


def test_what_was_priced_is_told():
    _, told = search(graph(causal), online_at(0.5)).run()
    assert "\n".join(map(str, told)) == GOLDEN
    unmade = Alternative("loops", (("a", Price(0, float("inf"))), ("b", Price(2, 1e-3))), "b")
    assert str(unmade) == "loops: a cannot be made, b 1 ms and 2 in NumPy: b"


def test_what_is_handed_on_counts():
    """Kernels that are quicker one by one lose by what they leave each other in memory."""

    def by_stage(kernel):
        return float(len(kernel.stages)) ** 3

    free = search(graph(causal), by_stage)
    free.run()
    written = Written(graph(causal))
    paid = Search(written, written, GUESS, by_stage, 48, lambda flow: 1e6 * flow.arena_bytes)
    paid.run()
    assert free.made.flow.arena_bytes > 0 == paid.made.flow.arena_bytes


def test_tilings_are_told_in_the_names_of_their_kernels_and_read_back():
    compiled = maquette.compile(lambda x: np.exp(x - x.max(axis=-1, keepdims=True)))
    compiled(np.ones((33, 70), np.float32))
    (kernel,), (chosen,) = compiled.lowered.flow.kernels, compiled.lowered.tiled
    text = compiled.lowered.stages()["tiled"].removeprefix(f"{kernel.name}: ")
    tiling = parse_tiling(text)
    assert tiling == named(chosen.tiling, kernel)
    assert {loop.axis for loop in tiling.loops} <= set(kernel.extents)
