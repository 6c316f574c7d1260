"""The paged KV cache of a lane, with prefix reuse.

Prompts are shared in units: the least whole number of both hash blocks and KV blocks.  A unit is
cached once, for all sequences that hold it.  Others find it when the step that computes it is
scheduled, as in vLLM, or with `late` when that step has ended, as in SGLang: who computed the same
in the meantime then gives its own blocks back.  Full blocks behind a sequence's units, those of
generated tokens among them, are cached for that sequence alone: it finds them again after a
preemption.  What nobody holds stays cached until its room is needed, and then the one let go
longest ago goes first, the deeper before the shallower; blocks that hold nothing cached go before
all of them.
"""

from __future__ import annotations

from collections import OrderedDict

from maquette.serve.sequence import Seq, Units

ENDLESS = 1 << 60


class Blocks:
    """`available` counts blocks that are free or can be freed by eviction.

    `headroom` is what is left of them when every admitted sequence has grown to its end; it is
    kept where sequences are admitted with their output in mind (`admit` with `whole`).
    """

    __slots__ = (
        "_held",
        "_others",
        "_whole",
        "available",
        "block_size",
        "caching",
        "capacity",
        "headroom",
        "idle",
        "idle_blocks",
        "late",
        "unit_blocks",
        "unit_tokens",
    )

    def __init__(
        self,
        capacity: int,
        block_size: int,
        unit_tokens: int,
        caching: bool = False,
        late: bool = False,
    ) -> None:
        self.capacity = capacity or ENDLESS  # no blocks: the model keeps no KV cache
        self.block_size = block_size
        self.caching = caching and capacity > 0
        self.late = late
        self.unit_tokens = unit_tokens  # 0: no request shares a prefix with another
        self.unit_blocks = unit_tokens // block_size
        self.available = self.headroom = self.capacity
        self._whole: dict[int, int] = {}  # blocks at its end, of each sequence admitted with them
        self._held: set[int] = set()  # cached units that sequences hold
        self._others: dict[int, int] = {}  # of those with several holders: how many besides one
        # Cached, held by nobody, oldest first: blocks by unit, or by ~rid for those behind units.
        self.idle: OrderedDict[int, int] = OrderedDict()
        self.idle_blocks = 0

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of `tokens` tokens fits in the empty cache."""
        return tokens <= self.capacity * self.block_size

    def cached(self, seq: Seq) -> int:
        """Leading units of `seq` that are cached."""
        self.evict()
        for n, unit in enumerate(seq.units):
            if unit not in self._held and unit not in self.idle:
                return n
        return len(seq.units)

    def find(self, seq: Seq) -> int:
        """Tokens of `seq` that are cached, without its last; sets how many units it may share.

        A unit that is cached and yet computed anew, for its last token, is in blocks of its own.
        """
        computed = 0
        if self.idle_blocks > self.available:
            self.evict()
        if seq.units:
            cached = self.cached(seq)
            hits = min(cached, (seq.target - 1) // self.unit_tokens)
            seq.sharable = hits if hits < cached or self.late else len(seq.units)
            computed = hits * self.unit_tokens
        if own := self.idle.get(~seq.rid):
            size = self.block_size
            computed = min(computed + own * size, (seq.target - 1) // size * size)
        return computed

    def shared(self, seq: Seq) -> int:
        """Tokens of `seq`, found in the cache, that others hold."""
        return self.unit_tokens * len(self._held.intersection(seq.units[: seq.sharable]))

    def admit(self, seq: Seq, tokens: int, fit: int, spare: int, whole: bool) -> bool:
        """Give a waiting `seq` its first `tokens` tokens, if `fit` tokens would find room as well.

        `spare` blocks must then be left; with `whole`, every sequence admitted earlier must have
        room to its end too.  False changes nothing.
        """
        free = self.headroom if whole else self.available
        need = -(-fit // self.block_size)
        if seq.units:
            shared = seq.units[: min(fit // self.unit_tokens, seq.sharable)]
            need -= self.unit_blocks * len(self._held.intersection(shared))
        if need + spare > free:
            return False
        self.evict()
        if own := self.idle.pop(~seq.rid, 0):
            self.idle_blocks -= own
        self.allocate(seq, tokens)
        if whole:
            self._whole[seq.rid] = -(-fit // self.block_size)
            self.headroom -= need
        return True

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
        return True

    def _allocate_shared(self, seq: Seq, tokens: int) -> bool:
        whole = min(tokens // self.unit_tokens, seq.sharable)
        need = -(-tokens // self.block_size) - whole * self.unit_blocks
        taken = seq.units[seq.shared : whole]
        held = self._held.intersection(taken)
        lack = need - seq.blocks + self.unit_blocks * (len(taken) - len(held))
        if lack > self.available:
            return False
        if taken:
            self.evict()
        self.available -= lack
        seq.blocks = need
        if taken:
            self._hold(taken, held)
            seq.shared = whole
            if held and seq.rid in self._whole:  # another has them by now: taken twice from it
                self.headroom += self.unit_blocks * len(held)
        return True

    def publish(self, seq: Seq) -> None:
        """Let others find the whole units that `seq` has computed, where they did not before."""
        whole = min(seq.computed // self.unit_tokens, len(seq.units))
        units = seq.units[seq.shared : whole]
        if not units:
            return
        self.evict()
        held = self._held.intersection(units)
        seq.blocks -= self.unit_blocks * len(units)
        self.available += self.unit_blocks * len(held)  # computed twice; those in idle come back
        if seq.rid in self._whole:
            self.headroom += self.unit_blocks * len(held)
        self._hold(units, held)
        seq.shared = seq.sharable = whole

    def _hold(self, units: Units, held: set[int]) -> None:
        for unit in held:
            self._others[unit] = self._others.get(unit, 0) + 1
        for unit in self.idle.keys() & units:
            self.idle_blocks -= self.idle.pop(unit)
        self._held.update(units)

    def evict(self, ahead: int = 0) -> None:
        """Forget idle blocks until what is cached fits, with `ahead` blocks more taken.

        It is enough to do so before what is cached is looked at, or blocks are given back.
        """
        excess = self.idle_blocks - self.available + ahead
        while excess > 0:
            key, blocks = next(iter(self.idle.items()))
            if key < 0 and blocks > excess:  # blocks of one sequence, from its end
                self.idle[key] = blocks - excess
                self.idle_blocks -= excess
                return
            del self.idle[key]
            self.idle_blocks -= blocks
            excess -= blocks

    def forget(self) -> None:
        """Evict all that nobody holds."""
        self.idle.clear()
        self.idle_blocks = 0

    def release(self, seq: Seq) -> None:
        """Take back all that `seq` holds."""
        if self.idle_blocks > self.available:
            self.evict()
        self.available += seq.blocks
        if whole := self._whole.pop(seq.rid, 0):
            self.headroom += whole - seq.shared * self.unit_blocks
        if self.caching:
            full = min(seq.computed // self.block_size - seq.shared * self.unit_blocks, seq.blocks)
            if full > 0:
                self.idle[~seq.rid] = full
                self.idle_blocks += full
        if seq.shared:
            freed = self._let_go(seq.units[: seq.shared])
            self.available += freed
            if whole:
                self.headroom += freed
        seq.shared = seq.blocks = 0

    def _let_go(self, units: Units) -> int:
        """The blocks of those `units` that nobody else holds."""
        shared = self._others.keys() & units
        for unit in shared:
            self._others[unit] -= 1
            if not self._others[unit]:
                del self._others[unit]
        alone = [unit for unit in reversed(units) if unit not in shared]
        self._held.difference_update(alone)
        self.idle.update(dict.fromkeys(alone, self.unit_blocks))
        self.idle_blocks += self.unit_blocks * len(alone)
        return self.unit_blocks * len(alone)
