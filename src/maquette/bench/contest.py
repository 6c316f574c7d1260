"""Several ways to compute the same, side by side in one process, call by call in turns.

Times are compared within a turn, so that what slows the machine slows both sides of a ratio; what
is reported is the median of the ratios with its quartiles.  A contender that fails takes no part,
and says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maquette.bench.memory import extra_bytes
from maquette.bench.others import others
from maquette.errors import MaquetteError
from maquette.run.timing import Sample, Spread, in_turns, kept, often, ratios, spread

OURS = "maquette"
Run = Callable[[], Any]
Progress = Callable[[str, int, int], None]
_LENGTH = 2e-3  # seconds of a sample, at least
_FEWEST = 3  # samples of anyone


@dataclass(frozen=True)
class Contender:
    """A way to compute: ready to run, what it keeps between calls, and what is known of it."""

    run: Run
    held_bytes: int = 0
    priced: float | None = None  # seconds that the compiler expected
    how: str = ""  # it is run


@dataclass(frozen=True)
class Case:
    """One thing to compute, and who takes part.

    `entries` make contenders, which may take long (compilers do); `reference` is the value in
    double precision, and `part` what of an output is compared with it.
    """

    name: str
    facts: Mapping[str, Any]
    entries: Mapping[str, Callable[[], Contender]]
    reference: Callable[[], Any] | None = None
    part: Callable[[Any], Any] = lambda output: output


@dataclass(frozen=True)
class Standing:
    """How one contender did."""

    name: str
    seconds: Spread | None = None
    slower: Spread | None = None  # how many times as long it takes as ours, paired
    extra_bytes: int | None = None  # peak beyond the inputs, output and kept buffers included
    max_error: float | None = None  # beside double precision, absolute
    relative_error: float | None = None  # over the largest magnitude of the reference
    prepared_s: float = 0.0  # compiling, the first call included
    priced: float | None = None
    how: str = ""
    failed: str = ""


@dataclass(frozen=True)
class Held:
    """A case and how everyone did in it."""

    name: str
    facts: Mapping[str, Any]
    standings: tuple[Standing, ...]
    turns: int  # of ours
    others: float | None = None  # share of all processors that other work had meanwhile


@dataclass
class _Entry:
    name: str
    contender: Contender | None = None
    prepared_s: float = 0.0
    failed: str = ""
    seconds: float = 0.0  # of the call that was checked
    extra: int | None = None
    errors: tuple[float, float] | None = None
    samples: list[Sample] = field(default_factory=list)


def hold(
    case: Case, *, turns: int = 15, budget: float = 10.0, progress: Progress = lambda *_: None
) -> Held:
    """Prepare, check, measure memory, then time in turns: the standings of a case.

    About `budget` seconds go into timing, in equal shares: who takes long has fewer samples, three
    at least and `turns` at most, each taken beside one of ours.
    """
    entries = []
    for i, (name, make) in enumerate(case.entries.items()):
        progress(f"{case.name}: {name}", i, len(case.entries))
        entries.append(_prepared(name, make))
    expected = None if case.reference is None else _array(case.reference())
    for entry in entries:
        _checked(entry, expected, case.part)
    able = [e for e in entries if e.contender is not None]
    runs = [e.contender.run for e in able if e.contender is not None]
    times = [
        often(run, _LENGTH) if e.seconds < 10 * _LENGTH else 1
        for e, run in zip(able, runs, strict=True)
    ]
    most = shares([max(e.seconds, _LENGTH) for e in able], budget, turns)
    share = others()
    samples = in_turns(
        runs,
        turns=[max(most) if e.name == OURS else n for e, n in zip(able, most, strict=True)],
        times=times,
        progress=lambda done, of: progress(f"{case.name}: timing", done, of),
    )
    had = share()
    for entry, taken in zip(able, samples, strict=True):
        entry.samples = taken
    ours = next((e.samples for e in able if e.name == OURS), None)
    standings = tuple(_standing(e, ours) for e in entries)
    return Held(case.name, case.facts, standings, max(map(len, samples), default=0), had)


def shares(seconds: Sequence[float], budget: float, most: int) -> list[int]:
    """How often each of several calls, of so many seconds, is made within a budget.

    All get the same time; what the short ones do not use goes to the long ones.

    >>> shares([0.1, 4.0, 0.1], 13.0, 15)
    [15, 3, 15]
    """
    found = [most] * len(seconds)
    order = sorted(range(len(seconds)), key=seconds.__getitem__)
    for place, i in enumerate(order):
        found[i] = min(most, max(_FEWEST, int(budget / (len(order) - place) / seconds[i])))
        budget -= found[i] * seconds[i]
    return found


def _prepared(name: str, make: Callable[[], Contender]) -> _Entry:
    start = time.perf_counter()
    try:
        contender = make()
        contender.run()
    except MaquetteError as error:
        return _Entry(name, failed=str(error))
    except (RuntimeError, NotImplementedError, TypeError, ValueError, MemoryError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return _Entry(name, failed=f"{type(error).__name__}: {first[:160]}")
    return _Entry(name, contender, time.perf_counter() - start)


def _checked(entry: _Entry, expected: Any, part: Callable[[Any], Any]) -> None:
    if entry.contender is None:
        return
    held: list[Any] = []

    def call() -> None:
        start = time.perf_counter()
        held.append(run())
        entry.seconds = time.perf_counter() - start

    run = entry.contender.run
    rise = extra_bytes(call)
    if rise is None:
        call()
    entry.extra = None if rise is None else rise + entry.contender.held_bytes
    if expected is not None:
        entry.errors = _errors(_array(part(held.pop())), expected)


def _errors(found: Any, expected: Any) -> tuple[float, float]:
    if found.shape != expected.shape:
        return float("inf"), float("inf")
    away = float(np.max(np.abs(found - expected), initial=0.0))
    return away, away / max(float(np.max(np.abs(expected), initial=0.0)), 1e-300)


def _standing(entry: _Entry, ours: Sequence[Sample] | None) -> Standing:
    if entry.contender is None:
        return Standing(entry.name, failed=entry.failed)
    lasted, rejected = kept(entry.samples)
    largest, relative = entry.errors or (None, None)
    return Standing(
        entry.name,
        seconds=spread(lasted, rejected),
        slower=None if ours is None else ratios(ours, entry.samples),
        extra_bytes=entry.extra,
        max_error=largest,
        relative_error=relative,
        prepared_s=entry.prepared_s,
        priced=entry.contender.priced,
        how=entry.contender.how,
    )


def _array(value: Any) -> Any:
    """A NumPy array of doubles of what a framework or NumPy returned."""
    if hasattr(value, "detach"):
        value = value.detach().double().numpy()
    return np.asarray(value, np.float64)
