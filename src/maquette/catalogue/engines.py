"""Serving engines by name, alias or path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from maquette.catalogue.loader import load
from maquette.errors import Fault, InputError, UnknownName
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.types import Policy

FOLDER = Path(__file__).with_name("engines")
DEFAULT = "vllm"


def names() -> tuple[str, ...]:
    """The names of all engines of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def engine(name_or_path: str) -> Engine:
    """The engine of that name or alias (in any case), or in the file at that path.

    NAME@VERSION is the engine at a version: the core it had then (one with options of its own, such
    as vllm-0.14, is named itself), priced as rows of that version are where a calibration knows
    any.  UnknownName names the nearest engines; InputError lists every fault of a file, or says
    that a version is none, or none of the core that is named.

    >>> engine("vLLM").policy.block_size
    16
    >>> engine("vllm@0.6.3").name, core("vllm-0.6@0.6.3")
    ('vllm-0.6@0.6.3', 'vllm-0.6')
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return load(Engine, name_or_path)
    said, at, version = name_or_path.strip().partition("@")
    name = _index().get(said.lower())
    if name is None:
        raise UnknownName("engine", said, names())
    if not at:
        return _load(name)
    if not _RELEASE.fullmatch(version):
        raise InputError(Fault("engine", f"{version!r} is no version", "numbers, as in vllm@0.10"))
    found = _load(_core_at(name, version))
    return replace(found, name=f"{found.name}@{version}", version=version)


def core(name: str) -> str:
    """The name of an engine without a version that was asked for."""
    return name.partition("@")[0]


_VERSION = re.compile(r"v?(\d+)(?:\.(\d+)|$)")
# A whole version, as packages have them: 0.10, v0.6.3.post1, 1.2.0rc1, 0.7.3.dev138+cu121.
_RELEASE = re.compile(r"v?\d+((\.\d+)+([.-]?(a|alpha|b|beta|rc|post|dev)\.?\d*)*(\+[a-z\d._]+)?)?")
# Engines that changed their core: name → (below this version, the catalogue's name), oldest first.
_CORES: Mapping[str, tuple[tuple[tuple[int, int], str], ...]] = {
    # No graphs of decode steps before 0.4; another engine core before 0.8.
    "vllm": (((0, 4), "vllm-0.2"), ((0, 8), "vllm-0.6")),
    # Compiled plans and a C++ batch manager, before what is written in PyTorch became the default.
    "tensorrt-llm": (((0, 20), "tensorrt-llm-0"),),
    # All waiting prompts in one step, before max_prefill_token_num (InternLM/lmdeploy#1196).
    "lmdeploy": (((0, 3), "lmdeploy-0.2"),),
}


def engine_at(name: str, version: str) -> str:
    """The catalogue's engine for a version.

    >>> engine_at("vllm", "0.2.7"), engine_at("vllm", "0.6.1"), engine_at("vllm", "0.15.1")
    ('vllm-0.2', 'vllm-0.6', 'vllm')
    """
    at = _at(version)
    if at is None:
        return name
    return next((older for below, older in _CORES.get(name, ()) if at < below), name)


def _at(version: str) -> tuple[int, int] | None:
    """The part of a version that cores are told by."""
    found = _VERSION.match(version.strip())
    return (int(found[1]), int(found[2] or 0)) if found else None


def _core_at(name: str, version: str) -> str:
    """The catalogue's engine for a version; InputError where `name` is a core of other versions.

    >>> _core_at("vllm", "0.6.1"), _core_at("vllm-0.6", "0.6.1"), _core_at("vllm-0.14", "0.15")
    ('vllm-0.6', 'vllm-0.6', 'vllm-0.14')
    """
    whole = next((n for n in names() if name.startswith(f"{n}-")), name)
    found = engine_at(whole, version)
    if name in (whole, found):
        return found
    # One with options of its own has no rule above, and holds from its own version on.
    ruled = {older for _, older in _CORES.get(whole, ())}
    at, since = _at(version), _at(_load(name).version)
    if name not in ruled and found == whole and at and since and at >= since:
        return name
    what = f"{name} is not the core that {whole} {version} has"
    raise InputError(Fault("engine", what, found, f"{whole}@{version} is that core"))


def default(machine: Machine) -> str:
    """The engine that serves on a machine where nobody names one.

    >>> from maquette.catalogue.machines import machine
    >>> default(machine("h100")), default(machine("cs-3"))
    ('vllm', 'vendor')
    """
    if machine.style == "kernel":
        return DEFAULT
    return next(e.name for e in engines() if machine.style in e.styles)


def engines() -> tuple[Engine, ...]:
    """Every engine of the catalogue."""
    return tuple(_load(name) for name in names())


def policy(engine: Engine, machine: Machine) -> Policy:
    """What the engine itself chooses on a device, where it looks at the device."""
    rule = _BY_DEVICE.get(core(engine.name))
    tier = machine.tiers[machine.main]
    if rule is None or tier.capacity is None:
        return engine.policy
    return replace(engine.policy, **rule(machine.name, float(tier.capacity.value)))


def _vllm(machine: str, memory: float) -> dict[str, Any]:
    """get_batch_defaults of vllm/engine/arg_utils.py, for an API server."""
    large = memory >= 70 * 2**30 and "a100" not in machine
    tokens, seqs = (8192, 1024) if large else (2048, 256)
    return {"max_batched_tokens": tokens, "max_seqs": seqs}


def _sglang(_: str, memory: float) -> dict[str, Any]:
    """chunked_prefill_size of python/sglang/srt/server_args.py, in MiB there."""
    mib = memory / 2**20
    steps = ((35, 2048), (60, 4096), (160, 8192))
    tokens = next((n for gib, n in steps if mib < gib * 1024), 16384)
    return {"max_batched_tokens": tokens}


def _lmdeploy(machine: str, _: float) -> dict[str, Any]:
    """get_max_batch_size of lmdeploy/utils.py; a pass takes 8192 tokens of prompts beside them."""
    known = {"a100": 256, "h100": 512}
    seqs = next((n for name, n in known.items() if name in machine), 128)
    return {"max_seqs": seqs, "max_batched_tokens": 8192 + seqs}


def _vendor(_: str, memory: float) -> dict[str, Any]:
    """Assumed: where a device has less than 1 GB its activations leave room for few tokens."""
    return {"max_batched_tokens": 2048 if memory >= 1e9 else 128}


_BY_DEVICE: dict[str, Callable[[str, float], dict[str, Any]]] = {
    "vllm": _vllm,
    "vllm-0.14": _vllm,
    "sglang": _sglang,
    "lmdeploy": _lmdeploy,
    "vendor": _vendor,
}


@cache
def _load(name: str) -> Engine:
    return load(Engine, FOLDER / f"{name}.toml")


@cache
def _index() -> dict[str, str]:
    aliases = {a.lower(): e.name for e in engines() for a in (e.title, *e.aliases)}
    return aliases | {name: name for name in names()}
