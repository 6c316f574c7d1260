"""Objects of a JSON file, read key by key.  Everything wrong is collected, with file and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from maquette.errors import Fault, nearest


class Keys:
    """One object of a file.  A value that is missing or wrong adds a fault and reads as None."""

    def __init__(self, data: Any, file: str, faults: list[Fault], path: str = "") -> None:
        self.file, self.faults, self.path = file, faults, path
        self.data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if not isinstance(data, Mapping):
            self.wrong("", f"is {_shown(data)}", "an object")

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def at(self, name: str) -> str:
        """Where a key is: the file and the dotted path."""
        path = ".".join(p for p in (self.path, name) if p)
        return f"{self.file}: {path}" if path else self.file

    def wrong(self, name: str, what: str, expected: str = "", hint: str = "") -> None:
        """Add a fault about a key."""
        self.faults.append(Fault(self.at(name), what, expected, hint))

    def _value(self, name: str, expected: str) -> Any:
        if name not in self.data:
            self.wrong(name, "is missing", expected)
        return self.data.get(name)

    def number(self, name: str, zero: bool = False) -> float | None:
        """A finite number above zero, or of at least zero."""
        expected = "a number of 0 or more" if zero else "a number above 0"
        value = self._value(name, expected)
        if name not in self.data:
            return None
        good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not good or value < 0 or (value == 0 and not zero):
            self.wrong(name, f"is {_shown(value)}", expected)
            return None
        return float(value)

    def maybe(self, name: str, zero: bool = False) -> float | None:
        """As `number`, where the key may be missing or null."""
        return self.number(name, zero) if name in self else None

    def whole(self, name: str) -> int | None:
        """A whole number above zero."""
        value = self.number(name)
        if value is not None and value != int(value):
            self.wrong(name, f"is {value:g}", "a whole number")
            return None
        return None if value is None else int(value)

    def text(self, name: str) -> str | None:
        """A text, None where the key is missing or null."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, str):
            self.wrong(name, f"is {_shown(value)}", "a text")
            return None
        return value

    def under(self, name: str) -> Keys:
        """The object under a key; reads as empty after a fault."""
        value = self._value(name, "an object")
        path = ".".join(p for p in (self.path, name) if p)
        if name not in self.data:
            return Keys({}, self.file, [], path)
        return Keys(value, self.file, self.faults, path)

    def only(self, names: Iterable[str], pattern: str = r"(?!)") -> None:
        """Faults for every key that is neither among `names` nor matches `pattern`."""
        known = sorted(names)
        for key in self.data:
            if key not in known and not re.fullmatch(pattern, key):
                self.wrong(key, "is not a key of this format", hint=nearest(key, known))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]} …"
