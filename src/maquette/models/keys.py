"""Strict reading of a configuration: every fault is kept, none stops the reading of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from maquette.errors import Fault, InputError, nearest


class Keys:
    """The keys of a (part of a) configuration; `done` raises all faults found so far.

    A key that is absent or null takes its default; one without a default is required.
    """

    def __init__(self, data: Mapping[str, Any], where: str, beside: Keys | None = None):
        self.data = data
        self.where = where
        self.faults: list[Fault] = [] if beside is None else beside.faults
        # Names of keys that could not be read: something stands in for their values.
        self.unread: set[str] = set() if beside is None else beside.unread

    def fault(self, key: str, what: str, expected: str = "", hint: str = "") -> None:
        where = f"{self.where}: {key}" if key else self.where
        fault = Fault(where, what, expected, hint)
        if fault not in self.faults:
            self.faults.append(fault)

    def contradiction(
        self, key: str, what: str, expected: str = "", of: Iterable[str] = ()
    ) -> None:
        """A fault of values that were read: none where `key`, or one it is judged by, was not."""
        if self.unread.isdisjoint((key, *of)):
            self.fault(key, what, expected)

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
                self._refuse(key, f"{value!r} is not a count", expected)
            return max(1, least)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number greater than zero."""
        value = self._get(key, default, "a positive number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            if value is not _ABSENT:
                self._refuse(key, f"{value!r} is not a positive number")
            return 1.0
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._get(key, default, "true or false")
        if not isinstance(value, bool):
            self._refuse(key, f"{value!r} is neither true nor false")
            return default
        return value

    def choice(self, key: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """One of the names in `choices`, as what that name stands for."""
        value = self._get(key, default, f"one of {', '.join(choices)}")
        if isinstance(value, str) and value in choices:
            return choices[value]
        if value is not _ABSENT:
            hint = nearest(str(value), choices)
            self._refuse(key, f"{value!r} is not supported", f"one of {', '.join(choices)}", hint)
        return next(iter(choices.values()))

    def items(self, key: str) -> list[Any]:
        """A list; empty when the key is absent."""
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self._refuse(key, f"{value!r} is not a list")
            return []
        return list(value)

    def table(self, key: str) -> Keys:
        """A nested table, sharing this one's faults; empty when the key is absent."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, Mapping):
            self._refuse(key, f"{value!r} is not an object")
            value = None
        return Keys(value or {}, f"{self.where}: {key}", self)

    def divides(
        self, part: str, whole: str, part_of: int, whole_of: int, of: Iterable[str] = ()
    ) -> None:
        """`whole`, which may come `of` other keys, must be a multiple of `part`."""
        if whole_of % part_of:
            what = f"{part_of} does not divide {whole} = {whole_of}"
            self.contradiction(part, what, of=(whole, *of))

    def done(self) -> None:
        if self.faults:
            raise InputError(*self.faults)

    def _refuse(self, key: str, what: str, expected: str = "", hint: str = "") -> None:
        self.unread.add(key)
        self.fault(key, what, expected, hint)

    def _get(self, key: str, default: Any, expected: str) -> Any:
        value = self.data.get(key)
        if value is not None:
            return value
        if default is None:
            self._refuse(key, "is missing", expected)
            return _ABSENT
        return default


_ABSENT = object()
