"""Sharding: which axes of a Program are cut over which part of the mesh.

The result is again a Program, of one device: a sharded axis of size ``G`` has size ``G / symbol``
where the symbol stands for a number of shards.  Symbols stay symbolic, so one sharded Program
prices every mesh.  Communication follows from the sharding and is not written anywhere else: a
combine over a sharded axis leaves a partial sum, and a partial sum that meets anything but a
linear operation has to be completed first; a gather between tokens and experts is an exchange
when both are sharded.

Shard symbols, and the number each stands for on a mesh (`shards`):

- ``g8``: an axis ``g`` of 8 key-value heads, ``gcd(tp, 8)``; beyond that they are replicated;
- ``r/g8``: query heads of each of 8 groups, what is left of ``tp``;
- ``tp``: heads, hidden features, vocabulary;
- ``ep``: experts;  ``tp/ep``: hidden features inside experts (``tp·dp/ep``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from maquette.ir.axes import Axis
from maquette.ir.graph import Graph, walk
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View, make
from maquette.ir.scalar import Arg
from maquette.ir.sizes import Size

TENSOR_AXES = frozenset({"g", "r", "h", "f", "v"})
MEMBER, EXPERT = "m", "e"


@dataclass(frozen=True)
class Partial:
    """A value whose true value is its sum over a group of devices: it must be all-reduced."""

    value: Value
    groups: frozenset[str]  # "tp", "ep"


@dataclass(frozen=True)
class Local:
    """One device's share of a graph, and the sums it owes."""

    graph: Graph
    partials: tuple[Partial, ...]
    exchanges: tuple[Value, ...]  # tokens on their way to experts or back


def localise(graph: Graph) -> Local:
    """One device's share of `graph` under the axis rules of this module."""
    grouped = _grouped(graph.values)
    local: dict[Value, Value] = {}
    for value in graph.values:
        local[value] = _shard(value, value in grouped, local)
    outputs = {name: local[v] for name, v in graph.outputs.items()}
    shared = Graph(graph.name, outputs)
    return Local(shared, tuple(_owed(shared)), tuple(_exchanged(shared)))


def shards(symbols: Iterable[str], mesh: Mapping[str, Any]) -> dict[str, Any]:
    """The number behind every shard symbol on a mesh given as ``tp, dp, ep`` (arrays allowed).

    >>> shards(["g8", "r/g8", "tp"], {"tp": 16, "dp": 1, "ep": 1})["r/g8"]
    2.0
    """
    tp, dp, ep = (np.asarray(mesh[k], dtype=np.int64) for k in ("tp", "dp", "ep"))
    values: dict[str, Any] = {"tp": tp * 1.0, "ep": ep * 1.0, "dp": dp * 1.0}
    values["tp/ep"] = tp * dp / ep
    for name in symbols:
        if name.startswith("g") and name[1:].isdigit():
            values[name] = np.gcd(tp, int(name[1:])) * 1.0
        elif name.startswith("r/g"):
            values[name] = tp / np.gcd(tp, int(name[3:]))
    return {k: v if np.ndim(v) else float(v) for k, v in values.items()}


def _grouped(values: Iterable[Value]) -> frozenset[Value]:
    """Values that live inside experts: their domain has an axis that ranges over a subset."""
    held: set[Value] = set()
    for value in values:
        domain = value.domain if isinstance(value, Reduce) else value.axes
        if any(a.within is not None for a in domain):
            held.add(value)
            held.update(o for o in value.operands if isinstance(o, Input) and o.role == "weight")
    return frozenset(held)


def _shard(value: Value, grouped: bool, local: Mapping[Value, Value]) -> Value:
    if isinstance(value, GroupBy):
        cut = _axes((value.group, value.member), True)
        return _rebuild(value, local, axes=value.axes, group=cut[0], member=cut[1])
    if isinstance(value, View) and value.kind == "item" and grouped:
        return _rebuild(value, local, axes=_axes(value.axes, True))
    if isinstance(value, FlatMap):
        return _rebuild(value, local, axes=value.axes)
    return _rebuild(value, local, axes=_axes(value.axes, grouped))


