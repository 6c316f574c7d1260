"""Plans that prefill and decode on replicas of their own, priced without simulation.

Decoding is then never interrupted: a replica with `B` sequences ends ``B / (O·D(B))`` requests per
second, and prefill replicas ``1 / P`` each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from maquette.search.bounds import GRID, Curve, Lengths
from maquette.search.space import Option, Space
from maquette.search.types import Candidate, Targets

KEPT = 2  # of the same price, the fastest


def apart(
    where: Space,
    curve: Curve,
    lengths: Lengths,
    rate: float,
    targets: Targets,
    most: dict[int, float],
    usd_per_device: float,
) -> tuple[Candidate, ...]:
    """The fastest disaggregated candidates of every price that the bounds allow.

    `most` is the largest batch of every option (by row).  Prefill and decode share a precision;
    of options that differ only in their policy the first stands for all.
    """
    rows = _first_of_mesh(where.options)
    found: list[Candidate] = []
    for p, d in product(rows, rows):
        if where.options[p].plan.precision == where.options[d].plan.precision:
            found.extend(_pair(where, curve, p, d, lengths, rate, targets, most[d], usd_per_device))
    of_price: Counter[float] = Counter()
    kept = []
    for c in sorted(found, key=lambda c: (c.usd_per_hour, c.tpot_s, c.ttft_s)):
        if of_price[c.usd_per_hour] < KEPT:
            of_price[c.usd_per_hour] += 1
            kept.append(c)
    return tuple(kept)


def _first_of_mesh(options: tuple[Option, ...]) -> list[int]:
    seen: dict[object, int] = {}
    for row, option in enumerate(options):
        seen.setdefault((option.plan.mesh, option.plan.precision), row)
    return list(seen.values())


def _pair(
    where: Space,
    curve: Curve,
    p: int,
    d: int,
    lengths: Lengths,
    rate: float,
    targets: Targets,
    most: float,
    usd_per_device: float,
) -> Iterator[Candidate]:
    prefill, decode = where.options[p].plan, where.options[d].plan
    first = float(curve.first[p, 0])
    if targets.ttft is not None and first > targets.ttft:
        return
    fill = prefill.mesh.lanes / max(float(curve.prefill[p, 0]), 1e-12)
    ends = GRID * decode.mesh.lanes / (lengths.output * curve.step[d])
    top = float(ends[most >= GRID].max())
    devices = where.system.devices
    for n in range(1, devices // prefill.mesh.devices + 1):
        room = (devices - n * prefill.mesh.devices) // decode.mesh.devices
        for m in range(1, room + 1):
            batch = float(np.interp(rate / m, ends, GRID))
            if lengths.concurrency:
                batch = max(1.0, lengths.concurrency / m / decode.mesh.lanes)
            tpot = float(np.interp(batch, GRID, curve.step[d]))
            if n * fill < rate or m * top < rate:
                continue
            if targets.tpot is not None and tpot > targets.tpot:
                continue
            plan = replace(
                decode, replicas=m, mode="disaggregated", prefill_mesh=prefill.mesh,
                prefill_replicas=n,
            )  # fmt: skip
            yield Candidate(
                system=where.system,
                plan=plan,
                usd_per_hour=plan.devices * usd_per_device,
                ttft_s=first,
                tpot_s=tpot,
                max_rate=min(n * fill, m * top),
                batch=batch * decode.mesh.lanes,
            )
