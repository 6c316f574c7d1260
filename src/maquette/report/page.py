"""One self-contained HTML page: no script, no font and no picture from anywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maquette.report import curves, figures, planned, simulated
from maquette.report.anatomy import Anatomy, anatomy
from maquette.report.document import program_version
from maquette.report.explained import heading
from maquette.report.measures import SPREADS, bounds, latency_rows
from maquette.report.names import devices, occupied
from maquette.report.numbers import NONE, digits, dollars, percent, seconds
from maquette.search.simulation import Simulation
from maquette.search.types import Answer
from maquette.serve.metrics import latencies

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Card:
    """A figure to be seen first."""

    label: str
    value: str
    note: str = ""
    aim: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Part:
    """A section of the page: words, a figure, a table, listings; what there is of them."""

    title: str
    text: str = ""
    figure: str = ""
    caption: str = ""
    heads: Sequence[str] = ()  # as in `tables.table`: > is of numbers
    rows: Rows = ()
    pairs: Sequence[tuple[str, str]] = ()
    code: Mapping[str, str] = field(default_factory=dict)


def simulation_page(found: Simulation) -> str:
    """The page of one simulation."""
    held = found.deployment
    name = f"{held.model.name} on {occupied(held.plan, held.system)}"
    parts = [
        replace(_latency_part(found), pairs=simulated.summary(found)),
        _time_part(found),
        _bounds_part(_typical(found)),
        Part("Provenance", pairs=[*heading(found.deployment), ("traffic", found.requests.source)]),
    ]
    notes = found.metrics.warnings
    return rendered(f"Simulation: {name}", found.requests.source, _cards(found), parts, notes)


def answer_page(answer: Answer, best: Simulation | None) -> str:
    """The page of a search; `best` is the winner on all requests."""
    model = answer.question.model.name
    parts: list[Part] = []
    if best is not None:
        parts.append(Part("The winner", pairs=planned.best(answer, _winner(answer))))
    if answer.frontier:
        parts.append(_frontier_part(answer))
    parts.append(_plans_part(answer))
    if best is not None:
        parts += [_latency_part(best), _time_part(best), _bounds_part(_typical(best))]
    parts += [*_why_parts(answer)]
    if answer.launch:
        parts.append(Part("To start it", code=answer.launch))
    parts.append(Part("Provenance", pairs=[*planned.search_lines(answer), *_prices(answer)]))
    cards = _cards(best) if best is not None else []
    title = f"Plan: {model} on {', '.join(map(devices, answer.question.systems))}"
    return rendered(title, answer.question.requests.source, cards, parts, answer.warnings)


def _winner(answer: Answer) -> Any:
    assert answer.winner is not None
    return answer.winner


def _prices(answer: Answer) -> Iterator[tuple[str, str]]:
    for system in answer.question.systems:
        price = system.machine.price
        if price is not None:
            value = f"{dollars(float(price.per_hour.value))} per device and hour, {price.date}"
            yield f"price of {system.machine.name}", f"{value} ({price.per_hour.source})"


def _cards(found: Simulation) -> list[Card]:
    at, targets = found.targets.percentile, found.targets
    cards = []
    for name, target in (("ttft", targets.ttft), ("tpot", targets.tpot)):
        value = simulated.at(found, name)
        aim = f"target {seconds(target)}" if target is not None else SPREADS[name]
        kept = None if target is None else value <= target
        held = bounds(found.intervals, f"{name}_s")
        note = f"{seconds(held[0])} to {seconds(held[1])}" if held else ""
        cards.append(Card(f"{name.upper()} p{at:g}", seconds(value), note, aim, kept))
    if found.probability is not None:
        share = percent(found.probability, 0)
        cards.append(Card("how sure", share, "chance that", "the targets are kept",
                          None if found.probability >= 0.5 else False))  # fmt: skip
    m = found.metrics
    rate = f"{digits(m.requests_per_s)} requests/s"
    cards.append(Card("output tokens/s", digits(m.output_tokens_per_s),
                      rate, f"steps run {percent(m.utilisation, 0)} of the time"))  # fmt: skip
    price = found.deployment.system.machine.price
    cost = dollars(found.usd_per_mtok_output)
    date = f"prices of {price.date}" if price else "no price known"
    cards.append(Card("cost", cost, "per million output tokens", date))
    cards.append(_energy_card(found))
    return cards


def _energy_card(found: Simulation) -> Card:
    held, power = found.joules_per_output_token, found.deployment.system.machine.power
    note = "per output token"
    if power is None or math.isnan(held.low):
        return Card("energy", NONE, note, "no power known")
    if power.per_byte is None or power.per_flop is None:
        return Card("energy", f"{digits(held.low, 2)} – {digits(held.high, 2)} J", note,
                    "only the rated power is known")  # fmt: skip
    return Card("energy", f"{digits(held.high)} J", note, "from board power fitted")


def _latency_part(found: Simulation) -> Part:
    percentiles = [f">p{p:g}" for p in found.metrics.ttft.percentiles]
    text = "Of finished requests. Dashed lines are targets; dots mark the percentile they hold at."
    return Part("Latency", text, curves.cdfs(latencies(found.trace), found.targets),
                heads=("latency", ">mean", *percentiles, "what"),
                rows=list(latency_rows(found.metrics)))  # fmt: skip


def _time_part(found: Simulation) -> Part:
    blocks = found.deployment.replica().kv_blocks * found.deployment.plan.replicas
    return Part("Over time", figure=curves.over_time(found.trace, blocks))


def _typical(found: Simulation) -> Anatomy:
    """A step of the mean batch at the mean context, and the prefill of the mean prompt."""
    requests, m = found.requests, found.metrics
    prompt, answer = requests.input_tokens.mean(), requests.output_tokens.mean()
    batch = m.mean_running / found.deployment.plan.replicas
    most = found.deployment.plan.policy.max_seqs
    return anatomy(
        found.deployment,
        batch=int(min(max(round(batch), 1), most)),
        context=max(1, round(float(prompt + answer / 2))),
    )


def _bounds_part(found: Anatomy) -> Part:
    text = (
        f"A decode step of {found.batch} sequences and the prefill of one prompt, both at "
        f"{found.context:,} tokens: the mean batch and context here. Colours say what a section "
        "waits for."
    )
    return Part("Where a step's time goes", text, figures.bounds(found))


def _frontier_part(answer: Answer) -> Part:
    text = (
        "Every plan at every batch it holds, priced without queueing: no schedule of requests "
        "does better. Simulated plans lie above the line because requests wait and vary."
    )
    return Part("Interactivity against cost", text, figures.frontier(answer))


def _plans_part(answer: Answer) -> Part:
    title = "Plans simulated, best first"
    if not answer.outcomes:
        return Part(title, planned.nothing(answer))
    (heads, rows), at = planned.plan_rows(answer), answer.question.targets.percentile
    text = f"TTFT and TPOT are p{at:g}; those marked ✗ miss their target."
    return Part(title, text, heads=heads, rows=rows)


def _why_parts(answer: Answer) -> Iterator[Part]:
    why = answer.explanation
    if why is None:
        return
    text = f"{why.binding}."
    yield Part("What ten percent more of each would change", text, figures.gains(why.gains))
    if why.runner_up:
        yield Part(
            "Against the runner-up", pairs=[("", line) for line in planned.rivals(answer, why)]
        )


def rendered(
    title: str, subtitle: str, cards: Sequence[Card], parts: Sequence[Part], notes: Sequence[str]
) -> str:
    """The page: cards to be seen first, then its parts in order."""
    loader = PackageLoader("maquette.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    shown = [(p, Markup(p.figure)) for p in parts]  # our own SVG; everything else is escaped
    return environment.get_template("page.html.j2").render(
        title=title, subtitle=subtitle, cards=cards, parts=shown, notes=notes,
        version=program_version(),
    )  # fmt: skip
