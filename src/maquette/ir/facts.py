"""What follows from a Program without running it: work, and what has to move.

Counts are `Size`s, polynomials in the program's symbols, and they are of *elements*: bytes follow
once a Plan has chosen a number format for every role.  A View moves nothing, and so does a value
that needs no input (positions, masks): it is made again wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from maquette.ir.axes import Axis, points
from maquette.ir.dtypes import DType
from maquette.ir.graph import Graph, Program
from maquette.ir.monoids import ADD, Streamed
from maquette.ir.patterns import Input, Map, Reduce, Role, Scan, Value, View
from maquette.ir.reads import covered, largest, maker, reads, sources
from maquette.ir.scalar import Apply, Arg
from maquette.ir.scalar import flops as scalar_flops
from maquette.ir.sizes import Size, size


@dataclass(frozen=True)
class Contraction:
    """``add over d: left * right``, with the axes of each side as the matrix unit sees them."""

    left: Value
    right: Value
    over: tuple[Axis, ...]
    batch: tuple[Axis, ...]  # on both sides and in the result
    rows: tuple[Axis, ...]  # of the left side alone
    columns: tuple[Axis, ...]  # of the right side alone

    @property
    def points(self) -> Size:
        return points((*self.over, *self.batch, *self.rows, *self.columns))

    @property
    def flops(self) -> Size:
        return self.points * 2

    @property
    def matrix(self) -> bool:
        """Whether a matrix unit can take it: each side is reused along axes of the other."""
        return bool(self.rows and self.columns)


@dataclass(frozen=True)
class Work:
    """Flops that a matrix unit can take, and all others."""

    matrix: Size
    vector: Size

    @property
    def total(self) -> Size:
        return self.matrix + self.vector


@dataclass(frozen=True)
class Move:
    """Elements that cross the border of a section."""

    elements: Size
    role: Role
    dtype: DType
    name: str  # of the input or output; else the section that makes the value


@dataclass(frozen=True)
class SectionTraffic:
    """What a section reads from outside, each value once, and what it leaves behind."""

    reads: tuple[Move, ...]
    writes: tuple[Move, ...]


def flops(value: Value) -> Size:
    """Arithmetic operations of one pattern; a multiply-add is two.

    >>> from maquette.ir.build import activation, weight
    >>> y = (activation("x", n="n", d=512) * weight("w", d=512, f=2048)).sum("d")
    >>> str(flops(y.value)), str(flops(y.value.operands[0]))
    ('1048576*n', '1048576*n')
    """
    match value:
        case Map():
            return points(value.axes) * scalar_flops(value.body)
        case Reduce(monoid=Streamed() as monoid):
            over = [a for a in value.domain if a.name in value.over]
            each = (
                points((*value.component(i), *over)) * p.flops for i, p in enumerate(monoid.parts)
            )
            return sum(each, start=size(0))
        case Reduce():
            return points(value.domain) * value.monoid.flops
        case Scan():
            return points(value.axes) * value.monoid.flops
        case _:
            return size(0)


def contraction(value: Value) -> Contraction | None:
    """The contraction that `value` is, if it is one: a sum of products of two values.

    >>> from maquette.ir.build import activation, weight
    >>> y = (activation("x", n="n", d=512) * weight("w", d=512, f=2048)).sum("d")
    >>> found = contraction(y.value)
    >>> str(found.flops), found.matrix
    ('2097152*n', True)
    """
    if not (isinstance(value, Reduce) and value.monoid == ADD and isinstance(value.args[0], Map)):
        return None
    match value.args[0].body:
        case Apply("mul", (Arg(i, ()), Arg(j, ()))):
            left, right = value.args[0].args[i], value.args[0].args[j]
        case _:
            return None
    over = tuple(a for a in value.domain if a.name in value.over)
    if not all(a.name in left.shape and a.name in right.shape for a in over):
        return None
    batch = tuple(a for a in value.axes if a.name in left.shape and a.name in right.shape)
    rows = tuple(a for a in value.axes if a.name not in right.shape)
    columns = tuple(a for a in value.axes if a.name not in left.shape)
    if any(a in columns for a in rows):  # an axis that neither side has
        return None
    return Contraction(left, right, over, batch, rows, columns)


def work(values: Iterable[Value]) -> Work:
    """The flops of some values, products that only feed a matrix unit counted with it."""
    matrix, vector = size(0), size(0)
    chosen = list(values)
    taken = {id(v): c for v in chosen if (c := contraction(v)) is not None and c.matrix}
    others = {id(o) for v in chosen if id(v) not in taken for o in v.operands}
    fused = {id(v.operands[0]) for v in chosen if id(v) in taken} - others
    for v in chosen:
        if id(v) in taken:
            matrix += taken[id(v)].flops
        elif id(v) not in fused:
            vector += flops(v)
    return Work(matrix, vector)


def footprint(value: Value, reader: Value) -> Size:
    """How many elements of `value` the node `reader` touches, through any views between them.

    An axis of which the reader's domain holds a subset counts the subset; a gather counts the
    points of its indices times the remaining axes, or all there is where that is surely fewer.

    >>> from maquette.ir.build import indices, weight
    >>> table, ids = weight("table", v=32000, d=64), indices("ids", b="b", s="s")
    >>> str(footprint(table.value, table.at(v=ids).value))
    '64*b*s'
    """
    return largest(count for source, count in reads(reader) if source is value)


def generated(value: Value) -> bool:
    """Whether a value needs no input, so that it can be made wherever it is read."""
    known = _generated.get(value)
    if known is None:
        known = not isinstance(value, Input) and all(map(generated, value.operands))
        _generated[value] = known
    return known


_generated: WeakKeyDictionary[Value, bool] = WeakKeyDictionary()


def by_section(graph: Graph) -> dict[str, list[Value]]:
    """The patterns of a graph by section, operands before users; inputs and views do no work."""
    sections: dict[str, list[Value]] = {}
    for v in graph.values:
        if not isinstance(v, Input | View):
            sections.setdefault(v.section, []).append(v)
    return sections


def section_traffic(values: Iterable[Value], graph: Graph) -> SectionTraffic:
    """What a set of the graph's values, run as one, reads and writes.

    What is made and used inside moves nothing.  An output that is a state after the step is
    written with the role ``state``; the part of it that was there before is not written again.
    """
    inside = {id(v) for v in values if not isinstance(v, Input)}
    taken: dict[Value, list[Size]] = {}
    left: dict[Value, None] = {}
    for reader in graph.values:
        reading = id(reader) in inside
        for source, count in reads(reader):
            made = id(maker(source)) in inside
            if reading and not made:
                taken.setdefault(source, []).append(count)
            elif made and not reading:
                left[source] = None
    kept = _kept(graph)
    left.update((source, None) for source in kept if id(maker(source)) in inside)
    return SectionTraffic(
        tuple(_arrival(v, covered(v, counts)) for v, counts in taken.items() if not generated(v)),
        tuple(_departure(v, kept.get(v, ())) for v in left if not generated(v)),
    )


def _arrival(source: Value, count: Size) -> Move:
    if isinstance(source, Input):
        return Move(count, source.role, source.dtype, source.name)
    return Move(count, "activation", source.dtype, maker(source).section)


def _departure(source: Value, kept: tuple[tuple[str, Role], ...]) -> Move:
    """A written value; the name and role are those of the outputs it belongs to, states first."""
    name, role = min(kept, key=lambda k: k[1] != "state") if kept else ("", None)
    whole = points(source.axes)
    return Move(whole, role or "activation", source.dtype, name or maker(source).section)


def _kept(graph: Graph) -> dict[Value, tuple[tuple[str, Role], ...]]:
    """The sources of the graph's outputs, with the name and role of each output they are in."""
    found: dict[Value, tuple[tuple[str, Role], ...]] = {}
    for name, value in graph.outputs.items():
        held = graph.inputs.get(name)
        role: Role = "state" if held is not None and held.role == "state" else "activation"
        for source, _ in sources(value):
            found[source] = (*found.get(source, ()), (name, role))
    return found


def parameters(program: Program) -> Size:
    """Elements of all weights: shared ones once, the others once for every occurrence."""
    return _held(program, "weight")


def state_size(program: Program) -> Size:
    """Elements of all states a step starts from: KV caches, recurrent states."""
    return _held(program, "state")


def _held(program: Program, role: Role) -> Size:
    total = size(0)
    seen: set[str] = set()
    for part, times in program.times.items():
        for name, value in program.parts[part].inputs.items():
            if value.role != role or name in seen:
                continue
            once = name in program.shared
            seen.update([name] if once else [])
            total = total + points(value.axes) * (1 if once else times)
    return total
