"""Scalar bodies as C++ statements, over one point or over a vector of neighbours.

Every subexpression becomes a constant of its own, once.  Values have one of the types f, i, b
(float, int, bool), or that of a vector of them: vf, vi, vb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from maquette.errors import Fault, NotYet
from maquette.ir.scalar import LOGIC, TESTS, Apply, Arg, Extent, Index, Lit, Scalar
from maquette.run.cpp.vector import prelude

Typed = tuple[str, str]  # text, type

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip
_CALLS = {"max": "vmax", "min": "vmin", "abs": "vabs", "floordiv": "fdiv", "mod": "fmod"}
_ELEMENTARY = {"exp", "log", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "sqrt", "pow"}
_WHOLE = {"add", "sub", "mul", "max", "min", "abs", "neg", "floordiv", "mod"}
_C = {"f": "float", "i": "long", "b": "bool", "vf": "V", "vi": "VI", "vb": "VI"}


@dataclass
class Statements:
    """The statements that compute some bodies.  `read` and `index` give what they start from."""

    read: Callable[[Arg], Typed]
    index: Callable[[str], Typed]
    lines: list[str] = field(default_factory=list)
    known: dict[Scalar, Typed] = field(default_factory=dict)

    def number(self, body: Scalar, *, vector: bool) -> str:
        """`body` as a float, or as a vector of floats."""
        return converted(self.value(body), "vf" if vector else "f")

    def value(self, body: Scalar) -> Typed:
        """The name and type of `body`."""
        if body not in self.known:
            self.known[body] = self._made(body)
        return self.known[body]

    def _made(self, body: Scalar) -> Typed:
        match body:
            case Lit(value):
                return literal(value)
            case Extent(size) if size.constant is not None:
                whole = float(size.constant).is_integer()
                return literal(int(size.constant) if whole else float(size.constant))
            case Index(axis):
                return self.index(axis)
            case Arg():
                return self._named(self.read(body))
            case Apply("floordiv" | "mod" as op, (held, Lit(int(n)))) if n > 0 and not n & (n - 1):
                text, kind = self.value(held)
                if kind[-1] == "i":
                    done = f">> {n.bit_length() - 1}" if op == "floordiv" else f"& {n - 1}"
                    return self._named((f"({text} {done})", kind))
                return self._named(applied(op, [(text, kind), literal(n)]))
            case Apply(op, args):
                return self._named(applied(op, [self.value(a) for a in args]))
        raise TypeError(f"no text for {body}")

    def _named(self, value: Typed) -> Typed:
        text, kind = value
        name = f"e{len(self.known)}_{len(self.lines)}"
        self.lines.append(f"const {_C[kind]} {name} = {text};")
        return name, kind


def functions(*bodies: Scalar) -> list[str]:
    """The elementary functions that some bodies call, for `vector.prelude`."""
    found: dict[str, None] = {}
    stack = list(bodies)
    while stack:
        body = stack.pop()
        if isinstance(body, Apply):
            stack.extend(body.args)
            if body.op in _ELEMENTARY or body.op == "rsqrt":
                found["sqrt" if body.op == "rsqrt" else body.op] = None
    return sorted(found)


def opening(lanes: int, *bodies: Scalar) -> str:
    """The definitions that code for some bodies begins with."""
    return prelude(lanes, functions(*bodies))


def literal(value: float | int | bool) -> Typed:
    """A constant and its type.

    >>> literal(0.5), literal(True)
    (('0.5f', 'f'), ('true', 'b'))
    """
    if isinstance(value, bool):
        return str(value).lower(), "b"
    if isinstance(value, int):
        return f"{value}L", "i"
    if value != value:
        return '__builtin_nanf("")', "f"
    if value in (float("inf"), float("-inf")):
        return ("-" if value < 0 else "") + "__builtin_inff()", "f"
    return f"{value!r}f", "f"


def converted(value: Typed, wanted: str) -> str:
    """The text of a value as another type; scalars are repeated to become vectors."""
    text, kind = value
    if kind == wanted:
        return text
    if kind.startswith("v"):
        if not wanted.startswith("v"):
            raise NotYet(Fault("generated code", f"a {kind} where one {wanted} is needed"))
        held = f"({text} & 1)" if kind == "vb" else text
        if wanted == "vf":
            return f"tofloat({held})"
        if wanted == "vb":
            return f"VI({text} != 0)"
        return f"toint({text})" if kind == "vf" else held
    if wanted.startswith("v"):
        call = {"vf": "splat((float)", "vi": "splati((int)", "vb": "splatm((bool)"}[wanted]
        return f"{call}({text}))"
    return f"({_C[wanted]})({text})"


def applied(op: str, args: list[Typed]) -> Typed:
    """An operation on values."""
    kinds = [k for _, k in args]
    v = "v" if any(k.startswith("v") for k in kinds) else ""
    if op in LOGIC:
        texts = [converted(a, v + "b") for a in args]
        if op == "not":
            return (f"~{texts[0]}" if v else f"!{texts[0]}"), v + "b"
        sign = {"and": "&", "or": "|"}[op]
        return f"({texts[0]} {sign} {texts[1]})", v + "b"
    if op == "where":
        return _where(args)
    if op.startswith("to_"):
        kind = v + ("i" if op == "to_i32" else "f")
        return converted(args[0], kind), kind
    plain = {k[-1] for k in kinds}
    exact = op in _WHOLE or op in TESTS
    kind = v + ("f" if "f" in plain or not exact else "i")
    texts = [converted(a, kind) for a in args]
    if op in TESTS:
        text = f"({texts[0]} {_INFIX[op]} {texts[1]})"
        return (f"VI{text}" if v else text), v + "b"
    if op in _INFIX:
        return f"{texts[0]} {_INFIX[op]} {texts[1]}", kind
    return _called(op, texts, v), kind


def _where(args: list[Typed]) -> Typed:
    kinds = [k for _, k in args]
    v = "v" if any(k.startswith("v") for k in kinds) else ""
    plain = {k[-1] for k in kinds[1:]}
    kind = v + ("f" if "f" in plain else "i" if "i" in plain else "b")
    one, two = (converted(a, kind) for a in args[1:])
    test = converted(args[0], v + "b")
    return (f"sel({test}, {one}, {two})" if v else f"({test} ? {one} : {two})"), kind


def _called(op: str, texts: list[str], v: str) -> str:
    joined = ", ".join(texts)
    one = "splat(1.f)" if v else "1.f"
    if op == "neg":
        return f"-{joined}"
    if op == "recip":
        return f"{one} / {joined}"
    if op == "rsqrt":
        return f"{one} / {'vsqrt' if v else 'sqrt1'}({joined})"
    if op in _ELEMENTARY:
        return f"v{op}({joined})" if v else f"{op}1({joined})"
    if op in _CALLS:
        return f"{_CALLS[op]}({joined})"
    raise NotYet(Fault("generated code", f"no text for {op!r}"))


BOOLEANS: Mapping[str, str] = {"bool": "b", "f32": "f", "bf16": "f", "f16": "f"}


def stored_type(format_: str) -> str:
    """The type that elements of a format are computed in."""
    return BOOLEANS.get(format_, "i")
