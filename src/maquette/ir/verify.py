"""Whether a Graph or a Program makes sense; every fault with the line it is on.

A value is named as `text.show` prints it, so a fault can be found in the printed graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from maquette.errors import Fault, ProgramError, nearest
from maquette.ir.graph import Graph, Program
from maquette.ir.patterns import Input, Map, Value
from maquette.ir.scalar import Apply, Arg, Extent, Scalar
from maquette.ir.text import axes as shown
from maquette.ir.text import handles
from maquette.ir.verify_values import value_faults
from maquette.ir.verify_views import components


def verify(graph: Graph, symbols: Collection[str] | None = None) -> tuple[Fault, ...]:
    """Every fault of a graph; none if it is sound.

    Given `symbols`, sizes may use no others.

    >>> from maquette.ir.parse import parse
    >>> g = parse("graph g\\n %x: f32[n] = activation\\n %0: f32[m] = exp(%x)\\n return y=%0")
    >>> print(*verify(g), sep="\\n")
    g: %0: operand %x has axis n=n, the domain [m] has not; expected every axis in the domain or \
read at a coordinate
    """
    names = handles(graph)
    faults: list[Fault] = []
    undeclared: set[str] = set()  # symbols reported already, where they first occur
    for value in graph.values:
        found = [*value_faults(value, names)]
        if symbols is not None:
            found += _unbound(_symbols(value) - undeclared, symbols)
            undeclared |= _symbols(value) - set(symbols)
        faults += _located(f"{graph.name}: {names[value]}", found)
    return (*faults, *_located(graph.name, _graph(graph)))


def check(graph: Graph, symbols: Collection[str] | None = None) -> Graph:
    """The graph itself; raises ProgramError with all its faults if it has any."""
    faults = verify(graph, symbols)
    if faults:
        raise ProgramError(*faults)
    return graph


def verify_program(program: Program, symbols: Collection[str] | None = None) -> tuple[Fault, ...]:
    """Every fault of a program: of its parts, and of how they follow each other."""
    faults = [fault for part in program.parts.values() for fault in verify(part, symbols)]
    return (*faults, *_located(program.name, _program(program)))


def check_program(program: Program, symbols: Collection[str] | None = None) -> Program:
    """The program itself; raises ProgramError with all its faults if it has any."""
    faults = verify_program(program, symbols)
    if faults:
        raise ProgramError(*faults)
    return program


def _located(where: str, found: Iterable[Fault]) -> Iterator[Fault]:
    return (replace(fault, where=where) for fault in found)


def _graph(graph: Graph) -> Iterator[Fault]:
    if not graph.outputs:
        yield Fault("", "has no outputs", "at least one")
    seen: dict[str, Input] = {}
    for value in graph.values:
        if isinstance(value, Input) and seen.setdefault(value.name, value) is not value:
            one, two = shown(seen[value.name].axes), shown(value.axes)
            what = f"two inputs are called {value.name!r}, {one} and {two}"
            yield Fault("", what, "one input per name")
    for name, value in graph.outputs.items():
        if components(value) > 1:
            yield Fault("", f"output {name!r} has {components(value)} components", "one of them")
        held = seen.get(name)
        if held is not None and held.role == "state":
            yield from _kept(name, held, value)


def _kept(name: str, before: Input, after: Value) -> Iterator[Fault]:
    """A state keeps its shape from step to step, but may grow along one axis."""
    shapes = f"{shown(before.axes)} before the step and {shown(after.axes)} after it"
    expected = "the same axes in the same order, grown along one of them at most"
    pairs = list(zip(before.axes, after.axes, strict=False))
    changed = [1 for a, b in pairs if a.size != b.size]
    if len(before.axes) != len(after.axes) or len(changed) > 1:
        yield Fault("", f"state {name!r} is {shapes}", expected)
    if before.dtype.kind != after.dtype.kind:
        yield Fault("", f"state {name!r} is {before.dtype} before the step and {after.dtype} after")


def _unbound(used: Collection[str], symbols: Collection[str]) -> Iterator[Fault]:
    for symbol in sorted(set(used) - set(symbols)):
        yield Fault("", f"symbol {symbol!r} is not declared", hint=nearest(symbol, sorted(symbols)))


def _symbols(value: Value) -> set[str]:
    """Every symbol in the sizes that a value speaks of."""
    sizes = [s for a in value.axes for s in (a.size, a.within) if s is not None]
    if isinstance(value, Map):
        sizes += [e.size for e in _sizes(value.body)]
    return {symbol for extent in sizes for symbol in extent.symbols}


def _sizes(body: Scalar) -> Iterator[Extent]:
    match body:
        case Extent():
            yield body
        case Arg(_, at):
            for _, index in at:
                yield from _sizes(index)
        case Apply(_, args):
            for a in args:
                yield from _sizes(a)


def _program(program: Program) -> Iterator[Fault]:
    if not program.order:
        yield Fault("", "has no parts in its order", "at least one")
    for part in dict.fromkeys(program.order):
        if part not in program.parts:
            hint = nearest(part, program.parts)
            yield Fault("", f"the order names {part!r}, which is no part", hint=hint)
    forms = {f"{part}.prefill" for part in program.order}
    for part in sorted(program.parts.keys() - set(program.order) - forms):
        yield Fault("", f"part {part!r} is never used", "every part in the order")
    yield from _joints(program)
    yield from _shared(program)
    symbols = {s for g in program.parts.values() for v in g.values for s in _symbols(v)}
    for symbol in sorted(program.windows.keys() - symbols):
        yield Fault(
            "", f"window {symbol!r} is no symbol of any size", hint=nearest(symbol, symbols)
        )
    if program.experts is not None and not 0 < program.experts[1] <= program.experts[0]:
        experts, chosen = program.experts
        yield Fault("", f"{chosen} of {experts} experts per token", "at least 1 and at most all")


def _joints(program: Program) -> Iterator[Fault]:
    """What a part puts out as ``x`` is what the next one reads as ``x``."""
    joints = dict.fromkeys(zip(program.order, program.order[1:], strict=False))
    for first, second in joints:
        if first not in program.parts or second not in program.parts:
            continue
        out = program.parts[first].outputs.get("x")
        read = program.parts[second].inputs.get("x")
        if out is None or read is None:
            who = f"{first!r} has no output 'x'" if out is None else f"{second!r} has no input 'x'"
            yield Fault("", f"{who}, and {second!r} follows {first!r}")
        elif out.axes != read.axes:
            what = f"{first!r} puts out x{shown(out.axes)}"
            yield Fault("", f"{what}, {second!r} reads x{shown(read.axes)}", "the same axes")


def _shared(program: Program) -> Iterator[Fault]:
    inputs = [(p, n, v) for p, g in program.parts.items() for n, v in g.inputs.items()]
    known = {name for _, name, _ in inputs}
    for name in sorted(program.shared):
        if name not in known:
            yield Fault("", f"shared {name!r} is no input", hint=nearest(name, sorted(known)))
        same = [(part, value) for part, n, value in inputs if n == name]
        if len({(v.dtype, v.axes, v.role) for _, v in same}) > 1:
            listed = ", ".join(f"{part}: {v.role} {v.dtype}{shown(v.axes)}" for part, v in same)
            yield Fault("", f"shared {name!r} differs between parts", "one tensor", listed)
