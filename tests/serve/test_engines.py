"""Step traces of real schedulers, recorded from the engines themselves, and what is simulated.

`validation/record_schedulers.py` drove each engine's own scheduler, without a model, over small
problems and wrote what every step computed, whom it preempted and how many blocks were held then.
The oracle must take the same steps, and the coalesced run must give the oracle's trace.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.catalogue.engines import engine
from maquette.plans.types import Policy
from maquette.price.step import Replica, StepModel
from maquette.serve.clock import QUANTA
from maquette.serve.simulate import Simulation, simulate
from maquette.serve.stepwise import Step, StepLane
from maquette.traffic.types import Requests
from serve.serving_cases import differences

TRACES = Path(__file__).with_name("traces")
SECOND = StepModel(1.0, 0.0, np.zeros(513), np.zeros(33), ())
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(TRACES.glob("*.json"))}
ENGINES = {"vllm_v1": "vllm", "vllm_v0": "vllm-0.6", "sglang": "sglang"}
AHEAD_OF = {"vllm_v1": "vllm-0.14", "sglang": "sglang"}  # whose steps are formed ahead
DOCUMENT = Path(__file__).parents[2] / "docs" / "schedulers.md"
SECONDS = 10**9 * QUANTA
SCENARIOS = [
    pytest.param(name, row, id=f"{name}: {row['name']}")
    for name, file in FILES.items()
    for row in file["scenarios"]
]

# Where an engine does something else, as docs/schedulers.md says: names of scenarios, and why.
FULL = "a decoding request wants a free block although its last one has room"
AHEAD = "a chunked prompt takes all its blocks at once"
OLD = "its prefix cache, off by default, computes one token of a prompt that is cached whole"
SELF = "a request that preempts itself ends the loop: who outranks it decodes one step later"
LEAVES = "its tree forgets by the last access of each leaf, waiting requests' included"
STATED = {
    "sglang": {
        **{f"prefixes, blocks {n}": LEAVES for n in (0, 3, 4)},
        **{f"overlapped, prefixes, blocks {n}": LEAVES for n in (0, 3, 4)},
        **{f"unknown lengths, prefixes, blocks {n}": LEAVES for n in (0, 4)},
    },
    "vllm_v1": {"priority 2": SELF},
    "vllm_v0": {
        **{f"blocks {n}": FULL for n in (0, 1, 4)},
        **{f"chunked, blocks {n}": AHEAD for n in range(6)},
        "watermark, chunked, blocks 2": AHEAD,
        "prefixes 0": OLD,
        **{f"prefixes, blocks {n}": OLD for n in range(5)},
    },
}


def policy_of(name: str, row: dict[str, Any]) -> Policy:
    """The catalogue's policy of the engine, with what the scenario sets for it."""
    options, blocks = row["options"], row["blocks"]
    ahead = options.get("async_scheduling", options.get("overlap", False))
    policy = engine(AHEAD_OF[name] if ahead else ENGINES[name]).policy
    policy = replace(policy, chunked_prefill=row["chunked"], prefix_caching=row["caching"])
    if name == "sglang" and not ahead:  # --disable-overlap-schedule
        policy = replace(policy, overlap=False)
    policy = replace(policy, output_limit=options.get("limit"))
    if name == "vllm_v0" and row["chunked"]:  # steps mix then
        policy = replace(policy, scheduler="continuous")
    if options.get("scheduler_reserve_full_isl") is False:
        policy = replace(policy, admission="chunk")
    if "watermark" in options:  # the engine takes its share of the block it never uses, too
        policy = replace(policy, watermark=options["watermark"] * (blocks + 1) / blocks)
    return policy


def requests_of(row: dict[str, Any]) -> Requests:
    """With the hashes of prompts' full blocks, equal exactly where all tokens before are."""
    asked = np.array(row["asked"])
    size, hashes, start = row["block"], list[int](), [0]
    for number, (_, prompt, _, _, family, shared) in enumerate(row["asked"]):
        for n in range(size, prompt + 1, size):
            hashes.append(family * 1000 + n if n <= shared else (number + 10) * 1000 + n)
        start.append(len(hashes))
    return Requests(
        asked[:, 0] * 10**9,
        asked[:, 1],
        asked[:, 2],
        asked[:, 3] if row["priority"] else None,
        np.array(hashes, np.int64),
        np.array(start),
        size,
    )


def step_of(line: str, first: int) -> Step:
    """A line of a trace: ``time|request:tokens ...|preempted ...|blocks held``."""
    at, tokens, lost, used = line.split("|")
    counts = {int(r): int(n or 1) for r, _, n in (x.partition(":") for x in tokens.split())}
    return Step(int(at) - first, counts, tuple(sorted(map(int, lost.split()))), int(used))


def recorded(row: dict[str, Any]) -> list[Step]:
    """The engine's steps; what an empty one preempts is said of the next, which starts at once."""
    steps: list[Step] = []
    lost: tuple[int, ...] = ()
    for line in row["steps"]:
        step = step_of(line, row["asked"][0][0])
        lost += step.lost
        if step.tokens:
            steps.append(step._replace(lost=tuple(sorted(lost))))
            lost = ()
    return steps


def simulated(row: dict[str, Any], policy: Policy) -> tuple[list[Step], list[str]]:
    """The oracle's steps, and what differs in the coalesced run."""
    replica = Replica(SECOND, row["blocks"], row["block"], row["seqs"], row["budget"], 0.0)
    asked = requests_of(row)
    simulation = Simulation(asked, [replica], policy, "stepwise", None, 100)
    simulation.cluster.run()
    (lane,) = simulation.lanes
    assert isinstance(lane, StepLane)
    fast = simulate(asked, [replica], policy, max_segments=100)
    steps = [s._replace(at=s.at // SECONDS, lost=tuple(sorted(s.lost))) for s in lane.log]
    return steps, differences(simulation.trace(), fast)


@pytest.mark.parametrize(("name", "row"), SCENARIOS)
def test_the_engine_takes_the_same_steps(name: str, row: dict[str, Any]) -> None:
    steps, apart = simulated(row, policy_of(name, row))
    engines = recorded(row)
    if name == "vllm_v0" and row["chunked"]:  # it counts a prompt's blocks from its first chunk
        engines, steps = ([s._replace(used=0) for s in some] for some in (engines, steps))
    assert apart == []
    if row["name"] not in STATED.get(name, {}):
        assert steps == engines
        return
    assert steps != engines, "a stated difference that is none"
    apart = 0 if name == "sglang" else 0.2 * len(engines)
    assert abs(len(steps) - len(engines)) <= apart


@pytest.mark.parametrize("name", FILES)
def test_the_document_says_how_many(name: str) -> None:
    file = FILES[name]
    rows, apart = file["scenarios"], STATED[name]
    assert set(apart) <= {row["name"] for row in rows}
    steps = sum(len(row["steps"]) for row in rows)
    counts = f"| {len(rows)} | {steps} | {len(rows) - len(apart)} |"
    assert f"| {file['engine']} | {file['version']} {counts}" in DOCUMENT.read_text()
