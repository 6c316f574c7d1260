"""Prompts first, let in by an estimate of what those running will take: SGLang's batches.

Once a request found no room, nobody is tried until one has left (`full`).  Where requests may end
before their limits too many can be in: those with the fewest tokens generated are then retracted,
and queue anew.
"""

from __future__ import annotations

from maquette.serve.costs import Costs
from maquette.serve.estimate import Estimate, Reckoning, State
from maquette.serve.schedulers import PrefillFirst
from maquette.serve.sequence import RID, RID_BITS, SERIAL_BITS, Seq
from maquette.serve.setup import LaneSetup
from maquette.serve.stepwise import StepLane, StepPrice


def most(seq: Seq, setup: LaneSetup) -> int:
    """Tokens that `seq` may generate on this lane, as the engine knows: no more than fit at all."""
    if setup.hand_over or setup.limit is None:
        return 1 if setup.hand_over else seq.output
    fit = setup.kv_blocks * setup.block_size - seq.prompt - 2 if setup.kv_blocks else setup.limit
    return max(min(setup.limit, fit), seq.output)


def _state(seq: Seq, generated: int, unseen: bool, setup: LaneSetup) -> State:
    generated -= unseen
    return most(seq, setup) - generated, seq.prompt + generated


class Estimated(PrefillFirst):
    """The runs of such steps."""

    def __init__(self, setup: LaneSetup, costs: Costs) -> None:
        super().__init__(setup, costs)
        self._estimate = Estimate(setup.limit is None)
        self._full = False
        self._began = False  # whether nobody ran when the last prompts were let in
        self._fresh: set[int] = set()  # whose prompts the last step completed

    def commit(self, now: int) -> int:
        chunks = [(s.rid, s.computed + n == s.target) for s, n in self.chunks]
        self._fresh = {rid for rid, whole in chunks if whole}
        if self.ticking:
            self._estimate.decoded(self.steps)
        ended = super().commit(now)
        if (ended and not self.setup.ahead) or (
            chunks and (self._began or self.partial is not None)
        ):
            self._full = False
        return ended

    def drop_expired(self, now: int) -> int:
        dropped = super().drop_expired(now)
        if dropped:
            self._full = False
        return dropped

    def _form(self, now: int) -> bool:
        ended = bool(self.unseen.ending)
        again = super()._form(now)
        if ended:
            self._full = False
        if self.end < 0:
            self._estimate.reset()
        return again

    def _running(self) -> list[State]:
        """What the engine knows of those that decode, and of those that have ended meanwhile."""
        behind, tick = self.unseen.since >= 0, self.decoders.tick
        found = [(seq, seq.output - seq.finish + tick) for seq in self.decoders.active.values()] + [
            (seq, seq.output) for seq in self.unseen.ending
        ]
        return [
            _state(seq, n, behind and (self.ticking or seq.rid in self._fresh), self.setup)
            for seq, n in found
        ]

    def _prompts(self, now: int) -> None:
        if not self.decoders.n and not self.unseen.ending:
            self._full = False
        if self.partial is None and (self._full or not self.waiting):
            return
        setup, blocks, running = self.setup, self.blocks, self._running()
        free = blocks.available * blocks.block_size
        room = Reckoning(self._estimate, free, blocks.block_size, running, setup.caching)
        self._began = not running
        budget, lost = setup.max_batched_tokens, self.lost
        if (seq := self.partial) is not None:
            tokens = room.piece(min(seq.target - seq.computed, budget))
            self._continue(now, tokens)
            budget -= tokens
            new = most(seq, setup) if seq.computed + tokens == seq.target else 0
            room.take(tokens, new, 0, _state(seq, seq.generated, False, setup))
        if self.lost == lost:
            self._let_in(now, budget, room, len(running) + len(self.chunks))

    def _let_in(self, now: int, budget: int, room: Reckoning, running: int) -> None:
        setup, blocks = self.setup, self.blocks
        while self.waiting and budget:
            if running >= setup.max_seqs:
                self._full = True
                return
            seq = self.seqs[self.waiting[0] & RID]
            if seq.computed:  # its cache came from a prefill replica
                if not blocks.admit(seq, seq.computed, seq.computed, 0, False):
                    return
                self.schedule(seq, 0, now)
                self.join(seq, seq.computed, seq.last_token, now)
                seq.computed = 0
                running += 1
                continue
            computed = blocks.find(seq)
            lacks, state = seq.target - computed, _state(seq, seq.generated, False, setup)
            tokens, pinned = min(lacks, budget), computed - blocks.shared(seq)
            if not setup.chunked and tokens < lacks:
                return
            fits = not running or room.fits(lacks, pinned, state)
            if not fits or not blocks.admit(seq, computed + tokens, computed + tokens, 0, False):
                self._full = running > 0
                return
            room.take(tokens, most(seq, setup) if tokens == lacks else 0, pinned, state)
            self.schedule(seq, computed, now)
            seq.computed = computed
            self.chunks.append((seq, tokens))
            budget -= tokens
            running += 1

    def _reserve(self, now: int) -> None:
        lost = self.lost
        super()._reserve(now)
        if self.lost > lost and self.decoders.n:
            self._full = False
            states = self._running()
            held = sum(h for _, h in states) - sum(s.prompt for s in self.decoders.active.values())
            self._estimate.retracted(held, held + sum(n for n, _ in states), len(states))

    def _last_served(self) -> Seq:
        """The one with the fewest tokens, of those the longest prompt; it queues anew."""
        active, tick = self.decoders.active, self.decoders.tick
        if self._estimate.known or not active:
            return super()._last_served()
        victim = min(
            reversed(active.values()), key=lambda s: (s.output - s.finish + tick, -s.prompt)
        )
        self._serial += 1
        victim.key = (((victim.priority << SERIAL_BITS) + self._serial) << RID_BITS) + victim.rid
        return victim


