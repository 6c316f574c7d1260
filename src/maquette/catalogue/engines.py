"""Serving engines by name, alias or path."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from maquette.catalogue.loader import load
from maquette.errors import UnknownName
from maquette.plans.engine import Engine

FOLDER = Path(__file__).with_name("engines")


def names() -> tuple[str, ...]:
    """The names of all engines of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def engine(name_or_path: str) -> Engine:
    """The engine of that name or alias (in any case), or in the file at that path.

    UnknownName names the nearest engines; InputError lists every fault of a file.

    >>> engine("vLLM").policy.block_size
    16
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return load(Engine, name_or_path)
    name = _index().get(name_or_path.strip().lower())
    if name is None:
        raise UnknownName("engine", name_or_path, names())
    return _load(name)


def engines() -> tuple[Engine, ...]:
    """Every engine of the catalogue."""
    return tuple(_load(name) for name in names())


@cache
def _load(name: str) -> Engine:
    return load(Engine, FOLDER / f"{name}.toml")


@cache
def _index() -> dict[str, str]:
    aliases = {a.lower(): e.name for e in engines() for a in (e.title, *e.aliases)}
    return aliases | {name: name for name in names()}
