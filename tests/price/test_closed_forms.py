"""The price against closed forms of memory, links, formats, experts and pipelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.plans.legality import PRECISIONS
from maquette.plans.types import Infeasible, Mesh, Plan, Policy, Precision
from maquette.price.calibration import NAMES
from maquette.price.environment import (
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.experts import imbalance, touched
from maquette.price.memory import memory
from maquette.price.network import collective, hand_over
from maquette.price.replica import replica, stages, step_model
from maquette.price.seconds import IDEAL, sent, walk_seconds
from price.priced import CAL, H100, PLAIN, environment, lowered

BF16, FP8 = Precision(), PRECISIONS["fp8"]
LINK = float(H100.links["scale_up"].bandwidth.value)
STREAM = float(H100.tiers["hbm"].bandwidth.value)


def ideal(schedule, plan, **batch):
    """Seconds of each section at the speed of light, by name, summed over the parts."""
    env = environment(schedule, plan, **batch)
    found: dict[str, float] = {}
    for s in walk_seconds(schedule, H100, IDEAL, env):
        found[s.section.name] = found.get(s.section.name, 0.0) + float(s.total)
    return found


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pp", "layers"), [(1, 80), (2, 40), (3, 27), (4, 20), (8, 10)])
def test_the_fullest_stage_holds_its_layers_and_one_end(pp, layers):
    schedule = lowered("llama-3.1-70b")
    held = memory(schedule, H100, PLAIN, Plan(mesh=Mesh(pp=pp)))
    layer = 2 * (8192 * 8192 * 2 + 2 * 8192 * 1024 + 3 * 8192 * 28672 + 2 * 8192)
    table = 2 * 128256 * 8192
    ends = 2 * table + 2 * 8192 if pp == 1 else table + 2 * 8192
    assert held.weights == pytest.approx(layers * layer + ends, rel=1e-9)
    assert held.kv_per_token == pytest.approx(layers * 2 * 8 * 128 * 2)


def test_a_table_shared_by_embedding_and_head_is_on_both_end_stages():
    schedule = lowered("llama-3.2-1b")
    one, two = (memory(schedule, H100, PLAIN, Plan(mesh=Mesh(pp=pp))) for pp in (1, 2))
    table = 2 * 128256 * 2048
    layers = one.weights - table - 2 * 2048
    assert two.weights == pytest.approx(layers / 2 + table + 2 * 2048)


def test_spelt_out_stages_hold_what_they_say():
    schedule = lowered("llama-3.1-8b")
    even = memory(schedule, H100, PLAIN, Plan(mesh=Mesh(pp=2)))
    odd = memory(schedule, H100, PLAIN, Plan(mesh=Mesh(pp=2), stages=(20, 12)))
    assert odd.kv_per_token == pytest.approx(even.kv_per_token * 20 / 16)


def test_narrow_weights_and_cache():
    schedule = lowered("llama-3.1-8b")
    wide, narrow, all8 = (
        memory(schedule, H100, PLAIN, Plan(precision=p)) for p in (BF16, FP8, PRECISIONS["fp8-kv8"])
    )
    kept = 2 * 2 * 128256 * 4096  # the embedding and the head stay as they are
    assert narrow.weights == pytest.approx(kept + (wide.weights - kept) / 2, rel=1e-3)
    assert narrow.kv_per_token == wide.kv_per_token == 2 * all8.kv_per_token
    packed = memory(schedule, H100, PLAIN, Plan(precision=PRECISIONS["mxfp4"]))
    assert packed.weights == pytest.approx(kept + (wide.weights - kept) * 4.25 / 16, rel=1e-3)


def test_attention_groups_repeat_the_cache_and_the_weights_outside_experts():
    schedule = lowered("mixtral-8x7b")
    one = memory(schedule, H100, PLAIN, Plan(mesh=Mesh(tp=8, ep=8)))
    groups = memory(schedule, H100, PLAIN, Plan(mesh=Mesh(dp=8, ep=8)))
    experts = 2 * 32 * 3 * 4096 * 14336  # one of eight
    assert one.weights - experts == pytest.approx((groups.weights - experts) / 8, rel=0.02)
    assert groups.kv_per_token == 8 * one.kv_per_token
    assert groups.seqs == 8 * one.seqs


def test_windows_are_freed_by_engines_that_do_so():
    """gpt-oss: half of the layers see 128 tokens."""
    schedule = lowered("gpt-oss-120b")
    plan = Plan(precision=PRECISIONS["mxfp4"])
    keeps = memory(schedule, H100, PLAIN, plan)
    frees = memory(schedule, H100, replace(PLAIN, frees_windows=True), plan)
    layer = 2 * 8 * 64 * 2
    assert keeps.kv_per_token == 36 * layer
    assert frees.kv_per_token == 18 * layer
    assert frees.window_per_seq == 18 * layer * (128 + 16)
    left = frees.kv - 256 * frees.window_per_seq
    assert frees.kv_tokens == pytest.approx(left / frees.kv_per_token)
    apart = plan.but(mode="disaggregated", prefill_mesh=Mesh(), prefill_replicas=1)
    sent_whole = memory(schedule, H100, replace(PLAIN, frees_windows=True), apart)
    assert sent_whole.kv_per_token == keeps.kv_per_token
    assert engine("vllm").frees_windows


def test_wide_windows_that_leave_less_room_count_by_the_token():
    """Gemma 2: a window of 4096 for each of 256 sequences is more than the device has."""
    schedule = lowered("gemma-2-27b")
    frees = memory(schedule, H100, replace(PLAIN, frees_windows=True), Plan())
    assert frees.window_per_seq == 0.0
    assert frees == memory(schedule, H100, PLAIN, Plan())


# -- formats --------------------------------------------------------------------------------------


def test_only_narrow_weights_meet_the_narrow_peak():
    schedule = lowered("llama-3.1-8b")
    prompt = uniform(schedule, 64, 128, 128)
    wide, narrow = (ideal(schedule, Plan(precision=p), prefill=prompt) for p in (BF16, FP8))
    assert narrow["gate_up"] == pytest.approx(wide["gate_up"] * 989 / 1979, rel=0.01)
    assert narrow["lm_head"] == wide["lm_head"]  # kept in 16 bits, computed in 16 bits
    assert narrow["attn"] == wide["attn"]
    assert narrow["norm_attn"] == pytest.approx(wide["norm_attn"], rel=1e-4)


def test_links_carry_16_bits_whatever_the_products_take():
    schedule = lowered("llama-3.1-70b")
    for precision in (BF16, FP8):
        env = environment(schedule, Plan(precision=precision, mesh=Mesh(tp=8)),
                          decode=uniform(schedule, 32, 1, 100))  # fmt: skip
        owed = [sent(c, env) for s in schedule.sections for c in s.collectives]
        assert owed == [32 * 8192 * 2] * 3


def test_a_decode_step_of_one_streams_weights_and_cache():
    schedule = lowered("llama-3.1-8b")
    total = sum(ideal(schedule, Plan(), decode=uniform(schedule, 1, 1, 4096)).values())
    weights = 8_030_261_248 * 2 - 2 * 128256 * 4096
    cache = 32 * 2 * 8 * 128 * 2 * 4096
    assert total == pytest.approx((weights + cache) / STREAM, rel=0.003)


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "share"), [("all-reduce", 2), ("all-gather", 1), ("all-to-all", 1)]
)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_inside_a_switch(kind, share, n):
    big, none = (float(collective(H100, kind, b, n, 0.5, 0.0)) for b in (1e9, 0.0))
    assert big - none == pytest.approx(share * (n - 1) / n * 1e9 / (LINK * 0.5))


def test_a_full_mesh_gives_a_small_group_few_wires():
    mi300 = machine("mi300x")
    pair = float(mi300.links["scale_up"].pair_bandwidth.value)
    for n in (2, 4, 8):
        big, none = (float(collective(mi300, "all-reduce", b, n, 1.0, 0.0)) for b in (1e9, 0.0))
        assert big - none == pytest.approx(2 / n * 1e9 / pair)


@pytest.mark.parametrize(
    ("name", "n", "wires"),
    [("tpu-v5e", 2, 1), ("tpu-v5e", 4, 2), ("tpu-v5e", 8, 3), ("tpu-v5e", 16, 4),
     ("tpu-v5p", 2, 1), ("tpu-v5p", 8, 3), ("tpu-v5p", 64, 6)],
)  # fmt: skip
def test_a_torus_gives_one_wire_to_each_neighbour_in_the_group(name, n, wires):
    torus = machine(name)
    one = float(torus.links["scale_up"].pair_bandwidth.value)
    big, none = (float(collective(torus, "all-gather", b, n, 1.0, 0.0)) for b in (1e9, 0.0))
    assert big - none == pytest.approx((n - 1) / n * 1e9 / (one * wires))


@pytest.mark.parametrize(("kind", "share"), [("all-reduce", 2), ("all-gather", 1)])
def test_two_levels(kind, share):
    outer = float(H100.links["scale_out"].bandwidth.value)
    big, none = (float(collective(H100, kind, b, 32, 1.0, 0.0)) for b in (1e9, 0.0))
    inside, across = 7 / 8 * 1e9 / LINK, 3 / 4 * (1e9 / 8) / outer
    assert big - none == pytest.approx(share * (inside + across))


def test_stages_in_other_nodes_are_reached_over_the_outer_link():
    outer = float(H100.links["scale_out"].bandwidth.value)

    def way(stages, width):
        big, none = (float(hand_over(H100, b, stages, width, 1.0, 0.0)) for b in (1e9, 0.0))
        return big - none

    assert way(2, 4) == pytest.approx(1e9 / LINK)
    assert way(2, 8) == pytest.approx(1e9 / outer)
    assert way(4, 4) == pytest.approx(2 * 1e9 / LINK + 1e9 / outer)
    assert way(1, 8) == 0.0


# -- experts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "chosen", "ep"), [(8, 2, 4), (256, 8, 8), (128, 4, 8), (64, 6, 4)]
)
@pytest.mark.parametrize("tokens", [1, 4, 16, 64, 512])
def test_the_busiest_device_against_drawing(total, chosen, ep, tokens):
    rng = np.random.default_rng(tokens)
    loads, hits = [], []
    for _ in range(80):
        drawn = np.argsort(rng.random((tokens, total)), axis=1)[:, :chosen]
        device = drawn // (total // ep)
        loads.append(np.bincount(device.ravel(), minlength=ep).max())
        hits.append(max(len(np.unique(drawn[device == d])) for d in range(ep)))
    factor = float(imbalance(tokens, total, chosen, ep))
    assert factor == pytest.approx(np.mean(loads) / (tokens * chosen / ep), rel=0.55)
    assert factor >= np.mean(loads) / (tokens * chosen / ep) * 0.95
    assert float(touched(tokens * factor, total, chosen, ep)) == pytest.approx(
        np.mean(hits), rel=0.3
    )


def test_nobody_gets_more_than_every_token_once_for_each_expert():
    assert float(imbalance(1, 8, 2, 8)) == pytest.approx(4.0)  # two of eight devices get the token
    assert float(imbalance(1, 64, 8, 2)) <= 2.0


@pytest.mark.parametrize(("dp", "ep"), [(8, 8), (8, 1), (4, 4), (2, 2)])
def test_exchanges_bring_each_token_to_each_device_once(dp, ep):
    schedule = lowered("deepseek-v3")
    plan = Plan(mesh=Mesh(dp=dp, ep=ep))
    env = environment(schedule, plan, decode=uniform(schedule, 64, 1, 100))
    found = [
        sent(c, env) for s in schedule.sections for c in s.collectives if c.group == "exchange"
    ]
    held = 1 - (1 - 1 / ep) ** 8  # the chance that one of a token's eight experts is a device's
    tokens = 64 * dp * held * float(env["imbalance"])
    assert found == pytest.approx([tokens * 7168 * 2] * 2)


def test_an_attention_group_attends_to_its_own_sequences_alone():
    schedule = lowered("qwen3-235b-a22b")
    batch = uniform(schedule, 16, 1, 3000)
    alone, group = (ideal(schedule, Plan(mesh=m), decode=batch) for m in (Mesh(), Mesh(dp=8, ep=8)))
    for name in ("qkv", "attn", "o", "lm_head"):
        assert group[name] == pytest.approx(alone[name])


def test_attention_groups_are_lanes():
    schedule = lowered("mixtral-8x7b")
    plan = Plan(mesh=Mesh(tp=2, pp=2, dp=2, ep=4), policy=Policy(max_seqs=32))
    held = replica(schedule, H100, PLAIN, plan, CAL)
    assert not isinstance(held, Infeasible)
    assert held.lanes == 4
    assert held.max_seqs == 64
    assert held.step.max_seqs == 32


# -- pipelines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pp", [2, 3, 4])
def test_a_full_pipeline_is_no_faster_than_its_longest_stage(pp):
    """The last stage: its layers and the head."""
    schedule, none = lowered("llama-3.1-8b"), nothing(lowered("llama-3.1-8b"))
    batch = uniform(schedule, 8, 1, 1000)
    plan = Plan(mesh=Mesh(pp=pp))
    env = environment(schedule, plan, decode=batch)
    whole = walk_seconds(schedule, H100, CAL, environment(schedule, Plan(), decode=batch))
    layer = sum(float(s.total) for s in whole if s.section.part in schedule.layered) / 32
    head = sum(float(s.total) for s in whole if s.section.part in schedule.after)
    step = sum(float(s.total) for s in walk_seconds(schedule, H100, CAL, env))
    embed = float(whole[0].total)
    assert step == pytest.approx(pp * (np.ceil(32 / pp) * layer + head) + embed)
    assert float(stages(schedule, H100, CAL, mesh_of(plan), env)) > 0
    model_ = step_model(schedule, H100, PLAIN, plan, CAL)
    direct = step + float(stages(schedule, H100, CAL, mesh_of(plan), env)) + CAL["step"]
    direct += 8 * (CAL["seq"] + CAL["token"])
    a = model_.attention[0]
    ours = model_.overhead + model_.tokens[8] + model_.seqs[8] + a.slope[0, 8] * 8 * 1000
    assert ours == pytest.approx(direct)
    assert none["tokens"] == 0.0


# -- the speed of light of whole steps ------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4, 5]),
    batch=st.integers(1, 64),
    context=st.integers(1, 4000),
    logs=st.lists(st.floats(-3, 3), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_replica_streams_faster_than_its_memory(tp, pp, batch, context, logs):
    """Tokens per second of a full replica against the bytes that its fullest device must read."""
    schedule = lowered("llama-3.1-70b")
    plan = Plan(mesh=Mesh(tp=tp, pp=pp), policy=Policy(max_seqs=64, max_batched_tokens=64))
    step = step_model(schedule, H100, PLAIN, plan, CAL.at(CAL.vector + np.array(logs)))
    seconds = step.overhead + step.tokens[batch] + step.seqs[batch]
    seconds += sum(a.slope[0, batch] * batch * context for a in step.attention)
    held = memory(schedule, H100, PLAIN, plan)
    table = 2 * 128256 * 8192 / tp if pp == 1 else 0.0  # the embedding is looked up, not streamed
    cache = held.kv_per_token * batch * (context - 1)
    per_stage = (held.weights - table + cache) / STREAM
    assert seconds / plan.mesh.lanes >= per_stage * (1 - 1e-9)
    flops = 2 * (70.55e9 - 2 * 128256 * 8192) * batch / tp / pp
    assert seconds / plan.mesh.lanes >= flops / 989e12 * 0.999


@pytest.mark.parametrize(
    ("name", "mesh"),
    [("mixtral-8x7b", Mesh(tp=2, dp=2, ep=4)), ("deepseek-v3", Mesh(dp=8, ep=8)),
     ("gpt-oss-120b", Mesh(tp=4, ep=4)), ("qwen3-30b-a3b", Mesh(tp=1, pp=2, dp=4, ep=1))],
)  # fmt: skip
@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 60), context=st.integers(200, 3000), chunk=st.integers(1, 400))
def test_the_step_model_is_the_walk_on_any_mesh(name, mesh, batch, context, chunk):
    schedule = lowered(name)
    plan = Plan(mesh=mesh, policy=Policy(max_batched_tokens=512, max_seqs=64))
    decode, prefill = uniform(schedule, batch, 1, context), uniform(schedule, 1, chunk, chunk)
    env = environment(schedule, plan, prefill, decode)
    direct = sum(float(s.total) for s in walk_seconds(schedule, H100, CAL, env))
    direct += float(stages(schedule, H100, CAL, mesh_of(plan), env))
    direct += CAL["step"] + CAL["seq"] * (batch + 1) + CAL["token"] * (batch + chunk)
    step = step_model(schedule, H100, PLAIN, plan, CAL)
    ours = step.overhead + step.tokens[batch + chunk] + step.seqs[batch + 1] + step.prefill
    for a in step.attention:
        key = next(n for n, w in schedule.windows.items() if w == a.window)
        ours += max(a.pair * prefill[f"pairs:{key}"], a.read * prefill[f"context:{key}"])
        ours += a.slope[0, batch] * decode[f"context:{key}"]
    assert ours == pytest.approx(direct, rel=1e-9)
