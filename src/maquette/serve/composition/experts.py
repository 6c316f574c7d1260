"""The fast tier of one node: which experts are there, and which one leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from maquette.serve.composition.types import Node

Copy = tuple[int, int]  # ns at which it began and ended


class FastTier:
    """Experts in the fast tier, least recently used first; the pinned ones beside them.

    Of every expert it knows when its copy begins and ends: one that is under way takes its room.
    Weights are only read, so an expert that leaves is not written back.
    """

    def __init__(self, node: Node, nbytes: tuple[int, ...]) -> None:
        self._nbytes = nbytes
        self._rate = node.copy_rate
        self._pinned = node.pinned
        self._copies: dict[int, Copy] = dict.fromkeys(node.warm, (0, 0))
        self._ahead: set[int] = set()  # prefetched and not used since
        self.free = node.room - sum(nbytes[e] for e in node.warm)
        self.idle_ns = 0  # when the copy engine is done with what it was given
        self.evictions = 0
        self.log: list[tuple[int, int, int, int]] = []  # expert, start, end, whether ahead

    def __contains__(self, expert: int) -> bool:
        return expert in self._pinned or expert in self._copies

    def use(self, expert: int) -> tuple[Copy, bool]:
        """A run begins with what is here: its copy, and whether that was made ahead for it."""
        if expert in self._pinned:
            return (0, 0), False
        copy = self._copies[expert] = self._copies.pop(expert)
        ahead = expert in self._ahead
        self._ahead.discard(expert)
        return copy, ahead

    def make_room(self, expert: int, keep: Collection[int] = ()) -> bool:
        """Evict the least recently used, none of `keep`, until `expert` fits; False: it cannot."""
        need = self._nbytes[expert] - self.free
        victims = list(self._victims(need, keep)) if need > 0 else []
        if sum(self._nbytes[v] for v in victims) < need:
            return False
        for victim in victims:
            del self._copies[victim]
            self._ahead.discard(victim)
            self.free += self._nbytes[victim]
        self.evictions += len(victims)
        return True

    def _victims(self, need: int, keep: Collection[int]) -> Iterable[int]:
        for expert in self._copies:
            if need <= 0:
                return
            if expert not in keep:
                need -= self._nbytes[expert]
                yield expert

    def copy(self, expert: int, now: int, ahead: bool) -> Copy:
        """Copy an expert there is room for, after the copies before it."""
        nbytes = self._nbytes[expert]
        start = max(now, self.idle_ns)
        took = copy_ns(nbytes, self._rate)
        self.idle_ns = start + took
        self._copies[expert] = (start, self.idle_ns)
        self.free -= nbytes
        self.log.append((expert, start, self.idle_ns, int(ahead)))
        if ahead:
            self._ahead.add(expert)
        return start, self.idle_ns

    @property
    def bytes_moved(self) -> int:
        """By all copies."""
        return sum(self._nbytes[expert] for expert, *_ in self.log)


def copy_ns(nbytes: int, rate: float) -> int:
    """Whole nanoseconds to copy so many bytes.

    >>> copy_ns(13_480_000_000, 1e12)
    13480000
    """
    return round(nbytes / rate * 1e9)
