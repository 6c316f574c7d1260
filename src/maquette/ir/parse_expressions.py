"""Reading scalar bodies and sizes from text."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from maquette.errors import nearest
from maquette.ir.scalar import OPS, Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.sizes import Number, Size, size
from maquette.ir.text import COMPARISON, INFIX, RESERVED
from maquette.ir.tokens import Cursor

_SYMBOLS = {symbol: (op, strength) for op, (symbol, strength) in INFIX.items()}

Operand = Callable[[Cursor], int]  # reads an operand and says its number


def expression(cursor: Cursor, operand: Operand, level: int = 1) -> Scalar:
    """A scalar body whose operators bind at least as strongly as `level`."""
    left = _primary(cursor, operand)
    compared = False
    while cursor.peek() in _SYMBOLS and cursor.token.kind == "sign":
        op, strength = _SYMBOLS[cursor.peek()]
        if strength < level:
            break
        if strength == COMPARISON and compared:
            cursor.fail("one comparison at a time", "use parentheses")
        compared = compared or strength == COMPARISON
        cursor.next()
        left = Apply(op, (left, expression(cursor, operand, strength + 1)))
    return left


def _primary(cursor: Cursor, operand: Operand) -> Scalar:
    token = cursor.token
    if token.kind in ("handle", "slot"):
        return _read(cursor, operand)
    if token.kind == "number" or token.text in ("-", "inf", "nan", "true", "false"):
        return literal(cursor)
    if cursor.accept("("):
        inner = expression(cursor, operand)
        cursor.take(")")
        return inner
    if cursor.accept("{"):
        amount = extent(cursor)
        cursor.take("}")
        return Extent(amount)
    if token.kind == "name" and cursor.peek(1) == "(":
        return _call(cursor, operand)
    if token.kind == "string" or (token.kind == "name" and token.text not in RESERVED):
        return Index(cursor.name())
    return cursor.fail("an operand, a number, an axis, {a size} or an operation")


def _read(cursor: Cursor, operand: Operand) -> Arg:
    number = operand(cursor)
    if not cursor.accept("["):
        return Arg(number)

    def coordinate(c: Cursor) -> tuple[str, Scalar]:
        axis = c.name()
        c.take("=")
        return axis, expression(c, operand)

    at = tuple(cursor.listed(coordinate))
    cursor.take("]")
    return Arg(number, at)


def _call(cursor: Cursor, operand: Operand) -> Apply:
    op = cursor.peek()
    if op not in OPS:
        cursor.fail("an operation", nearest(op, OPS))
    cursor.next()
    cursor.take("(")
    args = tuple(cursor.listed(lambda c: expression(c, operand)))
    arity = OPS[op][0]
    if len(args) != arity:
        cursor.fail(f"{arity} operand{'s' if arity > 1 else ''} of {op}, not {len(args)}")
    cursor.take(")")
    return Apply(op, args)


def literal(cursor: Cursor) -> Lit:
    """A constant: a number with its sign, inf, nan, true or false."""
    sign = -1 if cursor.accept("-") else 1
    text = cursor.peek()
    if sign > 0 and text in ("true", "false"):
        cursor.next()
        return Lit(text == "true")
    if cursor.token.kind != "number" and text not in ("inf", "nan"):
        cursor.fail("a number")
    cursor.next()
    return Lit(sign * (int(text) if text.isdecimal() else float(text)))


def extent(cursor: Cursor) -> Size:
    """A size: sums of products of numbers and symbols with powers."""
    sign = -1 if cursor.accept("-") else 1
    total = _term(cursor) * sign
    while cursor.peek() in ("+", "-"):
        sign = 1 if cursor.next() == "+" else -1
        total = total + _term(cursor) * sign
    return total


def _term(cursor: Cursor) -> Size:
    total = _factor(cursor)
    while cursor.accept("*"):
        total = total * _factor(cursor)
    return total


def _factor(cursor: Cursor) -> Size:
    if cursor.token.kind == "number":
        return size(_coefficient(cursor))
    if cursor.token.kind != "name":
        cursor.fail("a number or a symbol")
    name = cursor.next()
    while cursor.peek() == "/" and cursor.peek(1)[:1].isalpha():  # "r/g8" is one symbol
        cursor.next()
        name += "/" + cursor.next()
    power = 1
    if cursor.accept("^"):
        sign = -1 if cursor.accept("-") else 1
        power = sign * cursor.integer()
    return Size((((((name, power),)), 1),)) if power else size(1)


def _coefficient(cursor: Cursor) -> Number:
    text = cursor.next()
    if not text.isdecimal():
        return float(text)
    if cursor.accept("/"):
        if cursor.peek() == "0":
            cursor.fail("a number other than 0")
        return Fraction(int(text), cursor.integer())
    return int(text)
