"""The oracle's paged KV cache: counters and plain loops, by the rules of `blocks`."""

from __future__ import annotations

from maquette.serve.sequence import Seq
from maquette.serve.setup import LaneSetup


class Prefixes:
    """The prefix cache: for each cached unit, how many hold it and when it was last let go.

    Full blocks behind the units of sequence `rid` are ``own[rid]`` in number, under key ``~rid``.
    """

    def __init__(self, unit_blocks: int) -> None:
        self.unit_blocks = unit_blocks
        self.holders: dict[int, int] = {}
        self.own: dict[int, int] = {}
        self.let_go: dict[int, int] = {}
        self.clock = 0

    def free(self, key: int) -> None:
        """Nobody holds `key` any more: it is evicted after all that are free by now."""
        self.clock += 1
        self.let_go[key] = self.clock

    def evict_to(self, free: int) -> None:
        """Forget what nobody holds, the first let go first, until it fits in `free` blocks."""
        idle = [~rid for rid in self.own] + [u for u, n in self.holders.items() if n == 0]
        idle.sort(key=self.let_go.__getitem__)
        size = {key: self.own[~key] if key < 0 else self.unit_blocks for key in idle}
        excess = sum(size.values()) - free
        for key in idle:
            if excess <= 0:
                return
            if key >= 0:
                del self.holders[key]
            elif size[key] > excess:
                self.own[~key] -= excess
            else:
                del self.own[~key]
            excess -= size[key]


class CountedBlocks:
    """`free` blocks are held by no sequence, whether they hold something cached or not."""

    def __init__(self, setup: LaneSetup) -> None:
        self.setup = setup
        self.unit_blocks = setup.unit_tokens // setup.block_size
        self.prefixes = Prefixes(self.unit_blocks)
        # Blocks at its end, of each sequence admitted with its output.
        self.whole: dict[int, tuple[Seq, int]] = {}
        self.free = self.capacity = setup.kv_blocks or 1 << 60

    @property
    def used(self) -> int:
        """Blocks that sequences hold."""
        return self.capacity - self.free

    def cached(self, seq: Seq) -> int:
        """Leading units of `seq` that are cached."""
        hits = 0
        while hits < len(seq.units) and seq.units[hits] in self.prefixes.holders:
            hits += 1
        return hits

    def find(self, seq: Seq) -> int:
        """Cached tokens of `seq`, at least one left to compute."""
        setup, computed = self.setup, 0
        if seq.units:
            cached = self.cached(seq)
            hits = min(cached, (seq.target - 1) // setup.unit_tokens)
            late = setup.sharing == "computed"
            seq.sharable = hits if hits < cached or late else len(seq.units)
            computed = hits * setup.unit_tokens
        if seq.rid in self.prefixes.own:
            size = setup.block_size
            computed += self.prefixes.own[seq.rid] * size
            computed = min(computed, (seq.target - 1) // size * size)
        return computed

    def fits(self, seq: Seq, upto: int, running: int) -> bool:
        """Whether `seq` may be admitted with `upto` tokens in the cache after the next step."""
        setup = self.setup
        free, fit = self.free, upto
        if setup.admission == "output":
            fit = self._last(seq)
            taken = {u for s, _ in self.whole.values() for u in s.units[: s.shared]}
            private = sum(n - s.shared * self.unit_blocks for s, n in self.whole.values())
            free = self.capacity - private - len(taken) * self.unit_blocks
        elif setup.admission == "prompt" and not seq.computed:
            fit = seq.target
        need = -(-fit // setup.block_size)
        if seq.units:
            shared = seq.units[: min(fit // setup.unit_tokens, seq.sharable)]
            need -= sum(self.unit_blocks for u in shared if self.prefixes.holders.get(u))
        return need + (setup.watermark if running else 0) <= free

    def _last(self, seq: Seq) -> int:
        """Tokens of `seq` in the cache when it leaves this lane."""
        return seq.target if self.setup.hand_over else seq.prompt + seq.output - 1

    def allocate(self, seq: Seq, tokens: int, admit: bool = False) -> bool:
        """Blocks for its first `tokens` tokens; False changes nothing."""
        setup, prefixes = self.setup, self.prefixes
        shared = min(tokens // setup.unit_tokens, seq.sharable) if seq.units else 0
        own = -(-tokens // setup.block_size) - shared * self.unit_blocks
        unheld = [u for u in seq.units[seq.shared : shared] if not prefixes.holders.get(u)]
        need = own - seq.blocks + len(unheld) * self.unit_blocks
        if need > self.free:
            return False
        self.free -= need
        if admit:
            prefixes.own.pop(seq.rid, None)
            if setup.admission == "output":
                self.whole[seq.rid] = seq, -(-self._last(seq) // setup.block_size)
        for unit in seq.units[seq.shared : shared]:
            prefixes.holders[unit] = prefixes.holders.get(unit, 0) + 1
        seq.blocks, seq.shared = own, shared
        prefixes.evict_to(self.free)
        return True

    def publish(self, seq: Seq) -> None:
        """Others find what `seq` computed; its own blocks of what they computed too are freed."""
        if not seq.units:
            return
        whole = min(seq.computed // self.setup.unit_tokens, len(seq.units))
        for unit in seq.units[seq.shared : whole]:
            seq.blocks -= self.unit_blocks
            if self.prefixes.holders.get(unit):
                self.free += self.unit_blocks
            self.prefixes.holders[unit] = self.prefixes.holders.get(unit, 0) + 1
        seq.shared = seq.sharable = max(whole, seq.shared)

    def release(self, seq: Seq) -> None:
        """Take back all that `seq` holds."""
        prefixes = self.prefixes
        self.whole.pop(seq.rid, None)
        self.free += seq.blocks
        full = seq.computed // self.setup.block_size - seq.shared * self.unit_blocks
        full = min(full, seq.blocks)
        if self.setup.caching and self.setup.kv_blocks and full > 0:
            prefixes.own[seq.rid] = full
            prefixes.free(~seq.rid)
        for unit in reversed(seq.units[: seq.shared]):
            prefixes.holders[unit] -= 1
            prefixes.free(unit)
            if prefixes.holders[unit] == 0:
                self.free += self.unit_blocks
        seq.blocks = seq.shared = 0
