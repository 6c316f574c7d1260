"""The Schedule of a Program against what is known of decoder layers in closed form."""

from __future__ import annotations

import pytest

from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.compiler.schedule import to_features
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.types import Policy
from maquette.price.environment import batch_environment, mesh_environment, nothing, uniform

ENGINE = Engine("plain", "no fusion rules", "1", "test", Policy(), ("bf16",))
BYTES = {"ab": 2.0, "cb": 2.0, "ub": 2.0, "w:bf16": 2.0}


def schedule_of(name: str):
    return lower(program(model(name)), ENGINE)


def environment(schedule, tp=1, dp=1, ep=1, *, batch=1.0, new=1.0, context=1.0):
    mesh = {"tp": tp, "pp": 1, "dp": dp, "ep": ep}
    shape = uniform(schedule, batch, new, context)
    features = batch_environment(schedule, mesh, prefill=nothing(schedule), decode=shape)
    return {**mesh_environment(schedule, mesh), **features, **shape, **BYTES}


def total(schedule, env, what):
    return sum(
        float(getattr(s, what)(env)) * schedule.times[s.part]
        for s in schedule.sections
        if getattr(s, what).terms
    )


def test_dense_flops_are_twice_the_weights_plus_attention():
    schedule = schedule_of("llama-3.1-8b")
    batch, context = 8, 1000
    env = environment(schedule, batch=batch, context=context)
    embedding = 128256 * 4096
    weights = 8_030_261_248 - embedding - 65 * 4096  # products: no lookup, no norms
    attention = 32 * 2 * 2 * 32 * 128 * context
    assert total(schedule, env, "matrix") == pytest.approx(batch * (2 * weights + attention))


@pytest.mark.parametrize("tp", [1, 2, 8])
def test_a_decode_step_reads_every_weight_once_and_the_cache_once(tp):
    schedule = schedule_of("llama-3.1-70b")
    env = environment(schedule, tp=tp, batch=1, context=4096)
    reads = {"weight": 0.0, "state": 0.0}
    for s in schedule.sections:
        for moved in s.reads:
            if moved.role in reads:
                reads[moved.role] += float(moved.bytes(env)) * schedule.times[s.part]
    lookup = 128256 * 8192 * 2  # the embedding table is gathered, not streamed
    norms = (2 * 80 + 1) * 8192 * 2
    whole = 70_553_706_496 * 2 - lookup - norms
    assert reads["weight"] == pytest.approx(whole / tp + norms + 8192 * 2)
    kv = 80 * 2 * 8 * 128 * 2 * (4096 - 1)
    assert reads["state"] == pytest.approx(kv / tp)


def test_tensor_parallel_layers_owe_two_all_reduces():
    schedule = schedule_of("llama-3.1-8b")
    owed = [(s.name, c.kind, c.group) for s in schedule.sections for c in s.collectives]
    assert owed == [
        ("embed", "all-reduce", "tp"),
        ("o", "all-reduce", "tp"),
        ("down", "all-reduce", "tp"),
    ]


def test_experts_owe_one_sum_or_two_exchanges():
    schedule = schedule_of("mixtral-8x7b")
    kinds = [
        (c.kind, c.group)
        for s in schedule.sections
        for c in s.collectives
        if s.name not in ("embed", "o")
    ]
    assert ("all-reduce", "tp+ep") in kinds
    assert kinds.count(("all-to-all", "exchange")) >= 2


def test_expert_weights_read_are_the_experts_touched():
    schedule = schedule_of("mixtral-8x7b")
    one = environment(schedule, batch=1, context=16)
    many = environment(schedule, batch=4096, context=16)

    def weights(env):
        return sum(
            float(m.bytes(env)) * schedule.times[s.part]
            for s in schedule.sections
            if s.kind == "grouped"
            for m in s.reads
            if m.role == "weight"
        )

    expert = 3 * 4096 * 14336 * 2 * 32
    assert weights(one) == pytest.approx(2 * expert, rel=1e-6)
    assert weights(many) == pytest.approx(8 * expert, rel=1e-6)


def test_stored_weights_shard_over_tp_and_experts():
    schedule = schedule_of("mixtral-8x7b")
    whole = float(schedule.weights(environment(schedule)))
    halves = float(schedule.weights(environment(schedule, tp=2)))
    spread = float(schedule.weights(environment(schedule, tp=2, ep=2)))
    assert whole == pytest.approx(46_702_792_704 * 2, rel=1e-4)
    assert halves == pytest.approx(whole / 2, rel=2e-3)
    assert spread == pytest.approx(halves)


def test_window_layers_keep_their_own_features():
    schedule = schedule_of("mistral-7b")
    assert dict(schedule.windows) == {"t4096": 4096}
    assert set(schedule.kv_per_token) == {"t4096"}


def test_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="no feature"):
        to_features((("b", 2),))


def test_latent_attention_decodes_over_latents_and_prefills_over_heads():
    """DeepSeek-V3: 128 heads; per pair 2·(512 + 64 + 512) absorbed and 2·(128 + 64 + 128) not."""
    schedule = schedule_of("deepseek-v3")
    attends = {s.phase: s for s in schedule.sections if s.part == "moe" and s.name == "attn"}
    env = {**environment(schedule), "pairs:t": 1.0, "context:t": 1.0}
    assert float(attends["decode"].matrix(env)) == 128 * 2 * (512 + 64 + 512)
    assert float(attends["prefill"].matrix(env)) == 128 * 2 * (128 + 64 + 128)
    expand = next(s for s in schedule.sections if s.part == "moe" and s.name == "expand")
    assert expand.phase == "prefill"
    assert float(expand.matrix(env)) == 2 * 512 * 128 * (128 + 128)
