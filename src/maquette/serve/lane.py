"""A lane: one batch in flight in one replica, advanced from event to event.

A replica has as many lanes as pipeline stages, each with its share of the sequences and of the KV
blocks.  What is common to all schedulers is here: waiting, the ends of runs and steps, joining and
leaving, preemption, time limits.  How a batch is formed is in `schedulers`.
"""

from __future__ import annotations

from heapq import heappop, heappush

from maquette.serve.blocks import Blocks
from maquette.serve.clock import END
from maquette.serve.costs import Costs, chunk_context, chunk_pairs
from maquette.serve.decoders import Decoders
from maquette.serve.sequence import RID, RID_BITS, SERIAL_BITS, Seq
from maquette.serve.setup import LaneSetup
from maquette.serve.timeline import FOLD
from maquette.serve.unseen import Unseen


class Lane:
    """`end` is when the step or run under way ends, -1 when the lane is idle."""

    def __init__(self, setup: LaneSetup, costs: Costs) -> None:
        self.setup = setup
        self.index = setup.index
        self.outcomes = setup.outcomes
        self._rows = setup.timeline.rows
        self._heap = setup.heap
        self.costs = costs
        self.blocks = blocks = Blocks(
            setup.kv_blocks,
            setup.block_size,
            setup.unit_tokens,
            setup.caching,
            setup.sharing == "computed",
        )
        self.decoders = Decoders(costs, blocks.block_size)
        self.seqs: dict[int, Seq] = {}  # waiting and running
        self.waiting: list[int] = []  # heap of keys; may hold some that were dropped
        self.partial: Seq | None = None  # the running sequence whose prefill is under way
        self.chunks: list[tuple[Seq, int]] = []  # prefill of the step under way
        self.ticking = False  # whether the decoders take part in the step under way
        self.rows = 0  # sequences in the step under way
        self.prefill = 0  # tokens of its chunks
        self.start = 0
        self.end = -1
        self.steps = 0
        self.lost = 0  # preemptions so far
        self.wary = False  # an eviction may let the head of the waiting ones in
        self.forming = False  # the cluster has an event to form a batch here
        self.unseen = Unseen()  # of use where steps are formed ahead
        self._serial = 0
        self._deadlines: list[tuple[int, int]] = []
        # Decoders whose last token is older than the step under way: those stalled by a prefill
        # step since `_stall`, and late joiners with the times of their last tokens.
        self._stall = -1
        self._stalled = 0
        self._late: dict[int, int] = {}

    # -- from outside ---------------------------------------------------------------------------

    def submit(self, seq: Seq, now: int) -> None:
        """`seq` arrives.  A run that it could join ends at the first step boundary from now."""
        setup = self.setup
        self.seqs[seq.rid] = seq
        self._serial += 1
        seq.key = (((seq.priority << SERIAL_BITS) + self._serial) << RID_BITS) + seq.rid
        first = not self.waiting or seq.key < self.waiting[0]
        if setup.ahead:
            self.unseen.coming.append((now, seq))
        else:
            heappush(self.waiting, seq.key)
        if self.end >= 0 and self.steps > 1:
            if first and self._open():
                self._cut(now, 1 if setup.ahead and now > self.start else 0)
            if setup.timeout is not None:
                self._cut(max(seq.deadline, now))  # it may come late from a prefill replica
        if setup.timeout is not None:
            heappush(self._deadlines, (seq.deadline, seq.rid))

    def cached(self, seq: Seq, now: int) -> int:
        """Leading units of `seq` in the prefix cache at `now`."""
        if self.end >= 0 and self.steps > 1 and self.blocks.idle:
            begun = self.decoders.steps_until(now - self.start)
            self.blocks.evict(self.decoders.growth(1, begun - 1))
        return self.blocks.cached(seq)

    def _open(self) -> bool:
        """Whether a waiting request could be admitted while decoding goes on."""
        return self.decoders.n < self.setup.max_seqs

    def _cut(self, time: int, more: int = 0) -> None:
        """End the run under way `more` steps after its first step boundary at or after `time`."""
        if self.end <= time:
            return
        steps = self.decoders.steps_until(time - self.start) + more
        if steps < self.steps:
            self.steps = steps
            self.end = self.start + self.decoders.time(steps)
            heappush(self._heap, (self.end, END, self.index))

    def commit(self, now: int) -> int:
        """The step or run under way has ended; returns how many requests did."""
        decoders, steps = self.decoders, self.steps
        if steps > 1:
            self._grow(steps)
        self._record(now)
        ended = 0
        if self.ticking:
            tick = decoders.tick = decoders.tick + steps
            if decoders.finishes and decoders.finishes[0] < (tick + 1) << RID_BITS:
                for seq in decoders.finished():
                    self._finish(seq, now)
                    ended += 1
        elif decoders.n and self._stall < 0:
            self._stall, self._stalled = self.start, decoders.n - len(self._late)
        if self.chunks:
            ended += self._complete_chunks(now)
        if self.setup.ahead:
            self.unseen.since = self.start + (decoders.time(steps - 1) if steps > 1 else 0)
        self.end = -1
        return ended

    def drop_expired(self, now: int) -> int:
        """Drop what has waited or run to its time limit; returns how many."""
        deadlines, dropped = self._deadlines, 0
        while deadlines and deadlines[0][0] <= now:
            seq = self.seqs.get(heappop(deadlines)[1])
            if seq is None:
                continue
            if seq.rid in self.decoders.active:
                self._interrupt(seq, now, 0)
            if seq is self.partial:
                self.partial = None
            self.release(seq)
            del self.seqs[seq.rid]
            self.outcomes.time_out(seq.rid, self.setup.replica)
            dropped += 1
        self._clear_head()
        return dropped

    def _clear_head(self) -> None:
        """Keep the head of the waiting ones a live one."""
        while self.waiting and self.waiting[0] & RID not in self.seqs:
            heappop(self.waiting)

    # -- forming a step -------------------------------------------------------------------------

    def form(self, now: int) -> int:
        """Form the next step or run, if there is work; returns how many requests were dropped.

        A step formed ahead is formed from what was known when the one before it began, and from
        all that is known where that gives none.
        """
        dropped = self.drop_expired(now) if self._deadlines else 0
        if self.setup.ahead and self.unseen.since >= 0:
            self._reveal(self.unseen.since)
            self._form(now)
            self.unseen.since = -1
            if self.end >= 0:
                return dropped
            self.unseen.settle(self.blocks, self.seqs)
        if self.setup.ahead:
            self._reveal(now)
        while self._form(now):
            pass
        return dropped

    def _form(self, now: int) -> bool:
        """Form the next step or run; True if who was to be in it made room: another try may do."""
        raise NotImplementedError

    def _reveal(self, until: int) -> None:
        """See who arrived up to `until`."""
        for seq in self.unseen.arrived(until, self.seqs):
            heappush(self.waiting, seq.key)

    def start_step(self, now: int, ticking: bool, rows: int) -> None:
        """Start a step with prefill `chunks`, and with all decoders if `ticking`."""
        costs, chunks, outcomes = self.costs, self.chunks, self.outcomes
        tokens = 0
        for _, count in chunks:
            tokens += count
        whole = tokens + (rows - len(chunks) if ticking else 0)
        time = self.decoders.attention() if ticking else 0
        for nth, attention in enumerate(costs.attention):
            pairs = context = 0
            for seq, count in chunks:
                pairs += chunk_pairs(attention.window, seq.computed, count)
                context += chunk_context(attention.window, seq.computed, count)
            outcomes.prefill_pairs[nth] += pairs
            outcomes.prefill_context[nth] += context
            time += max(attention.pair * pairs, attention.read * context)
        self.prefill = tokens
        self.decoders.first = time = costs.chunked(whole, rows, time)
        self.unseen.settle(self.blocks, self.seqs)
        self._begin(now, time, 1, ticking, rows)

    def start_run(self, now: int, rows: int, single: bool) -> None:
        """Start a run of decode steps, as long as the batch and its price stay the same.

        Formed ahead, it ends after a step that gives others room, or a look at who came.
        """
        decoders = self.decoders
        if self.setup.ahead:
            gone = self.unseen.settle(self.blocks, self.seqs)
            single = single or bool(self.unseen.coming) or (gone and bool(self.waiting))
        steps = decoders.plan(rows)
        steps = 1 if single else self._room(steps)
        self.prefill = 0
        self._begin(now, decoders.time(steps), steps, True, rows)
        if self._deadlines and steps > 1:
            self._cut(self._next_deadline())

    def _begin(self, now: int, time: int, steps: int, ticking: bool, rows: int) -> None:
        self.start = now
        self.end = end = now + time
        self.steps, self.ticking, self.rows = steps, ticking, rows
        heappush(self._heap, (end, END, self.index))

    def _room(self, steps: int) -> int:
        """How many of `steps` steps fit without preemption and, if `wary`, without eviction."""
        blocks = self.blocks
        available = blocks.available
        if self.wary:
            self.wary = False
            before = blocks.idle_blocks
            blocks.evict()
            if blocks.idle_blocks < before:  # by this step, after a look at who waits
                return 1
            available -= blocks.idle_blocks
        return self.decoders.room(available, steps)

    def _grow(self, steps: int) -> None:
        """Take the blocks that the run needed after its first step."""
        self.blocks.available -= self.decoders.growth(1, steps - 1)

    def _next_deadline(self) -> int:
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self.seqs:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else self.end

    # -- sequences ------------------------------------------------------------------------------

    def schedule(self, seq: Seq, cached: int, now: int) -> None:
        """`seq`, the head of the waiting ones, is in the batch."""
        heappop(self.waiting)
        if self._deadlines:
            self._clear_head()
        self.outcomes.schedule(seq, cached, now)

    def preempt(self, now: int, ahead: int) -> Seq:
        """Free the running sequence that is served last; it will be computed anew.

        One that has ended meanwhile only gives up what it holds.
        """
        seq = self._last_served()
        self.lost += 1
        self.outcomes.preemptions[seq.rid] += 1
        if seq in self.unseen.ending:
            self.unseen.ending.remove(seq)
            self._give_up(seq)
            return seq
        if seq is self.partial:
            self.partial = None
        else:
            self._interrupt(seq, now, ahead)
        self._give_up(seq)
        seq.computed = 0
        seq.target = seq.prompt + seq.generated
        heappush(self.waiting, seq.key)
        return seq

    def _give_up(self, seq: Seq) -> None:
        """Take back what `seq` holds.  Ahead, the token of its last step is not known yet, and the
        block that this one fills cannot be found again."""
        if self.setup.ahead and seq.computed > seq.target:
            seq.computed -= 1
        self.blocks.release(seq)

    def _last_served(self) -> Seq:
        """The running sequence with the highest key."""
        raise NotImplementedError

    def _interrupt(self, seq: Seq, now: int, ahead: int) -> None:
        """`seq` stops decoding before its last token."""
        self.decoders.leave(seq, ahead)
        if seq.rid in self._late:
            seq.last_token = self._late.pop(seq.rid)
        elif self._stall >= 0:
            self._stalled -= 1
            seq.last_token = self._stall
        else:
            seq.last_token = now

    def join(self, seq: Seq, cached: int, last_token: int, now: int, ahead: int = 0) -> None:
        """`seq` decodes from the next step; its last token came at `last_token`."""
        self.decoders.join(seq, cached, ahead)
        if self._stall >= 0 or last_token < now:
            self._late[seq.rid] = last_token

    def _complete_chunks(self, now: int) -> int:
        """Account for the prefill of the step that ended; returns how many requests ended."""
        ended = 0
        for seq, tokens in self.chunks:
            seq.computed += tokens
            more = seq.computed < seq.target
            if seq.units and self.blocks.late:
                if self.setup.ahead and not more and self.setup.hand_over is None:
                    self.unseen.computed.append(seq)
                else:
                    self.blocks.publish(seq)
            if more:
                self.partial = seq
                continue
            if seq.generated == 0:
                self.outcomes.first_token(seq.rid, now)
            else:
                self.setup.timeline.odd_gaps.extend((now - seq.last_token, 1))
            seq.generated += 1
            if seq.generated == seq.output:
                self._finish(seq, now)
                ended += 1
            elif self.setup.hand_over is not None:
                del self.seqs[seq.rid]
                self.setup.hand_over(seq, self.setup.index, now)
            else:
                self.join(seq, seq.target, now, now)
        self.chunks = []
        return ended

    def _finish(self, seq: Seq, now: int) -> None:
        rid = seq.rid
        del self.seqs[rid]
        if self.setup.ahead:
            self.unseen.ending.append(seq)
        else:
            self.release(seq)
        self.outcomes.finish(rid, self.setup.replica, now)

    def release(self, seq: Seq) -> None:
        self.blocks.release(seq)

    # -- the timeline ---------------------------------------------------------------------------

    def _record(self, now: int) -> None:
        decoders, blocks, start, rows = self.decoders, self.blocks, self.start, self._rows
        n, first = decoders.n, decoders.first
        running = n + len(self.chunks) + (self.partial is not None)
        live = n if self.ticking else 0
        if live and (self._late or self._stall >= 0):
            self._record_late(start + first, first)
        waiting, used = len(self.seqs) - running, blocks.capacity - blocks.available
        took = now - start
        row = (
            self.index,
            start,
            took,
            self.steps,
            live,
            self.rows,
            self.prefill,
            first,
            waiting,
            used,
        )
        rows.extend(row)
        if len(rows) >= FOLD:
            self.setup.timeline.fold()

    def _record_late(self, end: int, first: int) -> None:
        """Correct the first gap of those whose last token is older than the step."""
        odd = self.setup.timeline.odd_gaps
        if self._stall >= 0:
            odd.extend((end - self._stall, self._stalled, first, -self._stalled))
        for last_token in self._late.values():
            odd.extend((end - last_token, 1, first, -1))
        self._stall, self._stalled = -1, 0
        self._late.clear()
