"""Replicas on one clock: arrivals, routing, transfers, and the order of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Protocol

from maquette.plans.types import Routing
from maquette.serve.clock import ARRIVE, END, FORM, QUANTA, quanta
from maquette.serve.outcomes import Outcomes
from maquette.serve.sequence import Seq
from maquette.serve.types import Disaggregation

Event = tuple[int, int, int]


class AnyLane(Protocol):
    """What the cluster asks of a lane; the coalesced and the stepwise ones both answer."""

    index: int
    seqs: dict[int, Seq]
    end: int
    forming: bool

    def submit(self, seq: Seq, now: int) -> None: ...
    def commit(self, now: int) -> int: ...
    def form(self, now: int) -> int: ...
    def release(self, seq: Seq) -> None: ...
    def cached(self, seq: Seq, now: int) -> int: ...


@dataclass(frozen=True, eq=False)
class Columns:
    """The requests, as the clock reads them."""

    arrival: list[int] | None  # at the engine, quanta; None in a closed loop
    outside: int  # quanta from client to engine
    accept: int  # quanta between two requests that reach the engine, at least
    concurrency: int
    prompt: list[int]
    output: list[int]
    priority: list[int] | None
    units: Callable[[int], tuple[int, ...]]
    rejected: frozenset[int]
    timeout: int | None


class Pool:
    """Replicas that do the same work; requests are dealt among those that can hold them."""

    def __init__(
        self, lanes: Sequence[Sequence[AnyLane]], limits: Sequence[int], routing: Routing
    ) -> None:
        self.lanes = lanes
        self.load = [0] * len(lanes)  # requests submitted and not ended
        self._limits = limits  # the longest sequence each replica can hold
        self._least_limit = min(limits)
        self._turn = 0
        self._prefix_aware = routing == "prefix-aware"
        self._choose = {
            "round-robin": self._next_turn,
            "least-outstanding": self._least_loaded,
            "prefix-aware": self._longest_prefix,
        }[routing]

    def pick(self, seq: Seq, tokens: int, now: int) -> tuple[int, AnyLane]:
        """The replica and the lane for `seq`, which will grow to `tokens` tokens."""
        replica = self._choose(seq, tokens, now)
        lanes = self.lanes[replica]
        if len(lanes) == 1:
            return replica, lanes[0]
        if self._prefix_aware and seq.units:
            return replica, min(lanes, key=lambda lane: (-lane.cached(seq, now), len(lane.seqs)))
        return replica, min(lanes, key=lambda lane: len(lane.seqs))

    def _able(self, tokens: int) -> list[int]:
        return [r for r, limit in enumerate(self._limits) if tokens <= limit]

    def _least_loaded(self, seq: Seq, tokens: int, now: int) -> int:
        if tokens <= self._least_limit:
            return self.load.index(min(self.load))
        return min(self._able(tokens), key=self.load.__getitem__)

    def _next_turn(self, seq: Seq, tokens: int, now: int) -> int:
        while True:
            replica = self._turn
            self._turn = (replica + 1) % len(self.lanes)
            if tokens <= self._limits[replica]:
                return replica

    def _longest_prefix(self, seq: Seq, tokens: int, now: int) -> int:
        if not seq.units:
            return self._least_loaded(seq, tokens, now)

        def rank(replica: int) -> tuple[int, int]:
            return -max(lane.cached(seq, now) for lane in self.lanes[replica]), self.load[replica]

        return min(self._able(tokens), key=rank)


class Cluster:
    """Runs the requests through a pool, or through a prefill pool and then a decode pool."""

    def __init__(
        self,
        columns: Columns,
        heap: list[Event],
        outcomes: Outcomes,
        disaggregation: Disaggregation | None,
    ) -> None:
        self._columns = columns
        self._heap = heap
        self._outcomes = outcomes
        self._split = disaggregation
        self._lanes: list[AnyLane] = []
        self._home: list[tuple[Pool, int]] = []  # of each lane: its pool and replica there
        self._entry: Pool
        self._decode: Pool
        self._unsent = iter(range(len(columns.prompt)))
        self._accepts = 0  # in a closed loop: from when on another request reaches the engine
        self._link_free: dict[int, int] = {}  # by prefill replica
        self._transfers: dict[int, tuple[Seq, int]] = {}

    def settle_in(self, entry: Pool, decode: Pool) -> None:
        """Give the cluster its pools: where requests enter and where they decode, maybe the same.

        Lanes are numbered through the decode pool first.
        """
        self._entry, self._decode = entry, decode
        for pool in dict.fromkeys((decode, entry)):
            for replica, lanes in enumerate(pool.lanes):
                self._lanes.extend(lanes)
                self._home.extend([(pool, replica)] * len(lanes))

    def run(self) -> None:
        """Until nothing is left to happen."""
        heap, lanes = self._heap, self._lanes
        if self._columns.arrival:
            self._expect(self._columns.arrival)
        else:
            self._send(0, self._columns.concurrency)
        while heap:
            now, phase, number = heappop(heap)
            if phase == ARRIVE:
                self._arrive(now, number)
            elif phase == FORM:
                self._form(lanes[number], now)
            elif number >= len(lanes):
                self._transferred(number - len(lanes), now)
            elif lanes[number].end == now:  # otherwise the run was cut short
                self._end(lanes[number], now)

    def _send(self, now: int, requests: int) -> None:
        """In a closed loop, as many clients send their next request."""
        for number in islice(self._unsent, requests):
            self._outcomes.arrive(number, now)
            at = max(now + self._columns.outside, self._accepts)
            self._accepts = at + self._columns.accept
            heappush(self._heap, (at, ARRIVE, number))

    def _expect(self, arrival: list[int]) -> None:
        """The next request of an open loop is on its way."""
        number = next(self._unsent, -1)
        if number >= 0:
            heappush(self._heap, (arrival[number], ARRIVE, number))

    def _arrive(self, now: int, rid: int) -> None:
        columns = self._columns
        if columns.arrival:
            self._expect(columns.arrival)
        if rid in columns.rejected:
            self._outcomes.reject(rid)
            if columns.arrival is None:
                self._send(now, 1)
            return
        priority = columns.priority[rid] if columns.priority else 0
        prompt, output = columns.prompt[rid], columns.output[rid]
        seq = Seq(rid, prompt, output, priority, columns.units(rid))
        if columns.timeout is not None:
            seq.deadline = self._outcomes.arrival[rid] * QUANTA + columns.timeout
        last = prompt if self._split else prompt + output - 1
        self._submit(self._entry, seq, last, now)

    def _submit(self, pool: Pool, seq: Seq, tokens: int, now: int) -> None:
        replica, lane = pool.pick(seq, tokens, now)
        pool.load[replica] += 1
        lane.submit(seq, now)
        if lane.end < 0:
            self._settle(lane, now)

    def _settle(self, lane: AnyLane, now: int) -> None:
        """An idle lane forms a batch, after all else that happens at this instant."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            self._form(lane, now)
        elif not lane.forming:
            lane.forming = True
            heappush(heap, (now, FORM, lane.index))

    def _form(self, lane: AnyLane, now: int) -> None:
        lane.forming = False
        dropped = lane.form(now)
        if dropped:
            self._ended(lane.index, dropped, now)

    def _end(self, lane: AnyLane, now: int) -> None:
        ended = lane.commit(now)
        if ended:
            self._ended(lane.index, ended, now)
        self._settle(lane, now)

    def _ended(self, number: int, requests: int, now: int) -> None:
        pool, replica = self._home[number]
        pool.load[replica] -= requests
        if self._columns.arrival is None:
            self._send(now, requests)

    # -- between prefill and decode -------------------------------------------------------------

    def hand_over(self, seq: Seq, number: int, now: int) -> None:
        """The prefill of `seq` has ended in a prefill lane: its cache goes over the link.

        Transfers of one prefill replica follow one another; the cache stays there until then.
        """
        split = self._split
        assert split is not None
        pool, replica = self._home[number]
        pool.load[replica] -= 1
        giver = split.prefill[replica]
        size = giver.kv_bytes_per_token * seq.prompt + giver.state_bytes_per_seq
        start = max(now, self._link_free.get(replica, 0))
        end = start + quanta(size / split.bandwidth) + quanta(split.latency)
        self._link_free[replica] = end
        seq.last_token = now
        self._transfers[seq.rid] = seq, number
        heappush(self._heap, (end, END, len(self._lanes) + seq.rid))

    def _transferred(self, rid: int, now: int) -> None:
        seq, number = self._transfers.pop(rid)
        lane = self._lanes[number]
        lane.release(seq)
        if lane.end < 0 and lane.seqs:
            self._settle(lane, now)
        seq.computed, seq.target = seq.prompt, seq.prompt + 1
        seq.sharable = len(seq.units)
        self._submit(self._decode, seq, seq.prompt + seq.output - 1, now)
