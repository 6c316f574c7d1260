"""Bad input is refused, all of it at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.plans.types import Policy
from maquette.price.step import Attention, Replica, StepModel
from maquette.serve.simulate import simulate
from maquette.serve.types import Disaggregation
from maquette.traffic.types import Requests

STEP = StepModel(1e-3, 0.0, np.zeros(65), np.zeros(9), ())
GOOD = Replica(STEP, 100, 16, 8, 64, 0.0)
REQUESTS = Requests(np.array([0, 1]), np.array([4, 4]), np.array([2, 2]))


def faults(
    requests: Requests = REQUESTS,
    replicas: Any = (GOOD,),
    policy: Policy | None = None,
    **more: Any,
) -> str:
    with pytest.raises(InputError) as caught:
        simulate(requests, replicas, policy, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_tokens": np.array([4, 0])}, "requests.input_tokens: row 1 is 0"),
        ({"output_tokens": np.array([0, 1])}, "requests.output_tokens: row 0 is 0"),
        ({"arrival_ns": np.array([5, 1])}, "row 1 is earlier than row 0"),
        ({"arrival_ns": np.array([-5, 1])}, "requests.arrival_ns: row 0 is -5"),
        ({"arrival_ns": np.array([5])}, "requests.arrival_ns: 1 rows; expected 2"),
        ({"priority": np.array([5])}, "requests.priority: 1 rows"),
        ({"concurrency": -1}, "requests.concurrency: -1"),
        ({"block_hash": np.array([5])}, "requests.block_start"),
        ({"block_hash": np.array([5]), "block_start": np.array([0, 1, 2])}, "past the end"),
    ],
)
def test_requests(change: dict[str, Any], said: str) -> None:
    assert said in faults(replace(REQUESTS, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_seqs": 9}, "replicas[0].max_seqs: 9; expected at most the 8"),
        ({"max_batched_tokens": 65}, "max_batched_tokens: 65; expected at most the 64"),
        ({"max_batched_tokens": 7}, "at least max_seqs = 8"),
        ({"block_size": 0}, "replicas[0].block_size: 0"),
        ({"lanes": 9}, "replicas[0].lanes: 9"),
        ({"step": replace(STEP, overhead=0.0)}, "a step takes no time"),
        ({"step": replace(STEP, tokens=-STEP.tokens - 1)}, "negative or not finite"),
        ({"step": replace(STEP, seqs=STEP.seqs + np.nan)}, "negative or not finite"),
    ],
)
def test_replicas(change: dict[str, Any], said: str) -> None:
    assert said in faults(replicas=[replace(GOOD, **change)])


def test_combinations() -> None:
    split = Disaggregation((), bandwidth=0.0, latency=-1.0)  # type: ignore[arg-type]
    policy = Policy(scheduler="static", timeout_s=0.0, watermark=1.0)
    said = faults(policy=policy, disaggregation=split)
    for part in (
        "timeout_s",
        "watermark",
        "static",
        "prefill: there are no",
        "bandwidth",
        "latency",
    ):
        assert part in said
    assert "replicas: there are none" in faults(replicas=[])
    assert "max_segments" in faults(max_segments=0)
    at = np.zeros((1, 9))
    other = replace(GOOD, step=replace(STEP, attention=(Attention(0, 0, 0, at, at),)))
    assert "attention classes differ" in faults(replicas=[GOOD, other])
    empty = np.zeros(0, np.int64)
    assert "requests: there are none" in faults(Requests(empty, empty, empty))


SLOW = replace(STEP, overhead=1e9)  # 32 years a step


@pytest.mark.parametrize("mode", ["coalesced", "stepwise"])
def test_what_takes_longer_than_64_bits_hold(mode: str) -> None:
    """Steps that are recorded, that nobody's request ends with, or that no clock could count."""
    long = replace(REQUESTS, output_tokens=np.array([9, 10]))
    age = "the simulation: takes more than 292 years"
    assert age in faults(long, [replace(GOOD, step=SLOW)], mode=mode)
    assert age in faults(replace(long, concurrency=1), [replace(GOOD, step=SLOW)], mode=mode)
    never = [replace(GOOD, step=replace(STEP, overhead=1e10))]
    assert age in faults(policy=Policy(timeout_s=1.0), replicas=never, mode=mode)
    assert age in faults(replicas=[replace(GOOD, step=replace(STEP, overhead=1e300))], mode=mode)


def test_what_takes_almost_as_long() -> None:
    # The second comes when the first is under way, and joins a step later.
    trace = simulate(replace(REQUESTS, output_tokens=np.array([9, 8])), [replace(GOOD, step=SLOW)])
    assert trace.finish_ns.tolist() == [9 * 10**18, 9 * 10**18]
    patient = simulate(REQUESTS, [GOOD], Policy(timeout_s=1e300))
    assert (patient.finish_ns == simulate(REQUESTS, [GOOD]).finish_ns).all()


def test_all_faults_at_once() -> None:
    bad = replace(REQUESTS, input_tokens=np.array([0, 0]), concurrency=-1)
    said = faults(bad, [replace(GOOD, block_size=0)], Policy(timeout_s=-1))
    assert said.count("\n") == 3
