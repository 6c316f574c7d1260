"""`maquette simulate --fleet` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor
from typing import Any

from rich.console import RenderableType

from maquette.machines.doubts import doubtful, sentence
from maquette.machines.types import Fact
from maquette.plans.types import Infeasible
from maquette.report.document import Document, milliseconds, stamp
from maquette.report.fleet_costs import costs
from maquette.report.measures import bounds
from maquette.report.numbers import amount, digits, dollars, percent, seconds
from maquette.report.tables import pairs, table
from maquette.search.composition import Composed, Served
from maquette.search.hosting import Hosted
from maquette.serve.composition.closed import lru_hit_rate
from maquette.serve.composition.figures import Figures, figures
from maquette.serve.composition.types import History, Swapping
from maquette.serve.metrics import Spread

Cells = tuple[Sequence[str], Sequence[Sequence[str]]]
LATENCIES = ("ttft", "e2e", "routing", "waiting")


def document(found: Composed) -> Document:
    """Everything that is known of a fleet's deployments."""
    fleet, requests = found.fleet, found.requests
    return {
        **stamp("simulate"),
        "fleet": fleet.title,
        "source": fleet.source,
        "router": fleet.router.model,
        "router_output_tokens": fleet.router.output_tokens,
        "experts": len(fleet.names),
        "expert_models": {e.group: {"model": e.model, "count": e.count} for e in fleet.experts},
        "experts_gb": sum(found.nbytes) / 1e9,
        "largest_expert_gb": max(found.nbytes) / 1e9,
        "popularity": str(fleet.popularity),
        "never_asked_experts": list(found.unused),
        "precision": fleet.precision,
        "traffic": _traffic(found),
        "batch": fleet.traffic.batch,
        "requests": len(requests),
        "seed": found.seed,
        "deployments": [_deployment(found, served) for served in found.served],
        "warnings": list(warnings(found)),
    }


def _deployment(found: Composed, served: Served) -> Document:
    made: Document = {
        "name": served.site.name,
        "policy": _policy(served.swapping),
        "systems": [_system(h) for h in served.hosted],
    }
    if isinstance(served.outcome, Infeasible):
        no = served.outcome
        short = {"reason": no.reason, "short_by": no.short_by, "unit": no.unit}
        return {**made, "feasible": False, "infeasible": short}
    return {
        **made,
        "feasible": True,
        **_figures(figures(served.outcome)),
        **_costs(served),
        **_intervals(served),
        "expected_hit_share": expected_hits(found, served),
        "nodes": [_node(served.outcome, i) for i in range(len(served.outcome.uses))],
    }


def _policy(swapping: Swapping) -> Document:
    return dict(vars(swapping))


def _system(on: Hosted) -> Document:
    return {
        "system": on.system.name,
        "devices": on.system.devices,
        "devices_per_expert": on.tp,
        "fast_gb": on.tiers.fast / 1e9,
        "cold_gb": on.tiers.cold / 1e9,
        "reserve_gb": on.reserve / 1e9,
        "copy_gb_per_s": on.tiers.copy_rate / 1e9,
        "copy_path": on.tiers.path,
        "experts_resident": floor(on.cliffs.resident),
        "experts_in_cold_tier": floor(on.cliffs.cold),
        "experts_in_both_tiers": floor(on.cliffs.both),
        "times": on.basis,
        "times_source": on.source,
        "doubtful_facts": sorted(doubts(on)),
    }


def _figures(f: Figures) -> Document:
    keys: Document = {"duration_s": f.duration}
    for name in LATENCIES:
        spread: Spread = getattr(f, name)
        keys[f"{name}_mean_ms"] = milliseconds(spread.mean)
        for p, value in spread.percentiles.items():
            keys[f"{name}_p{p:g}_ms"] = milliseconds(value)
    return {
        **keys,
        "requests_per_s": f.requests_per_s,
        "output_tokens_per_s": f.output_tokens_per_s,
        "hit_share": f.resident_share,
        "prefetched_share": f.ahead_share,
        "copied_share": f.copied_share,
        "switching_share": f.switching_share,
        "router_share": f.router_share,
        "utilisation": f.utilisation,
        "expert_runs": f.runs,
        "copies": f.copies,
        "prefetches": f.prefetches,
        "evictions": f.evictions,
        "moved_gb": f.bytes_moved / 1e9,
    }


