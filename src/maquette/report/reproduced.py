"""`maquette reproduce` as a document and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from rich.console import RenderableType

from maquette.report.document import Document, stamp
from maquette.report.numbers import NONE, digits
from maquette.report.tables import pairs, table
from maquette.reproduce.types import ORDER, Claim, Result, Row


@dataclass(frozen=True)
class Outcome:
    """A claim, its result, and the CPU seconds that it took."""

    claim: Claim
    result: Result
    cpu: float


def document(found: list[Outcome]) -> Document:
    """Every claim with its rows; units are in the rows, since each has its own."""
    return {**stamp("reproduce"), "claims": [_claim(o) for o in found], "verdicts": _count(found)}


def listed(claims: Mapping[str, Claim]) -> Document:
    """What there is to reproduce."""
    return {**stamp("reproduce"), "claims": [_head(c) for c in claims.values()]}


def list_tables(claims: Mapping[str, Claim]) -> Iterator[RenderableType]:
    """What a person reads of the list."""
    rows = [(c.name, c.subject, c.title, c.source) for c in claims.values()]
    caption = "maquette reproduce NAME shows one, without a name all of them"
    yield table("Claims", ("claim", "subject", "~title", "~source"), rows, caption=caption)


def tables(found: list[Outcome]) -> Iterator[RenderableType]:
    """What a person reads: the rows of one claim, or the summary of several."""
    if len(found) > 1:
        yield _summary(found)
        return
    for each in found:
        yield from _whole(each)


def _summary(found: list[Outcome]) -> RenderableType:
    heads = ("claim", "~title", "verdict", ">published", ">ours", ">fitted", "~why not")
    rows = [_line(o.claim, o.result) for o in found]
    counts = ", ".join(f"{n} {v}" for v, n in _count(found).items())
    return table("Published claims, computed again", heads, rows, caption=counts)


def _line(claim: Claim, result: Result) -> tuple[str, ...]:
    row, fitted = result.headline, str(len(result.fitted) or NONE)
    theirs, ours = published(row), digits(row.ours, 4)
    return (
        claim.name, claim.title, result.verdict, theirs, ours if theirs else f"{ours} {row.unit}",
        fitted, _why(result),
    )  # fmt: skip


def published(row: Row) -> str:
    """What was published: a number or a range, with its unit; empty where it is a shape."""
    if row.published is not None:
        return f"{digits(row.published, 4)} {row.unit}".strip()
    return "" if row.low is None else f"{digits(row.low)} to {digits(row.high)} {row.unit}".strip()


def _why(result: Result) -> str:
    return next((r.note for r in result.rows if r.verdict == ORDER[-1] and r.note), "")


def _whole(found: Outcome) -> Iterator[RenderableType]:
    heads = ("~what", ">published", ">ours", "", ">if within", "verdict")
    notes = list(dict.fromkeys(r.note for r in found.result.rows if r.note))
    rows = [_cells(r, notes) for r in found.result.rows]
    caption = "* fitted on this very number; –: beside the others, not judged"
    yield table(f"{found.claim.title}: {found.result.verdict}", heads, rows, caption=caption)
    lines = [(str(at), note) for at, note in enumerate(notes, start=1)]
    lines += [("source", found.claim.source)]
    lines += [("fitted", each) for each in found.result.fitted or ("nothing",)]
    lines += [("note", each) for each in found.result.notes]
    yield pairs("", lines)


def _cells(row: Row, notes: list[str]) -> tuple[str, ...]:
    bounds = NONE if row.low is None else f"{digits(row.low)} to {digits(row.high)}"
    verdict = (row.verdict or NONE) + (" *" if row.fitted else "")
    what = f"{row.what} ({notes.index(row.note) + 1})" if row.note else row.what
    return what, digits(row.published, 4), digits(row.ours, 4), row.unit, bounds, verdict


def _head(claim: Claim) -> Document:
    return {
        "name": claim.name,
        "subject": claim.subject,
        "title": claim.title,
        "source": claim.source,
    }


def _claim(found: Outcome) -> Document:
    result = found.result
    return {
        **_head(found.claim),
        "verdict": result.verdict,
        "fitted": list(result.fitted),
        "notes": list(result.notes),
        "rows": [_row(r) for r in result.rows],
        "cpu_s": found.cpu,
    }


def _row(row: Row) -> Document:
    return {
        "what": row.what,
        "unit": row.unit,
        "published": row.published,
        "ours": row.ours,
        "verdict": row.verdict,
        "low": row.low,
        "high": None if row.high == inf else row.high,  # JSON knows no infinity
        "fitted": row.fitted,
        "note": row.note,
    }


def _count(found: list[Outcome]) -> dict[str, int]:
    counts = Counter(o.result.verdict for o in found)
    return {v: counts[v] for v in ORDER if counts[v]}
