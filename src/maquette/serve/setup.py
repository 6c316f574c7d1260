"""What a lane is given: its share of a replica, and where it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maquette.plans.types import Admission, Sharing
from maquette.serve.outcomes import Outcomes
from maquette.serve.sequence import Seq
from maquette.serve.timeline import Timeline

Event = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LaneSetup:
    """One lane's share of its replica, and the simulation's records."""

    index: int
    replica: int
    max_seqs: int
    max_batched_tokens: int
    kv_blocks: int  # 0: the model keeps no KV cache
    block_size: int
    unit_tokens: int  # of the prefix cache; 0: no request shares a prefix
    caching: bool
    sharing: Sharing
    chunked: bool
    admission: Admission
    limit: int | None  # tokens that a request may generate, where it may end before
    watermark: int  # blocks
    ahead: bool  # a step is formed while the one before it runs
    timeout: int | None  # quanta
    heap: list[Event]
    timeline: Timeline
    outcomes: Outcomes
    hand_over: Callable[[Seq, int, int], None] | None  # a prefill lane's: seq, lane, time
