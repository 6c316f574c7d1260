"""Models by name, alias or path to a HuggingFace ``config.json``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from maquette.catalogue.loader import load
from maquette.errors import UnknownName
from maquette.models.config import ModelConfig
from maquette.models.huggingface import from_huggingface, read_config

FOLDER = Path(__file__).with_name("models")


@dataclass(frozen=True)
class Published:
    """Parameter counts as somebody states them; rounded ones end in zeros."""

    total: int
    source: str
    active: int | None = None  # weights that one token uses
    active_embedding: bool = False  # whether that counts the whole embedding table
    active_source: str = ""


@dataclass(frozen=True)
class ModelRow:
    """A row of the catalogue: a public configuration and what is said of it."""

    name: str
    title: str
    aliases: tuple[str, ...]
    licence: str
    released: str  # YYYY-MM
    source: str  # of the configuration
    parameters: Published
    config: Mapping[str, Any]  # the fields of config.json that describe the architecture
    note: str = ""


def names() -> tuple[str, ...]:
    """The names of all models of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def model(name_or_path: str) -> ModelConfig:
    """The model of that name or alias, or in the ``config.json`` at that path (or folder).

    UnknownName names the nearest models, or the architectures that are supported; InputError
    lists every fault of a file.

    >>> model("meta-llama/Llama-3.1-70B").name
    'llama-3.1-70b'
    >>> model("qwen3-325b")
    Traceback (most recent call last):
    maquette.errors.UnknownName: unknown model 'qwen3-325b' (did you mean qwen3-32b or ...
    """
    name = _resolve(name_or_path)
    return _config(name) if name else read_config(name_or_path)


def row(name: str) -> ModelRow:
    """The catalogue's row of a name or alias; UnknownName for anything else."""
    found = _resolve(name)
    if not found:
        raise UnknownName("model", name, names())
    return load(ModelRow, FOLDER / f"{found}.toml")


def repository(config: ModelConfig) -> str:
    """Where engines load the model from: its HuggingFace repository, else the name it came by."""
    if config.name not in names():
        return config.name
    return next((a for a in row(config.name).aliases if "/" in a), config.name)


@cache
def _config(name: str) -> ModelConfig:
    found = row(name)
    return replace(from_huggingface(found.config, name), source=found.source)


def _resolve(text: str) -> str:
    """The catalogue's name for `text`; empty where it is a path."""
    if (FOLDER / f"{text.lower()}.toml").is_file() and "/" not in text:
        return text.lower()
    known = _aliases()
    if text.lower() in known:
        return known[text.lower()]
    path = Path(text)
    if text.endswith(".json") or path.is_dir() or text.startswith((".", "/", "~")):
        return ""
    raise UnknownName("model", text, {*names(), *known} if "/" in text else names())


@cache
def _aliases() -> Mapping[str, str]:
    """Every alias of the catalogue in lower case, and the name it stands for."""
    found = {}
    for path in FOLDER.glob("*.toml"):
        head = path.read_text(encoding="utf-8").partition("\n[")[0]  # before the first table
        for alias in tomllib.loads(head)["aliases"]:
            found[alias.lower()] = path.stem
    return found
