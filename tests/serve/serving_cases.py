"""Random small serving problems that reach every rule of the schedulers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from maquette.plans.types import Policy
from maquette.price.step import Attention, Floor, Replica, StepModel
from maquette.serve.types import Disaggregation, Trace
from maquette.traffic.types import Requests

COLUMNS = (
    *("arrival_ns", "scheduled_ns", "first_token_ns", "finish_ns", "cached_tokens"),
    *("preemptions", "replica", "status", "steps_by_tokens", "steps_by_seqs", "gap_counts"),
)
SCALARS = (
    *("steps", "prefill_pairs", "prefill_context", "decode_context", "busy_ns", "end_ns"),
    "warnings",
)


@dataclass(frozen=True)
class Case:
    """One call of `simulate`."""

    requests: Requests
    replicas: tuple[Replica, ...]
    policy: Policy
    split: Disaggregation | None


def step_model(
    rng: np.random.Generator, tokens: int, seqs: int, windows: list[int], grid: bool
) -> StepModel:
    """A step model with several pieces; on a `grid` of whole microseconds times often tie."""

    def values(scale: float, *shape: int) -> np.ndarray:
        if grid:
            return rng.integers(0, 4, shape) * 1e-6
        return rng.random(shape) * scale

    classes = []
    for window in windows:
        pieces = int(rng.integers(1, 4))
        on = np.arange(seqs + 1) > 0
        at, slope = values(2e-3, pieces, seqs + 1) * on, values(2e-5, pieces, seqs + 1) * on
        pair, read = values(1e-6, 2)
        classes.append(Attention(window, float(pair), float(read), at, slope))
    own = np.random.default_rng(tokens * 1009 + seqs)  # leaves what is drawn after this as it was
    floor = None
    if own.random() < 0.6:  # about as often above the device as below
        most = 4e-6 if grid else float(own.choice([2e-3, 1e-2, 5e-2]))
        sizes = seqs + 1, tokens + 1, seqs + 1
        floor = Floor(*(np.round(own.random(n) * most, 6) for n in sizes))
        if own.random() < 0.5:
            floor = replace(floor, sent=np.round(own.random(seqs + 1) * most, 6))
    return StepModel(
        1e-3 if grid else 1e-3 * float(rng.random()) + 1e-4,
        float(values(1e-3, 1)[0]),
        values(5e-3, tokens + 1),
        values(1e-3, seqs + 1),
        tuple(classes),
        floor=floor,
    )


def requests_of(rng: np.random.Generator, n: int, hashes: bool, grid: bool) -> Requests:
    spread = float(rng.choice([0.0, 0.005, 0.05, 0.5]))
    arrival = np.sort(rng.random(n)) * spread * n
    arrival = np.round(arrival, 3) if grid else arrival
    prompt = rng.integers(1, int(rng.choice([3, 40, 150])), n, endpoint=True)
    output = rng.integers(1, int(rng.choice([2, 30, 200])), n, endpoint=True)
    priority = rng.integers(-1, 2, n) if rng.random() < 0.4 else None
    concurrency = int(rng.integers(1, 6)) if rng.random() < 0.25 else 0
    block_hash = block_start = None
    block_tokens = 0
    if hashes:
        block_tokens = int(rng.choice([3, 4, 8]))
        counts = prompt // block_tokens
        block_start = np.concatenate([[0], np.cumsum(counts)])
        # Few families of prefixes; a request leaves its family's at some depth.
        family, depth = rng.integers(0, 3, n), rng.integers(0, 12, n)
        block_hash = np.array(
            [
                int(family[i]) if d < depth[i] else 1000 * i + d + 10
                for i in range(n)
                for d in range(int(counts[i]))
            ],
            np.int64,
        )
    return Requests(
        np.round(arrival * 1e9).astype(np.int64),
        prompt,
        output,
        priority,
        block_hash,
        block_start,
        block_tokens,
        concurrency,
    )


def replica_of(rng: np.random.Generator, step: StepModel, blocks: int | None = None) -> Replica:
    seqs = int(rng.integers(1, step.max_seqs, endpoint=True))
    budget = int(rng.integers(seqs, step.max_tokens, endpoint=True))
    size = int(rng.choice([1, 2, 4, 7, 16]))
    kv = int(rng.choice([0, 60, 200, 400, 3000])) // size
    return Replica(step, kv, size, seqs, budget, 1e3, 50.0, int(rng.integers(1, min(seqs, 3) + 1)))


def case_of(seed: int) -> Case:
    """Everything from one number, so that a failure is one number too."""
    rng = np.random.default_rng(seed)
    grid = rng.random() < 0.3
    windows = [[0], [], [0, 9], [5], [0, 12, 30]][int(rng.integers(5))]
    tokens, seqs = int(rng.choice([12, 40, 300])), int(rng.integers(1, 12))
    step = step_model(rng, tokens, seqs, windows, grid)
    requests = requests_of(rng, int(rng.integers(1, 40)), rng.random() < 0.5, grid)
    scheduler = str(rng.choice(["continuous", "prefill-first", "static"], p=[0.55, 0.3, 0.15]))
    static = scheduler == "static"
    policy = Policy(
        scheduler=scheduler,  # type: ignore[arg-type]
        admission=str(rng.choice(["chunk", "prompt", "output"])),  # type: ignore[arg-type]
        watermark=float(rng.choice([0.0, 0.0, 0.1])),
        sharing=str(rng.choice(["scheduled", "computed"])),  # type: ignore[arg-type]
        chunked_prefill=bool(rng.random() < 0.7),
        prefix_caching=bool(rng.random() < 0.9),
        timeout_s=float(rng.choice([0.02, 0.1, 0.5])) if rng.random() < 0.3 else None,
        routing=str(rng.choice(["round-robin", "least-outstanding", "prefix-aware"])),  # type: ignore[arg-type]
    )
    own = np.random.default_rng(seed + 7)  # leaves other draws alone
    policy = replace(policy, overlap=bool(own.random() < 0.5))
    if scheduler == "prefill-first" and own.random() < 0.5:
        limit = None if own.random() < 0.4 else int(own.choice([1, 40, 300]))
        policy = replace(policy, admission="estimate", watermark=0.0, output_limit=limit)
    replicas = tuple(replica_of(rng, step) for _ in range(int(rng.choice([1, 1, 2, 3]))))
    split = None
    if not static and rng.random() < 0.3:
        other = step_model(rng, tokens, seqs, windows, grid)
        givers = tuple(replica_of(rng, other) for _ in range(int(rng.integers(1, 3))))
        split = Disaggregation(givers, float(rng.choice([1e6, 1e9])), float(rng.choice([0, 1e-3])))
    return Case(requests, replicas, policy, split)


def pressed(seed: int) -> Case:
    """The same with little more KV cache than the longest request needs: all fit, few together."""
    case, rng = case_of(seed), np.random.default_rng(seed + 1)
    most = int((case.requests.input_tokens + case.requests.output_tokens).max())

    def press(replica: Replica) -> Replica:
        each = -(-most // replica.block_size)
        blocks = int(each * rng.choice([1.0, 1.3, 2.0])) * replica.lanes
        return replace(replica, kv_blocks=blocks)

    split = case.split and replace(case.split, prefill=tuple(map(press, case.split.prefill)))
    return replace(case, replicas=tuple(map(press, case.replicas)), split=split)


def written(row: dict[str, Any]) -> Case:
    """A case as `once_differed.jsonl` holds it: arguments in order, arrays as lists."""
    columns = [np.array(x) if isinstance(x, list) else x for x in row["requests"]]
    steps = [_step(step) for step in row["steps"]]

    def fleet(rows: list[list[Any]]) -> tuple[Replica, ...]:
        return tuple(Replica(steps[nth], *rest) for nth, *rest in rows)

    split = row["split"] and Disaggregation(fleet(row["split"][0]), *row["split"][1:])
    policy = Policy(**row["policy"])
    return Case(Requests(*columns), fleet(row["replicas"]), policy, split)


def _step(row: dict[str, Any]) -> StepModel:
    tokens, seqs = np.array(row["tokens"]), np.array(row["seqs"])
    classes = [
        Attention(a["window"], a["pair"], a["read"], np.array(a["at"]), np.array(a["slope"]))
        for a in row["attention"]
    ]
    floor = row["floor"] and Floor(*map(np.array, row["floor"]))
    return StepModel(row["overhead"], row["prefill"], tokens, seqs, tuple(classes), floor)


seeds = st.integers(0, 2**32 - 1)
cases = seeds.map(case_of) | seeds.map(pressed)


def differences(a: Trace, b: Trace) -> list[str]:
    """Names of what differs between two traces; all is compared exactly."""
    found = [c for c in COLUMNS if not np.array_equal(getattr(a, c), getattr(b, c))]
    return found + [c for c in SCALARS if getattr(a, c) != getattr(b, c)]
