"""Large graphs in pieces that are searched one by one; pieces that are the same, once.

A graph is cut where the fewest values pass, as between the layers of a model.  A piece is written
with inputs and sections under names of no meaning, so that equal layers are the very same values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maquette.compiler.rewrite.values import template
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input, Value, make


@dataclass(frozen=True)
class Region:
    """A piece of a graph: the values that others read, over inputs under neutral names."""

    outputs: tuple[Value, ...]  # as they are in the graph
    neutral: Graph
    constants: frozenset[str]  # inputs of `neutral` that never change
    inputs: Mapping[Input, Value]  # what the inputs of `neutral` stand for
    sections: Mapping[str, str]  # what its sections are called in the graph


def regions(graph: Graph, constants: Collection[str], most: int) -> Iterator[Region]:
    """The pieces of a graph in order, of `most` values at most where it can be cut."""
    order = [v for v in graph.values if not isinstance(v, Input)]
    varying = _varying(graph, constants)
    spine = [v for v in order if v in varying]
    pieces = list(_pieces(spine, most))
    home = {v: n for n, piece in enumerate(pieces) for v in piece}
    kept = set(graph.outputs.values())
    kept.update(o for v in order for o in v.operands if home.get(o) != home.get(v))
    for piece in pieces:
        outputs = tuple(v for v in piece if v in kept)
        yield _region(graph, piece, varying, constants, outputs)


def rebuilt(
    roots: Iterable[Value], known: dict[Value, Value], sections: Mapping[str, str]
) -> dict[Value, Value]:
    """Values again, with some replaced and sections renamed: `known` with all that follow."""
    for value in _below(roots, known):
        section = sections.get(value.section, value.section)
        operands = [known[o] for o in value.operands]
        same = all(a is b for a, b in zip(operands, value.operands, strict=True))
        if isinstance(value, Input) or (same and section == value.section):
            known[value] = value
        else:
            known[value] = template(value)(operands, section)
    return known


def _below(roots: Iterable[Value], known: Mapping[Value, Value]) -> Iterator[Value]:
    """Values that `roots` need and that are not known, operands first."""
    for root in roots:
        stack = [(root, False)]
        while stack:
            value, ready = stack.pop()
            if value in known:
                continue
            if ready:
                yield value
            else:
                stack.append((value, True))
                stack.extend((o, False) for o in reversed(value.operands))


def _varying(graph: Graph, constants: Collection[str]) -> set[Value]:
    """Values that depend on an input that is no constant."""
    found: set[Value] = set()
    for v in graph.values:
        if isinstance(v, Input):
            if v.name not in constants:
                found.add(v)
        elif any(o in found for o in v.operands):
            found.add(v)
    return found


def _pieces(spine: Sequence[Value], most: int) -> Iterator[Sequence[Value]]:
    """Runs of values, cut where as few values as can be are alive."""
    if len(spine) <= most:
        if spine:
            yield spine
        return
    alive = _alive(spine)
    cuts: list[int] = []
    for count in sorted(set(alive)):
        cuts = [i + 1 for i, n in enumerate(alive) if n <= count]
        if max(b - a for a, b in zip([0, *cuts], [*cuts, len(spine)], strict=True)) <= most:
            break
    start = 0
    for this, following in zip(cuts, [*cuts[1:], len(spine)], strict=True):
        if following - start > most and this > start:
            yield spine[start:this]
            start = this
    if start < len(spine):
        yield spine[start:]


def _alive(spine: Sequence[Value]) -> list[int]:
    """How many values made up to a place are read after it, for every place."""
    place = {v: i for i, v in enumerate(spine)}
    last: dict[int, int] = {}
    for i, v in enumerate(spine):
        for o in v.operands:
            if o in place:
                last[place[o]] = i
    change = [0] * (len(spine) + 1)
    for first, end in last.items():
        change[first] += 1
        change[end] -= 1
    alive, counts = 0, []
    for i in range(len(spine) - 1):
        alive += change[i]
        counts.append(alive)
    return counts


def _region(
    graph: Graph,
    piece: Sequence[Value],
    varying: Collection[Value],
    constants: Collection[str],
    outputs: tuple[Value, ...],
) -> Region:
    known: dict[Value, Value] = {}
    inputs: dict[Input, Value] = {}
    sections: dict[str, str] = {}
    fixed: set[str] = set()
    inside = set(piece)
    for v in _reached(outputs, inside, varying):
        if not (isinstance(v, Input) or (v in varying and v not in inside)):
            sections.setdefault(v.section, f"§{len(sections)}")
            continue
        role = v.role if isinstance(v, Input) else "activation"
        parts = {"axes": v.axes, "dtype": v.dtype, "role": role, "section": ""}
        stand = make(Input, name=f"%{len(inputs)}", **parts)
        known[v], inputs[stand] = stand, v
        if isinstance(v, Input) and v.name in constants:
            fixed.add(stand.name)
    rebuilt(outputs, known, sections)
    named = {f"{i}": known[v] for i, v in enumerate(outputs)}
    back = {new: old for old, new in sections.items()}
    return Region(outputs, Graph(graph.name, named), frozenset(fixed), inputs, back)


def _reached(
    outputs: Iterable[Value], inside: Collection[Value], varying: Collection[Value]
) -> Iterator[Value]:
    """What a piece is made of and what it reads from outside: inputs, values of other pieces."""
    seen: set[Value] = set()
    stack = list(reversed(list(outputs)))
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        yield v
        if not (isinstance(v, Input) or (v in varying and v not in inside)):
            stack.extend(reversed(v.operands))
