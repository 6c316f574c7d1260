"""What must hold of a scalar body: its operands exist, its types fit, its coordinates are axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maquette.errors import Fault, nearest
from maquette.ir.axes import Axis
from maquette.ir.dtypes import Kind
from maquette.ir.patterns import Value
from maquette.ir.scalar import LOGIC, OPS, Apply, Arg, Index, Scalar, kind
from maquette.ir.text import axes as shown

_ANY = frozenset({"eq", "ne"})  # compare numbers, or bools


def body_faults(
    body: Scalar,
    args: Sequence[Value],
    domain: Sequence[Axis],
    called: Sequence[str],
    *,
    inside: bool = False,
) -> Iterator[Fault]:
    """Faults of a body over `args` on a domain; `inside` a monoid, operands are mere scalars."""
    axes = {a.name: a for a in domain}
    broken = False
    for fault in _structure(body, args, axes, called, inside):
        broken = True
        yield fault
    if not broken:
        yield from _types(body, [v.dtype.kind for v in args])


def articled(word: str) -> str:
    """A kind with its article."""
    return f"an {word}" if word == "int" else f"a {word}"


def _structure(
    body: Scalar,
    args: Sequence[Value],
    axes: dict[str, Axis],
    called: Sequence[str],
    inside: bool,
) -> Iterator[Fault]:
    match body:
        case Index(name) if name not in axes:
            yield Fault("", f"no axis {name!r} in the domain", hint=nearest(name, axes))
        case Apply(op, parts):
            if op not in OPS:
                yield Fault("", f"unknown operation {op!r}", hint=nearest(op, OPS))
            elif len(parts) != OPS[op][0]:
                yield Fault("", f"{op} of {len(parts)} operands", str(OPS[op][0]))
            for part in parts:
                yield from _structure(part, args, axes, called, inside)
        case Arg(number, at):
            if not 0 <= number < len(args):
                yield Fault("", f"no operand {number}", f"0 to {len(args) - 1}" if args else "none")
                return
            for _, index in at:
                yield from _structure(index, args, axes, called, inside)
            if not inside:
                yield from _read(body, args[number], axes, called[number])


def _read(arg: Arg, operand: Value, axes: dict[str, Axis], called: str) -> Iterator[Fault]:
    gathered = [name for name, _ in arg.at]
    for name in gathered:
        if name not in operand.shape:
            hint = nearest(name, operand.shape)
            yield Fault(
                "", f"{called} is read at a coordinate of {name!r}, which it lacks", "", hint
            )
    if len(set(gathered)) < len(gathered):
        yield Fault("", f"{called} is read at two coordinates of one axis")
    for ax in operand.axes:
        if ax.name in gathered:
            continue
        here = axes.get(ax.name)
        if here is None:
            what = f"operand {called} has axis {ax}, the domain {shown(axes.values())} has not"
            yield Fault("", what, "every axis in the domain or read at a coordinate")
        elif here != ax and here.within != ax.size:
            yield Fault("", f"operand {called} has axis {ax}, the domain has {here}", "one size")


def _types(body: Scalar, kinds: Sequence[Kind]) -> Iterator[Fault]:
    match body:
        case Arg(_, at):
            for name, index in at:
                yield from _types(index, kinds)
                found = kind(index, kinds)
                if found != "int":
                    yield Fault(
                        "", f"the coordinate of {name!r} is {articled(found)}", "a whole number"
                    )
        case Apply(op, parts):
            for part in parts:
                yield from _types(part, kinds)
            yield from _operation(op, [kind(p, kinds) for p in parts])


def _operation(op: str, found: list[Kind]) -> Iterator[Fault]:
    if op == "where":
        test, *branches = found
        if test != "bool":
            yield Fault("", f"where asks {articled(test)}", "a bool condition")
        if ("bool" in branches) and set(branches) != {"bool"}:
            yield Fault("", "where chooses between a bool and a number", "two of a kind")
    elif op in LOGIC:
        for other in set(found) - {"bool"}:
            yield Fault("", f"{op} of {articled(other)}", "bools")
    elif op in _ANY:
        if "bool" in found and set(found) != {"bool"}:
            yield Fault("", f"{op} of a bool and a number", "two of a kind")
    elif "bool" in found and not op.startswith("to_"):
        yield Fault("", f"{op} of a bool", "numbers", "use where, or a cast such as to_f32")
