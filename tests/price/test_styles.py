"""Execution styles: closed forms of pipelines, regions and cold weights; nothing beats light."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.errors import InputError
from maquette.machines.checks import facts
from maquette.machines.doubts import scaled
from maquette.models.decoder import program
from maquette.plans.legality import PRECISIONS, native
from maquette.plans.types import Infeasible, Mesh, Plan, Policy
from maquette.price.calibration import NAMES, first_principles
from maquette.price.environment import (
    batch_environment,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.host import own
from maquette.price.memory import fits, memory, placed
from maquette.price.rates import formats
from maquette.price.replica import stages, step_model
from maquette.price.seconds import IDEAL, priceable, walk_seconds
from maquette.price.styles import across, host_seconds, reductions

VENDOR = engine("vendor")
MESHES = {"sn40l": Mesh(tp=8), "cs-3": Mesh(pp=2), "corsair": Mesh(tp=8), "groq-lpu": Mesh(8, 32)}
SMALL = Policy(max_batched_tokens=256, max_seqs=64, prefix_caching=False)


@cache
def lowered(name):
    return lower(program(model(name)), VENDOR)


@cache
def prior(name):
    device = machine(name)
    return first_principles(name, "vendor", device.style)


def plan_on(name, **changes):
    precision = PRECISIONS[native("bf16", machine(name))]
    return Plan(precision, MESHES[name], SMALL, engine="vendor", cold=0.0).but(**changes)


def environment(schedule, name, plan, prefill, decode):
    mesh = mesh_of(plan)
    return {
        **mesh_environment(schedule, mesh),
        **formats(machine(name), plan.precision, schedule),
        **batch_environment(schedule, mesh, prefill=prefill, decode=decode),
    }


def decode_step(name, plan, cal, batch=1.0, context=1024.0, of="llama-3.1-8b"):
    schedule = lowered(of)
    none, shape = nothing(schedule), uniform(schedule, batch, 1.0, context)
    env = environment(schedule, name, plan, none, shape)
    return walk_seconds(schedule, machine(name), cal, env)


def total(priced):
    return sum(float(s.total) for s in priced)


# -- the speed of light --------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESHES)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 200),
    context=st.integers(1, 8000),
    cold=st.sampled_from([0.0, 0.3, 1.0]),
    of=st.sampled_from(["llama-3.1-8b", "mixtral-8x7b"]),
    logs=st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_price_beats_the_speed_of_light(name, batch, context, cold, of, logs):
    cold = 0.0 if name == "groq-lpu" else cold
    plan = plan_on(name, cold=cold)
    cal = prior(name).at(prior(name).vector + np.array(logs))
    light = total(decode_step(name, plan, IDEAL, batch, context, of))
    assert total(decode_step(name, plan, cal, batch, context, of)) >= light * (1 - 1e-9)


@pytest.mark.parametrize("name", MESHES)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 64),
    logs=st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_light_itself_beats_neither_bytes_nor_flops(name, batch, logs):
    """Against bytes and flops counted from the model's size, not by the walk."""
    device, plan = machine(name), plan_on(name)
    cal = prior(name).at(prior(name).vector + np.array(logs))
    read = 8.03e9 - 128256 * 4096  # the embedding is looked up
    each = {"corsair": 1.0}.get(name, 2.0)
    tp = plan.mesh.tp
    bound = read * each / tp / float(device.tiers[device.main].bandwidth.value)
    peak = max(float(r.value) for r in device.compute.matrix.values())
    bound = max(bound, 2 * read * batch / tp / peak)
    for c in (IDEAL, cal):
        assert total(decode_step(name, plan, c, batch, 16.0)) >= bound * 0.999


@pytest.mark.parametrize("name", MESHES)
@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 64),
    factor=st.floats(1.0, 4.0),
    cold=st.sampled_from([0.0, 0.5]),
    data=st.data(),
)
def test_more_of_anything_is_never_slower(name, batch, factor, cold, data):
    device, schedule = machine(name), lowered("llama-3.1-8b")
    cold = 0.0 if name == "groq-lpu" else cold
    plan = plan_on(name, cold=cold)
    rates = [p for p, _ in facts(device) if p.endswith("bandwidth") or ".matrix." in p]
    better = scaled(device, data.draw(st.sampled_from(rates)), factor)
    shape = uniform(schedule, batch, 1.0, 1000.0)
    took = []
    for each in (device, better):
        mesh = mesh_of(plan)
        env = {
            **mesh_environment(schedule, mesh),
            **formats(each, plan.precision, schedule),
            **batch_environment(schedule, mesh, prefill=nothing(schedule), decode=shape),
        }
        took.append(total(walk_seconds(schedule, each, prior(name), env)))
    assert took[1] <= took[0] * (1 + 1e-12)


