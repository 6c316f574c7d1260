"""What the catalogue knows, as documents and as tables: `maquette show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import RenderableType

from maquette.machines.describe import describe as describe_machine
from maquette.machines.types import Fact, Machine
from maquette.models.config import ModelConfig
from maquette.models.describe import describe as describe_model
from maquette.models.facts import kv_bytes_per_token, parameters, weight_bytes
from maquette.plans.engine import Budget, Engine
from maquette.price.calibration import NAMES, PARAMETERS, Calibration
from maquette.report.document import Document, plain, stamp
from maquette.report.numbers import NONE, amount, digits, percent, seconds
from maquette.report.quantities import quantities
from maquette.report.tables import pairs, table
from maquette.traffic.spec import Preset
from maquette.units import show

Shown = tuple[Document, list[RenderableType]]
Q80 = 1.2815515655446004  # standard deviations on each side of a central 80 %


def _document(kind: str, name: str, **rest: object) -> Document:
    return {**stamp("show"), "kind": kind, "name": name, **rest}


def machine(found: Machine) -> Shown:
    """One machine: every number with its unit, kind of evidence and source."""
    facts = [asdict(q) for q in quantities(found, "machine")]
    document = _document("machine", found.name, title=found.title, vendor=found.vendor,
                         style=found.style, devices_per_node=found.node, main_tier=found.main,
                         price_date=found.price.date if found.price else None,
                         facts=facts, note=found.note)  # fmt: skip
    rows = describe_machine(found)
    general = [(r.name, r.value) for r in rows if r.section == "general"]
    general += [("note", found.note)] if found.note else []
    facts_shown = [
        (r.section, r.name, *_number_or_words(r.value, r.note), r.kind, r.source)
        for r in rows
        if r.section != "general"
    ]
    cells, sources = _footnoted(facts_shown)
    heads = ("", "quantity", ">value", "kind", ">source", "~note")
    listed = [(*c[:3], *c[4:], c[3]) for c in _sections(cells)]
    return document, [pairs(found.title, general), "", table("", heads, listed), "", sources]


def _number_or_words(value: str, note: str) -> tuple[str, str]:
    """A value for the column of numbers, and the words that go beside it."""
    is_number = value[:1].isdigit() or value.startswith("batch")
    return (value, note) if is_number else ("", "; ".join(filter(None, (value, note))))


def _footnoted(rows: Iterable[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], RenderableType]:
    """The rows with their last cell, a source, as a number; and what the numbers stand for."""
    numbers: dict[str, int] = {}
    cells = []
    for *rest, source in rows:
        mark = str(numbers.setdefault(source, len(numbers) + 1)) if source else ""
        cells.append((*rest, mark))
    return cells, pairs("Sources", [(str(n), text) for text, n in numbers.items()])


def _sections(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Rows whose first cell is left out where it repeats."""
    last = None
    for first, *rest in rows:
        yield (first if first != last else "", *rest)
        last = first


def machines(found: Iterable[Machine]) -> Shown:
    """All machines, a line each."""
    listed = list(found)
    rows = [_machine_line(m) for m in listed]
    keys = ("name", "vendor", "style", "bf16_flop_per_s", "main_memory_bytes",
            "main_bandwidth_bytes_per_s", "usd_per_hour", "price_date")  # fmt: skip
    values = [
        (m.name, m.vendor, m.style, _value(m.compute.matrix.get("bf16")),
         _value(m.tiers[m.main].capacity), _value(m.tiers[m.main].bandwidth),
         _value(m.price.per_hour) if m.price else None, m.price.date if m.price else None)
        for m in listed
    ]  # fmt: skip
    document = {**stamp("show"), "kind": "machines",
                "machines": [dict(zip(keys, v, strict=True)) for v in values]}  # fmt: skip
    heads = ("name", "machine", "style", ">bf16 dense", ">memory", ">bandwidth", ">$/h", "price of")
    return document, [table("", heads, rows), "One of them in full: maquette show machine NAME"]


def _value(fact: Fact[Any] | None) -> Any:
    return None if fact is None else fact.value


