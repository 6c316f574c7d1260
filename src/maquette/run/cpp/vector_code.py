"""Writing C++ by scopes: every value once, in the outermost scope where all it needs is known.

A value that is asked for twice is computed once, and one that does not change in a loop is
computed before it: texts are keys, scopes are the places.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from maquette.ir.dtypes import Kind
from maquette.run.cpp.vector_index import Affine, Atom

TYPES = {  # C types by kind: of a scalar, of a vector
    "float": ("float", "V"),
    "int": ("long", "VI"),
    "bool": ("bool", "VI"),
}


@dataclass(frozen=True)
class Val:
    """A value in generated code: a scalar, or one per lane.  Integers are sums (`affine`)."""

    kind: Kind
    text: str = ""
    lanes: bool = False
    level: int = 0
    affine: Affine | None = None
    known: float | bool | None = None  # where it is a constant


def number(value: float) -> Val:
    """A constant float."""
    return Val("float", literal(value), known=float(value))


def truth(value: bool) -> Val:
    """A constant bool."""
    return Val("bool", str(value).lower(), known=value)


def whole(value: Affine) -> Val:
    """An integer."""
    return Val("int", "", value.lanes, value.level, value)


def literal(value: float) -> str:
    """A float in C.

    >>> literal(0.5), literal(float("-inf"))
    ('0.5f', '-__builtin_inff()')
    """
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    if np.isnan(rounded):
        return '__builtin_nanf("")'
    if np.isinf(rounded):
        return f"{'-' if rounded < 0 else ''}__builtin_inff()"
    text = f"{rounded:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


@dataclass
class Scope:
    """Lines of one block, and the values defined in it."""

    lines: list[str] = field(default_factory=list)
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    opening: tuple[str, ...] = ()


class Writer:
    """Open scopes, innermost last."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.scopes = [Scope()]
        self.functions: set[str] = set()
        self._names = 0

    @property
    def level(self) -> int:
        return len(self.scopes) - 1

    def name(self, stem: str) -> str:
        """A name that nothing else bears."""
        self._names += 1
        return f"{stem}{self._names}"

    def line(self, text: str) -> None:
        """A statement in the innermost scope."""
        self.scopes[-1].lines.append(text)

    def let(self, kind: str, text: str, level: int) -> str:
        """The constant of C type `kind` that holds `text`, defined once at `level`."""
        for scope in self.scopes[: level + 1]:
            if (kind, text) in scope.known:
                return scope.known[kind, text]
        name = self.name({"V": "v", "VI": "m", "float": "f", "long": "i"}.get(kind, "b"))
        scope = self.scopes[level]
        scope.lines.append(f"const {kind} {name} = {text};")
        scope.known[kind, text] = name
        return name

    def open(self, *opening: str) -> None:
        """Enter a block: `opening` are the lines before its brace."""
        self.scopes.append(Scope(opening=opening))

    def close(self) -> None:
        """Leave the innermost block."""
        scope = self.scopes.pop()
        lines = [*scope.opening, "{", *(f"  {line}" for line in scope.lines), "}"]
        self.scopes[-1].lines += lines

    # values

    def value(self, kind: Kind, text: str, lanes: bool, level: int) -> Val:
        """A value computed by `text`."""
        name = self.let(TYPES[kind][lanes], text, level)
        if kind == "int":
            return whole(self.atom(name, level, lanes))
        return Val(kind, name, lanes, level)

    def atom(self, name: str, level: int, lanes: bool) -> Affine:
        """An integer variable of which nothing is known."""
        limit = 1 << 31
        return Affine(((Atom(name, level, -limit, limit - 1, 1, lanes), 1),))

    def ranged(self, name: str, level: int, low: int, high: int) -> Affine:
        """An integer variable that is the same in every lane and in a range."""
        return Affine(((Atom(name, level, low, high), 1),))

    def define(self, text: str, of: Affine, low: int, high: int) -> Affine:
        """An integer that is the same in every lane, with its range."""
        return self.ranged(self.let("long", text, of.level), of.level, low, high)

    def scalar(self, value: Val) -> str:
        """C for a value that is the same in every lane."""
        return value.affine.text if value.affine is not None else value.text

    def vector(self, value: Val) -> str:
        """C for a value in every lane."""
        if value.affine is not None:
            return self._integers(value.affine)
        if value.lanes:
            return value.text
        if value.kind == "bool":
            return self.let("VI", f"splatm({value.text})", value.level)
        return self.let("V", f"splat({value.text})", value.level)

    def _integers(self, value: Affine) -> str:
        base = value.uniform
        parts = []
        if base.terms or base.const or not value.lanes:
            parts.append(self.let("VI", f"splati((int){base.text})", base.level))
        for atom, c in value.terms:
            if atom.lanes:
                name = self.let("VI", "lane()", 0) if atom.is_lane else atom.text
                parts.append(name if c == 1 else f"{c} * {name}")
        if len(parts) == 1:
            return parts[0]
        return self.let("VI", " + ".join(parts), value.level)

    def fresh(self, value: Val) -> Val:
        """A value that may change later, as it is now."""
        name = self.name("o")
        self.line(f"const {TYPES[value.kind][value.lanes]} {name} = {self.plain(value)};")
        if value.kind == "int":
            return whole(self.atom(name, self.level, value.lanes))
        return Val(value.kind, name, value.lanes, self.level)

    def plain(self, value: Val) -> str:
        """C for a value as it is: a vector or a scalar."""
        return self.vector(value) if value.lanes else self.scalar(value)

    # conversions

    def floats(self, value: Val) -> Val:
        """A value as floats: integers rounded, booleans as 0 and 1."""
        if value.kind == "float":
            return value
        if value.known is not None:
            return number(float(value.known))
        if value.affine is not None and not value.affine.terms:
            return number(float(value.affine.const))
        if value.lanes:
            bits = self.vector(value) + (" & 1" if value.kind == "bool" else "")
            return self.value("float", f"tofloat({bits})", True, value.level)
        return self.value("float", f"(float){self.scalar(value)}", False, value.level)

    def integers(self, value: Val) -> Val:
        """A value as integers: floats truncated, booleans as 0 and 1."""
        if value.kind == "int":
            return value
        if value.known is not None and np.isfinite(value.known):
            return whole(Affine((), int(value.known)))
        if value.lanes:
            text = f"{value.text} & 1" if value.kind == "bool" else f"toint({value.text})"
        else:
            text = f"(long){value.text}"
        return self.value("int", text, value.lanes, value.level)

    def booleans(self, value: Val) -> Val:
        """A value as booleans: whether it is not zero."""
        if value.kind == "bool":
            return value
        if value.known is not None:
            return truth(bool(value.known))
        if value.affine is not None and not value.affine.terms:
            return truth(value.affine.const != 0)
        zero = "0" if value.kind == "int" else "0.0f"
        text = self.vector(value) if value.lanes else self.scalar(value)
        return self.value("bool", f"{text} != {zero}", value.lanes, value.level)

    def cast(self, value: Val, kind: Kind) -> Val:
        """A value as one of `kind`."""
        found = {"float": self.floats, "int": self.integers, "bool": self.booleans}
        return found[kind](value)
