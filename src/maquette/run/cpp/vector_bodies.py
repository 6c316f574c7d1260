"""Scalar bodies as vector expressions: one C++ definition per operation, each distinct one once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import Kind, dtype
from maquette.ir.scalar import LOGIC, TESTS, Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.semantics import OPERATIONS
from maquette.run.cpp.vector_code import Val, Writer, number, truth, whole
from maquette.run.cpp.vector_index import Affine, divided

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_TESTS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_WIDEST: tuple[Kind, ...] = ("bool", "int", "float")
_CALLS = frozenset(
    {"exp", "log", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "sqrt"}
)  # functions of vector_math


@dataclass(frozen=True)
class Point:
    """Where a body is evaluated: what its operands are, and its coordinates."""

    read: Callable[[Arg], Val]
    index: Callable[[str], Affine]


def evaluate(w: Writer, body: Scalar, at: Point) -> Val:
    """`body` at a point (a vector of points where the point lies across lanes)."""
    known: dict[int, Val] = {}

    def visit(e: Scalar) -> Val:
        found = known.get(id(e))
        if found is None:
            found = known[id(e)] = _value(w, e, at, visit)
        return found

    return visit(body)


def _value(w: Writer, e: Scalar, at: Point, visit: Callable[[Scalar], Val]) -> Val:
    match e:
        case Lit(value):
            return _constant(value)
        case Extent(extent):
            exact = extent({})
            return _constant(int(exact) if float(exact).is_integer() else float(exact))
        case Index(axis):
            return whole(at.index(axis))
        case Arg():
            return at.read(e)
        case Apply(op, args):
            return apply(w, op, [visit(a) for a in args])


def _constant(value: float | int | bool) -> Val:
    if isinstance(value, bool):
        return truth(value)
    return whole(Affine((), value)) if isinstance(value, int) else number(value)


def apply(w: Writer, op: str, args: Sequence[Val]) -> Val:
    """One operation; what the ranges of integers decide is decided here."""
    if op in TESTS:
        return _test(w, op, *args)
    if op in LOGIC:
        return _logic(w, op, [w.booleans(a) for a in args])
    if op == "where":
        return _where(w, *args)
    if op.startswith("to_"):
        return w.cast(args[0], dtype(op.removeprefix("to_")).kind)
    widest = max((a.kind for a in args), key=_WIDEST.index)
    if widest != "float" and op in _INTEGERS:
        return _INTEGERS[op](w, *(w.integers(a) for a in args))
    return _floats(w, op, [w.floats(a) for a in args])


def _floats(w: Writer, op: str, args: list[Val]) -> Val:
    if all(a.known is not None for a in args):
        with np.errstate(all="ignore"):
            return number(float(OPERATIONS[op](*(np.float32(a.known or 0.0) for a in args))))
    if op == "mul" and any(a.known == 1.0 for a in args):
        return args[args[0].known == 1.0]
    lanes, level = any(a.lanes for a in args), max(a.level for a in args)
    plain = [a.text for a in args]
    if op in _SIGNS:
        return w.value("float", f"{plain[0]} {_SIGNS[op]} {plain[1]}", lanes, level)
    if op in ("max", "min", "floordiv", "mod"):
        spread = [w.vector(a) for a in args] if lanes else plain
        call = {"max": "vmax", "min": "vmin", "floordiv": "fdiv", "mod": "fmod"}[op]
        return w.value("float", f"{call}({', '.join(spread)})", lanes, level)
    if op == "neg":
        return w.value("float", f"-{plain[0]}", lanes, level)
    if op == "abs":
        return w.value("float", f"vabs({plain[0]})", lanes, level)
    if op == "recip":
        return w.value("float", f"1.0f / {plain[0]}", lanes, level)
    if op == "rsqrt":
        root = _floats(w, "sqrt", args)
        return w.value("float", f"1.0f / {root.text}", lanes, level)
    if op == "pow":
        return _power(w, *args)
    if op not in _CALLS:
        raise NotYet(Fault("", f"generated code cannot compute {op}"))
    w.functions.add(op)
    name = f"v{op}" if lanes else f"{op}1"
    return w.value("float", f"{name}({plain[0]})", lanes, level)


def _power(w: Writer, x: Val, y: Val) -> Val:
    if y.known is not None and y.known in (1.0, 2.0, 3.0, 4.0):
        squared = _floats(w, "mul", [x, x])
        powers = {1.0: x, 2.0: squared}
        if y.known == 3.0:
            return _floats(w, "mul", [squared, x])
        return powers.get(float(y.known)) or _floats(w, "mul", [squared, squared])
    if y.known == 0.5:
        return _floats(w, "sqrt", [x])
    if y.known == -1.0:
        return _floats(w, "recip", [x])
    w.functions.add("pow")
    lanes, level = x.lanes or y.lanes, max(x.level, y.level)
    text = f"vpow({w.vector(x)}, {w.vector(y)})" if lanes else f"pow1({x.text}, {y.text})"
    return w.value("float", text, lanes, level)


def _test(w: Writer, op: str, a: Val, b: Val) -> Val:
    if "float" in (a.kind, b.kind):
        a, b = w.floats(a), w.floats(b)
    else:
        a, b = w.integers(a), w.integers(b)
        decided = _decided(op, a, b)
        if decided is not None:
            return truth(decided)
    lanes, level = a.lanes or b.lanes, max(a.level, b.level)
    left, right = ((w.vector(v) if lanes else w.scalar(v)) for v in (a, b))
    return w.value("bool", f"{left} {_TESTS[op]} {right}", lanes, level)


def _decided(op: str, a: Val, b: Val) -> bool | None:
    """Whether a comparison of integers is the same wherever they are in their ranges."""
    assert a.affine is not None and b.affine is not None
    gap = a.affine - b.affine
    low, high = gap.low, gap.high
    sure = {
        "lt": high < 0, "le": high <= 0, "gt": low > 0, "ge": low >= 0,
        "eq": low == high == 0, "ne": low > 0 or high < 0,
    }  # fmt: skip
    never = {
        "lt": low >= 0, "le": low > 0, "gt": high <= 0, "ge": high < 0,
        "eq": low > 0 or high < 0, "ne": low == high == 0,
    }  # fmt: skip
    return True if sure[op] else False if never[op] else None


def _logic(w: Writer, op: str, args: list[Val]) -> Val:
    if op == "not":
        (a,) = args
        if a.known is not None:
            return truth(not a.known)
        return w.value("bool", f"{'~' if a.lanes else '!'}{a.text}", a.lanes, a.level)
    absorbing = op == "or"
    if any(a.known is absorbing for a in args):
        return truth(absorbing)
    left = [a for a in args if a.known is None]
    if len(left) < 2:
        return left[0] if left else truth(not absorbing)
    lanes, level = any(a.lanes for a in left), max(a.level for a in left)
    sign = {"and": "&", "or": "|"}[op]
    both = (w.vector(v) if lanes else v.text for v in left)
    return w.value("bool", f" {sign} ".join(both), lanes, level)


def _where(w: Writer, test: Val, a: Val, b: Val) -> Val:
    test = w.booleans(test)
    widest = max((a.kind, b.kind), key=_WIDEST.index)
    a, b = w.cast(a, widest), w.cast(b, widest)
    if test.known is not None:
        return a if test.known else b
    if a == b:
        return a
    lanes = test.lanes or a.lanes or b.lanes
    level = max(test.level, a.level, b.level)
    if test.lanes:
        text = f"sel({test.text}, {w.vector(a)}, {w.vector(b)})"
        return w.value(widest, text, True, level)
    left, right = ((w.vector(v) if lanes else w.scalar(v)) for v in (a, b))
    text = f"{test.text} ? {left} : {right}"
    if widest == "int" and not lanes:
        assert a.affine is not None and b.affine is not None
        low, high = min(a.affine.low, b.affine.low), max(a.affine.high, b.affine.high)
        return whole(w.ranged(w.let("long", text, level), level, low, high))
    return w.value(widest, text, lanes, level)


def _sum(w: Writer, a: Val, b: Val) -> Val:
    assert a.affine is not None and b.affine is not None
    return whole(a.affine + b.affine)


def _difference(w: Writer, a: Val, b: Val) -> Val:
    assert a.affine is not None and b.affine is not None
    return whole(a.affine - b.affine)


def _product(w: Writer, a: Val, b: Val) -> Val:
    assert a.affine is not None and b.affine is not None
    if not b.affine.terms:
        return whole(a.affine * b.affine.const)
    if not a.affine.terms:
        return whole(b.affine * a.affine.const)
    return _opaque(w, "{} * {}", a, b)


def _opaque(w: Writer, form: str, *args: Val) -> Val:
    """An integer about which nothing is known but the code that computes it."""
    lanes, level = any(a.lanes for a in args), max(a.level for a in args)
    return w.value(
        "int", form.format(*((w.vector if lanes else w.scalar)(a) for a in args)), lanes, level
    )


def _larger(w: Writer, a: Val, b: Val) -> Val:
    decided = _decided("ge", a, b)
    return _opaque(w, "vmax({}, {})", a, b) if decided is None else (a if decided else b)


def _smaller(w: Writer, a: Val, b: Val) -> Val:
    decided = _decided("le", a, b)
    return _opaque(w, "vmin({}, {})", a, b) if decided is None else (a if decided else b)


def _absolute(w: Writer, a: Val) -> Val:
    assert a.affine is not None
    if a.affine.low >= 0 or a.affine.high <= 0:
        return whole(a.affine * (1 if a.affine.low >= 0 else -1))
    return _opaque(w, "vabs({})", a)


def _quotient(w: Writer, a: Val, b: Val) -> Val:
    return _division(w, a, b, 0)


def _remainder(w: Writer, a: Val, b: Val) -> Val:
    return _division(w, a, b, 1)


def _division(w: Writer, a: Val, b: Val, item: int) -> Val:
    assert a.affine is not None and b.affine is not None
    if not b.affine.terms and b.affine.const > 0:
        found = divided(a.affine, b.affine.const, w.define)
        if found is not None:
            return whole(found[item])
    return _opaque(w, ("fdiv({}, {})", "fmod({}, {})")[item], a, b)


_INTEGERS: dict[str, Callable[..., Val]] = {
    "add": _sum,
    "sub": _difference,
    "mul": _product,
    "max": _larger,
    "min": _smaller,
    "abs": _absolute,
    "neg": lambda w, a: whole(a.affine * -1),
    "floordiv": _quotient,
    "mod": _remainder,
}
