"""Reading configurations: what is refused, and how it is said."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.catalogue.models import model, names, row
from maquette.errors import InputError, MaquetteError, UnknownName
from maquette.models.config import Attention, Experts, Latent
from maquette.models.describe import describe
from maquette.models.facts import parameters, weight_bytes
from maquette.models.huggingface import SUPPORTED, from_huggingface, read_config
from models.tiny import CONFIGS, LLAMA3, hf

LLAMA = CONFIGS["llama"]


def faults(config: dict) -> list[str]:
    with pytest.raises(InputError) as caught:
        from_huggingface(config, "c")
    return [str(f) for f in caught.value.faults]


def test_unknown_architecture_names_what_is_supported():
    with pytest.raises(UnknownName) as caught:
        from_huggingface({"architectures": ["MptForCausalLM"]}, "mpt")
    text = str(caught.value)
    assert "MptForCausalLM" in text
    assert all(architecture in text for architecture, _ in SUPPORTED.values())


def test_unknown_model_type_names_what_is_supported():
    with pytest.raises(UnknownName, match=r"'bloom' is not supported; expected .*llama.*mamba2"):
        from_huggingface({"model_type": "bloom"}, "bloom")


def test_all_missing_keys_at_once():
    found = faults({"architectures": ["LlamaForCausalLM"]})
    for key in ("hidden_size", "num_attention_heads", "intermediate_size", "vocab_size",
                "num_hidden_layers", "max_position_embeddings"):  # fmt: skip
        assert any(f.startswith(f"c: {key}: is missing") for f in found), key
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_key_value_heads": 3}, "3 does not divide num_attention_heads = 4"),
        ({"head_dim": None, "hidden_size": 13}, "4 does not divide hidden_size = 13"),
        ({"hidden_size": -4}, "-4 is not a count"),
        ({"num_hidden_layers": "two"}, "'two' is not a count"),
        ({"num_attention_heads": True}, "True is not a count"),
        ({"hidden_act": "mish"}, "'mish' is not supported"),
        ({"rope_scaling": {"type": "longrope"}}, "'longrope' is not supported"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 5.0}}, "5.0 is above high_freq_factor"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling: factor: is missing"),
        ({"tie_word_embeddings": "yes"}, "'yes' is neither true nor false"),
        ({"head_dim": 5}, "5 rotary features cannot be paired"),
        ({"quantization_config": {"quant_method": "exl2"}}, "'exl2' is not supported"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "3-bit integer weights"),
        ({"torch_dtype": "float99"}, "torch_dtype: 'float99' is not supported; expected one of "
                                     "bfloat16, float16, float32"),
        ({"dtype": "int9"}, "dtype: 'int9' is not supported"),
        ({"torch_dtype": 16}, "torch_dtype: 16 is not supported"),
        ({"model_type": "mistral"}, "architectures says LlamaForCausalLM and model_type says"),
    ],
)  # fmt: skip
def test_contradictions(changes, words):
    assert any(words in f for f in faults({**LLAMA, **changes}))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mixtral", {"num_experts_per_tok": 9}, "9 chosen experts exceed num_local_experts = 6"),
        ("gpt-oss", {"layer_types": ["full_attention"]}, "has 1 entries; expected num_hidden"),
        ("gpt-oss", {"layer_types": ["full_attention", "x"]}, "'x' is not supported"),
        ("gpt-oss", {"swiglu_limit": 5.0}, "5.0 is not supported"),
        ("deepseek-v3", {"n_group": 3}, "3 does not divide n_routed_experts = 8"),
        ("mamba2", {"num_heads": 5}, "5 heads of 4 are not expand"),
        ("bamba", {"attn_layer_indices": [7]}, "7 is not a layer"),
        ("granite-hybrid", {"layer_types": None}, "layer_types: is missing"),
        ("dbrx", {"attn_config": 3}, "attn_config: 3 is not an object"),
        ("dbrx", {"n_heads": 4}, "3 rotary features cannot be paired"),
        ("llama4", {"num_experts_per_tok": 2}, "num_experts_per_tok: is not supported"),
        ("llama4", {"no_rope_layers": [1]}, "has 1 entries; expected num_hidden_layers = 4"),
        ("llama4", {"layer_types": ["chunked_attention"] * 4}, "or chunks without"),
        ("gptj", {"rotary_dim": 8}, "8 is no even part of a head"),
        ("gptj", {"n_head": 5}, "5 does not divide n_embd = 12"),
        ("falcon", {"alibi": True}, "alibi: is not supported"),
        ("nemotron-h", {"hybrid_override_pattern": "MX"}, "'MX' is not a pattern"),
        ("nemotron-h", {"hybrid_override_pattern": "M*"}, "has 2 letters; expected num_hidden"),
        ("falcon", {"num_kv_heads": 3}, "3 does not divide num_attention_heads = 4"),
    ],
)
def test_contradictions_of_families(name, changes, words):
    assert any(words in f for f in faults({**CONFIGS[name], **changes}))


def numbers(config: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all numbers of a configuration."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


def put(config: dict, path: tuple[str, ...], value: object) -> dict:
    key, *rest = path
    return {**config, key: put(config[key], tuple(rest), value) if rest else value}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_cannot_be_read_contradicts_nothing(name):
    """Every fault of a configuration with one bad number is of that number."""
    wrong = 0
    for path in numbers(CONFIGS[name]):
        try:  # a family does not read every key
            from_huggingface(put(CONFIGS[name], path, "seven"), "c")
        except InputError as error:
            for fault in error.faults:
                assert fault.where.endswith(f": {path[-1]}") and "'seven' is " in fault.what
            wrong += 1
    assert wrong > 4


def test_two_contradictions_are_both_said():
    bad = {"num_attention_heads": 5, "num_kv_heads": 3}
    both = ("5 does not divide hidden_size = 16", "3 does not divide num_attention_heads = 5")
    found = faults({**CONFIGS["falcon"], **bad})
    assert all(any(words in f for f in found) for words in both)


def test_no_heads_are_no_heads_to_share():
    (only,) = faults({**LLAMA, "num_attention_heads": 0})
    assert only.startswith("c: num_attention_heads: 0 is not a count")


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float32", None])
def test_a_stored_format_is_served_in_16_bits(stored):
    plain = from_huggingface(LLAMA, "c")
    assert from_huggingface({**LLAMA, "torch_dtype": stored}, "c") == plain
    assert from_huggingface({**LLAMA, "dtype": stored}, "c") == plain


def test_neither_architecture_nor_type():
    assert faults({"vocab_size": 3}) == [
        "c: has neither 'architectures' nor 'model_type'; expected a HuggingFace config.json"
    ]


@given(
    st.sampled_from(sorted(CONFIGS)),
    st.data(),
    st.one_of(st.none(), st.integers(-3, 9), st.floats(), st.text(max_size=3),
              st.lists(st.integers(), max_size=2), st.booleans(), st.dictionaries(
                  st.text(max_size=2), st.integers(), max_size=1)),
)  # fmt: skip
def test_any_value_is_read_or_refused(name, data, value):
    """Whatever stands in a key, the answer is a configuration or an error of ours."""
    config = dict(CONFIGS[name])
    key = data.draw(st.sampled_from(sorted(config)))
    if isinstance(config[key], dict) and data.draw(st.booleans()):
        inner = data.draw(st.sampled_from(sorted(config[key])))
        value = {**config[key], inner: value}
    try:
        from_huggingface({**config, key: value}, name)
    except MaquetteError as error:
        assert error.faults


@pytest.mark.parametrize(
    ("quantization", "native", "which"),
    [
        ({"quant_method": "fp8"}, "fp8", "linear"),
        ({"quant_method": "awq", "bits": 4}, "int4", "linear"),
        ({"quant_method": "mxfp4"}, "mxfp4", "experts"),
        ({"quant_method": "compressed-tensors", "config_groups": {
            "group_0": {"weights": {"num_bits": 8, "type": "float"}}}}, "fp8", "linear"),
        # What is left out of quantisation: attention's projections, or only what is beside them.
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": [
            *(f"model.layers.{i}.self_attn.q_proj" for i in range(2)), "lm_head"]},
         "fp8", "feed-forward"),
        ({"quant_method": "fp8", "modules_to_not_convert": [
            "model.layers.0.self_attn.q_norm", "model.layers.0.post_attention_layernorm",
            "vision_tower.layers.0.self_attn.k_proj", "model.layers.1.self_attn.q_proj"]},
         "fp8", "linear"),
        ({"quant_method": "compressed-tensors", "ignore": ["re:.*self_attn.*"], "config_groups": {
            "group_0": {"weights": {"num_bits": 4, "type": "int"}}}}, "int4", "feed-forward"),
    ],
)  # fmt: skip
def test_published_formats(quantization, native, which):
    config = from_huggingface({**LLAMA, "quantization_config": quantization}, "c")
    assert (config.native, config.quantised) == (native, which)


def test_attention_that_is_not_quantised_keeps_its_bytes():
    whole = {"quant_method": "fp8"}
    part = {**whole, "modules_to_not_convert": ["self_attn"]}
    size = [
        weight_bytes(from_huggingface({**LLAMA, "quantization_config": q}, "c"))
        for q in (whole, part)
    ]
    of = LLAMA["num_attention_heads"] + LLAMA["num_key_value_heads"]
    weights = 2 * LLAMA["hidden_size"] * LLAMA["head_dim"] * of * LLAMA["num_hidden_layers"]
    assert size[1] - size[0] == weights  # one byte more of each


def test_files(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    assert read_config(path) == read_config(tmp_path) == model(str(path))
    assert model(str(tmp_path)).name == tmp_path.name
    path.write_text("{")
    with pytest.raises(InputError, match=r"config\.json: is not JSON: .* line 1"):
        model(str(path))
    path.write_text("[]")
    with pytest.raises(InputError, match="a JSON object"):
        model(str(path))
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        model(str(tmp_path / "none.json"))


def test_names_and_aliases():
    assert model("LLAMA-3.1-8B") == model("meta-llama/Llama-3.1-8B-Instruct")
    assert row("deepseek-r1").name == "deepseek-v3"
    with pytest.raises(UnknownName, match=r"did you mean .*llama-3\.1-70b"):
        model("lama-3.1-70b")
    known = [alias.lower() for name in names() for alias in row(name).aliases]
    assert len(known) == len(set(known))
    assert not set(known) & set(names())


@pytest.mark.parametrize("name", names())
def test_rows_say_where_they_come_from(name):
    found = row(name)
    assert found.name == name
    assert found.source.startswith("https://") and found.parameters.source and found.licence
    assert len(found.released) == 7
    assert found.parameters.active is None or found.parameters.active_source


def test_pieces_of_deepseek_v3():
    config = model("deepseek-v3")
    layer = config.kinds["moe"]
    assert isinstance(layer.mixer, Latent) and isinstance(layer.ffn, Experts)
    assert config.order[:4] == ("dense", "dense", "dense", "moe") and config.layers == 61
    assert (layer.ffn.count, layer.ffn.top_k, layer.ffn.router.groups_kept) == (256, 8, 4)
    # 0.1 · ln 40 + 1 squared over √192, as DeepSeek's own code scales.
    assert layer.mixer.scale == pytest.approx(1.3688879454**2 / 192**0.5)


def test_qwen2_window_starts_at_a_layer():
    config = from_huggingface(CONFIGS["qwen2"], "c")
    assert config.order == ("full", "local")
    mixer = config.kinds["local"].mixer
    assert isinstance(mixer, Attention) and mixer.window == 3


def test_a_newer_rope_spelling_is_the_same_model():
    newer = {k: v for k, v in CONFIGS["llama-3.1"].items() if k not in ("rope_theta",
             "rope_scaling")}  # fmt: skip
    newer["rope_parameters"] = {**CONFIGS["llama-3.1"]["rope_scaling"], "rope_theta": 100.0}
    assert from_huggingface(newer, "c") == from_huggingface(CONFIGS["llama-3.1"], "c")


def test_describe_has_every_number_with_its_source():
    rows = {(r.section, r.name): r for r in describe(model("deepseek-v3"))}
    assert rows["parameters", "total"].value == parameters(model("deepseek-v3")).total
    assert rows["memory", "KV cache per token"].value == 70272
    assert rows["general", "published weights"].value == "fp8 (linear weights)"
    assert all(r.source for r in rows.values())


def test_supported_is_complete():
    """Every family is exercised by a tiny configuration or a row of the catalogue."""
    tried = {from_huggingface(c, n).family for n, c in CONFIGS.items()}
    tried |= {model(n).family for n in names()}
    assert tried == set(SUPPORTED)


def test_the_language_model_of_what_also_sees():
    """A file with a text_config is read as that part; formats stand beside it."""
    text = {k: v for k, v in CONFIGS["llama4"].items() if k != "architectures"}
    whole = {"model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"],
             "text_config": text, "vision_config": {"hidden_size": 1408},
             "quantization_config": {"quant_method": "fp8"}}  # fmt: skip
    found = from_huggingface(whole, "c")
    assert found.kinds == from_huggingface(text, "c").kinds
    assert (found.family, found.native) == ("llama4_text", "fp8")
    with pytest.raises(InputError, match="torch_dtype: 'float99' is not supported"):
        from_huggingface({**whole, "torch_dtype": "float99"}, "c")
    with pytest.raises(InputError, match="text_config: 3 is not an object"):
        from_huggingface({**whole, "text_config": 3}, "c")
    with pytest.raises(UnknownName, match="model_type 'qwen9' is not supported"):
        from_huggingface({**whole, "text_config": {**text, "model_type": "qwen9"}}, "c")


def test_layers_of_llama_4():
    scout, maverick = model("llama-4-scout"), model("llama-4-maverick")
    assert scout.order == ("moe_local",) * 3 + ("moe_full",) + scout.order[:44]
    assert maverick.order[:4] == ("dense_local", "moe_local", "dense_local", "moe_full")
    near, far = (maverick.kinds[f"moe_{n}"].mixer for n in ("local", "full"))
    assert isinstance(near, Attention) and isinstance(far, Attention)
    assert (near.window, near.chunked, near.warming) == (8192, True, None)
    assert (far.window, far.rope, far.warming) == (None, None, (8192, 0.1))


def test_a_family_may_be_named_by_its_type_alone():
    config = {k: v for k, v in hf("qwen3", "").items() if k != "architectures"}
    assert from_huggingface(config, "c").family == "qwen3"
