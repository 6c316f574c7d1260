"""How long one batch of one model takes: as priced, or as stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from maquette.price.step import Replica
from maquette.serve.clock import nanoseconds
from maquette.serve.costs import Costs, chunk_context, chunk_pairs
from maquette.serve.decoders import Decoders
from maquette.serve.sequence import Seq
from maquette.units import Seconds

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """One batch on its own, in ns from its start; `step_ns` is its first prefill step."""

    step_ns: int
    first_ns: Tokens
    finish_ns: Tokens

    @property
    def total_ns(self) -> int:
        """Until the last token of the last sequence."""
        return max(self.finish_ns)


class Timing(Protocol):
    """A model on a node.  `layers` are those that can be computed as their weights arrive."""

    @property
    def layers(self) -> int: ...

    def run(self, prompts: Tokens, outputs: Tokens) -> Run:
        """A batch of prompts and the lengths of their answers, in tokens."""
        ...


@dataclass(frozen=True)
class Stated:
    """A model of known times: a `prefill`, first tokens included, then a `step` for every further
    token, either of a whole batch however large it is.

    >>> Stated(Seconds(0.03), Seconds(0.002), "measured").run((100,), (3,)).finish_ns
    (34000000,)
    """

    prefill: Seconds
    step: Seconds
    source: str
    layers: int = 1

    def run(self, prompts: Tokens, outputs: Tokens) -> Run:
        """All prompts at once, then steps of all."""
        first, step = round(self.prefill * 1e9), round(self.step * 1e9)
        finish = tuple(first + (n - 1) * step for n in outputs)
        return Run(first, (first,) * len(prompts), finish)


class Priced:
    """A model as `price` has it: steps of whole prompts within the token budget, then decoding.

    What is longer than the budget is prefilled in chunks of it.  The price of a step is that of
    the serving simulation, and so is the sum over decode steps.
    """

    def __init__(self, replica: Replica, layers: int) -> None:
        self.layers = layers
        self.max_seqs = replica.max_seqs
        self._budget = replica.max_batched_tokens
        self._costs = Costs(replica.step, replica.max_batched_tokens, replica.max_seqs)

    def run(self, prompts: Tokens, outputs: Tokens) -> Run:
        """The batch, to the nanosecond of the serving clock."""
        now, begun, first = 0, 0, [0] * len(prompts)
        decoders = Decoders(self._costs, block_size=1)
        finish = [0] * len(prompts)
        for chunks in packed(prompts, self._budget):
            now += self._prefill(chunks)
            begun = begun or now
            for rid, done, tokens in chunks:
                if done + tokens == prompts[rid]:
                    first[rid] = finish[rid] = now
        for rid, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
            if output > 1:
                seq = Seq(rid, prompt, output, 0, ())
                seq.generated = 1
                decoders.join(seq, prompt)
        while decoders.n:
            steps = decoders.plan(decoders.n)
            now += decoders.time(steps)
            decoders.tick += steps
            for seq in decoders.finished():
                finish[seq.rid] = now
        return Run(nanoseconds(begun), _whole(first), _whole(finish))

    def _prefill(self, chunks: Sequence[tuple[int, int, int]]) -> int:
        """Quanta of a step that prefills (request, tokens before, tokens) each."""
        costs = self._costs
        tokens = sum(c[2] for c in chunks)
        time = 0
        for cost in costs.attention:
            pairs = sum(chunk_pairs(cost.window, done, n) for _, done, n in chunks)
            context = sum(chunk_context(cost.window, done, n) for _, done, n in chunks)
            time += max(cost.pair * pairs, cost.read * context)
        return costs.chunked(tokens, len(chunks), time)


def packed(prompts: Tokens, budget: int) -> list[list[tuple[int, int, int]]]:
    """Steps of (request, tokens before, tokens): whole prompts while they fit, in order.

    >>> packed((3, 4, 12), 10)
    [[(0, 0, 3), (1, 0, 4)], [(2, 0, 10)], [(2, 10, 2)]]
    """
    steps: list[list[tuple[int, int, int]]] = []
    left = 0
    for rid, prompt in enumerate(prompts):
        if prompt <= left:
            steps[-1].append((rid, 0, prompt))
            left -= prompt
            continue
        for done in range(0, prompt, budget):
            tokens = min(budget, prompt - done)
            steps.append([(rid, done, tokens)])
            left = budget - tokens
    return steps


def _whole(times: Sequence[int]) -> Tokens:
    return tuple(nanoseconds(t) for t in times)
