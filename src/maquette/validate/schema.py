"""What a file of measured rows may look like.

A row is tidy: one measurement per line, one variable per column, and a column of a duration
carries its unit in its name (``ttft_mean_ms``) or lets physics settle it (`durations`).  A *kind*
of row is recognised by the name of its file or by the columns it has; other columns are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from maquette.validate import vocabulary as words


@dataclass(frozen=True)
class Kind:
    """A kind of row: what it must have, and at least one of the measured quantities."""

    name: str
    title: str
    files: tuple[str, ...]
    required: tuple[str, ...]
    measured: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind(
        "stages", "serving, open loop", ("serving_vllm_stages*", "serving_*stages*"),
        ("hardware", "model", "rate"), ("ttft", "tpot", "e2e"),
    ),
    Kind(
        "closed", "serving, closed loop", ("inferencex*", "inferencemax*"),
        ("hardware", "model", "concurrency", "input_tokens", "output_tokens"), ("ttft", "tpot"),
    ),
    Kind(
        "static", "static batch", ("llm_inference_bench*", "splitwise*"),
        ("hardware", "model", "batch", "input_tokens", "output_tokens"),
        ("e2e", "ttft", "tpot", "output_rate", "total_rate", "rate"),
    ),
    Kind("gemm", "kernel, product", ("kernel_gemm*",), ("hardware", "m", "n", "k"), ("e2e",)),
    Kind(
        "collective", "kernel, collective", ("kernel_collectives*",),
        ("hardware", "elements", "devices"), ("e2e",),
    ),
    Kind(
        "attention", "kernel, attention", ("kernel_attention*",),
        ("hardware", "batch", "heads", "kv_heads", "head_dim"), ("e2e",),
    ),
    Kind(
        "latent", "kernel, latent attention", ("kernel_mla*",),
        ("hardware", "batch", "heads", "latent"), ("e2e",),
    ),
    Kind(
        "scan", "kernel, scan", ("kernel_scan*",),
        ("hardware", "batch", "heads", "head_dim", "state_dim"), ("e2e",),
    ),
    Kind(
        "exchange", "kernel, exchange between experts", ("kernel_exchange*",),
        ("hardware", "collective", "devices", "m", "hidden", "topk"), ("e2e",),
    ),
    Kind(
        "experts", "kernel, fused experts", ("kernel_moe*",),
        ("hardware", "m", "hidden", "inter", "experts", "topk"), ("e2e",),
    ),
    Kind(
        "linear", "kernel, linear layer", ("kernel_vidur_linear_ops*",),
        ("hardware", "op", "m"), ("e2e",),
    ),
    Kind(
        "offline", "offline throughput", ("mlperf_inference*",),
        ("hardware", "model", "devices"), ("device_rate", "output_rate", "total_rate", "rate"),
    ),
    Kind(
        "requests", "serving, single requests", ("serving_vllm_requests*",),
        ("run", "input_tokens", "output_tokens"), ("ttft", "e2e"),
    ),
)  # fmt: skip


def heading(text: str) -> str:
    """A heading as it is compared.

    >>> heading(" Batch Size ")
    'batch_size'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")


def quantity(name: str) -> tuple[str, str, float | None] | None:
    """(quantity, statistic, factor to SI) a heading stands for, or None.

    The factor of a duration is None where the heading carries no unit.

    >>> quantity("mean_ttft_ms")
    ('ttft', 'mean', 0.001)
    >>> quantity("token_time")
    ('tpot', 'mean', None)
    """
    for phrase in sorted(words.QUANTITIES, key=len, reverse=True):
        match = re.search(rf"(^|_){phrase}(_|$)", name)
        if match is not None:
            rest = (name[: match.start()] + "_" + name[match.end() :]).split("_")
            return _statistic(words.QUANTITIES[phrase], [w for w in rest if w])
    return None


def _statistic(found: str, rest: list[str]) -> tuple[str, str, float | None] | None:
    statistic, factor = "mean", None
    duration = found in words.DURATIONS
    for word in rest:
        if word in words.STATISTICS:
            statistic = words.STATISTICS[word]
        elif duration and word in words.UNITS:
            factor = words.UNITS[word]
        elif (not duration and word in words.RATE_UNITS) or word in words.PLAIN_WORDS:
            continue
        else:
            return None
    return found, statistic, factor if duration else 1.0


