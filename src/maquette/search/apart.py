"""Plans that prefill and decode on replicas of their own, priced without simulation.

Decoding is then never interrupted: a replica with `B` sequences in each lane ends ``B / (O·D(B))``
requests per second and lane, and prefill replicas ``1 / P`` each, or what their server accepts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from maquette.search.bounds import GRID, Curve, Load, batch_at
from maquette.search.space import Option, Space
from maquette.search.types import Candidate, Targets

BEYOND = 16  # replicas tried beyond the fewest that sustain the rate
KEPT = 3  # of the same price, those with most to spare


@dataclass(frozen=True, eq=False)
class Side:
    """One kind of replica: its plan and what the bounds say of it."""

    option: Option
    first: float  # seconds to prefill the percentile's prompt
    fills: float  # prompts per second
    ends: NDArray[np.float64]  # requests per second that end, by batch of a lane
    step: NDArray[np.float64]
    most: float  # sequences in a lane
    decoding: float  # the share of its time that a client alone in a loop decodes

    @property
    def top(self) -> float:
        """The most requests per second that end."""
        below = self.ends[self.most >= GRID].max(initial=0.0)
        return max(float(below), float(np.interp(self.most, GRID, self.ends)))


def apart(
    where: Space,
    curve: Curve,
    asked: Load,
    targets: Targets,
    usd_per_device: float,
    replicas: int | None = None,
) -> tuple[Candidate, ...]:
    """The disaggregated candidates of every price that the bounds allow, `KEPT` of each.

    Prefill and decode share a precision; of options that differ only in their policy the first
    stands for all.  `replicas` is how many decode, if that is said.
    """
    linked = max((k.domain for k in where.system.machine.links.values()), default=1)
    if not asked.decodes or linked < where.system.devices:
        return ()
    sides = [_side(where, curve, asked, row) for row in _first_of_mesh(where.options)]
    found: list[tuple[float, Candidate]] = []
    for p, d in product(sides, sides):
        if p.option.plan.precision == d.option.plan.precision and _hold(p, d, asked):
            found.extend(_pair(where, p, d, asked, targets, usd_per_device, replicas))
    of_price: Counter[int] = Counter()
    kept = []
    for _, c in sorted(found, key=lambda f: (f[1].plan.devices, -f[0])):
        if of_price[c.plan.devices] < KEPT:
            of_price[c.plan.devices] += 1
            kept.append(c)
    return tuple(kept)


def _first_of_mesh(options: tuple[Option, ...]) -> list[int]:
    seen: dict[object, int] = {}
    for row, option in enumerate(options):
        seen.setdefault((option.plan.mesh, option.plan.precision), row)
    return list(seen.values())


def _side(where: Space, curve: Curve, asked: Load, row: int) -> Side:
    option = where.options[row]
    lanes = option.plan.mesh.lanes
    return Side(
        option=option,
        first=float(curve.first[row, 0]),
        fills=min(lanes / max(float(curve.prefill[row, 0]), 1e-12), curve.accepts),
        ends=GRID * lanes / (asked.decodes * curve.step[row]),
        step=curve.step[row],
        most=option.most(asked.kept),
        decoding=float(curve.decoding[row, 0]),
    )


def _hold(prefill: Side, decode: Side, asked: Load) -> bool:
    prompts = float(asked.input.max())
    return prefill.option.longest >= prompts and decode.option.longest >= asked.longest


def _pair(
    where: Space,
    prefill: Side,
    decode: Side,
    asked: Load,
    targets: Targets,
    usd_per_device: float,
    replicas: int | None,
) -> Iterator[tuple[float, Candidate]]:
    """Candidates of two meshes, and how much the tightest of their bounds leaves to spare."""
    one, other = prefill.option.plan.mesh, decode.option.plan.mesh
    devices, lanes = where.system.devices, other.lanes
    fewest = max(1, int(asked.rate / prefill.fills))
    for n in range(fewest, min(devices // one.devices, fewest + BEYOND) + 1):
        room = (devices - n * one.devices) // other.devices
        least = max(1, int(asked.rate / decode.top)) if replicas is None else replicas
        last = min(room, least + BEYOND) if replicas is None else replicas
        for m in range(least, last + 1):
            if m > room:
                continue
            batch = batch_at(decode.ends, asked.rate / m)
            if asked.concurrency:
                clients = asked.concurrency / m / lanes * decode.decoding
                filled = batch_at(decode.ends, n * prefill.fills / m)
                batch = min(decode.most, max(1.0, min(clients, filled)))
            tpot = float(np.interp(batch, GRID, decode.step))
            rate = min(n * prefill.fills, m * decode.top)
            spare = min(
                rate / asked.rate if asked.rate else np.inf,
                targets.ttft / prefill.first if targets.ttft is not None else np.inf,
                targets.tpot / tpot if targets.tpot is not None else np.inf,
            )
            if spare < 1:
                continue
            plan = replace(
                decode.option.plan, replicas=m, mode="disaggregated", prefill_mesh=one,
                prefill_replicas=n,
            )  # fmt: skip
            yield (
                float(spare),
                Candidate(
                    system=where.system,
                    plan=plan,
                    usd_per_hour=plan.devices * usd_per_device,
                    ttft_s=prefill.first,
                    tpot_s=tpot,
                    max_rate=rate,
                    batch=batch * lanes,
                ),
            )
