"""Groups: which pieces run as one kernel, and the axes that they share.

A piece joins the group of what it reads if it reads it at its own coordinates, so that nothing is
computed twice, and if the choices allow it.  Groups never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from itertools import count

from maquette.compiler.fuse.binding import Binding, bind, solved
from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.group import Group, Placed
from maquette.compiler.fuse.index import axes_of, moved
from maquette.compiler.fuse.joining import may_join, may_merge
from maquette.compiler.fuse.pieces import Piece
from maquette.ir.patterns import Value
from maquette.ir.scalar import Index, Scalar


def grouped(made: Mapping[Value, tuple[Piece, ...]], choices: Choices) -> list[Group]:
    """The groups of all pieces, each after those it needs."""
    return _Grouping(made, choices).run()


class _Grouping:
    def __init__(self, made: Mapping[Value, tuple[Piece, ...]], choices: Choices) -> None:
        self._made = made
        self._choices = choices
        self._groups: dict[int, Group] = {}
        self._homes: dict[Value, set[int]] = {}
        self._numbers = count()
        self._bindings: dict[Hashable, Binding | None] = {}  # layers repeat

    def run(self) -> list[Group]:
        for value, parts in self._made.items():
            for piece in parts:
                self._homes.setdefault(value, set()).add(self._place(piece).number)
        if self._choices.siblings:
            self._siblings()
        return list(_ordered(self._groups))

    def _place(self, piece: Piece) -> Group:
        needed = {n for r in piece.reads for n in self._homes.get(r.source, ())}
        if piece.value not in self._choices.apart and not piece.opaque:
            for number in self._preferred(piece, needed):
                group = self._groups[number]
                others = needed - {number}
                if any(number in self._groups[o].before for o in others):
                    continue
                found = self._binding(piece, group)
                if found is not None and may_join(piece, found, group, self._choices):
                    free = others - group.before
                    self._take(piece, found, group, others)
                    return self._gathered(piece, group, free)
        return self._alone(piece, needed)

    def _preferred(self, piece: Piece, needed: Collection[int]) -> list[int]:
        """Groups by how much of what the piece reads stays on chip if it joins them."""
        saved = dict.fromkeys(needed, 0)
        for read in piece.reads:
            for number in self._homes.get(read.source, ()):
                saved[number] += piece.points({a for _, c in read.at for a in axes_of(c)})
        return sorted(needed, key=lambda n: (-saved[n], -n))

    def _alone(self, piece: Piece, needed: Collection[int]) -> Group:
        group = Group(next(self._numbers))
        self._groups[group.number] = group
        group.add(piece, {n: Index(n) for n in piece.loops}, piece.loops)
        self._after(group, needed)
        return group

    def _take(self, piece: Piece, found: Binding, group: Group, others: Collection[int]) -> None:
        if found.refined:
            for placed in group.placed:
                placed.at = {n: moved(c, found.refined) for n, c in placed.at.items()}
            for name in found.refined:
                del group.axes[name]
        group.add(piece, found.at, found.axes)
        self._after(group, others)

    def _binding(self, piece: Piece, group: Group) -> Binding | None:
        targets = []
        for read in piece.reads:
            if group.number not in self._homes.get(read.source, ()):
                continue
            member = group.member(read.source)
            if member is None or self._homes[read.source] != {group.number}:
                return None
            targets += [(c, member.place(axis)) for axis, c in read.at]
        form = tuple(targets), tuple(piece.loops.items()), tuple(group.axes.items())
        if form not in self._bindings:
            self._bindings[form] = bind(piece, targets, group.axes)
        return self._bindings[form]

    def _after(self, group: Group, needed: Iterable[int]) -> None:
        """`group` runs after the needed ones, and so does all that runs after it."""
        needed = tuple(needed)
        new = set(needed).union(*(self._groups[o].before for o in needed)) - {group.number}
        group.before |= new
        for other in self._groups.values():
            if group.number in other.before:
                other.before |= new

    def _gathered(self, piece: Piece, group: Group, others: Collection[int]) -> Group:
        """A piece that reads several independent groups of one domain makes them one.

        `others` are the groups that it reads and that its group did not need before.
        """
        for number in sorted(others):
            other = self._groups[number]
            between = any(
                number in self._groups[b].before for b in group.before if b in self._groups
            )
            if between or not may_merge(group, other, self._choices):
                continue
            names = _merged_axes(piece, group, other)
            if names is not None and _same_rows(group, other, names):
                self._merge(group, other, names)
        return group

    def _merge(self, group: Group, other: Group, names: Mapping[str, Scalar]) -> None:
        moved_in = [
            Placed(p.piece, {n: moved(c, names) for n, c in p.at.items()}) for p in other.placed
        ]
        group.placed = [*moved_in, *group.placed]
        for old, new in names.items():
            for axis in axes_of(new):
                group.axes.setdefault(axis, other.axes[old])
        group.products |= other.products
        group.weighted |= other.weighted
        group.folds |= other.folds
        for p in other.placed:
            self._homes[p.piece.value] -= {other.number}
            self._homes[p.piece.value] |= {group.number}
        del self._groups[other.number]
        group.before |= other.before
        group.before.discard(other.number)
        for g in self._groups.values():
            if other.number in g.before:
                g.before.discard(other.number)
                if g is not group:
                    g.before |= group.before
                    g.before.add(group.number)

    def _siblings(self) -> None:
        """Row kernels over one domain that read one tensor run as one."""
        readers: dict[Value, set[int]] = {}
        for number, group in self._groups.items():
            for source in _sources(group):
                readers.setdefault(source, set()).add(number)
        for first in sorted(self._groups):
            waiting = self._sharing(first, first, readers)
            while waiting:
                second = waiting.pop(0)
                one, two = self._groups[first], self._groups.get(second)
                if two is None or first in two.before or second in one.before:
                    continue
                if _alike(one, two):
                    same: dict[str, Scalar] = {n: Index(n) for n in two.axes}
                    self._merge(one, two, same)
                    one.placed = [*one.placed[len(two.placed) :], *two.placed]
                    waiting = self._sharing(first, second, readers)

    def _sharing(self, number: int, after: int, readers: Mapping[Value, set[int]]) -> list[int]:
        """The groups beyond `after` that read something that group `number` reads, if it is one."""
        group = self._groups.get(number)
        found = (readers[v] for v in _sources(group)) if group else ()
        return sorted(n for n in set().union(*found) if n > after)


def _merged_axes(piece: Piece, group: Group, other: Group) -> dict[str, Scalar] | None:
    """The axes of `other` as axes of `group`, which has taken `piece` that reads both."""
    taken = group.placed[-1].at
    equations = [
        (member.place(axis), moved(coordinate, taken))
        for read in piece.reads
        if (member := other.member(read.source)) is not None
        for axis, coordinate in read.at
    ]
    found = solved(other.axes, equations, group.axes)
    return None if found is None or found.refined else found.at


def _same_rows(group: Group, other: Group, names: Mapping[str, Scalar]) -> bool:
    """Whether both groups are independent along the same axes."""
    theirs = {a for n in other.parallel for a in axes_of(names[n])}
    return theirs == set(group.parallel)


def _alike(one: Group, two: Group) -> bool:
    """Whether two groups do little but read one tensor over one domain, row by row."""
    if one.products or two.products or one.axes != two.axes:
        return False
    if set(one.parallel) != set(two.parallel) or len(one.placed) + len(two.placed) > 8:
        return False
    if any(p.piece.scanned or p.piece.opaque for p in (*one.placed, *two.placed)):
        return False
    return bool(_large(one) & _large(two))


def _sources(group: Group) -> set[Value]:
    """All that a group reads."""
    return {r.source for p in group.placed for r in p.piece.reads}


def _large(group: Group) -> set[tuple[Value, tuple[tuple[str, Scalar], ...]]]:
    """What a group reads at every point of its domain."""
    rank = len(group.axes)
    return {
        (r.source, r.at)
        for p in group.placed
        for r in p.piece.reads
        if len({a for _, c in r.at for a in axes_of(c)}) == rank
    }


def _ordered(groups: Mapping[int, Group]) -> Iterator[Group]:
    """Groups after those they need; otherwise in the order they were begun."""
    waiting = dict(sorted(groups.items()))
    while waiting:
        ready = next(n for n, g in waiting.items() if not g.before & waiting.keys())
        yield waiting.pop(ready)
