"""A Schedule: a Program of one device, in sections.

A section is a metapipeline: stages joined by tiles that stay on chip, run in time on a processor
(one kernel) or in space on a dataflow chip.  What crosses its border moves through memory; what
stays inside does not.  All counts are polynomials (`ir.sizes.Size`) over

- features of the batch: ``tokens``, ``seqs``, ``pairs:t``, ``context:t`` (and one pair per window
  class), see `FEATURES`; ``hit``, the experts of one device that received a token;
- shard symbols (`plans.sharding`) and ``dp``;
- bytes per element by role: ``w:bf16`` weights published in that format, ``ub`` weights never
  quantised, ``ab`` activations, ``cb`` the KV cache; states of other widths are plain numbers.

so that one Schedule prices every batch, mesh and precision, arrays of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from maquette.ir.patterns import Value
from maquette.ir.sizes import Monomial, Size

CollectiveKind = Literal["all-reduce", "all-to-all", "all-gather"]
# "" runs in every step; the others where a part has another form for prompts.  A section of
# "decode" leaves the attention of prefill chunks to those of "prefill", which do nothing else.
Phase = Literal["", "prefill", "decode"]
SectionKind = Literal["product", "grouped", "attention", "scan", "elementwise"]

FEATURES: Mapping[tuple[int, int, int], str] = {
    (1, 1, 1): "pairs",
    (1, 0, 1): "context",
    (1, 1, 0): "tokens",
    (1, 0, 0): "seqs",
    (0, 0, 0): "",
    (0, 1, 0): "tokens",  # tables by position: at most one row per token
    (0, 1, 1): "pairs",
    (0, 0, 1): "context",
}


@dataclass(frozen=True)
class Moved:
    """Bytes of one operand that cross a section's border."""

    name: str
    role: str  # weight, state, activation, index
    bytes: Size


@dataclass(frozen=True)
class Collective:
    """Communication a section ends with.  `bytes` is the size of the tensor on one device."""

    kind: CollectiveKind
    group: str  # "tp", "ep", "tp+ep", "exchange"; sizes in price/environment.py
    bytes: Size


@dataclass(frozen=True)
class Section:
    """One kernel (or one placed metapipeline) and everything it costs, per occurrence."""

    name: str
    part: str
    kind: SectionKind
    stages: tuple[Value, ...]
    matrix: Size  # flops a matrix engine can take
    vector: Size  # all other flops
    weights: Size  # elements of weights read
    reads: tuple[Moved, ...]
    writes: tuple[Moved, ...]
    collectives: tuple[Collective, ...]
    launches: int
    phase: Phase = ""
    # Points its product with a weight adds up for each output.
    depth: Size = field(default_factory=lambda: Size(()))
    unshared: bool = False  # decoding reads cached heads anew for every query head

    @cached_property
    def bytes(self) -> Size:
        total = Size(())
        for m in (*self.reads, *self.writes):
            total = total + m.bytes
        return total


@dataclass(frozen=True)
class Schedule:
    """Sections in order, how often each part occurs, and what a device stores."""

    program: str
    sections: tuple[Section, ...]
    times: Mapping[str, int]  # occurrences of each part
    layered: frozenset[str]  # the parts that are layers
    after: frozenset[str]  # those that follow the layers: the last stage of a pipeline runs them
    windows: Mapping[str, int]  # context symbol → window, 0 for full attention
    experts: tuple[int, int] | None
    weights: Size  # bytes of weights on one device before pipeline stages divide them
    repeated: Size  # those of them in layers
    first: Size  # before the layers: the embedding
    last: Size  # after them: the head, with a table that it shares with the embedding
    kv_per_token: Mapping[str, Size]  # bytes per cached token and context symbol
    state_per_seq: Size
    width: Size  # bytes of one token's activation between layers
    vocabulary: int
    weight_formats: tuple[str, ...] = ("bf16",)  # the formats quantisable weights come in

    @cached_property
    def layers(self) -> int:
        """How many there are: what pipeline stages divide."""
        return sum(self.times[n] for n in self.layered)

    @cached_property
    def symbols(self) -> frozenset[str]:
        found: set[str] = set()
        for s in self.sections:
            for part in (s.matrix, s.vector, s.bytes, *(c.bytes for c in s.collectives)):
                found |= part.symbols
        for kv in (*self.kv_per_token.values(), self.state_per_seq, self.weights):
            found |= kv.symbols
        return frozenset(found)


def to_features(monomial: Monomial) -> Monomial:
    """``b*s*t`` → ``pairs:t`` and so on: shapes of a uniform batch to features of any batch.

    >>> to_features((("b", 1), ("s", 1), ("t4096", 1)))
    (('pairs:t4096', 1),)
    """
    powers = dict(monomial)
    b, s = powers.pop("b", 0), powers.pop("s", 0)
    contexts = [n for n in powers if n == "t" or (n[0] == "t" and n[1:].isdigit())]
    t = sum(powers.pop(n) for n in contexts)
    if (b, s, t) not in FEATURES:
        raise ValueError(f"no feature for b^{b} s^{s} t^{t}")
    feature = FEATURES[b, s, t]
    if feature in ("pairs", "context"):
        feature = f"{feature}:{contexts[0]}"
    if feature:
        powers[feature] = powers.get(feature, 0) + 1
    return tuple(sorted(powers.items()))
