"""Small serving problems that reach every rule of an engine's scheduler, each from one seed."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Of a small model: engines want one beside their schedulers.
CONFIG = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512,
"intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "vocab_size": 8192,
"num_key_value_heads": 4, "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}"""


@dataclass(frozen=True)
class Asked:
    """A request; its first `shared` prompt tokens are those of all requests of its `family`."""

    arrival: int  # in steps
    prompt: int
    output: int
    priority: int = 0
    family: int = 0
    shared: int = 0

    def tokens(self, number: int) -> list[int]:
        """The prompt: equal exactly where prefixes are shared."""
        own = [1_000_000 + number * 10_000 + i for i in range(self.prompt - self.shared)]
        return [1_000 * self.family + i for i in range(self.shared)] + own


@dataclass(frozen=True)
class Scenario:
    """A scheduler's settings and what it is asked.  `options` are only one engine's."""

    name: str
    asked: tuple[Asked, ...]
    budget: int = 64
    seqs: int = 8
    block: int = 4
    blocks: int = 4000
    caching: bool = False
    chunked: bool = True
    priority: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As written in a trace file."""
        row = asdict(self)
        row["asked"] = [list(asdict(a).values()) for a in self.asked]
        return row


def lengths(rng: random.Random, n: int, prompt: int, output: int, spread: int) -> tuple[Asked, ...]:
    """Requests of random lengths up to the given ones, arriving over `spread` steps."""
    at = sorted(rng.randint(0, spread) for _ in range(n))
    return tuple(Asked(t, rng.randint(1, prompt), rng.randint(1, output)) for t in at)


def families(rng: random.Random, asked: tuple[Asked, ...], block: int) -> tuple[Asked, ...]:
    """The same requests, most of them with a prefix of one of two families; some all of it."""

    def share(one: Asked) -> Asked:
        shared = min(one.prompt, rng.choice((0, 2, 4, 7, 7)) * block)
        return replace(one, family=rng.randint(1, 2), shared=shared)

    return tuple(map(share, asked))


def shorten(rng: random.Random, scenario: Scenario) -> Scenario:
    """The same with few more blocks than the longest request needs."""
    size = scenario.block
    longest = max(-(-(a.prompt + a.output) // size) for a in scenario.asked)
    return replace(scenario, blocks=int(longest * rng.choice((1.2, 1.6, 2.2))) + 1)


def mixed(seed: int, chunked: bool = True) -> list[Scenario]:
    """What every engine is asked; where a prompt must be whole, budgets are no less than it."""
    rng = random.Random(seed)
    found = []
    for budget in (8, 17, 32, 64):
        most, last = (90, 12) if chunked else (budget - 5, 5)
        asked = lengths(rng, 9, most, last, 0)
        found.append(Scenario(f"budget {budget}", asked, budget=budget))
    for seqs in (1, 2, 5):
        asked = lengths(rng, 9, 40, 10, 6)
        found.append(Scenario(f"sequences {seqs}", asked, seqs=seqs))
    for nth in range(3):
        asked = lengths(rng, 10, 60, 15, 30)
        found.append(Scenario(f"arrivals {nth}", asked, budget=40 if chunked else 75))
    if chunked:
        asked = (*lengths(rng, 3, 20, 20, 3), Asked(4, 300, 3), Asked(6, 170, 4), Asked(6, 9, 2))
        found.append(Scenario("long prompts", asked, budget=48))
    for nth in range(6):
        asked = lengths(rng, 9, 40, 30, 10)
        budget = 64 if chunked else 75
        short = Scenario(f"blocks {nth}", asked, budget=budget, block=rng.choice((1, 4, 4, 8)))
        found.append(shorten(rng, short))
    return found


def cached(seed: int) -> list[Scenario]:
    """What engines with a prefix cache are asked besides."""
    rng = random.Random(seed)
    found = []
    for nth in range(4):
        asked = families(rng, lengths(rng, 12, 60, 8, 25), 4)
        found.append(Scenario(f"prefixes {nth}", asked, caching=True))
    for nth in range(5):
        asked = families(rng, lengths(rng, 12, 48, 16, 30), 4)
        found.append(shorten(rng, Scenario(f"prefixes, blocks {nth}", asked, caching=True)))
    for nth in range(4):
        asked = lengths(rng, 9, 40, 30, 10)
        found.append(shorten(rng, Scenario(f"cache, blocks {nth}", asked, caching=True)))
    return found


def prioritised(seed: int) -> list[Scenario]:
    """Requests of three priorities, blocks short in most."""
    rng = random.Random(seed)
    found = []
    for nth in range(4):
        asked = tuple(replace(a, priority=rng.randint(0, 2)) for a in lengths(rng, 9, 40, 20, 12))
        one = Scenario(f"priority {nth}", asked, seqs=4, priority=True)
        found.append(shorten(rng, one) if nth else one)
    return found
