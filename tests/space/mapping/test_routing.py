"""Stages whose extents the data decide: experts, groups and filters, priced, timed and computed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.ir import build as b
from maquette.ir import evaluate
from maquette.ir.axes import Axis, axis
from maquette.ir.bound import bound
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, make
from maquette.ir.sizes import sym
from maquette.models.config import Attention, Dense, Experts, Layer, ModelConfig, Norm, Rope, Router
from maquette.models.decoder import program
from maquette.space.mapping import Options, mapped, part, stages
from maquette.space.mapping.recounted import recounted
from maquette.space.mapping.routing import likely
from maquette.space.mapping.values import simulate_values

SN40L = machine("sn40l")
HBM = dict.fromkeys(("weight", "state", "activation", "index"), "hbm")


@cache
def layer(router=None, shared=None):
    mixer = Attention(4, 2, 16, rope=Rope(10000.0, 16))
    kinds = {"moe": Layer(mixer, Experts(8, 2, Dense(32), router or Router(), shared))}
    return program(ModelConfig("tiny", "mixtral", 100, 64, kinds, ("moe",), Norm(), 128)).parts[
        "moe"
    ]


def simulated(graph, sizes, options=None, inputs=None, seed=0):
    """Largest difference from the interpreter, what was mapped, and the runs."""
    whole = part(graph, sizes)
    room = {**sizes, **dict.fromkeys(likely(graph, sizes), 8)}
    fixed, rng = bound(graph, room), np.random.default_rng(seed)
    given = {
        n: rng.standard_normal([a.size.constant for a in v.axes]) for n, v in fixed.inputs.items()
    } | (inputs or {})
    expected = evaluate(fixed, given, precise=True)
    found = mapped(whole, SN40L, options)
    outputs, runs = simulate_values(whole, found, SN40L, given)
    assert all(r.result.deadlock is None for r in runs)
    named = {n.removeprefix("next_"): v for n, v in outputs.items()}
    error = max(np.abs(expected[n] - named[n]).max() for n in expected)
    return error, found, runs


@pytest.mark.parametrize(
    "sizes, options",
    [
        ({"b": 1, "s": 1, "t": 5}, Options()),
        ({"b": 2, "s": 4, "t": 4}, Options(cuts=())),
        ({"b": 4, "s": 1, "t": 5}, Options(tiles=(1,), cuts=("k3", "k11"))),
    ],
)
def test_a_layer_of_experts_computes_what_it_means(sizes, options):
    error, _, _ = simulated(layer(), sizes, options)
    assert error < 1e-10


@pytest.mark.parametrize(
    "router, shared",
    [
        (Router(scoring="sigmoid", correction=True, groups=4, groups_kept=2, group_top=1), None),
        (Router(normalise=False, bias=True), Dense(16)),
    ],
    ids=["best groups", "shared expert"],
)
def test_routers_of_other_families_too(router, shared):
    error, _, _ = simulated(layer(router, shared), {"b": 2, "s": 2, "t": 3}, Options(cuts=()))
    assert error < 1e-10


def filtered():
    """Twice those of x that exceed y, and how often each of z's kinds occurs among all of them."""
    x, y = b.activation("x", n=12), b.activation("y", n=12)
    kept = b.Tensor(
        make(FlatMap, axes=(Axis("o", sym("kept"), axis("n", 12).size),), dtype="i32",
             rule="where", along="n", out=Axis("o", sym("kept"), axis("n", 12).size),
             key=(y < x).value)
    )  # fmt: skip
    return Graph("filtered", {"z": (x.at(n=kept) * 2.0).value})


def test_what_a_filter_keeps_is_counted_when_it_is_known():
    x, y = np.arange(12.0), np.where(np.arange(12) % 4, 99.0, -1.0)  # 0, 4 and 8 stay
    whole = part(filtered(), {})
    assert whole.counts == {"o": 12}  # nobody says how many
    assert part(filtered(), {"kept": 3}).counts == {"o": 3}
    found = mapped(whole, SN40L)
    outputs, runs = simulate_values(whole, found, SN40L, {"x": x, "y": y})
    assert outputs["z"][:3].tolist() == [0.0, 8.0, 16.0]
    assert all(r.result.deadlock is None for r in runs)
    few = {s.name: s for s in stages(part(filtered(), {"kept": 3}), 1, SN40L.fabric, HBM)}
    for section in found.sections:
        again = recounted(section, whole, {"o": 3}, SN40L.fabric)
        for share, before in zip(again.shares, section.shares, strict=True):
            assert share.stage.work == few[share.stage.name].work <= before.stage.work
            assert (share.compute, share.memory) == (before.compute, before.memory)
            assert share.cycles <= before.cycles


