"""Choosing from an e-graph: one e-node per class, so that all that is needed costs the least.

What several users share is paid once, so the cost of a choice is that of a graph and not of a
tree.  The search starts from the cheapest tree and tries, class by class, what choices follow if
that class were paid for already; it keeps what makes the whole graph cheaper.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import TypeAlias

from maquette.compiler.rewrite.egraph import EGraph, ENode

Choice: TypeAlias = Mapping[int, ENode]  # class → the e-node that computes it
Cost: TypeAlias = Callable[[int, ENode], float]


def reachable(choice: Choice, roots: Iterable[int]) -> list[int]:
    """The classes that a choice needs, operands before users."""
    found: list[int] = []
    seen: set[int] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            id, ready = stack.pop()
            if ready:
                found.append(id)
            elif id not in seen:
                seen.add(id)
                stack.append((id, True))
                stack.extend((k, False) for k in reversed(choice[id][2]))
    return found


def total(choice: Choice, roots: Iterable[int], cost: Cost) -> float:
    """What a choice costs as a graph: every class once."""
    return sum(cost(id, choice[id]) for id in reachable(choice, roots))


class Extraction:
    """The search for the cheapest graph in one e-graph.  `roots` and classes by present names."""

    def __init__(self, graph: EGraph, roots: Sequence[int], cost: Cost) -> None:
        self.roots = list(dict.fromkeys(roots))
        self.keys = list(_needed(graph, self.roots))  # the e-nodes that any choice may hold
        self.amounts = [cost(id, node) for id, node in self.keys]
        self.prices = dict(zip(self.keys, self.amounts, strict=True))
        self.kids = [tuple(dict.fromkeys(node[2])) for _, node in self.keys]
        self.users: dict[int, list[int]] = {}
        for key, kids in enumerate(self.kids):
            for kid in kids:
                self.users.setdefault(kid, []).append(key)

    def price(self, id: int, node: ENode) -> float:
        """What one e-node costs, its operands given."""
        return self.prices[id, node]

    def bounds(self) -> dict[int, float]:
        """What every class costs at the least, however much of it is shared."""
        return self.trees({}, shared=True)[0]

    def trees(
        self, paid: Choice, *, shared: bool = False
    ) -> tuple[dict[int, float], dict[int, ENode]]:
        """The cheapest tree of every class, where the classes in `paid` cost their users nothing.

        Dijkstra's algorithm on the hypergraph: a class is settled once no cheaper way can come.
        With `shared` an e-node adds to the dearest of its operands only, as if that held all else.
        """
        settled: dict[int, float] = {}
        choice: dict[int, ENode] = {}
        missing = list(map(len, self.kids))
        spent = list(self.amounts)
        heap = [(0.0, -1, id) for id in paid]
        heap += [(spent[i], i, self.keys[i][0]) for i, n in enumerate(missing) if not n]
        heapq.heapify(heap)
        while heap:
            amount, key, id = heapq.heappop(heap)
            if id in settled:
                continue
            settled[id] = amount
            choice[id] = paid[id] if key < 0 else self.keys[key][1]
            for user in self.users.get(id, ()):
                missing[user] -= 1
                if shared:  # classes settle in order of cost, so the last is the dearest
                    spent[user] = self.amounts[user] + amount
                else:
                    spent[user] += amount
                if not missing[user] and self.keys[user][0] not in settled:
                    heapq.heappush(heap, (spent[user], user, self.keys[user][0]))
        return settled, choice

    def best(self, start: Choice, worth: float, tries: int = 40) -> tuple[dict[int, ENode], float]:
        """The cheapest graph found, and its cost; `start` unless another is cheaper by `worth`.

        `worth` is a share of the cost of `start`: no sharing is taken for less, and no class is
        chosen otherwise than in `start` for less.
        """
        choice: dict[int, ENode] = dict(start)
        amount = total(start, self.roots, self.price)
        least = max(worth, 1e-9) * amount
        paid: dict[int, ENode] = {}
        for _ in range(3):
            costs, found = self.trees(paid)
            changed = self._total(found)
            if changed < amount - least:
                choice, amount = found, changed
            improved = False
            for id in self._candidates(costs, amount, paid)[:tries]:
                more = {**paid, id: found[id]}
                _, other = self.trees(more)
                changed = self._total(other)
                if changed < amount - least:
                    choice, amount, paid, improved = other, changed, more, True
            if not improved:
                break
        return self.settled(start, choice, least)

    def settled(
        self, start: Choice, choice: dict[int, ENode], least: float
    ) -> tuple[dict[int, ENode], float]:
        """`choice` without changes that buy little, and its cost; `start` if all buy too little."""
        before, amount = (total(c, self.roots, self.price) for c in (start, choice))
        if amount >= before - least:
            return dict(start), before
        return self._reverted(start, choice, amount, min(amount + least, before - least))

    def _total(self, choice: Choice) -> float:
        """The cost of a choice; no price is high enough for one that needs itself."""
        return inf if _circular(choice, self.roots) else total(choice, self.roots, self.price)

    def _candidates(
        self, trees: Mapping[int, float], amount: float, paid: Choice
    ) -> list[int]:  # fmt: skip
        """Classes worth sharing: dear, and read by several e-nodes, the dearest first."""
        shared = [
            (-trees[id], id)
            for id, users in self.users.items()
            if trees.get(id, 0.0) > 0.01 * amount and id not in paid
            and len({self.keys[u][0] for u in users}) > 1
        ]  # fmt: skip
        return [id for _, id in sorted(shared)]

    def _reverted(
        self, start: Choice, choice: dict[int, ENode], amount: float, most: float
    ) -> tuple[dict[int, ENode], float]:
        """Back to how it was written, change by change, while it costs no more than `most`."""
        for id in reversed(reachable(choice, self.roots)):
            if id not in start or choice[id] == start[id]:
                continue
            back = {**start, **choice, id: start[id]}
            changed = self._total(back)
            if changed <= most:
                choice, amount = back, changed
        return choice, amount


def _needed(graph: EGraph, roots: Sequence[int]) -> Iterator[tuple[int, ENode]]:
    seen = dict.fromkeys(roots)
    stack = list(seen)
    while stack:
        id = stack.pop()
        for node in graph[id].nodes:
            yield id, node
            new = [k for k in dict.fromkeys(node[2]) if k not in seen]
            seen.update(dict.fromkeys(new))
            stack.extend(new)


def _circular(choice: Choice, roots: Iterable[int]) -> bool:
    """Whether some class would need itself."""
    state: dict[int, int] = {}
    for root in roots:
        stack = [(root, False)]
        while stack:
            id, done = stack.pop()
            if done:
                state[id] = 2
                continue
            if state.get(id) == 1:
                return True
            if state.get(id) == 2:
                continue
            state[id] = 1
            stack.append((id, True))
            for kid in choice[id][2]:
                if state.get(kid) == 1:
                    return True
                if kid not in state:
                    stack.append((kid, False))
    return False
