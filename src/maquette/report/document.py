"""Documents: what a command prints with ``--json``.

Plain dictionaries whose keys carry their units.  `dumps` is strict: numbers that JSON has no word
for (infinity, not a number) become null, and so does None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

import numpy as np

Document = dict[str, Any]


def plain(value: Any) -> Any:
    """`value` in JSON's own types.

    >>> plain({"a": (1, float("inf"))})
    {'a': [1, None]}
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a document")


def dumps(document: Mapping[str, Any]) -> str:
    """The text of a document, indented, in the order of its keys."""
    return json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=False)


def stamp(command: str) -> Document:
    """What every document starts with."""
    return {"command": command, "schema": 1, "maquette_version": program_version()}


def program_version() -> str:
    """The installed version of Maquette."""
    try:
        return version("maquette")
    except PackageNotFoundError:
        return "unknown"


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as milliseconds, rounded to the microsecond's thousandth; None stays None."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return round(seconds * 1e3, 6)
