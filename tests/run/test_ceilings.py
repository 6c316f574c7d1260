"""Ceilings of the processor that runs the tests: plausible relations, never absolute speeds."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest

from maquette.run import ceilings, host, toolchain
from maquette.run.build import build
from maquette.run.ceilings import (
    Ceilings,
    _largest,
    _memory,
    _probes,
    measure,
    measured,
    tiers,
)
from maquette.run.ceilings_source import FUNCTIONS, source
from maquette.run.timing import timed

# Two teams of threads on the same cores wait for each other: `make test` runs these by themselves.
ALONE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) == 1

WANTED = ("fma", "vector", "exp", "read l1", "read l2", "read memory")

if not ALONE:
    pytest.skip("measured alone, after the other tests", allow_module_level=True)
if toolchain.toolchain() is None:
    pytest.skip("no C++ compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def found() -> Ceilings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maquette.run.ceilings._ENOUGH", 1)
        return measure(host.processor(), seconds=1.0)


@pytest.fixture(scope="module")
def best() -> dict[str, float]:
    """The best rate of one thread at each probe.

    All take short samples in turns: however busy the machine is, some of each go undisturbed.
    """
    own = host.processor()
    made = source(own)
    entry = build([made])[made.symbol]
    with _memory(_largest(own), huge=True) as data:
        probes = [p for p in _probes(entry, data, own) if p.threads == 1 and p.name in WANTED]
        counts = [enough(p.repeat) for p in probes]
        lasted: list[list[float]] = [[] for _ in probes]
        until = time.perf_counter() + 2.0
        while len(lasted[0]) < 20 or (len(lasted[0]) < 200 and time.perf_counter() < until):
            for probe, n, taken in zip(probes, counts, lasted, strict=True):
                taken.append(timed(partial(probe.repeat, n)).seconds / n)
    return {p.name: p.amount / min(t) for p, t in zip(probes, lasted, strict=True)}


def enough(repeat) -> int:
    """How often to repeat for a quarter of a millisecond."""
    n = 1
    while min(timed(partial(repeat, n)).seconds for _ in range(3)) < 2.5e-4:
        n *= 2
    return n


def rate(found: Ceilings, name: str, threads: int = 0) -> float:
    ceiling = found.get(name, threads)
    assert ceiling is not None, name
    return ceiling.value.median


def test_everything_measured_is_positive_and_has_a_unit(found):
    assert all(c.value.median > 0 and c.value.n > 0 for c in found.found)
    assert {c.unit for c in found.found} == {"FlopPerSecond", "BytesPerSecond", "Seconds"}


def test_a_multiply_add_is_two_flops_at_the_price_of_one(best):
    assert 1.4 < best["fma"] / best["vector"] < 2.9


def test_functions_cost_many_operations(best, found):
    assert ceilings.costs(found).keys() == set(FUNCTIONS)
    assert 3 < best["vector"] / best["exp"] < 100


def test_nearer_tiers_are_faster(best):
    assert best["read l1"] > best["read l2"] > best["read memory"]


def test_the_measured_processor_has_the_same_widths(found):
    mine, own = measured(found), host.processor()
    assert (mine.lanes, mine.threads, mine.l2) == (own.lanes, own.threads, own.l2)
    assert mine.fma == rate(found, "fma")
    assert mine.launch == rate(found, "launch")


def test_samples_of_a_tier_do_not_fit_the_nearer_one():
    own, sizes = host.processor(), tiers(host.processor())
    assert sizes["l1"] < own.l1 < sizes["l2"] < own.l2 < sizes["memory"]
