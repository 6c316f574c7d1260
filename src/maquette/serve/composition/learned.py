"""A composition trained here: tiny specialists, a router, and monoliths to compare them with.

Specialists and monoliths are perceptrons over one-hot prompts that answer all positions at once;
the router is a sum of learned scores over pairs of neighbouring symbols.  The composition and each
monolith get the same training flops.  One monolith takes the flops of a specialist and the router
for an answer; the wide one has as many weights as all specialists, and takes the flops of as many.
Needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError, NotYet
from maquette.serve.composition.domains import RULES, Domain, Symbols, domains

Module = Any


@dataclass(frozen=True)
class Sizes:
    """What is trained, and for how long.  Raises InputError for what is no size."""

    symbols: int = 10
    length: int = 8
    hidden: int = 128  # of a specialist
    batch: int = 64
    steps: int = 200  # of each specialist, and of the router
    rate: float = 5e-3
    router_rate: float = 0.1
    tests: int = 1000  # prompts per domain

    def __post_init__(self) -> None:
        faults = [Fault(k, f"is {v}", "more than 0") for k, v in vars(self).items() if not v > 0]
        if faults:
            raise InputError(*faults)

    @property
    def width(self) -> int:
        """Of a one-hot prompt."""
        return self.symbols * self.length

    def flops(self, hidden: int) -> int:
        """Of one answer: two for each weight of a matrix.

        >>> Sizes(symbols=2, length=2).flops(3)
        66
        """
        return 2 * hidden * (2 * self.width + hidden)

    def routing(self, domains: int) -> int:
        """Flops of naming one of so many domains."""
        return (self.length - 1) * domains

    def widest(self, flops: int) -> int:
        """The hidden width of a model of the same shape that takes at least so many flops."""
        return next(h for h in range(1, 1 << 20) if self.flops(h) >= flops)


@dataclass(frozen=True, eq=False)
class Learned:
    """Trained models, with the seed and the flops of their training."""

    sizes: Sizes
    seed: int
    domains: tuple[Domain, ...]
    experts: tuple[Module, ...]
    router: Module
    monolith: Module  # as many inference flops as specialist and router
    wide: Module  # as many weights as all specialists
    training_flops: dict[str, float]  # by "composition", "monolith" and "wide"


@dataclass(frozen=True)
class Quality:
    """Shares of answers' symbols that are right, on prompts not trained on.

    `kind` is what such a claim is worth: measured here, with a seed.
    """

    domain: str
    routed: float  # prompts sent to their own specialist
    specialist: float  # with the right domain given
    composition: float  # through the router, its mistakes included
    monolith: float
    wide: float
    seed: int
    kind: str = "measured"


def torch() -> Any:
    """The module; NotYet where it is not installed."""
    try:
        return import_module("torch")
    except ImportError:
        hint = "pip install 'maquette[torch]'"
        raise NotYet(
            Fault("torch", "is not installed: models cannot be trained", hint=hint)
        ) from None


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch uses one thread: models this small take longer with more."""
    t = torch()
    before = t.get_num_threads()
    t.set_num_threads(1)
    try:
        yield
    finally:
        t.set_num_threads(before)


@one_thread()
def learn(
    sizes: Sizes | None = None, seed: int = 0, names: Sequence[str] = tuple(RULES)
) -> Learned:
    """Train everything; the same seed gives the same models on the same processor."""
    sizes = sizes or Sizes()
    t = torch()
    t.manual_seed(seed)
    made = domains(sizes.symbols, seed, names)
    rng = np.random.default_rng([seed, 1])
    experts = tuple(
        _train(_model(sizes, sizes.hidden), _answers([domain], sizes, sizes.steps, rng), sizes)
        for domain in made
    )
    n = len(made)
    scores = t.nn.EmbeddingBag(sizes.symbols**2, n, mode="sum")
    router = _train(scores, _which(made, sizes, sizes.steps, rng), sizes, sizes.router_rate)
    each = 3 * sizes.batch * sizes.steps  # of training: forward, and twice as much backward
    total = each * (n * sizes.flops(sizes.hidden) + sizes.routing(n))
    answer = sizes.flops(sizes.hidden)
    widths = sizes.widest(answer + sizes.routing(n)), sizes.widest(n * answer)
    steps = [max(1, round(total / (3 * sizes.batch * sizes.flops(h)))) for h in widths]
    monolith, wide = (
        _train(_model(sizes, h), _answers(made, sizes, k, rng), sizes)
        for h, k in zip(widths, steps, strict=True)
    )
    spent = [3.0 * sizes.batch * k * sizes.flops(h) for h, k in zip(widths, steps, strict=True)]
    flops = {"composition": float(total), "monolith": spent[0], "wide": spent[1]}
    return Learned(sizes, seed, made, experts, router, monolith, wide, flops)


