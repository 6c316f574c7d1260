"""From the plan space to a short list: bounds rule plans out, dominance orders the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.price.calibration import Calibration
from maquette.search.apart import apart
from maquette.search.bounds import GRID, Curve, Load, batch_at, curves
from maquette.search.space import Space, room
from maquette.search.types import Candidate, FrontierPoint, Targets


@dataclass(frozen=True)
class Screened:
    """Candidates that the bounds allow, how many they ruled out, and the frontier they span."""

    candidates: tuple[Candidate, ...]
    pruned: Counter[str]
    frontier: tuple[FrontierPoint, ...]


def screen(
    schedule: Schedule,
    where: Space,
    cal: Calibration,
    asked: Load,
    targets: Targets,
    replicas: int | None = None,
) -> Screened:
    """Price every option at every batch size, then every number of replicas at the asked rate."""
    if not where.options:
        return Screened((), Counter(), ())
    plans = [o.plan for o in where.options]
    curve = curves(schedule, where.system.machine, where.engine, cal, plans, asked)
    pruned: Counter[str] = Counter()
    kept: list[Candidate] = []
    for row, option in enumerate(where.options):
        if option.longest < asked.longest:
            pruned["a request is longer than its KV cache"] += 1
        else:
            kept.extend(_replicated(where, curve, row, asked, targets, replicas, pruned))
    kept.extend(apart(where, curve, asked, targets, hourly(where, 1), replicas))
    points = _frontier(where, curve, asked)
    return Screened(tuple(kept), pruned, points)


def _replicated(
    where: Space,
    curve: Curve,
    row: int,
    asked: Load,
    targets: Targets,
    replicas: int | None,
    pruned: Counter[str],
) -> Iterable[Candidate]:
    """The candidates that `replicas`, or any number, make of an option."""
    option = where.options[row]
    mesh = option.plan.mesh
    most = option.most(asked.kept)
    top = curve.most(row, most)
    first = float(curve.first[row, 0])
    held = room(where.system, mesh)
    for n in range(1, held + 1) if replicas is None else range(replicas, min(replicas, held) + 1):
        batch = batch_at(curve.rate[row], asked.rate / n)
        if asked.concurrency:
            batch = min(most, curve.looped(row, asked.concurrency / n / mesh.lanes))
        tpot = float(np.interp(batch, GRID, curve.tpot[row]))
        if asked.rate / n > top:
            pruned["cannot sustain the rate"] += 1
        elif targets.ttft is not None and first > targets.ttft:
            pruned["TTFT bound above the target"] += 1
        elif targets.tpot is not None and tpot > targets.tpot:
            pruned["TPOT bound above the target"] += 1
        else:
            plan = replace(option.plan, replicas=n)
            if asked.together:  # as many as there is room for; they dwindle, so it bounds nothing
                batch = min(most, max(1.0, asked.together / n / mesh.lanes))
            yield Candidate(
                system=where.system,
                plan=plan,
                usd_per_hour=hourly(where, plan.devices),
                ttft_s=first,
                tpot_s=tpot,
                max_rate=top * n,
                batch=batch * mesh.lanes,
            )


def hourly(where: Space, devices: int) -> float:
    """Dollars per hour of so many devices; not a number when the price is unknown."""
    price = where.system.machine.price
    return devices * float(price.per_hour.value) if price is not None else float("nan")


def _frontier(where: Space, curve: Curve, asked: Load) -> tuple[FrontierPoint, ...]:
    """Speed for one user against dollars per million output tokens, at every batch size.

    Without a price, or tokens after the first, there is nothing to trade.
    """
    points: list[FrontierPoint] = []
    if where.system.machine.price is None or not asked.decodes:
        return ()
    output = float(asked.output.mean())
    for row, option in enumerate(where.options):
        usd, mesh = hourly(where, option.plan.mesh.devices), option.plan.mesh
        most = option.most(asked.kept)
        points.extend(
            FrontierPoint(
                tokens_per_s_user=1.0 / float(curve.tpot[row, column]),
                usd_per_mtok_output=usd / (curve.rate[row, column] * output * 3600) * 1e6,
                system=where.system.name,
                plan=option.plan,
                batch=int(batch) * mesh.lanes,
            )
            for column, batch in enumerate(GRID)
            if batch <= most
        )
    return nondominated(points)


def nondominated(points: Iterable[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Points that no other beats on both speed and dollars, fastest first."""
    best: list[FrontierPoint] = []
    for p in sorted(points, key=lambda p: (-p.tokens_per_s_user, p.usd_per_mtok_output)):
        if not best or p.usd_per_mtok_output < best[-1].usd_per_mtok_output:
            best.append(p)
    return tuple(best)
