"""Traffic presets: descriptions of traffic fitted to public traces, and the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from maquette.catalogue.loader import load
from maquette.errors import Fault, InputError, UnknownName
from maquette.traffic.spec import Preset

_FOLDER = Path(__file__).parent / "traffic"


def presets() -> tuple[str, ...]:
    """The names of the built-in presets."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def preset(name: str) -> Preset:
    """The preset of this name, or in the file of this path (``….toml``).

    Raises UnknownName with the nearest names, or InputError with every fault of the file.

    >>> preset("chat").traffic.rate
    5.53
    """
    if name.endswith(".toml"):
        return load(Preset, name)
    if name not in presets():
        raise UnknownName("traffic", name, presets())
    return load(Preset, _FOLDER / f"{name}.toml")


def save(preset: Preset, path: str | Path) -> None:
    """Write a preset as a file that `preset` reads back equal.  Raises InputError."""
    try:
        Path(path).write_text(to_toml(preset), encoding="utf-8")
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be written: {error.strerror}")) from None


def to_toml(preset: Preset) -> str:
    """The text of a preset's file."""
    return "\n".join(_table("", preset)).strip() + "\n"


def _table(path: str, value: Any) -> list[str]:
    """The lines of a table: its plain keys, then its sub-tables."""
    if is_dataclass(value):
        default = {f.name: f.default for f in fields(value)}
        items = {k: getattr(value, k) for k in default if getattr(value, k) != default[k]}
    else:
        items = value
    plain = {k: v for k, v in items.items() if not is_dataclass(v) and not isinstance(v, Mapping)}
    lines = ["", f"[{path}]"] if path and plain else []
    lines += [f"{key} = {_value(key, item)}" for key, item in plain.items()]
    for key, item in items.items():
        if key not in plain:
            lines += _table(f"{path}.{key}" if path else key, item)
    return lines


def _value(key: str, value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_value("", item) for item in value) + "]"
    if is_dataclass(value):
        inside = (f"{f.name} = {_value(f.name, getattr(value, f.name))}" for f in fields(value))
        return "{ " + ", ".join(inside) + " }"
    if key == "rate":
        return f'"{value!r} req/s"'
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
