"""Closed forms of a composition: time without hits, Table V, cliffs, footprints, hit rates.

The time of a batch of `B` prompts whose experts all have to be copied, on one machine, is
``t = R + B * (c + P + n * d)``: router, copy, prefill, and `n` decode steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maquette.serve.composition import published
from maquette.serve.composition.published import EXPERT, OVERALL, ROUTER_TOKENS, Speedup


@dataclass(frozen=True)
class Fitted:
    """Times on an SN40L node in units of one decode step: the two constants fitted to Table V.

    The router is not a third: it is one run of an expert of `ROUTER_TOKENS` tokens.
    """

    prefill: float
    copy: float
    worst: float  # largest relative error of the fit
    rms: float
    rows: int  # that it was fitted to

    @property
    def router(self) -> float:
        """The router's run, in decode steps."""
        return self.prefill + ROUTER_TOKENS


@dataclass(frozen=True)
class Row:
    """One overall speedup: published, ours, and ours had the baseline used other host links."""

    baseline: str
    batch: int
    output_tokens: int
    published: float
    computed: float
    host_links: int

    @property
    def error(self) -> float:
        """Relative, of what was computed."""
        return self.computed / self.published - 1


def without_hits(
    router: float, copy: float, prefill: float, step: float, batch: int, output_tokens: int
) -> float:
    """Time of a batch whose experts are all copied and run one after another.

    >>> without_hits(router=63, copy=13.5, prefill=30, step=1.6, batch=8, output_tokens=20)
    667.0
    """
    return router + batch * (copy + prefill + output_tokens * step)


def switching(baseline: str, host_links: int = 1) -> float:
    """How much faster an SN40L node copies an expert than a DGX over so many host links.

    >>> switching("DGX A100"), switching("DGX H100"), round(switching("DGX A100", 8), 2)
    (31.25, 15.625, 3.91)
    """
    return published.NODE_COPY / (host_links * published.HOST_LINK[baseline])


def speedup(row: Speedup, prefill: float, copy: float, host_links: int = 1) -> float:
    """An overall speedup from the two constants and the published ratios of an expert alone."""
    batch, tokens = row.batch, row.output_tokens
    router = prefill + ROUTER_TOKENS
    slower, routing = EXPERT[row.baseline, tokens], EXPERT[row.baseline, ROUTER_TOKENS]
    copies = copy * switching(row.baseline, host_links)
    theirs = without_hits(router * routing, copies, prefill * slower, slower, batch, tokens)
    return theirs / without_hits(router, copy, prefill, 1.0, batch, tokens)


def fit(rows: Sequence[Speedup] = OVERALL) -> Fitted:
    """Prefill and copy in decode steps, by least squares of log speedups over one host link.

    >>> found = fit()
    >>> round(found.prefill), round(found.copy), found.worst < 0.02
    (19, 8, True)
    """
    from scipy.optimize import least_squares  # slow to import

    def errors(logs: NDArray[np.float64]) -> list[float]:
        return [float(np.log(speedup(r, *np.exp(logs)) / r.published)) for r in rows]

    solved = least_squares(errors, np.log([20.0, 10.0]), xtol=1e-14, ftol=1e-14)
    prefill, copy = (float(x) for x in np.exp(solved.x))
    off = np.array([speedup(r, prefill, copy) / r.published - 1 for r in rows])
    rms = float(np.sqrt((off**2).mean()))
    return Fitted(prefill, copy, float(np.abs(off).max()), rms, len(rows))


def table5(host_links: int = 1, fitted: Fitted | None = None) -> tuple[Row, ...]:
    """The eight overall speedups of Table V, and what they were with more host links.

    Constants are fitted with one link, as the paper has it, whatever `host_links` is.

    >>> [round(r.computed, 1) for r in table5()]
    [6.6, 3.7, 4.8, 2.8, 4.2, 2.8, 3.9, 2.6]
    >>> [round(r.computed, 1) for r in table5(host_links=8)]
    [2.3, 1.6, 2.2, 1.5, 3.2, 2.3, 3.0, 2.2]
    """
    used = fitted or fit()
    return tuple(
        Row(
            baseline=r.baseline,
            batch=r.batch,
            output_tokens=r.output_tokens,
            published=r.published,
            computed=speedup(r, used.prefill, used.copy, host_links),
            host_links=host_links,
        )
        for r in OVERALL
    )


