"""One node on the clock: what it runs next, and what it copies ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from maquette.serve.composition.experts import Copy, FastTier
from maquette.serve.composition.timing import Run, Timing
from maquette.serve.composition.types import (
    AHEAD,
    COPIED,
    RESIDENT,
    Composition,
    Node,
    Use,
)


@dataclass(frozen=True)
class Job:
    """What a node is busy with until `end_ns`: one run of an expert (-1: of the router)."""

    expert: int
    rids: tuple[int, ...]
    begin_ns: int  # when the node took it up
    start_ns: int  # when its first step would have begun, had the expert been there
    run: Run
    found: int

    @property
    def end_ns(self) -> int:
        """When all its answers are out."""
        return self.start_ns + self.run.total_ns


class NodeClock:
    """A node and its queue of routed requests."""

    def __init__(self, node: Node, of: Composition) -> None:
        self.node = node
        self._policy = of.swapping
        self._router_tokens = of.router_tokens
        self.tier = FastTier(node, of.nbytes)
        self.unrouted: deque[int] = deque()
        self.queue: deque[tuple[int, int]] = deque()  # request and expert
        self.job: Job | None = None
        self.router_ns = self.compute_ns = self.stall_ns = self.runs = 0

    def start(self, now: int, prompts: Sequence[int], outputs: Sequence[int]) -> Job | None:
        """Take up the next job if there is one; lengths are of all requests, by number."""
        if self.unrouted and self.node.router is not None:
            self.job = self._route(now, self.node.router, prompts)
        elif self.queue:
            self.job = self._serve(now, prompts, outputs)
        return self.job

    def _route(self, now: int, router: Timing, prompts: Sequence[int]) -> Job:
        taken = min(len(self.unrouted), self._policy.max_batch)
        rids = tuple(self.unrouted.popleft() for _ in range(taken))
        run = router.run(tuple(prompts[r] for r in rids), (self._router_tokens,) * taken)
        self.router_ns += run.total_ns
        return Job(-1, rids, now, now, run, RESIDENT)

    def _serve(self, now: int, prompts: Sequence[int], outputs: Sequence[int]) -> Job:
        expert = self.queue[0][1]
        rids = self._take(expert)
        tier, found = self.tier, RESIDENT
        if expert in tier:
            copy, ahead = tier.use(expert)
            found = AHEAD if ahead else RESIDENT
        else:
            # What is being copied can leave: copies follow one another, so it is done by then.
            fits = tier.make_room(expert)
            assert fits, "an expert that does not fit is infeasible"
            copy, found = tier.copy(expert, now, ahead=False), COPIED
        timing = self.node.hosted[expert]
        run = timing.run(tuple(prompts[r] for r in rids), tuple(outputs[r] for r in rids))
        start = self._start(now, copy, run, timing.layers)
        self.stall_ns += start - now
        self.compute_ns += run.total_ns
        self.runs += 1
        return Job(expert, rids, now, start, run, found)

    def _take(self, expert: int) -> tuple[int, ...]:
        """The head of the queue, and with batching those behind it that want the same expert."""
        if not self._policy.batch_by_expert:
            return (self.queue.popleft()[0],)
        same = [rid for rid, e in self.queue if e == expert][: self._policy.max_batch]
        taken = set(same)
        self.queue = deque(item for item in self.queue if item[0] not in taken)
        return tuple(same)

    def _start(self, now: int, copy: Copy, run: Run, layers: int) -> int:
        """When the run would have begun, had it not waited for its expert.

        With overlap copy and first step are a pipeline of two stages over equal layers: the first
        layer's copy comes before, the last layer's compute after, the slower of them in between.
        """
        start, end = copy
        if end <= now:
            return now
        if not self._policy.overlap:
            return end
        step = run.step_ns
        first_here = start - (start - end) // layers  # rounded up
        last_computed = end - (-step // layers)
        return max(now, first_here, last_computed - step)

    def prefetch(self, now: int) -> None:
        """Copy the first expert ahead that is not there, if the copy engine is idle.

        In the order of the queue, and never in the place of what comes before it or of what runs.
        """
        if self._policy.prefetch == "none" or self.tier.idle_ns > now:
            return
        keep = {self.job.expert} if self.job is not None else set()
        ahead: dict[int, None] = {}
        for _, expert in self.queue:
            ahead[expert] = None
            if len(ahead) > self._policy.depth:
                return
            if expert not in self.tier:
                if self.tier.make_room(expert, keep | ahead.keys()):
                    self.tier.copy(expert, now, ahead=True)
                return

    @property
    def waiting(self) -> int:
        """Requests it has yet to finish."""
        return len(self.queue) + (len(self.job.rids) if self.job and self.job.expert >= 0 else 0)

    def use(self) -> Use:
        """What it did so far."""
        tier = self.tier
        return Use(
            name=self.node.name,
            router_ns=self.router_ns,
            compute_ns=self.compute_ns,
            stall_ns=self.stall_ns,
            copy_ns=sum(end - start for _, start, end, _ in tier.log),
            copies=len(tier.log),
            prefetches=sum(ahead for *_, ahead in tier.log),
            bytes_moved=tier.bytes_moved,
            evictions=tier.evictions,
            runs=self.runs,
        )
