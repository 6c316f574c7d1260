"""Facts nobody vouches for: which of them a price uses, and how far they move it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isnan
from typing import Any

from rich.console import RenderableType

from maquette.machines.doubts import sentence
from maquette.machines.types import Fact
from maquette.report.document import Document
from maquette.report.numbers import percent
from maquette.report.quantities import Quantity, quantities
from maquette.report.tables import table
from maquette.search.deployment import Deployment
from maquette.search.sensitivity import SWING, Swing, doubts

FIGURES = {
    "decode_s": "decode step",
    "prefill_s": "prefill",
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "sustainable_requests_per_s": "sustained rate",
}


@lru_cache(maxsize=16)  # by identity: a document and its tables ask for the same deployment
def used(deployment: Deployment) -> Mapping[str, Fact[Any]]:
    """The doubtful facts that a deployment's figures depend on, by path."""
    return doubts(deployment)


def lines(deployment: Deployment) -> list[tuple[str, str]]:
    """A line of a heading, or none."""
    found = used(deployment)
    return [("unsure", sentence(found))] if found else []


def document(deployment: Deployment) -> list[Document]:
    """The facts with their values and sources."""
    known = _quantities(deployment)
    return [_fact(known[path]) for path in sorted(used(deployment))]


def swings_document(found: Sequence[Swing], deployment: Deployment) -> list[Document]:
    """By what factor each figure changes at a fifth less and a fifth more of each fact."""
    known = _quantities(deployment)
    return [
        {
            **_fact(known[s.path]),
            "factors_at_less": _finite(s.less),
            "factors_at_more": _finite(s.more),
        }
        for s in found
    ]


def swings_table(found: Sequence[Swing], deployment: Deployment) -> RenderableType | str:
    """The same for people."""
    if not found:
        return "Sensitivity: no figure depends on a fact that is claimed, assumed or half recalled."
    known, names = _quantities(deployment), list(found[0].less)
    heads = ["fact", ">is", "kind"]
    heads += [f">{FIGURES[n]} {sign}" for n in names for sign in ("−", "+")]
    rows = [
        (s.path, known[s.path].text, s.fact.kind, *(_moved(w[n]) for n in names
                                                    for w in (s.less, s.more)))
        for s in found
    ]  # fmt: skip
    caption = f"− and +: the fact {SWING:.0%} less and more than it is said to be"
    return table("Sensitivity to facts nobody vouches for", heads, rows, caption=caption)


def _quantities(deployment: Deployment) -> dict[str, Quantity]:
    machine = deployment.system.machine
    return {q.path.removeprefix("machine."): q for q in quantities(machine, "machine")}


def _fact(q: Quantity) -> Document:
    return {"fact": q.path, "value": q.value, "unit": q.unit, "text": q.text, "kind": q.kind,
            "source": q.source}  # fmt: skip


def _finite(figures: Mapping[str, float]) -> Document:
    return {k: None if isnan(v) else v for k, v in figures.items()}


def _moved(factor: float) -> str:
    return "does not fit" if isnan(factor) else percent(factor - 1, 1, signed=True)
