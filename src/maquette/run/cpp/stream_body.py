"""Scalar bodies as C++ statements over vectors of rows, each computed at the level it varies at.

Three levels: what is the same for a block of rows; what varies by row; what varies along the
stream (or along the inner axis of a result) as well.  Equal subexpressions are computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log

from maquette.compiler.tile import bodies
from maquette.errors import Fault, NotYet
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar

Type = str  # of float, int, bool: "f", "i", "b"; of a vector of them "vf", "vi", "vb"
Read = Callable[[Arg], tuple[str, Type]]

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip
_CALLS = {
    "max": "vmax", "min": "vmin", "abs": "vabs", "exp": "vexp", "tanh": "vtanh", "log": "vlog",
    "sigmoid": "vsigmoid", "sqrt": "vsqrt", "sin": "vsin", "cos": "vcos", "erf": "verf",
    "softplus": "vsoftplus", "pow": "vpow",
}  # fmt: skip
_C = {"vf": "V", "vi": "VI", "vb": "VI", "f": "float", "i": "int", "b": "int"}


def literal(value: float | int | bool) -> tuple[str, Type]:
    """A constant as C++ text and its type."""
    if isinstance(value, bool):
        return ("1" if value else "0"), "b"
    if isinstance(value, int):
        return str(value), "i"
    if value != value:
        return '__builtin_nanf("")', "f"
    if value in (float("inf"), float("-inf")):
        return ("-" if value < 0 else "") + "__builtin_inff()", "f"
    return f"{float(value)!r}f", "f"


@dataclass
class Statements:
    """Statements by level, and what they have computed."""

    read: Read
    index: Callable[[str], tuple[str, Type, int]]  # of an axis: text, type, level
    level_of: Callable[[Arg], int]
    prefix: str = "e"
    lines: tuple[list[str], list[str], list[str]] = field(default_factory=lambda: ([], [], []))
    known: dict[Scalar, tuple[str, Type, int]] = field(default_factory=dict)
    count: int = 0
    weights: frozenset[Scalar] = frozenset()  # exponentials of what is surely at most 0

    def value(self, body: Scalar) -> tuple[str, Type, int]:
        """The text, the type and the level of `body`, emitting what it takes."""
        if body not in self.known:
            self.known[body] = self._made(body)
        return self.known[body]

    def vector(self, body: Scalar) -> str:
        """`body` as a vector of floats."""
        text, kind, _ = self.value(body)
        return _converted(text, kind, "vf")

    def named(self, text: str, kind: Type, level: int) -> str:
        """A variable of its own for `text`."""
        self.count += 1
        name = f"{self.prefix}{self.count}"
        self.lines[level].append(f"{_C[kind]} {name} = {text};")
        return name

    def _made(self, body: Scalar) -> tuple[str, Type, int]:
        match body:
            case Lit(value):
                return *literal(value), 0
            case Extent(size) if size.constant is not None:
                whole = float(size.constant).is_integer()
                return *literal(int(size.constant) if whole else float(size.constant)), 0
            case Index(axis):
                return self.index(axis)
            case Arg():
                level = self.level_of(body)
                text, kind = self.read(body)
                return self.named(text, kind, level), kind, level
            case Apply("exp", (inner,)) if body in self.weights:
                return self._weight(inner)
            case Apply(op, args):
                found = [self.value(a) for a in args]
                level = max((f[2] for f in found), default=0)
                text, kind = _applied(op, [(t, k) for t, k, _ in found])
                return self.named(text, kind, level), kind, level
        raise TypeError(f"no text for {body}")

    def _weight(self, fall: Scalar) -> tuple[str, Type, int]:
        """The exponential of `fall`, which is at most 0, as a power of two."""
        found = bodies.difference(fall)
        assert found is not None  # else it is no weight
        step = Apply("sub", found[:2])
        level, power = self.value(step)[2], f"{found[2] / log(2)!r}f"
        text = f"weight({self.vector(step)} * {power})"
        return self.named(text, "vf", level), "vf", level


def _converted(text: str, kind: Type, wanted: Type) -> str:
    if kind == wanted:
        return text
    match kind, wanted:
        case ("f", "vf"):
            return f"splat({text})"
        case (("i" | "b"), "vf"):
            return f"splat((float){text})"
        case ("vi", "vf"):
            return f"tofloat({text})"
        case ("vb", "vf"):
            return f"tofloat(-{text})"
        case ("i", "vi"):
            return f"splati({text})"
        case ("b", "vb"):
            return f"splati(-{text})"
        case ("b", "vi") | ("vb", "vi"):
            return f"splati({text})" if kind == "b" else f"(-{text})"
        case (("i" | "b"), "f"):
            return f"(float){text}"
        case ("b", "i"):
            return text
    if wanted == "b":
        return f"({text} != 0)"
    if wanted == "vb":
        return f"({_converted(text, kind, 'vf' if 'f' in kind else 'vi')} != 0)"
    raise NotYet(Fault("generated code", f"no conversion from {kind} to {wanted}"))


def _joined(kinds: list[Type], floats: bool = False) -> Type:
    """The type that values of several types have together."""
    vector = any(k.startswith("v") for k in kinds)
    plain = {k[-1] for k in kinds} | ({"f"} if floats else set())
    return ("v" if vector else "") + ("f" if "f" in plain else "i" if "i" in plain else "b")


def _applied(op: str, args: list[tuple[str, Type]]) -> tuple[str, Type]:
    kinds = [k for _, k in args]
    if op in ("and", "or", "not"):
        return _logical(op, args)
    if op == "where":
        return _where(args)
    if op.startswith("to_"):
        return _to(op, *args[0])
    if op in ("floordiv", "mod"):
        return _divided(op, args)
    real = op not in ("add", "sub", "mul", "max", "min", "abs", "neg", *_TESTS)
    kind = _joined(kinds, real)
    if kind[-1] == "b":
        kind = kind.replace("b", "i")
    texts = [_converted(t, k, kind) for t, k in args]
    if op in _TESTS:
        return f"({texts[0]} {_INFIX[op]} {texts[1]})", kind[:-1] + "b"
    if op in _INFIX:
        return f"({texts[0]} {_INFIX[op]} {texts[1]})", kind
    return _called(op, texts, kind), kind


_TESTS = ("lt", "le", "gt", "ge", "eq", "ne")


def _called(op: str, texts: list[str], kind: Type) -> str:
    if op == "neg":
        return f"(-{texts[0]})"
    if op == "recip":
        return f"(1.f / {texts[0]})"
    if op in ("max", "min", "abs") and kind[-1] == "i":
        a, b = texts[0], texts[-1]
        if op == "abs":
            return f"({a} < 0 ? -{a} : {a})"
        return f"({a} {'>' if op == 'max' else '<'} {b} ? {a} : {b})"
    if op == "rsqrt":
        return f"(1.f / {_called('sqrt', texts, kind)})"
    if op not in _CALLS:
        raise NotYet(Fault("generated code", f"no vector form of {op!r}"))
    if kind == "f":  # one value for all rows: lane 0 of the vector form
        return f"{_CALLS[op]}({', '.join(f'splat({t})' for t in texts)})[0]"
    return f"{_CALLS[op]}({', '.join(texts)})"


def _logical(op: str, args: list[tuple[str, Type]]) -> tuple[str, Type]:
    kind = _joined([k for _, k in args])[:-1] + "b"
    texts = [_converted(t, k, kind) for t, k in args]
    if op == "not":
        return (f"(~{texts[0]})" if kind == "vb" else f"(!{texts[0]})"), kind
    return f"({texts[0]} {'&' if op == 'and' else '|'} {texts[1]})", kind


def _where(args: list[tuple[str, Type]]) -> tuple[str, Type]:
    (c, ck), *rest = args
    kind = _joined([k for _, k in rest])
    if ck.startswith("v") and not kind.startswith("v"):
        kind = "v" + kind
    a, b = (_converted(t, k, kind) for t, k in rest)
    test = _converted(c, ck, "vb" if ck.startswith("v") else "b")
    return f"({test} ? {a} : {b})", kind


def _to(op: str, text: str, kind: Type) -> tuple[str, Type]:
    vector = "v" if kind.startswith("v") else ""
    if op == "to_f32":
        return _converted(text, kind, vector + "f"), vector + "f"
    if op == "to_i32":
        if kind[-1] == "f":
            return (f"toint({text})" if vector else f"(int){text}"), vector + "i"
        return _converted(text, kind, vector + "i"), vector + "i"
    if op == "to_bf16":
        wide = f"rounded({_converted(text, kind, 'vf')})"
        return (wide if vector else wide + "[0]"), vector + "f"
    raise NotYet(Fault("generated code", f"no vector form of {op!r}"))


def _divided(op: str, args: list[tuple[str, Type]]) -> tuple[str, Type]:
    kind = _joined([k for _, k in args])
    if kind[-1] == "f":
        raise NotYet(Fault("generated code", f"{op!r} of fractions"))
    kind = kind.replace("b", "i")
    a, b = (_converted(t, k, kind) for t, k in args)
    if op == "mod":
        return f"((({a}) % ({b}) + ({b})) % ({b}))", kind
    quotient = f"({a} / {b})"
    if kind == "vi":
        return f"({quotient} + ((({a} % {b}) != 0) & (({a} ^ {b}) < 0)))", kind
    return f"({quotient} - (({a} % {b}) != 0 && ({a} ^ {b}) < 0))", kind


def combined(op: Monoid, left: str, right: str) -> str:
    """Two vectors of numbers combined."""
    body = op.combine[0]
    assert isinstance(body, Apply)
    return _applied(body.op, [(left, "vf"), (right, "vf")])[0]
