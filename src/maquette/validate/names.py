"""Names as people write them → names of the catalogue.

Rows call one device ``NVIDIA H100 80GB HBM3``, ``H100-SXM5`` or ``8xH100``.  A name is first looked
up among the catalogue's own names and aliases; then rules of common spellings are tried.  What
nothing answers to is None, and the caller counts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Pattern in the squeezed spelling (letters and digits only) → the catalogue's name, first wins.
MACHINE_RULES: tuple[tuple[str, str], ...] = (
    (r"gb300", "gb300"), (r"gb200", "gb200"), (r"gh200", "gh200"),
    (r"b300", "b300"), (r"b200", "b200"), (r"b100", "b100"), (r"h200", "h200"),
    (r"h20(?!\d)", "h20"),
    (r"h100.*(pcie|pci)", "h100-pcie"), (r"h100.*nvl", "h100-nvl"), (r"h100", "h100-sxm"),
    (r"a100.*40g?b?", "a100-40gb"), (r"a100.*pcie?", "a100-pcie"), (r"a100", "a100-80gb"),
    (r"a10g", "a10g"), (r"a40", "a40"),
    (r"l40s", "l40s"), (r"l40(?!\d)", "l40"), (r"l4(?!\d)", "l4"),
    (r"rtx4090|geforce4090", "rtx-4090"), (r"rtx5090|geforce5090", "rtx-5090"),
    (r"rtxpro6000.*(workstation|maxq)", "rtx-pro-6000-workstation"),
    (r"rtxpro6000|rtx6000pro", "rtx-pro-6000"), (r"6000ada", "rtx-6000-ada"),
    (r"a6000", "rtx-a6000"),
    (r"mi355x?", "mi355x"), (r"mi325x?", "mi325x"), (r"mi300x?", "mi300x"),
    (r"mi250x?", "mi250x"), (r"gaudi3|hl325", "gaudi3"), (r"gaudi2|hl225", "gaudi2"),
    (r"sn40l|sambanova", "sn40l"), (r"tpuv?6e|trillium", "tpu-v6e"), (r"tpuv?5e", "tpu-v5e"),
    (r"tpuv?5p", "tpu-v5p"), (r"tpuv?7|ironwood", "tpu-v7"), (r"tpuv?4", "tpu-v4"),
    (r"trainium2|trn2", "trainium2"), (r"inferentia2|inf2", "inferentia2"),
)  # fmt: skip
ENGINE_RULES: tuple[tuple[str, str], ...] = (
    (r"vllm", "vllm"), (r"sglang", "sglang"), (r"tensorrtllm|trtllm|tensorrt|trt", "tensorrt-llm"),
    (r"deepspeed|optimum|habana", "deepspeed"), (r"lmdeploy|turbomind", "lmdeploy"),
    (r"samba|cerebras|groq|dmatrix", "vendor"),
)  # fmt: skip
# Words at the end of a model's name that do not change its shape …
MODEL_ENDINGS = (
    "hf", "instruct", "chat", "base", "it", "fp8", "fp8dynamic", "fp4", "nvfp4", "mxfp4", "awq",
    "gptq", "int4", "int8", "w8a8", "w4a16", "bf16", "fp16", "kv", "fp8kv", "turbo", "thinking",
    "v01", "v02", "v03", "v2", "2503", "2506", "2507", "2512", "0528", "0324", "0905", "2501",
    "2409", "dynamic", "fp8block", "quantized", "eagle3", "preview", "modelopt", "tput",
    # … and those of MLPerf, which name an accuracy target or a scenario.
    "99", "999", "datacenter", "edge", "interactive", "server", "offline",
)  # fmt: skip
# Owners and words ahead of a name.
MODEL_BEGINNINGS = (
    "metallama", "meta", "nvidia", "redhatai", "neuralmagic", "deepseekai", "mistralai", "openai",
    "moonshotai", "codellama", "amd", "moe", "qwen", "hf", "google", "microsoft", "tiiuae",
    "eleutherai", "zaiorg",
)  # fmt: skip
# Models of the same shape as one of the catalogue.  A name without its generation is of the one
# whose shape all generations share but for the vocabulary.
SAME_SHAPE: Mapping[str, str] = {
    "llama38b": "llama-3-8b", "llama370b": "llama-3-70b",
    "llama318b": "llama-3.1-8b", "llama3170b": "llama-3.1-70b", "llama31405b": "llama-3.1-405b",
    "llama3370b": "llama-3.1-70b", "llama27b": "llama-2-7b", "llama213b": "llama-2-13b",
    "llama270b": "llama-2-70b", "llama7b": "llama-2-7b", "llama13b": "llama-2-13b",
    "llama8b": "llama-3.1-8b", "llama70b": "llama-3.1-70b", "llama405b": "llama-3.1-405b",
    "llama3405b": "llama-3.1-405b", "deepseekr1distillllama70b": "llama-3.1-70b",
    "deepseekr1distillllama8b": "llama-3.1-8b", "deepseekr1distillqwen32b": "qwen2.5-32b",
    "deepseekr1": "deepseek-v3", "deepseekv31": "deepseek-v3", "deepseekv3": "deepseek-v3",
    "dsr1": "deepseek-v3", "dsv3": "deepseek-v3", "deepseekv31terminus": "deepseek-v3",
    "mixtral": "mixtral-8x7b", "mixtral8x7b": "mixtral-8x7b", "mixtral8x22b": "mixtral-8x22b",
    "mistral7b": "mistral-7b", "gptoss": "gpt-oss-120b", "gptoss120b": "gpt-oss-120b",
    "gptoss20b": "gpt-oss-20b", "qwen27b": "qwen2-7b", "qwen272b": "qwen2-72b",
    "codellama34b": "codellama-34b", "snowflakearctic": "arctic", "arctic": "arctic",
    "kimik2": "kimi-k2", "kimik25": "kimi-k2", "qwen3235b": "qwen3-235b-a22b",
    "qwen330b": "qwen3-30b-a3b", "llama4scout": "llama-4-scout",
    "llama4maverick": "llama-4-maverick", "llama4scout17b16e": "llama-4-scout",
    "llama4maverick17b128e": "llama-4-maverick",
    "deepseekr1distillqwen15b": "qwen2.5-1.5b", "deepseekr1distillqwen7b": "qwen2.5-7b",
    "deepseekr1distillqwen14b": "qwen2.5-14b", "llama31nemotronnano8b": "llama-3.1-8b",
    "llama31nemotron70b": "llama-3.1-70b", "mistralsmall3124b": "mistral-small-24b",
    "mistralsmall3224b": "mistral-small-24b", "mistralsmall24b": "mistral-small-24b",
    "nemotron3nano30ba3b": "nemotron-3-nano-30b-a3b",
    "glm46": "glm-4.5", "glm47": "glm-4.5", "phi3medium": "phi-3-medium-4k",
    "gemma327b": "gemma-3-27b", "gemma312b": "gemma-3-12b",
}  # fmt: skip
_PRECISIONS: tuple[tuple[str, tuple[str, str]], ...] = (
    # written → (weights, activations)
    (r"w4a8_?mxfp4(_mxfp8)?", ("mxfp4", "fp8")),
    # weights alone, said by naming both
    (r"fp8[-_](bf|fp)16", ("fp8", "bf16")),
    (r"int8[-_](bf|fp)16", ("int8", "bf16")),
    (r"nvfp4[-_](bf|fp)16", ("nvfp4", "bf16")),
    (r"mxfp4", ("mxfp4", "bf16")),
    (r"nvfp4|fp4|modelopt_fp4", ("nvfp4", "nvfp4")),
    (r"mxfp8|fp8|w8a8_?fp8|float8|e4m3", ("fp8", "fp8")),
    (r"int8_?wo|w8a16", ("int8", "bf16")),
    (r"w8a8|int8|i8|sq", ("int8", "int8")),
    (r"awq|gptq|int4|w4a16|u4", ("int4", "bf16")),
    (r"bf16|bfloat16|fp16|float16|f16|half|unquant|16_?-?bits?|16", ("bf16", "bf16")),
)
UNSAID = ("", "auto", "none", "nan", "null", "default", "unspecified")


def squeeze(text: str) -> str:
    """Letters and digits only, in lower case.

    >>> squeeze("H100-SXM5 80GB")
    'h100sxm580gb'
    """
    return re.sub(r"[^a-z0-9]", "", text.lower())


class Names:
    """The spellings of one kind of thing: the catalogue's, then rules."""

    def __init__(
        self,
        known: Iterable[str],
        aliases: Mapping[str, str],
        rules: Iterable[tuple[str, str]] = (),
        same: Mapping[str, str] | None = None,
        endings: Iterable[str] = (),
        beginnings: Iterable[str] = (),
    ) -> None:
        self.known = frozenset(known)
        self._exact = {squeeze(a): n for a, n in aliases.items()}
        self._exact |= {squeeze(n): n for n in self.known}
        self._rules = tuple(rules)
        self._same = {k: v for k, v in (same or {}).items() if v in self.known}
        self._endings = tuple(sorted(endings, key=len, reverse=True))
        self._beginnings = tuple(beginnings)

    def __call__(self, text: str) -> str | None:
        """The catalogue's name, or None."""
        text = text.strip()
        for spelling in (text, text.rsplit("/", 1)[-1]):
            for key in self._shortened(squeeze(spelling)):
                found = self._exact.get(key) or self._same.get(key)
                if found is not None:
                    return found
        key = squeeze(text)
        for pattern, name in self._rules:
            if re.search(pattern, key) and name in self.known:
                return name
        return None

    def _shortened(self, key: str) -> list[str]:
        """A spelling, and what is left of it as endings and beginnings are dropped."""
        keys = [key]
        while True:
            ending = next((e for e in self._endings if key.endswith(e) and key != e), None)
            if ending is None:
                break
            key = key.removesuffix(ending)
            keys.append(key)
        bare = [k.removeprefix(b) for k in keys for b in self._beginnings if k.startswith(b)]
        return keys + bare


