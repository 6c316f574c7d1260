"""A StepModel in integers: what the clock adds up."""

from __future__ import annotations

import numpy as np

from maquette.price.step import Attention, Floats, StepModel
from maquette.serve.clock import quanta, quanta_of

ENDLESS = 1 << 200  # the last piece of an envelope applies to any context

Piece = tuple[int, int, int]  # applies to contexts up to; at; slope


class AttentionCost:
    """One attention class in quanta.  Envelopes are built when first asked for."""

    __slots__ = ("_model", "_pieces", "pair", "read", "window")

    def __init__(self, model: Attention, max_seqs: int) -> None:
        self._model = model
        self.window = model.window
        self.pair = quanta(model.pair)
        self.read = quanta(model.read)
        self._pieces: list[tuple[Piece, ...] | None] = [None] * (max_seqs + 1)

    def piece(self, n: int, context: int) -> Piece:
        """What binds for `n` decoding sequences whose contexts sum to `context`."""
        for piece in self._pieces[n] or self._envelope(n):
            if context <= piece[0]:
                return piece
        raise AssertionError("an envelope ends with an endless piece")

    def _envelope(self, n: int) -> tuple[Piece, ...]:
        at, slope = self._model.at[:, n], self._model.slope[:, n]
        lines = [(quanta(a), quanta(s)) for a, s in zip(at, slope, strict=True)]
        pieces = self._pieces[n] = upper_envelope(lines)
        return pieces

    def decode(self, n: int, context: int) -> int:
        """Quanta for `n` decoding sequences whose contexts sum to `context`."""
        _, at, slope = self.piece(n, context)
        return at + slope * context


def upper_envelope(lines: list[tuple[int, int]]) -> tuple[Piece, ...]:
    """The upper envelope over integers >= 0 of lines (at, slope).

    >>> upper_envelope([(10, 0), (0, 1)]) == ((10, 10, 0), (ENDLESS, 0, 1))
    True
    """
    at, slope = max(lines)
    pieces: list[Piece] = []
    while True:
        # The next line to rise above this one: at the least integer, then the highest there.
        above = [
            ((at - a) // (s - slope) + 1, -a - s * ((at - a) // (s - slope) + 1), -s, a)
            for a, s in lines
            if s > slope
        ]
        if not above:
            return (*pieces, (ENDLESS, at, slope))
        start, _, steeper, higher = min(above)
        pieces.append((start - 1, at, slope))
        at, slope = higher, -steeper


def floor_of(model: StepModel) -> tuple[Floats, Floats, Floats, Floats]:
    """What steps take at least, the arrays of a `Floor`: zeros where the model says nothing."""
    tokens, seqs = np.zeros(model.max_tokens + 1), np.zeros(model.max_seqs + 1)
    f = model.floor
    if f is None:
        return seqs, tokens, seqs, seqs
    return f.decoding, f.chunk, f.seqs, seqs if f.sent is None else f.sent


class Costs:
    """One StepModel in quanta, up to a replica's token budget and sequences."""

    __slots__ = (
        "_least", "_least_seqs", "_sent", "attention", "decoding", "prefill", "seqs", "tokens",
    )  # fmt: skip

    def __init__(self, model: StepModel, max_tokens: int, max_seqs: int) -> None:
        overhead = quanta(model.overhead)
        decoding, chunk, seqs, sent = floor_of(model)
        self.prefill = quanta(model.prefill)
        # The overhead rides on the tokens: every step has some.
        self.tokens = [overhead + x for x in quanta_of(model.tokens[: max_tokens + 1])]
        self.seqs = quanta_of(model.seqs[: max_seqs + 1])
        self.decoding = quanta_of(decoding[: max_seqs + 1])  # the floor of such a step
        self._least = quanta_of(chunk[: max_tokens + 1])
        self._least_seqs = quanta_of(seqs[: max_seqs + 1])
        self._sent = quanta_of(sent[: max_seqs + 1])
        self.attention = tuple(AttentionCost(a, max_seqs) for a in model.attention)

    def chunked(self, tokens: int, seqs: int, attention: int) -> int:
        """Quanta of a step with a prefill chunk, whose attention takes `attention`."""
        time = self.prefill + self.tokens[tokens] + self.seqs[seqs] + attention
        return max(time, self._least[tokens] + self._least_seqs[seqs], self._sent[seqs])


def chunk_pairs(window: int, cached: int, tokens: int) -> int:
    """Query-key pairs of a prefill chunk: each query sees itself and what came before.

    >>> chunk_pairs(0, 2, 3), chunk_pairs(4, 2, 3)
    (12, 11)
    """
    if window == 0 or cached + tokens <= window:
        return tokens * cached + tokens * (tokens + 1) // 2
    whole = max(window - cached, 0)  # queries that still see everything before them
    return whole * cached + whole * (whole + 1) // 2 + (tokens - whole) * window


def chunk_context(window: int, cached: int, tokens: int) -> int:
    """Keys that a prefill chunk reads, its own included."""
    return tokens + (min(cached, window - 1) if window else cached)
