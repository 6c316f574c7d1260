"""The rate of requests that replicas sustain: a fluid estimate.

In the steady state under saturation a lane decodes `n` sequences, as many as pay, and every step
has on average the prefill that keeps `n` in the batch.  Counts are replaced by their means: nothing
is said about waiting, and work that preemption repeats is left out, so that where KV blocks bind
the estimate is an upper one.  What bounds `n`: the sequences of a lane, its
KV blocks over the mean tokens that a running sequence holds, and the token budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maquette.plans.types import Policy
from maquette.price.step import Replica
from maquette.serve.costs import floor_of
from maquette.serve.types import Disaggregation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Load:
    """The mean request.  `decodes` are its decode steps, one less than its tokens."""

    prompt: float  # tokens to compute
    pairs: float  # of query and key in its prefill, at full attention
    decodes: float
    held: float  # tokens that a decoding sequence has in the cache, mean over its steps
    last: float  # tokens that it has there at its end, the same mean
    outputs: Ints  # sorted

    @classmethod
    def of(cls, prompt: Ints, cached: Ints, output: Ints) -> Load:
        """From the columns of requests."""
        fresh, steps = prompt - cached, output - 1
        total = float(steps.sum())
        during = float((steps * (prompt + output / 2)).sum()) / total if total else 0.0
        after = float((steps * (prompt + output - 1)).sum()) / total if total else 0.0
        return cls(
            prompt=float(fresh.mean()),
            pairs=float((fresh * (cached + (fresh + 1) / 2)).mean()),
            decodes=float(steps.mean()),
            held=max(during, float(prompt.mean())),
            last=max(after, float(prompt.mean())),
            outputs=np.sort(output),
        )


def sustainable(
    load: Load,
    replicas: Sequence[Replica],
    policy: Policy,
    disaggregation: Disaggregation | None = None,
) -> float:
    """Requests per second that all replicas together can end, and their servers accept."""
    first = disaggregation.prefill if disaggregation else replicas
    return min(_ended(load, replicas, policy, disaggregation), _accepted(first))


def _accepted(replicas: Sequence[Replica]) -> float:
    slowest = max(r.accept for r in replicas)
    return len(replicas) / slowest if slowest else float("inf")


def _ended(
    load: Load,
    replicas: Sequence[Replica],
    policy: Policy,
    disaggregation: Disaggregation | None,
) -> float:
    if disaggregation is None:
        return sum(_rate(load, r, policy) for r in replicas)
    prefill = replace(load, decodes=0.0, last=load.held, outputs=np.ones(1, np.int64))
    decode = replace(load, prompt=0.0, pairs=0.0)
    split = disaggregation
    sent = [r.kv_bytes_per_token * load.prompt + r.state_bytes_per_seq for r in split.prefill]
    over_links = sum(1 / max(b / split.bandwidth + split.latency, 1e-12) for b in sent)
    rates = [over_links, sum(_rate(prefill, r, policy) for r in split.prefill)]
    if load.decodes:
        rates.append(sum(_rate(decode, r, policy) for r in replicas))
    return min(rates)


def _rate(load: Load, replica: Replica, policy: Policy) -> float:
    r = replica
    most = r.max_seqs / r.lanes
    if r.kv_blocks:
        taken = load.last if policy.admission in ("output", "estimate") else load.held
        blocks = -(-taken // r.block_size) + 0.5 * (r.block_size > 1)
        most = min(most, r.kv_blocks / r.lanes / max(blocks, 1))
    n = np.arange(1, max(int(most), 1) + 1, dtype=np.float64)
    if policy.scheduler == "static":
        return r.lanes * _static_rate(load, r, n[-1:])
    if not load.decodes:
        size = min(r.max_batched_tokens / max(load.prompt, 1), r.max_seqs / r.lanes)
        prompts = np.array([max(size, 1e-9) if size < 1 else float(int(size))])
        return r.lanes * float((prompts / _prefill_time(load, r, prompts)).max())
    ending = n / load.decodes  # requests that end, and begin, per decode step
    tokens = n + ending * load.prompt
    fits = np.minimum(1.0, r.max_batched_tokens / tokens)
    decode = _decode_time(load, r, n, n)
    if policy.scheduler == "continuous":
        begins = ending * fits
        step = decode + _prefill_cost(load, r, begins, n)
        return r.lanes * float((begins / step).max())
    if not load.prompt:
        return r.lanes * float((ending / decode).max())
    steps = np.maximum(np.minimum(ending, 1.0), ending * load.prompt / r.max_batched_tokens)
    return r.lanes * float(
        (ending / (decode + steps * _prefill_time(load, r, ending / steps))).max()
    )


def _static_rate(load: Load, r: Replica, n: Floats) -> float:
    """A batch of `n` lasts until its longest output, whose mean follows from the outputs'."""
    ranks = np.arange(len(load.outputs) + 1) / len(load.outputs)
    longest = float((load.outputs * np.diff(ranks ** n[0])).sum())
    steps = np.ceil(n * load.prompt / r.max_batched_tokens)
    batch = steps * _prefill_time(load, r, n / steps)
    if longest > 1:  # finished sequences keep their rows, but only live ones read their context
        live = np.maximum(n * load.decodes / (longest - 1), 1.0)
        batch = batch + (longest - 1) * _decode_time(load, r, n, live)
    return float((n / batch)[0])


