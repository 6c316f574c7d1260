"""Engines load, cover real models, and choose by device as their sources say."""

from __future__ import annotations

import pytest

from maquette.catalogue.engines import core, engine, engines, names, policy
from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.errors import InputError, UnknownName
from maquette.ir.dtypes import DTYPES
from maquette.ir.facts import by_section
from maquette.models.decoder import program

MODELS = ("llama-3-8b", "mixtral-8x7b", "deepseek-v2", "mamba2-2.7b", "qwen1.5-moe-a2.7b", "arctic")


def test_each_file_is_named_after_its_engine():
    assert [e.name for e in engines()] == list(names())
    assert all(e.source and e.note for e in engines())
    assert all(set(e.formats) <= set(DTYPES) for e in engines())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("model_name", MODELS)
def test_lowers_every_family(name, model_name):
    schedule = lower(program(model(model_name)), engine(name))
    assert schedule.sections and all(s.launches >= 1 for s in schedule.sections)


@pytest.mark.parametrize("name", names())
def test_rules_name_sections_that_models_have(name):
    known = set()
    for model_name in MODELS:
        for part in program(model(model_name)).parts.values():
            known |= set(by_section(part))
    e = engine(name)
    assert set(e.fuse) | set(e.fuse.values()) | set(e.launches) | set(e.unquantised) <= known
    assert not set(e.launches) & set(e.fuse), "a fused section launches nothing of its own"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("vLLM", "vllm"), ("TensorRT-LLM", "tensorrt-llm"), ("trt-llm", "tensorrt-llm"),
     ("SGLang", "sglang"), ("vllm-v0", "vllm-0.6"), (" DeepSpeed ", "deepspeed")],
)  # fmt: skip
def test_aliases(spelling, name):
    assert engine(spelling).name == name


def test_unknown_engine_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean vllm"):
        engine("vlm")


def test_a_file_with_faults_names_them_all(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nversion = 1\ncolour = "red"\n')
    with pytest.raises(InputError) as caught:
        engine(str(path))
    text = str(caught.value)
    assert "version" in text and "colour" in text and "title" in text


@pytest.mark.parametrize(
    ("name", "device", "tokens"),
    [("vllm", "h100-sxm", 8192), ("vllm", "a100-80gb", 2048), ("vllm", "l40s", 2048),
     ("vllm", "mi300x", 8192), ("sglang", "l4", 2048), ("sglang", "a100-40gb", 4096),
     ("sglang", "h100-sxm", 8192), ("sglang", "mi300x", 16384), ("tensorrt-llm", "l4", 8192),
     ("lmdeploy", "a100-80gb", 8448), ("lmdeploy", "h100-sxm", 8704)],
)  # fmt: skip
def test_token_budget_follows_the_device(name, device, tokens):
    assert policy(engine(name), machine(device)).max_batched_tokens == tokens


def test_an_engine_at_a_version_is_the_core_it_had_then():
    old, new = engine("vllm@0.6.3"), engine("trtllm@1.1")
    assert (old.name, old.version, core(old.name)) == ("vllm-0.6@0.6.3", "0.6.3", "vllm-0.6")
    assert (new.name, core(new.name)) == ("tensorrt-llm@1.1", "tensorrt-llm")
    assert policy(engine("vllm@0.9"), machine("a100")) == policy(engine("vllm"), machine("a100"))
    with pytest.raises(InputError, match="no version; expected numbers"):
        engine("vllm@latest")
    with pytest.raises(UnknownName, match="unknown engine 'vlm'"):
        engine("vlm@0.9")


@pytest.mark.parametrize(
    "version",
    ["0.10", "1", "v0.9", "0.6.3.post1", "1.2.0rc1", "0.7a", "0.1.0a1", "0.11.0-rc.1",
     "0.7.3.dev138+cu121", "2024"],
)  # fmt: skip
def test_versions_are_spelled_as_packages_have_them(version):
    assert engine(f"vllm@{version}").version == version


@pytest.mark.parametrize("version", ["", "0.10,sglang", "0.10 sglang", "0.10.", "0.10x", "0.6@0.7"])
def test_what_only_begins_like_a_version_is_none(version):
    with pytest.raises(InputError, match="is no version"):
        engine(f"vllm@{version}")


@pytest.mark.parametrize(
    ("asked", "name"),
    [("vllm-0.6@0.7.2", "vllm-0.6@0.7.2"), ("vllm-0.2@0.3.3", "vllm-0.2@0.3.3"),
     ("vllm-0.14@0.14", "vllm-0.14@0.14"), ("vllm-async@v0.16", "vllm-0.14@v0.16"),
     ("tensorrt-llm-0@0.10", "tensorrt-llm-0@0.10"),
     ("lmdeploy-0.1@0.1.0a1", "lmdeploy-0.2@0.1.0a1"),
     ("vllm@0.14", "vllm@0.14"), ("sglang@0.3.0", "sglang@0.3.0"), ("vendor@2024", "vendor@2024")],
)  # fmt: skip
def test_a_core_may_be_named_with_its_versions(asked, name):
    assert engine(asked).name == name
    assert engine(name).name == name  # plans hold what was found, and ask for it again


@pytest.mark.parametrize(
    ("asked", "right"),
    [("vllm-0.14@0.6", "vllm-0.6"), ("vllm-0.14@0.13", "vllm"), ("vllm-0.6@0.10", "vllm"),
     ("vllm-0.2@0.6", "vllm-0.6"), ("lmdeploy-0.2@0.7", "lmdeploy"),
     ("tensorrt-llm-0@1.0", "tensorrt-llm")],
)  # fmt: skip
def test_a_core_at_a_version_of_another_names_that(asked, right):
    with pytest.raises(InputError, match=f"is not the core .* expected {right} \\("):
        engine(asked)


def test_sequences_follow_the_device_where_the_engine_says_so():
    found = [policy(engine("lmdeploy"), machine(m)).max_seqs for m in ("h100", "a100", "l40s")]
    assert found == [512, 256, 128]
    found = [policy(engine("vllm"), machine(m)).max_seqs for m in ("h100", "a100", "l40s")]
    assert found == [1024, 256, 256]
