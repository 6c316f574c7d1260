"""What must hold of each value: its axes, its operands, its type.  `verify` asks for all of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from maquette.errors import Fault, ProgramError, nearest
from maquette.ir.axes import Axis, full, union
from maquette.ir.monoids import Monoid
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View
from maquette.ir.scalar import kind
from maquette.ir.sizes import Size
from maquette.ir.text import axes as shown
from maquette.ir.verify_bodies import articled, body_faults
from maquette.ir.verify_views import components, view_faults

_SYMBOL = re.compile(r"[^\W\d][\w.]*(/[^\W\d][\w.]*)*\Z")

Names = Mapping[Value, str]


def value_faults(value: Value, names: Names) -> Iterator[Fault]:
    """Every fault of one value, without a place; `names` is how to call its operands."""
    yield from axes_faults(value.axes)
    whole = True
    for operand in value.operands:
        if components(operand) > 1 and not (isinstance(value, View) and value.kind == "item"):
            whole = False
            what = f"reads {names[operand]}, which has {components(operand)} components"
            yield Fault("", what, "one of them", "take an item of it first")
    if not whole:
        return
    match value:
        case Map():
            yield from _map(value, names)
        case Reduce():
            yield from _reduce(value)
        case Scan():
            yield from _scan(value)
        case FlatMap():
            yield from _flat_map(value, names)
        case GroupBy():
            yield from _group_by(value, names)
        case View():
            yield from view_faults(value, names)
        case Input():
            if value.role == "index" and value.dtype.kind != "int":
                yield Fault("", f"is an index of {value.dtype}", "whole numbers such as i32")


def axes_faults(axes: Sequence[Axis]) -> Iterator[Fault]:
    """Names once each, names that print as names, sizes that can be sizes."""
    for name, count in Counter(a.name for a in axes).items():
        if count > 1:
            yield Fault("", f"axis {name!r} occurs {count} times", "every axis once")
    for ax in axes:
        for extent in (ax.size, ax.within):
            if extent is not None:
                yield from _size(ax, extent)
        if ax.within is not None and _surely_more(ax.size, ax.within):
            yield Fault("", f"axis {ax} is larger than what it is drawn from")


def _size(ax: Axis, extent: Size) -> Iterator[Fault]:
    number = extent.constant
    if number is not None and (number < 0 or number != int(number)):
        yield Fault("", f"axis {ax.name!r} has size {number}", "a whole number, 0 or more")
    for symbol in sorted(extent.symbols):
        if not _SYMBOL.match(symbol):
            yield Fault("", f"{symbol!r} in the size of axis {ax.name!r} is no name")


def _surely_more(left: Size, right: Size) -> bool:
    difference = (left - right).constant
    return difference is not None and difference > 0


def _map(value: Map, names: Names) -> Iterator[Fault]:
    called = [names[v] for v in value.args]
    faults = list(body_faults(value.body, value.args, value.axes, called))
    yield from faults
    if faults:
        return
    found = kind(value.body, [v.dtype.kind for v in value.args])
    wanted = value.dtype.kind
    if found != wanted and not (found == "int" and wanted == "float"):
        what = f"is declared {value.dtype}, its body is {articled(found)}"
        yield Fault("", what, f"{articled(wanted)} body" if wanted != "float" else "a number")


def _domain(args: Sequence[Value]) -> tuple[Axis, ...] | Fault:
    try:
        return union(*(v.axes for v in args))
    except ProgramError as error:
        return error.faults[0]


def _reduce(value: Reduce) -> Iterator[Fault]:
    yield from _monoid(value.monoid, value)
    domain = _domain(value.args)
    if isinstance(domain, Fault):
        yield domain
        return
    known = [a.name for a in domain]
    if not value.over or len(set(value.over)) < len(value.over):
        yield Fault("", f"combines over {list(value.over)}", "some axes, each once")
    for name in value.over:
        if name not in known:
            yield Fault("", f"combines over {name!r}", "an axis", nearest(name, known))
    rest = [a for a in domain if a.name not in value.over]
    yield from _same_axes(value, rest)


def _scan(value: Scan) -> Iterator[Fault]:
    yield from _monoid(value.monoid, value)
    domain = _domain(value.args)
    if isinstance(domain, Fault):
        yield domain
        return
    known = [a.name for a in domain]
    if value.along not in known:
        yield Fault("", f"scans along {value.along!r}", "an axis", nearest(value.along, known))
    yield from _same_axes(value, domain)


def _same_axes(value: Value, expected: Sequence[Axis]) -> Iterator[Fault]:
    """Axes as a set: a pattern may lay out its result in any order."""
    if set(value.axes) != set(expected):
        yield Fault("", f"has axes {shown(value.axes)}", shown(expected))


def _monoid(monoid: Monoid, value: Reduce | Scan) -> Iterator[Fault]:
    if len(monoid.combine) != monoid.width:
        what = f"monoid {monoid} has {monoid.width} identities, {len(monoid.combine)} combines"
        yield Fault("", what, "one of each for every component")
        return
    if len(value.args) != monoid.width:
        what = f"{monoid} combines {monoid.width} components, {len(value.args)} are given"
        yield Fault("", what)
        return
    kinds = [v.dtype.kind for v in value.args]
    called = [f"${i}" for i in range(2 * monoid.width)]
    for number, combine in enumerate(monoid.combine):
        faults = list(body_faults(combine, (*value.args, *value.args), (), called, inside=True))
        yield from faults
        found = kinds[number] if faults else kind(combine, [*kinds, *kinds])
        if found != kinds[number] and not (found == "int" and kinds[number] == "float"):
            what = f"component {number} of {monoid} is {articled(kinds[number])}"
            yield Fault("", f"{what}, its combine is {articled(found)}")
    if value.dtype.kind != kinds[0]:
        yield Fault("", f"is declared {value.dtype}, it combines {value.args[0].dtype}")


def _flat_map(value: FlatMap, names: Names) -> Iterator[Fault]:
    key = value.key
    if value.along not in key.shape:
        yield Fault("", f"goes along {value.along!r}", "an axis", nearest(value.along, key.shape))
        return
    yield from axes_faults([value.out])
    others = [a for a in key.axes if a.name != value.along]
    yield from _same_axes(value, [*others, value.out])
    if value.dtype.kind != "int":
        yield Fault("", f"holds positions as {value.dtype}", "whole numbers such as i32")
    wanted = "a bool" if value.rule == "where" else "a number"
    if (key.dtype.kind == "bool") != (value.rule == "where"):
        yield Fault("", f"the key {names[key]} of {value.rule} is {key.dtype}", wanted)
    whole = full(key.axis(value.along))
    if value.rule == "where" and value.out.within != whole:
        what = f"how many are kept depends on the data, {value.out} does not say of how many"
        yield Fault("", what, f"{value.out.name}=SIZE of {whole}")


def _group_by(value: GroupBy, names: Names) -> Iterator[Fault]:
    yield from axes_faults([value.group, value.member])
    yield from _same_axes(value, value.key.axes)
    if value.key.dtype.kind != "int":
        yield Fault("", f"the key {names[value.key]} is {value.key.dtype}", "whole numbers")
    if value.dtype.kind != "int":
        yield Fault("", f"holds positions as {value.dtype}", "whole numbers such as i32")