def _at(table: Floats, n: Floats) -> Floats:
    found: Floats = np.interp(n, np.arange(len(table)), table)
    return found


def _base(r: Replica, tokens: Floats, n: Floats) -> Floats:
    """A step of `tokens` tokens and `n` sequences without its attention."""
    return r.step.overhead + _at(r.step.tokens, tokens) + _at(r.step.seqs, n)


def _chunked(r: Replica, tokens: Floats, n: Floats, attention: Floats) -> Floats:
    """A step with a prefill chunk."""
    _, chunk, seqs, sent = floor_of(r.step)
    device = _base(r, tokens, n) + r.step.prefill + attention
    launched = _at(chunk, tokens) + _at(seqs, n)
    found: Floats = np.maximum(np.maximum(device, launched), _at(sent, n))
    return found


def _attention(load: Load, r: Replica, prompts: Floats) -> Floats:
    time = np.zeros_like(prompts)
    for a in r.step.attention:
        window = a.window or 1 << 60
        pairs = min(load.pairs, load.prompt * window)
        time = time + prompts * max(a.pair * pairs, a.read * load.prompt)
    return time


def _prefill_time(load: Load, r: Replica, prompts: Floats) -> Floats:
    """A step of `prompts` prompts and nothing else."""
    n = np.maximum(prompts, 1.0)
    return _chunked(r, prompts * load.prompt, n, _attention(load, r, prompts))


def _prefill_cost(load: Load, r: Replica, prompts: Floats, n: Floats) -> Floats:
    """What `prompts` prompts, maybe less than one, add to a step that decodes `n`.

    Fewer than one means that some steps have a prompt and the others none.
    """
    share = np.minimum(prompts, 1.0)
    if not load.prompt:
        return 0 * share
    each = prompts / share * load.prompt
    budget = np.minimum(n + each, float(r.max_batched_tokens))
    share = share * (n + each - n) / np.maximum(budget - n, 1.0)
    attention = _reading(load, r, n) + _attention(load, r, prompts) / share
    cost: Floats = share * (_chunked(r, budget, n + 1, attention) - _decode_time(load, r, n, n))
    return cost


def _decode_time(load: Load, r: Replica, rows: Floats, live: Floats) -> Floats:
    """A decode step of `rows` sequences, of which `live` read their context."""
    decoding, *_ = floor_of(r.step)
    device = _base(r, rows, rows) + _reading(load, r, live)
    found: Floats = np.maximum(device, _at(decoding, rows))
    return found


def _reading(load: Load, r: Replica, n: Floats) -> Floats:
    """Decode attention of `n` sequences."""
    time = np.zeros_like(n)
    at = np.rint(n).astype(np.int64)
    for a in r.step.attention:
        held = min(load.held, a.window) if a.window else load.held
        time = time + (a.at[:, at] + a.slope[:, at] * (n * held)).max(axis=0)
    return time
