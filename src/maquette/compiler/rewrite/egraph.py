"""E-graphs: many expressions of the same value, each subexpression kept once.

An e-node is an operator over e-classes, an e-class the set of all e-nodes found equal.  Nodes are
hash-consed, classes joined by union-find, and congruence is restored by rebuilding after a batch
of unions.  A class carries the facts that every member shares; members whose axes or format
differ are never joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from maquette.compiler.rewrite.facts import Facts, Untyped, infer

ENode: TypeAlias = tuple[str, tuple[Any, ...], tuple[int, ...]]  # operator, parameters, classes
COMMUTATIVE = frozenset({"dot", "add", "max", "min"})


@dataclass(eq=False)
class EClass:
    """E-nodes that are equal, who reads them, and what is known of all of them."""

    id: int
    facts: Facts
    section: str
    nodes: dict[ENode, None] = field(default_factory=dict)
    parents: dict[ENode, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cause:
    """Why an e-node is there, or why two are equal: a rule and the e-nodes that it matched."""

    rule: str
    matched: tuple[ENode, ...]


class EGraph:
    """Expressions closed under equality.

    >>> g = EGraph()
    >>> g.union(g.add("lit", (2,)), g.add("neg", (), (g.add("lit", (-2,)),)))
    False
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._known: dict[ENode, int] = {}
        self._work: list[int] = []
        self._stale: dict[int, None] = {}  # classes that may hold nodes under former names
        self.classes: dict[int, EClass] = {}
        self.causes: dict[ENode, Cause | None] = {}  # None: written by the user
        self.rank: dict[ENode, int] = {}  # when each node came; operands come before their users
        self.joined: dict[ENode, list[tuple[ENode, Cause]]] = {}
        self.touched: dict[int, None] = {}  # classes that changed since they were last looked at
        self.cause: Cause | None = None
        self.section = ""

    def find(self, id: int) -> int:
        """The name that a class goes by now."""
        parent = self._parent
        while parent[id] != id:
            parent[id] = parent[parent[id]]
            id = parent[id]
        return id

    def __getitem__(self, id: int) -> EClass:
        known = self.classes.get(id)
        return self.classes[self.find(id)] if known is None else known

    @property
    def size(self) -> int:
        """How many e-nodes there are."""
        return len(self._known)

    @property
    def nodes(self) -> Iterable[ENode]:
        """All e-nodes."""
        return self._known

    def canonical(self, node: ENode) -> ENode:
        """The node over the classes as they are named now."""
        op, params, kids = node
        found = tuple(map(self.find, kids))
        if op in COMMUTATIVE and found[0] > found[1]:
            found = (found[1], found[0])
        return (op, params, found)

    def add(
        self, op: str, params: tuple[Any, ...] = (), kids: tuple[int, ...] = (),
        facts: Facts | None = None,
    ) -> int:  # fmt: skip
        """The class of an e-node, a new one if it is new.  Raises Untyped if it makes no sense."""
        node = self.canonical((op, params, kids))
        held = self._known.get(node)
        if held is not None:
            return self.find(held)
        known = facts or infer(op, params, [self.classes[k].facts for k in node[2]])
        id = len(self._parent)
        self._parent.append(id)
        known.names.held = id
        self.classes[id] = EClass(id, known, self.section, {node: None})
        self._known[node] = id
        self.causes[node] = self.cause
        self.rank[node] = len(self.rank)
        self.touched[id] = None
        for kid in node[2]:
            self.classes[kid].parents[node] = id
        if known.number is not None and op != "lit":
            self.union(id, self.add("lit", (known.number,)), node)
        return self.find(id)

    def union(self, left: int, right: int, at: ENode | None = None) -> bool:
        """Say that two classes are equal; False if they were, or if axes or formats differ."""
        a, b = self.find(left), self.find(right)
        if a == b:
            return False
        one, two = self.classes[a], self.classes[b]
        if not _alike(one.facts, two.facts):
            return False
        self._record(one, two, at)
        if len(one.parents) + len(one.nodes) < len(two.parents) + len(two.nodes):
            one, two = two, one
        self._parent[two.id] = one.id
        del self.classes[two.id]
        older = min(one, two, key=lambda c: c.id)
        one.section = older.section
        one.nodes.update(two.nodes)
        one.parents.update(two.parents)
        self._merge_facts(one, older.facts, two.facts if older is one else one.facts)
        self._work.append(one.id)
        self.touched[one.id] = None
        return True

    def _record(self, one: EClass, two: EClass, at: ENode | None) -> None:
        """That two nodes were found equal, and why."""
        left = at if at in one.nodes else next(iter(one.nodes))
        right = next(iter(two.nodes))
        cause = self.cause or Cause("arithmetic", ())
        self.joined.setdefault(left, []).append((right, cause))
        self.joined.setdefault(right, []).append((left, cause))

    def _merge_facts(self, into: EClass, older: Facts, newer: Facts) -> None:
        constant = older.constant or newer.constant
        weak = older.weak or newer.weak
        number = older.number if older.number is not None else newer.number
        if (constant, weak, number) != (older.constant, older.weak, older.number):
            older = replace(older, constant=constant, weak=weak, number=number)
        into.facts = older
        older.names.held = into.id

    def rebuild(self) -> None:
        """Restore congruence: nodes that became the same join their classes."""
        while self._work:
            todo = dict.fromkeys(map(self.find, self._work))
            self._work.clear()
            for id in todo:
                if self.find(id) == id:
                    self._repair(self.classes[id])
        for known in {id: self[id] for id in map(self.find, self._stale)}.values():
            self._refresh(known)
        self._stale.clear()

    def _refresh(self, known: EClass) -> None:
        """Call the nodes of a class by their present names."""
        for node in list(known.nodes):
            new = self.canonical(node)
            if new != node:
                del known.nodes[node]
                self._known.pop(node, None)
                known.nodes[new] = None

    def _repair(self, changed: EClass) -> None:
        parents, changed.parents = changed.parents, {}
        for node, holder in parents.items():
            new = self.canonical(node)
            owner = self[holder]
            self._stale[owner.id] = None
            if new != node:
                self._known.pop(node, None)
                owner.nodes[new] = None
                self._older(new, node)
                if node in self.joined:
                    self.joined.setdefault(new, []).extend(self.joined[node])
            held = self._known.get(new)
            if held is not None and self.find(held) != owner.id:
                self.cause = Cause("equal operands", (new,))
                self.union(owner.id, held)
                owner = self[owner.id]
            self._known[new] = owner.id
            here = self[changed.id]
            here.parents[new] = owner.id
            self._inherit(owner, new)

    def _older(self, new: ENode, old: ENode) -> None:
        """A node under its present name is as old as the oldest that became it."""
        if new not in self.rank or self.rank[old] < self.rank[new]:
            self.rank[new], self.causes[new] = self.rank[old], self.causes[old]

    def _inherit(self, owner: EClass, node: ENode) -> None:
        """A class is constant as soon as one way to compute it is."""
        facts = owner.facts
        if not facts.constant and all(self[k].facts.constant for k in node[2]) and node[2]:
            owner.facts = replace(facts, constant=True)
            owner.facts.names.held = owner.id
            self._work.append(owner.id)
            self.touched[owner.id] = None

    def ordered(self) -> Iterator[EClass]:
        """All classes, oldest name first."""
        for id in sorted(self.classes):
            yield self.classes[id]

    def users(self, ids: Iterable[int]) -> dict[int, None]:
        """The classes that read some of the given classes."""
        return dict.fromkeys(self.find(p) for id in ids for p in self[id].parents.values())


def _alike(one: Facts, two: Facts) -> bool:
    if one.names != two.names:
        return False
    sizes = {a.name: a for a in two.axes}
    if any(sizes[a.name] != a for a in one.axes):
        return False
    return one.dtype == two.dtype or (one.weak and two.weak and one.number is not None)


__all__ = ["COMMUTATIVE", "Cause", "EClass", "EGraph", "ENode", "Untyped"]
