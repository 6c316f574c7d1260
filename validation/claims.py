"""Write docs/claims.md: every published claim beside what is computed now.

python validation/claims.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from maquette.report.markdown import table
from maquette.report.numbers import digits
from maquette.report.reproduced import published
from maquette.reproduce.registry import claims
from maquette.reproduce.types import ORDER, Claim, Result

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
TEXT = Path(__file__).with_name("claims.md")


def main() -> None:
    PAGE.write_text(page({n: c.run() for n, c in claims().items()}), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page(results: Mapping[str, Result]) -> str:
    """The whole page: `claims.md` with its tables filled in from a result of every claim."""
    found = Counter(r.verdict for r in results.values())
    counts = ", ".join(f"{found[v]} {v}" for v in ORDER if found[v])
    return TEXT.read_text(encoding="utf-8").format(
        count=f"{len(results)} claims: {counts}.", tables=tables(results), reasons=reasons(results)
    )


def tables(results: Mapping[str, Result]) -> str:
    """A table for every subject, with its sources below."""
    parts = []
    for subject in dict.fromkeys(c.subject for c in claims().values()):
        own = [c for c in claims().values() if c.subject == subject]
        rows = [cells(c, results[c.name]) for c in own]
        heads = ("claim", "what", "verdict", "fitted", "published", "ours")
        sources = "\n".join(f"- {s}" for s in dict.fromkeys(c.source for c in own))
        title = subject[0].upper() + subject[1:]
        parts.append(f"### {title}\n\n{table(heads, rows, 4)}\n\nSources:\n\n{sources}")
    return "\n\n".join(parts)


def cells(claim: Claim, result: Result) -> tuple[str, ...]:
    row = result.headline
    name, title = f"`{claim.name}`", claim.title
    fitted = str(len(result.fitted) or "")
    theirs, ours = published(row), f"{digits(row.ours, 4)} {row.unit}"
    return name, title, result.verdict, fitted, theirs, ours.strip()


def reasons(results: Mapping[str, Result]) -> str:
    lines = [
        f"- `{name}`, {row.what}: {row.note}."
        for name, result in results.items()
        for row in result.rows
        if row.verdict == ORDER[-1]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
