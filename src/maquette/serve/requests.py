"""Requests as the clock reads them: verified, with their prefixes, and without the impossible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.plans.legality import estimated
from maquette.plans.types import Policy
from maquette.price.step import Replica, StepModel
from maquette.serve.clock import QUANTA, quanta
from maquette.serve.costs import floor_of
from maquette.serve.types import Disaggregation
from maquette.traffic.types import LONGEST_NS, Requests

Ints = NDArray[np.int64]
Units = tuple[int, ...]
UNBOUNDED = 1 << 60


def verify(
    requests: Requests,
    replicas: Sequence[Replica],
    policy: Policy,
    disaggregation: Disaggregation | None,
) -> None:
    """Raise InputError with every fault of the inputs and of their combination."""
    faults = [*_request_faults(requests), *_policy_faults(policy, disaggregation)]
    named = [(f"replicas[{i}]", r) for i, r in enumerate(replicas)]
    if not replicas:
        faults.append(Fault("replicas", "there are none", "at least one"))
    if disaggregation is not None:
        named += [(f"prefill[{i}]", r) for i, r in enumerate(disaggregation.prefill)]
    steps: dict[int, str] = {}
    for where, replica in named:
        faults += _replica_faults(where, replica)
        if id(replica.step) not in steps:
            steps[id(replica.step)] = where
            faults += _step_faults(f"{where}.step", replica.step)
    windows = {tuple(a.window for a in r.step.attention) for _, r in named}
    if len(windows) > 1:
        faults.append(Fault("replicas", "their attention classes differ", "replicas of one model"))
    if faults:
        raise InputError(*faults)


def _request_faults(requests: Requests) -> list[Fault]:
    n, faults = len(requests), []
    if n == 0:
        return [Fault("requests", "there are none", "at least one")]
    for name, least in (("input_tokens", 1), ("output_tokens", 1), ("arrival_ns", 0)):
        column = getattr(requests, name)
        if name == "arrival_ns" and requests.concurrency:
            continue
        if len(column) != n:
            faults.append(Fault(f"requests.{name}", f"{len(column)} rows", f"{n}"))
        elif (low := column < least).any():
            row = int(np.argmax(low))
            what = f"row {row} is {column[row]} ({int(low.sum())} such rows)"
            faults.append(Fault(f"requests.{name}", what, f"{least} or more"))
        elif name == "arrival_ns" and (back := np.diff(column) < 0).any():
            row = int(np.argmax(back)) + 1
            faults.append(Fault(f"requests.{name}", f"row {row} is earlier than row {row - 1}"))
    if requests.concurrency < 0:
        faults.append(Fault("requests.concurrency", f"{requests.concurrency}", "0 or more"))
    if requests.priority is not None and len(requests.priority) != n:
        faults.append(Fault("requests.priority", f"{len(requests.priority)} rows", f"{n}"))
    if requests.block_hash is not None:
        start = requests.block_start
        if start is None or len(start) != n + 1 or (np.diff(start) < 0).any():
            faults.append(Fault("requests.block_start", "not n + 1 ascending positions"))
        elif start[-1] > len(requests.block_hash) or start[0] < 0:
            faults.append(Fault("requests.block_start", "points past the end of block_hash"))
        if requests.block_tokens < 1:
            faults.append(Fault("requests.block_tokens", f"{requests.block_tokens}", "1 or more"))
    return faults


def _policy_faults(policy: Policy, split: Disaggregation | None) -> list[Fault]:
    faults = []
    if policy.timeout_s is not None and not policy.timeout_s > 0:
        faults.append(Fault("policy.timeout_s", f"{policy.timeout_s}", "more than 0, or None"))
    if not 0 <= policy.watermark < 1:
        faults.append(Fault("policy.watermark", f"{policy.watermark}", "from 0 to below 1"))
    faults += estimated(policy)
    if split is None:
        return faults
    if policy.scheduler == "static":
        hint = "use the continuous scheduler, or colocate"
        faults.append(Fault("policy.scheduler", "static batches cannot be disaggregated", "", hint))
    if not split.prefill:
        faults.append(Fault("disaggregation.prefill", "there are no replicas", "at least one"))
    if not split.bandwidth > 0:
        faults.append(Fault("disaggregation.bandwidth", f"{split.bandwidth}", "more than 0"))
    if not split.latency >= 0:
        faults.append(Fault("disaggregation.latency", f"{split.latency}", "0 or more"))
    return faults


def _replica_faults(where: str, replica: Replica) -> list[Fault]:
    r, faults = replica, []
    for name, least in (("block_size", 1), ("lanes", 1), ("kv_blocks", 0), ("max_seqs", 1)):
        if getattr(r, name) < least:
            faults.append(Fault(f"{where}.{name}", f"{getattr(r, name)}", f"{least} or more"))
    seqs = -(-r.max_seqs // max(r.lanes, 1))  # of one lane
    if seqs > r.step.max_seqs:
        expected = f"at most the {r.step.max_seqs} in a lane that its step model prices"
        faults.append(Fault(f"{where}.max_seqs", f"{r.max_seqs}", expected))
    if r.max_batched_tokens > r.step.max_tokens:
        expected = f"at most the {r.step.max_tokens} that its step model prices"
        faults.append(Fault(f"{where}.max_batched_tokens", f"{r.max_batched_tokens}", expected))
    if seqs > r.max_batched_tokens:
        expected = f"at least max_seqs = {seqs} of a lane"
        faults.append(Fault(f"{where}.max_batched_tokens", f"{r.max_batched_tokens}", expected))
    for name in ("request", "accept"):
        if not 0 <= (value := getattr(r, name)) < np.inf:
            faults.append(Fault(f"{where}.{name}", f"{value}", "0 or more, in seconds"))
    if r.lanes > r.max_seqs or 0 < r.kv_blocks < r.lanes:
        faults.append(Fault(f"{where}.lanes", f"{r.lanes}", "a sequence and a KV block for each"))
    return faults


def _step_faults(where: str, step: StepModel) -> list[Fault]:
    floors = floor_of(step)
    parts = [np.array([step.overhead, step.prefill]), step.tokens, step.seqs, *floors]
    by_seqs, by_tokens = step.seqs.shape, step.tokens.shape
    if [x.shape for x in floors] != [by_seqs, by_tokens, by_seqs, by_seqs]:
        expected = "decoding, seqs and sent one number by sequences, chunk one by tokens"
        return [Fault(where, "the floor differs in size", expected)]
    least = np.zeros(step.max_seqs + 1)
    for a in step.attention:
        parts += [np.array([a.pair, a.read]), a.slope]
        if a.at.shape != a.slope.shape or a.at.shape[1:] != step.seqs.shape:
            return [Fault(where, "at, slope and seqs differ in size", "one column per sequence")]
        least = least + a.at.max(axis=0)
    if not all((np.isfinite(p) & (p >= 0)).all() for p in parts) or not np.isfinite(least).all():
        return [Fault(where, "a coefficient is negative or not finite")]
    n = min(step.max_tokens, step.max_seqs) + 1
    decode = step.overhead + step.tokens[1:n] + step.seqs[1:n] + least[1:n]
    chunk = step.overhead + step.prefill + step.tokens[1:].min() + step.seqs[1:].min()
    if chunk <= 0 or (decode <= 0).any():
        return [Fault(where, "a step takes no time", "more than 0 for any batch")]
    return []


def arrivals(requests: Requests, outside: int, accept: int) -> list[int] | None:
    """Arrivals at the engine in quanta from when the first was sent; None in a closed loop."""
    if requests.concurrency:
        return None
    found, free = [], 0
    for sent in (requests.arrival_ns - requests.arrival_ns[0]).tolist():
        found.append(max(sent * QUANTA + outside, free))
        free = found[-1] + accept
    return found


def limits(replicas: Sequence[Replica], policy: Policy) -> list[int]:
    """The longest sequence, in tokens, that each replica can hold and recompute."""
    found = []
    for r in replicas:
        limit = r.kv_blocks // r.lanes * r.block_size if r.kv_blocks else UNBOUNDED
        if not policy.chunked_prefill and policy.scheduler != "static":
            limit = min(limit, r.max_batched_tokens)
        found.append(limit)
    return found


def rejections(
    requests: Requests,
    replicas: Sequence[Replica],
    policy: Policy,
    disaggregation: Disaggregation | None,
) -> tuple[frozenset[int], tuple[str, ...]]:
    """Requests that no replica can ever serve, and why."""
    prompt = requests.input_tokens
    whole = prompt + requests.output_tokens - 1
    checks = [(whole, max(limits(replicas, policy)), "the tokens of a replica's KV cache")]
    if disaggregation is not None:
        most = max(limits(disaggregation.prefill, policy))
        checks.append((prompt, most, "the tokens of a prefill replica's KV cache"))
    if not policy.chunked_prefill:
        hint = "max_batched_tokens without chunked prefill"
        dynamic = policy.scheduler != "static"
        checks.insert(0, (whole if dynamic else prompt, _budget(replicas, dynamic), hint))
        if disaggregation is not None:
            checks.insert(0, (prompt, _budget(disaggregation.prefill, True), hint))
    rejected: set[int] = set()
    warnings = []
    for tokens, most, what in checks:
        rows = [int(r) for r in np.flatnonzero(tokens > most) if int(r) not in rejected]
        if rows:
            longest = int(tokens[rows].max())
            warnings.append(
                f"{len(rows)} requests rejected: longer than {what}"
                f" (the longest needs {longest}, there are {most}; first is row {rows[0]})"
            )
            rejected.update(rows)
    return frozenset(rejected), tuple(warnings)


def _budget(replicas: Sequence[Replica], dynamic: bool) -> int:
    budgets = [r.max_batched_tokens for r in replicas]
    return max(budgets) if dynamic else min(budgets)


def timeout(policy: Policy) -> int | None:
    """In quanta; one that no simulation lasts to is as good as any longer one."""
    return None if policy.timeout_s is None else quanta(min(policy.timeout_s, LONGEST_NS / 1e9))


def unit_of(requests: Requests, replicas: Sequence[Replica], policy: Policy) -> int:
    """Tokens in one unit of the prefix cache; 0 when prefixes are not cached.

    The least whole number of hash blocks that is one of KV blocks too.
    """
    if requests.block_hash is None or not policy.prefix_caching or policy.scheduler == "static":
        return 0
    return lcm(requests.block_tokens, *(r.block_size for r in replicas))


def prefixes(requests: Requests, unit_tokens: int) -> Callable[[int], Units]:
    """The units of each request's prompt: one number per unit, equal for equal prefixes."""
    if not unit_tokens or requests.block_hash is None or requests.block_start is None:
        return lambda rid: ()
    _, name = np.unique(requests.block_hash, return_inverse=True)
    start, stride = requests.block_start, unit_tokens // requests.block_tokens
    whole = np.minimum(np.diff(start) // stride, requests.input_tokens // unit_tokens)
    depths = int(whole.max(initial=0)) + 1

    def units(rid: int) -> Units:
        n = int(whole[rid])
        begin = int(start[rid])
        last = name[begin + stride - 1 : begin + n * stride : stride]
        return tuple((last * depths + np.arange(n)).tolist())

    return units