def lengths(name: str) -> tuple[str, ...]:
    """Which mean lengths a heading gives: of prompts, of answers, or of both.

    >>> lengths("mean_prompt_tokens"), lengths("input_output_length"), lengths("prompt_time")
    (('input_tokens',), ('input_tokens', 'output_tokens'), ())
    """
    held = set(name.split("_"))
    roles = {
        "input_tokens": held & words.INPUT or "io" in held,
        "output_tokens": held & words.OUTPUT or "io" in held,
    }
    found = tuple(role for role, said in roles.items() if said)
    return found if found and held <= words.INPUT | words.OUTPUT | words.FILLER else ()


@dataclass(frozen=True)
class Columns:
    """Which heading holds what: text and numbers by name, measured by (quantity, statistic)."""

    text: Mapping[str, str]
    number: Mapping[str, str]
    measured: Mapping[tuple[str, str], tuple[str, float | None]]
    flags: tuple[str, ...]
    trust: tuple[str, ...]
    keep: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset({*self.text, *self.number})

    @property
    def quantities(self) -> frozenset[str]:
        return frozenset(q for q, _ in self.measured)


def columns(headings: Iterable[str]) -> Columns:
    """What the headings of a file hold."""
    by_key = {heading(h): h for h in headings}
    text = {n: by_key[k] for n, also in words.TEXT.items() if (k := _first(also, by_key))}
    number = {n: by_key[k] for n, also in words.NUMBER.items() if (k := _first(also, by_key))}
    for key, original in by_key.items():
        for role in lengths(key):
            number.setdefault(role, original)
    used = {*text.values(), *number.values()}
    found: dict[tuple[str, str], tuple[str, float | None]] = {}
    for key, original in by_key.items():
        measured = None if original in used else quantity(key)
        if measured is not None:
            at = (measured[0], measured[1])
            if at not in found or found[at][1] is None:  # a unit goes before none
                found[at] = (original, measured[2])
    return Columns(
        text,
        number,
        _preferred(found),
        tuple(o for k, o in by_key.items() if _flag(k)),
        tuple(o for k, o in by_key.items() if k in words.TRUST),
        tuple(o for k, o in by_key.items() if k in words.KEEP),
    )


def _flag(key: str) -> bool:
    return key.startswith(words.FLAGS) or key.endswith(("_flag", "_flags")) or key in words.REASONS


def _first(aliases: tuple[str, ...], keys: Mapping[str, str]) -> str:
    return next((a for a in aliases if a in keys), "")


def _preferred(
    found: Mapping[tuple[str, str], tuple[str, float | None]],
) -> dict[tuple[str, str], tuple[str, float | None]]:
    chosen = {k: v for k, v in found.items() if k[0] not in words.TPOT}
    for statistic in {s for q, s in found if q in words.TPOT}:
        best = next(q for q in words.TPOT if (q, statistic) in found)
        chosen["tpot", statistic] = found[best, statistic]
    return chosen


def named(file: str) -> tuple[Kind, ...]:
    """The kinds whose files are called so."""
    return tuple(k for k in KINDS if any(fnmatch(file.lower(), p) for p in k.files))


def recognise(file: str, have: Columns) -> Kind | None:
    """The kind of row a file holds, by its name, else by its columns."""
    for kind in (*named(file), *(k for k in KINDS if k.name != "linear")):
        if not missing(kind, have):
            return kind
    return None


def missing(kind: Kind, have: Columns) -> tuple[str, ...]:
    """What a file lacks to be of a kind, with what the nearest columns may be called."""
    lacking = tuple(n for n in kind.required if n not in have.names)
    if not set(kind.measured) & have.quantities:
        units = {"output_rate": "_tok_s", "total_rate": "_tok_s", "device_rate": "_tok_s"}
        units["rate"] = ""
        lacking += (" or ".join(q + units.get(q, "_s") for q in kind.measured),)
    return lacking


def unread(file: str) -> str:
    """Why a known file is not read; empty when it should be."""
    return next((why for p, why in words.UNREAD.items() if fnmatch(file.lower(), p)), "")


def defaults(file: str) -> Mapping[str, str]:
    """What rows of a file mean where they do not say."""
    return next((d for p, d in words.FILE_DEFAULTS.items() if fnmatch(file.lower(), p)), {})
