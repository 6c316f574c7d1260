"""The shape of the Programs: names, sections and symbols that pricing relies on."""

from __future__ import annotations

import numpy as np
import pytest

import pace
from maquette.catalogue.models import model, names
from maquette.ir.build import activation
from maquette.ir.facts import by_section, work
from maquette.ir.graph import Graph
from maquette.ir.interpret import evaluate
from maquette.ir.parse import parse_program
from maquette.ir.patterns import Input
from maquette.ir.text import show_program
from maquette.ir.verify import verify_program
from maquette.models.decoder import program
from maquette.models.ffn import activate
from maquette.models.huggingface import from_huggingface
from models.tiny import CONFIGS

DENSE = ["norm_attn", "qkv", "rope", "attn", "o", "norm_ffn", "gate_up", "act", "down"]
ATTENTION = DENSE[:5]
MOE = ["router", "dispatch", "experts_up", "experts_act", "experts_down", "combine"]
SHARED = ["shared_up", "shared_act", "shared_down"]
LATENT = ["norm_attn", "q_down", "kv_down", "norm_latent", "q_up", "rope", "absorb_q", "attn",
          "absorb_v", "o", "norm_ffn"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "part", "sections"),
    [
        ("llama-3.1-70b", "dense", DENSE),
        ("mixtral-8x7b", "moe", [*ATTENTION, "norm_ffn", *MOE]),
        ("deepseek-v3", "moe", [*LATENT, *MOE, *SHARED]),
        ("mamba2-2.7b", "mamba", ["norm_attn", "in_proj", "conv", "scan", "gate_norm", "out_proj"]),
        ("deepseek-v2-lite", "dense", [s for s in [*LATENT, *DENSE[-3:]] if s != "q_down"]),
    ],
)
def test_sections_are_the_kernels_of_engines(name, part, sections):
    found = by_section(program(model(name)).parts[part])
    assert set(found) == set(sections)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_name_is_one_tensor_and_every_state_comes_back(name):
    built = program(from_huggingface(CONFIGS[name], name))
    for part in built.parts.values():
        inputs = [v for v in part.values if isinstance(v, Input)]
        assert len({v.name for v in inputs}) == len(inputs)
        states = {v.name for v in inputs if v.role == "state"}
        assert states == set(part.outputs) - {"x", "logits"}
        for v in inputs:
            if v.role == "state":
                after = part.outputs[v.name]
                assert [a.name for a in after.axes] == [a.name for a in v.axes]


@pytest.mark.parametrize("name", [*CONFIGS, *names()])
def test_programs_verify_and_their_text_reads_back(name):
    config = from_huggingface(CONFIGS[name], name) if name in CONFIGS else model(name)
    built = program(config)
    assert verify_program(built) == ()
    assert parse_program(show_program(built)) == built


@pytest.mark.parametrize("name", ["deepseek-v3", "llama-3.1-405b", "kimi-k2", "gpt-oss-120b"])
def test_building_the_largest_is_quick(name):
    config = model(name)

    def build():
        program.cache_clear()
        return program(config)

    assert pace.cpu(build) < 3 * pace.unit()


def test_windows_and_experts_are_declared():
    built = program(model("gpt-oss-20b"))
    assert built.windows == {"t128": 128}
    assert built.experts == (32, 4)
    assert built.times == {"embed": 1, "local": 12, "full": 12, "head": 1}
    assert program(model("llama-2-7b")).windows == {}


@pytest.mark.parametrize("name", ["llama-4-scout", "gpt-oss-20b", "mistral-7b"])
def test_masks_cost_what_pairs_cost(name):
    """Work of attention grows with pairs of queries and keys, not with keys alone."""
    for part in program(model(name)).parts.values():
        attn = by_section(part).get("attn", ())
        for mono, _ in work(attn).total.terms:
            spans = {n for n, _ in mono if n.startswith("t")}
            assert not spans or "s" in {n for n, _ in mono}


def test_a_tied_table_is_one_weight():
    names = [set(p.inputs) for p in program(model("llama-3.2-1b")).parts.values()]
    assert "embedding" in names[0] and "embedding" in names[-1] and "lm_head" not in names[-1]


def test_absorbed_attention_is_narrow_in_memory_and_wide_in_flops():
    """Per query-key pair: 2·h·((c + p) + c) matrix flops, as if one head were shared by all."""
    part = program(model("deepseek-v3")).parts["moe"]
    flops = work(by_section(part)["attn"]).matrix
    one = {"b": 1, "s": 1, "t": 1}
    assert flops(one) == 2 * 128 * ((512 + 64) + 512)


def test_expanded_attention_is_wide_in_memory_and_narrow_in_flops():
    """Per query-key pair 2·h·((k + p) + w); keys and values are made once per cached token."""
    sections = by_section(program(model("deepseek-v3"), absorbed=False).parts["moe"])
    one = {"b": 1, "s": 1, "t": 1}
    assert work(sections["attn"]).matrix(one) == 2 * 128 * ((128 + 64) + 128)
    assert work(sections["expand"]).matrix(one) == 2 * 512 * 128 * (128 + 128)


def test_head_works_on_last_positions_only():
    head = program(model("llama-3.1-8b")).parts["head"]
    assert "s" not in work(by_section(head)["lm_head"]).total.symbols


def test_clamped_swiglu_is_bounded():
    x, y = activation("x", n="n"), activation("y", n="n")
    graph = Graph("act", {"z": activate("clamped_swiglu", x, y).value})
    values = np.array([-50.0, -1.0, 3.0, 7.0, 50.0])
    found = evaluate(graph, {"x": values, "y": values}, precise=True)["z"]
    gate, up = np.minimum(values, 7), np.clip(values, -7, 7)
    np.testing.assert_allclose(found, gate / (1 + np.exp(-1.702 * gate)) * (up + 1))
