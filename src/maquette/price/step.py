"""What one step of one replica takes, as a function of additive features of its batch.

This is the contract between the price and the clock.  Every field is in seconds.  A step's
features are sums over its sequences, so a batch of unlike sequences is priced exactly:

- ``tokens``: new tokens of the step, prefill and decode together;
- ``seqs``: sequences in the step;
- for every attention class (full, or clipped to a window) the query-key ``pairs`` and the cached
  ``context`` read, prefill chunks and decoding sequences apart.

A step takes no less than its `Floor`: the time in which the host launches all of it, and that in
which a server sends its tokens.  Each is counted once per step, against everything the device does
in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of all layers of one class.

    Prefill chunks with `pairs` and `context` take ``max(pair * pairs, read * context)``.
    Decoding `n` sequences whose contexts sum to `R` takes ``max_k(at[k, n] + slope[k, n] * R)``.
    """

    window: int  # 0 is full attention
    pair: float
    read: float
    at: Floats  # (pieces, max_seqs + 1); zero at n = 0
    slope: Floats  # (pieces, max_seqs + 1); zero at n = 0


@dataclass(frozen=True, eq=False)
class Floor:
    """Seconds that a step takes at least: those of the host, its own work and launching.

    A step that only decodes `n` sequences has ``decoding[n]``; one with a prefill chunk, `T` tokens
    and `n` sequences in all, ``chunk[T] + seqs[n]``, or ``sent[n]`` if that is longer: the server
    sends tokens while the host launches.
    """

    decoding: Floats  # (max_seqs + 1,)
    chunk: Floats  # (max_tokens + 1,)
    seqs: Floats  # (max_seqs + 1,)
    sent: Floats | None = None  # (max_seqs + 1,); part of `decoding` already; None: no server

    def scaled(self, factor: float) -> Floor:
        """Every duration times `factor`."""
        sent = None if self.sent is None else self.sent * factor
        return Floor(self.decoding * factor, self.chunk * factor, self.seqs * factor, sent)


@dataclass(frozen=True, eq=False)
class StepModel:
    """Seconds of one step: ``overhead + tokens[T] + seqs[n] + Σ attention``, and with at least one
    prefill chunk ``prefill`` more; or its `floor`, whichever is longer."""

    overhead: float  # host and framework, per step
    prefill: float  # extra per step that has at least one prefill chunk
    tokens: Floats  # (max_tokens + 1,): everything that depends on the tokens of the step
    seqs: Floats  # (max_seqs + 1,): logits, sampling, recurrent state, host work per sequence
    attention: tuple[Attention, ...]
    floor: Floor | None = None  # None: nothing is launched or sent, or what is takes no time

    @property
    def max_tokens(self) -> int:
        return len(self.tokens) - 1

    @property
    def max_seqs(self) -> int:
        return len(self.seqs) - 1

    def scaled(self, factor: float) -> StepModel:
        """Every duration times `factor`."""
        attention = tuple(
            Attention(a.window, a.pair * factor, a.read * factor, a.at * factor, a.slope * factor)
            for a in self.attention
        )
        return replace(
            self,
            overhead=self.overhead * factor,
            prefill=self.prefill * factor,
            tokens=self.tokens * factor,
            seqs=self.seqs * factor,
            attention=attention,
            floor=self.floor and self.floor.scaled(factor),
        )


@dataclass(frozen=True, eq=False)
class Replica:
    """What the clock needs to know of one replica.

    `step` prices a step of one lane, while all lanes are as busy.
    """

    step: StepModel
    kv_blocks: int  # blocks of `block_size` tokens; 0 when the model keeps no KV cache
    block_size: int
    max_seqs: int  # of all lanes together
    max_batched_tokens: int  # of one step of one lane
    kv_bytes_per_token: float  # moved between prefill and decode replicas
    state_bytes_per_seq: float = 0.0
    lanes: int = 1  # batches in flight at once: pipeline stages × attention groups
    request: float = 0.0  # seconds of a request between its client and the engine, beside all steps
    accept: float = 0.0  # seconds of its server for each request, one after another