def held(capacity: float, expert: float, reserve: float = 0.0) -> float:
    """Experts of `expert` bytes that `capacity` bytes hold beside a reserve; the floor is whole.

    >>> int(held(640e9, 13.48e9)), int(held(2e12, 13.48e9)), int(held(2.64e12, 13.48e9))
    (47, 148, 195)
    """
    return max(0.0, capacity - reserve) / expert


@dataclass(frozen=True)
class Cliffs:
    """Numbers of experts at which a machine changes its behaviour."""

    resident: float  # up to here every expert stays in the fast tier: no switching
    cold: float  # up to here the cold tier alone holds all: beyond, out of memory
    both: float  # the same if what is pinned in the fast tier has no copy in the cold one


def cliffs(fast: float, cold: float, expert: float, reserve: float = 0.0) -> Cliffs:
    """Where switching begins and where memory ends, in experts (not rounded).

    >>> at = cliffs(fast=640e9, cold=2e12, expert=13.48e9)
    >>> int(at.resident), int(at.cold), int(at.both)
    (47, 148, 195)
    """
    return Cliffs(
        resident=held(fast, expert, reserve),
        cold=held(cold, expert),
        both=held(fast + cold, expert, reserve),
    )


@dataclass(frozen=True)
class Footprint:
    """Machines it takes to hold so many experts without switching, against one with a cold tier."""

    experts: int
    total: float  # bytes of all experts
    fits_cold: bool  # whether the one machine's cold tier holds them
    machines: int  # of the others, each with its own reserve
    machines_bare: int  # had those nothing to reserve


def footprint(
    expert: float,
    reserve: float,
    experts: int = published.EXPERTS_ON_A_NODE,
    fast: float = published.DGX_HBM,
    cold: float = published.NODE_DDR,
) -> Footprint:
    """How many machines with `fast` bytes each replace one with `cold` bytes for its experts.

    The reserve of each is its router and KV cache; any from 3.5 to 36 GB gives 19.

    >>> footprint(expert=13.48e9, reserve=30e9).machines
    19
    """
    total = experts * expert
    return Footprint(
        experts=experts,
        total=total,
        fits_cold=total <= cold,
        machines=ceil(total / (fast - reserve)),
        machines_bare=ceil(total / fast),
    )


def lru_hit_rate(weights: ArrayLike, slots: float) -> float:
    """Share of independent requests that find their expert among `slots` under LRU.

    Che's approximation (Che, Tung & Wang 2002): an expert is there while it was asked for within
    a time that is the same for all, at which `slots` of them are expected.

    >>> round(lru_hit_rate([1.0] * 100, 25), 3)
    0.25
    """
    from scipy.optimize import brentq  # slow to import

    p = np.asarray(weights, dtype=float)
    p = p[p > 0] / p.sum()
    if slots >= len(p):
        return 1.0
    if slots <= 0:
        return 0.0

    def excess(log_time: float) -> float:
        return float(-np.expm1(-p * np.exp(log_time)).sum() - slots)

    characteristic = np.exp(brentq(excess, -50.0, 50.0 + float(-np.log(p.min()))))
    return float((p * -np.expm1(-p * characteristic)).sum())


def zipf(experts: int, s: float) -> NDArray[np.float64]:
    """Shares of requests by rank, proportional to rank**-s; s = 0 is uniform.

    >>> zipf(3, 1.0).round(3).tolist()
    [0.545, 0.273, 0.182]
    """
    weights = np.arange(1, experts + 1, dtype=float) ** -s
    return np.asarray(weights / weights.sum())


def hit_curve(
    experts: int, slots: Sequence[int], exponents: Sequence[float]
) -> Mapping[float, tuple[float, ...]]:
    """Expected hit rates under Zipf popularity: for every exponent, one per number of slots.

    >>> hit_curve(10, [5, 10], [0.0])
    {0.0: (0.5, 1.0)}
    """
    return {
        s: tuple(round(lru_hit_rate(zipf(experts, s), k), 12) for k in slots) for s in exponents
    }
