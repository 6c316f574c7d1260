"""What this processor can do at best, measured in seconds: the ceilings that prices are made of.

Every probe is sampled in turns with all others, samples that other work disturbed are left out,
and a ceiling is the median of the rest with its quartiles.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from maquette.compiler.processor import Processor
from maquette.run.build import Entry, build
from maquette.run.ceilings_source import FUNCTIONS, PROBES, operations, source
from maquette.run.timing import Call, Spread, kept, spread, steadily, timed

Progress = Callable[[str, int, int], None]
_LENGTH = 4e-3  # seconds of a sample: long beside a clock tick, short beside a time slice
_YARD = 4e-4  # seconds of a yardstick
_ENOUGH = 11  # samples that nothing disturbed
_PRODUCTS = (128, 512, 1536)  # sides of the library's matrix products
_SHARED = ("l3", "memory")  # tiers of all cores, which results may be written to directly
_FRESH = 64 << 20  # bytes of memory that nobody has touched yet


@dataclass(frozen=True)
class Ceiling:
    """One rate or duration; `unit` is a quantity of `maquette.units`."""

    name: str  # "fma", "read l2", "matmul 512", "launch" …
    threads: int
    value: Spread
    unit: str


@dataclass(frozen=True)
class Ceilings:
    """All that was measured of one processor, and when."""

    processor: Processor  # its widths and capacities; rates are replaced by `measured`
    found: tuple[Ceiling, ...]
    library: str  # what multiplied the matrices
    date: str

    def get(self, name: str, threads: int = 0) -> Ceiling | None:
        """The ceiling called `name`, of all threads unless their number is given."""
        wanted = threads or self.processor.threads
        return next((c for c in self.found if (c.name, c.threads) == (name, wanted)), None)


@dataclass(frozen=True)
class _Probe:
    name: str
    threads: int
    unit: str
    amount: float  # flops or bytes of one repeat; of a duration, how many it holds
    repeat: Callable[[int], object]  # so many times


def measure(
    processor: Processor, *, seconds: float = 15.0, progress: Progress = lambda *_: None
) -> Ceilings:
    """The ceilings of the processor that this process runs on, in about `seconds`.

    Raises NotYet where there is no C++ compiler.
    """
    made = source(processor)
    entry = build([made])[made.symbol]
    library, multiply = _library()
    with _memory(_largest(processor), huge=True) as data:
        probes = [*_probes(entry, data, processor), *_products(multiply, processor.threads)]
        counts = _repeats(probes)
        samples = steadily(
            [partial(p.repeat, n) for p, n in zip(probes, counts, strict=True)],
            lambda: 1.0,  # these are what a yardstick would be made of
            enough=_ENOUGH,
            budget=seconds,
            busy=[p.threads for p in probes],
            times=[1] * len(probes),
            progress=lambda done, of: progress("measured", done, of),
        )
    found = []
    for probe, n, taken in zip(probes, counts, samples, strict=True):
        lasted, rejected = kept(taken)
        held = [s / n / probe.amount for s in lasted]
        values = held if probe.unit == "Seconds" else [1 / s for s in held]
        found.append(Ceiling(probe.name, probe.threads, spread(values, rejected), probe.unit))
    return Ceilings(processor, tuple(found), library, date.today().isoformat())


def measured(ceilings: Ceilings) -> Processor:
    """The processor with the rates that were measured, for the compiler and for prices."""
    rates: dict[str, Any] = {}
    for name in ("fma", "vector", "launch"):
        found = ceilings.get(name)
        rates |= {name: found.value.median} if found is not None else {}
    for tier in ("l1", "l2", "l3", "memory"):
        stream = fastest(ceilings, tier)
        rates |= {f"{tier}_bandwidth": stream.value.median} if stream is not None else {}
    rates.setdefault("l3_bandwidth", rates.get("memory_bandwidth", 0.0))  # no such tier
    return replace(ceilings.processor, **{k: v for k, v in rates.items() if v})


def disturbed(ceilings: Ceilings) -> bool:
    """Whether other work took so much that the ceilings are too low.

    All threads together do less than most of what one does as often, or many samples were lost.
    """
    one, all_ = ceilings.get("fma", 1), ceilings.get("fma")
    assert one is not None
    assert all_ is not None
    lost = sum(c.value.rejected > 2 * c.value.n for c in ceilings.found)
    threads = ceilings.processor.threads
    return all_.value.median < 0.8 * threads * one.value.median or 3 * lost > len(ceilings.found)


def fastest(ceilings: Ceilings, tier: str) -> Ceiling | None:
    """The stream that moves most bytes a second, both ways counted: the ceiling of a tier."""
    streams = (ceilings.get(f"{kind} {tier}") for kind in ("read", "write", "copy", "add"))
    return max((s for s in streams if s), key=lambda s: s.value.median, default=None)


def costs(ceilings: Ceilings) -> dict[str, float]:
    """How many vector operations an application of each function is worth."""
    vector = ceilings.get("vector", 1)
    if vector is None:
        return {}
    found = ((f, ceilings.get(f, 1)) for f in FUNCTIONS)
    return {f: vector.value.median / c.value.median for f, c in found if c is not None}


def yardstick(processor: Processor) -> Callable[[], float]:
    """A function that says at what share of the multiply-add ceiling all threads run just now."""
    made = source(processor)
    entry = build([made])[made.symbol]
    sink = np.zeros(64 * processor.threads + 16, np.float32)
    place = -(-sink.ctypes.data // 64) * 64
    amount = processor.threads * operations("fma", processor)
    repeats = max(1, round(_YARD * processor.fma / amount))
    args = np.array([PROBES.index("fma"), processor.threads, repeats, 0], np.int64)
    buffers = (ctypes.c_void_p * 3)(args.ctypes.data, place, place)

    def share(keep: object = (sink, args)) -> float:
        return repeats * amount / timed(partial(entry, buffers)).seconds / processor.fma

    return share


def tiers(processor: Processor) -> dict[str, int]:
    """Bytes that one thread streams so that they come from each tier; nearest tier first.

    >>> from maquette.run.host import processor
    >>> list(tiers(processor()))[0]
    'l1'
    """
    n = processor.threads
    sizes = {"l1": processor.l1 // 2, "l2": processor.l2 // 2}
    if processor.l3 > 4 * n * processor.l2:
        sizes["l3"] = max(4 * processor.l2, min(processor.l3 // (4 * n), 16 << 20))
    beyond = 2 * max(processor.l3, n * processor.l2)
    sizes["memory"] = min(beyond, _available() // 4) // n
    return {name: size // 4096 * 4096 for name, size in sizes.items()}


def _largest(processor: Processor) -> int:
    return max(tiers(processor).values()) * processor.threads


def _probes(entry: Entry, data: int, processor: Processor) -> Iterator[_Probe]:
    threads = sorted({1, processor.threads})
    sink = np.zeros(64 * processor.threads + 16, np.float32)
    place = -(-sink.ctypes.data // 64) * 64

    def calls(probe: str, n: int, nbytes: int = 0, held: int = data) -> Callable[[int], object]:
        args = np.array([PROBES.index(probe), n, 1, nbytes // 4], np.int64)
        buffers = (ctypes.c_void_p * 3)(args.ctypes.data, held, place)

        def repeat(times: int, keep: object = sink) -> None:
            args[2] = times
            entry(buffers)

        return repeat

    for n in threads:
        for probe in ("fma", "vector", *(FUNCTIONS if n == 1 else ())):
            amount = float(n * operations(probe, processor))
            yield _Probe(probe, n, "FlopPerSecond", amount, calls(probe, n))
        for tier, nbytes in tiers(processor).items():
            for probe in ("read", "write", "copy", *(("add",) if tier in _SHARED else ())):
                run = calls(probe, n, nbytes)
                yield _Probe(f"{probe} {tier}", n, "BytesPerSecond", float(nbytes * n), run)
    most = processor.threads
    yield _Probe("launch", most, "Seconds", 1.0, calls("launch", most))

    def fresh() -> None:
        with _memory(_FRESH) as held:
            calls("touch", most, _FRESH // most, held)(1)

    yield _Probe("page", most, "Seconds", _FRESH / mmap.PAGESIZE, _in_python(fresh))


def _products(multiply: Callable[..., object], threads: int) -> Iterator[_Probe]:
    for n in _PRODUCTS:
        a, b = (np.full((n, n), 0.5, np.float32) for _ in range(2))
        run = _in_python(partial(multiply, a, b, np.empty_like(a)))
        yield _Probe(f"matmul {n}", threads, "FlopPerSecond", 2.0 * n**3, run)


def _in_python(call: Call) -> Callable[[int], object]:
    def repeat(times: int) -> None:
        for _ in range(times):
            call()

    return repeat


def _library() -> tuple[str, Callable[..., object]]:
    """What multiplies matrices here: the framework's library where there is one, else NumPy's."""
    try:
        import torch
    except ImportError:
        return f"numpy {np.__version__}", lambda a, b, out: np.matmul(a, b, out=out)

    def multiply(a: object, b: object, out: object) -> object:
        return torch.mm(*(torch.from_numpy(x) for x in (a, b)), out=torch.from_numpy(out))

    return f"torch {torch.__version__}", multiply


def _repeats(probes: Sequence[_Probe]) -> list[int]:
    """How often to repeat each for a sample of `_LENGTH`; all are warm afterwards.

    Waking a thread on a busy machine takes as long as a sample should last.  So nothing is repeated
    less often on several threads than on one.
    """
    found: dict[str, int] = {"launch": 1000, "matmul 128": 50}
    counts = []
    for probe in probes:
        probe.repeat(1)
        n = found.get(probe.name, 1)
        while True:  # the quickest of three: one that was disturbed would make all too short
            took = min(timed(partial(probe.repeat, n)).seconds for _ in range(3))
            if took >= _LENGTH / 4:
                break
            n *= max(2, min(64, math.ceil(_LENGTH / 4 / max(took, 1e-7))))
        n = max(n if probe.name in found else 1, round(n * _LENGTH / took))
        counts.append(n)
        if probe.threads == 1:
            found[probe.name] = n
    return counts


@contextmanager
def _memory(size: int, huge: bool = False) -> Iterator[int]:
    """Fresh memory of the system's, in large pages if it likes: its address, while it lasts."""
    held = mmap.mmap(-1, size)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        held.madvise(mmap.MADV_HUGEPAGE)
    view = ctypes.c_char.from_buffer(held)
    try:
        yield ctypes.addressof(view)
    finally:
        del view
        held.close()


def _available() -> int:
    """Bytes of memory that are free, or a modest guess."""
    try:
        with open("/proc/meminfo") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return int(found.split()[1]) << 10
    except (OSError, StopIteration):
        return 2 << 30
