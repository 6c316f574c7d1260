"""Lower a Program to the Schedule a serving engine runs.

The Program is made local (`plans.sharding`), its values are gathered into the sections that the
engine's kernels cover, and every count follows by walking them.  Nothing here knows a technique.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from maquette.compiler.schedule import (
    Collective,
    CollectiveKind,
    Moved,
    Schedule,
    Section,
    SectionKind,
    to_features,
)
from maquette.errors import Fault, ProgramError
from maquette.ir.axes import points
from maquette.ir.facts import Move, by_section, contraction, generated, section_traffic, work
from maquette.ir.graph import Graph, Program
from maquette.ir.patterns import Input, Scan, Value
from maquette.ir.sizes import Size, size
from maquette.plans.engine import Engine
from maquette.plans.sharding import MEMBER, Local, Partial, localise


def lower(program: Program, engine: Engine) -> Schedule:
    """The sections `engine` runs for one step of `program`, on one device of any mesh.

    Raises:
        ProgramError: a kernel named in the engine's rules would have to fuse what it cannot.
    """
    rules = (
        tuple(sorted(engine.fuse.items())),
        tuple(sorted(engine.launches.items())),
        engine.unquantised,
        engine.unshared and engine.version,
    )
    held = _schedules.get(id(program))
    if held is None or held[0] is not program:
        held = _schedules[id(program)] = (program, {})
    if rules not in held[1]:
        held[1][rules] = _lower(program, engine)
    return held[1][rules]


# By identity, for models make a program once and it never changes; holding it keeps its id its own.
_schedules: dict[int, tuple[Program, dict[object, Schedule]]] = {}


def _lower(program: Program, engine: Engine) -> Schedule:
    locals_ = {name: localise(part) for name, part in program.parts.items()}
    sections: list[Section] = []
    for name in dict.fromkeys(program.order):
        found = list(_part(name, locals_[name], engine))
        if program.prefill(name) is not None:
            found = _phased(found, list(_part(name, locals_[f"{name}.prefill"], engine)))
        sections.extend(found)
    layered = frozenset(n for n in program.times if _is_layer(program.parts[n]))
    stored = _weights(program, locals_, engine)
    before, after = _around(program, layered)
    return Schedule(
        program=program.name,
        sections=tuple(sections),
        times=dict(program.times),
        layered=layered,
        after=frozenset(after),
        windows=_windows(program, sections),
        experts=program.experts,
        weights=sum(stored.values(), start=size(0)),
        repeated=sum((stored[n] for n in layered), start=size(0)),
        first=sum((stored[n] for n in before), start=size(0)),
        last=sum(_weights(program, {n: locals_[n] for n in after}, engine).values(), start=size(0)),
        kv_per_token=_cache(program, locals_, "context"),
        state_per_seq=sum(_cache(program, locals_, "seqs").values(), start=size(0)),
        width=_width(program),
        vocabulary=_vocabulary(program),
        weight_formats=_weight_formats(stored.values()),
    )


def _part(name: str, local: Local, engine: Engine) -> Iterable[Section]:
    graph = local.graph
    kernels: dict[str, list[Value]] = {}
    sections = by_section(graph)
    made = {s: next((v for v in vs if not generated(v)), None) for s, vs in sections.items()}
    place = {v: i for i, v in enumerate(graph.values)}
    last = len(place)  # a section of positions and masks only
    for section in sorted(sections, key=lambda s: place[v] if (v := made[s]) else last):
        kernels.setdefault(engine.fuse.get(section, section), []).extend(sections[section])
    owed = {p.value: _reduction(p) for p in local.partials}
    owed |= {v: _exchange(v) for v in local.exchanges}
    for kernel, values in kernels.items():
        yield _section(kernel, name, values, graph, owed, engine)


def _is_layer(part: Graph) -> bool:
    """Whether a part hands on what it was handed, as layers do and embedding and head do not."""
    return "x" in part.inputs and "x" in part.outputs


def _around(program: Program, layered: frozenset[str]) -> tuple[list[str], list[str]]:
    """The parts before the first layer and those after it that are no layers."""
    first = next((i for i, n in enumerate(program.order) if n in layered), len(program.order))
    others = [n for n in program.order[first:] if n not in layered]
    return list(program.order[:first]), list(dict.fromkeys(others))


def _phased(decode: list[Section], prefill: list[Section]) -> list[Section]:
    """Both forms of a part: what attends in the one form or in the other is told apart."""
    return [
        *(replace(s, phase="decode") if _attends(s) else s for s in decode),
        *(replace(s, phase="prefill") for s in prefill if _attends(s)),
    ]


def _attends(section: Section) -> bool:
    features = {n.partition(":")[0] for n in section.matrix.symbols}
    return bool(features & {"pairs", "context"})


def _section(
    name: str,
    part: str,
    values: list[Value],
    graph: Graph,
    owed: Mapping[Value, Collective],
    engine: Engine,
) -> Section:
    traffic = section_traffic(values, graph)
    done = work(values)
    kept = name in engine.unquantised
    reads = tuple(_moved(m, kept) for m in traffic.reads)
    kind = _kind(values)
    made = Section(
        name=name,
        part=part,
        kind=kind,
        stages=tuple(values),
        matrix=done.matrix.rename(to_features),
        vector=done.vector.rename(to_features),
        weights=_weights_read(traffic.reads),
        reads=reads,
        writes=tuple(_moved(m, kept) for m in traffic.writes),
        collectives=tuple(owed[v] for v in values if v in owed),
        launches=engine.launches.get(name, 1),
        depth=_depth(values),
    )
    group = _group(made) if kind == "attention" else 1
    return replace(made, unshared=group > 1 and not engine.shares(group))


def _group(section: Section) -> int:
    """Query heads that attend to one cached head: a multiply-add each for an element read."""
    cached = sum((m.bytes for m in section.reads if m.role == "state"), start=size(0))
    ones = dict.fromkeys(section.matrix.symbols | cached.symbols, 1.0) | {"tokens": 0.0}
    return round(float(section.matrix(ones)) / 2 / max(float(cached(ones)), 1.0))


def _depth(values: list[Value]) -> Size:
    """Over how much the largest product with a weight reduces, where a section has one."""
    found = [c for v in values if (c := contraction(v)) is not None and c.matrix]
    weighted = [c for c in found if _from_weight(c.left) or _from_weight(c.right)]
    largest = max(weighted, key=lambda c: sum(k for _, k in c.flops.terms), default=None)
    return size(0) if largest is None else points(largest.over).rename(to_features)


def _kind(values: list[Value]) -> SectionKind:
    if any(isinstance(v, Scan) for v in values):
        return "scan"
    products = [c for v in values if (c := contraction(v)) is not None and c.matrix]
    if not products:
        return "elementwise"
    if any(_from_weight(c.left) or _from_weight(c.right) for c in products):
        grouped = any(a.within is not None for v in values for a in v.axes)
        return "grouped" if grouped else "product"
    return "attention"


def _from_weight(value: Value) -> bool:
    while not isinstance(value, Input) and len(value.operands) == 1:
        value = value.operands[0]
    return isinstance(value, Input) and value.role == "weight"


def _weights_read(reads: Iterable[Move]) -> Size:
    found = (m.elements.rename(to_features) for m in reads if m.role == "weight")
    return sum(found, start=size(0))


def _moved(move: Move, kept: bool) -> Moved:
    each: Size | float
    if move.role == "weight":
        each = size("ub" if kept else f"w:{move.dtype}")
    elif move.role == "state":
        each = size("cb") if move.dtype.bits <= 16 else size(move.dtype.bytes)
    elif move.role == "index" or move.dtype.kind != "float":
        each = size(move.dtype.bytes)
    else:  # wider types inside a kernel are registers; between kernels the plan's format holds
        each = size("ab")
    return Moved(move.name, move.role, (move.elements * each).rename(to_features))


def _reduction(partial: Partial) -> Collective:
    group = "+".join(sorted(partial.groups, reverse=True))
    return _collective(partial.value, "all-reduce", group)


def _exchange(value: Value) -> Collective:
    """As many bytes go to the experts as come back: what the experts of a device work on."""
    there = value if any(a.name == MEMBER for a in value.axes) else value.operands[0]
    return _collective(there, "all-to-all", "exchange")


def _collective(value: Value, kind: CollectiveKind, group: str) -> Collective:
    return Collective(kind, group, (points(value.axes) * "ab").rename(to_features))


def _weights(program: Program, locals_: Mapping[str, Local], engine: Engine) -> dict[str, Size]:
    """Bytes of weights on one device, by part; a shared weight counts where it is first met."""
    found: dict[str, Size] = {}
    met: set[str] = set()
    for part, local in locals_.items():
        total = size(0)
        kept = _read_by(local.graph, engine.unquantised)
        for name, value in local.graph.inputs.items():
            if value.role != "weight" or name in met:
                continue
            shared = name in program.shared
            if shared:
                met.add(name)
            times = 1 if shared else program.times[part]
            each = size("ub" if name in kept else f"w:{value.dtype}")
            total = total + points(value.axes) * each * times
        found[part] = total
    return found


def _read_by(graph: Graph, sections: Iterable[str]) -> set[str]:
    """Weights that the given sections read."""
    names = set(sections)
    return {
        o.name
        for v in graph.values
        if v.section in names
        for o in v.operands
        if isinstance(o, Input)
    }


def _cache(program: Program, locals_: Mapping[str, Local], feature: str) -> dict[str, Size]:
    """Bytes of state a device keeps per cached token (by context symbol) or per sequence."""
    found: dict[str, Size] = {}
    for part, local in locals_.items():
        for value in local.graph.inputs.values():
            if value.role != "state":
                continue
            each = size("cb") if value.dtype.bits <= 16 else size(value.dtype.bytes)
            held = (points(value.axes) * each * program.times[part]).rename(to_features)
            for mono, coeff in held.terms:
                name = next((n for n, _ in mono if n.startswith(feature)), None)
                if name is None:
                    continue
                rest = tuple((n, p) for n, p in mono if n != name)
                key = name.partition(":")[2]
                found[key] = found.get(key, size(0)) + Size(((rest, coeff),))
    return found


def _windows(program: Program, sections: Iterable[Section]) -> dict[str, int]:
    """Context symbols in use and the window each is clipped to (0: none)."""
    used: set[str] = set()
    for section in sections:
        for poly in (section.matrix, section.bytes):
            used |= {n.partition(":")[2] for n in poly.symbols if n.startswith("context:")}
            used |= {n.partition(":")[2] for n in poly.symbols if n.startswith("pairs:")}
    return {name: program.windows.get(name, 0) for name in sorted(used)}


def _width(program: Program) -> Size:
    """Bytes of one token between layers: the hidden features of ``x``."""
    for part in program.parts.values():
        x = part.inputs.get("x")
        if x is not None:
            return points(a for a in x.axes if a.name not in ("b", "s")) * "ab"
    raise ProgramError(Fault(program.name, "no part reads 'x'", "layers that thread x"))


def _weight_formats(stored: Iterable[Size]) -> tuple[str, ...]:
    symbols = {name for s in stored for name in s.symbols}
    return tuple(sorted(n.removeprefix("w:") for n in symbols if n.startswith("w:")))


def _vocabulary(program: Program) -> int:
    for part in program.parts.values():
        for value in part.outputs.values():
            for a in value.axes:
                if a.name == "v" and a.size.constant is not None:
                    return int(a.size.constant)
    return 0
