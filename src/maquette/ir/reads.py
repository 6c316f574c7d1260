"""Which elements a node touches, and of which tensors, seen through the views between them.

A region is a box: how many coordinates of each axis are touched.  A gather touches as many points
as its indices have; where that is surely more than there are, it touches all there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias
from weakref import WeakKeyDictionary

from maquette.ir.axes import Axis, points
from maquette.ir.patterns import Map, Reduce, Value, View
from maquette.ir.scalar import Apply, Arg, Index, Scalar
from maquette.ir.scalar import reads as scalar_reads
from maquette.ir.sizes import Size, product, size

Box: TypeAlias = dict[str, Size]

_known: WeakKeyDictionary[Value, tuple[tuple[Value, Size], ...]] = WeakKeyDictionary()


def reads(reader: Value) -> tuple[tuple[Value, Size], ...]:
    """Every tensor a pattern reads, with the elements it touches: (source, count), each once.

    Sources are inputs, patterns, and items of patterns; a View reads nothing by itself.
    """
    found = _known.get(reader)
    if found is None:
        found = () if isinstance(reader, View) else tuple(_merged(_touched(reader)))
        _known[reader] = found
    return found


def sources(value: Value) -> tuple[tuple[Value, Size], ...]:
    """Where the elements of a value are: itself, or what its views look at, with counts."""
    return tuple(_behind(value, dict(value.shape)))


def maker(source: Value) -> Value:
    """The pattern or input that makes a source."""
    return source.args[0] if isinstance(source, View) else source


def largest(counts: Iterable[Size]) -> Size:
    """The largest of some counts; the sum of those that cannot be ordered; 0 of none."""
    kept: list[Size] = []
    for count in counts:
        if any(_surely_le(count, k) for k in kept):
            continue
        kept = [k for k in kept if not _surely_le(k, count)]
        kept.append(count)
    return sum(kept, start=size(0))


def covered(source: Value, counts: Iterable[Size]) -> Size:
    """What several readers touch of one source together: no more than the whole of it."""
    return _smaller(largest(counts), points(source.axes))


def _merged(touched: Iterable[tuple[Value, Size]]) -> Iterator[tuple[Value, Size]]:
    """Distinct reads of one tensor add up, to at most the whole of it."""
    found: dict[Value, list[Size]] = {}
    for source, count in touched:
        found.setdefault(source, []).append(count)
    for source, counts in found.items():
        yield source, _smaller(sum(counts, start=size(0)), points(source.axes))


def _touched(reader: Value) -> Iterator[tuple[Value, Size]]:
    if isinstance(reader, Map):
        domain = {a.name: a for a in reader.axes}
        for read in dict.fromkeys(scalar_reads(reader.body)):
            operand = reader.args[read.number]
            yield from _behind(operand, _region(operand, read, domain, reader.args))
        return
    axes = reader.domain if isinstance(reader, Reduce) else reader.axes
    sizes = {a.name: a.size for a in axes}
    for operand in dict.fromkeys(reader.operands):
        yield from _behind(operand, {a.name: sizes.get(a.name, a.size) for a in operand.axes})


def _region(operand: Value, read: Arg, domain: Mapping[str, Axis], args: tuple[Value, ...]) -> Box:
    """The box of `operand` that one read touches over a Map's domain."""
    gathered = dict(read.at)
    box = {n: domain[n].size if n in domain else s for n, s in operand.shape.items()}
    if gathered:
        swept = {n for _, index in read.at for n in _axes_of(index, args)}
        swept -= box.keys() - gathered.keys()  # counted already, axis by axis
        count = points(domain[n] for n in sorted(swept) if n in domain)
        whole = product(operand.shape[n] for n in gathered if n in operand.shape)
        box |= dict.fromkeys(gathered, size(1))
        box[next(iter(gathered))] = _smaller(count, whole)
    return box


def _axes_of(index: Scalar, args: tuple[Value, ...]) -> Iterator[str]:
    """The axes along which a computed coordinate varies."""
    match index:
        case Index(name):
            yield name
        case Arg(number, at):
            gathered = dict(at)
            yield from (n for n in args[number].shape if n not in gathered)
            for inner in gathered.values():
                yield from _axes_of(inner, args)
        case Apply(_, parts):
            for part in parts:
                yield from _axes_of(part, args)


def _behind(value: Value, box: Box) -> Iterator[tuple[Value, Size]]:
    """The sources of a box of `value`, through views."""
    if not isinstance(value, View) or value.kind == "item":
        yield value, product(box.values())
        return
    for part in value.args:
        yield from _behind(part, _through(value, part, box))


def _through(view: View, part: Value, box: Box) -> Box:
    """The box of a view's argument that a box of the view shows."""
    names = view.names
    match view.kind:
        case "rename":
            old = {new: old for old, _, new in (n.partition(":") for n in names)}
            return {old.get(n, n): count for n, count in box.items()}
        case "split":
            pieces = {n: c for n, c in box.items() if n not in names[1:]}
            return pieces | {names[0]: product(box[n] for n in names[1:])}
        case "merge":
            pieces = {n: c for n, c in box.items() if n != names[-1]}
            if box[names[-1]] == view.shape[names[-1]]:
                return pieces | {n: part.shape[n] for n in names[:-1]}
            return pieces | {n: size(1) for n in names[1:-1]} | {names[0]: box[names[-1]]}
        case "concat":
            return box | {names[0]: _share(box[names[0]], part.shape[names[0]], view, names[0])}
        case _:
            return box


def _share(count: Size, length: Size, view: View, along: str) -> Size:
    """How much of `count` coordinates of a concatenation falls into a part of some length."""
    whole = view.shape[along]
    if count == whole:
        return length
    if len(whole.terms) == 1:
        return count * length / whole
    return _smaller(count, length)


def _smaller(left: Size, right: Size) -> Size:
    """The one that is surely smaller; `left` where that depends on the symbols."""
    return right if _surely_le(right, left) else left


def _surely_le(left: Size, right: Size) -> bool:
    """Whether left ≤ right for all non-negative values of the symbols."""
    return all(coeff >= 0 for _, coeff in (right - left).terms)
