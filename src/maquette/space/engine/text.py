"""The printed form of networks, one part per line; `parse` reads it back to the very same network.

network sums
  tier hbm: bandwidth 64 latency 100
  channel a: depth 4
  channel b
  node load = source to (a) count 64 tier hbm bytes 32
  node total = fold(a) to (b) count 8 monoid add
  node out = sink(b)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

from maquette.errors import Fault, InputError
from maquette.ir.monoids import MONOIDS, Monoid, Streamed
from maquette.ir.parse import monoid_line as read_monoid
from maquette.ir.parse_expressions import expression as read_expression
from maquette.ir.text import expression, monoid_line, name
from maquette.ir.tokens import Cursor, Failure, lines
from maquette.space.engine.types import KINDS, Channel, Network, Node, Tier


def show(network: Network) -> str:
    """The text of a network.

    >>> nodes = (Node("in", "source", (), ("a",), count=8), Node("out", "sink", ("a",)))
    >>> print(show(Network("wire", nodes, (Channel("a", depth=4),))))
    network wire
      channel a: depth 4
      node in = source to (a) count 8
      node out = sink(a)
    """
    parts = [f"network {name(network.name)}"]
    parts += [f"tier {name(t.name)}{_settings(t)}" for t in network.tiers]
    parts += [f"channel {name(c.name)}{_settings(c)}" for c in network.channels]
    parts += map(monoid_line, _monoids(network))
    parts += map(_node, network.nodes)
    return "\n  ".join(parts)


def _settings(held: Channel | Tier) -> str:
    """What differs from the defaults; ``held`` alone where it is."""
    words = []
    for field in fields(held)[1:]:
        value = getattr(held, field.name)
        if value != field.default:
            words.append(field.name if value is True else f"{field.name} {value}")
    return f": {' '.join(words)}" if words else ""


def _monoids(network: Network) -> Iterator[Monoid]:
    """Those that the language does not know by name, what they are made of first."""
    used: dict[str, Monoid] = {}
    for node in network.nodes:
        if node.monoid is not None:
            parts = node.monoid.parts if isinstance(node.monoid, Streamed) else ()
            for monoid in (*(p.op for p in parts), node.monoid):
                if used.setdefault(monoid.name, monoid) != monoid:
                    raise InputError(Fault(network.name, f"two monoids are called {monoid.name!r}"))
    return (m for m in used.values() if MONOIDS.get(m.name) != m)


def _node(node: Node) -> str:
    words = [f"node {name(node.name)} = {node.kind}"]
    words[0] += f"({_listed(node.inputs)})" if node.inputs else ""
    words += [f"to ({_listed(node.outputs)})"] if node.outputs else []
    numbers = [f for f in fields(Node) if f.type == "int"]
    words += [
        f"{f.name} {getattr(node, f.name)}" for f in numbers if getattr(node, f.name) != f.default
    ]
    words += [f"tier {name(node.tier)}"] if node.tier else []
    words += [f"order ({', '.join(map(str, node.order))})"] if node.order else []
    words += [f"call {name(node.call)}"] if node.call else []
    words += [f"monoid {name(node.monoid.name)}"] if node.monoid else []
    slots = _Slots()
    bodies = ", ".join(expression(b, slots) for b in node.body)
    return " ".join([*words, f"body ({bodies})"] if node.body else words)


class _Slots(list[str]):
    """$0, $1, … as long as they are asked for."""

    def __getitem__(self, number: Any) -> Any:
        return f"${number}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(name, names))


def parse(text: str) -> Network:
    """The network that `text` is the printed form of, not verified.

    Raises InputError with every fault, by line and column.

    >>> parse("network n\\n channel a: depth 3 held\\n").channels[0].depth
    3
    """
    reader = _Reader()
    faults = []
    for cursor in lines(text):
        try:
            reader.line(cursor)
            cursor.end()
        except Failure as failure:
            faults.append(failure.fault)
    if not faults and not reader.title:
        faults.append(Fault("line 1, column 1", "found no network", "'network' and its name"))
    if faults:
        raise InputError(*faults)
    found = reader
    return Network(found.title, tuple(found.nodes), tuple(found.channels), tuple(found.tiers))


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.title = ""
        self.nodes: list[Node] = []
        self.channels: list[Channel] = []
        self.tiers: list[Tier] = []
        self._monoids: dict[str, Monoid] = dict(MONOIDS)

    def line(self, cursor: Cursor) -> None:
        if cursor.accept("network"):
            self.title = cursor.name()
        elif cursor.accept("tier"):
            title = cursor.name()
            found = _read_settings(cursor, Tier)
            if "bandwidth" not in found:
                cursor.fail("bandwidth and a number")
            self.tiers.append(Tier(title, **found))
        elif cursor.accept("channel"):
            self.channels.append(Channel(cursor.name(), **_read_settings(cursor, Channel)))
        elif cursor.accept("monoid"):
            monoid = read_monoid(cursor, self._monoids)
            self._monoids[monoid.name] = monoid
        elif cursor.accept("node"):
            self.nodes.append(self._node(cursor))
        else:
            cursor.fail("network, tier, channel, monoid or node")

    def _node(self, cursor: Cursor) -> Node:
        title = cursor.name()
        cursor.take("=")
        if cursor.peek() not in KINDS:
            cursor.fail(f"a kind of node: {', '.join(KINDS)}")
        found: dict[str, Any] = {"name": title, "kind": cursor.next()}
        if cursor.peek() == "(":
            found["inputs"] = _several(cursor, Cursor.name)
        readers: Mapping[str, Callable[[Cursor], Any]] = {
            **{f.name: Cursor.integer for f in fields(Node) if f.type == "int"},
            "tier": Cursor.name,
            "call": Cursor.name,
            "order": lambda c: _several(c, Cursor.integer),
            "monoid": lambda c: self._monoids[c.one_of(self._monoids, "monoid")],
            "body": lambda c: _several(c, lambda d: read_expression(d, _slot)),
        }
        while cursor.more():
            word = cursor.next()
            if word == "to":
                found["outputs"] = _several(cursor, Cursor.name)
            elif word in readers:
                found[word] = readers[word](cursor)
            else:
                cursor.back()
                cursor.fail(f"to, {', '.join(readers)}")
        return Node(**found)


def _several(cursor: Cursor, item: Callable[[Cursor], Any]) -> tuple[Any, ...]:
    cursor.take("(")
    found = cursor.listed(item)
    cursor.take(")")
    return tuple(found)


def _slot(cursor: Cursor) -> int:
    if cursor.token.kind != "slot":
        cursor.fail("an operand such as $0")
    return int(cursor.next()[1:])


def _read_settings(cursor: Cursor, kind: type[Channel] | type[Tier]) -> dict[str, Any]:
    known = {f.name: f.type for f in fields(kind)[1:]}
    found: dict[str, Any] = {}
    if not cursor.accept(":"):
        return found
    while cursor.more():
        word = cursor.one_of(known, "setting")
        if known[word] == "bool":
            found[word] = True
        else:
            found[word] = _number(cursor) if word == "bandwidth" else cursor.integer()
    return found


def _number(cursor: Cursor) -> Fraction | float:
    if not cursor.token.text.isdecimal():
        if cursor.token.kind != "number":
            cursor.fail("a number")
        return float(cursor.next())
    whole = cursor.integer()
    return Fraction(whole, cursor.integer()) if cursor.accept("/") else Fraction(whole)
