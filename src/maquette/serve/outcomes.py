"""What became of every request, and the prefill work done, while the clock runs."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from maquette.serve.clock import HALF, SHIFT
from maquette.serve.sequence import Seq
from maquette.serve.types import FINISHED, REJECTED, TIMED_OUT, UNFINISHED


class Outcomes:
    """One column per fact, one row per request.  Times in nanoseconds; -1 is never."""

    __slots__ = (
        "arrival",
        "cached",
        "finished",
        "first",
        "preemptions",
        "prefill_context",
        "prefill_pairs",
        "replica",
        "scheduled",
        "status",
    )

    def __init__(self, requests: int, arrival: Iterable[int], attention_classes: int) -> None:
        def never() -> array[int]:
            return array("q", (-1,)) * requests

        self.arrival = array("q", arrival) or never()  # in a closed loop known as they are sent
        self.scheduled, self.first, self.finished = (never() for _ in range(3))
        self.replica = never()
        self.cached = array("q", (0,)) * requests
        self.preemptions = array("q", (0,)) * requests
        self.status = array("q", (UNFINISHED,)) * requests
        self.prefill_pairs = [0] * attention_classes
        self.prefill_context = [0] * attention_classes

    def schedule(self, seq: Seq, cached: int, now: int) -> None:
        """`seq` is in a batch, `cached` of its tokens found in the prefix cache."""
        rid = seq.rid
        if self.scheduled[rid] < 0:
            self.scheduled[rid] = (now + HALF) >> SHIFT
            self.cached[rid] = cached

    def arrive(self, rid: int, now: int) -> None:
        self.arrival[rid] = (now + HALF) >> SHIFT

    def first_token(self, rid: int, now: int) -> None:
        self.first[rid] = (now + HALF) >> SHIFT

    def finish(self, rid: int, replica: int, now: int) -> None:
        self.finished[rid] = (now + HALF) >> SHIFT
        self.replica[rid] = replica
        self.status[rid] = FINISHED

    def time_out(self, rid: int, replica: int) -> None:
        self.replica[rid] = replica
        self.status[rid] = TIMED_OUT

    def reject(self, rid: int) -> None:
        self.status[rid] = REJECTED
