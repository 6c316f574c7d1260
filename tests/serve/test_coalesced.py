"""The closed forms give the trace of the oracle that takes every step: exactly, in integers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from maquette.serve.simulate import simulate
from serve.serving_cases import Case, case_of, cases, differences, pressed, written

FILE = Path(__file__).with_name("once_differed.jsonl")
ONCE = [json.loads(line) for line in FILE.read_text().splitlines()]


def both(case: Case) -> list[str]:
    options = {"disaggregation": case.split, "max_segments": 10}
    a = simulate(case.requests, case.replicas, case.policy, mode="coalesced", **options)
    b = simulate(case.requests, case.replicas, case.policy, mode="stepwise", **options)
    return differences(a, b)


@settings(max_examples=250, deadline=None)
@given(cases)
def test_coalesced_equals_stepwise(case: Case) -> None:
    assert both(case) == []


@pytest.mark.parametrize("row", ONCE, ids=lambda row: row["name"])
def test_cases_that_once_differed(row: dict[str, Any]) -> None:
    """As they were drawn then: the generator has changed since, and its seeds mean others now."""
    assert both(written(row)) == []


def test_the_cases_reach_every_rule() -> None:
    seen = dict.fromkeys(
        ("preempted", "hit", "timed out", "rejected", "coalesced", "ahead", "estimated"), 0
    )
    for seed in range(150):
        case = case_of(seed) if seed % 3 else pressed(seed)
        trace = simulate(case.requests, case.replicas, case.policy, disaggregation=case.split)
        seen["estimated"] += case.policy.admission == "estimate"
        seen["preempted"] += bool(trace.preemptions.any())
        seen["hit"] += bool(trace.cached_tokens.any())
        seen["timed out"] += bool((trace.status == 1).any())
        seen["rejected"] += bool((trace.status == 2).any())
        seen["coalesced"] += trace.events < trace.steps
        seen["ahead"] += case.policy.overlap and trace.events < trace.steps
    assert min(seen.values()) >= 5, seen


def test_a_price_that_differs_by_one_part_in_a_million_shows() -> None:
    case = case_of(3)
    slower = tuple(replace(r, step=r.step.scaled(1 + 1e-6)) for r in case.replicas)
    a = simulate(case.requests, case.replicas, case.policy, disaggregation=case.split)
    b = simulate(case.requests, slower, case.policy, disaggregation=case.split)
    assert not np.array_equal(a.finish_ns, b.finish_ns)
