"""Simulations of mapped sections compute what the program means."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.fuse.programs import PROGRAMS, graph
from maquette.catalogue.machines import machine
from maquette.errors import InputError
from maquette.ir import build as b
from maquette.ir import evaluate
from maquette.ir.bound import bound
from maquette.ir.graph import Graph
from maquette.models.config import (
    Attention,
    Dense,
    Latent,
    Layer,
    ModelConfig,
    Norm,
    Rope,
    StateSpace,
)
from maquette.models.decoder import program
from maquette.space.mapping import Options, mapped, part
from maquette.space.mapping.values import simulate_values


@pytest.fixture(scope="module")
def layer():
    mixer = Attention(4, 2, 16, rope=Rope(10000.0, 16))
    kinds = {"dense": Layer(mixer, Dense(128))}
    tiny = ModelConfig("tiny", "llama", 100, 64, kinds, ("dense",), Norm(), 128)
    return program(tiny).parts["dense"]


def run(graph, sizes, options, name="sn40l"):
    """Largest difference from the interpreter, and the sections that were simulated."""
    fixed, rng = bound(graph, sizes), np.random.default_rng(0)
    inputs = {
        n: 0.3 * rng.standard_normal([a.size.constant for a in v.axes])
        for n, v in fixed.inputs.items()
    }
    expected = evaluate(fixed, inputs, precise=True)
    chip = machine(name)
    found = mapped(part(graph, sizes), chip, options)
    outputs, runs = simulate_values(part(graph, sizes), found, chip, inputs)
    renamed = {n.removeprefix("next_"): v for n, v in outputs.items()}
    assert renamed.keys() == expected.keys()
    error = max(np.abs(expected[n] - renamed[n]).max() for n in expected)
    assert all(r.result.deadlock is None for r in runs)
    return error, found.sections


@pytest.mark.parametrize(
    "sizes, tiles, cuts",
    [
        ({"b": 1, "s": 8, "t": 8}, 4, ()),  # a prompt, in one section
        ({"b": 2, "s": 8, "t": 12}, 4, ()),  # with positions before it
        ({"b": 2, "s": 1, "t": 5}, 2, None),  # one token of two sequences
        ({"b": 2, "s": 1, "t": 5}, 1, ()),
        ({"b": 4, "s": 1, "t": 5}, 4, ("k3", "k8")),  # in three sections
    ],
)
def test_a_layer_tile_by_tile_is_the_layer(layer, sizes, tiles, cuts):
    error, sections = run(layer, sizes, Options(tiles=(tiles,), cuts=cuts))
    assert error < 1e-12
    if cuts is not None:
        assert len(sections) == len(cuts) + 1


MIXERS = {
    "latent": Latent(2, None, 8, 8, 8, Rope(10000.0, 4), 0.3),
    "state space": StateSpace(2, 8, 4, 1, 4),
    "window": Attention(4, 4, 16, rope=Rope(10000.0, 16), window=4),
}


@pytest.mark.parametrize("mixer", MIXERS)
def test_other_layers_token_by_token(mixer):
    """Caches, convolutions that look back, states that are carried: buffers of two writers."""
    kinds = {"one": Layer(MIXERS[mixer], Dense(48))}
    tiny = ModelConfig("tiny", "llama", 100, 32, kinds, ("one",), Norm(), 128)
    made = program(tiny)
    sizes = {"b": 2, "s": 1, "t": 6} | dict(made.windows)
    for tiles in (1, 2):
        error, _ = run(made.parts["one"], sizes, Options(tiles=(tiles,), cuts=()))
        assert error < 1e-12
    error, _ = run(made.parts["one"], sizes | {"b": 1, "s": 4}, Options(cuts=()))
    assert error < 1e-12


def test_a_recurrence_carries_its_state_from_tile_to_tile():
    """Convolutions look back into the tile before; the last state is taken when all have passed."""
    kinds = {"one": Layer(MIXERS["state space"], None)}
    made = program(ModelConfig("tiny", "llama", 100, 32, kinds, ("one",), Norm(), 128))
    sizes = {"b": 1, "s": 8, "t": 8}
    error, (section,) = run(made.parts["one"], sizes, Options(tiles=(4,), cuts=()))
    assert error < 1e-12
    access = {r.access for s in section.shares for r in s.stage.reads}
    assert access == {"tile", "held", "prefix", "whole"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_as_users_write_them(name):
    """In one section, of the most tiles up to two that divide it."""
    made = graph(name)
    try:
        error, _ = run(made, {}, Options(tiles=(2,), cuts=()))
    except InputError as refused:
        assert "no number of tiles" in str(refused)
        error, _ = run(made, {}, Options(tiles=(1,), cuts=()))
    assert error < 1e-12


def test_what_only_carries_a_state_over_takes_nothing():
    kept = b.state("kept", n=4)
    whole = part(Graph("idle", {"kept": kept.value}), {})
    found = mapped(whole, machine("sn40l"))
    assert found.sections == () and found.seconds == 0


def test_plasticine_computes_it_too(layer):
    error, _ = run(layer, {"b": 1, "s": 4, "t": 6}, Options(tiles=(4,), cuts=()), "plasticine")
    assert error < 1e-12


def test_what_needs_all_tiles_waits_for_them():
    """Without a mask every query reads the last key: a second phase begins."""
    x = b.activation("x", s="s", d=16)
    q, k = (b.dot(x, b.weight(f"w_{n}", d=16, e=8), "d") for n in "qk")
    scores = b.dot(q, k.rename(s="t"), "e")
    y = b.dot(b.softmax(scores, "t"), x.rename(s="t"), "t")
    error, (section,) = run(Graph("all", {"y": y.value}), {"s": 8}, Options(tiles=(4,), cuts=()))
    assert error < 1e-12
    assert any(r.access == "whole" for s in section.shares for r in s.stage.reads)
