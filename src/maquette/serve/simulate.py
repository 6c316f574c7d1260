"""One function: requests, replicas and a policy in; a Trace out."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.plans.types import Policy, Scheduler
from maquette.price.step import Replica
from maquette.serve import requests as reading
from maquette.serve.clock import QUANTA, quanta
from maquette.serve.cluster import Cluster, Columns, Pool
from maquette.serve.costs import Costs
from maquette.serve.estimated import Estimated, EstimatedSteps
from maquette.serve.lane import Lane
from maquette.serve.outcomes import Outcomes
from maquette.serve.saturation import Load, sustainable
from maquette.serve.schedulers import Continuous, PrefillFirst, Static
from maquette.serve.setup import Event, LaneSetup
from maquette.serve.stepwise import StepLane, StepPrice
from maquette.serve.timeline import GAP_EDGES_NS, Timeline
from maquette.serve.types import REJECTED, TIMED_OUT, UNFINISHED, Disaggregation, Trace
from maquette.traffic.types import LONGEST, LONGEST_NS, Requests

Mode = Literal["coalesced", "stepwise"]
Ints = NDArray[np.int64]

SCHEDULERS: dict[Scheduler, type[Lane]] = {
    "continuous": Continuous,
    "prefill-first": PrefillFirst,
    "static": Static,
}


def simulate(
    requests: Requests,
    replicas: Sequence[Replica],
    policy: Policy | None = None,
    *,
    mode: Mode = "coalesced",
    disaggregation: Disaggregation | None = None,
    max_segments: int = 100_000,
) -> Trace:
    """Serve `requests` on `replicas` under `policy` and say what happened.

    Token budget, sequences, blocks and lanes are each replica's own; of the policy the scheduler,
    chunked prefill, prefix caching, time limit and routing are used.  With `disaggregation` its
    replicas prefill and `replicas` decode; a decode replica is chosen by the same routing, except
    that nothing of a prefix is known there and the least loaded one is taken.  Replicas are
    numbered decode first.  The timeline is joined pairwise until it has at most `max_segments`
    stretches (or one per replica).  Modes give the same trace; "stepwise" takes every step.

    Raises InputError with all faults of the inputs, or for what takes more than 292 years.

    >>> import numpy as np
    >>> from maquette.price.step import StepModel
    >>> step = StepModel(0.010, 0.0, np.zeros(101), np.zeros(5), ())
    >>> replica = Replica(step, 100, 16, max_seqs=4, max_batched_tokens=100, kv_bytes_per_token=0)
    >>> one = Requests(np.array([0]), np.array([100]), np.array([3]))
    >>> trace = simulate(one, [replica])
    >>> trace.first_token_ns.tolist(), trace.finish_ns.tolist()
    ([10000000], [30000000])
    """
    policy = policy or Policy()
    reading.verify(requests, replicas, policy, disaggregation)
    if max_segments < 1:
        raise InputError(Fault("max_segments", f"{max_segments}", "1 or more"))
    try:
        simulation = Simulation(requests, replicas, policy, mode, disaggregation, max_segments)
        _run(simulation.cluster)
        return simulation.trace()
    except OverflowError:  # of times: nothing else here grows without bound
        what, hint = f"takes more than {LONGEST}", "is a speed of the machine far too low?"
        raise InputError(Fault("the simulation", what, hint=hint)) from None


def _run(cluster: Cluster) -> None:
    collecting = gc.isenabled()
    gc.disable()  # the clock makes no cycles, and looking for them takes a third of its time
    try:
        cluster.run()
    finally:
        if collecting:
            gc.enable()


class Simulation:
    """The parts of one simulation, put together."""

    def __init__(
        self,
        requests: Requests,
        replicas: Sequence[Replica],
        policy: Policy,
        mode: Mode,
        disaggregation: Disaggregation | None,
        max_segments: int,
    ) -> None:
        self.requests, self.policy, self.mode = requests, policy, mode
        self.disaggregation = disaggregation
        prefill = disaggregation.prefill if disaggregation else ()
        self.replicas = [*replicas, *prefill]
        windows = [a.window for a in replicas[0].step.attention]
        self.windows = windows
        rejected, self.warnings = reading.rejections(requests, replicas, policy, disaggregation)
        unit = reading.unit_of(requests, self.replicas, policy)
        first = prefill or replicas  # each has a server of its own
        outside = quanta(max(r.request for r in first))
        accept = quanta(max(r.accept for r in first) / len(first))
        self.outside_ns = round(outside / QUANTA)
        columns = Columns(
            arrival=reading.arrivals(requests, outside, accept),
            outside=outside,
            accept=accept,
            concurrency=requests.concurrency,
            prompt=requests.input_tokens.tolist(),
            output=requests.output_tokens.tolist(),
            priority=None if requests.priority is None else requests.priority.tolist(),
            units=reading.prefixes(requests, unit),
            rejected=rejected,
            timeout=reading.timeout(policy),
        )
        self.heap: list[Event] = []
        at = () if columns.arrival is None else (requests.arrival_ns - requests.arrival_ns[0])
        self.outcomes = Outcomes(len(requests), at, len(windows))
        self.timeline = Timeline(
            [i for i, r in enumerate(self.replicas) for _ in range(r.lanes)],
            max(r.max_batched_tokens for r in self.replicas),
            max(r.max_seqs for r in self.replicas),
            max_segments,
        )
        self.cluster = Cluster(columns, self.heap, self.outcomes, disaggregation)
        self._priced: dict[tuple[int, ...], Costs | StepPrice] = {}
        lanes = self._lanes(unit, columns.timeout, len(replicas))
        self.lanes = [lane for group in lanes for lane in group]
        n = len(replicas)
        routing = policy.routing
        if prefill and routing == "prefix-aware":
            routing = "least-outstanding"
        decode = Pool(lanes[:n], reading.limits(replicas, policy), routing)
        entry = decode
        if prefill:
            entry = Pool(lanes[n:], reading.limits(prefill, policy), policy.routing)
        self.cluster.settle_in(entry, decode)

    def _lanes(self, unit: int, timeout: int | None, decoding: int) -> list[list[Lane | StepLane]]:
        """The lanes of every replica."""
        found: list[list[Lane | StepLane]] = []
        index = 0
        for number, r in enumerate(self.replicas):
            group: list[Lane | StepLane] = []
            for lane in range(r.lanes):
                setup = LaneSetup(
                    index=index,
                    replica=number,
                    max_seqs=_share(r.max_seqs, r.lanes, lane),
                    max_batched_tokens=r.max_batched_tokens,
                    kv_blocks=_share(r.kv_blocks, r.lanes, lane),
                    block_size=r.block_size,
                    unit_tokens=unit,
                    caching=self.policy.prefix_caching and self.policy.scheduler != "static",
                    sharing=self.policy.sharing,
                    chunked=self.policy.chunked_prefill,
                    admission=self.policy.admission,
                    limit=self.policy.output_limit,
                    watermark=int(self.policy.watermark * _share(r.kv_blocks, r.lanes, lane)),
                    ahead=self.policy.overlap and self.policy.scheduler != "static",
                    timeout=timeout,
                    heap=self.heap,
                    timeline=self.timeline,
                    outcomes=self.outcomes,
                    hand_over=self.cluster.hand_over if number >= decoding else None,
                )
                group.append(self._lane(setup, r))
                index += 1
            found.append(group)
        return found

    def _lane(self, setup: LaneSetup, replica: Replica) -> Lane | StepLane:
        kind = self.policy.scheduler
        estimated = self.policy.admission == "estimate" and kind == "prefill-first"
        if self.mode == "stepwise":
            key: tuple[int, ...] = (id(replica.step),)
            price = self._priced.get(key) or StepPrice(replica.step)
            self._priced[key] = price
            assert isinstance(price, StepPrice)
            return (EstimatedSteps if estimated else StepLane)(setup, price, kind)
        size = replica.max_batched_tokens, replica.max_seqs
        key = (id(replica.step), *size)
        costs = self._priced.get(key) or Costs(replica.step, *size)
        self._priced[key] = costs
        assert isinstance(costs, Costs)
        return (Estimated if estimated else SCHEDULERS[kind])(setup, costs)

    def trace(self) -> Trace:
        """What happened, as columns."""
        self.timeline.fold()
        timeline, outcomes = self.timeline, self.outcomes
        if timeline.end_ns >= LONGEST_NS:
            raise OverflowError("the last step ends after all that can be recorded")
        status = _column(outcomes.status)
        segments = timeline.segments()
        busy = sum(Fraction(b, r.lanes) for b, r in zip(timeline.busy, self.replicas, strict=True))
        return Trace(
            arrival_ns=_column(outcomes.arrival),
            scheduled_ns=_column(outcomes.scheduled),
            first_token_ns=_column(outcomes.first),
            finish_ns=_column(outcomes.finished),
            input_tokens=self.requests.input_tokens,
            output_tokens=self.requests.output_tokens,
            cached_tokens=_column(outcomes.cached),
            preemptions=_column(outcomes.preemptions),
            replica=_column(outcomes.replica),
            status=status,
            segments=segments,
            steps=timeline.steps,
            events=timeline.events,
            steps_by_tokens=timeline.steps_by_tokens,
            steps_by_seqs=timeline.steps_by_seqs,
            prefill_pairs=tuple(map(float, outcomes.prefill_pairs)),
            prefill_context=tuple(map(float, outcomes.prefill_context)),
            decode_context=tuple(self._decode_context()),
            busy_ns=round(busy / QUANTA),
            end_ns=int(max(_column(outcomes.arrival).max(), timeline.end_ns)),
            gap_edges_ns=GAP_EDGES_NS,
            gap_counts=timeline.gap_counts,
            replicas=len(self.replicas),
            outside_ns=self.outside_ns,
            closed_loop=self.requests.concurrency > 0,
            sustainable_per_s=self._sustainable(status),
            warnings=(*self.warnings, *_outcome_warnings(status, self.policy)),
        )

    def _sustainable(self, status: Ints) -> float:
        """Of the requests that could be served at all."""
        able = status != REJECTED
        if not able.any():
            return 0.0
        cached = _column(self.outcomes.cached)
        columns = (self.requests.input_tokens, cached, self.requests.output_tokens)
        split = self.disaggregation
        decoding = self.replicas[: len(self.replicas) - (len(split.prefill) if split else 0)]
        load = Load.of(*(column[able] for column in columns))
        return sustainable(load, decoding, self.policy, split)

    def _decode_context(self) -> Iterable[float]:
        """Sum over decode steps of the contexts read, by attention class."""
        for nth, window in enumerate(self.windows):
            total = 0
            for lane in self.lanes:
                if isinstance(lane, StepLane):
                    total += lane.decode_context[nth]
                else:
                    total += lane.decoders.context_read(window)
            yield float(total)


def _share(whole: int, parts: int, part: int) -> int:
    return whole // parts + (part < whole % parts)


def _column(values: Iterable[int]) -> Ints:
    return np.frombuffer(values, np.int64).copy()  # type: ignore[call-overload,no-any-return]


def _outcome_warnings(status: Ints, policy: Policy) -> Iterable[str]:
    late = int((status == TIMED_OUT).sum())
    if late:
        share = late / len(status)
        yield (
            f"{late} requests ({share:.1%}) dropped after {policy.timeout_s} s;"
            " their tokens are not counted as output"
        )
    left = int((status == UNFINISHED).sum())
    if left:
        yield f"{left} requests unfinished: they never fit beside what was held"
    if int((status == REJECTED).sum()) == len(status):
        yield "every request was rejected: nothing was simulated"
