"""Values whose extents depend on data, as graphs of one pattern for the interpreter."""

from __future__ import annotations

from collections.abc import Mapping

from maquette.compiler.fuse.pieces import Piece
from maquette.compiler.fuse.windows import Held
from maquette.compiler.kernel import Interpreted, Tensor
from maquette.ir.axes import Axis, full
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, GroupBy, Input, Value, View, make
from maquette.ir.semantics import Numbers
from maquette.ir.sizes import size


def interpreted(
    name: str, piece: Piece, stores: Mapping[tuple[Value, int], Held], numbers: Numbers
) -> Interpreted:
    """A FlatMap or a GroupBy of a tensor, with tensors for all its results."""
    value = piece.value
    assert isinstance(value, FlatMap | GroupBy)
    (read,) = piece.reads
    key = stores[read.source, read.component]
    axes = tuple(_bound(a, numbers) for a in value.key.axes)
    strides = dict(zip(key.axes, key.strides, strict=True))
    shape = numbers.shape(axes)
    names = tuple(a.name for a in axes)
    places = {n: strides.get(old, 0) for n, old in _called(piece, names).items()}
    given = Tensor(
        "key", key.dtype, names, shape, tuple(places[n] for n in names), key.buffer, key.offset
    )
    source = make(Input, axes=axes, dtype=key.dtype, name="key", role="activation", section="")
    results: list[Value]
    if isinstance(value, FlatMap):
        out = _bound(value.out, numbers)
        kept = tuple(out if a.name == out.name else _bound(a, numbers) for a in value.axes)
        parts = {"rule": value.rule, "along": value.along, "out": out, "key": source}
        results = [make(FlatMap, axes=kept, dtype=value.dtype, section="", **parts)]
        reason = f"{value.rule}: which positions are kept depends on the data"
    else:
        group, member = _bound(value.group, numbers), _bound(value.member, numbers)
        parts = {"key": source, "group": group, "member": member}
        kept = tuple(_bound(a, numbers) for a in value.axes)
        node = make(GroupBy, axes=kept, dtype=value.dtype, section="", **parts)
        results = [_item(node, i, group, member) for i in range(1 + len(axes))]
        reason = "group: how many members a group has depends on the data"
    held = [stores[value, c] for c in range(len(results))]
    outputs = tuple(
        Tensor(h.name, h.dtype, h.axes, h.shape, h.strides, h.buffer, h.offset) for h in held
    )
    graph = Graph(name, {h.name: v for h, v in zip(held, results, strict=True)})
    return Interpreted(name, (given,), outputs, graph, reason)


def _called(piece: Piece, names: tuple[str, ...]) -> dict[str, str]:
    """How the tensor that holds the key calls each axis of the key."""
    (read,) = piece.reads
    found = {}
    for axis, coordinate in read.at:
        for name in names:
            if getattr(coordinate, "axis", None) == name:
                found[name] = axis
    return {n: found.get(n, "") for n in names}


def _item(node: GroupBy, number: int, group: Axis, member: Axis) -> Value:
    axes = (group, member) if number else node.axes
    parts = {"kind": "item", "args": (node,), "names": (), "start": size(number)}
    return make(View, axes=axes, dtype=node.dtype, section="", **parts)


def _bound(ax: Axis, numbers: Numbers) -> Axis:
    """An axis with a number for its size; of a subset, for the size it is drawn from."""
    whole = size(numbers.whole(full(ax)))
    return Axis(
        ax.name, whole if ax.within is None else ax.size, None if ax.within is None else whole
    )
