"""A decoder layer of a catalogue model becomes sections on one socket."""

from __future__ import annotations

from collections import Counter

import pytest

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.ir.bound import bound
from maquette.ir.facts import work
from maquette.models.decoder import program
from maquette.space.mapping import Mapped, Options, mapped, netlist, part, show_mapped, stages
from maquette.space.mapping.partition import Limits


@pytest.fixture(scope="module")
def layer():
    return program(model("llama-3.1-8b")).parts["dense"]


@pytest.fixture(scope="module")
def sn40l():
    return machine("sn40l")


def test_decoding_reads_every_weight_once_at_the_rate_of_memory(layer, sn40l):
    found = mapped(part(layer, {"b": 1, "s": 1, "t": 4096}, sockets=8), sn40l)
    assert isinstance(found, Mapped)
    read = sum(s.traffic["hbm"].read for s in found.sections)
    weights = 2 * 4096 * (512 + 128 + 128 + 512 + 3 * 1792)
    cache = 2 * 2 * 128 * 4095
    assert read == pytest.approx(weights + cache, rel=1e-3)
    assert {s.binding for s in found.sections} == {"hbm bandwidth"}
    assert found.seconds >= read / 1.8e12


def test_a_prompt_is_bound_by_compute_units_and_stays_within_the_chip(layer, sn40l):
    whole = part(layer, {"b": 1, "s": 2048, "t": 2048}, sockets=8)
    found = mapped(whole, sn40l, Options(tiles=(32, 64)))
    assert isinstance(found, Mapped)
    fabric = sn40l.fabric
    for section in found.sections:
        masked = any(s.stage.live < 1 for s in section.shares)  # half of attention is left out
        assert section.binding == ("hbm bandwidth" if masked else "compute units")
        assert section.compute <= fabric.compute.value
        assert section.memory <= fabric.memory.value
        assert section.generators <= fabric.generators.value
    flops = 2 * 2048 * 4096 * (512 + 256 + 512 + 3 * 1792) + 4 * 2048 * 2048 * 512
    peak = flops / sn40l.compute.matrix["bf16"].value
    assert peak <= sum(s.cycles for s in found.sections) / fabric.clock.value < 1.25 * peak


def test_netlists_name_units_once_and_join_only_them(layer, sn40l):
    found = mapped(part(layer, {"b": 1, "s": 1, "t": 4096}, sockets=8), sn40l)
    for section in found.sections:
        made = netlist(section, sn40l.fabric)
        names = [u.name for u in made.units]
        assert len(set(names)) == len(names)
        assert {u for n in made.nets for u in (n.source, *n.sinks)} <= set(names)
        assert all(0 <= n.activity <= 1 for n in made.nets)
        memory = {u.name for u in made.units if u.kind == "memory"}
        arriving = Counter[str]()
        for net in made.nets:
            arriving.update({u: net.activity for u in net.sinks if u in memory})
        assert max(arriving.values()) <= 1  # one write port


def test_a_prompt_in_one_section_streams_through_attention(layer, sn40l):
    """Keys are read as they are made: a causal fold needs none that is later."""
    found = mapped(
        part(layer, {"b": 1, "s": 2048, "t": 2048}, sockets=8),
        sn40l,
        Options(cuts=(), tiles=(128,)),
    )
    assert isinstance(found, Mapped)
    (section,) = found.sections
    access = {(r.name, r.access) for s in section.shares for r in s.stage.reads}
    assert ("next_keys", "prefix") in access and not any(a == "whole" for _, a in access)
    assert section.traffic["hbm"].read < 1.02 * (2048 * 4096 * 2 + 2 * 4096 * (1280 + 3 * 1792))
    assert section.compute >= 0.9 * sn40l.fabric.compute.value
    units = [u for u in netlist(section, sn40l.fabric).units if u.kind == "compute"]
    assert len(units) == section.compute < sum(s.compute for s in section.shares)
    limits = Limits.of(sn40l.fabric)
    needs = {s.stage.name: s.stage.needs for s in section.shares}
    for group in section.together:
        assert sum((needs[n] for n in group[1:]), start=needs[group[0]]).within(limits)
    assert "bound by compute units" in show_mapped(found, sn40l)


@pytest.mark.parametrize("name", ["gemma-2-9b", "llama-3.1-8b", "qwen2.5-7b"])
def test_stages_compute_no_more_than_the_program(name, sn40l):
    """Gemma 2 norms what attention adds before the sum; its products are not made twice for it."""
    sizes = {"b": 1, "s": 1, "t": 128, "t4096": 128}
    whole = program(model(name))
    layer = next(n for n in whole.parts if n not in ("embed", "head"))
    tiers = dict.fromkeys(("weight", "state", "activation", "index"), "hbm")
    made = stages(part(whole.parts[layer], sizes), 1, sn40l.fabric, tiers)
    done = work(bound(whole.parts[layer], sizes).values)
    assert sum(s.flops for s in made) <= 1.01 * float(done.matrix({}) + done.vector({}))
