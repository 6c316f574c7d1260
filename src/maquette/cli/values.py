"""What options take: durations, layers of stages, finite numbers, names that are not empty."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import click

from maquette.errors import Fault, InputError
from maquette.units import parse


class Quantity(click.ParamType[float]):
    """A number with a unit, as SI: a duration above zero, or a size of zero or more."""

    def __init__(self, name: str, kind: str, good: Callable[[float], bool], expected: str) -> None:
        self.name, self._kind, self._good, self._expected = name, kind, good, expected

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        where = "/".join(param.opts) if param else ""
        found = parse(str(value), self._kind, where)
        if not self._good(found):
            raise InputError(Fault(where, f"{value!r} is out of range", self._expected))
        return found


class Finite(click.FloatRange):
    """A number in a range; neither ``nan`` nor ``inf``, which compare as they like."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not isfinite(found):
            self.fail(f"{value} is not a finite number", param, ctx)
        return found


class Filled(click.ParamType[str]):
    """A name or a path: anything but nothing."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("is empty", param, ctx)
        return str(value)


class Layers(click.ParamType[tuple[int, ...]]):
    """``20,20,21,19``: layers of each pipeline stage."""

    name = "layers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        hint = "one number for each stage, such as 20,20,20,20"
        fault = Fault("--stages", f"{value!r} is no list of layers", hint)
        return _above_zero(str(value), fault)


class Numbers(click.ParamType[tuple[int, ...]]):
    """``512,2048``: whole numbers above zero, each once."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        where = param.opts[-1] if param else ""
        fault = Fault(where, f"{value!r} is no list of numbers", "such as 512,2048")
        return tuple(dict.fromkeys(_above_zero(str(value), fault)))


def _above_zero(text: str, fault: Fault) -> tuple[int, ...]:
    """Whole numbers above zero between commas; raises InputError with `fault` for anything else."""
    parts = [p.strip() for p in text.split(",")]
    if not all(p.isdigit() and int(p) > 0 for p in parts):
        raise InputError(fault)
    return tuple(map(int, parts))


DURATION = Quantity("duration", "Seconds", lambda x: x > 0, "more than zero")  # 500ms, 1.5s, 2min
SIZE = Quantity("size", "Bytes", lambda x: isfinite(x) and x >= 0, "zero or more")  # 3GB, 512 MiB
LAYERS = Layers()
FILLED = Filled()
POSITIVE = click.IntRange(min=1)
ABOVE_ZERO = Finite(min=0, min_open=True)