def grouped(groups=4):
    """Rows of one kind meet a matrix of that kind, and return to their places."""
    x, kind = b.activation("x", n=12, d=16), b.indices("kind", n=12)
    group = Axis("e", sym("seen"), axis("e", groups).size)
    slot, at = b.group_by(kind, group, Axis("m", sym("each"), axis("n", 12).size))
    made = b.dot(x.at(n=at), b.weight("w", e=groups, d=16, f=24), "d")
    return Graph("grouped", {"y": made.at(e=kind, m=slot).value})


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_groups_of_any_kind_are_computed_and_counted(kinds):
    graph, rng = grouped(), np.random.default_rng(0)
    whole = part(graph, {"seen": 4, "each": 3})
    inputs = {"x": rng.standard_normal((12, 16)), "w": rng.standard_normal((4, 16, 24)),
              "kind": np.array(kinds)}  # fmt: skip
    found = mapped(whole, SN40L)
    outputs, runs = simulate_values(whole, found, SN40L, inputs)
    assert all(r.result.deadlock is None for r in runs)
    rows = np.einsum("nd,ndf->nf", inputs["x"], inputs["w"][inputs["kind"]])
    assert np.abs(outputs["y"] - rows.T).max() < 1e-12


def weights_read(section):
    """Bytes of experts' weights that stages read."""
    reads = (r for s in section.shares for r in s.stage.reads)
    return sum(r.total for r in reads if r.name.startswith("expert_w"))


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_bytes_of_experts_are_those_of_the_experts_that_are_likely(batch):
    """Mixtral: E = 8 (1 - (3/4)^B) of its eight experts, three matrices each."""
    graph = program(model("mixtral-8x7b")).parts["moe"]
    sizes = {"b": batch, "s": 1, "t": 64}
    assert likely(graph, sizes)["hit"] == pytest.approx(8 * (1 - 0.75**batch))
    touched = int(np.ceil(8 * (1 - 0.75**batch) - 1e-9))
    for given_, count in (({}, touched), ({"hit": 2}, 2), ({"hit": 8}, 8)):
        whole = part(graph, {**sizes, **given_})
        found = stages(whole, 1, SN40L.fabric, HBM)
        reads = {r.name: r.total for s in found for r in s.reads if r.name.startswith("expert_w")}
        assert sum(reads.values()) == count * 3 * 4096 * 14336 * 2
        flops = sum(s.flops for s in found if any(r.name in reads for r in s.reads))
        least = 2 * batch * 2 * 3 * 4096 * 14336
        assert least <= flops < least * (1 + (count + 1) / (2 * batch))  # groups are filled up


def test_time_is_of_the_experts_that_tokens_met():
    """Tokens that are all alike meet two experts, others more: fewer bytes, fewer cycles."""
    graph, sizes = layer(), {"b": 8, "s": 1, "t": 4}
    rng = np.random.default_rng(1)
    one = rng.standard_normal((1, 1, 64))
    state = {n: np.repeat(rng.standard_normal((1, 4, 2, 16)), 8, 0) for n in ("keys", "values")}
    alike = {"x": np.repeat(one, 8, 0)}
    _, found, same = simulated(graph, sizes, Options(cuts=()), alike | _sized(graph, sizes, state))
    _, _, other = simulated(graph, sizes, Options(cuts=()))
    assert same[-1].cycles < other[-1].cycles
    whole = part(graph, sizes)
    assert whole.counts["e"] == 8  # 7.2 are likely
    assert weights_read(found.sections[0]) == 8 * 3 * 64 * 32 * 2


def _sized(graph, sizes, state):
    """States of the shapes that the layer has them in: all but the new position."""
    shapes = {
        n: [a.size.constant for a in v.axes]
        for n, v in bound(graph, {**sizes, "hit": 8}).inputs.items()
    }
    return {n: x[:, : shapes[n][1]] for n, x in state.items()}


def test_keys_stay_together():
    """No tile cuts what is ranked or grouped: a group takes its members from all of the points."""
    whole = part(layer(), {"b": 2, "s": 4, "t": 4})
    for kernel in whole.kernels:
        if hasattr(kernel, "rule"):
            assert not kernel.together & {*whole.streamed(kernel)}


def test_recounting_what_was_expected_changes_nothing():
    """The mask's share is taken once, of streams that occur twice too (a cache and what is new)."""
    whole = part(layer(), {"b": 1, "s": 64, "t": 96})
    for section in mapped(whole, SN40L, None).sections:
        again = recounted(section, whole, whole.counts, SN40L.fabric)
        for before, after in zip(section.shares, again.shares, strict=True):
            for old, new in zip(before.stage.reads, after.stage.reads, strict=True):
                assert (new.tile, new.total) == pytest.approx((old.tile, old.total))
                assert new.port == pytest.approx(old.port)
        assert {t: f.read for t, f in again.traffic.items()} == pytest.approx(
            {t: f.read for t, f in section.traffic.items()}
        )
