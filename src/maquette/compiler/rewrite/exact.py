"""The cheapest graph of all in an e-graph, as a mixed-integer programme.

One binary variable says whether an e-node is chosen, one whether a class is needed.  A class that
is needed has one e-node, and an e-node needs its operands.  Where classes can be reached from
themselves they are also given an order, which users come later in (Miller, Tucker and Zemlin 1960),
so that no class supports itself.  The search stops after a number of branches and not after a time,
so that the same graph always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import numpy as np

from maquette.compiler.rewrite.egraph import ENode
from maquette.compiler.rewrite.extract import Extraction

Key: TypeAlias = tuple[int, ENode]
_FREE = 1e-9  # share of the whole below which a class costs nothing worth choosing for
_SECONDS = 20.0  # against a solver that hangs; branches run out long before


@dataclass(frozen=True)
class Exact:
    """What the programme said of an e-graph.

    `choice` is the cheapest graph, None if none costs less than what was asked for or if the
    programme was not solved.
    """

    choice: dict[int, ENode] | None
    solved: bool
    size: int  # e-nodes that there was a choice about


def exact(
    extraction: Extraction,
    below: float,
    *,
    most: int = 10**9,
    branches: int = 10**6,
    gap: float = 1e-6,
) -> Exact:
    """The cheapest choice of all, if it costs less than `below` (in the unit of the price).

    E-nodes that cannot be part of a choice so cheap, and those that another of their class beats
    whatever else is chosen, are left out first; if more than `most` remain nothing is tried.  The
    programme is left after so many `branches`; it is solved to a share `gap` of the cost.
    """
    amounts, trees = extraction.trees({})
    free = {id for id, amount in amounts.items() if amount <= _FREE * below}
    nodes = _candidates(extraction, amounts, free, below)
    roots = [id for id in extraction.roots if id not in free]
    if not roots:
        return Exact(trees if below > 0 else None, True, 0)
    if len(nodes) > most:
        return Exact(None, False, len(nodes))
    found, solved = _Programme(nodes, roots, free).solve(extraction, below, branches, gap)
    if found is None:
        return Exact(None, solved, len(nodes))
    return Exact({**trees, **found}, True, len(nodes))


def _candidates(
    extraction: Extraction, amounts: Mapping[int, float], free: Collection[int], below: float
) -> list[tuple[Key, frozenset[int]]]:
    """The e-nodes that may be chosen, with the classes that each needs and that cost something."""
    least = extraction.bounds()
    held: dict[int, list[tuple[float, frozenset[int], Key]]] = {}
    for key, kids, amount in zip(extraction.keys, extraction.kids, extraction.amounts, strict=True):
        id = key[0]
        if id in free or id in kids or any(k not in amounts for k in kids):
            continue
        if amount + max((least[k] for k in kids), default=0.0) < below:
            needs = frozenset(k for k in kids if k not in free)
            held.setdefault(id, []).append((amount, needs, key))
    kept = {id: list(_undominated(found)) for id, found in held.items()}
    nodes: list[tuple[Key, frozenset[int]]] = []
    todo = [id for id in extraction.roots if id not in free]
    seen = set(todo)
    for id in todo:  # grows as it is gone through
        for _, needs, key in kept.get(id, ()):
            nodes.append((key, needs))
            todo += sorted(needs - seen)
            seen |= needs
    return nodes


def _undominated(
    found: Sequence[tuple[float, frozenset[int], Key]],
) -> Iterable[tuple[float, frozenset[int], Key]]:
    """Without those for which another of the class costs no more and needs nothing else."""
    kept: list[tuple[float, frozenset[int], Key]] = []
    for one in sorted(found, key=lambda f: (f[0], len(f[1]))):
        if not any(other[1] <= one[1] for other in kept):
            kept.append(one)
    return kept


class _Programme:
    """Rows and columns: e-nodes, then classes, then the place of each class in the order."""

    def __init__(
        self, nodes: Sequence[tuple[Key, frozenset[int]]], roots: Sequence[int], free: Any
    ) -> None:
        self.nodes, self.roots = nodes, roots
        ids = dict.fromkeys([*roots, *(i for (id, _), needs in nodes for i in (id, *needs))])
        self.column = {id: len(nodes) + n for n, id in enumerate(ids)}
        self.width = len(nodes) + 2 * len(ids)
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def row(self, terms: Iterable[tuple[int, float]], low: float, high: float) -> None:
        """One constraint: a sum of columns between two numbers."""
        self.entries += [(len(self.low), column, factor) for column, factor in terms]
        self.low.append(low)
        self.high.append(high)

    def _rows(self, circles: Mapping[int, int], counts: Any) -> None:
        own: dict[int, list[int]] = {id: [] for id in self.column}
        reads: dict[tuple[int, int], list[int]] = {}
        for n, ((id, _), needs) in enumerate(self.nodes):
            own[id].append(n)
            for kid in needs:
                reads.setdefault((id, kid), []).append(n)
        for id, mine in own.items():
            self.row([*((n, 1.0) for n in mine), (self.column[id], -1.0)], 0.0, 0.0)
        for (id, kid), users in reads.items():
            self.row([*((n, 1.0) for n in users), (self.column[kid], -1.0)], -inf, 0.0)
            if circles[id] == circles[kid]:
                after, before = (self.column[i] + len(self.column) for i in (id, kid))
                many = float(counts[circles[id]])
                terms = [(after, 1.0), (before, -1.0), *((n, -many) for n in users)]
                self.row(terms, 1.0 - many, inf)
            if id < kid and (kid, id) in reads:  # implied, but it makes the relaxation tight
                self.row([(n, 1.0) for n in (*users, *reads[kid, id])], -inf, 1.0)

    def _circles(self) -> tuple[dict[int, int], Any]:
        """Which classes can be reached from one another: the strong component of each."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        place = {id: n for n, id in enumerate(self.column)}
        pairs = [(place[id], place[k]) for (id, _), needs in self.nodes for k in needs]
        rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
        shape = (len(place), len(place))
        links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=shape)
        _, labels = connected_components(links.tocsr(), connection="strong")
        return {id: int(labels[n]) for id, n in place.items()}, np.bincount(labels)

    def solve(
        self, extraction: Extraction, below: float, branches: int, gap: float
    ) -> tuple[dict[int, ENode] | None, bool]:
        """The e-node of every class that is needed, if there is a way; whether that is certain."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        circles, counts = self._circles()
        self._rows(circles, counts)
        amounts = [extraction.price(*key) / below for key, _ in self.nodes]
        self.row(enumerate(amounts), -inf, 1.0)
        rows, columns, factors = zip(*self.entries, strict=True)
        matrix = coo_array((factors, (rows, columns)), shape=(len(self.low), self.width))
        high = np.ones(self.width)
        classes = len(self.column)
        high[-classes:] = [counts[circles[id]] for id in self.column]
        low = np.zeros(self.width)
        low[[self.column[id] for id in self.roots]] = 1.0
        found = milp(
            np.pad(amounts, (0, 2 * classes)),
            integrality=np.repeat([1, 0], [len(amounts), 2 * classes]),
            bounds=Bounds(low, high),
            constraints=LinearConstraint(matrix.tocsr(), self.low, self.high),
            options={"node_limit": branches, "time_limit": _SECONDS, "mip_rel_gap": gap},
        )
        if found.status == 2:  # none is so cheap
            return None, True
        if found.status or found.x is None:
            return None, False
        taken = {
            key[0]: key[1] for (key, _), x in zip(self.nodes, found.x, strict=False) if x > 0.5
        }
        return taken, True
