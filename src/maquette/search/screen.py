"""From the plan space to a short list: bounds rule plans out, dominance orders the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from maquette.compile.schedule import Schedule
from maquette.plans.types import Policy
from maquette.price.calibration import Calibration
from maquette.search.apart import apart
from maquette.search.bounds import GRID, Curve, Lengths, curves
from maquette.search.space import Option, Space
from maquette.search.types import Candidate, FrontierPoint, Targets


@dataclass(frozen=True)
class Screened:
    """Candidates that the bounds allow, how many they ruled out, and the frontier they span."""

    candidates: tuple[Candidate, ...]
    pruned: Counter[str]
    frontier: tuple[FrontierPoint, ...]
    priced: int


def screen(
    schedule: Schedule,
    where: Space,
    cal: Calibration,
    lengths: Lengths,
    rate: float,
    targets: Targets,
) -> Screened:
    """Price every option at every batch size, then every number of replicas at the asked rate."""
    if not where.options:
        return Screened((), Counter(), (), 0)
    asked = [
        (o.plan.mesh, o.plan.precision, o.plan.policy.max_batched_tokens) for o in where.options
    ]
    curve = curves(schedule, where.system.machine, cal, asked, lengths)
    pruned: Counter[str] = Counter()
    kept: list[Candidate] = []
    for row, option in enumerate(where.options):
        kept.extend(_replicated(where, option, curve, row, lengths, rate, targets, pruned))
    largest = {row: largest_batch(o, lengths) for row, o in enumerate(where.options)}
    kept.extend(apart(where, curve, lengths, rate, targets, largest, hourly(where, 1)))
    points = _frontier(where, curve, lengths)
    return Screened(tuple(kept), pruned, points, curve.step.size)


def largest_batch(option: Option, lengths: Lengths) -> float:
    """Sequences one pipeline lane can hold: of the policy's limit and the KV cache, its share."""
    held = option.memory.kv_tokens / (lengths.input + lengths.output)
    return max(1.0, min(float(option.memory.seqs), held) / option.plan.mesh.lanes)


def _replicated(
    where: Space,
    option: Option,
    curve: Curve,
    row: int,
    lengths: Lengths,
    rate: float,
    targets: Targets,
    pruned: Counter[str],
) -> Iterable[Candidate]:
    most = largest_batch(option, lengths)
    allowed = most >= GRID
    top = float(curve.rate[row][allowed].max())
    first = float(curve.first[row, 0])
    for replicas in range(1, where.system.devices // option.plan.mesh.devices + 1):
        share = rate / replicas
        batch = float(np.interp(share, curve.rate[row], GRID))
        if lengths.concurrency:  # a closed loop has so many in flight, whatever the rate
            batch = max(1.0, lengths.concurrency / replicas / option.plan.mesh.lanes)
        tpot = float(np.interp(batch, GRID, curve.tpot[row]))
        if share > top:
            pruned["cannot sustain the rate"] += 1
        elif targets.ttft is not None and first > targets.ttft:
            pruned["TTFT bound above the target"] += 1
        elif targets.tpot is not None and tpot > targets.tpot:
            pruned["TPOT bound above the target"] += 1
        else:
            plan = replace(option.plan, replicas=replicas)
            yield Candidate(
                system=where.system,
                plan=plan,
                usd_per_hour=hourly(where, plan.devices),
                ttft_s=first,
                tpot_s=tpot,
                max_rate=top * replicas,
                batch=batch * option.plan.mesh.lanes,
            )


def hourly(where: Space, devices: int) -> float:
    """Dollars per hour of so many devices; not a number when the price is unknown."""
    price = where.system.machine.price
    return devices * float(price.per_hour.value) if price is not None else float("nan")


def _frontier(where: Space, curve: Curve, lengths: Lengths) -> tuple[FrontierPoint, ...]:
    """Speed for one user against dollars per million output tokens, at every batch size."""
    points = []
    for row, option in enumerate(where.options):
        usd = hourly(where, option.plan.mesh.devices)
        most = largest_batch(option, lengths)
        for column, batch in enumerate(GRID):
            if batch > most:
                break
            tokens = curve.rate[row, column] * lengths.output * 3600
            points.append(
                FrontierPoint(
                    tokens_per_s_user=1.0 / float(curve.tpot[row, column]),
                    usd_per_mtok_output=usd / tokens * 1e6,
                    system=where.system.name,
                    plan=option.plan,
                    batch=int(batch) * option.plan.mesh.lanes,
                )
            )
    return nondominated(points)


def nondominated(points: Iterable[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Points that no other beats on both speed and dollars, fastest first."""
    best: list[FrontierPoint] = []
    for p in sorted(points, key=lambda p: (-p.tokens_per_s_user, p.usd_per_mtok_output)):
        if not best or p.usd_per_mtok_output < best[-1].usd_per_mtok_output:
            best.append(p)
    return tuple(best)


def shortlist(candidates: Iterable[Candidate], size: int) -> tuple[Candidate, ...]:
    """The cheapest first, at most `size` and at most half of those of one price.

    Of one price, plans that differ only in their policy come after all other meshes have had
    their turn, and among those the fastest comes first.
    """
    cost = {id(c): (np.nan_to_num(c.usd_per_hour), c.tpot_s, c.ttft_s) for c in candidates}
    ordered = sorted(candidates, key=lambda c: cost[id(c)])
    seen: Counter[object] = Counter()
    turns: list[tuple[float, int, int, Candidate]] = []
    for i, c in enumerate(ordered):
        key = (c.system.name, replace(c.plan, policy=Policy()))
        turns.append((cost[id(c)][0], seen[key], i, c))
        seen[key] += 1
    turns.sort(key=lambda t: t[:3])
    of_price: Counter[float] = Counter()
    chosen: list[Candidate] = []
    for usd, _, _, c in turns:
        if of_price[usd] < size // 2 and len(chosen) < size:
            of_price[usd] += 1
            chosen.append(c)
    return tuple(chosen)
