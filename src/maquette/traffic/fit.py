"""A description of traffic fitted to a trace, or to the few statistics published of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from math import pi, sin

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import ndtri
from scipy.stats import spearmanr

from maquette.errors import Fault, InputError
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.describe import describe
from maquette.traffic.lengths import LONGEST, Lengths, quantiles
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.spec import Preset, TrafficSpec, generate
from maquette.traffic.types import Floats, Ints, Requests
from maquette.units import PerSecond

KNOTS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
FINE = (*(round(0.05 * k, 2) for k in range(20)), 0.975, 0.99, 0.995, 0.999, 1.0)


def published(statistics: Mapping[str, float], n: int) -> Lengths:
    """Lengths with the statistics published of `n` of them: min, p1 … p50 … p99, max, mean.

    The result of `smooth_quantiles`.  Raises InputError for an unknown key or no quantile.

    >>> str(published({"p50": 100, "p90": 200, "mean": 115}, n=1000))
    '12 quantiles (mean 115)'
    """
    ends = {"min": 0.0, "max": 1.0}
    names = {**ends, **{f"p{100 * p:g}": p for p in KNOTS[1:-1]}}
    extra = [k for k in statistics if k not in names and k != "mean"]
    if extra or "p50" not in statistics:
        what = f"unknown statistics {', '.join(extra)}" if extra else "no p50"
        raise InputError(Fault("lengths", what, ", ".join([*names, "mean"])))
    known = {names[k]: float(v) for k, v in statistics.items() if k != "mean"}
    return smooth_quantiles(known, n, statistics.get("mean"))


def smooth_quantiles(known: Mapping[float, float], n: int, mean: float | None = None) -> Lengths:
    """The smoothest quantile table through the `known` {probability: length} of `n` lengths.

    Of all monotone tables on `KNOTS` that hold the known quantiles and, if given, have
    this `mean`, it is the one whose log length is nearest to linear in the normal
    score: as lognormal as the statistics allow.  Raises InputError where there is none.

    >>> table = smooth_quantiles({0.5: 100, 0.9: 200, 0.99: 400}, n=1000)
    >>> [round(length) for p, length in table.quantiles if p in (0.5, 0.9, 0.99)]
    [100, 200, 400]
    """
    p = np.array(KNOTS)
    z = ndtri(np.clip(p, 0.5 / n, 1 - 0.5 / n))
    held = np.isin(p, list(known))
    y: Floats = np.interp(z, z[held], np.log([known[k] for k in sorted(known)]))

    def table(x: Floats) -> Floats:
        out: Floats = y.copy()
        out[~held] = x
        return out

    def roughness(x: Floats) -> float:
        slope = np.diff(table(x)) / np.diff(z)
        return float((np.diff(slope) ** 2 / ((z[2:] - z[:-2]) / 2)).sum())

    limits = [{"type": "ineq", "fun": lambda x: np.diff(table(x))}]
    if mean is not None:
        limits.append({"type": "eq", "fun": lambda x: table_mean(p, np.exp(table(x))) / mean - 1})
    found = minimize(
        roughness, y[~held], method="SLSQP", constraints=limits,
        bounds=[(0, np.log(LONGEST))] * int((~held).sum()),
        options={"maxiter": 1000, "ftol": 1e-10},
    )  # fmt: skip
    if not found.success:
        raise InputError(Fault("quantiles", f"no monotone table has {dict(known)}, mean {mean}"))
    rounded = np.maximum.accumulate(np.round(np.exp(table(found.x)), 1))
    return quantiles(dict(zip(KNOTS, rounded.tolist(), strict=True)))


def table_mean(p: Floats, length: Floats) -> float:
    """The mean of a table whose log length is linear in the probability between its points."""
    a, b = length[:-1], length[1:]
    flat = np.abs(b - a) < 1e-9 * a
    ratio = np.where(flat, np.e, b / a)
    return float((np.diff(p) * np.where(flat, a, (b - a) / np.log(ratio))).sum())


def fit(requests: Requests, name: str) -> Preset:
    """A preset with the rate, burstiness, lengths and prefix sharing of a trace.

    Lengths are tables of the trace's own quantiles, with the rank correlation between input and
    output; arrivals match the mean and CV of the gaps; the share of requests that continue a
    conversation is set so that generated prompts have the trace's cacheable share.  Raises
    InputError for fewer than 10 requests or a trace without a rate.
    """
    found = describe(requests)
    if len(requests) < 10 or (found.rate_per_s is None and not requests.concurrency):
        raise InputError(Fault(requests.source, "is too little to fit", "10 requests over time"))
    columns = (requests.input_tokens, requests.output_tokens)
    varied = all(np.ptp(tokens) > 0 for tokens in columns)
    correlation = float(spearmanr(*columns).statistic) if varied else 0.0
    spec = TrafficSpec(
        _empirical(requests.input_tokens),
        _empirical(requests.output_tokens),
        rate=None if found.rate_per_s is None else PerSecond(found.rate_per_s),
        arrivals=_arrivals(requests, found.gap_cv or 0.0),
        correlation=float(np.clip(2 * sin(pi * correlation / 6), -0.99, 0.99)),
        name=name,
    )
    if found.cacheable_share:
        prefixes = _prefixes(requests)
        spec = replace(spec, prefixes=prefixes)
        share = continue_share(spec, found.cacheable_share)
        spec = replace(spec, prefixes=replace(prefixes, continue_share=share))
    method = "maquette.traffic.fit.fit: empirical quantiles, gap mean and CV, rank correlation"
    statistics = {
        "input": {k: float(v) for k, v in asdict(found.input_tokens).items()},
        "output": {k: float(v) for k, v in asdict(found.output_tokens).items()},
    }
    trace = {"requests": found.requests, "rate_per_s": found.rate_per_s, "gap_cv": found.gap_cv}
    trace["cacheable_share"] = found.cacheable_share
    statistics["trace"] = {k: float(v) for k, v in trace.items() if v is not None}
    return Preset(name, f"fitted to {requests.source}", requests.source, method, spec, statistics)


def _empirical(tokens: Ints) -> Lengths:
    lengths = np.round(np.quantile(tokens, FINE), 1)
    return quantiles(dict(zip(FINE, lengths.tolist(), strict=True)))


def _arrivals(requests: Requests, cv: float) -> Arrivals:
    """Gamma gaps, or bursts where a few long pauses make the CV."""
    if requests.concurrency:
        return Arrivals("closed", concurrency=requests.concurrency)
    if cv < 1e-6:
        return Arrivals("constant")
    gaps = np.diff(requests.arrival_ns)
    pauses = float((gaps > 10 * gaps.mean()).mean())
    if cv > 2 and 0 < pauses < 2 / (cv**2 + 1):
        return Arrivals("bursts", cv, pauses)
    return Arrivals("gamma", cv)


def _prefixes(requests: Requests) -> Prefixes:
    """System prompts of one block, where nine requests in ten start with a popular block."""
    assert requests.block_hash is not None and requests.block_start is not None
    first = requests.block_start[:-1][np.diff(requests.block_start) > 0]
    count = np.unique(requests.block_hash[first], return_counts=True)[1]
    popular = np.sort(count[count >= 0.01 * len(first)])[::-1]
    block = requests.block_tokens
    if popular.sum() < 0.9 * len(first):
        return Prefixes(block)
    top, ranks = popular[0] / popular.sum(), np.arange(1, len(popular) + 1)
    zipf = 0.0
    if len(popular) > 1:
        zipf = float(brentq(lambda s: 1 / (ranks**-s).sum() - top, 0, 50))
    return Prefixes(block, len(popular), block, zipf)


def continue_share(spec: TrafficSpec, cacheable: float, n: int = 8192) -> float:
    """The `Prefixes.continue_share` with which `n` requests have this cacheable share of blocks.

    The nearest end of 0 .. 1 where none has it.
    """
    prefixes = spec.prefixes or Prefixes()

    def short(share: float) -> float:
        trial = replace(spec, prefixes=replace(prefixes, continue_share=share))
        return (describe(generate(trial, n)).cacheable_share or 0.0) - cacheable

    if short(0.0) >= 0:
        return 0.0
    if short(1.0) <= 0:
        return 1.0
    return round(float(brentq(short, 0.0, 1.0, xtol=1e-3)), 4)
