"""Ceilings of the processor that runs the tests: plausible relations, never absolute speeds."""

from __future__ import annotations

import os

import pytest

from maquette.run import ceilings, host, toolchain
from maquette.run.ceilings import Ceilings, disturbed, measure, measured, tiers
from maquette.run.ceilings_source import FUNCTIONS

# Two teams of threads on the same cores wait for each other: `make test` runs these by themselves.
ALONE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) == 1

if not ALONE:
    pytest.skip("measured alone, after the other tests", allow_module_level=True)
if toolchain.toolchain() is None:
    pytest.skip("no C++ compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def found() -> Ceilings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maquette.run.ceilings._ENOUGH", 1)
        return measure(host.processor(), seconds=1.0)


@pytest.fixture
def quiet(found) -> Ceilings:
    """Ceilings that can be held against each other: not those of a machine with other work."""
    if disturbed(found) or any(c.value.rejected > c.value.n for c in found.found):
        pytest.skip("the machine is busy")
    return found


def rate(found: Ceilings, name: str, threads: int = 0) -> float:
    ceiling = found.get(name, threads)
    assert ceiling is not None, name
    return ceiling.value.median


def test_everything_measured_is_positive_and_has_a_unit(found):
    assert all(c.value.median > 0 and c.value.n > 0 for c in found.found)
    assert {c.unit for c in found.found} == {"FlopPerSecond", "BytesPerSecond", "Seconds"}


def test_a_multiply_add_is_two_flops_at_the_price_of_one(quiet):
    assert 1.0 < rate(quiet, "fma", 1) / rate(quiet, "vector", 1) < 4


def test_functions_cost_many_operations(quiet):
    worth = ceilings.costs(quiet)
    assert worth.keys() == set(FUNCTIONS)
    assert 3 < worth["exp"] < 100


def test_nearer_tiers_are_faster(quiet):
    near, *others = (rate(quiet, f"read {t}", 1) for t in tiers(quiet.processor))
    assert near > others[-1]


def test_the_measured_processor_has_the_same_widths(found):
    mine, own = measured(found), host.processor()
    assert (mine.lanes, mine.threads, mine.l2) == (own.lanes, own.threads, own.l2)
    assert mine.fma == rate(found, "fma")
    assert mine.launch == rate(found, "launch")


def test_samples_of_a_tier_do_not_fit_the_nearer_one():
    own, sizes = host.processor(), tiers(host.processor())
    assert sizes["l1"] < own.l1 < sizes["l2"] < own.l2 < sizes["memory"]
