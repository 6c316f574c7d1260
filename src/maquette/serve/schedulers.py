"""How a batch is formed: three schedulers of real engines.

- `Continuous` (vLLM v1; TensorRT-LLM): one token for every decoding sequence, then the prefill
  under way, then waiting requests while the token budget, the sequences and the blocks last.
- `PrefillFirst` (vLLM v0; with chunks, SGLang): a step of prompts if any waiting one fits, else a
  step of decoding.
- `Static`: a batch of waiting requests is prefilled, then decoded until all of it has finished.
  A finished sequence keeps its row in the batch and its blocks until then, but reads no context.

In the first two, prompts are cut at the token budget where the policy chunks them and wait for a
step that takes them whole where it does not.  The policy's admission says what must find room for
a request to be let in.  When a running sequence needs a block and none is left, the one with the
highest (priority, arrival) loses its blocks and goes back to waiting, where it keeps its place;
what is no longer cached of it is computed anew.  Nothing is admitted in such a step.
"""

from __future__ import annotations

from maquette.serve.costs import Costs
from maquette.serve.lane import Lane
from maquette.serve.sequence import RID, Seq
from maquette.serve.setup import LaneSetup


class _Dynamic(Lane):
    """Requests join and leave the batch between steps."""

    mixed: bool  # whether prefill and decode tokens share steps

    def _last_served(self) -> Seq:
        last = self.partial
        for group in (self.decoders.active.values(), self.unseen.ending):
            for seq in group:
                if last is None or seq.key > last.key:
                    last = seq
        assert last is not None
        return last

    def _lacking(self) -> int:
        """How many blocks more than there are one token of every decoding sequence needs."""
        phases = self.decoders.phases
        return max(phases[self.decoders.tick % len(phases)] - self.blocks.available, 0)

    def _reserve(self, now: int) -> None:
        """Blocks for one token of every decoding sequence, preempting as needed."""
        blocks, phases = self.blocks, self.decoders.phases
        while self._lacking():
            blocks.forget()  # the sequences before the one that found no block took them
            self.preempt(now, 0)
        blocks.available -= phases[self.decoders.tick % blocks.block_size]

    def _admit(self, now: int, budget: int) -> None:
        """Take waiting requests into the step."""
        blocks, decoders, setup = self.blocks, self.decoders, self.setup
        running = (
            decoders.n + len(self.chunks) + (self.partial is not None) + len(self.unseen.ending)
        )
        while self.waiting and budget and running < setup.max_seqs:
            seq = self.seqs[self.waiting[0] & RID]
            decodes = seq.computed > 0  # its cache came from a prefill replica
            computed = seq.computed or blocks.find(seq)
            tokens = min(seq.target - computed, budget)
            if not setup.chunked and tokens < seq.target - computed:
                return
            # Where prefill goes first, the block of a decode step is reserved with the others.
            ahead = tokens if self.mixed or not decodes else 0
            upto = computed + ahead
            spare = setup.watermark if running else 0
            if not blocks.admit(seq, upto, self._fit(seq, upto), spare, self._whole):
                # A first chunk behind a shorter prefix may fit, once this one is evicted.
                self.wary = setup.admission == "chunk" and setup.chunked and computed > 0
                return
            self.schedule(seq, 0 if decodes else computed, now)
            running += 1
            if decodes:
                self.join(seq, computed, seq.last_token, now, ahead)
                seq.computed = 0
                budget -= ahead
            else:
                seq.computed = computed
                self.chunks.append((seq, tokens))
                budget -= tokens

    @property
    def _whole(self) -> bool:
        return self.setup.admission == "output"

    def _fit(self, seq: Seq, upto: int) -> int:
        """Tokens of `seq` for which blocks must be left, `upto` of them in the next step."""
        if self._whole:
            return seq.target if self.setup.hand_over else seq.prompt + seq.output - 1
        return upto if self.setup.admission == "chunk" or seq.computed else seq.target

    def _continue(self, now: int, budget: int) -> int:
        """The next chunk of the prefill under way; the budget left, 0 if it preempted anyone."""
        seq = self.partial
        assert seq is not None
        tokens = min(seq.target - seq.computed, budget)
        left = budget - tokens
        while not self.blocks.allocate(seq, seq.computed + tokens):
            left = 0
            if self.preempt(now, self.mixed) is seq:
                return 0
        self.partial = None
        self.chunks.append((seq, tokens))
        return left


