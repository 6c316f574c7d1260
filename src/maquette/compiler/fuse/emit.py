"""Groups as kernels: stages with bodies over named tensors, and tensors as windows on buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from maquette.compiler.fuse.coalesce import coalesced
from maquette.compiler.fuse.group import Group, Placed
from maquette.compiler.fuse.index import Ranges, axes_of, moved, whole
from maquette.compiler.fuse.pieces import Piece
from maquette.compiler.fuse.windows import Held, window
from maquette.compiler.kernel import Kernel, Result, Stage, StageKind, Tensor
from maquette.ir.dtypes import DType
from maquette.ir.patterns import Reduce, Scan, Value
from maquette.ir.scalar import LOGIC, TESTS, Apply, Arg, Lit, Scalar
from maquette.ir.scalar import reads as reads_of

Stores = Mapping[tuple[Value, int], Held]  # where each component that has a buffer is
Names = Mapping[tuple[Piece, int], str]  # what each component of each piece is called


def component_type(value: Value, component: int) -> DType:
    """The number format of one component of a value."""
    if isinstance(value, Reduce | Scan):
        return value.args[component].dtype
    return value.dtype


def component_axes(piece: Piece, component: int) -> tuple[str, ...]:
    """The axes of the value along which a component varies."""
    varies = set(piece.components[component])
    return tuple(a for a, c in piece.place.items() if set(axes_of(c)) <= varies)


@dataclass
class _Inputs:
    """The tensors that a kernel reads, each window once, each with a name of its own."""

    tensors: dict[Tensor, str]
    taken: set[str]

    def name(self, tensor: Tensor) -> str:
        plain = replace(tensor, name="")
        if plain not in self.tensors:
            name, number = tensor.name, 1
            while name in self.taken:
                number += 1
                name = f"{tensor.name}_{number}"
            self.taken.add(name)
            self.tensors[plain] = name
        return self.tensors[plain]


def kernel(group: Group, stores: Stores, names: Names) -> Kernel:
    """The kernel of a group; components in `stores` are written to their buffers."""
    inputs = _Inputs({}, {names[p.piece, c] for p, c in components(group)})
    outputs = tuple(
        _output(p, c, group, stores[p.piece.value, c], names[p.piece, c])
        for p, c in components(group)
        if (p.piece.value, c) in stores
    )
    order = {t.name: t.axes for t in outputs}
    stages = tuple(_stage(p, group, stores, names, inputs, order) for p in group.placed)
    tensors = tuple(replace(t, name=n) for t, n in inputs.tensors.items())
    used = {a for s in stages for r in s.results for a in (*r.axes, *s.over)}
    extents = {a: n for a, n in group.axes.items() if a in used}
    return coalesced(_without_copies(Kernel("", extents, tensors, outputs, stages)))


def components(group: Group) -> list[tuple[Placed, int]]:
    """Every component that a group makes."""
    return [(p, c) for p in group.placed for c in range(len(p.piece.components))]


def _stage(
    placed: Placed,
    group: Group,
    stores: Stores,
    names: Names,
    inputs: _Inputs,
    order: Mapping[str, tuple[str, ...]],
) -> Stage:
    piece = placed.piece
    reads: dict[str, int] = {}
    done: dict[int, Arg] = {}
    ranges = Ranges(group.axes)

    def body(leaf: Scalar) -> Scalar:
        return _tidy(_rewritten(moved(leaf, placed.at), read), ranges)

    def read(number: int) -> Arg:
        if number not in done:
            found = piece.reads[number]
            key = found.source, found.component
            member = group.member(found.source)
            if member is not None and member is not placed:
                name = names[member.piece, found.component]
                done[number] = Arg(reads.setdefault(name, len(reads)))
            else:
                at = {n: _rewritten(moved(c, placed.at), read) for n, c in found.at}
                tensor, computed = window(stores[key], at, group.axes)
                done[number] = Arg(reads.setdefault(inputs.name(tensor), len(reads)), computed)
        return done[number]

    results = tuple(
        Result(n, order.get(n) or _sorted(placed.results(c), group), component_type(piece.value, c))
        for c, n in enumerate(names[piece, c] for c in range(len(piece.components)))
    )
    leaves, named = _in_order(tuple(map(body, piece.leaves)), tuple(reads))
    kind: StageKind = "scan" if piece.scanned else "reduce" if piece.monoid is not None else "map"
    return Stage(kind, results, placed.over, piece.monoid, leaves, named)


def _in_order(
    leaves: tuple[Scalar, ...], reads: tuple[str, ...]
) -> tuple[tuple[Scalar, ...], tuple[str, ...]]:
    """Leaves with their reads numbered in the order in which they are named."""
    found = dict.fromkeys(reads[a.number] for leaf in leaves for a in reads_of(leaf))
    places = {name: i for i, name in enumerate(found)}

    def again(body: Scalar) -> Scalar:
        match body:
            case Arg(number, at):
                return Arg(places[reads[number]], tuple((n, again(c)) for n, c in at))
            case Apply(op, args):
                return Apply(op, tuple(map(again, args)))
        return body

    return tuple(map(again, leaves)), tuple(found)


def _rewritten(body: Scalar, read: object) -> Scalar:
    match body:
        case Arg(number):
            return read(number)  # type: ignore[operator,no-any-return]
        case Apply(op, args):
            return Apply(op, tuple(_rewritten(a, read) for a in args))
    return body


def _tidy(body: Scalar, ranges: Ranges) -> Scalar:
    """Index arithmetic in its one form, wherever it stands in a body."""
    match body:
        case Apply(op, args) if whole(body):
            return ranges.simple(body)
        case Apply(op, args) if op in TESTS or op in LOGIC:
            return ranges.test(Apply(op, tuple(_tidy(a, ranges) for a in args)))
        case Apply(op, args):
            parts = tuple(_tidy(a, ranges) for a in args)
            if op == "where" and isinstance(parts[0], Lit):
                return parts[1] if parts[0].value else parts[2]
            return Apply(op, parts)
    return body


def _sorted(axes: tuple[str, ...], group: Group) -> tuple[str, ...]:
    """Axes in the order of the whole kernel."""
    return tuple(a for a in group.axes if a in axes)


def _output(placed: Placed, component: int, group: Group, held: Held, name: str) -> Tensor:
    at = {a: placed.place(a) for a in held.axes}
    tensor, computed = window(held, at, group.axes)
    assert not computed, "what a stage makes lies inside its buffer"
    strides = dict(zip(tensor.axes, tensor.strides, strict=True))
    axes = _sorted(placed.results(component), group)
    steps = {a: abs(strides.get(a, 0)) for a in axes if group.axes[a] > 1}
    if steps and steps.get(axes[-1], 0) > min(steps.values()):  # what is closest comes last
        rows = [a for a in axes if a in group.parallel]
        inner = sorted((a for a in axes if a not in rows), key=lambda a: -steps.get(a, 0))
        axes = (*rows, *inner)
    return replace(
        tensor,
        name=name,
        axes=axes,
        shape=tuple(group.axes[a] for a in axes),
        strides=tuple(strides.get(a, 0) for a in axes),
    )


def _without_copies(kernel: Kernel) -> Kernel:
    """Stages that only store what an earlier one made go away: that one stores it itself."""
    outputs = {t.name for t in kernel.outputs}
    for stage in kernel.stages:
        if stage.kind != "map" or stage.leaves != (Arg(0),) or len(stage.reads) != 1:
            continue
        source, (target,) = stage.reads[0], stage.results
        made = next((r for s in kernel.stages for r in s.results if r.name == source), None)
        if made is None or source in outputs or made.dtype != target.dtype:
            continue
        if set(made.axes) == set(target.axes):
            return _without_copies(_renamed(kernel, stage, source, target.name))
    return kernel


def _renamed(kernel: Kernel, gone: Stage, old: str, new: str) -> Kernel:
    def name(held: str) -> str:
        return new if held == old else held

    stages = tuple(
        replace(
            s,
            results=tuple(replace(r, name=name(r.name)) for r in s.results),
            reads=tuple(map(name, s.reads)),
        )
        for s in kernel.stages
        if s is not gone
    )
    return replace(kernel, stages=stages)