# -- the step model ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESHES)
@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 60),
    context=st.integers(2, 3000),
    chunk=st.integers(40, 180),
    regions=st.sampled_from([None, 1, 7]),
)
def test_the_step_model_is_the_walk(name, batch, context, chunk, regions):
    schedule, cal = lowered("llama-3.1-8b"), prior(name)
    plan = plan_on(name, regions=regions)
    decode, prefill = uniform(schedule, batch, 1, context), uniform(schedule, 1, chunk, chunk)
    env = environment(schedule, name, plan, prefill, decode)
    direct = total(walk_seconds(schedule, machine(name), cal, env))
    direct += float(stages(schedule, machine(name), cal, mesh_of(plan), env))
    direct += float(own(schedule, machine(name), cal, batch + 1, batch + chunk))
    step = step_model(schedule, machine(name), VENDOR, plan, cal)
    ours = step.overhead + step.tokens[batch + chunk] + step.seqs[batch + 1] + step.prefill
    for a in step.attention:
        key = next(n for n, w in schedule.windows.items() if w == a.window)
        ours += max(a.pair * prefill[f"pairs:{key}"], a.read * prefill[f"context:{key}"])
        ours += a.slope[0, batch] * decode[f"context:{key}"]
    assert ours == pytest.approx(direct, rel=1e-9)


# -- pipelines -----------------------------------------------------------------------------------


def test_a_pipeline_takes_what_its_busiest_resource_takes():
    """Sections of one part answer for the maximum of sums, which is below the sum of maxima."""
    cal = replace(prior("sn40l"), values={**prior("sn40l").values, "launch": 0.0, "collective": 0})
    apart = replace(machine("sn40l"), style="in-memory")
    schedule = lowered("llama-3.1-8b")
    none, shape = nothing(schedule), uniform(schedule, 64, 1.0, 1024.0)
    env = environment(schedule, "sn40l", plan_on("sn40l", mesh=Mesh()), none, shape)
    together = walk_seconds(schedule, machine("sn40l"), cal, env)
    layer = [s for s in together if s.section.part in schedule.layered]
    # With one device only attention depends on the context; it is bound by memory alone.
    tokens = [s for s in layer if s.section.kind != "attention"]
    attention = [s for s in layer if s.section.kind == "attention"]
    sums = [sum(float(getattr(s, r)) for s in tokens) for r in ("matrix", "vector", "memory")]
    expected = max(sums) + sum(float(s.memory) for s in attention)
    assert sum(float(s.total) for s in layer) == pytest.approx(expected, rel=2e-3)
    assert total(together) < total(walk_seconds(schedule, apart, cal, env))


def test_a_placed_part_is_launched_once():
    priced = decode_step("sn40l", plan_on("sn40l", mesh=Mesh()), prior("sn40l"))
    launched = sum(float(s.launch) for s in priced)
    assert launched == pytest.approx((32 + 2) * prior("sn40l")["launch"])  # embedding and head


def test_activations_stay_on_chip():
    wide = decode_step("sn40l", plan_on("sn40l", mesh=Mesh()), IDEAL, batch=1.0, context=2.0)
    gate = next(s for s in wide if s.section.name == "gate_up")
    weights = 32 * 2 * 4096 * 14336 * 2
    assert float(gate.memory) == pytest.approx(weights / 1.8e12, rel=1e-9)


# -- regions of a wafer --------------------------------------------------------------------------


def test_a_layer_has_nine_reductions_in_a_row():
    """Two norms, four products with weights, and of attention scores, maximum, and at once the
    sum and the values."""
    schedule = lowered("llama-3.1-8b")
    found = {s.name: reductions(s) for s in schedule.sections if s.part in schedule.layered}
    assert sum(found.values()) == 9
    assert found["attn"] == 3