def _rebuild(value: Value, local: Mapping[Value, Value], **changes: Any) -> Value:
    parts = {f.name: getattr(value, f.name) for f in fields(value)} | changes
    for name in ("args", "key"):
        if name in parts:
            held = parts[name]
            parts[name] = tuple(local[a] for a in held) if name == "args" else local[held]
    return make(type(value), **parts)


def _axes(axes: tuple[Axis, ...], grouped: bool) -> tuple[Axis, ...]:
    groups = next((a.size.constant for a in axes if a.name == "g"), None)
    return tuple(Axis(a.name, _cut(a, grouped, groups), _space(a)) for a in axes)


def _space(ax: Axis) -> Size | None:
    """What a subset is drawn from: of experts, those of one device."""
    return ax.within / "ep" if ax.name == EXPERT and ax.within is not None else ax.within


def _cut(ax: Axis, grouped: bool, groups: Any) -> Size:
    if ax.name == MEMBER:
        return ax.size * "dp" * "imbalance" / "ep"  # the busiest device
    if ax.name == EXPERT:  # "hit" is already one device's count; a full expert axis is storage
        return ax.size if ax.within is not None or not grouped else ax.size / "ep"
    if ax.name not in TENSOR_AXES or ax.size.constant == 1:
        return ax.size
    if ax.name == "g":
        return ax.size / f"g{groups}"
    if ax.name == "r" and groups is not None:
        return ax.size / f"r/g{groups}"
    return ax.size / ("tp/ep" if grouped else "tp")


def _owed(graph: Graph) -> Iterable[Partial]:
    """Partial sums at the point where they can be put off no longer."""
    owes: dict[Value, frozenset[str]] = {}
    none: frozenset[str] = frozenset()
    asked: dict[Value, Partial] = {}
    for value in walk(graph.outputs.values()):
        new = _sharded_over(value)
        held = [owes.get(o, none) for o in value.operands]
        joint = frozenset().union(*held) if held else none
        if joint and not _linear(value, held):
            for o, groups in zip(value.operands, held, strict=True):
                if groups:
                    asked[o] = Partial(o, groups)
            joint = none
        owes[value] = joint | new
    for value in graph.outputs.values():
        if owes[value]:
            asked[value] = Partial(value, owes[value])
    return asked.values()


def _exchanged(graph: Graph) -> Iterable[Value]:
    """Gathers that cross between tokens and experts: an exchange where both are sharded."""
    grouped = _grouped(graph.values)
    for value in graph.values:
        if isinstance(value, Map) and isinstance(value.body, Arg) and value.body.at:
            source = value.args[0]
            if (source in grouped) != (value in grouped) and source.dtype.kind == "float":
                yield value


def _sharded_over(value: Value) -> frozenset[str]:
    """Groups over which this value is a partial sum by itself."""
    if isinstance(value, Reduce):
        names = [a for a in value.domain if a.name in value.over]
        return frozenset(_group(a.size) for a in names) - {""}
    if isinstance(value, Map) and isinstance(value.body, Arg):
        gathered = [n for n, _ in value.body.at]
        axes = [a for a in value.args[0].axes if a.name in gathered]
        return frozenset(_group(a.size) for a in axes) - {""}
    return frozenset()


def _group(extent: Size) -> str:
    symbols = extent.symbols
    if "ep" in symbols or "hit" in symbols:
        return "ep"
    return "tp" if any(s == "tp" or s == "tp/ep" or s[0] in "gr" for s in symbols) else ""


def _linear(value: Value, held: list[frozenset[str]]) -> bool:
    """Whether applying `value` to a partial sum and then summing gives the same."""
    if isinstance(value, View):
        return True
    if isinstance(value, Reduce):
        return value.monoid.name == "add"
    if isinstance(value, Scan) or not isinstance(value, Map):
        return False
    op = getattr(value.body, "op", "read")
    owing = [bool(h) for h in held]
    if op in ("add", "sub"):
        return all(owing)  # one all-reduce over all the groups completes both
    if op == "mul":
        return sum(owing) == 1
    if op == "div":
        return owing[0] and not any(owing[1:])
    return op in ("read", "neg", "to_f32", "to_bf16", "to_f16") and owing[0]
