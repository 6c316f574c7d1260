"""The paged KV cache of a lane, with prefix reuse.

Prompts are shared in units: the least whole number of both hash blocks and KV blocks.  A unit is
cached once, for all sequences that hold it; it becomes visible when the step that computes it is
scheduled, as in vLLM.  Units that nobody holds stay cached until their room is needed, and then
the one let go longest ago goes first, the deeper before the shallower.
"""

from __future__ import annotations

from collections import OrderedDict

from maquette.serve.sequence import Seq, Units

ENDLESS = 1 << 60


class Blocks:
    """`available` counts blocks that are free or can be freed by eviction."""

    __slots__ = (
        "_held",
        "_others",
        "available",
        "block_size",
        "capacity",
        "idle",
        "unit_blocks",
        "unit_tokens",
    )

    def __init__(self, capacity: int, block_size: int, unit_tokens: int) -> None:
        self.capacity = capacity or ENDLESS  # no blocks: the model keeps no KV cache
        self.block_size = block_size
        self.unit_tokens = unit_tokens  # 0: no prefix caching
        self.unit_blocks = unit_tokens // block_size
        self.available = self.capacity
        self._held: set[int] = set()  # cached units that sequences hold
        self._others: dict[int, int] = {}  # of those with several holders: how many besides one
        self.idle: OrderedDict[int, None] = OrderedDict()  # cached, held by nobody; oldest first

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of `tokens` tokens fits in the empty cache."""
        return tokens <= self.capacity * self.block_size

    def cached(self, seq: Seq) -> int:
        """Leading units of `seq` that are cached."""
        for n, unit in enumerate(seq.units):
            if unit not in self._held and unit not in self.idle:
                return n
        return len(seq.units)

    def allocate(self, seq: Seq, tokens: int) -> bool:
        """Give `seq` what it lacks to hold its first `tokens` tokens; False changes nothing."""
        if seq.units:
            return self._allocate_shared(seq, tokens)
        need = -(-tokens // self.block_size)
        lack = need - seq.blocks
        if lack > self.available:
            return False
        self.available -= lack
        seq.blocks = need
        if self.idle:
            self.evict()
        return True

    def _allocate_shared(self, seq: Seq, tokens: int) -> bool:
        whole = min(tokens // self.unit_tokens, len(seq.units))
        need = -(-tokens // self.block_size) - whole * self.unit_blocks
        taken = seq.units[seq.shared : whole]
        held = self._held.intersection(taken)
        lack = need - seq.blocks + self.unit_blocks * (len(taken) - len(held))
        if lack > self.available:
            return False
        self.available -= lack
        seq.blocks = need
        if taken:
            self._hold(taken, held)
            seq.shared = whole
        self.evict()
        return True

    def _hold(self, units: Units, held: set[int]) -> None:
        for unit in held:
            self._others[unit] = self._others.get(unit, 0) + 1
        for unit in self.idle.keys() & units:
            del self.idle[unit]
        self._held.update(units)

    def evict(self, ahead: int = 0) -> None:
        """Forget idle units until what is cached fits, with `ahead` blocks more taken."""
        if not self.idle:
            return
        excess = len(self.idle) - (self.available - ahead) // self.unit_blocks
        for _ in range(excess):
            self.idle.popitem(last=False)

    def release(self, seq: Seq) -> None:
        """Take back all that `seq` holds."""
        self.available += seq.blocks
        if seq.shared:
            self._let_go(seq.units[: seq.shared])
        seq.shared = seq.blocks = 0

    def _let_go(self, units: Units) -> None:
        shared = self._others.keys() & units
        for unit in shared:
            self._others[unit] -= 1
            if not self._others[unit]:
                del self._others[unit]
        alone = [unit for unit in reversed(units) if unit not in shared]
        self._held.difference_update(alone)
        self.idle.update(dict.fromkeys(alone))
        self.available += self.unit_blocks * len(alone)
