"""Requests as columns of numbers; a million of them cost a few arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LONGEST_NS = 2**63  # of any time: more than a signed word holds
LONGEST = "292 years"


@dataclass(frozen=True, eq=False)
class Requests:
    """A finite stream of requests, sorted by arrival.

    In a closed loop (`concurrency` > 0) arrivals are not known beforehand: `concurrency` clients
    each send their next request when the last one ends, and `arrival_ns` is ignored.
    """

    arrival_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    priority: Ints | None = None  # lower is served first
    # Prefix sharing: request i has hashes block_hash[block_start[i]:block_start[i + 1]], one per
    # `block_tokens` tokens of its prompt; equal hashes at equal depth mean equal prefixes.  A trace
    # may also hash the last, partly filled block: never count more cached tokens than the prompt.
    block_hash: Ints | None = None
    block_start: Ints | None = None
    block_tokens: int = 0
    concurrency: int = 0
    source: str = ""  # where they come from, with the parameters and the seed
    notes: tuple[str, ...] = field(default=())
    # The same traffic drawn with another seed; None: these are the requests, as of a trace.
    redrawn: Callable[[int], Requests] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.input_tokens)