def _costs(served: Served) -> Document:
    """None where a machine has no price."""
    found = costs(served)
    return {
        "usd_per_hour": found.per_hour,
        "usd_per_mtok_output": found.per_mtok_output,
        "usd_per_mtok": found.per_mtok,
        "price_dates": list(found.dates),
        "unpriced_machines": list(found.unpriced),
    }


def _intervals(served: Served) -> Document:
    """``e2e_p50_ms_low_80`` and so on, where calibrations were drawn."""
    keys: Document = {}
    for name, found in served.intervals.items():
        label, scale = (name, 1.0) if name.endswith("per_s") else (f"{name[:-1]}ms", 1e3)
        keys[f"{label}_low_80"], keys[f"{label}_high_80"] = found.low * scale, found.high * scale
    return keys


def _node(history: History, i: int) -> Document:
    use = history.uses[i]
    return {
        "node": use.name,
        "requests": int((history.node == i).sum()),
        "router_s": use.router_ns / 1e9,
        "compute_s": use.compute_ns / 1e9,
        "switching_s": use.stall_ns / 1e9,
        "copy_s": use.copy_ns / 1e9,
        "copies": use.copies,
        "prefetches": use.prefetches,
        "evictions": use.evictions,
        "moved_gb": use.bytes_moved / 1e9,
    }


def doubts(on: Hosted) -> Mapping[str, Fact[Any]]:
    """Facts of a machine that nobody vouches for, of the parts that these figures can depend on."""
    parts = ("tiers", "links") if on.basis == "stated" else ("tiers", "links", "compute", "serial")
    found = doubtful(on.system.machine)
    return {path: fact for path, fact in found.items() if path.split(".")[0] in parts}


def expected_hits(found: Composed, served: Served) -> float | None:
    """The hit rate of LRU under independent requests (Che's approximation), of one node.

    None where experts differ in size, are pinned, or are split over nodes: it is another thing.
    """
    if isinstance(served.outcome, Infeasible) or len(served.outcome.uses) > 1:
        return None
    if served.swapping.fast != "lru" or len({*found.nbytes}) > 1:
        return None
    return lru_hit_rate(found.chances, floor(served.hosted[0].cliffs.resident))


def warnings(found: Composed) -> Iterator[str]:
    """What to beware of."""
    if unused := found.unused:
        size = sum(b for b, c in zip(found.nbytes, found.chances, strict=True) if c == 0)
        yield (
            f"{len(unused)} of {len(found.chances)} experts are never asked for and take "
            f"{size / 1e9:,.0f} GB: {', '.join(unused[:5])}{', …' if len(unused) > 5 else ''}"
        )
    for served in found.served:
        if isinstance(served.outcome, Infeasible):
            yield f"{served.site.name} cannot be: {served.outcome}"


def tables(found: Composed) -> Iterator[RenderableType]:
    """What a person reads."""
    yield pairs(found.fleet.title, general(found))
    yield ""
    yield table("", *deployments(found))
    yield ""
    yield table("memory, in experts", *memory(found))
    unsure = [(on.system.name, sentence(d)) for on in _offers(found) if (d := doubts(on))]
    if unsure:
        yield ""
        yield pairs("unsure of", list(dict(unsure).items()))


def general(found: Composed) -> list[tuple[str, str]]:
    """The fleet and its traffic: a line each."""
    fleet = found.fleet
    size = f"{amount(sum(found.nbytes), 'B')} in {fleet.precision}"
    kinds = ", ".join(dict.fromkeys(e.model for e in fleet.experts))
    return [
        ("experts", f"{len(fleet.names)} of {kinds}, {size}"),
        ("router", f"{fleet.router.model}, {fleet.router.output_tokens} tokens"),
        ("popularity", str(fleet.popularity)),
        ("traffic", _traffic(found)),
        ("source", fleet.source or "–"),
    ]


