"""A `ModelConfig` from a HuggingFace ``config.json``; needs no torch and no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from maquette.errors import Fault, InputError, MaquetteError, UnknownName
from maquette.models import families, parallel, recurrent
from maquette.models.config import ModelConfig
from maquette.models.glm import glm4_moe
from maquette.models.keys import Keys
from maquette.models.llama4 import llama4
from maquette.models.nemotron import nemotron_h
from maquette.models.pieces import Shape, published_format

# model_type: (architecture, how its configuration reads)
SUPPORTED: Mapping[str, tuple[str, Callable[[Keys], Shape]]] = {
    "llama": ("LlamaForCausalLM", families.llama),
    "mistral": ("MistralForCausalLM", families.mistral),
    "mixtral": ("MixtralForCausalLM", families.mixtral),
    "qwen2": ("Qwen2ForCausalLM", families.qwen2),
    "qwen2_moe": ("Qwen2MoeForCausalLM", families.qwen2_moe),
    "qwen3": ("Qwen3ForCausalLM", families.qwen3),
    "qwen3_moe": ("Qwen3MoeForCausalLM", families.qwen3_moe),
    "phi3": ("Phi3ForCausalLM", families.phi3),
    "gemma": ("GemmaForCausalLM", families.gemma),
    "gemma2": ("Gemma2ForCausalLM", families.gemma2),
    "gemma3_text": ("Gemma3ForCausalLM", families.gemma3),
    "granite": ("GraniteForCausalLM", families.granite),
    "gpt_oss": ("GptOssForCausalLM", families.gpt_oss),
    "dbrx": ("DbrxForCausalLM", families.dbrx),
    "arctic": ("ArcticForCausalLM", families.arctic),
    "deepseek_v2": ("DeepseekV2ForCausalLM", families.deepseek_v2),
    "deepseek_v3": ("DeepseekV3ForCausalLM", families.deepseek_v3),
    "llama4_text": ("Llama4ForCausalLM", llama4),
    "gptj": ("GPTJForCausalLM", parallel.gptj),
    "falcon": ("FalconForCausalLM", parallel.falcon),
    "glm4_moe": ("Glm4MoeForCausalLM", glm4_moe),
    "nemotron_h": ("NemotronHForCausalLM", nemotron_h),
    "mamba2": ("Mamba2ForCausalLM", recurrent.mamba2),
    "mamba2_original": ("MambaLMHeadModel", recurrent.mamba2_original),
    "bamba": ("BambaForCausalLM", recurrent.bamba),
    "granitemoehybrid": ("GraniteMoeHybridForCausalLM", recurrent.granite_hybrid),
}
_ARCHITECTURES = {architecture: family for family, (architecture, _) in SUPPORTED.items()}


class Unsupported(UnknownName):
    """An architecture that no family reads; names all that are supported."""

    def __init__(self, key: str, value: str, known: Iterable[str], where: str) -> None:
        fault = Fault(where, f"{key} {value!r} is not supported", f"one of {', '.join(known)}")
        MaquetteError.__init__(self, fault)


def from_huggingface(data: Mapping[str, Any], name: str, source: str = "") -> ModelConfig:
    """The model that a configuration describes.

    Raises:
        UnknownName: an architecture that is not supported; says which are.
        InputError: keys that are missing, malformed or contradict each other, all of them.

    >>> config = from_huggingface({
    ...     "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 4096,
    ...     "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008,
    ...     "max_position_embeddings": 4096}, "llama-2-7b")
    >>> config.layers, config.kinds["dense"].mixer.kv_heads
    (32, 32)
    """
    if "text_config" in data:
        data = _language(data, name)
    family = _family(data, name)
    k = Keys(data, name)
    shape = SUPPORTED[family][1](k)
    native, quantised = published_format(k)
    context = None
    for key in ("max_position_embeddings", "max_seq_len", "n_positions"):
        if k.has(key):
            context = k.count(key)
    if context is None and "mamba" not in shape.kinds and "context" not in shape.options:
        k.fault("max_position_embeddings", "is missing", "a number of tokens")
    own = (n for n in ("d_model", "n_embd") if k.has(n) or n in k.unread)
    fields = {
        "vocab": k.count("vocab_size"),
        "d_model": k.count(next(own, "hidden_size")),
        "context": context,
        "tied": k.flag("tie_word_embeddings"),
    }
    k.done()
    return ModelConfig(
        name=name,
        family=family,
        kinds=shape.kinds,
        order=shape.order,
        norm=shape.norm,
        native=native,
        quantised=quantised,
        source=source,
        **{**fields, **shape.options},
    )


def read_config(path: str | Path) -> ModelConfig:
    """The model in a ``config.json`` (or in the folder that holds one)."""
    path = Path(path)
    if path.is_dir():
        path = path / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError:
        raise InputError(Fault(str(path), "is not UTF-8 text")) from None
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg} at line {error.lineno}"
        raise InputError(Fault(str(path), what)) from None
    if not isinstance(data, dict):
        raise InputError(Fault(str(path), "is not a configuration", "a JSON object"))
    name = data.get("_name_or_path") or (
        path.parent.resolve().name if path.name == "config.json" else path.stem
    )
    return from_huggingface(data, str(name), str(path))


def _language(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The language model of one that also sees or hears, in the format stated for the whole."""
    text = data["text_config"]
    if not isinstance(text, Mapping):
        raise InputError(Fault(f"{name}: text_config", f"{text!r} is not an object"))
    shared = ("quantization_config", "tie_word_embeddings", "torch_dtype", "dtype")
    return {key: data[key] for key in shared if key in data} | dict(text)


def _family(data: Mapping[str, Any], name: str) -> str:
    """The family a configuration names, by its architecture and its model type."""
    architectures = data.get("architectures") or []
    kind = data.get("model_type")
    if not architectures and kind is None:
        if "ssm_cfg" in data:
            return "mamba2_original"
        what = "has neither 'architectures' nor 'model_type'"
        raise InputError(Fault(name, what, "a HuggingFace config.json"))
    if not isinstance(architectures, list) or not isinstance(kind, str | None):
        what = "'architectures' is not a list or 'model_type' is not a string"
        raise InputError(Fault(name, what, "a HuggingFace config.json"))
    first = architectures[0] if architectures else None
    family = _ARCHITECTURES.get(str(first)) if first is not None else None
    if first is not None and family is None:
        raise Unsupported("architecture", str(first), _ARCHITECTURES, name)
    if kind is not None and family is None and kind not in SUPPORTED:
        raise Unsupported("model_type", str(kind), SUPPORTED, name)
    if family is not None and kind in SUPPORTED and kind != family:
        what = f"architectures says {first} and model_type says {kind}"
        raise InputError(Fault(name, what, "two names of one architecture"))
    return family or str(kind)