@one_thread()
def quality(of: Learned) -> tuple[Quality, ...]:
    """How well everything answers, domain by domain, on fresh prompts."""
    t, sizes = torch(), of.sizes
    rng = np.random.default_rng([of.seed, 2])
    found = []
    for i, domain in enumerate(of.domains):
        prompts, answers = domain.draw(sizes.tests, sizes.length, rng)
        x, y = one_hot(prompts, sizes.symbols), t.from_numpy(answers)
        with t.inference_mode():
            chosen = of.router(pairs(prompts, sizes.symbols)).argmax(-1)
            right = [(answered(e, x, sizes) == y).double() for e in of.experts]
            own = t.stack(right)[chosen, t.arange(len(x))]
            mono, wide = ((answered(m, x, sizes) == y).double() for m in (of.monolith, of.wide))
        found.append(
            Quality(
                domain=domain.name,
                routed=float((chosen == i).double().mean()),
                specialist=float(right[i].mean()),
                composition=float(own.mean()),
                monolith=float(mono.mean()),
                wide=float(wide.mean()),
                seed=of.seed,
            )
        )
    return tuple(found)


def one_hot(prompts: Symbols, symbols: int) -> Any:
    """Prompts as a model reads them: (sequences, length * symbols), single precision."""
    t = torch()
    return t.nn.functional.one_hot(t.from_numpy(prompts), symbols).float().flatten(1)


def pairs(prompts: Symbols, symbols: int) -> Any:
    """Prompts as the router reads them: numbers of the pairs of neighbours."""
    return torch().from_numpy(prompts[:, :-1] * symbols + prompts[:, 1:])


def answered(model: Module, x: Any, sizes: Sizes) -> Any:
    """The symbols that a model answers one-hot prompts with."""
    return model(x).view(len(x), sizes.length, sizes.symbols).argmax(-1)


def _model(sizes: Sizes, hidden: int) -> Module:
    nn = torch().nn
    return nn.Sequential(
        nn.Linear(sizes.width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
        nn.Linear(hidden, sizes.width),
    )  # fmt: skip


Batches = Iterator[tuple[Any, Any]]  # what a model reads, and the numbers it should name


def _answers(made: Sequence[Domain], sizes: Sizes, steps: int, rng: np.random.Generator) -> Batches:
    """So many batches of all domains, in equal parts as far as they divide."""
    prompts, answers, _ = _drawn(made, sizes, steps, rng)
    for x, y in zip(prompts, answers, strict=True):
        yield one_hot(x, sizes.symbols), torch().from_numpy(y).flatten()


def _which(made: Sequence[Domain], sizes: Sizes, steps: int, rng: np.random.Generator) -> Batches:
    """The same for the router: the number of the domain is the answer."""
    prompts, _, numbers = _drawn(made, sizes, steps, rng)
    for x in prompts:
        yield pairs(x, sizes.symbols), torch().from_numpy(numbers)


def _drawn(
    made: Sequence[Domain], sizes: Sizes, steps: int, rng: np.random.Generator
) -> tuple[Symbols, Symbols, Symbols]:
    """Prompts and answers, (steps, batch, length) each, and the domains of a batch's rows."""
    parts = _parts(made, sizes.batch)
    drawn = [domain.draw(steps * n, sizes.length, rng) for domain, n in parts]
    columns = zip(*drawn, strict=True)
    prompts, answers = (
        np.concatenate([rows.reshape(steps, -1, sizes.length) for rows in column], axis=1)
        for column in columns
    )
    return prompts, answers, np.repeat(np.arange(len(made)), [n for _, n in parts])


def _parts(made: Sequence[Domain], batch: int) -> list[tuple[Domain, int]]:
    n = len(made)
    return [(d, batch // n + (i < batch % n)) for i, d in enumerate(made)]


def _train(model: Module, batches: Batches, sizes: Sizes, rate: float | None = None) -> Module:
    """Adam on cross-entropy over all batches, its rate falling in a line to nothing."""
    t = torch()
    rate, drawn = rate or sizes.rate, list(batches)
    adam = t.optim.AdamW(model.parameters(), lr=rate, fused=True)
    for i, (x, y) in enumerate(drawn):
        adam.param_groups[0]["lr"] = rate * (1 - i / len(drawn))
        loss = t.nn.functional.cross_entropy(model(x).reshape(len(y), -1), y)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return model.eval()