class Continuous(_Dynamic):
    """Prefill beside decoding."""

    mixed = True

    def _form(self, now: int) -> bool:
        decoders, lost = self.decoders, self.lost
        if decoders.n:
            self._reserve(now)
        budget = self.setup.max_batched_tokens - decoders.n
        if self.partial is not None and budget:
            budget = self._continue(now, budget)
        if self.waiting and self.lost == lost:
            self._admit(now, budget)
        n = decoders.n
        if self.chunks:
            self.start_step(now, ticking=True, rows=n + len(self.chunks))
        elif n:
            self.start_run(now, n, single=self.lost != lost)
        else:
            return self.lost != lost  # the prefill under way made room for itself
        return False


class PrefillFirst(_Dynamic):
    """Prefill before decoding."""

    mixed = False

    def _form(self, now: int) -> bool:
        lost = self.lost
        self._prompts(now)
        if self.chunks:
            self.start_step(now, ticking=False, rows=len(self.chunks))
        elif self.decoders.n:
            if self.unseen.ending and self._lacking():
                return False  # what they hold is back before the next try
            self._reserve(now)
            self.start_run(now, self.decoders.n, single=self.lost != lost)
        else:
            return self.lost != lost
        return False

    def _prompts(self, now: int) -> None:
        """The prompt under way goes on, and waiting ones begin."""
        budget, lost = self.setup.max_batched_tokens, self.lost
        if self.partial is not None:
            budget = self._continue(now, budget)
        if self.lost == lost:
            self._admit(now, budget)


class Static(Lane):
    """One batch at a time."""

    def __init__(self, setup: LaneSetup, costs: Costs) -> None:
        super().__init__(setup, costs)
        self._members: list[Seq] = []  # of the batch, whose prefill is not complete
        self._width = 0
        self._reserved = 0

    def _form(self, now: int) -> bool:
        self.partial = None
        self._members = [s for s in self._members if s.rid in self.seqs and s.computed < s.target]
        if not self._members and not self.decoders.n:
            self._next_batch(now)
        if self._members:
            self._prefill()
            self.start_step(now, ticking=False, rows=len(self.chunks))
        elif self.decoders.n:
            self.start_run(now, self._width, single=False)
        return False

    def _next_batch(self, now: int) -> None:
        """Requests in order while sequences and blocks, enough for their last tokens, last."""
        blocks = self.blocks
        blocks.available += self._reserved
        self._reserved = 0
        while self.waiting and len(self._members) < self.setup.max_seqs:
            seq = self.seqs[self.waiting[0] & RID]
            if not blocks.allocate(seq, seq.prompt + seq.output - 1):
                break
            self._reserved += seq.blocks
            self._members.append(seq)
            self.schedule(seq, 0, now)
        self._width = len(self._members)

    def _prefill(self) -> None:
        budget = self.setup.max_batched_tokens
        for seq in self._members:
            left = seq.target - seq.computed
            tokens = min(left, budget)
            if not tokens or (tokens < left and not self.setup.chunked):
                return
            self.chunks.append((seq, tokens))
            budget -= tokens

    def _open(self) -> bool:
        return False

    def release(self, seq: Seq) -> None:
        """Blocks are released with the batch."""

    def _grow(self, steps: int) -> None:
        """Blocks are reserved with the batch."""

    def _room(self, steps: int) -> int:
        return steps
