"""The oracle: every step of every batch, one after the other, sequence by sequence.

It follows the same rules as `schedulers` with nothing but lists and counters, shares no arithmetic
with the closed forms, and is as slow as that.  Tests hold the two to the same trace.
"""

from __future__ import annotations

from heapq import heappush
from typing import NamedTuple

import numpy as np

from maquette.plans.types import Scheduler
from maquette.price.step import StepModel
from maquette.serve.clock import END, quanta
from maquette.serve.costs import floor_of
from maquette.serve.counted import CountedBlocks
from maquette.serve.sequence import RID_BITS, SERIAL_BITS, Seq
from maquette.serve.setup import LaneSetup
from maquette.serve.timeline import FOLD


class Step(NamedTuple):
    """What one step does."""

    at: int
    tokens: dict[int, int]  # by request
    lost: tuple[int, ...]  # the requests preempted to form it
    used: int  # blocks held


class StepPrice:
    """A StepModel, evaluated term by term."""

    def __init__(self, model: StepModel) -> None:
        self.overhead, self.prefill = quanta(model.overhead), quanta(model.prefill)
        self.tokens = [quanta(x) for x in model.tokens]
        floor = ([quanta(x) for x in column] for column in floor_of(model))
        self.decoding, self.chunk, self.chunk_seqs, self.sent = floor
        self.seqs = [quanta(x) for x in model.seqs]
        self.windows = [a.window for a in model.attention]
        self.pair = [quanta(a.pair) for a in model.attention]
        self.read = [quanta(a.read) for a in model.attention]
        self.at = [np.vectorize(quanta, otypes=[object])(a.at) for a in model.attention]
        self.slope = [np.vectorize(quanta, otypes=[object])(a.slope) for a in model.attention]


