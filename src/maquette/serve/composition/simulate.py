"""A composition under a stream of requests, on one clock."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

import numpy as np

from maquette.serve.clock import ARRIVE, END
from maquette.serve.composition.node import Job, NodeClock
from maquette.serve.composition.types import Composition, History, Ints, Stream

Event = tuple[int, int, int, int]  # ns, phase, serial, node or request


def simulate(composition: Composition, stream: Stream) -> History:
    """Serve `stream` and say what happened to every request.

    Ends at the last answer: nothing is dropped.  The same input gives the same bytes.

    >>> from maquette.serve.composition.timing import Stated
    >>> from maquette.serve.composition.types import Node, Swapping
    >>> from maquette.traffic.types import Requests
    >>> expert, two = Stated(30e-3, 2e-3, "assumed"), np.array([0, 0])
    >>> node = Node("one", {0: expert}, frozenset(), 10**10, 1e12, router=expert)
    >>> of = Composition(("a",), (10**10,), (node,), Swapping(), router_tokens=1)
    >>> done = simulate(of, Stream(Requests(two, two + 9, two + 6), two, batch=1))
    >>> (done.finish_ns / 1e6).tolist()  # router, copy, prefill, five steps; then a hit
    [80.0, 150.0]
    """
    return _Simulation(composition, stream).run()


class _Simulation:
    """The clock's state."""

    def __init__(self, composition: Composition, stream: Stream) -> None:
        requests, n = stream.requests, len(stream.requests)
        self.stream = stream
        self.prompts: list[int] = requests.input_tokens.tolist()
        self.outputs: list[int] = requests.output_tokens.tolist()
        self.experts: list[int] = stream.expert.tolist()
        self.nodes = [NodeClock(node, composition) for node in composition.nodes]
        self.router = next(n for n in self.nodes if n.node.router is not None)
        self.hosts = [
            [i for i, node in enumerate(composition.nodes) if e in node.hosted]
            for e in range(len(composition.names))
        ]
        self.ahead = composition.swapping.prefetch != "none"
        self.woken = [0] * len(self.nodes)  # when each copy engine is next looked at
        self.heap: list[Event] = []
        self.serial = 0
        self.sent = self.answered = 0
        self.runs: list[tuple[int, int, int, int, int]] = []
        self.times = {name: np.full(n, -1, np.int64) for name in _COLUMNS}

    def run(self) -> History:
        """Event by event; all events of one instant before anything new starts."""
        self._send(0)
        while self.heap:
            now = self.heap[0][0]
            while self.heap and self.heap[0][0] == now:
                _, phase, _, which = heappop(self.heap)
                if phase == ARRIVE:
                    self.times["arrival_ns"][which] = now
                    self.router.unrouted.append(which)
                elif which >= 0:
                    self._end(which, now)
            for i, node in enumerate(self.nodes):
                self._advance(i, node, now)
        requests = self.stream.requests
        return History(
            **self.times,
            input_tokens=requests.input_tokens,
            output_tokens=requests.output_tokens,
            expert=self.stream.expert,
            uses=tuple(n.use() for n in self.nodes),
            runs=_rows(self.runs),
            copies=_rows((i, *c) for i, n in enumerate(self.nodes) for c in n.tier.log),
        )

    def _advance(self, i: int, node: NodeClock, now: int) -> None:
        """Whatever this node can start now."""
        if node.job is None:
            job = node.start(now, self.prompts, self.outputs)
            if job is not None:
                self._push(job.end_ns, END, i)
        node.prefetch(now)
        if self.ahead and node.tier.idle_ns > self.woken[i]:
            self.woken[i] = node.tier.idle_ns
            self._push(node.tier.idle_ns, END, -1)  # the copy engine will be free again

    def _end(self, i: int, now: int) -> None:
        """A node's job is done: requests are routed, or answered."""
        node = self.nodes[i]
        job, node.job = node.job, None
        assert job is not None
        self.runs.append((i, job.expert, job.begin_ns, job.start_ns, now))
        if job.expert < 0:
            for rid in job.rids:
                self._queue(rid, now)
        else:
            self._record(i, job)
            self.answered += len(job.rids)
            self._send(now)

    def _queue(self, rid: int, now: int) -> None:
        """Hand a routed request to the least loaded node that hosts its expert.

        Of equally loaded ones to one that has it in its fast tier.
        """
        expert = self.experts[rid]
        self.times["routed_ns"][rid] = now

        def load(i: int) -> tuple[int, bool, int]:
            return self.nodes[i].waiting, expert not in self.nodes[i].tier, i

        chosen = min(self.hosts[expert], key=load)
        self.nodes[chosen].queue.append((rid, expert))

    def _record(self, i: int, job: Job) -> None:
        times = self.times
        at = list(job.rids)
        times["start_ns"][at] = job.begin_ns
        times["first_token_ns"][at] = job.start_ns + np.array(job.run.first_ns)
        times["finish_ns"][at] = job.start_ns + np.array(job.run.finish_ns)
        times["node"][at] = i
        times["found"][at] = job.found

    def _send(self, now: int) -> None:
        """Let those arrive who come now: all at their times, a batch, or a client's next."""
        n, requests = len(self.prompts), self.stream.requests
        if self.stream.batch:
            more = self.stream.batch if self.answered == self.sent else 0
        elif requests.concurrency:
            more = requests.concurrency - (self.sent - self.answered)
        else:
            more = n - self.sent
        first, self.sent = self.sent, min(n, self.sent + more)
        for rid in range(first, self.sent):
            timed = not (self.stream.batch or requests.concurrency)
            self._push(int(requests.arrival_ns[rid]) if timed else now, ARRIVE, rid)

    def _push(self, time: int, phase: int, which: int) -> None:
        self.serial += 1
        heappush(self.heap, (time, phase, self.serial, which))


def _rows(rows: Iterable[tuple[int, ...]]) -> Ints:
    return np.array(list(rows), np.int64).reshape(-1, 5)


_COLUMNS = (
    "arrival_ns",
    "routed_ns",
    "start_ns",
    "first_token_ns",
    "finish_ns",
    "node",
    "found",
)