def _machine_line(m: Machine) -> tuple[str, ...]:
    tier, bf16 = m.tiers[m.main], m.compute.matrix.get("bf16")
    return (
        m.name,
        m.title,
        m.style,
        show(bf16.value, "FlopPerSecond") if bf16 else NONE,
        show(tier.capacity.value, "Bytes") if tier.capacity else NONE,
        show(tier.bandwidth.value, "BytesPerSecond") if tier.bandwidth else NONE,
        f"{m.price.per_hour.value:.2f}" if m.price else NONE,
        m.price.date if m.price else "",
    )


def model(found: ModelConfig) -> Shown:
    """One model: counted from its Program."""
    rows = describe_model(found)
    document = _document("model", found.name, facts=[asdict(r) for r in rows])
    shown = [(r.section, r.name, _cell(r.value, r.unit), r.source) for r in rows]
    cells, sources = _footnoted(shown)
    heads = ("", "quantity", "value", ">source")
    return document, [table(found.name, heads, _sections(cells)), "", sources]


def _cell(value: float | int | str, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit in ("B", "FLOP"):
        return amount(value, unit)
    return f"{value:,}" + (f" {unit}" if unit else "")


def models(found: Iterable[ModelConfig]) -> Shown:
    """All models, a line each."""
    listed = [_model_line(c) for c in found]
    document = {**stamp("show"), "kind": "models", "models": [d for d, _ in listed]}
    heads = ("name", "family", ">parameters, 1e9", ">active, 1e9", ">weights", ">KV per token",
             ">context")  # fmt: skip
    rows = [cells for _, cells in listed]
    return document, [table("", heads, rows), "One of them in full: maquette show model NAME"]


def _model_line(c: ModelConfig) -> tuple[Document, tuple[str, ...]]:
    count, weights, kv = parameters(c), weight_bytes(c), kv_bytes_per_token(c)
    document = {
        "name": c.name, "family": c.family, "parameters": count.total,
        "active_parameters": count.active, "weights_gb": weights / 1e9,
        "kv_bytes_per_token": kv, "context_tokens": c.context,
    }  # fmt: skip
    total, active = (digits(n / 1e9) for n in (count.total, count.active))
    context = f"{c.context:,}" if c.context else NONE
    cells = (c.name, c.family, total, active, amount(weights, "B"), amount(kv, "B"), context)
    return document, cells


BUDGETS: Mapping[Budget, str] = {
    "device": "a share of the device for weights, a profiled step, the reserve and KV cache",
    "static": "a share of what the reserve leaves for weights and KV cache",
    "free": "a share of what weights, a step and the reserve leave for KV cache",
}


def _captured(found: Engine) -> str:
    rule = found.capture
    return "" if rule is None else ", ".join(f"by {k} to {upto}" for upto, k in rule.ladder)


def engine(found: Engine) -> Shown:
    """One engine: its defaults and how it cuts a layer into kernels."""
    document = _document("engine", found.name, **{k: v for k, v in plain(found).items()
                                                  if k != "name"})  # fmt: skip
    general = [("engine", found.title), ("version", found.version),
               ("runs on", ", ".join(f"{s} machines" for s in found.styles)),
               ("formats", ", ".join(found.formats)),
               ("kept in full precision", ", ".join(found.unquantised)),
               ("memory", f"{BUDGETS[found.budget]}; reserve {show(found.reserve, 'Bytes')} "
                          "per device"),
               ("captured graphs", _captured(found)),
               ("source", found.source), ("note", found.note)]  # fmt: skip
    policy = [
        (k.replace("_", " "), str(v)) for k, v in plain(found.policy).items() if v is not None
    ]
    kernels = [(name, f"inside {kernel}") for name, kernel in found.fuse.items()]
    kernels += [(name, f"{n} launches") for name, n in found.launches.items()]
    parts: list[RenderableType] = [pairs("", [g for g in general if g[1]]), ""]
    return document, [*parts, pairs("Defaults", policy), "", pairs("Kernels", kernels)]


def engines(found: Iterable[Engine]) -> Shown:
    """All engines, a line each."""
    listed = list(found)
    keys = ("name", "title", "version", "formats", "source")
    document = {**stamp("show"), "kind": "engines",
                "engines": [{k: plain(getattr(e, k)) for k in keys} for e in listed]}  # fmt: skip
    rows = [(e.name, e.title, e.version, ", ".join(e.formats)) for e in listed]
    return document, [table("", ("name", "engine", "version", "weight formats"), rows)]


def traffic(found: Preset) -> Shown:
    """One preset: its parameters, what they were fitted to and how."""
    document = _document("traffic", found.name, **{k: v for k, v in plain(found).items()
                                                   if k != "name"})  # fmt: skip
    general = [("traffic", found.summary), ("described as", str(found.traffic)),
               ("source", found.source), ("method", found.method)]  # fmt: skip
    rows = [(name, k.replace("_", " "), digits(v, 4))
            for name, values in found.statistics.items() for k, v in values.items()]  # fmt: skip
    heads = ("fitted to", "statistic", ">value")
    return document, [pairs("", general), "", table("", heads, _sections(rows))]


def presets(found: Iterable[Preset]) -> Shown:
    """All presets, a line each."""
    listed = list(found)
    document = {**stamp("show"), "kind": "traffic",
                "traffic": [{"name": p.name, "summary": p.summary, "description": str(p.traffic),
                             "source": p.source} for p in listed]}  # fmt: skip
    rows = [(p.name, p.summary) for p in listed]
    return document, [table("", ("name", "~traffic"), rows)]


def calibrations(found: Iterable[Calibration]) -> Shown:
    """All calibrations that ship, a line each."""
    listed = list(found)
    document = {**stamp("show"), "kind": "calibrations",
                "calibrations": [calibration_document(c) for c in listed]}  # fmt: skip
    rows = [(c.machine, c.engine, c.version, c.basis, f"{c.rows:,}", percent(c.residual), c.date)
            for c in listed]  # fmt: skip
    heads = ("machine", "engine", "version", "basis", ">rows", ">residual", "date")
    caption = "residual: spread of measured over predicted time that the fit leaves"
    return document, [table("", heads, rows, caption=caption)]


def calibration(found: Calibration) -> Shown:
    """One calibration: each parameter with its 80 % interval."""
    document = {**stamp("show"), "kind": "calibration", **calibration_document(found)}
    general = [("prices", f"{found.machine} running {found.engine} {found.version}"),
               ("basis", found.basis), ("measured rows", f"{found.rows:,}"),
               ("residual", percent(found.residual)), ("source", found.source),
               ("date", found.date), *(("note", n) for n in found.notes)]  # fmt: skip
    rows = []
    for name, low, value, high in _bounds(found):
        is_time = "seconds" in PARAMETERS[name][3]
        shown = (
            seconds(value, (low, high))
            if is_time
            else f"{digits(value)} [{digits(low)}, {digits(high)}]"
        )
        rows.append((name, shown, PARAMETERS[name][3]))
    heads = ("parameter", ">value [80 %]", "~meaning")
    return document, [
        pairs("", [g for g in general if g[1]]),
        "",
        table("", heads, rows),
        *_odd(found),
    ]


def _odd(cal: Calibration) -> list[RenderableType]:
    """How much longer or shorter rows of a model or version take; nothing without any."""
    rows = [
        (kind, name, f"{np.exp(mean):.3f} ± {sd:.3f}")
        for kind, known in cal.offsets.items()
        for name, (mean, sd) in known.items()
    ]
    others = " and ".join(f"{kind}s scatter by {percent(s)}" for kind, s in cal.spreads.items())
    heads = ("of", "name", ">times as long")
    return ["", table("", heads, rows, caption=f"other {others}")] if rows else []


def _bounds(cal: Calibration) -> Iterator[tuple[str, float, float, float]]:
    """Name, low, value and high of every parameter; fractions stay below 1."""
    spread = np.sqrt(np.diag(np.array(cal.covariance)))
    for name, sigma in zip(NAMES, spread, strict=True):
        factor, value = float(np.exp(Q80 * sigma)), cal.values[name]
        top = min(1.0, value * factor) if PARAMETERS[name][2] else value * factor
        yield name, value / factor, value, top


def calibration_document(cal: Calibration) -> Document:
    """What priced a machine, for the provenance of any document."""
    values = {name: {"value": value, "low_80": low, "high_80": high}
              for name, low, value, high in _bounds(cal)}  # fmt: skip
    keys = ("machine", "engine", "version", "basis", "rows", "residual", "source", "date", "notes",
            "spreads", "offsets", "unexplained")  # fmt: skip
    return {**{k: plain(getattr(cal, k)) for k in keys}, "parameters": values}