class StepLane:
    """A lane that does one step at a time."""

    def __init__(self, setup: LaneSetup, price: StepPrice, kind: Scheduler) -> None:
        self.setup, self.price, self.kind = setup, price, kind
        self.index = setup.index
        self.seqs: dict[int, Seq] = {}
        self.waiting: list[Seq] = []
        self.prefilling: list[Seq] = []
        self.decoding: list[Seq] = []
        self.blocks = CountedBlocks(setup)
        self.chunks: list[tuple[Seq, int]] = []
        self.stepping: list[Seq] = []  # that decode in the step under way
        self.batch: list[Seq] = []  # of static batching, finished ones included
        self.rows = 0
        self.start, self.end = 0, -1
        self.forming = False
        self.decode_context = [0] * len(price.windows)
        self._serial = 0
        self.lost: list[int] = []  # preempted to form the step
        # Where steps are formed ahead: who arrived and who ended, and when the last step began.
        self.coming: list[tuple[int, Seq]] = []
        self.ending: list[Seq] = []
        self.computed: list[Seq] = []  # whose prompts others do not find yet
        self.seen: int | None = None
        self.log: list[Step] = []

    # -- from outside ---------------------------------------------------------------------------

    def submit(self, seq: Seq, now: int) -> None:
        self._serial += 1
        seq.key = (((seq.priority << SERIAL_BITS) + self._serial) << RID_BITS) + seq.rid
        self.seqs[seq.rid] = seq
        self.coming.append((now, seq))
        if not self.setup.ahead:
            self._reveal(now)

    def _reveal(self, until: int) -> None:
        """Arrivals up to `until` are seen."""
        self.waiting += [s for at, s in self.coming if at <= until and s.rid in self.seqs]
        self.waiting.sort(key=lambda s: s.key)
        self.coming = [(at, s) for at, s in self.coming if at > until]

    def cached(self, seq: Seq, now: int = 0) -> int:
        return self.blocks.cached(seq)

    def release(self, seq: Seq) -> None:
        self.blocks.release(seq)

    def commit(self, now: int) -> int:
        self._record(now)
        ended = 0
        for seq in sorted(self.stepping, key=lambda s: s.rid):
            seq.computed += 1
            ended += self._emit(seq, now)
        for seq, tokens in self.chunks:
            seq.computed += tokens
            if self.setup.sharing == "computed":
                whole = seq.computed == seq.target and self.setup.hand_over is None
                if self.setup.ahead and whole:
                    self.computed.append(seq)
                else:
                    self.blocks.publish(seq)
            if seq.computed == seq.target:
                self.prefilling.remove(seq)
                self.decoding.append(seq)
                ended += self._emit(seq, now)
        self.end = -1
        self.seen = self.start
        return ended

    def _emit(self, seq: Seq, now: int) -> int:
        """`seq` has a new token; 1 if that was its last."""
        setup = self.setup
        if seq.generated == 0:
            setup.outcomes.first_token(seq.rid, now)
        else:
            gap, took = now - seq.last_token, now - self.start
            stepped = any(s is seq for s in self.stepping)
            if not stepped:
                setup.timeline.odd_gaps.extend((gap, 1))
            elif gap != took:
                setup.timeline.odd_gaps.extend((gap, 1, took, -1))
        seq.generated += 1
        seq.last_token = now
        if seq.generated == seq.output:
            self.decoding.remove(seq)
            del self.seqs[seq.rid]
            if setup.ahead:
                self.ending.append(seq)
            elif self.kind != "static":
                self.release(seq)
            setup.outcomes.finish(seq.rid, setup.replica, now)
            return 1
        if setup.hand_over is not None:
            self.decoding.remove(seq)
            del self.seqs[seq.rid]
            setup.hand_over(seq, self.index, now)
        return 0

    # -- forming a step -------------------------------------------------------------------------

    def form(self, now: int) -> int:
        dropped = self._drop_expired(now)
        self.chunks, self.stepping, self.lost = [], [], []
        form = {
            "continuous": self._form_continuous,
            "prefill-first": self._form_prefill_first,
            "static": self._form_static,
        }[self.kind]
        if self.setup.ahead and self.seen is not None:  # formed when the step before began
            self._reveal(self.seen)
            form(now)
        self.seen = None
        while not self.chunks and not self.stepping:
            self._take_back()
            self._reveal(now)
            before = len(self.lost)
            form(now)
            if len(self.lost) == before:
                break
        if self.chunks or self.stepping:
            tokens = {s.rid: 1 for s in self.stepping} | {s.rid: n for s, n in self.chunks}
            held = self.blocks.used
            self.log.append(Step(now, tokens, tuple(self.lost), held))
            self._take_back()
            self.start, self.end = now, now + self._time()
            heappush(self.setup.heap, (self.end, END, self.index))
        return dropped

    def _take_back(self) -> None:
        """What those hold that have ended; what was computed can be found."""
        for seq in self.computed:
            if seq.rid in self.seqs or seq in self.ending:
                self.blocks.publish(seq)
        self.computed = []
        for seq in self.ending:
            self.release(seq)
        self.ending = []

    def _drop_expired(self, now: int) -> int:
        if self.setup.timeout is None:
            return 0
        expired = [s for s in self.seqs.values() if s.deadline <= now]
        for seq in sorted(expired, key=lambda s: (s.deadline, s.rid)):
            for group in (self.waiting, self.prefilling, self.decoding):
                if seq in group:
                    group.remove(seq)
            del self.seqs[seq.rid]
            if self.kind != "static":
                self.release(seq)
            self.setup.outcomes.time_out(seq.rid, self.setup.replica)
        return len(expired)

    def _form_continuous(self, now: int) -> None:
        before = len(self.lost)
        self._take_decoders()
        budget = self._continue(self.setup.max_batched_tokens - len(self.stepping))
        if len(self.lost) == before:
            self._admit(now, budget)
        self.rows = len(self.stepping) + len(self.chunks)

    def _form_prefill_first(self, now: int) -> None:
        self._prompts(now)
        need = sum(s.computed % self.setup.block_size == 0 for s in self.decoding)
        if not self.chunks and not (self.ending and need > self.blocks.free):
            self._take_decoders()
        self.rows = len(self.stepping) + len(self.chunks)

    def _prompts(self, now: int) -> None:
        """Prompts under way go on, and waiting ones begin."""
        before = len(self.lost)
        budget = self._continue(self.setup.max_batched_tokens)
        if len(self.lost) == before:
            self._admit(now, budget)

    def _continue(self, budget: int) -> int:
        """Chunks of prompts under way; the budget left."""
        for seq in list(self.prefilling):
            tokens = min(seq.target - seq.computed, budget)
            if tokens and self._room_for(seq, seq.computed + tokens):
                self.chunks.append((seq, tokens))
                budget -= tokens
        return budget

    def _form_static(self, now: int) -> None:
        setup = self.setup
        if not self.prefilling and not self.decoding:
            for seq in self.batch:
                self.release(seq)
            self.batch = []
            while self.waiting and len(self.batch) < setup.max_seqs:
                seq = self.waiting[0]
                if not self.blocks.allocate(seq, seq.prompt + seq.output - 1):
                    break
                self.batch.append(self.waiting.pop(0))
                setup.outcomes.schedule(seq, 0, now)
            self.prefilling = list(self.batch)
        budget = setup.max_batched_tokens
        for seq in self.prefilling:
            tokens = min(seq.target - seq.computed, budget)
            if not tokens or (seq.target - seq.computed > tokens and not setup.chunked):
                break
            self.chunks.append((seq, tokens))
            budget -= tokens
        if not self.prefilling:
            self.stepping = list(self.decoding)
        self.rows = len(self.chunks) or len(self.batch)

    def _take_decoders(self) -> None:
        """Every decoding sequence takes part that finds room."""
        for seq in sorted(self.decoding, key=lambda s: s.key):
            if seq in self.decoding and self._room_for(seq, seq.computed + 1):
                self.stepping.append(seq)

    def _admit(self, now: int, budget: int) -> None:
        setup, mixed = self.setup, self.kind == "continuous"
        while self.waiting and budget:
            seq = self.waiting[0]
            running = len(self.prefilling) + len(self.decoding) + len(self.ending)
            if running >= setup.max_seqs:
                return
            given = seq.computed  # its cache came from a prefill replica
            computed = given or self.blocks.find(seq)
            tokens = min(seq.target - computed, budget)
            if not setup.chunked and computed + tokens < seq.target:
                return
            upto = given + mixed if given else computed + tokens
            if not self.blocks.fits(seq, upto, running) or not self.blocks.allocate(
                seq, upto, admit=True
            ):
                return
            self.waiting.pop(0)
            setup.outcomes.schedule(seq, 0 if given else computed, now)
            if not given:
                seq.computed = computed
                self.prefilling.append(seq)
                self.chunks.append((seq, tokens))
                budget -= tokens
                continue
            self.decoding.append(seq)
            if mixed:
                self.stepping.append(seq)
                budget -= 1

    # -- room -----------------------------------------------------------------------------------

    def _room_for(self, seq: Seq, tokens: int) -> bool:
        """Blocks for `tokens` tokens of a running sequence, preempting as needed."""
        while not self.blocks.allocate(seq, tokens):
            victim = self._victim()
            self.lost.append(victim.rid)
            self.setup.outcomes.preemptions[victim.rid] += 1
            if self.setup.ahead and victim.computed > victim.target:
                victim.computed -= 1  # its last token is not known yet
            self.release(victim)
            if victim in self.ending:
                self.ending.remove(victim)
                continue
            for group in (self.prefilling, self.decoding, self.stepping):
                if victim in group:
                    group.remove(victim)
            victim.computed, victim.target = 0, victim.prompt + victim.generated
            self.waiting.append(victim)
            self.waiting.sort(key=lambda s: s.key)
            if victim is seq:
                return False
        return True

    def _victim(self) -> Seq:
        return max(self.prefilling + self.decoding + self.ending, key=lambda s: s.key)

    # -- price and timeline ---------------------------------------------------------------------

    def _time(self) -> int:
        price, outcomes = self.price, self.setup.outcomes
        prefill = sum(t for _, t in self.chunks)
        padded = self.rows if self.stepping and self.kind == "static" else len(self.stepping)
        time = price.overhead + price.tokens[padded + prefill] + price.seqs[self.rows]
        time += price.prefill if self.chunks else 0
        n = len(self.stepping)
        for c, window in enumerate(price.windows):
            clip = window or 1 << 60
            pairs = context = 0
            for seq, tokens in self.chunks:
                keys = np.arange(seq.computed + 1, seq.computed + tokens + 1)
                pairs += int(np.minimum(keys, clip).sum())
                context += min(seq.computed, clip - 1) + tokens
            outcomes.prefill_pairs[c] += pairs
            outcomes.prefill_context[c] += context
            time += max(price.pair[c] * pairs, price.read[c] * context)
            total = sum(min(s.computed + 1, clip) for s in self.stepping)
            self.decode_context[c] += total
            if n:
                lines = zip(price.at[c][:, n], price.slope[c][:, n], strict=True)
                time += max(at + slope * total for at, slope in lines)
        if self.chunks:
            launched = price.chunk[padded + prefill] + price.chunk_seqs[self.rows]
            return max(time, launched, price.sent[self.rows])
        return max(time, price.decoding[self.rows])

    def _record(self, now: int) -> None:
        timeline, took = self.setup.timeline, now - self.start
        prefill = sum(t for _, t in self.chunks)
        running = len(self.prefilling) + len(self.decoding)
        waiting = len(self.seqs) - running
        used = self.blocks.used
        live = len(self.stepping)
        row = (self.index, self.start, took, 1, live, self.rows, prefill, took, waiting, used)
        timeline.rows.extend(row)
        if len(timeline.rows) >= FOLD or len(timeline.odd_gaps) >= FOLD:
            timeline.fold()
