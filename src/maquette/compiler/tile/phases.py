"""What a streamed fold computes in which phase over a tile, and what stays in tiles between them.

Phase 0 follows the products of a tile; a component is folded in the phase after the last one it
depends on.  What a later phase needs again is kept in the tile it was computed from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from maquette.compiler.tile import bodies
from maquette.compiler.tile.roles import Component, Roles
from maquette.ir.monoids import ADD, MAX
from maquette.ir.scalar import Apply, Arg, Lit, Scalar

ALWAYS = 1 << 30  # the phase of the contractions that read a tile last


@dataclass(frozen=True)
class Kept:
    """A value per row and position that is stored in tile `buffer` in one phase."""

    body: Scalar
    phase: int
    buffer: int


@dataclass(frozen=True, eq=False)
class Phases:
    """Bodies by phase, whatever the sizes of tiles."""

    roles: Roles

    @cached_property
    def count(self) -> int:
        """How many there are."""
        return 1 + max(c.phase for c in self.roles.components)

    def of_phase(self, phase: int) -> list[Component]:
        """The components that are folded in a phase."""
        return [c for c in self.roles.components if c.phase == phase]

    def is_tile(self, body: Scalar) -> bool:
        """Whether it is one of the values held in tiles: a product or what was kept."""
        return isinstance(body, Arg) and (
            body.number >= len(self.roles.names)
            or self.roles.names[body.number] in {p.name for p in self.roles.products}
        )

    @cached_property
    def _stored(self) -> tuple[tuple[Kept, ...], dict[str, Scalar], int, dict[int, int]]:
        return _Allocation(self).result()

    @property
    def kept(self) -> tuple[Kept, ...]:
        """In the order of the numbers ``len(roles.names) + i`` that that they are read by."""
        return self._stored[0]

    @property
    def leaves(self) -> Mapping[str, Scalar]:
        """Of every component, with what earlier phases kept read from its tile."""
        return self._stored[1]

    @property
    def buffers(self) -> int:
        """How many tiles there are."""
        return self._stored[2]

    def buffer(self, number: int) -> int:
        """The tile that ``Arg(number)`` lies in."""
        held = self._stored[3]
        return held[number]


def falling(phases: Phases) -> frozenset[Scalar]:
    """Exponentials of how far a value is below the greatest so far, itself included."""
    names, found = phases.roles.names, set()
    for top in phases.roles.components:
        if top.op != MAX:
            continue
        state = Arg(names.index(top.name))
        values = {phases.leaves[top.name], *_aliases(phases, phases.leaves[top.name])}
        for c in phases.roles.components:
            for part in bodies.parts(phases.leaves[c.name]):
                if _is_weight(part, values, state):
                    found.add(part)
        for k in phases.kept:
            found |= {p for p in bodies.parts(k.body) if _is_weight(p, values, state)}
    return frozenset(found)


def _aliases(phases: Phases, body: Scalar) -> set[Scalar]:
    held = len(phases.roles.names)
    return {Arg(held + i) for i, k in enumerate(phases.kept) if k.body == body}


def _is_weight(body: Scalar, values: set[Scalar], state: Scalar) -> bool:
    """``exp((x - max(m, lowest)) · c)`` or without lowest: m is a maximum over every x, c > 0."""
    match body:
        case Apply("exp", (fall,)) if found := bodies.difference(fall):
            x, m, _ = found
            match m:
                case Apply("max", (inner, Lit())):
                    m = inner
            return m == state and x in values
    return False


def carried_by_sums(phases: Phases, component: Component) -> bool:
    """Whether a NaN that a maximum meets reaches every output through a sum as well."""
    roles, weights = phases.roles, falling(phases)
    sums = {
        roles.names.index(c.name)
        for c in roles.components
        if c.op == ADD and weights & _unkept(phases, phases.leaves[c.name])
    }
    return component.op == MAX and all(
        sums & {p.number for p in bodies.parts(body) if isinstance(p, Arg)}
        for _, body in roles.outputs
    )


def _unkept(phases: Phases, body: Scalar) -> set[Scalar]:
    """Subexpressions, those of what was kept included."""
    held = len(phases.roles.names)
    found = set(bodies.parts(body))
    for part in list(found):
        if isinstance(part, Arg) and part.number >= held:
            found |= set(bodies.parts(phases.kept[part.number - held].body))
    return found


class _Allocation:
    """Decides what is kept, and gives every kept value a tile that nothing needs any more."""

    def __init__(self, phases: Phases) -> None:
        self.phases, roles = phases, phases.roles
        self.leaves = {c.name: c.leaf for c in roles.components}
        self.kept: list[tuple[Scalar, int]] = []
        self.next = len(roles.names)

    def result(self) -> tuple[tuple[Kept, ...], dict[str, Scalar], int, dict[int, int]]:
        roles = self.phases.roles
        for phase in range(self.phases.count):
            for body in self._shared(phase):
                self._keep(body, phase, later=True)
            for c in self.phases.of_phase(phase):
                leaf = self.leaves[c.name]
                if c.operand and not self.phases.is_tile(leaf):
                    self._keep(leaf, phase, later=False)
        places = self._placed()
        products = {p.name for p in roles.products}
        numbers = [i for i, n in enumerate(roles.names) if n in products]
        held = {n: places[i] for i, n in enumerate(numbers)}
        kept = []
        for i, (body, phase) in enumerate(self.kept):
            buffer = places[len(numbers) + i]
            kept.append(Kept(body, phase, buffer))
            held[len(roles.names) + i] = buffer
        return tuple(kept), self.leaves, max(places, default=-1) + 1, held

    def _keep(self, body: Scalar, phase: int, *, later: bool) -> None:
        by: dict[Scalar, Scalar] = {body: Arg(self.next)}
        self.next += 1
        self.kept.append((body, phase))
        for c in self.phases.roles.components:
            if c.phase > phase or (not later and c.phase == phase and c.operand):
                self.leaves[c.name] = bodies.replace(self.leaves[c.name], by)
        if later:  # a weight that is nothing but what was kept is read where it was kept
            for c in self.phases.of_phase(phase):
                if c.operand and self.leaves[c.name] == body:
                    self.leaves[c.name] = by[body]

    def _shared(self, phase: int) -> list[Scalar]:
        """The largest values of this phase that later ones compute as well."""
        mine = {
            part
            for c in self.phases.of_phase(phase)
            for part in bodies.parts(self.leaves[c.name])
            if self._in_tile(part)
        }
        found: dict[Scalar, None] = {}
        for c in self.phases.roles.components:
            if c.phase > phase:
                found.update(dict.fromkeys(_largest(self.leaves[c.name], mine)))
        return list(found)

    def _in_tile(self, body: Scalar) -> bool:
        """Whether it is computed, and varies along the stream."""
        roles = self.phases.roles
        axes = [*roles.axes, *[(roles.rows, roles.stream)] * (self.next - len(roles.axes))]
        found = bodies.varies(body, axes)
        return isinstance(body, Apply) and {roles.rows, roles.stream} <= found

    def _placed(self) -> list[int]:
        """A tile for every product and every kept value, in order."""
        roles = self.phases.roles
        products = [roles.names.index(p.name) for p in roles.products]
        made = [(n, -1) for n in products]
        made += [(len(roles.names) + i, phase) for i, (_, phase) in enumerate(self.kept)]
        last = {number: self._last_read(number) for number, _ in made}
        places: list[int] = []
        free_from: list[int] = []  # by tile: the phase from which it may be written again
        for number, phase in made:
            tile = next((i for i, f in enumerate(free_from) if f <= phase), len(free_from))
            if tile == len(free_from):
                free_from.append(0)
            free_from[tile] = max(last[number], phase + 1)
            places.append(tile)
        return places

    def _last_read(self, number: int) -> int:
        found = -1
        for c in self.phases.roles.components:
            leaf = self.leaves[c.name]
            if c.operand and isinstance(leaf, Arg) and leaf.number == number:
                return ALWAYS
            if any(isinstance(p, Arg) and p.number == number for p in bodies.parts(leaf)):
                found = max(found, c.phase)
        for body, phase in self.kept:
            if any(isinstance(p, Arg) and p.number == number for p in bodies.parts(body)):
                found = max(found, phase)
        return found


def _largest(body: Scalar, wanted: set[Scalar]) -> Iterator[Scalar]:
    if body in wanted:
        yield body
    elif isinstance(body, Apply):
        for a in body.args:
            yield from _largest(a, wanted)
