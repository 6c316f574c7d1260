"""What must hold of a View: that it names the elements of its argument and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from maquette.errors import Fault, nearest
from maquette.ir.axes import Axis, joined, merged, points
from maquette.ir.patterns import GroupBy, Reduce, Scan, Value, View
from maquette.ir.sizes import size
from maquette.ir.text import axes as shown

Names = Mapping[Value, str]


def components(value: Value) -> int:
    """How many tensors a value stands for."""
    if isinstance(value, Reduce | Scan):
        return value.monoid.width
    return 1 + len(value.key.axes) if isinstance(value, GroupBy) else 1


def view_faults(view: View, names: Names) -> Iterator[Fault]:
    """Every fault of a view."""
    if len(view.args) != 1 and (view.kind != "concat" or not view.args):
        yield Fault("", f"{view.kind} of {len(view.args)} values", "one value")
        return
    if (view.start is not None) != (view.kind in ("slice", "item")):
        has = "no start" if view.start is None else f"a start, {view.start}"
        yield Fault("", f"{view.kind} has {has}")
        return
    if view.kind == "item":
        yield from _item(view, view.args[0], names)
        return
    for v in view.args:
        if v.dtype != view.dtype:
            yield Fault("", f"is declared {view.dtype}, {names[v]} is {v.dtype}", "the same")
    expected = _expected(view, view.args[0])
    if isinstance(expected, Fault):
        yield expected
    elif view.axes != tuple(expected):
        yield Fault("", f"{view.kind} has axes {shown(view.axes)}", shown(expected))
    elif view.kind == "slice":
        yield from _inside(view, view.args[0])


def _expected(view: View, arg: Value) -> Sequence[Axis] | Fault:
    """The axes the view must have, or why there are none."""
    old = [pair.partition(":")[0] for pair in view.names]
    used = {
        "rename": old, "split": view.names[:1], "merge": view.names[:-1],
        "slice": view.names, "concat": view.names,
    }[view.kind]  # fmt: skip
    for name in used:
        if name not in arg.shape:
            return Fault("", f"{view.kind} of axis {name!r}", "an axis", nearest(name, arg.shape))
        if view.kind in ("split", "slice") and arg.axis(name).within is not None:
            what = f"{view.kind} of axis {arg.axis(name)}, which is a subset"
            return Fault("", what, "an axis that is all there is")
    if len(set(used)) < len(used):
        return Fault("", f"{view.kind} names an axis twice")
    needed = {"split": len(view.names) > 1, "merge": len(view.names) > 1, "rename": True}
    if not needed.get(view.kind, len(view.names) == 1):
        return Fault("", f"{view.kind} names {len(view.names)} axes")
    return _BY_KIND[view.kind](view, arg)


def _rename(view: View, arg: Value) -> Sequence[Axis] | Fault:
    new = {old: new for old, _, new in (pair.partition(":") for pair in view.names)}
    return [Axis(new.get(a.name, a.name), a.size, a.within) for a in arg.axes]


def _split(view: View, arg: Value) -> Sequence[Axis] | Fault:
    whole, *parts = view.names
    missing = [n for n in parts if n not in view.shape]
    if missing:
        return Fault("", f"split into {missing[0]!r}, which the result lacks")
    pieces = [view.axis(n) for n in parts]
    if points(pieces) != arg.shape[whole]:
        what = f"split of {arg.axis(whole)} into {', '.join(map(str, pieces))}"
        return Fault("", what, f"parts whose product is {arg.shape[whole]}")
    return [p for a in arg.axes for p in (pieces if a.name == whole else [a])]


def _merge(view: View, arg: Value) -> Sequence[Axis] | Fault:
    *parts, into = view.names
    whole = merged(into, (arg.axis(n) for n in parts))
    kept = [a for a in arg.axes if a.name == parts[0] or a.name not in parts]
    return [whole if a.name == parts[0] else a for a in kept]


def _slice(view: View, arg: Value) -> Sequence[Axis] | Fault:
    along = view.names[0]
    length = view.shape.get(along, size(0))
    return [Axis(along, length) if a.name == along else a for a in arg.axes]


def _concat(view: View, arg: Value) -> Sequence[Axis] | Fault:
    along = view.names[0]
    rest = {a for a in arg.axes if a.name != along}
    for v in view.args:
        if along not in v.shape or {a for a in v.axes if a.name != along} != rest:
            what = f"concat of {shown(arg.axes)} and {shown(v.axes)}"
            return Fault("", what, f"the same axes but for the size of {along!r}")
    whole = joined(along, (v.axis(along) for v in view.args))
    return [whole if a.name == along else a for a in arg.axes]


_BY_KIND = {"rename": _rename, "split": _split, "merge": _merge, "slice": _slice, "concat": _concat}


def _inside(view: View, arg: Value) -> Iterator[Fault]:
    assert view.start is not None
    along = view.names[0]
    start = view.start.constant
    spare = (arg.shape[along] - view.start - view.shape[along]).constant
    if (start is not None and start < 0) or (spare is not None and spare < 0):
        end = view.start + view.shape[along]
        yield Fault(
            "", f"slice [{view.start}, {end}) of axis {arg.axis(along)}", "a range inside it"
        )


def _item(view: View, arg: Value, names: Names) -> Iterator[Fault]:
    assert view.start is not None
    count, number = components(arg), view.start.constant
    if count == 1:
        yield Fault("", f"item of {names[arg]}, which has one component", "the value itself")
        return
    if not isinstance(number, int) or not 0 <= number < count:
        yield Fault("", f"item {view.start} of {names[arg]}", f"0 to {count - 1}")
        return
    expected, dtype = arg.axes, arg.dtype
    if isinstance(arg, Reduce | Scan):
        dtype = arg.args[number].dtype
        expected = arg.component(number) if isinstance(arg, Reduce) else expected
    elif isinstance(arg, GroupBy) and number > 0:
        expected = (arg.group, arg.member)
    if view.axes != expected:
        yield Fault("", f"item {number} has axes {shown(view.axes)}", shown(expected))
    if view.dtype != dtype:
        yield Fault("", f"item {number} is declared {view.dtype}", str(dtype))
