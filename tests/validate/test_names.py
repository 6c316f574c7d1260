"""Spellings found in the wild."""

from __future__ import annotations

import pytest

from maquette.catalogue.engines import engine_at
from maquette.validate.names import counted, precision


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"), ("H100-SXM", "h100-sxm"), ("h100_sxm", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"), ("A100-SXM4-40GB", "a100-40gb"), ("l40s", "l40s"),
        ("nvidia-a100-80gb", "a100-80gb"), ("NVIDIA L4", "l4"), ("AMD Instinct MI300X", "mi300x"),
        ("b200_sxm", "b200"), ("NVIDIA GH200 480GB", "gh200"), ("Gaudi2", "gaudi2"),
        ("h200", "h200"), ("GB200", "gb200"), ("gb200_nvl", "gb200"), ("A100_40GB", "a100-40gb"),
        ("rtx4090", "rtx-4090"), ("H100-80GB-HBM3", "h100-sxm"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"), ("L40", "l40"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000-workstation"),
        ("RTX 6000 Ada", "rtx-6000-ada"), ("NVIDIA RTX A6000", "rtx-a6000"), ("H20", "h20"),
        ("NVIDIA GeForce RTX 5090", "rtx-5090"), ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("Abacus", None), ("b60", None), ("", None),
    ],
)  # fmt: skip
def test_machines(known, written, name):
    assert known.machine_names(written) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"), ("Llama-2-70b-chat-hf", "llama-2-70b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"), ("LLaMA-3-70B", "llama-3-70b"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.1-70b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"), ("Qwen/Qwen3-32B-FP8", "qwen3-32b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"), ("Qwen2-7B", "qwen2-7b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"), ("my-model", None),
        ("llama2-70b-99.9", "llama-2-70b"), ("meta-llama_Llama-3-8B-Instruct", "llama-3-8b"),
        ("DeepSeek-R1-0528-NVFP4-v2", "deepseek-v3"), ("MOE_Mixtral8x7B", "mixtral-8x7b"),
        ("codellama/CodeLlama-34b-Instruct-hf", "codellama-34b"), ("Kimi-K2.5", "kimi-k2"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"), ("LLAMA3.1_70B", "llama-3.1-70b"),
        ("bloom-176b", None), ("MiniMax-M2", None), ("gemma-7b", None),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout"),
        ("nvidia/Llama-4-Maverick-17B-128E-Instruct-FP8", "llama-4-maverick"),
        ("EleutherAI/gpt-j-6b", "gpt-j-6b"), ("tiiuae/falcon-180B", "falcon-180b"),
        ("google/gemma-3-12b-it", "gemma-3-12b"), ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b"), ("falcon-7b", None),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "qwen2.5-14b"),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistral-small-24b"),
        ("microsoft/Phi-3-medium-4k-instruct", "phi-3-medium-4k"),
    ],
)  # fmt: skip
def test_models(known, written, name):
    assert known.model_names(written) == name


@pytest.mark.parametrize(
    ("written", "version", "name"),
    [
        ("vLLM", "0.6.1", "vllm-0.6"), ("vllm", "v0.5.4", "vllm-0.6"),
        ("vllm", "0.2.1", "vllm-0.2"),
        ("vllm", "0.15.1", "vllm"),
        ("vllm", "", "vllm"), ("TensorRT-LLM", "0.12", "tensorrt-llm-0"), ("trtllm", "1.2.0rc5",
        "tensorrt-llm"), ("SGLang", "0.5", "sglang"), ("DeepSpeed-MII", "", "deepspeed"),
        ("lmdeploy", "0.7.4", "lmdeploy"), ("LMDeploy TurboMind", "", "lmdeploy"),
    ],
)  # fmt: skip
def test_engines(known, written, version, name):
    assert engine_at(known.engine_names(written), version) == name


def test_llama_cpp_is_no_engine_here(known):
    assert known.engine_names("llama.cpp") is None


@pytest.mark.parametrize(
    ("written", "formats"),
    [("FP16", ("bf16", "bf16")), ("fp8_block", ("fp8", "fp8")), ("int8_wo", ("int8", "bf16")),
     ("w4a16_mxfp4", ("mxfp4", "bf16")), ("nvfp4", ("nvfp4", "nvfp4")), ("AWQ", ("int4", "bf16")),
     ("w8a8", ("int8", "int8")), ("decimal", None), ("w4a8_mxfp4_mxfp8", ("mxfp4", "fp8")),
     ("torch.bfloat16", ("bf16", "bf16")), ("16-bit", ("bf16", "bf16")), ("fp32", None),
     ("fp8-bf16", ("fp8", "bf16")), ("int8-bf16", ("int8", "bf16")),
     ("int4-bf16", ("int4", "bf16")), ("nvfp4-bf16", ("nvfp4", "bf16")),
     ("mxfp4", ("mxfp4", "bf16"))],
)  # fmt: skip
def test_precisions(written, formats):
    assert precision(written) == formats


def test_what_nobody_wrote_is_the_checkpoints(known):
    assert precision("", "gpt-oss-120b", "mxfp4") == ("mxfp4", "bf16")
    assert precision("auto", "Qwen3-32B-FP8") == ("fp8", "fp8")
    assert known.checkpoint("deepseek-v3") == ("fp8", True)
    assert known.checkpoint("llama-3-8b") == ("", False)


def test_counts():
    assert counted("8x H100") == ("H100", 8)
    assert counted("MI300X") == ("MI300X", None)
    assert counted("rtx4090") == ("rtx4090", None)