def precision(text: str, model: str = "", native: str = "") -> tuple[str, str] | None:
    """(weights, activations) behind a way of writing a precision.

    Where nothing is written the model's name may tell, and then the format of its checkpoint.

    >>> precision("FP16"), precision("", "Llama-3.1-70B-Instruct-FP8")
    (('bf16', 'bf16'), ('fp8', 'fp8'))
    """
    written = text.strip().lower()
    if written in UNSAID:
        written = next(
            (w for w in re.split(r"[^a-z0-9]+", model.lower())[1:] if re.fullmatch(
                r"fp8|nvfp4|fp4|awq|gptq|int4|int8|w8a8|w4a16|mxfp4", w)),
            native or "bf16",
        )  # fmt: skip
    for pattern, found in _PRECISIONS:
        if re.search(rf"(^|[^a-z0-9]|_)({pattern})(?![0-9])", written):
            return found
    return None


def counted(text: str) -> tuple[str, int | None]:
    """A machine's name without its count, and the count.

    >>> counted("8xH100"), counted("H100 x 4"), counted("MI300X")
    (('H100', 8), ('H100', 4), ('MI300X', None))
    """
    ahead = re.match(r"^\s*(\d+)\s*[x×*]\s*(.+)$", text, re.I)
    if ahead:
        return ahead[2].strip(), int(ahead[1])
    behind = re.match(r"^(.+?)\s*[x×*]\s*(\d{1,3})\s*$", text, re.I)
    if behind:
        return behind[1].strip(), int(behind[2])
    return text.strip(), None
