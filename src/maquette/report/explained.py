"""`maquette explain` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from maquette.catalogue.engines import core
from maquette.machines.types import System
from maquette.price.interval import Estimate
from maquette.price.replica import kv_blocks
from maquette.price.seconds import RESOURCES
from maquette.price.styles import execution
from maquette.report import doubts
from maquette.report.anatomy import Anatomy, Exchange, Line, Phase
from maquette.report.document import Document, milliseconds, plain, stamp
from maquette.report.listing import calibration_document
from maquette.report.names import formats, occupied, parallel, resource
from maquette.report.numbers import amount, dollars, number, percent, seconds
from maquette.report.tables import pairs, table
from maquette.search.deployment import Deployment
from maquette.search.sensitivity import Swing


def document(found: Anatomy) -> Document:
    """Everything `explain` knows; times in milliseconds, memory in GB per device."""
    deployment = found.deployment
    return {
        **stamp("explain"),
        **deployed(deployment),
        "batch": found.batch,
        "context_tokens": found.context,
        "decode": _phase(found.decode),
        "prefill": _phase(found.prefill),
        "tpot_ms": milliseconds(found.decode.total),
        "tokens_per_s_per_replica": found.tokens_per_s,
        "usd_per_mtok_output": found.usd_per_mtok_output,
        "fits": not found.warnings,
        "warnings": list(found.warnings),
        **sensitivity(found.swings, deployment),
    }


def sensitivity(swings: Sequence[Swing] | None, deployment: Deployment) -> Document:
    """What doubtful facts are worth, where that was asked."""
    found = None if swings is None else doubts.swings_document(swings, deployment)
    return {"sensitivity": found}


def deployed(deployment: Deployment) -> Document:
    """Model, system, plan, memory and provenance: what explain and simulate have in common."""
    price = deployment.system.machine.price
    return {
        "model": deployment.model.name,
        "system": deployment.system.name,
        "devices": deployment.plan.devices,
        "engine": f"{core(deployment.engine.name)} {deployment.engine.version}",
        "plan": {**plain(deployment.plan), "summary": parallel(deployment.plan)},
        **memory(deployment),
        "usd_per_hour": deployment.usd_per_hour,
        "price_date": price.date if price else None,
        "price_source": price.per_hour.source if price else None,
        "calibration": calibration_document(deployment.calibration),
        "doubtful_facts": doubts.document(deployment),
    }


def memory(deployment: Deployment) -> Document:
    """Memory of one device, by use, and where the numbers come from."""
    held, policy = deployment.memory, deployment.plan.policy
    return {
        "memory_capacity_gb": held.capacity / 1e9,
        "memory_usable_gb": held.usable / 1e9,
        "memory_weights_gb": held.weights / 1e9,
        "memory_cold_weights_gb": held.cold / 1e9,
        "memory_activations_gb": held.activations / 1e9,
        "memory_reserve_gb": held.reserve / 1e9,
        "memory_kv_gb": held.kv / 1e9,
        "memory_activations_source": _said(policy.activation_peak, "counted"),
        "memory_reserve_source": _said(policy.reserve, "the engine's"),
        "memory_rule": held.rule,
        "kv_blocks_per_replica": kv_blocks(held, deployment.plan),
        "kv_blocks_source": _said(policy.kv_blocks, "from memory"),
        "kv_capacity_tokens_per_replica": held.kv_tokens,
        "kv_bytes_per_token_per_device": held.kv_per_token,
    }


def _said(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else "given"


def estimate(found: Estimate) -> Document:
    """A time with its 80 % interval, in milliseconds."""
    return {
        "point_ms": milliseconds(found.point),
        "low_80_ms": milliseconds(found.low),
        "high_80_ms": milliseconds(found.high),
        "reason": found.reason,
    }


def _phase(phase: Phase) -> Document:
    return {
        "sequences": phase.batch,
        "steps": phase.steps,
        "time": estimate(phase.seconds),
        "measured_ms": milliseconds(phase.measured),
        "speed_of_light_ms": milliseconds(phase.light),
        "sections": [_section(line, phase.total) for line in phase.lines],
        "collectives": [_exchange(e) for e in phase.exchanges],
    }


def _section(line: Line, total: float) -> Document:
    by_resource = {f"{r}_ms": milliseconds(getattr(line, r)) for r in RESOURCES}
    return {
        "section": line.name,
        "times": line.times,
        **by_resource,
        "total_ms": milliseconds(line.total),
        "share": line.total / total,
        "bound": line.bound,
        "speed_of_light_ms": milliseconds(line.light),
    }


def _exchange(e: Exchange) -> Document:
    return {
        "section": e.section, "kind": e.kind, "devices": e.devices, "times": e.times,
        "bytes_each": e.bytes, "total_ms": milliseconds(e.seconds),
    }  # fmt: skip


def tables(found: Anatomy) -> Iterator[RenderableType]:
    """What a person reads."""
    deployment, n = found.deployment, found.context
    yield pairs("", [*heading(deployment), *memory_lines(deployment, n)])
    yield ""
    yield pairs("", _summary(found))
    decode = f"A decode step of {found.batch} sequences at {n:,} tokens of context"
    prefill = f"The prefill of one prompt of {n:,} tokens"
    if found.prefill.steps > 1:
        prefill += f" in {found.prefill.steps} steps"
    for title, phase in ((decode, found.decode), (prefill, found.prefill)):
        yield ""
        yield _phase_table(title, phase, deployment.system)
    if found.decode.exchanges:
        yield ""
        yield _exchange_table(found)
    if found.swings is not None:
        yield ""
        yield doubts.swings_table(found.swings, deployment)


def heading(deployment: Deployment) -> list[tuple[str, str]]:
    """What is deployed on what, and how it is priced."""
    plan, cal = deployment.plan, deployment.calibration
    price = deployment.system.machine.price
    cost = "no price known"
    if deployment.usd_per_hour is not None and price is not None:
        cost = f"{dollars(deployment.usd_per_hour)} per hour (prices of {price.date})"
    return [
        ("model", f"{deployment.model.name} in {formats(plan.precision)}"),
        ("plan", f"{parallel(plan)} on {occupied(plan, deployment.system)}, "
                 f"{deployment.engine.title}"),
        ("cost", cost),
        ("priced by", f"{cal.basis}; {cal.source}"),
        *doubts.lines(deployment),
    ]  # fmt: skip


def memory_lines(deployment: Deployment, context: int | None = None) -> list[tuple[str, str]]:
    """How the memory of a device is divided, by whose rule, and the KV blocks that gives."""
    held, policy = deployment.memory, deployment.plan.policy
    parts = (("weights", held.weights, None), ("activations", held.activations,
             policy.activation_peak), ("engine", held.reserve, policy.reserve),
             ("KV cache", held.kv, None))  # fmt: skip
    cold = f"; {amount(held.cold, 'B')} of weights streamed from beyond" if held.cold else ""
    words = ", ".join(
        f"{name} {amount(size, 'B')}{' (given)' * (given is not None)}"
        for name, size, given in parts
    )
    found = [("memory", f"{words} of {amount(held.capacity, 'B')} per device{cold}")]
    blocks = kv_blocks(held, deployment.plan)
    if blocks:
        tokens = blocks * policy.block_size
        what = f"{tokens:,} tokens per replica in blocks of {policy.block_size}"
        if context is not None:
            what += f", {tokens // context:,} such sequences"
        found.append(("KV room", f"{what}; {held.rule if policy.kv_blocks is None else 'given'}"))
    return found


def _phase_table(title: str, phase: Phase, system: System) -> RenderableType:
    heads = (
        "section",
        ">×",
        *(f">{resource(r, system)}" for r in RESOURCES),
        ">total",
        ">share",
        "bound",
        ">of light",
    )
    # Sections of a pipeline run at once: only the whole of them has a least time of its own.
    alone = not execution(system.machine).pipelined
    rows = [_cells(line, phase.total, system, alone) for line in phase.lines]
    share = percent(phase.light / phase.total)
    whole = seconds(phase.total)
    rows.append(("all", "", *[""] * len(RESOURCES), whole, "100.0 %", "", share))
    caption = "of light: the least time this machine's peaks allow, as a share of the time taken"
    return table(title, heads, rows, caption=caption, total=True)


def _cells(line: Line, total: float, system: System, alone: bool) -> tuple[str, ...]:
    resources = [seconds(x) if (x := getattr(line, r)) else "" for r in RESOURCES]
    light = percent(line.light / line.total) if alone and line.light and line.total else ""
    share = percent(line.total / total)
    return (line.name, str(line.times), *resources, seconds(line.total), share,
            resource(line.bound, system), light)  # fmt: skip


def _exchange_table(found: Anatomy) -> RenderableType:
    heads = ("phase", "section", "collective", ">devices", ">×", ">bytes each", ">in all")
    rows = [
        (p.name, e.section, e.kind, str(e.devices), str(e.times), amount(e.bytes, "B"),
         seconds(e.seconds))
        for p in (found.decode, found.prefill)
        for e in p.exchanges
    ]  # fmt: skip
    return table("Collectives", heads, rows)


def _summary(found: Anatomy) -> list[tuple[str, str]]:
    def bounds(e: Estimate) -> tuple[float, float]:
        return e.low, e.high

    step, prefill = found.decode.seconds, found.prefill.seconds
    rows = [
        ("decode step", f"{seconds(step.point, bounds(step))} for {found.batch} sequences of "
                        f"{found.context:,} tokens (80 % interval; {step.reason})"),
        ("prefill", f"{seconds(prefill.point, bounds(prefill))} for one prompt of that length"),
        ("output", number(found.tokens_per_s, None, "tokens/s per replica")),
    ]  # fmt: skip
    if found.deployment.calibration.tables is not None:
        said = (f"{seconds(p.measured)} of the {p.name}" for p in (found.decode, found.prefill))
        rows.append(("measured", f"{' and '.join(said)}; the rest is modelled"))
    if found.usd_per_mtok_output is not None:
        cost = dollars(found.usd_per_mtok_output)
        rows.append(("cost", f"{cost} per million output tokens, prefill not counted"))
    return rows
