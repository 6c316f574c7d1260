"""Strict reading of a configuration: every fault is kept, none stops the reading of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maquette.errors import Fault, InputError, nearest


class Keys:
    """The keys of a (part of a) configuration; `done` raises all faults found so far.

    A key that is absent or null takes its default; one without a default is required.
    """

    def __init__(self, data: Mapping[str, Any], where: str, faults: list[Fault] | None = None):
        self.data = data
        self.where = where
        self.faults: list[Fault] = [] if faults is None else faults

    def fault(self, key: str, what: str, expected: str = "", hint: str = "") -> None:
        where = f"{self.where}: {key}" if key else self.where
        fault = Fault(where, what, expected, hint)
        if fault not in self.faults:
            self.faults.append(fault)

    def has(self, key: str) -> bool:
        return self.data.get(key) is not None

    def count(self, key: str, default: int | None = None, least: int = 1, most: int = 10**9) -> int:
        """An integer from `least` to `most`."""
        expected = f"an integer from {least} to {most}"
        value = self._get(key, default, expected)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            if value is not _ABSENT:
                self.fault(key, f"{value!r} is not a count", expected)
            return max(1, least)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number greater than zero."""
        value = self._get(key, default, "a positive number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            if value is not _ABSENT:
                self.fault(key, f"{value!r} is not a positive number")
            return 1.0
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._get(key, default, "true or false")
        if not isinstance(value, bool):
            self.fault(key, f"{value!r} is neither true nor false")
            return default
        return value

    def choice(self, key: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """One of the names in `choices`, as what that name stands for."""
        value = self._get(key, default, f"one of {', '.join(choices)}")
        if isinstance(value, str) and value in choices:
            return choices[value]
        if value is not _ABSENT:
            hint = nearest(str(value), choices)
            self.fault(key, f"{value!r} is not supported", f"one of {', '.join(choices)}", hint)
        return next(iter(choices.values()))

    def items(self, key: str) -> list[Any]:
        """A list; empty when the key is absent."""
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self.fault(key, f"{value!r} is not a list")
            return []
        return list(value)

    def table(self, key: str) -> Keys:
        """A nested table, sharing this one's faults; empty when the key is absent."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.fault(key, f"{value!r} is not an object")
            value = None
        return Keys(value or {}, f"{self.where}: {key}", self.faults)

    def divides(self, part: str, whole: str, part_of: int, whole_of: int) -> None:
        """`whole` must be a multiple of `part`."""
        if whole_of % part_of:
            self.fault(part, f"{part_of} does not divide {whole} = {whole_of}")

    def done(self) -> None:
        if self.faults:
            raise InputError(*self.faults)

    def _get(self, key: str, default: Any, expected: str) -> Any:
        value = self.data.get(key)
        if value is not None:
            return value
        if default is None:
            self.fault(key, "is missing", expected)
            return _ABSENT
        return default


_ABSENT = object()
