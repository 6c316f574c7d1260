"""Reading the printed form back; every fault with its line, its column and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from maquette.errors import Fault, InputError, nearest
from maquette.ir.axes import Axis
from maquette.ir.dtypes import DTYPES
from maquette.ir.graph import Graph, Program
from maquette.ir.monoids import MONOIDS, Monoid, Part, Streamed, streamed
from maquette.ir.parse_expressions import expression, extent, literal
from maquette.ir.patterns import (
    FlatMap,
    GroupBy,
    Input,
    Map,
    Reduce,
    Role,
    Scan,
    Value,
    View,
    make,
)
from maquette.ir.sizes import Size, size, sym
from maquette.ir.tokens import Cursor, Failure, lines

ROLES = get_args(Role)


@dataclass
class _Scope:
    """What the lines of one graph have defined so far."""

    name: str
    part: str
    values: dict[str, Value] = field(default_factory=dict)
    monoids: dict[str, Monoid] = field(default_factory=lambda: dict(MONOIDS))
    broken: set[str] = field(default_factory=set)  # values whose line has a fault of its own
    outputs: dict[str, Value] | None = None


@dataclass
class _Header:
    """The lines of a program before its graphs."""

    name: str
    order: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()
    windows: dict[str, int] = field(default_factory=dict)
    experts: tuple[int, int] | None = None


class _Silent(Exception):
    """A line that uses a value whose own line has a fault: nothing new to say."""


def parse(text: str) -> Graph:
    """The graph that `text` is the printed form of.

    Raises InputError with every fault, by line and column.

    >>> g = parse("graph twice\\n %x: f32[n] = activation\\n %0: f32[n] = %x + %x\\n return y=%0")
    >>> str(g.outputs["y"].axes[0])
    'n=n'
    """
    header, scopes = _read(text)
    if header is not None or len(scopes) != 1:
        found = "a program" if header is not None else f"{len(scopes)} graphs"
        raise InputError(Fault("line 1, column 1", f"found {found}", "one graph"))
    return _graph(scopes[0])


def parse_program(text: str) -> Program:
    """The program that `text` is the printed form of; raises InputError as `parse` does."""
    header, scopes = _read(text)
    if header is None:
        raise InputError(Fault("line 1, column 1", "no program line", "'program' and its name"))
    parts = {s.part: _graph(s) for s in scopes}
    unknown = sorted(set(header.order) - parts.keys())
    if unknown:
        hints = [nearest(n, parts) for n in unknown]
        pairs = zip(unknown, hints, strict=True)
        raise InputError(*(Fault("order", f"there is no graph {n!r}", hint=h) for n, h in pairs))
    return Program(header.name, parts, header.order, header.shared, header.windows, header.experts)


def _graph(scope: _Scope) -> Graph:
    return Graph(scope.name, scope.outputs or {})


def _read(text: str) -> tuple[_Header | None, list[_Scope]]:
    header: _Header | None = None
    scopes: list[_Scope] = []
    faults: list[Fault] = []
    for cursor in lines(text):
        try:
            word = cursor.peek()
            if word == "graph":
                scopes.append(_open(cursor))
            elif word == "program" and header is None and not scopes:
                header = _Header(_after(cursor, "program"))
            elif scopes:
                _line(cursor, scopes[-1])
            elif header is not None:
                _header_line(cursor, header)
            else:
                cursor.fail("'graph' and its name")
            cursor.end()
        except Failure as failure:
            faults.append(failure.fault)
        except _Silent:
            pass
    faults += [
        Fault(f"graph {s.name}", "no outputs", "a last line 'return name=%value'")
        for s in scopes
        if s.outputs is None and not faults
    ]
    if not scopes and not faults:
        faults.append(Fault("line 1, column 1", "found no graph", "'graph' and its name"))
    if faults:
        raise InputError(*faults)
    return header, scopes


def _after(cursor: Cursor, word: str) -> str:
    cursor.take(word)
    return cursor.name()


def _open(cursor: Cursor) -> _Scope:
    name = _after(cursor, "graph")
    return _Scope(name, cursor.name() if cursor.accept("as") else name)


def _header_line(cursor: Cursor, header: _Header) -> None:
    if cursor.accept("order"):
        header.order = tuple(p for run in cursor.listed(_run) for p in run)
    elif cursor.accept("share"):
        header.shared = frozenset(cursor.listed(Cursor.name))
    elif cursor.accept("window"):
        symbol = cursor.name()
        cursor.take("=")
        header.windows[symbol] = cursor.integer()
    elif cursor.accept("experts"):
        experts = cursor.integer()
        cursor.take("choose")
        header.experts = (experts, cursor.integer())
    else:
        cursor.fail("order, share, window, experts or graph")


def _run(cursor: Cursor) -> tuple[str, ...]:
    part = cursor.name()
    return (part,) * (cursor.integer() if cursor.accept("*") else 1)


def _line(cursor: Cursor, scope: _Scope) -> None:
    if scope.outputs is not None:
        cursor.fail("nothing after 'return' but another graph")
    if cursor.accept("monoid"):
        monoid = monoid_line(cursor, scope.monoids)
        scope.monoids[monoid.name] = monoid
    elif cursor.accept("return"):
        scope.outputs = {}  # even if this line has a fault, so that it is not called missing
        scope.outputs |= dict(cursor.listed(lambda c: _output(c, scope)))
    else:
        _definition(cursor, scope)


def _output(cursor: Cursor, scope: _Scope) -> tuple[str, Value]:
    name = cursor.name()
    cursor.take("=")
    return name, _operand(cursor, scope)


def monoid_line(cursor: Cursor, monoids: Mapping[str, Monoid]) -> Monoid:
    """What `text.monoid_line` prints, after its first word; `monoids` are those known so far."""
    if cursor.peek() == "streamed" and cursor.peek(1) not in ("(", ":"):
        return _streamed(cursor, monoids)
    # An ordered monoid may itself be called "ordered".
    ordered = cursor.peek() == "ordered" and cursor.peek(1) != "(" and cursor.accept("ordered")
    name = cursor.name()
    cursor.take("(")
    identity = tuple(cursor.listed(literal))
    cursor.take(")")
    cursor.take(":")
    slots = 2 * len(identity)
    combine = tuple(cursor.listed(lambda c: expression(c, _slot(slots))))
    if len(combine) != len(identity):
        cursor.fail(f"{len(identity)} combines, one per identity, not {len(combine)}")
    return Monoid(name, identity, combine, commutative=not ordered)


def _streamed(cursor: Cursor, monoids: Mapping[str, Monoid]) -> Streamed:
    cursor.take("streamed")
    name = cursor.name()
    cursor.take(":")
    slots = 2 * cursor.count(",") + 2  # no fewer than there can be
    parts = cursor.listed(lambda c: _part(c, monoids, slots))
    for i, part in enumerate(parts):
        known = {*range(i), *range(len(parts), len(parts) + i)}
        for wrong in sorted(part.needs(slots) - known):
            cursor.fail(f"component {i} repaired by those before it, not by ${wrong}")
    return streamed(name, parts)


def _part(cursor: Cursor, monoids: Mapping[str, Monoid], slots: int) -> Part:
    op = monoids[cursor.one_of(monoids, "monoid")]
    factor, action, shift = None, "mul", None
    if cursor.peek() in ("*", "+"):
        action = "mul" if cursor.next() == "*" else "add"
        factor = expression(cursor, _slot(slots), 6 if action == "mul" else 5)
    if cursor.accept("then"):
        cursor.take("+")
        shift = expression(cursor, _slot(slots), 5)
    return Part(op, factor, action, shift)  # type: ignore[arg-type]


def _slot(count: int) -> Callable[[Cursor], int]:
    def operand(cursor: Cursor) -> int:
        if not cursor.peek().startswith("$") or int(cursor.peek()[1:]) >= count:
            cursor.fail(f"an operand $0 … ${count - 1}" if count else "no operand: there are none")
        return int(cursor.next()[1:])

    return operand


def _definition(cursor: Cursor, scope: _Scope) -> None:
    handle = cursor.handle()
    scope.broken.add(handle)
    if handle in scope.values:
        cursor.back()
        cursor.fail("a value not defined above")
    cursor.take(":")
    parts: dict[str, Any] = {"dtype": cursor.one_of(DTYPES, "number format")}
    parts["axes"] = tuple(_axes(cursor))
    parts["section"] = cursor.name() if cursor.accept("@") else ""
    cursor.take("=")
    scope.values[handle] = _pattern(cursor, scope, handle, parts)
    scope.broken.discard(handle)


def _axes(cursor: Cursor) -> Iterator[Axis]:
    cursor.take("[")
    if not cursor.accept("]"):
        yield from cursor.listed(_axis)
        cursor.take("]")


def _axis(cursor: Cursor) -> Axis:
    name = cursor.name()
    amount = extent(cursor) if cursor.accept("=") else sym(name)
    return Axis(name, amount, extent(cursor) if cursor.accept("of") else None)


def _operand(cursor: Cursor, scope: _Scope) -> Value:
    handle = cursor.handle()
    if handle in scope.values:
        return scope.values[handle]
    if handle in scope.broken:
        raise _Silent
    cursor.back()
    return cursor.fail("a value defined above", nearest(handle, scope.values))


def _operands(cursor: Cursor, scope: _Scope) -> tuple[Value, ...]:
    return tuple(cursor.listed(lambda c: _operand(c, scope)))


def _pattern(cursor: Cursor, scope: _Scope, handle: str, parts: dict[str, Any]) -> Value:
    word, following = cursor.peek(), cursor.peek(1)
    if word in ROLES:
        role = cursor.next()
        name = cursor.name() if cursor.more() else handle[1:]
        return make(Input, name=name, role=role, **parts)
    if following in ("over", "along"):
        return _fold(cursor, scope, parts)
    if word in ("top", "where") and following != "(":
        return _flat_map(cursor, scope, parts)
    if word == "group":
        return _group(cursor, scope, parts)
    if word in _VIEWS:
        return _view(cursor, scope, parts)
    return _map(cursor, scope, parts)


def _fold(cursor: Cursor, scope: _Scope, parts: dict[str, Any]) -> Value:
    monoid = cursor.one_of(scope.monoids, "monoid")
    if cursor.accept("over"):
        over = tuple(cursor.listed(Cursor.name))
        cursor.take(":")
        args = _operands(cursor, scope)
        return make(Reduce, monoid=scope.monoids[monoid], over=over, args=args, **parts)
    cursor.take("along")
    along = cursor.name()
    cursor.take(":")
    args = _operands(cursor, scope)
    return make(Scan, monoid=scope.monoids[monoid], along=along, args=args, **parts)


def _flat_map(cursor: Cursor, scope: _Scope, parts: dict[str, Any]) -> Value:
    rule = cursor.next()
    out = _axis(cursor)
    along = _after(cursor, "along")
    cursor.take(":")
    key = _operand(cursor, scope)
    return make(FlatMap, rule=rule, along=along, out=out, key=key, **parts)


def _group(cursor: Cursor, scope: _Scope, parts: dict[str, Any]) -> Value:
    cursor.take("group")
    key = _operand(cursor, scope)
    cursor.take("into")
    group = _axis(cursor)
    cursor.take(",")
    return make(GroupBy, key=key, group=group, member=_axis(cursor), **parts)


def _view(cursor: Cursor, scope: _Scope, parts: dict[str, Any]) -> Value:
    kind = cursor.next()
    start: Size | None = None
    if kind == "item":
        start = size(cursor.integer())
        cursor.take("of")
    args = _operands(cursor, scope)
    if kind != "item":
        cursor.take(":")
    names = _VIEWS[kind](cursor)
    if kind == "slice":
        cursor.take("from")
        start = extent(cursor)
    return make(View, kind=kind, args=args, names=names, start=start, **parts)


def _renamed(cursor: Cursor) -> tuple[str, ...]:
    def pair(c: Cursor) -> str:
        old = c.name()
        c.take("to")
        return f"{old}:{c.name()}"

    return tuple(cursor.listed(pair))


def _split(cursor: Cursor) -> tuple[str, ...]:
    whole = cursor.name()
    cursor.take("into")
    return (whole, *cursor.listed(Cursor.name))


def _merged(cursor: Cursor) -> tuple[str, ...]:
    parts = cursor.listed(Cursor.name)
    return (*parts, _after(cursor, "into"))


_VIEWS: dict[str, Callable[[Cursor], tuple[str, ...]]] = {
    "rename": _renamed,
    "split": _split,
    "merge": _merged,
    "slice": lambda cursor: (cursor.name(),),
    "concat": lambda cursor: (_after(cursor, "along"),),
    "item": lambda cursor: (),
}


def _map(cursor: Cursor, scope: _Scope, parts: dict[str, Any]) -> Value:
    if cursor.peek() == "map":
        cursor.take("map")
        cursor.take("(")
        args = [] if cursor.peek() == ")" else list(_operands(cursor, scope))
        cursor.take(")")
        cursor.take(":")
        return make(Map, args=tuple(args), body=expression(cursor, _slot(len(args))), **parts)
    args = []

    def number(c: Cursor) -> int:
        value = _operand(c, scope)
        if value not in args:
            args.append(value)
        return args.index(value)

    body = expression(cursor, number)
    return make(Map, args=tuple(args), body=body, **parts)
