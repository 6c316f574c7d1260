"""What a composition is, and what happened to its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.serve.composition.timing import Timing
from maquette.traffic.types import Requests

Ints = NDArray[np.int64]

RESIDENT, AHEAD, COPIED = 0, 1, 2  # how a run found its expert: there, prefetched, absent


@dataclass(frozen=True)
class Swapping:
    """How experts move between the tiers, and how their requests are batched.

    With ``fast = "pinned"`` the most popular experts stay in the fast tier for good, beside room
    for the others to be swapped in; with `warm` the most popular of those are there to begin with.
    Prefetching copies the experts of up to `depth` runs ahead.
    Raises InputError for choices that contradict each other.
    """

    fast: Literal["lru", "pinned"] = "lru"
    warm: bool = False
    prefetch: Literal["none", "router"] = "none"
    depth: int = 1
    overlap: bool = False
    batch_by_expert: bool = False
    max_batch: int = 8

    def __post_init__(self) -> None:
        faults = []
        if self.prefetch == "router" and not self.overlap:
            hint = "copies ahead of time run beside compute: overlap = true"
            faults.append(Fault("prefetch", "'router' does not go without overlap", hint=hint))
        for name in ("depth", "max_batch"):
            if getattr(self, name) < 1:
                faults.append(Fault(name, f"is {getattr(self, name)}", "1 or more"))
        if faults:
            raise InputError(*faults)


@dataclass(frozen=True, eq=False)
class Node:
    """Devices that run one expert at a time, with the experts that they host.

    `hosted` has the timing of each expert by its number; `pinned` are always in the fast tier,
    `room` is what is left there for the others, in bytes, of which the `warm` ones are there from
    the start, the first to leave first; `copy_rate` is bytes/s from the cold tier.  `router` is
    set on the node that routes.
    """

    name: str
    hosted: Mapping[int, Timing]
    pinned: frozenset[int]
    room: int
    copy_rate: float
    router: Timing | None = None
    warm: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Composition:
    """Experts by number, with their bytes, on nodes under one policy."""

    names: tuple[str, ...]
    nbytes: tuple[int, ...]
    nodes: tuple[Node, ...]
    swapping: Swapping
    router_tokens: int  # that the router generates to name an expert


@dataclass(frozen=True, eq=False)
class Stream:
    """Requests and the expert of each.  With `batch` they come in batches of so many, one after
    the other; otherwise as `requests` says, by their arrivals or by clients in a closed loop."""

    requests: Requests
    expert: Ints
    batch: int = 0


@dataclass(frozen=True)
class Use:
    """What one node did; times in ns.  `stall_ns` is time that compute waited for a copy."""

    name: str
    router_ns: int
    compute_ns: int  # of experts, without stalls
    stall_ns: int
    copy_ns: int
    copies: int
    prefetches: int  # of these
    bytes_moved: int
    evictions: int
    runs: int


@dataclass(frozen=True, eq=False)
class History:
    """Every request of one simulation; times are ns from the first arrival."""

    arrival_ns: Ints
    routed_ns: Ints
    start_ns: Ints  # of the run that served it, its wait for the expert included
    first_token_ns: Ints
    finish_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    expert: Ints
    node: Ints
    found: Ints  # RESIDENT, AHEAD or COPIED; of those that join a run, what the run found
    uses: tuple[Use, ...]
    runs: Ints  # (runs, 5): node, expert or -1 for the router, taken up, begun, done
    copies: Ints  # (copies, 5): node, expert, begun, done, whether ahead of its run

    @property
    def end_ns(self) -> int:
        """When the last answer is out."""
        return int(self.finish_ns.max())