@pytest.mark.parametrize("count", [1, 6, 32])
def test_regions_in_closed_form(count):
    """The published form: per layer p/(C·m) and nine reductions of √C hops and a constant."""
    cal = prior("cs-3")
    plan = plan_on("cs-3", mesh=Mesh(), regions=count)
    priced = decode_step("cs-3", plan, cal, context=2.0)
    layers = [s for s in priced if s.section.part in lowered("llama-3.1-8b").layered]
    cores, clock = 900_000 / count, 1.1e9
    each = (8.03e9 - 2 * 128256 * 4096) / 32
    rate = cores * 8 * clock * cal["matrix"] / (1 + cal["rows"])  # multiply-adds per second
    expected = 32 * (each / rate + 9 * (np.sqrt(cores) / clock + cal["launch"]))
    assert sum(float(s.total) for s in layers) == pytest.approx(expected, rel=0.01)
    assert float(across(machine("cs-3"), count)) == pytest.approx(np.sqrt(cores) / clock, rel=1e-3)


def test_a_pipeline_of_regions_is_free_until_it_is_full():
    plan = plan_on("cs-3", mesh=Mesh())
    took = [total(decode_step("cs-3", plan, prior("cs-3"), n, 1.0)) for n in (1.0, 32.0, 64.0)]
    assert took[1] == pytest.approx(took[0], rel=1e-2)  # attention aside, which is one token here
    assert took[2] > took[1] * 1.01


def test_layers_of_wafers_are_cut_evenly():
    held = memory(
        lowered("llama-3.1-70b"), machine("cs-3"), VENDOR, plan_on("cs-3", mesh=Mesh(pp=4))
    )
    assert held.weights == pytest.approx(70.55e9 * 2 / 4, rel=1e-3)


# -- weights in the cold tier --------------------------------------------------------------------


def test_streamed_weights_take_their_bytes_over_the_cold_tier():
    plan = plan_on("cs-3", mesh=Mesh(), cold=1.0)
    took = total(decode_step("cs-3", plan, IDEAL, of="llama-3.1-70b"))
    assert took == pytest.approx((70.55e9 - 128256 * 8192) * 2 / 150e9, rel=1e-3)


def test_capacity_mode_of_one_card():
    """70B on one Corsair: its bytes over 0.4 TB/s, 5.8 tokens/s at one byte per weight."""
    schedule, device = lowered("llama-3.1-70b"), machine("corsair")
    plan = placed(schedule, device, VENDOR, plan_on("corsair", mesh=Mesh(), cold=None))
    assert plan.cold == 1.0
    took = total(decode_step("corsair", plan, IDEAL, of="llama-3.1-70b"))
    assert 1 / took == pytest.approx(5.8, rel=0.05)


@pytest.mark.parametrize(
    ("name", "of", "mesh", "cold"),
    [("sn40l", "llama-3.1-8b", Mesh(), 0.0), ("sn40l", "llama-3.1-70b", Mesh(), 0.64),
     ("cs-3", "llama-3.1-8b", Mesh(), 0.0), ("cs-3", "llama-3.1-70b", Mesh(), 1.0),
     ("cs-3", "llama-3.1-70b", Mesh(pp=4), 0.0), ("groq-lpu", "llama-3.1-8b", Mesh(8), 0.0)],
)  # fmt: skip
def test_what_does_not_fit_goes_to_the_cold_tier(name, of, mesh, cold):
    found = placed(lowered(of), machine(name), VENDOR, plan_on(name, mesh=mesh, cold=None))
    assert found.cold == pytest.approx(cold, abs=0.05)


def test_what_fits_nowhere_says_by_how_much():
    groq = plan_on("groq-lpu", mesh=Mesh(8))
    no = fits(lowered("llama-3.1-8b"), machine("groq-lpu"), VENDOR, groq)
    assert isinstance(no, Infeasible) and no.short_by > 1
    no = fits(lowered("llama-3.1-8b"), machine("groq-lpu"), VENDOR, groq.but(cold=0.5))
    assert isinstance(no, Infeasible) and "streams no weights" in no.reason
    with pytest.raises(InputError, match="capacity is not published"):
        priceable(machine("plasticine"))


def test_sequences_are_paid_layer_by_layer_where_parts_are_placed():
    """Of 32 layers on a spatial chip, but for the first sequence; once a step elsewhere."""
    schedule = lowered("llama-3.1-8b")
    for name, parts, free in (("sn40l", 32, 1), ("cs-3", 1, 0), ("corsair", 1, 0)):
        cal, device = prior(name), machine(name)
        found = [host_seconds(schedule, device, cal, n) - cal["step"] for n in (0, 1, 3)]
        assert found == pytest.approx([parts * cal["seq"] * max(n - free, 0) for n in (0, 1, 3)])