def deployments(found: Composed) -> Cells:
    """What each deployment did: heads and rows."""
    columns = ("deployment", ">latency p50", ">p99", ">req/s", ">switching",
               ">hits", ">ahead", ">moved", ">× as long", ">$/Mtok")  # fmt: skip
    return columns, list(_rows(found))


def memory(found: Composed) -> Cells:
    """What systems hold: heads and rows."""
    heads = ("system", ">fast", ">reserved", ">cold", ">copies at", "path",
             ">resident", ">cold holds", ">both hold", "~times")  # fmt: skip
    return heads, list(_memory(found))


def curve_document(found: Mapping[int, Composed]) -> Document:
    """The fleet, and its deployments with each number of experts."""
    first = document(next(iter(found.values())))
    counted = {"experts", "experts_gb", "expert_models", "deployments", "warnings"}
    points = [
        {"experts": n, **{k: v for k, v in document(one).items() if k in counted - {"experts"}}}
        for n, one in found.items()
    ]
    return {**{k: v for k, v in first.items() if k not in counted}, "curve": points}


def curve_tables(found: Mapping[int, Composed]) -> Iterator[RenderableType]:
    """Median latency and share of switching by number of experts."""
    first = next(iter(found.values()))
    sites = [served.site.name for served in first.served]
    yield pairs(first.fleet.title, [("traffic", _traffic(first))])
    for title, cell in (("median latency", _median), ("switching", _switching)):
        rows = [
            (name, *(cell(one.served[i]) for one in found.values())) for i, name in enumerate(sites)
        ]
        yield ""
        yield table(f"{title}, by experts", ("deployment", *(f">{n}" for n in found)), rows)


def _median(served: Served) -> str:
    if isinstance(served.outcome, Infeasible):
        return "cannot be"
    return seconds(figures(served.outcome).e2e[50.0])


def _switching(served: Served) -> str:
    if isinstance(served.outcome, Infeasible):
        return f"{digits(served.outcome.short_by)} {served.outcome.unit} short"
    return percent(figures(served.outcome).switching_share)


def _traffic(found: Composed) -> str:
    """What is served; a batch is drawn as if so many clients were there."""
    batch, source = found.fleet.traffic.batch, found.requests.source
    clients = f"closed loop of {batch} client{'s' if batch != 1 else ''}"
    return source.replace(clients, f"batches of {batch}") if batch else source


def _rows(found: Composed) -> Iterator[tuple[str, ...]]:
    first: Figures | None = None
    for served in found.served:
        if isinstance(served.outcome, Infeasible):
            yield (served.site.name, "cannot be", *("–",) * 8)
            continue
        f = figures(served.outcome)
        first = first or f
        yield (
            served.site.name,
            seconds(f.e2e[50.0], bounds(served.intervals, "e2e_p50_s")),
            seconds(f.e2e[99.0]),
            digits(f.requests_per_s),
            percent(f.switching_share),
            percent(f.resident_share),
            percent(f.ahead_share),
            amount(f.bytes_moved, "B"),
            f"{digits(f.duration / first.duration)}×",
            dollars(costs(served).per_mtok_output),
        )


def _offers(found: Composed) -> list[Hosted]:
    """What systems offer, each once."""
    offers = [on for served in found.served for on in served.hosted]
    return list({(on.system.name, on.tiers, on.reserve, on.basis): on for on in offers}.values())


def _memory(found: Composed) -> Iterator[tuple[str, ...]]:
    for on in _offers(found):
        at = on.cliffs
        yield (
            on.system.name,
            amount(on.tiers.fast, "B"),
            amount(on.reserve, "B"),
            amount(on.tiers.cold, "B"),
            amount(on.tiers.copy_rate, "B/s"),
            on.tiers.path,
            str(floor(at.resident)),
            str(floor(at.cold)),
            str(floor(at.both)),
            on.basis,
        )
