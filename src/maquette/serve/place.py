"""Where a lane stands and what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maquette.serve.book import Book
from maquette.serve.ledger import Ledger
from maquette.serve.sequence import Seq

Event = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Place:
    """One lane's share of its replica, and the simulation's records."""

    index: int
    replica: int
    max_seqs: int
    max_batched_tokens: int
    kv_blocks: int  # 0: the model keeps no KV cache
    block_size: int
    unit_tokens: int  # of the prefix cache; 0: none
    chunked: bool
    timeout: int | None  # quanta
    heap: list[Event]
    book: Book
    ledger: Ledger
    hand_over: Callable[[Seq, int, int], None] | None  # a prefill lane's: seq, lane, time
