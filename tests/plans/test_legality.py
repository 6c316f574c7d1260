"""Legality follows from the Program's axes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maquette import api
from maquette.catalogue.engines import engine, engines
from maquette.catalogue.models import model
from maquette.errors import InputError
from maquette.models.decoder import program
from maquette.plans.legality import adjusted, capturable, extents, legal, routed, staged
from maquette.plans.sharding import shards
from maquette.plans.types import Mesh, Plan


@pytest.mark.parametrize(
    ("name", "mesh", "reason"),
    [
        ("llama-3.1-8b", Mesh(tp=8), None),
        ("llama-3.1-8b", Mesh(tp=16), None),
        ("llama-3.1-8b", Mesh(tp=64), "query heads"),
        ("qwen2.5-7b", Mesh(tp=8), "28 query heads do not divide over tp 8"),
        ("qwen2.5-7b", Mesh(tp=4), None),
        ("llama-3.1-8b", Mesh(pp=64), "64 stages for 32 layers"),
        ("llama-3.1-8b", Mesh(tp=2, ep=2), "ep without experts"),
        ("mixtral-8x7b", Mesh(tp=8, ep=8), None),
        ("mixtral-8x7b", Mesh(tp=16, ep=16), "8 experts do not divide over ep 16"),
        ("mixtral-8x7b", Mesh(tp=4, ep=8), "ep 8 does not divide the 4 devices"),
        ("deepseek-v2", Mesh(tp=8, dp=1, ep=8), None),
    ],
)
def test_legal(name, mesh, reason):
    config = model(name)
    found = legal(program(config), config.layers, mesh)
    assert (found is None) == (reason is None), found
    if reason is not None:
        assert reason in str(found)


def test_extents_of_grouped_heads():
    found = extents(program(model("llama-3.1-70b")))
    assert (8, 8) in found["g"]
    assert (8, 8) in found["r"]


def test_shards_of_replicated_heads():
    values = shards(["g8", "r/g8"], {"tp": 16, "dp": 1, "ep": 1})
    assert values["g8"] * values["r/g8"] == 16
    assert values["g8"] == 8


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((), None),
        ((16, 16), None),
        ((20, 12), None),
        ((16, 15), "stages hold 31 of 32 layers"),
        ((32,), "stages of 32 layers for pp 2"),
    ],
)
def test_stages_spell_out_the_pipeline(stages, reason):
    found = staged(Plan(mesh=Mesh(pp=2), stages=stages), 32)
    assert (found is None) == (reason is None)
    if reason is not None:
        assert reason in str(found)


def test_a_captured_size_needs_graphs():
    vllm = engine("vllm")
    with pytest.raises(InputError, match="captured: has no meaning where graphs are 'none'"):
        capturable(vllm, adjusted(vllm.policy, {"graphs": "none", "captured": 512}))
    capturable(vllm, adjusted(vllm.policy, {"graphs": "decode", "captured": 512}))
    capturable(vllm, adjusted(vllm.policy, {"graphs": "none"}))


def test_what_an_engine_says_itself_is_not_refused():
    for each in engines():
        capturable(each, each.policy)
    eager = replace(engine("vllm"), policy=replace(engine("vllm").policy, captured=64))
    capturable(eager, adjusted(eager.policy, {"graphs": "none"}))


def test_a_skew_needs_experts():
    with pytest.raises(InputError, match="expert_skew: has no meaning with llama"):
        routed(model("llama-3.1-8b"), {"expert_skew": 1.0})
    routed(model("llama-3.1-8b"), {"expert_skew": None, "jitter": 0.1})
    routed(model("mixtral-8x7b"), {"expert_skew": 1.0})


@pytest.mark.parametrize("ask", [api.deployment, api.explain, api.simulate, api.plan])
@pytest.mark.parametrize("policy", [{"expert_skew": 1.0}, {"graphs": "none", "captured": 512}])
def test_every_question_refuses_what_means_nothing(ask, policy):
    with pytest.raises(InputError, match="has no meaning"):
        ask("llama-3.1-8b", "h100", policy=policy)


def test_faults_of_formats_and_policy_come_together():
    with pytest.raises(InputError) as caught:
        api.deployment("llama-3.1-8b", "h100", kv="pf8", policy={"expert_skew": 1, "jitter": -1})
    assert len(caught.value.faults) == 3
