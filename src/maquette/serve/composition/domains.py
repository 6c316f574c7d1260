"""Data made here: domains of short symbol sequences, each with a rule from prompt to answer.

A prompt is a walk of the domain's own Markov chain, so that a router can tell domains by how
their prompts look, never by a tag; the answer is the domain's rule applied to the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.errors import UnknownName

Symbols = NDArray[np.int64]  # (sequences, length)
Rule = Callable[[Symbols, int], Symbols]  # of prompts and the number of symbols

OWN = 0.8  # share of a walk's steps that follow the domain's own chain; the others are uniform
SPARSE = 0.2  # concentration of a chain's rows: each symbol has few usual successors


def _reverse(x: Symbols, _: int) -> Symbols:
    return x[:, ::-1].copy()


def _sort(x: Symbols, _: int) -> Symbols:
    return np.sort(x, axis=1)


def _difference(x: Symbols, symbols: int) -> Symbols:
    return np.asarray((x - np.roll(x, 1, axis=1)) % symbols)


def _count(x: Symbols, symbols: int) -> Symbols:
    """How often each symbol was there before."""
    earlier = [(x[:, :i] == x[:, i : i + 1]).sum(axis=1) for i in range(x.shape[1])]
    return np.stack(earlier, axis=1) % symbols


def _peak(x: Symbols, _: int) -> Symbols:
    """The largest of each symbol and its two neighbours."""
    return np.maximum(np.maximum(x, np.roll(x, 1, axis=1)), np.roll(x, -1, axis=1))


RULES: Mapping[str, Rule] = {
    "reverse": _reverse,
    "sort": _sort,
    "difference": _difference,
    "count": _count,
    "peak": _peak,
}


@dataclass(frozen=True, eq=False)
class Domain:
    """Prompts of one chain with the answers of one rule."""

    name: str
    rule: Rule
    steps: NDArray[np.float64]  # (symbols, symbols): chances of the next symbol, summed up

    def draw(self, n: int, length: int, rng: np.random.Generator) -> tuple[Symbols, Symbols]:
        """`n` prompts and their answers."""
        symbols = len(self.steps)
        prompts = np.empty((n, length), np.int64)
        prompts[:, 0] = rng.integers(0, symbols, n)
        for i in range(1, length):
            beyond = rng.random(n)[:, None] > self.steps[prompts[:, i - 1]]
            prompts[:, i] = np.minimum(beyond.sum(axis=1), symbols - 1)
        return prompts, self.rule(prompts, symbols)


def domains(
    symbols: int, seed: int, names: Sequence[str] = tuple(RULES), own: float = OWN
) -> tuple[Domain, ...]:
    """A domain for each rule, its chain drawn from `seed`.

    >>> x = np.array([[3, 1, 2, 1]])
    >>> [d.rule(x, 4).tolist()[0] for d in domains(4, seed=0)]
    [[1, 2, 1, 3], [1, 1, 2, 3], [2, 2, 1, 3], [0, 0, 0, 1], [3, 3, 2, 3]]
    """
    rng = np.random.default_rng(seed)
    made = []
    for name in names:
        if name not in RULES:
            raise UnknownName("domain", name, RULES)
        chain = rng.dirichlet(np.full(symbols, SPARSE), size=symbols)
        mixed = own * chain + (1 - own) / symbols
        made.append(Domain(name, RULES[name], mixed.cumsum(axis=1)))
    return tuple(made)
