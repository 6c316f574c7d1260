"""The printed form of Graphs and Programs: one value per line, in the order it is made.

    graph mlp
      %x: bf16[n, d=8] = activation
      %w: bf16[d=8, f=32] = weight
      %0: bf16[n, d=8, f=32] @up = %x * %w
      %1: bf16[n, f=32] @up = add over d: %0
      return y=%1

`parse` (in `ir.parse`) reads it back to the very same values.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby

from maquette.errors import Fault, ProgramError
from maquette.ir.axes import Axis
from maquette.ir.graph import Graph, Program
from maquette.ir.monoids import MONOIDS, Monoid, Part, Streamed
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar, reads
from maquette.ir.sizes import sym

INFIX: Mapping[str, tuple[str, int]] = {
    "or": ("|", 1), "and": ("&", 2),
    "lt": ("<", 3), "le": ("<=", 3), "gt": (">", 3), "ge": (">=", 3), "eq": ("==", 3),
    "ne": ("!=", 3),
    "add": ("+", 4), "sub": ("-", 4),
    "mul": ("*", 5), "div": ("/", 5), "floordiv": ("//", 5),
}  # fmt: skip
COMPARISON = 3  # the level that does not chain

# fmt: off
RESERVED = frozenset({
    "true", "false", "inf", "nan", "map", "weight", "state", "activation", "index",
    "rename", "split", "merge", "slice", "concat", "item", "top", "where", "group",
})
# fmt: on
_NAME = re.compile(r"[^\W\d][\w.]*\Z")


def show(graph: Graph) -> str:
    """The text of a graph.

    >>> from maquette.ir.build import activation, weight
    >>> y = (activation("x", n="n", d=8) * weight("w", d=8, f=32)).sum("d")
    >>> print(show(Graph("up", {"y": y.value})))
    graph up
      %x: bf16[n, d=8] = activation
      %w: bf16[d=8, f=32] = weight
      %0: bf16[n, d=8, f=32] = %x * %w
      %1: bf16[n, f=32] = add over d: %0
      return y=%1
    """
    names = handles(graph)
    ordered = sorted(graph.values, key=lambda v: not isinstance(v, Input))
    outputs = ", ".join(f"{name(k)}={names[v]}" for k, v in graph.outputs.items())
    lines = [*map(monoid_line, _monoids(graph)), *(line(v, names) for v in ordered)]
    return "\n  ".join([f"graph {name(graph.name)}", *lines, f"return {outputs}".rstrip()])


def show_program(program: Program) -> str:
    """The text of a program: its order, what is shared, and the graph of every part."""
    runs = ((part, len(list(same))) for part, same in groupby(program.order))
    order = ", ".join(name(part) + (f" * {n}" if n > 1 else "") for part, n in runs)
    lines = [f"program {name(program.name)}", f"  order {order}".rstrip()]
    if program.shared:
        lines.append(f"  share {', '.join(map(name, sorted(program.shared)))}")
    lines += [f"  window {name(s)} = {w}" for s, w in program.windows.items()]
    if program.experts is not None:
        lines.append("  experts {} choose {}".format(*program.experts))
    for part, graph in program.parts.items():
        head, _, body = show(graph).partition("\n")
        alias = "" if part == graph.name else f" as {name(part)}"
        lines += ["", head + alias, body]
    return "\n".join(lines)


def handles(graph: Graph) -> dict[Value, str]:
    """What each value is called in the text: ``%x`` for the input x, otherwise a number."""
    inputs = Counter(v.name for v in graph.values if isinstance(v, Input))
    found: dict[Value, str] = {}
    number = 0
    for value in graph.values:
        if isinstance(value, Input) and inputs[value.name] == 1 and _NAME.match(value.name):
            found[value] = f"%{value.name}"
        else:
            found[value] = f"%{number}"
            number += 1
    return found


def line(value: Value, names: Mapping[Value, str]) -> str:
    """One value, as ``%0: bf16[n] @section = ...``."""
    place = f" @{name(value.section)}" if value.section else ""
    made = _made(value, names)
    return f"{names[value]}: {value.dtype}{axes(value.axes)}{place} = {made}"


def axes(found: Iterable[Axis]) -> str:
    return f"[{', '.join(map(_axis, found))}]"


def _axis(ax: Axis) -> str:
    if ax.within is None and ax.size == sym(ax.name):
        return name(ax.name)
    subset = f" of {ax.within}" if ax.within is not None else ""
    return f"{name(ax.name)}={ax.size}{subset}"


def name(text: str) -> str:
    """A name as it is, or quoted where it would not read back as a name."""
    plain = _NAME.match(text) and text not in RESERVED
    return text if plain else json.dumps(text, ensure_ascii=False)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(name, texts))


def _made(value: Value, names: Mapping[Value, str]) -> str:
    args = ", ".join(names[v] for v in value.operands)
    match value:
        case Input():
            implied = names[value] == f"%{value.name}"
            return value.role if implied else f"{value.role} {json.dumps(value.name)}"
        case Map():
            return _map(value, names)
        case Reduce():
            return f"{name(value.monoid.name)} over {_listed(value.over)}: {args}"
        case Scan():
            return f"{name(value.monoid.name)} along {name(value.along)}: {args}"
        case FlatMap():
            return f"{value.rule} {_axis(value.out)} along {name(value.along)}: {args}"
        case GroupBy():
            return f"group {args} into {_axis(value.group)}, {_axis(value.member)}"
        case View():
            return _view(value, args)
    raise TypeError(f"no text for {type(value).__name__}")


def _view(value: View, args: str) -> str:
    names = value.names
    match value.kind:
        case "rename":
            pairs = (pair.partition(":") for pair in names)
            return f"rename {args}: " + ", ".join(f"{name(a)} to {name(b)}" for a, _, b in pairs)
        case "split":
            return f"split {args}: {name(names[0])} into {_listed(names[1:])}"
        case "merge":
            return f"merge {args}: {_listed(names[:-1])} into {name(names[-1])}"
        case "slice":
            return f"slice {args}: {name(names[0])} from {value.start}"
        case "concat":
            return f"concat {args}: along {name(names[0])}"
        case "item":
            return f"item {value.start} of {args}"


def _map(value: Map, names: Mapping[Value, str]) -> str:
    first = list(dict.fromkeys(read.number for read in reads(value.body)))
    plain = first == list(range(len(value.args))) and len(set(value.args)) == len(value.args)
    if plain:
        return expression(value.body, [names[v] for v in value.args])
    slots = [f"${i}" for i in range(len(value.args))]
    args = ", ".join(names[v] for v in value.args)
    return f"map({args}): {expression(value.body, slots)}"


def expression(body: Scalar, operands: list[str], level: int = 0) -> str:
    """A scalar body as text; parenthesised where it binds weaker than `level`."""
    match body:
        case Lit(value):
            return str(value).lower() if isinstance(value, bool) else repr(value)
        case Extent(extent):
            return f"{{{extent}}}"
        case Index(axis):
            return name(axis)
        case Arg(number, at):
            inner = ", ".join(f"{name(n)}={expression(i, operands)}" for n, i in at)
            return operands[number] + (f"[{inner}]" if at else "")
        case Apply(op, (left, right)) if op in INFIX:
            symbol, strength = INFIX[op]
            a = expression(left, operands, strength + (strength == COMPARISON))
            text = f"{a} {symbol} {expression(right, operands, strength + 1)}"
            return f"({text})" if strength < level else text
        case Apply(op, args):
            return f"{op}({', '.join(expression(a, operands) for a in args)})"


def _monoids(graph: Graph) -> list[Monoid]:
    """The monoids of a graph that the language does not know by name."""
    used: dict[str, Monoid] = {}
    folds = (v.monoid for v in graph.values if isinstance(v, Reduce | Scan))
    for monoid in (m for fold in folds for m in (*_ops(fold), fold)):
        held = used.setdefault(monoid.name, monoid)
        if held is not monoid and held != monoid:
            raise ProgramError(Fault(graph.name, f"two monoids are called {held.name!r}"))
    return [m for m in used.values() if MONOIDS.get(m.name) != m]


def _ops(monoid: Monoid) -> Iterable[Monoid]:
    return (p.op for p in monoid.parts) if isinstance(monoid, Streamed) else ()


def monoid_line(monoid: Monoid) -> str:
    """A monoid as ``monoid NAME(identities): combines``, or by the parts of a streamed one."""
    if isinstance(monoid, Streamed):
        return f"monoid streamed {name(monoid.name)}: {', '.join(map(part, monoid.parts))}"
    slots = [f"${i}" for i in range(2 * monoid.width)]
    identity = ", ".join(expression(i, []) for i in monoid.identity)
    combine = ", ".join(expression(c, slots) for c in monoid.combine)
    order = "" if monoid.commutative else "ordered "
    return f"monoid {order}{name(monoid.name)}({identity}): {combine}"


def part(held: Part) -> str:
    """One component of a streamed monoid: its combine, and what repairs it.

    ``add * exp($0 - $2) + $1``: added up; what is held is first multiplied, then shifted.
    """
    text = name(held.op.name)
    slots = [f"${i}" for i in range(1 + max(_numbers(held), default=0))]
    if held.factor is not None:
        sign, level = ("*", 6) if held.action == "mul" else ("+", 5)
        text += f" {sign} {expression(held.factor, slots, level)}"
    if held.shift is not None:
        text += f" then + {expression(held.shift, slots, 5)}"
    return text


def _numbers(held: Part) -> list[int]:
    bodies = [b for b in (held.factor, held.shift) if b is not None]
    return [read.number for b in bodies for read in reads(b)]