class EstimatedSteps(StepLane):
    """The same, one step at a time."""

    def __init__(self, setup: LaneSetup, price: StepPrice, kind: str) -> None:
        super().__init__(setup, price, "prefill-first")
        self.estimate = Estimate(setup.limit is None)
        self.full = self.began = False
        self.flying: list[Seq] = []  # that the last step gave a token
        self.ran = 0

    def commit(self, now: int) -> int:
        whole = [s for s, n in self.chunks if s.computed + n == s.target]
        self.flying = whole + self.stepping
        if self.stepping:
            self.estimate.decoded(1)
        ended, chunked = super().commit(now), bool(self.chunks)
        if (ended and not self.setup.ahead) or (chunked and (self.began or self.prefilling)):
            self.full = False
        return ended

    def _drop_expired(self, now: int) -> int:
        dropped = super()._drop_expired(now)
        self.full = self.full and not dropped
        return dropped

    def _form_prefill_first(self, now: int) -> None:
        ended = bool(self.ending)
        super()._form_prefill_first(now)
        if ended:
            self.full = False
        if not self.chunks and not self.stepping:
            self.estimate.reset()

    def _take_decoders(self) -> None:
        before = len(self.lost)
        super()._take_decoders()
        if len(self.lost) > before and self.stepping:
            self.full = False
            known = [self._known(s) for s in self.stepping]
            limits = sum(most(s, self.setup) for s in self.stepping)
            self.estimate.retracted(sum(known), limits, len(known))

    def _known(self, seq: Seq) -> int:
        return seq.generated - (self.seen is not None and seq in self.flying)

    def _prompts(self, now: int) -> None:
        setup, running = self.setup, self.decoding + self.ending
        if not running:
            self.full = False
        if not self.prefilling and (self.full or not self.waiting):
            return
        states = [(most(s, setup) - self._known(s), s.prompt + self._known(s)) for s in running]
        free = self.blocks.free * setup.block_size
        room = Reckoning(self.estimate, free, setup.block_size, states, setup.caching)
        self.began = not running
        budget, before = setup.max_batched_tokens, len(self.lost)
        for seq in list(self.prefilling):
            tokens = room.piece(min(seq.target - seq.computed, budget))
            if self._room_for(seq, seq.computed + tokens):
                self.chunks.append((seq, tokens))
            budget -= tokens
            new = most(seq, setup) if seq.computed + tokens == seq.target else 0
            left = most(seq, setup) - seq.generated
            room.take(tokens, new, 0, (left, seq.prompt + seq.generated))
        if len(self.lost) == before:
            self.ran = len(running) + len(self.chunks)
            while self.waiting and budget:
                taken = self._try(now, budget, room)
                if taken is None:
                    return
                budget -= taken

    def _try(self, now: int, budget: int, room: Reckoning) -> int | None:
        """Tokens of the first waiting request in this step; None ends the step."""
        setup, seq, blocks = self.setup, self.waiting[0], self.blocks
        if self.ran >= setup.max_seqs:
            self.full = True
            return None
        given = seq.computed
        computed = given or blocks.find(seq)
        lacks = 0 if given else seq.target - computed
        tokens = min(lacks, budget)
        if not setup.chunked and tokens < lacks:
            return None
        held = sum(bool(blocks.prefixes.holders.get(u)) for u in seq.units[: seq.sharable])
        pinned = computed - held * setup.unit_tokens
        state = most(seq, setup) - seq.generated, seq.prompt + seq.generated
        fits = given or not self.ran or room.fits(lacks, pinned, state)
        if not fits or not blocks.allocate(seq, computed + tokens, admit=True):
            self.full = self.ran > 0 and not given
            return None
        self.waiting.pop(0)
        self.ran += 1
        setup.outcomes.schedule(seq, 0 if given else computed, now)
        if given:
            self.decoding.append(seq)
            return 0
        room.take(tokens, most(seq, setup) if tokens == lacks else 0, pinned, state)
        seq.computed = computed
        self.prefilling.append(seq)
        self.chunks.append((seq, tokens))
        return tokens

    def _victim(self) -> Seq:
        if self.estimate.known or not self.decoding:
            return super()._victim()
        victim = min(reversed(self.decoding), key=lambda s: (s.generated, -s.prompt))
        self._serial += 1
        victim.key = (((victim.priority << SERIAL_BITS) + self._serial) << RID_BITS) + victim.rid
        return victim
